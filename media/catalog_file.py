"""The catalog of a dataset that may not fit into memory: written and read line by line.

    catalog = write_catalog_file(folder, samples)         # folder/catalog.jsonl, whole or not at all
    for sample in catalog: ...
    len(catalog), catalog.counts("label")

It keeps the rules of `media.catalog.Catalog` that need no memory for every clip: each line is a sample, and no person
and no source is in two splits. That ids differ is the writer's to know; `Catalog.load` checks it, in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from media.catalog import CATALOG_NAME, Sample, read_samples, write_samples
from media.clip import MediaError


@dataclass(frozen=True)
class CatalogFile:
    """A catalog on the disk, read again at each pass."""

    path: Path
    """The catalog.jsonl."""

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.path.resolve().parent.name

    def __iter__(self) -> Iterator[Sample]:
        """The samples in order.

        Raises:
            MediaError: naming the line that is wrong.
        """
        return read_samples(self.path)

    @cached_property
    def _length(self) -> int:
        return sum(1 for _ in self)

    def __len__(self) -> int:
        """Number of samples."""
        return self._length

    def counts(self, *names: str) -> dict[tuple[object, ...], int]:
        """How many samples there are for each combination of fields, `counts("split", "label")`."""
        return dict(Counter(tuple(getattr(sample, name) for name in names) for sample in self))


def write_catalog_file(folder: Path, samples: Iterable[Sample]) -> CatalogFile:
    """Write `catalog.jsonl` whole or not at all.

    Raises:
        MediaError: when it cannot be written, or a person or a source is in two splits; an older one stays as it was.
    """
    path = folder / CATALOG_NAME
    write_samples(path, _without_leaks(path, samples))
    return CatalogFile(path)


def _without_leaks(path: Path, samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples, until one has a person or a source that was in another split."""
    splits: dict[tuple[str, str], str] = {}
    for sample in samples:
        for what in ("person", "source"):
            value = getattr(sample, what)
            if value is None or sample.split is None:
                continue
            if splits.setdefault((what, value), sample.split) != sample.split:
                raise MediaError(
                    f"{path}: {what} {value!r} is in two splits: {splits[what, value]} and {sample.split}; "
                    f"move all clips of one {what} to one split"
                )
        yield sample
