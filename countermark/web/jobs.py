"""Requests in line, the processes that do them, and the answers until they are fetched or forgotten.

    board = Board(settings, spool, prepare)
    board.start()
    with board.seat() as seat:                   # Full is raised here, before anything is received
        job = seat.submit(Job("check", {...}))
    ...                                          # job.state, job.step; then job.report

Each runner thread owns one `Cell` at a time, warm before the next job comes. Rules:

1. A job's folder is removed when its process has ended, whatever the outcome, and before its answer is given (only a
   job that goes on to gather evidence answers sooner); answers are kept in memory only.
2. Answers are forgotten after a time, the oldest sooner when they fill their memory.
3. Every job ends: in a report, a refusal, a failure or a cancellation, each with one plain line.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
import threading
import time
from base64 import b64decode
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from countermark.web.cell import Cell, Ending, Message, Prepare
from countermark.web.settings import ServeSettings

logger = logging.getLogger(__name__)

BLOB_TYPES = {".jpg": "image/jpeg", ".html": "text/html; charset=utf-8", ".mp4": "video/mp4"}
"""What a checking process may hand out, and as what; nothing it says can widen this."""
BLOB_NAME = re.compile(r"[a-z]{1,12}(-[0-9]{1,3})?\.(jpg|html|mp4)")
MOST_BLOBS = 64
MOST_BYTES = 128 << 20
"""Of one job's answer, with everything that belongs to it."""
MOST_TOLD_BYTES = 8 << 20
"""Of one report, or of one piece of evidence: a face of half an hour needs some hundred kB."""
LONGEST_REST = 30.0
"""Seconds between two attempts to start processes that do not start."""


class Full(Exception):
    """Too many requests are waiting; the client should come again."""


class State(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    """The file cannot be worked on; the line says why."""
    FAILED = "failed"
    """We could not do it: a crash, or out of time."""
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether the answer, whatever it is, is there."""
        return self not in (State.WAITING, State.RUNNING)


@dataclass(eq=False)
class Job:
    """One request. Written by its runner, read by everybody."""

    kind: str
    """"check" or "forge"."""
    task: dict[str, Any]
    """For the process; paths made by the server only."""
    folder: Path
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    """Cannot be guessed: whoever knows it may fetch the answer."""
    state: State = State.WAITING
    step: str = "Waiting for a free process"
    done: int = 0
    planned: int = 0
    """Of what is counted, such as frames; 0 where nothing is."""
    line: str = ""
    """Why there is no report."""
    report: bytes | None = None
    """JSON, ready to be sent."""
    evidence: dict[str, Any] = field(default_factory=dict)
    evidence_bytes: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    is_complete: bool = False
    """Whether nothing more will come: the process has ended and the folder is gone."""
    created: float = field(default_factory=time.monotonic)
    ended: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def bytes_kept(self) -> int:
        """Memory of the answer, roughly."""
        return 20_000 + len(self.report or b"") + self.evidence_bytes + sum(map(len, self.blobs.values()))

    def status(self) -> dict[str, Any]:
        """Where it is, as plain values."""
        facts: dict[str, Any] = {
            "job": self.id,
            "kind": self.kind,
            "state": self.state.value,
            "step": self.step,
            "seconds": round((self.ended or time.monotonic()) - self.created, 2),
            "complete": self.is_complete,
        }
        if self.planned:
            facts |= {"done": self.done, "planned": self.planned}
        if self.line:
            facts["error"] = self.line
        return facts

    def hear(self, message: Message) -> None:
        """Take in what the process told. It is a stranger's word: unknown or malformed messages are dropped."""
        match message:
            case {"kind": "step", "step": str(step)}:
                self.step = step[:200]
            case {"kind": "progress", "done": int(done), "planned": int(planned)}:
                self.step, self.done, self.planned = "Filming", done, planned
            case {"kind": "report", "report": dict(report)}:
                told = json.dumps(report, ensure_ascii=False).encode("utf-8", "replace")
                if self.report is None and len(told) <= MOST_TOLD_BYTES:
                    self.report = told
                    if self.task.get("evidence"):
                        # nobody waits for pictures with the verdict at hand; without them the job ends a moment later
                        self.end(State.DONE)
            case {"kind": "tracks", "tracks": dict(found)} | {"kind": "origin", "origin": dict(found)}:
                self._keep(str(message["kind"]), found)
            case {"kind": "thumbnails", "thumbnails": list(found)} | {"kind": "pictures", "pictures": list(found)}:
                self._keep(str(message["kind"]), found)
            case {"kind": "blob", "name": str(name), "base64": str(content)}:
                is_new = BLOB_NAME.fullmatch(name) and name not in self.blobs and len(self.blobs) < MOST_BLOBS
                # three bytes in four characters
                if is_new and self.bytes_kept + len(content) * 3 // 4 <= MOST_BYTES:
                    self.blobs[name] = b64decode(content)
            case _:
                logger.debug("job %s: %s", self.id, str(message)[:300])

    def _keep(self, name: str, found: Any) -> None:
        """One kind of evidence, once, and no more of it than a page can want."""
        size = len(json.dumps(found))
        if name not in self.evidence and size <= MOST_TOLD_BYTES:
            self.evidence[name] = found
            self.evidence_bytes += size

    def end(self, state: State, line: str = "") -> None:
        """Give the answer; the first one counts."""
        if not self.state.is_over:
            self.line, self.ended = line, time.monotonic()
            self.state = state


@dataclass(eq=False)
class Seat:
    """A place in the line, held while a request is still being received."""

    board: Board
    is_taken: bool = False

    def submit(self, job: Job) -> Job:
        """Put a job into this place."""
        self.is_taken = True
        self.board.take_in(job)
        return job


class Board:
    """All jobs of a server, and the threads that have them done."""

    def __init__(self, settings: ServeSettings, prepare: Prepare, *, preload: Sequence[str] = ()) -> None:
        """A board without runners; `start` adds them.

        Args:
            settings: limits and counts.
            prepare: what each new process begins with, see `Cell`.
            preload: modules that all processes share.
        """
        self._settings = settings
        self._prepare, self._preload = prepare, preload
        self._jobs: dict[str, Job] = {}
        self._line: deque[Job] = deque()
        self._seats = 0
        self._news = threading.Condition()
        self._is_closing = threading.Event()
        self._runners: list[threading.Thread] = []

    def start(self) -> None:
        """Start the runners; their processes warm up in the background."""
        for number in range(self._settings.workers):
            runner = threading.Thread(target=self._run_jobs, name=f"runner-{number}", daemon=True)
            runner.start()
            self._runners.append(runner)

    def close(self) -> None:
        """Cancel everything and wait until every process and folder is gone."""
        self._is_closing.set()
        with self._news:
            waiting, self._line = list(self._line), deque()
            self._news.notify_all()
        for job in waiting:
            self._finish(job, State.CANCELLED, "the server was stopped")
        for runner in self._runners:
            # one that is just starting the very first process waits for it; no file is in its hands
            runner.join(5)

    @contextmanager
    def seat(self) -> Iterator[Seat]:
        """Hold a place in the line.

        Raises:
            Full: when every place is taken.
        """
        with self._news:
            if self._seats + len(self._line) >= self._settings.waiting + self._settings.workers:
                raise Full
            self._seats += 1
        seat = Seat(self)
        try:
            yield seat
        finally:
            if not seat.is_taken:
                with self._news:
                    self._seats -= 1

    def take_in(self, job: Job) -> None:
        """Put a job at the end of the line; only `Seat.submit` calls this."""
        with self._news:
            self._seats -= 1
            self._jobs[job.id] = job
            self._line.append(job)
            self._news.notify()
        self._forget_old()

    def find(self, job_id: str) -> Job | None:
        """The job of a number; None when there is none, or it was forgotten."""
        self._forget_old()
        return self._jobs.get(job_id)

    def position(self, job: Job) -> int:
        """How many jobs are before this one."""
        with self._news:
            return next((place for place, other in enumerate(self._line) if other is job), 0)

    def cancel(self, job: Job) -> None:
        """Stop a job and forget it; its folder is removed as soon as its process is gone."""
        job.cancelled.set()
        with self._news:
            was_waiting = job in self._line
            if was_waiting:
                self._line.remove(job)
            self._jobs.pop(job.id, None)
        if was_waiting:
            self._finish(job, State.CANCELLED, "cancelled")

    def _forget_old(self) -> None:
        now = time.monotonic()
        with self._news:
            over = sorted((job for job in self._jobs.values() if job.is_complete), key=lambda job: job.ended or 0.0)
            kept = sum(job.bytes_kept for job in over)
            for job in over:
                is_old = now - (job.ended or now) > self._settings.kept_seconds
                if is_old or kept > self._settings.kept_bytes:
                    kept -= job.bytes_kept
                    del self._jobs[job.id]

    def _run_jobs(self) -> None:
        """One runner: a warm process, a job, a new process, until the board closes."""
        cell: Cell | None = None
        rest = 0.5
        while not self._is_closing.is_set():
            if cell is None or not cell.is_alive:
                if cell is not None:
                    cell.close()
                    # one that dies before it has anything to do, such as without its weights, will die again
                    rest = min(2 * rest, LONGEST_REST)
                cell = self._new_cell()
            job = self._next_job(rest)
            self._forget_old()
            if job is not None:
                if cell is not None and not cell.is_alive:
                    cell.close()
                    cell = self._new_cell()
                self._do(job, cell)
                cell, rest = None, 0.5
        if cell is not None:
            cell.close()

    def _new_cell(self) -> Cell | None:
        try:
            return Cell(self._prepare, preload=self._preload)
        except OSError:
            logger.exception("cannot start a process")
            time.sleep(1.0)
            return None

    def _next_job(self, seconds: float) -> Job | None:
        with self._news:
            if not self._line:
                self._news.wait(seconds)
            return self._line.popleft() if self._line and not self._is_closing.is_set() else None

    def _do(self, job: Job, cell: Cell | None) -> None:
        """Have one job done; whatever happens, it ends, and its folder and process are gone."""
        job.state, job.step = State.RUNNING, "Starting"
        state, line = State.FAILED, "no process could be started; try again"
        try:
            if cell is not None:
                ending = cell.ask(
                    job.task,
                    job.hear,
                    seconds=self._settings.limits.job_seconds,
                    gives_up=lambda: job.cancelled.is_set() or self._is_closing.is_set(),
                )
                state, line = _told(ending, cell.line)
        except Exception:  # rule 3, and the runner must live
            logger.exception("job %s", job.id)
            line = "something went wrong here; the server's log has the details"
        finally:
            if cell is not None:
                cell.close()
            self._finish(job, state, line)

    def _finish(self, job: Job, state: State, line: str) -> None:
        """Rule 1, then the answer."""
        for _ in range(3):
            # a program that the process had started may write a last file meanwhile
            shutil.rmtree(job.folder, ignore_errors=True)
            if not job.folder.exists():
                break
            time.sleep(0.05)
        # a process that died after its verdict has given it
        if job.report is not None and state is not State.CANCELLED:
            state, line = State.DONE, ""
        job.end(state, line)
        job.is_complete = True


def _told(ending: Ending, line: str) -> tuple[State, str]:
    """What a client is told about an ending; a job that has reported already stays done."""
    said: Mapping[Ending, tuple[State, str]] = {
        Ending.FINISHED: (State.FAILED, "the check ended without an answer; try again"),
        Ending.REFUSED: (State.REFUSED, line or "this file cannot be worked on"),
        Ending.CRASHED: (
            State.FAILED,
            "reading this file crashed the reader, or took more memory or processor time than one check may use; "
            "no verdict was reached",
        ),
        Ending.TOO_LONG: (State.FAILED, "this took longer than one check may take; send a shorter part of it"),
        Ending.GIVEN_UP: (State.CANCELLED, "cancelled"),
        Ending.NOT_READY: (
            State.FAILED,
            f"the checking process does not start: {line or 'it gave no reason'}; run `countermark provenance doctor`",
        ),
    }
    return said[ending]
