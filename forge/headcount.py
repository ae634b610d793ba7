"""Who and how many a plan comes to, without drawing anything but the makers: a million clips in seconds.

count = Headcount.of(plan, 1_000_000)
count.total, count.tables(), count.people()
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from forge.design import REAL
from forge.plan import Plan
from forge.power import Sampled
from media.catalog import Label


@dataclass(frozen=True)
class Headcount:
    """Clips by split, label, maker and person."""

    splits: tuple[str, ...]
    """In the order of the recipe."""
    kinds: Mapping[tuple[str, str, str], int]
    """Clips by (split, label, maker)."""
    clips_of_people: Mapping[tuple[str, str], Mapping[str, int]]
    """By (split, label), clips of each person."""

    @classmethod
    def of(cls, plan: Plan, limit: int) -> Headcount:
        """Count the clips with numbers below a limit."""
        kinds: Counter[tuple[str, str, str]] = Counter()
        people: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for split, label, maker, person in _clips(plan, limit):
            kinds[split, label, maker] += 1
            people[split, label][person] += 1
        return cls(tuple(split for split, _ in plan.recipe.split_shares), dict(kinds), dict(people))

    @property
    def total(self) -> int:
        """All clips."""
        return sum(self.kinds.values())

    def tables(self) -> dict[str, dict[str, int]]:
        """Clips by label, by split, by maker, and by "split label"."""
        out: dict[str, Counter[str]] = {name: Counter() for name in ("label", "split", "maker", "split and label")}
        for (split, label, maker), count in sorted(self.kinds.items(), key=lambda one: self.splits.index(one[0][0])):
            for name, key in (("label", label), ("split", split), ("maker", maker)):
                out[name][key] += count
            out["split and label"][f"{split} {label}"] += count
        return {name: dict(table) for name, table in out.items()}

    def clips(self, split: str | None = None, label: Label | None = None) -> int:
        """Of a split and a label, or of all."""
        return sum(n for (s, name, _), n in self.kinds.items() if split in (None, s) and label in (None, name))

    def people(self) -> dict[str, int]:
        """How many people, by "split label"."""
        return {f"{split} {label}": len(found) for (split, label), found in sorted(self.clips_of_people.items())}

    def sampled(self, split: str) -> tuple[Sampled, Sampled]:
        """Real and synthetic clips of a split, with how they cluster in people."""
        real, synthetic = (Sampled.of(self.clips_of_people.get((split, label.value), {}).values()) for label in Label)
        return real, synthetic

    def per_clip_of(self, seen: Mapping[str, int]) -> dict[str, float]:
        """For each maker how many clips one of those that were looked at stands for."""
        of_maker = self.tables()["maker"]
        return {maker: of_maker[maker] / count for maker, count in seen.items()}


def _clips(plan: Plan, limit: int) -> Iterator[tuple[str, str, str, str]]:
    """Split, label, maker and person of every clip, without drawing anything but the maker."""
    size = plan.clips_a_pair
    for index in range(-(-limit // size)):
        part = plan.casting.part(index)
        if part is None:
            return
        makers = plan.makers_of(part)
        for number in range(index * size, min(limit, (index + 1) * size)):
            place = number - index * size
            maker = makers[place] if place < len(makers) else None
            if maker is not None and maker.animates:
                if part.portrait is not None:
                    yield part.split, maker.label.value, maker.name, part.portrait.person
            elif part.real is not None and (maker is not None or (part.has_own and place == size - 1)):
                real = part.real[0]
                label, name = (Label.REAL.value, REAL) if maker is None else (maker.label.value, maker.name)
                yield plan.splits[real.source], label, name, real.person
