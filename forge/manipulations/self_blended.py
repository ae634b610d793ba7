"""Maker `self_blended`: the face pasted onto a slightly changed copy of itself, steadily through a whole clip.

Self-blended images (Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022) made into video:
what is drawn by lot there for each picture is drawn here once a clip and then only drifts, and everything is fixed to
the face and not to the frame. So the border and the mismatch of a face swap are left, and no flicker.

How a frame is made:
    1. the mask: a hull of landmarks in the face's own upright square, bent by a fixed field, feathered unevenly
    2. the copy: shifted, turned, grown and bent a little about the middle of the face
    3. its look: other colours, another sharpness
    4. the copy over the frame by the mask: outside of it every pixel is the recording's
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.manipulations.blending import Patch, blurred, mixed
from forge.manipulations.scene import BoolArray, Cast, Drawn, Forgery, Scene
from forge.manipulations.steady import Steady, drifting
from media.landmarks import FACE_OVAL, align_matrix

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
Rng = np.random.Generator

VERSION = 1
"""Raised when the same scene and chance would give other pixels."""
CANVAS = 160
"""Pixels a side of the face's own square, in which masks and bends are made."""
CANVAS_MARGIN = 0.3
"""Room around brows to chin in that square, `media.landmarks.align_matrix`."""
REGIONS: dict[str, tuple[int, ...]] = {
    "face": FACE_OVAL,
    "inner": (70, 105, 107, 336, 334, 300, 356, 454, 361, 365, 378, 152, 149, 136, 132, 234, 127),
    "features": (70, 105, 107, 336, 334, 300, 264, 280, 425, 432, 406, 17, 182, 212, 205, 50, 34),
    "lower": (116, 117, 118, 101, 197, 330, 347, 346, 345, 323, 361, 397, 379, 400, 152, 176, 150, 172, 132, 93),
    "upper": (54, 67, 10, 297, 284, 389, 454, 280, 275, 2, 45, 50, 234, 162),
}
"""Landmarks whose hull is blended: the whole face, without the forehead, its features, mouth and cheeks, eyes."""
REGION_SHARES = (0.3, 0.25, 0.2, 0.15, 0.1)
RATIOS = (0.6, 0.8, 1.0, 1.0, 1.0)
"""Opacity of the copy where the mask is full."""
BEND_CELLS = 7
"""Nodes a side of a bending field over the face's square."""


@dataclass(frozen=True, eq=False)
class Look:
    """How the copy differs in colour and sharpness, (T, ...) each."""

    gain_T3: Array
    shift_T3: Array
    saturation_T: Array
    sharpness_T: Array
    """Below 0 the sigma of a blur in pixels of the square, above 0 the strength of an unsharp mask."""

    @classmethod
    def draw(cls, rng: Rng, seconds_T: Array) -> Look:
        """A look that can be seen side by side, but hardly when it is alone."""
        far = rng.uniform(0.35, 1.0)
        gain = [1 + far * drifting(rng, -0.09, 0.09, seconds_T) for _ in range(3)]
        shift = [far * drifting(rng, -9.0, 9.0, seconds_T) for _ in range(3)]
        saturation = 1 + far * drifting(rng, -0.25, 0.25, seconds_T)
        low, high = [(-1.6, -0.5), (0.25, 0.9), (-0.4, 0.1)][int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
        sharpness = drifting(rng, low, high, seconds_T)
        return cls(np.stack(gain, axis=1), np.stack(shift, axis=1), saturation, sharpness)

    def apply(self, image: FloatArray, index: int, pixel: float) -> FloatArray:
        """The look of a frame put on a picture; `pixel` frame pixels are one of the face's square."""
        mean = image.mean(axis=-1, keepdims=True)
        out = mean + (image - mean) * np.float32(self.saturation_T[index])
        out = (out - 128) * self.gain_T3[index].astype(np.float32) + (128 + self.shift_T3[index]).astype(np.float32)
        amount = float(self.sharpness_T[index])
        if amount < 0:
            return blurred(out, max(-amount * pixel, 0.3))
        return np.asarray(out + np.float32(amount) * (out - blurred(out, 1.2 * pixel)), np.float32)


@dataclass(frozen=True, eq=False)
class Move:
    """How the copy is moved, in parts of the face's height."""

    shift_T2: Array
    turn_T: Array
    """Radians."""
    growth_T: Array
    bend_CC2: FloatArray
    """Displacement at the nodes of the face's square."""

    @classmethod
    def draw(cls, rng: Rng, seconds_T: Array) -> Move:
        """A move of a few pixels."""
        far = rng.uniform(0.3, 1.0)
        shift = far * np.stack([drifting(rng, -0.025, 0.025, seconds_T) for _ in range(2)], axis=1)
        turn = far * np.radians(drifting(rng, -2.5, 2.5, seconds_T))
        growth = 1 + far * drifting(rng, -0.04, 0.04, seconds_T)
        bend = rng.uniform(-1, 1, (BEND_CELLS, BEND_CELLS, 2)) * (far * 0.012)
        return cls(shift, turn, growth, bend.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Shape:
    """The mask in the face's own square."""

    region: str
    bend: FloatArray
    """(CANVAS, CANVAS, 2) displacement of the hull, pixels of the square."""
    first: float
    second: float
    """Sigmas of the two blurs, pixels of the square."""
    threshold: float
    """Between the blurs the weights below are cut off: it makes borders of different width on different sides."""
    ratio: float

    @classmethod
    def draw(cls, rng: Rng) -> Shape:
        """Any region, any border."""
        region = str(rng.choice(list(REGIONS), p=REGION_SHARES))
        nodes = rng.uniform(-1, 1, (BEND_CELLS, BEND_CELLS, 2)).astype(np.float32) * np.float32(0.035 * CANVAS)
        bend = np.asarray(cv2.resize(nodes, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC), np.float32)
        first, second = (float(np.exp(rng.uniform(np.log(0.008), np.log(0.06)))) * CANVAS for _ in range(2))
        return cls(region, bend, first, second, float(rng.uniform(0.2, 0.6)), float(rng.choice(RATIOS)))

    def weights(self, points_K2: Array) -> FloatArray:
        """(CANVAS, CANVAS) weights of landmarks given in the square."""
        hull = cv2.convexHull(points_K2[list(REGIONS[self.region])].astype(np.float32))[:, 0]
        mask = np.zeros((CANVAS, CANVAS), np.float32)
        cv2.fillConvexPoly(mask, np.round(hull * 16).astype(np.int32), 1.0, cv2.LINE_AA, 4)
        y, x = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
        mask = np.asarray(cv2.remap(mask, x + self.bend[..., 0], y + self.bend[..., 1], cv2.INTER_LINEAR), np.float32)
        soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), self.first), np.float32)
        # a soft cut-off: a hard one would make the border jump by a pixel from frame to frame
        cut = np.asarray(np.clip((soft - self.threshold) / 0.08 + 0.5, 0, 1) * soft, np.float32)
        out = np.asarray(cv2.GaussianBlur(cut, (0, 0), self.second), np.float32)
        return np.asarray(out * np.float32(self.ratio / max(float(out.max()), 1e-6)), np.float32)


class SelfBlended:
    """The maker; it loads nothing."""

    def forge(self, scene: Scene, cast: Cast, rng: Rng) -> Forgery:
        """Blend a face with itself.

        Raises:
            ForgeError: when no face, or only a tiny one, is seen.
        """
        track = Steady.of(scene)
        seconds = np.arange(scene.length) / float(scene.fps)
        shape, move, look = Shape.draw(rng), Move.draw(rng, seconds), Look.draw(rng, seconds)
        blend = SelfBlend(scene, track, shape, move, look)

        def masks() -> Iterator[BoolArray]:
            return (blend.mask(index) for index in range(scene.length))

        return Forgery(
            Drawn(scene.length, blend.draw),
            scene.sound,
            masks,
            scene.segments(track.seen_T, "picture"),
            facts={"forged": "picture", "region": shape.region, "opacity": shape.ratio},
        )

    def close(self) -> None:
        """Nothing was loaded."""


@dataclass(frozen=True, eq=False)
class SelfBlend:
    """One clip's blend, frame by frame."""

    scene: Scene
    track: Steady
    shape: Shape
    move: Move
    look: Look

    def draw(self, index: int) -> UInt8Array:
        """The forged frame of a number."""
        frame = self.scene.frame(index)
        if not self.track.seen_T[index]:
            return frame
        patch, square, weight = self._mask(index)
        image = patch.of(frame)
        pixel = 1 / float(np.sqrt(abs(np.linalg.det(square[:, :2]))))
        copy = self._moved(frame, patch, square, index)
        return patch.put(frame, mixed(image, self.look.apply(copy, index, pixel), weight))

    def mask(self, index: int) -> BoolArray:
        """(S, S) where the frame of a number is forged."""
        if not self.track.seen_T[index]:
            return np.zeros((self.scene.size, self.scene.size), bool)
        patch, _, weight = self._mask(index)
        return patch.mask(weight, self.scene.size)

    def _mask(self, index: int) -> tuple[Patch, Array, FloatArray]:
        """The patch, the (2, 3) map from it into the face's square, and its (h, w) weights."""
        points = self.track.points_TK3[index]
        patch = Patch.around(points, 0.2 * float(self.track.heights_T[index]), self.scene.size)
        square = align_matrix(points.astype(np.float32), CANVAS, CANVAS_MARGIN).astype(np.float64)
        inside = self.shape.weights(points[:, :2] @ square[:, :2].T + square[:, 2])
        square = np.concatenate([square[:, :2], (square[:, 2] + square[:, :2] @ patch.origin)[:, None]], axis=1)
        weight = cv2.warpAffine(
            inside, square, (patch.width, patch.height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return patch, square, np.asarray(weight, np.float32)

    def _moved(self, frame: UInt8Array, patch: Patch, square: Array, index: int) -> FloatArray:
        """(h, w, 3) the frame moved and bent about the middle of the face."""
        tall = float(self.track.heights_T[index])
        middle = self.track.points_TK3[index][:, :2].mean(axis=0) - patch.origin
        cos, sin = np.cos(self.move.turn_T[index]), np.sin(self.move.turn_T[index])
        linear = np.array([[cos, -sin], [sin, cos]]) / self.move.growth_T[index]
        y, x = np.mgrid[0 : patch.height, 0 : patch.width].astype(np.float32)
        away = np.stack([x, y], axis=-1) - middle.astype(np.float32)
        nodes = np.array([[(BEND_CELLS - 1) / CANVAS, 0.0], [0.0, (BEND_CELLS - 1) / CANVAS]])
        into = np.concatenate([nodes @ square[:, :2], (nodes @ square[:, 2])[:, None]], axis=1)
        bend = cv2.warpAffine(
            self.move.bend_CC2,
            into,
            (patch.width, patch.height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        fixed = middle + patch.origin + tall * self.move.shift_T2[index]
        place = away @ linear.T.astype(np.float32) + fixed.astype(np.float32) + np.float32(tall) * bend
        moved = cv2.remap(frame, place[..., 0], place[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(moved, np.float32)
