"""Stands between the factory and a foreign generator, so that nothing of the generator outlives either of them.

    python -I -S foreign_watch.py FOLDER PROGRAM WORD ...

`forge.foreign_running` starts it as a process of its own. Its standard input is a pipe of which the factory alone holds
the other end: as long as that is open, the factory lives.

Rules:

1. When the program ends, or when the pipe closes (the factory gave it up, or was killed, by `kill -9` too), all that
   the program has started is killed. Then this ends as the program did.
2. When the pipe has closed, perhaps nobody else is left to remove FOLDER: it is removed here.
3. On Linux orphans become children of this process, so that what has left the program's process group is found, too;
   and the program is killed with this process. Elsewhere its process group is all that is found.

It imports the standard library alone, because it starts before every clip.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

ENDING_SECONDS = 5.0
"""A killed process may still wait for a disk or a GPU; for so long it is waited for."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Of prctl(2)."""
_IS_LINUX = sys.platform == "linux"


def main(folder: Path, words: Sequence[str]) -> int:
    """Run the program and see to its end; its exit code, below 0 the signal that ended it."""
    _set_process(PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    end_with_watch = partial(_end_with, os.getpid())
    try:
        program = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=end_with_watch)
    except OSError as error:
        sys.exit(f"{words[0]}: cannot be started ({error.strerror or error})")
    factory, code = sys.stdin.fileno(), None
    while code is None:
        ready, _, _ = select.select([factory, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            code = _ended(program.pid)
        if code is None and factory in ready:
            code = -signal.SIGKILL
    _end_all(program.pid)
    if factory in select.select([factory], [], [], 0)[0]:
        remove(folder)
    program.returncode = code
    return code


def remove(folder: Path) -> None:
    """Remove a folder in which a stranger worked; what is somebody else's in it, as of a container, is left."""
    for root, names, _ in os.walk(folder):  # from above, so that what could not be entered can be after this
        for path in (Path(root) / name for name in names):
            with suppress(OSError):
                if not path.is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _end_with(watch: int) -> None:
    """In the new process: be killed when the watching one is, however that happens."""
    _set_process(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != watch:  # it was killed just before
        os._exit(1)


def _set_process(option: int, value: int) -> None:
    if _IS_LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _ended(program: int) -> int | None:
    """Wait for whoever has ended; the exit code of the program if it is among them."""
    code = None
    with suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if not ended:
                break
            if ended == program:
                code = os.waitstatus_to_exitcode(status)
    return code


def _end_all(group: int) -> None:
    """Kill a process group, and then orphans as they become children of this process, until none is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    patience = time.monotonic() + ENDING_SECONDS
    while time.monotonic() < patience:
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _children() -> Iterator[int]:
    """Processes that this one is the parent of."""
    own = str(os.getpid())
    for entry in Path("/proc").glob("[0-9]*/stat") if _IS_LINUX else ():
        with suppress(OSError):
            # pid (any name) state parent ...
            if entry.read_text("utf-8", "replace").rpartition(")")[2].split()[1] == own:
                yield int(entry.parent.name)


def _end_as(code: int) -> None:
    """End with an exit code or, where it is below 0, by that signal, without leaving a core file."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError, ValueError):  # SIGKILL has no handler to be reset
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    _end_as(main(Path(sys.argv[1]), sys.argv[2:]))
