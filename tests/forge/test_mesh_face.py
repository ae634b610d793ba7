"""The animated portrait: moving, drawing and its truth, on a drawn face."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forge.mesh.curves import fill_from, outline_of, soft_mask, through
from forge.mesh.face import MeshFace, cut_square, frame_square
from forge.mesh.rig import load_rig
from forge.mesh.warp import RigidPose, flow
from forge.motion.features import Motion
from forge.portrait import ForgeError
from media.faces import FaceFinder
from media.landmarks import (
    BLENDSHAPE_NAMES,
    FACE_OVAL,
    LEFT_EYE,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_EYE,
    head_angles,
    lip_aperture,
)
from media.video import read_image

Array = NDArray[np.float64]
UInt8Array = NDArray[np.uint8]
SIDE = 256


def landmarks_of(scale: float = 70.0) -> Array:
    """The rig's own face in the middle of the frame, its lips just closed, its irises round."""
    points = load_rig().neutral * scale + (SIDE / 2, 0.42 * SIDE, 0.0)
    middle = (points[13] + points[14]) / 2
    for point in LIPS_INNER[1:10]:
        points[point, 1] = middle[1] + 0.3
    for point in LIPS_INNER[11:]:
        points[point, 1] = middle[1] - 0.3
    for ring, iris in ((RIGHT_EYE, range(468, 473)), (LEFT_EYE, range(473, 478))):
        centre = points[list(ring)].mean(axis=0)
        radius = 0.32 * np.linalg.norm(points[ring[0]] - points[ring[8]]) / 2
        steps = np.array([(0, 0, 0), (1, 0, 0), (0, -1, 0), (-1, 0, 0), (0, 1, 0)])
        points[list(iris)] = centre + steps * radius
    return points


def drawn_face(skin: tuple[int, int, int] = (200, 160, 140)) -> UInt8Array:
    """A plain face under those landmarks on a striped wall."""
    points = landmarks_of()
    image = np.full((SIDE, SIDE, 3), (90, 110, 130), np.uint8)
    image[:, ::16] = (60, 80, 100)

    def fill(ring: tuple[int, ...], colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(image, [np.round(points[list(ring), :2] * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)

    fill(FACE_OVAL, skin)
    fill(LIPS_OUTER, (170, 70, 80))
    for ring, iris in ((RIGHT_EYE, 468), (LEFT_EYE, 473)):
        fill(ring, (235, 235, 235))
        radius = np.linalg.norm(points[iris + 1] - points[iris])
        at = tuple(int(v) for v in np.round(points[iris, :2] * 16))
        cv2.circle(image, at, round(radius * 16), (50, 40, 30), -1, cv2.LINE_AA, 4)
    return image


@pytest.fixture(scope="module")
def face() -> MeshFace:
    return MeshFace.from_landmarks(drawn_face(), landmarks_of(), {})


def draw(face: MeshFace, **features: float) -> UInt8Array:
    return next(face.render(Motion.neutral(1, Fraction(25)).replace(**features)))


def darkness(frame: UInt8Array, ring: tuple[int, ...]) -> Array:
    """(x, y) middle of the dark pixels inside an opening of the portrait."""
    mask = soft_mask(outline_of(landmarks_of(), ring), (0, 0, SIDE, SIDE))
    dark = np.clip(150 - frame.mean(axis=-1), 0, None) * mask
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return np.asarray(np.array([(dark * x).sum(), (dark * y).sum()]) / dark.sum(), np.float64)


def mouth_patch(frame: UInt8Array) -> UInt8Array:
    x, y = np.round(landmarks_of()[14, :2]).astype(int)
    return frame[y - 3 : y + 22, x - 18 : x + 19]


def test_a_still_motion_gives_the_portrait_back(face: MeshFace) -> None:
    difference = np.abs(draw(face).astype(int) - face.frame).mean(axis=-1)
    assert difference.mean() < 1.0
    assert (difference > 25).mean() < 0.004


def test_the_same_motion_gives_the_same_bytes_and_one_frame_each(face: MeshFace) -> None:
    motion = Motion.neutral(3, Fraction(25)).replace(jawOpen=[0, 0.3, 0.6], yaw=[0, 4, -6], eyeBlinkLeft=[0, 0.5, 1])
    first, again = (
        list(face.render(motion)),
        list(MeshFace.from_landmarks(drawn_face(), landmarks_of(), {}).render(motion)),
    )
    assert len(first) == 3
    assert all(frame.shape == (SIDE, SIDE, 3) and frame.dtype == np.uint8 for frame in first)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert len({frame.tobytes() for frame in first}) == 3


def test_the_frame_border_never_moves(face: MeshFace) -> None:
    moved = draw(face, yaw=12, pitch=-8, roll=8, shift_x=0.2, shift_y=-0.1, log_scale=0.1, jawOpen=0.6)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        assert np.abs(moved[edge].astype(int) - face.frame[edge]).max() <= 2


@pytest.mark.parametrize(
    ("feature", "value", "axis", "sign"),
    [("yaw", 10, 0, 1), ("yaw", -10, 0, -1), ("pitch", 10, 1, -1), ("pitch", -10, 1, 1),
     ("shift_x", 0.1, 0, 1), ("shift_y", 0.1, 1, 1)],
)  # fmt: skip
def test_the_nose_goes_where_the_head_turns(face: MeshFace, feature: str, value: float, axis: int, sign: int) -> None:
    motion = Motion.neutral(2, Fraction(25)).replace(**{feature: [0.0, value]})
    nose = face.truth(motion).landmarks[:, 1]
    assert sign * (nose[1] - nose[0])[axis] > 3.0
    assert abs((nose[1] - nose[0])[1 - axis]) < 1.5


def test_roll_is_clockwise_and_growth_is_growth(face: MeshFace) -> None:
    motion = Motion.neutral(3, Fraction(25)).replace(roll=[0, 10, 0], log_scale=[0, 0, 0.1])
    eyes = face.truth(motion).landmarks[:, [33, 263]]
    across = eyes[:, 1] - eyes[:, 0]
    turned = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    assert turned[1] - turned[0] == pytest.approx(10.0, abs=0.5)
    length = np.linalg.norm(across, axis=1)
    assert length[2] / length[0] == pytest.approx(np.exp(0.1), rel=0.01)


def test_a_pose_of_zero_moves_nothing() -> None:
    points = np.random.default_rng(1).normal(size=(40, 3)) * 50
    np.testing.assert_allclose(RigidPose.at(np.array([3.0, 2, 1]), 70.0, np.zeros(6))(points), points, atol=1e-9)


def test_a_turning_head_keeps_the_width_of_its_outline_but_not_of_its_front() -> None:
    pose = RigidPose.at(np.zeros(3), 70.0, np.array([14.0, 0, 0, 0, 0, 0]))
    sides = np.array([[-80.0, 0, 0], [80.0, 0, 0]])
    front, skull = pose.outline(sides, np.zeros(2)), pose.outline(sides, np.ones(2))
    assert np.ptp(front[:, 0]) < 0.96 * 160
    assert np.ptp(skull[:, 0]) == pytest.approx(160, rel=0.02)


def test_the_flow_of_an_unmoved_sheet_is_where_each_pixel_is(face: MeshFace) -> None:
    sheet = face.sheet
    depth = np.concatenate([np.zeros(len(sheet.source) - len(sheet.around)), sheet.around[:, 2]])
    still = flow(sheet, np.concatenate([sheet.source, depth[:, None]], axis=1))
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    np.testing.assert_allclose(still, np.stack([x, y], axis=-1), atol=0.02)


@pytest.mark.parametrize(("gaze", "axis", "sign"), [("gaze_yaw", 0, 1), ("gaze_pitch", 1, -1)])
def test_irises_go_where_the_gaze_goes(face: MeshFace, gaze: str, axis: int, sign: int) -> None:
    for ring in (RIGHT_EYE, LEFT_EYE):
        there = darkness(draw(face, **{gaze: 0.4}), ring) - darkness(draw(face, **{gaze: -0.4}), ring)
        assert sign * there[axis] > 1.0


def test_a_blink_hides_the_white_of_the_eye_and_half_a_blink_some_of_it(face: MeshFace) -> None:
    mask = soft_mask(outline_of(landmarks_of(), LEFT_EYE), (0, 0, SIDE, SIDE)) > 0.5

    def white(value: float) -> int:
        frame = draw(face, eyeBlinkLeft=value, eyeBlinkRight=value)
        return int(((frame.min(axis=-1) > 205) & mask).sum())

    assert white(0.0) > 40
    assert white(1.0) == 0
    assert 0 < white(0.5) < 0.8 * white(0.0)


def test_an_open_mouth_is_dark_inside_and_has_teeth_as_light_as_the_portrait() -> None:
    light = MeshFace.from_landmarks(drawn_face(), landmarks_of(), {})
    dim = MeshFace.from_landmarks((drawn_face() * 0.45).astype(np.uint8), landmarks_of(), {})
    closed, opened = mouth_patch(draw(light)), mouth_patch(draw(light, jawOpen=0.6))
    assert closed.mean(axis=-1).min() > 45
    assert (opened.mean(axis=-1) < 45).mean() > 0.15

    def brightest(face: MeshFace) -> float:
        patch = mouth_patch(draw(face, mouthUpperUpLeft=0.8, mouthUpperUpRight=0.8, jawOpen=0.15))
        return float(np.quantile(patch.min(axis=-1), 0.99))

    assert brightest(light) > 120
    assert brightest(dim) < 0.65 * brightest(light)


def test_truth_knows_lips_gaze_and_masks(face: MeshFace) -> None:
    motion = Motion.neutral(2, Fraction(25)).replace(jawOpen=[0, 0.5], gaze_yaw=[0, 0.5])
    truth = face.truth(motion)
    assert truth.landmarks.shape == (2, 478, 2)
    assert truth.mouth_open[0] < 0.01 < 0.1 < truth.mouth_open[1]
    assert truth.gaze_degrees.tolist() == [[0, 0], [15, 0]]
    masks = face.masks(truth.landmarks[1])
    assert masks["face"].shape == (SIDE, SIDE)
    assert 0 < (masks["mouth"] > 127).sum() < 0.1 * (masks["face"] > 127).sum()


def test_a_picture_without_a_face_is_refused_in_one_line() -> None:
    with pytest.raises(ForgeError, match="no face was found") as error:
        MeshFace.fit(np.full((200, 200, 3), 128, np.uint8), 256)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("image", [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3), np.float32)])
def test_what_is_no_picture_is_refused(image: UInt8Array) -> None:
    with pytest.raises(ValueError, match="uint8"):
        MeshFace.fit(image)


def test_a_square_picture_with_a_face_of_usual_size_is_kept_whole() -> None:
    landmarks = landmarks_of().astype(np.float32)  # about half of 256 pixels
    assert frame_square(landmarks, SIDE, SIDE, 512) == (0, 0, SIDE)


def test_other_pictures_are_cropped_around_the_face_within_their_border() -> None:
    landmarks = (landmarks_of() + np.array([700.0, 30.0, 0.0])).astype(np.float32)
    x0, y0, side = frame_square(landmarks, 1000, 600, 256)
    assert side < 600
    assert x0 >= 0 and y0 >= 0 and x0 + side <= 1000 and y0 + side <= 600
    assert x0 < landmarks[:, 0].min() and x0 + side > landmarks[:, 0].max()
    # a tiny face is not blown up more than threefold
    assert frame_square(landmarks * np.float32(0.3), 1000, 600, 512)[2] >= 512 / 3


def test_a_curve_passes_through_its_points_and_a_mask_counts_its_area() -> None:
    points = np.array([[0.0, 0], [1, 2], [3, 3], [5, 1]])
    np.testing.assert_allclose(through(points, steps=4)[::4], points)
    square = np.array([[2.25, 2], [6.25, 2], [6.25, 6], [2.25, 6]])
    assert soft_mask(square, (0, 0, 10, 10)).sum() == pytest.approx(16, abs=2.5)


def test_filling_continues_what_is_known_and_keeps_it() -> None:
    image = np.zeros((20, 20, 3), np.float32)
    image[:, :10] = (200, 100, 50)
    known = np.zeros((20, 20), np.float32)
    known[:, :10] = 1
    filled = fill_from(image, known, reach=1.0)
    np.testing.assert_allclose(filled, np.broadcast_to((200, 100, 50), filled.shape), rtol=0.02)


def test_what_is_asked_of_a_real_portrait_is_what_the_tracker_sees(data_pack: Path) -> None:
    asked: tuple[dict[str, float], ...]
    asked = ({}, {"jawOpen": 0.4}, {"eyeBlinkLeft": 1, "eyeBlinkRight": 1}, {"yaw": 10}, {"roll": 8})
    found = []
    with FaceFinder(max_faces=1, small_faces=False) as finder:
        for name in ("f021.webp", "f001.webp"):
            image = read_image(data_pack / "portraits" / name)
            portrait = MeshFace.fit(image, 256, face=finder.find(image)[0])
            found.append([finder.find(draw(portrait, **features))[0] for features in asked])
    blink = BLENDSHAPE_NAMES.index("eyeBlinkLeft")
    for neutral, jaw, shut, yaw, roll in found:
        assert lip_aperture(neutral.landmarks) < 0.02
        assert 0.08 < lip_aperture(jaw.landmarks) < 0.25
        assert neutral.blendshapes[blink] < 0.25 and shut.blendshapes[blink] > 0.45
        assert 7.5 < head_angles(yaw.pose)[0] - head_angles(neutral.pose)[0] < 12
        assert 7 < head_angles(roll.pose)[2] - head_angles(neutral.pose)[2] < 9


def test_a_face_that_fills_its_picture_gets_room_to_move_in() -> None:
    landmarks = (landmarks_of(110.0) - np.array([36.0, 20.0, 0.0])).astype(
        np.float32
    )  # reaches out of 184 x 210 pixels
    x0, y0, side = frame_square(landmarks, 184, 210, 256)
    assert x0 < landmarks[:468, 0].min() and y0 < landmarks[:468, 1].min()
    assert x0 + side > landmarks[:468, 0].max() and y0 + side > landmarks[:468, 1].max()
    picture = np.random.default_rng(0).integers(0, 255, (210, 184, 3), np.uint8)
    frame = cut_square(picture, -30, -20, 250, 250)
    assert frame.shape == (250, 250, 3)
    assert np.abs(frame[40:200, 50:190].astype(int) - picture[20:180, 20:160]).max() <= 1
    assert frame[:4].std() < 40  # beyond the border: out of focus
