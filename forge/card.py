"""The dataset card: what is in a dataset, out of what, and what it must not be used for; with pictures.

write_card(folder, recipe, catalog, materials, notes)      # README.md and contact_sheet.png
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from forge.filming import write_whole
from forge.framing import Square, cut
from forge.material import Material, Role
from forge.motion.controls import BASELINE
from forge.recipes import DatasetRecipe
from forge.sealing import TOOL
from forge.shelf import CARD, SHEET
from media.catalog import Catalog, Label, Sample
from provenance.claims import Claim, SourceType
from provenance.record import Record

UInt8Array = NDArray[np.uint8]

SHEET_COLUMNS, SHEET_ROWS, TILE = 6, 4, 160
CAPTION = 16
"""Pixels under each picture."""

TEMPLATE = """\
# {title}

![one frame of some of the clips]({sheet})

Recipe `{recipe}`: {purpose}. {seconds:.0f} seconds in all, {size} x {size} pixels, {fps} frames a second, H.264
and AAC. Made by `{tool}`.

## Labels and splits

{splits}

A person, and everything cut from one source, is in one split only.

## Factors

{factors}

Real and synthetic clips left by the same door: the same crop rule, size, frame rate, encoder and sound rate, and pairs
of one real and one synthetic clip share length, crop factor, detail (both are reduced to the coarser of the two),
quality step and the presence of sound. What their sources went through before differs, and may survive in part.

## Makers

{makers}

## What it was made of

{inputs}

{declared}

## Truth

`truth/ID.parquet` tells pose, 52 expression coefficients and gaze of every frame of a synthetic clip as they were
drawn, and the place of its face mask in `masks/`. For real clips these columns are null.

## Proof

Every clip carries a C2PA credential that says what it is, out of what it was made and on what declaration.
`dataset.intoto.dsse.json` signs the digests of all files: `countermark provenance verify-dataset`.

## Intended use

Training and testing detectors of synthetic media. Not for imitating anybody: a portrait of a real person is in here
only with that person's consent to this use, which does not pass on to other uses.

## Known limits

{notes}- Whole-face animation by the methods above only: a detector that does well here may fail on other generators.
- Synthetic clips begin from one still picture: their backgrounds do not move.
"""


def write_card(
    folder: Path, recipe: DatasetRecipe, catalog: Catalog, materials: Sequence[Material], notes: Iterable[str]
) -> None:
    """Write README.md and the signed contact sheet beside a catalog.

    Args:
        folder: of the dataset.
        recipe: it was made by.
        catalog: all clips.
        materials: all inputs, the ones that were left out too.
        notes: what a user should know about the design.

    Raises:
        MediaError: when a clip cannot be read back.
        ProvenanceError: when the contact sheet cannot be signed.
    """
    _write_sheet(folder, catalog)
    write_whole(folder / CARD, card_text(recipe, catalog, materials, notes))


def card_text(recipe: DatasetRecipe, catalog: Catalog, materials: Sequence[Material], notes: Iterable[str]) -> str:
    """The card as Markdown; the same dataset gives the same text."""
    samples = list(catalog)
    seconds = sum(sample.seconds or 0.0 for sample in samples)
    return TEMPLATE.format(
        title=f"{catalog.name or recipe.name}: {len(samples)} labelled talking-head clips",
        sheet=SHEET,
        purpose=recipe.purpose,
        seconds=seconds,
        size=recipe.size,
        fps=recipe.fps,
        tool=TOOL,
        recipe=recipe.name,
        splits=_table(("split", "real", "synthetic", "people"), _split_rows(samples)),
        factors=_table(("factor", "real", "synthetic"), _factor_rows(samples)),
        makers=_table(("maker", "clips"), Counter((s.maker or "") for s in samples).most_common()),
        inputs=_table(("input", "license", "files"), _license_rows(materials)),
        declared=_declared(materials),
        notes="".join(f"- {note}.\n" for note in notes),
    )


def contact_sheet(pictures: Sequence[UInt8Array], captions: Sequence[str]) -> UInt8Array:
    """Pictures (H, W, 3) side by side, each cut square and captioned: (H, W, 3)."""
    rows = max(1, -(-len(pictures) // SHEET_COLUMNS))
    sheet = Image.new("RGB", (SHEET_COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = index % SHEET_COLUMNS * TILE, index // SHEET_COLUMNS * (TILE + CAPTION)
        side = min(picture.shape[:2])
        sheet.paste(Image.fromarray(cut(picture, Square(0, 0, side), TILE)), (x, y))
        draw.text((x + 3, y + TILE + 1), caption[:28], fill="black", font=font)
    return np.asarray(sheet)


def _write_sheet(folder: Path, catalog: Catalog) -> None:
    from media.video import stream_frames
    from provenance.signing import sign_file

    chosen = list(catalog)[: SHEET_COLUMNS * SHEET_ROWS]
    pictures: list[UInt8Array] = []
    for sample in chosen:
        middle = int((sample.seconds or 0.0) / 2 * float(sample.frame_rate or 25))
        *_, frame = islice(stream_frames(folder / sample.path, max_side=TILE), middle + 1)
        pictures.append(frame.image)
    captions = [f"{sample.label.value} {sample.split} {sample.id[:6]}" for sample in chosen]
    unsigned = folder / f".{SHEET}.{secrets.token_hex(4)}.png"
    made = any(sample.label is Label.SYNTHETIC for sample in chosen)
    claim = Claim(
        source_type=SourceType.COMPOSITE_SYNTHETIC if made else SourceType.COMPOSITE_CAPTURE,
        title=SHEET,
        description="frames of clips of a labelled dataset side by side",
        record=Record(tool=TOOL, label="synthetic" if made else "real"),
    )
    try:
        Image.fromarray(contact_sheet(pictures, captions)).save(unsigned)
        sign_file(unsigned, folder / SHEET, claim)
    finally:
        unsigned.unlink(missing_ok=True)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines])


def _split_rows(samples: Sequence[Sample]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for split in sorted({sample.split or "" for sample in samples}):
        mine = [sample for sample in samples if sample.split == split]
        by_label = Counter(sample.label for sample in mine)
        people = len({sample.person for sample in mine})
        rows.append((split, by_label[Label.REAL], by_label[Label.SYNTHETIC], people))
    return rows


def _factor_rows(samples: Sequence[Sample]) -> list[tuple[object, ...]]:
    """Every factor with how it is spread in either label."""

    def spread(values: list[float]) -> str:
        if not values:
            return "-"
        return f"{min(values):.3g} to {max(values):.3g}, mean {sum(values) / len(values):.3g}"

    def named(values: list[str]) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(Counter(values).items())) or "-"

    by_label = {label: [sample for sample in samples if sample.label is label] for label in Label}
    rows: list[tuple[object, ...]] = []
    for name, cell in (
        ("seconds", lambda s: spread([x.seconds or 0.0 for x in s])),
        ("codec", lambda s: named([x.codec or "" for x in s])),
        ("crop over face box", lambda s: spread([float(x.extra["crop_factor"]) for x in s])),
        ("crop in source pixels", lambda s: spread([float(x.extra["crop_px"]) for x in s])),
        ("detail in pixels", lambda s: spread([float(x.extra["detail_px"]) for x in s])),
        ("with sound", lambda s: f"{sum(bool(x.has_sound) for x in s)} of {len(s)}"),
        ("kind of picture", lambda s: named([str(x.extra["kind"]) for x in s])),
        ("language", lambda s: named([str(x.extra["language"]) for x in s])),
    ):
        rows.append((name, cell(by_label[Label.REAL]), cell(by_label[Label.SYNTHETIC])))
    moved = [str(x.extra.get("motion", BASELINE)) for x in by_label[Label.SYNTHETIC]]
    rows.append(("motion", "-", named(moved)))
    controls = [x.extra["controls"] for x in by_label[Label.SYNTHETIC] if isinstance(x.extra["controls"], dict)]
    for name in ("emotion", "gaze_yaw_degrees", "gaze_pitch_degrees", "distance", "head_motion", "blink_rate"):
        values = [c[name] for c in controls]
        if name == "emotion":
            rows.append((name, "-", named([str(v) for v in values])))
        else:
            rows.append((name.replace("_", " "), "-", spread([float(str(v)) for v in values])))
    return rows


def _license_rows(materials: Sequence[Material]) -> list[tuple[object, ...]]:
    used = Counter((m.role.value, m.license) for m in materials if not m.problem)
    left = Counter(m.role.value for m in materials if m.problem)
    rows: list[tuple[object, ...]] = [(role, license, count) for (role, license), count in sorted(used.items())]
    return rows + [(role, "left out, see failures.jsonl", count) for role, count in sorted(left.items())]


def _declared(materials: Sequence[Material]) -> str:
    kinds = Counter(m.declaration[0] for m in materials if m.role is Role.PORTRAIT and m.declaration and not m.problem)
    words = {
        "nonexistent": "declared to show no existing person",
        "consent": "of people who agreed, as each clip's credential tells",
        "credential": "synthetic by their own credentials",
    }
    return "Portraits: " + "; ".join(f"{count} {words[kind]}" for kind, count in sorted(kinds.items())) + "."
