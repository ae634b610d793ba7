"""Speech in, frames out, while it is being spoken: bounded delay, bounded memory, no drift.

    live = LiveMotion(model, Controls(seed=7))
    for chunk in chunks:                         # (N,) float32 at 16 kHz
        for frame in live.push(chunk): ...       # MotionFrame(index, values (70,)): one each 40 ms of sound
    rest = live.finish()

A receding horizon. Frame n is drawn as soon as the sound of frame n + 1 is complete (40 ms lookahead): a short window
begins at frame n, its later frames are drawn with their sound unknown, and only frame n is kept. What is carried from
frame to frame is the ten frames before, so a ten-minute talk cannot drift. The noise of a frame belongs to its number:
the same sound gives the same motion, however it was cut into chunks.

Delay: frame n shows the 40 ms from n / 25 s on and is drawn when the sound has reached (n + 2) / 25 s + 7.5 ms, which
is `ALGORITHMIC_DELAY_SECONDS` after the first thing that it shows. Sound played beside the frames is to be held back by
as much.

Axes: T frames, P context frames, M motion features, A audio features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.motion.controls import Controls
from forge.motion.denoiser import Conditions
from forge.motion.diffusion import frame_noise, guided, sample
from forge.motion.features import NAMES
from forge.motion.hearing import AUDIO_FEATURES, BANDS, HOP, RATE_HZ, WINDOW, Ear
from forge.motion.sequences import HEARINGS, MOTION_FPS
from forge.motion.windows import MotionModel, obeyed, wished

FloatArray = NDArray[np.float32]

LOOKAHEAD_FRAMES = 1
"""Frames whose sound is known beyond the one that is drawn: 40 ms."""
HORIZON_FRAMES = 4
"""Frames drawn together; all but the first are thrown away, they only tell the first where it is going."""
LIVE_STEPS = 2
ALGORITHMIC_DELAY_SECONDS = float((1 + LOOKAHEAD_FRAMES) / MOTION_FPS + Fraction((WINDOW - HOP) // 2, RATE_HZ))
"""0.0875 s: what must have been heard before a frame can be drawn, counted from the moment the frame begins to show."""


@dataclass(frozen=True, eq=False)
class MotionFrame:
    """One frame of live motion."""

    index: int
    """It shows the moments from index / 25 s to (index + 1) / 25 s of the sound."""
    values: FloatArray
    """(70,) `features.NAMES`."""


class LiveMotion:
    """The state of one live talk."""

    def __init__(
        self,
        model: MotionModel,
        controls: Controls | None = None,
        *,
        steps: int = LIVE_STEPS,
        guidance: Mapping[str, float] | None = None,
    ) -> None:
        """Start a talk.

        Args:
            model: trained weights.
            controls: wishes and the seed; the rate of blinks cannot be changed live.
            steps: of the sampler for each frame.
            guidance: strength by condition; none by default, it costs as much again for each.
        """
        self._model, self._controls = model, controls or Controls()
        self._steps, self._guidance = steps, dict(guidance or {})
        self._ear, self._bands = Ear(), np.zeros((0, BANDS), np.float32)
        context = model.network.shape.context
        self._past_motion = torch.zeros((1, context, len(NAMES)))
        self._past_audio = torch.zeros((1, context, AUDIO_FEATURES))
        self._next = 0

    def push(self, samples: FloatArray) -> Iterator[MotionFrame]:
        """The frames that can be drawn with these further samples (N,) at 16 kHz."""
        yield from self._drawn(self._ear.push(samples), LOOKAHEAD_FRAMES)

    def finish(self) -> Iterator[MotionFrame]:
        """The last frames; nothing is heard after the end."""
        bands = self._ear.finish()
        missing = -(len(self._bands) + len(bands)) % HEARINGS
        silence = np.full((missing, BANDS), -2.0, np.float32)
        yield from self._drawn(np.concatenate([bands, silence]), 0)

    def _drawn(self, bands: FloatArray, lookahead: int) -> Iterator[MotionFrame]:
        self._bands = np.concatenate([self._bands, bands])
        while len(self._bands) >= (1 + lookahead) * HEARINGS:
            known = min(len(self._bands) // HEARINGS, 1 + LOOKAHEAD_FRAMES)
            audio = self._bands[: known * HEARINGS].reshape(known, AUDIO_FEATURES)
            yield MotionFrame(self._next, self._frame(audio))
            self._bands = self._bands[HEARINGS:]
            self._next += 1

    @torch.inference_mode()
    def _frame(self, audio_KA: FloatArray) -> FloatArray:
        """The next frame, for the sound of it and of what is known after it."""
        horizon = min(HORIZON_FRAMES, self._model.network.shape.window)
        known = len(audio_KA)
        audio = torch.zeros((1, horizon, AUDIO_FEATURES))
        audio[0, :known] = torch.from_numpy(audio_KA)
        given = wished(self._controls, audio, self._past_motion, self._past_audio, has_past=self._next > 0)
        heard = torch.arange(horizon)[None] < known
        given = Conditions(**{**vars(given), "heard_BT": heard})
        noise = frame_noise(self._controls.seed, self._next, horizon)[None]

        def denoise(noisy: Tensor, time: Tensor) -> Tensor:
            network = self._model.network
            names = frozenset(self._guidance)
            return guided(lambda gone: network(noisy, time, given.without(gone)), self._guidance, names)

        drawn = sample(denoise, noise, self._steps)[:, :1]
        self._past_motion = torch.cat([self._past_motion[:, 1:], drawn], dim=1)
        self._past_audio = torch.cat([self._past_audio[:, 1:], audio[:, :1]], dim=1)
        plain = np.asarray(self._model.plain(drawn[0]).numpy(), np.float32)
        return np.asarray(obeyed(plain, self._controls, live=True)[0])
