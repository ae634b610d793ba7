"""Fit the head rig to one portrait: camera, head pose, identity, expression, and what the identity modes cannot say.

    basis = FitBasis.of(load_head())                       # once
    fit = fit_landmarks(basis, face.landmarks, face.blendshapes, size=512)
    fit.project(basis.shape(fit))                          # (V, 2) where every vertex lies in the portrait

Gauss-Newton over everything at once: rotation, position, identity coefficients (drawn to 0 with the unit variance of
their PCA) and expression coefficients (kept in [0, 1] and near what the landmarker read off the picture). The rest is a
smooth displacement of the skin that brings the landmarks of the mesh onto those of the picture.

Axes: V vertices, T triangles, L = 478 landmarks, K identity modes, E = 52 expressions. Head space in centimetres (y up,
z out of the face), camera space x right, y down, z forward; picture positions in pixels, first pixel's centre at 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu

from forge.motion.features import BLENDSHAPE_NAMES
from forge.studio.head import PART, PIVOT, HeadModel
from forge.studio.rasterise import rasterise
from media.landmarks import FACE_OVAL, LEFT_EYE, LEFT_IRIS, LIPS_INNER, LIPS_OUTER, RIGHT_EYE, RIGHT_IRIS

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

FOCAL_PER_SIDE = 1.6
"""Focal length over the picture's side: 35 degrees of view, a portrait taken from an arm's length or more. A picture of
one face does not tell its focal length; the depth of the head takes up what this guess gets wrong."""
LANDMARK_SIGMA = 0.009
"""Landmark noise, in parts of the face's width."""
DEPTH_WEIGHT = 0.25
"""The landmarker's own depth counts this much beside its picture positions."""
OVAL_WEIGHT = 0.5
EXPRESSION_SIGMA = 0.12
"""How far an expression coefficient usually is from what the landmarker says."""
LOOSE_SIGMA = 0.3
LOOSE = ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight",
         "mouthSmileLeft", "mouthSmileRight")  # fmt: skip
"""What parts the lips must explain lips that are parted: no displacement may, or they would never close again."""
ROUNDS = 14
SKIN_PARTS = ("skin", "lips", "neck", "brow")
LOWER_INNER, UPPER_INNER = LIPS_INNER[1:10], LIPS_INNER[:10:-1]
UPPER, LOWER = list(UPPER_INNER), list(LOWER_INNER)
GAP_WEIGHT = 10.0
"""How far the lips are parted counts more than where exactly they are: nobody overlooks teeth that should not show."""
IRISES = (*RIGHT_IRIS, *LEFT_IRIS)
BLINKS = ("eyeBlinkRight", "eyeBlinkLeft")
# the landmarker reads these off almost any relaxed face; they must not bend the fit
DOUBTED = {"eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft",
           "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "tongueOut", "cheekPuff", "mouthClose"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class FitBasis:
    """What fitting needs of a head model, as numpy arrays; made once."""

    head: HeadModel
    neutral_V3: Array
    triangles_T3: Ints
    skin_V: NDArray[np.bool_]
    """Vertices of the outer skin."""
    corners_L3: Ints
    weights_L3: Array
    """Where each landmark lies: corner vertices and their weights."""
    neutral_L3: Array
    identity_KL3: Array
    expression_EL3: Array
    weld_V: Ints
    """One number for all vertices at one place (they are split at texture seams)."""
    smooth: Any
    """Solver of the smooth displacement: (W, 3) right-hand side to (W, 3) welded displacements."""
    landmark_LW: csr_matrix
    """Landmark positions from welded vertices."""

    @classmethod
    def of(cls, head: HeadModel, modes: int = 60) -> FitBasis:
        """Prepare a head model; the first `modes` identity modes are used.

        Raises:
            ValueError: when the model has no such modes.
        """
        neutral = head.neutral_V3.cpu().numpy().astype(np.float64)
        triangles = head.triangles_T3.cpu().numpy().astype(np.int64)
        part = head.part_T.cpu().numpy()
        skin = np.zeros(len(neutral), np.bool_)
        skin_triangles = triangles[np.isin(part, [PART[name] for name in SKIN_PARTS])]
        skin[skin_triangles.ravel()] = True
        corners = triangles[head.landmark_triangle_L.cpu().numpy()]
        weights = head.landmark_weight_L3.cpu().numpy().astype(np.float64)
        corners, weights = _onto_skin(neutral, skin, corners, weights)
        for points, border in _borders(head, neutral):
            # on the very border of lips and lids, so that lips which touch have no gap here either
            for index in points:
                here = weights[index] @ neutral[corners[index]]
                corners[index] = border[np.abs(neutral[border, 0] - here[0]).argmin()]
                weights[index] = [1.0, 0.0, 0.0]
        identity = head.identity_KV3[:modes].cpu().numpy()
        if len(identity) < 1:
            raise ValueError(f"modes must be at least 1, got {modes}")
        expression = head.expression_EV3.cpu().numpy()

        def at(values: NDArray[Any]) -> Array:
            return np.asarray(np.einsum("nlcx,lc->nlx", values[:, corners].astype(np.float64), weights))

        weld = head.vertex_U.cpu().numpy()
        count = int(weld.max()) + 1
        rows = np.repeat(np.arange(len(corners)), 3)
        landmark = csr_matrix((weights.ravel(), (rows, weld[corners].ravel())), shape=(len(corners), count))
        smooth = _smoother(count, weld[skin_triangles], landmark[: len(corners) - len(IRISES)])
        return cls(
            head, neutral, triangles, skin, corners, weights, at(neutral[None])[0], at(identity), at(expression), weld,
            smooth, landmark,
        )  # fmt: skip

    @property
    def modes(self) -> int:
        """Number of identity modes in use."""
        return len(self.identity_KL3)


@dataclass(frozen=True, eq=False)
class LandmarkFit:
    """A fitted head in one picture."""

    centre: Array
    """(2,) where the camera's axis meets the picture: at the head's pivot, as if the picture were cut from a larger
    one. So a face keeps its perspective when it is moved to the middle of another picture."""
    focal: float
    turn: Array
    """(3, 3) from head to camera axes."""
    distance: float
    """Centimetres from the camera to the head's pivot."""
    identity_K: Array
    expression_E: Array
    residual_V3: Array
    """Displacement of every vertex in head space, centimetres, on top of identity and expression."""
    picture_V3: Array
    """Further displacement in this picture only: how far its lips are parted beyond what the expression says."""
    lid_V3: Array
    """(2, V, 3) further displacement per unit of the right and of the left blink: shut lids then meet."""
    rms_pixels: float
    """Distance of the landmarks, root mean square, before the displacement."""
    median_pixels: float
    """Median distance of the landmarks after it."""

    def to_camera(self, points_N3: Array) -> Array:
        """Head space to camera space."""
        return np.asarray((points_N3 - np.array(PIVOT)) @ self.turn.T + np.array([0.0, 0.0, self.distance]))

    def to_head(self, camera_N3: Array) -> Array:
        """Camera space to head space."""
        return np.asarray((camera_N3 - np.array([0.0, 0.0, self.distance])) @ self.turn + np.array(PIVOT))

    def project(self, points_N3: Array) -> Array:
        """Head space (N, 3) to picture pixels and camera depth (N, 3)."""
        camera = self.to_camera(points_N3)
        return np.concatenate([self.focal * camera[:, :2] / camera[:, 2:] + self.centre, camera[:, 2:]], axis=1)


def rest_shape(basis: FitBasis, fit: LandmarkFit) -> Array:
    """(V, 3) the fitted person without any expression."""
    modes = basis.head.identity_KV3[: basis.modes].cpu().numpy().astype(np.float64)
    return np.asarray(basis.neutral_V3 + np.tensordot(fit.identity_K, modes, axes=1) + fit.residual_V3)


def shape_in_picture(basis: FitBasis, fit: LandmarkFit) -> Array:
    """(V, 3) the fitted person with the expression of the picture."""
    expression = basis.head.expression_EV3.cpu().numpy().astype(np.float64)
    blinks = [fit.expression_E[BLENDSHAPE_NAMES.index(name)] for name in BLINKS]
    lids = np.tensordot(np.array(blinks), fit.lid_V3, axes=1)
    moved = np.tensordot(fit.expression_E, expression, axes=1)
    return np.asarray(rest_shape(basis, fit) + fit.picture_V3 + moved + lids)


def fit_landmarks(basis: FitBasis, landmarks: NDArray[Any], measured: NDArray[Any], size: int) -> LandmarkFit:
    """Fit the rig to the landmarks of one picture.

    Args:
        basis: of the head model.
        landmarks: (478, 3) as `media.faces` gives them.
        measured: (51,) the landmarker's coefficients.
        size: height of the picture in pixels, for the focal length.

    Raises:
        ValueError: for landmarks of another shape or all in one place.
    """
    if landmarks.shape != (len(basis.corners_L3), 3):
        raise ValueError(f"landmarks must be ({len(basis.corners_L3)}, 3), got {landmarks.shape}")
    points = np.asarray(landmarks, np.float64) + np.array([0.5, 0.5, 0.0])
    if np.ptp(points[:, 0]) < 4:
        raise ValueError("landmarks must not all be in one place")
    start = _first_guess(basis, points, np.asarray(measured, np.float64), size)
    fit = _gauss_newton(basis, start, points)
    return _displace(basis, fit, points)


def _first_guess(basis: FitBasis, points: Array, measured: Array, size: int) -> LandmarkFit:
    """Pose from the landmarks' own depth; expression from the landmarker."""
    focal = FOCAL_PER_SIDE * size
    used = np.setdiff1d(np.arange(len(points)), IRISES)
    a = basis.neutral_L3[used] * [1, -1, -1]
    b = points[used]
    am, bm = a.mean(0), b.mean(0)
    u, s, vt = np.linalg.svd((b - bm).T @ (a - am))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = u @ flip @ vt
    scale = float((s * np.diag(flip)).sum() / ((a - am) ** 2).sum())
    pivot = np.array(PIVOT) * [1, -1, -1]
    centre = bm[:2] + scale * (turn @ (pivot - am))[:2]
    expression = np.zeros(len(BLENDSHAPE_NAMES))
    expression[: len(measured)] = measured
    expression[[BLENDSHAPE_NAMES.index(name) for name in DOUBTED]] = 0.0
    # the rig lets a mouth close only as far as its jaw has opened it
    jaw, close = BLENDSHAPE_NAMES.index("jawOpen"), BLENDSHAPE_NAMES.index("mouthClose")
    expression[close] = min(expression[close], expression[jaw])
    whole = turn @ np.diag([1.0, -1.0, -1.0])
    nothing = np.zeros((len(basis.neutral_V3), 3))
    return LandmarkFit(
        centre, focal, whole, focal / scale, np.zeros(basis.modes), expression, nothing, nothing,
        np.zeros((2, *nothing.shape)), float("inf"), float("inf"),
    )  # fmt: skip


def _gauss_newton(basis: FitBasis, fit: LandmarkFit, points: Array) -> LandmarkFit:
    """All parameters at once: rotation vector (3), centre (2), distance, identity (K), expression (E)."""
    width = float(np.ptp(points[:, 0]))
    sigma = LANDMARK_SIGMA * width
    weight_L = np.ones(len(points))
    weight_L[list(FACE_OVAL)] = OVAL_WEIGHT
    weight_L[list(IRISES)] = 0.0
    prior = fit.expression_E.copy()
    tight = np.full(len(prior), EXPRESSION_SIGMA)
    tight[[BLENDSHAPE_NAMES.index(name) for name in DOUBTED]] = 0.01
    tight[[BLENDSHAPE_NAMES.index(name) for name in LOOSE]] = LOOSE_SIGMA
    k, e = basis.modes, len(prior)
    damping = 1.0
    for _ in range(ROUNDS):
        head = _landmarks_of(basis, fit)
        turned = (head - np.array(PIVOT)) @ fit.turn.T
        camera = turned + np.array([0.0, 0.0, fit.distance])
        flat, jacobian = _residuals(basis, fit, turned, camera, points)
        weight = (weight_L[:, None] * [1.0, 1.0, DEPTH_WEIGHT]).ravel() / sigma
        gap, by_gap = flat[UPPER] - flat[LOWER], jacobian[UPPER] - jacobian[LOWER]
        gap_weight = GAP_WEIGHT / sigma
        j = np.concatenate([jacobian.reshape(-1, jacobian.shape[-1]) * weight[:, None], by_gap[:, 1] * gap_weight])
        r = np.concatenate([flat.ravel() * weight, gap[:, 1] * gap_weight])
        normal = j.T @ j
        right = -j.T @ r
        # 468 points do not have 468 independent errors: the priors must keep their say
        share = 6.0
        normal[6 : 6 + k, 6 : 6 + k] += share * np.eye(k)
        right[6 : 6 + k] -= share * fit.identity_K
        normal[6 + k :, 6 + k :] += share * np.diag(1 / tight**2)
        right[6 + k :] -= share * (fit.expression_E - prior) / tight**2
        normal += damping * 1e-3 * np.diag(np.diag(normal))
        free = np.ones(len(right), np.bool_)
        for _attempt in range(3):
            step = np.zeros(len(right))
            step[free] = np.linalg.solve(normal[np.ix_(free, free)], right[free])
            wanted = fit.expression_E + step[6 + k :]
            bound = ((wanted < 0) & (fit.expression_E <= 1e-9)) | ((wanted > 1) & (fit.expression_E >= 1 - 1e-9))
            if not (bound & free[6 + k :]).any():
                break
            free[6 + k :] &= ~bound
        turn = cv2.Rodrigues(step[:3])[0] @ fit.turn
        expression = np.clip(fit.expression_E + step[6 + k : 6 + k + e], 0.0, 1.0)
        fit = replace(
            fit,
            turn=turn,
            centre=fit.centre + step[3:5],
            distance=fit.distance + float(np.clip(step[5], -0.2 * fit.distance, 0.2 * fit.distance)),
            identity_K=np.clip(fit.identity_K + step[6 : 6 + k], -3.0, 3.0),
            expression_E=expression,
        )
        damping *= 0.5
    return fit


def _residuals(basis: FitBasis, fit: LandmarkFit, turned: Array, camera: Array, points: Array) -> tuple[Array, Array]:
    """(L, 3) pixel errors (x, y and relative depth) and their (L, 3, 6 + K + E) derivatives."""
    z = camera[:, 2:]
    flat = np.empty_like(points)
    flat[:, :2] = fit.focal * camera[:, :2] / z + fit.centre - points[:, :2]
    scale = fit.focal / fit.distance
    depth = scale * (turned[:, 2] - turned[:, 2].mean())
    flat[:, 2] = depth - (points[:, 2] - points[:, 2].mean())
    count = len(points)
    down = np.zeros((count, 3, 3))  # of the three residuals by camera position
    down[:, 0, 0] = down[:, 1, 1] = fit.focal / z[:, 0]
    down[:, 0, 2] = -fit.focal * camera[:, 0] / z[:, 0] ** 2
    down[:, 1, 2] = -fit.focal * camera[:, 1] / z[:, 0] ** 2
    down[:, 2, 2] = scale
    cross = np.zeros((count, 3, 3))  # rotation vector to movement: -[turned]x
    cross[:, 0, 1], cross[:, 0, 2] = turned[:, 2], -turned[:, 1]
    cross[:, 1, 0], cross[:, 1, 2] = -turned[:, 2], turned[:, 0]
    cross[:, 2, 0], cross[:, 2, 1] = turned[:, 1], -turned[:, 0]
    by_turn = down @ cross
    by_place = np.zeros((count, 3, 3))  # relative depth does not change when the head moves as a whole
    by_place[:, 0, 0] = by_place[:, 1, 1] = 1.0
    by_place[:, :2, 2] = down[:, :2, 2]
    modes = np.concatenate([basis.identity_KL3, basis.expression_EL3]).transpose(1, 2, 0)
    by_shape = (down @ fit.turn[None]) @ modes
    for by in (by_turn, by_shape):
        by[:, 2] -= by[:, 2].mean(axis=0)
    return flat, np.concatenate([by_turn, by_place, by_shape], axis=2)


def _landmarks_of(basis: FitBasis, fit: LandmarkFit) -> Array:
    """(L, 3) landmarks of the model in head space, without displacement."""
    return np.asarray(
        basis.neutral_L3
        + np.tensordot(fit.identity_K, basis.identity_KL3, axes=1)
        + np.tensordot(fit.expression_E, basis.expression_EL3, axes=1)
    )


def _displace(basis: FitBasis, fit: LandmarkFit, points: Array) -> LandmarkFit:
    """Find the smooth displacement that brings the mesh's landmarks onto the picture's, and the lids' own."""
    landmarks = _landmarks_of(basis, fit)
    error = points[:, :2] - fit.project(landmarks)[:, :2]
    rms = float(np.sqrt((error**2).sum(1).mean()))
    camera = fit.to_camera(landmarks)
    wanted_camera = np.zeros((len(points), 3))
    wanted_camera[:, :2] = error * camera[:, 2:] / fit.focal
    wanted = wanted_camera @ fit.turn
    # lips that are shut without expression must stay so: of what parts them, both borders take the mean
    rest = wanted.copy()
    rest[LOWER] = rest[UPPER] = (wanted[LOWER] + wanted[UPPER]) / 2
    skin = slice(0, len(points) - len(IRISES))
    residual = _spread(basis, rest[skin])
    picture = _spread(basis, (wanted - rest)[skin])
    lids = np.zeros((2, *residual.shape))
    for index, ring in enumerate((RIGHT_EYE, LEFT_EYE)):
        change = np.zeros_like(wanted[skin])
        low, high = list(ring[1:8]), list(ring[15:8:-1])
        change[high] = wanted[low] - wanted[high]
        lids[index] = _spread(basis, change)
    residual = _carry_inside(basis, residual, rest)
    picture, lids = picture * basis.skin_V[:, None], lids * basis.skin_V[None, :, None]
    # the picture's own blink has its share of the lids' displacement in it already
    blinks = np.array([fit.expression_E[BLENDSHAPE_NAMES.index(name)] for name in BLINKS])
    picture = picture - np.tensordot(blinks, lids, axes=1)
    moved = replace(fit, residual_V3=residual, picture_V3=picture, lid_V3=lids, rms_pixels=rms)
    shape = shape_in_picture(basis, moved)
    at = np.einsum("lcx,lc->lx", shape[basis.corners_L3], basis.weights_L3)
    left = np.linalg.norm(fit.project(at)[:, :2] - points[:, :2], axis=1)[skin]
    return replace(moved, median_pixels=float(np.median(left)))


def _spread(basis: FitBasis, wanted_L3: Array) -> Array:
    """(V, 3) smooth displacement with given values at the landmarks; only the skin of the face moves."""
    landmark = basis.landmark_LW[: len(wanted_L3)]
    welded = basis.smooth.solve(np.asarray(landmark.T @ (SMOOTH_TRUST * wanted_L3)))
    return np.asarray(welded[basis.weld_V])


def _carry_inside(basis: FitBasis, residual: Array, wanted: Array) -> Array:
    """Eyes go with the middle of their lids, the inside of the mouth with the lips."""
    out = residual.copy()
    inside = ~basis.skin_V
    at = basis.neutral_V3
    rings = [list(RIGHT_EYE), list(LEFT_EYE), list(LIPS_OUTER)]
    centres = np.stack([basis.neutral_L3[ring].mean(axis=0) for ring in rings])
    nearest = np.linalg.norm(at[:, None] - centres[None], axis=2).argmin(axis=1)
    for index, ring in enumerate(rings):
        out[inside & (nearest == index)] = wanted[ring].mean(axis=0)
    return out


SMOOTH_TRUST = 1.5
"""Weight of one landmark against the smoothness of the displacement."""
SMOOTH_BEND = 1.0
SMOOTH_DECAY = 2e-3
"""Pull to zero: far from any landmark, at the back of the head, nothing moves."""


def _smoother(count: int, welded_triangles: Ints, landmark_LW: csr_matrix) -> Any:
    """Factorised normal equations of: landmarks where they are wanted, small bending, small size."""
    i = np.concatenate([welded_triangles[:, [0, 1, 2]].ravel(), welded_triangles[:, [1, 2, 0]].ravel()])
    j = np.concatenate([welded_triangles[:, [1, 2, 0]].ravel(), welded_triangles[:, [0, 1, 2]].ravel()])
    links = coo_matrix((np.ones(len(i)), (i, j)), shape=(count, count)).tocsr()
    links.data[:] = 1.0
    degree = np.asarray(links.sum(axis=1)).ravel()
    laplacian = diags(np.where(degree > 0, 1.0, 0.0)) - diags(1.0 / np.maximum(degree, 1.0)) @ links
    system = SMOOTH_BEND * laplacian.T @ laplacian + SMOOTH_DECAY * diags(np.ones(count))
    system = system + SMOOTH_TRUST * landmark_LW.T @ landmark_LW
    return splu(system.tocsc())


def _borders(head: HeadModel, neutral: Array) -> list[tuple[tuple[int, ...], Ints]]:
    """Landmarks along lips and lids, and the vertices of the border that they mark."""
    pairs = [(UPPER_INNER, head.lip_upper_N.cpu().numpy()), (LOWER_INNER, head.lip_lower_N.cpu().numpy())]
    for ring, (upper, lower) in zip((RIGHT_EYE, LEFT_EYE), lid_borders(head), strict=True):
        pairs += [(ring[:8:-1], upper), (ring[1:8], lower)]
    return [(tuple(points), border) for points, border in pairs]


@cache
def lid_borders(head: HeadModel) -> list[tuple[Ints, Ints]]:
    """Vertices of the skin along upper and lower lid where the eyeball disappears behind them, right and left eye.

    The mesh goes on into the socket, so the border is not one of the mesh: it is looked up in a picture from the front.
    """
    size, scale = 1024, 60.0
    neutral, triangles = head.neutral_V3.cpu(), head.triangles_T3.cpu()
    part = head.part_T.cpu()
    seen = (part != PART["lashes"]).nonzero().squeeze(1)
    middle = head.eye_pivot_23.cpu().mean(0)
    flat = (neutral[:, :2] - middle[:2]) * neutral.new_tensor([scale, -scale]) + size / 2
    screen = torch.cat([flat, 100.0 - neutral[:, 2:]], 1)
    cover = rasterise(screen[None], triangles[seen], size)
    shown = cover.per_triangle(part[seen].long())[0].numpy()
    owner = triangles[seen][cover.triangle_BHW[0].clamp(min=0)].numpy()
    eye = np.isin(shown, [PART[name] for name in ("sclera", "iris", "eye_wet")])
    out = []
    for sign in (-1, 1):
        upper: list[int] = []
        lower: list[int] = []
        for column in range(size):
            rows = np.flatnonzero(eye[:, column]) if (column - size / 2) * sign > 0 else np.zeros(0, np.int64)
            if len(rows) and rows[0] > 1 and rows[-1] < size - 2:
                for border, row in ((upper, rows[0] - 1), (lower, rows[-1] + 1)):
                    corner = owner[row, column]
                    at = screen[corner, :2].numpy() - [column + 0.5, row + 0.5]
                    border.append(int(corner[np.linalg.norm(at, axis=1).argmin()]))
        out.append((np.unique(np.array(upper, np.int64)), np.unique(np.array(lower, np.int64))))
    return out


def _onto_skin(neutral: Array, skin: NDArray[np.bool_], corners: Ints, weights: Array) -> tuple[Ints, Array]:
    """Landmarks of the skin that were found on an eyeball or a tooth go to the nearest vertex of the skin."""
    corners, weights = corners.copy(), weights.copy()
    candidates = np.flatnonzero(skin)
    for index in np.setdiff1d(np.arange(len(corners)), IRISES):
        if not skin[corners[index]].all():
            at = weights[index] @ neutral[corners[index]]
            nearest = candidates[np.linalg.norm(neutral[candidates] - at, axis=1).argmin()]
            corners[index], weights[index] = nearest, [1.0, 0.0, 0.0]
    return corners, weights
