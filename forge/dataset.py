"""A recipe becomes a folder of signed, labelled clips; the factory on one page. START HERE for datasets.

    report = make_dataset(tiny(), Path("out"), portraits=Path("faces"), speech=Path("speech"),
                          everyone=Declaration.nonexistent(), limit=12, workers=2)

Rules:

1. Inputs are looked at once; a bad file is written down in `failures.jsonl` and left out, it does not end the run.
2. What is made is planned before (`forge.plan`); ids are digests of inputs, so the same command makes the same clips.
3. A clip is done when its record stands in `records/`; whatever else a killed run left behind is swept away at the next
   start, and the same command goes on where it stopped.
4. The same folder is only continued with the same recipe, seed, method, material and version; `limit` may grow.
5. One run at a time works on a folder, and no process of a dead run writes into it any more.
6. `catalog.jsonl` is built from the records, and everything is signed at the end (`dataset.intoto.dsse.json`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forge.card import write_card
from forge.filming import StartFilming, StartInspecting
from forge.material import Entry, Material, Role, list_pictures, list_real, list_speech
from forge.methods import Method, method_named
from forge.motion.controls import BASELINE
from forge.motion.sources import MotionSource
from forge.plan import Plan, PlannedClip
from forge.portrait import Declaration, ForgeError
from forge.recipes import DatasetRecipe
from forge.sealing import TOOL
from forge.shelf import FAILURES, INPUTS, NOTES, alone, begin_or_continue, kept, save_catalog, write_lines
from forge.workers import run_tasks
from media.catalog import Catalog, Sample
from media.clip import MediaError

CATALOG_EVERY_SECONDS = 15.0
"""How often the catalog is written while clips are being made."""
INPUTS_PER_PROCESS = 32
"""Fewer are looked at faster than another process is started."""
NEW_FACTORS = ("motions", "frozen_poses")
NO_SPACE = "No space left on device"


@dataclass(frozen=True)
class Progress:
    """How far a run is; for a progress bar."""

    stage: str
    """`looking` at inputs or `filming`."""
    done: int
    planned: int
    failed: int = 0
    kept: int = 0
    """Of those done, clips that an earlier run had made."""


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
            "skipped_inputs": dict(self.skipped_inputs),
            **{name: dict(table) for name, table in self.counts.items()},
            "standing": self.standing,
            "seconds": round(self.seconds, 3),
            "clips_per_second": round(self.made / self.seconds, 3) if self.seconds > 0 else None,
            "warnings": list(self.warnings),
        }


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Request:
    """What a dataset is to be made of."""

    recipe: DatasetRecipe
    folder: Path
    portraits: Path
    speech: Path
    real: Path | None = None
    everyone: Declaration | None = None
    """For every portrait that has no declaration of its own."""
    limit: int | None = None
    """Numbers that are planned; None takes the recipe's."""
    workers: int = 1
    seed: int = 0
    method: Method | str = "mesh"

    def __post_init__(self) -> None:
        """Refuse numbers that make no dataset."""
        if self.limit is not None and self.limit < 1:
            raise ForgeError(f"limit must be at least 1, got {self.limit}")
        if self.workers < 1:
            raise ForgeError(f"workers must be at least 1, got {self.workers}")
        if not 0 <= self.seed < 2**63:
            raise ForgeError(f"seed must be from 0 to 2^63 - 1, got {self.seed}")

    @property
    def clips(self) -> int:
        """How many numbers are planned."""
        return self.recipe.clips if self.limit is None else self.limit

    @property
    def maker(self) -> Method:
        """The method, by name or as given."""
        return method_named(self.method) if isinstance(self.method, str) else self.method


def make_dataset(
    request: Request, watch: Watch = lambda progress: None, notify: Callable[[str], None] | None = None
) -> DatasetReport:
    """Make, or go on making, a dataset.

    Args:
        request: recipe, folders and numbers.
        watch: told how far it is.
        notify: gets lines for people, such as that a development identity was made to sign with.

    Raises:
        ForgeError: in one line: nothing usable, an undeclared portrait, a folder that belongs to something else, or a
            full disk. What was made so far stays and is continued by the same command.
    """
    from provenance.identity import development_identity

    started = time.monotonic()
    folder = request.folder
    for motion in request.recipe.motions:
        motion.check()
    entries = [*list_pictures(request.portraits, request.everyone), *list_speech(request.speech)]
    entries += list_real(request.real) if request.real else []
    with alone(folder):
        materials = _looked_at(request, entries, watch)
        plan = Plan.of(request.recipe, materials, seed=request.seed, method=request.maker.name)
        begin_or_continue(folder, _settings(request, materials))
        write_lines(folder / INPUTS, (_told(material) for material in materials))
        development_identity(notify=notify)  # before there are several processes that would all make one
        done = kept(folder, plan.clips(request.clips))
        before = len(done)
        failures = _film(request, plan, done, watch)
        catalog = save_catalog(folder, done)
        write_lines(folder / FAILURES, _left_out(materials, failures))
        if not done:
            raise ForgeError(f"{folder}: no clip could be made: {failures[min(failures)].reason}")
        warnings = _warnings(plan, request, materials)
        standing = _sign(request, catalog, materials, warnings, changed=len(done) > before)
    return DatasetReport(
        folder=folder,
        recipe=request.recipe.name,
        clips=len(done),
        made=len(done) - before,
        kept=before,
        planned=len(done) + len(failures),
        failures=Counter(failure.cause for failure in failures.values()),
        skipped_inputs={m.name: m.problem for m in materials if m.problem},
        seconds=time.monotonic() - started,
        counts={
            "labels": dict(Counter(sample.label.value for sample in catalog)),
            "splits": dict(Counter(sample.split or "" for sample in catalog)),
        },
        standing=standing,
        warnings=warnings,
    )


@dataclass(frozen=True)
class Failure:
    """A planned clip that could not be made."""

    clip: PlannedClip
    cause: str
    reason: str


def _looked_at(request: Request, entries: list[Entry], watch: Watch) -> list[Material]:
    """Every input as a `Material`, in the order of the lists; from the notes of an earlier run where they fit.

    Raises:
        ForgeError: when a picture is not declared: no broken file to be left out, but a question to be answered.
    """
    stamps = {entry.known.path: _stamp(entry, request) for entry in entries}
    notes = _notes(request.folder / NOTES)
    known = {path: replace(notes[stamp], path=path) for path, stamp in stamps.items() if stamp in notes}
    todo = [entry for entry in entries if entry.known.path not in known]
    watch(Progress("looking", len(known), len(entries)))
    workers = min(request.workers, 1 + len(todo) // INPUTS_PER_PROCESS)
    for outcome in run_tasks(todo, StartInspecting(request.recipe, request.maker), workers=workers) if todo else ():
        entry = outcome.task
        known[entry.known.path] = outcome.result or replace(entry.known, problem=outcome.error, cause=outcome.cause)
        watch(Progress("looking", len(known), len(entries)))
    materials = [known[entry.known.path] for entry in entries]
    undeclared = [m for m in materials if m.cause == "undeclared"]
    if undeclared:
        more = f" (and {len(undeclared) - 1} more)" if len(undeclared) > 1 else ""
        raise ForgeError(f"{undeclared[0].problem}{more}")
    lines = [{"stamp": stamps[m.path], **replace(_placeless(m), path=m.name).to_json()} for m in materials]
    write_lines(request.folder / NOTES, lines)
    return _without_doubles(materials)


def _stamp(entry: Entry, request: Request) -> str:
    """Changes when the file, what its table says, or what is looked for in it changes."""
    try:
        facts = Path(entry.known.path).stat()
        state: Any = (facts.st_size, facts.st_mtime_ns)
    except OSError:
        state = None
    recipe = request.recipe
    sought = (recipe.size, str(recipe.fps), recipe.seconds, recipe.crop_factors, recipe.smallest_crop)
    words = (state, sought, recipe.windows_per_source, request.maker.name, repr(entry))
    return hashlib.sha256(repr(words).encode()).hexdigest()


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


def _settings(request: Request, materials: list[Material]) -> dict[str, Any]:
    """What must be the same when a dataset is continued (rule 4)."""
    from provenance.record import installed_version

    recipe = {name: value for name, value in request.recipe.to_json().items() if name not in ("clips", *NEW_FACTORS)}
    used = sorted((m.role.value, m.sha256, m.person, m.source, m.split or "", str(m.declaration)) for m in materials)
    return {
        "recipe": recipe,
        "seed": request.seed,
        "method": request.maker.name,
        "model": request.maker.fingerprint(),
        "version": installed_version(),
        "material": hashlib.sha256(json.dumps(used).encode()).hexdigest(),
        **_new_settings(request.recipe),
    }


def _new_settings(recipe: DatasetRecipe) -> dict[str, Any]:
    """Factors that older datasets lack, where they are used: a folder of before can still be continued."""
    settings: dict[str, Any] = {}
    if recipe.motions != (MotionSource(BASELINE),):
        settings["motions"] = [motion.to_json() for motion in recipe.motions]
    if any(recipe.frozen_poses):
        settings["frozen_poses"] = list(recipe.frozen_poses)
    return settings


def _film(request: Request, plan: Plan, done: dict[int, Sample], watch: Watch) -> dict[int, Failure]:
    """Make what is missing; adds to `done`, returns what failed by number.

    Raises:
        ForgeError: when the disk is full.
    """
    before, failures = frozenset(done), dict[int, Failure]()
    planned = sum(1 for _ in plan.clips(request.clips))
    todo = (clip for clip in plan.clips(request.clips) if clip.number not in before)
    start = StartFilming(request.folder, request.recipe, request.maker, request.seed, request.maker.fingerprint())
    saved, cost = time.monotonic(), 0.0
    watch(Progress("filming", len(done), planned, 0, len(before)))
    if len(before) == planned:
        return failures
    for outcome in run_tasks(todo, start, workers=min(request.workers, planned - len(before))):
        number = outcome.task.number
        if outcome.result is not None:
            done[number] = Sample.from_json(outcome.result["sample"])
        else:
            failures[number] = Failure(outcome.task, outcome.cause or "unknown", outcome.error or "")
            if NO_SPACE in failures[number].reason:
                raise ForgeError(f"{request.folder}: the disk is full; free space and give the same command again")
        watch(Progress("filming", len(done), planned, len(failures), len(before)))
        if time.monotonic() - saved > max(CATALOG_EVERY_SECONDS, 50 * cost):
            began = time.monotonic()
            save_catalog(request.folder, done)
            saved = time.monotonic()
            cost = saved - began
    return failures


def _told(material: Material) -> dict[str, Any]:
    """What the dataset tells about an input."""
    names = ("sha256", "person", "source", "license", "kind", "language", "consent", "seconds", "problem")
    facts = {name: getattr(_placeless(material), name) for name in names}
    return {"file": material.name, "role": material.role.value} | {name: fact for name, fact in facts.items() if fact}


def _placeless(material: Material) -> Material:
    """Without the folder in its reason: a dataset is handed on, and where its inputs lay is nobody's business."""
    if material.problem is None:
        return material
    return replace(material, problem=material.problem.replace(f"{Path(material.path).parent}/", ""))


def _left_out(materials: list[Material], failures: Mapping[int, Failure]) -> Iterable[dict[str, Any]]:
    """The lines of `failures.jsonl`: what was left out and why."""
    for m in materials:
        if m.problem:
            yield {"input": m.name, "role": m.role.value, "cause": m.cause, "reason": _placeless(m).problem}
    for number, failure in sorted(failures.items()):
        clip = failure.clip
        facts = {"id": clip.id, "number": number, "label": clip.label.value, "input": clip.face.name}
        reason = failure.reason
        for used in (clip.face, clip.speech):
            reason = reason.replace(f"{Path(used.path).parent}/", "") if used else reason
        yield facts | {"cause": failure.cause, "reason": reason}


def _warnings(plan: Plan, request: Request, materials: list[Material]) -> tuple[str, ...]:
    """What a user of the dataset should know about its design."""
    out = []
    skipped = sum(1 for m in materials if m.problem)
    if skipped:
        out.append(f"input files left out: {skipped}, see {FAILURES}")
    if not plan.speech_is_split:
        out.append("too few speech recordings to keep them apart: the same recording is heard in several splits")
    if plan.reals and len(plan.reals) < request.clips // 2:
        out.append(f"real material for {len(plan.reals)} clips only: fewer real than synthetic clips")
    missing = {name for name, _ in request.recipe.split_shares} - {plan.splits[m.source] for m in plan.portraits}
    if missing:
        out.append(f"too few people for all splits: no synthetic clips in {', '.join(sorted(missing))}")
    return tuple(out)


def _sign(
    request: Request, catalog: Catalog, materials: list[Material], notes: tuple[str, ...], *, changed: bool
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
        model = request.maker.fingerprint()
        motions = [motion.to_json() for motion in request.recipe.motions]
        record = Record(
            tool=TOOL,
            recipe=request.recipe.name,
            seed=request.seed,
            model_sha256=model,
            controls={"motions": motions},
        )
        about = About(
            name=request.recipe.name,
            description="Talking heads made from portraits and speech, each signed and labelled synthetic.",
            use_cases="Training and measuring detectors of synthetic faces. Not for passing a person off.",
        )
        write_croissant(request.folder / CATALOG_FILE, about=about, record=record)
        return sign_catalog(request.folder, record=record).standing.value
    except (ProvenanceError, MediaError) as error:
        raise ForgeError(str(error)) from error
