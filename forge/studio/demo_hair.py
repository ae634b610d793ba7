"""Hair as strands: roots on the scalp, a comb direction, gravity, shading along the strand.

Lengths in cm, head space as in `demo_looks.py`. A strand is a polyline sampled densely enough to be splatted as points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forge.studio.demo_looks import Look, fractal_noise, smooth_step

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STRANDS = 42_000
SKULL_CENTRE, SKULL_RADII = np.array([0.0, 4.6, 0.6]), np.array([8.0, 10.2, 10.0])
"""The ellipsoid hair lies on; strands are kept outside of it."""


@dataclass(frozen=True, eq=False)
class Strands:
    """All hair samples of a head."""

    points: Floats
    """(N, 3) positions."""
    tangents: Floats
    """(N, 3) unit directions from root to tip."""
    along: Floats
    """(N,) 0 at the root, 1 at the tip."""
    strand: Ints
    """(N,) index of the strand."""


def scalp_density(points_N3: Floats, marks68: Floats, look: Look) -> Floats:
    """How likely a point of the head grows hair: the scalp behind the hairline, not ears, not neck."""
    brow = marks68[17:27, 1].max()
    side = np.abs(points_N3[:, 0]) / 8.0
    temple = look.hairline - 1.2 * smooth_step(side, 0.45, 0.8) - 5.5 * smooth_step(side, 0.78, 1.0)
    jag = 0.45 * fractal_noise(points_N3, 1.5, look.seed + 80)
    front = smooth_step(points_N3[:, 1] - brow - temple + jag, -0.25, 0.45)
    ear_line = 2.2  # hair in front of the ears ends at a sideburn, behind them it runs down to the nape
    back = smooth_step(points_N3[:, 2], -0.5, -2.5) * smooth_step(points_N3[:, 1], -6.0, -4.5)
    sideburn = smooth_step(points_N3[:, 2], 4.6, 3.4) * smooth_step(points_N3[:, 1], ear_line - 1.0, ear_line + 1.0)
    not_ear = smooth_step(np.abs(points_N3[:, 0]), 8.1, 7.7)
    return np.asarray(np.clip(np.maximum(front, np.maximum(back, sideburn)), 0, 1) * not_ear)


def sample_roots(rest_V3: Floats, triangles_T3: Ints, marks68: Floats, look: Look) -> tuple[Floats, Floats]:
    """Roots and outward normals, (S, 3) each."""
    rng = np.random.default_rng(look.seed + 101)
    a, b, c = (rest_V3[triangles_T3[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    area = np.linalg.norm(cross, axis=1)
    chosen = rng.choice(len(area), size=STRANDS * 3, p=area / area.sum())
    u, v = rng.random((2, len(chosen)))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    roots = a[chosen] + u[:, None] * (b - a)[chosen] + v[:, None] * (c - a)[chosen]
    normals = cross[chosen] / (area[chosen][:, None] + 1e-12)
    kept = rng.random(len(roots)) < scalp_density(roots, marks68, look)
    return roots[kept][:STRANDS], normals[kept][:STRANDS]


def grow_hair(rest_V3: Floats, triangles_T3: Ints, marks68: Floats, look: Look) -> Strands:
    """Comb strands from the roots: away from the parting, over the skull, then down."""
    roots, normals = sample_roots(rest_V3, triangles_T3, marks68, look)
    rng = np.random.default_rng(look.seed + 102)
    count = len(roots)
    length = look.hair_length * (0.72 + 0.28 * rng.random(count))
    long_hair = look.hair_length > 8
    steps = int(np.clip(look.hair_length * 14, 14, 150))
    side = np.where(roots[:, 0] + 0.25 * rng.normal(size=count) > 2.4 * look.part_side, 1.0, -1.0)
    comb = np.stack([side * (0.9 if look.part_side else 0.15), np.full(count, 0.15), np.full(count, -0.75)], 1)
    clump = np.stack([fractal_noise(roots, 1.1, look.seed + 110 + k, 2) for k in range(3)], 1)
    direction = (
        (0.75 if look.hair_length < 1 else 0.45) * normals + comb + 0.55 * clump + 0.10 * rng.normal(size=(count, 3))
    )
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    lift = 0.10 + (1.05 if long_hair else 0.55) * rng.random(count) ** 1.5 * min(look.hair_length / 5.0, 1.0)
    phase = 2.5 * clump[:, 0] + 0.5 * rng.normal(size=count)
    points, tangents = np.empty((count, steps, 3)), np.empty((count, steps, 3))
    position = roots + 0.02 * normals
    stride = length / steps
    for step in range(steps):
        t = step / steps
        points[:, step] = position
        gravity = np.array([0.0, -1.0, 0.0]) * (0.9 if long_hair else 0.25) * stride[:, None] * 0.55
        wave = look.hair_curl * np.sin(2 * np.pi * (t * look.hair_length / 5.5) + phase)
        across = np.stack([-direction[:, 1], direction[:, 0], 0.3 * direction[:, 2]], 1)
        direction = direction + gravity + 0.22 * stride[:, None] * wave[:, None] * across
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        position = position + direction * stride[:, None]
        position, direction = keep_outside(position, direction, lift * smooth_step(np.full(count, t), 0.0, 0.3))
        tangents[:, step] = direction
    along = np.tile(np.linspace(0, 1, steps), (count, 1))
    strand = np.repeat(np.arange(count), steps)
    return Strands(points.reshape(-1, 3), tangents.reshape(-1, 3), along.ravel(), strand)


def keep_outside(position: Floats, direction: Floats, lift: Floats) -> tuple[Floats, Floats]:
    """Push points that enter the lifted skull ellipsoid back to its surface and bend their direction along it."""
    radii = SKULL_RADII + lift[:, None]
    local = (position - SKULL_CENTRE) / radii
    radius = np.linalg.norm(local, axis=1)
    inside = (radius < 1.0) & (position[:, 1] > -1.0)
    pushed = SKULL_CENTRE + local / np.maximum(radius, 1e-6)[:, None] * radii
    outward = local / radii
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    bent = direction - np.minimum((direction * outward).sum(1), 0.0)[:, None] * outward
    bent /= np.linalg.norm(bent, axis=1, keepdims=True) + 1e-9
    blend = np.where(inside, 0.5, 0.0)[:, None]
    return position * (1 - blend) + pushed * blend, np.where(inside[:, None], bent, direction)


def shade_hair(strands: Strands, world_N3: Floats, rotation_33: Floats, key_light: Floats, look: Look) -> Floats:
    """Kajiya-Kay: diffuse by the sine to the light, two shifted highlights, lighter tips, strand variety."""
    tangent = strands.tangents @ rotation_33.T
    light = key_light / np.linalg.norm(key_light)
    view = np.array([0.0, 0.0, 1.0])
    sine = np.sqrt(np.clip(1 - (tangent @ light) ** 2, 0, 1))
    half = (light + view) / np.linalg.norm(light + view)
    shift = 0.10 * np.sin(strands.strand * 12.9898)
    primary = np.clip(1 - (tangent @ half + shift) ** 2, 0, 1) ** 45
    secondary = np.clip(1 - (tangent @ half - 0.14 + shift) ** 2, 0, 1) ** 14
    variety = 1.0 + 0.35 * np.sin(strands.strand * 78.233)
    outward = world_N3 - SKULL_CENTRE
    outward = outward / np.linalg.norm(outward, axis=1, keepdims=True)
    facing = np.clip(0.35 + 0.65 * (outward @ light), 0.12, 1.0)
    base = np.asarray(look.hair) * variety[:, None] * (0.75 + 0.5 * strands.along)[:, None]
    diffuse = base * (0.35 + 1.5 * sine * facing)[:, None]
    gloss = (0.055 * primary + 0.9 * secondary * np.asarray(look.hair).mean()) * facing
    return np.asarray(diffuse + gloss[:, None] * np.array([1.0, 0.95, 0.88]))
