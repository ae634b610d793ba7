"""Whether processes have come and gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

PATIENCE_SECONDS = 60.0
"""On a loaded machine; who has come or gone is told at once."""


def gone(pid: int) -> bool:
    """Whether a process ends; one that nobody has waited for yet counts as ended."""
    last = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < last:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/stat")
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            pass
        time.sleep(0.01)
    return False


def written(path: Path) -> str:
    """What somebody writes into a file, which is waited for."""
    last = time.monotonic() + PATIENCE_SECONDS
    while not (path.is_file() and path.stat().st_size):
        assert time.monotonic() < last, f"{path} was never written"
        time.sleep(0.01)
    return path.read_text()
