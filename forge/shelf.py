"""The folder of a dataset on the disk: whose it is, who works on it, what is done, and what a killed run left behind.

    with alone(folder):
        begin_or_continue(folder, settings)
        done = kept(folder, plan.clips(12))

Nothing is ever removed from a folder that is not a dataset of ours.
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forge.filming import CLIPS, FOLDERS, MASKS, RECORDS, TRUTH, WORKERS_LOCK, write_whole
from forge.plan import PlannedClip
from forge.portrait import ForgeError
from forge.sealing import TOOL
from media.catalog import CATALOG_NAME, Catalog, Sample
from media.clip import MediaError

SETTINGS, INPUTS, FAILURES = "dataset.json", "inputs.jsonl", "failures.jsonl"
CARD, SHEET, STATEMENT = "README.md", "contact_sheet.png", "dataset.intoto.dsse.json"
NOTES, LOCK = ".looked.jsonl", ".lock"
HIDDEN = (NOTES, LOCK, WORKERS_LOCK)
OUR_NAME = re.compile(r"[0-9a-f]{16}\.(mp4|npz|parquet|json)")
"""Only files of this form are taken for remains of a killed run."""
SECONDS_TO_DIE = 30.0
"""Processes of a killed run end within moments; after this long something is wrong."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make the folder if need be and hold it; take it away again when the block fails before anything was begun.

    The locks vanish with their process, however it ends.

    Raises:
        ForgeError: when the folder cannot be used, belongs to something else, or another run works on it.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        visible = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if visible and SETTINGS not in visible:
            raise ForgeError(f"{folder}: is not empty and no dataset; choose a new or an empty folder")
        with (folder / LOCK).open("a") as lock, (folder / WORKERS_LOCK).open("a") as workers:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ForgeError(f"{folder}: another run works on it; wait for it or choose another folder") from error
            _wait_for_the_dead(workers.fileno(), folder)
            try:
                yield
            finally:
                if not (folder / SETTINGS).exists():
                    for name in HIDDEN:
                        (folder / name).unlink(missing_ok=True)
                    if is_new:
                        with suppress(OSError):
                            folder.rmdir()
    except OSError as error:
        where = error.filename or folder
        raise ForgeError(f"{where}: cannot be used ({error.strerror or error}); choose another folder") from error


def _wait_for_the_dead(lock: int, folder: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_DIE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise ForgeError(f"{folder}: processes of an earlier run still work on it; end them") from error
            time.sleep(0.1)
        else:
            fcntl.flock(lock, fcntl.LOCK_UN)
            return


def begin_or_continue(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a new dataset, or refuse to continue one that was begun with other ones.

    Raises:
        ForgeError: naming what differs.
    """
    plain = json.loads(json.dumps(settings))
    path = folder / SETTINGS
    if not path.is_file():
        write_whole(path, json.dumps({"schema": 1, "tool": TOOL, **plain}, indent=1) + "\n")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        ours = before["tool"] == TOOL and before["schema"] == 1
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForgeError(f"{path}: cannot be read as ours; choose another folder") from error
    differ = [name for name, value in plain.items() if before.get(name) != value]
    if differ or not ours:
        raise ForgeError(
            f"{folder}: was begun with another {' and '.join(differ) or 'tool'}; give the same arguments as before "
            "(only --limit may grow and --workers change), or another folder"
        )


def kept(folder: Path, clips: Iterable[PlannedClip]) -> dict[int, Sample]:
    """The clips that are there already, by number; what a killed run left half-done is removed.

    Raises:
        ForgeError: when there are clips beyond those that are planned.
    """
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
    _sweep(folder)
    there = {path.stem for path in (folder / RECORDS).glob("*.json")}
    done: dict[int, Sample] = {}
    if there:
        beyond = set(there)
        for clip in clips:
            beyond.discard(clip.id)
            sample = _record_of(folder, clip) if clip.id in there else None
            if sample is not None:
                done[clip.number] = sample
        if beyond:
            raise ForgeError(f"{folder}: holds {len(beyond)} clips beyond the limit; give the limit of before, or more")
    ids = {sample.id for sample in done.values()}
    for name in (RECORDS, CLIPS, TRUTH, MASKS):
        for path in (folder / name).iterdir():
            if path.stem not in ids and OUR_NAME.fullmatch(path.name):
                path.unlink()
    return done


def save_catalog(folder: Path, done: Mapping[int, Sample]) -> Catalog:
    """The catalog of the clips that are done, in the order of the plan, written when there are any.

    Raises:
        ForgeError: when it cannot be written.
    """
    try:
        catalog = Catalog([done[number] for number in sorted(done)], name=folder.resolve().name)
        if done:
            catalog.save(folder / CATALOG_NAME)
    except (MediaError, ValueError) as error:
        raise ForgeError(str(error)) from error
    return catalog


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """JSON Lines, whole or not at all; no file when there is no line."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    if text:
        write_whole(path, text)
    else:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove the temporary files of a run that was killed; only under names that we give."""
    names = (SETTINGS, INPUTS, FAILURES, CARD, SHEET, STATEMENT, CATALOG_NAME, NOTES)
    temporary = [path for name in FOLDERS for path in (folder / name).glob(".*")]
    temporary += [path for name in names for path in folder.glob(f".{name}.*")]
    for path in temporary:
        path.unlink(missing_ok=True)


def _record_of(folder: Path, clip: PlannedClip) -> Sample | None:
    """What the record of a clip says, when the clip and its files are there as it says."""
    try:
        record = json.loads((folder / RECORDS / f"{clip.id}.json").read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in record["files"].items())
        return Sample.from_json(record["sample"]) if whole and record["number"] == clip.number else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
