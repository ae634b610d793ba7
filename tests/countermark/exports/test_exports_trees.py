"""Exports in the layouts of other benchmarks, read back by our own readers of these."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from countermark.exports import ExportError, export_dataset
from countermark.exports.trees import segment_row, united
from detect.corpora.importing import Wishes, import_corpus
from detect.corpora.known import recognised
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
    assert (rows["c2"]["duration"], rows["c2"]["fps"], rows["c2"]["video_frames"]) == (0.4, 25.0, 10)
    assert all((tmp_path / "out" / row["split"] / row["file"]).is_file() for row in rows.values())


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
    assert "small_Fake: 1" in (out / "README.md").read_text()
    found = import_corpus(out / "small.json", tmp_path / "catalog", Wishes(files=out / "rgb")).catalog
    labels = Counter((Path(sample.path).name, sample.label, sample.split) for sample in found)
    assert labels == Counter((s.id, s.label, s.split) for s in Catalog.load(dataset))
    assert {sample.extra["frames"] for sample in found} == {10}, "all there are, since they are fewer than 32"
    first = out / "rgb" / table["small"]["small_Real"]["train"]["c0"]["frames"][0]
    assert read_image(first).shape == (64, 64, 3)


@pytest.mark.parametrize("form", ["talkingheadbench", "avdeepfake1m", "deepfakebench"])
def test_splits_that_a_benchmark_does_not_know_are_refused(form: str, dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "ds"))
    text = (folder / "catalog.jsonl").read_text().replace('"split": "val"', '"split": "held-out"')
    (folder / "catalog.jsonl").write_text(text)
    with pytest.raises(ExportError, match="knows train, val and test only, and the catalog has held-out"):
        export_dataset(folder, tmp_path / "out", form)
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
    ],
)
def test_what_is_forged_of_a_clip_is_told_by_its_facts(extra: dict[str, Any], kind: str) -> None:
    one = Sample("x", "x.mp4", Label.SYNTHETIC, "0" * 64, maker="m", seconds=1.0, extra=extra)
    row = segment_row(one, "train")
    assert row["modify_type"] == kind and row["file"].startswith("unknown-x/x/x/")
    assert row["fake_segments"] == ([[0.0, 0.3]] if extra.get("segments") else [[0.0, 1.0]])
    real = Sample("x", "x.mp4", Label.REAL, "0" * 64, maker="null_blend", seconds=1.0, extra=extra)
    assert segment_row(real, "train")["modify_type"] == "real"
