import cv2
import numpy as np
import pytest

from detect.models import temporal
from detect.models.fusing import ClipEvidence, fit_fusion, fit_positive, fit_temporal, sample_weights

SIDE = temporal.CROP_SIDE


def texture(seed: int = 0) -> np.ndarray:
    """A smooth random (2 SIDE, 2 SIDE, 3) picture."""
    noise = np.random.default_rng(seed).uniform(0, 255, (2 * SIDE, 2 * SIDE, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return (soft - soft.mean()) * 5 + 128


def moving(offsets: np.ndarray, grain: float, seed: int = 0) -> np.ndarray:
    """A window in which one texture slides by (T, 2) pixels, with sensor grain in each frame."""
    picture, rng, out = texture(seed), np.random.default_rng(seed + 1), []
    for x, y in offsets:
        matrix = np.array([[1, 0, x - SIDE / 2], [0, 1, y - SIDE / 2]], np.float32)
        frame = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
        out.append(np.clip(frame + rng.normal(0, grain, frame.shape), 0, 255).astype(np.uint8))
    return np.stack(out)


def value(features: np.ndarray, name: str) -> float:
    return float(features[temporal.FEATURES.index(name)])


def test_uneven_motion_is_told_from_smooth_motion_of_the_same_reach() -> None:
    time = np.arange(25)
    smooth = np.stack([6 * np.sin(time / 8), 3 * np.cos(time / 8)], 1)
    shaky = smooth + np.random.default_rng(0).normal(0, 0.8, smooth.shape)
    calm, rough = (temporal.window_features(moving(o, 1.0)) for o in (smooth, shaky))
    assert value(calm, "uneven_x") < value(rough, "uneven_x") - 0.5
    assert value(calm, "uneven_y") < value(rough, "uneven_y") - 0.5


def test_a_sliding_texture_changes_less_than_one_with_sensor_grain() -> None:
    offsets = np.stack([np.linspace(0, 5, 25), np.zeros(25)], 1)
    painted, filmed = (temporal.window_features(moving(offsets, grain)) for grain in (0.0, 12.0))
    for name in ("change0_nose", "change1_cheeks", "drift0_mouth"):
        assert value(painted, name) < value(filmed, name) - 0.5


@pytest.mark.parametrize(("motion", "index"), [((3.0, 0.0, 0.0), 0), ((0.0, -2.0, 0.0), 1), ((0.0, 0.0, 0.02), 2)])
def test_rigid_motion_is_read_back_from_its_own_flow(motion: tuple[float, float, float], index: int) -> None:
    x, y, turn = motion
    grid = np.arange(SIDE, dtype=np.float32) - SIDE / 2
    gx, gy = np.meshgrid(grid, grid)
    flow = np.stack([x - turn * gy, y + turn * gx], -1).astype(np.float32)
    found, rest = temporal.rigid_motion(flow, temporal.region_masks()["face"])
    wanted = (x / SIDE, y / SIDE, turn)[index]
    assert found[index] == pytest.approx(wanted, rel=0.05)
    assert np.abs(rest[temporal.region_masks()["face"]]).max() < 0.05


def test_a_moving_mouth_does_not_count_as_a_moving_head() -> None:
    flow = np.zeros((SIDE, SIDE, 2), np.float32)
    flow[temporal.region_masks()["mouth"]] = (0.0, 4.0)
    found, _ = temporal.rigid_motion(flow, temporal.region_masks()["face"])
    assert np.abs(found).max() < 0.004


def test_the_names_match_the_values_and_are_distinct() -> None:
    features = temporal.window_features(moving(np.zeros((9, 2)), 2.0))
    assert features.shape == (len(temporal.FLOW_FEATURES),) and np.isfinite(features).all()
    assert len(set(temporal.FEATURES)) == len(temporal.FEATURES)


def test_too_few_frames_or_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        temporal.window_features(np.zeros((3, SIDE, SIDE, 3), np.uint8))
    with pytest.raises(ValueError, match="frames must be"):
        temporal.window_features(np.zeros((10, 64, 64, 3), np.uint8))


def evidence(synthetic: bool, person: str, level: float, rng: np.random.Generator, name: str) -> ClipEvidence:
    windows = rng.normal(0, 1, (4, len(temporal.FEATURES))).astype(np.float32)
    windows[:, temporal.FEATURES.index(name)] += level
    return ClipEvidence(synthetic, person, "m", rng.normal(0, 1, 4), windows, rng.normal(0, 1, 48))


@pytest.mark.parametrize(("shift", "counts"), [(-2.0, True), (2.0, False)])
def test_a_measurement_counts_only_in_the_direction_that_reasoning_allows(shift: float, counts: bool) -> None:
    rng, name = np.random.default_rng(0), "uneven_x"
    clips = [evidence(i % 2 == 1, f"p{i}", shift * (i % 2), rng, name) for i in range(60)]
    model = fit_temporal(clips, [{name: -1}])
    assert bool(model.features) == counts
    if counts:
        fresh = [model.score(evidence(s, "q", shift * s, rng, name).windows) for s in (True, False) for _ in range(20)]
        assert np.mean(fresh[:20]) > np.mean(fresh[20:]) + 0.5


def test_without_measured_seconds_motion_has_no_say() -> None:
    rng = np.random.default_rng(1)
    clips = [evidence(i % 2 == 1, f"p{i}", -2.0 * (i % 2), rng, "uneven_x") for i in range(40)]
    model = fit_temporal(clips, [{"uneven_x": -1}])
    assert np.isnan(model.score(np.zeros((0, len(temporal.FEATURES)), np.float32)))


def test_a_strong_pull_gives_equal_weights() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(80) % 2 == 1
    z = rng.normal(0, 1, (80, 2)) + labels[:, None] * np.array([2.0, 0.5])
    free, _ = fit_positive(z, labels, np.full(80, 1 / 80), 0.0)
    equal, _ = fit_positive(z, labels, np.full(80, 1 / 80), 1e3)
    assert free[0] > 2 * free[1]
    assert equal[0] == pytest.approx(equal[1], rel=0.02)


def test_people_with_many_clips_do_not_drown_the_others() -> None:
    rng = np.random.default_rng(3)
    clips = [evidence(False, "star", 0, rng, "uneven_x") for _ in range(16)]
    clips += [evidence(False, "other", 0, rng, "uneven_x"), evidence(True, "fake", 0, rng, "uneven_x")]
    weight = sample_weights(clips)
    assert weight.sum() == pytest.approx(1.0) and weight[-1] == pytest.approx(0.5)
    assert weight[:16].sum() == pytest.approx(4 * weight[16])


def test_the_frame_branch_speaks_only_beyond_what_real_faces_reach() -> None:
    rng = np.random.default_rng(4)
    clips = [evidence(False, f"p{i}", 0, rng, "uneven_x") for i in range(100)]
    fusion = fit_fusion(clips)
    usual = [fusion.pooled(c.logits) for c in clips]
    assert np.mean([u > fusion.frame_mean for u in usual]) <= 0.06
    quiet = fusion.logit(float(np.median(usual)), 0.0)
    loud = fusion.logit(fusion.frame_mean + 4 * fusion.frame_scale, 0.0)
    assert quiet < 0.2 and loud > 3.0
