"""Hair as ribbons: a few thousand narrow strips, each a lock of strands, combed, curled or tied.

    worn = grow_hair(look, scalp_of(head), rest_V3)        # tens of milliseconds

A ribbon is a strip of quads that lies flat on the head; the streaks of its texture make strands of it, and its own
depth and silhouette come from the rasteriser like those of any mesh. Scarves and hats are shells.
Axes: S strands, K points along a strand, V vertices, T triangles. Centimetres, head space as in `looks`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forge.studio.growth import beard_area, scalp_density
from forge.studio.head import PARTS, HeadModel, load_head
from forge.studio.looks import Look, Worn
from forge.studio.noise import Noise
from forge.studio.regions import LAYOUT, marks_of, skin_fields, smooth
from forge.studio.wardrobe import beanie, scarf

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CANDIDATES = 60_000
SKULL_CENTRE, SKULL_RADII = np.array([0.0, 4.6, 0.6]), np.array([7.9, 10.0, 9.9])
"""The ellipsoid hair lies on, for the mean head; a person's is scaled by the person's skull."""
COVERED = ("scarf", "hat")


@dataclass(frozen=True, eq=False)
class Scalp:
    """Places where a hair could grow, the same for everybody: corners and weights in the head's mesh."""

    corner_S3: Ints
    weight_S3: Floats
    rest_S3: Floats
    """On the mean head."""
    skull_V: Ints
    """Vertices of the skull, for its size."""
    fields: dict[str, Floats]


@functools.cache
def scalp_of(head: HeadModel | None = None) -> Scalp:
    """Sample the outer skin of the shipped head evenly; once a process."""
    head = load_head() if head is None else head
    part = head.part_T.cpu().numpy()
    triangles = head.triangles_T3.cpu().numpy().astype(np.int64)
    triangles = triangles[np.isin(part, [PARTS.index(name) for name in ("skin", "neck")])]
    neutral = head.neutral_V3.double().cpu().numpy()
    rng = np.random.default_rng(101)
    a, b, c = (neutral[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(area), size=CANDIDATES, p=area / area.sum())
    u, v = rng.random((2, CANDIDATES))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    weight = np.stack([1 - u - v, u, v], 1)
    corner = triangles[chosen]
    rest = (neutral[corner] * weight[:, :, None]).sum(1)
    skull = np.flatnonzero((neutral[:, 1] > 6.0) & (np.abs(neutral[:, 0]) < 9) & (neutral[:, 2] < 9))
    return Scalp(corner, weight, rest, skull, skin_fields(rest, marks_of(head)))


def person_skull(scalp: Scalp, rest_V3: Floats) -> tuple[Floats, Floats]:
    """Centre and radii of the ellipsoid a person's hair lies on."""
    mine = rest_V3[scalp.skull_V]
    mean = load_head().neutral_V3.double().numpy()[scalp.skull_V]
    low, high = np.quantile(mine, 0.02, 0), np.quantile(mine, 0.98, 0)
    low_mean, high_mean = np.quantile(mean, 0.02, 0), np.quantile(mean, 0.98, 0)
    scale = np.clip((high - low) / (high_mean - low_mean), 0.85, 1.2)
    scale[1] = np.clip(high[1] / high_mean[1], 0.85, 1.2)
    centre = SKULL_CENTRE + (low + high - low_mean - high_mean) / 2 * np.array([1.0, 0.0, 1.0])
    return centre, SKULL_RADII * scale


@dataclass(frozen=True)
class Comb:
    """How a style lies."""

    count: int
    points: int
    width: float
    """Of a ribbon at its middle, cm."""
    out: float
    """Share of the scalp's normal in the direction a strand starts in."""
    gravity: float
    stiff: float = 0.0
    """Share of the starting direction that is kept all along."""
    lift: float = 0.4
    """How far locks lie above the skull, cm."""
    wave: tuple[float, float] = (0.0, 5.0)
    """Amplitude and length of waves, cm."""
    helix: tuple[float, float] = (0.0, 1.5)
    """Radius and pitch of curls, cm."""
    mess: float = 0.12


COMBS: dict[str, Comb] = {
    "buzz": Comb(9000, 2, 0.13, 0.9, 0.0, mess=0.35, lift=0.0),
    "bald": Comb(2600, 2, 0.10, 0.7, 0.0, mess=0.3, lift=0.0),
    "crop": Comb(4600, 4, 0.24, 0.55, 0.05, mess=0.28, lift=0.5),
    "parted": Comb(3000, 7, 0.34, 0.22, 0.55, mess=0.12, lift=0.7),
    "fringe": Comb(2600, 7, 0.32, 0.25, 0.4, mess=0.16, lift=0.6),
    "wavy": Comb(2100, 11, 0.40, 0.35, 0.6, lift=1.0, wave=(0.45, 4.6), mess=0.2),
    "long": Comb(2100, 11, 0.42, 0.25, 0.9, lift=0.8, mess=0.13),
    "long_wavy": Comb(1700, 15, 0.44, 0.3, 0.8, lift=1.1, wave=(0.55, 5.2), mess=0.18),
    "curls": Comb(1300, 20, 0.34, 0.7, 0.45, lift=1.2, helix=(0.42, 1.7), mess=0.3),
    "afro": Comb(2600, 8, 0.24, 1.3, 0.0, stiff=0.8, lift=0.2, helix=(0.24, 0.9), mess=0.35),
    "bun": Comb(2600, 9, 0.34, 0.0, 0.0, lift=0.35),
    "tail": Comb(2600, 9, 0.34, 0.0, 0.0, lift=0.35),
    "hat": Comb(1500, 3, 0.16, 0.4, 0.15, mess=0.25, lift=0.2),
}


def grow_hair(look: Look, rest_V3: Floats, normals_V3: Floats) -> tuple[Worn, ...]:
    """All that grows on or covers a person's head.

    Args:
        look: the person.
        rest_V3: the person's face at rest.
        normals_V3: its outward normals.
    """
    scalp, noise = scalp_of(), Noise(look.seed + 7)
    worn: list[Worn] = []
    centre, radii = person_skull(scalp, rest_V3)
    if look.hair == "scarf":
        worn.extend(scarf(look, centre, radii, noise))
    else:
        worn.extend(_scalp_hair(look, scalp, rest_V3, normals_V3, noise, centre, radii))
        if look.hair == "hat":
            worn.append(beanie(look, centre, radii, noise))
    if look.beard > 0 or look.moustache > 0:
        worn.append(_beard(look, scalp, rest_V3, normals_V3, noise))
    return tuple(worn)


def _roots(
    scalp: Scalp, density_S: Floats, count: int, rest_V3: Floats, normals_V3: Floats, rng: np.random.Generator
) -> tuple[Ints, Floats, Floats]:
    """Chosen candidates (S,), their places and normals on the person."""
    kept = np.flatnonzero(rng.random(len(density_S)) < density_S)
    kept = rng.permutation(kept)[:count]
    corner, weight = scalp.corner_S3[kept], scalp.weight_S3[kept][:, :, None]
    normal = (normals_V3[corner] * weight).sum(1)
    return kept, (rest_V3[corner] * weight).sum(1), normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9)


def _scalp_hair(
    look: Look, scalp: Scalp, rest_V3: Floats, normals_V3: Floats, noise: Noise, centre: Floats, radii: Floats
) -> list[Worn]:
    comb, rng = COMBS[look.hair], np.random.default_rng([look.seed, 23])
    density = scalp_density(torch.tensor(scalp.rest_S3, dtype=torch.float32), look).double().numpy()
    if look.hair == "hat":
        density = density * (scalp.rest_S3[:, 1] < 4.5 + 0.25 * scalp.rest_S3[:, 2])
    kept, roots, normals = _roots(scalp, density, comb.count, rest_V3, normals_V3, rng)
    if not len(kept):
        return []
    if look.hair in ("bun", "tail"):
        return _tied(look, comb, roots, noise, centre, radii, rng)
    direction = combing(look, roots, normals, noise, rng, comb)
    paths = lay(look, comb, roots, normals, direction, noise, rng, centre, radii)
    return [ribbons(paths, comb.width, centre, rng, look.hair_length < 2)]


def combing(look: Look, roots: Floats, normals: Floats, noise: Noise, rng: np.random.Generator, comb: Comb) -> Floats:
    """Direction in which every strand leaves the scalp, (S, 3) unit."""
    count = len(roots)
    side = np.where(roots[:, 0] + 0.25 * rng.normal(size=count) > 2.6 * look.part_side, 1.0, -1.0)
    zero, one = np.zeros(count), np.ones(count)
    if look.hair == "fringe":
        ahead = smooth(roots[:, 2], -3.0, 4.0)
        flow = np.stack([0.35 * side + 0.25 * roots[:, 0] / 8, -0.25 * one, 1.5 * ahead - 0.5], 1)
    elif look.hair == "crop":
        turn = np.random.default_rng([look.seed, 29]).choice(3)
        flow = (
            np.stack([0.25 * side, 0.2 * one, -0.8 * one], 1),
            np.stack([0.9 * np.sign(look.part_side + 0.1) * one, 0.25 * one, 0.4 * one], 1),
            np.stack([0.15 * side, 0.35 * one, 0.7 * smooth(roots[:, 2], 0, 5)], 1),
        )[turn]
        low = smooth(roots[:, 1], 6.5, 3.5)[:, None]
        flow = flow * (1 - low) + low * np.stack([zero, -0.8 * one, -0.35 * one], 1)
    elif look.hair in ("buzz", "bald", "hat"):
        flow = np.stack([zero, -0.5 * one, 0.2 * one], 1)
    elif look.hair == "afro":
        flow = (roots - SKULL_CENTRE) * 0.1
    else:
        sideways = 0.9 if look.part_side else 0.75
        flow = np.stack([side * sideways, 0.12 * one, -0.65 * one], 1)
    at = torch.tensor(roots, dtype=torch.float32)
    clump = torch.stack([noise.fractal(at, 1.3, 2) for _ in range(3)], 1).double().numpy()
    direction = (
        comb.out * normals + flow + 0.45 * clump * (0.4 + comb.mess * 3) + comb.mess * rng.normal(size=(count, 3))
    )
    return np.asarray(direction / np.linalg.norm(direction, axis=1, keepdims=True))


def lay(
    look: Look, comb: Comb, roots: Floats, normals: Floats, direction: Floats, noise: Noise,
    rng: np.random.Generator, centre: Floats, radii: Floats,
) -> Floats:  # fmt: skip
    """Let strands run from their roots over the skull and down: paths (S, K, 3)."""
    count, steps = len(roots), comb.points
    length = look.hair_length * (0.70 + 0.30 * rng.random(count))
    if look.hair in ("long", "long_wavy", "wavy", "fringe"):
        length = length * (1 - 0.25 * smooth(roots[:, 1], 4.0, -4.0))
    lift = (0.06 + comb.lift * rng.random(count) ** 1.4) * min(1.0, look.hair_length / 4.0)
    at = torch.tensor(roots, dtype=torch.float32)
    phase = 4.0 * noise.fractal(at, 2.2, 2).double().numpy() + 0.5 * rng.normal(size=count)
    fork = np.stack([noise.value(at, 2.0).double().numpy() for _ in range(2)], 1)
    stride = (length / steps)[:, None]
    start, position = direction.copy(), roots - 0.03 * normals
    paths = np.empty((count, steps + 1, 3))
    for step in range(steps + 1):
        t = step / steps
        paths[:, step] = position
        pull = np.array([0.0, -1.0, 0.0]) * comb.gravity * stride * 0.5
        direction = direction + pull + comb.stiff * start * stride * 0.5
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        position = position + direction * stride
        position, direction = keep_outside(position, direction, lift * min(1.0, t * 3.0 + 0.2), centre, radii)
    along = np.linspace(0, 1, steps + 1)[None, :] * length[:, None]
    across, up = frames(paths, centre)
    grow = np.minimum(1.0, along / 1.5)[:, :, None]
    if look.hair_curl > 0 and comb.wave[0]:
        wave = comb.wave[0] * np.sin(2 * np.pi * along / comb.wave[1] + phase[:, None])
        paths = paths + grow * (wave[:, :, None] * across + 0.4 * np.roll(wave, 1, 1)[:, :, None] * up)
    if comb.helix[0]:
        angle = 2 * np.pi * along / comb.helix[1] + 9.0 * phase[:, None]
        ring = np.cos(angle)[:, :, None] * across + np.sin(angle)[:, :, None] * up
        paths = paths + comb.helix[0] * grow * ring
    drift = np.minimum(along / 12.0, 1.2)[:, :, None]
    return np.asarray(paths + drift * (fork[:, None, :1] * across + 0.5 * fork[:, None, 1:] * up))


def keep_outside(
    position: Floats, direction: Floats, lift: Floats, centre: Floats, radii: Floats
) -> tuple[Floats, Floats]:
    """Push points that enter the lifted skull back to its surface and bend their direction along it.

    Below the ears the surface is a column, so that long hair hangs beside the jaw and neck, not through them.
    """
    wide = radii + lift[:, None]
    low = np.minimum(position[:, 1] - centre[1], 0.0)
    local = (position - centre) / wide
    local[:, 1] = np.where(low < 0, low / (wide[:, 1] * 3.2), local[:, 1])
    radius = np.linalg.norm(local, axis=1)
    # in front of the ears and below the brows there is the face: hair stays beside it
    inside = (radius < 1.0) & (position[:, 1] > -14.0)
    outward = local / wide
    outward[:, 1] = np.where(low < 0, 0.0, outward[:, 1])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-9
    pushed = position + outward * ((1.0 - radius) * wide[:, [0, 2]].mean(1))[:, None]
    bent = direction - np.minimum((direction * outward).sum(1), 0.0)[:, None] * outward
    bent /= np.linalg.norm(bent, axis=1, keepdims=True) + 1e-9
    return np.where(inside[:, None], pushed, position), np.where(inside[:, None], bent, direction)


def frames(paths: Floats, centre: Floats) -> tuple[Floats, Floats]:
    """Across (in the surface of the head) and up (away from it) for every point of every path."""
    tangent = np.gradient(paths, axis=1)
    outward = paths - centre
    outward[..., 1] = np.maximum(outward[..., 1], 0.0)
    across = np.cross(tangent, outward)
    across /= np.linalg.norm(across, axis=-1, keepdims=True) + 1e-9
    up = np.cross(across, tangent)
    return across, up / (np.linalg.norm(up, axis=-1, keepdims=True) + 1e-9)


def _tied(
    look: Look, comb: Comb, roots: Floats, noise: Noise, centre: Floats, radii: Floats, rng: np.random.Generator
) -> list[Worn]:
    """Hair combed back over the skull to a knot: a bun or a tail."""
    high = 0.75 if look.seed % 2 else 0.25
    knot = np.array([0.0, high, -np.sqrt(1 - high**2)])
    local = (roots - centre) / radii
    reach = np.linalg.norm(local, axis=1, keepdims=True)
    unit = local / reach
    t = np.linspace(0, 1, comb.points + 1)[None, :, None]
    mixed = unit[:, None] * (1 - t) + knot * t
    mixed /= np.linalg.norm(mixed, axis=2, keepdims=True) + 1e-9
    height = reach[:, None] * (1 - t) + (1.0 + 0.02 * rng.random((len(roots), 1, 1))) * t
    height = np.maximum(height, 1.0) + 0.028 * np.sin(np.pi * t) * (0.3 + rng.random((len(roots), 1, 1)))
    height[:, 0] = reach
    paths = centre + mixed * height * radii
    worn = [ribbons(paths, comb.width, centre, rng, False)]
    at = centre + knot * radii * 1.02
    if look.hair == "bun":
        turns = 260
        angle = rng.uniform(0, 2 * np.pi, (turns, 1)) + np.linspace(0, 2.4, 9)
        tilt = rng.normal(0, 0.6, (turns, 1))
        size = rng.uniform(2.0, 2.7, (turns, 1))
        x, y = size * np.cos(angle), size * np.sin(angle) * np.cos(tilt)
        z = size * np.sin(angle) * np.sin(tilt)
        centre_bun = at + knot * 1.6
        worn.append(ribbons(np.stack([x, y, z], -1) + centre_bun, 0.5, centre_bun, rng, False))
    else:
        count, steps = 320, 9
        fall = np.linspace(0, 1, steps)[None, :]
        spread = rng.normal(size=(count, 2, 1))
        x = at[0] + spread[:, 0] * (0.5 + 1.2 * fall)
        z = at[2] - 2.6 * np.sin(fall * 2.2) + spread[:, 1] * 0.7
        y = at[1] + 1.2 * np.sin(fall * 4) * (1 - fall) - fall**1.4 * rng.uniform(12, 17, (count, 1))
        worn.append(ribbons(np.stack([x, y, z], -1), 0.4, centre, rng, False))
    return worn


def _beard(look: Look, scalp: Scalp, rest_V3: Floats, normals_V3: Floats, noise: Noise) -> Worn:
    """A beard or a moustache; it follows the skin it grows on."""
    rng = np.random.default_rng([look.seed, 31])
    fields = {name: torch.tensor(values, dtype=torch.float32) for name, values in scalp.fields.items()}
    area = beard_area(fields, noise.value(torch.tensor(scalp.rest_S3, dtype=torch.float32), 1.4)).double().numpy()
    if look.beard == 0:
        area = area * smooth(scalp.rest_S3[:, 1], -4.0, -3.4) * (np.abs(scalp.rest_S3[:, 0]) < 3.0)
    kept, roots, normals = _roots(scalp, area, 3600, rest_V3, normals_V3, rng)
    high = smooth(roots[:, 1], -4.2, -3.2)
    length = np.where(high > 0.5, np.maximum(look.moustache, 0.3), look.beard) * rng.uniform(0.6, 1.0, len(roots))
    side = np.sign(roots[:, 0]) * np.minimum(np.abs(roots[:, 0]) / 1.0, 1.0)
    flow = np.stack([0.8 * side * high, -0.9 + 0 * side, 0.05 + 0 * side], 1) + 0.16 * rng.normal(size=(len(roots), 3))
    out = flow + np.where(high > 0.5, 0.3, 0.42)[:, None] * normals
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    t = np.linspace(0, 1, 4)[None, :, None]
    bend = t * out[:, None] + 0.35 * t**2 * np.array([0.0, -1.0, 0.0])
    paths = roots[:, None] - 0.02 * normals[:, None] + bend * length[:, None, None]
    worn = ribbons(paths, 0.10, np.array([0.0, -2.0, 2.0]), rng, True)
    repeat = worn.vertices_V3.shape[0] // max(len(kept), 1)
    return Worn(
        worn.vertices_V3, worn.normals_V3, worn.tangents_V3, worn.uv_V2, worn.triangles_T3, "hair", "skin",
        np.repeat(scalp.corner_S3[kept], repeat, 0), np.repeat(scalp.weight_S3[kept], repeat, 0).astype(np.float32),
    )  # fmt: skip


def ribbons(paths: Floats, width: float, centre: Floats, rng: np.random.Generator, short: bool) -> Worn:
    """Strips of quads along paths (S, K, 3), flat on the head."""
    count, points, _ = paths.shape
    across, up = frames(paths, centre)
    tangent = np.gradient(paths, axis=1)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-9
    # a little twist keeps a lock visible from the side
    twist = (0.5 * rng.normal(size=(count, 1, 1))).clip(-1.0, 1.0)
    flat = np.cos(twist) * across + np.sin(twist) * up
    t = np.linspace(0, 1, points)
    taper = (1.0 + 0.3 * np.sin(np.pi * np.minimum(t * 1.2, 1.0))) * np.clip(
        (1.06 - t) * (1.6 if short else 4.0), 0.1, 1
    )
    half = 0.5 * width * rng.uniform(0.7, 1.4, (count, 1, 1)) * taper[None, :, None]
    left, right = paths - half * flat, paths + half * flat
    normal = up * 0.6 + (paths - centre) / (np.linalg.norm(paths - centre, axis=-1, keepdims=True) + 1e-9)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    box_left, top, box_width, height = LAYOUT["hair"]
    u0 = rng.uniform(0.02, 0.92, (count, 1)) + np.zeros((1, points))
    streak = 0.055
    v = np.broadcast_to(top + height * (0.03 + 0.94 * t), (count, points))
    uv = np.stack(
        [np.stack([box_left + box_width * u0, v], -1), np.stack([box_left + box_width * (u0 + streak), v], -1)], 2
    )
    index = np.arange(count * points * 2).reshape(count, points, 2)
    a, b, c, d = index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 0], index[:, 1:, 1]
    triangles = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    return Worn(
        np.stack([left, right], 2).reshape(-1, 3).astype(np.float32),
        np.repeat(normal[:, :, None], 2, 2).reshape(-1, 3).astype(np.float32),
        np.repeat(tangent[:, :, None], 2, 2).reshape(-1, 3).astype(np.float32),
        uv.reshape(-1, 2).astype(np.float32),
        triangles.astype(np.int64),
        "hair",
    )
