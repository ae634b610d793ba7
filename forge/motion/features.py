"""The motion vector: every dimension has a name.

Axes: T frames, M = 70 motion features. Layout (VASA-1 names): z_pose (6) then z_dyn (64).

    motion = Motion.neutral(length=50, fps=Fraction(25))
    motion = motion.replace(jawOpen=curve)      # (T,) array or a number
    motion["jawOpen"]                           # (T,)

z_pose is relative to the portrait: zero means "as in the picture".
z_dyn is absolute: 51 ARKit coefficients in [0, 1] (landmarker's names without `_neutral`), tongueOut, gaze in
degrees / 30 relative to the head, and free dimensions that no rig reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32]

POSE_NAMES: tuple[str, ...] = ("yaw", "pitch", "roll", "shift_x", "shift_y", "log_scale")
"""Degrees (yaw > 0: the head turns towards the picture's right; pitch > 0: up; roll > 0: clockwise in the picture),
shifts in outer-eye distances (right, down), natural log of the size in the picture."""

BLENDSHAPE_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""52 ARKit coefficients; left and right are the person's own. Values in [0, 1], absolute (0 = relaxed neutral face)."""

GAZE_NAMES: tuple[str, ...] = ("gaze_yaw", "gaze_pitch")
"""Degrees / 30 from the straight-ahead direction of the head (yaw > 0 towards the picture's right, pitch > 0 up). The
`eyeLook*` coefficients follow from these (`motion.speech.gaze_curves`)."""

FREE_NAMES: tuple[str, ...] = tuple(f"free_{i}" for i in range(10))
"""Dimensions of z_dyn without a named read-out: the bottleneck a learned face may use."""

NAMES: tuple[str, ...] = POSE_NAMES + BLENDSHAPE_NAMES + GAZE_NAMES + FREE_NAMES
INDEX: dict[str, int] = {name: i for i, name in enumerate(NAMES)}
POSE = slice(0, len(POSE_NAMES))
BLENDSHAPES = slice(POSE.stop, POSE.stop + len(BLENDSHAPE_NAMES))
Z_DYN = slice(POSE.stop, len(NAMES))
assert len(NAMES) == 70


@dataclass(frozen=True, eq=False)
class Motion:
    """Head pose and facial dynamics over time."""

    values: FloatArray
    """(T, 70) float32, columns in the order of `NAMES`."""
    fps: Fraction

    def __post_init__(self) -> None:
        """Refuse anything but finite (T, 70) float32."""
        if self.values.ndim != 2 or self.values.shape[1] != len(NAMES):
            raise ValueError(f"motion must be (T, {len(NAMES)}), got {self.values.shape}")
        if self.values.dtype != np.float32:
            raise ValueError(f"motion must be float32, got {self.values.dtype}")
        if not np.isfinite(self.values).all():
            raise ValueError("motion must be finite, got NaN or infinity")
        if self.fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")

    @classmethod
    def neutral(cls, length: int, fps: Fraction) -> Motion:
        """A motion that keeps the portrait's head still, face relaxed, eyes straight ahead."""
        return cls(np.zeros((length, len(NAMES)), np.float32), fps)

    @property
    def length(self) -> int:
        """Number of frames T."""
        return int(self.values.shape[0])

    @property
    def pose(self) -> FloatArray:
        """(T, 6) head pose, `POSE_NAMES`."""
        return self.values[:, POSE]

    @property
    def blendshapes(self) -> FloatArray:
        """(T, 52) coefficients, `BLENDSHAPE_NAMES`."""
        return self.values[:, BLENDSHAPES]

    def __getitem__(self, name: str) -> FloatArray:
        """The (T,) curve of one named feature."""
        return self.values[:, INDEX[name]]

    def replace(self, **curves: ArrayLike) -> Motion:
        """A copy with some named features set to a number or a (T,) curve."""
        values = self.values.copy()
        for name, curve in curves.items():
            values[:, INDEX[name]] = np.asarray(curve, np.float32)
        return Motion(values, self.fps)
