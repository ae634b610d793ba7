"""The skin of a face as a mesh: where each pixel of a patch takes its colour from when the face is moved or exchanged.

    xy = skin_flow(patch, vertices(target, patch), vertices(source, patch))        # (h, w, 2) for cv2.remap

Vertices: 468 landmarks, 14 points among the upper lashes, rings around the face that carry its movement outwards until
nothing of it is left, and the four corners of the patch, which stay.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from forge.manipulations.blending import Patch
from forge.mesh.rig import SKIN, UPPER_LIDS, load_rig, with_lashes
from forge.mesh.warp import Sheet, flow, hole_triangles
from media.landmarks import FACE_OVAL, LEFT_EYE, LIPS_INNER, RIGHT_EYE

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

RINGS = ((1.08, 0.75), (1.18, 0.4), (1.3, 0.14), (1.44, 0.0))
"""Size of each ring around the face outline, and how much of the outline's movement it takes part in."""
ROOM = RINGS[-1][0]
"""How far the mesh reaches, in parts of the face's radius."""


@cache
def _sheet() -> Sheet:
    """Triangles and layers; positions are filled in for each frame."""
    skin = load_rig().triangles
    holes = np.array([t for ring in (LIPS_INNER, RIGHT_EYE, LEFT_EYE) for t in hole_triangles(ring)])
    first = SKIN + len(UPPER_LIDS)
    around = len(FACE_OVAL)
    rings = [list(FACE_OVAL), *(list(range(first + k * around, first + (k + 1) * around)) for k in range(len(RINGS)))]
    strips: list[tuple[int, int, int]] = []
    for inner, outer in pairwise(rings):
        for k in range(around):
            following = (k + 1) % around
            strips.append((inner[k], outer[k], outer[following]))
            strips.append((inner[k], outer[following], inner[following]))
    corner = first + len(RINGS) * around
    ground = [(corner, corner + 1, corner + 2), (corner, corner + 2, corner + 3)]
    parts: list[IntArray] = [np.array(ground), np.array(strips), holes, skin]
    empty = np.zeros((0, 3))
    return Sheet(
        source=np.zeros((corner + 4, 2)),
        lashes=empty,
        around=empty,
        follow=np.zeros(0),
        roundness=np.zeros(0),
        tow=empty,
        triangles=np.concatenate(parts),
        layer=np.repeat([-1, 0, 1, 2], [len(part) for part in parts]),
        pivot=np.zeros(3),
        size=2,
    )


def vertices(landmarks_K3: Array, patch: Patch, still_K3: Array | None = None) -> Array:
    """(V, 3) all vertices of a face in pixels of a patch.

    Args:
        landmarks_K3: (478, 3) frame pixels.
        patch: what is drawn.
        still_K3: the face as it lies in the picture that the surroundings belong to; by default this one.
    """
    still = landmarks_K3 if still_K3 is None else still_K3
    oval = list(FACE_OVAL)
    outline = still[oval]
    centre = outline.mean(axis=0)
    moved = landmarks_K3[oval] - outline
    rings = [centre + scale * (outline - centre) + part * moved for scale, part in RINGS]
    side = max(patch.width, patch.height)
    corners = np.array([[0, 0, 0], [side, 0, 0], [side, side, 0], [0, side, 0]], np.float64) - (0.5, 0.5, 0.0)
    skin = np.concatenate([with_lashes(landmarks_K3), *rings])
    skin[:, :2] -= patch.origin
    return np.concatenate([skin, corners])


def skin_flow(patch: Patch, target_V3: Array, source_V3: Array) -> FloatArray:
    """(h, w, 2) where each pixel of a patch takes its colour from, in pixels of the source's patch.

    Args:
        patch: what is drawn.
        target_V3: `vertices` where they shall be, in pixels of this patch.
        source_V3: the same vertices in the picture that is worn.
    """
    sheet = replace(_sheet(), source=source_V3[:, :2], size=max(patch.width, patch.height))
    return flow(sheet, target_V3)[: patch.height, : patch.width]


def facing(landmarks_K3: Array) -> Array:
    """(478,) how far the skin at each landmark faces the camera, from left and right: 1 fully, 0 edge-on, below 0 away.

    Seen from above or below, only lips and brows are ever edge-on, and they are never hidden for long.
    """
    triangles = load_rig().triangles
    corner = with_lashes(landmarks_K3)[triangles]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.zeros((SKIN + len(UPPER_LIDS), 3))
    for column in triangles.T:
        np.add.at(total, column, normal)
    towards = total[:, 2] / np.maximum(np.hypot(total[:, 0], total[:, 2]), 1e-9)
    return np.concatenate([towards[:SKIN], np.ones(len(landmarks_K3) - SKIN)])
