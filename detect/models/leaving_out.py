"""Score clips by branches that know neither their person nor their maker: what calibrates, and what to believe.

Fitted and scored on the same few clips, any branch looks good and any threshold looks safe. So every clip is scored
here by branches fitted without the makers and people it belongs to.

Axes: N clips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from detect.lessons import Lesson
from detect.models.frame import Fusion, SurfaceModel
from detect.models.fusing import ClipEvidence, fit_surface
from detect.models.motion import MotionModel, fit_motion

Array = NDArray[np.float64]
FOLDS = 5
LEAST_CLIPS = 5
"""Makers with fewer clips are left out together."""


@dataclass(frozen=True, eq=False)
class Branches:
    """What is fitted on clips; see `detect.models.frame`."""

    motion: MotionModel
    surface: SurfaceModel

    @classmethod
    def fit(cls, clips: Sequence[ClipEvidence], lessons: Sequence[Lesson] = ()) -> Branches:
        """On labelled clips with measured seconds, and lessons that only motion learns from."""
        return cls(fit_motion([*clips, *lessons]), fit_surface(clips))

    def scores(self, clip: ClipEvidence) -> tuple[float, float]:
        """Of motion and of the surface; nan for a branch that has nothing to say."""
        return self.motion.score(clip.windows), self.surface.score(clip.surface)


def grouped(clips: Sequence[ClipEvidence]) -> list[str]:
    """(N,) maker of each synthetic clip, those with few clips under one name; `real` for the others."""
    counts = Counter(c.maker for c in clips if c.synthetic)
    return [(c.maker if counts[c.maker] >= LEAST_CLIPS else "others") if c.synthetic else "real" for c in clips]


def folds_of(clips: Sequence[ClipEvidence], count: int = FOLDS) -> NDArray[np.int64]:
    """(N,) which fold a clip is left out in: makers of synthetic clips stay together, and people of real ones."""
    makers = sorted({c.maker for c in clips if c.synthetic})
    people = sorted({c.person for c in clips if not c.synthetic})
    return np.array([(makers.index(c.maker) if c.synthetic else people.index(c.person)) % count for c in clips])


def left_out(
    clips: Sequence[ClipEvidence], test_N: NDArray[np.bool_], lessons: Sequence[Lesson] = ()
) -> list[tuple[float, float]]:
    """Scores of the chosen clips by branches fitted on the others, without clips and lessons of the same people."""
    people = {c.person for c, chosen in zip(clips, test_N, strict=True) if chosen}
    rest = [c for c, chosen in zip(clips, test_N, strict=True) if not chosen and c.person not in people]
    branches = Branches.fit(rest, [lesson for lesson in lessons if lesson.person not in people])
    return [branches.scores(c) for c, chosen in zip(clips, test_N, strict=True) if chosen]


def left_out_scores(
    clips: Sequence[ClipEvidence], lessons: Sequence[Lesson] = (), count: int = FOLDS
) -> list[tuple[float, float]]:
    """Motion and surface scores of every clip, its maker and person left out; nan where the rest has one label only."""
    fold_N = folds_of(clips, count)
    scores = [(nan, nan)] * len(clips)
    for fold in range(count):
        test_N = fold_N == fold
        if test_N.any():
            for n, pair in zip(np.flatnonzero(test_N).tolist(), left_out(clips, test_N, lessons), strict=True):
                scores[n] = pair
    return scores


def unseen_makers(
    clips: Sequence[ClipEvidence], lessons: Sequence[Lesson], fusion: Fusion, count: int = FOLDS
) -> dict[str, list[tuple[ClipEvidence, float]]]:
    """Every maker against people whom nothing was fitted on either: leave-one-maker-out, crossed with person folds.

    For each maker, the real people are left out fold by fold, and with them the maker and its people. A synthetic clip
    has the mean of its scores over the folds.

    Args:
        clips: of all makers and real people.
        lessons: of the same real people.
        fusion: joins the branches.
        count: folds of real people.

    Returns:
        Maker -> its clips and all real clips, each with its raw evidence; a maker that leaves one label only is left
        out.
    """
    group = np.array(grouped(clips))
    fold_N = np.where([c.synthetic for c in clips], -1, folds_of(clips, count))
    out: dict[str, list[tuple[ClipEvidence, float]]] = {}
    for maker in sorted(set(group) - {"real"}):
        sums: dict[int, list[float]] = {}
        for fold in range(count):
            test_N = (group == maker) | (fold_N == fold)
            if not (fold_N == fold).any():
                continue
            for n, (motion, surface) in zip(
                np.flatnonzero(test_N).tolist(), left_out(clips, test_N, lessons), strict=True
            ):
                value = fusion.logit(fusion.pooled(clips[n].logits), motion, surface)
                sums.setdefault(n, []).append(nan if isnan(motion) else value)
        told = [(clips[n], float(np.mean(values))) for n, values in sums.items()]
        if told and not any(isnan(value) for _, value in told):
            out[maker] = told
    return out
