from math import isnan

import numpy as np
import pytest

from detect import metrics


def test_auc_counts_ties_as_half() -> None:
    assert metrics.roc_auc([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]) == pytest.approx(0.875)
    assert metrics.roc_auc([0, 1], [0.5, 0.5]) == 0.5


def test_auc_agrees_with_the_count_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.random(60) < 0.4, np.round(rng.random(60), 1)
    pairs = [(s > r) + 0.5 * (s == r) for s in scores[labels] for r in scores[~labels]]
    assert metrics.roc_auc(labels, scores) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("metric", [metrics.roc_auc, metrics.equal_error_rate])
def test_one_label_alone_is_unscored_with_a_reason_and_never_one_half(metric: metrics.Metric) -> None:
    assert isnan(metric(np.array([True, True]), np.array([0.2, 0.8])))
    answer = metrics.measure(metric, [True, True], [0.2, 0.8])
    assert not answer.scored and "only synthetic" in answer.reason
    assert answer.to_json()["value"] is None


def test_nothing_scored_is_unscored() -> None:
    assert metrics.measure(metrics.brier, [], []).reason == "nothing was scored"


def test_abstentions_must_be_left_out() -> None:
    with pytest.raises(ValueError, match="finite"):
        metrics.roc_auc([0, 1], [0.5, float("nan")])


def test_equal_error_rate_of_a_perfect_and_of_a_reversed_detector() -> None:
    assert metrics.equal_error_rate([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == 0.0
    assert metrics.equal_error_rate([0, 0, 1, 1], [0.8, 0.9, 0.1, 0.2]) == 1.0
    assert metrics.equal_error_rate([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4]) == pytest.approx(0.5)


def test_average_precision_lets_ties_enter_together() -> None:
    assert metrics.average_precision([1, 0, 1, 0], [0.9, 0.9, 0.5, 0.1]) == pytest.approx(0.5 * 0.5 + 0.5 * 2 / 3)


def test_detection_rate_at_a_tolerated_share_of_false_alarms() -> None:
    labels = [0] * 20 + [1] * 4
    scores = [*np.linspace(0, 0.5, 19), 0.95, 0.3, 0.6, 0.7, 0.99]
    assert metrics.rate_at_false_alarms(labels, scores, 0.01) == 0.25
    assert metrics.rate_at_false_alarms(labels, scores, 0.05) == 0.75


def test_the_threshold_keeps_its_promise_on_the_clips_it_was_chosen_on() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.random(200) < 0.5, np.round(rng.random(200), 2)
    for rate in (0.0, 0.05, 0.2):
        threshold = metrics.threshold_for_false_alarms(labels, scores, rate)
        assert metrics.false_alarm_rate(labels, scores, threshold) <= rate


def test_calibration_error_is_zero_for_honest_and_large_for_boastful_probabilities() -> None:
    labels = np.tile([0, 1], 50)
    assert metrics.expected_calibration_error(labels, np.full(100, 0.5)) == pytest.approx(0.0)
    assert metrics.expected_calibration_error(labels, np.full(100, 0.99)) == pytest.approx(0.49)
    assert metrics.brier([1, 0], [1.0, 0.0]) == 0.0


def test_intervals_widen_when_clips_of_one_person_are_kept_together() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 60)
    person = np.repeat(np.arange(12), 10)
    scores = labels * 0.5 + rng.normal(0, 0.6, 12)[person] + rng.normal(0, 0.05, 120)
    alone = metrics.measure(metrics.roc_auc, labels, scores, draws=300)
    together = metrics.measure(metrics.roc_auc, labels, scores, [str(p) for p in person], draws=300)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_the_same_detector_twice_differs_by_nothing() -> None:
    labels, scores = [0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9]
    assert metrics.compare_auc(labels, scores, scores) == (0.0, 1.0)


def test_a_clearly_better_detector_is_told_from_chance() -> None:
    rng = np.random.default_rng(3)
    labels = np.tile([0, 1], 100)
    difference, p = metrics.compare_auc(labels, labels + rng.normal(0, 0.4, 200), rng.random(200))
    assert difference > 0.3 and p < 0.001


def test_a_paired_difference_is_told_where_two_intervals_overlap() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 100)
    person = [str(p) for p in np.repeat(np.arange(40), 5)]
    hard = rng.normal(0, 0.8, 40).repeat(5) + rng.normal(0, 0.3, 200)
    good, better = labels + hard, 1.3 * labels + hard
    one, other = (metrics.measure(metrics.roc_auc, labels, s, person, draws=300) for s in (good, better))
    assert other.low < one.high  # side by side they look alike
    difference = metrics.measure_difference(metrics.roc_auc, labels, better, good, person, draws=300)
    assert difference.value == pytest.approx(other.value - one.value)
    assert difference.low > 0
    same = metrics.measure_difference(metrics.roc_auc, labels, good, good, person, draws=50)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert not metrics.measure_difference(metrics.roc_auc, [1, 1], [0.1, 0.2], [0.3, 0.4]).scored


def test_partial_auc_is_one_half_for_chance_and_one_for_perfection() -> None:
    labels = [0] * 50 + [1] * 50
    assert metrics.partial_auc(labels, [0.0] * 50 + [1.0] * 50, 0.05) == pytest.approx(1.0)
    assert metrics.partial_auc(labels, [0.5] * 100, 0.05) == pytest.approx(0.5)
    assert metrics.partial_auc([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], 1.0) == pytest.approx(0.75)
    # all that counts is the part with few false alarms: half of the clips is found there, by hand
    assert metrics.partial_auc([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], 0.5) == pytest.approx(
        0.5 * (1 + (0.25 - 0.125) / (0.5 - 0.125))
    )


def test_too_few_real_clips_leave_one_in_a_thousand_open() -> None:
    labels, scores = [0] * 100 + [1] * 10, [*np.linspace(0, 0.5, 100), *np.linspace(0.4, 1.0, 10)]
    assert metrics.found_at_false_alarms(labels, scores, 0.01, draws=50).scored
    open_question = metrics.found_at_false_alarms(labels, scores, 0.001)
    assert isnan(open_question.value)
    assert open_question.reason == "100 real clips cannot tell 0.1% of false alarms: 1000 are needed"


def test_a_flag_is_worth_little_where_synthetic_files_are_rare() -> None:
    worth, safe = metrics.predictive_values(0.9, 0.05, 0.01)
    assert worth == pytest.approx(0.009 / (0.009 + 0.0495))
    assert safe == pytest.approx(0.9405 / (0.9405 + 0.001))
    assert metrics.predictive_values(0.9, 0.05, 0.5)[0] == pytest.approx(0.9 / 0.95)
    assert isnan(metrics.predictive_values(0.0, 0.0, 0.5)[0])
    for wrong in ((1.1, 0.0, 0.5), (0.5, -0.1, 0.5), (0.5, 0.5, 0.0), (0.5, 0.5, 1.0)):
        with pytest.raises(ValueError, match="got"):
            metrics.predictive_values(*wrong)


def test_the_newsroom_reads_how_many_of_a_hundred_flagged_files_are_synthetic() -> None:
    told = metrics.flags_in_words(0.9, 0.05, 0.01)
    assert told == "Of 100 files flagged among uploads of which 1% are synthetic, about 15 are."
    assert "fewer than 1 are" in metrics.flags_in_words(0.5, 0.5, 0.001)
    assert "nearly all are" in metrics.flags_in_words(0.9, 0.0, 0.01)
    assert "no file" in metrics.flags_in_words(0.0, 0.0, 0.01)


def test_withholding_unsure_answers_lowers_the_risk_of_those_kept() -> None:
    # surest first: right, right, wrong, right
    curve = metrics.risk_coverage([1, 0, 1, 0], [0.99, 0.05, 0.2, 0.4])
    assert curve.coverages == (0.25, 0.5, 0.75, 1.0)
    assert curve.risks == pytest.approx((0.0, 0.0, 1 / 3, 0.25))
    assert curve.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)
    assert curve.risk_at(0.6) == pytest.approx(1 / 3)
    assert curve.to_json()["risk_at_1"] == 0.25


def test_a_confidence_of_its_own_may_order_the_answers_and_ties_stay_together() -> None:
    curve = metrics.risk_coverage([1, 0, 1, 0], [0.99, 0.05, 0.2, 0.4], confidences=[1, 1, 0, 0])
    assert curve.coverages == (0.5, 1.0)
    assert curve.area == pytest.approx((0 * 2 + 0.25 * 2) / 4)
    assert isnan(metrics.risk_coverage([], []).area)
    with pytest.raises(ValueError, match="as many as labels"):
        metrics.risk_coverage([1, 0], [0.5, 0.5], confidences=[1])


def test_few_clips_show_a_calibration_error_even_when_every_probability_is_true() -> None:
    few, many = np.linspace(0.05, 0.95, 50), np.linspace(0.05, 0.95, 5000)
    assert 0.08 < metrics.calibration_error_of_chance(few) < 0.2
    assert metrics.calibration_error_of_chance(many) < 0.02
    assert np.isnan(metrics.calibration_error_of_chance([]))
