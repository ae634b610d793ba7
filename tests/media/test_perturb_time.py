"""The order of pictures: what is lost, doubled or frozen, also behind frame 255."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from media.clip import Clip
from media.perturb import PERTURBATIONS, perturb
from media.perturb_screen import Filming, shuttered, stripes_seen
from media.perturb_time import struck

LONG = 600


def numbered(length: int = LONG) -> Clip:
    """Every frame tells its number: hundreds, tens and ones in three bands, so also beyond what one byte holds."""
    digits = np.stack([np.arange(length) // 100, np.arange(length) // 10 % 10, np.arange(length) % 10], axis=1)
    frames = np.repeat((20 * digits + 30).astype(np.uint8), 8, axis=1)
    return Clip(np.broadcast_to(frames[:, :, None, None], (length, 24, 16, 3)).copy(), Fraction(25))


def numbers(clip: Clip) -> list[int]:
    digits = np.rint((clip.frames[:, [4, 12, 20], 8, 1].astype(float) - 30) / 20).astype(int)
    return [int(a * 100 + b * 10 + c) for a, b, c in digits]


def test_the_made_clip_tells_its_numbers() -> None:
    assert numbers(numbered()) == list(range(LONG))


@pytest.mark.parametrize("name", ["h264", "jpeg", "sharpen", "saturation", "warmth", "chroma", "noise"])
def test_no_frame_wraps_to_the_start_behind_255(name: str) -> None:
    out = perturb(numbered(), name, PERTURBATIONS[name].levels[0])
    bands = out.frames[:, [4, 12, 20], 6].astype(float).mean(axis=2)
    assert np.array_equal(np.rint((bands - 30) / 20) @ [100, 10, 1], np.arange(LONG))


def test_freeze_repeats_the_frame_before_and_keeps_the_length() -> None:
    out = numbers(perturb(numbered(), "freeze", 0.2))
    assert len(out) == LONG
    assert out == sorted(out)
    lost = [n for n, told in enumerate(out) if told != n]
    assert len(lost) == 120
    assert all(out[n] == out[n - 1] for n in lost)
    assert max(out) > 590, "frames behind 255 must not wrap"
    assert out != numbers(perturb(numbered(), "freeze", 0.2, seed=1))


def test_drop_takes_frames_out_and_moves_the_rest_up() -> None:
    out = numbers(perturb(numbered(), "drop", 0.4))
    assert len(out) == 360
    assert out == sorted(set(out))
    assert out[0] == 0
    assert out[-1] > 590


def test_duplicate_shows_frames_twice_and_keeps_the_length() -> None:
    out = numbers(perturb(numbered(), "duplicate", 0.1))
    assert len(out) == LONG
    assert out == sorted(out)
    assert max(out.count(n) for n in out) == 2
    assert 520 < out[-1] < LONG - 1


def test_fewer_frames_a_second_reach_the_end() -> None:
    out = numbers(perturb(numbered(), "fps", 10))
    assert len(out) == 240
    assert out[-1] > 590
    assert out == sorted(out)


def test_one_frame_at_least_is_struck_and_never_the_first() -> None:
    assert struck(100, 0.0, 0).tolist() == []
    assert len(struck(100, 0.001, 0)) == 1
    assert struck(1, 0.5, 0).tolist() == []
    for seed in range(20):
        assert 0 not in struck(5, 0.9, seed).tolist()
    assert struck(70_000, 0.5, 0).max() > 65_536


def test_a_filmed_screen_mixes_pictures_and_ends_with_the_last() -> None:
    frames = numbered(300).frames
    steady = [shuttered(frames, n, 0.0) for n in (0, 100, 299)]
    for n, seen in zip((0, 100, 299), steady, strict=True):
        assert np.array_equal(seen, frames[n].astype(np.float32)), n
    drifting = [shuttered(frames, n, 0.01) for n in range(300)]
    assert any((seen % 20 != 10).any() for seen in drifting), "no picture is a mixture of two"
    assert np.array_equal(drifting[-1], frames[-1].astype(np.float32))


def test_moire_is_a_slow_coloured_wave_about_one() -> None:
    stripes = stripes_seen(128, 128, Filming.of(3, seed=0))
    assert abs(float(stripes.mean()) - 1) < 0.02
    assert stripes.max() - stripes.min() > 0.2
    assert np.abs(stripes[..., 0] - stripes[..., 2]).mean() > 0.02, "red and blue stripes lie apart"
    spectrum = np.abs(np.fft.rfft(stripes[64, :, 1] - stripes[64, :, 1].mean()))
    assert np.argmax(spectrum) < 20, "the wave must be much longer than a pixel"
