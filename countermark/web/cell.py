"""One process for one request: warm before it is needed, limited while it works, gone afterwards.

    cell = Cell(prepare_tasks, preload=("detect.models.frame",))
    ending = cell.ask(task, tell=print, seconds=60, gives_up=lambda: False)

A decoder that crashes, hangs or swells takes its own process with it and nothing else. Rules:

1. What comes out of a cell is JSON, read with a size limit, never a pickle: a captured process must not be believed.
2. A cell serves one request. The next one is started, and warmed, while nobody waits.
3. A cell whose server is gone ends at once, and takes the folder of its request along.
4. Whatever a library writes for itself while it works lies in that folder too, and goes with it after a crash.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Tell = Callable[[Mapping[str, Any]], None]
Work = Callable[[Mapping[str, Any], Tell], None]
"""Does one task and tells what it finds."""
Prepare = Callable[[], Work]
"""Called once in a new process: loads whatever can be loaded before the task is known."""

MOST_MESSAGE_BYTES = 160 << 20
"""A whole clip in base64 is the largest that a cell has to tell."""
WARM_SECONDS = 180.0
"""A busy machine may need long to load the networks; a cell that is not warm by then never will be."""


class Refusal(Exception):
    """A file that cannot be worked on, through no fault of ours; the message is one line for the client."""


class Ending(StrEnum):
    """How a request ended."""

    FINISHED = "finished"
    REFUSED = "refused"
    CRASHED = "crashed"
    TOO_LONG = "too_long"
    GIVEN_UP = "given_up"
    NOT_READY = "not_ready"


class Cell:
    """The server's end of one process."""

    def __init__(self, prepare: Prepare, *, preload: Sequence[str] = ()) -> None:
        """Start a process and let it warm up.

        Args:
            prepare: an importable function.
            preload: modules that the common ancestor of all cells imports, once.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(preload))
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_enter, args=(theirs, prepare), daemon=True)
        self._process.start()
        theirs.close()
        self._is_ready = False
        self.line = ""
        """Why it ended, where it said so."""

    @property
    def pid(self) -> int | None:
        """Process number."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.is_alive()

    def becomes_ready(self, seconds: float = WARM_SECONDS, gives_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until it is warm; False when it never will be."""
        end = time.monotonic() + seconds
        while not self._is_ready and time.monotonic() < end and not gives_up():
            message = self._next()
            if message is None:
                continue
            self._is_ready = message.get("kind") == "ready"
            if not self._is_ready:
                self.line = str(message.get("line", ""))
                break
        return self._is_ready

    def ask(
        self, task: Mapping[str, Any], tell: Callable[[Message], None], *, seconds: float, gives_up: Callable[[], bool]
    ) -> Ending:
        """Hand over the one task and pass on what the process tells, until it ends.

        Args:
            task: plain JSON values.
            tell: gets each message, in order.
            seconds: after which the process is killed.
            gives_up: asked several times a second; once it says yes the process is killed.
        """
        if not self.becomes_ready(gives_up=gives_up):
            return Ending.GIVEN_UP if gives_up() else Ending.NOT_READY
        end = time.monotonic() + seconds
        with self._killed_when(lambda: gives_up() or time.monotonic() > end):
            ending = self._heard(task, tell)
        if ending is Ending.CRASHED and gives_up():
            return Ending.GIVEN_UP
        return Ending.TOO_LONG if ending is Ending.CRASHED and time.monotonic() > end else ending

    def _heard(self, task: Mapping[str, Any], tell: Callable[[Message], None]) -> Ending:
        """Hand over the task and listen until the process ends or is ended."""
        try:
            self._pipe.send_bytes(json.dumps(task).encode())
        except OSError:
            return Ending.CRASHED
        while True:
            message = self._next()
            if message is None:
                continue
            match message.get("kind"):
                case "end":
                    return Ending.FINISHED
                case "refused":
                    self.line = str(message.get("line", ""))
                    return Ending.REFUSED
                case "crashed":
                    return Ending.CRASHED
                case _:
                    tell(message)

    @contextmanager
    def _killed_when(self, is_over: Callable[[], bool]) -> Iterator[None]:
        """Kill the process once something is so; from a thread, since half a message would hold up whoever reads it."""
        is_left = threading.Event()

        def watch() -> None:
            while not is_left.wait(0.1):
                if is_over():
                    self._process.kill()
                    return

        watcher = threading.Thread(target=watch, name="watcher", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            is_left.set()
            watcher.join()

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join(10)
        self._pipe.close()

    def _next(self) -> Message | None:
        """The next message; None after a moment without one; `crashed` where no other will come."""
        ready = wait([self._pipe, self._process.sentinel], timeout=0.1)
        if not ready:
            return None
        try:
            # what was sent before the process died is still in the pipe
            if self._pipe in ready or self._pipe.poll():
                message = json.loads(self._pipe.recv_bytes(MOST_MESSAGE_BYTES))
                return message if isinstance(message, dict) else {"kind": "crashed"}
        except (EOFError, OSError, ValueError, RecursionError):
            return {"kind": "crashed"}
        return {"kind": "crashed"}


def _enter(pipe: Connection, prepare: Prepare) -> None:
    """The process: warm up, take the task, do it, end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server decides
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)

    def tell(message: Mapping[str, Any]) -> None:
        pipe.send_bytes(json.dumps(message).encode())

    try:
        work = prepare()
        tell({"kind": "ready"})
        task = json.loads(pipe.recv_bytes())
        folder = task.get("folder")
        if folder:
            os.environ["TMPDIR"] = tempfile.tempdir = folder  # rule 4: the variable is for programs started from here
        threading.Thread(target=_end_with_server, args=(pipe.fileno(), folder), daemon=True).start()
        work(task, tell)
        tell({"kind": "end"})
    except Refusal as refusal:
        tell({"kind": "refused", "line": " ".join(str(refusal).split())[:1000]})
    except (EOFError, OSError, KeyboardInterrupt):
        os._exit(1)
    except BaseException as error:  # noqa: BLE001 -- the last line of the process: the server tells it as a crash
        tell({"kind": "crashed", "line": f"{type(error).__name__}: {error}"[:300]})
    finally:
        pipe.close()
        # nothing is worth an orderly end: native threads of the libraries may hang in theirs
        os._exit(0)


def _end_with_server(server: int, folder: str | None) -> None:
    """Wait for the server's end of the pipe to close: it says nothing after the task (rule 3)."""
    select.select([server], [], [])
    if folder:
        shutil.rmtree(Path(folder), ignore_errors=True)
    os._exit(1)
