from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import lfilter

from forge.motion.controls import EMOTIONS, LIP_PARTING, Controls
from forge.motion.features import Motion
from forge.motion.hearing import RATE_HZ
from forge.motion.speech import gaze_curves, jaw_from_loudness, local_peaks, motion_from_speech
from media.clip import Waveform, frames_for

FPS = Fraction(25)
BA_TIMES = (0.60, 1.10, 1.55, 2.10, 2.60, 3.05)
"""Middles of the lip closures of the made speech, in seconds."""


@cache
def babble(seconds: float = 3.6, closures: tuple[float, ...] = BA_TIMES, seed: int = 0) -> Waveform:
    """ "aba-aba": a buzz through three moving resonances that fall around each closure as they do before b."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    distance = np.min([np.abs(time - c) for c in closures], axis=0) if closures else np.full(time.shape, 9.0)
    openness = np.clip((distance - 0.035) / 0.05, 0.0, 1.0)
    pitch = 118 + 6 * np.sin(2 * np.pi * 0.7 * time)
    phase = np.cumsum(pitch / RATE_HZ)
    source = np.diff(np.floor(phase), prepend=0.0) * 1.0 + 0.002 * rng.standard_normal(time.shape)
    source = lfilter([1.0], [1.0, -0.95], source)
    formants = ((300 + 420 * openness, 90), (800 + 450 * openness, 110), (2200 + 300 * openness, 160))
    block, out = 80, source
    for centre, width in formants:
        state = np.zeros(2)
        filtered = np.empty_like(out)
        for start in range(0, out.size, block):
            radius = np.exp(-np.pi * width / RATE_HZ)
            feedback = [1.0, -2 * radius * np.cos(2 * np.pi * centre[start] / RATE_HZ), radius**2]
            gain = [sum(feedback)]
            filtered[start : start + block], state = lfilter(gain, feedback, out[start : start + block], zi=state)
        out = filtered
    out = (
        out
        * (0.03 + 0.97 * openness)
        * np.clip((time - 0.15) / 0.05, 0, 1)
        * np.clip((seconds - 0.15 - time) / 0.05, 0, 1)
    )
    return Waveform((0.5 * out / np.abs(out).max()).astype(np.float32)[:, None], RATE_HZ)


def openings(motion: Motion) -> np.ndarray:
    """(T,) how far the lips are apart, roughly: the jaw less what mouthClose cancels, and lip raising."""
    lips = motion["mouthUpperUpLeft"] + motion["mouthLowerDownLeft"] + motion["mouthFunnel"]
    return motion["jawOpen"] - motion["mouthClose"] + 0.3 * lips


@pytest.fixture(scope="module")
def talk() -> Motion:
    return motion_from_speech(babble(), FPS, Controls(seed=1))


@pytest.fixture(scope="module")
def talk_100() -> Motion:
    """The same at 100 frames a second."""
    return motion_from_speech(babble(), Fraction(100), Controls(seed=1))


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(45)])
@pytest.mark.parametrize("samples", [3200, 16001])
def test_there_are_exactly_as_many_frames_as_the_sound_needs(fps: Fraction, samples: int) -> None:
    speech = Waveform(np.resize(babble().samples, (samples, 1)), RATE_HZ)
    motion = motion_from_speech(speech, fps)
    assert motion.length == frames_for(speech.duration_seconds, fps)
    assert motion.fps == fps


def test_the_same_seed_gives_the_same_motion_and_another_seed_other_ways_but_the_same_words() -> None:
    once, again, other = (motion_from_speech(babble(), FPS, Controls(seed=seed)) for seed in (5, 5, 6))
    assert np.array_equal(once.values, again.values)
    assert not np.array_equal(once["yaw"], other["yaw"])
    assert not np.array_equal(once["jawOpen"], other["jawOpen"])
    assert np.corrcoef(openings(once), openings(other))[0, 1] > 0.7


def test_lips_close_on_every_b_and_nowhere_else_between_them(talk: Motion) -> None:
    opened = openings(talk)
    for middle in BA_TIMES:
        frame = int(middle * 25)
        assert opened[frame - 1 : frame + 2].min() < 0.04, f"open at the b of {middle} s"
    for before, after in pairwise(BA_TIMES):
        assert opened[int((before + after) / 2 * 25)] > 0.12


def test_closures_come_without_a_systematic_lag() -> None:
    motion = motion_from_speech(babble(), Fraction(100))
    opened = openings(motion)
    errors = []
    for middle in BA_TIMES:
        window = np.arange(int((middle - 0.15) * 100), int((middle + 0.15) * 100))
        shut = window[opened[window] < 0.05]
        errors.append((shut.mean() + 0.5) / 100 - middle)
    assert abs(float(np.mean(errors))) < 0.03
    assert float(np.std(errors)) < 0.03


def test_silence_gives_a_quiet_face_that_lives() -> None:
    motion = motion_from_speech(Waveform(np.zeros((20 * RATE_HZ, 1), np.float32), RATE_HZ), FPS, Controls(seed=2))
    assert openings(motion).max() < 0.08
    assert motion["eyeBlinkLeft"].max() > 0.7
    assert np.abs(np.diff(motion["yaw"])).mean() > 0.005
    assert motion["browInnerUp"].std() > 0.0


def test_hiss_is_not_speech() -> None:
    noise = np.random.default_rng(0).standard_normal((6 * RATE_HZ, 1)).astype(np.float32)
    assert openings(motion_from_speech(Waveform(noise * 0.002, RATE_HZ))).mean() < 0.1


def test_another_frame_rate_samples_the_same_movement() -> None:
    slow, fast = (motion_from_speech(babble(), fps, Controls(seed=4)) for fps in (Fraction(25), Fraction(75)))
    middle = fast.values[1::3][: slow.length]  # the middle of every third frame at 75 is the middle of a frame at 25
    assert np.allclose(slow.values[: len(middle)], middle, atol=1e-4)


def test_a_longer_sound_does_not_change_the_past() -> None:
    short = babble(24.0, tuple(np.arange(0.6, 23.0, 0.5)))
    more = babble(8.0, (0.5, 1.0, 3.0), seed=9)
    longer = Waveform(np.concatenate([short.samples, more.samples]), RATE_HZ)
    before, after = (motion_from_speech(speech, FPS, Controls(seed=3)).values for speech in (short, longer))
    past = 16 * 25
    assert np.allclose(before[:past], after[:past], atol=1e-5)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 6), (48_000, 2), (22_050, 1)])
def test_any_rate_and_any_number_of_channels_speak_alike(talk: Motion, rate: int, channels: int) -> None:
    speech = babble().resampled(rate)
    several = Waveform(np.repeat(speech.samples, channels, axis=1), rate)
    other = motion_from_speech(several, FPS, Controls(seed=1))
    assert other.length == talk.length
    assert np.corrcoef(openings(talk), openings(other))[0, 1] > 0.85


def test_speech_too_short_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"speech is 0\.1") as refusal:
        motion_from_speech(Waveform(np.zeros((1600, 1), np.float32), RATE_HZ))
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="fps must be positive"):
        motion_from_speech(babble(), Fraction(0))


def test_the_eyes_look_where_they_are_told_while_the_head_sways() -> None:
    speech = babble(20.0, ())
    motion = motion_from_speech(speech, FPS, Controls(gaze_yaw_degrees=12, gaze_pitch_degrees=-6, seed=3))
    world_yaw, world_pitch = 30 * motion["gaze_yaw"] + motion["yaw"], 30 * motion["gaze_pitch"] + motion["pitch"]
    assert np.median(world_yaw) == pytest.approx(12, abs=1.5)
    assert np.median(world_pitch) == pytest.approx(-6, abs=1.0)


def test_looking_to_the_pictures_right_turns_the_persons_left_eye_out() -> None:
    curves = gaze_curves(np.array([15.0, -15.0]), np.array([6.0, -6.0]))
    assert curves["eyeLookOutLeft"].tolist() == curves["eyeLookInRight"].tolist() == [0.5, 0.0]
    assert curves["eyeLookInLeft"].tolist() == curves["eyeLookOutRight"].tolist() == [0.0, 0.5]
    assert curves["eyeLookUpLeft"][0] > 0 and curves["eyeLookDownRight"][1] > 0


def test_distance_and_stillness_are_obeyed() -> None:
    far = motion_from_speech(babble(), FPS, Controls(distance=1.25, head_motion=0.0, blink_rate=0.0))
    assert np.allclose(far["log_scale"], -np.log(1.25))
    assert not far.pose[:, :5].any()
    assert far["eyeBlinkLeft"].max() < 0.2


@pytest.mark.parametrize("emotion", list(EMOTIONS))
def test_no_emotion_parts_closed_lips(talk_100: Motion, emotion: str) -> None:
    plain = talk_100
    moved = motion_from_speech(babble(), Fraction(100), Controls(seed=1, emotion=emotion, emotion_strength=1.0))
    if emotion != "neutral":
        assert np.abs(moved.values - plain.values).mean() > 1e-3
    for middle in BA_TIMES:
        window = slice(int(middle * 100) - 6, int(middle * 100) + 7)
        at = window.start + int(openings(plain)[window].argmin())
        for name in LIP_PARTING:
            assert moved[name][at] <= plain[name][at] + 0.03, name


def test_lips_do_not_simply_follow_loudness(talk: Motion) -> None:
    rival = jaw_from_loudness(babble(), FPS)
    assert rival.length == talk.length and not rival.pose.any()
    assert np.corrcoef(rival["jawOpen"], talk["jawOpen"])[0, 1] < 0.97


def test_of_two_close_peaks_the_higher_stays() -> None:
    curve = np.zeros(100)
    curve[[10, 14, 40, 99]] = (1.0, 2.0, 0.5, 9.0)
    assert local_peaks(curve, lowest=0.4, apart=10) == [14, 40]
    assert local_peaks(curve, lowest=0.4, apart=4) == [10, 14, 40]
    assert local_peaks(curve, lowest=0.6, apart=10) == [14]


@pytest.mark.slow
def test_ten_minutes_of_speech_pass_in_bounded_memory() -> None:
    import tracemalloc

    speech = Waveform(np.tile(babble(6.0).samples, (100, 1)), RATE_HZ)
    tracemalloc.start()
    motion = motion_from_speech(speech, FPS)
    _, peak = tracemalloc.get_traced_memory()
    assert motion.length == 15_000
    assert peak < 400e6
