"""From a foreign dataset on disk to a catalog: the whole way, in the order it is gone.

    made = import_corpus(Path("FaceForensics++"), Path("ff"))
    made.file, made.counts, made.missing, made.left_out

1. Which layout is it? By a few names in the folder, or as told.
2. Its reader lists the clips that are on disk, by the publisher's own lists where there are any.
3. Splits are given so that no person and no recording is in two of them (`splitting.py`).
4. Every clip is read once for its SHA-256, and the catalog is written.

A clip that a list names and that is not there is counted, not fatal; nothing at all is an error. The dataset itself is
never written to, unless no other folder is named: the catalog then lies in it. In another folder a link named `files`
leads from the catalog to the dataset.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from detect.corpora.deepfakebench import is_bench, read_bench
from detect.corpora.entry import Entry, Reading, Request
from detect.corpora.known import layout_named, recognised, recognised_inside
from detect.corpora.on_disk import digest_of
from detect.corpora.splitting import OVERLAPS, assign_splits
from detect.corpora.table import read_dataset
from detect.detector import DetectError
from detect.telling import Say, silent
from media.catalog import CATALOG_NAME, JSON, Catalog, Label, Sample
from media.clip import MediaError

LINK = "files"
SHOWN = 3
"""Missing clips that are named; the others are counted."""
JUDGED = ("picture", "any")
READERS_AT_ONCE = 4


@dataclass(frozen=True)
class Wishes:
    """How a dataset is to be read."""

    layout: str | None = None
    """Recognised by the folder unless told; also table and deepfakebench."""
    lists: Path | None = None
    """Folder of the publisher's lists, when they do not lie in the dataset."""
    split: str = "published"
    """See `splitting.MODES`."""
    judge: str = "picture"
    """What the label is about: the picture, or any part of the clip."""
    codec: str | None = None
    """Only clips of this compression."""
    keep_overlap: bool = False
    """Leave no clip out whose people are in two splits."""
    files: Path | None = None
    """Folder that the paths of a DeepfakeBench json begin in."""

    def __post_init__(self) -> None:
        """Refuse an unknown part to judge."""
        if self.judge not in JUDGED:
            raise ValueError(f"judge must be {' or '.join(JUDGED)}, got {self.judge!r}")


@dataclass(frozen=True)
class Imported:
    """A catalog that was written, and what it does not hold."""

    file: Path
    catalog: Catalog
    layout: str
    missing: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Clips by split and label."""
        return dict(sorted(Counter(f"{s.split or 'no split'}/{s.label}" for s in self.catalog).items()))


def import_corpus(folder: Path, out: Path | None = None, wishes: Wishes | None = None, say: Say = silent) -> Imported:
    """Write the catalog of a foreign dataset.

    Args:
        folder: the dataset, a CSV table, or a json of DeepfakeBench.
        out: folder for catalog.jsonl, or the name of a .jsonl file; the dataset's own folder unless given.
        wishes: how to read it.
        say: told one sentence at a time what a person should know.

    Raises:
        DetectError: when nothing is found, a list is missing or wrong, or the catalog cannot be written.
    """
    wishes = wishes or Wishes()
    reading = _reading(folder, wishes)
    if reading is None:
        if wishes != Wishes(layout=wishes.layout):
            say("a table or a catalog says labels and splits itself: the other options have no effect")
        root, catalog = read_dataset(folder)
        file, prefix = _place(root, out)
        samples = [replace(s, path=f"{prefix}{s.path}") for s in catalog] if prefix else list(catalog)
        return Imported(_saved(samples, file, "table"), Catalog(samples, file.parent.name), "table")
    if wishes.files is not None and reading.root is None:
        say("--files is about a json of DeepfakeBench and has no effect here")
    root = reading.root or folder
    _tell(reading, folder, say)
    entries = [e for e in reading.entries if wishes.codec in (None, e.codec)]
    if not entries:
        raise DetectError(f"{folder}: {_why_nothing(reading, wishes)}")
    _tell_splits(entries, wishes, say)
    assigned = assign_splits(entries, wishes.split, keep_overlap=wishes.keep_overlap)
    for reason, count in assigned.left_out.items():
        way_out = "; --keep-overlap keeps them, --split own shares out anew" if reason == OVERLAPS else ""
        say(f"{count} of {len(entries)} clips are left out: {reason}{way_out}")
    if not assigned.entries:
        raise DetectError(f"{folder}: no clip is left, since all share people with another split; use --split own")
    file, prefix = _place(root, out)
    samples = _samples(assigned.entries, root, prefix, reading.corpus, wishes.judge, say)
    left_out = dict(Counter(reading.left_out) + Counter(assigned.left_out))
    try:
        catalog = Catalog(samples, file.parent.name)
    except ValueError as error:
        raise DetectError(f"{folder}: {error}") from error
    return Imported(_saved(samples, file, reading.corpus), catalog, reading.corpus, reading.missing, left_out)


def _reading(folder: Path, wishes: Wishes) -> Reading | None:
    """What the reader of the layout finds; None for a table or a catalog."""
    if wishes.layout == "table":
        return None
    if wishes.layout == "deepfakebench" or (wishes.layout is None and is_bench(folder)):
        if not folder.is_file():
            raise DetectError(f"{folder}: name the json file of DeepfakeBench itself")
        return read_bench(folder, (wishes.files or folder.parent).absolute())
    if wishes.layout is not None:
        layout = layout_named(wishes.layout)
        if not folder.is_dir():
            raise DetectError(f"{folder}: is no folder; {layout.name} holds {layout.looks_like}")
    elif folder.is_file():
        return None
    else:
        known = recognised(folder)
        if known is None:
            if any(folder.glob("*.csv")) or (folder / CATALOG_NAME).is_file():
                return None
            raise DetectError(_unknown(folder))
        layout = known
    try:
        return layout.read(folder, Request(wishes.lists, published=wishes.split == "published"))
    except OSError as error:
        raise DetectError(f"{error.filename or folder}: {error.strerror or error}; check its rights") from error
    except ValueError as error:
        raise DetectError(f"{folder}: {error}; take fresh copies of the publisher's lists") from error


def _unknown(folder: Path) -> str:
    inside = recognised_inside(folder)
    if inside is not None:
        return f"{folder}: is no dataset itself, but {inside[0].name} in it is {inside[1].name}; name that folder"
    return (
        f"{folder}: no {CATALOG_NAME}, no .csv table and no known layout here; see `detect corpora list` and name one "
        "with --layout"
    )


def _why_nothing(reading: Reading, wishes: Wishes) -> str:
    if reading.entries:
        codecs = sorted({e.codec for e in reading.entries if e.codec})
        has = f"it has {', '.join(codecs)}" if codecs else "its clips have no compression level"
        return f"no clip of the compression {wishes.codec}; {has}"
    named = f", though its lists name {len(reading.missing)}" if reading.missing else ""
    left = "".join(f"; {count} {reason}" for reason, count in reading.left_out.items())
    return f"no clip of {reading.corpus} is here{named}{left}; check that it is unpacked"


def _tell(reading: Reading, folder: Path, say: Say) -> None:
    if reading.missing:
        some = ", ".join(reading.missing[:SHOWN]) + (", ..." if len(reading.missing) > SHOWN else "")
        say(f"{len(reading.missing)} clips are named in the publisher's lists but are not in {folder}: {some}")
    for reason, count in reading.left_out.items():
        say(f"{count} clips are left out: {reason}")
    for remark in reading.remarks:
        say(remark)


def _tell_splits(entries: list[Entry], wishes: Wishes, say: Say) -> None:
    """What is shared out although the published split was asked for."""
    open_ = sum(1 for e in entries if e.split is None)
    if wishes.split != "published" or not open_:
        return
    if any(e.split == "test" for e in entries):
        say(f"{open_} clips that the publisher gives no split are shared out over train and val by people")
    else:
        say("the publisher tests on nothing: clips without a split are shared out over train, val and test by people")


def _place(root: Path, out: Path | None) -> tuple[Path, str]:
    """The file of the catalog, and what paths below the dataset begin with there.

    Raises:
        DetectError: when the folder or the link to the dataset cannot be made.
    """
    root = root.absolute()
    file = (root if out is None else out).absolute()
    file = file if file.suffix == ".jsonl" else file / CATALOG_NAME
    at, real = Path(os.path.realpath(file.parent)), Path(os.path.realpath(root))
    if real == at or real.is_relative_to(at):
        inner = real.relative_to(at).as_posix()
        return file, "" if inner == "." else f"{inner}/"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        link = file.parent / LINK
        if link.is_symlink() or link.exists():
            if os.path.realpath(link) != str(real):
                raise DetectError(f"{link}: leads to another dataset; name another folder with -o")
        else:
            link.symlink_to(real, target_is_directory=True)
    except OSError as error:
        raise DetectError(
            f"{file.parent}: no link to the dataset can be made there ({error.strerror}); write the catalog into the "
            "dataset's own folder"
        ) from error
    return file, f"{LINK}/"


def _samples(entries: tuple[Entry, ...], root: Path, prefix: str, corpus: str, judge: str, say: Say) -> list[Sample]:
    paths = {e.path for e in entries}
    samples = []
    with ThreadPoolExecutor(READERS_AT_ONCE) as readers:
        digests = readers.map(lambda e: digest_of(root / e.path), entries)
        for number, (entry, digest) in enumerate(zip(entries, digests, strict=True), start=1):
            try:
                samples.append(_sample(entry, digest, prefix, corpus, judge, paths))
            except ValueError as error:
                raise DetectError(f"{root / entry.path}: {error}; rename the file") from error
            if number % 1000 == 0:
                say(f"read {number} of {len(entries)} clips")
    return samples


def _sample(entry: Entry, digest: str, prefix: str, corpus: str, judge: str, paths: set[str]) -> Sample:
    forged_voice = entry.voice is Label.SYNTHETIC
    only_voice = judge == "any" and forged_voice and entry.label is Label.REAL
    label = Label.SYNTHETIC if only_voice else entry.label
    cloner = entry.more.get("audio_model") or entry.more.get("method") or "cloned voice"
    extra: dict[str, JSON] = {"corpus": corpus, "people": list(entry.people) or None, **entry.more}
    extra["original"] = entry.original if entry.original in paths else None
    extra["masks"] = f"{prefix}{entry.masks}" if entry.masks else None
    extra["segments"] = [list(one) for one in entry.segments] if entry.segments is not None else None
    extra["voice"] = str(entry.voice) if entry.voice else None
    return Sample(
        id=entry.path,
        path=f"{prefix}{entry.path}",
        label=label,
        sha256=digest,
        person=entry.person,
        source=entry.source,
        maker=str(cloner) if only_voice else entry.maker,
        split=entry.split,
        codec=entry.codec,
        seconds=entry.seconds,
        has_sound=entry.has_sound,
        extra={key: value for key, value in extra.items() if value is not None and value != []},
    )


def _saved(samples: list[Sample], file: Path, corpus: str) -> Path:
    """Write the catalog, but not over that of another dataset."""
    try:
        if file.is_file() and corpus != "table":
            others = {s.extra.get("corpus") for s in Catalog.load(file)} - {corpus}
            if others:
                raise DetectError(f"{file}: holds another dataset; name another folder with -o")
        return Catalog(samples).save(file)
    except (MediaError, ValueError) as error:
        raise DetectError(str(error)) from error
