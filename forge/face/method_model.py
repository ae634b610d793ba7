"""The full face model as a method draws with it: on a CUDA GPU, where its weights are installed.

    folder = model_folder()                                   # None without weights or without a GPU
    face = ModelFace.fit(image, size=512, face=observation, model=load_face(folder, "cuda"))
    for frame in face.render(motion): ...                     # (512, 512, 3) uint8

The portrait's own z_pose and z_dyn are read by E_mot; a motion from speech is laid on top, as in `student_prior`.
Axes: B frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.checkpoint import INDEX
from forge.face.appearance import Appearance
from forge.face.model import FaceModel
from forge.mesh.face import MeshFace
from forge.mesh.fit import REMOVED
from forge.motion.features import BLENDSHAPE_NAMES, POSE, Z_DYN, Motion
from media.landmarks import FaceObservation

UInt8Array = NDArray[np.uint8]

WEIGHTS = Path(__file__).with_name("weights")
FOLDERS = ("face_512", "face_256")
"""Where trained weights are looked for beside the package, best first."""
AT_ONCE = 8
"""Frames that are drawn together."""
COEFFICIENTS = len(BLENDSHAPE_NAMES)


def model_folder(weights: Path = WEIGHTS) -> Path | None:
    """The weights of the full model, where they are installed and a GPU can run them in real time."""
    if not torch.cuda.is_available():
        return None
    return next((weights / name for name in FOLDERS if (weights / name / INDEX).is_file()), None)


@dataclass(frozen=True, eq=False)
class ModelFace:
    """One portrait, ready to be animated."""

    model: FaceModel
    appearance: Appearance
    pose_6: Tensor
    """z_pose of the portrait."""
    rest_64: Tensor
    """z_dyn of the portrait at rest."""
    mesh: MeshFace
    """The same portrait under the rig: its framing and its masks."""

    @classmethod
    @torch.no_grad()
    def fit(cls, image: UInt8Array, size: int, *, face: FaceObservation, model: FaceModel) -> ModelFace:
        """Fit to a face that was found in an (H, W, 3) picture; frames are (size, size, 3).

        Raises:
            ForgeError: when the face is too small to animate.
        """
        mesh = MeshFace.fit(image, size, face=face)
        side = model.shape.size
        how = cv2.INTER_AREA if size > side else cv2.INTER_CUBIC
        frame = mesh.frame if size == side else cv2.resize(mesh.frame, (side, side), interpolation=how)
        device = next(model.parameters()).device
        image_13HW = torch.from_numpy(np.ascontiguousarray(frame)).to(device).permute(2, 0, 1)[None].float() / 255
        pose_16, dyn_164 = model.read_motion(image_13HW)
        kept = torch.ones(Z_DYN.stop - Z_DYN.start, device=device)
        for name, share in REMOVED.items():
            kept[BLENDSHAPE_NAMES.index(name)] = 1.0 - share
        kept[COEFFICIENTS : COEFFICIENTS + 2] = 0.0  # the eyes look where the motion says
        return cls(model, model.see(image_13HW, pose_16, dyn_164), pose_16[0], dyn_164[0] * kept, mesh)

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return self.mesh.size

    def asked(self, motion: Motion) -> tuple[Tensor, Tensor]:
        """z_pose (T, 6) and z_dyn (T, 64) of a motion from speech: a portrait that rests at 0.2 is shut at 1."""
        values = torch.from_numpy(motion.values).to(self.pose_6.device)
        told = values[:, Z_DYN]
        dyn = self.rest_64 + told
        shape = self.rest_64[:COEFFICIENTS].clamp(0, 1)
        dyn[:, :COEFFICIENTS] = shape + told[:, :COEFFICIENTS].clamp(0, 1) * (1 - shape)
        return self.pose_6 + values[:, POSE], dyn

    @torch.no_grad()
    def render(self, motion: Motion) -> Iterator[UInt8Array]:
        """Draw every frame of a motion: (S, S, 3) uint8 RGB each."""
        pose_T6, dyn_T64 = self.asked(motion)
        for at in range(0, motion.length, AT_ONCE):
            image_B3HW = self.model.draw(self.appearance, pose_T6[at : at + AT_ONCE], dyn_T64[at : at + AT_ONCE])
            frames = (image_B3HW.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            for frame in frames:
                if frame.shape[0] != self.size:
                    frame = cv2.resize(frame, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
                yield np.asarray(frame, np.uint8)

    def face_masks(self, motion: Motion) -> Iterator[NDArray[np.bool_]]:
        """(S, S) bool for every frame: the face, forehead to chin, where the rig says it is."""
        for landmarks in self.mesh.truth(motion).landmarks:
            yield self.mesh.face_mask(landmarks)
