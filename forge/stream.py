"""Speech in, frames out, while it is being spoken: bounded delay, bounded memory, no drift.

    live = LiveMotion(model, Controls(seed=7))
    for chunk in chunks:                         # (N,) float32 at 16 kHz
        for frame in live.push(chunk): ...       # MotionFrame(index, values (70,)): one each 40 ms of sound
    rest = live.finish()

A receding horizon. Frame n is drawn as soon as its row of `listening` is complete, which looks 40 ms ahead: a short
window begins at frame n, its later frames are drawn with their sound unknown, and only frame n is kept. What is carried
from frame to frame is the ten frames before, so a ten-minute talk cannot drift. The noise of a frame belongs to its
number: the same sound gives the same motion, however it was cut into chunks.

Delay: frame n shows the 40 ms from n / 25 s on and is drawn when the sound has reached (n + 2) / 25 s + 7.5 ms, which
is `ALGORITHMIC_DELAY_SECONDS` after the first thing that it shows. Sound played beside the frames is to be held back by
as much.

Axes: T frames, P context frames, M motion features, A audio features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.motion.controls import Controls
from forge.motion.denoiser import Conditions, MotionDenoiser
from forge.motion.diffusion import frame_noise, guided, sample
from forge.motion.features import NAMES
from forge.motion.lean import LeanDenoiser
from forge.motion.listening import AUDIO_FEATURES, LOOKAHEAD_SECONDS, MOTION_FPS, Listening
from forge.motion.windows import MotionModel, obeyed, wished
from forge.motion.wishes import Wish, arrived

FloatArray = NDArray[np.float32]

HORIZON_FRAMES = 4
"""Frames drawn together; all but the first are thrown away, they only tell the first where it is going."""
LIVE_STEPS = 2
ALGORITHMIC_DELAY_SECONDS = float(1 / MOTION_FPS) + LOOKAHEAD_SECONDS
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
            controls: wishes and the seed.
            steps: of the sampler for each frame.
            guidance: strength by condition; none by default, it costs as much again for each.
        """
        # answers like the network itself, without torch's time between small products
        lean = cast(MotionDenoiser, LeanDenoiser(model.network))
        self._model, self._controls = replace(model, network=lean), controls or Controls()
        self._steps, self._guidance = steps, dict(guidance or {})
        self._listening = Listening()
        context = model.network.shape.context
        self._past_motion = torch.zeros((1, context, len(NAMES)))
        self._past_audio = torch.zeros((1, context, AUDIO_FEATURES))
        self._next = 0

    def push(self, samples: FloatArray) -> Iterator[MotionFrame]:
        """The frames that can be drawn with these further samples (N,) at 16 kHz."""
        yield from self._drawn(self._listening.push(samples))

    def finish(self) -> Iterator[MotionFrame]:
        """The last frames; nothing is heard after the end."""
        yield from self._drawn(self._listening.finish())

    def _drawn(self, rows_TA: FloatArray) -> Iterator[MotionFrame]:
        for row_A in rows_TA:
            yield MotionFrame(self._next, self._frame(row_A))
            self._next += 1

    @torch.inference_mode()
    def _frame(self, row_A: FloatArray) -> FloatArray:
        """The next frame, for what is heard of it."""
        horizon = min(HORIZON_FRAMES, self._model.network.shape.window)
        audio = torch.zeros((1, horizon, AUDIO_FEATURES))
        audio[0, 0] = torch.from_numpy(row_A)
        given = wished(self._controls, audio, self._past_motion, self._past_audio, has_past=self._next > 0)
        heard = torch.arange(horizon)[None] < 1
        given = Conditions(**{**vars(given), "heard_BT": heard})
        noise = frame_noise(self._controls.seed, self._next, horizon)[None]

        def denoise(noisy: Tensor, time: Tensor) -> Tensor:
            names = frozenset(self._guidance)
            return guided(lambda gone: self._model.clean(noisy, time, given.without(gone)), self._guidance, names)

        drawn = sample(denoise, noise, self._steps)[:, :1]
        self._past_motion = torch.cat([self._past_motion[:, 1:], drawn], dim=1)
        self._past_audio = torch.cat([self._past_audio[:, 1:], audio[:, :1]], dim=1)
        plain = arrived(np.asarray(self._model.plain(drawn[0]).numpy(), np.float32), Wish.of(self._controls))
        return np.asarray(obeyed(plain, self._controls, first=self._next)[0])
