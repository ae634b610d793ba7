"""What can happen to the order and the rate of pictures: lost, doubled, frozen. Each takes a clip and a level.

Named and listed in `media.perturb`; see there first. Frames are counted in int64: narrow integers wrap after 255.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from media.clip import Clip
from media.perturb_pictures import in_range
from media.timing import nearest_standard_rate, slots

IndexArray = NDArray[np.int64]


def fps(clip: Clip, rate: float) -> Clip:
    """Another rate, by dropping or repeating."""
    new = nearest_standard_rate(Fraction(in_range("fps", rate, 1, 240)))
    timed = ((index / clip.fps, index) for index in range(clip.length))
    chosen = [index for _, index in slots(timed, new, lambda: clip.duration_seconds)]
    return Clip(clip.frames[chosen], new, clip.sound)


def struck(length: int, share: float, seed: int) -> IndexArray:
    """Which frames something happens to: a share of them, ascending, never the first; one at least for a share > 0."""
    count = min(length - 1, max(1, round(share * length))) if share > 0 else 0
    chosen = np.random.default_rng(seed).permutation(np.arange(1, length, dtype=np.int64))[:count]
    return np.sort(chosen)


def freeze(clip: Clip, share: float, seed: int) -> Clip:
    """Lost frames show the one before; a few in a row stand still longer."""
    in_range("freeze", share, 0, 0.95)
    order = np.arange(clip.length, dtype=np.int64)
    order[struck(clip.length, share, seed)] = 0
    return Clip(clip.frames[np.maximum.accumulate(order)], clip.fps, clip.sound)


def drop(clip: Clip, share: float, seed: int) -> Clip:
    """Frames taken out, the rest moves up: the pictures run ahead of the sound."""
    in_range("drop", share, 0, 0.95)
    kept = np.delete(np.arange(clip.length, dtype=np.int64), struck(clip.length, share, seed))
    return Clip(clip.frames[kept], clip.fps, clip.sound)


def duplicate(clip: Clip, share: float, seed: int) -> Clip:
    """Frames shown twice, the rest moves back: the pictures lag behind the sound; the end is cut off."""
    in_range("duplicate", share, 0, 0.95)
    times = np.ones(clip.length, np.int64)
    times[struck(clip.length, share, seed)] = 2
    order = np.repeat(np.arange(clip.length, dtype=np.int64), times)[: clip.length]
    return Clip(clip.frames[order], clip.fps, clip.sound)
