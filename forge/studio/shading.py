"""Light on a figure: from a coverage and one atlas to linear colour, for all frames of a take at once.

No noise is computed here and nothing is read back from the device: every frame looks up the baked atlas, the lights of
the scene and the depth buffer.
Axes: B frames, N fragments (samples of pictures, all frames in one list), V vertices, A atlas side, S picture side.
Vectors are kept as planes, (3, N). Camera space: x right, y down, z forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from forge.studio.figure import Figure
from forge.studio.head import PART, PARTS
from forge.studio.rasterise import Coverage, rasterise
from forge.studio.scenes import Scene
from forge.studio.spans import rasterise_spans

OCCLUSION_SIDE = 128
"""Pictures are reduced to this before the open sky around a place is guessed."""
SHADOW_SIDE = 256
SHADOW_STEPS = 12
SHADOW_REACH_CM = 11.0
SHADOW_BLUR = 1.3
"""Pixels of 256."""
MOST_LAMPS = 4
FAR = 1.0e4


@dataclass(frozen=True)
class Material:
    """How a part answers light."""

    wrap: tuple[float, float, float] = (0.04, 0.04, 0.04)
    """How far light goes around the edge of day and night, per colour: blood carries red furthest."""
    lobes: tuple[float, float] = (12.0, 40.0)
    """Exponents of the broad and the sharp highlight."""
    shares: tuple[float, float] = (1.0, 0.5)
    mirror: float = 0.04
    """Reflection at a right angle."""
    ambient: float = 1.0
    """Share of the light all around that gets there."""


SKIN = Material((0.36, 0.17, 0.12), (14.0, 52.0), (1.15, 1.7), 0.032)
MATERIALS: dict[str, Material] = {
    "skin": SKIN,
    "neck": SKIN,
    "brow": SKIN,
    "lips": Material((0.34, 0.16, 0.13), (18.0, 90.0), (0.9, 2.2), 0.036),
    "sclera": Material((0.22, 0.16, 0.14), (40.0, 500.0), (0.25, 4.0), 0.035, 0.72),
    "iris": Material((0.10, 0.10, 0.10), (60.0, 900.0), (0.0, 0.0), 0.035, 0.75),
    "teeth": Material((0.22, 0.20, 0.18), (30.0, 160.0), (0.6, 1.8), 0.045, 0.62),
    "gums": Material((0.25, 0.10, 0.10), (25.0, 130.0), (0.6, 1.6), 0.035, 0.5),
    "tongue": Material((0.25, 0.10, 0.10), (20.0, 80.0), (0.5, 1.2), 0.035, 0.6),
    "mouth_socket": Material((0.2, 0.1, 0.1), ambient=0.3, shares=(0.1, 0.1)),
    "eye_wet": Material((0.3, 0.15, 0.12), (60.0, 400.0), (0.6, 3.0), 0.035, 0.8),
    "cloth": Material((0.12, 0.12, 0.12), (6.0, 20.0), (0.5, 0.0), 0.02),
    "glasses": Material((0.0, 0.0, 0.0), (40.0, 200.0), (2.0, 6.0), 0.06),
}
GLOSS_OF: dict[str, float] = {"sclera": 0.9, "iris": 0.9, "eye_wet": 0.8, "glasses": 0.8, "cloth": 0.08, "lashes": 0.1}
"""Where the atlas holds no gloss."""


@cache
def material_table(device: torch.device) -> Tensor:
    """(10, P) wrap 3, lobes 2, shares 2, mirror, ambient, gloss for every part."""
    rows = []
    for name in PARTS:
        m = MATERIALS.get(name, Material())
        rows.append([*m.wrap, *m.lobes, *m.shares, m.mirror, m.ambient, GLOSS_OF.get(name, -1.0)])
    return torch.tensor(rows, device=device).T.contiguous()


@dataclass(frozen=True, eq=False)
class Fragments:
    """Samples of the pictures that show the figure."""

    place_N: Tensor | None
    """int64 index into (B, S, S); None when every sample is in the list (no reading back from a GPU)."""
    frame_N: Tensor
    part_N: Tensor
    point_3N: Tensor
    normal_3N: Tensor
    tangent_3N: Tensor
    surface_7N: Tensor
    """Albedo, gloss, relief from the atlas."""
    alpha_N: Tensor
    """1 where something is seen."""


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(N,) of two (3, N)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def normalised(a: Tensor) -> Tensor:
    """(3, N) of unit length."""
    return a * torch.rsqrt(dot(a, a).clamp(min=1e-12))


def ramp(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((x - low) / (high - low)).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def draw(figure: Figure, screen_BV3: Tensor, side: int) -> Coverage:
    """The figure's coverage, by the way that is fastest on its device."""
    if screen_BV3.is_cuda:
        return rasterise(screen_BV3, figure.triangles_T3, side, two_sided=figure.two_sided_T)
    return rasterise_spans(screen_BV3, figure.triangles_T3, side, figure.two_sided_T)


def gather(
    figure: Figure,
    screen_BV3: Tensor,
    normal_BV3: Tensor,
    tangent_BV3: Tensor,
    focal: float,
    side: int,
    *,
    dense: bool,
) -> tuple[Fragments, Tensor]:
    """Draw the figure and read its surface.

    Args:
        figure: who.
        screen_BV3: its vertices on a screen of `side` pixels.
        normal_BV3: their normals in camera space.
        tangent_BV3: the direction of strands.
        focal: in pixels of that screen.
        side: of the pictures.
        dense: keep every sample; else list those that show the figure, which a GPU would have to report back.

    Returns:
        The fragments and the depth buffer (B, S, S), infinity where nothing is.
    """
    batch = len(screen_BV3)
    cover = draw(figure, screen_BV3, side)
    triangle = cover.triangle_BHW.reshape(-1)
    place = None
    if dense:
        chosen, weights = triangle.clamp(min=0), cover.weights_BHW3.reshape(-1, 3)
        index = torch.arange(batch * side * side, device=triangle.device)
        alpha = (triangle >= 0).float()
        depth = cover.depth_BHW.reshape(-1).clamp(max=FAR)
    else:
        index = place = (triangle >= 0).nonzero().squeeze(1)
        chosen, weights = triangle[place], cover.weights_BHW3.reshape(-1, 3)[place]
        alpha = torch.ones(len(place), device=triangle.device)
        depth = cover.depth_BHW.reshape(-1)[place]
    frame = torch.div(index, side * side, rounding_mode="floor")
    within = index - frame * side * side
    row = torch.div(within, side, rounding_mode="floor")
    column = within - row * side
    corner = figure.triangles_T3[chosen]
    values = torch.cat([normal_BV3, tangent_BV3], 2).reshape(-1, 6)
    rows = corner + (frame * screen_BV3.shape[1])[:, None]
    vectors = sum(values[rows[:, k]] * weights[:, k : k + 1] for k in range(3))
    uv = sum(figure.uv_V2[corner[:, k]] * weights[:, k : k + 1] for k in range(3))
    assert isinstance(vectors, Tensor) and isinstance(uv, Tensor)
    surface = functional.grid_sample(
        figure.atlas_7AA[None], uv[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )[0, :, 0]
    x = (column + 0.5 - side / 2) / focal * depth
    y = (row + 0.5 - side / 2) / focal * depth
    planes = vectors.T.contiguous()
    fragments = Fragments(
        place, frame, figure.part_T[chosen], torch.stack([x, y, depth]), planes[:3], planes[3:], surface, alpha
    )
    return fragments, cover.depth_BHW


def look_up(map_BCHW: Tensor, fragments: Fragments, focal: float | Tensor, side: int) -> Tensor:
    """(C, N) pictures of every frame read at the fragments, bilinear."""
    channels, height, width = map_BCHW.shape[1:]
    x = fragments.point_3N[0] / fragments.point_3N[2] * focal / side + 0.5
    y = fragments.point_3N[1] / fragments.point_3N[2] * focal / side + 0.5
    fx, fy = (x * width - 0.5).clamp(0, width - 1.001), (y * height - 0.5).clamp(0, height - 1.001)
    x0, y0 = fx.floor(), fy.floor()
    wx, wy = (fx - x0)[:, None], (fy - y0)[:, None]
    rows = map_BCHW.permute(0, 2, 3, 1).reshape(-1, channels)
    at = fragments.frame_N * (height * width) + y0.long() * width + x0.long()
    top = torch.lerp(rows[at], rows[at + 1], wx)
    low = torch.lerp(rows[at + width], rows[at + width + 1], wx)
    return torch.lerp(top, low, wy).T


def reduced_depth(depth_BSS: Tensor, side: int) -> Tensor:
    """(B, 1, side, side) depth with a backdrop 7 cm behind the figure, averaged."""
    known = torch.where(torch.isfinite(depth_BSS), depth_BSS, torch.zeros_like(depth_BSS))
    furthest = known.amax((1, 2), keepdim=True)
    filled = torch.where(torch.isfinite(depth_BSS), depth_BSS, furthest + 1.0)[:, None]
    return functional.adaptive_avg_pool2d(filled, side) if filled.shape[-1] != side else filled


def gaussian(picture_B1HW: Tensor, sigma: float) -> Tensor:
    """Blur, the border repeated."""
    reach = max(1, math.ceil(2.5 * sigma))
    t = torch.arange(-reach, reach + 1, device=picture_B1HW.device, dtype=picture_B1HW.dtype)
    kernel = torch.exp(-0.5 * (t / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = picture_B1HW.shape[1]
    row = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    padded = functional.pad(picture_B1HW, (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, row, groups=channels), row.transpose(2, 3), groups=channels)


SKY_SIZES = ((0.45, 0.6), (1.1, 1.4), (2.6, 3.2))
"""How far around a place (cm) what is nearer takes light away, and by how much it must be nearer to take all of it."""


def nearer_depth(depth_BSS: Tensor) -> Tensor:
    """(B, 3, R, R) depth averaged over the sizes of `SKY_SIZES`."""
    small = reduced_depth(depth_BSS, OCCLUSION_SIDE)
    pixels_per_cm = OCCLUSION_SIDE / 40.0
    return torch.cat([gaussian(small, radius * pixels_per_cm) for radius, _ in SKY_SIZES], 1)


def open_sky(nearer_B3RR: Tensor, fragments: Fragments, focal: float | Tensor, side: int) -> Tensor:
    """(N,) share of the light from all around that reaches a place: what is nearer within a few cm takes some away."""
    around = look_up(nearer_B3RR, fragments, focal, side)
    closed = torch.zeros_like(fragments.alpha_N)
    for plane, (_, reach) in zip(around, SKY_SIZES, strict=True):
        closed = closed + ((fragments.point_3N[2] - plane) / reach).clamp(0.0, 1.0)
    return torch.exp(-0.6 * closed)


def cast_shadow(depth_BSS: Tensor, toward: Tensor, softness: Tensor, focal: float, side: int) -> Tensor:
    """(B, 1, R, R) share of a light that arrives, by marching through the depth buffer towards it.

    What is hidden from the camera casts no shadow; noses, brows, chins and hair are not.
    """
    resolution = min(SHADOW_SIDE, side)
    depth = reduced_depth(depth_BSS, resolution)
    batch = len(depth)
    centre = torch.arange(resolution, device=depth.device) + 0.5 - resolution / 2
    near_focal = focal * resolution / side
    y, x = torch.meshgrid(centre / near_focal, centre / near_focal, indexing="ij")
    z = depth[:, 0]
    blocked = torch.zeros_like(z)
    for step in range(SHADOW_STEPS):
        away = 0.25 + SHADOW_REACH_CM * ((step + 0.5) / SHADOW_STEPS) ** 1.8
        pz = z + toward[2] * away
        px, py = (x * z + toward[0] * away) / pz, (y * z + toward[1] * away) / pz
        grid = torch.stack([px, py], -1) * (2 * near_focal / resolution)
        there = functional.grid_sample(depth, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
        gap = pz - there
        bias = 0.12 + 0.05 * away
        thick = 2.2 + 0.55 * away
        hit = ramp(gap, bias, bias + 0.25 + 0.12 * softness * away) * (1 - ramp(gap, thick, thick * 1.5))
        blocked = torch.maximum(blocked, hit * (1 - 0.45 * softness * away / SHADOW_REACH_CM))
    return gaussian((1 - blocked).view(batch, 1, resolution, resolution), SHADOW_BLUR * resolution / 256)


def harmonics(n: Tensor) -> list[Tensor]:
    """Nine real spherical harmonics of unit vectors (3, N)."""
    x, y, z = n[0], n[1], n[2]
    return [
        torch.full_like(x, 0.282095),
        0.488603 * y, 0.488603 * z, 0.488603 * x,
        1.092548 * x * y, 1.092548 * y * z, 0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y),
    ]  # fmt: skip


def ambient_harmonics(scene: Scene, device: torch.device) -> Tensor:
    """(9, 3) irradiance of the scene's surroundings over pi, in camera space."""
    total = torch.zeros(9, 3)
    for direction, colour, width in scene.ambient:
        at = torch.tensor([direction[0], -direction[1], -direction[2]])[:, None]
        basis = torch.stack(harmonics(at))[:, 0]
        # a lobe: its bands fade with its width, then the cosine of a matte surface
        band = torch.tensor([1.0, *[1.0 - 0.45 * width] * 3, *[(1.0 - 0.45 * width) ** 3] * 5])
        cosine = torch.tensor([1.0, *[2.0 / 3.0] * 3, *[0.25] * 5])
        total += (basis * band * cosine)[:, None] * torch.tensor(colour)[None] * math.pi
    return total.to(device)


def lamp_table(scene: Scene, device: torch.device, rows: int | None = None) -> Tensor:
    """(L, 7) direction in camera space, colour, softness of every lamp; filled up with dark ones to `rows`."""
    table = [[d[0], -d[1], -d[2], *lamp.colour, lamp.softness] for lamp in scene.lights for d in [lamp.direction]]
    table += [[0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.5]] * max((rows or 0) - len(table), 0)
    return torch.tensor(table, device=device)


def shade(
    fragments: Fragments,
    depth_BSS: Tensor,
    head_turn_B33: Tensor,
    scene: Scene,
    focal: float,
    side: int,
    *,
    compiled: bool = False,
) -> Tensor:
    """(3, N) linear light from every fragment towards the camera.

    The first lamp of a scene casts shadows.

    Args:
        fragments: of all frames.
        depth_BSS: their depth buffers.
        head_turn_B33: from head space to camera space; the relief of the atlas lies in head space.
        scene: its lights.
        focal: in pixels.
        side: of the pictures.
        compiled: fuse everything that is done for each fragment; worth its minute of compilation on a GPU.
    """
    device = depth_BSS.device
    lamps_L7 = lamp_table(scene, device, MOST_LAMPS if compiled else None)
    shadow = cast_shadow(depth_BSS, lamps_L7[0, :3], lamps_L7[0, 6], focal, side)
    light = fused_light() if compiled else light_fragments
    return light(
        fragments, nearer_depth(depth_BSS), shadow, head_turn_B33, material_table(device),
        ambient_harmonics(scene, device), lamps_L7, torch.tensor(focal, device=device), side,
    )  # fmt: skip


@cache
def fused_light() -> Callable[..., Tensor]:
    """`light_fragments`, compiled for the shapes it meets."""
    compiled: Callable[..., Tensor] = torch.compile(light_fragments, dynamic=False)
    return compiled


def light_fragments(
    fragments: Fragments, nearer_B3RR: Tensor, shadow_B1RR: Tensor, head_turn_B33: Tensor, table_10P: Tensor,
    environment_93: Tensor, lamps_L7: Tensor, focal: Tensor, side: int,
) -> Tensor:  # fmt: skip
    """(3, N) what `shade` returns, from tensors alone."""
    table = table_10P[:, fragments.part_N]
    wrap, lobes, shares, mirror, ambient, fixed_gloss = table[:3], table[3:5], table[5:7], table[7], table[8], table[9]
    albedo, gloss = fragments.surface_7N[:3], fragments.surface_7N[3]
    gloss = torch.where(fixed_gloss >= 0, fixed_gloss, gloss)
    view = normalised(-fragments.point_3N)
    turn = head_turn_B33[fragments.frame_N].permute(1, 2, 0)
    relief = fragments.surface_7N[4:]
    tilt = turn[:, 0] * relief[0] + turn[:, 1] * relief[1] + turn[:, 2] * relief[2]
    flat = normalised(fragments.normal_3N)
    facing = torch.where(dot(flat, view) < -0.05, -1.0, 1.0)
    is_hair = fragments.part_N == PART["hair"]
    sheet = is_hair | (fragments.part_N == PART["cloth"])
    flat = torch.where(sheet[None], flat * facing, flat)
    normal = normalised(flat - 0.85 * tilt)
    sky = open_sky(nearer_B3RR, fragments, focal, side)
    shaded = look_up(shadow_B1RR, fragments, focal, side)[0]

    def surroundings(direction: Tensor) -> Tensor:
        basis = torch.stack(harmonics(direction))
        return (environment_93.T @ basis).clamp(min=0.0)

    around = surroundings(normal)
    light = around * (sky * ambient)
    grazing = (1.0 - dot(normal, view).clamp(0, 1)) ** 5
    reflected = normalised(2 * dot(normal, view) * normal - view)
    fresnel = mirror + (1 - mirror) * grazing * 0.6
    shine = surroundings(reflected) * (fresnel * gloss * sky * ambient * 0.9)
    strand = strand_light(fragments, view)
    for number in range(len(lamps_L7)):
        toward, power, softness = lamps_L7[number, :3], lamps_L7[number, 3:6, None], lamps_L7[number, 6]
        lit = (sky * 0.35 + 0.65) * (0.25 + 0.75 * ambient)
        if number == 0:
            lit = lit * shaded
        cosine = normal[0] * toward[0] + normal[1] * toward[1] + normal[2] * toward[2]
        light = light + power * lit * ((cosine + wrap) / (1 + wrap)).clamp(min=0.0)
        shine = shine + power * highlight(
            fragments, normal, view, toward, softness, lobes, shares, mirror, gloss, cosine, lit
        )
        strand_colour = strand(toward, albedo, flat)
        shine = shine + torch.where(is_hair[None], power * lit * strand_colour, torch.zeros_like(strand_colour))
    diffuse = torch.where(is_hair[None], 0.0, 1.0) * albedo * light
    hair = torch.where(is_hair[None], albedo * around * (0.25 + 0.75 * sky) * 1.1, torch.zeros_like(albedo))
    return diffuse + shine + hair


def highlight(
    fragments: Fragments, normal: Tensor, view: Tensor, toward: Tensor, softness: Tensor, lobes: Tensor, shares: Tensor,
    mirror: Tensor, gloss: Tensor, cosine: Tensor, lit: Tensor,
) -> Tensor:  # fmt: skip
    """(3, N) or (N,) mirror light of one lamp: two lobes on skin, a window on the cornea; none on hair."""
    half = normalised(view + toward[:, None])
    facing = dot(normal, half).clamp(0, 1)
    fresnel = mirror + (1 - mirror) * (1 - dot(view, half).clamp(0, 1)) ** 5
    spread = 1.0 - 0.5 * softness
    peak = shares[0] * facing ** (lobes[0] * spread) + shares[1] * facing ** (lobes[1] * spread)
    skin = 2.2 * gloss * fresnel * peak * (cosine + 0.05).clamp(0, 1)
    reflected = 2 * dot(normal, view) * normal - view
    angle = reflected[0] * toward[0] + reflected[1] * toward[1] + reflected[2] * toward[2]
    width = 0.010 + 0.045 * softness
    window = ramp(angle, 1 - 2.2 * width, 1 - 0.8 * width) * (0.9 - 0.35 * softness)
    is_eye = (fragments.part_N == PART["iris"]) | (fragments.part_N == PART["sclera"])
    eye = torch.where(fragments.part_N == PART["iris"], 0.75, 0.22) * window
    is_hair = fragments.part_N == PART["hair"]
    return torch.where(is_eye, eye + 0.3 * skin, torch.where(is_hair, torch.zeros_like(skin), skin)) * lit.clamp(0, 1)


def strand_light(fragments: Fragments, view: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Kajiya-Kay: a function of a light's direction, the hair's colour and the outward normal."""
    tangent = normalised(fragments.tangent_3N)

    def strand(toward: Tensor, albedo: Tensor, outward: Tensor) -> Tensor:
        along = tangent[0] * toward[0] + tangent[1] * toward[1] + tangent[2] * toward[2]
        sine = (1 - along * along).clamp(min=0).sqrt()
        half = normalised(view + toward[:, None])
        across = dot(tangent, half)
        first = (1 - (across - 0.06) ** 2).clamp(min=0) ** 70
        second = (1 - (across + 0.12) ** 2).clamp(min=0) ** 18
        facing = outward[0] * toward[0] + outward[1] * toward[1] + outward[2] * toward[2]
        facing = (0.3 + 0.7 * facing).clamp(0.06, 1.0)
        return albedo * (0.95 * sine * facing + 0.75 * second * facing) + 0.045 * first * facing

    return strand
