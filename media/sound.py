"""Read sound on the timeline of the pictures it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from media.clip import FloatArray, MediaError, Waveform
from media.libav import MAX_TIMESTAMP_GAP_SECONDS, decoded, opened, packets_from_start, refusal

MAX_CLIP_BYTES = 2 * 2**30
"""What `read_clip` and `read_waveform` hold in memory unless told otherwise."""
_MOST_SUDDEN_CHANNELS = 8
"""In a block of a file that declares fewer: a damaged packet of AAC can announce 26 without having their samples."""


def read_waveform(path: Path, *, max_bytes: int = MAX_CLIP_BYTES) -> Waveform:
    """The sound of a file (wav, flac, mp3, m4a, ogg, or of a video), all channels, at its own rate.

    Sample 0 of a video's sound is what is heard with its first picture: a late start is filled with silence, an
    early one is cut.

    Raises:
        MediaError: no sound, no samples, NaN or infinite samples, damaged, or larger than max_bytes.
    """
    sound = sound_of(Path(path), max_bytes)
    if sound is None:
        raise refusal(path, "has sound of zero length", "give a file with at least one sample")
    return sound


def sound_of(path: Path, max_bytes: int) -> Waveform | None:
    """The sound on the pictures' timeline; None when the track is there but holds no sample."""
    with opened(path) as container:
        if not container.streams.audio:
            raise refusal(path, "has no sound", "give a file with an audio track")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise refusal(path, "has sound of a codec that this build cannot decode", "export it as wav or flac")
        zero = picture_start(container)
        declared = stream.codec_context.channels
        blocks: list[FloatArray] = []
        rate, channels, total = 0, 0, 0
        for frame in _sound_frames(container, stream, path):
            if frame.layout.nb_channels > max(declared, _MOST_SUDDEN_CHANNELS):
                what = f"announces {frame.layout.nb_channels} channels in sound of {declared}"
                raise refusal(path, what, "copy the file again, or export its sound as wav")
            block = samples_of(frame)
            if not rate:
                rate, channels = frame.sample_rate, block.shape[1]
            if (frame.sample_rate, block.shape[1]) != (rate, channels):
                change = f"{rate} Hz x {channels} to {frame.sample_rate} Hz x {block.shape[1]}"
                raise refusal(path, f"changes its sound format from {change} on the way", "export it as wav")
            block = placed(block, frame, zero, rate, total)
            total += block.shape[0]
            if total * channels * 4 > max_bytes:
                raise refusal(path, f"holds more than {total // rate} s of sound", "cut it into shorter files")
            blocks.append(block)
        samples = np.concatenate(blocks)[: _declared_samples(container, stream, rate, total)] if total else None
    if samples is None:
        return None
    if not np.isfinite(samples).all():
        raise refusal(path, "has sound samples that are NaN or infinite", "export the sound again as 16-bit wav")
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
    frames = decoded(container, stream, path)
    try:
        first = next(frames)
    except MediaError:
        if sum(1 for _ in packets_from_start(container, stream)):
            raise
        return
    yield first
    yield from frames


def picture_start(container: Any) -> Fraction | None:
    """When the first picture is shown, on the container's clock; None for a file of sound alone."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return Fraction((stream.start_time or 0) * stream.time_base)
    return None


def samples_of(frame: Any) -> FloatArray:
    """(N, C) float32 of a libav sound frame of any sample format."""
    array: np.ndarray = frame.to_ndarray()
    channels = len(frame.layout.channels) or frame.layout.nb_channels
    array = array.T if frame.format.is_planar else array.reshape(-1, channels)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128.0) / 128.0
    if array.dtype.kind == "i":
        return (array / float(2 ** (8 * array.dtype.itemsize - 1))).astype(np.float32)
    return array.astype(np.float32)


def placed(block: FloatArray, frame: Any, zero: Fraction | None, rate: int, have: int) -> FloatArray:
    """Silence in front of a block that comes late, or the part of it that is not yet past.

    Small disagreements of the clock (under 20 ms after the start) are left alone: they are rounding.
    """
    if zero is None or frame.pts is None or frame.time_base is None:
        return block
    gap = round((frame.pts * frame.time_base - zero) * rate) - have
    if gap > MAX_TIMESTAMP_GAP_SECONDS * rate or (have and abs(gap) * 50 < rate):
        return block
    if gap > 0:
        return np.concatenate([np.zeros((gap, block.shape[1]), np.float32), block])
    return block[-gap:]
