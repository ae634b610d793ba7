"""Which clips a dataset has: pure arithmetic on the materials, the recipe and the seed.

    plan = Plan.of(recipe, materials, seed=0, method="mesh")
    for clip in plan.clips(12): ...

Rules:

1. Clip number n depends on the recipe, the materials and the seed, never on how many are asked for: a larger limit
   continues the same sequence.
2. Synthetic and real clips are twins: pair n shares length, crop factor, detail, codec step and the presence of sound,
   so that none of them tells the label. What only one of the two could reach, neither gets.
3. A person, a source and (when there are enough of them) a speech recording are in one split only.
4. The id of a clip is a digest of everything that its pixels and sound depend on.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any, TypeVar

import numpy as np

from forge.framing import square_around
from forge.material import Material, Role, Window
from forge.motion.controls import BASELINE, Controls
from forge.motion.sources import MotionSource
from forge.portrait import ForgeError
from forge.recipes import DatasetRecipe, Range
from media.catalog import Label

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class PlannedClip:
    """One clip to be made."""

    number: int
    id: str
    """16 hexadecimal digits (rule 4)."""
    label: Label
    split: str
    frames: int
    crf: int
    crop_factor: float
    detail: int
    """Pixels a side that the crop is reduced to before it is brought to the recipe's size."""
    has_sound: bool
    start_seconds: float
    """Where in the speech, or in the real video, the clip begins."""
    person: str
    source: str
    face: Material
    """The portrait, or the real video."""
    window: Window
    speech: Material | None = None
    controls: Controls | None = None
    motion: MotionSource | None = None


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


@dataclass(frozen=True)
class Plan:
    """The endless sequence of clips; `clips(limit)` gives its beginning."""

    recipe: DatasetRecipe
    seed: int
    method: str
    portraits: tuple[Material, ...]
    """In the order of use, splits interleaved."""
    speech: Mapping[str, tuple[Material, ...]]
    """By split."""
    reals: tuple[tuple[Material, Window], ...]
    """In the order of use: the first window of every source, then the second ones ..."""
    splits: Mapping[str, str]
    """Split of each person and source."""
    speech_is_split: bool

    @classmethod
    def of(cls, recipe: DatasetRecipe, materials: Sequence[Material], *, seed: int, method: str) -> Plan:
        """Assign splits and orders.

        Raises:
            ForgeError: when nothing of a role that was given is usable, or a table wants one person in two splits.
        """
        usable = [m for m in materials if m.problem is None]
        portraits, speech, reals = ([m for m in usable if m.role is role] for role in Role)
        wanted = {Role.PORTRAIT, Role.SPEECH} | {m.role for m in materials}
        for found, role in zip((portraits, speech, reals), Role, strict=True):
            if role in wanted and not found:
                what = "real video" if role is Role.REAL else role.value
                raise ForgeError(f"no usable {what}: {_first_problem(materials, role)}")
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
        spread = [(m, m.windows[0]) for m in interleaved(portraits, splits, seed)]
        order = interleaved(reals, splits, seed)
        rounds = range(max((len(m.windows) for m in order), default=0))
        windows = tuple((m, m.windows[k]) for k in rounds for m in order if k < len(m.windows))
        return cls(recipe, seed, method, tuple(m for m, _ in spread), said, windows, splits, speech_is_split)

    def clips(self, limit: int) -> Iterator[PlannedClip]:
        """The clips with numbers below `limit`; with real material every second number is a real clip.

        Numbers of real clips stay empty once the real material is used up, so fewer clips than `limit` may come.
        """
        for number in range(limit):
            clip = self.clip(number)
            if clip is not None:
                yield clip

    def clip(self, number: int) -> PlannedClip | None:
        """The clip of a number, made from that number alone (rule 1)."""
        if not self.reals:
            return self._synthetic(number, number)
        if number % 2 == 0:
            return self._synthetic(number, number // 2)
        return self._real(number, number // 2) if number // 2 < len(self.reals) else None

    def _twins(self, index: int) -> Twins:
        """Pair `index`: the design, bent to what both the portrait and the real window allow."""
        pair = draw_pair(self.recipe, self.seed, index)
        rank, turn = index % len(self.portraits), index // len(self.portraits)
        portrait = self.portraits[rank]
        choices = self.speech[self.splits[portrait.source]]
        speech = choices[(rank + turn) % len(choices)]
        sides = [(portrait, portrait.windows[0])]
        seconds, has_sound = min(pair.seconds, speech.seconds), True
        if self.reals:
            real, window = self.reals[index % len(self.reals)]
            sides.append((real, window))
            seconds, has_sound = min(seconds, window.seconds), real.has_sound
        factor = min(pair.crop_factor, *(widest_crop(m.width, m.height, w.box) for m, w in sides))
        crops = [square_around(w.box, width=m.width, height=m.height, factor=factor).side for m, w in sides]
        return Twins(
            pair=pair,
            portrait=portrait,
            speech=speech,
            frames=max(1, int(seconds * self.recipe.fps)),
            crop_factor=factor,
            detail=min(self.recipe.size, *crops),
            has_sound=has_sound,
        )

    def _synthetic(self, number: int, index: int) -> PlannedClip:
        twins = self._twins(index)
        portrait, speech, controls = twins.portrait, twins.speech, twins.pair.controls
        start = round(twins.pair.offset * max(0.0, speech.seconds - float(twins.frames / self.recipe.fps)), 3)
        facts = (start, portrait.sha256, portrait.windows[0].box, speech.sha256, controls.to_json())
        motion = twins.pair.motion
        # the baseline is not named: ids are older than there being anything else
        moved_by = () if motion == MotionSource(BASELINE) else (motion.to_json(),)
        return PlannedClip(
            number=number,
            id=self._digest(Label.SYNTHETIC, twins, *facts, *moved_by),
            label=Label.SYNTHETIC,
            split=self.splits[portrait.source],
            start_seconds=start,
            person=portrait.person,
            source=portrait.source,
            face=portrait,
            window=portrait.windows[0],
            speech=speech,
            controls=controls,
            motion=motion,
            **twins.shared(),
        )

    def _real(self, number: int, index: int) -> PlannedClip:
        twins = self._twins(index)
        real, window = self.reals[index]
        return PlannedClip(
            number=number,
            id=self._digest(Label.REAL, twins, window.start_seconds, real.sha256, window.box),
            label=Label.REAL,
            split=self.splits[real.source],
            start_seconds=window.start_seconds,
            person=real.person,
            source=real.source,
            face=real,
            window=window,
            **twins.shared(),
        )

    def _digest(self, label: Label, twins: Twins, *rest: Any) -> str:
        recipe = self.recipe
        made_by = [label.value, self.method, recipe.name, self.seed]
        form = [recipe.size, str(recipe.fps), recipe.preset, recipe.sample_rate_hz, twins.shared()]
        return hashlib.sha256(json.dumps([*made_by, *form, *rest], sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Twins:
    """Pair n as it will be filmed: what its two clips share (rule 2), and what the synthetic one is made of."""

    pair: Pair
    portrait: Material
    speech: Material
    frames: int
    crop_factor: float
    detail: int
    has_sound: bool

    def shared(self) -> dict[str, Any]:
        """The fields of a `PlannedClip` that both twins have alike."""
        return {
            "frames": self.frames,
            "crf": self.pair.crf,
            "crop_factor": self.crop_factor,
            "detail": self.detail,
            "has_sound": self.has_sound,
        }


def widest_crop(width: int, height: int, box: Sequence[float]) -> float:
    """The largest crop factor that a picture has room for, rounded down to a thousandth."""
    x0, y0, x1, y1 = box
    return max(1.0, floor(1000 * min(width, height) / max(x1 - x0, y1 - y0)) / 1000)


def draw_pair(recipe: DatasetRecipe, seed: int, index: int) -> Pair:
    """The factors of pair `index`: ranges drawn evenly, choices balanced."""
    rng = random_for(seed, recipe.name, index)

    def draw(limits: Range) -> float:
        return round(float(rng.uniform(*limits)), 3)

    seconds, crop_factor, offset = draw(recipe.seconds), draw(recipe.crop_factors), draw((0.0, 1.0))
    emotion = balanced(recipe.emotions, seed, "emotion", index)
    strength = draw(recipe.emotion_strength)
    frozen = balanced(recipe.frozen_poses, seed, "frozen pose", index)
    controls = Controls(
        gaze_yaw_degrees=draw(recipe.gaze_yaw_degrees),
        gaze_pitch_degrees=draw(recipe.gaze_pitch_degrees),
        distance=draw(recipe.distance),
        emotion=emotion,
        emotion_strength=0.0 if emotion == "neutral" else strength,
        head_motion=draw(recipe.head_motion) * (not frozen),
        blink_rate=draw(recipe.blink_rate),
        lip_gain=draw(recipe.lip_gain),
        seed=int(rng.integers(2**31)),
    )
    motion = balanced(recipe.motions, seed, "motion", index)
    return Pair(seconds, balanced(recipe.crf_ladder, seed, "crf", index), crop_factor, offset, controls, motion)


def random_for(*key: object) -> np.random.Generator:
    """A generator that depends on a key alone, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def balanced(choices: Sequence[Choice], seed: int, factor: str, index: int) -> Choice:
    """The choice at `index` of an endless sequence in which every choice comes equally often, in shuffled blocks."""
    block, place = divmod(index, len(choices))
    return choices[int(random_for(seed, factor, block).permutation(len(choices))[place])]


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


def assign_splits(materials: Sequence[Material], shares: Sequence[tuple[str, float]], seed: int) -> dict[str, str]:
    """A split for every source, such that nobody and nothing is in two; roles are spread alike.

    Returns:
        Source -> split.

    Raises:
        ForgeError: when tables ask for two splits for one person, or for one that the recipe does not have.
    """
    groups = connected(materials)
    out: dict[str, str] = {}
    free: dict[tuple[Role, ...], list[str]] = defaultdict(list)
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
            free[tuple(sorted({m.role for m in mine}))].append(group)
    for roles, names in sorted(free.items()):
        order = shuffled(names, seed, f"split/{roles}")
        out |= dict(zip(order, quotas(len(order), shares), strict=True))
    return {m.source: out[groups[m.source]] for m in materials}


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


def _first_problem(materials: Sequence[Material], role: Role) -> str:
    problems = [m.problem for m in materials if m.role is role and m.problem]
    return problems[0] if problems else "none was given"
