"""What goes into a dataset: portraits, speech and real videos, listed by folder and looked at once.

    entries = list_speech(Path("speech"))
    found = inspect(entries[0], tiny(), maker)        # a Material, or one with a `problem`

A folder may carry a table with a `file` column: `portraits.csv`, `speech.csv`, and `real.csv` or `clips.csv`. Columns
that are understood: person, source (or group), license, kind, language, consent, split, and label (rows that are not
`real` are left out of the real ones). `TRAITS` say to which group a person belongs, for designs that balance groups.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from forge.framing import Square, square_around
from forge.methods import Box, Maker
from forge.portrait import (
    TABLE_NAME,
    Declaration,
    DeclarationKind,
    ForgeError,
    PortraitFile,
    UndeclaredError,
    check_regular,
    list_portraits,
    read_table,
    sha256_of,
)
from forge.recipes import TRAITS, DatasetRecipe
from forge.voice import load_speech
from media.clip import MediaError

SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".mp4", ".mov", ".mkv", ".webm")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts")
SPEECH_TABLES = ("speech.csv",)
REAL_TABLES = ("real.csv", "clips.csv")
LOOKS_PER_SECOND = 4
"""How often a real video is searched for its face."""
SEEN_SHARE = 0.7
"""A window counts when the face is found in this share of the looks."""


class Role(StrEnum):
    """What a file is for."""

    PORTRAIT = "portrait"
    SPEECH = "speech"
    REAL = "real"


@dataclass(frozen=True)
class Window:
    """A part of an input in which one face can be cropped: of a picture, the whole."""

    start_seconds: float
    seconds: float
    box: Box
    """Median face box (x0, y0, x1, y1) in pixels."""


@dataclass(frozen=True)
class Material:
    """One input file: what its table says, and what was seen in it."""

    role: Role
    path: str
    sha256: str = ""
    person: str = ""
    source: str = ""
    """The recording or picture it comes from."""
    license: str = "unstated"
    kind: str = "unstated"
    language: str = "unstated"
    consent: str | None = None
    """`kind: statement` of a portrait's declaration; of a real video what its table says."""
    declaration: tuple[str, str] | None = None
    """Kind and statement, for a portrait."""
    split: str | None = None
    """A split that the table asks for."""
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    has_sound: bool = False
    windows: tuple[Window, ...] = ()
    problem: str | None = None
    """Why it cannot be used; one line."""
    cause: str | None = None
    traits: tuple[tuple[str, str], ...] = ()
    """What the table says of the person, by column (`TRAITS`)."""

    @property
    def name(self) -> str:
        """The file's name as text that can be written down, also where its bytes are no text."""
        return os.fsencode(Path(self.path).name).decode("utf-8", "replace")

    def declared(self) -> Declaration | None:
        """A portrait's declaration."""
        if self.declaration is None:
            return None
        return Declaration(DeclarationKind(self.declaration[0]), self.declaration[1], self.license)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Material:
        """What `to_json` wrote."""
        windows = tuple(Window(w["start_seconds"], w["seconds"], tuple(w["box"])) for w in facts["windows"])
        said = facts["declaration"]
        return cls(
            **{
                **facts,
                "role": Role(facts["role"]),
                "windows": windows,
                "declaration": (said[0], said[1]) if said else None,
                "traits": tuple((column, value) for column, value in facts.get("traits", ())),
            }
        )


@dataclass(frozen=True)
class Entry:
    """A file to be looked at."""

    known: Material
    """What is known before it is opened: path, digest and the facts of its table."""
    portrait: PortraitFile | None = None


def list_pictures(folder: Path, everyone: Declaration | None) -> list[Entry]:
    """The portraits of a folder; see `forge.portrait.list_portraits`."""
    files = [replace(file, path=file.path.resolve()) for file in list_portraits(folder, everyone)]
    table = folder / TABLE_NAME
    traits = {(folder / row["file"]).resolve(): _traits(row) for row in read_table(table)} if table.is_file() else {}
    return [
        Entry(
            Material(
                Role.PORTRAIT,
                str(file.path),
                person=file.person or "",
                kind=file.kind,
                license=file.declaration.license if file.declaration else "unstated",
                split=file.split,
                traits=traits.get(file.path, ()),
            ),
            file,
        )
        for file in files
    ]


def list_speech(folder: Path) -> list[Entry]:
    """The sound files of a folder, in order of name.

    Raises:
        ForgeError: for a missing or empty folder or a broken table.
    """
    return _listed(folder, Role.SPEECH, SPEECH_TABLES, SOUND_SUFFIXES)


def list_real(folder: Path) -> list[Entry]:
    """The real videos of a folder, in order of name.

    Raises:
        ForgeError: for a missing or empty folder or a broken table.
    """
    return _listed(folder, Role.REAL, REAL_TABLES, VIDEO_SUFFIXES)


def with_digest(entry: Entry) -> Entry:
    """The entry with the digest of its file; without one when it cannot be read."""
    try:
        return replace(entry, known=replace(entry.known, sha256=sha256_of(Path(entry.known.path))))
    except ForgeError:
        return entry


def inspect(entry: Entry, recipe: DatasetRecipe, maker: Maker) -> Material:
    """Look at one file: can it be used, and where is the face?

    A fault of the file is an answer here (`Material.problem`): one bad file must not end a run.
    """
    look = {Role.PORTRAIT: _portrait, Role.SPEECH: _speech, Role.REAL: _real}[entry.known.role]
    try:
        return look(entry, recipe, maker)
    except (ForgeError, MediaError) as error:
        cause = "undeclared" if isinstance(error, UndeclaredError) else "unusable"
        return replace(entry.known, problem=str(error), cause=cause)


def _listed(folder: Path, role: Role, tables: tuple[str, ...], suffixes: tuple[str, ...]) -> list[Entry]:
    if not folder.is_dir():
        raise ForgeError(f"{folder}: not a folder; --{role.value} takes a folder of files")
    table = next((folder / name for name in tables if (folder / name).is_file()), None)
    if table is None:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
        entries = [Entry(Material(role, str(path.resolve()))) for path in paths]
    else:
        rows = [row for row in read_table(table) if role is not Role.REAL or row.get("label", "real").lower() == "real"]
        entries = [_row(folder, table, row, role) for row in rows]
    if not entries:
        raise ForgeError(
            f"{folder}: nothing to use in it; --{role.value} takes a folder of {', '.join(suffixes[:4])} ..."
        )
    return entries


def _row(folder: Path, table: Path, row: Mapping[str, str], role: Role) -> Entry:
    path = folder / row["file"]
    if not row["file"] or not path.is_file():
        raise ForgeError(f"{table}: the file {row['file']!r} is not in the folder")
    return Entry(
        Material(
            role,
            str(path.resolve()),
            person=row.get("person", ""),
            source=row.get("source") or row.get("group") or "",
            license=row.get("license") or "unstated",
            kind=row.get("kind") or "unstated",
            language=row.get("language") or "unstated",
            consent=row.get("consent") or None,
            split=row.get("split") or None if role is Role.REAL else None,
            traits=_traits(row),
        )
    )


def _traits(row: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((column, row[column].lower()) for column in TRAITS if row.get(column))


def _portrait(entry: Entry, recipe: DatasetRecipe, maker: Maker) -> Material:
    assert entry.portrait is not None
    portrait = entry.portrait.load()
    box = maker.find_face(portrait.image)
    if box is None:
        raise ForgeError(f"{portrait.path}: no face found; give a picture in which one face looks at the camera")
    height, width = portrait.image.shape[:2]
    _check_crop(portrait.path, box, width, height, recipe)
    return replace(
        entry.known,
        sha256=portrait.sha256,
        person=portrait.person,
        source=f"portrait-{portrait.sha256[:12]}",
        license=portrait.declaration.license,
        consent=str(portrait.declaration),
        declaration=(portrait.declaration.kind.value, portrait.declaration.statement),
        width=width,
        height=height,
        windows=(Window(0.0, 0.0, box),),
    )


def _speech(entry: Entry, recipe: DatasetRecipe, maker: Maker) -> Material:
    speech = load_speech(Path(entry.known.path))
    return replace(
        entry.known,
        sha256=speech.sha256,
        source=entry.known.source or f"speech-{speech.sha256[:12]}",
        seconds=float(speech.sound.duration_seconds),
        has_sound=True,
    )


def _real(entry: Entry, recipe: DatasetRecipe, maker: Maker) -> Material:
    from media.video import probe

    path = Path(entry.known.path)
    check_regular(path, "one video file")
    facts = probe(path)
    digest = sha256_of(path)
    _check_recorded(path)
    windows = tuple(_windows(path, recipe, maker, facts.width, facts.height))
    if not windows:
        least = recipe.seconds[0]
        raise ForgeError(
            f"{path}: no {least:g} s in which one face stays in one crop; give a video of one talking person"
        )
    return replace(
        entry.known,
        sha256=digest,
        person=entry.known.person or f"real-{digest[:12]}",
        source=entry.known.source or f"real-{digest[:12]}",
        seconds=facts.duration_seconds,
        width=facts.width,
        height=facts.height,
        has_sound=facts.has_sound,
        windows=windows,
    )


def _check_recorded(path: Path) -> None:
    """Refuse a video that says itself that it is none of a real person: our own clips must not come back as real."""
    from provenance.credential import Standing, read_credential

    credential = read_credential(path)
    if credential.standing is Standing.BROKEN:
        raise ForgeError(f"{path}: its credentials are broken: it was changed after it was signed; give the original")
    if credential.declares_synthetic:
        raise ForgeError(f"{path}: its own credentials say that it is synthetic; give a recording")


def _windows(path: Path, recipe: DatasetRecipe, maker: Maker, width: int, height: int) -> Iterator[Window]:
    """Back-to-back windows of the recipe's longest clip, those in which one face stays inside one crop.

    Counted in frames of the recipe's rate, as the clip itself will be read, so that a clip never outlasts its window.
    """
    from media.video import stream_frames

    longest, least = int(recipe.seconds[1] * recipe.fps), int(recipe.seconds[0] * recipe.fps)
    every = max(1, round(recipe.fps / LOOKS_PER_SECOND))
    frames = stream_frames(path, fps=recipe.fps)
    for number in range(recipe.windows_per_source):
        boxes: list[Box] = []
        count = looks = 0
        for frame in islice(frames, longest):
            if count % every == 0:
                looks += 1
                found = maker.find_face(frame.image)
                boxes += [found] if found is not None else []
            count += 1
        if count < max(least, 1):
            return
        if len(boxes) < max(1, SEEN_SHARE * looks):
            continue
        x0, y0, x1, y1 = (float(value) for value in np.median(np.array(boxes), axis=0))
        try:
            square = _check_crop(path, (x0, y0, x1, y1), width, height, recipe)
        except ForgeError:
            continue
        if all(square.contains(box, slack=0.15) for box in boxes):
            start = number * longest / recipe.fps
            yield Window(float(start), float(count / recipe.fps), (x0, y0, x1, y1))


def _check_crop(path: Path, box: Box, width: int, height: int, recipe: DatasetRecipe) -> Square:
    """The narrowest crop of the recipe; refused when it would be blown up too far, or shows no whole head."""
    room = min(width, height) / max(box[2] - box[0], box[3] - box[1])
    if room < recipe.tightest_crop:
        raise ForgeError(f"{path}: the face fills the picture; there must be some room around it")
    square = square_around(box, width=width, height=height, factor=recipe.crop_factors[0])
    least = recipe.smallest_crop * recipe.size
    if square.side < least:
        raise ForgeError(f"{path}: the crop around the face has {square.side} pixels, at least {least:g} are needed")
    return square
