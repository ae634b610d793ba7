"""Sound made ready to be spoken: one channel, at a rate every player knows.

speech = load_speech(Path("hello.mp3"))
speech.sound.sample_rate_hz        # 44100
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from forge.portrait import ForgeError, check_regular, sha256_of
from media.clip import MediaError, Waveform

SHORTEST_SPEECH_SECONDS = Fraction(1, 5)
SPEECH_RATES_HZ = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Rates that every player and AAC know; others are resampled to the next one."""


@dataclass(frozen=True)
class Speech:
    """Sound ready to be spoken: one channel at a standard rate."""

    sound: Waveform
    path: Path
    sha256: str


def load_speech(path: Path) -> Speech:
    """Read speech from a sound file or a video, as one channel at a standard rate.

    Raises:
        ForgeError: no sound, zero length, too short, NaN, damaged.
    """
    from media.video import read_waveform

    check_regular(path, "one sound file")
    try:
        sound = read_waveform(path)
    except MediaError as error:
        raise ForgeError(str(error)) from error
    try:
        return Speech(spoken(sound), path, sha256_of(path))
    except ForgeError as error:
        raise ForgeError(f"{path}: {error}") from error


def spoken(sound: Waveform) -> Waveform:
    """One channel at one of `SPEECH_RATES_HZ`.

    Raises:
        ForgeError: for less than `SHORTEST_SPEECH_SECONDS`.
    """
    if sound.duration_seconds < SHORTEST_SPEECH_SECONDS:
        seconds, least = float(sound.duration_seconds), float(SHORTEST_SPEECH_SECONDS)
        raise ForgeError(f"{seconds:.3f} s of sound, at least {least} s are needed; give longer speech")
    return sound.mono().resampled(standard_rate(sound.sample_rate_hz))


def standard_rate(sample_rate_hz: int) -> int:
    """The lowest of `SPEECH_RATES_HZ` that keeps everything, or the highest one."""
    return next((rate for rate in SPEECH_RATES_HZ if rate >= sample_rate_hz), SPEECH_RATES_HZ[-1])
