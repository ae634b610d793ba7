import cv2
import numpy as np
import pytest

from detect.models import temporal

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


def test_doubled_frames_change_nothing() -> None:
    time = np.arange(24)
    once = moving(np.stack([6 * np.sin(time / 8), 3 * np.cos(time / 8)], 1), 3.0)
    doubled = np.insert(once, 12, once[11], axis=0)
    assert temporal.window_features(doubled) == pytest.approx(temporal.window_features(once))


def test_motion_in_bursts_is_told_from_even_motion_of_the_same_reach() -> None:
    even = np.stack([np.linspace(0, 12, 25), np.zeros(25)], 1)
    burst = np.stack([np.repeat([0, 4, 8, 12], [8, 6, 6, 5]) + np.linspace(0, 0.5, 25), np.zeros(25)], 1)
    calm, jerky = (temporal.window_features(moving(o, 1.0)) for o in (even, burst))
    for name in ("shift_jumps", "step_face_jumps"):
        assert value(calm, name) < value(jerky, name) - 0.5
