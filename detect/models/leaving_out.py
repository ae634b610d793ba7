"""Score clips by branches that know neither their person nor their maker: what calibrates, and what to believe.

Fitted and scored on the same few clips, any branch looks good and any threshold looks safe. So every clip is scored
here by branches fitted without the makers, people and collections it belongs to.

Axes: N clips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from detect.metrics import roc_auc
from detect.models.frame import SurfaceModel, TemporalModel
from detect.models.fusing import SURFACE_WEIGHT, ClipEvidence, fit_surface, fit_temporal

Array = NDArray[np.float64]
FOLDS = 5
LEAST_CLIPS = 5
"""Makers and collections with fewer clips are left out together."""


@dataclass(frozen=True)
class Branches:
    """What is fitted on clips; see `detect.models.frame`."""

    temporal: TemporalModel
    surface: SurfaceModel

    @classmethod
    def fit(cls, clips: Sequence[ClipEvidence]) -> Branches:
        """On labelled clips with measured seconds."""
        return cls(fit_temporal(clips), fit_surface(clips))

    def scores(self, clip: ClipEvidence) -> tuple[float, float]:
        """Of motion and of the surface; nan for a branch that has nothing to say."""
        return self.temporal.score(clip.windows), self.surface.score(clip.surface)


def folds_of(clips: Sequence[ClipEvidence], count: int = FOLDS) -> NDArray[np.int64]:
    """(N,) which fold a clip is left out in: makers of synthetic clips stay together, and people of real ones."""
    makers = sorted({c.maker for c in clips if c.synthetic})
    people = sorted({c.person for c in clips if not c.synthetic})
    return np.array([(makers.index(c.maker) if c.synthetic else people.index(c.person)) % count for c in clips])


def left_out(clips: Sequence[ClipEvidence], test_N: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Scores of the chosen clips by branches fitted on the others, without clips of the same people."""
    people = {c.person for c, chosen in zip(clips, test_N, strict=True) if chosen}
    rest = [c for c, chosen in zip(clips, test_N, strict=True) if not chosen and c.person not in people]
    branches = Branches.fit(rest)
    return [branches.scores(c) for c, chosen in zip(clips, test_N, strict=True) if chosen]


def left_out_scores(clips: Sequence[ClipEvidence], count: int = FOLDS) -> list[tuple[float, float]]:
    """Motion and surface scores of every clip, its maker and person left out; nan where the rest has one label only."""
    fold_N = folds_of(clips, count)
    scores = [(nan, nan)] * len(clips)
    for fold in range(count):
        test_N = fold_N == fold
        if test_N.any():
            for n, pair in zip(np.flatnonzero(test_N).tolist(), left_out(clips, test_N), strict=True):
                scores[n] = pair
    return scores


def grouped(clips: Sequence[ClipEvidence]) -> list[str]:
    """(N,) maker or collection of each clip, those with few clips under one name."""
    counts = Counter((c.synthetic, c.maker) for c in clips)
    return [c.maker if counts[(c.synthetic, c.maker)] >= LEAST_CLIPS else "others" for c in clips]


def auc_on_unknown_sources(clips: Sequence[ClipEvidence]) -> dict[str, float | None]:
    """Mean AUC over all pairs of one maker against one collection of real clips, both left out of the fit.

    The hardest honest question that one table can answer: nothing about either side was ever seen.

    Returns:
        AUC of motion, of the surface and of both; None when no pair can be left out.
    """
    group = grouped(clips)
    side_N = np.array([c.synthetic for c in clips], bool)
    name_N = np.array(group)
    cells: dict[str, list[float]] = {"motion": [], "surface": [], "both": []}
    for maker in sorted(set(name_N[side_N])):
        for collection in sorted(set(name_N[~side_N])):
            test_N = (side_N & (name_N == maker)) | (~side_N & (name_N == collection))
            pairs = left_out(clips, test_N)
            if any(isnan(value) for pair in pairs for value in pair):
                continue
            motion, surface = np.array(pairs).T
            labels = side_N[test_N]
            cells["motion"].append(roc_auc(labels, motion))
            cells["surface"].append(roc_auc(labels, surface))
            cells["both"].append(roc_auc(labels, motion + SURFACE_WEIGHT * surface))
    return {name: round(float(np.mean(values)), 4) if values else None for name, values in cells.items()}
