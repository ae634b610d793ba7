"""Two views find what two sides share, and nothing where they share nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.two_views import ViewShape, fit_views, load_views, save_views


def sides(count: int, seed: int, shared: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    common = random.normal(size=(count, 2))
    mix = np.random.default_rng(99)
    left = shared * common @ mix.normal(size=(2, 12)) + 0.3 * random.normal(size=(count, 12))
    right = shared * common @ mix.normal(size=(2, 20)) + 0.3 * random.normal(size=(count, 20))
    return left, right


def nearness(shared: float) -> float:
    first, second = fit_views(*sides(1500, 0, shared), ViewShape(8), ViewShape(8), dimensions=2)
    left, right = sides(400, 1, shared)
    a, b = first.embedded(left), second.embedded(right)
    return float((a * b).sum(axis=1).mean() - (a * np.roll(b, 7, axis=0)).sum(axis=1).mean())


def test_what_belongs_together_is_near() -> None:
    assert nearness(1.0) > 0.5


def test_strangers_are_not_near() -> None:
    assert abs(nearness(0.0)) < 0.1


def test_fourier_features_see_a_bond_that_is_not_straight() -> None:
    random = np.random.default_rng(0)
    angle = random.uniform(-2, 2, 3000)
    left = np.stack([angle, 0.01 * random.normal(size=3000)], axis=1)
    right = np.stack([angle**2, 0.01 * random.normal(size=3000)], axis=1)

    def bond(waves: int) -> float:
        a, b = fit_views(left, right, ViewShape(2, waves), ViewShape(2, waves), dimensions=1)
        return abs(
            float(
                np.corrcoef((a.features(left) - a.mean) @ a.map[:, 0], (b.features(right) - b.mean) @ b.map[:, 0])[0, 1]
            )
        )

    assert bond(100) > 0.9 > 0.3 > bond(0)


def test_views_come_back_from_disk(tmp_path: Path) -> None:
    left, right = sides(100, 0)
    first, second = fit_views(left, right, ViewShape(4, 10), ViewShape(4))
    save_views({"a": first, "b": second}, tmp_path / "deep" / "views.npz")
    again = load_views(tmp_path / "deep" / "views.npz")
    np.testing.assert_allclose(again["a"].embedded(left), first.embedded(left), atol=1e-4)
    assert set(again) == {"a", "b"}


def test_damaged_views_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "views.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no views"):
        load_views(tmp_path / "views.npz")


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="same two or more rows"):
        fit_views(np.zeros((3, 2)), np.zeros((4, 2)), ViewShape(1), ViewShape(1))
