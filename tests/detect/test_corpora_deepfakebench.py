from __future__ import annotations

import json
from pathlib import Path

import pytest

from detect.corpora.deepfakebench import export_bench
from detect.corpora.importing import Wishes, import_corpus
from detect.detector import DetectError
from media.catalog import Catalog, Label, Sample
from media.clip import Clip
from media.video import read_image, write_clip

BASE = "FaceForensics++/original_sequences/youtube/c23/frames"


def pictures(root: Path, folder: str, count: int = 3) -> list[str]:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for n in range(count):
        (root / folder / f"{n:03d}.png").write_bytes(f"{folder}{n}".encode())
    return [f"{folder}/{n:03d}.png" for n in range(count)]


def without_empty(table: object) -> object:
    if not isinstance(table, dict):
        return table
    return {k: inner for k, v in table.items() if (inner := without_empty(v)) != {}}


def forensics(root: Path) -> dict[str, object]:
    forged = "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003"
    return {
        "FF-DF": {
            "FF-real": {"test": {"c23": {"000": {"label": "FF-real", "frames": pictures(root, f"{BASE}/000")}}}},
            "FF-DF": {"test": {"c23": {"000_003": {"label": "FF-DF", "frames": pictures(root, forged)}}}},
        }
    }


def celebrities(root: Path) -> dict[str, object]:
    real, forged = (pictures(root, f"Celeb-DF-v2/{n}") for n in ("YouTube-real/frames/00170", "fake/id0_id1_0000"))
    return {
        "Celeb-DF-v2": {
            "CelebDFv2_real": {"test": {"00170": {"label": "CelebDFv2_real", "frames": real}}},
            "CelebDFv2_fake": {"test": {"id0_id1_0000": {"label": "CelebDFv2_fake", "frames": forged}}},
        }
    }


@pytest.mark.parametrize("make", [forensics, celebrities])
def test_in_and_out_again_gives_the_same_json_with_and_without_compression(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    table = make(tmp_path)
    (tmp_path / "in.json").write_text(json.dumps(table))
    made = import_corpus(tmp_path / "in.json")
    assert len(made.catalog) == 2 and {s.split for s in made.catalog} == {"test"}
    told = export_bench(made.catalog, tmp_path, tmp_path / "out.json", name="x")
    assert without_empty(json.loads((tmp_path / "out.json").read_text())) == table
    assert told["compression"] is (make is forensics) and sorted(told["label_dict"].values()) == [0, 1]


def test_people_and_compression_come_from_names_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(forensics(tmp_path)))
    swap = next(s for s in import_corpus(tmp_path / "in.json").catalog if s.label is Label.SYNTHETIC)
    assert (swap.person, swap.source, swap.codec, swap.maker) == ("ff++/003", "ff++/000", "c23", "FF-DF")


def test_backslashes_and_a_drive_and_leading_folders_are_understood(tmp_path: Path) -> None:
    frames = [one.replace("/", "\\") for one in pictures(tmp_path / "rgb", f"{BASE}/000")]
    clips = {"000": {"label": "FF-real", "frames": [f"D:\\datasets\\rgb\\{one}" for one in frames]}}
    (tmp_path / "in.json").write_text(json.dumps({"F": {"FF-real": {"train": {"c23": clips}}}}))
    made = import_corpus(tmp_path / "in.json", tmp_path / "out", Wishes(files=tmp_path / "rgb"))
    assert [s.path for s in made.catalog] == [f"files/{BASE}/000"]


def test_a_train_list_that_holds_the_tested_clips_teaches_none_of_them(tmp_path: Path) -> None:
    both = {n: {"label": "C_real", "frames": pictures(tmp_path, f"real/{n}")} for n in ("00001", "00002")}
    table = {"C": {"C_real": {"train": both, "val": {"00001": both["00001"]}, "test": {"00001": both["00001"]}}}}
    (tmp_path / "in.json").write_text(json.dumps(table))
    said: list[str] = []
    made = import_corpus(tmp_path / "in.json", say=said.append)
    assert {Path(s.path).name: s.split for s in made.catalog} == {"00001": "test", "00002": "train"}
    assert any("2 clips are listed in two splits" in line for line in said)


def test_clips_of_one_name_in_two_folders_stay_two(tmp_path: Path) -> None:
    clip = lambda part: {"label": "D_Real", "frames": pictures(tmp_path, f"{part}/frames/aa")}  # noqa: E731
    table = {"D": {"D_Real": {"train": {"aa": clip("part_0")}, "test": {"aa": clip("part_1")}}}}
    (tmp_path / "in.json").write_text(json.dumps(table))
    assert {s.path for s in import_corpus(tmp_path / "in.json").catalog} == {"part_0/frames/aa", "part_1/frames/aa"}
    digests = [f"{n:064x}" for n in range(2)]
    twins = [Sample(p, p, Label.REAL, d, split="test") for p, d in zip(("a/x", "b/x"), digests, strict=True)]
    for name in ("a/x", "b/x"):
        pictures(tmp_path, name)
    export_bench(Catalog(twins), tmp_path, tmp_path / "out.json", name="T")
    out = json.loads((tmp_path / "out.json").read_text())
    assert len(out["T"]["T_Real"]["test"]) == 2


def test_missing_pictures_are_counted_and_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    table = celebrities(tmp_path)
    table["Celeb-DF-v2"]["CelebDFv2_real"]["test"]["gone"] = {"label": "CelebDFv2_real", "frames": ["q/w/e.png"]}  # type: ignore[index]
    (tmp_path / "in.json").write_text(json.dumps(table))
    assert len(import_corpus(tmp_path / "in.json").missing) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(DetectError, match="its lists name 3"):
        import_corpus(tmp_path / "in.json", wishes=Wishes(files=tmp_path / "empty"))


def test_a_clip_is_never_found_in_the_folder_of_another_method(tmp_path: Path) -> None:
    def clip(part: str) -> dict[str, object]:
        return {"label": part, "frames": pictures(tmp_path, f"rgb/FF/{part}/c23/frames/000_003")}

    table = {"FF": {part: {"test": {"000_003": clip(part)}} for part in ("FF-DF", "FF-NT")}}
    (tmp_path / "in.json").write_text(json.dumps(table))
    with pytest.raises(DetectError, match="its lists name 2"):
        import_corpus(tmp_path / "in.json", tmp_path / "a", Wishes(files=tmp_path / "rgb" / "FF" / "other"))
    one = import_corpus(tmp_path / "in.json", tmp_path / "b", Wishes(files=tmp_path / "rgb" / "FF" / "FF-NT"))
    assert [s.maker for s in one.catalog] == ["FF-NT"] and len(one.missing) == 1
    both = import_corpus(tmp_path / "in.json", tmp_path / "c", Wishes(files=tmp_path / "rgb" / "FF"))
    assert [s.maker for s in both.catalog] == ["FF-DF", "FF-NT"]


def test_one_clip_with_two_labels_is_refused(tmp_path: Path) -> None:
    frames = pictures(tmp_path, "x/y")
    table = {"D": {k: {"test": {"y": {"label": k, "frames": frames}}} for k in ("D_Real", "D_Fake")}}
    (tmp_path / "in.json").write_text(json.dumps(table))
    with pytest.raises(DetectError, match="real and synthetic"):
        import_corpus(tmp_path / "in.json")


@pytest.mark.parametrize("content", ["[1, 2]", '{"a": 3}', '{"a": {"b": 4}}', "{"])
def test_a_json_of_another_kind_is_refused_by_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(content)
    with pytest.raises(DetectError, match=r"in\.json"):
        import_corpus(tmp_path / "in.json")


def test_films_are_written_out_as_evenly_spread_pictures(counting_clip: Clip, tmp_path: Path) -> None:
    write_clip(counting_clip, tmp_path / "a.mp4")
    catalog = Catalog([Sample("a", "a.mp4", Label.SYNTHETIC, "0" * 64, split="val")])
    with pytest.raises(DetectError, match="--frames"):
        export_bench(catalog, tmp_path, tmp_path / "out.json", name="made")
    told = export_bench(catalog, tmp_path, tmp_path / "out.json", name="made", frames=tmp_path / "rgb", count=5)
    clip = json.loads((tmp_path / "out.json").read_text())["made"]["made_Fake"]["val"]["a"]
    assert clip["frames"] == [f"a/{n:03d}.png" for n in (5, 15, 25, 35, 45)]
    greys = [float(read_image(tmp_path / "rgb" / one).mean()) for one in clip["frames"]]
    assert greys == pytest.approx([20 + 4 * n for n in (5, 15, 25, 35, 45)], abs=3)
    assert told["label_dict"] == {"made_Fake": 1} and told["rgb_dir"] == str(tmp_path / "rgb")
