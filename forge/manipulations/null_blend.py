"""Maker `null_blend`: a null fake. The face goes the way of a face swap and comes back as it was.

It is resampled into a square of its own and back, its colours are matched with themselves, its border is joined and
feathered by the same mask; nobody could see a difference. It is labelled real, and a detector that calls it forged has
learnt the tool and not the forgery.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.manipulations.blending import Patch, colours_of, membrane, mixed, recoloured
from forge.manipulations.face_swap import Settings, face_weights, with_openings
from forge.manipulations.scene import BoolArray, Cast, Drawn, Forgery, Scene
from forge.manipulations.steady import Steady
from media.landmarks import align_matrix

UInt8Array = NDArray[np.uint8]

VERSION = 1
"""Raised when the same scene and chance would give other pixels."""
DETAIL = (1.0, 1.5)
"""Pixels of the square per pixel of the frame: it holds all that the frame shows."""
MARGIN = 0.35
SQUARE_PER_HEIGHT = 1.35
"""Side of the square over the face's height in the frame, at one pixel per pixel."""


class NullBlend:
    """The maker; it loads nothing."""

    def forge(self, scene: Scene, cast: Cast, rng: np.random.Generator) -> Forgery:
        """Take the face out and put it back.

        Raises:
            ForgeError: when no face, or only a tiny one, is seen.
        """
        track = Steady.of(scene)
        settings, detail = Settings.draw(rng), float(rng.uniform(*DETAIL))
        side = max(48, round(SQUARE_PER_HEIGHT * detail * float(np.median(track.heights_T[track.seen_T]))))
        blend = NullBlending(scene, track, settings, side)

        def masks() -> Iterator[BoolArray]:
            return (np.zeros((scene.size, scene.size), bool) for _ in range(scene.length))

        return Forgery(
            Drawn(scene.length, blend.draw),
            scene.sound,
            masks,
            (),
            facts={"forged": "nothing", "touched": "face", "square": side, "feather": settings.feather},
        )

    def close(self) -> None:
        """Nothing was loaded."""


@dataclass(frozen=True, eq=False)
class NullBlending:
    """One clip, frame by frame."""

    scene: Scene
    track: Steady
    settings: Settings
    side: int
    """Of the face's square, pixels."""

    def draw(self, index: int) -> UInt8Array:
        """The touched frame of a number."""
        frame = self.scene.frame(index)
        if not self.track.seen_T[index]:
            return frame
        points, tall = self.track.points_TK3[index], float(self.track.heights_T[index])
        patch = Patch.around(points, 0.12 * tall, self.scene.size)
        image, weight = patch.of(frame), face_weights(points, patch, self.settings)
        into = align_matrix(points.astype(np.float32), self.side, MARGIN).astype(np.float64)
        square = cv2.warpAffine(
            frame, into, (self.side, self.side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        into[:, 2] += into[:, :2] @ patch.origin
        back = np.asarray(
            cv2.warpAffine(
                square,
                into,
                (patch.width, patch.height),
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )
        inside = with_openings(weight, points, patch, tall)
        (mean, spread), (wanted, wanted_spread) = colours_of(back, inside), colours_of(image, inside)
        worn = recoloured(back, wanted_spread / np.maximum(spread, 1e-3), mean, wanted)
        worn += np.float32(self.settings.seam) * membrane(image, worn, weight, 0.04 * tall)
        return patch.put(frame, mixed(image, worn, inside))
