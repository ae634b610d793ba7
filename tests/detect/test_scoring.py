"""Many files, one line each: order, resuming, several workers, and detectors that break."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from detect.detector import DetectError, ModelFacts, Score, Status
from detect.scoring import Line, ScoreFile, answer, files_under, read_lines, reusable, score_files
from media.clip import MediaError
from media.places import Here

FACTS = ModelFacts("size", "1", "ab" * 32, 0.5, "card.md")


@dataclass(frozen=True)
class SizeDetector:
    """Answers with the file's size in percent; some names make it behave badly."""

    facts: ModelFacts = FACTS

    def score_file(self, path: Path) -> Score:
        if "faceless" in path.name:
            return Score.abstain(Status.NO_FACE, "No face was found.", 2.0, 0.1)
        if "damaged" in path.name:
            raise MediaError(f"{path}: is damaged; copy it again")
        if "bug" in path.name:
            raise RuntimeError("tensor\nshapes")
        if "deadly" in path.name:
            os._exit(9)
        return Score(path.stat().st_size / 100, Status.OK, "", (), (), 1.0, 0.25)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(["b.mp4", "a.mp4", "sub/c.MOV", "d.jpg", "faceless.png", "damaged.webm"]):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (10 + number))
    (tmp_path / "in" / "notes.txt").write_text("not media")
    (tmp_path / "in" / ".hidden.mp4").write_text("hidden")
    return tmp_path / "in"


def run(files: list[Path], output: Path, facts: ModelFacts = FACTS, workers: int = 1) -> list[str]:
    """Score into an output; gives the names of files that were really scored."""
    scored: list[str] = []

    def spy(line: Line) -> None:
        scored.append(Path(line["file"]).name)
        write(line)

    target = ScoreFile(output, files, facts.sha256)
    with target.writing() as write:
        score_files(files, partial(SizeDetector, facts), spy, place=Here(workers), known=target.known)
    return scored


def names(output: Path) -> list[str]:
    return [Path(line["file"]).name for line in read_lines(output)]


def test_a_folder_gives_its_media_files_sorted_and_once(folder: Path) -> None:
    found = files_under([folder / "notes.txt", folder / "b.mp4", folder])
    assert [str(path.relative_to(folder)) for path in found] == [
        "notes.txt",
        "b.mp4",
        "a.mp4",
        "d.jpg",
        "damaged.webm",
        "faceless.png",
        "sub/c.MOV",
    ]


def test_a_missing_path_and_an_empty_folder_are_refused(folder: Path) -> None:
    with pytest.raises(DetectError, match=r"nowhere\.mp4 does not exist"):
        files_under([folder / "a.mp4", folder / "nowhere.mp4"])
    (folder / "empty").mkdir()
    with pytest.raises(DetectError, match="no video or picture"):
        files_under([folder / "empty"])


def test_every_file_gets_one_line_in_order(folder: Path, tmp_path: Path) -> None:
    files = files_under([folder])
    run(files, tmp_path / "s.jsonl")
    lines = read_lines(tmp_path / "s.jsonl")
    assert [line["file"] for line in lines] == [str(file) for file in files]
    for line in lines:
        assert {"file", "probability", "status", "reason", "faces", "seconds_of_video", "core_seconds"} <= line.keys()
    by_name = {Path(line["file"]).name: line for line in lines}
    assert by_name["a.mp4"]["probability"] == 0.11
    assert by_name["faceless.png"] | {"probability": None, "status": "no_face"} == by_name["faceless.png"]
    assert by_name["damaged.webm"]["status"] == "unreadable"
    assert "damaged; copy it again" in by_name["damaged.webm"]["reason"]


def test_a_broken_detector_is_an_error_of_one_line_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    (folder / "bug.mp4").write_text("x")
    lines: list[Line] = []
    tally = score_files(files_under([folder]), SizeDetector, lines.append)
    assert tally.errors == 1
    assert not tally.every_file_has_an_answer
    assert tally.abstained == 2
    broken = next(line for line in lines if line["status"] == "error")
    assert broken["probability"] is None
    assert "\n" not in broken["reason"]
    assert len(lines) == 7


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_an_answer(folder: Path) -> None:
    (folder / "a.mp4").chmod(0)
    line = answer(folder / "a.mp4", SizeDetector())
    assert (line["status"], line["probability"], line["sha256"]) == ("unreadable", None, None)


def test_a_file_that_vanished_is_an_answer(tmp_path: Path) -> None:
    line = answer(tmp_path / "gone.mp4", SizeDetector())
    assert (line["status"], line["sha256"]) == ("unreadable", None)


def test_a_second_run_scores_only_what_is_new_or_changed(folder: Path, tmp_path: Path) -> None:
    output, files = tmp_path / "s.jsonl", files_under([folder])
    assert len(run(files, output)) == 6
    assert run(files, output) == []
    (folder / "d.jpg").write_bytes(b"y" * 77)
    (folder / "0.mp4").write_bytes(b"z" * 50)
    assert run(files_under([folder]), output) == ["0.mp4", "d.jpg"]
    assert names(output) == ["0.mp4", "a.mp4", "b.mp4", "d.jpg", "damaged.webm", "faceless.png", "c.MOV"]
    assert read_lines(output)[3]["probability"] == 0.77


def test_other_weights_score_everything_again(folder: Path, tmp_path: Path) -> None:
    output, files = tmp_path / "s.jsonl", files_under([folder])
    run(files, output)
    other = ModelFacts("size", "2", "cd" * 32, 0.5, "card.md")
    assert len(run(files, output, other)) == 6
    assert {line["model"]["version"] for line in read_lines(output)} == {"2"}


def test_a_killed_run_loses_only_its_torn_line(folder: Path, tmp_path: Path) -> None:
    output, files = tmp_path / "s.jsonl", files_under([folder])
    run(files, output)
    whole = output.read_text().splitlines(keepends=True)
    output.write_text("".join(whole[:3]) + whole[3][:20])
    assert run(files, output) == ["damaged.webm", "faceless.png", "c.MOV"]
    assert names(output) == [Path(json.loads(line)["file"]).name for line in whole]


def test_lines_are_on_disk_as_soon_as_they_are_known(folder: Path, tmp_path: Path) -> None:
    output, files = tmp_path / "s.jsonl", files_under([folder])
    target, seen = ScoreFile(output, files, FACTS.sha256), []
    with target.writing() as write:
        score_files(files, SizeDetector, lambda line: (write(line), seen.append(len(read_lines(output))))[0])
    assert seen == [1, 2, 3, 4, 5, 6]


def test_lines_of_other_files_stay(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "s.jsonl"
    run([folder / "b.mp4"], output)
    run([folder / "a.mp4"], output)
    assert names(output) == ["b.mp4", "a.mp4"]


def test_an_output_that_is_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "thesis.md"
    precious.write_text("# My thesis\n\nIt is long.\n")
    with pytest.raises(DetectError, match="line 1 is no score"):
        ScoreFile(precious, [folder / "a.mp4"], FACTS.sha256)
    assert precious.read_text().startswith("# My thesis")
    precious.write_text("My thesis without a final line end")
    with pytest.raises(DetectError, match="line 1 is no score"):
        ScoreFile(precious, [folder / "a.mp4"], FACTS.sha256)
    with pytest.raises(DetectError, match="is a folder"):
        ScoreFile(tmp_path, [folder / "a.mp4"], FACTS.sha256)


def test_errors_and_unreadable_paths_are_tried_again(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "s.jsonl"
    line = answer(folder / "a.mp4", SizeDetector())
    output.write_text(json.dumps(line | {"status": "error", "probability": None}) + "\n")
    assert reusable(output, [folder / "a.mp4"], FACTS.sha256) == {}
    output.write_text(json.dumps(line | {"sha256": None}) + "\n")
    assert reusable(output, [folder / "a.mp4"], FACTS.sha256) == {}
    output.write_text(json.dumps(line) + "\n")
    assert list(reusable(output, [folder / "a.mp4"], FACTS.sha256)) == [str(folder / "a.mp4")]


def test_workers_keep_the_order_and_survive_a_file_that_kills_them(folder: Path, tmp_path: Path) -> None:
    (folder / "c-deadly.mp4").write_text("x")
    files = files_under([folder])
    output = tmp_path / "s.jsonl"
    run(files, output, workers=2)
    assert names(output) == [file.name for file in files]
    status = {Path(line["file"]).name: line["status"] for line in read_lines(output)}
    assert status["c-deadly.mp4"] == "error"
    assert status["a.mp4"] == status["b.mp4"] == status["d.jpg"] == status["c.MOV"] == "ok"


def test_a_file_that_changes_while_it_is_scored_is_not_judged(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Meddling(SizeDetector):
        def score_file(self, path: Path) -> Score:
            path.write_bytes(b"something else")
            return super().score_file(path)

    (tmp_path / "a.mp4").write_bytes(b"x")
    line = answer(tmp_path / "a.mp4", Meddling())
    assert (line["probability"], line["status"]) == (None, "unreadable")
    assert "was changed while it was read" in line["reason"]


def test_a_terabyte_of_holes_is_not_hashed(tmp_path: Path) -> None:
    with (tmp_path / "a.mp4").open("wb") as file:
        file.truncate(10**12)
    line = answer(tmp_path / "a.mp4", SizeDetector())
    assert (line["probability"], line["status"], line["sha256"]) == (None, "unreadable", None)
    assert "claims 1,000 GB" in line["reason"]
