"""`countermark detect gym`: make a slice of new clips, train with it, and see what was won and lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forge.cli_options import Consent, License, Nonexistent

if TYPE_CHECKING:
    from forge.portrait import Declaration
    from forge.run import Request
    from media.places import Place

CATALOGS = "catalog.jsonl, a CSV table, or a folder that holds one"


def gym(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder for everything; the same command goes on in it.")
    ],
    held_out: Annotated[
        list[Path],
        typer.Option(
            "--held-out", metavar="CATALOG", help=f"Makers and people nobody learns from: {CATALOGS}; may be repeated."
        ),
    ],
    base: Annotated[
        list[Path],
        typer.Option(
            "--base", metavar="CATALOG", help="Its training split teaches, beside the slice's; may be repeated."
        ),
    ],
    slice_folder: Annotated[
        Path | None, typer.Option("--slice", metavar="FOLDER", help="A dataset that exists, instead of a recipe.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make the slice by this recipe of `forge recipes`.")
    ] = None,
    portraits: Annotated[Path | None, typer.Option(help="Folder of pictures (and portraits.csv).")] = None,
    speech: Annotated[Path | None, typer.Option(help="Folder of sound (and speech.csv).")] = None,
    real: Annotated[Path | None, typer.Option(help="Folder of real videos (and real.csv).")] = None,
    nonexistent: Nonexistent = False,
    consent: Consent = None,
    license: License = None,
    limit: Annotated[int | None, typer.Option(help="At most so many clips, instead of the recipe's.")] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The detector in use; the shipped one unless given.")
    ] = None,
    train_recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="How to train; as the detector in use was, unless given.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train a network, too, instead of keeping it.")] = False,
    minutes: Annotated[
        float, typer.Option("--time-budget-minutes", min=0.01, help="For the network of --full.")
    ] = 90.0,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of prepared crops, shared by runs; inside OUT unless given."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A leak that is known and accepted, such as makers; may be repeated."),
    ] = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Look into all clips for copies across the two sides: slow.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Processes side by side: 1, or on a cluster every core.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Work on a Ray cluster: its address, auto (this machine's) or local (start one here)."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the slice, the training and the resampling.")] = 0,
) -> None:
    """Make a slice of new clips, train with it, and see what was won and lost on clips that taught nobody.

    Scores the detector in use on the slice's held-out splits and on every held-out set, fits a new one on the base and
    the slice, scores that, and writes one report: OUT/gym.html and OUT/gym.json. The new weights stay in OUT/trained.
    Prints one JSON object.
    """
    from forge.terminal import INTERRUPTED, one_line_errors, plain

    with one_line_errors() as console:
        from countermark.gym import GymError, Job, run_gym
        from countermark.gym_report import PAGE_NAME, told
        from detect.detector import DetectError
        from forge.cli_options import declaration_of
        from media.places import place_of

        try:
            place = place_of(workers=workers, ray=ray)
            material = (portraits, speech, real)
            everyone = declaration_of(nonexistent, consent, license)
            job = Job(
                out=out,
                held_out=tuple(held_out),
                base=tuple(base),
                slice=_slice(out, slice_folder, recipe, material, everyone, limit, place, seed),
                weights=weights,
                recipe=train_recipe,
                minutes=minutes if full else None,
                seed=seed,
                cache=cache,
                place=place,
                allow=tuple(allow or ()),
                near_duplicates=near_duplicates,
            )
            report = run_gym(job, say=lambda line: console.print(plain(line)))
        except (GymError, DetectError) as problem:
            raise ValueError(str(problem)) from problem
        except KeyboardInterrupt as problem:
            console.print("interrupted; the same command goes on where it stopped")
            raise typer.Exit(INTERRUPTED) from problem
        for line in told(report):
            console.print(plain(line))
        trained = report["detectors"]["after"]["weights"]
        console.print(plain(f"new weights: {trained}"))
        console.print(plain(f"report: {out / PAGE_NAME}"))
        facts = {"report": str(out / PAGE_NAME), "weights": trained}
        facts |= {name: report[name] for name in ("comparisons", "won", "lost", "perhaps_won", "perhaps_lost")}
        typer.echo(json.dumps(facts, ensure_ascii=True))


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
