"""The one command `countermark`; every package brings its own verbs.

Machine output goes to stdout as JSON or JSON Lines, talk goes to stderr.
Importing this module loads neither torch nor c2pa nor the face landmarker: verbs import what they need when they run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from countermark import __version__
from countermark.cli_export import export
from countermark.cli_gym import gym
from detect.cli import app as detect_app
from forge.cli import app as forge_app
from provenance.cli import app as provenance_app

app = typer.Typer(
    name="countermark",
    help=(
        "Forge labelled synthetic talking heads, detect them, and prove where a file came from.\n\n"
        "Three journeys: [bold]forge dataset[/bold] makes a benchmark, [bold]detect check[/bold] judges one suspect "
        "video, "
        "[bold]provenance sign[/bold] and [bold]provenance verify[/bold] attach and read Content Credentials (C2PA)."
    ),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
detect_app.command()(gym)
app.add_typer(forge_app, name="forge")
app.add_typer(detect_app, name="detect")
app.add_typer(provenance_app, name="provenance")
app.command()(export)


def show_version(asked: bool) -> None:
    """Print the version and stop."""
    if asked:
        typer.echo(f"countermark {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Countermark: deepfake detection and provenance."""


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the demo's files; made when missing.", show_default=True)
    ] = Path("out/demo"),
) -> None:
    """Make a small benchmark, sign, score and verify it, tamper with copies, write an HTML report.

    Everything it needs is embedded: portraits of nobody, rendered by this project, and synthesised speech.
    """
    from countermark.demo import DemoError, run_demo

    try:
        report = run_demo(out)
    except DemoError as problem:
        typer.echo(f"countermark demo: {problem}", err=True)
        raise typer.Exit(1) from None
    typer.echo(str(report))


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but a loopback address makes requests need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    catalog: Annotated[
        Path | None,
        typer.Option(metavar="DATASET", help="Dataset to browse: its folder, or its catalog.jsonl."),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option("--trust", metavar="PEM", help="Also believe the signers of these authorities; may be repeated."),
    ] = None,
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Most megabytes (MiB) of one upload.")] = 500,
    max_video_minutes: Annotated[float, typer.Option(min=0.1, help="Longest video that is checked.")] = 30.0,
    max_job_seconds: Annotated[float, typer.Option(min=1.0, help="Longest time for one file.")] = 600.0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Files that are checked side by side.")] = 1,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name the page is reached by; may be repeated."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bearer token to ask for, instead of a new one each start.")
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
) -> None:
    """Serve a page, on this machine, where anyone checks a file: drop it, read the verdict and its evidence.

    Nothing is sent anywhere else, and nothing is kept. The same as an API: POST /api/check, described by /openapi.json.
    """
    from countermark.web.settings import Limits, ServeError, ServeSettings

    try:
        from countermark.web.serving import serve as run_server
        from countermark.web.serving import token_for

        limits = Limits(
            upload_bytes=max_upload_mb << 20, video_seconds=60 * max_video_minutes, job_seconds=max_job_seconds
        )
        settings = ServeSettings(
            host=host,
            port=port,
            limits=limits,
            workers=workers,
            threads=max(1, (os.cpu_count() or 2) // workers),
            catalog=catalog,
            trust=tuple(trust or ()),
            token=token_for(host, token_file),
            allowed_hosts=tuple(allow_host or ()),
        )
        run_server(settings, is_opened=opened, say=lambda line: typer.echo(line, err=True))
    except ServeError as problem:
        typer.echo(f"countermark serve: {problem}", err=True)
        raise typer.Exit(1) from None


def main() -> None:
    """Entry point: a reader that goes away (`| head`) and Ctrl-C end the command quietly."""
    # Nothing of ours needs these libraries' start-up chatter on stderr.
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("countermark: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


if __name__ == "__main__":
    main()
