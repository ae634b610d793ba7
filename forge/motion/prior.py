"""What a living face does besides speaking: blinks, looks, sways, raises its brows. Drawn from a seed, fixed in time.

Numbers measured with a face tracker on the 41 real clips with sound of the development data (4 to 6 s, 25 frames a
second): 25 blinks a minute on average, median 20; lids close in 2 frames and open in 3 to 4; head turns by .27
degrees a frame (mean of yaw, pitch and roll after a moving average over 5 frames, median .22); lip aperture over
outer-eye distance has a deviation of .052.

Axes: F moments in time (any spacing), P = 6 pose features.

Every draw belongs to a place in absolute time, never to a frame number: another frame rate samples the same movement,
and a longer sound continues it without changing what came before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Double = NDArray[np.float64]

KNOTS_PER_BLOCK = 64

BLINKS_PER_MINUTE = 28.0
BLINK_SPREAD = 0.55
"""Standard deviation of the natural log of the interval between blinks."""
BLINK_REFRACTORY_SECONDS = 0.7
BLINK_CLOSE_SECONDS, BLINK_HOLD_SECONDS, BLINK_OPEN_SECONDS = 0.09, 0.045, 0.16

FIXATION_SECONDS, FIXATION_SPREAD = 1.3, 0.6
SACCADE_SECONDS = 0.045


@dataclass(frozen=True)
class Stream:
    """Independent random numbers for one purpose under one seed."""

    seed: int
    purpose: int

    def generator(self, block: int = 0) -> np.random.Generator:
        """The generator of one block of time."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, self.purpose, block + 1))))


def smooth_noise(stream: Stream, seconds: Double, knot_seconds: float) -> Double:
    """(F,) smooth noise of unit variance: a random value each `knot_seconds`, cubic between."""
    place = np.maximum(seconds, 0.0) / knot_seconds
    first = np.floor(place).astype(np.int64)
    blocks = range(int(first.max() + 3) // KNOTS_PER_BLOCK + 1) if first.size else range(0)
    knots = np.concatenate([stream.generator(b).standard_normal(KNOTS_PER_BLOCK) for b in blocks] or [np.zeros(0)])
    part = place - first
    weights = _cubic_b_spline(part)
    values = sum(w * knots[first + i] for i, w in enumerate(weights))
    # at a knot the weights are (1, 4, 1) / 6, between two knots (1, 23, 23, 1) / 48: mean power of both is .479
    return np.asarray(values / np.sqrt(0.479), np.float64)


def _cubic_b_spline(part: Double) -> tuple[Double, Double, Double, Double]:
    """Weights of four neighbouring knots; part in [0, 1)."""
    p = part
    return ((1 - p) ** 3 / 6, (3 * p**3 - 6 * p**2 + 4) / 6, (-3 * p**3 + 3 * p**2 + 3 * p + 1) / 6, p**3 / 6)


@dataclass(frozen=True, eq=False)
class Talk:
    """What the prior needs to know of the speech: functions of time."""

    activity: Callable[[Double], Double]
    """0 in silence, 1 while speaking, slowly changing."""
    accents: tuple[tuple[float, float], ...]
    """(seconds, strength 0 to 1) of stressed moments."""
    phrase_starts: tuple[float, ...]
    """Seconds at which a phrase starts."""
    phrase_ends: tuple[float, ...]
    """Seconds at which a phrase ends."""


def blink_times(seed: int, until_seconds: float, rate: float, phrase_ends: tuple[float, ...]) -> list[float]:
    """Start times of blinks: log-normal intervals; a blink that is nearly due is drawn to the end of a phrase.

    Args:
        seed: of the clip.
        until_seconds: length.
        rate: scale of `BLINKS_PER_MINUTE`; 0 gives none.
        phrase_ends: seconds.
    """
    if rate <= 0:
        return []
    random = Stream(seed, 1).generator()
    mean = 60.0 / (BLINKS_PER_MINUTE * rate)
    times: list[float] = []
    now = -mean * random.uniform()
    while True:
        wait = mean * float(np.exp(BLINK_SPREAD * random.standard_normal() - BLINK_SPREAD**2 / 2))
        due = now + max(wait, min(BLINK_REFRACTORY_SECONDS, 0.5 * mean))
        close = [end for end in phrase_ends if due - 0.5 <= end <= due + 0.5 and end > now + BLINK_REFRACTORY_SECONDS]
        now = min(close, key=lambda end: abs(end - due)) if close else due
        if now >= until_seconds:
            return times
        if now >= 0:
            times.append(now)


def lids(seed: int, seconds: Double, times: list[float]) -> tuple[Double, Double]:
    """(F,) closing of the left and right lid, 0 to 1, for blinks that start at `times`."""
    left, right = np.zeros(seconds.shape), np.zeros(seconds.shape)
    random = Stream(seed, 2).generator()
    for start in times:
        depth = float(np.clip(random.normal(0.98, 0.04), 0.85, 1.0))
        pace = float(np.clip(random.normal(1.0, 0.12), 0.75, 1.4))
        skew = float(np.clip(random.normal(0.0, 0.02), -0.05, 0.05))
        closing = (seconds - start) / (BLINK_CLOSE_SECONDS * pace)
        opening = (seconds - start - BLINK_CLOSE_SECONDS * pace - BLINK_HOLD_SECONDS) / (BLINK_OPEN_SECONDS * pace)
        # lids fall fast and rise slowly, slowest at the end
        shut = smoothstep(closing) * (1.0 - smoothstep(np.clip(opening, 0.0, 1.0) ** 0.8))
        left = np.maximum(left, shut * depth * (1 - skew))
        right = np.maximum(right, shut * depth * (1 + skew))
    return np.clip(left, 0.0, 1.0), np.clip(right, 0.0, 1.0)


def smoothstep(x: Double) -> Double:
    """3x^2 - 2x^3 on [0, 1], flat outside."""
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(x * x * (3 - 2 * x))


def looks(seed: int, seconds: Double) -> tuple[Double, Double, list[float]]:
    """(F,) where the eyes point around their resting target, degrees yaw and pitch, and the times of large shifts.

    Most fixations stay on the target with a small scatter; about one in five looks away for a moment and comes back.
    """
    random = Stream(seed, 3).generator()
    yaw, pitch = np.zeros(seconds.shape), np.zeros(seconds.shape)
    until = float(seconds.max()) if seconds.size else 0.0
    now, at = 0.0, (float(random.normal(0, 0.6)), float(random.normal(0, 0.4)))
    yaw += at[0]
    pitch += at[1]
    away = False
    shifts: list[float] = []
    while True:
        spread = FIXATION_SPREAD * random.standard_normal() - FIXATION_SPREAD**2 / 2
        now += max(0.2, FIXATION_SECONDS * (0.6 if away else 1.0) * float(np.exp(spread)))
        away = not away and random.uniform() < 0.22
        scale = (8.0, 3.5) if away else (1.0, 0.6)
        to = (float(random.normal(0, scale[0])), float(random.normal(0, scale[1])))
        if now > until:
            return yaw, pitch, shifts
        if away:
            shifts.append(now)
        step = smoothstep((seconds - now) / SACCADE_SECONDS)
        yaw += step * (to[0] - at[0])
        pitch += step * (to[1] - at[1])
        at = to


HEAD_SWAY: tuple[tuple[float, tuple[float, float, float]], ...] = (
    (2.2, (1.5, 1.1, 0.9)),
    (0.5, (3.4, 3.1, 1.75)),
    (0.25, (1.7, 1.9, 0.95)),
)
"""Octaves of head rotation: seconds between knots, standard deviation of (yaw, pitch, roll) in degrees.

Fitted to the root mean square change of real talkers over 8, 25 and 75 frames at 25 a second: (2.3, 2.3, 1.4), (3.2,
3.2, 1.6), (3.2, 3.1, 1.9) degrees; over fewer frames a tracker's own jitter hides the truth. The two quick octaves were
then raised by a quarter: 100 rendered clips turned .166 degrees a frame by the tracker, real people turn .28.
"""

SHIFT_SWAY: tuple[tuple[float, tuple[float, float, float]], ...] = (
    (3.0, (0.035, 0.020, 0.012)),
    (1.1, (0.012, 0.010, 0.004)),
)
"""The same for shift_x, shift_y (outer-eye distances) and log_scale."""

NOD_DEGREES, NOD_SECONDS = 2.4, 0.16


def head_pose(seed: int, seconds: Double, talk: Talk, scale: float) -> Double:
    """(F, 6) head pose in the order of `POSE_NAMES` as departures from the picture: sway, and nods on stressed moments.

    Args:
        seed: of the clip.
        seconds: (F,) moments.
        talk: speech activity and accents; a silent head moves less.
        scale: of everything; 0 gives zeros.
    """
    pose = np.zeros((seconds.shape[0], 6))
    activity = talk.activity(seconds)
    for octave, (knot, spread) in enumerate(HEAD_SWAY):
        liveliness = 1.0 if octave == 0 else 0.35 + 0.65 * activity
        for axis in range(3):
            noise = smooth_noise(Stream(seed, 10 + 3 * octave + axis), seconds, knot)
            pose[:, axis] += spread[axis] * liveliness * noise
    for octave, (knot, spread) in enumerate(SHIFT_SWAY):
        for axis in range(3):
            pose[:, 3 + axis] += spread[axis] * smooth_noise(Stream(seed, 30 + 3 * octave + axis), seconds, knot)
    random = Stream(seed, 40).generator()
    for moment, strength in talk.accents:
        depth = NOD_DEGREES * strength * float(np.clip(random.normal(0.8, 0.5), 0.0, 1.8))
        turn = 0.5 * depth * float(random.normal())
        bump = np.exp(-0.5 * ((seconds - moment - 0.05) / NOD_SECONDS) ** 2)
        recoil = np.exp(-0.5 * ((seconds - moment + 0.28) / NOD_SECONDS) ** 2)
        pose[:, 1] += depth * (0.45 * recoil - bump)
        pose[:, 0] += turn * bump
    pose[:, :3] = within_reach(pose[:, :3])
    return scale * pose


def within_reach(degrees: Double, free: float = 10.0, reach: float = 14.5) -> Double:
    """Angles unchanged up to `free` degrees, bent softly so that none passes `reach`: noise has no neck."""
    room = reach - free
    beyond = np.maximum(np.abs(degrees) - free, 0.0)
    return np.asarray(np.sign(degrees) * (np.minimum(np.abs(degrees), free) + room * np.tanh(beyond / room)))


def brows(seed: int, seconds: Double, talk: Talk) -> tuple[Double, Double]:
    """(F,) inner and outer brow raise, 0 to 1: rare raises on strong accents over a slow drift."""
    drift = 0.05 + 0.05 * smooth_noise(Stream(seed, 50), seconds, 1.7)
    inner, outer = drift.copy(), 0.6 * drift
    random = Stream(seed, 51).generator()
    for moment, strength in talk.accents:
        chosen, height = random.uniform() < 0.35 + 0.3 * strength, float(random.uniform(0.12, 0.38))
        hold, ratio = float(random.uniform(0.15, 0.45)), float(random.uniform(0.4, 1.1))
        if chosen:
            rise = smoothstep((seconds - moment + 0.16) / 0.14) * (1 - smoothstep((seconds - moment - hold) / 0.28))
            inner += height * rise
            outer += height * ratio * rise
    return np.clip(inner, 0.0, 1.0), np.clip(outer, 0.0, 1.0)


EFFORT_MEAN, EFFORT_SPREAD, EFFORT_KNOT_SECONDS = 1.15, 0.44, 0.35


def speaking_effort(seed: int, seconds: Double) -> Double:
    """(F,) how wide this speaker opens the mouth, about 1: a speaker's whim from word to word, not the loudness.

    A jaw tied to the loudness looks like a puppet: in real clips lip aperture and speech envelope correlate by .26
    only.
    """
    whim = np.clip(smooth_noise(Stream(seed, 60), seconds, EFFORT_KNOT_SECONDS), -2.0, 1.2)
    return np.asarray(EFFORT_MEAN * np.exp(EFFORT_SPREAD * whim - EFFORT_SPREAD**2 / 2))


BREATH_JAW, BREATH_SECONDS = 0.28, 0.48


def breath(seed: int, seconds: Double, phrase_starts: tuple[float, ...]) -> Double:
    """(F,) jaw opening of the breath before a phrase, over slightly parted lips that are never quite at rest."""
    jaw = 0.012 * (1.0 + smooth_noise(Stream(seed, 61), seconds, 0.9))
    random = Stream(seed, 62).generator()
    for start in phrase_starts:
        depth, lead = float(random.uniform(0.3, 1.0)), float(random.uniform(0.7, 1.5)) * BREATH_SECONDS
        jaw += BREATH_JAW * depth * smoothstep((seconds - start + lead) / (0.6 * lead)) * (seconds < start + 0.3)
    return np.clip(jaw, 0.0, 0.3)
