"""From a raw logit to a probability that means what it says: temperature and Platt scaling on held-out clips."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

MAX_LOGIT = 30.0
"""Beyond this a float64 sigmoid is 0 or 1; clipping keeps probabilities inside the open interval."""


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(slope * logit + offset)."""

    slope: float = 1.0
    """One over the temperature."""
    offset: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a slope that is not positive: a calibration must never turn the order round."""
        if not (isfinite(self.slope) and isfinite(self.offset)) or self.slope <= 0:
            raise ValueError(f"slope must be positive and both finite, got slope {self.slope}, offset {self.offset}")

    @property
    def temperature(self) -> float:
        """What the logit is divided by."""
        return 1.0 / self.slope

    def probability(self, logit: float) -> float:
        """The calibrated probability of one logit, strictly inside (0, 1)."""
        value = min(max(self.slope * logit + self.offset, -MAX_LOGIT), MAX_LOGIT)
        return 1.0 / (1.0 + exp(-value))

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """The calibrated probabilities of (N,) logits."""
        value = np.clip(self.slope * np.asarray(logits, np.float64) + self.offset, -MAX_LOGIT, MAX_LOGIT)
        return np.asarray(1.0 / (1.0 + np.exp(-value)))


def _weights(label_N: NDArray[np.bool_], balanced: bool) -> NDArray[np.float64]:
    if not balanced:
        return np.full(len(label_N), 1.0 / len(label_N))
    return np.asarray(np.where(label_N, 0.5 / label_N.sum(), 0.5 / (~label_N).sum()), np.float64)


def fit_calibration(
    labels: ArrayLike, logits: ArrayLike, *, platt: bool = True, balanced: bool = True, prior_strength: float = 0.01
) -> Calibration:
    """Minimise the log loss over slope (and offset) with smoothed targets (Platt 1999).

    Args:
        labels: (N,) True for synthetic.
        logits: (N,) finite raw logits of clips that the network was not trained on.
        platt: also fit the offset; otherwise temperature only.
        balanced: weigh both labels alike, so the answer assumes a prevalence of one half, whatever the set.
        prior_strength: pull of the slope towards one over the logits' spread, so that separable data do not give an
            infinite one.

    Raises:
        ValueError: when a label is missing or a logit is not finite.
    """
    label_N, logit_N = np.asarray(labels, bool), np.asarray(logits, np.float64)
    if label_N.shape != logit_N.shape or label_N.ndim != 1:
        raise ValueError(f"labels and logits must be (N,) of one length, got {label_N.shape} and {logit_N.shape}")
    if not np.isfinite(logit_N).all():
        raise ValueError("logits must be finite")
    positive, negative = int(label_N.sum()), int((~label_N).sum())
    if positive == 0 or negative == 0:
        raise ValueError(f"calibration needs both labels, got {positive} synthetic and {negative} real clips")
    target_N = np.where(label_N, (positive + 1.0) / (positive + 2.0), 1.0 / (negative + 2.0))
    weight_N = _weights(label_N, balanced)

    usual = float(-np.log(max(float(np.std(logit_N)), 1e-3)))

    def loss(parameters: NDArray[np.float64]) -> float:
        value_N = np.exp(parameters[0]) * logit_N + (parameters[1] if platt else 0.0)
        entropy = np.logaddexp(0.0, value_N) - target_N * value_N
        return float(np.sum(weight_N * entropy) + prior_strength * (parameters[0] - usual) ** 2)

    start = np.array([usual, 0.0])
    found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-6, "fatol": 1e-9})
    return Calibration(float(np.exp(np.clip(found.x[0], -8, 8))), float(found.x[1]) if platt else 0.0)
