"""Every loss is zero for the truth, grows with the error, and says where it looks."""

import math

import pytest
import torch

from forge.face import losses
from forge.studio.head import PART

PARTS = torch.zeros(2, 32, 32, dtype=torch.uint8)


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("loss", [losses.charbonnier, losses.detail, losses.structure])
def test_picture_losses_are_zero_for_the_truth_and_grow(loss: object, picture: torch.Tensor) -> None:
    assert callable(loss)
    weight = torch.ones(2, 1, 32, 32)
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    none, little, much = (float(loss(picture + scale * noise, picture, weight)) for scale in (0.0, 0.05, 0.2))
    assert abs(none) < 1e-5 < little < much


def test_an_error_on_the_lips_counts_eighty_times_one_on_the_background(picture: torch.Tensor) -> None:
    parts = PARTS.clone()
    parts[:, :16] = PART["lips"]
    weight = losses.part_weights(parts)
    above, below = picture.clone(), picture.clone()
    above[:, :, :16] += 0.1
    below[:, :, 16:] += 0.1
    ratio = losses.charbonnier(above, picture, weight) / losses.charbonnier(below, picture, weight)
    assert 75 < float(ratio) < 85


def test_flow_counts_only_what_is_known() -> None:
    true = torch.rand(1, 4, 4, 2) * 2 - 1
    found = true.clone()
    found[:, 0] += 5.0
    known = torch.ones(1, 4, 4)
    assert float(losses.flow(found, true, known)) > 0.1
    known[:, 0] = 0
    assert float(losses.flow(found, true, known)) == 0.0
    assert float(losses.flow(found, true, torch.zeros(1, 4, 4))) == 0.0


def test_the_surface_loss_is_zero_for_the_true_depth_between_slices() -> None:
    depth, at = 8, 3.25
    ahead = torch.full((1, 2, 2), (2 * at + 1) / depth - 1)
    ahead[0, 0, 0] = math.inf
    logits = torch.full((1, depth, 2, 2), -30.0)
    logits[:, 3], logits[:, 4] = math.log(0.75), math.log(0.25)
    assert abs(float(losses.surface(logits, ahead))) < 1e-4
    assert float(losses.surface(logits.roll(3, 1), ahead)) > 1


@pytest.mark.parametrize("name,degrees", [("yaw", 25.0), ("pitch", -10.0), ("roll", 170.0)])
def test_the_angle_between_poses_is_the_geodesic_one(name: str, degrees: float) -> None:
    pose = torch.zeros(1, 6)
    pose[0, ["yaw", "pitch", "roll"].index(name)] = degrees
    assert abs(float(losses.rotation_between(pose, torch.zeros(1, 6))) * 180 / math.pi - abs(degrees)) < 1.0


def test_a_gaze_error_counts_four_times_a_blendshape_error() -> None:
    zero = torch.zeros(1, 64)
    blink, gaze, free = zero.clone(), zero.clone(), zero.clone()
    blink[0, 8], gaze[0, 52], free[0, 60] = 0.05, 0.05, 1.0
    assert float(losses.coefficients(gaze, zero) / losses.coefficients(blink, zero)) == pytest.approx(4.0)
    assert float(losses.coefficients(free, zero)) == 0.0


def test_contrast_is_least_when_each_motion_is_its_own_drivers() -> None:
    drivers = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    assert losses.contrast(drivers, drivers) < losses.contrast(drivers.roll(1, 0), drivers)


def test_flicker_is_seen_only_where_the_truth_stands_still(picture: torch.Tensor) -> None:
    true = torch.stack([picture, picture], 1)
    drawn = true.clone()
    drawn[:, 1] += 0.1
    assert float(losses.flicker(drawn, true)) == pytest.approx(0.1, abs=1e-4)
    moving = torch.stack([picture, 1 - picture], 1)
    moving[:, 1, :, 0, 0] = moving[:, 0, :, 0, 0]
    shaken = moving.clone()
    shaken[:, 1, :, 5:] += 0.2
    assert float(losses.flicker(shaken, moving)) < 0.05


def test_turning_a_gradient_round_changes_its_sign_only() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    (losses.turned_round(x) * torch.tensor([3.0, 4.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [-3.0, -4.0]


def test_the_critic_is_rewarded_for_telling_apart() -> None:
    good, bad = torch.full((4,), 2.0), torch.full((4,), -2.0)
    assert float(losses.tells_apart(good, bad)) == 0.0
    assert float(losses.tells_apart(bad, good)) == 6.0
    assert losses.fools(good) < losses.fools(bad)


def test_volumes_are_compared_only_where_both_were_seen() -> None:
    volume = torch.randn(1, 4, 2, 3, 3)
    other = volume.clone()
    other[..., 0] += 10
    both = torch.ones(1, 1, 2, 3, 3)
    assert float(losses.same_volume(volume, other, both)) > 0.1
    both[..., 0] = 0
    assert float(losses.same_volume(volume, other, both)) == 0.0


def test_psnr_of_a_tenth_is_twenty_decibels() -> None:
    assert losses.psnr(torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.5)) == pytest.approx(20.0, abs=0.01)
