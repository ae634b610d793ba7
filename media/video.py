"""Video, sound and picture files: the only door to PyAV, so a libav surprise can have one cause.

    facts = probe(path)                                  # looks, decodes one frame
    for frame in stream_frames(path, max_side=720): ...  # one pass, memory of a few frames
    clip = read_clip(path, max_frames=300)               # refuses what would not fit
    write_clip(clip, path)                               # H.264 + AAC mp4, same clip -> same bytes

Rules of this door, told once:

1. Time zero is the moment of the first picture, for pictures and for the sound of the same file.
2. A picture is upright and has square pixels: display matrix and sample aspect ratio are applied.
3. Colour matrix and range are those the file names; where it names none, BT.709 from 720 lines up and
   BT.601 below, as players do. High dynamic range is reduced to 8 bits without tone mapping.
4. A fault is a `MediaError` of one line. A few undecodable packets are skipped, as players do.
5. A written file appears whole under its name, or not at all.
"""

from __future__ import annotations

import io
import os
import secrets
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from PIL import Image, ImageOps

from media.clip import Clip, FloatArray, MediaError, UInt8Array, Waveform
from media.timing import rate_of, slots

MAX_SIDE_PIXELS = 16_384
"""A header that claims more is refused before anything is allocated."""
MAX_PICTURE_PIXELS = 64_000_000
"""8K video has 33 million; a decompression bomb has more than this."""
MAX_CLIP_BYTES = 2 * 2**30
"""What `read_clip` and `read_waveform` hold in memory unless told otherwise."""

_MAX_DAMAGED_PACKETS = 12
_MAX_TIMESTAMP_GAP_SECONDS = 600
_TIMING_PACKETS = 600
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")
# playlists, image sequences and network formats are left out: a suspect file must not make us open another one
_DEMUXERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,gif,ivf,ogg,wav,w64,aiff,flac,mp3,aac,amr,caf,mxf,h264,hevc"
_READ_OPTIONS = {
    "format_whitelist": _DEMUXERS,
    "protocol_whitelist": "file,pipe",
    "max_pixels": str(MAX_PICTURE_PIXELS),
}
# accurate and bit-exact: the same file gives the same pixels on every processor. Bilinear with full chroma costs
# 1.6 ms for 512 x 512 and is unbiased; swscale's default path takes 0.2 ms and darkens by one level. Scaling down,
# swscale's bilinear is a triangle over all source pixels, so it does not alias.
_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
# x264's macroblock tree with B-frames reads memory that it never wrote (found with MALLOC_PERTURB_): the same
# pictures give other bytes on each run. Without it files are 10 to 35 % larger at the same crf.
_X264_REPEATABLE = "mbtree=0"
_TRANSFERS_OF_HDR = (16, 18)  # SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG)
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""Matrix coefficients of ITU-T H.273 -> swscale's names."""


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


# ------------------------------------------------------------------------------------------ opening


def _refuse(path: Path | str, what: str, do: str) -> MediaError:
    """One line: where, what, what to do."""
    return MediaError(" ".join(f"{path}: {what}; {do}".split()))


def _readable(path: Path) -> Path:
    """The path, if it is a non-empty file that this process may read."""
    path = Path(path)
    try:
        if path.is_dir():
            raise _refuse(path, "is a folder", "give one file")
        if not path.exists():
            raise _refuse(path, "does not exist", "check the path")
        if path.stat().st_size == 0:
            raise _refuse(path, "is empty (0 bytes)", "copy or download it again")
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        raise _refuse(path, f"cannot be read ({_reason(error)})", "check its permissions and the disk") from error


def _reason(error: Exception) -> str:
    """The system's own words for an error, without paths and numbers."""
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An input container; every libav complaint leaves as a MediaError."""
    path = _readable(path)
    try:
        container = av.open(f"file:{path.absolute()}", options=dict(_READ_OPTIONS))
    except (av.error.FFmpegError, ValueError, UnicodeError) as error:
        raise _refuse(
            path,
            f"is not a video or sound file that can be read ({_reason(error)}): damaged, cut short, or another kind",
            "check it in a player, or export it again as mp4",
        ) from error
    try:
        yield container
    except av.error.FFmpegError as error:
        raise _refuse(
            path, f"cannot be decoded ({_reason(error)})", "copy it again or re-encode it as H.264"
        ) from error
    finally:
        container.close()


def _picture_stream(container: Any, path: Path) -> Any:
    """The video stream, sized sanely; cover art of a sound file is not video."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        kind = "only sound" if container.streams.audio else "no pictures and no sound"
        raise _refuse(path, f"has no video stream, {kind}", "give a file with moving pictures")
    stream = streams[0]
    if stream.codec_context is None:
        raise _refuse(path, "is of a video codec that this build cannot decode", "re-encode it as H.264")
    _check_size(path, stream.codec_context.width, stream.codec_context.height)
    if "mp4" in container.format.name:
        _check_whole(container, path)
        for width, height in _claimed_sizes(path):
            _check_size(path, width, height)
    stream.codec_context.options = {"max_pixels": str(MAX_PICTURE_PIXELS)}
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = 2
    return stream


def _check_size(path: Path, width: int, height: int) -> None:
    """Refuse sizes nobody films, before memory is asked for them."""
    limit = f"at most {MAX_SIDE_PIXELS} a side and {MAX_PICTURE_PIXELS // 1_000_000} million in all are read"
    if width > MAX_SIDE_PIXELS or height > MAX_SIDE_PIXELS or width * height > MAX_PICTURE_PIXELS:
        raise _refuse(path, f"claims a picture of {width} x {height} pixels, {limit}", "scale it down first")
    if width < 1 or height < 1:  # libav also reports what is over its own limit as no size
        raise _refuse(path, f"claims a picture of no size or of too many pixels, {limit}", "export it again")
    if width == 1 or height == 1:
        raise _refuse(path, f"has a picture of {width} x {height} pixels, nothing to see in it", "give a larger one")


def _check_whole(container: Any, path: Path) -> None:
    """Refuse an mp4 whose index points behind its end: it was cut short."""
    size = path.stat().st_size
    for stream in (*container.streams.video, *container.streams.audio):
        entries = stream.index_entries
        missing = sum(1 for entry in entries if entry.pos + entry.size > size)
        if missing:
            kind = "frames" if stream.type == "video" else "sound packets"
            what = f"is cut short: {missing} of {len(entries)} {kind} lie behind its end"
            raise _refuse(path, what, "copy or download the whole file again")


def _claimed_sizes(path: Path) -> Iterator[tuple[int, int]]:
    """(width, height) of the track headers of an mp4: libav believes the stream, players the header."""

    def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
        at = 0
        while at + 8 <= len(data):
            size, kind = struct.unpack_from(">I4s", data, at)
            yield kind, data[at + 8 : at + max(size, 8)]
            at += max(size, 8)

    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            body = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))[0] - 16 if size == 1 else size - 8
            if kind == b"moov" and 0 < body < 2**28:
                tracks = (box for kind, box in boxes(file.read(body)) if kind == b"trak")
                headers = (box for track in tracks for kind, box in boxes(track) if kind == b"tkhd")
                for header in headers:
                    width, height = struct.unpack(">II", header[-8:].rjust(8, b"\0"))
                    if width and height:  # a sound track has neither
                        yield width >> 16, height >> 16
                return
            if body <= 0:
                return
            file.seek(body, os.SEEK_CUR)


def _decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Frames of one stream in the order of the file, past a few damaged packets.

    Raises:
        MediaError: when more than a dozen packets in a row cannot be decoded, or none can.
    """
    damaged, count = 0, 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.ExternalError, av.error.PatchWelcomeError) as error:
            damaged += 1
            if damaged > _MAX_DAMAGED_PACKETS:
                where = f"after {count} good frames" if count else "from its start"
                raise _refuse(path, f"is damaged {where} ({_reason(error)})", "copy the file again") from error
            continue
        if frames:
            damaged = 0
            count += len(frames)
            yield from frames
    if not count:
        kind = "pictures" if stream.type == "video" else "sound samples"
        raise _refuse(path, f"holds no {kind} that can be decoded", "copy the file again or re-encode it")


# ------------------------------------------------------------------------------------------ timing


def _timing(container: Any, stream: Any) -> tuple[Fraction, bool]:
    """(fps, varies), from the index where there is one, else from the first packets."""
    tick = stream.time_base or Fraction(1, 1000)
    entries = stream.index_entries
    if len(entries) > 1 and len(entries) == stream.frames:
        ticks = [e.timestamp for e in entries]
    else:
        packets = islice(container.demux(stream), _TIMING_PACKETS)
        ticks = [p.pts if p.pts is not None else p.dts for p in packets if p.size]
        ticks = [t for t in ticks if t is not None]
        # what lies between the packets read and the next one is unknown: a reordered picture may be missing
        ticks = sorted(ticks)[: -8 if len(ticks) == _TIMING_PACKETS else None]
        with suppress(av.error.FFmpegError):
            container.seek(0)
    times = sorted(t * tick for t in ticks)
    return rate_of(times, stream.average_rate or stream.guessed_rate, tick)


# ------------------------------------------------------------------------------------------ pictures


def _orientation(frame: Any) -> tuple[int, int, int, int]:
    """The 2 x 2 part of the display matrix as signs (a, b, c, d); identity when there is none."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(data), np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (1 if a >= 0 else -1), 0, 0, (1 if d >= 0 else -1)
    return 0, (1 if b >= 0 else -1), (1 if c >= 0 else -1), 0


def _upright(image: UInt8Array, orientation: tuple[int, int, int, int]) -> UInt8Array:
    """Apply a display matrix (x' = a x + c y, y' = b x + d y) of right angles and mirrors."""
    a, b, c, d = orientation
    if (a, d) == (1, 1):
        return image
    # with b and c, x and y change places first; a negative sign mirrors an axis of the result
    turned = image.swapaxes(0, 1)[::b, ::c] if b else image[::d, ::a]
    return np.ascontiguousarray(turned)


def _turn_degrees(orientation: tuple[int, int, int, int]) -> int:
    """Clockwise turn of a display matrix (of a mirrored one, the turn before the mirror)."""
    a, b, _, d = orientation
    if b:
        return 90 if b > 0 else 270
    return 180 if (a < 0 and d < 0) else 0


class _Painter:
    """Turns libav frames of one stream into upright RGB arrays of one size."""

    def __init__(self, stream: Any, path: Path, max_side: int | None) -> None:
        self._aspect = stream.sample_aspect_ratio or Fraction(1)
        if not Fraction(1, 8) < self._aspect < 8:
            self._aspect = Fraction(1)
        self._path, self._max_side = path, max_side
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self.orientation = (1, 0, 0, 1)

    def size(self, frame: Any) -> tuple[int, int]:
        """(width, height) before turning; fixed by the first frame, later ones are scaled to it."""
        if self._size is None:
            _check_size(self._path, frame.width, frame.height)
            self.orientation = _orientation(frame)
            width, height = max(1, round(frame.width * self._aspect)), frame.height
            if self._max_side is not None and max(width, height) > self._max_side:
                scale = Fraction(self._max_side, max(width, height))
                width, height = max(2, round(width * scale)), max(2, round(height * scale))
            self._size = width, height
        return self._size

    def paint(self, frame: Any) -> UInt8Array:
        """(H, W, 3) uint8 RGB."""
        width, height = self.size(frame)
        has_alpha = any(c.is_alpha for c in frame.format.components) or frame.format.name == "pal8"
        matrix = None if frame.format.is_rgb or frame.format.name == "pal8" else _matrix(frame)
        full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        rgb = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgba" if has_alpha else "rgb24",
            src_colorspace=matrix,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG if matrix is not None else None,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BILINEAR | _EXACT,
            threads=1,
        )
        array = np.asarray(rgb.to_ndarray(), np.uint8)
        if has_alpha:
            array = _on_white(array)
        return _upright(array, self.orientation)


def _matrix(frame: Any) -> Colorspace:
    """Colour matrix of a YUV frame (rule 3)."""
    guess = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    return _MATRICES.get(int(frame.colorspace), guess)


def _on_white(rgba: UInt8Array) -> UInt8Array:
    """Composite (..., 4) uint8 on white, rounded."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------ reading


def probe(path: Path) -> VideoFacts:
    """Facts of a video file; decodes its first picture, so a file that probes can be seen.

    Raises:
        MediaError: not a video, damaged, cut short, or too large.
    """
    path = Path(path)
    with _opened(path) as container:
        stream = _picture_stream(container, path)
        fps, varies = _timing(container, stream)
        first = next(_decoded(container, stream, path))
        painter = _Painter(stream, path, None)
        width, height = painter.size(first)
        if painter.orientation[1]:
            width, height = height, width
        sound = container.streams.audio[0] if container.streams.audio else None
        length = stream.frames or None
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration:
            seconds = container.duration / 1_000_000
        else:
            length = sum(1 for _ in _packets_from_start(container, stream))
            seconds = float(length / fps)
        return VideoFacts(
            path=path,
            width=width,
            height=height,
            rotation_degrees=_turn_degrees(painter.orientation),
            fps=fps,
            length=length,
            duration_seconds=seconds,
            variable_frame_rate=varies,
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
            bit_depth=max(c.bits for c in first.format.components),
            high_dynamic_range=int(first.color_trc) in _TRANSFERS_OF_HDR,
            color_matrix="rgb" if first.format.is_rgb else _matrix(first).name.lower(),
            has_sound=sound is not None,
            sample_rate_hz=sound.codec_context.sample_rate if sound is not None else None,
            channels=sound.codec_context.channels if sound is not None else None,
            sound_codec=sound.codec_context.name if sound is not None else None,
            container=container.format.name,
            size_bytes=path.stat().st_size,
        )


def _packets_from_start(container: Any, stream: Any) -> Iterator[Any]:
    """Packets with content, from the beginning."""
    container.seek(0)
    return (p for p in container.demux(stream) if p.size)


def _timed(container: Any, stream: Any, path: Path) -> Iterator[tuple[Fraction, Fraction, Any]]:
    """(seconds since the first picture, seconds shown, libav frame), never going back in time."""
    usual = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))
    zero: Fraction | None = None
    now = Fraction(0)
    for frame in _decoded(container, stream, path):
        step = frame.duration * frame.time_base if frame.duration and frame.time_base else usual
        if frame.pts is None or frame.time_base is None:
            seconds = Fraction(0) if zero is None else now + usual
            zero = Fraction(0) if zero is None else zero
        else:
            zero = frame.pts * frame.time_base if zero is None else zero
            seconds = max(frame.pts * frame.time_base - zero, now)
        if seconds - now > _MAX_TIMESTAMP_GAP_SECONDS:
            gap = f"time jumps from {float(now):.1f} s to {float(seconds):.1f} s"
            raise _refuse(path, gap, "re-mux the file so that its timestamps are continuous")
        now = seconds
        yield seconds, step, frame


def stream_frames(path: Path, *, fps: Fraction | None = None, max_side: int | None = None) -> Iterator[Frame]:
    """Pictures of a video in one sequential pass; a handful of frames in memory, however long the file.

    Args:
        path: the video.
        fps: resample to this constant rate by presentation time: each picture goes to its nearest tick, empty
            ticks repeat the picture before. None yields every stored picture at its own time.
        max_side: scale down, in the decoder's conversion, so that the longer side is at most this.

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
    return _stream(Path(path), fps, max_side)


def _stream(path: Path, fps: Fraction | None, max_side: int | None) -> Iterator[Frame]:
    with _opened(path) as container:
        stream = _picture_stream(container, path)
        painter = _Painter(stream, path, max_side)
        if fps is None:
            for index, (seconds, _, frame) in enumerate(_timed(container, stream, path)):
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
        return _refuse(
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
    sound = _sound_of(path, max_bytes) if with_sound and facts.has_sound else None
    return Clip(frames, rate, sound)


def read_waveform(path: Path, *, max_bytes: int = MAX_CLIP_BYTES) -> Waveform:
    """The sound of a file (wav, flac, mp3, m4a, ogg, or of a video), all channels, at its own rate.

    Sample 0 of a video's sound is what is heard with its first picture: a late start is filled with silence, an
    early one is cut.

    Raises:
        MediaError: no sound, no samples, NaN or infinite samples, damaged, or larger than max_bytes.
    """
    sound = _sound_of(Path(path), max_bytes)
    if sound is None:
        raise _refuse(path, "has sound of zero length", "give a file with at least one sample")
    return sound


def _sound_of(path: Path, max_bytes: int) -> Waveform | None:
    """The sound on the pictures' timeline; None when the track is there but holds no sample."""
    with _opened(path) as container:
        if not container.streams.audio:
            raise _refuse(path, "has no sound", "give a file with an audio track")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise _refuse(path, "has sound of a codec that this build cannot decode", "export it as wav or flac")
        zero = _picture_start(container)
        blocks: list[FloatArray] = []
        rate, channels, total = 0, 0, 0
        for frame in _sound_frames(container, stream, path):
            block = _samples(frame)
            if not rate:
                rate, channels = frame.sample_rate, block.shape[1]
            if (frame.sample_rate, block.shape[1]) != (rate, channels):
                change = f"{rate} Hz x {channels} to {frame.sample_rate} Hz x {block.shape[1]}"
                raise _refuse(path, f"changes its sound format from {change} on the way", "export it as wav")
            block = _placed(block, frame, zero, rate, total)
            total += block.shape[0]
            if total * channels * 4 > max_bytes:
                raise _refuse(path, f"holds more than {total // rate} s of sound", "cut it into shorter files")
            blocks.append(block)
        samples = np.concatenate(blocks)[: _declared_samples(container, stream, rate, total)] if total else None
    if samples is None:
        return None
    if not np.isfinite(samples).all():
        raise _refuse(path, "has sound samples that are NaN or infinite", "export the sound again as 16-bit wav")
    return Waveform(np.clip(samples, -1.0, 1.0), rate)


def _declared_samples(container: Any, stream: Any, rate: int, total: int) -> int:
    """How many of the decoded samples are sound: an mp4 tells where the last block's filling begins."""
    if "mp4" not in container.format.name or not stream.duration:
        return total
    declared = round(stream.duration * stream.time_base * rate)
    # one block of AAC is 1024 samples, of HE-AAC 2048; a larger difference is a header not to be believed
    return declared if 0 < total - declared <= 2048 else total


def _sound_frames(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Decoded sound; an empty track yields nothing instead of failing."""
    if stream.duration == 0 and not len(stream.index_entries):
        return
    frames = _decoded(container, stream, path)
    try:
        first = next(frames)
    except MediaError:
        if sum(1 for _ in _packets_from_start(container, stream)):
            raise
        return
    yield first
    yield from frames


def _picture_start(container: Any) -> Fraction | None:
    """When the first picture is shown, on the container's clock; None for a file of sound alone."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return Fraction((stream.start_time or 0) * stream.time_base)
    return None


def _samples(frame: Any) -> FloatArray:
    """(N, C) float32 of a libav sound frame of any sample format."""
    array: np.ndarray = frame.to_ndarray()
    channels = len(frame.layout.channels) or frame.layout.nb_channels
    array = array.T if frame.format.is_planar else array.reshape(-1, channels)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128.0) / 128.0
    if array.dtype.kind == "i":
        return (array / float(2 ** (8 * array.dtype.itemsize - 1))).astype(np.float32)
    return array.astype(np.float32)


def _placed(block: FloatArray, frame: Any, zero: Fraction | None, rate: int, have: int) -> FloatArray:
    """Silence in front of a block that comes late, or the part of it that is not yet past.

    Small disagreements of the clock (under 20 ms after the start) are left alone: they are rounding.
    """
    if zero is None or frame.pts is None or frame.time_base is None:
        return block
    gap = round((frame.pts * frame.time_base - zero) * rate) - have
    if gap > _MAX_TIMESTAMP_GAP_SECONDS * rate or (have and abs(gap) * 50 < rate):
        return block
    if gap > 0:
        return np.concatenate([np.zeros((gap, block.shape[1]), np.float32), block])
    return block[-gap:]


def read_image(path: Path) -> UInt8Array:
    """A picture as (H, W, 3) uint8 RGB: EXIF orientation applied, alpha composited on white, first of several.

    Raises:
        MediaError: not a picture, damaged, cut short, or too large.
    """
    path = _readable(Path(path))
    try:
        Image.init()
        known = [name for name in _PICTURE_FORMATS if name in Image.OPEN]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow complains on stderr about tags that nobody reads
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=known) as picture:
                _check_size(path, picture.width, picture.height)
                return _as_rgb(ImageOps.exif_transpose(picture))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _refuse(path, "claims more pixels than can be held in memory", "scale it down first") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, MemoryError) as error:
        # Pillow's decoders let all of these escape from damaged files
        named = _reason(error) if str(path) not in str(error) else "unknown format"
        raise _refuse(
            path, f"is not a picture that can be read ({named})", "give a whole png, jpeg or webp file"
        ) from error


def _as_rgb(picture: Image.Image) -> UInt8Array:
    """Eight bits, three channels, no transparency."""
    if picture.mode.startswith("I") or picture.mode == "F":  # Pillow's own conversion clips 16 bits at 255
        grey = np.asarray(picture).astype(np.float64)
        scale = 257.0 if picture.mode.startswith("I;16") or grey.max(initial=0) > 255 else 1.0
        return np.repeat(np.clip(grey / scale + 0.5, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if picture.has_transparency_data:
        return _on_white(np.asarray(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))


# ------------------------------------------------------------------------------------------ writing


@dataclass(frozen=True)
class Encoding:
    """A video codec and how hard it squeezes."""

    codec: str = "libx264"
    options: Mapping[str, str] | None = None
    """Options of the encoder, such as {"crf": "18", "preset": "medium"}."""
    pixel_format: str = "yuv420p"
    container: str = "mp4"
    sound_codec: str = "aac"
    sound_bit_rate: int | None = None
    """Bits per second; None is 64k per channel."""


class _Muxer:
    """Encodes frames and sound into an open output container, in step."""

    def __init__(
        self, container: Any, fps: Fraction, width: int, height: int, sound: Waveform | None, encoding: Encoding
    ) -> None:
        container.flags |= av.container.Flags.bitexact.value
        self._container, self._fps, self._encoding = container, fps, encoding
        options = dict(encoding.options or {})
        if encoding.codec == "libx264":
            options.setdefault("x264-params", _X264_REPEATABLE)
        self._video = container.add_stream(encoding.codec, rate=fps, options=options)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, encoding.pixel_format
        context = self._video.codec_context
        context.time_base = 1 / fps
        context.flags |= av.codec.context.Flags.bitexact.value
        # the thread count changes x264's bits, so it is ours and not the machine's
        context.thread_count = 2
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
        self._reformatter = VideoReformatter()
        self._frames = 0
        self._sound = _encodable(sound, encoding.sound_codec) if sound is not None else None
        self._sent = 0
        if self._sound is not None:
            self._audio = container.add_stream(
                encoding.sound_codec, rate=self._sound.sample_rate_hz, layout=_LAYOUTS[self._sound.channels]
            )
            self._audio.codec_context.flags |= av.codec.context.Flags.bitexact.value
            self._audio.codec_context.bit_rate = encoding.sound_bit_rate or 64_000 * self._sound.channels
            self._audio.codec_context.thread_count = 1
            self._audio.codec_context.time_base = Fraction(1, self._sound.sample_rate_hz)

    def add(self, image: UInt8Array) -> None:
        """Encode one picture and the sound that belongs to it."""
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = self._reformatter.reformat(
            rgb,
            format=self._encoding.pixel_format,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | _EXACT | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )
        frame.pts, frame.time_base = self._frames, 1 / self._fps
        frame.color_primaries, frame.color_trc = 1, 1
        self._frames += 1
        self._container.mux(self._video.encode(frame))
        self._send_sound(final=False)

    def finish(self) -> None:
        """Flush both encoders; sound behind the last picture is cut."""
        self._container.mux(self._video.encode(None))
        self._send_sound(final=True)
        if self._sound is not None:
            self._container.mux(self._audio.encode(None))

    def _send_sound(self, *, final: bool) -> None:
        if self._sound is None:
            return
        samples, rate = self._sound.samples, self._sound.sample_rate_hz
        until = min(len(samples), round(self._frames / self._fps * rate))
        size = self._audio.codec_context.frame_size or 1024
        while self._sent < until and (final or until - self._sent >= size):
            block = samples[self._sent : min(self._sent + size, until)]
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(block.T), format="fltp", layout=_LAYOUTS[self._sound.channels]
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, self._sent, Fraction(1, rate)
            self._sent += len(block)
            self._container.mux(self._audio.encode(frame))


def _encodable(sound: Waveform, codec: str) -> Waveform:
    """The sound at a rate the codec takes; channel counts without a layout are refused."""
    if sound.channels not in _LAYOUTS:
        raise MediaError(f"sound of {sound.channels} channels has no layout in AAC; mix it to 1, 2 or 6 channels first")
    allowed = (48_000, 24_000, 16_000, 12_000, 8_000) if codec == "libopus" else _AAC_RATES
    if sound.sample_rate_hz in allowed:
        return sound
    return sound.resampled(min((r for r in allowed if r >= sound.sample_rate_hz), default=48_000))


class ClipWriter:
    """Writes an mp4 frame by frame; nothing stands under its name until `close` succeeded.

        with ClipWriter(path, Fraction(25), 512, 512, sound=speech) as writer:
            for image in frames:
                writer.add(image)

    H.264 and AAC, BT.709, exact frame rate, sound in sync and cut at the end of the pictures, index in front of
    the media. The same frames give the same bytes. Sides must be even for `yuv420p`; `pixel_format="yuv444p"`
    takes odd ones, and with `crf=0` loses nothing but the rounding of RGB to YUV.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        width: int,
        height: int,
        sound: Waveform | None = None,
        *,
        crf: int = 18,
        preset: str = "medium",
        pixel_format: str = "yuv420p",
    ) -> None:
        self._path, self._width, self._height = Path(path), width, height
        _check_writable(self._path, fps, width, height, pixel_format)
        if not 0 <= crf <= 51:
            raise _refuse(self._path, f"crf must be 0 to 51, got {crf}", "18 looks lossless, 28 is small")
        if preset not in _PRESETS:
            raise _refuse(self._path, f"there is no preset {preset!r}", f"choose one of {', '.join(_PRESETS)}")
        self._temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(6)}.part")
        self._closed, self.frames_written = False, 0
        encoding = Encoding(options={"crf": str(crf), "preset": preset}, pixel_format=pixel_format)
        self._container: Any = None
        with self._or_remove():
            self._container = av.open(
                f"file:{self._temporary.absolute()}", "w", format="mp4", container_options={"movflags": "+faststart"}
            )
            self._muxer = _Muxer(self._container, fps, width, height, sound, encoding)

    @contextmanager
    def _or_remove(self) -> Iterator[None]:
        """Run a step of writing; when it fails, take the unfinished file away and say why in one line."""
        try:
            yield
        except BaseException as error:
            self._discard()
            if isinstance(error, av.error.FFmpegError | OSError):
                raise _refuse(
                    self._path,
                    f"cannot be written ({_reason(error)})",
                    "check the folder, its permissions and the space",
                ) from error
            raise

    def add(self, image: UInt8Array) -> None:
        """Append one (H, W, 3) uint8 RGB picture.

        Raises:
            ValueError: for another shape or type.
            MediaError: when the disk is full or the encoder fails.
        """
        if self._closed:
            raise ValueError(f"{self._path}: the writer is closed")
        if image.shape != (self._height, self._width, 3) or image.dtype != np.uint8:
            wanted = (self._height, self._width, 3)
            raise ValueError(f"image must be {wanted} uint8, got {image.shape} {image.dtype}")
        with self._or_remove():
            self._muxer.add(image)
        self.frames_written += 1

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            MediaError: when no frame was added or the file cannot be finished.
        """
        if self._closed:
            return
        with self._or_remove():
            if not self.frames_written:
                raise _refuse(self._path, "no frame was added", "add at least one")
            self._muxer.finish()
            container, self._container = self._container, None
            container.close()
            self._temporary.replace(self._path)
        self._closed = True

    def _discard(self) -> None:
        """Leave nothing behind."""
        self._closed = True
        container, self._container = self._container, None
        if container is not None:
            # closing writes a trailer, which can fail for the reason that brought us here
            with suppress(av.error.FFmpegError, OSError, ValueError):
                container.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Start writing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish, or leave nothing when the body failed."""
        if kind is None:
            self.close()
        elif not self._closed:
            self._discard()


def _check_writable(path: Path, fps: Fraction, width: int, height: int, pixel_format: str) -> None:
    """Refuse targets and shapes that cannot become an mp4."""
    if not isinstance(fps, Fraction) or not 0 < fps <= 1000 or fps.denominator > 1_000_000:
        raise _refuse(path, f"fps must be a Fraction above 0 and up to 1000, got {fps!r}", "use Fraction(25)")
    if pixel_format not in ("yuv420p", "yuv444p"):
        raise _refuse(path, f"pixel_format must be yuv420p or yuv444p, got {pixel_format!r}", "use yuv420p")
    if pixel_format == "yuv420p" and (width % 2 or height % 2):
        raise _refuse(
            path, f"H.264 yuv420p needs even sides, got {width} x {height}", "crop or pad one pixel, or use yuv444p"
        )
    if width < 2 or height < 2 or max(width, height) > MAX_SIDE_PIXELS:
        raise _refuse(path, f"cannot write pictures of {width} x {height}", f"use 2 to {MAX_SIDE_PIXELS} a side")
    if path.is_dir():
        raise _refuse(path, "is a folder", "name a file in it")
    if not path.parent.is_dir():
        raise _refuse(path, "its folder does not exist", f"create {path.parent} first")
    if not os.access(path.parent, os.W_OK):
        raise _refuse(path, "its folder is not writable", "choose another folder or change its permissions")


def write_clip(clip: Clip, path: Path, *, crf: int = 18, preset: str = "medium", pixel_format: str = "yuv420p") -> None:
    """Write a clip as H.264 + AAC mp4: see `ClipWriter`.

    Args:
        clip: what to write; its sound is cut where the pictures end.
        path: the mp4; replaced when it exists.
        crf: 0 (largest) to 51; 18 is visually lossless.
        preset: x264's effort, "ultrafast" to "veryslow".
        pixel_format: "yuv420p" plays everywhere; "yuv444p" keeps colour edges and takes odd sizes.

    Raises:
        MediaError: odd sides with yuv420p, a folder that is not there, a full disk: nothing is left behind.
    """
    with ClipWriter(
        path, clip.fps, clip.width, clip.height, clip.sound, crf=crf, preset=preset, pixel_format=pixel_format
    ) as writer:
        for image in clip.frames:
            writer.add(image)


def has_encoder(codec: str) -> bool:
    """Whether this build of libav can encode with a codec such as "libx265"."""
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def recompressed(clip: Clip, encoding: Encoding) -> Clip:
    """The clip after one pass through an encoder and its decoder, in memory: same length, rate and size.

    Odd sides are padded by repeating the last row or column and cut off again afterwards.

    Raises:
        MediaError: an encoder that this build lacks, or that fails.
    """
    if not has_encoder(encoding.codec):
        raise MediaError(f"this build of libav has no encoder {encoding.codec}; use another perturbation")
    pad = ((0, 0), (0, clip.height % 2), (0, clip.width % 2), (0, 0))
    frames = np.pad(clip.frames, pad, mode="edge") if clip.height % 2 or clip.width % 2 else clip.frames
    store = io.BytesIO()
    try:
        with av.open(store, "w", format=encoding.container) as container:
            muxer = _Muxer(container, clip.fps, frames.shape[2], frames.shape[1], clip.sound, encoding)
            for image in frames:
                muxer.add(image)
            muxer.finish()
        store.seek(0)
        out = np.empty_like(clip.frames)
        count = 0
        with av.open(store, "r") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 2
            painter = _Painter(stream, Path("<memory>"), None)
            for frame in islice(_decoded(container, stream, Path("<memory>")), clip.length):
                out[count] = painter.paint(frame)[: clip.height, : clip.width]
                count += 1
    except av.error.FFmpegError as error:
        raise MediaError(f"{encoding.codec} could not encode the clip ({_reason(error)}); use another level") from error
    if count != clip.length:
        raise MediaError(f"{encoding.codec} returned {count} of {clip.length} frames; use another perturbation")
    store.seek(0)
    return Clip(out, clip.fps, _sound_from_memory(store, clip.sound) if clip.sound is not None else None)


def _sound_from_memory(store: io.BytesIO, original: Waveform) -> Waveform:
    """The sound of a file that never touched a disk, at the rate and of the length of the original."""
    blocks: list[FloatArray] = [np.zeros((0, original.channels), np.float32)]
    rate, total = original.sample_rate_hz, 0
    with av.open(store, "r") as container:
        stream, zero = container.streams.audio[0], _picture_start(container)
        for frame in container.decode(stream):
            rate = frame.sample_rate
            blocks.append(_placed(_samples(frame), frame, zero, rate, total))
            total += len(blocks[-1])
    sound = Waveform(np.clip(np.concatenate(blocks), -1.0, 1.0), rate).resampled(original.sample_rate_hz)
    length = len(original.samples)
    samples = np.pad(sound.samples[:length], ((0, max(0, length - len(sound.samples))), (0, 0)))
    return Waveform(samples, original.sample_rate_hz)
