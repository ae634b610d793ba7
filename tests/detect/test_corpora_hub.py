"""Hugging Face videofolder and unpacked WebDataset shards, as others publish them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from detect.corpora.importing import import_corpus
from detect.corpora.known import recognised
from detect.detector import DetectError
from media.catalog import Label

ROWS: dict[str, list[dict[str, Any]]] = {
    "train": [
        {"file_name": "a.mp4", "label": "real", "person": "ada", "source": "film-1", "maker": "cam", "seconds": 2.0},
        {"file_name": "0000/b.mp4", "label": "fake", "person": "ada", "method": "swap", "language": "en"},
    ],
    "validation": [
        {"file_name": "c.mp4", "label": "synthetic", "speaker": "bo", "generator": "gan",
         "segments": '[{"start_seconds": 0.5, "end_seconds": 1.0, "what": "both"}]', "facts": '{"crf": 23}'},
        {"file_name": "d.mp4", "label": "synthetic", "segments": [{"start_seconds": 0, "end_seconds": 1,
         "what": "sound"}]},
    ],
}  # fmt: skip


def videofolder(root: Path, rows: dict[str, list[dict[str, Any]]] = ROWS) -> Path:
    for split, lines in rows.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        for row in lines:
            (root / split / row["file_name"]).parent.mkdir(exist_ok=True)
            (root / split / row["file_name"]).write_bytes(row["file_name"].encode())
        (root / split / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    return root


def test_a_videofolder_is_read_with_splits_makers_people_and_segments(tmp_path: Path) -> None:
    layout = recognised(videofolder(tmp_path / "vf"))
    assert layout is not None and layout.name == "videofolder"
    found = {Path(s.path).stem: s for s in import_corpus(tmp_path / "vf", tmp_path / "out").catalog}
    assert {name: (s.split, s.label, s.maker) for name, s in found.items()} == {
        "a": ("train", Label.REAL, "cam"),
        "b": ("train", Label.SYNTHETIC, "swap"),
        "c": ("val", Label.SYNTHETIC, "gan"),
        "d": ("val", Label.REAL, "unknown real"),
    }
    assert (found["a"].person, found["a"].source, found["a"].seconds) == ("ada", "film-1", 2.0)
    assert found["c"].person == "bo" and found["c"].extra["segments"] == [[0.5, 1.0]]
    assert (found["b"].extra["language"], found["c"].extra["crf"]) == ("en", 23)
    assert found["d"].extra["voice"] == "synthetic", "only its sound is forged, and a label is of the picture"


def test_a_file_that_is_named_and_not_there_is_counted(tmp_path: Path) -> None:
    videofolder(tmp_path)
    (tmp_path / "train" / "a.mp4").unlink()
    assert import_corpus(tmp_path, tmp_path / "out").missing == ("train/a.mp4",)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": 1}, r"metadata\.jsonl:1: label must be real, synthetic or fake, got 1"),
        ({"file_name": "../a.mp4", "label": "real"}, "must be a path inside its folder"),
        ({"label": "fake", "segments": "[[1, 2, 3]]"}, "segments must tell"),
        ({"label": "fake", "segments": '[{"start": 1}]'}, "segments must tell"),
    ],
)
def test_a_row_that_is_wrong_is_named_by_its_line(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.mp4"} | row) + "\n")
    with pytest.raises(DetectError, match=reason) as caught:
        import_corpus(tmp_path, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_unpacked_shards_are_read_and_packed_ones_say_what_to_do(tmp_path: Path) -> None:
    files = {"k1.mp4": b"1", "k1.json": b'{"label": "real", "person": "ada"}',
             "k2.mp4": b"2", "k2.json": b'{"label": "synthetic", "maker": "gan"}'}  # fmt: skip
    (tmp_path / "raw").mkdir()
    for name, content in files.items():
        (tmp_path / "raw" / name).write_bytes(content)
    (tmp_path / "ds").mkdir()
    with tarfile.open(tmp_path / "ds" / "test-000000.tar", "w") as archive:
        for name in sorted(files):
            archive.add(tmp_path / "raw" / name, name)
    with pytest.raises(DetectError, match=r"still packed; unpack .*mkdir -p test && tar -xf test-000000\.tar -C test"):
        import_corpus(tmp_path / "ds", tmp_path / "out")
    with tarfile.open(tmp_path / "ds" / "test-000000.tar") as archive:
        archive.extractall(tmp_path / "ds" / "test", filter="data")
    made = import_corpus(tmp_path / "ds", tmp_path / "out")
    assert made.layout == "webdataset" and made.counts == {"test/real": 1, "test/synthetic": 1}
    assert {s.maker for s in made.catalog} == {"unknown real", "gan"}


def test_a_folder_with_a_catalog_of_ours_is_read_by_that(tmp_path: Path) -> None:
    videofolder(tmp_path)
    (tmp_path / "catalog.jsonl").write_text("")
    assert recognised(tmp_path) is None
