"""What a clip looks and sounds like, small enough for a manifest, and how like another clip that is.

    pictures = PictureFingerprinter()
    for seconds, image in timed_frames:
        pictures.add(seconds, image)
    copy = Fingerprint(*pictures.prints(), fingerprint_sound(samples, sample_rate_hz))
    compare(copy, original)     # Likeness: correlations of scene, motion and sound, and the chance of a false match

How it works, told once:

1. Pictures, still: luma on 16 x 16 cells, one mean a second, 16 levels. It tells a scene, not a take: two clips of one
   portrait share it.
2. Pictures, moving: eight times a second, which of 12 x 12 cells became lighter, darker or neither. It tells one take
   from another, and means over time and space survive encoders, sizes and frame rates.
3. Sound: 32 times a second, the signs of differences of band energies over frequency and time (Haitsma and Kalker
   2002), 16 bits of 17 bands between 300 and 3000 Hz.
4. A copy may be cropped or cut: its prints are laid over those of the original at seventeen crops and at every eighth
   of a second; the likeness is a correlation, and chance is what clips that are not the same gave
   (`benchmarks.durable`), times the number of trials.
5. A clip matches by its motion, or by its sound together with its scene; a still picture by its scene alone. A scene or
   a sound alone does not make two clips the same: portraits and speeches are used again.

A likeness says what the original was. How far the copy differs is part of the answer, and no small difference proves
that nothing was altered.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from math import atanh, erfc, sqrt
from typing import Any, Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Int8Array = NDArray[np.int8]
FloatArray = NDArray[np.float32]
Name = TypeVar("Name", bound=str | int)
Crop = tuple[float, int, int]

PICTURE_ALGORITHM: Final = "org.countermark.picture.1"
SOUND_ALGORITHM: Final = "org.countermark.sound.1"
"""Names in `c2pa.soft-binding` assertions. A change to a print is a new number."""
LOOK: Final = 16
"""Cells a side of the still print."""
MOTION: Final = 12
"""Cells a side of the moving print."""
RATE: Final = 8
"""Moving prints a second."""
SOUND_RATE: Final = 32
"""Sound prints a second."""
SOUND_BITS: Final = 16
LONGEST_SECONDS: Final = 60
"""Only the beginning of a longer clip has a print."""

_WHOLE: Final[Crop] = (1.0, 0, 0)
_SOUND_SAMPLE_RATE = 8000
_WINDOW_SECONDS = 0.256
_STILL_LEVEL = 0.3
"""Grey levels by which a cell must change to count: an encoder moves the mean of a cell by less."""
_SILENCE = 1e-6
_CROPS: Final = tuple((share, 0, 0) for share in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 1.05, 1.1, 1.2)) + tuple(
    (share, down, across) for share in (0.9, 0.8) for down in (-1, 1) for across in (-1, 1)
)
"""Crops that are tried: sides of the copy in those of the original, above 1 for added borders; where it was cut from,
about the middle or in a corner, as downwards and to the right."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Prints of one clip, picture or sound. Axes: S seconds, T eighths of a second, A 32nds of a second."""

    look_SHW: UInt8Array = field(default_factory=lambda: np.zeros((0, LOOK, LOOK), np.uint8))
    """(S, 16, 16) levels 0 to 15."""
    motion_THW: Int8Array = field(default_factory=lambda: np.zeros((0, MOTION, MOTION), np.int8))
    """(T, 12, 12) of -1 darker, 0 neither, +1 lighter than an eighth of a second before."""
    sound_AK: Int8Array = field(default_factory=lambda: np.zeros((0, SOUND_BITS), np.int8))
    """(A, 16) of -1 and +1; 0 where it was silent."""

    def __post_init__(self) -> None:
        """Refuse arrays of other shapes and values."""
        for array, shape, low, high in (
            (self.look_SHW, (LOOK, LOOK), 0, 15),
            (self.motion_THW, (MOTION, MOTION), -1, 1),
            (self.sound_AK, (SOUND_BITS,), -1, 1),
        ):
            if array.shape[1:] != shape:
                raise ValueError(f"a print must have the shape (..., {', '.join(map(str, shape))}), got {array.shape}")
            if array.size and (array.min() < low or array.max() > high):
                raise ValueError(f"a print must hold {low} to {high}, got {array.min()} to {array.max()}")

    @cached_property
    def scenes_CV(self) -> FloatArray:
        """(C, V): the mean scene as vectors of V cells and length one, whole and in all C crops that are tried."""
        scene_V = self.look_SHW.astype(np.float32).mean(0).ravel()
        # not a product of matrices: for one this small, the threads of BLAS cost more than they do
        scenes_CV = np.einsum("cvw,w->cv", _views(), scene_V)
        lengths = np.sqrt(np.einsum("cv,cv->c", scenes_CV, scenes_CV))
        return np.asarray(scenes_CV / np.maximum(lengths, 1e-6)[:, None], np.float32)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not (len(self.look_SHW) or len(self.sound_AK))

    def picture_blocks(self) -> list[dict[str, Any]]:
        """The picture prints as blocks of a soft binding: one a second, base64 of levels and trits."""
        blocks = []
        for second in range(len(self.look_SHW)):
            moving = self.motion_THW[second * RATE : (second + 1) * RATE]
            content = _packed(self.look_SHW[second], 4) + _packed(moving + 1, 2)
            blocks.append(_block(second, len(moving) / RATE if len(moving) else 1.0, content))
        return blocks

    def sound_blocks(self) -> list[dict[str, Any]]:
        """The sound prints as blocks of a soft binding: one a second."""
        blocks = []
        for second in range(-(-len(self.sound_AK) // SOUND_RATE)):
            part = self.sound_AK[second * SOUND_RATE : (second + 1) * SOUND_RATE]
            blocks.append(_block(second, len(part) / SOUND_RATE, _packed(part + 1, 2)))
        return blocks

    @classmethod
    def from_blocks(cls, pictures: Sequence[Mapping[str, Any]], sound: Sequence[Mapping[str, Any]]) -> Fingerprint:
        """Read what `picture_blocks` and `sound_blocks` wrote.

        Raises:
            ValueError: for anything else.
        """
        looks, moves, sounds = [], [], []
        look_bytes, step_bytes = LOOK * LOOK // 2, MOTION * MOTION // 4
        for one in pictures[:LONGEST_SECONDS]:
            content = _content(one)
            if len(content) < look_bytes or (len(content) - look_bytes) % step_bytes:
                raise ValueError(f"a picture print has {look_bytes} + n x {step_bytes} bytes, got {len(content)}")
            looks.append(_unpacked(content[:look_bytes], 4).reshape(LOOK, LOOK))
            moves.append(_unpacked(content[look_bytes:], 2).reshape(-1, MOTION, MOTION))
        for one in sound[:LONGEST_SECONDS]:
            content = _content(one)
            if len(content) % (SOUND_BITS // 4):
                raise ValueError(f"a sound print has n x {SOUND_BITS // 4} bytes, got {len(content)}")
            sounds.append(_unpacked(content, 2).reshape(-1, SOUND_BITS))
        none = cls()
        return cls(
            np.stack(looks) if looks else none.look_SHW,
            (np.concatenate(moves).astype(np.int8) - 1) if moves else none.motion_THW,
            (np.concatenate(sounds).astype(np.int8) - 1) if sounds else none.sound_AK,
        )


# ------------------------------------------------------------------------------------------ making


class PictureFingerprinter:
    """Makes the prints of pictures from frames as they come; what is after LONGEST_SECONDS is passed over."""

    def __init__(self) -> None:
        self._sums: list[FloatArray] = []
        self._counts: list[int] = []

    def add(self, seconds: float, image: UInt8Array) -> None:
        """One more frame, (H, W, 3) uint8 RGB, shown at this time; times do not fall."""
        slot = int(seconds * RATE + 1e-6)
        if not 0 <= slot < LONGEST_SECONDS * RATE:
            return
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # 48 is a multiple of both grids
        cells = cv2.resize(luma, (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32)
        while len(self._sums) <= slot:
            self._sums.append(np.zeros((48, 48), np.float32))
            self._counts.append(0)
        self._sums[slot] += cells
        self._counts[slot] += 1

    def prints(self) -> tuple[UInt8Array, Int8Array]:
        """Still prints (S, 16, 16) and moving prints (T, 12, 12)."""
        if not self._sums:
            none = Fingerprint()
            return none.look_SHW, none.motion_THW
        mean_T = np.stack(self._sums)
        known = np.asarray(self._counts) > 0
        mean_T[known] /= np.asarray(self._counts, np.float32)[known][:, None, None]
        # a slot that no frame fell into, as at 6 frames a second, shows what was there before
        last = np.maximum.accumulate(np.where(known, np.arange(len(known)), 0))
        mean_T = mean_T[last]
        looks = [_look(mean_T[start : start + RATE].mean(0)) for start in range(0, len(mean_T), RATE)]
        return np.stack(looks), _motion(_cells(mean_T, MOTION))


def _look(luma: FloatArray) -> UInt8Array:
    """(16, 16) levels 0 to 15: luma spread over its own range, so that exposure does not matter."""
    cells = cv2.resize(luma, (LOOK, LOOK), interpolation=cv2.INTER_AREA)
    low, high = np.percentile(cells, (1, 99))
    levels = np.rint((cells - low) / max(float(high - low), 1.0) * 15)
    return np.asarray(np.clip(levels, 0, 15), np.uint8)


def _cells(mean_THW: FloatArray, side: int) -> FloatArray:
    step = mean_THW.shape[1] // side
    out: FloatArray = mean_THW.reshape(len(mean_THW), side, step, side, step).mean((2, 4))
    return out


def _motion(cells_THW: FloatArray) -> Int8Array:
    """Signs of the change of each cell since the eighth of a second before; the first has none."""
    change = np.diff(cells_THW, axis=0, prepend=cells_THW[:1])
    # a lamp or an automatic exposure is not motion
    change -= np.median(change, axis=(1, 2), keepdims=True)
    level = np.maximum(0.5 * np.sqrt(np.mean(change**2, axis=(1, 2), keepdims=True)), _STILL_LEVEL)
    signs: Int8Array = (np.sign(change) * (np.abs(change) > level)).astype(np.int8)
    return signs


def fingerprint_sound(samples: FloatArray, sample_rate_hz: int) -> Int8Array:
    """Sound prints (A, 16).

    Args:
        samples: (N,) or (N, C) in [-1, 1].
        sample_rate_hz: of the samples.
    """
    from scipy.signal import resample_poly

    mono = samples.mean(1) if samples.ndim == 2 else samples
    mono = mono[: LONGEST_SECONDS * sample_rate_hz]
    common = int(np.gcd(sample_rate_hz, _SOUND_SAMPLE_RATE))
    mono = resample_poly(mono, _SOUND_SAMPLE_RATE // common, sample_rate_hz // common) if len(mono) else mono
    length, hop = int(_WINDOW_SECONDS * _SOUND_SAMPLE_RATE), _SOUND_SAMPLE_RATE // SOUND_RATE
    if len(mono) < length:
        return np.zeros((0, SOUND_BITS), np.int8)
    frames = np.lib.stride_tricks.sliding_window_view(mono, length)[::hop] * np.hanning(length)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = np.geomspace(300, 3000, SOUND_BITS + 2) * length / _SOUND_SAMPLE_RATE
    bands = np.stack([power[:, int(a) : max(int(a) + 1, int(b))].mean(1) for a, b in pairwise(edges)])
    heard = bands.mean(0) > _SILENCE
    slope = np.diff(np.log(bands + _SILENCE), axis=0).T
    signs = np.sign(np.diff(slope, axis=0, prepend=slope[:1]))
    return np.asarray(signs * heard[:, None], np.int8)


# ------------------------------------------------------------------------------------------ comparing


@dataclass(frozen=True)
class Likeness:
    """How like an original a copy is; correlations from -1 to 1, None where one of the two has nothing to compare."""

    look: float | None = None
    motion: float | None = None
    sound: float | None = None
    seconds: float = 0.0
    """Of motion or sound that were compared."""
    starts_at: float = 0.0
    """Second of the original at which the copy begins."""
    false_chance: float = 1.0
    """Chance that another clip would have come as near, all trials of one comparison counted."""

    def passes(self, store_size: int = 1) -> bool:
        """Whether the copy is taken for one of this original, which was the best of so many."""
        return self.false_chance * max(1, store_size) <= FALSE_ALARM

    @property
    def difference(self) -> float:
        """0 for the same, 1 for nothing in common: one minus the mean of what could be compared."""
        parts = [max(0.0, one) for one in (self.look, self.motion, self.sound) if one is not None]
        return 1.0 - sum(parts) / len(parts) if parts else 1.0


FALSE_ALARM: Final = 1e-4
"""Largest chance, over a whole store, with which a likeness is still believed."""


def look_likeness(copy: Fingerprint, original: Fingerprint) -> tuple[float | None, Crop]:
    """Best correlation of scenes over all crops, and the crop."""
    if not len(copy.look_SHW) or not len(original.look_SHW):
        return None, _WHOLE
    scores = original.scenes_CV @ copy.scenes_CV[0]
    best = int(np.argmax(scores))
    return float(scores[best]), _CROPS[best]


def compare(copy: Fingerprint, original: Fingerprint) -> Likeness:
    """How like an original a copy is, over all crops and all cuts in time."""
    look, crop = look_likeness(copy, original)
    motion, at, steps = _motion_likeness(copy.motion_THW, original.motion_THW, crop)
    sound, sound_at, sound_steps = _sound_likeness(copy.sound_AK, original.sound_AK)
    chances = [1.0]
    is_dubbed = sound is not None and sound < _OTHER_SOUND
    is_elsewhere = look is None or look <= _SAME_SCENE
    if motion is not None and (motion > _SAME_TAKE or not (is_dubbed or is_elsewhere)):
        # one recording may have driven several faces, one portrait may have said several things: then more is asked
        chances.append(_chance_of_motion(motion, steps / RATE))
    if sound is not None and (look is None or look > _SAME_SCENE):
        # a speech is used again with other faces, a face with other speeches: it takes both
        chances.append(_chance_of_sound(sound, sound_steps / SOUND_RATE))
    if look is not None and motion is None and sound is None:
        chances.append(_chance_of_look(look))
    return Likeness(
        look,
        motion,
        sound,
        seconds=max(steps / RATE, sound_steps / SOUND_RATE),
        starts_at=at / RATE if motion is not None else sound_at / SOUND_RATE,
        false_chance=min(chances),
    )


_SAME_SCENE = 0.8
"""Correlation of scenes: copies gave .92 and more, nineteen in twenty pairs of different clips less than .67."""
_OTHER_SOUND = 0.25
"""Correlation of sound: copies gave .5 and more, other sounds .23 and less."""
_SAME_TAKE = 0.6
"""Correlation of motion that counts although scene or sound are others: a copy may be cropped or dubbed."""


def nearest(copy: Fingerprint, store: Mapping[Name, Fingerprint]) -> tuple[Name | None, Likeness | None]:
    """The original of a store that a copy is most like, and how like; (None, None) when nothing can be compared.

    Scenes are compared first: motion and sound only of the most similar ones, and of originals without pictures.
    """
    looks = {name: look_likeness(copy, original)[0] for name, original in store.items()}
    seen = sorted((name for name, look in looks.items() if look is not None), key=lambda name: -(looks[name] or 0.0))
    unseen = [name for name, look in looks.items() if look is None]
    best: tuple[Name, Likeness] | None = None
    for name in seen[:_CLOSER_LOOKS] + unseen:
        likeness = compare(copy, store[name])
        if best is None or (likeness.false_chance, likeness.difference) < (best[1].false_chance, best[1].difference):
            best = (name, likeness)
    return best if best is not None else (None, None)


_CLOSER_LOOKS = 40


@lru_cache(maxsize=1)
def _views() -> FloatArray:
    """(C, V, V): what makes every crop of a scene out of its cells, without its mean and its slowest changes.

    All portraits share those. One product is a hundred times quicker than warping and blurring a store's scenes.
    """
    views = np.empty((len(_CROPS), LOOK * LOOK, LOOK * LOOK), np.float32)
    for cell in range(LOOK * LOOK):
        one = np.zeros(LOOK * LOOK, np.float32)
        one[cell] = 1.0
        for number, crop in enumerate(_CROPS):
            seen = _cropped(one.reshape(LOOK, LOOK), crop)
            fine = seen - 0.8 * cv2.GaussianBlur(seen, (0, 0), 4)
            views[number, :, cell] = (fine - fine.mean()).ravel()
    return views


def _cropped(cells: FloatArray, crop: Crop) -> FloatArray:
    """A part of a grid on the same grid."""
    share, down, across = crop
    if share == 1.0:
        return cells
    side = cells.shape[0]
    # centres of cells lie half a cell from the border
    middle = (1 - share) * (side - 1) / 2
    slack = (1 - share) * side / 2
    matrix = np.array([[share, 0, middle + across * slack], [0, share, middle + down * slack]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(cells, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _motion_likeness(copy: Int8Array, original: Int8Array, crop: Crop) -> tuple[float | None, int, int]:
    """Best correlation over all cuts, the step of the original where the copy begins, and the steps compared."""
    if len(copy) < RATE or len(original) < RATE:
        return None, 0, 0
    theirs = original.astype(np.float32)
    if crop != _WHOLE:
        theirs = np.stack([_cropped(one, crop) for one in theirs])
    mine_TC, theirs_TC = copy.reshape(len(copy), -1).astype(np.float32), theirs.reshape(len(theirs), -1)
    if not mine_TC.any() or not theirs_TC.any():
        return None, 0, 0
    return _best_lag(mine_TC, theirs_TC, min_steps=RATE)


def _sound_likeness(copy: Int8Array, original: Int8Array) -> tuple[float | None, int, int]:
    if len(copy) < SOUND_RATE or len(original) < SOUND_RATE or not copy.any() or not original.any():
        return None, 0, 0
    return _best_lag(copy.astype(np.float32), original.astype(np.float32), min_steps=SOUND_RATE)


def _best_lag(mine_TC: FloatArray, theirs_TC: FloatArray, *, min_steps: int) -> tuple[float | None, int, int]:
    """Best normalised correlation of two sequences over all overlaps of three quarters of the shorter."""
    mine, theirs = len(mine_TC), len(theirs_TC)
    needed = max(min_steps, 3 * min(mine, theirs) // 4)
    products = mine_TC @ theirs_TC.T
    own_T, other_T = (mine_TC**2).sum(1), (theirs_TC**2).sum(1)
    best: tuple[float, int, int] | None = None
    for lag in range(needed - mine, theirs - needed + 1):
        first, last = max(0, -lag), min(mine, theirs - lag)
        if last - first < needed:
            continue
        both = float(np.trace(products[first:last, first + lag : last + lag]))
        energy = float(own_T[first:last].sum() * other_T[first + lag : last + lag].sum())
        score = both / energy**0.5 if energy > 0 else 0.0
        if best is None or score > best[0]:
            best = (score, lag, last - first)
    return best if best is not None else (None, 0, 0)


# Chance that clips that are not the same come as near: tails of Gaussians, wider by half than what pairs of different
# clips gave (`benchmarks.durable` measures what comes of it), which narrow with the seconds compared.


def _tail(score: float, mean: float, deviation: float) -> float:
    return max(1e-12, 0.5 * erfc((score - mean) / (deviation * sqrt(2))))


def _chance_of_motion(score: float, seconds: float) -> float:
    return _tail(score, 0.10, 0.07 * sqrt(2.0 / max(seconds, 0.5)))


def _chance_of_sound(score: float, seconds: float) -> float:
    return _tail(score, 0.10, 0.055 * sqrt(2.0 / max(seconds, 0.5)))


def _chance_of_look(score: float) -> float:
    return _tail(atanh(min(score, 0.9999)), 0.3, 0.4)


# ------------------------------------------------------------------------------------------ packing


def _block(second: int, length: float, content: bytes) -> dict[str, Any]:
    span = {"start": second * 1000, "end": round((second + length) * 1000)}
    return {"scope": {"timespan": span}, "value": base64.b64encode(content).decode("ascii")}


def _content(block: Mapping[str, Any]) -> bytes:
    value = block.get("value")
    if not isinstance(value, str):
        raise ValueError(f"the value of a block must be text, got {type(value).__name__}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the value of a block is not base64: {error}") from error


def _packed(values: NDArray[Any], bits: int) -> bytes:
    """Small numbers, `bits` each, in bytes; the first in the lowest bits."""
    per_byte = 8 // bits
    flat = values.astype(np.uint8).ravel()
    groups = np.pad(flat, (0, -len(flat) % per_byte)).reshape(-1, per_byte)
    return bytes((groups << (np.arange(per_byte, dtype=np.uint8) * bits)).sum(1).astype(np.uint8))


def _unpacked(content: bytes, bits: int) -> UInt8Array:
    per_byte = 8 // bits
    raw = np.frombuffer(content, np.uint8)[:, None]
    return np.asarray(raw >> (np.arange(per_byte, dtype=np.uint8) * bits) & ((1 << bits) - 1), np.uint8).ravel()
