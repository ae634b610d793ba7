"""The robustness ladder goes on where it stopped, pairs what it compares, and finds a known weakness."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import robustness
from benchmarks.robustness import (
    Job,
    append,
    beginning,
    chosen_rungs,
    measure_rungs,
    read_scores,
    sampled,
    suite,
)
from benchmarks.robustness_figures import CLEAN, Rung, draw, figures_of, result_of
from detect.detector import DetectError, ModelFacts, Score, Status
from media.catalog import Catalog, Label, Sample
from media.clip import Clip, MediaError, Waveform
from media.perturb import PERTURBATIONS, SEVEN_BY_FIVE
from media.video import read_clip, write_clip

FACTS = ModelFacts("eye", "1", "e" * 64, 0.5, "nowhere")


@dataclass
class BrightnessJudge:
    """Takes the mean grey for the probability, so what damage does to its answer is known."""

    facts: ModelFacts = FACTS
    seen: list[Path] = field(default_factory=list)

    def score_file(self, path: Path) -> Score:
        self.seen.append(path)
        grey = float(read_clip(path).frames.mean()) / 255
        if grey > 0.95:
            return Score.abstain(Status.LOW_QUALITY, "too bright")
        return Score(grey, Status.OK, "", seconds_of_video=0.2)


def sample(number: int, label: Label, maker: str | None = None, person: str | None = None) -> Sample:
    return Sample(
        f"c{number}", f"c{number}.mp4", label, f"{number:064x}", person=person or f"p{number}", maker=maker, split="val"
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Catalog:
    """Three dark real clips and three brighter synthetic ones."""
    samples = []
    for number in range(6):
        synthetic = number % 2 == 1
        frames = np.full((8, 32, 32, 3), 150 + 10 * number if synthetic else 60 + 10 * number, np.uint8)
        write_clip(Clip(frames, Fraction(25)), tmp_path / f"c{number}.mp4")
        samples.append(sample(number, Label.SYNTHETIC if synthetic else Label.REAL))
    return Catalog(samples)


RUNGS = (CLEAN, Rung("brightness", 40), Rung("brightness", 70))


def run(root: Path, catalog: Catalog, judge: BrightnessJudge, **options: Any) -> list[dict[str, Any]]:
    return measure_rungs(root, catalog, RUNGS, lambda: judge, FACTS.sha256, root / "out", **options)


def test_a_brighter_picture_shifts_the_judge_of_brightness_as_far_as_it_was_brightened(
    tmp_path: Path, dataset: Catalog
) -> None:
    lines = run(tmp_path, dataset, BrightnessJudge())
    clean, mild, hard = figures_of(lines, RUNGS, 0.5)
    assert clean.auc.value == 1.0
    assert clean.coverage == 1.0
    assert abs(mild.shift_real.value - 40 / 255) < 0.01
    assert mild.auc_change.value == 0.0
    assert clean.false_alarms.value == 0.0
    assert hard.false_alarms.value == 1.0
    assert hard.false_alarms_change.value == 1.0
    assert hard.answered == 4, "two synthetic clips are too bright to judge"
    assert hard.detections.value == 1.0
    assert hard.shift_synthetic.value == pytest.approx(70 / 255, abs=0.01), "only clips answered both times are paired"


def test_a_run_goes_on_where_it_stopped_and_answers_nothing_twice(tmp_path: Path, dataset: Catalog) -> None:
    whole = run(tmp_path, dataset, BrightnessJudge())
    store = tmp_path / "out" / "scores.jsonl"
    lines = store.read_text().splitlines(keepends=True)
    store.write_text("".join(lines[:7]) + lines[7][:40])
    judge = BrightnessJudge()
    again = run(tmp_path, dataset, judge)
    assert len(judge.seen) == len(whole) - 7

    def answers(lines: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return [(line["id"], line["perturbation"], line["level"], line["probability"]) for line in lines]

    assert answers(again) == answers(whole)
    third = BrightnessJudge()
    run(tmp_path, dataset, third)
    assert third.seen == []


def test_other_weights_other_lengths_and_errors_are_scored_anew(tmp_path: Path, dataset: Catalog) -> None:
    run(tmp_path, dataset, BrightnessJudge())
    judge = BrightnessJudge(seen=[])
    run(tmp_path, dataset, judge, seconds=0.2)
    assert len(judge.seen) == 18
    store = tmp_path / "out" / "scores.jsonl"
    lines = [json.loads(line) for line in store.read_text().splitlines()]
    lines[3] |= {"status": "error", "probability": None}
    store.write_text("".join(json.dumps(line) + "\n" for line in lines))
    last = BrightnessJudge()
    run(tmp_path, dataset, last)
    assert len(last.seen) == 1


def test_a_clip_that_cannot_be_read_is_an_error_line_and_no_figure(tmp_path: Path, dataset: Catalog) -> None:
    (tmp_path / "c0.mp4").write_bytes(b"no video")
    lines = run(tmp_path, dataset, BrightnessJudge())
    broken = [line for line in lines if line["status"] == "error"]
    assert {line["id"] for line in broken} == {"c0"}
    assert all("MediaError" in line["reason"] for line in broken)
    assert figures_of(lines, RUNGS, 0.5)[0].answered == 5


def test_a_strangers_file_is_never_taken_for_scores(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text('{"file": "x"}\n')
    with pytest.raises(DetectError, match="not the scores of this benchmark"):
        read_scores(path)
    append(tmp_path / "new.jsonl", {"a": 1})
    append(tmp_path / "new.jsonl", {"a": 2})
    assert (tmp_path / "new.jsonl").read_text() == '{"a": 1}\n{"a": 2}\n'


def test_the_same_clip_gets_the_same_noise_and_another_clip_other_noise(tmp_path: Path, dataset: Catalog) -> None:
    class Keeper(BrightnessJudge):
        kept: list[np.ndarray] = []  # noqa: RUF012

        def score_file(self, path: Path) -> Score:
            self.kept.append(read_clip(path).frames[0].astype(int))
            return super().score_file(path)

    keeper = Keeper()
    judge = robustness.Judge(lambda: keeper)
    first, second = dataset.samples[0], dataset.samples[2]
    for one in (first, first, second):
        judge.line(Job(one, tmp_path / one.path, Rung("noise", 20), None))
    a, b, c = keeper.kept
    assert np.array_equal(a, b)
    assert np.abs((a - a.mean()) - (c - c.mean())).mean() > 5


def test_samples_are_spread_over_makers_and_people_and_labels_take_turns() -> None:
    samples = [sample(n, Label.SYNTHETIC, maker="big", person=f"p{n % 3}") for n in range(20)]
    samples += [sample(20, Label.SYNTHETIC, maker="small"), *(sample(30 + n, Label.REAL) for n in range(9))]
    chosen = sampled(samples, 4)
    assert [s.label for s in chosen] == [Label.REAL, Label.SYNTHETIC] * 4
    synthetic = [s for s in chosen if s.label is Label.SYNTHETIC]
    assert "small" in {s.maker for s in synthetic}
    assert len({s.person for s in synthetic}) == 4
    assert chosen == sampled(list(reversed(samples)), 4)
    assert sampled(samples, 6)[:8] == chosen, "a larger sample must use the smaller one's scores again"
    assert len(sampled(samples, None)) == 30


def test_the_beginning_of_a_clip_has_its_own_sound(tmp_path: Path, counting_clip: Clip) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(counting_clip, path)
    part = beginning(path, 1.0)
    assert part.length == 25
    assert isinstance(part.sound, Waveform)
    assert part.sound.duration_seconds == 1
    assert beginning(path, None).length == 50


def test_suites_name_rungs_that_exist() -> None:
    for name in ("quick", "7x5", "full"):
        rungs = suite(name)
        assert len(set(rungs)) == len(rungs)
        assert {rung.perturbation for rung in rungs} <= set(PERTURBATIONS)
    assert len(suite("7x5")) == 35
    assert {rung.perturbation for rung in suite("7x5")} == {name for name, _ in SEVEN_BY_FIVE.values()}
    assert chosen_rungs("quick", ["jpeg"])[1:] == tuple(Rung("jpeg", level) for level in PERTURBATIONS["jpeg"].levels)
    with pytest.raises(DetectError, match="there is no suite"):
        suite("tiny")
    with pytest.raises(DetectError, match="there is no perturbation"):
        chosen_rungs("quick", ["moon"])


def test_one_label_alone_is_said_and_not_scored(tmp_path: Path, dataset: Catalog) -> None:
    real = dataset.filter(label=Label.REAL)
    lines = run(tmp_path, real, BrightnessJudge())
    figures = figures_of(lines, RUNGS, 0.5)
    assert not figures[1].auc.scored
    assert not figures[1].shift_synthetic.scored
    assert figures[1].shift_real.scored
    result = result_of(figures, lines, FACTS, "x")
    assert "not scored" in str(result.tables[1].rows[1]["AUC"])


def test_the_table_and_the_plot_show_every_rung(tmp_path: Path, dataset: Catalog) -> None:
    lines = run(tmp_path, dataset, BrightnessJudge())
    figures = figures_of(lines, RUNGS, 0.5)
    result = result_of(figures, lines, FACTS, "python -m benchmarks.robustness")
    rows = result.tables[1].rows
    assert [row["level"] for row in rows] == ["", "40", "70"]
    assert rows[2]["answered"] == "4 of 6"
    assert rows[0]["AUC, change"] == ""
    pytest.importorskip("matplotlib")
    path = draw(figures, tmp_path / "plot.png")
    assert path is not None
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_broken_detector_is_an_error_line(tmp_path: Path, dataset: Catalog) -> None:
    class Broken(BrightnessJudge):
        def score_file(self, path: Path) -> Score:
            raise MediaError("no")

    lines = run(tmp_path, dataset, Broken())
    assert {line["status"] for line in lines} == {"error"}
    assert all(line["probability"] is None for line in lines)
