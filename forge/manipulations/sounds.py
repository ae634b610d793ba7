"""Other speech made to sit where a clip's own sound was: as long, and as loud.

Axes: N samples, C channels.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from forge.portrait import ForgeError
from media.clip import Waveform

BLOCK_SECONDS = 0.1
"""Loudness is measured in blocks of this length."""
QUIETER_DB = 10.0
"""Blocks that much below the mean of all are pauses (the relative gate of ITU-R BS.1770)."""
USUAL_DB = -26.0
"""Level of speech in a clip whose own sound says nothing."""
FAINTEST_DB = -60.0
"""Below this level a sound counts as silence."""
MOST_GAIN_DB = 24.0
HIGHEST_PEAK = 0.98


def fitted(sound: Waveform, length: int, fps: Fraction) -> Waveform:
    """The sound cut, or filled with silence, to the length of so many frames."""
    count = round(length / fps * sound.sample_rate_hz)
    samples = sound.samples[:count]
    return Waveform(np.pad(samples, ((0, count - len(samples)), (0, 0))), sound.sample_rate_hz)


def level_db(sound: Waveform) -> float:
    """Level of what is spoken, pauses left out, in decibels of full scale; -inf for digital silence."""
    power = np.asarray(sound.samples, np.float64).mean(axis=1) ** 2
    block = max(1, round(BLOCK_SECONDS * sound.sample_rate_hz))
    blocks = np.add.reduceat(power, np.arange(0, len(power), block)) / block if len(power) else np.zeros(1)
    loud = blocks[blocks > 10 ** (FAINTEST_DB / 10)]
    if not loud.size:
        return float("-inf")
    spoken = loud[loud >= loud.mean() * 10 ** (-QUIETER_DB / 10)]
    return float(10 * np.log10(spoken.mean()))


def in_place_of(speech: Waveform, own: Waveform, length: int, fps: Fraction) -> Waveform:
    """Other speech in the form of a clip's own sound: rate, channels, length and loudness.

    Raises:
        ForgeError: for speech in which nothing is heard.
    """
    other = fitted(speech.mono().resampled(own.sample_rate_hz), length, fps)
    heard = level_db(other)
    if heard == float("-inf"):
        raise ForgeError("the other speech is silent where the clip lies; choose another recording")
    wanted = level_db(own)
    gain = np.clip((USUAL_DB if wanted == float("-inf") else wanted) - heard, -MOST_GAIN_DB, MOST_GAIN_DB)
    peak = max(float(np.abs(other.samples).max()), 1e-9)
    factor = np.float32(min(10 ** (float(gain) / 20), HIGHEST_PEAK / peak))
    return Waveform(np.repeat(other.samples * factor, own.channels, axis=1), own.sample_rate_hz)
