"""Which factors of a dataset vary among some clips, and which clips are of which level.

    for level in levels_of(samples):
        level.factor, level.name, level.members, level.against

A factor is what the catalog tells of a clip: fields (`maker`, `codec`), keys of `extra` that the dataset factory
writes, its controls (`extra["controls"]`), and the traits of people. What only a forged clip has (its maker, an
emotion, where it looks) is compared with all real clips; what both labels have (codec, platform, language, group of
person) with the real clips of the same level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from forge.recipes import FACE_RANGES, TRAITS
from forge.splits import UNSTATED
from media.catalog import Label, Sample

FORGED_ONLY: Final = ("maker", "what is forged", "partial", "emotion", "motion", "frozen pose", *FACE_RANGES)
"""Factors that mean nothing for a real clip."""
SHARED: Final = ("codec", "platform", "language", "seconds", "crop_factor", *TRAITS)
"""Factors that both labels have."""
FACTORS: Final = (*FORGED_ONLY, *SHARED)
MOST_LEVELS: Final = 4
"""More distinct numbers than this, or numbers of which none comes twice, are put into bins of equally many clips."""
BINS: Final = 3
ALL_REAL: Final = "all real clips"
SAME_LEVEL: Final = "real clips of the same level"

Fact = str | float


@dataclass(frozen=True)
class Level:
    """The clips of one level of a factor, with the real ones they are compared with."""

    factor: str
    name: str
    members: tuple[int, ...]
    """Places in the list of samples, of both labels."""
    against: str
    """Which real clips these are."""


def facts_of(sample: Sample) -> dict[str, Fact]:
    """What is known of a clip, by name of the factor; nothing for what is not told."""
    extra, controls = sample.extra, sample.extra.get("controls")
    told: dict[str, Any] = {name: extra.get(name) for name in ("motion", "language", "crop_factor", *TRAITS)}
    told["what is forged"] = extra.get("forged")
    told |= {"maker": sample.maker, "codec": sample.codec, "seconds": sample.seconds}
    if "platform" in extra:
        told["platform"] = extra["platform"] or "none"
    if extra.get("partial") is not None:
        told["partial"] = "some stretches" if extra["partial"] else "whole clip"
    if isinstance(controls, Mapping):
        told |= {name: controls.get(name) for name in ("emotion", *FACE_RANGES)}
        if controls.get("frozen_pose") is not None:
            told["frozen pose"] = "frozen" if controls["frozen_pose"] else "moving"
    if sample.label is Label.REAL:
        told = {name: value for name, value in told.items() if name in SHARED}
    return {name: fact for name in FACTORS if (fact := _fact(told.get(name))) is not None}


def _fact(value: object) -> Fact | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return float(value)
    return value if isinstance(value, str) and value not in ("", UNSTATED) else None


def levels_of(samples: Sequence[Sample]) -> tuple[Level, ...]:
    """All levels of all factors that have at least two among the synthetic clips."""
    facts = [facts_of(sample) for sample in samples]
    synthetic = [sample.label is Label.SYNTHETIC for sample in samples]
    return tuple(level for factor in FACTORS for level in _levels(factor, facts, synthetic))


def _levels(factor: str, facts: Sequence[Mapping[str, Fact]], synthetic: Sequence[bool]) -> Iterator[Level]:
    forged = [one[factor] for one, forged in zip(facts, synthetic, strict=True) if forged and factor in one]
    named = _names(forged)
    mine = [None if factor not in one else named(one[factor]) for one in facts]
    names = dict.fromkeys(sorted({named(value) for value in forged}, key=lambda name: (_start(name), name)))
    if len(names) < 2:
        return
    real = [n for n, forged in enumerate(synthetic) if not forged]
    # a comparison with some of the real clips only, because the others do not tell, would be with another population
    shared = factor in SHARED and bool(real) and all(mine[n] is not None for n in real)
    for name in names:
        members = [n for n, forged in enumerate(synthetic) if forged and mine[n] == name]
        others = [n for n in real if mine[n] == name] if shared else real
        yield Level(factor, name, tuple(sorted([*members, *others])), SAME_LEVEL if shared else ALL_REAL)


class _Bins:
    """Numbers by name of the bin they fall into."""

    def __init__(self, values: Sequence[float]) -> None:
        self._edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)))
        self._names = [f"{low:.3g} to {high:.3g}" for low, high in zip(self._edges[:-1], self._edges[1:], strict=True)]

    def __call__(self, value: Fact) -> str:
        if isinstance(value, str):
            return value
        # numbers beyond the outermost edges, which real clips may have, belong to the outermost bins
        at = int(np.searchsorted(self._edges[1:-1], value, side="right"))
        return self._names[at]


def _names(values: Sequence[Fact]) -> Callable[[Fact], str]:
    """A function that names the level of a value: itself, or the bin it is in."""
    numbers = [value for value in values if isinstance(value, float)]
    distinct = len(set(numbers))
    if len(numbers) == len(values) and distinct > 1 and (distinct > MOST_LEVELS or distinct == len(numbers)):
        return _Bins(numbers)
    return lambda value: f"{value:g}" if isinstance(value, float) else value


def _start(name: str) -> float:
    """Where a level that is a number or a bin stands; words come in the order of the alphabet after these."""
    try:
        return float(name.partition(" to ")[0])
    except ValueError:
        return float("inf")
