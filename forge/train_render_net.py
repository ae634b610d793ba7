"""Train RenderNet: single rendered frames -> depth, normals, parts, landmarks, identity, motion.

    python -m forge.train_render_net render_net --out runs/render_net --time-budget-minutes 3

A teaches the face (perceptual and identity losses), B (`render_net_judge`) only scores it; see `forge.face.render_net`.
The run leaves `weights/`, `log.jsonl` and `score.json`: errors on people kept from training.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forge.checkpoint import load_sharded
from forge.face.blocks import lay_out
from forge.face.crew import Crew, People
from forge.face.losses import ahead_of_pivot, rotation_between
from forge.face.machine import Rank, RunningMean, average_gradients, half_precision, joined_processes, same_start
from forge.face.recipes import RENDER_NET_RECIPES, RenderNetRecipe
from forge.face.reel import HELD_OUT, Reel, ReelPlan, Views
from forge.face.render_net import DEPTH_CENTIMETRES, RenderNet, RenderTruth, reading_losses
from forge.face.stored import fill, save_render_net
from forge.face.warp import SCREEN_HALF_DEPTH
from forge.motion.features import BLENDSHAPES, POSE
from forge.portrait import ForgeError
from forge.train_face import RunOptions, reporter
from provenance.files import write_whole

log = logging.getLogger(__name__)
EXAM_TAKES, EXAM_FRAMES = 16, 8


def train_render_net(
    recipe: RenderNetRecipe,
    out: Path,
    *,
    data: Path | None = None,
    size: int = 256,
    resume: Path | None = None,
    options: RunOptions | None = None,
    reel: Reel | None = None,
) -> Path:
    """Train one RenderNet.

    Args:
        recipe: which.
        out: folder of the run.
        data: folder of takes; None films people on the fly.
        size: side of the rendered frames, pixels.
        resume: weights to begin from.
        options: time, device and the like; `state` is not kept.
        reel: takes already in memory, prepared without flows (`sources=0`).

    Returns:
        The folder of the weights.

    Raises:
        ForgeError: when data, weights or machine do not allow it.
    """
    options = options or RunOptions()
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        rank = stack.enter_context(joined_processes(options.device))
        net = RenderNet(recipe).to(rank.device).train()
        lay_out(net)
        if resume is not None:
            fill(net, load_sharded(resume, rank.device)[0], resume, partly=True)
        same_start([net], rank)
        plan = ReelPlan(size, recipe.frames_per_take, recipe.takes_kept, sources=0)
        seed = options.seed * 1013 + recipe.seed * 101 + rank.number
        if reel is None and data is not None:
            reel = Reel.of_folder(data, plan, device=rank.device, seed=seed)
        elif reel is None:
            people: People = options.people  # type: ignore[assignment]
            crew = stack.enter_context(
                Crew(size, device=rank.device, people=people, seed=seed, workers=options.workers, parity=recipe.people)
            )
            reel = Reel(crew.shoot, plan, casting=crew.casting, device=rank.device, seed=seed)
        report = stack.enter_context(reporter(out, board=options.board)) if rank.first else _unheard
        mean, step = _learn(net, reel, recipe, options, rank, report)
        if rank.first:
            save_render_net(net, out / "weights", facts={"step": step}, weights=mean.values)
    return out / "weights"


def _learn(
    net: RenderNet,
    reel: Reel,
    recipe: RenderNetRecipe,
    options: RunOptions,
    rank: Rank,
    report: Callable[[dict[str, Any]], None],
) -> tuple[RunningMean, int]:
    """Steps until time or steps are used up."""
    reel.fill(min(8, reel.plan.kept))
    settings: dict[str, Any] = {"betas": (0.9, 0.99), "weight_decay": recipe.weight_decay}
    optimiser = torch.optim.AdamW(net.parameters(), recipe.learning_rate, fused=rank.device.type == "cuda", **settings)
    mean = RunningMean(net, recipe.ema)
    budget = 60.0 * (options.minutes if options.minutes is not None else recipe.minutes)
    most = options.steps if options.steps is not None else recipe.max_steps
    began, step, debt = time.monotonic(), 0, 0.0
    while step < most:
        progress = max((time.monotonic() - began) / budget, step / most)
        if progress >= 1:
            break
        rise = min(1.0, (step + 1) / recipe.warmup)
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        views = reel.views(recipe.batch)
        with half_precision(rank.device):
            reading = net(views.image_B3HW.float() / 255)
        terms = reading_losses(reading, truth_of(views, reading.parts_BPHW.shape[-1]))
        optimiser.zero_grad(set_to_none=True)
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        average_gradients(list(net.parameters()), rank)
        norm = float(torch.nn.utils.clip_grad_norm_(net.parameters(), recipe.clip))
        if math.isfinite(norm):
            optimiser.step()
            mean.follow(net)
        step += 1
        debt += 1 / recipe.batches_per_take
        if reel.renewable and (reel.filled < reel.plan.kept or debt >= 4):
            reel.renew()
            debt = 0.0
        if step % options.report_every == 0 or step == 1:
            told = {name: round(float(term.detach()), 5) for name, term in terms.items()}
            seconds = time.monotonic() - began
            rate = {"frames_per_second": round(step * recipe.batch / seconds, 1), "frames_filmed": reel.frames_filmed}
            report({"step": step, "seconds": round(seconds, 2), "norm": round(norm, 3), **rate, **told})
    return mean, step


def truth_of(views: Views, side: int) -> RenderTruth:
    """What the studio knows, at the side of RenderNet's maps."""
    ahead = ahead_of_pivot(views.depth_Bhw, views.motion_BM[:, POSE], views.distance_B)
    depth = (ahead * (SCREEN_HALF_DEPTH / DEPTH_CENTIMETRES))[:, None]
    return RenderTruth(
        depth_B1HW=_picked(depth, side),
        normal_B3HW=_picked(views.normal_B3hw, side),
        parts_BHW=_picked(views.parts_BHW[:, None], side)[:, 0],
        landmarks_BL2=views.landmarks_BL2,
        motion_BM=views.motion_BM,
        person_B=views.person_B,
    )


def _picked(maps_BCHW: Tensor, side: int) -> Tensor:
    """Every so many pixels of a map, near the middle of each cell; parts and edges must not be averaged."""
    step = max(1, maps_BCHW.shape[-1] // side)
    picked = maps_BCHW[:, :, step // 2 :: step, step // 2 :: step][:, :, :side, :side]
    if picked.shape[-1] == side:
        return picked
    return torch.nn.functional.interpolate(picked.float(), size=(side, side)).to(maps_BCHW.dtype)


@torch.no_grad()
def examine(net: RenderNet, reel: Reel, batches: int = 8, batch: int = 16) -> dict[str, float]:
    """Errors on a reel of held-out people: degrees, blendshape units, pixels of 256, shares, and identity's AUC."""
    sums: dict[str, list[float]] = {}
    same: list[Tensor] = []
    different: list[Tensor] = []
    for _ in range(batches):
        views = reel.views(batch)
        reading = net(views.image_B3HW.float() / 255)
        truth = truth_of(views, reading.parts_BPHW.shape[-1])
        pose = rotation_between(reading.motion_BM[:, POSE], truth.motion_BM[:, POSE])
        known = truth.depth_B1HW.isfinite()
        depth = (reading.depth_B1HW - torch.where(known, truth.depth_B1HW, 0.0)).abs()
        row = {
            "pose degrees": float(pose.mean()) * 180 / math.pi,
            "blendshape": float((reading.motion_BM - truth.motion_BM)[:, BLENDSHAPES].abs().mean()),
            "landmark pixels of 256": float((reading.landmarks_BL2 - truth.landmarks_BL2).norm(dim=-1).mean()) * 128,
            "parts right": float((reading.parts_BPHW.argmax(1) == truth.parts_BHW).float().mean()),
            "depth cm": float((depth * known).sum() / known.sum().clamp(min=1)) * DEPTH_CENTIMETRES,
        }
        for name, value in row.items():
            sums.setdefault(name, []).append(value)
        cosine = reading.identity_BI @ reading.identity_BI.T
        alike = truth.person_B[:, None] == truth.person_B[None]
        upper = torch.ones_like(alike).triu(1)
        same.append(cosine[alike & upper])
        different.append(cosine[~alike & upper])
    out = {name: sum(values) / len(values) for name, values in sums.items()}
    a, b = torch.cat(same), torch.cat(different)
    if len(a) and len(b):
        out["identity auc"] = float((a[:, None] > b[None]).float().mean())
    return out


def exam_reel(
    size: int, device: torch.device | str, *, takes: int = EXAM_TAKES, people: People = "rendered", workers: int = 0
) -> Reel:
    """Takes of held-out people, two scenes each, always the same."""
    seeds = [HELD_OUT + 100 + number for number in range(max(2, takes // 2))]
    with Crew(size, device=device, people=people, seed=7, workers=min(workers, len(seeds))) as crew:
        crew.bring(seeds)
        plan = ReelPlan(size, EXAM_FRAMES, takes, sources=0, held_out=True)
        reel = Reel(crew.shoot, plan, casting=iter(seeds * 2).__next__, device=device, seed=7)
        reel.fill()
    return reel


def _unheard(line: dict[str, Any]) -> None:
    """The report of processes that do not write."""


def main(argv: list[str] | None = None) -> int:
    """Train, and examine on held-out people."""
    parser = argparse.ArgumentParser(description="Train RenderNet on rendered people.")
    parser.add_argument("recipe", choices=sorted(RENDER_NET_RECIPES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--time-budget-minutes", type=float)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--workers", type=int, default=0)
    chosen = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = RunOptions(minutes=chosen.time_budget_minutes, device=chosen.device, workers=chosen.workers)
    try:
        recipe = RENDER_NET_RECIPES[chosen.recipe]()
        weights = train_render_net(
            recipe, chosen.out, data=chosen.data, size=chosen.size, resume=chosen.resume, options=options
        )
        from forge.face.stored import load_render_net

        with joined_processes(chosen.device) as rank:
            net = load_render_net(weights, rank.device)
            score = examine(net, exam_reel(chosen.size, rank.device))
        write_whole(chosen.out / "score.json", (json.dumps(score, indent=1) + "\n").encode())
        log.info("%s", json.dumps(score))
    except ForgeError as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
