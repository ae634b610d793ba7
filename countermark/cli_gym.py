"""`countermark detect gym`: make a slice of new clips, train with it, and see what was won and lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detect.cli import RayOption, WorkersOption
from forge.cli_options import Consent, License, Nonexistent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from countermark.gym import Job
    from forge.portrait import Declaration
    from forge.run import Request
    from media.places import Place

MINUTES = 90.0
"""Of training, unless said otherwise."""
CATALOGS = "catalog.jsonl, a CSV table, or a folder that holds one"

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder for everything; the same command goes on in it.")]
HeldOut = Annotated[
    list[Path],
    typer.Option(
        "--held-out", metavar="CATALOG", help=f"Makers and people nobody learns from: {CATALOGS}; may be repeated."
    ),
]
Base = Annotated[
    list[Path],
    typer.Option("--base", metavar="CATALOG", help="Its training split teaches, beside the slice's; may be repeated."),
]
SliceFolder = Annotated[
    Path | None, typer.Option("--slice", metavar="FOLDER", help="A dataset that exists, instead of a recipe.")
]
Recipe = Annotated[str | None, typer.Option(metavar="NAME", help="Make the slice by this recipe of `forge recipes`.")]
Limit = Annotated[int | None, typer.Option(help="At most so many clips, instead of the recipe's.")]
Weights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The detector in use; the shipped one unless given.")
]
TrainRecipe = Annotated[
    str | None, typer.Option(metavar="NAME", help="How to train; as the detector in use was, unless given.")
]
Full = Annotated[bool, typer.Option("--full", help="Train a network, too, instead of keeping it.")]
Minutes = Annotated[
    float | None,
    typer.Option("--time-budget-minutes", min=0.01, help="For the network of --full; 90 unless given."),
]
Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of prepared crops, shared by runs; inside OUT unless given.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A leak that is known and accepted, such as makers; may be repeated."),
]
NearDuplicates = Annotated[
    bool, typer.Option("--near-duplicates", help="Look into all clips for copies across the two sides: slow.")
]
AgainstBase = Annotated[
    bool,
    typer.Option("--against-base", help="Compare with one fitted on the base alone: what the slice did, nothing else."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the slice, the training and the resampling.")]


def gym(
    out: Out,
    held_out: HeldOut,
    base: Base,
    slice_folder: SliceFolder = None,
    recipe: Recipe = None,
    portraits: Annotated[Path | None, typer.Option(help="Folder of pictures (and portraits.csv).")] = None,
    speech: Annotated[Path | None, typer.Option(help="Folder of sound (and speech.csv).")] = None,
    real: Annotated[Path | None, typer.Option(help="Folder of real videos (and real.csv).")] = None,
    nonexistent: Nonexistent = False,
    consent: Consent = None,
    license: License = None,
    limit: Limit = None,
    weights: Weights = None,
    train_recipe: TrainRecipe = None,
    full: Full = False,
    minutes: Minutes = None,
    cache: Cache = None,
    allow: Allow = None,
    near_duplicates: NearDuplicates = False,
    against_base: AgainstBase = False,
    workers: WorkersOption = None,
    ray: RayOption = None,
    seed: Seed = 0,
) -> None:
    """Make a slice of new clips, train with it, and see what was won and lost on clips that taught nobody.

    Scores the detector in use on the slice's held-out splits and on every held-out set, fits a new one on the base and
    the slice, scores that, and writes one report: OUT/gym.html and OUT/gym.json. The new weights stay in OUT/trained.
    Prints one JSON object.
    """
    from forge.terminal import INTERRUPTED, one_line_errors

    with one_line_errors() as console:
        from countermark.gym import GymError, Job
        from detect.detector import DetectError
        from forge.cli_options import declaration_of
        from media.places import place_of

        try:
            place = place_of(workers=workers, ray=ray)
            everyone = declaration_of(nonexistent, consent, license)
            made = _slice(out, slice_folder, recipe, (portraits, speech, real), everyone, limit, place, seed)
            job = Job(
                out, tuple(held_out), tuple(base), made, weights, train_recipe, _minutes(full, minutes), seed, cache,
                place, tuple(allow or ()), near_duplicates, against_base,
            )  # fmt: skip
            facts = _run(job, console)
        except (GymError, DetectError) as problem:
            raise ValueError(str(problem)) from problem
        except KeyboardInterrupt as problem:
            console.print("interrupted; the same command goes on where it stopped")
            raise typer.Exit(INTERRUPTED) from problem
        typer.echo(json.dumps(facts, ensure_ascii=True))


def _run(job: Job, console: Console) -> Mapping[str, Any]:
    """Run it, tell what came out, and return what is printed for machines."""
    from countermark.gym import run_gym
    from countermark.gym_report import PAGE_NAME, told
    from forge.terminal import plain

    report = run_gym(job, say=lambda line: console.print(plain(line)))
    for line in told(report):
        console.print(plain(line))
    trained, page = report["detectors"]["after"]["weights"], str(job.out / PAGE_NAME)
    console.print(plain(f"new weights: {trained}"))
    console.print(plain(f"report: {page}"))
    named = ("comparisons", "won", "lost", "perhaps_won", "perhaps_lost")
    return {"report": page, "weights": trained, **{name: report[name] for name in named}}


def _minutes(full: bool, minutes: float | None) -> float | None:
    """How long a network is trained; None where it is kept.

    Raises:
        GymError: for a time that nothing would take.
    """
    from countermark.gym import GymError

    if minutes is not None and not full:
        raise GymError("--time-budget-minutes is for a network of its own: give --full, too, or leave it out")
    return (minutes or MINUTES) if full else None


def _slice(
    out: Path,
    folder: Path | None,
    recipe: str | None,
    material: tuple[Path | None, Path | None, Path | None],
    everyone: Declaration | None,
    limit: int | None,
    place: Place,
    seed: int,
) -> Path | Request:
    """The slice that is there, or what is to be made.

    Raises:
        GymError: when neither or both are given, or material is missing.
    """
    from countermark.gym import SLICE_FOLDER, GymError
    from forge.recipes import recipe_named
    from forge.run import Request

    portraits, speech, real = material
    if (folder is None) == (recipe is None):
        raise GymError("give the slice by --slice FOLDER, or by --recipe NAME with --portraits and --speech")
    if folder is not None:
        if any(material) or limit is not None or everyone is not None:
            raise GymError("--slice takes a dataset as it is: material, limit and consent are for --recipe")
        return folder
    if recipe is None or portraits is None or speech is None:
        raise GymError("a slice by --recipe needs --portraits and --speech")
    return Request(
        recipe_named(recipe), out / SLICE_FOLDER, portraits, speech, real, everyone, limit=limit, place=place, seed=seed
    )
