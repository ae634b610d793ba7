"""The motion branch: a forest over how a face moves and changes.

Which measurements may count is decided by reasoning: those that grow with how much somebody moves (`speed_*`) or with
how sharp a clip is (`detail*`) tell sources of clips apart, not real from synthetic, and are left out. So are the
tracked expressions (`detect.models.expression`), which cost more than all else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detect.models.forest import Forest, fit_forest
from detect.models.temporal import FEATURES, FLOW_FEATURES, usual_second
from media.clip import FloatArray

Array = NDArray[np.float64]

MEASURED: tuple[str, ...] = tuple(n for n in FLOW_FEATURES if not n.startswith(("speed_", "detail")))
UNIT = 0.8
"""Log-odds that count as one: the spread over clips that the forest was fitted without."""


class Moving(Protocol):
    """What a motion branch is fitted on: clips of `ClipEvidence`, or lessons."""

    @property
    def synthetic(self) -> bool:
        """The truth."""
        ...

    @property
    def person(self) -> str:
        """Who."""
        ...

    @property
    def maker(self) -> str:
        """Generator, collection or forgery."""
        ...

    @property
    def windows(self) -> FloatArray:
        """(W, F) measured seconds."""
        ...


@dataclass(frozen=True, eq=False)
class MotionModel:
    """A forest, what it looks at, and what stands for a measurement that could not be made."""

    features: tuple[str, ...] = ()
    fill: tuple[float, ...] = ()
    forest: Forest | None = None
    """None: nothing was fitted, motion has no say."""

    def __post_init__(self) -> None:
        """Refuse unknown measurements and parts that do not belong together."""
        unknown = sorted(set(self.features) - set(FEATURES))
        if unknown:
            raise ValueError(f"features must be measured ones, got {', '.join(unknown[:5])}")
        if len(self.features) != len(self.fill) or not np.isfinite(self.fill).all():
            raise ValueError("features and fill must be of one length, fill finite")
        if self.forest is not None and self.forest.columns > len(self.features):
            raise ValueError(f"the forest looks at {self.forest.columns} measurements, {len(self.features)} are named")

    def scores(self, windows_WF: FloatArray) -> Array:
        """(W,) one score for each measured second, about unit spread.

        What was not measured in a second is taken from the others of the face; what was in none counts as usual.
        """
        if self.forest is None or len(windows_WF) == 0:
            return np.full(len(windows_WF), nan)
        x_WK = windows_WF[:, self._columns()]
        if not np.isfinite(x_WK).all():
            x_WK = np.where(np.isfinite(x_WK), x_WK, usual_second(x_WK))
        return self._log_odds(x_WK)

    def score(self, windows_WF: FloatArray) -> float:
        """One score for a face, from the median second of each measurement; nan when nothing was measured."""
        if len(windows_WF) == 0 or self.forest is None:
            return nan
        return float(self._log_odds(usual_second(windows_WF[:, self._columns()])[None])[0])

    def _columns(self) -> list[int]:
        return [FEATURES.index(name) for name in self.features]

    def _log_odds(self, x_WK: FloatArray) -> Array:
        assert self.forest is not None
        known = np.where(np.isfinite(x_WK), x_WK.astype(np.float64), np.array(self.fill))
        return self.forest.log_odds(known) / UNIT


def balanced_weights(samples: Sequence[Moving]) -> Array:
    """(N,) weights, sum 1: both labels alike; within a label people and makers by the root of their numbers."""
    kin = [(s.maker if s.synthetic else None, s.person) for s in samples]
    of_person, of_maker = Counter(kin), Counter(s.maker for s in samples if s.synthetic)
    raw = np.array([of_person[one] ** -0.5 for one in kin])
    label = np.array([s.synthetic for s in samples], bool)
    raw *= np.array([of_maker[s.maker] ** -0.5 if s.synthetic else 1.0 for s in samples])
    for side in (True, False):
        if (label == side).any():
            raw[label == side] /= raw[label == side].sum()
    return np.asarray(raw / raw.sum())


def fit_motion(samples: Sequence[Moving], features: Sequence[str] = MEASURED, *, seed: int = 0) -> MotionModel:
    """Fit the forest on the median second of each sample; without both labels motion has no say.

    Args:
        samples: clips and lessons with at least one measured second each.
        features: what the forest may look at.
        seed: of every draw.
    """
    labels = np.array([s.synthetic for s in samples], bool)
    if len(labels) == 0 or labels.all() or not labels.any():
        return MotionModel()
    columns = [FEATURES.index(name) for name in features]
    x_NK = np.array([usual_second(s.windows[:, columns]) for s in samples], np.float64)
    fill_K = np.nan_to_num(usual_second(x_NK.astype(np.float32))).astype(np.float64)
    x_NK = np.where(np.isfinite(x_NK), x_NK, fill_K)
    forest = fit_forest(x_NK, labels, balanced_weights(samples), seed=seed)
    return MotionModel(tuple(features), tuple(float(v) for v in fill_K), forest)
