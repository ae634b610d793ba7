"""What can happen to single pictures: size, light, colour, noise, blocks, lettering. Each takes a clip and a level.

Named and listed in `media.perturb`; see there first. Encoders are in `media.perturb_codecs`, time in `perturb_time`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from media.clip import Clip, MediaError, UInt8Array

Array = NDArray[np.floating[Any]]
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Of BT.709."""


def in_range(name: str, level: float, low: float, high: float) -> float:
    """The level, refused outside of its range (nan too).

    Raises:
        MediaError: naming the perturbation and the range.
    """
    if not low <= level <= high:
        raise MediaError(f"perturbation {name}: level must be {low:g} to {high:g}, got {level:g}")
    return level


def each_frame(clip: Clip, change: Callable[[UInt8Array], UInt8Array]) -> Clip:
    """The clip with every frame changed, one at a time."""
    first = change(clip.frames[0])
    frames = np.empty((clip.length, *first.shape), np.uint8)
    frames[0] = first
    for index in range(1, clip.length):
        frames[index] = change(clip.frames[index])
    return Clip(frames, clip.fps, clip.sound)


def to_bytes(values: Array) -> UInt8Array:
    """Rounded and clipped to 0..255."""
    rounded: UInt8Array = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def scaled(image: UInt8Array, width: int, height: int) -> UInt8Array:
    """Averaged when it shrinks, cubic when it grows."""
    smaller = width * height < image.shape[0] * image.shape[1]
    out = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return np.asarray(out, np.uint8)


def of_256(clip: Clip, pixels: float) -> float:
    """Pixels of a 256-pixel picture in pixels of this one, so that a level means the same loss at 256 and at 1080."""
    return pixels * min(clip.height, clip.width) / 256


# ------------------------------------------------------------------------------------------ detail


def jpeg(clip: Clip, quality: float) -> Clip:
    """Every frame really becomes a JPEG and comes back."""
    level = int(in_range("jpeg", quality, 1, 100))

    def change(image: UInt8Array) -> UInt8Array:
        done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, level])
        if not done:
            raise MediaError(f"JPEG could not hold a frame of {image.shape}; crop or scale the clip first")
        return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])

    return each_frame(clip, change)


def resize(clip: Clip, factor: float) -> Clip:
    """Down and up again."""
    in_range("resize", factor, 0.02, 1)
    width, height = max(2, round(clip.width * factor)), max(2, round(clip.height * factor))
    return each_frame(clip, lambda image: scaled(scaled(image, width, height), clip.width, clip.height))


def pixelate(clip: Clip, side: float) -> Clip:
    """Squares of one colour each."""
    in_range("pixelate", side, 1, 64)
    pixels = max(1.0, of_256(clip, side))
    width, height = max(1, round(clip.width / pixels)), max(1, round(clip.height / pixels))

    def change(image: UInt8Array) -> UInt8Array:
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        large = cv2.resize(small, (clip.width, clip.height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(large, np.uint8)

    return each_frame(clip, change)


def blur(clip: Clip, sigma: float) -> Clip:
    """A Gaussian, by picture size."""
    pixels = of_256(clip, in_range("blur", sigma, 0, 50))
    if pixels < 0.05:
        return clip
    return each_frame(clip, lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), pixels), np.uint8))


def sharpen(clip: Clip, amount: float) -> Clip:
    """An unsharp mask."""
    in_range("sharpen", amount, 0, 10)
    pixels = max(0.5, of_256(clip, 1.0))

    def change(image: UInt8Array) -> UInt8Array:
        soft = cv2.GaussianBlur(image, (0, 0), pixels)
        return np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0), np.uint8)

    return each_frame(clip, change)


def noise(clip: Clip, deviation: float, seed: int) -> Clip:
    """New in every frame."""
    in_range("noise", deviation, 0, 128)
    random = np.random.default_rng(seed)

    def change(image: UInt8Array) -> UInt8Array:
        added = random.standard_normal(image.shape, dtype=np.float32) * np.float32(deviation)
        return to_bytes(image + added)

    return each_frame(clip, change)


def blocks(clip: Clip, count: float, seed: int) -> Clip:
    """Grey squares at other places in every frame.

    As many for every picture of one shape and of a side that grows with the picture (8 pixels of 256), so that the
    share that is covered does not depend on the size. Rounding the number down with the size, as a known suite does,
    draws none at all under 256 pixels.
    """
    in_range("blocks", count, 0, 100_000)
    shorter, longer = sorted((clip.height, clip.width))
    side = max(1, min(shorter, round(of_256(clip, 8))))
    # whole pixels are not exactly the side that is meant: the number makes up for it
    wanted = count * longer / shorter * (of_256(clip, 8) / side) ** 2
    number = max(1, round(wanted)) if count > 0 else 0
    random = np.random.default_rng(seed)

    def change(image: UInt8Array) -> UInt8Array:
        out = image.copy()
        tops = random.integers(0, clip.height - side + 1, number)
        lefts = random.integers(0, clip.width - side + 1, number)
        for top, left in zip(tops.tolist(), lefts.tolist(), strict=True):
            out[top : top + side, left : left + side] = 128
        return out

    return each_frame(clip, change)


# ------------------------------------------------------------------------------------------ light and colour


def _by_table(clip: Clip, curve: Array) -> Clip:
    """Every value through a curve of 256 entries, or through one (256, 3) curve for each channel."""
    table = to_bytes(curve)
    if table.ndim == 1:
        return each_frame(clip, lambda image: np.asarray(np.take(table, image), np.uint8))
    channel = np.arange(3)
    return each_frame(clip, lambda image: np.asarray(table[image, channel], np.uint8))


def brightness(clip: Clip, offset: float) -> Clip:
    """The same added to all channels."""
    return _by_table(clip, np.arange(256.0) + in_range("brightness", offset, -255, 255))


def contrast(clip: Clip, factor: float) -> Clip:
    """About mid grey."""
    return _by_table(clip, (np.arange(256) - 127.5) * in_range("contrast", factor, 0, 10) + 127.5)


def gamma(clip: Clip, exponent: float) -> Clip:
    """On values from 0 to 1."""
    return _by_table(clip, (np.arange(256) / 255.0) ** in_range("gamma", exponent, 0.05, 20) * 255.0)


def saturation(clip: Clip, factor: float) -> Clip:
    """About the grey of each pixel."""
    in_range("saturation", factor, 0, 10)

    def change(image: UInt8Array) -> UInt8Array:
        values = image.astype(np.float32)
        grey = (values @ LUMA)[..., None]
        return to_bytes(grey + (values - grey) * np.float32(factor))

    return each_frame(clip, change)


def _gains(clip: Clip, gains: Array) -> Clip:
    """Each channel times a factor in linear light, grey as bright as before, as a wrong white balance does it."""
    steady = gains / float(gains @ LUMA)
    linear = (np.arange(256.0) / 255.0) ** 2.2
    return _by_table(clip, np.clip(linear[:, None] * steady, 0, 1) ** (1 / 2.2) * 255.0)


def warmth(clip: Clip, strength: float) -> Clip:
    """Blue to orange."""
    in_range("warmth", strength, -0.9, 0.9)
    return _gains(clip, np.array([1 + strength, 1.0, 1 - strength]))


def tint(clip: Clip, strength: float) -> Clip:
    """Green to magenta."""
    in_range("tint", strength, -0.9, 0.9)
    return _gains(clip, np.array([1 + strength / 2, 1 - strength / 2, 1 + strength / 2]))


CHROMA: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"4:2:2": (2, 1), "4:2:0": (2, 2), "4:1:1": (4, 1), "4:1:0": (4, 4)}
)
"""Pixels of luma across and down for one of chroma."""


def chroma(clip: Clip, layout: str) -> Clip:
    """Colour of fewer pixels than light has."""
    if layout not in CHROMA:
        raise MediaError(f"perturbation chroma: level must be one of {', '.join(CHROMA)}, got {layout!r}")
    across, down = CHROMA[layout]
    size = (max(1, -(-clip.width // across)), max(1, -(-clip.height // down)))

    def change(image: UInt8Array) -> UInt8Array:
        planes = np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb))
        small = cv2.resize(planes[..., 1:], size, interpolation=cv2.INTER_AREA)
        planes[..., 1:] = cv2.resize(small, (clip.width, clip.height), interpolation=cv2.INTER_LINEAR)
        return to_bytes(np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), np.float32) * 255)

    return each_frame(clip, change)


# ------------------------------------------------------------------------------------------ frame and lettering


def crop(clip: Clip, share: float) -> Clip:
    """The middle; sides stay even, so that the result can be written as yuv420p."""
    in_range("crop", share, 0.05, 1)
    width, height = (max(2, int(side * share) // 2 * 2) for side in (clip.width, clip.height))
    left, top = (clip.width - width) // 2, (clip.height - height) // 2
    return Clip(clip.frames[:, top : top + height, left : left + width].copy(), clip.fps, clip.sound)


def letterbox(clip: Clip, ratio: float) -> Clip:
    """Black bars until the picture has this ratio of height to width; nothing of the clip is lost."""
    in_range("letterbox", ratio, 0.2, 5)
    width, height = clip.width, clip.height
    if height < ratio * width:
        height = max(height, 2 * round(ratio * width / 2))
    else:
        width = max(width, 2 * round(height / ratio / 2))
    frames = np.zeros((clip.length, height, width, 3), np.uint8)
    top, left = (height - clip.height) // 2, (width - clip.width) // 2
    frames[:, top : top + clip.height, left : left + clip.width] = clip.frames
    return Clip(frames, clip.fps, clip.sound)


_LINES = ("AND THEN SHE TOLD US", "that nobody had asked", "WATCH UNTIL THE END", "part two is online", "breaking news")
_SECONDS_A_LINE = 1.2


def text(clip: Clip, share: float) -> Clip:
    """A caption over the lower part and a name in the upper corner; the caption changes while the clip runs."""
    in_range("text", share, 0.01, 0.5)
    pixels = max(5.0, share * clip.height)
    face, line_width = cv2.FONT_HERSHEY_DUPLEX, max(1, round(pixels / 14))

    def write(image: UInt8Array, words: str, size: float, bottom: int, left: int | None) -> None:
        (across, high), _ = cv2.getTextSize(words, face, 1.0, 1)
        # the outline goes over what is measured
        scale = min(size / high, 0.86 * clip.width / across)
        x = round((clip.width - across * scale) / 2) if left is None else left
        for colour, thick in (((0, 0, 0), 3 * line_width), ((255, 255, 255), line_width)):
            cv2.putText(image, words, (x, bottom), face, scale, colour, thick, cv2.LINE_AA)

    shown = max(1, round(_SECONDS_A_LINE * clip.fps))
    frames = clip.frames.copy()
    for number, image in enumerate(frames):
        write(image, _LINES[number // shown % len(_LINES)], pixels, round(clip.height * 0.94), None)
        write(image, "@daily", pixels * 0.6, round(pixels * 0.6 + clip.height * 0.03), round(clip.width * 0.03))
    return Clip(frames, clip.fps, clip.sound)
