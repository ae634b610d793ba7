"""From a motion vector to landmarks: what a face must do so that it reads as it was told to. Geometry only, no pixels.

    driven = drive(head, face.blendshapes, load_reading())
    points, jaw = driven.posed(values)          # (478, 3) before the head turns, and (3,) shift of the lower teeth
    placed = pose(points)                       # pose = driven.pose(values)

The rig of `forge.mesh` answers "which landmarks does jawOpen = 0.4 make"; a portrait, however, already reads as
something (no relaxed face reads zero), and one coefficient moves the readings of others. Here a small network g, the
*reading*, gives rig coefficients whose landmarks read as wished, and the picture itself is where it starts from:

    points = source + (g(wished) - g(read in the picture)) . modes

So a motion that asks for the portrait's own reading leaves every pixel where it is. g was fitted on landmarks alone:
the rig's expressions put on 120 generated people's faces, read by the landmarker's blendshape network.

Modes: the rig's 52 actions, 9 that part the lips pair by pair, 4 that shift the irises (right x, y; left x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forge.face.student_motion import MEASURED, turn_angles
from forge.mesh.fit import LOWER_INNER, UPPER_INNER, Head
from forge.mesh.rig import ANCHOR_NAMES
from forge.mesh.warp import PIVOT, RigidPose, rotation
from forge.motion.features import BLENDSHAPES, INDEX
from forge.portrait import ForgeError
from media.landmarks import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

READING_PATH = Path(__file__).with_name("weights") / "reading.safetensors"
ACTIONS, PAIRS, SHIFTS = 52, 9, 4
MODES = ACTIONS + PAIRS + SHIFTS
ANGLE_DEGREES = 15.0
"""Degrees of one unit of the head's own yaw and pitch, as the reading is told them."""
GAP_CLOSED = 0.012
"""Rig units: a lip gap of this or less is drawn shut, because landmarks that meet never lie quite in one place."""
FAR = 1e6
"""Rig units to the camera: landmarks and turns are measured without perspective."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The network g and what its inputs are measured in."""

    layers: tuple[tuple[Array, Array], ...]
    """Weights (out, in) and biases (out,); SiLU in between."""
    linear: tuple[Array, Array]
    """A straight path from the readings, (65, 51) and (65,)."""
    unit: Array
    """(65,) what an output of one means."""
    points: NDArray[np.int64]
    """(146,) the landmarks that the blendshape network looks at."""
    mean: Array
    """(292,) their mean positions, rig units."""
    basis: Array
    """(292, 32) directions in which faces differ, scaled to unit variance."""

    def shape_of(self, canonical: Array) -> Array:
        """(32,) the shape of a face with (478, 3) landmarks in rig units."""
        return np.asarray((canonical[self.points, :2].ravel() - self.mean) @ self.basis)

    def __call__(self, read: Array, shape: Array, degrees: Array) -> Array:
        """(65,) mode coefficients for (51,) readings of a face of a (32,) shape, turned by (2,) yaw and pitch."""
        x = np.concatenate([read * 3 - 0.5, shape, degrees / ANGLE_DEGREES])
        for k, (weight, bias) in enumerate(self.layers):
            x = weight @ x + bias
            if k < len(self.layers) - 1:
                x = x / (1 + np.exp(-x))
        return np.asarray((x + self.linear[0] @ read + self.linear[1]) * self.unit)


@cache
def load_reading(path: Path = READING_PATH) -> Reading:
    """The reading that ships with the package.

    Raises:
        ForgeError: when the file is missing or damaged.
    """
    from safetensors.numpy import load_file

    try:
        data = load_file(path)
        count = sum(name.startswith("weight") for name in data)
        layers = tuple((data[f"weight{k}"].astype(float), data[f"bias{k}"].astype(float)) for k in range(count))
        return Reading(
            layers,
            (data["linear_weight"].astype(float), data["linear_bias"].astype(float)),
            data["unit"].astype(float),
            data["points"].astype(np.int64),
            data["mean"].astype(float),
            data["basis"].astype(float),
        )
    except (OSError, KeyError, ValueError) as error:
        raise ForgeError(
            f"{path}: not a readable file of the landmark reading ({error}); reinstall the package"
        ) from error


@dataclass(frozen=True, eq=False)
class Driven:
    """A fitted head under the command of motion vectors."""

    head: Head
    modes: Array
    """(65, 478, 3) displacements in frame pixels."""
    reading: Reading
    shape: Array
    degrees: Array
    """(2,) yaw and pitch of the head in the picture."""
    own: Array
    """(65,) g of what the landmarker reads in the picture."""
    pivot: Array
    """(3,) frame pixels about which the head turns."""

    def coefficients(self, values: Array) -> Array:
        """(65,) mode coefficients of (70,) motion features, relative to the picture."""
        turned = self.degrees + values[:2]
        return self.reading(np.clip(values[MEASURED], 0.0, 1.0), self.shape, np.clip(turned, -30, 30)) - self.own

    def posed(self, values: Array) -> tuple[Array, Array]:
        """Landmarks (478, 3) before the head turns, and the (3,) shift of the lower teeth from closed lips."""
        head = self.head
        points = head.source + np.tensordot(self.coefficients(values), self.modes, axes=1)
        down = head.turn[:, 1]
        gap = (points[list(LOWER_INNER)] - points[list(UPPER_INNER)]) @ down
        unit = GAP_CLOSED * head.scale
        # a smooth hinge: far below the unit a gap is shut, far above it stays as it is
        wanted = np.where(gap > 0, gap**2 / (np.abs(gap) + unit), 0.0)
        points = points + (head.seal @ ((wanted - gap) / 2))[:, None] * down
        for ring in (RIGHT_EYE, LEFT_EYE):
            lower, upper = list(ring[1:8]), list(ring[15:8:-1])
            crossed = np.clip((points[upper] - points[lower]) @ down, 0.0, None)
            points[upper] -= crossed[:, None] * down
        told = np.clip(values[BLENDSHAPES], 0.0, 1.3)
        jaw = np.tensordot(told, head.anchor_actions[:, ANCHOR_NAMES.index("lower_teeth")], axes=1)
        return points, np.asarray(jaw)

    def pose(self, values: Array) -> RigidPose:
        """The turn of (70,) motion features: degrees as the landmarks measure them, no perspective."""
        yaw, pitch, roll = (float(v) for v in np.radians(values[:3]))
        return RigidPose(
            self.pivot,
            rotation(yaw, pitch, roll),
            float(np.exp(values[INDEX["log_scale"]])),
            np.array([values[3], values[4], 0.0], np.float64) * self.head.scale,
            FAR * self.head.scale,
            1 - np.cos([yaw, pitch]),
            rotation(0.0, 0.0, roll)[:2, :2],
        )


def drive(head: Head, blendshapes: FloatArray, reading: Reading | None = None) -> Driven:
    """Put a fitted head under command.

    Args:
        head: of `forge.mesh.fit.fit_head`.
        blendshapes: (51,) what the landmarker reads in the picture.
        reading: by default the one that ships.
    """
    reading = load_reading() if reading is None else reading
    canonical = (head.source - head.shift) @ head.turn / head.scale
    degrees = np.array(turn_angles(head.turn)[:2])
    shape = reading.shape_of(canonical)
    seal = head.seal.T[:, :, None] * head.turn[:, 1] * head.scale
    shifts = np.zeros((SHIFTS, len(head.source), 3))
    for k, (iris, axis) in enumerate(((RIGHT_IRIS, 0), (RIGHT_IRIS, 1), (LEFT_IRIS, 0), (LEFT_IRIS, 1))):
        shifts[k, list(iris)] = head.turn[:, axis] * head.scale
    return Driven(
        head,
        np.concatenate([head.actions, seal, shifts]),
        reading,
        shape,
        degrees,
        reading(np.asarray(blendshapes, np.float64), shape, np.clip(degrees, -30, 30)),
        head.to_picture(np.array(PIVOT)),
    )
