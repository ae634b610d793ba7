"""What is left to chance in a talk: noise of its frames, by the seed for the head, by the sound for the mouth.

    angle_T = mouth_angles(audio_TA)                              # of a whole talk
    noise_TM = take_noise(7, first, angle_T[first : first + 50])  # of one window
    noise_KM = noise_ahead(7, n, angle_T[n : n + 17], (1, 4, 12)) # of live frame n and of stretches of time after it

Axes: T frames, M motion features, A audio features, K stretches of time.

Two seeds are two takes of one speech: another head, other looks and brows, the same lips. So the noise of the mouth is
a mixture of two fixed streams by an angle that the sound sets: unit normal and white as all noise here, the same for
the same sound under every seed, and another one for other speech. The sound sets it `LATE_FRAMES` later, so that a
live talk knows the noise of the frames that are about to come.
"""

from __future__ import annotations

from math import sqrt, tau

import torch
from torch import Tensor

from forge.motion.diffusion import frame_noise
from forge.motion.features import NAMES
from forge.motion.listening import COARSE, HEARINGS

MOUTH = torch.tensor([name.startswith(("jaw", "mouth", "tongue")) for name in NAMES])
"""(M,) features that speak; the others live."""
FIRST_STREAM, SECOND_STREAM = 2**63, 2**63 + 1
"""Seeds that no talk can have."""
LATE_FRAMES = 16
TURNS = 16.0
"""Of the angle for a change of the mean band by 30 dB: speech moves it by a third of that from frame to frame, and the
last bits of a row by nothing to speak of."""


def mouth_angle(audio_A: Tensor) -> float:
    """The angle that one row of `listening` sets."""
    return tau * TURNS * float(audio_A[-2 * HEARINGS * COARSE :].mean())


def mouth_angles(audio_TA: Tensor) -> Tensor:
    """(T,) the angle of each frame of a talk: that of the sound `LATE_FRAMES` before, at the beginning of its first."""
    angle_T = torch.tensor([mouth_angle(row_A) for row_A in audio_TA])
    return angle_T[(torch.arange(len(audio_TA)) - LATE_FRAMES).clamp(min=0)]


def take_noise(seed: int, first: int, angle_T: Tensor) -> Tensor:
    """(T, M) noise of frames `first` and on."""
    noise_TM, one_TM, other_TM = (
        frame_noise(stream, first, len(angle_T)) for stream in (seed, FIRST_STREAM, SECOND_STREAM)
    )
    angle_T1 = angle_T[:, None]
    return torch.where(MOUTH, torch.cos(angle_T1) * one_TM + torch.sin(angle_T1) * other_TM, noise_TM)


def noise_ahead(seed: int, first: int, angle_T: Tensor, stretches: tuple[int, ...]) -> Tensor:
    """(K, M) noise of stretches of time from frame `first` on, each the sum of its frames', scaled to unit variance.

    What a head does now hangs on the noise of the second to come; a live window sees it in few tokens.

    Raises:
        ValueError: for stretches that reach beyond the angles that are known.
    """
    if sum(stretches) > len(angle_T):
        raise ValueError(f"noise is known {len(angle_T)} frames ahead, stretches of {sum(stretches)} were asked for")
    parts = take_noise(seed, first, angle_T[: sum(stretches)]).split(list(stretches))
    return torch.stack([part.sum(dim=0) / sqrt(len(part)) for part in parts])
