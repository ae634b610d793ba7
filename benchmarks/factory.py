"""Whether the dataset factory keeps its word: the same clips wherever they are made, whoever dies on the way.

    python -m benchmarks.factory cluster --work DIR      # 3 Ray nodes, two killed, against one process
    python -m benchmarks.factory kills --work DIR        # the driver killed at random moments, resumed each time
    python -m benchmarks.factory speed --work DIR        # one and two workers; against the maker alone
    python -m benchmarks.factory million                 # a million clips: time to plan, memory of the driver

Everything is made from the embedded portraits and speech by `mesh` at 256 pixels. Needs the extra `cluster`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.tables import RESULTS, Result, Row, Table
from forge.dataset import Request, looked_at, make_dataset
from forge.filming import Made
from forge.makers import OpenMakers
from forge.methods import Shot
from forge.plan import Plan, PlannedClip
from forge.progress import ProgressFile
from forge.quality import Gate
from forge.recipes import DatasetRecipe, tiny
from forge.run import Run
from forge.sealing import film_and_sign
from forge.staging import Footage, Stage
from forge.truth import write_masks, write_truth
from media.catalog import Sample
from media.catalog_file import CatalogFile
from media.crew import one_thread
from media.places import Outcome, Room, Start, Task, Workforce, place_of
from media.places import Result as Res
from provenance.credential import Standing, read_credential
from provenance.signing import verify_catalog

app = typer.Typer(no_args_is_help=True)
KILL_AT: Final = (0.25, 0.55)
"""Shares of the clips after which a node is killed."""
WAYS: Final = {
    "bare": "maker, encoder and signature alone",
    "truth": "the same, with the maker's masks and truth",
    "no gate": "factory, 1 worker, no quality gate",
    "1": "factory, 1 worker",
    "2": "factory, 2 workers",
}
POLL_SECONDS: Final = 0.5
Work = Annotated[Path, typer.Option(help="A folder for what is made.")]


def recipe() -> DatasetRecipe:
    """Clips of about a second: many of them, to be killed in the middle of."""
    return replace(tiny(), name="factory", purpose="clips of a second, to be interrupted", seconds=(0.8, 1.2))


@app.command(hidden=True)
def drive(
    folder: Path, limit: int, workers: int = 0, ray: str = "", progress: Path | None = None, seconds: float = 0.0
) -> None:
    """Make the clips: what the other commands start and kill."""
    design = recipe() if not seconds else replace(recipe(), seconds=(seconds, seconds))
    with as_file(files("countermark") / "demo_assets") as assets:
        place = place_of(workers=workers or None, ray=ray or None)
        request = Request(design, folder, assets, assets, limit=limit, place=place)
        tell = ProgressFile(progress) if progress else lambda now: None
        report = make_dataset(request, tell)
    typer.echo(json.dumps(report.to_json()))


def driver(folder: Path, limit: int, **options: object) -> subprocess.Popen[bytes]:
    """A run in a process of its own, and of its own session: what it starts dies with it or not, as in life."""
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "benchmarks.factory", "drive", str(folder), str(limit), *given]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for a run that must succeed."""
    if process.wait():
        typer.echo(f"the run failed; see {folder.parent / f'{folder.name}.log'}", err=True)
        raise typer.Exit(1)


@dataclass(frozen=True)
class Difference:
    """What two datasets of one plan have not in common."""

    clips: int
    only_in_one: int
    streams: int
    """Clips whose file before it was signed differs in any byte: pictures, sound and container."""
    truth: int
    labels: int
    broken: int
    """Clips of the second one whose credential does not verify, and 1 if that of the dataset does not."""

    @property
    def is_none(self) -> bool:
        """Whether they are the same."""
        return not (self.only_in_one or self.streams or self.truth or self.labels or self.broken)


def difference(one: Path, two: Path) -> Difference:
    """Compare the files of two datasets; only signatures may differ, and those of the second one are verified."""
    first, second = ({s.id: s for s in CatalogFile(folder / "catalog.jsonl")} for folder in (one, two))
    streams = truth = labels = broken = 0
    for name in first.keys() & second.keys():
        a, b = first[name], second[name]
        streams += a.extra["unsigned_sha256"] != b.extra["unsigned_sha256"]
        truth += any(_digest(one / str(a.extra[k])) != _digest(two / str(b.extra[k])) for k in ("truth", "masks"))
        labels += _facts(a) != _facts(b)
        broken += read_credential(two / b.path).standing is not Standing.TRUSTED
        broken += _digest(two / b.path) != b.sha256
    report = verify_catalog(two)
    broken += report.standing is not Standing.TRUSTED or report.difference_count > 0
    return Difference(len(second), len(first.keys() ^ second.keys()), streams, truth, labels, broken)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _facts(sample: Sample) -> dict[str, object]:
    return {name: value for name, value in sample.to_json().items() if name != "sha256"}


def reference(work: Path, clips: int) -> Path:
    """The dataset as one process makes it; kept in the work folder."""
    folder = work / f"one_{clips}"
    finish(driver(folder, clips), folder)
    return folder


@app.command()
def cluster(work: Work, clips: int = 500, out: Path = RESULTS) -> None:
    """Three nodes make the clips; two of them are killed on the way."""
    from ray.cluster_utils import Cluster

    work.mkdir(parents=True, exist_ok=True)
    folder, progress = work / "nodes", work / "nodes.json"
    shutil.rmtree(folder, ignore_errors=True)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    others = [nodes.add_node(num_cpus=1) for _ in range(2)]
    began, lost = time.monotonic(), 0
    killed: list[int] = []
    process = driver(folder, clips, ray=nodes.address, progress=progress)
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        now = _read(progress)
        lost = max(lost, int(now.get("workers_lost", 0)))
        if len(killed) < len(others) and now.get("done", 0) >= KILL_AT[len(killed)] * clips:
            nodes.remove_node(others[len(killed)], allow_graceful=False)
            killed.append(now["done"])
    finish(process, folder)
    seconds = time.monotonic() - began
    nodes.shutdown()
    found = difference(reference(work, clips), folder)
    row: Row = {
        "clips": found.clips,
        "nodes": 3,
        "nodes killed after clips": killed,
        "workers lost": lost,
        "missing or doubled": found.only_in_one,
        "streams that differ": found.streams,
        "truth or masks that differ": found.truth,
        "catalog lines that differ": found.labels,
        "credentials that do not verify": found.broken,
        "minutes": round(seconds / 60, 1),
    }
    _save(out, "factory_cluster", f"cluster --clips {clips}", [Table("three Ray nodes against one process", (row,))])
    if not found.is_none or len(killed) < len(others):
        raise typer.Exit(1)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def made(folder: Path) -> int:
    """Clips of a dataset that are done, by their records."""
    return sum(1 for _ in (folder / "records").glob("*.json"))


@app.command()
def kills(
    work: Work, clips: int = 150, times: int = 50, longest: float = 14.0, seed: int = 0, out: Path = RESULTS
) -> None:
    """Kill the driver at random moments all over the work, each time resume; half of the runs have two workers."""
    work.mkdir(parents=True, exist_ok=True)
    folder, progress = work / "killed", work / "killed.json"
    shutil.rmtree(folder, ignore_errors=True)
    draw = random.Random(seed)
    moments: list[str] = []
    there: list[int] = []
    for number in range(times):
        progress.unlink(missing_ok=True)
        # so many more clips, and a moment: by time alone a slow machine would be killed while it starts, and only then
        goal = made(folder) + draw.randint(0, max(1, int(1.4 * clips / times)))
        rest = draw.uniform(0.3, longest) if goal == made(folder) else draw.uniform(0.0, 1.5)
        process = driver(folder, clips, workers=1 + number % 2, progress=progress)
        while process.poll() is None and made(folder) < goal:
            time.sleep(POLL_SECONDS)
        try:
            process.wait(rest)
            moments.append("ended before")
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            now = _read(progress)
            moments.append(str(now.get("stage", "starting")))
            there.append(made(folder))
    finish(driver(folder, clips, workers=2), folder)
    found = difference(reference(work, clips), folder)
    left = [path for path in folder.rglob("*") if path.name.endswith(".part") or "unsigned" in path.name]
    row: Row = {
        "clips": found.clips,
        "kills": times - moments.count("ended before"),
        "while starting": moments.count("starting"),
        "while looking": moments.count("looking"),
        "while filming": moments.count("filming"),
        "while signing": moments.count("signing"),
        "clips there at first, middle and last kill": [there[len(there) * i // 2 - i // 2] for i in range(3) if there],
        "missing or doubled": found.only_in_one,
        "streams that differ": found.streams,
        "truth or masks that differ": found.truth,
        "catalog lines that differ": found.labels,
        "credentials that do not verify": found.broken,
        "remains in the folder": len(left),
    }
    title = "the driver killed (SIGKILL) and resumed, against one undisturbed process"
    _save(out, "factory_kills", f"kills --clips {clips} --times {times}", [Table(title, (row,))])
    if not found.is_none or left:
        raise typer.Exit(1)


@app.command()
def speed(work: Work, clips: int = 24, turns: int = 3, out: Path = RESULTS) -> None:
    """One and two workers, and the maker alone; each turn has all of them, ratios are those of the turns."""
    from statistics import median

    work.mkdir(parents=True, exist_ok=True)
    clocks: dict[str, list[float]] = {name: [] for name in WAYS}
    cores: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(turns):
        for name in clocks:
            folder = work / f"speed_{name}"
            shutil.rmtree(folder, ignore_errors=True)
            wall, used = _timed(folder, clips, name)
            clocks[name].append(wall)
            cores[name].append(used)
    scaling = median(one / two for one, two in zip(clocks["1"], clocks["2"], strict=True))

    def above(way: str, base: str) -> str:
        ratio = median(one / other - 1 for one, other in zip(cores[way], cores[base], strict=True))
        return f"{100 * ratio:+.1f} %"

    rows: list[Row] = [
        {
            "way": WAYS[name],
            "seconds": round(median(clocks[name]), 2),
            "core seconds": round(median(cores[name]), 2),
            "clips a minute": round(60 * clips / median(clocks[name]), 1),
        }
        for name in clocks
    ]
    ratio: Row = {
        "two workers against one": f"{scaling:.2f} x",
        "factory without gate against the maker with its truth, core seconds": above("no gate", "truth"),
        "factory against the maker with its truth": above("1", "truth"),
        "factory against the maker alone": above("1", "bare"),
    }
    notes = (f"{clips} clips of 3 s at 256 px by mesh; without the time to start Python; medians of {turns} turns.",)
    tables = [Table("making clips", tuple(rows)), Table("ratios (medians of those of each turn)", (ratio,))]
    _save(out, "factory_speed", f"speed --clips {clips} --turns {turns}", tables, notes)


def _timed(folder: Path, clips: int, way: str) -> tuple[float, float]:
    """Seconds by the clock and of all cores, measured inside a fresh process without its start."""
    command = [sys.executable, "-m", "benchmarks.factory", "once", str(folder), str(clips), way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall, used = json.loads(done.stdout.splitlines()[-1])
    return float(wall), float(used)


@app.command(hidden=True)
def once(folder: Path, clips: int, way: str) -> None:
    """One timing in this process."""
    design = replace(recipe(), seconds=(3.0, 3.0))
    with as_file(files("countermark") / "demo_assets") as assets:
        gate = Gate.off() if way == "no gate" else Gate()
        place = place_of(workers=2 if way == "2" else 1)
        request = Request(design, folder, assets, assets, limit=clips, place=place, gate=gate)
        if way in ("bare", "truth"):
            run = _bare(request, with_truth=way == "truth")
            next(run)
        began, used = time.monotonic(), _core_seconds()
        if way in ("bare", "truth"):
            for _ in run:
                pass
        else:
            make_dataset(request)
        typer.echo(json.dumps([time.monotonic() - began, _core_seconds() - used]))


def _bare(request: Request, *, with_truth: bool) -> Iterator[None]:
    """The clips of a request made by the maker, encoded and signed, one after the other, by nothing else.

    What it needs to know of them is found before the first pause, which is where timing begins.
    """
    with one_thread():
        begun = False
        for clip, shot, footage in _footage(request):
            if not begun:
                begun = True
                yield
            out = request.folder / f"{clip.id}.mp4"
            film_and_sign(
                footage.frames, footage.sound, out, footage.claim, shot=shot, crf=clip.crf, preset=request.recipe.preset
            )
            if with_truth and footage.masks:
                write_masks(out.with_suffix(".npz"), footage.masks())
                write_truth(out.with_suffix(".parquet"), clip.frames, shot.fps, footage.motion, "masks")
            yield


def _core_seconds() -> float:
    """Of this process and of those it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


@app.command()
def scaling(work: Work, clips: int = 60, out: Path = RESULTS) -> None:
    """Two workers against one on so many clips that starting a process and signing the dataset hardly count."""
    work.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    for name in ("1", "2"):
        folder = work / f"scaling_{name}"
        shutil.rmtree(folder, ignore_errors=True)
        seconds[name], _ = _timed(folder, clips, name)
    row: Row = {
        "clips": clips,
        "seconds, one worker": round(seconds["1"], 1),
        "seconds, two workers": round(seconds["2"], 1),
        "two against one": f"{seconds['1'] / seconds['2']:.2f} x",
    }
    notes = ("Clips of 3 s at 256 px by mesh, whole runs with gate, card and signature; without the start of Python.",)
    _save(out, "factory_scaling", f"scaling --clips {clips}", [Table("two workers against one", (row,))], notes)


@app.command()
def rate(
    work: Work, clips: int = 24, size: int = 512, method: str = "vasa", abreast: str = "1,2,4,8", out: Path = RESULTS
) -> None:
    """Clips an hour, made, encoded and signed by one process, so many at the same time; and where the time goes.

    Meant for a CUDA GPU; without one the methods draw on the processor, and the figures say so.
    """
    import torch

    work.mkdir(parents=True, exist_ok=True)
    design = replace(recipe(), seconds=(4.0, 4.0), size=size)
    rows: list[Row] = []
    with as_file(files("countermark") / "demo_assets") as assets:
        for count in (int(word) for word in abreast.split(",")):
            folder = work / f"rate_{count}"
            shutil.rmtree(folder, ignore_errors=True)
            place = place_of(abreast=count)
            marks: list[tuple[float, int]] = []
            request = Request(design, folder, assets, assets, limit=clips, place=place, method=method)
            make_dataset(request, lambda now, marks=marks: marks.append((time.monotonic(), now.done)))  # type: ignore[misc]
            filming = [(at, done) for at, done in marks if done]
            seconds = filming[-1][0] - filming[0][0]
            rows.append(
                {"clips at the same time": count, "clips an hour": round(3600 * (clips - filming[0][1]) / seconds)}
            )
        stages = _stages(Request(design, work / "stages", assets, assets, limit=4, method=method))
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no CUDA GPU"
    tables = [
        Table(f"{method}, {size} px, clips of 4 s", tuple(rows)),
        Table("seconds a clip, one at a time", (stages,)),
    ]
    command = f"rate --clips {clips} --size {size} --method {method}"
    _save(
        out,
        f"factory_rate_{method}_{size}",
        command,
        tables,
        (device, "without the first clip, which loads what is needed"),
    )


def _stages(request: Request) -> Row:
    """Seconds to draw, to encode, and to mark and sign one clip; the first one is not counted."""
    from media.video import ClipWriter

    shutil.rmtree(request.folder, ignore_errors=True)
    totals = dict.fromkeys(("draw", "encode", "mark, print and sign", "masks"), 0.0)
    for number, (clip, shot, footage) in enumerate(_footage(request)):
        began = time.monotonic()
        frames = list(footage.frames)
        drawn = time.monotonic()
        with ClipWriter(
            request.folder / "a.mp4", shot.fps, shot.size, shot.size, footage.sound, crf=clip.crf
        ) as writer:
            for image in frames:
                writer.add(image)
        encoded = time.monotonic()
        film_and_sign(frames, footage.sound, request.folder / "b.mp4", footage.claim, shot=shot, crf=clip.crf)
        signed = time.monotonic()
        for _ in footage.masks() if footage.masks else ():
            pass
        masked = time.monotonic()
        encoding = encoded - drawn
        spent = (drawn - began, encoding, max(0.0, signed - encoded - encoding), masked - signed)
        if number:
            totals = {name: totals[name] + value for name, value in zip(totals, spent, strict=True)}
    return {name: round(value / (request.clips - 1), 3) for name, value in totals.items()}


def _footage(request: Request) -> Iterator[tuple[PlannedClip, Shot, Footage]]:
    """The planned clips of a request, staged by this process; what it needs to know of inputs is found first."""
    request.folder.mkdir(parents=True)
    plan = Plan.of(request.recipe, looked_at(request), seed=0, method=request.maker.name)
    stage = Stage(request.recipe, 0, request.makers.fingerprints(), OpenMakers(request.makers), Room())
    shot = Shot(request.recipe.size, request.recipe.fps)
    for clip in plan.clips(request.clips):
        yield clip, shot, stage.footage(clip)


class Nowhere:
    """A place where every clip is done at once, and nothing is written: the driver alone is left to measure."""

    def __init__(self) -> None:
        """Nothing was handed out yet."""
        self.peaks: dict[int, float] = {}
        self._count = 0

    def run(self, tasks: Iterable[Task], start: Start[Task, Res]) -> Iterator[Outcome[Task, Res]]:
        """Every task has a result without a file."""
        for task in tasks:
            self._count += 1
            if self._count in (1_000, 10_000, 100_000, 1_000_000):
                self.peaks[self._count] = _resident_megabytes()
            yield Outcome(task, Made({}))  # type: ignore[arg-type]

    def workforce(self) -> Workforce:
        """One."""
        return Workforce()


@app.command()
def million(clips: int = 1_000_000, out: Path = RESULTS) -> None:
    """Plan so many clips, and hand them out to workers that do nothing."""
    from tempfile import TemporaryDirectory

    from forge.outlook import pretend_materials

    design = replace(tiny(), name="million", clips=clips)
    materials = pretend_materials(design, portraits=5000, speech=2000, reals=200_000)
    began = time.process_time()
    plan = Plan.of(design, materials, seed=0, method="mesh")
    seen = sum(1 for _ in plan.clips(clips))
    planning = time.process_time() - began
    place = Nowhere()
    with TemporaryDirectory() as folder:
        request = Request(design, Path(folder), Path(folder), Path(folder), limit=clips, place=place)
        began = time.process_time()
        run = Run.of(request, plan, lambda progress: None, None)
        run.film()
        driving = time.process_time() - began
    rows: list[Row] = [{"clips handed out": count, "memory of the driver, MB": mb} for count, mb in place.peaks.items()]
    facts: Row = {
        "clips": seen,
        "core seconds to plan all, with ids": round(planning, 1),
        "core seconds of the driver": round(driving, 1),
        "microseconds of the driver a clip": round(1e6 * driving / max(1, len(run.done)), 1),
    }
    tables = [Table("a plan of 5,000 portraits, 2,000 recordings, 200,000 real videos", (facts,))]
    tables += [Table("memory while clips are handed out", tuple(rows))]
    _save(out, "factory_million", f"million --clips {clips}", tables)


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _save(out: Path, name: str, command: str, tables: list[Table], notes: tuple[str, ...] = ()) -> None:
    result = Result(name, f"python -m benchmarks.factory {command}", tuple(tables), notes)
    typer.echo(f"{result.save(out)}")
    for table in tables:
        for row in table.rows:
            typer.echo(json.dumps(row))


if __name__ == "__main__":
    app()
