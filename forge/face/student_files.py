"""The student's weights on disk: one safetensors file in half precision whose header holds the recipe.

save_student(path, student, {"recipe": face_cpu().to_json()})
student, facts = load_student(path)
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from forge.face.student import Student, StudentShape
from forge.portrait import ForgeError

WEIGHTS_PATH = Path(__file__).with_name("weights") / "face_cpu.safetensors"


def save_student(path: Path, student: Student, facts: Mapping[str, Any]) -> None:
    """Write weights and facts (JSON values, `recipe` among them), whole or not at all."""
    tensors = {name: value.detach().half().contiguous() for name, value in student.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        save_file(tensors, part, metadata={"facts": json.dumps(dict(facts))})
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_student(path: Path = WEIGHTS_PATH) -> tuple[Student, dict[str, Any]]:
    """The student of a file, ready to draw, and its facts.

    Raises:
        ForgeError: when the file is missing, damaged or none of a student's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["facts"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 -- not a mapping
        shape = facts["recipe"]["shape"]
        student = Student(StudentShape(shape["size"], tuple(shape["widths"]), shape["kept"], shape["told"]))
        student.load_state_dict(tensors)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ForgeError(f"{path}: no weights of the student ({why}); train it or reinstall the package") from error
    return student.eval().to(memory_format=torch.channels_last).requires_grad_(False), facts
