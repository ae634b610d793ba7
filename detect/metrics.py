"""How good saved scores are: pure functions of labels and probabilities.

    roc_auc(labels, scores)                        # float
    measure(roc_auc, labels, scores, clusters)     # Measure(value, low, high, reason)

A metric that does not exist for the data at hand (one class only, nothing scored) is nan here and an *unscored*
`Measure` with a reason in reports, never 0 or 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, erf, isnan, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Metric = Callable[[NDArray[np.bool_], Array], float]


@dataclass(frozen=True)
class Measure:
    """A figure with its interval, or the reason why there is none."""

    value: float
    low: float = nan
    high: float = nan
    reason: str = ""

    def __post_init__(self) -> None:
        """A missing value needs a reason, a value needs none to be missing."""
        if isnan(self.value) != bool(self.reason):
            raise ValueError(f"value {self.value} does not go with reason {self.reason!r}")

    @property
    def scored(self) -> bool:
        """Whether there is a figure."""
        return not isnan(self.value)

    def to_json(self) -> dict[str, float | str | None]:
        """Plain values; nan becomes null."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        out: dict[str, float | str | None] = {k: None if isnan(v) else round(v, 5) for k, v in numbers.items()}
        return out | {"reason": self.reason}


@dataclass(frozen=True)
class RiskCoverage:
    """Share of wrong answers among those kept, from the surest alone to all."""

    coverages: tuple[float, ...]
    """Share of the clips answered, increasing, the last one 1."""
    risks: tuple[float, ...]
    """Share of those that is answered wrongly."""
    area: float
    """AURC: mean risk over all coverages; nan without a clip. Less is better; compare on the same clips only."""

    def risk_at(self, coverage: float) -> float:
        """Risk at the least coverage that reaches the one asked for; nan without a clip."""
        if not 0.0 < coverage <= 1.0:
            raise ValueError(f"coverage must be in (0, 1], got {coverage}")
        return next((r for c, r in zip(self.coverages, self.risks, strict=True) if c >= coverage - 1e-12), nan)

    def to_json(self) -> dict[str, float | None]:
        """The area, and the risk at all, nine in ten, three in four and half of the clips."""
        out = {"aurc": self.area} | {f"risk_at_{c:g}": self.risk_at(c) for c in (1.0, 0.9, 0.75, 0.5)}
        return {name: None if isnan(value) else round(value, 5) for name, value in out.items()}


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Array]:
    label_N, score_N = np.asarray(labels, bool), np.asarray(scores, np.float64)
    if label_N.ndim != 1 or label_N.shape != score_N.shape:
        raise ValueError(f"labels and scores must be (N,) of one length, got {label_N.shape} and {score_N.shape}")
    if not np.isfinite(score_N).all():
        raise ValueError("scores must be finite: leave abstentions out and count them")
    return label_N, score_N


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Chance that a synthetic clip scores above a real one; ties count half. nan with one class only."""
    label_N, score_N = _checked(labels, scores)
    positive, negative = int(label_N.sum()), int((~label_N).sum())
    if positive == 0 or negative == 0:
        return nan
    _, inverse, counts = np.unique(score_N, return_inverse=True, return_counts=True)
    rank_of_value = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = float(rank_of_value[inverse][label_N].sum())
    return (rank_sum - positive * (positive + 1) / 2.0) / (positive * negative)


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[Array, Array, Array]:
    """False-positive rate, true-positive rate and threshold at each distinct score, from (0, 0) to (1, 1).

    A clip is called synthetic when its score is at or above the threshold; the first threshold is infinity.
    """
    label_N, score_N = _checked(labels, scores)
    order = np.argsort(-score_N, kind="stable")
    sorted_N, hit_N = score_N[order], label_N[order]
    last = np.flatnonzero(np.append(np.diff(sorted_N) != 0, True)) if len(sorted_N) else np.zeros(0, np.int64)
    true_T = np.concatenate([[0], np.cumsum(hit_N)[last]]).astype(np.float64)
    false_T = np.concatenate([[0], np.cumsum(~hit_N)[last]]).astype(np.float64)
    positive, negative = max(int(label_N.sum()), 1), max(int((~label_N).sum()), 1)
    return false_T / negative, true_T / positive, np.concatenate([[np.inf], sorted_N[last]])


def equal_error_rate(labels: ArrayLike, scores: ArrayLike) -> float:
    """Where false alarms and misses are equally frequent, by straight lines between the points of the curve."""
    label_N, score_N = _checked(labels, scores)
    if label_N.all() or not label_N.any():
        return nan
    false_T, true_T, _ = roc_curve(label_N, score_N)
    gap_T = false_T - (1.0 - true_T)
    after = int(np.argmax(gap_T >= 0))
    if gap_T[after] == 0 or after == 0:
        return float(false_T[after])
    share = -gap_T[after - 1] / (gap_T[after] - gap_T[after - 1])
    return float(false_T[after - 1] + share * (false_T[after] - false_T[after - 1]))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean precision over recall steps; tied scores enter together. nan without a synthetic clip."""
    label_N, score_N = _checked(labels, scores)
    if not label_N.any():
        return nan
    order = np.argsort(-score_N, kind="stable")
    sorted_N, hit_N = score_N[order], label_N[order]
    last = np.flatnonzero(np.append(np.diff(sorted_N) != 0, True))
    true_T = np.cumsum(hit_N)[last].astype(np.float64)
    precision_T = true_T / (last + 1)
    recall_T = true_T / true_T[-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall_T])) * precision_T))


def rate_at_false_alarms(labels: ArrayLike, scores: ArrayLike, false_alarm_rate: float) -> float:
    """Largest share of synthetic clips found while at most this share of real ones is called synthetic."""
    label_N, score_N = _checked(labels, scores)
    if label_N.all() or not label_N.any():
        return nan
    false_T, true_T, _ = roc_curve(label_N, score_N)
    return float(true_T[false_T <= false_alarm_rate + 1e-12].max())


def threshold_for_false_alarms(labels: ArrayLike, scores: ArrayLike, false_alarm_rate: float) -> float:
    """Lowest threshold that calls at most this share of the real clips synthetic.

    It lies half-way between the highest real score that must be spared and the next score of any clip.

    Raises:
        ValueError: when there is no real clip.
    """
    label_N, score_N = _checked(labels, scores)
    real = np.sort(score_N[~label_N])[::-1]
    if len(real) == 0:
        raise ValueError("a false-alarm rate needs at least one real clip, got none")
    allowed = int(np.floor(false_alarm_rate * len(real) + 1e-9))
    if allowed >= len(real):
        return float(real[-1])
    spared = real[allowed]
    above = score_N[score_N > spared]
    return float((spared + above.min()) / 2) if len(above) else float(np.nextafter(spared, np.inf))


def false_alarm_rate(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of real clips at or above a threshold; nan without a real clip."""
    label_N, score_N = _checked(labels, scores)
    return float((score_N[~label_N] >= threshold).mean()) if (~label_N).any() else nan


def detection_rate(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of synthetic clips at or above a threshold; nan without a synthetic clip."""
    label_N, score_N = _checked(labels, scores)
    return float((score_N[label_N] >= threshold).mean()) if label_N.any() else nan


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance between probability and truth; 0.25 for a coin. nan when nothing is scored."""
    label_N, score_N = _checked(labels, probabilities)
    return float(np.mean((score_N - label_N) ** 2)) if len(score_N) else nan


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> float:
    """Mean gap between stated and observed frequency over equally filled bins (of equal-width ones many are empty)."""
    label_N, score_N = _checked(labels, probabilities)
    if len(score_N) == 0:
        return nan
    order = np.argsort(score_N, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    gaps = [abs(float(label_N[part].mean()) - float(score_N[part].mean())) * len(part) for part in parts]
    return float(sum(gaps) / len(score_N))


def calibration_error_of_chance(probabilities: ArrayLike, bins: int = 10, *, draws: int = 400, seed: int = 0) -> float:
    """The calibration error that exactly true probabilities would show on so few clips, by drawing labels from them.

    A bin of ten clips is off by .13 on average however honest the probabilities are: without this number beside it, a
    calibration error measured on a small set says nothing.
    """
    score_N = np.asarray(probabilities, np.float64)
    if len(score_N) == 0:
        return nan
    rng = np.random.default_rng(seed)
    drawn = (rng.random((draws, len(score_N))) < score_N).astype(bool)
    return float(np.mean([expected_calibration_error(label_N, score_N, bins) for label_N in drawn]))


def measure(
    metric: Metric,
    labels: ArrayLike,
    scores: ArrayLike,
    clusters: Sequence[str] | None = None,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Measure:
    """A metric with a percentile bootstrap interval that resamples whole clusters.

    Clips of one person are not independent: resampling clips would give intervals that are too narrow.

    Args:
        metric: any function of (labels, scores) that returns nan where it does not exist.
        labels: (N,) True for synthetic.
        scores: (N,) finite.
        clusters: (N,) name of the group each clip belongs to; None for every clip on its own.
        draws: bootstrap resamples.
        confidence: width of the interval.
        seed: of the resampling.
    """
    label_N, score_N = _checked(labels, scores)
    if len(label_N) == 0:
        return Measure(nan, reason="nothing was scored")
    value = metric(label_N, score_N)
    if isnan(value):
        present = "synthetic" if label_N.all() else "real"
        return Measure(nan, reason=f"only {present} clips: the metric needs both labels")
    drawn = [metric(label_N[i], score_N[i]) for i in _resamples(len(label_N), clusters, draws, seed)]
    return _with_interval(value, drawn, draws, confidence)


def compare_auc(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """AUC difference of two detectors on the same clips and its two-sided p value (DeLong et al. 1988).

    Treats clips as independent; with several clips a person prefer the cluster bootstrap of the difference.

    Returns:
        (first minus second, p); p is 1 when the two rank everything alike, nan with fewer than two clips of a label.
    """
    label_N, first_N = _checked(labels, first)
    _, second_N = _checked(labels, second)
    synthetic, real = np.flatnonzero(label_N), np.flatnonzero(~label_N)
    if len(synthetic) < 2 or len(real) < 2:
        return nan, nan

    def placements(score_N: Array) -> tuple[Array, Array]:
        wins = (score_N[synthetic][:, None] > score_N[real][None]) + 0.5 * (
            score_N[synthetic][:, None] == score_N[real][None]
        )
        return wins.mean(axis=1), wins.mean(axis=0)

    (v1, u1), (v2, u2) = placements(first_N), placements(second_N)
    difference = float(v1.mean() - v2.mean())
    variance = float(np.var(v1 - v2, ddof=1) / len(v1) + np.var(u1 - u2, ddof=1) / len(u1))
    if variance <= 0:
        return difference, 1.0 if difference == 0 else 0.0
    z = abs(difference) / sqrt(variance)
    return difference, 1.0 - erf(z / sqrt(2.0))


def measure_difference(
    metric: Metric,
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[str] | None = None,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Measure:
    """How much better one detector is than another on the same clips, with a paired cluster bootstrap.

    Both are measured on the same resampled clusters, so that a hard person counts against both: two intervals that
    overlap say nothing about a difference, an interval of the difference that leaves out 0 does.

    Args:
        metric: any function of (labels, scores).
        labels: (N,) True for synthetic.
        first: (N,) finite scores of the one.
        second: (N,) of the other, for the same clips in the same order.
        clusters: (N,) name of the group each clip belongs to; None for every clip on its own.
        draws: bootstrap resamples.
        confidence: width of the interval.
        seed: of the resampling.

    Returns:
        First minus second.
    """
    label_N, first_N = _checked(labels, first)
    _, second_N = _checked(labels, second)
    if len(label_N) == 0:
        return Measure(nan, reason="nothing was scored")

    def difference(chosen: NDArray[np.int64]) -> float:
        return metric(label_N[chosen], first_N[chosen]) - metric(label_N[chosen], second_N[chosen])

    value = difference(np.arange(len(label_N)))
    if isnan(value):
        present = "synthetic" if label_N.all() else "real"
        return Measure(nan, reason=f"only {present} clips: the metric needs both labels")
    drawn = [difference(chosen) for chosen in _resamples(len(label_N), clusters, draws, seed)]
    return _with_interval(value, drawn, draws, confidence)


def partial_auc(labels: ArrayLike, scores: ArrayLike, max_false_alarms: float = 0.05) -> float:
    """Area under the ROC curve up to a share of false alarms, scaled so that 0.5 is chance and 1 perfect.

    Nobody works where a third of the real files is flagged: this weighs the part of the curve that is used
    (McClish 1989). nan with one class only.

    Raises:
        ValueError: for a share outside (0, 1].
    """
    if not 0.0 < max_false_alarms <= 1.0:
        raise ValueError(f"max_false_alarms must be in (0, 1], got {max_false_alarms}")
    label_N, score_N = _checked(labels, scores)
    if label_N.all() or not label_N.any():
        return nan
    false_T, true_T, _ = roc_curve(label_N, score_N)
    inside_T = false_T <= max_false_alarms
    x = np.append(false_T[inside_T], max_false_alarms)
    y = np.append(true_T[inside_T], np.interp(max_false_alarms, false_T, true_T))
    area = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2.0))
    worst, best = max_false_alarms**2 / 2.0, max_false_alarms
    return 0.5 * (1.0 + (area - worst) / (best - worst))


def found_at_false_alarms(
    labels: ArrayLike,
    scores: ArrayLike,
    tolerated: float,
    clusters: Sequence[str] | None = None,
    *,
    draws: int = 1000,
) -> Measure:
    """The share of synthetic clips found while at most this share of the real ones is flagged, where that can be told.

    A share of one in a thousand is not seen in a hundred real clips: fewer than 1 / tolerated of them leave it open,
    and the answer says so instead of giving the figure of a stricter question.

    Raises:
        ValueError: for a tolerated share outside (0, 1).
    """
    if not 0.0 < tolerated < 1.0:
        raise ValueError(f"tolerated must lie between 0 and 1, got {tolerated}")
    label_N, score_N = _checked(labels, scores)
    real, needed = int((~label_N).sum()), ceil(1.0 / tolerated - 1e-9)
    if len(label_N) and real < needed:
        return Measure(
            nan, reason=f"{real} real clips cannot tell {tolerated:.1%} of false alarms: {needed} are needed"
        )
    return measure(lambda y, p: rate_at_false_alarms(y, p, tolerated), label_N, score_N, clusters, draws=draws)


def predictive_values(detection: float, false_alarms: float, prevalence: float) -> tuple[float, float]:
    """What a flag and its absence are worth where a given share of the files is synthetic (Bayes).

    Args:
        detection: share of synthetic files that are flagged.
        false_alarms: share of real files that are flagged.
        prevalence: share of all files that is synthetic, strictly inside (0, 1).

    Returns:
        (PPV, NPV): share of flagged files that are synthetic, share of the others that are real; nan for a side that
        no file is on.

    Raises:
        ValueError: for shares that are none.
    """
    for name, value in (("detection", detection), ("false_alarms", false_alarms)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must be in [0, 1], got {value}")
    if not 0.0 < prevalence < 1.0:
        raise ValueError(f"prevalence must lie between 0 and 1, got {prevalence}")
    hits, alarms = detection * prevalence, false_alarms * (1.0 - prevalence)
    misses, spared = (1.0 - detection) * prevalence, (1.0 - false_alarms) * (1.0 - prevalence)
    return (
        hits / (hits + alarms) if hits + alarms > 0 else nan,
        spared / (misses + spared) if misses + spared > 0 else nan,
    )


def flags_in_words(detection: float, false_alarms: float, prevalence: float) -> str:
    """What a newsroom needs to hear about a detector before it acts on a flag.

    Raises:
        ValueError: see `predictive_values`.
    """
    worth, _ = predictive_values(detection, false_alarms, prevalence)
    if isnan(worth):
        return "The detector flags no file at all at this threshold."
    return (
        f"Of 100 files flagged among uploads of which {share_in_words(prevalence)} are synthetic, {_about(worth)} are."
    )


def share_in_words(share: float) -> str:
    """A share as text that keeps small ones apart: "50%", "1%", "0.1%"."""
    return f"{share * 100:.3g}%"


def _about(share: float) -> str:
    count = share * 100
    if count < 1:
        return "fewer than 1"
    return "nearly all" if count >= 99.5 else f"about {count:.0f}"


def risk_coverage(labels: ArrayLike, probabilities: ArrayLike, confidences: ArrayLike | None = None) -> RiskCoverage:
    """How often the answers kept are wrong, as more and more of the least sure ones are withheld.

    Args:
        labels: (N,) True for synthetic.
        probabilities: (N,) calibrated; an answer is wrong when it lies on the other side of one half.
        confidences: (N,) how sure each answer is; the distance of its probability from one half unless given (give
            the distance to known faces to see whether abstaining by it helps).

    Raises:
        ValueError: for lists of different lengths or values that are not finite.
    """
    label_N, probability_N = _checked(labels, probabilities)
    sure_N = np.abs(probability_N - 0.5) if confidences is None else np.asarray(confidences, np.float64)
    if sure_N.shape != label_N.shape or not np.isfinite(sure_N).all():
        raise ValueError(f"confidences must be (N,) finite numbers, as many as labels, got shape {sure_N.shape}")
    if len(label_N) == 0:
        return RiskCoverage((), (), nan)
    wrong_N = ((probability_N >= 0.5) != label_N).astype(np.float64)
    order = np.argsort(-sure_N, kind="stable")
    # equally sure answers are kept or withheld together: any order among them would be made up
    last = np.flatnonzero(np.append(np.diff(sure_N[order]) != 0, True))
    kept_T = last + 1
    risk_T = np.cumsum(wrong_N[order])[last] / kept_T
    area = float(np.sum(risk_T * np.diff(np.concatenate([[0], kept_T]))) / len(label_N))
    return RiskCoverage(tuple((kept_T / len(label_N)).tolist()), tuple(risk_T.tolist()), area)


def _resamples(count: int, clusters: Sequence[str] | None, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Indices of clips, whole clusters drawn with replacement, again and again."""
    names = [str(i) for i in range(count)] if clusters is None else [str(c) for c in clusters]
    if len(names) != count:
        raise ValueError(f"clusters must be as many as labels, got {len(names)} and {count}")
    _, member_N = np.unique(np.array(names), return_inverse=True)
    groups = [np.flatnonzero(member_N == g) for g in range(int(member_N.max()) + 1)]
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))])


def _with_interval(value: float, drawn: Sequence[float], draws: int, confidence: float) -> Measure:
    """A percentile interval over the resamples in which the metric exists; none where these are too few."""
    known = [one for one in drawn if not isnan(one)]
    if len(known) < max(20, draws // 10):
        return Measure(value)
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return Measure(value, float(low), float(high))
