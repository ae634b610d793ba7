"""Fit the few numbers that weigh motion against pictures.

A few hundred clips cannot support a free choice among a hundred measurements: fitted freely, they learn which studio
the real clips come from (AUC at chance on other makers against other collections). So the measurements and the
direction in which each may count are fixed here by reasoning about generators, the weights may only be positive, and
the fit is strongly pulled towards equal ones.

Axes: N clips, K measurements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from detect.models.frame import Fusion, TemporalModel
from detect.models.temporal import FEATURES
from media.clip import FloatArray

Array = NDArray[np.float64]

# A generated head moves smoothly: its velocity changes little for the velocity there is, rigidly and in the soft parts.
SMOOTH = (
    *(f"uneven_{m}" for m in ("x", "y", "turn", "yaw")),
    *(f"rough_{m}" for m in ("x", "y", "turn", "yaw", "pitch")),
    *(f"unrigid_uneven_{r}" for r in ("forehead", "eyes", "nose", "cheeks", "mouth")),
)
# An animated texture slides as one: flow explains nearly all of it, where a filmed one has its own light and grain.
SLIDING = (
    *(f"change{band}_{r}" for band in (2, 3) for r in ("nose", "mouth")),
    *(f"drift{band}_{r}" for band in (2, 3) for r in ("nose", "cheeks", "mouth")),
)
DIRECTIONS: dict[str, int] = {name: -1 for name in SMOOTH + SLIDING}
"""Measurement -> +1 when synthetic clips show more of it, -1 when less."""


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


def sample_weights(clips: Sequence[ClipEvidence]) -> Array:
    """(N,) weights with which both labels, and within a label all people, count alike (square root); sum 1."""
    clips_of = Counter((c.synthetic, c.person) for c in clips)
    raw = np.array([clips_of[(c.synthetic, c.person)] ** -0.5 for c in clips])
    label = np.array([c.synthetic for c in clips])
    for side in (True, False):
        if (label == side).any():
            raw[label == side] /= raw[label == side].sum()
    return np.asarray(raw / raw.sum())


def fit_positive(z_NK: Array, label_N: NDArray[np.bool_], weight_N: Array, pull: float) -> tuple[Array, float]:
    """Logistic regression whose weights are not negative and are pulled towards one common value.

    Args:
        z_NK: standardised measurements, turned so that more means synthetic.
        label_N: True for synthetic.
        weight_N: sum 1.
        pull: strength of the quadratic pull towards the mean weight; large gives equal weights.

    Returns:
        (K,) weights, offset.
    """
    count = z_NK.shape[1]

    def loss(p: Array) -> tuple[float, Array]:
        w, b = p[:count], p[count]
        value = z_NK @ w + b
        each = np.logaddexp(0.0, value) - label_N * value
        slope = weight_N * (1 / (1 + np.exp(-value)) - label_N)
        apart = w - w.mean()
        total = float(weight_N @ each) + pull * float(apart @ apart) + 0.002 * float(w @ w)
        gradient = np.append(z_NK.T @ slope + 2 * pull * apart + 0.004 * w, slope.sum())
        return total, gradient

    start = np.append(np.full(count, 0.1), 0.0)
    bounds = [(0.0, None)] * count + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x[:count]), float(found.x[count])


def fit_temporal(
    clips: Sequence[ClipEvidence], directions: dict[str, int] | None = None, pull: float = 10.0
) -> TemporalModel:
    """The motion branch: standardise on these clips, weigh with fixed directions.

    Args:
        clips: with at least one measured second each.
        directions: see `DIRECTIONS`.
        pull: towards equal weights; on makers and collections left out, the stronger the better (AUC .71 at .01,
            .73 at .1, .79 at 1, .81 at 10).
    """
    directions = DIRECTIONS if directions is None else directions
    labels = np.array([c.synthetic for c in clips], bool)
    if len(clips) == 0 or labels.all() or not labels.any():
        return TemporalModel()
    names = tuple(directions)
    columns = [FEATURES.index(n) for n in names]
    x_NK = np.array([np.median(c.windows[:, columns], axis=0) for c in clips], np.float64)
    weight_N = sample_weights(clips)
    mean_K = weight_N @ x_NK
    scale_K = np.sqrt(weight_N @ (x_NK - mean_K) ** 2) + 1e-6
    sign_K = np.array([directions[n] for n in names], np.float64)
    z_NK = np.clip((x_NK - mean_K) / scale_K, -3, 3) * sign_K
    weights, _ = fit_positive(z_NK, labels, weight_N, pull)
    if not weights.any():
        return TemporalModel()
    return TemporalModel(
        names, tuple(map(float, mean_K)), tuple(map(float, scale_K)), tuple(map(float, weights * sign_K))
    )


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
    weight_N = sample_weights(real)
    order = np.argsort(pooled)
    reached = np.cumsum(weight_N[order])
    middle, high = (float(np.interp(q, reached, pooled[order])) for q in (0.5, 1.0 - tolerated))
    return Fusion(frame_mean=high, frame_scale=max(high - middle, 0.1))
