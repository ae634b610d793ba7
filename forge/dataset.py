"""A recipe becomes a folder of signed, labelled clips; the factory on one page. START HERE for datasets.

    report = make_dataset(Request(tiny(), Path("out"), portraits=Path("faces"), speech=Path("speech"),
                                  everyone=Declaration.nonexistent(), limit=12, place=Here(2)))

Rules:

1. Inputs are looked at once; a bad file is written down in `failures.jsonl` and left out, it does not end the run.
2. What is made is planned before (`forge.plan`); ids are digests of inputs, so the same command makes the same clips,
   in this process, in several, or on a cluster (`media.places`).
3. A clip is done when its record stands in `records/`; whatever else a killed run left behind is swept away at the next
   start, and the same command goes on where it stopped.
4. The same folder is only continued with the same recipe, seed, method, material and version; `limit` may grow.
5. One run at a time works on a folder, and no process of a dead run writes into it any more.
6. A clip that does not pass the quality gate is drawn anew, `MOST_ATTEMPTS` times in all; `rejected.jsonl` tells.
7. `catalog.jsonl` is built from the records, and everything is signed at the end (`dataset.intoto.dsse.json`).
8. Nothing is kept in memory for every clip: a million clips need the memory of a thousand.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forge.card import write_card
from forge.caveats import caveats
from forge.inspecting import Inspection, placeless
from forge.makers import Makers
from forge.material import Entry, Material, list_pictures, list_real, list_speech
from forge.motion.controls import BASELINE
from forge.motion.sources import MotionSource
from forge.plan import Plan
from forge.portrait import Declaration, DeclarationKind, ForgeError
from forge.progress import Progress
from forge.recipes import DatasetRecipe
from forge.run import Request, Run, Watch
from forge.sealing import TOOL
from forge.shelf import (
    FAILURES,
    INPUTS,
    REJECTS,
    alone,
    begin_or_continue,
    save_catalog,
    write_lines,
)
from media.catalog_file import CatalogFile
from media.clip import MediaError

__all__ = ["DatasetReport", "Progress", "Request", "looked_at", "make_dataset"]

NEW_FACTORS = ("motions", "frozen_poses", "protocol")
"""Fields of a recipe that older datasets were begun without; those of a design are told only where they are used."""


@dataclass(frozen=True)
class DatasetReport:
    """What a run did."""

    folder: Path
    recipe: str
    clips: int
    """In the catalog now."""
    made: int
    kept: int
    planned: int
    failures: Mapping[str, int]
    """Planned clips that could not be made, by cause."""
    rejected: Mapping[str, int]
    """Clips that were made and did not pass the quality gate, by cause; they were replaced."""
    skipped_inputs: Mapping[str, str]
    """Input files that were left out, and why."""
    seconds: float
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Clips by label and by split."""
    standing: str = "absent"
    """Of the dataset's own signature."""
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Every planned clip is there."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "folder": str(self.folder),
            "recipe": self.recipe,
            "complete": self.complete,
            "clips": self.clips,
            "made": self.made,
            "kept": self.kept,
            "planned": self.planned,
            "failures": dict(self.failures),
            "rejected": dict(self.rejected),
            "skipped_inputs": dict(self.skipped_inputs),
            **{name: dict(table) for name, table in self.counts.items()},
            "standing": self.standing,
            "seconds": round(self.seconds, 3),
            "clips_per_second": round(self.made / self.seconds, 3) if self.seconds > 0 else None,
            "warnings": list(self.warnings),
        }


def make_dataset(
    request: Request, watch: Watch = lambda progress: None, notify: Callable[[str], None] | None = None
) -> DatasetReport:
    """Make, or go on making, a dataset.

    Args:
        request: recipe, folders, numbers, and where the work is done.
        watch: told how far it is.
        notify: gets lines for people, such as that a development identity was made to sign with.

    Raises:
        ForgeError: in one line: nothing usable, an undeclared portrait, a folder that belongs to something else, no
            worker left, or a full disk. What was made so far stays and is continued by the same command.
    """
    started = time.monotonic()
    folder = request.folder
    for motion in request.recipe.motions:
        motion.check()
    entries, makers = _entries(request), request.makers
    with alone(folder):
        inspection = Inspection(folder, request.recipe, request.maker, request.place)
        materials = inspection.of(entries, lambda known, of: watch(Progress("looking", known, of)))
        plan = Plan.of(request.recipe, materials, seed=request.seed, method=makers.main.name, facts=makers.facts())
        begin_or_continue(folder, _settings(request, materials))
        write_lines(folder / INPUTS, (_told(material) for material in materials))
        run = Run.of(request, plan, watch, notify)
        before = len(run.done)
        run.film()
        catalog = save_catalog(folder, run.wanted())
        write_lines(folder / FAILURES, [*_left_out(materials), *run.failures.lines()])
        if catalog is None:
            raise ForgeError(f"{folder}: no clip could be made: {run.failures.first_reason}")
        warnings = _warnings(plan, request, materials, run.left_out)
        run.tell("signing")
        standing = _sign(request, catalog, materials, warnings, changed=run.made > 0 or len(run.done) != before)
    labels, splits = Counter[str](), Counter[str]()
    for (label, split), count in catalog.counts("label", "split").items():
        labels[str(label)] += count
        splits[str(split or "")] += count
    return DatasetReport(
        folder=folder,
        recipe=request.recipe.name,
        clips=len(run.done),
        made=min(run.made, len(run.done)),
        kept=max(0, len(run.done) - run.made),
        planned=len(run.done) + len(run.failures),
        failures=run.failures.causes,
        rejected=run.rejects.causes,
        skipped_inputs={m.name: m.problem for m in materials if m.problem},
        seconds=time.monotonic() - started,
        counts={"labels": labels, "splits": splits},
        standing=standing,
        warnings=warnings,
    )


def looked_at(request: Request, watch: Watch = lambda progress: None) -> list[Material]:
    """The materials of a request, without making anything of them; notes are left in its folder, which must exist.

    Raises:
        ForgeError: for folders without anything to use, or an undeclared portrait.
    """
    inspection = Inspection(request.folder, request.recipe, request.maker, request.place)
    return inspection.of(_entries(request), lambda known, of: watch(Progress("looking", known, of)))


def _entries(request: Request) -> list[Entry]:
    """The files of a request."""
    entries = [*list_pictures(request.portraits, request.everyone), *list_speech(request.speech)]
    return entries + _recordings(request, request.makers)


def _recordings(request: Request, makers: Makers) -> list[Entry]:
    """The real videos; where some will be forged, with the consent of who is seen in them.

    Raises:
        ForgeError: when a recording would be forged and nobody says that this may be.
    """
    if request.real is None:
        if makers.forge_recordings:
            raise ForgeError(f"recipe {request.recipe.name}: forges real clips; give a folder of them with --real")
        return []
    entries = list_real(request.real)
    if not makers.forge_recordings:
        return entries
    said = request.everyone
    everyone = str(said) if said is not None and said.kind is DeclarationKind.CONSENT else None
    for entry in entries:
        if entry.known.consent:
            try:
                Declaration.consent(entry.known.consent)  # "no" is no consent: the same rule as for portraits
            except ForgeError as error:
                raise ForgeError(f"{request.real}, {entry.known.name}: {error}") from error
    entries = [replace(e, known=replace(e.known, consent=e.known.consent or everyone)) for e in entries]
    silent = [entry.known.name for entry in entries if not entry.known.consent]
    if silent:
        raise ForgeError(
            f"{silent[0]}: shows a person and would be forged; say in the column `consent` of real.csv, or with "
            f"--consent, who agreed to that (and of {len(silent) - 1} more)"
        )
    return entries


def _settings(request: Request, materials: list[Material]) -> dict[str, Any]:
    """What must be the same when a dataset is continued (rule 4)."""
    from provenance.record import installed_version

    recipe = {name: value for name, value in request.recipe.to_json().items() if name not in ("clips", *NEW_FACTORS)}
    grouped = bool(request.recipe.groups)
    used = sorted(
        (m.role.value, m.sha256, m.person, m.source, m.split or "", str(m.declaration), *(m.traits if grouped else ()))
        for m in materials
    )
    return {
        "recipe": recipe,
        "seed": request.seed,
        "method": request.maker.name,
        "model": request.makers.fingerprints() if request.recipe.makers else request.maker.fingerprint(),
        "version": installed_version(),
        "material": hashlib.sha256(json.dumps(used).encode()).hexdigest(),
        **_new_settings(request.recipe),
        **({} if request.gate.is_off else {"gate": request.gate.to_json()}),
    }


def _new_settings(recipe: DatasetRecipe) -> dict[str, Any]:
    """Factors that older datasets lack, where they are used: a folder of before can still be continued."""
    settings: dict[str, Any] = {}
    if recipe.motions != (MotionSource(BASELINE),):
        settings["motions"] = [motion.to_json() for motion in recipe.motions]
    if any(recipe.frozen_poses):
        settings["frozen_poses"] = list(recipe.frozen_poses)
    return settings


def _told(material: Material) -> dict[str, Any]:
    """What the dataset tells about an input."""
    names = ("sha256", "person", "source", "license", "kind", "language", "consent", "seconds", "problem")
    facts = {name: getattr(placeless(material), name) for name in names}
    return {"file": material.name, "role": material.role.value} | {name: fact for name, fact in facts.items() if fact}


def _left_out(materials: list[Material]) -> Iterator[Mapping[str, Any]]:
    """The inputs that were left out, and why."""
    for m in materials:
        if m.problem:
            yield {"input": m.name, "role": m.role.value, "cause": m.cause, "reason": placeless(m).problem}


def _warnings(plan: Plan, request: Request, materials: list[Material], left_out: int) -> tuple[str, ...]:
    """What a user of the dataset should know about its design."""
    out = []
    if request.recipe.makers and request.method != "mesh":
        out.append(f"the recipe names its makers: the method {request.maker.name} only looked for faces")
    if left_out:
        out.append(f"real clips that did not pass the quality gate and were left out: {left_out}, see {REJECTS}")
    skipped = sum(1 for m in materials if m.problem)
    if skipped:
        out.append(f"input files left out: {skipped}, see {FAILURES}")
    return (*out, *caveats(plan, request.clips))


def _sign(
    request: Request, catalog: CatalogFile, materials: list[Material], notes: tuple[str, ...], *, changed: bool
) -> str:
    """Card, contact sheet and the signature over everything; left alone when nothing changed and it still holds."""
    from provenance.attestation import CATALOG_FILE
    from provenance.credential import Standing
    from provenance.croissant import About, write_croissant
    from provenance.errors import ProvenanceError
    from provenance.record import Record
    from provenance.signing import sign_catalog, verify_catalog

    try:
        if not changed:
            report = verify_catalog(request.folder)
            if report.standing in (Standing.TRUSTED, Standing.UNKNOWN_SIGNER) and not report.difference_count:
                return report.standing.value
        write_card(request.folder, request.recipe, catalog, materials, notes)
        models = request.makers.fingerprints()
        motions = [motion.to_json() for motion in request.recipe.motions]
        record = Record(
            tool=TOOL,
            recipe=request.recipe.name,
            seed=request.seed,
            model_sha256=models[next(iter(models))] if len(models) == 1 else None,
            controls={"motions": motions} | ({"makers": models} if request.recipe.makers else {}),
        )
        about = About(
            name=request.recipe.name,
            description="Talking heads made from portraits, speech and recordings, each signed and labelled real or "
            "synthetic.",
            use_cases="Training and measuring detectors of synthetic faces. Not for passing a person off.",
        )
        write_croissant(request.folder / CATALOG_FILE, about=about, record=record)
        return sign_catalog(request.folder, record=record).standing.value
    except (ProvenanceError, MediaError) as error:
        raise ForgeError(str(error)) from error
