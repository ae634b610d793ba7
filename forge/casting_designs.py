"""Who and what is in pair n of a dataset with a design: makers by split, people in groups, donors.

Rules:

1. Pair n belongs to real window n; its forgeries, portraits, speech and donors are of the same split, and it ends with
   the real material. Without any it belongs to portrait n, in turns without end.
2. A pair has a rank in its stratum: a split, where people are grouped a group of a split, and where a maker needs
   sound, its silent clips apart. Factors are balanced by that rank (`forge.design`).
3. A donor is another person's real clip; everybody gives as often as everybody else.
4. A maker that lacks what it needs in a split (portraits, a second person, speech) makes nothing there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from forge.casting import Casting, Part, Scene, Twinned, another, windows_of
from forge.design import MakerFacts, Pair, Spot, face_factors_of, maker_facts, method_facts
from forge.material import Material, Role
from forge.portrait import ForgeError
from forge.recipes import DatasetRecipe
from forge.splits import assign_splits, group_of, interleaved, quotas, shuffled, spread
from media.catalog import Label

Facts = Mapping[str, MakerFacts]
Cell = tuple[str, str]
"""A split and a group of people, or a language."""
Item = TypeVar("Item")


def cast(
    recipe: DatasetRecipe, materials: Sequence[Material], *, seed: int, method: str, facts: Facts | None = None
) -> Casting:
    """Assign splits, orders and makers.

    Args:
        recipe: the design.
        materials: as looked at; those with a problem are left out.
        seed: of the dataset.
        method: the one that animates where the recipe names no makers.
        facts: of makers by name; looked up where they are not given.

    Raises:
        ForgeError: when nothing usable of a role is there, or the design asks for what the material does not have.
    """
    if not recipe.is_designed:
        usable = _usable(materials, {Role.PORTRAIT, Role.SPEECH})
        return Twinned.of(recipe, usable, seed, method_facts(method))
    names = dict.fromkeys(recipe.makers or (method,))
    known = facts or {}
    look_up = maker_facts if recipe.makers else method_facts
    found = {name: known[name] if name in known else look_up(name) for name in names}
    _check_effect(recipe, list(found.values()))
    of_real = [name for name, maker in found.items() if not maker.animates]
    if of_real and not any(m.role is Role.REAL for m in materials):
        raise ForgeError(f"{of_real[0]} starts from real clips, and none are given: give --real")
    wanted = {Role.PORTRAIT} if len(of_real) < len(found) else set()
    wanted |= {Role.SPEECH} if any(maker.needs_speech for maker in found.values()) else set()
    wanted |= {Role.REAL} if of_real else set()
    given = [m for m in materials if m.role in wanted | {Role.REAL}]  # of the others nothing would be made
    return Designed.of(recipe, _usable(given, wanted), seed, found)


def _check_effect(recipe: DatasetRecipe, makers: Sequence[MakerFacts]) -> None:
    """Refuse what a design asks for and none of its makers listens to."""
    face = face_factors_of(recipe)
    if face and not any(maker.animates for maker in makers):
        raise ForgeError(
            f"recipe {recipe.name} sets {', '.join(face)}, which only an animated portrait has; add a method such as "
            "mesh to its makers"
        )
    if recipe.languages and not any(maker.needs_speech for maker in makers):
        raise ForgeError(f"recipe {recipe.name} names languages, and none of its makers needs speech; leave them out")
    if recipe.partial and all(maker.animates for maker in makers):
        raise ForgeError(
            f"recipe {recipe.name} asks for partial forgeries, and a method forges the whole clip; add a manipulation"
        )


def _usable(materials: Sequence[Material], wanted: set[Role]) -> dict[Role, list[Material]]:
    found: dict[Role, list[Material]] = {role: [] for role in Role}
    for material in materials:
        if material.problem is None:
            found[material.role].append(material)
    for role in Role:
        if role in wanted | {m.role for m in materials} and not found[role]:
            problems = [m.problem for m in materials if m.role is role and m.problem]
            what = "real video" if role is Role.REAL else role.value
            raise ForgeError(f"no usable {what}: {problems[0] if problems else 'none was given'}")
    return found


@dataclass(frozen=True)
class Designed:
    """Makers by split, factors by stratum: rules 1 to 4."""

    recipe: DatasetRecipe
    portraits: tuple[Material, ...]
    """In the order of use; where people are grouped, those of small groups come several times a turn."""
    reals: tuple[Scene, ...]
    splits: Mapping[str, str]
    speech_is_split: bool
    makers: Mapping[str, tuple[tuple[MakerFacts, bool], ...]]
    """By split, as often as they are to be used, and whether there is the material for them."""
    groups: tuple[str, ...]
    """Of people: of each real window, or of each portrait of a turn."""
    strata: tuple[str, ...]
    ranks: tuple[int, ...]
    sizes: Mapping[str, int]
    """Pairs of a turn by stratum."""
    by_cell: Mapping[tuple[str, str], tuple[Material, ...]]
    """Portraits by split and group; of a whole split under ""."""
    said: Mapping[tuple[str, str], tuple[Material, ...]]
    """Speech by split and language; under "" whatever the language."""
    givers: Mapping[tuple[str, str], tuple[tuple[Scene, ...], ...]]
    """Real windows by split and group, person by person."""
    seats: Mapping[tuple[str, str, str], int]
    """Place of a person among the givers of a split and group."""
    numbers: Mapping[str, tuple[int, int, int]]
    """Portraits, people in real clips and recordings of the scarcest language, by split."""
    balanced_pairs: int
    """From here on groups are no longer used equally often, for want of material."""

    @classmethod
    def of(cls, recipe: DatasetRecipe, usable: Mapping[Role, list[Material]], seed: int, facts: Facts) -> Designed:
        """Assign splits, orders, strata and makers."""
        reals, portraits, speech = usable[Role.REAL], usable[Role.PORTRAIT], usable[Role.SPEECH]

        def people_of(material: Material) -> str:
            return group_of(material, recipe.groups)

        splits = assign_splits([*portraits, *reals], recipe.split_shares, seed, people_of)
        windows = windows_of(interleaved(reals, splits, seed))
        order = interleaved(portraits, splits, seed)
        if recipe.groups:
            windows = _in_turns(windows, [(splits[m.source], people_of(m)) for m, _ in windows], again=False)
            order = _in_turns(order, [(splits[m.source], people_of(m)) for m in order], again=not reals)
        leads = [m for m, _ in windows] if windows else order
        cells = [(splits[m.source], people_of(m)) for m in leads]
        said, speech_is_split = _speech_places(recipe, speech, [*portraits, *reals], splits, seed)
        by_cell = _cells(list(dict.fromkeys(order)), splits, people_of)
        wanted = any(maker.needs_donor for maker in facts.values())
        givers, seats = _givers(windows if wanted else (), splits, people_of)
        makers, numbers = {}, {}
        for split, _ in recipe.split_shares:
            named = [facts[name] for name in recipe.makers_of(split) or tuple(facts)]
            voices = min(len(said.get((split, language), ())) for language in recipe.languages or ("",))
            numbers[split] = len(by_cell.get((split, ""), ())), len(givers.get((split, ""), ())), voices
            makers[split] = tuple((maker, not lacking(maker, *numbers[split])) for maker in named)
        strata, ranks, sizes = _strata(leads, cells, makers if windows else {})
        return cls(
            recipe=recipe,
            portraits=tuple(order),
            reals=tuple(windows),
            splits=splits,
            speech_is_split=speech_is_split,
            makers=makers,
            groups=tuple(group for _, group in cells),
            strata=strata,
            ranks=ranks,
            sizes=sizes,
            by_cell=by_cell,
            said=said,
            givers=givers,
            seats=seats,
            numbers=numbers,
            balanced_pairs=_balanced_until(cells),
        )

    @property
    def most_makers(self) -> int:
        """Of the split that has most."""
        return max(map(len, self.makers.values()))

    def part(self, index: int) -> Part | None:
        """The pair of real window `index`, or of portrait `index` in turns."""
        if self.reals:
            if index >= len(self.reals):
                return None
            turn, at, lead = 0, index, self.reals[index][0]
        else:
            turn, at = divmod(index, len(self.portraits))
            lead = self.portraits[at]
        stratum, split = self.strata[at], self.splits[lead.source]
        rank = self.ranks[at] + turn * self.sizes[stratum]
        able = [
            (maker, can_work and not (maker.needs_sound and not lead.has_sound))
            for maker, can_work in self.makers[split]
        ]
        makers = tuple(maker if is_able else None for maker, is_able in able if maker.label is Label.SYNTHETIC)
        nulls = tuple(maker for maker, is_able in able if is_able and maker.label is Label.REAL)
        return Part(
            spot=Spot(index, stratum, rank),
            split=split,
            portrait=self._portrait(split, self.groups[at], rank) if self.reals else lead,
            real=self.reals[index] if self.reals else None,
            # a real clip without a forgery would only unbalance the labels
            has_own=bool(self.reals) and (any(makers) or bool(nulls)),
            makers=makers,
            nulls=nulls,
        )

    def speech_of(self, part: Part, pair: Pair, attempt: int = 0, least_seconds: float = 0.0) -> Material | None:
        """The split's recordings of the pair's language in turns; never what the real clip itself says."""
        choices = self.said.get((part.split, pair.language or ""), ())
        languages = max(1, len(set(self.recipe.languages)))
        rank, people = part.spot.rank, len(self.by_cell.get((part.split, ""), ())) or 1
        first = rank // languages + rank // people
        own = another(choices, first, attempt, least_seconds) or another(choices, first, 0, 0.0)
        if own is None or part.real is None or not _same_voice(own, part.real[0]):
            return own
        others = [m for m in choices if not _same_voice(m, part.real[0])]
        return another(others, first, attempt, least_seconds) or another(others, first, 0, 0.0)

    def donor_of(self, part: Part, seconds: float, attempt: int = 0) -> Scene | None:
        """Another person of the same group, or where there is none, of the split.

        The shift from one person to the next is the same for all, and another one for every further window of a
        person: so everybody gives equally often.
        """
        if part.real is None:
            return None
        person = part.real[0].person
        for group in dict.fromkeys([self.groups[part.spot.index], ""]):
            people = self.givers.get((part.split, group), ())
            seat = self.seats.get((part.split, group, person))
            if seat is None or len(people) < 2:
                continue
            window = part.real[0].windows.index(part.real[1])
            shift = 1 + (window + attempt) % (len(people) - 1)
            theirs = people[(seat + shift) % len(people)]
            turned = [theirs[(window + k) % len(theirs)] for k in range(len(theirs))]
            return next((scene for scene in turned if scene[1].seconds >= seconds), turned[0])
        return None

    def understudies(self, part: Part) -> Sequence[Material]:
        """The portraits of the same split and group, from the own one on."""
        if part.portrait is None:
            return ()
        group = group_of(part.portrait, self.recipe.groups)
        mine = self.by_cell[part.split, group]
        at = mine.index(part.portrait)
        return [*mine[at:], *mine[:at]]

    def _portrait(self, split: str, group: str, rank: int) -> Material | None:
        """One of the real person's group where the split has one: the group shall not tell the label."""
        mine = self.by_cell.get((split, group)) or self.by_cell.get((split, ""))
        return mine[rank % len(mine)] if mine else None


def _same_voice(speech: Material, real: Material) -> bool:
    return speech.source == real.source or bool(speech.person and speech.person == real.person)


def lacking(maker: MakerFacts, portraits: int, people: int, voices: int) -> str:
    """What a maker needs and a split does not have, by its numbers; "" for nothing."""
    if maker.animates and not portraits:
        return "portraits"
    if maker.needs_donor and people < 2:
        return "a second person whose face it could take"
    return "speech" if maker.needs_speech and not voices else ""


def _strata(
    leads: Sequence[Material], cells: Sequence[Cell], makers: Mapping[str, Sequence[tuple[MakerFacts, bool]]]
) -> tuple[tuple[str, ...], tuple[int, ...], dict[str, int]]:
    """Stratum and rank in it of every lead, and the size of every stratum."""
    particular = {split for split, named in makers.items() if any(maker.needs_sound for maker, _ in named)}
    strata: list[str] = []
    ranks: list[int] = []
    sizes: Counter[str] = Counter()
    for lead, (split, group) in zip(leads, cells, strict=True):
        silent = "silent" if split in particular and not lead.has_sound else ""
        stratum = "|".join(filter(None, [split, group, silent]))
        strata.append(stratum)
        ranks.append(sizes[stratum])
        sizes[stratum] += 1
    return tuple(strata), tuple(ranks), dict(sizes)


def _in_turns(items: Sequence[Item], cells: Sequence[Cell], *, again: bool) -> list[Item]:
    """Items in an order in which the groups of each split take turns, each split spread evenly.

    Args:
        items: in the order in which they are used within a cell.
        cells: split and group of each.
        again: begin small groups again until the largest of the split is through.
    """
    by_cell: dict[Cell, list[Item]] = defaultdict(list)
    for item, cell in zip(items, cells, strict=True):
        by_cell[cell].append(item)
    by_split: dict[str, list[Item]] = defaultdict(list)
    for split in dict.fromkeys(split for split, _ in cells):
        groups = [found for (name, _), found in sorted(by_cell.items(), key=lambda one: one[0]) if name == split]
        for k in range(max(map(len, groups))):
            by_split[split] += [found[k % len(found)] for found in groups if again or k < len(found)]
    rest = {split: iter(found) for split, found in by_split.items()}
    return [next(rest[split]) for split in spread([split for split, found in by_split.items() for _ in found])]


def _balanced_until(cells: Sequence[Cell]) -> int:
    """How many pairs there are before a group of a split runs dry while others of that split go on."""
    inside: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for index, (split, group) in enumerate(cells):
        inside[split].append((index, group))
    ends = [len(cells)]
    for places in inside.values():
        last = {group: at for at, (_, group) in enumerate(places)}
        first_dry = min(last.values())
        if first_dry < len(places) - len(last):
            ends.append(places[first_dry][0] + 1)
    return min(ends)


def _cells(
    portraits: Sequence[Material], splits: Mapping[str, str], people_of: Callable[[Material], str]
) -> dict[Cell, tuple[Material, ...]]:
    """Portraits by split and group, and of each split under no group."""
    out: dict[Cell, list[Material]] = defaultdict(list)
    for portrait in portraits:
        for group in dict.fromkeys(["", people_of(portrait)]):
            out[splits[portrait.source], group].append(portrait)
    return {cell: tuple(found) for cell, found in out.items()}


def _givers(
    windows: Sequence[Scene], splits: Mapping[str, str], people_of: Callable[[Material], str]
) -> tuple[dict[Cell, tuple[tuple[Scene, ...], ...]], dict[tuple[str, str, str], int]]:
    """Real windows by split and group, person by person; and everybody's place there."""
    found: dict[Cell, dict[str, list[Scene]]] = defaultdict(lambda: defaultdict(list))
    for scene in windows:
        for group in dict.fromkeys(["", people_of(scene[0])]):
            found[splits[scene[0].source], group][scene[0].person].append(scene)
    givers = {cell: tuple(map(tuple, people.values())) for cell, people in found.items()}
    seats = {(*cell, person): at for cell, people in found.items() for at, person in enumerate(people)}
    return givers, seats


def _speech_places(
    recipe: DatasetRecipe, speech: Sequence[Material], people: Sequence[Material], splits: Mapping[str, str], seed: int
) -> tuple[dict[Cell, tuple[Material, ...]], bool]:
    """Speech by split and language, and whether every voice is in one split only.

    A voice that belongs to somebody who is seen, or was cut from a video that is, goes where that one is.

    Raises:
        ForgeError: when nobody speaks a language.
    """
    names = [split for split, _ in recipe.split_shares]
    home = {m.person: splits[m.source] for m in people} | {m.source: splits[m.source] for m in people}
    place = {_voice(m): home[key] for m in speech for key in (m.person, m.source) if key in home}
    out: dict[Cell, tuple[Material, ...]] = {}
    is_split = True
    for language in dict.fromkeys(recipe.languages or ("",)) if speech else ():
        mine = [m for m in speech if language in ("", m.language)]
        if not mine:
            raise ForgeError(f"no usable speech in {language!r}; the table has {_languages(speech)}")
        todo = shuffled(sorted({_voice(m) for m in mine} - set(place)), seed, f"voices/{language}")
        place |= dict(zip(todo, quotas(len(todo), recipe.split_shares), strict=True))
        kept_apart = {place[_voice(m)] for m in mine} == set(names)
        is_split = is_split and kept_apart
        for split in names:
            heard = [m for m in mine if place[_voice(m)] == split or not (kept_apart or _is_home(m, home))]
            out[split, language] = tuple(shuffled(heard, seed, f"speech/{split}", key=lambda m: m.sha256))
    return out, is_split


def _voice(speech: Material) -> str:
    return speech.person or speech.source


def _is_home(speech: Material, home: Mapping[str, str]) -> bool:
    return speech.person in home or speech.source in home


def _languages(speech: Sequence[Material]) -> str:
    counts = Counter(m.language for m in speech)
    return ", ".join(f"{count} in {language}" for language, count in sorted(counts.items()))
