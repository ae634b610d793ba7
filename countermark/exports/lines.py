"""A catalog read line by line, and one look over it before anything is written.

    lines = CatalogLines(Path("ds"), split="test")
    survey = look_over(lines)             # counts, bytes, what all samples know; refuses what cannot be exported

Nothing here grows with the clips but four numbers for each of them: a million clips take some 60 MB.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from countermark.exports.columns import stretches_of, suffix_of, voiced_stretches_of
from countermark.exports.job import ExportError, files_of, key_of
from detect.corpora.on_disk import FILMS
from media.catalog import CATALOG_NAME, Label, Sample
from media.catalog_file import CatalogFile
from media.clip import MediaError

TRAIN = "train"
"""Where a clip goes that has no split."""
PIXELS = 512 * 512
"""Of a picture, where the catalog does not tell."""
COUNTED = ("seed", "seconds", "width", "height", "has_sound")
"""Columns that a text format can only hold where every sample knows them: it has no empty number."""


@dataclass(frozen=True)
class CatalogLines:
    """The samples of a catalog in order, as often as they are asked for; never all at once."""

    folder: Path
    split: str | None = None
    """Only this one."""

    @property
    def file(self) -> Path:
        """The catalog itself."""
        return self.folder / CATALOG_NAME

    def __iter__(self) -> Iterator[Sample]:
        """One sample a line.

        Raises:
            ExportError: naming the line that is wrong.
        """
        try:
            for sample in CatalogFile(self.file):
                if self.split in (None, sample.split or TRAIN):
                    yield sample
        except MediaError as error:
            raise ExportError(str(error)) from error


@dataclass(frozen=True)
class Survey:
    """What one look over a catalog told."""

    clips: int
    bytes: int
    """Of the clips and of what is known beside them."""
    counts: Mapping[tuple[str, Label], int]
    """Clips by split and label, in the order of the catalog."""
    always: frozenset[str]
    """Those of `COUNTED` that every sample knows."""
    has_truth: bool
    has_masks: bool
    licenses: Mapping[str, int] = field(default_factory=dict)
    pixels: int = 0
    """Of one picture of every clip, together."""

    @property
    def splits(self) -> dict[str, int]:
        """Clips by split."""
        found: Counter[str] = Counter()
        for (split, _), count in self.counts.items():
            found[split] += count
        return dict(found)


def look_over(lines: CatalogLines) -> Survey:
    """Count everything once.

    Raises:
        ExportError: for a clip that is no file, a name that is there twice, a person or a source in two splits, facts
            that cannot be told on, or when there is nothing at all.
    """
    counts: Counter[tuple[str, Label]] = Counter()
    licenses: Counter[str] = Counter()
    total, pixels, truth, masks = 0, 0, False, False
    always = set(COUNTED)
    keys, codes = array("Q"), array("H")
    ties = {"person": array("Q"), "source": array("Q")}
    order: dict[str, int] = {}
    for sample in lines:
        split = sample.split or TRAIN
        counts[split, sample.label] += 1
        licenses[sample.license or "not stated"] += 1
        if suffix_of(sample) not in FILMS:
            raise ExportError(f"{lines.folder / sample.path}: is no film ({', '.join(sorted(FILMS))}); leave it out")
        _check_facts(lines, sample)
        files = files_of(sample)
        for what, path in files.items():
            total += size_of(lines.folder / path)
            if what != "clip":
                check_inside(lines.folder, path)
        pixels += (sample.width or 0) * (sample.height or 0) or PIXELS
        truth, masks = truth or "truth" in files, masks or "masks" in files
        always -= {name for name in always if getattr(sample, name) is None}
        keys.append(_short(key_of(sample.id)))
        codes.append(order.setdefault(split, len(order)))
        for name, column in ties.items():
            value = getattr(sample, name)
            # nobody in particular is nobody else's double: such a clip stands for itself
            column.append(_short(f"{name} {value}" if value else f"clip {len(keys)}"))
    if not keys:
        raise ExportError(_nothing_of(lines))
    _refuse_doubles(lines, keys)
    for name, column in ties.items():
        _refuse_shared(lines, name, column, codes)
    few = dict(licenses.most_common(20))
    rest = sum(licenses.values()) - sum(few.values())
    few |= {f"{len(licenses) - len(few)} others": rest} if rest else {}
    return Survey(len(keys), total, dict(counts), frozenset(always), truth, masks, few, pixels)


def _nothing_of(lines: CatalogLines) -> str:
    there = sorted({sample.split or TRAIN for sample in CatalogLines(lines.folder)})
    if not there:
        return f"{lines.file}: has no clip; there is nothing to export"
    return f"{lines.file}: has no clip in the split {lines.split!r}; its splits are {', '.join(there)}"


def _check_facts(lines: CatalogLines, sample: Sample) -> None:
    """Say by name, and before anything is written, what no form can hold."""
    try:
        stretches_of(sample), voiced_stretches_of(sample)
        json.dumps(sample.to_json(), allow_nan=False)
    except ExportError as error:
        raise ExportError(f"{lines.file}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{lines.file}: {sample.path} has a fact that is no JSON ({error}); correct it") from error


def check_inside(folder: Path, path: str) -> None:
    """Refuse a link that leads out of the dataset: whoever made it could have anything of yours copied and published.

    Clips are asked for their digest instead, so that they may lie elsewhere.

    Raises:
        ExportError: naming the link.
    """
    home = os.path.realpath(folder)
    if not Path(os.path.realpath(folder / path)).is_relative_to(home):
        raise ExportError(
            f"{folder / PurePosixPath(path)}: is a link that leads out of the dataset; replace it by the file itself"
        )


def size_of(path: Path) -> int:
    """Bytes of a file.

    Raises:
        ExportError: when there is none.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ExportError(f"{path}: cannot be found ({error.strerror}), though the catalog names it") from error
    if path.is_dir():
        raise ExportError(f"{path}: is a folder of pictures, and only films are exported; leave it out of the catalog")
    return status.st_size


def _short(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _refuse_doubles(lines: CatalogLines, keys: array[int]) -> None:
    values = np.frombuffer(keys, np.uint64)
    order = np.sort(values)
    double = order[1:][order[1:] == order[:-1]]
    if len(double):
        both = [s for s in lines if _short(key_of(s.id)) == int(double[0])][:2]
        ids = " and ".join(dict.fromkeys(repr(one.id) for one in both))
        raise ExportError(f"{lines.file}: {both[0].path} and {both[1].path} would have one name, by id {ids}; keep one")


def _refuse_shared(lines: CatalogLines, name: str, column: array[int], codes: array[int]) -> None:
    """A detector would be graded on what it has seen."""
    values, splits = np.frombuffer(column, np.uint64), np.frombuffer(codes, np.uint16)
    order = np.argsort(values, kind="stable")
    values, splits = values[order], splits[order]
    shared = values[1:][(values[1:] == values[:-1]) & (splits[1:] != splits[:-1])]
    if len(shared):
        mine = [s for s in lines if getattr(s, name) and _short(f"{name} {getattr(s, name)}") == int(shared[0])]
        other = next(s for s in mine if (s.split or TRAIN) != (mine[0].split or TRAIN))
        where = [f"{one.id} ({one.split or f'no split, so {TRAIN}'})" for one in (mine[0], other)]
        raise ExportError(
            f"{lines.file}: {name} {getattr(other, name)!r} is in two splits: {' and '.join(where)}; move all clips of "
            f"one {name} to one split"
        )
