"""Asked and obtained: how a system answers every control. Response curves over the range of each wish.

    for answer in answers(speak, utterances): ...     # Answer(control, asked, utterance, cluster, got, error)

What is obtained is read off the motion; `generation_motion` reads gaze and distance off drawn clips as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import nan

import numpy as np
from numpy.typing import NDArray

from benchmarks.motion_material import Utterance
from benchmarks.motion_statistics import gaze_in_camera, pose_curve
from benchmarks.motion_systems import Speak
from benchmarks.talking import count_blinks
from forge.motion.controls import EMOTIONS, NEUTRAL, Controls
from forge.motion.features import Motion

Array = NDArray[np.float64]
FPS = Fraction(25)
GAZES: tuple[tuple[float, float], ...] = (
    (-25.0, 0.0), (-12.0, 0.0), (0.0, 0.0), (12.0, 0.0), (25.0, 0.0), (0.0, -15.0), (0.0, 15.0), (-15.0, 8.0),
    (15.0, -8.0),
)  # fmt: skip
"""Degrees of yaw and pitch."""
DISTANCES = (0.6, 0.8, 1.0, 1.25, 1.6)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
HEAD_MOTIONS = (0.0, 0.5, 1.0, 2.0)
BLINK_RATES = (0.0, 0.5, 1.0, 2.0)
LIP_GAINS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Answer:
    """What one wish led to."""

    control: str
    """`gaze`, `distance`, `emotion happy`, `head_motion`, `blink_rate`, `lip_gain`."""
    asked: str
    cluster: str
    got: float
    """In the unit of the control: degrees, distance, strength, and of the last three the statistic itself."""
    error: float = nan
    """Degrees or distance, where asked and obtained have one unit."""


def main_gaze(motion: Motion) -> tuple[float, float]:
    """Median look in degrees, head included."""
    yaw, pitch = np.median(gaze_in_camera(motion), axis=0)
    return float(yaw), float(pitch)


def distance_of(motion: Motion) -> float:
    """1 as in the picture, 2 twice as far."""
    return float(np.exp(-motion["log_scale"].mean()))


def emotion_shift(motion: Motion, neutral: Motion, emotion: str) -> float:
    """How much of an emotion's full expression a motion has over another of the same speech and seed."""
    names = [name for name in EMOTIONS[emotion] if not name.startswith(("jaw", "eyeBlink"))]
    full = np.array([EMOTIONS[emotion][name] for name in names])
    moved = np.array([float(motion[name].mean() - neutral[name].mean()) for name in names])
    return float(moved @ full / (full @ full))


def turning(motion: Motion) -> float:
    """Mean change of yaw, pitch and roll in degrees a frame."""
    return float(np.abs(np.diff(pose_curve(motion), axis=0)).mean())


def blinking(motion: Motion) -> float:
    """Blinks a minute."""
    closure = 0.5 * (motion["eyeBlinkLeft"] + motion["eyeBlinkRight"]).astype(np.float64)
    return count_blinks(closure) / motion.length * 60 * float(FPS)


def opening(motion: Motion) -> float:
    """Deviation of the jaw."""
    return float(motion["jawOpen"].std())


def answers(speak: Speak, utterances: Sequence[Utterance], steady: Utterance, seed: int = 7) -> Iterator[Answer]:
    """Every control over its range: gaze, distance and emotion for every utterance, liveliness for the steady one."""
    for utterance in utterances:

        def made(utterance: Utterance = utterance, **wishes: float | str) -> Motion:
            return speak(utterance.sound, FPS, Controls(seed=seed, **wishes))  # type: ignore[arg-type]

        who = utterance.cluster
        for yaw, pitch in GAZES:
            got = main_gaze(made(gaze_yaw_degrees=yaw, gaze_pitch_degrees=pitch))
            error = float(np.hypot(got[0] - yaw, got[1] - pitch))
            yield Answer("gaze", f"{yaw:g}, {pitch:g}", who, got[0] if yaw else got[1], error)
        for distance in DISTANCES:
            far = distance_of(made(distance=distance))
            yield Answer("distance", f"{distance:g}", who, far, abs(far - distance))
        neutral = made()
        for emotion in EMOTIONS:
            for strength in STRENGTHS if emotion != NEUTRAL else ():
                felt = made(emotion=emotion, emotion_strength=strength)
                yield Answer(f"emotion {emotion}", f"{strength:g}", who, emotion_shift(felt, neutral, emotion))
    yield from _scaled(lambda **wishes: speak(steady.sound, FPS, Controls(seed=seed, **wishes)), steady.cluster)


def _scaled(made: Callable[..., Motion], who: str) -> Iterator[Answer]:
    """The three wishes that scale a statistic."""
    for scale in HEAD_MOTIONS:
        yield Answer("head_motion", f"{scale:g}", who, turning(made(head_motion=scale)))
    for scale in BLINK_RATES:
        yield Answer("blink_rate", f"{scale:g}", who, blinking(made(blink_rate=scale)))
    for scale in LIP_GAINS:
        yield Answer("lip_gain", f"{scale:g}", who, opening(made(lip_gain=scale)))


def is_rising(values: Sequence[float], slack: float = 0.0) -> bool:
    """Whether each value is more than the one before, less `slack`, and the last more than the first."""
    return all(after > before - slack for before, after in pairwise(values)) and values[-1] > values[0]
