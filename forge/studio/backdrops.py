"""What is behind a person: painted cloth, rooms, lamps, outdoors. Always out of focus, never a photograph.

Axes: S side. Linear light, (3, S, S).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.studio.scenes import Scene

Floats = NDArray[np.float32]
PAINT_SIDE = 192
"""Backdrops are painted at this size; they are blurred anyway."""


def paint_backdrop(scene: Scene, side: int) -> Tensor:
    """The backdrop of a scene."""
    rng = np.random.default_rng([scene.seed, 43])
    y, x = np.mgrid[0:PAINT_SIDE, 0:PAINT_SIDE].astype(np.float32) / PAINT_SIDE
    first, second, third = (np.asarray(c, np.float32) for c in scene.backdrop_colours)
    if scene.backdrop == "plain":
        angle = rng.uniform(0, 2 * np.pi)
        t = 0.5 + 0.5 * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)) * rng.uniform(0, 1.5)
        picture = first * t[..., None] + first * 0.8 * (1 - t[..., None])
    elif scene.backdrop == "studio":
        glow = np.exp(-((x - rng.uniform(0.3, 0.7)) ** 2 + (y - rng.uniform(0.3, 0.6)) ** 2) / rng.uniform(0.08, 0.3))
        mottle = 1 + 0.18 * clouds(rng, 5)
        picture = (first * 0.3 + glow[..., None] * first) * mottle[..., None]
    elif scene.backdrop == "bokeh":
        picture = bokeh(rng, x, y, first * 0.3, (first, second, third))
    elif scene.backdrop == "outdoors":
        picture = outdoors(rng, x, y, first, second, third)
    else:
        picture = room(rng, x, y, first, second, third)
    blur = {"plain": 0.5, "studio": 1.5, "bokeh": 0.7}.get(scene.backdrop, rng.uniform(0.8, 5.0))
    picture = cv2.GaussianBlur(np.ascontiguousarray(picture, np.float32), (0, 0), float(blur))
    picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(np.clip(picture, 0.002, 4.0)).permute(2, 0, 1).contiguous().float()


def clouds(rng: np.random.Generator, octaves: int, start: int = 3) -> Floats:
    """Soft random blotches in about [-1, 1], (S, S)."""
    total = np.zeros((PAINT_SIDE, PAINT_SIDE), np.float32)
    for octave in range(octaves):
        cells = rng.normal(size=(start * 2**octave, start * 2**octave)).astype(np.float32)
        total += 0.55**octave * cv2.resize(cells, (PAINT_SIDE, PAINT_SIDE), interpolation=cv2.INTER_CUBIC)
    return total / 2.0


def room(rng: np.random.Generator, x: Floats, y: Floats, wall: Floats, wood: Floats, other: Floats) -> Floats:
    """A wall with a corner, a window or pictures, shelves and things on them."""
    corner = rng.uniform(-0.2, 1.2)
    shade = np.where(x < corner, 1.0, rng.uniform(0.55, 0.95))[..., None]
    picture = np.asarray(wall * shade * (1 + 0.25 * (0.5 - y[..., None])), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        cx, cy, w, h = rng.uniform(-0.1, 1.1), rng.uniform(0.0, 0.7), rng.uniform(0.05, 0.3), rng.uniform(0.08, 0.4)
        inside = (np.abs(x - cx) < w / 2) & (np.abs(y - cy) < h / 2)
        tone = (wood, other, wall * 1.5)[int(rng.integers(3))] * rng.uniform(0.4, 1.4)
        picture[inside] = tone
    if rng.random() < 0.45:
        cx, w = rng.choice([rng.uniform(0, 0.25), rng.uniform(0.75, 1)]), rng.uniform(0.12, 0.35)
        pane = (np.abs(x - cx) < w / 2) & (np.abs(y - 0.32) < 0.3)
        bars = (np.abs(x - cx) < 0.012) | (np.abs(y - 0.32) < 0.01)
        picture[pane & ~bars] = np.array([1.5, 1.6, 1.75]) * rng.uniform(0.5, 1.3)
    if rng.random() < 0.5:
        for shelf in range(int(rng.integers(1, 5))):
            level = 0.12 + 0.2 * shelf
            low, high = sorted(rng.uniform(-0.1, 1.1, 2))
            picture[(np.abs(y - level) < 0.008) & (x > low) & (x < high)] = wood
            at = low
            while at < high:
                width, height = rng.uniform(0.008, 0.03), rng.uniform(0.05, 0.13)
                book = (x > at) & (x < min(at + width, high)) & (y < level) & (y > level - height)
                picture[book] = rng.dirichlet([1.5, 1.5, 1.5]) * rng.uniform(0.1, 0.8)
                at += width * rng.uniform(1.0, 1.6)
    return picture * (1 + 0.08 * clouds(rng, 3)[..., None])


def bokeh(rng: np.random.Generator, x: Floats, y: Floats, base: Floats, tones: tuple[Floats, Floats, Floats]) -> Floats:
    """Lamps far out of focus."""
    picture = np.asarray(base * (1 + 0.5 * clouds(rng, 3)[..., None]), np.float32)
    radius = rng.uniform(0.02, 0.08)
    for _ in range(int(rng.integers(12, 60))):
        cx, cy, r = rng.uniform(0, 1), rng.uniform(0, 1) ** 1.3, radius * rng.uniform(0.6, 1.2)
        far = np.sqrt((x - cx) ** 2 + (y - cy) ** 2) / r
        disc = np.clip((1.08 - far) * 8, 0, 1) * (0.75 + 0.35 * np.clip(far, 0, 1) ** 4)
        tone = tones[int(rng.integers(3))]
        picture += disc[..., None] * (tone / max(float(tone.mean()), 1e-3)) * rng.uniform(0.05, 0.5)
    return picture


def outdoors(rng: np.random.Generator, x: Floats, y: Floats, sky: Floats, green: Floats, ground: Floats) -> Floats:
    """Sky, leaves and ground, or the blocks of a street."""
    horizon = rng.uniform(0.3, 0.75) + 0.04 * clouds(rng, 3)
    picture = np.where((y < horizon)[..., None], sky * (0.75 + 0.5 * y[..., None]), ground).astype(np.float32)
    if rng.random() < 0.6:
        leaves = clouds(rng, 6, 4)
        crown = rng.uniform(0.0, 0.5) + 0.25 * clouds(rng, 4, 2)
        mask = np.clip((y - crown) * 12, 0, 1) * np.clip((horizon + 0.1 - y) * 12, 0, 1)
        tone = green * (1 + 0.8 * leaves[..., None])
        gaps = np.clip((leaves - 0.9) * 4, 0, 1)[..., None]
        tone = np.clip(tone, 0.01, None) * (1 - gaps) + sky * gaps
        picture = picture * (1 - mask[..., None]) + tone * mask[..., None]
    else:
        at = -0.1
        while at < 1.1:
            width, top = rng.uniform(0.08, 0.3), rng.uniform(0.0, 0.4)
            block = (x > at) & (x < at + width) & (y > top) & (y < horizon + 0.05)
            tone = rng.uniform(0.08, 0.5) * (1 + 0.2 * rng.normal(size=3))
            windows = (np.mod(x * 28, 1) > 0.4) & (np.mod(y * 22, 1) > 0.5)
            picture[block] = tone
            picture[block & windows] = tone * rng.uniform(0.4, 1.8)
            at += width * rng.uniform(0.8, 1.3)
    return picture
