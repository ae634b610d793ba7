"""Train the student on a CPU: takes -> pairs -> losses -> weights that ship. Read it top to bottom.

    python -m forge.face.train_student face_cpu --takes takes/ --pairs pairs/ --out runs/student --minutes 60
    python -m forge.face.train_student face_cpu --pairs pairs/ --out runs/student --resume       # goes on

What a run leaves in `--out`:
    student.safetensors   running mean of the weights, half precision, with the recipe in its header: what ships
    state.pt              everything to go on from (weights, optimiser, running mean, minutes used)
    log.jsonl             one line a report: step, minutes, every loss, PSNR of guess and student on held-out pairs
    sheet.jpg             source | target | first guess | student | layers, of held-out people

Pairs may go on appearing while it trains; they are taken up every few minutes. A run ends at its time budget or on
Ctrl-C; the last checkpoint is never older than a few minutes. No bf16: CPUs without it are slower by it.
"""

from __future__ import annotations

import argparse
import json
import logging
import queue
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from forge.face.student import Guess, Student, compose
from forge.face.student_feed import Feed, plain_batch
from forge.face.student_files import save_student
from forge.face.student_losses import Truth, all_losses
from forge.face.student_pairs import Pair, read_pairs
from forge.face.student_recipes import STUDENT_RECIPES, StudentRecipe, student_recipe_named
from forge.portrait import ForgeError

log = logging.getLogger(__name__)
REPORT_SECONDS = 30.0
SAVE_SECONDS = 150.0
REFRESH_SECONDS = 90.0
"""How often new pairs are looked for."""


@dataclass
class Run:
    """A training run in memory."""

    recipe: StudentRecipe
    student: Student
    mean: Student
    optimiser: torch.optim.Optimizer
    step: int = 0
    minutes: float = 0.0
    """Used so far, over all resumptions."""
    losses: dict[str, list[float]] = field(default_factory=dict)


def start(recipe: StudentRecipe) -> Run:
    """A fresh run."""
    torch.manual_seed(recipe.seed)
    student = Student(recipe.shape).to(memory_format=torch.channels_last)
    mean = Student(recipe.shape)
    mean.load_state_dict(student.state_dict())
    optimiser = torch.optim.AdamW(student.parameters(), recipe.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    return Run(recipe, student, mean.eval().requires_grad_(False), optimiser)


def resume(path: Path, recipe: StudentRecipe) -> Run:
    """Take up a run from its `state.pt`.

    Raises:
        ForgeError: when it is missing, damaged or of another recipe's shape.
    """
    run = start(recipe)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        run.student.load_state_dict(state["student"])
        run.mean.load_state_dict(state["mean"])
        run.optimiser.load_state_dict(state["optimiser"])
    except (OSError, KeyError, RuntimeError) as error:
        raise ForgeError(
            f"{path}: cannot go on from it ({str(error).splitlines()[0]}); start without --resume"
        ) from error
    run.step, run.minutes = int(state["step"]), float(state["minutes"])
    return run


def save(run: Run, out: Path, facts: dict[str, Any]) -> None:
    """Write the state and what ships, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    state = {
        "student": run.student.state_dict(),
        "mean": run.mean.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "step": run.step,
        "minutes": run.minutes,
    }
    part = out / f".state.{secrets.token_hex(4)}.part"
    try:
        torch.save(state, part)
        part.replace(out / "state.pt")
    finally:
        part.unlink(missing_ok=True)
    save_student(out / "student.safetensors", run.mean, {**facts, "steps": run.step, "minutes": round(run.minutes, 1)})


def rate(recipe: StudentRecipe, step: int, share: float) -> float:
    """Learning rate after some steps, a share of the time budget through: warm-up, then half a cosine."""
    warm = min(1.0, (step + 1) / recipe.warm_up)
    fall = 0.5 * (1 + float(np.cos(np.pi * min(max(share, 0.0), 1.0))))
    return recipe.learning_rate * warm * (recipe.final_rate + (1 - recipe.final_rate) * fall)


def teach(run: Run, guess: Guess, truth: Truth) -> dict[str, float]:
    """One step; the losses by name."""
    run.student.train()
    seen = run.student.see(guess.source_B3HW, guess.own_BPhw)
    layers = run.student(seen.kept_BChw, guess)
    image = compose(guess.drawn_B3HW, guess.worn_B3HW, guess.source_B3HW, layers)
    losses = all_losses(image, layers, seen, guess, truth, run.recipe.losses)
    total = torch.stack(list(losses.values())).sum()
    run.optimiser.zero_grad(set_to_none=True)
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(run.student.parameters(), run.recipe.clip)
    if torch.isfinite(norm):
        run.optimiser.step()
    run.step += 1
    keep = min(run.recipe.average, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        for kept, new in zip(run.mean.parameters(), run.student.parameters(), strict=True):
            kept.lerp_(new, 1 - keep)
    return {name: float(loss.detach()) for name, loss in losses.items()}


def psnr(image: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Mean over the batch of 10 log10 of 1 over the (weighted) mean square error."""
    square = (image - target).square().mean(1, keepdim=True)
    weight = torch.ones_like(square) if weight is None else weight
    error = (square * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1e-6)
    return float((-10 * torch.log10(error.clamp(min=1e-8))).mean())


@torch.no_grad()
def draw(student: Student, guess: Guess) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, H, W) of first guesses, and the shares (B, 4, H, W) of the layers."""
    student.eval()
    layers = student(student.see(guess.source_B3HW, guess.own_BPhw).kept_BChw, guess)
    image = compose(guess.drawn_B3HW, guess.worn_B3HW, guess.source_B3HW, layers)
    return image, layers.shares_B4HW


def judge(run: Run, held: Sequence[Pair], sheet: Path, most: int = 36) -> dict[str, float]:
    """PSNR of the first guess and of the running mean on held-out pairs, in all and where it counts; and a sheet."""
    found: dict[str, list[float]] = {}
    rows = []
    for at in range(0, min(most, len(held)), 6):
        guess, truth = plain_batch(held[at : at + 6])
        image, shares = draw(run.mean, guess)
        fine = (truth.weight_B1HW > 1.5).float()
        for name, shown in (("guess", guess.drawn_B3HW), ("student", image)):
            found.setdefault(f"psnr_{name}", []).append(psnr(shown, truth.target_B3HW))
            found.setdefault(f"psnr_fine_{name}", []).append(psnr(shown, truth.target_B3HW, fine))
        for i in range(0, len(image), 3):
            kinds = torch.stack([shares[i, 3], shares[i, 1], shares[i, 2]])  # painted red, worn green, still blue
            row = [guess.source_B3HW[i], truth.target_B3HW[i], guess.drawn_B3HW[i], image[i], kinds]
            rows.append(torch.cat(row, 2))
    picture = (torch.cat(rows[:10], 1).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    cv2.imwrite(str(sheet), np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return {name: round(float(np.mean(values)), 3) for name, values in found.items()}


def stored_pairs(folder: Path, known: set[Path]) -> Iterator[Pair]:
    """The pairs of files that were not read before; `known` grows."""
    for path in sorted(folder.glob("*.pairs.npz")):
        if path not in known:
            known.add(path)
            yield from read_pairs(path)


def ahead(feed: Feed, crops: Sequence[int | None], depth: int = 4) -> Iterator[tuple[Guess, Truth]]:
    """Batches without end, made one thread ahead; `crops[0]` may be changed meanwhile."""
    ready: queue.Queue[tuple[Guess, Truth]] = queue.Queue(depth)
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            batch = feed.batch(crops[0])
            while not over.is_set():
                try:
                    ready.put(batch, timeout=0.5)
                    break
                except queue.Full:
                    continue

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            yield ready.get()
    finally:
        over.set()


def train(
    recipe: StudentRecipe, pairs: Path, held: Path | None, out: Path, *, minutes: float, run: Run | None = None
) -> Run:
    """Train until the time budget is used.

    Raises:
        ForgeError: when there are no pairs.
    """
    known: set[Path] = set()
    material = list(stored_pairs(pairs, known)) if pairs.is_dir() else []
    if not material:
        raise ForgeError(f"{pairs}: no pairs; give --takes a folder of takes to make them from")
    judged = list(stored_pairs(held, set())) if held is not None and held.is_dir() else []
    judged = [judged[i] for i in np.random.default_rng(0).permutation(len(judged))]
    run = run or start(recipe)
    out.mkdir(parents=True, exist_ok=True)
    feed = Feed(material, recipe.batch, recipe.seed + run.step)
    crops: list[int | None] = [recipe.crop]
    begun, before = time.monotonic(), run.minutes
    said = kept = refreshed = begun
    facts = {"recipe": recipe.to_json(), "pairs": len(material)}
    for guess, truth in ahead(feed, crops):
        share = run.minutes / minutes
        crops[0] = recipe.crop if share < recipe.crop_until else None
        for group in run.optimiser.param_groups:
            group["lr"] = rate(recipe, run.step, share)
        for name, value in teach(run, guess, truth).items():
            run.losses.setdefault(name, []).append(value)
        now = time.monotonic()
        run.minutes = before + (now - begun) / 60
        if now - refreshed > REFRESH_SECONDS:
            feed.pairs += list(stored_pairs(pairs, known))
            facts["pairs"], refreshed = len(feed.pairs), now
        if now - kept > SAVE_SECONDS:
            save(run, out, facts)
            report(run, out, judged, len(feed.pairs))
            said = kept = now
        elif now - said > REPORT_SECONDS:
            report(run, out, [], len(feed.pairs))
            said = now
        if run.minutes >= minutes:
            break
    report(run, out, judged, len(feed.pairs))
    save(run, out, facts)
    return run


def report(run: Run, out: Path, held: Sequence[Pair], pairs: int) -> None:
    """Add a line to the log."""
    line: dict[str, Any] = {"step": run.step, "minutes": round(run.minutes, 2), "pairs": pairs}
    line |= {name: round(float(np.mean(values)), 5) for name, values in run.losses.items()}
    run.losses.clear()
    if held:
        line |= judge(run, held, out / "sheet.jpg")
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the student on a CPU.")
    parser.add_argument("recipe", choices=sorted(STUDENT_RECIPES))
    parser.add_argument("--takes", type=Path, help="folder of takes; pairs are made of those that have none yet")
    parser.add_argument("--pairs", type=Path, required=True, help="folder of pairs")
    parser.add_argument("--held", type=Path, help="folder of pairs of held-out people, to judge by")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    recipe = student_recipe_named(options.recipe)
    try:
        if options.takes is not None:
            make_pairs(options.takes, options.pairs)
        state = options.out / "state.pt"
        run = resume(state, recipe) if options.resume else None
        train(recipe, options.pairs, options.held, options.out, minutes=options.minutes or recipe.minutes, run=run)
    except ForgeError as error:
        log.error("%s", error)
        return 1
    except KeyboardInterrupt:
        log.error("stopped; --resume goes on from the last checkpoint")
        return 130
    return 0


def make_pairs(takes: Path, pairs: Path) -> None:
    """Make the pairs of takes that have none."""
    from forge.face.student_pairs import write_pairs
    from media.faces import FaceFinder

    with FaceFinder(max_faces=1, small_faces=False) as finder:
        for path, count in write_pairs(takes, pairs, finder):
            log.info("%s: %d pairs", path.name, count)


if __name__ == "__main__":
    sys.exit(main())
