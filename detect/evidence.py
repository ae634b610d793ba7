"""The pictures of a report: for each face, the moment at which it looked most suspicious.

The whole frame, the face, its mouth through that second, and, where a branch of the detector can tell, what in the
face it saw. All in one pass over the file; a picture that cannot be made is left out, never made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np

from detect.detector import FaceScore, Score
from detect.report import EvidencePicture
from media.clip import FloatArray, MediaError, UInt8Array
from media.landmarks import FaceObservation, align_matrix, box_overlap, warp

if TYPE_CHECKING:
    from media.faces import FaceFinder

Explain = Callable[[UInt8Array, FloatArray], tuple[UInt8Array, FloatArray]]
"""(frame, (478, 2) landmarks in it) -> what a branch saw (H, W, 3), and (H, W) what each place adds to its logit."""

Box = tuple[float, float, float, float]

FACES_SHOWN = 6
"""A crowd does not help a reader; the most suspicious faces do."""

SEARCHED_SECONDS = 600.0
"""A picture is looked for in the first ten minutes only: a later moment means decoding everything before it."""

SCENE_SIDE = 960
FACE_SIDE = 240
MOUTHS = 8
"""Frames of the strip of mouths, evenly spread over its second."""
MOUTH_WIDTH, MOUTH_HEIGHT = 112, 84
MOUTH_BOX = (0.26, 0.66, 0.74, 1.02)
"""Of the mouth in parts of the alignment template, brows to chin, x0 y0 x1 y1."""
HEAT_SAYS = (
    "What the seam branch looked at: red spoke for a pasted or rebuilt face, blue against it. "
    "The other branches (motion, surface) judge the whole face and have no map."
)


@runtime_checkable
class Explains(Protocol):
    """A detector one of whose branches can say where it looked."""

    def explain(self, image: UInt8Array, landmarks: FloatArray) -> tuple[UInt8Array, FloatArray]:
        """See `Explain`."""
        ...


class _Moment(NamedTuple):
    """What was gathered of one face: the frame asked for, and some of the second that begins with it."""

    face: FaceScore
    wanted: float
    frames: list[tuple[float, UInt8Array]]


def evidence_pictures(
    path: Path, score: Score, progress: Callable[[str], None], *, explain: Explain | None = None
) -> tuple[EvidencePicture, ...]:
    """Cut out the most suspicious moment of each face, in one pass over the file.

    A picture that cannot be cut out is left out: the answer does not depend on it.

    Args:
        path: video or picture.
        score: whose faces are shown.
        progress: told the step.
        explain: tells what in a face a branch of the detector saw.
    """
    wanted = sorted(_moments(score), key=lambda moment: moment[0])
    if not wanted:
        return ()
    progress("Cutting out evidence pictures")
    from media.faces import FaceFinder

    pictures: list[EvidencePicture] = []
    try:
        with FaceFinder() as finder:
            for moment, width in _gathered(path, [_Moment(face, second, []) for second, face in wanted]):
                pictures.append(_picture(moment, width, finder, explain))
    except (MediaError, OSError):
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


def closest_face(image: UInt8Array, around: Box, finder: FaceFinder) -> tuple[Box, FaceObservation | None]:
    """Where the face is in this very frame, and its landmarks; the box asked for is a median over the whole track."""
    wanted = np.array(around, np.float32)
    best, best_overlap = None, 0.15
    for seen in finder.find(image):
        if (shared := box_overlap(seen.box, wanted)) > best_overlap:
            best, best_overlap = seen, shared
    if best is None:
        return around, None
    return (float(best.box[0]), float(best.box[1]), float(best.box[2]), float(best.box[3])), best


def mouth_strip(images: list[UInt8Array], face: FaceObservation, finder: FaceFinder) -> UInt8Array | None:
    """The mouth in several frames side by side, each turned and scaled alike; None where it is seen in one only.

    Args:
        images: consecutive frames; the face was seen in the first.
        face: as seen there.
        finder: measures it in the others.

    Returns:
        (MOUTH_HEIGHT, N * MOUTH_WIDTH, 3).
    """
    mouths = []
    for image in images:
        seen = face if image is images[0] else finder.measure(image, face.box)
        if seen is None:
            continue
        face = seen
        side = 4 * MOUTH_WIDTH
        matrix = align_matrix(face.landmarks, side, 0.25)
        left, top, right, bottom = ((v + 0.25) / 1.5 * side for v in MOUTH_BOX)
        cut = warp(image, matrix, side)[round(top) : round(bottom), round(left) : round(right)]
        mouths.append(cv2.resize(cut, (MOUTH_WIDTH, MOUTH_HEIGHT), interpolation=cv2.INTER_AREA))
    return np.asarray(np.concatenate(mouths, axis=1), np.uint8) if len(mouths) > 1 else None


def tinted(picture: UInt8Array, heat: FloatArray, full: float = 6.0) -> UInt8Array:
    """A grey picture, red where the heat is above nothing and blue where it is below.

    The scale is fixed, not stretched to each picture's own range: a face in which nothing was seen stays grey.

    Args:
        picture: (H, W, 3).
        heat: (H, W) contributions to a logit.
        full: contribution at which the tint is strongest.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    share = np.clip(heat / full, -1.0, 1.0)[..., None]
    colour = np.where(share > 0, np.array([214.0, 40.0, 32.0]), np.array([40.0, 96.0, 200.0]))
    strength = 0.6 * np.abs(share)
    return np.asarray(grey * (1.0 - strength) + colour * strength, np.uint8)


def _moments(score: Score) -> Iterator[tuple[float, FaceScore]]:
    """(second, face) for the faces to show, the most suspicious ones first served."""
    ranked = sorted(score.faces, key=lambda face: -1.0 if isnan(face.probability) else face.probability, reverse=True)
    for face in ranked[:FACES_SHOWN]:
        second = most_suspicious_second(face)
        if second is not None:
            yield second, face


def _gathered(path: Path, moments: list[_Moment]) -> Iterator[tuple[_Moment, int]]:
    """Each moment with its frames, and the width of the file's own frames, as soon as its second is over."""
    waiting, before = list(moments), None
    width = 0
    for seconds, image, width in _frames(path):
        for moment in list(waiting):
            late = seconds >= moment.wanted + 1.0 - 1e-3
            if late and moment.frames:
                waiting.remove(moment)
                yield moment, width
            elif seconds + 1e-3 >= moment.wanted and len(moment.frames) < MOUTHS:
                due = moment.wanted + len(moment.frames) / MOUTHS
                if seconds + 1e-3 >= due:
                    moment.frames.append((seconds, image))
        before = (seconds, image)
        if not waiting:
            # what comes later need not be decoded
            return
    for moment in waiting:
        if not moment.frames and before is not None:
            # the timeline names a second of which no frame is left: its last frame is the nearest
            moment.frames.append(before)
        if moment.frames:
            yield moment, width


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


def _picture(moment: _Moment, width: int, finder: FaceFinder, explain: Explain | None) -> EvidencePicture:
    """The frame, the face in it, its mouth and what a branch saw, as JPEG."""
    from PIL import Image

    seconds, image = moment.frames[0]
    box, seen = closest_face(image, _scaled(moment.face.box, image.shape[1] / width), finder)
    scene = Image.fromarray(image)
    box = _inside(box, scene.width, scene.height)
    side = min(1.5 * max(box[2] - box[0], box[3] - box[1], 8.0), scene.width, scene.height)
    left = min(max(0.0, (box[0] + box[2] - side) / 2), scene.width - side)
    top = min(max(0.0, (box[1] + box[3] - side) / 2), scene.height - side)
    face = scene.transform(
        (FACE_SIDE, FACE_SIDE), Image.Transform.EXTENT, (left, top, left + side, top + side), Image.Resampling.BICUBIC
    )
    mouths = mouth_strip([picture for _, picture in moment.frames], seen, finder) if seen is not None else None
    heat = None
    if explain is not None and seen is not None:
        heat = tinted(*explain(image, seen.landmarks[:, :2]))
        heat = np.asarray(cv2.resize(heat, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    scene.thumbnail((SCENE_SIDE, SCENE_SIDE))
    scale = scene.width / image.shape[1]
    return EvidencePicture(
        moment.face.track,
        seconds,
        scene.width,
        scene.height,
        _scaled(box, scale),
        _jpeg(scene),
        _jpeg(face),
        mouths_jpeg=b"" if mouths is None else _jpeg(Image.fromarray(mouths)),
        mouths=0 if mouths is None else mouths.shape[1] // MOUTH_WIDTH,
        heat_jpeg=b"" if heat is None else _jpeg(Image.fromarray(heat)),
        heat_says="" if heat is None else HEAT_SAYS,
    )


def _jpeg(image: object) -> bytes:
    """JPEG bytes of a Pillow picture."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
