"""Film a photographed person: the fitted head wears its face, the relief hair and clothes, the picture stands behind.

    actor = ready(person, device="cuda")
    footage = film(actor, motion_FM, size=256)

The same rasteriser, poses and truth as for rendered people.
Axes: B or F frames, V the head's vertices, W the relief's, X both, T and D triangles, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from forge.motion.features import BLENDSHAPE_NAMES, POSE, Z_DYN
from forge.studio.figure import TORSO_SHARE, head_uv, neck_share
from forge.studio.footage import Footage
from forge.studio.head import (
    FRAME_CENTIMETRES,
    OUTER_EYE_CENTIMETRES,
    PART,
    HeadModel,
    load_head,
    pose_matrix,
    standard_focal,
    to_camera,
    to_screen,
)
from forge.studio.looks import sample_look
from forge.studio.noise import Noise
from forge.studio.photo_layers import CANVAS_CENTIMETRES, CANVAS_SIDE
from forge.studio.photo_light import shading, to_srgb
from forge.studio.photo_person import PhotoPerson
from forge.studio.photo_texture import UNLIGHTING, face_surface, face_uv
from forge.studio.rasterise import Coverage, rasterise
from forge.studio.regions import LAYOUT
from forge.studio.textures import bake_atlas, paint_eye

INNER_SIDE = 512
INNER_PARTS = ("sclera", "iris", "eye_wet", "teeth", "gums", "tongue", "mouth_socket")
EYE_PARTS = ("sclera", "iris", "eye_wet")
MOUTH_PARTS = ("teeth", "gums", "tongue", "mouth_socket")
BLINKS = tuple(BLENDSHAPE_NAMES.index(name) for name in ("eyeBlinkRight", "eyeBlinkLeft"))
CARUNCLE = (0.40, 0.20, 0.17)
"""Linear colour of the wet corner of the eye."""
TEETH_TINT = (1.12, 1.06, 0.94)
MOUTH_DARKNESS_CM = 1.7
"""Depth behind the lips at which two thirds of the light are gone."""
RELIEF_FIRST = 0.5
"""Centimetres by which the relief may lie behind the head and still be seen: it is cut out where the face shows, so
what is left of it (ears, hair on the temples) lies on top, however coarse its grid."""
SOLID = 0.5
"""Alpha from which a pixel counts as showing the person."""


@dataclass(frozen=True, eq=False)
class Actor:
    """A person on a device, ready to be filmed."""

    person: PhotoPerson
    head: HeadModel
    identity_1K: Tensor
    residual_V3: Tensor
    lid_2V3: Tensor
    relief_W3: Tensor
    relief_normal_W3: Tensor
    share_W: Tensor
    """1 follows the head, 0 the torso."""
    triangles_T3: Tensor
    """Of the head and the relief, in one list of vertices; all triangles of the head come first."""
    head_D: Tensor
    """Triangles of the head that are drawn: face, eyes, mouth."""
    relief_D: Tensor
    part_T: Tensor
    page_T: Tensor
    """Texture of each triangle: 0 face, 1 eyes and mouth, 2 relief."""
    uv_X2: Tensor
    """Per vertex, in [-1, 1]."""
    face_1: Tensor
    inner_1: Tensor
    relief_1: Tensor
    backdrop_1: Tensor
    light_93: Tensor


@cache
def _inner_atlas() -> Tensor:
    """Eyes, teeth, gums and tongue of the studio, (3, A, A) linear; the same for everybody but for the iris."""
    return bake_atlas(sample_look(0), INNER_SIDE).albedo_3AA


@cache
def _layout(head: HeadModel) -> tuple[Tensor, Tensor, Tensor]:
    """Drawn triangles of the head, their pages, and every vertex's place in its texture."""
    page = torch.full((len(head.triangles_T3),), -1)
    page[torch.from_numpy(face_surface(head).triangle_T)] = 0
    inner = torch.isin(head.part_T.long(), torch.tensor([PART[name] for name in INNER_PARTS]))
    page[inner] = 1
    uv = head_uv(head)
    uv[head.triangles_T3[page == 0].unique()] = torch.tensor(face_uv(head), dtype=torch.float32)[
        head.triangles_T3[page == 0].unique()
    ]
    return (page >= 0).nonzero().squeeze(1), page, uv


def ready(person: PhotoPerson, device: torch.device | str = "cpu") -> Actor:
    """Put a person on a device."""
    head = load_head()
    drawn, page, uv = _layout(head)
    look = sample_look(person.seed)
    inner = _inner_atlas().clone()
    left, top, width, height = (round(v * INNER_SIDE) for v in LAYOUT["eye"])
    with_iris = _with_iris(look, person.iris)
    inner[:, top : top + height, left : left + width] = paint_eye(with_iris, Noise(person.seed), INNER_SIDE)
    count = len(head.neutral_V3)
    relief = torch.from_numpy(person.relief_W3)
    first = len(head.triangles_T3)
    own = torch.arange(len(person.relief_triangles_T3)) + first

    def picture(values: Any, linear: bool = True) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(values)).float() / 255.0
        colour = pixels[:3]
        colour = torch.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4) if linear else colour
        return torch.cat([colour, pixels[3:]])[None].to(device)

    moved = head.to(device)
    return Actor(
        person=person,
        head=moved,
        identity_1K=torch.from_numpy(person.identity_K)[None].to(device),
        residual_V3=torch.from_numpy(person.residual_V3).to(device),
        lid_2V3=torch.from_numpy(person.lid_2V3).to(device),
        relief_W3=relief.to(device),
        relief_normal_W3=torch.from_numpy(person.relief_normal_W3).to(device),
        share_W=neck_share(relief).to(device),
        triangles_T3=torch.cat([head.triangles_T3, torch.from_numpy(person.relief_triangles_T3) + count]).to(device),
        head_D=drawn.to(device),
        relief_D=own.to(device),
        part_T=torch.cat([head.part_T, torch.from_numpy(person.relief_part_T)]).to(device),
        page_T=torch.cat([page, torch.full((len(own),), 2)]).to(device),
        uv_X2=(torch.cat([uv, torch.from_numpy(person.relief_uv_W2)]) * 2 - 1).to(device),
        face_1=picture(person.skin_3AA),
        inner_1=inner[None].to(device),
        relief_1=torch.cat(
            [picture(person.picture_4CC), torch.from_numpy(person.front_1CC)[None].to(device) / 255.0], 1
        ),
        backdrop_1=picture(person.backdrop_3CC),
        light_93=torch.from_numpy(person.light_93).to(device),
    )


def _with_iris(look: Any, iris: tuple[float, float, float]) -> Any:
    from dataclasses import replace

    return replace(look, iris=iris, age=min(look.age, 60.0), eye_redness=min(look.eye_redness, 0.3))


def own_motion(person: PhotoPerson) -> Tensor:
    """(1, 70) the motion vector of the portrait itself: its pose, expression and gaze."""
    motion = torch.zeros(1, 70)
    motion[0, :3] = torch.from_numpy(person.pose_3)
    motion[0, Z_DYN] = torch.from_numpy(person.dyn_64)
    return motion


def least_log_scale(person: PhotoPerson) -> float:
    """How near the head must be (`log_scale`) for all borders of a frame but the upper to stay within the portrait."""
    fit = person.facts.get("fit", {})
    room = min(
        fit.get("room_below", FRAME_CENTIMETRES), 1.15 * min(fit.get("room_left", 99.0), fit.get("room_right", 99.0))
    )
    return max(0.0, float(np.log(0.5 * FRAME_CENTIMETRES / max(room, 5.0))))


def within_reach(person: PhotoPerson, motion_FM: Tensor, turn: float = 24.0, nod: float = 14.0) -> Tensor:
    """The motion with poses that the portrait can bear: not turned too far from its own, near enough to fill the frame.

    Args:
        person: whose pose and picture bound the motion.
        motion_FM: (F, 70) absolute motion.
        turn: degrees of yaw away from the portrait's own.
        nod: degrees of pitch and of roll.
    """
    out = motion_FM.clone()
    own = torch.from_numpy(person.pose_3).to(out)
    reach = out.new_tensor([turn, nod, nod])
    out[:, :3] = own + (out[:, :3] - own).clamp(-reach, reach)
    out[:, 5] = out[:, 5].clamp(min=least_log_scale(person))
    return out


@dataclass(frozen=True, eq=False)
class Posed:
    """Vertices of all frames."""

    camera_FX3: Tensor
    normal_FX3: Tensor
    screen_FX3: Tensor
    matrix_F34: Tensor


def pose_actor(actor: Actor, motion_FM: Tensor, size: int) -> Posed:
    """Head and relief of every frame, in camera space and on the screen."""
    person, head = actor.person, actor.head
    pose, dyn = motion_FM[:, POSE], motion_FM[:, Z_DYN]
    matrix = pose_matrix(pose, person.distance)
    vertices = head.deform(actor.identity_1K, dyn) + actor.residual_V3
    vertices = vertices + torch.einsum("fb,bvx->fvx", dyn[:, BLINKS].clamp(0, 1), actor.lid_2V3)
    normals = head.normals(vertices)
    own = torch.from_numpy(person.pose_3).to(pose)
    share = pose.new_tensor(TORSO_SHARE)
    # the torso keeps the pose of the portrait but for its share of the head's turn
    torso_pose = torch.cat([own + share * (pose[:, :3] - own), pose[:, 3:]], 1)
    torso = pose_matrix(torso_pose, person.distance)
    follow = actor.share_W[None, :, None]
    relief = follow * to_camera(actor.relief_W3[None], matrix) + (1 - follow) * to_camera(actor.relief_W3[None], torso)
    turn_head, turn_torso = matrix[:, :, :3].transpose(1, 2), torso[:, :, :3].transpose(1, 2)
    normal = follow * (actor.relief_normal_W3 @ turn_head) + (1 - follow) * (actor.relief_normal_W3 @ turn_torso)
    camera = torch.cat([to_camera(vertices, matrix), relief], 1)
    normal = functional.normalize(torch.cat([normals @ turn_head, normal], 1), dim=-1)
    screen = to_screen(camera, float(standard_focal(size, person.distance)), size)
    return Posed(camera, normal, screen, matrix)


def film(
    actor: Actor, motion_FM: Tensor, size: int = 256, *, light_93: Tensor | None = None, backdrop: Tensor | None = None,
    seed: int = 0, recipe: str = "photo", samples: int = 2, bounded: bool = True,
) -> Footage:  # fmt: skip
    """Draw frames of a person.

    Args:
        actor: a person on a device.
        motion_FM: (F, 70) truth: absolute pose (zero is the standard framing), expression and gaze.
        size: pixels a side.
        light_93: log light in camera space, see `photo_light`; by default the portrait's own.
        backdrop: (3, C, C) linear canvas behind the person; by default the portrait's own.
        seed: kept in the footage.
        recipe: kept in the footage.
        samples: per axis and pixel, for smooth silhouettes; 1 is fastest.
        bounded: keep poses `within_reach` of the portrait; the footage holds the motion as it was filmed.
    """
    motion_FM = motion_FM.to(actor.residual_V3)
    motion_FM = within_reach(actor.person, motion_FM) if bounded else motion_FM
    posed = pose_actor(actor, motion_FM, size)
    light = actor.light_93 if light_93 is None else light_93.to(actor.light_93)
    head = draw_layer(actor, posed, actor.head_D, light, size, samples)
    relief = draw_layer(actor, posed, actor.relief_D, light, size, samples)
    nearer = relief.cover.depth_BHW - RELIEF_FIRST < head.cover.depth_BHW
    over = (relief.front * nearer)[..., None]
    behind = place_backdrop(actor, motion_FM, size, backdrop)
    head_first = laid_over(head.rgba, laid_over(relief.rgba, behind))
    linear = head_first + over * (laid_over(relief.rgba, laid_over(head.rgba, behind)) - head_first)
    shown = relief.solid & ((relief.front * nearer > SOLID) | ~head.solid)
    triangle = torch.where(shown, relief.triangle, head.triangle)
    depth = torch.where(shown, relief.cover.depth_BHW, torch.where(head.solid, head.cover.depth_BHW, torch.inf))
    weights = torch.where(shown[..., None], relief.cover.weights_BHW3, head.cover.weights_BHW3)
    part = torch.where(shown, relief.part, torch.where(head.solid, head.part, 0))
    normal = torch.where(shown[..., None], relief.normal, head.normal) * (triangle >= 0)[..., None]
    frames = len(motion_FM)
    return Footage(
        image_F3HW=(to_srgb(linear) * 255).round().to(torch.uint8).permute(0, 3, 1, 2).contiguous(),
        parts_FHW=part.to(torch.uint8),
        depth_FHW=depth,
        normal_F3HW=normal.permute(0, 3, 1, 2).half(),
        motion_FM=motion_FM,
        head_to_camera_F34=posed.matrix_F34,
        focal_F=torch.full((frames,), float(standard_focal(size, actor.person.distance)), device=motion_FM.device),
        landmarks_FL2=actor.head.landmarks(posed.screen_FX3[:, : len(actor.residual_V3)])[..., :2],
        triangle_FHW=triangle.int(),
        weights_FHW3=(weights * (triangle >= 0)[..., None]).half(),
        screen_FV3=posed.screen_FX3,
        triangles_T3=actor.triangles_T3.int(),
        identity_K=actor.identity_1K[0],
        identity=actor.person.seed,
        scene={"kind": "photo", "name": actor.person.name, "parents": list(actor.person.parents),
               "licence": actor.person.licence},
        seed=seed,
        recipe=recipe,
    )  # fmt: skip


def laid_over(rgba: Tensor, behind: Tensor) -> Tensor:
    """A premultiplied picture (..., 4) over an opaque one (..., 3)."""
    return rgba[..., :3] + (1 - rgba[..., 3:]) * behind


@dataclass(frozen=True, eq=False)
class Layer:
    """The head or the relief, drawn by itself."""

    cover: Coverage
    rgba: Tensor
    """(F, H, W, 4) linear, premultiplied, silhouettes smooth."""
    triangle: Tensor
    """(F, H, W) index into the actor's triangles, -1 where nothing solid is."""
    part: Tensor
    normal: Tensor
    solid: Tensor
    front: Tensor
    """(F, H, W) 1 where it may lie over the other layer."""


def draw_layer(actor: Actor, posed: Posed, drawn_D: Tensor, light_93: Tensor, size: int, samples: int) -> Layer:
    """Draw some of the triangles, as if there were no others."""
    triangles = actor.triangles_T3[drawn_D]
    # a strand that curls away shows its other side
    cover = rasterise(posed.screen_FX3, triangles, size, samples=samples, two_sided=drawn_D is actor.relief_D)
    part = cover.per_triangle(actor.part_T[drawn_D])
    normal = functional.normalize(cover.interpolate(posed.normal_FX3), dim=-1)
    colour = surface_colour(actor, cover, drawn_D, part, normal, light_93, size)
    rgba = torch.cat([colour[..., :3] * colour[..., 3:4], colour[..., 3:4]], -1)
    if samples > 1:
        rgba = cover.antialias(rgba, group_T=actor.page_T[drawn_D])
    solid = (colour[..., 3] > SOLID) & cover.seen_BHW
    triangle = torch.where(solid, drawn_D[cover.triangle_BHW.clamp(min=0)], -1)
    return Layer(cover, rgba, triangle, part, normal, solid, colour[..., 4])


def surface_colour(
    actor: Actor, cover: Coverage, drawn_D: Tensor, part: Tensor, normal: Tensor, light_93: Tensor, size: int
) -> Tensor:
    """(F, H, W, 5) linear colour, alpha, and where the relief may lie over the head."""
    page = cover.per_triangle(actor.page_T[drawn_D], empty=-1)
    uv = cover.interpolate(actor.uv_X2)

    def sample(texture_1: Tensor) -> Tensor:
        frames = len(uv)
        texture = texture_1.expand(frames, -1, -1, -1)
        return functional.grid_sample(texture, uv, align_corners=False, padding_mode="border").permute(0, 2, 3, 1)

    face, inner, relief = sample(actor.face_1), sample(actor.inner_1), sample(actor.relief_1)
    lit = shading(UNLIGHTING * light_93, normal)
    before = shading(UNLIGHTING * actor.light_93, normal)
    eyes = torch.isin(part, part.new_tensor([PART[name] for name in EYE_PARTS]))
    mouth = torch.isin(part, part.new_tensor([PART[name] for name in MOUTH_PARTS]))
    inner = torch.where((part == PART["eye_wet"])[..., None], inner.new_tensor(CARUNCLE), inner)
    inner = torch.where((part == PART["teeth"])[..., None], inner * inner.new_tensor(TEETH_TINT), inner)
    exposure = torch.where(eyes, actor.person.eye_exposure, actor.person.mouth_exposure)
    inner = inner * lit * (exposure * eye_shade(eyes, size) * mouth_shade(cover, part, mouth))[..., None]
    inner = inner + glints(actor, part, normal, light_93)
    # the relief still has the portrait's light in it: only the difference is put on
    change = (lit / before) if light_93 is not actor.light_93 else torch.ones_like(lit)
    out = torch.where((page == 0)[..., None], face * lit, inner)
    out = torch.where((page == 2)[..., None], relief[..., :3] * change, out)
    alpha = torch.where(page == 2, relief[..., 3], (page >= 0).to(out.dtype))
    return torch.cat([out, alpha[..., None], relief[..., 4:]], -1)


def eye_shade(eyes: Tensor, size: int) -> Tensor:
    """(F, H, W) how much light reaches the eyes: less under the upper lid and in the corners."""
    mask = eyes.float()[:, None]
    radius = max(1, round(0.22 * size / FRAME_CENTIMETRES))
    kernel = 2 * radius + 1
    # the upper lid and its lashes stand out further than the lower: look upwards
    padded = functional.pad(mask, (radius, radius, 2 * radius, 0))
    open_ = functional.avg_pool2d(functional.avg_pool2d(padded, kernel, 1), 3, 1, 1)[:, 0]
    return torch.where(eyes, 0.5 + 0.5 * open_.clamp(0, 1), torch.ones_like(open_))


def mouth_shade(cover: Coverage, part: Tensor, mouth: Tensor) -> Tensor:
    """(F, H, W) how much light reaches the inside of the mouth: less the further it lies behind the lips."""
    lips = part == PART["lips"]
    depth = cover.depth_BHW.nan_to_num(posinf=0.0)
    count = lips.flatten(1).sum(1).clamp(min=1)
    front = (depth * lips).flatten(1).sum(1) / count
    behind = (depth - front[:, None, None]).clamp(min=0.0)
    shade = 0.95 * torch.exp(-behind / MOUTH_DARKNESS_CM)
    return torch.where(mouth, shade, torch.ones_like(shade))


def glints(actor: Actor, part: Tensor, normal: Tensor, light_93: Tensor) -> Tensor:
    """(F, H, W, 3) reflections of the main light on the eyes and wet teeth."""
    direction = light_93[1:4].mean(1)
    # a window in front and above is in almost every portrait; further up it would lie behind the lid
    aside = (0.5 * direction[0] / direction.norm().clamp(min=0.05)).clamp(-0.2, 0.2) + 0.03
    half = functional.normalize(torch.stack([aside, aside.new_tensor(-0.15), aside.new_tensor(-1.0)]), dim=0)
    cosine = (normal @ half).clamp(0, 1)
    wet = torch.zeros_like(cosine)
    for names, power, strength in ((("iris", "sclera"), 240.0, 0.9), (("teeth", "tongue", "gums"), 60.0, 0.06)):
        mine = torch.isin(part, part.new_tensor([PART[name] for name in names]))
        wet = torch.where(mine, strength * cosine**power, wet)
    return (wet * actor.person.eye_exposure)[..., None].expand(*wet.shape, 3)


def place_backdrop(actor: Actor, motion_FM: Tensor, size: int, backdrop: Tensor | None) -> Tensor:
    """(1, H, W, 3) linear: what is behind, as far away and shifted as the person is in the mean of the frames."""
    texture = actor.backdrop_1 if backdrop is None else backdrop[None].to(actor.backdrop_1)
    pose = motion_FM[:, POSE].mean(0)
    per_cm = size / FRAME_CENTIMETRES
    centre = torch.arange(size, device=pose.device, dtype=pose.dtype) + 0.5 - size / 2
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1)
    shifted = grid - pose[3:5] * OUTER_EYE_CENTIMETRES * per_cm
    canvas = shifted / (per_cm * torch.exp(pose[5])) * (CANVAS_SIDE / CANVAS_CENTIMETRES)
    uv = canvas / (CANVAS_SIDE / 2)
    picture = functional.grid_sample(texture, uv[None], align_corners=False, padding_mode="reflection")
    return picture.permute(0, 2, 3, 1)
