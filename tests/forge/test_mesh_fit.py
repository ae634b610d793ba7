"""The rig and its fit to one face, on fabricated landmarks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forge.mesh.fit import (
    LOWER_INNER,
    STEEPEST,
    UPPER_INNER,
    close_lips,
    fit_head,
    gentle_depth,
    neighbours,
    seal_weights,
    similarity,
    unfolded,
)
from forge.mesh.rig import CREASES, SKIN, UPPER_LIDS, load_rig, with_lashes
from forge.mesh.warp import rotation
from forge.motion.features import BLENDSHAPE_NAMES
from media.landmarks import FACE_OVAL, LEFT_EYE, LIPS_INNER, RIGHT_EYE

Array = NDArray[np.float64]
RIG = load_rig()


def weights(**values: float) -> Array:
    out = np.zeros(len(BLENDSHAPE_NAMES))
    for name, value in values.items():
        out[BLENDSHAPE_NAMES.index(name)] = value
    return out


def face(yaw: float = 0.0, scale: float = 120.0, **expression: float) -> Array:
    """Landmarks of the rig's own face in a 400-pixel frame."""
    points = RIG.neutral + np.tensordot(weights(**expression), RIG.basis, axes=1)
    return points @ rotation(np.radians(yaw), 0.0, 0.0).T * scale + (200.0, 180.0, 0.0)


def lip_gap(points: Array) -> float:
    return float((points[list(LOWER_INNER), 1] - points[list(UPPER_INNER), 1]).max())


def eye_gap(points: Array, ring: tuple[int, ...]) -> float:
    return float(np.linalg.norm(points[list(ring[1:8]), :2] - points[list(ring[15:8:-1]), :2], axis=1).max())


def test_left_actions_are_the_mirror_images_of_right_ones() -> None:
    jaw_left, jaw_right = RIG.action("jawLeft"), RIG.action("jawRight")
    assert jaw_left[152, 0] > 0.05  # the person's left is the picture's right
    np.testing.assert_allclose(jaw_left[152] * (-1, 1, 1), jaw_right[152], atol=2e-3)
    np.testing.assert_allclose(RIG.neutral[33] * (-1, 1, 1), RIG.neutral[263], atol=0.02)


def test_the_jaw_opens_downwards_and_the_forehead_stays() -> None:
    jaw = RIG.action("jawOpen")
    assert jaw[14, 1] > 0.25
    assert jaw[14, 1] > 5 * abs(jaw[13, 1])
    assert np.abs(jaw[[10, 151, 9]]).max() < 0.01


def test_triangles_lie_the_same_way_up_and_leave_mouth_and_eyes_open() -> None:
    points = with_lashes(face(jawOpen=0.5))[:, :2]
    a, b, c = (points[RIG.triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    assert (area > 0).mean() > 0.99
    middle = points[[*LIPS_INNER]].mean(axis=0)
    inside = np.all(
        [
            (q[:, 0] - p[:, 0]) * (middle[1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (middle[0] - p[:, 0]) >= 0
            for p, q in ((a, b), (b, c), (c, a))
        ],
        axis=0,
    )
    assert not inside.any()


def test_every_lash_point_lies_between_its_lid_and_its_fold() -> None:
    points = with_lashes(RIG.neutral)
    assert points.shape == (SKIN + len(UPPER_LIDS), 3)
    height = points[list(UPPER_LIDS), 1] - points[list(CREASES), 1]
    share = (points[list(UPPER_LIDS), 1] - points[SKIN:, 1]) / height
    assert ((share > 0) & (share < 1)).all()


@pytest.mark.parametrize("yaw", [-35.0, 0.0, 20.0])
def test_the_fit_finds_the_scale_and_the_turn_of_a_known_head(yaw: float) -> None:
    head = fit_head(face(yaw=yaw), {})
    assert head.scale == pytest.approx(120.0, rel=1e-6)
    np.testing.assert_allclose(head.turn, rotation(np.radians(yaw), 0.0, 0.0), atol=1e-6)


def test_a_similarity_of_one_place_is_refused() -> None:
    with pytest.raises(ValueError, match="one place"):
        similarity(RIG.neutral[:10], np.ones((10, 3)))


@pytest.mark.parametrize("expression", [{"jawOpen": 0.4}, {"mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0}, {}])
def test_lips_that_are_parted_in_the_picture_are_closed_at_rest(expression: dict[str, float]) -> None:
    landmarks = face(**expression)
    assert lip_gap(landmarks) > 3.0
    head = fit_head(landmarks, expression)
    assert lip_gap(head.rest) == pytest.approx(0.0, abs=1e-9)


def test_closing_parted_lips_moves_the_upper_one_more() -> None:
    landmarks = face(jawOpen=0.3)
    seal, slide = seal_weights(neighbours(RIG.triangles))
    closed = close_lips(landmarks, seal, slide, np.array([0.0, 1.0, 0.0]))
    assert closed[13, 1] - landmarks[13, 1] > landmarks[14, 1] - closed[14, 1] > 0
    np.testing.assert_allclose(closed[[10, 33, 152]], landmarks[[10, 33, 152]], atol=1.5)


def test_the_mouth_opens_in_proportion_to_the_jaw() -> None:
    head = fit_head(face(), {})
    gaps = [lip_gap(head.posed(weights(jawOpen=jaw))[0]) / head.scale for jaw in (0.0, 0.2, 0.4, 0.8)]
    assert gaps[0] == pytest.approx(0.0, abs=1e-9)
    assert gaps == sorted(gaps)
    assert 0.03 < gaps[1] < 0.12
    assert gaps[3] == pytest.approx(4 * gaps[1], rel=0.1)


def test_mouth_close_brings_the_lips_together_over_an_open_jaw() -> None:
    head = fit_head(face(), {})
    open_gap = lip_gap(head.posed(weights(jawOpen=0.4))[0])
    closed, _ = head.posed(weights(jawOpen=0.4, mouthClose=0.4))
    assert lip_gap(closed) < 0.15 * open_gap
    assert closed[152, 1] > head.rest[152, 1] + 0.05 * head.scale  # the jaw itself stays open


def test_neither_lips_nor_lids_ever_pass_each_other() -> None:
    head = fit_head(face(yaw=12), {})
    random = np.random.default_rng(0)
    down = head.turn[:, 1]
    for _ in range(60):
        points, _ = head.posed(random.random(len(BLENDSHAPE_NAMES)) * (random.random(len(BLENDSHAPE_NAMES)) < 0.3))
        assert ((points[list(LOWER_INNER)] - points[list(UPPER_INNER)]) @ down).min() > -0.01 * head.scale
        for ring in (RIGHT_EYE, LEFT_EYE):
            assert ((points[list(ring[1:8])] - points[list(ring[15:8:-1])]) @ down).min() > -1e-6


def test_a_blink_shuts_one_eye_and_leaves_the_other_and_the_brows_alone() -> None:
    head = fit_head(face(), {})
    shut, _ = head.posed(weights(eyeBlinkLeft=1.0))
    assert eye_gap(shut, LEFT_EYE) < 1e-6
    assert eye_gap(shut, RIGHT_EYE) == pytest.approx(eye_gap(head.rest, RIGHT_EYE), rel=0.02)
    assert np.abs(shut - head.rest)[[105, 334, 70, 300]].max() < 0.02 * head.scale


def test_an_eye_that_is_closed_in_the_picture_is_known_to_be() -> None:
    assert fit_head(face(), {}).eyes_open == (True, True)
    assert fit_head(face(), {"eyeBlinkRight": 0.8}).eyes_open == (False, True)


def test_depth_never_falls_away_more_steeply_than_allowed() -> None:
    points = face()
    depth = gentle_depth(points)
    apart = np.linalg.norm(points[:, None, :2] - points[None, :, :2], axis=-1)
    assert (depth[:, None] - depth[None] <= STEEPEST * apart + 1e-9).all()
    assert (depth <= points[:, 2] + 1e-9).all()
    assert depth[1] == points[1, 2]  # the tip of the nose is nowhere behind a slope
    assert (depth[list(FACE_OVAL)] < points[list(FACE_OVAL), 2] - 1).any()


def test_a_far_rim_that_is_hidden_behind_its_cheek_is_brought_out() -> None:
    links = neighbours(RIG.triangles)
    frontal, turned = face(), face(yaw=50)
    np.testing.assert_array_equal(unfolded(frontal, RIG.triangles, links), frontal)
    healed = unfolded(turned, RIG.triangles, links)

    def inwards(points: Array) -> float:
        hull = cv2.convexHull(points[:SKIN, :2].astype(np.float32))
        return max(cv2.pointPolygonTest(hull, (float(x), float(y)), True) for x, y in points[list(FACE_OVAL), :2])

    assert inwards(turned) > 8.0
    assert inwards(healed) < 0.5 * inwards(turned)
    features = [*LIPS_INNER, *RIGHT_EYE, *LEFT_EYE]
    np.testing.assert_array_equal(healed[features], turned[features])
