"""What geometry alone makes of a portrait in motion: the student's first guess at every frame.

    prior = Prior.fit(image, size=256)
    guess = prior.guess(values)          # drawn, worn, where from, which parts where, and what the frame is told

Reuses the sheet, the eyes and the mouth of `forge.mesh`; landmarks come from `student_drive`. A motion is understood in
one of two ways. `Follow.FACE`: values as the landmarker reads them off a face (self-driven evaluation, training); a
motion that asks for the portrait's own reading changes nothing. `Follow.SPEECH`: values as `forge.motion.speech` makes
them, where 0 is the portrait at rest with its mouth closed and its eyes on the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.face.student import MAPS, TOLD
from forge.face.student_drive import ACTIONS, PAIRS, Driven, drive
from forge.face.student_motion import MEASURED, MEASURED_NAMES
from forge.mesh.eyes import Eye, draw_eyes
from forge.mesh.face import MeshFace, gaze_of
from forge.mesh.fit import REMOVED
from forge.mesh.mouth import draw_mouth
from forge.mesh.warp import RigidPose, flow
from forge.motion.features import INDEX
from media.landmarks import BLENDSHAPE_NAMES, FACE_OVAL, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE, FaceObservation

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

GAZE = [INDEX["gaze_yaw"], INDEX["gaze_pitch"]]
POSE_UNITS = np.array([15.0, 15.0, 15.0, 0.3, 0.3, 0.15])
"""What one unit of each pose number is, as the student is told it."""
RINGS = ((FACE_OVAL,), (LIPS_OUTER,), (LIPS_INNER,), (RIGHT_EYE, LEFT_EYE))
assert len(RINGS) == MAPS


class Follow(StrEnum):
    """What a motion's numbers mean."""

    FACE = "face"
    SPEECH = "speech"


@dataclass(frozen=True, eq=False)
class FirstGuess:
    """One frame as geometry draws it; S the frame's side, s half and q a quarter of the student's side."""

    drawn: UInt8Array
    """(S, S, 3)."""
    worn: UInt8Array
    """(S, S, 3)."""
    flow: FloatArray
    """(q, q, 2) how far away each pixel's colour was fetched, in sides of the picture."""
    maps: UInt8Array
    """(s, s, 4) face, lips, mouth and eyes, 255 inside."""
    told: FloatArray
    """(113,)."""
    landmarks: FloatArray
    """(478, 2) frame pixels."""


@dataclass(frozen=True, eq=False)
class Prior:
    """A portrait that geometry can move."""

    face: MeshFace
    driven: Driven
    read: Array
    """(51,) what the landmarker reads in the portrait."""
    rest: Array
    """(51,) what it would read in the portrait at rest: the base of `Follow.SPEECH`."""
    follow: Follow
    side: int
    """The student's side in pixels."""

    @classmethod
    def fit(
        cls,
        image: UInt8Array,
        size: int,
        face: FaceObservation,
        *,
        follow: Follow = Follow.FACE,
        side: int = 256,
        whole: bool = False,
    ) -> Prior:
        """Fit to a face that was found in an (H, W, 3) picture; frames are (size, size, 3).

        Args:
            image: uint8 RGB.
            size: side of the frames in pixels.
            face: where the face is.
            follow: what a motion's numbers mean.
            side: the student's side in pixels.
            whole: take the picture, which must be (size, size, 3), as it is framed.

        Raises:
            ForgeError: when the face is too small to animate.
        """
        mesh = framed(image, size, face) if whole else MeshFace.fit(image, size, face=face)
        read = face.blendshapes.astype(np.float64)
        kept = np.array([1.0 - REMOVED.get(name, 0.0) for name in MEASURED_NAMES])
        if follow is Follow.FACE:
            return cls(mesh, drive(mesh.head, face.blendshapes), read, read, follow, side)
        relaxed = replace(mesh.head, source=mesh.head.rest)
        rest = read * kept
        return cls(mesh, drive(relaxed, rest.astype(np.float32)), read, rest, follow, side)

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return self.face.size

    def asked(self, values: Array) -> Array:
        """The (70,) motion in the landmarker's absolute units for this portrait."""
        if self.follow is Follow.FACE:
            return values
        out = values.copy()
        told = np.clip(values[MEASURED], 0.0, 1.0)
        # a portrait whose lids rest at 0.2 is shut at 1, not at 1.2
        out[MEASURED] = self.rest + told * (1.0 - self.rest)
        return out

    def place(self, values: Array) -> tuple[Array, Array, RigidPose, Array]:
        """All vertices, the shift of the lower teeth, the head's turn, and the (2,) gaze in degrees; (70,) `asked`."""
        driven = self.driven
        points, jaw = driven.posed(values)
        pose = driven.pose(values)
        placed = self.face.sheet.placed(points, driven.head.source, pose)
        if self.follow is Follow.SPEECH:
            return placed, jaw, pose, gaze_of(values)
        shift = driven.coefficients(values)[ACTIONS + PAIRS :].reshape(2, 2).mean(axis=0) * driven.head.scale
        reach = float(np.mean([eye.reach for eye in self.face.eyes])) if self.face.eyes else 1.0
        turned = np.degrees(np.arcsin(np.clip(shift / reach, -0.7, 0.7)))
        return placed, jaw, pose, np.array([turned[0], -turned[1]])

    def eyes(self) -> tuple[Eye, ...]:
        """The eyes as they are to be drawn: a read gaze is relative to the picture's own."""
        if self.follow is Follow.SPEECH:
            return self.face.eyes
        return tuple(replace(eye, look=np.zeros(2)) for eye in self.face.eyes)

    def guess(self, values: Array) -> FirstGuess:
        """The first guess at the frame of (70,) motion features."""
        wanted = self.asked(np.asarray(values, np.float64))
        placed, jaw, pose, gaze = self.place(wanted)
        where = flow(self.face.sheet, placed)
        drawn = fetched(self.face.skin, where)
        draw_eyes(drawn, self.eyes(), placed, pose, gaze)
        draw_mouth(drawn, self.face.mouth, placed, jaw, pose, float(values[INDEX["tongueOut"]]))
        return FirstGuess(
            drawn,
            fetched(self.face.frame, where),
            distance(where, self.side // 4),
            part_maps(placed, self.size, self.side // 2),
            self.told(wanted),
            placed[:478, :2].astype(np.float32),
        )

    def own_maps(self) -> UInt8Array:
        """(s, s, 4) the parts of the portrait itself."""
        return part_maps(self.face.head.source, self.size, self.side // 2)

    def told(self, wanted: Array) -> FloatArray:
        """(113,) the numbers that the student is told of a frame."""
        parts = [wanted[:6] / POSE_UNITS, wanted[6:58], wanted[GAZE], self.read, self.driven.degrees / POSE_UNITS[0]]
        told = np.concatenate(parts).astype(np.float32)
        assert told.shape == (TOLD,)
        return np.clip(told, -3.0, 3.0)


def framed(image: UInt8Array, size: int, face: FaceObservation) -> MeshFace:
    """Fit to a square picture as it is framed."""
    if image.shape != (size, size, 3):
        raise ValueError(f"image must be ({size}, {size}, 3) to be taken whole, got {image.shape}")
    measured = dict(zip(BLENDSHAPE_NAMES, face.blendshapes.tolist(), strict=True))
    return MeshFace.from_landmarks(image, face.landmarks.astype(np.float64), measured)


def fetched(image: UInt8Array, where: FloatArray) -> UInt8Array:
    """(S, S, 3) an image through a map of source pixels."""
    return np.asarray(
        cv2.remap(image, where[..., 0], where[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def distance(where: FloatArray, side: int) -> FloatArray:
    """(side, side, 2) how far each pixel fetches its colour from, in sides of the picture."""
    size = where.shape[0]
    small = np.asarray(cv2.resize(where, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    ticks = ((np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(size / side)) - np.float32(0.5)
    small[..., 0] -= ticks[None, :]
    small[..., 1] -= ticks[:, None]
    return small / np.float32(size)


def part_maps(points: Array, size: int, side: int) -> UInt8Array:
    """(side, side, 4) masks of face, lips, mouth opening and eye openings for (478, 2 or 3) points of a frame."""
    at = (np.asarray(points, np.float64)[:478, :2] + 0.5) * (side / size) - 0.5
    fixed = np.round(at * 16).astype(np.int32)
    out = np.zeros((side, side, MAPS), np.uint8)
    for k, rings in enumerate(RINGS):
        layer = np.zeros((side, side), np.uint8)
        for ring in rings:
            cv2.fillPoly(layer, [fixed[list(ring)]], 255, cv2.LINE_AA, 4)
        out[..., k] = layer
    return out
