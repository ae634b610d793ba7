from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import durable
from benchmarks.durable import Copy, Subject, corner, identifier_of, interval, scaled, share, subjects
from media.clip import Clip, MediaError
from media.video import write_clip


def moving(seed: int, frames: int = 26) -> Clip:
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 215, (9, 9, 3)).astype(np.float32)
    still = cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)
    still += cv2.GaussianBlur(random.normal(0, 25, still.shape).astype(np.float32), (0, 0), 1.5)
    places = (80 + np.cumsum(random.normal(0, 4, (frames, 2)), 0)).astype(int) % 160
    pictures = [cv2.circle(still.copy(), (int(x), int(y)), 30, (220.0, 180.0, 150.0), -1) for x, y in places]
    return Clip(np.clip(np.stack(pictures), 0, 255).astype(np.uint8), Fraction(25))


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert interval(0, 0) == (0.0, 1.0)
    low, high = interval(10, 10)
    assert (round(low, 3), round(high, 9)) == (0.722, 1.0)
    assert tuple(round(one, 3) for one in interval(5, 10)) == (0.237, 0.763)
    assert share([]) == "–"
    assert share([True, False]) == "50.0 (9.5 to 90.5)"


def test_copies_keep_even_sides_and_are_never_enlarged() -> None:
    clip = Clip(np.zeros((2, 400, 514, 3), np.uint8), Fraction(25))
    assert scaled(clip, 360).frames.shape == (2, 360, 462, 3)
    assert scaled(clip, 720) is clip
    assert corner(clip).frames.shape == (2, 360, 462, 3)


def test_identifiers_of_clips_differ_and_stay() -> None:
    assert identifier_of("c0001") == identifier_of("c0001") != identifier_of("c0002")
    assert identifier_of("c0001") < 1 << 48


def test_clips_come_from_a_table_or_a_folder_and_from_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").touch()
    (tmp_path / "a.mp4").touch()
    assert [one.name for one in subjects(tmp_path)] == ["a", "b"]
    (tmp_path / "clips.csv").write_text("id,file,group,person\nc1,a.mp4,g1,p1\n")
    (found,) = subjects(tmp_path)
    assert (found.name, found.group, found.person, found.path) == ("c1", "g1", "p1", tmp_path / "a.mp4")
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "none", tmp_path / "a.mp4"):
        with pytest.raises(MediaError, match="clips"):
            subjects(wrong)


def test_the_benchmark_finds_its_clips_again_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: durable.COPIES[name] for name in ("crf 18", "sound", "crf 28 360p")}
    monkeypatch.setattr(
        durable, "COPIES", {**few, "crf 28": Copy("H.264 CRF 28", lambda clip: durable.encoded(clip, 28))}
    )
    monkeypatch.setattr(durable, "_AT_ANY_SIZE", {"crf 28 360p": "crf 28"})
    monkeypatch.setattr(durable, "PRESET", "veryfast")
    monkeypatch.setattr(durable, "DECOYS", 20)
    for seed in range(2):
        write_clip(moving(seed), tmp_path / f"clip{seed}.mp4", preset="veryfast")
    words = ["--clips", str(tmp_path), "--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
    app = durable.typer.Typer()
    app.command()(durable.main)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    tables = json.loads((tmp_path / "results" / "durable.json").read_text())["tables"]
    found = {row["copy"]: row for row in tables[0]["rows"]}
    assert found["360 lines, then CRF 28"]["found by either, %"].startswith("100.0")
    assert found["H.264 CRF 18"]["watermark, %"].startswith("100.0")
    assert found["sound as AAC at 32 kbit/s, without the pictures"]["clips"] == 0
    assert [row["false"] for row in tables[1]["rows"]] == [0, 0, 0, 0, 0, 0]
    assert len(tables[2]["rows"]) == 1
    monkeypatch.setattr(durable, "measured", None)
    assert CliRunner().invoke(app, words).exit_code == 0
    (tmp_path / "out" / "clip1.json").unlink()
    assert CliRunner().invoke(app, [*words, "--only-kept"]).exit_code == 0
    notes = json.loads((tmp_path / "results" / "durable.json").read_text())["notes"]
    assert notes[0].startswith("1 of 2 clips")


def test_kinship_is_told_by_the_table_and_not_by_the_likeness() -> None:
    one, take, part, other = (
        Subject(name, Path(name), group, person)
        for name, group, person in (("a", "g", "p"), ("b", "h", "p"), ("c", "g", "p"), ("d", "i", "q"))
    )
    assert [durable.kinship(one, two) for two in (take, part, other)] == [
        durable.SAME_PERSON,
        durable.SAME_RECORDING,
        durable.STRANGER,
    ]


def test_a_folder_without_clips_is_one_line(tmp_path: Path) -> None:
    app = durable.typer.Typer()
    app.command()(durable.main)
    result = CliRunner().invoke(app, ["--clips", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.output.startswith("durable: ")
