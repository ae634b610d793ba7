"""Maker `sound_swap`: the picture is the recording's, what is heard was said elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from forge.manipulations.scene import BoolArray, Cast, Drawn, Forgery, Scene
from forge.manipulations.sounds import in_place_of
from forge.portrait import ForgeError

VERSION = 1
"""Raised when the same scene and cast would give other sound."""


class SoundSwap:
    """The maker; it loads nothing."""

    def forge(self, scene: Scene, cast: Cast, rng: np.random.Generator) -> Forgery:
        """Replace the sound; `rng` is not asked.

        Raises:
            ForgeError: for a silent clip, or without other speech.
        """
        if scene.sound is None:
            raise ForgeError("the clip has no sound to replace; choose a recording with sound")
        if cast.speech is None:
            raise ForgeError("a sound swap needs other speech; give some")

        def masks() -> Iterator[BoolArray]:
            return (np.zeros((scene.size, scene.size), bool) for _ in range(scene.length))

        return Forgery(
            Drawn(scene.length, scene.frame),
            in_place_of(cast.speech, scene.sound, scene.length, scene.fps),
            masks,
            (scene.segment(0, scene.length, "sound"),),
            facts={"forged": "sound"},
        )

    def close(self) -> None:
        """Nothing was loaded."""
