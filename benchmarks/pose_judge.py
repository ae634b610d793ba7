"""CAPP (self): does this head move to this voice? Heads and sound of three seconds in one space, as CLIP.

    judge = open_pose_judge(lessons, out)
    judge.score(angles, bands)                     # mean cosine over windows of three seconds
    for row in ladder(judge, lessons): ...         # the sanity tables of VASA-1: shifts, and scaling of the head

The paper's networks learned from thousands of hours, this from minutes: `trusted` says whether its ladder is in order,
and where it is not, no figure of it is to be believed; `motion_statistics.beat_alignment` stands in.

Axes: T frames at 25 a second, N windows of three seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import isnan, nan
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from benchmarks.lip_geometry import sound_windows
from benchmarks.sync_judge import Lesson
from benchmarks.two_views import View, ViewShape, fit_views, load_views, save_views
from media.faces import FaceTrack, head_angles

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

WINDOW, HOP = 75, 5
"""Frames of a window, and from one to the next."""
STEP = 3
"""Frames that are one value of a window: a head has nothing to say above 4 Hz."""
HEAD = ViewShape(parts=24, fourier=200, ridge=0.5)
SOUND = ViewShape(parts=24, fourier=200, ridge=0.5)
SHIFTS = (0, 1, 2, 3, 4)
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
STILL_DEGREES = 0.02
"""Speed a frame below which a head counts as still."""
CODE = ("pose_judge.py", "two_views.py", "lip_geometry.py")


def angles_of_track(track: FaceTrack) -> Array:
    """(T, 3) yaw, pitch and roll in degrees from the first to the last frame, smoothed as jitter needs it."""
    seen = np.array([head_angles(pose) for pose in track.poses], np.float64)
    frames = np.arange(track.frame_indices[0], track.frame_indices[-1] + 1)
    whole = np.stack([np.interp(frames, track.frame_indices, column) for column in seen.T], axis=1)
    return np.asarray(gaussian_filter1d(whole, 1.5, axis=0))


def head_windows(angles_T3: Array) -> Array:
    """(N, 100) turns about the window's mean, and the log of their speed."""
    speed = np.log(STILL_DEGREES + np.linalg.norm(np.gradient(angles_T3, axis=0), axis=1))
    rows = []
    for start in range(0, len(angles_T3) - WINDOW + 1, HOP):
        turns = angles_T3[start : start + WINDOW]
        turns = (turns - turns.mean(axis=0)).reshape(WINDOW // STEP, STEP, 3).mean(axis=1)
        quick = speed[start : start + WINDOW].reshape(WINDOW // STEP, STEP).mean(axis=1)
        rows.append(np.concatenate([turns.reshape(-1), quick]))
    return np.asarray(rows, np.float64).reshape(len(rows), 4 * (WINDOW // STEP))


def voice_windows(bands: FloatArray, first: int, length: int) -> Array:
    """(N, 125) sound of the same windows in five groups of bands."""
    each = sound_windows(bands, first + np.arange(length))[:, 8:12].reshape(length, 4, 5, 16).mean(axis=(1, 3))
    rows = [
        each[start : start + WINDOW].reshape(WINDOW // STEP, STEP, 5).mean(axis=1).reshape(-1)
        for start in range(0, length - WINDOW + 1, HOP)
    ]
    return np.asarray(rows, np.float64).reshape(len(rows), 5 * (WINDOW // STEP))


@dataclass(frozen=True, eq=False)
class PoseJudge:
    """How heads and voices are looked at."""

    head: View
    voice: View

    @classmethod
    def trained(cls, lessons: Sequence[Lesson]) -> PoseJudge:
        """Learn from lessons of three seconds and more, each also mirrored.

        Raises:
            ValueError: for no such lessons.
        """
        heads, voices = [], []
        for lesson in lessons:
            angles = angles_of_track(lesson.track)
            for side in (1.0, -1.0):
                heads.append(head_windows(angles * [side, 1.0, side]))
                voices.append(voice_windows(lesson.bands, lesson.first, len(angles)))
        if not sum(map(len, heads)):
            raise ValueError("a judge of heads needs clips of three seconds or more, got none")
        return cls(*fit_views(np.concatenate(heads), np.concatenate(voices), HEAD, SOUND, dimensions=12))

    def score(self, angles_T3: Array, bands: FloatArray, first: int = 0) -> float:
        """Mean cosine over the windows of a clip; NaN for less than three seconds."""
        head = head_windows(angles_T3)
        if not len(head):
            return nan
        voice = voice_windows(bands, first, len(angles_T3))
        return float((self.head.embedded(head) * self.voice.embedded(voice)).sum(axis=1).mean())


@dataclass(frozen=True)
class Rung:
    """One row of the sanity tables."""

    change: str
    score: float


def ladder(judge: PoseJudge, lessons: Sequence[Lesson]) -> list[Rung]:
    """Mean score of lessons with the sound shifted by frames, another's sound, and heads that move more or less."""
    heads = [angles_of_track(lesson.track) for lesson in lessons]

    def mean(values: Sequence[float]) -> float:
        known = [value for value in values if not isnan(value)]
        return float(np.mean(known)) if known else nan

    rungs = []
    for shift in SHIFTS:
        pairs = zip(lessons, heads, strict=True)
        rungs.append(Rung(f"shift {shift}", mean([judge.score(a, le.bands, le.first + shift) for le, a in pairs])))
    others = [*lessons[1:], *lessons[:1]]
    pairs = zip(others, heads, strict=True)
    rungs.append(Rung("another's sound", mean([judge.score(a, le.bands, le.first) for le, a in pairs])))
    for scale in SCALES:
        scaled = [a.mean(axis=0) + scale * (a - a.mean(axis=0)) for a in heads]
        pairs = zip(lessons, scaled, strict=True)
        rungs.append(Rung(f"scale {scale:g}", mean([judge.score(a, le.bands, le.first) for le, a in pairs])))
    return rungs


def trusted(rungs: Sequence[Rung]) -> bool:
    """Whether true pairs beat another's sound by .05, shifts never help, and 1 is the best scale."""
    score = {rung.change: rung.score for rung in rungs}
    shifts = [score[f"shift {shift}"] for shift in SHIFTS]
    scales = {scale: score[f"scale {scale:g}"] for scale in SCALES}
    return (
        shifts[0] >= score["another's sound"] + 0.05
        and shifts[0] >= max(shifts) - 1e-9
        and shifts[0] > shifts[-1]
        and max(scales, key=lambda scale: scales[scale]) == 1.0
    )


def open_pose_judge(lessons: Sequence[Lesson], out: Path) -> PoseJudge:
    """The judge trained on the train split of these lessons, or the one that is kept for the same data and code.

    Raises:
        ValueError: when no lesson is long enough.
    """
    taught = [lesson for lesson in lessons if lesson.train]
    mark = sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in CODE))
    for lesson in taught:
        mark.update(lesson.name.encode() + lesson.track.poses.tobytes() + lesson.bands.tobytes())
    path = out / f"pose_judge_{mark.hexdigest()[:12]}.npz"
    if not path.is_file():
        judge = PoseJudge.trained(taught)
        save_views({"head": judge.head, "voice": judge.voice}, path)
    return PoseJudge(**load_views(path))
