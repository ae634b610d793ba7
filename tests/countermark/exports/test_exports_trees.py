"""Exports in the layouts of other benchmarks, read back by our own readers of these."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from countermark.exports import ExportError, export_dataset
from countermark.exports import Wishes as Wanted
from countermark.exports.segments import segment_row, united
from detect.corpora.importing import Wishes, import_corpus
from detect.corpora.known import recognised
from forge.truth import write_masks
from media.catalog import Catalog, Label, Sample
from media.video import read_image

pytestmark = pytest.mark.usefixtures("same_home")


def by_stem(catalog: Catalog) -> dict[str, Sample]:
    return {Path(sample.path).stem: sample for sample in catalog}


def test_talkingheadbench_is_read_back_with_makers_and_splits(dataset: Path, tmp_path: Path) -> None:
    export_dataset(dataset, tmp_path / "out", "talkingheadbench")
    layout = recognised(tmp_path / "out")
    assert layout is not None and layout.name == "talkingheadbench"
    found = by_stem(import_corpus(tmp_path / "out", tmp_path / "catalog").catalog)
    assert len(found) == 8
    for sample in Catalog.load(dataset):
        real = sample.label is Label.REAL
        read = found[sample.id if real else f"{sample.person}--{sample.id}--{sample.maker}"]
        assert (read.label, read.split, read.sha256) == (sample.label, sample.split, sample.sha256)
        assert real or (read.maker, read.person) == (sample.maker, f"ffhq/{sample.person}")
    reals = json.loads((tmp_path / "out" / "real" / "real_dataset_split_official_ff++.json").read_text())
    assert {split: names["small"] for split, names in reals.items()} == {
        "Train": ["c0.mp4", "c3.mp4"], "Val": ["c4.mp4"], "Test": ["c6.mp4"]
    }  # fmt: skip


def test_avdeepfake1m_tells_which_seconds_of_picture_and_sound_are_forged(dataset: Path, tmp_path: Path) -> None:
    export_dataset(dataset, tmp_path / "out", "avdeepfake1m")
    layout = recognised(tmp_path / "out")
    assert layout is not None and layout.name == "av-deepfake1m"
    rows = {
        row["file"].split("/")[2]: row
        for split in ("train", "val", "test")
        for row in json.loads((tmp_path / "out" / f"{split}_metadata.json").read_text())
    }
    kinds = {name: row["modify_type"] for name, row in rows.items()}
    assert kinds == {
        "c0": "real", "c1": "visual_modified", "c2": "visual_modified", "c3": "real",
        "c4": "real", "c5": "both_modified", "c6": "real", "c7": "audio_modified",
    }  # fmt: skip
    assert rows["c0"]["fake_segments"] == [] and rows["c1"]["fake_segments"] == [[0.0, 0.4]]
    assert rows["c2"]["visual_fake_segments"] == [[0.1, 0.2]] and rows["c2"]["audio_fake_segments"] == []
    assert rows["c5"]["visual_fake_segments"] == [[0.0, 0.3]] and rows["c5"]["audio_fake_segments"] == [[0.0, 0.1]]
    assert rows["c7"]["audio_fake_segments"] == rows["c7"]["fake_segments"] == [[0.2, 0.4]]
    assert (rows["c2"]["duration"], rows["c2"]["video_frames"], rows["c2"]["audio_frames"]) == (0.4, 10, 6400)
    assert all((tmp_path / "out" / row["split"] / row["file"]).is_file() for row in rows.values())
    made_from = {name: row["original"] for name, row in rows.items() if row["original"]}
    assert made_from == {
        "c2": "ada/film-ada/c0/real.mp4",  # by its id
        "c5": "cy/film-cy/c4/real.mp4",  # of the same pair
        "c7": "dora/film-dora/c6/real.mp4",
    }


def test_avdeepfake1m_lies_as_its_own_loader_asks_for_it(dataset: Path, tmp_path: Path) -> None:
    """avdeepfake1m.loader: Metadata(**a json of the clip, fps=25), lists of all splits, the tested files by name."""
    asked = {"file", "original", "split", "fake_segments", "visual_fake_segments", "audio_fake_segments"}
    asked |= {"audio_model", "modify_type", "video_frames", "audio_frames"}
    export_dataset(dataset, tmp_path / "out", "avdeepfake1m", Wanted(split="test"))
    export_dataset(dataset, tmp_path / "all", "avdeepfake1m")
    for split, count in {"train": 4, "val": 2, "test": 2}.items():
        rows = json.loads((tmp_path / "all" / f"{split}_metadata.json").read_text())
        assert len(rows) == count
        for row in rows:
            beside = tmp_path / "all" / f"{split}_metadata" / row["file"].replace(".mp4", ".json")
            assert json.loads(beside.read_text()) == row and asked <= set(row) and "fps" not in row
    tested = (tmp_path / "out" / "test_files.txt").read_text().split()
    assert [name.split("/")[2] for name in tested] == ["c6", "c7"]
    assert json.loads((tmp_path / "out" / "train_metadata.json").read_text()) == []


def test_avdeepfake1m_measures_what_a_catalog_does_not_tell(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "ds"))
    samples = [replace(s, seconds=None, fps=None, has_sound=None) for s in Catalog.load(folder)]
    Catalog([replace(s, extra={**s.extra, "frames": None}) for s in samples]).save(folder)
    (folder / "dataset.intoto.dsse.json").unlink()
    export_dataset(folder, tmp_path / "out", "avdeepfake1m")
    rows = {
        row["file"].split("/")[2]: row for row in json.loads((tmp_path / "out" / "train_metadata.json").read_text())
    }
    (segment,) = rows["c1"]["fake_segments"]
    assert segment == [0.0, pytest.approx(0.4, abs=0.05)] and rows["c1"]["video_frames"] == 10
    assert rows["c1"]["audio_frames"] > 6000


@pytest.mark.parametrize("form", ["talkingheadbench", "avdeepfake1m", "deepfakebench"])
def test_truth_and_masks_come_along_where_the_catalog_says(form: str, dataset: Path, tmp_path: Path) -> None:
    export_dataset(dataset, tmp_path / "out", form)
    for before, after in zip(Catalog.load(dataset), Catalog.load(tmp_path / "out"), strict=True):
        for name in ("truth", "masks"):
            there, here = after.extra.get(name), before.extra[name]
            assert (there is None) is (here is None)
            if there and here:
                assert (tmp_path / "out" / str(there)).read_bytes() == (dataset / str(here)).read_bytes()


def test_nobody_known_is_not_one_person_in_two_splits(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "ds"))
    Catalog([replace(s, person=None, source=None) for s in Catalog.load(folder)]).save(folder)
    (folder / "dataset.intoto.dsse.json").unlink()
    export_dataset(folder, tmp_path / "out", "talkingheadbench")
    found = import_corpus(tmp_path / "out", tmp_path / "catalog").catalog
    people = [sample.person for sample in found if sample.label is Label.SYNTHETIC]
    assert len(set(people)) == len(people) == 4


def test_avdeepfake1m_is_read_back_with_people_segments_and_originals(dataset: Path, tmp_path: Path) -> None:
    export_dataset(dataset, tmp_path / "out", "avdeepfake1m")
    read = import_corpus(tmp_path / "out", tmp_path / "catalog").catalog
    found = {Path(sample.path).parent.name: sample for sample in read}
    for sample in Catalog.load(dataset):
        if sample.id not in found:
            assert sample.split == "test", "its publisher tells nothing of a test, and readers may leave it"
            continue
        one = found[sample.id]
        assert (one.label, one.split, one.sha256) == (sample.label, sample.split, sample.sha256)
        assert one.person == f"voxceleb2/{sample.person}" and one.seconds == pytest.approx(0.4)
        if sample.label is Label.SYNTHETIC:
            assert one.maker == sample.maker
    assert found["c5"].extra["segments"] == [[0.0, 0.3]] and "segments" not in found["c0"].extra
    assert found["c2"].extra["original"] == "train/ada/film-ada/c0/real.mp4"


def test_deepfakebench_is_read_back_with_pictures_labels_and_splits(dataset: Path, tmp_path: Path) -> None:
    export_dataset(dataset, tmp_path / "out", "deepfakebench")
    out = tmp_path / "out"
    table = json.loads((out / "small.json").read_text())
    counts = {label: {split: len(clips) for split, clips in one.items()} for label, one in table["small"].items()}
    assert counts == {key: {"train": 2, "val": 1, "test": 1} for key in ("small_Real", "small_Fake")}
    text = (out / "README.md").read_text()
    assert "small_Fake: 1" in text and "ln -s FOLDER/rgb/small ./datasets/rgb/small" in text
    found = import_corpus(out / "small.json", tmp_path / "catalog", Wishes(files=out / "rgb")).catalog
    labels = Counter((Path(sample.path).name, sample.label, sample.split) for sample in found)
    assert labels == Counter((s.id, s.label, s.split) for s in Catalog.load(dataset))
    assert {sample.extra["frames"] for sample in found} == {10}, "all there are, since they are fewer than 32"


def test_deepfakebench_finds_pictures_and_masks_from_its_own_folder(dataset: Path, tmp_path: Path) -> None:
    """Its loader opens a path that begins with a dot as it is, and the mask where the path says `masks`."""
    export_dataset(dataset, tmp_path / "out", "deepfakebench")
    bench = tmp_path / "DeepfakeBench"
    (bench / "datasets" / "rgb").mkdir(parents=True)
    (bench / "datasets" / "rgb" / "small").symlink_to(tmp_path / "out" / "rgb" / "small")
    table = json.loads((tmp_path / "out" / "small.json").read_text())["small"]
    for label, splits in table.items():
        for clips in splits.values():
            for name, clip in clips.items():
                assert clip["label"] == label and len(clip["frames"]) == 10
                for frame in clip["frames"]:
                    mask = bench / frame.replace("frames", "masks")
                    assert frame.startswith(".") and read_image(bench / frame).shape == (64, 64, 3)
                    assert mask != bench / frame and mask.is_file() is (label == "small_Fake")
                numbers = [int(frame.split("/")[-1].split(".")[0]) for frame in clip["frames"]]
                assert numbers == sorted(numbers) and clip["frames"][0].split("/")[-2] == name
    picture = np.asarray(Image.open(bench / table["small_Fake"]["train"]["c1"]["frames"][0].replace("frames", "masks")))
    assert picture.shape == (64, 64) and set(np.unique(picture)) == {255}


@pytest.mark.parametrize("content", ["too few", "no archive"])
def test_masks_that_are_not_of_every_frame_are_refused_by_name(content: str, dataset: Path, tmp_path: Path) -> None:
    masks = tmp_path / "ds" / "masks" / "c5.npz"
    shutil.copytree(dataset, tmp_path / "ds", ignore=shutil.ignore_patterns("*.dsse.json"))
    if content == "too few":
        write_masks(masks, [np.ones((64, 64), bool)])
    else:
        masks.write_text(content)
    with pytest.raises(ExportError, match=r"masks/c5\.npz: holds no mask of every frame"):
        export_dataset(tmp_path / "ds", tmp_path / "out", "deepfakebench", Wanted(split="val"))


@pytest.mark.parametrize("form", ["talkingheadbench", "avdeepfake1m", "deepfakebench"])
def test_splits_that_a_benchmark_does_not_know_are_refused(form: str, dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "ds"))
    text = (folder / "catalog.jsonl").read_text().replace('"split": "val"', '"split": "held-out"')
    (folder / "catalog.jsonl").write_text(text)
    (folder / "dataset.intoto.dsse.json").unlink()
    with pytest.raises(ExportError, match=r"knows train, val, test only, and the catalog has held-out.*--split"):
        export_dataset(folder, tmp_path / "out", form)
    assert [path.name for path in tmp_path.iterdir()] == ["ds"], (
        "nothing that would stand in the way of what is advised"
    )
    assert export_dataset(folder, tmp_path / "out", form, Wanted(split="train")).splits == {"train": 4}
    assert export_dataset(folder, tmp_path / "hub", "videofolder").splits["held-out"] == 2
    assert (tmp_path / "hub" / "held_out" / "metadata.jsonl").is_file()


def test_stretches_of_time_that_touch_become_one() -> None:
    assert united([]) == []
    assert united([(1, 2), (0, 1), (3, 4), (3.5, 3.6)]) == [[0.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ({}, "visual_modified"),
        ({"voice": "synthetic"}, "both_modified"),
        ({"forged": "both"}, "both_modified"),
        ({"forged": "sound"}, "audio_modified"),
        ({"segments": []}, "visual_modified"),
        ({"segments": [[0.0, 0.2], [0.1, 0.3]]}, "visual_modified"),
        ({"segments": [[0.0, 0.3]], "voice": "synthetic"}, "both_modified"),
    ],
)
def test_what_is_forged_of_a_clip_is_told_by_its_facts(extra: dict[str, Any], kind: str) -> None:
    one = Sample("x", "x.mp4", Label.SYNTHETIC, "0" * 64, maker="m", seconds=1.0, extra=extra)
    row = segment_row(one, "train")
    assert row["modify_type"] == kind and row["file"].startswith("unknown-x/x/x/")
    assert row["fake_segments"] == ([[0.0, 0.3]] if extra.get("segments") else [[0.0, 1.0]])
    real = Sample("x", "x.mp4", Label.REAL, "0" * 64, maker="null_blend", seconds=1.0, extra=extra)
    assert segment_row(real, "train")["modify_type"] == ("audio_modified" if "voice" in extra else "real")


def test_a_clip_of_somebody_elses_avdeepfake1m_keeps_which_seconds_of_what_are_forged() -> None:
    told: dict[str, Any] = {"segments": [[0.1, 0.6]], "segments_picture": [[0.1, 0.3]], "segments_sound": [[0.2, 0.6]]}
    both = Sample("x", "x.mp4", Label.SYNTHETIC, "0" * 64, seconds=1.0, extra={**told, "voice": "synthetic"})
    row = segment_row(both, "val")
    assert (row["visual_fake_segments"], row["audio_fake_segments"]) == ([[0.1, 0.3]], [[0.2, 0.6]])
    assert row["modify_type"] == "both_modified" and row["fake_segments"] == [[0.1, 0.6]]
    sound: dict[str, Any] = {**told, "segments": [[0.2, 0.6]], "segments_picture": [], "voice": "synthetic"}
    real = Sample("x", "x.mp4", Label.REAL, "0" * 64, seconds=1.0, extra=sound)
    assert (segment_row(real, "val")["modify_type"], segment_row(real, "val")["fake_segments"]) == (
        "audio_modified", [[0.2, 0.6]]
    )  # fmt: skip
