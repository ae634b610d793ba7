from collections import defaultdict
from dataclasses import replace

import pytest

from detect.corpora.entry import Entry
from detect.corpora.splitting import OVERLAPS, REST, SHARES, STRADDLES, assign_splits, share_out
from media.catalog import Label


def clip(path: str, *people: str, split: str | None = None, source: str | None = None) -> Entry:
    return Entry(path, Label.REAL, "m", people[0] if people else None, people, source, split)


def sides(entries: tuple[Entry, ...]) -> dict[str, set[str | None]]:
    found: defaultdict[str, set[str | None]] = defaultdict(set)
    for entry in entries:
        for tie in entry.ties:
            found[tie].add(entry.split)
    return found


def test_a_tested_clip_stays_and_training_clips_of_its_people_are_left_out() -> None:
    entries = [
        clip("t", "ann", split="test"),
        clip("a", "ann", split="train"),
        clip("b", "bob", split="train"),
        clip("v", "cat", split="val"),
        clip("c", "cat", split="train"),
    ]
    kept = assign_splits(entries, "published")
    assert [(e.path, e.split) for e in kept.entries] == [("t", "test"), ("b", "train"), ("v", "val")]
    assert kept.left_out == {OVERLAPS: 2}


def test_a_recording_ties_clips_as_a_person_does() -> None:
    entries = [clip("t", "ann", split="test", source="film"), clip("a", "bob", split="train", source="film")]
    assert [e.path for e in assign_splits(entries, "published").entries] == ["t"]


def test_what_is_left_open_beside_a_test_goes_to_train_and_val_by_people() -> None:
    entries = [clip("t", "ann", split="test"), clip("x", "ann")]
    entries += [clip(f"{who}/{n}", f"p{who}") for who in range(40) for n in range(3)]
    kept = assign_splits(entries, "published")
    assert all(len(found) == 1 for found in sides(kept.entries).values())
    counts = {split: sum(e.split == split for e in kept.entries) for split in ("train", "val", "test")}
    assert counts["test"] == 1 and counts["train"] / 120 == pytest.approx(REST["train"], abs=0.03)
    assert kept.left_out == {OVERLAPS: 1}


def test_shared_out_anew_no_person_is_on_two_sides_even_when_forgeries_join_everybody() -> None:
    people = [f"p{n}" for n in range(30)]
    entries = [clip(f"real/{who}", who, split="test") for who in people]
    entries += [clip(f"fake/{a}{b}", b, a) for a in people for b in people if a != b]
    kept = assign_splits(entries, "own")
    assert all(len(found) == 1 for found in sides(kept.entries).values())
    assert {e.split for e in kept.entries} == set(SHARES)
    assert sum(e.path.startswith("real/") for e in kept.entries) == 30
    assert kept.left_out[STRADDLES] == len(entries) - len(kept.entries) > 0


def test_pairs_that_hang_together_by_twos_lose_nothing() -> None:
    entries = []
    for n in range(20):
        a, b = f"a{n}", f"b{n}"
        entries += [clip(f"{n}/{a}", a), clip(f"{n}/{b}", b), clip(f"{n}/ab", a, b), clip(f"{n}/ba", b, a)]
    kept = assign_splits(entries, "own")
    assert len(kept.entries) == len(entries) and not kept.left_out
    assert {e.split for e in kept.entries} == set(SHARES)


def test_the_order_of_the_entries_changes_nothing() -> None:
    entries = [clip(f"{n}", f"p{n % 9}") for n in range(60)]
    assert share_out(entries, SHARES) == share_out(entries[::-1], SHARES)


def test_clips_of_nobody_are_each_their_own_group() -> None:
    found = share_out([clip(f"{n}") for n in range(40)], SHARES)
    assert {split for split in found.values()} == set(SHARES)


def test_overlapping_people_can_be_kept_but_not_as_the_person_of_a_sample() -> None:
    entries = [clip("t", "ann", split="test", source="f"), clip("a", "ann", split="train", source="g")]
    entries += [clip("c", "ann")]
    kept = assign_splits(entries, "published", keep_overlap=True)
    assert [(e.path, e.split, e.person) for e in kept.entries] == [
        ("t", "test", None),
        ("a", "train", None),
        ("c", "train", None),
    ]
    assert all(e.people == ("ann",) for e in kept.entries) and not kept.left_out


@pytest.mark.parametrize(("mode", "split"), [("test", "test"), ("none", None)])
def test_one_split_for_all_leaves_nothing_out(mode: str, split: str | None) -> None:
    kept = assign_splits([clip("a", "ann", split="train"), clip("b", "ann", split="test")], mode)
    assert [e.split for e in kept.entries] == [split, split]


def test_another_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="published, own, test, none"):
        assign_splits([], "random")


def test_an_entry_refuses_an_unknown_split_and_a_segment_that_runs_backwards() -> None:
    with pytest.raises(ValueError, match="split must be"):
        clip("a", split="dev")
    with pytest.raises(ValueError, match="segment"):
        replace(clip("a"), segments=((2.0, 1.0),))
