"""Each perturbation does what its name says, the same way each time, and leaves its input alone."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from media.clip import Clip, MediaError, Waveform
from media.perturb import PERTURBATIONS, PLATFORMS, SEVEN_BY_FIVE, Level, available_perturbations, perturb

ALL = [(name, level) for name, kind in PERTURBATIONS.items() for level in (kind.levels[0], kind.levels[-1])]


@pytest.fixture(scope="module")
def moving() -> Clip:
    """A drifting texture with sides that are no multiple of 16, and a tone."""
    noise = np.random.default_rng(0).integers(0, 255, (90, 122, 3), dtype=np.uint8)
    soft = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.2), None, 20, 235, cv2.NORM_MINMAX)
    tone = 0.4 * np.sin(2 * np.pi * 300 * np.arange(9600) / 16_000)
    frames = np.stack([np.roll(soft, 2 * i, axis=1) for i in range(15)]).astype(np.uint8)
    return Clip(frames, Fraction(25), Waveform(tone.astype(np.float32)[:, None], 16_000))


def distance(a: Clip, b: Clip) -> float:
    return float(np.abs(a.frames.astype(int) - b.frames).mean())


def sharpness(clip: Clip) -> float:
    return float(np.mean([cv2.Laplacian(frame[..., 1], cv2.CV_64F).var() for frame in clip.frames]))


@pytest.mark.parametrize(("name", "level"), ALL, ids=lambda value: str(value))
def test_twice_the_same_perturbation_gives_the_same_clip(moving: Clip, name: str, level: Level) -> None:
    if not PERTURBATIONS[name].available:
        pytest.skip(f"no encoder {PERTURBATIONS[name].encoder}")
    before = moving.frames.copy()
    once, again = perturb(moving, name, level), perturb(moving, name, level)
    assert np.array_equal(once.frames, again.frames)
    assert np.array_equal(moving.frames, before)
    if name not in ("crop", "letterbox", "fps", "drop", "screen_recorder", "platform"):
        assert once.frames.shape == moving.frames.shape
        assert once.fps == moving.fps
    if name != "silence":
        assert once.sound is not None
        assert moving.sound is not None
        assert once.sound.samples.shape == moving.sound.samples.shape
        if once.sound is not moving.sound:
            kept = np.corrcoef(once.sound.samples[:, 0], moving.sound.samples[:, 0])[0, 1]
            assert kept > 0.9, "the sound is out of step"


def test_every_encoder_of_the_ladder_is_in_this_build() -> None:
    assert set(available_perturbations()) == set(PERTURBATIONS)


RISING = [
    "h264",
    "hevc",
    "vp9",
    "av1",
    "jpeg",
    "resize",
    "pixelate",
    "chroma",
    "blur",
    "noise",
    "blocks",
    "generations",
]


@pytest.mark.parametrize("name", [*RISING, "text", "freeze", "duplicate", "screen"])
def test_levels_go_from_mild_to_hard(moving: Clip, name: str) -> None:
    levels = PERTURBATIONS[name].levels
    mild, hard = perturb(moving, name, levels[1]), perturb(moving, name, levels[-1])
    assert 0 < distance(mild, moving) < distance(hard, moving)
    assert distance(hard, moving) < 55


def test_codecs_return_every_frame_in_its_place(moving: Clip) -> None:
    for name in ("h264", "hevc", "vp9", "av1"):
        out = perturb(moving, name, PERTURBATIONS[name].levels[0])
        for index in range(moving.length):
            errors = [np.abs(out.frames[index].astype(int) - frame).mean() for frame in moving.frames]
            assert int(np.argmin(errors)) == index, name


def test_odd_sides_come_back_whole() -> None:
    frames = np.full((4, 33, 35, 3), 90, np.uint8)
    out = perturb(Clip(frames, Fraction(25)), "h264", 23)
    assert out.frames.shape == frames.shape
    assert np.abs(out.frames.astype(int) - 90).max() <= 3


def test_jpeg_is_real_jpeg(moving: Clip) -> None:
    """The first 8 x 8 block is what a JPEG of that quality makes of it, with colours in order."""
    data = cv2.imencode(".jpg", moving.frames[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    expected = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert expected is not None
    assert np.array_equal(perturb(moving, "jpeg", 50).frames[0], expected[..., ::-1])


def test_blur_softens_and_sharpen_hardens(moving: Clip) -> None:
    assert (
        sharpness(perturb(moving, "blur", 3.0)) < 0.5 * sharpness(moving) < sharpness(perturb(moving, "sharpen", 1.0))
    )


def test_noise_has_its_deviation_and_another_seed_is_other_noise(moving: Clip) -> None:
    grey = Clip(np.full((4, 64, 64, 3), 128, np.uint8), Fraction(25))
    noisy = perturb(grey, "noise", 10)
    assert abs(float(noisy.frames.std()) - 10) < 0.3
    assert not np.array_equal(noisy.frames[0], noisy.frames[1])
    assert not np.array_equal(noisy.frames, perturb(grey, "noise", 10, seed=1).frames)


def test_colours_move_as_said() -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    frames[...] = (200, 100, 50)
    clip = Clip(frames, Fraction(25))

    def pixel(name: str, level: float) -> tuple[int, ...]:
        return tuple(int(v) for v in perturb(clip, name, level).frames[0, 0, 0])

    assert pixel("brightness", 20) == (220, 120, 70)
    assert pixel("brightness", 100) == (255, 200, 150)
    assert pixel("contrast", 0.5) == (164, 114, 89)
    assert pixel("gamma", 1.0) == (200, 100, 50)
    grey = pixel("saturation", 0.0)
    assert max(grey) - min(grey) == 0
    assert abs(grey[0] - (0.2126 * 200 + 0.7152 * 100 + 0.0722 * 50)) <= 0.5


def test_crop_takes_the_middle_and_keeps_sides_even(moving: Clip) -> None:
    out = perturb(moving, "crop", 0.9)
    assert out.frames.shape == (15, 80, 108, 3)
    assert np.array_equal(out.frames, moving.frames[:, 5:85, 7:115])


def test_fewer_frames_a_second_keep_duration_and_sound(moving: Clip) -> None:
    out = perturb(moving, "fps", 10)
    assert out.fps == 10
    assert out.length == 6
    assert out.duration_seconds == moving.duration_seconds
    assert np.array_equal(out.frames[2], moving.frames[5])


def test_platforms_shrink_to_their_lines() -> None:
    clip = Clip(np.full((3, 400, 600, 3), 90, np.uint8), Fraction(50))
    out = perturb(clip, "platform", "messenger")
    assert out.frames.shape[1:3] == (360, 540)
    assert out.fps == 30
    for name in PLATFORMS:
        assert min(perturb(clip, "platform", name).frames.shape[1:3]) <= PLATFORMS[name].max_lines


@pytest.mark.parametrize(
    ("name", "level", "words"),
    [
        ("warp", 1, "there is no perturbation 'warp'"),
        ("jpeg", 0, "1 to 100"),
        ("h264", 99, "0 to 51"),
        ("blur", -1, "0 to 50"),
        ("blur", "much", "must be a number"),
        ("noise", float("nan"), "0 to 128"),
        ("platform", "moon", "there is no platform 'moon'"),
        ("chroma", "4:4:4", "level must be one of 4:2:2"),
        ("blocks", -1, "0 to 100000"),
        ("freeze", 1.0, "0 to 0.95"),
        ("letterbox", 0.0, "0.2 to 5"),
        ("screen", 11, "0 to 10"),
    ],
)
def test_nonsense_is_refused_in_one_line(moving: Clip, name: str, level: Level, words: str) -> None:
    with pytest.raises(MediaError, match=words) as caught:
        perturb(moving, name, level)
    assert "\n" not in str(caught.value)


def test_encoders_are_silent(moving: Clip, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("h264", "hevc", "vp9", "av1"):
        perturb(moving, name, 40)
    assert capfd.readouterr() == ("", "")


def test_the_suite_of_seven_by_five_is_seven_kinds_in_five_levels_that_all_work() -> None:
    assert list(SEVEN_BY_FIVE) == ["CS", "CC", "BW", "GNC", "GB", "JPEG", "VC"]
    frames = np.random.default_rng(0).integers(0, 255, (2, 144, 128, 3), dtype=np.uint8)
    clip = Clip(frames, Fraction(25))
    for short, (name, levels) in SEVEN_BY_FIVE.items():
        assert len(set(levels)) == 5, short
        changes = [distance(perturb(clip, name, level), clip) for level in levels]
        assert changes == sorted(changes), (short, changes)
        assert changes[0] > 0, short


def test_the_suite_says_jpeg_and_means_it() -> None:
    """Scaling down and up again, which goes by this name elsewhere, leaves no trace of 8 x 8 blocks."""
    name, levels = SEVEN_BY_FIVE["JPEG"]
    noise = np.random.default_rng(0).normal(128, 20, (64, 64, 1)).clip(0, 255).astype(np.uint8)
    clip = Clip(np.repeat(noise, 3, axis=-1)[None], Fraction(25))

    def blocked(out: Clip) -> float:
        """How many more DCT coefficients are (nearly) zero on the grid of JPEG than beside it."""
        luma = out.frames[0, ..., 0].astype(np.float64) - 128

        def zeros(start: int) -> float:
            corners = [(y, x) for y in range(start, 56, 8) for x in range(start, 56, 8)]
            return float(np.mean([np.abs(cv2.dct(luma[y : y + 8, x : x + 8])) < 1.0 for y, x in corners]))

        return zeros(0) - zeros(4)

    assert all(blocked(perturb(clip, name, level)) > 0.3 for level in levels)
    assert abs(blocked(perturb(clip, "resize", 0.5))) < 0.1, "scaling draws no blocks"
