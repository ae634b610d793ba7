"""Cut the person out of a portrait, without a segmentation network: colours learned from where the head must be.

    matte = find_matte(image, head, landmarks)     # the fitted head says what is surely person, hair and background

A colour model (grab-cut) is seeded by the fitted head and shoulders, its answer cleaned to one connected person,
softened along the picture's own edges, and the background filled in behind.

Axes: H W the picture's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from media.landmarks import FACE_OVAL

UInt8Array = NDArray[np.uint8]
Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]

WORK_SIDE = 256
"""Pixels a side in which person and background are told apart; the border is then refined at full size."""
ROUNDS = 6


@dataclass(frozen=True, eq=False)
class Matte:
    """A person and what is behind."""

    alpha_HW: Floats
    """Share of the person in each pixel, [0, 1]."""
    foreground_HW3: UInt8Array
    """The person's own colours, carried on beyond the border."""
    background_HW3: UInt8Array
    """The picture without the person, filled in from around."""


def find_matte(image: UInt8Array, head_HW: Masks, landmarks: NDArray[np.float32]) -> Matte:
    """Tell the person from the background.

    Args:
        image: (H, W, 3) square picture of one person.
        head_HW: where the fitted head is, without its neck.
        landmarks: (478, 2 or 3) in pixels.
    """
    side = len(image)
    scale = WORK_SIDE / side
    small = np.asarray(cv2.resize(image, (WORK_SIDE, WORK_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    head = cv2.resize(head_HW.astype(np.float32), (WORK_SIDE, WORK_SIDE), interpolation=cv2.INTER_AREA) > 0.5
    points = np.asarray(landmarks[:, :2], np.float64) * scale
    seeds = seed_map(head, points)
    # fine pattern in cloth and leaves confuses colour models; its edges are wanted
    calm = cv2.bilateralFilter(small, 5, 20, 5)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    everywhere = (0, 0, WORK_SIDE, WORK_SIDE)  # not read: the seeds say more
    cv2.grabCut(calm, seeds, everywhere, models[0], models[1], ROUNDS, cv2.GC_INIT_WITH_MASK)
    person = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    person = one_piece(person, points[list(FACE_OVAL)].mean(axis=0))
    alpha = soften(image, person)
    foreground = spread_colours(image, alpha > 0.8)
    background = fill_behind(image, alpha)
    return Matte(alpha, foreground, background)


def seed_map(head: Masks, points: NDArray[np.float64]) -> UInt8Array:
    """What is surely or probably person or background, as grab-cut wants it.

    Args:
        head: mask of the fitted head.
        points: (478, 2) landmarks in the mask's pixels.
    """
    height, width = head.shape
    oval = points[list(FACE_OVAL)]
    face = float(np.ptp(points[:, 0]))
    chin, middle = float(oval[:, 1].max()), float(oval[:, 0].mean())
    rows = np.flatnonzero(head.any(axis=1))
    top = float(rows[0]) if len(rows) else float(points[:, 1].min())
    y, x = np.mgrid[:height, :width].astype(np.float64)
    aside = np.abs(x - middle)
    away = cv2.distanceTransform((~head).astype(np.uint8), cv2.DIST_L2, 5)
    seeds = np.full(head.shape, cv2.GC_PR_BGD, np.uint8)
    seeds[(away < 0.22 * face) & (y < chin + 0.2 * face)] = cv2.GC_PR_FGD
    below = y - chin - 0.25 * face
    shoulders = 0.42 * face + np.clip(below * 2.2, 0, 0.93 * face)
    seeds[(y > chin - 0.1 * face) & (aside < shoulders)] = cv2.GC_PR_FGD
    core = 0.25 * face + np.clip((below - 0.1 * face) * 1.2, 0, 0.55 * face)
    seeds[(y > chin + 0.1 * face) & (aside < core)] = cv2.GC_FGD
    inner = np.zeros(head.shape, np.uint8)
    cv2.fillConvexPoly(inner, np.round(oval).astype(np.int32), 1)
    seeds[cv2.erode(inner, np.ones((3, 3), np.uint8)) > 0] = cv2.GC_FGD
    seeds[(y < chin + 0.1 * face) & (aside > 1.35 * face)] = cv2.GC_BGD
    seeds[y < top - 0.55 * face] = cv2.GC_BGD
    return seeds


def one_piece(person: Masks, inside: NDArray[np.float64]) -> Masks:
    """The connected part around a point, small holes filled, thin spikes taken off."""
    opened = cv2.morphologyEx(person.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(opened)
    at = tuple(int(np.clip(v, 0, len(person) - 1)) for v in inside[::-1])
    piece = parts == parts[at] if parts[at] else opened > 0
    count, holes, stats, _ = cv2.connectedComponentsWithStats((~piece).astype(np.uint8), connectivity=4)
    for index in range(1, count):
        left, top, width, height, area = (int(v) for v in stats[index])
        touches = left == 0 or top == 0 or left + width == piece.shape[1] or top + height == piece.shape[0]
        if not touches and area < 0.01 * piece.size:
            piece |= holes == index
    return np.asarray(piece)


def soften(image: UInt8Array, person: Masks) -> Floats:
    """Alpha at full size: the coarse border moved onto the picture's edges by a guided filter."""
    side = len(image)
    coarse = cv2.GaussianBlur(person.astype(np.float32), (0, 0), 0.8)
    coarse = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    guide = image.astype(np.float32) / 255.0
    alpha = cv2.ximgproc.guidedFilter(guide, coarse, max(2, side // 100), 1e-4)
    # a guided filter leaks far along weak contrast: it may decide only near the border
    near = cv2.GaussianBlur(coarse, (0, 0), side / 256)
    alpha = np.where(near > 0.93, 1.0, np.where(near < 0.07, 0.0, alpha))
    return np.asarray(np.clip((alpha - 0.22) / 0.6, 0.0, 1.0), np.float32)


def spread_colours(image: UInt8Array, known: Masks) -> UInt8Array:
    """Keep the known pixels and carry their colours outwards (push-pull), so that no background clings to a border."""
    filled = push_pull(image.astype(np.float32), known.astype(np.float32))
    return np.asarray(np.clip(filled, 0, 255), np.uint8)


def push_pull(values_HWC: Floats, weight_HW: Floats) -> Floats:
    """Fill where the weight is 0 from the weighted means of ever larger surroundings.

    Args:
        values_HWC: any picture.
        weight_HW: 1 known, 0 unknown; what lies between is mixed.
    """
    height, width = weight_HW.shape
    if min(height, width) <= 2:
        total = max(float(weight_HW.sum()), 1e-6)
        mean = (values_HWC * weight_HW[..., None]).sum(axis=(0, 1)) / total
        fallback = np.broadcast_to(mean, values_HWC.shape)
        return np.asarray(values_HWC * weight_HW[..., None] + fallback * (1 - weight_HW[..., None]), np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    weighted = cv2.GaussianBlur(values_HWC * weight_HW[..., None], (5, 5), 1.0)
    weights = cv2.GaussianBlur(weight_HW, (5, 5), 1.0)
    small = cv2.resize(weighted, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], -1)
    small_weight = cv2.resize(weights, half, interpolation=cv2.INTER_AREA)
    means = small / np.maximum(small_weight, 1e-6)[..., None]
    coarse = push_pull(np.asarray(means, np.float32), np.asarray(np.minimum(small_weight * 4.0, 1.0), np.float32))
    grown = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(values_HWC.shape)
    own = np.clip(weight_HW, 0, 1)[..., None]
    return np.asarray(values_HWC * own + grown * (1 - own), np.float32)


def fill_behind(image: UInt8Array, alpha: Floats) -> UInt8Array:
    """The background without the person; grain as in the picture, so that what was filled does not look blurred."""
    known = (alpha < 0.12).astype(np.float32)
    if known.mean() < 0.02:
        known = (alpha < 0.5).astype(np.float32)
    filled = push_pull(image.astype(np.float32), known)
    detail = image.astype(np.float32) - cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2.0)
    strength = float(np.sqrt((detail[known > 0] ** 2).mean())) if known.any() else 0.0
    grain = np.random.default_rng(0).normal(0, 1, image.shape[:2]).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 1.0) * min(strength, 6.0) * 1.5
    return np.asarray(np.clip(filled + grain[..., None] * (1 - known)[..., None], 0, 255), np.uint8)
