"""The z-buffer for a CPU: triangles become rows, rows pixels, so thin slanted strips of hair cost what they cover.

Same contract as `rasterise`, one sample a pixel, no gradients; `rasterise` lists all pixels of a triangle's box
instead, which is three times the work for a head of long hair.
Axes: B batch, V vertices, T triangles, R rows of triangles, P pixels of rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from forge.studio.rasterise import FAR_AWAY, ID_BITS, NEAR, Coverage

SLACK = 1e-3
"""Pixels by which a row's ends may be missed: two neighbours that round differently must not leave a crack."""
PIXELS_AT_ONCE = 3_000_000


def rasterise_spans(screen_BV3: Tensor, triangles_T3: Tensor, size: int, two_sided_T: Tensor) -> Coverage:
    """Nearest-surface coverage of square pictures; arguments and result as of `rasterise.rasterise`."""
    triangles, weights, depths = [], [], []
    for screen_V3 in screen_BV3:
        packed = torch.full((size * size,), FAR_AWAY, dtype=torch.int64)
        corner_T33 = screen_V3[triangles_T3]
        _fill(corner_T33, size, two_sided_T, packed)
        empty = packed == FAR_AWAY
        triangle = (packed & ((1 << ID_BITS) - 1)).masked_fill(empty, -1)
        seen = (~empty).nonzero().squeeze(1)
        share = torch.zeros(size * size, 3)
        share[seen] = _weights(corner_T33[triangle[seen]], seen, size)
        depths.append((packed >> ID_BITS).int().view(torch.float32).masked_fill(empty, float("inf")))
        triangles.append(triangle)
        weights.append(share)
    shape = (len(screen_BV3), size, size)
    return Coverage(
        torch.stack(triangles).view(shape),
        torch.stack(weights).view(*shape, 3),
        torch.stack(depths).view(shape),
        triangles_T3,
    )


def _fill(corner_T33: Tensor, size: int, two_sided_T: Tensor, packed_P: Tensor) -> None:
    """Reduce all fragments of one picture into its packed pixels, in place."""
    x, y, z = corner_T33.unbind(-1)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    top = (y.amin(1) - 0.5 - SLACK).ceil().clamp(0, size)
    bottom = (y.amax(1) - 0.5 + SLACK).floor().clamp(-1, size - 1)
    left, right = x.amin(1), x.amax(1)
    ok = (bottom >= top) & (right > 0) & (left < size) & (z.amin(1) >= NEAR) & (area.abs() > 1e-9)
    ok &= ((right - 0.5 + SLACK).floor() >= (left - 0.5 - SLACK).ceil()) & ((area < 0) | two_sided_T)
    kept = ok.nonzero().squeeze(1)
    if not len(kept):
        return
    x, y, z, area, top, bottom = x[kept], y[kept], z[kept], area[kept], top[kept], bottom[kept]
    inverse = 1.0 / z
    slope_x, slope_y = _slopes(x, y, inverse, area)
    step = torch.where((y[:, [1, 2, 0]] - y).abs() < 1e-6, 1e-6, y[:, [1, 2, 0]] - y)
    run = (x[:, [1, 2, 0]] - x) / step
    count = (bottom - top + 1).long()
    owner = torch.repeat_interleave(torch.arange(len(kept)), count)
    row = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner] + top.long()[owner]
    middle = row + 0.5
    first, last = _ends(x, y, run, owner, middle)
    first = (first - 0.5 - SLACK).ceil().clamp(0, size)
    last = (last - 0.5 + SLACK).floor().clamp(-1, size - 1)
    long = (last - first + 1).clamp(min=0)
    used = (long > 0).nonzero().squeeze(1)
    owner, row, first, middle, long = owner[used], row[used], first[used], middle[used], long[used].long()
    base = inverse[owner, 0] + slope_x[owner] * (first + 0.5 - x[owner, 0]) + slope_y[owner] * (middle - y[owner, 0])
    start = row * size + first.long()
    low, high = inverse.amin(1)[owner], inverse.amax(1)[owner]
    ends = long.cumsum(0)
    total, begin = int(ends[-1]) if len(ends) else 0, 0
    while begin < len(owner):
        done = int(ends[begin - 1]) if begin else 0
        stop = (
            len(owner)
            if total - done <= PIXELS_AT_ONCE
            else max(begin + 1, int(torch.searchsorted(ends, done + PIXELS_AT_ONCE)))
        )
        part = slice(begin, stop)
        which = torch.repeat_interleave(torch.arange(begin, stop), long[part])
        local = torch.arange(len(which)) - (ends - long - done)[which]
        value = base[which] + slope_x[owner[which]] * local
        value = torch.minimum(torch.maximum(value, low[which]), high[which])
        bits = ((1.0 / value).view(torch.int32).long() << ID_BITS) | kept[owner[which]]
        packed_P.scatter_reduce_(0, start[which] + local, bits, "amin")
        begin = stop


def _slopes(x: Tensor, y: Tensor, inverse: Tensor, area: Tensor) -> tuple[Tensor, Tensor]:
    """Change of the inverse distance per pixel to the right and down, (N,) each."""
    x1, x2, y1, y2 = x[:, 1] - x[:, 0], x[:, 2] - x[:, 0], y[:, 1] - y[:, 0], y[:, 2] - y[:, 0]
    w1, w2 = inverse[:, 1] - inverse[:, 0], inverse[:, 2] - inverse[:, 0]
    return (w1 * y2 - w2 * y1) / area, (w2 * x1 - w1 * x2) / area


def _ends(x: Tensor, y: Tensor, run: Tensor, owner: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Where the line through the middle of each row enters and leaves its triangle, (R,) each."""
    first = torch.full_like(middle, float("inf"))
    last = torch.full_like(middle, float("-inf"))
    for k in range(3):
        ya, yb = y[:, k], y[:, (k + 1) % 3]
        low, high = torch.minimum(ya, yb)[owner], torch.maximum(ya, yb)[owner]
        at = torch.minimum(torch.maximum(middle, low), high)
        cross = x[owner, k] + (at - ya[owner]) * run[owner, k]
        crosses = (middle >= low - SLACK) & (middle <= high + SLACK)
        first = torch.where(crosses, torch.minimum(first, cross), first)
        last = torch.where(crosses, torch.maximum(last, cross), last)
    return first.nan_to_num(posinf=1e9), last.nan_to_num(neginf=-1e9)


def _weights(corner_N33: Tensor, pixel_N: Tensor, size: int) -> Tensor:
    """(N, 3) perspective-correct weights of seen triangles at their pixels."""
    row = torch.div(pixel_N, size, rounding_mode="floor")
    x = corner_N33[..., 0] - (pixel_N - row * size + 0.5)[:, None]
    y = corner_N33[..., 1] - (row + 0.5)[:, None]
    flat = torch.stack([x[:, i] * y[:, j] - x[:, j] * y[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], 1)
    total = flat.sum(1, keepdim=True)
    flat = flat / torch.where(total.abs() < 1e-12, torch.full_like(total, 1e-12), total)
    linear = flat.clamp(0.0, 1.0) / corner_N33[..., 2]
    return linear / linear.sum(1, keepdim=True).clamp(min=1e-20)
