"""A face is trained, stopped, taken up again and loaded; what cannot be trained is refused in one line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from clay_takes import clay_take

from forge.face.crew import Crew
from forge.face.losses import ahead_of_pivot
from forge.face.machine import Rank
from forge.face.model import FaceModel
from forge.face.objective import teach
from forge.face.recipes import FaceRecipe, LossWeights, RenderNetRecipe, face_tiny, render_net_tiny
from forge.face.reel import Reel, ReelPlan
from forge.face.render_net import RenderNet
from forge.face.run import start, take_up
from forge.face.sampling import picture_grid
from forge.face.stored import load_face, load_render_net, save_render_net
from forge.face.warp import distance_of
from forge.portrait import ForgeError
from forge.studio.footage import Footage, flow_pairs, save_footage
from forge.studio.head import PART
from forge.train_face import RunOptions, learning_rate, one_step, plan_of, train_face
from forge.train_render_net import examine, train_render_net

REPO = Path(__file__).resolve().parents[2]
QUICK = RunOptions(steps=2, minutes=5.0, device="cpu", report_every=1, board=False)


def whole() -> FaceRecipe:
    """The tiny face with every loss switched on."""
    return replace(face_tiny(), weights=LossWeights(), adversarial_from=0.4, batch=2, cross=2, cross_every=1)


@pytest.fixture(scope="module")
def reel() -> Reel:
    return Reel.of_takes([clay_take(person, 6, person + 5) for person in (1, 2)], plan_of(face_tiny()))


@pytest.fixture(scope="module")
def trained(reel: Reel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    save_render_net(RenderNet(render_net_tiny()), out / "reader")
    train_face(whole(), None, out, render_net=out / "reader", options=QUICK, reel=reel)
    return out


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_leaves_weights_state_log_and_sheet(trained: Path) -> None:
    assert (trained / "sheet.png").is_file() and (trained / "state" / "index.json").is_file()
    told = lines(trained)
    assert [line["step"] for line in told] == [1, 2]
    expected = {
        "pixels",
        "flow",
        "seen",
        "motion",
        "pose",
        "shape",
        "consist",
        "cross_identity",
        "reversal",
        "contrast",
        "painted",
    }
    assert expected | {"perceptual", "likeness", "flicker", "canonical", "matte"} <= told[0].keys()
    assert "adversarial" in told[1] and "adversarial" not in told[0]
    model = load_face(trained)
    assert model.shape == face_tiny().shape and not model.training


def test_a_state_goes_on_where_it_stopped(trained: Path, reel: Reel, tmp_path: Path) -> None:
    run = start(whole(), Rank())
    take_up(run, trained, torch.device("cpu"))
    assert run.step == 2 and run.mean.steps == 2 and len(run.optimiser.state) > 50
    train_face(whole(), None, tmp_path, resume=trained, options=replace(QUICK, steps=1, keep_state=False), reel=reel)
    assert [line["step"] for line in lines(tmp_path)] == [3]
    assert not (tmp_path / "state").exists()


def test_weights_alone_begin_a_new_run_and_another_size_takes_what_fits(trained: Path) -> None:
    run = start(whole(), Rank())
    take_up(run, trained / "weights", torch.device("cpu"))
    shipped = load_face(trained)
    assert torch.equal(run.model.decoder.project.weight, shipped.decoder.project.weight) and run.step == 0
    larger = start(replace(whole(), shape=replace(face_tiny().shape, size=128)), Rank())
    take_up(larger, trained / "weights", torch.device("cpu"))
    assert torch.equal(larger.model.decoder.project.weight, shipped.decoder.project.weight)


def test_a_run_ends_at_its_time_budget(reel: Reel, tmp_path: Path) -> None:
    options = RunOptions(minutes=0.0001, device="cpu", report_every=1, board=False, keep_state=False)
    weights = train_face(face_tiny(), None, tmp_path, options=options, reel=reel)
    assert (weights / "index.json").is_file()


def test_a_batch_without_usable_gradients_changes_nothing(reel: Reel) -> None:
    run = start(face_tiny(), Rank())
    with torch.no_grad():
        run.model.decoder.pixels.bias[0] = torch.nan
    before = run.model.decoder.project.weight.clone()
    one_step(run, reel, 0.0, 0, Rank())
    assert torch.equal(before, run.model.decoder.project.weight) and run.unusable == 1


def test_a_few_steps_already_draw_nearer_to_the_truth(reel: Reel, tmp_path: Path) -> None:
    recipe, options = replace(face_tiny(), warmup=2), replace(QUICK, steps=12, keep_state=False)
    told = lines(train_face(recipe, None, tmp_path, options=options, reel=reel).parent)
    for loss in ("total", "painted", "squared", "matte"):
        assert sum(line[loss] for line in told[-3:]) < 0.8 * sum(line[loss] for line in told[:3]), loss


def test_warps_learn_at_their_own_share_of_the_rate(reel: Reel) -> None:
    run = start(replace(face_tiny(), warp_rate=0.0), Rank())
    before = {name: value.detach().clone() for name, value in run.model.named_parameters()}
    one_step(run, reel, 0.0, 0, Rank())
    moved = {name.split(".")[0] for name, value in run.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name.split(".")[0] for name in before} - {"warp"}


def test_every_network_of_the_face_receives_a_gradient(reel: Reel) -> None:
    run = start(whole(), Rank())
    outcome = teach(run.model, run.aids, reel.lessons(2), whole())
    torch.stack(list(outcome.terms.values())).sum().backward()
    idle = {name.split(".")[0] for name, p in run.model.named_parameters() if p.grad is None}
    assert idle == set()


def test_the_learning_rate_rises_holds_and_falls() -> None:
    recipe = replace(face_tiny(), warmup=10, decay_from=0.5)
    rates = [learning_rate(recipe, p, s) for p, s in ((0.0, 0), (0.1, 100), (0.5, 100), (0.75, 100), (1.0, 100))]
    top = recipe.learning_rate
    assert rates[0] == pytest.approx(top / 10) and rates[1] == rates[2] == top
    assert rates[3] == pytest.approx(0.55 * top) and rates[4] == pytest.approx(0.1 * top)


@pytest.mark.parametrize("resume,message", [("nowhere", "no index.json"), ("reader", "nothing to train a face from")])
def test_what_is_no_face_is_not_taken_up(trained: Path, reel: Reel, tmp_path: Path, resume: str, message: str) -> None:
    with pytest.raises(ForgeError, match=message) as caught:
        train_face(whole(), None, tmp_path, resume=trained / resume, options=QUICK, reel=reel)
    assert "\n" not in str(caught.value)


def test_bad_requests_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="recipe must be one of"):
        train_face("face_9000", None, tmp_path)
    with pytest.raises(ForgeError, match="no such folder"):
        train_face("face_tiny", tmp_path / "takes", tmp_path / "out", options=QUICK)
    with pytest.raises(ForgeError, match="above 0"):
        RunOptions(minutes=0.0)
    with pytest.raises(ForgeError, match="rising range"):
        RunOptions(span=(0.6, 0.5))
    if not torch.cuda.is_available():
        with pytest.raises(ForgeError, match="no CUDA device"):
            train_face("face_tiny", None, tmp_path, options=replace(QUICK, device="cuda"))


@pytest.mark.parametrize("kind", ["residual", "separable"])
def test_render_net_learns_what_the_studio_knows(tmp_path: Path, kind: str) -> None:
    recipe: RenderNetRecipe = replace(render_net_tiny(), kind=kind)
    takes = [clay_take(person, 4, scene) for person in (1, 2) for scene in (1, 2)]
    reel = Reel.of_takes(takes, ReelPlan(64, 4, 4, sources=0))
    weights = train_render_net(recipe, tmp_path, reel=reel, size=64, options=replace(QUICK, steps=30))
    told = lines(tmp_path)
    for head in ("parts", "landmarks", "motion"):
        assert told[-1][head] < told[0][head]
    score = examine(load_render_net(weights), reel, batches=1, batch=4)
    assert score.keys() >= {"pose degrees", "blendshape", "parts right", "identity auc"}


def frames_of(take: Footage, frames: slice) -> Footage:
    """Some frames of a take; fields whose axes begin with F are by frame."""
    chosen = {}
    for name, value in vars(take).items():
        if isinstance(value, torch.Tensor) and name.rsplit("_", 1)[-1].startswith("F"):
            chosen[name] = value[frames].clone()
    return replace(take, **chosen)


def decibels(drawn: torch.Tensor, true: torch.Tensor) -> float:
    return float((drawn - true).square().mean().log10() * -10)


@dataclass(frozen=True)
class Overfitted:
    """A face that has learned by heart what a reel teaches of the first six frames of two takes."""

    model: FaceModel
    reel: Reel
    """What it was trained on: the same seed draws the same pairs of frames."""
    takes: tuple[Footage, Footage]
    """Eight frames each."""
    core_seconds: float
    """What the training cost; told, not asserted: a core that is shared counts more of them."""

    def decibels(self, number: int) -> tuple[float, float]:
        """PSNR of a take's lessons, driven by read motion: drawn, and the source shown again."""
        lessons = self.reel.lessons(96)
        mine = lessons.person_B == self.takes[number].identity
        source, target = lessons.source_B3HW[mine].float() / 255, lessons.target_BN3HW[mine].float() / 255
        true = target.flatten(0, 1)
        with torch.no_grad():
            drawn = self.model.draw_all(self.model.see(source), *self.model.read_motion(true)).image_N3HW
        return decibels(drawn, true), decibels(source.repeat_interleave(target.shape[1], 0), true)


LEARNED, FILMED = 6, 8


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Overfitted:
    """Trained for the recipe's steps, whatever else the machine does meanwhile."""
    folder = tmp_path_factory.mktemp("overfitted")
    with Crew(64, seed=5) as crew:
        takes = (crew.shoot(11, FILMED, 1), crew.shoot(23, FILMED, 2))
    (folder / "takes").mkdir()
    for take in takes:
        save_footage(folder / "takes" / f"{take.identity}.footage", frames_of(take, slice(LEARNED)))
    options = RunOptions(minutes=120.0, seed=0, device="cpu", keep_state=False, board=False)
    began = time.process_time()
    weights = train_face("face_tiny", folder / "takes", folder / "run", options=options)
    reel = Reel.of_folder(folder / "takes", plan_of(face_tiny()), seed=options.seed)
    return Overfitted(load_face(weights), reel, takes, time.process_time() - began)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_each_of_two_takes_is_overfitted_to_28_decibels(
    overfitted: Overfitted, number: int, record_property: Callable[[str, object], None]
) -> None:
    reached, copied = overfitted.decibels(number)
    record_property("core_seconds", round(overfitted.core_seconds))
    record_property("decibels", round(reached, 2))
    assert copied < 18.0, "frames so alike that copying would pass"
    assert reached >= 28.0


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_frames_that_were_never_shown_are_warped_and_not_copied(overfitted: Overfitted, number: int) -> None:
    take, model = overfitted.takes[number], overfitted.model
    true = take.image_F3HW.float() / 255
    pairs = [(s, t) for s in range(LEARNED) for t in range(LEARNED, FILMED)]
    source, target = (torch.tensor(column) for column in zip(*pairs, strict=True))
    with torch.no_grad():
        far = distance_of(take.focal_F, 64)
        seen = model.see(true, take.motion_FM[:, :6], take.motion_FM[:, 6:], far)[source]
        moved, distance = take.motion_FM[target], far[target]
        where, _, _ = flow_pairs(take, source, target)
        grid = picture_grid(64, 64)
        ahead = ahead_of_pivot(take.depth_FHW[target], moved[:, :6], distance)
        face = take.parts_FHW[target] == PART["skin"]
        screen = torch.cat([grid.expand(len(pairs), -1, -1, -1), ahead.nan_to_num(posinf=0.0)[..., None]], -1)
        found = model.flow_of(seen, screen, moved[:, :6], moved[:, 6:], distance)[..., :2]
        drawn = model.draw(seen, moved[:, :6], moved[:, 6:], distance)
    off = (found - where).norm(dim=-1)[face].mean()
    still = (grid - where).norm(dim=-1)[face].mean()
    assert off < still / 10
    person = (take.parts_FHW[target] != PART["background"])[:, None].expand_as(drawn)
    assert decibels(drawn[person], true[target][person]) > decibels(true[source][person], true[target][person]) + 1.0


TOGETHER = """
import sys
sys.path.insert(0, "tests/forge")
import torch
import torch.distributed as dist
from clay_takes import clay_take
from forge.face.machine import joined_processes, same_start
from forge.face.recipes import face_tiny
from forge.face.reel import Reel
from forge.face.run import start
from forge.train_face import one_step, plan_of

with joined_processes("cpu") as rank:
    torch.manual_seed(rank.number)
    run = start(face_tiny(), rank)
    same_start([run.model, run.aids.probe, run.aids.critic], rank)
    reel = Reel.of_takes([clay_take(rank.number, 6, rank.number)], plan_of(face_tiny()), seed=rank.number)
    before = torch.cat([p.detach().reshape(-1).clone() for p in run.model.parameters()])
    norms = [one_step(run, reel, 0.1, 100, rank)[1] for _ in range(2)]
    after = torch.cat([p.detach().reshape(-1) for p in run.model.parameters()])
    assert rank.count == 2 and not torch.equal(before, after)
    everywhere = [torch.zeros_like(after) for _ in range(2)]
    dist.all_gather(everywhere, after.clone())
    assert torch.equal(*everywhere)
    print("equal", flush=True)
"""


def torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    return subprocess.run(command, capture_output=True, text=True, cwd=REPO, env=environment, check=False)


@pytest.mark.slow
def test_two_processes_with_different_people_keep_the_same_weights(tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    done = torchrun([str(script)])
    assert done.stdout.split() == ["equal", "equal"], done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_train_and_one_of_them_writes(tmp_path: Path) -> None:
    for person in (1, 2):
        save_footage(tmp_path / f"{person}.footage", clay_take(person, 6, person))
    arguments = ["-m", "forge.train_face", "face_tiny", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    done = torchrun([*arguments, "--steps", "3", "--device", "cpu", "--time-budget-minutes", "3"])
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(lines(tmp_path / "run")) == 1 and load_face(tmp_path / "run" / "weights").shape.size == 64
