"""FakeAVCeleb v1.2: picture, sound or both are forged.

    RealVideo-FakeAudio/African/men/id00076/00109_fake.mp4       <type>/<group>/<men|women>/<person>/
    meta_data.csv     source,target1,target2,method,category,type,race,gender,path  (9 names) and 10 values a row

The tenth value is the folder; a reader that pairs names and values from the right shifts every column. A person is one
of VoxCeleb2. RealVideo-FakeAudio is real as a picture: its label is real, and its `voice` synthetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from detect.corpora.entry import Entry, Layout, Reading, Request, rows_in
from detect.corpora.on_disk import below, clips_under
from detect.detector import DetectError
from media.catalog import Label

TYPES = ("RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio", "FakeVideo-FakeAudio")
NAMES = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "path")
REAL_TYPE = TYPES[0]


def recognise(folder: Path) -> bool:
    """Whether folders of its four types are here."""
    return any((folder / name).is_dir() for name in TYPES)


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """Rows of meta_data.csv, names and values paired from the left; `folder` is the value without a name.

    Raises:
        DetectError: when the names are others, or a row has too few values.
    """
    lines = rows_in(path)
    if not lines or tuple(name.strip() for name in lines[0][: len(NAMES)]) != NAMES:
        raise DetectError(f"{path}: the first line must be {','.join(NAMES)}; take a fresh copy of the list")
    for number, row in enumerate(lines[1:], start=2):
        if not any(value.strip() for value in row):
            continue
        if len(row) < len(NAMES):
            raise DetectError(f"{path} line {number}: has {len(row)} values, {len(NAMES)} are needed")
        values = [value.strip() for value in row]
        yield dict(zip(NAMES, values, strict=False)) | {"folder": values[9] if len(values) > 9 else ""}


def _place_of(row: Mapping[str, str]) -> str:
    """Path of the clip of a row, from its type on."""
    parts = PurePosixPath(row["folder"].replace("\\", "/")).parts
    if row["type"] in parts:
        return "/".join((*parts[parts.index(row["type"]) :], row["path"]))
    return "/".join((row["type"], row["race"], row["gender"], row["source"], row["path"]))


def read(folder: Path, request: Request) -> Reading:
    """All four types; facts from meta_data.csv where it is, else from the folders."""
    listing = (request.lists or folder) / "meta_data.csv"
    rows = {_place_of(row): row for row in rows_of(listing)} if listing.is_file() else {}
    entries: list[Entry] = []
    found: set[str] = set()
    for kind in TYPES:
        for path in clips_under(folder / kind):
            where = below(path, folder)
            found.add(where)
            entries.append(_entry(where, kind, rows.get(where)))
    reals = {e.source: e.path for e in entries if e.path.startswith(REAL_TYPE)}
    paired = tuple(e if e.path.startswith(REAL_TYPE) else replace(e, original=reals.get(e.source)) for e in entries)
    remarks = () if rows else ("meta_data.csv is not there: methods and donors of faces are not known",)
    return Reading("fakeavceleb", paired, tuple(place for place in rows if place not in found), {}, remarks)


def _entry(where: str, kind: str, row: Mapping[str, str] | None) -> Entry:
    picture, sound = kind.split("-")
    label = Label.REAL if picture == "RealVideo" else Label.SYNTHETIC
    parts = PurePosixPath(where).parts
    source = (row["source"] if row else "") or (parts[3] if len(parts) > 4 else "")
    donors = [row[name] for name in ("target1", "target2") if row[name].startswith("id")] if row else []
    method = row["method"] if row else kind
    shows_donor = bool(donors) and method.startswith(("faceswap", "fsgan"))
    more = {"kind": kind, "method": method} | ({"race": row["race"], "gender": row["gender"]} if row else {})
    clip = PurePosixPath(where).stem.split("_")[0]
    return Entry(
        where,
        label,
        "FakeAVCeleb real" if label is Label.REAL else method,
        f"voxceleb2/{donors[0] if shows_donor else source}",
        tuple(f"voxceleb2/{who}" for who in (source, *donors)),
        # one recording a person was taken from VoxCeleb2, but its name there is not told
        f"fakeavceleb/{source}/{clip}",
        voice=Label.REAL if sound == "RealAudio" else Label.SYNTHETIC,
        has_sound=True,
        more=more,
    )


LAYOUT = Layout(
    "fakeavceleb",
    "RealVideo-RealAudio, RealVideo-FakeAudio, FakeVideo-RealAudio, FakeVideo-FakeAudio, meta_data.csv (v1.2)",
    "https://github.com/DASH-Lab/FakeAVCeleb",
    "research",
    "arXiv:2108.05080",
    recognise,
    read,
)
