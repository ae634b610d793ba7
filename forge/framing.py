"""The one crop that every clip goes through, real or synthetic: a fixed square around the face, resized to one size.

    square = square_around((90, 60, 170, 160), width=640, height=360, factor=2.2)
    picture = cut(image, square, 256)          # (256, 256, 3)

Pure arithmetic on boxes and pictures; who finds the face is somebody else's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Square:
    """A square region of a picture, in whole pixels."""

    left: int
    top: int
    side: int

    def __post_init__(self) -> None:
        """Refuse squares that are empty or begin outside the picture."""
        if self.side < 1 or self.left < 0 or self.top < 0:
            raise ValueError(f"a square needs side >= 1 and a corner inside the picture, got {self}")

    def contains(self, box: Sequence[float], slack: float = 0.0) -> bool:
        """Whether a box (x0, y0, x1, y1) lies inside, give or take `slack` of its own size."""
        x0, y0, x1, y1 = box
        dx, dy = slack * (x1 - x0), slack * (y1 - y0)
        return bool(
            x0 >= self.left - dx
            and y0 >= self.top - dy
            and x1 <= self.left + self.side + dx
            and y1 <= self.top + self.side + dy
        )


def square_around(box: Sequence[float], *, width: int, height: int, factor: float) -> Square:
    """The square of `factor` times a face box, centred on it, moved and shrunk to stay inside the picture.

    Args:
        box: (x0, y0, x1, y1) in pixels.
        width: of the picture, pixels.
        height: of the picture, pixels.
        factor: side of the square over the longer side of the box.

    Raises:
        ValueError: for an empty box or a factor below 1.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"a face box must not be empty, got {tuple(box)}")
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    side = max(1, min(round(factor * max(x1 - x0, y1 - y0)), width, height))
    left = min(max(round((x0 + x1 - side) / 2), 0), width - side)
    top = min(max(round((y0 + y1 - side) / 2), 0), height - side)
    return Square(left, top, side)


def cut(image: UInt8Array, square: Square, size: int) -> UInt8Array:
    """The square region of a picture (H, W, 3) at (size, size, 3): averaged when it shrinks, cubic when it grows."""
    region = image[square.top : square.top + square.side, square.left : square.left + square.side]
    if region.shape[:2] == (size, size):
        return np.ascontiguousarray(region)
    how = cv2.INTER_AREA if square.side > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(region, (size, size), interpolation=how), np.uint8)


def cut_to_detail(image: UInt8Array, square: Square, detail: int, size: int) -> UInt8Array:
    """The same at (size, size, 3), with no more detail than (detail, detail) pixels hold.

    A picture of 500 pixels and a video of 220 become equally soft: sharpness shall not tell which of them is real.
    """
    small = cut(image, square, min(detail, size))
    return cut(small, Square(0, 0, small.shape[0]), size)
