"""How like two prints are, and whether that is more than chance or another take would give.

    likeness = compare(copy, original)       # correlations of scene, motion and sound, and the chance of a false match
    name, likeness = nearest(copy, store)    # the original of a store that a copy is most like

How it works, told once (`provenance.fingerprint` makes the prints):

1. A copy may be cropped: its scene is laid over that of the original at seventeen crops, and where that looks
   promising the crop is made finer, between cells.
2. It may be cut: its motion and its sound are laid over those of the original at every eighth of a second, its own
   eighths begun at four moments.
3. A clip that moves matches by its motion alone, in its own scene. Neither the sound nor the scene can stand in for it:
   portraits and speeches are used again, and another take shares both. How near the motion must come follows from how
   much there is of it: an encoder's noise hides small movements, not large ones.
4. What has no motion matches by its sound, in its own scene if it has one; a still picture by its scene.
5. Chance is what clips that are not the same gave (`benchmarks.durable`), times the number of trials. A copy that is
   like nothing is tried once more with left and right swapped (`compare_mirrored`).

A likeness says what the original was. How far the copy differs is part of the answer, and no small difference proves
that nothing was altered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import atanh, erfc, sqrt
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from provenance.fingerprint import LOOK, MOTION, RATE, SOUND_RATE, Fingerprint, changes

Int8Array = NDArray[np.int8]
FloatArray = NDArray[np.float32]
Name = TypeVar("Name", bound=str | int)
Crop = tuple[float, float, float]
"""Side of the copy in those of the original, above 1 for added borders; how far its middle lies down and to the right
of the original's, in sides of the original."""

_WHOLE: Final[Crop] = (1.0, 0.0, 0.0)
CROPS: Final[tuple[Crop, ...]] = tuple(
    (share, 0.0, 0.0) for share in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 1.05, 1.1, 1.2)
) + tuple(
    (share, down * (1 - share) / 2, across * (1 - share) / 2)
    for share in (0.9, 0.8)
    for down in (-1, 1)
    for across in (-1, 1)
)
"""Crops that are tried: about the middle, or in a corner."""
_SOFTNESS = 0.8
"""Cells by which motion is blurred before it is compared: a crop does not cut along cells."""
_WORTH_A_CLOSER_LOOK = 0.35
"""Correlation of motion from which on the crop is made finer and the beginning of the copy is looked for."""
_SAME_SCENE = 0.8
"""Correlation of scenes: copies gave .92 and more, nineteen in twenty pairs of different clips less than .67."""

FALSE_ALARM: Final = 1e-4
"""Largest chance, over a whole store, with which a likeness is still believed."""


@dataclass(frozen=True)
class Likeness:
    """How like an original a copy is; correlations from -1 to 1, None where one of the two has nothing to compare."""

    look: float | None = None
    motion: float | None = None
    sound: float | None = None
    seconds: float = 0.0
    """Of motion or sound that were compared."""
    starts_at: float = 0.0
    """Second of the original at which the copy begins."""
    false_chance: float = 1.0
    """Chance that another clip would have come as near, all trials of one comparison counted."""
    is_other_take: bool = False
    """The motion is too different for a copy: the same face, perhaps the same words, filmed or made another time."""
    is_unclear: bool = False
    """The motion is as different as in few copies, so that it may be an altered copy, or another take made alike; or
    only the sound of an original with pictures was compared, which others may share."""

    is_mirrored: bool = False
    """Left and right are swapped in the copy."""

    def passes(self, store_size: int = 1) -> bool:
        """Whether the copy is taken for one of this original, which was the best of so many."""
        return self.false_chance * max(1, store_size) <= FALSE_ALARM

    @property
    def difference(self) -> float:
        """0 for the same, 1 for nothing in common: one minus the mean of what could be compared."""
        parts = [max(0.0, one) for one in (self.look, self.motion, self.sound) if one is not None]
        return 1.0 - sum(parts) / len(parts) if parts else 1.0


def compare(copy: Fingerprint, original: Fingerprint) -> Likeness:
    """How like an original a copy is, over all crops and all cuts in time."""
    look, crop = look_likeness(copy, original)
    moved = _Moved.compared(copy, original, crop)
    sound, sound_at, sound_steps = _sound_likeness(copy.sound_AK, original.sound_AK)
    is_elsewhere = look is not None and look <= _SAME_SCENE
    chance, is_other_take = 1.0, False
    is_unclear = moved is not None and moved.correlation < moved.usual
    if moved is not None:
        is_other_take = moved.correlation < moved.least
        if not is_other_take and not is_elsewhere:
            chance = _chance_of_motion(moved.correlation, moved.steps / RATE)
    elif sound is not None and not is_elsewhere:
        chance = _chance_of_sound(sound, sound_steps / SOUND_RATE)
        # one recording may speak from several faces
        is_unclear = look is None and len(original.look_SHW) > 0
    elif look is not None and sound is None:
        chance = _chance_of_look(look)
    return Likeness(
        look,
        None if moved is None else moved.correlation,
        sound,
        seconds=max(0 if moved is None else moved.steps / RATE, sound_steps / SOUND_RATE),
        starts_at=sound_at / SOUND_RATE if moved is None else moved.starts_at,
        false_chance=chance,
        is_other_take=is_other_take,
        is_unclear=is_unclear,
    )


def compare_mirrored(copy: Fingerprint, original: Fingerprint) -> Likeness:
    """As `compare`, with left and right of the copy swapped back; that it was tried is a trial more."""
    likeness = compare(copy.mirrored(), original)
    return replace(likeness, is_mirrored=True, false_chance=min(1.0, 2 * likeness.false_chance))


def nearest(copy: Fingerprint, store: Mapping[Name, Fingerprint]) -> tuple[Name | None, Likeness | None]:
    """The original of a store that a copy is most like, and how like; (None, None) when nothing can be compared.

    Scenes are compared first: motion and sound only where they are similar, and of originals without pictures.
    """
    looks = {name: look_likeness(copy, original)[0] for name, original in store.items()}
    seen = sorted((name for name, look in looks.items() if look is not None), key=lambda name: -(looks[name] or 0.0))
    unseen = [name for name, look in looks.items() if look is None]
    # another scene cannot match; the most similar one is told all the same
    closer = [name for name in seen[:CLOSER_LOOKS] if (looks[name] or 0.0) > _SAME_SCENE] or seen[:1]
    best: tuple[Name, Likeness] | None = None
    for name in closer + unseen:
        likeness = compare(copy, store[name])
        if best is None or rank(likeness) < rank(best[1]):
            best = (name, likeness)
    return best if best is not None else (None, None)


CLOSER_LOOKS: Final = 40
"""Originals of a store whose motion and sound are compared: those whose scene, or sound, is most like the copy's."""


def rank(likeness: Likeness) -> tuple[float, float]:
    """What the best of several likenesses has least of."""
    return likeness.false_chance, likeness.difference


# ------------------------------------------------------------------------------------------ scenes


def look_likeness(copy: Fingerprint, original: Fingerprint) -> tuple[float | None, Crop]:
    """Best correlation of scenes over all crops, and the crop."""
    if not len(copy.look_SHW) or not len(original.look_SHW):
        return None, _WHOLE
    scores = crop_scores(asked_scenes(copy), *scene_of(original))
    best = int(np.argmax(scores))
    return float(scores[best]), CROPS[best]


@lru_cache(maxsize=1024)
def scene_of(prints: Fingerprint) -> tuple[FloatArray, FloatArray]:
    """The mean scene (V,) of an original, and its length in all C crops (C,), for `crop_scores`.

    Raises:
        ValueError: for prints without pictures.
    """
    if not len(prints.look_SHW):
        raise ValueError("these prints have no pictures")
    scene_V = prints.look_SHW.astype(np.float32).mean(0).ravel()
    seen_CV = (_views().reshape(-1, LOOK * LOOK) @ scene_V).reshape(len(CROPS), -1)
    return scene_V, np.linalg.norm(seen_CV, axis=1).astype(np.float32)


def asked_scenes(copy: Fingerprint) -> FloatArray:
    """(C, V): the scene of a copy folded with every crop, so that one product compares it with a whole store."""
    scene_V = copy.look_SHW.astype(np.float32).mean(0).ravel()
    own_V = _views()[0] @ scene_V
    own_V /= max(float(np.linalg.norm(own_V)), 1e-6)
    return np.asarray(own_V @ _views(), np.float32)


def crop_scores(asked_CV: FloatArray, scene: NDArray[Any], lengths: FloatArray) -> FloatArray:
    """Correlations (..., C) of a copy's folded scene with one original (V,), (C,) or with many (N, V), (N, C)."""
    return np.asarray(scene.astype(np.float32) @ asked_CV.T / np.maximum(lengths, 1e-6), np.float32)


@lru_cache(maxsize=1)
def _views() -> FloatArray:
    """(C, V, V): what makes every crop of a scene out of its cells, without its mean and its slowest changes.

    All portraits share those. One product is a hundred times quicker than warping and blurring a store's scenes.
    """
    return np.stack([_fine(np.kron(*_cut(LOOK, crop))) for crop in CROPS])


def _fine(seen_VW: FloatArray) -> FloatArray:
    """Columns of cells (V, W) without their mean and their slowest changes."""
    soft = _soft(LOOK, 4.0)
    fine = seen_VW - 0.8 * (np.kron(soft, soft) @ seen_VW)
    return np.asarray(fine - fine.mean(0), np.float32)


@lru_cache(maxsize=64)
def _cut(side: int, crop: Crop) -> tuple[FloatArray, FloatArray]:
    """(side, side) twice: what takes a part out of the rows, and out of the columns, of a grid onto the same grid."""
    share, down, across = crop
    # centres of cells lie half a cell from the border
    first = (1 - share) * (side - 1) / 2
    places = share * np.arange(side) + first
    return _linear(places + down * side), _linear(places + across * side)


def _linear(places: NDArray[Any]) -> FloatArray:
    """Weights of linear interpolation at these places between cells; beyond the border its value goes on."""
    side = len(places)
    within = np.clip(places, 0, side - 1)
    low = np.minimum(within.astype(np.int64), side - 2)
    weights = np.zeros((side, side), np.float32)
    weights[np.arange(side), low] = 1 - (within - low)
    weights[np.arange(side), low + 1] = within - low
    return weights


def _finer_crop(copy: Fingerprint, original: Fingerprint, crop: Crop) -> Crop:
    """The crop between those of CROPS at which the scenes agree best, found by small steps."""
    own, theirs = (one.look_SHW.astype(np.float32).mean(0) for one in (copy, original))
    soft = _soft(LOOK, 4.0)
    own_V = _fine(own.reshape(-1, 1))[:, 0]
    own_V /= max(float(np.linalg.norm(own_V)), 1e-6)

    def agreement(one: Crop) -> float:
        rows, columns = _cut(LOOK, one)
        seen = rows @ theirs @ columns.T
        fine = seen - 0.8 * (soft @ seen @ soft.T)
        fine -= fine.mean()
        return float(own_V @ fine.ravel() / max(float(np.linalg.norm(fine)), 1e-6))

    best = agreement(crop)
    for step in _STEPS:
        while True:
            tried = [
                (crop[0] + scale * step, crop[1] + down * step, crop[2] + across * step)
                for scale, down, across in _DIRECTIONS
            ]
            scores = [agreement(one) for one in tried]
            if max(scores) <= best + 1e-6:
                break
            best = max(scores)
            crop = tried[scores.index(best)]
    return crop


_STEPS: Final = (0.016, 0.008, 0.004, 0.002)
_DIRECTIONS: Final = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))


@lru_cache(maxsize=8)
def _soft(side: int, cells: float) -> FloatArray:
    """(side, side): Gaussian blur of the rows of a grid."""
    places = np.arange(side, dtype=np.float32)
    weights = np.exp(-((places[:, None] - places) ** 2) / (2 * cells * cells))
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


# ------------------------------------------------------------------------------------------ motion and sound


@dataclass(frozen=True)
class _Moved:
    """How like the motion of a copy is to that of an original."""

    correlation: float
    least: float
    """What a copy should reach, with so much motion in the original."""
    usual: float
    """What most copies reach."""
    starts_at: float
    steps: int

    @classmethod
    def compared(cls, copy: Fingerprint, original: Fingerprint, crop: Crop) -> _Moved | None:
        """None where one of the two does not move, or is too short."""
        mine, theirs = copy.motion_THW, original.motion_THW
        if len(mine) < RATE or len(theirs) < RATE:
            return None
        is_coarse = copy.is_coarse or original.is_coarse
        mine_THW, theirs_THW = _steps(mine, is_coarse), _steps(theirs, is_coarse)
        own_TV, softened_TV = _softened(mine_THW, _WHOLE), _softened(theirs_THW, crop)
        own_energy, energy = (float(np.mean(one**2)) for one in (own_TV, softened_TV))
        if energy < _STILL and own_energy < _MOVING:
            return None
        if min(energy, own_energy) < _STILL:
            # a picture and a film of what it shows are two takes
            return cls(0.0, 1.0, 1.0, 0.0, min(len(mine), len(theirs)))
        found = _best_lag(own_TV, softened_TV, min_steps=RATE)
        if found is None:
            return None
        if found[0] >= _WORTH_A_CLOSER_LOOK:
            crop = _finer_crop(copy, original, crop) if len(copy.look_SHW) and len(original.look_SHW) else crop
            softened_TV = _softened(theirs_THW, crop)
            for number, one in enumerate((mine, *copy.later)):
                again = _best_lag(_softened(_steps(one, is_coarse), _WHOLE), softened_TV, min_steps=RATE)
                if again is not None and again[0] > found[0]:
                    found = (again[0], again[1] - number / (1 + len(copy.later)), again[2])
        correlation, at, steps = found
        unlike = _UNLIKE_CROPPED if abs(crop[0] - 1) > _RESIZED_AT_MOST else _UNLIKE
        least, usual = (_least_motion(energy, one) for one in (unlike, _USUALLY_UNLIKE))
        if is_coarse:
            least, usual = _LEAST_COARSE, 1.0
        return cls(correlation, least, usual, at / RATE, steps)


def _steps(motion_THW: Int8Array, is_coarse: bool) -> FloatArray:
    """Grey levels of change; signs alone where one of the two prints has no more."""
    levels = changes(motion_THW)
    return np.asarray(np.sign(levels) * (np.abs(levels) > _SEEN), np.float32) if is_coarse else levels


_SEEN = 0.3
"""Grey levels from which on version 1 counted a change."""
_LEAST_COARSE = 0.55


def _softened(change_THW: FloatArray, crop: Crop) -> FloatArray:
    """(T, V): a part of the changes, blurred a little."""
    soft = _soft(MOTION, _SOFTNESS)
    rows, columns = _cut(MOTION, crop)
    return np.asarray((soft @ rows @ change_THW @ (soft @ columns).T).reshape(len(change_THW), -1), np.float32)


def _sound_likeness(copy: Int8Array, original: Int8Array) -> tuple[float | None, float, int]:
    if len(copy) < SOUND_RATE or len(original) < SOUND_RATE or not copy.any() or not original.any():
        return None, 0, 0
    found = _best_lag(copy.astype(np.float32), original.astype(np.float32), min_steps=SOUND_RATE)
    return found if found is not None else (None, 0, 0)


def _best_lag(mine_TC: FloatArray, theirs_TC: FloatArray, *, min_steps: int) -> tuple[float, float, int] | None:
    """Best normalised correlation of two sequences over all overlaps of three quarters of the shorter.

    Returns:
        The correlation, the step of the original at which the copy begins, and the steps compared.
    """
    mine, theirs = len(mine_TC), len(theirs_TC)
    needed = max(min_steps, 3 * min(mine, theirs) // 4)
    products = mine_TC @ theirs_TC.T
    own_T, other_T = (mine_TC**2).sum(1), (theirs_TC**2).sum(1)
    best: tuple[float, float, int] | None = None
    for lag in range(needed - mine, theirs - needed + 1):
        first, last = max(0, -lag), min(mine, theirs - lag)
        if last - first < needed:
            continue
        both = float(np.trace(products[first:last, first + lag : last + lag]))
        energy = float(own_T[first:last].sum() * other_T[first + lag : last + lag].sum())
        score = both / energy**0.5 if energy > 0 else 0.0
        if best is None or score > best[0]:
            best = (score, lag, last - first)
    return best


# ------------------------------------------------------------------------------------------ chance
# Tails of Gaussians, wider by half than what pairs of different clips gave (`benchmarks.durable` measures what comes
# of it), which narrow with the seconds compared.


def _least_motion(energy: float, unlike: float) -> float:
    """Correlation of motion that a copy should reach.

    Args:
        energy: mean square of change in the original, grey levels.
        unlike: part of that energy by which a copy may differ, beside an encoder's noise.
    """
    return 1 / sqrt(1 + unlike + _NOISE / max(energy, 1e-6))


_USUALLY_UNLIKE, _UNLIKE, _UNLIKE_CROPPED = 0.2, 0.24, 0.45
"""Of a real ladder of copies 1 in 400 was less like than the first, and 1 in 8 of those that were cropped; of takes
that differ in the expression alone (one voice, one head motion, another mood) the most similar ones gave .28."""
_NOISE = 0.05
_STILL, _MOVING = 0.01, 0.05
_RESIZED_AT_MOST = 0.03


def _tail(score: float, mean: float, deviation: float) -> float:
    return max(1e-12, 0.5 * erfc((score - mean) / (deviation * sqrt(2))))


def _chance_of_motion(score: float, seconds: float) -> float:
    return _tail(score, 0.10, 0.07 * sqrt(2.0 / max(seconds, 0.5)))


def _chance_of_sound(score: float, seconds: float) -> float:
    return _tail(score, 0.10, 0.055 * sqrt(2.0 / max(seconds, 0.5)))


def _chance_of_look(score: float) -> float:
    return _tail(atanh(min(score, 0.9999)), 0.3, 0.4)
