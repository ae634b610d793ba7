"""When a clip is forged: per-second probabilities -> segments, and how good segments are. Pure: plain numbers only.

    find_segments([0, 1, 2, 3, 4], [.1, .2, .9, .8, .1], SegmentRule(.6, .4))    # (Segment(2.0, 4.0, .85),)
    pool_top([-2, -2, 3], share=1 / 3)                                            # 3.0, where the mean says -0.33

A forgery of two seconds in a minute is lost in a mean. So a clip is pooled over its most suspicious part, and the part
is named: where the curve rises over the high threshold, and as far as it stays over the low one (hysteresis: a single
threshold would tear one forgery into crumbs wherever the curve trembles).

How segments are measured (AV-Deepfake1M, Cai et al. 2024; written from the definitions):

1. *AP@IoU*: proposals of all clips in one list, most confident first. A proposal is right when it overlaps a forged
   segment of its clip, which no better proposal has taken, by at least that intersection over union. AP is the area
   under precision over recall, precision made monotone.
2. *AR@N*: of each clip the N most confident proposals; the share of all forged segments that one of them overlaps
   enough, each segment and each proposal counting once; averaged over the IoU thresholds .50, .55, ... .95.
3. Where no clip has a forged segment neither figure exists: nan, never 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detect.detector import TimePoint

Array = NDArray[np.float64]

IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Over which AR@N is averaged."""
REPORTED_IOUS = (0.5, 0.75, 0.95)
REPORTED_COUNTS = (1, 5, 10, 20)
SECOND = 1.0
"""What one point of a timeline stands for: the second that begins there."""
MAX_LOGIT = 8.0
"""A probability of 0 or 1 would drown its neighbours when curves are smoothed in logits."""


@dataclass(frozen=True)
class Segment:
    """A stretch of time that looks forged, or is."""

    start_seconds: float
    end_seconds: float
    """Exclusive."""
    confidence: float
    """In [0, 1]: mean of the smoothed probabilities inside; 1 for the truth."""

    def __post_init__(self) -> None:
        """Refuse stretches without length and confidences that are no probability."""
        if not (isfinite(self.start_seconds) and isfinite(self.end_seconds)) or self.start_seconds < 0:
            raise ValueError(f"a segment must lie in the clip, got {self.start_seconds} to {self.end_seconds} s")
        if self.end_seconds <= self.start_seconds:
            raise ValueError(f"a segment must end after it starts, got {self.start_seconds} to {self.end_seconds} s")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence must be in [0, 1], got {self.confidence}")

    @property
    def seconds(self) -> float:
        """Length."""
        return self.end_seconds - self.start_seconds

    def to_json(self) -> dict[str, float]:
        """Plain values."""
        return {
            "start": round(self.start_seconds, 3),
            "end": round(self.end_seconds, 3),
            "confidence": round(self.confidence, 4),
        }


@dataclass(frozen=True)
class SegmentRule:
    """When a stretch of a timeline becomes a segment."""

    begins_at: float
    """Smoothed probability that a segment must reach."""
    lasts_above: float
    """Smoothed probability down to which it goes on, to both sides."""
    min_seconds: float = 1.0
    smoothing_seconds: float = 1.0
    """Half width of the triangle that smooths: at 1, points are averaged with nothing but themselves."""
    gap_seconds: float = 1.5
    """Points further apart are not joined, nor smoothed over: the face was away."""

    def __post_init__(self) -> None:
        """Refuse thresholds in the wrong order and lengths that are none."""
        if not 0.0 < self.lasts_above <= self.begins_at < 1.0:
            raise ValueError(f"0 < lasts_above <= begins_at < 1 is needed, got {self.lasts_above}, {self.begins_at}")
        if self.min_seconds <= 0 or self.smoothing_seconds <= 0 or self.gap_seconds <= 0:
            raise ValueError("min_seconds, smoothing_seconds and gap_seconds must be positive")

    @classmethod
    def between(cls, high: float, low: float) -> SegmentRule:
        """The rule of timelines with one point a second, by the thresholds of the verdict.

        Thresholds of its own would let segments and verdict contradict each other. A second is noisy, so its
        neighbours count half of it: a flash of one second is reported only where it is still high after that.
        """
        return cls(high, low, smoothing_seconds=2.0)


def smoothed(seconds: ArrayLike, probabilities: ArrayLike, rule: SegmentRule) -> Array:
    """(P,) probabilities averaged with their neighbours in logits, by a triangle, never across a gap.

    Args:
        seconds: (P,) increasing.
        probabilities: (P,) in [0, 1]; nan for a moment that was not judged, which then stays nan and weighs nothing.
        rule: width of the triangle and of a gap.

    Raises:
        ValueError: for lists of different lengths, times that do not increase or probabilities outside [0, 1].
    """
    time_P, value_P = _checked(seconds, probabilities)
    if len(time_P) == 0:
        return value_P
    stretch_P = np.concatenate([[0], np.cumsum(np.diff(time_P) > rule.gap_seconds)])
    known_P = ~np.isnan(value_P)
    inner_P = np.clip(np.nan_to_num(value_P, nan=0.5), 1e-9, 1 - 1e-9)
    logit_P = np.clip(np.log(inner_P / (1 - inner_P)), -MAX_LOGIT, MAX_LOGIT)
    # neighbour by neighbour: a matrix of all pairs would not fit for a film of hours
    first_P = np.searchsorted(time_P, time_P - rule.smoothing_seconds)
    last_P = np.searchsorted(time_P, time_P + rule.smoothing_seconds, side="right")
    mean_P = np.full(len(time_P), nan)
    for i in np.flatnonzero(known_P).tolist():
        near = slice(int(first_P[i]), int(last_P[i]))
        weight = np.maximum(0.0, 1.0 - np.abs(time_P[near] - time_P[i]) / rule.smoothing_seconds)
        weight = weight * known_P[near] * (stretch_P[near] == stretch_P[i])
        mean_P[i] = float(weight @ logit_P[near] / weight.sum())
    return np.asarray(1.0 / (1.0 + np.exp(-mean_P)))


def find_segments(
    seconds: ArrayLike, probabilities: ArrayLike, rule: SegmentRule, clip_seconds: float | None = None
) -> tuple[Segment, ...]:
    """Stretches that reach `begins_at`, each as far as the curve stays above `lasts_above`.

    Args:
        seconds: (P,) beginnings of the moments judged, increasing.
        probabilities: (P,) in [0, 1], nan where nothing was judged.
        rule: when a stretch counts.
        clip_seconds: no segment ends later; None where the length is not known.

    Returns:
        Segments in order of time, each at least `min_seconds` long (or as long as the clip, where that is shorter).

    Raises:
        ValueError: see `smoothed`.
    """
    time_P, value_P = _checked(seconds, probabilities)
    curve_P = smoothed(seconds, probabilities, rule)
    found: list[Segment] = []
    for run in _runs(time_P, curve_P, rule):
        if max(curve_P[i] for i in run) < rule.begins_at:
            continue
        # smoothing lets a segment spill over its edges: it ends where the moments themselves are high no more
        inside = [i for i in run if value_P[i] >= rule.lasts_above]
        run = list(range(inside[0], inside[-1] + 1)) if inside else run
        start, end = float(time_P[run[0]]), float(time_P[run[-1]]) + SECOND
        end = min(end, clip_seconds) if clip_seconds else end
        shortest = min(rule.min_seconds, clip_seconds) if clip_seconds else rule.min_seconds
        # the last second of a clip is rarely a whole one: half of the shortest is enough there
        if end - start >= (shortest / 2 if end == clip_seconds else shortest) - 1e-9 and end > start:
            found.append(Segment(start, end, float(np.mean([curve_P[i] for i in run]))))
    return tuple(found)


def segments_of(timeline: Sequence[TimePoint], rule: SegmentRule, clip_seconds: float = 0.0) -> tuple[Segment, ...]:
    """The segments of a face's or a whole file's timeline.

    Of a long video only some seconds are looked at: neighbours are then further apart, and still neighbours.

    Args:
        timeline: of a `FaceScore` or a `Score`.
        rule: for points one second apart; stretched where they are further apart.
        clip_seconds: length of the file; 0 where it is not known.

    Returns:
        Segments in order of time; none for a picture or a single second, where there is no "when".
    """
    points = sorted(timeline, key=lambda point: point.seconds)
    if len(points) < 2:
        return ()
    seconds, values = [p.seconds for p in points], [p.probability for p in points]
    spacing = max(SECOND, float(np.median(np.diff(seconds))))
    stretched = replace(
        rule, smoothing_seconds=rule.smoothing_seconds * spacing, gap_seconds=rule.gap_seconds * spacing
    )
    return find_segments(seconds, values, stretched, clip_seconds or None)


def covers(segments: Sequence[Segment], timeline: Sequence[TimePoint]) -> float:
    """Share of the judged moments of a timeline that lie in a segment; nan where nothing was judged."""
    judged = [point.seconds for point in timeline if not np.isnan(point.probability)]
    if not judged:
        return nan
    inside = sum(any(s.start_seconds <= second < s.end_seconds for s in segments) for second in judged)
    return inside / len(judged)


def pool_top(logits: ArrayLike, share: float = 0.2, at_least: int = 1) -> float:
    """Mean of the most suspicious share of a clip; a forgery of a fifth of it then counts in full.

    Args:
        logits: (N,) one a moment.
        share: of the moments, in (0, 1]; 1 is the mean, towards 0 the maximum.
        at_least: moments, so that the noise of one alone does not decide; fewer where there are fewer.

    Raises:
        ValueError: without a logit, for logits that are not finite, or a share outside (0, 1].
    """
    value_N = _logits(logits)
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must be in (0, 1], got {share}")
    if at_least < 1:
        raise ValueError(f"at_least must be at least 1, got {at_least}")
    count = min(len(value_N), max(at_least, round(share * len(value_N))))
    return float(np.sort(value_N)[::-1][:count].mean())


def pool_log_sum_exp(logits: ArrayLike, sharpness: float = 1.0) -> float:
    """Smooth maximum, log(mean(exp(sharpness * logits))) / sharpness: between the mean (0) and the maximum (large).

    The mean inside, not the sum: with a sum, a long clip would score higher than a short one of the same moments.

    Raises:
        ValueError: without a logit, for logits that are not finite, or a sharpness that is not positive.
    """
    value_N = _logits(logits)
    if not sharpness > 0.0:
        raise ValueError(f"sharpness must be positive, got {sharpness}")
    top = float(value_N.max())
    return top + float(np.log(np.mean(np.exp(sharpness * (value_N - top))))) / sharpness


def overlap(first: Segment, second: Segment) -> float:
    """Intersection over union of two stretches of time."""
    shared = min(first.end_seconds, second.end_seconds) - max(first.start_seconds, second.start_seconds)
    return max(0.0, shared) / (first.seconds + second.seconds - max(0.0, shared))


def average_precision_at(
    proposals: Mapping[str, Sequence[Segment]], truths: Mapping[str, Sequence[Segment]], iou: float
) -> float:
    """AP@IoU, rule 1 of the module's text.

    Args:
        proposals: found segments by clip.
        truths: forged segments by clip; clips without any belong in it too, since proposals there are mistakes.
        iou: least intersection over union of a right proposal.

    Returns:
        AP in [0, 1]; nan where no clip has a forged segment.

    Raises:
        ValueError: for proposals of a clip without truth, or an overlap outside (0, 1].
    """
    _check_clips(proposals, truths, iou)
    wanted = sum(map(len, truths.values()))
    if wanted == 0:
        return nan
    # sorted is stable and the clips come in one order, so equal confidences do not depend on the mapping's
    ranked = sorted(
        ((clip, found) for clip in sorted(proposals) for found in proposals[clip]),
        key=lambda pair: -pair[1].confidence,
    )
    taken: dict[str, set[int]] = {clip: set() for clip in truths}
    right = np.zeros(len(ranked), bool)
    for n, (clip, found) in enumerate(ranked):
        best = _best_free(found, truths[clip], taken[clip], iou)
        if best is not None:
            taken[clip].add(best)
            right[n] = True
    hits_R = np.cumsum(right)
    precision_R = hits_R / np.arange(1, len(ranked) + 1)
    monotone_R = np.maximum.accumulate(precision_R[::-1])[::-1]
    return float(monotone_R[right].sum() / wanted)


def average_recall_at(
    proposals: Mapping[str, Sequence[Segment]],
    truths: Mapping[str, Sequence[Segment]],
    count: int,
    ious: Sequence[float] = IOU_THRESHOLDS,
) -> float:
    """AR@N, rule 2 of the module's text.

    Args:
        proposals: found segments by clip.
        truths: forged segments by clip.
        count: N, proposals of a clip that are looked at.
        ious: thresholds to average over.

    Returns:
        AR in [0, 1]; nan where no clip has a forged segment.

    Raises:
        ValueError: see `average_precision_at`, and for a count below one.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if len(ious) == 0:
        raise ValueError("at least one overlap threshold is needed, got none")
    for iou in ious:
        _check_clips(proposals, truths, iou)
    wanted = sum(map(len, truths.values()))
    if wanted == 0:
        return nan
    recalls = []
    for iou in ious:
        hit = 0
        for clip, true in truths.items():
            taken: set[int] = set()
            for found in sorted(proposals.get(clip, ()), key=lambda one: -one.confidence)[:count]:
                best = _best_free(found, true, taken, iou)
                if best is not None:
                    taken.add(best)
            hit += len(taken)
        recalls.append(hit / wanted)
    return float(np.mean(recalls))


def localisation_figures(
    proposals: Mapping[str, Sequence[Segment]], truths: Mapping[str, Sequence[Segment]]
) -> dict[str, float | None]:
    """Every reported AP@IoU and AR@N, by name; None where there is nothing to find."""
    figures = {f"ap_at_iou_{iou:g}": average_precision_at(proposals, truths, iou) for iou in REPORTED_IOUS}
    figures |= {f"ar_at_{count}": average_recall_at(proposals, truths, count) for count in REPORTED_COUNTS}
    return {name: None if np.isnan(value) else round(value, 5) for name, value in figures.items()}


def _checked(seconds: ArrayLike, probabilities: ArrayLike) -> tuple[Array, Array]:
    time_P, value_P = np.asarray(seconds, np.float64), np.asarray(probabilities, np.float64)
    if time_P.ndim != 1 or time_P.shape != value_P.shape:
        raise ValueError(f"seconds and probabilities must be (P,) alike, got {time_P.shape} and {value_P.shape}")
    if not np.isfinite(time_P).all() or (np.diff(time_P) <= 0).any():
        raise ValueError("seconds must be finite and increase")
    if ((value_P < 0) | (value_P > 1)).any():
        raise ValueError("probabilities must be in [0, 1], or nan where nothing was judged")
    return time_P, value_P


def _runs(time_P: Array, curve_P: Array, rule: SegmentRule) -> list[list[int]]:
    """Indices of the moments above `lasts_above`, neighbours together."""
    above = [i for i in range(len(curve_P)) if curve_P[i] >= rule.lasts_above]
    runs = [[i] for i in above[:1]]
    for before, i in itertools.pairwise(above):
        if i == before + 1 and time_P[i] - time_P[before] <= rule.gap_seconds:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _logits(logits: ArrayLike) -> Array:
    value_N = np.asarray(logits, np.float64)
    if value_N.ndim != 1 or len(value_N) == 0 or not np.isfinite(value_N).all():
        raise ValueError(f"logits must be (N,) finite numbers, at least one, got shape {value_N.shape}")
    return value_N


def _check_clips(proposals: Mapping[str, object], truths: Mapping[str, object], iou: float) -> None:
    if not 0.0 < iou <= 1.0:
        raise ValueError(f"an overlap threshold must be in (0, 1], got {iou}")
    strange = sorted(set(proposals) - set(truths))
    if strange:
        raise ValueError(f"no truth for the clip {strange[0]!r}; give () for a clip without a forged segment")


def _best_free(found: Segment, true: Sequence[Segment], taken: set[int], iou: float) -> int | None:
    """The free true segment that a proposal overlaps most, where that is enough."""
    shared = [(overlap(found, one), -i) for i, one in enumerate(true) if i not in taken]
    best = max(shared, default=(0.0, 0))
    return -best[1] if best[0] >= iou - 1e-12 and shared else None
