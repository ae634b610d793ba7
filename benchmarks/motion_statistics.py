"""How a Motion behaves: tracks made of it, blinks, beats, closures, jerk at seams, drift, likeness of two takes. Pure.

    track = track_of_motion(face, motion)          # what a perfect tracker would see of the motion on this face
    measure_talking(name, track, sound)            # `benchmarks.talking`: same statistics as of filmed people

Axes: T frames at 25 a second, M = 70 motion features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from benchmarks.talking import correlation
from forge.mesh.face import MeshFace
from forge.motion.features import INDEX, POSE, Motion
from forge.motion.hearing import HEARING_HZ
from forge.motion.pronunciation import Timed
from forge.motion.speech import DEGREES_PER_GAZE, local_peaks
from media.faces import FaceTrack
from media.landmarks import BLENDSHAPE_NAMES

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

FPS = 25
BEAT_WIDTH_SECONDS = 0.12
"""Standard deviation of the bell that says how near a turning point of the head is to a beat of the voice."""
SHUT = 0.015
"""Lips count as closed up to this gap between the inner lips over the outer-eye distance: a pixel and a half at a
portrait of 100 px between the eyes' corners, a quarter of the deviation of a talking mouth."""
CLOSURE_SLACK_SECONDS = 0.04
"""A closure may come a frame early or late: the aligner's step and the frame's own length."""


def track_of_motion(face: MeshFace, motion: Motion) -> FaceTrack:
    """The exact landmarks, coefficients and head turns of a motion on a face, as a track."""
    length = motion.length
    landmarks = np.zeros((length, 478, 3), np.float32)
    landmarks[..., :2] = face.truth(motion).landmarks
    poses = np.tile(np.eye(4, dtype=np.float32), (length, 1, 1))
    poses[:, :3, :3] = rotations(motion.values[:, :3].astype(np.float64))
    low, high = landmarks[..., :2].min(axis=1), landmarks[..., :2].max(axis=1)
    frames = np.arange(length, dtype=np.int32)
    shapes = np.stack([np.clip(motion[name], 0.0, 1.0) for name in BLENDSHAPE_NAMES], axis=1)
    return FaceTrack(
        frames, frames / FPS, np.concatenate([low, high], axis=1), landmarks, shapes, poses, np.ones(length, np.float32)
    )


def rotations(degrees_T3: Array) -> Array:
    """(T, 3, 3) turns of yaw, pitch, roll in the camera's axes: what `media.landmarks.head_angles` undoes."""
    yaw, pitch, roll = degrees_T3.T
    turn = Rotation.from_euler("ZYX", np.stack([-roll, yaw, -pitch], axis=1), degrees=True)
    return np.asarray(turn.as_matrix())


def blink_spans(closure: Array, close: float = 0.4, reopen: float = 0.3, max_frames: int = 15) -> list[tuple[int, int]]:
    """First closed and first reopened frame of every blink, as `benchmarks.talking.count_blinks` counts them."""
    spans, since = [], -1
    for i, value in enumerate(closure):
        if since < 0 and value >= close:
            since = i
        elif since >= 0 and value <= reopen:
            if i - since <= max_frames:
                spans.append((since, i))
            since = -1
    return spans


def blink_seconds(closure: Array) -> float:
    """Mean time for which the eye is more than 30 to 40% closed in a blink; NaN without blinks."""
    spans = blink_spans(closure)
    return float(np.mean([end - start for start, end in spans])) / FPS if spans else nan


def voice_beats(bands: FloatArray) -> Array:
    """Seconds at which the sound gets louder and brighter at once (peaks of the spectral flux)."""
    flux = np.clip(np.diff(gaussian_filter1d(bands.astype(np.float64), 2.0, axis=0), axis=0), 0.0, None).mean(axis=1)
    smooth = gaussian_filter1d(flux, 3.0)
    lowest = float(smooth.mean() + 0.5 * smooth.std())
    return np.asarray([(peak + 1) / HEARING_HZ for peak in local_peaks(smooth, lowest=lowest, apart=20)], np.float64)


def head_turning_points(angles_T3: Array) -> Array:
    """Seconds at which the head is slowest between two turns: minima of its angular speed."""
    speed = np.linalg.norm(np.gradient(gaussian_filter1d(angles_T3, 1.5, axis=0), axis=0), axis=1)
    inner = np.flatnonzero((speed[1:-1] < speed[:-2]) & (speed[1:-1] <= speed[2:])) + 1
    return np.asarray((inner + 0.5) / FPS, np.float64)


def beat_alignment(turning: Array, beats: Array) -> float:
    """Mean over beats of the voice of a bell around the nearest turning point; NaN without either.

    0 to 1, and never 0 by chance: compare it with the value for beats of another utterance.
    """
    if not len(turning) or not len(beats):
        return nan
    gap = np.abs(beats[:, None] - turning[None]).min(axis=1)
    return float(np.exp(-0.5 * (gap / BEAT_WIDTH_SECONDS) ** 2).mean())


def closures_of(visemes: Timed, end_seconds: float) -> list[tuple[float, float]]:
    """Start and end in seconds of every p, b, m of an utterance."""
    ends = [start for start, _ in visemes[1:]] + [end_seconds]
    return [(start, end) for (start, viseme), end in zip(visemes, ends, strict=True) if viseme == "p"]


def vowels_of(visemes: Timed, end_seconds: float) -> list[tuple[float, float]]:
    """The same of every a, e, i, o that lasts 60 ms or more: there the lips must be apart."""
    ends = [start for start, _ in visemes[1:]] + [end_seconds]
    return [
        (start, end)
        for (start, viseme), end in zip(visemes, ends, strict=True)
        if viseme in ("a", "e", "i", "o") and end - start >= 0.06
    ]


def least_gaps(gap_T: Array, spans: Sequence[tuple[float, float]], slack: float) -> Array:
    """(K,) least lip gap within each span of seconds, widened by `slack` on both sides."""
    moments = (np.arange(len(gap_T)) + 0.5) / FPS
    found = []
    for start, end in spans:
        inside = (moments >= start - slack) & (moments <= end + slack)
        if inside.any():
            found.append(float(gap_T[inside].min()))
    return np.asarray(found, np.float64)


def jerk(curve_TK: Array) -> Array:
    """(T - 3,) size of the third difference of (T, K) curves; entry i uses frames i to i + 3."""
    return np.asarray(np.linalg.norm(np.diff(curve_TK, n=3, axis=0), axis=1))


def seam_jerk(curve_TK: Array, window: int) -> float:
    """Mean jerk across the seams of windows over that elsewhere; NaN for less than one whole seam or a still curve."""
    sizes = jerk(curve_TK)
    first = np.arange(len(sizes))
    # frames i to i + 3 hold a seam when a multiple of the window lies in (i, i + 3]
    at_seam = (first + 3) // window > first // window
    if not at_seam.any() or at_seam.all() or sizes[~at_seam].mean() < 1e-12:
        return nan
    return float(sizes[at_seam].mean() / sizes[~at_seam].mean())


def gaze_in_camera(motion: Motion) -> Array:
    """(T, 2) degrees of yaw and pitch of the look, head included."""
    eyes = np.stack([motion["gaze_yaw"], motion["gaze_pitch"]], axis=1).astype(np.float64) * DEGREES_PER_GAZE
    return np.asarray(eyes + motion.pose[:, :2])


def likeness_of_takes(curves: Sequence[Array]) -> float:
    """Mean correlation between each two takes of a (T,) curve."""
    return float(np.mean([correlation(a, b) for a, b in combinations(curves, 2)])) if len(curves) > 1 else nan


def distance_of_takes(curves: Sequence[Array]) -> float:
    """Mean root mean square difference between each two takes of (T,) or (T, K) curves."""
    pairs = [float(np.sqrt(np.square(a - b).mean())) for a, b in combinations(curves, 2)]
    return float(np.mean(pairs)) if pairs else nan


def minute_drift(curve_T: Array, frames: int = 60 * FPS) -> float:
    """Change from the mean of the first minute to that of the last, in deviations within a minute; NaN if shorter."""
    if len(curve_T) < 2 * frames:
        return nan
    pieces = [curve_T[i : i + frames] for i in range(0, len(curve_T) - frames + 1, frames)]
    within = float(np.mean([piece.std() for piece in pieces]))
    return float((pieces[-1].mean() - pieces[0].mean()) / max(within, 1e-9))


def pose_curve(motion: Motion) -> Array:
    """(T, 3) yaw, pitch and roll in degrees."""
    return np.asarray(motion.values[:, POSE][:, :3], np.float64)


def lips_curve(motion: Motion) -> Array:
    """(T, K) coefficients of jaw and mouth."""
    columns = [i for name, i in INDEX.items() if name.startswith(("jaw", "mouth"))]
    return np.asarray(motion.values[:, columns], np.float64)
