"""Films and folders of pictures on disk: find them in a stable order, and take their digests."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from detect.detector import DetectError
from provenance.errors import ProvenanceError
from provenance.files import sha256_of

FILMS = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"))
PICTURES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp"))


def in_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts `2.png` before `10.png`."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part)


def is_film(path: Path) -> bool:
    """A visible file with the suffix of a film; `._a.mp4` of another system is none."""
    return path.suffix.lower() in FILMS and not path.name.startswith(".")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures that lie directly in a folder, in the order of their numbers."""
    try:
        names = sorted((entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")), key=in_order)
    except OSError as error:
        raise DetectError(f"{folder}: cannot be looked into ({error.strerror}); check its rights") from error
    return [folder / name for name in names if Path(name).suffix.lower() in PICTURES]


def folders_in(folder: Path) -> list[Path]:
    """The visible folders in a folder, by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=lambda p: p.name)


def clips_in(folder: Path) -> list[Path]:
    """Films, and folders of pictures, that lie directly in a folder, in its `videos`, or else in its `frames`."""
    for place in (folder / "videos", folder, folder / "frames"):
        if not place.is_dir():
            continue
        films = [path for path in place.iterdir() if is_film(path)]
        sequences = [] if films else [one for one in folders_in(place) if one.name != "masks" and pictures_in(one)]
        if films or sequences:
            return sorted(films or sequences, key=lambda path: path.name)
    return []


def clips_under(folder: Path) -> Iterator[Path]:
    """Every film and every folder that holds pictures, at any depth; a link back to above is not followed."""
    seen: set[str] = set()
    for at, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(at)
        yield from (here / name for name in sorted(files) if is_film(here / name))
        if any(Path(name).suffix.lower() in PICTURES and not name.startswith(".") for name in files):
            yield here


def below(path: Path, root: Path) -> str:
    """The path of a clip as an entry has it."""
    return path.relative_to(root).as_posix()


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and digests of its pictures in order.

    Raises:
        DetectError: when something cannot be read.
    """
    try:
        if not path.is_dir():
            return sha256_of(path)
        lines = [f"{one.name} {sha256_of(one)}\n" for one in pictures_in(path)]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    except ProvenanceError as error:
        raise DetectError(str(error)) from error
