"""The method `vasa`: a portrait that speaks, drawn by the learned face. START HERE when you read the student.

    maker = VasaMaker()
    take = maker.film(portrait, speech, Shot(size=256))
    face = StudentFace.fit(image, size=512, face=observation)     # one portrait
    for frame in face.render(motion): ...                         # (512, 512, 3) uint8

What happens to each frame, and where it is told:
    1. the motion becomes landmarks that read as it asks          student_drive.Driven.posed
    2. geometry draws a first guess: mesh, eyes, mouth            student_prior.Prior.guess
    3. the student decides what to keep, carry, shift and paint   student.Student.forward
    4. the layers become a picture, at 256 or at 512 pixels       student.compose

No randomness: the same portrait and motion give the same bytes on one machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from forge.face.method_model import ModelFace, model_folder
from forge.face.stored import load_face
from forge.face.student import Layers, compose
from forge.face.student_drive import READING_PATH
from forge.face.student_engine import Engine, TorchEngine
from forge.face.student_files import WEIGHTS_PATH, load_student
from forge.face.student_motion import motion_between
from forge.face.student_prior import FirstGuess, Follow, Prior
from forge.methods import Box, Shot, Sitter, Take, largest_face, mesh_fingerprint
from forge.motion.features import Motion
from forge.portrait import ForgeError, Portrait, sha256_of
from media.clip import Waveform
from media.landmarks import FaceObservation

if TYPE_CHECKING:
    from media.faces import FaceFinder

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

CODE_VERSION = 1
"""Raised when the code draws other frames from the same weights."""
SIDE = 256
"""Side of the student's own pictures."""


@dataclass(frozen=True, eq=False)
class StudentFace:
    """One portrait, ready to be animated."""

    prior: Prior
    engine: Engine
    source: FloatArray
    """(1, 3, side, side) the portrait as the student sees it."""
    own: FloatArray
    """(1, 4, side / 2, side / 2) its parts."""
    kept: FloatArray
    """What the student keeps of it."""

    @classmethod
    def fit(
        cls,
        image: UInt8Array,
        size: int = 512,
        *,
        face: FaceObservation,
        engine: Engine | None = None,
        follow: Follow = Follow.SPEECH,
        whole: bool = False,
    ) -> StudentFace:
        """Fit to a face that was found in a picture.

        Args:
            image: (H, W, 3) uint8 RGB.
            size: side of the square frames in pixels.
            face: where the face is.
            engine: what runs the student; by default the weights that ship, in torch.
            follow: what a motion's numbers mean.
            whole: keep a square picture's framing, whatever share the face has.

        Raises:
            ForgeError: when the face is too small to animate.
        """
        engine = engine or TorchEngine(load_student()[0])
        prior = Prior.fit(image, size, face, follow=follow, side=SIDE, whole=whole)
        source, own = planes(shrunk(prior.face.frame)), planes(prior.own_maps())
        return cls(prior, engine, source, own, engine.see(source, own))

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return self.prior.size

    def render(self, motion: Motion) -> Iterator[UInt8Array]:
        """Draw every frame of a motion: (S, S, 3) uint8 RGB each. Geometry works one frame ahead of the student."""
        with ThreadPoolExecutor(1) as ahead:
            waiting = None
            for values in motion.values.astype(np.float64):
                following = ahead.submit(self.prior.guess, values)
                if waiting is not None:
                    yield self.finish(waiting.result())
                waiting = following
            if waiting is not None:
                yield self.finish(waiting.result())

    def draw(self, values: NDArray[np.floating]) -> UInt8Array:
        """Draw one frame of (70,) motion features."""
        return self.finish(self.prior.guess(np.asarray(values, np.float64)))

    def finish(self, guess: FirstGuess) -> UInt8Array:
        """The picture that the student makes of a first guess."""
        inputs = {
            "drawn": planes(shrunk(guess.drawn)),
            "worn": planes(shrunk(guess.worn)),
            "source": self.source,
            "flow": np.ascontiguousarray(guess.flow.transpose(2, 0, 1)[None]),
            "maps": planes(guess.maps),
            "own": self.own,
            "told": guess.told[None],
        }
        layers = Layers(*(torch.from_numpy(value) for value in self.engine.mend(self.kept, inputs)))
        drawn, worn, still = (
            torch.from_numpy(planes(picture)) for picture in (guess.drawn, guess.worn, self.prior.face.frame)
        )
        with torch.inference_mode():
            image = compose(drawn, worn, still, layers)
            flat = (image[0].clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).contiguous()
        return np.asarray(flat.numpy())

    def face_masks(self, motion: Motion) -> Iterator[NDArray[np.bool_]]:
        """(S, S) bool for every frame: the face, forehead to chin."""
        for values in motion.values.astype(np.float64):
            placed = self.prior.place(self.prior.asked(values))[0]
            yield self.prior.face.face_mask(placed[:478, :2].astype(np.float32))


def shrunk(image: UInt8Array) -> UInt8Array:
    """A picture at the student's side."""
    if image.shape[0] == SIDE:
        return image
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def planes(image: UInt8Array) -> FloatArray:
    """(1, C, H, W) float32 in [0, 1] of an (H, W, C) picture."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None]).astype(np.float32) * np.float32(1 / 255)


class VasaMaker:
    """The method `vasa`: motion from speech, drawn by the full model where a GPU runs it, else by the student."""

    def __init__(self, engine: Engine | None = None) -> None:
        """Load the face networks and what draws.

        Args:
            engine: a student to draw with in any case.

        Raises:
            ForgeError: when no weights are installed.
        """
        from media.faces import FaceFinder

        folder = model_folder() if engine is None else None
        self._model = None if folder is None else load_face(folder, "cuda")
        self._engine = engine or (TorchEngine(load_student()[0]) if folder is None else None)
        self._finder: FaceFinder = FaceFinder()

    def find_face(self, image: UInt8Array) -> Box | None:
        """Box of the largest face."""
        return largest_face(self._finder, image)

    def film(self, portrait: Portrait, speech: Waveform, shot: Shot) -> Take:
        """Fit the face to the portrait and draw it in motion."""
        face = self._fitted(portrait, shot.size)
        motion = shot.motion.speak(speech, shot.fps, shot.controls)
        return Take(motion, face.render(motion), lambda: face.face_masks(motion))

    def sit(self, portrait: Portrait, size: int) -> Sitter:
        """Fit the face to the portrait, to be drawn frame by frame."""
        face = self._fitted(portrait, size)
        return face if isinstance(face, StudentFace) else _OneByOne(face)

    def _fitted(self, portrait: Portrait, size: int) -> StudentFace | ModelFace:
        faces = self._finder.find(portrait.image)
        if not faces:
            raise ForgeError(f"{portrait.path}: no face found; give a picture in which one face looks at the camera")
        try:
            if self._model is not None:
                return ModelFace.fit(portrait.image, size, face=faces[0], model=self._model)
            return StudentFace.fit(portrait.image, size, face=faces[0], engine=self._engine)
        except (ForgeError, ValueError) as error:
            raise ForgeError(f"{portrait.path}: {error}") from error

    def close(self) -> None:
        """Free the face networks."""
        self._finder.close()


@dataclass(frozen=True, eq=False)
class _OneByOne:
    """The full model, asked for single frames."""

    face: ModelFace

    def draw(self, values: NDArray[np.float64]) -> UInt8Array:
        """One frame of (70,) motion features."""
        return next(iter(self.face.render(Motion(values[None].astype(np.float32), Fraction(25)))))


def vasa_fingerprint(weights: Path = WEIGHTS_PATH) -> str:
    """Digest of all that the method is made of: weights, reading, rig, speech network, version of the code."""
    folder = model_folder()
    if folder is not None and weights == WEIGHTS_PATH:
        files = [f"model {file.name} {sha256_of(file)}" for file in sorted(folder.iterdir()) if file.is_file()]
        return hashlib.sha256("\n".join([f"code {CODE_VERSION}", *files]).encode()).hexdigest()
    parts = [f"code {CODE_VERSION}", f"student {sha256_of(weights)}", f"reading {sha256_of(READING_PATH)}"]
    return hashlib.sha256("\n".join([*parts, f"mesh {mesh_fingerprint()}"]).encode()).hexdigest()


class Watched(Protocol):
    """What a landmarker saw in N frames: `benchmarks.driving.Watched`."""

    @property
    def landmarks(self) -> FloatArray:
        """(N, 478, 3) pixels."""
        ...

    @property
    def blendshapes(self) -> FloatArray:
        """(N, 51)."""
        ...


class StudentDriver:
    """The student under a measured motion, for `benchmarks.driving`."""

    name = "vasa"

    def __init__(self, size: int, weights: Path) -> None:
        self.size = size
        self.fingerprint = vasa_fingerprint(weights)[:16]
        self._engine = TorchEngine(load_student(weights)[0])

    def fit(self, portrait: UInt8Array, face: FaceObservation) -> _Driven:
        """Fit without cropping: drawn frames must lie on the true ones."""
        fitted = StudentFace.fit(
            portrait, portrait.shape[0], face=face, engine=self._engine, follow=Follow.FACE, whole=True
        )
        return _Driven(fitted)

    def read_motion(self, watched: Watched, reference: FaceObservation) -> Motion:
        """The motion of watched faces about the pivot of the student's own rig."""
        rows = [
            motion_between(reference.landmarks, points, shapes)
            for points, shapes in zip(watched.landmarks, watched.blendshapes, strict=True)
        ]
        return Motion(np.stack(rows), Fraction(25))


@dataclass(frozen=True, eq=False)
class _Driven:
    face: StudentFace

    def draws(self, motion: Motion) -> Iterator[UInt8Array]:
        yield from self.face.render(motion)


def open_driver(size: int = 256, weights: Path | None = None) -> StudentDriver:
    """The method as `benchmarks.driving` wants it.

    Args:
        size: side of portraits and frames in pixels.
        weights: a file of student weights; by default the one that ships.

    Raises:
        ForgeError: when there are no weights.
    """
    return StudentDriver(size, weights or WEIGHTS_PATH)
