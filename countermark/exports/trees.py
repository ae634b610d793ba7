"""The tree of TalkingHeadBench, and what it shares with the layouts of other benchmarks (`segments.py`, `bench.py`).

    fake/<maker>/<split>/<person>--<clip>--<maker>.mp4, real/<split>/<clip>.mp4

What these layouts cannot say (who is who across real and synthetic clips, licences, consent) stands in catalog.jsonl
beside them, by which every command of ours reads the same folder; truth and masks lie where it says.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from countermark.exports.columns import member_of, moved, suffix_of
from countermark.exports.job import Job, growing, key_of, line_of, name_of
from countermark.exports.lines import TRAIN
from detect.corpora.entry import SPLITS
from media.catalog import CATALOG_NAME, Label, Sample

REALS = "real/real_dataset_split_official_ff++.json"
PARTS = ".parts"
"""Lists that grow line by line; hidden, and gone at the end."""


def write_talkingheadbench(job: Job) -> None:
    """Synthetic clips by maker and split, real ones by split and in the list that names them."""
    with ExitStack() as stack:
        catalog = stack.enter_context(growing(job.build / CATALOG_NAME))
        lists = {split: stack.enter_context(growing(list_of(job, split))) for split in SPLITS}
        for sample in job.lines:
            split = sample.split or TRAIN
            there = moved(job, sample, head_path(sample, split))
            catalog.write(line_of(there.to_json()))
            if sample.label is Label.REAL:
                lists[split].write(line_of(member_of(sample)))
    with growing(job.build / REALS) as file:
        file.write("{")
        for number, split in enumerate(SPLITS):
            file.write(f"{',' if number else ''}\n {json.dumps(split.title())}: {{{json.dumps(job.name)}: ")
            write_list(file, list_of(job, split))
            file.write("}")
        file.write("\n}\n")


def head_path(sample: Sample, split: str) -> str:
    """Where TalkingHeadBench has a clip."""
    if sample.label is Label.REAL:
        return f"real/{split}/{member_of(sample)}"
    key, maker = key_of(sample.id), name_of(sample.maker, "unknown")
    # nobody known is not one and the same somebody
    return f"fake/{maker}/{split}/{name_of(sample.person, f'unknown-{key}')}--{key}--{maker}{suffix_of(sample)}"


def list_of(job: Job, split: str) -> Path:
    """Where the list of a split grows."""
    return job.build / PARTS / f"{split}.jsonl"


def write_list(file: TextIO, lines: Path) -> None:
    """Lines of JSON as one list, without ever holding them all."""
    file.write("[")
    with lines.open(encoding="utf-8") as held:
        for number, line in enumerate(held):
            file.write(f"{',' if number else ''}\n{line.rstrip()}")
    file.write("]")
