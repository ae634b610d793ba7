from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from detect.cli import app
from detect.corpora.on_disk import digest_of
from detect.corpora.table import read_table
from detect.file_facts import fact_auc
from detect.leakage import CHECKS, Check, LeakReport, examine
from detect.likenesses import fingerprint_of, rough_peaks, rough_scenes
from media.catalog import Catalog, Label, Sample
from media.clip import Clip, Waveform
from media.video import write_clip
from provenance.likeness import compare

RATE = 16_000


def take(seed: int, seconds: float = 2.4, side: int = 96, fps: int = 25) -> np.ndarray:
    """Frames of blobs that drift and glow in their own way."""
    rng = np.random.default_rng(seed)
    length = round(seconds * fps)
    knots = rng.normal(0, 40, (2 + length // 3, 6, 6)).astype(np.float32)
    frames = []
    for n in range(length):
        at, part = divmod(n, 3)
        cells = knots[at] * (1 - part / 3) + knots[at + 1] * (part / 3)
        grey = 128 + cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)
        frames.append(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2))
    return np.stack(frames)


def speech(seed: int, seconds: float = 2.4) -> np.ndarray:
    """Tones that change many times a second, as in speech."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(int(seconds * 12) + 1):
        time = np.arange(RATE // 12) / RATE
        parts.append(sum(np.sin(2 * np.pi * f * time) for f in rng.uniform(300, 3000, 4)) * rng.uniform(0.02, 0.2))
    return np.concatenate(parts)[: round(seconds * RATE)].astype(np.float32)


def film(path: Path, frames: np.ndarray, sound: np.ndarray | None = None, crf: int = 23) -> Path:
    waveform = None if sound is None else Waveform(sound[:, None], RATE)
    write_clip(Clip(frames, Fraction(25), waveform), path, crf=crf, preset="ultrafast")
    return path


def sample(path: Path, split: str, label: Label = Label.REAL, person: str | None = None, **more: object) -> Sample:
    return Sample(path.name, path.name, label, digest_of(path), person=person, split=split, maker="m", extra=more)  # type: ignore[arg-type]


def files(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(name.encode())
    return [folder / name for name in names]


def found(folder: Path, samples: Sequence[Sample], **how: object) -> dict[str, Check]:
    report = examine([(folder, Catalog(samples))], **how)  # type: ignore[arg-type]
    assert [c.name for c in report.checks] == [
        n for n in CHECKS if how.get("contents", True) or "equal " not in n or n == "equal files"
    ]
    return {c.name: c for c in report.checks}


def test_everybody_who_is_in_a_clip_counts_and_not_only_who_is_seen(tmp_path: Path) -> None:
    a, b, c = files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    samples = [
        sample(a, "train", person="ann", people=["ann", "bob"]),
        sample(b, "val", Label.SYNTHETIC, person="cat", people=["cat", "bob"]),
        sample(c, "val", person="dan"),
    ]
    check = found(tmp_path, samples, contents=False)["people"]
    assert check.leaks and check.text == "1 of 4 are in two splits"
    assert check.examples == ("bob: a.mp4 (train), b.mp4 (val)",)


@pytest.mark.parametrize(("check", "key"), [("speech", "speech"), ("drivers", "driver"), ("inputs", "input_sha256")])
def test_what_was_used_twice_is_found_by_its_name(check: str, key: str, tmp_path: Path) -> None:
    a, b = files(tmp_path, "a.mp4", "b.mp4")
    twice = [sample(a, "train", **{key: "same"}), sample(b, "val", **{key: "same"})]
    once = [sample(a, "train", **{key: "one"}), sample(b, "val", **{key: "other"})]
    assert found(tmp_path, twice, contents=False)[check].leaks
    assert not found(tmp_path, once, contents=False)[check].leaks


def test_a_forgery_and_its_original_belong_to_one_split(tmp_path: Path) -> None:
    a, b = files(tmp_path, "a.mp4", "b.mp4")
    for split, leaks in (("train", False), ("val", True)):
        samples = [sample(a, "train"), sample(b, split, Label.SYNTHETIC, original="a.mp4")]
        assert found(tmp_path, samples, contents=False)["originals"].leaks is leaks


def test_a_clip_without_a_split_is_a_training_clip(tmp_path: Path) -> None:
    a, b = files(tmp_path, "a.mp4", "b.mp4")
    loose = Sample("a", a.name, Label.REAL, digest_of(a), extra={"driver": "d"})
    assert not found(tmp_path, [loose, sample(b, "train", driver="d")], contents=False)["drivers"].leaks
    assert found(tmp_path, [loose, sample(b, "val", driver="d")], contents=False)["drivers"].leaks


def test_equal_files_leak_across_splits_and_labels_and_are_only_counted_within(tmp_path: Path) -> None:
    paths = files(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    a, b, c, d = paths
    across = found(tmp_path, [sample(a, "train"), sample(b, "val")], contents=False)["equal files"]
    assert across.leaks and "a.mp4 (train, real) = b.mp4 (val, real)" in across.examples
    assert found(tmp_path, [sample(c, "val"), sample(d, "val", Label.SYNTHETIC)], contents=False)["equal files"].leaks
    within = found(tmp_path, [sample(c, "val"), sample(d, "val")], contents=False)["equal files"]
    assert not within.leaks and "1 more are doubled within a split" in within.text


def test_several_catalogs_are_judged_as_one(tmp_path: Path) -> None:
    datasets = []
    for name, split in (("one", "train"), ("two", "test")):
        (tmp_path / name).mkdir()
        (path,) = files(tmp_path / name, f"{name}.mp4")
        datasets.append((tmp_path / name, Catalog([sample(path, split, person="ff++/000")], name)))
    assert not any(examine([one], contents=False).leaks for one in datasets)
    report = examine(datasets, contents=False)
    (people,) = (c for c in report.checks if c.name == "people")
    assert people.leaks and people.examples == ("ff++/000: two/two.mp4 (test), one/one.mp4 (train)",)


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("takes")
    film(folder / "a.mp4", take(1), speech(1))
    film(folder / "b.mp4", take(2), speech(2))
    film(folder / "smaller.mp4", np.stack([cv2.resize(f, (64, 64)) for f in take(1)]), None, crf=35)
    film(folder / "later.mp4", take(1)[15:], speech(3), crf=30)
    film(folder / "cropped.mp4", take(1)[:, 4:-4, 4:-4], None, crf=28)
    film(folder / "mirrored.mp4", take(1)[:, :, ::-1], None, crf=28)
    film(folder / "dubbed.mp4", take(4), speech(2), crf=30)
    film(folder / "other.mp4", take(5), speech(5))
    return folder


@pytest.mark.parametrize("copy", ["smaller.mp4", "later.mp4", "cropped.mp4", "mirrored.mp4"])
def test_a_copy_of_a_take_is_found_whatever_was_done_to_it(copy: str, takes: Path) -> None:
    samples = [sample(takes / n, "train") for n in ("a.mp4", "b.mp4")] + [sample(takes / copy, "val")]
    checks = found(takes, samples)
    assert checks["equal takes"].leaks and checks["equal takes"].text == "1 of 2 pairs across splits"
    assert checks["equal takes"].examples[0].startswith(f"a.mp4 (train, real) = {copy} (val, real)")
    assert not checks["equal files"].leaks and not checks["equal sound"].leaks


def test_a_speech_that_another_face_says_is_found(takes: Path) -> None:
    samples = [sample(takes / n, "train") for n in ("a.mp4", "b.mp4")] + [sample(takes / "dubbed.mp4", "test")]
    checks = found(takes, samples)
    assert checks["equal sound"].leaks and not checks["equal takes"].leaks
    assert "b.mp4" in checks["equal sound"].examples[0]


def test_other_takes_with_other_speech_do_not_leak(takes: Path) -> None:
    checks = found(
        takes, [sample(takes / n, s) for n, s in (("a.mp4", "train"), ("b.mp4", "train"), ("other.mp4", "val"))]
    )
    assert not checks["equal takes"].leaks and not checks["equal sound"].leaks


def test_a_still_picture_that_was_packed_again_is_found(tmp_path: Path) -> None:
    pictures = [cv2.resize(take(seed)[0], (256, 256)) for seed in (1, 2, 3)]
    for n, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{n}.png"), picture)
    cv2.imwrite(str(tmp_path / "again.jpg"), cv2.resize(pictures[1], (128, 128)), [cv2.IMWRITE_JPEG_QUALITY, 40])
    samples = [sample(tmp_path / f"{n}.png", "train") for n in range(3)]
    check = found(tmp_path, [*samples, sample(tmp_path / "again.jpg", "val")])["equal takes"]
    assert check.leaks and check.text == "1 of 3 pairs across splits" and check.examples[0].startswith("1.png")


def test_the_rough_likeness_of_all_pairs_lets_through_what_the_exact_one_finds(takes: Path) -> None:
    prints = [fingerprint_of(takes / name) for name in ("a.mp4", "b.mp4", "later.mp4", "dubbed.mp4")]
    sound = rough_peaks([p.sound_AK for p in prints], [p.sound_AK for p in prints], 32)
    motion = rough_peaks([p.motion_THW for p in prints], [p.motion_THW for p in prints], 8)
    for n, one in enumerate(prints):
        for m, other in enumerate(prints):
            exact = compare(one, other)
            assert sound[n, m] == pytest.approx(exact.sound, abs=0.01)
            # the exact one of motion looks through a finer crop, and begins its eighths of a second at four moments
            if n == m or {n, m} == {0, 2}:
                assert exact.passes() and 0.5 < motion[n, m] <= exact.motion + 0.02
            else:
                assert motion[n, m] < 0.3
    assert (np.diag(rough_scenes(prints, prints)) > 0.99).all()


def test_a_fact_is_judged_on_people_it_was_not_learned_from() -> None:
    people = [f"p{n // 4}" for n in range(120)]
    labels = [int(who[1:]) % 2 == 0 for who in people]
    # every person has a value of their own: it tells everything about them, and nothing about others
    assert fact_auc([who for who in people], labels, people).value < 0.6
    assert fact_auc(["b" if label else "a" for label in labels], labels, people).value > 0.95
    middle = [256 if label else (128 if n % 2 else 512) for n, label in enumerate(labels)]
    assert fact_auc(middle, labels, people).value > 0.95
    same = fact_auc([25] * 120, labels, people)
    assert not same.scored and same.reason == "the same for all clips"


def talking(folder: Path, sizes: tuple[int, int]) -> list[Sample]:
    """Twelve real and twelve synthetic films, of these sizes."""
    out = []
    for n in range(24):
        label = Label.SYNTHETIC if n % 2 else Label.REAL
        path = film(folder / f"{n}.mp4", take(n, 0.4, sizes[n % 2], 25))
        out.append(sample(path, "train" if n < 12 else "val", label, f"p{n}"))
    return out


def test_a_size_that_only_one_label_has_is_found_and_can_be_accepted(tmp_path: Path) -> None:
    checks = found(tmp_path, talking(tmp_path, (64, 96)), contents=False)
    assert checks["width"].leaks and checks["width"].auc is not None and checks["width"].auc.value == 1.0
    assert not checks["fps"].leaks and "same for all" in checks["fps"].text
    assert any("m: all 12 have width 96, of 12 real clips 0 have" in one for one in checks["makers"].examples)
    fixed = talking(tmp_path, (96, 96))
    known = [c.name for c in examine([(tmp_path, Catalog(fixed))], contents=False).checks if c.leaks]
    assert "width" not in known
    accepted = examine([(tmp_path, Catalog(fixed))], contents=False, allow=known)
    assert not accepted.leaks and all(c.allowed for c in accepted.checks if c.leaks)


def test_a_split_with_one_label_cannot_be_measured(tmp_path: Path) -> None:
    a, b, c = files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    samples = [sample(a, "train"), sample(b, "train", Label.SYNTHETIC), sample(c, "val")]
    check = found(tmp_path, samples, contents=False)["class prior"]
    assert check.leaks and "val cannot be measured" in check.text


def test_a_file_that_cannot_be_read_is_named_and_judged_by_what_is_told(tmp_path: Path) -> None:
    (path,) = files(tmp_path, "torn.mp4")
    report = examine([(tmp_path, Catalog([sample(path, "train")]))])
    assert report.unreadable == ("torn.mp4",)


def test_an_unknown_check_cannot_be_allowed() -> None:
    with pytest.raises(ValueError, match="no check colour"):
        examine([], allow=["colour"])
    assert not LeakReport((), {}).leaks


def test_the_command_ends_with_one_when_something_leaks_and_prints_words_or_json(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        film(tmp_path / f"{name}.mp4", take(ord(name), 0.4))
    table = "file,label,split,person,driver\n" + "".join(
        f"{n}.mp4,{label},{split},{n},{driver}\n"
        for n, label, split, driver in (
            ("a", "real", "train", "x"),
            ("b", "fake", "train", "y"),
            ("c", "real", "val", "z"),
            ("d", "fake", "val", "x"),
        )
    )
    (tmp_path / "clips.csv").write_text(table)
    call = CliRunner().invoke
    told = call(app, ["lint", str(tmp_path), "--facts-only"])
    assert told.exit_code == 1 and "Leaks: drivers." in told.stdout and "x: a.mp4 (train), d.mp4 (val)" in told.stdout
    said = json.loads(call(app, ["lint", str(tmp_path), "--json"]).stdout)
    assert said["leaks"] and said["clips"]["val"] == {"real": 1, "synthetic": 1}
    fine = call(app, ["lint", str(tmp_path), "--facts-only", "--allow", "drivers"])
    assert fine.exit_code == 0 and "Nothing leaks." in fine.stdout and "allowed" in fine.stdout
    wrong = call(app, ["lint", str(tmp_path), "--allow", "nonsense"])
    assert wrong.exit_code == 2 and "people, recordings" in wrong.stderr


def test_the_development_pack_has_the_leaks_that_are_known_of_it(data_pack: Path) -> None:
    table = data_pack / "clips" / "clips.csv"
    catalog = read_table(table).filter(lambda s: s.id in {"c0007", "c0194", "c0024", "c0167"})
    checks = {c.name: c for c in examine([(table.parent, catalog)]).checks}
    assert checks["equal sound"].leaks and "c0007" in checks["equal sound"].examples[0]
    assert not checks["equal takes"].leaks and not checks["people"].leaks
