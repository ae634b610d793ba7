"""The z-buffer of `rasterise.py` as Triton kernels: small triangles side by side, large ones one to a program.

Axes: B images, V vertices, T triangles, P pixels of an image.

Both kernels set a triangle up by the same function, test the pixels of its box and lower the packed distance | triangle
of each pixel with an atomic minimum on int64, so the order in which programs run does not matter. `TRITON_INTERPRET=1`
runs them on a CPU (tests/forge/studio/test_raster_cuda.py). Without Triton `AVAILABLE` is False and `rasterise` draws
with torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl

    AVAILABLE = True
except ImportError:
    AVAILABLE = False

FAR_AWAY = torch.iinfo(torch.int64).max
SMALL_PIXELS = 64
"""Boxes up to so many pixels are drawn by the first kernel."""
TRIANGLES = 64
"""Triangles of one program of the first kernel."""
PIXELS = 256
"""Pixels that a program of the second kernel tests at a time."""

if AVAILABLE:

    @triton.jit  # type: ignore[untyped-decorator]
    def _corner(screen, index, live):  # type: ignore[no-untyped-def]
        """x, y and distance of vertices."""
        x = tl.load(screen + index * 3, mask=live, other=0.0)
        y = tl.load(screen + index * 3 + 1, mask=live, other=0.0)
        z = tl.load(screen + index * 3 + 2, mask=live, other=0.0)
        return x, y, z

    @triton.jit  # type: ignore[untyped-decorator]
    def _box(  # type: ignore[no-untyped-def]
        xa, ya, za, xb, yb, zb, xc, yc, zc, both, live, size, NEAR: tl.constexpr,
    ):  # fmt: skip
        """First column and row, width and height of the pixels whose centres may lie inside; nothing when not drawn."""
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        limit = size * 1.0
        left = tl.minimum(tl.maximum(tl.ceil(tl.minimum(tl.minimum(xa, xb), xc) - 0.5), 0.0), limit)
        right = tl.minimum(tl.maximum(tl.floor(tl.maximum(tl.maximum(xa, xb), xc) - 0.5), -1.0), limit - 1.0)
        top = tl.minimum(tl.maximum(tl.ceil(tl.minimum(tl.minimum(ya, yb), yc) - 0.5), 0.0), limit)
        bottom = tl.minimum(tl.maximum(tl.floor(tl.maximum(tl.maximum(ya, yb), yc) - 0.5), -1.0), limit - 1.0)
        drawn = live & ((area < -1e-9) | (both & (area > 1e-9))) & (tl.minimum(tl.minimum(za, zb), zc) >= NEAR)
        drawn = drawn & (right >= left) & (bottom >= top)
        width = tl.where(drawn, right - left + 1.0, 0.0)
        height = tl.where(drawn, bottom - top + 1.0, 0.0)
        return left, top, width, height, area

    @triton.jit  # type: ignore[untyped-decorator]
    def _draw(  # type: ignore[no-untyped-def]
        packed, t, column, row, live, left, top, width, height, area, xa, ya, za, xb, yb, zb, xc, yc, zc, size,
    ):  # fmt: skip
        """Test one pixel of each box and lower the packed value where it is inside."""
        # relative to the centre of the box's first pixel, as the torch version: small numbers keep their digits
        ox, oy = left + 0.5, top + 0.5
        xa, xb, xc = xa - ox, xb - ox, xc - ox
        ya, yb, yc = ya - oy, yb - oy, yc - oy
        sign = tl.where(area > 0.0, -1.0, 1.0)
        reach = width + height
        slack = 1e-5 + 1e-6 * reach * reach
        edge_ab = ((yb - ya) * column + (xa - xb) * row + (xb * ya - xa * yb)) * sign
        edge_bc = ((yc - yb) * column + (xb - xc) * row + (xc * yb - xb * yc)) * sign
        edge_ca = ((ya - yc) * column + (xc - xa) * row + (xa * yc - xc * ya)) * sign
        hit = live & (tl.minimum(tl.minimum(edge_ab, edge_bc), edge_ca) + slack >= 0.0)
        wa, wb, wc = 1.0 / za, 1.0 / zb, 1.0 / zc
        inverse = (edge_bc * wa + edge_ca * wb + edge_ab * wc) / tl.maximum(tl.abs(area), 1e-20)
        inverse = tl.maximum(inverse, tl.minimum(tl.minimum(wa, wb), wc))
        inverse = tl.minimum(inverse, tl.maximum(tl.maximum(wa, wb), wc))
        bits = (1.0 / inverse).to(tl.int32, bitcast=True).to(tl.int64)
        pixel = (top + row).to(tl.int64) * size + (left + column).to(tl.int64)
        tl.atomic_min(packed + pixel, (bits << 32) | t.to(tl.int64), mask=hit, sem="relaxed")

    @triton.jit  # type: ignore[untyped-decorator]
    def _small(  # type: ignore[no-untyped-def]
        screen, triangles, both_sides, packed, count, vertices, size,
        BLOCK: tl.constexpr, LARGEST: tl.constexpr, NEAR: tl.constexpr,
    ):  # fmt: skip
        """BLOCK triangles of one image, pixel by pixel of their boxes in step."""
        t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        image = tl.program_id(1).to(tl.int64)
        live = t < count
        screen += image * vertices * 3
        packed += image * size * size
        both = tl.load(both_sides + t, mask=live, other=0) != 0
        xa, ya, za = _corner(screen, tl.load(triangles + t * 3, mask=live, other=0), live)
        xb, yb, zb = _corner(screen, tl.load(triangles + t * 3 + 1, mask=live, other=0), live)
        xc, yc, zc = _corner(screen, tl.load(triangles + t * 3 + 2, mask=live, other=0), live)
        left, top, width, height, area = _box(xa, ya, za, xb, yb, zb, xc, yc, zc, both, live, size, NEAR)
        pixels = (width * height).to(tl.int32)
        pixels = tl.where(pixels <= LARGEST, pixels, 0)
        za, zb, zc = tl.where(live, za, 1.0), tl.where(live, zb, 1.0), tl.where(live, zc, 1.0)
        across = tl.maximum(width, 1.0)
        for i in range(tl.max(pixels, 0)):
            row = tl.floor((i + 0.5) / across)
            column = i - row * across
            _draw(
                packed, t, column, row, i < pixels, left, top, width, height, area,
                xa, ya, za, xb, yb, zb, xc, yc, zc, size,
            )  # fmt: skip

    @triton.jit  # type: ignore[untyped-decorator]
    def _large(  # type: ignore[no-untyped-def]
        screen, triangles, both_sides, packed, count, vertices, size,
        BLOCK: tl.constexpr, LARGEST: tl.constexpr, NEAR: tl.constexpr,
    ):  # fmt: skip
        """One triangle of one image, BLOCK pixels of its box at a time; most programs see a small one and end."""
        t = tl.program_id(0)
        image = tl.program_id(1).to(tl.int64)
        screen += image * vertices * 3
        packed += image * size * size
        both = tl.load(both_sides + t) != 0
        live = t < count
        xa, ya, za = _corner(screen, tl.load(triangles + t * 3), live)
        xb, yb, zb = _corner(screen, tl.load(triangles + t * 3 + 1), live)
        xc, yc, zc = _corner(screen, tl.load(triangles + t * 3 + 2), live)
        left, top, width, height, area = _box(xa, ya, za, xb, yb, zb, xc, yc, zc, both, live, size, NEAR)
        pixels = (width * height).to(tl.int32)
        if pixels > LARGEST:
            across = width.to(tl.int32)
            for start in range(0, pixels, BLOCK):
                i = start + tl.arange(0, BLOCK)
                row = i // across
                column = i - row * across
                _draw(
                    packed, t, column.to(tl.float32), row.to(tl.float32), i < pixels, left, top, width, height, area,
                    xa, ya, za, xb, yb, zb, xc, yc, zc, size,
                )  # fmt: skip


def cover(screen_BV3: Tensor, triangles_T3: Tensor, size: int, two_sided: Tensor | bool, near: float) -> Tensor:
    """(B * size * size,) packed distance and triangle of the nearest surface, the greatest int64 for none.

    Args:
        screen_BV3: contiguous float32.
        triangles_T3: corner indices on the same device.
        size: of the square pictures.
        two_sided: draw back faces too: for all triangles, or a (T,) bool.
        near: distance of the near plane.
    """
    batch, vertices, _ = screen_BV3.shape
    device, count = screen_BV3.device, len(triangles_T3)
    packed = torch.full((batch * size * size,), FAR_AWAY, dtype=torch.int64, device=device)
    if not count or not batch:
        return packed
    corners = triangles_T3.to(torch.int32).contiguous()
    if isinstance(two_sided, Tensor):
        both = two_sided.to(torch.uint8).contiguous()
    else:
        both = torch.full((count,), int(two_sided), dtype=torch.uint8, device=device)
    shared = (screen_BV3, corners, both, packed, count, vertices, size)
    _small[(triton.cdiv(count, TRIANGLES), batch)](
        *shared, BLOCK=TRIANGLES, LARGEST=SMALL_PIXELS, NEAR=near, num_warps=2
    )
    _large[(count, batch)](*shared, BLOCK=PIXELS, LARGEST=SMALL_PIXELS, NEAR=near, num_warps=2)
    return packed
