"""What lets a detector cheat in a dataset: the same in two splits, and facts of files that tell the label.

    report = examine([read_dataset(Path("clips"))])
    report.leaks, [check.text for check in report.checks]

Three kinds of checks, told once:

1. *The same in two splits*, by what the catalog says: people, recordings, drivers, speech, inputs, and equal bytes.
2. *The same in two splits*, by what the clips show: motion (a re-encoded, cropped, mirrored or cut copy of a take, or
   a face that the same recording moves), still pictures, and sound (a speech that was used twice). Thresholds lie
   between copies and other clips, see `SAME_MOTION`.
3. *Facts that tell the label*: size, rate, length, codec, sound and so on. For each alone the AUC that is reached by
   knowing how often a value was synthetic among other people's clips; and makers whose clips all share a value that
   the other label hardly has. A detector that sees only faces at one size may still see what an encoder left.

Clips without a split count as training, since a training run takes them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from detect.file_facts import FACTS, Fact, fact_auc, facts_of, one_value
from detect.likenesses import fingerprint_of, likely_pairs
from detect.metrics import Measure
from detect.telling import Say, silent
from media.catalog import Catalog, Label, Sample
from media.clip import MediaError
from provenance.fingerprint import Fingerprint

TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    "people": ("person", "people"),
    "recordings": ("source",),
    "drivers": ("driver",),
    "speech": ("speech", "speech_sha256"),
    "inputs": ("input_sha256",),
}
"""Checks by the catalog: fields and keys of `extra` that must not be in two splits."""
ORIGINALS: Final = "originals"
BYTES: Final = "equal files"
MOTION: Final = "equal takes"
SOUND: Final = "equal sound"
MAKERS: Final = "makers"
PRIOR: Final = "class prior"
CHECKS: Final = (*TOLD, ORIGINALS, BYTES, MOTION, SOUND, *FACTS, MAKERS, PRIOR)

SAME_MOTION: Final = 0.3
"""Correlation of motion from which two clips show one take, or were driven by one. Among 8,635 pairs of clips of
different people and recordings the highest was .20; copies at half the size, at half the rate, cropped by a tenth or
cut by a third gave .53 and more, clips of two portraits that one recording drove .31 to .46."""
SHORT_SECONDS, SAME_SHORT_MOTION = 5.0, 0.6
"""What is compared for less time needs more: in three seconds a head sways twice, and one blink can be half of all
motion. Among 8,892 pairs of clips of 3 to 6 s of different people one reached .52, seen in a mirror."""
SAME_SOUND: Final = 0.3
"""Correlation of sound from which two clips are one speech: others gave .17 at most, encoded again .84 and more."""
SAME_PICTURE: Final = 0.95
"""Correlation of scenes from which two still pictures are one: among 150,000 pairs of portraits the highest was .93;
packed again, reduced or brightened they gave .97 and more, cropped by a tenth .94 and more (nine in ten over .95)."""
TELLS: Final = 0.6
"""AUC of a single fact from which a dataset teaches the fact."""
MOST_SHARE: Final = 0.05
"""Of the clips of the other label that may share the one value that all clips of a maker have."""
FEWEST: Final = 5
"""Clips of a maker from which it is looked at."""
SHOWN: Final = 3


@dataclass(frozen=True)
class Check:
    """One question and its answer."""

    name: str
    leaks: bool
    text: str
    examples: tuple[str, ...] = ()
    auc: Measure | None = None
    allowed: bool = False
    """A leak that is known and accepted."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        auc = self.auc.to_json() if self.auc is not None else None
        plain = {"check": self.name, "leaks": self.leaks, "allowed": self.allowed, "text": self.text}
        return plain | {"auc": auc, "examples": list(self.examples)}


@dataclass(frozen=True)
class LeakReport:
    """All checks of one dataset."""

    checks: tuple[Check, ...]
    clips: Mapping[str, Mapping[str, int]]
    """By split and label."""
    unreadable: tuple[str, ...] = ()

    @property
    def leaks(self) -> bool:
        """Whether anything leaks that was not allowed."""
        return any(check.leaks and not check.allowed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "leaks": self.leaks,
            "clips": {split: dict(counts) for split, counts in self.clips.items()},
            "unreadable": list(self.unreadable),
            "checks": [check.to_json() for check in self.checks],
        }


@dataclass(frozen=True)
class Case:
    """One clip of the dataset."""

    name: str
    file: Path
    sample: Sample
    dataset: int
    """Which of the catalogs it is from."""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """Where it is used; see the module."""
        return self.sample.split or "train"

    @property
    def synthetic(self) -> bool:
        """The label."""
        return self.sample.label is Label.SYNTHETIC

    @property
    def cluster(self) -> str:
        """Clips that are not independent of each other share it."""
        return self.sample.person or self.sample.source or self.name


def examine(
    datasets: Sequence[tuple[Path, Catalog]],
    *,
    contents: bool = True,
    allow: Iterable[str] = (),
    say: Say = silent,
) -> LeakReport:
    """Ask everything of one dataset, which may lie in several catalogs.

    Args:
        datasets: (folder, catalog) pairs.
        contents: decode the clips and compare what they show.
        allow: names of checks whose leak is known and accepted.
        say: told how it goes.

    Raises:
        ValueError: for an unknown name of a check.
    """
    unknown = sorted(set(allow) - set(CHECKS))
    if unknown:
        raise ValueError(f"no check {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    several = len(datasets) > 1
    cases, unreadable = [], []
    for number, (root, catalog) in enumerate(datasets):
        for s in catalog:
            name = f"{catalog.name or root.name}/{s.id}" if several else s.id
            try:
                cases.append(Case(name, root / s.path, s, number, facts_of(root / s.path, s)))
            except MediaError:
                unreadable.append(name)
                cases.append(Case(name, root / s.path, s, number))
    checks = [_by_name(name, keys, cases) for name, keys in TOLD.items()]
    checks += [_by_original(cases), _by_bytes(cases)]
    checks += _by_contents(cases, unreadable, say) if contents else []
    checks += [_by_fact(name, cases) for name in FACTS]
    checks += [_makers(cases), _prior(cases)]
    accepted = set(allow)
    told = tuple(
        Check(c.name, c.leaks, c.text, c.examples, c.auc, allowed=c.leaks and c.name in accepted) for c in checks
    )
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        counts[case.sample.split or "no split"][str(case.sample.label)] += 1
    return LeakReport(told, dict(sorted(counts.items())), tuple(dict.fromkeys(unreadable)))


def _named(sample: Sample, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        value = getattr(sample, key) if key in ("person", "source") else sample.extra.get(key)
        yield from (str(one) for one in (value if isinstance(value, list) else [value]) if one)


def _by_name(check: str, keys: Sequence[str], cases: Sequence[Case]) -> Check:
    splits: defaultdict[str, dict[str, Case]] = defaultdict(dict)
    for case in cases:
        for name in _named(case.sample, keys):
            splits[name].setdefault(case.split, case)
    both = {name: found for name, found in splits.items() if len(found) > 1}
    if not splits:
        return Check(check, False, "the catalog does not tell")
    if not both:
        return Check(check, False, f"{len(splits)} known, none in two splits")
    examples = tuple(
        f"{name}: " + ", ".join(f"{case.name} ({split})" for split, case in sorted(found.items()))
        for name, found in sorted(both.items())[:SHOWN]
    )
    return Check(check, True, f"{len(both)} of {len(splits)} are in two splits", examples)


def _by_original(cases: Sequence[Case]) -> Check:
    """A forgery and the real clip it was made from are on one side."""
    by_id = {(case.dataset, case.sample.id): case for case in cases}
    pairs = [(case, by_id.get((case.dataset, str(case.sample.extra.get("original"))))) for case in cases]
    known = [(case, original) for case, original in pairs if original is not None]
    apart = [(case, original) for case, original in known if case.split != original.split]
    if not known:
        return Check(ORIGINALS, False, "the catalog does not tell")
    examples = tuple(f"{a.name} ({a.split}) was made from {b.name} ({b.split})" for a, b in apart[:SHOWN])
    found = f"{len(apart)} of {len(known)}" if apart else f"none of {len(known)}"
    return Check(
        ORIGINALS, bool(apart), f"{found} forgeries are in another split than what they were made from", examples
    )


def _by_bytes(cases: Sequence[Case]) -> Check:
    same: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        same[case.sample.sha256].append(case)
    twice = [group for group in same.values() if len(group) > 1]
    across = [g for g in twice if len({c.split for c in g}) > 1 or len({c.synthetic for c in g}) > 1]
    within = sum(len(g) - 1 for g in twice) - sum(len(g) - 1 for g in across)
    examples = tuple(
        " = ".join(f"{c.name} ({c.split}, {c.sample.label})" for c in group[:SHOWN]) for group in across[:SHOWN]
    )
    also = f"; {within} more are doubled within a split" if within else ""
    if across:
        return Check(BYTES, True, f"{len(across)} files are in two splits or have two labels{also}", examples)
    return Check(BYTES, False, f"none in two splits{also}")


def _by_contents(cases: Sequence[Case], unreadable: list[str], say: Say) -> list[Check]:
    """Near-duplicates by motion and by sound, across splits."""
    prints: dict[str, list[tuple[Case, Fingerprint]]] = defaultdict(list)
    for number, case in enumerate(cases, start=1):
        try:
            prints[case.split].append((case, fingerprint_of(case.file)))
        except MediaError:
            unreadable.append(case.name)
        if number % 100 == 0:
            say(f"looked into {number} of {len(cases)} clips")
    found: dict[str, list[tuple[float, str]]] = {MOTION: [], SOUND: []}
    compared = 0
    for one, other in combinations(sorted(prints), 2):
        compared += len(prints[one]) * len(prints[other])
        for row, column, likeness in likely_pairs([p for _, p in prints[one]], [p for _, p in prints[other]]):
            a, b = prints[one][row][0], prints[other][column][0]
            text = f"{a.name} ({one}, {a.sample.label}) = {b.name} ({other}, {b.sample.label})"
            motion, sound = likeness.motion or 0.0, likeness.sound or 0.0
            if likeness.motion is None and (likeness.look or 0.0) >= SAME_PICTURE:
                found[MOTION].append((likeness.look or 0.0, f"{text}, correlation {likeness.look:.2f}"))
            if motion >= (SAME_MOTION if likeness.seconds >= SHORT_SECONDS else SAME_SHORT_MOTION):
                found[MOTION].append((motion, f"{text}, correlation {motion:.2f}"))
            if sound >= SAME_SOUND:
                found[SOUND].append((sound, f"{text}, correlation {sound:.2f}"))
    out = []
    for name, pairs in found.items():
        examples = tuple(text for _, text in sorted(pairs, reverse=True)[:SHOWN])
        what = f"{len(pairs)} of {compared} pairs across splits" if pairs else f"none of {compared} pairs across splits"
        out.append(Check(name, bool(pairs), what, examples))
    return out


def _by_fact(name: str, cases: Sequence[Case]) -> Check:
    auc = fact_auc(
        [case.facts.get(name) for case in cases], [case.synthetic for case in cases], [case.cluster for case in cases]
    )
    if not auc.scored:
        return Check(name, False, auc.reason, auc=auc)
    interval = f" [{auc.low:.2f}, {auc.high:.2f}]" if auc.low == auc.low else ""
    # of few clips chance alone may give more: an interval that holds chance proves nothing
    by_chance = auc.low <= 0.5
    doubt = ", which so few people give by chance" if auc.value > TELLS and by_chance else ""
    text = f"alone tells the label with an AUC of {auc.value:.2f}{interval}{doubt}"
    return Check(name, auc.value > TELLS and not by_chance, text, auc=auc)


def _makers(cases: Sequence[Case]) -> Check:
    """Makers all of whose clips share a value that the other label hardly has."""
    examples = []
    by_maker: defaultdict[tuple[bool, str], list[Case]] = defaultdict(list)
    for case in cases:
        by_maker[case.synthetic, case.sample.maker or "unknown"].append(case)
    for (synthetic, maker), own in sorted(by_maker.items()):
        others = [case for case in cases if case.synthetic is not synthetic]
        if len(own) < FEWEST or len(others) < FEWEST:
            continue
        for name in FACTS:
            value = one_value([case.facts.get(name) for case in own])
            if value is None:
                continue
            shared = sum(case.facts.get(name) == value for case in others)
            if shared <= MOST_SHARE * len(others):
                word = "synthetic" if others[0].synthetic else "real"
                examples.append(
                    f"{maker}: all {len(own)} have {name} {value}, of {len(others)} {word} clips {shared} have"
                )
    count = len({text.split(":")[0] for text in examples})
    if examples:
        return Check(MAKERS, True, f"{count} of {len(by_maker)} are known by one fact", tuple(examples))
    return Check(MAKERS, False, f"none of {len(by_maker)} is known by one fact")


def _prior(cases: Sequence[Case]) -> Check:
    """Shares of synthetic clips by split; a note, unless a split has one label only."""
    by_split: defaultdict[str, list[bool]] = defaultdict(list)
    for case in cases:
        by_split[case.split].append(case.synthetic)
    shares = {split: sum(labels) / len(labels) for split, labels in sorted(by_split.items())}
    text = ", ".join(f"{split} {share:.0%} synthetic" for split, share in shares.items())
    bare = [split for split, share in shares.items() if share in (0.0, 1.0)]
    if bare and len(shares) > 1:
        return Check(PRIOR, True, f"{text}; {' and '.join(bare)} cannot be measured, having one label only")
    return Check(PRIOR, False, text or "no clips")


def show(report: LeakReport) -> None:
    """Print a report in words on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from detect.report import printable

    out = Console(highlight=False)
    table = Table("check", "", "found", box=None, padding=(0, 2))
    for check in report.checks:
        verdict = (
            Text("allowed", "yellow") if check.allowed else Text("leaks", "bold red") if check.leaks else Text("ok")
        )
        found = Text(printable(check.text))
        for example in check.examples[: 2 * SHOWN]:
            found.append(f"\n  {printable(example)}", "dim")
        if len(check.examples) > 2 * SHOWN:
            found.append(f"\n  and {len(check.examples) - 2 * SHOWN} more, see --json", "dim")
        table.add_row(check.name, verdict, found)
    out.print(table)
    counts = "; ".join(
        f"{split}: " + ", ".join(f"{n} {label}" for label, n in sorted(labels.items()))
        for split, labels in report.clips.items()
    )
    out.print(Text(f"{counts}."))
    if report.unreadable:
        some = ", ".join(printable(name) for name in report.unreadable[:SHOWN])
        out.print(Text(f"{len(report.unreadable)} clips could not be read: {some}", "yellow"))
    leaking = [check.name for check in report.checks if check.leaks and not check.allowed]
    out.print(Text(f"Leaks: {', '.join(leaking)}." if leaking else "Nothing leaks.", "bold"))
