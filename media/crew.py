"""Many tasks over several processes of one machine; see `media.places` for the rules.

One task at a time for each process. A task whose process dies is tried again in a fresh one, `TRIES` times in all.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic

from media.places import DIED, Outcome, Result, Room, Start, Task

TRIES = 2
"""How often a task may take its process down before it counts as failed."""


def run_tasks(
    tasks: Iterable[Task], start: Start[Task, Result], *, workers: int, abreast: int = 1
) -> Iterator[Outcome[Task, Result]]:
    """Do every task; outcomes come in the order in which they finish.

    Args:
        tasks: read only as fast as processes become free; must pickle when `workers` > 1.
        start: makes the function that does one task; called once in each process; must pickle when `workers` > 1.
        workers: number of processes; 1 works in this one.
        abreast: tasks that one process has in work at the same time, by threads: where a GPU does most of it, the
            processor then encodes and signs one clip while the next is drawn.

    Raises:
        ValueError: for fewer than one worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if workers == 1:
        with one_thread():
            work = start(Room())
            if abreast == 1:
                for task in tasks:
                    yield attempt(work, task)
            else:
                yield from _abreast(work, iter(tasks), abreast)
        return
    if abreast != 1:
        raise ValueError("tasks are done abreast by one process only: give one worker")
    crew = _Crew(start)
    try:
        yield from crew.run(iter(tasks), workers)
    finally:
        crew.dismiss()


def _abreast(work: Callable[[Task], Result], tasks: Iterator[Task], count: int) -> Iterator[Outcome[Task, Result]]:
    """Tasks by `count` threads of this process; each read when a thread is free for it."""
    with ThreadPoolExecutor(count) as threads:
        waiting = {threads.submit(attempt, work, task) for task in islice(tasks, count)}
        try:
            while waiting:
                done, waiting = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
                waiting |= {threads.submit(attempt, work, task) for task in islice(tasks, len(done))}
                for one in done:
                    yield one.result()
        finally:
            for one in waiting:
                one.cancel()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for the numeric libraries of this process.

    The processes are the parallelism; and sums split over threads would differ in their last bits between machines.
    """
    import cv2
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(before)


def one_thread_of_torch() -> None:
    """One thread for torch as well, where a worker has loaded it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def attempt(work: Callable[[Task], Result], task: Task) -> Outcome[Task, Result]:
    """Do one task; whatever goes wrong is its outcome."""
    try:
        return Outcome(task, work(task))
    except Exception as error:  # noqa: BLE001 -- rule 2: whatever goes wrong in one task is its outcome
        return Outcome(task, None, one_line(error), type(error).__name__)


def one_line(error: BaseException) -> str:
    """What an error says, in one line of at most 500 characters."""
    return " ".join(str(error).split())[:500] or type(error).__name__


@dataclass(eq=False)
class _Seat(Generic[Task]):
    """One process, our end of its pipe, and what it is doing."""

    process: SpawnProcess
    pipe: Connection
    task: Task | None = None
    attempt: int = 0


class _Crew(Generic[Task, Result]):
    """The processes of one run."""

    def __init__(self, start: Start[Task, Result]) -> None:
        self._start = start
        self._seats: list[_Seat[Task]] = []
        self._again: deque[tuple[Task, int]] = deque()

    def run(self, tasks: Iterator[Task], workers: int) -> Iterator[Outcome[Task, Result]]:
        """Hand out tasks and yield outcomes until both run dry."""
        for _ in range(workers):
            if not self._assign(tasks, None):
                break
        while self._seats:
            ready = wait([seat.pipe for seat in self._seats])
            for seat in [seat for seat in self._seats if seat.pipe in ready]:
                outcome = self._collect(seat)
                if outcome is not None:
                    yield outcome
                self._assign(tasks, seat if seat in self._seats else None)

    def _assign(self, tasks: Iterator[Task], seat: _Seat[Task] | None) -> bool:
        """Give the next task to a seat (a new one for None); a seat without work is closed."""
        if self._again:
            task, attempt = self._again.popleft()
        else:
            try:
                task, attempt = next(tasks), 0
            except StopIteration:
                if seat is not None:
                    self._close(seat)
                return False
        seat = seat or self._open()
        seat.task, seat.attempt = task, attempt + 1
        with contextlib.suppress(BrokenPipeError):  # it died while idle: the closed pipe is seen by the next wait
            seat.pipe.send(task)
        return True

    def _collect(self, seat: _Seat[Task]) -> Outcome[Task, Result] | None:
        """The outcome a seat sent; None when it died and its task will be tried again."""
        assert seat.task is not None
        try:
            result, error, cause = seat.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._close(seat)
            if seat.attempt < TRIES:
                self._again.append((seat.task, seat.attempt))
                return None
            why = f"the process died {TRIES} times (exit {seat.process.exitcode}); out of memory?"
            return Outcome(seat.task, None, why, DIED)
        return Outcome(seat.task, result, error, cause)

    def _open(self) -> _Seat[Task]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._start), daemon=True)
        process.start()
        theirs.close()
        seat = _Seat[Task](process, ours)
        self._seats.append(seat)
        return seat

    def _close(self, seat: _Seat[Task]) -> None:
        seat.pipe.close()
        seat.process.join(timeout=10)
        self._seats.remove(seat)

    def dismiss(self) -> None:
        """End whatever still runs."""
        for seat in self._seats:
            seat.process.terminate()
        for seat in list(self._seats):
            self._close(seat)


def _serve(pipe: Connection, start: Start[Task, Result]) -> None:
    """The life of one process: set up, then task by task until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's: it ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what a task began is ended, too
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with one_thread():
        work: Callable[[Task], Result] | None = None
        while True:
            try:
                task = pipe.recv()
            except EOFError:
                return
            try:  # inside the loop: a start that fails is the answer to every task, not a silent death
                work = work or start(Room(is_driver=False))
                one_thread_of_torch()
            except Exception as error:  # noqa: BLE001 -- rule 2
                pipe.send((None, f"cannot start: {one_line(error)}", type(error).__name__))
                continue
            outcome = attempt(work, task)
            pipe.send((outcome.result, outcome.error, outcome.cause))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
