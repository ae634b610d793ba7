"""What runs the student: torch, which is always there, or ONNX Runtime / OpenVINO on exported graphs (`export`).

    engine = TorchEngine(student)
    kept = engine.see(source, own)                       # once per portrait
    shares, paint, shift = engine.mend(kept, inputs)     # per frame; NumPy in, NumPy out

Axes: arrays are (1, C, H, W) float32, colours in [0, 1]. Names and order of a frame's inputs: `INPUTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forge.face.student import Guess, Student
from forge.portrait import ForgeError

FloatArray = NDArray[np.float32]

INPUTS = ("drawn", "worn", "source", "flow", "maps", "own", "told")
OUTPUTS = ("shares", "paint", "shift")
GRAPHS = ("student_see.onnx", "student_mend.onnx")


class Engine(Protocol):
    """Runs the two graphs of the student."""

    name: str

    def see(self, source: FloatArray, own: FloatArray) -> FloatArray:
        """What is kept of a portrait."""
        ...

    def mend(self, kept: FloatArray, inputs: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Shares, paint and shift of one frame."""
        ...


class SeeGraph(nn.Module):
    """`Student.see` as a graph of plain tensors."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, source: Tensor, own: Tensor) -> Tensor:
        """What is kept of a portrait."""
        kept: Tensor = self.student.see(source, own).kept_BChw
        return kept


class MendGraph(nn.Module):
    """`Student.forward` as a graph of plain tensors."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(
        self, kept: Tensor, drawn: Tensor, worn: Tensor, source: Tensor, flow: Tensor, maps: Tensor, own: Tensor,
        told: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Shares, paint and shift of one frame."""
        layers = self.student(kept, Guess(drawn, worn, source, flow, maps, own, told))
        return layers.shares_B4HW, layers.paint_B3HW, layers.shift_B2hw


class TorchEngine:
    """The student in torch."""

    name = "torch"

    def __init__(self, student: Student) -> None:
        self._see, self._mend = SeeGraph(student.eval()), MendGraph(student.eval())

    @torch.inference_mode()
    def see(self, source: FloatArray, own: FloatArray) -> FloatArray:
        """What is kept of a portrait."""
        kept: FloatArray = self._see(torch.from_numpy(source), torch.from_numpy(own)).numpy()
        return kept

    @torch.inference_mode()
    def mend(self, kept: FloatArray, inputs: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Shares, paint and shift of one frame."""
        out = self._mend(torch.from_numpy(kept), *(torch.from_numpy(inputs[name]) for name in INPUTS))
        shares, paint, shift = (value.numpy() for value in out)
        return shares, paint, shift


class OnnxEngine:
    """Exported graphs in ONNX Runtime."""

    name = "onnxruntime"

    def __init__(self, folder: Path, threads: int = 0) -> None:
        """Load the graphs of a folder.

        Args:
            folder: where `forge.face.export.export_student` put them.
            threads: 0 leaves the choice to the library.

        Raises:
            ForgeError: when the library or a graph is missing.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise ForgeError(
                f"onnxruntime is not installed ({error}); pip install onnxruntime, or use torch"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._see, self._mend = (self._session(onnxruntime, folder / graph, options) for graph in GRAPHS)

    @staticmethod
    def _session(library: Any, path: Path, options: Any) -> Any:
        if not path.is_file():
            raise ForgeError(f"{path}: no such graph; make it with python -m forge.face.export --out {path.parent}")
        return library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def see(self, source: FloatArray, own: FloatArray) -> FloatArray:
        """What is kept of a portrait."""
        kept: FloatArray = self._see.run(None, {"source": source, "own": own})[0]
        return kept

    def mend(self, kept: FloatArray, inputs: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Shares, paint and shift of one frame."""
        shares, paint, shift = self._mend.run(None, {"kept": kept, **{name: inputs[name] for name in INPUTS}})
        return shares, paint, shift


class OpenVinoEngine:
    """Exported graphs in OpenVINO."""

    name = "openvino"

    def __init__(self, folder: Path, threads: int = 0) -> None:
        """Load the graphs of a folder.

        Raises:
            ForgeError: when the library or a graph is missing.
        """
        try:
            import openvino
        except ImportError as error:
            raise ForgeError(f"openvino is not installed ({error}); pip install openvino, or use torch") from error
        missing = [graph for graph in GRAPHS if not (folder / graph).is_file()]
        if missing:
            raise ForgeError(
                f"{folder / missing[0]}: no such graph; make it with python -m forge.face.export --out {folder}"
            )
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        self._see, self._mend = (core.compile_model(str(folder / graph), "CPU", config) for graph in GRAPHS)

    def see(self, source: FloatArray, own: FloatArray) -> FloatArray:
        """What is kept of a portrait."""
        kept: FloatArray = np.array(self._see({"source": source, "own": own})[0])
        return kept

    def mend(self, kept: FloatArray, inputs: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Shares, paint and shift of one frame."""
        out = self._mend({"kept": kept, **{name: inputs[name] for name in INPUTS}})
        return np.array(out[0]), np.array(out[1]), np.array(out[2])
