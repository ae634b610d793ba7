"""Every layout on a tiny fabricated tree; where only names matter, a file holds its own path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from detect.corpora.entry import Entry, Reading, Request
from detect.corpora.importing import Wishes, import_corpus
from detect.corpora.known import LAYOUTS, layout_named, recognised
from detect.detector import DetectError
from media.catalog import Label

REAL, SYNTHETIC = Label.REAL, Label.SYNTHETIC


def grow(root: Path, *paths: str, **lists: str) -> Path:
    """A tree of files; each holds its own path, so that no two are the same."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


def put(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def look(folder: Path, name: str, **asked: object) -> tuple[Reading, Mapping[str, Entry]]:
    layout = recognised(folder)
    assert layout is not None and layout.name == name
    reading = layout.read(folder, Request(**asked))  # type: ignore[arg-type]
    return reading, {e.path: e for e in reading.entries}


# ------------------------------------------------------------------------------------------ FaceForensics++


def forensics(root: Path, codec: str = "c23") -> Path:
    real = [f"original_sequences/youtube/{codec}/videos/{n}.mp4" for n in ("000", "003", "071", "054")]
    forged = [
        f"manipulated_sequences/{method}/{codec}/videos/{pair}.mp4"
        for method in ("Deepfakes", "NeuralTextures")
        for pair in ("000_003", "003_000", "071_054", "054_071")
    ]
    put(root / "train.json", [["000", "003"]])
    put(root / "val.json", [["071", "054"]])
    put(root / "test.json", [])
    return grow(root, *real, *forged, "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4")


def test_both_forgeries_of_a_pair_are_in_the_split_of_the_pair(tmp_path: Path) -> None:
    _, found = look(forensics(tmp_path), "faceforensics++")
    splits = {path.split("/")[1] + "/" + Path(path).stem: e.split for path, e in found.items()}
    for method in ("Deepfakes", "NeuralTextures"):
        assert splits[f"{method}/000_003"] == splits[f"{method}/003_000"] == "train"
        assert splits[f"{method}/071_054"] == splits[f"{method}/054_071"] == "val"
    assert splits["youtube/000"] == splits["youtube/003"] == "train" and len(found) == 12


def test_a_swap_shows_the_source_and_a_reenactment_the_target(tmp_path: Path) -> None:
    _, found = look(forensics(tmp_path), "faceforensics++")
    swap = found["manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"]
    moved = found["manipulated_sequences/NeuralTextures/c23/videos/000_003.mp4"]
    assert (swap.person, swap.source, set(swap.people)) == ("ff++/003", "ff++/000", {"ff++/000", "ff++/003"})
    assert (moved.person, moved.maker, moved.codec) == ("ff++/000", "NeuralTextures", "c23")
    assert swap.masks == "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4" and moved.masks is None
    assert swap.original == "original_sequences/youtube/c23/videos/000.mp4"


def test_clips_of_one_name_in_two_compressions_and_methods_are_never_merged(tmp_path: Path) -> None:
    forensics(forensics(tmp_path), "c40")
    _, found = look(tmp_path, "faceforensics++")
    assert len(found) == 24 and {e.codec for e in found.values()} == {"c23", "c40"}
    heavy = found["manipulated_sequences/Deepfakes/c40/videos/000_003.mp4"]
    assert heavy.original == "original_sequences/youtube/c40/videos/000.mp4"
    made = import_corpus(tmp_path, tmp_path / "out")
    assert len({s.id for s in made.catalog}) == len({s.sha256 for s in made.catalog}) == 24


def test_missing_published_lists_are_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    forensics(tmp_path)
    (tmp_path / "val.json").unlink()
    with pytest.raises(DetectError, match=r"train\.json, val\.json and test\.json .*--lists.*--split own"):
        look(tmp_path, "faceforensics++")
    made = import_corpus(tmp_path, tmp_path / "out", Wishes(split="own"))
    assert len(made.catalog) == 12 and {s.split for s in made.catalog} == {"train", "val"}


def test_published_lists_may_lie_elsewhere_and_may_hold_numbers(tmp_path: Path) -> None:
    forensics(tmp_path / "ff")
    for name in ("train.json", "val.json", "test.json"):
        (tmp_path / "ff" / name).unlink()
    put(tmp_path / "lists" / "train.json", [[0, 3]])
    put(tmp_path / "lists" / "val.json", [])
    put(tmp_path / "lists" / "test.json", [["071", "054"]])
    _, found = look(tmp_path / "ff", "faceforensics++", lists=tmp_path / "lists")
    assert found["original_sequences/youtube/c23/videos/003.mp4"].split == "train"
    with pytest.raises(DetectError, match=r"no .*train\.json"):
        look(tmp_path / "ff", "faceforensics++", lists=tmp_path)


def test_listed_clips_that_are_not_there_are_counted_and_unlisted_ones_left_out(tmp_path: Path) -> None:
    forensics(tmp_path)
    put(tmp_path / "test.json", [["100", "101"]])
    grow(tmp_path, "original_sequences/youtube/c23/videos/555.mp4")
    reading, found = look(tmp_path, "faceforensics++")
    assert len(found) == 12 and reading.left_out == {"in no list of the publisher": 1}
    # two recordings, and two forgeries of each of two methods
    assert len(reading.missing) == 6 and "Deepfakes c23: 100_101" in reading.missing


def test_a_pair_in_two_lists_is_refused(tmp_path: Path) -> None:
    forensics(tmp_path)
    put(tmp_path / "test.json", [["000", "054"]])
    with pytest.raises(DetectError, match=r"test\.json: 000 is also in another list"):
        look(tmp_path, "faceforensics++")


def test_frames_stand_for_films_that_were_unpacked(tmp_path: Path) -> None:
    for name in ("train.json", "val.json"):
        put(tmp_path / name, [])
    put(tmp_path / "test.json", [["000", "003"]])
    grow(tmp_path, *(f"original_sequences/youtube/c23/frames/000/{n}.png" for n in range(12)))
    _, found = look(tmp_path, "faceforensics++")
    assert list(found) == ["original_sequences/youtube/c23/frames/000"]


def test_paid_actors_are_tested_on_and_named_apart(tmp_path: Path) -> None:
    grow(
        tmp_path,
        "original_sequences/actors/c23/videos/01__meeting_serious.mp4",
        "original_sequences/actors/c23/videos/02__meeting_serious.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__meeting_serious__YVGY8LOK.mp4",
        "manipulated_sequences/DeepFakeDetection/masks/videos/01_02__meeting_serious__YVGY8LOK.mp4",
    )
    _, found = look(tmp_path, "faceforensics++")
    forged = found["manipulated_sequences/DeepFakeDetection/c23/videos/01_02__meeting_serious__YVGY8LOK.mp4"]
    assert (forged.person, forged.source, forged.split) == ("dfd/02", "dfd/01__meeting_serious", "test")
    assert forged.original == "original_sequences/actors/c23/videos/01__meeting_serious.mp4"
    assert forged.masks and {e.split for e in found.values()} == {"test"}


# ------------------------------------------------------------------------------------------ Celeb-DF


def celebrities(root: Path) -> Path:
    grow(
        root,
        *(f"Celeb-real/id{n}_{k:04d}.mp4" for n in range(6) for k in range(2)),
        *(f"Celeb-synthesis/id{a}_id{b}_0000.mp4" for a in range(6) for b in range(6) if a != b),
        *(f"YouTube-real/{n:05d}.mp4" for n in range(4)),
    )
    tested = ["1 YouTube-real/00000.mp4", "1 Celeb-real/id0_0000.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4"]
    put(root / "List_of_testing_videos.txt", "\n".join(tested) + "\n")
    return root


def test_one_means_real_in_the_test_list_and_its_first_line_is_a_clip(tmp_path: Path) -> None:
    _, found = look(celebrities(tmp_path), "celeb-df")
    assert (found["YouTube-real/00000.mp4"].label, found["YouTube-real/00000.mp4"].split) == (REAL, "test")
    forged = found["Celeb-synthesis/id0_id1_0000.mp4"]
    assert (forged.label, forged.split, forged.person) == (SYNTHETIC, "test", "celeb-df/id1")
    assert forged.original == "Celeb-real/id0_0000.mp4"
    assert sum(e.split == "test" for e in found.values()) == 3


def test_a_folder_of_reals_with_a_small_letter_is_read_as_well(tmp_path: Path) -> None:
    (celebrities(tmp_path) / "YouTube-real").rename(tmp_path / "Youtube-real")
    reading, found = look(tmp_path, "celeb-df")
    assert found["Youtube-real/00000.mp4"].split == "test" and not reading.missing


def test_an_inverted_test_list_is_refused_by_its_line(tmp_path: Path) -> None:
    put(celebrities(tmp_path) / "List_of_testing_videos.txt", "0 YouTube-real/00000.mp4\n")
    with pytest.raises(DetectError, match=r"line 1: 0 says synthetic .*1 means real"):
        look(tmp_path, "celeb-df")


def test_the_rest_is_shared_out_by_people_who_are_not_tested_on(tmp_path: Path) -> None:
    made = import_corpus(celebrities(tmp_path / "celeb"), tmp_path / "out")
    splits: dict[str, set[str | None]] = {}
    for s in made.catalog:
        for who in s.extra.get("people", ()):  # type: ignore[union-attr]
            splits.setdefault(str(who), set()).add(s.split)
    assert all(len(found) == 1 for found in splits.values())
    assert splits["celeb-df/id0"] == splits["celeb-df/id1"] == {"test"}
    assert {"train", "val"} <= {s.split for s in made.catalog}
    assert made.counts["test/synthetic"] == 1 and sum(made.left_out.values()) > 0


def test_a_person_is_on_one_side_also_when_shared_out_anew(tmp_path: Path) -> None:
    made = import_corpus(celebrities(tmp_path / "celeb"), tmp_path / "out", Wishes(split="own"))
    assert {s.split for s in made.catalog} == {"train", "val", "test"}
    sides = {(s.extra["people"][0], s.split) for s in made.catalog if s.person}  # type: ignore[index]
    assert len(sides) == len({who for who, _ in sides})


def test_a_listed_clip_that_is_not_there_is_counted(tmp_path: Path) -> None:
    (celebrities(tmp_path) / "YouTube-real" / "00000.mp4").unlink()
    reading, _ = look(tmp_path, "celeb-df")
    assert reading.missing == ("YouTube-real/00000.mp4",)


def test_a_missing_test_list_is_said_with_the_way_out(tmp_path: Path) -> None:
    (celebrities(tmp_path) / "List_of_testing_videos.txt").unlink()
    with pytest.raises(DetectError, match=r"List_of_testing_videos\.txt is not there.*--split own"):
        look(tmp_path, "celeb-df")


def test_the_many_methods_of_the_newer_release_are_makers(tmp_path: Path) -> None:
    grow(
        tmp_path,
        "Celeb-real/id0_0000.mp4",
        "Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4",
        "Celeb-synthesis/FaceReenact/LIA/id0_id1_0000.mp4",
        "Celeb-synthesis/TalkingFace/EchoMimic/id0_0000_test_0003.mp4",
    )
    put(tmp_path / "List_of_testing_videos.txt", "0 Celeb-synthesis/FaceReenact/LIA/id0_id1_0000.mp4\n")
    _, found = look(tmp_path, "celeb-df++")
    people = {e.maker: (e.person, e.split) for e in found.values() if e.label is SYNTHETIC}
    assert people == {
        "SimSwap": ("celeb-df/id1", None),
        "LIA": ("celeb-df/id0", "test"),
        "EchoMimic": ("celeb-df/id0", None),
    }
    assert all(e.original == "Celeb-real/id0_0000.mp4" for e in found.values() if e.label is SYNTHETIC)


# ------------------------------------------------------------------------------------------ DFDC


def test_a_forgery_of_the_challenge_is_tied_to_its_original_in_its_own_part(tmp_path: Path) -> None:
    for part in (0, 1):
        folder = grow(tmp_path / f"dfdc_train_part_{part}", "aa.mp4", "bb.mp4").name
        (tmp_path / folder / "aa.mp4").write_bytes(f"{part}a".encode())
        rows = {"aa.mp4": {"label": "FAKE", "split": "train", "original": "bb.mp4"}}
        rows |= {"bb.mp4": {"label": "REAL", "split": "train"}, "gone.mp4": {"label": "REAL", "split": "train"}}
        put(tmp_path / folder / "metadata.json", rows)
    grow(tmp_path / "test", "tt.mp4", "uu.mp4")
    put(tmp_path / "test" / "labels.csv", "filename,label\ntt.mp4,0\nuu.mp4,1\n")
    put(tmp_path / "test" / "metadata.json", {"tt.mp4": {"is_fake": 0}, "uu.mp4": {"is_fake": 1}})
    reading, found = look(tmp_path, "dfdc")
    assert len(found) == 6 and len(reading.missing) == 2
    forged = found["dfdc_train_part_1/aa.mp4"]
    assert (forged.label, forged.original, forged.source) == (SYNTHETIC, "dfdc_train_part_1/bb.mp4", "dfdc/bb")
    assert [(found[f"test/{n}.mp4"].label, found[f"test/{n}.mp4"].split) for n in ("tt", "uu")] == [
        (REAL, "test"),
        (SYNTHETIC, "test"),
    ]


def test_a_part_of_the_challenge_is_a_dataset_of_its_own(tmp_path: Path) -> None:
    grow(tmp_path, "aa.mp4", "extra.mp4")
    put(tmp_path / "metadata.json", {"aa.mp4": {"label": "FAKE", "split": "train", "original": "zz.mp4"}})
    reading, found = look(tmp_path, "dfdc")
    assert list(found) == ["aa.mp4"] and found["aa.mp4"].original is None
    assert reading.left_out == {"in no list of the publisher": 1}


def test_the_preview_has_its_sets_and_its_people(tmp_path: Path) -> None:
    real, forged = "original_videos/12/12_A_001.mp4", "method_A/12/12_A/34_12_A_001.mp4"
    grow(tmp_path, real, forged)
    rows = {
        real: {"label": "real", "set": "test", "target_id": 12, "swapped_id": None, "augmentations": []},
        forged: {"label": "fake", "set": "test", "target_id": 12, "swapped_id": 34},
        "method_B/1.mp4": {"label": "fake", "set": "train"},
    }
    put(tmp_path / "dataset.json", rows)
    reading, found = look(tmp_path, "dfdc-p")
    assert (found[forged].person, set(found[forged].people)) == ("dfdc-p/34", {"dfdc-p/12", "dfdc-p/34"})
    assert found[forged].original == real and found[forged].split == "test"
    assert found[forged].maker == "method_A" and reading.missing == ("method_B/1.mp4",)


# ------------------------------------------------------------------------------------------ the others


def test_actors_in_a_studio_are_not_the_real_clips_of_deeperforensics(tmp_path: Path) -> None:
    grow(
        tmp_path,
        "manipulated_videos/end_to_end/000_M101.mp4",
        "manipulated_videos/end_to_end_level_3/000_M101.mp4",
        "source_videos/M101/light_down/happy/camera_front/M101.mp4",
        "source_videos/000.mp4",
    )
    for name, lines in (("train", ""), ("val", ""), ("test", "000_M101.mp4\n001_W101.mp4\n")):
        put(tmp_path / "lists" / "splits" / f"{name}.txt", lines)
    reading, found = look(tmp_path, "deeperforensics")
    assert len(found) == 2 and all(e.label is SYNTHETIC for e in found.values())
    one = found["manipulated_videos/end_to_end_level_3/000_M101.mp4"]
    assert (one.split, one.person, one.source) == ("test", "deeperforensics/M101", "ff++/000")
    assert one.more["level"] == "end_to_end_level_3" and len(reading.missing) == 2
    assert "FaceForensics++" in reading.remarks[0]
    grow(tmp_path, "original_sequences/youtube/c23/videos/000.mp4", "original_sequences/youtube/c23/videos/777.mp4")
    both = layout_named("deeperforensics").read(tmp_path, Request())
    (real,) = (e for e in both.entries if e.label is REAL)
    assert (real.split, real.codec, real.source) == ("test", "c23", "ff++/000") and not both.remarks


def test_the_tenth_value_without_a_name_shifts_nothing(tmp_path: Path) -> None:
    kinds = "RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-FakeAudio"
    names = "00109.mp4", "00109_fake.mp4", "00109_2_id00476_faceswap.mp4"
    methods = "real", "rtvc", "faceswap-wav2lip"
    lines = ["source,target1,target2,method,category,type,race,gender,path"]
    for kind, name, method in zip(kinds, names, methods, strict=True):
        grow(tmp_path, f"{kind}/African/men/id00076/{name}")
        donor = "id00476" if "faceswap" in method else "-"
        lines.append(f"id00076,{donor},2,{method},A,{kind},African,men,{name},FakeAVCeleb/{kind}/African/men/id00076")
    lines.append("id00001,-,-,real,A,RealVideo-RealAudio,African,men,1.mp4,FakeAVCeleb/RealVideo-RealAudio/African")
    put(tmp_path / "meta_data.csv", "\n".join(lines) + "\n")
    reading, found = look(tmp_path, "fakeavceleb")
    real, voiced, forged = (found[f"{k}/African/men/id00076/{n}"] for k, n in zip(kinds, names, strict=True))
    assert (real.person, real.more["race"], real.more["method"]) == ("voxceleb2/id00076", "African", "real")
    assert (forged.person, forged.maker, forged.original) == ("voxceleb2/id00476", "faceswap-wav2lip", real.path)
    assert (voiced.label, voiced.voice, forged.voice) == (REAL, SYNTHETIC, SYNTHETIC)
    assert len(reading.missing) == 1


def test_a_real_picture_with_a_cloned_voice_is_real_unless_any_part_is_judged(tmp_path: Path) -> None:
    grow(tmp_path / "set", "RealVideo-FakeAudio/African/men/id00076/00109_fake.mp4")
    picture = import_corpus(tmp_path / "set", tmp_path / "a")
    anything = import_corpus(tmp_path / "set", tmp_path / "b", Wishes(judge="any"))
    assert [s.label for s in picture.catalog] == [REAL] and [s.label for s in anything.catalog] == [SYNTHETIC]
    assert picture.catalog.samples[0].extra["voice"] == "synthetic"
    assert anything.catalog.samples[0].maker != picture.catalog.samples[0].maker == "FakeAVCeleb real"


def test_a_wild_sequence_is_one_clip_and_equal_numbers_stay_apart(tmp_path: Path) -> None:
    grow(
        tmp_path,
        *(f"real_train/6/real/54/{n}.png" for n in range(3)),
        *(f"fake_test/6/fake/54/{n}.png" for n in range(3)),
        *(f"fake_train_2_7/{n:06d}.png" for n in range(3)),
    )
    _, found = look(tmp_path, "wilddeepfake")
    assert {p: (str(e.label), e.split) for p, e in found.items()} == {
        "real_train/6/real/54": ("real", "train"),
        "fake_test/6/fake/54": ("synthetic", "test"),
        "fake_train_2_7": ("synthetic", "train"),
    }
    assert found["real_train/6/real/54"].more["frames"] == 3


def test_packed_shards_are_said_to_be_packed(tmp_path: Path) -> None:
    grow(tmp_path, "real_train/6.tar.gz")
    with pytest.raises(DetectError, match="still packed"):
        look(tmp_path, "wilddeepfake")


def test_a_small_old_set_is_tested_on_in_pairs(tmp_path: Path) -> None:
    grow(tmp_path, "real/0000.mp4", "fake/0000_fake.mp4")
    _, found = look(tmp_path, "uadfv")
    assert found["fake/0000_fake.mp4"].original == "real/0000.mp4"
    assert {e.split for e in found.values()} == {"test"}


def test_forty_methods_keep_the_split_of_what_they_were_made_from(tmp_path: Path) -> None:
    grow(
        tmp_path,
        *(f"simswap/ff/frames/000_003/{n:03d}.png" for n in range(2)),
        *(f"simswap/cdf/frames/id0_id1_0000/{n:03d}.png" for n in range(2)),
        "ddim/ff/000/001.png",
        "MidJourney/fake/a.png",
        "MidJourney/fake/b.png",
        "heygen/real/film.mp4",
    )
    for name, pairs in (("train", []), ("val", [["000", "003"]]), ("test", [])):
        put(tmp_path / f"{name}.json", pairs)
    _, found = look(tmp_path, "df40")
    swap = found["simswap/ff/frames/000_003"]
    assert (swap.split, set(swap.people), swap.source) == ("val", {"ff++/000", "ff++/003"}, "ff++/000")
    assert found["simswap/cdf/frames/id0_id1_0000"].split == "test"
    assert found["ddim/ff/000"].split == "val"
    assert {"MidJourney/fake/a.png", "MidJourney/fake/b.png"} <= set(found)
    assert found["heygen/real/film.mp4"].label is REAL and len(found) == 6


def test_partial_forgeries_keep_their_seconds_and_a_forged_sound_alone_is_a_real_picture(tmp_path: Path) -> None:
    base = "id00012/21Uxsk56VDQ/00001"
    grow(tmp_path, *(f"train/{base}/{n}.mp4" for n in ("real", "both", "sound")))
    rows = [
        {"file": f"{base}/real.mp4", "split": "train", "modify_type": "real", "fake_segments": [], "video_frames": 100},
        {
            "file": f"{base}/both.mp4",
            "split": "train",
            "original": f"{base}/real.mp4",
            "modify_type": "both_modified",
            "video_model": "Talklip",
            "fake_segments": [[1.0, 1.5]],
            "visual_fake_segments": [[1.0, 1.5]],
            "audio_fake_segments": [[1.1, 1.4]],
        },
        {"file": f"{base}/sound.mp4", "split": "train", "modify_type": "audio_modified", "fake_segments": [[0.0, 1.0]]},
        {"file": f"{base}/gone.mp4", "split": "train", "modify_type": "real", "fake_segments": []},
    ]
    put(tmp_path / "train_metadata.json", rows)
    reading, found = look(tmp_path, "av-deepfake1m")
    both, sound, real = (found[f"train/{base}/{n}.mp4"] for n in ("both", "sound", "real"))
    assert (both.label, both.segments, both.maker) == (SYNTHETIC, ((1.0, 1.5),), "Talklip")
    assert both.more["segments_sound"] == [[1.1, 1.4]] and both.original == real.path
    assert (sound.label, sound.voice) == (REAL, SYNTHETIC) and real.seconds == 4.0
    assert both.person == "voxceleb2/id00012" and len(reading.missing) == 1
    made = import_corpus(tmp_path, tmp_path / "out")
    kept = next(s for s in made.catalog if s.path.endswith("both.mp4"))
    assert kept.extra["segments"] == [[1.0, 1.5]]


def test_people_of_the_newer_release_are_named_by_their_collection(tmp_path: Path) -> None:
    files = "vox_celeb_2/id01358/abc/00030/real.mp4", "silent_videos/subject_3_xx_vid_1_2/real.mp4", "lrs3/q/1/real.mp4"
    grow(tmp_path, *(f"val/{name}" for name in files))
    put(tmp_path / "val_metadata.json", [{"file": name, "modify_type": "real"} for name in files])
    _, found = look(tmp_path, "av-deepfake1m")
    assert {e.person for e in found.values()} == {"voxceleb2/id01358", "silent/subject_3", "lrs3/q"}
    assert {e.split for e in found.values()} == {"val"}


def test_portraits_and_drivers_are_read_from_the_names_of_talking_heads(tmp_path: Path) -> None:
    grow(
        tmp_path,
        "fake/Hallo/test/00198--abc_0--Hallo.mp4",
        "fake/additional_dataset/MAGI-1/7.mp4",
        "real/abc_0.mp4",
    )
    put(tmp_path / "real" / "real_dataset_split_official_ff++.json", {"Test": {"CelebV-HQ": ["abc_0.mp4", "zz.mp4"]}})
    reading, found = look(tmp_path, "talkingheadbench")
    forged = found["fake/Hallo/test/00198--abc_0--Hallo.mp4"]
    assert (forged.person, forged.maker, forged.split) == ("ffhq/00198", "Hallo", "test")
    assert forged.more["driver"] == found["real/abc_0.mp4"].more["driver"] == "celebv-hq/abc_0"
    assert found["fake/additional_dataset/MAGI-1/7.mp4"].split == "test"
    assert reading.missing == ("real: zz",)


def test_speakers_are_split_by_the_table_of_people(tmp_path: Path) -> None:
    fakes = {
        "facefusion--10-11--41-48--0.mp4": ("face-swap", "facefusion", "10", "11", "48"),
        "wav2lip--10-12--41-49--0.mp4": ("lip-sync", "wav2lip", "10", "12", "49"),
    }
    grow(tmp_path, "data/11-48.mp4", *(f"data/{name}" for name in fakes))
    put(tmp_path / "annotations-real.csv", "identity,video-file\n11,11-48.mp4\n")
    rows = [f"{name},{k},{e},{s},{t},{r}" for name, (k, e, s, t, r) in fakes.items()]
    header = "video-file,kind,engine,identity-source,identity-target,recording-target"
    put(tmp_path / "annotations-fake.csv", "\n".join([header, *rows]) + "\n")
    put(tmp_path / "annotations-split-def.csv", "identity,split\n10,test\n11,test\n12,train\n")
    reading, found = look(tmp_path, "deepspeak")
    swap = found["data/facefusion--10-11--41-48--0.mp4"]
    assert (swap.person, swap.original, swap.split) == ("deepspeak/10", "data/11-48.mp4", "test")
    assert "data/wav2lip--10-12--41-49--0.mp4" not in found
    assert reading.left_out == {"people of two splits, or of none": 1}


def test_speakers_of_a_collection_of_real_talk_keep_their_split(tmp_path: Path) -> None:
    grow(tmp_path, "dev/mp4/id00012/abc/00001.mp4", "test/mp4/id00017/def/00001.mp4")
    _, found = look(tmp_path, "voxceleb2")
    assert {(e.person, e.source, e.split) for e in found.values()} == {
        ("voxceleb2/id00012", "voxceleb2/abc", "train"),
        ("voxceleb2/id00017", "voxceleb2/def", "test"),
    }


def test_two_films_of_one_politician_are_one_person(tmp_path: Path) -> None:
    grow(tmp_path, "WDA_NancyPelosi0_000.mp4", "WDA_NancyPelosi1_000.mp4", "RD_Radio11_000.mp4", "RD_Radio12_000.mp4")
    _, found = look(tmp_path, "hdtf")
    assert {e.person for e in found.values()} == {"hdtf/NancyPelosi", "hdtf/Radio11", "hdtf/Radio12"}


def test_files_that_another_system_left_behind_are_no_clips(tmp_path: Path) -> None:
    grow(celebrities(tmp_path), "Celeb-real/._id0_0000.mp4", "Celeb-real/.DS_Store", "Celeb-real/notes.txt")
    reading, found = look(tmp_path, "celeb-df")
    assert not any("/." in path for path in found) and not reading.left_out


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one.name)
def test_every_layout_can_be_named_asked_for_and_does_not_claim_an_empty_folder(layout, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert layout_named(layout.name) is layout
    assert layout.ask.startswith("https://") and layout.paper and layout.licence and layout.looks_like
    assert not layout.recognise(tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("faceforensics++", "train.json", "{"),
        ("faceforensics++", "train.json", '[["000", "003", "071"]]'),
        ("faceforensics++", "train.json", "[[1.5, true]]"),
        ("celeb-df", "List_of_testing_videos.txt", "video,label\n"),
        ("celeb-df", "List_of_testing_videos.txt", "\xff"),
        ("dfdc-p", "dataset.json", '{"a.mp4": {"label": "maybe"}}'),
        ("dfdc-p", "dataset.json", "[" * 5000),
        ("fakeavceleb", "meta_data.csv", "a,b,c\n"),
        ("av-deepfake1m", "train_metadata.json", '[{"file": "a.mp4", "modify_type": "unheard"}]'),
        ("av-deepfake1m", "train_metadata.json", '{"file": "a.mp4"}'),
        ("deepspeak", "annotations-fake.csv", "name\nx\n"),
        ("talkingheadbench", "real_dataset_split_official_ff++.json", '["Train"]'),
        ("deeperforensics", "manipulated_videos/x.txt", ""),
        ("wilddeepfake", "a.txt", ""),
    ],
)
def test_a_list_that_is_damaged_is_one_error_that_names_something(
    name: str, file: str, content: str, tmp_path: Path
) -> None:
    for split in ("train", "val", "test"):
        put(tmp_path / f"{split}.json", [])
    put(tmp_path / "annotations-split-def.csv", "identity,split\n1,test\n")
    grow(
        tmp_path,
        "original_sequences/youtube/c23/videos/000.mp4",
        "Celeb-real/id0_0000.mp4",
        "RealVideo-RealAudio/African/men/id1/1.mp4",
        "real/a.mp4",
    )
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(content.encode("latin-1"))
    (tmp_path / "a.mp4").write_bytes(b"a")
    with pytest.raises(DetectError) as caught:
        import_corpus(tmp_path, tmp_path / "out", Wishes(layout=name))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_list_never_leads_out_of_the_dataset(tmp_path: Path) -> None:
    root = grow(tmp_path / "set", "original_videos/1/1_A_1.mp4")
    grow(tmp_path, "secret.mp4")
    for name in ("../secret.mp4", str(tmp_path / "secret.mp4")):
        put(root / "dataset.json", {name: {"label": "real", "set": "test"}})
        with pytest.raises(DetectError, match="inside the dataset"):
            import_corpus(root, tmp_path / "out")
