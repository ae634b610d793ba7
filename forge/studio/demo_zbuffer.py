"""A z-buffer in numpy: triangles and hair points to pixels, exact and deterministic, for pictures made once.

Axes: V vertices, T triangles, P pixels. Screen space: x right, y down, in pixels; z grows away from the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Coverage:
    """Which triangle is seen in each pixel, and where in it."""

    triangle: Ints
    """(H, W) index of the nearest triangle, -1 where there is none."""
    weights: Floats
    """(H, W, 3) perspective-correct barycentric weights of its corners."""
    depth: Floats
    """(H, W) camera depth, infinity where there is nothing."""

    def interpolate(self, values_VC: Floats, triangles_T3: Ints) -> Floats:
        """Vertex attributes (V, C) as an (H, W, C) picture; zero where nothing is seen."""
        seen = self.triangle >= 0
        out = np.zeros((*self.triangle.shape, values_VC.shape[1]))
        corners = values_VC[triangles_T3[self.triangle[seen]]]
        out[seen] = (corners * self.weights[seen][:, :, None]).sum(1)
        return out


def rasterise(screen_V3: Floats, triangles_T3: Ints, size: int) -> Coverage:
    """Nearest-surface coverage of a square picture.

    Args:
        screen_V3: x and y in pixels, z the camera depth (> 0).
        triangles_T3: corner indices.
        size: width and height in pixels.
    """
    triangle = np.full(size * size, -1, np.int64)
    depth = np.full(size * size, np.inf)
    weights = np.zeros((size * size, 3))
    corners_T33 = screen_V3[triangles_T3]
    low = np.clip(np.floor(corners_T33[:, :, :2].min(1)), 0, size).astype(np.int64)
    high = np.clip(np.ceil(corners_T33[:, :, :2].max(1)) + 1, 0, size).astype(np.int64)
    extent = (high - low).max(1)
    side = 4
    while side < 2 * size:  # triangles of one size class share one candidate grid
        chosen = np.flatnonzero(
            (extent <= side) & (extent > (side // 2 if side > 4 else 0)) & ((high - low).min(1) > 0)
        )
        batch = max(1, 2_000_000 // (side * side))
        for start in range(0, len(chosen), batch):
            _draw(chosen[start : start + batch], side, corners_T33, low, high, size, (triangle, depth, weights))
        side *= 2
    return Coverage(triangle.reshape(size, size), weights.reshape(size, size, 3), depth.reshape(size, size))


def _draw(
    chosen: Ints, side: int, corners_T33: Floats, low: Ints, high: Ints, size: int, buffers: tuple[Ints, Floats, Floats]
) -> None:
    """Test every pixel of every bounding box of one size class against the buffers."""
    triangle, depth, weights = buffers
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="xy"), -1).reshape(-1, 2)
    pixel = low[chosen, None, :] + grid[None]
    corner = corners_T33[chosen][:, None]
    point = pixel + 0.5
    a, b, c = corner[:, :, 0, :2], corner[:, :, 1, :2], corner[:, :, 2, :2]
    area = _cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = (
            np.stack([_cross(c - b, point - b), _cross(a - c, point - c), _cross(b - a, point - a)], -1)
            / area[..., None]
        )
    inside = (flat >= -1e-9).all(-1) & (pixel < high[chosen, None, :]).all(-1)
    where, which = np.nonzero(inside)
    if not len(where):
        return
    linear = flat[where, which] / corners_T33[chosen[where], :, 2]
    z = 1.0 / linear.sum(1)
    at = pixel[where, which]
    index = at[:, 1] * size + at[:, 0]
    order = np.lexsort((z, index))
    first = order[np.unique(index[order], return_index=True)[1]]
    nearer = first[z[first] < depth[index[first]]]
    target = index[nearer]
    depth[target] = z[nearer]
    triangle[target] = chosen[where[nearer]]
    weights[target] = linear[nearer] * z[nearer][:, None]


def _cross(u: Floats, v: Floats) -> Floats:
    """Signed area of two 2-D vectors."""
    return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])


def splat(points_N3: Floats, colours_N3: Floats, depth_HW: Floats, picture_HW3: Floats) -> NDArray[np.bool_]:
    """Draw points (hair samples) over a picture with a depth test; the buffers are changed in place.

    Args:
        points_N3: x, y in pixels and camera depth.
        colours_N3: linear RGB.
        depth_HW: depth buffer.
        picture_HW3: colour buffer.

    Returns:
        (H, W) mask of the pixels that were drawn.
    """
    height, width = depth_HW.shape
    x, y = np.floor(points_N3[:, 0]).astype(np.int64), np.floor(points_N3[:, 1]).astype(np.int64)
    on = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    index, z, colour = (y * width + x)[on], points_N3[on, 2], colours_N3[on]
    order = np.lexsort((z, index))
    first = order[np.unique(index[order], return_index=True)[1]]
    nearer = first[z[first] < depth_HW.reshape(-1)[index[first]]]
    target = index[nearer]
    depth_HW.reshape(-1)[target] = z[nearer]
    picture_HW3.reshape(-1, 3)[target] = colour[nearer]
    drawn = np.zeros(height * width, np.bool_)
    drawn[target] = True
    return drawn.reshape(height, width)
