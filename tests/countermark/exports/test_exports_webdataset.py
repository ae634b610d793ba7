"""WebDataset shards, opened by the real `webdataset` (the `dev` extra), and their bytes."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_dataset import PARTS

from countermark.exports import Wishes, export_dataset
from detect.corpora.importing import import_corpus
from media.catalog import Catalog
from provenance.files import sha256_of

pytestmark = pytest.mark.usefixtures("same_home")


@pytest.fixture(scope="module")
def shards(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_dataset(dataset, tmp_path_factory.mktemp("tars") / "out", "webdataset").folder


def test_webdataset_reads_every_clip_with_all_that_belongs_to_it(shards: Path, dataset: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed: pip install -e .[dev]")
    index = json.loads((shards / "index.json").read_text())
    assert index["clips"] == {"train": 4, "validation": 2, "test": 2}
    known = {sample.id: sample for sample in Catalog.load(dataset)}
    seen = []
    for shard in index["shards"]:
        assert sha256_of(shards / shard["name"]) == shard["sha256"]
        for found in webdataset.WebDataset(str(shards / shard["name"]), shardshuffle=False):
            sample, told = known[found["__key__"]], json.loads(found["json"])
            seen.append(found["__key__"])
            assert hashlib.sha256(found["mp4"]).hexdigest() == sample.sha256
            assert (told["id"], told["label"], told["person"]) == (sample.id, sample.label.value, sample.person)
            assert (told["segments"] or []) == PARTS.get(sample.id, [])
            assert json.loads(told["facts"])["language"] == "en"
            assert pq.read_table(io.BytesIO(found["truth.parquet"])).num_rows == sample.extra["frames"]
            assert ("masks.npz" in found) is (sample.extra["masks"] is not None)
            if "masks.npz" in found:
                assert np.load(io.BytesIO(found["masks.npz"]))["bits"].shape == (10, 512)
    assert sorted(seen) == sorted(known) and len(seen) == len(set(seen))


def test_the_same_catalog_gives_the_same_archives(dataset: Path, shards: Path, tmp_path: Path) -> None:
    export_dataset(dataset, tmp_path / "again", "webdataset")
    names = sorted(path.name for path in shards.glob("*.tar"))
    assert names == ["test-000000.tar", "train-000000.tar", "validation-000000.tar"]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (shards / name).read_bytes()
    with tarfile.open(shards / "train-000000.tar") as archive:
        members = archive.getmembers()
    assert [m.name for m in members[:7]] == [
        "c0.json", "c0.mp4", "c0.truth.parquet", "c1.json", "c1.masks.npz", "c1.mp4", "c1.truth.parquet"
    ]  # fmt: skip
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}


def test_shards_are_bounded(dataset: Path, tmp_path: Path) -> None:
    export_dataset(dataset, tmp_path / "out", "webdataset", Wishes(shard_bytes=1))
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert len(index["shards"]) == 8 and {shard["samples"] for shard in index["shards"]} == {1}
    assert [s["name"] for s in index["shards"] if s["split"] == "train"] == [f"train-00000{n}.tar" for n in range(4)]


def test_the_readme_opens_every_shard_of_a_split(dataset: Path, shards: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed: pip install -e .[dev]")
    export_dataset(dataset, tmp_path / "out", "webdataset", Wishes(shard_bytes=1))
    for folder in (tmp_path / "out", shards):
        (names,) = re.findall(r'WebDataset\("FOLDER/(.+?)"', (folder / "README.md").read_text())
        found = webdataset.WebDataset(f"{folder}/{names}", shardshuffle=False).decode()
        assert [one["json"]["id"] for one in found] == ["c0", "c1", "c2", "c3"]


def test_ids_with_dots_and_folders_stay_apart_as_keys(dataset: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed: pip install -e .[dev]")
    odd = {"c0": "a/clip.v1.mp4", "c1": "a/clip.v2.mp4"}
    lines = [json.loads(line) for line in (dataset / "catalog.jsonl").read_text().splitlines()]
    for name in ("clips", "truth", "masks"):
        shutil.copytree(dataset / name, tmp_path / "ds" / name)
    text = "".join(json.dumps(line | {"id": odd.get(line["id"], line["id"])}) + "\n" for line in lines)
    (tmp_path / "ds" / "catalog.jsonl").write_text(text)
    export_dataset(tmp_path / "ds", tmp_path / "out", "webdataset", Wishes(split="train"))
    found = list(webdataset.WebDataset(str(tmp_path / "out" / "train-000000.tar"), shardshuffle=False))
    assert [json.loads(one["json"])["id"] for one in found] == ["a/clip.v1.mp4", "a/clip.v2.mp4", "c2", "c3"]


def test_unpacked_shards_are_imported(shards: Path, dataset: Path, tmp_path: Path) -> None:
    for shard in shards.glob("*.tar"):
        with tarfile.open(shard) as archive:
            archive.extractall(tmp_path / "raw" / shard.name.rsplit("-", 1)[0], filter="data")
    found = import_corpus(tmp_path / "raw", tmp_path / "catalog")
    assert found.layout == "webdataset" and found.counts == {
        "test/real": 2, "train/real": 2, "train/synthetic": 2, "val/real": 1, "val/synthetic": 1
    }  # fmt: skip
    assert {s.sha256 for s in found.catalog} == {s.sha256 for s in Catalog.load(dataset)}
