import cv2
import numpy as np
import pytest

from detect.pseudo_time import FIELD, FORGERS, _few_and_smooth
from media.clip import FloatArray, UInt8Array

SIDE, COUNT = 96, 30


def a_moment(seed: int = 0) -> tuple[UInt8Array, FloatArray]:
    """A soft texture that drifts, with grain in each frame, and points of a face that drift with it."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 255, (2 * SIDE, 2 * SIDE, 3)).astype(np.float32)
    picture = np.clip((cv2.GaussianBlur(noise, (0, 0), 3) - 128) * 6 + 128, 0, 255)
    points = rng.uniform(0.25, 0.75, (478, 2)) * SIDE
    points[33], points[263] = (0.3 * SIDE, 0.4 * SIDE), (0.7 * SIDE, 0.4 * SIDE)
    frames, landmarks = [], []
    for t in range(COUNT):
        x = 8 + 4 * np.sin(t / 5)
        matrix = np.array([[1, 0, -x], [0, 1, -8]], np.float32)
        frame = cv2.warpAffine(picture, matrix, (SIDE, SIDE)) + rng.normal(0, 3, (SIDE, SIDE, 3))
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
        landmarks.append(points - [4 * np.sin(t / 5), 0])
    return np.stack(frames), np.stack(landmarks).astype(np.float32)


FRAMES, LANDMARKS = a_moment()


@pytest.mark.parametrize("kind", FORGERS)
def test_a_forgery_has_the_shape_of_its_twin_and_is_another_clip(kind: str) -> None:
    before = FRAMES.copy()
    forged = FORGERS[kind](FRAMES, LANDMARKS, np.random.default_rng(1))
    assert forged.shape == FRAMES.shape and forged.dtype == np.uint8
    assert (before == FRAMES).all() and (forged != FRAMES).any()
    # the same picture all the same
    assert np.abs(forged.astype(int) - FRAMES.astype(int)).mean() < 40


@pytest.mark.parametrize("kind", FORGERS)
def test_the_same_seed_gives_the_same_forgery(kind: str) -> None:
    a, b = (FORGERS[kind](FRAMES[:12], LANDMARKS[:12], np.random.default_rng(2)) for _ in range(2))
    assert (a == b).all()


def steps(frames: UInt8Array) -> float:
    """How much consecutive frames differ where the texture would stay if it slid as one."""
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())


@pytest.mark.parametrize("kind", ["slide", "linger"])
def test_a_sliding_texture_has_lost_the_grain_of_each_frame(kind: str) -> None:
    assert steps(FORGERS[kind](FRAMES, LANDMARKS, np.random.default_rng(3))) < 0.9 * steps(FRAMES)


def test_trembling_adds_change_from_frame_to_frame() -> None:
    forged = [steps(FORGERS["tremble"](FRAMES, LANDMARKS, np.random.default_rng(s))) for s in range(4)]
    assert min(forged) > 1.02 * steps(FRAMES)


def test_a_splice_changes_the_mouth_and_leaves_the_rest() -> None:
    forged = FORGERS["splice"](FRAMES, LANDMARKS, np.random.default_rng(4))
    changed = (forged != FRAMES).any(axis=(0, 3))
    assert not changed[:8].any() and not changed[:, :8].any() and changed.any()


def test_a_gliding_face_bends_in_fewer_and_smoother_ways_than_its_twin() -> None:
    rng = np.random.default_rng(5)
    field = rng.normal(0, 1, (COUNT, FIELD, FIELD, 2)).astype(np.float32)
    confined = _few_and_smooth(field, 4, 1.0)
    rows = confined.reshape(COUNT, -1)
    assert np.linalg.matrix_rank(rows - rows.mean(axis=0), tol=1e-2) == 4
    assert np.abs(np.diff(rows, axis=0)).mean() < 0.3 * np.abs(np.diff(field.reshape(COUNT, -1), axis=0)).mean()
    assert (_few_and_smooth(field[:2], 4, 1.0) == field[:2]).all()
