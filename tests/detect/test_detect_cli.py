"""The commands as a person or a script meets them: streams, exit codes, one line for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import detect.load
from detect.cli import app, sparkline
from detect.detector import DetectError, FaceScore, ModelFacts, Score, Status, TimePoint
from media.clip import Clip

TRACK = FaceScore(0, 0.0, 2.0, (20, 10, 80, 90), 0.9, (TimePoint(0, 0.7), TimePoint(1, 0.9)))


SUSPICIOUS = Score(0.9, Status.OK, "", (TRACK,), TRACK.timeline, 2.0, 0.5)
FACTS = ModelFacts("fixed", "1", "ab" * 32, 0.5, "card.md")


@dataclass(frozen=True)
class Fixed:
    """A detector that always says the same."""

    score: Score = SUSPICIOUS
    facts: ModelFacts = FACTS

    def score_file(self, path: Path) -> Score:
        return self.score


@pytest.fixture(autouse=True)
def known_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect.load, "load_detector", lambda weights=None: Fixed())


@pytest.fixture
def video(counting_clip: Clip, tmp_path: Path) -> Path:
    from media.video import write_clip

    write_clip(counting_clip, tmp_path / "talk.mp4")
    return tmp_path / "talk.mp4"


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_line(result: Result, code: int) -> str:
    """The only line of stderr of a command that ended with this code and said nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    return line


def test_check_prints_a_verdict_in_words(video: Path) -> None:
    result = call("check", video)
    assert result.exit_code == 0
    for words in ("Probably synthetic", "90%", "talk.mp4", "No credential", "fixed 1", "▆█"):
        assert words in result.stdout


def test_check_prints_the_contract_as_json_and_nothing_else(video: Path) -> None:
    result = call("check", video, "--json")
    said = json.loads(result.stdout)
    assert said["file"] == str(video)
    assert said["finding"] == "synthetic_likely"
    assert said["credential"]["standing"] == "absent"


def test_check_takes_another_threshold(video: Path) -> None:
    said = json.loads(call("check", video, "--json", "--threshold", "0.97").stdout)
    assert said["finding"] == "undecided"
    assert said["policy"]["synthetic_from"] == 0.97
    assert "between 0 and 1" in one_line(call("check", video, "--threshold", "1.5"), 2)


def test_check_writes_a_page_beside_its_answer(video: Path, tmp_path: Path) -> None:
    result = call("check", video, "--json", "--html", tmp_path / "r.html")
    assert json.loads(result.stdout)["finding"] == "synthetic_likely"
    assert "Report written to" in result.stderr
    page = (tmp_path / "r.html").read_text()
    assert "Probably synthetic" in page
    assert page.count("data:image/jpeg") == 2


def test_a_page_never_replaces_what_it_is_about(video: Path, tmp_path: Path) -> None:
    before = video.read_bytes()
    assert "one of the files" in one_line(call("check", video, "--html", video), 2)
    link = tmp_path / "link.html"
    link.symlink_to(video)
    assert "one of the files" in one_line(call("check", video, "--html", link), 2)
    assert "one of the files" in one_line(call("score", video, "-o", video), 2)
    assert video.read_bytes() == before


def test_a_place_that_cannot_be_written_is_said_before_the_work(video: Path, tmp_path: Path) -> None:
    assert "is a folder" in one_line(call("check", video, "--html", tmp_path), 2)
    assert "does not exist" in one_line(call("check", video, "--html", tmp_path / "no" / "r.html"), 2)
    assert "does not exist" in one_line(call("score", video, "-o", tmp_path / "no" / "s.jsonl"), 2)


def test_a_missing_file_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    assert "does not exist" in one_line(call("check", tmp_path / "gone.mp4"), 2)
    assert "does not exist" in one_line(call("score", tmp_path / "gone.mp4"), 2)


def test_a_trust_list_that_is_none_is_one_line(video: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("not a certificate")
    assert "a.pem" in one_line(call("check", video, "--trust", tmp_path / "a.pem"), 1)
    assert "missing.pem" in one_line(call("check", video, "--trust", tmp_path / "missing.pem"), 1)


def test_weights_that_do_not_load_are_one_line(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(weights: Path | None = None) -> Fixed:
        raise DetectError(f"{weights} holds no detector; train one\nwith `detect train`")

    monkeypatch.setattr(detect.load, "load_detector", refuse)
    assert "w.safetensors holds no detector; train one with" in one_line(
        call("check", video, "--weights", "w.safetensors"), 1
    )
    assert "holds no detector" in one_line(call("score", video, "--weights", "w.safetensors"), 1)


def test_score_writes_lines_to_stdout_and_talks_on_stderr(video: Path) -> None:
    result = call("score", video, video.parent)
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["probability"] == 0.9
    assert "1 files" in result.stderr or "1 file" in result.stderr


def test_score_resumes_its_output(video: Path, tmp_path: Path) -> None:
    output = tmp_path / "s.jsonl"
    assert call("score", video, "-o", output).exit_code == 0
    second = call("score", video, "-o", output)
    assert second.exit_code == 0
    assert second.stdout == ""
    assert "from before" in second.stderr
    assert len(output.read_text().splitlines()) == 1


def test_an_abstention_is_an_answer(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Fixed(Score.abstain(Status.NO_FACE, "No face was found."))
    monkeypatch.setattr(detect.load, "load_detector", lambda weights=None: silent)
    result = call("score", video)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["probability"] is None
    checked = call("check", video)
    assert checked.exit_code == 0
    assert "Undecided" in checked.stdout


def test_a_hostile_name_does_not_drive_the_terminal(video: Path) -> None:
    hostile = video.with_name("[red]a\x1b]0;owned\x07[link=x].mp4")
    video.rename(hostile)
    result = call("check", hostile)
    assert result.exit_code == 0
    assert "\x07" not in result.output
    assert "\x1b]0" not in result.output
    assert "[red]a" in result.stdout
    gone = call("check", hostile.with_name("\x1b[2Jgone.mp4"))
    assert "\x1b" not in one_line(gone, 2)


def test_help_never_loads_torch() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from detect.cli import app\n"
        "for verb in ([], ['check'], ['score'], ['train'], ['evaluate'], ['corpora'], ['lint']):\n"
        "    result = CliRunner().invoke(app, [*verb, '--help']); assert result.exit_code == 0, (verb, result.output)\n"
        "heavy = {'torch', 'cv2', 'av', 'c2pa', 'mediapipe', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_timeline_in_one_line_keeps_its_peaks() -> None:
    assert sparkline([0.0, 0.5, 1.0, float("nan")]) == "▁▅█▁"
    long = sparkline([0.1] * 500 + [0.99] + [0.1] * 500)
    assert len(long) == 60
    assert long.count("█") == 1
    assert sparkline([]) == ""


def test_a_foreign_table_becomes_a_catalog(video: Path) -> None:
    (video.parent / "clips.csv").write_text("file,label,split\ntalk.mp4,fake,train\n")
    said = json.loads(call("corpora", "import", video.parent).stdout)
    assert said["counts"] == {"train/synthetic": 1}
    assert len(Path(said["catalog"]).read_text().splitlines()) == 1
    listed = [json.loads(line)["layout"] for line in call("corpora", "list").stdout.splitlines()]
    assert listed[:2] == ["table", "catalog"] and "faceforensics++" in listed


def test_a_recipe_or_table_that_is_none_is_one_line(video: Path, tmp_path: Path) -> None:
    assert "known are" in one_line(call("train", "nonsense", video.parent, "-o", tmp_path / "run"), 1)
    assert "no catalog.jsonl" in one_line(call("train", "frame_tiny", video.parent, "-o", tmp_path / "run"), 1)
    assert not (tmp_path / "run").exists()


def test_evaluate_measures_a_catalog_and_prints_the_figures(video: Path, tmp_path: Path) -> None:
    table = "file,label,split,person\ntalk.mp4,synthetic,val,a\nother.mp4,real,val,b\n"
    (video.parent / "other.mp4").write_bytes(video.read_bytes() + bytes(64))
    (video.parent / "clips.csv").write_text(table)
    result = call("evaluate", "shipped", video.parent, "-o", tmp_path / "figures")
    figures = json.loads(result.stdout)
    assert figures["clips"] == 2
    assert figures["all"]["auc"]["value"] == 0.5  # both clips get the same score
    assert len((tmp_path / "figures" / "scores.jsonl").read_text().splitlines()) == 2
    assert "no sample" in one_line(call("evaluate", "shipped", video.parent, "--split", "test"), 1)


def test_keeping_a_network_and_going_on_with_one_exclude_each_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = one_line(call("train", "frame_tiny", tmp_path, "-o", out, "--network", "shipped", "--resume"), 2)
    assert "--resume" in told and not out.exists()
    told = one_line(call("train", "frame_tiny", tmp_path, "-o", out, "--network", "shipped", "--start", "shipped"), 2)
    assert "--start" in told and not out.exists()
    for option in ("--network", "--start"):
        missing = one_line(call("train", "frame_tiny", tmp_path, "-o", out, option, tmp_path / "no.safetensors"), 2)
        assert "no.safetensors" in missing and not out.exists()
