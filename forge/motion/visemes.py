"""Mouth shapes of speech: from the chance of each viseme over time to mouth coefficients.

Axes: T hearing frames (100 a second), V = 15 visemes, K = coefficients named in `MOUTH_NAMES`.

A viseme is a class of sounds with one look. Each has a target shape, a strength (how much the mouth insists on it:
high for lips that must meet, low for a k in the throat) and a reach in time. Shapes of neighbours mix by dominance
(Cohen and Massaro, 1993, "Modeling coarticulation in synthetic visual speech"): the mixture at a time is the average
of targets weighted by strength x chance, each smoothed over its reach. Closures are added last, so that no mixing can
keep the lips apart on p, b and m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from forge.motion.features import BLENDSHAPE_NAMES

FloatArray = NDArray[np.float32]
Double = NDArray[np.float64]

VISEMES: tuple[str, ...] = (
    "silence", "p", "f", "th", "t", "k", "ch", "s", "r", "a", "e", "i", "o", "u", "er",
)  # fmt: skip
"""Sounds: p (p b m), f (f v), th, t (t d n l), k (k g ng h), ch (ch j sh zh), s (s z), r, a, e, i, o, u (u w), er."""

SILENCE, CLOSED, LIP_TEETH = VISEMES.index("silence"), VISEMES.index("p"), VISEMES.index("f")


@dataclass(frozen=True)
class Shape:
    """The look of one viseme."""

    strength: float
    """Dominance over neighbours."""
    reach_seconds: float
    """Standard deviation in time over which it spreads."""
    coefficients: dict[str, float]
    """ARKit coefficients; a paired name without a side means both sides."""


SHAPES: dict[str, Shape] = {
    "silence": Shape(0.35, 0.110, {}),
    "p": Shape(2.20, 0.028, {"jawOpen": 0.06, "mouthPress": 0.20, "mouthRollLower": 0.15, "mouthRollUpper": 0.10}),
    "f": Shape(1.60, 0.030, {"jawOpen": 0.09, "mouthRollLower": 0.40, "mouthUpperUp": 0.18, "mouthShrugLower": 0.10}),
    "th": Shape(0.90, 0.032, {"jawOpen": 0.24, "mouthLowerDown": 0.22, "mouthUpperUp": 0.06, "tongueOut": 0.25}),
    "t": Shape(0.70, 0.034, {"jawOpen": 0.30, "mouthLowerDown": 0.25, "mouthUpperUp": 0.10, "mouthStretch": 0.08}),
    "k": Shape(0.50, 0.040, {"jawOpen": 0.34, "mouthLowerDown": 0.18, "mouthUpperUp": 0.08}),
    "ch": Shape(1.20, 0.038, {"jawOpen": 0.16, "mouthFunnel": 0.42, "mouthPucker": 0.15, "mouthLowerDown": 0.12}),
    "s": Shape(0.90, 0.034, {"jawOpen": 0.19, "mouthStretch": 0.15, "mouthLowerDown": 0.30, "mouthUpperUp": 0.14}),
    "r": Shape(0.80, 0.040, {"jawOpen": 0.22, "mouthFunnel": 0.20, "mouthPucker": 0.20}),
    "a": Shape(1.00, 0.045, {"jawOpen": 0.55, "mouthLowerDown": 0.28, "mouthUpperUp": 0.15, "mouthStretch": 0.05}),
    "e": Shape(1.00, 0.045, {"jawOpen": 0.37, "mouthLowerDown": 0.28, "mouthUpperUp": 0.14, "mouthStretch": 0.14}),
    "i": Shape(1.00, 0.045, {"jawOpen": 0.21, "mouthLowerDown": 0.25, "mouthUpperUp": 0.10, "mouthStretch": 0.25,
                             "mouthSmile": 0.12}),
    "o": Shape(1.10, 0.048, {"jawOpen": 0.40, "mouthFunnel": 0.34, "mouthPucker": 0.22, "mouthLowerDown": 0.08}),
    "u": Shape(1.20, 0.048, {"jawOpen": 0.15, "mouthFunnel": 0.18, "mouthPucker": 0.62}),
    "er": Shape(0.60, 0.045, {"jawOpen": 0.28, "mouthLowerDown": 0.20, "mouthUpperUp": 0.08, "mouthFunnel": 0.08}),
}  # fmt: skip


def _sided(name: str) -> tuple[str, ...]:
    """The coefficient names behind a name that may stand for both sides."""
    return (name,) if name in BLENDSHAPE_NAMES else (name + "Left", name + "Right")


MOUTH_NAMES: tuple[str, ...] = tuple(
    sorted(
        {"mouthClose"} | {sided for shape in SHAPES.values() for name in shape.coefficients for sided in _sided(name)}
    )
)
"""Coefficients that speech moves."""

OPENING: NDArray[np.bool_] = np.asarray(
    [name.startswith(("jawOpen", "mouthUpperUp", "mouthLowerDown", "tongueOut")) for name in MOUTH_NAMES]
)
"""(K,) whether a coefficient parts the lips."""

JAW_KNEE, JAW_LIMIT = 0.45, 0.72

JAW_IN_CLOSURE = 0.3
"""Share of the jaw's opening that remains behind closed lips."""

CLOSURE_WIDENING_SECONDS = 0.02
"""A closure is widened by this much, so that a frame of 1/25 s shows it (real ones last .05-.12 s)."""


def targets() -> FloatArray:
    """(V, K) target shapes, rows as `VISEMES`, columns as `MOUTH_NAMES`."""
    out = np.zeros((len(VISEMES), len(MOUTH_NAMES)), np.float32)
    for row, viseme in enumerate(VISEMES):
        for name, value in SHAPES[viseme].coefficients.items():
            for sided in _sided(name):
                out[row, MOUTH_NAMES.index(sided)] = value
    return out


@dataclass(frozen=True, eq=False)
class Mouth:
    """Mouth coefficients over time."""

    coefficients: FloatArray
    """(T, K) columns as `MOUTH_NAMES`."""
    seal: FloatArray
    """(T,) 1 where the lips must be closed, 0 where they are free."""


def mouth_from_visemes(chance: FloatArray, effort: Double, rest: Double, rate_hz: int) -> Mouth:
    """Coarticulated mouth coefficients.

    Args:
        chance: (T, V) chance of each viseme, rows sum to 1.
        effort: (T,) scale of the opening, about 1.
        rest: (T,) jaw opening while silent (a breath, lips at ease); it fades where a viseme takes over.
        rate_hz: rows per second.

    Returns:
        Coefficients at the same rate, without delay against the sound.
    """
    dominance = np.empty_like(chance)
    for column, viseme in enumerate(VISEMES):
        shape = SHAPES[viseme]
        dominance[:, column] = gaussian_filter1d(chance[:, column], shape.reach_seconds * rate_hz) * shape.strength
    mixed = dominance @ targets() / np.maximum(dominance.sum(axis=1, keepdims=True), 1e-6)
    seal = closures(chance[:, CLOSED], rate_hz)
    open_shape = np.where(OPENING, mixed * effort[:, None], mixed)
    open_shape[:, MOUTH_NAMES.index("jawOpen")] += rest * gaussian_filter1d(chance[:, SILENCE], 0.06 * rate_hz)
    closed_shape = np.where(OPENING, 0.0, targets()[CLOSED])
    open_shape[:, MOUTH_NAMES.index("jawOpen")] = eased_jaw(open_shape[:, MOUTH_NAMES.index("jawOpen")])
    # lips meet over a jaw that stays where the vowels want it, a little raised: mouthClose cancels that opening
    jaw, close = MOUTH_NAMES.index("jawOpen"), MOUTH_NAMES.index("mouthClose")
    closed_shape = np.repeat(closed_shape[None], len(chance), axis=0)
    closed_shape[:, [jaw, close]] = (JAW_IN_CLOSURE * open_shape[:, jaw])[:, None]
    coefficients = open_shape + (closed_shape - open_shape) * seal[:, None]
    return Mouth(np.clip(coefficients, 0.0, 1.0).astype(np.float32), seal)


def eased_jaw(opening: Double) -> Double:
    """Jaw opening of speech: as it is up to the knee, then ever slower towards the limit."""
    beyond = np.maximum(opening - JAW_KNEE, 0.0)
    room = JAW_LIMIT - JAW_KNEE
    return np.asarray(np.minimum(opening, JAW_KNEE) + room * (1.0 - np.exp(-beyond / room)))


def closures(chance: FloatArray, rate_hz: int) -> FloatArray:
    """(T,) how tightly the lips are closed, from the (T,) chance of p, b or m: decided, held, then eased in and out."""
    decided = np.clip((chance - 0.2) / 0.25, 0.0, 1.0)
    ease = 0.018 * rate_hz
    held = maximum_filter1d(decided, 2 * round(0.5 * CLOSURE_WIDENING_SECONDS * rate_hz) + 1, mode="constant")
    return np.asarray(np.clip(1.25 * gaussian_filter1d(held, ease), 0.0, 1.0), np.float32)
