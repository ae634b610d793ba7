"""Pieces of every splice: where in the frame it lies, its mask, its colours, and how its border is made to vanish.

Axes: h, w of a patch of the frame; images are float32 RGB in [0, 255], weights float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.mesh.curves import fill_from

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

FORGED_FROM = 0.1
"""A pixel counts as forged from this share of forged picture on: less of it cannot be told from none."""
LIGHT = 16.0
"""Grey levels by which light usually differs between two pictures of skin whose colours have been matched."""
REDUCTION = 4
"""The membrane between two pictures is as smooth as nothing else: it is computed on so many times fewer pixels."""


@dataclass(frozen=True)
class Patch:
    """A rectangle of the frame, in whole pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def around(cls, points: Array, margin: float, size: int) -> Patch:
        """The rectangle of (N, 2 or more) points with a margin in pixels, inside a frame of a size; at least 2 x 2."""
        low = np.floor(points[:, :2].min(axis=0) - margin).astype(int)
        high = np.ceil(points[:, :2].max(axis=0) + margin).astype(int) + 1
        x0, y0 = (int(value) for value in np.clip(low, 0, size - 2))
        x1, y1 = (int(value) for value in np.clip(high, 2, size))
        return cls(x0, y0, max(x1, x0 + 2), max(y1, y0 + 2))

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.y1 - self.y0

    @property
    def origin(self) -> Array:
        """(2,) frame position of the first pixel."""
        return np.array([self.x0, self.y0], np.float64)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1."""
        return self.x0, self.y0, self.x1, self.y1

    def of(self, frame: UInt8Array) -> FloatArray:
        """(h, w, 3) copy of this part of a frame."""
        return frame[self.y0 : self.y1, self.x0 : self.x1].astype(np.float32)

    def put(self, frame: UInt8Array, part: FloatArray) -> UInt8Array:
        """A copy of the frame with this part replaced."""
        out = frame.copy()
        out[self.y0 : self.y1, self.x0 : self.x1] = to_bytes(part)
        return out

    def mask(self, weight: FloatArray, size: int) -> BoolArray:
        """(size, size) where a weight of this part makes the frame count as forged."""
        out = np.zeros((size, size), bool)
        out[self.y0 : self.y1, self.x0 : self.x1] = weight >= FORGED_FROM
        return out


def to_bytes(image: FloatArray) -> UInt8Array:
    """Rounded and clipped to 8 bits."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def mixed(under: FloatArray, over: FloatArray, weight: FloatArray) -> FloatArray:
    """(h, w, 3) one picture over another by (h, w) weights."""
    return np.asarray(under + weight[..., None] * (over - under), np.float32)


def blurred(image: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur that goes on at the border as the border is."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)


def colours_of(image: FloatArray, weight: FloatArray) -> tuple[Array, Array]:
    """Mean (3,) and standard deviation (3,) in Lab of the skin in an (h, w, 3) picture.

    Beards, brows, fringes and highlights are left out: what is far from the middle lightness.
    """
    lab = to_lab(image)
    inside = weight > 0.5
    if inside.sum() < 16:
        inside = weight >= weight.max()
    colours = lab[inside].astype(np.float64)
    middle = np.median(colours[:, 0])
    apart = np.abs(colours[:, 0] - middle)
    skin = colours[apart <= 2.0 * np.median(apart) + 1e-6]
    return skin.mean(axis=0), skin.std(axis=0)


def recoloured(image: FloatArray, gain: Sequence[float] | Array, mean: Array, wanted: Array) -> FloatArray:
    """The picture with Lab values scaled about a mean and moved to another mean; all (3,)."""
    lab = (to_lab(image) - mean) * np.asarray(gain) + wanted
    return from_lab(np.asarray(lab, np.float32))


def to_lab(image: FloatArray) -> FloatArray:
    """RGB in [0, 255] to CIE Lab."""
    return np.asarray(cv2.cvtColor(np.clip(image, 0, 255) * np.float32(1 / 255), cv2.COLOR_RGB2LAB), np.float32)


def from_lab(lab: FloatArray) -> FloatArray:
    """CIE Lab to RGB in [0, 255]."""
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * np.float32(255), np.float32)


def membrane(under: FloatArray, over: FloatArray, weight: FloatArray, reach: float) -> FloatArray:
    """What has to be added to a picture so that it meets the one under it along the border of its mask.

    The difference of the two around the border is carried inwards by blurs of growing width: nearly the solution of
    Poisson's equation that seamless cloning takes (Perez et al., 2003), but it depends on no bounding box, so it does
    not flicker when the box moves by a pixel.

    Args:
        under: (h, w, 3) the frame.
        over: (h, w, 3) what is put on it.
        weight: (h, w) its mask.
        reach: pixels, the first and narrowest blur.
    """
    small = (max(2, weight.shape[1] // REDUCTION), max(2, weight.shape[0] // REDUCTION))
    shrunk = np.asarray(cv2.resize(weight, small, interpolation=cv2.INTER_AREA), np.float32)
    apart = np.asarray(cv2.resize(under - over, small, interpolation=cv2.INTER_AREA), np.float32)
    # the border is where the weight is neither 0 nor 1; beyond it lie hair and background, which say nothing of skin
    border = np.clip(4 * shrunk * (1 - shrunk), 0, 1)
    # a beard or a fringe across the border is no light on the skin: it must not darken the cheek
    alike = 1 / (1 + (apart.mean(axis=-1) / np.float32(LIGHT)) ** 2)
    border = np.asarray(border * alike, np.float32)
    apart = np.clip(apart, -2 * LIGHT, 2 * LIGHT)
    filled = fill_from(apart, border, reach=max(reach / REDUCTION, 0.8))
    return np.asarray(cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
