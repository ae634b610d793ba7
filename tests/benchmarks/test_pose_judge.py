"""The judge of heads on a made world: heads that nod with the voice."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from benchmarks.pose_judge import PoseJudge, Rung, angles_of_track, ladder, trusted
from benchmarks.sync_judge import Lesson
from media.landmarks import BLENDSHAPE_NAMES, LANDMARKS
from media.tracking import FaceTrack

FRAMES = 150


def lesson(number: int) -> Lesson:
    random = np.random.default_rng(number)
    loud = gaussian_filter1d(random.normal(size=4 * FRAMES), 20) * 8
    bands = (0.1 * random.normal(size=(len(loud), 80)) + loud[:, None]).astype(np.float32)
    nod = 6 * loud[4 * np.arange(FRAMES) + 2]
    poses = np.repeat(np.eye(4, dtype=np.float32)[None], FRAMES, axis=0)
    poses[:, :3, :3] = Rotation.from_euler("x", -nod[:, None], degrees=True).as_matrix()
    frames = np.arange(FRAMES, dtype=np.int32)
    track = FaceTrack(
        frames, frames / 25, np.zeros((FRAMES, 4), np.float32), np.zeros((FRAMES, LANDMARKS, 3), np.float32),
        np.zeros((FRAMES, len(BLENDSHAPE_NAMES)), np.float32), poses, np.ones(FRAMES, np.float32),
    )  # fmt: skip
    return Lesson(f"c{number}", f"p{number}", True, True, 0, np.zeros((FRAMES, 80), np.float32), bands, track)


@pytest.fixture(scope="module")
def judge() -> PoseJudge:
    return PoseJudge.trained([lesson(number) for number in range(12)])


def test_a_head_that_nods_with_its_voice_beats_one_with_another_voice(judge: PoseJudge) -> None:
    rungs = {rung.change: rung.score for rung in ladder(judge, [lesson(number) for number in range(20, 26)])}
    assert rungs["shift 0"] > rungs["another's sound"] + 0.2
    assert rungs["shift 0"] > rungs["shift 4"]


def test_less_than_three_seconds_has_no_score(judge: PoseJudge) -> None:
    new = lesson(30)
    assert isnan(judge.score(angles_of_track(new.track)[:70], new.bands))


def test_a_ladder_out_of_order_is_not_trusted() -> None:
    good = [Rung(f"shift {i}", 0.5 - 0.1 * i) for i in range(5)] + [Rung("another's sound", 0.0)]
    good += [Rung(f"scale {scale:g}", 0.5 - abs(np.log(scale)) / 10) for scale in (0.25, 0.5, 1.0, 2.0, 4.0)]
    assert trusted(good)
    for change, score in (("another's sound", 0.48), ("shift 2", 0.6), ("scale 2", 0.7)):
        assert not trusted([replace(rung, score=score) if rung.change == change else rung for rung in good])


def test_short_lessons_teach_nothing() -> None:
    with pytest.raises(ValueError, match="three seconds"):
        PoseJudge.trained([])
