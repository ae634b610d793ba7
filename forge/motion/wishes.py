"""What a face does beyond what it was asked to do: the network draws departures from the wish, never the wish itself.

    rest_TM = departure(motion_TM, wish)       # for the network
    motion_TM = arrived(rest_TM, wish)         # exactly back

Axes: T frames, M motion features.

Distance, gaze and emotion are conditions of the network, yet obeyed by construction: the head's size departs from the
asked one, the eyes from the asked direction in the room (while the head turns they hold it: the vestibulo-ocular
reflex), the coefficients from the asked emotion's. So a wish costs no guidance and holds exactly, live as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forge.motion.controls import EMOTIONS, NEUTRAL, Controls
from forge.motion.features import INDEX, NAMES
from forge.motion.speech import DEGREES_PER_GAZE, gaze_curves

FloatArray = NDArray[np.float32]

EYE_LOOKS = [INDEX[name] for name in NAMES if name.startswith("eyeLook")]
"""Told by the gaze: not drawn."""
_YAW, _PITCH, _SCALE = INDEX["yaw"], INDEX["pitch"], INDEX["log_scale"]
_GAZE_YAW, _GAZE_PITCH = INDEX["gaze_yaw"], INDEX["gaze_pitch"]


@dataclass(frozen=True)
class Wish:
    """What is asked of a stretch of motion."""

    gaze_yaw: float = 0.0
    """Degrees / 30 in the room."""
    gaze_pitch: float = 0.0
    log_scale: float = 0.0
    emotion: Mapping[str, float] | None = None
    """Strength by name; None and empty are neutral."""

    @classmethod
    def of(cls, controls: Controls) -> Wish:
        """What a person asks for."""
        emotion = {controls.emotion: controls.emotion_strength} if controls.emotion != NEUTRAL else {}
        return cls(
            controls.gaze_yaw_degrees / DEGREES_PER_GAZE,
            controls.gaze_pitch_degrees / DEGREES_PER_GAZE,
            -float(np.log(controls.distance)),
            emotion,
        )

    @classmethod
    def met_by(cls, motion_TM: FloatArray, emotion: Mapping[str, float] | None) -> Wish:
        """What a stretch of motion would have obeyed: its main gaze and mean size, and the emotion known of it."""
        yaw, pitch = np.median(room_gaze(motion_TM), axis=0)
        return cls(float(yaw), float(pitch), float(motion_TM[:, _SCALE].mean()), emotion)

    def features(self) -> tuple[FloatArray, np.float32, FloatArray]:
        """Gaze (2,), log scale and emotion (E,) as the network is told them."""
        strengths = np.zeros(len(EMOTIONS), np.float32)
        for name, strength in (self.emotion or {}).items():
            strengths[list(EMOTIONS).index(name)] = strength
        return np.array([self.gaze_yaw, self.gaze_pitch], np.float32), np.float32(self.log_scale), strengths

    def offsets(self) -> FloatArray:
        """(M,) what the wish adds to each coefficient."""
        out = np.zeros(len(NAMES), np.float32)
        for name, strength in (self.emotion or {}).items():
            for coefficient, value in EMOTIONS[name].items():
                out[INDEX[coefficient]] += strength * value
        out[_SCALE] = self.log_scale
        return out


def room_gaze(motion_TM: FloatArray) -> FloatArray:
    """(T, 2) where the eyes point in the room, degrees / 30."""
    return np.asarray(
        motion_TM[:, [_GAZE_YAW, _GAZE_PITCH]] + motion_TM[:, [_YAW, _PITCH]] / DEGREES_PER_GAZE, np.float32
    )


def departure(motion_TM: FloatArray, wish: Wish) -> FloatArray:
    """What the motion does beyond the wish."""
    out = motion_TM - wish.offsets()
    out[:, [_GAZE_YAW, _GAZE_PITCH]] = room_gaze(motion_TM) - np.array([wish.gaze_yaw, wish.gaze_pitch], np.float32)
    out[:, EYE_LOOKS] = 0.0
    return out


def arrived(rest_TM: FloatArray, wish: Wish) -> FloatArray:
    """The motion that departs from the wish by `rest`; the `eyeLook*` coefficients follow from the gaze."""
    out = rest_TM + wish.offsets()
    asked = np.array([wish.gaze_yaw, wish.gaze_pitch], np.float32)
    return looking(out, rest_TM[:, [_GAZE_YAW, _GAZE_PITCH]] + asked)


def looking(motion_TM: FloatArray, room_T2: FloatArray) -> FloatArray:
    """The same motion with eyes that point at `room_T2` (degrees / 30, in the room), wherever the head is turned."""
    out = motion_TM.copy()
    degrees = (room_T2 - out[:, [_YAW, _PITCH]] / DEGREES_PER_GAZE).astype(np.float64) * DEGREES_PER_GAZE
    for name, curve in gaze_curves(degrees[:, 0], degrees[:, 1]).items():
        out[:, INDEX[name]] = curve
    return out
