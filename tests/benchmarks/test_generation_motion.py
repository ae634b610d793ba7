"""The motion benchmark's tables, rows and material, on made figures and made sound."""

from __future__ import annotations

import json
from fractions import Fraction
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest

from benchmarks import generation_motion
from benchmarks.generation_motion import load_found, mark_of, save_found, weights_of
from benchmarks.motion_controls import Answer
from benchmarks.motion_drawn import sharpness
from benchmarks.motion_material import Utterance, read_aligned, read_utterances, spread_over_kinds
from benchmarks.motion_parts import group_of, long_speech
from benchmarks.motion_systems import frozen_mouth, loud_jaw, open_systems, without_context
from benchmarks.motion_tables import (
    FIGURES,
    REFERENCES,
    Found,
    controls_table,
    goals_of,
    groups_table,
    ranges_table,
    rows_table,
)
from forge.motion.controls import Controls
from forge.motion.features import Motion
from forge.motion.pronunciation import write_wav
from forge.train_motion import is_held_out
from media.clip import Waveform, frames_for
from media.landmarks import FACE_OVAL, LANDMARKS

FPS = Fraction(25)


def a_sound(seconds: float = 2.0, seed: int = 0) -> Waveform:
    """Syllables of noise, four a second."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(seed).normal(size=len(time)) * np.clip(np.sin(2 * np.pi * 4 * time), 0, None)
    return Waveform((0.2 * noise).astype(np.float32)[:, None], 16_000)


def found(row: str, utterance: str, group: str = "en", part: str = "exact", **facts: float) -> Found:
    return Found(row, part, utterance, utterance[:2], group, facts)


def test_rows_carry_intervals_and_absent_systems_their_reason() -> None:
    made = [found("baseline", f"u{i}", lip_deviation=0.05 + 0.01 * i) for i in range(4)]
    table = rows_table("t", made, FIGURES, {"distilled": "give --distilled"})
    assert str(table.rows[0]["lip sd"]).startswith("0.065 (")
    assert "S_C (self)" not in table.rows[0]  # nobody has it
    assert table.rows[1]["utterances"] == "absent: give --distilled"


def test_missing_figures_are_left_out_of_means() -> None:
    table = rows_table("t", [found("a", "u1", beats=nan), found("a", "u2", beats=0.5)], FIGURES, {})
    assert str(table.rows[0]["beats"]).startswith("0.5 ")


def test_natural_means_within_30_percent_of_either_reference() -> None:
    turn = REFERENCES["head_turn_degrees"]
    assert turn.holds(0.2)
    assert turn.holds(0.41)
    assert not turn.holds(0.19)
    assert not turn.holds(0.42)
    assert not turn.holds(nan)


def test_ranges_and_groups_mark_what_is_unnatural() -> None:
    made = [found("a", "u1", lip_deviation=0.05, head_turn_degrees=0.9)]
    rows = {row["statistic"]: row["within 30%"] for row in ranges_table(made, []).rows}
    assert rows["lip_deviation"] == "yes"
    assert rows["head_turn_degrees"] == "no"
    row = groups_table("t", made, "language").rows[0]
    assert row["lip sd"] == "0.05"
    assert row["dP degrees/frame"] == "0.9 *"


def test_answers_become_curves() -> None:
    given = [Answer("distance", ask, "me", float(ask) + 0.1, 0.1) for ask in ("0.5", "1", "2")]
    row = controls_table({"a": given}).rows[0]
    assert row["asked"] == "0.5 | 1 | 2"
    assert row["obtained"] == "0.6 | 1.1 | 2.1"
    assert row["rising"] == "yes"


def test_goals_are_reached_or_not_and_never_by_absence() -> None:
    names = list(REFERENCES)
    good = dict(zip(names, (0.051, 0.26, 0.28, 27.0, 0.13), strict=True)) | {"sync_confidence": 0.3}
    people = [
        found("real people", "c1", "clip", "filmed", **good),
        found("random pairs", "c2", "clip", sync_confidence=0.05),
    ]
    drawn = [found("net", "c1", "clip", "drawn", **good), found("baseline", "c1", "clip", sync_confidence=0.2)]
    exact = [found("net", "u1", lips_close=0.95, seeds_head_degrees=4.0, seeds_lip_likeness=0.9)]
    rest = {
        "gaze_error": 2.0,
        "distance_error": 0.004,
        "emotions_rising": 7,
        "drift": 0.1,
        "sharpness": 1.0,
        "seam": 1.0,
    }
    assert all(goal.reached for goal in goals_of("net", exact, drawn, people, rest))
    empty = goals_of("net", [], [], people, {})
    assert not any(goal.reached for goal in empty)


def test_every_figure_is_saved_and_nan_is_null(tmp_path: Path) -> None:
    save_found([found("a", "u1", beats=nan, capp=0.25)], tmp_path / "found.jsonl")
    line = json.loads((tmp_path / "found.jsonl").read_text())
    assert line["facts"] == {"beats": None, "capp": 0.25}
    (again,) = load_found(tmp_path / "found.jsonl")
    assert (again.row, again.facts["capp"]) == ("a", 0.25)
    assert isnan(again.facts["beats"])


def test_figures_are_made_anew_for_other_weights(tmp_path: Path) -> None:
    weights = tmp_path / "m.safetensors"
    weights.write_bytes(b"one")
    before = mark_of([weights], [tmp_path])
    assert mark_of([weights], [tmp_path]) == before
    weights.write_bytes(b"two")
    assert mark_of([weights], [tmp_path]) != before


def test_utterances_know_their_language_and_kind(tmp_path: Path) -> None:
    write_wav(a_sound(), tmp_path / "a.wav")
    write_wav(a_sound(0.5), tmp_path / "short.wav")
    (tmp_path / "speech.csv").write_text("file,language,kind\na.wav,ja,singing\n")
    (only,) = read_utterances(tmp_path)
    assert (only.name, only.language, only.kind) == ("a", "ja", "singing")
    assert group_of(only) == "ja singing"
    assert only.shortened(1.0).sound.duration_seconds == 1


def test_a_few_utterances_stand_for_all_languages() -> None:
    every = [Utterance(f"u{i}", f"u{i}", "en" if i < 8 else "de", "speech", a_sound(0.2)) for i in range(10)]
    assert [u.language for u in spread_over_kinds(every, 4)] == ["en", "de", "en", "de"]


def test_only_voices_that_no_network_learned_are_aligned_speech(tmp_path: Path) -> None:
    voices = [f"voice{i}" for i in range(60)]
    lines = []
    for voice in voices:
        write_wav(a_sound(), tmp_path / f"{voice}.wav")
        lines.append(json.dumps({"file": f"{voice}.wav", "voice": voice, "language": "en", "visemes": [[0.0, "p"]]}))
    (tmp_path / "phones.jsonl").write_text("\n".join(lines))
    read = read_aligned([tmp_path], 50)
    assert [each.cluster for each in read] == [voice for voice in voices if is_held_out(voice)]
    assert read[0].visemes == [(0.0, "p")]


def talker(speech: Waveform, fps: Fraction, controls: Controls) -> Motion:
    """A jaw that counts frames, for the seams of what is built on it."""
    length = frames_for(speech.duration_seconds, fps)
    return Motion.neutral(length, fps).replace(jawOpen=np.arange(length) / 1000, yaw=controls.seed)


def test_windows_without_context_know_nothing_of_each_other() -> None:
    motion = without_context(talker)(a_sound(5.0), FPS, Controls(seed=3))
    assert motion.length == 125
    np.testing.assert_allclose(motion["jawOpen"][[0, 49, 50, 100]], [0.0, 0.049, 0.0, 0.0], atol=1e-6)
    assert motion["yaw"][0] != motion["yaw"][50]


def test_a_frozen_mouth_keeps_its_head() -> None:
    motion = frozen_mouth(talker)(a_sound(), FPS, Controls(seed=3))
    assert motion["jawOpen"].std() == 0.0
    assert (motion["yaw"] == 3).all()


def test_the_loud_jaw_moves_nothing_else() -> None:
    motion = loud_jaw(a_sound(), FPS, Controls())
    assert motion["jawOpen"].std() > 0.02
    assert (motion.pose == 0).all()


def test_systems_that_cannot_be_had_say_why(tmp_path: Path) -> None:
    systems = open_systems({"net": tmp_path / "none.safetensors"}, None, [], ["baseline", "diffusion"], variants=True)
    assert "holds no weights" in str(systems["net"])
    assert systems["distilled"] == "give --distilled"
    assert systems["nearest clip"] == "give --real"
    assert callable(systems["baseline"])


def test_weights_have_names(tmp_path: Path) -> None:
    options = generation_motion.read_options(
        [
            "--speech",
            "s",
            "--portraits",
            "p",
            "--out",
            "o",
            "--weights",
            "new=a/b.safetensors",
            "--weights",
            "run/m.safetensors",
        ]
    )
    assert weights_of(options) == {"new": Path("a/b.safetensors"), "run": Path("run/m.safetensors")}


def test_long_speech_has_the_length_that_was_asked() -> None:
    each = Utterance("u", "u", "en", "speech", a_sound(1.3))
    assert long_speech([each], 10.0).duration_seconds == 10


def test_blur_lowers_the_sharpness_inside_the_face() -> None:
    marks = np.zeros((LANDMARKS, 3), np.float32)
    angle = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    marks[list(FACE_OVAL), :2] = 64 + 40 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    picture = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
    soft = np.repeat(np.repeat(picture[::4, ::4], 4, axis=0), 4, axis=1)
    assert sharpness(np.full_like(picture, 90), marks) == pytest.approx(0.0, abs=1e-3)
    assert sharpness(soft, marks) < sharpness(picture, marks)


def test_a_missing_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--speech",
        str(tmp_path),
        "--portraits",
        str(tmp_path / "none"),
        "--out",
        str(tmp_path / "out"),
        "--quick",
    ]
    assert generation_motion.main(words) == 1
    assert "not a folder" in " ".join(capsys.readouterr().err.split())
