"""Which entries of a large store are worth opening: a table of their marks, scenes and sounds, kept beside them.

    table = StoreTable.of(store_folder / "index", names, read)      # reads what is new, keeps what is known
    table.marked()                        # identifiers that stand in pictures
    table.most_alike(prints, limit=40)    # names of the entries that look or sound most like a copy

A store of a hundred thousand entries takes minutes to read and gigabytes to hold; this table takes a second and 70 MB.
It is made of what the entries say and can be deleted at any time: an entry that matters is always opened itself. Parts
of it are files that are never changed: processes may write theirs at the same time, and the worst that happens is a
part that is there twice.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from provenance.errors import ProvenanceError
from provenance.files import read_small, write_whole
from provenance.fingerprint import LOOK, SOUND_BITS, Fingerprint
from provenance.likeness import CROPS, asked_scenes, crop_scores, scene_of

if TYPE_CHECKING:
    from provenance.store import Entry

ENTRIES_OF_A_PART: Final = 256
"""So many new entries are worth a file; fewer are read again each time."""
_MOST_PARTS: Final = 12
_LARGEST_PART_BYTES: Final = 4 << 30
_CHUNK: Final = 8192
_SHADES: Final = 17
"""A mean of levels 0 to 15 as 0 to 255."""
_KINDS: Final[Mapping[str, tuple[str, int]]] = {
    "names": ("S", 1),
    "watermarked": ("b", 1),
    "scenes": ("u", 2),
    "lengths": ("f", 2),
    "ends": ("i", 1),
    "codes": ("u", 1),
}
"""Arrays of a part: their kind and number of axes."""


@dataclass(frozen=True, eq=False)
class StoreTable:
    """One row an entry. Axes: N entries, V cells of a scene, C crops, A sound codes of all entries in a row."""

    names: NDArray[np.bytes_]
    """(N,) names of the entries' files without their ending."""
    watermarked: NDArray[np.bool_]
    scenes: NDArray[np.uint8]
    """(N, V); zeros without pictures."""
    lengths: NDArray[np.float32]
    """(N, C); zeros without pictures."""
    ends: NDArray[np.int64]
    """(N,): where the codes of each entry end."""
    codes: NDArray[np.uint16]
    """(A,): the sixteen signs of each sound print as one number."""

    def __post_init__(self) -> None:
        """Refuse tables whose columns do not fit."""
        rows = len(self.names)
        for name, (kind, axes) in _KINDS.items():
            column = getattr(self, name)
            if column.dtype.kind != kind or column.ndim != axes:
                raise ValueError(f"{name} must have kind {kind} and {axes} axes, got {column.dtype} {column.shape}")
            if name != "codes" and len(column) != rows:
                raise ValueError(f"{name} must have {rows} rows, got {len(column)}")
        if self.scenes.shape[1:] != (LOOK * LOOK,) or self.lengths.shape[1:] != (len(CROPS),):
            raise ValueError(f"scenes and lengths have other sizes: {self.scenes.shape}, {self.lengths.shape}")
        if rows and (np.any(np.diff(self.ends, prepend=0) < 0) or int(self.ends[-1]) != len(self.codes)):
            raise ValueError("the ends of the codes do not rise to their number")

    @classmethod
    def of(cls, folder: Path, names: Sequence[str], read: Callable[[str], Entry | None]) -> StoreTable:
        """The table of these entries: rows that are in the parts of a folder, and new ones.

        Args:
            folder: of the parts; made when there is something to keep. One that cannot be written costs time only.
            names: of all entries that there are.
            read: gives an entry by its name; None for one that cannot be read, which gets no row.
        """
        parts = _read_parts(folder)
        known = cls.joined([part for _, part in parts])
        wanted = np.array([name.encode() for name in names], dtype=f"S{_NAME_LENGTH}")
        _, first = np.unique(known.names, return_index=True)
        known = known.rows(first[np.isin(known.names[first], wanted)])
        new = [name.decode() for name in np.setdiff1d(wanted, known.names)]
        added = cls.joined([_row(name, entry) for name in new if (entry := read(name)) is not None])
        table = cls.joined([known, added])
        if len(parts) >= _MOST_PARTS:
            _keep(folder, table, instead_of=[path for path, _ in parts])
        elif len(added.names) >= ENTRIES_OF_A_PART:
            _keep(folder, added, instead_of=[])
        return table

    @classmethod
    def joined(cls, tables: Sequence[StoreTable]) -> StoreTable:
        """Several tables as one."""
        tables = [one for one in tables if len(one.names)]
        if len(tables) == 1:
            return tables[0]
        if not tables:
            none = np.zeros(0, np.int64)
            return cls(
                none.astype(f"S{_NAME_LENGTH}"),
                none.astype(bool),
                np.zeros((0, LOOK * LOOK), np.uint8),
                np.zeros((0, len(CROPS)), np.float32),
                none,
                none.astype(np.uint16),
            )
        before = np.cumsum([0, *(len(one.codes) for one in tables[:-1])])
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(one, name) for one in tables]) for name in _KINDS if name != "ends"
        }
        ends = np.concatenate([one.ends + int(start) for one, start in zip(tables, before, strict=True)])
        return cls(ends=ends, **columns)

    def rows(self, chosen: NDArray[np.int64]) -> StoreTable:
        """Some rows, in this order."""
        if np.array_equal(chosen, np.arange(len(self.names))):
            return self
        starts = np.concatenate([[0], self.ends[:-1]]) if len(self.ends) else self.ends
        spans = [self.codes[starts[row] : self.ends[row]] for row in chosen]
        codes = np.concatenate(spans) if spans else self.codes[:0]
        ends = np.cumsum([len(one) for one in spans]).astype(np.int64)
        return StoreTable(
            self.names[chosen], self.watermarked[chosen], self.scenes[chosen], self.lengths[chosen], ends, codes
        )

    def marked(self) -> list[int]:
        """Identifiers of the entries whose pictures carry them, each once, ascending."""
        return sorted({int(name[:12], 16) for name in self.names[self.watermarked]})

    def most_alike(self, copy: Fingerprint, limit: int) -> list[str]:
        """Names of the entries that look most like a copy; and of those that sound like it where nothing is seen."""
        names: list[str] = []
        has_look = self.lengths[:, 0] > 0
        if len(copy.look_SHW):
            asked_CV = asked_scenes(copy)
            rows = np.flatnonzero(has_look)
            best = np.empty(len(rows), np.float32)
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                best[start : start + _CHUNK] = crop_scores(asked_CV, self.scenes[part], self.lengths[part]).max(1)
            names += self._named(rows, best, limit)
        # scenes cannot be compared with an original, or a copy, that has none
        rows = np.flatnonzero(~has_look) if len(copy.look_SHW) else np.arange(len(self.names))
        if not len(rows):
            return names
        votes = self._sound_votes(copy)[rows]
        heard = np.isfinite(votes)
        return names + self._named(rows[heard], votes[heard], limit)

    def _named(self, rows: NDArray[np.int64], scores: NDArray[np.float32], limit: int) -> list[str]:
        """Names of the rows with the highest scores, the best first."""
        top = np.argpartition(scores, -limit)[-limit:] if len(scores) > limit else np.arange(len(scores))
        return [self.names[rows[one]].decode() for one in top[np.argsort(-scores[top], kind="stable")]]

    def _sound_votes(self, copy: Fingerprint) -> NDArray[np.float32]:
        """(N,): how many more codes of an entry are also the copy's than chance gives; minus infinity for none."""
        votes = np.full(len(self.names), -np.inf, np.float32)
        own = _codes(copy)
        if not len(own) or not len(self.codes):
            return votes
        asked = np.zeros(1 << SOUND_BITS, bool)
        asked[own] = True
        # of millions of codes: half the bytes count
        total = np.cumsum(asked[self.codes], dtype=np.int32)
        until = np.where(self.ends > 0, total[self.ends - 1], 0)
        hits, lengths = np.diff(until, prepend=0), np.diff(self.ends, prepend=0)
        by_chance = lengths * (float(total[-1]) / len(self.codes))
        votes[hits > 0] = ((hits - by_chance) / np.sqrt(by_chance + 1))[hits > 0]
        return votes


_NAME_LENGTH: Final = 45
"""Twelve digits of the identifier, a hyphen, half a SHA-256."""


def _row(name: str, entry: Entry) -> StoreTable:
    scenes, lengths = np.zeros((1, LOOK * LOOK), np.uint8), np.zeros((1, len(CROPS)), np.float32)
    if len(entry.prints.look_SHW):
        scene_V, length_C = scene_of(entry.prints)
        scenes[0], lengths[0] = np.rint(scene_V * _SHADES), length_C * _SHADES
    codes = _codes(entry.prints)
    return StoreTable(
        np.array([name.encode()], dtype=f"S{_NAME_LENGTH}"),
        np.array([entry.watermarked]),
        scenes,
        lengths,
        np.array([len(codes)], np.int64),
        codes,
    )


def _codes(prints: Fingerprint) -> NDArray[np.uint16]:
    """(A,): every sound print that was heard as one number of sixteen bits."""
    heard = prints.sound_AK[(prints.sound_AK != 0).all(1)] if len(prints.sound_AK) else prints.sound_AK
    weights = (1 << np.arange(SOUND_BITS)).astype(np.int64)
    return np.asarray((heard > 0).astype(np.int64) @ weights, np.uint16)


_DAMAGE: Final = (
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading an archive with changed bytes can end in; RuntimeError also for a method that is not implemented."""


def _read_parts(folder: Path) -> list[tuple[Path, StoreTable]]:
    """Parts that can be read; a damaged one is as good as none, since its entries are read again."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        try:
            content = read_small(path, most_bytes=_LARGEST_PART_BYTES)
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found.append((path, StoreTable(**{name: arrays[name] for name in _KINDS})))
        except (ProvenanceError, OSError, *_DAMAGE):
            continue
    return found


def _keep(folder: Path, table: StoreTable, instead_of: Sequence[Path]) -> None:
    """Write a part, and take away those that it holds; a store that is only read does without."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(table, name) for name in _KINDS})
    content = buffer.getvalue()
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
        for old in instead_of:
            if old != path:
                old.unlink(missing_ok=True)
    except (ProvenanceError, OSError):
        return
