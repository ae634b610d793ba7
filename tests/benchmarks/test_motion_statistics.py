"""Statistics of motion on curves with known answers."""

from __future__ import annotations

from fractions import Fraction
from math import isnan

import numpy as np
import pytest

from benchmarks.motion_statistics import (
    beat_alignment,
    blink_seconds,
    blink_spans,
    closures_of,
    distance_of_takes,
    gaze_in_camera,
    head_turning_points,
    least_gaps,
    likeness_of_takes,
    minute_drift,
    rotations,
    seam_jerk,
    voice_beats,
    vowels_of,
)
from benchmarks.talking import count_blinks
from forge.motion.features import Motion
from media.landmarks import head_angles


def test_rotations_are_what_the_tracker_reads_back() -> None:
    wanted = np.array([[10.0, -5.0, 3.0], [-25.0, 12.0, -8.0], [0.0, 0.0, 0.0]])
    for angles, turn in zip(wanted, rotations(wanted), strict=True):
        pose = np.eye(4, dtype=np.float32)
        pose[:3, :3] = turn
        np.testing.assert_allclose(head_angles(pose), angles, atol=1e-3)


def test_blinks_have_a_length_and_are_counted_as_elsewhere() -> None:
    closure = np.zeros(100)
    closure[10:15], closure[40:44], closure[60:90] = 0.9, 0.8, 1.0  # the last is sleep
    assert blink_spans(closure) == [(10, 15), (40, 44)]
    assert len(blink_spans(closure)) == count_blinks(closure)
    assert blink_seconds(closure) == pytest.approx(0.18)
    assert isnan(blink_seconds(np.zeros(50)))


def test_onsets_of_the_voice_are_its_beats() -> None:
    bands = np.full((400, 80), -1.5, np.float32)
    for start in (100, 200, 300):
        bands[start : start + 40] = 0.0
    beats = voice_beats(bands)
    assert len(beats) == 3
    np.testing.assert_allclose(beats, [1.0, 2.0, 3.0], atol=0.06)


def test_turning_points_on_the_beat_score_one_and_far_ones_nothing() -> None:
    beats = np.array([1.0, 2.0, 3.0])
    assert beat_alignment(beats, beats) == pytest.approx(1.0)
    assert beat_alignment(beats + 0.5, beats) < 0.01
    assert isnan(beat_alignment(np.array([]), beats))


def test_a_swinging_head_turns_at_its_ends() -> None:
    seconds = (np.arange(100) + 0.5) / 25
    angles = np.zeros((100, 3))
    angles[:, 1] = 5 * np.cos(2 * np.pi * seconds / 2)  # turns at 0, 1, 2, 3 s
    np.testing.assert_allclose(head_turning_points(angles)[:3], [1.0, 2.0, 3.0], atol=0.05)


VISEMES = [(0.0, "silence"), (0.4, "p"), (0.5, "a"), (0.9, "p"), (1.0, "i"), (1.03, "silence")]


def test_closures_and_vowels_are_read_off_the_visemes() -> None:
    assert closures_of(VISEMES, 1.5) == [(0.4, 0.5), (0.9, 1.0)]
    assert vowels_of(VISEMES, 1.5) == [(0.5, 0.9)]


def test_the_least_gap_of_each_span_decides() -> None:
    gap = np.full(50, 0.1)
    gap[11] = 0.0  # 0.44 to 0.48 s
    np.testing.assert_allclose(least_gaps(gap, closures_of(VISEMES, 1.5), 0.04), [0.0, 0.1])
    assert len(least_gaps(gap, [(10.0, 10.1)], 0.0)) == 0


def test_a_step_at_a_seam_shows_and_a_smooth_curve_does_not() -> None:
    smooth = np.sin(np.arange(200) / 7)[:, None]
    assert seam_jerk(smooth, 50) == pytest.approx(1.0, abs=0.4)
    stepped = smooth + 0.3 * (np.arange(200) // 50)[:, None]
    assert seam_jerk(stepped, 50) > 20
    elsewhere = smooth + 0.3 * ((np.arange(200) + 20) // 50)[:, None]
    assert seam_jerk(elsewhere, 50) < 1
    assert isnan(seam_jerk(np.zeros((200, 2)), 50))
    assert isnan(seam_jerk(smooth[:30], 50))


def test_takes_are_compared_in_pairs() -> None:
    a = np.sin(np.arange(50) / 3)
    assert likeness_of_takes([a, a, 2 * a]) == pytest.approx(1.0)
    assert likeness_of_takes([a, -a]) == pytest.approx(-1.0)
    assert distance_of_takes([a, a + 2]) == pytest.approx(2.0)
    assert isnan(distance_of_takes([a]))


def test_drift_is_told_in_deviations_within_a_minute() -> None:
    wave = np.sin(np.arange(3000))
    assert minute_drift(wave, 1000) == pytest.approx(0.0, abs=0.01)
    drifting = wave + np.repeat([0.0, 1.0, 2.0], 1000)
    assert minute_drift(drifting, 1000) == pytest.approx(2 / wave.std(), rel=0.02)
    assert isnan(minute_drift(wave[:1500], 1000))


def test_gaze_adds_the_turn_of_the_head() -> None:
    motion = Motion.neutral(3, Fraction(25)).replace(yaw=5.0, gaze_yaw=0.5, gaze_pitch=-0.1)
    np.testing.assert_allclose(gaze_in_camera(motion), [[20.0, -3.0]] * 3, atol=1e-4)
