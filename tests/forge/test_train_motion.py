import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from forge.motion.controls import Controls
from forge.motion.denoiser import MotionDenoiser
from forge.motion.diffusion import frame_noise
from forge.motion.features import INDEX, NAMES
from forge.motion.listening import AUDIO_FEATURES
from forge.motion.sequences import MotionSequence, at_tempo, relaxed, smoothed, wishes_of
from forge.motion.windows import MotionModel, draw_windows, motion_by_diffusion, obeyed
from forge.train_motion import (
    Trainer,
    _window,
    in_a_mirror,
    is_held_out,
    main,
    motion_tiny,
    read_sequences,
    scale_of,
    train_motion,
)
from media.clip import Waveform

TAUGHT = next(name for name in map(str, range(100)) if not is_held_out(name))
HELD = next(name for name in map(str, range(100)) if is_held_out(name))


def talk(seed: int, speaker: str, length: int = 80, source: str = "spoken") -> MotionSequence:
    """A jaw that follows the loudness of the sound; everything else rests."""
    random = np.random.default_rng(seed)
    loud = np.clip(np.convolve(random.random(length), np.ones(4) / 4, "same"), 0, 1).astype(np.float32)
    motion = np.zeros((length, len(NAMES)), np.float32)
    motion[:, INDEX["jawOpen"]] = loud
    motion[:, INDEX["yaw"]] = 3.0 * np.sin(np.arange(length) / 9 + seed)
    audio = np.repeat(loud[:, None] * 2 - 1, AUDIO_FEATURES, axis=1)
    return MotionSequence(f"s{seed}", source, speaker, "xx", "none", motion, audio, {})


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for seed in range(6):
        talk(seed, TAUGHT).save(data / f"a{seed}.npz")
    talk(9, HELD).save(data / "b.npz")
    return data


def test_a_sequence_survives_the_disk_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "x.npz"
    talk(1, "p").save(path)
    back = MotionSequence.load(path)
    assert np.allclose(back.motion_TM, talk(1, "p").motion_TM, atol=2e-3) and back.emotion == {} and back.speaker == "p"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"x\.npz"):
        MotionSequence.load(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"motion_TM": np.zeros((5, 3), np.float32)},
        {"audio_TA": np.zeros((3, AUDIO_FEATURES), np.float32)},
        {"source": "dreamt"},
        {"emotion": {"bored": 1.0}},
    ],
)
def test_a_sequence_refuses_what_does_not_belong_together(wrong):
    with pytest.raises(ValueError):
        replace(talk(1, "p"), **wrong)


def test_smoothing_takes_jitter_from_the_head_and_leaves_a_blink_and_a_closure():
    random = np.random.default_rng(0)
    motion = np.zeros((60, len(NAMES)), np.float32)
    motion[:, INDEX["yaw"]] = random.normal(0, 1, 60)
    motion[30:33, INDEX["eyeBlinkLeft"]] = 1.0
    motion[:, INDEX["jawOpen"]] = 0.4
    motion[40:42, INDEX["jawOpen"]] = 0.0
    out = smoothed(motion)
    assert np.abs(np.diff(out[:, INDEX["yaw"]])).mean() < 0.5 * np.abs(np.diff(motion[:, INDEX["yaw"]])).mean()
    assert np.array_equal(out[:, INDEX["eyeBlinkLeft"]], motion[:, INDEX["eyeBlinkLeft"]])
    assert np.array_equal(out[:, INDEX["jawOpen"]], motion[:, INDEX["jawOpen"]])


def test_a_relaxed_face_rests_at_zero_and_closes_its_eyes():
    motion = np.zeros((100, len(NAMES)), np.float32)
    motion[:, INDEX["browInnerUp"]] = 0.4
    motion[50, INDEX["browInnerUp"]] = 0.7
    for lid in ("eyeBlinkLeft", "eyeBlinkRight"):
        motion[:, INDEX[lid]] = 0.1
        motion[30:33, INDEX[lid]] = (0.4, 0.55, 0.4)
    motion[:, INDEX["yaw"]] = 5.0
    out = relaxed(motion)
    assert np.allclose(out[:30, INDEX["browInnerUp"]], 0) and out[50, INDEX["browInnerUp"]] == pytest.approx(0.3)
    assert out[:, INDEX["eyeBlinkLeft"]].max() == pytest.approx(1.0) and out[60, INDEX["eyeBlinkLeft"]] == 0
    assert np.array_equal(out[:, INDEX["yaw"]], motion[:, INDEX["yaw"]])


def test_a_quicker_tempo_shortens_and_keeps_the_order():
    curve = np.arange(100, dtype=np.float32)[:, None]
    assert len(at_tempo(curve, 1.25)) == 80 and np.allclose(at_tempo(curve, 1.25)[:, 0], np.arange(80) * 1.25)
    assert at_tempo(curve, 1.0) is curve


def test_a_mirror_exchanges_left_and_right_twice_is_once():
    sequence = talk(3, "p")
    sequence.motion_TM[:, INDEX["eyeBlinkLeft"]] = 0.7
    sequence.motion_TM[:, INDEX["mouthLeft"]] = 0.2
    row = _window(sequence, 20, motion_tiny().shape)
    seen = in_a_mirror(row)
    assert np.allclose(seen[0][:, INDEX["eyeBlinkRight"]], 0.7) and not seen[0][:, INDEX["eyeBlinkLeft"]].any()
    assert np.allclose(seen[0][:, INDEX["mouthRight"]], 0.2)
    assert np.allclose(seen[0][:, INDEX["yaw"]], -row[0][:, INDEX["yaw"]]) and np.allclose(seen[7][0], -row[7][0])
    again = in_a_mirror(seen)
    assert all(np.array_equal(a, b) for a, b in zip(row, again, strict=True))


def test_wishes_belong_to_a_name():
    assert wishes_of("a.wav") == wishes_of("a.wav") != wishes_of("b.wav")


def test_training_learns_that_the_jaw_follows_the_sound(tmp_path, folder):
    recipe = replace(motion_tiny(), steps=250, learning_rate=4e-3)
    trainer = train_motion(recipe, folder, tmp_path / "run")
    model = MotionModel.load(tmp_path / "run" / "motion.safetensors")
    fresh = MotionModel(MotionDenoiser(recipe.shape), model.mean_M, model.deviation_M)
    trained_loss, fresh_running = trainer.score(), trainer.running
    trainer.running = fresh.network.state_dict()
    assert trained_loss < 0.8 * trainer.score()
    trainer.running = fresh_running
    # the sound alone tells the jaw: two drives with the same noise differ where their sounds do
    audio = np.full((12, AUDIO_FEATURES), -1.0, np.float32)
    audio[6:] = 1.0
    jaw = np.mean(
        [draw_windows(model, audio, Controls(seed=s), steps=5, guidance={})[:, INDEX["jawOpen"]] for s in range(4)], 0
    )
    assert jaw[8:].mean() > jaw[:4].mean() + 0.2


def test_a_run_goes_on_where_it_stopped_and_logs_in_lines(tmp_path, folder):
    recipe = replace(motion_tiny(), steps=100)
    first = train_motion(recipe, folder, tmp_path / "run")
    assert first.step == 100
    again = train_motion(replace(recipe, steps=200), folder, tmp_path / "run", resume=tmp_path / "run")
    assert again.step == 200
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [100, 200]


def test_time_ends_a_run(tmp_path, folder):
    trainer = train_motion(motion_tiny(), folder, tmp_path / "run", time_budget_minutes=0.0)
    assert trainer.step == 0 and (tmp_path / "run" / "motion.safetensors").is_file()


def test_bad_input_is_one_line_and_an_exit(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(["motion_tiny", "--data", str(tmp_path / "empty"), "-o", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert stop.value.code == 1 and said.count("\n") == 1 and "holds no motion sequences" in said


def test_held_out_speakers_do_not_train(folder):
    trainer = Trainer(motion_tiny(), read_sequences(folder), 0)
    assert {s.speaker for s in trainer.held} == {HELD} and {s.speaker for s in trainer.taught} == {TAUGHT}


def test_the_scale_weighs_both_sources_as_they_are_drawn():
    quiet = replace(talk(0, "a"), motion_TM=np.zeros((80, len(NAMES)), np.float32))
    one = np.ones((800, len(NAMES)), np.float32)
    loud = replace(talk(0, "b"), source="tracked", motion_TM=one, audio_TA=None)
    mean, _ = scale_of([quiet, loud], tracked_share=0.25)
    assert mean[INDEX["jawOpen"]] == 0.25 and mean[INDEX["yaw"]] == 0.25
    # what is asked for is not the network's: the size of the head and where the eyes point
    assert mean[INDEX["log_scale"]] == 0.0 and mean[INDEX["gaze_yaw"]] == 0.0


def test_a_wish_is_obeyed_whatever_the_network_draws():
    controls = Controls(gaze_yaw_degrees=15.0, distance=1.5, seed=3)
    model = replace(random_model(), deviation_M=torch.full((len(NAMES),), 0.01))
    there = motion_by_diffusion(replace(model, network=deaf(model)), speech(1.0), controls=controls, steps=2)
    plain = motion_by_diffusion(replace(model, network=deaf(model)), speech(1.0), controls=Controls(seed=3), steps=2)
    assert np.allclose(there["log_scale"] - plain["log_scale"], -np.log(1.5), atol=1e-4)
    assert np.allclose(there["gaze_yaw"] - plain["gaze_yaw"], 0.5, atol=1e-3)


def deaf(model: MotionModel) -> MotionDenoiser:
    """The same network, blind to gaze and distance."""
    network = MotionDenoiser(model.network.shape).eval()
    network.load_state_dict(model.network.state_dict())
    for layer in (network.from_gaze, network.from_distance):
        torch.nn.init.zeros_(layer.weight)
    return network


def random_model() -> MotionModel:
    torch.manual_seed(0)
    network = MotionDenoiser(motion_tiny().shape).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return MotionModel(network, torch.zeros(len(NAMES)), torch.full((len(NAMES),), 0.1))


def speech(seconds: float) -> Waveform:
    time = np.arange(int(seconds * 16_000)) / 16_000
    return Waveform((0.3 * np.sin(2 * np.pi * 150 * time) * np.sin(9 * time))[:, None].astype(np.float32), 16_000)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(50)])
def test_motion_lasts_as_long_as_the_speech_at_any_rate(fps):
    motion = motion_by_diffusion(random_model(), speech(1.7), fps, steps=2)
    assert motion.length == round(1.7 * fps) and motion.fps == fps
    assert motion.blendshapes.min() >= 0 and motion.blendshapes.max() <= 1


def test_the_same_seed_gives_the_same_motion_and_another_seed_another():
    model = random_model()
    one, two, other = (motion_by_diffusion(model, speech(1.0), controls=Controls(seed=s), steps=2) for s in (1, 1, 2))
    assert np.array_equal(one.values, two.values) and not np.allclose(one.values, other.values)


def test_a_longer_speech_begins_like_a_shorter_one():
    model = random_model()
    whole = motion_by_diffusion(model, speech(2.4), steps=2).values
    # one window is 12 frames: the first two are the same, later sound cannot reach them
    assert np.allclose(whole[:24], motion_by_diffusion(model, speech(1.44), steps=2).values[:24], atol=1e-4)


def test_a_frozen_head_stays_and_no_blinks_means_none():
    controls = Controls(head_motion=0.0, blink_rate=0.0, distance=2.0)
    motion = motion_by_diffusion(random_model(), speech(1.0), controls=controls, steps=2)
    assert np.allclose(motion.pose[:, :5], 0) and np.allclose(motion["log_scale"], -np.log(2), atol=1e-6)
    assert motion["eyeBlinkLeft"].std() < 0.05


def test_blinks_come_as_often_as_asked_and_a_longer_talk_keeps_them():
    still = np.zeros((3000, len(NAMES)), np.float32)
    few, many = (obeyed(still, Controls(seed=4, blink_rate=rate))[:, INDEX["eyeBlinkLeft"]] for rate in (0.5, 2.0))

    def count(lid):
        return int(((lid[1:] > 0.5) & (lid[:-1] <= 0.5)).sum())

    assert 15 <= count(few) <= 45 and 75 <= count(many) <= 160
    part = obeyed(still[:40], Controls(seed=4, blink_rate=2.0), first=1480)[:, INDEX["eyeBlinkLeft"]]
    assert np.array_equal(part, many[1480:1520])
    assert not obeyed(still, Controls(blink_rate=0.0))[:, INDEX["eyeBlinkLeft"]].any()


def test_weights_of_something_else_are_refused_in_one_line(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"w\.safetensors: holds no weights of a motion network") as problem:
        MotionModel.load(path)
    assert "\n" not in str(problem.value)


def test_noise_of_a_window_is_that_of_its_frames():
    assert torch.equal(frame_noise(5, 50, 50), frame_noise(5, 0, 100)[50:])
