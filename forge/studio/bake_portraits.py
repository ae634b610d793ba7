"""Render the demo's embedded portraits: people who do not exist, so nobody's consent is needed.

    python -m forge.studio.bake_portraits --head ict_head.npz --out countermark/demo_assets

Geometry: the ICT-FaceKit light head model (MIT), one npz given by path. Looks: `demo_looks.py`. The pictures that ship
were made by this command; it is not run by users. Slow and plain on purpose: made once, at 3x3 samples a pixel.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.studio.demo_hair import grow_hair, scalp_density, shade_hair
from forge.studio.demo_looks import LOOKS, Look, eye_albedo, fractal_noise, hash_noise, skin_albedo
from forge.studio.demo_zbuffer import Coverage, rasterise, splat

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FACE, NECK, MOUTH_SOCKET, GUMS, TEETH, LASHES = 0, 1, 2, 5, 6, (17, 18)
EYEBALLS = {7: 7, 8: 7, 9: 9, 10: 9}
"""Part -> the sclera part whose vertices give the eyeball's centre."""
HIDDEN = (11, 12, 13, 14, 15, 16)
"""Tear film and occlusion layers: transparent in the model, not drawn."""
CLOTH = 50
CAMERA_DISTANCE, FRAME_HEIGHT, CENTRE_Y = 120.0, 40.5, -1.6


@dataclass(frozen=True, eq=False)
class Scene:
    """One posed person: geometry with rest positions for procedural colour."""

    world_V3: Floats
    rest_V3: Floats
    triangles_T3: Ints
    part_T: Ints
    marks68: Floats
    rotation_33: Floats


def build_scene(head: dict[str, NDArray[np.generic]], look: Look) -> Scene:
    """Shape a head for a look, dress it, turn it."""
    rng = np.random.default_rng(look.seed)
    rest = head["vertices"].astype(np.float64)
    modes = head["identity_delta"][:60].astype(np.float64)
    amounts = rng.normal(size=60) * look.shape_strength * np.linspace(1.0, 0.5, 60)
    rest = rest + np.tensordot(np.clip(amounts, -1.8, 1.8), modes, 1)
    posed = rest.copy()
    names = [str(name) for name in head["expression_names"]]
    for name, amount in (
        ("mouthSmile_L", look.smile),
        ("mouthSmile_R", look.smile),
        ("eyeSquint_L", 0.12),
        ("eyeSquint_R", 0.12),
    ):
        posed += amount * head["expression_delta"][names.index(name)].astype(np.float64)
    keep = ~np.isin(head["tri_part"], HIDDEN)
    # Lash strips are solid in the model: the upper ones make a good lash line, the lower ones a black band.
    middle_y = rest[head["triangles"]][:, :, 1].mean(1)
    lid_y = rest[head["landmarks68"][[36, 39, 42, 45]].astype(np.int64), 1].mean()
    wing = (
        np.abs(rest[head["triangles"]][:, :, 0]).max(1)
        > np.abs(rest[head["landmarks68"][[36, 45]].astype(np.int64), 0]).max() + 0.12
    )
    keep &= ~np.isin(head["tri_part"], LASHES) | ((middle_y > lid_y + 0.1) & ~wing)
    triangles = head["triangles"][keep].astype(np.int64)
    parts = head["tri_part"][keep].astype(np.int64)
    cloth, cloth_triangles = shirt(rest)
    triangles = np.vstack([triangles, cloth_triangles + len(rest)])
    parts = np.concatenate([parts, np.full(len(cloth_triangles), CLOTH)])
    angle = np.radians(look.yaw_degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    marks = rest[head["landmarks68"].astype(np.int64)]
    world = np.vstack([posed @ turn.T, cloth @ turn.T])
    return Scene(world, np.vstack([rest, cloth]), triangles, parts, marks, turn)


def shirt(rest_V3: Floats, rings: int = 60, spokes: int = 220) -> tuple[Floats, Ints]:
    """A crew-neck shirt over neck and shoulders: rings that widen from the collar down."""
    down = np.linspace(0.0, 1.0, rings)[:, None]
    around = np.linspace(0.0, 2 * np.pi, spokes, endpoint=False)[None]
    slope = np.clip(down * 1.25, 0, 1)
    spread = 0.75 * np.sqrt(slope) + 0.25 * slope
    half_width, half_depth = 8.6 + 13.5 * spread, 7.4 + 5.5 * spread
    collar = 1.0 - np.exp(-down / 0.012)
    x = (half_width - 0.9 * (1 - collar)) * np.sign(np.cos(around)) * np.abs(np.cos(around)) ** 0.9
    z = -2.2 + (half_depth - 0.9 * (1 - collar)) * np.sin(around) + 2.2 * np.maximum(np.sin(around), 0) * spread
    dip = 3.6 * np.maximum(np.sin(around), 0) ** 2
    y = (
        -11.4
        - dip * (1 - spread)
        + 0.3 * np.sin(around * 2)
        - 3.2 * spread
        - 3.6 * spread**2
        - 20.0 * np.clip(down - 0.62, 0, 1) ** 1.2
        - 0.5 * (1 - collar)
    )
    points = np.stack([x + 0 * y, y + 0 * x, z + 0 * y], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(spokes), indexing="ij")
    a, b = i * spokes + j, i * spokes + (j + 1) % spokes
    quads = np.stack([a, b, b + spokes, a + spokes], -1).reshape(-1, 4)
    return points, np.vstack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int64)


def project(world_N3: Floats, size: int) -> Floats:
    """Perspective camera on +z: pixels and depth."""
    focal = size * CAMERA_DISTANCE / FRAME_HEIGHT
    depth = CAMERA_DISTANCE - world_N3[:, 2]
    x = size / 2 + focal * world_N3[:, 0] / depth
    y = size / 2 - focal * (world_N3[:, 1] - CENTRE_Y) / depth
    return np.stack([x, y, depth], 1)


def vertex_normals(world_V3: Floats, triangles_T3: Ints) -> Floats:
    """Area-weighted normals."""
    a, b, c = (world_V3[triangles_T3[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros_like(world_V3)
    for k in range(3):
        np.add.at(total, triangles_T3[:, k], face)
    return np.asarray(total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-12))


def light_frame(direction: Floats) -> Floats:
    """An orthonormal frame whose third axis points to the light."""
    w = direction / np.linalg.norm(direction)
    u = np.cross((0.0, 1.0, 0.0), w)
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(w, u), w])


def soft_shadow(scene: Scene, points_N3: Floats, direction: Floats, occluders_M3: Floats, taps: int = 24) -> Floats:
    """Share of the light that arrives, by a percentage-closer look-up in an orthographic depth map."""
    size, span = 1024, 64.0
    frame = light_frame(direction)
    centre = np.array([0.0, -4.0, 0.0])

    def place(points: Floats) -> Floats:
        local = (points - centre) @ frame.T
        return np.stack(
            [size / 2 + local[:, 0] * size / span, size / 2 - local[:, 1] * size / span, 100.0 - local[:, 2]], 1
        )

    depth = rasterise(place(scene.world_V3), scene.triangles_T3, size).depth
    if len(occluders_M3):
        splat(place(occluders_M3), np.zeros((len(occluders_M3), 3)), depth, np.zeros((size, size, 3)))
    at = place(points_N3)
    lit = np.zeros(len(points_N3))
    turn = hash_noise(points_N3 * 40.0, 5) * np.pi  # a rotated disc a pixel hides the banding of few taps
    for tap in range(taps):
        radius, angle = 9.0 * np.sqrt((tap + 0.5) / taps), tap * 2.399963 + turn
        x = np.clip(at[:, 0] + radius * np.cos(angle), 0, size - 1).astype(np.int64)
        y = np.clip(at[:, 1] + radius * np.sin(angle), 0, size - 1).astype(np.int64)
        lit += depth[y, x] > at[:, 2] - 0.30
    return lit / taps


def ambient_occlusion(depth_HW: Floats, pixels_per_cm: float) -> Floats:
    """Open sky around a pixel, from the depth buffer: nearer neighbours within a few cm darken."""
    filled = np.where(
        np.isfinite(depth_HW), depth_HW, np.nanmax(np.where(np.isfinite(depth_HW), depth_HW, np.nan)) + 6.0
    ).astype(np.float32)
    closed = np.zeros_like(filled)
    for radius_cm, reach in ((0.35, 0.5), (0.9, 1.3), (2.2, 3.0)):
        blurred = cv2.GaussianBlur(filled, (0, 0), radius_cm * pixels_per_cm)
        closed += np.clip((filled - blurred) / reach, 0.0, 1.0)
    return np.asarray(np.exp(-1.25 * closed), np.float64)


def albedo_of(scene: Scene, cover: Coverage, look: Look) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Colour, gloss and part of every seen pixel: (N, 3), (N,), (N,)."""
    seen = cover.triangle >= 0
    part = scene.part_T[cover.triangle[seen]]
    rest = cover.interpolate(scene.rest_V3, scene.triangles_T3)[seen]
    colour, gloss = np.zeros((len(part), 3)), np.full(len(part), 0.30)
    skin = np.isin(part, (FACE, NECK))
    scalp = 0.9 * scalp_density(rest[skin], scene.marks68, look)[:, None]  # roots between the strands
    colour[skin] = skin_albedo(rest[skin], scene.marks68, look) * (1 - scalp) + scalp * np.asarray(look.hair) * 0.8
    for eye, ball in EYEBALLS.items():
        chosen = part == eye
        if chosen.any():
            corners = scene.rest_V3[np.unique(scene.triangles_T3[scene.part_T == ball])]
            centre = (corners.min(0) + corners.max(0)) / 2
            centre[2] = corners[:, 2].min() + 1.42
            colour[chosen] = eye_albedo(rest[chosen], centre, look)
            gloss[chosen] = 1.0
    inner = np.isin(part, (MOUTH_SOCKET, GUMS, 3, 4))
    colour[inner] = (0.20, 0.05, 0.045)
    colour[part == TEETH] = (0.62, 0.56, 0.46)
    colour[np.isin(part, LASHES)] = (0.03, 0.022, 0.018)
    cloth = part == CLOTH
    weave = (
        1.0
        + 0.10 * hash_noise(rest[cloth] * np.array([7.0, 3.0, 7.0]), look.seed)
        + 0.10 * fractal_noise(rest[cloth], 7.0, look.seed + 2)
    )
    colour[cloth] = np.asarray(look.cloth) * weave[:, None]
    gloss[cloth] = 0.02
    return np.clip(colour, 0.002, 0.95), gloss, part


def bumpy(normal_N3: Floats, rest_N3: Floats, part: NDArray[np.int64], look: Look) -> Floats:
    """Pores and folds: tilt the normals by the gradient of noise."""
    step = 0.02

    def height(at: Floats) -> Floats:
        return 0.010 * hash_noise(at / 0.09, look.seed + 51) + 0.012 * fractal_noise(at, 0.5, look.seed + 52, 2)

    base = height(rest_N3)
    gradient = np.stack([(height(rest_N3 + step * axis) - base) / step for axis in np.eye(3)], 1)
    fold = np.stack(
        [
            (
                fractal_noise(rest_N3 + 0.1 * axis, 5.0, look.seed + 60, 3)
                - fractal_noise(rest_N3, 5.0, look.seed + 60, 3)
            )
            / 0.1
            for axis in np.eye(3)
        ],
        1,
    )
    tilt = np.where(np.isin(part, (FACE, NECK))[:, None], gradient * 0.7, 0.0) + np.where(
        (part == CLOTH)[:, None], fold * 1.2, 0.0
    )
    normal = normal_N3 - tilt
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def render(head: dict[str, NDArray[np.generic]], look: Look, size: int = 512, samples: int = 3) -> NDArray[np.uint8]:
    """One portrait, (size, size, 3) uint8 sRGB."""
    side = size * samples
    scene = build_scene(head, look)
    cover = rasterise(project(scene.world_V3, side), scene.triangles_T3, side)
    seen = cover.triangle >= 0
    world = cover.interpolate(scene.world_V3, scene.triangles_T3)[seen]
    rest = cover.interpolate(scene.rest_V3, scene.triangles_T3)[seen]
    normal = cover.interpolate(vertex_normals(scene.world_V3, scene.triangles_T3), scene.triangles_T3)[seen]
    albedo, gloss, part = albedo_of(scene, cover, look)
    normal = bumpy(normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9), rest, part, look)
    strands = grow_hair(scene.rest_V3, scene.triangles_T3[np.isin(scene.part_T, (FACE, NECK))], scene.marks68, look)
    hair_points = strands.points @ scene.rotation_33.T
    key = np.asarray(look.key_light)
    shadow = soft_shadow(scene, world, key, hair_points[::2])
    open_sky = ambient_occlusion(cover.depth, side / FRAME_HEIGHT)[seen]
    lit = shade(world, normal, albedo, gloss, part, shadow, open_sky, look)
    picture = backdrop(look, side)
    skin_light = np.zeros((side, side, 3))
    skin_light[seen] = lit[0]
    skin_mask = np.zeros((side, side))
    skin_mask[seen] = np.isin(part, (FACE, NECK))
    diffuse = scatter(skin_light, skin_mask, side / FRAME_HEIGHT)
    picture[seen] = albedo * diffuse[seen] + lit[1]
    colours = shade_hair(strands, hair_points, scene.rotation_33, key, look)
    depth = cover.depth.copy()
    screen = project(hair_points, side)
    hair_lit = soft_shadow(scene, hair_points, key, hair_points[::3], taps=8)
    splat(screen, colours * (0.35 + 0.65 * hair_lit[:, None]), depth, picture)
    return develop(picture, size, look)


def shade(
    world: Floats,
    normal: Floats,
    albedo: Floats,
    gloss: Floats,
    part: NDArray[np.int64],
    shadow: Floats,
    open_sky: Floats,
    look: Look,
) -> tuple[Floats, Floats]:
    """Irradiance (N, 3) and mirror light (N, 3) from key, fill, rim and sky."""
    view = np.array([0.0, CENTRE_Y, CAMERA_DISTANCE]) - world
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    key = np.asarray(look.key_light) / np.linalg.norm(look.key_light)
    fill, rim = np.array([-0.75 * np.sign(key[0]), 0.1, 0.66]), np.array([-0.8 * np.sign(key[0]), 0.35, -0.5])
    warm = np.array([1.0 + look.warmth, 1.0, 1.0 - look.warmth])
    sky = 0.5 + 0.5 * normal[:, 1:2]
    irradiance = (0.34 * sky + 0.16) * open_sky[:, None] * np.array([0.96, 1.0, 1.06])
    mirror = np.zeros_like(irradiance)
    for direction, power, seen in ((key, 2.15, shadow), (fill, 0.50, open_sky), (rim, 0.75, open_sky)):
        toward = direction / np.linalg.norm(direction)
        wrap = np.clip((normal @ toward + 0.12) / 1.12, 0, 1)
        light = power * seen[:, None] * warm
        irradiance = irradiance + wrap[:, None] * light
        half = view + toward
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        cosine = np.clip((normal * half).sum(1), 0, 1)
        fresnel = 0.03 + 0.97 * (1 - np.clip((view * half).sum(1), 0, 1)) ** 5
        skin = gloss * fresnel * (1.3 * cosine**18 + 2.2 * cosine**70) * np.clip(normal @ toward + 0.05, 0, 1)
        wet = np.where(np.isin(part, tuple(EYEBALLS)), 0.9 * cosine**900, 0.0)
        mirror = mirror + ((skin * 1.6 + wet) * power * seen)[:, None]
    inner = np.isin(part, tuple(EYEBALLS))
    irradiance[inner] *= (0.45 + 0.4 * open_sky[inner])[:, None]
    return irradiance, mirror


def scatter(light_HW3: Floats, mask_HW: Floats, pixels_per_cm: float) -> Floats:
    """Sub-surface scattering as a blur of the light on skin: red travels furthest, edges are kept by the mask."""
    out = light_HW3.copy()
    for channel, mix in enumerate(
        (((0.16, 0.45), (0.42, 0.35)), ((0.08, 0.55), (0.16, 0.2)), ((0.05, 0.6), (0.09, 0.15)))
    ):
        plane = light_HW3[..., channel]
        total = plane * (1 - sum(w for _, w in mix))
        for width_cm, weight in mix:
            sigma = width_cm * pixels_per_cm
            blurred = cv2.GaussianBlur(plane * mask_HW, (0, 0), sigma) / (
                cv2.GaussianBlur(mask_HW, (0, 0), sigma) + 1e-6
            )
            total = total + weight * blurred
        out[..., channel] = np.where(mask_HW > 0, total, plane)
    return out


def backdrop(look: Look, side: int) -> Floats:
    """A painted studio cloth, out of focus."""
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    glow = np.exp(-((x + 0.12) ** 2 + (y + 0.05) ** 2) / 0.16)[..., None]
    picture = np.asarray(look.backdrop[1]) * (1 - glow) + np.asarray(look.backdrop[0]) * glow
    points = np.stack([x.ravel() * 5, y.ravel() * 5, np.full(x.size, look.seed * 1.7)], 1)
    mottled = fractal_noise(points, 1.6, look.seed + 70, 3).reshape(side, side, 1)
    return np.asarray(picture * (1 + 0.16 * mottled))


def develop(picture_HW3: Floats, size: int, look: Look) -> NDArray[np.uint8]:
    """Linear light to an sRGB photo: resolve, filmic curve, vignette, sensor grain."""
    small = cv2.resize(np.minimum(picture_HW3, 4.0), (size, size), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    small = small * (1.0 - 0.35 * (x**2 + y**2))[..., None] * 0.66
    curve = (small * (2.51 * small + 0.03)) / (small * (2.43 * small + 0.59) + 0.14)
    srgb = np.where(curve <= 0.0031308, 12.92 * curve, 1.055 * np.clip(curve, 0, 1) ** (1 / 2.4) - 0.055)
    grain = np.random.default_rng(look.seed).normal(size=(size, size, 3)) * 0.006
    return np.asarray(np.clip(srgb + grain, 0, 1) * 255 + 0.5, np.uint8)


def main() -> None:
    """Bake every look into the output folder as WebP."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--head", type=Path, required=True, help="ICT-FaceKit light head as npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="names separated by commas")
    parser.add_argument("--samples", type=int, default=3)
    options = parser.parse_args()
    with np.load(options.head) as stored:
        head = {name: stored[name] for name in stored.files}
    options.out.mkdir(parents=True, exist_ok=True)
    for look in LOOKS:
        if not options.only or look.name in options.only.split(","):
            picture = render(head, look, samples=options.samples)
            cv2.imwrite(str(options.out / f"{look.name}.webp"), picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 92])


if __name__ == "__main__":
    main()
