import numpy as np
import pytest

from detect.describing import cautious_threshold, rates_at
from detect.metrics import threshold_for_false_alarms


def people_at_hand() -> tuple[list[bool], list[float], list[str]]:
    """Thirty real people with two clips each, one of them always suspicious, and thirty synthetic clips."""
    rng = np.random.default_rng(0)
    labels, values, people = [], [], []
    for n in range(60):
        labels.append(False)
        people.append(f"p{n // 2}")
        values.append(0.9 if n // 2 == 0 else float(rng.uniform(0.0, 0.6)))
    for n in range(30):
        labels.append(True)
        people.append(f"s{n}")
        values.append(float(rng.uniform(0.3, 1.0)))
    return labels, values, people


def test_a_cautious_threshold_is_not_lower_than_that_of_the_people_at_hand() -> None:
    labels, values, people = people_at_hand()
    at_hand = threshold_for_false_alarms(labels, values, 0.05)
    cautious = cautious_threshold(labels, values, people)
    assert cautious >= at_hand and cautious > 0.9
    assert cautious == cautious_threshold(labels, values, people)


def test_rates_are_shares_of_each_label_at_the_threshold() -> None:
    labels, values = [True, True, True, False, False], [0.9, 0.7, 0.2, 0.7, 0.1]
    assert rates_at(0.7, labels, values) == {"detection": 0.6667, "false_alarms": 0.5, "real_clips": 2}
    assert rates_at(0.7, [True, True], [0.1, 0.9]) is None


def test_one_suspicious_person_alone_does_not_make_everybody_safe() -> None:
    labels, values, people = people_at_hand()
    without = [n for n, p in enumerate(people) if p != "p0"]
    lower = cautious_threshold(*([column[n] for n in without] for column in (labels, values, people)))
    assert lower < 0.7 < cautious_threshold(labels, values, people)
    assert lower == pytest.approx(0.6, abs=0.08)
