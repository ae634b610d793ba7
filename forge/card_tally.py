"""What a dataset holds, counted in one pass: factors by split and label, and a few clips of every level to look at.

    tally = Tally.of(catalog)
    tally.named["emotion"].counts["happy", "train", Label.SYNTHETIC]

Memory grows with the people and the levels of factors, never with the clips: a million clips are counted like ten.
Which clips are shown depends on their ids alone.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from media.catalog import JSON, Label, Sample

MOST_LEVELS = 24
"""A named factor with more of them is told as `many`, and is no table."""
SHOWN = 6
"""Clips of every level that can be looked at."""
LOOKED_AT = 12
"""Clips of each label on the first sheet."""
LOOK_AT_SECONDS = 1.0
"""At most so far into a clip the picture is taken: decoding to the middle of long ones costs minutes."""
WHOLE = 0.98
"""Share of a clip from which on segments are all of it."""
NAMES: Mapping[str, str] = {
    "crop_factor": "crop over face box",
    "crop_px": "crop in source pixels",
    "detail_px": "detail in pixels",
    "kind": "kind of picture",
}
"""What factors are called on the card, where it is not their key with spaces."""
NO_FACTORS = frozenset(
    {"truth", "masks", "input", "speech", "donor", "frames", "crf", "seed", "start_seconds", "segments", "original"}
    | {"pair", "attempt", "number", "people", "video_frames", "donor_source", "speech_start_seconds"}
    | {"partial", "platform"}
)
"""Facts of a clip that are no factors of a design: names, places and numbers of their own; and two told otherwise."""
NESTED = ("controls", "factors", "traits", "groups", "quality")
"""Facts that hold several factors."""


@dataclass
class Spread:
    """Numbers, in four."""

    count: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count one more."""
        self.count += 1
        self.low, self.high, self.total = min(self.low, value), max(self.high, value), self.total + value

    def __str__(self) -> str:
        """`2 to 4, mean 3`."""
        return f"{self.low:.3g} to {self.high:.3g}, mean {self.total / self.count:.3g}" if self.count else "-"


@dataclass
class Levels:
    """A named factor: how often each of its levels comes."""

    counts: Counter[tuple[str, str, Label]] = field(default_factory=Counter)
    """By level, split and label."""
    names: set[str] = field(default_factory=set)
    is_many: bool = False

    def add(self, level: str, sample: Sample) -> None:
        """Count one more; too many levels are forgotten."""
        self.names.add(level)
        self.counts[level, sample.split or "", sample.label] += 1
        if len(self.names) > MOST_LEVELS:
            self.is_many = True
            self.counts.clear()
            self.names.clear()

    def of(self, level: str, label: Label) -> int:
        """Clips of a level in all splits."""
        return sum(count for (name, _, mine), count in self.counts.items() if name == level and mine is label)


@dataclass(frozen=True, order=True)
class Look:
    """A clip that may be shown, and where in it to look."""

    rank: int
    """Drawn from the id: the lowest are shown."""
    id: str
    path: str = field(compare=False)
    label: Label = field(compare=False)
    split: str = field(compare=False)
    frame: int = field(compare=False)
    person: str = field(compare=False, default="")

    @classmethod
    def at(cls, sample: Sample) -> Look:
        """Early in a clip, and amid the first forged segment of a partial one."""
        rank = int.from_bytes(hashlib.sha256(sample.id.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        first = next(iter(segments_of(sample)), None) if is_partial(sample) else None
        seconds = min((sample.seconds or 0.0) / 2, LOOK_AT_SECONDS) if first is None else sum(first) / 2
        frame = int(seconds * float(sample.frame_rate or Fraction(25)))
        return cls(rank, sample.id, sample.path, sample.label, sample.split or "", frame, sample.cluster)


class Few:
    """The few looks with the lowest ranks, whatever order they come in: of different people, as far as these go."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._any: list[Look] = []
        self._people: dict[str, Look] = {}

    def add(self, look: Look) -> None:
        """Keep it, when it is among the lowest."""
        insort(self._any, look)
        del self._any[self._most :]
        before = self._people.get(look.person)
        if before is None or look < before:
            self._people[look.person] = look
            if len(self._people) > self._most:
                # somebody who is left out now comes in again with a clip of a lower rank: the result is exact
                del self._people[max(self._people, key=lambda person: self._people[person])]

    def sorted(self) -> list[Look]:
        """By rank."""
        first = sorted(self._people.values())
        more = [look for look in self._any if look not in first]
        return sorted([*first, *more][: self._most])


@dataclass
class Tally:
    """All counts of a dataset."""

    clips: int = 0
    seconds: float = 0.0
    splits: Counter[tuple[str, Label]] = field(default_factory=Counter)
    people: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """By split; a short digest of each name."""
    named: dict[str, Levels] = field(default_factory=lambda: defaultdict(Levels))
    spreads: dict[str, dict[Label, Spread]] = field(default_factory=dict)
    licenses: Counter[tuple[str, Label]] = field(default_factory=Counter)
    consents: Counter[tuple[str, Label]] = field(default_factory=Counter)
    looks: dict[Label, Few] = field(default_factory=lambda: {label: Few(LOOKED_AT) for label in Label})
    looks_by_level: dict[tuple[str, str], Few] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Tally:
        """Count all samples."""
        tally = cls()
        for sample in samples:
            tally.add(sample)
        return tally

    def add(self, sample: Sample) -> None:
        """Count one more."""
        split, label = sample.split or "", sample.label
        self.clips += 1
        self.seconds += sample.seconds or 0.0
        self.splits[split, label] += 1
        if sample.person is not None:
            digest = hashlib.blake2b(sample.person.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            self.people[split].add(int.from_bytes(digest, "big"))
        self.licenses[sample.license or "not stated", label] += 1
        self.consents[kind_of_consent(sample.consent), label] += 1
        look = Look.at(sample)
        self.looks[label].add(look)
        for name, value in factors_of(sample):
            if isinstance(value, str):
                self._add_level(name, value, sample, look)
            else:
                self.spreads.setdefault(name, {one: Spread() for one in Label})[label].add(value)

    def _add_level(self, name: str, level: str, sample: Sample, look: Look) -> None:
        levels = self.named[name]
        if levels.is_many:
            return
        levels.add(level, sample)
        if levels.is_many:
            for key in [key for key in self.looks_by_level if key[0] == name]:
                del self.looks_by_level[key]
        else:
            self.looks_by_level.setdefault((name, level), Few(SHOWN)).add(look)

    @property
    def all_splits(self) -> list[str]:
        """Their names, those that everybody knows first."""
        found = {split for split, _ in self.splits}
        return [s for s in ("train", "val", "test") if s in found] + sorted(found - {"train", "val", "test"})

    def people_in(self, split: str) -> int:
        """How many are seen."""
        return len(self.people.get(split, ()))

    def total(self, label: Label) -> int:
        """Clips of a label."""
        return sum(count for (_, mine), count in self.splits.items() if mine is label)


def factors_of(sample: Sample) -> Iterator[tuple[str, str | float]]:
    """Name and value of every factor that a clip tells: texts are levels, numbers are spread."""
    yield "maker", sample.maker or "not stated"
    if sample.seconds is not None:
        yield "seconds", float(sample.seconds)
    if sample.codec is not None:
        yield "codec", sample.codec
    if sample.has_sound is not None:
        yield "sound", "with sound" if sample.has_sound else "silent"
    if sample.label is Label.SYNTHETIC:
        yield "partial", "partly forged" if is_partial(sample) else "forged throughout"
    if "platform" in sample.extra:
        yield "platform", str(sample.extra["platform"] or "none")
    yield from _told(sample.extra)


def _told(facts: Mapping[str, JSON]) -> Iterator[tuple[str, str | float]]:
    for key, value in facts.items():
        if isinstance(value, dict) and key in NESTED:
            yield from _told(value)
        elif key in NO_FACTORS or key.endswith("_sha256") or value is None:
            continue
        elif isinstance(value, bool):
            yield name_of(key), "yes" if value else "no"
        elif isinstance(value, int | float):
            yield name_of(key), float(value)
        elif isinstance(value, str) and value:
            yield name_of(key), value


def name_of(key: str) -> str:
    """What a factor is called."""
    return NAMES.get(key, key.replace("_", " "))


def segments_of(sample: Sample) -> list[tuple[float, float]]:
    """The forged seconds of a partial forgery."""
    told = sample.extra.get("segments")
    found: list[tuple[float, float]] = []
    for one in told if isinstance(told, list) else ():
        ends = [one.get("start_seconds"), one.get("end_seconds")] if isinstance(one, dict) else one
        if isinstance(ends, list) and len(ends) == 2:
            start, end = ends
            if isinstance(start, int | float) and isinstance(end, int | float):
                found.append((float(start), float(end)))
    return found


def is_partial(sample: Sample) -> bool:
    """Whether only a part of a clip is forged: as its maker says, or by the seconds that are."""
    said = sample.extra.get("partial")
    if isinstance(said, bool):
        return said
    forged = sum(end - start for start, end in segments_of(sample))
    return 0 < forged < WHOLE * (sample.seconds or float("inf"))


def kind_of_consent(consent: str | None) -> str:
    """`consent` of `consent: she agreed to ...`; a word for those who say it otherwise, or nothing."""
    if consent is None:
        return "not stated"
    kind, colon, _ = consent.partition(":")
    return kind if colon and len(kind) <= 20 else "stated in the catalog"
