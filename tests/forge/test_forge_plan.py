from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_motion import tiny_weights

from forge.design import Design, Spot, balanced
from forge.framing import Square, cut_to_detail, square_around
from forge.material import Material, Role, Window
from forge.motion.controls import BASELINE
from forge.motion.sources import MotionSource
from forge.plan import Plan, crop_side
from forge.portrait import ForgeError
from forge.recipes import DATASET_RECIPES, DatasetRecipe, bench_512, recipe_named, small, small_motions, tiny
from forge.splits import assign_splits, connected, quotas
from media.catalog import Label

SHARES = (("train", 0.7), ("val", 0.15), ("test", 0.15))


def portrait(n: int, person: str | None = None, split: str | None = None) -> Material:
    return Material(
        Role.PORTRAIT,
        f"/p/p{n}.png",
        sha256=f"{n:064x}",
        person=person or f"person{n}",
        source=f"portrait{n}",
        split=split,
        width=512,
        height=512,
        windows=(Window(0, 0, (100, 100, 300, 300)),),
    )


def speech(n: int, seconds: float = 10.0) -> Material:
    return Material(Role.SPEECH, f"/s/s{n}.wav", sha256=f"{n + 1000:064x}", source=f"speech{n}", seconds=seconds)


def real(
    n: int, person: str | None = None, windows: int = 2, sound: bool = True, source: str | None = None
) -> Material:
    return Material(
        Role.REAL,
        f"/r/r{n}.mp4",
        sha256=f"{n + 2000:064x}",
        person=person or f"real{n}",
        source=source or f"video{n}",
        seconds=9.0,
        width=320,
        height=240,
        has_sound=sound,
        windows=tuple(Window(4.0 * k, 3.0, (10, 10, 90, 90)) for k in range(windows)),
    )


def plan_of(materials: list[Material], seed: int = 0, recipe: DatasetRecipe | None = None) -> Plan:
    return Plan.of(recipe or tiny(), materials, seed=seed, method="mesh")


MANY = [*(portrait(n) for n in range(20)), *(speech(n) for n in range(10)), *(real(n) for n in range(12))]


def test_a_larger_limit_continues_the_same_sequence() -> None:
    plan = plan_of(MANY)
    assert list(plan.clips(30))[:10] == list(plan.clips(10))


def test_ids_are_different_and_depend_on_seed_and_material_alone() -> None:
    first, again, other = (list(plan_of(MANY, seed).clips(48)) for seed in (0, 0, 1))
    assert [clip.id for clip in first] == [clip.id for clip in again]
    assert len({clip.id for clip in first}) == 48
    # of a real clip only the design depends on the seed, and that is enough to tell two files apart
    assert not {clip.id for clip in first} & {clip.id for clip in other}


def test_ids_are_what_they_were_before_motion_was_a_factor() -> None:
    first = [clip.id for clip in plan_of(MANY).clips(3)]
    assert first == ["55e55e99b4df2c5f", "855f2015464a36fe", "5c4ce16435cd2de2"]
    assert [clip.id for clip in plan_of(MANY, 3, bench_512()).clips(1)] == ["1d0b334733e81bef"]


@pytest.mark.parametrize(
    ("materials", "recipe", "seed", "digest"),
    [
        ("many", tiny(), 0, "078457146b34a16c"),
        ("many", small(), 7, "41e3a09a76d04b19"),
        ("many", bench_512(), 0, "f48ac46bc8e9962a"),
        ("many", replace(tiny(), frozen_poses=(False, True), windows_per_source=2), 7, "3366f899a9d93689"),
        ("no reals", bench_512(), 7, "2ed431c24a64e114"),
        (
            "no reals",
            replace(tiny(), frozen_poses=(False, True), windows_per_source=2),
            0,
            "fb3d567615132327",
        ),
        ("one of each", tiny(), 7, "574bcfe94de797d8"),
        ("one of each", small(), 0, "50e207999ea7bdb3"),
    ],
)
def test_a_recipe_without_a_design_gives_the_clips_it_gave_before_there_were_designs(
    materials: str, recipe: DatasetRecipe, seed: int, digest: str
) -> None:
    found = {"many": MANY, "no reals": MANY[:30], "one of each": [portrait(0), speech(0), real(0)]}[materials]
    ids = [clip.id for clip in plan_of(found, seed, recipe).clips(400)]
    assert hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16] == digest


def test_ids_are_digests_of_plain_json_whatever_they_are_put_together_from() -> None:
    clip = plan_of(MANY, 3).clip(0)
    assert clip is not None and clip.speech is not None and clip.controls is not None
    form = {name: getattr(clip, name) for name in ("frames", "crf", "crop_factor", "detail", "has_sound")}
    made_by = ["synthetic", "mesh", "tiny", 3, 256, "25", "veryfast", 16000]
    facts = [clip.start_seconds, clip.face.sha256, clip.window.box, clip.speech.sha256, clip.controls.to_json()]
    text = json.dumps([*made_by, form, *facts], sort_keys=True)
    assert clip.id == hashlib.sha256(text.encode()).hexdigest()[:16]


@given(
    st.floats(1, 900), st.floats(1, 900), st.floats(2, 500), st.floats(2, 500), st.floats(1, 4), st.integers(64, 2000)
)
def test_the_side_of_a_crop_is_the_one_that_filming_cuts(
    x: float, y: float, wide: float, high: float, factor: float, width: int
) -> None:
    box = (x, y, x + wide, y + high)
    assert crop_side(width, 700, box, factor) == square_around(box, width=width, height=700, factor=factor).side


def test_another_source_of_motion_is_another_clip_with_the_same_design(tmp_path: Path) -> None:
    weights = MotionSource(str(tiny_weights(tmp_path / "w.safetensors")))
    mixed = replace(tiny(), motions=(MotionSource(BASELINE), weights), frozen_poses=(False, False, False, True))
    before, after = ([c for c in plan_of(MANY, recipe=r).clips(80) if c.controls] for r in (tiny(), mixed))
    moved = [clip.motion for clip in after]
    assert Counter(moved) == {MotionSource(BASELINE): 20, weights: 20}
    assert sum(clip.controls.frozen_pose for clip in after if clip.controls) == 10
    for old, new in zip(before, after, strict=True):
        same = new.motion == MotionSource(BASELINE) and new.controls == old.controls
        assert (old.id == new.id) is same
        assert (old.speech, old.face, old.frames, old.crf) == (new.speech, new.face, new.frames, new.crf)
    real_ids = [[c.id for c in plan_of(MANY, recipe=r).clips(20) if not c.controls] for r in (tiny(), mixed)]
    assert real_ids[0] == real_ids[1]


def test_the_weights_and_not_their_name_make_a_clip_another_one(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name / "w.safetensors" for name in "abc")
    tiny_weights(one)
    tiny_weights(other, seed=1)
    same.parent.mkdir()
    same.write_bytes(one.read_bytes())
    ids = []
    for path in (one, same, other):
        source = MotionSource(str(path))
        clip = plan_of(MANY, recipe=replace(tiny(), motions=(source,))).clip(0)
        assert clip is not None
        ids.append(clip.id)
    assert ids[0] == ids[1] != ids[2]


def test_the_recipes_of_before_keep_their_motion_whatever_the_default_is() -> None:
    for make in (tiny, small, bench_512):
        assert make().motions == (MotionSource(BASELINE),) and make().to_json()["motions"] == ["baseline"]
    assert small_motions().to_json()["motions"] == ["baseline", "diffusion"]


def test_no_person_source_or_speech_is_in_two_splits() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for clip in plan_of(MANY).clips(200):
        for name in (clip.person, clip.source, clip.speech.source if clip.speech else clip.source):
            places[name].add(clip.split)
    assert all(len(splits) == 1 for splits in places.values())
    assert {split for splits in places.values() for split in splits} == {"train", "val", "test"}


def test_a_short_dataset_has_all_splits_too() -> None:
    assert {clip.split for clip in plan_of(MANY).clips(12)} == {"train", "val", "test"}


def test_one_person_in_portraits_and_videos_stays_in_one_split() -> None:
    materials = [portrait(0, "ada"), portrait(1, "ada"), real(0, "ada"), *MANY[2:]]
    splits = assign_splits([m for m in materials if m.role is not Role.SPEECH], SHARES, 0)
    assert splits["portrait0"] == splits["portrait1"] == splits["video0"]


def test_sources_that_share_a_person_by_any_chain_are_one_group() -> None:
    groups = connected([real(0, "a", source="x"), real(1, "b", source="x"), real(2, "b", source="y"), real(3, "c")])
    assert groups["x"] == groups["y"] != groups["video3"]


def test_the_table_may_ask_for_a_split_but_not_for_two() -> None:
    fixed = assign_splits([portrait(0, split="test"), portrait(1), portrait(2)], SHARES, 0)
    assert fixed["portrait0"] == "test"
    with pytest.raises(ForgeError, match="ada"):
        assign_splits([portrait(0, "ada", "test"), portrait(1, "ada", "train")], SHARES, 0)
    with pytest.raises(ForgeError, match="holdout"):
        assign_splits([portrait(0, split="holdout")], SHARES, 0)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, {}), (1, {"train": 1}), (2, {"train": 1, "test": 1}), (3, {"train": 1, "val": 1, "test": 1}),
     (20, {"train": 14, "val": 3, "test": 3}), (100, {"train": 70, "val": 15, "test": 15})],
)  # fmt: skip
def test_quotas_follow_the_shares_and_leave_no_split_empty(count: int, expected: dict[str, int]) -> None:
    assert dict(Counter(quotas(count, SHARES))) == expected


def test_real_and_synthetic_twins_share_everything_that_encoding_could_tell() -> None:
    clips = list(plan_of(MANY).clips(40))
    for synthetic, twin in zip(clips[::2], clips[1::2], strict=True):
        assert (synthetic.label, twin.label) == (Label.SYNTHETIC, Label.REAL)
        for name in ("frames", "crf", "crop_factor", "detail", "has_sound"):
            assert getattr(synthetic, name) == getattr(twin, name)


def test_what_only_one_twin_could_reach_neither_gets() -> None:
    tight = replace(real(0), windows=(Window(0, 3, (100, 60, 250, 210)),))  # 150 pixels in 240: room for 1.6
    coarse = replace(real(1), windows=(Window(0, 3, (10, 10, 60, 60)),))  # a crop of some 100 pixels
    clips = list(plan_of([*MANY[:30], tight, coarse]).clips(4))
    by_source = {clip.source: (clip, twin) for twin, clip in zip(clips[::2], clips[1::2], strict=True)}
    assert all(clip.crop_factor == 1.6 for clip in by_source["video0"])
    clip, twin = by_source["video1"]
    assert clip.detail == twin.detail == round(50 * clip.crop_factor) < 130
    assert all(clip.detail == 256 for clip in plan_of(MANY[:30]).clips(5)), "alone, a portrait keeps its detail"


def test_the_twin_of_a_silent_video_is_silent() -> None:
    materials = [*MANY[:30], *(real(n, sound=n % 2 == 0) for n in range(6))]
    clips = list(plan_of(materials).clips(24))
    assert Counter(c.has_sound for c in clips[::2]) == Counter(c.has_sound for c in clips[1::2]) == {True: 6, False: 6}


def test_real_clips_end_with_the_material_and_no_window_is_used_twice() -> None:
    clips = list(plan_of([*MANY[:30], real(0, windows=2), real(1, windows=1)]).clips(40))
    reals = [c for c in clips if c.label is Label.REAL]
    assert len(reals) == 3 and len(clips) == 23
    assert len({(c.source, c.start_seconds) for c in reals}) == 3


def test_every_portrait_and_every_speech_is_used_before_one_comes_again() -> None:
    clips = list(plan_of(MANY[:30]).clips(20))
    assert len({c.source for c in clips}) == 20
    train = [c for c in plan_of(MANY[:30]).clips(200) if c.split == "train"]
    counts = Counter(c.speech.source for c in train if c.speech)
    assert max(counts.values()) - min(counts.values()) <= len(train) // 10


def test_a_clip_never_outlasts_its_speech_or_its_window() -> None:
    materials = [*MANY[:20], *(speech(n, seconds=0.7 + 0.1 * n) for n in range(5)), real(0), real(1)]
    for clip in plan_of(materials).clips(60):
        length = clip.frames / 25
        if clip.speech:
            assert clip.start_seconds + length <= clip.speech.seconds + 1e-3
        else:
            assert length <= clip.window.seconds


def test_choices_are_balanced_in_every_block() -> None:
    choices = (18, 23, 28)
    for block in range(5):
        assert sorted(balanced(choices, 3, "crf", i) for i in range(3 * block, 3 * block + 3)) == [18, 23, 28]


def test_factors_stay_inside_the_ranges_of_the_recipe() -> None:
    recipe = small()
    design = Design(recipe, 5)
    pairs = [design.pair(Spot(index)) for index in range(200)]
    assert all(recipe.seconds[0] <= pair.seconds <= recipe.seconds[1] for pair in pairs)
    yaws = [pair.controls.gaze_yaw_degrees for pair in pairs]
    assert min(yaws) < -12 and max(yaws) > 12 and max(map(abs, yaws)) <= 15
    assert all(pair.controls.emotion_strength == 0 for pair in pairs if pair.controls.emotion == "neutral")
    assert Counter(pair.controls.emotion for pair in pairs[:6])["neutral"] == 2


def test_planning_is_lazy_and_the_millionth_clip_is_known_at_once() -> None:
    plan = plan_of(MANY)
    assert plan.clip(10**6) is not None
    assert len(list(islice(plan.clips(10**9), 5))) == 5


def test_without_usable_material_the_first_reason_is_told() -> None:
    broken = replace(portrait(0), problem="p0.png: no face found; give another", cause="unusable")
    with pytest.raises(ForgeError, match="no face found"):
        plan_of([broken, speech(0)])
    with pytest.raises(ForgeError, match="no usable speech"):
        plan_of([portrait(0)])


def test_recipes_are_found_by_name_and_say_what_they_are() -> None:
    for name in DATASET_RECIPES:
        assert recipe_named(name).name == name
        assert recipe_named(name).to_json()["fps"] == "25/1"
    with pytest.raises(ValueError, match="tiny, small, small_motions, bench_512, cross_tiny, person_shift"):
        recipe_named("huge")


def test_a_recipe_that_cannot_be_filmed_is_refused() -> None:
    for nonsense in ({"size": 300}, {"clips": 0}, {"seconds": (3.0, 1.0)}, {"crf_ladder": (99,)}, {"emotions": ()},
                     {"motions": ()}, {"frozen_poses": ()}):  # fmt: skip
        with pytest.raises(ValueError):
            replace(tiny(), **nonsense)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "factor", "expected"),
    [((100, 100, 200, 200), 2.0, Square(50, 50, 200)), ((0, 0, 100, 100), 2.0, Square(0, 0, 200)),
     ((540, 260, 640, 360), 2.0, Square(440, 160, 200)), ((200, 100, 300, 300), 9.0, Square(70, 0, 360))],
)  # fmt: skip
def test_the_crop_is_centred_on_the_face_and_stays_in_the_picture(
    box: tuple[float, float, float, float], factor: float, expected: Square
) -> None:
    assert square_around(box, width=640, height=360, factor=factor) == expected


def test_a_crop_has_no_more_detail_than_it_was_given() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    square = Square(20, 40, 300)

    def sharpness(image: np.ndarray) -> float:
        return float(np.abs(np.diff(image.astype(int), axis=0)).mean())

    full, soft = (cut_to_detail(noise, square, detail, 256) for detail in (300, 100))
    assert full.shape == soft.shape == (256, 256, 3)
    assert sharpness(soft) < 0.7 * sharpness(full)
