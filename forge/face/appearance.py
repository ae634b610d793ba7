"""E_app and G3D: a picture becomes a volume of features, which becomes canonical.

Axes: B batch, C channels, D depth, H height, W width (of the volume: picture side / 8).

`Appearance` is what is kept of a portrait: V_app in the canonical head frame, z_id, where each canonical point was
seen in the picture, and 2-D features at half and quarter size that the decoder carries over with occlusion.
Structure: MegaPortraits (arXiv 2207.07621), E_app and G3D; sizes are our own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from forge.face.blocks import SILU_GAIN, NormResidual, VolumeResidual, as_large, conv2d, groups


@dataclass(frozen=True)
class Appearance:
    """What the encoders keep of a picture. Canonical parts do not depend on its pose and expression."""

    volume_BCDHW: Tensor
    """V_app, canonical."""
    whence_B3DHW: Tensor
    """x, y, z in the source's screen volume, [-1, 1], of each canonical voxel (float32: eighths of a pixel matter)."""
    identity_BI: Tensor
    """z_id."""
    half_BCHW: Tensor
    """2-D features at half the picture's side."""
    quarter_BCHW: Tensor
    """2-D features at a quarter of the picture's side."""
    image_B3HW: Tensor
    """The picture itself: pores and lashes are carried over as they are where the source shows them."""

    def repeated(self, times: int) -> Appearance:
        """Each entry `times` times in a row, for `times` frames of each portrait."""
        return self.map(lambda x: x.repeat_interleave(times, 0)) if times > 1 else self

    def __getitem__(self, index: slice | Tensor) -> Appearance:
        """Some entries of the batch."""
        return self.map(lambda x: x[index])

    def map(self, change: object) -> Appearance:
        """A copy with a function applied to every tensor."""
        assert callable(change)
        return Appearance(**{f.name: change(getattr(self, f.name)) for f in fields(self)})


class AppearanceEncoder(nn.Module):
    """E_app: 2-D residual blocks, channels reshaped to depth, 3-D residual blocks."""

    def __init__(
        self,
        channels: int,
        depth: int,
        widths: tuple[int, int, int] = (24, 48, 128),
        blocks: int = 2,
        blocks3d: int = 2,
    ) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.channels, self.depth = channels, depth
        self.stem = as_large(conv2d(3, half, 5, 2))
        self.at_half = nn.Sequential(*[NormResidual(half, half) for _ in range(1)])
        self.at_quarter = nn.Sequential(
            NormResidual(half, quarter, 2), *[NormResidual(quarter, quarter) for _ in range(blocks - 1)]
        )
        self.at_eighth = nn.Sequential(
            NormResidual(quarter, eighth, 2), *[NormResidual(eighth, eighth) for _ in range(blocks)]
        )
        self.norm = groups(eighth)
        self.lift = as_large(conv2d(eighth, channels * depth, 1), SILU_GAIN)
        self.volume = nn.Sequential(*[VolumeResidual(channels, channels) for _ in range(blocks3d)])

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, S, S) in [0, 1] to the posed volume (B, C, D, S/8, S/8) and features at S/2 and S/4."""
        half_BCHW = self.at_half(self.stem(image_B3HW * 2 - 1))
        quarter_BCHW = self.at_quarter(half_BCHW)
        eighth_BCHW = self.at_eighth(quarter_BCHW)
        flat_BCHW = self.lift(functional.silu(self.norm(eighth_BCHW)))
        size = flat_BCHW.shape[-2:]
        # depth outside channels: the decoder's projection reads the same order back without a copy
        posed_BCDHW = flat_BCHW.view(-1, self.depth, self.channels, *size).transpose(1, 2)
        return self.volume(posed_BCDHW), half_BCHW, quarter_BCHW


class Canonical(nn.Module):
    """G3D: a 3-D U-Net that completes the canonical volume, once for a portrait."""

    def __init__(self, channels: int, widths: tuple[int, int] = (64, 96)) -> None:
        super().__init__()
        middle, low = widths
        self.mark = as_large(nn.Conv3d(channels + 1, channels, 1))
        self.top = VolumeResidual(channels, channels)
        self.down = as_large(nn.Conv3d(channels, middle, 3, 2, 1))
        self.middle = VolumeResidual(middle, middle)
        self.lower = as_large(nn.Conv3d(middle, low, 3, 2, 1))
        self.low = nn.Sequential(VolumeResidual(low, low), VolumeResidual(low, low))
        self.raise_low = as_large(nn.Conv3d(low, middle, 1))
        self.middle_out = VolumeResidual(middle, middle)
        self.raise_middle = as_large(nn.Conv3d(middle, channels, 1))
        self.out = VolumeResidual(channels, channels)

    def forward(self, volume_BCDHW: Tensor, inside_B1DHW: Tensor) -> Tensor:
        """The warped volume (B, C, D, H, W), and where it came from inside the picture, to V_app of the same shape."""
        x = self.mark(torch.cat([volume_BCDHW, inside_B1DHW.to(volume_BCDHW.dtype)], 1))
        x = self.top(x)
        middle = self.middle(self.down(x))
        low = self.low(self.lower(middle))
        middle = self.middle_out(middle + self.raise_low(functional.interpolate(low, size=middle.shape[-3:])))
        out: Tensor = self.out(x + self.raise_middle(functional.interpolate(middle, size=x.shape[-3:])))
        return out
