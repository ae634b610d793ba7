import numpy as np
import pytest

from forge.motion.listener import WHOLE, Listener, live_listener
from forge.motion.listening import AUDIO_FEATURES, LOOKAHEAD_SECONDS, Listening, heard_frames
from media.clip import Waveform


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    time = np.arange(round(seconds * 16_000)) / 16_000
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    return (0.2 * swell * np.random.default_rng(seed).standard_normal(len(time))).astype(np.float32)


def test_whole_or_in_pieces_the_same_sound_gives_the_same_rows():
    sound = noise(1.3)
    whole = Listening()
    rows = np.concatenate([whole.push(sound), whole.finish()])
    pieces = Listening()
    told = [pieces.push(piece) for piece in np.split(sound, [1, 600, 601, 7000, 7500])]
    told.append(pieces.finish())
    assert rows.shape == (33, AUDIO_FEATURES)
    assert np.array_equal(np.concatenate(told), rows)


def test_hearing_a_file_is_hearing_it_live():
    sound = noise(2.0)
    live = Listening()
    rows = np.concatenate([live.push(sound), live.finish()])
    assert np.allclose(heard_frames(Waveform(sound[:, None], 16_000), 50), rows, atol=2e-3)


def test_a_row_waits_for_the_next_video_frame_and_no_longer():
    listening, sound = Listening(), noise(0.5)
    for at in range(0, len(sound), 40):
        for _ in listening.push(sound[at : at + 40]):
            heard = (at + 40) / 16_000
            assert heard == pytest.approx(0.08 + 0.0075, abs=40 / 16_000 + 1e-9)
            return
    raise AssertionError("nothing was told")


def test_the_lookahead_is_what_the_delay_promises():
    assert pytest.approx(0.0475) == LOOKAHEAD_SECONDS


def test_sound_and_frames_stay_together():
    samples = np.zeros((32_000, 1), np.float32)
    samples[16_000:19_200, 0] = np.random.default_rng(0).uniform(-0.5, 0.5, 3200)
    rows = heard_frames(Waveform(samples, 16_000), 60)
    level = rows[:, 60:140].mean(axis=1)
    assert rows.shape == (60, AUDIO_FEATURES)
    # 1.0 to 1.2 s are frames 25 to 29; the window of a hearing frame reaches 7.5 ms into its neighbours
    assert level[25:30].min() > level[:24].max() + 0.3 and level[25:30].min() > level[31:].max() + 0.3
    assert (rows[50:, 60:] == -2.0).all()


def test_only_the_live_listener_will_do():
    with pytest.raises(ValueError, match="live listener"):
        Listening(Listener(live_listener().tensors, WHOLE))
