"""Distil the motion network: a student that reaches in two steps what its teacher reaches in twelve under guidance.

    python -m forge.distil_motion TEACHER.safetensors --data SEQUENCES -o RUN --time-budget-minutes 15 [--steps 2]

The teacher draws windows from noise, guidance included; the student learns to land on the same places of the same way
(progressive distillation, arXiv 2202.00512, all halvings at once). Guidance is folded in: the student is asked once a
step where the teacher is asked three times. Drawn windows are kept in a pool and used several times.

Axes: B batch, T frames of a window, M motion features, K steps of the student.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import cos, pi, sin
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from forge.motion.denoiser import Conditions
from forge.motion.diffusion import DEFAULT_GUIDANCE, guided, sample_times, stepped
from forge.motion.windows import GUIDABLE, MotionModel
from forge.train_motion import (
    MotionRecipe,
    cooling,
    draw_batch,
    feature_weights,
    is_held_out,
    read_sequences,
    take_step,
)
from provenance.files import write_whole

log = logging.getLogger(__name__)

TEACHER_STEPS = 12


@dataclass(frozen=True)
class Distillation:
    """Everything that distillation depends on besides weights, data, seed and time."""

    steps: int = 2
    batch: int = 32
    uses: int = 4
    """Student steps for each batch that the teacher draws."""
    pool: int = 64
    """Batches that are kept."""
    learning_rate: float = 1e-4
    ema: float = 0.99
    tail: float = 0.5
    """Chance that the end of the sound is hidden, as it is in live speech."""
    drop_past: float = 0.2

    def __post_init__(self) -> None:
        """Refuse numbers of steps that are not on the teacher's way."""
        if self.steps < 1 or TEACHER_STEPS % self.steps:
            raise ValueError(f"steps must divide {TEACHER_STEPS}, got {self.steps}")


@dataclass(frozen=True, eq=False)
class Way:
    """What the teacher made of a batch of noise."""

    places_KBTM: Tensor
    """Where the student's steps begin."""
    aims_KBTM: Tensor
    """The clean motion that the student should see from there, so that its step lands on the teacher's way."""
    conditions: Conditions


@torch.no_grad()
def way_of(
    teacher: MotionModel,
    noise_BTM: Tensor,
    given: Conditions,
    steps: int,
    guidance: Mapping[str, float],
) -> Way:
    """The teacher's guided way from noise, and what the student has to see at each of its own steps."""
    times = [*sample_times(TEACHER_STEPS), 0.0]
    x_BTM, way = noise_BTM, [noise_BTM]
    for now, after in pairwise(times):
        at_B = torch.full((len(x_BTM),), now)

        def predict(gone: frozenset[str], x: Tensor = x_BTM, at: Tensor = at_B) -> Tensor:
            return teacher.clean(x, at, given.without(gone))

        clean_BTM = guided(predict, guidance, GUIDABLE)
        x_BTM = stepped(x_BTM, clean_BTM, now, after)
        way.append(x_BTM)
    stride = TEACHER_STEPS // steps
    places, aims = [], []
    for k in range(steps):
        here, there = way[k * stride], way[(k + 1) * stride]
        places.append(here)
        aims.append(aim_between(here, there, times[k * stride], times[(k + 1) * stride]))
    return Way(torch.stack(places), torch.stack(aims), given)


def aim_between(here_BTM: Tensor, there_BTM: Tensor, now: float, after: float) -> Tensor:
    """The clean motion whose one sampler step leads from `here` at time `now` to `there` at time `after`."""
    share = sin(after * pi / 2) / sin(now * pi / 2)
    return (there_BTM - share * here_BTM) / (cos(after * pi / 2) - share * cos(now * pi / 2))


class Distiller:
    """The state of a run."""

    def __init__(self, teacher: MotionModel, data: Path, plan: Distillation, seed: int) -> None:
        self.plan, self.teacher = plan, teacher
        sequences = [s for s in read_sequences(data) if not is_held_out(s.speaker)]
        if not sequences:
            raise ValueError(f"{data}: no sequence is left to train on; add speakers (every tenth is held out)")
        self.sequences = sequences
        self.recipe = MotionRecipe("distil", shape=teacher.network.shape, batch=plan.batch)
        self.random, self.generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        self.student = copy.deepcopy(teacher.network).train()
        self.running = copy.deepcopy(teacher.network).eval()
        self.optimiser = torch.optim.AdamW(self.student.parameters(), plan.learning_rate, weight_decay=0.0)
        self.weight_M = feature_weights(self.recipe)
        self.pool: list[Way] = []
        self.step = 0

    def draw(self) -> None:
        """One more batch of the teacher's into the pool; the oldest goes."""
        batch = draw_batch(self.sequences, self.teacher, self.recipe, self.random)
        given = batch.conditions.dropped({"past": self.plan.drop_past}, self.generator, self.plan.tail)
        # the teacher's manner is folded in: the student has none of its own
        given = replace(given, manner_B=torch.zeros_like(given.manner_B))
        noise_BTM = torch.randn(batch.motion_BTM.shape, generator=self.generator)
        way = way_of(self.teacher, noise_BTM, given, self.plan.steps, DEFAULT_GUIDANCE)
        self.pool = [*self.pool[-self.plan.pool + 1 :], way]

    def learn(self, progress: float) -> float:
        """One step of the student on a batch of the pool."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.learning_rate * cooling(progress)
        way = self.pool[int(self.random.integers(len(self.pool)))]
        row_B = torch.randint(self.plan.steps, (way.places_KBTM.shape[1],), generator=self.generator)
        each_B = torch.arange(len(row_B))
        time_B = torch.tensor(sample_times(self.plan.steps))[row_B]
        seen_BTM = self.student(way.places_KBTM[row_B, each_B], time_B, way.conditions)
        miss_BTM = seen_BTM - way.aims_KBTM[row_B, each_B]
        speed_BTM = miss_BTM[:, 1:] - miss_BTM[:, :-1]
        loss = (miss_BTM.square() * self.weight_M).mean() + 2.0 * (speed_BTM.square() * self.weight_M).mean()
        if not torch.isfinite(loss):
            raise ValueError(f"distillation broke at step {self.step}: the loss is {float(loss)}; lower the rate")
        mean = self.running.state_dict()
        self.step = take_step(self.student, self.optimiser, loss, mean, ema=self.plan.ema, step=self.step)
        return float(loss.detach())

    def averaged(self) -> MotionModel:
        """The student with the running mean of its weights."""
        return replace(self.teacher, network=self.running, folded_steps=self.plan.steps)


def distil(
    teacher: MotionModel, data: Path, out: Path, plan: Distillation, *, seed: int = 0, time_budget_minutes: float
) -> Distiller:
    """Distil until the time is used up; RUN gets `motion_distilled.safetensors` and `log.jsonl`.

    Raises:
        ValueError: in one line, for unusable data.
    """
    distiller = Distiller(teacher, data, plan, seed)
    out.mkdir(parents=True, exist_ok=True)
    began, losses, drawn = time.monotonic(), list[float](), 0
    with (out / "log.jsonl").open("a") as lines:
        while True:
            spent = (time.monotonic() - began) / 60
            if spent >= time_budget_minutes and distiller.step:
                break
            distiller.draw()
            drawn += 1
            progress = min(1.0, spent / max(time_budget_minutes, 1e-9))
            losses += [distiller.learn(progress) for _ in range(plan.uses)]
            if drawn % 10 == 0:
                facts = {"step": distiller.step, "drawn": drawn, "loss": round(float(np.mean(losses)), 5)}
                facts["minutes"] = round(spent, 2)
                losses.clear()
                log.info("%s", json.dumps(facts))
                lines.write(json.dumps(facts) + "\n")
                lines.flush()
                distiller.averaged().save(out / "motion_distilled.safetensors")
    distiller.averaged().save(out / "motion_distilled.safetensors")
    write_whole(out / "distillation.json", (json.dumps(vars(plan), indent=1) + "\n").encode())
    return distiller


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m forge.distil_motion", description=__doc__)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of forge.motion.sequences")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Distillation.steps)
    parser.add_argument("--time-budget-minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    try:
        plan = Distillation(steps=args.steps)
        teacher = MotionModel.load(args.teacher)
        distil(teacher, args.data, args.out, plan, seed=args.seed, time_budget_minutes=args.time_budget_minutes)
    except ValueError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
