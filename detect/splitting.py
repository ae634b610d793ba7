"""Who teaches and who checks: whole makers and whole people on one side only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from detect.detector import DetectError
from detect.models.frame import Description
from detect.prepare import FaceLook
from detect.recipes import TrainRecipe
from media.catalog import Label, Sample


@dataclass(frozen=True, eq=False)
class Prepared:
    """A sample whose face was found."""

    sample: Sample
    face: FaceLook

    @property
    def synthetic(self) -> bool:
        """The label."""
        return self.sample.label is Label.SYNTHETIC

    @property
    def person(self) -> str:
        """Who; a sample without a known person is its own."""
        return self.sample.cluster

    @property
    def maker(self) -> str:
        """Generator of a synthetic sample, collection of a real one."""
        return self.sample.maker or "unknown"


@dataclass(frozen=True)
class Split:
    """Prepared samples that teach, and those that select and calibrate."""

    teach: tuple[Prepared, ...]
    check: tuple[Prepared, ...]
    held_out_makers: tuple[str, ...]

    @property
    def unseen_people(self) -> tuple[str, ...]:
        """People of real samples that do not teach."""
        return tuple(sorted({s.person for s in self.check if not s.synthetic} - {s.person for s in self.teach}))


def _stable(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on a name and a seed only, not on the order of a catalog."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8], "big") / 2**64


def split_for_training(samples: Sequence[Prepared], recipe: TrainRecipe, seed: int) -> Split:
    """Hold out whole makers of synthetic clips and whole people of real ones; nobody is on both sides.

    Raises:
        DetectError: when a label is missing, or nothing would be left on a side.
    """
    synthetic, real = [s for s in samples if s.synthetic], [s for s in samples if not s.synthetic]
    if not synthetic or not real:
        raise DetectError(f"training needs both labels, got {len(real)} real and {len(synthetic)} synthetic samples")
    makers = sorted({s.maker for s in synthetic}, key=lambda m: _stable(m, seed))
    people = sorted({s.person for s in real}, key=lambda p: _stable(p, seed))
    count = min(recipe.held_out_makers, len(makers) - 1)
    held_makers = set(makers[:count])
    held_people = set(people[: max(1, round(recipe.held_out_people * len(people)))]) if len(people) > 1 else set()
    check = [s for s in synthetic if s.maker in held_makers or not held_makers]
    seen = {s.person for s in check if held_makers} | held_people
    if held_makers and all(s.person in seen for s in real):
        # where every method forged everybody, as in FaceForensics++, held-out makers alone would hold out all people
        check, seen = [s for s in check if s.person in held_people], held_people
    check += [s for s in real if s.person in seen or not held_people]
    teach = [s for s in synthetic if s.maker not in held_makers and s.person not in seen]
    teach += [s for s in real if s.person not in seen]
    if not any(not s.synthetic for s in teach):
        raise DetectError("no real sample is left to teach from: give clips of more people")
    return Split(tuple(teach), tuple(check), tuple(sorted(held_makers)))


def split_for_going_on(split: Split, described: Description) -> Split:
    """The split for a network that was trained before: real people whom it may have met teach again, and check nothing.

    Raises:
        DetectError: when nobody would be left to check.
    """
    unseen = set(described.unseen_people)
    met = [s for s in split.check if not s.synthetic and s.person not in unseen]
    chosen = {id(s) for s in met}
    check = tuple(s for s in split.check if id(s) not in chosen)
    if all(s.synthetic for s in check):
        raise DetectError(
            f"every real person that would be held out may have taught the network of {described.name}: give the seed "
            "that it was trained with, or data of other people"
        )
    return Split((*split.teach, *met), check, split.held_out_makers)


def split_of_network(samples: Sequence[Prepared], described: Description) -> Split:
    """Who taught a network that is trained already, by its own description, and who can check it.

    Raises:
        DetectError: when a label is missing, or all real samples may have taught it.
    """
    makers = {str(maker) for maker in described.figures.get("held_out_makers", ())}
    unseen = set(described.unseen_people)
    check = tuple(s for s in samples if (s.maker in makers if s.synthetic else s.person in unseen))
    if len({s.synthetic for s in samples}) < 2:
        raise DetectError("fitting needs real and synthetic samples; give datasets that hold both")
    if all(s.synthetic for s in check):
        raise DetectError(
            f"the description of {described.name} names no real person of these samples that its network was not "
            "taught; train a network on them instead"
        )
    chosen = {id(s) for s in check}
    return Split(tuple(s for s in samples if id(s) not in chosen), check, tuple(sorted(makers)))
