"""The pictures of a dataset card: some clips side by side, and one sheet for each factor, a row a level.

    names = write_sheets(folder, tally)      # ["contact_sheet.png", "contact_sheet_maker.png", ...]

Each is a signed png that says it is a composite. The frame of a clip is green where it is real, magenta where not.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from forge.card_tally import SHOWN, Look, Tally
from forge.framing import Square, cut
from forge.sealing import TOOL
from forge.shelf import SHEET
from media.catalog import Label
from provenance.claims import Claim, SourceType
from provenance.record import Record

UInt8Array = NDArray[np.uint8]

COLUMNS, TILE, CAPTION = 6, 160, 16
"""Pictures in a row of the first sheet, their side, and the pixels under each."""
SMALL, MARGIN, BORDER, TITLE = 128, 148, 3, 22
"""Of a factor's sheet: side of a picture, room for the level's name, frame, and head."""
MOST_ROWS, MOST_SHEETS = 12, 6
PICTURED = (
    *("maker", "partial", "group", "group of person", "gender", "sex", "age", "skin tone", "ethnicity", "country"),
    *("emotion", "platform", "codec", "kind of picture", "motion", "frozen pose"),
)
"""Factors that can be seen, in the order in which they get a sheet."""
COLOURS: Mapping[Label, str] = {Label.REAL: "#2e8b57", Label.SYNTHETIC: "#c2185b"}
_OURS = re.compile(rf"{Path(SHEET).stem}_[a-z0-9_]+\.png")


@dataclass(frozen=True)
class Row:
    """The pictures of one level."""

    name: str
    clips: int
    looks: tuple[Look, ...]


def write_sheets(folder: Path, tally: Tally) -> list[str]:
    """Write the signed sheets; those of factors that are gone are removed.

    Returns:
        Names of the files, the general one first.

    Raises:
        MediaError: when a clip cannot be read back.
        ProvenanceError: when a sheet cannot be signed.
    """
    album = Album(folder)
    chosen = [look for pair in _side_by_side(tally) for look in pair]
    captions = [f"{look.label.value} {look.split} {look.id[:6]}" for look in chosen]
    _sign(folder / SHEET, contact_sheet([album.picture(look) for look in chosen], captions), chosen)
    written = [SHEET]
    for factor in pictured(tally):
        rows = rows_of(tally, factor)
        name = sheet_name(factor)
        _sign(folder / name, factor_sheet(factor, rows, album), [look for row in rows for look in row.looks])
        written.append(name)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in written:
            path.unlink()
    return written


def sheet_name(factor: str) -> str:
    """`contact_sheet_kind_of_picture.png`."""
    return f"{Path(SHEET).stem}_{re.sub(r'[^a-z0-9]+', '_', factor.lower())}.png"


def pictured(tally: Tally) -> list[str]:
    """Factors of which there is a sheet: those that can be seen and differ between clips."""
    found = [f for f in PICTURED if f in tally.named and len(tally.named[f].names) > 1]
    return found[:MOST_SHEETS]


def rows_of(tally: Tally, factor: str) -> list[Row]:
    """A factor's most frequent levels, those of real clips first."""
    levels = tally.named[factor]
    counts = {name: (levels.of(name, Label.REAL), levels.of(name, Label.SYNTHETIC)) for name in levels.names}
    shown = sorted(counts, key=lambda name: (-sum(counts[name]), name))[:MOST_ROWS]
    order = sorted(shown, key=lambda name: counts[name][0] == 0)
    return [Row(name, sum(counts[name]), tuple(tally.looks_by_level[factor, name].sorted())) for name in order]


class Album:
    """Pictures of clips; each is decoded once, and small."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pictures: dict[str, UInt8Array] = {}

    def picture(self, look: Look) -> UInt8Array:
        """A square picture (TILE, TILE, 3) of a clip."""
        from media.video import stream_frames

        if look.id not in self._pictures:
            path, wanted = self._folder / look.path, look.frame
            frames = stream_frames(path, max_side=2 * TILE, only=lambda index: index == wanted)
            frame = next(frames, None) or next(stream_frames(path, max_side=2 * TILE))
            side = min(frame.image.shape[:2])
            height, width = frame.image.shape[:2]
            square = Square((width - side) // 2, (height - side) // 2, side)
            self._pictures[look.id] = cut(frame.image, square, TILE)
        return self._pictures[look.id]


def contact_sheet(pictures: Sequence[UInt8Array], captions: Sequence[str]) -> UInt8Array:
    """Square pictures side by side, captioned: (H, W, 3)."""
    rows = max(1, -(-len(pictures) // COLUMNS))
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = index % COLUMNS * TILE, index // COLUMNS * (TILE + CAPTION)
        sheet.paste(Image.fromarray(picture).resize((TILE, TILE)), (x, y))
        draw.text((x + 3, y + TILE + 1), caption[:28], fill="black", font=font)
    return np.asarray(sheet)


def factor_sheet(factor: str, rows: Sequence[Row], album: Album) -> UInt8Array:
    """A row of framed pictures for each level, named and counted at its left: (H, W, 3)."""
    step = SMALL + 2 * BORDER + 2
    width = MARGIN + max(len(row.looks) for row in rows) * step
    sheet = Image.new("RGB", (max(width, 420), TITLE + len(rows) * step), "white")
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(14), ImageFont.load_default(11)
    draw.text((6, 3), f"by {factor}", fill="black", font=large)
    x = 250
    for label, colour in COLOURS.items():
        draw.rectangle((x, 6, x + 10, 16), fill=colour)
        draw.text((x + 15, 4), label.value, fill="black", font=small)
        x += 75
    for number, row in enumerate(rows):
        top = TITLE + number * step
        draw.text((6, top + SMALL // 2 - 16), _wrapped(row.name), fill="black", font=small)
        draw.text(
            (6, top + SMALL // 2 + 14), f"{row.clips} clip{'s' if row.clips != 1 else ''}", fill="#666", font=small
        )
        for place, look in enumerate(row.looks[:SHOWN]):
            left = MARGIN + place * step
            outer = (left, top, left + SMALL + 2 * BORDER - 1, top + SMALL + 2 * BORDER - 1)
            draw.rectangle(outer, fill=COLOURS[look.label])
            picture = Image.fromarray(album.picture(look)).resize((SMALL, SMALL), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left + BORDER, top + BORDER))
    return np.asarray(sheet)


def _wrapped(name: str, width: int = 22) -> str:
    """At most two lines."""
    first, rest = name[:width], name[width:]
    return first if not rest else f"{first}\n{rest[: width - 1]}{'…' if len(rest) >= width else ''}"


def _side_by_side(tally: Tally) -> list[tuple[Look, ...]]:
    """Clips of both labels in turn; where one has fewer, more of the other."""
    reals, fakes = (tally.looks[label].sorted() for label in (Label.REAL, Label.SYNTHETIC))
    longest = max(len(reals), len(fakes))
    return [tuple(column[n] for column in (reals, fakes) if n < len(column)) for n in range(longest)]


def _sign(place: Path, picture: UInt8Array, shown: Sequence[Look]) -> None:
    from provenance.signing import sign_file

    # a name that the factory sweeps away, should a run be killed here
    unsigned = place.with_name(f".{SHEET}.{secrets.token_hex(4)}.png")
    made = any(look.label is Label.SYNTHETIC for look in shown)
    claim = Claim(
        source_type=SourceType.COMPOSITE_SYNTHETIC if made else SourceType.COMPOSITE_CAPTURE,
        title=place.name,
        description="frames of clips of a labelled dataset side by side",
        record=Record(tool=TOOL, label="synthetic" if made else "real"),
    )
    try:
        Image.fromarray(picture).save(unsigned)
        sign_file(unsigned, place, claim)
    finally:
        unsigned.unlink(missing_ok=True)
