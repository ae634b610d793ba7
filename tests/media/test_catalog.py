"""A catalog keeps its splits honest, its files whole and its errors findable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from media.catalog import Catalog, Label, Sample
from media.clip import MediaError

DIGEST = "0123456789abcdef" * 4


def sample(number: int, **changes: Any) -> Sample:
    values: dict[str, Any] = {
        "id": f"s{number}",
        "path": f"clips/s{number}.mp4",
        "label": Label.REAL,
        "sha256": DIGEST,
        "person": f"p{number}",
        "source": f"r{number}",
        "split": "train",
        "fps": "30000/1001",
        "seconds": 2.0,
    }
    return Sample(**{**values, **changes})


def test_a_catalog_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    samples = [
        sample(
            1, seed=7, width=512, height=512, has_sound=True, extra={"group": "a\u2028b", "controls": {"gaze": [1, 2]}}
        ),
        sample(2, label=Label.SYNTHETIC, maker="mesh", person=None, license="CC0-1.0", consent="nobody is shown"),
    ]
    path = Catalog(samples).save(tmp_path)
    assert path == tmp_path / "catalog.jsonl"
    loaded = Catalog.load(tmp_path)
    assert list(loaded) == samples
    assert loaded.name == tmp_path.name
    assert loaded.samples[0].frame_rate == Fraction(30_000, 1001)
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first


def test_every_line_is_an_object_with_its_schema(tmp_path: Path) -> None:
    lines = Catalog([sample(1), sample(2, seed=None)]).save(tmp_path).read_text().splitlines()
    values = [json.loads(line) for line in lines]
    assert [value["schema"] for value in values] == [1, 1]
    assert values[0]["label"] == "real"
    assert "seed" not in values[0]


def test_keys_of_others_are_kept(tmp_path: Path) -> None:
    line = {"schema": 1, "id": "a", "path": "a.mp4", "label": "synthetic", "sha256": DIGEST, "mood": "calm"}
    (tmp_path / "catalog.jsonl").write_text(json.dumps(line) + "\n\n")
    catalog = Catalog.load(tmp_path)
    assert catalog.samples[0].extra == {"mood": "calm"}
    catalog.save(tmp_path)
    assert json.loads((tmp_path / "catalog.jsonl").read_text()) == line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": ""}, "id must be"),
        ({"label": "fake"}, "label must be real or synthetic, got 'fake'"),
        ({"sha256": DIGEST.upper()}, "sha256"),
        ({"sha256": DIGEST[:-1]}, "sha256"),
        ({"path": "/etc/passwd"}, "inside the folder"),
        ({"path": "../a.mp4"}, "inside the folder"),
        ({"path": "a/../../b.mp4"}, "inside the folder"),
        ({"path": "C:/a.mp4"}, "inside the folder"),
        ({"path": "a\\b.mp4"}, "forward slashes"),
        ({"path": "."}, "inside the folder"),
        ({"path": ""}, "relative path"),
        ({"fps": "25"}, "ratio"),
        ({"fps": "0/1"}, "ratio"),
        ({"fps": 25}, "ratio"),
        ({"seconds": float("nan")}, "seconds"),
        ({"seconds": -1}, "seconds"),
        ({"width": 0}, "width must be positive"),
        ({"seed": "7"}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"person": ""}, "person must be"),
        ({"has_sound": "yes"}, "has_sound"),
        ({"extra": {"label": "real"}}, "must not repeat"),
    ],
)
def test_a_sample_refuses_nonsense(changes: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sample(1, **changes)


def test_a_sample_cannot_be_changed_behind_its_back() -> None:
    extra = {"group": "a"}
    one = sample(1, extra=extra)
    extra["group"] = "b"
    assert one.extra["group"] == "a"
    with pytest.raises(TypeError):
        one.extra["group"] = "c"  # type: ignore[index]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (sample(2, id="s1"), "id 's1' is there twice: clips/s1.mp4 and clips/s2.mp4"),
        (sample(2, path="clips/s1.mp4"), "path 'clips/s1.mp4' is there twice"),
        (sample(2, person="p1", split="val"), r"person 'p1' is in two splits: s1 \(train\) and s2 \(val\)"),
        (sample(2, source="r1", split="val"), r"source 'r1' is in two splits: s1 \(train\) and s2 \(val\)"),
    ],
)
def test_what_would_leak_between_splits_is_refused_by_both_names(second: Sample, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Catalog([sample(1), second])


def test_one_person_may_have_many_clips_in_one_split_and_unknown_persons_clash_with_nobody() -> None:
    Catalog([sample(1), sample(2, person="p1"), sample(3, person=None), sample(4, person=None, split="val")])
    Catalog([sample(1), sample(2, person="p1", split=None)])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['{"schema": 1'], ":1: not JSON"),
        (['{"schema": 1, "seconds": NaN}'], ":1: NaN is no JSON number"),
        (["", "[]"], ":2: a line must be an object"),
        (['{"schema": 2}'], ":1: schema must be 1, got 2"),
        (['{"id": "a"}'], ":1: schema must be 1, got None"),
        (['{"schema": 1, "id": "a"}'], ":1: fields are missing: path, label, sha256"),
        (
            [json.dumps({"schema": 1, "id": "a", "path": "a", "label": "fake", "sha256": DIGEST})],
            ":1: label must be real or synthetic",
        ),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, lines: list[str], words: str) -> None:
    path = tmp_path / "catalog.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(MediaError) as caught:
        Catalog.load(tmp_path)
    assert str(path) + words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_leak_in_a_file_and_a_missing_file_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="there is no catalog"):
        Catalog.load(tmp_path)
    lines = [json.dumps(s.to_json()) for s in (sample(1), sample(2, person="p1", split="val"))]
    (tmp_path / "catalog.jsonl").write_text("\n".join(lines))
    with pytest.raises(MediaError, match="person 'p1' is in two splits"):
        Catalog.load(tmp_path)
    (tmp_path / "catalog.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MediaError, match="cannot be read"):
        Catalog.load(tmp_path)


def test_a_save_that_fails_leaves_the_old_catalog_and_nothing_else(tmp_path: Path) -> None:
    Catalog([sample(1)]).save(tmp_path)
    before = (tmp_path / "catalog.jsonl").read_bytes()
    with pytest.raises(MediaError, match="cannot be written"):
        Catalog([sample(1, extra={"bad": float("nan")})]).save(tmp_path)
    assert (tmp_path / "catalog.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.jsonl"]
    with pytest.raises(MediaError, match="cannot be written"):
        Catalog([sample(1)]).save(tmp_path / "nowhere")


def test_filters_and_counts(tmp_path: Path) -> None:
    catalog = Catalog([sample(1), sample(2, label="synthetic", split="val"), sample(3, split="val", seconds=5.0)])
    assert [s.id for s in catalog.filter(split="val", label=Label.REAL)] == ["s3"]
    assert [s.id for s in catalog.filter(lambda s: (s.seconds or 0) > 3)] == ["s3"]
    assert catalog.counts("split", "label") == {("train", "real"): 1, ("val", "synthetic"): 1, ("val", "real"): 1}
    with pytest.raises(ValueError, match="has no field colour"):
        catalog.filter(colour="red")
    assert len(catalog.filter(split="test")) == 0


def test_the_frame_has_a_row_a_sample_and_a_column_a_field() -> None:
    table = Catalog([sample(1, extra={"group": "g"}), sample(2, label="synthetic")]).frame()
    assert table.shape[0] == 2
    assert list(table["label"]) == ["real", "synthetic"]
    assert table.loc[0, "group"] == "g"
    assert {"id", "path", "person", "fps", "consent"} <= set(table.columns)
    assert Catalog([]).frame().empty


def test_a_changed_copy_is_checked_again() -> None:
    with pytest.raises(ValueError, match="inside the folder"):
        replace(sample(1), path="../x.mp4")
