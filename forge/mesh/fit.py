"""Fit the rig to one portrait: where the head is in 3D, its face at rest, and what each action does to it.

    head = fit_head(landmarks, measured)         # landmarks (478, 3) in frame pixels
    points = head.posed(coefficients)            # (478, 3) with an expression, not yet turned

The landmarks of the picture are the shape; the rig gives only displacements, turned and scaled into the picture. So
a face keeps its own proportions, also when it is drawn. Three things are made to measure for each face, because a tenth
of a millimetre shows there: lips that meet when nothing is asked of them, lids that meet at a blink, and a lip
opening that does not depend on how wide the mouth happens to be in the picture.

Axes: x right, y down, z away from the camera, all in frame pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import factorized

from forge.mesh.rig import ANCHOR_NAMES, CREASES, SKIN, UPPER_LIDS, Rig, load_rig, with_lashes
from forge.motion.features import BLENDSHAPE_NAMES
from media.landmarks import FACE_OVAL, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

LOWER_INNER, UPPER_INNER = LIPS_INNER[1:10], LIPS_INNER[:10:-1]
"""Inner lip borders without the corners, both from the right corner to the left one."""
STEADY = (10, 338, 297, 332, 284, 251, 389, 356, 127, 162, 21, 54, 103, 67, 109, 33, 133, 362, 263, 168, 6, 197, 195, 5,
          4, 1, 98, 327, 234, 454, 93, 323, 151, 9, 8)  # fmt: skip
"""Landmarks that hardly move with the expression: forehead, eye corners, nose, cheekbones."""
GAINS: Mapping[str, float] = {
    "jawOpen": 1.2, "mouthClose": 1.2, "mouthPucker": 1.25, "mouthFunnel": 1.25, "browInnerUp": 1.3,
}  # fmt: skip
"""The rig's actions are made so much larger: without it the landmarker reads less off a face than was asked of it."""
REMOVED: Mapping[str, float] = {
    "mouthSmileLeft": 0.65, "mouthSmileRight": 0.65, "mouthFrownLeft": 0.5, "mouthFrownRight": 0.5, "jawOpen": 1.0,
    "mouthPucker": 0.35, "mouthFunnel": 0.5, "mouthLeft": 0.5, "mouthRight": 0.5, "jawLeft": 0.5, "jawRight": 0.5,
    "mouthUpperUpLeft": 0.7, "mouthUpperUpRight": 0.7, "mouthLowerDownLeft": 0.7, "mouthLowerDownRight": 0.7,
    "mouthStretchLeft": 0.5, "mouthStretchRight": 0.5,
}  # fmt: skip
"""Share of each measured coefficient that is taken out of the picture's own expression. A relaxed face is not an empty
one: the rest of a smile is character, and the landmarker sees a little of everything in any face."""
STEEPEST = 1.6
"""Depth over width: the steepest slope of the face away from the camera."""
UNSURE = 0.08
"""Measured coefficients below this are noise."""
UPPER_SHARE = 0.68
"""Part of the way that the upper lip goes when parted lips of the picture are closed."""
LID_MEETING = 0.08
"""Where closed lids meet, from the lower lid (0) to the upper (1)."""
CREASE_FOLLOWS = 0.25
"""How far the fold of the upper lid goes with a blink; what lies between it and the lashes is stretched."""
CLOSED_EYE = 0.55
"""Above this measured blink the eye is closed in the picture: there is no eye to close or to look with."""


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head."""

    scale: float
    """Pixels of one rig unit (the distance between the outer eye corners)."""
    turn: Array
    """(3, 3) rotation from the rig to the picture."""
    shift: Array
    """(3,) picture position of the rig's origin."""
    source: Array
    """(478, 3) landmarks as they are in the picture: where the texture is taken from."""
    rest: Array
    """(478, 3) landmarks of the relaxed face with closed lips."""
    actions: Array
    """(52, 478, 3) displacements by each action at 1."""
    anchors: Array
    """(5, 3) `ANCHOR_NAMES`, at rest."""
    anchor_actions: Array
    """(52, 5, 3) displacements of the anchors."""
    seal: Array
    """(478, 9) how much each landmark follows when one of nine pairs of inner lip points is pushed apart."""
    eyes_open: tuple[bool, bool]
    """Whether the right and the left eye are open in the picture."""

    def to_picture(self, points: Array) -> Array:
        """Rig coordinates (..., 3) to picture pixels."""
        return points @ self.turn.T * self.scale + self.shift

    def posed(self, coefficients: Array) -> tuple[Array, Array]:
        """Landmarks (478, 3) and anchors (5, 3) with (52,) coefficients; neither lips nor lids pass each other."""
        points = self.rest + np.tensordot(coefficients, self.actions, axes=1)
        anchors = self.anchors + np.tensordot(coefficients, self.anchor_actions, axes=1)
        down = self.turn[:, 1]
        gap = (points[list(LOWER_INNER)] - points[list(UPPER_INNER)]) @ down
        overlap = np.clip(-gap, 0.0, None)
        if overlap.any():
            # `seal` moves the lower lip by +1 of a push and the upper by -1, so half of the overlap each parts them
            points = points + (self.seal @ (overlap / 2))[:, None] * down
        for ring in (RIGHT_EYE, LEFT_EYE):
            lower, upper = list(ring[1:8]), list(ring[15:8:-1])
            crossed = np.clip((points[upper] - points[lower]) @ down, 0.0, None)
            points[upper] -= crossed[:, None] * down
        return points, anchors


def fit_head(landmarks: Array, measured: Mapping[str, float], rig: Rig | None = None) -> Head:
    """Fit the rig to the landmarks of one face.

    Args:
        landmarks: (478, 3) frame pixels, z in the same unit.
        measured: coefficients of the picture's own expression; names that are missing count as 0.
        rig: by default the one that ships.

    Raises:
        ValueError: for landmarks that are not a face (all in one place).
    """
    rig = load_rig() if rig is None else rig
    source = np.asarray(landmarks, np.float64)
    scale, turn, shift = similarity(rig.neutral[list(STEADY)], source[list(STEADY)])
    links = neighbours(rig.triangles)
    source = unfolded(source, rig.triangles, links)
    source[:, 2] = gentle_depth(source)
    gains = np.array([GAINS.get(name, 1.0) for name in BLENDSHAPE_NAMES])[:, None, None]
    actions = gains * (rig.basis @ turn.T * scale)
    rest = source.copy()
    for name, share in REMOVED.items():
        value = float(measured.get(name, 0.0))
        if value > UNSURE:
            rest -= share * value * actions[BLENDSHAPE_NAMES.index(name)]
    seal, slide = seal_weights(links)
    rest = close_lips(rest, seal, slide, turn[:, 1])
    blinks = (float(measured.get("eyeBlinkRight", 0.0)), float(measured.get("eyeBlinkLeft", 0.0)))
    eyes_open = tuple(
        blink < CLOSED_EYE and opening(source, ring) > 0.1
        for blink, ring in zip(blinks, (RIGHT_EYE, LEFT_EYE), strict=True)
    )
    for name, ring in (("eyeBlinkRight", RIGHT_EYE), ("eyeBlinkLeft", LEFT_EYE)):
        actions[BLENDSHAPE_NAMES.index(name)] = blink_action(rest, ring, links)
    anchors, anchor_actions = place_anchors(rig, rest, scale, turn, shift)
    return Head(
        scale, turn, shift, source, rest, actions, anchors, gains * anchor_actions, seal, (eyes_open[0], eyes_open[1])
    )


def similarity(model: Array, picture: Array) -> tuple[float, Array, Array]:
    """Scale, rotation (3, 3) and shift (3,) that bring (N, 3) model points nearest to (N, 3) picture points (Umeyama).

    Raises:
        ValueError: when the picture's points are all the same.
    """
    a, b = model - model.mean(axis=0), picture - picture.mean(axis=0)
    if float((b**2).sum()) < 1e-9:
        raise ValueError("landmarks must not all be in one place")
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = u @ sign @ vt
    scale = float((s * np.diag(sign)).sum() / (a**2).sum())
    return scale, turn, picture.mean(axis=0) - scale * (turn @ model.mean(axis=0))


def unfolded(points: Array, triangles: IntArray, links: csr_matrix) -> Array:
    """Landmarks (478, 3) whose triangles all face the camera.

    In a head that looks aside the far rim of the face is hidden behind its cheek, and its landmarks lie inside of the
    visible outline. They are brought out to it, and what lay folded behind is spread evenly in between.
    """
    out = points.copy()
    features = {*LIPS_INNER, *LIPS_OUTER, *RIGHT_EYE, *LEFT_EYE}
    centre = out[:SKIN, :2].mean(axis=0)
    hull = cv2.convexHull(out[:SKIN, :2].astype(np.float32))[:, 0].astype(np.float64)
    oval, behind = list(FACE_OVAL), np.zeros(0, np.int64)
    for _ in range(4):
        a, b, c = (with_lashes(out)[triangles[:, k], :2] for k in range(3))
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        turned_away = np.concatenate([np.arange(SKIN), UPPER_LIDS])[triangles[area < 0]]
        folded = np.setdiff1d(np.unique(turned_away), [*features])
        rim = [int(point) for point in np.intersect1d(oval, folded)]
        grown = {point: reach_of(hull, centre, out[point, :2]) for point in rim}
        hidden = [point for point in rim if grown[point] > 1.03]
        if not hidden and not behind.size:
            break  # turned triangles elsewhere, around nostrils and lips, are usual and harmless
        for point in hidden:
            out[point, :2] = centre + (out[point, :2] - centre) * grown[point]
        behind = np.union1d(behind, hidden).astype(np.int64)
        apart = np.linalg.norm(out[folded, None, :2] - out[None, behind, :2], axis=-1).min(axis=1)
        folded = folded[apart < 0.25 * np.ptp(hull[:, 1])]
        if not folded.size:
            break
        near = np.unique(links[folded].nonzero()[1])
        free = np.setdiff1d(np.union1d(folded, near), [*features, *oval])
        fixed = np.setdiff1d(np.arange(SKIN), free)
        system = (diags(np.full(len(free), 1.0 + 1e-6)) - links[free][:, free]).tocsc()
        solve = factorized(system)
        right = links[free][:, fixed] @ out[fixed]
        out[free] = np.stack([solve(column) for column in right.T], axis=1)
    return out


def reach_of(hull: Array, centre: Array, point: Array) -> float:
    """By what factor a point's distance from the centre grows on its way out to a convex hull (K, 2); at least 1."""
    dense = np.concatenate(
        [hull + t * (np.roll(hull, -1, axis=0) - hull) for t in np.linspace(0, 1, 12, endpoint=False)]
    )
    angle = np.arctan2(dense[:, 1] - centre[1], dense[:, 0] - centre[0])
    order = np.argsort(angle)
    length = np.linalg.norm(dense - centre, axis=1)
    own = point - centre
    wanted = np.interp(np.arctan2(own[1], own[0]), angle[order], length[order], period=2 * np.pi)
    return max(1.0, float(wanted) / max(float(np.linalg.norm(own)), 1e-6))


def gentle_depth(points: Array) -> Array:
    """(N,) depths that nowhere fall away more steeply than `STEEPEST`, and otherwise as they were.

    The rim of a face falls away so steeply that a few pixels of skin, hair and background share it; when the head turns
    they would be drawn out over its cheek, and on the other side the mesh would fold.
    """
    apart = np.linalg.norm(points[:, None, :2] - points[None, :, :2], axis=-1)
    return np.asarray((points[None, :, 2] + STEEPEST * apart).min(axis=1))


def neighbours(triangles: IntArray) -> csr_matrix:
    """(468, 468) who shares an edge with whom, rows sum to 1. A point among the lashes counts as its lid point."""
    landmark = np.concatenate([np.arange(SKIN), UPPER_LIDS])
    triangles = landmark[triangles]
    i = np.concatenate([triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()])
    j = np.concatenate([triangles[:, [1, 2, 0]].ravel(), triangles[:, [0, 1, 2]].ravel()])
    apart = i != j
    links = csr_matrix((np.ones(apart.sum()), (i[apart], j[apart])), shape=(SKIN, SKIN))
    links.data[:] = 1.0
    return diags(1.0 / np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1.0)) @ links


def spread(links: csr_matrix, fixed: Sequence[int], values: Array, decay: float) -> Array:
    """Carry (F, K) values at fixed landmarks over the skin; each edge further loses about sqrt(decay) of them.

    Returns:
        (478, K); the iris points get 0.
    """
    free = np.setdiff1d(np.arange(SKIN), fixed)
    system = (diags(np.full(len(free), 1.0 + decay)) - links[free][:, free]).tocsc()
    solve = factorized(system)
    right = links[free][:, list(fixed)] @ values
    out = np.zeros((478, values.shape[1]))
    out[list(fixed)] = values
    out[free] = np.stack([solve(column) for column in right.T], axis=1)
    return out


def seal_weights(links: csr_matrix) -> tuple[Array, Array]:
    """Displacement of every landmark along "down" by each of nine pairs of inner lip points, twice (478, 9).

    Returns:
        For a pair that is pushed apart by 2; for a pair that moves down together by 1.
    """
    pairs = len(LOWER_INNER)
    corners = [LIPS_INNER[0], LIPS_INNER[10], LIPS_OUTER[0], LIPS_OUTER[10]]
    fixed = [*LOWER_INNER, *UPPER_INNER, *corners]
    apart = np.zeros((len(fixed), pairs))
    apart[:pairs] = np.eye(pairs)
    together = np.abs(apart)
    apart[pairs : 2 * pairs] = -np.eye(pairs)
    together[pairs : 2 * pairs] = np.eye(pairs)
    return spread(links, fixed, apart, decay=0.06), spread(links, fixed, together, decay=0.06)


def close_lips(rest: Array, seal: Array, slide: Array, down: Array) -> Array:
    """Move the lips of a face until they just meet, most of the way by the upper one, as after a smile."""
    lower, upper = list(LOWER_INNER), list(UPPER_INNER)
    gap = (rest[lower] - rest[upper]) @ down
    by = slide @ (np.clip(gap, 0.0, None) * (UPPER_SHARE - 0.5)) - seal @ (gap / 2)
    out = rest + by[:, None] * down
    # the landmarker's two borders differ a little beside the vertical as well
    middle = (out[lower] + out[upper]) / 2
    out[lower], out[upper] = middle, middle
    return out


def opening(points: Array, ring: Sequence[int]) -> float:
    """Height over width of an eye."""
    upper, lower = points[list(ring[9:16])], points[list(ring[7:0:-1])]
    width = np.linalg.norm(points[ring[0], :2] - points[ring[8], :2])
    return float(np.linalg.norm((upper - lower)[:, :2], axis=1).max() / max(width, 1e-6))


def blink_action(rest: Array, ring: Sequence[int], links: csr_matrix) -> Array:
    """(478, 3) displacement that shuts one eye exactly, and takes the skin around the lids along a little."""
    lower, upper = list(ring[1:8]), list(ring[15:8:-1])
    meeting = rest[lower] + LID_MEETING * (rest[upper] - rest[lower])
    # a shut eye's line is a smooth sagging curve, whatever small errors the fourteen lid points have
    across = np.linspace(-1, 1, len(lower))
    line = np.stack([np.polyval(np.polyfit(across, column, 2), across) for column in meeting.T], axis=1)
    meeting = 0.5 * meeting + 0.5 * line
    creases = [CREASES[UPPER_LIDS.index(point)] for point in upper]
    down = meeting - rest[upper]
    values = np.concatenate([meeting - rest[lower], down, CREASE_FOLLOWS * down, np.zeros((2, 3))])
    return spread(links, [*lower, *upper, *creases, ring[0], ring[8]], values, decay=0.6)


def place_anchors(rig: Rig, rest: Array, scale: float, turn: Array, shift: Array) -> tuple[Array, Array]:
    """Teeth and tongue behind this face's own lips, eyeballs behind its own lids; (5, 3) and (52, 5, 3)."""
    lips = [*LOWER_INNER, *UPPER_INNER]
    offset = np.stack(
        [
            rest[lips].mean(axis=0) - (rig.neutral[lips].mean(axis=0) @ turn.T * scale + shift),
        ]
        * 3
        + [
            rest[list(ring)].mean(axis=0) - (rig.neutral[list(ring)].mean(axis=0) @ turn.T * scale + shift)
            for ring in (RIGHT_EYE, LEFT_EYE)
        ]
    )
    assert len(offset) == len(ANCHOR_NAMES)
    return rig.anchors @ turn.T * scale + shift + offset, rig.anchor_basis @ turn.T * scale
