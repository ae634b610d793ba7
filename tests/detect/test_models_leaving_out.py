import numpy as np
import pytest

from detect.metrics import roc_auc
from detect.models.fusing import GROUPS, ClipEvidence
from detect.models.leaving_out import Branches, auc_on_unknown_sources, folds_of, left_out, left_out_scores
from detect.models.network import SURFACE
from detect.models.temporal import FEATURES


def a_clip(synthetic: bool, person: str, maker: str, rng: np.random.Generator, signal: float = 0.0) -> ClipEvidence:
    windows = rng.normal(0, 1, (2, len(FEATURES))).astype(np.float32)
    for name in (name for group in GROUPS for name in group):
        windows[:, FEATURES.index(name)] -= signal * synthetic
    return ClipEvidence(synthetic, person, maker, rng.normal(0, 1, 4), windows, rng.normal(0, 1, SURFACE))


def clips_of(signal: float, marked: bool = False) -> list[ClipEvidence]:
    """Five makers of synthetic and two collections of real clips; if marked, each maker has a surface of its own."""
    rng = np.random.default_rng(0)
    out = []
    for n in range(50):
        synthetic, number = n % 2 == 1, n // 2
        maker = f"maker{number % 5}" if synthetic else f"studio{number % 2}"
        clip = a_clip(synthetic, f"p{number % 15}{synthetic}", maker, rng, signal)
        if marked and synthetic:
            clip.surface[number % 5] += 8.0
        out.append(clip)
    return out


def test_a_maker_is_never_in_two_folds_and_neither_is_a_real_person() -> None:
    clips = clips_of(0.0)
    fold = folds_of(clips)
    for name in {c.maker for c in clips if c.synthetic}:
        assert len({f for f, c in zip(fold, clips, strict=True) if c.synthetic and c.maker == name}) == 1
    for person in {c.person for c in clips if not c.synthetic}:
        assert len({f for f, c in zip(fold, clips, strict=True) if c.person == person}) == 1
    assert set(fold) == {0, 1, 2, 3, 4}


def test_what_holds_for_every_maker_is_found_on_those_left_out() -> None:
    known, noise = auc_on_unknown_sources(clips_of(1.0)), auc_on_unknown_sources(clips_of(0.0))
    assert known["motion"] is not None and known["motion"] > 0.9
    assert noise["motion"] is not None and 0.3 < noise["motion"] < 0.7


def test_a_makers_own_look_does_not_count_when_that_maker_is_left_out() -> None:
    clips = clips_of(0.0, marked=True)
    found = auc_on_unknown_sources(clips)["surface"]
    seen = Branches.fit(clips).surface
    told = roc_auc([c.synthetic for c in clips], [seen.score(c.surface) for c in clips])
    assert found is not None and found < 0.75 < 0.95 < told


def test_every_clip_is_scored_by_branches_that_do_not_know_its_person() -> None:
    clips = clips_of(1.0)
    scores = left_out_scores(clips)
    assert len(scores) == len(clips) and np.isfinite(scores).all()
    chosen = np.array([c.maker == clips[1].maker for c in clips])
    again = left_out(clips, chosen)
    # a clip of one of the people left out teaches nothing: without it the answer is the same
    people = {c.person for c, test in zip(clips, chosen, strict=True) if test}
    rng = np.random.default_rng(5)
    more = [*clips, a_clip(True, next(iter(people)), "other maker", rng, 30.0)]
    assert left_out(more, np.append(chosen, False)) == pytest.approx(np.array(again))


def test_a_single_maker_cannot_be_left_out() -> None:
    rng = np.random.default_rng(1)
    clips = [a_clip(n % 2 == 1, f"p{n}", "one" if n % 2 else "studio", rng, 1.0) for n in range(20)]
    assert auc_on_unknown_sources(clips) == {"motion": None, "surface": None, "both": None}
