"""What encoders do to a clip: codecs, generations, services, sound. Each takes a clip and a level.

Named and listed in `media.perturb`; see there first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import numpy as np

from media.clip import Clip, MediaError
from media.perturb_pictures import each_frame, in_range, scaled
from media.perturb_time import fps as at_rate
from media.video import Encoding, recompressed


@dataclass(frozen=True)
class Platform:
    """Typical settings of a kind of service, not of one company; they change with the season."""

    max_lines: int
    """Of the shorter side, the p of 360p."""
    crf: int
    preset: str
    sound_bit_rate: int
    max_fps: Fraction = Fraction(30)


PLATFORMS: Mapping[str, Platform] = MappingProxyType(
    {
        "feed": Platform(1080, 23, "medium", 128_000),
        "stories": Platform(720, 26, "fast", 96_000),
        "messenger": Platform(360, 30, "fast", 64_000),
        "video_call": Platform(240, 34, "veryfast", 32_000, Fraction(20)),
    }
)


def h264(clip: Clip, crf: float) -> Clip:
    """One generation."""
    level = int(in_range("h264", crf, 0, 51))
    return recompressed(clip, Encoding("libx264", {"crf": str(level), "preset": "medium"}))


def hevc(clip: Clip, crf: float) -> Clip:
    """One generation."""
    level = int(in_range("hevc", crf, 0, 51))
    # one pool thread and no frame threads: the bits must not depend on the machine
    quiet = "log-level=none:pools=1:frame-threads=1"
    return recompressed(clip, Encoding("libx265", {"crf": str(level), "preset": "fast", "x265-params": quiet}))


def vp9(clip: Clip, crf: float) -> Clip:
    """One generation."""
    level = int(in_range("vp9", crf, 0, 63))
    options = {"crf": str(level), "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "0"}
    return recompressed(clip, Encoding("libvpx-vp9", options, container="webm", sound_codec="libopus"))


def av1(clip: Clip, crf: float) -> Clip:
    """One generation."""
    level = int(in_range("av1", crf, 0, 63))
    encoding = Encoding("libsvtav1", {"crf": str(level), "preset": "9", "svtav1-params": "lp=1"})
    with _quiet_svt():
        return recompressed(clip, encoding)


@contextmanager
def _quiet_svt() -> Iterator[None]:
    """SVT writes its greeting to stderr past libav, and listens to nothing but this variable."""
    before = os.environ.get("SVT_LOG")
    os.environ["SVT_LOG"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SVT_LOG"]
        else:
            os.environ["SVT_LOG"] = before


def generations(clip: Clip, count: float) -> Clip:
    """H.264 again and again."""
    for _ in range(int(in_range("generations", count, 1, 20))):
        clip = h264(clip, 26)
    return clip


def sound_aac(clip: Clip, kilobits: float) -> Clip:
    """The sound alone."""
    rate = int(in_range("sound_aac", kilobits, 8, 512)) * 1000
    if clip.sound is None:
        return clip
    # the smallest picture carries the sound through the encoder
    carrier = Clip(np.zeros((clip.length, 16, 16, 3), np.uint8), clip.fps, clip.sound)
    sound = recompressed(carrier, Encoding(options={"preset": "ultrafast"}, sound_bit_rate=rate)).sound
    return Clip(clip.frames, clip.fps, sound)


def through_platform(clip: Clip, name: str) -> Clip:
    """Resized and re-encoded as a service would."""
    if name not in PLATFORMS:
        raise MediaError(f"there is no platform {name!r}; choose one of {', '.join(PLATFORMS)}")
    platform = PLATFORMS[name]
    if clip.fps > platform.max_fps:
        clip = at_rate(clip, float(platform.max_fps))
    shorter = min(clip.height, clip.width)
    if shorter > platform.max_lines:
        scale = platform.max_lines / shorter
        # services write even sides
        width, height = (max(2, 2 * round(side * scale / 2)) for side in (clip.width, clip.height))
        clip = each_frame(clip, lambda image: scaled(image, width, height))
    options = {"crf": str(platform.crf), "preset": platform.preset}
    return recompressed(clip, Encoding(options=options, sound_bit_rate=platform.sound_bit_rate))
