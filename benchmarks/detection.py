"""Detection figures of the shipped weights on a labelled data set: `python -m benchmarks.detection CATALOG -o FOLDER`.

Writes scores.jsonl, figures.json and detection.md (a table with intervals, trivial baselines beside it).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from detect.corpora.table import read_dataset
from detect.detector import DetectError
from detect.evaluate import evaluate
from detect.load import load_detector

ROWS = ("auc", "eer", "ap", "tpr_at_1_percent_fpr", "tpr_at_5_percent_fpr", "fpr_at_threshold", "tpr_at_threshold")
ROWS_OF_CALIBRATION = ("brier", "ece")


def in_a_cell(measure: dict[str, Any]) -> str:
    """A figure with its interval, or why there is none."""
    if measure["value"] is None:
        return f"not scored: {measure['reason']}"
    interval = "" if measure["low"] is None else f" [{measure['low']:.3f}, {measure['high']:.3f}]"
    return f"{measure['value']:.3f}{interval}"


def as_table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    whole = results["all"]
    lines = [
        f"# Detection: {results['model']['name']} {results['model']['version']}",
        "",
        f"{whole['real']} real and {whole['synthetic']} synthetic clips answered; abstained: {results['abstained']}.",
        "",
        "| figure | value [95 % interval over people] |",
        "|---|---|",
        *(f"| {name} | {in_a_cell(whole[name])} |" for name in ROWS + ROWS_OF_CALIBRATION),
        *(f"| AUC of {name} alone | {in_a_cell(value)} |" for name, value in results["baselines"].items()),
        *(f"| AUC, {maker} | {in_a_cell(value['auc'])} |" for maker, value in results["by_maker"].items()),
    ]
    return "\n".join(lines) + "\n"


def main(
    catalog: Annotated[Path, typer.Argument(help="catalog.jsonl, a CSV table, or a folder that holds one")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the results")] = Path("benchmarks/results"),
    split: Annotated[str, typer.Option(help="which split to measure")] = "val",
    weights: Annotated[Path | None, typer.Option(help="other weights than the shipped ones")] = None,
) -> None:
    """Measure a detector and write its table."""

    def say(text: str) -> None:
        typer.echo(text, err=True)

    try:
        results = evaluate(load_detector(weights), [read_dataset(catalog)], output, split=split, say=say)
        (output / "detection.md").write_text(as_table(results), encoding="utf-8")
    except (DetectError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
