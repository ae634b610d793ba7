"""One export: where from, where to, how; and how a clip gets there.

A clip is copied byte for byte, so that its credential survives, or hard-linked; its SHA-256 is compared with the
catalog on the way, and a clip that differs is refused by name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from media.catalog import Sample
from provenance.errors import ProvenanceError
from provenance.files import BLOCK_BYTES, open_regular

if TYPE_CHECKING:
    from countermark.exports.lines import CatalogLines, Survey

_PLAIN = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")
_NAME = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")
LONGEST = 80
"""Letters of a name that is kept as it is."""
BESIDE = {"truth": ".parquet", "masks": ".npz"}
"""What lies beside a clip, and the ending of its file."""
PART = ".part"
"""Ends the name of a file that is being written."""


class ExportError(Exception):
    """What a user can mend; the message is one line: what, where, what to do."""


@dataclass(frozen=True)
class Wishes:
    """How a dataset is to be exported."""

    split: str | None = None
    """Only this one; every one unless given."""
    shard_bytes: int = 500 << 20
    """Most bytes of a shard; a larger clip gets one of its own."""
    link: bool = False
    """Hard links instead of copies, where a form holds clips as files: no disk, but one content under two names."""

    def __post_init__(self) -> None:
        """Refuse shards that hold nothing."""
        if self.shard_bytes < 1:
            raise ValueError(f"shard_bytes must be positive, got {self.shard_bytes}")


@dataclass(frozen=True)
class Job:
    """What a form is asked to write."""

    lines: CatalogLines
    survey: Survey
    build: Path
    """The folder that will become the export."""
    name: str
    """Of the dataset, fit for file names."""
    wishes: Wishes
    tell: Callable[[int], None]
    """Told how many more clips are there."""
    signed: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by path, as the dataset's own statement has them; nothing where it was never signed."""

    @property
    def root(self) -> Path:
        """What the paths of the catalog are relative to."""
        return self.lines.folder

    def carry(self, sample: Sample, to: str) -> None:
        """Put a clip into the export, unless an earlier run did.

        Args:
            sample: the clip.
            to: its path there.

        Raises:
            ExportError: when it differs from the catalog, or cannot be read or written.
        """
        self._bring(sample.path, to, sample.sha256)
        self.tell(1)

    def carry_beside(self, path: str, to: str) -> None:
        """Put a file of the dataset that is no clip into the export, unless an earlier run did.

        Raises:
            ExportError: when it is not as it was signed, or cannot be read or written.
        """
        self._bring(path, to, self.signed.get(path))

    def _bring(self, path: str, to: str, sha256: str | None) -> None:
        source, target = self.root / path, self.build / to
        if not _is_whole(source, target):
            place(source, target, sha256, link=self.wishes.link)


def _is_whole(source: Path, target: Path) -> bool:
    """Whether an earlier run put it there; what a power cut left short is put there again."""
    try:
        return target.stat().st_size == source.stat().st_size
    except OSError:
        return False


def place(source: Path, target: Path, sha256: str | None, *, link: bool) -> None:
    """Copy or link one file whole or not at all.

    Args:
        source: an existing file.
        target: its new name; the folder is made.
        sha256: the digest it must have; None for any.
        link: hard-link it.

    Raises:
        ExportError: when it has another digest, or cannot be read or written.
    """
    temporary = target.with_name(f".{target.name[:100]}{PART}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_regular(source) as file:
            if link:
                if sha256 is not None:
                    _compare(hashlib.file_digest(file, "sha256").hexdigest(), sha256, source)  # type: ignore[arg-type]
                target.unlink(missing_ok=True)
                _link(source, target)
                return
            with temporary.open("wb") as copy:
                for block in read_checked(file, source, sha256):
                    copy.write(block)
        temporary.replace(target)
    except ProvenanceError as error:
        raise ExportError(str(error)) from error
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ExportError(f"{error.filename or source}: {error.strerror or error}; {_way_out(error)}") from error
    except ExportError:
        temporary.unlink(missing_ok=True)
        raise


def _way_out(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "free space and give the same command again"
    return "check the file and the rights of both folders"


def read_checked(file: BinaryIO, source: Path, sha256: str | None) -> Iterator[bytes]:
    """The content of an open file in blocks; the last one comes only when the digest is that of the catalog.

    Raises:
        ExportError: when it is not.
    """
    digest = hashlib.sha256()
    held: bytes | None = None
    while block := file.read(BLOCK_BYTES):
        if held is not None:
            yield held
        digest.update(block)
        held = block
    if sha256 is not None:
        _compare(digest.hexdigest(), sha256, source)
    if held is not None:
        yield held


def _compare(found: str, stated: str, source: Path) -> None:
    if found != stated:
        raise ExportError(
            f"{source}: differs from the catalog or the signed statement (SHA-256 {found[:12]}... instead of "
            f"{stated[:12]}...); restore it, leave the clip out of the catalog, or sign the dataset again"
        )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        raise ExportError(
            f"{source}: cannot be linked into {target.parent} ({error.strerror}); leave out --link to copy"
        ) from error


def files_of(sample: Sample) -> dict[str, str]:
    """The clip and what is known beside it: `clip`, and `truth` and `masks` where there are any; paths in the dataset.

    Other datasets may have masks of other kinds: only tables and packed bits as ours are carried.

    Raises:
        ExportError: for a path that leads out of the dataset.
    """
    found = {"clip": sample.path}
    for name, ending in BESIDE.items():
        path = sample.extra.get(name)
        if isinstance(path, str) and path.endswith(ending):
            if path.startswith(("/", "~")) or ".." in path.split("/") or "\\" in path:
                raise ExportError(f"{sample.path}: its {name} {path!r} is not inside the dataset; correct the catalog")
            found[name] = path
    return found


def key_of(name: str) -> str:
    """A name for files that no file system, archive or loader stumbles over; another one for every id.

    Small letters only are kept as they are, because some file systems take `A` and `a` for one; and no `--`, with
    which a benchmark parts its names.

    >>> key_of("1cc02e7622b7a352")
    '1cc02e7622b7a352'
    >>> key_of("clips/a b.mp4")
    'clips-a-b-mp4-22c613a1ecfe4e5a'
    """
    return name if _PLAIN.fullmatch(name) and len(name) <= LONGEST else _hashed(name)


def name_of(name: str | None, otherwise: str) -> str:
    """A person, a recording or a maker as a part of a path; what can stand there is kept, two names stay two.

    >>> name_of("SadTalker", "unknown"), name_of(None, "unknown")
    ('SadTalker', 'unknown')
    """
    if not name:
        return otherwise
    return name if _NAME.fullmatch(name) and len(name) <= LONGEST else _hashed(name)


def _hashed(name: str) -> str:
    return f"{slug(name)[:60].rstrip('-')}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def slug(name: str | None, otherwise: str = "unknown") -> str:
    """Letters, digits, `_` and single `-` of a name.

    >>> slug("Head 2/7 -- new")
    'Head-2-7-new'
    """
    text = re.sub(r"[^A-Za-z0-9_]+", "-", name or "").strip("-")
    return text or otherwise


@contextmanager
def growing(path: Path) -> Iterator[TextIO]:
    """A text file of any length that gets its name when the block has ended well.

    Raises:
        ExportError: when it cannot be written.
    """
    temporary = path.with_name(f".{path.name[:100]}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # what is no text in a name is written as JSON escapes it
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ExportError(f"{error.filename or path}: {error.strerror or error}; {_way_out(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_small(path: Path, text: str) -> None:
    """One of very many small files, whole or not at all; a power cut may lose it, and the next run writes it again.

    Raises:
        ExportError: when it cannot be written.
    """
    temporary = path.with_name(f".{path.name[:100]}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ExportError(f"{error.filename or path}: {error.strerror or error}; {_way_out(error)}") from error


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all.

    Raises:
        ExportError: when it cannot be written.
    """
    with growing(path) as file:
        file.write(text)


def line_of(facts: object) -> str:
    """One line of JSON."""
    return json.dumps(facts, ensure_ascii=False, allow_nan=False) + "\n"
