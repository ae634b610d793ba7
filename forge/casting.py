"""Who and what is in pair n of a dataset: materials by number, before any factor is drawn.

    casting = cast(recipe, materials, seed=0, method="mesh")         # forge.casting_designs
    part = casting.part(17)
    part.portrait, part.real, part.makers, part.spot

Two ways to fill the parts: `Twinned` here, one method beside the real clips, and `Designed` in `casting_designs.py`,
for recipes with makers, groups or crossed factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from forge.design import MakerFacts, Pair, Spot
from forge.material import Material, Role, Window
from forge.recipes import DatasetRecipe
from forge.splits import assign_splits, interleaved, quotas, shuffled

Scene = tuple[Material, Window]


@dataclass(frozen=True)
class Part:
    """Who and what can be in one pair."""

    spot: Spot
    split: str
    """That portrait and speech are of."""
    portrait: Material | None
    real: Scene | None
    has_own: bool
    """Whether the real clip is made, too; otherwise it only lends its form."""
    makers: tuple[MakerFacts | None, ...]
    """That may forge, as often as they are named; None in the place of one that cannot, here."""
    nulls: tuple[MakerFacts, ...] = ()
    """That do everything but forge."""

    @property
    def able(self) -> list[str]:
        """Names of the makers that can forge here."""
        return [maker.name for maker in self.makers if maker is not None]


class Casting(Protocol):
    """Materials by number."""

    @property
    def portraits(self) -> tuple[Material, ...]:
        """In the order of use."""
        ...

    @property
    def reals(self) -> tuple[Scene, ...]:
        """Windows of real videos in the order of use."""
        ...

    @property
    def splits(self) -> Mapping[str, str]:
        """Split of each source."""
        ...

    @property
    def speech_is_split(self) -> bool:
        """Whether every recording is heard in one split only."""
        ...

    @property
    def most_makers(self) -> int:
        """Of one pair, those that do everything but forge included."""
        ...

    def part(self, index: int) -> Part | None:
        """Who is in a pair; None when the material has come to its end."""
        ...

    def speech_of(self, part: Part, pair: Pair, attempt: int = 0, least_seconds: float = 0.0) -> Material | None:
        """What is said in a pair; another recording for another attempt, if one is long enough."""
        ...

    def donor_of(self, part: Part, seconds: float, attempt: int = 0) -> Scene | None:
        """Another person's real clip of the same split; None when there is nobody else."""
        ...

    def understudies(self, part: Part) -> Sequence[Material]:
        """Portraits that could take the place of a pair's own, the own one first."""
        ...


def windows_of(order: Sequence[Material]) -> list[Scene]:
    """The first window of every source, then the second ones ..."""
    rounds = range(max((len(m.windows) for m in order), default=0))
    return [(m, m.windows[k]) for k in rounds for m in order if k < len(m.windows)]


@dataclass(frozen=True)
class Twinned:
    """One method: pair n is portrait n in turns, beside real window n as long as there is one."""

    portraits: tuple[Material, ...]
    speech: Mapping[str, tuple[Material, ...]]
    """By split."""
    reals: tuple[Scene, ...]
    splits: Mapping[str, str]
    speech_is_split: bool
    maker: MakerFacts

    @classmethod
    def of(cls, recipe: DatasetRecipe, usable: Mapping[Role, list[Material]], seed: int, maker: MakerFacts) -> Twinned:
        """Assign splits and orders."""
        portraits, speech, reals = (usable[role] for role in Role)
        splits = assign_splits([*portraits, *reals], recipe.split_shares, seed)
        names = [name for name, _ in recipe.split_shares]
        groups = sorted({m.person or m.source for m in speech})
        speech_is_split = len(groups) >= len(names)
        shares = recipe.split_shares if speech_is_split else (("", 1.0),)
        place = dict(zip(shuffled(groups, seed, "speech"), quotas(len(groups), shares), strict=True))
        said: dict[str, tuple[Material, ...]] = {}
        for name in names:
            mine = [m for m in speech if place[m.person or m.source] in (name, "")]
            said[name] = tuple(shuffled(mine, seed, f"speech/{name}", key=lambda m: m.sha256))
        order = tuple(interleaved(portraits, splits, seed))
        windows = tuple(windows_of(interleaved(reals, splits, seed)))
        return cls(order, said, windows, splits, speech_is_split, maker)

    @property
    def most_makers(self) -> int:
        """The method."""
        return 1

    def part(self, index: int) -> Part:
        """Portrait `index` in turns, and the real window that lends its form."""
        portrait = self.portraits[index % len(self.portraits)]
        return Part(
            Spot(index),
            self.splits[portrait.source],
            portrait,
            self.reals[index % len(self.reals)] if self.reals else None,
            index < len(self.reals),
            (self.maker,),
        )

    def speech_of(self, part: Part, pair: Pair, attempt: int = 0, least_seconds: float = 0.0) -> Material:
        """The split's recordings in turns, so that a portrait says another one each time."""
        turn, rank = divmod(part.spot.index, len(self.portraits))
        choices = self.speech[part.split]
        own = choices[(rank + turn) % len(choices)]
        return another(choices, rank + turn, attempt, least_seconds) or own

    def donor_of(self, part: Part, seconds: float, attempt: int = 0) -> Scene | None:
        """Methods take none."""
        return None

    def understudies(self, part: Part) -> Sequence[Material]:
        """The portraits of the same split, from the own one on."""
        at = part.spot.index % len(self.portraits)
        turned = [*self.portraits[at:], *self.portraits[:at]]
        return [p for p in turned if self.splits[p.source] == part.split]


def another(choices: Sequence[Material], first: int, attempt: int, least_seconds: float) -> Material | None:
    """The recording `attempt` steps on among those that are long enough; of the first attempt any length will do."""
    if not choices:
        return None
    if attempt == 0:
        return choices[first % len(choices)]
    long_enough = [m for m in choices if m.seconds >= least_seconds]
    return long_enough[(first + attempt) % len(long_enough)] if long_enough else None
