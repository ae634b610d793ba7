"""How a recipe's factors fall to the pairs of a dataset: pure arithmetic on names and numbers, no materials.

    pair = Design(recipe, seed=0).pair(Spot(17))
    pair.seconds, pair.controls.emotion, pair.maker

Rules:

1. The factors of a pair depend on the recipe, the seed, its index, and its place in its stratum alone.
2. Choices are balanced: in every block of as many pairs as there are choices, each comes as often as it is named.
3. Crossed factors are one choice among all their combinations, and rule 2 holds for that choice.
4. A stratum (a split, where people are grouped a group of a split) goes through its own blocks: each split is balanced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from forge.draws import UInt64Array, number_of, raw_draws, shuffled
from forge.methods import Method
from forge.motion.controls import NEUTRAL, Controls
from forge.motion.sources import MotionSource
from forge.portrait import ForgeError
from forge.recipes import CHOICES, FACE_FACTORS, FACE_RANGES, MAKER, NO_PLATFORM, PARTIAL, DatasetRecipe
from media.catalog import Label

if TYPE_CHECKING:
    from forge.manipulations import ManipulationKind

Choice = TypeVar("Choice")
Segments = tuple[tuple[float, float], ...]

REAL = "real"
"""What takes a maker's place in a clip that nobody made."""
SEED_DRAW = 10
"""Place of the seed among a pair's draws."""
SPARE = 8
"""Draws after the seed, for segments."""
RANGES_IN_ORDER = (
    "seconds",
    "crop_factors",
    "",
    "emotion_strength",
    *(n for n in FACE_RANGES if n != "emotion_strength"),
)
"""Which draw is whose; the one without a name tells where in a longer speech a clip begins."""
NAMES_OF_SEQUENCES: Mapping[str, str] = MappingProxyType({"frozen_pose": "frozen pose"})
"""Where sequences are called otherwise than factors: ids hang on them."""
CHUNK = 512
"""Pairs, or choices, that are drawn at once."""
Row = tuple[list[float], int, list[float]]
SEGMENT_SHARES = (0.15, 0.4)
"""Least and most of a clip that one forged segment covers."""


@dataclass(frozen=True)
class MakerFacts:
    """What a plan must know of a maker."""

    name: str
    animates: bool
    """From a portrait and speech; otherwise it starts from a real clip."""
    needs_donor: bool = False
    needs_speech: bool = False
    needs_sound: bool = False
    """A silent clip leaves it nothing to forge."""
    label: Label = Label.SYNTHETIC
    """Real for one that does everything but forge."""

    def __post_init__(self) -> None:
        """Refuse animation that is real, or of nothing said."""
        if self.animates and (self.label is Label.REAL or not self.needs_speech):
            raise ValueError(f"{self.name}: a clip animated from a portrait says something, and is synthetic")


def method_facts(name: str) -> MakerFacts:
    """Facts of a method: it animates a portrait by speech."""
    return MakerFacts(name, animates=True, needs_speech=True)


def facts_of(maker: Method | ManipulationKind) -> MakerFacts:
    """What a plan must know of a method or a manipulation, such as one that somebody else made."""
    if isinstance(maker, Method):
        return method_facts(maker.name)
    return MakerFacts(
        maker.name,
        animates=False,
        needs_donor=maker.needs_donor,
        needs_speech=maker.needs_speech,
        needs_sound=maker.needs_sound,
        label=maker.label,
    )


def maker_facts(name: str) -> MakerFacts:
    """The facts of a method or a manipulation by its name.

    Raises:
        ForgeError: for a name that neither has.
    """
    from forge.manipulations import MANIPULATIONS
    from forge.methods import METHODS

    if name in MANIPULATIONS:
        return facts_of(MANIPULATIONS[name])
    if name not in METHODS:
        raise ForgeError(f"maker must be one of {', '.join([*METHODS, *MANIPULATIONS])}, got {name!r}")
    return method_facts(name)


@dataclass(frozen=True)
class Pair:
    """The factors of pair n as they were drawn, before anybody asked whether the material allows them."""

    seconds: float
    crf: int
    crop_factor: float
    offset: float
    """0 to 1: where in a longer speech the clip begins."""
    controls: Controls
    motion: MotionSource
    maker: str = ""
    """Of the one forgery, where the design has one for each real clip."""
    language: str | None = None
    platform: str | None = None
    segments: Segments | None = None
    """Shares of a clip made from a real one that are forged; None for all of it."""


@dataclass(frozen=True)
class Spot:
    """Where a pair stands: its index, and its rank among the pairs of its stratum."""

    index: int
    stratum: str = ""
    rank: int = -1

    @property
    def turn(self) -> int:
        """The place in the sequences of choices."""
        return self.index if self.rank < 0 else self.rank


class Design:
    """A recipe's factors as sequences: `pair` is asked for a million times, so what can be done at once is.

    Args:
        recipe: the design.
        seed: of the dataset.
    """

    def __init__(self, recipe: DatasetRecipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        ranges = [getattr(recipe, name) if name else (0.0, 1.0) for name in RANGES_IN_ORDER]
        self._lows = np.array([low for low, _ in ranges])
        self._spans = np.array([high for _, high in ranges]) - self._lows
        self._product = [(factor, recipe.levels_of(factor)) for factor in recipe.product]
        self._levels = [name for name, _ in recipe.levels]
        lists = {factor: recipe.levels_of(factor) for factor in (*CHOICES, PARTIAL, *self._levels)}
        self._fixed = {factor: found[0] if found else None for factor, found in lists.items()}
        """Of factors that have one level or none."""
        self._varied = [
            (factor, NAMES_OF_SEQUENCES.get(factor, factor), found)
            for factor, found in lists.items()
            if len(found) > 1 and factor not in recipe.product
        ]
        self._rows: dict[int, list[Row]] = {}

    def pair(self, spot: Spot, makers: Sequence[str] = (), attempt: int = 0) -> Pair:
        """The factors of a pair: ranges drawn evenly, choices balanced, crossed ones combined.

        Args:
            spot: of the pair.
            makers: those that can forge it, as often as they are to be used; () where nobody chooses.
            attempt: above 0, everything but the levels of the design is drawn anew.
        """
        values, raw, spare = self._row(spot.index)
        if attempt:
            values, raw, spare = self._drawn([f"{self.seed}/{self.recipe.name}/{spot.index}/attempt/{attempt}"])[0]
        chosen = self._chosen(spot, makers)
        if self._levels:
            values = [
                value if name not in self._levels else float(chosen[name])
                for name, value in zip(RANGES_IN_ORDER, values, strict=True)
            ]
        seconds, crop_factor, offset, strength, yaw, pitch, distance, head_motion, blink_rate, lip_gain = values
        emotion, platform = chosen["emotion"], chosen["platform"]
        controls = Controls(
            yaw,
            pitch,
            distance,
            emotion,
            0.0 if emotion == NEUTRAL else strength,
            head_motion * (not chosen["frozen_pose"]),
            blink_rate,
            lip_gain,
            (raw & 0xFFFFFFFF) >> 1,
        )
        return Pair(
            seconds,
            chosen["crf"],
            crop_factor,
            offset,
            controls,
            chosen["motion"],
            chosen[MAKER],
            chosen["language"],
            None if platform == NO_PLATFORM else platform,
            draw_segments(spare) if chosen[PARTIAL] else None,
        )

    def maker(self, spot: Spot, makers: Sequence[str]) -> str:
        """The maker alone, without drawing anything else."""
        return str(self._combination(spot, makers).get(MAKER) or self._maker(spot, makers))

    def _chosen(self, spot: Spot, makers: Sequence[str]) -> dict[str, Any]:
        """The level of every factor that has levels, by factor."""
        stratum, turn = f"@{spot.stratum}" if spot.stratum else "", spot.turn
        chosen: dict[str, Any] = dict(self._fixed)
        for factor, name, choices in self._varied:
            chosen[factor] = balanced(choices, self.seed, name + stratum, turn)
        if self._product:
            chosen |= self._combination(spot, makers)
        if MAKER not in chosen:
            chosen[MAKER] = self._maker(spot, makers)
        return chosen

    def _maker(self, spot: Spot, makers: Sequence[str]) -> str:
        if len(makers) < 2:
            return makers[0] if makers else ""
        return balanced(makers, self.seed, f"{MAKER}@{spot.stratum}", spot.turn)

    def _combination(self, spot: Spot, makers: Sequence[str]) -> dict[str, Any]:
        """The levels of the crossed factors for one pair."""
        if not self._product:
            return {}
        factors = [(factor, makers if factor == MAKER else found) for factor, found in self._product]
        size = prod(len(found) for _, found in factors if found)
        block, at = divmod(spot.turn, size)
        left = block_order(self.seed, f"crossed@{spot.stratum}", block, size)[at]
        out: dict[str, Any] = {}
        for factor, found in factors:
            if found:
                left, level = divmod(left, len(found))
                out[factor] = found[level]
        return out

    def _row(self, index: int) -> Row:
        chunk, at = divmod(index, CHUNK)
        if chunk not in self._rows:
            if len(self._rows) > 1:
                self._rows.clear()
            name = f"{self.seed}/{self.recipe.name}"
            self._rows[chunk] = self._drawn([f"{name}/{chunk * CHUNK + i}" for i in range(CHUNK)])
        return self._rows[chunk][at]

    def _drawn(self, keys: Sequence[str]) -> list[Row]:
        """For every key the values of the ranges, rounded to thousandths, the bits of the seed, and spare chances."""
        raw_NC = raw_draws(keys, SEED_DRAW + 1 + SPARE)
        chance_NC = (raw_NC >> np.uint64(11)) * 2.0**-53
        value_NR = self._lows + self._spans * chance_NC[:, :SEED_DRAW]
        scaled_NR = value_NR * 1000
        rounded_NR = np.rint(scaled_NR) / 1000
        # half-way between two thousandths the product may have been rounded to the wrong side
        for at in np.argwhere(np.abs(scaled_NR - np.floor(scaled_NR) - 0.5) < 1e-6):
            rounded_NR[tuple(at)] = round(float(value_NR[tuple(at)]), 3)
        columns = (rounded_NR.tolist(), raw_NC[:, SEED_DRAW].tolist(), chance_NC[:, SEED_DRAW + 1 :].tolist())
        return list(zip(*columns, strict=True))


def draw_segments(chances: Sequence[float]) -> Segments:
    """One or two parts of a clip, equally often, as rising shares of its length that do not touch.

    Args:
        chances: five numbers from 0 to 1.
    """
    low, high = SEGMENT_SHARES
    lengths = [low + (high - low) * chance for chance in chances[1:3]]
    if chances[0] < 0.5:
        start = (1.0 - lengths[0]) * chances[3]
        return (_share(start, lengths[0]),)
    left = 1.0 - sum(lengths)
    first, second = sorted((chances[3], chances[4]))
    gap = max(left * (second - first), min(left, 0.1))  # two that touch would be one
    start = min(left * first, left - gap)
    return (_share(start, lengths[0]), _share(start + lengths[0] + gap, lengths[1]))


def _share(start: float, length: float) -> tuple[float, float]:
    return round(start, 4), round(min(start + length, 1.0), 4)


def random_for(*key: object) -> np.random.Generator:
    """A generator that depends on a key alone, the same on every machine."""
    return np.random.Generator(np.random.PCG64(number_of("/".join(map(str, key)))))


def balanced(choices: Sequence[Choice], seed: int, factor: str, index: int) -> Choice:
    """The choice at `index` of an endless sequence in which every choice comes equally often, in shuffled blocks."""
    size = len(choices)
    block, place = divmod(index, size)
    return choices[block_order(seed, factor, block, size)[place]]


def block_order(seed: int, factor: str, block: int, size: int) -> tuple[int, ...]:
    """The shuffled order of one block of a factor's choices."""
    chunk, at = divmod(block, max(1, CHUNK // size))
    return _block_orders(seed, factor, chunk, size)[at]


@lru_cache(maxsize=512)
def _block_orders(seed: int, factor: str, chunk: int, size: int) -> tuple[tuple[int, ...], ...]:
    """Many blocks at once: for one, making the generator would take longest."""
    many = max(1, CHUNK // size)
    keys = [f"{seed}/{factor}/{block}" for block in range(chunk * many, (chunk + 1) * many)]
    return tuple(_order(key, raw_C, size) for key, raw_C in zip(keys, raw_draws(keys, size + 4), strict=True))


def _order(key: str, raw_C: UInt64Array, size: int) -> tuple[int, ...]:
    order = shuffled(raw_C, size)
    while order is None:  # an unlucky key needs more draws
        raw_C = raw_draws([key], 2 * len(raw_C))[0]
        order = shuffled(raw_C, size)
    return order


def face_factors_of(recipe: DatasetRecipe) -> list[str]:
    """Factors of an animated face that a recipe crosses or gives levels."""
    used = {*recipe.crossed, *(name for name, _ in recipe.levels)}
    return [factor for factor in FACE_FACTORS if factor in used]
