"""What the page's server bears: `python -m benchmarks.serving` writes `results/serving.json`.

A real `countermark serve` gets 200 uploads from 16 clients at once: small pictures and clips, cut and foreign files,
bombs, uploads that are too large, clients that cancel and clients that go away. Every one must be answered with what
belongs to it, nothing may stay on the disk, and the server's memory must stay where it was. Then it gets one clip of
10 s of 720p alone: what does the first verdict cost?
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import random
import re
import statistics
import struct
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from importlib.resources import as_file, files
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.server_process import MOST_UPLOAD_MB, PATIENCE_SECONDS, Served, asked, served, until
from benchmarks.tables import RESULTS, Result, Table
from forge.animate import animate
from forge.methods import Shot
from forge.portrait import Declaration, load_portrait
from media.clip import Clip, UInt8Array
from media.video import ClipWriter, read_image, read_waveform, write_clip

FPS = Fraction(25)


@dataclass(frozen=True)
class Upload:
    """One thing that a client sends."""

    kind: str
    name: str
    content: bytes
    statuses: frozenset[int]
    """With which it may be answered; none where the client goes away before it is."""
    cancels: bool = False


@dataclass(frozen=True)
class Answer:
    """How it was answered."""

    upload: Upload
    status: int
    """0 where none was waited for."""
    seconds: float
    belongs: bool
    """Whether it is about the file that was sent, and about no other."""
    line: str = ""
    judged_core_seconds: float = 0.0
    """What the detectors say they took, by the report."""

    @property
    def is_right(self) -> bool:
        """Whether the status is one of those expected, and what came belongs to this upload."""
        return (not self.upload.statuses or self.status in self.upload.statuses) and self.belongs


def material() -> dict[str, list[tuple[str, bytes]]]:
    """What is sent, by kind: (file name, content). Small, and most of it wrong."""
    portraits = {name: read_image(_asset(f"{name}.webp")) for name in ("ada", "bo", "cy")}
    pictures, clips = [], []
    for name, image in portraits.items():
        small = Image.fromarray(image).resize((192, 192))
        for ending in ("png", "jpg", "webp"):
            buffer = BytesIO()
            small.save(buffer, {"jpg": "JPEG"}.get(ending, ending.upper()))
            pictures.append((f"{name}.{ending}", buffer.getvalue()))
        clips.append((f"{name}.mp4", _short_clip(np.asarray(small, np.uint8))))
    whole = clips[0][1]
    noise = random.Random(5).randbytes
    return {
        "picture": pictures,
        "clip": clips,
        "clip cut short": [(f"cut{n}.mp4", whole[: len(whole) * n // 10]) for n in (1, 5, 9)],
        "text named mp4": [("story.mp4", b"It was a dark and stormy night. " * 40)],
        "noise named mp4": [(f"noise{n}.mp4", noise(4000)) for n in range(3)],
        "noise after ftyp": [("box.mp4", whole[:32] + noise(4000))],
        "archive": [("files.zip", b"PK\x03\x04" + noise(500))],
        "empty": [("empty.mp4", b"")],
        "bomb": [("bomb.png", _bomb())],
        "too large": [("large.mp4", bytes((MOST_UPLOAD_MB << 20) + 1))],
        "cancelled": clips,
        "goes away": clips,
    }


STATUSES: dict[str, frozenset[int]] = {
    "picture": frozenset({200}),
    "clip": frozenset({200}),
    "clip cut short": frozenset({200, 422}),
    "empty": frozenset({422}),
    "too large": frozenset({413}),
    "cancelled": frozenset({204}),
    "goes away": frozenset(),
}
"""What each kind may be answered with; 422 where nothing is said."""
SHARES = {"picture": 6, "clip": 2, "text named mp4": 3, "too large": 2, "cancelled": 2, "goes away": 2}
"""How often each kind comes; once where nothing is said."""


def planned(count: int, seed: int = 0) -> list[Upload]:
    """That many uploads in a shuffled order, every kind among them.

    Raises:
        ValueError: for fewer than there are kinds.
    """
    there = material()
    if count < len(there):
        raise ValueError(f"at least {len(there)} uploads are needed to send every kind, got {count}")
    order = random.Random(seed)
    kinds = [*there, *order.choices(list(there), [SHARES.get(kind, 1) for kind in there], k=count - len(there))]
    order.shuffle(kinds)
    uploads = []
    for number, kind in enumerate(kinds):
        name, content = order.choice(there[kind])
        statuses = STATUSES.get(kind, frozenset({422}))
        # the number in the name tells the answers apart; the digest tells the contents
        uploads.append(Upload(kind, f"{number}-{name}", content, statuses, kind == "cancelled"))
    return uploads


def sent(served_at: Served, upload: Upload) -> Answer:
    """Send one upload and follow it to its answer."""
    started = time.perf_counter()
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{upload.name}"\r\n\r\n'.encode()
    body = head + upload.content + b"\r\n--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    if not upload.statuses:
        _go_away(served_at.port, body, headers)
        return Answer(upload, 0, time.perf_counter() - started, belongs=True)
    if upload.cancels:
        headers["prefer"] = "respond-async"
    try:
        status, where, content = asked(served_at.port, "POST", "/api/check", body, headers)
        if upload.cancels and status == 202:
            status, where, content = asked(served_at.port, "DELETE", where)
        while status == 202 and time.perf_counter() - started < PATIENCE_SECONDS:
            time.sleep(0.3)
            status, where, content = asked(served_at.port, "GET", where)
    except (OSError, http.client.HTTPException) as error:
        return Answer(upload, -1, time.perf_counter() - started, belongs=False, line=f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - started
    line = content[:300].decode("utf-8", "replace")
    judged = float(json.loads(content)["core_seconds"]) if status == 200 else 0.0
    return Answer(upload, status, seconds, _belongs(upload, status, content), line, judged)


def load(served_at: Served, uploads: Sequence[Upload], clients: int) -> tuple[list[Answer], list[tuple[int, float]]]:
    """Send everything, so many at a time.

    Returns:
        The answers in the order of the uploads, and (answers so far, megabytes of the server) as they came.
    """
    memory = [(0, served_at.megabytes())]
    lock = threading.Lock()

    def one(upload: Upload) -> Answer:
        answer = sent(served_at, upload)
        with lock:
            memory.append((len(memory), served_at.megabytes()))
        return answer

    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(one, uploads))
    return answers, memory


def settled(served_at: Served) -> bool:
    """Whether nothing of any upload is left on the disk, a moment after the last answer."""
    with suppress(TimeoutError):
        until(lambda: True if not served_at.left() else None, 60.0)
    return not served_at.left()


def ten_seconds(path: Path, seconds: int = 10, width: int = 1280, height: int = 720) -> None:
    """A clip of 720p: a rendered head speaks on a plain ground, forwards and backwards until time is up."""
    portrait = load_portrait(_asset("ada.webp"), Declaration.nonexistent())
    clip = animate(portrait, read_waveform(_asset("before_you_believe.flac")), shot=Shot(size=512))
    turns = [*range(clip.length), *range(clip.length - 2, 0, -1)]
    with ClipWriter(path, FPS, width, height, None) as writer:
        for t in range(seconds * int(FPS)):
            canvas = np.full((height, width, 3), 96, np.uint8)
            canvas[104 : 104 + 512, 384 : 384 + 512] = clip.frames[turns[t % len(turns)]]
            writer.add(canvas)


def verdict_row(served_at: Served, clip: Path) -> dict[str, object]:
    """What a verdict on a clip costs a server that has started and has nothing else to do."""
    sent(served_at, Upload("text", "start.mp4", b"no film", frozenset({422})))
    until(lambda: _rests(served_at), 300.0)
    before = served_at.core_seconds()
    answer = sent(served_at, Upload("clip", clip.name, clip.read_bytes(), frozenset({200})))
    return {
        "clip": "10 s of 1280 x 720, one face",
        "status": answer.status,
        "core seconds of the detectors": round(answer.judged_core_seconds, 2),
        "core seconds of everything": round(served_at.core_seconds() - before, 2),
        "wall seconds": round(answer.seconds, 2),
        "programs that wanted a core meanwhile": round(os.getloadavg()[0], 1),
    }


def table_of(answers: Sequence[Answer]) -> Table:
    """One row a kind of upload."""
    rows = []
    for kind in dict.fromkeys(answer.upload.kind for answer in answers):
        some = [answer for answer in answers if answer.upload.kind == kind]
        told: dict[int, int] = {}
        for answer in some:
            told[answer.status] = told.get(answer.status, 0) + 1
        rows.append(
            {
                "kind": kind,
                "sent": len(some),
                "answered": ", ".join(f"{n} x {status or 'not waited for'}" for status, n in sorted(told.items())),
                "wrong or lost": sum(not answer.is_right for answer in some),
                "median wait, s": round(statistics.median(answer.seconds for answer in some), 1),
            }
        )
    return Table("uploads by kind", tuple(sorted(rows, key=lambda row: str(row["kind"]))))


def memory_row(memory: Sequence[tuple[int, float]]) -> dict[str, object]:
    """The server's memory at each quarter of its answers."""
    last = memory[-1][0]
    return {
        f"after {count} answers": round(next(size for n, size in memory if n >= count), 1)
        for count in dict.fromkeys((0, last // 4, last // 2, 3 * last // 4, last))
    }


def main(words: Sequence[str] | None = None) -> int:
    """Measure and save."""
    parser = argparse.ArgumentParser(description="What the page's server bears, and what one verdict costs.")
    parser.add_argument("--uploads", type=int, default=200, help="0 measures the first verdict only")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(words)
    with TemporaryDirectory() as folder:
        clip = Path(folder) / "ten.mp4"
        ten_seconds(clip)
        with served(Path(folder) / "alone") as alone:
            verdict = Table("first verdict, nothing else sent", (verdict_row(alone, clip),))
        tables, notes, is_good = (
            bear(Path(folder) / "load", options.uploads, options.clients)
            if options.uploads
            else _kept_from(options.out, verdict.title)
        )
    command = f"python -m benchmarks.serving --clients {options.clients}"
    Result("serving", command, (*tables, verdict), notes).save(options.out)
    return 0 if is_good else 1


def bear(folder: Path, count: int, clients: int) -> tuple[tuple[Table, ...], tuple[str, ...], bool]:
    """Tables and notes of so many uploads, and whether all went as it should."""
    with served(folder) as there:
        answers, memory = load(there, planned(count), clients)
        is_clean = settled(there)
        spent = there.core_seconds()
    stays = [path.name for path in there.temporary.glob("countermark-serve-*/*")]
    wrong = [answer for answer in answers if not answer.is_right]
    whole = {
        "uploads": len(answers),
        "clients": clients,
        "lost or wrong answers": len(wrong),
        "500s": sum(answer.status >= 500 for answer in answers),
        "files left": "none" if is_clean and not stays else "some",
        "core seconds an upload": round(spent / len(answers), 2),
    }
    tables = (
        Table("all uploads together", (whole,)),
        table_of(answers),
        Table("resident memory of the server, MB", (memory_row(memory),)),
    )
    notes = (
        "Answers are kept in memory for 15 minutes (at most 192 MiB): some kB an upload are that, not a leak.",
        *(f"wrong: {answer.upload.name} {answer.status} {answer.line}" for answer in wrong[:10]),
    )
    return tables, notes, not wrong and is_clean and not stays


def _kept_from(folder: Path, but: str) -> tuple[tuple[Table, ...], tuple[str, ...], bool]:
    """Tables and notes that were saved before, without one of them."""
    path = folder / "serving.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"tables": [], "notes": []}
    tables = tuple(Table(one["title"], tuple(one["rows"])) for one in before["tables"] if one["title"] != but)
    return tables, tuple(before["notes"]), True


def _go_away(port: int, body: bytes, headers: dict[str, str]) -> None:
    """Send half of a request, and be gone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with suppress(OSError):
        connection.putrequest("POST", "/api/check")
        for name, value in {**headers, "content-length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body[: len(body) // 2])
    connection.close()


def _belongs(upload: Upload, status: int, content: bytes) -> bool:
    """Whether an answer is about this upload: by digest where there is a report, by name where there is a line."""
    if status == 204:
        return not content
    try:
        answer = json.loads(content)
    except ValueError:
        return False
    if status == 200:
        return bool(
            answer.get("file") == upload.name and answer.get("sha256") == hashlib.sha256(upload.content).hexdigest()
        )
    line = str(answer.get("error", ""))
    named = re.findall(r"\b\d+-[a-z0-9]+\.[a-z0-9]+\b", line)
    return bool(line) and "Traceback" not in line and "\n" not in line and set(named) <= {upload.name}


def _asset(name: str) -> Path:
    with as_file(files("countermark") / "demo_assets" / name) as path:
        return path


def _short_clip(still: UInt8Array) -> bytes:
    """A second in which a portrait slides sideways."""
    frames = np.stack([np.roll(still, shift, axis=1) for shift in range(25)])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(Clip(frames, FPS, None), path)
        return path.read_bytes()


def _bomb() -> bytes:
    """A picture of 40,000 million pixels in a hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(60)))


def _rests(served_at: Served) -> bool | None:
    """True once the server and its processes have done nothing for two seconds: the next process is warm."""
    before = served_at.core_seconds()
    time.sleep(2.0)
    return True if served_at.core_seconds() - before < 0.05 else None


if __name__ == "__main__":
    sys.exit(main())
