"""The json of DeepfakeBench: which pictures belong to which clip, with label and split.

    {"FF-DF": {"FF-real": {"test": {"c23": {"000": {"label": "FF-real", "frames": ["FaceForensics++/.../000.png"]}}}}}}
    {"Celeb-DF-v2": {"CelebDFv2_real": {"test": {"00170": {"label": "CelebDFv2_real", "frames": [...]}}}}}

Traps that are undone on the way in: a train list that holds the tested clips as well (each clip is kept where it is
tested); backslashes of another system; clips of one name in different folders, which are different clips.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from detect.corpora import celebdf, faceforensics
from detect.corpora.entry import SPLITS, Entry, Reading, json_of
from detect.corpora.on_disk import below, pictures_in
from detect.detector import DetectError
from detect.report import write_whole
from detect.sampling import spread_indices
from media.catalog import Catalog, Label, Sample
from media.clip import MediaError
from media.video import probe, read_image, stream_frames

RANK = {"test": 0, "val": 1, "train": 2}
"""Of two splits that list a clip, the one with the lower number keeps it."""
COMPRESSIONS = frozenset({"raw", "c23", "c40"})
WHOLE_PATH = 5
"""Parts of dataset/group/frames/clip/picture: with fewer, a clip could be found in the folder of another method."""
PER_CLIP = 32
"""Pictures of a film that are written out, as many as DeepfakeBench takes."""


@dataclass(frozen=True)
class Listed:
    """One clip of a json."""

    dataset: str
    label: str
    split: str
    codec: str | None
    name: str
    frames: tuple[str, ...]

    @property
    def is_real(self) -> bool:
        """Labels end in `real` or `Real`, whatever the dataset is called."""
        return self.label.lower().endswith("real")


def is_bench(path: Path) -> bool:
    """Whether a json file may be one of these."""
    return path.suffix.lower() == ".json" and path.is_file()


def clips_of(path: Path) -> Iterator[Listed]:
    """Every clip of a json in its order.

    Raises:
        DetectError: when it is nested in another way.
    """
    table = json_of(path)
    try:
        for dataset, labels in table.items():
            for label, splits in labels.items():
                for split, clips in splits.items():
                    yield from _of_split(dataset, label, split, clips)
    except (AttributeError, TypeError) as error:
        raise DetectError(f"{path}: must nest dataset, label, split and clip ({error})") from error


def _of_split(dataset: str, label: str, split: str, clips: Mapping[str, Any]) -> Iterator[Listed]:
    for name, clip in clips.items():
        inner: list[tuple[str | None, str, Any]] = [(None, name, clip)]
        if isinstance(clip, Mapping) and "frames" not in clip:
            inner = [(name, one, value) for one, value in clip.items()]
        for codec, stem, value in inner:
            # one release writes a bare label or a list where a clip should be
            if isinstance(value, Mapping) and isinstance(value.get("frames"), list):
                frames = tuple(str(frame).replace("\\", "/") for frame in value["frames"])
                yield Listed(dataset, str(value.get("label", label)), split, codec, stem, frames)


def read_bench(path: Path, root: Path) -> Reading:
    """The clips of a json, each the folder of its pictures.

    Args:
        path: the json.
        root: folder that its paths begin in, at whatever depth they do.

    Raises:
        DetectError: for a json that is none, or a clip with two labels.
    """
    kept: dict[str, Entry] = {}
    missing: list[str] = []
    counts: Counter[str] = Counter()
    lead: tuple[str, ...] | None = None
    for clip in clips_of(path):
        if not clip.frames:
            counts["no pictures are listed"] += 1
            continue
        found = _found(clip.frames[0], root, lead)
        if found is None:
            missing.append(f"{clip.split} {clip.label}: {PurePosixPath(clip.frames[0]).parent}")
            continue
        place, lead = found
        entry = _entry(clip, below(place, root))
        before = kept.get(entry.path)
        if before is not None and before.label is not entry.label:
            raise DetectError(f"{path}: {entry.path} is called real and synthetic; correct one of them")
        if before is not None and before.split != entry.split:
            counts["listed in two splits, kept in the one that tests"] += 1
        if before is None or RANK.get(str(entry.split), 3) < RANK.get(str(before.split), 3):
            kept[entry.path] = entry
    double = counts.pop("listed in two splits, kept in the one that tests", 0)
    remarks = (f"{double} clips are listed in two splits; each is kept in the one that tests",) if double else ()
    return Reading("deepfakebench", tuple(kept.values()), tuple(missing), dict(counts), remarks, root)


def _found(frame: str, root: Path, lead: tuple[str, ...] | None) -> tuple[Path, tuple[str, ...]] | None:
    """The folder of a picture below the root, and the leading parts of its path that do not count.

    The first clip that is found tells these for the whole json: with others for each clip, clips of one name in the
    folders of two methods would be taken for each other.
    """
    parts = tuple(part for part in PurePosixPath(re.sub(r"^[A-Za-z]:", "", frame)).parts if part not in ("/", "."))
    if ".." in parts:
        return None
    for leave in range(len(parts) - 1) if lead is None else (len(lead),):
        place = root.joinpath(*parts[leave:]).parent
        fits = not leave or parts[leave - 1] == root.name or len(parts) - leave >= WHOLE_PATH
        if fits and lead in (None, parts[:leave]) and place != root and place.is_dir():
            return place, parts[:leave]
    return None


def _entry(clip: Listed, where: str) -> Entry:
    named = faceforensics.people_of(clip.name, _method(where)) or celebdf.people_of(clip.name)
    person, people, source = named or (None, (), None)
    bench = {"dataset": clip.dataset, "label": clip.label, "clip": clip.name}
    return Entry(
        where,
        Label.REAL if clip.is_real else Label.SYNTHETIC,
        clip.label,
        person,
        people,
        source,
        clip.split if clip.split in SPLITS else None,
        clip.codec,
        more={"frames": len(clip.frames), "deepfakebench": dict(bench)},
    )


def _method(where: str) -> str:
    """The method of FaceForensics++ in a path, so that swaps show the face of the source."""
    return next((part for part in PurePosixPath(where).parts if part in faceforensics.SWAPS), "")


# ------------------------------------------------------------------------------------------ export


def export_bench(
    catalog: Catalog, root: Path, out: Path, *, name: str, frames: Path | None = None, count: int = PER_CLIP
) -> dict[str, Any]:
    """Write a catalog as a json of DeepfakeBench; compression is a level of it where every sample has one.

    Args:
        catalog: samples, with splits.
        root: folder of the catalog.
        out: the json.
        name: of the dataset, unless the samples came from such a json.
        frames: folder to write evenly spread pictures of films to; not needed when all samples are pictures.
        count: pictures of a film.

    Returns:
        What was written.

    Raises:
        DetectError: when there are films and no folder for their pictures, or something cannot be read or written.
    """
    films = [s for s in catalog if not (root / s.path).is_dir()]
    if films and frames is None:
        raise DetectError(
            f"{films[0].path} is a film, and DeepfakeBench reads pictures: name a folder for them with --frames"
        )
    if not len(catalog):
        raise DetectError("the catalog has no samples; nothing is to be exported")
    with_codec = all(s.codec in COMPRESSIONS for s in catalog)
    taken: dict[tuple[str, ...], str] = {}
    table: dict[str, Any] = {}
    for sample in catalog:
        dataset, label, clip = _names(sample, name)
        levels = [dataset, label, sample.split or "train", *([str(sample.codec)] if with_codec else [])]
        # clips of one name from two folders stay two
        if taken.setdefault((*levels, clip), sample.path) != sample.path:
            clip = PurePosixPath(sample.path).with_suffix("").as_posix().replace("/", "__")
        at = table
        for level in levels:
            at = at.setdefault(level, {})
        at[clip] = {"label": label, "frames": _frames(sample, root, frames, count)}
    for labels in table.values():
        for splits in labels.values():
            for split in SPLITS:
                splits.setdefault(split, {})
    write_whole(json.dumps(table, ensure_ascii=False, indent=1) + "\n", out)
    names = {label: int(not label.lower().endswith("real")) for labels in table.values() for label in labels}
    base = frames if frames is not None else root
    return {
        "file": str(out),
        "clips": len(catalog),
        "rgb_dir": str(base),
        "label_dict": names,
        "compression": with_codec,
    }


def _names(sample: Sample, name: str) -> tuple[str, str, str]:
    """Dataset, label and clip in the words of DeepfakeBench; those of an imported json are given back."""
    bench = sample.extra.get("deepfakebench")
    if isinstance(bench, Mapping) and {"dataset", "label", "clip"} <= set(bench):
        return str(bench["dataset"]), str(bench["label"]), str(bench["clip"])
    label = f"{name}_Real" if sample.label is Label.REAL else f"{name}_Fake"
    return name, label, PurePosixPath(sample.path).stem


def _frames(sample: Sample, root: Path, frames: Path | None, count: int) -> list[str]:
    path = root / sample.path
    if frames is None:
        return [f"{sample.path}/{one.name}" for one in pictures_in(path)]
    folder = PurePosixPath(sample.path).with_suffix("")
    try:
        (frames / folder).mkdir(parents=True, exist_ok=True)
        return [_written(image, index, frames, folder) for index, image in _spread(path, count)]
    except MediaError as error:
        raise DetectError(f"{error}; remove the clip from the catalog") from error
    except OSError as error:
        raise DetectError(f"{frames / folder}: cannot make the folder ({error.strerror})") from error


def _spread(path: Path, count: int) -> Iterator[tuple[int, Any]]:
    """Evenly spread pictures of a film or a folder, with their numbers."""
    if path.is_dir():
        own = pictures_in(path)
        yield from ((int(i), read_image(own[int(i)])) for i in spread_indices(len(own), count))
        return
    facts = probe(path)
    wanted = set(spread_indices(facts.length or max(1, round(facts.duration_seconds * facts.fps)), count).tolist())
    yield from ((frame.index, frame.image) for frame in stream_frames(path) if frame.index in wanted)


def _written(image: Any, index: int, frames: Path, folder: PurePosixPath) -> str:
    name = f"{folder}/{index:03d}.png"
    packed, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not packed:
        raise DetectError(f"{name}: the picture cannot be packed as PNG")
    write_whole(data.tobytes(), frames / name)
    return name
