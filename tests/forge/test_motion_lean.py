import pytest
import torch

from forge.motion.controls import Controls
from forge.motion.denoiser import CONDITIONS, Conditions, DenoiserShape, MotionDenoiser
from forge.motion.features import NAMES
from forge.motion.lean import LeanDenoiser
from forge.motion.listening import AUDIO_FEATURES
from forge.motion.windows import wished

SHAPE = DenoiserShape(width=32, layers=2, heads=2, context=4, window=8)


@pytest.fixture(scope="module")
def network() -> MotionDenoiser:
    torch.manual_seed(3)
    network = MotionDenoiser(SHAPE).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return network


def given(*, has_past: bool = True, heard: int = 8) -> Conditions:
    torch.manual_seed(5)
    controls = Controls(gaze_yaw_degrees=9.0, distance=1.3, emotion="sad", emotion_strength=0.4)
    past, sound = torch.randn((1, 4, len(NAMES))), torch.randn((1, 4, AUDIO_FEATURES))
    whole = wished(controls, torch.randn((1, 8, AUDIO_FEATURES)), past, sound, has_past=has_past)
    return Conditions(**{**vars(whole), "heard_BT": torch.arange(8)[None] < heard})


@pytest.mark.parametrize("has_past", [True, False])
@pytest.mark.parametrize("heard", [0, 1, 8])
@pytest.mark.parametrize("time", [0.995, 0.4975, 0.1])
def test_it_answers_as_the_network_does(network, has_past, heard, time):
    conditions, noisy = given(has_past=has_past, heard=heard), torch.randn((1, 8, len(NAMES)))
    at = torch.tensor([time])
    with torch.inference_mode():
        assert torch.allclose(LeanDenoiser(network)(noisy, at, conditions), network(noisy, at, conditions), atol=2e-4)


@pytest.mark.parametrize("name", CONDITIONS)
def test_what_is_taken_away_is_taken_away_here_too(network, name):
    conditions, noisy, at = given().without(frozenset({name})), torch.randn((1, 8, len(NAMES))), torch.tensor([0.7])
    with torch.inference_mode():
        assert torch.allclose(LeanDenoiser(network)(noisy, at, conditions), network(noisy, at, conditions), atol=2e-4)


def test_a_shorter_window_will_do(network):
    conditions = given()
    short = Conditions(
        **{**vars(conditions), "audio_BTA": conditions.audio_BTA[:, :3], "heard_BT": conditions.heard_BT[:, :3]}
    )
    noisy, at = torch.randn((1, 3, len(NAMES))), torch.tensor([0.5])
    with torch.inference_mode():
        assert torch.allclose(LeanDenoiser(network)(noisy, at, short), network(noisy, at, short), atol=2e-4)
