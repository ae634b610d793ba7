"""Photographs turned into drawings, paintings and statues: what `known` must learn to leave alone.

    draw(crop, Manner.CARTOON, np.random.default_rng(0))

Pictures of drawn faces are rare where photographs are plenty, and no two artists draw alike. So the photographs of a
data set are redrawn here in several manners, each with random strength. The faces, their frames and their codecs stay
the same: only how skin, hair and edges are rendered can then tell the two apart.

Images are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from enum import StrEnum

import cv2
import numpy as np

from media.clip import FloatArray, UInt8Array


class Manner(StrEnum):
    """How a photograph is redrawn."""

    CARTOON = "cartoon"
    """Flat colours between dark outlines."""
    PAINTING = "painting"
    """Strokes: the commonest tone of a neighbourhood, on canvas."""
    PENCIL = "pencil"
    """Lines and hatching on paper."""
    SMOOTH = "smooth"
    """An airbrush: no texture, edges kept, colours strong."""
    STONE = "stone"
    """One material all over, lit from one side; no iris, no lips."""


def draw(image: UInt8Array, manner: Manner, rng: np.random.Generator) -> UInt8Array:
    """A photograph in another manner.

    Args:
        image: (H, W, 3).
        manner: of drawing.
        rng: of its strength.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be (H, W, 3), got {image.shape}")
    redrawn = {
        Manner.CARTOON: _cartoon,
        Manner.PAINTING: _painting,
        Manner.PENCIL: _pencil,
        Manner.SMOOTH: _smooth,
        Manner.STONE: _stone,
    }[manner](image, rng)
    return np.asarray(np.clip(redrawn, 0, 255), np.uint8)


def _flattened(image: UInt8Array, times: int) -> UInt8Array:
    """Texture taken out, edges left."""
    for _ in range(times):
        image = np.asarray(cv2.bilateralFilter(image, 7, 45, 7), np.uint8)
    return image


def _noise(like: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Unit noise of a picture's size."""
    return np.asarray(rng.normal(0.0, 1.0, like.shape), np.float32)


def _stronger_colours(image: UInt8Array, factor: float) -> UInt8Array:
    hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.float32)
    hsv[..., 1] = np.minimum(hsv[..., 1] * factor, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def _cartoon(image: UInt8Array, rng: np.random.Generator) -> FloatArray:
    flat = _flattened(image, int(rng.integers(3, 7)))
    lab = np.asarray(cv2.cvtColor(flat, cv2.COLOR_RGB2LAB), np.float32)
    step = float(rng.uniform(18, 42))
    # soft steps, as a drawing is shaded in a few tones whose borders are not pixel-sharp
    tone = lab[..., 0] / step
    lab[..., 0] = step * (np.floor(tone) + 0.5 + 0.5 * np.tanh(float(rng.uniform(4, 12)) * (tone % 1 - 0.5)))
    coloured = np.asarray(cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8)
    coloured = _stronger_colours(coloured, float(rng.uniform(1.0, 1.6)))
    grey = cv2.medianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 5)
    lines = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, float(rng.uniform(3, 7)))
    ink = cv2.GaussianBlur(lines, (0, 0), 0.7).astype(np.float32)[..., None] / 255
    strength = float(rng.uniform(0.3, 1.0))
    return np.asarray(coloured * (1 - strength * (1 - ink)), np.float32)


def _painting(image: UInt8Array, rng: np.random.Generator) -> FloatArray:
    radius, levels = int(rng.integers(2, 5)), int(rng.integers(8, 20))
    grey = np.floor(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32) * levels / 256)
    best = np.full(grey.shape, -1.0, np.float32)
    painted = image.astype(np.float32)
    size = (2 * radius + 1, 2 * radius + 1)
    for level in range(levels):
        mask = (grey == level).astype(np.float32)
        count = cv2.blur(mask, size)
        mean = cv2.blur(image.astype(np.float32) * mask[..., None], size) / np.maximum(count, 1e-6)[..., None]
        wins = count > best
        best[wins], painted[wins] = count[wins], mean[wins]
    canvas = cv2.GaussianBlur(_noise(grey, rng), (0, 0), 0.8)
    warmth = np.array([rng.uniform(0.95, 1.12), 1.0, rng.uniform(0.75, 1.0)], np.float32)
    return np.asarray(painted * warmth + canvas[..., None] * float(rng.uniform(2, 14)), np.float32)


def _pencil(image: UInt8Array, rng: np.random.Generator) -> FloatArray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    ground = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(2, 8)))
    lines = np.minimum(255.0, 255.0 * grey / np.maximum(ground, 1.0))
    shade = float(rng.uniform(0.0, 0.35))
    hatching = cv2.GaussianBlur(_noise(grey, rng), (0, 0), 1.2, sigmaY=0.4)
    drawn = lines * (1 - shade) + shade * ground + hatching * float(rng.uniform(2, 12))
    paper = np.array([1.0, rng.uniform(0.93, 1.0), rng.uniform(0.85, 1.0)], np.float32)
    colour = float(rng.uniform(0.2, 0.6)) * (rng.random() < 0.5)
    tinted = drawn[..., None] * paper
    return np.asarray((1 - colour) * tinted + colour * tinted * image / 255.0, np.float32)


def _smooth(image: UInt8Array, rng: np.random.Generator) -> FloatArray:
    flat = _flattened(image, int(rng.integers(4, 9)))
    flat = _stronger_colours(flat, float(rng.uniform(1.0, 1.7)))
    blurred = cv2.GaussianBlur(flat, (0, 0), 2.0).astype(np.float32)
    # unsharp: rendered and airbrushed faces have crisp edges round skin without pores
    return np.asarray(flat + float(rng.uniform(0.2, 1.0)) * (flat - blurred), np.float32)


def _stone(image: UInt8Array, rng: np.random.Generator) -> FloatArray:
    grey = cv2.cvtColor(_flattened(image, 2), cv2.COLOR_RGB2GRAY).astype(np.float32)
    # the shape of a face is in its slow shading; irises and lips are paint, which a statue lacks
    slow = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(2.0, 4.0)))
    relief = cv2.Sobel(slow, cv2.CV_32F, 1, 0) * float(rng.uniform(-1, 1)) + cv2.Sobel(slow, cv2.CV_32F, 0, 1) * float(
        rng.uniform(-1, 1)
    )
    lit = 128 + (slow - slow.mean()) * float(rng.uniform(0.3, 0.8)) + relief
    lit = lit + (grey - slow) * float(rng.uniform(0.1, 0.6)) + float(rng.uniform(-30, 60))
    grain = cv2.GaussianBlur(_noise(grey, rng), (0, 0), float(rng.uniform(0.5, 2)))
    material = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.65, 1.02)], np.float32)
    return np.asarray((lit + grain * float(rng.uniform(0, 8)))[..., None] * material, np.float32)
