"""What is done when a GPU is lent: one command a task, every file under `--out`, nothing lost when it is cut off.

    python -m benchmarks.gpu smoke --out runs/smoke --minutes 3                  # does every GPU path run at all?
    python -m benchmarks.gpu render_net --out runs/render_net --minutes 4
    python -m benchmarks.gpu face_256 --out runs/face_256 --minutes 9 --render-net runs/render_net/render_net

Any of them on a CPU, in miniature: `--device cpu --tiny`. Order, needs, yields and minutes: docs/gpu-queue.md.

`smoke` runs each check in a process of its own, several at a time: a kernel that faults poisons its process, and no
check may stop another. Every row goes to `<out>/<task>.jsonl` the moment it is known. A task leaves at most eight files
of at most 15 MiB under `--out`; the state of a training, which is larger, goes to `--state` where one is given.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.gpu_checks import CHECKS, MEASURES
from forge.portrait import ForgeError

log = logging.getLogger(__name__)
TASKS = ("probe", "smoke", "render_net", "face_256", "face_512", "student", "speed", "studio")
CHECK_SECONDS = {"cuda": 240.0, "cpu": 1800.0}
"""A check that takes longer is ended; compiling a model takes most of it."""
EXAM_PEOPLE = tuple(range(1_000_000, 1_000_008))


@dataclass(frozen=True)
class Job:
    """One command line."""

    task: str
    out: Path
    minutes: float
    device: str
    tiny: bool
    workers: int
    resume: Path | None = None
    render_net: Path | None = None
    state: Path | None = None
    people: str = "rendered"
    photo_folder: Path | None = None
    span: tuple[float, float] = (0.0, 1.0)
    data: Path | None = None
    batch: int | None = None
    compile: bool | None = None

    def note(self, row: Mapping[str, Any]) -> None:
        """Append a row to the task's file, and show it."""
        self.out.mkdir(parents=True, exist_ok=True)
        line = json.dumps(dict(row))
        with (self.out / f"{self.task}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        log.info("%s", line)


def run_checks(job: Job, names: Sequence[str], at_once: int) -> int:
    """Run checks in processes of their own; returns how many failed."""
    began = time.monotonic()
    deadline = began + 60 * job.minutes

    def one(name: str) -> dict[str, Any]:
        left = min(CHECK_SECONDS[job.device], deadline - time.monotonic())
        if left < 3:
            return {"check": name, "ok": False, "error": "no time left"}
        command = [sys.executable, "-m", "benchmarks.gpu_checks", name, "--device", job.device]
        command += ["--workers", str(job.workers), *(["--tiny"] if job.tiny else [])]
        start = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=left, check=False)
        except subprocess.TimeoutExpired as error:
            said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else (error.stderr or "")
            return {"check": name, "ok": False, "error": f"not done after {left:.0f} s; {said.strip()[-300:]}"}
        facts = _last_json(done.stdout)
        row: dict[str, Any] = {"check": name}
        row |= {"ok": done.returncode == 0 and facts is not None, "seconds": round(time.monotonic() - start, 1)}
        if facts is None or done.returncode:
            return row | {"ok": False, "error": done.stderr.strip()[-600:] or f"ended with code {done.returncode}"}
        return row | facts

    failed = 0
    with ThreadPoolExecutor(at_once) as threads:
        for row in threads.map(one, names):
            job.note(row)
            failed += not row["ok"]
    job.note({"check": "all", "ok": failed == 0, "failed": failed, "seconds": round(time.monotonic() - began, 1)})
    return failed


def _last_json(text: str) -> dict[str, Any] | None:
    """The last line of an output that is a JSON object."""
    for line in reversed(text.strip().splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            return found if isinstance(found, dict) else None
    return None


def smoke(job: Job) -> int:
    """Every path, tiny; the answer says which of the later tasks will run."""
    return run_checks(job, list(CHECKS), at_once=1 if job.device == "cpu" else 6)


def probe(job: Job) -> int:
    """Speeds that decide sizes: one after the other, so that they do not disturb each other."""
    return run_checks(job, list(MEASURES), at_once=1)


def studio(job: Job) -> int:
    """Frames a second of the studio, and people a second of its crew."""
    return run_checks(job, ["studio", "crew"], at_once=1)


def render_net(job: Job) -> int:
    """RenderNet A (three fifths of the time), then B, both examined on held-out people."""
    from forge.face.recipes import render_net as pupil
    from forge.face.recipes import render_net_judge, render_net_tiny
    from forge.face.stored import load_render_net
    from forge.train_face import RunOptions
    from forge.train_render_net import exam_reel, examine, train_render_net

    size = 64 if job.tiny else 256
    for recipe, share in ((pupil(), 0.6), (render_net_judge(), 0.4)):
        if job.tiny:
            recipe = replace(render_net_tiny(), name=recipe.name, kind=recipe.kind, people=recipe.people)
        options = RunOptions(
            minutes=job.minutes * share, device=job.device, workers=job.workers, people=job.people,
            photo_folder=job.photo_folder, board=False,
            steps=3 if job.tiny else None, report_every=1 if job.tiny else 50,
        )  # fmt: skip
        folder = job.out / recipe.name
        resume = job.resume / recipe.name / "weights" if job.resume else None
        weights = train_render_net(recipe, folder, size=size, resume=resume, options=options)
        net = load_render_net(weights, job.device)
        exam = exam_reel(size, job.device, takes=4 if job.tiny else 12, workers=job.workers)
        job.note({"net": recipe.name, "ok": True, **_rounded(examine(net, exam, batches=1 if job.tiny else 8))})
        _fold(folder, job.out)
    return 0


def face(job: Job) -> int:
    """Train the face at 256 or 512 pixels, then draw people it has never seen."""
    from forge.face.recipes import face_recipe_named, face_tiny
    from forge.train_face import RunOptions, train_face

    recipe = face_recipe_named(job.task) if not job.tiny else replace(face_tiny(), batch=2, name=job.task)
    if job.batch:
        recipe = replace(recipe, batch=job.batch, cross=min(recipe.cross, job.batch))
    options = RunOptions(
        minutes=job.minutes, device=job.device, workers=job.workers, people=job.people,
            photo_folder=job.photo_folder, board=False, span=job.span,
        compile=job.compile, keep_state=job.state is not None, state=job.state, steps=2 if job.tiny else None,
        report_every=1 if job.tiny else 20, sheet_minutes=1.0, checkpoint_minutes=2.0,
    )  # fmt: skip
    resume = job.resume
    if job.state is not None and (job.state / "index.json").is_file():
        resume = job.state  # a state that is still there is worth more than the weights
    nets = job.render_net / "weights" if job.render_net and (job.render_net / "weights").is_dir() else job.render_net
    began = time.monotonic()
    weights = train_face(recipe, None, job.out, resume=resume, render_net=nets, options=options)
    job.note({"trained": recipe.name, "ok": True, "seconds": round(time.monotonic() - began, 1)})
    job.note({"exam": recipe.name, "ok": True, **exam_face(job, weights, recipe.shape.size)})
    return 0


def exam_face(job: Job, weights: Path, size: int) -> dict[str, Any]:
    """A contact sheet of held-out people, and PSNR, pose and coefficient errors on them."""
    from forge.face.exam import examine_face
    from forge.face.stored import load_face

    people = EXAM_PEOPLE[: 2 if job.tiny else 8]
    facts = examine_face(load_face(weights, job.device), size, people, job.out / "exam.png", workers=job.workers)
    return _rounded(facts)


def student(job: Job) -> int:
    """Train the CPU student on this machine's cores, from pairs made before (that takes the landmarker)."""
    if job.data is None or not job.data.is_dir():
        raise ForgeError(f"{job.data}: the student learns from a folder of pairs; make one and give it with --data")
    from forge.face.train_student import main as train

    arguments = ["face_cpu", "--pairs", str(job.data), "--out", str(job.out), "--minutes", str(job.minutes)]
    return int(train([*arguments, "--threads", str(max(1, job.workers))]) or 0)


def speed(job: Job) -> int:
    """Frames a second of the learned face against this card's roofline."""
    from benchmarks.speed_face import main as measure

    arguments = ["--out", str(job.out), "--minutes", str(job.minutes), "--device", job.device]
    return measure(arguments + (["--tiny"] if job.tiny else []))


def _rounded(facts: Mapping[str, float]) -> dict[str, float]:
    """Four figures are enough."""
    return {name: float(f"{value:.4g}") for name, value in facts.items()}


def _fold(folder: Path, out: Path) -> None:
    """A run's log beside the others, under its own name, so that the whole stays few files."""
    source = folder / "log.jsonl"
    if source.is_file():
        source.replace(out / f"{folder.name}.log.jsonl")


RUNS: Mapping[str, Callable[[Job], int]] = MappingProxyType(
    {
        "probe": probe, "smoke": smoke, "studio": studio, "render_net": render_net, "face_256": face,
        "face_512": face, "student": student, "speed": speed,
    }
)  # fmt: skip


def parsed(argv: Sequence[str] | None) -> Job:
    """A job of a command line."""
    parser = argparse.ArgumentParser(description="One task for a GPU that is lent; see docs/gpu-queue.md.")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes: does it run here?")
    parser.add_argument(
        "--workers", type=int, default=max(0, (os.cpu_count() or 2) - 2), help="people-making processes"
    )
    parser.add_argument("--resume", type=Path, help="a run's folder or weights to go on from")
    parser.add_argument("--render-net", type=Path, help="RenderNet A, for perceptual and identity losses")
    parser.add_argument("--state", type=Path, help="where the whole state of a training is kept, outside --out")
    parser.add_argument("--people", default="rendered", choices=["rendered", "photo", "mix"])
    parser.add_argument("--photo-folder", type=Path, help="prepared photo people")
    parser.add_argument("--from-share", type=float, default=0.0, help="of the learning-rate schedule, for sittings")
    parser.add_argument("--to-share", type=float, default=1.0)
    parser.add_argument("--data", type=Path, help="pairs of the student")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--batch", type=int, help="sources in a batch, instead of the recipe's")
    chosen = parser.parse_args(argv)
    return Job(
        chosen.task, chosen.out, chosen.minutes, chosen.device, chosen.tiny, 0 if chosen.tiny else chosen.workers,
        chosen.resume, chosen.render_net, chosen.state, chosen.people, chosen.photo_folder,
        (chosen.from_share, chosen.to_share), chosen.data, chosen.batch,
        False if chosen.eager else None,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a task; 1 when something failed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    job = parsed(argv)
    try:
        return 1 if RUNS[job.task](job) else 0
    except (ForgeError, ImportError) as error:
        job.note({"task": job.task, "ok": False, "error": f"{type(error).__name__}: {error}"})
        return 1


if __name__ == "__main__":
    sys.exit(main())
