"""Random fields in three dimensions that cost one trilinear look-up a point.

A block of random numbers that wraps around is made once; a field of a person is that block read at rotated, shifted and
scaled places, so two people share no pattern.
Axes: N points.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SIDE = 48


@functools.cache
def noise_block(device: str) -> Tensor:
    """(1, 1, SIDE + 1, SIDE + 1, SIDE + 1) numbers in [-1, 1]; the last plane repeats the first."""
    block = np.random.default_rng(2_024).uniform(-1, 1, (SIDE, SIDE, SIDE)).astype(np.float32)
    wrapped = np.pad(block, ((0, 1),) * 3, mode="wrap")
    return torch.from_numpy(wrapped)[None, None].to(device)


class Noise:
    """Fields of one person; equal seeds give equal fields."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 11])

    def value(self, points_N3: Tensor, size_cm: float) -> Tensor:
        """Smooth noise in about [-1, 1], (N,); `size_cm` is the size of one lump. Each call is another field."""
        turn, _ = np.linalg.qr(self._rng.normal(size=(3, 3)))
        shift = self._rng.uniform(0, SIDE, 3)
        matrix = torch.tensor(turn / size_cm, dtype=torch.float32, device=points_N3.device)
        offset = torch.tensor(shift, dtype=torch.float32, device=points_N3.device)
        at = torch.remainder(points_N3 @ matrix + offset, SIDE)
        whole = torch.floor(at)
        part = at - whole
        at = whole + part * part * (3.0 - 2.0 * part)  # smooth: plain trilinear shows its lattice
        grid = (at / SIDE * 2.0 - 1.0)[None, None, None]
        block = noise_block(str(points_N3.device))
        return functional.grid_sample(block, grid, align_corners=True, padding_mode="border")[0, 0, 0, 0]

    def fractal(self, points_N3: Tensor, size_cm: float, octaves: int = 3) -> Tensor:
        """Sum of octaves of `value`, about [-1, 1], (N,); `size_cm` is the size of the largest lumps."""
        total = self.value(points_N3, size_cm)
        weight, norm = 1.0, 1.0
        for octave in range(1, octaves):
            weight *= 0.55
            norm += weight
            total = total + weight * self.value(points_N3, size_cm / 2.0**octave)
        return total / norm
