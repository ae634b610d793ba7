"""Weights of the gym: what is told of those in use, and the folder in which new ones are made.

stage = Stage(out / "trained", inputs_digest)
if not stage.is_done(): stage.begin(); ...train...; stage.end()
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from countermark.gym_leaks import GymError, Part
from detect.report import make_folder, write_whole
from media.catalog import Label
from provenance.files import sha256_of

STAGE: Final = "stage.json"
WEIGHTS: Final = "detector.safetensors"
LEFT_BY_TRAINING: Final = (WEIGHTS, "detector.json", "checkpoint.pt", "best.safetensors", "log.jsonl", "recipe.json")
"""What a training run leaves in its folder, and what is taken away before another one begins there."""


@dataclass(frozen=True)
class Stage:
    """The folder of one training, with a note of what it was, or is being, made from."""

    folder: Path
    inputs: str
    """Digest."""

    def is_done(self) -> bool:
        """Whether it was made from the same, and is still as it was written."""
        note = self._note()
        files = note.get("files") or {}
        return note.get("inputs") == self.inputs and bool(files) and files == self._files()

    def begin(self) -> None:
        """Take away what another training left; what the same one left is resumed.

        Raises:
            GymError: when the folder holds something that is not ours.
        """
        make_folder(self.folder)
        note = self._note()
        if not note and any(not path.name.startswith(".") for path in self.folder.iterdir()):
            raise GymError(f"{self.folder}: is not empty and was not made by the gym; choose another folder for OUT")
        if note.get("inputs") != self.inputs:
            for name in LEFT_BY_TRAINING:
                (self.folder / name).unlink(missing_ok=True)
        write_whole(json.dumps({"inputs": self.inputs, "files": {}}) + "\n", self.folder / STAGE)

    def end(self) -> None:
        """Note what was made."""
        note = {"inputs": self.inputs, "files": self._files()}
        write_whole(json.dumps(note, indent=1) + "\n", self.folder / STAGE)

    def _files(self) -> dict[str, str]:
        names = (WEIGHTS, "detector.json")
        return {name: sha256_of(self.folder / name) for name in names if (self.folder / name).is_file()}

    def _note(self) -> dict[str, Any]:
        try:
            note = json.loads((self.folder / STAGE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}


def recipe_of(weights: Path) -> str:
    """Name of the recipe that weights were trained by, as far as their description tells."""
    from detect.recipes import RECIPES

    recipe = described(weights).get("recipe")
    told = recipe.get("name") if isinstance(recipe, dict) else None
    return told if told in RECIPES else "frame_cpu"


def described(weights: Path) -> dict[str, Any]:
    """The description beside weights; nothing where there is none."""
    try:
        found = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def content_of(weights: Path) -> str:
    """Digest of weights and description."""
    both = [sha256_of(path) for path in (weights, weights.with_suffix(".json")) if path.is_file()]
    return hashlib.sha256("".join(both).encode()).hexdigest()


def check_people(weights: Path, teaching: Sequence[Part]) -> None:
    """A network that is kept can only be calibrated on real people who did not teach it; its description names them.

    Raises:
        GymError: when none of them is in the training data.
    """
    unseen = described(weights).get("unseen_people")
    real = {s.cluster for part in teaching for s in part.samples if s.label is Label.REAL}
    if isinstance(unseen, list) and not real & {str(name) for name in unseen}:
        raise GymError(
            f"{weights}: its description names no real person of the base or the slice who did not teach its network; "
            "add the dataset it was trained on to the base, or train a network with --full"
        )
