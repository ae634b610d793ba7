"""Datasets as people publish them for training: Hugging Face `videofolder`, and WebDataset shards once unpacked.

    train/metadata.jsonl     {"file_name": "1cc0.mp4", "label": "synthetic", "maker": ..., "person": ...}
    train/1cc0.mp4           beside it, or in folders below; also validation, test, or all in one folder

    train/1cc0.mp4 train/1cc0.json     what `tar -xf train-000000.tar -C train` leaves: the json has a label

Labels are real, and synthetic or fake. People, recordings and makers are read from columns of these names, where the
publisher has any; without them nothing can keep one person out of two splits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from detect.corpora.entry import Entry, Layout, Reading, Request, Segments
from detect.corpora.on_disk import below, clips_under, folders_in, is_film
from detect.corpora.table import LABELS
from detect.detector import DetectError
from media.catalog import CATALOG_NAME, JSON, Label

METADATA = "metadata.jsonl"
SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val", "test": "test"}
_SHARD = re.compile(r"[A-Za-z][\w.-]*-\d{4,}\.tar")
_KNOWN = frozenset(
    {"id", "schema", "file_name", "path", "sha256", "label", "split", "maker", "method", "generator", "person"}
    | {"identity", "speaker", "source", "codec", "seconds", "has_sound", "segments", "facts", "truth", "masks"}
    | {"recipe", "seed", "fps", "width", "height", "license", "consent", "original", "people", "voice", "corpus"}
)
"""Columns that are no further facts: read into fields, or of no meaning elsewhere."""


def recognise_videofolder(folder: Path) -> bool:
    """Whether there is a metadata.jsonl that names files, and no catalog of ours, which would tell more."""
    return not (folder / CATALOG_NAME).is_file() and next(_tables(folder), None) is not None


def _tables(folder: Path) -> Iterator[Path]:
    for place in (folder, *folders_in(folder), *(two for one in folders_in(folder) for two in folders_in(one))):
        table = place / METADATA
        if table.is_file():
            with table.open("rb") as file:
                if b'"file_name"' in file.readline(1 << 20):
                    yield table


def read_videofolder(folder: Path, request: Request) -> Reading:
    """Every row whose clip is on disk.

    Raises:
        DetectError: naming the line that is no row with a label.
    """
    entries: list[Entry] = []
    missing: list[str] = []
    for table in _tables(folder):
        at = table.parent
        for where, row in _rows(table):
            name = str(row.get("file_name", "")).replace("\\", "/")
            inner = PurePosixPath(name)
            if not name or inner.is_absolute() or ".." in inner.parts:
                raise DetectError(f"{where}: file_name must be a path inside its folder, got {name!r}")
            if not (at / name).is_file():
                missing.append(below(at / name, folder))
                continue
            entries.append(_entry(below(at / name, folder), row, where, _split(row, at, folder)))
    return _reading("videofolder", entries, missing)


def _rows(table: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with table.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{table}:{number}", _object(line, f"{table}:{number}")
    except OSError as error:
        raise DetectError(f"{table}: cannot be read ({error.strerror}); check its rights") from error


def _object(text: bytes, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DetectError(f"{where}: is no JSON ({error}); take a fresh copy of it") from error
    if not isinstance(row, dict):
        raise DetectError(f"{where}: must be an object, got {type(row).__name__}")
    return row


def recognise_webdataset(folder: Path) -> bool:
    """Whether shards lie here, or unpacked ones: films with a json of the same name that has a label."""
    if (folder / CATALOG_NAME).is_file():
        return False
    return bool(_packed(folder)) or any(_has_pairs(place) for place in (folder, *folders_in(folder)))


def _packed(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if _SHARD.fullmatch(one.name)) if folder.is_dir() else []


def _has_pairs(place: Path) -> bool:
    film = next((one for one in sorted(place.iterdir()) if is_film(one)), None)
    pair = film and film.with_suffix(".json")
    if not pair or not pair.is_file() or pair.stat().st_size > 1 << 20:
        return False
    return b'"label"' in pair.read_bytes()


def read_webdataset(folder: Path, request: Request) -> Reading:
    """Every film that has a json beside it.

    Raises:
        DetectError: when the shards are still packed, or a json has no label.
    """
    entries: list[Entry] = []
    alone = 0
    for film in (path for path in clips_under(folder) if is_film(path)):
        pair = film.with_suffix(".json")
        if not pair.is_file():
            alone += 1
            continue
        try:
            row = _object(pair.read_bytes(), str(pair))
        except OSError as error:
            raise DetectError(f"{pair}: cannot be read ({error.strerror}); check its rights") from error
        entries.append(_entry(below(film, folder), row, str(pair), _split(row, film.parent, folder)))
    packed = _packed(folder)
    if packed and not entries:
        split = packed[0].name.rsplit("-", 1)[0]
        raise DetectError(
            f"{packed[0]}: the shards are still packed; unpack those of a split into one folder (mkdir -p {split} && "
            f"tar -xf {packed[0].name} -C {split}) and name the folder above"
        )
    return _reading("webdataset", entries, [], {"without a json of the same name": alone} if alone else {})


def _reading(
    corpus: str, entries: list[Entry], missing: list[str], left_out: Mapping[str, int] | None = None
) -> Reading:
    remarks = (
        () if any(e.person or e.source for e in entries) else ("the publisher tells neither people nor recordings",)
    )
    return Reading(corpus, tuple(entries), tuple(missing), left_out or {}, remarks)


def _split(row: Mapping[str, Any], place: Path, folder: Path) -> str | None:
    """What the row says, else the first folder of a split on the way to the clip."""
    said = SPLITS.get(str(row.get("split") or "").lower())
    names = place.relative_to(folder).parts
    return said or next((SPLITS[name.lower()] for name in names if name.lower() in SPLITS), None)


def _entry(path: str, row: Mapping[str, Any], where: str, split: str | None) -> Entry:
    label = LABELS.get(str(row.get("label", "")).strip().lower())
    if label is None:
        raise DetectError(f"{where}: label must be real, synthetic or fake, got {row.get('label')!r}")
    facts = _parsed(row.get("facts"), dict, {})

    def text(*names: str) -> str | None:
        return next((str(row[name]) for name in names if row.get(name)), None)

    number = _or_none(row.get("seconds"), lambda value: isinstance(value, int | float) and 0 <= value < 1e9)
    more: dict[str, JSON] = {name: value for name, value in {**facts, **row}.items() if name not in _KNOWN and value}
    segments, only_sound = _segments(row.get("segments"), where)
    # a label here is of the picture alone
    seen = Label.REAL if only_sound else label
    return Entry(
        path,
        seen,
        text("maker", "method", "generator") or ("unknown real" if seen is Label.REAL else "unknown"),
        text("person", "identity", "speaker"),
        (),
        text("source"),
        split,
        text("codec"),
        segments=segments,
        voice=Label.SYNTHETIC if only_sound else None,
        seconds=None if number is None else float(number),
        has_sound=_or_none(row.get("has_sound"), lambda value: isinstance(value, bool)),
        more=more,
    )


def _or_none(value: Any, fits: Callable[[Any], bool]) -> Any:
    return value if fits(value) else None


def _parsed(value: object, kind: type, otherwise: Any) -> Any:
    """A value that may be written as JSON in a text."""
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return otherwise
    return value if isinstance(value, kind) else otherwise


def _segments(value: object, where: str) -> tuple[Segments | None, bool]:
    """Synthetic seconds of the picture, None where the whole clip is meant; and whether only sound is forged."""
    told = _parsed(value, list, [])
    try:
        pairs = [
            (one["start_seconds"], one["end_seconds"]) if isinstance(one, dict) else one
            for one in told
            if not (isinstance(one, dict) and one.get("what") == "sound")
        ]
        found = tuple((float(first), float(last)) for first, last in pairs)
    except (TypeError, ValueError, KeyError) as error:
        raise DetectError(
            f"{where}: segments must tell start_seconds and end_seconds, got {str(value)[:60]}"
        ) from error
    return found or None, bool(told) and not found


LAYOUTS = (
    Layout(
        "videofolder",
        "metadata.jsonl with file_name and label, in folders such as train, validation and test (Hugging Face)",
        "https://huggingface.co/docs/datasets/video_dataset",
        "by publisher",
        "Lhoest et al., Datasets, EMNLP 2021",
        recognise_videofolder,
        read_videofolder,
    ),
    Layout(
        "webdataset",
        "unpacked shards: KEY.mp4 and KEY.json with a label, in folders such as train",
        "https://github.com/webdataset/webdataset",
        "by publisher",
        "format only",
        recognise_webdataset,
        read_webdataset,
    ),
)
