"""People are told apart by made codes as they must be by real ones; without the embedding there is a reason."""

from __future__ import annotations

import sys
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest

from benchmarks.identity_probe import MISSING, Distributions, judge_identity, open_probe, rank_one


def made_codes(people: int = 6, clips: int = 2, frames: int = 3) -> tuple[np.ndarray, list[str], list[str]]:
    """Codes that vary much between people, little between clips, less between frames."""
    rng = np.random.default_rng(0)
    codes, who, where = [], [], []
    for p in range(people):
        person = rng.normal(size=16)
        for c in range(clips):
            clip = person + 0.4 * rng.normal(size=16)
            for _ in range(frames):
                codes.append(clip + 0.1 * rng.normal(size=16))
                who.append(f"p{p}")
                where.append(f"p{p}c{c}")
    return np.array(codes), who, where


def test_one_clip_is_more_alike_than_one_person_and_that_more_than_two_people() -> None:
    known = Distributions.of(*made_codes())
    assert known.same_clip.mean() > known.same_person.mean() > known.different.mean()
    assert known.different.max() < known.threshold <= known.same_clip.min()
    assert known.rows()[0]["pairs"] == "same person, one clip"


def test_a_place_is_one_for_the_same_clip_and_zero_for_other_people() -> None:
    known = Distributions(np.array([0.9, 1.0]), np.array([0.8]), np.array([0.1, 0.3]))
    assert known.place(0.95) == pytest.approx(1.0)
    assert known.place(0.2) == pytest.approx(0.0)


def test_frames_without_a_code_are_left_out_of_the_distributions() -> None:
    codes, people, clips = made_codes()
    codes[0] = nan
    assert np.isfinite(Distributions.of(codes, people, clips).same_clip).all()


def test_one_person_alone_gives_no_distributions() -> None:
    codes, people, clips = made_codes(people=1)
    with pytest.raises(ValueError, match="pairs"):
        Distributions.of(codes, people, clips)


@pytest.mark.parametrize(
    ("similarities", "verdict"),
    [([0.9, 0.88, 0.92, 0.9], "same person"), ([0.1, 0.3, 0.2, 0.2], "somebody else"), ([0.1, 0.2, 0.95, 1.0], "open")],
)
def test_the_verdict_follows_the_whole_interval(similarities: list[float], verdict: str) -> None:
    known = Distributions(np.array([0.95]), np.array([0.8]), np.array([0.15, 0.25]))
    assert judge_identity(similarities, ["a", "a", "b", "b"], known).verdict == verdict


def test_without_codes_or_people_there_is_a_reason_and_no_figure() -> None:
    known = Distributions(np.array([0.95]), np.array([0.8]), np.array([0.2]))
    nobody = judge_identity([nan, nan], ["a", "b"], known)
    assert isnan(nobody.csim.value) and nobody.verdict == "no drawn face was found"
    assert judge_identity([nan], ["a"], MISSING).verdict == MISSING
    unplaced = judge_identity([0.9, 0.8], ["a", "b"], "give --real")
    assert unplaced.csim.scored and unplaced.verdict == "give --real"


def test_a_drawn_face_is_ranked_among_all_portraits() -> None:
    portraits = np.eye(3)
    drawn = np.array([[1, 0.1, 0], [0, 0.1, 1], [nan, nan, nan]])
    right = rank_one(drawn, portraits, [0, 1, 2])
    assert right[:2].tolist() == [1.0, 0.0] and isnan(right[2])


def test_a_missing_package_is_an_answer_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    assert open_probe() == MISSING


@pytest.mark.slow
def test_the_real_embedding_knows_people_of_real_clips(data_pack: Path, tmp_path: Path) -> None:
    from benchmarks.face_series import clips_of, codes_of_clips
    from media.faces import FaceFinder

    embed = open_probe()
    if isinstance(embed, str):
        pytest.skip(embed)
    clips = clips_of(data_pack / "clips" / "clips.csv", split=None)[:12]
    with FaceFinder(max_faces=1) as finder:
        found = codes_of_clips(clips, finder, embed, size=256, frames=2, cache=tmp_path)
    known = Distributions.of(found[0].astype(np.float64), found[1], found[2])
    assert known.same_clip.min() > known.different.mean()
