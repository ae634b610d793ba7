"""Datasets that are a table beside files, or a folder that this project made.

    root, catalog = read_dataset(Path("clips/clips.csv"))
    root, catalog = read_dataset(Path("made/catalog.jsonl"))     # or the folder

A table is a CSV file with a header; these columns are known, only `file` and `label` are needed:
`id, file, label, method, source_repo, group, person, license, seconds, fps, width, height, has_audio, split`.
Any other column is kept in `Sample.extra`. Labels are `real` and `synthetic` (`fake` is understood).
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from detect.detector import DetectError
from media.catalog import JSON, Catalog, Label, Sample
from media.clip import MediaError

LABELS = {"real": Label.REAL, "synthetic": Label.SYNTHETIC, "fake": Label.SYNTHETIC}
KNOWN = frozenset(
    {"id", "file", "label", "method", "maker", "source_repo", "group", "person", "license"}
    | {"seconds", "fps", "width", "height", "has_audio", "split", "codec"}
)


def read_dataset(path: Path) -> tuple[Path, Catalog]:
    """The folder and the catalog of a dataset: a table, a catalog.jsonl, or a folder that holds one of them.

    Raises:
        DetectError: when nothing readable is there.
    """
    if path.is_dir():
        found = [path / "catalog.jsonl", *sorted(path.glob("*.csv"))]
        found = [file for file in found if file.is_file()]
        if not found:
            raise DetectError(
                f"{path}: no catalog.jsonl and no .csv table in this folder; name the file to read, or import the "
                "folder with `detect corpora import`"
            )
        if found[0].suffix == ".csv" and len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise DetectError(f"{path}: several tables ({names}); name the one to read")
        path = found[0]
    if path.suffix.lower() == ".csv":
        return path.parent, read_table(path)
    try:
        return path.parent, Catalog.load(path)
    except MediaError as error:
        raise DetectError(str(error)) from error


def read_table(path: Path) -> Catalog:
    """The samples of a CSV table; each file is read once for its SHA-256.

    Raises:
        DetectError: a missing table, column or file, an unknown label, a person in two splits.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DetectError(f"{path}: cannot read the table ({error})") from error
    if not rows:
        raise DetectError(f"{path}: the table has no rows")
    missing = [name for name in ("file", "label") if name not in rows[0]]
    if missing:
        raise DetectError(f"{path}: no column {' and '.join(missing)}; columns are {', '.join(rows[0])}")
    samples = [_sample(path, number, row) for number, row in enumerate(rows, start=2)]
    try:
        return Catalog(samples, name=path.stem)
    except (ValueError, MediaError) as error:
        raise DetectError(f"{path}: {error}") from error


def _sample(table: Path, line: int, row: Mapping[str, str]) -> Sample:
    label = LABELS.get(row["label"].strip().lower())
    if label is None:
        raise DetectError(f"{table} line {line}: label must be real or synthetic, got {row['label']!r}")
    file = table.parent / row["file"]
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise DetectError(f"{table} line {line}: cannot read {file} ({error.strerror})") from error
    extra: dict[str, JSON] = {k: v for k, v in row.items() if k not in KNOWN and isinstance(v, str) and v}

    def text(*names: str) -> str | None:
        return next((row[name] for name in names if row.get(name)), None)

    try:
        return Sample(
            id=text("id") or row["file"],
            path=row["file"],
            label=label,
            sha256=digest,
            person=text("person"),
            source=text("group"),
            # the collection a real clip comes from is as much a maker as a generator: both can be learned by heart
            maker=text("method", "maker", "source_repo"),
            split=text("split"),
            codec=text("codec"),
            seconds=float(row["seconds"]) if row.get("seconds") else None,
            fps=_rate(row["fps"]) if row.get("fps") else None,
            width=int(row["width"]) if row.get("width") else None,
            height=int(row["height"]) if row.get("height") else None,
            has_sound=row["has_audio"] in ("1", "true", "True") if row.get("has_audio") else None,
            license=text("license"),
            extra=extra,
        )
    except ValueError as error:
        raise DetectError(f"{table} line {line}: {error}") from error


def _rate(text: str) -> str:
    rate = Fraction(text).limit_denominator(1001)
    whole = round(float(rate) * 1.001)
    # tables write 29.97 for 30000/1001
    if rate.denominator != 1 and abs(float(rate) - whole / 1.001) < 0.01:
        rate = Fraction(whole * 1000, 1001)
    return f"{rate.numerator}/{rate.denominator}"
