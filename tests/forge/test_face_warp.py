"""The warps know where every point of the head is: exactly for the pose, closely for the face."""

import pytest
import torch

from forge.face.sampling import sample_beyond, sample_volume, volume_grid
from forge.face.warp import (
    RIG_GRID,
    Warp,
    distance_of,
    from_box,
    from_screen_volume,
    posed_on_screen,
    rested_from_screen,
    rig_flows,
    to_box,
    to_screen_volume,
)
from forge.studio.figure import torso_pose
from forge.studio.head import PART, consistent, load_head, pose_matrix, project, standard_focal

SIZE = 256
IDENTITY = 16


@pytest.fixture(scope="module")
def warp() -> Warp:
    torch.manual_seed(0)
    made = Warp(8, 16, IDENTITY, 8, RIG_GRID)
    torch.nn.init.zeros_(made.shape_of.weight)
    torch.nn.init.zeros_(made.shape_of.bias)
    return made.requires_grad_(False)


def poses(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) * torch.tensor(
        [20.0, 12.0, 9.0, 0.2, 0.2, 0.12]
    )


def faces(count: int, seed: int = 2) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    dyn = torch.zeros(count, 64)
    dyn[:, :52] = (torch.rand(count, 52, generator=random) < 0.15) * torch.rand(count, 52, generator=random) * 0.8
    dyn[:, 52:54] = 0.3 * torch.randn(count, 2, generator=random)
    return consistent(dyn)


@pytest.mark.parametrize("distance", [60.0, 100.0, 220.0])
def test_a_canonical_point_lies_on_the_pixel_where_the_studio_draws_it(distance: float) -> None:
    head, pose = load_head(), poses(4)
    points = head.neutral_V3.expand(4, -1, -1)
    pixels = project(points, pose_matrix(pose, distance), standard_focal(SIZE, distance), SIZE)
    places = to_screen_volume(points, pose, torch.full((4,), distance))
    assert torch.allclose((places[..., :2] + 1) * SIZE / 2, pixels[..., :2], atol=1e-2)
    focal = torch.full((4,), float(standard_focal(SIZE, distance)))
    assert torch.allclose(distance_of(focal, SIZE), torch.full((4,), distance))


def test_the_way_back_from_the_screen_is_exact() -> None:
    points = torch.randn(3, 50, 3) * 8
    pose, distance = poses(3), torch.tensor([70.0, 100.0, 150.0])
    assert torch.allclose(
        from_screen_volume(to_screen_volume(points, pose, distance), pose, distance), points, atol=1e-3
    )
    assert torch.allclose(from_box(to_box(points)), points, atol=1e-4)


def test_the_box_holds_the_head() -> None:
    assert bool((to_box(load_head().neutral_V3).abs() < 1.08).all())


def test_both_warps_together_carry_a_face_from_target_to_source_within_a_pixel(warp: Warp) -> None:
    head, count = load_head(), 6
    source_pose, target_pose = poses(count, 3), poses(count, 4)
    source_dyn, target_dyn = faces(count, 5), faces(count, 6)
    nobody, code = torch.zeros(1, 1), torch.zeros(count, IDENTITY)
    distance = torch.full((count,), 100.0)
    there = to_screen_volume(head.deform(nobody, source_dyn), source_pose, distance)
    here = to_screen_volume(head.deform(nobody, target_dyn), target_pose, distance)
    whence = warp.source_places(source_pose, source_dyn, code).permute(0, 4, 1, 2, 3)
    where = warp.canonical_of(here[:, None, None], target_pose, target_dyn, code)
    found = sample_volume(whence, where, border=True)[:, :, 0, 0].permute(0, 2, 1)
    off = ((found - there)[..., :2] * SIZE / 2).norm(dim=-1)
    moved = ((here - there)[..., :2] * SIZE / 2).norm(dim=-1)
    part = torch.zeros(len(head.neutral_V3), dtype=torch.uint8)
    part[head.triangles_T3.reshape(-1)] = head.part_T.repeat_interleave(3)
    skin = (part == PART["skin"]).expand(count, -1)
    lips = (part == PART["lips"]).expand(count, -1)
    assert float(off[skin].mean()) < 1.0 and float(moved[skin].mean()) > 15
    assert float(off[lips].mean()) < 4.0


def test_nothing_moves_without_expression(warp: Warp) -> None:
    still = torch.zeros(1, 64)
    places = warp.source_places(torch.zeros(1, 6), still, torch.zeros(1, IDENTITY))
    points = from_box(volume_grid(8, 16, 16)).reshape(1, -1, 3)
    expected = to_screen_volume(points, torch.zeros(1, 6), torch.tensor([100.0])).view(places.shape)
    assert torch.allclose(places, expected, atol=1e-5)


def test_eyes_follow_the_gaze_and_no_eye_look_coefficient() -> None:
    flows = rig_flows()
    assert float(flows[10:18].abs().max()) == 0.0
    assert float(flows[52].abs().max()) > 0.01


def test_flows_learn(warp: Warp) -> None:
    fresh = Warp(8, 16, IDENTITY, 8, None)
    place = fresh.canonical_places(poses(2), faces(2), torch.randn(2, IDENTITY))
    place.square().mean().backward()
    assert fresh.backward_K3DHW.grad is not None and float(fresh.backward_K3DHW.grad.abs().max()) > 0
    assert fresh.forward_K3DHW.grad is not None and float(fresh.forward_K3DHW.grad.abs().max()) > 0


TURNED = torch.tensor([[35.0, -12.0, 8.0, 0.1, -0.2, 0.1], [-20.0, 5.0, 3.0, 0.0, 0.1, -0.1]])
FAR = torch.tensor([70.0, 100.0])


def test_a_chest_turns_with_the_torso_and_a_forehead_with_the_head() -> None:
    chest = torch.tensor([[[4.0, -22.0, 3.0]]]).expand(2, -1, -1)
    brow = torch.tensor([[[4.0, 6.0, 8.0]]]).expand(2, -1, -1)
    torso = torso_pose(TURNED, torch.zeros(3))
    assert torch.allclose(posed_on_screen(chest, chest, TURNED, FAR), to_screen_volume(chest, torso, FAR), atol=1e-5)
    assert torch.allclose(posed_on_screen(brow, brow, TURNED, FAR), to_screen_volume(brow, TURNED, FAR), atol=1e-5)


def test_the_way_back_finds_head_and_torso_exactly_and_the_neck_closely() -> None:
    points = from_box(volume_grid(6, 12, 6)).view(1, -1, 3).expand(2, -1, -1)
    found = rested_from_screen(posed_on_screen(points, points, TURNED, FAR), TURNED, FAR)
    off = (found - points).norm(dim=-1)
    height = points[..., 1] + 0.45 * (points[..., 2] - 3.0)
    assert off[(height > -4)].max() < 1e-3
    assert off.mean() < 0.3 and off.quantile(0.9) < 1.0


def test_places_go_on_in_straight_lines_beyond_their_volume() -> None:
    line = torch.tensor([0.7, -0.2, 0.4])
    places = volume_grid(4, 8, 8)
    volume = (places @ line)[None, None]
    where = torch.rand(1, 3, 5, 5, 3, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    assert torch.allclose(sample_beyond(volume, where)[0, 0], where[0] @ line, atol=1e-4)
