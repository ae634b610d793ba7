"""Which frames to look at: pure arithmetic over plain numbers.

    spread_indices(270, 4)   # array([ 33, 101, 168, 236])

Evenly spread means over the whole length. The first N frames, or every k-th frame cut off at N, are not evenly spread.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

IndexArray = NDArray[np.int64]


def spread_indices(length: int, count: int) -> IndexArray:
    """The frames in the middle of `count` equal parts of a clip.

    int64, because narrow integers wrap after 255 or 32,767 frames without a word.

    Args:
        length: number of frames of the clip.
        count: how many to take; when the clip is shorter, every frame is taken once.

    Returns:
        (min(count, length),) strictly increasing indices in [0, length).

    Raises:
        ValueError: for a negative length or a count below one.
    """
    if length < 0:
        raise ValueError(f"length must not be negative, got {length}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    count = min(count, length)
    part = np.arange(count, dtype=np.int64)
    return (2 * part + 1) * length // (2 * count) if count else part


def spread_bursts(length: int, count: int, burst: int) -> IndexArray:
    """Runs of consecutive frames, evenly spread over a clip and never overlapping.

    Args:
        length: number of frames of the clip.
        count: how many runs to take; fewer when the clip cannot hold as many.
        burst: consecutive frames in a run.

    Returns:
        (R, burst) indices, R = min(count, length // burst).

    Raises:
        ValueError: for a negative length, a count or a burst below one.
    """
    if burst < 1:
        raise ValueError(f"burst must be at least 1, got {burst}")
    if length < 0:
        raise ValueError(f"length must not be negative, got {length}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    runs = min(count, length // burst)
    if runs == 0:
        return np.zeros((0, burst), np.int64)
    part = np.arange(runs, dtype=np.int64)
    edges = part * length // runs
    slack = (part + 1) * length // runs - edges - burst
    return (edges + slack // 2)[:, None] + np.arange(burst, dtype=np.int64)


def due_ticks(pts_seconds: float, rate: Fraction, previous: int) -> int:
    """The sampling tick a frame falls on, or -1 when its tick is already taken.

    A stream of unknown length is sampled by its own clock, so variable frame rates stay evenly spread in time.

    Args:
        pts_seconds: when the frame is shown.
        rate: wanted samples a second.
        previous: tick of the last frame taken, -1 before the first.

    Raises:
        ValueError: for a rate that is not positive.
    """
    if rate <= 0:
        raise ValueError(f"rate must be positive, got {rate}")
    # half a millisecond of grace: containers round times, and 0.1999 s is meant to be 0.2 s
    tick = int((pts_seconds + 0.0005) * float(rate))
    return tick if tick > previous else -1
