"""Eyes that look and blink: the portrait's own eyeballs behind moving lids.

    eyes = cut_eyes(image, head)
    draw_eyes(frame, eyes, placed, pose, gaze_degrees)     # in place

An iris is cut out once, completed where lids hide it, and the white behind it is continued; then white and iris are
drawn behind the lid opening of each frame. When a lid comes down, the skin that was folded away behind it is painted:
the few rows of pixels that the picture shows of it are lashes and would be drawn out into streaks.

Axes: frame pixels; images are float32 RGB in [0, 255].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.mesh.curves import box_around, fill_from, outline_of, soft_mask, through
from forge.mesh.fit import Head
from forge.mesh.rig import CREASES, UNDER_BROW, UPPER_LIDS
from forge.mesh.warp import RigidPose
from media.landmarks import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

BALL = 2.05
"""Radius of an eyeball over that of its iris (12 to 5.9 millimetres)."""
DEAD_ZONE = 10.0
"""Degrees: a portrait that looks nearly into the camera is taken to look into it; more so when its head is turned."""


LID_COVER, LASH_COVER = 0.8, 0.75
"""How far a shut lid's skin and lash line are painted rather than stretched."""


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye of the portrait, ready to be drawn."""

    ring: tuple[int, ...]
    """Landmarks of the lid border: outer corner, lower lid, inner corner, upper lid."""
    origin: tuple[int, int]
    """Frame position of the first pixel of the pictures below."""
    white: FloatArray
    """(h, w, 3) eyeball without its iris, continued under the lids."""
    iris: FloatArray
    """(h, w, 3) the iris, completed."""
    cover: FloatArray
    """(h, w) how much of each pixel the iris covers."""
    middle: Array
    """(2,) middle between the eye's corners in the picture."""
    reach: float
    """Pixels of iris travel for a sine of 1."""
    look: Array
    """(2,) degrees, yaw and pitch, by which the picture's own gaze differs from a look into the camera."""
    height: float
    """Pixels of the opening's mean height in the picture."""
    lid: FloatArray
    """(N, 3) colours of the upper lid's skin from the outer corner to the inner one."""
    lash: FloatArray
    """(3,) colour of the line where shut lids meet."""


def cut_eyes(image: FloatArray, head: Head) -> tuple[Eye, ...]:
    """The open eyes of an (S, S, 3) portrait."""
    eyes = []
    for ring, iris, is_open in zip((RIGHT_EYE, LEFT_EYE), (RIGHT_IRIS, LEFT_IRIS), head.eyes_open, strict=True):
        if is_open:
            eyes.append(cut_eye(image, head, ring, iris))
    if len(eyes) == 2:  # both look the same way: two measurements of one gaze
        look = (eyes[0].look + eyes[1].look) / 2
        eyes = [replace(eye, look=look) for eye in eyes]
    turned = float(np.degrees(np.arccos(np.clip(head.turn[2, 2], -1, 1))))
    return tuple(replace(eye, look=beyond_dead_zone(eye.look, DEAD_ZONE + 0.35 * turned)) for eye in eyes)


def beyond_dead_zone(look: Array, zone: float) -> Array:
    """A measured gaze without its noise: nothing within the dead zone, at most 20 degrees."""
    size = float(np.linalg.norm(look))
    return look * (min(max(size - zone, 0.0), 20.0) / max(size, 1e-6))


def cut_eye(image: FloatArray, head: Head, ring: tuple[int, ...], iris: tuple[int, ...]) -> Eye:
    """One eye: white, iris and how they lie."""
    outline = outline_of(head.source, ring)
    width = float(np.linalg.norm(head.source[ring[0], :2] - head.source[ring[8], :2]))
    box = box_around(outline, 0.5 * width, image.shape[0])
    x0, y0, x1, y1 = box
    patch = image[y0:y1, x0:x1]
    inside = soft_mask(outline, box)
    centre = head.source[iris[0], :2]
    radius = float(np.linalg.norm(head.source[list(iris[1:]), :2] - centre, axis=1).mean())
    y, x = np.mgrid[y0:y1, x0:x1]
    away = np.hypot(x - centre[0], y - centre[1])
    radius *= rim(patch, away / radius, inside)
    edge = max(0.7, 0.08 * radius)
    cover = np.clip((radius + edge - away) / (2 * edge), 0, 1).astype(np.float32)
    sure = cv2.erode(inside, np.ones((3, 3), np.uint8)) if width > 20 else inside
    bare = (sure * (away > radius * 1.2 + 0.8)).astype(np.float32)
    if bare.sum() < 4:
        bare = (inside * (away > radius)).astype(np.float32) + np.float32(1e-4)
    white = fill_from(patch, np.clip(bare, 0, 1), reach=max(0.06 * width, 1.0))
    seen = (sure * (away < radius * 1.1)).astype(np.float32)
    rings = radial_mean(patch, away, seen, radius)
    full = patch * sure[..., None] + rings * (1 - sure[..., None])
    middle = (head.source[ring[0], :2] + head.source[ring[8], :2]) / 2
    upper, lower = head.source[list(ring[9:16]), :2], head.source[list(ring[7:0:-1]), :2]
    height = float(np.linalg.norm(upper - lower, axis=1).mean())
    ball = BALL * radius
    # an iris in the middle of its opening looks where the head looks; the lids' middle lies a little below it
    ahead = outline.mean(axis=0)
    ahead = 0.5 * ahead + 0.5 * middle
    off = (centre - ahead) / ball
    forward = -head.turn[:2, 2]  # where the head itself points, as a sine to the right and down
    look = np.degrees(np.arcsin(np.clip(off + forward, -0.7, 0.7))) * (1.0, -1.0)
    lid, lash = lid_colours(image, head, ring, width)
    return Eye(ring, (x0, y0), white, full.astype(np.float32), cover, middle, ball, look, height, lid, lash)


def lid_points(ring: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Upper lid border without its corners, and the fold above it, both from the outer corner to the inner one."""
    border = list(ring[15:8:-1])
    return border, [CREASES[UPPER_LIDS.index(point)] for point in border]


def lid_colours(image: FloatArray, head: Head, ring: tuple[int, ...], width: float) -> tuple[FloatArray, FloatArray]:
    """Skin colours (7, 3) along the upper lid, and the (3,) colour of its lashes."""
    border, fold = lid_points(ring)
    smooth = cv2.GaussianBlur(image, (0, 0), max(0.035 * width, 0.7))
    brow = [UNDER_BROW[CREASES.index(point)] for point in fold]
    skin: FloatArray = np.zeros((len(border), 3), np.float32)
    for above, below, share in ((fold, border, 0.75), (brow, fold, 0.5)):
        place = share * head.source[above, :2] + (1 - share) * head.source[below, :2]
        at = np.clip(np.round(place), 0, len(image) - 1).astype(int)
        skin += 0.5 * smooth[at[:, 1], at[:, 0]]
    grey = skin.mean(axis=1)
    # lashes, glasses and strands of hair are no skin: outliers take the colour of the rest
    usual = np.median(skin, axis=0)
    skin = np.where((np.abs(grey - np.median(grey)) > 0.25 * np.median(grey))[:, None], usual, skin)
    skin = np.asarray(cv2.GaussianBlur(skin.astype(np.float32), (1, 5), 0), np.float32)
    edge = np.clip(np.round(head.source[border, :2]), 0, len(image) - 1).astype(int)
    near = smooth[edge[:, 1], edge[:, 0]]
    dark = near[np.argsort(near.mean(axis=1))[:3]].mean(axis=0)
    return skin, np.minimum(dark, 0.6 * usual).astype(np.float32)


def rim(patch: FloatArray, away: Array, inside: FloatArray) -> float:
    """Where the iris ends, in measured radii: the steepest rise from dark to white. Drawn eyes have large irises."""
    grey = patch.mean(axis=-1)
    ticks = np.arange(0.6, 1.7, 0.1)
    seen = [(inside > 0.8) & (away >= tick) & (away < tick + 0.1) for tick in ticks]
    if min(int(s.sum()) for s in seen[:6]) < 3:
        return 1.0
    level = np.array([np.median(grey[s]) if s.sum() >= 3 else np.nan for s in seen])
    level = np.where(np.isnan(level), np.nanmax(level), level)
    rise = level[2:] - level[:-2]
    best = int(np.argmax(rise))
    return float(np.clip(ticks[best] + 0.15, 0.9, 1.4)) if rise[best] > 8 else 1.0


def radial_mean(patch: FloatArray, away: Array, seen: FloatArray, radius: float) -> FloatArray:
    """(h, w, 3) the mean colour of the seen pixels at each distance from the iris's centre."""
    bins = np.minimum((away / max(radius / 8, 0.5)).astype(int), 63)
    weight = np.bincount(bins.ravel(), seen.ravel(), 64)
    table = np.stack([np.bincount(bins.ravel(), (seen * patch[..., c]).ravel(), 64) for c in range(3)], axis=1)
    known = np.flatnonzero(weight > 0.2)
    if len(known) == 0:
        return patch
    mean = table[known] / weight[known][:, None]
    filled = np.stack([np.interp(np.arange(64), known, mean[:, c]) for c in range(3)], axis=1)
    return np.asarray(filled[bins], np.float32)


def draw_eyes(frame: UInt8Array, eyes: tuple[Eye, ...], placed: Array, pose: RigidPose, gaze: Array) -> None:
    """Draw the eyeballs behind their lids into an (S, S, 3) frame, in place.

    Args:
        frame: the warped portrait.
        eyes: of `cut_eyes`.
        placed: (V, 3) vertices of this frame.
        pose: of this frame.
        gaze: (2,) degrees: yaw to the picture's right, pitch up; 0 looks into the camera when the head does as in
            the picture.
    """
    for eye in eyes:
        outline = outline_of(placed, eye.ring)
        box = box_around(outline, 2, frame.shape[0])
        x0, y0, x1, y1 = box
        if x1 - x0 < 2 or y1 - y0 < 2:  # turned out of the frame
            continue
        mask = soft_mask(outline, box, softness=0.4)
        middle = (placed[eye.ring[0], :2] + placed[eye.ring[8], :2]) / 2
        linear = pose.turn[:2, :2] * pose.growth
        white_at = linear, middle - linear @ (eye.middle - eye.origin) - (x0, y0)
        turn = np.radians(np.clip(gaze - eye.look, -40, 40))
        travel = np.array([np.sin(turn[0]), -np.sin(turn[1])]) * eye.reach
        iris_at = linear, white_at[1] + linear @ travel
        size = (x1 - x0, y1 - y0)
        ball = drawn(eye.white, white_at, size)
        cover = drawn(eye.cover, iris_at, size, cv2.BORDER_CONSTANT)[..., None]
        ball = ball + cover * (drawn(eye.iris, iris_at, size) - ball)
        region = frame[y0:y1, x0:x1]
        blended = region + mask[..., None] * (ball - region)
        frame[y0:y1, x0:x1] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
        draw_lid(frame, eye, placed)


def draw_lid(frame: UInt8Array, eye: Eye, placed: Array) -> None:
    """Paint the upper lid of an eye as far as it is shut, in place."""
    border, fold = lid_points(eye.ring)
    upper, lower = placed[border, :2], placed[list(eye.ring[1:8]), :2]
    open_share = float(np.linalg.norm(upper - lower, axis=1).mean()) / max(eye.height, 1e-6)
    shut = float(np.clip((0.85 - open_share) / 0.7, 0, 1))
    if shut <= 0.02:
        return
    outer, inner = placed[eye.ring[0], :2], placed[eye.ring[8], :2]
    edge = through(np.concatenate([outer[None], upper, inner[None]]))
    top = through(np.concatenate([outer[None], 0.85 * placed[fold, :2] + 0.15 * upper, inner[None]]))
    low = 0.22 * top + 0.78 * edge
    box = box_around(np.concatenate([top, edge]), 3, frame.shape[0])
    x0, y0, x1, y1 = box
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    along = inner - outer
    width = float(np.linalg.norm(along))
    tall = float(np.linalg.norm(edge - top, axis=1).max())
    y, x = np.mgrid[y0:y1, x0:x1]
    t = np.clip(((x - outer[0]) * along[0] + (y - outer[1]) * along[1]) / max(width**2, 1e-6), 0, 1) * 6
    skin = np.stack([np.interp(t, np.arange(7), eye.lid[:, c]) for c in range(3)], axis=-1)
    cover = soft_mask(np.concatenate([top, low[::-1]]), box, softness=max(0.14 * tall, 0.5)) * (LID_COVER * shut)
    cover *= np.clip(np.minimum(t, 6 - t) / 0.9, 0, 1).astype(np.float32)  # no hard ends in the corners
    region = frame[y0:y1, x0:x1].astype(np.float32)
    region += cover[..., None] * (skin - region)
    line = np.concatenate([edge, edge[::-1] + np.array([0.0, max(0.035 * width, 0.9)])])
    dark = soft_mask(line, box, softness=0.5) * (LASH_COVER * shut)
    region += dark[..., None] * (eye.lash - region)
    frame[y0:y1, x0:x1] = np.clip(region + 0.5, 0, 255).astype(np.uint8)


def drawn(
    picture: FloatArray, at: tuple[Array, Array], size: tuple[int, int], border: int = cv2.BORDER_REPLICATE
) -> FloatArray:
    """A picture through a linear map and a shift."""
    matrix = np.concatenate([at[0], at[1][:, None]], axis=1)
    return np.asarray(cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border), np.float32)
