import math

import pytest
import torch

from forge.motion.diffusion import frame_noise, guided, mixed, sample, sample_times


def gaussian_denoiser(mean: float, deviation: float):
    """The best guess of x_0 when x_0 is normal: known in closed form."""

    def denoise(x, time):
        a, s = (f(time * math.pi / 2).view(-1, 1, 1) for f in (torch.cos, torch.sin))
        return mean + a * deviation**2 / (a**2 * deviation**2 + s**2) * (x - a * mean)

    return denoise


def test_the_sampler_finds_the_distribution_that_the_network_knows():
    noise = torch.randn((4000, 1, 2), generator=torch.Generator().manual_seed(0))
    drawn = sample(gaussian_denoiser(3.0, 0.5), noise, steps=50)
    assert abs(float(drawn.mean()) - 3.0) < 0.03
    assert abs(float(drawn.std()) - 0.5) < 0.03


def test_one_step_already_gives_the_mean():
    drawn = sample(gaussian_denoiser(3.0, 0.5), torch.randn((500, 1, 2)), steps=1)
    assert abs(float(drawn.mean()) - 3.0) < 0.1


def test_the_same_noise_gives_the_same_motion_and_other_noise_another():
    noise = torch.randn((2, 3, 4))
    denoise = gaussian_denoiser(0.0, 1.0)
    assert torch.equal(sample(denoise, noise), sample(denoise, noise))
    assert not torch.allclose(sample(denoise, noise), sample(denoise, -noise))


def test_mixing_goes_from_clean_to_noise_and_keeps_the_power():
    clean, noise = torch.ones((2, 1, 1)), torch.full((2, 1, 1), 5.0)
    out = mixed(clean, noise, torch.tensor([0.0, 1.0]))
    assert torch.allclose(out.flatten(), torch.tensor([1.0, 5.0]), atol=1e-5)
    one, zero, time = torch.ones((1, 1, 1)), torch.zeros((1, 1, 1)), torch.tensor([0.3])
    assert float(mixed(one, zero, time)) ** 2 + float(mixed(zero, one, time)) ** 2 == pytest.approx(1.0)


def test_sampling_times_fall_and_a_sampler_without_steps_is_refused():
    times = sample_times(10)
    assert len(times) == 10 and times == sorted(times, reverse=True) and times[-1] > 0
    with pytest.raises(ValueError, match="at least 1"):
        sample_times(0)


def test_guidance_pushes_away_from_the_answer_without_the_condition():
    answers = {frozenset(): 2.0, frozenset({"audio"}): 1.0, frozenset({"gaze"}): 4.0}
    out = guided(lambda gone: torch.tensor(answers[gone]), {"audio": 0.5, "gaze": 1.0}, frozenset({"audio", "gaze"}))
    # (1 + 1.5) * 2 - 0.5 * 1 - 1.0 * 4
    assert float(out) == pytest.approx(0.5)


def test_guidance_asks_only_for_what_is_known_and_wanted():
    asked = []

    def predict(gone):
        asked.append(gone)
        return torch.tensor(1.0)

    guided(predict, {"audio": 0.0, "gaze": 1.0, "emotion": 2.0}, frozenset({"audio", "gaze"}))
    assert asked == [frozenset(), frozenset({"gaze"})]


@pytest.mark.parametrize(("first", "count"), [(0, 10), (60, 10), (64, 64), (100, 200), (5, 0)])
def test_noise_belongs_to_absolute_frames(first, count):
    whole = frame_noise(3, 0, 400)
    assert torch.equal(frame_noise(3, first, count), whole[first : first + count])


def test_noise_is_unit_normal_and_differs_between_seeds():
    noise = frame_noise(1, 0, 1000)
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02
    assert not torch.equal(noise[:10], frame_noise(2, 0, 10))
