"""Celeb-DF v1 and v2, and Celeb-DF++ with its many methods.

    Celeb-real/id0_0000.mp4            recording 0000 of celebrity id0
    YouTube-real/00170.mp4
    Celeb-synthesis/id0_id1_0000.mp4   the face of id1 in that recording                            (v1, v2)
    Celeb-synthesis/{FaceSwap,FaceReenact,TalkingFace}/<method>/id0_id1_0000.mp4                    (++)
    Celeb-synthesis/TalkingFace/<method>/id0_0000_test_0003.mp4
    List_of_testing_videos.txt         no header, lines such as `1 YouTube-real/00170.mp4`; 1 means REAL

The publisher names only what is tested on. Nearly all celebrities are in that list, so that nearly nothing is left to
train on by rule 1 of `splitting.py`: train on another corpus, or share out anew with `--split own`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from detect.corpora.entry import Entry, Layout, Reading, Request, lists_in, text_of
from detect.corpora.on_disk import below, clips_in, folders_in
from detect.detector import DetectError
from media.catalog import Label

SPACE = "celeb-df"
LIST = "List_of_testing_videos.txt"
FAMILIES = ("FaceSwap", "FaceReenact", "TalkingFace")
_SWAPPED = re.compile(r"(id\d+)_(id\d+)_(\d+)")
_SPOKEN = re.compile(r"(id\d+)_(\d+)(?:_.*)?")


def recognise(folder: Path) -> bool:
    """Whether this is v1 or v2."""
    return _has_celebrities(folder) and not _families(folder)


def recognise_many(folder: Path) -> bool:
    """Whether this is Celeb-DF++."""
    return _has_celebrities(folder) and bool(_families(folder))


def _has_celebrities(folder: Path) -> bool:
    return (folder / "Celeb-real").is_dir() or (folder / "Celeb-synthesis").is_dir()


def _families(folder: Path) -> list[Path]:
    return [one for one in folders_in(folder / "Celeb-synthesis") if one.name in FAMILIES]


def people_of(stem: str, family: str = "FaceSwap") -> tuple[str | None, tuple[str, ...], str] | None:
    """Who is seen, everybody, and the recording, by the name of a clip; None for a name of another kind."""
    if swapped := _SWAPPED.fullmatch(stem):
        target, source = (f"{SPACE}/{name}" for name in swapped.groups()[:2])
        return source if family == "FaceSwap" else target, (target, source), f"{target}_{swapped[3]}"
    if spoken := _SPOKEN.fullmatch(stem):
        person = f"{SPACE}/{spoken[1]}"
        return person, (person,), f"{person}_{spoken[2]}"
    return None


def tested_in(path: Path) -> dict[str, Label]:
    """The tested clips by path without suffix, with their label.

    Raises:
        DetectError: for a line that is none, or that calls a clip of a folder of reals synthetic.
    """
    out: dict[str, Label] = {}
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if not line.strip():
            continue
        mark, _, name = line.strip().partition(" ")
        name = name.strip().replace("\\", "/")
        if mark not in ("0", "1") or not name:
            raise DetectError(f"{path} line {number}: must be 0 or 1 and a path, got {line.strip()!r}")
        label = Label.REAL if mark == "1" else Label.SYNTHETIC
        if label is not (Label.SYNTHETIC if name.startswith("Celeb-synthesis/") else Label.REAL):
            raise DetectError(
                f"{path} line {number}: {mark} says {label} (in this list 1 means real), but the folder of {name} "
                "says otherwise; take a fresh copy of the list"
            )
        out[name.rpartition(".")[0] or name] = label
    return out


def _read(folder: Path, request: Request, corpus: str) -> Reading:
    place = lists_in(folder, (LIST,), request) if request.published else None
    if request.published and place is None:
        raise DetectError(
            f"{folder}: {LIST} is not there; take it from the publisher's download, name its folder with --lists, or "
            "use --split own"
        )
    tested = tested_in(place / LIST) if place else {}
    entries: list[Entry] = []
    found: set[str] = set()
    strange = 0
    for path, maker, family in _clips(folder):
        where = below(path, folder)
        # clips of some copies lie one folder deeper, in `videos` or `frames`, or in a folder with a small t
        name = "/".join(part for part in where.split("/") if part not in ("videos", "frames"))
        name = f"{maker}/{name.partition('/')[2]}" if maker == "YouTube-real" else name
        name = name if path.is_dir() else name.rpartition(".")[0]
        found.add(name)
        split = "test" if name in tested else None
        if maker == "YouTube-real":
            source = f"{SPACE}/youtube-{path.stem}"
            entries.append(Entry(where, Label.REAL, "celeb-df youtube", source=source, split=split))
            continue
        named = people_of(path.stem, family)
        if named is None:
            strange += 1
            continue
        person, people, source = named
        if maker == "Celeb-real":
            entries.append(Entry(where, Label.REAL, "celeb-df celebrities", person, people, source, split))
            continue
        recording = source.rpartition("/")[2]
        entries.append(
            Entry(where, Label.SYNTHETIC, maker, person, people, source, split, original=f"Celeb-real/{recording}")
        )
    missing = tuple(f"{name}.mp4" for name in tested if name not in found)
    left_out = {"named in another way": strange} if strange else {}
    return Reading(corpus, _paired(entries), missing, left_out)


def _clips(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Clips with their maker and the family of the maker."""
    for name in ("Celeb-real", "YouTube-real"):
        for place in folders_in(folder):
            if place.name.lower() == name.lower():
                yield from ((path, name, "") for path in clips_in(place))
    if not _families(folder):
        yield from ((path, "Celeb-DF", "FaceSwap") for path in clips_in(folder / "Celeb-synthesis"))
    for family in _families(folder):
        for method in folders_in(family):
            yield from ((path, method.name, family.name) for path in clips_in(method))


def _paired(entries: list[Entry]) -> tuple[Entry, ...]:
    """Entries whose `original`, a name, is replaced by the path of the recording of that name, if it is there."""
    reals = {e.source: e.path for e in entries if e.label is Label.REAL}
    return tuple(e if e.original is None else replace(e, original=reals.get(e.source)) for e in entries)


def read(folder: Path, request: Request) -> Reading:
    """Celeb-DF v1 or v2."""
    return _read(folder, request, "celeb-df")


def read_many(folder: Path, request: Request) -> Reading:
    """Celeb-DF++."""
    return _read(folder, request, "celeb-df++")


LAYOUTS = (
    Layout(
        "celeb-df",
        "Celeb-real, YouTube-real, Celeb-synthesis with films, List_of_testing_videos.txt (v1 and v2)",
        "https://github.com/yuezunli/celeb-deepfakeforensics",
        "non-commercial",
        "arXiv:1909.12962",
        recognise,
        read,
    ),
    Layout(
        "celeb-df++",
        "the same, with FaceSwap, FaceReenact and TalkingFace in Celeb-synthesis",
        "https://github.com/OUC-VAS/Celeb-DF-PP",
        "non-commercial",
        "arXiv:2507.18015",
        recognise_many,
        read_many,
    ),
)
