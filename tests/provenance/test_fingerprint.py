from __future__ import annotations

import base64
from functools import cache

import numpy as np
import pytest
from talking_scenes import talking_scene, voice

from media.clip import Clip
from media.perturb import perturb
from provenance.fingerprint import (
    LONGEST_SECONDS,
    MOTION,
    RATE,
    SOUND_RATE,
    Fingerprint,
    PictureFingerprinter,
    changes,
    fingerprint_sound,
)
from provenance.likeness import compare, nearest


def prints_of(clip: Clip) -> Fingerprint:
    pictures = PictureFingerprinter()
    for index, image in enumerate(clip.frames):
        pictures.add(float(index / clip.fps), image)
    look, motion = pictures.prints()
    if clip.sound is None:
        return Fingerprint(look, motion)
    return Fingerprint(look, motion, fingerprint_sound(clip.sound.samples, clip.sound.sample_rate_hz))


@cache
def original() -> Clip:
    return talking_scene(1, 1, frames=75, sound=1)


@cache
def store() -> dict[str, Fingerprint]:
    others = {f"other {n}": prints_of(talking_scene(n, n, frames=75, side=96, sound=n)) for n in range(2, 8)}
    return {"own": prints_of(original()), **others}


@pytest.mark.parametrize(("name", "level"), [("h264", 35), ("resize", 0.5), ("crop", 0.9), ("fps", 15)])
def test_a_damaged_copy_is_nearest_to_its_original(name: str, level: float) -> None:
    copy = prints_of(perturb(original(), name, level))
    best, likeness = nearest(copy, store())
    assert best == "own"
    assert likeness is not None
    assert likeness.passes(1000)
    assert likeness.difference < 0.5


def test_a_part_of_a_clip_is_found_and_says_where_it_begins() -> None:
    clip = original()
    part = Clip(clip.frames[25:], clip.fps)
    likeness = compare(prints_of(part), store()["own"])
    assert likeness.passes(1000)
    assert likeness.starts_at == pytest.approx(1.0, abs=1 / RATE)


def test_clips_of_other_scenes_do_not_match() -> None:
    for name, prints in store().items():
        likeness = compare(prints, store()["own"])
        assert likeness.passes(1000) == (name == "own"), name


def test_another_take_of_the_same_scene_does_not_match() -> None:
    likeness = compare(prints_of(talking_scene(1, 99, frames=75, sound=99)), store()["own"])
    assert likeness.look is not None
    assert likeness.look > 0.8
    assert not likeness.passes()


def test_a_dubbed_copy_is_found_by_its_motion() -> None:
    dubbed = Clip(original().frames, original().fps, voice(77, 3.0))
    likeness = compare(prints_of(dubbed), store()["own"])
    assert likeness.sound is not None
    assert likeness.sound < 0.25
    assert likeness.passes(1000)


def test_the_same_speech_with_another_face_does_not_match() -> None:
    likeness = compare(prints_of(talking_scene(50, 50, frames=75, sound=1)), store()["own"])
    assert likeness.sound is not None
    assert likeness.sound > 0.9
    assert not likeness.passes()


def test_sound_alone_is_found_after_aac() -> None:
    worse = perturb(original(), "sound_aac", 32).sound
    assert worse is not None
    copy = Fingerprint(sound_AK=fingerprint_sound(worse.samples, worse.sample_rate_hz))
    sounds = {name: Fingerprint(sound_AK=one.sound_AK) for name, one in store().items()}
    best, likeness = nearest(copy, sounds)
    assert best == "own"
    assert likeness is not None
    assert likeness.passes(1000)


def test_a_sound_that_other_pictures_may_share_is_unclear() -> None:
    copy = Fingerprint(sound_AK=store()["own"].sound_AK)
    likeness = compare(copy, store()["own"])
    assert likeness.passes(1000)
    assert likeness.is_unclear
    assert not compare(copy, copy).is_unclear


def test_silence_matches_no_silence() -> None:
    silence = Fingerprint(sound_AK=fingerprint_sound(np.zeros((48_000, 1), np.float32), 16_000))
    assert not silence.sound_AK.any()
    assert compare(silence, silence).sound is None
    assert not compare(silence, silence).passes()


def test_a_still_picture_matches_itself_and_no_other() -> None:
    stills = {n: prints_of(Clip(talking_scene(n, n, frames=1, side=96).frames, original().fps)) for n in range(5)}
    for name, one in stills.items():
        worse = perturb(Clip(talking_scene(name, name, frames=1, side=96).frames, original().fps), "jpeg", 50)
        assert [other for other in stills if compare(prints_of(worse), stills[other]).passes(100)] == [name]
        assert compare(one, one).difference == pytest.approx(0.0, abs=1e-3)


def test_prints_survive_their_blocks() -> None:
    before = store()["own"]
    pictures, sound = before.picture_blocks(), before.sound_blocks()
    after = Fingerprint.from_blocks(pictures, sound)
    assert np.array_equal(after.look_SHW, before.look_SHW)
    assert np.array_equal(after.motion_THW, before.motion_THW)
    assert np.array_equal(after.sound_AK, before.sound_AK)
    assert [one["scope"]["timespan"] for one in pictures] == [
        {"start": n * 1000, "end": n * 1000 + 1000} for n in range(3)
    ]
    assert sound[-1]["scope"]["timespan"]["end"] <= 3000


@pytest.mark.parametrize("value", ["not base64!", "AAAA", 7, None])
def test_blocks_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"print|block"):
        Fingerprint.from_blocks([{"scope": {}, "value": value}], [])


def test_arrays_of_other_shapes_or_values_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        Fingerprint(look_SHW=np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="0 to 15"):
        Fingerprint(look_SHW=np.full((1, 16, 16), 16, np.uint8))


def test_nothing_is_compared_with_nothing() -> None:
    assert Fingerprint().is_empty
    assert nearest(Fingerprint(), store())[1] is not None
    assert not compare(Fingerprint(), store()["own"]).passes()
    assert compare(Fingerprint(), Fingerprint()).difference == 1.0
    assert nearest(Fingerprint(), {}) == (None, None)


def test_the_prints_have_their_rates() -> None:
    assert len(store()["own"].motion_THW) == 3 * RATE
    sound = fingerprint_sound(voice(3, 3.0).samples, 16_000)
    assert len(sound) == pytest.approx(3 * SOUND_RATE, abs=10)
    assert len(fingerprint_sound(np.zeros((10, 2), np.float32), 44_100)) == 0


def test_another_take_of_the_same_speech_with_the_same_face_does_not_match() -> None:
    take = prints_of(talking_scene(1, 99, frames=75, sound=1))
    likeness = compare(take, store()["own"])
    assert likeness.sound is not None and likeness.sound > 0.9
    assert likeness.look is not None and likeness.look > 0.8
    assert likeness.is_other_take
    assert not likeness.passes()


def test_a_still_of_a_clip_and_the_clip_are_two_takes() -> None:
    frozen = prints_of(Clip(np.repeat(original().frames[:1], 75, 0), original().fps))
    assert compare(frozen, store()["own"]).is_other_take
    assert compare(store()["own"], frozen).is_other_take
    assert compare(frozen, frozen).passes(1000)


@pytest.mark.parametrize("first", [1, 2, 13])
def test_a_clip_cut_between_eighths_of_a_second_is_found_and_its_beginning_told(first: int) -> None:
    pictures = PictureFingerprinter()
    for index, image in enumerate(original().frames[first:]):
        pictures.add(index / 25, image)
    likeness = compare(Fingerprint(*pictures.prints(), later=pictures.later()), store()["own"])
    assert likeness.passes(1000)
    assert likeness.starts_at == pytest.approx(first / 25, abs=0.5 / RATE)


def test_changes_survive_their_levels_to_within_a_fifth() -> None:
    levels = np.arange(-7, 8, dtype=np.int8)
    grey = changes(levels)
    assert grey[7] == 0
    assert np.all(np.diff(grey) > 0)
    assert np.allclose(grey, -grey[::-1])


def test_prints_of_version_1_are_read_and_still_lead_to_their_copies() -> None:
    own = store()["own"]
    signs = (np.sign(own.motion_THW) * (np.abs(changes(own.motion_THW)) > 0.3)).astype(np.int8)
    coarse = Fingerprint(own.look_SHW, signs * 4, own.sound_AK, is_coarse=True)
    read = Fingerprint.from_blocks(coarse.picture_blocks(), coarse.sound_blocks(), version=1)
    assert read.is_coarse
    assert np.array_equal(read.motion_THW, coarse.motion_THW)
    assert compare(prints_of(perturb(original(), "h264", 30)), read).passes(1000)
    assert not compare(prints_of(talking_scene(1, 99, frames=75, sound=1)), read).passes()


def test_a_block_with_more_than_a_second_is_refused() -> None:
    (block,) = Fingerprint(np.zeros((1, 16, 16), np.uint8), np.zeros((8, MOTION, MOTION), np.int8)).picture_blocks()
    long = base64.b64encode(base64.b64decode(block["value"]) + bytes(MOTION * MOTION // 2)).decode()
    with pytest.raises(ValueError, match="print"):
        Fingerprint.from_blocks([{**block, "value": long}], [])
    with pytest.raises(ValueError, match="print"):
        Fingerprint.from_blocks([], [{"scope": {}, "value": "AAAA" * 100}])


def test_only_the_first_minute_has_prints() -> None:
    pictures = PictureFingerprinter()
    for second in range(0, LONGEST_SECONDS + 5, 5):
        pictures.add(float(second), original().frames[0])
    assert len(pictures.prints()[0]) <= LONGEST_SECONDS
