"""Lessons in motion: moments of real clips, each beside its own forgeries in time, after the same scaler and encoder.

Twins share person, pose, light, size and compression, so that nothing but the forging tells them apart. That teaches
more about generators nobody has seen than their clips do: see docs/cards/detector.md.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from detect.detector import DetectError
from detect.models.temporal import CROP_MARGIN, CROP_SIDE, FLOW_FEATURES, MIN_FRAMES, window_features
from detect.prepare import PICTURES, viewing_rate
from detect.pseudo import Rng
from detect.pseudo_time import FORGERS
from detect.report import make_folder, write_whole
from media.catalog import Sample
from media.clip import Clip, FloatArray, MediaError, UInt8Array
from media.faces import FaceFinder
from media.landmarks import align_matrix, warp
from media.places import DIED, Here, Place, Room
from media.video import Encoding, probe, recompressed, stream_frames

SECONDS = 3
"""Of a moment."""
SIDES = (128, 144, 192, 256, 320)
"""Pixels a side that moments are scaled to, never up."""
RATE_FACTORS = (17, 36)
"""Range of x264's constant rate factor, the upper end excluded."""
ROOM = 2.0
"""Side of the square around a face, in sides of its box."""
Arrays = dict[str, FloatArray]
VERSION = 6
"""Part of every draw: raised whenever the lessons change."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """One twin."""

    synthetic: bool
    person: str
    maker: str
    """The forgery in time of both twins."""
    windows: FloatArray
    """(W, F) measured seconds, order of `detect.models.temporal.FLOW_FEATURES`."""


@dataclass(frozen=True, eq=False)
class Moment:
    """Consecutive frames around one face."""

    frames: UInt8Array
    """(T, S, S, 3)"""
    landmarks: FloatArray
    """(T, 478, 2) pixels."""
    fps: Fraction

    def scaled(self, side: int) -> Moment:
        """The same at a smaller, even size; as it is when it is smaller already."""
        own = self.frames.shape[1]
        side = min(side, own) // 2 * 2
        small = [cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in self.frames]
        scale = np.float32(side / own)
        return Moment(np.stack(small).astype(np.uint8), (self.landmarks * scale).astype(np.float32), self.fps)


def moment_of(path: Path, rng: Rng, finder: FaceFinder) -> Moment | None:
    """A moment of the most visible face of a clip, from a random second on; None where there is none.

    Raises:
        MediaError: when the file cannot be read.
    """
    facts = probe(path)
    rate = viewing_rate(facts.fps, facts.variable_frame_rate)
    length = SECONDS * round(rate)
    spare = int(facts.duration_seconds * float(rate)) - length
    first = int(rng.integers(0, spare + 1)) if spare > 0 else 0
    pictures = (frame.image for frame in stream_frames(path, fps=rate, max_side=1280))
    images = list(islice(pictures, first, first + length))
    if len(images) < MIN_FRAMES:
        return None
    found = finder.find(images[0])
    if not found:
        return None
    face = max(found, key=lambda f: float(np.prod(f.box[2:] - f.box[:2])))
    landmarks, box = [], face.box
    for image in images:
        seen = finder.measure(image, box)
        if seen is None:
            break
        landmarks.append(seen.landmarks[:, :2])
        box = seen.box
    if len(landmarks) < MIN_FRAMES:
        return None
    return _around(np.stack(images[: len(landmarks)]), np.stack(landmarks).astype(np.float32), rate)


def _around(frames: UInt8Array, landmarks_TL2: FloatArray, fps: Fraction) -> Moment:
    """The square around all places where the face was, within the picture."""
    height, width = frames.shape[1:3]
    low, high = landmarks_TL2.min(axis=(0, 1)), landmarks_TL2.max(axis=(0, 1))
    middle = (low + high) / 2
    typical = float(np.median(np.ptp(landmarks_TL2, axis=1).max(axis=1)))
    side = int(min(max(ROOM * typical, float((high - low).max())), height, width))
    sizes = zip(middle, (width, height), strict=True)
    left, top = (round(min(max(0.0, float(m) - side / 2), size - side)) for m, size in sizes)
    cut = np.ascontiguousarray(frames[:, top : top + side, left : left + side])
    return Moment(cut, (landmarks_TL2 - np.array([left, top], np.float32)).astype(np.float32), fps)


def measured(frames: UInt8Array, landmarks_TL2: FloatArray, per_second: int) -> FloatArray:
    """(W, F) measurements of each whole second of a moment; a shorter moment is one second."""
    windows = []
    for start in range(0, max(1, len(frames) // per_second) * per_second, per_second):
        part = slice(start, start + per_second)
        matrix = align_matrix(np.median(landmarks_TL2[part], axis=0).astype(np.float32), CROP_SIDE, CROP_MARGIN)
        windows.append(window_features(np.stack([warp(image, matrix, CROP_SIDE) for image in frames[part]])))
    return np.stack(windows)


def twins(moment: Moment, kind: str, rng: Rng) -> tuple[FloatArray, FloatArray]:
    """Measurements of a moment and of its forgery, scaled and encoded alike.

    Args:
        moment: real.
        kind: one of `detect.pseudo_time.FORGERS`.
        rng: source of chance.
    """
    small = moment.scaled(int(rng.choice(SIDES)))
    forged = FORGERS[kind](small.frames, small.landmarks, rng)
    options = {"crf": str(int(rng.integers(*RATE_FACTORS))), "preset": str(rng.choice(["veryfast", "medium"]))}
    per_second = round(moment.fps)

    def seen(frames: UInt8Array) -> FloatArray:
        stored = recompressed(Clip(frames, moment.fps), Encoding("libx264", options))
        return measured(stored.frames, small.landmarks, per_second)

    return seen(small.frames), seen(forged)


def lessons_of(
    samples: Sequence[tuple[Sample, Path, str]], kinds: Sequence[str], cache: Path, *, place: Place | None = None
) -> Iterator[tuple[Lesson, ...]]:
    """The lessons of each real clip, kept in a folder so that later runs cost nothing; none for pictures.

    Args:
        samples: real ones with their files and people.
        kinds: forgeries in time.
        cache: folder for one .npz per content.
        place: where the clips are forged and measured; None is this process.

    Raises:
        DetectError: for a kind that does not exist, or a folder that cannot be written.
    """
    unknown = sorted(set(kinds) - set(FORGERS))
    if unknown:
        raise DetectError(f"there is no forgery in time called {', '.join(unknown)}; known are {', '.join(FORGERS)}")
    make_folder(cache)
    if place is not None and place != Here():
        _learn_elsewhere(samples, kinds, cache, place)
    with FaceFinder(max_faces=1) as finder:
        for sample, path, person in samples:
            if path.suffix.lower() in PICTURES or not kinds:
                yield ()
                continue
            file = _file_of(sample, cache)
            arrays = _stored(file)
            missing = _missing(arrays, kinds)
            if missing:
                arrays |= _learnt(path, missing, _seed_of(sample), finder)
                _store(arrays, file)
            yield tuple(
                Lesson(side == "forged", person, kind, arrays[f"{kind}.{side}"])
                for kind in kinds
                for side in ("real", "forged")
                if f"{kind}.{side}" in arrays
            )


@dataclass(frozen=True)
class StartLearning:
    """Makes, in a worker, the function that takes the lessons of one clip."""

    def __call__(self, room: Room) -> Callable[[tuple[Path, Path, tuple[str, ...], tuple[int, ...]]], Arrays]:
        """Load the face networks. A task is the file it is kept in, the clip, the kinds and the seed."""
        finder = FaceFinder(max_faces=1)
        return lambda task: _learnt(room.fetch(task[1]), task[2], task[3], finder)


def _learn_elsewhere(
    samples: Sequence[tuple[Sample, Path, str]], kinds: Sequence[str], cache: Path, place: Place
) -> None:
    """Take the lessons that are not kept yet, by several workers.

    Raises:
        DetectError: when a clip cannot be learnt from for another reason than what is in it.
    """
    tasks = {
        _file_of(sample, cache): (path.absolute(), missing, _seed_of(sample))
        for sample, path, _ in samples
        if path.suffix.lower() not in PICTURES
        and path.is_file()
        and (missing := _missing(_stored(_file_of(sample, cache)), kinds))
    }
    for outcome in place.run(((file, *rest) for file, rest in tasks.items()), StartLearning()):
        file, path = outcome.task[:2]
        if outcome.result is None and outcome.cause != DIED:
            raise DetectError(f"{path}: no lessons can be taken of it ({outcome.error})")
        _store(_stored(file) | (outcome.result or {"none": np.zeros(1, np.float32)}), file)


def _file_of(sample: Sample, cache: Path) -> Path:
    key = hashlib.sha256(f"{VERSION}:{sample.sha256}:{FLOW_FEATURES}".encode()).hexdigest()[:32]
    return cache / f"{key}.npz"


def _seed_of(sample: Sample) -> tuple[int, ...]:
    return VERSION, int(sample.sha256[:8], 16)


def _stored(file: Path) -> Arrays:
    if not file.is_file():
        return {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DetectError(f"{file}: not readable as lessons ({error}); remove it and go on") from error


def _missing(arrays: Arrays, kinds: Sequence[str]) -> tuple[str, ...]:
    """Kinds that were not learnt; a clip of which none can be learnt says so by `none`."""
    return tuple(kind for kind in kinds if f"{kind}.real" not in arrays and "none" not in arrays)


def _learnt(path: Path, kinds: Sequence[str], seed: tuple[int, ...], finder: FaceFinder) -> Arrays:
    arrays: Arrays = {}
    for kind in kinds:
        rng = np.random.default_rng((*seed, *kind.encode()))
        try:
            moment = moment_of(path, rng, finder)
        except MediaError:
            moment = None
        if moment is None:
            arrays["none"] = np.zeros(1, np.float32)
            break
        arrays[f"{kind}.real"], arrays[f"{kind}.forged"] = twins(moment, kind, rng)
    return arrays


def _store(arrays: Arrays, file: Path) -> None:
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    write_whole(packed.getvalue(), file)
