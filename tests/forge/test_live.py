"""The live loop with a clock that only moves when somebody waits or works."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from forge.live import LiveReport, LiveTalk, Retimed, delay_seconds
from forge.live_sound import Block, Incoming, Pace, paced
from forge.motion.features import INDEX, NAMES
from forge.portrait import ForgeError
from forge.stream import ALGORITHMIC_DELAY_SECONDS, MotionFrame
from media.clip import frames_for

RATE = 16_000
JAW = INDEX["jawOpen"]


class FakeClock:
    """Time passes when somebody waits, or works."""

    def __init__(self) -> None:
        self.time = 50.0

    def now(self) -> float:
        return self.time

    def wait_until(self, moment: float) -> None:
        self.time = max(self.time, moment)


class SlowSitter:
    """Draws the jaw as a brightness, in so many seconds."""

    def __init__(self, clock: FakeClock, spends: float = 0.0) -> None:
        self.clock, self.spends, self.drawn = clock, spends, 0

    def draw(self, values: np.ndarray) -> np.ndarray:
        self.clock.time += self.spends
        self.drawn += 1
        return np.full((2, 2, 3), np.clip(values[JAW], 0, 255), np.uint8)


class CountingMotion:
    """As `LiveMotion`: frame n when the sound has come to (n + 2) / 25 s + 7.5 ms; its jaw is its number."""

    def __init__(self, clock: FakeClock, spends: float = 0.0) -> None:
        self.clock, self.spends, self.heard, self.told = clock, spends, 0, 0

    def push(self, samples: np.ndarray) -> Iterator[MotionFrame]:
        self.heard += len(samples)
        while self.heard >= (self.told + 2) * 640 + 120:
            yield self._frame()

    def finish(self) -> Iterator[MotionFrame]:
        while self.told * 640 < self.heard:
            yield self._frame()

    def _frame(self) -> MotionFrame:
        self.clock.time += self.spends
        values = np.zeros(len(NAMES), np.float32)
        values[JAW] = self.told
        self.told += 1
        return MotionFrame(self.told - 1, values)


def blocks_of(seconds: float, block_seconds: Fraction, rate: int) -> Iterator[Block]:
    left, size = round(seconds * rate), round(block_seconds * rate)
    while left > 0:
        yield Block(np.zeros(min(size, left), np.float32), float("-inf"))
        left -= size


def live(
    seconds: float = 1.0,
    *,
    fps: Fraction = Fraction(25),
    drawing: float = 0.0,
    motion: float = 0.0,
    chunk: Fraction = Fraction(1, 100),
    pace: Pace = Pace.REALTIME,
    rate: int = RATE,
) -> tuple[list[int], LiveReport, SlowSitter]:
    """What was shown (brightness by frame), the report, and who drew."""
    clock = FakeClock()
    sitter = SlowSitter(clock, drawing)
    talk = LiveTalk(
        sitter, CountingMotion(clock, motion), rate_hz=rate, fps=fps, clock=clock, pace=pace, block_seconds=chunk
    )
    sound = Incoming(rate, blocks_of(seconds, chunk, rate), lambda: "", chunk)
    shown = [int(picture[0, 0, 0]) for picture in talk.pictures(paced(sound, pace, clock))]
    return shown, talk.report(), sitter


@pytest.mark.parametrize("seconds", [0.2, 1.0, 1.01, 1.03])
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001), Fraction(30), Fraction(50), Fraction(12)])
def test_pictures_last_as_long_as_the_sound_at_every_rate(seconds: float, fps: Fraction) -> None:
    shown, report, _ = live(seconds, fps=fps)
    assert len(shown) == report.frames == frames_for(Fraction(round(seconds * RATE), RATE), fps)


def test_a_machine_that_is_quick_enough_draws_every_picture_in_time() -> None:
    shown, report, _ = live(2.0, drawing=0.015, motion=0.008)
    assert shown == list(range(50))
    assert (report.late, report.repeated, report.drawn, report.kept_fps) == (0, 0, 50, 25.0)
    assert report.keeps_time and report.latency_ms is not None
    # 87.5 ms must be heard, which ends within a block of 10 ms: 90; then motion and drawing
    assert report.latency_ms["p50"] == report.latency_ms["p99"] == pytest.approx(113.0, abs=0.2)
    assert report.motion_ms["p50"] == 8.0 and report.drawing_ms["p95"] == 15.0
    assert report.algorithmic_delay_ms == 87.5 and report.sound_delay_ms == 137.5


def test_large_blocks_of_sound_make_frames_wait() -> None:
    _, report, _ = live(2.0, chunk=Fraction(1, 25))
    assert report.latency_ms is not None and report.latency_ms["p50"] == pytest.approx(120.0, abs=0.2)
    assert report.latency_ms["most"] <= report.sound_delay_ms


def test_a_machine_that_is_too_slow_repeats_pictures_and_stays_with_the_sound() -> None:
    shown, report, sitter = live(4.0, drawing=0.1)
    assert len(shown) == 100 and sitter.drawn == report.drawn < 50
    assert report.repeated == 100 - report.drawn and not report.keeps_time
    assert report.kept_fps == pytest.approx(report.drawn / 4.0) and 8 <= report.kept_fps <= 11
    assert shown == sorted(shown), "a repeated picture is the one before"
    assert report.elapsed_seconds < 4.3, "it does not fall behind"


def test_a_machine_that_is_late_by_little_says_so() -> None:
    _, report, _ = live(1.0, drawing=0.039, motion=0.0, chunk=Fraction(1, 50))
    assert report.late == 0
    clock = FakeClock()
    talk = LiveTalk(
        SlowSitter(clock, 0.039), CountingMotion(clock), rate_hz=RATE, fps=Fraction(25), clock=clock,
        buffer_seconds=0.001,
    )  # fmt: skip
    sound = Incoming(RATE, blocks_of(1.0, Fraction(1, 100), RATE), lambda: "", Fraction(1, 100))
    list(talk.pictures(paced(sound, Pace.REALTIME, clock)))
    assert talk.report().late > 10 and not talk.report().keeps_time


def test_however_slow_the_motion_something_is_drawn_each_second() -> None:
    shown, report, _ = live(4.0, motion=0.5)
    assert len(shown) == 100 and report.drawn >= 4


def test_at_full_pace_every_picture_is_drawn_and_nothing_has_a_latency() -> None:
    shown, report, _ = live(2.0, drawing=0.1, pace=Pace.MAX)
    assert shown == list(range(50)) and report.drawn == 50 and report.latency_ms is None
    assert report.kept_fps == pytest.approx(10.0) and not report.keeps_time
    assert live(2.0, drawing=0.01, pace=Pace.MAX)[1].keeps_time


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_any_rate_of_sound_shows_the_same_pictures(rate: int) -> None:
    shown, report, _ = live(1.0, rate=rate)
    assert shown == list(range(25)) and report.late == 0


def test_less_sound_than_can_be_spoken_is_refused() -> None:
    with pytest.raises(ForgeError, match=r"0\.100 s of sound came"):
        live(0.1)


@pytest.mark.parametrize(
    ("fps", "expected_ms"), [("25", 87.5), ("30", 120.8), ("30000/1001", 124.1), ("50", 107.5), ("12.5", 127.5)]
)
def test_the_delay_of_a_rate_is_the_longest_that_any_of_its_frames_waits(fps: str, expected_ms: float) -> None:
    rate = Fraction(fps)
    retimed, most = Retimed(rate), 0.0
    for index in range(3000):
        known = (index + 1) / 25 + ALGORITHMIC_DELAY_SECONDS - 0.04
        for number, _ in retimed.push(MotionFrame(index, np.zeros(len(NAMES), np.float32))):
            most = max(most, known - float(number / rate))
    assert 1000 * most == pytest.approx(1000 * delay_seconds(rate), abs=0.15)
    assert 1000 * delay_seconds(rate) == pytest.approx(expected_ms, abs=0.1)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30), Fraction(30_000, 1001), Fraction(50), Fraction(10)])
def test_other_rates_lie_on_straight_lines_between_motion_frames(fps: Fraction) -> None:
    retimed, got = Retimed(fps), []
    length = round(4 * fps)
    for index in range(100):
        values = np.full(len(NAMES), index, np.float32)
        got += [pair for pair in retimed.push(MotionFrame(index, values)) if pair[0] < length]
    got += list(retimed.finish(length))
    assert [number for number, _ in got] == list(range(length))
    middles = (np.arange(length) + 0.5) / float(fps) * 25 - 0.5
    assert np.allclose([values[JAW] for _, values in got], np.clip(middles, 0, 99), atol=1e-3)
