"""How far a run of the factory is, and what went wrong: for a table on a terminal and for a file that others watch."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge.filming import write_whole
from media.places import Workforce

MOST_TOLD = 10_000
"""Failures that are told one by one; of more, the number."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    stage: str
    """`looking` at inputs, `filming` or `signing`."""
    done: int
    planned: int
    failed: int = 0
    kept: int = 0
    """Of those done, clips that an earlier run had made."""
    rejected: int = 0
    """Clips that were made, did not pass, and were or will be replaced."""
    causes: Mapping[str, int] = field(default_factory=dict)
    """Failures and rejections by cause."""
    workforce: Workforce = field(default_factory=Workforce)
    seconds: float = 0.0
    """Since this stage began."""

    @property
    def clips_per_second(self) -> float | None:
        """Of this run; None before the first clip."""
        made = self.done - self.kept
        return made / self.seconds if made and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None when nothing can be said."""
        rate = self.clips_per_second
        return None if rate is None else (self.planned - self.done - self.failed) / rate

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        rate, left = self.clips_per_second, self.seconds_left
        return {
            "stage": self.stage,
            "done": self.done,
            "planned": self.planned,
            "kept": self.kept,
            "failed": self.failed,
            "rejected": self.rejected,
            "causes": dict(self.causes),
            "workers": self.workforce.workers,
            "machines": self.workforce.machines,
            "workers_lost": self.workforce.lost,
            "seconds": round(self.seconds, 1),
            "clips_per_second": None if rate is None else round(rate, 4),
            "seconds_left": None if left is None else round(left, 1),
        }


class ProgressFile:
    """A JSON file that says how far a run is, rewritten whole at most once a second."""

    def __init__(self, path: Path) -> None:
        """Written at the first call."""
        self._path, self._written, self._stage = path, 0.0, ""

    def __call__(self, progress: Progress) -> None:
        """Write it, unless that was done a moment ago; a new stage and the last clip are always written."""
        now = time.monotonic()
        ended = progress.done + progress.failed >= progress.planned
        if now - self._written >= 1 or progress.stage != self._stage or ended:
            write_whole(self._path, json.dumps(progress.to_json()) + "\n")
            self._written, self._stage = now, progress.stage


class Failures:
    """Planned clips that could not be made, by cause; the first of them in detail."""

    def __init__(self) -> None:
        """None yet."""
        self.causes = Counter[str]()
        self._told: dict[int, Mapping[str, Any]] = {}

    def add(self, number: int, facts: Mapping[str, Any]) -> None:
        """One more; `facts` have its `cause` and its `reason`."""
        self.causes[str(facts["cause"])] += 1
        if len(self._told) < MOST_TOLD:
            self._told[number] = facts

    def __len__(self) -> int:
        """How many clips failed."""
        return self.causes.total()

    @property
    def first_reason(self) -> str:
        """Why the clip of the lowest number failed."""
        if not self._told:
            return "nothing can be made of these inputs and this limit, or only real clips that did not pass the gate"
        return str(self._told[min(self._told)]["reason"])

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """For `failures.jsonl`: by number, and last how many more there were."""
        for number in sorted(self._told):
            yield self._told[number]
        if len(self) > len(self._told):
            yield {"more": len(self) - len(self._told)}
