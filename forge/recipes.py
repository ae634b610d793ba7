"""Named configurations. A recipe is a function that returns a frozen value; to try something, `replace()` another one.

    recipe = replace(tiny(), clips=4, seconds=(1.0, 2.0))
    recipe = replace(small(), makers=("mesh", "face_swap"), crossed=("maker", "crf"))

A recipe is an experimental design. Each of its factors is either *sampled* (choices equally often in shuffled blocks,
ranges drawn evenly) or *crossed* with others: every combination equally often. How it is carried out: `forge.design`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from math import isfinite, prod
from types import MappingProxyType
from typing import Any

from forge.motion.controls import BASELINE, DIFFUSION, RANGES
from forge.motion.sources import MotionSource

Range = tuple[float, float]

NO_PLATFORM = "none"
PLATFORMS = (NO_PLATFORM, "feed", "stories", "messenger")
"""Second generations that keep the frame rate; names of `media.perturb.PLATFORMS`."""
MAKER, GROUP, PARTIAL = "maker", "group", "partial"
CHOICES: Mapping[str, str] = MappingProxyType(
    {
        "emotion": "emotions",
        "motion": "motions",
        "frozen_pose": "frozen_poses",
        "crf": "crf_ladder",
        "language": "languages",
        "platform": "platforms",
    }
)
"""Factors that are choices, and the fields that list them."""
FACE_RANGES = (
    "gaze_yaw_degrees",
    "gaze_pitch_degrees",
    "distance",
    "emotion_strength",
    "head_motion",
    "blink_rate",
    "lip_gain",
)
FACE_FACTORS = (*FACE_RANGES, "emotion", "motion", "frozen_pose")
"""Only a face that is animated from a portrait has them: they mean nothing to what is made from a real clip."""
CONTINUOUS = ("seconds", "crop_factors", *FACE_RANGES)
FACTORS = (MAKER, GROUP, PARTIAL, *CHOICES, *CONTINUOUS)
"""Every factor that can be crossed."""
TRAITS = ("group_of_person", "gender", "sex", "age", "skin_tone", "ethnicity", "country")
"""Columns of `portraits.csv` and `real.csv` by which people can be grouped."""
MOST_COMBINATIONS = 5000
"""A larger product is never gone through once in a dataset anybody makes."""
FINEST_SHARE = 20
"""Shares of clips are kept exactly in blocks of at most so many."""
MAKER_NAME = re.compile(r"[a-z][a-z0-9_]*(:[A-Za-z0-9_.-]+)?")


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
    makers: tuple[str, ...] = ()
    """Methods and manipulations, used equally often; empty takes the one method that is asked for."""
    makers_by_split: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Makers of each split, where they differ: the maker-shift protocol. `makers` is then all of them."""
    paired: bool = False
    """Every real clip has one forgery of each maker; otherwise one forgery of one maker, and the labels balance."""
    crossed: tuple[str, ...] = ()
    """Factors (`FACTORS`) of which every combination comes equally often, in shuffled blocks of the whole product."""
    levels: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """Values for a continuous factor, used equally often instead of its range."""
    groups: tuple[str, ...] = ()
    """Columns of the tables (`TRAITS`) by which people are grouped; groups are used equally often."""
    languages: tuple[str, ...] = ()
    """Of speech, used equally often; empty takes any."""
    platforms: tuple[str, ...] = ()
    """What both twins went through before the last encoding (`PLATFORMS`), used equally often."""
    partial: float = 0.0
    """Share of the clips made from real ones of which only one or two segments are forged."""

    def __post_init__(self) -> None:
        """Refuse what cannot be filmed."""
        if self.makers_by_split and not self.makers:
            named = tuple(dict.fromkeys(name for _, names in self.makers_by_split for name in names))
            object.__setattr__(self, "makers", named)
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
        _check_makers(self)
        _check_levels(self)
        _check_lists(self)
        _check_crossed(self)

    @property
    def is_designed(self) -> bool:
        """Whether any field is used that recipes of one maker and no crossing lack."""
        return any(getattr(self, f.name) != f.default for f in fields(self) if f.name in DESIGN_FIELDS)

    def makers_of(self, split: str) -> tuple[str, ...]:
        """Names of the makers of a split, as often as they are to be used."""
        return dict(self.makers_by_split).get(split, self.makers)

    def levels_of(self, factor: str) -> tuple[Any, ...]:
        """The levels of a factor, each as often as it is to be used; of a continuous one () without `levels`."""
        if factor == PARTIAL:
            share = Fraction(self.partial).limit_denominator(FINEST_SHARE)
            return (True,) * share.numerator + (False,) * (share.denominator - share.numerator)
        if factor == MAKER:
            return self.makers
        if factor in CHOICES:
            return tuple(getattr(self, CHOICES[factor]))
        return dict(self.levels).get(factor, ())

    @property
    def combinations(self) -> int:
        """Size of the product that is gone through; 1 without any factor crossed."""
        return prod(len(self.levels_of(factor)) for factor in self.product)

    @property
    def product(self) -> tuple[str, ...]:
        """The crossed factors whose levels are combined.

        A group has the whole product to itself, and in a paired design so has a maker: both are crossed without being
        combined.
        """
        return tuple(f for f in self.crossed if f != GROUP and not (f == MAKER and self.paired))

    def to_json(self) -> dict[str, Any]:
        """Fields as JSON values; fps as "25/1", motions by name.

        The fields of a design are told where they are used, with the protocol that comes of them: what is known of an
        older recipe stays what it was.
        """
        motions = [motion.label for motion in self.motions]
        facts = asdict(self) | {"fps": f"{self.fps.numerator}/{self.fps.denominator}", "motions": motions}
        for field in fields(self):
            if field.name in DESIGN_FIELDS and getattr(self, field.name) == field.default:
                del facts[field.name]
        return facts | ({"protocol": self.protocol()} if self.is_designed else {})

    def protocol(self) -> dict[str, Any]:
        """What is kept apart between splits, and who makes what where.

        Speech is kept apart as far as there are enough recordings; the plan says where there are not.
        """
        makers = {split: sorted(set(self.makers_of(split))) for split, _ in self.split_shares}
        splits = list(makers)
        before = [{name for earlier in splits[:at] for name in makers[earlier]} for at in range(len(splits))]
        unseen = {split: sorted(set(makers[split]) - seen) for split, seen in zip(splits[1:], before[1:], strict=True)}
        apart = ["people", "sources", "donors", "speech"] if len(splits) > 1 else []
        if self.makers and any(unseen.values()):
            apart += [f"makers of {split}" for split, names in unseen.items() if set(names) == set(makers[split])]
        return {
            "apart": apart,
            "makers": makers if self.makers else "the method that was asked for",
            "unseen_makers": {split: names for split, names in unseen.items() if names},
            "pair": "a real clip and one forgery by each maker" if self.paired else "a real clip and one forgery",
        }


DESIGN_FIELDS = (
    "makers",
    "makers_by_split",
    "paired",
    "crossed",
    "levels",
    "groups",
    "languages",
    "platforms",
    "partial",
)
"""Fields that came with experimental designs; with all of them at their defaults clips are what they were before."""


def _check_makers(recipe: DatasetRecipe) -> None:
    """Makers are names; those of the splits are those of the recipe."""
    for name in recipe.makers:
        if not MAKER_NAME.fullmatch(name) or name == "real":
            raise ValueError(f"makers must be names of methods or manipulations, got {name!r}")
    if recipe.paired and len(set(recipe.makers)) < len(recipe.makers):
        raise ValueError(
            f"paired: every real clip has one forgery of each maker, but one is named twice: {recipe.makers}"
        )
    if not recipe.makers_by_split:
        return
    splits = [split for split, _ in recipe.makers_by_split]
    shares = [split for split, _ in recipe.split_shares]
    if sorted(splits) != sorted(shares):
        raise ValueError(f"makers_by_split must name each of {', '.join(shares)} once, got {', '.join(splits)}")
    empty = [split for split, names in recipe.makers_by_split if not names]
    if empty:
        raise ValueError(f"makers_by_split needs at least one maker for each split, got none for {', '.join(empty)}")
    if {name for _, names in recipe.makers_by_split for name in names} != set(recipe.makers):
        raise ValueError("makers must be those of makers_by_split; leave makers out when splits have their own")


def _check_levels(recipe: DatasetRecipe) -> None:
    """Levels are for continuous factors, once each, and can be filmed."""
    names = [name for name, _ in recipe.levels]
    for name, values in recipe.levels:
        if name not in CONTINUOUS or names.count(name) > 1:
            raise ValueError(f"levels must name each of {', '.join(CONTINUOUS)} at most once, got {name!r}")
        if not values or not all(isinstance(v, int | float) and isfinite(v) for v in values):
            raise ValueError(f"levels of {name} must be numbers, got {values}")
        low, high = RANGES.get(name, (1.0 if name == "crop_factors" else 0.0, float("inf")))
        if not all(low <= v <= high for v in values) or (name == "seconds" and min(values) <= 0):
            raise ValueError(f"levels of {name} must be between {low:g} and {high:g}, got {values}")
        if name == "seconds" and max(values) > recipe.seconds[1]:
            raise ValueError(
                f"levels of seconds must not exceed the longest clip: windows of {recipe.seconds[1]:g} s are cut, "
                f"got {max(values):g}"
            )


def _check_lists(recipe: DatasetRecipe) -> None:
    """Groups, languages, platforms and the share of partial forgeries."""
    if not set(recipe.groups) <= set(TRAITS):
        raise ValueError(f"groups must be columns of {', '.join(TRAITS)}, got {', '.join(recipe.groups)}")
    if len(set(recipe.groups)) < len(recipe.groups):
        raise ValueError(f"groups must name a column once, got {recipe.groups}")
    if not all(name and name == name.strip() for name in recipe.languages):
        raise ValueError(f"languages must be as the table of speech writes them, got {recipe.languages}")
    unknown = sorted(set(recipe.platforms) - set(PLATFORMS))
    if unknown:
        raise ValueError(f"platforms must be of {', '.join(PLATFORMS)}, got {', '.join(unknown)}")
    if not 0.0 <= recipe.partial <= 1.0:
        raise ValueError(f"partial must be a share from 0 to 1, got {recipe.partial}")
    if 0.0 < recipe.partial < 1.0 and len(set(recipe.levels_of(PARTIAL))) < 2:
        raise ValueError(f"partial must be 0, 1 or a share from 1/{FINEST_SHARE} on, got {recipe.partial}")


def _check_crossed(recipe: DatasetRecipe) -> None:
    """What is crossed is known, has levels, and has few enough combinations."""
    if len(set(recipe.crossed)) < len(recipe.crossed):
        raise ValueError(f"crossed must name a factor once, got {recipe.crossed}")
    for factor in recipe.crossed:
        if factor not in FACTORS:
            raise ValueError(f"crossed must be of {', '.join(FACTORS)}, got {factor!r}")
        if factor == GROUP:
            if not recipe.groups:
                raise ValueError("crossing group needs groups: the columns by which people are grouped")
            continue
        found = recipe.levels_of(factor)
        if not found and factor in CONTINUOUS:
            raise ValueError(f"crossing {factor} needs levels: a range has no combinations")
        if len(set(found)) < 2:
            raise ValueError(f"crossing {factor} changes nothing: it has {len(set(found))} level")
    if recipe.crossed and recipe.combinations > MOST_COMBINATIONS:
        raise ValueError(
            f"the crossed factors have {recipe.combinations} combinations, at most {MOST_COMBINATIONS} can be gone "
            "through; cross fewer, and let the others be sampled"
        )


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


def cross_tiny() -> DatasetRecipe:
    """Eight combinations of emotion, distance and gaze, each once beside a real clip: a full factorial to look at."""
    return replace(
        tiny(),
        name="cross_tiny",
        purpose="every combination of two emotions, two distances and two gazes, one test split",
        clips=16,
        emotions=("neutral", "happy"),
        crossed=("emotion", "distance", "gaze_yaw_degrees"),
        levels=(("distance", (0.95, 1.15)), ("gaze_yaw_degrees", (-12.0, 12.0))),
        split_shares=(("test", 1.0),),
    )


def person_shift() -> DatasetRecipe:
    """Every maker in every split, nobody in two: how well a detector does on people it has not seen."""
    return replace(
        small(),
        name="person_shift",
        purpose="six makers in every split, other people in each: the shift is the person",
        clips=1200,
        makers=("mesh", "self_blended", "face_swap", "lip_splice", "own_reenactment", "sound_swap"),
    )


def maker_shift() -> DatasetRecipe:
    """The test split has makers and people of its own: how well a detector does on what it was not taught."""
    known = ("mesh", "self_blended", "own_reenactment")
    return replace(
        small(),
        name="maker_shift",
        purpose="other makers and other people in the test split: the shift is the maker",
        clips=1200,
        makers_by_split=(("train", known), ("val", known), ("test", ("face_swap", "lip_splice"))),
        split_shares=(("train", 0.6), ("val", 0.15), ("test", 0.25)),
    )


def partial_512() -> DatasetRecipe:
    """Half of the forgeries are forged for one or two stretches only: for localisation in time."""
    return replace(
        bench_512(),
        name="partial_512",
        purpose="1000 clips at 512 px, every second forgery in one or two stretches only",
        clips=1000,
        makers=("self_blended", "face_swap", "lip_splice", "sound_swap"),
        partial=0.5,
        crossed=("maker", "partial"),
    )


def audit_nulls() -> DatasetRecipe:
    """Every real clip beside its forgery and beside a null that went through the same mill: for audits of shortcuts."""
    return replace(
        small(),
        name="audit_nulls",
        purpose="300 clips in threes: a recording, its forgery, and a null fake that forges nothing",
        clips=300,
        makers=("self_blended", "null_blend"),
        paired=True,
        split_shares=(("test", 1.0),),
    )


DATASET_RECIPES: Mapping[str, Callable[[], DatasetRecipe]] = MappingProxyType(
    {
        make.__name__: make
        for make in (
            tiny,
            small,
            small_motions,
            bench_512,
            cross_tiny,
            person_shift,
            maker_shift,
            partial_512,
            audit_nulls,
        )
    }
)


def recipe_named(name: str) -> DatasetRecipe:
    """The dataset recipe of a name.

    Raises:
        ValueError: for a name that is not in `DATASET_RECIPES`.
    """
    if name not in DATASET_RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(DATASET_RECIPES)}, got {name!r}")
    return DATASET_RECIPES[name]()
