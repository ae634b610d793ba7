"""Diffusion over motion windows: schedule, training target, sampler, guidance. Knows tensors; no files, no speech.

    noise_BTM = frame_noise(seed=7, first=0, count=50)[None]
    motion_BTM = sample(denoise, noise_BTM, steps=10)

Axes: B batch, T frames of a window, M motion features (standardised).

A window is mixed as x_t = cos(t pi / 2) x_0 + sin(t pi / 2) noise, t from 0 (clean) to 1 (noise): the cosine schedule
in continuous time. The network predicts x_0 (VASA-1, section 3.2): every step of the sampler has a motion to look at.
Sampling is deterministic (DDIM, arXiv 2010.02502): all chance lies in the noise, and noise belongs to absolute frame
numbers, so that a longer clip begins like a shorter one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import cos, pi, sin

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.motion.features import NAMES

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(noisy (B, T, M), time (B,) in [0, 1]) -> predicted clean motion (B, T, M)."""

NOISE_BLOCK = 64
LAST_TIME = 0.995
"""Sampling begins here: at 1 nothing of the prediction's error could be corrected, as eps is all there is."""
DEFAULT_GUIDANCE: Mapping[str, float] = {"audio": 0.5}
"""l_A of VASA-1. Its l_g = 1.0 is not needed: gaze is obeyed by construction (`wishes`)."""


def mixed(clean_BTM: Tensor, noise_BTM: Tensor, time_B: Tensor) -> Tensor:
    """Clean motion with its share of noise at each row's time."""
    angle_B11 = (time_B * (pi / 2)).view(-1, 1, 1)
    return torch.cos(angle_B11) * clean_BTM + torch.sin(angle_B11) * noise_BTM


def sample_times(steps: int) -> list[float]:
    """`steps` times from `LAST_TIME` down, evenly spaced in the mixing angle; the sampler ends at 0 after the last.

    Raises:
        ValueError: for fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, got {steps}")
    return [LAST_TIME * (steps - i) / steps for i in range(steps)]


def sample(denoise: Denoise, noise_BTM: Tensor, steps: int = 10) -> Tensor:
    """Motion from noise by `steps` deterministic DDIM steps.

    Args:
        denoise: predicts the clean motion.
        noise_BTM: unit normal; the same noise gives the same motion.
        steps: 10 by default, 50 for quality, 1 to 4 for a distilled network.
    """
    times = sample_times(steps)
    x_BTM = noise_BTM
    batch = noise_BTM.shape[0]
    for now, after in zip(times, [*times[1:], 0.0], strict=True):
        clean_BTM = denoise(x_BTM, torch.full((batch,), now, dtype=noise_BTM.dtype, device=noise_BTM.device))
        x_BTM = stepped(x_BTM, clean_BTM, now, after)
    return x_BTM


def stepped(x_BTM: Tensor, clean_BTM: Tensor, now: float, after: float) -> Tensor:
    """One step of the sampler, from time `now` to the earlier time `after`, towards a predicted clean motion."""
    rest_BTM = (x_BTM - cos(now * pi / 2) * clean_BTM) / sin(now * pi / 2)
    return cos(after * pi / 2) * clean_BTM + sin(after * pi / 2) * rest_BTM


def guided(predict: Callable[[frozenset[str]], Tensor], guidance: Mapping[str, float], known: frozenset[str]) -> Tensor:
    """Classifier-free guidance with one strength a condition: (1 + sum l_c) H(C) - sum l_c H(C without c).

    Args:
        predict: the network's answer when the named conditions are taken away.
        guidance: strength l_c by condition; 0 costs nothing.
        known: conditions that are given at all; others need no pushing.
    """
    strengths = {name: value for name, value in guidance.items() if value and name in known}
    whole = predict(frozenset())
    out = (1.0 + sum(strengths.values())) * whole
    for name, value in strengths.items():
        out = out - value * predict(frozenset({name}))
    return out


def frame_noise(seed: int, first: int, count: int, features: int = len(NAMES)) -> Tensor:
    """(count, M) float32 unit normal noise of absolute frames `first` to `first + count` of a seed, always the same."""
    if count < 0 or first < 0:
        raise ValueError(f"frames must not be negative, got first {first}, count {count}")
    blocks = range(first // NOISE_BLOCK, (first + max(count, 1) - 1) // NOISE_BLOCK + 1)
    drawn = [_noise_block(seed, block, features) for block in blocks]
    start = first - blocks[0] * NOISE_BLOCK
    whole = drawn[0] if len(drawn) == 1 else np.concatenate(drawn)
    return torch.from_numpy(whole[start : start + count].copy())


@lru_cache(maxsize=32)
def _noise_block(seed: int, block: int, features: int) -> NDArray[np.float32]:
    """(NOISE_BLOCK, M); kept, for a live talk asks for the same block again with every frame."""
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 7919, block))))
    return random.standard_normal((NOISE_BLOCK, features), np.float32)
