"""The folder in which strangers' files lie while they are checked; nothing of it outlives the server.

    with Spool.opened() as spool:
        folder = spool.new_folder()      # empty, readable by this user only

Every server has its own folder and holds a lock on it. What a killed server left is found by its free lock, and swept
when the next one starts.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from countermark.web.settings import ServeError

LOCK = "lock"


class Spool:
    """The folder of one server."""

    def __init__(self, root: Path) -> None:
        """Take an existing folder."""
        self.root = root

    @classmethod
    @contextmanager
    def opened(cls, base: Path | None = None) -> Iterator[Spool]:
        """A folder for the length of a block; what dead servers left beside it is removed first.

        Args:
            base: folder of all servers of this user; one in the system's temporary folder unless given.

        Raises:
            ServeError: where the folder cannot be used, or belongs to somebody else.
        """
        base = base or Path(tempfile.gettempdir()) / f"countermark-serve-{os.getuid()}"
        try:
            base.mkdir(mode=0o700, exist_ok=True)
            _must_be_ours(base)
            sweep(base)
            root = base / f"run-{secrets.token_hex(8)}"
            root.mkdir(mode=0o700)
            lock = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ServeError(f"cannot use {base} for uploads: {error.strerror or error}; set TMPDIR") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield cls(root)
        finally:
            shutil.rmtree(root, ignore_errors=True)
            os.close(lock)

    def new_folder(self) -> Path:
        """An empty folder whose name says nothing."""
        folder = self.root / secrets.token_hex(12)
        folder.mkdir(mode=0o700)
        return folder

    def holds_nothing(self) -> bool:
        """Whether no upload is left."""
        return all(entry.name == LOCK for entry in self.root.iterdir())


def sweep(base: Path) -> int:
    """Remove the folders of servers that no longer run.

    Returns:
        How many were removed.
    """
    swept = 0
    for root in base.glob("run-*"):
        try:
            handle = os.open(root / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            # a server that is just starting has no lock yet; its folder is empty, and a later sweep finds it
            if not any(root.iterdir()) and _age_seconds(root) < 60:
                continue
            shutil.rmtree(root, ignore_errors=True)
            swept += 1
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(root, ignore_errors=True)
            swept += 1
        finally:
            os.close(handle)
    return swept


def _age_seconds(path: Path) -> float:
    import time

    return time.time() - path.stat().st_mtime


def _must_be_ours(base: Path) -> None:
    """A folder of that name that somebody else made before us would show them every upload."""
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise ServeError(f"{base} is not a folder that only you can read; remove it, or set TMPDIR to another place")
