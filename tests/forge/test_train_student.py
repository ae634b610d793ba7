"""From takes to weights: pairs, batches, losses, a short training that goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clay_takes import clay_take
from numpy.typing import NDArray

from forge.face.student import Layers, compose
from forge.face.student_feed import ORDER, SIGN, Feed, arrays_of, mirrored, plain_batch
from forge.face.student_files import load_student
from forge.face.student_losses import all_losses, flow_loss, layer_loss
from forge.face.student_pairs import Pair, pairs_of, read_pairs, save_pairs
from forge.face.student_recipes import StudentLosses, face_cpu_tiny
from forge.face.train_student import rate, resume, start, teach, train
from forge.portrait import ForgeError
from forge.studio.footage import Footage
from forge.studio.head import load_head
from media.landmarks import BLENDSHAPE_NAMES, FaceObservation

UInt8Array = NDArray[np.uint8]


class Knowing:
    """A finder that knows where the faces of a take are."""

    def __init__(self, footage: Footage) -> None:
        head = load_head()
        images = footage.image_F3HW.permute(0, 2, 3, 1).contiguous().numpy()
        points = head.landmarks(footage.screen_FV3)
        middle = points[..., 2].mean(1, keepdim=True)
        depth = (points[..., 2] - middle) * (footage.focal_F[:, None] / middle)
        landmarks = torch.cat([points[..., :2] - 0.5, depth[..., None]], -1).numpy().astype(np.float32)
        self._faces = {image.tobytes(): points for image, points in zip(images, landmarks, strict=True)}

    def find(self, image: UInt8Array) -> list[FaceObservation]:
        points = self._faces[image.tobytes()]
        box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
        shapes = np.full(len(BLENDSHAPE_NAMES), 0.1, np.float32)
        return [FaceObservation(box, points, shapes, np.eye(4, dtype=np.float32), 1.0)]


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    take = clay_take(3, 4, 1)
    return pairs_of(take, Knowing(take), 2, 2, np.random.default_rng(0))


def test_a_take_gives_pairs_of_different_frames(pairs: list[Pair]) -> None:
    assert 2 <= len(pairs) <= 4
    for pair in pairs:
        assert pair.source != pair.target
        assert pair.picture("drawn").shape == (64, 64, 3)
        assert pair.flow.shape == (16, 16, 2)
        assert pair.maps.shape == (32, 32, 4)
        assert 0.1 < pair.seen.mean() <= 1


def test_the_true_flow_of_a_pair_fetches_the_target_from_the_source(pairs: list[Pair]) -> None:
    from forge.face.student import sample

    for pair in pairs:
        guess, truth = plain_batch([pair])
        small = torch.nn.functional.avg_pool2d
        fetched = sample(small(guess.source_B3HW, 4), truth.flow_B2qq)
        seen = truth.seen_B1qq * (1 - truth.behind_B1qq)
        wrong = ((fetched - small(truth.target_B3HW, 4)).abs() * seen).sum() / seen.sum() / 3
        still = ((small(guess.source_B3HW - truth.target_B3HW, 4)).abs() * seen).sum() / seen.sum() / 3
        assert wrong < still


def test_pairs_survive_the_disk_and_damage_is_refused(pairs: list[Pair], tmp_path: Path) -> None:
    path = tmp_path / "a.pairs.npz"
    save_pairs(path, pairs)
    again = read_pairs(path)
    assert [p.target for p in again] == [p.target for p in pairs]
    assert np.array_equal(again[0].told, pairs[0].told)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ForgeError, match="not a readable file of pairs"):
        read_pairs(path)
    save_pairs(path, [])
    assert read_pairs(path) == []


def test_a_mirror_twice_shows_the_pair_itself(pairs: list[Pair]) -> None:
    arrays = arrays_of(pairs[0])
    again = mirrored(mirrored(arrays))
    for name, value in arrays.items():
        assert np.array_equal(again[name], value), name


def test_a_mirror_turns_the_head_to_the_other_side_and_swaps_left_and_right() -> None:
    from forge.motion.features import INDEX

    assert SIGN[INDEX["yaw"]] == SIGN[INDEX["roll"]] == SIGN[INDEX["shift_x"]] == -1
    assert SIGN[INDEX["pitch"]] == 1
    assert ORDER[INDEX["eyeBlinkLeft"]] == INDEX["eyeBlinkRight"]
    assert ORDER[INDEX["jawLeft"]] == INDEX["jawRight"]
    assert ORDER[INDEX["jawOpen"]] == INDEX["jawOpen"]


def test_a_batch_has_the_shapes_that_were_asked_for(pairs: list[Pair]) -> None:
    guess, truth = Feed(pairs, 3, seed=0).batch(crop=32)
    assert guess.drawn_B3HW.shape == truth.target_B3HW.shape == (3, 3, 32, 32)
    assert guess.maps_BPhw.shape == (3, 4, 16, 16)
    assert truth.flow_B2qq.shape == guess.flow_B2hw.shape == (3, 2, 8, 8)
    assert float(guess.drawn_B3HW.min()) >= 0 and float(guess.drawn_B3HW.max()) <= 1


def test_the_same_seed_gives_the_same_batches(pairs: list[Pair]) -> None:
    one, other = (Feed(pairs, 2, seed=5).batch(crop=32)[0] for _ in range(2))
    assert torch.equal(one.drawn_B3HW, other.drawn_B3HW)


def test_a_right_answer_costs_less_than_a_wrong_one(pairs: list[Pair]) -> None:
    guess, truth = plain_batch(pairs[:2])
    run = start(face_cpu_tiny())
    seen = run.student.see(guess.source_B3HW, guess.own_BPhw)
    layers = run.student(seen.kept_BChw, guess)
    right = all_losses(truth.target_B3HW, layers, seen, guess, truth, StudentLosses())
    wrong = all_losses(guess.source_B3HW, layers, seen, guess, truth, StudentLosses())
    for name in ("pixels", "structure", "detail"):
        assert right[name] < 0.2 * wrong[name]


def test_flow_and_layer_losses_fall_when_the_answer_is_the_truth(pairs: list[Pair]) -> None:
    guess, truth = plain_batch(pairs[:1])
    behind = torch.nn.functional.interpolate(truth.behind_B1qq * truth.seen_B1qq, scale_factor=4.0)
    nothing = torch.zeros_like(behind)
    right = Layers(torch.cat([1 - behind, nothing, behind, nothing], 1), guess.source_B3HW, torch.zeros(1, 2, 32, 32))
    wrong = Layers(torch.cat([behind, nothing, 1 - behind, nothing], 1), guess.source_B3HW, torch.zeros(1, 2, 32, 32))
    assert layer_loss(right, truth) < layer_loss(wrong, truth)
    told = replace(guess, flow_B2hw=truth.flow_B2qq)
    assert flow_loss(right, told, truth) < flow_loss(right, guess, truth)


def test_the_learning_rate_warms_up_and_falls() -> None:
    recipe = replace(face_cpu_tiny(), warm_up=10, learning_rate=1.0)
    assert rate(recipe, 0, 0.0) == pytest.approx(0.1)
    assert rate(recipe, 50, 0.0) == pytest.approx(1.0)
    assert rate(recipe, 50, 1.0) == pytest.approx(recipe.final_rate)


def test_a_few_steps_on_one_batch_lower_the_loss(pairs: list[Pair]) -> None:
    run = start(replace(face_cpu_tiny(), learning_rate=3e-3))
    for group in run.optimiser.param_groups:
        group["lr"] = 3e-3
    guess, truth = plain_batch(pairs[:2])
    losses = [sum(teach(run, guess, truth).values()) for _ in range(25)]
    assert losses[-1] < 0.95 * losses[0]


def test_a_run_leaves_weights_that_load_and_goes_on_from_its_state(pairs: list[Pair], tmp_path: Path) -> None:
    save_pairs(tmp_path / "pairs" / "a.pairs.npz", pairs) if (tmp_path / "pairs").mkdir() is None else None
    recipe, out = face_cpu_tiny(), tmp_path / "run"
    first = train(recipe, tmp_path / "pairs", tmp_path / "pairs", out, minutes=0.02)
    student, facts = load_student(out / "student.safetensors")
    assert facts["steps"] == first.step > 0
    guess, _ = plain_batch(pairs[:1])
    layers = student(student.see(guess.source_B3HW, guess.own_BPhw).kept_BChw, guess)
    assert torch.isfinite(compose(guess.drawn_B3HW, guess.worn_B3HW, guess.source_B3HW, layers)).all()
    again = train(
        recipe, tmp_path / "pairs", None, out, minutes=first.minutes + 0.01, run=resume(out / "state.pt", recipe)
    )
    assert again.step > first.step
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == first.step and "psnr_student" in lines[0]
    assert (out / "sheet.jpg").is_file()


def test_training_without_pairs_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="no pairs"):
        train(face_cpu_tiny(), tmp_path, None, tmp_path / "run", minutes=1.0)


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no weights")
    with pytest.raises(ForgeError, match="no weights of the student"):
        load_student(tmp_path / "x.safetensors")
