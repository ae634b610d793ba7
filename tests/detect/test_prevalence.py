"""What a score and a flag are worth where synthetic files are rare."""

import json
from dataclasses import dataclass
from fractions import Fraction
from math import nan
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import detect.load
from detect.cli import app
from detect.detector import ModelFacts, Score, Status
from detect.prevalence import Rates, probability_at_base_rate, read_at_prevalence
from media.clip import Clip
from media.video import write_clip

FACTS = ModelFacts("fixed", "1", "ab" * 32, 0.6, "card.md")
RATES = Rates(detection=0.8, false_alarms=0.05, real_clips=400)


def test_the_same_score_means_less_where_synthetic_files_are_rare() -> None:
    assert probability_at_base_rate(0.9, 0.5) == pytest.approx(0.9)
    assert probability_at_base_rate(0.9, 0.01) == pytest.approx(9 / (9 + 99))
    assert probability_at_base_rate(0.9, 0.2, calibrated_at=0.2) == pytest.approx(0.9)
    assert probability_at_base_rate(0.0, 0.5) == 0.0
    assert probability_at_base_rate(1.0, 0.01) == 1.0
    for rate in (0.0, 1.0, nan):
        with pytest.raises(ValueError, match="base_rate"):
            probability_at_base_rate(0.5, rate)
    with pytest.raises(ValueError, match="probability"):
        probability_at_base_rate(1.5, 0.5)


def test_a_reading_says_what_the_score_and_what_a_flag_is_worth() -> None:
    reading = read_at_prevalence(0.9, 0.01, RATES)
    assert reading.sentences == (
        "Where 1% of the files are synthetic, this score means 8%.",
        "Of 100 files flagged among uploads of which 1% are synthetic, about 14 are.",
    )
    assert reading.flagged == pytest.approx(0.008 / (0.008 + 0.0495))
    assert reading.to_json()["spared"] == pytest.approx(0.9405 / (0.9405 + 0.002))


def test_an_abstention_still_tells_what_a_flag_would_be_worth() -> None:
    reading = read_at_prevalence(None, 0.01, RATES)
    assert reading.probability is None
    assert len(reading.sentences) == 1


def test_rates_that_are_not_known_or_rest_on_few_clips_are_said_to() -> None:
    unknown = read_at_prevalence(0.9, 0.01, None)
    assert unknown.flagged is None and "not known" in unknown.sentences[1]
    few = read_at_prevalence(0.9, 0.01, Rates(0.8, 0.02, 90))
    assert "90 real clips: too few" in few.sentences[2]
    none_flagged = read_at_prevalence(0.1, 0.01, Rates(0.0, 0.0, 1000))
    assert none_flagged.flagged is None and "no file" in none_flagged.sentences[1]


@pytest.mark.parametrize("wrong", [(1.2, 0.1, 10), (0.5, -0.1, 10), (0.5, 0.1, 0), (nan, 0.1, 10)])
def test_rates_that_cannot_be_are_refused(wrong: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="rates"):
        Rates(*wrong)


@dataclass(frozen=True)
class Measured:
    """A detector that flags everything and knows how often that is right."""

    rates: Rates | None = RATES
    facts: ModelFacts = FACTS

    def score_file(self, path: Path) -> Score:
        return Score(0.9, Status.OK, "", (), (), 1.0, 0.1)


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(detect.load, "load_detector", lambda weights=None: Measured())
    write_clip(Clip(np.zeros((25, 32, 48, 3), np.uint8), Fraction(25)), tmp_path / "a.mp4")
    return tmp_path / "a.mp4"


def test_check_reads_its_score_at_the_share_that_is_stated(film: Path) -> None:
    said = " ".join(CliRunner().invoke(app, ["check", str(film), "--prevalence", "0.01"]).stdout.split())
    assert "Where 1% of the files are synthetic, this score means 8%." in said
    assert "about 14 are." in said
    assert "1 in 10 files" not in said
    result = CliRunner().invoke(app, ["check", str(film), "--prevalence", "0.01", "--json"])
    assert json.loads(result.stdout)["prevalence"]["flagged"] == pytest.approx(0.139, abs=0.001)


def test_rates_of_another_threshold_are_not_used(film: Path) -> None:
    arguments = ["check", str(film), "--prevalence", "0.01", "--threshold", "0.4", "--json"]
    reading = json.loads(CliRunner().invoke(app, arguments).stdout)["prevalence"]
    assert reading["flagged"] is None and reading["probability"] is not None


@pytest.mark.parametrize("wrong", ["0", "1", "50", "-0.1"])
def test_a_share_that_is_none_is_a_mistake_of_the_caller(film: Path, wrong: str) -> None:
    result = CliRunner().invoke(app, ["check", str(film), f"--prevalence={wrong}"])
    assert result.exit_code == 2
    assert "--prevalence must lie between 0 and 1" in result.stderr
