"""The single checks and measurements of `benchmarks.gpu`, each for a process of its own.

    python -m benchmarks.gpu_checks sampling --device cuda         # one JSON object; any exit code but 0 is a failure

A check proves that a path runs and is right; a measure says how fast it is. With `--tiny` sizes fit a CPU.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch

Facts = dict[str, Any]


@dataclass(frozen=True)
class Here:
    """Where a check runs and how small."""

    device: str
    tiny: bool
    workers: int = 0

    @property
    def cuda(self) -> bool:
        """Whether there is a GPU to ask."""
        return self.device == "cuda"

    @property
    def size(self) -> int:
        """Side of pictures."""
        return 64 if self.tiny else 256

    def wait(self) -> None:
        """Until the device has finished."""
        if self.cuda:
            torch.cuda.synchronize()


def machine(here: Here) -> Facts:
    """What this machine is."""
    facts: Facts = {"python": platform.python_version(), "torch": torch.__version__, "cores": os.cpu_count()}
    for name in ("triton", "numpy", "PIL", "safetensors", "scipy", "av", "mediapipe", "tensorboard", "onnx", "cv2"):
        try:
            facts[name] = getattr(__import__(name), "__version__", "there")
        except ImportError:
            facts[name] = None
    if here.cuda:
        facts["gpu"] = torch.cuda.get_device_name()
        facts["memory_gb"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    return facts


def sampling(here: Here) -> Facts:
    """The Triton sampling kernel against double precision on the CPU."""
    from forge.face.sampling import sample_folded, sample_picture

    worst = 0.0
    for grid in (8,) if here.tiny else (32, 64):
        volume = torch.randn(2, 32, 16, grid, grid, device=here.device)
        where = torch.rand(4, 16, grid, grid, 3, device=here.device) * 2.4 - 1.2
        picture = torch.randn(2, 48, 2 * grid, 2 * grid, device=here.device)
        places = torch.rand(4, 2 * grid, 2 * grid, 2, device=here.device) * 2.4 - 1.2
        half = torch.bfloat16 if here.cuda else torch.float32
        with torch.inference_mode():
            for fast, slow in (
                (sample_folded(volume.to(half), where), sample_folded(volume.double().cpu(), where.cpu())),
                (sample_picture(picture.to(half), places), sample_picture(picture.double().cpu(), places.cpu())),
            ):
                error = float((fast.cpu().double() - slow).norm() / slow.norm())
                worst = max(worst, error)
    if not worst < 1e-2:
        raise AssertionError(f"relative error {worst}")
    return {"relative_error": worst}


def rasteriser(here: Here) -> Facts:
    """The studio's rasteriser: kernel against torch, on the head."""
    from forge.studio.head import load_head, pose_matrix, project, standard_focal
    from forge.studio.rasterise import rasterise

    head = load_head().to(here.device)
    pose = torch.randn(2 if here.tiny else 16, 6, device=here.device) * torch.tensor(
        [15.0, 8.0, 6.0, 0.1, 0.1, 0.05], device=here.device
    )
    points = project(head.neutral_V3.expand(len(pose), -1, -1), pose_matrix(pose), standard_focal(here.size), here.size)
    ours = rasterise(points, head.triangles_T3, here.size, kernel=here.cuda)
    plain = rasterise(points, head.triangles_T3, here.size, kernel=False)
    differ = float((ours.triangle_BHW != plain.triangle_BHW).float().mean())
    if differ > 1e-3:
        raise AssertionError(f"{differ:.2%} of pixels differ")
    seconds = timed(lambda: rasterise(points, head.triangles_T3, here.size, kernel=here.cuda), here)
    return {"pixels_differ": differ, "frames_per_second": round(len(pose) / seconds, 1)}


def studio(here: Here) -> Facts:
    """The whole studio: how long a person takes, how many frames a second it films."""
    from forge.face.crew import Crew

    facts: Facts = {}
    sizes = (64,) if here.tiny else (256, 512)
    for size in sizes:
        frames = 2 if here.tiny else 16
        with Crew(size, device=here.device, seed=1) as crew:
            began = time.perf_counter()
            person = crew.casting()
            crew.shoot(person, frames, 1)
            here.wait()
            facts[f"first_take_seconds_{size}"] = round(time.perf_counter() - began, 2)
            takes = 1 if here.tiny else 10
            began = time.perf_counter()
            for scene in range(takes):
                take = crew.shoot(person, frames, scene + 2)
            here.wait()
            facts[f"frames_per_second_{size}"] = round(takes * frames / (time.perf_counter() - began), 1)
            facts[f"deviation_{size}"] = round(float(take.image_F3HW.float().std()), 1)
    return facts


def crew(here: Here) -> Facts:
    """How many people a second the workers make."""
    from forge.face.crew import Crew

    workers = here.workers or 1
    patience = 5.0 if here.tiny else 25.0
    with Crew(64 if here.tiny else 256, device="cpu", seed=2, workers=workers) as company:
        began = time.perf_counter()
        company.casting()
        first = time.perf_counter() - began
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < patience:
            before = company.ready
            company.casting()
            count += company.ready - before
            time.sleep(0.02)
        return {"workers": workers, "first_seconds": round(first, 1), "people_per_second": round(count / patience, 2)}


def render_nets(here: Here) -> Facts:
    """Both RenderNets learn a few steps."""
    from forge.face.recipes import render_net, render_net_judge, render_net_tiny
    from forge.face.reel import ReelPlan
    from forge.train_face import RunOptions
    from forge.train_render_net import train_render_net

    facts: Facts = {}
    with TemporaryDirectory() as folder:
        for recipe in (render_net_tiny(),) if here.tiny else (render_net(), render_net_judge()):
            plan = ReelPlan(here.size, 4, 4, sources=0)
            reel = filmed(here, plan)
            options = RunOptions(
                steps=3 if here.tiny else 30, minutes=1.0, device=here.device, board=False, report_every=5
            )
            began = time.perf_counter()
            train_render_net(recipe, Path(folder) / recipe.name, size=here.size, options=options, reel=reel)
            here.wait()
            facts[f"{recipe.name}_seconds"] = round(time.perf_counter() - began, 1)
    return facts


def face_steps(here: Here) -> Facts:
    """The face at 256: eager, the discriminator, checkpoint and resume."""
    return _train(here, "face_256", compile=False)


def face_compiled(here: Here) -> Facts:
    """The face at 256, compiled."""
    return _train(here, "face_256", compile=here.cuda)


def face_large(here: Here) -> Facts:
    """The face at 512."""
    return _train(here, "face_512", compile=False)


def face_no_skip(here: Here) -> Facts:
    """The ablations."""
    return _train(here, "face_256_no_skip", compile=False) | _train(here, "face_256_no_consist", compile=False)


def _train(here: Here, name: str, *, compile: bool) -> Facts:
    """A few steps of a recipe, with everything switched on, saved, resumed and loaded."""
    from forge.face.recipes import LossWeights, face_recipe_named, face_tiny, render_net_tiny
    from forge.face.render_net import RenderNet
    from forge.face.stored import load_face, save_render_net
    from forge.train_face import RunOptions, plan_of, train_face

    recipe = face_recipe_named(name)
    if here.tiny:
        tiny = face_tiny()
        recipe = replace(
            tiny, name=name, weights=LossWeights(), batch=2, shape=replace(tiny.shape, skips=recipe.shape.skips)
        )
    recipe = replace(recipe, adversarial_from=0.5, takes_kept=4, frames_per_take=6)
    reel = filmed(here, plan_of(recipe))
    steps = 2 if here.tiny else 8
    with TemporaryDirectory() as folder:
        reader = Path(folder) / "reader"
        save_render_net(RenderNet(render_net_tiny()), reader)
        options = RunOptions(steps=steps, minutes=3.0, device=here.device, compile=compile, board=False, report_every=1)
        out = Path(folder) / "run"
        weights = train_face(recipe, None, out, render_net=reader, options=options, reel=reel)
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        again = Path(folder) / "again"
        train_face(recipe, None, again, resume=out, options=replace(options, steps=1, compile=False), reel=reel)
        resumed = json.loads((again / "log.jsonl").read_text().splitlines()[0])
        load_face(weights, here.device)
    trained = [line for line in lines if "step" in line]
    if not all(line["total"] == line["total"] for line in trained) or resumed["step"] != steps + 1:
        raise AssertionError(f"losses or steps are wrong: {trained[-1]}, resumed at {resumed['step']}")
    facts: Facts = {f"{name}_frames_per_second": trained[-1]["frames_per_second"], "psnr": trained[-1]["psnr"]}
    events = [line for line in lines if "event" in line]
    if events:
        facts |= {"compile": events[0]["event"], "why": events[0]["why"], "compile_seconds": events[0]["seconds"]}
    if here.cuda:
        facts[f"{name}_memory_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    if compile and events and events[0]["why"]:
        raise AssertionError(f"not compiled: {events[0]['why']}")
    return facts


def fast(here: Here) -> Facts:
    """One portrait drawn by graph and compiler, against float32 on the CPU."""
    from forge.face.fast import FastFace
    from forge.face.model import FaceModel
    from forge.face.recipes import face_256, face_512, face_tiny

    facts: Facts = {}
    for recipe in (face_tiny(),) if here.tiny else (face_256(), face_512()):
        torch.manual_seed(3)
        model = FaceModel(recipe.shape).eval()
        for parameter in model.parameters():  # zero-initialised branches would prove nothing
            torch.nn.init.normal_(parameter, std=0.02) if parameter.abs().sum() == 0 else None
        size = recipe.shape.size
        portrait, pose = torch.rand(1, 3, size, size), torch.randn(2, 6) * 3
        dyn = torch.rand(2, 64) * 0.3
        with torch.no_grad():
            wanted = model.draw(model.see(portrait), pose, dyn) * 255
        model.to(here.device)
        for label, (compile, graph) in _paths(here).items():
            face = FastFace(copy.deepcopy(model), portrait.to(here.device), batch=2, compile=compile, graph=graph)
            got = face.draw(pose.to(here.device), dyn.to(here.device)).permute(0, 3, 1, 2).float().cpu()
            error = float((got - wanted).abs().mean())
            facts[f"{size}_{label}_grey_levels_off"] = round(error, 3)
            if not error < 3:
                raise AssertionError(f"{size} {label}: {error} grey levels off")
    return facts


def _paths(here: Here) -> dict[str, tuple[bool, bool]]:
    """Ways of drawing: compiled, and in a graph."""
    plain = {"eager": (False, False)}
    return plain | {"graph": (False, True), "compiled_graph": (True, True)} if here.cuda else plain


def gpu_tests(here: Here) -> Facts:
    """The tests marked gpu."""
    import subprocess

    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/forge"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 5):  # 5: none were selected
        raise AssertionError(done.stdout[-500:])
    return {"said": done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""}


def drawing_speed(here: Here) -> Facts:
    """Frames a second of decoder M (and S, L): what can be afforded."""
    from forge.face.fast import FastFace
    from forge.face.model import FaceModel
    from forge.face.recipes import face_256, face_512, face_tiny

    facts: Facts = {}
    cases = [(face_tiny().shape, 1, "eager")]
    if not here.tiny:
        large, small = face_512().shape, face_256().shape
        cases = [(s, b, m) for s in (large, small) for b, m in ((16, "graph"), (16, "compiled_graph"), (1, "graph"))]
        cases += [(replace(large, decoder=d), 16, "compiled_graph") for d in ("S", "L")]
    for shape, batch, mode in cases:
        portrait = torch.rand(1, 3, shape.size, shape.size, device=here.device)
        compile, graph = _paths(here)[mode]
        face = FastFace(FaceModel(shape).to(here.device), portrait, batch=batch, compile=compile, graph=graph)
        seconds = timed(face.step, here)
        facts[f"{shape.size}_{shape.decoder}_batch{batch}_{mode}_fps"] = round(batch / seconds, 1)
    return facts


def training_speed(here: Here) -> Facts:
    """Training frames a second at several batch sizes, without the studio: which batch to take."""
    from forge.face.machine import Rank
    from forge.face.recipes import face_256, face_512, face_tiny
    from forge.face.run import start
    from forge.train_face import one_step, plan_of

    facts: Facts = {}
    cases = [(face_tiny(), (2,))] if here.tiny else [(face_256(), (16, 32, 48)), (face_512(), (8, 12))]
    for recipe, batches in cases:
        recipe = replace(recipe, takes_kept=4, frames_per_take=6, cross=2)
        reel = filmed(here, plan_of(recipe))
        for batch in batches:
            run = start(replace(recipe, batch=batch), Rank(device=torch.device(here.device)))
            step = functools.partial(one_step, run, reel, 0.1, 500, Rank(device=torch.device(here.device)))
            seconds = timed(step, here)
            facts[f"{recipe.name}_batch{batch}_frames_per_second"] = round(batch * recipe.targets / seconds, 1)
            if here.cuda:
                facts[f"{recipe.name}_batch{batch}_memory_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
                torch.cuda.reset_peak_memory_stats()
            del run
    return facts


def timed(work: Callable[[], object], here: Here, *, least: float = 1.0) -> float:
    """Median seconds of a call, after three that are not counted."""
    for _ in range(1 if here.tiny else 3):
        work()
    here.wait()
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < 3 or (time.perf_counter() - began < least and len(found) < 200):
        start = time.perf_counter()
        work()
        here.wait()
        found.append(time.perf_counter() - start)
        if here.tiny:
            break
    return sorted(found)[len(found) // 2]


def filmed(here: Here, plan: Any) -> Any:
    """A reel of one person in two scenes, filmed here."""
    from forge.face.crew import Crew
    from forge.face.reel import Reel

    company = Crew(plan.size, device=here.device, seed=3)
    people = company.casting()
    takes = [company.shoot(people, plan.frames, scene) for scene in (1, 2)]
    return Reel.of_takes(takes, plan, device=here.device, seed=3)


CHECKS: Mapping[str, Callable[[Here], Facts]] = MappingProxyType(
    {
        "machine": machine, "face_compiled": face_compiled, "fast": fast, "sampling": sampling,
        "rasteriser": rasteriser,
        "studio": studio, "face_steps": face_steps, "face_large": face_large, "crew": crew, "render_nets": render_nets,
        "face_no_skip": face_no_skip, "gpu_tests": gpu_tests,
    }
)  # fmt: skip
"""The slowest first: they run side by side."""
MEASURES: Mapping[str, Callable[[Here], Facts]] = MappingProxyType(
    {"training_speed": training_speed, "drawing_speed": drawing_speed}
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one check and write its facts to standard output as one JSON line."""
    names: Iterable[str] = [*CHECKS, *MEASURES]
    parser = argparse.ArgumentParser(description="One check of benchmarks.gpu.")
    parser.add_argument("name", choices=list(names))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    chosen = parser.parse_args(argv)
    if chosen.device == "cpu":
        torch.set_num_threads(1)
    check = {**CHECKS, **MEASURES}[chosen.name]
    facts = check(Here(chosen.device, chosen.tiny, chosen.workers))
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
