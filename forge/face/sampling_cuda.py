"""The Triton kernel behind `forge.face.sampling`: linear interpolation with channels last and float32 places.

Axes: B portraits, N frames, C channels, D depth, H height, W width; K = D * C.

One program gathers BLOCK places: eight (four) loads of C neighbouring values each, sums in float32, and writes depth
folded into channels, so neither a permuted copy nor a float32 volume ever reaches memory. No backward.
`TRITON_INTERPRET=1` runs it on a CPU (tests/forge/test_face_sampling.py).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64


@triton.jit  # type: ignore[untyped-decorator]
def _corner(  # type: ignore[no-untyped-def]
    source, first, x, y, z, depth, height, width, weight, channel, live,
    CHANNELS: tl.constexpr, BORDER: tl.constexpr,
):  # fmt: skip
    """One corner's (BLOCK, CHANNELS) contribution."""
    if BORDER:
        inside = live
        x = tl.minimum(tl.maximum(x, 0), width - 1)
        y = tl.minimum(tl.maximum(y, 0), height - 1)
        z = tl.minimum(tl.maximum(z, 0), depth - 1)
    else:
        inside = live & (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z >= 0) & (z < depth)
    at = (((first * depth + z) * height + y) * width + x) * CHANNELS
    mask = inside[:, None] & (channel[None, :] < CHANNELS)
    value = tl.load(source + at[:, None] + channel[None, :], mask=mask, other=0.0)
    return value.to(tl.float32) * weight[:, None]


@triton.jit  # type: ignore[untyped-decorator]
def _sample(  # type: ignore[no-untyped-def]
    source, where, out, total, points, times, depth, height, width, out_depth,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, BORDER: tl.constexpr, DIMS: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """SIZE places of all frames: `points` places a frame, `times` frames a portrait."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    live = place < total
    frame = place // points
    portrait = frame // times
    channel = tl.arange(0, PADDED)
    gx = tl.load(where + place * DIMS, mask=live, other=0.0)
    gy = tl.load(where + place * DIMS + 1, mask=live, other=0.0)
    fx = ((gx + 1.0) * width - 1.0) * 0.5
    fy = ((gy + 1.0) * height - 1.0) * 0.5
    if BORDER:
        fx = tl.minimum(tl.maximum(fx, 0.0), width - 1.0)
        fy = tl.minimum(tl.maximum(fy, 0.0), height - 1.0)
    # far outside nothing is read; the bound keeps the conversion to an integer defined
    fx = tl.minimum(tl.maximum(fx, -2.0), width + 1.0)
    fy = tl.minimum(tl.maximum(fy, -2.0), height + 1.0)
    x = tl.floor(fx).to(tl.int64)
    y = tl.floor(fy).to(tl.int64)
    tx = fx - x.to(tl.float32)
    ty = fy - y.to(tl.float32)
    sum_ = tl.zeros((SIZE, PADDED), tl.float32)
    if DIMS == 3:
        gz = tl.load(where + place * DIMS + 2, mask=live, other=0.0)
        fz = ((gz + 1.0) * depth - 1.0) * 0.5
        if BORDER:
            fz = tl.minimum(tl.maximum(fz, 0.0), depth - 1.0)
        fz = tl.minimum(tl.maximum(fz, -2.0), depth + 1.0)
        z = tl.floor(fz).to(tl.int64)
        tz = fz - z.to(tl.float32)
        for step in tl.static_range(8):
            dx: tl.constexpr = step % 2
            dy: tl.constexpr = (step // 2) % 2
            dz: tl.constexpr = step // 4
            weight = (tx if dx else 1.0 - tx) * (ty if dy else 1.0 - ty) * (tz if dz else 1.0 - tz)
            sum_ += _corner(
                source, portrait, x + dx, y + dy, z + dz, depth, height, width, weight, channel, live, CHANNELS, BORDER
            )
    else:
        z = tl.zeros((SIZE,), tl.int64)
        for step in tl.static_range(4):
            right: tl.constexpr = step % 2
            below: tl.constexpr = step // 2
            weight = (tx if right else 1.0 - tx) * (ty if below else 1.0 - ty)
            sum_ += _corner(
                source, portrait, x + right, y + below, z, depth, height, width, weight, channel, live, CHANNELS, BORDER
            )
    # place runs over (depth, row, column) of a frame; depth is moved to the channels
    plane = points // out_depth
    inner = place % points
    target = (frame * points + (inner % plane) * out_depth + inner // plane) * CHANNELS
    mask = live[:, None] & (channel[None, :] < CHANNELS)
    tl.store(out + target[:, None] + channel[None, :], sum_.to(out.dtype.element_ty), mask=mask)


def _launch(source: Tensor, where: Tensor, out: Tensor, sides: tuple[int, int, int], depth: int, border: bool) -> None:
    """Run the kernel over all places."""
    dims = where.shape[-1]
    total = where.numel() // dims
    channels = source.shape[-1]
    _sample[(triton.cdiv(total, BLOCK),)](
        source, where, out, total, total // where.shape[0], where.shape[0] // source.shape[0], *sides, depth,
        CHANNELS=channels, PADDED=triton.next_power_of_2(channels), BORDER=border, DIMS=dims, SIZE=BLOCK,
    )  # fmt: skip


@torch.library.custom_op("countermark::sample3d", mutates_args=())
def sample3d(volume_BDHWC: Tensor, where_NDHW3: Tensor, border: bool) -> Tensor:
    """(N, H', W', D' * C) samples of contiguous channels-last volumes at contiguous float32 places."""
    frames, depth, height, width = where_NDHW3.shape[:4]
    out = volume_BDHWC.new_empty(frames, height, width, depth * volume_BDHWC.shape[-1])
    _launch(volume_BDHWC, where_NDHW3, out, tuple(volume_BDHWC.shape[1:4]), depth, border)  # type: ignore[arg-type]
    return out


@sample3d.register_fake
def _(volume_BDHWC: Tensor, where_NDHW3: Tensor, border: bool) -> Tensor:
    frames, depth, height, width = where_NDHW3.shape[:4]
    return volume_BDHWC.new_empty(frames, height, width, depth * volume_BDHWC.shape[-1])


@torch.library.custom_op("countermark::sample2d", mutates_args=())
def sample2d(picture_BHWC: Tensor, where_NHW2: Tensor) -> Tensor:
    """(N, H', W', C) samples of contiguous channels-last pictures at contiguous float32 places, border continued."""
    frames, height, width = where_NHW2.shape[:3]
    out = picture_BHWC.new_empty(frames, height, width, picture_BHWC.shape[-1])
    _launch(picture_BHWC, where_NHW2, out, (1, picture_BHWC.shape[1], picture_BHWC.shape[2]), 1, True)
    return out


@sample2d.register_fake
def _(picture_BHWC: Tensor, where_NHW2: Tensor) -> Tensor:
    frames, height, width = where_NHW2.shape[:3]
    return picture_BHWC.new_empty(frames, height, width, picture_BHWC.shape[-1])
