"""Footage: exact flow, honest visibility, small files that come back whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from forge.motion.features import INDEX, NAMES, Z_DYN
from forge.portrait import ForgeError
from forge.studio.footage import Footage, flow_between, load_footage, save_footage
from forge.studio.head import PART, load_head, pose_matrix, project, standard_focal
from forge.studio.rasterise import rasterise

SIZE = 192
POSES = ({}, {"yaw": 22.0, "pitch": -6.0, "jawOpen": 0.35}, {"yaw": -28.0, "roll": 9.0, "mouthSmileLeft": 0.8})


def film(size: int = SIZE) -> tuple[Footage, Tensor]:
    """A head painted with waves, in flat light; and the same pictures before they were rounded to bytes."""
    head = load_head()
    motion = torch.zeros(len(POSES), len(NAMES))
    for row, values in enumerate(POSES):
        for name, value in values.items():
            motion[row, INDEX[name]] = value
    identity = torch.linspace(-1, 1, head.modes)
    vertices = head.deform(identity[None], motion[:, Z_DYN])
    matrix = pose_matrix(motion[:, :6])
    focal = float(standard_focal(size))
    screen = project(vertices, matrix, focal, size)
    cover = rasterise(screen, head.triangles_T3, size, two_sided=head.two_sided_T)
    rest = cover.interpolate(head.neutral_V3)
    paint = 0.5 + 0.2 * torch.sin(rest * 1.3) + 0.2 * torch.sin(rest[..., [1, 2, 0]] * 0.9)
    paint = torch.where(cover.seen_BHW[..., None], paint, 0.1)
    parts = cover.per_triangle(head.part_T)
    frames = paint.permute(0, 3, 1, 2)
    footage = Footage(
        image_F3HW=(frames * 255).round().to(torch.uint8),
        parts_FHW=parts,
        depth_FHW=cover.depth_BHW,
        normal_F3HW=torch.zeros_like(frames).half(),
        motion_FM=motion,
        head_to_camera_F34=matrix,
        focal_F=torch.full((len(POSES),), focal),
        landmarks_FL2=head.landmarks(screen)[..., :2],
        triangle_FHW=cover.triangle_BHW.int(),
        weights_FHW3=cover.weights_BHW3.half(),
        screen_FV3=screen,
        triangles_T3=head.triangles_T3.int(),
        identity_K=identity,
        identity=17,
        scene={"light": "flat"},
        seed=5,
        recipe="test",
    )
    return footage, frames


@pytest.fixture(scope="module")
def filmed() -> tuple[Footage, Tensor]:
    return film()


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 2), (2, 0)])
def test_warping_the_source_gives_the_target_where_it_is_visible(
    filmed: tuple[Footage, Tensor], source: int, target: int
) -> None:
    footage, frames = filmed
    where, visible, known = flow_between(footage, source, target)
    drawn = F.grid_sample(frames[source][None], where[None], padding_mode="border", align_corners=False)[0]
    face = visible & known & (footage.triangle_FHW[target] >= 0)
    assert face.float().mean() > 0.1
    error = (drawn - frames[target])[:, face]
    psnr = -10 * torch.log10((error**2).mean())
    assert psnr > 35.0


def test_a_frame_lies_on_itself(filmed: tuple[Footage, Tensor]) -> None:
    footage, _ = filmed
    where, visible, _ = flow_between(footage, 1, 1)
    centre = (torch.arange(SIZE) + 0.5) * 2 / SIZE - 1
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1)
    assert (where - grid).abs().max() < 0.02
    assert visible.float().mean() > 0.99


def test_what_the_source_cannot_see_is_marked(filmed: tuple[Footage, Tensor]) -> None:
    footage, _ = filmed
    # frame 1 shows one side of the head, frame 2 the other: about half of the face has no counterpart
    _, visible, _ = flow_between(footage, 1, 2)
    face = footage.triangle_FHW[2] >= 0
    assert 0.2 < visible[face].float().mean() < 0.9
    # inside of an opened mouth, asked about a frame where it is shut
    _, shown, _ = flow_between(footage, 0, 1)
    inside = torch.isin(footage.parts_FHW[1], torch.tensor([PART["tongue"], PART["teeth"]], dtype=torch.uint8))
    assert inside.sum() > 10
    assert shown[inside].float().mean() < 0.05


def test_visibility_agrees_with_colour(filmed: tuple[Footage, Tensor]) -> None:
    footage, frames = filmed
    for source, target in ((0, 2), (2, 1)):
        where, visible, _ = flow_between(footage, source, target)
        drawn = F.grid_sample(frames[source][None], where[None], padding_mode="border", align_corners=False)[0]
        error = (drawn - frames[target]).abs().amax(0)
        assert (error[visible] > 0.15).float().mean() < 0.002


def test_a_take_comes_back_from_disk(filmed: tuple[Footage, Tensor], tmp_path: Path) -> None:
    footage, _ = filmed
    path = tmp_path / "take.footage"
    save_footage(path, footage, quality=100)
    again = load_footage(path)
    assert list(tmp_path.iterdir()) == [path]
    assert torch.equal(again.image_F3HW, footage.image_F3HW)
    assert torch.equal(again.parts_FHW, footage.parts_FHW)
    assert torch.equal(again.motion_FM, footage.motion_FM)
    assert (again.triangle_FHW != footage.triangle_FHW).float().mean() < 1e-3
    assert (again.identity, again.seed, again.recipe, again.scene) == (17, 5, "test", {"light": "flat"})
    assert again.label == "synthetic"
    torch.testing.assert_close(again.landmarks_FL2, footage.landmarks_FL2, rtol=0, atol=1e-2)


def test_the_same_take_gives_the_same_bytes_and_few_of_them(filmed: tuple[Footage, Tensor], tmp_path: Path) -> None:
    footage, _ = filmed
    one, two = tmp_path / "one", tmp_path / "two"
    save_footage(one, footage)
    save_footage(two, footage)
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size < 25_000 * footage.length


def test_hair_follows_the_head_and_the_backdrop_stays(filmed: tuple[Footage, Tensor]) -> None:
    footage, _ = filmed
    hair = footage.triangle_FHW[:, 40:44, 90:100] >= 0
    assert hair.all()
    triangle, parts = footage.triangle_FHW.clone(), footage.parts_FHW.clone()
    triangle[:, 40:44, 90:100], parts[:, 40:44, 90:100] = -1, PART["hair"]

    covered = replace(footage, triangle_FHW=triangle, parts_FHW=parts)
    there, _, _ = flow_between(footage, 0, 2)
    where, _, known = flow_between(covered, 0, 2)
    # the forehead hardly moves with the expression: as a rigid body it lands on the same place
    torch.testing.assert_close(where[40:44, 90:100], there[40:44, 90:100], rtol=0, atol=0.02)
    assert known.all()
    where, visible, _ = flow_between(footage, 0, 2)
    assert torch.allclose(where[0, 0], torch.full((2,), 1 / SIZE - 1), atol=1e-5)
    assert visible[0, 0]


def test_what_is_no_take_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.footage"
    path.write_bytes(b"nothing")
    with pytest.raises(ForgeError, match=r"broken\.footage"):
        load_footage(path)
    with pytest.raises(ForgeError, match="missing"):
        load_footage(tmp_path / "missing")


def test_tensors_that_do_not_belong_together_are_refused(filmed: tuple[Footage, Tensor]) -> None:

    with pytest.raises(ValueError, match="depth_FHW must be"):
        replace(filmed[0], depth_FHW=filmed[0].depth_FHW[:, :5])
