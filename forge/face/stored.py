"""Trained networks of the face in folders: saved with their recipe, loaded without asking for it.

save_face(model, Path("runs/face_256/weights"), recipe=face_256(), facts={"step": 9000})
model = load_face(Path("runs/face_256/weights"))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forge.checkpoint import INDEX, load_sharded, save_sharded
from forge.face.model import FaceModel
from forge.face.recipes import FaceRecipe, FaceShape, RenderNetRecipe
from forge.face.render_net import RenderNet
from forge.portrait import ForgeError

FACE, RENDER_NET = "face", "render_net"
LICENCE = "Apache-2.0; trained on rendered people only"


def save_face(
    model: FaceModel,
    folder: Path,
    *,
    recipe: FaceRecipe,
    facts: Mapping[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a face model's weights in half precision, with its recipe.

    Args:
        model: whose shape is kept.
        folder: of the shards and the index.
        recipe: how it was trained.
        facts: further JSON values (step, minutes, hardware).
        weights: instead of the model's own, for instance their running mean.
    """
    return _save(FACE, weights or model.state_dict(), folder, recipe.to_json(), facts)


def load_face(folder: Path, device: str | torch.device = "cpu") -> FaceModel:
    """A face model in evaluation mode, float32, from a folder of weights or a run's folder.

    Raises:
        ForgeError: when the folder holds no whole set of weights of a face model.
    """
    tensors, facts = _load(FACE, folder, device)
    shape = FaceShape(**_known(FaceShape, facts["recipe"]["shape"]))
    model = FaceModel(shape).to(device)
    fill(model, tensors, folder)
    return model.eval()


def save_render_net(
    net: RenderNet,
    folder: Path,
    *,
    facts: Mapping[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a RenderNet's weights in half precision, with its recipe."""
    return _save(RENDER_NET, weights or net.state_dict(), folder, net.recipe.to_json(), facts)


def load_render_net(folder: Path, device: str | torch.device = "cpu") -> RenderNet:
    """A RenderNet, frozen, in evaluation mode.

    Raises:
        ForgeError: when the folder holds no whole set of weights of a RenderNet.
    """
    tensors, facts = _load(RENDER_NET, folder, device)
    net = RenderNet(RenderNetRecipe(**_known(RenderNetRecipe, facts["recipe"]))).to(device)
    fill(net, tensors, folder)
    return net.eval().requires_grad_(False)


def fill(network: nn.Module, tensors: Mapping[str, Tensor], where: Path, *, partly: bool = False) -> list[str]:
    """Set a network's weights.

    Args:
        network: to be filled in place.
        tensors: by the names of its state.
        where: they came from, for the message.
        partly: take what fits and leave the rest as it is (another size, another decoder).

    Returns:
        Names that were left as they were.

    Raises:
        ForgeError: when a tensor is missing or of another shape, unless `partly`.
    """
    own = network.state_dict()
    fitting = {n: t.to(own[n].dtype) for n, t in tensors.items() if n in own and own[n].shape == t.shape}
    left = sorted(set(own) - set(fitting))
    if left and not partly:
        raise ForgeError(
            f"{where}: does not fit this network ({left[0]} and {len(left) - 1} more); give its own weights"
        )
    network.load_state_dict(fitting, strict=False)
    return left


def _save(
    kind: str, weights: Mapping[str, Tensor], folder: Path, recipe: Mapping[str, Any], facts: Mapping[str, Any] | None
) -> Path:
    """Half precision, one index."""
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    wild = [name for name, value in halves.items() if not bool(value.isfinite().all())]
    if wild:
        raise ForgeError(
            f"{folder}: weights that are not finite ({wild[0]}) are not saved; resume an earlier checkpoint"
        )
    told = {"kind": kind, "recipe": dict(recipe), "licence": LICENCE, **(facts or {})}
    return save_sharded(halves, folder, facts=told)


def _load(kind: str, folder: Path, device: str | torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts, of the right kind."""
    whole_run = not (folder / INDEX).is_file() and (folder / "weights" / INDEX).is_file()
    tensors, facts = load_sharded(folder / "weights" if whole_run else folder, device)
    if facts.get("kind") != kind:
        raise ForgeError(f"{folder}: weights of {facts.get('kind', 'something else')}, expected {kind}")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}, facts


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a recipe as read from JSON; lists become tuples; what this version does not know is left out."""
    names = {f.name for f in fields(kind)}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in names}
