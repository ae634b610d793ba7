"""What a clip looks and sounds like, small enough for a manifest.

    pictures = PictureFingerprinter()
    for seconds, image in timed_frames:
        pictures.add(seconds, image)
    copy = Fingerprint(*pictures.prints(), fingerprint_sound(samples, sample_rate_hz), later=pictures.later())
    copy.picture_blocks()       # what a soft binding and a store hold

How it works, told once (`provenance.likeness` compares):

1. Pictures, still: luma on 16 x 16 cells, one mean a second, 16 levels. It tells a scene, not a take: two clips of one
   portrait share it.
2. Pictures, moving: eight times a second, by how much each of 12 x 12 cells became lighter or darker, in 15 levels,
   finer ones for small changes. It tells one take from another; means over time and space survive encoders, sizes and
   frame rates. (Version 1 kept the sign alone, which a speech with the same face and other movements resembled.)
3. Sound: 32 times a second, the signs of differences of band energies over frequency and time (Haitsma and Kalker
   2002), 16 bits of 17 bands between 300 and 3000 Hz.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Int8Array = NDArray[np.int8]
FloatArray = NDArray[np.float32]

PICTURE_ALGORITHM: Final = "org.countermark.picture.2"
PICTURE_ALGORITHM_1: Final = "org.countermark.picture.1"
SOUND_ALGORITHM: Final = "org.countermark.sound.1"
"""Names in `c2pa.soft-binding` assertions. A change to a print is a new number."""
LOOK: Final = 16
"""Cells a side of the still print."""
MOTION: Final = 12
"""Cells a side of the moving print."""
RATE: Final = 8
"""Moving prints a second."""
PHASES: Final = 4
"""Beginnings of the first eighth of a second that a copy is tried at: it may be cut anywhere."""
SOUND_RATE: Final = 32
"""Sound prints a second."""
SOUND_BITS: Final = 16
LONGEST_SECONDS: Final = 60
"""Only the beginning of a longer clip has a print."""

_SOUND_SAMPLE_RATE = 8000
_WINDOW_SECONDS = 0.256
_SILENCE = 1e-6
_LOUDEST: Final = 7
_FINEST = 0.35
"""Grey levels: half a level of change is level 3, three and more are level 7. An encoder moves the mean of a cell by
less than half a level, and one large movement must not outvote all small ones."""
_SIGN_ONLY: Final = 4
"""What a sign of version 1 counts as: about one grey level."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Prints of one clip, picture or sound. Axes: S seconds, T eighths of a second, A 32nds of a second."""

    look_SHW: UInt8Array = field(default_factory=lambda: np.zeros((0, LOOK, LOOK), np.uint8))
    """(S, 16, 16) levels 0 to 15."""
    motion_THW: Int8Array = field(default_factory=lambda: np.zeros((0, MOTION, MOTION), np.int8))
    """(T, 12, 12) of -7 much darker to +7 much lighter than an eighth of a second before; `changes` has grey levels."""
    sound_AK: Int8Array = field(default_factory=lambda: np.zeros((0, SOUND_BITS), np.int8))
    """(A, 16) of -1 and +1; 0 where it was silent."""
    later: tuple[Int8Array, ...] = ()
    """Motion again, its eighths of a second begun a little later: only a copy that is looked for has it."""
    is_coarse: bool = False
    """Whether the motion has signs alone: a print of version 1."""

    def __post_init__(self) -> None:
        """Refuse arrays of other shapes and values."""
        for array, shape, low, high in (
            (self.look_SHW, (LOOK, LOOK), 0, 15),
            *((one, (MOTION, MOTION), -_LOUDEST, _LOUDEST) for one in (self.motion_THW, *self.later)),
            (self.sound_AK, (SOUND_BITS,), -1, 1),
        ):
            if array.shape[1:] != shape:
                raise ValueError(f"a print must have the shape (..., {', '.join(map(str, shape))}), got {array.shape}")
            if array.size and (array.min() < low or array.max() > high):
                raise ValueError(f"a print must hold {low} to {high}, got {array.min()} to {array.max()}")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not (len(self.look_SHW) or len(self.sound_AK))

    def mirrored(self) -> Fingerprint:
        """The prints of the same clip with left and right swapped."""
        look_SHW, motion_THW = self.look_SHW[:, :, ::-1].copy(), self.motion_THW[:, :, ::-1].copy()
        return replace(
            self, look_SHW=look_SHW, motion_THW=motion_THW, later=tuple(one[:, :, ::-1].copy() for one in self.later)
        )

    def picture_blocks(self) -> list[dict[str, Any]]:
        """The picture prints as blocks of a soft binding: one a second, base64 of levels."""
        blocks = []
        for second in range(len(self.look_SHW)):
            moving = self.motion_THW[second * RATE : (second + 1) * RATE]
            steps = _packed(np.sign(moving) + 1, 2) if self.is_coarse else _packed(moving + 8, 4)
            content = _packed(self.look_SHW[second], 4) + steps
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
    def from_blocks(
        cls, pictures: Sequence[Mapping[str, Any]], sound: Sequence[Mapping[str, Any]], *, version: int = 2
    ) -> Fingerprint:
        """Read what `picture_blocks` and `sound_blocks` wrote.

        Args:
            pictures: blocks of the picture print.
            sound: blocks of the sound print.
            version: of the picture print; 1 has signs of motion alone.

        Raises:
            ValueError: for anything else.
        """
        looks, moves, sounds = [], [], []
        bits, middle = (2, 1) if version == 1 else (4, 8)
        look_bytes, step_bytes = LOOK * LOOK // 2, MOTION * MOTION * bits // 8
        for one in pictures[:LONGEST_SECONDS]:
            content = _content(one)
            if (
                not look_bytes <= len(content) <= look_bytes + RATE * step_bytes
                or (len(content) - look_bytes) % step_bytes
            ):
                raise ValueError(f"a picture print has {look_bytes} + n x {step_bytes} bytes, got {len(content)}")
            looks.append(_unpacked(content[:look_bytes], 4).reshape(LOOK, LOOK))
            moving = _unpacked(content[look_bytes:], bits).reshape(-1, MOTION, MOTION).astype(np.int8) - middle
            moves.append(moving * _SIGN_ONLY if version == 1 else moving)
        for one in sound[:LONGEST_SECONDS]:
            content = _content(one)
            if len(content) > SOUND_RATE * SOUND_BITS // 4 or len(content) % (SOUND_BITS // 4):
                raise ValueError(f"a sound print has n x {SOUND_BITS // 4} bytes, got {len(content)}")
            sounds.append(_unpacked(content, 2).reshape(-1, SOUND_BITS))
        none = cls()
        return cls(
            np.stack(looks) if looks else none.look_SHW,
            np.concatenate(moves).astype(np.int8) if moves else none.motion_THW,
            (np.concatenate(sounds).astype(np.int8) - 1) if sounds else none.sound_AK,
            is_coarse=version == 1,
        )


# ------------------------------------------------------------------------------------------ making


class PictureFingerprinter:
    """Makes the prints of pictures from frames as they come; what is after LONGEST_SECONDS is passed over."""

    def __init__(self) -> None:
        self._sums: list[FloatArray] = []
        self._counts: list[int] = []

    def add(self, seconds: float, image: UInt8Array) -> None:
        """One more frame, (H, W, 3) uint8 RGB, shown at this time; times do not fall."""
        slot = int(seconds * RATE * PHASES + 1e-6)
        if not 0 <= slot < LONGEST_SECONDS * RATE * PHASES:
            return
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # 48 is a multiple of both grids
        cells = cv2.resize(luma, (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32)
        while len(self._sums) <= slot:
            self._sums.append(_NO_CELLS)
            self._counts.append(0)
        self._sums[slot] = self._sums[slot] + cells
        self._counts[slot] += 1

    def prints(self) -> tuple[UInt8Array, Int8Array]:
        """Still prints (S, 16, 16) and moving prints (T, 12, 12)."""
        return prints_of_cells(*self._eighths(0))

    def later(self) -> tuple[Int8Array, ...]:
        """Moving prints of the same frames, their eighths of a second begun a little later, one for each phase."""
        return tuple(prints_of_cells(*self._eighths(phase))[1] for phase in range(1, PHASES))

    def _eighths(self, phase: int) -> tuple[FloatArray, NDArray[np.int64]]:
        """Sums of cells (T, 48, 48) and numbers of frames (T,) of every eighth of a second from this phase on."""
        starts = range(phase, len(self._sums), PHASES)
        sums = [sum(self._sums[start : start + PHASES], _NO_CELLS) for start in starts]
        counts = [sum(self._counts[start : start + PHASES]) for start in starts]
        return np.stack(sums) if sums else np.zeros((0, 48, 48), np.float32), np.asarray(counts, np.int64)


_NO_CELLS: Final = np.zeros((48, 48), np.float32)


def prints_of_cells(sums_THW: FloatArray, counts_T: NDArray[np.int64]) -> tuple[UInt8Array, Int8Array]:
    """Still and moving prints of luma summed over the frames of each eighth of a second.

    Args:
        sums_THW: (T, 48, 48) grey levels.
        counts_T: (T,) frames in each; 0 where none was shown.
    """
    known_T = counts_T > 0
    if not known_T.any():
        none = Fingerprint()
        return none.look_SHW, none.motion_THW
    mean_T = sums_THW / np.maximum(counts_T, 1).astype(np.float32)[:, None, None]
    # a slot that no frame fell into, as at 6 frames a second, shows what was there before
    last = np.maximum.accumulate(np.where(known_T, np.arange(len(known_T)), int(np.argmax(known_T))))
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
    """Levels of the change of each cell since the eighth of a second before; the first has none."""
    change = np.diff(cells_THW, axis=0, prepend=cells_THW[:1])
    # a lamp or an automatic exposure is not motion
    change -= np.median(change, axis=(1, 2), keepdims=True)
    levels = np.rint(np.sign(change) * 2 * np.log2(1 + np.abs(change) / _FINEST))
    return np.asarray(np.clip(levels, -_LOUDEST, _LOUDEST), np.int8)


def changes(motion_THW: Int8Array) -> FloatArray:
    """Grey levels behind the levels of a moving print."""
    return _CHANGES[motion_THW.astype(np.int64) + _LOUDEST]


_CHANGES: Final = np.array(
    [(1 if level > 0 else -1) * _FINEST * (2 ** (abs(level) / 2) - 1) for level in range(-_LOUDEST, _LOUDEST + 1)],
    np.float32,
)


def fingerprint_sound(samples: FloatArray, sample_rate_hz: int) -> Int8Array:
    """Sound prints (A, 16).

    Args:
        samples: (N,) or (N, C) in [-1, 1].
        sample_rate_hz: of the samples.
    """
    mono = samples.mean(1) if samples.ndim == 2 else samples
    mono = mono[: LONGEST_SECONDS * sample_rate_hz]
    mono = _resampled(mono, sample_rate_hz)
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


def _resampled(mono: FloatArray, sample_rate_hz: int) -> FloatArray:
    """(N,) at 8 kHz, through the low pass of `scipy.signal.resample_poly`, which takes a second to import."""
    common = int(np.gcd(sample_rate_hz, _SOUND_SAMPLE_RATE))
    up, down = _SOUND_SAMPLE_RATE // common, sample_rate_hz // common
    if up == down or not len(mono):
        return mono
    widest = max(up, down)
    half = 10 * widest
    places = np.arange(-half, half + 1)
    taps = np.sinc(places / widest) * np.kaiser(2 * half + 1, 5.0)
    taps *= up / taps.sum()
    length = -(-len(mono) * up // down)
    out = np.empty(length, np.float32)
    # outputs that lie at the same place between two samples share their taps: there are `up` of these
    reach = half // up + 1
    padded = np.pad(np.asarray(mono, np.float32), (reach, reach + 1))
    for first in range(min(up, length)):
        at, phase = divmod(first * down, up)
        chosen = np.arange(-reach, reach + 1)
        index = half + phase - chosen * up
        part = np.where((index >= 0) & (index < len(taps)), taps[np.clip(index, 0, len(taps) - 1)], 0).astype(
            np.float32
        )
        count = len(range(first, length, up))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)[at : at + count * down : down]
        out[first::up] = windows @ part
    return out


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
