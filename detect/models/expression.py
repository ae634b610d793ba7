"""How the curves of a face run: measurements of landmarks and expressions in every frame of one second.

A tracker follows a filmed mouth with a little jitter, because every frame has its own light, grain and blur, and
because muscles do not move along polynomials. A generated mouth comes out of a network that was asked for a smooth
motion, and its clean texture is tracked smoothly. So the third differences of its curves are small for their second
differences. And a head that speaks moves with its mouth, where generators make the two apart.

Nothing here depends on how large a face is in the picture, provided that all faces are tracked at one size
(`TRACK_SIDE`): a tracker jitters less on a large picture.

Axes: T frames, L landmarks, C curves, B blendshapes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from media.clip import FloatArray
from media.landmarks import BLENDSHAPE_NAMES, LIPS_INNER, LIPS_OUTER, outer_eye_distance, similarity_between

Array = NDArray[np.float64]

TRACK_SIDE = 85.0
"""Pixels from the brows to the chin, at most, of a face whose every frame is tracked."""
MIN_TRACKED_FRAMES = 12
"""Consecutive frames that a second needs: third differences of fewer are a handful of numbers."""
EXPRESSIONS = ("rough_lips", "rough_expression", "rough_shape", "lips_with_head")
"""Order of the values of `expression_features`."""

LIPS: tuple[int, ...] = LIPS_OUTER + LIPS_INNER
BONY: tuple[int, ...] = (
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 10, 151, 9, 234, 454, 127, 356
)  # fmt: skip
"""Eye corners, nose, forehead and temples: points that expressions hardly move."""
MOUTH: tuple[int, ...] = tuple(
    i
    for i, name in enumerate(BLENDSHAPE_NAMES)
    if name == "jawOpen" or (name.startswith("mouth") and name not in ("mouthLeft", "mouthRight"))
)
LANDMARK_NOISE = 1e-4
"""Outer-eye distances under which a movement is none."""
BLENDSHAPE_NOISE = 1e-3


def longest_run(present_T: NDArray[np.bool_]) -> slice:
    """The longest run of consecutive True values, the first of equal ones; empty when there is none."""
    best = start = 0
    length = 0
    for at, value in enumerate([*present_T.tolist(), False]):
        if not value:
            if at - start > length:
                best, length = start, at - start
            start = at + 1
    return slice(best, best + length)


def without_head(landmarks_TL2: Array) -> tuple[Array, Array]:
    """Landmarks with the motion of the head taken out, and that motion.

    Args:
        landmarks_TL2: pixels.

    Returns:
        (T, L, 2) in outer-eye distances, every frame laid onto the median face by its bony points; (T, 4) shift across
        and down in outer-eye distances, turn in radians, logarithm of the zoom.
    """
    middle = np.median(landmarks_TL2, axis=0)
    unit = max(outer_eye_distance(middle.astype(np.float32)), 1e-6)
    points = landmarks_TL2 / unit
    target = middle[list(BONY)] / unit
    shapes, motions = [], []
    for frame in points:
        bony = frame[list(BONY)]
        matrix = similarity_between(bony, target)
        shapes.append(frame @ matrix[:, :2].T + matrix[:, 2])
        turn, zoom = np.arctan2(matrix[1, 0], matrix[0, 0]), np.log(np.hypot(matrix[0, 0], matrix[1, 0]) + 1e-9)
        motions.append([*bony.mean(axis=0), turn, zoom])
    return np.array(shapes), np.array(motions)


def roughness(curves_TC: Array, noise: float) -> float:
    """Logarithm of the third over the second differences of all curves together.

    0.6 for white noise (differences grow by the root of binomial sums), towards minus infinity for a smooth curve,
    whatever their height.

    Args:
        curves_TC: values in every frame.
        noise: mean difference that counts as none.
    """
    second, third = (np.abs(np.diff(curves_TC, order, axis=0)).mean(axis=0) + noise for order in (2, 3))
    return float(np.log(third.sum() / second.sum()))


def expression_features(landmarks_TL2: FloatArray, blendshapes_TB: FloatArray) -> FloatArray:
    """What the curves of one second of one face show, order of `EXPRESSIONS`; nan for what cannot be told.

    Args:
        landmarks_TL2: (T, 478, 2) pixels, of consecutive frames tracked through one fixed window; nan where no face
            was found.
        blendshapes_TB: (T, 51) in [0, 1], nan in the same frames.

    Raises:
        ValueError: for other shapes.
    """
    if landmarks_TL2.shape[1:] != (478, 2) or blendshapes_TB.shape != (len(landmarks_TL2), len(BLENDSHAPE_NAMES)):
        raise ValueError(
            f"landmarks must be (T, 478, 2) and blendshapes (T, {len(BLENDSHAPE_NAMES)}), "
            f"got {landmarks_TL2.shape} and {blendshapes_TB.shape}"
        )
    found = np.isfinite(landmarks_TL2).all(axis=(1, 2)) & np.isfinite(blendshapes_TB).all(axis=1)
    run = longest_run(np.asarray(found, np.bool_))
    if run.stop - run.start < MIN_TRACKED_FRAMES:
        return np.full(len(EXPRESSIONS), np.nan, np.float32)
    shape_TL2, head_T4 = without_head(landmarks_TL2[run].astype(np.float64))
    length = len(shape_TL2)
    lips_TC = shape_TL2[:, list(LIPS)].reshape(length, -1)
    mouth_TC = blendshapes_TB[run][:, list(MOUTH)].astype(np.float64)
    whole_TC = shape_TL2.reshape(length, -1) - shape_TL2.reshape(length, -1).mean(axis=0)
    left, strength, _ = np.linalg.svd(whole_TC, full_matrices=False)
    # the four movements that explain most of what this face does in this second
    main_TC = left[:, :4] * strength[:4]
    lip_speed = np.abs(np.diff(lips_TC, axis=0)).mean(axis=1)
    head_speed = np.abs(np.diff(head_T4, axis=0)).sum(axis=1)
    still = min(lip_speed.std(), head_speed.std()) < LANDMARK_NOISE / 10
    together = np.nan if still else float(np.corrcoef(lip_speed, head_speed)[0, 1])
    return np.array(
        [
            roughness(lips_TC, LANDMARK_NOISE),
            roughness(mouth_TC, BLENDSHAPE_NOISE),
            roughness(main_TC, LANDMARK_NOISE),
            together,
        ],
        np.float32,
    )
