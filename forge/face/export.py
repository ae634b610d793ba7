"""Export the student to ONNX, prove that the graphs say the same as torch, and measure what runs them fastest.

    python -m forge.face.export --out student_onnx/             # two graphs, parity, speed of every engine there is
    facts = export_student(student, Path("student_onnx"))

Two graphs: `student_see.onnx` runs once per portrait, `student_mend.onnx` once per frame (`student_engine` names their
inputs and outputs). Opset 17, static shapes, batch one. int8 is measured, not shipped: see the figures in the card.
Needs the packages `onnx` and, to run the graphs, `onnxruntime` (extra `export`); OpenVINO reads the same files.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forge.face.student import MAPS, TOLD, Student
from forge.face.student_engine import (
    GRAPHS,
    INPUTS,
    OUTPUTS,
    Engine,
    MendGraph,
    OnnxEngine,
    OpenVinoEngine,
    SeeGraph,
    TorchEngine,
)
from forge.face.student_files import WEIGHTS_PATH, load_student
from forge.portrait import ForgeError

FloatArray = NDArray[np.float32]
log = logging.getLogger(__name__)

OPSET = 17
LARGEST_DIFFERENCE = 2e-3
"""Shares and colours of two engines may differ by so much: half a grey level."""


def sample_inputs(student: Student, seed: int = 0) -> dict[str, FloatArray]:
    """Arrays of the right shapes: noise, smooth enough that a warp of it means something."""
    rng = np.random.default_rng(seed)
    side = student.shape.size

    def smooth(channels: int, size: int) -> FloatArray:
        small = rng.random((1, channels, max(size // 16, 2), max(size // 16, 2))).astype(np.float32)
        grown = torch.nn.functional.interpolate(torch.from_numpy(small), size=(size, size), mode="bicubic")
        return np.asarray(grown.clamp(0, 1).numpy())

    return {
        "drawn": smooth(3, side),
        "worn": smooth(3, side),
        "source": smooth(3, side),
        "flow": (smooth(2, side // 4) - np.float32(0.5)) * np.float32(0.2),
        "maps": smooth(MAPS, side // 2),
        "own": smooth(MAPS, side // 2),
        "told": rng.normal(0, 0.5, (1, TOLD)).astype(np.float32),
    }


def export_student(student: Student, folder: Path) -> list[Path]:
    """Write both graphs, each whole or not at all.

    Raises:
        ForgeError: when the package `onnx` is missing.
    """
    try:
        import onnx  # noqa: F401 -- torch's exporter needs it and says so less clearly
    except ImportError as error:
        raise ForgeError(f"onnx is not installed ({error}); pip install 'countermark[export]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    plain = student.eval().to(memory_format=torch.contiguous_format)
    arrays = {name: torch.from_numpy(value) for name, value in sample_inputs(plain).items()}
    kept = SeeGraph(plain)(arrays["source"], arrays["own"])
    jobs: list[tuple[torch.nn.Module, tuple[torch.Tensor, ...], list[str], list[str]]] = [
        (SeeGraph(plain), (arrays["source"], arrays["own"]), ["source", "own"], ["kept"]),
        (MendGraph(plain), (kept, *(arrays[name] for name in INPUTS)), ["kept", *INPUTS], list(OUTPUTS)),
    ]
    paths = []
    for graph, (module, inputs, names, outputs) in zip(GRAPHS, jobs, strict=True):
        path, part = folder / graph, folder / f".{graph}.part"
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module, inputs, str(part), input_names=names, output_names=outputs, opset_version=OPSET, dynamo=False
            )
        part.replace(path)
        paths.append(path)
    return paths


def differences(engine: Engine, reference: Engine, inputs: Mapping[str, FloatArray]) -> dict[str, float]:
    """Largest absolute difference of each output of two engines, both fed with the reference's own `kept`."""
    kept = reference.see(inputs["source"], inputs["own"])
    found = {"kept": float(np.abs(engine.see(inputs["source"], inputs["own"]) - kept).max())}
    pairs = zip(OUTPUTS, engine.mend(kept, inputs), reference.mend(kept, inputs), strict=True)
    return found | {name: float(np.abs(a - b).max()) for name, a, b in pairs}


def timed(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median wall and CPU milliseconds of a call."""
    work()
    walls, busy = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        busy.append(time.process_time() - cpu)
    return 1000 * float(np.median(walls)), 1000 * float(np.median(busy))


def engines(folder: Path, student: Student, threads: int) -> dict[str, Engine]:
    """Every engine that is installed."""
    found: dict[str, Engine] = {"torch": TorchEngine(student)}
    for kind in (OnnxEngine, OpenVinoEngine):
        try:
            found[kind.name] = kind(folder, threads)
        except ForgeError as error:
            log.info("left out: %s", error)
    return found


def quantised(folder: Path, student: Student) -> Path:
    """An int8 copy of the graphs (static, per channel), calibrated on sample inputs; its folder.

    Raises:
        ForgeError: when onnxruntime is missing.
    """
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    except ImportError as error:
        raise ForgeError(f"onnxruntime is not installed ({error}); pip install 'countermark[export]'") from error
    torch_engine = TorchEngine(student)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Feeds sample inputs."""

        def __init__(self, names: tuple[str, ...]) -> None:
            self._rows = iter([self._row(seed, names) for seed in range(8)])

        def _row(self, seed: int, names: tuple[str, ...]) -> dict[str, FloatArray]:
            row = sample_inputs(student, seed)
            row["kept"] = torch_engine.see(row["source"], row["own"])
            return {name: row[name] for name in names}

        def get_next(self) -> dict[str, FloatArray] | None:
            """The next inputs."""
            return next(self._rows, None)

    out = folder / "int8"
    out.mkdir(exist_ok=True)
    for graph, names in zip(GRAPHS, (("source", "own"), ("kept", *INPUTS)), strict=True):
        quantize_static(
            str(folder / graph), str(out / graph), Reader(names), quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=["Conv"],
        )  # fmt: skip
    return out


def measure(
    folder: Path, student: Student, *, threads: int = 2, repeats: int = 20, int8: bool = True
) -> dict[str, Any]:
    """Parity and speed of every engine: wall and CPU milliseconds a frame with so many threads."""
    torch.set_num_threads(threads)
    inputs = sample_inputs(student)
    found = engines(folder, student, threads)
    reference = found["torch"]
    if int8 and "onnxruntime" in found:
        found["onnxruntime int8"] = OnnxEngine(quantised(folder, student), threads)
    rows: dict[str, Any] = {}
    for name, engine in found.items():
        kept = engine.see(inputs["source"], inputs["own"])
        wall, busy = timed(lambda e=engine, k=kept: e.mend(k, inputs), repeats)  # type: ignore[misc]
        rows[name] = {
            "wall_ms": round(wall, 2),
            "cpu_ms": round(busy, 2),
            "difference": {k: round(v, 6) for k, v in differences(engine, reference, inputs).items()},
        }
    return {"threads": threads, "repeats": repeats, "engines": rows}


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Export the student to ONNX and measure it.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the two graphs")
    parser.add_argument("--weights", type=Path, default=WEIGHTS_PATH)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        student, _ = load_student(options.weights)
        export_student(student, options.out)
        facts = measure(options.out, student, threads=options.threads, repeats=options.repeats)
    except ForgeError as error:
        log.error("%s", error)
        return 1
    (options.out / "speed.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    log.info("%s", json.dumps(facts, indent=1))
    worst = max(facts["engines"].get("onnxruntime", {"difference": {"none": 0.0}})["difference"].values())
    return 0 if worst <= LARGEST_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
