"""The arithmetic of frame rates and timestamps, in exact fractions; knows no files.

rate_of(times, declared, tick)     # (30000/1001, False)
list(slots([(Fraction(0), "a"), (Fraction(1, 10), "b")], Fraction(20), lambda: Fraction(1, 5)))
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

Thing = TypeVar("Thing")


def nearest_standard_rate(rate: Fraction) -> Fraction:
    """The whole or NTSC rate (n, n * 1000/1001) within 2 in 10,000 of a measured one, else the rate itself.

    Containers that count milliseconds tell 29.97 or 30.0003 where the camera ran at 30000/1001 or 30.
    """
    for candidate in (Fraction(max(1, round(rate))), Fraction(max(1, round(rate * 1001 / 1000)) * 1000, 1001)):
        if abs(rate - candidate) <= candidate / 5000:
            return candidate
    return rate.limit_denominator(100_000)


def rate_of(timestamps: list[Fraction], declared: Fraction | None, tick: Fraction) -> tuple[Fraction, bool]:
    """The frame rate that timestamps tell, and whether it varies.

    Args:
        timestamps: presentation or decoding times in seconds, ascending.
        declared: the container's average rate, if it has one.
        tick: the container's clock step in seconds; jitter up to 1.5 steps or 10 % is no variation.

    Returns:
        (rate, varies); of a varying rate what most steps tell, 1 to 60: a phone that drops a picture now and then
        runs at 30, not at its average of 29.2.
    """
    steps = [b - a for a, b in pairwise(timestamps) if b > a]
    if not steps:
        return (nearest_standard_rate(declared) if declared else Fraction(25)), False
    usual = statistics.median_low(steps)
    if all(step == usual for step in steps):
        return nearest_standard_rate(1 / usual), False
    if any(abs(step - usual) > max(tick * Fraction(3, 2), usual / 10) for step in steps):
        typical = [step for step in steps if abs(step - usual) <= max(tick * Fraction(3, 2), usual / 10)]
        rate = nearest_standard_rate(len(typical) / sum(typical, Fraction(0)))
        return min(max(rate, Fraction(1)), Fraction(60)), True
    return nearest_standard_rate(declared or len(steps) / sum(steps, Fraction(0))), False


def slots(
    times: Iterable[tuple[Fraction, Thing]], fps: Fraction, end: Callable[[], Fraction]
) -> Iterator[tuple[int, Thing]]:
    """Put timed things on the ticks of a constant rate.

    Each thing belongs to its nearest tick, and of several on one tick the nearest is shown; a tick without one
    repeats the latest. Rounding to the nearest tick, not down, keeps the jitter of millisecond clocks from doubling
    one picture and losing the next.

    Args:
        times: (seconds since the first thing, thing), ascending.
        fps: the constant rate.
        end: asked once, after the last thing: when it goes, in seconds.

    Yields:
        (tick, thing) for every tick 0, 1, 2, ... up to the end, at least one.
    """
    tick = 0
    nearest: list[tuple[Fraction, Thing]] = []
    latest: list[Thing] = []
    for seconds, thing in times:
        position = seconds * fps
        slot = max(int(position + Fraction(1, 2)), tick)
        if slot > tick and latest:
            yield tick, nearest[0][1]
            for empty in range(tick + 1, slot):
                yield empty, latest[0]
            nearest = []
        tick, latest = slot, [thing]
        distance = abs(position - slot)
        if not nearest or distance < nearest[0][0]:
            nearest = [(distance, thing)]
    if latest:
        stop = max(1, round(end() * fps))
        for last in range(tick, stop):
            yield last, nearest[0][1] if last == tick else latest[0]
