"""Where much work is done: in this process, in several of this machine, or on a Ray cluster. START HERE for many files.

    place = place_of(workers=8)                       # or place_of(ray="auto")
    for outcome in place.run(tasks, start):
        outcome.task, outcome.result, outcome.error

`start` is called once by every worker, with the `Room` it stands in, and returns the function that does one task. The
same rules hold everywhere:

1. Tasks are read only as fast as workers become free, and a worker has one in hand (on a cluster one more, so that it
   need not wait for the network): memory is bounded by the number of workers, however many tasks there are.
2. An exception is an answer (`Outcome.error`), never the end of the run.
3. A worker that dies costs its tasks' time: they are tried again by another one, a limited number of times.
4. When the driver ends in any way, kill -9 included, its workers end too.
5. What a task gives depends on the task alone, never on where, when and beside what it was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from media.clip import MediaError

Task = TypeVar("Task")
Result = TypeVar("Result")


DIED: Final = "worker died"
"""Cause of a task that takes down whoever does it."""


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """What became of one task."""

    task: Task
    result: Result | None
    error: str | None = None
    """One line; None when there is a result."""
    cause: str | None = None
    """Name of the exception, or `DIED`: what failures are counted by."""


def itself(path: Path) -> Path:
    """The path: driver and worker see the same disk."""
    return path


@dataclass(frozen=True)
class Room:
    """Where one worker stands."""

    is_driver: bool = True
    """It works in the driver's own process."""
    scratch: Path | None = None
    """A folder of its own, for a worker that may not see the driver's disk: what is made there must be in the result.
    None where results are written to where they belong."""
    fetch: Callable[[Path], Path] = itself
    """A file of the driver's machine -> the same content on this one. Raises OSError when there is no such file."""

    def bring(self, path: Path) -> Path:
        """The same, for work to which a file that cannot be read is an answer: then the path as it is."""
        try:
            return self.fetch(path)
        except OSError:
            return path


Start = Callable[[Room], Callable[[Task], Result]]


@dataclass(frozen=True)
class Workforce:
    """Who is at work; for a progress table."""

    workers: int = 1
    machines: int = 1
    lost: int = 0
    """Workers that died so far."""


class Place(Protocol):
    """Somewhere work can be done."""

    def run(self, tasks: Iterable[Task], start: Start[Task, Result]) -> Iterator[Outcome[Task, Result]]:
        """Do every task; outcomes come in the order in which they finish.

        Args:
            tasks: read only as fast as workers become free; must pickle where there are several.
            start: makes the function that does one task; must pickle where there are several workers.

        Raises:
            MediaError: when there is nobody left to do the work.
        """
        ...

    def workforce(self) -> Workforce:
        """Who is at work now."""
        ...


@dataclass(frozen=True)
class Here:
    """This machine: `workers` processes; with one, this very process."""

    workers: int = 1
    abreast: int = 1
    """Tasks that one process has in work at the same time; more than one pays where a GPU does most of it."""

    def __post_init__(self) -> None:
        """Refuse a place where nobody works."""
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.abreast < 1 or (self.abreast > 1 and self.workers > 1):
            raise ValueError(f"abreast must be 1, or more with one worker, got {self.abreast} and {self.workers}")

    def run(self, tasks: Iterable[Task], start: Start[Task, Result]) -> Iterator[Outcome[Task, Result]]:
        """Do every task; see `Place.run`."""
        from media.crew import run_tasks

        return run_tasks(tasks, start, workers=self.workers, abreast=self.abreast)

    def workforce(self) -> Workforce:
        """As many as were asked for: a process that dies is replaced at once."""
        return Workforce(self.workers)


def in_order(outcomes: Iterable[Outcome[tuple[int, Task], Result]]) -> Iterator[Outcome[tuple[int, Task], Result]]:
    """Outcomes of numbered tasks (from 0, none left out) in the order of their numbers; early ones wait in memory."""
    waiting: dict[int, Outcome[tuple[int, Task], Result]] = {}
    number = 0
    for outcome in outcomes:
        waiting[outcome.task[0]] = outcome
        while number in waiting:
            yield waiting.pop(number)
            number += 1


def place_of(
    *, workers: int | None = None, ray: str | None = None, gpus_per_worker: float = 0.0, abreast: int = 1
) -> Place:
    """The place that two options of a command line mean.

    Args:
        workers: processes; None is one on this machine, and every core of a cluster.
        ray: address of a Ray cluster, "auto" for the one this machine belongs to, "local" to start one here.
        gpus_per_worker: what each worker of a cluster needs of a GPU.
        abreast: tasks that one process has in work at the same time: this one, or each worker of a cluster.

    Raises:
        MediaError: for fewer than one worker, without Ray, or for an address that cannot be used.
    """
    if workers is not None and workers < 1:
        raise MediaError(f"workers must be at least 1, got {workers}")
    if ray is None:
        if gpus_per_worker:
            raise MediaError("GPUs are shared out by a Ray cluster only; name one with --ray")
        try:
            return Here(1 if workers is None else workers, abreast)
        except ValueError as error:
            raise MediaError(str(error)) from error
    from media.cluster import OnRay

    try:
        return OnRay(ray, workers, gpus_per_worker, abreast)
    except ValueError as error:
        raise MediaError(str(error)) from error
