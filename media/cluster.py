"""Many tasks over the machines of a Ray cluster; see `media.places` for the rules. The only door to Ray.

    ray start --head --port 6379                       # on the machine that drives, which is one of the cluster
    ray start --address HEAD:6379                      # on the others
    countermark forge dataset ... --ray auto

The other machines need the same version of this package and nothing else: no shared disk. A worker reads an input from
its own disk when the same file lies there, else it asks for it piece by piece, and keeps the last ones it asked for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import pickle
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic

from media.clip import MediaError
from media.crew import attempt, one_line, one_thread, one_thread_of_torch
from media.places import DIED, Outcome, Result, Room, Start, Task, Workforce

if TYPE_CHECKING:
    from types import ModuleType

TRIES = 4
"""How often a task may lose its worker before it counts as failed: more than on one machine, since nodes die, too."""
STILLBORN = 10
"""So many workers in a row that die before their first word are no accident."""
AHEAD = 1
"""Tasks a worker has beside those it does: it begins them without asking."""
LOOK_AROUND_SECONDS = 5.0
"""How often the driver looks whether nodes have come or gone."""
PATIENCE_SECONDS = 120.0
"""How long a run waits for a first or a next worker when it has none."""
PIECE_BYTES = 16 << 20
KEPT_BYTES = 4 << 30
"""Inputs that a worker keeps on its own disk."""
SCRATCH_PREFIX = "countermark-worker-"
_LOG = logging.getLogger(__name__)


@dataclass
class OnRay:
    """A Ray cluster that this machine belongs to."""

    address: str = "auto"
    """Of the head, `host:port`; "auto" finds the cluster of this machine, "local" starts one that ends with the run."""
    workers: int | None = None
    """At most so many; None takes every core, also of nodes that come later."""
    gpus_per_worker: float = 0.0
    """What each worker needs of a GPU; 0 asks for a core alone."""
    abreast: int = 1
    """Tasks that a worker, which then takes as many cores, has in work at the same time: more than one pays where a
    GPU does most of it."""
    patience_seconds: float = PATIENCE_SECONDS
    _seen: Workforce = field(default_factory=lambda: Workforce(0, 0), repr=False)

    def __post_init__(self) -> None:
        """Refuse what no cluster can be."""
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.abreast < 1:
            raise ValueError(f"abreast must be at least 1, got {self.abreast}")
        if self.gpus_per_worker < 0:
            raise ValueError(f"gpus_per_worker must be 0 or more, got {self.gpus_per_worker}")
        if self.address.startswith("ray://"):
            raise MediaError(
                f"{self.address}: this machine must be a node of the cluster; give `ray start --address ...` on it, "
                "then --ray auto"
            )

    def workforce(self) -> Workforce:
        """Who is at work now."""
        return self._seen

    def run(self, tasks: Iterable[Task], start: Start[Task, Result]) -> Iterator[Outcome[Task, Result]]:
        """Do every task; see `media.places.Place.run`.

        Raises:
            MediaError: when there is no Ray, no such cluster, or no worker for `patience_seconds`.
        """
        ray = _ray()
        _connect(ray, self.address)
        crew = _RayCrew(ray, self, start)
        try:
            yield from crew.run(iter(tasks))
        finally:
            crew.dismiss()


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise MediaError("Ray is not installed; pip install 'countermark[cluster]'") from error
    return ray


def _connect(ray: Any, address: str) -> None:
    """Be a driver of the cluster, until this process ends."""
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    options |= {"include_dashboard": False} if address == "local" else {"address": address}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(**options)
    except Exception as error:
        raise MediaError(
            f"{address}: no Ray cluster can be reached ({one_line(error)[:200]}); start one with `ray start --head`"
        ) from error


class Library:
    """On the driver's machine: reads its files for workers that do not see its disk."""

    def state(self, path: str) -> tuple[int, int] | None:
        """Size and time of change of a file; None when there is none."""
        try:
            facts = Path(path).stat()
        except OSError:
            return None
        return facts.st_size, facts.st_mtime_ns

    def piece(self, path: str, offset: int) -> bytes:
        """At most `PIECE_BYTES` of a file from an offset; empty at its end."""
        with Path(path).open("rb") as file:
            file.seek(offset)
            return file.read(PIECE_BYTES)


@dataclass
class Borrowed:
    """Inputs of the driver's machine on this one: the worker's own copies, the longest unused given up first."""

    folder: Path
    state: Callable[[str], tuple[int, int] | None]
    piece: Callable[[str, int], bytes]
    kept_bytes: int = KEPT_BYTES
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def fetch(self, path: Path) -> Path:
        """The file itself where this machine has the same one, else a copy of it.

        Raises:
            OSError: when the driver's machine has no such file (any more).
        """
        with self._lock:  # threads of one worker may ask for the same file
            return self._fetched(path)

    def _fetched(self, path: Path) -> Path:
        theirs = self.state(str(path))
        with contextlib.suppress(OSError):
            facts = path.stat()
            if theirs is None or (facts.st_size, facts.st_mtime_ns) == theirs:
                return path
        if theirs is None:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        name = hashlib.sha256(repr((str(path), theirs)).encode()).hexdigest()[:24]
        copy = self.folder / name / path.name
        if not copy.exists():
            self._make_room(theirs[0])
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f".{name}.part")
            with part.open("wb") as file:
                while data := self.piece(str(path), file.tell()):
                    file.write(data)
            if part.stat().st_size != theirs[0]:
                part.unlink()
                raise OSError(5, "it changed while it was copied", str(path))
            part.replace(copy)
        os.utime(copy)
        return copy

    def _make_room(self, size: int) -> None:
        there = sorted(self.folder.glob("*/*"), key=lambda file: file.stat().st_mtime)
        spare = self.kept_bytes - size - sum(file.stat().st_size for file in there)
        while there and spare < 0:
            oldest = there.pop(0)
            spare += oldest.stat().st_size
            shutil.rmtree(oldest.parent)


class Hand:
    """One worker of the cluster: a process on some node."""

    def __init__(self, start: bytes, search_path: list[str], library: Any) -> None:
        """Take a folder; what is slow or may fail waits for the first task.

        Args:
            start: pickled.
            search_path: where the driver finds modules; what exists here, too, is searched here.
            library: reads the driver's files.
        """
        _sweep_scratch()
        sys.path += [place for place in search_path if place not in sys.path and Path(place).exists()]
        self._start, self._work = start, None
        self._beginning = threading.Lock()
        self._alone = contextlib.ExitStack()
        self._alone.enter_context(one_thread())
        self._scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
        self._lock = _held(self._scratch)
        ray = _ray()
        inputs = self._scratch / "inputs"
        inputs.mkdir()
        results = self._scratch / "results"
        results.mkdir()
        borrowed = Borrowed(
            inputs,
            lambda path: ray.get(library.state.remote(path)),
            lambda path, offset: ray.get(library.piece.remote(path, offset)),
        )
        self._room = Room(is_driver=False, scratch=results, fetch=borrowed.fetch)

    def ready(self) -> tuple[str, str]:
        """Version of this package here, and which node this is."""
        return _version(), f"{socket.gethostname()} ({_ray().get_runtime_context().get_node_id()[:8]})"

    def do(self, task: Any) -> tuple[Any, str | None, str | None]:
        """Result, error and its cause of one task."""
        try:  # at the first task, not before: a start that fails is the answer to every task, not a dead worker
            with self._beginning:
                self._work = self._work or pickle.loads(self._start)(self._room)
                one_thread_of_torch()
        except Exception as error:  # noqa: BLE001 -- told as the outcome of the task
            return None, f"cannot start: {one_line(error)}", type(error).__name__
        assert self._work is not None
        outcome = attempt(self._work, task)
        return outcome.result, outcome.error, outcome.cause

    def leave(self) -> None:
        """Remove what lies here."""
        shutil.rmtree(self._scratch, ignore_errors=True)


def _held(folder: Path) -> BinaryIO:
    """A lock that says that a worker's folder is in use; gone with its process."""
    file = (folder / ".lock").open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _sweep_scratch() -> None:
    """Remove the folders of workers that were killed on this machine."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("countermark")
    except PackageNotFoundError:
        return "unknown"


@dataclass(eq=False)
class _Seat(Generic[Task]):
    """One worker as the driver sees it."""

    hand: Any
    coming: Any
    """Reference to its first word; None once it was heard."""
    machine: str = ""
    tasks: dict[Any, tuple[Task, int]] = field(default_factory=dict)
    """Reference of a result -> its task and how often it was tried before; the first ones are being done."""


class _RayCrew(Generic[Task, Result]):
    """The workers of one run."""

    def __init__(self, ray: Any, place: OnRay, start: Start[Task, Result]) -> None:
        self._ray, self._place = ray, place
        self._lost = 0
        self._again: deque[tuple[Task, int]] = deque()
        self._seats: list[_Seat[Task]] = []
        self._dry = False
        near = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._library = ray.remote(Library).options(num_cpus=0, scheduling_strategy=near, max_concurrency=4).remote()
        self._start, self._stillborn = ray.put(pickle.dumps(start)), 0
        self._options = {
            "num_cpus": place.abreast,
            "num_gpus": place.gpus_per_worker,
            "max_restarts": 0,
            "max_concurrency": place.abreast,
        }

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome[Task, Result]]:
        """Hand out tasks and yield outcomes until both run dry."""
        looked = -LOOK_AROUND_SECONDS
        heard = time.monotonic()
        while True:
            if time.monotonic() - looked > LOOK_AROUND_SECONDS:
                self._ask_for_workers()
                looked = time.monotonic()
            for seat in self._seats:
                self._fill(seat, tasks)
            self._place._seen = self._workforce()
            references = [seat.coming for seat in self._seats if seat.coming is not None]
            references += [reference for seat in self._seats for reference in seat.tasks]
            if self._dry and not self._again and not any(seat.tasks for seat in self._seats):
                return
            done = self._ray.wait(references, timeout=LOOK_AROUND_SECONDS)[0] if references else []
            if not references:
                time.sleep(1.0)
            for reference in done:
                heard = time.monotonic()
                outcome = self._collect(reference)
                if outcome is not None:
                    yield outcome
            if any(seat.coming is None for seat in self._seats):
                heard = time.monotonic()  # somebody works, however long it takes
            elif time.monotonic() - heard > self._place.patience_seconds:
                raise MediaError(
                    f"no worker on the Ray cluster {self._place.address} for {self._place.patience_seconds:.0f} s; "
                    "see `ray status`, start nodes, and give the same command again"
                )

    def _workforce(self) -> Workforce:
        working = [seat for seat in self._seats if seat.coming is None]
        return Workforce(len(working), len({seat.machine for seat in working}), self._lost)

    def _ask_for_workers(self) -> None:
        """As many as there are cores (or shares of GPUs) now, within what was asked for."""
        there = self._ray.cluster_resources()
        wanted = int(there.get("CPU", 0) / self._place.abreast)
        if self._place.gpus_per_worker:
            wanted = min(wanted, int(there.get("GPU", 0) / self._place.gpus_per_worker))
        if self._place.workers is not None:
            wanted = min(wanted, self._place.workers)
        while len(self._seats) < max(1, wanted) and not (self._dry and not self._again):
            hand = self._ray.remote(Hand).options(**self._options).remote(self._start, sys.path, self._library)
            self._seats.append(_Seat(hand, hand.ready.remote()))

    def _fill(self, seat: _Seat[Task], tasks: Iterator[Task]) -> None:
        """Give a worker that is there what it can have in hand."""
        while seat.coming is None and len(seat.tasks) < self._place.abreast + AHEAD:
            if self._again:
                task, tries = self._again.popleft()
            elif self._dry:
                return
            else:
                try:
                    task, tries = next(tasks), 0
                except StopIteration:
                    self._dry = True
                    return
            seat.tasks[seat.hand.do.remote(task)] = (task, tries)

    def _collect(self, reference: Any) -> Outcome[Task, Result] | None:
        """What a reference stands for; None for a worker that has come, or gone."""
        seat = next((s for s in self._seats if s.coming == reference or reference in s.tasks), None)
        if seat is None:
            return None  # of a worker that was given up meanwhile
        try:
            value = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if seat.coming == reference:
                raise MediaError(f"a worker of the Ray cluster cannot begin: {one_line(error.cause)}") from error
            task, _ = seat.tasks.pop(reference)
            return Outcome(task, None, one_line(error.cause), type(error.cause).__name__)
        except self._ray.exceptions.RayError as error:
            return self._bury(seat, error)
        if seat.coming == reference:
            self._stillborn = 0
            version, seat.machine = value
            if version != _version():
                raise MediaError(
                    f"{seat.machine}: has version {version} of countermark, this machine {_version()}; install the same"
                )
            seat.coming = None
            return None
        task, _ = seat.tasks.pop(reference)
        return Outcome(task, *value)

    def _bury(self, seat: _Seat[Task], error: BaseException) -> Outcome[Task, Result] | None:
        """A worker died: its tasks are done by others; those it was doing have lost one of their tries."""
        _LOG.info("a worker on %s died: %s", seat.machine or "the cluster", one_line(error))
        self._seats.remove(seat)
        if seat.coming is not None:
            self._stillborn += 1
            if self._stillborn >= STILLBORN and not any(one.coming is None for one in self._seats):
                raise MediaError(
                    f"workers of the Ray cluster die before they begin: {one_line(error)[:300]}"
                ) from error
            return None
        self._lost += 1
        with contextlib.suppress(Exception):
            self._ray.kill(seat.hand)
        given_up: Outcome[Task, Result] | None = None
        for position, (task, tries) in enumerate(seat.tasks.values()):
            tries += position < self._place.abreast
            if tries >= TRIES and given_up is None:  # of several, the others have another try: one of them did it
                why = f"{TRIES} workers died of it ({one_line(error)[:120]}); out of memory?"
                given_up = Outcome(task, None, why, DIED)
            else:
                self._again.append((task, tries))
        return given_up

    def dismiss(self) -> None:
        """End whatever still runs."""
        with contextlib.suppress(Exception):
            leaving = [seat.hand.leave.remote() for seat in self._seats if seat.coming is None and not seat.tasks]
            self._ray.wait(leaving, num_returns=len(leaving), timeout=10) if leaving else None
        for actor in [*(seat.hand for seat in self._seats), self._library]:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        self._place._seen = Workforce(0, 0, self._lost)
