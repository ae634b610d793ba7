"""How near a drawn face is to the truth: pure functions over pictures and over what the landmarker saw in them.

    psnr(truth, drawn); ssim(truth, drawn); ms_ssim(truth, drawn)             # pictures (H, W, 3) uint8
    sharpness_ratio(truth, drawn, region_of(a, "eyes"), region_of(b, "eyes"))   # 1: as much detail as in life
    pose_error(angles, angles); expression_error(shapes, shapes)                # APD in degrees, AED
    mean_measure(values, people)                                                # mean with a 95% interval

Axes: N frames, H W pixels, K landmarks, E blendshapes, C channels. A figure that does not exist (a shut mouth has no
teeth to be sharp) is NaN and left out of means. Every picture metric takes the truth first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, log10

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from detect.metrics import Measure
from media.landmarks import (
    BLENDSHAPE_INDEX,
    BLENDSHAPE_NAMES,
    FACE_OVAL,
    LEFT_EYE,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_EYE,
    lip_aperture,
    outer_eye_distance,
)

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
Mask = NDArray[np.bool_]

WINDOW_SIDE, WINDOW_SIGMA = 11, 1.5
"""The Gaussian window of SSIM (Wang et al. 2004, section III.C)."""
K1, K2, LEVELS = 0.01, 0.03, 255.0
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales of MS-SSIM (Wang, Simoncelli and Bovik 2003, section 3.2)."""
SMALLEST_REGION = 24
"""Pixels: a smaller region has no sharpness worth the name."""
DEGREES_PER_GAZE = 30.0
"""Degrees of gaze that the motion vector means by a coefficient of 1."""
MOUTH = tuple(i for i, name in enumerate(BLENDSHAPE_NAMES) if name.startswith(("mouth", "jaw")))
EYES = tuple(i for i, name in enumerate(BLENDSHAPE_NAMES) if name.startswith("eye"))


def _pair(truth: UInt8Array, drawn: UInt8Array) -> None:
    if truth.ndim != 3 or truth.shape[2] != 3 or truth.dtype != np.uint8:
        raise ValueError(f"pictures must be (H, W, 3) uint8, got {truth.shape} {truth.dtype}")
    if truth.shape != drawn.shape or drawn.dtype != np.uint8:
        raise ValueError(f"pictures must be alike, got {truth.shape} and {drawn.shape} {drawn.dtype}")


def luma(image: UInt8Array) -> Array:
    """(H, W) grey values in [0, 255] of an RGB picture (BT.601 weights, as SSIM's authors use)."""
    return np.asarray(image.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def psnr(truth: UInt8Array, drawn: UInt8Array, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB over RGB, of the pixels of an (H, W) mask; infinite for equal pictures.

    NaN for an empty mask.
    """
    _pair(truth, drawn)
    difference = truth.astype(np.float64) - drawn
    if mask is not None:
        if not mask.any():
            return float("nan")
        difference = difference[mask]
    error = float((difference**2).mean())
    return inf if error == 0 else 10 * log10(LEVELS**2 / error)


def _window(values: Array) -> Array:
    """Gaussian-weighted local means where the window lies inside the picture."""
    edge = WINDOW_SIDE // 2
    wide = cv2.GaussianBlur(values, (WINDOW_SIDE, WINDOW_SIDE), WINDOW_SIGMA, borderType=cv2.BORDER_REFLECT)
    return np.asarray(wide[edge:-edge, edge:-edge], np.float64)


def _similarity_maps(x: Array, y: Array) -> tuple[Array, Array]:
    """Structural similarity and its contrast-structure part at every place where the window fits."""
    if min(x.shape) < WINDOW_SIDE:
        raise ValueError(f"pictures must be at least {WINDOW_SIDE} pixels a side, got {x.shape}")
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    shared = _window(x * y) - mean_x * mean_y
    c1, c2 = (K1 * LEVELS) ** 2, (K2 * LEVELS) ** 2
    structure = (2 * shared + c2) / (var_x + var_y + c2)
    return (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * structure, structure


def ssim(truth: UInt8Array, drawn: UInt8Array, mask: Mask | None = None) -> float:
    """Structural similarity of luma (Wang et al. 2004): 11 x 11 Gaussian window of sigma 1.5, no down-sampling.

    Args:
        truth: (H, W, 3) uint8.
        drawn: the same.
        mask: (H, W) places to average over; NaN when none of them lies inside by half a window.
    """
    _pair(truth, drawn)
    similar, _ = _similarity_maps(luma(truth), luma(drawn))
    if mask is None:
        return float(similar.mean())
    edge = WINDOW_SIDE // 2
    inside = mask[edge:-edge, edge:-edge]
    return float(similar[inside].mean()) if inside.any() else float("nan")


def ms_ssim(truth: UInt8Array, drawn: UInt8Array) -> float:
    """Multi-scale structural similarity of luma (Wang, Simoncelli, Bovik 2003), five scales, negative parts as 0.

    Raises:
        ValueError: for pictures below 176 pixels a side: the coarsest scale must hold one window.
    """
    _pair(truth, drawn)
    smallest = WINDOW_SIDE * 2 ** (len(SCALE_WEIGHTS) - 1)
    if min(truth.shape[:2]) < smallest:
        raise ValueError(f"MS-SSIM needs pictures of {smallest} pixels a side or more, got {truth.shape[:2]}")
    x, y = luma(truth), luma(drawn)
    product = 1.0
    for level, weight in enumerate(SCALE_WEIGHTS):
        similar, structure = _similarity_maps(x, y)
        last = level == len(SCALE_WEIGHTS) - 1
        product *= max(float((similar if last else structure).mean()), 0.0) ** weight
        if not last:
            x, y = _halved(x), _halved(y)
    return product


def _halved(values: Array) -> Array:
    """2 x 2 means; an odd last row or column is dropped."""
    v = values[: values.shape[0] // 2 * 2, : values.shape[1] // 2 * 2]
    return np.asarray((v[::2, ::2] + v[1::2, ::2] + v[::2, 1::2] + v[1::2, 1::2]) / 4)


def region_of(landmarks: FloatArray, region: str, shape: tuple[int, int]) -> Mask:
    """(H, W) bool mask of a part of the face from (478, 2 or 3) landmarks in pixels.

    Args:
        landmarks: of the picture in which the region is wanted.
        region: "face" (the oval), "eyes" (both openings and their lashes), "mouth" (between the inner lips), and with
            the skin around them "eye_area" and "lip_area".
        shape: H, W.
    """
    eyes = (RIGHT_EYE, LEFT_EYE)
    rings = {
        "face": (FACE_OVAL,), "eyes": eyes, "mouth": (LIPS_INNER,), "eye_area": eyes, "lip_area": (LIPS_OUTER,)
    }  # fmt: skip
    if region not in rings:
        raise ValueError(f"region must be one of {', '.join(rings)}, got {region!r}")
    mask = np.zeros(shape, np.uint8)
    for ring in rings[region]:
        # four more bits: whole pixels would move the border of a small eye by a part of its height
        points = np.round(np.asarray(landmarks, np.float64)[list(ring), :2] * 16).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, shift=4)
    share = {"eyes": 0.04, "eye_area": 0.15, "lip_area": 0.15}.get(region)
    if share is not None:
        reach = max(1, round(share * outer_eye_distance(landmarks)))
        mask = cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)).astype(np.uint8)
    return np.asarray(mask > 0)


def laplacian_energy(image: UInt8Array, mask: Mask) -> float:
    """Mean squared Laplacian of luma inside a mask; NaN below `SMALLEST_REGION` pixels."""
    if mask.sum() < SMALLEST_REGION:
        return float("nan")
    edges = cv2.Laplacian(luma(image), cv2.CV_64F, ksize=3, borderType=cv2.BORDER_REPLICATE)
    return float((np.asarray(edges)[mask] ** 2).mean())


def sharpness_ratio(truth: UInt8Array, drawn: UInt8Array, truth_mask: Mask, drawn_mask: Mask) -> float:
    """Amplitude of fine detail in a region of the drawn picture over that in the truth's: 1 alike, below 1 softer.

    Each picture has its own mask, so a displaced eye is not taken for a blurred one. The square root of the ratio of
    Laplacian energies. NaN where either region is too small or the truth is flat.
    """
    _pair(truth, drawn)
    original, made = laplacian_energy(truth, truth_mask), laplacian_energy(drawn, drawn_mask)
    return float(np.sqrt(made / original)) if original > 1e-6 else float("nan")


def network_distance(
    features: Callable[[UInt8Array], Sequence[FloatArray]], truth: UInt8Array, drawn: UInt8Array
) -> float:
    """Distance of two pictures in a network's layers, in the form of LPIPS (Zhang et al. 2018, eq. 1), unweighted.

    Named "(self)" in tables: the network is ours, so figures cannot be compared with LPIPS of papers.

    Args:
        features: picture (H, W, 3) uint8 to a list of (C, h, w) layers; a network that trained nothing judged here.
        truth: (H, W, 3).
        drawn: the same.
    """
    _pair(truth, drawn)
    total = 0.0
    for a, b in zip(features(truth), features(drawn), strict=True):
        unit_a = a / (np.linalg.norm(a, axis=0, keepdims=True) + 1e-10)
        unit_b = b / (np.linalg.norm(b, axis=0, keepdims=True) + 1e-10)
        total += float(((unit_a - unit_b) ** 2).sum(axis=0).mean())
    return total


def pose_error(truth: ArrayLike, drawn: ArrayLike) -> Array:
    """(N, 3) absolute errors in degrees of yaw, pitch and roll, the shorter way round; their mean is the APD."""
    a, b = np.asarray(truth, np.float64), np.asarray(drawn, np.float64)
    if a.shape != b.shape or a.shape[-1] != 3:
        raise ValueError(f"angles must be (N, 3) each, got {a.shape} and {b.shape}")
    return np.asarray(np.abs((a - b + 180) % 360 - 180))


def expression_error(truth: ArrayLike, drawn: ArrayLike, columns: Sequence[int] | None = None) -> Array:
    """(N,) AED: mean absolute difference of blendshape coefficients (N, E), of all or of some columns."""
    a, b = np.asarray(truth, np.float64), np.asarray(drawn, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"blendshapes must be (N, E) each, got {a.shape} and {b.shape}")
    apart = np.abs(a - b)
    return np.asarray((apart if columns is None else apart[:, list(columns)]).mean(axis=1))


def landmark_error(truth: FloatArray, drawn: FloatArray) -> float:
    """Normalised mean error of (478, 2 or 3) landmarks in the picture plane, by the truth's outer-eye distance."""
    apart = np.linalg.norm(np.asarray(truth)[:, :2] - np.asarray(drawn)[:, :2], axis=1)
    return float(apart.mean()) / max(outer_eye_distance(truth), 1e-6)


def aperture_error(truth: FloatArray, drawn: FloatArray) -> float:
    """Absolute difference of the lip apertures of two (478, 2 or 3) faces, each by its own outer-eye distance."""
    return abs(lip_aperture(truth) - lip_aperture(drawn))


def gaze_degrees(blendshapes: ArrayLike) -> Array:
    """(N, 2) yaw (to the picture's right) and pitch (up) of the eyes in the head, from (N, 51) coefficients."""
    shapes = np.asarray(blendshapes, np.float64)

    def shape(name: str) -> Array:
        return np.asarray(shapes[:, BLENDSHAPE_INDEX[name]])

    aside = shape("eyeLookOutLeft") - shape("eyeLookInLeft") + shape("eyeLookInRight") - shape("eyeLookOutRight")
    up = shape("eyeLookUpLeft") + shape("eyeLookUpRight") - shape("eyeLookDownLeft") - shape("eyeLookDownRight")
    return np.stack([aside, up], axis=1) / 2 * DEGREES_PER_GAZE


def gaze_error(truth: ArrayLike, drawn: ArrayLike) -> Array:
    """(N,) angle in degrees between two gazes given as blendshapes (N, 51)."""
    a, b = np.radians(gaze_degrees(truth)), np.radians(gaze_degrees(drawn))
    cosine = np.sin(a[:, 1]) * np.sin(b[:, 1]) + np.cos(a[:, 1]) * np.cos(b[:, 1]) * np.cos(a[:, 0] - b[:, 0])
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def cosine_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """(N,) cosines of pairs of embeddings (N, C); CSIM of papers. NaN where an embedding is missing (NaN)."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    length = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    return np.asarray((x * y).sum(axis=-1) / np.where(length > 0, length, np.nan))


def mean_measure(
    values: ArrayLike, clusters: Sequence[str], *, draws: int = 2000, reason: str = "nothing was measured"
) -> Measure:
    """Mean with a 95% percentile-bootstrap interval that draws whole clusters (people); NaN values are left out.

    With one cluster only there is no interval: one person says nothing about others.
    """
    return _bootstrap([np.asarray(values, np.float64)], clusters, lambda means: means[0], draws, reason)


def difference_measure(
    first: ArrayLike, second: ArrayLike, clusters: Sequence[str], *, draws: int = 2000, reason: str = "nothing shared"
) -> Measure:
    """Mean of first minus second on the same frames, interval by drawing whole clusters."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return _bootstrap([a - b], clusters, lambda means: means[0], draws, reason)


def ratio_measure(
    first: ArrayLike, second: ArrayLike, clusters: Sequence[str], *, draws: int = 2000, reason: str = "nothing shared"
) -> Measure:
    """Mean of the first over the mean of the second, of frames that both have; interval by drawing whole clusters."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(both, a, np.nan), np.where(both, b, np.nan)
    return _bootstrap(
        [a, b], clusters, lambda means: means[0] / np.where(means[1] == 0, np.nan, means[1]), draws, reason
    )


def _bootstrap(
    columns: Sequence[Array], clusters: Sequence[str], combine: Callable[[list[Array]], Array], draws: int, reason: str
) -> Measure:
    """A function of column means with its interval; every column is summed once per cluster."""
    if any(len(column) != len(clusters) for column in columns):
        raise ValueError(f"clusters must be as many as values, got {len(clusters)} for {[len(c) for c in columns]}")
    _, member = np.unique(np.array([str(c) for c in clusters]), return_inverse=True)
    kept = [np.isfinite(column) for column in columns]
    if not all(k.any() for k in kept):
        return Measure(float("nan"), reason=reason)
    groups = int(member.max()) + 1
    sums = [np.bincount(member, np.where(k, c, 0.0), groups) for c, k in zip(columns, kept, strict=True)]
    counts = [np.bincount(member, k, groups) for k in kept]
    present = counts[0] > 0
    sums, counts = [s[present] for s in sums], [c[present] for c in counts]
    whole = combine([np.array([s.sum() / c.sum()]) for s, c in zip(sums, counts, strict=True)])
    value = float(whole[0])
    if not np.isfinite(value):
        return Measure(float("nan"), reason=reason)
    if int(present.sum()) < 2:
        return Measure(value)
    picks = np.random.default_rng(0).integers(0, len(counts[0]), (draws, len(counts[0])))
    drawn = combine([s[picks].sum(1) / c[picks].sum(1) for s, c in zip(sums, counts, strict=True)])
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Measure(value, float(low), float(high))
