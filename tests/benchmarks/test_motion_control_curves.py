"""Answers to controls, of systems that obey and that do not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from benchmarks.motion_controls import answers, emotion_shift, is_rising
from benchmarks.motion_material import Utterance
from forge.motion.controls import Controls
from forge.motion.features import Motion
from media.clip import Waveform, frames_for


def obedient(speech: Waveform, fps: Fraction, wishes: Controls) -> Motion:
    """A still face that does what is asked at once."""
    length = frames_for(speech.duration_seconds, fps)
    wave = np.sin(np.arange(length))
    motion = Motion.neutral(length, fps).replace(
        yaw=5 * wave * wishes.head_motion,
        gaze_yaw=(wishes.gaze_yaw_degrees - 5 * wave * wishes.head_motion) / 30,
        gaze_pitch=wishes.gaze_pitch_degrees / 30,
        log_scale=-np.log(wishes.distance),
        jawOpen=0.3 * wishes.lip_gain * (1 + wave) / 2,
    )
    return motion.replace(**{name: motion[name] + value for name, value in wishes.emotion_offsets().items()})


def deaf(speech: Waveform, fps: Fraction, wishes: Controls) -> Motion:
    return Motion.neutral(frames_for(speech.duration_seconds, fps), fps)


UTTERANCE = Utterance("u", "somebody", "en", "speech", Waveform(np.zeros((32_000, 1), np.float32), 16_000))


def test_an_obedient_face_has_no_error() -> None:
    for answer in answers(obedient, [UTTERANCE], UTTERANCE):
        if answer.control in ("gaze", "distance"):
            assert answer.error == pytest.approx(0.0, abs=1e-3)
        if answer.control.startswith("emotion"):
            assert answer.got == pytest.approx(float(answer.asked), abs=1e-3)


def test_a_deaf_face_is_found_out() -> None:
    given = list(answers(deaf, [UTTERANCE], UTTERANCE))
    worst = max(answer.error for answer in given if answer.control == "gaze")
    assert worst == pytest.approx(25.0)
    happy = [answer.got for answer in given if answer.control == "emotion happy"]
    assert not is_rising(happy)


def test_every_control_is_asked() -> None:
    controls = {answer.control for answer in answers(deaf, [UTTERANCE], UTTERANCE)}
    assert {"gaze", "distance", "head_motion", "blink_rate", "lip_gain", "emotion sad"} <= controls
    assert len([name for name in controls if name.startswith("emotion")]) == 7


def test_half_an_emotion_is_half_of_it() -> None:
    neutral = Motion.neutral(5, Fraction(25))
    half = neutral.replace(
        **{n: v for n, v in Controls(emotion="angry", emotion_strength=0.5).emotion_offsets().items()}
    )
    assert emotion_shift(half, neutral, "angry") == pytest.approx(0.5)


@pytest.mark.parametrize(("curve", "rises"), [([0, 1, 2], True), ([0, 2, 1], False), ([1, 1], False), ([0, 0], False)])
def test_rising_means_every_step_up(curve: list[float], rises: bool) -> None:
    assert is_rising(curve) is rises
