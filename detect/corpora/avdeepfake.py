"""AV-Deepfake1M and AV-Deepfake1M++: seconds of picture, sound or both are forged.

    train/id00012/21Uxsk56VDQ/00001/fake_video_fake_audio.mp4     VoxCeleb2 speaker, recording, utterance
    val/{vox_celeb_2,lrs3,silent_videos}/...                      ++ names the collection first
    {train,val}_metadata.json     [{"file", "original", "split", "modify_type", "fake_segments", ...}]

`modify_type` is real, visual_modified, audio_modified or both_modified; audio_modified is real as a picture. Nothing is
published about the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from detect.corpora.entry import Entry, Layout, Reading, Request, Segments, json_of
from detect.corpora.on_disk import below
from detect.detector import DetectError
from media.catalog import JSON, Label

LISTS = ("train_metadata.json", "val_metadata.json")
SPLITS = {"train": "train", "val": "val", "dev": "val", "test": "test"}
FORGED_PICTURE = {"real": False, "audio_modified": False, "visual_modified": True, "both_modified": True}
FPS = 25


def recognise(folder: Path) -> bool:
    """Whether a list with modify_type is here."""
    for name in LISTS:
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                return b"modify_type" in file.read(4096)
    return False


def read(folder: Path, request: Request) -> Reading:
    """Every row whose clip is on disk."""
    entries: list[Entry] = []
    missing: list[str] = []
    for name in LISTS:
        listing = (request.lists or folder) / name
        if not listing.is_file():
            continue
        for row in rows_of(listing):
            split = SPLITS.get(str(row.get("split") or name.split("_")[0]).lower())
            path = _path_of(folder, str(row["file"]).replace("\\", "/"), name.split("_")[0])
            if path is None:
                missing.append(f"{name}: {row['file']}")
                continue
            entries.append(_entry(row, below(path, folder), split, listing))
    paths = {e.path for e in entries}
    kept = tuple(replace(e, original=_original(e, paths)) for e in entries)
    return Reading("av-deepfake1m", kept, tuple(missing))


def rows_of(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a list.

    Raises:
        DetectError: when it is no list of objects with a file and a known modify_type.
    """
    rows = json_of(path)
    if not isinstance(rows, list):
        raise DetectError(f"{path}: must be a list of objects, got {type(rows).__name__}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not row.get("file") or row.get("modify_type") not in FORGED_PICTURE:
            known = ", ".join(FORGED_PICTURE)
            raise DetectError(f"{path} row {number}: needs a file and a modify_type of {known}, got {str(row)[:80]}")
    return rows


def _path_of(folder: Path, file: str, split: str) -> Path | None:
    if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        return None
    places = (folder / split / file, folder / file, folder / "raw_content" / file)
    return next((place for place in places if place.is_file()), None)


def _entry(row: Mapping[str, Any], where: str, split: str | None, listing: Path) -> Entry:
    kind = str(row["modify_type"])
    person, recording = people_of(str(row["file"]).replace("\\", "/"))
    forged = FORGED_PICTURE[kind]
    visual, audio = (_seconds(row.get(key), listing) for key in ("visual_fake_segments", "audio_fake_segments"))
    frames = row.get("video_frames")
    more: dict[str, JSON] = {"kind": kind, "segments_picture": visual, "segments_sound": audio}
    more |= {key: str(row[key]) for key in ("audio_model", "video_model") if row.get(key)}
    return Entry(
        where,
        Label.SYNTHETIC if forged else Label.REAL,
        str(row.get("video_model") or "AV-Deepfake1M") if forged else "AV-Deepfake1M real",
        person,
        (),
        recording,
        split,
        original=str(row["original"]).replace("\\", "/") if row.get("original") else None,
        segments=_pairs(_seconds(row.get("fake_segments"), listing)) if kind != "real" else None,
        voice=Label.SYNTHETIC if kind in ("audio_modified", "both_modified") else Label.REAL,
        seconds=frames / FPS if isinstance(frames, int) and frames > 0 else None,
        more=more,
    )


def people_of(file: str) -> tuple[str, str]:
    """The speaker and the recording, by the path of a clip."""
    parts = PurePosixPath(file).parts
    collection, rest = (parts[0], parts[1:]) if parts[0] in ("vox_celeb_2", "lrs3", "silent_videos") else ("", parts)
    person = rest[0] if rest else file
    if collection in ("", "vox_celeb_2"):
        recording = rest[1] if len(rest) > 2 else person
        return f"voxceleb2/{person}", f"voxceleb2/{recording}"
    if collection == "silent_videos":
        return f"silent/{'_'.join(person.split('_')[:2])}", f"silent/{person}"
    return f"lrs3/{person}", f"lrs3/{person}"


def _seconds(value: object, listing: Path) -> list[JSON]:
    if value is None:
        return []
    try:
        return [[float(first), float(last)] for first, last in value]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise DetectError(f"{listing}: segments must be pairs of seconds, got {str(value)[:60]}") from error


def _pairs(segments: list[JSON]) -> Segments:
    return tuple((float(one[0]), float(one[1])) for one in segments if isinstance(one, list))  # type: ignore[arg-type]


def _original(entry: Entry, paths: set[str]) -> str | None:
    if entry.original is None:
        return None
    start = entry.path.split("/")[0]
    return next((path for path in (f"{start}/{entry.original}", entry.original) if path in paths), None)


LAYOUT = Layout(
    "av-deepfake1m",
    "train, val, train_metadata.json, val_metadata.json (also ++)",
    "https://github.com/ControlNet/AV-Deepfake1M",
    "own terms",
    "arXiv:2311.15308, ++ doi:10.1145/3746027.3761979",
    recognise,
    read,
)
