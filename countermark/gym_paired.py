"""Two detectors on the same clips: how a metric changed, with an interval over people.

    change = compare(GAUGES["auc"], pairs, thresholds=(0.5, 0.6), draws=2000)
    change.before, change.after, change.difference, change.p

One resample draws people with replacement and is used for both detectors, so what is hard about a person cancels out.
A resample is a weight for each clip: how often its person was drawn. Thousands of them are worked out at once.

Axes: N clips, P people, B resamples, T distinct scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detect.metrics import Measure

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]

FEWEST_CLIPS: Final = 6
"""Of a label, from which a metric over it is compared."""
FEWEST_PEOPLE: Final = 6
"""Fewer could not tell anything with 95 % sureness even if all of them agreed: 2 x 0.5^6 = 0.03."""
TOLERATED: Final = 0.05
"""False alarms at which the share found is asked for."""
CONFIDENCE: Final = 0.95
MOST_CELLS: Final = 2_000_000
"""Weights held in memory at once."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The same clips with the answers of both detectors."""

    label_N: Labels
    """True for synthetic."""
    before_N: Array
    after_N: Array
    people: tuple[str, ...]
    """Whose clip each is; clips of one person are not independent of each other."""

    def __post_init__(self) -> None:
        """Refuse lists that do not belong together, and abstentions."""
        lengths = {len(self.label_N), len(self.before_N), len(self.after_N), len(self.people)}
        if len(lengths) > 1:
            raise ValueError(f"labels, scores and people must be of one length, got {sorted(lengths)}")
        if not (np.isfinite(self.before_N).all() and np.isfinite(self.after_N).all()):
            raise ValueError("scores must be finite: leave abstentions out and count them")

    @classmethod
    def of(cls, labels: ArrayLike, before: ArrayLike, after: ArrayLike, people: Sequence[str]) -> Pairs:
        """From plain lists."""
        return cls(
            np.asarray(labels, bool), np.asarray(before, np.float64), np.asarray(after, np.float64), tuple(people)
        )

    def clips(self, *, synthetic: bool) -> int:
        """How many of a label."""
        return int((self.label_N == synthetic).sum())

    def people_of(self, *, synthetic: bool) -> int:
        """How many people have clips of a label."""
        return len({p for p, label in zip(self.people, self.label_N.tolist(), strict=True) if label is synthetic})


Figure = Callable[[Labels, Array, Array, float], Array]
"""(label_N, score_N, weight_BN, threshold) -> (B,), nan where the metric does not exist."""


@dataclass(frozen=True)
class Gauge:
    """A metric, and what it takes to compare it."""

    name: str
    title: str
    figure: Figure
    higher_is_better: bool
    needs_real: bool = True
    needs_synthetic: bool = True
    fewest_real: int = FEWEST_CLIPS
    fewest: int = 0
    """Clips of both labels together."""

    def missing(self, pairs: Pairs) -> str:
        """Why this cannot be compared on so few clips; empty when it can."""
        for needed, synthetic, word in ((self.needs_real, False, "real"), (self.needs_synthetic, True, "synthetic")):
            fewest = FEWEST_CLIPS if synthetic else self.fewest_real
            clips, people = pairs.clips(synthetic=synthetic), pairs.people_of(synthetic=synthetic)
            if needed and clips < fewest:
                return f"{clips} {word} clips, {fewest} are needed"
            if needed and people < FEWEST_PEOPLE:
                return f"{word} clips of {people} people, {FEWEST_PEOPLE} are needed"
        if len(pairs.people) < self.fewest:
            return f"{len(pairs.people)} clips, {self.fewest} are needed"
        return ""

    def people(self, pairs: Pairs) -> int:
        """People of the label that has fewer of them, among the labels the metric is over."""
        counts = [pairs.people_of(synthetic=False)] if self.needs_real else []
        counts += [pairs.people_of(synthetic=True)] if self.needs_synthetic else []
        return min(counts)


@dataclass(frozen=True)
class Change:
    """A metric before and after."""

    before: Measure
    after: Measure
    difference: Measure
    """After minus before."""
    p: float
    """Two-sided, of no difference; 1 where there is no interval."""


def compare(gauge: Gauge, pairs: Pairs, thresholds: tuple[float, float], *, draws: int, seed: int = 0) -> Change:
    """A metric of both detectors and its difference, with percentile intervals over the same resamples of people.

    Args:
        gauge: the metric.
        pairs: the clips that both detectors answered.
        thresholds: of the detector before and of the one after.
        draws: resamples.
        seed: of the resampling.
    """
    missing = gauge.missing(pairs)
    if missing:
        none = Measure(nan, reason=missing)
        return Change(none, none, none, 1.0)
    once_N = np.ones((1, len(pairs.people)))

    def both(weight_BN: Array) -> tuple[Array, Array]:
        return (
            gauge.figure(pairs.label_N, pairs.before_N, weight_BN, thresholds[0]),
            gauge.figure(pairs.label_N, pairs.after_N, weight_BN, thresholds[1]),
        )

    whole = [float(value[0]) for value in both(once_N)]
    drawn = [both(weight_BN) for weight_BN in resamples(pairs.people, draws, seed)]
    before_B, after_B = (np.concatenate([part[side] for part in drawn]) for side in (0, 1))
    change_B = after_B - before_B
    known_B = change_B[np.isfinite(change_B)]
    if any(isnan(value) for value in whole) or len(known_B) < max(20, draws // 10):
        none = Measure(nan, reason="too few resamples of people hold both labels")
        return Change(none, none, none, 1.0)
    return Change(
        _measured(whole[0], before_B),
        _measured(whole[1], after_B),
        _measured(whole[1] - whole[0], change_B),
        _chance(known_B, gauge.people(pairs)),
    )


def resamples(people: Sequence[str], draws: int, seed: int) -> Iterator[Array]:
    """Weights of clips, (B, N) in blocks that fit into memory: people drawn with replacement, `draws` times in all."""
    names, person_N = np.unique(np.array(people), return_inverse=True)
    rng = np.random.default_rng(seed)
    block = max(1, MOST_CELLS // max(1, len(people)))
    for start in range(0, draws, block):
        often_BP = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=min(block, draws - start))
        yield often_BP[:, person_N].astype(np.float64)


def _measured(value: float, drawn_B: Array) -> Measure:
    known_B = drawn_B[np.isfinite(drawn_B)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known_B, [tail, 1 - tail])
    return Measure(value, float(low), float(high))


def _chance(change_B: Array, people: int) -> float:
    """Share of resamples on the other side of zero, twice; never less than so many people can prove by agreeing."""
    side = min(int((change_B <= 0).sum()), int((change_B >= 0).sum()))
    return float(min(1.0, max(2 * (side + 1) / (len(change_B) + 1), 2 * 0.5**people)))


def holm(chances: Sequence[float]) -> list[float]:
    """P values that hold for all of them together (Holm 1979), in the order given.

    The smallest is multiplied by their number, the next one by one less, and so on; none falls below one before it.
    """
    order = sorted(range(len(chances)), key=lambda n: chances[n])
    adjusted = [1.0] * len(chances)
    floor = 0.0
    for rank, n in enumerate(order):
        floor = max(floor, min(1.0, (len(chances) - rank) * chances[n]))
        adjusted[n] = floor
    return adjusted


def _steps(label_N: Labels, score_N: Array, weight_BN: Array, *, falling: bool) -> tuple[Array, Array]:
    """Weight of real and of synthetic clips at each distinct score, (B, T) each, rising or falling in score."""
    order = np.argsort(-score_N if falling else score_N, kind="stable")
    first_T = np.flatnonzero(np.append(True, np.diff(score_N[order]) != 0))
    sorted_BN, synthetic_N = weight_BN[:, order], label_N[order]
    real_BT = np.add.reduceat(sorted_BN * ~synthetic_N, first_T, axis=1)
    synthetic_BT = np.add.reduceat(sorted_BN * synthetic_N, first_T, axis=1)
    return np.asarray(real_BT, np.float64), np.asarray(synthetic_BT, np.float64)


def _share(part_B: Array, whole_B: Array) -> Array:
    out_B = np.full(len(part_B), nan)
    np.divide(part_B, whole_B, out=out_B, where=whole_B > 0)
    return out_B


def auc(label_N: Labels, score_N: Array, weight_BN: Array, threshold: float = 0.5) -> Array:
    """Chance that a synthetic clip scores above a real one; ties count half (`detect.metrics.roc_auc`)."""
    real_BT, synthetic_BT = _steps(label_N, score_N, weight_BN, falling=False)
    below_BT = np.cumsum(real_BT, axis=1) - real_BT / 2
    return _share((synthetic_BT * below_BT).sum(axis=1), synthetic_BT.sum(axis=1) * real_BT.sum(axis=1))


def found_at_false_alarms(label_N: Labels, score_N: Array, weight_BN: Array, threshold: float = 0.5) -> Array:
    """Share of synthetic clips found at `TOLERATED` false alarms (`detect.metrics.rate_at_false_alarms`)."""
    real_BT, synthetic_BT = _steps(label_N, score_N, weight_BN, falling=True)
    real_B, synthetic_B = real_BT.sum(axis=1), synthetic_BT.sum(axis=1)
    # a weight of 20 real clips allows one false alarm: no rounding may take that away
    within_BT = np.cumsum(real_BT, axis=1) <= TOLERATED * real_B[:, None] + 1e-9
    best_B = np.where(within_BT, np.cumsum(synthetic_BT, axis=1), 0.0).max(axis=1)
    return np.where(real_B > 0, _share(best_B, synthetic_B), nan)


def found_at_threshold(label_N: Labels, score_N: Array, weight_BN: Array, threshold: float = 0.5) -> Array:
    """Share of synthetic clips at or above the threshold."""
    mine_BN = weight_BN[:, label_N]
    return _share(mine_BN @ (score_N[label_N] >= threshold).astype(np.float64), mine_BN.sum(axis=1))


def false_alarms_at_threshold(label_N: Labels, score_N: Array, weight_BN: Array, threshold: float = 0.5) -> Array:
    """Share of real clips at or above the threshold."""
    return found_at_threshold(~label_N, score_N, weight_BN, threshold)


def calibration_error(
    label_N: Labels, score_N: Array, weight_BN: Array, threshold: float = 0.5, bins: int = 10
) -> Array:
    """Mean gap between stated and observed frequency (`detect.metrics.expected_calibration_error`).

    Bins hold equally many clips of the resample: their edges are places in the line of clips sorted by score, and the
    sum of gaps up to a place is read off the running sum.
    """
    order = np.argsort(score_N, kind="stable")
    sorted_BN = weight_BN[:, order]
    nothing_B1 = np.zeros((len(weight_BN), 1))
    place_BN = np.concatenate([nothing_B1, np.cumsum(sorted_BN, axis=1)], axis=1)
    gap_N = label_N[order].astype(np.float64) - score_N[order]
    sum_BN = np.concatenate([nothing_B1, np.cumsum(sorted_BN * gap_N, axis=1)], axis=1)
    count_B = place_BN[:, -1].astype(np.int64)
    parts_B1 = np.clip(np.minimum(count_B, bins), 1, None)[:, None]
    size_B1, larger_B1 = np.divmod(count_B[:, None], parts_B1)
    number_1K = np.minimum(np.arange(bins + 1)[None], parts_B1)
    edge_BK = size_B1 * number_1K + np.minimum(number_1K, larger_B1)
    # one interpolation for all resamples: each is moved to a stretch of its own
    offset_B1 = (np.arange(len(weight_BN)) * (float(count_B.max(initial=0)) + 1.0))[:, None]
    at_BK = np.interp((edge_BK + offset_B1).ravel(), (place_BN + offset_B1).ravel(), sum_BN.ravel())
    gaps_BK = np.abs(np.diff(at_BK.reshape(edge_BK.shape), axis=1))
    return _share(gaps_BK.sum(axis=1), count_B.astype(np.float64))


GAUGES: Mapping[str, Gauge] = MappingProxyType(
    {
        gauge.name: gauge
        for gauge in (
            Gauge("auc", "AUC", auc, higher_is_better=True),
            Gauge(
                "tpr_at_5_percent_fpr",
                "found at 5 % false alarms",
                found_at_false_alarms,
                higher_is_better=True,
                fewest_real=20,
            ),
            Gauge(
                "tpr_at_threshold", "found at threshold", found_at_threshold, higher_is_better=True, needs_real=False
            ),
            Gauge(
                "fpr_at_threshold",
                "false alarms at threshold",
                false_alarms_at_threshold,
                higher_is_better=False,
                needs_synthetic=False,
            ),
            # ten bins of fewer than five clips each are off by chance more than detectors differ
            Gauge("ece", "calibration error", calibration_error, higher_is_better=False, fewest=50),
        )
    }
)
