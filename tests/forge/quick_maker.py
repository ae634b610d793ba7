"""A generator of a few lines with known answers, and material made for it.

A "face" is whatever is pure red; the frame's blue channel counts the frames, so that order and number can be read back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from forge.methods import Box, Method, Shot, Take
from forge.motion.features import INDEX, Motion
from forge.portrait import ForgeError, Portrait
from media.clip import Clip, Waveform, frames_for
from media.video import write_clip

FINGERPRINT = "ab" * 32


class QuickMaker:
    """Holds the portrait still, the jaw at a known angle, and marks every frame with its number."""

    def find_face(self, image: np.ndarray) -> Box | None:
        red = (image[..., 0] > 150) & (image[..., 1] < 90) & (image[..., 2] < 90)
        if red.sum() < 100:
            return None
        ys, xs = np.nonzero(red)
        return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)

    def film(self, portrait: Portrait, speech: Waveform, shot: Shot) -> Take:
        if self.find_face(portrait.image) is None:
            raise ForgeError(f"{portrait.path}: no face found; give a picture in which one face looks at the camera")
        length = frames_for(speech.duration_seconds, shot.fps)
        motion = Motion.neutral(length, shot.fps).replace(
            jawOpen=np.linspace(0, 1, length), gaze_yaw=shot.controls.gaze_yaw_degrees / 30, yaw=3.0
        )
        still = cv2.resize(portrait.image, (shot.size, shot.size))

        def frames() -> Iterator[np.ndarray]:
            for index in range(length):
                picture = still.copy()
                picture[:8, :8] = index % 256
                yield picture

        def masks() -> Iterator[np.ndarray]:
            for index in range(length):
                mask = np.zeros((shot.size, shot.size), bool)
                mask[: index + 1] = True
                yield mask

        return Take(motion, frames(), masks)

    def sit(self, portrait: Portrait, size: int) -> QuickSitter:
        if self.find_face(portrait.image) is None:
            raise ForgeError(f"{portrait.path}: no face found; give a picture in which one face looks at the camera")
        return QuickSitter(cv2.resize(portrait.image, (size, size)))

    def close(self) -> None:
        pass


class QuickSitter:
    """Shows the jaw of each frame as the brightness of a corner."""

    def __init__(self, still: np.ndarray) -> None:
        self.still = still

    def draw(self, values: np.ndarray) -> np.ndarray:
        picture = self.still.copy()
        picture[:16, :16] = int(255 * np.clip(values[INDEX["jawOpen"]], 0, 1))
        return picture


class SlowMaker(QuickMaker):
    """The same, taking its time: something to be killed in."""

    def film(self, portrait: Portrait, speech: Waveform, shot: Shot) -> Take:
        take = super().film(portrait, speech, shot)

        def frames() -> Iterator[np.ndarray]:
            for picture in take.frames:
                time.sleep(0.01)
                yield picture

        return Take(take.motion, frames(), take.masks)


class BreakingMaker(QuickMaker):
    """Cannot film portraits whose file name says so."""

    def film(self, portrait: Portrait, speech: Waveform, shot: Shot) -> Take:
        if "stubborn" in portrait.name:
            raise ForgeError(f"{portrait.path}: will not be filmed; give another one")
        return super().film(portrait, speech, shot)


def fingerprint() -> str:
    return FINGERPRINT


QUICK = Method("quick", QuickMaker, fingerprint)
SLOW = Method("slow", SlowMaker, fingerprint)
BREAKING = Method("breaking", BreakingMaker, fingerprint)


def picture(path: Path, *, number: int = 0, side: int = 400, face: bool = True) -> Path:
    """A picture with a red face; `number` makes it differ from others."""
    image = np.full((side, side, 3), 40 + 12 * number, np.uint8)
    if face:
        low, high = side // 3, side * 2 // 3
        image[low:high, low:high] = (230, 20, 30 + number)
    Image.fromarray(image).save(path)
    return path


def tone(seconds: float, *, hertz: float = 220.0, rate: int = 16_000, channels: int = 1) -> Waveform:
    """A tone that grows louder."""
    t = np.arange(round(seconds * rate)) / rate
    wave = (0.5 * np.sin(2 * np.pi * hertz * t) * np.linspace(0.2, 1, len(t))).astype(np.float32)
    return Waveform(np.repeat(wave[:, None], channels, axis=1), rate)


def write_wav(path: Path, sound: Waveform) -> Path:
    """16-bit PCM."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.channels)
        file.setsampwidth(2)
        file.setframerate(sound.sample_rate_hz)
        file.writeframes((np.clip(sound.samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def video(path: Path, *, number: int = 0, seconds: float = 1.0, sound: bool = True, fps: int = 25) -> Path:
    """A "real" video: a red face on a ground that changes."""
    frames = np.full((round(seconds * fps), 240, 320, 3), 60 + 9 * number, np.uint8)
    frames[:, 80:180, 110:210] = (230, 20, 30)
    frames[..., 2] += (np.arange(len(frames)) % 20).astype(np.uint8)[:, None, None]
    write_clip(Clip(frames, Fraction(fps), tone(seconds, hertz=150 + 30 * number) if sound else None), path)
    return path


def material(folder: Path, *, portraits: int = 3, speech: int = 3, real: int = 0, seconds: float = 1.0) -> Path:
    """Folders `portraits`, `speech` and `real` with different files in them."""
    for name in ("portraits", "speech", "real"):
        (folder / name).mkdir(parents=True)
    for n in range(portraits):
        picture(folder / "portraits" / f"p{n}.png", number=n)
    for n in range(speech):
        write_wav(folder / "speech" / f"s{n}.wav", tone(seconds + 0.1 * n, hertz=200 + 40 * n))
    for n in range(real):
        video(folder / "real" / f"r{n}.mp4", number=n, seconds=seconds)
    return folder
