"""Clips that look a little like talking heads, made of blobs: a still scene, and a part of it that moves."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np

from media.clip import Clip, UInt8Array, Waveform


def scene(seed: int, side: int = 256) -> np.ndarray:
    """(side, side, 3) float of soft blobs with some texture, 0 to 255."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 215, (7, 7, 3)).astype(np.float32)
    soft = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    texture = cv2.GaussianBlur(random.normal(0, 12, (side, side, 1)).astype(np.float32), (0, 0), 1.5)
    return np.clip(soft + texture[..., None] * 3, 0, 255)


def talking_scene(look: int, motion: int, *, side: int = 192, frames: int = 50, sound: int | None = None) -> Clip:
    """A scene in which an oval opens, closes and drifts; scene, motion and sound by their own seeds."""
    background = scene(look, side)
    random = np.random.default_rng(1000 + motion)
    path = np.cumsum(random.normal(0, 1.2, (frames, 2)), 0)
    opening = 0.5 + 0.5 * np.sin(np.cumsum(random.uniform(0.2, 1.2, frames)))
    out = np.empty((frames, side, side, 3), np.uint8)
    for index in range(frames):
        image = background.copy()
        centre = (int(side * 0.5 + path[index, 0]), int(side * 0.6 + path[index, 1]))
        cv2.ellipse(image, centre, (side // 5, side // 4), 0, 0, 360, (200.0, 160.0, 140.0), -1)
        mouth = (centre[0], centre[1] + side // 10)
        cv2.ellipse(image, mouth, (side // 12, 2 + int(opening[index] * side / 14)), 0, 0, 360, (60.0, 20.0, 20.0), -1)
        out[index] = np.clip(cv2.GaussianBlur(image, (0, 0), 1.0), 0, 255)
    return Clip(out, Fraction(25), None if sound is None else voice(sound, frames / 25))


def voice(seed: int, seconds: float) -> Waveform:
    """Tones that come and go, 16 kHz."""
    random = np.random.default_rng(2000 + seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    total = np.zeros_like(time)
    for _ in range(12):
        pitch, swing, at = random.uniform(250, 2800), random.uniform(2, 7), random.uniform(0, 6)
        total += np.sin(2 * np.pi * pitch * time + 3 * np.sin(swing * time)) * np.clip(np.sin(swing * time + at), 0, 1)
    return Waveform((0.08 * total[:, None]).astype(np.float32), 16_000)


def psnr(first: UInt8Array, second: UInt8Array) -> float:
    """Decibels."""
    error = float(np.mean((first.astype(np.float32) - second.astype(np.float32)) ** 2))
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))
