"""In how few ways a face bends, what its texture remembers, and whether its halves agree.

A generator moves a face by a few dozen numbers and draws it from one still: its bending lies in fewer directions than
a person's, swings more smoothly, its two halves move more alike, and what differs from the still comes and goes with
the pose. A generator that draws each frame anew errs the other way. `detect.models.forest` learns which, from
forgeries of both kinds.

Axes: T frames, C cells of the face oval, B frequency bands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from media.clip import FloatArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

GRID = 16
"""Cells a side that a flow field is averaged in."""
BENDING_TAILS = (1, 2, 3, 4, 6, 9, 13)
TEXTURE_TAILS = (1, 2, 3, 6, 12)
"""How many directions are taken away before the rest of the energy is told."""
DIRECTIONS = {"first": (0, 1), "next": (1, 3), "middle": (3, 6), "small": (6, 12)}
"""Principal directions of bending, from the one with most energy on."""
BANDS = 4
LAGS = (1, 4)
MIRRORED = {"brows": slice(3, 6), "eyes": slice(5, 7), "middle": slice(7, 10), "mouth": slice(10, 13)}
"""Rows of cells whose left half is held against the right."""
AXES = ("across", "down")
EDGE = 2
"""Columns of cells at either side that are left out there: hair and background."""
EYE_ROWS, MOUTH_ROWS = slice(4, 7), slice(10, 13)
RHYTHMS = ("middle", "fast")
SMALL = 64
"""Pixels a side that coarse bands are looked at."""
NEAR, FAR = 2, 8
"""Frames from the middle of the second: up to, from."""


def bending_names(motions: Sequence[str]) -> tuple[str, ...]:
    """Order of the values of `bending_features`.

    Args:
        motions: rigid motions of the head.
    """
    names: list[str] = []
    for series in ("path", "step", "bend"):
        names += [f"{series}_beyond{k}" for k in BENDING_TAILS] + [f"{series}_rank"]
        if series != "step":
            names += [f"{series}_{kind}_{part}" for part in DIRECTIONS for kind in ("swing", "jerk")]
    for band in range(BANDS):
        names += [f"texture{band}_beyond{k}" for k in TEXTURE_TAILS] + [f"texture{band}_rank"]
        names += [f"texture{band}_ages", f"texture{band}_left", *(f"texture{band}_lasts{lag}" for lag in LAGS)]
    names += [f"mirror_{kind}{part}_{axis}" for part in MIRRORED for axis in AXES for kind in ("", "cells_")]
    names += ["together_head_mouth", "together_head_eyes", "together_mouth_eyes"]
    return (*names, *(f"rhythm_{motion}_{pace}" for motion in motions for pace in RHYTHMS))


@lru_cache(maxsize=2)
def _cells(side: int, inside: bytes) -> Mask:
    """(GRID, GRID) cells that lie in the oval for the most part."""
    mask = np.frombuffer(inside, bool).reshape(side, side).astype(np.float32)
    return np.asarray(cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_AREA) > 0.6)


def cells_of(flow_HW2: FloatArray, oval_HW: Mask) -> FloatArray:
    """(C, 2) mean flow of each cell of the oval."""
    small = cv2.resize(flow_HW2, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.asarray(small[_cells(len(oval_HW), oval_HW.tobytes())], np.float32)


def _energies(rows_TK: NDArray[np.floating]) -> tuple[Array, Array]:
    """Energy of each principal direction over time, the largest first, and the (T, T) course along each."""
    centred = np.asarray(rows_TK, np.float64) - rows_TK.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values = np.maximum(values[::-1], 0.0)
    return values, vectors[:, ::-1] * np.sqrt(values)


def _spectrum(energy_T: Array, tails: Sequence[int]) -> list[float]:
    """Log share of the energy beyond so many directions, and how many directions there are in effect."""
    total = float(energy_T.sum()) + 1e-9
    share = energy_T / total
    out = [float(np.log((energy_T[k:].sum() + 1e-9) / total + 1e-4)) for k in tails]
    return [*out, float(np.exp(-(share * np.log(share + 1e-12)).sum()))]


def _courses(course_TT: Array) -> list[float]:
    """How fast and how unevenly the face swings along its main and lesser directions."""
    out: list[float] = []
    for first, last in DIRECTIONS.values():
        # the last courses of a short second stand in for those it does not have
        part = course_TT[:, first:last] if first < course_TT.shape[1] else course_TT[:, -1:]
        energy, speed = (part**2).sum() + 1e-9, (np.diff(part, axis=0) ** 2).sum()
        uneven = (np.diff(part, n=2, axis=0) ** 2).sum()
        out += [float(np.log(speed / energy + 1e-5)), float(np.log((uneven + 1e-9) / (speed + 1e-9) + 1e-4))]
    return out


def _agreement(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-9))


def _texture(left_BTHW: list[FloatArray], own_BHW: list[FloatArray], middle: int, oval: Mask) -> list[float]:
    """What differs from the middle frame once it has been bent: in how many ways, how it grows, how long it stays."""
    out: list[float] = []
    for band, (left_THW, own_HW) in enumerate(zip(left_BTHW, own_BHW, strict=True)):
        distance = np.abs(np.arange(len(left_THW)) - middle)
        others = np.flatnonzero(distance > 0)
        left_TK = left_THW[others][:, oval]
        seen = left_TK[:, ::3] if band == 0 else np.stack([_small(left_THW[t], oval) for t in others])
        out += _spectrum(_energies(seen)[0], TEXTURE_TAILS)
        level = np.log((left_TK**2).mean(axis=1) / (own_HW[oval].var() + 0.02) + 1e-3)
        near, far = distance[others] <= NEAR, distance[others] >= min(FAR, int(distance.max()))
        out += [float(level[far].mean() - level[near].mean()), float(level.mean())]
        length = np.sqrt((left_TK**2).sum(axis=1)) + 1e-6
        for lag in LAGS:
            alike = (left_TK[lag:] * left_TK[:-lag]).sum(axis=1) / (length[lag:] * length[:-lag])
            out.append(float(np.median(alike)))
    return out


def _small(picture: FloatArray, oval: Mask) -> FloatArray:
    small = cv2.resize(picture * oval, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).ravel()


def _halves(loose_TC2: FloatArray, cells: Mask, motion_TM: Array) -> list[float]:
    """Agreement of the halves of the face, and of head, mouth and eyes."""
    field = np.zeros((len(loose_TC2), GRID, GRID, 2), np.float32)
    field[:, cells] = loose_TC2
    left, right = field[:, :, : GRID // 2], field[:, :, : GRID // 2 - 1 : -1] * np.array([-1, 1], np.float32)
    out: list[float] = []
    for rows in MIRRORED.values():
        for axis in range(2):
            a, b = left[:, rows, EDGE:, axis], right[:, rows, EDGE:, axis]
            out += [_agreement(a.mean(axis=(1, 2)), b.mean(axis=(1, 2))), _agreement(a, b)]
    shift, rotation = np.linalg.norm(motion_TM[:, :2], axis=1), np.linalg.norm(motion_TM[:, 2:], axis=1)
    head = np.log(shift + 0.5 * rotation + 3e-4)
    mouth, eyes = (np.log(np.sqrt((field[:, r] ** 2).mean(axis=(1, 2, 3))) + 0.01) for r in (MOUTH_ROWS, EYE_ROWS))
    return [*out, _agreement(head, mouth), _agreement(head, eyes), _agreement(mouth, eyes)]


def _rhythms(motion_TM: Array) -> list[float]:
    """Log share of the power of each rigid motion in the second quarter and the upper half of the spectrum."""
    out: list[float] = []
    time = np.arange(len(motion_TM))
    for speed in motion_TM.T:
        course = np.cumsum(speed)
        course = course - np.polyval(np.polyfit(time, course, 2), time)
        power = np.abs(np.fft.rfft(course * np.hanning(len(course))))[1:] ** 2
        total, count = float(power.sum()) + 1e-12, len(power)
        for part in (power[count // 4 : count // 2], power[count // 2 :]):
            out.append(float(np.log(part.sum() / total + 1e-4)))
    return out


def bending_features(
    loose_TC2: FloatArray,
    bent_TC2: FloatArray,
    motion_TM: Array,
    left_BTHW: list[FloatArray],
    own_BHW: list[FloatArray],
    oval_HW: Mask,
) -> list[float]:
    """In the order of `bending_names`.

    Args:
        loose_TC2: flow from frame to frame that rigid motion does not explain, by cell (`cells_of`), pixels.
        bent_TC2: the same from the middle frame to each frame.
        motion_TM: x, y, turn, zoom, yaw, pitch from frame to frame, parts of the side and radians.
        left_BTHW: for each frequency band, each frame bent back to the middle one minus that one, grey levels.
        own_BHW: bands of the middle frame.
        oval_HW: pixels of the face.
    """
    middle = len(bent_TC2) // 2
    steps = loose_TC2.reshape(len(loose_TC2), -1)
    bends = np.delete(bent_TC2.reshape(len(bent_TC2), -1), middle, axis=0)
    out: list[float] = []
    rows: tuple[NDArray[np.floating], Callable[[Array], list[float]] | None]
    for rows in ((np.cumsum(steps, axis=0), _courses), (steps, None), (bends, _courses)):
        energy, course = _energies(rows[0])
        out += _spectrum(energy, BENDING_TAILS)
        out += rows[1](course) if rows[1] else []
    out += _texture(left_BTHW, own_BHW, middle, oval_HW)
    out += _halves(loose_TC2, _cells(len(oval_HW), oval_HW.tobytes()), motion_TM)
    return out + _rhythms(motion_TM)
