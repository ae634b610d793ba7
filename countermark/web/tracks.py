"""Where the faces of a report are at each moment, for boxes on the playing video, and one picture of the file.

The detectors keep one box a face; a viewer needs it to follow the face. So the file is looked at once more, a few times
a second, and each face that is found then is given the number of the face of the report that it belongs to.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from detect.detector import FaceScore
from media.clip import MediaError, UInt8Array
from media.faces import FaceFinder
from media.landmarks import box_overlap
from media.tracking import FaceTrack, follow_faces
from media.video import Frame, probe, read_image, stream_frames

LOOKS_A_SECOND = 5
MOST_LOOKS = 600
"""In all; the looks of long videos are further apart, and the boxes between them are guessed."""
SIDE = 960
POSTER_SIDE = 480


@dataclass(frozen=True)
class Sighting:
    """One face at one moment."""

    seconds: float
    box: tuple[float, float, float, float]
    """x0 y0 x1 y1, shares of the picture's width and height."""


@dataclass(frozen=True)
class Sightings:
    """What a viewer draws."""

    width: int
    height: int
    """Of the file's pictures, pixels."""
    faces: tuple[tuple[int, tuple[Sighting, ...]], ...]
    """(number of the face in the report, where it is), in order of time."""
    poster_jpeg: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "width": self.width,
            "height": self.height,
            "faces": [
                {"track": track, "points": [[round(s.seconds, 3), *(round(v, 4) for v in s.box)] for s in seen]}
                for track, seen in self.faces
            ],
        }


def follow(path: Path, faces: Sequence[FaceScore]) -> Sightings:
    """Find the faces of a report again, all along the file.

    Args:
        path: the video or picture that was judged.
        faces: those of its report.

    Raises:
        MediaError: where the file cannot be read.
    """
    frames, width, height = _frames(path)
    poster: list[UInt8Array] = []

    def watched() -> Iterator[Frame]:
        for frame in frames:
            # the first picture of a clip is often black
            if len(poster) < 6:
                poster.append(frame.image)
            yield frame

    tracks: list[FaceTrack] = []
    if faces:
        with FaceFinder(max_faces=max(4, len(faces))) as finder:
            found = follow_faces(watched(), finder, detect_every=3, max_gap_seconds=2.0, min_frames=1)
            tracks = list(found)
    else:
        poster = [frame.image for frame in itertools.islice(frames, 6)]
    shape = poster[0].shape if poster else (height, width, 3)
    seen: dict[int, list[Sighting]] = {}
    for track in tracks:
        number = belongs_to(track, faces, shape[1] / width)
        if number is not None:
            seen.setdefault(number, []).extend(_sightings(track, shape))
    ordered = tuple((number, tuple(sorted(seen[number], key=lambda one: one.seconds))) for number in sorted(seen))
    return Sightings(width, height, ordered, _jpeg(poster[-1]) if poster else b"")


def belongs_to(track: FaceTrack, faces: Sequence[FaceScore], scale: float) -> int | None:
    """The face of the report that a track is part of: at the same time, about the same place; None for a new face.

    Args:
        track: in pixels of the pictures it was found in.
        faces: with boxes in pixels of the file.
        scale: pixels of those pictures a pixel of the file.
    """
    first, last = float(track.pts_seconds[0]), float(track.pts_seconds[-1])
    middle = np.median(track.boxes, axis=0)
    best, best_overlap = None, 0.05
    for face in faces:
        if face.last_second + 1.0 < first or face.first_second - 1.0 > last:
            continue
        shared = box_overlap(np.asarray(middle, np.float32), np.array(face.box, np.float32) * np.float32(scale))
        if shared > best_overlap:
            best, best_overlap = face.track, shared
    if best is None and len(faces) == 1:
        # one face that walked through the picture: its median box may be where it never was
        return faces[0].track
    return best


def _frames(path: Path) -> tuple[Iterator[Frame], int, int]:
    """A few pictures a second, and the size of the file's own."""
    try:
        facts = probe(path)
    except MediaError:
        image = read_image(path)
        return iter([Frame(0, 0.0, image)]), image.shape[1], image.shape[0]
    rate = min(Fraction(LOOKS_A_SECOND), Fraction(MOST_LOOKS) / Fraction(max(facts.duration_seconds, 1.0)))
    return stream_frames(path, fps=rate.limit_denominator(1000), max_side=SIDE), facts.width, facts.height


def _sightings(track: FaceTrack, shape: tuple[int, ...]) -> Iterator[Sighting]:
    height, width = shape[:2]
    for seconds, (x0, y0, x1, y1) in zip(track.pts_seconds, track.boxes, strict=True):
        yield Sighting(float(seconds), (float(x0) / width, float(y0) / height, float(x1) / width, float(y1) / height))


def _jpeg(image: UInt8Array) -> bytes:
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((POSTER_SIDE, POSTER_SIDE))
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
