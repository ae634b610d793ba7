"""A training run of the face at one moment: networks, optimisers, running mean; written down and taken up again.

run = start(face_256(), Rank())
save(run, Path("runs/face_256"))
take_up(run, Path("runs/face_256"), torch.device("cpu"))        # or shipped weights
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forge.checkpoint import INDEX, load_sharded, read_facts, save_sharded
from forge.face.blocks import lay_out
from forge.face.critic import IdentityProbe, PatchCritic
from forge.face.machine import Rank, RunningMean
from forge.face.model import FaceModel
from forge.face.objective import Aids
from forge.face.recipes import FaceRecipe
from forge.face.render_net import RenderNet
from forge.face.stored import fill, load_render_net, save_face
from forge.portrait import ForgeError

BETAS = (0.9, 0.99)


@dataclass
class Run:
    """Everything that changes while a face learns."""

    recipe: FaceRecipe
    model: FaceModel
    aids: Aids
    mean: RunningMean
    optimiser: torch.optim.Optimizer
    critic_optimiser: torch.optim.Optimizer
    step: int = 0
    unusable: int = 0
    retreats: int = 0
    rate_scale: float = 1.0
    trained_seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All that the first optimiser moves."""
        return [*self.model.parameters(), *self.aids.probe.parameters()]


def start(recipe: FaceRecipe, rank: Rank, render_net: Path | None = None) -> Run:
    """Networks and optimisers with fresh weights."""
    device = rank.device
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    model = FaceModel(recipe.shape).to(device)
    lay_out(model)
    reader: RenderNet | None = load_render_net(render_net, device) if render_net is not None else None
    aids = Aids(IdentityProbe(recipe.shape.identity_dims).to(device), PatchCritic().to(device), reader)
    settings: dict[str, Any] = {"betas": BETAS, "weight_decay": recipe.weight_decay, "fused": True}
    warps = {id(parameter) for parameter in model.warp.parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in [*model.parameters(), *aids.probe.parameters()] if id(p) not in warps], "share": 1.0},
        {"params": list(model.warp.parameters()), "share": recipe.warp_rate},
    ]
    return Run(
        recipe,
        model.train(),
        aids,
        RunningMean(model, recipe.ema),
        torch.optim.AdamW(groups, lr=recipe.learning_rate, **settings),
        torch.optim.AdamW(aids.critic.parameters(), lr=recipe.learning_rate, **settings),
    )


def save(run: Run, out: Path, *, state: Path | None = None) -> None:
    """Write the running mean to `out/weights`, and to `state`, where given, all that is needed to go on."""
    facts = {"step": run.step, "trained_seconds": round(run.trained_seconds, 1), "torch": torch.__version__}
    own = dict(run.model.named_parameters())
    save_face(
        run.model, out / "weights", recipe=run.recipe, facts=facts | run.facts,
        weights={name: run.mean.values[name].to(own[name].dtype) for name in own},
    )  # fmt: skip
    if state is None:
        return
    tensors: dict[str, Tensor] = {}
    for prefix, network in (("model", run.model), ("probe", run.aids.probe), ("critic", run.aids.critic)):
        tensors |= {f"{prefix}.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"mean.{name}": value for name, value in run.mean.values.items()}
    for prefix, optimiser in (("adam", run.optimiser), ("adam_critic", run.critic_optimiser)):
        for number, values in optimiser.state_dict()["state"].items():
            tensors |= {f"{prefix}.{number}.{key}": torch.as_tensor(value) for key, value in values.items()}
    told = facts | {"kind": "face state", "recipe": run.recipe.to_json(), "mean_steps": run.mean.steps}
    save_sharded(tensors, state, facts=told | {"rate_scale": run.rate_scale})


def take_up(run: Run, where: Path, device: torch.device) -> None:
    """Go on from a run's state, or begin from weights.

    Raises:
        ForgeError: when there is neither, or the state is of another recipe's network.
    """
    places = [where / "state", where / "weights", where] if where.name != INDEX else [where.parent]
    folder = next((place for place in places if (place / INDEX).is_file()), None)
    if folder is None:
        raise ForgeError(f"{where}: no {INDEX} here, in state/ or in weights/; give a run's folder or one of weights")
    kind = read_facts(folder).get("kind")
    tensors, facts = load_sharded(folder, device)
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    if kind == "face":
        left = fill(run.model, tensors, folder, partly=True)
        if len(left) > len(run.model.state_dict()) // 2:
            raise ForgeError(f"{folder}: weights of a network too different from recipe {run.recipe.name}")
        run.facts |= {"began_from_step": facts.get("step"), "left_out": len(left)}
        return
    if kind != "face state":
        raise ForgeError(f"{folder}: {kind or 'unknown'} is nothing to train a face from; give a face's run or weights")
    for prefix, network in (("model", run.model), ("probe", run.aids.probe), ("critic", run.aids.critic)):
        fill(network, _under(tensors, prefix), folder)
    run.mean.values = {n: v.clone() for n, v in _under(tensors, "mean").items()}
    run.mean.steps, run.step = int(facts["mean_steps"]), int(facts["step"])
    run.rate_scale = float(facts.get("rate_scale", 1.0))
    for prefix, optimiser in (("adam", run.optimiser), ("adam_critic", run.critic_optimiser)):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, prefix).items():
            number, key = name.split(".", 1)
            state.setdefault(int(number), {})[key] = value.cpu() if key == "step" and device.type == "cpu" else value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    run.facts |= {"resumed_at_step": run.step}


def resumed_mean(run: Run) -> RunningMean:
    """The running mean of a state, or a new one of the weights as they are now."""
    return run.mean if run.mean.steps else RunningMean(run.model, run.recipe.ema)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors of one prefix, without it."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}
