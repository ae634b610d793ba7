"""Read pictures: the facts of a video file, its frames in one pass, a whole clip, a still."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from media.clip import Clip, MediaError, UInt8Array
from media.libav import (
    MAX_TIMESTAMP_GAP_SECONDS,
    TRANSFERS_OF_HDR,
    Painter,
    check_size,
    colour_matrix,
    decoded,
    on_white,
    opened,
    packets_from_start,
    picture_stream,
    rate_and_variation,
    readable,
    reason_of,
    refusal,
    turn_degrees,
)
from media.sound import MAX_CLIP_BYTES, sound_of
from media.timing import slots

_PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")


@dataclass(frozen=True)
class VideoFacts:
    """What a video file is, read from its header and its first picture."""

    path: Path
    width: int
    """Pixels across, upright and with square pixels."""
    height: int
    rotation_degrees: int
    """Clockwise turn that was needed to make the stored picture upright: 0, 90, 180 or 270."""
    fps: Fraction
    """Exact rate; of a variable-rate file what most of its steps tell."""
    length: int | None
    """Number of pictures when the header tells, else None."""
    duration_seconds: float
    variable_frame_rate: bool
    codec: str
    pixel_format: str
    bit_depth: int
    high_dynamic_range: bool
    """PQ or HLG transfer: pictures are read as 8 bits without tone mapping, so they look flat."""
    color_matrix: str
    has_sound: bool
    sample_rate_hz: int | None
    channels: int | None
    sound_codec: str | None
    container: str
    size_bytes: int


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One picture of a stream."""

    index: int
    """0 for the first picture that was yielded, then one more each."""
    pts_seconds: float
    """When it is shown; 0.0 for the first picture of the file."""
    image: UInt8Array
    """(H, W, 3) uint8 RGB, upright."""


def probe(path: Path) -> VideoFacts:
    """Facts of a video file; decodes its first picture, so a file that probes can be seen.

    Raises:
        MediaError: not a video, damaged, cut short, or too large.
    """
    path = Path(path)
    with opened(path) as container:
        stream = picture_stream(container, path)
        fps, varies = rate_and_variation(container, stream)
        first = next(decoded(container, stream, path))
        painter = Painter(stream, path, None)
        width, height = painter.size(first)
        if painter.orientation[1]:
            width, height = height, width
        sound = container.streams.audio[0] if container.streams.audio else None
        # a codec that this build does not know has no context
        heard = sound.codec_context if sound is not None else None
        length = stream.frames or None
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration:
            seconds = container.duration / 1_000_000
        else:
            length = sum(1 for _ in packets_from_start(container, stream))
            seconds = float(length / fps)
        return VideoFacts(
            path=path,
            width=width,
            height=height,
            rotation_degrees=turn_degrees(painter.orientation),
            fps=fps,
            length=length,
            duration_seconds=seconds,
            variable_frame_rate=varies,
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
            bit_depth=max(c.bits for c in first.format.components),
            high_dynamic_range=int(first.color_trc) in TRANSFERS_OF_HDR,
            color_matrix="rgb" if first.format.is_rgb else colour_matrix(first).name.lower(),
            has_sound=sound is not None,
            sample_rate_hz=heard.sample_rate if heard is not None else None,
            channels=heard.channels if heard is not None else None,
            sound_codec=heard.name if heard is not None else None,
            container=container.format.name,
            size_bytes=path.stat().st_size,
        )


def _timed(container: Any, stream: Any, path: Path) -> Iterator[tuple[Fraction, Fraction, Any]]:
    """(seconds since the first picture, seconds shown, libav frame), never going back in time."""
    usual = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))
    zero: Fraction | None = None
    now = Fraction(0)
    for frame in decoded(container, stream, path):
        step = frame.duration * frame.time_base if frame.duration and frame.time_base else usual
        if frame.pts is None or frame.time_base is None:
            seconds = Fraction(0) if zero is None else now + usual
            zero = Fraction(0) if zero is None else zero
        else:
            zero = frame.pts * frame.time_base if zero is None else zero
            seconds = max(frame.pts * frame.time_base - zero, now)
        if seconds - now > MAX_TIMESTAMP_GAP_SECONDS:
            gap = f"time jumps from {float(now):.1f} s to {float(seconds):.1f} s"
            raise refusal(path, gap, "re-mux the file so that its timestamps are continuous")
        now = seconds
        yield seconds, step, frame


def stream_frames(
    path: Path,
    *,
    fps: Fraction | None = None,
    max_side: int | None = None,
    only: Callable[[int], bool] | None = None,
) -> Iterator[Frame]:
    """Pictures of a video in one sequential pass; a handful of frames in memory, however long the file.

    Args:
        path: the video.
        fps: resample to this constant rate by presentation time: each picture goes to its nearest tick, empty
            ticks repeat the picture before. None yields every stored picture at its own time.
        max_side: scale down, in the decoder's conversion, so that the longer side is at most this.
        only: whether a frame of this index is wanted; the others are decoded but neither converted nor given. None
            wants all.

    Yields:
        Frame with upright RGB pictures of one size.

    Raises:
        MediaError: when the file cannot be read (at the first `next`) or turns out damaged (later).
        ValueError: for an fps or max_side that is not positive.
    """
    if fps is not None and (not isinstance(fps, Fraction) or fps <= 0):
        raise ValueError(f"fps must be a positive Fraction, got {fps!r}")
    if max_side is not None and max_side < 2:
        raise ValueError(f"max_side must be at least 2, got {max_side}")
    return _stream(Path(path), fps, max_side, only or (lambda index: True))


def _stream(path: Path, fps: Fraction | None, max_side: int | None, only: Callable[[int], bool]) -> Iterator[Frame]:
    with opened(path) as container:
        stream = picture_stream(container, path)
        painter = Painter(stream, path, max_side)
        if fps is None:
            for index, (seconds, _, frame) in enumerate(_timed(container, stream, path)):
                if only(index):
                    yield Frame(index, float(seconds), painter.paint(frame))
            return
        end = Fraction(0)

        def timed() -> Iterator[tuple[Fraction, Any]]:
            nonlocal end
            for seconds, step, frame in _timed(container, stream, path):
                end = seconds + step
                yield seconds, frame

        shown, image = None, np.zeros((0, 0, 3), np.uint8)
        for tick, frame in slots(timed(), fps, lambda: end):
            if not only(tick):
                continue
            if frame is not shown:  # a repeated picture is converted once
                shown, image = frame, painter.paint(frame)
            yield Frame(tick, float(tick / fps), image)


def read_clip(
    path: Path,
    *,
    max_frames: int | None = None,
    fps: Fraction | None = None,
    max_side: int | None = None,
    max_bytes: int = MAX_CLIP_BYTES,
    with_sound: bool = True,
) -> Clip:
    """A whole video in memory.

    Args:
        path: the video.
        max_frames: refuse a longer one.
        fps: constant rate to resample to; None keeps every picture of a constant-rate file and resamples a
            variable-rate one to its usual rate.
        max_side: scale down so that the longer side is at most this.
        max_bytes: refuse pictures that take more memory.
        with_sound: False leaves the sound out.

    Raises:
        MediaError: when it cannot be read or would not fit.
    """
    facts = probe(path)
    rate = fps if fps is not None else facts.fps
    resample = fps if fps is not None else (facts.fps if facts.variable_frame_rate else None)
    expected = facts.length if facts.length and resample is None else round(facts.duration_seconds * rate)
    width, height = facts.width, facts.height
    if max_side is not None and max(width, height) > max_side:
        width, height = (max(2, round(s * max_side / max(width, height))) for s in (width, height))
    room = min(max_frames or 2**62, max(1, max_bytes // (width * height * 3)))

    def too_long(frames: str) -> MediaError:
        return refusal(
            path,
            f"has {frames} frames of {width} x {height} and at most {room} may be held in memory",
            "read it with stream_frames, cut it, or lower max_side or fps",
        )

    # a header that rounds up by a frame is not a reason to refuse; counting below is exact
    if expected > room + 2:
        raise too_long(str(expected))
    kept: list[UInt8Array] = []
    for frame in stream_frames(path, fps=resample, max_side=max_side):
        if len(kept) >= room:
            raise too_long(f"more than {room}")
        kept.append(frame.image)
    # filled one by one and released, so that the peak stays near one copy
    frames = np.empty((len(kept), *kept[0].shape), np.uint8)
    for index in range(len(kept)):
        frames[index] = kept[index]
        kept[index] = kept[0][:0]
    sound = sound_of(path, max_bytes) if with_sound and facts.has_sound else None
    return Clip(frames, rate, sound)


def read_image(path: Path) -> UInt8Array:
    """A picture as (H, W, 3) uint8 RGB: EXIF orientation applied, alpha composited on white, first of several.

    Raises:
        MediaError: not a picture, damaged, cut short, or too large.
    """
    path = readable(Path(path))
    try:
        Image.init()
        known = [name for name in _PICTURE_FORMATS if name in Image.OPEN]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow complains on stderr about tags that nobody reads
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=known) as picture:
                check_size(path, picture.width, picture.height)
                return _as_rgb(ImageOps.exif_transpose(picture))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise refusal(path, "claims more pixels than can be held in memory", "scale it down first") from error
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError, MemoryError) as error:
        # Pillow's decoders let all of these escape from damaged files
        named = reason_of(error) if str(path) not in str(error) else "unknown format"
        raise refusal(
            path, f"is not a picture that can be read ({named})", "give a whole png, jpeg or webp file"
        ) from error


def _as_rgb(picture: Image.Image) -> UInt8Array:
    """Eight bits, three channels, no transparency."""
    if picture.mode.startswith("I") or picture.mode == "F":  # Pillow's own conversion clips 16 bits at 255
        grey = np.asarray(picture).astype(np.float64)
        scale = 257.0 if picture.mode.startswith("I;16") or grey.max(initial=0) > 255 else 1.0
        return np.repeat(np.clip(grey / scale + 0.5, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if picture.has_transparency_data:
        return on_white(np.asarray(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))
