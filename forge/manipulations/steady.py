"""A face that holds still when it holds still: smoothed landmarks, and settings that drift slowly instead of jumping.

    track = Steady.of(scene)
    track.points_TK3[7], track.seen_T[7]

The landmarker measures every frame for itself, so its points tremble by a third of a pixel. What is blended by them
would tremble too, and a trembling border is the first thing anyone sees.

Axes: T frames, K = 478 landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from forge.manipulations.scene import Scene
from forge.portrait import ForgeError
from media.landmarks import FaceObservation, head_angles

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

LONGEST_GAP_SECONDS = 0.2
"""A face that is lost for no longer is taken to have gone straight on."""
QUIET_SECONDS, MOVING_SECONDS = 0.08, 0.024
"""Standard deviations of the smoothing of a point at rest, and of one that moves."""
MOVES_FROM, MOVES_AT = 0.003, 0.014
"""How far (in face heights) the two smoothings are apart where a point begins to count as moving, and where it does."""
SMALLEST_FACE = 32.0
"""Pixels from forehead to chin: nothing can be forged in a smaller face."""
DRIFT_PERIODS_SECONDS = (2.0, 6.0)


@dataclass(frozen=True, eq=False)
class Steady:
    """One face through a clip."""

    points_TK3: Array
    """(T, 478, 3) smoothed landmarks in pixels; frames in which the face is not seen repeat a neighbour."""
    seen_T: BoolArray
    """(T,) whether there is a face to forge."""
    shapes_TB: Array
    """(T, 51) blendshapes as measured, lightly smoothed."""
    angles_T3: Array
    """(T, 3) yaw, pitch and roll of the head in degrees, smoothed."""

    @classmethod
    def of(cls, scene: Scene) -> Steady:
        """Fill short gaps and smooth.

        Raises:
            ForgeError: when the face is never seen, or too small.
        """
        known = np.array([face is not None and _in_frame(face, scene.size) for face in scene.faces])
        if not known.any():
            raise ForgeError("no face was found in the clip; choose another recording")
        faces = [face for face, is_known in zip(scene.faces, known, strict=True) if face is not None and is_known]
        points = _filled(np.stack([face.landmarks for face in faces]).astype(np.float64), known)
        tall = float(np.median(face_heights(points[known])))
        if tall < SMALLEST_FACE:
            raise ForgeError(f"the face is only {tall:.0f} pixels high; at least {SMALLEST_FACE:.0f} are needed")
        seen = _bridged(known, round(LONGEST_GAP_SECONDS * float(scene.fps)))
        shapes = _filled(np.stack([face.blendshapes for face in faces]).astype(np.float64), known)
        angles = _filled(np.array([head_angles(face.pose) for face in faces]), known)
        fps = float(scene.fps)
        for run in runs_of(seen):
            points[run] = _smooth_points(points[run], fps)
            shapes[run] = gaussian_filter1d(shapes[run], MOVING_SECONDS * fps, axis=0, mode="nearest")
            angles[run] = gaussian_filter1d(angles[run], QUIET_SECONDS * fps, axis=0, mode="nearest")
        return cls(points, seen, shapes, angles)

    @property
    def heights_T(self) -> Array:
        """(T,) pixels from forehead to chin."""
        return face_heights(self.points_TK3)


def face_heights(points_TK3: Array) -> Array:
    """(T,) pixels from forehead to chin of (T, 478, 2 or 3) landmarks."""
    return np.asarray(np.linalg.norm(points_TK3[:, 10, :2] - points_TK3[:, 152, :2], axis=-1))


def runs_of(chosen_T: BoolArray) -> list[slice]:
    """The stretches of consecutive frames that are chosen."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen_T, [False]]).astype(np.int8)))
    return [slice(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def drifting(rng: np.random.Generator, low: float, high: float, seconds_T: Array, share: float = 0.12) -> Array:
    """(T,) a setting drawn between two limits, swaying around its value by a share of the range as seconds pass."""
    value, sway = rng.uniform(low, high), share * (high - low) / 2
    curve = np.full(seconds_T.shape, value)
    for _ in range(2):
        period, phase = rng.uniform(*DRIFT_PERIODS_SECONDS), rng.uniform(0, 2 * np.pi)
        curve = curve + sway / 2 * np.sin(2 * np.pi * seconds_T / period + phase)
    return np.asarray(np.clip(curve, low, high))


def smoothstep(x: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth in between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def _in_frame(face: FaceObservation, size: int) -> bool:
    """Whether the middle of a face lies in the frame: of one that has left it, nothing is there to forge."""
    middle = face.landmarks[:, :2].mean(axis=0)
    return bool(((middle > 0) & (middle < size - 1)).all())


def _filled(values: Array, known_T: BoolArray) -> Array:
    """Values (N, ...) of the known frames over all frames: straight between neighbours, held at the ends."""
    at = np.flatnonzero(known_T)
    place = np.interp(np.arange(len(known_T)), at, np.arange(len(at)))
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, len(at) - 1)
    share = (place - before).reshape(-1, *([1] * (values.ndim - 1)))
    return np.asarray(values[before] * (1 - share) + values[after] * share)


def _bridged(known_T: BoolArray, longest: int) -> BoolArray:
    """Known frames, with the gaps between them closed that are not too long."""
    out = known_T.copy()
    inner = slice(int(np.flatnonzero(known_T)[0]), int(np.flatnonzero(known_T)[-1]) + 1)
    for gap in runs_of(~known_T):
        if gap.start >= inner.start and gap.stop <= inner.stop and gap.stop - gap.start <= longest:
            out[gap] = True
    return out


def _smooth_points(points_TK3: Array, fps: float) -> Array:
    """Landmarks of one run: much smoothed where they rest, hardly where they move."""
    quiet = gaussian_filter1d(points_TK3, QUIET_SECONDS * fps, axis=0, mode="nearest")
    moving = gaussian_filter1d(points_TK3, MOVING_SECONDS * fps, axis=0, mode="nearest")
    apart = np.linalg.norm((quiet - moving)[..., :2], axis=-1) / np.maximum(face_heights(quiet), 1.0)[:, None]
    share = smoothstep(apart, MOVES_FROM, MOVES_AT)
    # a point that stops is not to snap back at once
    share = np.maximum(share, gaussian_filter1d(share, QUIET_SECONDS * fps, axis=0, mode="nearest"))[..., None]
    return np.asarray(quiet + share * (moving - quiet))
