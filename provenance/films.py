"""Films (mp4, mov) as boxes: where a credential goes, and what has to move for it.

    film = film_of(number)                        # None: not of the plain kind that this module knows
    write_with_room(number, target, film, box)    # the same film, with a box behind its first one

Why: the C2PA library copies a film twice, in blocks of 8 KiB, before it can hash it. Here the system copies it once,
and the library is asked to hash the finished file. Only plain films are taken, those whose every byte is accounted for
below; all others are left to the library. `tests/provenance/test_films.py` holds both ways against each other: outside
the credential they write the very same bytes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from provenance.errors import ProvenanceError
from provenance.files import copy_range

MOST_INDEX_BYTES: Final = 256 << 20
"""The index of a film of ten hours has some tens of megabytes; it is held in memory while it is changed."""
MOST_BOXES: Final = 10_000
LEAST_ROOM: Final = 16 << 20
"""A film without room for a credential with a long history is left to the library, too."""

_PLAIN: Final = frozenset({b"moov", b"mdat", b"free", b"skip", b"wide"})
"""What may follow the first box. Fragments, outside indexes, pictures and `uuid` boxes (where another credential, or
the address of one, would be) are none of our business."""
_ON_THE_WAY: Final = frozenset({b"trak", b"mdia", b"minf", b"stbl", b"dinf"})
"""Boxes of an index that only hold others, on the way to the offsets of a track and to the files it names."""
_TELLTALES: Final = (b"mvex", b"cmov", b"rmra", b"iloc", b"saio", b"tfhd")
"""Boxes that tell of fragments, of a compressed index, of other files, or of offsets at other places. They are looked
for as text: where one is found by chance, the library does the work."""


class _NotPlain(Exception):
    """The film is of a kind that this module does not know."""


@dataclass(frozen=True)
class Film:
    """Where the parts of a plain film lie."""

    size: int
    """Bytes of the file."""
    head: int
    """Bytes of the first box (`ftyp`); a new one is put behind it."""
    index_start: int
    index_size: int
    """The `moov` box, which tells where in the file every piece of picture and sound begins."""
    media_boxes: int
    most_room: int
    """By how many bytes everything behind the first box may move, so that 32 bits still hold every offset."""

    def __post_init__(self) -> None:
        """Refuse parts that do not lie in the film."""
        if not 8 <= self.head <= self.index_start <= self.size - self.index_size or self.index_size < 8:
            raise ValueError(f"the parts do not lie in the film: {self}")


def film_of(number: int) -> Film | None:
    """The parts of an open film; None where it is not a plain one.

    Args:
        number: of the file, as the system counts them; where it stands does not matter.

    Raises:
        OSError: when it cannot be read.
    """
    size = os.fstat(number).st_size
    try:
        boxes = list(_outer_boxes(number, size))
        kinds = [kind for kind, _, _ in boxes]
        if not kinds or kinds[0] != b"ftyp" or kinds.count(b"moov") != 1 or not _PLAIN.issuperset(kinds[1:]):
            return None
        _, start, end = boxes[kinds.index(b"moov")]
        if end - start > MOST_INDEX_BYTES:
            return None
        head = boxes[0][2]
        most_room = _most_room(_read(number, start, end - start), head, size)
    except _NotPlain:
        return None
    return Film(size, head, start, end - start, kinds.count(b"mdat"), most_room)


def write_with_room(source: int, target: int, film: Film, box: bytes) -> None:
    """Write a film into an empty file, with a box behind its first one, and with offsets that fit.

    Args:
        source: number of the film's file.
        target: number of the other file, which stands at its beginning.
        film: the parts of the film.
        box: the new box.

    Raises:
        OSError: when it cannot be read or written.
        EOFError: when the film is shorter than it was.
        ValueError: for a box that is too large, and for a film that was changed.
    """
    if len(box) > film.most_room:
        raise ValueError(f"a box of {len(box)} bytes does not fit, at most {film.most_room} do")
    behind = film.index_start + film.index_size
    try:
        index = bytearray(_read(source, film.index_start, film.index_size))
        for form, start, end in _offset_tables(memoryview(index)):
            table = np.frombuffer(index, form, offset=start, count=(end - start) // np.dtype(form).itemsize)
            table += table.dtype.type(len(box))
    except _NotPlain:
        raise ValueError("the film was changed while it was read") from None
    copy_range(source, target, 0, film.head)
    _write(target, box)
    copy_range(source, target, film.head, film.index_start - film.head)
    _write(target, index)
    copy_range(source, target, behind, film.size - behind)


def manifest_of(number: int, head: int) -> bytes:
    """The manifest in the box behind the first one of a film.

    Raises:
        OSError: when it cannot be read.
        ProvenanceError: when none is there.
    """
    try:
        start = _read(number, head, _BOX_HEAD.size)
        length, *marks = _BOX_HEAD.unpack(start)
        if marks != list(_BOX_MARKS):
            raise _NotPlain
        content = _read(number, head + _BOX_HEAD.size, length - _BOX_HEAD.size)
        # what is left of the room behind it is filled with zeros
        return content[: struct.unpack_from(">I", content)[0]]
    except (_NotPlain, struct.error):
        raise ProvenanceError("the manifest does not lie in the film where it was put") from None


_BOX_HEAD: Final = struct.Struct(">I4s16sI9sQ")
_BOX_MARKS: Final = (b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), 0, b"manifest\0", 0)
"""Length, kind, whose box it is, version, what for, and where the first piece of a Merkle tree lies: nowhere."""


def _outer_boxes(number: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of every box of a file; together they are the file."""
    start = count = 0
    while start < size:
        count += 1
        head = _read(number, start, min(16, size - start))
        if len(head) < 8 or count > MOST_BOXES:
            raise _NotPlain
        length, kind = struct.unpack_from(">I4s", head)
        if length == 0:  # up to the end of the file
            length = size - start
        elif length == 1 and len(head) == 16:
            length = struct.unpack_from(">Q", head, 8)[0]
            if length < 16:
                raise _NotPlain
        if not 8 <= length <= size - start:
            raise _NotPlain
        yield kind, start, start + length
        start += length


def _inner_boxes(content: memoryview, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of what every box between two places holds."""
    while start < end:
        if end - start < 8:
            raise _NotPlain
        length, kind = struct.unpack_from(">I4s", content, start)
        if not 8 <= length <= end - start:
            raise _NotPlain
        yield kind, start + 8, start + length
        start += length


def _offset_tables(index: memoryview) -> Iterator[tuple[str, int, int]]:
    """(number format, start, end) of the tables of an index that say where the pieces of each track begin."""
    if struct.unpack_from(">I4s", index) != (len(index), b"moov"):
        raise _NotPlain
    for kind, start, end in _inner_boxes(index, 8, len(index)):
        if kind == b"trak":
            tables = list(_tables_within(index, start, end))
            if len(tables) != 1:
                raise _NotPlain
            yield from tables


def _tables_within(index: memoryview, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    for kind, begin, stop in _inner_boxes(index, start, end):
        if kind in _ON_THE_WAY:
            yield from _tables_within(index, begin, stop)
        elif kind in (b"stco", b"co64"):
            form, width = (">u4", 4) if kind == b"stco" else (">u8", 8)
            if stop - begin < 8 or stop - begin - 8 != width * struct.unpack_from(">I", index, begin + 4)[0]:
                raise _NotPlain
            yield form, begin + 8, stop
        elif kind == b"dref":
            _see_that_no_other_file_is_named(index, begin, stop)


def _see_that_no_other_file_is_named(index: memoryview, start: int, end: int) -> None:
    """A track may lie in another file; its offsets are those of that one."""
    if end - start < 8:
        raise _NotPlain
    for _, begin, stop in _inner_boxes(index, start + 8, end):
        if stop - begin < 4 or not struct.unpack_from(">I", index, begin)[0] & 1:
            raise _NotPlain


def _most_room(index: bytes, head: int, size: int) -> int:
    """By how much the offsets of an index may grow; an index with offsets that are none is not plain."""
    if any(word in index for word in _TELLTALES):
        raise _NotPlain
    room = 1 << 32
    for form, start, end in _offset_tables(memoryview(index)):
        table = np.frombuffer(index, form, offset=start, count=(end - start) // np.dtype(form).itemsize)
        if not table.size:
            continue
        if not head <= int(table.min()) <= int(table.max()) <= size:
            raise _NotPlain
        if form == ">u4":
            room = min(room, (1 << 32) - 1 - int(table.max()))
    if room < LEAST_ROOM:
        raise _NotPlain
    return room


def _read(number: int, start: int, count: int) -> bytes:
    """Exactly these bytes of a file."""
    blocks = []
    while count:
        block = os.pread(number, count, start)
        if not block:
            raise _NotPlain
        blocks.append(block)
        start, count = start + len(block), count - len(block)
    return b"".join(blocks)


def _write(number: int, content: bytes | bytearray) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(number, left) :]
