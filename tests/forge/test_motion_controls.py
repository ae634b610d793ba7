from dataclasses import fields
from typing import Any

import pytest

from forge.motion.controls import EMOTIONS, RANGES, Controls, parse_emotion, parse_gaze
from forge.motion.features import INDEX


def test_the_defaults_are_a_neutral_talker_who_looks_into_the_camera() -> None:
    assert Controls.parse() == Controls()
    assert Controls().emotion_offsets() == {}


def test_what_a_person_types_becomes_controls() -> None:
    controls = Controls.parse(gaze="10,-5", emotion="happy:0.6", distance=1.2, head_motion=0.5, seed=7)
    assert (controls.gaze_yaw_degrees, controls.gaze_pitch_degrees) == (10.0, -5.0)
    assert (controls.emotion, controls.emotion_strength) == ("happy", 0.6)
    assert (controls.distance, controls.head_motion, controls.seed) == (1.2, 0.5, 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sad", ("sad", 0.6)),
        ("Angry : 1", ("angry", 1.0)),
        ("neutral", ("neutral", 0.0)),
        ("fearful:0", ("fearful", 0.0)),
    ],
)
def test_an_emotion_is_a_name_with_or_without_a_strength(text: str, expected: tuple[str, float]) -> None:
    assert parse_emotion(text) == expected


@pytest.mark.parametrize("text", ["", "10", "10,5,1", "a,b", "10;5"])
def test_a_gaze_that_is_not_two_numbers_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match='for example "10,-5"'):
        parse_gaze(text)


@pytest.mark.parametrize("text", ["", "glad", "happy:much", "happy:1.5", "happy:nan", "happy:-0.1"])
def test_unknown_emotions_and_impossible_strengths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="emotion") as refusal:
        Controls.parse(emotion=text)
    assert "\n" not in str(refusal.value)


def with_one(name: str, value: float) -> Controls:
    wishes: dict[str, Any] = {name: value}
    return Controls(**wishes)


@pytest.mark.parametrize("name", list(RANGES))
def test_every_range_is_kept_at_both_ends(name: str) -> None:
    low, high = RANGES[name]
    for good in (low, high):
        assert getattr(with_one(name, good), name) == good
    for bad in (low - 0.01, high + 0.01, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"{name} must be between"):
            with_one(name, bad)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, "7"])
def test_a_seed_is_a_natural_number(seed: object) -> None:
    with pytest.raises(ValueError, match="seed"):
        Controls(seed=seed)  # type: ignore[arg-type]


def test_every_emotion_moves_features_that_exist_and_moves_them_within_bounds() -> None:
    for name, offsets in EMOTIONS.items():
        assert set(offsets) <= set(INDEX), name
        assert all(0 < value <= 1 for value in offsets.values()), name
    faces = [frozenset(offsets.items()) for offsets in EMOTIONS.values()]
    assert len(set(faces)) == len(EMOTIONS) == 8


def test_a_frozen_pose_is_a_head_without_motion_and_excludes_asking_for_one() -> None:
    assert Controls.parse(frozen_pose=True).head_motion == 0.0 and Controls.parse(frozen_pose=True).frozen_pose
    assert Controls.parse(head_motion=0.0).frozen_pose and not Controls().frozen_pose
    with pytest.raises(ValueError, match="a frozen pose has no head motion"):
        Controls.parse(frozen_pose=True, head_motion=0.5)


def test_controls_are_recorded_field_by_field() -> None:
    assert set(Controls().to_json()) == {field.name for field in fields(Controls)}
