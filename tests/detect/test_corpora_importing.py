from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from detect.cli import app
from detect.corpora.importing import Wishes, import_corpus
from detect.corpora.on_disk import digest_of, pictures_in
from detect.corpora.table import read_dataset
from detect.detector import DetectError
from media.catalog import Catalog


def uadfv(root: Path) -> Path:
    for name in ("real/0000.mp4", "fake/0000_fake.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_the_catalog_lies_elsewhere_and_leads_to_the_clips(tmp_path: Path) -> None:
    made = import_corpus(uadfv(tmp_path / "uadfv"), tmp_path / "out")
    assert made.file == tmp_path / "out" / "catalog.jsonl" and made.layout == "uadfv"
    root, catalog = read_dataset(tmp_path / "out")
    assert sorted((root / s.path).read_bytes() for s in catalog) == [b"fake/0000_fake.mp4", b"real/0000.mp4"]
    assert not list((tmp_path / "uadfv").glob("*.jsonl"))
    forged = next(s for s in catalog if s.label == "synthetic")
    assert forged.extra["original"] == "real/0000.mp4" in {s.id for s in catalog}
    assert forged.extra["corpus"] == "uadfv"


def test_without_another_folder_the_catalog_lies_in_the_dataset(tmp_path: Path) -> None:
    made = import_corpus(uadfv(tmp_path))
    assert made.file == tmp_path / "catalog.jsonl"
    assert {s.path for s in made.catalog} == {"real/0000.mp4", "fake/0000_fake.mp4"}


def test_a_folder_above_the_dataset_needs_no_link(tmp_path: Path) -> None:
    made = import_corpus(uadfv(tmp_path / "deep" / "uadfv"), tmp_path)
    assert {s.path for s in made.catalog} == {"deep/uadfv/real/0000.mp4", "deep/uadfv/fake/0000_fake.mp4"}
    assert not (tmp_path / "files").exists()


def test_the_same_import_again_gives_the_same_bytes(tmp_path: Path) -> None:
    uadfv(tmp_path / "uadfv")
    first = import_corpus(tmp_path / "uadfv", tmp_path / "out").file.read_bytes()
    assert import_corpus(tmp_path / "uadfv", tmp_path / "out").file.read_bytes() == first


def test_a_catalog_of_another_dataset_is_never_replaced(tmp_path: Path) -> None:
    import_corpus(uadfv(tmp_path / "a"), tmp_path / "out")
    (tmp_path / "b" / "dev" / "mp4" / "id00012" / "abc").mkdir(parents=True)
    (tmp_path / "b" / "dev" / "mp4" / "id00012" / "abc" / "00001.mp4").write_bytes(b"x")
    with pytest.raises(DetectError, match="another dataset"):
        import_corpus(tmp_path / "b", tmp_path / "out")
    assert Catalog.load(tmp_path / "out").samples[0].extra["corpus"] == "uadfv"


def test_a_folder_of_no_known_layout_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match=r"no known layout.*corpora list.*--layout"):
        import_corpus(tmp_path)


def test_a_dataset_one_folder_deeper_is_pointed_at(tmp_path: Path) -> None:
    uadfv(tmp_path / "UADFV")
    with pytest.raises(DetectError, match="UADFV in it is uadfv; name that folder"):
        import_corpus(tmp_path)


def test_nothing_at_all_is_an_error_that_counts_what_lists_name(tmp_path: Path) -> None:
    (tmp_path / "Celeb-real").mkdir()
    (tmp_path / "List_of_testing_videos.txt").write_text("1 Celeb-real/id0_0000.mp4\n")
    with pytest.raises(DetectError, match=r"no clip of celeb-df is here, though its lists name 1"):
        import_corpus(tmp_path)


def test_a_compression_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match="have no compression level"):
        import_corpus(uadfv(tmp_path), wishes=Wishes(codec="c23"))


def test_a_folder_of_pictures_has_a_digest_of_its_own(tmp_path: Path) -> None:
    for name in ("2.png", "10.png", "1.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / ".hidden.png").write_bytes(b"x")
    assert [p.name for p in pictures_in(tmp_path)] == ["1.png", "2.png", "10.png"]
    before = digest_of(tmp_path)
    (tmp_path / "10.png").write_bytes(b"other")
    assert digest_of(tmp_path) != before


def test_a_table_is_still_read_and_may_be_catalogued_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.mp4").write_bytes(b"a")
    (tmp_path / "data" / "clips.csv").write_text("file,label,split\na.mp4,fake,val\n")
    made = import_corpus(tmp_path / "data", tmp_path / "out")
    assert made.layout == "table" and made.counts == {"val/synthetic": 1}
    said: list[str] = []
    import_corpus(tmp_path / "data", tmp_path / "out", Wishes(split="own"), said.append)
    assert len(said) == 1 and "no effect" in said[0]
    root, catalog = read_dataset(tmp_path / "out")
    assert (root / catalog.samples[0].path).read_bytes() == b"a"


def test_the_commands_list_import_and_refuse(tmp_path: Path) -> None:
    call = CliRunner().invoke
    listed = [json.loads(line) for line in call(app, ["corpora", "list"]).stdout.splitlines()]
    names = [row["layout"] for row in listed]
    assert names[:3] == ["table", "catalog", "deepfakebench"] and len(names) == len(set(names)) >= 18
    assert all(row["ask"] and row["paper"] and row["licence"] for row in listed[2:])
    uadfv(tmp_path / "uadfv")
    told = call(app, ["corpora", "import", str(tmp_path / "uadfv"), "-o", str(tmp_path / "out"), "--split", "none"])
    assert json.loads(told.stdout)["counts"] == {"no split/real": 1, "no split/synthetic": 1}
    wrong = call(app, ["corpora", "import", str(tmp_path / "uadfv"), "--split", "random"])
    assert wrong.exit_code == 2 and "published, own, test, none" in wrong.stderr and not wrong.stdout
    unknown = call(app, ["corpora", "import", str(tmp_path / "uadfv"), "--layout", "ffhq"])
    assert unknown.exit_code == 1 and "known are faceforensics++" in unknown.stderr
    assert len(unknown.stderr.strip().splitlines()) == 1


def test_a_missing_clip_is_one_line_on_stderr_and_no_error(tmp_path: Path) -> None:
    root = tmp_path / "celeb"
    (root / "YouTube-real").mkdir(parents=True)
    (root / "Celeb-real").mkdir()
    (root / "YouTube-real" / "00170.mp4").write_bytes(b"x")
    lines = ["1 YouTube-real/00170.mp4", "1 YouTube-real/00208.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4"]
    (root / "List_of_testing_videos.txt").write_text("\n".join(lines) + "\n")
    told = CliRunner().invoke(app, ["corpora", "import", str(root), "-o", str(tmp_path / "out")])
    assert told.exit_code == 0 and json.loads(told.stdout)["missing"] == 2
    (line,) = told.stderr.strip().splitlines()
    assert line.startswith("2 clips are named") and "00208.mp4" in line
