"""Clips in shards: archives of bounded size, written one at a time, in the order of the catalog.

    for shard in planned(job, "tar"):
        if not is_done(job, shard): ...write it...; done(job, shard)

Which clip is in which shard depends on the catalog and the wished size alone, so that a run that was killed goes on
with the shard it was at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark.exports.columns import split_of
from countermark.exports.job import PART, Job, files_of, write_text
from countermark.exports.lines import size_of
from media.catalog import Sample
from provenance.files import sha256_of

DONE = ".shards"
"""Notes of the shards that are written; hidden, and gone at the end."""
MOST_SAMPLES = 10_000
"""Of a shard, whatever its size: tiny clips would fill the memory."""


@dataclass(frozen=True)
class Shard:
    """Some clips of one split."""

    split: str
    """In the words of Hugging Face."""
    number: int
    """Within the split."""
    suffix: str
    samples: tuple[Sample, ...]

    @property
    def name(self) -> str:
        """`train-000000.tar`."""
        return f"{self.split}-{self.number:06d}.{self.suffix}"


def planned(job: Job, suffix: str) -> Iterator[Shard]:
    """Every shard in the order in which it is full."""
    open_: dict[str, list[Sample]] = {}
    sizes: dict[str, int] = {}
    numbers: dict[str, int] = {}

    def closed(split: str) -> Shard:
        number = numbers.get(split, 0)
        numbers[split] = number + 1
        sizes[split] = 0
        return Shard(split, number, suffix, tuple(open_.pop(split)))

    for sample in job.lines:
        split = split_of(sample)
        size = sum(size_of(job.root / path) for path in files_of(sample).values())
        if open_.get(split) and (sizes[split] + size > job.wishes.shard_bytes or len(open_[split]) >= MOST_SAMPLES):
            yield closed(split)
        open_.setdefault(split, []).append(sample)
        sizes[split] = sizes.get(split, 0) + size
    for split in list(open_):
        yield closed(split)


def is_done(job: Job, shard: Shard, place: Path) -> bool:
    """Whether an earlier run wrote a shard."""
    note = _note(job, shard.name)
    return note is not None and place.is_file() and place.stat().st_size == note["bytes"]


def done(job: Job, shard: Shard, temporary: Path, place: Path) -> None:
    """Give a written shard its name, and note what is in it."""
    facts = {
        "name": place.relative_to(job.build).as_posix(),
        "split": shard.split,
        "samples": len(shard.samples),
        "bytes": temporary.stat().st_size,
        "sha256": sha256_of(temporary),
    }
    write_text(job.build / DONE / f"{shard.name}.json", json.dumps(facts))
    temporary.replace(place)


def beginning(place: Path) -> Path:
    """The hidden name under which a shard is written."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return place.with_name(f".{place.name}{PART}")


def notes(job: Job) -> list[Mapping[str, Any]]:
    """What all written shards hold, by split and number."""
    found = [_note(job, path.name.removesuffix(".json")) for path in sorted((job.build / DONE).glob("*.json"))]
    return [note for note in found if note is not None]


def _note(job: Job, name: str) -> Mapping[str, Any] | None:
    try:
        facts = json.loads((job.build / DONE / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and "bytes" in facts else None
