"""The order of belief as a truth table: every credential situation meets every kind of score."""

from __future__ import annotations

from itertools import product
from math import nan

import pytest

from detect.detector import DetectError, FaceScore, Score, Status, TimePoint
from detect.localise import Segment
from detect.verdict import Finding, Policy, Verdict, decide, in_percent, in_stretches, strongest_probability
from provenance.credential import Credential, Standing

POLICY = Policy(synthetic_from=0.6, no_sign_below=0.4)
HIGH, BETWEEN, LOW = 0.9, 0.5, 0.1


def scored(probability: float, *faces: float) -> Score:
    tracks = tuple(
        FaceScore(i, 0.0, 1.0, (0, 0, 9, 9), p, (), "" if p == p else "too small") for i, p in enumerate(faces)
    )
    return Score(probability, Status.OK, "", tracks)


SCORES = {
    "high": scored(HIGH),
    "between": scored(BETWEEN),
    "low": scored(LOW),
    "abstained": Score.abstain(Status.NO_FACE, "No face was found."),
}


def signed(standing: Standing, declares: bool | None = None) -> Credential:
    kinds = {True: ("trainedAlgorithmicMedia",), False: ("digitalCapture",), None: ()}[declares]
    return Credential(
        file="a.mp4",
        sha256="0" * 64,
        standing=standing,
        signer=None if standing is Standing.ABSENT else "Example News",
        declares_synthetic=declares,
        source_types=kinds,
        reasons=("the video was changed after it was signed",) if standing is Standing.BROKEN else (),
    )


CREDENTIALS: dict[str, Credential | None] = {
    "not readable": None,
    "absent": signed(Standing.ABSENT),
    "broken": signed(Standing.BROKEN),
    "broken, synthetic": signed(Standing.BROKEN, True),
    "broken, camera": signed(Standing.BROKEN, False),
    "unknown": signed(Standing.UNKNOWN_SIGNER),
    "unknown, synthetic": signed(Standing.UNKNOWN_SIGNER, True),
    "unknown, camera": signed(Standing.UNKNOWN_SIGNER, False),
    "trusted": signed(Standing.TRUSTED),
    "trusted, synthetic": signed(Standing.TRUSTED, True),
    "trusted, camera": signed(Standing.TRUSTED, False),
}

BROKEN, DECLARED = (Finding.CREDENTIAL_BROKEN, 1), Finding.DECLARED_SYNTHETIC
LIKELY, UNDECIDED, NO_SIGN = Finding.SYNTHETIC_LIKELY, Finding.UNDECIDED, Finding.NO_SIGN_OF_SYNTHESIS
DETECTORS_ALONE = ((LIKELY, 7), (UNDECIDED, 8), (NO_SIGN, 9), (UNDECIDED, 5))

TRUTH = {
    # credential            high           between         low            abstained
    "not readable": DETECTORS_ALONE,
    "absent": DETECTORS_ALONE,
    "broken": (BROKEN, BROKEN, BROKEN, BROKEN),
    "broken, synthetic": (BROKEN, BROKEN, BROKEN, BROKEN),
    "broken, camera": (BROKEN, BROKEN, BROKEN, BROKEN),
    "unknown": DETECTORS_ALONE,
    "unknown, synthetic": ((DECLARED, 3), (DECLARED, 3), (DECLARED, 3), (DECLARED, 3)),
    "unknown, camera": DETECTORS_ALONE,
    "trusted": DETECTORS_ALONE,
    "trusted, synthetic": ((DECLARED, 2), (DECLARED, 2), (DECLARED, 2), (DECLARED, 2)),
    "trusted, camera": ((UNDECIDED, 6), (UNDECIDED, 8), (NO_SIGN, 9), (UNDECIDED, 5)),
}


@pytest.mark.parametrize(("situation", "column"), list(product(CREDENTIALS, range(4))))
def test_every_credential_situation_meets_every_score(situation: str, column: int) -> None:
    verdict = decide(CREDENTIALS[situation], list(SCORES.values())[column], POLICY)
    assert (verdict.finding, verdict.rule) == TRUTH[situation][column]
    assert all(sentence.strip() for sentence in verdict.because)
    assert verdict.probability == (None, LOW, BETWEEN, HIGH)[3 - column]


def test_no_finding_says_real() -> None:
    words = " ".join(f"{finding.value} {finding.headline}" for finding in Finding).lower()
    assert not {"real", "genuine", "authentic", "true"} & set(words.replace("_", " ").split())


@pytest.mark.parametrize("situation", [name for name in CREDENTIALS if name.startswith("broken")])
def test_a_broken_credential_never_hides_what_the_detectors_found(situation: str) -> None:
    verdict = decide(CREDENTIALS[situation], SCORES["high"], POLICY)
    assert "changed after it was signed" in verdict.because[0]
    assert any("90%" in sentence for sentence in verdict.because[1:])


def test_an_unknown_signers_declaration_is_marked_as_unproven() -> None:
    because = decide(CREDENTIALS["unknown, synthetic"], SCORES["low"], POLICY).because
    assert "not on a trust list" in because[0]
    assert "Example News" in because[0]


def test_a_trusted_camera_against_a_high_score_is_said_aloud() -> None:
    verdict = decide(CREDENTIALS["trusted, camera"], SCORES["high"], POLICY)
    assert "contradicts" in verdict.because[0]
    assert any("signs of synthesis: 90%" in sentence for sentence in verdict.because)


def test_an_abstention_keeps_its_reason() -> None:
    verdict = decide(None, SCORES["abstained"], POLICY)
    assert verdict.probability is None
    assert "No face was found" in verdict.because[0]


@pytest.mark.parametrize("situation", ["not readable", "absent"])
@pytest.mark.parametrize("kind", list(SCORES))
def test_an_unsigned_mark_of_a_generator_is_believed_where_nothing_is_signed(situation: str, kind: str) -> None:
    verdict = decide(CREDENTIALS[situation], SCORES[kind], POLICY, unsigned_marks=("Its XMP names Midjourney.",))
    assert (verdict.finding, verdict.rule) == (DECLARED, 4)
    assert "Nobody signed" in verdict.because[0]
    assert "Its XMP names Midjourney." in verdict.because


@pytest.mark.parametrize("situation", ["unknown", "trusted", "trusted, camera", "unknown, camera"])
def test_an_unsigned_mark_never_overrules_a_signed_claim(situation: str) -> None:
    marks = ("Its XMP names Midjourney.",)
    assert decide(CREDENTIALS[situation], SCORES["low"], POLICY, unsigned_marks=marks).finding is NO_SIGN


@pytest.mark.parametrize(
    ("faces", "finding"),
    [
        ((LOW, HIGH), LIKELY),
        ((HIGH, LOW, LOW, LOW), LIKELY),
        ((LOW, BETWEEN), UNDECIDED),
        ((LOW, LOW), NO_SIGN),
        ((LOW, nan), NO_SIGN),
        ((HIGH, nan), LIKELY),
    ],
)
def test_one_synthetic_face_suffices(faces: tuple[float, ...], finding: Finding) -> None:
    # the whole-file score stays low, as an average over faces would be
    assert decide(None, scored(LOW, *faces), POLICY).finding is finding


def test_several_faces_are_counted_and_the_unjudged_ones_named() -> None:
    because = decide(None, scored(HIGH, HIGH, LOW, nan), POLICY).because
    assert "3 faces, 2 judged: 1 of them with a high score." in because
    assert "Face 3 was not judged: too small." in because


@pytest.mark.parametrize(
    ("probability", "finding"),
    [(0.6, LIKELY), (0.5999, UNDECIDED), (0.4, UNDECIDED), (0.3999, NO_SIGN), (0.0, NO_SIGN), (1.0, LIKELY)],
)
def test_thresholds_belong_to_the_more_suspicious_side(probability: float, finding: Finding) -> None:
    assert decide(None, scored(probability), POLICY).finding is finding


def over_time(probability: float, *seconds: float) -> Score:
    return Score(probability, Status.OK, "", (), tuple(TimePoint(float(n), p) for n, p in enumerate(seconds)))


def test_a_low_file_with_high_seconds_on_end_is_undecided_and_says_when() -> None:
    verdict = decide(None, over_time(LOW, 0.1, 0.1, 0.95, 0.95, 0.95, 0.1, 0.1), POLICY)
    assert (verdict.finding, verdict.rule) == (UNDECIDED, 8)
    assert "0:02 to 0:05" in verdict.because[0]
    assert verdict.probability == LOW


@pytest.mark.parametrize("seconds", [(0.1,) * 6, (0.1, 0.1, 0.7, 0.1, 0.1), (0.5, 0.5, 0.5)])
def test_a_flash_or_a_curve_between_the_thresholds_changes_no_finding(seconds: tuple[float, ...]) -> None:
    assert decide(None, over_time(LOW, *seconds), POLICY).finding is NO_SIGN


def test_many_stretches_are_counted_and_not_listed() -> None:
    parts = [Segment(10.0 * n, 10.0 * n + 3, 0.9) for n in range(5)]
    assert in_stretches(parts) == "0:00 to 0:03, 0:10 to 0:13, 0:20 to 0:23, and 2 more"
    assert in_stretches(parts[:1]) == "0:00 to 0:03"


@pytest.mark.parametrize("thresholds", [(0.4, 0.6), (1.0, 0.5), (0.5, 0.0), (nan, 0.2), (0.5, nan)])
def test_a_policy_refuses_thresholds_that_make_no_sense(thresholds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="thresholds"):
        Policy(*thresholds)


def test_low_begins_at_half_the_odds_of_high_and_never_above_one_half() -> None:
    policy = Policy.around(0.6)
    odds = policy.no_sign_below / (1 - policy.no_sign_below)
    assert odds == pytest.approx(0.5 * 0.6 / 0.4)
    assert Policy.around(0.9).no_sign_below == 0.5
    with pytest.raises(DetectError, match="between 0 and 1"):
        Policy.around(1.0)


def test_percentages_never_claim_certainty() -> None:
    assert [in_percent(p) for p in (0.0, 0.0099, 0.01, 0.374, 0.99, 0.9901, 1.0)] == [
        "<1%",
        "<1%",
        "1%",
        "37%",
        "99%",
        ">99%",
        ">99%",
    ]
    with pytest.raises(ValueError, match="nan"):
        in_percent(nan)


def test_an_abstention_has_no_strongest_probability_even_with_faces() -> None:
    assert strongest_probability(SCORES["abstained"]) is None
    assert strongest_probability(scored(LOW, nan)) == LOW


def test_a_verdict_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="reason"):
        Verdict(Finding.UNDECIDED, (), None, 5)
    with pytest.raises(ValueError, match="rule"):
        Verdict(Finding.UNDECIDED, ("so",), None, 10)
