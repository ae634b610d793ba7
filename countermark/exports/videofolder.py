"""Hugging Face `videofolder`: a folder for each split, its clips and one metadata.jsonl.

    train/1cc02e7622b7a352.mp4, train/metadata.jsonl, validation/..., test/..., truth/, masks/, catalog.jsonl

`datasets` infers a type for every column from the first lines of every split, and refuses splits whose types differ.
So no column is ever empty throughout: an unknown text is "", and a number that some clip lacks has no column (it is in
`facts`, like everything else).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from countermark.exports.columns import NUMBERS, ORDER, hub_split, member_of, moved, row_of, split_of
from countermark.exports.job import BESIDE, Job, growing, line_of
from media.catalog import CATALOG_NAME, Sample

METADATA = "metadata.jsonl"
FOLDER_HOLDS = 10_000
"""Clips of one folder; a split with more of them gets folders in its folder."""


def columns_of(job: Job) -> list[str]:
    """The columns of metadata.jsonl but `file_name`, in order."""
    numbers = {*NUMBERS, "has_sound"}
    own = [name for name in ORDER if name not in numbers or name in job.survey.always]
    return own + [name for name, there in (("truth", job.survey.has_truth), ("masks", job.survey.has_masks)) if there]


def write_videofolder(job: Job) -> Sequence[str]:
    """Carry all clips and write the tables; returns the columns."""
    columns = columns_of(job)
    splits = {hub_split(split): count for split, count in job.survey.splits.items()}
    numbers = dict.fromkeys(splits, 0)
    with ExitStack() as stack:
        tables = {split: stack.enter_context(growing(job.build / split / METADATA)) for split in splits}
        catalog = stack.enter_context(growing(job.build / CATALOG_NAME))
        for sample in job.lines:
            split = split_of(sample)
            inner = f"{numbers[split] // FOLDER_HOLDS:04d}/" if splits[split] > FOLDER_HOLDS else ""
            numbers[split] += 1
            name = f"{inner}{member_of(sample)}"
            there = moved(job, sample, f"{split}/{name}")
            tables[split].write(line_of({"file_name": name, **_told(there, columns)}))
            catalog.write(line_of(there.to_json()))
    return columns


def _told(sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
    row = row_of(sample)
    row |= {"segments": json.dumps(row["segments"]) if row["segments"] else ""}
    row |= {name: sample.extra.get(name) for name in BESIDE}
    return {name: "" if row[name] is None else row[name] for name in columns}
