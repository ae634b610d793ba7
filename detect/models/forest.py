"""A forest of extremely randomised trees (Geurts et al. 2006) as plain arrays: fitted by scikit-learn, kept by us.

Why trees weigh the motion measurements and no line does: one generator moves too smoothly, another trembles. Against
one fixed direction half of them look more real than people do.

Axes: N samples, K measurements, M nodes of all trees one after the other, R trees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

Array = NDArray[np.float64]

TREES = 200
LEAST_IN_LEAF = 4
SHARE_OF_MEASUREMENTS = 0.4
"""Looked at for each split."""
MARGIN = 0.01
"""Keeps log-odds of a share of trees finite."""
LEAF = -1


@dataclass(frozen=True, eq=False)
class Forest:
    """The trees; node i of tree r is at `roots[r] + i`."""

    roots: NDArray[np.int32]
    """(R,)"""
    feature: NDArray[np.int16]
    """(M,) column that a node looks at, `LEAF` for a leaf."""
    threshold: NDArray[np.float32]
    """(M,) values up to it go left."""
    left: NDArray[np.int32]
    """(M,)"""
    right: NDArray[np.int32]
    """(M,)"""
    value: NDArray[np.float32]
    """(M,) share of synthetic samples that ended there."""

    def __post_init__(self) -> None:
        """Refuse arrays that would send a sample astray or for ever round."""
        count = len(self.feature)
        if not len(self.threshold) == len(self.left) == len(self.right) == len(self.value) == count:
            raise ValueError("the arrays of a forest must be of one length")
        inner = np.flatnonzero(self.feature != LEAF)
        children = np.concatenate([self.left[inner], self.right[inner]])
        if len(self.roots) == 0 or self.roots.min() < 0 or self.roots.max() >= count or self.feature.min() < LEAF:
            raise ValueError("a forest needs trees whose roots and columns exist")
        if len(inner) and (children.max() >= count or (children <= np.tile(inner, 2)).any()):
            raise ValueError("the children of a node must come after it")
        if not (np.isfinite(self.threshold).all() and ((self.value >= 0) & (self.value <= 1)).all()):
            raise ValueError("thresholds must be finite and values shares")

    @property
    def columns(self) -> int:
        """How many measurements a sample must have at least."""
        return int(self.feature.max()) + 1

    def probability(self, x_NK: Array) -> Array:
        """(N,) mean share of synthetic samples in the leaves that each sample ends in.

        Raises:
            ValueError: for fewer measurements than the trees look at, or values that are not finite.
        """
        if x_NK.ndim != 2 or x_NK.shape[1] < self.columns or not np.isfinite(x_NK).all():
            raise ValueError(f"samples must be (N, {self.columns}) and finite, got {x_NK.shape}")
        x = x_NK.astype(np.float32)
        node_NR = np.repeat(self.roots[None], len(x), axis=0)
        rows = np.arange(len(x))[:, None]
        while True:
            column_NR = self.feature[node_NR]
            if (column_NR == LEAF).all():
                return np.asarray(self.value[node_NR].astype(np.float64).mean(axis=1))
            goes_left = x[rows, np.maximum(column_NR, 0)] <= self.threshold[node_NR]
            below = np.where(goes_left, self.left[node_NR], self.right[node_NR])
            node_NR = np.where(column_NR == LEAF, node_NR, below)

    def log_odds(self, x_NK: Array) -> Array:
        """(N,) log-odds of `probability`, finite."""
        p = self.probability(x_NK)
        return np.asarray(np.log((p + MARGIN) / (1 + MARGIN - p)))

    def tensors(self, prefix: str) -> dict[str, NDArray[np.generic]]:
        """Arrays by name, for a weights file."""
        return {f"{prefix}.{name}": getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_tensors(cls, arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> Forest:
        """What `tensors` gave.

        Raises:
            ValueError: when an array is missing or the trees are not sound.
        """
        try:
            return cls(**{name: np.asarray(arrays[f"{prefix}.{name}"]) for name in cls.__dataclass_fields__})  # type: ignore[arg-type]
        except KeyError as error:
            raise ValueError(f"the forest lacks {error}") from error


def fit_forest(
    x_NK: Array, label_N: NDArray[np.bool_], weight_N: Array, *, trees: int = TREES, seed: int = 0
) -> Forest:
    """Fit a forest.

    Args:
        x_NK: finite measurements.
        label_N: True for synthetic.
        weight_N: of each sample.
        trees: how many.
        seed: of every draw.
    """
    model = ExtraTreesClassifier(
        n_estimators=trees,
        min_samples_leaf=LEAST_IN_LEAF,
        max_features=SHARE_OF_MEASUREMENTS,
        random_state=seed,
    )
    model.fit(x_NK.astype(np.float32), label_N, sample_weight=weight_N * len(weight_N))
    if len(model.classes_) != 2:
        raise ValueError("a forest needs samples of both labels")
    found = [estimator.tree_ for estimator in model.estimators_]
    starts = np.cumsum([0, *(tree.node_count for tree in found)])[:-1]
    parts: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "value")
    }
    for start, tree in zip(starts, found, strict=True):
        leaf = tree.children_left < 0
        parts["feature"].append(np.where(leaf, LEAF, tree.feature).astype(np.int16))
        parts["threshold"].append(np.where(leaf, 0.0, tree.threshold).astype(np.float32))
        parts["left"].append(np.where(leaf, 0, tree.children_left + start).astype(np.int32))
        parts["right"].append(np.where(leaf, 0, tree.children_right + start).astype(np.int32))
        share = tree.value[:, 0, 1] / np.maximum(tree.value[:, 0].sum(axis=1), 1e-12)
        parts["value"].append(np.clip(share, 0, 1).astype(np.float32))
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    return Forest(roots=starts.astype(np.int32), **joined)  # type: ignore[arg-type]
