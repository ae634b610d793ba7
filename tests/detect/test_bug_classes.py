"""The classic mistakes of deepfake detectors: each has a check here, and each check notices when the mistake is made.

A check is a function that asserts. It is run on the code as it is, and once more with the mistake put in, where it
must fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isnan, nan
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import detect.check
import detect.prepare
import detect.scoring
import detect.train
import detect.verdict
from detect import metrics
from detect.check import check_file
from detect.detector import DetectError, FaceScore, ModelFacts, Score, Status, TimePoint
from detect.localise import pool_log_sum_exp, pool_top
from detect.prepare import LookPlan, look_at
from detect.recipes import frame_tiny
from detect.sampling import IndexArray, spread_indices
from detect.scoring import answer
from detect.verdict import Finding, Policy, decide
from media.catalog import Catalog, Label, Sample
from media.clip import Clip, FloatArray, MediaError, UInt8Array
from media.video import Frame, probe, stream_frames, write_clip

Check = Callable[[], None]
POLICY = Policy(synthetic_from=0.6, no_sign_below=0.4)
FACTS = ModelFacts("fixed", "1", "ab" * 32, 0.6, "card.md")


def notices(check: Check) -> None:
    """The check must fail now that the mistake is in."""
    with pytest.raises(AssertionError):
        check()


@dataclass(frozen=True)
class Fixed:
    """A detector that always says the same, or fails."""

    score: Score
    facts: ModelFacts = FACTS
    error: Exception | None = None

    def score_file(self, path: Path) -> Score:
        if self.error is not None:
            raise self.error
        return self.score


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Twelve seconds of moving noise without a face."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 32, 48, 3)).astype(np.uint8)
    write_clip(Clip(noise, Fraction(25)), tmp_path / "film.mp4")
    return tmp_path / "film.mp4"


class NoFaces:
    """A finder that looks and finds nothing."""

    def detect(self, image: UInt8Array) -> list[tuple[FloatArray, float]]:
        return []

    def measure(self, image: UInt8Array, box: FloatArray, score: float = 1.0) -> None:
        return None


# --- first N frames taken for evenly spaced --------------------------------------------------------------------------


def looks_reach_the_whole_video() -> None:
    dense, once = LookPlan(dense_seconds=4, max_looks=20).schedule(600)
    seconds = sorted(dense | once)
    assert max(np.diff(seconds)) <= 3 * 600 / len(seconds)
    assert seconds[-1] >= 600 - 600 / len(seconds) - 1
    assert max(dense) > 450


def test_the_first_frames_are_never_taken_for_evenly_spread_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    looks_reach_the_whole_video()

    def first(length: int, count: int) -> IndexArray:
        return np.arange(min(count, length), dtype=np.int64)

    monkeypatch.setattr(detect.prepare, "spread_indices", first)
    notices(looks_reach_the_whole_video)


# --- uint8 frame indices wrapping after 255 --------------------------------------------------------------------------


def late_seconds_are_looked_at() -> None:
    dense, once = LookPlan().schedule(2000)
    assert len(dense) == 16
    assert max(dense | once) > 1900


def test_frame_numbers_never_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    late_seconds_are_looked_at()

    def narrow(length: int, count: int) -> NDArray[np.uint8]:
        return spread_indices(length, count).astype(np.uint8)

    monkeypatch.setattr(detect.prepare, "spread_indices", narrow)
    notices(late_seconds_are_looked_at)


# --- checkpoint or temperature chosen on test data -------------------------------------------------------------------


class Seen(Exception):
    """Stops training as soon as it is known which samples it would use."""


def only_training_samples_are_used(samples: list[Sample], folder: Path) -> None:
    """Whatever is fitted, chosen or calibrated comes out of `prepared_samples`."""
    with pytest.raises(Seen) as stopped:
        detect.train.train(frame_tiny(), [(folder, Catalog(samples))], folder / "run", minutes=0.01)
    splits = {sample.split for sample in stopped.value.args[0]}
    assert splits == {"train"}


def test_nothing_is_chosen_or_calibrated_on_test_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(number: int, split: str) -> Sample:
        label = Label.SYNTHETIC if number % 2 else Label.REAL
        return Sample(f"s{number}", f"s{number}.mp4", label, f"{number:064x}", person=f"p{number}", split=split)

    samples = [one(n, split) for n, split in enumerate(["train"] * 4 + ["val"] * 4 + ["test"] * 4)]

    def stop(catalog: Catalog, *rest: object) -> None:
        raise Seen(list(catalog))

    def check() -> None:
        only_training_samples_are_used(samples, tmp_path)

    monkeypatch.setattr(detect.train, "prepared_samples", stop)
    check()
    # the mistake: the folder of the training data holds the test data too
    monkeypatch.setattr(detect.train, "Catalog", lambda chosen, name="": Catalog(samples))
    notices(check)


# --- largest-face-only labels a bystander ----------------------------------------------------------------------------


def crowd() -> Score:
    bystander = FaceScore(0, 0.0, 9.0, (0, 0, 400, 400), 0.05, ())
    forged = FaceScore(1, 0.0, 9.0, (500, 0, 560, 60), 0.97, ())
    return Score(0.97, Status.OK, "", (bystander, forged), (), 9.0)


def the_small_forged_face_decides() -> None:
    verdict = decide(None, crowd(), POLICY)
    assert verdict.finding is Finding.SYNTHETIC_LIKELY
    assert verdict.probability == 0.97
    alone = decide(None, replace(crowd(), probability=0.05, faces=crowd().faces[:1]), POLICY)
    assert alone.finding is Finding.NO_SIGN_OF_SYNTHESIS


def test_the_largest_face_does_not_answer_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    the_small_forged_face_decides()

    def of_the_largest(score: Score) -> float:
        return max(score.faces, key=lambda face: face.box[2] - face.box[0]).probability

    monkeypatch.setattr(detect.verdict, "strongest_probability", of_the_largest)
    notices(the_small_forged_face_decides)


# --- thresholds hard-coded for uncalibrated scores -------------------------------------------------------------------


def test_a_score_is_held_against_the_threshold_of_its_own_model(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finding(threshold: float) -> Finding:
        detector = Fixed(Score(0.55, Status.OK, ""), replace(FACTS, threshold=threshold))
        return check_file(film, detector).verdict.finding

    def each_by_its_own() -> None:
        assert finding(0.3) is Finding.SYNTHETIC_LIKELY
        assert finding(0.9) is not Finding.SYNTHETIC_LIKELY

    each_by_its_own()

    class AlwaysOneHalf:
        @staticmethod
        def around(threshold: float) -> Policy:
            return Policy(0.5, 0.5)

    monkeypatch.setattr(detect.check, "Policy", AlwaysOneHalf)
    notices(each_by_its_own)


# --- failures scored 0.5 ---------------------------------------------------------------------------------------------


def test_a_failure_is_never_one_half(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failures_have_no_probability() -> None:
        for error in (MediaError("damaged"), OSError("gone"), DetectError("broken"), RuntimeError("out of memory")):
            line = answer(film, Fixed(Score(0.9, Status.OK, ""), error=error))
            assert line["probability"] is None
            assert line["status"] != "ok" and line["reason"]
        assert look_at(film, finder=NoFaces()).status is Status.NO_FACE  # type: ignore[arg-type]

    failures_have_no_probability()
    monkeypatch.setattr(detect.scoring.Score, "abstain", lambda *told: Score(0.5, Status.OK, ""))
    notices(failures_have_no_probability)


def test_an_answer_without_a_judgement_cannot_be_made_up() -> None:
    with pytest.raises(ValueError, match="does not go with"):
        Score(0.5, Status.NO_FACE, "no face")
    with pytest.raises(ValueError, match="does not go with"):
        Score(nan, Status.OK, "")


@pytest.mark.parametrize("metric", [metrics.roc_auc, metrics.partial_auc, metrics.equal_error_rate])
def test_a_metric_that_does_not_exist_is_never_one_half(metric: metrics.Metric) -> None:
    assert isnan(metric(np.array([True, True]), np.array([0.1, 0.9])))


def test_abstentions_are_refused_by_metrics_and_not_filled_in() -> None:
    with pytest.raises(ValueError, match="leave abstentions out"):
        metrics.roc_auc([0, 1, 1], [0.1, 0.9, nan])


# --- decoders re-opened per frame ------------------------------------------------------------------------------------


def test_a_video_is_opened_once_however_long_it_is(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    really_open = av.open

    def counting(file: str, *rest: object, **more: object) -> object:
        opened.append(file)
        return really_open(file, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(av, "open", counting)

    def one_pass() -> None:
        opened.clear()
        look = look_at(film, finder=NoFaces())  # type: ignore[arg-type]
        assert look.seconds_of_video == pytest.approx(12.0, abs=0.1)
        assert 1 <= len(opened) <= 3  # the header, and one pass over the pictures

    one_pass()

    def seeking(path: Path, fps: Fraction | None = None, max_side: int | None = None, only: object = None) -> object:
        for number in range(0, probe(path).length or 300, 100):
            yield next(f for f in stream_frames(path, fps=fps, max_side=max_side) if f.index == number)

    monkeypatch.setattr(detect.prepare, "stream_frames", seeking)
    notices(one_pass)


# --- a mean that hides a partial forgery -----------------------------------------------------------------------------


def partial() -> Score:
    line = tuple(TimePoint(float(s), 0.97 if 5 <= s < 8 else 0.03) for s in range(20))
    face = FaceScore(0, 0.0, 19.0, (0, 0, 99, 99), 0.1, line)
    return Score(0.1, Status.OK, "", (face,), line, 20.0)


def the_forged_seconds_are_not_excused_by_the_others() -> None:
    verdict = decide(None, partial(), POLICY)
    assert verdict.finding is not Finding.NO_SIGN_OF_SYNTHESIS
    assert "0:05 to 0:08" in " ".join(verdict.because)


def test_a_low_mean_does_not_clear_a_partial_forgery(monkeypatch: pytest.MonkeyPatch) -> None:
    the_forged_seconds_are_not_excused_by_the_others()
    logits = np.log([p.probability / (1 - p.probability) for p in partial().timeline])
    assert logits.mean() < 0 < min(pool_top(logits, 0.15), pool_log_sum_exp(logits))
    monkeypatch.setattr(detect.verdict, "segments_of", lambda *told: ())
    notices(the_forged_seconds_are_not_excused_by_the_others)


# --- same-named videos taken for one ---------------------------------------------------------------------------------


def test_videos_of_one_name_in_two_folders_are_two(film: Path) -> None:
    twin = film.parent / "other" / film.name
    twin.parent.mkdir()
    twin.write_bytes(film.read_bytes())
    detector = Fixed(Score(0.9, Status.OK, ""))
    lines = [answer(path, detector) for path in detect.scoring.files_under([film.parent])]
    assert len({line["file"] for line in lines}) == 2


def test_a_frame_that_is_shown_later_is_not_taken_for_an_earlier_one(film: Path) -> None:
    frames: list[Frame] = list(stream_frames(film))
    assert [f.index for f in frames] == list(range(300))
    assert (np.diff([f.pts_seconds for f in frames]) > 0).all()
