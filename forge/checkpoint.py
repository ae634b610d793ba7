"""Weights on disk: safetensors shards of at most 15 MiB and one JSON index, replaced as a whole or not at all.

    save_sharded({"model.stem.weight": tensor}, Path("runs/face_256/weights"), facts={"recipe": "face_256"})
    tensors, facts = load_sharded(Path("runs/face_256/weights"))

A folder holds one set of weights: `index.json` and the shards that it names, with their sizes and SHA-256 digests.
A shard of another save, a truncated one or a missing one is refused, so weights are never a mixture of two moments.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from forge.portrait import ForgeError

LIMIT_BYTES = 15 * 2**20
"""A shard is never larger: many hosts refuse or misplace files above 16 MiB."""
HEADER_BYTES = 2**17
"""Set aside for the names in a shard's header."""
INDEX = "index.json"
FORMAT = "countermark-weights-1"


def save_sharded(
    tensors: Mapping[str, Tensor], folder: Path, *, facts: Mapping[str, Any] | None = None, limit: int = LIMIT_BYTES
) -> Path:
    """Write tensors as shards and an index; an earlier set in the folder stays valid until the index is replaced.

    Args:
        tensors: by name; any device; saved in their own dtype.
        folder: made when missing.
        facts: JSON values kept in the index (recipe, step, licence ...).
        limit: most bytes of a shard.

    Returns:
        The path of the index.

    Raises:
        ForgeError: when nothing is given or the folder cannot be written.
    """
    if not tensors:
        raise ForgeError(f"{folder}: no tensors to save")
    if limit <= HEADER_BYTES:
        raise ValueError(f"limit must be above {HEADER_BYTES} bytes, got {limit}")
    shards = _packed(tensors, limit - HEADER_BYTES)
    token = secrets.token_hex(4)
    rows: list[dict[str, Any]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, shard in enumerate(shards):
            content = save(shard)
            name = f"part{number:02d}-{token}.safetensors"
            _replace(folder / name, content)
            rows.append({"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
        shapes = {name: [str(t.dtype).removeprefix("torch."), *t.shape] for name, t in tensors.items()}
        index = {"format": FORMAT, "facts": dict(facts or {}), "shards": rows, "tensors": shapes}
        _replace(folder / INDEX, (json.dumps(index, indent=1) + "\n").encode())
        kept = {row["file"] for row in rows}
        for stale in folder.glob("part*.safetensors"):
            if stale.name not in kept:
                stale.unlink(missing_ok=True)
    except OSError as error:
        raise ForgeError(f"{folder}: weights cannot be written ({error.strerror or error})") from error
    return folder / INDEX


def read_facts(folder: Path) -> dict[str, Any]:
    """What the index of a folder of weights says about them, without reading the weights.

    Raises:
        ForgeError: when there is no such index.
    """
    return dict(_index(folder)["facts"])


def load_sharded(folder: Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors of a folder and its facts.

    Args:
        folder: or the path of its index.
        device: where the tensors go.

    Raises:
        ForgeError: when a shard is missing, truncated, altered or of another save, or a tensor is not as indexed.
    """
    folder = folder.parent if folder.name == INDEX else folder
    index = _index(folder)
    pieces: dict[str, Tensor] = {}
    for row in index["shards"]:
        path = folder / str(row["file"])
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ForgeError(f"{path}: a part of these weights is missing; copy the whole folder again") from error
        if len(content) != row["bytes"] or hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise ForgeError(
                f"{path}: {len(content)} bytes that differ from the {row['bytes']} of the index; copy the folder again"
            )
        try:
            pieces.update(load(content))
        except SafetensorError as error:
            raise ForgeError(f"{path}: no safetensors file ({error}); copy the folder again") from error
    out: dict[str, Tensor] = {}
    for name, (dtype, *shape) in index["tensors"].items():
        parts = [pieces[key] for key in _piece_names(name, pieces)]
        tensor = torch.cat(parts) if len(parts) > 1 else (parts[0] if parts else None)
        if tensor is None or tensor.numel() != _count(shape) or str(tensor.dtype) != f"torch.{dtype}":
            raise ForgeError(f"{folder}: {name} is not {dtype} {shape} as the index says; copy the folder again")
        out[name] = tensor.reshape(shape).to(device)
    return out, dict(index["facts"])


def _packed(tensors: Mapping[str, Tensor], room: int) -> list[dict[str, Tensor]]:
    """Tensors laid into shards in order; one that is larger than a shard is cut into flat pieces `name@0`, `name@1`."""
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        if "@" in name:
            raise ValueError(f"a tensor's name must not hold '@', got {name!r}")
        flat = tensor.detach().contiguous().cpu()
        whole = flat.numel() * flat.element_size()
        step = room // flat.element_size()
        cuts = [flat] if whole <= room else list(flat.reshape(-1).split(step))
        for number, piece in enumerate(cuts):
            size = piece.numel() * piece.element_size()
            if used and used + size > room:
                shards.append({})
                used = 0
            shards[-1][name if len(cuts) == 1 else f"{name}@{number}"] = piece.clone()
            used += size
    return shards


def _piece_names(name: str, pieces: Mapping[str, Tensor]) -> list[str]:
    """Under which names the pieces of a tensor were saved."""
    if name in pieces:
        return [name]
    found: list[str] = []
    while f"{name}@{len(found)}" in pieces:
        found.append(f"{name}@{len(found)}")
    return found


def _index(folder: Path) -> dict[str, Any]:
    """The index of a folder, checked for its form."""
    path = folder if folder.name == INDEX else folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ForgeError(f"{path}: no weights here ({error.strerror or error}); give a folder with {INDEX}") from error
    except ValueError as error:
        raise ForgeError(f"{path}: not JSON ({error}); copy the folder again") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT or not {"shards", "tensors", "facts"} <= set(index):
        raise ForgeError(f"{path}: not an index of weights ({FORMAT}); give a folder written by this program")
    if any(Path(str(row["file"])).name != row["file"] for row in index["shards"]):
        raise ForgeError(f"{path}: names files outside its folder; do not use it")
    return index


def _replace(path: Path, content: bytes) -> None:
    """Write under a temporary name, then rename."""
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with hidden.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def _count(shape: list[int]) -> int:
    """Number of values of a shape."""
    total = 1
    for side in shape:
        total *= side
    return total
