"""E_id: a picture becomes z_id, the identity code that warps and the decoder are told.

Axes: B batch, I identity code, H height, W width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from forge.face.blocks import Pyramid, resized


class IdentityEncoder(nn.Module):
    """E_id: a small residual network over the picture at one side; a code of unit length."""

    def __init__(
        self, dims: int = 128, widths: tuple[int, ...] = (32, 64, 96, 128), blocks: int = 2, side: int = 128
    ) -> None:
        super().__init__()
        self.side = side
        self.trunk = Pyramid(widths, blocks, 256)
        self.head = nn.Linear(256, dims)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to z_id (B, I), float32, length 1."""
        return functional.normalize(self.head(self.trunk(resized(image_B3HW, self.side))).float(), dim=1)
