from fractions import Fraction

import numpy as np
import pytest

from detect.sampling import due_ticks, spread_bursts, spread_indices


def test_frames_are_spread_over_the_whole_clip_and_not_its_start() -> None:
    chosen = spread_indices(270, 32)
    assert len(chosen) == 32
    assert chosen[0] < 270 / 32 and chosen[-1] >= 270 - 270 / 32
    assert np.ptp(np.diff(chosen)) <= 1


def test_frame_numbers_do_not_wrap_after_255() -> None:
    chosen = spread_indices(100_000, 500)
    assert chosen.dtype == np.int64
    assert (np.diff(chosen) > 0).all() and chosen[-1] > 99_000


def test_a_clip_shorter_than_the_count_gives_every_frame_once() -> None:
    assert spread_indices(3, 8).tolist() == [0, 1, 2]
    assert spread_indices(0, 8).tolist() == []


@pytest.mark.parametrize(("length", "count"), [(-1, 4), (10, 0)])
def test_spread_refuses_nonsense(length: int, count: int) -> None:
    with pytest.raises(ValueError, match="got"):
        spread_indices(length, count)


def test_runs_of_frames_are_consecutive_and_do_not_overlap() -> None:
    runs = spread_bursts(250, 8, 25)
    assert runs.shape == (8, 25)
    assert (np.diff(runs, axis=1) == 1).all()
    assert (runs[1:, 0] > runs[:-1, -1]).all() and runs[-1, -1] < 250


def test_a_clip_too_short_for_a_run_gives_none() -> None:
    assert spread_bursts(10, 4, 25).shape == (0, 25)


def test_a_stream_is_sampled_by_its_clock_even_when_its_rate_varies() -> None:
    times = [0.0, 0.02, 0.1999, 0.21, 0.6, 0.61, 0.79]
    taken, last = [], -1
    for t in times:
        tick = due_ticks(t, Fraction(5), last)
        if tick >= 0:
            taken.append(t)
            last = tick
    assert taken == [0.0, 0.1999, 0.6]
