"""Clips and sound as values in memory. START HERE when you read `media`.

    clip = Clip(frames=np.zeros((25, 64, 64, 3), np.uint8), fps=Fraction(25))
    clip.duration_seconds   # 1.0

Nothing here touches a file: see `media.video` for that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


class MediaError(Exception):
    """A file or value that cannot be used; the message is one line: what, where, what to do."""


@dataclass(frozen=True, eq=False)
class Waveform:
    """Sound: samples at a rate."""

    samples: FloatArray
    """(N, C) float32 in [-1, 1]; C = 1 for mono."""
    sample_rate_hz: int

    def __post_init__(self) -> None:
        """Refuse arrays that are not finite (N, C) float32 and rates that are not positive."""
        if self.samples.ndim != 2 or self.samples.shape[1] < 1:
            raise ValueError(f"samples must be (N, C), got {self.samples.shape}")
        if self.samples.dtype != np.float32:
            raise ValueError(f"samples must be float32, got {self.samples.dtype}")
        if self.sample_rate_hz <= 0:
            raise ValueError(f"sample_rate_hz must be positive, got {self.sample_rate_hz}")
        if not np.isfinite(self.samples).all():
            raise ValueError("samples must be finite, got NaN or infinity")

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return int(self.samples.shape[1])

    @property
    def duration_seconds(self) -> Fraction:
        """Exact duration."""
        return Fraction(int(self.samples.shape[0]), self.sample_rate_hz)

    def mono(self) -> Waveform:
        """The mean of all channels as (N, 1)."""
        if self.channels == 1:
            return self
        return Waveform(self.samples.mean(axis=1, keepdims=True, dtype=np.float32), self.sample_rate_hz)

    def resampled(self, sample_rate_hz: int) -> Waveform:
        """The same sound at another rate, by a polyphase anti-aliasing filter."""
        if sample_rate_hz == self.sample_rate_hz or self.samples.shape[0] == 0:
            return Waveform(self.samples, sample_rate_hz)
        from scipy.signal import resample_poly

        common = gcd(sample_rate_hz, self.sample_rate_hz)
        out = resample_poly(self.samples, sample_rate_hz // common, self.sample_rate_hz // common, axis=0)
        return Waveform(np.clip(out, -1.0, 1.0).astype(np.float32), sample_rate_hz)


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames at an exact constant rate, with their sound."""

    frames: UInt8Array
    """(T, H, W, 3) uint8, RGB."""
    fps: Fraction
    sound: Waveform | None = field(default=None)

    def __post_init__(self) -> None:
        """Refuse frames that are not (T, H, W, 3) uint8 and rates that are not positive."""
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise ValueError(f"frames must be (T, H, W, 3), got {self.frames.shape}")
        if self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8, got {self.frames.dtype}")
        if self.frames.shape[0] < 1 or 0 in self.frames.shape:
            raise ValueError(f"a clip needs at least one non-empty frame, got {self.frames.shape}")
        if not isinstance(self.fps, Fraction) or self.fps <= 0:
            raise ValueError(f"fps must be a positive Fraction, got {self.fps!r}")

    @property
    def length(self) -> int:
        """Number of frames T."""
        return int(self.frames.shape[0])

    @property
    def height(self) -> int:
        """Frame height in pixels."""
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        """Frame width in pixels."""
        return int(self.frames.shape[2])

    @property
    def duration_seconds(self) -> Fraction:
        """Exact duration of the pictures."""
        return self.length / self.fps


def frame_at(seconds: float | Fraction, fps: Fraction) -> int:
    """Index of the frame on screen at a time, by the sample clock (floor, exact for Fractions).

    Raises:
        ValueError: for a negative time.
    """
    if seconds < 0:
        raise ValueError(f"seconds must not be negative, got {seconds}")
    return int(Fraction(seconds) * fps)


def frames_for(duration_seconds: Fraction, fps: Fraction) -> int:
    """How many frames cover a duration: rounded to the nearest frame, at least one."""
    return max(1, round(duration_seconds * fps))
