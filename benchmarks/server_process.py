"""A real `countermark serve` in a process of its own, for measurements and for hostile requests.

with served(folder) as there:
    status, where, content = asked(there.port, "GET", "/api/about")
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import psutil

MOST_UPLOAD_MB = 2
PATIENCE_SECONDS = 1800.0
"""For one answer on a machine that is busy with other things; it is the line that takes long."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Served:
    """A running server."""

    port: int
    process: psutil.Process
    temporary: Path

    def left(self) -> list[str]:
        """Uploads on the disk."""
        found = self.temporary.glob("countermark-serve-*/run-*/*")
        return [str(path.relative_to(self.temporary)) for path in found if path.name != "lock"]

    def megabytes(self) -> float:
        """Resident memory of the server itself; what checks need belongs to their own processes."""
        return float(self.process.memory_info().rss) / 1e6

    def core_seconds(self) -> float:
        """Of the server and of all that it has started, ended ones included."""
        total = 0.0
        for one in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                used = one.cpu_times()
                total += used.user + used.system + used.children_user + used.children_system
        return total


@contextmanager
def served(folder: Path, *words: str) -> Iterator[Served]:
    """A server in a process of its own, with a home and a temporary folder of its own; gone at the end.

    Raises:
        TimeoutError: when it does not say within two minutes where it is.
    """
    temporary, log = folder / "temporary", folder / "server.log"
    temporary.mkdir(parents=True)
    home = {name: str(folder / "home") for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")}
    command = [sys.executable, "-m", "countermark", "serve", "--port", "0", "--max-upload-mb", str(MOST_UPLOAD_MB)]
    with TemporaryDirectory(prefix="cm-") as near, log.open("wb") as stream:
        # sockets have short names only, and the folders of tests have long ones
        short = Path(near) / "t"
        short.symlink_to(temporary.resolve(), target_is_directory=True)
        process = subprocess.Popen(
            [*command, *words], env={**os.environ, **home, "TMPDIR": str(short)}, stderr=stream, stdout=stream
        )
        try:
            port = until(lambda: _port_in(log), 120.0)
            yield Served(port, psutil.Process(process.pid), temporary)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def asked(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str, bytes]:
    """Status, Location and content of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("location", path), answer.read()
    finally:
        connection.close()


def _port_in(log: Path) -> int | None:
    found = re.search(r"Countermark is at http://127\.0\.0\.1:(\d+)/", log.read_text(errors="replace"))
    return int(found[1]) if found else None


def until(look: Callable[[], Found | None], seconds: float) -> Found:
    """What `look` finds, asked several times a second.

    Raises:
        TimeoutError: when it finds nothing in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
        time.sleep(0.1)
    raise TimeoutError(f"nothing within {seconds:.0f} s")
