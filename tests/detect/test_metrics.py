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
