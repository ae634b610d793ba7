"""What changed between two detectors: which factors the new one won, which it lost, and what could not be told.

    diff = difference(answers, thresholds=(0.5, 0.6))
    diff.rows, diff.comparisons, diff.to_json()

Rules, told once:

1. Only clips that both detectors answered are compared; abstentions are counted for each, and are no score.
2. *won* and *lost*: the 95 % interval of the difference does not hold zero, in the direction that is better or worse.
   Where clips or people are too few it is *not measurable*, and the reason stands there.
3. Of a hundred comparisons five look won or lost by chance. `holds` says what is left when all comparisons of the
   report are counted (Holm, family-wise 5 %); the headline speaks of those only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, isnan
from typing import Any, Final

from countermark.gym_factors import ALL_REAL, SAME_LEVEL, levels_of
from countermark.gym_paired import GAUGES, Change, Gauge, Pairs, compare, holm
from media.catalog import Label, Sample

ALPHA: Final = 0.05
"""Chance that anything at all is said to hold by luck alone."""
FEWEST_DRAWS: Final = 2000
MOST_DRAWS: Final = 20_000
OVERALL, MAKERS = "overall", "held-out makers"
SLICE: Final = "the new slice"
EVERY_SET: Final = "every held-out set"


class Outcome(StrEnum):
    """What became of one metric on one group of clips."""

    WON = "won"
    LOST = "lost"
    SAME = "no difference"
    UNKNOWN = "not measurable"


@dataclass(frozen=True)
class Answer:
    """One clip with the answers of both detectors."""

    sample: Sample
    dataset: str
    """`SLICE`, or the name of a held-out set."""
    before: float
    """Probability of synthetic; nan when abstained."""
    after: float
    before_status: str = "ok"
    after_status: str = "ok"

    @property
    def synthetic(self) -> bool:
        """The truth."""
        return self.sample.label is Label.SYNTHETIC

    @property
    def is_answered(self) -> bool:
        """Both gave a probability."""
        return not isnan(self.before) and not isnan(self.after)


@dataclass(frozen=True)
class Question:
    """A group of clips that is asked about."""

    section: str
    name: str
    answers: tuple[Answer, ...]
    against: str = SAME_LEVEL
    """Which real clips these are."""

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """What is asked; false alarms on all real clips are asked once, not again for each level."""
        return tuple(g for g in GAUGES.values() if self.against == SAME_LEVEL or g.needs_synthetic)

    def pairs(self) -> Pairs:
        """The clips that both detectors answered."""
        both = [a for a in self.answers if a.is_answered]
        return Pairs.of(
            [a.synthetic for a in both],
            [a.before for a in both],
            [a.after for a in both],
            [a.sample.cluster for a in both],
        )


@dataclass(frozen=True)
class Cell:
    """One metric on one group of clips."""

    gauge: Gauge
    change: Change
    adjusted_p: float
    """Over all comparisons of the report."""

    @property
    def outcome(self) -> Outcome:
        """See the module, rule 2."""
        moved = self.change.difference
        if not moved.scored:
            return Outcome.UNKNOWN
        if moved.low <= 0 <= moved.high:
            return Outcome.SAME
        return Outcome.WON if (moved.value > 0) is self.gauge.higher_is_better else Outcome.LOST

    @property
    def holds(self) -> bool:
        """See the module, rule 3."""
        return self.outcome in (Outcome.WON, Outcome.LOST) and self.adjusted_p <= ALPHA

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "before": self.change.before.to_json(),
            "after": self.change.after.to_json(),
            "difference": self.change.difference.to_json(),
            "p": round(self.change.p, 6),
            "p_of_all": round(self.adjusted_p, 6),
            "outcome": self.outcome.value,
            "holds": self.holds,
        }


@dataclass(frozen=True)
class Row:
    """One group of clips with all its metrics."""

    section: str
    name: str
    against: str
    counts: Mapping[str, int]
    cells: tuple[Cell, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "section": self.section,
            "name": self.name,
            "against": self.against,
            **self.counts,
            "metrics": {cell.gauge.name: cell.to_json() for cell in self.cells},
        }


@dataclass(frozen=True)
class Diff:
    """All rows."""

    rows: tuple[Row, ...]
    draws: int

    @property
    def comparisons(self) -> int:
        """How many differences were looked at."""
        return sum(cell.outcome is not Outcome.UNKNOWN for row in self.rows for cell in row.cells)

    def cells(self, outcome: Outcome, *, holding: bool | None = None) -> Iterator[tuple[Row, Cell]]:
        """Metrics of an outcome; only those that hold, or that do not, where that is asked."""
        for row in self.rows:
            for cell in row.cells:
                if cell.outcome is outcome and holding in (None, cell.holds):
                    yield row, cell

    def to_json(self) -> dict[str, Any]:
        """Plain values."""

        def told(outcome: Outcome, holding: bool) -> list[str]:
            found = self.cells(outcome, holding=holding)
            return [f"{row.section.replace('_', ' ')}, {row.name}: {cell.gauge.title}" for row, cell in found]

        return {
            "comparisons": {
                "made": self.comparisons,
                "not_measurable": sum(1 for _ in self.cells(Outcome.UNKNOWN)),
                "correction": "Holm",
                "family_wise": ALPHA,
                "resamples": self.draws,
                "expected_by_chance": round(ALPHA * self.comparisons, 1),
            },
            "won": told(Outcome.WON, True),
            "lost": told(Outcome.LOST, True),
            "perhaps_won": told(Outcome.WON, False),
            "perhaps_lost": told(Outcome.LOST, False),
            "rows": [row.to_json() for row in self.rows],
        }


def difference(
    answers: Sequence[Answer], thresholds: tuple[float, float], *, taught: Collection[str] = (), seed: int = 0
) -> Diff:
    """Every question about the clips, answered for both detectors.

    Args:
        answers: clips of the slice's held-out splits and of all held-out sets.
        thresholds: of the detector before and of the one after.
        taught: makers that were in the training data; their names are marked.
        seed: of the resampling.
    """
    asked = [(question, question.pairs()) for question in questions_of(answers, taught)]
    open_questions = sum(not gauge.missing(pairs) for question, pairs in asked for gauge in question.gauges)
    # the smallest p value that resampling can give must be small enough to hold among so many
    draws = min(MOST_DRAWS, max(FEWEST_DRAWS, ceil(4 * open_questions / ALPHA)))
    found = [
        [(gauge, compare(gauge, pairs, thresholds, draws=draws, seed=seed)) for gauge in question.gauges]
        for question, pairs in asked
    ]
    changes = [change for row in found for _, change in row]
    adjusted = iter(holm([change.p for change in changes if change.difference.scored]))
    rows = []
    for (question, pairs), measured in zip(asked, found, strict=True):
        cells = tuple(Cell(g, change, next(adjusted) if change.difference.scored else 1.0) for g, change in measured)
        rows.append(Row(question.section, question.name, question.against, _counts(question, pairs), cells))
    return Diff(tuple(rows), draws)


def _counts(question: Question, pairs: Pairs) -> dict[str, int]:
    return {
        "clips": len(question.answers),
        "compared": len(pairs.people),
        "real": pairs.clips(synthetic=False),
        "synthetic": pairs.clips(synthetic=True),
        "real_people": pairs.people_of(synthetic=False),
        "synthetic_people": pairs.people_of(synthetic=True),
    }


def questions_of(answers: Sequence[Answer], taught: Collection[str] = ()) -> Iterator[Question]:
    """The slice and each held-out set as a whole, each held-out maker, each level of each factor of the slice."""
    sets = list(dict.fromkeys(a.dataset for a in answers if a.dataset != SLICE))
    by_set = {name: tuple(a for a in answers if a.dataset == name) for name in (SLICE, *sets)}
    yield Question(OVERALL, SLICE, by_set[SLICE])
    for name in sets:
        yield Question(OVERALL, name, by_set[name])
    held_out = tuple(a for a in answers if a.dataset != SLICE)
    if len(sets) > 1:
        yield Question(OVERALL, EVERY_SET, held_out)
    for maker in sorted({a.sample.maker or "unknown" for a in held_out if a.synthetic}):
        forged = [a for a in held_out if a.synthetic and (a.sample.maker or "unknown") == maker]
        homes = {a.dataset for a in forged}
        # real clips of the sets the maker is in: another set's are another population
        real = [a for a in held_out if not a.synthetic and a.dataset in homes]
        yield Question(MAKERS, _marked(maker, taught), tuple(forged + real), ALL_REAL)
    mine = by_set[SLICE]
    for level in levels_of([a.sample for a in mine]):
        name = _marked(level.name, taught) if level.factor == "maker" else level.name
        yield Question(level.factor, name, tuple(mine[n] for n in level.members), level.against)


def _marked(maker: str, taught: Collection[str]) -> str:
    known = {name.casefold() for name in taught}
    return f"{maker} (taught)" if maker.casefold() in known else maker


def abstentions(answers: Sequence[Answer]) -> dict[str, dict[str, dict[str, int]]]:
    """How often each detector gave no probability, by set, detector and reason."""
    out: dict[str, dict[str, dict[str, int]]] = {}
    for name in dict.fromkeys(a.dataset for a in answers):
        mine = [a for a in answers if a.dataset == name]
        out[name] = {
            "before": dict(Counter(a.before_status for a in mine if isnan(a.before))),
            "after": dict(Counter(a.after_status for a in mine if isnan(a.after))),
        }
    return out
