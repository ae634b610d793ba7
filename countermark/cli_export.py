"""`countermark export`: a dataset in the formats that the field reads."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ExportForm(StrEnum):
    """The names of `countermark.exports.FORMS`; here, because a command's help loads nothing heavy."""

    VIDEOFOLDER = "videofolder"
    PARQUET = "parquet"
    WEBDATASET = "webdataset"
    DEEPFAKEBENCH = "deepfakebench"
    TALKINGHEADBENCH = "talkingheadbench"
    AVDEEPFAKE1M = "avdeepfake1m"


def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The dataset: a folder with catalog.jsonl.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make; it must be new or empty.")],
    to: Annotated[
        ExportForm,
        typer.Option(
            "--to",
            help="Hugging Face videofolder or parquet, WebDataset, or the layout of another benchmark.",
            show_default=False,
        ),
    ],
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Only this split.")] = None,
    shard_size_mb: Annotated[
        int | None,
        typer.Option(min=1, help="Most megabytes (MiB) of a shard of parquet or webdataset; 500 unless given."),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Hard links instead of copies: no disk, but one content under two names.")
    ] = False,
) -> None:
    """Write a dataset in a format that other tools read: its clips byte for byte, with their credentials; signed.

    The export appears whole or not at all; after a kill the same command goes on where it stopped. A clip that is not
    as the catalog says is refused by name. Prints one JSON object.
    """
    from countermark.exports import FORMS, ExportError, Wishes, export_dataset
    from detect.detector import DetectError
    from forge.terminal import INTERRUPTED, one_line_errors, plain, progress_bar

    with one_line_errors() as console:
        try:
            if shard_size_mb is not None and FORMS[to.value].of_clips:
                raise ExportError(f"{to.value} has no shards; leave out --shard-size-mb")
            wishes = Wishes(split, link=link)
            wishes = wishes if shard_size_mb is None else replace(wishes, shard_bytes=shard_size_mb << 20)
            with progress_bar(console, f"exporting to {to.value}", "clips") as tell:
                made = export_dataset(folder, out, to.value, wishes, tell, lambda line: console.print(plain(line)))
        except (ExportError, DetectError) as problem:
            raise ValueError(str(problem)) from problem
        except KeyboardInterrupt as problem:
            console.print("interrupted; the same command goes on where it stopped")
            raise typer.Exit(INTERRUPTED) from problem
        count = f"{made.clips} clip{'s' if made.clips != 1 else ''}"
        console.print(plain(f"{count} in {out} for {to.value}, signed: {made.standing}"))
        typer.echo(json.dumps(made.to_json(), ensure_ascii=True))
