"""Who goes into which split, and in what order material is used: pure arithmetic on names.

    splits = assign_splits(materials, (("train", 0.7), ("val", 0.15), ("test", 0.15)), seed=0)

A person, and everything cut from one source, is in one split only, by any chain of shared people and sources.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from forge.material import Material, Role
from forge.portrait import ForgeError

Choice = TypeVar("Choice")

AGES = (18, 30, 45, 60)
"""Where the spans of years begin."""
UNSTATED = "unstated"


def shuffled(items: Sequence[Choice], seed: int, what: str, key: Any = str) -> list[Choice]:
    """The items in an order that depends on each one's own name: adding one leaves the order of the others."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{what}/{key(item)}".encode()).digest())


def quotas(count: int, shares: Sequence[tuple[str, float]]) -> list[str]:
    """Names for `count` items by their shares, every name at least once when there are enough items.

    With fewer items than names the first comes first, then the last ones: `train`, `test`, `val`.
    """
    names = [name for name, _ in shares]
    if count < len(names):
        return [names[0], *reversed(names[1:])][:count]
    exact = np.array([share for _, share in shares]) * count
    whole = np.maximum(np.floor(exact).astype(int), 1)
    while whole.sum() < count:
        whole[int(np.argmax(exact - whole))] += 1
    while whole.sum() > count:
        whole[int(np.argmax(np.where(whole > 1, whole - exact, -np.inf)))] -= 1
    return [name for name, times in zip(names, whole, strict=True) for _ in range(times)]


def assign_splits(
    materials: Sequence[Material],
    shares: Sequence[tuple[str, float]],
    seed: int,
    group_of: Callable[[Material], str] = lambda material: "",
) -> dict[str, str]:
    """A split for every source, such that nobody and nothing is in two; roles and groups of people are spread alike.

    Returns:
        Source -> split.

    Raises:
        ForgeError: when tables ask for two splits for one person, or for one that the recipe does not have.
    """
    groups = connected(materials)
    out: dict[str, str] = {}
    free: dict[tuple[Role, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    members: dict[str, list[Material]] = defaultdict(list)
    for material in materials:
        members[groups[material.source]].append(material)
    for group, mine in sorted(members.items()):
        wanted = {m.split for m in mine if m.split}
        unknown = wanted - {name for name, _ in shares}
        if len(wanted) > 1 or unknown:
            first = mine[0]
            raise ForgeError(
                f"{first.name}: the table puts {first.person} and what belongs to it into {', '.join(sorted(wanted))}; "
                f"give one of {', '.join(name for name, _ in shares)}"
            )
        if wanted:
            out[group] = wanted.pop()
        else:
            free[tuple(sorted({m.role for m in mine}))][group_of(mine[0])].append(group)
    for roles, by_people in sorted(free.items()):
        order = [name for _, names in sorted(by_people.items()) for name in shuffled(names, seed, f"split/{roles}")]
        names = quotas(len(order), shares)
        # one group after the other, and every split spread evenly over them all
        out |= dict(zip(order, names if len(by_people) == 1 else spread(names), strict=True))
    return {m.source: out[groups[m.source]] for m in materials}


def spread(names: Sequence[str]) -> list[str]:
    """The same names in an order in which each is spread evenly."""
    total, seen = Counter(names), Counter[str]()
    places: list[tuple[float, int, str]] = []
    for index, name in enumerate(names):
        places.append(((seen[name] + 0.5) / total[name], index, name))
        seen[name] += 1
    return [name for _, _, name in sorted(places)]


def group_of(material: Material, columns: Sequence[str]) -> str:
    """The group of people that somebody belongs to: "woman, 60 and over"; "" without columns.

    A number of years becomes a span of years, and a column that the table leaves empty reads "unstated".
    """
    if not columns:
        return ""
    said = dict(material.traits)
    return ", ".join(_years(said.get(column, UNSTATED)) if column == "age" else said.get(column, UNSTATED)
                     for column in columns)  # fmt: skip


def _years(text: str) -> str:
    if not text.isdecimal():
        return text
    first = [low for low in AGES if low <= int(text)]
    if not first:
        return f"under {AGES[0]}"
    after = [low for low in AGES if low > int(text)]
    return f"{first[-1]} to {after[0] - 1}" if after else f"{first[-1]} and over"


def connected(materials: Sequence[Material]) -> dict[str, str]:
    """Source -> name of its group: sources are in one group when they show one person, by any chain."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for material in materials:
        parent[root(f"person {material.person}")] = root(f"source {material.source}")
    least: dict[str, str] = {}
    for material in materials:
        group = root(f"source {material.source}")
        least[group] = min(least.get(group, material.source), material.source)
    return {m.source: least[root(f"source {m.source}")] for m in materials}


def interleaved(materials: Sequence[Material], splits: Mapping[str, str], seed: int) -> list[Material]:
    """The materials in shuffled order, each split spread evenly over it: a short dataset has all splits, too."""
    order = shuffled(materials, seed, "order", key=lambda m: m.sha256)
    total, seen = Counter(splits[m.source] for m in order), Counter[str]()
    places: list[tuple[float, int, Material]] = []
    for index, material in enumerate(order):
        split = splits[material.source]
        places.append(((seen[split] + 0.5) / total[split], index, material))
        seen[split] += 1
    return [material for _, _, material in sorted(places, key=lambda place: place[:2])]
