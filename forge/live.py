"""A portrait that speaks while the sound arrives: motion and pictures frame by frame, and how well time was kept.

    talk = LiveTalk(sitter, source.live(controls), rate_hz=sound.rate_hz, fps=Fraction(25), clock=WallClock())
    for image in talk.pictures(paced(sound, Pace.REALTIME, clock)): ...
    talk.report().latency_ms        # {"p50": 96.1, "p95": 108.4, "p99": 115.0, "most": 121.3}

Rules:

1. Frame n shows the moments from n / fps on, by the sample clock; motion comes at 25 a second, and other rates lie on
   straight lines between two of its frames, for which they wait (`delay_seconds`).
2. Latency is counted from the moment at which the first thing that a frame shows was spoken to its finished picture.
3. A player holds the sound back by `LiveTalk.sound_delay_seconds`: so much is promised. A picture that is finished
   later is late; one whose time is over before it is begun is not drawn, and the one before it is shown again.
4. Motion is never left out: what a picture shows does not depend on how fast the machine is.

Nothing here knows files; `forge.live_clip` does. Axes: N samples.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import gcd
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forge.live_sound import Block, Clock, Pace, Resampler
from forge.methods import Sitter
from forge.motion.hearing import RATE_HZ
from forge.motion.listening import MOTION_FPS
from forge.portrait import ForgeError
from forge.stream import ALGORITHMIC_DELAY_SECONDS, MotionFrame
from forge.voice import SHORTEST_SPEECH_SECONDS
from media.clip import frames_for

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

BUFFER_SECONDS = 0.04
"""Time that motion and drawing of a picture may take, on top of what must be heard before."""
LONGEST_GAP_SECONDS = 1
"""However far behind, so often at least a picture is drawn."""


class MotionStream(Protocol):
    """`forge.stream.LiveMotion`: sound in, motion out."""

    def push(self, samples: FloatArray) -> Iterator[MotionFrame]:
        """Frames that can be told with these further samples at 16 kHz."""
        ...

    def finish(self) -> Iterator[MotionFrame]:
        """The last frames."""
        ...


def delay_seconds(fps: Fraction) -> float:
    """The longest that a frame at this rate must wait, from the first thing it shows until its motion is known.

    A frame's middle lies between two motion frames, and both must be known. At 25 a second it lies on one.
    """
    # middle of frame n on the scale of motion frames: ((2n + 1) 25 q - p) / 2p; its part behind the last whole one
    # takes every place of one residue class
    turns = 2 * fps.numerator
    step = gcd(50 * fps.denominator, turns)
    smallest = (25 * fps.denominator - fps.numerator) % step or step
    longest_wait = Fraction(turns - smallest, turns) if smallest < turns else Fraction(0)
    ahead = (longest_wait - Fraction(1, 2)) / MOTION_FPS + 1 / (2 * fps)
    return ALGORITHMIC_DELAY_SECONDS + float(ahead)


class Retimed:
    """Motion at 25 a second told at another rate, each frame as soon as it is known."""

    def __init__(self, fps: Fraction) -> None:
        self._fps, self._next = fps, 0
        self._before: MotionFrame | None = None
        self._latest: MotionFrame | None = None

    def push(self, frame: MotionFrame) -> Iterator[tuple[int, FloatArray]]:
        """(number, values (70,)) of the frames that are known with this motion frame."""
        self._before, self._latest = self._latest, frame
        while self._place() <= frame.index:
            yield self._next, self._values()
            self._next += 1

    def finish(self, length: int) -> Iterator[tuple[int, FloatArray]]:
        """The rest of so many frames; the last motion holds."""
        while self._latest is not None and self._next < length:
            yield self._next, self._values()
            self._next += 1

    def _place(self) -> Fraction:
        """Where the next frame's middle lies among motion frames."""
        return (self._next + Fraction(1, 2)) / self._fps * MOTION_FPS - Fraction(1, 2)

    def _values(self) -> FloatArray:
        assert self._latest is not None
        back = float(self._latest.index - self._place())
        if self._before is None or back <= 0:
            return self._latest.values
        share = np.float32(min(back, 1.0))
        return np.asarray(self._before.values * share + self._latest.values * (1 - share), np.float32)


@dataclass(frozen=True)
class LiveReport:
    """How a live talk went."""

    pace: str
    fps: str
    frames: int
    drawn: int
    repeated: int
    """Frames that were not drawn, because their time was over: the picture before was shown again."""
    late: int
    """Frames that were drawn, and finished after their time."""
    seconds: float
    """Of sound."""
    elapsed_seconds: float
    kept_fps: float
    """Pictures drawn a second."""
    latency_ms: dict[str, float] | None
    """From the first sound that a frame shows to its picture; None when nothing was paced, so nothing arrived."""
    motion_ms: dict[str, float]
    """Spent on one motion frame."""
    drawing_ms: dict[str, float]
    """Spent on one picture."""
    algorithmic_delay_ms: float
    """What any machine would need: sound that must have been heard before a frame can be told."""
    sound_delay_ms: float
    """By how much a player holds the sound back, so that it agrees with the lips."""

    @property
    def keeps_time(self) -> bool:
        """Whether every picture was there in time; in a talk that was not paced, whether it was made that fast."""
        return not self.late and not self.repeated and self.kept_fps >= 0.99 * float(Fraction(self.fps))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"keeps_time": self.keeps_time}


class LiveTalk:
    """One live talk, from blocks of sound to pictures."""

    def __init__(
        self,
        sitter: Sitter,
        motion: MotionStream,
        *,
        rate_hz: int,
        fps: Fraction,
        clock: Clock,
        pace: Pace = Pace.REALTIME,
        block_seconds: Fraction = Fraction(1, 100),
        buffer_seconds: float = BUFFER_SECONDS,
    ) -> None:
        """Get ready.

        Args:
            sitter: a fitted portrait.
            motion: turns sound into motion.
            rate_hz: of the sound.
            fps: of the pictures.
            clock: tells the time.
            pace: whether pictures have a time to keep.
            block_seconds: how much sound arrives at a time.
            buffer_seconds: time promised for the making of a picture.
        """
        self._sitter, self._motion, self._clock, self._pace = sitter, motion, clock, pace
        self._rate_hz, self._fps = rate_hz, fps
        self._ear, self._retimed = Resampler(rate_hz, RATE_HZ), Retimed(fps)
        self.algorithmic_delay_seconds = delay_seconds(fps) + float(self._ear.delay_seconds)
        self.sound_delay_seconds = self.algorithmic_delay_seconds + float(block_seconds) + buffer_seconds
        self._samples = 0
        self._spoken: deque[tuple[Fraction, float]] = deque()
        """(end of a block in seconds of sound, moment it was there) of the blocks that are still to be shown."""
        self._picture: UInt8Array | None = None
        self._gap, self._late, self._repeated, self._frames = 0, 0, 0, 0
        self._latency, self._motion_spent, self._drawing_spent = array("d"), array("d"), array("d")
        self._began, self._ended = clock.now(), clock.now()

    @property
    def seconds(self) -> Fraction:
        """Of sound so far."""
        return Fraction(self._samples, self._rate_hz)

    @property
    def repeated(self) -> int:
        """Frames so far that show the picture before again."""
        return self._repeated

    def pictures(self, blocks: Iterable[Block]) -> Iterator[UInt8Array]:
        """Pictures (S, S, 3) as they are made: `frames_for` the sound's length of them.

        Raises:
            ForgeError: when the sound is too short to be spoken.
        """
        self._began = self._clock.now()
        for block in blocks:
            self._samples += len(block.samples)
            self._spoken.append((self.seconds, block.moment))
            for frame in self._moved(self._motion.push(self._ear.push(block.samples))):
                yield from self._shown(self._retimed.push(frame))
        if self.seconds < SHORTEST_SPEECH_SECONDS:
            heard, least = float(self.seconds), float(SHORTEST_SPEECH_SECONDS)
            raise ForgeError(f"{heard:.3f} s of sound came, at least {least} s are needed; send longer speech")
        length = frames_for(self.seconds, self._fps)
        for rest in (self._motion.push(self._ear.finish()), self._motion.finish()):
            for frame in self._moved(rest):
                yield from self._shown(pair for pair in self._retimed.push(frame) if pair[0] < length)
        yield from self._shown(self._retimed.finish(length))
        self._ended = self._clock.now()

    def _moved(self, frames: Iterator[MotionFrame]) -> Iterator[MotionFrame]:
        while True:
            began = self._clock.now()
            frame = next(frames, None)
            if frame is None:
                return
            self._motion_spent.append(self._clock.now() - began)
            yield frame

    def _shown(self, told: Iterable[tuple[int, FloatArray]]) -> Iterator[UInt8Array]:
        for number, values in told:
            spoken = self._moment_of(number / self._fps)
            self._frames += 1
            began = self._clock.now()
            over = self._pace is Pace.REALTIME and began > spoken + self.sound_delay_seconds
            if over and self._picture is not None and self._gap < LONGEST_GAP_SECONDS * self._fps - 1:
                self._gap += 1
                self._repeated += 1
                yield self._picture
                continue
            self._gap = 0
            self._picture = self._sitter.draw(values.astype(np.float64))
            finished = self._clock.now()
            self._drawing_spent.append(finished - began)
            self._latency.append(finished - spoken)
            self._late += self._pace is Pace.REALTIME and finished > spoken + self.sound_delay_seconds
            yield self._picture

    def _moment_of(self, seconds: Fraction) -> float:
        """When the sound at a time was spoken: within a block, as if it had been recorded sample by sample."""
        while len(self._spoken) > 1 and self._spoken[0][0] <= seconds:
            self._spoken.popleft()
        end, moment = self._spoken[0]
        return moment - float(end - seconds)

    def report(self) -> LiveReport:
        """How it went, after the last picture."""
        elapsed, seconds = self._ended - self._began, float(self.seconds)
        drawn = len(self._drawing_spent)
        realtime = self._pace is Pace.REALTIME
        lasted = seconds if realtime else elapsed
        return LiveReport(
            pace=self._pace.value,
            fps=f"{self._fps.numerator}/{self._fps.denominator}",
            frames=self._frames,
            drawn=drawn,
            repeated=self._repeated,
            late=self._late,
            seconds=round(seconds, 6),
            elapsed_seconds=round(elapsed, 3),
            kept_fps=round(drawn / lasted, 2) if lasted > 0 else float(self._fps),
            latency_ms=in_milliseconds(self._latency) if realtime else None,
            motion_ms=in_milliseconds(self._motion_spent),
            drawing_ms=in_milliseconds(self._drawing_spent),
            algorithmic_delay_ms=round(1000 * self.algorithmic_delay_seconds, 1),
            sound_delay_ms=round(1000 * self.sound_delay_seconds, 1),
        )


def in_milliseconds(seconds: Iterable[float]) -> dict[str, float]:
    """The middle, the 95th and the 99th of a hundred, and the most."""
    values = 1000.0 * np.asarray(list(seconds), np.float64)
    if not len(values):
        return {}
    parts = [*(float(value) for value in np.percentile(values, (50, 95, 99))), float(values.max())]
    return {name: round(value, 1) for name, value in zip(("p50", "p95", "p99", "most"), parts, strict=True)}
