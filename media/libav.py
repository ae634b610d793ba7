"""One media file held open by libav: opened with limits, checked, decoded past small damage, painted upright.

Only the modules of `media.video` use this; everybody else reads clips.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from media.clip import MediaError, UInt8Array
from media.timing import rate_of

MAX_SIDE_PIXELS = 16_384
"""A header that claims more is refused before anything is allocated."""
MAX_PICTURE_PIXELS = 64_000_000
"""8K video has 33 million; a decompression bomb has more than this."""
MAX_TIMESTAMP_GAP_SECONDS = 600
_MAX_DAMAGED_PACKETS = 12
_TIMING_PACKETS = 600
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
EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
TRANSFERS_OF_HDR = (16, 18)  # SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG)
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


def refusal(path: Path | str, what: str, do: str) -> MediaError:
    """One line: where, what, what to do."""
    return MediaError(" ".join(f"{path}: {what}; {do}".split()))


def readable(path: Path) -> Path:
    """The path, if it is a non-empty file that this process may read."""
    path = Path(path)
    try:
        if path.is_dir():
            raise refusal(path, "is a folder", "give one file")
        if not path.exists():
            raise refusal(path, "does not exist", "check the path")
        if path.stat().st_size == 0:
            raise refusal(path, "is empty (0 bytes)", "copy or download it again")
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        raise refusal(path, f"cannot be read ({reason_of(error)})", "check its permissions and the disk") from error


def reason_of(error: Exception) -> str:
    """The system's own words for an error, without paths and numbers."""
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An input container; every libav complaint leaves as a MediaError."""
    path = readable(path)
    try:
        container = av.open(f"file:{path.absolute()}", options=dict(_READ_OPTIONS))
    except (av.error.FFmpegError, ValueError, UnicodeError) as error:
        raise refusal(
            path,
            f"is not a video or sound file that can be read ({reason_of(error)}): damaged, cut short, or another kind",
            "check it in a player, or export it again as mp4",
        ) from error
    try:
        yield container
    except av.error.FFmpegError as error:
        raise refusal(
            path, f"cannot be decoded ({reason_of(error)})", "copy it again or re-encode it as H.264"
        ) from error
    finally:
        container.close()


def picture_stream(container: Any, path: Path) -> Any:
    """The video stream, sized sanely; cover art of a sound file is not video."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        kind = "only sound" if container.streams.audio else "no pictures and no sound"
        raise refusal(path, f"has no video stream, {kind}", "give a file with moving pictures")
    stream = streams[0]
    if stream.codec_context is None:
        raise refusal(path, "is of a video codec that this build cannot decode", "re-encode it as H.264")
    check_size(path, stream.codec_context.width, stream.codec_context.height)
    if "mp4" in container.format.name:
        _check_whole(container, path)
        for width, height in _claimed_sizes(path):
            check_size(path, width, height)
    stream.codec_context.options = {"max_pixels": str(MAX_PICTURE_PIXELS)}
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = 2
    return stream


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse sizes nobody films, before memory is asked for them."""
    limit = f"at most {MAX_SIDE_PIXELS} a side and {MAX_PICTURE_PIXELS // 1_000_000} million in all are read"
    if width > MAX_SIDE_PIXELS or height > MAX_SIDE_PIXELS or width * height > MAX_PICTURE_PIXELS:
        raise refusal(path, f"claims a picture of {width} x {height} pixels, {limit}", "scale it down first")
    if width < 1 or height < 1:  # libav also reports what is over its own limit as no size
        raise refusal(path, f"claims a picture of no size or of too many pixels, {limit}", "export it again")
    if width == 1 or height == 1:
        raise refusal(path, f"has a picture of {width} x {height} pixels, nothing to see in it", "give a larger one")


def _check_whole(container: Any, path: Path) -> None:
    """Refuse an mp4 whose index points behind its end: it was cut short."""
    size = path.stat().st_size
    for stream in (*container.streams.video, *container.streams.audio):
        entries = stream.index_entries
        missing = sum(1 for entry in entries if entry.pos + entry.size > size)
        if missing:
            kind = "frames" if stream.type == "video" else "sound packets"
            what = f"is cut short: {missing} of {len(entries)} {kind} lie behind its end"
            raise refusal(path, what, "copy or download the whole file again")


def _claimed_sizes(path: Path) -> Iterator[tuple[int, int]]:
    """(width, height) of the track headers of an mp4: libav believes the stream, players the header."""

    def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
        at = 0
        while at + 8 <= len(data):
            size, kind = struct.unpack_from(">I4s", data, at)
            yield kind, data[at + 8 : at + max(size, 8)]
            at += max(size, 8)

    whole = path.stat().st_size
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
            if not 0 < body < whole:  # a length that no file has cannot be sought either
                return
            file.seek(body, os.SEEK_CUR)


def decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:
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
                raise refusal(path, f"is damaged {where} ({reason_of(error)})", "copy the file again") from error
            continue
        if frames:
            damaged = 0
            count += len(frames)
            yield from frames
    if not count:
        kind = "pictures" if stream.type == "video" else "sound samples"
        raise refusal(path, f"holds no {kind} that can be decoded", "copy the file again or re-encode it")


def packets_from_start(container: Any, stream: Any) -> Iterator[Any]:
    """Packets with content, from the beginning."""
    container.seek(0)
    return (p for p in container.demux(stream) if p.size)


def rate_and_variation(container: Any, stream: Any) -> tuple[Fraction, bool]:
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


def turn_degrees(orientation: tuple[int, int, int, int]) -> int:
    """Clockwise turn of a display matrix (of a mirrored one, the turn before the mirror)."""
    a, b, _, d = orientation
    if b:
        return 90 if b > 0 else 270
    return 180 if (a < 0 and d < 0) else 0


class Painter:
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
            check_size(self._path, frame.width, frame.height)
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
        matrix = None if frame.format.is_rgb or frame.format.name == "pal8" else colour_matrix(frame)
        full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        rgb = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgba" if has_alpha else "rgb24",
            src_colorspace=matrix,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG if matrix is not None else None,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BILINEAR | EXACT,
            threads=1,
        )
        array = np.asarray(rgb.to_ndarray(), np.uint8)
        if has_alpha:
            array = on_white(array)
        return _upright(array, self.orientation)


def colour_matrix(frame: Any) -> Colorspace:
    """Colour matrix of a YUV frame (rule 3)."""
    guess = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    return _MATRICES.get(int(frame.colorspace), guess)


def on_white(rgba: UInt8Array) -> UInt8Array:
    """Composite (..., 4) uint8 on white, rounded."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
