"""A motion network of a few thousand random weights: moves a face at random, but always the same way."""

from __future__ import annotations

from pathlib import Path

import torch

from forge.motion.denoiser import DenoiserShape, MotionDenoiser
from forge.motion.features import NAMES
from forge.motion.windows import MotionModel


def tiny_weights(path: Path, seed: int = 0) -> Path:
    """Write them as a .safetensors file."""
    path.parent.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    network = MotionDenoiser(DenoiserShape(width=32, layers=2, heads=2, context=4, window=8)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    MotionModel(network, torch.zeros(len(NAMES)), torch.full((len(NAMES),), 0.1)).save(path)
    return path
