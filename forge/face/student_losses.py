"""What the student is trained towards.

Axes: B batch, H W the picture, h w half of it, q a quarter. Every loss is a mean that does not depend on the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from forge.face.student import Guess, Layers, Seen, sample
from forge.face.student_recipes import StudentLosses

FINE = 8.0
"""Weight of mouth and eyes."""
BEHIND = 0.5
"""Weight of the background: it stands still, and there is much of it."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a frame."""

    target_B3HW: Tensor
    weight_B1HW: Tensor
    """How much each pixel counts."""
    flow_B2qq: Tensor
    """Where each pixel really is in the source, relative to it, in sides."""
    seen_B1qq: Tensor
    """1 where the source shows that point."""
    behind_B1qq: Tensor
    """1 where the frame shows background."""
    regions_Bqq: Tensor
    """long, `student.REGIONS` of the source."""


def charbonnier(difference: Tensor, epsilon: float = 1e-3) -> Tensor:
    """sqrt(d² + e²), smooth at zero."""
    return torch.sqrt(difference.square() + epsilon**2)


def pixel_loss(image_B3HW: Tensor, truth: Truth) -> Tensor:
    """Weighted Charbonnier."""
    weight = truth.weight_B1HW
    return (charbonnier(image_B3HW - truth.target_B3HW) * weight).mean() / weight.mean().clamp(min=1e-6)


def structure_loss(image_B3HW: Tensor, target_B3HW: Tensor, window: int = 7) -> Tensor:
    """1 - SSIM of the grey pictures in flat windows."""
    grey = torch.tensor([0.299, 0.587, 0.114], dtype=image_B3HW.dtype, device=image_B3HW.device).view(1, 3, 1, 1)
    a, b = (image_B3HW * grey).sum(1, keepdim=True), (target_B3HW * grey).sum(1, keepdim=True)
    # every second window, and one axis after the other: a quarter of the work
    rows = F.avg_pool2d(torch.cat([a, b, a * a, b * b, a * b], 1), (window, 1), (2, 1))
    means = F.avg_pool2d(rows, (1, window), (1, 2))
    ma, mb, aa, bb, ab = means.chunk(5, dim=1)
    over = (2 * ma * mb + 1e-4) * (2 * (ab - ma * mb) + 9e-4)
    under = (ma * ma + mb * mb + 1e-4) * (aa - ma * ma + bb - mb * mb + 9e-4)
    return 1 - (over / under).mean()


def detail_loss(image_B3HW: Tensor, truth: Truth, levels: int = 3) -> Tensor:
    """Weighted differences of Laplacian pyramids."""
    difference, weight = image_B3HW - truth.target_B3HW, truth.weight_B1HW
    total = difference.new_zeros(())
    for _ in range(levels):
        small = F.avg_pool2d(difference, 2)
        band = difference - F.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
        total = total + (charbonnier(band) * weight).mean() / weight.mean().clamp(min=1e-6)
        difference, weight = small, F.avg_pool2d(weight, 2)
    return total / levels


def texture_loss(image_B3HW: Tensor, truth: Truth, levels: int = 2, window: int = 8) -> Tensor:
    """Difference of how much each band of the Laplacian pyramid holds, window by window; the place does not count."""
    drawn, target, weight = image_B3HW, truth.target_B3HW, truth.weight_B1HW
    total = drawn.new_zeros(())
    for _ in range(levels):
        amounts = []
        for picture in (drawn, target):
            small = F.avg_pool2d(picture, 2)
            band = picture - F.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
            amounts.append(F.avg_pool2d(band.abs(), window))
        here = F.avg_pool2d(weight, window)
        total = total + ((amounts[0] - amounts[1]).abs() * here).mean() / here.mean().clamp(min=1e-6)
        drawn, target, weight = F.avg_pool2d(drawn, 2), F.avg_pool2d(target, 2), F.avg_pool2d(weight, 2)
    return total / levels


def decided_loss(layers: Layers) -> Tensor:
    """Mean entropy of the shares, in nats."""
    shares = layers.shares_B4HW.clamp(min=1e-5)
    return -(shares * shares.log()).sum(1).mean()


def flow_loss(layers: Layers, guess: Guess, truth: Truth) -> Tensor:
    """How far the carried pixels come from elsewhere than the truth says, where the source shows them."""
    shift = F.avg_pool2d(layers.shift_B2hw, 2)
    whole = shift + sample(guess.flow_B2hw, shift)
    counted = truth.seen_B1qq * (1 - truth.behind_B1qq)
    return (charbonnier(whole - truth.flow_B2qq, 2e-3) * counted).sum() / (2 * counted.sum()).clamp(min=1.0)


def layer_loss(layers: Layers, truth: Truth) -> Tensor:
    """Background that both frames show is the still picture; seen face and hair are carried; the rest is not still."""
    shares = F.avg_pool2d(layers.shares_B4HW, 4).clamp(1e-4, 1 - 1e-4)
    carried, still = shares[:, 0:1] + shares[:, 1:2], shares[:, 2:3]
    behind, seen = truth.behind_B1qq, truth.seen_B1qq
    return -(behind * seen * still.log() + (1 - behind) * seen * carried.log() + (1 - seen) * (1 - still).log()).mean()


def region_loss(seen: Seen, truth: Truth) -> Tensor:
    """Cross entropy of the encoder's regions."""
    return F.cross_entropy(seen.regions_BRhw, truth.regions_Bqq)


def smooth_loss(layers: Layers) -> Tensor:
    """Mean difference between neighbours of the residual flow, in sides times its length in cells."""
    shift = layers.shift_B2hw
    across = (shift[..., :, 1:] - shift[..., :, :-1]).abs().mean()
    return (across + (shift[..., 1:, :] - shift[..., :-1, :]).abs().mean()) * shift.shape[-1]


def all_losses(
    image_B3HW: Tensor, layers: Layers, seen: Seen, guess: Guess, truth: Truth, weights: StudentLosses
) -> dict[str, Tensor]:
    """Every loss times its weight, by name; their sum is what is minimised."""
    return {
        "pixels": weights.pixels * pixel_loss(image_B3HW, truth),
        "structure": weights.structure * structure_loss(image_B3HW, truth.target_B3HW),
        "detail": weights.detail * detail_loss(image_B3HW, truth),
        "texture": weights.texture * texture_loss(image_B3HW, truth),
        "decided": weights.decided * decided_loss(layers),
        "flow": weights.flow * flow_loss(layers, guess, truth),
        "layers": weights.layers * layer_loss(layers, truth),
        "regions": weights.regions * region_loss(seen, truth),
        "smooth": weights.smooth * smooth_loss(layers),
    }
