from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from io import StringIO

import pytest
from planned_stock import FACTS, material
from rich.console import Console

from forge.caveats import caveats
from forge.costs import MAKER_SECONDS, VIDEO_BYTES_A_SECOND, bytes_a_second, cost_of_clip
from forge.headcount import Headcount
from forge.material import Role
from forge.outlook import Assumed, outlook, plan_dataset, pretend_materials, spoken_bytes, spoken_hours
from forge.plan import Plan
from forge.portrait import ForgeError
from forge.recipes import (
    DATASET_RECIPES,
    DatasetRecipe,
    audit_nulls,
    bench_512,
    cross_tiny,
    partial_512,
    person_shift,
    small,
    tiny,
)
from media.catalog import Label


def planned(recipe: DatasetRecipe, portraits: int = 20, speech: int = 12, reals: int = 30) -> Plan:
    materials = pretend_materials(recipe, portraits=portraits, speech=speech, reals=reals)
    return Plan.of(recipe, materials, seed=0, method="mesh", facts=FACTS)


MIXED = replace(small(), makers=("mesh", "blend", "swap", "null"))


@pytest.mark.parametrize(
    ("recipe", "reals"),
    [(tiny(), 30), (tiny(), 0), (tiny(), 3), (MIXED, 30), (replace(MIXED, paired=True), 30), (cross_tiny(), 30)],
)
def test_what_is_counted_without_drawing_is_what_is_planned(recipe: DatasetRecipe, reals: int) -> None:
    plan = planned(recipe, reals=reals)
    clips = list(plan.clips(150))
    count = Headcount.of(plan, 150)
    assert count.kinds == Counter((clip.split, clip.label.value, clip.maker) for clip in clips)
    for (split, label), people in count.clips_of_people.items():
        assert people == Counter(c.person for c in clips if (c.split, c.label) == (split, label))
    assert count.total == len(clips) == sum(count.tables()["split"].values())
    assert count.clips("train", Label.REAL) == sum((c.split, c.label) == ("train", Label.REAL) for c in clips)


def test_factors_and_lengths_are_told_as_they_will_be() -> None:
    plan = planned(replace(MIXED, partial=0.5, platforms=("none", "feed")))
    clips = list(plan.clips(120))
    told = outlook(plan, 120)
    assert told.hours == pytest.approx(sum(c.frames for c in clips) / 25 / 3600)
    assert sum(told.factors["crf"].values()) == told.clips == told.looked_at == 120
    assert set(told.factors["partial"]) == {"partial", "whole"} and set(told.factors["platform"]) == {"feed", "none"}
    low, mean, high = told.ranges["distance"]
    assert 0.95 <= low < mean < high <= 1.15
    assert told.people["train real"] == len({c.person for c in clips if c.split == "train" and c.label is Label.REAL})


def test_beyond_what_is_looked_at_lengths_are_scaled_up_maker_by_maker() -> None:
    plan = planned(MIXED, reals=60)
    whole, part = outlook(plan, 360), outlook(plan, 360, looked_at=120)
    assert whole.counts == part.counts and whole.clips == 360 and part.looked_at == 120
    assert part.hours == pytest.approx(whole.hours, rel=0.1)
    assert part.disk_bytes == pytest.approx(whole.disk_bytes, rel=0.1)


def test_what_nobody_has_measured_is_left_out_and_named_never_invented() -> None:
    told = outlook(planned(MIXED), 60)
    assert told.unmeasured == ("blend", "null", "swap") and told.gpu_hours is None
    assert "without blend, null, swap (not measured)" in "\n".join(told.lines())
    assert not plan_dataset(person_shift(), assume=Assumed(20, 20, 40), limit=60).unmeasured


def test_larger_pictures_finer_steps_and_longer_clips_cost_more() -> None:
    assert bytes_a_second(256, 23) == pytest.approx(VIDEO_BYTES_A_SECOND[256][23])
    for size in (256, 512):
        rates = [bytes_a_second(size, crf) for crf in range(10, 45)]
        assert rates == sorted(rates, reverse=True)
    for maker in ("real", *MAKER_SECONDS):
        small_clip, large_clip = (cost_of_clip(maker, recipe, 23, 100) for recipe in (tiny(), bench_512()))
        longer = cost_of_clip(maker, tiny(), 23, 200)
        for more in (large_clip, longer):
            assert more.disk_bytes > small_clip.disk_bytes
            assert (more.cpu_seconds or 0) > (small_clip.cpu_seconds or 0)
    assert cost_of_clip("somebody's", tiny(), 23, 100).cpu_seconds is None


@pytest.mark.parametrize(
    ("recipe", "numbers", "limit", "caveat"),
    [
        (tiny(), (20, 2, 30), 40, "too few speech recordings to keep them apart"),
        (tiny(), (2, 12, 30), 40, "too few people for all splits: no synthetic clips in val"),
        (tiny(), (20, 12, 0), 40, "no real material"),
        (tiny(), (20, 12, 4), 40, "real material for 12 of 20 pairs: after that all clips are synthetic"),
        (tiny(), (20, 12, 1), 80, "labels are not balanced: 3 real and 40 synthetic clips"),
        (MIXED, (20, 12, 5), 400, "real material for 15 of 200 pairs: the dataset ends there"),
        (MIXED, (20, 12, 3), 12, "swap makes nothing in test, for want of a second person whose face it could take"),
        (MIXED, (2, 12, 30), 12, "mesh makes nothing in val, for want of portraits"),
        (audit_nulls(), (1, 1, 40), 90, "labels are not balanced: 60 real and 30 synthetic clips"),
        (partial_512(), (1, 12, 40), 100, "train: 35 pairs for 8 combinations, so not every one comes equally often"),
        (replace(MIXED, levels=(("distance", (1.0, 1.1)),)), (20, 12, 30), 40,
         "distance: of animated faces only, not of blend, null, swap"),
    ],
)  # fmt: skip
def test_what_the_material_does_not_allow_is_said_before_anything_is_made(
    recipe: DatasetRecipe, numbers: tuple[int, int, int], limit: int, caveat: str
) -> None:
    assert any(caveat in line for line in caveats(planned(recipe, *numbers), limit)), caveats(
        planned(recipe, *numbers), limit
    )


def test_a_sound_design_has_no_caveats() -> None:
    assert caveats(planned(tiny()), 60) == () == caveats(planned(MIXED), 60)
    assert caveats(planned(cross_tiny()), 16) == ()


def test_groups_that_run_dry_or_are_not_told_are_caveats() -> None:
    recipe = replace(tiny(), makers=("blend",), groups=("gender",))
    uneven = [material(Role.REAL, n, gender="woman" if n % 6 else "man") for n in range(36)]
    plan = Plan.of(recipe, uneven, seed=0, method="mesh", facts=FACTS)
    assert any("groups of people are used equally often for the first" in line for line in caveats(plan, 140))
    silent = Plan.of(recipe, [material(Role.REAL, n) for n in range(9)], seed=0, method="mesh", facts=FACTS)
    assert "the tables say nothing of gender: people are not grouped" in caveats(silent, 12)


def test_clips_shorter_than_the_recipe_asks_are_a_caveat() -> None:
    short = [material(Role.SPEECH, n, seconds=1.0) for n in range(6)]
    plan = Plan.of(tiny(), [*(material(Role.PORTRAIT, n) for n in range(9)), *short], seed=0, method="mesh")
    assert any("shorter than the recipe asks, for want of longer material: 100%" in line for line in caveats(plan, 12))


@pytest.mark.parametrize("name", list(DATASET_RECIPES))
def test_every_recipe_can_be_planned_without_any_material(name: str) -> None:
    told = plan_dataset(DATASET_RECIPES[name](), assume=Assumed(200, 100, 700))
    assert told.clips == told.numbers and told.warnings[0].startswith("assumed, not looked at: 200 portraits")
    assert json.loads(json.dumps(told.to_json()))["clips"] == told.clips
    out = StringIO()
    console = Console(file=out, width=160)
    for line in told.lines():
        console.print(line, highlight=False)
    text = out.getvalue()
    assert f"{told.clips:,} clips" in text and "an AUC on test" in text and "[bold]" not in text
    assert max(map(len, text.splitlines())) <= 160


def test_pretended_people_speak_and_belong_as_the_recipe_asks() -> None:
    recipe = replace(tiny(), groups=("gender",), languages=("en", "de"))
    materials = pretend_materials(recipe, portraits=4, speech=6, reals=4)
    assert Counter(m.language for m in materials if m.role is Role.SPEECH) == {"en": 3, "de": 3}
    assert len({m.sha256 for m in materials}) == len({m.source for m in materials}) == 14
    assert (
        caveats(
            Plan.of(recipe, pretend_materials(recipe, portraits=12, speech=12, reals=12), seed=0, method="mesh"), 24
        )
        == ()
    )


def test_names_out_of_tables_are_no_markup() -> None:
    said = [material(Role.SPEECH, n, language="[red]en" if n % 2 else "de") for n in range(6)]
    recipe = replace(tiny(), languages=("[red]en", "de"))
    plan = Plan.of(recipe, [*(material(Role.PORTRAIT, n) for n in range(9)), *said], seed=0, method="mesh")
    out = StringIO()
    console = Console(file=out, width=160)
    for line in outlook(plan, 40).lines():
        console.print(line, highlight=False)
    assert "[red]en" in out.getvalue()


@pytest.mark.parametrize("text", ["", "12", "1,2,3,4", "a,b", "1,-2", "1.5,2"])
def test_assumptions_that_are_no_numbers_of_files_are_refused(text: str) -> None:
    with pytest.raises(ForgeError, match="such as"):
        Assumed.parse(text)


def test_assumptions_are_read_and_a_plan_needs_either_them_or_material() -> None:
    assert Assumed.parse("100,60") == Assumed(100, 60) and Assumed.parse(" 1, 2 ,3") == Assumed(1, 2, 3)
    with pytest.raises(ForgeError, match="either folders of material"):
        plan_dataset(tiny())
    with pytest.raises(ForgeError, match="limit must be at least 1"):
        plan_dataset(tiny(), assume=Assumed(1, 1), limit=0)
    looked_at = pretend_materials(tiny(), portraits=9, speech=9, reals=9)
    assert plan_dataset(tiny(), materials=looked_at).warnings == ()


@pytest.mark.parametrize(
    ("count", "words"), [(12, "12 bytes"), (2_500, "2.5 kB"), (3.4e9, "3.4 GB"), (5e12, "5 TB"), (5e15, "5,000 TB")]
)
def test_sizes_are_for_people(count: float, words: str) -> None:
    assert spoken_bytes(count) == words


@pytest.mark.parametrize(
    ("hours", "words"), [(0.01, "36 seconds"), (0.5, "30 minutes"), (3.4, "3.4 hours"), (124.8, "5.2 days")]
)
def test_times_are_for_people(hours: float, words: str) -> None:
    assert spoken_hours(hours) == words
