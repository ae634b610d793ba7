"""Moving clips of people who do not exist, with found faces: what manipulations start from, made in a second."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from forge.manipulations import Cast, Scene
from forge.mesh.face import MeshFace
from forge.motion.controls import Controls
from forge.motion.speech import motion_from_speech
from media.clip import Waveform
from media.faces import FaceFinder
from media.video import read_image, read_waveform

ASSETS = Path(__file__).parents[2] / "countermark" / "demo_assets"
SIZE, LENGTH, FPS, RATE = 192, 20, Fraction(25), 16_000


@cache
def finder() -> FaceFinder:
    return FaceFinder()


@cache
def speech(name: str, start: float = 0.6) -> Waveform:
    """Speech of exactly the scenes' length."""
    sound = read_waveform(ASSETS / f"{name}.flac").mono().resampled(RATE)
    first = round(start * RATE)
    return Waveform(sound.samples[first : first + round(LENGTH / FPS * RATE)], RATE)


@cache
def scene(person: str, said: str = "my_papers_tell", *, fill: float = 1.0) -> Scene:
    """A person of the demo says something; `fill` below 1 makes the whole of it small in a grey frame."""
    face = MeshFace.fit(read_image(ASSETS / f"{person}.webp"), SIZE)
    sound = speech(said)
    motion = motion_from_speech(sound, FPS, Controls(seed=len(person), head_motion=1.5))
    frames = list(face.render(motion))
    if fill < 1:
        side = round(fill * SIZE)
        low = (SIZE - side) // 2
        for index, frame in enumerate(frames):
            frames[index] = np.full((SIZE, SIZE, 3), 90, np.uint8)
            frames[index][low : low + side, low : low + side] = cv2.resize(frame, (side, side), interpolation=3)
    return Scene.of(frames, FPS, sound, finder())


def cast() -> Cast:
    """Another person, and other speech."""
    return Cast(donor=scene("bo"), speech=speech("before_you_believe"))


def blinded(given: Scene, frames: range) -> Scene:
    """The same clip, the face not seen in some frames."""
    return replace(given, faces=tuple(None if n in frames else face for n, face in enumerate(given.faces)))
