"""Whether a clip is fit for a dataset: a face is there, nothing flickers, freezes, turns into somebody else, or lags.

    examiner = Examiner(Gate(), crew.finder, fps=Fraction(25), size=256)
    for image in examiner.watching(frames): writer.add(image)
    found = examiner.judged(motion=motion, sound=sound, portrait=None)
    found.passed, found.cause, found.measurements

Rules:

1. Real and synthetic clips are measured alike, by the same thresholds, wherever both have what is measured: a gate that
   asked more of one of them would tell the label by what is missing. Only what was told to move can be late (`sync`),
   and only what was animated from a picture can be unlike it: these two reject nothing but what is broken.
2. What cannot be measured (no speech, too short) is None, and passes.
3. Frames are passed on untouched and not kept: a few bytes a frame, and `MOST_LOOKS` faces.
4. Brightness is measured in whole numbers, the same on every machine. Faces are found by a network whose last digits
   differ between processors: measurements belong beside a clip's record, not into what must be equal everywhere.

What it cannot see: somebody who looks like the first one (geometry and colours are compared, there is no identity
network), a forged face that wears the colours and the shape of the real one, artefacts that stand still, bad lip shapes
in time with the voice.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.doubles import Printer
from forge.framing import Square
from forge.motion.features import Motion
from media.clip import Waveform
from media.landmarks import LIPS_OUTER, FaceObservation, crop_face

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
Curve = NDArray[np.float64]
Cause = Literal["no_face", "frozen", "flicker", "identity", "sync"]

CELLS = 32
"""Cells a side of the small grey picture."""
DARKEST = 20.0
"""Grey levels: in a darker picture changes count as if it were so bright."""
STILL_SECONDS, STILL_CELLS, STILL_LEVELS = 0.4, 8, 2
"""A picture stands still when after so long fewer than so many cells have changed by so many grey levels. Of 95 moving
recordings and 80 made clips none did at any time; pixels of a talking mouth alone change by ten times that."""
MOST_LOOKS = 96
"""Looks that are kept; in a longer clip every second one is given up, again and again."""
SLACK = 0.15
"""Share of a face's own size by which it may reach out of the picture, as in the choice of real windows."""

_LONGEST_LAG, _HIGH_PASS, _SHORTEST_SPEECH = 0.8, 0.6, 1.6
"""Seconds: shifts that are tried, slower changes of the mouth's brightness that are left out, and what is compared."""
_LEAST_OPENING = 0.03
"""Standard deviation of the told opening below which nobody speaks."""
_LEAST_MATCH, _LEAST_GAIN = 0.6, 0.25
"""Correlation with the told opening that another shift needs, and by how much it must beat none."""


@dataclass(frozen=True)
class Gate:
    """What a clip must keep to; None asks nothing. How the defaults were found: below each."""

    looks_per_second: float = 1.5
    """A look costs about 12 ms of one core: more than all the rest."""
    least_face_share: float | None = 0.6
    """Share of looks in which a face is found inside the picture. Good clips: 1.0; windows of real videos are chosen by
    .7 of other frames."""
    most_frozen_share: float | None = 0.45
    """Share of the time in which something is heard (of all time, without sound) that the picture stands still. One of
    96 recordings was a still picture; all others have 0."""
    most_flash: float | None = 0.15
    """Change of brightness that comes and goes within one frame, in parts of the mean; the largest of a clip. Good
    clips up to .073; a black frame 1.0, a photographer's flash above .2."""
    most_flicker: float | None = 0.03
    """The same, its upper quartile over the clip. Good clips up to .016; every second frame brighter by 6 %: .06."""
    most_disorder: float | None = 0.03
    """How much shorter the way through the pictures becomes when two neighbours change places, in parts of the way.
    Good clips up to .006; one of 96 recordings had frames out of order (.23), two neighbours exchanged: .3."""
    most_drift: float | None = 1.6
    """How far the face after any moment is from the face before it in shape, skin colour and coarse picture: geometric
    mean of the three, each over what a good clip rarely exceeds."""
    most_unlike: float | None = 2.5
    """The same between the clip and the portrait that it was animated from."""
    most_lag_seconds: float | None = 0.2
    """By how much the mouth that is seen follows or precedes the one that was told."""

    def __post_init__(self) -> None:
        """Refuse numbers that are no thresholds."""
        if not 0 < self.looks_per_second <= 60:
            raise ValueError(f"looks_per_second must be above 0 and at most 60, got {self.looks_per_second}")
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not 0 <= value < 1e6:
                raise ValueError(f"{each.name} must be a number from 0 or None, got {value}")

    @classmethod
    def off(cls) -> Gate:
        """Nothing is asked, nothing is measured."""
        return cls(1.5, None, None, None, None, None, None, None, None)

    def to_json(self) -> dict[str, float | None]:
        """Plain JSON values: datasets of another gate are other datasets."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def is_off(self) -> bool:
        """Whether nothing is asked."""
        return all(getattr(self, each.name) is None for each in fields(self)[1:])

    @property
    def looks(self) -> bool:
        """Whether anything is asked for which a face must be found."""
        asked = (self.least_face_share, self.most_drift, self.most_unlike, self.most_lag_seconds)
        return any(one is not None for one in asked)


@dataclass(frozen=True)
class Examination:
    """What was found of one clip."""

    cause: Cause | None
    """The first of the gate's demands that was not kept; None when all were."""
    measurements: Mapping[str, float | None]
    """To three digits, as they were judged; None where there was nothing to measure."""

    def __post_init__(self) -> None:
        """Keep the measurements from changing."""
        object.__setattr__(self, "measurements", MappingProxyType(dict(self.measurements)))

    @property
    def passed(self) -> bool:
        """Whether the clip is fit."""
        return self.cause is None


class Finder(Protocol):
    """What finds faces: `media.faces.FaceFinder`."""

    def find(self, image: UInt8Array) -> list[FaceObservation]:
        """All faces, largest first."""
        ...

    def measure(self, image: UInt8Array, box: FloatArray) -> FaceObservation | None:
        """The face in the surroundings of a box."""
        ...


class Examiner:
    """Watches one clip go by and judges it afterwards."""

    def __init__(self, gate: Gate, finder: Callable[[], Finder], *, fps: Fraction, size: int) -> None:
        """Prepare for one clip.

        Args:
            gate: what it must keep to.
            finder: gives a loaded face finder; asked at the first look, never when the gate does not look.
            fps: exact frame rate.
            size: side S of the frames in pixels.
        """
        if fps <= 0:
            raise ValueError(f"fps must be positive, got {fps}")
        if size < CELLS:
            raise ValueError(f"frames must have at least {CELLS} pixels a side, got {size}")
        self._gate, self._finder, self._fps, self._size = gate, finder, fps, size
        self._every = max(1, round(float(fps) / gate.looks_per_second))
        self._lag = max(1, round(STILL_SECONDS * float(fps)))
        self._recent: deque[NDArray[np.int16]] = deque(maxlen=self._lag + 1)
        self._brightness, self._steps, self._skips, self._mouth = array("f"), array("f"), array("f"), array("f")
        self._still = bytearray()
        self._faces = _Faces(size)
        self._printer = Printer(fps)
        self._count = 0

    def watching(self, frames: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
        """The same frames, (S, S, 3) uint8 RGB, measured on their way.

        Raises:
            ValueError: for a frame of another shape.
        """
        for image in frames:
            if not self._gate.is_off:
                self._see(image)
            yield image

    def print_bytes(self) -> bytes | None:
        """The clip's print for `forge.doubles`; None when the gate is off or nothing came."""
        return self._printer.print_bytes()

    def judged(
        self, *, motion: Motion | None = None, sound: Waveform | None = None, portrait: UInt8Array | None = None
    ) -> Examination:
        """What was found, after the last frame.

        Args:
            motion: what the face was told to do in every frame of the whole clip; None for a recording, and for one of
                which only a part was animated.
            sound: what is heard.
            portrait: (S, S, 3) picture that the clip was animated from, as it was framed; None for anything else.
        """
        gate = self._gate
        if gate.is_off:
            return Examination(None, {})
        brightness = max(float(np.mean(self._brightness)), DARKEST) if self._count else DARKEST
        steps, skips = np.asarray(self._steps, np.float64)[1:], np.asarray(self._skips, np.float64)[2:]
        flash, flicker, disorder = flicker_of(steps / brightness, skips / brightness)
        found: dict[str, float | None] = {
            "face_share": self._faces.share,
            "frozen_share": self._frozen_share(sound),
            "flash": flash,
            "flicker": flicker,
            "disorder": disorder,
            "drift": drift_of(self._faces.looks),
            "unlike": None if portrait is None else self._unlike(portrait),
            "lag_seconds": None if motion is None else self._lag_behind(motion),
        }
        told = {name: None if value is None else round(value, 3) for name, value in found.items()}
        return Examination(_cause(gate, told), told)

    def _see(self, image: UInt8Array) -> None:
        if image.shape != (self._size, self._size, 3):
            raise ValueError(f"frames must be ({self._size}, {self._size}, 3), got {image.shape}")
        grey = small_grey(image)
        past, cells = self._recent, grey.astype(np.int16)
        self._brightness.append(float(grey.mean()))
        self._steps.append(_apart(cells, past[-1]) if past else 0.0)
        self._skips.append(_apart(cells, past[-2]) if len(past) > 1 else 0.0)
        past.append(cells)
        if len(past) > self._lag:
            changes = np.abs(cells - past[0]).ravel()
            changes.partition(changes.size - STILL_CELLS)
            self._still.append(int(changes[-STILL_CELLS] < STILL_LEVELS))
        self._printer.add(grey)
        if self._gate.looks:
            if self._count % self._every == 0:
                self._faces.look(image, self._count, self._finder())
            self._mouth.append(self._faces.mouth_brightness(image))
        self._count += 1

    def _frozen_share(self, sound: Waveform | None) -> float | None:
        if not self._still:
            return None
        still = np.frombuffer(bytes(self._still), np.uint8)
        # what is as it was so long ago stood still all the time in between
        stood = np.convolve(still, np.ones(self._lag + 1), "full") > 0
        heard = np.ones(self._count, bool) if sound is None else loud(sound, self._fps, self._count)
        return float(stood[heard if heard.sum() >= self._lag else slice(None)].mean())

    def _unlike(self, portrait: UInt8Array) -> float | None:
        if not self._gate.looks or not self._faces.looks:
            return None
        faces = self._finder().find(portrait)
        if not faces:
            return None
        return float(np.mean(_distances(self._faces.looks, [Look.of(portrait, faces[0])])))

    def _lag_behind(self, motion: Motion) -> float | None:
        seen = np.asarray(self._mouth, np.float64)
        if motion.length != len(seen):
            return None
        known = np.isfinite(seen)
        first = int(np.argmax(known)) if known.any() else len(seen)
        return lag_of(-seen[first:], opening_of(motion)[first:], float(self._fps))


def _cause(gate: Gate, told: Mapping[str, float | None]) -> Cause | None:
    """The first demand that a clip does not keep."""
    share = told["face_share"]
    if gate.least_face_share is not None and share is not None and share < gate.least_face_share:
        return "no_face"
    most: tuple[tuple[str, float | None, Cause], ...] = (
        ("frozen_share", gate.most_frozen_share, "frozen"),
        ("flash", gate.most_flash, "flicker"),
        ("flicker", gate.most_flicker, "flicker"),
        ("disorder", gate.most_disorder, "flicker"),
        ("drift", gate.most_drift, "identity"),
        ("unlike", gate.most_unlike, "identity"),
    )
    for name, limit, cause in most:
        value = told[name]
        if limit is not None and value is not None and value > limit:
            return cause
    lag = told["lag_seconds"]
    if gate.most_lag_seconds is not None and lag is not None and abs(lag) > gate.most_lag_seconds:
        return "sync"
    return None


# ------------------------------------------------------------------------------------------ brightness


def small_grey(image: UInt8Array) -> UInt8Array:
    """(32, 32) mean luma of an (S, S, 3) picture; in whole numbers where S is a multiple of 32."""
    small = cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _apart(a: NDArray[np.int16], b: NDArray[np.int16]) -> float:
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


def _distances(some: list[Look], others: list[Look]) -> FloatArray:
    """(N, M) how far looks are from looks: the geometric mean of the three.

    Light changes colours alone, a turn of the head changes shapes alone; somebody else changes all.
    """
    product = np.ones((len(some), len(others)))
    for name in ("shape", "skin", "tile"):
        a, b = (np.stack([getattr(look, name) for look in looks]) for looks in (some, others))
        product *= np.linalg.norm(a[:, None] - b[None], axis=2) + _FLOOR
    return np.asarray(np.cbrt(product), np.float32)


def drift_of(looks: list[Look]) -> float | None:
    """How unlike the looks before and after a moment are, at the moment when they are most so; None below four looks.

    Each look is compared with the most similar one of the other side: a head that turns and comes back is no other one.
    """
    if len(looks) < 4:
        return None
    apart = _distances(looks, looks)
    worst = 0.0
    for split in range(2, len(looks) - 1):
        across = apart[:split, split:]
        worst = max(worst, float(across.min(axis=1).mean() + across.min(axis=0).mean()) / 2)
    return worst


@dataclass
class _Faces:
    """The looks of one clip, and where the mouth was at the last one."""

    size: int
    looks: list[Look] = field(default_factory=list)
    found: int = 0
    asked: int = 0
    every: int = 1
    """Of so many looks one is kept."""
    box: FloatArray | None = None
    mouth: tuple[int, int, int, int] | None = None
    """x0, y0, x1, y1 in pixels: the lips and what opens below them."""

    @property
    def share(self) -> float | None:
        return self.found / self.asked if self.asked else None

    def look(self, image: UInt8Array, frame: int, finder: Finder) -> None:
        """Find the face of a frame near where it was; at first, where the crop puts it."""
        third = self.size / 3.8
        near = np.array([third, third, self.size - third, self.size - third], np.float32)
        face = finder.measure(image, near if self.box is None else self.box)
        if face is None:
            face = next(iter(finder.find(image)), None)
        self.asked += 1
        self.box = None if face is None else face.box
        if face is None or not Square(0, 0, self.size).contains([float(value) for value in face.box], SLACK):
            return
        self.found += 1
        self._aim(face)
        if (self.asked - 1) % self.every:
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
        None when too little is said to tell.
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
    return best / fps if fits[best] >= _LEAST_MATCH and fits[best] - fits[0] >= _LEAST_GAIN else 0.0


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
