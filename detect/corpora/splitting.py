"""Splits without a person or a recording on two sides: pure functions over entries.

    kept = assign_splits(entries, "published")
    kept.entries, kept.left_out

The rules, told once:

1. What a publisher tests on is tested on, whole. A clip for training or validation whose people are also in the test is
   left out; then one for training whose people are also in the validation. What is left out is counted.
2. What the publisher leaves open is shared out by people: over train and val where there is a published test, else
   over train, val and test.
3. Everybody who is involved counts: whose face, whose body, whose voice. A forgery that joins two people of different
   splits is left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from detect.corpora.entry import Entry

MODES = ("published", "own", "test", "none")
SHARES: Mapping[str, float] = {"train": 0.7, "val": 0.15, "test": 0.15}
REST: Mapping[str, float] = {"train": 0.85, "val": 0.15}
"""Of what a publisher leaves over beside a test."""
LARGE = 1 / 2
"""A group of clips that hang together and are more than this share of all cannot be one side: people are shared out."""
STRADDLES = "joins people of two splits"
OVERLAPS = "people are also in a split that ranks higher"


@dataclass(frozen=True)
class Assigned:
    """Entries with their splits, and what was left out, by reason."""

    entries: tuple[Entry, ...]
    left_out: Mapping[str, int]


def assign_splits(entries: Sequence[Entry], mode: str, *, keep_overlap: bool = False) -> Assigned:
    """Give every entry its split.

    Args:
        entries: as a reader found them.
        mode: published, own (shared out by people whatever was published), test (all is tested on), none.
        keep_overlap: leave nothing out; whose people are in two splits then has no `person` and no `source`, since a
            catalog would refuse them, but still `people`.

    Raises:
        ValueError: for another mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if mode in ("test", "none"):
        return Assigned(tuple(replace(e, split="test" if mode == "test" else None) for e in entries), {})
    if mode == "own":
        entries = [replace(e, split=None) for e in entries]
    fixed = [e for e in entries if e.split is not None]
    apart, overlapping = _ranked(fixed)
    taken = _ties(apart)
    open_ = [e for e in entries if e.split is None]
    free = [e for e in open_ if not e.ties & taken]
    shares = REST if any(e.split == "test" for e in fixed) else SHARES
    chosen = share_out(free, shares)
    placed = [replace(e, split=chosen[e.path]) for e in free if chosen[e.path]]
    left_out = Counter({OVERLAPS: len(overlapping) + len(open_) - len(free), STRADDLES: len(free) - len(placed)})
    if not keep_overlap:
        return Assigned(_in_order(entries, [*apart, *placed]), {k: v for k, v in left_out.items() if v})
    free_paths = {e.path for e in free}
    rest = [replace(e, split="train") for e in open_ if e.path not in free_paths or not chosen[e.path]]
    return Assigned(_anonymous(_in_order(entries, [*fixed, *placed, *rest])), {})


def _in_order(entries: Sequence[Entry], kept: Iterable[Entry]) -> tuple[Entry, ...]:
    by_path = {e.path: e for e in kept}
    return tuple(by_path[e.path] for e in entries if e.path in by_path)


def _ties(entries: Iterable[Entry]) -> frozenset[str]:
    return frozenset().union(*(e.ties for e in entries))


def _ranked(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Entries whose people are in one split only, by rule 1, and the others."""
    kept: list[Entry] = []
    others: list[Entry] = []
    taken: frozenset[str] = frozenset()
    for split in ("test", "val", "train"):
        here = [e for e in entries if e.split == split]
        free = [e for e in here if not e.ties & taken]
        others += [e for e in here if e.ties & taken]
        kept += free
        taken |= _ties(free)
    return kept, others


def _anonymous(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    splits: defaultdict[str, set[str | None]] = defaultdict(set)
    for entry in entries:
        for name in (entry.person, f"recording {entry.source}" if entry.source else None):
            if name:
                splits[name].add(entry.split)
    shared = {name for name, found in splits.items() if len(found) > 1}
    out = []
    for e in entries:
        person = None if e.person in shared else e.person
        source = None if f"recording {e.source}" in shared else e.source
        out.append(replace(e, person=person, source=source))
    return tuple(out)


def share_out(entries: Sequence[Entry], shares: Mapping[str, float]) -> dict[str, str | None]:
    """A split for every path, by people; None for a forgery that joins people of two splits.

    The same entries get the same splits, in whatever order they come.

    Args:
        entries: to be shared out.
        shares: of each split, adding up to one.
    """
    ordered = sorted(entries, key=lambda e: e.path)
    groups = _components(ordered)
    members: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in ordered:
        members[groups[entry.path]].append(entry)
    largest = max((len(m) for m in members.values()), default=0)
    if largest <= max(1, LARGE * len(ordered)) or len(_ties(ordered)) < 2:
        by_group = _quota({name: len(m) for name, m in members.items()}, shares)
        return {e.path: by_group[groups[e.path]] for e in ordered}
    return _by_person(ordered, shares)


def _by_person(entries: Sequence[Entry], shares: Mapping[str, float]) -> dict[str, str | None]:
    """Everybody gets a split; who is in two entries of different splits loses the joint ones."""
    anchors = [e.people or (e.source or e.path,) for e in entries]
    clips = Counter(name for names in anchors for name in names)
    chosen = _quota(clips, shares)
    sides = [{chosen[name] for name in names} for names in anchors]
    out: dict[str, str | None] = {e.path: s.pop() if len(s) == 1 else None for e, s in zip(entries, sides, strict=True)}
    # a recording of several people may now be on two sides: rule 1 decides
    _, overlapping = _ranked([replace(e, split=out[e.path]) for e in entries if out[e.path]])
    return out | {e.path: None for e in overlapping}


def _components(entries: Sequence[Entry]) -> dict[str, str]:
    """For each path the name of the group of entries it hangs together with."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for entry in entries:
        names = sorted(entry.ties) or [f"path {entry.path}"]
        for name in names[1:]:
            first, other = root(names[0]), root(name)
            parent[max(first, other)] = min(first, other)
    return {e.path: root(min(e.ties) if e.ties else f"path {e.path}") for e in entries}


def _quota(sizes: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, str]:
    """Groups, large ones first and equal ones by a digest of their names, to the split that has least of its share."""
    have: Counter[str] = Counter()
    out = {}
    digests = {name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() for name in sizes}
    for name in sorted(sizes, key=lambda n: (-sizes[n], digests[n])):
        split = min(shares, key=lambda s: have[s] / shares[s])
        out[name] = split
        have[split] += sizes[name]
    return out
