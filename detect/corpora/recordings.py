"""Collections of real talking people: VoxCeleb2 and HDTF.

{dev,test}/mp4/id00012/21Uxsk56VDQ/00001.mp4     VoxCeleb2: person, recording, utterance
WDA_BarackObama_000.mp4  RD_Radio11_001.mp4      HDTF: group, name of the film (with its number), clip
"""

from __future__ import annotations

import re
from pathlib import Path

from detect.corpora.entry import Entry, Layout, Reading, Request
from detect.corpora.on_disk import below, clips_under, folders_in, is_film
from media.catalog import Label

_SPEAKER = re.compile(r"id\d{5}")
_HDTF = re.compile(r"(?:(RD|WDA|WRA)_)?([A-Za-z]+\d*)_(\d+)(?:_\w+)?")
SPLITS = {"dev": "train", "test": "test"}


def recognise_voxceleb(folder: Path) -> bool:
    """Whether speakers such as id00012 are here, or in mp4 below dev or test."""
    return bool(_speakers(folder))


def _speakers(folder: Path) -> list[tuple[str | None, Path]]:
    """Folders that hold speakers, with their split."""
    own = SPLITS.get(folder.name)
    places: list[tuple[str | None, Path]] = [(own, folder / "mp4"), (own, folder)]
    places += [(split, folder / name / deep) for name, split in SPLITS.items() for deep in ("mp4", ".")]
    return [(split, place) for split, place in places if any(_SPEAKER.fullmatch(p.name) for p in folders_in(place))]


def read_voxceleb(folder: Path, request: Request) -> Reading:
    """Every utterance; dev is for training, test for testing."""
    entries = []
    for split, place in _speakers(folder):
        for speaker in folders_in(place):
            if not _SPEAKER.fullmatch(speaker.name):
                continue
            for path in clips_under(speaker):
                recording = path.relative_to(speaker).parts[0]
                who, source = f"voxceleb2/{speaker.name}", f"voxceleb2/{recording}"
                where = below(path, folder)
                entries.append(Entry(where, Label.REAL, "VoxCeleb2", who, (), source, split, voice=Label.REAL))
    return Reading("voxceleb2", tuple(entries))


def recognise_hdtf(folder: Path) -> bool:
    """Whether films such as WDA_BarackObama_000.mp4 or Radio11_0.mp4 are here or one folder deeper."""
    films = (p for place in (folder, *folders_in(folder)) for p in sorted(place.iterdir()) if is_film(p))
    first = next(films, None)
    return first is not None and bool(re.match(r"(RD|WDA|WRA)_[A-Z]|Radio\d+_\d", first.name))


def read_hdtf(folder: Path, request: Request) -> Reading:
    """Every clip; the person is the name of the film without its number, but of a radio studio all is one film."""
    entries = []
    strange = 0
    for path in clips_under(folder):
        named = _HDTF.fullmatch(path.stem)
        if named is None or not is_film(path):
            strange += 1
            continue
        film = named[2]
        person = film if film.startswith("Radio") else film.rstrip("0123456789")
        where = below(path, folder)
        entries.append(Entry(where, Label.REAL, "HDTF", f"hdtf/{person}", (), f"hdtf/{film}", voice=Label.REAL))
    return Reading("hdtf", tuple(entries), (), {"named in another way": strange} if strange else {})


LAYOUTS = (
    Layout(
        "voxceleb2",
        "dev/mp4/id00012/<recording>/00001.mp4, test/mp4/... (real only)",
        "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html",
        "CC BY 4.0 (metadata)",
        "arXiv:1806.05622",
        recognise_voxceleb,
        read_voxceleb,
    ),
    Layout(
        "hdtf",
        "WDA_BarackObama_000.mp4, RD_Radio11_000.mp4 (real only)",
        "https://github.com/MRzzm/HDTF",
        "CC BY 4.0 (metadata)",
        "CVPR 2021, Zhang et al., Flow-guided One-shot Talking Face Generation",
        recognise_hdtf,
        read_hdtf,
    ),
)
