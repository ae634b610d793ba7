"""Put the watermark into a file that exists already: its pictures are decoded, marked and encoded again.

    mark_file(Path("clip.mp4"), Path("marked.mp4"), "video/mp4").identifier

Video becomes H.264 at CRF 18 with its sound as AAC, pictures keep their format; metadata is left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from media.clip import MediaError
from media.video import ClipWriter, probe, read_image, read_waveform, stream_frames
from provenance.durable import DurableMaker
from provenance.errors import ProvenanceError
from provenance.files import write_whole
from provenance.formats import spoken
from provenance.watermark import SMALLEST_SIDE

_CRF: Final = 18
_PICTURES: Final[dict[str, tuple[str, list[int]]]] = {
    "image/png": (".png", []),
    "image/jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
    "image/webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 95]),
}


def mark_file(source: Path, destination: Path, mime: str) -> DurableMaker:
    """Write a marked copy of a picture or video.

    Args:
        source: the file.
        destination: what to write; replaced when it exists.
        mime: what the source is, by content.

    Returns:
        The maker, which knows the identifier and the prints of the copy.

    Raises:
        ProvenanceError: for a file that cannot be decoded, is too small for a mark, or is no picture or video.
    """
    try:
        if mime in _PICTURES:
            return _mark_picture(source, destination, mime)
        if mime in ("video/mp4", "video/quicktime"):
            return _mark_video(source, destination)
    except MediaError as error:
        raise ProvenanceError(f"cannot put a watermark into {source}: {error}") from error
    raise ProvenanceError(f"cannot put a watermark into {source}: it is {spoken(mime)}; give a picture or a video")


def _mark_picture(source: Path, destination: Path, mime: str) -> DurableMaker:
    image = read_image(source)
    _check_size(source, *image.shape[:2])
    maker = DurableMaker(fps=1.0)
    marked = next(iter(maker.marked([image])))
    ending, options = _PICTURES[mime]
    done, content = cv2.imencode(ending, np.ascontiguousarray(marked[..., ::-1]), options)
    if not done:
        raise ProvenanceError(f"cannot put a watermark into {source}: its picture could not be written again")
    write_whole(destination, content.tobytes())
    return maker


def _mark_video(source: Path, destination: Path) -> DurableMaker:
    facts = probe(source)
    _check_size(source, facts.height, facts.width)
    sound = read_waveform(source) if facts.has_sound else None
    samples, rate_hz = (sound.samples, sound.sample_rate_hz) if sound is not None else (None, 0)
    maker = DurableMaker(fps=float(facts.fps), sound=samples, sample_rate_hz=rate_hz)
    # H.264 as every player takes it has even sides
    height, width = facts.height // 2 * 2, facts.width // 2 * 2

    def frames() -> Iterator[np.ndarray]:
        for frame in stream_frames(source, fps=facts.fps if facts.variable_frame_rate else None):
            yield frame.image[:height, :width]

    with ClipWriter(destination, facts.fps, width, height, sound, crf=_CRF) as writer:
        for image in maker.marked(frames()):
            writer.add(image)
    return maker


def _check_size(source: Path, height: int, width: int) -> None:
    if min(height, width) < SMALLEST_SIDE:
        raise ProvenanceError(
            f"cannot put a watermark into {source}: it is {width} x {height}, and a mark needs {SMALLEST_SIDE} a side"
        )
