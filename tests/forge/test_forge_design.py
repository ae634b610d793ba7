from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_stock import FACTS, material, stock

from forge.casting_designs import Designed
from forge.design import (
    REAL,
    Design,
    Spot,
    balanced,
    draw_segments,
    face_factors_of,
    facts_of,
    maker_facts,
    method_facts,
)
from forge.draws import number_of, raw_draws, shuffled
from forge.manipulations import MANIPULATIONS
from forge.material import Material, Role, Window, list_pictures, list_real
from forge.plan import Plan, PlannedClip
from forge.portrait import Declaration, ForgeError
from forge.recipes import (
    DatasetRecipe,
    audit_nulls,
    bench_512,
    cross_tiny,
    maker_shift,
    partial_512,
    person_shift,
    recipe_named,
    tiny,
)
from forge.splits import group_of
from media.catalog import Label

EVERY_MAKER = ("mesh", "blend", "swap", "lips", "voice")


MANY_LEVELS = tuple(1 + n / 100 for n in range(60))


def designed(recipe: DatasetRecipe, materials: Sequence[Material], seed: int = 0, method: str = "mesh") -> Plan:
    return Plan.of(recipe, materials, seed=seed, method=method, facts=FACTS)


def pairs_of(clips: Sequence[PlannedClip]) -> list[list[PlannedClip]]:
    return [list(found) for _, found in itertools.groupby(clips, key=lambda clip: clip.pair)]


worlds = st.builds(
    lambda portraits, speech, reals, shared, silent: [
        *(material(Role.PORTRAIT, n, f"shared{n}" if n < shared else None) for n in range(portraits)),
        *(material(Role.SPEECH, n, f"shared{n}" if n < shared else None) for n in range(speech)),
        *(
            material(Role.REAL, n, f"shared{n}" if n < shared else f"real{n // 2}", sound=n % 3 >= silent)
            for n in range(reals)
        ),
    ],
    st.integers(1, 12),
    st.integers(1, 9),
    st.integers(1, 16),
    st.integers(0, 4),
    st.integers(0, 2),
)
recipes = st.builds(
    lambda makers, paired, nulls, shares: replace(tiny(), makers=(*makers, *nulls), paired=paired, split_shares=shares),
    st.lists(st.sampled_from(EVERY_MAKER), min_size=1, max_size=4, unique=True),
    st.booleans(),
    st.sampled_from([(), ("null",)]),
    st.sampled_from(
        [(("train", 0.7), ("val", 0.15), ("test", 0.15)), (("train", 0.5), ("test", 0.5)), (("test", 1.0),)]
    ),
)


@settings(max_examples=40, deadline=None)
@given(worlds, recipes, st.integers(0, 3))
def test_nobody_and_nothing_is_in_two_splits_and_twins_are_alike(
    materials: list[Material], recipe: DatasetRecipe, seed: int
) -> None:
    plan = designed(recipe, materials, seed)
    clips = list(plan.clips(60))
    homes: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        homes[clip.person].add(clip.split)
        homes[clip.source].add(clip.split)
        if clip.speech and plan.speech_is_split:
            homes[clip.speech.source].add(clip.split)
            homes[clip.speech.person].add(clip.split)
        if clip.donor:
            homes[clip.donor.person].add(clip.split)
            homes[clip.donor.source].add(clip.split)
            assert clip.donor.person != clip.person
        if clip.speech and clip.is_manipulated:
            assert clip.speech.source != clip.source and clip.speech.person != clip.person
    assert all(len(splits) == 1 for splits in homes.values())
    assert len({clip.id for clip in clips}) == len(clips)
    for twins in pairs_of(clips):
        assert len({(c.frames, c.crf, c.crop_factor, c.detail, c.has_sound, c.platform, c.split) for c in twins}) == 1
        made_of_real = [clip for clip in twins if not clip.is_animated]
        assert len({(c.person, c.source, c.window, c.start_seconds, c.face.sha256) for c in made_of_real}) <= 1
        assert len({clip.maker for clip in twins}) == len(twins)


@settings(max_examples=12, deadline=None)
@given(worlds, recipes, st.integers(0, 40))
def test_a_clip_is_known_from_its_number_alone(materials: list[Material], recipe: DatasetRecipe, number: int) -> None:
    plan = designed(recipe, materials)
    listed = {clip.number: clip for clip in plan.clips(41)}
    assert plan.clip(number) == listed.get(number)
    assert list(plan.clips(20)) == [clip for clip in listed.values() if clip.number < 20]


@settings(max_examples=15, deadline=None)
@given(worlds, recipes, st.sampled_from([("crf",), ("crf", "maker"), ("emotion", "maker")]))
def test_in_every_stratum_makers_and_crossed_factors_come_equally_often(
    materials: list[Material], recipe: DatasetRecipe, crossed: tuple[str, ...]
) -> None:
    able = {"mesh", "blend", "lips"}
    makers = tuple(name for name in recipe.makers if name in able) or ("mesh",)
    crossed = tuple(f for f in crossed if (f != "maker" or len(makers) > 1) and (f != "emotion" or "mesh" in makers))
    recipe = replace(recipe, makers=makers, crossed=crossed or ("crf",))
    plan = designed(recipe, materials)
    seen: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    for index in range(min(60, len(plan.reals) or 60)):
        part = plan.casting.part(index)
        assert part is not None
        pair = plan.design.pair(part.spot, part.able)
        level = {"maker": pair.maker, "crf": pair.crf, "emotion": pair.controls.emotion}
        seen[f"{part.spot.stratum} {part.able}"].append(tuple(level[f] for f in recipe.product))
    for stratum, levels in seen.items():
        size = len(set(itertools.product(*(sorted(set(column)) for column in zip(*levels, strict=True)))))
        counts = Counter(levels).values()
        if "emotion" not in recipe.product and "None" not in stratum:  # neutral is named twice
            assert max(counts) - min([*counts, *([0] if len(counts) < size else [])]) <= 1


def test_labels_are_balanced_and_every_real_clip_has_its_own_forgery() -> None:
    recipe = replace(tiny(), makers=("blend", "swap", "lips"), split_shares=(("test", 1.0),))
    clips = list(designed(recipe, stock()).clips(60))
    for forged, real in pairs_of(clips):
        assert (forged.label, real.label) == (Label.SYNTHETIC, Label.REAL)
        assert real.maker == REAL and forged.source == real.source and forged.window == real.window
    assert Counter(c.maker for c in clips if c.maker != REAL) == {"blend": 10, "swap": 10, "lips": 10}


def test_paired_every_real_clip_has_one_forgery_of_each_maker_and_comes_last() -> None:
    recipe = replace(tiny(), makers=("mesh", "blend", "swap", "null"), paired=True)
    pairs = pairs_of(list(designed(recipe, stock()).clips(100)))
    assert len(pairs) == 20
    for found in pairs:
        assert [clip.maker for clip in found] == ["mesh", "blend", "swap", "null", REAL]
        assert [clip.label is Label.REAL for clip in found] == [False, False, False, True, True]


def test_null_fakes_are_real_take_turns_with_real_clips_and_have_ids_of_their_own() -> None:
    clips = list(designed(replace(tiny(), makers=("blend", "null")), stock()).clips(60))
    assert Counter(clip.label for clip in clips) == {Label.REAL: 30, Label.SYNTHETIC: 30}
    assert abs(Counter(c.maker for c in clips)["null"] - 15) <= 2
    plain = list(designed(replace(tiny(), makers=("blend",)), stock()).clips(60))
    nulls, reals = ({c.id for c in found if c.label is Label.REAL} for found in (clips, plain))
    assert len(nulls & reals) == 60 / 2 - sum(c.maker == "null" for c in clips)


def test_makers_may_differ_by_split_and_what_is_apart_is_told() -> None:
    recipe = replace(maker_shift(), makers=(), makers_by_split=(
        ("train", ("mesh", "blend")), ("val", ("mesh", "blend")), ("test", ("swap",))))  # fmt: skip
    clips = list(designed(recipe, stock(20, 9, 30)).clips(120))
    by_split = {split: {c.maker for c in clips if c.split == split} - {REAL} for split in ("train", "val", "test")}
    assert by_split == {"train": {"mesh", "blend"}, "val": {"mesh", "blend"}, "test": {"swap"}}
    protocol = maker_shift().to_json()["protocol"]
    assert "makers of test" in protocol["apart"] and "people" in protocol["apart"]
    assert protocol["unseen_makers"] == {"test": ["face_swap", "lip_splice"]}
    assert person_shift().protocol()["apart"] == ["people", "sources", "donors", "speech"]


def test_crossed_every_combination_comes_once_in_a_block() -> None:
    recipe = replace(
        tiny(),
        crossed=("emotion", "crf", "distance", "frozen_pose"),
        levels=(("distance", (0.9, 1.1)),),
        frozen_poses=(False, True),
        emotions=("neutral", "happy", "sad"),
        split_shares=(("test", 1.0),),
    )
    assert recipe.combinations == 36
    clips = list(designed(recipe, stock(5, 3, 0)).clips(72))
    for block in (clips[:36], clips[36:]):
        assert len({(c.controls.emotion, c.crf, c.controls.distance, c.controls.frozen_pose)  # type: ignore[union-attr]
                    for c in block}) == 36  # fmt: skip
    assert [c.crf for c in clips[:36]] != [c.crf for c in clips[36:]]


def test_crossing_makers_with_partial_forgery_balances_both_in_every_split() -> None:
    recipe = replace(tiny(), makers=("blend", "swap"), crossed=("maker", "partial"), partial=0.25)
    clips = [c for c in designed(recipe, stock(1, 9, 60)).clips(240) if c.is_manipulated]
    for split in ("train", "val", "test"):
        found = Counter((c.maker, c.segments is not None) for c in clips if c.split == split)
        whole_blocks = sum(found.values()) // 8
        assert whole_blocks >= 1
        assert all(found[maker, True] - whole_blocks in (0, 1) for maker in ("blend", "swap"))
        assert all(0 <= found[maker, False] - 3 * whole_blocks <= 3 for maker in ("blend", "swap"))


def test_groups_take_turns_and_each_has_the_whole_product_to_itself() -> None:
    people = [material(Role.REAL, n, gender="woman" if n % 4 else "man") for n in range(40)]
    recipe = replace(tiny(), makers=("blend", "swap"), groups=("gender",), crossed=("group", "maker"))
    plan = designed(recipe, [*people, *stock(1, 5, 0)])
    casting = plan.casting
    assert isinstance(casting, Designed)
    clips = list(plan.clips(2 * casting.balanced_pairs))
    genders = Counter(group_of(clip.face, ("gender",)) for clip in clips)
    assert casting.balanced_pairs >= 12 and abs(genders["man"] - genders["woman"]) <= 6
    for gender in ("man", "woman"):
        forged = [
            c.maker for c in clips if c.split == "train" and c.maker != REAL and dict(c.face.traits)["gender"] == gender
        ]
        assert abs(forged.count("blend") - forged.count("swap")) <= 1
    for clip in clips:
        if clip.donor:
            assert group_of(clip.donor, ("gender",)) == group_of(clip.face, ("gender",)) or clip.split != "train"


def test_of_portraits_alone_small_groups_come_again_until_groups_are_even() -> None:
    people = [material(Role.PORTRAIT, n, gender="woman" if n % 5 else "man") for n in range(40)]
    recipe = replace(tiny(), groups=("gender",), split_shares=(("test", 1.0),))
    clips = list(designed(recipe, [*people, *stock(0, 5, 0)]).clips(64))
    assert Counter(dict(clip.face.traits)["gender"] for clip in clips) == {"man": 32, "woman": 32}


def test_a_portrait_beside_a_real_person_is_of_the_same_group() -> None:
    materials = [material(role, n, gender="woman" if n % 3 else "man") for role in (Role.PORTRAIT, Role.REAL)
                 for n in range(30)]  # fmt: skip
    recipe = replace(tiny(), makers=("mesh",), groups=("gender",))
    for forged, real in pairs_of(list(designed(recipe, [*materials, *stock(0, 5, 0)]).clips(80))):
        assert group_of(forged.face, ("gender",)) == group_of(real.face, ("gender",))


@pytest.mark.parametrize(
    ("traits", "columns", "expected"),
    [({"gender": "woman", "age": "61"}, ("gender", "age"), "woman, 60 and over"), ({"age": "17"}, ("age",), "under 18"),
     ({"age": "44"}, ("age",), "30 to 44"), ({"age": "old"}, ("age",), "old"), ({}, ("sex",), "unstated"),
     ({"sex": "f"}, (), "")],
)  # fmt: skip
def test_people_are_grouped_by_what_the_table_says(
    traits: dict[str, str], columns: tuple[str, ...], expected: str
) -> None:
    assert group_of(replace(material(Role.PORTRAIT, 0), traits=tuple(traits.items())), columns) == expected


def test_tables_of_portraits_and_real_videos_may_say_of_what_group_somebody_is(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.mp4").touch()
    (tmp_path / "portraits.csv").write_text("file,gender,age\na.png,Woman,61\n")
    (tmp_path / "real.csv").write_text("file,skin_tone,group\nb.mp4,V,tape 3\n")
    (picture,), (video,) = list_pictures(tmp_path, Declaration.nonexistent()), list_real(tmp_path)
    assert picture.known.traits == (("gender", "woman"), ("age", "61"))
    assert video.known.traits == (("skin_tone", "v"),) and video.known.source == "tape 3"
    assert Material.from_json(picture.known.to_json()) == picture.known


def test_languages_are_used_equally_often_and_kept_apart_where_there_are_enough() -> None:
    said = [material(Role.SPEECH, n, language="de" if n % 3 == 0 else "en") for n in range(18)]
    recipe = replace(tiny(), languages=("en", "de"))
    plan = designed(recipe, [*said, *stock(12, 0, 0)])
    clips = list(plan.clips(200))
    assert plan.speech_is_split
    languages = Counter(clip.speech.language for clip in clips if clip.speech)
    assert abs(languages["en"] - languages["de"]) <= 3
    with pytest.raises(ForgeError, match="no usable speech in 'fr'; the table has 6 in de, 12 in en"):
        designed(replace(tiny(), languages=("fr",)), [*said, *stock(12, 0, 0)])


def test_speech_of_somebody_who_is_seen_goes_where_that_one_is() -> None:
    reals = [material(Role.REAL, n, f"p{n}") for n in range(12)]
    said = [material(Role.SPEECH, n, f"p{n}") for n in range(12)]
    clips = list(designed(replace(tiny(), makers=("lips",)), [*reals, *said]).clips(48))
    home = {clip.person: clip.split for clip in clips}
    assert all(home[clip.speech.person] == clip.split for clip in clips if clip.speech)


def test_everybody_gives_a_face_as_often_as_everybody_else() -> None:
    recipe = replace(tiny(), makers=("swap",), split_shares=(("test", 1.0),))
    clips = [c for c in designed(recipe, stock(0, 1, 8)).clips(32) if c.donor]
    assert set(Counter(c.donor.person for c in clips if c.donor).values()) == {2}
    assert len({(c.person, c.donor.person) for c in clips if c.donor}) == 16


def test_a_silent_clip_is_not_forged_by_ear_and_a_lonely_face_is_not_swapped() -> None:
    reals = [material(Role.REAL, n, sound=n % 2 == 0) for n in range(12)]
    clips = list(designed(replace(tiny(), makers=("voice", "blend")), [*reals, *stock(0, 5, 0)]).clips(48))
    assert not [c for c in clips if c.maker == "voice" and not c.has_sound]
    assert Counter(c.label for c in clips)[Label.REAL] == Counter(c.label for c in clips)[Label.SYNTHETIC]
    by_ear = list(designed(replace(tiny(), makers=("voice",)), [*reals, *stock(0, 5, 0)]).clips(48))
    assert len(by_ear) == 24 and all(c.has_sound for c in by_ear), "nor is it there alone: labels stay balanced"
    alone = designed(replace(tiny(), makers=("swap", "blend")), stock(0, 5, 3))
    assert {c.maker for c in alone.clips(12)} == {"blend", REAL}, "three people in three splits"


def test_twins_go_through_the_same_second_generation() -> None:
    recipe = replace(tiny(), makers=("blend",), platforms=("none", "feed", "messenger"), split_shares=(("test", 1.0),))
    clips = list(designed(recipe, stock()).clips(60))
    assert Counter(clip.platform for clip in clips) == {None: 20, "feed": 20, "messenger": 20}
    assert all(len({clip.platform for clip in found}) == 1 for found in pairs_of(clips))
    before = {clip.id for clip in designed(replace(recipe, platforms=()), stock()).clips(60)}
    assert [clip.id in before for clip in clips] == [clip.platform is None for clip in clips]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5))
def test_forged_segments_lie_in_the_clip_and_do_not_touch(chances: list[float]) -> None:
    segments = draw_segments(chances)
    assert len(segments) == (1 if chances[0] < 0.5 else 2)
    edges = [edge for segment in segments for edge in segment]
    assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= 1
    assert all(0.149 <= end - start <= 0.401 for start, end in segments)
    if len(segments) == 2:
        assert segments[1][0] - segments[0][1] >= 0.099


def test_a_rejected_forgery_is_drawn_anew_and_keeps_what_its_twins_share() -> None:
    recipe = replace(tiny(), makers=("mesh", "swap", "lips"), paired=True)
    plan = designed(recipe, stock(portraits=12, speech=12, reals=24))
    ids = set()
    for number in range(16):
        first, again, third = (plan.clip(number, attempt) for attempt in range(3))
        assert first is not None
        if first.maker == REAL:
            assert again is None and third is None, "of a recording there is no other"
            continue
        assert again is not None and third is not None
        for name in (
            "number",
            "label",
            "split",
            "frames",
            "crf",
            "crop_factor",
            "detail",
            "has_sound",
            "maker",
            "pair",
        ):
            assert getattr(first, name) == getattr(again, name) == getattr(third, name)
        if first.is_animated:
            assert first.controls != again.controls and again.face.person != first.face.person
            assert again.controls is not None and first.controls is not None
            assert again.controls.emotion == first.controls.emotion, "the design stays balanced"
        else:
            assert (first.person, first.window, first.start_seconds) == (
                again.person,
                again.window,
                again.start_seconds,
            )
        if first.speech:
            assert again.speech and first.speech.source != again.speech.source
        assert (again.attempt, third.attempt) == (1, 2)
        ids |= {first.id, again.id, third.id}
    assert len(ids) == 3 * 12


def test_of_one_method_beside_real_clips_a_rejected_clip_is_drawn_anew_too() -> None:
    plan = Plan.of(tiny(), stock(), seed=0, method="mesh")
    for number in range(0, 20, 2):
        first, again = plan.clip(number), plan.clip(number, attempt=1)
        assert first is not None and again is not None
        assert first.id != again.id and first.face != again.face and first.split == again.split
        assert plan.splits[again.source] == again.split
        assert (first.frames, first.crf, first.crop_factor, first.detail) == (
            again.frames, again.crf, again.crop_factor, again.detail)  # fmt: skip
        assert plan.clip(number + 1, attempt=1) is None


def test_a_replacement_is_never_longer_than_what_it_says_nor_wider_than_its_portrait() -> None:
    short = [material(Role.SPEECH, n, seconds=1.0 + n) for n in range(6)]
    tight = [replace(material(Role.PORTRAIT, n), windows=(Window(0, 0, (10, 10, 60 + 40 * n, 60 + 40 * n)),))
             for n in range(8)]  # fmt: skip
    plan = designed(replace(tiny(), split_shares=(("test", 1.0),), crossed=("crf",)), [*short, *tight])
    for number in range(12):
        for attempt in range(4):
            clip = plan.clip(number, attempt)
            assert clip is not None and clip.speech is not None
            assert clip.start_seconds + clip.frames / 25 <= clip.speech.seconds + 1e-3
            x0, _, x1, _ = clip.window.box
            assert clip.crop_factor * (x1 - x0) <= 513 and clip.detail <= round(clip.crop_factor * (x1 - x0))


def test_the_same_clip_always_draws_the_same_and_another_attempt_does_not() -> None:
    plan = designed(replace(tiny(), makers=("blend",)), stock())
    first, again = plan.clip(0), plan.clip(0, attempt=1)
    assert first is not None and again is not None
    assert first.random().random() == first.random().random() != again.random().random()


def test_draws_are_those_of_the_generator_they_stand_for() -> None:
    keys = [f"7/tiny/{n}" for n in range(40)]
    expected = [np.random.PCG64(number_of(key)).random_raw(19) for key in keys]
    assert (raw_draws(keys, 19) == np.array(expected)).all()
    for size in (1, 2, 3, 7, 24, 300):
        generator = np.random.Generator(np.random.PCG64(number_of(f"order {size}")))
        assert shuffled(raw_draws([f"order {size}"], size + 4)[0], size) == tuple(generator.permutation(size).tolist())
    assert shuffled(raw_draws(["few"], 1)[0], 50) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 40), st.integers(0, 200), st.integers(0, 5))
def test_in_every_block_each_choice_comes_once(size: int, block: int, seed: int) -> None:
    found = [balanced(range(size), seed, "crf", block * size + n) for n in range(size)]
    assert sorted(found) == list(range(size))


def test_a_factor_with_levels_takes_them_equally_often_and_leaves_the_others_alone() -> None:
    plain, levelled = (Design(recipe, 0) for recipe in (tiny(), replace(tiny(), levels=(("distance", (0.9, 1.2)),))))
    pairs = [(plain.pair(Spot(n)), levelled.pair(Spot(n))) for n in range(40)]
    assert Counter(new.controls.distance for _, new in pairs) == {0.9: 20, 1.2: 20}
    for old, new in pairs:
        assert replace(old.controls, distance=new.controls.distance) == new.controls and old.seconds == new.seconds


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"crossed": ("hair",)}, "crossed must be of"),
        ({"crossed": ("crf", "crf")}, "a factor once"),
        ({"crossed": ("distance",)}, "needs levels"),
        ({"crossed": ("maker",)}, "changes nothing"),
        ({"crossed": ("motion",)}, "changes nothing"),
        ({"crossed": ("group",)}, "needs groups"),
        ({"crossed": ("emotion", "distance", "lip_gain"),
          "levels": (("distance", MANY_LEVELS), ("lip_gain", MANY_LEVELS[:30]))},
         "10800 combinations, at most 5000"),
        ({"levels": (("crf", (18,)),)}, "levels must name"),
        ({"levels": (("distance", (9.0,)),)}, "between 0.5 and 2"),
        ({"levels": (("distance", ()),)}, "must be numbers"),
        ({"levels": (("seconds", (0.0,)),)}, "seconds must be between"),
        ({"levels": (("seconds", (9.0,)),)}, "longest clip"),
        ({"makers": ("real",)}, "makers must be names"),
        ({"makers": ("Face Swap",)}, "makers must be names"),
        ({"makers": ("mesh", "mesh"), "paired": True}, "named twice"),
        ({"makers_by_split": (("train", ("mesh",)),)}, "each of train, val, test once"),
        ({"makers_by_split": (("train", ("mesh",)), ("val", ()), ("test", ("mesh",)))}, "none for val"),
        ({"makers": ("vasa",), "makers_by_split": (("train", ("mesh",)), ("val", ("mesh",)), ("test", ("mesh",)))},
         "those of makers_by_split"),
        ({"groups": ("hair",)}, "groups must be columns"),
        ({"groups": ("age", "age")}, "a column once"),
        ({"languages": (" en",)}, "as the table"),
        ({"platforms": ("video_call",)}, "platforms must be of"),
        ({"partial": 1.5}, "share from 0 to 1"),
        ({"partial": 0.01}, "from 1/20 on"),
    ],
)  # fmt: skip
def test_a_design_that_means_nothing_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(tiny(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "materials", "reason"),
    [
        ({"makers": ("swap",)}, stock(3, 3, 0), "swap starts from real clips"),
        ({"makers": ("blend",), "levels": (("distance", (1.0, 1.1)),)}, stock(), "distance, which only an animated"),
        ({"makers": ("blend",), "languages": ("en",)}, stock(), "none of its makers needs speech"),
        ({"makers": ("mesh",), "partial": 0.5}, stock(), "a method forges the whole clip"),
        ({"makers": ("mesh", "blend")}, stock(0, 3, 3), "no usable portrait"),
        ({"makers": ("lips",)}, stock(3, 0, 3), "no usable speech"),
        ({"makers": ("deepfacelab",)}, stock(), "maker must be one of mesh, vasa, self_blended"),
    ],
)
def test_a_design_that_its_makers_or_its_material_cannot_carry_out_is_refused(
    changes: dict[str, object], materials: list[Material], reason: str
) -> None:
    with pytest.raises(ForgeError, match=reason):
        designed(replace(tiny(), **changes), materials)  # type: ignore[arg-type]


def test_material_that_no_maker_needs_is_not_asked_for() -> None:
    plan = designed(replace(tiny(), makers=("blend",)), stock(0, 0, 9))
    assert {clip.maker for clip in plan.clips(12)} == {"blend", REAL} and plan.portraits == ()


def test_the_makers_of_the_recipes_that_ship_are_known_and_their_facts_are_those_of_the_makers() -> None:
    for make in (person_shift, maker_shift, partial_512, audit_nulls):
        assert {maker_facts(name).name for name in make().makers} == set(make().makers)
    facts = facts_of(MANIPULATIONS["null_blend"])
    assert facts.label is Label.REAL and not facts.animates
    assert maker_facts("sound_swap").needs_sound and maker_facts("face_swap").needs_donor
    assert maker_facts("mesh") == method_facts("mesh")


def test_the_recipes_that_ship_plan_what_they_promise() -> None:
    materials = stock(60, 30, 80)
    crossed = [c for c in designed(cross_tiny(), materials).clips(16) if c.controls]
    assert len({(c.controls.emotion, c.controls.distance, c.controls.gaze_yaw_degrees)  # type: ignore[union-attr]
                for c in crossed}) == 8  # fmt: skip
    partial = [c for c in Plan.of(partial_512(), materials, seed=0, method="mesh").clips(200) if c.is_manipulated]
    assert abs(sum(c.segments is not None for c in partial) - len(partial) / 2) <= 4
    nulls = pairs_of(list(Plan.of(audit_nulls(), materials, seed=0, method="mesh").clips(90)))
    assert all([clip.maker for clip in found] == ["self_blended", "null_blend", REAL] for found in nulls)


def test_what_is_told_of_an_older_recipe_is_what_was_told_before() -> None:
    assert not bench_512().is_designed and "makers" not in bench_512().to_json()
    told = recipe_named("maker_shift").to_json()
    assert told["makers_by_split"][2] == ("test", ("face_swap", "lip_splice")) and "levels" not in told
    assert face_factors_of(cross_tiny()) == ["gaze_yaw_degrees", "distance", "emotion"]


def test_a_design_is_lazy_and_its_millionth_clip_is_known_at_once() -> None:
    plan = designed(replace(tiny(), crossed=("crf", "emotion")), stock(9, 9, 0))
    assert plan.clip(10**6) is not None
    assert len(list(islice(plan.clips(10**9), 5))) == 5
