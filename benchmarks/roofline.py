"""What a device could do at best, and what a piece of work asks of it.

    peak = measure_roofline(torch.device("cuda"), torch.bfloat16)      # FLOP/s of a matmul, bytes/s of a copy
    cost = cost_of(lambda: model(x))                                   # FLOPs, and bytes if nothing is fused
    peak.fps(cost)                                                     # no implementation is faster than this

The two peaks are measured in the same process just before, never taken from a data sheet. FLOPs count a multiplication
and an addition as two. Bytes are what every operator reads and writes when none is fused with another: a fused program
moves less, so a measured speed above the bytes' bound is possible, above the arithmetic's it is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

SIDES = {"cuda": 8192, "cpu": 1024}
"""Of the square matmul."""
COPY_BYTES = {"cuda": 2**30, "cpu": 2**26}


@dataclass(frozen=True)
class Cost:
    """What one frame asks for."""

    flops: float
    bytes_unfused: float


@dataclass(frozen=True)
class Roofline:
    """What the device gave to a matmul and to a copy."""

    flops_per_second: float
    bytes_per_second: float

    def fps(self, cost: Cost) -> dict[str, float]:
        """Frames a second at the two bounds."""
        return {
            "by arithmetic": self.flops_per_second / max(cost.flops, 1.0),
            "by bytes, unfused": self.bytes_per_second / max(cost.bytes_unfused, 1.0),
        }


def settle(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_each(work: Callable[[], object], device: torch.device, *, least: float = 0.4, warmup: int = 3) -> float:
    """Seconds of one call by the clock, over at least so much time; the first calls are not counted."""
    for _ in range(warmup):
        work()
    settle(device)
    count, spent = 1, 0.0
    while True:
        start = time.perf_counter()
        for _ in range(count):
            work()
        settle(device)
        spent = time.perf_counter() - start
        if spent >= least:
            return spent / count
        count = max(count + 1, round(count * min(10.0, 1.2 * least / max(spent, 1e-6))))


def measure_roofline(device: torch.device, dtype: torch.dtype, *, least: float = 0.4) -> Roofline:
    """Measure a large matmul and a large copy."""
    side = SIDES[device.type]
    a = torch.randn(side, side, device=device).to(dtype)
    b = torch.randn(side, side, device=device).to(dtype)
    matmul = seconds_each(lambda: a @ b, device, least=least)
    source = torch.zeros(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = seconds_each(lambda: target.copy_(source), device, least=least)
    return Roofline(2 * side**3 / matmul, 2 * source.numel() / copy)


class ByteCounter(TorchDispatchMode):
    """Adds up what every operator reads and writes; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            self.total += sum(t.numel() * t.element_size() for t in _tensors((args, kwargs or {}, out)))
        return out


def _tensors(tree: Any) -> list[Tensor]:
    leaves = torch.utils._pytree.tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def cost_of(work: Callable[[], object], frames: int = 1) -> Cost:
    """FLOPs and unfused bytes of one frame of a call that draws `frames`; the call is made twice."""
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        work()
    with ByteCounter() as counted, torch.no_grad():
        work()
    return Cost(flops.get_total_flops() / frames, counted.total / frames)
