"""A photographed person on film: the truth agrees with the picture."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from forge.motion.features import INDEX
from forge.studio.footage import flow_between
from forge.studio.head import PART
from forge.studio.photo_film import film, own_motion, ready
from forge.studio.photo_person import PhotoPerson
from forge.studio.photo_widen import alike, sample_light, widen


@pytest.fixture
def turning(plain_person: PhotoPerson) -> torch.Tensor:
    """Two frames: as in the portrait, and turned by ten degrees with the mouth open."""
    motion = own_motion(plain_person).repeat(2, 1)
    motion[1, INDEX["yaw"]] += 10
    motion[1, INDEX["jawOpen"]] = 0.6
    return motion


def test_face_hair_and_background_are_where_they_must_be(plain_person: PhotoPerson, turning: torch.Tensor) -> None:
    footage = film(ready(plain_person), turning, size=96, bounded=False)
    parts = footage.parts_FHW[0]
    assert parts[48, 48] in (PART["skin"], PART["lips"])
    assert parts[25, 26] == PART["hair"]
    assert parts[2, 2] == PART["background"] and footage.triangle_FHW[0, 2, 2] == -1
    assert footage.image_F3HW[0, :, 2, 2].float().mean() == pytest.approx(220, abs=2)
    assert (footage.parts_FHW[1] == PART["teeth"]).sum() + (footage.parts_FHW[1] == PART["mouth_socket"]).sum() > 3


def test_flow_follows_the_hair_as_well_as_the_skin(plain_person: PhotoPerson, turning: torch.Tensor) -> None:
    footage = film(ready(plain_person), turning, size=96, samples=1, bounded=False)
    where, visible, _ = flow_between(footage, source=0, target=1)
    moved = (where - flow_between(footage, source=1, target=1)[0]).norm(dim=-1)
    hair, skin = (footage.parts_FHW[1] == PART[name] for name in ("hair", "skin"))
    # skin lies before the pivot of the head and hair of this person behind it: they move in opposite directions
    assert moved[skin & visible].mean() > 0.01
    assert moved[hair & visible].mean() > 0.01
    assert visible[skin].float().mean() > 0.6


def test_a_person_under_other_light_keeps_its_shape(plain_person: PhotoPerson, turning: torch.Tensor) -> None:
    actor = ready(plain_person)
    plain = film(actor, turning[:1], size=64, bounded=False, samples=1)
    lit = film(actor, turning[:1], size=64, bounded=False, samples=1, light_93=torch.from_numpy(sample_light(3)))
    assert torch.equal(plain.parts_FHW, lit.parts_FHW)
    assert (plain.image_F3HW.int() - lit.image_F3HW.int()).abs().float().mean() > 1


def test_the_same_take_is_the_same_to_the_bit(plain_person: PhotoPerson, turning: torch.Tensor) -> None:
    takes = [film(ready(plain_person), turning, size=64, bounded=False) for _ in range(2)]
    assert torch.equal(takes[0].image_F3HW, takes[1].image_F3HW)
    assert torch.equal(takes[0].weights_FHW3, takes[1].weights_FHW3)


def test_a_child_records_its_parents_and_lies_between_them(plain_person: PhotoPerson) -> None:
    other = dataclasses.replace(
        plain_person, name="other", seed=8, identity_K=np.ones_like(plain_person.identity_K),
        skin_3AA=np.full((3, 96, 96), 90, np.uint8),
    )  # fmt: skip
    with pytest.raises(ValueError):
        widen(plain_person, other, seed=1_000_000)
    assert alike([plain_person, other], 0, seed=1) is other


def test_held_out_people_mix_only_with_each_other(plain_person: PhotoPerson) -> None:
    held_out = dataclasses.replace(plain_person, name="kept", seed=1_000_009)
    with pytest.raises(ValueError, match="held-out people mix only with each other"):
        widen(plain_person, held_out, seed=3)
    with pytest.raises(ValueError, match="nobody to mix with"):
        alike([plain_person, held_out], 0, seed=1)


def test_a_pose_that_the_portrait_cannot_bear_is_bounded_and_the_truth_says_so(plain_person: PhotoPerson) -> None:
    motion = own_motion(plain_person)
    motion[0, INDEX["yaw"]] = -60.0
    footage = film(ready(plain_person), motion, size=64, samples=1)
    assert footage.motion_FM[0, INDEX["yaw"]] == pytest.approx(5.0 - 24.0)
    assert footage.motion_FM[0, INDEX["log_scale"]] > 0.4
