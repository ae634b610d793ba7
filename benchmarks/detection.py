"""Detection figures of the shipped weights on a labelled data set: `python -m benchmarks.detection CATALOG`.

Writes `results/detection.json`: figures with intervals, trivial baselines beside them. Scores go to the folder of `-o`.
Figures saved before (`detect evaluate ... -o DIR`) are tabled without scoring again: `--figures DIR/figures.json`.
Those of `detect unseen` stand beside them: `--unseen DIR/figures.json`, and once more without lessons.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from benchmarks.tables import RESULTS, Result, Row, Table
from detect.corpora.table import read_dataset
from detect.detector import DetectError
from detect.evaluate import evaluate
from detect.load import load_detector
from media.clip import MediaError

ROWS = ("auc", "eer", "ap", "tpr_at_1_percent_fpr", "tpr_at_5_percent_fpr", "fpr_at_threshold", "tpr_at_threshold")
ROWS_OF_CALIBRATION = ("brier", "ece")


def row(name: str, measure: dict[str, Any], **more: object) -> Row:
    """A figure with its interval, or why there is none."""
    if measure["value"] is None:
        return {"figure": name, "value": f"not scored: {measure['reason']}", "95% interval": "", **more}
    interval = "" if measure["low"] is None else f"{measure['low']:.3f} to {measure['high']:.3f}"
    return {"figure": name, "value": f"{measure['value']:.4f}", "95% interval": interval, **more}


def result_of(figures: dict[str, Any]) -> Result:
    """The figures of `detect evaluate` as tables."""
    whole = figures["all"]
    overall = [row(name, whole[name]) for name in ROWS + ROWS_OF_CALIBRATION]
    overall += [row(f"auc of {name} alone", value) for name, value in figures["baselines"].items()]
    makers = [
        row("auc", value["auc"], maker=maker, synthetic=value["synthetic"])
        for maker, value in figures["by_maker"].items()
    ]
    notes = (
        f"{whole['real']} real and {whole['synthetic']} synthetic clips answered; abstained: {figures['abstained']}.",
        "Intervals: bootstrap over people. A maker stands against all real clips.",
    )
    tables = (Table("all clips", tuple(overall)), Table("by maker", tuple(makers)))
    return Result("detection", "python -m benchmarks.detection CATALOG", tables, notes)


AS_ANSWERED = {
    "ece": "calibration error",
    "brier": "brier",
    "false_alarms_at_threshold": "false positives at the threshold",
    "found_at_threshold": "true positives at the threshold",
}
"""Figures of the answers given to unseen makers and people, and what they are called."""


def unseen_rows(name: str, figures: dict[str, Any]) -> list[Row]:
    """The figures of `detect unseen` as rows: mean and worst over makers, then each maker."""
    rate = f"{figures['mean_tpr_at_5_percent_fpr']:.4f}"
    rows = [
        row("mean auc over makers", figures["mean_auc"], taught=name, maker="all"),
        row("worst auc of a maker", figures["worst_auc"], taught=name, maker="all"),
        {"figure": "mean tpr at 5 % fpr", "value": rate, "95% interval": "", "taught": name, "maker": "all"},
    ]
    for maker, value in figures["by_maker"].items():
        rows.append(row("auc", value["auc"], taught=name, maker=f"{maker} ({value['synthetic']})"))
    if answered := figures.get("as_answered"):
        exact = answered["ece_of_exact_probabilities"]
        rows += [row(label, answered[key], taught=name, maker="all") for key, label in AS_ANSWERED.items()]
        rows.append(
            {"figure": "ece if exact", "value": f"{exact:.4f}", "95% interval": "", "taught": name, "maker": "all"}
        )
    return rows


def main(
    catalog: Annotated[
        Path | None, typer.Argument(help="catalog.jsonl, a CSV table, or a folder that holds one")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder for the scores")] = None,
    split: Annotated[str, typer.Option(help="which split to measure")] = "val",
    weights: Annotated[Path | None, typer.Option(help="other weights than the shipped ones")] = None,
    figures: Annotated[Path | None, typer.Option(help="figures.json of an earlier run, instead of a catalog")] = None,
    unseen: Annotated[Path | None, typer.Option(help="figures.json of `detect unseen`")] = None,
    unseen_without: Annotated[Path | None, typer.Option(help="the same with --no-lessons")] = None,
    results: Annotated[Path, typer.Option(help="folder of the JSON file")] = RESULTS,
) -> None:
    """Measure a detector and save its tables."""

    def say(text: str) -> None:
        typer.echo(text, err=True)

    if (catalog is None) == (figures is None):
        say("detection: give either a CATALOG or --figures")
        raise typer.Exit(2)
    try:
        if figures is not None:
            found: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
        else:
            assert catalog is not None
            with TemporaryDirectory() as scratch:
                folder = output or Path(scratch)
                found = evaluate(load_detector(weights), [read_dataset(catalog)], folder, split=split, say=say)
        told = result_of(found)
        given = (("with lessons", unseen), ("without lessons", unseen_without))
        rows = [r for name, file in given if file for r in unseen_rows(name, json.loads(file.read_text("utf-8")))]
        tables = (*told.tables, Table("each maker left out with its people", tuple(rows))) if rows else told.tables
        replace(told, tables=tables).save(results)
    except (DetectError, MediaError, OSError, ValueError) as problem:
        say(f"detection: {problem}")
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
