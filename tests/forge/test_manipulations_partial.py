"""Partial forgeries: exact to the frame and the sample, on plain clips whose every value is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from forge.manipulations import Forgery, Scene, Segment, within
from forge.manipulations.scene import Drawn
from forge.portrait import ForgeError
from media.clip import Waveform

LENGTH, SIZE, FPS, RATE = 50, 8, Fraction(25), 1000
OWN, FALSE = 40, 240


def clip() -> Scene:
    sound = Waveform(np.full((LENGTH * 40, 1), 0.1, np.float32), RATE)
    return Scene(np.full((LENGTH, SIZE, SIZE, 3), OWN, np.uint8), FPS, sound, (None,) * LENGTH)


def forgery(scene: Scene, what: str = "both", *, drawn: list[int] | None = None) -> Forgery:
    def draw(index: int) -> np.ndarray:
        if drawn is not None:
            drawn.append(index)
        return np.full((SIZE, SIZE, 3), FALSE, np.uint8)

    def masks() -> Iterator[np.ndarray]:
        return (np.ones((SIZE, SIZE), bool) for _ in range(LENGTH))

    sound = Waveform(np.full((LENGTH * 40, 1), -0.5, np.float32), RATE) if what != "picture" else scene.sound
    return Forgery(Drawn(LENGTH, draw), sound, masks, (scene.segment(0, LENGTH, what),))


def levels(made: Forgery) -> np.ndarray:
    return np.array([int(frame[0, 0, 0]) for frame in made.frames])


def test_outside_of_its_segments_every_pixel_mask_and_sample_is_the_recordings() -> None:
    made = within(forgery(clip()), clip(), [(0.2, 0.4), (0.6, 0.7)], fade_frames=0)
    inside = np.zeros(LENGTH, bool)
    inside[10:20] = inside[30:35] = True
    assert np.array_equal(levels(made), np.where(inside, FALSE, OWN))
    assert np.array_equal([mask.all() for mask in made.masks()], inside)
    assert np.array_equal([mask.any() for mask in made.masks()], inside)
    heard = made.sound.samples[:, 0].reshape(LENGTH, 40)
    assert (heard[~inside] == np.float32(0.1)).all() and (heard[inside].mean(axis=1) < -0.1).all()


def test_segments_are_half_open_and_exact_to_the_frame() -> None:
    made = within(forgery(clip()), clip(), [(0.2, 0.4), (0.611, 0.7)])
    assert made.segments == (Segment(0.4, 0.8, "both"), Segment(31 / 25, 1.4, "both"))


def test_only_what_the_forgery_forges_is_said_and_done() -> None:
    scene = clip()
    picture = within(forgery(scene, "picture"), scene, [(0.2, 0.4)])
    assert picture.sound is scene.sound and [s.what for s in picture.segments] == ["picture"]
    sound = within(forgery(scene, "sound"), scene, [(0.2, 0.4)])
    assert [s.what for s in sound.segments] == ["sound"] and (sound.sound.samples < 0).any()


@pytest.mark.parametrize("fade", [0, 1, 2])
def test_a_fade_lies_within_the_segment_and_not_at_the_ends_of_the_clip(fade: int) -> None:
    seen = levels(within(forgery(clip()), clip(), [(0.0, 0.2), (0.5, 1.0)], fade_frames=fade))
    assert (seen[10:25] == OWN).all() and seen[0] == FALSE and seen[-1] == FALSE
    between = (seen != OWN) & (seen != FALSE)
    assert np.flatnonzero(between).tolist() == [*range(10 - fade, 10), *range(25, 25 + fade)]
    assert (np.diff(seen[5:12].astype(int)) <= 0).all() and (np.diff(seen[23:30].astype(int)) >= 0).all()


def test_of_a_head_that_is_elsewhere_no_mixture_is_shown_and_its_sound_fades_all_the_same() -> None:
    elsewhere = replace(forgery(clip()), follows_recording=False)
    made = within(elsewhere, clip(), [(0.2, 0.4)], fade_frames=2)
    assert made.facts["fade_frames"] == 0 and np.abs(np.diff(made.sound.samples[:, 0])).max() < 0.1
    assert set(levels(made).tolist()) == {OWN, FALSE}


def test_the_sound_never_clicks() -> None:
    samples = within(forgery(clip()), clip(), [(0.2, 0.4)]).sound.samples[:, 0]
    assert np.abs(np.diff(samples)).max() < 0.1  # the two sounds are 0.6 apart


def test_frames_that_nobody_sees_are_not_drawn() -> None:
    drawn: list[int] = []
    list(within(forgery(clip(), drawn=drawn), clip(), [(0.2, 0.4)]).frames)
    assert drawn == [*range(10, 20)]


def test_a_generator_that_only_streams_keeps_its_frames_in_step() -> None:
    scene = clip()
    streamed = Forgery(
        (np.full((SIZE, SIZE, 3), 100 + n, np.uint8) for n in range(LENGTH)), scene.sound, None,
        (scene.segment(0, LENGTH, "picture"),),
    )  # fmt: skip
    made = within(streamed, scene, [(0.2, 0.4)], fade_frames=0)
    assert levels(made)[10:20].tolist() == [*range(110, 120)] and made.masks is None


def test_a_share_shorter_than_a_frame_becomes_one_frame() -> None:
    made = within(forgery(clip()), clip(), [(0.5, 0.5001)])
    assert made.segments == (Segment(1.0, 1.04, "both"),)
    assert (levels(made) != OWN).sum() == 1


@pytest.mark.parametrize("shares", [[], [(0.5, 0.5)], [(0.2, 1.2)], [(0.5, 0.8), (0.7, 0.9)], [(-0.1, 0.5)]])
def test_shares_that_are_no_ascending_parts_of_the_clip_are_refused(shares: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="shares must"):
        within(forgery(clip()), clip(), shares)


def test_a_long_fade_and_a_sound_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match="fade_frames must be"):
        within(forgery(clip()), clip(), [(0.2, 0.4)], fade_frames=3)
    scene = clip()
    other = Forgery(iter(()), Waveform(np.zeros((10, 1), np.float32), RATE), None, (Segment(0.0, 2.0, "sound"),))
    with pytest.raises(ForgeError, match="another rate, length"):
        within(other, scene, [(0.2, 0.4)])
