"""Sound as it arrives: blocks from a file or a pipe, each with the moment at which it was there.

    sound = piped(sys.stdin.buffer, rate_hz=None, block_seconds=Fraction(1, 100))
    for block in paced(sound, Pace.REALTIME, clock): ...

A pipe carries a wav (PCM of 8 to 64 bits, any channels, lengths that the writer did not know) or raw signed 16-bit
samples of one channel at a stated rate. Axes: N samples.
"""

from __future__ import annotations

import hashlib
import queue
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from math import gcd
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from forge.portrait import ForgeError
from forge.voice import Speech

FloatArray = NDArray[np.float32]
Read = Callable[[int], bytes]

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8_000, 192_000
MOST_CHANNELS = 8
LONGEST_CHUNK_BYTES = 1 << 20
ENDLESS_BYTES = 0x7FFF0000
"""A wav that is written into a pipe states this length or more, or none: its writer could not know."""
WAITING_BLOCKS = 3000
"""Blocks that may wait to be drawn before the pipe is held back: half a minute of them."""
PCM, IEEE_FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


class Pace(StrEnum):
    """When sound is handed on."""

    REALTIME = "realtime"
    """Not before it would have been spoken."""
    MAX = "max"
    """As soon as it can be read."""


class Clock(Protocol):
    """A watch, and the patience to wait."""

    def now(self) -> float:
        """Seconds, from any beginning."""
        ...

    def wait_until(self, moment: float) -> None:
        """Return at that moment, or at once when it is past."""
        ...


class WallClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait_until(self, moment: float) -> None:
        """Sleep until then."""
        time.sleep(max(0.0, moment - time.monotonic()))


@dataclass(frozen=True, eq=False)
class Block:
    """A piece of sound that follows the one before."""

    samples: FloatArray
    """(N,) one channel."""
    moment: float
    """When its last sample was there, on the clock."""


@dataclass(frozen=True, eq=False)
class Incoming:
    """Sound that comes block by block, to be read once."""

    rate_hz: int
    blocks: Iterator[Block]
    digest: Callable[[], str]
    """SHA-256 of all that came so far, hexadecimal: of the file, or of the bytes of the pipe."""
    block_seconds: Fraction

    def limited(self, seconds: Fraction) -> Incoming:
        """The same sound, no longer than this."""
        return replace(self, blocks=_limited(self.blocks, int(seconds * self.rate_hz)))


@dataclass(frozen=True)
class SampleFormat:
    """How the bytes of a pipe become samples."""

    rate_hz: int
    channels: int = 1
    bits: int = 16
    floating: bool = False

    def __post_init__(self) -> None:
        """Refuse what no recorder writes."""
        if not LOWEST_RATE_HZ <= self.rate_hz <= HIGHEST_RATE_HZ:
            raise ForgeError(
                f"sound must have {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} samples a second, got {self.rate_hz}"
            )
        known = (32, 64) if self.floating else (8, 16, 24, 32)
        if self.bits not in known or not 1 <= self.channels <= MOST_CHANNELS:
            kind = "floating" if self.floating else "whole"
            raise ForgeError(f"cannot read {self.channels} channels of {self.bits}-bit {kind} samples; send 16-bit wav")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    def decoded(self, data: bytes) -> FloatArray:
        """(N,) float32 in [-1, 1], the mean of all channels; an unfinished last sample is left out.

        Raises:
            ForgeError: for samples that are NaN or infinite.
        """
        data = data[: len(data) // self.frame_bytes * self.frame_bytes]
        values: FloatArray
        if self.floating:
            values = np.frombuffer(data, f"<f{self.bits // 8}").astype(np.float32)
        elif self.bits == 8:
            values = (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
        elif self.bits == 24:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            values = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
        else:
            values = np.frombuffer(data, f"<i{self.bits // 8}").astype(np.float32) / np.float32(2 ** (self.bits - 1))
        if not np.isfinite(values).all():
            raise ForgeError("the sound holds samples that are NaN or infinite; send 16-bit wav")
        one = values if self.channels == 1 else values.reshape(-1, self.channels).mean(axis=1, dtype=np.float32)
        return np.clip(one, -1.0, 1.0)


def recorded(speech: Speech, block_seconds: Fraction) -> Incoming:
    """A sound file as if it were being spoken."""
    samples = speech.sound.samples[:, 0]
    rate_hz = speech.sound.sample_rate_hz

    def blocks() -> Iterator[Block]:
        for first, last in _cuts(rate_hz, block_seconds):
            if first >= len(samples):
                return
            yield Block(samples[first:last], float("-inf"))

    return Incoming(rate_hz, blocks(), lambda: speech.sha256, block_seconds)


def piped(
    stream: BinaryIO, block_seconds: Fraction, *, rate_hz: int | None = None, clock: Clock | None = None
) -> Incoming:
    """Sound from a pipe, read beside the drawing so that each block's moment is true.

    Args:
        stream: wav, or raw samples when `rate_hz` is given; unbuffered, or the thread that reads it would hold its lock
            when the command ends.
        block_seconds: how much sound is handed on at a time.
        rate_hz: of raw signed 16-bit samples of one channel.
        clock: whose moments are told.

    Raises:
        ForgeError: when this is no such sound.
    """
    clock = clock or WallClock()
    digest = hashlib.sha256()

    def read(count: int) -> bytes:
        parts = []
        while count and (part := stream.read(count)):  # an unbuffered pipe gives what it has
            parts.append(part)
            count -= len(part)
        data = b"".join(parts)
        digest.update(data)
        return data

    begun = read(4)
    if begun == b"RIFF":
        layout, length = wav_layout(read)
        begun = b""
    elif rate_hz is not None:
        layout, length = SampleFormat(rate_hz), None
    elif not begun:
        raise ForgeError("no sound came through the pipe; send a wav, or raw 16-bit samples and their --rate")
    else:
        raise ForgeError("the pipe carries no wav; send one, or say the --rate of raw signed 16-bit samples")
    blocks = _beside(lambda: _sample_blocks(read, begun, layout, length, block_seconds), clock)
    return Incoming(layout.rate_hz, blocks, digest.hexdigest, block_seconds)


def wav_layout(read: Read) -> tuple[SampleFormat, int | None]:
    """The format of a wav whose first four bytes were read, and the bytes of its samples; None where it never ends.

    Raises:
        ForgeError: when it is damaged or of a kind that is not offered.
    """
    layout: SampleFormat | None = None
    if read(8)[4:] != b"WAVE":
        raise ForgeError("the pipe carries a RIFF file that is no wav; send a wav")
    while True:
        name, size = _head(read(8))
        if name == b"data":
            if layout is None:
                raise ForgeError("the wav does not tell its format before its samples; export it again")
            return layout, None if size == 0 or size >= ENDLESS_BYTES else size
        if size > LONGEST_CHUNK_BYTES:
            raise ForgeError(f"the wav has a header of {size} bytes; export it again")
        body = read(size + size % 2)
        if name == b"fmt ":
            layout = _layout_of(body)


def _head(data: bytes) -> tuple[bytes, int]:
    if len(data) < 8:
        raise ForgeError("the wav ends before its samples; export it again")
    return data[:4], struct.unpack("<I", data[4:])[0]


def _layout_of(body: bytes) -> SampleFormat:
    if len(body) < 16:
        raise ForgeError("the wav's description of its format is cut off; export it again")
    kind, channels, rate_hz = struct.unpack("<HHI", body[:8])
    bits = struct.unpack("<H", body[14:16])[0]
    if kind == EXTENSIBLE and len(body) >= 26:
        kind = struct.unpack("<H", body[24:26])[0]
    if kind not in (PCM, IEEE_FLOAT):
        raise ForgeError(f"the wav holds compressed sound (format {kind}); send 16-bit wav")
    return SampleFormat(rate_hz, channels, bits, kind == IEEE_FLOAT)


def _cuts(rate_hz: int, block_seconds: Fraction) -> Iterator[tuple[int, int]]:
    """First and last + 1 sample of each block, by the sample clock: lengths may differ by one, nothing drifts."""
    number = 0
    while True:
        yield int(number * block_seconds * rate_hz), int((number + 1) * block_seconds * rate_hz)
        number += 1


def _sample_blocks(
    read: Read, begun: bytes, layout: SampleFormat, length: int | None, block_seconds: Fraction
) -> Iterator[FloatArray]:
    for first, last in _cuts(layout.rate_hz, block_seconds):
        wanted = (last - first) * layout.frame_bytes
        if length is not None:
            wanted = min(wanted, length)
            length -= wanted
        data = begun + read(max(0, wanted - len(begun)))
        begun = b""
        samples = layout.decoded(data)
        if len(samples):
            yield samples
        if len(data) < (last - first) * layout.frame_bytes:
            return


def _beside(make: Callable[[], Iterator[FloatArray]], clock: Clock) -> Iterator[Block]:
    """Read in a thread of its own: a slow drawing must not make sound look late."""
    waiting: queue.Queue[Block | BaseException | None] = queue.Queue(WAITING_BLOCKS)

    def work() -> None:
        try:
            for samples in make():
                waiting.put(Block(samples, clock.now()))
            waiting.put(None)
        except OSError as error:
            waiting.put(ForgeError(f"the pipe cannot be read any more ({error.strerror or error})"))
        except Exception as error:  # noqa: BLE001 -- told where the blocks are read
            waiting.put(error)

    # a daemon: a pipe that nobody closes must not keep the command from ending
    threading.Thread(target=work, daemon=True).start()
    while (got := waiting.get()) is not None:
        if isinstance(got, BaseException):
            raise got
        yield got


def _limited(blocks: Iterator[Block], most: int) -> Iterator[Block]:
    for block in blocks:
        yield replace(block, samples=block.samples[:most])
        most -= len(block.samples)
        if most <= 0:
            return


def paced(sound: Incoming, pace: Pace, clock: Clock) -> Iterator[Block]:
    """The blocks at their time. In real time the first one is there at once, each other one when it has been spoken.

    A block's moment is when it was due or when it came, whichever was later: a drawing that is behind does not change
    it.
    """
    seconds, begin = Fraction(0), 0.0
    for number, block in enumerate(sound.blocks):
        seconds += Fraction(len(block.samples), sound.rate_hz)
        if pace is Pace.MAX:
            yield Block(block.samples, clock.now())
            continue
        if not number:
            came = clock.now() if block.moment == float("-inf") else block.moment
            begin = came - float(seconds)
        due = begin + float(seconds)
        clock.wait_until(due)
        yield Block(block.samples, max(due, block.moment))


class Resampler:
    """Another sample rate, as the sound comes: however it was cut, the same samples come out.

        resampler = Resampler(44_100, 16_000)
        for block in blocks:
            out = resampler.push(block)      # (M,)
        rest = resampler.finish()

    A low-pass of `REACH` samples of the lower rate to each side, in phases: `delay_seconds` is how long a sample waits.
    """

    REACH = 10

    def __init__(self, rate_hz: int, wanted_hz: int) -> None:
        from scipy.signal import firwin

        common = gcd(rate_hz, wanted_hz)
        self._up, self._down = wanted_hz // common, rate_hz // common
        widest = max(self._up, self._down)
        self._half = self.REACH * widest if widest > 1 else 0
        low_pass = firwin(2 * self._half + 1, 1.0 / widest, window=("kaiser", 5.0)) if widest > 1 else np.ones(1)
        self._filter = (low_pass * self._up).astype(np.float64)
        self.delay_seconds = Fraction(self._half, self._up * rate_hz)
        self._kept = np.zeros(0, np.float32)
        self._first = 0
        """Input sample at which `_kept` begins: a multiple of `down`, so that the phases fall as if from sample 0."""
        self._came, self._told = 0, 0

    def push(self, samples: FloatArray) -> FloatArray:
        """(M,) the samples that are settled now."""
        self._came += len(samples)
        settled = ((self._came - 1) * self._up - self._half) // self._down + 1
        return self._until(samples, settled)

    def finish(self) -> FloatArray:
        """(M,) the last ones; silence follows. As many come out in all as the sound lasts."""
        return self._until(np.zeros(0, np.float32), -(-self._came * self._up // self._down))

    def _until(self, samples: FloatArray, settled: int) -> FloatArray:
        from scipy.signal import upfirdn

        self._kept = np.concatenate([self._kept, samples])
        if settled <= self._told:
            return np.zeros(0, np.float32)
        offset = self._first // self._down * self._up
        # what is not there yet counts as silence: only the last samples of all ever ask for it
        padded = np.concatenate([self._kept.astype(np.float64), np.zeros(-(-2 * self._half // self._up) + 1)])
        whole = upfirdn(self._delayed(), padded, self._up, self._down)
        out = whole[self._lead() + self._told - offset : self._lead() + settled - offset]
        self._told = settled
        # an output needs `half` upsampled places before it: forget what lies further back
        needed = max(0, (self._told * self._down - self._half) // self._up)
        first = needed // self._down * self._down
        self._kept = self._kept[first - self._first :]
        self._first = first
        return np.asarray(np.clip(out, -1.0, 1.0), np.float32)

    def _delayed(self) -> NDArray[np.float64]:
        """The filter behind so many zeros that its middle falls on an output."""
        return np.concatenate([np.zeros(-self._half % self._down), self._filter])

    def _lead(self) -> int:
        """Outputs until the middle of the filter."""
        return (self._half + -self._half % self._down) // self._down
