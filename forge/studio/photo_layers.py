"""Hair, ears, neck and clothes of a portrait as one closed relief that wears the picture, and the background behind.

    shell = build_shell(canvas, matte, depth, normals, covered, face)

The picture is first brought to a canvas: the head's pivot in the middle, the same centimetres to a pixel for everybody.
On a coarse grid every pixel of the person gets a distance: that of the fitted head where it lies, carried on smoothly
outwards over hair and shoulders and behind the face. The relief gets a back, so that a head that turns does not turn
into a mask; cut-out borders come from the picture's own alpha, not from the grid.
Axes: C side of the canvas, V vertices, T triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.studio.head import PART
from forge.studio.photo_matte import Matte, push_pull

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Masks = NDArray[np.bool_]
UInt8Array = NDArray[np.uint8]

CANVAS_SIDE = 640
CANVAS_CENTIMETRES = 48.0
"""Height of the canvas at the head's distance: a fifth more than a standard frame shows, for heads that move."""
STEP = 5
"""Canvas pixels from one vertex of the relief to the next."""
IN_FRONT = 0.08
"""Centimetres by which hair and ears lie in front of the head's mesh."""
FULLNESS, FULL_AT = 1.6, 3.0
"""Centimetres that hair bulges towards the camera, and how far from its border."""
BACK, BACK_AT = 9.0, 5.0
"""Thickness of the head and how far from its border it is reached, centimetres."""
CHIN_PUSH = 2.6
"""Centimetres that the neck is set back around the chin."""
STEEPEST = 1.3
"""Centimetres that the relief falls away for each centimetre beside the face."""
REACH_CELLS = 20
"""Cells of four pixels, twice so many steps: how far beside the face that holds."""
HOLLOW = 26.0
"""Canvas pixels inside of the face's border from which there is no relief behind it."""
SINKS = 60.0
"""Canvas pixels that a jaw may come down."""
CUT_ABOVE_CHIN = 18.0
"""Canvas pixels above the chin from which the relief is cut out where the face is."""
JAW_PUSH = 0.8
"""Centimetres that the relief lies behind the face's mesh at least, within the face."""


@dataclass(frozen=True, eq=False)
class Shell:
    """The relief at rest, as it lies in the picture."""

    camera_V3: Floats
    """Camera space of the canvas, centimetres."""
    normal_V3: Floats
    """Camera space."""
    uv_V2: Floats
    """Into the canvas, [0, 1], v down."""
    triangles_T3: Ints
    part_T: UInt8Array
    picture_4CC: UInt8Array
    """sRGB and alpha; behind the face filled in from around it."""
    front_1CC: UInt8Array
    """255 where the relief may lie over the head's own mesh, 0 where it is only seen beside it."""


def canvas_matrix(pivot_xy: Doubles, pixels_per_centimetre: float) -> Doubles:
    """The (2, 3) map from picture positions (first pixel's centre at 0.5) to the canvas."""
    scale = CANVAS_SIDE / CANVAS_CENTIMETRES / pixels_per_centimetre
    shift = CANVAS_SIDE / 2 - scale * pivot_xy
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])


def to_canvas(values: NDArray[np.generic], matrix: Doubles, border: int = cv2.BORDER_REPLICATE) -> NDArray[np.generic]:
    """Warp a picture to the canvas; what lies outside of it repeats its border, or as OpenCV's `border` says."""
    half = np.array(matrix, np.float64)
    half[:, 2] += 0.5 * matrix[0, 0] - 0.5  # between positions with centres at 0.5 and OpenCV's at 0
    source = np.asarray(values)
    if matrix[0, 0] < 0.8:
        source = cv2.GaussianBlur(source, (0, 0), 0.4 / matrix[0, 0])
    flags = cv2.INTER_CUBIC if source.dtype == np.uint8 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(source, half, (CANVAS_SIDE, CANVAS_SIDE), flags=flags, borderMode=border))


def build_shell(
    matte: Matte, depth: Floats, normal: Floats, face: Masks, focal: float, distance: float, chin_row: float,
    tone: Floats, hair_limit: Masks,
) -> Shell:  # fmt: skip
    """Make the relief from a matte on the canvas.

    Args:
        matte: on the canvas.
        depth: (C, C) distance of the fitted head, infinity beside it; neck and shoulders included.
        normal: (C, C, 3) its normals in camera space.
        face: (C, C) where the head wears its own texture.
        focal: in canvas pixels.
        distance: of the head's pivot from the camera.
        chin_row: canvas row of the chin.
        tone: (3,) sRGB bytes of the person's skin.
        hair_limit: (C, C) where hair may be: around the skull.
    """
    person = matte.alpha_HW > 0.5
    colours = _behind_face(matte, face)
    labels = _labels(colours, person, face, chin_row, tone, hair_limit)
    rows = np.arange(len(labels))[:, None]
    # a neck lies far behind the jaw, but hair that hangs down beside it does not
    hair = ((labels == PART["hair"]) & (rows < chin_row)).astype(np.float32)
    tied = 1.0 - cv2.GaussianBlur(hair, (0, 0), 4.0)
    front = (_cut_face(face, chin_row, tied) * 255).round().astype(np.uint8)
    z, n = _relief(person, depth, normal, face, distance, chin_row, tied)
    picture = np.concatenate([colours, (matte.alpha_HW * 255).round().astype(np.uint8)[..., None]], axis=2)
    border = cv2.distanceTransform(person.astype(np.uint8), cv2.DIST_L2, 5) * CANVAS_CENTIMETRES / CANVAS_SIDE
    thickness = BACK * np.sqrt(np.clip(border / BACK_AT, 0.0, 1.0))
    # deep behind the face nothing is ever seen, and a mouth that opens must show its own inside
    deep = cv2.distanceTransform(face.astype(np.uint8), cv2.DIST_L2, 5) > HOLLOW
    shown = np.where(deep, 0.0, cv2.dilate(matte.alpha_HW, np.ones((4 * STEP + 1, 4 * STEP + 1), np.uint8)))
    return _mesh(z, z + thickness.astype(np.float32), n, shown > 0.02, labels, picture, front, focal)


def _relief(
    person: Masks, depth: Floats, normal: Floats, face: Masks, distance: float, chin_row: float, neck: Floats
) -> tuple[Floats, Floats]:
    """Distance and normal of the front of the relief in every pixel of the canvas."""
    covered = np.isfinite(depth)
    # the very rim of the head falls away steeply: carried outwards it would make a funnel
    rim = cv2.erode(covered.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    steep = (-normal[..., 2] < 0.05) | (rim & (-normal[..., 2] < 0.3))
    known = (covered & ~steep & ~face & person).astype(np.float32)
    flat = np.where(covered, depth, distance).astype(np.float32)
    flat = np.where(face & ~covered, push_pull(flat[..., None], (face & covered).astype(np.float32))[..., 0], flat)
    z = push_pull(flat[..., None], known)[..., 0]
    z = np.asarray(cv2.GaussianBlur(z, (0, 0), 4.0), np.float32)
    z = gentle(z, flat, face, chin_row, neck)
    rows = np.arange(len(z), dtype=np.float32)[:, None]
    # behind the chin it lies behind the face; above, where it is cut out along the face's border (`_cut_face`), it must
    # go on smoothly past that border, or the steps of the grid would show along the cut
    deep = cv2.distanceTransform(face.astype(np.uint8), cv2.DIST_L2, 5)
    pushed = np.maximum(z, flat + 3 * JAW_PUSH * np.minimum(1.0, deep / 12))
    z = np.where(face & (rows > chin_row - CUT_ABOVE_CHIN), pushed, z - IN_FRONT)
    # a jaw that opens goes down and back: what lies around the chin must be behind it then
    beside = cv2.distanceTransform((~face).astype(np.uint8), cv2.DIST_L2, 5)
    chin = np.clip((rows - chin_row) / 60.0 + 1.0, 0.0, 1.0) ** 2 * np.exp(-beside / 14.0)
    z = z + CHIN_PUSH * chin * neck
    outside = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 5)
    border = cv2.distanceTransform(person.astype(np.uint8), cv2.DIST_L2, 5)
    centimetre = CANVAS_SIDE / CANVAS_CENTIMETRES
    bulge = FULLNESS * np.sqrt(np.clip(border / (FULL_AT * centimetre), 0, 1)) * np.clip(outside / centimetre, 0, 1)
    z = z - bulge
    n = push_pull(normal * (covered & person)[..., None], (covered & person).astype(np.float32))
    n = np.asarray(cv2.GaussianBlur(n, (0, 0), 4.0), np.float32)
    n /= np.maximum(np.linalg.norm(n, axis=2, keepdims=True), 1e-4)
    return z.astype(np.float32), n.astype(np.float32)


def _cut_face(face: Masks, chin_row: float, neck: Floats) -> Floats:
    """(C, C) 0 where the head's own mesh always lies over the relief: in the face, and where a jaw may sink to."""
    inside = cv2.erode(face.astype(np.float32), np.ones((9, 9), np.uint8))
    beside = cv2.distanceTransform((~face).astype(np.uint8), cv2.DIST_L2, 5)
    rows = np.arange(len(face), dtype=np.float32)[:, None]
    near = np.clip((rows - chin_row) / 60.0 + 1.0, 0.0, 1.0) * (beside < SINKS) * (neck > 0.5)
    return np.asarray(
        1.0 - cv2.GaussianBlur(np.maximum(inside, near > 0.3).astype(np.float32), (0, 0), 1.2), np.float32
    )


def gentle(z: Floats, flat: Floats, face: Masks, chin_row: float, neck: Floats) -> Floats:
    """Depths that fall away from the face's border no more steeply than `STEEPEST`, above the chin.

    Hair that frames a face hides the steep side of the head: it begins where the cheek ends. And where nothing hides
    it, a few pixels of temple would be drawn out over all of it.
    """
    reduced = (len(z) // 4, len(z) // 4)
    centimetres = 4 * CANVAS_CENTIMETRES / CANVAS_SIDE
    rows = np.arange(reduced[0], dtype=np.float32)[:, None] * 4
    slope = (
        STEEPEST * centimetres * (1.0 + 6.0 * np.clip((rows - chin_row + 50.0) / 50.0, 0.0, 1.0) ** 2 * neck[::4, ::4])
    )
    start = cv2.resize(np.where(face, flat, 1e3).astype(np.float32), reduced, interpolation=cv2.INTER_NEAREST)
    cone = np.where(start < 1e3, start, 1e3).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for turn in range(2 * REACH_CELLS):
        # alternating neighbourhoods grow octagons: nearly as round as distance
        grown = cv2.erode(cone, cross if turn % 2 else kernel)
        cone = np.minimum(cone, grown + slope)
    wide = cv2.resize(cone, (len(z), len(z)), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.minimum(z, cv2.GaussianBlur(wide, (0, 0), 3.0)), np.float32)


def _behind_face(matte: Matte, face: Masks) -> UInt8Array:
    """The person's colours, with hair, temples and neck carried on behind the face."""
    hole = cv2.erode(face.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    filled = push_pull(matte.foreground_HW3.astype(np.float32), (~hole & (matte.alpha_HW > 0.5)).astype(np.float32))
    keep = ~hole[..., None]
    return np.asarray(np.where(keep, matte.foreground_HW3, np.clip(filled, 0, 255)), np.uint8)


def _labels(
    colours: UInt8Array, person: Masks, face: Masks, chin_row: float, tone: Floats, hair_limit: Masks
) -> UInt8Array:
    """Part of every pixel: skin near the face, neck below the chin, hair around the skull, cloth elsewhere."""
    lab = cv2.cvtColor(cv2.GaussianBlur(colours, (5, 5), 1.2), cv2.COLOR_RGB2LAB).astype(np.float32)
    wanted = cv2.cvtColor(np.clip(tone, 0, 255).astype(np.uint8).reshape(1, 1, 3), cv2.COLOR_RGB2LAB)[0, 0]
    apart = (lab - wanted.astype(np.float32)) / np.array([70.0, 11.0, 13.0], np.float32)
    skinlike = (apart**2).sum(axis=2) < 1.0
    rows = np.arange(len(colours))[:, None]
    near = cv2.dilate(face.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    labels = np.full(person.shape, PART["cloth"], np.uint8)
    labels[hair_limit] = PART["hair"]
    labels[skinlike & (rows > chin_row - 8)] = PART["neck"]
    labels[skinlike & near & (rows <= chin_row - 8)] = PART["skin"]
    # hair that hangs down is joined to the hair above and has its colour
    upper = hair_limit & person & ~skinlike & (rows < chin_row)
    if upper.sum() > 200:
        mean, spread = lab[upper].mean(axis=0), lab[upper].std(axis=0) + 6.0
        alike = ((((lab - mean) / (1.6 * spread)) ** 2).sum(axis=2) < 1.5) & person & ~skinlike
        alike |= upper
        _, pieces = cv2.connectedComponents(alike.astype(np.uint8))
        joined = np.isin(pieces, np.setdiff1d(np.unique(pieces[upper]), [0])) & (rows < chin_row + 200)
        labels[joined] = PART["hair"]
    return np.asarray(cv2.medianBlur(labels, 5), np.uint8)


def _mesh(
    front: Floats,
    back: Floats,
    normal: Floats,
    shown: Masks,
    labels: UInt8Array,
    picture: UInt8Array,
    front_CC: UInt8Array,
    focal: float,
) -> Shell:
    """A grid over the person, front and back."""
    side = len(front)
    at = np.arange(0, side + 1, STEP).clip(max=side - 1)
    count = len(at)
    rows, columns = (v.ravel() for v in np.meshgrid(at, at, indexing="ij"))
    used = shown[rows, columns].reshape(count, count)
    cell = used[:-1, :-1] & used[1:, :-1] & used[:-1, 1:] & used[1:, 1:]
    index = np.arange(count * count).reshape(count, count)
    a, b, c, d = (index[i][cell] for i in (np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, :-1], np.s_[1:, 1:]))
    # seen from the front with y down, the rasteriser draws triangles of negative area
    sheet = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    xy = np.stack([columns, rows], 1) + 0.5

    def place(z: Floats) -> Floats:
        depth = z[rows, columns].astype(np.float64)
        flat = (xy - side / 2) / focal * depth[:, None]
        return np.concatenate([flat, depth[:, None]], axis=1).astype(np.float32)

    normals = normal[rows, columns]
    behind = normals * np.array([1.0, 1.0, -1.0], np.float32)
    uv = (xy / side).astype(np.float32)
    centre = xy[sheet].mean(axis=1).astype(int).clip(0, side - 1)
    part = labels[centre[:, 1], centre[:, 0]]
    both = np.concatenate([sheet, sheet[:, ::-1] + count * count])
    points = np.concatenate([place(front), place(back)])
    kept, compact = np.unique(both, return_inverse=True)
    return Shell(
        points[kept],
        np.concatenate([normals, behind])[kept],
        np.concatenate([uv, uv])[kept],
        compact.reshape(both.shape).astype(np.int64),
        np.concatenate([part, part]),
        np.ascontiguousarray(picture.transpose(2, 0, 1)),
        front_CC[None],
    )
