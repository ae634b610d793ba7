"""Write clips: H.264 + AAC mp4 that is whole or not there, the same bytes each time; one pass through any codec."""

from __future__ import annotations

import io
import os
import secrets
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

from media.clip import Clip, FloatArray, MediaError, UInt8Array, Waveform
from media.libav import EXACT, MAX_SIDE_PIXELS, Painter, decoded, reason_of, refusal
from media.sound import picture_start, placed, samples_of

_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
# x264's macroblock tree with B-frames reads memory that it never wrote (found with MALLOC_PERTURB_): the same
# pictures give other bytes on each run. Without it files are 10 to 35 % larger at the same crf.
_X264_REPEATABLE = "mbtree=0"


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
            interpolation=Interpolation.BICUBIC | EXACT | Interpolation.FULL_CHR_H_INP,
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
            raise refusal(self._path, f"crf must be 0 to 51, got {crf}", "18 looks lossless, 28 is small")
        if preset not in _PRESETS:
            raise refusal(self._path, f"there is no preset {preset!r}", f"choose one of {', '.join(_PRESETS)}")
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
                raise refusal(
                    self._path,
                    f"cannot be written ({reason_of(error)})",
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
                raise refusal(self._path, "no frame was added", "add at least one")
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
        raise refusal(path, f"fps must be a Fraction above 0 and up to 1000, got {fps!r}", "use Fraction(25)")
    if pixel_format not in ("yuv420p", "yuv444p"):
        raise refusal(path, f"pixel_format must be yuv420p or yuv444p, got {pixel_format!r}", "use yuv420p")
    if pixel_format == "yuv420p" and (width % 2 or height % 2):
        raise refusal(
            path, f"H.264 yuv420p needs even sides, got {width} x {height}", "crop or pad one pixel, or use yuv444p"
        )
    if width < 2 or height < 2 or max(width, height) > MAX_SIDE_PIXELS:
        raise refusal(path, f"cannot write pictures of {width} x {height}", f"use 2 to {MAX_SIDE_PIXELS} a side")
    if path.is_dir():
        raise refusal(path, "is a folder", "name a file in it")
    if not path.parent.is_dir():
        raise refusal(path, "its folder does not exist", f"create {path.parent} first")
    if not os.access(path.parent, os.W_OK):
        raise refusal(path, "its folder is not writable", "choose another folder or change its permissions")


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
            painter = Painter(stream, Path("<memory>"), None)
            for frame in islice(decoded(container, stream, Path("<memory>")), clip.length):
                out[count] = painter.paint(frame)[: clip.height, : clip.width]
                count += 1
    except av.error.FFmpegError as error:
        raise MediaError(
            f"{encoding.codec} could not encode the clip ({reason_of(error)}); use another level"
        ) from error
    if count != clip.length:
        raise MediaError(f"{encoding.codec} returned {count} of {clip.length} frames; use another perturbation")
    store.seek(0)
    return Clip(out, clip.fps, _sound_from_memory(store, clip.sound) if clip.sound is not None else None)


def _sound_from_memory(store: io.BytesIO, original: Waveform) -> Waveform:
    """The sound of a file that never touched a disk, at the rate and of the length of the original."""
    blocks: list[FloatArray] = [np.zeros((0, original.channels), np.float32)]
    rate, total = original.sample_rate_hz, 0
    with av.open(store, "r") as container:
        stream, zero = container.streams.audio[0], picture_start(container)
        for frame in container.decode(stream):
            rate = frame.sample_rate
            blocks.append(placed(samples_of(frame), frame, zero, rate, total))
            total += len(blocks[-1])
    sound = Waveform(np.clip(np.concatenate(blocks), -1.0, 1.0), rate).resampled(original.sample_rate_hz)
    length = len(original.samples)
    samples = np.pad(sound.samples[:length], ((0, max(0, length - len(sound.samples))), (0, 0)))
    return Waveform(samples, original.sample_rate_hz)
