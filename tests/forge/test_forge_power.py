from __future__ import annotations

from math import isnan, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.power import ASSUMED_ICC, WANTED, PowerNote, Sampled, clips_needed, clips_needed_of, half_width


def simulated(auc: float, people: int, each: int, icc: float, *, same_people: bool = False) -> float:
    """Half-width of the interval of the AUCs of many drawn detectors, with scores that are alike within a person."""
    rng, apart = np.random.default_rng(1), sqrt(2) * NormalDist().inv_cdf(auc)
    found = []
    for _ in range(400):
        of_real = rng.normal(size=people)
        of_synthetic = of_real if same_people else rng.normal(size=people)
        real, synthetic = (
            np.repeat(who, each) * sqrt(icc) + rng.normal(size=people * each) * sqrt(1 - icc)
            for who in (of_real, of_synthetic)
        )
        order = np.argsort(np.concatenate([real, synthetic + apart]))
        ranks = np.empty(len(order))
        ranks[order] = np.arange(1, len(order) + 1)
        wins = ranks[len(real) :].sum() - len(synthetic) * (len(synthetic) + 1) / 2
        found.append(wins / (len(real) * len(synthetic)))
    return 1.96 * float(np.std(found))


@pytest.mark.parametrize(
    ("auc", "people", "each", "icc"),
    [(0.7, 100, 1, 0.0), (0.7, 50, 4, 0.4), (0.8, 20, 10, 0.4), (0.9, 60, 3, 0.8), (0.95, 100, 2, 0.2)],
)
def test_the_interval_that_is_foretold_is_the_one_that_drawn_scores_have(
    auc: float, people: int, each: int, icc: float
) -> None:
    clips = Sampled.of([each] * people)
    told, seen = half_width(auc, clips, clips, icc=icc), simulated(auc, people, each, icc)
    assert 0.92 * seen <= told <= 1.35 * seen, (told, seen)


def test_without_clusters_in_the_formula_the_interval_would_be_far_too_narrow() -> None:
    clustered, single = Sampled.of([10] * 20), Sampled.of([1] * 200)
    assert half_width(0.8, clustered, clustered, icc=0.4) > 1.8 * half_width(0.8, single, single, icc=0.4)


def test_twins_of_the_same_people_are_told_too_wide_an_interval_never_too_narrow_a_one() -> None:
    clips = Sampled.of([4] * 50)
    assert half_width(0.8, clips, clips) > 1.2 * simulated(0.8, 50, 4, ASSUMED_ICC, same_people=True)


def test_equal_numbers_are_hanley_and_mcneils() -> None:
    # by their formula: AUC 0.9, 50 against 50, all independent
    one, two = 0.9 / 1.1, 2 * 0.81 / 1.9
    error = sqrt((0.9 * 0.1 + 49 * (one - 0.81) + 49 * (two - 0.81)) / 2500)
    clips = Sampled.of([1] * 50)
    assert half_width(0.9, clips, clips) == pytest.approx(1.959964 * error, rel=1e-6)


@given(st.sampled_from([0.7, 0.8, 0.9, 0.95]), st.floats(0.01, 0.1), st.integers(1, 8), st.floats(0, 1))
def test_as_many_clips_as_are_asked_for_are_enough_and_one_fewer_is_not(
    auc: float, wanted: float, each: int, icc: float
) -> None:
    needed = clips_needed(auc, wanted, clips_a_person=each, icc=icc)
    effect = 1 + (each - 1) * icc

    def width(count: int) -> float:
        clips = Sampled(count, 1, 1.0) if count else Sampled(0, 0, 0.0)
        independent = Sampled(max(1, round(count / effect)), 1, 1.0)
        return half_width(auc, independent, independent, icc=0.0) if clips.clips else float("nan")

    assert width(needed + each) <= wanted * 1.02
    fewer = width(needed - each - 1) if needed > each + 1 else float("nan")
    assert isnan(fewer) or fewer >= wanted * 0.98


def test_many_clips_of_few_people_are_never_enough() -> None:
    independent = clips_needed(0.9, WANTED)
    assert clips_needed_of(0.9, WANTED, people=round(0.3 * independent)) is None
    some = clips_needed_of(0.9, WANTED, people=round(0.5 * independent))
    assert clips_needed_of(0.9, WANTED, people=independent) == independent
    assert some is not None and some > independent
    clustered = Sampled(some, round(0.5 * independent), some / round(0.5 * independent))
    assert half_width(0.9, clustered, clustered) == pytest.approx(WANTED, rel=0.02)


def test_clusters_are_weighted_by_the_clips_that_are_in_them() -> None:
    assert Sampled.of([3, 0, 1]) == Sampled(4, 2, 2.5)
    assert Sampled.of([]).independent() == 0
    assert Sampled.of([5] * 4).independent(1.0) == 4 and Sampled.of([5] * 4).independent(0.0) == 20


def test_a_note_says_when_there_are_too_few_clips_and_what_enough_would_be() -> None:
    told = PowerNote("test", Sampled.of([2, 2]), Sampled.of([1] * 40)).to_json()
    assert told["half_width_95"] == {"0.7": None, "0.8": None, "0.9": None, "0.95": None}
    assert told["icc_assumed"] == 0.4 and told["real"] == {"clips": 4, "people": 2}
    prices = told["clips_of_each_label_for_0.02"]
    assert isinstance(prices, dict) and prices["0.7"] > prices["0.95"] > 100


@pytest.mark.parametrize(
    ("auc", "icc", "confidence"), [(0.5, 0.4, 0.95), (1.0, 0.4, 0.95), (0.9, 1.1, 0.95), (0.9, 0.4, 1.0)]
)
def test_numbers_that_mean_nothing_are_refused(auc: float, icc: float, confidence: float) -> None:
    clips = Sampled.of([1] * 20)
    with pytest.raises(ValueError, match="must"):
        half_width(auc, clips, clips, icc=icc, confidence=confidence)


def test_clips_that_cannot_be_are_refused() -> None:
    for clips, people, cluster in ((3, 4, 1.0), (3, 0, 1.0), (-1, 0, 1.0), (3, 1, 4.0)):
        with pytest.raises(ValueError, match="got"):
            Sampled(clips, people, cluster)
    with pytest.raises(ValueError, match="half-width"):
        clips_needed(0.9, 0.0)
    with pytest.raises(ValueError, match="at least one person"):
        clips_needed_of(0.9, 0.02, 0)
    with pytest.raises(ValueError, match="ask for a wider one"):
        clips_needed(0.7, 1e-5)
    with pytest.raises(ValueError, match="share"):
        PowerNote("test", Sampled.of([1]), Sampled.of([1]), icc=2)
