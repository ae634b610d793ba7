import pytest
import torch

from forge.motion.chance import (
    FIRST_STREAM,
    LATE_FRAMES,
    MOUTH,
    mouth_angle,
    mouth_angles,
    noise_ahead,
    take_noise,
)
from forge.motion.controls import Controls
from forge.motion.diffusion import frame_noise
from forge.motion.listening import AUDIO_FEATURES


def heard(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((frames, AUDIO_FEATURES), generator=torch.Generator().manual_seed(seed)) - 1.0


def test_two_seeds_have_the_same_noise_in_the_mouth_and_another_one_elsewhere():
    angles = mouth_angles(heard(200))
    one, other = take_noise(1, 0, angles), take_noise(2, 0, angles)
    assert torch.equal(one[:, MOUTH], other[:, MOUTH])
    assert not torch.isclose(one[:, ~MOUTH], other[:, ~MOUTH]).any(dim=0).all()
    assert torch.equal(one[:, ~MOUTH], frame_noise(1, 0, 200)[:, ~MOUTH])


def test_another_speech_has_another_noise_in_the_mouth():
    one, other = (take_noise(1, 0, mouth_angles(heard(400, seed)))[LATE_FRAMES:, MOUTH] for seed in (0, 1))
    assert abs(float(torch.corrcoef(torch.stack([one.ravel(), other.ravel()]))[0, 1])) < 0.1


def test_the_noise_of_the_mouth_is_white_and_unit_normal():
    mouth = take_noise(1, 0, mouth_angles(heard(2000)))[:, MOUTH]
    assert abs(float(mouth.mean())) < 0.02 and float(mouth.std()) == pytest.approx(1.0, abs=0.02)
    assert abs(float((mouth[1:] * mouth[:-1]).mean())) < 0.02
    assert float(mouth.pow(4).mean()) == pytest.approx(3.0, abs=0.15)


def test_the_last_bits_of_what_is_heard_do_not_matter():
    audio = heard(100)
    shaken = audio + 1e-6 * torch.randn(audio.shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(take_noise(1, 0, mouth_angles(audio)), take_noise(1, 0, mouth_angles(shaken)), atol=1e-2)


def test_the_sound_sets_the_noise_so_late_that_a_live_talk_knows_what_is_ahead():
    audio = heard(60)
    changed = audio.clone()
    changed[31:] = heard(29, seed=9)
    one, other = mouth_angles(audio), mouth_angles(changed)
    assert torch.equal(one[: 31 + LATE_FRAMES], other[: 31 + LATE_FRAMES])
    assert not torch.isclose(one[31 + LATE_FRAMES :], other[31 + LATE_FRAMES :]).all()
    assert float(one[0]) == float(one[LATE_FRAMES]) == pytest.approx(mouth_angle(audio[0]))


def test_windows_of_a_talk_have_the_noise_of_the_whole():
    angles = mouth_angles(heard(150))
    assert torch.equal(take_noise(3, 50, angles[50:100]), take_noise(3, 0, angles)[50:100])


def test_noise_ahead_is_the_frames_own_and_sums_of_unit_variance():
    angles = mouth_angles(heard(1200))
    whole = take_noise(5, 0, angles)
    ahead = torch.stack([noise_ahead(5, n, angles[n : n + 17], (1, 4, 12)) for n in range(1000)])
    assert torch.equal(ahead[:, 0], whole[:1000])
    assert torch.allclose(ahead[7, 1], whole[8:12].sum(dim=0) / 2.0, atol=1e-6)
    assert torch.allclose(ahead.std(dim=(0, 2)), torch.ones(3), atol=0.03)


def test_noise_beyond_what_is_known_is_refused():
    with pytest.raises(ValueError, match="known 5 frames ahead, stretches of 17"):
        noise_ahead(1, 0, torch.zeros(5), (1, 4, 12))


def test_no_talk_can_have_the_streams_of_the_mouth():
    with pytest.raises(ValueError, match="seed must be"):
        Controls(seed=FIRST_STREAM)
