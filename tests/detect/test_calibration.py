import numpy as np
import pytest

from detect import metrics
from detect.calibration import Calibration, fit_calibration


def test_overconfident_logits_become_honest() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1.5, 4000)
    labels = rng.random(4000) < 1 / (1 + np.exp(-truth))
    fitted = fit_calibration(labels, 5 * truth + 3, balanced=False)
    honest = fitted.probabilities(5 * truth + 3)
    assert metrics.expected_calibration_error(labels, honest) < 0.03
    assert fitted.temperature == pytest.approx(5, rel=0.25)


def test_calibration_never_changes_the_order() -> None:
    logits = np.array([-3.0, -1.0, 0.5, 4.0])
    fitted = fit_calibration([0, 1, 0, 1], logits)
    assert (np.diff(fitted.probabilities(logits)) > 0).all()


def test_separable_clips_do_not_give_certainty() -> None:
    fitted = fit_calibration([0, 0, 1, 1], [-50.0, -40.0, 40.0, 50.0])
    assert 0.0 < fitted.probability(-1e9) < fitted.probability(1e9) < 1.0
    assert fitted.probability(45.0) < 0.99


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_one_label_cannot_calibrate(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both labels"):
        fit_calibration(labels, [0.1, 0.2])


def test_a_slope_that_turns_the_order_round_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        Calibration(slope=-1.0)
