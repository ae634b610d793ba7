"""What rendered people do: poses, looks and expressions to learn a face from, single or as a take that flows.

    motion_FM = pose_stills(seed, frames=16)              # every frame another pose and face: widest coverage
    motion_FM = talk(seed, frames=50, fps=25)             # one flowing take of speech-like motion

Units are the rig's; the pose is absolute, zero is the standard framing.
Axes: F frames, M motion features (`features.NAMES`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from forge.motion import prior
from forge.motion.features import BLENDSHAPE_NAMES, INDEX, NAMES, Z_DYN
from forge.motion.visemes import MOUTH_NAMES, VISEMES, mouth_from_visemes
from forge.studio.head import consistent

Floats = NDArray[np.float32]

WIDEST_POSE = {"yaw": 45.0, "pitch": 25.0, "roll": 20.0, "shift_x": 0.45, "shift_y": 0.40, "log_scale": 0.28}
WIDEST_GAZE = (1.0, 0.75)
"""In units of 30 degrees: yaw, pitch."""
HEARING_HZ = 100
PHONES_A_SECOND = 11.0

FACES: Mapping[str, Mapping[str, float]] = {
    "smile": {"mouthSmile": 0.8, "cheekSquint": 0.5, "eyeSquint": 0.3, "mouthDimple": 0.15},
    "grin": {"mouthSmile": 0.8, "mouthUpperUp": 0.55, "mouthLowerDown": 0.35, "jawOpen": 0.12, "cheekSquint": 0.6,
             "eyeSquint": 0.35},
    "laugh": {"mouthSmile": 0.85, "jawOpen": 0.5, "mouthUpperUp": 0.45, "mouthLowerDown": 0.4, "cheekSquint": 0.7,
              "eyeSquint": 0.5, "browInnerUp": 0.15},
    "surprise": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.8, "jawOpen": 0.5, "mouthFunnel": 0.15},
    "fear": {"browInnerUp": 0.8, "browOuterUp": 0.4, "browDown": 0.2, "eyeWide": 0.8, "mouthStretch": 0.6,
             "jawOpen": 0.15},
    "anger": {"browDown": 0.85, "eyeSquint": 0.4, "noseSneer": 0.45, "mouthPress": 0.5, "mouthFrown": 0.35,
              "jawForward": 0.2},
    "shout": {"browDown": 0.7, "noseSneer": 0.5, "jawOpen": 0.75, "mouthUpperUp": 0.5, "mouthLowerDown": 0.6,
              "mouthStretch": 0.3},
    "disgust": {"noseSneer": 0.85, "browDown": 0.45, "mouthUpperUp": 0.45, "mouthFrown": 0.4, "cheekSquint": 0.45},
    "sadness": {"browInnerUp": 0.75, "mouthFrown": 0.65, "mouthShrugLower": 0.4, "eyeSquint": 0.15},
    "doubt": {"mouthFrown": 0.4, "mouthShrugLower": 0.55, "mouthShrugUpper": 0.3, "browOuterUp": 0.4},
    "kiss": {"mouthPucker": 0.9, "mouthFunnel": 0.15},
    "whistle": {"mouthFunnel": 0.6, "mouthPucker": 0.55, "cheekPuff": 0.2},
    "puff": {"cheekPuff": 0.9, "mouthPress": 0.3},
    "think": {"mouthPress": 0.45, "mouthRollLower": 0.35, "mouthRollUpper": 0.25, "browDown": 0.35},
    "bite": {"mouthRollLower": 0.7, "mouthUpperUp": 0.3, "jawOpen": 0.08},
    "tongue": {"tongueOut": 0.9, "jawOpen": 0.35, "mouthLowerDown": 0.3},
    "yawn": {"jawOpen": 0.95, "eyeSquint": 0.5, "browInnerUp": 0.3, "mouthFunnel": 0.2},
    "rest": {},
}  # fmt: skip
"""Combinations that faces make; a name without a side stands for both."""
SIDEWAYS = ("mouthLeft", "mouthRight", "jawLeft", "jawRight")


def pose_stills(seed: int, frames: int) -> Floats:
    """Frames that differ in all that a motion vector can say, (F, M)."""
    rng = np.random.default_rng([seed, 53])
    out = np.zeros((frames, len(NAMES)), np.float32)
    speech = babble(rng, seconds=0.6 + 0.12 * frames)
    for frame in range(frames):
        row = out[frame]
        kind = rng.random()
        if kind < 0.45:
            _say(row, speech[int(rng.integers(len(speech)))], rng)
            if rng.random() < 0.5:
                _make(
                    row,
                    str(rng.choice(["smile", "grin", "surprise", "anger", "sadness", "doubt"])),
                    rng,
                    rng.uniform(0.1, 0.6),
                )
        elif kind < 0.88:
            names = list(FACES)
            _make(row, str(rng.choice(names)), rng, float(rng.uniform(0.35, 1.15)))
            if rng.random() < 0.4:
                _make(row, str(rng.choice(names)), rng, float(rng.uniform(0.1, 0.6)))
        else:
            for name in rng.choice(len(BLENDSHAPE_NAMES), size=int(rng.integers(1, 5)), replace=False):
                row[INDEX[BLENDSHAPE_NAMES[int(name)]]] += rng.uniform(0.2, 1.0)
        if rng.random() < 0.15:
            row[INDEX[str(rng.choice(SIDEWAYS))]] += rng.uniform(0.1, 0.8)
        _look(row, rng, still=frame == 0)
        _turn(row, rng, still=frame == 0)
        row[:] = natural(row)
    return finished(out)


def _say(row: Floats, mouth: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Add a moment of speech."""
    gain = rng.uniform(0.7, 1.35)
    for name, value in zip(MOUTH_NAMES, mouth, strict=True):
        row[INDEX[name]] += gain * value


def _make(row: Floats, face: str, rng: np.random.Generator, strength: float) -> None:
    """Add one of `FACES`, seldom quite symmetric."""
    lean = 1.0 - np.array([0.0, rng.choice([0.0, 0.15, 0.15, 0.5, 1.0], p=[0.35, 0.25, 0.2, 0.12, 0.08])])
    rng.shuffle(lean)
    for name, value in FACES[face].items():
        amount = value * strength * rng.uniform(0.6, 1.2)
        if name in BLENDSHAPE_NAMES:
            row[INDEX[name]] += amount
        else:
            row[INDEX[f"{name}Left"]] += amount * lean[0]
            row[INDEX[f"{name}Right"]] += amount * lean[1]


def _look(row: Floats, rng: np.random.Generator, *, still: bool) -> None:
    """Gaze and lids: mostly both lids as one, now and then shut, seldom a wink."""
    if still:
        gaze = 0.1 * rng.normal(size=2)
    elif rng.random() < 0.35:
        gaze = rng.uniform(-1, 1, 2) * WIDEST_GAZE
    else:
        gaze = 0.33 * rng.normal(size=2) * WIDEST_GAZE
    row[INDEX["gaze_yaw"]], row[INDEX["gaze_pitch"]] = np.clip(gaze, -np.array(WIDEST_GAZE), WIDEST_GAZE)
    kind = rng.random()
    lids = (
        rng.uniform(0, 0.12)
        if still or kind < 0.62
        else rng.uniform(0.1, 0.65)
        if kind < 0.82
        else rng.uniform(0.75, 1.0)
    )
    left, right = lids, lids * rng.uniform(0.92, 1.0)
    if not still and rng.random() < 0.06:
        left, right = (1.0, 0.1) if rng.random() < 0.5 else (0.1, 1.0)
    row[INDEX["eyeBlinkLeft"]] += left
    row[INDEX["eyeBlinkRight"]] += right


def _turn(row: Floats, rng: np.random.Generator, *, still: bool) -> None:
    """Head pose: mostly moderate, sometimes as far as it goes; shifted and scaled a little."""
    for name, widest in WIDEST_POSE.items():
        if still:
            value = rng.normal(0, 0.12) * widest
        elif rng.random() < 0.4:
            value = rng.uniform(-1, 1) * widest
        else:
            value = rng.normal(0, 0.38) * widest
        row[INDEX[name]] = np.clip(value, -widest, widest)
    # a head turned far has its gaze brought back towards the camera, as people do
    if not still and rng.random() < 0.4:
        row[INDEX["gaze_yaw"]] = np.clip(
            -row[INDEX["yaw"]] / 30.0 + 0.15 * rng.normal(), -WIDEST_GAZE[0], WIDEST_GAZE[0]
        )
        row[INDEX["gaze_pitch"]] = np.clip(-row[INDEX["pitch"]] / 30.0, -WIDEST_GAZE[1], WIDEST_GAZE[1])


OPPOSED = (
    ("mouthLeft", "mouthRight"), ("jawLeft", "jawRight"), ("mouthPucker", "mouthStretchLeft"),
    ("mouthPucker", "mouthStretchRight"),
    ("mouthPucker", "mouthSmileLeft"), ("mouthPucker", "mouthSmileRight"), ("mouthFunnel", "mouthPressLeft"),
    ("mouthFunnel", "mouthPressRight"), ("mouthFunnel", "mouthRollLower"), ("mouthFunnel", "mouthRollUpper"),
    ("cheekPuff", "jawOpen"), ("mouthSmileLeft", "mouthFrownLeft"), ("mouthSmileRight", "mouthFrownRight"),
    ("eyeWideLeft", "eyeBlinkLeft"), ("eyeWideRight", "eyeBlinkRight"), ("browDownLeft", "browOuterUpLeft"),
    ("browDownRight", "browOuterUpRight"), ("tongueOut", "mouthPucker"), ("mouthClose", "mouthUpperUpLeft"),
    ("mouthClose", "mouthUpperUpRight"), ("mouthClose", "mouthLowerDownLeft"), ("mouthClose", "mouthLowerDownRight"),
)  # fmt: skip
"""Pairs that one muscle rules out or that undo each other: the weaker one fades."""


def natural(row: Floats) -> Floats:
    """The nearest face that muscles can make: opposed actions do not add up, all stay within [0, 1]."""
    out = row.copy()
    dynamics = slice(INDEX[BLENDSHAPE_NAMES[0]], INDEX[BLENDSHAPE_NAMES[-1]] + 1)
    out[dynamics] = np.clip(out[dynamics], 0, 1)
    for first, second in OPPOSED:
        a, b = float(out[INDEX[first]]), float(out[INDEX[second]])
        weaker = second if a >= b else first
        out[INDEX[weaker]] *= 1.0 - 0.85 * max(a, b)
    out[INDEX["mouthClose"]] = min(out[INDEX["mouthClose"]], out[INDEX["jawOpen"]])
    # mouth corners cannot be pulled by everything at once
    for side in ("Left", "Right"):
        pulls = [f"{name}{side}" for name in ("mouthSmile", "mouthStretch", "mouthDimple", "mouthFrown", "mouthPress")]
        total = sum(float(out[INDEX[name]]) for name in pulls)
        if total > 1.1:
            for name in pulls:
                out[INDEX[name]] *= 1.1 / total
    return out


def finished(motion_FM: Floats) -> Floats:
    """Truth that does not contradict its picture: the `eyeLook*` that belong to the gaze are written in."""
    dynamics = consistent(torch.from_numpy(motion_FM[:, Z_DYN].copy()))
    motion_FM[:, Z_DYN] = dynamics.numpy()
    return motion_FM


def babble(rng: np.random.Generator, seconds: float) -> NDArray[np.float32]:
    """Mouth coefficients of speech that nobody spoke, (T, K) at 100 Hz, columns `MOUTH_NAMES`.

    Random visemes with lifelike durations, coarticulated as real ones are.
    """
    length = int(seconds * HEARING_HZ)
    chance = np.zeros((length, len(VISEMES)), np.float32)
    at = 0
    while at < length:
        lasts = max(3, int(rng.gamma(4.0, HEARING_HZ / PHONES_A_SECOND / 4.0)))
        viseme = 0 if rng.random() < 0.06 else int(rng.integers(1, len(VISEMES)))
        chance[at : at + lasts * (4 if viseme == 0 else 1), viseme] = 1.0
        at += lasts * (4 if viseme == 0 else 1)
    effort = np.full(length, rng.uniform(0.8, 1.4))
    return mouth_from_visemes(chance, effort, np.zeros(length), HEARING_HZ).coefficients


def talk(seed: int, frames: int, fps: float = 25.0) -> Floats:
    """A flowing take, (F, M): babbled speech, blinks, glances, head motion, an expression that comes and goes."""
    rng = np.random.default_rng([seed, 59])
    seconds = np.asarray((np.arange(frames) + 0.5) / fps, np.float64)
    mouth = babble(rng, seconds[-1] + 0.5)
    out = np.zeros((frames, len(NAMES)), np.float32)
    for column, name in enumerate(MOUTH_NAMES):
        out[:, INDEX[name]] = np.interp(seconds, np.arange(len(mouth)) / HEARING_HZ, mouth[:, column])
    left, right = prior.lids(seed, seconds, prior.blink_times(seed, float(seconds[-1]) + 1.0, 1.0, ()))
    out[:, INDEX["eyeBlinkLeft"]], out[:, INDEX["eyeBlinkRight"]] = left, right

    def drift(scale: float, knot: float) -> NDArray[np.float64]:
        knots = rng.normal(size=int(seconds[-1] / knot) + 5)
        x = seconds / knot + 1.0
        part, first = x % 1.0, x.astype(np.int64)
        blend = part * part * (3 - 2 * part)
        return np.asarray(scale * (knots[first] * (1 - blend) + knots[first + 1] * blend))

    for name, widest in WIDEST_POSE.items():
        base = rng.normal(0, 0.25) * widest
        out[:, INDEX[name]] = np.clip(base + drift(0.16 * widest, 0.9) + drift(0.05 * widest, 0.3), -widest, widest)
    out[:, INDEX["gaze_yaw"]] = np.clip(np.round(drift(0.5, 0.7), 1), -1, 1)
    out[:, INDEX["gaze_pitch"]] = np.clip(np.round(drift(0.3, 0.7), 1), -0.7, 0.7)
    face = np.zeros(len(NAMES), np.float32)
    _make(face, str(rng.choice(["smile", "grin", "surprise", "anger", "sadness", "doubt", "rest"])), rng, 1.0)
    out += np.clip(0.35 + drift(0.4, 1.2), 0, 1)[:, None].astype(np.float32) * face
    return finished(np.stack([natural(row) for row in out]))
