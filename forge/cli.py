"""The commands of the generator: `forge animate`, `dataset`, `recipes`, and those of `cli_live` and `cli_training`.

Facts go to stdout as JSON, talk to stderr. Exit codes: 0 done, 1 refused or not complete (one line says why), 2 wrong
usage, 130 interrupted. What they do is imported when they run, so that `--help` is quick.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forge.cli_live import live
from forge.cli_options import (
    Consent,
    Distance,
    Emotion,
    FrameRate,
    FrozenPose,
    Gaze,
    Guidance,
    HeadMotion,
    License,
    LipGain,
    Nonexistent,
    Overwrite,
    Seed,
    Size,
    Steps,
    declaration_of,
    rate_of,
)
from forge.cli_training import prepare, studio, studio_people, train, train_recipes
from forge.motion.controls import DEFAULT_MOTION
from forge.terminal import one_line_errors, plain, print_facts, progress_bar

if TYPE_CHECKING:
    from rich.console import Console

    from forge.dataset import Progress

app = typer.Typer(
    name="forge",
    help="Make labelled, signed talking-head clips from declared portraits and speech.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.command()
def animate(
    portrait: Annotated[Path, typer.Argument(help="A picture with one face: png, jpeg, webp.", show_default=False)],
    speech: Annotated[Path, typer.Argument(help="Speech: wav, flac, mp3 ..., or a video.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="The mp4 to make.", show_default=False)],
    nonexistent: Nonexistent = False,
    consent: Consent = None,
    license: License = None,
    method: Annotated[str, typer.Option(help="How the face is drawn: mesh or vasa.")] = "mesh",
    motion: Annotated[
        str, typer.Option(help="What moves it: baseline (rules), diffusion (the network), or a .safetensors file.")
    ] = DEFAULT_MOTION,
    steps: Steps = None,
    guidance: Guidance = None,
    size: Annotated[Size, typer.Option(help="Pixels a side.")] = Size.LARGE,
    fps: FrameRate = "25",
    gaze: Gaze = None,
    distance: Distance = 1.0,
    emotion: Emotion = None,
    head_motion: HeadMotion = 1.0,
    frozen_pose: FrozenPose = False,
    blink_rate: Annotated[float, typer.Option(help="Scale of the number of blinks.")] = 1.0,
    lip_gain: LipGain = 1.0,
    seed: Seed = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a PORTRAIT say the SPEECH: a signed mp4, as long as the speech, that says it is synthetic."""
    with one_line_errors() as console:
        from forge.animate import animate_to_file
        from forge.methods import Shot
        from forge.motion.controls import Controls
        from forge.motion.sources import MotionSource

        declaration = declaration_of(nonexistent, consent, license)
        controls = Controls.parse(
            gaze=gaze,
            distance=distance,
            emotion=emotion,
            head_motion=head_motion,
            frozen_pose=frozen_pose,
            blink_rate=blink_rate,
            lip_gain=lip_gain,
            seed=seed or 0,
        )
        source = MotionSource.parse(motion, steps=steps, guidance=guidance)
        with progress_bar(console, "filming", "frames") as tell:
            made = animate_to_file(
                portrait,
                speech,
                out,
                declaration=declaration,
                method=method,
                shot=Shot(int(size.value), rate_of(fps), controls, source),
                own_seed=seed is None,
                overwrite=overwrite,
                on_frame=tell,
                notify=console.print,
            )
        console.print(plain(f"made {made.file} ({made.frames} frames), {made.declaration}, signed"))
        print_facts(made.to_json())


@app.command()
def dataset(
    recipe: Annotated[str, typer.Argument(help="A name that `forge recipes` lists.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The folder to make, or to go on with.", show_default=False)],
    portraits: Annotated[Path, typer.Option(help="Folder of pictures (and portraits.csv).", show_default=False)],
    speech: Annotated[Path, typer.Option(help="Folder of sound (and speech.csv).", show_default=False)],
    real: Annotated[Path | None, typer.Option(help="Folder of real videos (and real.csv).")] = None,
    nonexistent: Nonexistent = False,
    consent: Consent = None,
    license: License = None,
    limit: Annotated[int | None, typer.Option(help="At most so many clips, instead of the recipe's.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that work at the same time.")] = 1,
    size: Annotated[Size | None, typer.Option(help="Pixels a side, instead of the recipe's.")] = None,
    method: Annotated[str, typer.Option(help="How faces are drawn: mesh or vasa.")] = "mesh",
    motion: Annotated[
        str | None, typer.Option(help="baseline, diffusion or a .safetensors file, instead of the recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same inputs and seed, same clips.")] = 0,
) -> None:
    """Make a labelled dataset of signed clips by a RECIPE in the folder OUT; the same command again goes on with it.

    Exit code 0 when every planned clip is there; input files that cannot be used are left out, told and listed in
    failures.jsonl. Exit code 1 when a planned clip could not be made.
    """
    with one_line_errors() as console:
        from dataclasses import replace

        from forge.dataset import Request, make_dataset
        from forge.motion.sources import MotionSource
        from forge.recipes import recipe_named

        design = recipe_named(recipe)
        if motion is not None:
            design = replace(design, motions=(MotionSource.parse(motion),))
        request = Request(
            recipe=replace(design, size=int(size.value)) if size else design,
            folder=out,
            portraits=portraits,
            speech=speech,
            real=real,
            everyone=declaration_of(nonexistent, consent, license),
            limit=limit,
            workers=workers,
            seed=seed,
            method=method,
        )
        with _factoryprogress_bar(console) as watch:
            report = make_dataset(request, watch, console.print)
        for warning in report.warnings:
            console.print(plain(f"note: {warning}"))
        for name, reason in report.skipped_inputs.items():
            console.print(plain(f"left out {name}: {reason}"))
        count = f"{report.clips} clip" if report.clips == 1 else f"{report.clips} clips"
        console.print(plain(f"{count} in {out} ({report.made} made now), signed: {report.standing}"))
        print_facts(report.to_json())
        if not report.complete:
            causes = ", ".join(f"{count} {cause}" for cause, count in report.failures.items())
            console.print(plain(f"error: planned clips could not be made: {causes}; see {out / 'failures.jsonl'}"))
            raise typer.Exit(1)


app.command()(live)
app.command()(studio)
app.command("studio-people")(studio_people)
app.command()(prepare)
app.command()(train)
app.command("train-recipes")(train_recipes)


@app.command()
def recipes() -> None:
    """List the recipes of `forge dataset` as JSON Lines."""
    from forge.recipes import DATASET_RECIPES

    for make in DATASET_RECIPES.values():
        typer.echo(json.dumps(make().to_json()))


@contextmanager
def _factoryprogress_bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A progress bar with clips a second, the time that is left, and failures."""
    import time

    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, stage, began = bar.add_task("", total=None, rate="", failed=""), "", time.monotonic()

        def watch(progress: Progress) -> None:
            nonlocal stage, began
            if progress.stage != stage:
                stage, began = progress.stage, time.monotonic()
                bar.reset(task, total=progress.planned, completed=progress.done, description=stage)
            made, seconds = progress.done - progress.kept, time.monotonic() - began
            rate = f"{made / seconds:.2f} clips/s" if stage == "filming" and made and seconds else ""
            failed = f"{progress.failed} failed" if progress.failed else ""
            bar.update(task, completed=progress.done + progress.failed, rate=rate, failed=failed)

        yield watch


if __name__ == "__main__":
    app()
