"""A foreign generator at work: what it is given, how it is run and ended, and how its pictures are taken over.

The parts of `forge.foreign` that touch files and processes.
"""

from __future__ import annotations

import subprocess
import sys
import wave
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from forge import foreign_watch
from forge.framing import Square, cut
from forge.makers import Careful
from forge.manipulations.scene import Scene
from forge.portrait import ForgeError
from media.clip import Clip, Waveform
from media.landmarks import FaceObservation
from media.video import write_clip

UInt8Array = NDArray[np.uint8]

INPUT_CRF = 8
"""Of the clips that a command is given: as good as the recording, and any decoder reads it."""
TAIL_BYTES, TAIL_CHARACTERS = 4096, 240
"""How much of what a command said is kept, and how much of it an error repeats."""
NEARLY_SQUARE = 0.02
WATCH = Path(foreign_watch.__file__).absolute()


@dataclass(frozen=True)
class Shape:
    """What is asked of a generator."""

    length: int
    fps: Fraction
    size: int
    seed: int


@dataclass(frozen=True)
class Reference:
    """Where the face lies in a square, in parts of its side."""

    x: float
    y: float
    tall: float

    @classmethod
    def of(cls, face: FaceObservation, x0: float, y0: float, side: float) -> Reference:
        """Of a face in a square of its picture."""
        x, y = ((face.landmarks[10, :2] + face.landmarks[152, :2]) / 2 - (x0, y0)) / side
        return cls(float(x), float(y), _tall(face) / side)

    def square(self, face: FaceObservation, width: int, height: int) -> Square:
        """The square of another picture in which its face lies alike, as far as there is room."""
        side = max(2, min(round(_tall(face) / max(self.tall, 1e-3)), width, height))
        middle = (face.landmarks[10, :2] + face.landmarks[152, :2]) / 2
        left = min(max(round(float(middle[0]) - self.x * side), 0), width - side)
        top = min(max(round(float(middle[1]) - self.y * side), 0), height - side)
        return Square(left, top, side)


def _tall(face: FaceObservation) -> float:
    return float(np.linalg.norm(face.landmarks[10, :2] - face.landmarks[152, :2]))


def run_command(words: Sequence[str], folder: Path, limit_seconds: float) -> None:
    """Run a program in a folder and wait for it; nothing that it started is left afterwards.

    Between it and us stands `forge.foreign_watch`, which ends it also when we are killed, and then removes the folder.

    Raises:
        ForgeError: when it cannot be started, takes too long, or ends with another code than 0.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(WATCH), str(folder), *words],
        bufsize=0,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    said: deque[int] = deque(maxlen=TAIL_BYTES)
    reader = Thread(target=_keep_tail, args=(process.stdout, said), daemon=True)
    reader.start()
    try:
        code = process.wait(limit_seconds)
    except subprocess.TimeoutExpired as error:
        raise ForgeError(f"took longer than {limit_seconds:g} s and was ended; allow more time") from error
    finally:
        # whatever happens to us, also a keyboard interrupt, all of it goes
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(2 * foreign_watch.ENDING_SECONDS)
        process.kill()
        process.wait()
        reader.join(timeout=2)
    if code != 0:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        raise ForgeError(f"{how}{_last_words(bytes(said))}")


def _keep_tail(stream: IO[bytes], said: deque[int]) -> None:
    with stream:
        while block := stream.read(65_536):
            said.extend(block[-TAIL_BYTES:])


def _last_words(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    text = " ".join("".join(c if c.isprintable() else " " for c in " ".join(lines[-3:])).split())
    return f": ... {text[-TAIL_CHARACTERS:]}" if text else " without a word"


def values_of(asks: frozenset[str], given: Mapping[str, Any], shape: Shape, folder: Path) -> dict[str, str]:
    """What stands for each placeholder; files are written into the folder."""
    values = {
        "fps": f"{float(shape.fps):.8g}",
        "size": str(shape.size),
        "seed": str(shape.seed),
        "frames": str(shape.length),
        "seconds": f"{float(shape.length / shape.fps):.6f}",
        "python": sys.executable,
    }
    for name in asks & {"portrait", "video", "donor", "speech"}:
        thing = given[name]
        path = folder / f"{name}.{ {'portrait': 'png', 'speech': 'wav'}.get(name, 'mp4') }"
        if isinstance(thing, Waveform):
            write_wav(path, thing)
        elif isinstance(thing, Scene):
            write_clip(Clip(thing.frames_TSS3, thing.fps, thing.sound), path, crf=INPUT_CRF)
        else:
            Image.fromarray(thing).save(path)
        values[name] = str(path)
    return values


def write_wav(path: Path, sound: Waveform) -> None:
    """Write a sound as 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.channels)
        file.setsampwidth(2)
        file.setframerate(sound.sample_rate_hz)
        file.writeframes(np.rint(np.clip(sound.samples, -1, 1) * 32767).astype("<i2").tobytes())


def fitted(pictures: Iterable[UInt8Array], shape: Shape, placed: Reference | None, finder: Careful) -> UInt8Array:
    """(T, S, S, 3) pictures of any size in the form that was asked for."""
    frames: list[UInt8Array] = []
    square, last = Square(0, 0, 1), (0, 0, 0)
    for number, image in enumerate(islice(pictures, shape.length)):
        picture = np.asarray(image)
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise ForgeError(f"picture {number} must be (H, W, 3) uint8, got {picture.shape} {picture.dtype}")
        if picture.shape != last:
            square, last = _square_of(picture, placed, finder), picture.shape
        frames.append(cut(picture, square, shape.size))
    if len(frames) < max(1, shape.length - 1):
        rate = f"{float(shape.fps):g} fps"
        raise ForgeError(f"made {len(frames)} frames where {shape.length} at {rate} are needed; make it speak longer")
    frames += frames[-1:] * (shape.length - len(frames))
    return np.stack(frames)


def _square_of(picture: UInt8Array, placed: Reference | None, finder: Careful) -> Square:
    height, width = picture.shape[:2]
    shorter = min(width, height)
    if abs(width - height) <= NEARLY_SQUARE * shorter:
        return Square((width - shorter) // 2, (height - shorter) // 2, shorter)
    faces = finder.find(picture)
    if not faces or placed is None:
        raise ForgeError(f"its pictures are {width} x {height} and show no face to cut them by; make them square")
    return placed.square(faces[0], width, height)
