"""The folder in which an export grows: hidden beside its place, resumed after a kill, and renamed when it is whole.

    with building(Path("ds-hf"), settings) as build:
        ...write everything into build...
    # now ds-hf is there, or nothing is

A killed run leaves the hidden folder; the same command goes on in it, another one refuses it by name.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from countermark.exports.job import ExportError, write_text
from provenance.files import sync_folder


def check_place(folder: Path, out: Path) -> None:
    """Refuse a place that is taken, or that lies in the dataset itself.

    Raises:
        ExportError: saying which.
    """
    if out.exists() and not out.is_dir():
        raise ExportError(f"{out}: is a file; name a folder")
    if out.is_dir() and any(out.iterdir()):
        raise ExportError(f"{out}: is not empty; name a new or an empty folder")
    if _real(out).is_relative_to(_real(folder)):
        raise ExportError(f"{out}: lies in the dataset itself, whose signature it would break; name another folder")


def hidden_beside(out: Path) -> Path:
    """Where the export grows."""
    real = _real(out)
    return real.with_name(f".{real.name}.export")


@contextmanager
def building(out: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """The hidden folder, new or continued, held by this process alone; becomes `out` when the block ends well.

    Raises:
        ExportError: when it was begun by another command, or another run works in it.
    """
    build = hidden_beside(out)
    notes, held = build.with_name(f"{build.name}.json"), build.with_name(f"{build.name}.lock")
    try:
        build.parent.mkdir(parents=True, exist_ok=True)
        with held.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ExportError(f"{out}: another run exports to it; wait for that or name another folder") from error
            _begin_or_continue(build, notes, settings, out)
            yield build
            # all that is ours goes before the folder gets its name, so that no kill leaves any of it inside
            for path in [*build.rglob(".*.part"), *build.glob(".*")]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            build.replace(_real(out))
            notes.unlink(missing_ok=True)
            held.unlink(missing_ok=True)
            sync_folder(build.parent)
    except OSError as error:
        where = error.filename or build
        raise ExportError(f"{where}: {error.strerror or error}; check space and rights, and try again") from error


def _begin_or_continue(build: Path, notes: Path, settings: Mapping[str, Any], out: Path) -> None:
    plain = json.loads(json.dumps(settings))
    if not build.is_dir() or not any(build.iterdir()):
        # notes of a run whose folder is gone are about nothing
        write_text(notes, json.dumps(plain, indent=1) + "\n")
        build.mkdir(exist_ok=True)
        return
    try:
        before = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{build}: stands in the way and is not ours; remove it or name another folder") from error
    if before != plain:
        changed = [name for name in plain if not isinstance(before, dict) or before.get(name) != plain[name]]
        raise ExportError(
            f"{build}: holds a half-made export to {out.name} of another {' and '.join(changed)}; give the command of "
            "before, or remove that folder"
        )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
