"""Reading volumes and pictures at places between their samples: torch everywhere, one Triton kernel on CUDA.

Axes: B portraits, N frames (a multiple of B: N / B in a row belong to a portrait), C channels, D depth, H height,
W width. Places are x, y (, z) in [-1, 1] with `align_corners=False`: -1 is the outer edge of the first sample.

`sample_folded` is what the renderer calls for every frame: trilinear, depth folded into channels, float32 places
whatever the volume's dtype (in bfloat16 a place would be wrong by a pixel).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sample_volume(volume_BCDHW: Tensor, where_NDHW3: Tensor, *, border: bool = False) -> Tensor:
    """Trilinear samples (N, C, D', H', W') of volumes at places (N, D', H', W', 3); outside is zero or the border."""
    times = where_NDHW3.shape[0] // volume_BCDHW.shape[0]
    volume_NCDHW = volume_BCDHW.repeat_interleave(times, 0) if times > 1 else volume_BCDHW
    out = functional.grid_sample(
        volume_NCDHW.float(),
        where_NDHW3.float(),
        padding_mode="border" if border else "zeros",
        align_corners=False,
    )
    return out.to(volume_BCDHW.dtype)


def sample_beyond(volume_BCDHW: Tensor, where_NDHW3: Tensor) -> Tensor:
    """Like `sample_volume`, continued in straight lines outside: for volumes of places, which would stop there."""
    sides = volume_BCDHW.shape[:-4:-1]
    edge_3 = where_NDHW3.new_tensor([1 - 1 / side for side in sides])
    edge = where_NDHW3.clamp(-edge_3, edge_3)
    inwards = 2 * edge - where_NDHW3
    at_edge = sample_volume(volume_BCDHW, edge, border=True)
    # inside both are the same place
    return 2 * at_edge - sample_volume(volume_BCDHW, inwards, border=True)


def sample_folded(volume_BCDHW: Tensor, where_NDHW3: Tensor) -> Tensor:
    """Like `sample_volume`, but (N, D' * C, H', W') with depth outside channels: what the projection reads."""
    if _on_fast_path(volume_BCDHW, where_NDHW3):
        from forge.face.sampling_cuda import sample3d

        folded_NHWK: Tensor = sample3d(
            volume_BCDHW.permute(0, 2, 3, 4, 1).contiguous(), where_NDHW3.float().contiguous(), False
        )
        return folded_NHWK.permute(0, 3, 1, 2)
    return sample_volume(volume_BCDHW, where_NDHW3).transpose(1, 2).flatten(1, 2)


def sample_picture(picture_BCHW: Tensor, where_NHW2: Tensor) -> Tensor:
    """Bilinear samples (N, C, H', W') of pictures at places (N, H', W', 2), the border continued outwards."""
    if _on_fast_path(picture_BCHW, where_NHW2):
        from forge.face.sampling_cuda import sample2d

        seen_NHWC: Tensor = sample2d(picture_BCHW.permute(0, 2, 3, 1).contiguous(), where_NHW2.float().contiguous())
        return seen_NHWC.permute(0, 3, 1, 2)
    times = where_NHW2.shape[0] // picture_BCHW.shape[0]
    picture_NCHW = picture_BCHW.repeat_interleave(times, 0) if times > 1 else picture_BCHW
    out = functional.grid_sample(picture_NCHW.float(), where_NHW2.float(), padding_mode="border", align_corners=False)
    return out.to(picture_BCHW.dtype)


def _on_fast_path(values: Tensor, where: Tensor) -> bool:
    """The kernel has no backward: inference on CUDA only."""
    return values.is_cuda and not (torch.is_grad_enabled() and (values.requires_grad or where.requires_grad))


def centres(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Positions in (-1, 1) of the centres of `count` equal cells."""
    return (torch.arange(count, device=device, dtype=torch.float32) * 2 + 1) / count - 1


def picture_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """(H, W, 2) places of a picture's own pixels, x before y."""
    y_HW, x_HW = torch.meshgrid(centres(height, device), centres(width, device), indexing="ij")
    return torch.stack([x_HW, y_HW], -1)


def volume_grid(depth: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """(D, H, W, 3) places of a volume's own voxels, x before y before z."""
    axes = (centres(depth, device), centres(height, device), centres(width, device))
    z_DHW, y_DHW, x_DHW = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x_DHW, y_DHW, z_DHW], -1)
