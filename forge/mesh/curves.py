"""Smooth outlines and soft masks for openings: lips and lids are curves, the landmarks only points on them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

FINE = 4
"""Masks are drawn this many times finer and averaged: an edge that moves by a tenth of a pixel changes the mask."""


def through(points: Array, steps: int = 5) -> Array:
    """A Catmull-Rom curve through (N, 2) points: (1 + (N - 1) * steps, 2)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    p0, p1, p2, p3 = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def two_sided(points: Array, ring: Sequence[int]) -> tuple[Array, Array]:
    """First and second border of an opening as smooth curves between its corners, the ring's points 0 and n/2."""
    half = len(ring) // 2
    first = points[list(ring[: half + 1]), :2]
    second = points[[ring[0], *ring[: half - 1 : -1]], :2]
    return through(first), through(second)


def outline_of(points: Array, ring: Sequence[int]) -> Array:
    """(K, 2) smooth closed outline of an opening."""
    first, second = two_sided(points, ring)
    return np.concatenate([first, second[::-1]])


def box_around(outline: Array, margin: float, size: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a pixel box around an outline, within a square frame; may be empty (x1 <= x0)."""
    low = np.floor(outline.min(axis=0) - margin).astype(int)
    high = np.ceil(outline.max(axis=0) + margin + 1).astype(int)
    x0, y0 = (int(v) for v in np.clip(low, 0, size))
    x1, y1 = (int(v) for v in np.clip(high, 0, size))
    return x0, y0, x1, y1


def soft_mask(outline: Array, box: tuple[int, int, int, int], softness: float = 0.0) -> FloatArray:
    """(h, w) float32 share of each pixel of a box that lies inside an outline, optionally blurred by some pixels."""
    x0, y0, x1, y1 = box
    fine = np.zeros(((y1 - y0) * FINE, (x1 - x0) * FINE), np.uint8)
    at = (outline - (x0, y0) + 0.5) * FINE - 0.5
    cv2.fillPoly(fine, [np.round(at * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    mask = np.asarray(cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), softness), np.float32) if softness > 0 else mask


def fill_from(image: FloatArray, known: FloatArray, reach: float) -> FloatArray:
    """Continue an (h, w, 3) image from its known pixels (weights (h, w)) smoothly over all others."""
    out = np.zeros_like(image)
    done = np.zeros(known.shape, np.float32)
    for sigma in (reach, 2 * reach, 4 * reach, 16 * reach):
        weight = cv2.GaussianBlur(known, (0, 0), sigma)
        mean = cv2.GaussianBlur(image * known[..., None], (0, 0), sigma) / np.maximum(weight, 1e-6)[..., None]
        trust = np.clip(weight / 0.08, 0, 1) * (1 - done)
        out += mean * trust[..., None]
        done += trust
    out += np.float32(1) * mean * (1 - done)[..., None]
    return np.asarray(image * known[..., None] + out * (1 - known[..., None]), np.float32)


def close_over(image: FloatArray, outline: Array, width: float, shade: float) -> None:
    """Paint the inside of an opening of an (S, S, 3) picture with what surrounds it, darkened, in place.

    What a mesh draws where an opening has shut is then a dark line of lip or lid, not a thread of teeth or eye.
    """
    box = box_around(outline, 0.5 * width, image.shape[0])
    x0, y0, x1, y1 = box
    inside = cv2.dilate(soft_mask(outline, box), np.ones((3, 3), np.uint8))
    patch = image[y0:y1, x0:x1]
    around = fill_from(patch, np.float32(1) - inside, reach=max(0.03 * width, 0.8))
    depth = np.clip(cv2.GaussianBlur(inside, (0, 0), max(0.02 * width, 0.6)), 0, 1)[..., None]
    patch[:] = patch * (1 - inside[..., None]) + around * (1 - (1 - shade) * depth) * inside[..., None]
