"""E_mot: a picture becomes z_pose (6) and z_dyn (64), both readable by name.

Axes: B batch, H height, W width. Layout and units: `forge.motion.features`.

The named dimensions of z_dyn are supervised to be the rig's read-outs; the ten free ones pass a narrow, noisy
bottleneck, so that they carry only what the names cannot say and little of who is shown.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forge.face.blocks import Pyramid, resized
from forge.motion.features import BLENDSHAPE_NAMES, FREE_NAMES, GAZE_NAMES, POSE_NAMES

POSE_DIMS, DYN_DIMS = len(POSE_NAMES), len(BLENDSHAPE_NAMES) + len(GAZE_NAMES) + len(FREE_NAMES)
NAMED_DIMS = len(BLENDSHAPE_NAMES) + len(GAZE_NAMES)
FREE_NOISE = 0.3
"""Deviation of the noise on the free dimensions (which lie in [-1, 1]) while training: about 1.7 bits each."""
POSE_UNITS = (30.0, 30.0, 30.0, 1.0, 1.0, 0.5)
"""What a network output of one means: degrees, outer-eye distances, log scale."""


class MotionEncoder(nn.Module):
    """E_mot: a small residual network over the picture at one side."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 192), blocks: int = 2, side: int = 256) -> None:
        super().__init__()
        self.side = side
        self.trunk = Pyramid(widths, blocks, 256)
        self.head = nn.Linear(256, POSE_DIMS + DYN_DIMS)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("pose_units_6", torch.tensor(POSE_UNITS), persistent=False)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] to z_pose (B, 6) and z_dyn (B, 64), float32.

        Blendshapes are not clamped here: a clamp would stop the gradient where a face is relaxed.
        """
        out_BM = self.head(self.trunk(resized(image_B3HW, self.side))).float()
        units_6: Tensor = self.pose_units_6  # type: ignore[assignment]
        pose_B6, dyn_B64 = out_BM[:, :POSE_DIMS] * units_6, out_BM[:, POSE_DIMS:]
        free = torch.tanh(dyn_B64[:, NAMED_DIMS:])
        if self.training:
            free = free + FREE_NOISE * torch.randn_like(free)
        return pose_B6, torch.cat([dyn_B64[:, :NAMED_DIMS], free], 1)
