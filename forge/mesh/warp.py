"""Move the whole picture with the head: one continuous mesh from the face to the unmoving frame border.

    sheet = make_sheet(head, size)
    pose = RigidPose.at(sheet.pivot, yaw=10, ...)
    placed = sheet.placed(points, pose)                # (V, 3) frame pixels
    source_xy = flow(sheet, placed)                    # (size, size, 2) where each pixel's colour comes from

Around the face lie rings and a grid of further vertices. Hair, ears and neck follow the head, what is farther follows
less, the border of the frame stays; so the head moves in its own picture without a cut, a hole or a seam. The outline
of a skull hardly moves when it turns (its points lie beside the axis, not in front of it), which is why the background
is stretched by so little.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from forge.mesh.fit import Head
from forge.mesh.rig import CREASES, LASH_SHARE, SKIN, UPPER_LIDS, load_rig, with_lashes
from media.landmarks import FACE_OVAL, LEFT_EYE, LIPS_INNER, RIGHT_EYE

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

PIVOT = (0.0, 0.62, 0.62)
"""Rig units: where the skull sits on the neck, below and behind the eyes."""
RINGS = (1.05, 1.12, 1.21, 1.32, 1.46, 1.62)
"""Sizes of the rings around the face outline."""
DISTANCE = 7.5
"""Rig units from the camera to the head: an arm's length and a half. What comes nearer grows by this perspective."""
TURN_GAIN = (1.4, 1.18, 1.0)
"""Yaw, pitch and roll are turned by so much more than asked. The depth of a face is gentler than in life
(`fit.gentle_depth`), so the same turn shows less; and the landmarker reads but 0.76 of a known yaw off a drawn 3D head.
With these gains it reads about 0.9 of what was asked."""
FLOW_SIDE = 512
"""Pixels of the square on which the flow is computed; larger frames interpolate it."""


@dataclass(frozen=True, eq=False)
class RigidPose:
    """A turn about a pivot, a growth and a shift, in frame pixels."""

    pivot: Array
    turn: Array
    growth: float
    shift: Array
    distance: float
    """Pixels from the camera to the pivot."""
    narrowing: Array
    """(2,) how much narrower and shorter the turn makes a flat thing that faced the camera."""
    upright: Array
    """(2, 2) the roll alone."""

    @classmethod
    def at(cls, pivot: Array, scale: float, pose: Array) -> RigidPose:
        """The pose of (6,) `POSE_NAMES`: degrees, outer-eye distances (`scale` pixels each) and log size."""
        yaw, pitch, roll = np.radians(np.asarray(pose[:3], np.float64) * TURN_GAIN)
        shift = np.array([pose[3], pose[4], 0.0], np.float64) * scale
        return cls(
            pivot,
            rotation(yaw, pitch, roll),
            float(np.exp(pose[5])),
            shift,
            DISTANCE * scale,
            1 - np.cos([yaw, pitch]),
            rotation(0.0, 0.0, roll)[:2, :2],
        )

    def outline(self, points: Array, roundness: Array) -> Array:
        """Points (N, 3) moved as parts of a round head's outline (1) or of its front (0).

        A skull is as wide from any side: as points of its outline turn away, others take their place.
        """
        moved = self(points)
        lost = (points - self.pivot)[:, :2] * self.narrowing
        moved[:, :2] += self.growth * roundness[:, None] * (lost @ self.upright.T)
        return moved

    def __call__(self, points: Array) -> Array:
        """Points (N, 3) moved; unmoved ones keep their place exactly."""
        turned = (points - self.pivot) @ self.turn.T
        before = self.distance + points[:, 2] - self.pivot[2]
        nearer = before / np.maximum(self.distance + turned[:, 2], 0.2 * self.distance)
        turned[:, :2] *= (self.growth * nearer)[:, None]
        return turned + self.pivot + self.shift


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """(3, 3) turn in picture axes (x right, y down, z away), radians; signs as in `POSE_NAMES`."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0.0, -sy], [0.0, 1.0, 0.0], [sy, 0.0, cy]])  # the nose, at -z, goes to +x
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])  # the nose goes to -y
    about_z = np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(about_z @ about_y @ about_x)


@dataclass(frozen=True, eq=False)
class Sheet:
    """The picture as a mesh: 468 face vertices, 14 among the upper lashes, then the surroundings."""

    source: Array
    """(V, 2) where each vertex takes its colour from."""
    lashes: Array
    """(14, 3) from each point of the upper lids to its point among the lashes, which moves along unchanged."""
    around: Array
    """(V - 482, 3) surrounding vertices at rest."""
    follow: Array
    """(V - 482,) how much each follows the head: 1 on the head, 0 at the border."""
    roundness: Array
    """(V - 482,) 0 at the rim of the face, 1 where hair and skull end."""
    tow: Array
    """(V - 482, 36) how much each is towed along by expression displacements of the face outline."""
    triangles: IntArray
    """(N, 3) clockwise in the picture."""
    layer: Array
    """(N,) 0 for triangles of the surroundings, 1 for what closes an opening, 2 for skin: drawn in this order."""
    pivot: Array
    """(3,) frame pixels."""
    size: int
    """Pixels of the square frame."""

    def placed(self, face: Array, rest: Array, pose: RigidPose) -> Array:
        """(V, 3) all vertices for expressive landmarks (478, 3), the rest face and a pose."""
        oval = list(FACE_OVAL)
        around = self.around + self.tow @ (face[oval] - rest[oval])
        around = around + self.follow[:, None] * (pose.outline(around, self.roundness) - around)
        lashes = face[list(UPPER_LIDS)] + self.lashes
        return np.concatenate([pose(np.concatenate([face[:SKIN], lashes])), around])


def make_sheet(head: Head, size: int) -> Sheet:
    """Extend a fitted face to the whole frame."""
    rig = load_rig()
    pivot = head.to_picture(np.array(PIVOT))
    oval = list(FACE_OVAL)
    outline = head.source[oval]
    centre = outline[:, :2].mean(axis=0)
    rings = np.concatenate([centre + ring * (outline[:, :2] - centre) for ring in RINGS])
    step = size / 18
    ticks = np.linspace(0, size - 1, 19)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    last = (centre + RINGS[-1] * (outline[:, :2] - centre)).astype(np.float32)
    away = np.array([-cv2.pointPolygonTest(last, (float(x), float(y)), True) for x, y in grid])
    border = (grid == 0).any(axis=1) | (grid == size - 1).any(axis=1)
    grid = grid[(away > 0.4 * step) | border]
    inner = ((rings > 0.35 * step) & (rings < size - 1 - 0.35 * step)).all(axis=1)
    xy = np.concatenate([rings[inner], grid])
    # the frame's border is unmoving, also where it cuts through the face's own rings
    everything = np.concatenate([outline[:, :2], xy])
    triangles = Delaunay(everything).simplices.astype(np.int64)
    triangles = clockwise(everything, triangles)
    middle = everything[triangles].mean(axis=1)
    within = np.array(
        [cv2.pointPolygonTest(outline[:, :2].astype(np.float32), tuple(map(float, p)), False) >= 0 for p in middle]
    )
    index = np.concatenate([np.array(oval), SKIN + len(UPPER_LIDS) + np.arange(len(xy))])
    outer = index[triangles[~within]]
    holes = np.array([t for ring in (LIPS_INNER, RIGHT_EYE, LEFT_EYE) for t in hole_triangles(ring)])
    rho = radius(xy, outline[:, :2], centre)
    around = np.concatenate([xy, depth_around(xy, rho, outline, pivot)[:, None]], axis=1)
    return Sheet(
        source=np.concatenate([with_lashes(head.source)[:, :2], xy]),
        lashes=LASH_SHARE * (head.source[list(CREASES)] - head.source[list(UPPER_LIDS)]),
        around=around,
        follow=follow_weights(xy, rho, head, pivot, size),
        roundness=smoothstep(rho, 1.0, 1.5),
        tow=tow_weights(xy, outline[:, :2], head.scale, size),
        triangles=np.concatenate([outer, holes, rig.triangles]),
        layer=np.repeat([0, 1, 2], [len(outer), len(holes), len(rig.triangles)]),
        pivot=pivot,
        size=size,
    )


def clockwise(points: Array, triangles: IntArray) -> IntArray:
    """The same triangles, all wound clockwise in a picture whose y points down."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    wrong = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]) < 0
    return np.where(wrong[:, None], triangles[:, [0, 2, 1]], triangles)


def hole_triangles(ring: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """A strip that spans an opening between its two borders; the ring's points 0 and n/2 are its corners."""
    half = len(ring) // 2
    lower, upper = ring[: half + 1], (ring[0], *ring[: half - 1 : -1])
    strip: list[tuple[int, int, int]] = []
    for k in range(half):
        strip.append((upper[k], upper[k + 1], lower[k + 1]))
        strip.append((upper[k], lower[k + 1], lower[k]))
    if ring[0] > ring[half]:  # the left eye's ring runs the other way round
        strip = [(a, c, b) for a, b, c in strip]
    return [t for t in strip if len(set(t)) == 3]


def radius(xy: Array, outline: Array, centre: Array) -> Array:
    """(N,) distance from the centre over that of the outline in the same direction."""
    angle = np.arctan2(outline[:, 1] - centre[1], outline[:, 0] - centre[0])
    order = np.argsort(angle)
    length = np.linalg.norm(outline - centre, axis=1)
    at = np.arctan2(xy[:, 1] - centre[1], xy[:, 0] - centre[0])
    return np.asarray(
        np.linalg.norm(xy - centre, axis=1) / np.interp(at, angle[order], length[order], period=2 * np.pi)
    )


def smoothstep(x: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth in between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def depth_around(xy: Array, rho: Array, outline: Array, pivot: Array) -> Array:
    """(N,) depth of the surroundings: from the face outline back to the middle of the skull."""
    near = np.argsort(((xy[:, None] - outline[None, :, :2]) ** 2).sum(axis=-1), axis=1)[:, :5]
    edge = outline[near, 2].mean(axis=1)
    back = smoothstep(rho, 1.0, 1.55)
    return np.asarray(edge * (1 - back) + pivot[2] * back)


def follow_weights(xy: Array, rho: Array, head: Head, pivot: Array, size: int) -> Array:
    """(N,) how much each surrounding point follows the head's pose."""
    down, chin = head.turn[:2, 1], head.source[152, :2]
    below = (xy - chin) @ down / (np.linalg.norm(down) * head.scale)
    on_head = 1 - smoothstep(rho, 1.5, 2.6)
    on_neck = 1 - smoothstep(below, -0.1, 1.15)
    edge = np.minimum(xy, size - 1 - xy).min(axis=1)
    return np.asarray(on_head * on_neck * smoothstep(edge, 0.0, 0.16 * size))


def tow_weights(xy: Array, outline: Array, scale: float, size: int) -> Array:
    """(N, 36) how much the face outline's expression (mostly the jaw's) reaches each surrounding point."""
    distance = np.linalg.norm(xy[:, None] - outline[None], axis=-1)
    share = np.exp(-((distance / (0.16 * scale)) ** 2) / 2) + 1e-12
    share /= share.sum(axis=1, keepdims=True)
    reach = np.exp(-distance.min(axis=1) / (0.4 * scale))
    edge = np.minimum(xy, size - 1 - xy).min(axis=1)
    return np.asarray(share * (reach * smoothstep(edge, 0.0, 0.1 * size))[:, None])


def flow(sheet: Sheet, placed: Array) -> FloatArray:
    """(S, S, 2) float32 source position of every pixel of the frame, S = `sheet.size`."""
    side = min(FLOW_SIDE, sheet.size)
    ratio = side / sheet.size
    # pixel centres: frame pixel x is (x + 0.5) * ratio - 0.5 on the flow's square
    target = (placed[:, :2] + 0.5) * ratio - 0.5
    corner = target[sheet.triangles]
    e1, e2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    depth = placed[sheet.triangles, 2].mean(axis=1)
    # a triangle of the surroundings that has turned over (at a far cheek) is still better than nothing there
    shown = np.flatnonzero((area > 1e-3) | ((sheet.layer == 0) & (area < -1e-3)))
    order = shown[np.lexsort((-depth[shown], area[shown] > 0, sheet.layer[shown]))]
    owner = np.zeros((side, side), np.int16)
    pixels = np.round(corner * 16).astype(np.int32)
    for t in order.tolist():
        cv2.fillConvexPoly(owner, pixels[t], t, cv2.LINE_8, 4)
    s = sheet.source[sheet.triangles]
    safe = np.where(np.abs(area) > 1e-3, area, 1.0)
    # source = s0 + (s1 - s0) * u + (s2 - s0) * v, with u, v linear in the target pixel
    u = np.stack([e2[:, 1], -e2[:, 0]], axis=-1) / safe[:, None]
    v = np.stack([-e1[:, 1], e1[:, 0]], axis=-1) / safe[:, None]
    linear = (s[:, 1] - s[:, 0])[:, :, None] * u[:, None] + (s[:, 2] - s[:, 0])[:, :, None] * v[:, None]
    constant = s[:, 0] - np.einsum("tij,tj->ti", linear, corner[:, 0])
    table = np.concatenate([linear.reshape(-1, 4), constant], axis=1).astype(np.float32)
    maps = np.take(table, owner.ravel(), axis=0).reshape(side, side, 6)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    out = np.stack(
        [maps[..., 0] * x + maps[..., 1] * y + maps[..., 4], maps[..., 2] * x + maps[..., 3] * y + maps[..., 5]],
        axis=-1,
    )
    if side != sheet.size:
        out = cv2.resize(out, (sheet.size, sheet.size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(out, np.float32)
