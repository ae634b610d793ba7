from dataclasses import replace

import numpy as np
import pytest
import torch

from forge.distil_motion import TEACHER_STEPS, Distillation, Distiller, aim_between, distil, main, way_of
from forge.motion.denoiser import MotionDenoiser
from forge.motion.diffusion import guided, sample, sample_times, stepped
from forge.motion.features import NAMES
from forge.motion.listening import AUDIO_FEATURES
from forge.motion.sequences import MotionSequence
from forge.motion.windows import MotionModel
from forge.train_motion import draw_batch, is_held_out, motion_tiny

TAUGHT = next(name for name in map(str, range(100)) if not is_held_out(name))


def talk(seed: int) -> MotionSequence:
    random = np.random.default_rng(seed)
    motion = random.random((60, len(NAMES))).astype(np.float32)
    audio = random.standard_normal((60, AUDIO_FEATURES)).astype(np.float32)
    return MotionSequence(f"s{seed}", "spoken", TAUGHT, "xx", "none", motion, audio, {})


@pytest.fixture(scope="module")
def teacher() -> MotionModel:
    torch.manual_seed(0)
    network = MotionDenoiser(motion_tiny().shape).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.12)
    return MotionModel(network, torch.zeros(len(NAMES)), torch.ones(len(NAMES)))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for seed in range(4):
        talk(seed).save(folder / f"{seed}.npz")
    return folder


def test_the_aim_leads_where_the_teacher_went():
    here, there = torch.randn((2, 3, 5)), torch.randn((2, 3, 5))
    for now, after in ((0.995, 0.4975), (0.4975, 0.0)):
        assert torch.allclose(stepped(here, aim_between(here, there, now, after), now, after), there, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_perfect_student_ends_where_the_guided_teacher_ends(teacher, steps):
    batch = draw_batch([talk(1)], teacher, replace(motion_tiny(), batch=2), np.random.default_rng(0))
    noise, guidance = torch.randn(batch.motion_BTM.shape), {"audio": 0.5}
    way = way_of(teacher, noise, batch.conditions, steps, guidance)

    def asked(x, time):
        return guided(lambda gone: teacher.clean(x, time, batch.conditions.without(gone)), guidance, {"audio"})

    with torch.no_grad():
        end = sample(asked, noise, TEACHER_STEPS)
    aims = iter(way.aims_KBTM)
    assert torch.allclose(sample(lambda x, time: next(aims), noise, steps), end, atol=1e-3)
    assert len(sample_times(steps)) == steps == len(way.places_KBTM)


def test_distilling_brings_the_student_nearer_to_its_teacher(tmp_path, teacher, data):
    plan = Distillation(steps=1, batch=8, uses=20, learning_rate=2e-3, ema=0.9)
    distiller = Distiller(teacher, data, plan, seed=0)
    distiller.draw()
    before = np.mean([distiller.learn(0.0) for _ in range(3)])
    for _ in range(6):
        distiller.draw()
        for _ in range(30):
            after = distiller.learn(0.5)
    assert after < 0.6 * before
    model = distiller.averaged()
    model.save(tmp_path / "live.safetensors")
    back = MotionModel.load(tmp_path / "live.safetensors")
    assert back.folded_steps == 1 and back.steps == 1 and back.guidance == {}
    assert teacher.folded_steps == 0 and teacher.steps == 10 and teacher.guidance["audio"] == 0.5


def test_time_ends_a_distillation_and_weights_are_left(tmp_path, teacher, data):
    distil(teacher, data, tmp_path / "run", Distillation(batch=2, uses=1), time_budget_minutes=0.0)
    assert MotionModel.load(tmp_path / "run" / "motion_distilled.safetensors").folded_steps == 2


def test_steps_that_are_not_on_the_way_are_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match="must divide 12"):
        Distillation(steps=5)
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "none.safetensors"), "--data", str(tmp_path), "-o", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert stop.value.code == 1 and said.count("\n") == 1 and "holds no weights" in said
