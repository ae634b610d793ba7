"""Nothing that measures may have taught: refused before anything is trained.

    refuse_leaks(teaching, measuring, allow=("speech",))

What the catalogs tell is compared: people (also those who lent a face), recordings, drivers, speech, inputs, equal
bytes, and the makers of held-out sets. Whether clips look or sound alike is asked only where near-duplicates are
wanted: every clip is decoded for that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from detect.leakage import BYTES, MAKERS, MOTION, SOUND, TOLD, examine
from detect.telling import Say, silent
from media.catalog import Catalog, Label, Sample

LENDERS: Final = {"people": ("donor",), "recordings": ("donor_source",)}
"""Whose face or clip went into another one: keys that `detect.leakage` does not read."""
LEAKS: Final = (*TOLD, BYTES, MAKERS, MOTION, SOUND)
"""Names of the checks."""


class GymError(Exception):
    """The gym cannot be run; the message is one line: what, where, what to do."""


@dataclass(frozen=True)
class Part:
    """Clips of one dataset that either teach or measure."""

    name: str
    root: Path
    samples: tuple[Sample, ...]
    is_slice: bool = False
    """Of the new slice, which has its makers on both sides."""

    @property
    def catalog(self) -> Catalog:
        """These clips alone."""
        return Catalog(self.samples, name=self.name)


@dataclass(frozen=True)
class Leak:
    """The same on both sides."""

    check: str
    count: int
    example: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"check": self.check, "count": self.count, "example": self.example}


def refuse_leaks(
    teaching: Sequence[Part],
    measuring: Sequence[Part],
    *,
    allow: Iterable[str] = (),
    near_duplicates: bool = False,
    say: Say = silent,
) -> tuple[Leak, ...]:
    """Compare both sides; what leaks and was allowed is returned, to be told.

    Args:
        teaching: what a detector will learn from.
        measuring: what both will be measured on.
        allow: checks (`LEAKS`) whose leak is known and accepted.
        near_duplicates: also decode every clip and compare what it shows.
        say: told how it goes.

    Raises:
        GymError: naming the first leak that was not allowed, or an unknown check.
    """
    accepted = set(allow)
    unknown = sorted(accepted - set(LEAKS))
    if unknown:
        raise GymError(f"allow takes {', '.join(LEAKS)}, got {', '.join(unknown)}")
    found = list(_told_leaks(teaching, measuring))
    if near_duplicates:
        found += _seen_leaks(teaching, measuring, say)
    for leak in found:
        if leak.check not in accepted:
            raise GymError(
                f"{leak.check}: {leak.count} are in the training data and in what measures, such as {leak.example}; "
                f'take them out of one side, or accept it with --allow "{leak.check}"'
            )
    return tuple(found)


def _told_leaks(teaching: Sequence[Part], measuring: Sequence[Part]) -> Iterator[Leak]:
    taught: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for part in teaching:
        for sample in part.samples:
            for check, value in _names_of(sample):
                taught[check].setdefault(value, f"{part.name}/{sample.id}")
    both: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for part in measuring:
        for sample in part.samples:
            for check, value in _names_of(sample):
                if value in taught[check] and not (check == MAKERS and part.is_slice):
                    known = value if len(value) < 40 else f"{value[:12]}..."
                    both[check].setdefault(value, f"{known} ({taught[check][value]} and {part.name}/{sample.id})")
    for check in LEAKS:
        if both[check]:
            yield Leak(check, len(both[check]), next(iter(both[check].values())))


def _names_of(sample: Sample) -> Iterator[tuple[str, str]]:
    """What must not be on both sides, by check."""
    for check, keys in TOLD.items():
        for key in (*keys, *LENDERS.get(check, ())):
            value = getattr(sample, key) if key in ("person", "source") else sample.extra.get(key)
            yield from ((check, str(one)) for one in (value if isinstance(value, list) else [value]) if one)
    yield BYTES, sample.sha256
    if sample.label is Label.SYNTHETIC and sample.maker:
        # two datasets write one generator as SadTalker and as sadtalker
        yield MAKERS, sample.maker.casefold()


def _seen_leaks(teaching: Sequence[Part], measuring: Sequence[Part], say: Say) -> list[Leak]:
    """Near-duplicates by motion, pictures and sound across the two sides."""
    sides = [(part, "train") for part in teaching] + [(part, "held out") for part in measuring]
    datasets = [
        (part.root, Catalog([replace(s, split=side) for s in part.samples], name=f"{part.name} ({side})"))
        for part, side in sides
        if part.samples
    ]
    checks = [check for check in examine(datasets, say=say).checks if check.name in (MOTION, SOUND) and check.leaks]
    return [Leak(c.name, int(c.text.split()[0]), c.examples[0] if c.examples else c.text) for c in checks]
