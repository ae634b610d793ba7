"""What pictures tell without the face: blocks, colour, detail, background. Arrays in, numbers out.

Used by `benchmarks.shortcut_statistics`. Pictures are (H, W, 3) uint8 RGB, masks (H, W) bool.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, nan
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.clip import FloatArray, UInt8Array
from media.landmarks import FaceObservation

Values = dict[str, float | str]
Mask = NDArray[np.bool_]
SIDE: Final = 256
"""Statistics of colour and sharpness are taken at this longer side, so that size does not tell twice."""
LIGHTS: Final = (1, 10, 50, 90, 99)
"""Percentiles of the light."""


def luma_of(image: UInt8Array) -> FloatArray:
    """(H, W) grey, 0 to 255."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def blockiness(luma: FloatArray, period: int) -> float:
    """How much larger the steps across a grid of a period are than the others: 1 where no grid shows."""

    def along(steps: FloatArray) -> float:
        every = steps.mean(axis=0)
        on_grid = every[period - 1 :: period]
        return float(on_grid.mean() + 0.1) / float(np.delete(every, np.s_[period - 1 :: period]).mean() + 0.1)

    if min(luma.shape) < 2 * period:
        return 1.0
    return (along(np.abs(np.diff(luma, axis=1))) + along(np.abs(np.diff(luma, axis=0)).T)) / 2


def zero_coefficients(luma: FloatArray) -> float:
    """Share of the upper DCT coefficients of 8 x 8 blocks that are (nearly) nothing, at the picture's own size."""
    height, width = (side // 8 * 8 for side in luma.shape)
    if not height or not width:
        return nan
    # every block's transform at once: D X D'
    cosine = np.array([[np.cos(np.pi * (2 * x + 1) * u / 16) for x in range(8)] for u in range(8)], np.float32) / 2
    cosine[0] /= np.sqrt(2, dtype=np.float32)
    blocks = luma[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2)
    coefficients = cosine @ blocks @ cosine.T
    upper = np.add.outer(np.arange(8), np.arange(8)) >= 6
    return float((np.abs(coefficients[..., upper]) < 1.0).mean())


def reduced(image: UInt8Array, side: int = SIDE) -> UInt8Array:
    """At a longer side, averaged or cubic."""
    scale = side / max(image.shape[:2])
    size = (max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8)


def colour(images: Sequence[UInt8Array]) -> Values:
    """Means, spreads and how the channels go together; how much of the range is used."""
    rows = []
    for image in images:
        lab = np.asarray(cv2.cvtColor(reduced(image, 128), cv2.COLOR_RGB2LAB), np.float64).reshape(-1, 3)
        spread = lab.std(axis=0)
        together = [
            float(np.mean((lab[:, a] - lab[:, a].mean()) * (lab[:, b] - lab[:, b].mean())))
            / float(spread[a] * spread[b] + 1)
            for a, b in ((0, 1), (0, 2), (1, 2))
        ]
        ends = np.percentile(lab[:, 0], LIGHTS)
        rows.append([*lab.mean(axis=0), *spread, *together, *ends])
    names = [
        *(f"{what} {c}" for what in ("mean", "spread") for c in "Lab"),
        *(f"{pair} together" for pair in ("La", "Lb", "ab")),
        *(f"L at {percent}" for percent in LIGHTS),
    ]
    return {name: float(value) for name, value in zip(names, np.mean(rows, axis=0), strict=True)}


def sharpness(images: Sequence[UInt8Array]) -> Values:
    """Detail at three scales of a picture of one size, noise, and how fast the spectrum falls."""
    rows = []
    for image in images:
        luma = luma_of(reduced(image))
        scales = []
        for _ in range(3):
            scales.append(log(1e-2 + float(cv2.Laplacian(luma, cv2.CV_32F).var())))
            luma = np.asarray(cv2.pyrDown(luma), np.float32)
        fine = luma_of(reduced(image))
        high = fine - cv2.GaussianBlur(fine, (0, 0), 1.0)
        rows.append([*scales, log(1e-2 + float(np.median(np.abs(high)))), scales[0] - scales[1], scales[1] - scales[2]])
    names = ("fine", "middle", "coarse", "noise", "fine over middle", "middle over coarse")
    return {name: float(value) for name, value in zip(names, np.mean(rows, axis=0), strict=True)}


def face_mask(shape: tuple[int, ...], face: FaceObservation) -> Mask:
    """(H, W) the face from chin to forehead, a little wider than its outline."""
    # the hull of all landmarks and not the oval: of a turned head the oval leaves out the far cheek
    outline = np.asarray(cv2.convexHull(face.landmarks[:, :2].astype(np.float32)), np.float32)[:, 0]
    middle = outline.mean(axis=0)
    wider = (outline - middle) * 1.1 + middle
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(wider).astype(np.int32)], 1)
    return mask.astype(bool)


def background_mask(shape: tuple[int, ...], face: FaceObservation) -> Mask:
    """(H, W) what is neither head, hair nor body: around a head twice as large as the face, down to the chin."""
    height, width = shape[:2]
    x0, y0, x1, y1 = (float(v) for v in face.box)
    high = y1 - y0
    # a turned face is narrow, its head is not
    across = max(x1 - x0, 0.85 * high)
    centre = (round((x0 + x1) / 2), round(y0 + 0.4 * high))
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (centre, (1.75 * across, 2.0 * high), 0.0), 1, -1)
    # neck, shoulders and clothes: everything under the chin
    mask[max(0, min(height, round(y1 - 0.05 * high))) :] = 1
    return np.asarray(mask == 0)


def background(images: Sequence[UInt8Array], masks: Sequence[Mask]) -> Values:
    """Colour, structure and evenness of the part of the picture that is left; nan where nothing is."""
    names = [
        *(f"{what} {c}" for what in ("mean", "spread") for c in "Lab"),
        "edges",
        "detail",
        "dark",
        "bright",
        "even",
    ]
    rows = []
    for image, mask in zip(images, masks, strict=True):
        scale = SIDE / max(image.shape[:2])
        small = reduced(image)
        kept = cv2.resize(mask.astype(np.uint8), (small.shape[1], small.shape[0]), interpolation=cv2.INTER_NEAREST) > 0
        if kept.mean() < 0.02 or scale <= 0:
            continue
        lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float64)[kept]
        luma = luma_of(small)
        slope = np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1))
        # the border of what was cut out is no edge of the picture
        inner = cv2.erode(kept.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        inner = inner if inner.any() else kept
        fine = cv2.Laplacian(luma, cv2.CV_32F)[inner]
        rows.append(
            [
                *lab.mean(axis=0),
                *lab.std(axis=0),
                log(1 + float(slope[inner].mean())),
                log(1e-2 + float(fine.var())),
                float((lab[:, 0] < 20).mean()),
                float((lab[:, 0] > 235).mean()),
                float((slope[inner] < 4).mean()),
            ]
        )
    values = np.mean(rows, axis=0) if rows else np.full(len(names), nan)
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def stillness(pairs: Sequence[tuple[UInt8Array, UInt8Array]], masks: Sequence[Mask]) -> Values:
    """How much the background changes, from one picture to the next and over the clip."""
    step, still, span = [], [], []
    before: UInt8Array | None = None
    for (image, following), mask in zip(pairs, masks, strict=True):
        if mask.mean() < 0.02:
            continue
        change = np.abs(image.astype(np.float32) - following)[mask]
        step.append(float(change.mean()))
        still.append(float((change < 0.5).mean()))
        if before is not None:
            span.append(float(np.abs(image.astype(np.float32) - before)[mask].mean()))
        before = image
    return {
        "from picture to picture": log(0.05 + float(np.mean(step))) if step else nan,
        "exactly still": float(np.mean(still)) if still else nan,
        "over the clip": log(0.05 + float(np.mean(span))) if span else nan,
    }
