"""Train the face: rendered people -> lessons -> losses -> weights that ship. Read it top to bottom.

    countermark forge train face_256 --out runs/face_256 --time-budget-minutes 16
    countermark forge train face_256 --data takes/ --out runs/mine --resume runs/face_256
    torchrun --nproc-per-node 4 -m forge.train_face face_256 --out runs/four

What a run leaves in `--out`:
    weights/      running mean of the weights, half precision, shards of at most 15 MiB: what ships; `--resume` takes it
    state/        everything to go on from as if nothing had happened (float32, optimisers); left out on request
    log.jsonl     one line a report: step, seconds, pictures a second, every loss, PSNR
    sheet.png     source | target | drawn | matte, then a stranger's motion; remade every few minutes
    tensorboard/  the same numbers, where tensorboard is installed

Without `--data` people are made and filmed while the face learns. A run ends at its time budget, at its last step or on
Ctrl-C, always with a checkpoint. Axes as in `forge.face.objective`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from forge.face.crew import Crew
from forge.face.losses import psnr
from forge.face.machine import (
    Rank,
    agreed,
    average_gradients,
    compile_parts,
    half_precision,
    joined_processes,
    same_start,
)
from forge.face.objective import Outcome, critic_loss, teach
from forge.face.recipes import FACE_RECIPES, FaceRecipe, face_recipe_named
from forge.face.reel import Reel, ReelPlan
from forge.face.run import Run, resumed_mean, save, start, take_up
from forge.face.sheet import draw_sheet
from forge.portrait import ForgeError

log = logging.getLogger(__name__)
PATIENCE = 20
"""Steps in a row with gradients that are no numbers, until the run goes back to its running mean."""
RETREATS = 3
"""How often it may."""
FIRST_TAKES = 8
"""Takes on the reel before the first step; the rest arrive while training."""


@dataclass(frozen=True)
class RunOptions:
    """What a run depends on besides its recipe and data."""

    minutes: float | None = None
    """Time budget; the recipe's by default."""
    steps: int | None = None
    seed: int = 0
    device: str | None = None
    compile: bool | None = None
    """By default on CUDA only."""
    keep_state: bool = True
    state: Path | None = None
    """Where the state goes; by default `state` beside the weights."""
    checkpoint_minutes: float = 3.0
    sheet_minutes: float = 2.0
    report_every: int = 20
    people: str = "rendered"
    photo_folder: Path | None = None
    """Prepared photo people, for `people` photo or mix."""
    workers: int = 0
    """Processes that make people ahead; use most cores of the machine."""
    board: bool = True
    """Write for TensorBoard, where it is installed."""
    span: tuple[float, float] = (0.0, 1.0)
    """Part of the learning-rate schedule that this run covers, for a training in several sittings."""

    def __post_init__(self) -> None:
        """Refuse budgets that cannot be kept."""
        if (self.minutes is not None and not self.minutes > 0) or (self.steps is not None and self.steps < 1):
            raise ForgeError(f"time budget and steps must be above 0, got {self.minutes} minutes, {self.steps} steps")
        if not 0 <= self.span[0] < self.span[1] <= 1:
            raise ForgeError(f"span must be a rising range within 0 to 1, got {self.span}")
        if self.report_every < 1 or self.workers < 0:
            raise ForgeError(f"report_every must be at least 1 and workers at least 0, got {self}")

    def state_folder(self, out: Path) -> Path | None:
        """Where the state goes; None when it is not kept."""
        return (self.state or out / "state") if self.keep_state else None


def train_face(
    recipe: FaceRecipe | str,
    data: Path | None,
    out: Path,
    *,
    resume: Path | None = None,
    render_net: Path | None = None,
    options: RunOptions | None = None,
    reel: Reel | None = None,
) -> Path:
    """Train a face model.

    Args:
        recipe: or its name.
        data: folder of takes (`.footage`); None films people on the fly.
        out: folder of the run.
        resume: a run's folder, its `state` or its `weights`, or shipped weights; another size is taken where it fits.
        render_net: weights of RenderNet A; without them the perceptual and identity losses are left out.
        options: time, device and the like.
        reel: takes already in memory, instead of `data`.

    Returns:
        The folder of the weights.

    Raises:
        ForgeError: when data, weights or machine do not allow it; the message is one line.
    """
    recipe = _recipe(recipe)
    options = options or RunOptions()
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        rank = stack.enter_context(joined_processes(options.device))
        torch.manual_seed(options.seed + 1000 * rank.number)
        run = start(recipe, rank, render_net)
        if resume is not None:
            take_up(run, resume, rank.device)
        same_start([run.model, run.aids.probe, run.aids.critic], rank)
        run.mean = resumed_mean(run)
        reel = reel or stack.enter_context(_reel(recipe, data, options, rank))
        report = stack.enter_context(reporter(out, board=options.board)) if rank.first else _unheard
        try:
            _learn(run, reel, out, options, rank, report)
        except KeyboardInterrupt:
            log.info("stopped by hand at step %d", run.step)
        if rank.first:
            save(run, out, state=options.state_folder(out))
            _sheet(run, reel, out)
    return out / "weights"


def _recipe(recipe: FaceRecipe | str) -> FaceRecipe:
    """A recipe by name or as it is."""
    if isinstance(recipe, FaceRecipe):
        return recipe
    try:
        return face_recipe_named(recipe)
    except ValueError as error:
        raise ForgeError(str(error)) from error


def _learn(
    run: Run, reel: Reel, out: Path, options: RunOptions, rank: Rank, report: Callable[[dict[str, Any]], None]
) -> None:
    """Steps until time or steps are used up."""
    reel.fill(min(FIRST_TAKES, reel.plan.kept))
    _compile_if_wanted(run, reel, options, rank, report)
    began = marked = saved = drawn = time.monotonic()
    budget = 60.0 * (options.minutes if options.minutes is not None else run.recipe.minutes)
    first_step = told = run.step
    last_step = first_step + (options.steps if options.steps is not None else run.recipe.max_steps)
    debt = 0.0
    while run.step < last_step:
        share = max((time.monotonic() - began) / budget, (run.step - first_step) / (last_step - first_step))
        share = agreed(share, rank)
        if share >= 1:
            break
        progress = options.span[0] + share * (options.span[1] - options.span[0])
        outcome, norm = one_step(run, reel, progress, run.step - first_step, rank)
        debt += 1.0 / run.recipe.batches_per_take
        if reel.filled < reel.plan.kept or debt >= 4:
            reel.renew() if reel.renewable else None
            debt = 0.0
        now = time.monotonic()
        if run.step % options.report_every == 0 or run.step == first_step + 1:
            frames = (run.step - told) * run.recipe.batch * run.recipe.targets * rank.count
            report(
                _line(run, outcome, norm, progress, frames / max(now - marked, 1e-9), reel) | {"seconds": now - began}
            )
            marked, told = now, run.step
        if rank.first and now - drawn > 60 * options.sheet_minutes:
            _sheet(run, reel, out)
            drawn = time.monotonic()
        if rank.first and now - saved > 60 * options.checkpoint_minutes:
            save(run, out, state=options.state_folder(out))
            saved = time.monotonic()
    run.trained_seconds += time.monotonic() - began


def one_step(run: Run, reel: Reel, progress: float, since_start: int, rank: Rank) -> tuple[Outcome, float]:
    """One batch: losses, gradients, weights; a batch whose gradients are no numbers is passed over."""
    recipe, device = run.recipe, rank.device
    rate = learning_rate(recipe, progress, since_start) * run.rate_scale
    adversarial = progress >= recipe.adversarial_from and recipe.adversarial_from < 1
    lessons = reel.lessons(recipe.batch, crossed=recipe.fraction_cross)
    with half_precision(device):
        cross = run.step % recipe.cross_every == 0
        outcome = teach(run.model, run.aids, lessons, recipe, adversarial=adversarial, cross=cross)
        total = torch.stack([term.float() for term in outcome.terms.values()]).sum()
    run.optimiser.zero_grad(set_to_none=True)
    total.backward()
    average_gradients(run.parameters, rank)
    norm = float(torch.nn.utils.clip_grad_norm_(run.parameters, recipe.clip))
    if math.isfinite(norm):
        _move(run.optimiser, rate)
        run.mean.follow(run.model)
        run.unusable = 0
    else:
        _pass_over(run)
    if adversarial:
        with half_precision(device):
            loss = critic_loss(run.aids.critic, outcome)
        run.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(list(run.aids.critic.parameters()), rank)
        norm_critic = torch.nn.utils.clip_grad_norm_(run.aids.critic.parameters(), recipe.clip)
        if bool(norm_critic.isfinite()):
            _move(run.critic_optimiser, rate)
    run.step += 1
    return outcome, norm


def learning_rate(recipe: FaceRecipe, progress: float, since_start: int) -> float:
    """Rising over the first steps, flat, then falling as a cosine to a tenth."""
    rise = min(1.0, (since_start + 1) / recipe.warmup)
    if progress <= recipe.decay_from or recipe.decay_from >= 1:
        return recipe.learning_rate * rise
    through = (progress - recipe.decay_from) / (1 - recipe.decay_from)
    return recipe.learning_rate * rise * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, through))))


def _move(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """One step of an optimiser at a rate, or at the share of it that a group of parameters gets."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
    optimiser.step()


def _pass_over(run: Run) -> None:
    """Count a useless batch; after too many go back to the running mean at half the rate."""
    run.unusable += 1
    if run.unusable < PATIENCE:
        return
    run.unusable, run.retreats = 0, run.retreats + 1
    if run.retreats > RETREATS:
        raise ForgeError(f"gradients are no numbers since step {run.step - PATIENCE}; lower the recipe's learning_rate")
    log.warning("step %d: back to the running mean, at half the rate", run.step)
    with torch.no_grad():
        for name, parameter in run.model.named_parameters():
            parameter.copy_(run.mean.values[name])
    run.optimiser.state.clear()
    run.rate_scale /= 2


def _compile_if_wanted(
    run: Run, reel: Reel, options: RunOptions, rank: Rank, report: Callable[[dict[str, Any]], None]
) -> None:
    """Compile on CUDA, and say when that did not work."""
    wanted = options.compile if options.compile is not None else rank.device.type == "cuda"
    if not wanted:
        return
    began = time.monotonic()

    def attempt() -> None:
        with half_precision(rank.device):
            outcome = teach(run.model, run.aids, reel.lessons(run.recipe.batch), run.recipe)
        torch.stack([term.float() for term in outcome.terms.values()]).sum().backward()
        run.optimiser.zero_grad(set_to_none=True)

    failure = compile_parts(run.model, attempt)
    report(
        {"event": "compiled" if not failure else "not compiled", "why": failure, "seconds": time.monotonic() - began}
    )


def _line(run: Run, outcome: Outcome, norm: float, progress: float, rate: float, reel: Reel) -> dict[str, Any]:
    """One report."""
    terms = {name: round(float(term.detach()), 5) for name, term in outcome.terms.items()}
    return {
        "step": run.step, "progress": round(progress, 4), "total": round(sum(terms.values()), 4),
        "psnr": round(psnr(outcome.drawn_R3HW, outcome.true_R3HW), 2), "norm": round(norm, 3),
        "frames_per_second": round(rate, 1), "takes": reel.filled, "frames_filmed": reel.frames_filmed, **terms,
    }  # fmt: skip


def _unheard(line: dict[str, Any]) -> None:
    """The report of processes that do not write."""


def _board(folder: Path) -> Any:
    """A writer for TensorBoard; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("tensorboard is not installed; log.jsonl has every number")
        return None
    return SummaryWriter(str(folder))


@contextmanager
def reporter(out: Path, *, board: bool = True) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes reports to `log.jsonl`, to the log, and to TensorBoard where that is installed."""
    with ExitStack() as stack:
        file = stack.enter_context((out / "log.jsonl").open("a", encoding="utf-8"))
        writer = _board(out / "tensorboard") if board else None
        if writer is not None:
            stack.callback(writer.close)

        def report(line: dict[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()
            log.info("%s", json.dumps(line))
            for name, value in line.items():
                if writer is not None and name != "step" and isinstance(value, int | float) and "step" in line:
                    writer.add_scalar(name, value, line["step"])

        yield report


def plan_of(recipe: FaceRecipe) -> ReelPlan:
    """What a recipe keeps in memory."""
    return ReelPlan(
        recipe.shape.size, recipe.frames_per_take, recipe.takes_kept, recipe.sources_per_take, recipe.targets
    )


@contextmanager
def _reel(recipe: FaceRecipe, data: Path | None, options: RunOptions, rank: Rank) -> Iterator[Reel]:
    """Takes of a folder, or a crew that films."""
    plan = plan_of(recipe)
    seed = options.seed * 1009 + rank.number
    if data is not None:
        yield Reel.of_folder(data, plan, device=rank.device, seed=seed)
        return
    if options.people not in ("rendered", "photo", "mix"):
        raise ForgeError(f"people must be rendered, photo or mix, got {options.people!r}")
    with Crew(
        recipe.shape.size,
        device=rank.device,
        people=options.people,  # type: ignore[arg-type]
        seed=seed,
        workers=options.workers // rank.count,
        photo_folder=options.photo_folder,
    ) as crew:
        yield Reel(crew.shoot, plan, casting=crew.casting, device=rank.device, seed=seed)


def _sheet(run: Run, reel: Reel, out: Path) -> None:
    """Draw the contact sheet with the running mean."""
    run.model.eval()
    with run.mean.lent_to(run.model), torch.no_grad():
        draw_sheet(run.model, reel.lessons(4), out / "sheet.png")
    run.model.train()


def main(argv: list[str] | None = None) -> int:
    """What torchrun calls."""
    parser = argparse.ArgumentParser(description="Train the face model.")
    parser.add_argument("recipe", choices=sorted(FACE_RECIPES))
    parser.add_argument("--data", type=Path, help="folder of takes; by default people are filmed on the fly")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--render-net", type=Path)
    parser.add_argument("--time-budget-minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--people", default="rendered", choices=["rendered", "photo", "mix"])
    parser.add_argument("--photo-folder", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options = RunOptions(
            minutes=chosen.time_budget_minutes, steps=chosen.steps, seed=chosen.seed, device=chosen.device,
            people=chosen.people, workers=chosen.workers, photo_folder=chosen.photo_folder,
        )  # fmt: skip
        train_face(
            chosen.recipe, chosen.data, chosen.out, resume=chosen.resume, render_net=chosen.render_net, options=options
        )
    except ForgeError as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
