"""What the motion baseline hears: one channel at 16 kHz, log-mel bands and level every 10 ms.

Axes: N samples, T hearing frames (100 a second), B = 80 mel bands. Frame t is centred at (t + 0.5) / 100 seconds.

    heard = hear(speech)
    heard.bands.shape, heard.level_db.shape     # (T, 80), (T,)

Nothing is normalised over the whole sound: the loudness reference looks six seconds around a frame, so a longer sound
does not change what was heard before, and ten minutes cost a few megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from media.clip import Waveform

FloatArray = NDArray[np.float32]

RATE_HZ = 16_000
HEARING_HZ = 100
HOP = RATE_HZ // HEARING_HZ
WINDOW = 400
FFT = 512
BANDS = 80
LOWEST_HZ, HIGHEST_HZ = 60.0, 7_600.0
REFERENCE_SECONDS = 12.0
QUIETEST_REFERENCE_DB = -55.0
"""Below this level even the loudest moment counts as quiet, so that hiss is not mistaken for a whisper."""
SHORTEST_SECONDS = Fraction(1, 5)
CHUNK = 4096
"""Frames transformed at once: bounds the memory."""


@dataclass(frozen=True, eq=False)
class Heard:
    """Speech as the baseline hears it."""

    bands: FloatArray
    """(T, 80) log-mel power over the loudness reference, decibels / 30, clipped to [-2, 1]."""
    level_db: FloatArray
    """(T,) level over the loudness reference, 0 = as loud as the loudest moments around."""

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        if self.bands.ndim != 2 or self.bands.shape[1] != BANDS or self.level_db.shape != self.bands.shape[:1]:
            raise ValueError(f"need (T, {BANDS}) bands and (T,) levels, got {self.bands.shape}, {self.level_db.shape}")

    @property
    def loudness(self) -> FloatArray:
        """(T,) level as 0 (40 dB under the loud moments or less) to 1."""
        return np.asarray(np.clip(1.0 + self.level_db / 40.0, 0.0, 1.0), np.float32)


def hear(speech: Waveform) -> Heard:
    """Log-mel bands and level of any sound: any rate, any number of channels.

    Raises:
        ValueError: in one line, when the sound is shorter than 0.2 s.
    """
    if speech.duration_seconds < SHORTEST_SECONDS:
        raise ValueError(
            f"speech is {float(speech.duration_seconds):.3f} s long, need at least {float(SHORTEST_SECONDS)} s: "
            "give a recording with someone speaking"
        )
    samples = one_channel(speech).resampled(RATE_HZ).samples[:, 0]
    length = -(-samples.shape[0] // HOP)
    margin = (WINDOW - HOP) // 2
    padded = np.zeros(length * HOP + WINDOW - HOP, np.float32)
    padded[margin : margin + samples.shape[0]] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    mel = np.empty((length, BANDS), np.float32)
    level = np.empty(length, np.float32)
    taper = np.hanning(WINDOW).astype(np.float32)
    for start in range(0, length, CHUNK):
        block = windows[start : start + CHUNK]
        power = np.abs(np.fft.rfft(block * taper, FFT, axis=1)).astype(np.float32) ** 2 / (FFT * RATE_HZ / 1000) * 128.0
        mel[start : start + CHUNK] = power @ mel_filters()
        level[start : start + CHUNK] = np.square(block - block.mean(axis=1, keepdims=True)).mean(axis=1)
    level_db = 10.0 * np.log10(level + 1e-10)
    reference_db = loudness_reference(level_db)
    bands = (10.0 * np.log10(mel + 1e-10) - reference_db[:, None]) / 30.0
    return Heard(np.clip(bands, -2.0, 1.0).astype(np.float32), (level_db - reference_db).astype(np.float32))


def one_channel(speech: Waveform) -> Waveform:
    """The mean of all channels, or the loudest channel where the mean cancels (opposite phases)."""
    mixed = speech.mono()
    power = np.square(speech.samples, dtype=np.float32).mean(axis=0)
    if float(np.square(mixed.samples).mean()) >= 0.1 * float(power.max()) / speech.channels:
        return mixed
    return Waveform(np.ascontiguousarray(speech.samples[:, [int(power.argmax())]]), speech.sample_rate_hz)


def loudness_reference(level_db: NDArray[np.floating]) -> FloatArray:
    """(T,) level of the loud moments within six seconds, in decibels, changing slowly."""
    span = int(REFERENCE_SECONDS * HEARING_HZ) + 1
    smooth = 10.0 * np.log10(uniform_filter1d(10.0 ** (level_db / 10.0), 9, mode="constant") + 1e-10)
    loudest = maximum_filter1d(np.maximum(smooth, QUIETEST_REFERENCE_DB), span, mode="nearest")
    return np.asarray(uniform_filter1d(loudest, 101, mode="nearest"), np.float32)


class Ear:
    """Hears sound as it arrives: log-mel bands against the loudest moments so far. What was heard never changes.

        ear = Ear()
        for chunk in chunks:                 # (N,) float32 at 16 kHz, any lengths
            bands = ear.push(chunk)          # (T, 80) of the frames that are complete now
        last = ear.finish()

    Whole or in pieces, the same sound gives the same bands. A frame is complete when the sound reaches 7.5 ms beyond
    its own 10 ms.
    """

    FALL_DB_A_SECOND = 0.7
    """The reference sinks so fast while nothing is loud: about 4 dB in a pause between sentences."""
    SMOOTHING = 9
    """Frames over which the level is averaged before it may raise the reference."""

    def __init__(self) -> None:
        self._margin = (WINDOW - HOP) // 2
        self._waiting = np.zeros(self._margin, np.float32)
        self._samples = 0
        self._powers: list[float] = []
        self._reference_db = QUIETEST_REFERENCE_DB

    @property
    def frames(self) -> int:
        """Hearing frames that were given out."""
        return max(0, self._samples - self._margin) // HOP

    def push(self, samples: FloatArray) -> FloatArray:
        """(T, 80) bands of the frames that these samples complete.

        Raises:
            ValueError: for anything but (N,) finite samples.
        """
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise ValueError(f"sound must be finite (N,) samples at {RATE_HZ} Hz, got {samples.shape}")
        self._samples += len(samples)
        self._waiting = np.concatenate([self._waiting, samples.astype(np.float32)])
        return self._heard()

    def finish(self) -> FloatArray:
        """(T, 80) bands of the frames that begin before the end; silence follows. The ear is to be thrown away."""
        missing = -(-self._samples // HOP) * HOP + self._margin - self._samples
        return self.push(np.zeros(missing, np.float32))

    def _heard(self) -> FloatArray:
        count = max(0, (len(self._waiting) - WINDOW) // HOP + 1)
        if not count:
            return np.zeros((0, BANDS), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._waiting, WINDOW)[: count * HOP : HOP]
        mel, power = np.empty((count, BANDS), np.float32), np.empty(count)
        for row, window in enumerate(windows):  # one by one: the same bits, however the sound was cut
            spectrum = np.abs(np.fft.rfft(window * _taper(), FFT)) ** 2 / (FFT * RATE_HZ / 1000) * 128.0
            mel[row] = spectrum.astype(np.float32) @ mel_filters()
            power[row] = float(np.square(window - window.mean()).mean())
        self._waiting = self._waiting[count * HOP :]
        reference_db = np.array([self._raised(value) for value in power])
        bands = (10.0 * np.log10(mel + 1e-10) - reference_db[:, None]) / 30.0
        return np.asarray(np.clip(bands, -2.0, 1.0), np.float32)

    def _raised(self, power: float) -> float:
        """The loudness reference after one more frame."""
        self._powers = [*self._powers[-self.SMOOTHING + 1 :], power]
        level_db = 10.0 * np.log10(sum(self._powers) / len(self._powers) + 1e-10)
        self._reference_db = max(self._reference_db - self.FALL_DB_A_SECOND / HEARING_HZ, level_db)
        self._reference_db = max(self._reference_db, QUIETEST_REFERENCE_DB)
        return self._reference_db


@cache
def _taper() -> FloatArray:
    return np.hanning(WINDOW).astype(np.float32)


@cache
def mel_filters() -> FloatArray:
    """(257, 80) triangles, equally spaced on the mel scale (2595 log10(1 + f / 700)), each of unit sum."""

    def mel(hertz: float) -> float:
        return float(2595.0 * np.log10(1.0 + hertz / 700.0))

    edges = 700.0 * (10.0 ** (np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2) / 2595.0) - 1.0)
    bins = np.fft.rfftfreq(FFT, 1.0 / RATE_HZ)
    rising = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rising, falling), 0.0, None)
    empty = filters.sum(axis=0) == 0  # the narrowest bands fall between two bins: they take the nearest one
    for band in np.flatnonzero(empty):
        filters[int(np.abs(bins - edges[band + 1]).argmin()), band] = 1.0
    return np.asarray(filters / filters.sum(axis=0), np.float32)
