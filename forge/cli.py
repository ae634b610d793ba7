"""The commands of the generator: `forge animate`, `dataset`, `recipes`, and those of `cli_live` and `cli_training`.

Facts go to stdout as JSON, talk to stderr. Exit codes: 0 done, 1 refused or not complete (one line says why), 2 wrong
usage, 130 interrupted. What they do is imported when they run, so that `--help` is quick.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forge.cli_dataset import app as dataset_app
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
    pass

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


app.add_typer(dataset_app, name="dataset")
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


if __name__ == "__main__":
    app()
