"""What a face does between two pictures, in the units that drive the product: the landmarker's.

    values = motion_between(portrait_face, other_face)       # (70,), `forge.motion.features.NAMES`

z_pose is relative to the reference picture and lies about the pivot about which `forge.mesh` turns a head; z_dyn is
absolute, as the landmarker reads it. Self-driven evaluation and the training of the student both go through this door.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forge.mesh.fit import STEADY, similarity
from forge.mesh.rig import load_rig
from forge.mesh.warp import PIVOT
from forge.motion.features import BLENDSHAPE_NAMES, GAZE_NAMES, INDEX, NAMES
from media.landmarks import BLENDSHAPE_INDEX

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

MEASURED_NAMES = tuple(name for name in BLENDSHAPE_NAMES if name in BLENDSHAPE_INDEX)
"""The coefficients that the landmarker gives: all but tongueOut."""
MEASURED = [INDEX[name] for name in MEASURED_NAMES]
"""Their columns in the motion vector."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a head is in a picture."""

    scale: float
    """Pixels of one rig unit."""
    turn: Array
    """(3, 3) rotation from the rig to the picture."""
    pivot: Array
    """(3,) pixels."""


def place_of(landmarks: FloatArray) -> Place:
    """The place of (478, 3) landmarks in pixels, read off the points that hardly move with the expression."""
    points = np.asarray(landmarks, np.float64)
    rig = load_rig()
    scale, turn, shift = similarity(rig.neutral[list(STEADY)], points[list(STEADY)])
    return Place(scale, turn, np.array(PIVOT) @ turn.T * scale + shift)


def motion_between(reference: FloatArray, landmarks: FloatArray, blendshapes: FloatArray) -> FloatArray:
    """What a face does, seen from a reference picture of it.

    Args:
        reference: (478, 3) landmarks of the portrait in its pixels.
        landmarks: (478, 3) of the face in a picture of the same framing.
        blendshapes: (51,) of that face, `media.landmarks.BLENDSHAPE_NAMES`.

    Returns:
        (70,) motion features.
    """
    before, after = place_of(reference), place_of(landmarks)
    values = np.zeros(len(NAMES), np.float32)
    values[:3] = turn_angles(after.turn @ before.turn.T)
    values[3:5] = (after.pivot - before.pivot)[:2] / before.scale
    values[5] = np.log(after.scale / before.scale)
    values[MEASURED] = blendshapes
    for name, gaze in zip(GAZE_NAMES, gaze_read(blendshapes), strict=True):
        values[INDEX[name]] = gaze
    return values


def turn_angles(turn: Array) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of a (3, 3) turn in picture axes; undoes `forge.mesh.warp.rotation`."""
    yaw = np.arcsin(np.clip(turn[2, 0], -1.0, 1.0))
    pitch = np.arctan2(-turn[2, 1], turn[2, 2])
    roll = np.arctan2(turn[1, 0], turn[0, 0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def gaze_read(blendshapes: FloatArray) -> tuple[float, float]:
    """Gaze features (yaw, pitch; 1 is 30 degrees) that the eight `eyeLook*` coefficients of (51,) tell."""

    def of(name: str) -> float:
        return float(blendshapes[BLENDSHAPE_INDEX[name]])

    to_right = of("eyeLookOutLeft") + of("eyeLookInRight") - of("eyeLookInLeft") - of("eyeLookOutRight")
    up = of("eyeLookUpLeft") + of("eyeLookUpRight") - of("eyeLookDownLeft") - of("eyeLookDownRight")
    return 0.5 * to_right, 0.5 * up
