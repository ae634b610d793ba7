"""Many files -> one JSON object a line: `detect score`.

Rules, told once:

1. Every file gets exactly one line, in the order asked for. An abstention is an answer; so is an unreadable file. Only
   a detector that breaks gives a line with the status "error", and only that makes the command fail.
2. A path that does not exist is a mistake of the caller: nothing is scored.
3. A line is written whole as soon as it is known, so that a killed run loses at most the files in work. The next run
   with the same output answers the rest; a file whose content changed, or another model, is answered again.
4. Lines about files that this run does not ask for stay as they are.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, TextIO

from detect.detector import DetectError, Detector, Score, Status
from detect.report import printable, write_whole
from media.clip import MediaError
from media.places import DIED, Here, Place, Room, in_order
from provenance.errors import ProvenanceError
from provenance.files import sha256_of, state_of

VIDEO_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".3gp"))
OTHER_SUFFIXES = frozenset((".wmv", ".flv", ".ogv", ".gif", ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"))
MEDIA_SUFFIXES = VIDEO_SUFFIXES | OTHER_SUFFIXES | {".avif", ".mts"}
"""What is picked up from a folder; a file that is named itself is scored whatever its name."""

LINE_START = '{"file": '
"""How every line begins; a torn last line that begins otherwise is somebody else's file."""

DetectorFactory = Callable[[], Detector]
"""Makes a detector; must be picklable to be used with more than one worker."""

Line = Mapping[str, Any]
"""One answer as it stands in the output."""


@dataclass(frozen=True)
class Tally:
    """How a run went."""

    files: int
    answered_before: int
    abstained: int
    errors: int

    @property
    def every_file_has_an_answer(self) -> bool:
        """Whether no detector broke."""
        return self.errors == 0


def files_under(paths: Sequence[Path]) -> list[Path]:
    """The files that some paths mean: themselves, and what lies in folders, sorted; each once, in the order asked for.

    Raises:
        DetectError: for a path that does not exist or a folder without media files.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not os.path.lexists(path):
                raise DetectError(f"{printable(path)} does not exist; check the spelling")
            files.append(path)
            continue
        inside = sorted(
            found
            for found in path.rglob("*")
            if found.suffix.lower() in MEDIA_SUFFIXES
            and not any(part.startswith(".") for part in found.relative_to(path).parts)
            and found.is_file()
        )
        if not inside:
            raise DetectError(
                f"no video or picture in the folder {printable(path)}; name a file to score it whatever its name"
            )
        files += inside
    return list(dict.fromkeys(files))


def score_files(
    files: Sequence[Path],
    factory: DetectorFactory,
    write: Callable[[Line], None],
    *,
    place: Place | None = None,
    known: Mapping[str, Line] | None = None,
    tell: Callable[[str], None] = lambda file: None,
) -> Tally:
    """Answer every file, in order.

    Args:
        files: what to score.
        factory: makes the detector; called once in each worker.
        write: given each new line, in the order of `files`.
        place: where the work is done; None scores in this process.
        known: earlier lines by file (see `reusable`); their files are not scored again.
        tell: told each file that has its answer.
    """
    known = known or {}
    open_files = [file for file in files if str(file) not in known]
    abstained = sum(line["probability"] is None for line in known.values())
    errors = 0
    for file in files:
        if str(file) in known:
            tell(str(file))
    for line in _answers(open_files, factory, place or Here()):
        write(line)
        tell(line["file"])
        abstained += line["probability"] is None and line["status"] != "error"
        errors += line["status"] == "error"
    return Tally(len(files), len(files) - len(open_files), abstained, errors)


def answer(file: Path, detector: Detector) -> dict[str, Any]:
    """One file's line. Only a broken detector gives the status "error"."""
    model = {"name": detector.facts.name, "version": detector.facts.version, "sha256": detector.facts.sha256}
    digest: str | None = None
    try:
        if not file.is_file():
            # a pipe or a device would be read for ever
            gone = "it is not a regular file" if os.path.lexists(file) else "it does not exist any more"
            return _line(file, None, model, None, Status.UNREADABLE.value, gone)
        before = file.stat()
        digest = sha256_of(file)
        score = detector.score_file(file)
        if state_of(file.stat()) != state_of(before):
            score = Score.abstain(Status.UNREADABLE, "it was changed while it was read; score it again when finished")
    except ProvenanceError as error:
        score = Score.abstain(Status.UNREADABLE, str(error))
    except OSError as error:
        score = Score.abstain(Status.UNREADABLE, f"it cannot be read: {error.strerror or error}")
    except MediaError as error:
        score = Score.abstain(Status.UNREADABLE, str(error))
    except (DetectError, ValueError, RuntimeError, MemoryError, ArithmeticError, LookupError) as error:
        told = " ".join(f"the detector broke: {type(error).__name__}: {error}".split())[:300]
        return _line(file, digest, model, None, "error", told)
    probability = None if isnan(score.probability) else score.probability
    return _line(file, digest, model, probability, score.status.value, score.reason, score)


def reusable(output: Path, files: Sequence[Path], model_sha256: str) -> dict[str, Line]:
    """Lines of an earlier run that still answer these files: same content, same weights, no error.

    Raises:
        DetectError: where the output holds something else than score lines.
    """
    asked = {str(file): file for file in files}
    found: dict[str, Line] = {}
    for line in read_lines(output):
        file = asked.get(str(line["file"]))
        if file is None or line["status"] == "error" or line.get("sha256") is None:
            continue
        if line.get("model", {}).get("sha256") != model_sha256:
            continue
        try:
            if sha256_of(file) == line["sha256"]:
                found[str(file)] = line
        except ProvenanceError:
            continue
    return found


def read_lines(output: Path) -> list[dict[str, Any]]:
    """The whole lines of an output; a last line torn by a killed run is left out.

    Raises:
        DetectError: where the output holds something else than score lines.
    """
    try:
        texts = output.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise DetectError(f"cannot read the earlier scores in {printable(output)}: {error}") from error
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not {"file", "probability", "status"} <= line.keys():
            if number == len(texts) and text.startswith(LINE_START[: len(text)]) and not text.endswith("\n"):
                break
            raise DetectError(
                f"{printable(output)}, line {number} is no score; give -o another name, or delete that file"
            )
        lines.append(line)
    return lines


class ScoreFile:
    """The output of a run: takes up an earlier one, appends whole lines, puts them in order at the end."""

    def __init__(self, output: Path, files: Sequence[Path], model_sha256: str) -> None:
        """Read what is there.

        Raises:
            DetectError: where the output cannot be used.
        """
        if output.is_dir():
            raise DetectError(f"{printable(output)} is a folder; name a file to write to")
        self._output = output
        self._asked = [str(file) for file in files]
        self.known = reusable(output, files, model_sha256)
        asked = set(self._asked)
        self._others = [line for line in read_lines(output) if line["file"] not in asked]
        self._lines: dict[str, Line] = dict(self.known)

    @contextmanager
    def writing(self) -> Iterator[Callable[[Line], None]]:
        """Give a function that takes lines; on leaving, the file holds all lines in the order asked for."""
        # drops torn and outdated lines before anything is added
        self._put_in_order()
        try:
            with self._output.open("a", encoding="utf-8") as file:
                yield lambda line: self._add(line, file)
        except OSError as error:
            raise DetectError(f"cannot write {printable(self._output)}: {error.strerror or error}") from error
        self._put_in_order()

    def _add(self, line: Line, file: TextIO) -> None:
        file.write(json.dumps(line) + "\n")
        file.flush()
        self._lines[str(line["file"])] = line

    def _put_in_order(self) -> None:
        ordered = [*self._others, *(self._lines[file] for file in self._asked if file in self._lines)]
        write_whole("".join(json.dumps(line) + "\n" for line in ordered), self._output)


def _line(
    file: Path,
    digest: str | None,
    model: Mapping[str, str],
    probability: float | None,
    status: str,
    reason: str,
    score: Score | None = None,
) -> dict[str, Any]:
    return {
        "file": str(file),
        "probability": probability,
        "status": status,
        "reason": reason,
        "faces": len(score.faces) if score else 0,
        "seconds_of_video": round(score.seconds_of_video, 3) if score else 0.0,
        "core_seconds": round(score.core_seconds, 3) if score else 0.0,
        "sha256": digest,
        "model": dict(model),
    }


def _answers(files: Sequence[Path], factory: DetectorFactory, place: Place) -> Iterator[dict[str, Any]]:
    """Lines for files, in order, by this process or by others."""
    if not files:
        return
    if place == Here():
        detector = factory()
        for file in files:
            yield answer(file, detector)
        return
    nobody = {"name": "", "version": "", "sha256": ""}
    tasks = enumerate(file.absolute() for file in files)  # a node of a cluster stands in another folder
    for outcome in in_order(place.run(tasks, StartScoring(factory))):
        file = files[outcome.task[0]]
        died = "the process that read it died: damaged or hostile file, or no memory left"
        reason = died if outcome.cause == DIED else outcome.error or ""
        if outcome.result is None:
            yield _line(file, None, nobody, None, "error", reason)
        else:
            yield outcome.result | {"file": str(file)}


@dataclass(frozen=True)
class StartScoring:
    """Makes, in a worker, the function that answers one file."""

    factory: DetectorFactory

    def __call__(self, room: Room) -> Callable[[tuple[int, Path]], dict[str, Any]]:
        """Load the detector, with one thread: the workers share the cores."""
        detector = self.factory()
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(1)

        def work(task: tuple[int, Path]) -> dict[str, Any]:
            file = task[1]
            here = room.bring(file)
            line = answer(here, detector)
            return line | {"reason": line["reason"].replace(str(here), str(file))}

        return work
