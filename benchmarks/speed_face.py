"""How fast the learned face draws: `python -m benchmarks.speed face`, on a GPU or, smaller, on a CPU.

    python -m benchmarks.speed face                      # CUDA when there is one: all of it, about six minutes
    python -m benchmarks.speed face --tiny               # seconds, on any machine: proves that every step runs
    python -m benchmarks.speed face --minutes 3          # the most telling cases first, the rest is listed as left out

Measured by number, each with the clock of this process and a device that has finished:
    1. roofline: FLOP/s of a large matmul and bytes/s of a large copy, on this very device
    2. cost: FLOPs and unfused bytes of a frame
    3. decoders S, M, L at 256 and 512 pixels, batches of 1, 8, 16, 32: eager, as a CUDA graph, compiled, compiled in a
       CUDA graph; warp, decoder and conversion to 8-bit RGB included, the portrait seen before
    4. + readback: frames in pinned host memory, copied while the next batch is drawn
    5. + encode: H.264 files written by a pool of threads
    6. the portrait itself, once: E_app, G3D, E_id
    7. the CPU student: torch, ONNX Runtime, OpenVINO
Weights are random: speed does not depend on them. Every figure is appended at once to `speed_face_<hardware>.jsonl`;
a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.roofline import Cost, Roofline, cost_of, measure_roofline, seconds_each, settle
from benchmarks.speed_student import student_rows
from benchmarks.tables import RESULTS, Result, Table, hardware
from forge.face.fast import FastFace
from forge.face.model import FaceModel
from forge.face.recipes import FaceShape, face_256, face_tiny
from media.video import ClipWriter

Row = dict[str, object]
Draw = Callable[[], Tensor]
Say = Callable[[str], None]
COMMAND = "python -m benchmarks.speed face"
STAGES = ("GPU only", "+ readback", "+ encode")
MODES = ("eager", "graph", "compiled", "compiled graph")
PAPER_FPS = 45.0
"""VASA-1, offline, 512 x 512, RTX 4090."""
ENCODERS = 12
"""Files written at a time, each by its own single thread of x264."""


@dataclass(frozen=True)
class Case:
    """One thing to time."""

    size: int
    decoder: str
    batch: int
    mode: str
    stage: str = "GPU only"

    @property
    def key(self) -> str:
        """Its name among the results."""
        return f"{self.size} {self.decoder} {self.batch} {self.mode} {self.stage}"


@dataclass
class Log:
    """Figures so far, on disk the moment they are known."""

    path: Path
    rows: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Go on from an earlier run; a line cut in two is dropped."""
        if self.path.is_file():
            text = self.path.read_text(encoding="utf-8")
            if not text.endswith("\n"):
                self.path.write_text(text + "\n", encoding="utf-8")
            for line in text.splitlines():
                if line.endswith("}"):
                    row = json.loads(line)
                    self.rows[str(row["key"])] = row

    def add(self, key: str, row: Row) -> Row:
        """Append one figure."""
        self.rows[key] = {"key": key, **row}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[key]) + "\n")
        return self.rows[key]


def cases(tiny: bool, cuda: bool) -> list[Case]:
    """What is timed, the most telling first."""
    if tiny:
        modes = MODES if cuda else ("eager",)
        found = [Case(64, "XS", batch, mode) for mode in modes for batch in (1, 2)]
        return found + [Case(64, "XS", 2, "eager", stage) for stage in ("+ readback", "+ encode")]
    if not cuda:
        return [Case(256, decoder, batch, "eager") for decoder in ("S", "M") for batch in (1, 2)]
    return gpu_cases()


def gpu_cases() -> list[Case]:
    """Neighbours share a drawer, and what compiling costs comes after what it does not."""
    batches = (16, 1, 32, 8)
    found = [Case(512, "M", 16, "graph", stage) for stage in STAGES]
    found += [Case(512, "M", batch, mode) for mode in ("graph", "eager") for batch in batches]
    found += [Case(512, "M", 16, "compiled graph", stage) for stage in STAGES]
    found += [Case(256, "M", batch, mode) for mode in ("graph", "eager") for batch in batches]
    for size, decoder in ((512, "S"), (512, "L"), (256, "S"), (256, "L")):
        found += [Case(size, decoder, batch, mode) for mode in ("graph", "eager") for batch in batches]
    found += [Case(256, "M", 16, "compiled graph", stage) for stage in STAGES]
    found += [Case(512, "M", batch, mode) for batch in batches for mode in ("compiled graph", "compiled")]
    found += [Case(256, "M", 16, "compiled")]
    found += [Case(512, decoder, 16, "compiled graph") for decoder in ("S", "L")]
    return list(dict.fromkeys(found))


def shape_of(size: int, decoder: str) -> FaceShape:
    """The networks of a case."""
    return face_tiny().shape if decoder == "XS" else replace(face_256().shape, size=size, decoder=decoder)


@dataclass(eq=False)
class Scene:
    """A model with random weights and a portrait."""

    model: FaceModel
    portrait: Tensor
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, size: int, decoder: str, device: torch.device) -> Scene:
        """The same weights and portrait every time."""
        torch.manual_seed(0)
        model = FaceModel(shape_of(size, decoder)).to(device).eval().requires_grad_(False)
        portrait = torch.rand(1, 3, model.shape.size, model.shape.size, device=device)
        return cls(model, portrait, device, torch.bfloat16 if device.type == "cuda" else torch.float32)

    def drawer(self, batch: int, mode: str) -> Draw:
        """A call that draws a batch as (N, H, W, 3) uint8 on the device, as the product does it."""
        if mode.startswith("compiled"):
            # every face shares one code object: without this the ninth would quietly run uncompiled
            torch.compiler.reset()
        # a copy: the fast path casts the weights that it is given
        face = FastFace(
            copy.deepcopy(self.model), self.portrait, batch=batch, compile=mode.startswith("compiled"),
            graph=mode.endswith("graph"),
        )  # fmt: skip
        generator = torch.Generator().manual_seed(1)
        pose = torch.randn(batch, 6, generator=generator) * torch.tensor([8, 5, 3, 0.05, 0.05, 0.03])
        dyn = torch.rand(batch, 64, generator=generator) * 0.3
        face.draw(pose.to(self.device), dyn.to(self.device))
        return face.step


def read_back(draw: Draw, device: torch.device, slots: int = 3) -> Callable[[], Iterator[np.ndarray]]:
    """Endless batches in host memory: a ring of pinned buffers, copied while the next batch is drawn."""
    first = draw()
    if device.type != "cuda":

        def plain() -> Iterator[np.ndarray]:
            while True:
                yield draw().numpy()

        return plain
    ring = [torch.empty(first.shape, dtype=torch.uint8, pin_memory=True) for _ in range(slots)]
    copies = torch.cuda.Stream(device)

    def stream() -> Iterator[np.ndarray]:
        pending: list[tuple[int, torch.cuda.Event]] = []
        number = 0
        while True:
            # a graph writes the same tensor again: what it holds leaves first, on the device, without waiting
            held = draw().clone()
            done = torch.cuda.Event()
            copies.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(copies):
                ring[number % slots].copy_(held, non_blocking=True)
                held.record_stream(copies)
                done.record(copies)
            pending.append((number % slots, done))
            number += 1
            if len(pending) == slots - 1:
                slot, event = pending.pop(0)
                event.synchronize()
                yield ring[slot].numpy()

    return stream


def fps_of_stream(batches: Iterator[np.ndarray], take: Callable[[np.ndarray], None], seconds: float) -> float:
    """Frames a second of a stream of batches, after two that are not counted."""
    for _ in range(2):
        take(next(batches))
    frames, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        batch = next(batches)
        take(batch)
        frames += len(batch)
    return frames / (time.perf_counter() - start)


def fps_encoded(batches: Iterator[np.ndarray], size: int, seconds: float, files: int) -> float:
    """Frames a second into finished H.264 files, several at a time; the files' closing is part of the time."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(files) as pool:
        writers = [
            ClipWriter(Path(folder) / f"{i}.mp4", Fraction(25), size, size, preset="veryfast") for i in range(files)
        ]
        waiting: list[Future[None] | None] = [None] * files

        def write(writer: ClipWriter, frames: np.ndarray) -> None:
            for frame in frames:
                writer.add(frame)

        frames, turn, start = 0, 0, time.perf_counter()
        while time.perf_counter() - start < seconds or turn < files:
            earlier = waiting[turn % files]
            if earlier is not None:
                earlier.result()
            batch = next(batches).copy()
            waiting[turn % files] = pool.submit(write, writers[turn % files], batch)
            frames += len(batch)
            turn += 1
        for future in waiting:
            if future is not None:
                future.result()
        list(pool.map(ClipWriter.close, writers))
        return frames / (time.perf_counter() - start)


def time_case(case: Case, draw: Draw, device: torch.device, *, least: float) -> float:
    """Frames a second of one case."""
    if case.stage == "GPU only":
        return case.batch / seconds_each(draw, device, least=least)
    batches = read_back(draw, device)()
    if case.stage == "+ readback":
        return fps_of_stream(batches, lambda batch: None, max(least, 0.5))
    size = shape_of(case.size, case.decoder).size
    return fps_encoded(batches, size, 4 * least, ENCODERS if device.type == "cuda" else 2)


def portrait_rows(scene: Scene, case: Case, least: float) -> Row:
    """Seconds of what is done once a portrait."""

    def see() -> object:
        with torch.no_grad(), torch.autocast(scene.device.type, scene.dtype, enabled=scene.dtype != torch.float32):
            return scene.model.see(scene.portrait)

    return {
        "size": scene.model.shape.size, "decoder": case.decoder,
        "ms a portrait": 1000 * seconds_each(see, scene.device, least=least),
    }  # fmt: skip


def measure(
    log: Log,
    todo: Sequence[Case],
    device: torch.device,
    *,
    least: float,
    deadline: float,
    say: Say,
    keep: Callable[[], object] = lambda: None,
) -> None:
    """Time every case that is not known yet, models and drawers shared by neighbouring cases.

    Args:
        log: figures so far; new ones are added.
        todo: cases in order.
        device: where.
        least: seconds that a figure is measured over.
        deadline: of `time.monotonic`; no case is begun after it.
        say: told of every figure.
        keep: called after every figure, so that a run that is ended leaves its tables.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    if "roofline" not in log.rows:
        peak = measure_roofline(device, dtype, least=least)
        log.add("roofline", {"TFLOP/s of a matmul": peak.flops_per_second / 1e12, "GB/s of a copy":
                             peak.bytes_per_second / 1e9, "dtype": str(dtype).removeprefix("torch.")})  # fmt: skip
    scene: Scene | None = None
    held: tuple[str, Draw] | None = None
    for case in todo:
        if "fps" in log.rows.get(case.key, {}):
            continue
        if time.monotonic() > deadline:
            say(f"left out, no time: {case.key}")
            continue
        try:
            name = f"{case.size} {case.decoder}"
            if scene is None or held is None or not held[0].startswith(name):
                held, scene = None, Scene.of(case.size, case.decoder, device)
                first_look(log, scene, case, least)
            known = f"{name} {case.batch} {case.mode}"
            if held is None or held[0] != known:
                began = time.perf_counter()
                held = known, scene.drawer(case.batch, case.mode)
                held[1]()
                settle(device)
                say(f"{known}: ready after {time.perf_counter() - began:.1f} s")
            fps = time_case(case, held[1], device, least=least)
        except faults() as error:
            # one case that does not fit or compile must not cost the session the others
            log.add(case.key, {"size": case.size, "decoder": case.decoder, "batch": case.batch, "mode": case.mode,
                               "stage": case.stage, "reason": str(error).splitlines()[0][:160]})  # fmt: skip
            say(f"failed: {case.key}: {str(error).splitlines()[0][:160]}")
            held = None
            continue
        log.add(case.key, {"size": case.size, "decoder": case.decoder, "batch": case.batch, "mode": case.mode,
                           "stage": case.stage, "fps": fps})  # fmt: skip
        keep()
        say(f"{case.key}: {fps:.1f} fps")


def faults() -> tuple[type[Exception], ...]:
    """What a case may fail with: no memory, no compiler, a kernel that this card does not take."""
    try:
        from triton.errors import TritonError
    except ImportError:
        return RuntimeError, OSError, ValueError
    return RuntimeError, OSError, ValueError, TritonError


def first_look(log: Log, scene: Scene, case: Case, least: float) -> None:
    """Cost of a frame, and time of a portrait, once for every model."""
    name = f"{case.size} {case.decoder}"
    if f"cost {name}" not in log.rows:
        cost = cost_of(scene.drawer(1, "eager"))
        parameters = sum(p.numel() for p in scene.model.parameters())
        log.add(f"cost {name}", {"size": case.size, "decoder": case.decoder, "flops": cost.flops,
                                 "bytes": cost.bytes_unfused, "parameters": parameters})  # fmt: skip
    if f"portrait {name}" not in log.rows:
        log.add(f"portrait {name}", portrait_rows(scene, case, least))


def number(value: object) -> float:
    """A figure read back from JSON."""
    return float(str(value))


def tables_of(log: Log) -> tuple[Table, ...]:
    """What was measured, as tables: roofline, cost against it, frames a second, portrait, student."""
    peak_row = log.rows["roofline"]
    peak = Roofline(number(peak_row["TFLOP/s of a matmul"]) * 1e12, number(peak_row["GB/s of a copy"]) * 1e9)
    costs = {k.removeprefix("cost "): row for k, row in log.rows.items() if k.startswith("cost ")}
    cost_rows: list[Row] = []
    for name, row in costs.items():
        bound = peak.fps(Cost(number(row["flops"]), number(row["bytes"])))
        best = [r for k, r in log.rows.items() if k.startswith(name) and "fps" in r and r["stage"] == "GPU only"]
        fastest = max(best, key=lambda r: number(r["fps"]), default=None)
        cost_rows.append(
            {"size": row["size"], "decoder": row["decoder"], "parameters, million": number(row["parameters"]) / 1e6,
             "GFLOP a frame": number(row["flops"]) / 1e9, "MB a frame, unfused": number(row["bytes"]) / 1e6}
            | {f"fps bound {way}": round(fps, 1) for way, fps in bound.items()}
            | ({"fastest fps": round(number(fastest["fps"]), 1), "how": f"{fastest['mode']}, batch {fastest['batch']}",
                "share of the arithmetic": number(fastest["fps"]) / bound["by arithmetic"]} if fastest else {})
        )  # fmt: skip
    timed: dict[tuple[object, ...], Row] = {}
    for row in log.rows.values():
        if "stage" not in row:
            continue
        head = (row["size"], row["decoder"], row["mode"], row["stage"])
        first = dict(zip(("size", "decoder", "mode", "stage"), head, strict=True))
        shown = round(number(row["fps"]), 1) if "fps" in row else f"failed: {row['reason']}"
        timed.setdefault(head, first)[f"batch {row['batch']}, fps"] = shown
    portraits = [
        {k: v for k, v in row.items() if k != "key"} for n, row in log.rows.items() if n.startswith("portrait")
    ]
    students = [{k: v for k, v in row.items() if k != "key"} for n, row in log.rows.items() if n.startswith("student")]
    plain = {k: v for k, v in peak_row.items() if k != "key"}
    tables = [
        Table("roofline, measured", (plain,)),
        Table("what a frame asks for, and the bounds", tuple(cost_rows)),
        Table("frames a second: warp, decoder, 8-bit RGB", tuple(timed.values())),
        Table("once a portrait: E_app, G3D, E_id, E_mot", tuple(portraits)),
    ]
    return (*tables, Table("the CPU student", tuple(students))) if students else tuple(tables)


def device_name(device: torch.device) -> str:
    """The device as people call it."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {hardware()}"
    return hardware()


def main(argv: list[str] | None = None) -> int:
    """Measure what is not measured yet, and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed face", description="Speed of the learned face.")
    parser.add_argument("--tiny", action="store_true", help="toy sizes: does every step run here?")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=6.0, help="no further case is begun after so long")
    parser.add_argument("--fresh", action="store_true", help="forget earlier figures of this hardware")
    parser.add_argument("--threads", type=int, help="of the CPU; by default all cores")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args(argv)
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    device = torch.device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    name = "speed_face_" + re.sub(r"\W+", "_", device_name(device).split(",")[0].lower()).strip("_")
    name += "_tiny" if options.tiny else ""
    log = Log(options.out / f"{name}.jsonl")
    if options.fresh:
        log.path.unlink(missing_ok=True)
        log = Log(log.path)
    least = 0.05 if options.tiny else 0.4
    deadline = time.monotonic() + 60 * options.minutes
    todo = cases(options.tiny, device.type == "cuda")

    def keep() -> Path:
        saved = Result(name, COMMAND, tables_of(log), notes_of(log, todo, device), device_name(device))
        return saved.save(options.out)

    measure(log, todo, device, least=least, deadline=deadline, say=say, keep=keep)
    if not any(key.startswith("student") for key in log.rows) and time.monotonic() < deadline:
        sizes = (256,) if options.tiny else (256, 512)
        for row in student_rows(sizes, frames=3 if options.tiny else 25, least=least, threads=options.threads or 0):
            log.add(f"student {row['engine']} {row.get('size', '')}", row)
    say(str(keep()))
    return 0


def notes_of(log: Log, todo: Sequence[Case], device: torch.device) -> tuple[str, ...]:
    """How it was measured, the best against the paper, and what is missing."""
    missing = [case.key for case in todo if "fps" not in log.rows.get(case.key, {})]
    whole = [row for row in log.rows.values() if row.get("size") == 512 and "fps" in row]
    fast = {stage: max((number(r["fps"]) for r in whole if r["stage"] == stage), default=0.0) for stage in STAGES}
    notes = [
        "Random weights; bfloat16, channels last on CUDA, float32 on a CPU. FLOPs: a multiply-add is two; bytes: what "
        "all operators read and write when none is fused. GPU only: drawn frames as 8-bit RGB stay on the device.",
        f"Encoding: H.264, preset veryfast, {ENCODERS if device.type == 'cuda' else 2} files at a time.",
    ]
    notes += [
        f"Fastest at 512 x 512, {stage}: {fps:.0f} fps, {fps / PAPER_FPS:.1f} times the paper's {PAPER_FPS:g}."
        for stage, fps in fast.items()
        if fps
    ]
    return (*notes, f"Not measured: {'; '.join(missing)}.") if missing else tuple(notes)


if __name__ == "__main__":
    sys.exit(main())
