"""Geometry of the 478-point face: what a found face is, alignment, lip opening, head angles. Pure functions.

    crop = crop_face(image, face.landmarks, size=256)     # upright, eyes and mouth at the same place every time
    lip_aperture(face.landmarks)                          # 0 when the lips touch
    yaw, pitch, roll = head_angles(face.pose)             # degrees

Axes: picture coordinates are pixels, x right, y down, (0, 0) the centre of the first pixel. "Left" and "right" in
names are the person's own. Finding faces is `media.faces`, following them `media.tracking`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import asin, atan2, degrees

import cv2
import numpy as np
from numpy.typing import NDArray

from media.clip import FloatArray, UInt8Array

LANDMARKS = 478

BLENDSHAPE_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""The 51 ARKit coefficients that the face network gives, in its order, without its `_neutral`; no `tongueOut`."""
BLENDSHAPE_INDEX: dict[str, int] = {name: i for i, name in enumerate(BLENDSHAPE_NAMES)}

# All rings are closed: the last point joins the first.
LIPS_OUTER: tuple[int, ...] = (
    61,
    146,
    91,
    181,
    84,
    17,
    314,
    405,
    321,
    375,
    291,
    409,
    270,
    269,
    267,
    0,
    37,
    39,
    40,
    185,
)
"""Outer border of the lips: from the right mouth corner along the lower lip to the left, back along the upper."""
LIPS_INNER: tuple[int, ...] = (
    78,
    95,
    88,
    178,
    87,
    14,
    317,
    402,
    318,
    324,
    308,
    415,
    310,
    311,
    312,
    13,
    82,
    81,
    80,
    191,
)
"""Inner border of the lips, same order: the mouth opening."""
RIGHT_EYE: tuple[int, ...] = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
"""Border of the person's right eye (on the left of a picture): outer corner, lower lid, inner corner, upper lid."""
LEFT_EYE: tuple[int, ...] = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
"""Border of the person's left eye, same order."""
FACE_OVAL: tuple[int, ...] = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Outline of the face from the top of the forehead, clockwise in the picture."""
RIGHT_IRIS: tuple[int, ...] = (468, 469, 470, 471, 472)
"""Centre, then four points of the rim, of the person's right iris."""
LEFT_IRIS: tuple[int, ...] = (473, 474, 475, 476, 477)
"""Centre, then four points of the rim, of the person's left iris."""
EYE_CORNERS: tuple[int, int, int, int] = (33, 133, 362, 263)
"""Right outer, right inner, left inner, left outer."""
MOUTH_CORNERS: tuple[int, int] = (61, 291)
"""Right, left."""
INNER_LIP_MIDDLE: tuple[int, int] = (13, 14)
"""Middle of the inner border of the upper and of the lower lip."""

ALIGN_POINTS: tuple[tuple[int, ...], ...] = ((33, 133), (362, 263), (61, 291, 0, 17))
"""Landmarks averaged into the three anchors of the alignment: right eye, left eye, mouth."""
ALIGN_TEMPLATE: tuple[tuple[float, float], ...] = ((0.3170, 0.3950), (0.6830, 0.3950), (0.5, 0.7950))
"""Where the three anchors lie in a crop of margin 0, in parts of its side: brows to chin fill the square."""


@dataclass(frozen=True, eq=False)
class FaceObservation:
    """One face in one picture."""

    box: FloatArray
    """(4,) x0, y0, x1, y1 in pixels: the tightest box around the landmarks; may reach out of the picture."""
    landmarks: FloatArray
    """(478, 3) x, y in pixels and z, growing away from the camera from the middle of the head, in the same unit."""
    blendshapes: FloatArray
    """(51,) in [0, 1], order of `BLENDSHAPE_NAMES`."""
    pose: FloatArray
    """(4, 4) from head (centimetres, x to the picture's right, y up, z out of the face) to a camera at the origin that
    looks along -z with 63 degrees between the top and the bottom of the picture."""
    score: float
    """Confidence of the face detector, in [0, 1]."""

    def __post_init__(self) -> None:
        """Refuse arrays of other shapes and values that are not finite."""
        wanted = {"box": (4,), "landmarks": (LANDMARKS, 3), "blendshapes": (len(BLENDSHAPE_NAMES),), "pose": (4, 4)}
        for name, shape in wanted.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} must be {shape}, got {array.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite, got NaN or infinity")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score must be in [0, 1], got {self.score}")

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


def landmark_box(landmarks: FloatArray) -> FloatArray:
    """The tightest (4,) box x0, y0, x1, y1 around (478, 3) landmarks."""
    xy = landmarks[:, :2]
    return np.concatenate([xy.min(axis=0), xy.max(axis=0)]).astype(np.float32)


def box_overlap(a: FloatArray, b: FloatArray) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0.0, None)))
    total = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / total if total > 0 else 0.0


def same_place(a: FloatArray, b: FloatArray) -> bool:
    """Whether two boxes show one face: intersection over union of 0.3 or more, or one holds most of the other."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0.0, None)))
    smaller = min(float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2])))
    return box_overlap(a, b) >= 0.3 or (smaller > 0 and shared >= 0.7 * smaller)


def outer_eye_distance(landmarks: FloatArray) -> float:
    """Distance in pixels between the outer eye corners (33 and 263), in the picture plane."""
    return float(np.linalg.norm(landmarks[33, :2] - landmarks[263, :2]))


def lip_aperture(landmarks: FloatArray) -> float:
    """Gap between the inner lips (13 to 14) over the outer-eye distance; 0 when the lips touch."""
    upper, lower = INNER_LIP_MIDDLE
    gap = float(np.linalg.norm(landmarks[upper, :2] - landmarks[lower, :2]))
    return gap / max(outer_eye_distance(landmarks), 1e-6)


def head_angles(pose: FloatArray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of a (4, 4) head-to-camera pose.

    Yaw > 0: the head turns towards the picture's right; pitch > 0: up; roll > 0: clockwise in the picture. The head is
    turned by roll about the camera's axis last: rotation = Rz(-roll) Ry(yaw) Rx(-pitch).
    """
    turn = np.asarray(pose, np.float64)[:3, :3]
    turn = turn / np.cbrt(max(np.linalg.det(turn), 1e-12))
    yaw = asin(float(np.clip(-turn[2, 0], -1.0, 1.0)))
    pitch = -atan2(float(turn[2, 1]), float(turn[2, 2]))
    roll = -atan2(float(turn[1, 0]), float(turn[0, 0]))
    return degrees(yaw), degrees(pitch), degrees(roll)


CAMERA_DEGREES = 63.0
"""Angle between the top and the bottom of the picture that poses assume, as the face library does."""


def head_pose(
    landmarks: FloatArray, width: int, height: int, model: NDArray[np.float64], weights: NDArray[np.float64]
) -> FloatArray:
    """The (4, 4) pose that turns a model head onto the landmarks of one picture, as `FaceObservation` means it.

    The landmarks' own depth is known only up to scale; two rounds find the scale at which the unprojected points are as
    large as the model, then a weighted Procrustes fit gives the rigid motion. Same convention and, on whole pictures,
    the same result as the face library's own matrices; computed here so that a face measured on a crop gets the pose it
    has in the whole picture.

    Args:
        landmarks: (478, 3) pixels.
        width: of the picture in pixels.
        height: of the picture in pixels.
        model: (468, 3) points of the neutral head in centimetres, x right, y up, z out of the face.
        weights: (468,) of the points; most are 0.
    """
    used = np.flatnonzero(weights > 0)
    source, weight = model[used], weights[used]
    points = np.asarray(landmarks, np.float64)[: len(model)]
    # onto the plane at distance 1, y up; depth in the same unit
    unit = 2.0 * np.tan(np.radians(CAMERA_DEGREES) / 2) / height
    flat = (points - [(width - 1) / 2, (height - 1) / 2, 0.0]) * [unit, -unit, unit]
    offset = float(flat[:, 2].mean())
    scale = weighted_similarity(source, flat[used] * [1, 1, -1], weight)[0]
    for _ in range(2):
        depth = (flat[used, 2] - offset + 1.0) / scale
        solid = np.stack([flat[used, 0] * depth, flat[used, 1] * depth, -depth], axis=1)
        size, turn, shift = weighted_similarity(source, solid, weight)
        scale *= size
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, shift / size
    return pose.astype(np.float32)


def head_misfit(landmarks: FloatArray, model: NDArray[np.float64]) -> float:
    """How far landmarks are from any turned and scaled model head: root mean square in the model's centimetres."""
    points = np.asarray(landmarks, np.float64)[: len(model)] * [1, -1, -1]
    scale, turn, shift = weighted_similarity(model, points, np.ones(len(model)))
    apart = points - (scale * model @ turn.T + shift)
    return float(np.sqrt((apart**2).sum(axis=1).mean())) / max(scale, 1e-9)


def weighted_similarity(
    source: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale, (3, 3) rotation and (3,) shift that bring (N, 3) points nearest to others, errors weighted by (N,)."""
    total = weights.sum()
    mean_source = weights @ source / total
    mean_target = weights @ target / total
    a, b = source - mean_source, target - mean_target
    left, _, right = np.linalg.svd((b * weights[:, None]).T @ a)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = left @ flip @ right
    moved = a @ turn.T
    scale = float((weights[:, None] * moved * b).sum() / (weights[:, None] * a * a).sum())
    return scale, turn, mean_target - scale * turn @ mean_source


def similarity_between(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (2, 3) rotation + uniform scale + shift that brings (N, 2) source points nearest to (N, 2) target points.

    Raises:
        ValueError: when all source points are the same.
    """
    mean_source, mean_target = source.mean(axis=0), target.mean(axis=0)
    a, b = source - mean_source, target - mean_target
    spread = float((a**2).sum())
    if spread < 1e-12:
        raise ValueError("points must not all be the same")
    real = float((a * b).sum()) / spread
    imaginary = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    linear = np.array([[real, -imaginary], [imaginary, real]])
    return np.concatenate([linear, (mean_target - linear @ mean_source)[:, None]], axis=1)


BORDER_PIXELS, SEARCH_PIXELS = 3, 24
"""Of a picture made smaller: kept around what is shown, and looked through for a good place to cut."""


def align_matrix(landmarks: FloatArray, size: int, margin: float = 0.25) -> FloatArray:
    """The (2, 3) map from picture pixels to an aligned square crop: rotation, uniform scale and shift only.

    Three anchors (mean of each eye's corners; mean of mouth corners and lip middles), which hardly move when a person
    blinks or looks around, go to `ALIGN_TEMPLATE`.

    Args:
        landmarks: (478, 2 or 3) pixels.
        size: side of the crop in pixels.
        margin: room added on each side, in parts of the template's side: 0 shows brows to chin, 0.25 the whole
            head without most of the hair, 0.5 head and neck.

    Raises:
        ValueError: for a size below 1, a margin of -0.4 or less, or landmarks in one point.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if margin <= -0.4:
        raise ValueError(f"margin must be above -0.4, got {margin}")
    points = np.asarray(landmarks, np.float64)[:, :2]
    anchors = np.stack([points[list(group)].mean(axis=0) for group in ALIGN_POINTS])
    # half a pixel: (0, 0) is the centre of the first pixel, the template is in parts of the square's outer edge
    target = (np.array(ALIGN_TEMPLATE) + margin) / (1 + 2 * margin) * size - 0.5
    return similarity_between(anchors, target).astype(np.float32)


def crop_face(image: UInt8Array, landmarks: FloatArray, size: int, margin: float = 0.25) -> UInt8Array:
    """The (size, size, 3) aligned crop of a face; outside the picture its border repeats.

    Args:
        image: (H, W, 3) uint8.
        landmarks: (478, 2 or 3) pixels.
        size: side of the crop in pixels.
        margin: see `align_matrix`.
    """
    matrix = align_matrix(landmarks, size, margin)
    return warp(image, matrix, size)


def warp(image: UInt8Array, matrix: FloatArray, size: int) -> UInt8Array:
    """Draw an image through a (2, 3) map into a (size, size, 3) square, without aliasing when it shrinks."""
    scale = float(np.sqrt(abs(np.linalg.det(np.asarray(matrix, np.float64)[:, :2]))))
    source, used = image, np.asarray(matrix, np.float64)
    if scale < 0.6:
        # warpAffine samples points: shrink by area averaging first, so that no detail folds into false texture
        source, used = _shrunk(image, used, size, 1.2 * scale)
    drawn = cv2.warpAffine(source, used, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.uint8)


def _shrunk(
    image: UInt8Array, matrix: NDArray[np.float64], size: int, scale: float
) -> tuple[UInt8Array, NDArray[np.float64]]:
    """The part of an image that a map shows, made smaller, and the map for it.

    The pixels are those that shrinking the whole image would give, but for a small fraction of one in their place.
    """
    corners = np.array([[0, 0, size, size], [0, size, 0, size]], np.float64)
    seen = np.linalg.solve(matrix[:, :2], corners - matrix[:, 2:])
    (x0, x1, small_width), (y0, y1, small_height) = (
        _stretch(length, float(low), float(high), scale)
        for length, low, high in zip(image.shape[1::-1], seen.min(axis=1), seen.max(axis=1), strict=True)
    )
    part = np.ascontiguousarray(image[y0:y1, x0:x1])
    small = cv2.resize(part, (small_width, small_height), interpolation=cv2.INTER_AREA)
    ratio = np.array([(x1 - x0) / small_width, (y1 - y0) / small_height])
    linear = matrix[:, :2] * ratio[None, :]
    shift = matrix[:, 2] + matrix[:, :2] @ (0.5 * ratio - 0.5 + np.array([x0, y0]))
    return np.asarray(small, np.uint8), np.concatenate([linear, shift[:, None]], axis=1)


def _stretch(length: int, low: float, high: float, scale: float) -> tuple[int, int, int]:
    """Pixels [start, end) of a side that hold [low, high], and how many they become.

    Start and end lie where the borders of small pixels of the whole side come closest to borders of large ones.
    """
    count = max(1, round(length * scale))
    ratio = length / count
    first = min(max(int(low / ratio) - BORDER_PIXELS, 0), count - 1)
    last = max(min(int(high / ratio) + 1 + BORDER_PIXELS, count), first + 1)
    starts = np.arange(max(first - SEARCH_PIXELS, 0), first + 1)
    ends = np.arange(last, min(last + SEARCH_PIXELS, count) + 1)
    first, last = (int(at[np.argmin(np.abs(at * ratio - np.round(at * ratio)))]) for at in (starts, ends))
    return round(first * ratio), round(last * ratio), last - first
