"""The head: every action moves what its name says, on the right side; the asset is small and complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from forge.motion.features import BLENDSHAPE_NAMES, INDEX, Z_DYN
from forge.portrait import ForgeError
from forge.studio.head import (
    ASSET,
    DYNAMICS,
    OUTER_EYE_CENTIMETRES,
    PART,
    PIVOT,
    HeadModel,
    consistent,
    load_head,
    pose_matrix,
    project,
    standard_focal,
)
from media.landmarks import LANDMARKS, LEFT_EYE, RIGHT_EYE, head_angles

SIZE = 256
RIGHT_OUTER, LEFT_OUTER, UPPER_LIP, LOWER_LIP, CHIN, NOSE = 33, 263, 13, 14, 152, 1
RIGHT_CORNER, LEFT_CORNER = 61, 291
LEFT_LIDS, RIGHT_LIDS = (386, 374), (159, 145)
LEFT_BROW, RIGHT_BROW = (334, 107)[0], 105


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def dynamics(**values: float) -> Tensor:
    out = torch.zeros(1, DYNAMICS)
    for name, value in values.items():
        out[0, INDEX[name] - Z_DYN.start] = value
    return out


def shown(head: HeadModel, pose: dict[str, float] | None = None, **values: float) -> Tensor:
    """(478, 2) landmark pixels, seen from the front unless posed."""
    pose_B6 = torch.zeros(1, 6)
    for name, value in (pose or {}).items():
        pose_B6[0, INDEX[name]] = value
    vertices = head.deform(torch.zeros(1, head.modes), dynamics(**values))
    screen = project(vertices, pose_matrix(pose_B6), standard_focal(SIZE), SIZE)
    return head.landmarks(screen)[0, :, :2]


def lid_gap(points: Tensor, lids: tuple[int, int]) -> float:
    return float(points[lids[1], 1] - points[lids[0], 1])


def test_the_asset_is_small_and_says_whose_work_it_is(head: HeadModel) -> None:
    assert ASSET.stat().st_size < 6_000_000
    assert "MIT" in head.licence
    assert "MIT License" in ASSET.with_name("LICENSE-ICT-FaceKit.txt").read_text(encoding="utf-8")
    assert any(line.startswith("tongueOut") for line in head.composed)
    assert len(head.triangles_T3) < 45_000
    assert head.expression_EV3.shape[0] == len(BLENDSHAPE_NAMES)


def test_every_action_moves_something_and_rest_is_the_neutral_face(head: HeadModel) -> None:
    size = head.expression_EV3.norm(dim=2).amax(1)
    assert (size > 0.15).all()
    assert torch.equal(head.actions(torch.zeros(1, DYNAMICS)), torch.zeros(1, 52))
    resting = head.deform(torch.zeros(1, head.modes), torch.zeros(1, DYNAMICS))
    assert (resting[0] - head.neutral_V3).abs().max() < 0.02


def test_the_persons_left_is_on_the_right_of_the_picture(head: HeadModel) -> None:
    points = shown(head)
    assert points[LEFT_OUTER, 0] > points[RIGHT_OUTER, 0] + 40
    for name in BLENDSHAPE_NAMES:
        moved = (head.expression_EV3[BLENDSHAPE_NAMES.index(name)].norm(dim=1)[:, None] * head.neutral_V3).sum(0)
        if name.endswith("Left") and name not in ("jawLeft", "mouthLeft"):
            assert moved[0] > 0, name
        if name.endswith("Right") and name not in ("jawRight", "mouthRight"):
            assert moved[0] < 0, name


def test_each_eye_blinks_alone_and_shuts(head: HeadModel) -> None:
    rest, left, right = shown(head), shown(head, eyeBlinkLeft=1.0), shown(head, eyeBlinkRight=1.0)
    for points, mine, other in ((left, LEFT_LIDS, RIGHT_LIDS), (right, RIGHT_LIDS, LEFT_LIDS)):
        assert lid_gap(points, mine) < 0.25 * lid_gap(rest, mine)
        assert lid_gap(points, other) == pytest.approx(lid_gap(rest, other), abs=0.1)


@pytest.mark.parametrize(
    ("action", "landmark", "axis", "sign"),
    [
        ("jawOpen", CHIN, 1, 1),
        ("jawLeft", CHIN, 0, 1),
        ("jawRight", CHIN, 0, -1),
        ("mouthLeft", LOWER_LIP, 0, 1),
        ("mouthRight", LOWER_LIP, 0, -1),
        ("mouthSmileLeft", LEFT_CORNER, 1, -1),
        ("mouthSmileRight", RIGHT_CORNER, 1, -1),
        ("mouthFrownLeft", LEFT_CORNER, 1, 1),
        ("mouthFrownRight", RIGHT_CORNER, 1, 1),
        ("mouthStretchLeft", LEFT_CORNER, 0, 1),
        ("mouthStretchRight", RIGHT_CORNER, 0, -1),
        ("mouthPucker", LEFT_CORNER, 0, -1),
        ("mouthPucker", RIGHT_CORNER, 0, 1),
        ("browOuterUpLeft", LEFT_BROW, 1, -1),
        ("browOuterUpRight", RIGHT_BROW, 1, -1),
        ("browDownLeft", LEFT_BROW, 1, 1),
        ("browDownRight", RIGHT_BROW, 1, 1),
        ("mouthUpperUpLeft", 270, 1, -1),
        ("mouthUpperUpRight", 40, 1, -1),
        ("mouthLowerDownLeft", 321, 1, 1),
        ("mouthLowerDownRight", 91, 1, 1),
    ],
)
def test_an_action_moves_its_landmark_the_right_way(
    head: HeadModel, action: str, landmark: int, axis: int, sign: int
) -> None:
    moved = (shown(head, **{action: 1.0}) - shown(head))[landmark]
    assert sign * float(moved[axis]) > 0.5, moved


def test_gaze_turns_the_eyeballs_and_the_lids_follow(head: HeadModel) -> None:
    rest, iris = shown(head), (468, 473)
    for name, axis, sign in (("gaze_yaw", 0, 1), ("gaze_pitch", 1, -1)):
        for value in (0.7, -0.7):
            moved = shown(head, **{name: value}) - rest
            for point in iris:
                assert sign * value * float(moved[point, axis]) > 1.0
    assert lid_gap(shown(head, gaze_pitch=-0.8), LEFT_LIDS) < 0.8 * lid_gap(rest, LEFT_LIDS)
    assert lid_gap(shown(head, gaze_pitch=0.8), LEFT_LIDS) > lid_gap(rest, LEFT_LIDS)


def test_an_eyeball_turns_about_its_middle_by_the_degrees_asked_for(head: HeadModel) -> None:
    identity = torch.ones(1, head.modes)
    straight, turned = (head.deform(identity, dynamics(gaze_yaw=g)) for g in (0.0, 0.5))
    mine = head.eye_V == 1
    pivot = head.eye_pivot_23[0] + head.eye_pivot_identity_K23[:, 0].sum(0)
    before, after = straight[0, mine] - pivot, turned[0, mine] - pivot
    torch.testing.assert_close(before.norm(dim=1), after.norm(dim=1), rtol=1e-4, atol=1e-4)
    angle = torch.rad2deg(torch.atan2(after[:, 0], after[:, 2]) - torch.atan2(before[:, 0], before[:, 2]))
    assert ((angle + 360) % 360 - 15.0).abs().max() < 0.1


def test_eye_look_truth_follows_from_gaze_alone(head: HeadModel) -> None:
    given = dynamics(gaze_yaw=0.5, gaze_pitch=-0.25, eyeLookUpLeft=0.9)
    truth = consistent(given)
    values = dict(zip(BLENDSHAPE_NAMES, truth[0].tolist(), strict=False))
    assert (values["eyeLookOutLeft"], values["eyeLookInRight"], values["eyeLookDownLeft"]) == (0.5, 0.5, 0.25)
    assert (values["eyeLookUpLeft"], values["eyeLookInLeft"]) == (0.0, 0.0)
    zero = torch.zeros(1, head.modes)
    assert torch.equal(head.deform(zero, given), head.deform(zero, truth))


def test_the_jaw_carries_lower_teeth_and_tongue(head: HeadModel) -> None:
    zero = torch.zeros(1, head.modes)
    moved = head.deform(zero, dynamics(jawOpen=1.0))[0] - head.neutral_V3
    teeth = head.triangles_T3[head.part_T == PART["teeth"]].unique()
    upper, lower = teeth[head.neutral_V3[teeth, 1] > -2.6], teeth[head.neutral_V3[teeth, 1] < -4.2]
    assert moved[upper].abs().max() < 0.05
    assert moved[lower, 1].max() < -1.0
    tongue = head.triangles_T3[head.part_T == PART["tongue"]].unique()
    tip = tongue[head.neutral_V3[tongue, 2] > 9.0]
    assert moved[tip, 1].mean() < -1.0


def test_the_tongue_comes_out_between_open_lips_only(head: HeadModel) -> None:
    zero = torch.zeros(1, head.modes)
    tongue = head.triangles_T3[head.part_T == PART["tongue"]].unique()
    shut, opened, out = (
        head.deform(zero, dynamics(**values))[0, tongue, 2].max()
        for values in ({"tongueOut": 1.0}, {"jawOpen": 0.4}, {"jawOpen": 0.4, "tongueOut": 1.0})
    )
    assert out > opened + 2.0
    assert shut == pytest.approx(float(head.neutral_V3[tongue, 2].max()), abs=1e-4)


@pytest.mark.parametrize(
    "values",
    [
        {"mouthClose": 1.0},
        {"mouthClose": 1.0, "jawOpen": 0.3},
        {"mouthPressLeft": 1.0, "mouthPressRight": 1.0},
        {"mouthShrugLower": 1.0, "mouthPressLeft": 1.0, "mouthPressRight": 1.0},
        {"mouthFrownLeft": 1.0, "mouthFrownRight": 1.0, "mouthPucker": 0.6},
        {"jawForward": 1.0, "mouthShrugLower": 1.0},
    ],
)
def test_lips_do_not_cross(head: HeadModel, values: dict[str, float]) -> None:
    people = torch.cat(
        [torch.zeros(1, head.modes), torch.randn(3, head.modes, generator=torch.Generator().manual_seed(2))]
    )
    vertices = head.deform(people, dynamics(**values).expand(4, -1))
    gap = vertices[:, head.lip_upper_N, 1] - vertices[:, head.lip_lower_N, 1]
    assert gap.min() > -0.08  # centimetres: less than a quarter of a pixel at 256


def test_jaw_and_close_together_keep_the_lips_shut(head: HeadModel) -> None:
    opened = shown(head, jawOpen=0.4)
    closed = shown(head, jawOpen=0.4, mouthClose=0.4)
    assert closed[LOWER_LIP, 1] - closed[UPPER_LIP, 1] < 0.2 * (opened[LOWER_LIP, 1] - opened[UPPER_LIP, 1])


def test_pose_has_the_signs_of_the_motion_vector() -> None:
    for yaw, pitch, roll in ((20.0, 0.0, 0.0), (0.0, 15.0, 0.0), (0.0, 0.0, 12.0), (25.0, -10.0, 8.0)):
        matrix = pose_matrix(torch.tensor([[yaw, pitch, roll, 0.0, 0.0, 0.0]]))[0].double().numpy()
        back = np.eye(4)
        back[:3] = np.diag([1.0, -1.0, -1.0]) @ matrix  # the camera of media.faces has y up and looks along -z
        assert head_angles(back.astype(np.float32)) == pytest.approx((yaw, pitch, roll), abs=1e-3)


def test_a_posed_head_moves_in_the_picture_as_named(head: HeadModel) -> None:
    rest = shown(head)
    assert shown(head, {"yaw": 20.0})[NOSE, 0] > rest[NOSE, 0] + 5
    assert shown(head, {"pitch": 15.0})[NOSE, 1] < rest[NOSE, 1] - 5
    rolled = shown(head, {"roll": 10.0})
    assert rolled[LEFT_OUTER, 1] > rolled[RIGHT_OUTER, 1] + 5
    eyes = float((rest[LEFT_OUTER] - rest[RIGHT_OUTER]).norm())
    shifted = shown(head, {"shift_x": 0.5, "shift_y": -0.25}) - rest
    assert shifted[NOSE].tolist() == pytest.approx([0.5 * eyes, -0.25 * eyes], rel=0.08)
    larger = shown(head, {"log_scale": float(np.log(1.2))})
    assert float((larger[LEFT_OUTER] - larger[RIGHT_OUTER]).norm()) == pytest.approx(1.2 * eyes, rel=0.03)


def test_zero_pose_is_the_standard_framing(head: HeadModel) -> None:
    screen = project(torch.tensor([[PIVOT]]), pose_matrix(torch.zeros(1, 6)), standard_focal(SIZE), SIZE)
    assert screen[0, 0, :2].tolist() == pytest.approx([SIZE / 2, SIZE / 2])
    corners = head.neutral_V3[head.marks_68[[36, 45]]]
    assert float((corners[0] - corners[1]).norm()) == pytest.approx(OUTER_EYE_CENTIMETRES, abs=0.01)
    points = shown(head)
    assert points.shape == (LANDMARKS, 2)
    assert (points > 0.1 * SIZE).all()
    assert (points < 0.9 * SIZE).all()


def test_landmarks_mirror_each_other_and_eyes_lie_in_their_corners(head: HeadModel) -> None:
    points = shown(head)
    middle = SIZE / 2
    assert float(points[LEFT_OUTER, 0] + points[RIGHT_OUTER, 0]) == pytest.approx(2 * middle, abs=1.0)
    for ring, corner in ((LEFT_EYE, 263), (RIGHT_EYE, 33)):
        assert corner in ring
        assert float((points[list(ring)].mean(0) - points[473 if corner == 263 else 468]).norm()) < 4.0


def test_normals_are_smooth_across_texture_seams(head: HeadModel) -> None:
    normals = head.normals(head.neutral_V3[None])[0]
    assert torch.allclose(normals.norm(dim=1), torch.ones(len(normals)), atol=1e-4)
    split = head.vertex_U.bincount() > 1
    for place in split.nonzero()[:40, 0]:
        copies = normals[head.vertex_U == place]
        assert torch.equal(copies[0], copies[-1])
    assert normals[head.marks_68[30], 2] > 0.5  # the tip of the nose looks forward


def test_nonsense_is_refused(head: HeadModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="identity must have at most"):
        head.shape(torch.zeros(1, head.modes + 1))
    with pytest.raises(ValueError, match="dynamics must be"):
        head.actions(torch.zeros(1, 52))
    broken = tmp_path / "head.npz"
    broken.write_bytes(b"no head")
    with pytest.raises(ForgeError, match=r"head\.npz"):
        load_head(broken)
