"""The studio itself as a method: what a perfect face would draw, for any portrait of a rendered person and any motion.

    truth = TruthDriver(takes)                              # takes: path -> Footage, of held-out people
    motion = truth.read_video(frames, portrait)             # the rig's own, looked up
    true_frames = list(truth.fit(other_portrait, face).draws(motion))

With it somebody else's motion has true frames too, and the swap matrix has a row that shows what the judges read off
perfect swaps: the landmarker's reading of an expression depends a little on whose face it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.driving import Drawable
from forge.motion.features import POSE, Motion
from forge.portrait import ForgeError
from forge.studio.footage import load_footage
from forge.studio.studio import Studio
from media.landmarks import FaceObservation

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Take:
    """What is needed of one person's footage to film them again."""

    path: Path
    person: int
    seed: int
    frames: tuple[UInt8Array, ...]
    """(S, S, 3) each."""
    motion: FloatArray
    """(F, 70) in rig units, pose absolute."""


def load_take(path: Path) -> Take:
    """Read a take of a held-out person.

    Raises:
        ForgeError: when the file is no take, or its person may have been seen in training.
    """
    footage = load_footage(path)
    if not footage.held_out:
        raise ForgeError(f"{path}: person {footage.identity} is not held out; film others with --held-out")
    frames = np.ascontiguousarray(footage.image_F3HW.permute(0, 2, 3, 1).numpy())
    motion = footage.motion_FM.numpy().astype(np.float32)
    return Take(path, footage.identity, footage.seed, tuple(frames), motion)


class TruthDriver:
    """Films rendered people again, in their own scene."""

    name = "truth, studio"
    fingerprint = "studio"

    def __init__(self, takes: Sequence[Take]) -> None:
        """Know the frames of some takes by their bytes.

        Raises:
            ForgeError: for no takes.
        """
        if not takes:
            raise ForgeError("the studio's truth needs at least one take")
        self.size = takes[0].frames[0].shape[0]
        self._studio = Studio(self.size)
        self._known: Mapping[str, tuple[Take, int]] = {
            digest(frame): (take, i) for take in takes for i, frame in enumerate(take.frames)
        }

    def truth_of(self, frame: UInt8Array) -> tuple[Take, FloatArray]:
        """The take that a frame is of, and its (70,) motion.

        Raises:
            ForgeError: for a frame of none of the takes.
        """
        key = digest(frame)
        if key not in self._known:
            raise ForgeError("the studio's truth is known of the takes' own frames only, at their own size")
        take, index = self._known[key]
        return take, take.motion[index]

    def read_video(self, frames: Sequence[UInt8Array], portrait: UInt8Array) -> Motion:
        """The truth of frames, pose relative to the portrait's."""
        values = np.stack([self.truth_of(frame)[1] for frame in frames])
        values[:, POSE] -= self.truth_of(portrait)[1][POSE]
        return Motion(values.astype(np.float32), Fraction(25))

    def fit(self, portrait: UInt8Array, face: FaceObservation) -> Drawable:
        """Know whose portrait it is."""
        take, own = self.truth_of(portrait)
        return _Filmed(self._studio, take, own)


@dataclass(frozen=True, eq=False)
class _Filmed:
    studio: Studio
    take: Take
    own: FloatArray

    def draws(self, motion: Motion) -> Iterator[UInt8Array]:
        values = motion.values.copy()
        values[:, POSE] += self.own[POSE]
        footage = self.studio.shoot(self.take.person, len(values), self.take.seed, motion_FM=values)
        yield from np.ascontiguousarray(footage.image_F3HW.permute(0, 2, 3, 1).cpu().numpy())


def digest(frame: UInt8Array) -> str:
    """A picture's name by its bytes."""
    return hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()
