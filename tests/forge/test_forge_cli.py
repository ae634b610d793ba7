from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from quick_maker import BREAKING, QUICK, material, picture, tone, write_wav
from tiny_motion import tiny_weights
from typer.testing import CliRunner

from forge.cli import app
from forge.methods import METHODS
from media.video import probe
from provenance.credential import read_credential

AGREED = "Ada Example agreed on 2026-03-01 to demo clips of this project"


@pytest.fixture(autouse=True)
def quick_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods of a few lines beside the real ones."""
    monkeypatch.setattr("forge.methods.METHODS", {**METHODS, "quick": QUICK, "breaking": BREAKING})


def run(*words: object) -> tuple[int, list[dict[str, object]], str]:
    """Exit code, the JSON lines of stdout, and stderr; an exception that is no exit is a failure of the test."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path, Path]:
    return picture(tmp_path / "p.png"), write_wav(tmp_path / "s.wav", tone(0.8)), tmp_path / "out.mp4"


def test_animate_prints_one_json_line_and_talks_on_stderr(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    code, lines, talk = run(
        "animate",
        portrait,
        speech,
        "-o",
        out,
        "--nonexistent",
        "--license",
        "CC0-1.0",
        "--method",
        "quick",
        "--size",
        256,
    )
    assert code == 0
    (facts,) = lines
    assert facts["file"] == str(out) and facts["frames"] == 20 and facts["label"] == "synthetic"
    assert facts["credential"]["standing"] == "trusted"  # type: ignore[index]
    assert facts["license"] == "CC0-1.0"
    assert "made" in talk and "development" in talk


def test_all_controls_reach_the_credential(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    words = ["--consent", AGREED, "--gaze", "-10,5", "--distance", 1.2, "--emotion", "happy:0.5", "--head-motion", 0.5]
    words += [
        "--blink-rate",
        0.8,
        "--lip-gain",
        1.1,
        "--seed",
        42,
        "--fps",
        "29.97",
        "--method",
        "quick",
        "--size",
        256,
    ]
    code, _, _ = run("animate", portrait, speech, "-o", out, *words)
    assert code == 0
    record = read_credential(out).record
    assert record is not None and record.consent == f"consent: {AGREED}"
    expected = {
        "gaze_yaw_degrees": -10, "gaze_pitch_degrees": 5, "distance": 1.2, "emotion": "happy", "emotion_strength": 0.5,
        "head_motion": 0.5, "blink_rate": 0.8, "lip_gain": 1.1, "seed": 42, "fps": "30000/1001",
    }  # fmt: skip
    assert {name: record.controls[name] for name in expected} == expected
    assert str(probe(out).fps) == "30000/1001"


@pytest.mark.parametrize("name", ["two\nlines\x1b[31m.mp4", "no text \udcff.mp4", "x" * 250 + ".mp4"])
def test_strange_names_are_pure_json_on_stdout_and_one_line_of_text_on_stderr(
    inputs: tuple[Path, Path, Path], name: str
) -> None:
    portrait, speech, out = inputs
    words = ["--nonexistent", "--method", "quick", "--size", 256]
    code, (facts,), talk = run("animate", portrait, speech, "-o", out.with_name(name), *words)
    assert code == 0 and facts["file"] == str(out.with_name(name))
    made = [line for line in talk.splitlines() if line.startswith("made ") and line.endswith(", signed")]
    assert len(made) == 1 and made[0].isprintable()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "not declared"),
        (["--consent", "ok"], "who agreed"),
        (["--consent", AGREED, "--nonexistent"], "either"),
        (["--nonexistent", "--gaze", "left"], "gaze"),
        (["--nonexistent", "--emotion", "hangry"], "emotion"),
        (["--nonexistent", "--fps", "0"], "fps"),
        (["--nonexistent", "--fps", "fast"], "fps"),
        (["--nonexistent", "--fps", "1e99999"], "fps"),
        (["--nonexistent", "--fps", "30/0"], "fps"),
        (["--nonexistent", "--fps", "500"], "fps"),
        (["--nonexistent", "--distance", "0"], "distance"),
        (["--nonexistent", "--distance", "nan"], "distance"),
        (["--nonexistent", "--seed", "-1"], "seed"),
        (["--nonexistent", "--method", "magic"], "method"),
        (["--nonexistent", "--motion", "magic"], "motion must be baseline, diffusion"),
        (["--nonexistent", "--motion", "gone.safetensors"], "gone.safetensors: no such file"),
        (["--nonexistent", "--motion", "baseline", "--steps", "5"], "steer a network"),
        (["--nonexistent", "--motion", "baseline", "--guidance", "none"], "steer a network"),
        (["--nonexistent", "--motion", "diffusion", "--guidance", "gaze"], "guidance must be"),
        (["--nonexistent", "--frozen-pose", "--head-motion", "0.5"], "a frozen pose has no head motion"),
    ],
)
def test_a_wrong_wish_is_one_line_and_exit_1(inputs: tuple[Path, Path, Path], words: list[str], reason: str) -> None:
    portrait, speech, out = inputs
    method = [] if "--method" in words else ["--method", "quick"]
    code, lines, talk = run("animate", portrait, speech, "-o", out, *words, *method)
    assert code == 1 and lines == []
    assert talk.startswith("error: ") and talk.count("\n") == 1 and reason in talk
    assert not out.exists()


def test_motion_steps_and_guidance_reach_the_credential(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    weights = tiny_weights(out.with_name("mine.safetensors"))
    words = ["--nonexistent", "--method", "quick", "--size", 256, "--frozen-pose"]
    words += ["--motion", weights, "--steps", 7, "--guidance", "audio=0.2, gaze=3"]
    code, (facts,), _ = run("animate", portrait, speech, "-o", out, *words)
    assert code == 0 and facts["motion"] == "mine.safetensors"
    record = read_credential(out).record
    assert record is not None and record.controls["head_motion"] == 0.0
    assert record.controls["motion_steps"] == 7 and record.controls["motion_guidance"] == {"audio": 0.2, "gaze": 3.0}


def test_a_number_of_steps_that_is_not_offered_is_wrong_usage(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    assert run("animate", portrait, speech, "-o", out, "--nonexistent", "--steps", "0")[0] == 2


def test_a_size_that_is_not_offered_is_wrong_usage(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    assert run("animate", portrait, speech, "-o", out, "--nonexistent", "--size", "300")[0] == 2


def test_dataset_makes_resumes_and_reports(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=2, speech=2), tmp_path / "out"
    words = ["dataset", "tiny", out, "--portraits", inputs / "portraits", "--speech", inputs / "speech"]
    words += ["--nonexistent", "--limit", 2, "--workers", 1, "--method", "quick", "--no-gate"]
    code, (report,), talk = run(*words)
    assert code == 0 and report["made"] == 2 and report["complete"] is True and report["standing"] == "trusted"
    assert len((out / "catalog.jsonl").read_text().splitlines()) == 2
    assert "2 clips" in talk
    code, (report,), _ = run(*words)
    assert code == 0 and (report["made"], report["kept"]) == (0, 2)


def test_dataset_says_what_was_left_out_and_still_succeeds(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=1, speech=1), tmp_path / "out"
    (inputs / "portraits" / "broken.png").write_bytes(b"\x89PNG\r\n")
    words = [
        "--portraits",
        inputs / "portraits",
        "--speech",
        inputs / "speech",
        "--nonexistent",
        "--limit",
        1,
        "--no-gate",
    ]
    code, (report,), talk = run("dataset", "tiny", out, *words, "--method", "quick")
    assert code == 0 and list(report["skipped_inputs"]) == ["broken.png"]  # type: ignore[call-overload]
    assert "left out broken.png" in talk


def test_dataset_exits_1_when_a_planned_clip_is_missing(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=1, speech=1), tmp_path / "out"
    picture(inputs / "portraits" / "stubborn.png", number=5)
    words = [
        "--portraits",
        inputs / "portraits",
        "--speech",
        inputs / "speech",
        "--nonexistent",
        "--limit",
        2,
        "--no-gate",
    ]
    code, (report,), talk = run("dataset", "tiny", out, *words, "--method", "breaking")
    assert code == 1 and report["complete"] is False and report["clips"] == 1
    assert talk.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"recipe": "huge"}, "recipe must be one of"),
        ({"--portraits": "nowhere"}, "not a folder"),
        ({"--speech": "nowhere"}, "not a folder"),
        ({"--real": "nowhere"}, "not a folder"),
        ({"--limit": "0"}, "limit"),
        ({"--workers": "0"}, "workers"),
        ({"--seed": "-5"}, "seed"),
        ({"--nonexistent": None}, "not declared"),
    ],
)
def test_a_dataset_that_cannot_begin_leaves_no_folder(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    inputs, out = material(tmp_path / "in", portraits=1, speech=1), tmp_path / "out"
    options: dict[str, object] = {
        "--portraits": inputs / "portraits",
        "--speech": inputs / "speech",
        "--method": "quick",
    }
    options |= {key: value for key, value in change.items() if key not in ("recipe", "--nonexistent")}
    declared = [] if "--nonexistent" in change else ["--nonexistent"]
    words = [word for pair in options.items() for word in pair]
    code, lines, talk = run("dataset", change.get("recipe", "tiny"), out, *declared, *words)
    assert code == 1 and lines == [] and reason in talk
    assert talk.startswith("error: ") and talk.count("\n") == 1
    assert not out.exists()


def test_recipes_are_listed_as_json_lines() -> None:
    code, lines, _ = run("recipes")
    assert code == 0 and [line["name"] for line in lines][:4] == ["tiny", "small", "small_motions", "bench_512"]


def test_ctrl_c_ends_with_130_and_leaves_nothing(
    inputs: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("quick_maker.QuickMaker.film", interrupt)
    portrait, speech, out = inputs
    code, lines, talk = run("animate", portrait, speech, "-o", out, "--nonexistent", "--method", "quick")
    assert code == 130 and lines == [] and "interrupted" in talk
    assert sorted(path.name for path in out.parent.iterdir()) == ["p.png", "s.wav"]


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'torch', 'cv2', 'av', 'mediapipe', 'c2pa', 'pandas', 'PIL'}"
    code = f"import sys, forge.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
