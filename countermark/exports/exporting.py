"""A dataset of ours becomes one in a format of the field, on one page. START HERE.

    exported = export_dataset(Path("ds"), Path("ds-hf"), "videofolder", Wishes(split="test"))
    exported.clips, exported.standing

Rules:

1. The catalog is looked over once before anything is written: what cannot be exported is refused by name.
2. A clip arrives byte for byte, or as a hard link, and only when its SHA-256 is that of the catalog; where the dataset
   is signed, the catalog and what lies beside the clips must be as they were signed.
3. The export grows in a hidden folder beside its place, goes on where a killed run stopped, and appears whole.
4. It is signed: every file in it, and which catalog it came from.
5. The catalog is read line by line and shards are bounded: memory does not grow with the clips. What does grow with the
   number of *files* are the signed statements: that of the dataset, which is compared up to 64 MiB, and that of the
   export. So for a million clips take parquet or webdataset.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from countermark.exports.attesting import TOOL, content_beside, inputs_of, sign_clips, sign_files, signed_digests
from countermark.exports.building import building, check_place, hidden_beside
from countermark.exports.columns import hub_split
from countermark.exports.job import ExportError, Job, Wishes, slug, write_text
from countermark.exports.lines import CatalogLines, Survey, check_inside, look_over
from countermark.exports.telling import CARD, COLUMNS, OPENING_OF_HUB, hub_head, readme
from detect.corpora.entry import SPLITS
from media.catalog import CATALOG_NAME
from provenance.attestation import STATEMENT_FILE
from provenance.record import Record, installed_version

Notify = Callable[[str], None]
MOST_DESCRIBED = 100_000
"""Clips up to which croissant.json is written: its writer holds the whole catalog."""
SPARE_BYTES = 64 << 20
PICTURES = "contact_sheet*.png"


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    form: str
    clips: int
    splits: Mapping[str, int]
    bytes: int
    """Of the clips, their truth and their masks."""
    files: int
    standing: str
    """Of the export's own signature."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "folder": str(self.folder), "splits": dict(self.splits)}


@dataclass(frozen=True)
class Form:
    """A format of the field."""

    what: str
    """In a few words."""
    write: Callable[[Job], str]
    """Fills the folder; returns its README.md."""
    of_clips: bool
    """Whether clips lie in it as files, with a catalog; else they are in archives or tables."""
    splits: frozenset[str] | None = None
    """Those it has a place for; None for any."""
    more_bytes: Callable[[Survey], int] = lambda survey: 0
    """What it writes that is in no dataset."""


def export_dataset(
    folder: Path,
    out: Path,
    form: str,
    wishes: Wishes | None = None,
    tell: Callable[[int, int], None] = lambda done, planned: None,
    notify: Notify | None = None,
) -> Exported:
    """Write a dataset in a format of the field.

    Args:
        folder: with catalog.jsonl and the clips it names.
        out: a new or an empty folder.
        form: one of `FORMS`.
        wishes: which split, how large shards are, whether to link.
        tell: told how many clips are there, of how many.
        notify: gets lines for people, such as that a development identity was made to sign with.

    Raises:
        ExportError: in one line; what was made so far stays hidden beside `out`, and the same command goes on.
    """
    wishes = wishes or Wishes()
    if form not in FORMS:
        raise ExportError(f"a form must be one of {', '.join(FORMS)}, got {form!r}")
    if wishes.link and not FORMS[form].of_clips:
        raise ExportError(f"{form} holds no clips as files, so that none can be linked; leave out --link")
    lines = CatalogLines(folder, wishes.split)
    check_place(folder, out)
    survey = look_over(lines)
    _check_splits(lines, survey.splits, FORMS[form])
    inputs = inputs_of(folder)
    signed = signed_digests(folder, notify)
    card = _card_files(folder)
    settings = {
        "form": form,
        "catalog": inputs[CATALOG_NAME],
        "truth and masks": content_beside(signed),
        "split": wishes.split,
        "shard size": wishes.shard_bytes,
        "link": wishes.link,
        "version": installed_version(),
    }
    _check_space(out, FORMS[form].more_bytes(survey) + (0 if wishes.link else survey.bytes))
    done = 0

    def more(clips: int) -> None:
        nonlocal done
        done += clips
        tell(done, survey.clips)

    with building(out, settings) as build:
        name = slug(folder.resolve().name, "dataset")
        job = Job(lines, survey, build, name, wishes, more, signed)
        write_text(build / "README.md", FORMS[form].write(job))
        for path, to in card.items():
            job.carry_beside(path, to)
        if inputs_of(folder) != inputs:
            raise ExportError(
                f"{folder}: changed while it was exported; remove {build} and give the same command again"
            )
        controls = {"form": form, "split": wishes.split, "clips": survey.clips, "splits": survey.splits}
        record = Record(tool=TOOL, inputs=inputs, controls=controls)
        standing = _signed(job, FORMS[form], record, notify)
    files = sum(1 for path in out.rglob("*") if path.is_file())
    return Exported(out, form, survey.clips, survey.splits, survey.bytes, files, standing)


def _signed(job: Job, form: Form, record: Record, notify: Notify | None) -> str:
    from countermark.exports.shards import notes
    from provenance.croissant import About, write_croissant

    (job.build / STATEMENT_FILE).unlink(missing_ok=True)
    if not form.of_clips:
        known = {str(note["name"]): str(note["sha256"]) for note in notes(job)}
        return sign_files(job.build, known, record, notify).value
    if job.survey.clips <= MOST_DESCRIBED:
        write_croissant(job.build / CATALOG_NAME, about=About(name=job.name), record=record)
    return sign_clips(job.build, record, notify).value


def _card_files(folder: Path) -> Mapping[str, str]:
    """The card of the dataset and its pictures, which tell what it was made of, and what they are called in an export.

    Raises:
        ExportError: for a link that leads out of the dataset.
    """
    if not (folder / "README.md").is_file():
        return {}
    names = {"README.md": CARD, **{one.name: one.name for one in sorted(folder.glob(PICTURES))}}
    for name in names:
        check_inside(folder, name)
    return names


def _card_of(job: Job) -> Path:
    return job.root / "README.md"


def _check_splits(lines: CatalogLines, splits: Mapping[str, int], form: Form) -> None:
    strange = sorted(set(splits) - form.splits) if form.splits is not None else []
    if strange:
        raise ExportError(
            f"{lines.file}: this form knows {', '.join(SPLITS)} only, and the catalog has {', '.join(strange)}; "
            "choose another form, or one split with --split"
        )
    named: dict[str, str] = {}
    for split in splits:
        # for some file systems `Train` and `train` are one folder
        other = named.setdefault(hub_split(split).lower(), split)
        if other != split:
            raise ExportError(
                f"{lines.file}: the splits {other!r} and {split!r} would get one name; rename one of them"
            )


def _check_space(out: Path, needed: int) -> None:
    """Say now what would otherwise be said after hours; what an earlier run wrote is counted in its favour."""
    place = hidden_beside(out).parent
    while not place.is_dir():
        place = place.parent
    there = sum(path.stat().st_size for path in hidden_beside(out).rglob("*") if path.is_file())
    free = shutil.disk_usage(place).free
    if free + there < needed + SPARE_BYTES:
        raise ExportError(
            f"{place}: {needed / 1e9:.1f} GB are needed and {(free + there) / 1e9:.1f} GB are free; free space, "
            "or name a folder on another disk"
        )


# ------------------------------------------------------------------------------------------ the forms


def _videofolder(job: Job) -> str:
    from countermark.exports.videofolder import write_videofolder

    columns = write_videofolder(job)
    files = [(hub_split(split), f"{hub_split(split)}/**") for split in job.survey.splits]
    more = (
        f"{COLUMNS} An unknown text is empty.\n"
        'With `load_dataset("videofolder", data_dir="FOLDER")` the label is a word.'
    )
    return readme(
        job, "Hugging Face videofolder", OPENING_OF_HUB, more, hub_head(files, columns), _card_of(job).is_file()
    )


def _parquet(job: Job) -> str:
    from countermark.exports.parquet_shards import write_parquet

    write_parquet(job)
    files = [(hub_split(split), f"data/{hub_split(split)}-*.parquet") for split in job.survey.splits]
    more = f"{COLUMNS} `truth` is a parquet file of its own (what the\nface did in every frame), `masks` an npz."
    return readme(job, "Hugging Face parquet", OPENING_OF_HUB, more, hub_head(files, None), _card_of(job).is_file())


def _webdataset(job: Job) -> str:
    from countermark.exports.web_shards import shards_of, write_webdataset

    write_webdataset(job)
    first = hub_split(next(iter(job.survey.splits)))
    opening = (
        "import webdataset\n\n"
        f'dataset = webdataset.WebDataset("FOLDER/{shards_of(job, first)}", shardshuffle=False).decode()\n'
        '# sample["json"]["label"], sample["mp4"]'
    )
    more = (
        "KEY.json tells what is known (`label` is real or synthetic, `segments` the synthetic seconds of a partial\n"
        "forgery, `facts` all else as JSON); KEY.truth.parquet and KEY.masks.npz are there where known.\n"
        "`index.json` lists the shards with their clips, bytes and SHA-256."
    )
    return readme(job, "WebDataset", opening, more, None, _card_of(job).is_file())


def _talkingheadbench(job: Job) -> str:
    from countermark.exports.trees import REALS, write_talkingheadbench

    write_talkingheadbench(job)
    opening = "# fake/<maker>/{train,val,test}/<person>--<clip>--<maker>.mp4, real/{train,val,test}/<clip>.mp4"
    more = f"`{REALS}` names the real clips of each split. `catalog.jsonl` tells the rest."
    return readme(job, "laid out as TalkingHeadBench", opening, more, None, _card_of(job).is_file())


def _avdeepfake1m(job: Job) -> str:
    from countermark.exports.segments import write_avdeepfake1m

    write_avdeepfake1m(job)
    opening = (
        "from avdeepfake1m.loader import AVDeepfake1mDataModule\n\n"
        'data = AVDeepfake1mDataModule("FOLDER")   # it takes 25 frames a second for granted\n'
        '# {train,val,test}_metadata.json: [{"file", "original", "split", "modify_type", "fake_segments", ...}]'
    )
    more = (
        "`modify_type` is real, visual_modified, audio_modified or both_modified; segments are seconds. A clip that\n"
        "is synthetic throughout has one segment from beginning to end. `original` is the real clip that a forgery\n"
        "was made from, where it is in this folder. `catalog.jsonl` tells the rest."
    )
    return readme(job, "laid out as AV-Deepfake1M", opening, more, None, _card_of(job).is_file())


def _deepfakebench(job: Job) -> str:
    from countermark.exports.bench import HOME, write_deepfakebench

    labels = write_deepfakebench(job)
    lines = [
        f"# in the folder of DeepfakeBench\nmkdir -p {HOME} && ln -s FOLDER/rgb/{job.name} {HOME}/{job.name}",
        f"cp FOLDER/{job.name}.json preprocessing/dataset_json/    # or where dataset_json_folder says\n",
        "# in training/config/train_config.yaml and test_config.yaml\nlabel_dict:",
    ]
    opening = "\n".join([*lines, *(f"  {name}: {number}" for name, number in labels.items())])
    more = (
        "Pictures are evenly spread over each clip, uncut; masks of what is synthesised lie in `masks` beside\n"
        "`frames`, where `with_mask` looks for them. There are no landmarks. `catalog.jsonl` tells the rest."
    )
    return readme(job, "laid out as DeepfakeBench", opening, more, None, _card_of(job).is_file(), "sh")


def _pictures(survey: Survey) -> int:
    from countermark.exports.bench import bytes_of_pictures

    return bytes_of_pictures(survey)


_BENCH = frozenset(SPLITS)
FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "videofolder": Form("Hugging Face: a folder a split, metadata.jsonl", _videofolder, True),
        "parquet": Form("Hugging Face: clips and facts in parquet shards", _parquet, False),
        "webdataset": Form("tar shards of KEY.mp4, KEY.json and what is beside them", _webdataset, False),
        "deepfakebench": Form(
            "the json of DeepfakeBench, and pictures of every clip", _deepfakebench, True, _BENCH, _pictures
        ),
        "talkingheadbench": Form("the tree of TalkingHeadBench", _talkingheadbench, True, _BENCH),
        "avdeepfake1m": Form("AV-Deepfake1M: clips by person, lists of synthetic seconds", _avdeepfake1m, True, _BENCH),
    }
)
"""Every format by name."""
