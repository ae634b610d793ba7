"""The face rig: 478 landmarks, how each of the 52 ARKit actions moves them, and the triangles between them.

    rig = load_rig()
    points = rig.neutral + np.tensordot(weights, rig.basis, axes=1)     # weights (52,)

Axes: x to the picture's right, y down, z away from the camera; origin between the outer eye corners, unit the distance
between them. Made by `forge.mesh.bake`; where it comes from and its licence: `assets/README.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forge.motion.features import BLENDSHAPE_NAMES
from media.landmarks import LANDMARKS

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

RIG_PATH = Path(__file__).with_name("assets") / "rig.npz"
ANCHOR_NAMES: tuple[str, ...] = ("upper_teeth", "lower_teeth", "tongue", "right_eye", "left_eye")
"""Places behind the skin: biting edges of the upper and lower incisors, tip of the tongue, centres of the eyeballs."""


@dataclass(frozen=True, eq=False)
class Rig:
    """A face at rest and its actions."""

    neutral: Array
    """(478, 3) landmarks at rest."""
    basis: Array
    """(52, 478, 3) displacement of each landmark by each action at 1, order of `BLENDSHAPE_NAMES`."""
    triangles: IntArray
    """(N, 3) landmark indices, clockwise in the picture; holes at the mouth and the eyes."""
    anchors: Array
    """(5, 3) places at rest, `ANCHOR_NAMES`."""
    anchor_basis: Array
    """(52, 5, 3) their displacements."""

    def __post_init__(self) -> None:
        """Refuse arrays of other shapes."""
        actions, places = len(BLENDSHAPE_NAMES), len(ANCHOR_NAMES)
        wanted = {
            "neutral": (LANDMARKS, 3),
            "basis": (actions, LANDMARKS, 3),
            "anchors": (places, 3),
            "anchor_basis": (actions, places, 3),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")

    def action(self, name: str) -> Array:
        """(478, 3) displacement of one action at 1."""
        return np.asarray(self.basis[BLENDSHAPE_NAMES.index(name)])


@cache
def load_rig(path: Path = RIG_PATH) -> Rig:
    """The rig that ships with the package."""
    with np.load(path) as data:
        return Rig(
            neutral=data["neutral"].astype(np.float64),
            basis=data["basis"].astype(np.float64),
            triangles=data["triangles"].astype(np.int64),
            anchors=data["anchors"].astype(np.float64),
            anchor_basis=data["anchor_basis"].astype(np.float64),
        )
