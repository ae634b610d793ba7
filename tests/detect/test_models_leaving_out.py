import numpy as np
import pytest

from detect.lessons import Lesson
from detect.metrics import roc_auc
from detect.models import motion
from detect.models.forest import fit_forest
from detect.models.frame import Fusion
from detect.models.fusing import ClipEvidence
from detect.models.leaving_out import Branches, folds_of, left_out, left_out_scores, unseen_makers
from detect.models.network import SURFACE
from detect.models.temporal import FEATURES

SIGNAL = ("uneven_x", "uneven_y", "rough_yaw")


@pytest.fixture(autouse=True)
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few trees are enough to tell what is told here."""
    monkeypatch.setattr(motion, "fit_forest", lambda x, y, w, seed: fit_forest(x, y, w, trees=12, seed=seed))


def a_clip(synthetic: bool, person: str, maker: str, rng: np.random.Generator, signal: float = 0.0) -> ClipEvidence:
    windows = rng.normal(0, 1, (2, len(FEATURES))).astype(np.float32)
    for name in SIGNAL:
        windows[:, FEATURES.index(name)] -= signal * synthetic
    return ClipEvidence(synthetic, person, maker, rng.normal(0, 1, 4), windows, rng.normal(0, 1, SURFACE))


def clips_of(signal: float, marked: bool = False) -> list[ClipEvidence]:
    """Five makers of synthetic clips; if marked, each maker has a surface of its own."""
    rng = np.random.default_rng(0)
    out = []
    for n in range(80):
        synthetic, number = n % 2 == 1, n // 2
        maker = f"maker{number % 5}" if synthetic else "studio"
        clip = a_clip(synthetic, f"p{number % 25}{synthetic}", maker, rng, signal)
        if marked and synthetic:
            clip.surface[number % 5] += 8.0
        out.append(clip)
    return out


def aucs(told: dict[str, list[tuple[ClipEvidence, float]]]) -> list[float]:
    return [roc_auc([c.synthetic for c, _ in rows], [v for _, v in rows]) for rows in told.values()]


def test_a_maker_is_never_in_two_folds_and_neither_is_a_real_person() -> None:
    clips = clips_of(0.0)
    fold = folds_of(clips)
    for name in {c.maker for c in clips if c.synthetic}:
        assert len({f for f, c in zip(fold, clips, strict=True) if c.synthetic and c.maker == name}) == 1
    for person in {c.person for c in clips if not c.synthetic}:
        assert len({f for f, c in zip(fold, clips, strict=True) if c.person == person}) == 1
    assert set(fold) == {0, 1, 2, 3, 4}


def test_what_holds_for_every_maker_is_found_on_those_left_out() -> None:
    fusion = Fusion(frame_weight=0.0, surface_weight=0.0)
    known, noise = (unseen_makers(clips_of(signal), (), fusion, 3) for signal in (4.0, 0.0))
    assert len(known) == 5 and min(aucs(known)) > 0.8
    assert 0.3 < np.mean(aucs(noise)) < 0.7


def test_every_real_clip_stands_against_every_maker_once() -> None:
    clips = clips_of(1.0)
    told = unseen_makers(clips, (), Fusion(), 3)
    real = {id(c) for c in clips if not c.synthetic}
    for maker, rows in told.items():
        assert {id(c) for c, _ in rows if not c.synthetic} == real
        assert {c.maker for c, _ in rows if c.synthetic} == {maker}


def test_a_makers_own_look_does_not_count_when_that_maker_is_left_out() -> None:
    clips = clips_of(0.0, marked=True)
    chosen = np.array([c.maker in ("maker0", "studio") for c in clips])
    chosen &= np.arange(len(clips)) % 3 == 0
    chosen |= np.array([c.maker == "maker0" for c in clips])
    found = [surface for _, surface in left_out(clips, chosen)]
    seen = Branches.fit(clips).surface
    told = roc_auc([c.synthetic for c in clips], [seen.score(c.surface) for c in clips])
    truth = [c.synthetic for c, test in zip(clips, chosen, strict=True) if test]
    assert roc_auc(truth, found) < 0.8 < 0.95 < told


def test_every_clip_is_scored_by_branches_that_do_not_know_its_person() -> None:
    clips = clips_of(1.0)
    scores = left_out_scores(clips)
    assert len(scores) == len(clips) and np.isfinite(scores).all()
    chosen = np.array([c.maker == clips[1].maker for c in clips])
    again = left_out(clips, chosen)
    # clips and lessons of one of the people left out teach nothing: without them the answer is the same
    person = next(c.person for c, test in zip(clips, chosen, strict=True) if test)
    rng = np.random.default_rng(5)
    more = [*clips, a_clip(True, person, "other maker", rng, 30.0)]
    lesson = Lesson(True, person, "slide", a_clip(True, person, "", rng, 30.0).windows)
    assert left_out(more, np.append(chosen, False), [lesson]) == pytest.approx(np.array(again))


def test_lessons_teach_the_motion_branch() -> None:
    clips = clips_of(0.0)
    rng = np.random.default_rng(6)
    lessons = [
        Lesson(forged, f"q{n}", "slide", a_clip(forged, "", "", rng, 4.0).windows)
        for n in range(40)
        for forged in (False, True)
    ]
    taught = Branches.fit(clips, lessons).motion
    fresh = [(s, taught.score(a_clip(s, "x", "", rng, 4.0).windows)) for s in (False, True) for _ in range(15)]
    assert roc_auc([s for s, _ in fresh], [v for _, v in fresh]) > 0.8


def test_a_single_maker_cannot_be_left_out() -> None:
    rng = np.random.default_rng(1)
    clips = [a_clip(n % 2 == 1, f"p{n}", "one" if n % 2 else "studio", rng, 1.0) for n in range(20)]
    assert unseen_makers(clips, (), Fusion()) == {}
