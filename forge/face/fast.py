"""One portrait, drawn as fast as the machine can: weights and appearance cached, one graph a batch, bytes out.

    face = FastFace(model, portrait_13HW, batch=8)
    for frames_NHW3 in face.frames(pose_T6, dyn_T64): ...          # uint8 on the device, T in batches of 8

Axes: N frames of a batch, T frames of a motion, C channels, H W pixels.

On CUDA: bfloat16, channels last, compiled, then captured in a CUDA graph, so that a batch is one launch. Shapes never
depend on data and nothing asks the GPU anything. On a CPU the same code runs in float32, without graph or compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from forge.face.appearance import Appearance
from forge.face.model import FaceModel
from forge.face.motion_encoder import DYN_DIMS, POSE_DIMS

WARM_UP = 3


class FastFace:
    """A model, one portrait's appearance and a fixed batch size."""

    def __init__(
        self,
        model: FaceModel,
        portrait_13HW: Tensor,
        *,
        batch: int = 8,
        compile: bool | None = None,
        graph: bool | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """See the portrait and prepare the way of drawing it.

        Args:
            model: on its device; its weights are cast in place.
            portrait_13HW: [0, 1], the model's size.
            batch: frames drawn at once.
            compile: by default on CUDA.
            graph: by default on CUDA.
            dtype: by default bfloat16 on CUDA, float32 elsewhere.
        """
        device = portrait_13HW.device
        on_gpu = device.type == "cuda"
        self.batch, self.device = batch, device
        self.dtype = dtype or (torch.bfloat16 if on_gpu else torch.float32)
        with torch.inference_mode():
            seen = model.eval().see(portrait_13HW.float())
        self.model = model.for_inference(self.dtype)
        # the volume's channels last once, so that the sampling kernel never copies it
        self.appearance = Appearance(
            seen.volume_BCDHW.to(self.dtype, memory_format=torch.channels_last_3d),
            seen.whence_B3DHW.float().clone(),
            seen.identity_BI.float().clone(),
            seen.half_BCHW.to(self.dtype, memory_format=torch.channels_last),
            seen.quarter_BCHW.to(self.dtype, memory_format=torch.channels_last),
            seen.image_B3HW.to(self.dtype, memory_format=torch.channels_last),
        )
        self._pose_N6 = torch.zeros(batch, POSE_DIMS, device=device)
        self._dyn_N64 = torch.zeros(batch, DYN_DIMS, device=device)
        draw: Callable[[Tensor, Tensor], Tensor] = self._draw
        if on_gpu if compile is None else compile:
            draw = torch.compile(self._draw, mode="max-autotune-no-cudagraphs", dynamic=False)
        self._run = self._captured(draw) if (on_gpu if graph is None else graph) else self._plain(draw)

    def _draw(self, pose_N6: Tensor, dyn_N64: Tensor) -> Tensor:
        """(N, H, W, 3) uint8."""
        image = self.model.draw(self.appearance, pose_N6, dyn_N64)
        return (image * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _plain(self, draw: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
        """Draw what the inputs hold."""

        def run() -> Tensor:
            with torch.inference_mode():
                return draw(self._pose_N6, self._dyn_N64)

        return run

    def _captured(self, draw: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
        """The same as one CUDA graph."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode(), torch.cuda.stream(side):
            for _ in range(WARM_UP):
                draw(self._pose_N6, self._dyn_N64)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph):
            out = draw(self._pose_N6, self._dyn_N64)

        def run() -> Tensor:
            graph.replay()
            return out

        return run

    def step(self) -> Tensor:
        """Draw the inputs as they are: (N, H, W, 3) uint8, overwritten by the next step where there is a graph."""
        return self._run()

    def draw(self, pose_N6: Tensor, dyn_N64: Tensor) -> Tensor:
        """Draw up to `batch` frames: (N, H, W, 3) uint8 on the device, the caller's own."""
        count = len(pose_N6)
        if not 0 < count <= self.batch:
            raise ValueError(f"between 1 and {self.batch} frames at once, got {count}")
        self._pose_N6[:count].copy_(pose_N6)
        self._dyn_N64[:count].copy_(dyn_N64)
        return self.step()[:count].clone()

    def frames(self, pose_T6: Tensor, dyn_T64: Tensor) -> Iterator[Tensor]:
        """Draw a motion of any length, batch by batch."""
        for first in range(0, len(pose_T6), self.batch):
            yield self.draw(pose_T6[first : first + self.batch], dyn_T64[first : first + self.batch])
