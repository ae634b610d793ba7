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


UPPER_LIDS: tuple[int, ...] = (246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398)
"""Upper lid borders without the corners, right eye, then left, each from the outer corner to the inner one."""
CREASES: tuple[int, ...] = (247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414)
"""The landmark above each of them, in the fold of the lid."""
UNDER_BROW: tuple[int, ...] = (113, 225, 224, 223, 222, 221, 189, 342, 445, 444, 443, 442, 441, 413)
"""The landmark above each of those, below the brow."""
LASH_SHARE = 0.45
"""Where the lashes' roots end, from lid border (0) to fold (1)."""
SKIN = 468
"""Landmarks before the ten of the irises."""


def with_lashes(points: Array) -> Array:
    """Skin landmarks (468 or more, ...) followed by fourteen points above the upper lids: (482, ...)."""
    lid, crease = points[list(UPPER_LIDS)], points[list(CREASES)]
    return np.concatenate([points[:SKIN], lid + LASH_SHARE * (crease - lid)])


@dataclass(frozen=True, eq=False)
class Rig:
    """A face at rest and its actions."""

    neutral: Array
    """(478, 3) landmarks at rest."""
    basis: Array
    """(52, 478, 3) displacement of each landmark by each action at 1, order of `BLENDSHAPE_NAMES`."""
    triangles: IntArray
    """(N, 3) indices into `with_lashes` points, clockwise in the picture; holes at the mouth and the eyes."""
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
