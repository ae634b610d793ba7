"""What people wear: garments over the shoulders, glasses, scarves and hats, as meshes built around a person's own head.

Axes: V vertices, T triangles. Centimetres, head space. Garments follow the torso, everything else the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forge.studio.looks import Frame, Look, Worn
from forge.studio.noise import Noise
from forge.studio.regions import LAYOUT, flat_cell, smooth

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """Shape of a garment's neck."""

    half_width: float
    """Of the opening, cm."""
    height: float
    """Of the opening at the sides, head space."""
    dip: float
    """How far the opening falls in front."""
    pointed: float
    """0 round, 1 a vee."""
    collar: float = 0.0
    """Height of what stands above the opening, cm."""
    flare: float = 0.0
    """How far the top of the collar leans out."""


CUTS: dict[str, Cut] = {
    "crew": Cut(7.6, -11.6, 2.4, 0.0),
    "vee": Cut(7.8, -11.3, 5.6, 1.0),
    "scoop": Cut(8.8, -12.0, 3.0, 0.0),
    "shirt": Cut(7.4, -11.2, 4.6, 0.8, 1.9, 0.75),
    "turtleneck": Cut(6.7, -12.0, 1.0, 0.0, 3.6, -0.35),
    "hood": Cut(8.6, -11.2, 3.4, 0.3, 2.4, 1.6),
}


def mesh_normals(vertices_V3: Floats, triangles_T3: Ints) -> Floats:
    """Area-weighted unit normals."""
    a, b, c = (vertices_V3[triangles_T3[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros_like(vertices_V3)
    for k in range(3):
        np.add.at(total, triangles_T3[:, k], face)
    return np.asarray(total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-12))


def grid_triangles(rows: int, columns: int, *, closed: bool) -> Ints:
    """Two triangles for each cell of a grid of vertices; `closed` joins the last column to the first."""
    last = columns if closed else columns - 1
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(last), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    quads = np.stack([a, b, b + columns, a + columns], -1).reshape(-1, 4)
    return np.vstack([quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]]).astype(np.int64)


def sheet(points_RC3: Floats, uv_RC2: Floats, follows: str, *, closed: bool = True) -> Worn:
    """A grid of points as a mesh of cloth."""
    rows, columns, _ = points_RC3.shape
    triangles = grid_triangles(rows, columns, closed=closed)
    flat = points_RC3.reshape(-1, 3)
    normals = mesh_normals(flat, triangles)
    assert follows in ("head", "torso")
    return Worn(
        flat.astype(np.float32),
        normals.astype(np.float32),
        np.zeros_like(flat, np.float32),
        uv_RC2.reshape(-1, 2).astype(np.float32),
        triangles,
        "cloth",
        "torso" if follows == "torso" else "head",
    )


def folds(points_RC3: Floats, noise: Noise, size: float, depth: float) -> Floats:
    """Push a sheet in and out: (R, C) amounts."""
    at = torch.tensor(points_RC3.reshape(-1, 3), dtype=torch.float32)
    return np.asarray(depth * noise.fractal(at, size, 3).double().numpy().reshape(points_RC3.shape[:2]))


def cloth_uv(rows: int, columns: int, half: int, turns: float = 1.0) -> Floats:
    """Texture coordinates of a grid in the left (0, garment) or right (1, cover) half of the cloth rectangle.

    The pattern is mirrored back and forth around the body, so it closes without a seam.
    """
    left, top, width, height = LAYOUT["cloth"]
    around = np.abs(np.mod(np.arange(columns) / columns * 2 * turns, 2.0) - 1.0)
    u = left + width * (0.5 * half + 0.02 + 0.46 * around)
    v = top + height * (0.02 + 0.96 * np.arange(rows) / (rows - 1))
    return np.stack(np.broadcast_arrays(u[None, :], v[:, None]), -1)


def dress(look: Look, rest_V3: Floats) -> tuple[Worn, ...]:
    """The garment of a person.

    Args:
        look: the person.
        rest_V3: the person's head at rest: the garment's neck is made to fit it.
    """
    cut, noise = CUTS[look.garment], Noise(look.seed + 21)
    rows, columns = 44, 128
    neck = rest_V3[(rest_V3[:, 1] < -9.0) & (rest_V3[:, 1] > -13.0)]
    neck = neck[np.abs(neck[:, 0]) < 8.5]
    fit = float(np.clip(np.quantile(np.abs(neck[:, 0]), 0.98) / 6.6, 0.85, 1.2)) if len(neck) else 1.0
    down = np.linspace(0.0, 1.0, rows)[:, None] ** 1.15
    around = np.linspace(0.0, 2 * np.pi, columns, endpoint=False)[None]
    cos, sin = np.cos(around), np.sin(around)
    slope = np.clip(down * 1.2, 0, 1)
    spread = 0.72 * np.sqrt(slope) + 0.28 * slope
    wide = 1.0 + 0.10 * (1 - look.femininity) - 0.08 * look.femininity
    half_width = cut.half_width * fit + (22.5 * wide - cut.half_width) * spread
    half_depth = 0.82 * cut.half_width * fit + (12.0 * wide - 0.82 * cut.half_width) * spread
    x = half_width * np.sign(cos) * np.abs(cos) ** 0.92
    front = np.maximum(sin, 0)
    z = -2.4 + half_depth * sin + 2.6 * front * spread
    shape = front**2 * (1 - cut.pointed) + cut.pointed * np.clip(1 - np.abs(cos) * 1.25, 0, 1) * (sin > 0)
    y = cut.height - cut.dip * shape * (1 - spread) + 0.25 * np.sin(around * 2) - 3.0 * spread - 3.8 * spread**2
    y = (
        y
        - 70.0 * np.clip(down - 0.5, 0, 1) ** 1.45
        - (8.5 * front**2 + 4.0 * np.maximum(-sin, 0) ** 2) * spread**1.4
        + 0 * x
    )
    body = np.stack([x, y, z], -1)
    outward = np.stack([cos + 0 * y, 0.5 + 0 * y, sin + 0 * y], -1)
    body = body + outward * (folds(body, noise, 5.0, 0.55) * (0.25 + down))[:, :, None]
    edge = body[:1] + np.array([0.0, -0.5, 0.0]) - 0.45 * outward[:1] * np.array([1.0, 0.0, 1.0])
    rings = [edge, body]
    if cut.collar:
        steps = np.linspace(1.0, 0.15, 5)[:, None, None]
        gap = 0.5 * cut.pointed * np.exp(-((cos[..., None] / 0.13) ** 2)) * (sin > 0)[..., None]
        lean = np.stack([cos, 0 * cos, sin], -1)[0][None]
        base = body[:1]
        rise = cut.collar * (1.0 - 0.35 * front[..., None])
        collar = base + steps * rise * np.array([0.0, 1.0, 0.0]) * (1 - gap) + steps * cut.flare * lean
        collar[..., 0] = np.where(np.abs(collar[..., 0]) < 0, 0, collar[..., 0])
        inner = collar[:1] - 0.35 * lean + np.array([0.0, -0.35, 0.0])
        rings = [inner, collar, body]
    points = np.concatenate(rings)
    return (sheet(points, cloth_uv(len(points), columns, 0, 2.0), "torso"),)


def scarf(look: Look, centre: Floats, radii: Floats, noise: Noise) -> tuple[Worn, ...]:
    """A headscarf: a hood around the face and a wrap around neck and chest."""
    rows, columns = 34, 96
    around = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    back = np.linspace(0, 1, rows)[:, None]
    # the opening: from above the forehead to under the chin
    open_x, open_y = 7.7 * np.sin(around), 0.6 + 9.3 * np.cos(around)
    open_z = 5.4 - 0.035 * open_x**2 + 1.6 * np.clip(np.cos(around), 0, 1) + 1.0 * np.clip(-np.cos(around), 0, 1)
    start = np.stack([open_x, open_y, open_z], -1) * (radii / np.array([7.9, 10.0, 9.9]))
    wide = radii * np.array([1.12, 1.09, 1.08])
    unit = (start - centre) / wide
    unit[..., 1] = np.maximum(unit[..., 1], -0.95)
    pole = np.array([0.0, -0.25, -1.0])
    mixed = unit * (1 - back[..., None]) + pole * back[..., None]
    length = np.linalg.norm(mixed, axis=-1, keepdims=True)
    grown = np.minimum(back[..., None] * 5.0, 1.0)
    radius = np.linalg.norm(unit, axis=-1, keepdims=True) * (1 - grown) + 1.02 * grown
    hood = centre + mixed / (length + 1e-9) * radius * wide
    hood[:1] = start
    out = (hood - centre) / np.linalg.norm(hood - centre, axis=-1, keepdims=True)
    hood = hood + out * (0.12 + folds(hood, noise, 3.0, 0.28))[..., None]
    hem = start - 0.4 * out[:1] + np.array([0.0, 0.0, -0.6])
    points = np.concatenate([hem, hood])
    head = sheet(points, cloth_uv(len(points), columns, 1, 2.0), "head")
    drop = np.linspace(0, 1, 26)[:, None]
    wrap_x = (7.2 + 9.0 * drop**1.3) * np.cos(around)
    wrap_z = -0.4 + (6.8 + 4.0 * drop**1.2) * np.sin(around) + 1.2 * np.maximum(np.sin(around), 0)
    wrap_y = -5.0 - 10.7 * drop - 2.0 * np.maximum(np.sin(around), 0) * (1 - drop) + 0 * wrap_x
    wrap = np.stack([wrap_x, wrap_y, wrap_z], -1)
    lean = np.stack([np.cos(around) + 0 * wrap_x, 0 * wrap_x, np.sin(around) + 0 * wrap_x], -1)
    wave = folds(wrap * np.array([0.5, 2.2, 0.5]), noise, 3.0, 0.75)
    wrap = wrap + lean * wave[..., None]
    return head, sheet(wrap, cloth_uv(26, columns, 1, 2.0), "torso")


def beanie(look: Look, centre: Floats, radii: Floats, noise: Noise) -> Worn:
    """A knitted hat: a cap on the skull with a rolled brim above the brows."""
    rows, columns = 26, 96
    around = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    up = np.linspace(0, 1, rows)[:, None]
    front = 0.5 + 0.5 * np.sin(around)
    brim = 0.08 + 0.17 * front  # share of the skull's half height, higher in front
    angle = np.arcsin(np.clip(brim, -1, 1)) * (1 - up) + (np.pi / 2) * up
    fat = 1.075 + 0.04 * smooth(up, 0.18, 0.12) + 0.05 * up
    x, y, z = np.cos(angle) * np.cos(around), np.sin(angle), np.cos(angle) * np.sin(around)
    points = centre + np.stack([x, y, z], -1) * (radii * fat[..., None])
    out = np.stack([x, y, z], -1)
    points = points + out * (folds(points, noise, 2.5, 0.22) * (up > 0.15))[..., None]
    hem = points[:1] - 0.55 * out[:1]
    points = np.concatenate([hem, points])[::-1]  # from the crown down, so that faces look outwards
    return sheet(np.ascontiguousarray(points), cloth_uv(len(points), columns, 1, 3.0), "head")


def tube(path_K3: Floats, radius: float, *, closed: bool, cell: str, flatten: float = 1.0) -> Worn:
    """A thin rod along a path."""
    sides = 6
    tangent = np.gradient(path_K3, axis=0)
    if closed:
        tangent = np.roll(path_K3, -1, 0) - np.roll(path_K3, 1, 0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    side = np.cross(tangent, (0.05, 0.1, 1.0))
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    top = np.cross(side, tangent)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(turn)[None, :, None] * side[:, None] + flatten * np.sin(turn)[None, :, None] * top[:, None]
    points = path_K3[:, None] + radius * ring
    if closed:
        points = np.concatenate([points, points[:1]])
    triangles = grid_triangles(len(points), sides, closed=True)
    flat = points.reshape(-1, 3)
    normal = np.concatenate([ring, ring[:1]]) if closed else ring
    uv = np.broadcast_to(np.array(flat_cell(cell)), (len(flat), 2))
    return Worn(
        flat.astype(np.float32),
        (normal / np.linalg.norm(normal, axis=-1, keepdims=True)).reshape(-1, 3).astype(np.float32),
        np.zeros_like(flat, np.float32),
        uv.astype(np.float32),
        triangles,
        "glasses",
    )


THICKNESS: dict[Frame, float] = {"thin": 0.075, "thick": 0.20, "rimless": 0.045}


def glasses(look: Look, rest_V3: Floats, marks_68: Ints) -> tuple[Worn, ...]:
    """Two rims, a bridge and temples, fitted to eyes, nose and ears; nothing for people without."""
    if look.frame == "none":
        return ()
    rng = np.random.default_rng([look.seed, 37])
    marks = rest_V3[marks_68]
    eyes = [marks[36:42].mean(0), marks[42:48].mean(0)]
    front = float(max(marks[27, 2] + 0.15, marks[[37, 38, 43, 44], 2].max() + 1.35))
    half_x, half_y, power = rng.uniform(2.2, 2.75), rng.uniform(1.5, 2.3), rng.uniform(2.0, 3.6)
    radius = THICKNESS[look.frame]
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    shape_x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power) * half_x
    shape_y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power) * half_y
    worn: list[Worn] = []

    def depth(x: Floats) -> Floats:
        return np.asarray(front - 0.022 * x**2)

    for eye in eyes:
        x = eye[0] * 1.04 + shape_x
        rim = np.stack([x, eye[1] - 0.25 + shape_y * np.where(shape_y < 0, 1.1, 0.9), depth(x)], 1)
        worn.append(tube(rim, radius, closed=True, cell="frame", flatten=1.4))
    inner = min(abs(eyes[0][0]), abs(eyes[1][0])) * 1.04 - half_x
    arch = np.linspace(-1, 1, 9)
    bridge = np.stack(
        [arch * max(inner, 0.35), eyes[0][1] + 0.25 + 0.35 * (1 - arch**2), front + 0.25 * (1 - arch**2)], 1
    )
    worn.append(tube(bridge, max(radius, 0.07), closed=False, cell="frame"))
    for side, eye, ear in ((-1.0, eyes[0], marks[0]), (1.0, eyes[1], marks[16])):
        hinge = eye[0] * 1.04 + side * half_x
        reach = max(abs(ear[0]) + 0.45, abs(hinge) + 0.4)
        t = np.linspace(0, 1, 8)
        x = side * (abs(hinge) + (reach - abs(hinge)) * t**0.8)
        z = depth(np.array([hinge]))[0] + (0.5 - depth(np.array([hinge]))[0]) * t
        temple = np.stack([x, eye[1] + 0.3 + 0 * t, z], 1)
        worn.append(tube(temple, max(radius * 0.9, 0.06), closed=False, cell="frame"))
    return tuple(worn)
