"""The dataset card: what is in a dataset, out of what, and what it must not be used for; with pictures.

    write_card(folder, recipe, catalog, materials, notes)      # README.md and contact_sheet*.png

The catalog is gone through once and never held: `card_tally.py` counts, `card_sheets.py` draws.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forge.card_sheets import sheet_name, write_sheets
from forge.card_tally import Spread, Tally
from forge.filming import write_whole
from forge.material import Material, Role
from forge.portrait import ForgeError
from forge.recipes import DatasetRecipe
from forge.sealing import TOOL
from forge.shelf import CARD, SHEET
from media.catalog import Label, Sample

AUDIT = "audit.json"
"""What `python -m benchmarks.shortcuts FOLDER -o FOLDER/audit.json` writes; read when it is there."""
AUDIT_COLUMNS = ("probe", "AUC, makers and people left out", "at 0.60")
"""Of its many columns; without these, the first four."""
FIRST = ("maker", "partial", "group", "emotion", "language", "kind of picture", "motion", "codec", "platform", "sound")
"""Factors whose tables come first."""
TOLD = ("seconds", "codec", "crop over face box", "crop in source pixels", "detail in pixels", "sound")
"""Factors of the encoding and the crop, first in the overview."""
MOST_LICENSES = 40

TEMPLATE = """\
# {title}

![one frame of some of the clips]({sheet})

Recipe `{recipe}`: {purpose}. {seconds:.0f} seconds in all, {size} x {size} pixels, {fps} frames a second, H.264
and AAC. Made by `{tool}`.

## Labels and splits

{splits}

A person, and everything cut from one source, is in one split only.

## Makers

{makers}

## Factors

{factors}

Real and synthetic clips left by the same door: the same crop rule, size, frame rate, encoder and sound rate, and twins
of a real and a synthetic clip share length, crop factor, detail (both are reduced to the coarser of the two), quality
step and the presence of sound. What their sources went through before differs, and may survive in part.
{tables}
## Shortcuts

{audit}

## What it was made of

{inputs}

{declared}

{licenses}

{consents}

## Truth

`truth/ID.parquet` tells pose, 52 expression coefficients and gaze of every frame of an animated clip as they were
drawn, and the place of its mask of synthesised pixels in `masks/`. For real clips these columns are null. `segments` in
`catalog.jsonl` are the forged seconds of a clip that is forged in part; without them it is forged throughout.

## Proof

Every clip carries a C2PA credential that says what it is, out of what it was made and on what declaration.
`dataset.intoto.dsse.json` signs the digests of all files: `countermark provenance verify-dataset`.

## Intended use

Training and testing detectors of synthetic media, and studying what they hold on to.

## Out of scope

- Imitating anybody: a portrait or a recording of a real person is in here only with that person's consent to this use,
  or under the licence stated, and neither passes on to other uses.
- Finding out who somebody is, or learning faces or voices of the people shown.
- Saying of a single file that it is genuine: a detector that does well here has seen these makers and no others.
- Claims about groups of people that this dataset does not name or does not balance (see the factors above).

## Known limits

{notes}{limits}"""


def write_card(
    folder: Path, recipe: DatasetRecipe, catalog: Iterable[Sample], materials: Sequence[Material], notes: Iterable[str]
) -> None:
    """Write README.md and the signed contact sheets beside a catalog.

    Args:
        folder: of the dataset.
        recipe: it was made by.
        catalog: all clips; gone through once.
        materials: all inputs, the ones that were left out too.
        notes: what a user should know about the design.

    Raises:
        ForgeError: when an audit lies in the folder and cannot be read.
        MediaError: when a clip cannot be read back.
        ProvenanceError: when a contact sheet cannot be signed.
    """
    tally = Tally.of(catalog)
    audit = audit_text(folder / AUDIT, tally.clips)
    sheets = write_sheets(folder, tally)
    name = str(getattr(catalog, "name", "")) or folder.resolve().name
    write_whole(folder / CARD, card_text(recipe, tally, materials, notes, name=name, sheets=sheets, audit=audit))


def card_text(
    recipe: DatasetRecipe,
    tally: Tally,
    materials: Sequence[Material],
    notes: Iterable[str],
    *,
    name: str = "",
    sheets: Sequence[str] = (SHEET,),
    audit: str | None = None,
) -> str:
    """The card as Markdown; the same dataset gives the same text."""
    return TEMPLATE.format(
        title=f"{name or recipe.name}: {tally.clips} labelled talking-head clips",
        sheet=SHEET,
        purpose=recipe.purpose,
        seconds=tally.seconds,
        size=recipe.size,
        fps=recipe.fps,
        tool=TOOL,
        recipe=recipe.name,
        splits=_table(("split", "real", "synthetic", "people"), _split_rows(tally)),
        makers=_maker_table(tally) + _picture("maker", sheets),
        factors=_table(("factor", "real", "synthetic"), _factor_rows(tally)),
        tables="".join(_factor_section(tally, factor, sheets) for factor in _in_order(tally)),
        audit=audit
        or f"Not audited: `python -m benchmarks.shortcuts FOLDER -o FOLDER/{AUDIT}`, then give the command "
        "that made this dataset once more.",
        inputs=_table(("input", "license", "files"), _license_rows(materials)),
        declared=_declared(materials),
        licenses=_table(("license of clips", "real", "synthetic"), _label_rows(tally.licenses, MOST_LICENSES)),
        consents=_table(("consent of who is shown", "real", "synthetic"), _label_rows(tally.consents, MOST_LICENSES)),
        notes="".join(f"- {note}.\n" for note in notes),
        limits=_limits(tally),
    )


def audit_text(path: Path, clips: int) -> str | None:
    """What a shortcut audit found, from its JSON; None where there is none.

    Args:
        path: the JSON.
        clips: how many the dataset has now.

    Raises:
        ForgeError: when it is no such JSON.
    """
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        notes = [str(note) for note in told["notes"]]
        tables = [(str(table["title"]), [dict(row) for row in table["rows"]]) for table in told["tables"]]
        made = f"`{cell(told['command'])}`, {cell(told['date'])}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForgeError(
            f"{path}: is no shortcut audit ({type(error).__name__}); make it again or remove it"
        ) from error
    audited = max(
        (int(row["clips"]) for _, rows in tables for row in rows if _is_count(row.get("clips"))), default=clips
    )
    stale = "" if audited == clips else f" The dataset had {audited} clips then and has {clips} now: audit it again."
    parts = [f"Can the label be told without the forgery? {made}.{stale}", "\n".join(f"- {cell(n)}" for n in notes)]
    parts += [f"**{cell(title)}**\n\n{_audit_table(rows)}" for title, rows in tables if rows]
    return "\n\n".join(part for part in parts if part)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _audit_table(rows: Sequence[Mapping[str, Any]]) -> str:
    known = [name for name in AUDIT_COLUMNS if name in rows[0]]
    columns = known if len(known) > 1 else list(dict.fromkeys(name for row in rows for name in row))[:4]
    return _table(columns, ([row.get(name, "") for name in columns] for row in rows))


# ------------------------------------------------------------------------------------------ tables


def cell(value: object) -> str:
    """A value as it may stand in a table of Markdown: one line, no bars, no tags."""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines])


def _split_rows(tally: Tally) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (split, tally.splits[split, Label.REAL], tally.splits[split, Label.SYNTHETIC], tally.people_in(split))
        for split in tally.all_splits
    ]
    if len(rows) > 1:
        people = set().union(*tally.people.values())
        rows.append(("all", tally.total(Label.REAL), tally.total(Label.SYNTHETIC), len(people)))
    return rows


def _maker_table(tally: Tally) -> str:
    return (
        _level_table(tally, "maker", "maker") if not tally.named["maker"].is_many else "Many makers; see the catalog."
    )


def _level_table(tally: Tally, factor: str, head: str) -> str:
    """A row a level; a column for every split and label that there is."""
    levels = tally.named[factor]
    columns = [(split, label) for split in tally.all_splits for label in Label if tally.splits[split, label]]
    rows: list[list[object]] = []
    for name in sorted(levels.names, key=lambda name: (-levels.of(name, Label.REAL), name)):
        real, synthetic = levels.of(name, Label.REAL), levels.of(name, Label.SYNTHETIC)
        share = f"{100 * synthetic / (real + synthetic):.0f}%"
        rows.append([name, *(levels.counts[name, split, label] or "-" for split, label in columns), share])
    names = (head, *(f"{split} {label.value}".strip() for split, label in columns), "synthetic")
    return _table(names, rows)


def _in_order(tally: Tally) -> list[str]:
    """Named factors with more than one level, but the maker, which has its own section."""
    several = [name for name, levels in tally.named.items() if len(levels.names) > 1 and name != "maker"]
    return [name for name in FIRST if name in several] + sorted(set(several) - set(FIRST))


def _factor_section(tally: Tally, factor: str, sheets: Sequence[str]) -> str:
    return f"\n### By {cell(factor)}\n\n{_level_table(tally, factor, cell(factor))}{_picture(factor, sheets)}\n"


def _picture(factor: str, sheets: Sequence[str]) -> str:
    name = sheet_name(factor)
    return f"\n\n![some clips of each level of {cell(factor)}]({name})" if name in sheets else ""


def _factor_rows(tally: Tally) -> list[tuple[object, ...]]:
    """Every factor with how it is spread in either label."""
    every = dict.fromkeys((*TOLD, *FIRST, *sorted({*tally.named, *tally.spreads})))
    rows: list[tuple[object, ...]] = []
    for name in every:
        if name == "maker" or (name not in tally.named and name not in tally.spreads):
            continue
        if name in tally.spreads:
            by_label = tally.spreads[name]
            rows.append((name, *(str(by_label.get(label, Spread())) for label in (Label.REAL, Label.SYNTHETIC))))
        else:
            rows.append((name, *(_named(tally, name, label) for label in (Label.REAL, Label.SYNTHETIC))))
    return rows


def _named(tally: Tally, factor: str, label: Label) -> str:
    levels = tally.named[factor]
    if levels.is_many:
        return "many"
    counts = {name: levels.of(name, label) for name in sorted(levels.names)}
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "-"


def _label_rows(counts: Mapping[tuple[str, Label], int], most: int) -> list[tuple[object, ...]]:
    """A row for every name, the most frequent first; the rest as one."""
    totals: Counter[str] = Counter()
    for (name, _), count in counts.items():
        totals[name] += count
    shown = sorted(totals, key=lambda name: (-totals[name], name))[:most]
    rows: list[tuple[object, ...]] = [
        (name, counts.get((name, Label.REAL), 0), counts.get((name, Label.SYNTHETIC), 0)) for name in shown
    ]
    rest = {
        label: sum(n for (name, mine), n in counts.items() if mine is label and name not in shown) for label in Label
    }
    if len(totals) > most:
        rows.append((f"{len(totals) - most} others", rest[Label.REAL], rest[Label.SYNTHETIC]))
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
    if not kinds:
        return "Portraits: none."
    return "Portraits: " + "; ".join(f"{count} {words.get(kind, kind)}" for kind, count in sorted(kinds.items())) + "."


def _limits(tally: Tally) -> str:
    """What this design cannot answer."""
    lines = ["The makers are those above: a detector that does well here may fail on other generators."]
    if "motion" in tally.named:
        lines.append("Animated clips begin from one still picture: their backgrounds do not move.")
    if not tally.total(Label.REAL):
        lines.append("There are no real clips: false alarms cannot be measured here.")
    return "".join(f"- {line}\n" for line in lines)
