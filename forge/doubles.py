"""Clips of a dataset that are nearly the same: the same take filmed twice, one recording under two names.

    printer = Printer(Fraction(25))                              # `forge.quality.Examiner` does this while it watches
    for grey in greys: printer.add(grey)
    doubles_among(Printed(number, "real", source, printer.print_bytes()) for ...)     # [Double(7, of_number=2)]

Rules:

1. Two clips are doubles when their scenes are alike and their pictures become lighter and darker together, in four
   places, over at least two seconds; another recording may begin earlier or later. Another take of the same person
   with the same words is no double: its head moves otherwise.
2. Only clips of one kind (label and maker) are compared: a real clip and its forgery, a null fake and a partial forgery
   are meant to be nearly the same.
3. Of clips that are doubles of each other, directly or by way of others, the lowest number stays. The answer is that of
   the set of clips, not of the order in which they were finished.
4. Everything is counted in whole numbers, so that every machine makes the same print and the same answer.
5. Prints are 40 bytes; a pass needs about 60 bytes a clip.

A mirrored copy, another crop, and a copy at another speed are not found; nor what shares less than two seconds of the
first four.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Pairs = NDArray[np.int64]
Roots = NDArray[np.uint32]

CELLS: Final = 32
"""Cells a side of the grey pictures that prints are made of."""
RATE: Final = 8
"""Steps a second."""
SECONDS: Final = 4
"""Beginning of a clip that is printed."""
STEPS: Final = RATE * SECONDS
SCENE_BYTES: Final = 8
PRINT_BYTES: Final = SCENE_BYTES + STEPS
PLACES: Final = ((0, 8, 4, 28), (9, 19, 5, 16), (9, 19, 16, 27), (18, 29, 10, 22))
"""Rows and columns, of 32: above the forehead, either eye and cheek, the mouth. Crops put faces in the middle."""
NOTHING: Final = 0xFF
"""A step after the end of the clip."""

SCENE_BITS: Final = 10
"""Most bits of 64 by which scenes of doubles differ."""
ALIKE: Final = 0.7
"""Least correlation of their changes."""
LEAST_STEPS: Final = 2 * RATE
"""Steps that must be compared."""
LEAST_CHANGES: Final = 16
"""Changes that either clip must have in them: what stands still is like everything that does."""
NEIGHBOURS: Final = 64
"""Clips of one maker that share a part of a print are compared with so many that come next; real ones with
`REAL_NEIGHBOURS`."""
REAL_NEIGHBOURS: Final = 2048
REAL: Final = "real"
_AT_ONCE = 1 << 13
_ROW_BITS, _ROW_MASK = np.uint64(32), np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Printed:
    """A clip that is there, and its print."""

    number: int
    kind: str
    """Label and maker, "synthetic/mesh"; what begins with "real" may have been recorded twice."""
    source: str
    print_bytes: bytes

    def __post_init__(self) -> None:
        """Refuse what is no print."""
        if len(self.print_bytes) != PRINT_BYTES:
            raise ValueError(f"a print has {PRINT_BYTES} bytes, got {len(self.print_bytes)}")
        if not 0 <= self.number < 2**32:
            raise ValueError(f"number must be from 0 to 2^32 - 1, got {self.number}")


@dataclass(frozen=True, order=True)
class Double:
    """A clip that is nearly the same as one of a lower number."""

    number: int
    of_number: int


# ------------------------------------------------------------------------------------------ making prints


class Printer:
    """Makes the print of one clip from its small grey pictures as they come."""

    def __init__(self, fps: Fraction) -> None:
        """Prepare for one clip at this rate."""
        if fps <= 0:
            raise ValueError(f"fps must be positive, got {fps}")
        self._fps, self._count = fps, 0
        self._scene = np.zeros((CELLS, CELLS), np.int64)
        self._sums = np.zeros((STEPS, len(PLACES)), np.int64)
        self._counts = np.zeros(STEPS, np.int64)

    def add(self, grey: UInt8Array) -> None:
        """One more frame, (32, 32) grey levels."""
        step = int(self._count * RATE // self._fps)
        self._count += 1
        if step >= STEPS:
            return
        self._scene += grey
        self._counts[step] += 1
        for place, (top, bottom, left, right) in enumerate(PLACES):
            self._sums[step, place] += int(grey[top:bottom, left:right].sum(dtype=np.int64))

    def print_bytes(self) -> bytes | None:
        """The print of what has gone by; None before anything has."""
        if not self._count:
            return None
        return self._scene_bits() + bytes(self._steps())

    def _scene_bits(self) -> bytes:
        """Whether each of 8 x 8 cells is brighter than the one to its right; the last one than the first."""
        cells = self._scene.reshape(8, CELLS // 8, 8, CELLS // 8).sum((1, 3))
        return np.packbits(cells > np.roll(cells, -1, axis=1)).tobytes()

    def _steps(self) -> Iterator[int]:
        """For each eighth of a second two bits a place: 0 as before, 1 lighter, 2 darker."""
        known = np.flatnonzero(self._counts)
        # at few frames a second a step without a frame shows what was there before
        last = np.maximum.accumulate(np.where(self._counts > 0, np.arange(STEPS), 0))
        mean = self._sums[last] * 5040 // self._counts[last][:, None]
        # over a quarter of a second: a copy's eighths begin elsewhere
        change = (mean - np.concatenate([mean[:1], mean[:1], mean[:-2]]))[: known[-1] + 1]
        # a change counts from half of the clip's mean change in that place
        moved = 2 * len(change) * np.abs(change) > np.abs(change).sum(axis=0)
        codes = np.where(moved, np.where(change > 0, 1, 2), 0)
        shifts = np.arange(len(PLACES)) * 2
        for step in range(STEPS):
            yield int((codes[step] << shifts).sum()) if step < len(codes) else NOTHING


# ------------------------------------------------------------------------------------------ finding doubles


class _Prints:
    """All prints of a dataset, one below the other."""

    def __init__(self, clips: Iterable[Printed]) -> None:
        prints, numbers, sources, kinds = bytearray(), array("I"), array("I"), array("H")
        known: dict[str, int] = {}
        for clip in clips:
            if numbers and clip.number <= numbers[-1]:
                raise ValueError(f"numbers must ascend, got {clip.number} after {numbers[-1]}")
            prints += clip.print_bytes
            numbers.append(clip.number)
            sources.append(int.from_bytes(hashlib.blake2b(clip.source.encode(), digest_size=4).digest(), "big"))
            kinds.append(known.setdefault(clip.kind, len(known)))
        self.bytes = np.frombuffer(prints, np.uint8).reshape(-1, PRINT_BYTES)
        self.numbers = np.frombuffer(numbers, np.uint32)
        self.sources = np.frombuffer(sources, np.uint32)
        self.kinds = np.frombuffer(kinds, np.uint16)
        self.is_recorded = [kind.split("/")[0] == REAL for kind in known]

    def __len__(self) -> int:
        return len(self.numbers)

    def changes(self, rows: Pairs) -> NDArray[np.float32]:
        """(N, T, P) of -1 darker, 0, +1 lighter; 0 after the end, too."""
        codes = self.bytes[rows, SCENE_BYTES:, None] >> (np.arange(len(PLACES), dtype=np.uint8) * 2) & 3
        meant = np.array([0, 1, -1, 0], np.float32)
        return np.asarray(meant[codes], np.float32)


def doubles_among(clips: Iterable[Printed]) -> list[Double]:
    """The clips that are doubles of one with a lower number, which stays.

    Args:
        clips: in ascending order of their numbers; read once.

    Raises:
        ValueError: when numbers do not ascend.
    """
    prints = _Prints(clips)
    root = np.arange(len(prints), dtype=np.uint32)

    def lowest(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = int(root[row])
        return row

    for first, second in _found(prints, root):
        a, b = lowest(first), lowest(second)
        root[max(a, b)] = min(a, b)
    rows = [row for row in range(len(prints)) if root[row] != row]
    return [Double(int(prints.numbers[row]), int(prints.numbers[lowest(row)])) for row in rows]


def _found(prints: _Prints, root: Roots) -> Iterator[tuple[int, int]]:
    """Rows of doubles. Only what shares a quarter of the scene, or half a second of changes, is compared at all.

    Args:
        prints: of N clips.
        root: (N,) of every row a lower one that it is known to be a double of, or itself; it changes meanwhile.
    """
    for kind, is_recorded in enumerate(prints.is_recorded):
        for part in range(SCENE_BYTES // 2):
            shared = _sharing(prints, kind, 2 * part, 2, REAL_NEIGHBOURS if is_recorded else NEIGHBOURS)
            for pairs in shared:
                yield from _doubles_of(prints, _new(pairs, root), any_start=True, is_recorded=is_recorded)
        for part in range(4):
            for pairs in _sharing(prints, kind, SCENE_BYTES + 1 + 4 * part, 4, NEIGHBOURS):
                yield from _doubles_of(prints, _new(pairs, root), any_start=False, is_recorded=is_recorded)


def _new(pairs: Pairs, root: Roots) -> Pairs:
    """Those that are not known already: copies of copies need not be compared again."""
    return np.asarray(pairs[root[pairs[:, 0]] != root[pairs[:, 1]]], np.int64)


def _sharing(prints: _Prints, kind: int, at: int, width: int, reach: int) -> Iterator[Pairs]:
    """(N, 2) rows of one kind with the same bytes at a place of their prints, so many neighbours apart at most."""
    shared = _sorted(prints, kind, at, width)
    starts = np.arange(len(shared), dtype=np.uint32)
    for distance in range(1, reach + 1):
        # what is not alike at one distance is not at a larger one: the lists of equal keys end
        still = np.zeros(len(starts), bool)
        for begin in range(0, len(starts), _AT_ONCE):
            first = starts[begin : begin + _AT_ONCE].astype(np.int64)
            first = first[first + distance < len(shared)]
            one, other = shared[first], shared[first + distance]
            same = one >> _ROW_BITS == other >> _ROW_BITS
            still[begin : begin + len(first)] = same
            yield (np.stack([one[same], other[same]], axis=1) & _ROW_MASK).astype(np.int64)
        starts = starts[still]
        if not len(starts):
            return


def _sorted(prints: _Prints, kind: int, at: int, width: int) -> NDArray[np.uint64]:
    """The bytes at a place of each print of a kind, and its row in the lower half, in ascending order."""
    keys = np.empty(int(np.count_nonzero(prints.kinds == kind)), np.uint64)
    done = 0
    for begin in range(0, len(prints), _AT_ONCE):
        rows = begin + np.flatnonzero(prints.kinds[begin : begin + _AT_ONCE] == kind)
        key = np.zeros(len(rows), np.uint64)
        for byte in range(width):
            key = key << np.uint64(8) | prints.bytes[rows, at + byte]
        if width == 4:  # what does not move, and what has ended, is like too much
            told = (key != 0) & (key != 0xFFFFFFFF)
            key, rows = key[told], rows[told]
        keys[done : done + len(rows)] = key << _ROW_BITS | rows.astype(np.uint64)
        done += len(rows)
    keys = keys[:done]
    keys.sort()
    return keys


def _doubles_of(prints: _Prints, pairs: Pairs, *, any_start: bool, is_recorded: bool) -> Iterator[tuple[int, int]]:
    """Those of the (N, 2) rows that are doubles."""
    if any_start and not is_recorded:
        # takes made from one portrait share its scene, and begin when their speech does
        pairs = pairs[prints.sources[pairs[:, 0]] != prints.sources[pairs[:, 1]]]
    scenes = prints.bytes[pairs, :SCENE_BYTES]
    differ = np.unpackbits(scenes[:, 0] ^ scenes[:, 1], axis=1).sum(axis=1)
    pairs = pairs[differ <= SCENE_BITS]
    if not len(pairs):
        return
    first, second = prints.changes(pairs[:, 0]), prints.changes(pairs[:, 1])
    shifts = range(LEAST_STEPS - STEPS, STEPS - LEAST_STEPS + 1) if any_start else range(-1, 2)
    alike = np.zeros(len(pairs), bool)
    for shift in shifts:
        a, b = first[:, max(0, shift) : STEPS + min(0, shift)], second[:, max(0, -shift) : STEPS - max(0, shift)]
        own, other = (np.abs(one).sum((1, 2)) for one in (a, b))
        both = np.einsum("ntp,ntp->n", a, b)
        enough = (own >= LEAST_CHANGES) & (other >= LEAST_CHANGES)
        alike |= enough & (both * both >= ALIKE * ALIKE * own * other) & (both > 0)
    yield from ((int(a), int(b)) for a, b in pairs[alike])
