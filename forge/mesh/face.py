"""A portrait that moves: fit a rig once, then draw any motion. START HERE when you read `forge.mesh`.

    face = MeshFace.fit(image, size=512)
    for frame in face.render(motion): ...          # (512, 512, 3) uint8, motion.length of them

What happens to each frame, and where it is told:
    1. expression coefficients move the landmarks, lips never cross      fit.Head.posed
    2. the head turns, everything around it follows smoothly             warp.Sheet.placed
    3. the portrait's pixels are fetched through the moved mesh          warp.flow
    4. eyeballs are drawn behind the lids, lids are painted when shut    eyes.draw_eyes
    5. teeth, tongue and shadow are drawn between the lips               mouth.draw_mouth

No network, no randomness: the same portrait and motion give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.mesh.curves import close_over, outline_of, soft_mask
from forge.mesh.eyes import Eye, cut_eyes, draw_eyes
from forge.mesh.fit import LOWER_INNER, UPPER_INNER, Head, fit_head
from forge.mesh.mouth import Mouth, draw_mouth, make_mouth
from forge.mesh.rig import ANCHOR_NAMES
from forge.mesh.warp import RigidPose, Sheet, flow, make_sheet
from forge.motion.features import BLENDSHAPES, INDEX, Motion
from forge.portrait import ForgeError
from media.faces import FaceFinder
from media.landmarks import BLENDSHAPE_NAMES, FACE_OVAL, LEFT_EYE, LIPS_INNER, RIGHT_EYE, FaceObservation

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

FACE_SHARE = (0.34, 0.72)
"""Height of the face (forehead to chin) over the frame: a square picture within this range is used whole."""
WANTED_SHARE = 0.46
"""The share that other pictures are cropped to, as far as they go: head, neck and shoulders."""
MOST_ENLARGED = 3.0
"""Frame pixels per picture pixel: beyond it a small face is rather left small than blown up."""
BLINK_GAIN = 1.15
"""An eye is shut from a blink of 0.87 on: people's blinks are read as less than 1, and yet their lids meet."""
LID_FOLLOWS = 0.014
"""Blink for each degree of a look down."""
ROOM = 0.05
"""Room around the face in the frame, in parts of its height."""
GAZE_SCALE_DEGREES = 30.0
"""Degrees of gaze of one unit in the motion vector."""
SIZES = (64, 2048)
"""Smallest and largest frame side."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is exactly known about rendered frames."""

    landmarks: FloatArray
    """(T, 478, 2) frame pixels."""
    gaze_degrees: FloatArray
    """(T, 2) yaw and pitch of the eyeballs as asked for."""
    mouth_open: FloatArray
    """(T,) gap between the inner lips over the portrait's outer-eye distance."""


@dataclass(frozen=True, eq=False)
class MeshFace:
    """One portrait, ready to be animated."""

    frame: UInt8Array
    """(S, S, 3) the portrait as it is cropped: the frame of a motion that asks for the portrait's own face."""
    crop: tuple[float, float, float]
    """x0, y0 and side, in pixels of the given picture, of the square that became the frame."""
    skin: UInt8Array
    """(S, S, 3) the frame with the openings of mouth and eyes closed over: what the mesh wears."""
    head: Head
    sheet: Sheet
    eyes: tuple[Eye, ...]
    mouth: Mouth

    @classmethod
    def fit(cls, image: UInt8Array, size: int = 512, *, face: FaceObservation | None = None) -> MeshFace:
        """Find the largest face of a picture and fit the rig to it.

        Args:
            image: (H, W, 3) uint8 RGB.
            size: side of the square frames in pixels.
            face: a face that was found before in this picture; by default it is looked for.

        Raises:
            ForgeError: when there is no face, or one too small to animate.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
        if not SIZES[0] <= size <= SIZES[1]:
            raise ValueError(f"size must be {SIZES[0]} to {SIZES[1]} pixels, got {size}")
        if face is None:
            with FaceFinder(max_faces=1) as finder:
                faces = finder.find(image)
            if not faces:
                raise ForgeError("portrait: no face was found; use a picture that shows one face from the front")
            face = faces[0]
        tallest = float(np.linalg.norm(face.landmarks[10, :2] - face.landmarks[152, :2]))
        if tallest < 24:
            raise ForgeError(f"portrait: the face is only {tallest:.0f} pixels high; use a picture with a larger one")
        x0, y0, side = frame_square(face.landmarks, image.shape[1], image.shape[0], size)
        frame = cut_square(image, x0, y0, side, size)
        scale = size / side
        landmarks = face.landmarks.astype(np.float64) * scale
        landmarks[:, :2] -= np.array([x0, y0]) * scale - (scale - 1) / 2
        return cls.from_landmarks(
            frame, landmarks, dict(zip(BLENDSHAPE_NAMES, face.blendshapes.tolist(), strict=True)), (x0, y0, side)
        )

    @classmethod
    def from_landmarks(
        cls,
        frame: UInt8Array,
        landmarks: Array,
        measured: Mapping[str, float],
        crop: tuple[float, float, float] | None = None,
    ) -> MeshFace:
        """Fit to known landmarks (478, 3) of a square (S, S, 3) frame, without looking for a face."""
        size = frame.shape[0]
        head = fit_head(landmarks, measured)
        image = frame.astype(np.float32)
        return cls(
            frame=frame,
            skin=without_openings(image, head),
            crop=(0.0, 0.0, float(size)) if crop is None else crop,
            head=head,
            sheet=make_sheet(head, size),
            eyes=cut_eyes(image, head),
            mouth=make_mouth(image, head),
        )

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return int(self.frame.shape[0])

    def render(self, motion: Motion) -> Iterator[UInt8Array]:
        """Draw every frame of a motion: (S, S, 3) uint8 RGB each."""
        for values in motion.values.astype(np.float64):
            yield self.draw(values)

    def draw(self, values: Array) -> UInt8Array:
        """Draw one frame of (70,) motion features, `forge.motion.features.NAMES`."""
        _, anchors, placed, pose = self._move(values)
        xy = flow(self.sheet, placed)
        frame = np.asarray(
            cv2.remap(self.skin, xy[..., 0], xy[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
            np.uint8,
        )
        draw_eyes(frame, self.eyes, placed, pose, gaze_of(values))
        lower = ANCHOR_NAMES.index("lower_teeth")
        jaw = anchors[lower] - self.head.anchors[lower]
        draw_mouth(frame, self.mouth, placed, jaw, pose, float(values[INDEX["tongueOut"]]))
        return frame

    def truth(self, motion: Motion) -> Truth:
        """Exact landmarks and gaze of the frames that `render` draws."""
        landmarks = np.zeros((motion.length, len(self.head.source), 2), np.float32)
        gaze = np.zeros((motion.length, 2), np.float32)
        for i, values in enumerate(motion.values.astype(np.float64)):
            face, _, pose = self._expressed(values)
            landmarks[i] = pose(face)[:, :2]
            gaze[i] = gaze_of(values)
        gap = np.linalg.norm(landmarks[:, 13] - landmarks[:, 14], axis=-1) / self.head.scale
        return Truth(landmarks, gaze, gap.astype(np.float32))

    def masks(self, landmarks: FloatArray) -> Mapping[str, UInt8Array]:
        """Masks (S, S) uint8, 255 inside, of one frame's landmarks (478, 2) from `truth`: face and mouth opening."""
        mouth = outline_of(landmarks.astype(np.float64), LIPS_INNER)
        return {"face": self._face_mask(landmarks), "mouth": self._filled(mouth)}

    def face_mask(self, landmarks: FloatArray) -> NDArray[np.bool_]:
        """(S, S) bool: the face in one frame's landmarks (478, 2) from `truth`, forehead to chin."""
        return np.asarray(self._face_mask(landmarks) > 127)

    def _face_mask(self, landmarks: FloatArray) -> UInt8Array:
        return self._filled(landmarks[list(FACE_OVAL)].astype(np.float64))

    def _filled(self, outline: Array) -> UInt8Array:
        return np.round(soft_mask(outline, (0, 0, self.size, self.size)) * 255).astype(np.uint8)

    def _move(self, values: Array) -> tuple[Array, Array, Array, RigidPose]:
        """Expressive landmarks and anchors before the head turns, all vertices after it, and the turn."""
        face, anchors, pose = self._expressed(values)
        return face, anchors, self.sheet.placed(face, self.head.rest, pose), pose

    def _expressed(self, values: Array) -> tuple[Array, Array, RigidPose]:
        """Expressive landmarks and anchors before the head turns, and the turn."""
        coefficients = np.clip(values[BLENDSHAPES], 0.0, 1.3)
        # lids follow the eyes: a look down half hides behind them, else the eye would stare
        lids = [INDEX["eyeBlinkLeft"] - BLENDSHAPES.start, INDEX["eyeBlinkRight"] - BLENDSHAPES.start]
        sunk = LID_FOLLOWS * np.clip(-gaze_of(values)[1], 0, 30)
        coefficients[lids] = np.minimum(BLINK_GAIN * coefficients[lids] + sunk, 1.0)
        face, anchors = self.head.posed(coefficients)
        return face, anchors, RigidPose.at(self.sheet.pivot, self.head.scale, values[:6])


def without_openings(image: FloatArray, head: Head) -> UInt8Array:
    """(S, S, 3) the portrait with its eyes and mouth closed over."""
    out = image.copy()
    for ring, is_open in zip((RIGHT_EYE, LEFT_EYE), head.eyes_open, strict=True):
        if is_open:
            close_over(out, outline_of(head.source, ring), 0.4 * head.scale, shade=0.75)
    gap = (head.source[list(LOWER_INNER)] - head.source[list(UPPER_INNER)]) @ head.turn[:, 1]
    if gap.max() > 0.015 * head.scale:  # else the lips are shut and have their own line
        close_over(out, outline_of(head.source, LIPS_INNER), 0.5 * head.scale, shade=0.55)
    return np.asarray(np.clip(out + 0.5, 0, 255), np.uint8)


def gaze_of(values: Array) -> Array:
    """(2,) degrees of gaze of (70,) motion features."""
    return np.asarray(values[[INDEX["gaze_yaw"], INDEX["gaze_pitch"]]] * GAZE_SCALE_DEGREES)


def frame_square(landmarks: FloatArray, width: int, height: int, size: int) -> tuple[int, int, int]:
    """x0, y0 and side of the square of a picture that becomes the frame.

    A square picture whose face fills a usual share is kept whole. Else the crop is drawn around the face, within the
    picture, and never so small that it would be enlarged more than `MOST_ENLARGED` times. Only where the face itself
    reaches to the picture's border does the square reach beyond it: a head needs room to move in.
    """
    top, chin = landmarks[10, :2], landmarks[152, :2]
    tall = float(np.linalg.norm(chin - top))
    shorter = min(width, height)
    if abs(width - height) <= 0.02 * shorter and FACE_SHARE[0] <= tall / shorter <= FACE_SHARE[1]:
        side, x0, y0 = shorter, (width - shorter) // 2, (height - shorter) // 2
    else:
        side = round(min(shorter, max(tall / WANTED_SHARE, size / MOST_ENLARGED)))
        middle = landmarks[:468, :2].mean(axis=0)
        x0 = round(float(np.clip(middle[0] - side / 2, 0, width - side)))
        y0 = round(float(np.clip(middle[1] - 0.47 * side, 0, height - side)))
    low = np.floor(landmarks[:468, :2].min(axis=0) - ROOM * tall).astype(int)
    high = np.ceil(landmarks[:468, :2].max(axis=0) + ROOM * tall).astype(int)
    side = max(side, *(int(length) for length in high - low))
    x0 = min(max(x0, int(high[0]) - side), int(low[0]))
    y0 = min(max(y0, int(high[1]) - side), int(low[1]))
    return x0, y0, side


def cut_square(image: UInt8Array, x0: int, y0: int, side: int, size: int) -> UInt8Array:
    """A square of a picture resized to (size, size, 3); beyond the picture its border goes on, out of focus."""
    height, width = image.shape[:2]
    left, top = max(0, -x0), max(0, -y0)
    right, bottom = max(0, x0 + side - width), max(0, y0 + side - height)
    if left or top or right or bottom:
        image = beyond_border(image, (top, bottom, left, right))
    square = image[y0 + top : y0 + top + side, x0 + left : x0 + left + side]
    if side == size:
        return square.copy()
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (size, size), interpolation=how), np.uint8)


def beyond_border(image: UInt8Array, margins: tuple[int, int, int, int]) -> UInt8Array:
    """A picture continued by some pixels at its top, bottom, left and right."""
    wide = np.asarray(cv2.copyMakeBorder(image, *margins, cv2.BORDER_REPLICATE), np.float32)
    known = np.asarray(cv2.copyMakeBorder(np.ones(image.shape[:2], np.float32), *margins, cv2.BORDER_CONSTANT))
    reach = 0.25 * max(margins) + 1
    soft = cv2.GaussianBlur(wide, (0, 0), reach, borderType=cv2.BORDER_REPLICATE)
    keep = np.clip(2 * cv2.GaussianBlur(known, (0, 0), 0.3 * reach) - 1, 0, 1)[..., None] * known[..., None]
    return np.asarray(np.clip(wide * keep + soft * (1 - keep) + 0.5, 0, 255), np.uint8)
