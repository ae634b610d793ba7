import numpy as np
import pytest

from detect.lessons import Lesson
from detect.models.fusing import ClipEvidence, fit_fusion
from detect.models.motion import MEASURED, MotionModel, balanced_weights, fit_motion
from detect.models.temporal import FEATURES, FLOW_FEATURES

NAMES = ("uneven_x", "drift1_mouth", "step_face_reach")


def sample(synthetic: bool, person: str, rng: np.random.Generator, maker: str = "m", level: float = 0.0) -> Lesson:
    """Synthetic ones lie on both sides of real ones in one measurement."""
    windows = rng.normal(0, 1, (4, len(FLOW_FEATURES))).astype(np.float32)
    windows[:, FLOW_FEATURES.index("uneven_x")] += level * synthetic * rng.choice([-1, 1])
    return Lesson(synthetic, person, maker, windows)


@pytest.fixture(scope="module")
def model() -> MotionModel:
    rng = np.random.default_rng(0)
    return fit_motion([sample(n % 2 == 1, f"p{n}", rng, level=4.0) for n in range(120)], NAMES)


def test_too_smooth_and_too_rough_both_count(model: MotionModel) -> None:
    rng = np.random.default_rng(1)
    forged = [model.score(sample(True, "q", rng, level=4.0).windows) for _ in range(20)]
    real = [model.score(sample(False, "q", rng).windows) for _ in range(20)]
    assert np.mean(forged) > np.mean(real) + 1.0


def test_how_much_somebody_moves_and_how_sharp_a_clip_is_are_left_out() -> None:
    assert not [name for name in MEASURED if name.startswith(("speed_", "detail"))]
    assert len(MEASURED) > 200 and "uneven_x" in MEASURED


def test_without_measured_seconds_or_labels_motion_has_no_say(model: MotionModel) -> None:
    assert np.isnan(model.score(np.zeros((0, len(FEATURES)), np.float32)))
    alone = fit_motion([sample(False, "p", np.random.default_rng(2))], NAMES)
    assert alone.forest is None and np.isnan(alone.score(np.zeros((2, len(FEATURES)), np.float32)))


def test_a_second_that_lacks_a_measurement_takes_the_other_seconds_word(model: MotionModel) -> None:
    windows = np.zeros((3, len(FEATURES)), np.float32)
    windows[1, FEATURES.index("uneven_x")] = np.nan
    assert np.ptp(model.scores(windows)) == 0
    windows[:, FEATURES.index("uneven_x")] = np.nan
    assert np.isfinite(model.scores(windows)).all()


def test_an_unknown_measurement_or_a_missing_fill_is_refused(model: MotionModel) -> None:
    with pytest.raises(ValueError, match="measured ones"):
        MotionModel(("hope",), (0.0,))
    with pytest.raises(ValueError, match="one length"):
        MotionModel(("uneven_x",), ())
    with pytest.raises(ValueError, match="looks at"):
        MotionModel(("uneven_x",), (0.0,), model.forest)


def test_people_with_many_clips_do_not_drown_the_others() -> None:
    rng = np.random.default_rng(3)
    samples = [sample(False, "star", rng) for _ in range(16)]
    samples += [sample(False, "other", rng), sample(True, "fake", rng)]
    weight = balanced_weights(samples)
    assert weight.sum() == pytest.approx(1.0) and weight[-1] == pytest.approx(0.5)
    assert weight[:16].sum() == pytest.approx(4 * weight[16])


def test_a_maker_with_many_clips_does_not_drown_the_others() -> None:
    rng = np.random.default_rng(4)
    samples = [sample(True, f"p{n}", rng, "large") for n in range(16)]
    samples += [sample(True, "q", rng, "small"), sample(False, "r", rng)]
    weight = balanced_weights(samples)
    assert weight[:16].sum() == pytest.approx(4 * weight[16])


def test_the_frame_branch_speaks_only_beyond_what_real_faces_reach() -> None:
    rng = np.random.default_rng(4)
    windows = np.zeros((1, len(FEATURES)), np.float32)
    clips = [ClipEvidence(False, f"p{i}", "m", rng.normal(0, 1, 4), windows, rng.normal(0, 1, 48)) for i in range(100)]
    fusion = fit_fusion(clips)
    usual = [fusion.pooled(c.logits) for c in clips]
    assert np.mean([u > fusion.frame_mean for u in usual]) <= 0.06
    quiet = fusion.logit(float(np.median(usual)), 0.0)
    loud = fusion.logit(fusion.frame_mean + 4 * fusion.frame_scale, 0.0)
    assert quiet < 0.2 and loud > 3.0
