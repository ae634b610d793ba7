"""DeepfakeBench: its json, and pictures and masks of every clip where its loader looks for them.

    rgb/<name>/{real,synthetic}/frames/<clip>.mp4 and frames/<clip>/000.png ..., masks/<clip>/000.png ...; <name>.json

The loader takes paths that begin with a dot as they are, from its own folder; it puts others behind its `rgb_dir` with
a backslash. And it finds the mask of a picture by writing `masks` for `frames` in its path: without `frames` there, the
picture would be taken for its own mask.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from zipfile import BadZipFile

from PIL import Image

from countermark.exports.columns import member_of, moved
from countermark.exports.job import ExportError, Job, files_of, growing, key_of, line_of, write_text
from countermark.exports.lines import Survey
from countermark.exports.trees import PARTS
from detect.corpora.deepfakebench import PER_CLIP, export_bench
from detect.corpora.entry import SPLITS
from forge.truth import read_masks
from media.catalog import CATALOG_NAME, JSON, Catalog, Label, Sample
from provenance.errors import ProvenanceError
from provenance.files import write_whole

HOME = "./datasets/rgb"
"""Where DeepfakeBench has its pictures, seen from its own folder."""
BATCH = 64
"""Films whose pictures are written before the next note of how far it is."""
PNG_BYTES_A_PIXEL = 1.6
"""Measured: 1.5 on faces at 256 pixels, compressed as clips are."""


def bytes_of_pictures(survey: Survey) -> int:
    """What the pictures of all clips will take, about."""
    return int(survey.pixels * PER_CLIP * PNG_BYTES_A_PIXEL)


def write_deepfakebench(job: Job) -> Mapping[str, int]:
    """Clips, evenly spread pictures and masks of each, and the json; returns its labels (0 real, 1 synthetic)."""
    names = {label: f"{job.name}_{'Real' if label is Label.REAL else 'Fake'}" for label in Label}
    with growing(job.build / CATALOG_NAME) as catalog:
        for sample in job.lines:
            catalog.write(line_of(moved(job, sample, f"rgb/{bench_path(job, sample)}").to_json()))
    samples = iter(job.lines)
    for number in range(-(-job.survey.clips // BATCH)):
        batch = list(islice(samples, BATCH))
        part = job.build / PARTS / f"{number:06d}.json"
        if not part.is_file():
            _write_batch(job, batch, names, part)
    with growing(job.build / f"{job.name}.json") as file:
        _write_json(file, job, list(names.values()))
    return {names[Label.REAL]: 0, names[Label.SYNTHETIC]: 1}


def bench_path(job: Job, sample: Sample) -> str:
    """Where a clip lies below `rgb`; its pictures are in a folder of the same name."""
    return f"{job.name}/{sample.label}/frames/{member_of(sample)}"


def _write_batch(job: Job, batch: list[Sample], names: Mapping[Label, str], part: Path) -> None:
    """Pictures and masks of some clips, then the note that says which."""
    part.parent.mkdir(exist_ok=True)
    written, rgb = part.with_suffix(".new"), job.build / "rgb"
    here = Catalog(_benched(job, sample, names) for sample in batch)
    table = export_bench(here, rgb, written, name=job.name, frames=rgb)
    told = json.loads(written.read_text(encoding="utf-8"))
    masks = {key_of(sample.id): files_of(sample).get("masks") for sample in batch}
    for splits in told[job.name].values():
        for clips in splits.values():
            for clip, facts in clips.items():
                if masks[clip]:
                    _write_masks(job, str(masks[clip]), facts["frames"])
                facts["frames"] = [f"{HOME}/{name}" for name in facts["frames"]]
    assert table["clips"] == len(batch)
    write_text(part, json.dumps(told, ensure_ascii=False))
    written.unlink()


def _benched(job: Job, sample: Sample, names: Mapping[Label, str]) -> Sample:
    bench: dict[str, JSON] = {"dataset": job.name, "label": names[sample.label], "clip": key_of(sample.id)}
    # a compression level would be a level of the json, for some clips and not for others
    return replace(sample, path=bench_path(job, sample), codec=None, extra={"deepfakebench": bench})


def _write_masks(job: Job, masks: str, pictures: list[str]) -> None:
    """The masks of some pictures of a clip, as pictures of the same names: white where it is synthesised."""
    path = job.root / masks
    try:
        masks_THW = read_masks(path)
        for name in pictures:
            picture = PurePosixPath(name)
            content = io.BytesIO()
            Image.fromarray(masks_THW[int(picture.stem)]).convert("L").save(content, "PNG")
            # .../frames/CLIP/000.png and .../masks/CLIP/000.png
            place = job.build / "rgb" / picture.parents[2] / "masks" / picture.parent.name / picture.name
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, content.getvalue())
    except (BadZipFile, ValueError, KeyError, IndexError, EOFError) as error:
        raise ExportError(f"{path}: holds no mask of every frame ({type(error).__name__}); leave it out") from error
    except ProvenanceError as error:
        raise ExportError(str(error)) from error


def _write_json(file: TextIO, job: Job, labels: list[str]) -> None:
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
