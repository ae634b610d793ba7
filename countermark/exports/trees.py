"""Folders as three benchmarks of the field lay them out, so that their own loaders and scripts read ours.

    fake/<maker>/<split>/<person>--<clip>--<maker>.mp4, real/<split>/<clip>.mp4               talkingheadbench
    <split>/<person>/<source>/<clip>/fake_video_real_audio.mp4, <split>_metadata.json         avdeepfake1m
    rgb/<name>/{real,synthetic}/<clip>.mp4 and <clip>/000.png ..., <name>.json                deepfakebench

What these layouts cannot say (who is who across real and synthetic clips, licences, consent) stands in catalog.jsonl
beside them, by which every command of ours reads the same folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from countermark.exports.columns import WHATS, Stretch, What, member_of, stretches_of, suffix_of
from countermark.exports.job import BESIDE, ExportError, Job, growing, key_of, line_of, slug
from countermark.exports.lines import TRAIN
from detect.corpora.deepfakebench import export_bench
from detect.corpora.entry import SPLITS
from media.catalog import CATALOG_NAME, JSON, Catalog, Label, Sample

REALS = "real/real_dataset_split_official_ff++.json"
KINDS = {
    "real": "real",
    "visual_modified": "fake_video_real_audio",
    "audio_modified": "real_video_fake_audio",
    "both_modified": "fake_video_fake_audio",
}
"""`modify_type` of AV-Deepfake1M -> name of the film."""
RATE_HZ = 16_000
"""Of the sound, as AV-Deepfake1M counts its samples."""
BATCH = 64
"""Films whose pictures are written before the next note of how far it is."""
PARTS = ".parts"


def check_splits(job: Job) -> None:
    """Refuse splits that these benchmarks have no place for.

    Raises:
        ExportError: naming them.
    """
    strange = sorted(set(job.survey.splits) - set(SPLITS))
    if strange:
        raise ExportError(
            f"{job.lines.file}: this form knows train, val and test only, and the catalog has {', '.join(strange)}; "
            "choose another form, or one split with --split"
        )


def _without_sides(sample: Sample, path: str) -> Sample:
    """A sample at its new place, where truth and masks are not beside it."""
    more = {name: value for name, value in sample.extra.items() if name not in BESIDE}
    return replace(sample, path=path, extra=more)


# ------------------------------------------------------------------------------------------ TalkingHeadBench


def write_talkingheadbench(job: Job) -> None:
    """Synthetic clips by maker and split, real ones by split and in the list that names them."""
    check_splits(job)
    with ExitStack() as stack:
        catalog = stack.enter_context(growing(job.build / CATALOG_NAME))
        lists = {split: stack.enter_context(growing(_list_of(job, split))) for split in SPLITS}
        for sample in job.lines:
            split = sample.split or TRAIN
            path = head_path(sample, split)
            job.carry(sample, path)
            catalog.write(line_of(_without_sides(sample, path).to_json()))
            if sample.label is Label.REAL:
                lists[split].write(line_of(member_of(sample)))
    with growing(job.build / REALS) as file:
        file.write("{")
        for number, split in enumerate(SPLITS):
            file.write(f"{',' if number else ''}\n {json.dumps(split.title())}: {{{json.dumps(job.name)}: ")
            _write_list(file, _list_of(job, split))
            file.write("}")
        file.write("\n}\n")


def head_path(sample: Sample, split: str) -> str:
    """Where TalkingHeadBench has a clip."""
    if sample.label is Label.REAL:
        return f"real/{split}/{member_of(sample)}"
    maker = slug(sample.maker)
    return f"fake/{maker}/{split}/{slug(sample.person)}--{key_of(sample.id)}--{maker}{suffix_of(sample)}"


# ------------------------------------------------------------------------------------------ AV-Deepfake1M


def write_avdeepfake1m(job: Job) -> None:
    """Clips by person and recording, and for each split a list that tells the synthetic seconds."""
    check_splits(job)
    splits = [split for split in SPLITS if split in job.survey.splits]
    with ExitStack() as stack:
        catalog = stack.enter_context(growing(job.build / CATALOG_NAME))
        lists = {split: stack.enter_context(growing(_list_of(job, split))) for split in splits}
        for sample in job.lines:
            split = sample.split or TRAIN
            row = segment_row(sample, split)
            path = f"{split}/{row['file']}"
            job.carry(sample, path)
            catalog.write(line_of(_without_sides(sample, path).to_json()))
            lists[split].write(line_of(row))
    for split in splits:
        with growing(job.build / f"{split}_metadata.json") as file:
            _write_list(file, _list_of(job, split))
            file.write("\n")


def segment_row(sample: Sample, split: str) -> dict[str, Any]:
    """One clip in the words of AV-Deepfake1M; a forgery without segments is one from beginning to end."""
    seconds = sample.seconds or 0.0
    stretches = stretches_of(sample)
    if sample.label is Label.SYNTHETIC and not stretches:
        stretches = (Stretch(0.0, seconds, _forged(sample)),)
    visual = united((s.start_seconds, s.end_seconds) for s in stretches if s.what in ("picture", "both"))
    audio = united((s.start_seconds, s.end_seconds) for s in stretches if s.what in ("sound", "both"))
    kind = {(False, False): "real", (True, False): "visual_modified", (False, True): "audio_modified"}.get(
        (bool(visual), bool(audio)), "both_modified"
    )
    person, source = slug(sample.person, f"unknown-{key_of(sample.id)}"), slug(sample.source, key_of(sample.id))
    original = sample.extra.get("original")
    frames = sample.extra.get("frames")
    rate = sample.frame_rate
    return {
        "file": f"{person}/{source}/{key_of(sample.id)}/{KINDS[kind]}{suffix_of(sample)}",
        # a forgery of a recording shows the same person in the same recording
        "original": f"{person}/{source}/{key_of(original)}/real{suffix_of(sample)}"
        if isinstance(original, str)
        else None,
        "split": split,
        "modify_type": kind,
        "audio_model": sample.maker if audio else None,
        "video_model": sample.maker if visual else None,
        "fake_segments": united((*visual, *audio)),
        "audio_fake_segments": audio,
        "visual_fake_segments": visual,
        "video_frames": frames if isinstance(frames, int) else round(seconds * float(rate or 25)),
        "audio_frames": round(seconds * RATE_HZ) if sample.has_sound else 0,
        "duration": seconds,
        "fps": None if rate is None else float(rate),
        "label": str(sample.label),
        "maker": sample.maker,
    }


def _forged(sample: Sample) -> What:
    """Of what a clip is a forgery that tells no segments."""
    voiced: What = "both" if sample.extra.get("voice") == "synthetic" else "picture"
    return WHATS.get(str(sample.extra.get("forged")), voiced)


def united(stretches: Iterable[Iterable[float]]) -> list[list[float]]:
    """Stretches of time in order, those that touch as one.

    >>> united([(2.0, 3.0), (0.5, 1.0), (0.8, 1.5)])
    [[0.5, 1.5], [2.0, 3.0]]
    """
    out: list[list[float]] = []
    for start, end in sorted((float(one), float(other)) for one, other in stretches):
        if out and start <= out[-1][1]:
            out[-1][1] = max(end, out[-1][1])
        else:
            out.append([start, end])
    return out


def _list_of(job: Job, split: str) -> Path:
    return job.build / PARTS / f"{split}.jsonl"


def _write_list(file: TextIO, lines: Path) -> None:
    """Lines of JSON as one list, without ever holding them all."""
    file.write("[")
    with lines.open(encoding="utf-8") as held:
        for number, line in enumerate(held):
            file.write(f"{',' if number else ''}\n{line.rstrip()}")
    file.write("]")


# ------------------------------------------------------------------------------------------ DeepfakeBench


def write_deepfakebench(job: Job) -> Mapping[str, int]:
    """Clips, evenly spread pictures of each, and the json; returns its labels (0 real, 1 synthetic)."""
    check_splits(job)
    names = {label: f"{job.name}_{'Real' if label is Label.REAL else 'Fake'}" for label in Label}
    with growing(job.build / CATALOG_NAME) as catalog:
        for sample in job.lines:
            job.carry(sample, f"rgb/{bench_path(job, sample)}")
            catalog.write(line_of(_without_sides(sample, f"rgb/{bench_path(job, sample)}").to_json()))
    samples = iter(job.lines)
    for number in range(-(-job.survey.clips // BATCH)):
        batch = list(islice(samples, BATCH))
        part = job.build / PARTS / f"{number:06d}.json"
        if not part.is_file():
            part.parent.mkdir(exist_ok=True)
            here = Catalog(_benched(job, sample, names) for sample in batch)
            rgb = job.build / "rgb"
            export_bench(here, rgb, part, name=job.name, frames=rgb)
    with growing(job.build / f"{job.name}.json") as file:
        _write_bench(file, job, list(names.values()))
    return {names[Label.REAL]: 0, names[Label.SYNTHETIC]: 1}


def bench_path(job: Job, sample: Sample) -> str:
    """Where a clip lies below `rgb`; its pictures are in a folder of the same name."""
    return f"{job.name}/{sample.label}/{member_of(sample)}"


def _benched(job: Job, sample: Sample, names: Mapping[Label, str]) -> Sample:
    bench: dict[str, JSON] = {"dataset": job.name, "label": names[sample.label], "clip": key_of(sample.id)}
    # a compression level would be a level of the json, for some clips and not for others
    return replace(sample, path=bench_path(job, sample), codec=None, extra={"deepfakebench": bench})


def _write_bench(file: TextIO, job: Job, labels: list[str]) -> None:
    """The parts as one json, a clip at a time."""
    file.write(f"{{{json.dumps(job.name)}: {{")
    for number, label in enumerate(labels):
        file.write(f"{',' if number else ''}\n {json.dumps(label)}: {{")
        for place, split in enumerate(SPLITS):
            file.write(f"{',' if place else ''}\n  {json.dumps(split)}: {{")
            for count, (clip, facts) in enumerate(_clips_in(job, label, split)):
                file.write(f"{',' if count else ''}\n   {json.dumps(clip)}: {json.dumps(facts, ensure_ascii=False)}")
            file.write("}")
        file.write("}")
    file.write("}}\n")


def _clips_in(job: Job, label: str, split: str) -> Iterator[tuple[str, Any]]:
    for part in sorted((job.build / PARTS).glob("*.json")):
        try:
            table = json.loads(part.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ExportError(f"{part}: cannot be read ({error}); remove it and give the same command again") from error
        yield from table.get(job.name, {}).get(label, {}).get(split, {}).items()
