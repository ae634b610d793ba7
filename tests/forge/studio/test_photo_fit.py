"""The head rig finds itself again in landmarks that were projected from it."""

from __future__ import annotations

import numpy as np
import pytest

from forge.motion.features import BLENDSHAPE_NAMES
from forge.studio.head import PIVOT, load_head
from forge.studio.photo_fit import FOCAL_PER_SIDE, FitBasis, fit_landmarks, lid_borders, rest_shape, shape_in_picture
from media.landmarks import head_angles

SIZE = 512


@pytest.fixture(scope="module")
def basis() -> FitBasis:
    """The shipped head, prepared."""
    return FitBasis.of(load_head())


def seen_from(
    basis: FitBasis, yaw: float, smile: float, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Landmarks, measured coefficients and the true turn of a person with some shape."""
    rng = np.random.default_rng(3)
    identity = rng.normal(0, 0.8, basis.modes)
    expression = np.zeros(len(BLENDSHAPE_NAMES))
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        expression[BLENDSHAPE_NAMES.index(name)] = smile
    head = (
        basis.neutral_L3
        + np.tensordot(identity, basis.identity_KL3, 1)
        + np.tensordot(expression, basis.expression_EL3, 1)
    )
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    whole = np.diag([1.0, -1.0, -1.0]) @ turn
    camera = (head - np.array(PIVOT)) @ whole.T + [2.0, -1.0, 80.0]
    focal = FOCAL_PER_SIDE * SIZE
    pixels = focal * camera[:, :2] / camera[:, 2:] + SIZE / 2 - 0.5 + rng.normal(0, noise, (len(camera), 2))
    depth = (camera[:, 2] - camera[:, 2].mean()) * focal / 80.0
    return np.column_stack([pixels, depth]).astype(np.float32), expression[:51].astype(np.float32), whole


@pytest.mark.parametrize("yaw", [-15.0, 0.0, 20.0])
def test_pose_is_found_within_a_degree_and_landmarks_within_a_pixel_and_a_half(basis: FitBasis, yaw: float) -> None:
    landmarks, measured, turn = seen_from(basis, yaw, smile=0.4, noise=0.5)
    fit = fit_landmarks(basis, landmarks, measured, SIZE)
    apart = np.degrees(np.arccos(np.clip((np.trace(fit.turn @ turn.T) - 1) / 2, -1, 1)))
    assert apart < 2.0
    assert fit.median_pixels < 1.5
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ fit.turn
    assert head_angles(pose)[0] == pytest.approx(yaw, abs=2.0)


def test_coefficients_stay_in_their_range_and_identity_is_drawn_to_the_mean(basis: FitBasis) -> None:
    landmarks, measured, _ = seen_from(basis, 5.0, smile=0.5)
    fit = fit_landmarks(basis, landmarks, measured, SIZE)
    assert fit.expression_E.min() >= 0.0 and fit.expression_E.max() <= 1.0
    assert np.abs(fit.identity_K).max() <= 3.0
    assert fit.expression_E[BLENDSHAPE_NAMES.index("mouthSmileLeft")] == pytest.approx(0.5, abs=0.25)


def test_lips_that_touch_in_the_picture_touch_at_rest(basis: FitBasis) -> None:
    landmarks, measured, _ = seen_from(basis, 0.0, smile=0.0, noise=0.6)
    fit = fit_landmarks(basis, landmarks, measured, SIZE)
    shape = rest_shape(basis, fit)
    head = basis.head
    gap = shape[head.lip_upper_N.numpy(), 1] - shape[head.lip_lower_N.numpy(), 1]
    assert gap.max() < 0.1, "a millimetre: the rig itself pushes crossing lips apart"


def test_the_back_of_the_head_is_not_moved_by_the_face(basis: FitBasis) -> None:
    landmarks, measured, _ = seen_from(basis, 0.0, smile=0.2, noise=1.0)
    fit = fit_landmarks(basis, landmarks, measured, SIZE)
    back = basis.neutral_V3[:, 2] < -5
    assert np.linalg.norm(fit.residual_V3[back], axis=1).mean() < 0.05
    assert np.isfinite(shape_in_picture(basis, fit)).all()


def test_the_borders_of_the_lids_lie_above_and_below_the_pupils(basis: FitBasis) -> None:
    neutral = basis.head.neutral_V3.numpy()
    for (upper, lower), eye in zip(lid_borders(basis.head), (1, 0), strict=True):
        pupil = basis.head.eye_pivot_23[eye, 1].item()
        assert neutral[upper, 1].mean() > pupil > neutral[lower, 1].mean()
        assert len(upper) > 8


def test_landmarks_of_another_shape_are_refused(basis: FitBasis) -> None:
    with pytest.raises(ValueError, match=r"landmarks must be \(478, 3\), got \(68, 3\)"):
        fit_landmarks(basis, np.zeros((68, 3), np.float32), np.zeros(51, np.float32), SIZE)
    with pytest.raises(ValueError, match="one place"):
        fit_landmarks(basis, np.zeros((478, 3), np.float32), np.zeros(51, np.float32), SIZE)
