"""Checking processes that do what the first word of the uploaded file says, instead of judging it."""

import os
import signal
import time
from pathlib import Path

from countermark.web.cell import Refusal, Tell, Work
from countermark.web.tasks import restrict


def prepare() -> Work:
    return obey


def prepare_nothing() -> Work:
    raise OSError("no such network")


def obey(task: dict, tell: Tell) -> None:
    path = Path(task.get("path") or task["portrait"])
    word, _, rest = path.read_text(errors="replace").partition(" ")
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "hang":
        tell({"kind": "step", "step": "Looking at its faces"})
        time.sleep(60)
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
