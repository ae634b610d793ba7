"""The machine under a training run: processes that average gradients, precision, compilation, running means.

    with joined_processes() as rank: ...                       # one process, or those of torchrun
    average_gradients(parameters, rank)

Everything here is the same for any network; nothing knows what is trained.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from forge.portrait import ForgeError

COMPILED = ("appearance", "canonical", "decoder")
"""Parts of the face model that are compiled: nine tenths of the work. Each costs up to a minute of compilation."""


@dataclass(frozen=True)
class Rank:
    """This process among those of a run."""

    number: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - a value without state

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.number == 0


@contextmanager
def joined_processes(device: str | None = None) -> Iterator[Rank]:
    """Join the processes that torchrun started, or run alone.

    Args:
        device: `cpu` or `cuda`; by default CUDA where there is one.

    Raises:
        ForgeError: when CUDA is asked for and absent.
    """
    wanted = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ForgeError("no CUDA device on this machine; leave --device out, or give --device cpu")
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) < 2:
        yield Rank(device=torch.device(wanted))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local) if wanted.startswith("cuda") else torch.device("cpu")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Rank(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()


def same_start(networks: Iterable[nn.Module], rank: Rank) -> None:
    """Give every process the weights of the first."""
    if rank.count > 1:
        for network in networks:
            for value in network.state_dict().values():
                dist.broadcast(value, 0)


def agreed(value: float, rank: Rank) -> float:
    """The first process's number, in all of them: they must end, and slow down, at the same step."""
    if rank.count == 1:
        return value
    told = torch.tensor([value], dtype=torch.float64, device=rank.device)
    dist.broadcast(told, 0)
    return float(told.item())


def average_gradients(parameters: Sequence[nn.Parameter], rank: Rank) -> None:
    """Mean of every gradient over all processes, in one message; a gradient that a process lacks counts as zero."""
    if rank.count == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1).float() for g in grads])
    dist.all_reduce(flat)
    flat /= rank.count
    start = 0
    for grad in grads:
        grad.copy_(flat[start : start + grad.numel()].view_as(grad))
        start += grad.numel()


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where a GPU does it at full speed; float32 on a CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def compile_parts(model: nn.Module, attempt: Callable[[], object]) -> str:
    """Compile the heavy parts of a face model and try them; when compilation fails the run goes on without it.

    Args:
        model: changed in place.
        attempt: runs forward and backward once.

    Returns:
        Empty, or why it was given up.
    """
    parts = [getattr(model, name) for name in COMPILED if hasattr(model, name)]
    try:
        for part in parts:
            part.compile(dynamic=False)
        attempt()
    except (RuntimeError, ValueError, TypeError, AttributeError, ImportError, OSError) as error:
        for part in parts:
            part._compiled_call_impl = None
        torch.compiler.reset()
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else type(error).__name__
    return ""


class RunningMean:
    """An exponential mean of a network's weights, young at first."""

    def __init__(self, network: nn.Module, share: float) -> None:
        """Start from the weights as they are.

        Args:
            network: whose weights are followed.
            share: of the mean kept at each step, once it has run for a while.
        """
        self.share, self.steps = share, 0
        self.values = {n: v.detach().clone().float() for n, v in network.named_parameters()}

    def follow(self, network: nn.Module) -> None:
        """One step."""
        self.steps += 1
        keep = min(self.share, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            now = [v.detach().float() for v in network.parameters()]
            torch._foreach_lerp_(list(self.values.values()), now, 1 - keep)

    @contextmanager
    def lent_to(self, network: nn.Module) -> Iterator[None]:
        """The network wears the mean for the length of a block."""
        own = {n: v.detach().clone() for n, v in network.named_parameters()}
        self._put(network, self.values)
        try:
            yield
        finally:
            self._put(network, own)

    @staticmethod
    def _put(network: nn.Module, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(values[name])
