"""Fit the few numbers that weigh motion against pictures.

Axes: N clips, S statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from detect.models.frame import Fusion, SurfaceModel
from detect.models.motion import balanced_weights
from media.clip import FloatArray

Array = NDArray[np.float64]

SURFACE_WEIGHT = 0.25
"""Of the surface branch beside a motion branch of unit spread: see docs/cards/detector.md. Small on purpose: what
pictures look like tells collections apart, and makers to come are in none of them."""
SEAM_WEIGHT = 2.0
"""Of what seams add, beside a motion branch of unit spread. Twice as much as at first: the AUC on self-blended clips of
unseen people rises from .64 to .71, on swapped ones from .81 to .82; left-out makers, who paste nothing, lose .002."""


@dataclass(frozen=True, eq=False)
class ClipEvidence:
    """What both branches say about one labelled clip."""

    synthetic: bool
    person: str
    maker: str
    logits: Array
    """(n,) of the frame network."""
    windows: FloatArray
    """(w, F) measured seconds."""
    surface: Array
    """(SURFACE,) mean statistics of the network's first layers."""


def fit_surface(clips: Sequence[ClipEvidence], strength: float = 0.0003) -> SurfaceModel:
    """The surface branch: strongly regularised logistic regression, its score scaled to unit spread.

    Deeper layers do worse than chance on other makers and collections; these do a little better (AUC .63), and their
    errors are others than those of motion.

    Args:
        clips: labelled.
        strength: inverse of the L2 penalty on standardised statistics.
    """
    labels = np.array([c.synthetic for c in clips], bool)
    if len(clips) == 0 or labels.all() or not labels.any():
        return SurfaceModel()
    x_NS = np.array([c.surface for c in clips], np.float64)
    weight_N = balanced_weights(clips)
    mean_S = weight_N @ x_NS
    scale_S = np.sqrt(weight_N @ (x_NS - mean_S) ** 2) + 1e-6
    z_NS = np.clip((x_NS - mean_S) / scale_S, -3, 3)
    fitted = LogisticRegression(C=strength, max_iter=500).fit(z_NS, labels, sample_weight=weight_N * len(clips))
    weight_S = fitted.coef_[0] / max(float((z_NS @ fitted.coef_[0]).std()), 1e-6)
    return SurfaceModel(tuple(map(float, mean_S)), tuple(map(float, scale_S)), tuple(map(float, weight_S)))


def fit_fusion(clips: Sequence[ClipEvidence], tolerated: float = 0.05) -> Fusion:
    """Where the frame branch begins to count: above what all but a few real clips reach.

    Args:
        clips: of people the network was not trained on, as far as there are any.
        tolerated: share of real clips that may lie above.
    """
    real = [c for c in clips if not c.synthetic]
    if not real:
        return Fusion()
    pooled = np.array([Fusion().pooled(c.logits) for c in real])
    weight_N = balanced_weights(real)
    order = np.argsort(pooled)
    reached = np.cumsum(weight_N[order])
    middle, high = (float(np.interp(q, reached, pooled[order])) for q in (0.5, 1.0 - tolerated))
    scale = max(high - middle, 0.1)
    return Fusion(frame_mean=high, frame_scale=scale, frame_weight=SEAM_WEIGHT, surface_weight=SURFACE_WEIGHT)
