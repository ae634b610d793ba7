"""A probe finds what a code gives away and stays at chance where there is nothing."""

from __future__ import annotations

from math import isnan, nan

import numpy as np
import pytest

from benchmarks.latent_probes import identity_from, pose_from, probe_rows

PEOPLE, FRAMES = 8, 30


@pytest.fixture(scope="module")
def facts() -> tuple[list[str], np.ndarray, list[int], np.ndarray]:
    """Names, yaw, halves of time, and dynamics that know neither."""
    rng = np.random.default_rng(0)
    names = [f"p{p}" for p in range(PEOPLE) for _ in range(FRAMES)]
    halves = [int(i >= FRAMES / 2) for _ in range(PEOPLE) for i in range(FRAMES)]
    return names, rng.normal(0, 10, len(names)), halves, rng.normal(size=(len(names), 12))


def test_a_code_that_says_nothing_leaves_the_probes_at_chance(
    facts: tuple[list[str], np.ndarray, list[int], np.ndarray],
) -> None:
    names, yaw, halves, codes = facts
    who, where = identity_from(codes, names, halves), pose_from(codes, yaw.tolist(), names)
    assert who.chance == pytest.approx(1 / PEOPLE) and where.chance == pytest.approx(1 / 3, abs=0.01)
    assert who.accuracy.value < 2.2 * who.chance
    assert where.accuracy.value < 1.4 * where.chance


def test_a_code_that_carries_identity_or_pose_is_found_out(
    facts: tuple[list[str], np.ndarray, list[int], np.ndarray],
) -> None:
    names, yaw, halves, codes = facts
    of_people = 2 * np.random.default_rng(1).normal(size=(PEOPLE, 12)).repeat(FRAMES, axis=0)
    assert identity_from(codes + of_people, names, halves).accuracy.value > 0.8
    turning = codes.copy()
    turning[:, 0] += 0.3 * yaw
    assert pose_from(turning, yaw.tolist(), names).accuracy.value > 0.6


def test_one_person_cannot_be_told_from_others() -> None:
    codes = np.random.default_rng(0).normal(size=(10, 3))
    assert isnan(pose_from(codes, [0.0] * 10, ["a"] * 10).accuracy.value)
    assert identity_from(codes, ["a"] * 10, [0, 1] * 5).accuracy.reason == "one person only"


def test_codes_of_frames_without_a_face_are_refused() -> None:
    codes = np.array([[nan, 0.0]])
    with pytest.raises(ValueError, match="finite"):
        identity_from(codes, ["a"], [0])
    with pytest.raises(ValueError, match="N facts"):
        pose_from(np.zeros((3, 2)), [0.0], ["a"] * 3)


def test_rows_state_accuracy_beside_chance(facts: tuple[list[str], np.ndarray, list[int], np.ndarray]) -> None:
    names, yaw, halves, codes = facts
    rows = probe_rows("made", codes, names, yaw.tolist(), halves)
    assert [row["read off it"] for row in rows] == ["identity", "pose (third of yaw)"]
    assert all("chance" in row for row in rows)
