from dataclasses import replace

import numpy as np
import pytest
import torch

from forge.motion.controls import Controls
from forge.motion.denoiser import DenoiserShape, MotionDenoiser
from forge.motion.diffusion import LAST_TIME
from forge.motion.features import INDEX, NAMES
from forge.motion.hearing import BANDS, Ear, hear
from forge.motion.sources import LIVE_WEIGHTS
from forge.motion.windows import MotionModel, motion_by_diffusion
from forge.stream import ALGORITHMIC_DELAY_SECONDS, LiveMotion
from media.clip import Waveform


@pytest.fixture(scope="module")
def model() -> MotionModel:
    torch.manual_seed(0)
    network = MotionDenoiser(DenoiserShape(width=32, layers=2, heads=2, context=4, window=8)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return MotionModel(network, torch.zeros(len(NAMES)), torch.full((len(NAMES),), 0.1))


@pytest.fixture(scope="module")
def quick_model(model) -> MotionModel:
    """A network of live talks: one step, noise ahead in three tokens."""
    return replace(model, folded_steps=1, stretches=(1, 2, 4))


def voice(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * 16_000)) / 16_000
    return (0.3 * np.sin(2 * np.pi * 160 * time) * np.sin(8 * time) ** 2).astype(np.float32)


def drawn(model, pieces, **wishes) -> tuple[np.ndarray, list[int]]:
    live = LiveMotion(model, Controls(**wishes))
    frames = [frame for piece in pieces for frame in live.push(piece)]
    frames += list(live.finish())
    return np.stack([frame.values for frame in frames]), [frame.index for frame in frames]


def test_every_forty_milliseconds_of_sound_become_one_frame(model):
    values, indices = drawn(model, [voice(1.0)])
    assert values.shape == (25, len(NAMES)) and indices == list(range(25))
    assert len(drawn(model, [voice(1.01)])[1]) == 26


@pytest.mark.parametrize("kind", ["model", "quick_model"])
def test_chunks_of_any_length_give_the_same_motion(kind, request):
    network, sound = request.getfixturevalue(kind), voice(0.9)
    pieces = np.split(sound, [1, 700, 701, 5000, 5600, 12_000])
    assert np.array_equal(drawn(network, [sound])[0], drawn(network, pieces)[0])


def test_a_frame_waits_for_its_lookahead_and_no_longer(model):
    live, sound, came = LiveMotion(model), voice(0.6), []
    for at in range(0, len(sound), 40):
        came += [(at + 40) / 16_000 - frame.index / 25 for frame in live.push(sound[at : at + 40])]
    assert len(came) >= 12
    assert max(came) <= ALGORITHMIC_DELAY_SECONDS + 40 / 16_000 <= 0.091
    assert min(came) >= ALGORITHMIC_DELAY_SECONDS - 1e-9


@pytest.mark.parametrize("kind", ["model", "quick_model"])
def test_sound_after_the_lookahead_cannot_change_a_frame(kind, request):
    model = request.getfixturevalue(kind)
    one, other = voice(0.6), voice(0.6)
    other[8000:] = 0.0  # from 0.5 s on
    a, b = drawn(model, [one])[0], drawn(model, [other])[0]
    # frame 10 shows 0.40-0.44 s and knows the sound up to 0.4875 s
    assert np.array_equal(a[:11], b[:11]) and not np.allclose(a[12:], b[12:])


def test_two_seeds_of_the_shipped_network_have_other_heads_and_the_same_lips():
    shipped = MotionModel.load(LIVE_WEIGHTS)
    one, other = (drawn(shipped, [voice(2.0)], seed=seed)[0] for seed in (1, 2))
    assert np.corrcoef(one[:, INDEX["jawOpen"]], other[:, INDEX["jawOpen"]])[0, 1] > 0.9
    assert np.abs(one - other)[:, [INDEX["yaw"], INDEX["pitch"]]].mean() > 0.5


def test_a_network_of_live_talks_is_asked_once_a_frame_and_sees_the_noise_ahead(quick_model, monkeypatch):
    seen = []
    clean = MotionModel.clean

    def counted(self, noisy, time, given):
        seen.append((noisy.shape[1], float(time), int(given.heard_BT.sum())))
        return clean(self, noisy, time, given)

    monkeypatch.setattr(MotionModel, "clean", counted)
    drawn(quick_model, [voice(0.4)])
    assert seen == [(3, pytest.approx(LAST_TIME), 1)] * 10


def test_the_gain_of_the_mouth_is_no_part_of_what_is_carried_on(quick_model):
    talker = replace(quick_model, mean_M=torch.full((len(NAMES),), 0.4), deviation_M=torch.full((len(NAMES),), 0.02))
    plain = drawn(talker, [voice(0.6)])[0]
    wide = drawn(replace(talker, mouth_gain=1.5), [voice(0.6)])[0]
    jaw, yaw = INDEX["jawOpen"], INDEX["yaw"]
    assert np.allclose(wide[:, jaw] - 0.4, 1.5 * (plain[:, jaw] - 0.4), atol=1e-5) and plain[:, jaw].std() > 1e-3
    assert np.array_equal(wide[:, yaw], plain[:, yaw])


def test_weights_of_live_talks_draw_no_whole_windows(quick_model):
    with pytest.raises(ValueError, match="draw live talks, frame by frame; use forge live"):
        motion_by_diffusion(quick_model, Waveform(voice(0.5)[:, None], 16_000))


def test_live_gaze_and_distance_are_obeyed_by_the_conditions(model):
    near, far = drawn(model, [voice(0.4)], distance=0.8)[0], drawn(model, [voice(0.4)], distance=1.6)[0]
    assert not np.allclose(near[:, INDEX["log_scale"]], far[:, INDEX["log_scale"]])


def test_the_ear_hears_the_same_in_pieces_and_never_changes_its_mind():
    sound = voice(0.7)
    whole = Ear()
    heard = np.concatenate([whole.push(sound), whole.finish()])
    ear, pieces = Ear(), []
    for piece in np.split(sound, [3, 161, 162, 900, 4000, 4100]):
        pieces.append(ear.push(piece))
        assert sum(map(len, pieces)) == ear.frames
    pieces.append(ear.finish())
    assert np.array_equal(np.concatenate(pieces), heard) and heard.shape == (70, BANDS)


def test_the_ear_hears_about_what_the_baseline_hears():
    sound = voice(2.0)
    ear = Ear()
    bands = np.concatenate([ear.push(sound), ear.finish()])
    assert np.corrcoef(bands.ravel(), hear(Waveform(sound[:, None], 16_000)).bands.ravel())[0, 1] > 0.95


def test_a_quiet_talker_is_heard_like_a_loud_one():
    sound = voice(2.0)
    loud, quiet = Ear(), Ear()
    a, b = loud.push(sound), quiet.push(0.1 * sound)
    assert np.abs(a[20:] - b[20:]).mean() < 0.02


@pytest.mark.parametrize("bad", [np.zeros((5, 2), np.float32), np.array([np.nan], np.float32)])
def test_the_ear_refuses_what_is_no_sound(bad):
    with pytest.raises(ValueError, match="sound must be"):
        Ear().push(bad)
