"""Lessons say what the studio knows, and never show a held-out person."""

from pathlib import Path

import pytest
import torch
from clay_takes import clay_take
from torch.nn import functional

from forge.face.reel import FOOTAGE_SUFFIX, Reel, ReelPlan
from forge.face.sampling import sample_picture
from forge.portrait import ForgeError
from forge.studio.footage import Footage, save_footage

PLAN = ReelPlan(64, frames=4, kept=4, sources=4)


def shoot(person: int, frames: int, scene: int) -> Footage:
    return clay_take(person, frames, scene)


@pytest.fixture(scope="module")
def reel() -> Reel:
    made = Reel(shoot, PLAN, seed=3)
    made.fill()
    return made


def test_visible_flow_fetches_the_targets_own_colours(reel: Reel) -> None:
    lessons = reel.lessons(8)
    target = functional.avg_pool2d(lessons.target_BN3HW[:, 0].float() / 255, 4)
    fetched = sample_picture(lessons.source_B3HW.float() / 255, lessons.where_BNhw2[:, 0])
    seen = lessons.visible_BNhw[:, :1].float()
    off = ((fetched - target).abs() * seen).sum() / (3 * seen.sum())
    assert float(seen.mean()) > 0.4 and float(off) < 0.02


def test_a_crossed_driver_is_another_person_in_the_same_motion(reel: Reel) -> None:
    lessons = reel.lessons(16, crossed=1.0)
    assert bool(lessons.crossed_B.all())
    assert not torch.equal(lessons.driver_BN3HW, lessons.target_BN3HW)
    plain = reel.lessons(4, crossed=0.0)
    assert torch.equal(plain.driver_BN3HW, plain.target_BN3HW) and not bool(plain.crossed_B.any())


def test_a_target_is_never_its_own_source(reel: Reel) -> None:
    lessons = reel.lessons(16)
    assert bool((lessons.source_motion_BM[:, None] != lessons.target_motion_BNM).any(-1).all())


def test_takes_are_replaced_by_new_people(reel: Reel) -> None:
    before = reel._kept["person"].clone()
    reel.renew()
    assert not torch.equal(before, reel._kept["person"])
    assert reel.filled == PLAN.kept


def test_views_come_in_pairs_of_one_person() -> None:
    reel = Reel(shoot, ReelPlan(64, frames=2, kept=4, sources=0), seed=5)
    views = reel.views(12)
    assert torch.equal(views.person_B[0::2], views.person_B[1::2])
    assert views.normal_B3hw.shape == (12, 3, 16, 16) and float(views.landmarks_BL2.abs().max()) < 1.5


def test_people_kept_for_evaluation_are_refused(tmp_path: Path) -> None:
    held_out = clay_take(1_000_003, 3, 1)
    with pytest.raises(ForgeError, match="kept for evaluation"):
        Reel.of_takes([held_out], PLAN)
    save_footage(tmp_path / f"one{FOOTAGE_SUFFIX}", held_out)
    with pytest.raises(ForgeError, match="none of a person for training"):
        Reel.of_folder(tmp_path, PLAN)
    with pytest.raises(ForgeError, match="no such folder"):
        Reel.of_folder(tmp_path / "nowhere", PLAN)


def test_takes_of_another_size_or_too_short_are_refused() -> None:
    with pytest.raises(ForgeError, match="96 px"):
        Reel.of_takes([clay_take(1, 2, 1, size=96)], PLAN)
    with pytest.raises(ForgeError, match="1 frame"):
        Reel.of_takes([clay_take(1, 1, 1)], PLAN)


def test_a_reel_of_given_takes_films_no_others() -> None:
    reel = Reel.of_takes([clay_take(1, 4, 1)], PLAN)
    reel.fill()
    assert reel.filled == 1 and not reel.renewable
