"""The parts of the motion benchmark: exact rows, drawn rows, filmed people, emotions, seeds, ten minutes.

Each part yields `Found` for the tables; what is slow (tracking) is kept on disk by `motion_drawn`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.lip_geometry import bands_of
from benchmarks.motion_controls import distance_of, main_gaze
from benchmarks.motion_drawn import drawn_track, motion_seen, sharpness
from benchmarks.motion_judging import (
    FPS,
    Stage,
    as_tracked,
    judged_motion,
    judged_track,
    seed_of,
    synced,
    synced_track,
    takes,
)
from benchmarks.motion_material import Utterance
from benchmarks.motion_statistics import lips_curve, minute_drift, pose_curve, seam_jerk
from benchmarks.motion_systems import WINDOW, Speak
from benchmarks.motion_tables import Found
from benchmarks.sync_judge import Lesson, in_sync
from forge.motion.controls import EMOTIONS, NEUTRAL, Controls
from forge.motion.hearing import RATE_HZ, one_channel
from media.clip import Waveform
from media.faces import FaceFinder

Array = NDArray[np.float64]
SEEDS = (1, 2, 3, 4)
EMOTION_STRENGTH = 0.8
DRAWN_GAZES = ((0.0, 0.0), (-20.0, 0.0), (20.0, 0.0), (0.0, 12.0), (0.0, -12.0))
DRAWN_DISTANCES = (1.0, 0.75, 1.35)
LONG_SECONDS = 600.0
SHARPNESS_FRAMES = 12


def group_of(utterance: Utterance) -> str:
    """What a figure is sorted under: language and, where it is no plain speech, its kind."""
    if utterance.kind in ("clip", "aligned"):
        return utterance.kind
    special = next((word for word in ("singing", "noisy") if word in utterance.kind), "")
    return f"{utterance.language} {special}".strip()


def exact_rows(stage: Stage, name: str, speak: Speak, utterances: Sequence[Utterance]) -> Iterator[Found]:
    """One system on utterances, by exact landmarks."""
    for each in utterances:
        motion = speak(each.sound, FPS, Controls(seed=seed_of(each.name)))
        facts = judged_motion(stage, motion, each, bands_of(each.sound))
        yield Found(name, "exact", each.name, each.cluster, group_of(each), facts)


def takes_rows(stage: Stage, name: str, speak: Speak, utterances: Sequence[Utterance]) -> Iterator[Found]:
    """Several seeds of the same speech."""
    for each in utterances:
        yield Found(name, "takes", each.name, each.cluster, group_of(each), takes(stage, speak, each, SEEDS))


def emotion_rows(stage: Stage, name: str, speak: Speak, utterances: Sequence[Utterance]) -> Iterator[Found]:
    """Natural ranges and sync under every emotion."""
    for emotion in EMOTIONS:
        strength = 0.0 if emotion == NEUTRAL else EMOTION_STRENGTH
        for each in utterances:
            wishes = Controls(seed=seed_of(each.name), emotion=emotion, emotion_strength=strength)
            facts = judged_motion(stage, speak(each.sound, FPS, wishes), each, bands_of(each.sound))
            yield Found(name, "emotion", each.name, each.cluster, emotion, facts)


def drawn_rows(
    stages: Sequence[Stage], name: str, speak: Speak, utterances: Sequence[Utterance], cache: Path, finder: FaceFinder
) -> Iterator[Found]:
    """One system drawn by method `mesh`, portraits in turn, and followed by the tracker."""
    for i, each in enumerate(utterances):
        stage = stages[i % len(stages)]
        motion = speak(each.sound, FPS, Controls(seed=seed_of(each.name)))
        track = drawn_track(stage.face, motion, cache, finder)
        if track is None or track.length < 0.9 * motion.length:
            continue
        bands = bands_of(each.sound)
        facts = judged_track(stage, track, each.sound, bands) | synced_track(stage.judge, track, bands)
        yield Found(name, "drawn", each.name, each.cluster, group_of(each), facts)


def filmed_rows(stage: Stage, lessons: Sequence[Lesson], sounds: Mapping[str, Utterance]) -> Iterator[Found]:
    """Real people, foreign generators; real lips with others' sound, and with a mouth that stands still.

    Sync is judged only where the sound is the speech of the face and in sync (`sync_judge.in_sync`).
    """
    fitting = {each.name for each in lessons if stage.judge and in_sync(stage.judge, each) is not None}
    talking = [lesson for lesson in lessons if lesson.real and lesson.name in fitting]
    for lesson in lessons:
        name = "real people" if lesson.real else "foreign generators"
        facts = judged_track(stage, lesson.track, sounds[lesson.name].sound, lesson.bands)
        if lesson.name in fitting:
            facts |= synced(stage.judge, lesson.lips, lesson.bands, lesson.first)
        else:
            facts["voice_correlation"] = nan
        yield Found(name, "filmed", lesson.name, lesson.person, "clip", facts)
    for lesson in talking:
        for other in lessons:
            if other.person != lesson.person and other.name in fitting:
                facts = synced(stage.judge, lesson.lips, other.bands, lesson.first)
                yield Found("random pairs", "filmed", f"{lesson.name} {other.name}", lesson.person, "clip", facts)
        still = as_tracked(0 * lesson.lips, seed_of(lesson.name))
        facts = synced(stage.judge, still, lesson.bands, lesson.first)
        yield Found("frozen mouth, tracked", "filmed", lesson.name, lesson.person, "clip", facts)


def shift_rows(stage: Stage, lessons: Sequence[Lesson]) -> list[dict[str, object]]:
    """Mean distance over lessons at shifts of the sound: the curve must have its least within a frame of 0."""
    assert stage.judge is not None
    curves = np.stack([stage.judge.shift_curve(each.lips, each.bands, each.first) for each in lessons])
    middle = curves.shape[1] // 2
    wanted = (-15, -8, -4, -3, -2, -1, 0, 1, 2, 3, 4, 8, 15)
    mean = curves.mean(axis=0)
    return [{"shift": "mean distance", **{f"{s:+d}": float(mean[middle + s]) for s in wanted},
             "least at": int(mean.argmin()) - middle}]  # fmt: skip


@dataclass(frozen=True)
class SeenControl:
    """Gaze or distance as the tracker reads it off drawn clips."""

    control: str
    asked: str
    got: float
    error: float


def seen_controls(
    stage: Stage, speak: Speak, utterance: Utterance, cache: Path, finder: FaceFinder
) -> list[SeenControl]:
    """Gaze and distance of drawn clips, each against the clip that asks for nothing."""
    observation = finder.find(stage.face.frame)
    if not observation:
        return []
    seed = seed_of(utterance.name)

    def seen(wishes: Controls) -> tuple[tuple[float, float], float]:
        track = drawn_track(stage.face, speak(utterance.sound, FPS, wishes), cache, finder)
        if track is None:
            return (nan, nan), nan
        motion = motion_seen(track, observation[0])
        return main_gaze(motion), distance_of(motion)

    (yaw0, pitch0), far0 = seen(Controls(seed=seed))
    found = []
    for yaw, pitch in DRAWN_GAZES[1:]:
        (got_yaw, got_pitch), _ = seen(Controls(seed=seed, gaze_yaw_degrees=yaw, gaze_pitch_degrees=pitch))
        off = (got_yaw - yaw0 - yaw, got_pitch - pitch0 - pitch)
        got = got_yaw - yaw0 if yaw else got_pitch - pitch0
        found.append(SeenControl("gaze, by the tracker", f"{yaw:g}, {pitch:g}", got, float(np.hypot(*off))))
    for distance in DRAWN_DISTANCES[1:]:
        _, far = seen(Controls(seed=seed, distance=distance))
        found.append(SeenControl("distance, by the tracker", f"{distance:g}", far / far0, abs(far / far0 - distance)))
    return found


def long_speech(utterances: Sequence[Utterance], seconds: float = LONG_SECONDS) -> Waveform:
    """Utterances one after another, again and again, with half a second between."""
    pause = np.zeros((RATE_HZ // 2, 1), np.float32)
    pieces: list[NDArray[np.float32]] = []
    total = 0
    while total < seconds * RATE_HZ:
        for each in utterances:
            pieces += [one_channel(each.sound).resampled(RATE_HZ).samples, pause]
            total += len(pieces[-2]) + len(pause)
    return Waveform(np.concatenate(pieces)[: round(seconds * RATE_HZ)], RATE_HZ)


def long_row(stage: Stage, name: str, speak: Speak, speech: Waveform) -> dict[str, object]:
    """Drift of head, lips and sharpness from the first minute to the last, and jerk at the seams of windows.

    Raises:
        ValueError: for less than two minutes.
    """
    if speech.duration_seconds < 120:
        raise ValueError(f"the long run needs 120 s or more, got {float(speech.duration_seconds):g} s")
    motion = speak(speech, FPS, Controls(seed=11))
    pose, lips = pose_curve(motion), lips_curve(motion)
    gap = stage.face.truth(motion).mouth_open.astype(np.float64)
    minute = 60 * int(FPS)
    worst = max((minute_drift(column, minute) for column in pose.T), key=abs)
    edges = [
        range(0, minute, minute // SHARPNESS_FRAMES),
        range(motion.length - minute, motion.length, minute // SHARPNESS_FRAMES),
    ]
    sharp = []
    for frames in edges:
        chosen = replace(motion, values=motion.values[list(frames)])
        marks = stage.face.truth(chosen).landmarks
        images = stage.face.render(chosen)
        sharp.append(float(np.mean([sharpness(image, mark) for image, mark in zip(images, marks, strict=True)])))
    return {
        "row": name, "minutes": motion.length / minute, "worst drift of yaw, pitch, roll (deviations)": worst,
        "drift of the lips (deviations)": minute_drift(gap, minute),
        "lip sd last over first minute": float(gap[-minute:].std() / max(gap[:minute].std(), 1e-9)),
        "dP last over first minute": _speed(pose[-minute:]) / max(_speed(pose[:minute]), 1e-9),
        "sharpness last over first minute": sharp[1] / sharp[0],
        "seam jerk head": seam_jerk(pose, WINDOW), "seam jerk lips": seam_jerk(lips, WINDOW),
    }  # fmt: skip


def _speed(pose: Array) -> float:
    return float(np.abs(np.diff(pose, axis=0)).mean())
