"""Figures over the lines of `benchmarks.robustness`: pure functions, and one plot.

A rung stands against the undamaged clips ("none"), pair by pair: differences are over clips that were answered both
times, so an abstention can never look like a gain. Intervals resample people.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import Result, Row, Table
from detect.detector import ModelFacts
from detect.metrics import Measure, detection_rate, false_alarm_rate, measure, roc_auc
from media.perturb import Level
from provenance.files import write_whole

Array = NDArray[np.float64]
Line = Mapping[str, Any]
DRAWS: Final = 500


@dataclass(frozen=True)
class Rung:
    """One perturbation at one level."""

    perturbation: str
    level: Level

    def __str__(self) -> str:
        """As a table shows it."""
        return f"{self.perturbation} {self.level}"


CLEAN: Final = Rung("none", "0")
"""The clip as it is."""


@dataclass(frozen=True)
class RungFigures:
    """What one rung did; every figure is unscored with a reason where there is nothing to measure."""

    rung: Rung
    clips: int
    answered: int
    auc: Measure
    auc_change: Measure
    false_alarms: Measure
    false_alarms_change: Measure
    detections: Measure
    detections_change: Measure
    shift_real: Measure
    """Mean change of the probability of real clips."""
    shift_synthetic: Measure

    @property
    def coverage(self) -> float:
        """Share of the clips that got an answer."""
        return self.answered / self.clips if self.clips else nan


@dataclass(frozen=True)
class _Pairs:
    """Clips answered both damaged and clean. N clips."""

    synthetic_N: NDArray[np.bool_]
    damaged_N: Array
    clean_N: Array
    people: list[str]

    def change(self, figure: Any) -> Measure:
        """A figure of (labels, probabilities), damaged minus clean, with the interval of that difference."""
        # the metric is handed positions, so that both probabilities of a drawn clip stay together
        position_N = np.arange(len(self.synthetic_N), dtype=np.float64)

        def difference(label_N: NDArray[np.bool_], at_N: Array) -> float:
            at = at_N.astype(np.int64)
            return float(figure(label_N, self.damaged_N[at]) - figure(label_N, self.clean_N[at]))

        return measure(difference, self.synthetic_N, position_N, self.people, draws=DRAWS)

    def shift(self, synthetic: bool) -> Measure:
        """Mean change of the probability of one label."""

        def of_label(label_N: NDArray[np.bool_], probability_N: Array) -> float:
            mine = probability_N[label_N == synthetic]
            return float(mine.mean()) if len(mine) else nan

        return self.change(of_label)


def figures_of(lines: Sequence[Line], rungs: Sequence[Rung], threshold: float) -> list[RungFigures]:
    """Figures of every rung, in order.

    Args:
        lines: of the clean clips and of the rungs.
        rungs: with `CLEAN` among them or not; it is the yardstick either way.
        threshold: from which a clip is called synthetic.
    """
    clean = {line["id"]: line for line in lines if _rung(line) == CLEAN and line["probability"] is not None}
    return [_figures(rung, [line for line in lines if _rung(line) == rung], clean, threshold) for rung in rungs]


def _rung(line: Line) -> Rung:
    return Rung(line["perturbation"], line["level"])


def _figures(rung: Rung, own: Sequence[Line], clean: Mapping[str, Line], threshold: float) -> RungFigures:
    answered = [line for line in own if line["probability"] is not None]
    labels = [line["label"] == "synthetic" for line in answered]
    values = [float(line["probability"]) for line in answered]
    people = [str(line["person"]) for line in answered]

    def alarms(y: Any, p: Any) -> float:
        return false_alarm_rate(y, p, threshold)

    def found(y: Any, p: Any) -> float:
        return detection_rate(y, p, threshold)

    both = [line for line in answered if line["id"] in clean]
    pairs = _Pairs(
        np.array([line["label"] == "synthetic" for line in both], bool),
        np.array([line["probability"] for line in both], np.float64),
        np.array([clean[line["id"]]["probability"] for line in both], np.float64),
        [str(line["person"]) for line in both],
    )
    return RungFigures(
        rung=rung,
        clips=len(own),
        answered=len(answered),
        auc=measure(roc_auc, labels, values, people, draws=DRAWS),
        auc_change=pairs.change(roc_auc),
        false_alarms=measure(alarms, labels, values, people, draws=DRAWS),
        false_alarms_change=pairs.change(alarms),
        detections=measure(found, labels, values, people, draws=DRAWS),
        detections_change=pairs.change(found),
        shift_real=pairs.shift(synthetic=False),
        shift_synthetic=pairs.shift(synthetic=True),
    )


def with_interval(measured: Measure, digits: int = 3, *, signed: bool = False) -> str:
    """A figure as a table shows it."""
    if not measured.scored:
        return f"not scored: {measured.reason}"
    plus = "+" if signed else ""
    value = f"{measured.value:{plus}.{digits}f}"
    if np.isnan(measured.low):
        return value
    return f"{value} ({measured.low:{plus}.{digits}f} to {measured.high:{plus}.{digits}f})"


def row_of(figures: RungFigures) -> Row:
    """One line of the table."""
    rung = figures.rung
    return {
        "perturbation": rung.perturbation,
        "level": "" if rung == CLEAN else str(rung.level),
        "answered": f"{figures.answered} of {figures.clips}",
        "AUC": with_interval(figures.auc),
        "AUC, change": "" if rung == CLEAN else with_interval(figures.auc_change, signed=True),
        "FPR": with_interval(figures.false_alarms, 2),
        "TPR": with_interval(figures.detections, 2),
        "shift of real": "" if rung == CLEAN else with_interval(figures.shift_real, 2, signed=True),
        "shift of synthetic": "" if rung == CLEAN else with_interval(figures.shift_synthetic, 2, signed=True),
    }


def result_of(figures: Sequence[RungFigures], lines: Sequence[Line], facts: ModelFacts, command: str) -> Result:
    """All figures as a table, and beside it what was worst."""
    damaged = [one for one in figures if one.rung != CLEAN]
    summary: list[Row] = []
    scored = [one for one in damaged if one.auc.scored]
    if scored:
        worst = min(scored, key=lambda one: one.auc.value)
        alarms = max(damaged, key=lambda one: one.false_alarms.value if one.false_alarms.scored else -1.0)
        fewest = min(damaged, key=lambda one: one.coverage)
        mean = float(np.mean([one.auc.value for one in scored]))
        summary = [
            {"figure": "mean AUC over the damaged rungs", "at": f"{len(scored)} rungs", "value": f"{mean:.3f}"},
            {"figure": "lowest AUC", "at": str(worst.rung), "value": with_interval(worst.auc)},
            {"figure": "most false alarms", "at": str(alarms.rung), "value": with_interval(alarms.false_alarms, 2)},
            {"figure": "fewest answers", "at": str(fewest.rung), "value": f"{100 * fewest.coverage:.0f} %"},
        ]
    clips = {line["id"]: line["label"] for line in lines}
    minutes = sum(line["core_seconds"] for line in lines) / 60
    broken = sum(line["status"] == "error" for line in lines)
    notes = (
        f"{facts.name} {facts.version}, threshold {facts.threshold:.3f}; {list(clips.values()).count('real')} real and "
        f"{list(clips.values()).count('synthetic')} synthetic clips; {minutes:.1f} core-minutes.",
        "Every clip is damaged, written without loss and scored; the undamaged clip takes the same way. Changes and "
        "shifts are paired, over clips answered both times. Intervals: 95%, bootstrap over people.",
        *((f"{broken} lines failed and are missing; run again.",) if broken else ()),
    )
    tables = (Table("worst cases", tuple(summary)), Table("damage by damage", tuple(row_of(one) for one in figures)))
    return Result("robustness", command, tables, notes)


def draw(figures: Sequence[RungFigures], path: Path) -> Path | None:
    """AUC against the level, one small plot a perturbation, the undamaged AUC as a line; None without matplotlib."""
    try:
        import matplotlib.figure
    except ImportError:
        return None
    names = list(dict.fromkeys(one.rung.perturbation for one in figures if one.rung != CLEAN))
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    page = matplotlib.figure.Figure(figsize=(3.0 * columns, 2.3 * rows), layout="constrained")
    axes = page.subplots(rows, columns, squeeze=False, sharey=True)
    clean = next((one for one in figures if one.rung == CLEAN), None)
    for place, axis in enumerate(axes.flat):
        if place >= len(names):
            axis.set_axis_off()
            continue
        own = [one for one in figures if one.rung.perturbation == names[place] and one.auc.scored]
        at = np.arange(len(own))
        value = np.array([one.auc.value for one in own])
        below = np.array([max(0.0, one.auc.value - one.auc.low) for one in own])
        above = np.array([max(0.0, one.auc.high - one.auc.value) for one in own])
        axis.errorbar(at, value, yerr=np.nan_to_num(np.stack([below, above])), fmt="o-", capsize=3, color="tab:blue")
        if clean is not None and clean.auc.scored:
            axis.axhline(clean.auc.value, color="grey", linewidth=0.8, linestyle="--")
        axis.axhline(0.5, color="tab:red", linewidth=0.6)
        axis.set_xticks(at, [str(one.rung.level) for one in own], fontsize=7)
        axis.set_xlim(-0.5, max(0.5, len(own) - 0.5))
        axis.set_title(names[place], fontsize=9)
        axis.set_ylim(0.0, 1.02)
    page.supylabel("AUC (95%)", fontsize=9)
    picture = io.BytesIO()
    page.savefig(picture, dpi=110, format="png")
    write_whole(path, picture.getvalue())
    return path
