"""Small questions about files that several modules of this package ask."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO, Final

from provenance.errors import ProvenanceError

BLOCK_BYTES: Final = 1 << 20

LARGE_BYTES: Final = 4 << 30
"""From this size on a file that is mostly holes is refused."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hex.

    Raises:
        ProvenanceError: when it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return sha256_of_stream(stream)
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error


def sha256_of_stream(stream: BinaryIO) -> str:
    """SHA-256 of everything in an open file, from its beginning, hex; leaves the position at the end."""
    stream.seek(0)
    digest = hashlib.sha256()
    while block := stream.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def refuse_holes(path: Path, status: os.stat_result) -> None:
    """Stop at a large file of which hardly anything is on the disk.

    A file of four kilobytes can claim a terabyte, and hashing that takes an hour. File systems that do not count blocks
    say 0, which proves nothing.

    Raises:
        ProvenanceError: for such a file.
    """
    on_disk = 512 * getattr(status, "st_blocks", 0)
    if status.st_size > LARGE_BYTES and 0 < on_disk < status.st_size // 100:
        raise ProvenanceError(
            f"{path} claims {status.st_size / 1e9:,.0f} GB, but hardly any of it is on the disk; "
            "it is no whole media file: copy or download it again"
        )


def state_of(status: os.stat_result) -> tuple[int, int, int]:
    """What differs when a file was written to, or replaced, between two looks at it."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        # Some network file systems cannot; the file itself is synced already.
        return
    finally:
        os.close(handle)


def temporary_beside(path: Path) -> Path:
    """A hidden name in the same folder, from where a finished file is renamed to `path` in one step."""
    # A name may be as long as the file system allows: only its beginning is taken over.
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears complete, or not at all.

    Raises:
        ProvenanceError: when it cannot be written; nothing is left behind then.
    """
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ProvenanceError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
