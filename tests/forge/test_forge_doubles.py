"""Clips that are nearly the same: what counts as a double, of which one stays, and what is never compared."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest

from forge.doubles import PRINT_BYTES, SCENE_BYTES, STEPS, Double, Printed, Printer, doubles_among

FPS = Fraction(25)


def take(scene: int, acting: int, length: int = 100) -> np.ndarray:
    """(T, 32, 32) grey: a still scene in which places become lighter and darker as somebody moves."""
    ground = np.random.default_rng(scene).uniform(40, 200, (8, 8)).astype(np.float32)
    ground = cv2.resize(ground, (32, 32), interpolation=cv2.INTER_LINEAR)
    noise = np.random.default_rng(1000 + acting).normal(size=(length + 200, 4, 4)).astype(np.float32)
    moves = np.stack([cv2.GaussianBlur(noise[:, i].reshape(len(noise), 4), (1, 21), 5, sigmaY=5) for i in range(4)], 1)
    out = [ground + 60 * cv2.resize(one, (32, 32), interpolation=cv2.INTER_LINEAR) for one in moves[100 : 100 + length]]
    return np.stack(out).clip(0, 255)


def print_of(greys: np.ndarray, fps: Fraction = FPS) -> bytes:
    printer = Printer(fps)
    for grey in np.rint(greys).clip(0, 255).astype(np.uint8):
        printer.add(grey)
    made = printer.print_bytes()
    assert made is not None
    return made


def real(number: int, greys: np.ndarray, source: str = "") -> Printed:
    return Printed(number, "real/real", source or f"video {number}", print_of(greys))


def mesh(number: int, greys: np.ndarray, source: str = "ada") -> Printed:
    return Printed(number, "synthetic/mesh", source, print_of(greys))


def copied(greys: np.ndarray, start: int = 0, seed: int = 0) -> np.ndarray:
    """Encoded again, a little darker, cut somewhere else."""
    return greys[start:] * 0.93 + np.random.default_rng(seed).normal(0, 0.7, greys[start:].shape) + 3


# ------------------------------------------------------------------------------------------ what is a double


@pytest.mark.parametrize("start", [0, 1, 2, 7, 12])
def test_a_recording_under_another_name_is_a_double_wherever_it_begins(start: int) -> None:
    first = take(1, 1)
    clips = [real(3, first), real(4, take(2, 2)), real(8, copied(first, start))]
    assert doubles_among(clips) == [Double(8, of_number=3)]


def test_another_take_in_the_same_scene_is_no_double() -> None:
    assert doubles_among([real(0, take(1, 1)), real(1, take(1, 2)), real(2, take(1, 3))]) == []


def test_the_same_movement_in_another_scene_is_no_double() -> None:
    assert doubles_among([real(0, take(1, 1)), real(1, take(2, 1))]) == []


def test_what_stands_still_is_like_nothing() -> None:
    still = np.repeat(take(1, 1)[:1], 100, axis=0)
    assert doubles_among([real(0, still), real(1, still)]) == []


def test_less_than_two_seconds_in_common_is_not_enough() -> None:
    whole = take(1, 1, 160)
    assert doubles_among([real(0, whole[:100]), real(1, whole[60:])]) == []


def test_the_same_clip_made_twice_is_a_double() -> None:
    first = take(1, 1)
    assert doubles_among([mesh(0, first), mesh(1, take(1, 2)), mesh(2, copied(first))]) == [Double(2, 0)]


def test_another_frame_rate_is_no_disguise() -> None:
    first = take(1, 1)
    slower = Printed(1, "real/real", "b", print_of(first[::2], FPS / 2))
    assert doubles_among([real(0, first), slower]) == [Double(1, 0)]


# ------------------------------------------------------------------------------------------ what is compared


def test_twins_are_no_doubles_of_each_other() -> None:
    greys = take(1, 1)
    kinds = ("real/real", "real/null_blend", "synthetic/face_swap", "synthetic/sound_swap")
    assert doubles_among(Printed(n, kind, "video", print_of(greys)) for n, kind in enumerate(kinds)) == []


def test_the_lowest_number_stays_also_by_way_of_others() -> None:
    whole = take(1, 1, 140)
    clips = [real(2, whole[:100]), real(5, whole[20:120]), real(9, whole[40:140])]
    assert doubles_among(clips) == [Double(5, 2), Double(9, 2)]


def test_numbers_must_ascend() -> None:
    with pytest.raises(ValueError, match="numbers must ascend, got 1 after 3"):
        doubles_among([real(3, take(1, 1)), real(1, take(2, 2))])


def test_no_clips_and_one_clip_have_no_doubles() -> None:
    assert doubles_among([]) == []
    assert doubles_among([real(0, take(1, 1))]) == []


def test_a_thousand_copies_of_one_clip_all_go_back_to_the_first() -> None:
    made = print_of(take(1, 1))
    found = doubles_among(Printed(n, "synthetic/mesh", "ada", made) for n in range(1000))
    assert found == [Double(n, 0) for n in range(1, 1000)]


# ------------------------------------------------------------------------------------------ prints


def test_a_print_has_forty_bytes_however_long_the_clip() -> None:
    for length in (1, 2, 10, 100, 500):
        assert len(print_of(take(1, 1, length))) == PRINT_BYTES == SCENE_BYTES + STEPS
    assert Printer(FPS).print_bytes() is None


def test_only_the_first_seconds_count() -> None:
    greys = take(1, 1, 200)
    other = greys.copy()
    other[100:] = 0
    assert print_of(greys) == print_of(other)


def test_a_print_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a print has 40 bytes, got 3"):
        Printed(0, "real/real", "a", b"abc")
    with pytest.raises(ValueError, match="number must be"):
        Printed(-1, "real/real", "a", bytes(PRINT_BYTES))


def many(count: int) -> Iterator[Printed]:
    """Clips of 20 portraits, none of them alike."""
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (20, SCENE_BYTES), np.uint8)
    for number in range(count):
        codes = rng.integers(0, 3, (STEPS, 4), np.uint8) << np.array([0, 2, 4, 6], np.uint8)
        moves = codes.sum(axis=1).astype(np.uint8).tobytes()
        yield Printed(number, "synthetic/mesh", f"p{number % 20}", scenes[number % 20].tobytes() + moves)


@pytest.mark.slow
def test_a_clip_more_costs_less_than_a_hundred_bytes() -> None:
    peaks = []
    for count in (20_000, 60_000):
        tracemalloc.start()
        assert doubles_among(many(count)) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 40_000 < 100
