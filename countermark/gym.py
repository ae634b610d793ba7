"""Make new material, see what the detector in use does with it, train with it, see what has changed: the gym.

    report = run_gym(Job(Path("gym"), held_out=(a,), base=(b,), slice=Request(person_shift(), Path("gym/slice"), ...)))

Rules:

1. Nothing that measures may teach: people, recordings, speech, inputs and bytes of the held-out clips, and the makers
   of the held-out sets, are refused in the training data before anything is trained (`gym_leaks`).
2. A held-out set measures whole. One that is also given as a base is divided: its training split teaches, the rest
   measures. Nothing is chosen by what it says: checkpoint, probability and threshold come from the training data.
3. Both detectors are measured on the same clips. An abstention is counted and is no score.
4. Every stage is kept in the folder and used again when what it was made from is the same: after a kill, the same
   command goes on where it stopped. The slice is resumed clip by clip, scores file by file, a network by checkpoint.
5. The new weights are written to `trained/` and installed nowhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import nan
from pathlib import Path
from typing import Any, Final

from countermark.gym_diff import SLICE, Answer, abstentions, difference
from countermark.gym_leaks import GymError, Leak, Part, refuse_leaks
from countermark.gym_report import SCHEMA, write_report
from countermark.gym_weights import WEIGHTS, Stage, check_people, content_of, described, recipe_of
from detect.corpora.table import read_dataset
from detect.detector import Detector, ModelFacts
from detect.report import make_folder, tool_version
from detect.scoring import Line, ScoreFile, read_lines, score_files
from detect.telling import Say, silent
from forge.run import Request
from media.catalog import Catalog, Label
from media.places import Here, Place

__all__ = ["GymError", "Job", "Tools", "run_gym"]

SLICE_FOLDER, TRAINED, ON_BASE, SCORES, PREPARED = "slice", "trained", "on_base", "scores", "prepared"
TOLD_EVERY: Final = 20


@dataclass(frozen=True)
class Job:
    """What the gym is to do."""

    out: Path
    """The folder that holds everything."""
    held_out: tuple[Path, ...]
    """Datasets of makers and people that neither detector learns from."""
    base: tuple[Path, ...]
    """Datasets whose training split teaches beside the slice's."""
    slice: Path | Request
    """A dataset that exists, or what is to be made."""
    weights: Path | None = None
    """The detector in use; None is the shipped one."""
    recipe: str | None = None
    """Of training; None takes the one of the weights."""
    minutes: float | None = None
    """Train a network for so long; None keeps the network and fits what weighs its answers."""
    seed: int = 0
    cache: Path | None = None
    """Of prepared crops; None is inside `out`."""
    place: Place = field(default_factory=Here)
    allow: tuple[str, ...] = ()
    """Leaks that are known and accepted (`gym_leaks.LEAKS`)."""
    near_duplicates: bool = False
    """Also look into all clips for copies across the two sides."""
    against_base: bool = False
    """Compare with a detector that is made in the same way from the base alone, not with the one in use: what is won
    and lost is then due to the slice and to nothing else."""

    def __post_init__(self) -> None:
        """Refuse what cannot be compared."""
        if not self.held_out or not self.base:
            raise GymError("the gym needs at least one held-out dataset and one base dataset")
        if self.minutes is not None and not self.minutes > 0:
            raise GymError(f"minutes must be above 0, got {self.minutes:g}")


@dataclass(frozen=True)
class Tools:
    """The factory, the detectors and the training that the gym works with."""

    make: Callable[[Request, Say], Mapping[str, Any]]
    """Makes a dataset, or goes on with it; returns what the factory reports."""
    detector: Callable[[Path], Detector]
    """Must pickle where there are several workers."""
    train: Callable[..., Path]
    """As `detect.train.train`."""

    @classmethod
    def real(cls) -> Tools:
        """The product's own; a mistake in the datasets is told before any network is loaded."""
        from detect.load import load_detector

        def train(*inputs: Any, **options: Any) -> Path:
            from detect.train import train as run_training

            return run_training(*inputs, **options)

        return cls(make_slice, load_detector, train)


def make_slice(request: Request, say: Say) -> Mapping[str, Any]:
    """The factory's work, told stage by stage."""
    from forge.dataset import Progress, make_dataset

    told = {"stage": "", "done": -1}

    def watch(now: Progress) -> None:
        step = now.done // TOLD_EVERY
        if (now.stage, step) != (told["stage"], told["done"]):
            told.update(stage=now.stage, done=step)
            say(f"slice: {now.stage}, {now.done} of {now.planned}")

    return make_dataset(request, watch, say).to_json()


@dataclass(frozen=True)
class Sides:
    """Who teaches and who measures."""

    teaching: tuple[Part, ...]
    measuring: tuple[Part, ...]


def run_gym(job: Job, tools: Tools | None = None, say: Say = silent) -> dict[str, Any]:
    """Make, score, train, score, compare; write gym.json and gym.html and return what gym.json holds.

    Args:
        job: what to do.
        tools: what to do it with; the product's own unless given.
        say: told one line at a time how it goes.

    Raises:
        GymError, DetectError, ForgeError, MediaError: in one line; the same command goes on where it stopped.
    """
    from detect.load import shipped_weights

    tools = tools or Tools.real()
    weights = job.weights or shipped_weights()
    _check(job, weights)
    with _alone(job.out):
        bases, exams = _given(job)
        # what is wrong with the datasets that are there is told before a slice is made for an hour
        _leaks(job, Sides(bases, exams), say, near_duplicates=False)
        made, mine = _slice(job, tools, say)
        sides = Sides((*bases, mine[0]), (mine[1], *exams))
        leaks = _leaks(job, sides, say, near_duplicates=job.near_duplicates)
        if job.minutes is None:
            check_people(weights, bases if job.against_base else sides.teaching)
        first = weights
        if job.against_base:
            first, _ = _trained(job, bases, job.out / ON_BASE, weights, tools, say)
        say(f"scoring with the detector {'made from the base' if job.against_base else 'in use'}")
        before, known = _scores(job, sides, first, tools, say)
        trained, digest = _trained(job, sides.teaching, job.out / TRAINED, weights, tools, say)
        say("scoring with the new detector")
        after, new = _scores(job, sides, trained, tools, say)
        answers = _answers(sides, before, after)
        say("comparing")
        report = {
            "schema": SCHEMA,
            "tool": {"name": "countermark", "version": tool_version()},
            "detectors": {"before": _detector(known, first), "after": _detector(new, trained)},
            "training": {
                "network": "kept" if job.minutes is None else "trained",
                "against": "base alone" if job.against_base else "detector in use",
                "minutes": job.minutes,
                "recipe": job.recipe or recipe_of(weights),
                "seed": job.seed,
                "inputs_sha256": digest,
            },
            "taught": [_counted(part) for part in sides.teaching],
            "measured": [_counted(part) for part in sides.measuring],
            "abstained": abstentions(answers),
            "leaks_accepted": [leak.to_json() for leak in leaks],
            **difference(
                answers, (known.threshold, new.threshold), taught=_makers(sides.teaching), seed=job.seed
            ).to_json(),
            "notes": _notes(job, made, sides, answers, known, new),
        }
        write_report(report, job.out)
        return report


def _check(job: Job, weights: Path) -> None:
    """Tell before any work what would stop it later.

    Raises:
        GymError, DetectError: for weights or a recipe that are not there.
    """
    from detect.recipes import recipe_named

    if not weights.is_file():
        raise GymError(f"{weights}: there are no weights; give a .safetensors file that `detect train` wrote")
    recipe_named(job.recipe or recipe_of(weights))


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Make the folder if need be and hold it; the lock vanishes with its process, however that ends."""
    make_folder(out)
    with (out / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GymError(f"{out}: another gym works in it; wait for it or choose another folder") from error
        yield


def _given(job: Job) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The datasets that exist: what of them teaches, and what measures (rule 2)."""
    bases = [read_dataset(path) for path in job.base]
    exams = [read_dataset(path) for path in job.held_out]
    shared = {_key(root, catalog) for root, catalog in bases}
    names = _distinct([catalog.name or root.name for root, catalog in exams], taken={SLICE})
    teaching, measuring = [], []
    for path, (root, catalog) in zip(job.base, bases, strict=True):
        samples = tuple(s for s in catalog if s.split in (None, "train"))
        if not samples:
            raise GymError(f"{path}: has no training split; give it as --held-out, or another base")
        teaching.append(Part(catalog.name or root.name, root, samples))
    for path, name, (root, catalog) in zip(job.held_out, names, exams, strict=True):
        divided = _key(root, catalog) in shared
        samples = tuple(s for s in catalog if not divided or s.split not in (None, "train"))
        if not samples:
            raise GymError(f"{path}: nothing of it is held out; give another dataset with --held-out")
        measuring.append(Part(name, root, samples))
    return tuple(teaching), tuple(measuring)


def _key(root: Path, catalog: Catalog) -> tuple[Path, str]:
    return root.resolve(), catalog.name


def _distinct(names: Sequence[str], taken: set[str]) -> list[str]:
    """The names, with a number where one comes again."""
    out: list[str] = []
    for name in names:
        found, number = name, 2
        while found in taken or found in out:
            found, number = f"{name} {number}", number + 1
        out.append(found)
    return out


def _slice(job: Job, tools: Tools, say: Say) -> tuple[Mapping[str, Any], tuple[Part, Part]]:
    """The slice: what the factory reports of it (nothing of one that exists), and its two sides.

    Raises:
        GymError: when it has no training split, or no other.
    """
    made: Mapping[str, Any] = {}
    folder = job.slice if isinstance(job.slice, Path) else job.slice.folder
    if isinstance(job.slice, Request):
        made = tools.make(job.slice, say)
    root, catalog = read_dataset(folder)
    teach = tuple(s for s in catalog if s.split in (None, "train"))
    rest = tuple(s for s in catalog if s.split not in (None, "train"))
    for side, what in ((teach, "training split: nothing new would be learned"), (rest, "held-out split to measure")):
        if not side:
            raise GymError(f"{folder}: the slice has no {what}; make it by a recipe with both, or with more people")
    return made, (Part(SLICE, root, teach, is_slice=True), Part(SLICE, root, rest, is_slice=True))


def _leaks(job: Job, sides: Sides, say: Say, *, near_duplicates: bool) -> tuple[Leak, ...]:
    return refuse_leaks(sides.teaching, sides.measuring, allow=job.allow, near_duplicates=near_duplicates, say=say)


def _scores(job: Job, sides: Sides, weights: Path, tools: Tools, say: Say) -> tuple[Mapping[str, Line], ModelFacts]:
    """One line for every file that measures, by file; those of an earlier run are kept."""
    files = list(dict.fromkeys(part.root / s.path for part in sides.measuring for s in part.samples))
    factory = partial(tools.detector, weights)
    facts = factory().facts
    # by the description, too: the same network may have another probability and threshold
    output = job.out / SCORES / f"{content_of(weights)[:16]}.jsonl"
    make_folder(output.parent)
    target = ScoreFile(output, files, facts.sha256)
    done = 0

    def tell(file: str) -> None:
        nonlocal done
        done += 1
        if done % TOLD_EVERY == 0:
            say(f"scored {done} of {len(files)}")

    with target.writing() as write:
        score_files(files, factory, write, place=job.place, known=target.known, tell=tell)
    return {str(line["file"]): line for line in read_lines(output)}, facts


def _trained(
    job: Job, teaching: Sequence[Part], folder: Path, weights: Path, tools: Tools, say: Say
) -> tuple[Path, str]:
    """New weights, made unless they are there already; and the digest of what they were made from."""
    from detect.recipes import recipe_named

    recipe = recipe_named(job.recipe or recipe_of(weights))
    kept = weights if job.minutes is None else None
    samples = sorted(json.dumps(s.to_json(), sort_keys=True) for part in teaching for s in part.samples)
    inputs = {
        "recipe": recipe.to_json(),
        "seed": job.seed,
        "minutes": job.minutes,
        "network": content_of(weights) if kept else None,
        "samples": samples,
        "version": tool_version(),
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    stage = Stage(folder, digest)
    if stage.is_done():
        say("trained before, from the same")
        return folder / WEIGHTS, digest
    stage.begin()
    say(f"training with {len(samples)} clips, {'the network is kept' if kept else 'a network of its own'}")
    made = tools.train(
        recipe,
        [(part.root, part.catalog) for part in teaching],
        folder,
        minutes=job.minutes or 0.0,
        resume=kept is None,
        seed=job.seed,
        cache=job.cache or job.out / PREPARED,
        network=kept,
        version=f"{described(weights).get('version', '1')}+gym.{digest[:8]}",
        say=say,
        place=job.place,
    )
    stage.end()
    return made, digest


def _answers(sides: Sides, before: Mapping[str, Line], after: Mapping[str, Line]) -> list[Answer]:
    """Both detectors' answers, clip by clip.

    Raises:
        GymError: when a file is not the one that the catalog speaks of.
    """
    out = []
    for part in sides.measuring:
        for sample in part.samples:
            file = part.root / sample.path
            lines = before[str(file)], after[str(file)]
            for line in lines:
                if line["sha256"] not in (None, sample.sha256):
                    raise GymError(f"{file}: is not the file that its catalog speaks of; make the catalog again")
            values = [nan if line["probability"] is None else float(line["probability"]) for line in lines]
            out.append(Answer(sample, part.name, values[0], values[1], lines[0]["status"], lines[1]["status"]))
    return out


def _detector(facts: ModelFacts, weights: Path) -> dict[str, Any]:
    return {
        "name": facts.name,
        "version": facts.version,
        "sha256": facts.sha256,
        "threshold": round(facts.threshold, 6),
        "weights": str(weights),
    }


def _makers(parts: Sequence[Part]) -> frozenset[str]:
    """Of the synthetic clips."""
    return frozenset(s.maker or "unknown" for part in parts for s in part.samples if s.label is Label.SYNTHETIC)


def _counted(part: Part) -> dict[str, Any]:
    labels = {label: [s for s in part.samples if s.label is label] for label in Label}
    return {
        "name": part.name,
        **{str(label): len(mine) for label, mine in labels.items()},
        "people": len({s.cluster for s in part.samples}),
        "makers": sorted(_makers([part])),
    }


def _notes(
    job: Job,
    made: Mapping[str, Any],
    sides: Sides,
    answers: Sequence[Answer],
    before: ModelFacts,
    after: ModelFacts,
) -> list[str]:
    """What a reader should know before believing the figures."""
    both = _makers(sides.teaching) & _makers([part for part in sides.measuring if part.is_slice])
    out = []
    if both:
        out.append(
            f"Of the slice's makers, {', '.join(sorted(both))} taught the new detector, too: what is won there is won "
            "on known makers and new people. The held-out sets tell about other makers."
        )
    if not job.against_base:
        out.append(
            f"What {before.name} {before.version} was taught is not recorded in its weights: that the held-out sets "
            "and the slice's people are new to it is for you to know, and the new detector differs from it in all it "
            "was fitted on. --against-base tells what the slice alone did."
        )
    elif job.minutes is None:
        out.append(
            "Both detectors share a network: what it was taught is not recorded in its weights, and that the people "
            "here are new to it is for you to know."
        )
    out.append("The new weights are installed nowhere: give them with --weights.")
    missing = {cause: count for cause, count in (made.get("failures") or {}).items() if count}
    if missing:
        told = ", ".join(f"{count} {cause}" for cause, count in sorted(missing.items()))
        out.append(f"Planned clips of the slice that could not be made: {told}.")
    out += [f"Slice: {warning}." for warning in made.get("warnings") or ()]
    broken = sum(status == "error" for a in answers for status in (a.before_status, a.after_status))
    if broken:
        out.append(f"A detector broke on a clip {broken} times; these are asked again when the command is repeated.")
    if before.sha256 == after.sha256 and before.threshold == after.threshold:
        out.append("Both detectors are the same.")
    return out
