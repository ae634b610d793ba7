import json

import numpy as np
import pytest
import torch

from forge.distil_live import LiveDistiller, LivePlan, Walkers, distil_live, main, spoken_by, wishes_of_somebody
from forge.motion.controls import Controls
from forge.motion.denoiser import MotionDenoiser
from forge.motion.features import NAMES
from forge.motion.listening import AUDIO_FEATURES
from forge.motion.sequences import MotionSequence
from forge.motion.windows import MotionModel
from forge.stream import LiveMotion
from forge.train_motion import is_held_out, motion_tiny

TAUGHT = next(name for name in map(str, range(100)) if not is_held_out(name))
PLAN = LivePlan(talks=4, walkers=12, batch=6)


def sequence(seed: int, speaker: str = TAUGHT) -> MotionSequence:
    random = np.random.default_rng(seed)
    motion = random.random((40, len(NAMES))).astype(np.float32)
    audio = random.random((40, AUDIO_FEATURES)).astype(np.float32)
    return MotionSequence(f"s{seed}", "spoken", speaker, "xx", "none", motion, audio, {})


@pytest.fixture(scope="module")
def teacher() -> MotionModel:
    torch.manual_seed(0)
    network = MotionDenoiser(motion_tiny().shape).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return MotionModel(network, torch.zeros(len(NAMES)), torch.ones(len(NAMES)), folded_steps=2)


@pytest.fixture(scope="module")
def talks(teacher):
    return spoken_by(teacher, [sequence(seed) for seed in range(4)], PLAN, np.random.default_rng(0))


def test_a_walker_sees_what_a_live_talk_sees(teacher, talks):
    walkers = Walkers(talks, PLAN, teacher.network.shape.context, np.random.default_rng(1))
    walkers.talk_W[:], walkers.frame_W[:] = 2, 7
    chosen, noise, given, here, before = walkers.batch()
    talk = talks[2]
    assert noise.shape == (PLAN.batch, 3, len(NAMES)) and torch.equal(noise[0], talk.noise_TKM[7])
    assert given.heard_BT.tolist() == [[True, False, False]] * PLAN.batch
    assert torch.equal(given.audio_BTA[0, 0], talk.audio_TA[7]) and not given.audio_BTA[:, 1:].any()
    assert torch.equal(given.past_audio_BPA[0], talk.audio_TA[3:7])
    assert torch.equal(here[0], talk.motion_TM[7]) and torch.equal(before[0], talk.motion_TM[6])
    assert len(set(chosen.tolist())) == PLAN.batch


def test_a_walker_carries_what_it_drew_and_never_leaves_its_talk(teacher, talks):
    walkers = Walkers(talks, LivePlan(talks=4, walkers=6, batch=6, afresh=0.0), 4, np.random.default_rng(1))
    walkers.frame_W[:] = 5
    drawn = torch.randn((6, len(NAMES)))
    chosen = np.arange(6)
    walkers.move(chosen, drawn)
    assert torch.equal(walkers.past_WPM[:, -1], drawn) and (walkers.frame_W == 6).all()
    walkers.frame_W[:] = 39
    walkers.move(chosen, drawn)
    assert (walkers.frame_W < 40).all() and not torch.equal(walkers.past_WPM[:, -1], drawn)


def test_a_talk_that_has_just_begun_has_no_past(talks):
    walkers = Walkers(talks, PLAN, 4, np.random.default_rng(1))
    walkers.frame_W[:], walkers.past_WPM[:] = 0, 0.0
    _, _, given, _, _ = walkers.batch()
    assert not given.has_past_B.any() and not given.past_audio_BPA.any()


def test_the_student_comes_nearer_to_its_teacher(teacher, talks):
    distiller = LiveDistiller(teacher, talks, LivePlan(talks=4, walkers=8, batch=8, learning_rate=4e-3), seed=0)
    losses = [distiller.learn(0.0)["loss"] for _ in range(50)]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:5])


def test_wishes_stay_within_their_ranges_and_half_of_them_are_none():
    random = np.random.default_rng(0)
    wishes = [wishes_of_somebody(random) for _ in range(60)]
    free = [wish for wish in wishes if wish == Controls(seed=wish.seed)]
    assert 15 < len(free) < 50 and len({wish.emotion for wish in wishes}) > 3


def test_a_run_leaves_weights_that_live_talks_are_drawn_with(teacher, tmp_path):
    (tmp_path / "data").mkdir()
    for seed in range(3):
        sequence(seed).save(tmp_path / "data" / f"{seed}.npz")
    distil_live(teacher, tmp_path / "data", tmp_path / "run", PLAN, time_budget_minutes=0.0)
    model = MotionModel.load(tmp_path / "run" / "motion_live.safetensors")
    assert model.folded_steps == 1 and model.stretches == PLAN.stretches
    assert model.mouth_gain == PLAN.mouth_gain
    assert json.loads((tmp_path / "run" / "distillation.json").read_text())["walkers"] == PLAN.walkers
    live = LiveMotion(model, Controls(seed=1))
    sound = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    assert len([*live.push(sound), *live.finish()]) == 13
    again = distil_live(teacher, tmp_path / "data", tmp_path / "on", PLAN, student=model, time_budget_minutes=0.0)
    assert again.step == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"stretches": (2, 4)}, "first stretch is the frame itself"),
        ({"stretches": ()}, "first stretch is the frame itself"),
        ({"stretches": (1, 40)}, "known 17 frames ahead"),
        ({"batch": 9, "walkers": 8}, "drawn from the walkers"),
    ],
)
def test_plans_that_cannot_be_are_refused(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        LivePlan(**wrong)


def test_data_without_a_sound_is_told_in_one_line(teacher, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    held = next(name for name in map(str, range(100)) if is_held_out(name))
    sequence(0, held).save(tmp_path / "data" / "0.npz")
    teacher.save(tmp_path / "w.safetensors")
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path / "w.safetensors"), "--data", str(tmp_path / "data"), "-o", str(tmp_path / "run")])
    assert end.value.code == 1
    assert "no sequence with sound is left" in capsys.readouterr().err
