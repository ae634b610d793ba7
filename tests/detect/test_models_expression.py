import numpy as np
import pytest

from detect.models import expression
from detect.models.expression import EXPRESSIONS, LIPS, MIN_TRACKED_FRAMES, expression_features, longest_run, roughness
from detect.models.temporal import FEATURES, usual_second
from media.landmarks import BLENDSHAPE_NAMES

Arrays = tuple[np.ndarray, np.ndarray]


def a_second(jitter: float, *, length: int = 25, nod: float = 0.0, size: float = 40.0, seed: int = 0) -> Arrays:
    """Landmarks and blendshapes of a smoothly speaking face, tracked with so much jitter (outer-eye distances)."""
    rng = np.random.default_rng(seed)
    face = rng.uniform(-1, 1, (478, 2))
    face[33], face[263] = (-0.5, 0.0), (0.5, 0.0)
    time = np.arange(length) / 25
    opening = 0.1 * (1 - np.cos(2 * np.pi * 2 * time))
    points = np.repeat(face[None], length, axis=0)
    points[:, list(LIPS), 1] += opening[:, None] * rng.uniform(0.2, 1.0, len(LIPS))
    points[:, :, 1] += nod * np.cumsum(np.abs(np.gradient(opening)))[:, None]
    points += rng.normal(0, jitter, points.shape)
    shapes = np.clip(0.3 + opening[:, None] + rng.normal(0, 4 * jitter, (length, len(BLENDSHAPE_NAMES))), 0, 1)
    return (points * size).astype(np.float32), shapes.astype(np.float32)


def value(features: np.ndarray, name: str) -> float:
    return float(features[EXPRESSIONS.index(name)])


@pytest.mark.parametrize("name", ["rough_lips", "rough_expression", "rough_shape"])
def test_a_smooth_mouth_is_told_from_the_same_mouth_under_a_trackers_jitter(name: str) -> None:
    smooth, filmed = (expression_features(*a_second(jitter)) for jitter in (0.0002, 0.01))
    assert value(smooth, name) < value(filmed, name) - 0.2


def test_the_size_of_a_face_changes_nothing() -> None:
    large, small = (expression_features(*a_second(0.004, size=size)) for size in (400.0, 25.0))
    assert large == pytest.approx(small, abs=0.02)


def test_a_head_that_nods_with_the_mouth_is_told_from_one_that_does_not() -> None:
    together, apart = (expression_features(*a_second(0.0002, nod=nod)) for nod in (1.0, 0.0))
    assert value(together, "lips_with_head") > value(apart, "lips_with_head") + 0.3


def test_turning_the_head_does_not_make_the_lips_rough() -> None:
    points, shapes = a_second(0.0002)
    turned = []
    for frame, angle in zip(points, np.random.default_rng(1).normal(0, 0.05, len(points)), strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned.append(frame @ turn.T + 100 * angle)
    still, moving = expression_features(points, shapes), expression_features(np.float32(turned), shapes)
    assert value(moving, "rough_lips") == pytest.approx(value(still, "rough_lips"), abs=0.02)


def test_a_lost_face_leaves_the_longest_run_of_frames_or_nothing() -> None:
    points, shapes = a_second(0.004)
    points[MIN_TRACKED_FRAMES] = np.nan
    alone = expression_features(points[:MIN_TRACKED_FRAMES], shapes[:MIN_TRACKED_FRAMES])
    assert expression_features(points, shapes) == pytest.approx(alone, abs=1e-4)
    points[MIN_TRACKED_FRAMES // 2] = np.nan
    assert np.isnan(expression_features(points, shapes)[0]) == (25 - MIN_TRACKED_FRAMES - 1 < MIN_TRACKED_FRAMES)
    points[:] = np.nan
    assert np.isnan(expression_features(points, shapes)).all()


@pytest.mark.parametrize(
    ("present", "wanted"), [("", (0, 0)), ("000", (0, 0)), ("1101110", (3, 6)), ("110110", (0, 2)), ("0011", (2, 4))]
)
def test_the_first_longest_run_is_taken(present: str, wanted: tuple[int, int]) -> None:
    run = longest_run(np.array([c == "1" for c in present], bool))
    assert (run.stop - run.start, run.start if wanted[1] else 0) == (wanted[1] - wanted[0], wanted[0])


def test_white_noise_is_as_rough_as_theory_says_and_a_parabola_is_smooth() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (4000, 2))
    assert roughness(noise, 1e-9) == pytest.approx(np.log(np.sqrt(20 / 6)), abs=0.02)
    assert roughness((np.arange(30.0) ** 2)[:, None], 1e-9) < -10


def test_curves_of_another_shape_are_refused() -> None:
    points, shapes = a_second(0.001)
    with pytest.raises(ValueError, match="landmarks must be"):
        expression_features(points[:, :468], shapes)
    with pytest.raises(ValueError, match="blendshapes"):
        expression_features(points, shapes[:-1])


def test_the_usual_second_is_the_median_of_what_was_measured() -> None:
    windows = np.array([[1, np.nan], [5, np.nan], [np.nan, np.nan], [3, np.nan]], np.float32)
    found = usual_second(windows)
    assert found[0] == 3 and np.isnan(found[1])


def test_the_names_are_measured_and_distinct() -> None:
    assert FEATURES[-len(EXPRESSIONS) :] == EXPRESSIONS and len(set(FEATURES)) == len(FEATURES)
    assert len(expression_features(*a_second(0.001))) == len(EXPRESSIONS) == len(set(EXPRESSIONS))
    assert "jawOpen" in {BLENDSHAPE_NAMES[i] for i in expression.MOUTH}
