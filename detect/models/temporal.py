"""How a face moves and how its texture rides on that motion: measurements to read and for a small model to weigh.

Real faces under a real camera move unevenly and their texture changes with every frame (light, wrinkles, grain,
parallax). An animated portrait is one texture sliding along a smooth, generated motion. Nothing here is learned and
nothing looks at who is in the picture: optical flow between consecutive frames of one fixed crop gives rigid motion
and what it cannot explain.

Axes: T frames, H W pixels of the crop, B frequency bands, R regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from detect.models.bending import bending_features, bending_names, cells_of
from detect.models.expression import EXPRESSIONS
from detect.models.pace import PACE_BANDS, distinct_frames, pace_features, pace_names
from media.clip import FloatArray, UInt8Array

CROP_SIDE = 128
"""Pixels of the square the flow is computed on: small enough that clips of every resolution keep as much detail."""
CROP_MARGIN = 0.25
MIN_FRAMES = 8
SIGMAS = (0.7, 1.4, 2.8, 5.6)
"""Gaussian scales (pixels) whose differences make the bands, fine to coarse."""
MOTIONS = ("x", "y", "turn", "zoom", "yaw", "pitch")
REGIONS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "forehead": ((0.30, 0.05, 0.70, 0.25),),
    "eyes": ((0.17, 0.32, 0.83, 0.46),),
    "nose": ((0.40, 0.45, 0.60, 0.66),),
    "cheeks": ((0.15, 0.50, 0.33, 0.72), (0.67, 0.50, 0.85, 0.72)),
    "mouth": ((0.32, 0.68, 0.68, 0.92),),
}
"""Boxes x0 y0 x1 y1 in parts of the alignment template (brows to chin is 0..1)."""


def _feature_names() -> tuple[str, ...]:
    names = [f"{kind}_{m}" for m in MOTIONS for kind in ("speed", "uneven", "uneven_low", "rough")]
    for region in REGIONS:
        names += [f"unrigid_{region}", f"unrigid_uneven_{region}"]
        names += [f"{kind}{band}_{region}" for kind in ("change", "drift") for band in range(len(SIGMAS))]
        names += [f"colour{band}_{region}" for band in (1, 2, 3)]
        names += [f"detail{band}_{region}" for band in range(len(SIGMAS))]
        names += [f"flicker_{region}"]
    return tuple(names)


FLOW_FEATURES: tuple[str, ...] = _feature_names() + pace_names(tuple(REGIONS), MOTIONS) + bending_names(MOTIONS)
"""Order of the values of `window_features`."""
FEATURES: tuple[str, ...] = FLOW_FEATURES + EXPRESSIONS
"""Order of all measurements of a second: those of optical flow, then those of landmarks."""


@lru_cache(maxsize=4)
def region_masks(side: int = CROP_SIDE, margin: float = CROP_MARGIN) -> dict[str, NDArray[np.bool_]]:
    """Which pixels of an aligned crop belong to which part of the face; (side, side) each, and `face` for the oval."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, boxes in REGIONS.items():
        mask = np.zeros((side, side), bool)
        for box in boxes:
            x0, y0, x1, y1 = (round((v + margin) / (1 + 2 * margin) * side) for v in box)
            mask[y0:y1, x0:x1] = True
        masks[name] = mask
    unit = (np.arange(side) + 0.5) / side * (1 + 2 * margin) - margin
    masks["face"] = ((unit[None] - 0.5) / 0.45) ** 2 + ((unit[:, None] - 0.5) / 0.55) ** 2 <= 1.0
    return masks


def _bands(plane: FloatArray) -> list[FloatArray]:
    out, finer = [], plane
    for sigma in SIGMAS:
        coarser = np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
        out.append(finer - coarser)
        finer = coarser
    return out


@lru_cache(maxsize=4)
def head_depth(side: int = CROP_SIDE, margin: float = CROP_MARGIN) -> FloatArray:
    """(side, side) depth of an average head in an aligned crop, parts of its width: an ellipsoid with a nose.

    What is nearer to the camera moves further when the head turns; that tells turning from shifting.
    """
    unit = (np.arange(side, dtype=np.float32) + 0.5) / side * (1 + 2 * margin) - margin
    x, y = np.meshgrid(unit - 0.5, unit - 0.5)
    ellipsoid = np.sqrt(np.clip(1.0 - (x / 0.62) ** 2 - (y / 0.80) ** 2, 0.0, None)) * 0.6
    nose = 0.2 * np.exp(-(x**2) / 0.008 - (y - 0.08) ** 2 / 0.02)
    depth = ellipsoid + nose
    return np.asarray(depth - depth.mean(), np.float32)


def rigid_motion(flow_HW2: FloatArray, inside: NDArray[np.bool_]) -> tuple[NDArray[np.float64], FloatArray]:
    """The shift, turn, zoom, yaw and pitch that explain a flow field best, and what they leave over.

    Two rounds of reweighted least squares, so that a moving mouth does not count as a moving head.

    Args:
        flow_HW2: displacement of each pixel, pixels.
        inside: (H, W) pixels to use.

    Returns:
        (x, y, turn, zoom, yaw, pitch) in parts of the side and radians; the flow (H, W, 2) without it.
    """
    side = flow_HW2.shape[0]
    y, x = np.nonzero(inside)
    y, x = y[::7], x[::7]
    depth = head_depth(side)
    cx, cy, z = (x - side / 2) / side, (y - side / 2) / side, depth[y, x]
    zero, one = np.zeros_like(cx), np.ones_like(cx)
    across, down = np.stack([one, zero, -cy, cx, z, zero], 1), np.stack([zero, one, cx, cy, zero, z], 1)
    design = np.concatenate([across, down])
    observed = np.concatenate([flow_HW2[y, x, 0], flow_HW2[y, x, 1]]).astype(np.float64) / side
    weight = np.ones(len(observed))
    motion = np.zeros(len(MOTIONS))
    for _ in range(3):
        weighted = design * weight[:, None]
        motion = np.linalg.solve(weighted.T @ design + 1e-6 * np.eye(len(MOTIONS)), weighted.T @ observed)
        miss = np.abs(observed - design @ motion)
        weight = 1.0 / (1.0 + (miss / (1.5 * np.median(miss) + 1e-5)) ** 2)
    grid = (np.arange(side, dtype=np.float32) - side / 2) / side
    gx, gy = np.meshgrid(grid, grid)
    shift_x, shift_y, turn, zoom, yaw, pitch = motion.astype(np.float32)
    rigid_x = shift_x - turn * gy + zoom * gx + yaw * depth
    rigid_y = shift_y + turn * gx + zoom * gy + pitch * depth
    return motion, (flow_HW2 - side * np.stack([rigid_x, rigid_y], axis=-1)).astype(np.float32)


def _warped(picture: FloatArray, flow_HW2: FloatArray) -> FloatArray:
    side = picture.shape[0]
    grid = np.arange(side, dtype=np.float32)
    gx, gy = np.meshgrid(grid, grid)
    moved = cv2.remap(
        picture, gx + flow_HW2[..., 0], gy + flow_HW2[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.float32)


def _change(a: FloatArray, b: FloatArray, flow: FloatArray, masks: dict[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Log ratio of what flow cannot explain to what is there, (regions, bands + 3 chroma bands + flicker)."""
    warped = _warped(b, flow)
    bands_a, bands_d = _bands(a[..., 0]), _bands(warped[..., 0] - a[..., 0])
    chroma_a, chroma_d = _bands(a[..., 1])[1:], _bands(warped[..., 1] - a[..., 1])[1:]
    rows = []
    for name in REGIONS:
        m = masks[name]
        row = [np.log((d[m].var() + 0.02) / (s[m].var() + 0.02)) for s, d in zip(bands_a, bands_d, strict=True)]
        row += [np.log((d[m].var() + 0.02) / (s[m].var() + 0.02)) for s, d in zip(chroma_a, chroma_d, strict=True)]
        row.append(np.log(abs(float((warped[..., 0][m] - a[..., 0][m]).mean())) + 0.05))
        row += [np.log(s[m].var() + 0.02) for s in bands_a]
        rows.append(row)
    return np.array(rows)


def _pairs(length: int, lag: int, most: int) -> Iterator[tuple[int, int]]:
    starts = np.unique(np.linspace(0, length - 1 - lag, min(most, length - lag)).round().astype(np.int64))
    for start in starts:
        yield int(start), int(start) + lag


def window_features(frames_THW3: UInt8Array) -> FloatArray:
    """What the pixels of one second of one face show, order of `FLOW_FEATURES`.

    Args:
        frames_THW3: consecutive frames, uint8 RGB, all cut with the *same* aligned square of side `CROP_SIDE`: a crop
            that follows the landmarks would move the texture by the tracker's noise.

    Raises:
        ValueError: for fewer than `MIN_FRAMES` frames or another size.
    """
    if frames_THW3.ndim != 4 or frames_THW3.shape[1:] != (CROP_SIDE, CROP_SIDE, 3):
        raise ValueError(f"frames must be (T, {CROP_SIDE}, {CROP_SIDE}, 3), got {frames_THW3.shape}")
    if len(frames_THW3) < MIN_FRAMES:
        raise ValueError(f"a window needs at least {MIN_FRAMES} frames, got {len(frames_THW3)}")
    frames_THW3 = distinct_frames(frames_THW3)
    masks = region_masks()
    searcher = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # type: ignore[attr-defined]
    planes = [np.asarray(cv2.cvtColor(f, cv2.COLOR_RGB2YCrCb)) for f in frames_THW3]
    lumas = [np.ascontiguousarray(p[..., 0]) for p in planes]
    values = [p.astype(np.float32) for p in planes]
    motions, rests, flows, steps, bands, loose = [], [], [], [], [], []
    for n, (before, after) in enumerate(pairwise(lumas)):
        flow = np.asarray(searcher.calc(before, after, None), np.float32)
        motion, rest = rigid_motion(flow, masks["face"])
        motions.append(motion)
        rests.append(np.array([[rest[..., k][masks[r]].mean() for k in (0, 1)] for r in REGIONS]))
        flows.append(flow)
        loose.append(cells_of(rest, masks["face"]))
        step, band = _steps(values[n + 1][..., 0] - values[n][..., 0], masks)
        steps.append(step)
        bands.append(band)
    near = np.median([_change(values[i], values[j], flows[i], masks) for i, j in _pairs(len(values), 1, 8)], axis=0)
    lag = min(6, len(values) - 1)
    far = []
    for i, j in _pairs(len(values), lag, 3):
        flow = np.asarray(searcher.calc(lumas[i], lumas[j], None), np.float32)
        far.append(_change(values[i], values[j], flow, masks))
    flow_features = _collect(np.array(motions), np.array(rests), near, np.median(far, axis=0))
    loose_TR = np.linalg.norm(np.array(rests), axis=2)
    paces = pace_features(np.array(steps), np.array(bands), loose_TR, np.array(motions))
    bent, left, own = _from_middle(lumas, [v[..., 0] for v in values], searcher, masks["face"])
    bending = bending_features(np.array(loose), bent, np.array(motions), left, own, masks["face"])
    return np.concatenate([flow_features, np.array(paces, np.float32), np.array(bending, np.float32)])


def _from_middle(
    lumas: list[UInt8Array], values: list[FloatArray], searcher: cv2.DenseOpticalFlow, oval: NDArray[np.bool_]
) -> tuple[FloatArray, list[FloatArray], list[FloatArray]]:
    """How each frame bends the middle one, by cell; what is left of its bands then; the bands of the middle one."""
    middle = len(lumas) // 2
    bent, left = [], []
    for t, luma in enumerate(lumas):
        flow = np.zeros((*luma.shape, 2), np.float32)
        if t != middle:
            flow = np.asarray(searcher.calc(lumas[middle], luma, None), np.float32)  # type: ignore[call-overload]
        bent.append(cells_of(rigid_motion(flow, oval)[1], oval))
        left.append(_bands(_warped(values[t], flow) - values[middle]))
    return np.array(bent), [np.stack(band) for band in zip(*left, strict=True)], _bands(values[middle])


def _steps(difference: FloatArray, masks: dict[str, NDArray[np.bool_]]) -> tuple[list[float], list[list[float]]]:
    """How much a frame differs from the one before: (R,) mean absolute, (B, R) root mean square of each band."""
    regions = (*REGIONS, "face")
    band = [[float(np.sqrt(np.mean(b[masks[r]] ** 2))) for r in regions] for b in _bands(difference)[:PACE_BANDS]]
    return [float(np.abs(difference[masks[r]]).mean()) for r in regions], band


def usual_second(windows_WF: FloatArray) -> FloatArray:
    """(F,) the median of each measurement over the seconds in which it was made; nan where it never was."""
    if len(windows_WF) == 0:
        return np.full(windows_WF.shape[1], np.nan, np.float32)
    if np.isfinite(windows_WF).all():
        return np.asarray(np.median(windows_WF, axis=0), np.float32)
    found = [column[np.isfinite(column)] for column in windows_WF.T]
    return np.array([np.median(column) if len(column) else np.nan for column in found], np.float32)


def _collect(
    motion_TM: NDArray[np.float64], rest_TR2: NDArray[np.float64], near: NDArray[np.float64], far: NDArray[np.float64]
) -> FloatArray:
    """In the order of `_feature_names`: jerk over speed is how unevenly something moves, whatever its pace."""
    out: list[float] = []
    for m in range(len(MOTIONS)):
        speed, jerk = np.abs(motion_TM[:, m]), np.abs(np.diff(motion_TM[:, m]))
        rough = np.abs(np.diff(motion_TM[:, m], 2))
        usual = float(np.median(speed))
        out.append(float(np.log(usual + 1e-4)))
        out.append(float(np.log((np.median(jerk) + 1e-4) / (usual + 1e-4))))
        out.append(float(np.log((np.percentile(jerk, 25) + 1e-4) / (np.percentile(speed, 75) + 1e-4))))
        out.append(float(np.log((rough.mean() + 1e-4) / (jerk.mean() + 1e-4))))
    count = len(SIGMAS)
    for r in range(len(REGIONS)):
        speed = np.linalg.norm(rest_TR2[:, r], axis=1)
        jerk = np.linalg.norm(np.diff(rest_TR2[:, r], axis=0), axis=1)
        out.append(float(np.log(np.median(speed) + 0.01)))
        out.append(float(np.log((np.median(jerk) + 0.01) / (np.median(speed) + 0.01))))
        out += [float(v) for v in near[r, :count]]
        out += [float(v) for v in far[r, :count]]
        out += [float(v) for v in near[r, count : count + 3]]
        out += [float(v) for v in near[r, count + 4 :]]
        out.append(float(near[r, count + 3]))
    return np.array(out, np.float32)
