"""Exports for Hugging Face, opened by the real `datasets` (the `dev` extra)."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_dataset import PARTS

from countermark.exports import Wishes, export_dataset
from detect.corpora.importing import import_corpus
from media.catalog import Catalog
from provenance.credential import Standing, read_credential

pytestmark = pytest.mark.usefixtures("same_home")

SPLITS = {"train": 4, "validation": 2, "test": 2}


@pytest.fixture(scope="module")
def videofolder(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_dataset(dataset, tmp_path_factory.mktemp("vf") / "out", "videofolder").folder


@pytest.fixture(scope="module")
def parquet(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_dataset(dataset, tmp_path_factory.mktemp("pq") / "out", "parquet").folder


def opened(tmp_path: Path, *names: str, **more: Any) -> Any:
    """What `load_dataset` gives, with the films as they are."""
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed: pip install -e .[dev]")
    datasets.disable_progress_bars()
    found = datasets.load_dataset(*names, cache_dir=str(tmp_path / "cache"), **more)
    return found.cast_column("video", datasets.Video(decode=False))


def test_videofolder_opens_with_all_rows_and_columns(videofolder: Path, dataset: Path, tmp_path: Path) -> None:
    found = opened(tmp_path, "videofolder", data_dir=str(videofolder))
    assert {split: part.num_rows for split, part in found.items()} == SPLITS
    rows = {row["id"]: row for part in found.values() for row in part}
    for sample in Catalog.load(dataset):
        row = rows[sample.id]
        film = Path(row["video"]["path"])
        assert film.parent.parent == videofolder and hashlib.sha256(film.read_bytes()).hexdigest() == sample.sha256
        assert (row["label"], row["person"], row["source"]) == (sample.label.value, sample.person, sample.source)
        assert (row["maker"], row["seconds"], row["width"]) == (sample.maker, sample.seconds, sample.width)
        assert row["has_sound"] is True and json.loads(row["facts"])["frames"] == sample.extra["frames"]
        assert (json.loads(row["segments"]) if row["segments"] else []) == PARTS.get(sample.id, [])
        assert (videofolder / row["truth"]).is_file()
        assert (videofolder / row["masks"]).is_file() is (sample.extra["masks"] is not None)
    assert rows["c0"]["consent"] == "consent: agreed to this use" and rows["c1"]["consent"] == ""


def test_the_readme_makes_the_label_a_class(videofolder: Path, parquet: Path, tmp_path: Path) -> None:
    for number, folder in enumerate((videofolder, parquet)):
        found = opened(tmp_path / str(number), str(folder))
        assert {split: part.num_rows for split, part in found.items()} == SPLITS
        label = found["train"].features["label"]
        assert label.names == ["real", "synthetic"]
        assert [label.int2str(row["label"]) for row in found["train"]] == ["real", "synthetic", "synthetic", "real"]


def test_a_split_in_which_a_fact_is_unknown_throughout_does_not_break_the_types(
    videofolder: Path, tmp_path: Path
) -> None:
    """Nobody has an emotion in val and test; `datasets` refuses splits whose columns differ."""
    found = opened(tmp_path, "videofolder", data_dir=str(videofolder))
    assert {str(part.features["emotion"]) for part in found.values()} == {"Value('string')"}
    assert found["train"]["emotion"][1] == "happy" and set(found["test"]["emotion"]) == {""}


def test_parquet_holds_the_films_and_what_is_known_beside_them(parquet: Path, dataset: Path, tmp_path: Path) -> None:
    found = opened(tmp_path, "parquet", data_dir=str(parquet))
    assert {split: part.num_rows for split, part in found.items()} == SPLITS
    rows = {row["id"]: row for part in found.values() for row in part}
    for sample in Catalog.load(dataset):
        row = rows[sample.id]
        assert hashlib.sha256(row["video"]["bytes"]).hexdigest() == sample.sha256 == row["sha256"]
        assert row["video"]["path"] == f"{sample.id}.mp4" and row["seed"] == 7
        assert [dict(one) for one in row["segments"] or []] == PARTS.get(sample.id, [])
        assert pq.read_table(io.BytesIO(row["truth"])).num_rows == sample.extra["frames"]
        if row["masks"] is None:
            assert sample.extra["masks"] is None
        else:
            assert np.load(io.BytesIO(row["masks"]))["shape"].tolist() == [64, 64]
    (tmp_path / "one.mp4").write_bytes(rows["c1"]["video"]["bytes"])
    credential = read_credential(tmp_path / "one.mp4")
    assert credential.standing is Standing.TRUSTED and credential.declares_synthetic is True


def test_films_are_not_packed_again(parquet: Path) -> None:
    groups = pq.ParquetFile(parquet / "data" / "train-000000.parquet").metadata.row_group(0)
    packed = {one.path_in_schema: one.compression for one in map(groups.column, range(groups.num_columns))}
    assert {packed[name] for name in ("video.bytes", "truth", "masks")} == {"UNCOMPRESSED"} and packed[
        "facts"
    ] == "ZSTD"


def test_what_the_readme_says_opens_the_folder(
    videofolder: Path, parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets", reason="Hugging Face datasets is not installed: pip install -e .[dev]")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for folder in (videofolder, parquet):
        text = (folder / "README.md").read_text()
        (code,) = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
        found: dict[str, Any] = {}
        exec(code.replace("FOLDER", str(folder)), found)
        film = found["films"]["train"][0]["video"]
        assert film["path"].endswith("c0.mp4") and "pip install torchcodec" in text


def test_parquet_streams(parquet: Path, tmp_path: Path) -> None:
    found = opened(tmp_path, "parquet", data_dir=str(parquet), split="test", streaming=True)
    assert [row["id"] for row in found] == ["c6", "c7"]


def test_shards_are_bounded_and_split_evenly_by_size(dataset: Path, tmp_path: Path) -> None:
    names = ("clips", "truth", "masks")
    each = [sum(p.stat().st_size for p in dataset.glob(f"*/c{n}.*") if p.parent.name in names) for n in range(4)]
    most = sum(each[:3])
    export_dataset(dataset, tmp_path / "out", "parquet", Wishes(shard_bytes=most))
    shards = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    assert shards == [
        "test-000000.parquet", "train-000000.parquet", "train-000001.parquet", "validation-000000.parquet"
    ]  # fmt: skip
    assert {s: p.num_rows for s, p in opened(tmp_path, str(tmp_path / "out")).items()} == SPLITS


def test_croissant_of_a_videofolder_is_valid_and_reads_its_labels(videofolder: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed: pip install -e .[dev]")
    described = mlcroissant.Dataset(jsonld=str(videofolder / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    labels = [record["samples/label"] for record in described.records("samples")]
    assert sorted(str(one, "utf-8") if isinstance(one, bytes) else one for one in labels) == 4 * ["real"] + 4 * [
        "synthetic"
    ]


def test_without_our_catalog_the_folder_is_imported_as_any_other(videofolder: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(videofolder, tmp_path / "out"))
    (out / "catalog.jsonl").unlink()
    made = import_corpus(out, tmp_path / "catalog")
    assert made.layout == "videofolder"
    found = {Path(sample.path).stem: sample for sample in made.catalog}
    for sample in Catalog.load(videofolder):
        one = found[sample.id]
        assert (one.sha256, one.split, one.person, one.source) == (
            sample.sha256, sample.split, sample.person, sample.source
        )  # fmt: skip
        if sample.id != "c7":
            assert (one.label, one.maker) == (sample.label, sample.maker)
    assert found["c5"].extra["segments"] == [[0.0, 0.1], [0.1, 0.3]]
    assert (found["c7"].label.value, found["c7"].extra["voice"]) == ("real", "synthetic")
