"""What a dataset will be, before anything is made: counts, hours, disk, processor time, and what its figures can tell.

    told = plan_dataset(person_shift(), assume=Assumed(portraits=100, speech=60, reals=400))
    told.counts["label"], told.disk_bytes, told.warnings
    for line in told.lines(): ...

The same from materials that were looked at: `plan_dataset(recipe, materials=...)`, or `outlook(plan, 1000)`.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import isnan
from typing import Any

from forge.caveats import caveats
from forge.costs import CPU_SOURCE, DISK_SOURCE, cost_of_clip
from forge.design import MakerFacts
from forge.headcount import Headcount
from forge.material import Material, Role, Window
from forge.plan import Plan, PlannedClip
from forge.portrait import ForgeError
from forge.power import ASSUMED_ICC, WANTED, PowerNote
from forge.recipes import CHOICES, FACE_RANGES, GROUP, PARTIAL, DatasetRecipe
from forge.splits import UNSTATED, group_of
from media.catalog import Label

LOOKED_AT = 20_000
"""Clips of which every factor is looked at; counts beyond are exact, factors and lengths scaled up."""
PRETEND_SIDE, PRETEND_BOX, PRETEND_GROUPS = 1280, (440.0, 390.0, 840.0, 890.0), 2
"""Of a picture that nobody has: room for every crop, detail for every size."""
ONE_DAY = 24.0


@dataclass(frozen=True)
class Outlook:
    """What a plan will come to."""

    recipe: str
    numbers: int
    """Asked for; where material ends, not every number is a clip."""
    clips: int
    counts: Mapping[str, Mapping[str, int]]
    """Clips by label, split, maker, and by "split label"."""
    people: Mapping[str, int]
    """People by "split label"."""
    factors: Mapping[str, Mapping[str, int]]
    """Levels of the factors that are choices, as counted in the clips that were looked at."""
    ranges: Mapping[str, tuple[float, float, float]]
    """Least, mean and most of the continuous ones."""
    looked_at: int
    hours: float
    """Of video."""
    disk_bytes: int
    cpu_hours: float
    """Of one core, without the makers that are not measured."""
    unmeasured: tuple[str, ...]
    """Makers whose time nobody has measured."""
    combinations: int
    """Of the crossed factors; 1 without any."""
    power: PowerNote
    warnings: tuple[str, ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)
    gpu_hours: float | None = None
    """Not measured on any GPU yet, so not said."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "recipe": self.recipe,
            "numbers": self.numbers,
            "clips": self.clips,
            "counts": {name: dict(table) for name, table in self.counts.items()},
            "people": dict(self.people),
            "factors": {name: dict(table) for name, table in self.factors.items()},
            "ranges": {name: dict(zip(("least", "mean", "most"), v, strict=True)) for name, v in self.ranges.items()},
            "factors_counted_in": self.looked_at,
            "combinations": self.combinations,
            "hours_of_video": round(self.hours, 3),
            "disk_bytes": self.disk_bytes,
            "disk_source": DISK_SOURCE,
            "cpu_hours": round(self.cpu_hours, 3),
            "cpu_hours_without": list(self.unmeasured),
            "cpu_source": CPU_SOURCE,
            "gpu_hours": self.gpu_hours,
            "power": self.power.to_json(),
            "protocol": dict(self.protocol),
            "warnings": list(self.warnings),
        }

    def lines(self) -> Iterator[str]:
        """The same for people, as rich markup; names out of tables are escaped."""
        from rich.markup import escape

        yield f"[bold]{self.recipe}[/]: {self.clips:,} clips, {self.hours:.1f} hours of video"
        yield from _table_lines(self)
        yield ""
        for name, table in self.factors.items():
            shares = sum(table.values()) or 1
            yield f"  {name:<20}" + ", ".join(f"{escape(level)} {100 * n / shares:.0f}%" for level, n in table.items())
        for name, (least, mean, most) in self.ranges.items():
            yield f"  {name:<20}{least:g} to {most:g}, mean {mean:.3g}"
        if self.combinations > 1:
            yield f"  {'crossed':<20}{self.combinations} combinations"
        yield ""
        yield f"disk       about {spoken_bytes(self.disk_bytes)}"
        without = f", without {', '.join(self.unmeasured)} (not measured)" if self.unmeasured else ""
        yield f"processor  about {spoken_hours(self.cpu_hours)} of one core{without}"
        yield "GPU        not said: nobody has measured a dataset on one yet"
        yield ""
        yield from _power_lines(self.power)
        for warning in self.warnings:
            yield f"[yellow]note:[/] {escape(warning)}"


def outlook(plan: Plan, limit: int, *, icc: float = ASSUMED_ICC, looked_at: int = LOOKED_AT) -> Outlook:
    """Go through a plan without making anything.

    Args:
        plan: of the dataset.
        limit: numbers that are planned.
        icc: share of a score's variance between people, for the power note.
        looked_at: clips of which factors and lengths are counted; those of more are scaled up.
    """
    count = Headcount.of(plan, limit)
    seen = list(islice(plan.clips(limit, ids=False), looked_at))
    recipe = plan.recipe
    costs = [(clip, cost_of_clip(clip.maker, recipe, clip.crf, clip.frames)) for clip in seen]
    scale = count.per_clip_of(Counter(clip.maker for clip in seen))
    told = [split for split in count.splits if count.clips(split)] or count.splits
    return Outlook(
        recipe=recipe.name,
        numbers=limit,
        clips=count.total,
        counts=count.tables(),
        people=count.people(),
        factors=_factor_tables(recipe, seen),
        ranges=_ranges(seen),
        looked_at=len(seen),
        hours=sum(scale[c.maker] * c.frames / float(recipe.fps) for c in seen) / 3600,
        disk_bytes=round(sum(scale[clip.maker] * cost.disk_bytes for clip, cost in costs)),
        cpu_hours=sum(scale[clip.maker] * (cost.cpu_seconds or 0.0) for clip, cost in costs) / 3600,
        unmeasured=tuple(sorted({clip.maker for clip, cost in costs if cost.cpu_seconds is None})),
        combinations=recipe.combinations,
        power=PowerNote(told[-1], *count.sampled(told[-1]), icc),
        warnings=caveats(plan, limit, count, seen),
        protocol=recipe.protocol(),
    )


def _factor_tables(recipe: DatasetRecipe, seen: Sequence[PlannedClip]) -> dict[str, dict[str, int]]:
    """How often each level of a factor comes; only factors that have several."""
    of: dict[str, Callable[[PlannedClip], str | None]] = {
        "emotion": lambda c: c.controls.emotion if c.controls else None,
        "motion": lambda c: c.motion.label if c.motion else None,
        "frozen_pose": lambda c: str(c.controls.frozen_pose).lower() if c.controls else None,
        "crf": lambda c: str(c.crf),
        "platform": lambda c: c.platform or "none",
        "language": lambda c: c.speech.language if c.speech else None,
        PARTIAL: lambda c: None if not c.is_manipulated else "whole" if c.segments is None else "partial",
    }
    if recipe.groups:
        of[GROUP] = lambda c: group_of(c.face, recipe.groups)
    out = {}
    for name, level in of.items():
        table = Counter(found for found in map(level, seen) if found is not None)
        asked = name in recipe.crossed or (name in CHOICES and len(set(recipe.levels_of(name))) > 1)
        if len(table) > 1 or (asked and table):
            out[name] = dict(sorted(table.items()))
    return out


def _ranges(seen: Sequence[PlannedClip]) -> dict[str, tuple[float, float, float]]:
    """Least, mean and most of continuous factors, as they came out after materials had their say."""
    values: dict[str, list[float]] = defaultdict(list)
    for clip in seen:
        values["crop_factors"].append(clip.crop_factor)
        values["frames"].append(clip.frames)
        if clip.controls:
            for name in FACE_RANGES:
                values[name].append(getattr(clip.controls, name))
    return {name: (min(found), round(sum(found) / len(found), 4), max(found)) for name, found in sorted(values.items())}


def pretend_materials(recipe: DatasetRecipe, *, portraits: int, speech: int, reals: int) -> list[Material]:
    """Materials as there could be: to plan with before there are any.

    Everybody is another person; a real video is long enough for all windows of the recipe, speech lasts ten seconds or
    as long as the longest clip; languages and groups of people, where the recipe names any, take turns.

    Args:
        recipe: what they are for.
        portraits: pictures, of as many people.
        speech: recordings, of as many voices.
        reals: videos, of as many people.
    """
    longest = recipe.seconds[1]
    windows = tuple(Window(k * longest, longest, PRETEND_BOX) for k in range(recipe.windows_per_source))
    languages = recipe.languages or (UNSTATED,)
    out = []
    for role, many in ((Role.PORTRAIT, portraits), (Role.SPEECH, speech), (Role.REAL, reals)):
        if many < 0:
            raise ForgeError(f"a plan needs numbers of files from 0 on, got {many} for {role.value}")
        for n in range(many):
            name = f"{role.value}{n}"
            material = Material(
                role,
                f"assumed/{name}",
                hashlib.sha256(name.encode()).hexdigest(),
                person=name,
                source=f"{name} of {role.value}",
                traits=tuple((column, f"{column} {n % PRETEND_GROUPS}") for column in recipe.groups),
            )
            if role is Role.SPEECH:
                material = replace(
                    material, seconds=max(10.0, longest), has_sound=True, language=languages[n % len(languages)]
                )
            else:
                material = replace(material, width=PRETEND_SIDE, height=PRETEND_SIDE, has_sound=role is Role.REAL)
                material = replace(material, windows=windows if role is Role.REAL else (Window(0, 0, PRETEND_BOX),))
            out.append(material)
    return out


@dataclass(frozen=True)
class Assumed:
    """Numbers of files that a plan may count on."""

    portraits: int
    speech: int
    reals: int = 0

    @classmethod
    def parse(cls, text: str) -> Assumed:
        """Numbers from "portraits,speech" or "portraits,speech,real".

        Raises:
            ForgeError: for anything else.
        """
        parts = text.split(",")
        if not 2 <= len(parts) <= 3 or not all(part.strip().isdecimal() for part in parts):
            raise ForgeError(
                f'assume takes numbers of portraits, speech and real videos, such as "100,60,400", got {text!r}'
            )
        return cls(*(int(part) for part in parts))


def plan_dataset(
    recipe: DatasetRecipe,
    *,
    limit: int | None = None,
    assume: Assumed | None = None,
    materials: Sequence[Material] = (),
    seed: int = 0,
    method: str = "mesh",
    facts: Mapping[str, MakerFacts] | None = None,
    icc: float = ASSUMED_ICC,
) -> Outlook:
    """What a recipe would come to, on materials that were looked at, or on ones that are only assumed.

    Args:
        recipe: the design.
        limit: numbers that are planned; None takes the recipe's.
        assume: numbers of files, instead of materials.
        materials: as `forge.inspecting` looked at them.
        seed: of the dataset.
        method: that animates where the recipe names no makers.
        facts: of makers that nobody here knows by name.
        icc: share of a score's variance between people, for the power note.

    Raises:
        ForgeError: when both or neither of materials and assumptions are given, or the design cannot be carried out.
    """
    if (assume is None) == (not materials):
        raise ForgeError("a plan needs either folders of material, or --assume with numbers of files")
    if limit is not None and limit < 1:
        raise ForgeError(f"limit must be at least 1, got {limit}")
    if assume is not None:
        materials = pretend_materials(recipe, portraits=assume.portraits, speech=assume.speech, reals=assume.reals)
    plan = Plan.of(recipe, materials, seed=seed, method=method, facts=facts)
    told = outlook(plan, recipe.clips if limit is None else limit, icc=icc)
    if assume is None:
        return told
    words = f"{assume.portraits:,} portraits, {assume.speech:,} recordings of speech, {assume.reals:,} real videos"
    return replace(told, warnings=(f"assumed, not looked at: {words}, each of another person", *told.warnings))


def _table_lines(told: Outlook) -> Iterator[str]:
    table = told.counts["split and label"]
    yield f"  {'split':<10}{'real':>12}{'people':>9}{'synthetic':>12}{'people':>9}"
    for split in told.counts["split"]:
        cells = "".join(
            f"{table.get(f'{split} {label}', 0):>12,}{told.people.get(f'{split} {label}', 0):>9,}" for label in Label
        )
        yield f"  {split:<10}{cells}"
    makers = ", ".join(f"{name} {count:,}" for name, count in told.counts["maker"].items())
    yield f"  makers: {makers}"


def _power_lines(note: PowerNote) -> Iterator[str]:
    yield (
        f"an AUC on {note.split} ({note.real.clips:,} real clips of {note.real.people:,} people, "
        f"{note.synthetic.clips:,} synthetic of {note.synthetic.people:,}; correlation within a person {note.icc:g}, "
        "assumed)"
    )
    prices = note.prices()
    crowd = max(note.real.cluster, note.synthetic.cluster, 1.0)
    for auc, width in note.widths().items():
        told = "too few clips to tell" if isnan(width) else f"+- {width:.3f}"
        yield f"  of {auc:<5g} {told:<22} +- {WANTED:g} takes {prices[auc]:,} clips of each label, {crowd:.3g} a person"


def spoken_bytes(count: float) -> str:
    """A size for people: 12 kB, 3.4 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"


def spoken_hours(hours: float) -> str:
    """A time for people: 40 seconds, 12 minutes, 3.4 hours, 5.2 days."""
    if hours < 1 / 30:
        return f"{hours * 3600:.0f} seconds"
    if hours < 1.5:
        return f"{hours * 60:.3g} minutes"
    return f"{hours:.3g} hours" if hours < 2 * ONE_DAY else f"{hours / ONE_DAY:,.3g} days"
