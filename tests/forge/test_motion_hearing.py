import numpy as np
import pytest

from forge.motion.hearing import BANDS, RATE_HZ, hear, mel_filters, one_channel
from media.clip import Waveform


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE_HZ, level: float = 0.3) -> Waveform:
    time = np.arange(int(seconds * rate)) / rate
    return Waveform((level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)[:, None], rate)


def test_there_are_a_hundred_frames_a_second() -> None:
    for seconds in (0.2, 0.995, 1.0, 3.337):
        heard = hear(tone(300, seconds))
        assert heard.bands.shape == (np.ceil(np.floor(seconds * RATE_HZ) / 160), BANDS)
        assert heard.level_db.shape == heard.bands.shape[:1]


def test_a_higher_tone_is_heard_in_a_higher_band() -> None:
    loudest = [int(hear(tone(hertz)).bands[40].argmax()) for hertz in (150, 400, 1000, 3000, 6000)]
    assert loudest == sorted(set(loudest))


def test_every_band_hears_something() -> None:
    assert (mel_filters().sum(axis=0) > 0.99).all()


def test_a_click_is_heard_at_its_time() -> None:
    samples = np.zeros((RATE_HZ, 1), np.float32)
    samples[8000:8016] = 0.5
    assert abs(int(hear(Waveform(samples, RATE_HZ)).level_db.argmax()) - 50) <= 1


def test_quiet_recordings_sound_like_loud_ones() -> None:
    noise = np.random.default_rng(0).standard_normal((RATE_HZ, 1)).astype(np.float32) * 0.1
    loud, quiet = hear(Waveform(noise, RATE_HZ)), hear(Waveform(noise * 0.1, RATE_HZ))
    assert np.abs(loud.bands - quiet.bands).max() < 0.05


def test_near_silence_is_not_blown_up_to_speech() -> None:
    hiss = np.random.default_rng(0).standard_normal((RATE_HZ, 1)).astype(np.float32) * 1e-5
    assert hear(Waveform(hiss, RATE_HZ)).loudness.max() < 0.1


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_any_sample_rate_is_heard_alike(rate: int) -> None:
    reference, other = hear(tone(1000)), hear(tone(1000, rate=rate))
    assert abs(reference.bands.shape[0] - other.bands.shape[0]) <= 1
    assert int(other.bands[50].argmax()) == int(reference.bands[50].argmax())


def test_channels_in_opposite_phase_do_not_cancel_to_silence() -> None:
    left = tone(500).samples
    heard = one_channel(Waveform(np.concatenate([left, -left], axis=1), RATE_HZ))
    assert np.abs(heard.samples).max() > 0.2


def test_speech_in_one_of_six_channels_is_heard() -> None:
    samples = np.zeros((RATE_HZ, 6), np.float32)
    samples[:, 2] = tone(500).samples[:, 0]
    assert hear(Waveform(samples, RATE_HZ)).loudness.mean() > 0.9


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_sound_under_a_fifth_of_a_second_is_refused_in_one_line(count: int) -> None:
    with pytest.raises(ValueError, match="need at least") as refusal:
        hear(Waveform(np.zeros((count, 1), np.float32), RATE_HZ))
    assert "\n" not in str(refusal.value)
