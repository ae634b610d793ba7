"""Write docs/cli.md from the command's own help: `python -m countermark.cli_reference docs/cli.md`.

A test compares the committed file with what this module would write, so the reference cannot go stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

COMMON = ("help", "install_completion", "show_completion")
"""Options that every typer command has."""


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and everything below it, in the order of the help.

    Commands are typed loosely: newer typers carry their own copy of click, older ones use the real one.
    """
    yield path, command
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            if not below.hidden:
                yield from commands(below, (*path, name))


def one_line(text: str | None) -> str:
    """Help text as a table cell: no markup, no line breaks, no column separator."""
    plain = (text or "").replace("[bold]", "").replace("[/bold]", "")
    return " ".join(plain.split()).replace("|", "\\|")


def parameter_row(parameter: Any) -> str:
    """One row of a parameter table."""
    if parameter.param_type_name == "option":
        name = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    else:
        name = f"`{(parameter.name or '').upper()}`"
    help_text = one_line(getattr(parameter, "help", None))
    default = parameter.default
    shown = "required" if parameter.required else ""
    if not parameter.required and default not in (None, False, "", ()) and not callable(default):
        shown = f"`{default}`"
    return f"| {name} | {help_text} | {shown} |"


def reference(app: typer.Typer, name: str) -> str:
    """The whole reference as Markdown."""
    lines = ["# Command line reference", "", "Written by `make docs` from the command's own help; do not edit.", ""]
    for path, command in commands(typer.main.get_command(app), (name,)):
        lines += [
            f"## `{' '.join(path)}`",
            "",
            (command.help or "").replace("[bold]", "**").replace("[/bold]", "**").strip(),
            "",
        ]
        parameters = [p for p in command.params if p.name not in COMMON and not getattr(p, "hidden", False)]
        if parameters:
            lines += ["| parameter | meaning | default |", "|---|---|---|", *map(parameter_row, parameters), ""]
    return "\n".join(line.rstrip() for line in lines).replace("\f", "").rstrip() + "\n"


def main(argv: list[str]) -> int:
    """Write the reference to the path given."""
    from countermark.cli import app

    if len(argv) != 1:
        sys.stderr.write("usage: python -m countermark.cli_reference OUT.md\n")
        return 2
    Path(argv[0]).write_text(reference(app, "countermark"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
