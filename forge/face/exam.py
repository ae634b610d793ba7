"""How a trained face does on people it has never seen, rendered here: a quick look, not the benchmark.

    facts = examine_face(model, 256, (1_000_000, 1_000_001), Path("exam.png"))

Axes: B people, N frames of each, H W pixels. The full evaluation is `benchmarks.generation_face`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from forge.face.crew import Crew
from forge.face.losses import CLOSE_PARTS, rotation_between
from forge.face.model import FaceModel
from forge.face.sheet import save_grid
from forge.motion.features import BLENDSHAPES, POSE
from forge.studio.footage import Footage
from forge.studio.head import PART

FRAMES = 8
SHOWN = 6
"""People on the sheet."""


@torch.no_grad()
def examine_face(
    model: FaceModel, size: int, people: Sequence[int], sheet: Path, *, workers: int = 0
) -> dict[str, float]:
    """Draw held-out people's frames from the first one, by motion read off the pictures.

    Args:
        model: in evaluation mode.
        size: its side.
        people: seeds, from a million on.
        sheet: PNG: source, then pairs of true and drawn, then the next person's motion.
        workers: processes that make the people.

    Returns:
        PSNR whole, of the person and of eyes and mouth; of the source repeated; pose and coefficient errors of E_mot.
    """
    device = next(model.parameters()).device
    sums: dict[str, list[float]] = {}
    takes: list[Footage] = []
    with Crew(size, device=device, seed=9, workers=min(workers, len(people))) as crew:
        crew.bring(people)
        takes = [crew.shoot(person, FRAMES, 77 + number) for number, person in enumerate(people)]
    rows = []
    for number, take in enumerate(takes):
        true = take.image_F3HW.float() / 255
        appearance = model.see(true[:1])
        pose, dyn = model.read_motion(true)
        drawn = model.draw(appearance, pose[1:], dyn[1:]).float().clamp(0, 1)
        for name, value in _errors(take, drawn, pose, dyn).items():
            sums.setdefault(name, []).append(value)
        if number < SHOWN:
            other = takes[(number + 1) % len(takes)].image_F3HW[1:2].float() / 255
            crossed = model.draw(appearance, *model.read_motion(other)).float()
            rows.append(torch.cat([true[:1], true[1:2], drawn[:1], true[2:3], drawn[1:2], other, crossed]))
    save_grid(torch.stack(rows), sheet)
    return {name: sum(values) / len(values) for name, values in sums.items()}


def _errors(take: Footage, drawn: torch.Tensor, pose: torch.Tensor, dyn: torch.Tensor) -> dict[str, float]:
    """Figures of one take."""
    true, first = take.image_F3HW[1:].float() / 255, take.image_F3HW[:1].float() / 255
    parts = take.parts_FHW[1:]
    close = torch.zeros_like(parts, dtype=torch.bool)
    for name in CLOSE_PARTS:
        close |= parts == PART[name]
    everywhere = torch.ones_like(close)
    read = torch.cat([pose, dyn], 1)
    return {
        "psnr": _psnr(drawn, true, everywhere),
        "psnr person": _psnr(drawn, true, parts != PART["background"]),
        "psnr eyes and mouth": _psnr(drawn, true, close),
        "psnr of the source repeated": _psnr(first.expand_as(true), true, everywhere),
        "pose degrees": float(rotation_between(pose, take.motion_FM[:, POSE]).mean()) * 180 / math.pi,
        "blendshape": float((read - take.motion_FM)[:, BLENDSHAPES].abs().mean()),
    }


def _psnr(drawn: torch.Tensor, true: torch.Tensor, where: torch.Tensor) -> float:
    """Decibels within a mask (N, H, W)."""
    mask = where[:, None].float()
    error = ((drawn - true).square() * mask).sum() / (3 * mask.sum().clamp(min=1))
    return float(-10 * error.clamp(min=1e-12).log10())
