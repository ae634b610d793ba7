"""Where the landmarker's 478 points lie on the head: found on plain renders of many people and poses.

    triangle_L, weight_L3 = on_lid_margins(head, *place_landmarks(head, finder))
    print(landmark_residual(head, finder))

Each render is shown to the landmarker; the surface points under the landmarks are noted in one reference face (mouth a
little open, so that the two lips are apart), their medians are made symmetric and put back onto the surface. Used by
`bake_head.py`.

Axes: L landmarks, R renders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from forge.motion.features import BLENDSHAPE_NAMES
from forge.studio.bake_lips import border
from forge.studio.clay import Clay, draw_clay
from forge.studio.head import DYNAMICS, PART, HeadModel
from media.faces import FaceFinder
from media.landmarks import (
    LANDMARKS,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_EYE,
    RIGHT_IRIS,
    outer_eye_distance,
)

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

SIZE = 448
PARTED = 0.25
"""Opening of the jaw in the reference face."""
SKIN_PARTS = ("skin", "lips", "neck")
EYE_PARTS = ("sclera", "iris")
IRIS = (*LEFT_IRIS, *RIGHT_IRIS)
LIDS = ((RIGHT_EYE, [36, 37, 38, 39], [36, 41, 40, 39]), (LEFT_EYE, [42, 43, 44, 45], [42, 47, 46, 45]))
"""Landmarks around each eye; the classic face points along its upper and its lower margin."""
SKIN_TONES = ((0.62, 0.38, 0.28), (0.72, 0.50, 0.40), (0.30, 0.16, 0.10), (0.45, 0.27, 0.18))


@dataclass(frozen=True, eq=False)
class View:
    """One render and what the landmarker found on it."""

    clay: Clay
    landmarks_L2: Array
    """Screen pixels (centres at 0.5)."""
    eye_distance: float
    """Pixels between the outer eye corners."""
    jaw: float


def views(head: HeadModel, finder: FaceFinder, count: int, seed: int, turn: tuple[float, float]) -> list[View]:
    """Renders of different people on which a face was found; the first ones look straight ahead."""
    rng = torch.Generator().manual_seed(seed)
    found: list[View] = []
    for index in range(count):
        identity = 0.9 * torch.randn(1, head.modes, generator=rng)
        dyn, pose = torch.zeros(1, DYNAMICS), torch.zeros(1, 6)
        jaw = 0.5 * float(torch.rand(1, generator=rng))
        dyn[0, BLENDSHAPE_NAMES.index("jawOpen")] = jaw
        if index >= count // 3:
            pose[0, :2] = (torch.rand(2, generator=rng) * 2 - 1) * torch.tensor(turn)
        pose[0, 5] = 0.3
        clay = draw_clay(head, identity, dyn, pose, SIZE, skin=SKIN_TONES[index % len(SKIN_TONES)])
        faces = finder.find(clay.image_BHW3[0])
        if faces:
            points = faces[0].landmarks.astype(np.float64)
            found.append(View(clay, points[:, :2] + 0.5, outer_eye_distance(faces[0].landmarks), jaw))
    return found


def reference_face(head: HeadModel) -> Array:
    """(V, 3) the neutral face with parted lips."""
    dyn = torch.zeros(1, DYNAMICS)
    dyn[0, BLENDSHAPE_NAMES.index("jawOpen")] = PARTED
    return head.deform(torch.zeros(1, head.modes), dyn)[0].double().numpy()


def parts_mask(head: HeadModel, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """(T,) triangles of some parts."""
    return np.isin(head.part_T.numpy(), [PART[name] for name in names])


def surface_points(head: HeadModel, view: View, reference: Array) -> Array:
    """(L, 3) points of the reference face under the landmarks of one render; NaN where a point is not to be trusted."""
    cover = view.clay.cover
    triangle = cover.triangle_BHW[0].numpy()
    place = cover.interpolate(torch.from_numpy(reference).float())[0].double().numpy()
    out = np.full((LANDMARKS, 3), np.nan)
    for names, points in ((SKIN_PARTS, [i for i in range(LANDMARKS) if i not in IRIS]), (EYE_PARTS, list(IRIS))):
        rows, columns = np.nonzero((triangle >= 0) & parts_mask(head, names)[np.maximum(triangle, 0)])
        for i in points:
            if (i in LIPS_INNER or i in LIPS_OUTER) and view.jaw < 0.12:
                continue  # closed lips: which of the two is under the point cannot be told
            x, y = view.landmarks_L2[i]
            away = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2
            nearest = int(away.argmin())
            if away[nearest] < 36:
                out[i] = place[rows[nearest], columns[nearest]]
    return out


def mirror_of(layout: Array) -> Ints:
    """(L,) the landmark on the other side of the face for each, by the best pairing of points of a symmetric face."""
    flipped = layout * np.array([-1.0, 1.0, 1.0])
    apart = np.linalg.norm(flipped[:, None] - layout[None], axis=-1)
    skin = [i for i in range(LANDMARKS) if i not in IRIS]
    out = np.arange(LANDMARKS)
    for group in (skin, list(IRIS)):
        cost = apart[np.ix_(group, group)]
        out[group] = np.array(group)[linear_sum_assignment((cost + cost.T) ** 2)[1]]
    return out


def nearest_on_surface(points: Array, vertices: Array, triangles: Ints, allowed: Ints) -> tuple[Ints, Array]:
    """The nearest triangle of some (indices) and the weights of its corners, for each of (N, 3) points."""
    corner = vertices[triangles[allowed]]
    index, weights = np.zeros(len(points), np.int64), np.zeros((len(points), 3))
    for n, point in enumerate(points):
        near = np.argsort(((corner.mean(1) - point) ** 2).sum(1))[:64]
        best = np.inf
        for t in near:
            a, b, c = corner[t]
            share = closest_share(point, a, b, c)
            away = float(((share @ corner[t] - point) ** 2).sum())
            if away < best:
                best, index[n], weights[n] = away, allowed[t], share
    return index, weights


def closest_share(point: Array, a: Array, b: Array, c: Array) -> Array:
    """(3,) weights of the point of a triangle that is nearest to a point."""
    u, v, w = b - a, c - a, point - a
    uu, uv, vv, wu, wv = (float(np.dot(p, q)) for p, q in ((u, u), (u, v), (v, v), (w, u), (w, v)))
    determinant = uu * vv - uv * uv
    if determinant > 1e-14:
        s, t = (vv * wu - uv * wv) / determinant, (uu * wv - uv * wu) / determinant
        if s >= 0 and t >= 0 and s + t <= 1:
            return np.array([1 - s - t, s, t])
    best, found = np.inf, np.array([1.0, 0.0, 0.0])
    for i, j in ((0, 1), (1, 2), (2, 0)):
        p, q = (a, b, c)[i], (a, b, c)[j]
        along = float(np.clip(np.dot(point - p, q - p) / max(float(np.dot(q - p, q - p)), 1e-14), 0, 1))
        away = float(((p + along * (q - p) - point) ** 2).sum())
        if away < best:
            best, found = away, np.zeros(3)
            found[i], found[j] = 1 - along, along
    return found


def place_landmarks(head: HeadModel, finder: FaceFinder, count: int = 60, seed: int = 11) -> tuple[Ints, Array]:
    """Triangle (L,) and weights (L, 3) of the surface point under each landmark.

    Raises:
        ValueError: when the landmarker finds the face in too few of the renders.
    """
    reference = reference_face(head)
    shown = views(head, finder, count, seed, (22.0, 14.0))
    if len(shown) < count // 2:
        raise ValueError(f"the landmarker found a face in {len(shown)} of {count} renders, too few to tie landmarks")
    points = np.nanmedian(np.stack([surface_points(head, view, reference) for view in shown]), 0)
    mirror = mirror_of(points)
    points = 0.5 * (points + points[mirror] * np.array([-1.0, 1.0, 1.0]))
    triangles = head.triangles_T3.numpy()
    index, weights = np.zeros(LANDMARKS, np.int64), np.zeros((LANDMARKS, 3))
    for names, group in ((SKIN_PARTS, [i for i in range(LANDMARKS) if i not in IRIS]), (EYE_PARTS, list(IRIS))):
        allowed = np.flatnonzero(parts_mask(head, names))
        index[group], weights[group] = nearest_on_surface(points[group], reference, triangles, allowed)
    return index, weights


def on_lid_margins(head: HeadModel, triangle_L: Ints, weight_L3: Array) -> tuple[Ints, Array]:
    """The same ties with the points around the eyes moved onto the margins of the lids.

    An open eye's fold hides the skin just above the margin: a point tied a hair too high there would hang far above the
    lashes when the lid unrolls in a blink.
    """
    reference = reference_face(head)
    vertex_U = head.vertex_U.numpy()
    place = np.zeros((int(vertex_U.max()) + 1, 3))
    place[vertex_U] = reference
    triangles = head.triangles_T3.numpy()
    skin = np.flatnonzero(parts_mask(head, SKIN_PARTS))
    marks = vertex_U[head.marks_68.numpy()]
    index, weights = triangle_L.copy(), weight_L3.copy()
    for ring, upper, lower in LIDS:
        margins = [place[border(place, vertex_U[triangles[skin]], marks[stops])] for stops in (upper, lower)]
        middle = np.concatenate(margins).mean(0)
        points = np.array([weights[i] @ reference[triangles[index[i]]] for i in ring])
        for i, point in zip(ring, points, strict=True):
            line = margins[0] if point[1] > middle[1] else margins[1]
            line = line[np.argsort(line[:, 0])]
            # the same place along the eye, at the margin's height and depth
            target = np.array([np.interp(point[0], line[:, 0], line[:, axis]) for axis in range(3)])
            (index[i],), (weights[i],) = nearest_on_surface(target[None], reference, triangles, skin)
    return index, weights


def landmark_residual(head: HeadModel, finder: FaceFinder, count: int = 40, seed: int = 71) -> dict[str, float]:
    """How far the tied points lie from the landmarker's on new people, over the distance between the outer eye corners.

    Returns:
        mean, median and 95th percentile over all landmarks, and the means of lips, eyes' irises and the rest.
    """
    shown = views(head, finder, count, seed, (30.0, 18.0))
    errors = []
    for view in shown:
        mine = head.landmarks(view.clay.screen_BV3)[0, :, :2].double().numpy()
        errors.append(np.linalg.norm(mine - view.landmarks_L2, axis=1) / view.eye_distance)
    error = np.stack(errors)
    lips = sorted({*LIPS_INNER, *LIPS_OUTER})
    rest = [i for i in range(LANDMARKS) if i not in IRIS and i not in lips]
    return {
        "found": len(shown) / count,
        "mean": float(error.mean()),
        "median": float(np.median(error)),
        "p95": float(np.percentile(error, 95)),
        "lips": float(error[:, lips].mean()),
        "iris": float(error[:, list(IRIS)].mean()),
        "rest": float(error[:, rest].mean()),
    }
