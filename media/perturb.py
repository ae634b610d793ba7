"""What happens to a clip between its maker and its judge: one named set for training, datasets and benchmarks.

    worse = perturb(clip, "h264", 35)            # one more H.264 generation at CRF 35
    worse = perturb(clip, "noise", 8, seed=1)    # same seed, same noise

`PERTURBATIONS` names them all with their levels, from mild to hard. Each keeps the length, rate and size of the
clip unless its words say otherwise, and returns a new clip. Where a codec is named, the clip really passes
through that encoder and back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import cv2
import numpy as np

from media.clip import Clip, MediaError, UInt8Array
from media.timing import nearest_standard_rate, slots
from media.video import Encoding, has_encoder, recompressed

Level = int | float | str


@dataclass(frozen=True)
class Perturbation:
    """One kind of damage."""

    levels: tuple[Level, ...]
    """The levels a benchmark walks through, mild to hard; other levels of the same kind work too."""
    what: str
    """What the level means, for tables."""
    encoder: str | None = None
    """The libav encoder it needs, when it needs one."""

    @property
    def available(self) -> bool:
        """Whether this build of libav has the encoder."""
        return self.encoder is None or has_encoder(self.encoder)


PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {
        "h264": Perturbation((18, 23, 28, 35, 40), "H.264 again, constant rate factor", "libx264"),
        "hevc": Perturbation((23, 28, 35, 40), "H.265, constant rate factor", "libx265"),
        "vp9": Perturbation((31, 40, 50, 60), "VP9, constant quality", "libvpx-vp9"),
        "av1": Perturbation((30, 40, 50, 60), "AV1 by SVT, constant rate factor", "libsvtav1"),
        "generations": Perturbation((2, 3, 5), "H.264 at CRF 26 this many times, each from the one before", "libx264"),
        "jpeg": Perturbation((90, 70, 50, 30), "every frame as JPEG of this quality"),
        "resize": Perturbation((0.75, 0.5, 0.35, 0.25), "scaled down by this factor and up again"),
        "blur": Perturbation((0.5, 1.0, 2.0, 3.0), "Gaussian blur, sigma in pixels of a 256-pixel picture"),
        "sharpen": Perturbation((0.5, 1.0, 2.0), "unsharp mask of this amount"),
        "noise": Perturbation((2, 5, 10, 20), "Gaussian noise, new in every frame, standard deviation of 255"),
        "brightness": Perturbation((-40, -20, 20, 40), "added to all channels"),
        "contrast": Perturbation((0.6, 0.8, 1.25, 1.6), "factor about mid grey"),
        "saturation": Perturbation((0.0, 0.5, 1.5), "factor about the grey of each pixel"),
        "gamma": Perturbation((0.6, 0.8, 1.25, 1.6), "exponent on values from 0 to 1"),
        "crop": Perturbation((0.95, 0.9, 0.8), "the middle part of this share of each side; the clip gets smaller"),
        "fps": Perturbation((20, 15, 12, 10), "frames a second, by dropping or repeating; changes rate and length"),
        "platform": Perturbation(
            ("feed", "stories", "messenger", "video_call"), "resized and re-encoded as a service would", "libx264"
        ),
        "sound_aac": Perturbation((64, 32, 16), "sound as AAC of this many kbit/s; pictures are left alone"),
        "silence": Perturbation(("all",), "sound removed"),
    }
)


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


def perturb(clip: Clip, name: str, level: Level, *, seed: int = 0) -> Clip:
    """The clip after one perturbation.

    Args:
        clip: left as it is.
        name: a key of PERTURBATIONS.
        level: usually one of its levels; any value of that kind is taken.
        seed: of what is random (noise); the same seed gives the same clip.

    Raises:
        MediaError: an unknown name, a level out of range, or an encoder this build lacks.
    """
    if name not in PERTURBATIONS:
        raise MediaError(f"there is no perturbation {name!r}; choose one of {', '.join(PERTURBATIONS)}")
    if not PERTURBATIONS[name].available:
        raise MediaError(f"perturbation {name}: this build of libav has no {PERTURBATIONS[name].encoder}; use another")
    if name == "platform":
        return _through_platform(clip, str(level))
    if name == "silence":
        return Clip(clip.frames, clip.fps)
    try:
        number = float(level)
    except ValueError:
        raise MediaError(f"perturbation {name}: level must be a number, got {level!r}") from None
    if name == "noise":
        return _noise(clip, number, seed)
    return _BY_NUMBER[name](clip, number)


def available_perturbations() -> tuple[str, ...]:
    """Names whose encoder, if any, is in this build of libav."""
    return tuple(name for name, kind in PERTURBATIONS.items() if kind.available)


def _in_range(name: str, level: float, low: float, high: float) -> float:
    if not low <= level <= high:
        raise MediaError(f"perturbation {name}: level must be {low:g} to {high:g}, got {level:g}")
    return level


def _each(clip: Clip, change: Callable[[UInt8Array], UInt8Array]) -> Clip:
    """The clip with every frame changed, one at a time."""
    first = change(clip.frames[0])
    frames = np.empty((clip.length, *first.shape), np.uint8)
    frames[0] = first
    for index in range(1, clip.length):
        frames[index] = change(clip.frames[index])
    return Clip(frames, clip.fps, clip.sound)


# ------------------------------------------------------------------------------------------ codecs


def _h264(clip: Clip, crf: float) -> Clip:
    level = int(_in_range("h264", crf, 0, 51))
    return recompressed(clip, Encoding("libx264", {"crf": str(level), "preset": "medium"}))


def _hevc(clip: Clip, crf: float) -> Clip:
    level = int(_in_range("hevc", crf, 0, 51))
    # one pool thread and no frame threads: the bits must not depend on the machine
    quiet = "log-level=none:pools=1:frame-threads=1"
    return recompressed(clip, Encoding("libx265", {"crf": str(level), "preset": "fast", "x265-params": quiet}))


def _vp9(clip: Clip, crf: float) -> Clip:
    level = int(_in_range("vp9", crf, 0, 63))
    options = {"crf": str(level), "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "0"}
    return recompressed(clip, Encoding("libvpx-vp9", options, container="webm", sound_codec="libopus"))


def _av1(clip: Clip, crf: float) -> Clip:
    level = int(_in_range("av1", crf, 0, 63))
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


def _generations(clip: Clip, count: float) -> Clip:
    for _ in range(int(_in_range("generations", count, 1, 20))):
        clip = _h264(clip, 26)
    return clip


def _sound_aac(clip: Clip, kilobits: float) -> Clip:
    rate = int(_in_range("sound_aac", kilobits, 8, 512)) * 1000
    if clip.sound is None:
        return clip
    # the smallest picture carries the sound through the encoder
    carrier = Clip(np.zeros((clip.length, 16, 16, 3), np.uint8), clip.fps, clip.sound)
    sound = recompressed(carrier, Encoding(options={"preset": "ultrafast"}, sound_bit_rate=rate)).sound
    return Clip(clip.frames, clip.fps, sound)


def _through_platform(clip: Clip, name: str) -> Clip:
    if name not in PLATFORMS:
        raise MediaError(f"there is no platform {name!r}; choose one of {', '.join(PLATFORMS)}")
    platform = PLATFORMS[name]
    if clip.fps > platform.max_fps:
        clip = _fps(clip, float(platform.max_fps))
    shorter = min(clip.height, clip.width)
    if shorter > platform.max_lines:
        scale = platform.max_lines / shorter
        # services write even sides
        width, height = (max(2, 2 * round(side * scale / 2)) for side in (clip.width, clip.height))
        clip = _each(clip, lambda image: _scaled(image, width, height))
    options = {"crf": str(platform.crf), "preset": platform.preset}
    return recompressed(clip, Encoding(options=options, sound_bit_rate=platform.sound_bit_rate))


# ------------------------------------------------------------------------------------------ pictures


def _scaled(image: UInt8Array, width: int, height: int) -> UInt8Array:
    smaller = width * height < image.shape[0] * image.shape[1]
    out = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return np.asarray(out, np.uint8)


def _jpeg(clip: Clip, quality: float) -> Clip:
    level = int(_in_range("jpeg", quality, 1, 100))

    def change(image: UInt8Array) -> UInt8Array:
        done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, level])
        if not done:
            raise MediaError(f"JPEG could not hold a frame of {image.shape}; crop or scale the clip first")
        return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])

    return _each(clip, change)


def _resize(clip: Clip, factor: float) -> Clip:
    _in_range("resize", factor, 0.02, 1)
    width, height = max(2, round(clip.width * factor)), max(2, round(clip.height * factor))
    return _each(clip, lambda image: _scaled(_scaled(image, width, height), clip.width, clip.height))


def _blur(clip: Clip, sigma: float) -> Clip:
    _in_range("blur", sigma, 0, 50)
    # by picture size, so that a level means the same loss at 256 and at 1080 pixels
    pixels = sigma * min(clip.height, clip.width) / 256
    if pixels < 0.05:
        return clip
    return _each(clip, lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), pixels), np.uint8))


def _sharpen(clip: Clip, amount: float) -> Clip:
    _in_range("sharpen", amount, 0, 10)
    pixels = max(0.5, min(clip.height, clip.width) / 256)

    def change(image: UInt8Array) -> UInt8Array:
        soft = cv2.GaussianBlur(image, (0, 0), pixels)
        return np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0), np.uint8)

    return _each(clip, change)


def _noise(clip: Clip, deviation: float, seed: int) -> Clip:
    _in_range("noise", deviation, 0, 128)
    random = np.random.default_rng(seed)

    def change(image: UInt8Array) -> UInt8Array:
        noise = random.standard_normal(image.shape, dtype=np.float32) * np.float32(deviation)
        return _bytes(image + noise)

    return _each(clip, change)


def _bytes(values: np.ndarray) -> UInt8Array:
    """Rounded and clipped to 0..255."""
    rounded: UInt8Array = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _by_table(clip: Clip, curve: np.ndarray) -> Clip:
    """Every value through a curve of 256 entries."""
    table = _bytes(curve)
    return _each(clip, lambda image: np.asarray(np.take(table, image), np.uint8))


def _brightness(clip: Clip, offset: float) -> Clip:
    return _by_table(clip, np.arange(256) + _in_range("brightness", offset, -255, 255))


def _contrast(clip: Clip, factor: float) -> Clip:
    return _by_table(clip, (np.arange(256) - 127.5) * _in_range("contrast", factor, 0, 10) + 127.5)


def _gamma(clip: Clip, exponent: float) -> Clip:
    return _by_table(clip, (np.arange(256) / 255.0) ** _in_range("gamma", exponent, 0.05, 20) * 255.0)


def _saturation(clip: Clip, factor: float) -> Clip:
    _in_range("saturation", factor, 0, 10)
    weights = np.array([0.2126, 0.7152, 0.0722], np.float32)  # luma of BT.709

    def change(image: UInt8Array) -> UInt8Array:
        values = image.astype(np.float32)
        grey = (values @ weights)[..., None]
        return _bytes(grey + (values - grey) * np.float32(factor))

    return _each(clip, change)


def _crop(clip: Clip, share: float) -> Clip:
    _in_range("crop", share, 0.05, 1)
    # even sides, so that the result can be written as yuv420p
    width, height = (max(2, int(side * share) // 2 * 2) for side in (clip.width, clip.height))
    left, top = (clip.width - width) // 2, (clip.height - height) // 2
    return Clip(clip.frames[:, top : top + height, left : left + width].copy(), clip.fps, clip.sound)


def _fps(clip: Clip, rate: float) -> Clip:
    fps = nearest_standard_rate(Fraction(_in_range("fps", rate, 1, 240)))
    timed = ((index / clip.fps, index) for index in range(clip.length))
    chosen = [index for _, index in slots(timed, fps, lambda: clip.duration_seconds)]
    return Clip(clip.frames[chosen], fps, clip.sound)


_BY_NUMBER: Mapping[str, Callable[[Clip, float], Clip]] = MappingProxyType(
    {
        "h264": _h264,
        "hevc": _hevc,
        "vp9": _vp9,
        "av1": _av1,
        "generations": _generations,
        "jpeg": _jpeg,
        "resize": _resize,
        "blur": _blur,
        "sharpen": _sharpen,
        "brightness": _brightness,
        "contrast": _contrast,
        "saturation": _saturation,
        "gamma": _gamma,
        "crop": _crop,
        "fps": _fps,
        "sound_aac": _sound_aac,
    }
)
