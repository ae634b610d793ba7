"""Forgeries in time made of real clips: what animating, resynthesising and splicing do to how a face changes.

    for name, forge in FORGERS.items():
        forged = forge(frames, landmarks, rng)

Each takes the frames of a real face and gives as many back. Both twins then pass through the same scaler and encoder
(`detect.lessons`), so that what tells them apart is not the compression. None of them looks like a finished forgery;
together they span how forgeries go wrong: texture that slides as one, a face that bends in few and smooth ways,
texture that lags, frames that do not agree, frames rebuilt one by one, a mouth from another moment.

Axes: T frames, H W pixels, L landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from detect.models.expression import BONY
from detect.pseudo import Rng, reconstruct
from media.clip import FloatArray, UInt8Array
from media.landmarks import LIPS_OUTER, outer_eye_distance, similarity_between

TimeForger = Callable[[UInt8Array, FloatArray, Rng], UInt8Array]

CHIN: tuple[int, ...] = (152, 148, 377, 176, 400, 150, 379)
LONGEST_KEYS = (25, 40, 75, 150)
"""Frames for which one still is animated before the next one takes over."""

GLIDE_KEYS = (75, 75, 150, 40)
DIRECTIONS = (3, 13)
"""Least number of ways a gliding face may bend in, and the first number that is too many."""
FIELD = 48
"""Cells a side of the flow fields that are confined."""
FEWEST_FIELDS = 3


def _grid(height: int, width: int) -> tuple[FloatArray, FloatArray]:
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


def _flow(source: UInt8Array, target: UInt8Array, sigma: float) -> FloatArray:
    """Smoothed displacement from each pixel of `source` to where it is in `target` (both grey)."""
    searcher = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # type: ignore[attr-defined]
    return np.asarray(cv2.GaussianBlur(searcher.calc(source, target, None), (0, 0), sigma), np.float32)


def _moved(image: FloatArray | UInt8Array, flow: FloatArray) -> FloatArray:
    x, y = _grid(*image.shape[:2])
    out = cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32)


def _bytes(image: FloatArray) -> UInt8Array:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _greys(frames_THW3: UInt8Array) -> list[UInt8Array]:
    return [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames_THW3]


def slide(frames_THW3: UInt8Array, landmarks_TL2: FloatArray, rng: Rng) -> UInt8Array:
    """One still bent along the motion of the clip, as an animated portrait is: its texture never changes."""
    greys, sigma = _greys(frames_THW3), float(rng.uniform(2, 6))
    span = int(rng.choice(LONGEST_KEYS))
    out, before = [], None
    for t in range(len(frames_THW3)):
        key = min(len(frames_THW3) - 1, (t // span) * span + span // 2)
        flow = _flow(greys[t], greys[key], sigma)
        if before is not None and t % span:
            flow = np.asarray(0.6 * flow + 0.4 * before, np.float32)
        before = flow
        out.append(_bytes(_moved(frames_THW3[key], flow)))
    return np.stack(out)


def glide(frames_THW3: UInt8Array, landmarks_TL2: FloatArray, rng: Rng) -> UInt8Array:
    """A still bent along few, smooth motions, as by a generator with a few dozen numbers; half of them then rebuilt."""
    count, (height, width) = len(frames_THW3), frames_THW3.shape[1:3]
    greys, span = _greys(frames_THW3), int(rng.choice(GLIDE_KEYS))
    directions, calm = int(rng.integers(*DIRECTIONS)), float(rng.uniform(0.6, 2.2))
    sigma, rebuilt = float(rng.uniform(2, 5)), bool(rng.random() < 0.5)
    out = []
    for start in range(0, count, span):
        times = range(start, min(count, start + span))
        key = int(rng.integers(times.start, times.stop))
        fields = [_flow(greys[t], greys[key], sigma) for t in times]
        small = [cv2.resize(field, (FIELD, FIELD), interpolation=cv2.INTER_AREA) for field in fields]
        for field in _few_and_smooth(np.stack(small).astype(np.float32), directions, calm):
            flow = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
            out.append(_bytes(_moved(frames_THW3[key], np.asarray(flow, np.float32))))
    moved = np.stack(out)
    return rebuild(moved, landmarks_TL2, np.random.default_rng(int(rng.integers(1 << 31)))) if rebuilt else moved


def _few_and_smooth(field_THW2: FloatArray, directions: int, calm: float) -> FloatArray:
    """A course of flow fields, smoothed in time and confined to its main directions."""
    if len(field_THW2) <= FEWEST_FIELDS:
        return field_THW2
    rows = field_THW2.reshape(len(field_THW2), -1)
    mean = rows.mean(axis=0)
    rows = gaussian_filter1d(rows, calm, axis=0, mode="nearest")
    left, size, right = np.linalg.svd(rows - mean, full_matrices=False)
    kept = min(directions, len(size))
    return np.asarray((left[:, :kept] * size[:kept]) @ right[:kept] + mean, np.float32).reshape(field_THW2.shape)


def linger(frames_THW3: UInt8Array, landmarks_TL2: FloatArray, rng: Rng) -> UInt8Array:
    """Texture averaged along the motion, as decoders that look back leave it: light and wrinkles come late."""
    greys, kept = _greys(frames_THW3), float(rng.uniform(0.5, 0.88))
    mean = frames_THW3[0].astype(np.float32)
    out = [frames_THW3[0]]
    for t in range(1, len(frames_THW3)):
        mean = kept * _moved(mean, _flow(greys[t], greys[t - 1], 2.0)) + np.float32(1 - kept) * frames_THW3[t]
        out.append(_bytes(mean))
    return np.stack(out)


def tremble(frames_THW3: UInt8Array, landmarks_TL2: FloatArray, rng: Rng) -> UInt8Array:
    """Frames that do not quite agree, as those of generators that draw each anew: shape, colour and detail wander."""
    height, width = frames_THW3.shape[1:3]
    cells, memory = int(rng.integers(5, 14)), float(rng.uniform(0.0, 0.85))
    reach, tint, sharpness = rng.uniform(0.15, 0.9) * width / 256, rng.uniform(0, 2.5), rng.uniform(0, 0.5)
    fresh = float(np.sqrt(1 - memory**2))
    bend = rng.normal(0, 1, (cells, cells, 2))
    colour = rng.normal(0, 1, (5, 5, 3))
    detail = 0.0
    out = []
    for frame in frames_THW3:
        bend = memory * bend + fresh * rng.normal(0, 1, bend.shape)
        colour = memory * colour + fresh * rng.normal(0, 1, colour.shape)
        detail = memory * detail + fresh * float(rng.normal())
        field = cv2.resize(bend.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        image = _moved(frame, np.asarray(field, np.float32) * np.float32(reach))
        image += cv2.resize(colour.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(
            tint
        )
        soft = cv2.GaussianBlur(image, (0, 0), max(0.5, 1.2 * width / 256))
        out.append(_bytes(np.asarray(image + np.float32(sharpness * detail) * (image - soft), np.float32)))
    return np.stack(out)


def rebuild(frames_THW3: UInt8Array, landmarks_TL2: FloatArray, rng: Rng) -> UInt8Array:
    """Every frame through the same piece of a generator (`detect.pseudo.reconstruct`), fitted to it anew."""
    seed = int(rng.integers(1 << 31))
    pairs = zip(frames_THW3, landmarks_TL2, strict=True)
    return np.stack([reconstruct(frame, points, np.random.default_rng(seed)) for frame, points in pairs])


def splice(frames_THW3: UInt8Array, landmarks_TL2: FloatArray, rng: Rng) -> UInt8Array:
    """The mouth (or mouth and chin) of another moment of the clip, as lip-sync forgeries have it."""
    count, (height, width) = len(frames_THW3), frames_THW3.shape[1:3]
    offset = int(rng.integers(min(20, count // 3), max(min(20, count // 3) + 1, count - count // 4)))
    backwards, chin_too = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    points = gaussian_filter1d(landmarks_TL2[..., :2].astype(np.float64), 1.0, axis=0)
    out = []
    for t, frame in enumerate(frames_THW3):
        other = (offset - t) % count if backwards else (t + offset) % count
        matrix = np.asarray(similarity_between(points[other][list(BONY)], points[t][list(BONY)]), np.float64)
        taken = cv2.warpAffine(frames_THW3[other], matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        lips = points[t][list(LIPS_OUTER)]
        centre = lips.mean(axis=0)
        outline = centre + (lips - centre) * (2.0 if chin_too else 1.4)
        if chin_too:
            outline = np.concatenate([outline, centre + (points[t][list(CHIN)] - centre) * 0.9])
        mask = np.zeros((height, width), np.float32)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(outline).astype(np.int32)), 1.0)
        soft = max(1.0, 0.06 * outer_eye_distance(points[t].astype(np.float32)))
        weight = np.asarray(cv2.GaussianBlur(mask, (0, 0), soft), np.float32)[..., None]
        inside = mask > 0.5
        toned = taken.astype(np.float32)
        if inside.any():
            toned += (frame[inside].mean(axis=0) - taken[inside].mean(axis=0)).astype(np.float32)
        out.append(_bytes(np.asarray(toned * weight + frame * (1 - weight), np.float32)))
    return np.stack(out)


FORGERS: Mapping[str, TimeForger] = MappingProxyType(
    {"slide": slide, "glide": glide, "linger": linger, "tremble": tremble, "rebuild": rebuild, "splice": splice}
)
"""Name of a forgery in time -> what makes it."""
