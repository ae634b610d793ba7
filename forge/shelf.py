"""The folder of a dataset on the disk: whose it is, who works on it, what is done, and what a killed run left behind.

    with alone(folder):
        begin_or_continue(folder, settings)
        done = kept(folder, plan.clips(12), 12)

Nothing is ever removed from a folder that is not a dataset of ours.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from forge.doubles import Printed
from forge.filming import CLIPS, FOLDERS, MASKS, RECORDS, TRUTH, WORKERS_LOCK, write_whole
from forge.plan import PlannedClip
from forge.portrait import ForgeError
from forge.sealing import TOOL
from media.catalog import CATALOG_NAME, Sample
from media.catalog_file import CatalogFile, write_catalog_file
from media.clip import MediaError

SETTINGS, INPUTS, FAILURES, REJECTS = "dataset.json", "inputs.jsonl", "failures.jsonl", "rejected.jsonl"
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
    names = dict.fromkeys([*plain, *(name for name in before if name not in ("schema", "tool"))])
    differ = [name for name in names if before.get(name) != plain.get(name)]
    if differ or not ours:
        raise ForgeError(
            f"{folder}: was begun with another {' and '.join(differ) or 'tool'}; give the same arguments as before "
            "(only --limit may grow and --workers change), or another folder"
        )


class Done:
    """Which numbers are done: a byte a number, however large the dataset."""

    def __init__(self, limit: int) -> None:
        """None is done of `limit` numbers."""
        self._flags = bytearray(limit)
        self.count = 0

    def __contains__(self, number: int) -> bool:
        """Whether a number is done."""
        return bool(self._flags[number])

    def __len__(self) -> int:
        """How many are done."""
        return self.count

    def add(self, number: int) -> None:
        """A number is done."""
        self.count += not self._flags[number]
        self._flags[number] = 1

    def remove(self, number: int) -> None:
        """A number is to be done again."""
        self.count -= self._flags[number]
        self._flags[number] = 0


class Rejects:
    """Clips that were made and did not pass, as a run after run finds them: `rejected.jsonl`, a line each."""

    def __init__(self, folder: Path) -> None:
        """What earlier runs rejected; a last line torn by a kill is dropped."""
        self._path = folder / REJECTS
        self._seen = Counter[int]()
        self.causes = Counter[str]()
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        except OSError:
            lines = []
        whole: list[str] = []
        for text in lines:
            try:
                if not text.endswith("\n"):
                    raise ValueError("torn")
                line = json.loads(text)
                self._count(int(line["number"]), str(line["cause"]))
                whole.append(text)
            except (ValueError, KeyError, TypeError):
                break
        if len(whole) < len(lines):
            write_whole(self._path, "".join(whole))

    def attempt(self, number: int) -> int:
        """How often this number was rejected."""
        return self._seen[number]

    def numbers(self) -> list[int]:
        """The numbers that were rejected at least once."""
        return sorted(self._seen)

    def add(self, number: int, facts: Mapping[str, Any]) -> None:
        """Write down a clip that did not pass; `facts` have its `cause`."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"number": number, **facts}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())  # a record of the next attempt must not outlive the line that says why
        self._count(number, str(facts["cause"]))

    def _count(self, number: int, cause: str) -> None:
        self._seen[number] += 1
        self.causes[cause] += 1

    def __len__(self) -> int:
        """How many clips were rejected."""
        return self._seen.total()


def kept(folder: Path, clips: Iterable[PlannedClip], limit: int) -> Done:
    """The clips that are there already; what a killed run left half-done is removed.

    Args:
        folder: of the dataset.
        clips: what is planned, each as it is to be made now (see `Rejects.attempt`).
        limit: numbers are below it.

    Raises:
        ForgeError: when there are clips beyond those that are planned.
    """
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
    _sweep(folder)
    done = Done(limit)
    there = _count(folder / RECORDS, ".json")
    if there:
        for clip in clips:
            if record_path(folder, clip.id).exists():
                there -= 1
                if sample_of(folder, clip) is not None:
                    done.add(clip.number)
                else:
                    record_path(folder, clip.id).unlink()
        if there:
            raise ForgeError(f"{folder}: holds {there} clips beyond the limit; give the limit of before, or more")
    for name in (CLIPS, TRUTH, MASKS):
        with os.scandir(folder / name) as files:
            for file in files:
                stem = file.name.partition(".")[0]
                if OUR_NAME.fullmatch(file.name) and not record_path(folder, stem).exists():
                    Path(file).unlink()
    return done


def prints_of(folder: Path, clips: Iterable[PlannedClip]) -> Iterator[Printed]:
    """The prints of clips that are there, in the order of the clips."""
    for clip in clips:
        try:
            text = json.loads(record_path(folder, clip.id).read_text(encoding="utf-8")).get("print")
        except (OSError, ValueError, AttributeError):
            continue
        if text:
            yield Printed(clip.number, f"{clip.label.value}/{clip.maker}", clip.source, bytes.fromhex(text))


def take_back(folder: Path, clip_id: str) -> None:
    """Remove a clip, its record first: what a kill leaves of the rest is swept away at the next start."""
    record_path(folder, clip_id).unlink(missing_ok=True)
    for name, suffix in ((CLIPS, "mp4"), (MASKS, "npz"), (TRUTH, "parquet")):
        (folder / name / f"{clip_id}.{suffix}").unlink(missing_ok=True)


def record_path(folder: Path, clip_id: str) -> Path:
    """Where the record of a clip lies."""
    return folder / RECORDS / f"{clip_id}.json"


def save_catalog(folder: Path, clips: Iterable[PlannedClip]) -> CatalogFile | None:
    """The catalog of clips that are done, in the order of the plan; None, and no file, when there are none.

    Raises:
        ForgeError: when it cannot be written.
    """
    samples = (sample for clip in clips if (sample := sample_of(folder, clip)) is not None)
    try:
        first = next(samples, None)
        return None if first is None else write_catalog_file(folder, chain([first], samples))
    except (MediaError, ValueError) as error:
        raise ForgeError(str(error)) from error


def _count(folder: Path, suffix: str) -> int:
    with os.scandir(folder) as files:
        return sum(1 for file in files if file.name.endswith(suffix) and OUR_NAME.fullmatch(file.name))


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """JSON Lines, whole or not at all; no file when there is no line."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    if text:
        write_whole(path, text)
    else:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove the temporary files of a run that was killed; only under names that we give."""
    names = (SETTINGS, INPUTS, FAILURES, REJECTS, CARD, SHEET, STATEMENT, CATALOG_NAME, NOTES)
    temporary = [path for name in FOLDERS for path in (folder / name).glob(".*")]
    temporary += [path for name in names for path in folder.glob(f".{name}.*")]
    for path in temporary:
        path.unlink(missing_ok=True)


def sample_of(folder: Path, clip: PlannedClip) -> Sample | None:
    """What the record of a clip says, when the clip and its files are there as it says."""
    try:
        record = json.loads(record_path(folder, clip.id).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in record["files"].items())
        return Sample.from_json(record["sample"]) if whole and record["number"] == clip.number else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
