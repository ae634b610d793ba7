"""What the commands of the generator say, and how: talk on stderr, facts on stdout as JSON, progress bars."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


@contextmanager
def one_line_errors() -> Iterator[Console]:
    """A console for talk; what a user can mend becomes one line and exit code 1."""
    from rich.console import Console

    from forge.portrait import ForgeError
    from media.clip import MediaError
    from provenance.errors import ProvenanceError

    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
    try:
        yield console
    except (ForgeError, MediaError, ProvenanceError, ValueError, OSError, MemoryError) as error:
        line = " ".join(str(error).split()) or f"out of resources ({type(error).__name__})"
        console.print(plain(f"error: {line}"))
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        console.print("interrupted; nothing half-made was left")
        raise typer.Exit(INTERRUPTED) from error


def plain(text: str) -> str:
    """One line for a terminal: a file name may hold line ends, escape sequences and bytes that are no text."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def print_facts(facts: Mapping[str, Any]) -> None:
    """One line of JSON on stdout."""
    text = json.dumps(dict(facts), ensure_ascii=False)
    typer.echo(text.encode("utf-8", "backslashreplace"))  # bytes of a name that are no text: as JSON escapes them


@contextmanager
def progress_bar(console: Console, what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that is told (done, planned)."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, planned: bar.update(task, completed=done, total=planned)
