"""What a reader of a layout tells: entries (clips with their facts), and what it missed.

    Reading("uadfv", (Entry("real/0000.mp4", Label.REAL, maker="UADFV"),))

Who reads a layout only looks and tells; `importing.py` decides and writes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from detect.detector import DetectError
from media.catalog import JSON, Label

SPLITS = ("train", "val", "test")
Segments = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Entry:
    """One clip as a publisher describes it."""

    path: str
    """Relative to the folder of the dataset, forward slashes; a film or a folder of its pictures."""
    label: Label
    """Of the picture alone: a real picture with a cloned voice is real."""
    maker: str
    """The generator, or the collection of a real clip."""
    person: str | None = None
    """Whose face is seen."""
    people: tuple[str, ...] = ()
    """Everybody involved, `person` among them."""
    source: str | None = None
    """The recording whose picture this shows."""
    split: str | None = None
    """As published; None where the publisher leaves it open."""
    codec: str | None = None
    original: str | None = None
    """Path of the real clip this was made from."""
    masks: str | None = None
    segments: Segments | None = None
    """Synthetic seconds; None where the whole clip is meant."""
    voice: Label | None = None
    seconds: float | None = None
    has_sound: bool | None = None
    more: Mapping[str, JSON] = field(default_factory=dict)
    """Anything else, under the keys of `detect.corpora`."""

    def __post_init__(self) -> None:
        """Refuse a path that leads out of the dataset, an unknown split, segments that end before they begin."""
        if PurePosixPath(self.path).is_absolute() or ".." in PurePosixPath(self.path).parts:
            raise ValueError(f"a path must stay inside the dataset, got {self.path!r}")
        if self.split not in (None, *SPLITS):
            raise ValueError(f"split must be train, val, test or None, got {self.split!r}")
        for first, last in self.segments or ():
            if not 0 <= first <= last:
                raise ValueError(f"a segment must run from a second to a later one, got {first} to {last}")
        everybody = dict.fromkeys((*self.people, *([self.person] if self.person else [])))
        object.__setattr__(self, "people", tuple(everybody))

    @property
    def ties(self) -> frozenset[str]:
        """What must not be in two splits: the people and the recording."""
        return frozenset((*self.people, *((f"recording {self.source}",) if self.source else ())))


@dataclass(frozen=True)
class Reading:
    """All that a reader found."""

    corpus: str
    entries: tuple[Entry, ...]
    missing: tuple[str, ...] = ()
    """Named in a list of the publisher, but not on disk."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Clips on disk that were not taken, by reason."""
    remarks: tuple[str, ...] = ()
    """Sentences a person should read."""
    root: Path | None = None
    """What the paths are relative to, when it is not the folder that was named."""


@dataclass(frozen=True)
class Request:
    """What a reader is asked for."""

    lists: Path | None = None
    """Folder of the publisher's lists, when they do not lie in the dataset."""
    published: bool = True
    """Whether the published split is wanted; its lists may be missing otherwise."""


@dataclass(frozen=True)
class Layout:
    """A dataset that many people have on disk."""

    name: str
    looks_like: str
    """What its folder holds."""
    ask: str
    """Where to ask for it."""
    licence: str
    """In a word."""
    paper: str
    recognise: Callable[[Path], bool]
    """Whether a folder has this layout; looks at few names only."""
    read: Callable[[Path, Request], Reading]


def lists_in(folder: Path, names: tuple[str, ...], request: Request, *places: str) -> Path | None:
    """The folder that holds all these lists: the one asked for, else the dataset's own or one of its places.

    Raises:
        DetectError: when the folder that was asked for lacks one.
    """
    if request.lists is not None:
        lacking = [name for name in names if not (request.lists / name).is_file()]
        if lacking:
            raise DetectError(f"{request.lists}: no {', '.join(lacking)} there; name the folder that holds them")
        return request.lists
    for place in (folder, *(folder / one for one in places)):
        if all((place / name).is_file() for name in names):
            return place
    return None


def text_of(path: Path) -> str:
    """The content of a list.

    Raises:
        DetectError: when it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DetectError(f"{path}: the list cannot be read ({error}); take a fresh copy of it") from error


def json_of(path: Path) -> Any:
    """The content of a list in JSON.

    Raises:
        DetectError: when it cannot be read or is none.
    """
    try:
        return json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise DetectError(f"{path}: is no JSON ({error}); take a fresh copy of it") from error


def rows_in(path: Path) -> list[list[str]]:
    """The rows of a list in CSV, its names among them.

    Raises:
        DetectError: when it cannot be read.
    """
    try:
        return list(csv.reader(io.StringIO(text_of(path), newline="")))
    except csv.Error as error:
        raise DetectError(f"{path}: is no CSV ({error}); take a fresh copy of it") from error
