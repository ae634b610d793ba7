"""FaceForensics++ and the DeepFakeDetection part that is downloaded with it.

    original_sequences/youtube/<compression>/videos/033.mp4
    original_sequences/actors/<compression>/videos/01__meeting_serious.mp4
    manipulated_sequences/<method>/<compression>/videos/033_097.mp4      <target>_<source>
    manipulated_sequences/<method>/masks/videos/033_097.mp4
    manipulated_sequences/DeepFakeDetection/<compression>/videos/01_02__meeting_serious__YVGY8LOK.mp4
    train.json val.json test.json                                        [["033", "097"], ...]

A pair of the lists stands for both recordings and for both forgeries, `033_097` and `097_033`. Names of people are
those of the recordings, since the publisher names nobody. DeepFakeDetection has no published split: it is tested on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from detect.corpora.entry import Entry, Layout, Reading, Request, json_of, lists_in
from detect.corpora.on_disk import below, clips_in, folders_in
from detect.detector import DetectError
from media.catalog import Label

SPACE = "ff++"
COMPRESSIONS = {"raw": "raw", "c0": "raw", "c23": "c23", "c40": "c40"}
LISTS = ("train.json", "val.json", "test.json")
PLACES = ("splits", "dataset/splits")
ACTED = "DeepFakeDetection"
SWAPS = frozenset({"Deepfakes", "FaceSwap", "FaceShifter"})
"""Methods that show the face of the source; the others move the face of the target."""
_FORGED = re.compile(r"(\d{3})_(\d{3})")


def recognise(folder: Path) -> bool:
    """Whether this is the folder that the publisher's download script fills."""
    return any((folder / name).is_dir() for name in ("original_sequences", "manipulated_sequences"))


def people_of(stem: str, method: str) -> tuple[str, tuple[str, ...], str] | None:
    """Who is seen, everybody, and the recording, by the name of a clip; None for a name of another kind."""
    forged = _FORGED.fullmatch(stem)
    if forged is None:
        return (f"{SPACE}/{stem}", (f"{SPACE}/{stem}",), f"{SPACE}/{stem}") if re.fullmatch(r"\d{3}", stem) else None
    target, source = (f"{SPACE}/{name}" for name in forged.groups())
    return (source if method in SWAPS else target), (target, source), target


def split_of(folder: Path, request: Request) -> dict[str, str]:
    """The published split of every recording and forgery, by name; empty where it is not wanted.

    Raises:
        DetectError: when it is wanted and a list is missing or is no list of pairs.
    """
    if not request.published:
        return {}
    place = lists_in(folder, LISTS, request, *PLACES)
    if place is None:
        raise DetectError(
            f"{folder}: train.json, val.json and test.json of the published split are not there; copy them from "
            "dataset/splits of the publisher's repository, name their folder with --lists, or use --split own"
        )
    out: dict[str, str] = {}
    for name in LISTS:
        for first, second in pairs_in(place / name):
            for stem in (first, second, f"{first}_{second}", f"{second}_{first}"):
                if out.setdefault(stem, Path(name).stem) != Path(name).stem:
                    raise DetectError(f"{place / name}: {stem} is also in another list; take fresh copies of the lists")
    return out


def pairs_in(path: Path) -> list[tuple[str, str]]:
    """The pairs of a list.

    Raises:
        DetectError: when it holds anything else.
    """
    try:
        return [(_name(first), _name(second)) for first, second in json_of(path)]
    except (ValueError, TypeError) as error:
        raise DetectError(f'{path}: must be a list of pairs such as [["033", "097"]] ({error})') from error


def _name(value: object) -> str:
    """A recording's name; a list that was saved with numbers has lost leading zeros."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:03d}"
    if not isinstance(value, str):
        raise ValueError(f"a name must be text, got {value!r}")
    return value


def read(folder: Path, request: Request) -> Reading:
    """All recordings and forgeries in all compressions that are on disk."""
    real = {(codec, path.stem): path for codec, path in _at(folder / "original_sequences" / "youtube")}
    splits = split_of(folder, request) if real or _pairwise(folder) else {}
    left_out: Counter[str] = Counter()
    entries: list[Entry] = []
    for (codec, stem), path in real.items():
        named = people_of(stem, "youtube")
        if named is None or (request.published and stem not in splits):
            left_out["in no list of the publisher"] += 1
            continue
        person, people, source = named
        where = below(path, folder)
        split = splits.get(stem)
        entries.append(Entry(where, Label.REAL, "ff++ youtube", person, people, source, split, codec))
    seen = {stem for _, stem in real}
    missing = [f"original_sequences/youtube: {s}" for s in splits if real and "_" not in s and s not in seen]
    for method in folders_in(folder / "manipulated_sequences"):
        if method.name == ACTED:
            continue
        clips = list(_at(method))
        for codec, path in clips:
            entry = _forged(path, method, codec, folder, real)
            if entry is None or (request.published and path.stem not in splits):
                left_out["in no list of the publisher"] += 1
                continue
            entries.append(replace(entry, split=splits.get(path.stem)))
        for codec in dict.fromkeys(codec for codec, _ in clips):
            stems = {path.stem for c, path in clips if c == codec}
            missing += [f"{method.name} {codec}: {s}" for s in splits if "_" in s and s not in stems]
    entries += _acted(folder)
    return Reading("faceforensics++", tuple(entries), tuple(missing), dict(left_out))


def _pairwise(folder: Path) -> bool:
    """Whether there are forgeries that the lists are about."""
    return any(m.name != ACTED and next(_at(m), None) for m in folders_in(folder / "manipulated_sequences"))


def _at(folder: Path) -> Iterator[tuple[str, Path]]:
    """Clips of a method with their compression."""
    for name in folders_in(folder):
        if name.name in COMPRESSIONS:
            yield from ((COMPRESSIONS[name.name], path) for path in clips_in(name))


def _forged(path: Path, method: Path, codec: str, folder: Path, real: Mapping[tuple[str, str], Path]) -> Entry | None:
    forged, named = _FORGED.fullmatch(path.stem), people_of(path.stem, method.name)
    if forged is None or named is None:
        return None
    person, people, source = named
    original = real.get((codec, forged[1]))
    return Entry(
        below(path, folder),
        Label.SYNTHETIC,
        method.name,
        person,
        people,
        source,
        None,
        codec,
        original=below(original, folder) if original else None,
        masks=_masks(path, method, folder),
    )


def _masks(path: Path, method: Path, folder: Path) -> str | None:
    """Truth masks: one film for all compressions, or a folder of pictures beside the frames."""
    for place in (method / "masks" / "videos" / f"{path.stem}.mp4", path.parent.parent / "masks" / path.stem):
        if place.exists():
            return below(place, folder)
    return None


def _acted(folder: Path) -> list[Entry]:
    """DeepFakeDetection: recordings of paid actors, and swaps between them."""
    real = {(codec, path.stem): path for codec, path in _at(folder / "original_sequences" / "actors")}
    out = []
    for (codec, stem), path in real.items():
        actor = f"dfd/{stem.split('__')[0]}"
        where = below(path, folder)
        out.append(Entry(where, Label.REAL, "dfd actors", actor, (), f"dfd/{stem}", "test", codec))
    method = folder / "manipulated_sequences" / ACTED
    for codec, path in _at(method):
        names, _, scene = path.stem.partition("__")
        target, _, source = names.partition("_")
        recording = f"{target}__{scene.rpartition('__')[0]}"
        original = real.get((codec, recording))
        entry = Entry(
            below(path, folder),
            Label.SYNTHETIC,
            ACTED,
            f"dfd/{source or target}",
            tuple(f"dfd/{name}" for name in (target, source) if name),
            f"dfd/{recording}",
            "test",
            codec,
            original=below(original, folder) if original else None,
            masks=_masks(path, method, folder),
        )
        out.append(entry)
    return out


LAYOUT = Layout(
    "faceforensics++",
    "original_sequences and manipulated_sequences (with DeepFakeDetection), train.json val.json test.json",
    "https://github.com/ondyari/FaceForensics",
    "non-commercial",
    "arXiv:1901.08971",
    recognise,
    read,
)
