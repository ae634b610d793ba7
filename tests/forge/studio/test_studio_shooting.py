import json

import pytest

from forge.portrait import ForgeError
from forge.studio.footage import load_footage
from forge.studio.shooting import FACTS, Order, frames_of, shoot_people, take_path

ORDER = Order(people=1, frames_per_person=1, size=64, measured=False)


def test_a_folder_is_filmed_continued_and_kept_to_its_order(tmp_path):
    folder = tmp_path / "footage"
    first = shoot_people(folder, ORDER)
    assert (first.made, first.kept, first.failed) == (1, 0, {})
    before = take_path(folder, 0).stat().st_mtime_ns
    told = []
    more = shoot_people(folder, Order(people=2, frames_per_person=1, size=64, measured=False), on_progress=told.append)
    assert (more.made, more.kept) == (1, 1)
    assert take_path(folder, 0).stat().st_mtime_ns == before
    assert told[-1].done == 2
    assert len(frames_of(folder)) == 2
    facts = json.loads((folder / FACTS).read_text())
    assert facts["label"] == "synthetic" and "CC0" in facts["licence"] and facts["record"]["tool"]
    take = load_footage(take_path(folder, 1))
    assert take.identity == 1 and take.size == 64
    with pytest.raises(ForgeError, match="another size"):
        shoot_people(folder, Order(people=2, frames_per_person=1, size=96, measured=False))


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(ForgeError, match="not empty"):
        shoot_people(tmp_path, ORDER)


def test_held_out_people_have_their_own_seeds_and_nonsense_is_refused():
    assert Order(people=2, frames_per_person=1, held_out=True).seeds() == [1_000_000, 1_000_001]
    with pytest.raises(ForgeError, match="at least 1"):
        Order(people=0, frames_per_person=1)
