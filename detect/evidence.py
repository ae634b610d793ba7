"""The pictures of a report: for each face, the moment at which it looked most suspicious."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detect.detector import FaceScore, Score
from detect.report import EvidencePicture
from media.clip import MediaError
from media.landmarks import box_overlap

if TYPE_CHECKING:
    from media.clip import UInt8Array
    from media.faces import FaceFinder

Box = tuple[float, float, float, float]

FACES_SHOWN = 6
"""A crowd does not help a reader; the most suspicious faces do."""

SEARCHED_SECONDS = 600.0
"""A picture is looked for in the first ten minutes only: a later moment means decoding everything before it."""

SCENE_SIDE = 960
FACE_SIDE = 240


def evidence_pictures(path: Path, score: Score, progress: Callable[[str], None]) -> tuple[EvidencePicture, ...]:
    """Cut out the most suspicious moment of each face, in one pass over the file.

    A picture that cannot be cut out is left out: the answer does not depend on it.
    """
    moments = sorted(_moments(score), key=lambda moment: moment[0])
    if not moments:
        return ()
    progress("Cutting out evidence pictures")
    from media.faces import FaceFinder

    pictures: list[EvidencePicture] = []
    try:
        with FaceFinder() as finder:
            frames = _frames(path)
            seconds, image, width = next(frames)
            for wanted, face in moments:
                while seconds + 1e-3 < wanted:
                    following = next(frames, None)
                    if following is None:
                        break
                    seconds, image, width = following
                scale = image.shape[1] / width
                box = closest_face(image, _scaled(face.box, scale), finder)
                pictures.append(_picture(face.track, seconds, image, box))
    except (MediaError, OSError, StopIteration):
        # the file ended before its own timeline did: what was found so far stands
        return tuple(sorted(pictures, key=lambda picture: picture.track))
    return tuple(sorted(pictures, key=lambda picture: picture.track))


def most_suspicious_second(face: FaceScore, within_seconds: float = SEARCHED_SECONDS) -> float | None:
    """When a face scored highest, or the middle of its appearance where there is no timeline; None if too late."""
    points = [point for point in face.timeline if not isnan(point.probability) and point.seconds <= within_seconds]
    if points:
        return max(points, key=lambda point: point.probability).seconds
    middle = (face.first_second + face.last_second) / 2
    return middle if middle <= within_seconds else None


def closest_face(image: UInt8Array, around: Box, finder: FaceFinder) -> Box:
    """Where the face is in this very frame; the box asked for is a median over the whole track."""
    wanted = np.array(around, np.float32)
    best, best_overlap = around, 0.15
    for seen in finder.find(image):
        if (shared := box_overlap(seen.box, wanted)) > best_overlap:
            best, best_overlap = (
                (float(seen.box[0]), float(seen.box[1]), float(seen.box[2]), float(seen.box[3])),
                shared,
            )
    return best


def _moments(score: Score) -> Iterator[tuple[float, FaceScore]]:
    """(second, face) for the faces to show, the most suspicious ones first served."""
    ranked = sorted(score.faces, key=lambda face: -1.0 if isnan(face.probability) else face.probability, reverse=True)
    for face in ranked[:FACES_SHOWN]:
        second = most_suspicious_second(face)
        if second is not None:
            yield second, face


def _frames(path: Path) -> Iterator[tuple[float, UInt8Array, int]]:
    """(second, frame, width of the file's own frames), in order, from a video or a single picture."""
    from media.video import probe, read_image, stream_frames

    try:
        width = probe(path).width
    except MediaError:
        image = read_image(path)
        yield 0.0, image, image.shape[1]
        return
    for frame in stream_frames(path, max_side=SCENE_SIDE):
        yield frame.pts_seconds, frame.image, width


def _scaled(box: Box, scale: float) -> Box:
    return (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale)


def _inside(box: Box, width: int, height: int) -> Box:
    """The part of a box that lies in the picture; the whole picture where none does."""
    left, top, right, bottom = max(0.0, box[0]), max(0.0, box[1]), min(box[2], width), min(box[3], height)
    return (left, top, right, bottom) if right > left and bottom > top else (0.0, 0.0, float(width), float(height))


def _picture(track: int, seconds: float, image: UInt8Array, box: Box) -> EvidencePicture:
    """The frame and the face in it, as JPEG."""
    from PIL import Image

    scene = Image.fromarray(image)
    box = _inside(box, scene.width, scene.height)
    side = min(1.5 * max(box[2] - box[0], box[3] - box[1], 8.0), scene.width, scene.height)
    left = min(max(0.0, (box[0] + box[2] - side) / 2), scene.width - side)
    top = min(max(0.0, (box[1] + box[3] - side) / 2), scene.height - side)
    face = scene.transform(
        (FACE_SIDE, FACE_SIDE), Image.Transform.EXTENT, (left, top, left + side, top + side), Image.Resampling.BICUBIC
    )
    scene.thumbnail((SCENE_SIDE, SCENE_SIDE))
    scale = scene.width / image.shape[1]
    return EvidencePicture(track, seconds, scene.width, scene.height, _scaled(box, scale), _jpeg(scene), _jpeg(face))


def _jpeg(image: object) -> bytes:
    """JPEG bytes of a Pillow picture."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
