"""The catalog of a dataset that may not fit into memory: written and read line by line.

    catalog = write_catalog_file(folder, samples)         # folder/catalog.jsonl, whole or not at all
    for sample in catalog: ...
    len(catalog), catalog.counts("label")

It keeps the rules of `media.catalog.Catalog` that need no memory for every clip: each line is a sample, and no person
and no source is in two splits. That ids differ is the writer's to know; `Catalog.load` checks it, in memory.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from media.catalog import CATALOG_NAME, Sample, parse_line
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
        try:
            with self.path.open(encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield parse_line(self.path, number, line)
        except FileNotFoundError:
            raise MediaError(f"{self.path}: there is no catalog; give a folder with a {CATALOG_NAME}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise MediaError(f"{self.path}: the catalog cannot be read ({error}); check the file") from error

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
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    splits: dict[tuple[str, str], str] = {}
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for sample in samples:
                _refuse_leak(path, sample, splits)
                file.write(json.dumps(sample.to_json(), ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: the catalog cannot be written ({reason}); check the folder and space") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return CatalogFile(path)


def _refuse_leak(path: Path, sample: Sample, splits: dict[tuple[str, str], str]) -> None:
    if sample.split is None:
        return
    for what in ("person", "source"):
        value = getattr(sample, what)
        if value is not None and splits.setdefault((what, value), sample.split) != sample.split:
            raise MediaError(
                f"{path}: {what} {value!r} is in two splits: {splits[what, value]} and {sample.split}; "
                f"move all clips of one {what} to one split"
            )
