"""Drive the face model itself, by its own encoder: a latent space is judged apart from whatever drives the product.

    driver = ModelDriver("no_skip", Path("runs/face_256_no_skip/weights"))
    motion = driver.read_video(frames, portrait)         # z_pose and z_dyn of E_mot, pose relative to the portrait
    for frame in driver.fit(portrait, face).draws(motion): ...

So are ablations compared: what was trained without l_consist must show that pose and dynamics leak into each other, and
a decoder without 2-D detail must show that it is softer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.driving import Drawable
from forge.face.appearance import Appearance
from forge.face.model import FaceModel
from forge.face.stored import load_face
from forge.motion.features import POSE, Motion
from forge.portrait import ForgeError
from media.landmarks import FaceObservation

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
TOGETHER = 8
"""Frames in one pass."""


def as_tensor(frames: Sequence[UInt8Array], device: torch.device) -> Tensor:
    """(N, 3, S, S) in [0, 1] of N frames (S, S, 3) uint8."""
    return torch.from_numpy(np.stack(frames)).to(device).permute(0, 3, 1, 2).float() / 255


class ModelDriver:
    """A face model with weights of a folder."""

    def __init__(self, name: str, weights: Path, size: int) -> None:
        """Load; on a GPU when there is one.

        Raises:
            ForgeError: when the weights cannot be loaded or draw another size.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.name, self.model, self.device = name, load_face(weights, device), device
        if self.model.shape.size != size:
            raise ForgeError(f"{weights}: draws {self.model.shape.size} pixels, asked for {size}; pass that --size")
        self.size = size
        self.fingerprint = digest(self.model)

    def fit(self, portrait: UInt8Array, face: FaceObservation) -> Drawable:
        """See the portrait once."""
        with torch.inference_mode():
            image = as_tensor([portrait], self.device)
            pose, dyn = self.model.read_motion(image)
            return _Seen(self.model, self.model.see(image, pose, dyn), pose)

    def read(self, frames: Sequence[UInt8Array]) -> FloatArray:
        """(N, 70) z_pose and z_dyn that E_mot reads, pose absolute."""
        with torch.inference_mode():
            parts = [
                torch.cat(self.model.read_motion(as_tensor(frames[i : i + TOGETHER], self.device)), 1)
                for i in range(0, len(frames), TOGETHER)
            ]
        return np.asarray(torch.cat(parts).float().cpu().numpy(), np.float32)

    def read_video(self, frames: Sequence[UInt8Array], portrait: UInt8Array) -> Motion:
        """The motion of frames, its pose relative to the portrait's."""
        values = self.read(frames)
        values[:, POSE] -= self.read([portrait])[:, POSE]
        return Motion(values, Fraction(25))

    def read_dynamics(self, frames: Sequence[UInt8Array]) -> FloatArray:
        """(N, 64) z_dyn."""
        return self.read(frames)[:, POSE.stop :]


@dataclass(frozen=True, eq=False)
class _Seen:
    model: FaceModel
    appearance: Appearance
    pose_16: Tensor

    def draws(self, motion: Motion) -> Iterator[UInt8Array]:
        """Draw a motion whose pose is relative to the portrait's."""
        values_NM = torch.from_numpy(motion.values).to(self.pose_16.device)
        for part_NM in values_NM.split(TOGETHER):
            with torch.inference_mode():
                pose_N6 = part_NM[:, POSE] + self.pose_16
                image = self.model.draw(self.appearance, pose_N6, part_NM[:, POSE.stop :])
            pixels = (image.float().clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            yield from np.ascontiguousarray(pixels)


def digest(model: FaceModel) -> str:
    """A short fingerprint of a model's weights."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.float().cpu().numpy().tobytes())
    return found.hexdigest()[:16]
