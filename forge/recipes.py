"""Named configurations. A recipe is a function that returns a frozen value; to try something, `replace()` another one.

recipe = replace(tiny(), clips=4, seconds=(1.0, 2.0))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from forge.motion.controls import BASELINE, DIFFUSION
from forge.motion.sources import MotionSource

Range = tuple[float, float]


@dataclass(frozen=True)
class DatasetRecipe:
    """An experimental design for labelled clips: what all clips share and which factors vary between them.

    Everything here applies to real and synthetic clips alike, except the factors of the face (gaze to lip gain), which
    only a synthetic clip has.
    """

    name: str
    purpose: str
    """One line for people."""
    clips: int
    """How many slots are planned when nobody says."""
    size: int
    """Pixels a side."""
    fps: Fraction
    seconds: Range
    """Shortest and longest clip; lengths are drawn evenly between."""
    crf_ladder: tuple[int, ...] = (18, 23, 28)
    """x264 quality steps, each used equally often for both labels."""
    preset: str = "medium"
    sample_rate_hz: int = 16_000
    """One rate for all sound, so that bandwidth does not tell the label."""
    crop_factors: Range = (1.9, 2.4)
    """Side of the square crop over the face box, where the material has room for it."""
    tightest_crop: float = 1.2
    """Refuse material that has room for less: half a head cannot be animated."""
    gaze_yaw_degrees: Range = (-15.0, 15.0)
    gaze_pitch_degrees: Range = (-8.0, 8.0)
    distance: Range = (0.95, 1.15)
    emotions: tuple[str, ...] = ("neutral", "neutral", "happy", "sad", "angry", "surprised")
    """Used equally often; a name given twice is used twice as often."""
    emotion_strength: Range = (0.3, 0.8)
    head_motion: Range = (0.6, 1.4)
    blink_rate: Range = (0.7, 1.3)
    lip_gain: Range = (0.9, 1.1)
    frozen_poses: tuple[bool, ...] = (False,)
    """Used equally often: True keeps the head exactly as in the picture."""
    motions: tuple[MotionSource, ...] = (MotionSource(BASELINE),)
    """Where motion comes from, used equally often. Named here, not by the default of the day: a recipe stays itself."""
    windows_per_source: int = 3
    """Most segments taken from one real video: no single recording may dominate."""
    smallest_crop: float = 0.5
    """Refuse a crop that has fewer than this part of `size` in source pixels: blur would tell the label."""
    split_shares: tuple[tuple[str, float], ...] = (("train", 0.7), ("val", 0.15), ("test", 0.15))

    def __post_init__(self) -> None:
        """Refuse what cannot be filmed."""
        if self.clips < 1 or self.size not in (256, 512) or self.fps <= 0:
            raise ValueError(f"need clips >= 1, size 256 or 512 and fps > 0, got {self.clips}, {self.size}, {self.fps}")
        if not 0 < self.seconds[0] <= self.seconds[1]:
            raise ValueError(f"seconds must be a rising range above 0, got {self.seconds}")
        if not self.crf_ladder or not all(0 <= crf <= 51 for crf in self.crf_ladder):
            raise ValueError(f"crf_ladder needs values from 0 to 51, got {self.crf_ladder}")
        if not self.emotions or self.windows_per_source < 1:
            raise ValueError("a recipe needs at least one emotion and one window for each source")
        if not self.motions or not self.frozen_poses:
            raise ValueError("a recipe needs at least one source of motion, and to say whether poses are frozen")
        if abs(sum(share for _, share in self.split_shares) - 1) > 1e-6:
            raise ValueError(f"split_shares must add up to 1, got {self.split_shares}")

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values; fps as "25/1", motions by name."""
        motions = [motion.label for motion in self.motions]
        return asdict(self) | {"fps": f"{self.fps.numerator}/{self.fps.denominator}", "motions": motions}


def tiny() -> DatasetRecipe:
    """A dozen clips of two to four seconds at 256 pixels: to look at, and for tests."""
    return DatasetRecipe(
        "tiny", "a dozen short clips at 256 px, to look at", 12, 256, Fraction(25), (2.0, 4.0), preset="veryfast"
    )


def small() -> DatasetRecipe:
    """Two hundred clips of three to six seconds at 256 pixels: enough to train a first detector on."""
    return replace(tiny(), name="small", purpose="200 clips at 256 px, to train on", clips=200, seconds=(3.0, 6.0))


def small_motions() -> DatasetRecipe:
    """As `small`, with the source of motion as a factor and every eighth head kept still."""
    return replace(
        small(),
        name="small_motions",
        purpose="200 clips at 256 px, half of them moved by rules and half by the motion network",
        motions=(MotionSource(BASELINE), MotionSource(DIFFUSION)),
        frozen_poses=(False,) * 7 + (True,),
    )


def bench_512() -> DatasetRecipe:
    """Two thousand clips of four to eight seconds at 512 pixels: a benchmark."""
    return DatasetRecipe(
        "bench_512",
        "2000 clips at 512 px: a benchmark",
        2000,
        512,
        Fraction(25),
        (4.0, 8.0),
        crf_ladder=(16, 21, 26, 31),
    )


DATASET_RECIPES: Mapping[str, Callable[[], DatasetRecipe]] = MappingProxyType(
    {"tiny": tiny, "small": small, "small_motions": small_motions, "bench_512": bench_512}
)


def recipe_named(name: str) -> DatasetRecipe:
    """The dataset recipe of a name.

    Raises:
        ValueError: for a name that is not in `DATASET_RECIPES`.
    """
    if name not in DATASET_RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(DATASET_RECIPES)}, got {name!r}")
    return DATASET_RECIPES[name]()
