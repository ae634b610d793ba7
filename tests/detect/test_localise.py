"""Segments of partial forgeries, and their metrics on cases small enough to compute by hand."""

from math import isnan, log, nan

import numpy as np
import pytest

from detect.detector import TimePoint
from detect.localise import (
    Segment,
    SegmentRule,
    average_precision_at,
    average_recall_at,
    covers,
    find_segments,
    localisation_figures,
    overlap,
    pool_log_sum_exp,
    pool_top,
    segments_of,
    smoothed,
)

PLAIN = SegmentRule(0.6, 0.4)
VERDICT = SegmentRule.between(0.6, 0.4)


def times(*probabilities: float) -> tuple[TimePoint, ...]:
    return tuple(TimePoint(float(second), p) for second, p in enumerate(probabilities))


def spans(segments: tuple[Segment, ...]) -> list[tuple[float, float]]:
    return [(s.start_seconds, s.end_seconds) for s in segments]


def test_a_segment_begins_high_and_lasts_while_the_curve_is_not_low() -> None:
    found = find_segments(range(7), [0.1, 0.5, 0.9, 0.45, 0.8, 0.3, 0.1], PLAIN)
    assert spans(found) == [(1.0, 5.0)]
    assert found[0].confidence == pytest.approx((0.5 + 0.9 + 0.45 + 0.8) / 4)


def test_a_stretch_that_is_never_high_is_no_segment() -> None:
    assert find_segments(range(4), [0.5, 0.59, 0.55, 0.5], PLAIN) == ()
    assert find_segments([], [], PLAIN) == ()


def test_two_forgeries_stay_two_and_an_absence_of_the_face_parts_them_too() -> None:
    assert spans(find_segments(range(5), [0.9, 0.9, 0.1, 0.9, 0.9], PLAIN)) == [(0, 2), (3, 5)]
    assert spans(find_segments([0, 1, 5, 6], [0.9] * 4, PLAIN)) == [(0, 2), (5, 7)]
    assert spans(find_segments(range(4), [0.9, nan, 0.9, 0.9], PLAIN)) == [(0, 1), (2, 4)]


def test_a_segment_shorter_than_the_least_is_left_out_and_none_outlasts_the_clip() -> None:
    rule = SegmentRule(0.6, 0.4, min_seconds=2.0)
    assert spans(find_segments(range(5), [0.9, 0.1, 0.9, 0.9, 0.1], rule)) == [(2, 4)]
    assert spans(find_segments(range(3), [0.1, 0.9, 0.9], PLAIN, clip_seconds=2.6)) == [(1, 2.6)]
    assert find_segments(range(3), [0.1, 0.1, 0.9], PLAIN, clip_seconds=2.1) == ()


def test_smoothing_weighs_neighbours_by_half_in_logits_and_never_across_a_gap() -> None:
    rule = SegmentRule(0.6, 0.4, smoothing_seconds=2.0)
    logit = log(0.9 / 0.1)
    curve = smoothed([0, 1, 2, 9], [0.5, 0.9, 0.5, 0.9], rule)
    assert curve[1] == pytest.approx(1 / (1 + np.exp(-logit / 2)))
    assert curve[0] == pytest.approx(1 / (1 + np.exp(-(0.5 * logit) / 1.5)))
    assert curve[3] == pytest.approx(0.9)
    assert isnan(smoothed([0, 1], [nan, 0.2], rule)[0])
    # certain moments do not drown the doubt around them
    assert smoothed([0, 1, 2], [0.0, 1.0, 0.0], rule)[1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("seconds", "values"), [([0, 0], [0.1, 0.2]), ([1, 0], [0.1, 0.2]), ([0], [1.2]), ([0, 1], [0.5])]
)
def test_timelines_that_cannot_be_are_refused(seconds: list[float], values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"seconds|probabilities"):
        find_segments(seconds, values, PLAIN)


def test_a_timeline_is_cut_by_the_thresholds_of_the_verdict() -> None:
    line = times(0.1, 0.1, 0.95, 0.95, 0.95, 0.1, 0.1)
    assert spans(segments_of(line, VERDICT, 7.0)) == [(2, 5)]
    assert covers(segments_of(line, VERDICT), line) == pytest.approx(3 / 7)
    assert segments_of(times(0.1, 0.2, 0.7, 0.2, 0.1), VERDICT) == ()  # a flash of one second
    assert spans(segments_of(times(0.1, 0.2, 0.92, 0.95, 0.93, 0.2), VERDICT)) == [(2, 5)]  # no spill over its edges
    assert segments_of(times(0.9), VERDICT) == ()
    assert isnan(covers((), ()))


def test_seconds_that_were_looked_at_far_apart_are_still_neighbours() -> None:
    line = tuple(TimePoint(8.0 * n, p) for n, p in enumerate([0.05, 0.05, 0.95, 0.95, 0.95, 0.05]))
    assert spans(segments_of(line, VERDICT, 48.0)) == [(16, 33)]


def test_the_top_of_a_clip_tells_a_partial_forgery_that_its_mean_hides() -> None:
    logits = [-2.0] * 8 + [3.0] * 2
    assert np.mean(logits) < 0 < pool_top(logits, 0.2) == 3.0
    assert pool_top(logits, 1.0) == pytest.approx(np.mean(logits))
    assert pool_top([1.0, 5.0], 0.01) == 5.0
    assert pool_top([1.0, 2.0, 9.0], 0.01, at_least=2) == 5.5


def test_the_smooth_maximum_lies_between_mean_and_maximum_and_ignores_the_length() -> None:
    logits = [0.0, log(3.0)]
    assert pool_log_sum_exp(logits) == pytest.approx(log(2.0))
    assert pool_log_sum_exp(logits * 50) == pytest.approx(log(2.0))
    assert pool_log_sum_exp(logits, 1e-6) == pytest.approx(np.mean(logits), abs=1e-5)
    assert pool_log_sum_exp([1000.0, 0.0], 50.0) == pytest.approx(1000.0, abs=0.02)


@pytest.mark.parametrize("bad", [[], [nan], [[1.0]]])
def test_nothing_cannot_be_pooled(bad: list[float]) -> None:
    for pool in (pool_top, pool_log_sum_exp):
        with pytest.raises(ValueError, match="logits"):
            pool(bad)


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(Segment(0, 4, 1), Segment(2, 6, 1)) == pytest.approx(2 / 6)
    assert overlap(Segment(0, 1, 1), Segment(1, 2, 1)) == 0.0
    assert overlap(Segment(1, 3, 1), Segment(1, 3, 0.2)) == 1.0


# Clip a has one forged segment, b has two, c is real. At IoU .5 the ranked proposals are:
# .9 a right, .8 c wrong, .7 b right, .6 b wrong (its segment is taken), .5 b wrong (overlaps 1/3 only)
TRUTHS = {"a": [Segment(0, 4, 1)], "b": [Segment(0, 2, 1), Segment(6, 8, 1)], "c": []}
PROPOSALS = {
    "a": [Segment(0, 4, 0.9)],
    "b": [Segment(0, 2, 0.7), Segment(0, 3, 0.6), Segment(7, 9, 0.5)],
    "c": [Segment(1, 3, 0.8)],
}


def test_average_precision_on_a_case_computed_by_hand() -> None:
    # precision at the two right ones: 1/1 and 2/3; three segments are wanted, the third is never found
    assert average_precision_at(PROPOSALS, TRUTHS, 0.5) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision_at(TRUTHS, TRUTHS, 0.95) == 1.0
    assert average_precision_at({}, TRUTHS, 0.5) == 0.0


def test_precision_is_made_monotone_before_its_area_is_taken() -> None:
    truths = {"a": [Segment(0, 1, 1), Segment(2, 3, 1)]}
    proposals = {"a": [Segment(5, 6, 0.9), Segment(0, 1, 0.8), Segment(2, 3, 0.7)]}
    # precisions of the right ones are 1/2 and 2/3: the envelope lifts the first to 2/3
    assert average_precision_at(proposals, truths, 0.5) == pytest.approx(2 / 3)


def test_a_segment_is_found_once_however_often_it_is_proposed() -> None:
    twice = {"a": [Segment(0, 4, 0.9), Segment(0, 4, 0.8)], "b": []}
    truths = {"a": [Segment(0, 4, 1)], "b": [Segment(0, 4, 1)]}
    assert average_precision_at(twice, truths, 0.5) == pytest.approx(0.5)
    assert average_recall_at(twice, truths, 5) == pytest.approx(0.5)


def test_average_recall_on_a_case_computed_by_hand() -> None:
    # one proposal a clip finds a's segment and b's first; b's second is overlapped by 1/3 only
    assert average_recall_at(PROPOSALS, TRUTHS, 1) == pytest.approx(2 / 3)
    # (0, 3) against (0, 4) overlaps by .75: found at .50, .55, ... .75, six of ten thresholds
    assert average_recall_at({"a": [Segment(0, 3, 0.4)]}, {"a": [Segment(0, 4, 1)]}, 1) == pytest.approx(0.6)
    # the right proposal comes second: one proposal does not find it, five do
    second = {"a": [Segment(8, 9, 0.9), Segment(0, 4, 0.1)]}
    assert average_recall_at(second, {"a": [Segment(0, 4, 1)]}, 1) == 0.0
    assert average_recall_at(second, {"a": [Segment(0, 4, 1)]}, 5) == 1.0


def test_where_nothing_is_forged_there_is_no_figure() -> None:
    assert isnan(average_precision_at({}, {"a": []}, 0.5))
    assert isnan(average_recall_at({}, {"a": []}, 1))
    assert set(localisation_figures({}, {"a": []}).values()) == {None}
    assert localisation_figures(TRUTHS, TRUTHS)["ar_at_1"] == pytest.approx(2 / 3, abs=1e-4)


def test_proposals_for_a_clip_without_truth_are_refused() -> None:
    with pytest.raises(ValueError, match="no truth for the clip 'z'"):
        average_precision_at({"z": [Segment(0, 1, 0.5)]}, {"a": []}, 0.5)


@pytest.mark.parametrize("bad", [(1.0, 1.0, 0.5), (2.0, 1.0, 0.5), (0.0, 1.0, 1.5), (-1.0, 1.0, 0.5), (0.0, nan, 0.5)])
def test_segments_that_cannot_be_are_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"segment|confidence"):
        Segment(*bad)
