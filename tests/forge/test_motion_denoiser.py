import pytest
import torch

from forge.motion.controls import EMOTIONS
from forge.motion.denoiser import CONDITIONS, Conditions, DenoiserShape, MotionDenoiser
from forge.motion.features import FREE_NAMES, NAMES
from forge.motion.listening import AUDIO_FEATURES

SHAPE = DenoiserShape(width=32, layers=2, heads=2, context=4, window=8)


def conditions(batch: int = 2, frames: int = 8, seed: int = 0) -> Conditions:
    random = torch.Generator().manual_seed(seed)
    yes = torch.ones(batch, dtype=torch.bool)
    return Conditions(
        audio_BTA=torch.randn((batch, frames, AUDIO_FEATURES), generator=random),
        heard_BT=yes[:, None].repeat(1, frames),
        past_motion_BPM=torch.randn((batch, SHAPE.context, len(NAMES)), generator=random),
        past_audio_BPA=torch.randn((batch, SHAPE.context, AUDIO_FEATURES), generator=random),
        has_past_B=yes,
        gaze_B2=torch.randn((batch, 2), generator=random),
        has_gaze_B=yes,
        distance_B=torch.randn(batch, generator=random),
        has_distance_B=yes,
        emotion_BE=torch.rand((batch, len(EMOTIONS)), generator=random),
        has_emotion_B=yes,
        manner_B=torch.rand(batch, generator=random),
        has_manner_B=yes,
    )


@pytest.fixture(scope="module")
def network() -> MotionDenoiser:
    """All weights random: a fresh network's last layer is zero and would answer nothing."""
    torch.manual_seed(1)
    network = MotionDenoiser(SHAPE).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return network


def test_a_fresh_network_trusts_what_it_sees_as_far_as_there_is_little_noise():
    noisy = torch.randn((2, 8, len(NAMES)))
    answer = MotionDenoiser(SHAPE)(noisy, torch.tensor([0.0, 1.0]), conditions())
    named = [i for i, name in enumerate(NAMES) if name not in FREE_NAMES and not name.startswith("eyeLook")]
    assert torch.allclose(answer[0, :, named], noisy[0, :, named])
    assert float(answer[1].abs().max()) < 1e-5


def test_dimensions_without_a_meaning_stay_at_rest(network):
    answer = network(torch.randn((2, 8, len(NAMES))), torch.rand(2), conditions())
    assert not answer[:, :, [i for i, name in enumerate(NAMES) if name in FREE_NAMES]].any()


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_changes_the_answer_and_when_it_is_taken_away_its_value_does_not(network, name):
    noisy, time = torch.randn((2, 8, len(NAMES))), torch.rand(2)
    one, other = conditions(seed=0), conditions(seed=5)
    fields = {"audio": ["audio_BTA"], "past": ["past_motion_BPM", "past_audio_BPA"], "gaze": ["gaze_B2"]}
    fields |= {"distance": ["distance_B"], "emotion": ["emotion_BE"], "manner": ["manner_B"]}
    swapped = Conditions(**{**vars(one), **{f: getattr(other, f) for f in fields[name]}})
    gone = frozenset({name})
    assert not torch.allclose(network(noisy, time, one), network(noisy, time, swapped), atol=1e-4)
    assert torch.allclose(
        network(noisy, time, one.without(gone)), network(noisy, time, swapped.without(gone)), atol=1e-5
    )
    assert not torch.allclose(network(noisy, time, one), network(noisy, time, one.without(gone)), atol=1e-4)


def test_time_and_noise_matter(network):
    noisy, given = torch.randn((2, 8, len(NAMES))), conditions()
    early, late = (network(noisy, torch.full((2,), t), given) for t in (0.1, 0.9))
    assert not torch.allclose(early, late, atol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours_in_the_batch(network):
    noisy, time, given = torch.randn((2, 8, len(NAMES))), torch.rand(2), conditions()
    alone = Conditions(**{name: value[:1] for name, value in vars(given).items()})
    assert torch.allclose(network(noisy, time, given)[:1], network(noisy[:1], time[:1], alone), atol=1e-5)


def test_a_shorter_window_is_taken_and_a_longer_one_refused(network):
    given = conditions(frames=3)
    assert network(torch.randn((2, 3, len(NAMES))), torch.rand(2), given).shape == (2, 3, len(NAMES))
    with pytest.raises(ValueError, match="at most 8 frames"):
        network(torch.randn((2, 9, len(NAMES))), torch.rand(2), conditions(frames=9))


def test_dropping_hits_each_condition_by_its_chance_and_hides_only_the_end_of_the_sound():
    given = conditions(batch=2000)
    dropped = given.dropped({"gaze": 0.1, "past": 0.5}, torch.Generator().manual_seed(0), tail=0.5)
    assert abs(float(dropped.has_gaze_B.float().mean()) - 0.9) < 0.03
    assert abs(float(dropped.has_past_B.float().mean()) - 0.5) < 0.04
    assert dropped.has_distance_B.all() and dropped.has_emotion_B.all()
    heard = dropped.heard_BT.int()
    assert (heard.diff(dim=1) <= 0).all() and heard[:, 0].all() and not heard.all()


def test_an_unknown_condition_is_refused():
    with pytest.raises(ValueError, match="conditions are audio"):
        conditions().without(frozenset({"weather"}))


@pytest.mark.parametrize("wrong", [{"width": 30}, {"layers": 0}, {"window": 0}])
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError):
        DenoiserShape(**wrong)
