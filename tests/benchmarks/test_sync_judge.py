"""The sync judge on a made world: lips that open with one band of the sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.lip_geometry import LIP_VALUES, mirrored, sound_windows, without_person
from benchmarks.sync_judge import (
    MAX_SHIFT,
    Lesson,
    SyncJudge,
    aligned,
    in_sync,
    left_out,
    open_sync_judge,
    people_folds,
    sync_score,
    tried,
)
from media.landmarks import BLENDSHAPE_NAMES, LANDMARKS
from media.tracking import FaceTrack

FRAMES = 100


def a_track(length: int = FRAMES) -> FaceTrack:
    frames = np.arange(length, dtype=np.int32)
    return FaceTrack(
        frames, frames / 25, np.zeros((length, 4), np.float32), np.zeros((length, LANDMARKS, 3), np.float32),
        np.zeros((length, len(BLENDSHAPE_NAMES)), np.float32),
        np.repeat(np.eye(4, dtype=np.float32)[None], length, axis=0), np.ones(length, np.float32),
    )  # fmt: skip


def lesson(number: int, *, late: int = 0, deaf: bool = False, train: bool = True) -> Lesson:
    """Lips that follow bands 10 to 20, which come `late` frames after them."""
    random = np.random.default_rng(number)
    loud = np.convolve(random.normal(size=4 * FRAMES + 200), np.ones(12) / 12, "same")
    bands = 0.1 * random.normal(size=(len(loud), 80)).astype(np.float32)
    bands[:, 10:20] += 3 * loud[:, None]
    followed = loud if not deaf else np.convolve(random.normal(size=len(loud)), np.ones(12) / 12, "same")
    at = 4 * (np.arange(FRAMES) + 15 + late) + 2
    shape = np.random.default_rng(5).normal(size=LIP_VALUES)
    lips = 0.1 * followed[at][:, None] * (shape + mirrored(shape[None].astype(np.float32))[0]) / 2
    lips += 0.002 * random.normal(size=lips.shape)
    return Lesson(f"c{number:03d}", f"p{number}", True, train, 15, without_person(lips), bands, a_track())


@pytest.fixture(scope="module")
def judge() -> SyncJudge:
    return SyncJudge.trained([lesson(number) for number in range(6)])


def test_the_curve_has_its_least_at_the_true_shift(judge: SyncJudge) -> None:
    for late in (-4, 0, 3):
        new = lesson(20, late=late)
        assert judge.score(new.lips, new.bands, new.first).offset == late


def test_true_pairs_are_more_certain_than_deaf_lips(judge: SyncJudge) -> None:
    true, deaf = lesson(21), lesson(22, deaf=True)
    surely = judge.score(true.lips, true.bands, true.first)
    chance = judge.score(deaf.lips, deaf.bands, deaf.first)
    assert surely.confidence > 3 * chance.confidence
    assert surely.distance < chance.distance


def test_a_still_mouth_has_no_confidence(judge: SyncJudge) -> None:
    new = lesson(23)
    still = np.random.default_rng(0).normal(0, 0.002, new.lips.shape).astype(np.float32)
    assert judge.score(still, new.bands, new.first).confidence < 0.1


def test_clips_out_of_sync_are_left_out_and_late_ones_are_moved() -> None:
    kept = aligned(
        [*(lesson(number) for number in range(6)), lesson(30, late=2), lesson(31, deaf=True), lesson(32, late=9)]
    )
    names = {each.name: each.first for each in kept}
    assert names["c030"] == 17
    assert "c031" not in names
    assert "c032" not in names


def test_in_sync_gives_the_offset_or_none(judge: SyncJudge) -> None:
    assert in_sync(judge, lesson(24, late=-2)) == -2
    assert in_sync(judge, lesson(25, deaf=True)) is None


def test_no_person_is_both_learned_and_held() -> None:
    lessons = [lesson(number) for number in range(5)]
    held = []
    for taught, rest in people_folds(lessons, 3):
        assert not {each.person for each in taught} & {each.person for each in rest}
        held += [each.name for each in rest]
    assert sorted(held) == [each.name for each in lessons]


def test_left_out_people_are_found_within_a_frame() -> None:
    trial = left_out([lesson(number) for number in range(6)], folds=2)
    assert trial.within_one_frame == 1.0
    assert trial.two_way > 0.9


def test_score_reads_the_curve() -> None:
    curve = np.ones(2 * MAX_SHIFT + 1)
    curve[MAX_SHIFT + 4] = 0.25
    assert sync_score(curve) == (score := sync_score(curve))
    assert (score.distance, score.confidence, score.offset) == (0.25, 0.75, 4)


def test_a_kept_judge_is_taken_and_another_one_made_for_other_lessons(tmp_path: Path) -> None:
    lessons = [lesson(number) for number in range(4)]
    first = open_sync_judge(lessons, tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    again = open_sync_judge([*lessons, lesson(9, train=False)], tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    np.testing.assert_array_equal(first.of_lips(lessons[0].lips), again.of_lips(lessons[0].lips))
    open_sync_judge(lessons[:3], tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_no_lessons_no_judge(judge: SyncJudge) -> None:
    with pytest.raises(ValueError, match="got none"):
        SyncJudge.trained([])
    with pytest.raises(ValueError, match="needs lessons"):
        tried(judge, [])


def test_mirroring_twice_is_nothing_and_swaps_the_corners() -> None:
    lips = np.random.default_rng(0).normal(size=(3, LIP_VALUES)).astype(np.float32)
    np.testing.assert_array_equal(mirrored(mirrored(lips)), lips)
    once = mirrored(lips)
    assert once[0, 0] == -lips[0, 20]  # x of the right mouth corner, from the left one
    assert once[0, 1] == lips[0, 21]


def test_sound_beyond_the_ends_is_silence() -> None:
    windows = sound_windows(np.ones((40, 80), np.float32), np.array([-20, 5, 100]))
    assert windows.shape == (3, 20, 80)
    assert (windows[[0, 2]] == -2.0).all()
    assert (windows[1] == 1.0).all()
