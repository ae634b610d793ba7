"""Read a stranger's file in a process of its own, with limits: a crash or a bomb in the parser costs one answer.

credential = read_credential_guarded(Path("from_the_internet.mp4"))
prints = guarded(lambda: prints_of(path), Allowance(seconds=60.0))      # any other reading; plain JSON values come out

The child is a copy of this process, so the work may be any function; it must not use what a copy cannot share, such as
a session with a hardware token, nor be asked for while other threads of this process hold locks that the work needs:
it would wait for them until its time is up. What comes out of it is JSON with a size limit, never a pickle: a captured
parser must not be believed.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Final, NoReturn

from provenance.credential import Credential, Standing, read_credential
from provenance.errors import ProvenanceError
from provenance.files import sha256_of
from provenance.trust import TrustAnchors

MEMORY_BYTES: Final = 4 << 30
"""Address space that the reading process may add, beside what the file itself may need."""
MOST_HELD_BYTES: Final = 4 << 30
"""Larger files are never held in memory: only the formats that cannot grow beyond this are read whole."""
SECONDS: Final = 60.0
"""Time for a small file."""
SECONDS_PER_GIGABYTE: Final = 30.0
"""More time for a large one: hashing runs at a few hundred megabytes a second on a slow machine."""
MOST_ANSWER_BYTES: Final = 256 << 20
"""The credential with the longest chain that is followed has a few megabytes."""


class ReadingStopped(ProvenanceError):
    """The reader crashed, hung or swelled; the message ends a sentence that says what could not be done."""


@dataclass(frozen=True)
class Allowance:
    """What one reading may cost."""

    seconds: float = SECONDS
    """Wall clock."""
    cpu_seconds: float | None = None
    """Of all its threads; as many as by the clock unless given, for each core there is."""
    memory_bytes: int = MEMORY_BYTES
    """Address space beside what this process has mapped already: the networks of a caller are not the file's fault."""
    answer_bytes: int = MOST_ANSWER_BYTES

    def __post_init__(self) -> None:
        """Refuse limits that allow nothing."""
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")

    @classmethod
    def for_size(cls, size_bytes: int) -> Allowance:
        """For reading the credential of a file of this size."""
        memory = MEMORY_BYTES + 3 * min(size_bytes, MOST_HELD_BYTES)
        return cls(seconds=SECONDS + SECONDS_PER_GIGABYTE * size_bytes / 1e9, memory_bytes=memory)


def guarded(work: Callable[[], Any], allowance: Allowance) -> Any:
    """What a function returns, called in a copy of this process that has limits.

    Where the system cannot fork (Windows), it is called in this process.

    Args:
        work: returns plain JSON values.
        allowance: what it may cost.

    Raises:
        ProvenanceError: what `work` raised of that kind, with its message.
        ReadingStopped: when it crashed, took too much of anything, or said nothing that can be understood.
    """
    if not hasattr(os, "fork"):
        return work()
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _work_and_exit(work, sending, allowance)
    os.close(sending)
    answer = _received(receiving, child, allowance)
    match answer:
        case {"error": str(message)}:
            raise ProvenanceError(message)
        case {"answer": value}:
            return value
        case _:
            raise ReadingStopped("the reader crashed on this file or took too much memory or time")


def read_credential_guarded(path: Path, *, trust: TrustAnchors | None = None) -> Credential:
    """As `read_credential`, but a file on which the reader crashes, hangs or swells reads as broken.

    Raises:
        ProvenanceError: as `read_credential`.
    """
    trust = TrustAnchors.default() if trust is None else trust
    try:
        facts = guarded(lambda: read_credential(path, trust=trust).to_json(), Allowance.for_size(_size_of(path)))
    except ReadingStopped as stop:
        return _broken(path, str(stop))
    return Credential.from_json(facts)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error


def _work_and_exit(work: Callable[[], Any], sending: int, allowance: Allowance) -> NoReturn:
    """In the child: limit this process, work, send the answer as JSON, end without any clean-up of the parent's."""
    status = 1
    try:
        _restrict(allowance)
        # What a dying parser prints is no answer for the user.
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        try:
            told = {"answer": work()}
        except ProvenanceError as error:
            told = {"error": str(error)}
        with os.fdopen(sending, "wb") as pipe:
            pipe.write(json.dumps(told).encode())
        status = 0
    finally:
        os._exit(status)


def _restrict(allowance: Allowance) -> None:
    """Limit this process, for good, and never above what it was allowed before."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = allowance.cpu_seconds or allowance.seconds * (os.cpu_count() or 1)
    for kind, most in (
        (resource.RLIMIT_AS, _mapped_bytes() + allowance.memory_bytes),
        (resource.RLIMIT_CPU, math.ceil(cpu + used.ru_utime + used.ru_stime)),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    # the default action ends the process, whatever the parent does on this signal
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process


def _mapped_bytes() -> int:
    """Address space of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _received(receiving: int, child: int, allowance: Allowance) -> object:
    """The child's answer, or None when it died, took too long or said too much; the child is gone afterwards."""
    end = time.monotonic() + allowance.seconds
    status: int | None = None
    try:
        with os.fdopen(receiving, "rb", buffering=0) as stream:
            content = _all_of(stream, end, allowance.answer_bytes)
        # a captured process may close its end and stay
        status = _status_of(child, end) if content is not None else None
    finally:
        # also when this process is interrupted while it waits
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if content is None or status != 0:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _all_of(stream: FileIO, end: float, most_bytes: int) -> bytes | None:
    """Everything that comes until the other end closes; None when that takes too long or is too much."""
    content = bytearray()
    while len(content) <= most_bytes:
        if not select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
            return None
        block = stream.read(1 << 20)
        if not block:
            return bytes(content)
        content += block
    return None


def _status_of(child: int, end: float) -> int | None:
    """How a child ended; None when it does not end in time, and has to be killed and waited for."""
    pause = 0.0005
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return None


def _broken(path: Path, why: str) -> Credential:
    return Credential(
        file=str(path),
        sha256=sha256_of(path),
        standing=Standing.BROKEN,
        validation_codes=("general.error",),
        reasons=(f"the credential cannot be checked: {why}",),
    )
