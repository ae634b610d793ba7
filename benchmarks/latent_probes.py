"""What a code gives away: can identity or head pose be read off it by a straight line? Chance is good.

    identity_from(codes, people, halves)     # trained on one half of every clip's time, tested on the other
    pose_from(codes, yaw, people)            # trained on some people, tested on others

A dynamics code should say how a face moves and neither whose it is nor where the head looks. The probes are logistic
regressions on standardised codes: they find what is linearly there, which is the least that a decoder could use.

Axes: N frames, C numbers of a code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.fidelity import mean_measure
from detect.metrics import Measure

Array = NDArray[np.float64]
POSE_CLASSES = 3
"""Left, middle and right third of the yaws: chance is a third."""


@dataclass(frozen=True)
class Probed:
    """What a probe reached, and what guessing reaches."""

    accuracy: Measure
    chance: float
    """Share of the commonest answer among what was tested."""
    protocol: str


def _checked(codes: Array, *others: Sequence[object]) -> None:
    if codes.ndim != 2 or any(len(other) != len(codes) for other in others):
        raise ValueError(f"codes must be (N, C) with N facts each, got {codes.shape} and {[len(o) for o in others]}")
    if not np.isfinite(codes).all():
        raise ValueError("codes must be finite: leave frames without a face out")


def _hits(codes: Array, answers: NDArray[np.int64], folds: Sequence[tuple[Array, Array]]) -> Array:
    """(N,) 1.0 where the probe trained on the other fold was right, NaN where nothing was tested."""
    right = np.full(len(codes), np.nan)
    for train, test in folds:
        rows, held = np.asarray(train, np.int64), np.asarray(test, np.int64)
        if len(np.unique(answers[rows])) < 2:
            continue
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        probe.fit(codes[rows], answers[rows])
        right[held] = probe.predict(codes[held]) == answers[held]
    return right


def identity_from(codes: Array, people: Sequence[str], halves: Sequence[int]) -> Probed:
    """Who is it? Time-held-out: every person is known from one half of their frames and asked for in the other.

    Args:
        codes: (N, C).
        people: (N,) who it is.
        halves: (N,) 0 or 1: which half of the time a frame belongs to.
    """
    _checked(codes, people, halves)
    names, who = np.unique(np.array(people), return_inverse=True)
    half = np.asarray(halves)
    order = [(np.flatnonzero(half != h), np.flatnonzero(half == h)) for h in (0, 1)]
    right = _hits(codes, who.astype(np.int64), [(a.astype(float), b.astype(float)) for a, b in order])
    chance = float(np.bincount(who).max() / len(who)) if len(who) else float("nan")
    reason = "" if len(names) > 1 else "one person only"
    accuracy = mean_measure(right, people, reason=reason or "nothing was tested")
    return Probed(accuracy, chance, f"logistic, time-held-out, {len(names)} people")


def pose_from(codes: Array, yaw: Sequence[float], people: Sequence[str], folds: int = 5) -> Probed:
    """Which third of the yaws? Person-held-out: nobody is in training and test.

    Args:
        codes: (N, C).
        yaw: (N,) degrees.
        people: (N,) whose frame.
        folds: of people.
    """
    _checked(codes, yaw, people)
    groups = len(set(people))
    if groups < 2:
        return Probed(Measure(float("nan"), reason="one person only"), float("nan"), "logistic, person-held-out")
    degrees = np.asarray(yaw, np.float64)
    edges = np.quantile(degrees, np.arange(1, POSE_CLASSES) / POSE_CLASSES)
    third = np.searchsorted(edges, degrees).astype(np.int64)
    parts = GroupKFold(min(folds, groups)).split(codes, third, groups=np.array(people))
    right = _hits(codes, third, list(parts))
    chance = float(np.bincount(third).max() / len(third))
    return Probed(mean_measure(right, people), chance, f"logistic, person-held-out, {groups} people")


def probe_rows(
    latent: str, codes: Array, people: Sequence[str], yaw: Sequence[float], halves: Sequence[int]
) -> tuple[dict[str, object], ...]:
    """Both probes of one latent as table rows."""
    rows: list[dict[str, object]] = []
    for asked, probed in (
        ("identity", identity_from(codes, people, halves)),
        ("pose (third of yaw)", pose_from(codes, yaw, people)),
    ):
        m = probed.accuracy
        text = m.reason or (f"{m.value:.3f}" if np.isnan(m.low) else f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})")
        rows.append(
            {"latent": latent, "read off it": asked, "accuracy": text, "chance": probed.chance,
             "protocol": probed.protocol, "frames": len(codes)}
        )  # fmt: skip
    return tuple(rows)
