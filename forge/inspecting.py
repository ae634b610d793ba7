"""The inputs of a dataset, looked at once: notes of earlier runs are used where the files are still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forge.filming import StartInspecting
from forge.material import Entry, Material, Role
from forge.methods import Method
from forge.portrait import ForgeError
from forge.recipes import DatasetRecipe
from forge.shelf import NOTES, write_lines
from media.places import Here, Place

INPUTS_PER_PROCESS = 32
"""Fewer are looked at faster than another process is started."""


@dataclass(frozen=True)
class Inspection:
    """What inputs are looked at for."""

    folder: Path
    """Of the dataset, for notes."""
    recipe: DatasetRecipe
    method: Method
    place: Place

    def of(self, entries: Sequence[Entry], tell: Callable[[int, int], None]) -> list[Material]:
        """Every input as a `Material`, in the order of the lists.

        Args:
            entries: the files.
            tell: given how many of how many are known.

        Raises:
            ForgeError: when a picture is not declared: no broken file to be left out, but a question to be answered.
        """
        stamps = {entry.known.path: self._stamp(entry) for entry in entries}
        notes = _notes(self.folder / NOTES)
        known = {path: replace(notes[stamp], path=path) for path, stamp in stamps.items() if stamp in notes}
        todo = [entry for entry in entries if entry.known.path not in known]
        tell(len(known), len(entries))
        if todo:
            for outcome in self._place(len(todo)).run(todo, StartInspecting(self.recipe, self.method)):
                entry, found = outcome.task, outcome.result
                known[entry.known.path] = found or replace(entry.known, problem=outcome.error, cause=outcome.cause)
                tell(len(known), len(entries))
        materials = [known[entry.known.path] for entry in entries]
        undeclared = [m for m in materials if m.cause == "undeclared"]
        if undeclared:
            more = f" (and {len(undeclared) - 1} more)" if len(undeclared) > 1 else ""
            raise ForgeError(f"{undeclared[0].problem}{more}")
        lines = [{"stamp": stamps[m.path], **replace(placeless(m), path=m.name).to_json()} for m in materials]
        write_lines(self.folder / NOTES, lines)
        return _without_doubles(materials)

    def _place(self, count: int) -> Place:
        """No more processes than pay."""
        if isinstance(self.place, Here):
            return Here(min(self.place.workers, 1 + count // INPUTS_PER_PROCESS))
        return self.place

    def _stamp(self, entry: Entry) -> str:
        """Changes when the file, what its table says, or what is looked for in it changes."""
        try:
            facts = Path(entry.known.path).stat()
            state: Any = (facts.st_size, facts.st_mtime_ns)
        except OSError:
            state = None
        recipe = self.recipe
        sought = (recipe.size, str(recipe.fps), recipe.seconds, recipe.crop_factors, recipe.smallest_crop)
        words = (state, sought, recipe.windows_per_source, self.method.name, repr(entry))
        return hashlib.sha256(repr(words).encode()).hexdigest()


def placeless(material: Material) -> Material:
    """Without the folder in its reason: a dataset is handed on, and where its inputs lay is nobody's business."""
    if material.problem is None:
        return material
    return replace(material, problem=material.problem.replace(f"{Path(material.path).parent}/", ""))


def _notes(path: Path) -> dict[str, Material]:
    """Stamp -> material, as an earlier run wrote them down; empty when it wrote nothing of use."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {line.pop("stamp"): Material.from_json(line) for line in lines}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # notes save time and nothing else


def _without_doubles(materials: list[Material]) -> list[Material]:
    """Files of the same content and role count once."""
    first: dict[tuple[Role, str], Material] = {}
    out = []
    for material in materials:
        other = material if material.problem else first.setdefault((material.role, material.sha256), material)
        if other is not material:
            same = f"{material.path}: has the same content as {other.name}; only that one is used"
            material = replace(material, problem=same, cause="double")
        out.append(material)
    return out
