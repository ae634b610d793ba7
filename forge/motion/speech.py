"""Speech to Motion, the deterministic baseline: heard visemes, a hand-made mouth and a seeded natural prior.

    motion = motion_from_speech(read_waveform(path), fps=Fraction(25), controls=Controls(seed=7))

1. Hear: one channel, 16 kHz, log-mel every 10 ms (`hearing`).
2. Listen: chance of each viseme at each moment (`listener`).
3. Shape: coarticulated mouth coefficients, closures forced on p, b, m (`visemes`).
4. Live: blinks, gaze, head, brows from the seed, tied to accents and phrase ends (`prior`).
5. Obey: gaze, distance, emotion (`controls`).
Frame n shows the moment (n + 1/2) / fps.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from forge.motion import prior
from forge.motion.controls import LIP_PARTING, Controls
from forge.motion.features import Motion
from forge.motion.hearing import HEARING_HZ, Heard, hear
from forge.motion.listener import viseme_chances
from forge.motion.visemes import MOUTH_NAMES, SILENCE, Mouth, mouth_from_visemes
from media.clip import Waveform, frames_for

FloatArray = NDArray[np.float32]
Double = NDArray[np.float64]

DEGREES_PER_GAZE = 30.0
HEARING_DELAY_SECONDS = 0.5 / HEARING_HZ
"""Hearing frame t is centred half a hop after t / 100 s."""


def motion_from_speech(speech: Waveform, fps: Fraction = Fraction(25), controls: Controls | None = None) -> Motion:
    """The baseline: motion of exactly `frames_for(speech.duration_seconds, fps)` frames.

    Args:
        speech: any rate, any number of channels, at least 0.2 s; any length.
        fps: exact frame rate.
        controls: wishes and the seed; default `Controls()`.

    Raises:
        ValueError: in one line, for speech that is too short or a frame rate that is not positive.
    """
    if fps <= 0:
        raise ValueError(f"fps must be positive, got {fps}")
    heard = hear(speech)
    steady = steadiness(heard.level_db)[:, None]
    chance = viseme_chances(heard) * (1.0 - steady)
    chance[:, [SILENCE]] += steady
    return motion_of_visemes(heard, chance, frames_for(speech.duration_seconds, fps), fps, controls or Controls())


def motion_of_visemes(heard: Heard, chance: FloatArray, length: int, fps: Fraction, controls: Controls) -> Motion:
    """Steps 3 to 5 for visemes from elsewhere, as the phone times of a synthesiser.

    Args:
        heard: the sound, for accents and phrases.
        chance: (T, V) chance of each viseme at each hearing frame, rows sum to 1.
        length: number of frames to make.
        fps: exact frame rate.
        controls: wishes and the seed.
    """
    talk = talk_of(heard)
    mouth = _speak(chance, talk, controls)
    seconds = moments_of(length, fps)
    motion = Motion.neutral(length, fps).replace(**_mouth_curves(mouth, seconds))
    motion = _live(motion, seconds, talk, controls)
    return _obey(motion, _sample(mouth.seal, seconds), controls)


def _speak(chance: FloatArray, talk: prior.Talk, controls: Controls) -> Mouth:
    """The mouth at the rate of hearing."""
    seconds = (np.arange(chance.shape[0]) + 0.5) / HEARING_HZ
    effort = controls.lip_gain * prior.speaking_effort(controls.seed, seconds)
    rest = controls.lip_gain * prior.breath(controls.seed, seconds, talk.phrase_starts)
    return mouth_from_visemes(chance, effort, rest, HEARING_HZ)


def steadiness(level_db: FloatArray) -> FloatArray:
    """(T,) 1 where the level hardly changes within a second, as of hiss or hum; speech swings by 5 dB."""
    span = 2 * HEARING_HZ + 1
    mean = uniform_filter1d(level_db.astype(np.float64), span, mode="nearest")
    power = uniform_filter1d(level_db.astype(np.float64) ** 2, span, mode="nearest")
    deviation_db = np.sqrt(np.maximum(power - mean**2, 0.0))
    return np.asarray(1.0 - np.clip((deviation_db - 0.8) / 0.8, 0.0, 1.0), np.float32)


def jaw_from_loudness(speech: Waveform, fps: Fraction = Fraction(25)) -> Motion:
    """The trivial rival that benchmarks compare with: the jaw follows loudness, nothing else moves."""
    heard = hear(speech)
    seconds = moments_of(frames_for(speech.duration_seconds, fps), fps)
    jaw = 0.6 * _sample(gaussian_filter1d(heard.loudness, 3.0), seconds)
    return Motion.neutral(len(seconds), fps).replace(jawOpen=jaw)


def talk_of(heard: Heard) -> prior.Talk:
    """Speech activity, accents and phrase ends from the level alone (no language is assumed)."""
    loudness = heard.loudness.astype(np.float64)
    syllables = gaussian_filter1d(loudness, 0.05 * HEARING_HZ)
    speaking = gaussian_filter1d((syllables > 0.4).astype(np.float64), 0.15 * HEARING_HZ)
    around = gaussian_filter1d(syllables, 0.5 * HEARING_HZ)
    prominence = syllables - around
    peaks = local_peaks(prominence, lowest=0.08, apart=int(0.45 * HEARING_HZ))
    accents = tuple(((p + 0.5) / HEARING_HZ, float(min(prominence[p] / 0.35, 1.0))) for p in peaks)
    ends = np.flatnonzero((speaking[:-1] >= 0.5) & (speaking[1:] < 0.5))
    starts = np.flatnonzero((speaking[:-1] < 0.5) & (speaking[1:] >= 0.5))
    times = (np.arange(loudness.shape[0]) + 0.5) / HEARING_HZ
    return prior.Talk(
        activity=lambda seconds: np.interp(seconds, times, gaussian_filter1d(speaking, 0.3 * HEARING_HZ)),
        accents=accents,
        phrase_starts=tuple(float(start) / HEARING_HZ for start in starts),
        phrase_ends=tuple(float(end) / HEARING_HZ for end in ends),
    )


def moments_of(length: int, fps: Fraction) -> Double:
    """(T,) seconds in the middle of each frame."""
    return np.asarray((np.arange(length) + 0.5) * (fps.denominator / fps.numerator), np.float64)


def local_peaks(curve: Double, *, lowest: float, apart: int) -> list[int]:
    """Indices of local maxima of a (T,) curve above a height; of two that are closer than `apart` the higher stays."""
    middle = curve[1:-1]
    tops = np.flatnonzero((middle > curve[:-2]) & (middle >= curve[2:]) & (middle >= lowest)) + 1
    chosen: list[int] = []
    taken = np.zeros(curve.shape[0], bool)
    for top in sorted(tops.tolist(), key=lambda i: (-curve[i], i)):
        if not taken[top]:
            chosen.append(top)
            taken[max(0, top - apart + 1) : top + apart] = True
    return sorted(chosen)


def _sample(curve: NDArray[np.floating], seconds: Double) -> Double:
    """A (T,) curve of hearing frames at any moments."""
    return np.asarray(
        np.interp(seconds, np.arange(curve.shape[0]) / HEARING_HZ + HEARING_DELAY_SECONDS, curve), np.float64
    )


def _mouth_curves(mouth: Mouth, seconds: Double) -> dict[str, Double]:
    """Mouth coefficients by name at the moments of the frames."""
    return {name: _sample(mouth.coefficients[:, k], seconds) for k, name in enumerate(MOUTH_NAMES)}


def _live(motion: Motion, seconds: Double, talk: prior.Talk, controls: Controls) -> Motion:
    """Add head, eyes, lids and brows."""
    pose = prior.head_pose(controls.seed, seconds, talk, controls.head_motion)
    away_yaw, away_pitch, shifts = prior.looks(controls.seed, seconds)
    until = motion.length / float(motion.fps)
    blinks = prior.blink_times(controls.seed, until, controls.blink_rate, talk.phrase_ends + tuple(shifts))
    left, right = prior.lids(controls.seed, seconds, blinks)
    inner, outer = prior.brows(controls.seed, seconds, talk)
    # the eyes hold their target while the head sways (vestibulo-ocular reflex): gaze is relative to the head
    yaw = controls.gaze_yaw_degrees + away_yaw - pose[:, 0]
    pitch = controls.gaze_pitch_degrees + away_pitch - pose[:, 1]
    curves = {name: pose[:, i] for i, name in enumerate(("yaw", "pitch", "roll", "shift_x", "shift_y", "log_scale"))}
    curves |= gaze_curves(yaw, pitch)
    curves |= {"eyeBlinkLeft": left, "eyeBlinkRight": right, "browInnerUp": inner}
    curves |= {"browOuterUpLeft": outer, "browOuterUpRight": outer}
    return motion.replace(**curves)


def gaze_curves(yaw_degrees: Double, pitch_degrees: Double) -> dict[str, Double]:
    """Gaze features and the eight `eyeLook*` coefficients (1 at 30 degrees) of eyes turned within the head.

    Yaw is positive to the picture's right, which is the person's left: there the left eye looks out and the right eye
    in.
    """
    yaw = np.clip(yaw_degrees / DEGREES_PER_GAZE, -1.2, 1.2)
    pitch = np.clip(pitch_degrees / DEGREES_PER_GAZE, -1.0, 1.0)
    right, left = np.clip(yaw, 0, 1), np.clip(-yaw, 0, 1)
    up, down = np.clip(pitch, 0, 1), np.clip(-pitch, 0, 1)
    return {
        "gaze_yaw": yaw,
        "gaze_pitch": pitch,
        "eyeLookOutLeft": right,
        "eyeLookInRight": right,
        "eyeLookInLeft": left,
        "eyeLookOutRight": left,
        "eyeLookUpLeft": up,
        "eyeLookUpRight": up,
        "eyeLookDownLeft": down,
        "eyeLookDownRight": down,
    }


def _obey(motion: Motion, seal: Double, controls: Controls) -> Motion:
    """Add distance and emotion; what parts the lips yields to a closure."""
    curves = {"log_scale": motion["log_scale"] - np.log(controls.distance)}
    for name, offset in controls.emotion_offsets().items():
        free = 1.0 - seal if name in LIP_PARTING else 1.0
        curves[name] = np.clip(motion[name] + offset * free, 0.0, 1.0)
    return motion.replace(**curves)
