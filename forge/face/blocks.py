"""Layers that the networks of the face share.

Axes: B batch, C channels, D depth, H height, W width.

Encoders run once for a portrait and may normalise by groups; batch statistics never appear, because they carry one
person's look into another's. The decoder runs for every frame and is free of norms: its residual branches start at
zero instead, and its first weights keep the size of what passes (`as_large`).
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUP = 8
"""Channels that share a group norm."""
SILU_GAIN = 1.68
"""1 / sqrt(E[silu(x)^2]) of standard normal values: what silu takes of their size, first weights behind it return."""
Convolution = TypeVar("Convolution", nn.Conv2d, nn.Conv3d)


def conv2d(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size (or divides it by the stride)."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


def as_large(layer: Convolution, gain: float = 1.0) -> Convolution:
    """A convolution whose first weights hand values on as large as they came (He et al., arXiv 1502.01852).

    torch's own first weights shrink them by two fifths, and with silu to a third. Where no norm makes that good, what
    two frames differ by is lost: by .02 in the last layer of an untrained decoder (now .17), and painting began late.
    """
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    nn.init.zeros_(torch.as_tensor(layer.bias))
    return layer


def groups(width: int) -> nn.GroupNorm:
    """Group norm of a width that is a multiple of `GROUP`."""
    return nn.GroupNorm(width // GROUP, width)


class Residual(nn.Module):
    """Norm-free residual block that starts as the identity: the decoder's only block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = as_large(conv2d(width, width), SILU_GAIN), conv2d(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(torch.as_tensor(self.second.bias))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        change: Tensor = self.second(functional.silu(self.first(functional.silu(x_BCHW))))
        return x_BCHW + change


class NormResidual(nn.Module):
    """Residual block with group norms, optionally halving the picture."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.norm, self.between = groups(inputs), groups(outputs)
        self.first, self.second = conv2d(inputs, outputs, 3, stride), conv2d(outputs, outputs)
        self.stride = stride
        self.across: nn.Module = nn.Identity() if inputs == outputs else conv2d(inputs, outputs, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H / stride, W / stride)."""
        y_BCHW = self.first(functional.silu(self.norm(x_BCHW)))
        y_BCHW = self.second(functional.silu(self.between(y_BCHW)))
        around_BCHW = functional.avg_pool2d(x_BCHW, 2) if self.stride == 2 else x_BCHW
        out: Tensor = self.across(around_BCHW) + y_BCHW
        return out


class VolumeResidual(nn.Module):
    """Residual block of 3-D convolutions with group norms."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm, self.between = groups(inputs), groups(outputs)
        self.first, self.second = nn.Conv3d(inputs, outputs, 3, 1, 1), nn.Conv3d(outputs, outputs, 3, 1, 1)
        self.across: nn.Module = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """(B, C, D, H, W) to (B, outputs, D, H, W)."""
        y_BCDHW = self.first(functional.silu(self.norm(x_BCDHW)))
        y_BCDHW = self.second(functional.silu(self.between(y_BCDHW)))
        out: Tensor = self.across(x_BCDHW) + y_BCDHW
        return out


class Pyramid(nn.Module):
    """A small residual network: picture to a (B, width) summary of averages and a little of where things are."""

    def __init__(self, widths: tuple[int, ...], blocks: int, width: int, cells: int = 4) -> None:
        super().__init__()
        self.stem = conv2d(3, widths[0], 5, 2)
        stages: list[nn.Module] = []
        for before, after in zip(widths[:1] + widths[:-1], widths, strict=True):
            stages.append(NormResidual(before, after, 2))
            stages += [NormResidual(after, after) for _ in range(blocks - 1)]
        self.stages = nn.Sequential(*stages)
        self.norm = groups(widths[-1])
        self.cells = cells
        self.mix = nn.Linear(widths[-1] * cells * cells, width)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, width)."""
        x_BCHW = functional.silu(self.norm(self.stages(self.stem(image_B3HW * 2 - 1))))
        return functional.silu(self.mix(functional.adaptive_avg_pool2d(x_BCHW, self.cells).flatten(1)))


def resized(image_B3HW: Tensor, side: int) -> Tensor:
    """A picture brought to a side by area averaging (exact multiples) or smoothed interpolation."""
    have = image_B3HW.shape[-1]
    if have == side:
        return image_B3HW
    if have % side == 0:
        return functional.avg_pool2d(image_B3HW, have // side)
    return functional.interpolate(
        image_B3HW, size=(side, side), mode="bilinear", align_corners=False, antialias=have > side
    )


def lay_out(network: nn.Module) -> None:
    """Weights of convolutions channels last, which is how a GPU reads them fastest; values and names stay."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(part, nn.Conv3d):
            part.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
