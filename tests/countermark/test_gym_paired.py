"""Differences of two detectors on the same clips: figures, intervals over people, and many comparisons at once."""

import numpy as np
import pytest

from countermark.gym_paired import FEWEST_PEOPLE, GAUGES, Pairs, compare, holm, resamples
from detect import metrics

EACH = {
    "auc": metrics.roc_auc,
    "tpr_at_5_percent_fpr": lambda y, p: metrics.rate_at_false_alarms(y, p, 0.05),
    "tpr_at_threshold": lambda y, p: metrics.detection_rate(y, p, 0.4),
    "fpr_at_threshold": lambda y, p: metrics.false_alarm_rate(y, p, 0.4),
    "ece": metrics.expected_calibration_error,
}


def everybody(before: list[float], after: list[float], *, each: int = 1) -> Pairs:
    """One synthetic clip (or `each` equal ones) of each of so many people."""
    people = [f"p{n}" for n in range(len(before)) for _ in range(each)]
    return Pairs.of([True] * len(people), np.repeat(before, each), np.repeat(after, each), people)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("ties", [False, True])
def test_a_weighted_figure_is_the_metric_of_so_many_copies(name: str, ties: bool) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        count = int(rng.integers(3, 60))
        label_N = rng.random(count) < 0.5
        score_N = np.round(rng.random(count), 1 if ties else 9)
        weight_BN = rng.integers(0, 4, (4, count)).astype(np.float64)
        found = GAUGES[name].figure(label_N, score_N, weight_BN, 0.4)
        for value, weight_N in zip(found, weight_BN.astype(int), strict=True):
            copies = np.repeat(label_N, weight_N), np.repeat(score_N, weight_N)
            assert value == pytest.approx(EACH[name](*copies), abs=1e-9, nan_ok=True)


def test_people_are_drawn_whole_and_as_many_as_there_are() -> None:
    people = ["a", "a", "b", "c", "c", "c"]
    weight_BN = np.concatenate(list(resamples(people, 500, 0)))
    assert weight_BN.shape == (500, 6)
    assert (weight_BN[:, 0] == weight_BN[:, 1]).all() and (weight_BN[:, 3] == weight_BN[:, 5]).all()
    assert (weight_BN[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_the_interval_of_a_share_is_the_one_of_the_binomial() -> None:
    # nobody was found before, 60 of 100 are now: 0.6 +- 1.96 sqrt(0.6 * 0.4 / 100)
    change = compare(
        GAUGES["tpr_at_threshold"], everybody([0.1] * 100, [0.9] * 60 + [0.1] * 40), (0.5, 0.5), draws=4000
    )
    assert change.difference.value == pytest.approx(0.6)
    assert change.difference.low == pytest.approx(0.504, abs=0.02)
    assert change.difference.high == pytest.approx(0.696, abs=0.02)


def test_what_is_hard_about_a_person_cancels_out() -> None:
    # half are found before; after, the same ones and 20 more: paired +- 1.96 * 0.04, unpaired it would be 0.134
    before = [0.9] * 50 + [0.1] * 50
    change = compare(GAUGES["tpr_at_threshold"], everybody(before, [0.9] * 70 + [0.1] * 30), (0.5, 0.5), draws=4000)
    half = (change.difference.high - change.difference.low) / 2
    assert half == pytest.approx(1.96 * 0.04, abs=0.01)


def test_ten_clips_of_a_person_prove_no_more_than_one() -> None:
    one, ten = (
        compare(
            GAUGES["tpr_at_threshold"],
            everybody([0.1] * 20, [0.9] * 8 + [0.1] * 12, each=each),
            (0.5, 0.5),
            draws=1000,
        ).difference
        for each in (1, 10)
    )
    assert (one.low, one.high) == (ten.low, ten.high)


def test_each_detector_is_measured_at_its_own_threshold() -> None:
    pairs = everybody([0.5] * 10, [0.5] * 10)
    change = compare(GAUGES["tpr_at_threshold"], pairs, (0.4, 0.6), draws=100)
    assert (change.before.value, change.after.value, change.difference.value) == (1.0, 0.0, -1.0)


def test_the_same_detector_twice_makes_no_difference() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(60)
    pairs = Pairs.of(rng.random(60) < 0.5, scores, scores, [f"p{n // 2}" for n in range(60)])
    for gauge in GAUGES.values():
        change = compare(gauge, pairs, (0.5, 0.5), draws=200)
        assert (change.difference.value, change.difference.low, change.difference.high) == (0.0, 0.0, 0.0)
        assert change.p == 1.0


def test_few_people_who_all_agree_prove_no_more_than_so_many_coins() -> None:
    change = compare(GAUGES["tpr_at_threshold"], everybody([0.1] * 6, [0.9] * 6), (0.5, 0.5), draws=2000)
    assert change.p == pytest.approx(2 * 0.5**6)
    assert change.difference.low == 1.0


def test_with_too_few_clips_or_people_there_is_a_reason_and_no_figure() -> None:
    few = compare(GAUGES["tpr_at_threshold"], everybody([0.1] * 3, [0.9] * 3), (0.5, 0.5), draws=100)
    assert not few.difference.scored and few.difference.reason == "3 synthetic clips, 6 are needed"
    same = everybody([0.1] * (FEWEST_PEOPLE - 1), [0.9] * (FEWEST_PEOPLE - 1), each=5)
    crowd = compare(GAUGES["tpr_at_threshold"], same, (0.5, 0.5), draws=100)
    assert crowd.difference.reason == "synthetic clips of 5 people, 6 are needed" and crowd.p == 1.0
    both = Pairs.of([True] * 10 + [False] * 10, [0.5] * 20, [0.6] * 20, [f"p{n}" for n in range(20)])
    alarm = compare(GAUGES["tpr_at_5_percent_fpr"], both, (0.5, 0.5), draws=100)
    assert alarm.difference.reason == "10 real clips, 20 are needed"
    assert compare(GAUGES["ece"], both, (0.5, 0.5), draws=100).difference.reason == "20 clips, 50 are needed"


def test_two_equally_good_detectors_differ_in_one_of_twenty_trials() -> None:
    rng = np.random.default_rng(5)
    people = [f"p{n // 3}" for n in range(180)]
    label_N = np.arange(180) % 2 == 0
    hits = 0
    for trial in range(200):
        kind = np.repeat(rng.normal(0, 0.5, 60), 3) + label_N
        one, other = (1 / (1 + np.exp(-(kind + rng.normal(0, 0.7, 180)))) for _ in range(2))
        pairs = Pairs.of(label_N, one, other, people)
        moved = compare(GAUGES["auc"], pairs, (0.5, 0.5), draws=200, seed=trial).difference
        hits += not moved.low <= 0 <= moved.high
    assert 2 <= hits <= 22


def test_answers_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        Pairs.of([True], [0.5, 0.6], [0.5], ["a"])
    with pytest.raises(ValueError, match="abstentions"):
        Pairs.of([True], [float("nan")], [0.5], ["a"])


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7, 0.9]) == [1.0, 1.0]
