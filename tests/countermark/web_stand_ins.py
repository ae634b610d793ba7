"""Checking processes that do what the first word of the uploaded file says, instead of judging it."""

import inspect
import os
import signal
import struct
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from countermark.web.cell import Refusal, Tell, Work
from countermark.web.tasks import restrict, work_on
from detect.detector import ModelFacts, Score, Status


class BlindDetector:
    """A detector that never sees a face: what is found then is found by credentials and facts of the file."""

    facts = ModelFacts("blind", "1", "0" * 64, 0.7, "docs/cards/detector.md")

    def score_file(self, path: Path) -> Score:
        return Score.abstain(Status.NO_FACE, "no face was found", 1.0)


def prepare_blind(surroundings: Mapping[str, str]) -> Work:
    """The real work with a blind detector, and with the home of the test that asks: all processes share an ancestor."""
    os.environ.update(surroundings)
    return partial(work_on, BlindDetector())


def prepare() -> Work:
    return obey


def prepare_nothing() -> Work:
    raise OSError("no such network")


def obey(task: dict, tell: Tell) -> None:
    path = Path(task.get("path") or task["portrait"])
    word, _, rest = path.read_text(errors="replace").partition(" ")
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "litter":
        # what a library writes for itself, and a crash before it can clean up
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b"half a picture")
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "hang":
        tell({"kind": "step", "step": "Looking at its faces"})
        time.sleep(60)
    if word == "half":
        # a message that says it is longer than it is: whoever waits for the rest waits for ever
        pipe = inspect.getclosurevars(tell).nonlocals["pipe"]
        os.write(pipe.fileno(), struct.pack("!i", 1000) + b"{")
        time.sleep(60)
    if word == "flood":
        for number in range(100):
            tell({"kind": "blob", "name": f"face-{number}.jpg", "base64": "A" * 8000})
            tell({"kind": "tracks", "tracks": {"faces": "x" * 3000}})
    if word == "swell":
        restrict({**task["limits"], "memory_bytes": 1 << 30})
        bytearray(2 << 30)
    if word == "spin":
        restrict({**task["limits"], "cpu_seconds": 1})
        while True:
            sum(range(100_000))
    if word == "lie":
        tell({"kind": "blob", "name": "../../evil.html", "base64": "PHA+"})
        tell({"kind": "report", "report": "no object"})
        tell({"nothing": 1})
        return
    if word == "refuse":
        raise Refusal("this file\ncannot be read")
    if word == "pages":
        tell({"kind": "blob", "name": "report.html", "base64": "PHNjcmlwdD4="})
    names = task["names"]
    tell({"kind": "step", "step": "Reading the file"})
    tell({"kind": "report", "report": {"file": names[str(path)], "said": rest, "suffix": path.suffix}})
    if word == "late":
        os.kill(os.getpid(), signal.SIGKILL)
