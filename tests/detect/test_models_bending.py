import numpy as np
import pytest

from detect.models.bending import BANDS, GRID, bending_features, bending_names, cells_of
from detect.models.temporal import MOTIONS, region_masks
from media.clip import FloatArray

OVAL = region_masks()["face"]
SIDE, COUNT = len(OVAL), 25
CELLS = len(cells_of(np.zeros((SIDE, SIDE, 2), np.float32), OVAL))
NAMES = bending_names(MOTIONS)
TIME = np.arange(COUNT - 1)


def face(
    loose: FloatArray | None = None, motion: FloatArray | None = None, left: FloatArray | None = None
) -> dict[str, float]:
    """What is measured of a face with this flow, motion and texture; noise where nothing is given."""
    rng = np.random.default_rng(0)
    loose = rng.normal(0, 0.1, (COUNT - 1, CELLS, 2)).astype(np.float32) if loose is None else loose
    bent = np.concatenate([np.zeros((1, CELLS, 2), np.float32), np.cumsum(loose, axis=0)])
    motion = rng.normal(0, 0.01, (COUNT - 1, len(MOTIONS))) if motion is None else motion
    left = rng.normal(0, 1, (COUNT, SIDE, SIDE)).astype(np.float32) if left is None else left
    own = rng.normal(0, 2, (SIDE, SIDE)).astype(np.float32)
    values = bending_features(loose, bent, np.asarray(motion, np.float64), [left] * BANDS, [own] * BANDS, OVAL)
    assert len(values) == len(NAMES) and np.isfinite(values).all()
    return dict(zip(NAMES, values, strict=True))


def along(courses: FloatArray, seed: int = 1) -> FloatArray:
    """(T, C, 2) steps of a face that bends along as many random directions as there are courses (T, D)."""
    directions = np.random.default_rng(seed).normal(0, 1, (courses.shape[1], CELLS * 2))
    steps = np.diff(courses, axis=0, prepend=courses[:1]) @ directions
    return steps.reshape(len(courses), CELLS, 2).astype(np.float32)


def test_names_are_one_for_each_value_and_differ() -> None:
    assert len(set(NAMES)) == len(NAMES)
    face()


def test_a_face_that_bends_in_two_ways_is_told_from_one_that_bends_in_twenty() -> None:
    rng = np.random.default_rng(2)
    few, many = (face(along(np.cumsum(rng.normal(0, 1, (COUNT - 1, d)), axis=0))) for d in (2, 20))
    assert few["step_rank"] < 2.2 < 5 < many["step_rank"]
    assert few["path_beyond3"] < many["path_beyond3"] - 2
    assert few["bend_beyond3"] < many["bend_beyond3"] - 2


def test_a_smooth_swing_is_told_from_a_jerky_one_of_the_same_reach() -> None:
    smooth = np.stack([np.sin(TIME / 5), np.cos(TIME / 4)], 1)
    jerky = smooth + np.random.default_rng(3).normal(0, 0.25, smooth.shape)
    a, b = face(along(smooth)), face(along(jerky))
    for name in ("path_swing_first", "path_jerk_first", "bend_jerk_next"):
        assert a[name] < b[name] - 0.5


def test_a_face_with_two_equal_halves_agrees_with_its_mirror_image() -> None:
    rng = np.random.default_rng(4)
    half = rng.normal(0, 1, (COUNT - 1, SIDE, SIDE // 2, 2)).astype(np.float32)
    twin = half[:, :, ::-1] * np.array([-1, 1], np.float32)
    same = np.stack([cells_of(np.concatenate(pair, axis=1), OVAL) for pair in zip(half, twin, strict=True)])
    other = rng.normal(0, 1, (COUNT - 1, CELLS, 2)).astype(np.float32)
    a, b = face(same), face(other)
    for part in ("brows", "eyes", "middle", "mouth"):
        for axis in ("across", "down"):
            assert a[f"mirror_{part}_{axis}"] > 0.99
            assert abs(b[f"mirror_cells_{part}_{axis}"]) < 0.3


def test_a_texture_that_drifts_away_is_told_from_noise_of_every_frame() -> None:
    rng = np.random.default_rng(5)
    change = rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    away = np.abs(np.arange(COUNT) - COUNT // 2).astype(np.float32)[:, None, None] * change / 6
    noise = rng.normal(0, 1, (COUNT, SIDE, SIDE)).astype(np.float32)
    a, b = face(left=away), face(left=noise)
    for band in range(BANDS):
        assert a[f"texture{band}_ages"] > b[f"texture{band}_ages"] + 1
        assert a[f"texture{band}_lasts4"] > 0.9 > 0.3 > abs(b[f"texture{band}_lasts4"])
        assert a[f"texture{band}_rank"] < 1.5 < b[f"texture{band}_rank"]


@pytest.mark.parametrize("index", range(len(MOTIONS)))
def test_a_head_that_trembles_has_a_fast_rhythm(index: int) -> None:
    slow, fast = np.zeros((COUNT - 1, len(MOTIONS))), np.zeros((COUNT - 1, len(MOTIONS)))
    slow[:, index], fast[:, index] = np.cos(2 * np.pi * TIME / 12), np.cos(2 * np.pi * TIME / 2.7)
    name = f"rhythm_{MOTIONS[index]}_fast"
    assert face(motion=fast)[name] > face(motion=slow)[name] + 2


def test_head_and_mouth_that_move_at_the_same_moments_go_together() -> None:
    loud = 0.2 + np.abs(np.sin(TIME / 3))
    rng = np.random.default_rng(6)
    loose = (loud[:, None, None] * rng.normal(0, 1, (COUNT - 1, CELLS, 2))).astype(np.float32)
    steady, tied = (np.tile(s[:, None], (1, len(MOTIONS))) * 0.01 for s in (loud[::-1], loud))
    assert face(loose, tied)["together_head_mouth"] > 0.7 > face(loose, steady)["together_head_mouth"]


def test_cells_are_means_of_the_oval_alone() -> None:
    flow = np.zeros((SIDE, SIDE, 2), np.float32)
    flow[~OVAL] = 50.0
    flow[OVAL] = (1.0, -2.0)
    inner = cells_of(flow, OVAL)
    assert inner.shape == (CELLS, 2) and CELLS < GRID * GRID
    assert np.median(inner, axis=0).tolist() == [1.0, -2.0]
