"""Two things that happen together, put into one space where what belongs together is near.

    seen, heard = fit_views(lips_NP, sound_NQ, ViewShape(40), ViewShape(60, fourier=600, ridge=0.3))
    seen.embedded(lips_NP), heard.embedded(sound_NQ)         # (N, 8) each, rows of length 1

Regularised canonical correlation, with random Fourier features for what is not straight (Rahimi and Recht, 2007).
For judges that learn from minutes, not hours: the answer is one solution of linear equations.

Axes: N rows, P and Q coordinates, K principal parts, W waves, D dimensions of the common space.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from provenance.files import write_whole

Array = NDArray[np.float64]
WAVE_WIDTH = 2.7
"""Of the waves' kernel, in units of a third of the first principal part's deviation."""


@dataclass(frozen=True)
class ViewShape:
    """How one side is looked at."""

    parts: int
    """Principal parts K."""
    fourier: int = 0
    """Waves W beside the parts themselves."""
    ridge: float = 0.1
    """Added to the covariance's diagonal, in parts of its mean."""


@dataclass(frozen=True, eq=False)
class View:
    """One side of a pair."""

    offset: Array
    """(P,) mean row."""
    basis: Array
    """(P, K)."""
    waves: Array
    """(K, W)."""
    phases: Array
    """(W,)."""
    mean: Array
    """(K + W,) of the features."""
    map: Array
    """(K + W, D)."""

    def features(self, rows_NP: Array) -> Array:
        """(N, K + W)."""
        parts = (np.asarray(rows_NP, np.float64) - self.offset) @ self.basis
        return np.concatenate([parts, np.cos(parts @ self.waves + self.phases)], axis=1)

    def embedded(self, rows_NP: Array) -> Array:
        """(N, D) rows of length 1; a row that says nothing stays nothing."""
        placed = (self.features(rows_NP) - self.mean) @ self.map
        return np.asarray(placed / np.maximum(np.linalg.norm(placed, axis=1, keepdims=True), 1e-9))


def _looked_at(rows_NP: Array, shape: ViewShape, random: np.random.Generator) -> View:
    """A view without its map."""
    offset = rows_NP.mean(axis=0)
    centred = rows_NP - offset
    power, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    basis = directions[:, ::-1][:, : shape.parts] * (3.0 / np.sqrt(max(power[-1], 1e-12)))
    count = basis.shape[1]
    waves = random.normal(size=(count, shape.fourier)) / WAVE_WIDTH
    phases = random.uniform(0.0, 2 * np.pi, shape.fourier)
    return View(offset, basis, waves, phases, np.zeros(count + shape.fourier), np.zeros((count + shape.fourier, 0)))


def fit_views(
    first_NP: Array, second_NQ: Array, first: ViewShape, second: ViewShape, *, dimensions: int = 8, seed: int = 0
) -> tuple[View, View]:
    """Views of rows that belong together; each dimension counts by the root of its correlation.

    Raises:
        ValueError: for sides of different length, or fewer than two rows.
    """
    if len(first_NP) != len(second_NQ) or len(first_NP) < 2:
        raise ValueError(f"both sides need the same two or more rows, got {len(first_NP)} and {len(second_NQ)}")
    random = np.random.default_rng(seed)
    views, whitened, features = [], [], []
    for rows, shape in ((first_NP, first), (second_NQ, second)):
        view = _looked_at(np.asarray(rows, np.float64), shape, random)
        found = view.features(rows)
        mean = found.mean(axis=0)
        centred = found - mean
        covariance = centred.T @ centred / len(centred)
        covariance += shape.ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        whitened.append(np.linalg.inv(np.linalg.cholesky(covariance)))
        features.append(centred)
        views.append(View(view.offset, view.basis, view.waves, view.phases, mean, view.map))
    bond = whitened[0] @ (features[0].T @ features[1] / len(first_NP)) @ whitened[1].T
    left, strength, right = np.linalg.svd(bond, full_matrices=False)
    weight = np.sqrt(strength[:dimensions])
    maps = (whitened[0].T @ left[:, :dimensions] * weight, whitened[1].T @ right[:dimensions].T * weight)
    a, b = (
        View(view.offset, view.basis, view.waves, view.phases, view.mean, map_)
        for view, map_ in zip(views, maps, strict=True)
    )
    return a, b


def save_views(views: Mapping[str, View], path: Path) -> None:
    """Write views by name into one npz, whole or not at all."""
    store = io.BytesIO()
    arrays = {
        f"{name}.{part}": value.astype(np.float32) for name, view in views.items() for part, value in vars(view).items()
    }
    np.savez_compressed(store, allow_pickle=False, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, store.getvalue())


def load_views(path: Path) -> dict[str, View]:
    """Read what `save_views` wrote.

    Raises:
        ValueError: in one line, for another or a damaged file.
    """
    try:
        with np.load(path) as stored:
            parts: dict[str, dict[str, Array]] = {}
            for key in stored.files:
                name, _, part = key.partition(".")
                parts.setdefault(name, {})[part] = stored[key].astype(np.float64)
        return {name: View(**arrays) for name, arrays in parts.items()}
    except (OSError, TypeError, KeyError, EOFError, BadZipFile, ValueError) as error:
        raise ValueError(f"{path}: holds no views ({error}); delete it to make them again") from None
