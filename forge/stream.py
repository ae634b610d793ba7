"""Speech in, frames out, while it is being spoken: bounded delay, bounded memory, no drift.

    live = LiveMotion(model, Controls(seed=7))
    for chunk in chunks:                         # (N,) float32 at 16 kHz
        for frame in live.push(chunk): ...       # MotionFrame(index, values (70,)): one each 40 ms of sound
    rest = live.finish()

Frame n is drawn as soon as its row of `listening` is complete, which looks 40 ms ahead. The network that ships for live
talks draws it in one step, from the ten frames before, the sound so far and the noise ahead (`forge.distil_live`).
Another network of the same kind draws a receding horizon: a short window begins at frame n, its later frames are drawn
with their sound unknown, and only frame n is kept. What is carried from frame to frame is the ten frames before, so a
ten-minute talk cannot drift. The noise of a frame belongs to its number and its sound: the same sound gives the same
motion, however it was cut into chunks.

Delay: frame n shows the 40 ms from n / 25 s on and is drawn when the sound has reached (n + 2) / 25 s + 7.5 ms, which
is `ALGORITHMIC_DELAY_SECONDS` after the first thing that it shows. Sound played beside the frames is to be held back by
as much.

Axes: T frames, P context frames, M motion features, A audio features.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.motion.chance import LATE_FRAMES, MOUTH, mouth_angle, noise_ahead
from forge.motion.controls import Controls
from forge.motion.denoiser import MotionDenoiser
from forge.motion.diffusion import guided, sample
from forge.motion.features import NAMES
from forge.motion.lean import LeanDenoiser
from forge.motion.listening import AUDIO_FEATURES, LOOKAHEAD_SECONDS, MOTION_FPS, Listening
from forge.motion.windows import MotionModel, obeyed, wished
from forge.motion.wishes import Wish, arrived

FloatArray = NDArray[np.float32]

HORIZON_FRAMES = 4
"""Drawn together by a network that was not made for live talks; all but the first are thrown away, they only tell the
first where it is going."""
LIVE_STEPS = 2
"""Of the sampler, for a network that was not distilled."""
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
        steps: int | None = None,
        guidance: Mapping[str, float] | None = None,
    ) -> None:
        """Start a talk.

        Args:
            model: trained weights.
            controls: wishes and the seed.
            steps: of the sampler for each frame; default: the model's if it was distilled.
            guidance: strength by condition; none by default, it costs as much again for each.
        """
        # answers like the network itself, without torch's time between small products
        lean = cast(MotionDenoiser, LeanDenoiser(model.network))
        self._model, self._controls = replace(model, network=lean), controls or Controls()
        self._wish = Wish.of(self._controls)
        self._steps, self._guidance = steps or model.folded_steps or LIVE_STEPS, dict(guidance or {})
        self._stretches = model.stretches or (1,) * min(HORIZON_FRAMES, model.network.shape.window)
        self._listening = Listening()
        context, tokens = model.network.shape.context, len(self._stretches)
        self._past_motion = torch.zeros((1, context, len(NAMES)))
        self._past_audio = torch.zeros((1, context, AUDIO_FEATURES))
        silence = torch.zeros((1, tokens, AUDIO_FEATURES))
        given = wished(self._controls, silence, self._past_motion, self._past_audio, has_past=False)
        self._given = replace(given, heard_BT=torch.arange(tokens)[None] < 1)
        self._angles = deque[float](maxlen=LATE_FRAMES + 1)
        """Of the mouth's noise, from the next frame on."""
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
        heard = torch.from_numpy(row_A)
        audio = torch.zeros_like(self._given.audio_BTA)
        audio[0, 0] = heard
        given = replace(
            self._given,
            audio_BTA=audio,
            past_motion_BPM=self._past_motion,
            past_audio_BPA=self._past_audio,
            has_past_B=torch.tensor([self._next > 0]),
        )
        self._angles.extend([mouth_angle(heard)] * (1 if self._next else LATE_FRAMES + 1))
        noise = noise_ahead(self._controls.seed, self._next, torch.tensor(self._angles), self._stretches)[None]

        def denoise(noisy: Tensor, time: Tensor) -> Tensor:
            if not self._guidance:
                return self._model.clean(noisy, time, given)
            names = frozenset(self._guidance)
            return guided(lambda gone: self._model.clean(noisy, time, given.without(gone)), self._guidance, names)

        drawn = sample(denoise, noise, self._steps)[:, :1]
        self._past_motion = torch.cat([self._past_motion[:, 1:], drawn], dim=1)
        self._past_audio = torch.cat([self._past_audio[:, 1:], audio[:, :1]], dim=1)
        told = torch.where(
            MOUTH, self._model.mouth_gain * drawn[0], drawn[0]
        )  # after it was carried on, or it would grow
        plain = arrived(np.asarray(self._model.plain(told).numpy(), np.float32), self._wish)
        return np.asarray(obeyed(plain, self._controls, first=self._next)[0])
