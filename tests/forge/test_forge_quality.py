"""The quality gate: what it passes, what it catches, and that it asks the same of every clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from staged_scenes import LENGTH, SIZE, finder, scene

import forge.quality_measures
from forge.doubles import PRINT_BYTES, Printer
from forge.manipulations.scene import Segment, What
from forge.motion.features import Motion
from forge.quality import Examination, Examiner, Gate
from forge.quality_measures import LEAST_LOOKS, flicker_of, lag_of, loud, opening_of, small_grey
from media.clip import Waveform
from media.landmarks import FaceObservation

FPS = Fraction(25)
FACELESS = replace(Gate(), least_face_share=None, most_drift=None, most_unlike=None, most_lag_seconds=None)
CLOSE = replace(Gate(), looks_per_second=12.5)
"""Scenes last less than a second: look often enough to compare looks."""


def nobody() -> FakeFinder:
    raise AssertionError("no face was to be looked for")


class FakeFinder:
    """Finds the given faces, one a look; None for none."""

    def __init__(self, faces: Sequence[FaceObservation | None]) -> None:
        self.faces, self.asked = list(faces), 0

    def measure(self, image: np.ndarray, box: np.ndarray) -> FaceObservation | None:
        self.asked += 1
        return self.faces[(self.asked - 1) % len(self.faces)]

    def find(self, image: np.ndarray) -> list[FaceObservation]:
        return []


def moving(length: int = 60, size: int = 64, speed: float = 0.4, seed: int = 0) -> list[np.ndarray]:
    """A soft pattern that goes round, a little faster than a lively head."""
    rng = np.random.default_rng(seed)
    wide = cv2.GaussianBlur(rng.uniform(40, 220, (size, 3 * size, 3)).astype(np.float32), (0, 0), 6)
    wide = (wide - wide.mean()) * 4 + 120
    turns = np.arange(length) * speed / 3
    places = zip(size + 12 * np.sin(turns), 5 * np.cos(turns), strict=True)
    move = [np.array([[1, 0, -x], [0, 1, y]], np.float32) for x, y in places]
    return [cv2.warpAffine(wide, one, (size, size)).clip(0, 255).astype(np.uint8) for one in move]


def examined(frames: Sequence[np.ndarray], gate: Gate = FACELESS, faces: object = None, **told: object) -> Examination:
    examiner = Examiner(gate, (lambda: faces) if faces else nobody, fps=FPS, size=frames[0].shape[0])
    assert all(a is b for a, b in zip(examiner.watching(frames), frames, strict=True))
    return examiner.judged(**told)


def brightened(frames: list[np.ndarray], factor: float) -> list[np.ndarray]:
    return [f if i % 2 else (f * factor).clip(0, 255).astype(np.uint8) for i, f in enumerate(frames)]


# ------------------------------------------------------------------------------------------ brightness


@pytest.mark.parametrize("speed", [0.2, 0.5, 1.0])
def test_a_moving_picture_passes_however_fast_it_moves(speed: float) -> None:
    found = examined(moving(speed=speed))
    assert found.passed and found.cause is None
    assert found.measurements["flicker"] < 0.01 and found.measurements["disorder"] < 0.03


def test_every_second_frame_brighter_by_six_percent_flickers() -> None:
    found = examined(brightened(moving(), 1.06))
    assert found.cause == "flicker"
    assert found.measurements["flicker"] == pytest.approx(0.06, abs=0.02)


def test_one_black_frame_is_a_flash() -> None:
    frames = moving()
    frames[20] = np.zeros_like(frames[20])
    found = examined(frames)
    assert found.cause == "flicker" and found.measurements["flash"] > 0.8
    assert found.measurements["flicker"] < 0.03  # told apart from what flickers all the time


def test_two_neighbouring_frames_exchanged_are_disorder() -> None:
    frames = moving()
    frames[30], frames[31] = frames[31], frames[30]
    found = examined(frames)
    assert found.cause == "flicker" and found.measurements["disorder"] > 0.1


def test_a_blink_is_neither_flash_nor_disorder() -> None:
    frames = moving()
    for index, shut in zip(range(20, 27), (0.3, 0.8, 1.0, 1.0, 0.7, 0.4, 0.1), strict=True):
        eyes = frames[index][20:26, 12:52]
        frames[index] = frames[index].copy()
        frames[index][20:26, 12:52] = (eyes * (1 - shut) + 90 * shut).astype(np.uint8)
    assert examined(frames).passed


def test_repeated_frames_of_a_slower_source_pass() -> None:
    frames = moving(length=30)
    assert examined([frame for frame in frames for _ in range(2)]).passed


def test_a_cut_to_another_scene_is_no_flash() -> None:
    assert examined(moving(30) + moving(30, seed=1)).measurements["flash"] < 0.15


def test_a_picture_that_stands_still_for_half_of_the_clip_is_frozen() -> None:
    frames = moving()
    found = examined(frames[:30] + [frames[30]] * 30)
    assert found.cause == "frozen" and found.measurements["frozen_share"] == pytest.approx(0.5, abs=0.02)
    assert examined(frames[:45] + [frames[45]] * 15).passed


def test_who_stands_still_while_nothing_is_heard_is_not_frozen() -> None:
    frames = moving()
    frames = frames[:30] + [frames[30]] * 30
    rate = 16_000
    voice = np.random.default_rng(0).normal(0, 0.1, (round(60 / 25 * rate), 1)).astype(np.float32)
    late = voice.copy()
    voice[len(voice) // 2 :] = 0
    late[: len(late) // 2] = 0
    assert examined(frames, sound=Waveform(voice, rate)).passed
    assert examined(frames, sound=Waveform(late, rate)).cause == "frozen"


def test_silence_with_a_little_hiss_is_not_loud() -> None:
    hiss = np.random.default_rng(0).normal(0, 0.0005, (16_000, 1)).astype(np.float32)
    assert not loud(Waveform(hiss, 16_000), FPS, 25).any()


def test_going_straight_on_is_no_flicker_and_three_frames_are_too_few() -> None:
    assert flicker_of(np.ones(9), np.full(8, 2.0)) == (0.0, 0.0, 0.0)
    assert flicker_of(np.ones(3), np.full(2, 2.0)) == (None, None, None)


# ------------------------------------------------------------------------------------------ faces


def test_one_person_passes_and_somebody_else_in_the_second_half_does_not() -> None:
    ada, bo = (list(scene(name).frames_TSS3) for name in ("ada", "bo"))
    alone = examined(ada, CLOSE, finder())
    assert alone.passed and alone.measurements["face_share"] == 1.0
    both = examined(ada[: LENGTH // 2] + bo[LENGTH // 2 :], CLOSE, finder())
    assert both.cause == "identity"
    assert both.measurements["drift"] > 2 * alone.measurements["drift"]


def test_a_stretch_that_is_forged_may_show_somebody_else_and_the_recording_around_it_may_not() -> None:
    ada, bo = (list(scene(name).frames_TSS3) for name in ("ada", "bo"))
    swapped = ada[: LENGTH // 2] + bo[LENGTH // 2 :]

    def cause(first: int, what: What) -> str | None:
        forged = [Segment(first / 25, LENGTH / 25, what)]
        examiner = Examiner(CLOSE, finder, fps=FPS, size=SIZE, forged=forged)
        list(examiner.watching(swapped))
        found = examiner.judged()
        assert found.measurements["face_share"] == 1.0 and found.measurements["drift"] is not None
        return found.cause

    assert cause(LENGTH // 2, "picture") is None and cause(LENGTH // 2, "both") is None
    assert cause(LENGTH // 2, "sound") == "identity" and cause(LENGTH - 4, "both") == "identity"


def test_a_light_that_fades_is_not_somebody_else() -> None:
    ada = list(scene("ada").frames_TSS3)
    fading = [(frame * (1 - 0.25 * i / LENGTH)).astype(np.uint8) for i, frame in enumerate(ada)]
    assert examined(fading, CLOSE, finder()).passed


def test_a_clip_is_like_its_own_portrait_and_unlike_another() -> None:
    ada, bo = (list(scene(name).frames_TSS3) for name in ("ada", "bo"))
    own = examined(ada[1:], CLOSE, finder(), portrait=ada[0])
    assert own.passed
    other = examined(ada[1:], CLOSE, finder(), portrait=bo[0])
    assert other.cause == "identity" and other.measurements["unlike"] > 2 * own.measurements["unlike"]


def test_a_portrait_in_which_the_face_is_elsewhere_is_still_its_own() -> None:
    ada = list(scene("ada").frames_TSS3)
    moved = cv2.warpAffine(ada[0], np.array([[0.7, 0, 50], [0, 0.7, 4]], np.float32), (SIZE, SIZE))
    assert examined(ada[1:], CLOSE, finder(), portrait=moved).passed
    nobody_there = examined(ada[1:], CLOSE, finder(), portrait=np.full_like(ada[0], 255))
    assert nobody_there.passed and nobody_there.measurements["unlike"] is None


def test_a_portrait_of_another_size_is_refused() -> None:
    ada = list(scene("ada").frames_TSS3)
    with pytest.raises(ValueError, match=r"the portrait must be \(192, 192, 3\), got \(64, 64, 3\)"):
        examined(ada, CLOSE, finder(), portrait=ada[0][:64, :64])


def test_a_short_clip_of_known_length_is_looked_at_often_enough_to_compare() -> None:
    faces = FakeFinder(faces_of("ada")[:1])
    examiner = Examiner(Gate(), lambda: faces, fps=FPS, size=SIZE, length=20)
    list(examiner.watching(moving(20, SIZE)))
    assert faces.asked >= LEAST_LOOKS
    assert examiner.judged().measurements["drift"] is not None


def test_at_few_frames_a_second_order_is_not_asked_for() -> None:
    frames = moving()
    frames[30], frames[31] = frames[31], frames[30]
    examiner = Examiner(FACELESS, nobody, fps=Fraction(12), size=64)
    list(examiner.watching(frames))
    assert examiner.judged().measurements["disorder"] is None


def faces_of(name: str) -> list[FaceObservation]:
    return [face for face in scene(name).faces if face is not None]


def test_a_clip_without_a_face_is_caught_and_a_glance_aside_is_not() -> None:
    frames = moving(size=SIZE)
    face = faces_of("ada")[0]
    assert examined(frames, Gate(), FakeFinder([None])).cause == "no_face"
    assert examined(frames, Gate(), FakeFinder([face, None, None, None])).cause == "no_face"
    assert examined(frames, Gate(), FakeFinder([face, face, face, None])).passed


def test_a_face_that_leaves_the_picture_does_not_count_as_found() -> None:
    face = faces_of("ada")[0]
    away = replace(face, box=face.box + np.float32(0.6 * SIZE) * np.array([1, 0, 1, 0], np.float32))
    assert examined(moving(size=SIZE), Gate(), FakeFinder([away])).cause == "no_face"


def test_a_long_clip_keeps_few_looks_and_still_notices_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forge.quality_measures, "MOST_LOOKS", 6)
    ada, bo = (scene(name).frame(0) for name in ("ada", "bo"))
    faces = FakeFinder([faces_of("ada")[0]] * 20 + [faces_of("bo")[0]] * 20)
    gate = replace(CLOSE, looks_per_second=25, most_frozen_share=None)
    examiner = Examiner(gate, lambda: faces, fps=FPS, size=SIZE)
    assert sum(1 for _ in examiner.watching([ada] * 20 + [bo] * 20)) == 40
    assert examiner.judged().cause == "identity"
    assert faces.asked == 40


# ------------------------------------------------------------------------------------------ lips


def talk(length: int = 75, seed: int = 0) -> np.ndarray:
    """(T,) an opening that changes as speech does, four syllables a second."""
    noise = np.random.default_rng(seed).normal(size=length + 20)
    soft = np.convolve(noise, np.hanning(7) / np.hanning(7).sum(), "same")[10:-10]
    return np.maximum(0.25 + 0.3 * soft, 0)


@pytest.mark.parametrize("shift", [-12, -7, 7, 12])
def test_a_mouth_that_is_late_or_early_is_measured_to_the_frame(shift: int) -> None:
    told = talk()
    seen = np.roll(told, shift) + np.random.default_rng(1).normal(0, 0.05, len(told))
    assert lag_of(seen, told, 25.0) == pytest.approx(shift / 25)


def test_a_mouth_in_time_has_no_lag_whatever_its_brightness() -> None:
    assert lag_of(40 + 3 * talk(), talk(), 25.0) == 0.0


def test_a_mouth_that_cannot_be_made_out_is_not_measured() -> None:
    lags = [lag_of(talk(seed=1000 + seed), talk(seed=seed), 25.0) for seed in range(40)]
    assert sum(lag is not None and lag != 0 for lag in lags) <= 2
    assert sum(lag is None for lag in lags) >= 36


def test_too_little_speech_is_not_measured() -> None:
    assert lag_of(talk(30), talk(30), 25.0) is None
    assert lag_of(talk(), np.full(75, 0.1), 25.0) is None
    assert lag_of(np.where(np.arange(75) < 5, np.nan, talk()), talk(), 25.0) is None


def test_lips_that_are_kept_shut_are_told_shut() -> None:
    open_jaw = Motion.neutral(3, FPS).replace(jawOpen=0.5)
    assert opening_of(open_jaw) == pytest.approx([0.5] * 3)
    assert opening_of(open_jaw.replace(mouthClose=1.0)) == pytest.approx([0.0] * 3)


def talking_frames(told: np.ndarray) -> list[np.ndarray]:
    """A face whose mouth darkens as far as it is open, in front of something that moves."""
    x, y = (round(float(value)) for value in faces_of("ada")[0].landmarks[[13, 14], :2].mean(axis=0))
    frames = moving(len(told), SIZE)
    for frame, wide in zip(frames, told, strict=True):
        cv2.circle(frame, (x, y), 25, (150, 150, 150), -1)
        cv2.circle(frame, (x, y + 2), round(1 + 14 * float(wide)), (10, 10, 10), -1)
    return frames


def test_lips_half_a_second_late_are_out_of_sync_and_without_told_motion_nothing_is_asked() -> None:
    told = talk()
    motion = Motion.neutral(len(told), FPS).replace(jawOpen=told.astype(np.float32))
    faces = FakeFinder([faces_of("ada")[0]])
    gate = replace(Gate(), most_drift=None, most_disorder=None)
    assert examined(talking_frames(told), gate, faces, motion=motion).passed
    late = talking_frames(np.roll(told, 12))
    found = examined(late, gate, faces, motion=motion)
    assert found.cause == "sync" and found.measurements["lag_seconds"] == pytest.approx(0.48)
    assert examined(late, gate, faces).passed


# ------------------------------------------------------------------------------------------ the gate itself


def test_a_gate_that_is_off_passes_everything_and_looks_for_no_face() -> None:
    frames = [np.zeros((64, 64, 3), np.uint8)] * 60
    found = examined(frames, Gate.off())
    assert found.passed and not found.measurements
    assert Gate.off().is_off and not Gate().is_off and not Gate.off().looks


def test_every_threshold_alone_makes_a_gate_that_is_on() -> None:
    for each in fields(Gate)[1:]:
        assert not replace(Gate.off(), **{each.name: 1.0}).is_off


def test_a_gate_refuses_numbers_that_are_no_thresholds() -> None:
    with pytest.raises(ValueError, match="most_flash must be a number from 0 or None, got -1"):
        Gate(most_flash=-1)
    with pytest.raises(ValueError, match="most_drift must be"):
        Gate(most_drift=float("nan"))
    with pytest.raises(ValueError, match="looks_per_second must be above 0"):
        Gate(looks_per_second=0)


def test_frames_of_another_shape_are_refused() -> None:
    examiner = Examiner(FACELESS, nobody, fps=FPS, size=64)
    with pytest.raises(ValueError, match=r"frames must be \(64, 64, 3\), got \(64, 32, 3\)"):
        next(examiner.watching([np.zeros((64, 32, 3), np.uint8)]))


def test_no_frames_and_one_frame_are_no_fault_of_the_picture() -> None:
    for frames in ([], moving(1)):
        examiner = Examiner(FACELESS, nobody, fps=FPS, size=64)
        assert len(list(examiner.watching(frames))) == len(frames)
        assert examiner.judged().passed


def test_the_examiner_makes_the_print_by_which_doubles_are_found() -> None:
    frames = moving()
    examiner, printer = Examiner(FACELESS, nobody, fps=FPS, size=64), Printer(FPS)
    list(examiner.watching(frames))
    for frame in frames:
        printer.add(small_grey(frame))
    made = examiner.print_bytes()
    assert made is not None and len(made) == PRINT_BYTES and made == printer.print_bytes()


def test_measurements_are_told_to_three_digits_as_they_were_judged() -> None:
    found = examined(brightened(moving(), 1.02))
    for value in found.measurements.values():
        assert value is None or value == round(value, 3)
    with pytest.raises(TypeError):
        found.measurements["flash"] = 0.0  # type: ignore[index]
