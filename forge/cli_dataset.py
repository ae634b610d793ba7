"""`forge dataset`: make a dataset, plan one.

countermark forge dataset tiny out --portraits faces --speech speech --nonexistent
countermark forge dataset make tiny out ...          # the same in full
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from forge.cli_options import Consent, License, Nonexistent, Size, declaration_of
from forge.power import ASSUMED_ICC
from forge.terminal import one_line_errors, plain, print_facts

if TYPE_CHECKING:
    from rich.console import Console
    from typer._click.core import Context

    from forge.dataset import DatasetReport
    from forge.progress import Progress


MakerNames = Annotated[
    list[str] | None,
    typer.Option(help="Who makes the clips, instead of the recipe's makers (docs/datasets.md); again for more."),
]
Foreigners = Annotated[
    list[str] | None,
    typer.Option(
        help='A generator of yours, run with your rights: "NAME=COMMAND {portrait} {speech} {out}" or NAME=module:f.'
    ),
]
Abreast = Annotated[
    int,
    typer.Option(help="Clips that one process (each of a cluster) has in work: more than 1 pays beside a GPU."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="Work on a Ray cluster: its address, auto (this machine's) or local (start one here)."),
]
GpusPerWorker = Annotated[float, typer.Option(help="On a cluster, the part of a GPU each worker needs.")]
ProgressPath = Annotated[Path | None, typer.Option(help="A JSON file that says how far the run is, kept current.")]
Workers = Annotated[int | None, typer.Option(help="Processes at the same time: 1, or on a cluster every core.")]


class MakesByDefault(TyperGroup):
    """A group of verbs in which `make` need not be said."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Put `make` before what begins with no verb."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["make", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="dataset",
    cls=MakesByDefault,
    help="Make labelled datasets of signed clips, and plan them. `make` is meant where no verb is given.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command()
def make(
    recipe: Annotated[str, typer.Argument(help="A name that `forge recipes` lists.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The folder to make, or to go on with.", show_default=False)],
    portraits: Annotated[Path, typer.Option(help="Folder of pictures (and portraits.csv).", show_default=False)],
    speech: Annotated[Path, typer.Option(help="Folder of sound (and speech.csv).", show_default=False)],
    real: Annotated[Path | None, typer.Option(help="Folder of real videos (and real.csv).")] = None,
    nonexistent: Nonexistent = False,
    consent: Consent = None,
    license: License = None,
    limit: Annotated[int | None, typer.Option(help="At most so many clips, instead of the recipe's.")] = None,
    workers: Workers = None,
    abreast: Abreast = 1,
    ray: RayAddress = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    progress: ProgressPath = None,
    size: Annotated[Size | None, typer.Option(help="Pixels a side, instead of the recipe's.")] = None,
    method: Annotated[str, typer.Option(help="How faces are drawn: mesh or vasa.")] = "mesh",
    maker: MakerNames = None,
    foreign: Foreigners = None,
    foreign_limit: Annotated[
        float, typer.Option(min=1.0, help="Seconds a generator of yours may take for one clip.")
    ] = 600.0,
    motion: Annotated[
        str | None, typer.Option(help="baseline, diffusion or a .safetensors file, instead of the recipe's.")
    ] = None,
    gate: Annotated[
        bool,
        typer.Option("--gate/--no-gate", help="Make clips anew that flicker, freeze, lag or lose the face, or not."),
    ] = True,
    seed: Annotated[int, typer.Option(help="Same inputs and seed, same clips.")] = 0,
) -> None:
    """Make a labelled dataset of signed clips by a RECIPE in the folder OUT; the same command again goes on with it.

    Exit code 0 when every planned clip is there; input files that cannot be used are left out, told and listed in
    failures.jsonl. Exit code 1 when a planned clip could not be made.
    """
    with one_line_errors() as console:
        from dataclasses import replace

        from forge.dataset import Request, make_dataset
        from forge.foreign import Foreign
        from forge.motion.sources import MotionSource
        from forge.progress import ProgressFile
        from forge.quality import Gate
        from forge.recipes import recipe_named
        from media.places import place_of

        design = recipe_named(recipe)
        if motion is not None:
            design = replace(design, motions=(MotionSource.parse(motion),))
        others = tuple(Foreign.parse(text, limit_seconds=foreign_limit) for text in foreign or ())
        if maker or others:
            design = replace(design, makers=(*(maker or design.makers), *(one.full_name for one in others)))
        request = Request(
            recipe=replace(design, size=int(size.value)) if size else design,
            folder=out,
            portraits=portraits,
            speech=speech,
            real=real,
            everyone=declaration_of(nonexistent, consent, license),
            limit=limit,
            place=place_of(workers=workers, ray=ray, gpus_per_worker=gpus_per_worker, abreast=abreast),
            seed=seed,
            method=method,
            gate=Gate() if gate else Gate.off(),
            others=tuple(one.manipulation() if one.takes_clip else one.method() for one in others),
        )
        tell = ProgressFile(progress) if progress else None
        with progress_table(console) as show:

            def watch(now: Progress) -> None:
                show(now)
                if tell:
                    tell(now)

            report = make_dataset(request, watch, console.print)
        _tell_report(console, report)


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="A name that `forge recipes` lists.", show_default=False)],
    assume: Annotated[
        str | None,
        typer.Option(help="Numbers of portraits, recordings of speech, real videos instead of folders: 100,60,400."),
    ] = None,
    portraits: Annotated[Path | None, typer.Option(help="Folder of pictures (and portraits.csv).")] = None,
    speech: Annotated[Path | None, typer.Option(help="Folder of sound (and speech.csv).")] = None,
    real: Annotated[Path | None, typer.Option(help="Folder of real videos (and real.csv).")] = None,
    nonexistent: Nonexistent = False,
    consent: Consent = None,
    license: License = None,
    limit: Annotated[int | None, typer.Option(help="At most so many clips, instead of the recipe's.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that look at the folders.")] = 1,
    size: Annotated[Size | None, typer.Option(help="Pixels a side, instead of the recipe's.")] = None,
    method: Annotated[str, typer.Option(help="How faces are drawn: mesh or vasa.")] = "mesh",
    seed: Annotated[int, typer.Option(help="Of the dataset.")] = 0,
    icc: Annotated[
        float,
        typer.Option(help="Part of a detector's variance that lies between people, for the interval on its AUC."),
    ] = ASSUMED_ICC,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """What a RECIPE comes to before anything is made: counts, disk, hours, and how exact an AUC measured on it will be.

    Nothing is written. Material is looked at in the folders, or assumed by numbers.
    """
    with one_line_errors() as console:
        from dataclasses import replace
        from tempfile import TemporaryDirectory

        from forge.dataset import Request, looked_at
        from forge.outlook import Assumed, plan_dataset
        from forge.portrait import ForgeError
        from forge.recipes import recipe_named
        from media.places import place_of

        design = recipe_named(recipe)
        design = replace(design, size=int(size.value)) if size else design
        given: dict[str, Any] = {"limit": limit, "seed": seed, "method": method, "icc": icc}
        if assume is not None and (portraits or speech or real):
            raise ForgeError("--assume stands for folders: give numbers or folders, not both")
        if assume is not None:
            told = plan_dataset(design, assume=Assumed.parse(assume), **given)
        elif portraits is None or speech is None:
            raise ForgeError("a plan needs --portraits and --speech, or --assume with numbers such as 100,60,400")
        else:
            everyone = declaration_of(nonexistent, consent, license)
            with TemporaryDirectory() as notes, progress_table(console) as show:
                request = Request(
                    design, Path(notes), portraits, speech, real, everyone,
                    place=place_of(workers=workers), method=method,
                )  # fmt: skip
                told = plan_dataset(design, materials=looked_at(request, show), **given)
        if as_json:
            print_facts(told.to_json())
            return
        from rich.console import Console

        out = Console(highlight=False, soft_wrap=True)
        for line in told.lines():
            out.print(line)


def _tell_report(console: Console, report: DatasetReport) -> None:
    """In words on stderr, as JSON on stdout; exit code 1 when a planned clip is missing."""
    for warning in report.warnings:
        console.print(plain(f"note: {warning}"))
    for name, reason in report.skipped_inputs.items():
        console.print(plain(f"left out {name}: {reason}"))
    if report.rejected:
        causes = ", ".join(f"{count} {cause}" for cause, count in report.rejected.items())
        console.print(plain(f"drawn anew, having not passed the quality gate: {causes}; see rejected.jsonl"))
    count = f"{report.clips} clip" if report.clips == 1 else f"{report.clips} clips"
    console.print(plain(f"{count} in {report.folder} ({report.made} made now), signed: {report.standing}"))
    print_facts(report.to_json())
    if not report.complete:
        causes = ", ".join(f"{count} {cause}" for cause, count in report.failures.items())
        console.print(
            plain(f"error: planned clips could not be made: {causes}; see {report.folder / 'failures.jsonl'}")
        )
        raise typer.Exit(1)


@contextmanager
def progress_table(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A bar with clips a second and the time left; below it, workers and failures by cause."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Table

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[left]}"),
    )
    task = bar.add_task("", total=None, rate="", left="")
    with Live(bar, console=console, transient=True, auto_refresh=console.is_terminal) as live:

        def show(now: Progress) -> None:
            if not console.is_terminal:
                return
            rate = f"{now.clips_per_second:.2f} clips/s" if now.stage == "filming" and now.clips_per_second else ""
            left = "" if now.stage != "filming" or now.seconds_left is None else f"{spoken_time(now.seconds_left)} left"
            done = now.done + now.failed
            bar.update(task, description=now.stage, total=now.planned, completed=done, rate=rate, left=left)
            facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
            force = now.workforce
            if force.workers > 1 or force.machines > 1 or force.lost:
                facts.add_row("workers", f"{force.workers} on {force.machines} machines, {force.lost} lost")
            for cause, count in sorted(now.causes.items()):
                facts.add_row(plain(cause), str(count))
            live.update(Group(bar, facts))

        yield show


def spoken_time(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
