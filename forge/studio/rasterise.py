"""Triangles and points to pixels: a batched z-buffer on tensors, on any device.

    cover = rasterise(screen_BV3, triangles_T3, size=256, samples=2)
    colour_BHWC = cover.interpolate(colour_VC)          # perspective-correct
    image_BHWC = cover.antialias(shaded_BHWC)           # silhouettes blended

Axes: B batch, V vertices, T triangles, H W pixels, C channels, F fragments (a pixel that a triangle may cover).
Screen space: x right and y down in pixels, the centre of pixel (row r, column c) is (c + 0.5, r + 0.5); the third
coordinate is the distance along the camera's axis (> 0, linear, not inverse).

How a picture comes about, and where it is told:
    1. what faces away, is off the picture or covers no pixel centre is dropped     `_edges`
    2. every other triangle lists the pixels of its box, all triangles in one list  `_winners`
    3. distance and triangle, packed in one integer, are reduced to the least        `_winners`
    4. weights are computed once, for the triangle that won                          `_weights`

Steps 1 to 3 run as one Triton kernel on CUDA (`raster_cuda.py`), with the same result. Triangles that reach behind the
near plane are dropped, not cut: nothing of a head does.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

NEAR = 1.0
"""Distance of the near plane, in the unit of the vertices (centimetres)."""
ID_BITS = 32
"""Low bits of a packed fragment that hold the triangle; the high bits hold the distance as the bits of a float32."""
FAR_AWAY = torch.iinfo(torch.int64).max
"""Packed value of a pixel that nothing covers."""
FRAGMENTS_AT_ONCE = 4_000_000
"""A longer list is made in parts, to bound memory."""
OUTLINE_GAP = 0.1
"""Centimetres by which the distance must jump between neighbours for `antialias` to look closer."""
SLACK = 1e-5
"""Square pixels by which an edge test may fail: two neighbours that round differently must not leave a crack."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """Which triangle is seen in each pixel, and where in it."""

    triangle_BHW: Tensor
    """int64 index of the nearest triangle, -1 where there is none."""
    weights_BHW3: Tensor
    """float32 perspective-correct barycentric weights of its corners; zero where there is none."""
    depth_BHW: Tensor
    """float32 distance along the camera's axis, infinity where there is nothing."""
    triangles_T3: Tensor
    """The corner indices it was drawn from."""
    fine_triangle_BHW: Tensor | None = None
    """The same at `samples` times the resolution, valid in `outline_BHW`; None when drawn with one sample."""
    fine_depth_BHW: Tensor | None = None
    outline_BHW: Tensor | None = None
    """bool: pixels next to a jump of distance."""

    @property
    def seen_BHW(self) -> Tensor:
        """True where something is seen."""
        return self.triangle_BHW >= 0

    def interpolate(self, values: Tensor) -> Tensor:
        """Vertex attributes (V, C) or (B, V, C) as a (B, H, W, C) picture; zero where nothing is seen."""
        # index_select copies whole rows and is several times faster on a CPU than indexing with a tensor
        corners_BP3 = _rows(self.triangles_T3, self.triangle_BHW.clamp(min=0).view(len(self.triangle_BHW), -1))
        if values.dim() == 3:
            corners_BP3 = corners_BP3 + torch.arange(len(values), device=values.device)[:, None, None] * values.shape[1]
        picked = _rows(values.reshape(-1, values.shape[-1]), corners_BP3)
        blended = (picked * self.weights_BHW3.flatten(1, 2)[..., None].to(values.dtype)).sum(-2)
        return blended.view(*self.triangle_BHW.shape, values.shape[-1])

    def per_triangle(self, values_T: Tensor, empty: float = 0) -> Tensor:
        """A value of each triangle, for instance its part, as (B, H, W); `empty` where nothing is seen."""
        return torch.where(self.seen_BHW, values_T[self.triangle_BHW.clamp(min=0)], values_T.new_tensor(empty))

    def antialias(self, image_BHWC: Tensor, group_T: Tensor | None = None, gap: float = 0.6) -> Tensor:
        """Blend silhouettes of a shaded picture, at the cost of the pixels that lie on one.

        Every sub-sample takes the colour of those of the four nearest pixel centres that show the same surface: the
        same group (a part, for instance) at the same distance. Where no neighbour does, the pixel's own colour stays.

        Args:
            image_BHWC: colours at the pixel centres, linear light.
            group_T: a label of each triangle; surfaces of different labels are never mixed into one sample.
            gap: difference of distance, in centimetres, from which two surfaces are two.

        Raises:
            ValueError: when the coverage was drawn with one sample.
        """
        if self.fine_triangle_BHW is None:
            raise ValueError("antialias needs a coverage drawn with samples=2 or more, got samples=1")
        return _blend_edges(self, image_BHWC, group_T, gap)


@dataclass(frozen=True, eq=False)
class Edges:
    """The triangles of one picture that may cover a pixel centre; N of them."""

    triangle_N: Tensor
    """int64 index."""
    plane_N10: Tensor
    """float32: x slopes, y slopes and constants of three edge functions (inside >= 0) relative to the centre of the
    first pixel of the triangle's box; the width of that box."""
    depth_N5: Tensor
    """float32: x slope, y slope and constant of the inverse distance there, its least and its greatest value."""
    first_N: Tensor
    """int64: the first pixel of the box."""
    count_N: Tensor
    """int64: pixels of the box."""
    end_N: Tensor
    """int64: their running sum."""


def rasterise(
    screen_BV3: Tensor,
    triangles_T3: Tensor,
    size: int,
    *,
    samples: int = 1,
    two_sided: Tensor | bool = False,
    kernel: bool | None = None,
) -> Coverage:
    """Nearest-surface coverage of square pictures.

    Args:
        screen_BV3: x and y in pixels, distance along the camera's axis; float32 is enough up to 4096 pixels.
        triangles_T3: int64 corner indices, counter-clockwise in head space (clockwise on a screen with y down seen from
            the front is what `head.project` makes of them: their signed area is negative there).
        size: width and height in pixels.
        samples: sub-samples per axis kept beside the coverage of the pixel centres, for `Coverage.antialias`.
        two_sided: draw back faces too: for all triangles, or a (T,) bool.
        kernel: use the Triton kernel; by default where the tensors are on CUDA and Triton is there.

    Raises:
        ValueError: for shapes that do not fit, or a size or sample count below 1.
    """
    if screen_BV3.dim() != 3 or screen_BV3.shape[2] != 3:
        raise ValueError(f"screen must be (B, V, 3), got {tuple(screen_BV3.shape)}")
    if triangles_T3.dim() != 2 or triangles_T3.shape[1] != 3:
        raise ValueError(f"triangles must be (T, 3), got {tuple(triangles_T3.shape)}")
    if size < 1 or samples < 1:
        raise ValueError(f"size and samples must be at least 1, got {size} and {samples}")
    with torch.no_grad():
        packed = _cover(screen_BV3, triangles_T3, size, two_sided, kernel)
        triangle_BHW, depth_BHW = _unpack(packed, len(screen_BV3), size)
        fine_triangle = fine_depth = wanted = None
        if samples > 1:
            scale = screen_BV3.new_tensor([samples, samples, 1.0])
            wanted = _outlines(depth_BHW)
            fine = _cover(screen_BV3 * scale, triangles_T3, size * samples, two_sided, kernel, wanted)
            fine_triangle, fine_depth = _unpack(fine, len(screen_BV3), size * samples)
    weights_BHW3 = _weights(screen_BV3, triangles_T3, triangle_BHW)
    return Coverage(triangle_BHW, weights_BHW3, depth_BHW, triangles_T3, fine_triangle, fine_depth, wanted)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """The rows of a (N, ...) table at an index of any shape."""
    return table.index_select(0, index.reshape(-1)).view(*index.shape, *table.shape[1:])


def _outlines(depth_BHW: Tensor) -> Tensor:
    """(B, H, W) pixels next to a jump of distance: the only ones whose sub-samples are worth drawing.

    A jump shows in the second difference; a slope, however steep, does not.
    """
    depth = depth_BHW.nan_to_num(posinf=1e6)
    jump = torch.zeros_like(depth)
    jump[:, 1:-1] = (depth[:, 2:] - 2 * depth[:, 1:-1] + depth[:, :-2]).abs()
    across = (depth[:, :, 2:] - 2 * depth[:, :, 1:-1] + depth[:, :, :-2]).abs()
    jump[:, :, 1:-1] = torch.maximum(jump[:, :, 1:-1], across)
    near = jump > OUTLINE_GAP
    for axis in (1, 2):
        grown = near.clone()
        length = near.shape[axis]
        grown.narrow(axis, 0, length - 1).logical_or_(near.narrow(axis, 1, length - 1))
        grown.narrow(axis, 1, length - 1).logical_or_(near.narrow(axis, 0, length - 1))
        near = grown
    return near


def _cover(
    screen_BV3: Tensor,
    triangles_T3: Tensor,
    size: int,
    two_sided: Tensor | bool,
    kernel: bool | None,
    wanted_BHW: Tensor | None = None,
) -> Tensor:
    """(B * size * size,) packed distance and triangle of the nearest surface; of unwanted pixels it may say nothing."""
    screen_BV3 = screen_BV3.float().contiguous()
    if kernel or (kernel is None and screen_BV3.is_cuda):
        from forge.studio import raster_cuda

        if raster_cuda.AVAILABLE:
            return raster_cuda.cover(screen_BV3, triangles_T3, size, two_sided, NEAR)
        if kernel:
            raise ValueError("kernel=True needs the package triton; leave it out to draw with torch")
    pixels = size * size
    packed = torch.full((len(screen_BV3) * pixels,), FAR_AWAY, dtype=torch.int64, device=screen_BV3.device)
    for image, screen_V3 in enumerate(screen_BV3):
        wanted = None if wanted_BHW is None else wanted_BHW[image]
        _winners(screen_V3, triangles_T3, size, two_sided, packed[image * pixels : (image + 1) * pixels], wanted)
    return packed


def _edges(
    screen_V3: Tensor, triangles_T3: Tensor, size: int, two_sided: Tensor | bool, wanted_HW: Tensor | None = None
) -> Edges | None:
    """What is left of the triangles of one picture, ready for the fragment test; None when nothing is."""
    x_V, y_V, z_V = screen_V3.unbind(1)
    a, b, c = triangles_T3.unbind(1)
    x_V, y_V, z_V = x_V.contiguous(), y_V.contiguous(), z_V.contiguous()
    xa, ya, xb, yb, xc, yc = (_rows(v, corner) for corner in (a, b, c) for v in (x_V, y_V))
    area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
    facing = area < -1e-9
    if isinstance(two_sided, Tensor):
        facing |= two_sided & (area > 1e-9)
    elif two_sided:
        facing = area.abs() > 1e-9
    kept = facing.nonzero().squeeze(1)
    x, y = (torch.stack([_rows(v, kept) for v in three], 1) for three in ((xa, xb, xc), (ya, yb, yc)))
    # the first and last pixel whose centre lies within the triangle's box
    left, right = (x.amin(1) - 0.5).ceil().clamp(0, size), (x.amax(1) - 0.5).floor().clamp(-1, size - 1)
    top, bottom = (y.amin(1) - 0.5).ceil().clamp(0, size), (y.amax(1) - 0.5).floor().clamp(-1, size - 1)
    z = _rows(z_V, _rows(triangles_T3, kept))
    ok = (right >= left) & (bottom >= top) & (z.amin(1) >= NEAR)
    if wanted_HW is not None:
        ok &= _touches(wanted_HW, size, left, right, top, bottom)
    stay = ok.nonzero().squeeze(1)
    if not len(stay):
        return None
    kept, x, y, z = (_rows(v, stay) for v in (kept, x, y, z))
    left, right, top, bottom = (_rows(v, stay) for v in (left, right, top, bottom))
    area = _rows(area, kept)
    x, y = x - (left + 0.5)[:, None], y - (top + 0.5)[:, None]
    sign = -area.sign()[:, None]
    nx, ny = x[:, [1, 2, 0]], y[:, [1, 2, 0]]  # edge k runs from corner k to corner k + 1
    slope_x, slope_y, constant = (ny - y) * sign, (x - nx) * sign, (nx * y - x * ny) * sign
    width, height = right - left + 1, bottom - top + 1
    reach = width + height
    inverse = 1.0 / z
    # the edge opposite corner k is edge k + 1
    weighted = inverse[:, [2, 0, 1]] / area.abs()[:, None]
    depth = [(slope * weighted).sum(1) for slope in (slope_x, slope_y, constant)]
    count = (width * height).long()
    end = count.cumsum(0)
    slack = SLACK + 1e-6 * reach * reach
    return Edges(
        kept,
        torch.cat([slope_x, slope_y, constant + slack[:, None], width[:, None]], 1),
        torch.stack([*depth, inverse.amin(1), inverse.amax(1)], 1),
        (top * size + left).long(),
        count,
        end,
    )


def _touches(wanted_HW: Tensor, size: int, left: Tensor, right: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
    """Whether boxes of pixels hold a wanted one, by a table of sums; the wanted picture may be coarser."""
    step = size // len(wanted_HW)
    table = F.pad(wanted_HW.int().cumsum(0).cumsum(1), (1, 0, 1, 0))
    x0, y0 = (torch.div(v, step, rounding_mode="floor").long() for v in (left, top))
    x1, y1 = (torch.div(v, step, rounding_mode="floor").long() + 1 for v in (right, bottom))
    x1, y1 = torch.maximum(x0, x1), torch.maximum(y0, y1)
    limit = len(wanted_HW)
    x0, y0, x1, y1 = (v.clamp(0, limit) for v in (x0, y0, x1, y1))
    return (table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]) > 0


def _winners(
    screen_V3: Tensor,
    triangles_T3: Tensor,
    size: int,
    two_sided: Tensor | bool,
    packed_P: Tensor,
    wanted_HW: Tensor | None = None,
) -> None:
    """Reduce the fragments of one picture into its packed pixels, in place."""
    edges = _edges(screen_V3, triangles_T3, size, two_sided, wanted_HW)
    if edges is None:
        return
    device = packed_P.device
    cuts, total = [0], int(edges.end_N[-1])
    if total > FRAGMENTS_AT_ONCE:
        marks = torch.arange(1, total // FRAGMENTS_AT_ONCE + 1, device=device) * FRAGMENTS_AT_ONCE
        cuts += sorted(set(torch.searchsorted(edges.end_N, marks).tolist()) - {0})
    cuts.append(len(edges.triangle_N))
    for first, last in itertools.pairwise(cuts):
        count = edges.count_N[first:last]
        fragments = int(edges.end_N[last - 1]) - (int(edges.end_N[first - 1]) if first else 0)
        which = torch.repeat_interleave(torch.arange(first, last, device=device), count, output_size=fragments)
        start = edges.end_N[first:last] - count - (edges.end_N[first - 1] if first else 0)
        # counts below 2^24 are exact as float32
        local = torch.arange(fragments, device=device) - _rows(start, which - first)
        plane = _rows(edges.plane_N10, which)
        width = plane[:, 9]
        row = ((local + 0.5) / width).floor()
        column = local - row * width
        test = torch.addcmul(plane[:, 6:9], plane[:, 0:3], column[:, None]).addcmul_(plane[:, 3:6], row[:, None])
        hit = (test.amin(1) >= 0).nonzero().squeeze(1)
        which, row, column = (_rows(v, hit) for v in (which, row, column))
        depth = _rows(edges.depth_N5, which)
        inverse = depth[:, 0] * column + depth[:, 1] * row + depth[:, 2]
        inverse = torch.minimum(torch.maximum(inverse, depth[:, 3]), depth[:, 4])
        value = ((1.0 / inverse).view(torch.int32).long() << ID_BITS) | _rows(edges.triangle_N, which)
        pixel = _rows(edges.first_N, which) + (row * size + column).long()
        packed_P.scatter_reduce_(0, pixel, value, "amin")


def _unpack(packed: Tensor, batch: int, size: int) -> tuple[Tensor, Tensor]:
    """Triangle (-1 for none) and distance (infinity for none), (B, size, size) each."""
    packed = packed.view(batch, size, size)
    empty = packed == FAR_AWAY
    triangle = (packed & ((1 << ID_BITS) - 1)).masked_fill(empty, -1)
    depth = (packed >> ID_BITS).int().view(torch.float32).masked_fill(empty, float("inf"))
    return triangle, depth


def _weights(screen_BV3: Tensor, triangles_T3: Tensor, triangle_BHW: Tensor) -> Tensor:
    """(B, H, W, 3) perspective-correct weights of the seen triangles; differentiable in the vertices."""
    batch, size, _ = triangle_BHW.shape
    seen = (triangle_BHW.view(-1) >= 0).nonzero().squeeze(1)
    image, place = torch.div(seen, size * size, rounding_mode="floor"), seen % (size * size)
    corner_N3 = _rows(triangles_T3, _rows(triangle_BHW.view(-1), seen)) + (image * screen_BV3.shape[1])[:, None]
    corner_N33 = _rows(screen_BV3.reshape(-1, 3), corner_N3)
    x = corner_N33[..., 0] - ((place % size) + 0.5)[:, None]
    y = corner_N33[..., 1] - (torch.div(place, size, rounding_mode="floor") + 0.5)[:, None]
    a, b, c = (x[:, i] * y[:, j] - x[:, j] * y[:, i] for i, j in ((1, 2), (2, 0), (0, 1)))
    flat = torch.stack([a, b, c], 1)
    total = flat.sum(1, keepdim=True)
    flat = flat / torch.where(total.abs() < 1e-12, torch.full_like(total, 1e-12), total)
    linear = flat.clamp(0.0, 1.0) / corner_N33[..., 2]
    weights = torch.zeros(batch * size * size, 3, dtype=screen_BV3.dtype, device=screen_BV3.device)
    weights = weights.index_copy(0, seen, linear / linear.sum(1, keepdim=True).clamp(min=1e-20))
    return weights.view(batch, size, size, 3)


def _blend_edges(cover: Coverage, image_BHWC: Tensor, group_T: Tensor | None, gap: float) -> Tensor:
    """See `Coverage.antialias`."""
    fine_triangle, fine_depth, outline = cover.fine_triangle_BHW, cover.fine_depth_BHW, cover.outline_BHW
    assert fine_triangle is not None and fine_depth is not None and outline is not None
    size = cover.triangle_BHW.shape[1]
    samples = fine_triangle.shape[1] // size
    image, row, column = outline.nonzero().unbind(1)
    if not len(row):
        return image_BHWC
    device = image_BHWC.device
    labels = None if group_T is None else group_T.long()

    def label(triangle: Tensor) -> Tensor:
        found = triangle if labels is None else labels[triangle.clamp(min=0)]
        return torch.where(triangle >= 0, found if labels is not None else torch.zeros_like(found), -1)

    step = torch.arange(samples, device=device)
    sub_y, sub_x = (grid.reshape(-1) for grid in torch.meshgrid(step, step, indexing="ij"))
    fine = (image[:, None], row[:, None] * samples + sub_y, column[:, None] * samples + sub_x)
    wanted_group, wanted_depth = label(fine_triangle[fine]), fine_depth[fine].nan_to_num(posinf=1e6)
    depth = cover.depth_BHW.nan_to_num(posinf=1e6)
    sub_y, sub_x = ((v + 0.5) / samples - 0.5 for v in (sub_y, sub_x))
    total = torch.zeros(len(row), samples * samples, image_BHWC.shape[3], device=device, dtype=image_BHWC.dtype)
    weight = torch.zeros(len(row), samples * samples, 1, device=device, dtype=image_BHWC.dtype)
    for step_y in (-1, 0, 1):
        for step_x in (-1, 0, 1):
            at = (image, (row + step_y).clamp(0, size - 1), (column + step_x).clamp(0, size - 1))
            # the little that is added lets a far neighbour count where no near one shows the surface
            near = (1 - (sub_y - step_y).abs()).clamp(min=0) * (1 - (sub_x - step_x).abs()).clamp(min=0) + 1e-3
            same = label(cover.triangle_BHW[at])[:, None] == wanted_group
            same &= (depth[at][:, None] - wanted_depth).abs() <= gap
            share = (same * near)[..., None].to(image_BHWC.dtype)
            total += share * image_BHWC[at][:, None]
            weight += share
    own = image_BHWC[image, row, column][:, None]
    colour = torch.where(weight > 0, total / weight.clamp(min=1e-9), own).mean(1)
    return image_BHWC.index_put((image, row, column), colour)


def splat(points_BN3: Tensor, depth_BHW: Tensor, *, alive_BN: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Points (hair samples) with a depth test: the nearest point of each pixel that lies before the surface.

    Args:
        points_BN3: x, y in pixels and distance.
        depth_BHW: distance of the surface.
        alive_BN: False for points to leave out.

    Returns:
        (B, H, W) int64 index of the point seen, -1 for none; (B, H, W) the depth buffer with the points in it.
    """
    batch, size, width = depth_BHW.shape
    x, y = points_BN3[..., 0].floor().long(), points_BN3[..., 1].floor().long()
    z = points_BN3[..., 2].float()
    on = (x >= 0) & (y >= 0) & (x < width) & (y < size) & (z >= NEAR)
    if alive_BN is not None:
        on &= alive_BN
    image, point = on.nonzero().unbind(1)
    pixel = image * size * width + y[image, point] * width + x[image, point]
    packed = torch.full((batch * size * width,), FAR_AWAY, dtype=torch.int64, device=depth_BHW.device)
    value = (z[image, point].view(torch.int32).long() << ID_BITS) | point
    packed.scatter_reduce_(0, pixel, value, "amin")
    packed = packed.view(batch, size, width)
    empty = packed == FAR_AWAY
    distance = (packed >> ID_BITS).int().view(torch.float32).masked_fill(empty, float("inf"))
    seen = distance < depth_BHW
    index = torch.where(seen, packed & ((1 << ID_BITS) - 1), -1)
    return index, torch.where(seen, distance.to(depth_BHW.dtype), depth_BHW)


def bilinear(image_BCHW: Tensor, where_BHW2: Tensor) -> Tensor:
    """Look a picture up at positions in [-1, 1] (x, y), the border repeated."""
    return F.grid_sample(image_BCHW, where_BHW2, mode="bilinear", padding_mode="border", align_corners=False)
