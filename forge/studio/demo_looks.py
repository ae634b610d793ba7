"""Looks of rendered people: skin, eyes, hair, cloth. All procedural, so that nobody is shown.

Lengths are centimetres in the head's own space: +y up, the face looks along +z, the nose tip is near (0, 0, 13).
Colours are linear RGB in [0, 1].
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """Everything that tells one rendered person from another."""

    name: str
    seed: int
    shape_strength: float
    """How far from the mean head, in standard deviations of the identity modes."""
    skin: Colour
    lips: Colour
    iris: Colour
    hair: Colour
    hair_length: float
    """Of a strand, in cm; 0.6 is a buzz cut."""
    hair_curl: float
    """Sideways wave of a strand in cm."""
    hairline: float
    """Height of the hairline above the brows in cm."""
    part_side: float
    """-1, 0 or 1: where the hair parts."""
    stubble: float
    """Beard shadow in [0, 1]."""
    freckles: float
    cloth: Colour
    backdrop: tuple[Colour, Colour]
    key_light: tuple[float, float, float]
    warmth: float
    """Colour of the key light: negative is cool."""
    yaw_degrees: float
    smile: float


LOOKS: tuple[Look, ...] = (
    Look(
        name="ada",
        seed=11,
        shape_strength=0.9,
        skin=(0.62, 0.36, 0.25),
        lips=(0.5, 0.15, 0.13),
        iris=(0.1, 0.2, 0.26),
        hair=(0.075, 0.035, 0.015),
        hair_length=17.0,
        hair_curl=0.35,
        hairline=4.2,
        part_side=-0.6,
        stubble=0.0,
        freckles=0.25,
        cloth=(0.05, 0.12, 0.2),
        backdrop=((0.3, 0.34, 0.38), (0.1, 0.12, 0.15)),
        key_light=(-0.55, 0.55, 0.75),
        warmth=0.06,
        yaw_degrees=4.0,
        smile=0.15,
    ),
    Look(
        name="bo",
        seed=23,
        shape_strength=1.0,
        skin=(0.2, 0.095, 0.052),
        lips=(0.24, 0.085, 0.07),
        iris=(0.045, 0.022, 0.01),
        hair=(0.01, 0.008, 0.007),
        hair_length=0.7,
        hair_curl=0.25,
        hairline=4.2,
        part_side=0.0,
        stubble=0.35,
        freckles=0.0,
        cloth=(0.35, 0.31, 0.25),
        backdrop=((0.42, 0.3, 0.18), (0.12, 0.08, 0.06)),
        key_light=(0.6, 0.5, 0.7),
        warmth=0.02,
        yaw_degrees=-5.0,
        smile=0.1,
    ),
    Look(
        name="cy",
        seed=37,
        shape_strength=1.0,
        skin=(0.5, 0.285, 0.165),
        lips=(0.42, 0.14, 0.11),
        iris=(0.055, 0.03, 0.012),
        hair=(0.012, 0.01, 0.01),
        hair_length=4.2,
        hair_curl=0.15,
        hairline=4.1,
        part_side=0.6,
        stubble=0.55,
        freckles=0.0,
        cloth=(0.16, 0.17, 0.18),
        backdrop=((0.22, 0.32, 0.26), (0.06, 0.09, 0.08)),
        key_light=(-0.5, 0.65, 0.6),
        warmth=0.04,
        yaw_degrees=-3.0,
        smile=0.05,
    ),
    Look(
        name="dora",
        seed=52,
        shape_strength=0.9,
        skin=(0.36, 0.19, 0.11),
        lips=(0.36, 0.1, 0.1),
        iris=(0.06, 0.035, 0.014),
        hair=(0.022, 0.013, 0.009),
        hair_length=14.0,
        hair_curl=0.9,
        hairline=4.3,
        part_side=0.3,
        stubble=0.0,
        freckles=0.1,
        cloth=(0.33, 0.09, 0.07),
        backdrop=((0.34, 0.36, 0.4), (0.13, 0.14, 0.17)),
        key_light=(0.5, 0.6, 0.75),
        warmth=0.0,
        yaw_degrees=5.0,
        smile=0.2,
    ),
)
"""The embedded people of the demo."""


def hash_noise(points_N3: Floats, seed: int) -> Floats:
    """Smooth value noise in [-1, 1] on a unit lattice, from an integer hash (no tables, no global state)."""
    cell = np.floor(points_N3).astype(np.int64)
    inside = points_N3 - cell
    smooth = inside * inside * (3.0 - 2.0 * inside)
    total = np.zeros(len(points_N3))
    for corner in range(8):
        offset = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
        key = (cell + offset) @ np.array([73_856_093, 19_349_663, 83_492_791]) + seed * 2_654_435_761
        key = (key ^ (key >> 13)) * 1_274_126_177 & 0x7FFFFFFF
        key = (key ^ (key >> 16)) * 2_246_822_519 & 0x7FFFFFFF
        weight = np.where(offset == 1, smooth, 1.0 - smooth).prod(1)
        total += weight * ((key & 0xFFFF) / 32767.5 - 1.0)
    return total


def fractal_noise(points_N3: Floats, scale_cm: float, seed: int, octaves: int = 4) -> Floats:
    """Sum of octaves of `hash_noise`, about [-1, 1]; `scale_cm` is the size of the largest features."""
    total, amplitude, norm = np.zeros(len(points_N3)), 1.0, 0.0
    for octave in range(octaves):
        total += amplitude * hash_noise(points_N3 * (2.0**octave / scale_cm), seed + 17 * octave)
        norm += amplitude
        amplitude *= 0.55
    return total / norm


def smooth_step(x: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, smooth between; reversed when low > high."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def distance_to_curve(points_N2: Floats, curve_K2: Floats) -> Floats:
    """Distance of points to a polyline."""
    best = np.full(len(points_N2), np.inf)
    for start, end in itertools.pairwise(curve_K2):
        along = end - start
        t = np.clip(((points_N2 - start) @ along) / max(float(along @ along), 1e-12), 0.0, 1.0)
        best = np.minimum(best, np.linalg.norm(points_N2 - start - t[:, None] * along, axis=1))
    return best


def inside_polygon(points_N2: Floats, polygon_K2: Floats) -> NDArray[np.bool_]:
    """Even-odd test."""
    x, y = points_N2[:, 0], points_N2[:, 1]
    inside = np.zeros(len(points_N2), np.bool_)
    for (x0, y0), (x1, y1) in zip(polygon_K2, np.roll(polygon_K2, -1, 0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def skin_albedo(rest_N3: Floats, marks68: Floats, look: Look) -> Floats:
    """Skin colour at points of the expressionless head: blood, melanin, lips, brows, stubble, freckles.

    Args:
        rest_N3: points in the head's rest space.
        marks68: the 68 Multi-PIE landmarks in the same space.
        look: whose skin.
    """
    n, flat = len(rest_N3), rest_N3[:, :2]
    front = smooth_step(rest_N3[:, 2], 4.0, 7.0)
    albedo = np.tile(np.asarray(look.skin), (n, 1))
    blotch = fractal_noise(rest_N3, 3.0, look.seed)
    fine = fractal_noise(rest_N3, 0.35, look.seed + 5, 3)
    albedo *= (1.0 + 0.07 * blotch + 0.06 * fine)[:, None]
    cheeks = sum(np.exp(-(((flat - c) / 2.3) ** 2).sum(1)) for c in ((-4.6, -0.3), (4.6, -0.3)))
    nose = np.exp(-(((flat - marks68[30, :2]) / 1.5) ** 2).sum(1))
    chin = np.exp(-(((flat - marks68[8, :2]) / 1.8) ** 2).sum(1))
    blood = front * (0.30 * cheeks + 0.28 * nose + 0.14 * chin) * (1.0 + 0.3 * blotch)
    albedo *= 1.0 - blood[:, None] * np.array([0.02, 0.30, 0.30])
    socket = sum(
        np.exp(-(((flat - marks68[list(ids), :2].mean(0) + (0.0, 0.5)) / (2.0, 1.1)) ** 2).sum(1))
        for ids in (range(36, 42), range(42, 48))
    )
    albedo *= 1.0 - front[:, None] * socket[:, None] * np.array([0.16, 0.22, 0.20])
    spots = smooth_step(fractal_noise(rest_N3, 0.42, look.seed + 9, 2), 0.30, 0.55)
    albedo *= 1.0 - look.freckles * (front * np.exp(-(((flat - (0.0, 0.6)) / (6.0, 2.6)) ** 2).sum(1)) * spots)[
        :, None
    ] * np.array([0.35, 0.5, 0.6])
    beard = front * smooth_step(rest_N3[:, 1], -1.8, -3.8) * smooth_step(rest_N3[:, 1], -17.0, -10.5)
    grain = 0.75 + 0.5 * hash_noise(rest_N3 / 0.07, look.seed + 13)
    albedo *= 1.0 - (look.stubble * np.clip(beard * grain, 0, 1))[:, None] * np.array([0.55, 0.48, 0.42])
    return paint_lips_and_brows(albedo, rest_N3, marks68, look, front)


def paint_lips_and_brows(albedo: Floats, rest_N3: Floats, marks68: Floats, look: Look, front: Floats) -> Floats:
    """Lip colour inside the outer lip line, brow hairs along the brow curves."""
    flat = rest_N3[:, :2]
    outer = marks68[48:60, :2]
    signed = distance_to_curve(flat, np.vstack([outer, outer[:1]])) * np.where(inside_polygon(flat, outer), 1.0, -1.0)
    lip = front * smooth_step(signed, -0.10, 0.16) * smooth_step(rest_N3[:, 2], 8.5, 9.5)
    lines = 1.0 + 0.10 * hash_noise(rest_N3 * np.array([9.0, 1.5, 1.5]), look.seed + 3)
    albedo = albedo * (1.0 - 0.85 * lip[:, None]) + 0.85 * lip[:, None] * np.asarray(look.lips) * lines[:, None]
    for ids, side in ((range(17, 22), -1.0), (range(22, 27), 1.0)):
        curve = marks68[list(ids), :2]
        distance = distance_to_curve(flat, curve)
        inner = curve[-1, 0] if side < 0 else curve[0, 0]
        outer_x = curve[0, 0] if side < 0 else curve[-1, 0]
        along = np.clip((flat[:, 0] - inner) / (outer_x - inner), 0.0, 1.0)
        width = 0.50 - 0.28 * along
        slant = np.stack(
            [flat[:, 0] * 14.0 + side * flat[:, 1] * (6.0 + 10.0 * along), flat[:, 1] * 1.2, rest_N3[:, 2] * 0.5], 1
        )
        hairs = 0.55 + 0.45 * hash_noise(slant, look.seed + 21)
        brow = (
            front
            * smooth_step(distance, 1.0, 0.35 * 1.0)
            * smooth_step(distance - width, 0.12, -0.25)
            * np.clip(hairs + 0.45, 0, 1)
        )
        albedo = albedo * (1.0 - 0.95 * brow[:, None]) + 0.95 * brow[:, None] * np.asarray(look.hair) * 0.8
    for lid in (marks68[36:40, :2], marks68[42:46, :2]):  # the lash line along the upper lid
        lash = front * smooth_step(distance_to_curve(flat, lid), 0.26, 0.06)
        albedo = albedo * (1.0 - 0.9 * lash[:, None])
    return albedo


def eye_albedo(points_N3: Floats, centre_3: Floats, look: Look) -> Floats:
    """Sclera, limbus, iris fibres and pupil by the angle from the eye's axis (+z)."""
    ray = points_N3 - centre_3
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip(ray[:, 2], -1, 1)))
    around = np.arctan2(ray[:, 1], ray[:, 0])
    ring = np.stack([np.cos(around) * 14.0, np.sin(around) * 14.0, angle * 0.12], 1)
    fibres = fractal_noise(ring, 1.0, look.seed + 31, 3)
    iris = np.asarray(look.iris) * (1.0 + 0.55 * fibres + 0.5 * smooth_step(angle, 17.0, 10.0))[:, None]
    veins = fractal_noise(points_N3, 0.5, look.seed + 41)
    white = np.array([0.62, 0.56, 0.53]) * (1.0 + 0.04 * veins)[:, None]
    white = white * (1.0 - smooth_step(angle, 28.0, 60.0)[:, None] * np.array([0.25, 0.42, 0.42]))
    is_iris = smooth_step(angle, 25.5, 23.5)[:, None]
    limbus = np.exp(-(((angle - 24.0) / 2.0) ** 2))[:, None]
    pupil = smooth_step(angle, 10.0, 8.5)[:, None]
    out = white * (1 - is_iris) + iris * is_iris
    out = out * (1 - 0.65 * limbus)
    return np.asarray(out * (1 - pupil) + 0.004 * pupil)
