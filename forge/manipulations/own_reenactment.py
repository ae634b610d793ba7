"""Maker `own_reenactment`: the clip's own first good frame, animated by a method to the clip's own sound.

Nothing but the motion differs from the real twin: same person, light, background, crop and voice. What a method is
given is cut as methods like portraits (`mesh.face.frame_square`) and put back where it was, so the framing is the
recording's, too. Masks are of the face, as those of methods are; around it the first good frame stands and moves along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.manipulations.scene import BoolArray, Cast, Forgery, Scene
from forge.manipulations.sounds import fitted
from forge.mesh.face import cut_square, frame_square
from forge.motion.controls import Controls
from forge.portrait import Declaration, ForgeError, Portrait
from media.clip import Waveform
from media.landmarks import BLENDSHAPE_INDEX, FaceObservation, head_angles, lip_aperture

if TYPE_CHECKING:
    from forge.methods import Maker

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

VERSION = 2
"""Raised when the same scene and chance would give other pixels."""
GROWN = 0.04
"""A square that is cut out is that much larger than it must be: the method, which finds the face for itself, then
keeps it whole."""
RAMP = 0.05
"""Width of the border in which a square fades into the still frame around it, in parts of its side."""
SILENCE_HZ = 16_000


class OwnReenactment:
    """The maker, with a loaded method."""

    def __init__(self, name: str, open_method: Callable[[], Maker]) -> None:
        """Load the method.

        Args:
            name: of the method.
            open_method: `forge.methods.Method.open`.
        """
        self._name, self._maker = name, open_method()

    def forge(self, scene: Scene, cast: Cast, rng: np.random.Generator) -> Forgery:
        """Animate the first good frame.

        Raises:
            ForgeError: when no face is seen, or the method cannot animate it.
        """
        from forge.methods import Shot

        index = first_good(scene)
        still, face = scene.frame(index), scene.faces[index]
        assert face is not None, "a good frame shows a face"
        framing = Framing.of(face, scene.size)
        image = cut_square(still, framing.x0, framing.y0, framing.side, framing.filmed)
        portrait = Portrait(
            image,
            Path("own-frame"),
            hashlib.sha256(image.tobytes()).hexdigest(),
            Declaration.consent("as declared for the recording that this frame was taken from"),
            "own",
        )
        sound = scene.sound or Waveform(np.zeros((1, 1), np.float32), SILENCE_HZ)
        shot = Shot(framing.filmed, scene.fps, Controls(seed=int(rng.integers(2**31))))
        take = self._maker.film(portrait, fitted(sound.mono(), scene.length, scene.fps), shot)
        masks = take.masks

        def placed_masks() -> Iterator[BoolArray]:
            assert masks is not None
            return (framing.mask(mask) for mask in masks())

        return Forgery(
            counted(_placed(take.frames, still, framing), scene.length),
            scene.sound,
            None if masks is None else placed_masks,
            (scene.segment(0, scene.length, "picture"),),
            motion=take.motion,
            facts={"forged": "picture", "method": self._name, "portrait_frame": index},
            follows_recording=False,
        )

    def close(self) -> None:
        """Free the method."""
        self._maker.close()


@dataclass(frozen=True)
class Framing:
    """The square of a clip's frame that a method is given; it may reach beyond the frame."""

    x0: int
    y0: int
    side: int
    size: int
    """Of the clip's frame."""
    filmed: int
    """Pixels a side at which the method films it."""

    @classmethod
    def of(cls, face: FaceObservation, size: int) -> Framing:
        """The whole frame where the face in it has an ordinary share and place, else a square around the face."""
        filmed = 256 if size <= 256 else 512
        x0, y0, side = frame_square(face.landmarks, size, size, filmed)
        if (x0, y0, side) != (0, 0, size):
            grown = round(GROWN * side)
            x0, y0, side = x0 - grown, y0 - grown, side + 2 * grown
        return cls(x0, y0, side, size, filmed)

    @property
    def whole(self) -> bool:
        """Whether the square is the frame."""
        return (self.x0, self.y0, self.side) == (0, 0, self.size)

    def put(self, still: UInt8Array, image: UInt8Array) -> UInt8Array:
        """(size, size, 3) a filmed picture back in its place, the still frame around it."""
        part = _resized(image, self.side)
        if self.whole:
            return np.array(part, np.uint8)
        inside, there = self._overlap()
        weight = self._ramp()[inside][..., None]
        out = still.copy()
        under = still[there].astype(np.float32)
        out[there] = np.clip(np.rint(under + weight * (part[inside] - under)), 0, 255).astype(np.uint8)
        return out

    def mask(self, mask: BoolArray) -> BoolArray:
        """(size, size) a mask of the filmed picture back in its place."""
        part = _resized(mask.astype(np.uint8) * np.uint8(255), self.side) > 127
        inside, there = self._overlap()
        out = np.zeros((self.size, self.size), bool)
        out[there] = part[inside]
        return out

    def _overlap(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Rows and columns of the square that lie in the frame, and where they lie there."""
        left, top = max(0, -self.x0), max(0, -self.y0)
        right, bottom = min(self.side, self.size - self.x0), min(self.side, self.size - self.y0)
        there = slice(self.y0 + top, self.y0 + bottom), slice(self.x0 + left, self.x0 + right)
        return (slice(top, bottom), slice(left, right)), there

    def _ramp(self) -> FloatArray:
        """(side, side) 1 inside, falling to 0 at those edges that lie within the frame."""
        at = np.arange(self.side) + 0.5
        ramp = RAMP * self.side
        weights = []
        for first in (self.y0, self.x0):
            low = at / ramp if first > 0 else np.ones(self.side)
            high = (self.side - at) / ramp if first + self.side < self.size else np.ones(self.side)
            weights.append(np.clip(np.minimum(low, high), 0, 1))
        return np.asarray(weights[0][:, None] * weights[1][None], np.float32)


def first_good(scene: Scene) -> int:
    """Number of the first frame that makes a portrait: eyes open, lips nearly closed, face to the camera.

    Where there is none, the frame that comes nearest.

    Raises:
        ForgeError: when the face is never seen.
    """
    best, least = -1, float("inf")
    for index, face in enumerate(scene.faces):
        if face is None:
            continue
        badness = _badness(face)
        if badness <= 1:
            return index
        if badness < least:
            best, least = index, badness
    if best < 0:
        raise ForgeError("no face was found in the clip; choose another recording")
    return best


def _badness(face: FaceObservation) -> float:
    """Up to 1 for a good portrait: the worst of blink, open lips and turned head, each over what is still good."""
    yaw, pitch, _ = head_angles(face.pose)
    blink = max(face.blendshapes[BLENDSHAPE_INDEX[name]] for name in ("eyeBlinkLeft", "eyeBlinkRight"))
    return float(max(blink / 0.4, lip_aperture(face.landmarks) / 0.1, abs(yaw) / 25, abs(pitch) / 22))


def _placed(frames: Iterable[UInt8Array], still: UInt8Array, framing: Framing) -> Iterator[UInt8Array]:
    for image in frames:
        yield framing.put(still, image)


def counted(frames: Iterator[UInt8Array], wanted: int) -> Iterator[UInt8Array]:
    """The frames, which must be as many as the clip has.

    Raises:
        ForgeError: for fewer or more.
    """
    count = 0
    for count, image in enumerate(frames, 1):  # noqa: B007 -- counts what was yielded
        yield image
    if count != wanted:
        raise ForgeError(f"the method made {count} frames where the clip has {wanted}")


def _resized(image: UInt8Array, side: int) -> UInt8Array:
    if image.shape[0] == side:
        return image
    how = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)
