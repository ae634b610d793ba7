"""Small layouts without lists: WildDeepfake, UADFV and DF40.

    real_train/<shard>/real/<sequence>/12.png          WildDeepfake: shards of cropped frames; also fake_test and so on
    real_train_6_54/000012.png                         the same, one folder a sequence
    real/0000.mp4  fake/0000_fake.mp4                  UADFV
    <method>/{ff,cdf}/frames/033_097/000.png           DF40: its real clips are those of FaceForensics++ and Celeb-DF
    <method>/{real,fake}/...                           DF40: methods that bring their own

None of them names people, but DF40 keeps the names of the recordings that it was made from.
"""

from __future__ import annotations

import re
from pathlib import Path

from detect.corpora import celebdf, faceforensics
from detect.corpora.entry import Entry, Layout, Reading, Request, lists_in
from detect.corpora.on_disk import below, clips_in, clips_under, folders_in, is_film, pictures_in
from detect.detector import DetectError
from media.catalog import Label

_WILD = re.compile(r"(real|fake)_(train|test)(?:_(\d+)_(\d+))?")
DOMAINS = ("ff", "cdf")
CONTAINERS = frozenset({"ff", "cdf", "real", "fake", "frames", "images", "train", "val", "test"})
"""Folders whose pictures do not follow each other: each is a clip of its own."""


def recognise_wild(folder: Path) -> bool:
    """Whether there are folders such as real_train."""
    return any(_WILD.fullmatch(one.name) for one in folders_in(folder))


def read_wild(folder: Path, request: Request) -> Reading:
    """Every sequence of cropped frames.

    Raises:
        DetectError: when the shards are still packed.
    """
    entries = []
    packed: list[Path] = []
    for group in folders_in(folder):
        named = _WILD.fullmatch(group.name)
        if named is None:
            continue
        packed += [one for one in group.iterdir() if one.name.endswith((".tar", ".tar.gz", ".tgz"))]
        label = Label.REAL if named[1] == "real" else Label.SYNTHETIC
        for path in clips_under(group):
            entries.append(
                Entry(
                    below(path, folder),
                    label,
                    "WildDeepfake",
                    split=named[2],
                    more={"frames": len(pictures_in(path))} if path.is_dir() else {},
                )
            )
    if packed and not entries:
        raise DetectError(f"{packed[0]}: the shards are still packed; unpack each into a folder of its own beside it")
    left_out = {"shards are still packed": len(packed)} if packed else {}
    remark = "the publisher tells neither people nor recordings: nothing can keep one person out of two splits"
    return Reading("wilddeepfake", tuple(entries), (), left_out, (remark,))


def recognise_uadfv(folder: Path) -> bool:
    """Whether `fake` holds clips named after those in `real`."""
    forged = clips_in(folder / "fake")
    return bool(forged) and all(path.stem.endswith("_fake") for path in forged) and bool(clips_in(folder / "real"))


def read_uadfv(folder: Path, request: Request) -> Reading:
    """49 recordings and as many swaps; too few to share out, so all are tested on."""
    reals = {path.stem: path for path in clips_in(folder / "real")}
    entries = []
    for stem, path in reals.items():
        entries.append(Entry(below(path, folder), Label.REAL, "UADFV real", source=f"uadfv/{stem}", split="test"))
    for path in clips_in(folder / "fake"):
        stem = path.stem.removesuffix("_fake")
        original = below(reals[stem], folder) if stem in reals else None
        where = below(path, folder)
        entries.append(
            Entry(where, Label.SYNTHETIC, "FakeApp", source=f"uadfv/{stem}", split="test", original=original)
        )
    return Reading("uadfv", tuple(entries))


def recognise_df40(folder: Path) -> bool:
    """Whether folders of methods hold `ff` or `cdf`."""
    return any((method / domain).is_dir() for method in folders_in(folder) for domain in DOMAINS)


def read_df40(folder: Path, request: Request) -> Reading:
    """Forgeries by method; those made from FaceForensics++ have its split, those from Celeb-DF are tested on."""
    lists = lists_in(folder, faceforensics.LISTS, request, *faceforensics.PLACES) if request.published else None
    splits = faceforensics.split_of(lists, Request(lists)) if lists else {}
    entries: list[Entry] = []
    unlisted = 0
    for method in folders_in(folder):
        for domain in folders_in(method):
            if domain.name in DOMAINS:
                for path in _stills_apart(domain):
                    split = splits.get(_name(path)) if domain.name == "ff" else "test"
                    if splits and split is None:
                        unlisted += 1
                        continue
                    entries.append(_df40(path, folder, method.name, domain.name, split))
            elif domain.name in ("real", "fake"):
                label = Label.REAL if domain.name == "real" else Label.SYNTHETIC
                maker = f"{method.name} real" if label is Label.REAL else method.name
                entries += [Entry(below(p, folder), label, maker, split="test") for p in _stills_apart(domain)]
    remarks = ["most methods bring no real clips: import FaceForensics++ and Celeb-DF as well"]
    if request.published and not lists:
        remarks.append("no train.json, val.json and test.json of FaceForensics++: its part is shared out by people")
    left_out = {"in no list of the publisher": unlisted} if unlisted else {}
    return Reading("df40", tuple(entries), (), left_out, tuple(remarks))


def _name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _stills_apart(folder: Path) -> list[Path]:
    """Clips at any depth, where the pictures in a folder that is a mere container are clips of their own."""
    out: list[Path] = []
    for path in clips_under(folder):
        if is_film(path) or path.name.lower() not in CONTAINERS:
            out.append(path)
        else:
            out += pictures_in(path)
    return out


def _df40(path: Path, folder: Path, method: str, domain: str, split: str | None) -> Entry:
    stem = _name(path)
    named = faceforensics.people_of(stem, "") if domain == "ff" else celebdf.people_of(stem, "")
    person, people, source = named or (None, (), None)
    more = {"frames": len(pictures_in(path))} if path.is_dir() else {}
    # who of the two is seen depends on forty methods: both count, and none is named alone
    only = person if len(people) == 1 else None
    return Entry(below(path, folder), Label.SYNTHETIC, method, only, people, source, split, more=more)


LAYOUTS = (
    Layout(
        "wilddeepfake",
        "real_train, real_test, fake_train, fake_test with folders of cropped frames",
        "https://huggingface.co/datasets/xingjunm/WildDeepfake",
        "research",
        "arXiv:2101.01456",
        recognise_wild,
        read_wild,
    ),
    Layout(
        "uadfv",
        "real/0000.mp4 and fake/0000_fake.mp4",
        "https://docs.google.com/forms/d/e/1FAIpQLScKPoOv15TIZ9Mn0nGScIVgKRM9tFWOmjh9eHKx57Yp-XcnxA/viewform",
        "own terms",
        "arXiv:1811.00661",
        recognise_uadfv,
        read_uadfv,
    ),
    Layout(
        "df40",
        "<method>/{ff,cdf}/... or <method>/{real,fake}/...",
        "https://github.com/YZY-stack/DF40",
        "CC BY-NC 4.0",
        "arXiv:2406.13495",
        recognise_df40,
        read_df40,
    ),
)
