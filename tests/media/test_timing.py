"""Frame rates and ticks at their edges."""

from __future__ import annotations

from fractions import Fraction

import pytest

from media.timing import nearest_standard_rate, rate_of, slots

NTSC = Fraction(30_000, 1001)


@pytest.mark.parametrize(
    ("measured", "rate"),
    [
        (Fraction(2997, 100), NTSC),
        (Fraction(23_976, 1000), Fraction(24_000, 1001)),
        (Fraction(30_001, 1000), Fraction(30)),
        (Fraction(25), Fraction(25)),
        (Fraction(59_940, 1000), Fraction(60_000, 1001)),
        (Fraction(2750, 100), Fraction(55, 2)),
    ],
)
def test_a_measured_rate_snaps_only_to_what_cameras_use(measured: Fraction, rate: Fraction) -> None:
    assert nearest_standard_rate(measured) == rate


def test_jitter_of_the_clock_is_no_variation_but_a_lost_picture_is() -> None:
    tick = Fraction(1, 1000)
    steady = [Fraction(round(1000 * i / 30), 1000) for i in range(90)]
    assert rate_of(steady, None, tick) == (Fraction(30), False)
    assert rate_of([t for t in steady if t != steady[40]], Fraction(2966, 100), tick) == (Fraction(30), True)
    assert rate_of([i / NTSC for i in range(9)], None, Fraction(1, 30_000)) == (NTSC, False)
    assert rate_of([Fraction(0)], None, tick) == (Fraction(25), False)
    assert rate_of([Fraction(0), Fraction(5), Fraction(20)], None, tick) == (Fraction(1), True)
    assert rate_of([Fraction(i, 240) for i in (0, 1, 2, 3, 90)], None, tick) == (Fraction(60), True)


def placed(moments: list[Fraction], fps: Fraction, end: Fraction) -> list[int]:
    ticks = list(slots(((moment, i) for i, moment in enumerate(moments)), fps, lambda: end))
    assert [tick for tick, _ in ticks] == list(range(len(ticks)))
    return [thing for _, thing in ticks]


def test_things_go_to_their_nearest_tick() -> None:
    at_25 = [Fraction(i, 25) for i in range(10)]
    assert placed(at_25, Fraction(25), Fraction(10, 25)) == list(range(10))
    assert placed(at_25, Fraction(50), Fraction(10, 25)) == [i // 2 for i in range(20)]
    assert placed(at_25, Fraction(5), Fraction(10, 25)) == [0, 5]
    at_60 = [Fraction(i, 60) for i in range(10)]
    assert placed(at_60, Fraction(30), Fraction(10, 60)) == [0, 2, 4, 6, 8]


def test_a_gap_repeats_the_latest_thing_not_the_nearest() -> None:
    assert placed([Fraction(0), Fraction(4, 100), Fraction(1, 2)], Fraction(10), Fraction(6, 10)) == [0, 1, 1, 1, 1, 2]


def test_a_single_thing_is_shown_at_least_once_and_nothing_never() -> None:
    assert placed([Fraction(0)], Fraction(10), Fraction(1, 1000)) == [0]
    assert placed([Fraction(0)], Fraction(10), Fraction(3, 10)) == [0, 0, 0]
    assert placed([], Fraction(10), Fraction(0)) == []
