"""How evenly a face changes from frame to frame: whether its motion and texture come in bursts or flow.

A person moves in bursts and rests; a generator that draws from a smooth motion changes its picture at an even pace, and
one that draws each frame anew makes it tremble. So both ends tell: `detect.models.forest` learns which, from forgeries
of both kinds.

Doubled frames (24 frames a second stored as 25) would pass for bursts and are dropped first.

Axes: T frames, B frequency bands, R regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from media.clip import UInt8Array

Array = NDArray[np.float64]

MEASURES = ("reach", "middle", "peak", "jumps", "next", "third")
"""Of a positive series: 90th over 10th percentile, upper over lower quartile, largest over median, mean step over mean
(all as logarithms, but the last); autocorrelation of its logarithm at one and three frames."""
PACE_BANDS = 3
"""Frequency bands of the differences between frames, the finest first."""
LEAST_DISTINCT = 12
"""Frames that a second must keep after doubled ones are dropped; one with fewer is taken as it is."""


def pace_names(regions: Sequence[str], motions: Sequence[str]) -> tuple[str, ...]:
    """Order of the values of `pace_features`.

    Args:
        regions: parts of the face; `face` as a whole comes after them.
        motions: rigid motions of the head.
    """
    names: list[str] = []
    for region in (*regions, "face"):
        for kind in ("step", *(f"step{band}" for band in range(PACE_BANDS))):
            names += [f"{kind}_{region}_{m}" for m in MEASURES]
    names += [f"{kind}_{m}" for kind in (*(f"flow_{r}" for r in regions), "shift", "rotation") for m in MEASURES]
    return (*names, *(f"steady{lag}_{m}" for m in motions for lag in (1, 2)))


def distinct_frames(frames_THW3: UInt8Array) -> UInt8Array:
    """The frames without those that repeat the one before, unless that leaves fewer than `LEAST_DISTINCT`."""
    small = [
        cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
        for f in frames_THW3
    ]
    step = np.array([np.abs(b - a).mean() for a, b in pairwise(small)])
    kept = np.append(True, step > 0.25 * np.median(step) + 0.02)
    return frames_THW3[kept] if kept.sum() >= LEAST_DISTINCT else frames_THW3


def pace(series_T: Array, noise: float) -> list[float]:
    """`MEASURES` of a series of positive values; `noise` is added, so that rest does not count as infinitely slow."""
    x = series_T + noise
    p10, p25, p75, p90 = np.percentile(x, (10, 25, 75, 90))
    logs = np.log(x) - np.log(x).mean()
    spread = float((logs**2).mean()) + 1e-6
    out = [np.log(p90 / p10), np.log(p75 / p25), np.log(x.max() / np.median(x))]
    out += [np.log(np.abs(np.diff(x)).mean() / x.mean() + 1e-3)]
    out += [(logs[lag:] * logs[:-lag]).mean() / spread for lag in (1, 3)]
    return [float(v) for v in out]


def pace_features(steps_TR: Array, bands_TBR: Array, flow_TR: Array, motion_TM: Array) -> list[float]:
    """In the order of `pace_names`.

    Args:
        steps_TR: mean absolute luma difference to the frame before, by region and for the whole face, grey levels.
        bands_TBR: root mean square of its frequency bands.
        flow_TR: speed of what rigid motion does not explain, by region, pixels a frame.
        motion_TM: x, y, turn, zoom, yaw, pitch in each frame, parts of the side and radians.
    """
    out: list[float] = []
    for r in range(steps_TR.shape[1]):
        out += pace(steps_TR[:, r], 0.05)
        for b in range(PACE_BANDS):
            out += pace(bands_TBR[:, b, r], 0.05)
    for r in range(flow_TR.shape[1]):
        out += pace(flow_TR[:, r], 0.01)
    out += pace(np.linalg.norm(motion_TM[:, [0, 1]], axis=1), 2e-4)
    out += pace(np.linalg.norm(motion_TM[:, [2, 4, 5]], axis=1), 4e-4)
    for m in range(motion_TM.shape[1]):
        v = motion_TM[:, m]
        power = float((v**2).sum()) + 1e-9
        out += [float((v[lag:] * v[:-lag]).sum()) / power for lag in (1, 2)]
    return out
