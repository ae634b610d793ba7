from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from detect.metrics import roc_auc
from detect.models.forest import LEAST_IN_LEAF, SHARE_OF_MEASUREMENTS, Forest, fit_forest

RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (160, 5))
# synthetic on both sides of what is real: no line can tell them
LABEL = np.abs(X[:, 2]) > 0.7
WEIGHT = np.full(160, 1 / 160)


@pytest.fixture(scope="module")
def forest() -> Forest:
    return fit_forest(X, LABEL, WEIGHT, trees=30)


def test_it_gives_what_the_fitted_library_gives(forest: Forest) -> None:
    model = ExtraTreesClassifier(30, min_samples_leaf=LEAST_IN_LEAF, max_features=SHARE_OF_MEASUREMENTS, random_state=0)
    model.fit(X.astype(np.float32), LABEL, sample_weight=WEIGHT * len(WEIGHT))
    fresh = RNG.normal(0, 1, (50, 5))
    assert forest.probability(fresh) == pytest.approx(model.predict_proba(fresh.astype(np.float32))[:, 1], abs=1e-5)


def test_it_learns_what_lies_on_both_sides(forest: Forest) -> None:
    fresh = RNG.normal(0, 1, (300, 5))
    assert roc_auc(np.abs(fresh[:, 2]) > 0.7, forest.log_odds(fresh)) > 0.9


def test_it_survives_being_stored(forest: Forest) -> None:
    again = Forest.from_tensors(forest.tensors("motion"), "motion")
    assert (again.probability(X) == forest.probability(X)).all()
    with pytest.raises(ValueError, match="lacks"):
        Forest.from_tensors({}, "motion")


def test_the_same_seed_gives_the_same_trees(forest: Forest) -> None:
    again = fit_forest(X, LABEL, WEIGHT, trees=30)
    assert all((a == b).all() for a, b in zip(again.tensors("m").values(), forest.tensors("m").values(), strict=True))


def test_trees_that_would_lead_round_in_circles_are_refused(forest: Forest) -> None:
    inner = int(np.flatnonzero(forest.feature >= 0)[0])
    left = forest.left.copy()
    left[inner] = inner
    with pytest.raises(ValueError, match="after it"):
        replace(forest, left=left)
    with pytest.raises(ValueError, match="one length"):
        replace(forest, value=forest.value[:-1])


def test_missing_or_infinite_measurements_are_refused(forest: Forest) -> None:
    with pytest.raises(ValueError, match="finite"):
        forest.probability(np.full((1, 5), np.nan))
    with pytest.raises(ValueError, match="samples must be"):
        forest.probability(X[:, :2])


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="both labels"):
        fit_forest(X, np.ones(160, bool), WEIGHT, trees=2)
