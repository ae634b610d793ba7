"""The Deepfake Detection Challenge (DFDC) and its preview (DFDC-P).

    dfdc_train_part_0/{aabb.mp4, metadata.json}   {"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}}
    test/{aacc.mp4, labels.csv}                   filename,label with 1 = synthetic

    original_videos/<actor>/<actor>_A_001.mp4     preview
    method_A/<target>/<target>_A/<swapped>_<target>_A_001.mp4
    dataset.json                                  {"method_A/...": {"label": "fake", "set": "train", "target_id": 1}}

The challenge names no people: a forgery and its original are tied by the recording. A name may be there in two parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from detect.corpora.entry import SPLITS, Entry, Layout, Reading, Request, json_of, lists_in, rows_in
from detect.corpora.on_disk import below, folders_in
from detect.detector import DetectError
from media.catalog import Label

LABELS = {"real": Label.REAL, "fake": Label.SYNTHETIC, "0": Label.REAL, "1": Label.SYNTHETIC}


def recognise(folder: Path) -> bool:
    """Whether there are parts with metadata.json, or a test with labels.csv, here or up to two folders deeper."""
    return next(_parts(folder), None) is not None


def recognise_preview(folder: Path) -> bool:
    """Whether this is the preview."""
    return (folder / "dataset.json").is_file() and (folder / "original_videos").is_dir()


def _parts(folder: Path) -> Iterator[Path]:
    """Lists of parts: metadata.json and labels.csv that look like the challenge's."""
    for place in (folder, *folders_in(folder), *(two for one in folders_in(folder) for two in folders_in(one))):
        # the test has both, with the same clips
        listings = (place / name for name in ("labels.csv", "metadata.json"))
        listing = next((one for one in listings if one.is_file() and _is_part(one)), None)
        if listing is not None:
            yield listing


def _is_part(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4096)
    if path.suffix == ".csv":
        return start.removeprefix(b"\xef\xbb\xbf").lower().startswith(b"filename,label")
    return b'"label"' in start or b'"is_fake"' in start


def rows_of(path: Path) -> dict[str, Mapping[str, Any]]:
    """File names of a part with `label` and, where told, `split` and `original`.

    Raises:
        DetectError: for anything else.
    """
    if path.suffix == ".csv":
        rows = rows_in(path)
        if not rows or [name.strip().lower() for name in rows[0][:2]] != ["filename", "label"]:
            raise DetectError(f"{path}: the first line must be filename,label; take a fresh copy of the list")
        return {row[0]: {"label": row[1].strip(), "split": "test"} for row in rows[1:] if len(row) >= 2}
    table = json_of(path)
    if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
        raise DetectError(f'{path}: must be an object such as {{"a.mp4": {{"label": "FAKE"}}}}')
    return table


def _label(row: Mapping[str, Any], path: Path, name: str) -> Label:
    value = row.get("label", row.get("is_fake"))
    label = LABELS.get(str(value).strip().lower())
    if label is None:
        raise DetectError(f"{path}: the label of {name} must be REAL or FAKE, got {value!r}")
    return label


def read(folder: Path, request: Request) -> Reading:
    """All parts of the challenge that are on disk."""
    entries: list[Entry] = []
    missing: list[str] = []
    unlisted = 0
    for listing in _parts(folder):
        place = listing.parent
        place = place / "videos" if (place / "videos").is_dir() else place
        rows = rows_of(listing)
        for name, row in rows.items():
            path = place / name
            if not path.is_file():
                missing.append(below(path, folder))
                continue
            label, original = _label(row, listing, name), str(row.get("original") or "")
            split = str(row.get("split") or ("test" if "test" in listing.parent.name else "train")).lower()
            entries.append(
                Entry(
                    below(path, folder),
                    label,
                    "DFDC",
                    source=f"dfdc/{Path(original or name).stem}",
                    split={"validation": "val"}.get(split, split if split in SPLITS else "train"),
                    original=original or None,
                )
            )
        unlisted += sum(1 for path in place.glob("*.mp4") if path.name not in rows)
    return Reading(
        "dfdc", _paired(entries), tuple(missing), {"in no list of the publisher": unlisted} if unlisted else {}
    )


def _paired(entries: list[Entry]) -> tuple[Entry, ...]:
    """Entries whose original is replaced by its path; the one in the same part comes first."""
    reals: dict[tuple[str, str], str] = {}
    for e in entries:
        if e.label is Label.REAL:
            part, _, name = e.path.rpartition("/")
            reals[part, name] = e.path
            reals.setdefault(("", name), e.path)
    return tuple(
        replace(e, original=reals.get((e.path.rpartition("/")[0], e.original), reals.get(("", e.original))))
        if e.original
        else e
        for e in entries
    )


def read_preview(folder: Path, request: Request) -> Reading:
    """The preview, with the sets of its dataset.json."""
    place = lists_in(folder, ("dataset.json",), request)
    if place is None:
        raise DetectError(f"{folder}: dataset.json is not there; take it from the publisher's download")
    rows = rows_of(place / "dataset.json")
    entries: list[Entry] = []
    missing: list[str] = []
    for name, row in rows.items():
        if not (folder / name).is_file():
            missing.append(name)
            continue
        label, stem = _label(row, place / "dataset.json", name), Path(name).stem
        target, swapped = (_actor(row.get(key)) for key in ("target_id", "swapped_id"))
        recording = stem if label is Label.REAL else stem.partition("_")[2]
        split = str(row.get("set", "")).lower()
        entries.append(
            Entry(
                name,
                label,
                "DFDC-P originals" if label is Label.REAL else name.split("/")[0],
                swapped if label is Label.SYNTHETIC and swapped else target,
                tuple(who for who in (target, swapped) if who),
                f"dfdc-p/{recording}",
                split if split in SPLITS else None,
                original=f"{recording}.mp4" if label is Label.SYNTHETIC else None,
            )
        )
    return Reading("dfdc-p", _paired(entries), tuple(missing))


def _actor(value: object) -> str | None:
    return None if value in (None, "", "null") else f"dfdc-p/{value}"


LAYOUTS = (
    Layout(
        "dfdc",
        "dfdc_train_part_N with films and metadata.json; a test with labels.csv",
        "https://ai.meta.com/datasets/dfdc",
        "own terms",
        "arXiv:2006.07397",
        recognise,
        read,
    ),
    Layout(
        "dfdc-p",
        "original_videos, method_A, method_B, dataset.json",
        "https://ai.meta.com/datasets/dfdc",
        "own terms",
        "arXiv:1910.08854",
        recognise_preview,
        read_preview,
    ),
)
