"""D: the warped canonical volume becomes a picture, with the source's own detail where it can be seen.

Axes: B portraits, N frames (N / B in a row belong to a portrait), C channels, D depth, H height, W width (side / 8).

Projection of depth into channels by a 1 x 1 convolution, norm-free residual blocks, two times up, pixel shuffle. No
batch statistics and no per-layer modulation: expression and identity arrive once, as gain and offset after the
projection. High frequencies do not go through the volume: 2-D features of the source are carried along the surface
that the decoder itself finds (a soft choice of depth, so the flow is exact geometry), and masked where the source does
not show it. What stands still, the background, comes from the same features unmoved. Last, each pixel decides between
what was painted, the source's own pixel carried along, and its pixel unmoved.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from forge.face.blocks import SILU_GAIN, Residual, as_large, conv2d
from forge.face.sampling import picture_grid, sample_picture

SIZES: dict[str, tuple[tuple[int, int, int], int]] = {
    "XS": ((128, 64, 32), 2),
    "S": ((160, 80, 40), 4),
    "M": ((192, 96, 48), 6),
    "L": ((256, 128, 64), 8),
}
"""Channels at an eighth, a quarter and half of the side, and residual blocks. XS is for tests on a CPU."""
LAYERS = 7
"""What is decided in each pixel: painted colour (3), matte (1), and shares of painted, carried and unmoved (3)."""
FIRST_SHARES = (-1.0, 1.0, 0.0)
"""Logits of the shares before training."""


@dataclass(frozen=True)
class Drawn:
    """A drawn frame and what the decoder found on the way; training compares all of it with the truth."""

    image_N3HW: Tensor
    """[0, 1]."""
    painted_N3HW: Tensor
    """What was painted, before the source's own pixels were mixed in, [0, 1]."""
    matte_N1HW: Tensor
    """Share of the person (not the background) in each pixel, [0, 1]."""
    flow_NHW2: Tensor
    """Place in the source of each cell of side / 8, x before y, [-1, 1]."""
    fine_NHW2: Tensor
    """The same for each cell of side / 4, refined."""
    depth_logits_NDHW: Tensor
    """Which slice of the screen volume shows in each cell of side / 8."""
    seen_logits_N4HW: Tensor
    """Visible in the source: carried quarter and half features, then unmoved quarter and half ones."""


class Decoder(nn.Module):
    """D for one of `SIZES`; `skips=False` is the ablation without any detail from the source."""

    def __init__(
        self,
        channels: int,
        depth: int,
        size: str = "M",
        skip_widths: tuple[int, int] = (24, 48),
        condition: int = 198,
        skips: bool = True,
    ) -> None:
        super().__init__()
        (low, middle, high), blocks = SIZES[size]
        half, quarter = skip_widths
        self.skips, self.depth = skips, depth
        self.project = as_large(conv2d(channels * depth, low, 1))
        self.condition = nn.Linear(condition, 2 * low)
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)
        self.body = nn.Sequential(*[Residual(low) for _ in range(blocks)])
        self.slices = conv2d(low, depth)
        self.seen = conv2d(low, 4)
        self.up_middle, self.out_middle = as_large(conv2d(low, middle), SILU_GAIN), Residual(middle)
        self.moved_middle, self.still_middle = (as_large(conv2d(quarter, middle, 1)) for _ in range(2))
        self.refine = conv2d(middle, 3)
        nn.init.zeros_(self.refine.weight)
        nn.init.zeros_(torch.as_tensor(self.refine.bias))
        self.up_high, self.out_high = as_large(conv2d(middle, high), SILU_GAIN), Residual(high)
        self.moved_high, self.still_high = (as_large(conv2d(half, high, 1)) for _ in range(2))
        self.pixels = conv2d(high, 4 * LAYERS)
        # the four pixels of a cell begin alike, or a chequerboard must be unlearned (ICNR, arXiv 1707.02937)
        with torch.no_grad():
            kernel = self.pixels.weight
            kernel.copy_(kernel[::4].repeat_interleave(4, 0))
        # an untrained decoder shows the source's own pixels, carried; painting must earn its share
        with torch.no_grad():
            bias = torch.as_tensor(self.pixels.bias).view(LAYERS, 4)
            bias[4:] = torch.tensor(FIRST_SHARES)[:, None]

    def forward(
        self,
        folded_NKHW: Tensor,
        whence_N3DHW: Tensor,
        half_BCHW: Tensor,
        quarter_BCHW: Tensor,
        image_B3HW: Tensor,
        condition_NZ: Tensor,
    ) -> Drawn:
        """Draw frames.

        Args:
            folded_NKHW: V_app at the screen's voxels, depth * channels.
            whence_N3DHW: place in the source's screen volume of each screen voxel (float32).
            half_BCHW: source features at side / 2.
            quarter_BCHW: source features at side / 4.
            image_B3HW: the source.
            condition_NZ: z_id, z_pose and z_dyn.
        """
        x = self.project(folded_NKHW)
        gain, offset = self.condition(condition_NZ.to(x.dtype))[:, :, None, None].chunk(2, 1)
        x = functional.silu(self.body(x * (1 + gain) + offset))
        slices, seen = self.slices(x).float(), self.seen(x)
        flow_NHW2 = self._surface(slices, whence_N3DHW)
        shown = torch.sigmoid(seen)
        x = self.up_middle(_twice(x))
        fine_NHW2 = _finer(flow_NHW2, 2)
        times = len(x) // len(half_BCHW)
        if self.skips:
            moved = self.moved_middle(sample_picture(quarter_BCHW, fine_NHW2))
            still = _each(self.still_middle(quarter_BCHW), times)
            x = x + moved * _twice(shown[:, 0:1]) + still * _twice(shown[:, 2:3])
        x = functional.silu(self.out_middle(x))
        delta = self.refine(x).float()
        fine_NHW2 = fine_NHW2 + delta[:, :2].permute(0, 2, 3, 1) / x.shape[-1]
        sharper = torch.sigmoid(delta[:, 2:].to(x.dtype) + _twice(seen[:, 1:2]))
        x = self.up_high(_twice(x))
        if self.skips:
            moved = self.moved_high(sample_picture(half_BCHW, _finer(fine_NHW2, 2)))
            still = _each(self.still_high(half_BCHW), times)
            x = x + moved * _twice(sharper) + still * functional.interpolate(shown[:, 3:4], scale_factor=4)
        x = self.pixels(functional.silu(self.out_high(x)))
        # float32 from here: half a grey level is more than bfloat16 can tell
        out = functional.pixel_shuffle(x, 2).float()
        image = painted_colour = torch.sigmoid(out[:, :3])
        if self.skips:
            painted, carried, unmoved = out[:, 4:].softmax(1).split(1, 1)
            # colours must not pull at the flow: their gradient is noise, and the studio tells the flow exactly
            moved = sample_picture(image_B3HW, _finer(fine_NHW2.detach(), 4)).float()
            image = painted_colour * painted + moved * carried + _each(image_B3HW.float(), times) * unmoved
        return Drawn(image, painted_colour, torch.sigmoid(out[:, 3:4]), flow_NHW2, fine_NHW2, slices, seen)

    def _surface(self, slices_NDHW: Tensor, whence_N3DHW: Tensor) -> Tensor:
        """(N, H, W, 2) where in the source the surface in front of each cell was."""
        chosen = slices_NDHW.softmax(1)[:, None]
        return (whence_N3DHW[:, :2].float() * chosen).sum(2).permute(0, 2, 3, 1)


def _twice(x_NCHW: Tensor) -> Tensor:
    """Double the side by repetition."""
    return functional.interpolate(x_NCHW, scale_factor=2)


def _each(x_BCHW: Tensor, times: int) -> Tensor:
    """Each portrait's features for its frames."""
    return x_BCHW.repeat_interleave(times, 0) if times > 1 else x_BCHW


def _finer(where_NHW2: Tensor, times: int) -> Tensor:
    """Places at a finer resolution; displacements are interpolated, since places would be flattened at the border."""
    height, width = where_NHW2.shape[1:3]
    moved = (where_NHW2 - picture_grid(height, width, where_NHW2.device)).permute(0, 3, 1, 2)
    finer = functional.interpolate(moved, scale_factor=times, mode="bilinear", align_corners=False)
    return finer.permute(0, 2, 3, 1) + picture_grid(height * times, width * times, where_NHW2.device)
