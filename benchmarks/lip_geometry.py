"""Lips freed from head, size and person, and the sound around each frame: what the judges of motion look at.

    lips = lips_of_track(track)                     # (T, 80): 40 lip points, x then y of each
    sound_TFB = sound_windows(bands, np.arange(T))  # (T, 20, 80): 0.2 s of log-mel around the middle of each frame

A track is freed from the head's turn by its own 3-D landmarks; a motion is drawn with the head still. Both are given
in outer-eye distances, less the clip's own median mouth, at 25 frames a second.

Axes: T frames, L = 80 lip coordinates, F = 20 hearing frames of 10 ms, B = 80 log-mel bands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forge.face.student_motion import place_of
from forge.mesh.face import MeshFace
from forge.motion.features import POSE, Motion
from forge.motion.hearing import BANDS, HEARING_HZ, hear
from media.clip import Waveform
from media.faces import FaceTrack
from media.landmarks import LIPS_INNER, LIPS_OUTER

FloatArray = NDArray[np.float32]
FPS = 25
LIP_POINTS = LIPS_OUTER + LIPS_INNER
LIP_VALUES = 2 * len(LIP_POINTS)
SOUND_FRAMES = 20
"""Hearing frames of one look at the sound: 0.2 s, as SyncNet."""
PER_FRAME = HEARING_HZ // FPS
SILENT = -2.0
"""Value of bands where there is no sound."""
RING = len(LIPS_OUTER)


def lips_of_track(track: FaceTrack) -> FloatArray:
    """(T, 80) lips from the first to the last frame of a track; hidden frames are bridged by straight lines."""
    rows = []
    for points in track.landmarks.astype(np.float64):
        place = place_of(np.asarray(points, np.float32))
        still = (points - place.pivot) @ place.turn  # turn's transpose undoes it: rows are points
        rows.append(_lips(still[:, :2]))
    lips = np.stack(rows)
    frames = np.arange(track.frame_indices[0], track.frame_indices[-1] + 1)
    whole = np.stack([np.interp(frames, track.frame_indices, column) for column in lips.T], axis=1)
    return without_person(whole)


def lips_of_motion(face: MeshFace, motion: Motion) -> FloatArray:
    """(T, 80) exact lips of a motion on a face whose head is kept still."""
    values = motion.values.copy()
    values[:, POSE] = 0.0
    landmarks = face.truth(Motion(values, motion.fps)).landmarks.astype(np.float64)
    return without_person(np.stack([_lips(points) for points in landmarks]))


def _lips(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(80,) lip points of (478, 2), upright and in outer-eye distances."""
    across = points[263] - points[33]
    size = max(float(np.linalg.norm(across)), 1e-9)
    cosine, sine = across / size
    upright = points[list(LIP_POINTS)] @ np.array([[cosine, -sine], [sine, cosine]])
    return np.asarray(upright.reshape(-1) / size, np.float64)


def without_person(lips: NDArray[np.float64]) -> FloatArray:
    """(T, 80) less the clip's median mouth; what the whole mouth does against the eyes (chewing, sway) stays."""
    return np.asarray(lips - np.median(lips, axis=0), np.float32)


def mirrored(lips: FloatArray) -> FloatArray:
    """The same talk by the mirrored person."""
    points = lips.reshape(-1, len(LIP_POINTS), 2)
    ring = (RING // 2 - np.arange(RING)) % RING
    swapped = points[:, np.concatenate([ring, RING + ring])] * np.array([-1.0, 1.0], np.float32)
    return np.asarray(swapped.reshape(lips.shape), np.float32)


def bands_of(sound: Waveform) -> FloatArray:
    """(H, 80) log-mel bands of a sound, 100 a second."""
    return hear(sound).bands


def sound_windows(bands: FloatArray, frames: NDArray[np.int64]) -> FloatArray:
    """(T, 20, 80) sound around the middle of video frames; silence beyond both ends.

    Args:
        bands: (H, 80) from the beginning of the clip.
        frames: (T,) frame numbers, 25 a second; may be negative or beyond the end.
    """
    middle = PER_FRAME * np.asarray(frames) + PER_FRAME // 2
    rows = middle[:, None] + np.arange(-SOUND_FRAMES // 2, SOUND_FRAMES // 2)[None]
    inside = (rows >= 0) & (rows < len(bands))
    out = np.full((*rows.shape, BANDS), SILENT, np.float32)
    out[inside] = bands[rows[inside]]
    return out
