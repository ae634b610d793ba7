"""The commands of the generator that make and use training material.

`forge studio`, `forge studio-people`, `forge prepare`, `forge train`, `forge train-recipes`; mounted by `forge.cli`.
Facts go to stdout as JSON, talk to stderr; what they do is imported when they run.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from forge.terminal import one_line_errors, plain, print_facts, progress_bar


class People(StrEnum):
    """Who is filmed in the studio."""

    RENDERED = "rendered"
    PHOTO = "photo"
    MIX = "mix"


class Device(StrEnum):
    """Where networks are trained."""

    CPU = "cpu"
    CUDA = "cuda"


def studio(
    out: Annotated[Path, typer.Argument(help="The folder to make, or to go on with.", show_default=False)],
    people: Annotated[int, typer.Option(help="How many persons.")] = 20,
    frames: Annotated[int, typer.Option(help="Frames of each.")] = 16,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 256,
    kind: Annotated[People, typer.Option(help="Drawn by the studio, made of your photos, or both.")] = People.RENDERED,
    photos: Annotated[Path | None, typer.Option(help="Folder of people that `forge studio-people` made.")] = None,
    seed: Annotated[int, typer.Option(help="Of the first person; the same seed is the same person.")] = 0,
    held_out: Annotated[bool, typer.Option("--held-out", help="People that no training ever sees.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that work at the same time.")] = 1,
    measured: Annotated[bool, typer.Option(help="Add what the face tracker reads off each frame.")] = True,
) -> None:
    """Film rendered people of nobody with exact truth (pose, expression, depth, flow) for training a face model.

    Footage is no clip: it is training material, labelled synthetic, with licence and recipe in every file.
    """
    with one_line_errors() as console:
        from forge.studio.shooting import film_studio

        report = film_studio(
            out,
            people=people,
            frames_per_person=frames,
            size=size,
            seed=seed,
            workers=workers,
            held_out=held_out,
            kind=kind.value,
            photo_folder=photos,
            measured=measured,
        )
        for person, reason in report.failed.items():
            console.print(plain(f"person {person}: {reason}"))
        console.print(plain(f"{report.made} people filmed in {out}, {report.kept} were there"))
        facts = {"out": str(out), "made": report.made, "kept": report.kept, "failed": len(report.failed)}
        print_facts(facts | {"seconds": round(report.seconds, 2)})
        if report.failed:
            raise typer.Exit(1)


def studio_people(
    folder: Annotated[Path, typer.Argument(help="Pictures of people who do not exist or agreed.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to make, or to go on with.", show_default=False)],
    table: Annotated[
        Path | None, typer.Option(help="Their csv: file, license, and nonexistent or consent. Default: people.csv.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that work at the same time.")] = 1,
) -> None:
    """Make portraits into people that the studio can turn, light and animate.

    Why a portrait was left out is in people.json.
    """
    with one_line_errors() as console:
        from forge.studio.photo import load_people

        people = load_people(folder, table or folder / "people.csv", cache=out, workers=workers)
        console.print(plain(f"{len(people)} people in {out}"))
        print_facts({"out": str(out), "people": len(people)})


def prepare(
    folder: Annotated[Path, typer.Argument(help="Videos of people talking, in any depth.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to make, or to go on with.", show_default=False)],
    consent: Annotated[str | None, typer.Option(help="Who agreed, when, to what; or a clips.csv that says it.")] = None,
    license: Annotated[str | None, typer.Option(help="Of the recordings; or a clips.csv that says it.")] = None,
    size: Annotated[int, typer.Option(help="Side of the prepared frames, 256 or 512.")] = 256,
    limit: Annotated[int | None, typer.Option(help="At most so many videos.")] = None,
) -> None:
    """Make your own talking videos into aligned training clips: followed, cropped, cut, sifted, with measured motion.

    What was left out and why is in status.jsonl. The same command again goes on.
    """
    with one_line_errors() as console:
        from forge.prepare import prepare as prepare_videos
        from forge.prepare_cuts import Sieve

        with progress_bar(console, "preparing", "videos") as tell:
            report = prepare_videos(
                folder,
                out,
                consent=consent,
                license=license,
                sieve=Sieve(size=size),
                limit=limit,
                on_video=lambda done, planned, row: tell(done, planned),
            )
        for reason, count in report.refused.items():
            console.print(plain(f"left out {count}: {reason}"))
        console.print(plain(f"{report.kept} clips of {report.videos} videos in {out}"))
        print_facts(report.to_json())


def train(
    recipe: Annotated[str, typer.Argument(help="A name that `forge train-recipes` lists.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(help="Takes of `forge studio`, or motion sequences; without it faces are filmed on the fly."),
    ] = None,
    held: Annotated[Path | None, typer.Option(help="Takes of held-out people to judge by.")] = None,
    resume: Annotated[Path | None, typer.Option(help="A run or weights to go on from.")] = None,
    render_net: Annotated[Path | None, typer.Option(help="RenderNet A, for perceptual and identity losses.")] = None,
    time_budget_minutes: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
    device: Annotated[Device | None, typer.Option(help="Instead of the recipe's.")] = None,
    people: Annotated[People, typer.Option(help="Who is filmed on the fly.")] = People.RENDERED,
    photos: Annotated[Path | None, typer.Option(help="Folder of photo people for --people photo or mix.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that make people ahead.")] = 0,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a generator network by a RECIPE: the face, its laptop student, RenderNet, or the motion network.

    Checkpoints every few minutes; the same command with --resume goes on. Several GPUs: torchrun -m forge.train_face.
    """
    with one_line_errors() as console:
        from forge.training import Training, train_by_recipe

        wanted = Training(
            recipe=recipe,
            out=out,
            data=data,
            held=held,
            resume=resume,
            render_net=render_net,
            minutes=time_budget_minutes,
            device=device.value if device else None,
            people=people.value,
            photos=photos,
            workers=workers,
            seed=seed,
        )
        weights = train_by_recipe(wanted, say=lambda line: console.print(plain(line)))
        print_facts({"recipe": recipe, "out": str(out), "weights": str(weights)})


def train_recipes() -> None:
    """List the recipes of `forge train` as JSON Lines."""
    with one_line_errors():
        from forge.training import known_recipes

        for name, (family, about) in known_recipes().items():
            print_facts({"recipe": name, "trains": family, "about": about})
