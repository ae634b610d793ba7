"""Who is in front of the camera: the distribution of rendered people, and what every person must offer.

    look = sample_look(seed=7)            # a few dozen numbers, no geometry
    people of any kind are a `Person`: identity coefficients, one texture atlas, things that are worn

Lengths are centimetres in the head's own space: +y up, the face looks along +z. Colours are linear RGB in [0, 1].
Skin is mixed in the logarithm of the albedo (Beer-Lambert): melanin and haemoglobin each absorb along one direction of
colour space, so freckles, blush, lips and age spots look right on every tone.
Axes: A atlas side, K identity modes, V vertices, T triangles, N points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Colour = tuple[float, float, float]

HairStyle = Literal[
    "bald",
    "buzz",
    "crop",
    "parted",
    "fringe",
    "wavy",
    "long",
    "long_wavy",
    "curls",
    "afro",
    "bun",
    "tail",
    "scarf",
    "hat",
]
Garment = Literal["crew", "vee", "scoop", "shirt", "turtleneck", "hood"]
Frame = Literal["none", "thin", "thick", "rimless"]

LICENCE = "CC0-1.0 (rendered; head geometry: ICT-FaceKit, MIT)"
FAIREST = np.array([0.74, 0.505, 0.40])
"""Albedo of skin with next to no melanin."""
MELANIN = np.array([0.77, 0.93, 1.07])
HAEMOGLOBIN = np.array([0.05, 0.30, 0.25])
"""Absorbance (natural log) of one unit of each pigment in red, green and blue; multiple scattering included."""


@dataclass(frozen=True)
class Makeup:
    """Strengths in [0, 1]; 0 is a bare face."""

    lipstick: float = 0.0
    lip_colour: Colour = (0.45, 0.06, 0.07)
    shadow: float = 0.0
    shadow_colour: Colour = (0.25, 0.13, 0.10)
    liner: float = 0.0
    blush: float = 0.0
    foundation: float = 0.0
    """Evens out blotches and freckles, takes off the shine."""


@dataclass(frozen=True)
class Look:
    """Everything that tells the surface of one rendered person from another's."""

    seed: int
    age: float
    """Years, 18 to 85."""
    femininity: float
    """0 to 1; shifts hair, brows, beard and make-up, never decides them."""
    melanin: float
    """0 (fairest) to about 2 (darkest)."""
    blood: float
    """Haemoglobin of the skin, about -0.5 to 1.2."""
    sallow: float
    """Absorption of blue alone: -0.1 (rosy) to 0.25 (golden)."""
    blotch: float
    freckles: float
    blemishes: float
    moles: int
    wrinkles: float
    pores: float
    shine: float
    lip_redness: float
    iris: Colour
    pupil_degrees: float
    eye_redness: float
    tooth_stain: float
    brow_density: float
    brow_width: float
    brow_arch: float
    stubble: float
    """Beard shadow and stubble in [0, 1]."""
    beard: float
    """Length of a beard in cm; 0 is none."""
    moustache: float
    makeup: Makeup
    hair: HairStyle
    hair_colour: Colour
    brow_colour: Colour
    grey: float
    """Share of white hairs."""
    hair_length: float
    hair_curl: float
    hairline: float
    """Height of the hairline above the brows in cm."""
    part_side: float
    """Where hair parts: -1 to 1, 0 the middle."""
    cover_colour: Colour
    """Of a scarf or hat."""
    frame: Frame
    frame_colour: Colour
    garment: Garment
    cloth_colours: tuple[Colour, Colour]
    cloth_pattern: Literal["plain", "stripes", "plaid", "knit", "dots"]
    shape_strength: float
    """Standard deviations of the identity modes."""

    def __post_init__(self) -> None:
        """Refuse what no skin can be."""
        if not 0.0 <= self.melanin <= 2.6:
            raise ValueError(f"melanin must be in [0, 2.6], got {self.melanin}")
        if not 15.0 <= self.age <= 100.0:
            raise ValueError(f"age must be in [15, 100] years, got {self.age}")


@dataclass(frozen=True, eq=False)
class Worn:
    """A mesh that a person wears: hair, a hat, glasses or clothes."""

    vertices_V3: Floats
    normals_V3: Floats
    tangents_V3: Floats
    """Direction of the strands; zero for what is not hair."""
    uv_V2: Floats
    """Into the person's atlas, [0, 1], v down."""
    triangles_T3: Ints
    part: str
    """A name of `head.PARTS`."""
    follows: Literal["head", "torso", "skin"] = "head"
    """`skin`: moves as the place of the face that `anchor_*` names."""
    anchor_V3: Ints | None = None
    """Corners in the head's mesh."""
    anchor_weight_V3: Floats | None = None

    def __post_init__(self) -> None:
        """Refuse attributes of another count than the vertices."""
        count = len(self.vertices_V3)
        for name, values, width in (
            ("normals", self.normals_V3, 3),
            ("tangents", self.tangents_V3, 3),
            ("uv", self.uv_V2, 2),
        ):
            if values.shape != (count, width):
                raise ValueError(f"{name} must be ({count}, {width}), got {values.shape}")
        if len(self.triangles_T3) and int(self.triangles_T3.max()) >= count:
            raise ValueError(f"a triangle names vertex {int(self.triangles_T3.max())}, there are {count}")


@dataclass(frozen=True, eq=False)
class Atlas:
    """The surface of one person, laid out by `textures.LAYOUT`."""

    albedo_3AA: Tensor
    """Linear RGB."""
    surface_4AA: Tensor
    """Gloss in [0, 1], then the gradient of the fine relief in rest space (three components, cm per cm)."""


@dataclass(frozen=True, eq=False)
class Person:
    """What `Studio` can shoot, however it was made."""

    seed: int
    kind: Literal["rendered", "photo"]
    identity_K: Floats
    """Coefficients of `HeadModel.identity_KV3`."""
    atlas: Atlas
    worn: tuple[Worn, ...]
    long_lashes: bool = False
    licence: str = LICENCE
    facts: Mapping[str, object] = field(default_factory=dict)
    """JSON values that describe the person."""


def skin_colour(melanin: float, blood: float, sallow: float) -> NDArray[np.float64]:
    """Mean albedo of skin, (3,)."""
    return np.asarray(FAIREST * np.exp(-melanin * MELANIN - blood * HAEMOGLOBIN - sallow * np.array([0.0, 0.08, 0.8])))


HAIR_COLOURS: tuple[tuple[str, Colour], ...] = (
    ("black", (0.010, 0.009, 0.008)),
    ("darkest brown", (0.022, 0.014, 0.010)),
    ("brown", (0.060, 0.030, 0.015)),
    ("chestnut", (0.115, 0.047, 0.021)),
    ("light brown", (0.19, 0.105, 0.05)),
    ("blond", (0.40, 0.26, 0.12)),
    ("light blond", (0.58, 0.44, 0.25)),
    ("red", (0.30, 0.075, 0.02)),
    ("grey", (0.33, 0.32, 0.31)),
    ("white", (0.62, 0.60, 0.57)),
    ("dyed", (0.25, 0.03, 0.06)),
)
IRIS_COLOURS: tuple[Colour, ...] = (
    (0.040, 0.019, 0.009),
    (0.075, 0.036, 0.014),
    (0.135, 0.075, 0.026),
    (0.115, 0.105, 0.045),
    (0.085, 0.125, 0.070),
    (0.090, 0.165, 0.230),
    (0.155, 0.230, 0.300),
    (0.140, 0.165, 0.175),
)


def sample_look(seed: int) -> Look:
    """Draw a person; equal seeds give equal people."""
    rng = np.random.default_rng([seed, 3])
    age = float(np.clip(18 + 67 * rng.beta(1.15, 1.9), 18, 85))
    femininity = float(np.clip(rng.choice([0.15, 0.85]) + 0.12 * rng.normal(), 0, 1))
    female = rng.random() < femininity
    # Even over tones, not over any country's population.
    melanin = float(
        np.clip(rng.choice([rng.uniform(0.02, 0.55), rng.uniform(0.35, 1.1), rng.uniform(0.9, 1.95)]), 0, 2)
    )
    old = np.clip((age - 28) / 50, 0, 1)
    hair_colour, brow_colour, grey = _hair_colours(rng, melanin, float(old))
    style = _hair_style(rng, bool(female), float(old), melanin)
    beard, moustache, stubble = _beard(rng, bool(female))
    iris = _iris(rng, melanin)
    return Look(
        seed=seed,
        age=age,
        femininity=femininity,
        melanin=melanin,
        blood=float((rng.normal(0.25, 0.28) + 0.15 * (melanin < 0.4)) * np.exp(-0.4 * melanin)),
        sallow=float(rng.uniform(-0.08, 0.12)),
        blotch=float(rng.uniform(0.4, 1.3)),
        freckles=float(rng.random() ** 3 * (1.2 if melanin < 0.7 else 0.3)),
        blemishes=float(rng.random() ** 2.5),
        moles=int(rng.poisson(2.0)),
        wrinkles=float(np.clip(old * 1.15 + rng.normal(0, 0.12), 0, 1.3)),
        pores=float(rng.uniform(0.5, 1.3) * (0.8 if female else 1.1)),
        shine=float(rng.uniform(0.55, 1.35)),
        lip_redness=float(rng.uniform(0.6, 1.5)),
        iris=iris,
        pupil_degrees=float(rng.uniform(6.5, 11.0)),
        eye_redness=float(rng.random() ** 2),
        tooth_stain=float(rng.random() ** 1.5 * (0.5 + 0.5 * old)),
        brow_density=float(np.clip(rng.normal(1.15, 0.28) * (1 - 0.25 * old), 0.25, 1.3)),
        brow_width=float(np.clip(rng.normal(0.58 if female else 0.74, 0.13), 0.32, 1.05)),
        brow_arch=float(rng.normal(0.12 if female else 0.0, 0.15)),
        stubble=stubble,
        beard=beard,
        moustache=moustache,
        makeup=_makeup(rng, bool(female)),
        hair=style,
        hair_colour=hair_colour,
        brow_colour=brow_colour,
        grey=grey,
        hair_length=_hair_length(rng, style),
        hair_curl=float(rng.uniform(0.0, 0.25) + (1.0 if style in ("wavy", "long_wavy", "curls") else 0.0)),
        hairline=float(rng.uniform(4.0, 5.4) + (0 if female else 1.6 * old * rng.random())),
        part_side=float(rng.choice([-0.7, -0.4, 0.0, 0.4, 0.7])),
        cover_colour=_cloth_colour(rng),
        frame=_frame(rng, float(old)),
        frame_colour=_frame_colour(rng),
        garment=_garment(rng),
        cloth_colours=(_cloth_colour(rng), _cloth_colour(rng)),
        cloth_pattern=_pattern(rng),
        shape_strength=float(rng.uniform(0.7, 1.15)),
    )


def sample_identity(seed: int, modes: int) -> Floats:
    """Identity coefficients (modes,): normal, cut at 2 standard deviations, later modes weaker."""
    rng = np.random.default_rng([seed, 5])
    strength = sample_look(seed).shape_strength
    drawn = rng.normal(size=modes) * strength * np.linspace(1.0, 0.55, modes)
    return np.clip(drawn, -2.0, 2.0).astype(np.float32)


def _hair_colours(rng: np.random.Generator, melanin: float, old: float) -> tuple[Colour, Colour, float]:
    """Hair, brows, share of white hairs; dark skin rarely has fair hair."""
    fair = np.clip(1.0 - melanin / 0.9, 0.0, 1.0)
    odds = np.array([0.9, 0.9, 1.0 * fair + 0.15, 0.7 * fair + 0.04, 0.7 * fair, 0.6 * fair, 0.35 * fair, 0.3 * fair])
    odds[:2] += 2.0 * (1 - fair)
    base = HAIR_COLOURS[int(rng.choice(8, p=odds / odds.sum()))][1]
    grey = float(np.clip(rng.normal(1.3 * old - 0.25, 0.22), 0, 1))
    dye = rng.random()
    colour = HAIR_COLOURS[10][1] if dye < 0.03 else base
    if dye < 0.2:
        grey = 0.0
    wobble = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.10) * np.array([-0.6, 0.0, 1.0]))
    mixed = tuple(float(np.clip(c * w, 0.004, 0.7)) for c, w in zip(colour, wobble, strict=True))
    brow = tuple(float(np.clip(c * 0.75 + 0.08 * grey, 0.006, 0.35)) for c in base)
    return (mixed[0], mixed[1], mixed[2]), (brow[0], brow[1], brow[2]), grey


def _hair_style(rng: np.random.Generator, female: bool, old: float, melanin: float) -> HairStyle:
    """A style by the odds of the group; every style is possible for nearly everybody."""
    styles: dict[HairStyle, float] = (
        {"long": 3, "long_wavy": 3, "wavy": 2, "curls": 1.5, "bun": 2, "tail": 2, "parted": 1, "fringe": 1.2,
         "crop": 0.7, "buzz": 0.2, "afro": 0.3, "scarf": 0.9, "hat": 0.5, "bald": 0.1}
        if female
        else {"crop": 3.2, "buzz": 2.2, "parted": 2.2, "bald": 0.7 + 2.2 * old, "fringe": 0.8, "wavy": 1, "curls": 0.8,
              "afro": 0.3, "bun": 0.3, "long": 0.4, "long_wavy": 0.3, "tail": 0.2, "hat": 1.0, "scarf": 0.2}
    )  # fmt: skip
    if melanin > 0.9:
        styles["afro"] *= 5
        styles["curls"] *= 2
    names = list(styles)
    odds = np.array([styles[name] for name in names])
    return names[int(rng.choice(len(names), p=odds / odds.sum()))]


def _hair_length(rng: np.random.Generator, style: HairStyle) -> float:
    low, high = {
        "buzz": (0.25, 0.8),
        "crop": (1.5, 3.5),
        "parted": (4.5, 8.0),
        "fringe": (4.5, 6.5),
        "wavy": (7.0, 13.0),
        "long": (15.0, 28.0),
        "long_wavy": (15.0, 27.0),
        "curls": (6.0, 13.0),
        "afro": (3.0, 7.5),
        "bun": (9.0, 12.0),
        "tail": (9.0, 12.0),
    }.get(style, (0.3, 0.6))
    return float(rng.uniform(low, high))


def _beard(rng: np.random.Generator, female: bool) -> tuple[float, float, float]:
    """Beard length, moustache length, stubble."""
    if female:
        return 0.0, 0.0, 0.0
    kind = rng.random()
    stubble = float(rng.beta(1.3, 1.6))
    if kind < 0.22:
        length = float(rng.uniform(0.3, 1.4))
        return length, min(length, 1.0), 1.0
    if kind < 0.32:
        return 0.0, float(rng.uniform(0.4, 0.9)), 0.6 * stubble
    return 0.0, 0.0, stubble if kind < 0.8 else 0.1 * stubble


def _makeup(rng: np.random.Generator, female: bool) -> Makeup:
    if rng.random() > (0.72 if female else 0.02):
        return Makeup()
    strength = rng.random()
    hue = rng.random(3)
    return Makeup(
        lipstick=float(strength * rng.random()),
        lip_colour=(float(0.30 + 0.35 * hue[0]), float(0.02 + 0.12 * hue[1]), float(0.03 + 0.14 * hue[2])),
        shadow=float(0.7 * strength * rng.random()),
        shadow_colour=(
            float(0.10 + 0.3 * rng.random()),
            float(0.07 + 0.15 * rng.random()),
            float(0.06 + 0.2 * rng.random()),
        ),
        liner=float(strength * rng.random()),
        blush=float(0.6 * rng.random()),
        foundation=float(strength * rng.random()),
    )


def _iris(rng: np.random.Generator, melanin: float) -> Colour:
    fair = np.clip(1.0 - melanin / 0.75, 0.0, 1.0)
    odds = np.array([1.0, 1.0, 0.5, 0.35 * fair, 0.5 * fair, 0.9 * fair, 0.7 * fair, 0.5 * fair])
    base = IRIS_COLOURS[int(rng.choice(8, p=odds / odds.sum()))]
    wobble = np.exp(rng.normal(0, 0.15, 3))
    return (float(base[0] * wobble[0]), float(base[1] * wobble[1]), float(base[2] * wobble[2]))


def _cloth_colour(rng: np.random.Generator) -> Colour:
    """Neutral half of the time, otherwise any hue."""
    value = float(rng.choice([0.015, 0.05, 0.15, 0.35, 0.6]) * rng.uniform(0.7, 1.3))
    tint = rng.dirichlet([1.2, 1.2, 1.2]) * 3 if rng.random() < 0.6 else 1.0 + 0.08 * rng.normal(size=3)
    colour = np.clip(value * (0.25 + 0.75 * np.broadcast_to(tint, 3)), 0.006, 0.75)
    return (float(colour[0]), float(colour[1]), float(colour[2]))


def _frame(rng: np.random.Generator, old: float) -> Frame:
    """Glasses: more often with age."""
    frames: tuple[Frame, ...] = ("none", "thin", "thick", "rimless")
    worn = 0.16 + 0.25 * old
    return frames[int(rng.choice(4, p=[1 - worn, 0.4 * worn, 0.45 * worn, 0.15 * worn]))]


def _frame_colour(rng: np.random.Generator) -> Colour:
    colours: tuple[Colour, ...] = (
        (0.01, 0.01, 0.01),
        (0.06, 0.03, 0.015),
        (0.35, 0.27, 0.14),
        (0.4, 0.4, 0.4),
        (0.2, 0.02, 0.03),
        (0.02, 0.05, 0.15),
    )
    return colours[int(rng.choice(6, p=[0.4, 0.2, 0.12, 0.14, 0.07, 0.07]))]


def _garment(rng: np.random.Generator) -> Garment:
    garments: tuple[Garment, ...] = ("crew", "vee", "scoop", "shirt", "turtleneck", "hood")
    return garments[int(rng.choice(6, p=[0.3, 0.14, 0.12, 0.24, 0.08, 0.12]))]


def _pattern(rng: np.random.Generator) -> Literal["plain", "stripes", "plaid", "knit", "dots"]:
    patterns: tuple[Literal["plain", "stripes", "plaid", "knit", "dots"], ...] = (
        "plain",
        "stripes",
        "plaid",
        "knit",
        "dots",
    )
    return patterns[int(rng.choice(5, p=[0.5, 0.16, 0.1, 0.17, 0.07]))]
