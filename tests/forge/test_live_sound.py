from __future__ import annotations

import io
import struct
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from quick_maker import tone, write_wav
from scipy.signal import resample_poly

from forge.live_sound import Block, Incoming, Pace, Resampler, SampleFormat, paced, piped, recorded
from forge.portrait import ForgeError
from forge.voice import load_speech

TEN_MS = Fraction(1, 100)


class FakeClock:
    """Time passes when somebody waits."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def wait_until(self, moment: float) -> None:
        self.time = max(self.time, moment)


def samples_of(sound: Incoming) -> np.ndarray:
    return np.concatenate([block.samples for block in sound.blocks])


def wav(samples: np.ndarray, rate: int = 16_000, width: int = 2, channels: int = 1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def head(kind: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, size: int = 0xFFFFFFFF) -> bytes:
    layout = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", size)


RAMP = (np.arange(-800, 800) * 20).astype("<i2")


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 3200])
def test_a_wav_whose_length_its_writer_did_not_know_is_read_to_its_end(size: int) -> None:
    sound = piped(io.BytesIO(head(size=size) + RAMP.tobytes()), TEN_MS)
    assert sound.rate_hz == 16_000
    assert np.array_equal(samples_of(sound), RAMP.astype(np.float32) / 32768)


def test_what_follows_the_samples_is_not_heard() -> None:
    data = wav(RAMP) + b"LIST\x04\x00\x00\x00tags"
    assert len(samples_of(piped(io.BytesIO(data), TEN_MS))) == len(RAMP)


@pytest.mark.parametrize(
    ("bits", "kind", "data"),
    [
        (8, 1, ((RAMP.astype(int) >> 8) + 128).astype(np.uint8).tobytes()),
        (16, 1, RAMP.tobytes()),
        (24, 1, b"".join((int(v) * 256).to_bytes(3, "little", signed=True) for v in RAMP)),
        (32, 1, (RAMP.astype("<i4") * 65536).tobytes()),
        (32, 3, (RAMP / 32768).astype("<f4").tobytes()),
        (64, 3, (RAMP / 32768).astype("<f8").tobytes()),
    ],
)
def test_every_kind_of_sample_is_the_same_sound(bits: int, kind: int, data: bytes) -> None:
    got = samples_of(piped(io.BytesIO(head(kind=kind, bits=bits) + data), TEN_MS))
    assert np.abs(got - RAMP / 32768).max() <= (1 / 128 if bits == 8 else 1e-6)


def test_channels_are_mixed() -> None:
    pairs = np.stack([RAMP, -RAMP], axis=1)
    assert np.abs(samples_of(piped(io.BytesIO(wav(pairs, channels=2)), TEN_MS))).max() == 0


def test_raw_samples_need_their_rate() -> None:
    sound = piped(io.BytesIO(RAMP.tobytes() + b"\x01"), TEN_MS, rate_hz=8_000)
    assert sound.rate_hz == 8_000 and np.array_equal(samples_of(sound), RAMP.astype(np.float32) / 32768)
    with pytest.raises(ForgeError, match="no wav; send one, or say the --rate"):
        piped(io.BytesIO(RAMP.tobytes()), TEN_MS)


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        return self.data.read(min(count, 7))


def test_a_pipe_may_give_its_bytes_in_any_pieces_and_its_digest_is_the_files() -> None:
    import hashlib

    data = wav(RAMP)
    sound = piped(Dribble(data), TEN_MS)  # type: ignore[arg-type]
    assert np.array_equal(samples_of(sound), RAMP.astype(np.float32) / 32768)
    assert sound.digest() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no sound came"),
        (b"RIFF\x00\x00\x00\x00AVI ", "no wav"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", "ends before its samples"),
        (head(kind=85), "compressed sound"),
        (head(bits=12), "12-bit"),
        (head(channels=0), "0 channels"),
        (head(rate=100), "8000 to 192000 samples a second, got 100"),
        (b"RIFF\xff\xff\xff\xffWAVEdata\x00\x00\x00\x00", "format before its samples"),
        (b"RIFF\xff\xff\xff\xffWAVEjunk\xff\xff\xff\x00", "header of"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \x04\x00\x00\x00abcd", "cut off"),
        (b"ID3\x04 some mp3", "no wav"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(ForgeError) as refusal:
        piped(io.BytesIO(data), TEN_MS)
    assert reason in str(refusal.value) and "\n" not in str(refusal.value)


def test_samples_that_are_no_numbers_are_refused_where_they_come() -> None:
    data = head(kind=3, bits=32) + np.array([0.1, np.nan], "<f4").tobytes()
    with pytest.raises(ForgeError, match="NaN"):
        samples_of(piped(io.BytesIO(data), TEN_MS))
    with pytest.raises(ForgeError, match="16-bit wav"):
        SampleFormat(16_000, bits=20)


def test_a_file_in_blocks_is_the_file_and_odd_rates_do_not_drift(tmp_path: Path) -> None:
    speech = load_speech(write_wav(tmp_path / "s.wav", tone(1.1, rate=22_050)))
    sound = recorded(speech, Fraction(1, 333))
    lengths = [len(block.samples) for block in recorded(speech, Fraction(1, 333)).blocks]
    assert np.array_equal(samples_of(sound), speech.sound.samples[:, 0])
    assert set(lengths[:-1]) == {66, 67} and sound.digest() == speech.sha256
    assert len(samples_of(recorded(speech, TEN_MS).limited(Fraction(1, 2)))) == 11_025


def coming(moments: list[float], rate: int = 1000, length: int = 100) -> Incoming:
    def blocks() -> Iterator[Block]:
        for moment in moments:
            yield Block(np.zeros(length, np.float32), moment)

    return Incoming(rate, blocks(), lambda: "", Fraction(length, rate))


def test_in_real_time_a_block_is_there_when_it_has_been_spoken_and_not_before() -> None:
    clock = FakeClock()
    got = [(block.moment, clock.now()) for block in paced(coming([float("-inf")] * 4), Pace.REALTIME, clock)]
    assert got == [pytest.approx((100 + 0.1 * k, 100 + 0.1 * k)) for k in range(4)]


def test_a_slow_drawing_does_not_change_when_sound_was_there() -> None:
    clock = FakeClock()
    got = []
    for block in paced(coming([float("-inf")] * 4), Pace.REALTIME, clock):
        got.append(block.moment)
        clock.time += 5
    assert got == pytest.approx([100.0, 100.1, 100.2, 100.3])


def test_sound_that_comes_late_through_a_pipe_is_there_when_it_came() -> None:
    clock = FakeClock()
    moments = [block.moment for block in paced(coming([100.0, 100.1, 103.0, 103.0]), Pace.REALTIME, clock)]
    assert moments == pytest.approx([100.0, 100.1, 103.0, 103.0])


def test_at_full_pace_nobody_waits() -> None:
    clock = FakeClock()
    assert [block.moment for block in paced(coming([float("-inf")] * 9), Pace.MAX, clock)] == [100.0] * 9


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_resampling_in_pieces_is_resampling_at_once_bit_for_bit(rate: int) -> None:
    random = np.random.default_rng(rate)
    sound = np.clip(0.3 * random.standard_normal(rate // 2), -1, 1).astype(np.float32)
    pieces = np.split(sound, np.sort(random.integers(0, len(sound), 60)))
    one, other = Resampler(rate, 16_000), Resampler(rate, 16_000)
    whole = np.concatenate([one.push(sound), one.finish()])
    cut = np.concatenate([*(other.push(piece) for piece in pieces), other.finish()])
    assert np.array_equal(whole, cut)
    assert len(whole) == -(-len(sound) * 16_000 // rate)
    up, down = Fraction(16_000, rate).as_integer_ratio()
    assert np.abs(whole - np.clip(resample_poly(sound.astype(float), up, down), -1, 1)).max() < 1e-6


def test_resampling_waits_about_a_millisecond_and_says_how_long() -> None:
    resampler, out = Resampler(48_000, 16_000), 0
    for sample in range(1, 481):
        out += len(resampler.push(np.zeros(1, np.float32)))
        assert out >= (sample / 48_000 - float(resampler.delay_seconds)) * 16_000 - 1
    assert resampler.delay_seconds == Fraction(30, 48_000)
