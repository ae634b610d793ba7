"""The motion benchmark in two CPU-minutes: few utterances, exact landmarks, one table on the screen, nothing saved.

Called by `python -m benchmarks.generation motion --quick`; for choosing between networks while they are trained.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import isnan, nan

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.lip_geometry import bands_of
from benchmarks.motion_controls import distance_of, emotion_shift, is_rising, main_gaze
from benchmarks.motion_judging import FPS, Facts, Stage, judged_motion, mean_of, seed_of, takes
from benchmarks.motion_material import Utterance
from benchmarks.motion_systems import Speak
from benchmarks.motion_tables import Found
from forge.motion.controls import Controls
from forge.motion.features import Motion

HEARD, SPOKEN, ALIGNED, SECONDS = 8, 8, 12, 5.0
"""Clips, utterances of speech and of known sounds, and how much of the last two is used."""
GAZES = ((-20.0, 0.0), (20.0, 0.0), (0.0, 12.0), (12.0, -8.0))
DISTANCES = (0.7, 1.4)
EMOTIONS = ("happy", "angry", "surprised")
COLUMNS: Mapping[str, str] = {
    "lip_deviation": "lip sd", "voice_correlation": "voice r", "head_turn_degrees": "turn",
    "blinks_per_minute": "blinks", "gaze_deviation": "gaze", "sync_confidence": "S_C", "sync_distance": "S_D",
    "sync_within_one": "±1", "lips_close": "pbm", "vowels_open": "open", "beats": "beats", "seam_head": "seam h",
    "seam_lips": "seam l", "seeds_head_degrees": "heads°", "seeds_lip_likeness": "lips r",
    "gaze_error_degrees": "gaze°", "distance_error": "dist", "emotion_full": "emo", "cost": "CPU",
}  # fmt: skip
LEGEND = (
    "lip sd, gaze: deviation; turn: degrees a frame; blinks a minute; S_C, S_D, ±1: SyncNet B (self), real people only "
    "where the sound is in sync, jaws that follow loudness please it; pbm: share of p, b, m with closed lips; open: "
    "vowels with parted lips; seam h, l: jerk of head and lips at seams of windows over elsewhere; heads°, lips r: two "
    "seeds, difference of heads, likeness of lips; gaze°, dist: error of the wish; emo: mean strength obtained where 1 "
    "is asked (negative: not rising); CPU: seconds a second"
)


def obedience(speak: Speak, utterance: Utterance) -> Facts:
    """Errors of gaze and distance, and how much of an emotion comes of it; by the motion itself."""
    seed = seed_of(utterance.name)

    def made(**wishes: float | str) -> Motion:
        return speak(utterance.sound, FPS, Controls(seed=seed, **wishes))  # type: ignore[arg-type]

    gazes, sizes, felt = [], [], []
    for yaw, pitch in GAZES:
        got = main_gaze(made(gaze_yaw_degrees=yaw, gaze_pitch_degrees=pitch))
        gazes.append(float(np.hypot(got[0] - yaw, got[1] - pitch)))
    for distance in DISTANCES:
        sizes.append(abs(distance_of(made(distance=distance)) - distance))
    neutral = made()
    for emotion in EMOTIONS:
        shifts = [emotion_shift(made(emotion=emotion, emotion_strength=s), neutral, emotion) for s in (0.5, 1.0)]
        felt.append(shifts[1] if is_rising([0.0, *shifts]) else -abs(shifts[1]))
    return {
        "gaze_error_degrees": mean_of(gazes),
        "distance_error": mean_of(sizes),
        "emotion_full": mean_of(felt),
    }


def system_row(stage: Stage, speak: Speak, utterances: Sequence[Utterance]) -> Facts:
    """Means of one system."""
    began = time.process_time()
    motions = [speak(each.sound, FPS, Controls(seed=seed_of(each.name))) for each in utterances]
    cost = (time.process_time() - began) / sum(float(each.sound.duration_seconds) for each in utterances)
    found = [
        judged_motion(stage, motion, each, bands_of(each.sound))
        for motion, each in zip(motions, utterances, strict=True)
    ]
    found.append(takes(stage, speak, utterances[0], (1, 2)))
    found.append(obedience(speak, utterances[0].shortened(3.0)))
    return {name: mean_of([facts.get(name, nan) for facts in found]) for name in COLUMNS} | {"cost": cost}


def means_of(found: Sequence[Found]) -> dict[str, Facts]:
    """Mean figures by row."""
    rows: dict[str, list[Facts]] = {}
    for each in found:
        rows.setdefault(each.row, []).append(each.facts)
    return {
        name: {column: mean_of([facts.get(column, nan) for facts in own]) for column in COLUMNS}
        for name, own in rows.items()
    }


def written(value: float) -> str:
    """A figure for a narrow table."""
    return "-" if isnan(value) else f"{value:.3g}"


def show_quick(
    stage: Stage, systems: Mapping[str, Speak], utterances: Sequence[Utterance], filmed: Mapping[str, Facts]
) -> None:
    """Judge and print, row by row."""
    rows = dict(filmed) | {name: system_row(stage, speak, utterances) for name, speak in systems.items()}
    wide = max((len(name) for name in rows), default=0)
    table = Table("row", *COLUMNS.values(), title="motion, exact landmarks", caption=LEGEND, padding=(0, 0))
    for name, row in rows.items():
        table.add_row(name, *(written(row[column]) for column in COLUMNS))
    Console(width=max(150, wide + 8 * len(COLUMNS))).print(table)
