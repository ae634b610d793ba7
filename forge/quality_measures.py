"""What the quality gate measures of a clip: how its brightness changes, whose face is seen, how the mouth keeps time.

    flash, flicker, disorder = flicker_of(steps, skips)
    drift_of(looks)                 # how unlike the looks before and after a moment are
    lag_of(seen, told, fps=25.0)    # seconds by which the mouth is late

Pure functions; what is asked of the numbers is `forge.quality`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.doubles import CELLS
from forge.framing import Square
from forge.motion.features import Motion
from media.clip import Waveform
from media.landmarks import LIPS_OUTER, FaceObservation, crop_face

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
Curve = NDArray[np.float64]

LEAST_LOOKS = 4
"""Two before and two after a moment: fewer tell nothing of whether somebody else is there now."""
MOST_LOOKS = 96
"""Looks that are kept; in a longer clip every second one is given up, again and again."""
SLACK = 0.15
"""Share of a face's own size by which it may reach out of the picture, as in the choice of real windows."""

_LONGEST_LAG, _HIGH_PASS, _SHORTEST_SPEECH = 0.8, 0.6, 2.4
"""Seconds: shifts that are tried, slower changes of the mouth's brightness that are left out, and what is compared."""
_LEAST_OPENING = 0.03
"""Standard deviation of the told opening below which nobody speaks."""
_LEAST_MATCH, _LEAST_GAIN = 0.7, 0.3
"""Correlation with the told opening that some shift must reach: below it the mouth cannot be made out, as between dark
lips on dark skin, and chance finds a shift. And by how much it must beat none."""


# ------------------------------------------------------------------------------------------ brightness


def small_grey(image: UInt8Array) -> UInt8Array:
    """(32, 32) mean luma of an (S, S, 3) picture; in whole numbers where S is a multiple of 32."""
    small = cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def apart(a: NDArray[np.int16], b: NDArray[np.int16]) -> float:
    """Mean difference of two small pictures in grey levels; an exact quotient of whole numbers."""
    return int(np.abs(a - b).sum(dtype=np.int64)) / a.size


def flicker_of(steps: Curve, skips: Curve) -> tuple[float | None, float | None, float | None]:
    """The largest flash, the upper quartile of flicker, and disorder; None for too few frames.

    Going straight on, the way over two frames is as long as its two steps. What it is shorter came and went within one
    frame: a flash, a flicker. And where the way through four frames becomes shorter when the middle two change places,
    they are in the wrong order. Blinks and turns of the head take several frames and do neither.

    Args:
        steps: (T - 1,) difference of each frame from the one before, in parts of the mean brightness.
        skips: (T - 2,) difference of each frame from the last but one.
    """
    if len(skips) < 3:
        return None, None, None
    gone = (steps[:-1] + steps[1:] - skips) / 2
    as_is, exchanged = steps[:-2] + steps[2:], skips[:-1] + skips[1:]
    # 1 % of the mean brightness: exchanging pictures that hardly differ is not seen by anybody
    disorder = (as_is - exchanged) / np.maximum(as_is + exchanged, 0.01)
    return float(gone.max()), float(np.percentile(gone, 75)), max(0.0, float(disorder.max()))


def loud(sound: Waveform, fps: Fraction, frames: int) -> NDArray[np.bool_]:
    """(T,) whether something is heard while a frame is shown: a tenth of the loud parts' level, and no mere hiss."""
    power = sound.mono().samples[:, 0].astype(np.float64) ** 2
    total = np.concatenate([[0.0], np.cumsum(power)])
    edges = [min(round(index * sound.sample_rate_hz / fps), len(power)) for index in range(frames + 1)]
    lengths = np.maximum(np.diff(edges), 1)
    level = np.sqrt(np.maximum(np.diff(total[edges]), 0.0) / lengths)
    return np.asarray(level > max(0.003, 0.1 * float(np.percentile(level, 95))), bool)


# ------------------------------------------------------------------------------------------ faces

SHAPE_POINTS = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 234, 93, 127, 162, 21, 54, 103, 67, 109,
    168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 129, 358, 33, 133, 362, 263,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 117, 118, 50, 123, 346, 347, 280, 352,
)  # fmt: skip
"""Landmarks of the head above the mouth, which speech does not move: outline, nose, corners of the eyes, brows, cheeks.
"""
_SHAPE_SCALE, _SKIN_SCALE, _TILE_SCALE = 0.035, (6.0, 2.0, 2.0), (20.0, 3.0, 3.0)
"""What a good clip rarely exceeds: parts of the head's radius; lightness and two colours of Lab, 8 bits each."""
_FLOOR = 0.05
"""Added to each of the three: two that agree perfectly must not hide the third."""


class Finder(Protocol):
    """What finds faces: `media.faces.FaceFinder`."""

    def find(self, image: UInt8Array) -> list[FaceObservation]:
        """All faces, largest first."""
        ...

    def measure(self, image: UInt8Array, box: FloatArray) -> FaceObservation | None:
        """The face in the surroundings of a box."""
        ...


@dataclass(frozen=True, eq=False)
class Look:
    """One face as far as it is compared; each array in units of its own scale."""

    shape: FloatArray
    """(2 K,) landmarks in the plane of the face, the head turned to the front, in parts of its radius."""
    skin: FloatArray
    """(3,) median of brow to mouth in Lab."""
    tile: FloatArray
    """(48,) aligned picture of the head on 4 x 4 cells in Lab."""

    @classmethod
    def of(cls, image: UInt8Array, face: FaceObservation) -> Look:
        """Measure a face of an (H, W, 3) picture."""
        return cls.of_crop(crop_face(image, face.landmarks, 64), face)

    @classmethod
    def of_crop(cls, crop: UInt8Array, face: FaceObservation) -> Look:
        """The same from its aligned (64, 64, 3) crop."""
        lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB).astype(np.float32)
        skin = np.median(lab[20:44, 18:46].reshape(-1, 3), axis=0) / _SKIN_SCALE
        tile = np.asarray(cv2.resize(lab, (4, 4), interpolation=cv2.INTER_AREA) / _TILE_SCALE, np.float32)
        count = len(SHAPE_POINTS)
        return cls(
            (_fronted(face) / (_SHAPE_SCALE * count**0.5)).ravel().astype(np.float32),
            np.asarray(skin, np.float32),
            tile.ravel() / np.float32(4),
        )


def _fronted(face: FaceObservation) -> FloatArray:
    """(K, 2) points of the head turned to the front, about their middle, in parts of their mean radius."""
    points = face.landmarks[list(SHAPE_POINTS)].astype(np.float64) * [1, -1, -1]
    points -= points.mean(axis=0)
    flat = (points @ face.pose[:3, :3].astype(np.float64))[:, :2]
    return np.asarray(flat / max(float(np.sqrt((flat**2).sum(axis=1).mean())), 1e-6), np.float32)


def distances(some: list[Look], others: list[Look], names: Sequence[str] = ("shape", "skin", "tile")) -> FloatArray:
    """(N, M) how far looks are from looks: the geometric mean of what is compared.

    Light changes colours alone, a turn of the head changes shapes alone; somebody else changes all.
    """
    product = np.ones((len(some), len(others)))
    for name in names:
        a, b = (np.stack([getattr(look, name) for look in looks]) for looks in (some, others))
        product *= np.linalg.norm(a[:, None] - b[None], axis=2) + _FLOOR
    return np.asarray(product ** (1 / len(names)), np.float32)


def drift_of(looks: list[Look]) -> float | None:
    """How unlike the looks before and after a moment are, at the moment when they are most so; None for too few.

    Each look is compared with the most similar one of the other side: a head that turns and comes back is no other one.
    """
    if len(looks) < LEAST_LOOKS:
        return None
    apart = distances(looks, looks)
    worst = 0.0
    for split in range(2, len(looks) - 1):
        across = apart[:split, split:]
        worst = max(worst, float(across.min(axis=1).mean() + across.min(axis=0).mean()) / 2)
    return worst


@dataclass
class Faces:
    """The looks of one clip, and where the mouth was at the last one."""

    size: int
    looks: list[Look] = field(default_factory=list)
    first: FaceObservation | None = None
    found: int = 0
    asked: int = 0
    every: int = 1
    """Of so many looks one is kept."""
    box: FloatArray | None = None
    mouth: tuple[int, int, int, int] | None = None
    """x0, y0, x1, y1 in pixels: the lips and what opens below them."""

    @property
    def middle(self) -> FloatArray:
        """(4,) box about where a crop puts the face."""
        return np.array([0.26, 0.26, 0.74, 0.74], np.float32) * np.float32(self.size)

    @property
    def share(self) -> float | None:
        """Of the looks, those in which a face was found inside the picture."""
        return self.found / self.asked if self.asked else None

    def look(self, image: UInt8Array, finder: Finder, *, compared: bool = True) -> None:
        """Find the face of a frame near where it was; at first, where the crop puts it.

        Args:
            image: (S, S, 3) the frame.
            finder: a loaded face finder.
            compared: whether this face shall be like the others.
        """
        face = finder.measure(image, self.middle if self.box is None else self.box)
        if face is None:
            face = next(iter(finder.find(image)), None)
        self.asked += 1
        self.box = None if face is None else face.box
        if face is None or not Square(0, 0, self.size).contains([float(value) for value in face.box], SLACK):
            return
        self.found += 1
        self.first = self.first or face
        self._aim(face)
        if not compared or (self.asked - 1) % self.every:
            return
        self.looks.append(Look.of(image, face))
        if len(self.looks) > MOST_LOOKS:
            self.looks, self.every = self.looks[::2], self.every * 2

    def _aim(self, face: FaceObservation) -> None:
        lips = face.landmarks[list(LIPS_OUTER), :2]
        low, high = lips.min(axis=0), lips.max(axis=0)
        x, y = (float(value) for value in (low + high) / 2)
        wide = float(high[0] - low[0])
        corners = (x - 0.325 * wide, y - 0.175 * wide, x + 0.325 * wide, y + 0.375 * wide)
        x0, y0, x1, y1 = (round(min(max(value, 0.0), self.size - 1.0)) for value in corners)
        self.mouth = (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))

    def mouth_brightness(self, image: UInt8Array) -> float:
        """Mean green level between the lips, which falls when they open; NaN before a face was found."""
        if self.mouth is None:
            return float("nan")
        x0, y0, x1, y1 = self.mouth
        return float(image[y0:y1, x0:x1, 1].mean())


# ------------------------------------------------------------------------------------------ lips


def opening_of(motion: Motion) -> Curve:
    """(T,) how far the told mouth is open, 0 for touching lips."""
    shut = 1 - motion["mouthClose"].astype(np.float64)
    parted = sum(motion[f"mouth{part}{side}"] for part in ("LowerDown", "UpperUp") for side in ("Left", "Right"))
    return np.asarray(np.maximum(motion["jawOpen"] * shut + 0.15 * np.asarray(parted), 0.0), np.float64)


def lag_of(seen: Curve, told: Curve, fps: float) -> float | None:
    """Seconds by which the mouth that is seen follows the told one; 0 unless another shift fits clearly better.

    Args:
        seen: (T,) anything that rises when the mouth opens.
        told: (T,) its opening.
        fps: frames a second.

    Returns:
        None when too little is said to tell, or the mouth cannot be made out.
    """
    length, reach = len(seen), round(_LONGEST_LAG * fps)
    reach = min(reach, int(0.4 * length))
    if length < _SHORTEST_SPEECH * fps or float(told.std()) < _LEAST_OPENING or not np.isfinite(seen).all():
        return None
    a, b = (_quick(curve, fps) for curve in (seen, told))
    fits = {}
    for lag in range(-reach, reach + 1):
        fits[lag] = _correlation(a[max(0, lag) : length + min(0, lag)], b[max(0, -lag) : length - max(0, lag)])
    best = max(fits, key=lambda lag: (fits[lag], -abs(lag)))
    if fits[best] < _LEAST_MATCH:
        return None
    return best / fps if fits[best] - fits[0] >= _LEAST_GAIN else 0.0


def _quick(curve: Curve, fps: float) -> Curve:
    """A curve smoothed over three frames, without its slow changes."""
    smooth = np.convolve(np.pad(curve, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    half = max(1, round(_HIGH_PASS * fps / 2))
    slow = np.convolve(np.pad(smooth, half, mode="edge"), np.full(2 * half + 1, 1 / (2 * half + 1)), "valid")
    return np.asarray(smooth - slow, np.float64)


def _correlation(a: Curve, b: Curve) -> float:
    x, y = a - a.mean(), b - b.mean()
    power = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / power if power > 1e-9 else 0.0
