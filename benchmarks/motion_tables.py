"""Tables of the motion benchmark, from what was found. Intervals are 95% and draw whole clusters (speakers).

rows_table("systems", found, FIGURES)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from benchmarks.generation import mean_with_interval
from benchmarks.motion_controls import Answer, is_rising
from benchmarks.motion_judging import Facts
from benchmarks.pose_judge import Rung, trusted
from benchmarks.sync_judge import Trial
from benchmarks.tables import Row, Table

WITHIN = 0.3
"""Natural is what lies within 30% of real people's figure or of VASA-1's."""


@dataclass(frozen=True)
class Reference:
    """One natural range, by the same tracker."""

    real: float
    vasa: float

    def holds(self, value: float) -> bool:
        """Whether a value is within 30% of either."""
        return any(abs(value - known) <= WITHIN * known for known in (self.real, self.vasa) if not isnan(known))


REFERENCES: Mapping[str, Reference] = {
    "lip_deviation": Reference(0.051, 0.065),
    "voice_correlation": Reference(0.26, 0.24),
    "head_turn_degrees": Reference(0.28, 0.32),
    "blinks_per_minute": Reference(27.0, 41.0),
    "gaze_deviation": Reference(0.13, 0.14),
}
FIGURES: Mapping[str, str] = {
    "sync_confidence": "S_C (self)", "sync_distance": "S_D (self)", "sync_within_one": "offset within 1",
    "lips_close": "p b m closed", "vowels_open": "vowels open", "lip_deviation": "lip sd",
    "voice_correlation": "voice r",
    "head_turn_degrees": "dP degrees/frame", "blinks_per_minute": "blinks/min", "blink_seconds": "blink s",
    "gaze_deviation": "gaze sd", "beats": "beats", "capp": "CAPP (self)", "seam_head": "seam jerk head",
    "seam_lips": "seam jerk lips", "seeds_head_degrees": "seeds head degrees", "seeds_lip_likeness": "seeds lips r",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Found:
    """The figures of one utterance under one system."""

    row: str
    part: str
    """`exact`, `drawn`, `filmed`, `emotion`, `takes`."""
    utterance: str
    cluster: str
    group: str
    """Language, or emotion."""
    facts: Facts


def interval(found: Sequence[Found], figure: str) -> tuple[float, float, float]:
    """Mean and interval of one figure; NaN where no utterance has it."""
    known = [(each.facts[figure], each.cluster) for each in found if not isnan(each.facts.get(figure, nan))]
    if not known:
        return nan, nan, nan
    return mean_with_interval([value for value, _ in known], [cluster for _, cluster in known])


def shown(mean: float, low: float, high: float) -> str:
    """Mean with its interval as one cell; empty for NaN."""
    return "" if isnan(mean) else f"{mean:.3g} ({low:.2g} to {high:.2g})"


def rows_table(title: str, found: Sequence[Found], figures: Mapping[str, str], absent: Mapping[str, str]) -> Table:
    """One row a system, one column a figure; systems that are absent say why."""
    rows: list[Row] = []
    for name in dict.fromkeys(each.row for each in found):
        own = [each for each in found if each.row == name]
        cells = {label: shown(*interval(own, figure)) for figure, label in figures.items()}
        rows.append({"row": name, "utterances": len({each.utterance for each in own}), **cells})
    rows += [{"row": name, "utterances": f"absent: {reason}"} for name, reason in absent.items()]
    used = [label for label in figures.values() if any(row.get(label) for row in rows)]
    return Table(title, tuple({k: v for k, v in row.items() if k in ("row", "utterances", *used)} for row in rows))


def ranges_table(found: Sequence[Found], real: Sequence[Found]) -> Table:
    """Each natural range of each system beside real people and VASA-1's clips."""
    rows: list[Row] = []
    for name in dict.fromkeys(each.row for each in found):
        own = [each for each in found if each.row == name]
        for figure, reference in REFERENCES.items():
            mean, low, high = interval(own, figure)
            rows.append(
                {"row": name, "statistic": figure, "mean": mean, "95% interval": f"{low:.3g} to {high:.3g}",
                 "real people, val": shown(*interval(real, figure)),
                 "real people": reference.real, "VASA-1": reference.vasa,
                 "within 30%": "yes" if reference.holds(mean) else "no"}
            )  # fmt: skip
    return Table("natural ranges: drawn by mesh, followed by the tracker that measured the real people", tuple(rows))


def groups_table(title: str, found: Sequence[Found], label: str) -> Table:
    """Natural ranges and sync by language or emotion; * marks what is out of 30% of both references."""
    rows: list[Row] = []
    for name in dict.fromkeys(each.row for each in found):
        for group in dict.fromkeys(each.group for each in found if each.row == name):
            own = [each for each in found if each.row == name and each.group == group]
            cells: dict[str, object] = {"row": name, label: group, "utterances": len(own)}
            for figure, reference in REFERENCES.items():
                mean = interval(own, figure)[0]
                cells[FIGURES[figure]] = "" if isnan(mean) else f"{mean:.3g}{'' if reference.holds(mean) else ' *'}"
            cells["S_C (self)"] = shown(*interval(own, "sync_confidence"))
            rows.append(cells)
    return Table(title, tuple(rows))


def trials_table(trials: Mapping[str, Trial]) -> Table:
    """How SyncNet B does on people it never saw."""
    rows = [
        {"lessons": name, "offset within 1 frame": trial.within_one_frame,
         "half seconds: true beats shifted": trial.two_way, "S_D": trial.distance, "S_C": trial.confidence}
        for name, trial in trials.items()
    ]  # fmt: skip
    return Table("SyncNet B (self): calibration", tuple(rows))


def ladder_table(rungs: Sequence[Rung]) -> Table:
    """Sanity tables of CAPP (self), and whether they are in order."""
    rows: list[Row] = [{"change": rung.change, "CAPP (self), val real and foreign": rung.score} for rung in rungs]
    verdict = "yes" if trusted(rungs) else "NO: its figures are not to be believed; beats stand in"
    return Table(
        "CAPP (self): sanity tables", (*rows, {"change": "in order", "CAPP (self), val real and foreign": verdict})
    )


def controls_table(answers: Mapping[str, Sequence[Answer]]) -> Table:
    """Asked and obtained by system and control."""
    rows: list[Row] = []
    for name, given in answers.items():
        for control in dict.fromkeys(answer.control for answer in given):
            own = [answer for answer in given if answer.control == control]
            asked = list(dict.fromkeys(answer.asked for answer in own))
            curve = [mean_with_interval(*_got(own, ask))[0] for ask in asked]
            wrong = [(answer.error, answer.cluster) for answer in own if not isnan(answer.error)]
            row: dict[str, object] = {"row": name, "control": control, "asked": " | ".join(asked)}
            row["obtained"] = " | ".join(f"{value:.3g}" for value in curve)
            if wrong:
                row["error"] = shown(*mean_with_interval([e for e, _ in wrong], [c for _, c in wrong]))
            if not control.startswith("gaze"):
                row["rising"] = "yes" if is_rising(curve) else "no"
            rows.append(row)
    return Table("controls: asked and obtained", tuple(rows))


def _got(own: Sequence[Answer], ask: str) -> tuple[list[float], list[str]]:
    chosen = [answer for answer in own if answer.asked == ask]
    return [answer.got for answer in chosen], [answer.cluster for answer in chosen]


@dataclass(frozen=True)
class Goal:
    """One line of what the step has to reach."""

    row: str
    what: str
    figure: float
    wanted: str
    reached: bool


def goals_table(goals: Sequence[Goal]) -> Table:
    """Reached or not, with the figure."""
    rows = [
        {"row": goal.row, "goal": goal.what, "figure": "unscored" if isnan(goal.figure) else goal.figure,
         "wanted": goal.wanted, "reached": "yes" if goal.reached else "no"}
        for goal in goals
    ]  # fmt: skip
    return Table("done when", tuple(rows))


def goals_of(
    row: str, exact: Sequence[Found], drawn: Sequence[Found], filmed: Sequence[Found], rest: Mapping[str, float]
) -> list[Goal]:
    """The step's goals for one system.

    Args:
        row: its name.
        exact: of every system, exact landmarks, on the sound of the filmed people and on utterances.
        drawn: the same, drawn and tracked.
        filmed: real people and their random pairs.
        rest: figures by name that are no mean over utterances: gaze_error, distance_error, emotions_rising, sharpness.
    """

    def mean(found: Sequence[Found], name: str, figure: str) -> float:
        return interval([each for each in found if each.row == name], figure)[0]

    heard = [each for each in drawn if each.group == "clip"]
    own, real = mean(heard, row, "sync_confidence"), mean(filmed, "real people", "sync_confidence")
    chance, base = mean(filmed, "random pairs", "sync_confidence"), mean(heard, "baseline", "sync_confidence")
    goals = [
        Goal(row, f"{figure} within 30% of real or VASA-1", value, f"{ref.real:g} or {ref.vasa:g}", ref.holds(value))
        for figure, ref in REFERENCES.items()
        for value in [mean(drawn, row, figure)]
    ]
    beaten = [Goal(row, "S_C (self) above the baseline's", own, f"> {base:.3g}", own > base)]
    if row == "baseline":
        beaten = []
    turn, blink = mean(drawn, row, "head_turn_degrees"), mean(drawn, row, "blinks_per_minute")
    real_turn, real_blink = (
        mean(filmed, "real people", "head_turn_degrees"),
        mean(filmed, "real people", "blinks_per_minute"),
    )
    close = mean(exact, row, "lips_close")
    heads, lips = mean(exact, row, "seeds_head_degrees"), mean(exact, row, "seeds_lip_likeness")
    return [
        *goals,
        *beaten,
        Goal(row, "S_C (self) above random pairs", own, f"> {chance:.3g}", own > chance),
        Goal(row, "S_C (self) within 20% of real video", own, f">= {0.8 * real:.3g}", own >= 0.8 * real),
        Goal(row, "lips close on p b m", close, ">= 0.9", close >= 0.9),
        Goal(row, "dP within 30% of real people here", turn, f"{real_turn:.3g}",
             abs(turn - real_turn) <= WITHIN * real_turn),
        Goal(row, "blinks within 30% of real people here", blink, f"{real_blink:.3g}",
             abs(blink - real_blink) <= WITHIN * real_blink),
        Goal(row, "two seeds: heads differ, degrees", heads, ">= 2", heads >= 2.0),
        Goal(row, "two seeds: lips alike, correlation", lips, ">= 0.8", lips >= 0.8),
        Goal(row, "gaze error, degrees", rest.get("gaze_error", nan), "<= 6", rest.get("gaze_error", nan) <= 6.0),
        Goal(row, "distance error", rest.get("distance_error", nan), "<= 0.01",
             rest.get("distance_error", nan) <= 0.01),
        Goal(row, "emotions whose shift rises with the strength", rest.get("emotions_rising", nan), "7 of 7",
             rest.get("emotions_rising", nan) >= 7),
        Goal(row, "long run: pose drift, deviations", rest.get("drift", nan), "within 0.5",
             abs(rest.get("drift", nan)) <= 0.5),
        Goal(row, "long run: sharpness last over first minute", rest.get("sharpness", nan), "0.95 to 1.05",
             0.95 <= rest.get("sharpness", nan) <= 1.05),
        Goal(row, "seams: jerk over elsewhere", rest.get("seam", nan), "<= 1.2", rest.get("seam", nan) <= 1.2),
    ]  # fmt: skip
