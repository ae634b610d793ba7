"""The README.md of an export: how to open it, what is in it, and the configuration that Hugging Face reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from countermark.exports.columns import features_yaml, hub_split
from countermark.exports.job import Job
from countermark.exports.lines import Survey
from media.catalog import Label

CARD = "CARD.md"
"""The card of the dataset that was exported, when it has one."""

COLUMNS = (
    "`label` is 0 real, 1 synthetic (whole or in part). `segments` are the synthetic seconds of a partial forgery; "
    "without them a synthetic clip is one from beginning to end. `facts` is all else that is known, as JSON. "
    "`person` and `source` are never in two splits."
)

OPENING_OF_HUB = """\
from datasets import Video, load_dataset

dataset = load_dataset("FOLDER")                           # torchcodec decodes the pictures: pip install torchcodec
films = dataset.cast_column("video", Video(decode=False))  # the files themselves, with their credentials"""


def readme(
    job: Job,
    title: str,
    opening: str,
    more: str,
    head: Mapping[str, Any] | None,
    has_card: bool,
    language: str = "python",
) -> str:
    """The text.

    Args:
        job: what was exported.
        title: what form this is.
        opening: code that opens it.
        more: what one should know of this form.
        head: configuration for Hugging Face.
        has_card: whether `CARD.md` is there.
        language: of the code.
    """
    lines = [
        "---",
        *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in (head or {}).items()),
        "---",
    ]
    count = f"{job.survey.clips} labelled clip{'s' if job.survey.clips != 1 else ''}"
    card = f"What it was made of, how, and what it must not be used for: [{CARD}]({CARD}).\n\n" if has_card else ""
    text = (
        f"# {job.name}: {count} ({title})\n\n{card}```{language}\n{opening}\n```\n\n{more}\n\n"
        f"## Labels and splits\n\n{_split_table(job.survey)}\n\n"
        f"## Licences\n\n{_licence_table(job.survey)}\n\n"
        "## Proof\n\nEvery clip is the file of the catalog, byte for byte, with the Content Credential that it has.\n"
        "`dataset.intoto.dsse.json` signs the SHA-256 of every file: `countermark provenance verify-dataset`.\n"
    )
    return ("\n".join(lines) + "\n\n" if head else "") + text


def hub_head(data_files: Sequence[tuple[str, str]], columns: Sequence[str] | None) -> dict[str, Any]:
    """What Hugging Face reads at the top of a README.md, each value as JSON, which is YAML too.

    Args:
        data_files: split and pattern.
        columns: of a text format, whose types would be guessed; None where the files tell them.
    """
    files = [{"split": split, "path": pattern} for split, pattern in data_files]
    config: dict[str, Any] = {"config_name": "default", "data_files": files}
    if columns is not None:
        config["features"] = features_yaml(columns)
    return {
        "configs": [config],
        "task_categories": ["video-classification"],
        "tags": ["deepfake-detection", "content-credentials"],
    }


def _split_table(survey: Survey) -> str:
    rows = [
        f"| {_cell(split)} | {hub_split(split)} | {survey.counts.get((split, Label.REAL), 0)} "
        f"| {survey.counts.get((split, Label.SYNTHETIC), 0)} |"
        for split in survey.splits
    ]
    return "\n".join(["| split | on Hugging Face | real | synthetic |", "|---|---|---|---|", *rows])


def _licence_table(survey: Survey) -> str:
    rows = [f"| {_cell(name)} | {count} |" for name, count in survey.licenses.items()]
    return "\n".join(["| licence | clips |", "|---|---|", *rows])


def _cell(name: str) -> str:
    """A name as it may stand in a table of Markdown: one line, no bars, no tags."""
    return " ".join(name.split()).replace("|", "/").replace("<", "&lt;")
