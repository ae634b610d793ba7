"""Read a stranger's file in a process of its own, with limits: a crash or a bomb in the parser costs one answer.

credential = read_credential_guarded(Path("from_the_internet.mp4"))
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Final

from provenance.credential import Credential, Standing, read_credential
from provenance.errors import ProvenanceError
from provenance.files import sha256_of
from provenance.trust import TrustAnchors

MEMORY_BYTES: Final = 4 << 30
"""Address space of the reading process, beside what the file itself may need."""
MOST_HELD_BYTES: Final = 4 << 30
"""Larger files are never held in memory: only the formats that cannot grow beyond this are read whole."""
SECONDS: Final = 60.0
"""Time for a small file."""
SECONDS_PER_GIGABYTE: Final = 30.0
"""More time for a large one: hashing runs at a few hundred megabytes a second on a slow machine."""


def read_credential_guarded(path: Path, *, trust: TrustAnchors | None = None) -> Credential:
    """As `read_credential`, but a file on which the reader crashes, hangs or swells reads as broken.

    Where the system cannot fork (Windows), it reads in this process.

    Raises:
        ProvenanceError: as `read_credential`.
    """
    trust = TrustAnchors.default() if trust is None else trust
    if not hasattr(os, "fork"):
        return read_credential(path, trust=trust)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _read_and_exit(path, trust, sending, size)
    os.close(sending)
    limit = SECONDS + SECONDS_PER_GIGABYTE * size / 1e9
    answer = _receive(receiving, child, limit)
    if answer is None:
        return _stopped(path)
    if "error" in answer:
        raise ProvenanceError(str(answer["error"]))
    return Credential.from_json(answer)


def _read_and_exit(path: Path, trust: TrustAnchors, sending: int, size: int) -> None:
    """In the child: limit this process, read, send the answer as JSON, and end without any clean-up of the parent's."""
    status = 1
    try:
        import resource

        ceiling = MEMORY_BYTES + 3 * min(size, MOST_HELD_BYTES)
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # What a dying parser prints is no answer for the user.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            answer = read_credential(path, trust=trust).to_json()
        except ProvenanceError as error:
            answer = {"error": str(error)}
        with os.fdopen(sending, "wb") as stream:
            stream.write(json.dumps(answer).encode())
        status = 0
    finally:
        os._exit(status)


def _receive(receiving: int, child: int, seconds: float) -> dict[str, object] | None:
    """The child's answer, or None when it died or took too long."""
    content = bytearray()
    end = time.monotonic() + seconds
    in_time = True
    with os.fdopen(receiving, "rb", buffering=0) as stream:
        while True:
            if not select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
                in_time = False
                os.kill(child, signal.SIGKILL)
                break
            block = stream.read(1 << 20)
            if not block:
                break
            content += block
    _, status = os.waitpid(child, 0)
    if not in_time or status != 0:
        return None
    answer = json.loads(content)
    return answer if isinstance(answer, dict) else None


def _stopped(path: Path) -> Credential:
    return Credential(
        file=str(path),
        sha256=sha256_of(path),
        standing=Standing.BROKEN,
        validation_codes=("general.error",),
        reasons=("the credential cannot be checked: the reader crashed on this file or took too much memory or time",),
    )
