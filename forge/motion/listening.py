"""What the motion network hears: for each video frame at 25 a second, visemes and coarse bands, live or as a whole.

    frames_TA = heard_frames(read_waveform(path), length=250)      # (250, 220)

    listening = Listening()
    for chunk in chunks:                                           # (N,) float32 at 16 kHz, any lengths
        frames_TA = listening.push(chunk)                          # rows of the frames that are complete now
    last_TA = listening.finish()

Axes: N samples, T video frames, H hearing frames (100 a second), A = 220 audio features, B = 80 bands.

Row n tells of the 40 ms from n / 25 s on: the live listener's chance of each of 15 visemes in four hearing frames, then
20 coarse log-mel bands of these four and of the next four. It is complete when the sound has reached (n + 2) / 25 s and
7.5 ms, which is the whole lookahead of live speech. Whole or in pieces, the same sound gives the same rows.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from forge.motion.hearing import BANDS, HEARING_HZ, HOP, RATE_HZ, WINDOW, Ear, one_channel
from forge.motion.listener import LIVE, Listener, RunningListener, live_listener
from forge.motion.visemes import VISEMES
from media.clip import Waveform

FloatArray = NDArray[np.float32]

MOTION_FPS = Fraction(25)
HEARINGS = int(HEARING_HZ / MOTION_FPS)
"""Hearing frames a video frame."""
COARSE = 20
"""Bands that prosody and level are read from."""
AUDIO_FEATURES = HEARINGS * len(VISEMES) + 2 * HEARINGS * COARSE
LOOKAHEAD_SECONDS = float(Fraction(LIVE.after, HEARING_HZ) + Fraction((WINDOW - HOP) // 2, RATE_HZ))
"""0.0475 s: what must have been heard after the end of a frame before its row is complete."""
SILENT = -2.0
"""Every band of silence."""
assert LIVE.after == HEARINGS, "a row is complete one video frame later"


class Listening:
    """The state of one talk that is listened to."""

    def __init__(self, listener: Listener | None = None) -> None:
        listener = listener or live_listener()
        if listener.span != LIVE:
            raise ValueError("the motion network hears through the live listener; pass weights of span LIVE")
        self._ear, self._listener = Ear(), RunningListener(listener)
        self._bands = np.zeros((0, BANDS), np.float32)
        """Of the frames that are still to be told."""
        self._told_ahead = 0
        """How many of them the listener knows already."""

    def push(self, samples: FloatArray) -> FloatArray:
        """(T, 220) rows that these samples (N,) at 16 kHz complete.

        Raises:
            ValueError: for anything but (N,) finite samples.
        """
        self._bands = np.concatenate([self._bands, self._ear.push(samples)])
        return self._told()

    def finish(self) -> FloatArray:
        """(T, 220) rows of the frames that begin before the end; silence follows. Throw the listening away then."""
        bands = self._ear.finish()
        missing = -(len(self._bands) + len(bands)) % HEARINGS + LIVE.after
        silence = np.full((missing, BANDS), SILENT, np.float32)
        self._bands = np.concatenate([self._bands, bands, silence])
        return self._told()

    def _told(self) -> FloatArray:
        rows = []
        while len(self._bands) >= HEARINGS + LIVE.after:
            # in pieces of one length but the first: the same bits, however the sound was cut
            window = self._bands[: HEARINGS + LIVE.after]
            logits = self._listener.push(window[self._told_ahead :])
            rows.append(row_of(logits, window))
            self._bands, self._told_ahead = self._bands[HEARINGS:], LIVE.after
        return np.stack(rows) if rows else np.zeros((0, AUDIO_FEATURES), np.float32)


def row_of(logits_HV: FloatArray, bands_HB: FloatArray) -> FloatArray:
    """(220,) of four hearing frames' viseme chances and of eight hearing frames' bands."""
    odds = np.exp(logits_HV - logits_HV.max(axis=1, keepdims=True))
    # chances, not their logarithms: a mouth is nearly linear in them (correlation of a ridge regression with the
    # pucker of unheard voices .93 against .82)
    chance = odds / odds.sum(axis=1, keepdims=True)
    coarse = bands_HB.reshape(2 * HEARINGS, COARSE, BANDS // COARSE).mean(axis=2)
    return np.concatenate([chance.ravel(), coarse.ravel()]).astype(np.float32)


def heard_frames(speech: Waveform, length: int, listener: Listener | None = None) -> FloatArray:
    """(T, 220) what is heard during each of `length` frames; silence beyond the end of the sound.

    The same as `Listening` tells, up to rounding, and quicker.
    """
    listener = listener or live_listener()
    ear = Ear()
    samples = one_channel(speech).resampled(RATE_HZ).samples[:, 0]
    bands = np.concatenate([ear.push(samples), ear.finish()])
    wanted = (length + 1) * HEARINGS
    padded = np.full((max(wanted, len(bands)), BANDS), SILENT, np.float32)
    padded[: len(bands)] = bands
    logits = listener.logits(padded)
    return np.stack(
        [row_of(logits[n : n + HEARINGS], padded[n : n + 2 * HEARINGS]) for n in range(0, length * HEARINGS, HEARINGS)]
    )
