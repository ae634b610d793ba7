"""Motion between two pictures, and landmarks from a motion."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from forge.face.student_drive import drive, load_reading
from forge.face.student_motion import MEASURED, motion_between, place_of, turn_angles
from forge.mesh.fit import LOWER_INNER, UPPER_INNER, fit_head
from forge.mesh.rig import load_rig
from forge.mesh.warp import rotation
from forge.motion.features import INDEX, NAMES
from forge.portrait import ForgeError
from media.landmarks import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES

FloatArray = NDArray[np.float32]


def portrait(
    yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, scale: float = 90.0, **shapes: float
) -> FloatArray:
    """Landmarks of the rig's own face in a 256-pixel picture."""
    rig = load_rig()
    face = rig.neutral + sum((value * rig.action(name) for name, value in shapes.items()), np.zeros(3))
    turned = face @ rotation(*np.radians([yaw, pitch, roll])).T * scale
    return (turned + np.array([128.0, 100.0, 0.0])).astype(np.float32)


def read(**values: float) -> FloatArray:
    out = np.zeros(len(BLENDSHAPE_NAMES), np.float32)
    for name, value in values.items():
        out[BLENDSHAPE_INDEX[name]] = value
    return out


@pytest.mark.parametrize("angles", [(12.0, 0.0, 0.0), (0.0, -9.0, 0.0), (0.0, 0.0, 15.0), (20.0, 8.0, -10.0)])
def test_angles_of_a_turn_are_those_it_was_made_of(angles: tuple[float, float, float]) -> None:
    assert turn_angles(rotation(*np.radians(angles))) == pytest.approx(angles, abs=1e-6)


def test_a_turned_and_grown_head_is_read_as_such() -> None:
    values = motion_between(portrait(), portrait(yaw=10, roll=5, scale=99), read(jawOpen=0.4))
    assert values[INDEX["yaw"]] == pytest.approx(10, abs=0.2)
    assert values[INDEX["roll"]] == pytest.approx(5, abs=0.2)
    assert values[INDEX["log_scale"]] == pytest.approx(np.log(1.1), abs=1e-3)
    assert values[INDEX["jawOpen"]] == pytest.approx(0.4)
    assert values.shape == (len(NAMES),)


def test_eyes_that_look_to_the_pictures_right_have_a_positive_gaze() -> None:
    values = motion_between(portrait(), portrait(), read(eyeLookOutLeft=0.5, eyeLookInRight=0.5))
    assert values[INDEX["gaze_yaw"]] == pytest.approx(0.5)


def driven_of(landmarks: FloatArray, shapes: FloatArray):  # type: ignore[no-untyped-def]
    measured = dict(zip(BLENDSHAPE_NAMES, shapes.tolist(), strict=True))
    return drive(fit_head(landmarks.astype(float), measured), shapes)


def test_a_motion_that_asks_for_the_portraits_own_reading_moves_no_landmark() -> None:
    own = read(jawOpen=0.3, mouthSmileLeft=0.4, mouthSmileRight=0.4, eyeBlinkLeft=0.1, eyeBlinkRight=0.1)
    landmarks = portrait(jawOpen=0.4, mouthSmileLeft=0.3, mouthSmileRight=0.3)
    driven = driven_of(landmarks, own)
    values = motion_between(landmarks, landmarks, own).astype(float)
    points, _ = driven.posed(values)
    moved = np.linalg.norm(driven.pose(values)(points)[:468, :2] - driven.head.source[:468, :2], axis=1)
    assert moved.max() < 0.9  # the hinge of nearly closed lips is all that may act


def test_an_asked_pose_lands_exactly_where_it_was_measured() -> None:
    before, after = portrait(), portrait(yaw=14, pitch=6, roll=-4, scale=95)
    driven = driven_of(before, read())
    values = motion_between(before, after, read()).astype(float)
    shown = driven.pose(values)(before.astype(float))
    assert np.abs(shown[:, :2] - after[:, :2]).max() < 0.05
    assert place_of(after).scale == pytest.approx(95, rel=1e-3)


def test_more_jaw_opens_the_lips_further_and_none_shuts_them() -> None:
    landmarks = portrait(jawOpen=0.5)
    driven = driven_of(landmarks, read(jawOpen=0.5))
    gaps = []
    for jaw in (0.0, 0.3, 0.6, 0.9):
        values = np.zeros(len(NAMES))
        values[MEASURED] = read(jawOpen=jaw)
        points, _ = driven.posed(values)
        gaps.append(float((points[list(LOWER_INNER)] - points[list(UPPER_INNER)])[:, 1].max()))
    assert gaps == sorted(gaps)
    assert gaps[0] < 0.3 * gaps[-1]


def test_lips_and_lids_never_cross_whatever_is_asked() -> None:
    rng = np.random.default_rng(0)
    driven = driven_of(portrait(), read())
    for _ in range(20):
        values = np.zeros(len(NAMES))
        values[MEASURED] = rng.random(51) ** 3
        points, _ = driven.posed(values)
        down = driven.head.turn[:, 1]
        assert ((points[list(LOWER_INNER)] - points[list(UPPER_INNER)]) @ down).min() > -0.6


def test_a_missing_reading_is_one_line(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ForgeError, match="not a readable file of the landmark reading"):
        load_reading(tmp_path / "none.safetensors")
