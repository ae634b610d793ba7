"""The ICT-FaceKit light head as it was published, and what its pieces are called here; used by `bake_head.py`.

Axes: V unsplit vertices, T triangles, K identity modes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from forge.motion.features import BLENDSHAPE_NAMES
from forge.studio.head import PART

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

SHAPE_MODES = 50
"""Identity modes kept; the fifty left out move a vertex by 0.1 mm on average."""
CULLED_PARTS = ("iris_left", "iris_right", "eye_occlusion_left", "eye_occlusion_right")
FORWARD = np.array([0.0, 0.0, 1.0])
IRIS_DEGREES = 23.5
"""Where the cornea's bulge begins, seen from the middle of the eyeball: the rim of the iris."""
RIM_RING = (20.5, 24.3)
"""Degrees between which the mesh has one ring of vertices: it is drawn onto the rim, so that parts end on a circle."""
EYEBALL_DEGREES = 105.0
"""How far from the pole of the cornea an eyeball is kept: enough for any turn of the eye."""


@dataclass(frozen=True, eq=False)
class Source:
    """The model as it was published: V unsplit vertices."""

    vertices: Array
    expressions: dict[str, Array]
    identity: Array
    triangles: Ints
    uv: Array
    triangles_uv: Ints
    part: NDArray[np.str_]
    """Name of the part of each triangle."""
    vertex_part: NDArray[np.str_]
    marks: Ints
    """(68,) vertices of the classic face points."""


@dataclass(frozen=True, eq=False)
class Eyeball:
    """A sphere fitted to the white of one eye."""

    pivot: Array
    radius: float
    axis: Array
    """Unit vector from the pivot through the cornea."""

    def angles(self, points: Array, axis: Array) -> Array:
        """Degrees between an axis and the directions of (N, 3) points from the pivot."""
        away = points - self.pivot
        return np.asarray(np.degrees(np.arccos(np.clip(away @ axis / np.linalg.norm(away, axis=1), -1, 1))))


def read_source(path: Path) -> Source:
    """Read the arrays of the published model."""
    with np.load(path, allow_pickle=False) as data:
        names = [str(name) for name in data["expression_names"]]
        part_names = data["part_names"]
        return Source(
            vertices=data["vertices"].astype(np.float64),
            expressions={
                name: delta.astype(np.float64) for name, delta in zip(names, data["expression_delta"], strict=True)
            },
            identity=data["identity_delta"][:SHAPE_MODES].astype(np.float64),
            triangles=data["triangles"].astype(np.int64),
            uv=data["uv"].astype(np.float64),
            triangles_uv=data["triangles_uv"].astype(np.int64),
            part=part_names[data["tri_part"]],
            vertex_part=part_names[data["part"]],
            marks=data["landmarks68"].astype(np.int64),
        )


def arkit_actions(source: Source, tongue: NDArray[np.bool_]) -> Array:
    """(52, V, 3) displacements in the order of `BLENDSHAPE_NAMES`."""
    out = np.zeros((len(BLENDSHAPE_NAMES), *source.vertices.shape))
    for row, name in enumerate(BLENDSHAPE_NAMES):
        if name == "tongueOut":
            out[row] = tongue_out(source.vertices, tongue)
        elif name in ("browInnerUp", "cheekPuff"):
            out[row] = source.expressions[f"{name}_L"] + source.expressions[f"{name}_R"]
        else:
            key = name.replace("Left", "_L").replace("Right", "_R")
            out[row] = source.expressions[name.replace("_", "") if name in source.expressions else key]
    return out


def tongue_out(vertices: Array, tongue: NDArray[np.bool_]) -> Array:
    """Displacement of the tongue: the farther from its root, the farther forward; over the lower teeth, then down."""
    out = np.zeros_like(vertices)
    z = vertices[tongue, 2]
    along = np.clip((z - 4.5) / (z.max() - 4.5), 0.0, 1.0)
    reach = along * along * (3.0 - 2.0 * along)
    # the body of the tongue rises to clear the teeth, the tip comes down again in front of them
    rise = 0.75 * np.sin(np.pi * np.clip(reach, 0, 1)) ** 0.8 - 0.15 * reach**3
    out[tongue, 0] = -0.12 * vertices[tongue, 0] * reach
    out[tongue, 1] = rise
    out[tongue, 2] = 3.4 * reach
    return out


def islands(triangles_uv: Ints, count: int) -> Ints:
    """The connected piece of texture that each triangle lies on, by its least texture vertex."""
    parent = np.arange(count)

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for a, b, c in triangles_uv.tolist():
        ra, rb, rc = root(a), root(b), root(c)
        least = min(ra, rb, rc)
        parent[ra] = parent[rb] = parent[rc] = least
    return np.array([root(int(t)) for t in triangles_uv[:, 0]])


def tongue_triangles(source: Source) -> NDArray[np.bool_]:
    """The tongue within the one mesh of gums, palate and tongue: the texture island in the middle with a free tip."""
    mouth = source.part == "gums_tongue"
    piece = islands(source.triangles_uv[mouth], len(source.uv))
    chosen = np.zeros(len(source.triangles), bool)
    for name in np.unique(piece):
        corners = source.vertices[np.unique(source.triangles[mouth][piece == name])]
        middle = abs(corners[:, 0]).max() < 2.1
        if middle and -3.2 < corners[:, 1].max() < -2.6 and corners[:, 2].max() > 9.0:
            chosen[np.flatnonzero(mouth)[piece == name]] = True
    if not chosen.any():
        raise ValueError("no texture island of gums_tongue looks like a tongue; is this the ICT-FaceKit light model?")
    return chosen


def in_polygon(points: Array, polygon: Array) -> NDArray[np.bool_]:
    """Whether (N, 2) points lie in a polygon (M, 2)."""
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            at = (x1 - x0) * (points[:, 1] - y0) / (y1 - y0) + x0
        inside ^= crosses & (points[:, 0] < at)
    return inside


def name_parts(source: Source, tongue: NDArray[np.bool_], balls: dict[str, Eyeball]) -> NDArray[np.uint8]:
    """Index into `head.PARTS` of each triangle."""
    middle = source.vertices[source.triangles].mean(1)
    part = np.full(len(middle), PART["skin"], np.uint8)
    # below the jaw: a plane from under the chin up to the nape
    chin = source.vertices[source.marks[8]]
    under = middle[:, 1] < chin[1] - 1.2 + 0.28 * (chin[2] - middle[:, 2])
    part[np.isin(source.part, ("face", "head_neck")) & under & (middle[:, 1] < -2.0)] = PART["neck"]
    lips = in_polygon(middle[:, :2], source.vertices[source.marks[48:60], :2]) & (middle[:, 2] > 9.0)
    part[(source.part == "face") & lips] = PART["lips"]
    for name, piece in (
        ("sclera", "sclera"),
        ("teeth", "teeth"),
        ("gums", "gums_tongue"),
        ("mouth_socket", "mouth_socket"),
        ("lashes", "eyelashes"),
        ("eye_wet", "lacrimal_fluid"),
        ("eye_wet", "eye_blend"),
    ):
        part[np.char.startswith(source.part, piece)] = PART[name]
    part[tongue] = PART["tongue"]
    for side, ball in balls.items():
        angle = ball.angles(source.vertices, FORWARD)[source.triangles].max(1)
        part[(source.part == f"sclera_{side}") & (angle < IRIS_DEGREES + 0.05)] = PART["iris"]
    return part


def fit_eyeball(source: Source, side: str) -> Eyeball:
    """Sphere through the white of the eye; its axis through the middle of the iris mesh's front."""
    white = source.vertices[source.vertex_part == f"sclera_{side}"]
    pivot, radius = white.mean(0), 1.5
    for _ in range(5):  # the cornea bulges: leave it out
        away = white - pivot
        back = away[:, 2] / np.linalg.norm(away, axis=1) < 0.75
        solved = np.linalg.lstsq(np.c_[2 * white[back], np.ones(back.sum())], (white[back] ** 2).sum(1), rcond=None)[0]
        pivot = solved[:3]
        radius = float(np.sqrt(solved[3] + (pivot**2).sum()))
    iris = source.vertices[source.vertex_part == f"iris_{side}"]
    delta = source.expressions[f"PupilDilate_{side[0].upper()}"][source.vertex_part == f"iris_{side}"]
    rim = iris[np.linalg.norm(delta, axis=1) > 0.02]  # what a pupil moves is the iris
    axis = rim.mean(0) - pivot
    return Eyeball(pivot, radius, axis / np.linalg.norm(axis))


def straighten(source: Source, balls: dict[str, Eyeball]) -> Source:
    """The model with eyes that look straight ahead (as published they diverge by seven degrees each), round irises."""
    vertices = source.vertices.copy()
    for side, ball in balls.items():
        mine = np.flatnonzero(source.vertex_part == f"sclera_{side}")
        across = np.cross(ball.axis, FORWARD)
        turn = Rotation.from_rotvec(across / np.linalg.norm(across) * np.arccos(ball.axis @ FORWARD))
        away = turn.apply(vertices[mine] - ball.pivot)
        angle = ball.angles(away + ball.pivot, FORWARD)
        ring = (angle > RIM_RING[0]) & (angle < RIM_RING[1])
        length, flat = np.linalg.norm(away[ring], axis=1), away[ring, :2]
        rim = np.radians(IRIS_DEGREES)
        sideways = flat / np.linalg.norm(flat, axis=1, keepdims=True) * np.sin(rim)
        away[ring] = length[:, None] * np.c_[sideways, np.full(len(flat), np.cos(rim))]
        vertices[mine] = away + ball.pivot
    return replace(source, vertices=vertices)


def pivot_motion(source: Source, ball: Eyeball, side: str) -> Array:
    """(K, 3) how each identity mode moves the middle of an eyeball: the shift of an affine fit to its white."""
    mine = source.vertex_part == f"sclera_{side}"
    away = source.vertices[mine] - ball.pivot
    design = np.c_[np.ones(len(away)), away]
    return np.stack([np.linalg.lstsq(design, mode[mine], rcond=None)[0][0] for mode in source.identity])


def drawable(source: Source, balls: dict[str, Eyeball]) -> NDArray[np.bool_]:
    """Triangles that are opaque and can face a camera at all; what stays hidden all the same goes in `visible`."""
    keep = ~np.isin(source.part, CULLED_PARTS)
    middle = source.vertices[source.triangles].mean(1)
    corners = source.vertices[source.marks[[36, 39, 42, 45]]]
    # lash strips are solid: the upper ones make a good line of lashes, the lower ones and the outer wings a black band
    wing = np.abs(source.vertices[source.triangles][:, :, 0]).max(1) > np.abs(corners[:, 0]).max() + 0.12
    keep &= ~np.char.startswith(source.part, "eyelashes") | ((middle[:, 1] > corners[:, 1].mean() + 0.1) & ~wing)
    for side, ball in balls.items():
        keep &= ~((source.part == f"sclera_{side}") & (ball.angles(middle, FORWARD) > EYEBALL_DEGREES))
    return keep
