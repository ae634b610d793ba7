"""Small questions about files that several modules of this package ask."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from provenance.errors import ProvenanceError
from provenance.formats import SNIFF_BYTES, sniff_format

BLOCK_BYTES: Final = 1 << 20
WORTH_A_THREAD: Final = 4 << 20
"""A smaller file is hashed before a thread has begun."""

MOST_SMALL_BYTES: Final = 16 << 20
"""More than any key, list of certificates or record has."""
LARGE_BYTES: Final = 4 << 30
"""From this size on a file that is mostly holes is refused."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file to be read, without waiting for pipes and devices, which are refused.

    Raises:
        OSError: when it cannot be opened.
        ProvenanceError: when it is no regular file, or mostly holes.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise ProvenanceError(f"{path} is not a regular file; give the file itself")
        if _is_mostly_holes(handle, status):
            # Four kilobytes can claim a terabyte, and hashing that takes an hour.
            raise ProvenanceError(
                f"{path} claims {status.st_size / 1e9:,.0f} GB, but hardly any of it is on the disk, so it is no whole "
                "file; copy or download it again"
            )
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_small(path: Path, *, most_bytes: int = MOST_SMALL_BYTES) -> bytes:
    """The content of a file that is small by its nature: a key, a certificate, a record.

    Raises:
        ProvenanceError: when it cannot be read, or is too large for one.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read(most_bytes + 1)
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error
    if len(content) > most_bytes:
        raise ProvenanceError(f"{path} is larger than {most_bytes >> 20} MiB; is it the right file?")
    return content


def format_of(path: Path) -> str | None:
    """Format of a regular file, by content; None when it is no kind of media file.

    Raises:
        ProvenanceError: when there is no such file, or it cannot be read.
    """
    try:
        if not path.is_file():
            raise ProvenanceError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
        with open_regular(path) as stream:
            return sniff_format(stream.read(SNIFF_BYTES))
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hex.

    Raises:
        ProvenanceError: when it cannot be read.
    """
    try:
        with open_regular(path) as stream:
            return sha256_of_stream(stream)
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def hashed_meanwhile(stream: BinaryIO) -> Iterator[Callable[[], str]]:
    """SHA-256 of an open file, worked out while the block does something else with it; ask for it inside the block.

    It is read by its own offsets: where the stream stands is the block's business.

    Raises:
        OSError: when asked, if the file cannot be read.
    """
    number = stream.fileno()
    if os.fstat(number).st_size < WORTH_A_THREAD:
        yield lambda: _hashed_by_offset(number)
        return
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(_hashed_by_offset, number).result


@contextmanager
def flushed_meanwhile(file: BinaryIO) -> Iterator[None]:
    """Write an open file to the disk while the block reads it; it is there when the block has ended.

    Raises:
        OSError: at the end of the block, if it cannot be written.
    """
    file.flush()
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(os.fsync, file.fileno())
        yield
        done.result()


def copy_range(source: int, target: int, start: int, count: int) -> None:
    """Copy a part of a file to where another one stands, within the system where it can.

    Args:
        source: number of the file; where it stands does not matter.
        target: number of the other file.
        start: first byte.
        count: how many.

    Raises:
        OSError: when it cannot be read or written.
        EOFError: when the file ends earlier.
    """
    within = hasattr(os, "copy_file_range")
    while count:
        done = 0
        if within:
            try:
                done = os.copy_file_range(source, target, count, start)
            except OSError as error:
                if error.errno not in _CANNOT_WITHIN:
                    raise
            # some file systems say that they copied nothing where they cannot
            within = done > 0
        if not within:
            block = os.pread(source, min(count, BLOCK_BYTES), start)
            if not block:
                raise EOFError(f"the file ends at byte {start}")
            done = os.write(target, block)
        start, count = start + done, count - done


_CANNOT_WITHIN: Final = frozenset({errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF})
"""A kernel, file system or sandbox that does not copy by itself; where the file is at fault, the plain way says so."""


def _hashed_by_offset(number: int) -> str:
    digest, offset = hashlib.sha256(), 0
    # One buffer: a new block for each megabyte costs a tenth more.
    buffer = bytearray(BLOCK_BYTES)
    view = memoryview(buffer)
    while count := os.preadv(number, [buffer], offset):
        digest.update(view[:count])
        offset += count
    return digest.hexdigest()


def sha256_of_stream(stream: BinaryIO) -> str:
    """SHA-256 of everything in an open file, from its beginning, hex; leaves the position at the end."""
    stream.seek(0)
    # The standard library reads into one buffer: a new block for each megabyte costs a tenth more.
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _is_mostly_holes(handle: int, status: os.stat_result) -> bool:
    """Whether a large file has hardly anything on the disk."""
    on_disk = 512 * getattr(status, "st_blocks", 0)
    if status.st_size <= LARGE_BYTES:
        return False
    if on_disk:
        return on_disk < status.st_size // 100
    # Some file systems do not count blocks: 0 means a hole only where no data can be found either.
    try:
        os.lseek(handle, 0, getattr(os, "SEEK_DATA", os.SEEK_SET))
        os.lseek(handle, 0, os.SEEK_SET)
    except OSError as error:
        return error.errno == errno.ENXIO
    return False


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
