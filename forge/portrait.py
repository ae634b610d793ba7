"""The picture that is animated, and the right to animate it. Nothing undeclared is ever animated.

    nobody = Declaration.nonexistent()                                  # generated, painted, drawn, rendered
    agreed = Declaration.consent("Ada Example agreed on 2026-03-01 to a demo clip for this project")
    portrait = load_portrait(Path("ada.png"), agreed)

A folder of pictures carries its declarations in a table, `portraits.csv`, with the columns
`file, nonexistent, consent, license, person, kind, split` (only `file` is required).
"""

from __future__ import annotations

import csv
import hashlib
import stat
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from media.clip import MediaError

UInt8Array = NDArray[np.uint8]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
SMALLEST_SIDE = 64
"""Pixels; a face in a smaller picture has no eyes or lips to animate."""
LARGEST_SIDE = 12_000
"""Pixels; a header that promises more is refused before anything is decoded."""
CONSENT_LENGTH = (15, 1000)
"""Characters: shorter cannot say who agreed, when and to what; longer is a document, not a statement."""
TABLE_NAME = "portraits.csv"


class ForgeError(Exception):
    """Something that cannot be forged; the message is one line: what, where, what to do."""


class UndeclaredError(ForgeError):
    """A picture that nobody declared, and whose own credentials do not help."""


class DeclarationKind(StrEnum):
    """On what ground a picture may be animated."""

    NONEXISTENT = "nonexistent"
    CONSENT = "consent"
    CREDENTIAL = "credential"


@dataclass(frozen=True)
class Declaration:
    """Why this picture may be animated, in the words that go into every credential made from it."""

    kind: DeclarationKind
    statement: str
    """Who agreed, when and to what; or that the picture shows nobody, and who says so."""
    license: str = "unstated"

    def __post_init__(self) -> None:
        """Refuse a statement that says nothing, or that is not one line of text."""
        text = self.statement.strip()
        if self.kind is DeclarationKind.CONSENT:
            low, high = CONSENT_LENGTH
            one_word = text.isascii() and len(text.split()) < 3  # other scripts may not put spaces between words
            if not low <= len(text) <= high or one_word:
                raise ForgeError(
                    f'consent must say who agreed, when and to what, in {low} to {high} characters, got "{text[:60]}"'
                )
        if not text or not text.isprintable():
            raise ForgeError(f"a declaration must be one line of printable text, got {self.statement[:60]!r}")
        if not self.license.strip() or not self.license.isprintable() or len(self.license) > 300:
            raise ForgeError(f"a license must be one line of at most 300 characters, got {self.license[:60]!r}")

    @classmethod
    def nonexistent(cls, license: str = "unstated") -> Declaration:
        """The picture shows nobody: it was generated, painted, drawn or rendered."""
        return cls(DeclarationKind.NONEXISTENT, "the user declares that the picture shows no existing person", license)

    @classmethod
    def consent(cls, statement: str, license: str = "unstated") -> Declaration:
        """The person shown agreed: who, when, to what.

        Raises:
            ForgeError: when the statement is too short to say that, or no single line.
        """
        return cls(DeclarationKind.CONSENT, " ".join(statement.split()), license)

    @property
    def shows_nobody(self) -> bool:
        """True when no existing person is shown, by the user's word or by the picture's own credentials."""
        return self.kind is not DeclarationKind.CONSENT

    def __str__(self) -> str:
        """`kind: statement`, as it stands in records and catalogs."""
        return f"{self.kind.value}: {self.statement}"


@dataclass(frozen=True, eq=False)
class Portrait:
    """One face picture with its declaration."""

    image: UInt8Array
    """(H, W, 3) uint8 RGB, upright."""
    path: Path
    sha256: str
    """Of the file, hexadecimal."""
    declaration: Declaration
    person: str
    """Who is shown: a name from the table, or one derived from the picture's digest."""
    kind: str = "unstated"
    """Photo, painting, render ... as the table says."""

    def __post_init__(self) -> None:
        """Refuse anything but a declared (H, W, 3) uint8 picture of a usable size."""
        if not isinstance(self.declaration, Declaration):
            raise UndeclaredError(f"{self.path}: not declared; give a Declaration")
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}")
        if min(self.image.shape[:2]) < SMALLEST_SIDE:
            raise ForgeError(_too_small(self.path, self.image.shape[1], self.image.shape[0]))

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name


@dataclass(frozen=True)
class PortraitFile:
    """One picture of a folder, not yet opened, with what the table says about it."""

    path: Path
    declaration: Declaration | None = None
    person: str | None = None
    kind: str = "unstated"
    split: str | None = None
    """The part of a dataset that the table wants it in."""

    def load(self) -> Portrait:
        """Open the picture; see `load_portrait`."""
        return load_portrait(self.path, self.declaration, person=self.person, kind=self.kind)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces.

    Raises:
        ForgeError: when the file cannot be read.
    """
    check_regular(path, "a file")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ForgeError(f"{path}: cannot be read ({error.strerror or error})") from error


def load_portrait(
    path: Path, declaration: Declaration | None, *, person: str | None = None, kind: str = "unstated"
) -> Portrait:
    """Open a declared picture.

    Args:
        path: a picture file (png, jpeg, webp ...).
        declaration: why it may be animated; None asks the picture's own credentials.
        person: who is shown; derived from the digest when None.
        kind: photo, painting, render ...

    Raises:
        UndeclaredError: nobody declared it, and its own credentials do not say that it is synthetic.
        ForgeError: the file is no usable picture.
    """
    from media.video import read_image

    check_picture_header(path)
    digest = sha256_of(path)
    if declaration is None:
        declaration = _declared_by_credentials(path)
    try:
        image = read_image(path)
    except MediaError as error:
        raise ForgeError(str(error)) from error
    return Portrait(image, path, digest, declaration, person or f"portrait-{digest[:12]}", kind)


def check_picture_header(path: Path) -> None:
    """Refuse from the header alone what must not be decoded: no picture, animated, too small, too large.

    Raises:
        ForgeError: naming what was found.
    """
    check_regular(path, "one picture file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about large headers; the limit below is ours
            with path.open("rb") as file, Image.open(file) as picture:
                width, height = picture.size
                frames = int(getattr(picture, "n_frames", 1)) if picture.format in ("GIF", "WEBP", "PNG") else 1
    except UnidentifiedImageError as error:
        found = "an empty file" if path.stat().st_size == 0 else "not a picture"
        raise ForgeError(f"{path}: {found}; give a png, jpeg or webp portrait") from error
    except Image.DecompressionBombError as error:
        raise ForgeError(f"{path}: more pixels than a portrait can have; resize it to 4096 px or less") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ForgeError(f"{path}: cannot be read ({error.strerror})") from error
        raise ForgeError(f"{path}: a damaged picture; save it again as png ({_one_line(error)})") from error
    if max(width, height) > LARGEST_SIDE:
        raise ForgeError(f"{path}: {width} x {height} pixels, at most {LARGEST_SIDE} a side; resize it")
    if min(width, height) < SMALLEST_SIDE:
        raise ForgeError(_too_small(path, width, height))
    if frames > 1:
        raise ForgeError(f"{path}: an animation of {frames} frames, expected one picture; save one frame as png")


def check_regular(path: Path, wanted: str) -> None:
    """Refuse what is no regular file: a folder, nothing at all, or a pipe that would be waited for without end.

    Raises:
        ForgeError: naming what was found.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise ForgeError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise ForgeError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(mode):
        raise ForgeError(f"{path}: {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}, expected {wanted}")


def list_portraits(folder: Path, everyone: Declaration | None = None) -> list[PortraitFile]:
    """The pictures of a folder in order of name, with the declarations of its `portraits.csv`.

    A row's own declaration wins over `everyone`; a picture without either is left to its own credentials.
    With a table only the pictures in it are taken.

    Args:
        folder: where the pictures are (not searched below).
        everyone: a declaration for every picture that the table says nothing about.

    Raises:
        ForgeError: for a missing or empty folder, a broken table, or a table row without its file.
    """
    if not folder.is_dir():
        raise ForgeError(f"{folder}: not a folder; --portraits takes a folder of pictures")
    table = folder / TABLE_NAME
    if table.is_file():
        found = [_portrait_row(folder, row, number, everyone) for number, row in enumerate(read_table(table), 2)]
    else:
        pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
        found = [PortraitFile(path, everyone) for path in pictures]
    if not found:
        raise ForgeError(f"{folder}: no pictures found; --portraits takes a folder of png, jpeg or webp files")
    name, times = Counter(entry.path.name for entry in found).most_common(1)[0]
    if times > 1:
        raise ForgeError(f"{table}: {name} is listed {times} times; keep one row for each file")
    return found


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table with a `file` column; names of columns in lower case, everything stripped.

    Raises:
        ForgeError: when it cannot be read as one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = [name.strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = names  # a " Consent" that nobody reads would be a refusal overheard
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ForgeError(f"{path}: cannot be read as a table ({_one_line(error)})") from error
    if "file" not in names:
        raise ForgeError(f"{path}: no column `file`; found {', '.join(names)[:200] or 'nothing'}")
    twice = [name for name, times in Counter(names).items() if name and times > 1]
    if twice:
        raise ForgeError(f"{path}: the column `{twice[0]}` is there twice; keep one")
    return rows


def _portrait_row(folder: Path, row: Mapping[str, str], line_number: int, everyone: Declaration | None) -> PortraitFile:
    place = f"{folder / TABLE_NAME}, line {line_number}"
    path = folder / row["file"]
    if not row["file"] or not path.is_file():
        raise ForgeError(f"{place}: the file {row['file']!r} is not in the folder")
    license = row.get("license") or (everyone.license if everyone else "unstated")
    said = row.get("nonexistent", "").lower()
    if said not in ("", "0", "1", "no", "yes", "false", "true"):
        raise ForgeError(f"{place}: nonexistent must be yes or no, got {said!r}")
    is_nobody = said in ("1", "yes", "true")
    if is_nobody and row.get("consent"):
        raise ForgeError(f"{place}: both nonexistent and consent, but a picture of nobody cannot agree; keep one")
    declaration = replace(everyone, license=license) if everyone else None
    try:
        if row.get("consent"):
            declaration = Declaration.consent(row["consent"], license)
        elif is_nobody:
            declaration = Declaration.nonexistent(license)
        elif said:  # a plain no: whatever was said about everyone does not hold for this one
            declaration = None
    except ForgeError as error:
        raise ForgeError(f"{place}: {error}") from error
    person, kind, split = row.get("person") or None, row.get("kind") or "unstated", row.get("split") or None
    return PortraitFile(path, declaration, person, kind, split)


def _declared_by_credentials(path: Path) -> Declaration:
    """What the picture's own credentials say; refuses when they do not say that it is wholly synthetic.

    A real person's photo in which a model changed a part is synthetic, too, but it shows somebody who was not asked.
    """
    from provenance.claims import SourceType
    from provenance.credential import Standing, read_credential

    credential = read_credential(path)
    intact = credential.standing in (Standing.TRUSTED, Standing.UNKNOWN_SIGNER)
    of_nobody = {SourceType.TRAINED_ALGORITHMIC_MEDIA, SourceType.ALGORITHMIC_MEDIA, SourceType.DIGITAL_CREATION}
    if intact and credential.declares_synthetic and of_nobody.issuperset(credential.source_types):
        statement = f"the picture's own credentials declare it synthetic (signer: {credential.signer or 'unnamed'})"
        return Declaration(DeclarationKind.CREDENTIAL, statement)
    why = {
        Standing.ABSENT: "it carries no credentials",
        Standing.BROKEN: "its credentials are broken",
    }.get(credential.standing, "its credentials do not say that it is wholly synthetic")
    raise UndeclaredError(
        f"{path}: not declared, and {why}; say --nonexistent when it shows no existing person, "
        'or --consent "who agreed, when, to what"'
    )


def _too_small(path: Path, width: int, height: int) -> str:
    return f"{path}: {width} x {height} pixels, at least {SMALLEST_SIDE} a side are needed; give a larger picture"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
