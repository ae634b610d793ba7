"""Makers that start from a real clip: what they leave alone, what they say of it, and that they do it twice alike."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from staged_scenes import FPS, LENGTH, SIZE, blinded, cast, finder, scene

from forge.manipulations import MANIPULATIONS, Cast, Forgery, Scene, Segment, manipulation_named
from forge.manipulations.blending import Patch
from forge.manipulations.face_swap import FaceSwap, Settings, below_hair, choose, face_weights
from forge.manipulations.sounds import level_db
from forge.manipulations.steady import Steady, drifting
from forge.motion.controls import Controls
from forge.motion.speech import motion_from_speech
from forge.portrait import ForgeError
from media.catalog import Label
from media.clip import Waveform
from media.landmarks import LEFT_IRIS, LIPS_INNER, RIGHT_IRIS, lip_aperture

FORGERS = ("self_blended", "face_swap", "lip_splice")
LIGHT = (*FORGERS, "sound_swap", "null_blend", "own_reenactment")


@cache
def forged(name: str, given: Scene, seed: int = 0, run: int = 0) -> tuple[np.ndarray, np.ndarray, Forgery]:
    """Frames, masks and the rest; made once for each `run`."""
    maker = MANIPULATIONS[name].open()
    try:
        forgery = maker.forge(given, cast(), np.random.default_rng(seed))
        frames = np.stack(list(forgery.frames))
        assert forgery.masks is not None
        return frames, np.stack(list(forgery.masks())), forgery
    finally:
        maker.close()


@pytest.mark.parametrize("name", LIGHT)
def test_a_forgery_has_the_form_of_its_clip_and_a_mask_for_every_frame(name: str) -> None:
    frames, masks, forgery = forged(name, scene("ada"))
    assert frames.shape == (LENGTH, SIZE, SIZE, 3) and frames.dtype == np.uint8
    assert masks.shape == (LENGTH, SIZE, SIZE) and masks.dtype == bool
    assert forgery.sound is not None and forgery.sound.samples.shape == scene("ada").sound.samples.shape
    assert all(segment.end_seconds <= float(LENGTH / FPS) for segment in forgery.segments)
    assert json.loads(json.dumps(dict(forgery.facts))) == dict(forgery.facts)


@pytest.mark.parametrize("name", LIGHT)
def test_the_same_scene_cast_and_chance_give_the_same_bytes_and_another_chance_gives_others(name: str) -> None:
    first, again = forged(name, scene("ada")), forged(name, scene("ada"), run=1)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert first[2].sound.samples.tobytes() == again[2].sound.samples.tobytes()
    assert dict(first[2].facts) == dict(again[2].facts)
    if name != "sound_swap":  # which leaves nothing to chance
        assert not np.array_equal(first[0], forged(name, scene("ada"), seed=1)[0])


@pytest.mark.parametrize("name", FORGERS)
def test_outside_of_its_mask_a_forgery_is_the_recording(name: str) -> None:
    frames, masks, _ = forged(name, scene("ada"))
    apart = np.abs(frames.astype(int) - scene("ada").frames_TSS3).max(axis=-1)
    for change, mask in zip(apart, masks, strict=True):
        near = cv2.dilate(mask.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
        assert change[~near].max() == 0
        assert change[~mask].mean() < 0.6 < change[mask].mean()
    assert 0.02 < masks.mean() < 0.5


def test_frames_may_be_drawn_in_any_order_and_masks_asked_at_any_time() -> None:
    forgery = MANIPULATIONS["self_blended"].open().forge(scene("ada"), Cast(), np.random.default_rng(3))
    before = [mask.copy() for mask in forgery.masks()]
    late = forgery.frames.at(LENGTH - 1)
    frames = list(forgery.frames)
    assert np.array_equal(frames[-1], late)
    assert all(np.array_equal(a, b) for a, b in zip(before, forgery.masks(), strict=True))


def test_a_self_blended_face_does_not_flicker() -> None:
    """Its second difference in time is no larger than the recording's: nothing jumps from frame to frame."""
    for seed in range(3):
        frames, masks, _ = forged("self_blended", scene("ada"), seed)
        inside = masks[1:-1]
        jumps = [np.abs(np.diff(clip.astype(np.float32), n=2, axis=0)).mean(-1)[inside].mean() for clip in
                 (frames, scene("ada").frames_TSS3)]  # fmt: skip
        assert jumps[0] < 1.5 * jumps[1]


def test_a_swapped_face_wears_what_the_donor_has_on_the_cheek() -> None:
    frames = scene("bo").frames_TSS3.copy()
    for image, face in zip(frames, scene("bo").faces, strict=True):
        cv2.circle(image, tuple(int(v) for v in face.landmarks[50, :2]), 6, (0, 200, 0), -1)
    marked = replace(scene("bo"), frames_TSS3=frames)
    forgery = FaceSwap().forge(scene("ada"), Cast(donor=marked), np.random.default_rng(0))
    for image, real, face in list(zip(forgery.frames, scene("ada").frames_TSS3, scene("ada").faces, strict=True))[::4]:
        x, y = (int(v) for v in face.landmarks[50, :2])
        spot, before = (p[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(0) for p in (image, real))
        assert spot[1] - spot[0] > 40 > before[1] - before[0]


def test_a_swap_leaves_the_eyes_and_the_inside_of_the_mouth_to_the_target() -> None:
    frames, masks, _ = forged("face_swap", scene("ada"))
    checked = 0
    for n, face in enumerate(scene("ada").faces):
        for iris in (RIGHT_IRIS, LEFT_IRIS):
            x, y = (round(float(v)) for v in face.landmarks[iris[0], :2])
            if face.blendshapes[8:10].max() < 0.2:
                assert not masks[n, y, x]
                assert np.abs(frames[n, y, x].astype(int) - scene("ada").frames_TSS3[n, y, x]).max() <= 24
                checked += 1
        assert masks[n, int(face.landmarks[4, 1]), int(face.landmarks[4, 0])], "the nose is the donor's"
    assert checked > 10


@pytest.mark.parametrize("who", ["ada", "bo"])
@pytest.mark.parametrize("fringe", [False, True])
def test_a_swap_ends_above_the_brows_however_soft_its_border_and_low_the_hair(who: str, fringe: bool) -> None:
    given, track = scene(who), Steady.of(scene(who))
    points = track.points_TK3[0]
    if fringe:
        frames = given.frames_TSS3.copy()
        frames[:, : int(points[[105, 334], 1].mean())] = 10
        given = replace(given, frames_TSS3=frames)
    for feather, forehead in ((0.04, 0.0), (0.04, 0.5), (0.012, 0.0), (0.012, 0.5)):
        settings = below_hair(Settings(1.0, 1.0, feather, forehead), [(given, track, 0)])
        patch = Patch.around(points, 20, SIZE)
        weight = face_weights(points, patch, settings)
        x, y = np.round(points[[105, 66, 107, 336, 296, 334], :2] - patch.origin).astype(int).T
        assert weight[y, x].min() > 0.5
        assert settings.forehead <= 0 if fringe else settings.forehead == forehead
        assert settings.feather <= feather


def test_hair_over_the_donors_temple_is_not_worn() -> None:
    temple = (21, 162, 127)
    frames = scene("bo").frames_TSS3.copy()
    for image, face in zip(frames, scene("bo").faces, strict=True):
        for landmark in temple:
            cv2.circle(image, tuple(int(v) for v in face.landmarks[landmark, :2]), 8, (5, 5, 5), -1)
    haired = replace(scene("bo"), frames_TSS3=frames)
    plain, worn = (
        FaceSwap().forge(scene("ada"), Cast(donor=donor), np.random.default_rng(1)) for donor in (scene("bo"), haired)
    )
    for index in range(0, LENGTH, 5):
        points = scene("ada").faces[index].landmarks[:, :2]
        x, y = np.round(points[4] + 0.85 * (points[list(temple)] - points[4])).astype(int).T
        hairless, haired_face = (forgery.frames.at(index)[y, x].mean() for forgery in (plain, worn))
        assert haired_face > 0.85 * hairless


def test_the_donors_frame_is_changed_only_when_it_pays() -> None:
    track, worn = Steady.of(scene("ada")), Steady.of(scene("bo"))
    sharp = np.ones(LENGTH)
    often, seldom, never = (choose(track, worn, sharp, cost) for cost in (0.0, 0.3, 1e9))
    changes = [int((np.diff(chosen) != 0).sum()) for chosen in (often, seldom, never)]
    assert changes[0] >= changes[1] >= changes[2] == 0


def test_a_spliced_mouth_follows_the_other_speech_and_no_longer_its_own() -> None:
    frames, _, forgery = forged("lip_splice", scene("ada"))
    spoken = motion_from_speech(cast().speech, FPS, Controls())["jawOpen"]
    seen, own = [], []
    for image, face in zip(frames, scene("ada").faces, strict=True):
        found = finder().measure(image, face.box)
        seen.append(lip_aperture(found.landmarks))
        own.append(lip_aperture(face.landmarks))
    assert np.corrcoef(seen, spoken)[0, 1] > 0.75 > abs(np.corrcoef(own, spoken)[0, 1]) + 0.2
    assert forgery.segments == (Segment(0.0, float(LENGTH / FPS), "both"),)


def test_a_spliced_mouth_leaves_eyes_and_background_alone() -> None:
    frames, masks, _ = forged("lip_splice", scene("ada"))
    for n, face in enumerate(scene("ada").faces):
        above = int(face.landmarks[[33, 263], 1].max()) + 4
        assert np.array_equal(frames[n, :above], scene("ada").frames_TSS3[n, :above])
        x, y = face.landmarks[list(LIPS_INNER), :2].mean(axis=0).astype(int)
        assert masks[n, y, x] and not masks[n, :above].any()


def test_a_splice_of_a_silent_clip_stays_silent_and_says_that_only_its_picture_is_forged() -> None:
    silent = replace(scene("ada"), sound=None)
    forgery = forged("lip_splice", silent)[2]
    assert forgery.sound is None and {segment.what for segment in forgery.segments} == {"picture"}


def test_a_sound_swap_touches_no_picture_and_is_as_loud_and_long_as_the_clip() -> None:
    quiet = replace(scene("ada"), sound=Waveform(scene("ada").sound.samples * np.float32(0.2), 16_000))
    frames, masks, forgery = forged("sound_swap", quiet)
    assert np.array_equal(frames, quiet.frames_TSS3) and not masks.any()
    assert abs(level_db(forgery.sound) - level_db(quiet.sound)) < 0.5
    assert np.abs(forgery.sound.samples - quiet.sound.samples).max() > 0.01
    assert [segment.what for segment in forgery.segments] == ["sound"]


def test_a_reenactment_starts_from_the_clips_own_face_in_its_own_place_and_knows_its_motion() -> None:
    frames, masks, forgery = forged("own_reenactment", scene("ada"))
    real = scene("ada")
    assert forgery.motion is not None and forgery.motion.length == LENGTH
    still = real.frames_TSS3[forgery.facts["portrait_frame"]]
    assert np.abs(frames[0].astype(int) - still).mean() < 12, "the same person in the same light and place"
    assert np.abs(frames[:, :4, :4].astype(int) - still[:4, :4]).max() < 40
    face = finder().measure(frames[LENGTH // 2], real.faces[0].box)
    assert np.abs(face.box - real.faces[0].box).max() < 0.12 * SIZE
    assert masks[:, SIZE // 2, SIZE // 2].all()


def test_a_small_face_is_reenacted_inside_its_own_still_frame() -> None:
    small = scene("ada", fill=0.6)
    frames, masks, _ = forged("own_reenactment", small)
    assert frames.shape == small.frames_TSS3.shape
    assert np.ptp(frames[:, :8], axis=0).max() == 0, "what the method was not given does not move"
    assert not masks[:, :8].any() and masks.any()
    face = finder().measure(frames[-1], small.faces[0].box)
    assert face is not None and np.abs(face.box - small.faces[0].box).max() < 0.12 * SIZE


def test_a_null_fake_is_labelled_real_changes_next_to_nothing_and_yet_went_the_way_of_a_swap() -> None:
    frames, masks, forgery = forged("null_blend", scene("ada"))
    change = np.abs(frames.astype(int) - scene("ada").frames_TSS3).mean(axis=-1)
    assert MANIPULATIONS["null_blend"].label is Label.REAL and forgery.segments == () and not masks.any()
    assert 0 < change.mean() < 0.5
    assert change.max() < 60


def test_only_a_head_that_moves_as_it_will_is_cut_in_where_others_fade() -> None:
    for name in LIGHT:
        assert forged(name, scene("ada"))[2].follows_recording == (name != "own_reenactment")


@pytest.mark.parametrize("name", FORGERS)
def test_frames_without_a_face_are_left_alone_and_lie_in_no_segment(name: str) -> None:
    hidden = blinded(scene("ada"), range(6, 13))
    frames, masks, forgery = forged(name, hidden)
    assert np.array_equal(frames[6:13], hidden.frames_TSS3[6:13]) and not masks[6:13].any()
    seen = [segment for segment in forgery.segments if segment.what != "sound"]
    assert [(s.start_seconds, s.end_seconds) for s in seen] == [(0.0, 6 / 25), (13 / 25, LENGTH / 25)]


def test_a_face_that_is_lost_for_a_moment_is_forged_all_the_same() -> None:
    _, masks, forgery = forged("self_blended", blinded(scene("ada"), range(6, 9)))
    assert len(forgery.segments) == 1 and masks[6:9].any(axis=(1, 2)).all()


@pytest.mark.parametrize("name", [*FORGERS, "null_blend", "own_reenactment"])
def test_a_clip_without_a_face_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ForgeError, match="no face was found") as refusal:
        forged(name, blinded(scene("ada"), range(LENGTH)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", FORGERS)
def test_a_face_that_leaves_the_frame_is_forged_until_it_is_gone(name: str) -> None:
    leaving = shifted(scene("ada"), 12)
    frames, masks, forgery = forged(name, leaving)
    assert np.array_equal(frames[-1], leaving.frames_TSS3[-1]) and not masks[-1].any() and masks[0].any()
    assert forgery.segments[0].start_seconds == 0 and forgery.segments[0].end_seconds < LENGTH / 25


def shifted(given: Scene, pixels: int) -> Scene:
    """The same clip, everything moving to the left by so many pixels a frame."""
    frames, faces = [], []
    for n, (image, face) in enumerate(zip(given.frames_TSS3, given.faces, strict=True)):
        by = np.array([-pixels * n, 0, 0], np.float32)
        frames.append(np.roll(image, -pixels * n, axis=1))
        faces.append(replace(face, landmarks=face.landmarks + by))
    return Scene(np.stack(frames), given.fps, given.sound, tuple(faces))


@pytest.mark.parametrize(
    ("name", "given", "lacks", "why"),
    [
        ("face_swap", None, "donor", "needs a donor"),
        ("lip_splice", None, "speech", "needs other speech"),
        ("sound_swap", None, "speech", "needs other speech"),
        ("sound_swap", "silent", "", "no sound to replace"),
    ],
)
def test_a_cast_that_lacks_something_is_refused(name: str, given: str | None, lacks: str, why: str) -> None:
    staged = scene("ada") if given is None else replace(scene("ada"), sound=None)
    who = replace(cast(), **{lacks: None}) if lacks else cast()
    with pytest.raises(ForgeError, match=why):
        MANIPULATIONS[name].open().forge(staged, who, np.random.default_rng(0))


def test_landmarks_at_rest_stop_trembling_and_moving_ones_keep_up() -> None:
    still = scene("ada").faces[0]
    noise = np.random.default_rng(0).normal(0, 0.5, (60, 478, 3)).astype(np.float32)
    shift = np.where(np.arange(60) < 30, 0, np.minimum(np.arange(60) - 30, 10) * 3.0)
    faces = []
    for n in range(60):
        landmarks = still.landmarks + noise[n]
        landmarks[:, 0] += shift[n]
        faces.append(replace(still, landmarks=landmarks))
    frames = np.zeros((60, SIZE, SIZE, 3), np.uint8)
    track = Steady.of(Scene(frames, FPS, None, tuple(faces)))
    residue = track.points_TK3[..., 0] - still.landmarks[:, 0] - shift[:, None]
    assert residue[5:25].std() < 0.5 * 0.5
    assert np.abs(residue[[30, 40]].mean(axis=1)).max() < 1.5, "where it starts and stops it is late by half a frame"


def test_settings_drift_within_their_limits_and_never_jump() -> None:
    seconds = np.arange(250) / 25
    for seed in range(20):
        curve = drifting(np.random.default_rng(seed), -1.0, 1.0, seconds)
        assert np.abs(curve).max() <= 1 and np.abs(np.diff(curve)).max() < 0.02 and np.ptp(curve) < 0.3


def test_values_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="must begin at 0"):
        Segment(0.5, 0.5, "picture")
    with pytest.raises(ValueError, match="what must be one of"):
        Segment(0.0, 1.0, "smell")
    with pytest.raises(ValueError, match="frames must be"):
        Scene(np.zeros((2, 4, 5, 3), np.uint8), FPS, None, (None, None))
    with pytest.raises(ValueError, match="one a frame"):
        Scene(np.zeros((2, 4, 4, 3), np.uint8), FPS, None, (None,))
    with pytest.raises(ValueError, match="ascend"):
        Forgery(iter(()), None, None, (Segment(1.0, 2.0, "sound"), Segment(0.0, 1.5, "sound")))
    with pytest.raises(ForgeError, match="manipulation must be one of"):
        manipulation_named("face_swop")


@pytest.mark.parametrize("name", [name for name in MANIPULATIONS if name != "own_reenactment_vasa"])
def test_another_version_of_a_maker_has_another_fingerprint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = MANIPULATIONS[name].fingerprint()
    monkeypatch.setattr(f"forge.manipulations.{name}.VERSION", 1000)
    assert MANIPULATIONS[name].fingerprint() != before


def test_every_kind_travels_to_another_process_and_says_what_it_is_made_of() -> None:
    prints = set()
    for name, kind in MANIPULATIONS.items():
        there = pickle.loads(pickle.dumps(kind))
        assert there.name == kind.name == name and len(there.fingerprint()) == 64
        prints.add(there.fingerprint() if name != "own_reenactment_vasa" else name)
    assert len(prints) == len(MANIPULATIONS)


def test_naming_the_manipulations_loads_nothing_heavy() -> None:
    code = "import sys, forge.manipulations; print([m for m in ('torch', 'mediapipe', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
