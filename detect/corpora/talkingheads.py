"""TalkingHeadBench and DeepSpeak: whole talking heads and lip-sync, with the recording that drove them.

    fake/<generator>/{train,val,test}/<portrait>--<driver>--<generator>.mp4        TalkingHeadBench
    fake/additional_dataset/{MAGI-1,Hallo3}/<name>.mp4                             only to be tested on
    real/real_dataset_split_official_ff++.json                                     {"Train": {"FaceForensics++": [...]}}

    annotations-real.csv annotations-fake.csv annotations-split-def.csv            DeepSpeak v1 and v2; films anywhere
    facefusion--10-11--4100-4897--0.mp4     <engine>--<source>-<target>--<recordings>--<n>       (v1)
    diff2lip-6868-6860-playht.mp4           named in annotations-fake.csv                        (v2)

The portraits of TalkingHeadBench are pictures of FFHQ, its drivers clips of CelebV-HQ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from detect.corpora.entry import SPLITS, Entry, Layout, Reading, Request, json_of, rows_in
from detect.corpora.on_disk import below, clips_under, folders_in, is_film
from detect.detector import DetectError
from media.catalog import JSON, Label

REALS = "real_dataset_split_official_ff++.json"
EXTRA = "additional_dataset"
SPEAK_LISTS = ("annotations-real.csv", "annotations-fake.csv", "annotations-split-def.csv")
PLACES = (".", ".official_files", "annotations")


def recognise(folder: Path) -> bool:
    """Whether `fake` holds folders of generators with splits in them."""
    return any((maker / split).is_dir() for maker in folders_in(folder / "fake") for split in SPLITS)


def read(folder: Path, request: Request) -> Reading:
    """Forgeries as their folders split them; the reals that the list names, where they are on disk."""
    entries: list[Entry] = []
    for maker in folders_in(folder / "fake"):
        for part in folders_in(maker):
            extra = maker.name == EXTRA
            if extra or part.name in SPLITS:
                films = (path for path in clips_under(part) if is_film(path))
                name, split = (part.name, "test") if extra else (maker.name, part.name)
                entries += [_animated(path, folder, name, split) for path in films]
    listing = next((p for p in ((request.lists or folder) / REALS, folder / "real" / REALS) if p.is_file()), None)
    wanted = _reals(listing) if listing else {}
    found = {path.stem: path for path in clips_under(folder / "real") if is_film(path)}
    for stem, path in found.items():
        side, space = wanted.get(stem, (None, "thb"))
        who = f"{space}/{stem}"
        more: dict[str, JSON] = {"driver": who}
        entries.append(Entry(below(path, folder), Label.REAL, f"{space} real", who, (), who, side, more=more))
    missing = tuple(f"real: {stem}" for stem in wanted if stem not in found)
    remark = "real clips are not part of the download: import FaceForensics++ and CelebV-HQ as well"
    return Reading("talkingheadbench", tuple(entries), missing, {}, () if found else (remark,))


def _animated(path: Path, folder: Path, maker: str, split: str) -> Entry:
    parts = path.stem.split("--")
    more: dict[str, JSON] = {"driver": f"celebv-hq/{parts[1]}"} if len(parts) >= 3 else {}
    # names of the films of other generators count something else, so that equal numbers are not equal portraits
    person = f"ffhq/{parts[0]}" if len(parts) >= 3 else None
    return Entry(below(path, folder), Label.SYNTHETIC, maker, person, split=split, more=more)


def _reals(path: Path) -> dict[str, tuple[str | None, str]]:
    """Split and collection of every real clip, by name."""
    try:
        table = json_of(path)
        spaces = {"FaceForensics++": "ff++", "CelebV-HQ": "celebv-hq"}
        return {
            Path(name).stem: (split.lower(), spaces.get(collection, collection.lower()))
            for split, groups in table.items()
            if split.lower() in SPLITS
            for collection, names in groups.items()
            for name in names
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise DetectError(f"{path}: must map Train, Val and Test to lists of names ({error})") from error


def recognise_speak(folder: Path) -> bool:
    """Whether the tables of DeepSpeak are here."""
    return any((folder / place / SPEAK_LISTS[1]).is_file() for place in PLACES)


def _table(path: Path, column: str) -> list[dict[str, str]]:
    names, *values = rows_in(path) or [[]]
    names = [name.strip() for name in names]
    # a short row lacks its last values
    rows = [dict(zip(names, (v.strip() for v in (*row, *[""] * len(names))), strict=False)) for row in values if row]
    if rows and column not in rows[0]:
        raise DetectError(f"{path}: has no column {column}; columns are {', '.join(rows[0])}")
    return rows


def read_speak(folder: Path, request: Request) -> Reading:
    """Both tables; the split is that of the people."""
    held = (folder / one for one in PLACES if (folder / one / SPEAK_LISTS[1]).is_file())
    place = request.lists or next(held, folder)
    lacking = [name for name in SPEAK_LISTS[1:] if not (place / name).is_file()]
    if lacking:
        raise DetectError(f"{place}: no {' and '.join(lacking)} there; take them from the publisher's download")
    sides = {f"deepspeak/{row['identity']}": row.get("split", "") for row in _table(place / SPEAK_LISTS[2], "identity")}
    films = {path.name: path for path in clips_under(folder) if is_film(path)}
    entries: list[Entry] = []
    named: set[str] = set()
    rows = [(Label.REAL, row) for row in _table(place / SPEAK_LISTS[0], "video-file")] if _has_reals(place) else []
    rows += [(Label.SYNTHETIC, row) for row in _table(place / SPEAK_LISTS[1], "video-file")]
    for label, row in rows:
        name = Path(row["video-file"]).name
        name = name if name.endswith(".mp4") else f"{name}.mp4"
        named.add(name)
        if name in films:
            entries.append(_spoken(label, row, below(films[name], folder)))
    by_people = [replace(e, split=_side(e, sides)) for e in entries]
    kept = [e for e in by_people if e.split or not request.published]
    left_out = {"people of two splits, or of none": len(by_people) - len(kept)} if len(by_people) > len(kept) else {}
    reals = {Path(e.path).stem: e.path for e in kept if e.label is Label.REAL}
    paired = tuple(replace(e, original=reals.get(e.original)) if e.original else e for e in kept)
    unnamed = len(films) - len(named & set(films))
    left_out |= {"in no list of the publisher": unnamed} if unnamed else {}
    return Reading("deepspeak", paired, tuple(sorted(named - set(films))), left_out)


def _has_reals(place: Path) -> bool:
    return (place / SPEAK_LISTS[0]).is_file()


def _spoken(label: Label, row: Mapping[str, str], where: str) -> Entry:
    if label is Label.REAL:
        who = f"deepspeak/{row.get('identity', '')}"
        return Entry(where, label, "DeepSpeak real", who, (), f"deepspeak/{Path(where).stem}", voice=Label.REAL)
    target, source = (row.get(f"identity-{side}", "") for side in ("target", "source"))
    kind, voice = row.get("kind", ""), row.get("audio-config")
    engine = row.get("engine") or Path(where).stem.split("-")[0]
    swapped = "swap" in kind or engine.lower().startswith("facefusion")
    recording = f"{target}-{row.get('recording-target', '')}"
    more: dict[str, JSON] = {"kind": kind, "method": engine, **({"audio_config": voice} if voice else {})}
    return Entry(
        where,
        label,
        engine,
        f"deepspeak/{source if swapped and source else target}",
        tuple(f"deepspeak/{who}" for who in (target, source) if who),
        f"deepspeak/{recording}",
        original=recording,
        more=more,
    )


def _side(entry: Entry, sides: Mapping[str, str]) -> str | None:
    found = {sides.get(who, "") for who in entry.people}
    split = found.pop() if len(found) == 1 else ""
    return split if split in SPLITS else None


LAYOUTS = (
    Layout(
        "talkingheadbench",
        "fake/<generator>/{train,val,test}/<portrait>--<driver>--<generator>.mp4, real",
        "https://huggingface.co/datasets/luchaoqi/TalkingHeadBench",
        "MIT, sources own terms",
        "arXiv:2505.24866",
        recognise,
        read,
    ),
    Layout(
        "deepspeak",
        "films, annotations-real.csv, annotations-fake.csv, annotations-split-def.csv (v1 and v2)",
        "https://huggingface.co/datasets/faridlab/deepspeak_v2",
        "academic",
        "arXiv:2408.05366",
        recognise_speak,
        read_speak,
    ),
)
