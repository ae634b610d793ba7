"""Talking statistics on curves and tracks with known answers."""

from __future__ import annotations

import json
from fractions import Fraction
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from benchmarks import talking
from benchmarks.talking import (
    Talking,
    best_lag,
    correlation,
    count_blinks,
    gaze_curve,
    head_turn,
    mean_talking,
    measure_talking,
    speech_envelope,
    turn_angles,
)
from media.clip import Clip, Waveform
from media.faces import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES, LANDMARKS, FaceTrack
from media.video import write_clip


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.convolve(np.random.default_rng(seed).normal(size=length + 4), np.ones(5) / 5, "valid")


def a_track(
    length: int = 50, aperture: np.ndarray | None = None, frames: np.ndarray | None = None, **shapes: np.ndarray
) -> FaceTrack:
    """A still head, 100 px between the outer eye corners, with given lips and blendshapes."""
    landmarks = np.zeros((length, LANDMARKS, 3), np.float32)
    landmarks[:, 33, 0], landmarks[:, 263, 0] = 50, 150
    landmarks[:, 14, 1] = 100 * (np.zeros(length) if aperture is None else aperture)
    blendshapes = np.zeros((length, len(BLENDSHAPE_NAMES)), np.float32)
    for name, curve in shapes.items():
        blendshapes[:, BLENDSHAPE_INDEX[name]] = curve
    indices = np.arange(length, dtype=np.int32) if frames is None else frames.astype(np.int32)
    poses = np.repeat(np.eye(4, dtype=np.float32)[None], length, axis=0)
    boxes = np.tile(np.array([0, 0, 200, 200], np.float32), (length, 1))
    return FaceTrack(indices, indices / 25, boxes, landmarks, blendshapes, poses, np.ones(length, np.float32))


def about_y(degrees: float) -> np.ndarray:
    pose = np.eye(4, dtype=np.float32)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = c, s, -s, c
    return pose


@pytest.mark.parametrize("shift", [-5, 0, 3, 8])
def test_the_lag_of_a_shifted_curve_is_found_with_its_sign(shift: int) -> None:
    wave = noise(200)
    late = np.roll(wave, shift)  # positive: the first curve comes later
    value, lag = best_lag(late, wave)
    assert lag == shift and value > 0.97


def test_frames_in_which_the_face_is_hidden_do_not_count() -> None:
    wave = noise(120)
    holed = wave.copy()
    holed[30:50] = np.nan
    assert best_lag(holed, wave)[0] == pytest.approx(1.0)


def test_a_still_mouth_or_a_short_clip_has_no_correlation() -> None:
    assert isnan(best_lag(np.zeros(100), noise(100))[0])
    assert isnan(correlation(np.arange(9.0), np.arange(9.0)))


def test_the_best_correlation_of_opposite_curves_over_no_shift_is_negative() -> None:
    value, lag = best_lag(-noise(200), noise(200), max_lag=0)
    assert value == pytest.approx(-1.0) and lag == 0


def test_the_envelope_follows_the_loudness_frame_by_frame() -> None:
    rate = 16_000
    time = np.arange(2 * rate) / rate
    tone = (np.where(time >= 1.0, 0.5, 0.0) * np.sin(2 * np.pi * 400 * time)).astype(np.float32)
    envelope = speech_envelope(Waveform(tone[:, None], rate), 60)
    assert envelope[:24] == pytest.approx(0, abs=1e-6)
    assert envelope[27:48] == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert envelope[52:] == pytest.approx(0, abs=1e-6)  # pictures longer than the sound


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_the_envelope_keeps_time_at_any_sample_rate(rate: int) -> None:
    samples = np.zeros((rate * 40, 1), np.float32)
    click = round(rate * 36.02)  # the middle of frame 900
    samples[click - 4 : click + 4] = 1
    assert int(np.argmax(speech_envelope(Waveform(samples, rate), 1000))) in (900, 899, 901)


def test_turns_are_geodesic_angles_and_pairs_across_a_gap_are_left_out() -> None:
    poses = np.stack([about_y(a) for a in (0, 0.2, 1.2, 31.2, 31.2)])
    assert turn_angles(poses, np.arange(5, dtype=np.int32)) == pytest.approx([0.2, 1.0, 30.0, 0.0], abs=1e-3)
    assert turn_angles(poses, np.array([0, 1, 2, 9, 10], np.int32)) == pytest.approx([0.2, 1.0, 0.0], abs=1e-3)


def test_a_steady_turn_is_its_speed_over_three_angles_and_jitter_hardly_counts() -> None:
    frames = np.arange(100, dtype=np.int32)
    steady = np.stack([about_y(0.6 * i) for i in range(100)])
    assert head_turn(steady, frames) == pytest.approx(0.2, abs=1e-3)
    jitter = np.stack([about_y(0.5 * (-1) ** i) for i in range(100)])
    assert turn_angles(jitter, frames).mean() == pytest.approx(1.0, abs=1e-3)
    assert head_turn(jitter, frames) < 0.1


def test_a_head_that_jumps_while_it_is_hidden_has_not_turned() -> None:
    poses = np.stack([about_y(0 if i < 20 else 40) for i in range(40)])
    hidden = np.where(np.arange(40) < 20, np.arange(40), np.arange(40) + 10).astype(np.int32)
    assert head_turn(poses, hidden) == pytest.approx(0, abs=1e-6)
    assert isnan(head_turn(poses[:4], np.arange(4, dtype=np.int32)))


def test_blinks_are_counted_with_hysteresis() -> None:
    open_eye = [0.1] * 5
    blink = [0.6, 0.9, 0.6, 0.2]
    flutter = [0.55, 0.45, 0.55, 0.45, 0.6, 0.2]
    assert count_blinks(np.array(open_eye + blink + open_eye + blink + open_eye)) == 2
    assert count_blinks(np.array(open_eye + flutter + open_eye)) == 1
    assert count_blinks(np.array(open_eye + [0.9] * 40 + open_eye)) == 0  # asleep
    assert count_blinks(np.array(open_eye + [0.9] * 4)) == 0  # never seen to open again
    assert count_blinks(np.array([])) == 0


def test_gaze_to_the_persons_left_and_up_is_positive() -> None:
    left = a_track(4, eyeLookOutLeft=np.ones(4), eyeLookInRight=np.ones(4))
    assert gaze_curve(left) == pytest.approx(np.tile([1.0, 0.0], (4, 1)))
    up = a_track(4, eyeLookUpLeft=np.ones(4), eyeLookUpRight=np.ones(4))
    assert gaze_curve(up) == pytest.approx(np.tile([0.0, 1.0], (4, 1)))


def test_a_mouth_that_follows_the_voice_scores_high_and_a_shuffled_one_low() -> None:
    length, rate = 150, 16_000
    loudness = np.abs(noise(length, 3))
    carrier = np.sin(np.arange(length * rate // 25) * 0.2)
    sound = Waveform((np.repeat(loudness, rate // 25) * carrier).astype(np.float32)[:, None] / 4, rate)
    follows = measure_talking("a", a_track(length, np.roll(loudness, 2) / 10), sound)
    shuffled = measure_talking("b", a_track(length, np.random.default_rng(1).permutation(loudness) / 10), sound)
    assert follows.voice_correlation > 0.85 and follows.voice_lag_frames == 2
    assert shuffled.voice_correlation < 0.5
    assert follows.lip_deviation == pytest.approx((loudness / 10).std(), rel=1e-4)


def test_statistics_of_a_known_track() -> None:
    closure = np.zeros(100)
    closure[[20, 21, 60]] = 1
    facts = measure_talking("a", a_track(100, eyeBlinkLeft=closure, eyeBlinkRight=closure), None)
    assert facts.blinks_per_minute == pytest.approx(2 / 4 * 60)
    assert facts.head_turn_degrees == 0 and facts.lip_deviation == 0 and facts.gaze_deviation == 0
    assert isnan(facts.voice_correlation) and isnan(facts.voice_lag_frames)


def test_the_mean_leaves_out_what_a_clip_does_not_have() -> None:
    silent = Talking("a", 50, 2.0, 0.04, nan, nan, 0.2, 0.9, 30, 0.1)
    loud = Talking("b", 100, 4.0, 0.06, 0.3, 1.0, 0.4, 1.1, 10, 0.3)
    mean = mean_talking([silent, loud])
    assert (mean.clip, mean.frames, mean.seconds) == ("mean of 2", 150, 6.0)
    assert mean.lip_deviation == pytest.approx(0.05) and mean.voice_correlation == pytest.approx(0.3)
    with pytest.raises(ValueError, match="at least one"):
        mean_talking([])


def test_missing_numbers_are_null_in_json() -> None:
    line = json.loads(talking.as_json(Talking("a", 50, 2.0, 0.04, nan, nan, 0.2, 0.9, 30, 0.1)))
    assert line["voice_correlation"] is None and line["lip_deviation"] == 0.04


@pytest.fixture(scope="module")
def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(talking.main)
    return app


def test_a_file_without_a_face_is_said_in_one_line(command: typer.Typer, tmp_path: Path) -> None:
    write_clip(Clip(np.full((5, 64, 64, 3), 90, np.uint8), Fraction(25)), tmp_path / "grey.mp4")
    result = CliRunner().invoke(command, [str(tmp_path / "grey.mp4"), "--json"])
    assert result.exit_code == 1 and result.stdout == "" and "no face found" in result.stderr


def test_an_unreadable_file_is_one_line_and_a_failure(command: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    result = CliRunner().invoke(command, [str(tmp_path / "text.mp4")])
    assert result.exit_code == 1 and "text.mp4" in result.stderr and "Traceback" not in result.stderr


def test_a_real_talking_clip_gives_one_json_line_and_the_mean(command: typer.Typer, data_pack: Path) -> None:
    clip = data_pack / "clips" / "c0033.mp4"
    result = CliRunner().invoke(command, [str(clip), "--json"])
    assert result.exit_code == 0
    first, mean = (json.loads(line) for line in result.stdout.splitlines())
    assert first["clip"] == "c0033.mp4" and first["frames"] >= 145
    assert 0.01 < first["lip_deviation"] < 0.15 and first["voice_correlation"] > 0.3
    assert mean["lip_deviation"] == first["lip_deviation"]
