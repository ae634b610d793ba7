"""Speech as it is really heard: rooms, microphones, telephones, noise, babble. For training only.

    worse = degraded(samples, others=lambda: another, random=np.random.default_rng(0))

Axes: N samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from forge.motion.hearing import RATE_HZ

FloatArray = NDArray[np.float32]


def degraded(sound: FloatArray, others: Callable[[], FloatArray], random: np.random.Generator) -> FloatArray:
    """The same speech through a random room, microphone, noise and gain. Samples (N,) at 16 kHz."""
    out = sound
    if random.random() < 0.4:
        decay = random.uniform(0.08, 0.6)
        times = np.arange(int(decay * RATE_HZ)) / RATE_HZ
        room = random.standard_normal(times.shape[0]) * 10 ** (-3 * times / decay)
        room *= 10 ** (random.uniform(-14, 0) / 20) / np.sqrt(np.square(room).sum())
        room[0] += 1.0
        out = np.asarray(fftconvolve(out, room)[: sound.shape[0]], np.float32)
    if random.random() < 0.7:
        out = _equalised(out, random)
    power = float(np.square(out).mean()) + 1e-12
    if random.random() < 0.6:
        noise = _noise(out.shape[0], others, random)
        noise *= np.sqrt(power / (np.square(noise).mean() + 1e-12)) * 10 ** (-random.uniform(3, 40) / 20)
        out = out + noise
    out = out * (10 ** (random.uniform(-35, -12) / 20) / np.sqrt(power))
    return np.asarray(np.clip(out, -1.0, 1.0), np.float32)


def _equalised(sound: FloatArray, random: np.random.Generator) -> FloatArray:
    """A smooth random response, now and then the narrow band of a telephone."""
    spectrum = np.fft.rfft(sound)
    hertz = np.fft.rfftfreq(sound.shape[0], 1 / RATE_HZ)
    gain_db = np.interp(hertz, np.geomspace(60, 8000, 7), random.normal(0, 5, 7))
    if random.random() < 0.3:
        gain_db -= 60 * np.clip(np.log2(np.maximum(hertz, 1) / random.uniform(3000, 7000)), 0, 1)
    if random.random() < 0.2:
        gain_db -= 40 * np.clip(np.log2(random.uniform(100, 350) / np.maximum(hertz, 1)), 0, 1)
    return np.asarray(np.fft.irfft(spectrum * 10 ** (gain_db / 20), sound.shape[0]), np.float32)


def _noise(length: int, others: Callable[[], FloatArray], random: np.random.Generator) -> FloatArray:
    """Coloured noise, or babble of three other utterances."""
    if random.random() < 0.35:
        babble = np.zeros(length)
        for _ in range(3):
            babble += np.resize(others(), length)
        return np.asarray(babble, np.float32)
    white = np.fft.rfft(random.standard_normal(length))
    return np.asarray(np.fft.irfft(white * colour(length, random), length), np.float32)


def colour(length: int, random: np.random.Generator) -> FloatArray:
    """Random smooth spectrum of a noise of that many samples."""
    hertz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    slope = np.maximum(hertz, 30.0) ** -random.uniform(0.0, 1.2)
    bumps_db = np.interp(hertz, np.geomspace(60, 8000, 7), random.normal(0, 6, 7))
    return np.asarray(slope * 10 ** (bumps_db / 20), np.float32)
