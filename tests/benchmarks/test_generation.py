from math import nan

import numpy as np
import pytest

from benchmarks.generation import BANDS, mean_with_interval


def test_the_interval_is_drawn_over_whole_portraits() -> None:
    values = [0.0] * 50 + [1.0] * 50
    two = mean_with_interval(values, ["a"] * 50 + ["b"] * 50)
    many = mean_with_interval(values, [str(i) for i in range(100)])
    assert two[0] == many[0] == 0.5
    assert two[1:] == (0.0, 1.0)  # two portraits say little, however many clips they have
    assert many[1] > 0.35 and many[2] < 0.65


def test_clips_without_a_figure_are_left_out() -> None:
    assert mean_with_interval([1.0, nan, 3.0], ["a", "a", "b"])[0] == 2.0
    assert mean_with_interval([1.0, nan], ["a", "b"])[0] == 1.0


def test_real_people_and_vasa_lie_inside_the_bands() -> None:
    for band in BANDS:
        assert band.low <= band.real <= band.high and band.low <= band.vasa <= band.high


def test_lips_that_follow_the_voice_by_two_frames_peak_at_lag_two() -> None:
    from benchmarks.generation import lag_correlations
    from media.faces import FaceTrack

    rng = np.random.default_rng(1)
    voice = rng.random(100)
    lips = np.roll(voice, 2)
    count = len(lips)
    landmarks = np.zeros((count, 478, 3), np.float32)
    landmarks[:, 263, 0] = 100.0  # outer eye corners 100 px apart
    landmarks[:, 14, 1] = 10.0 * lips  # the lower lip opens with the voice
    track = FaceTrack(
        frame_indices=np.arange(count, dtype=np.int32),
        pts_seconds=np.arange(count) / 25,
        boxes=np.tile(np.array([0, 0, 100, 100], np.float32), (count, 1)),
        landmarks=landmarks,
        blendshapes=np.zeros((count, 51), np.float32),
        poses=np.tile(np.eye(4, dtype=np.float32), (count, 1, 1)),
        scores=np.ones(count, np.float32),
    )
    curve = lag_correlations(track, voice)
    assert int(np.argmax(curve)) - 8 == 2
    assert curve[10] == pytest.approx(1.0, abs=0.01)
