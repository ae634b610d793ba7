import numpy as np
import pytest

from forge.motion import prior

STILL = prior.Talk(activity=lambda seconds: np.zeros(seconds.shape), accents=(), phrase_starts=(), phrase_ends=())
LIVELY = prior.Talk(
    activity=lambda seconds: np.ones(seconds.shape),
    accents=tuple((0.4 + 0.8 * i, 0.6) for i in range(800)),
    phrase_starts=(),
    phrase_ends=(),
)


def moments(until: float, fps: float = 25.0) -> prior.Double:
    return np.asarray((np.arange(int(until * fps)) + 0.5) / fps, np.float64)


def test_smooth_noise_has_unit_variance_and_no_memory_after_a_few_knots() -> None:
    noise = prior.smooth_noise(prior.Stream(3, 1), moments(4000.0, 10.0), 1.0)
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    assert abs(np.corrcoef(noise[:-60], noise[60:])[0, 1]) < 0.1


def test_noise_belongs_to_absolute_time() -> None:
    short, long = (prior.smooth_noise(prior.Stream(3, 1), moments(t), 0.7) for t in (50.0, 200.0))
    assert np.array_equal(short, long[: short.size])
    later = prior.smooth_noise(prior.Stream(3, 1), moments(200.0)[1000:1100], 0.7)
    assert np.array_equal(later, long[1000:1100])


def test_people_blink_about_twenty_times_a_minute_and_never_like_a_clock() -> None:
    counts = [len(prior.blink_times(seed, 60.0, 1.0, ())) for seed in range(200)]
    assert 20 < np.mean(counts) < 32
    waits = np.diff(prior.blink_times(5, 6000.0, 1.0, ()))
    assert 0.4 < waits.std() / waits.mean() < 0.9
    assert waits.min() > prior.BLINK_REFRACTORY_SECONDS - 1e-6


def test_short_clips_blink_too() -> None:
    counts = [len(prior.blink_times(seed, 5.0, 1.0, ())) for seed in range(300)]
    assert 10 < 12 * np.mean(counts) < 45
    assert sum(count > 0 for count in counts) > 240


def test_the_blink_rate_scales_down_to_none() -> None:
    assert prior.blink_times(1, 600.0, 0.0, ()) == []
    slow, usual, fast = (len(prior.blink_times(1, 600.0, rate, ())) for rate in (0.3, 1.0, 2.0))
    assert slow < 0.6 * usual and fast > 1.5 * usual


def test_blinks_like_the_ends_of_phrases() -> None:
    ends = tuple(np.arange(3.0, 600.0, 3.0))
    times = np.asarray(prior.blink_times(4, 600.0, 1.0, ends))
    on_an_end = np.abs(times / 3.0 - np.round(times / 3.0)) < 1e-9
    assert 0.15 < on_an_end.mean() < 0.9


def test_a_blink_closes_within_four_frames_and_opens_more_slowly() -> None:
    left, right = prior.lids(0, moments(2.0, 100.0), [0.5])
    for lid in (left, right):
        peak = int(lid.argmax())
        assert lid.max() > 0.75 and lid[0] == lid[-1] == 0.0
        rise, fall = peak - np.flatnonzero(lid > 0.05)[0], np.flatnonzero(lid > 0.05)[-1] - peak
        assert 4 <= rise <= 16 and fall > rise


def test_eyes_rest_on_their_target_and_jump() -> None:
    yaw, pitch, shifts = prior.looks(2, moments(600.0))
    assert abs(np.median(yaw)) < 0.7 and abs(np.median(pitch)) < 0.5
    moving = np.abs(np.diff(yaw)) > 0.05
    assert 0.01 < moving.mean() < 0.25, "mostly still, with quick jumps between"
    assert 20 < len(shifts) < 200


def test_small_turns_are_untouched_and_large_ones_stay_within_reach_in_order() -> None:
    asked = np.array([-40.0, -12.0, -9.0, 0.0, 3.0, 10.0, 12.0, 40.0])
    got = prior.within_reach(asked)
    assert got[2:6].tolist() == asked[2:6].tolist()
    assert np.all(np.diff(got) > 0) and np.abs(got).max() <= 14.5


def test_a_talking_head_moves_as_much_as_real_ones_and_a_silent_one_less_but_never_stands_still() -> None:
    seconds = moments(600.0)
    speeds = {}
    for name, talk in (("still", STILL), ("lively", LIVELY)):
        pose = np.concatenate([prior.head_pose(seed, seconds, talk, 1.0)[:, :3] for seed in range(3)])
        speeds[name] = np.abs(np.diff(pose, axis=0)).mean()
        assert np.abs(pose).max() < 15.0
    assert 0.18 < speeds["lively"] < 0.4, "degrees a frame, mean of yaw, pitch and roll; real talkers .27"
    assert 0.02 < speeds["still"] < speeds["lively"]


def test_head_motion_does_not_loop() -> None:
    yaw = prior.head_pose(9, moments(300.0, 5.0), STILL, 1.0)[:, 0]
    yaw = (yaw - yaw.mean()) / yaw.std()
    echo = [float(np.mean(yaw[:-lag] * yaw[lag:])) for lag in range(50, 1000)]
    assert max(echo) < 0.6


def test_no_head_motion_means_none() -> None:
    assert not prior.head_pose(1, moments(10.0), LIVELY, 0.0).any()


def test_brows_rise_on_some_accents_and_stay_in_range() -> None:
    inner, outer = prior.brows(1, moments(120.0), LIVELY)
    quiet, _ = prior.brows(1, moments(120.0), STILL)
    assert inner.max() > quiet.max() + 0.1
    assert inner.min() >= 0 and outer.min() >= 0 and inner.max() <= 1


def test_a_breath_opens_the_mouth_before_a_phrase() -> None:
    seconds = moments(10.0, 100.0)
    jaw, calm = (prior.breath(1, seconds, starts) for starts in ((5.0,), ()))
    assert jaw[495] > calm[495] + 0.03
    assert np.array_equal(jaw[:400], calm[:400])


def test_effort_is_about_one_and_changes_from_word_to_word() -> None:
    effort = prior.speaking_effort(1, moments(400.0))
    assert effort.mean() == pytest.approx(prior.EFFORT_MEAN, abs=0.1)
    assert 0.2 < effort.std() < 0.6 and effort.min() > 0.1
