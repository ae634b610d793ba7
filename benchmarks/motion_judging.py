"""Every figure of one motion: natural ranges, sync, beats, seams, closures; and of several takes of one speech.

    facts = judged_motion(stage, motion, utterance, bands_of(utterance.sound))      # dict of figures by name

Axes: T frames at 25 a second.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from benchmarks.lip_geometry import lips_of_motion, lips_of_track
from benchmarks.motion_material import Utterance
from benchmarks.motion_statistics import (
    CLOSURE_SLACK_SECONDS,
    SHUT,
    beat_alignment,
    blink_seconds,
    closures_of,
    distance_of_takes,
    gaze_in_camera,
    head_turning_points,
    least_gaps,
    likeness_of_takes,
    lips_curve,
    pose_curve,
    seam_jerk,
    track_of_motion,
    voice_beats,
    vowels_of,
)
from benchmarks.motion_systems import WINDOW, Speak
from benchmarks.pose_judge import PoseJudge, angles_of_track
from benchmarks.sync_judge import SyncJudge
from benchmarks.talking import eye_closure, measure_talking
from forge.mesh.face import MeshFace
from forge.motion.controls import Controls
from forge.motion.features import Motion
from media.clip import Waveform
from media.faces import FaceTrack

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
Facts = dict[str, float]
"""Figures of one utterance by name; NaN where there is nothing to measure."""
FPS = Fraction(25)
TRACKER_NOISE = 0.003
"""Deviation of one lip coordinate of a tracked still mouth, in outer-eye distances; exact lips are given as much."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What every row is judged with."""

    face: MeshFace
    judge: SyncJudge | None
    heads: PoseJudge | None = None


def seed_of(name: str) -> int:
    """A seed that belongs to an utterance."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF


def as_tracked(lips: FloatArray, seed: int) -> FloatArray:
    """Exact lips with the tracker's noise: a mouth that stands still must not be a perfect constant."""
    noise = np.random.default_rng(seed).normal(0.0, TRACKER_NOISE, lips.shape)
    return np.asarray(lips + noise, np.float32)


def judged_motion(stage: Stage, motion: Motion, utterance: Utterance, bands: FloatArray) -> Facts:
    """Every figure that one motion at 25 frames a second has by itself."""
    facts = judged_track(stage, track_of_motion(stage.face, motion), utterance.sound, bands)
    facts |= synced(stage.judge, as_tracked(lips_of_motion(stage.face, motion), seed_of(utterance.name)), bands)
    facts["seam_head"] = seam_jerk(pose_curve(motion), WINDOW)
    facts["seam_lips"] = seam_jerk(lips_curve(motion), WINDOW)
    look = np.median(gaze_in_camera(motion), axis=0)
    facts["gaze_off_degrees"] = float(np.hypot(*look))
    if utterance.visemes:
        facts |= closing(stage, motion, utterance)
    return facts


def judged_track(stage: Stage, track: FaceTrack, sound: Waveform, bands: FloatArray) -> Facts:
    """What is measured of a filmed, a drawn and an exact face alike, but the sync."""
    facts: Facts = {k: float(v) for k, v in vars(measure_talking("", track, sound)).items() if k != "clip"}
    angles, first = angles_of_track(track), int(track.frame_indices[0])
    beats = voice_beats(bands) - first / float(FPS)
    beats = beats[(beats > 0) & (beats < len(angles) / float(FPS))]
    facts["blink_seconds"] = blink_seconds(eye_closure(track))
    facts["beats"] = beat_alignment(head_turning_points(angles), beats)
    facts["capp"] = stage.heads.score(angles, bands, first) if stage.heads else nan
    return facts


def synced_track(judge: SyncJudge | None, track: FaceTrack, bands: FloatArray) -> Facts:
    """`synced` of a tracked face."""
    return synced(judge, lips_of_track(track), bands, int(track.frame_indices[0]))


def synced(judge: SyncJudge | None, lips: FloatArray, bands: FloatArray, first: int = 0) -> Facts:
    """S_D, S_C and whether the offset is within a frame, by SyncNet B (self); nothing without a judge."""
    if judge is None:
        return {}
    score = judge.score(lips, bands, first)
    return {
        "sync_distance": score.distance,
        "sync_confidence": score.confidence,
        "sync_within_one": float(abs(score.offset) <= 1),
    }


def closing(stage: Stage, motion: Motion, utterance: Utterance) -> Facts:
    """Share of p, b, m in which the lips close, and of long vowels in which they are apart."""
    assert utterance.visemes is not None
    gap = stage.face.truth(motion).mouth_open.astype(np.float64)
    end = float(utterance.sound.duration_seconds)
    shut = least_gaps(gap, closures_of(utterance.visemes, end), CLOSURE_SLACK_SECONDS)
    apart = least_gaps(gap, vowels_of(utterance.visemes, end), -0.02)
    return {
        "lips_close": float((shut <= SHUT).mean()) if len(shut) else nan,
        "vowels_open": float((apart > SHUT).mean()) if len(apart) else nan,
    }


def takes(stage: Stage, speak: Speak, utterance: Utterance, seeds: Sequence[int]) -> Facts:
    """How unlike the heads, and how like the lips, of several seeds are."""
    motions = [speak(utterance.sound, FPS, Controls(seed=seed)) for seed in seeds]
    gaps = [stage.face.truth(motion).mouth_open.astype(np.float64) for motion in motions]
    return {
        "seeds_head_degrees": distance_of_takes([pose_curve(motion) for motion in motions]),
        "seeds_lip_likeness": likeness_of_takes(gaps),
    }


def mean_of(values: Sequence[float]) -> float:
    """Mean of those that are known; NaN for none."""
    known = [value for value in values if not isnan(value)]
    return float(np.mean(known)) if known else nan
