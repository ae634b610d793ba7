"""Values in memory refuse nonsense and keep exact time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from media.clip import Clip, Waveform, frame_at, frames_for

NTSC = Fraction(30_000, 1001)


def wave(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("frames", "fps", "words"),
    [
        (np.zeros((2, 4, 4), np.uint8), Fraction(25), r"\(T, H, W, 3\)"),
        (np.zeros((2, 4, 4, 4), np.uint8), Fraction(25), r"\(T, H, W, 3\)"),
        (np.zeros((2, 4, 4, 3), np.float32), Fraction(25), "uint8"),
        (np.zeros((0, 4, 4, 3), np.uint8), Fraction(25), "at least one"),
        (np.zeros((2, 0, 4, 3), np.uint8), Fraction(25), "at least one"),
        (np.zeros((2, 4, 4, 3), np.uint8), Fraction(0), "positive Fraction"),
        (np.zeros((2, 4, 4, 3), np.uint8), 25, "positive Fraction"),
    ],
)
def test_a_clip_that_is_no_clip_is_refused(frames: np.ndarray, fps: Fraction, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Clip(frames, fps)


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (wave(8), 16_000, r"\(N, C\)"),
        (wave(8, 0), 16_000, r"\(N, C\)"),
        (np.zeros((8, 1), np.float64), 16_000, "float32"),
        (wave(8, 1), 0, "positive"),
        (np.full((8, 1), np.nan, np.float32), 16_000, "NaN"),
        (np.full((8, 1), np.inf, np.float32), 16_000, "infinity"),
    ],
)
def test_sound_that_is_no_sound_is_refused(samples: np.ndarray, rate: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Waveform(samples, rate)


def test_durations_are_exact() -> None:
    clip = Clip(np.zeros((30, 4, 6, 3), np.uint8), NTSC)
    assert clip.duration_seconds == Fraction(1001, 1000)
    assert (clip.length, clip.height, clip.width) == (30, 4, 6)
    assert Waveform(wave(44_101, 2), 44_100).duration_seconds == Fraction(44_101, 44_100)


def test_mono_is_the_mean_and_resampling_keeps_time_and_pitch() -> None:
    both = Waveform(np.stack([np.ones(4), np.zeros(4)], 1).astype(np.float32), 8000)
    assert np.allclose(both.mono().samples, 0.5)
    time = np.arange(48_000) / 48_000
    tone = Waveform(np.sin(2 * np.pi * 440 * time).astype(np.float32)[:, None], 48_000)
    slow = tone.resampled(16_000)
    assert slow.samples.shape == (16_000, 1)
    spectrum = np.abs(np.fft.rfft(slow.samples[:, 0]))
    assert int(spectrum.argmax()) == 440
    assert Waveform(wave(0, 1), 8000).resampled(16_000).sample_rate_hz == 16_000


@pytest.mark.parametrize(
    ("seconds", "fps", "index"),
    [
        (Fraction(0), Fraction(25), 0),
        (Fraction(39, 1000), Fraction(25), 0),
        (Fraction(40, 1000), Fraction(25), 1),
        (Fraction(1001, 30_000), NTSC, 1),
        (Fraction(1001 * 10_000, 30_000), NTSC, 10_000),
        (0.5, Fraction(25), 12),
    ],
)
def test_the_frame_on_screen_is_floored_exactly(seconds: Fraction | float, fps: Fraction, index: int) -> None:
    assert frame_at(seconds, fps) == index


def test_a_time_before_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        frame_at(-0.1, Fraction(25))


def test_frames_for_a_duration_are_rounded_and_never_none() -> None:
    assert frames_for(Fraction(1), Fraction(25)) == 25
    assert frames_for(Fraction(1), NTSC) == 30
    assert frames_for(Fraction(1, 1000), Fraction(25)) == 1
    assert frames_for(Fraction(2), Fraction(25)) == 50
