"""Requests that no honest client sends, and the real server that gets them, byte by byte over a connection.

    with hostile_server(folder) as there:
        ending = there.attempt(request_of(random.Random("api 7")))

Nothing between us and the server corrects what is sent, so the parser of HTTP is tried as well as the API behind it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.server_process import PATIENCE_SECONDS, Served, asked, served
from media.catalog import Catalog, Label, Sample

UPLOAD_MB: Final = 1
"""The most that the server takes."""
GIVEN_UP_SECONDS: Final = 1.0
"""For an answer to a request that never ends."""
SWEPT_SECONDS: Final = 60.0
"""For a folder to go after its client is gone, on a busy machine."""
NO_HTTP: Final = b"Invalid HTTP request received."
"""What the server library says where no request can be read, in plain text: there is no API yet that could answer."""
PICTURE: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
"""One red point: a file that is what it says."""
METHODS: Final = ("GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE")
ROUTES: Final = (
    *("/api/check", "/api/check", "/api/check", "/api/forge", "/api/forge", "/api/about", "/openapi.json", "/"),
    *("/api/jobs/{}", "/api/jobs/{}/status", "/api/jobs/{}/events", "/api/jobs/{}/evidence", "/api/jobs/{}/files/{}"),
    *("/api/catalog", "/api/catalog/clips/{}", "/api/catalog/clips/{}/check", "/static/{}", "/{}", "/api/{}"),
)
WORDS: Final = (
    *("0", "1", "-1", "7", "99999999", "1e9", "NaN", "true", "null", "..", "../../etc/passwd", "app.js", "report.html"),
    *("face-0.jpg", "A" * 24, "A" * 5000, "%00", "\0", "\u202e", "\U0001f4a9", "é", "a b", "<script>", "'", '"', ";"),
    *("file:///etc/passwd", "http://127.0.0.1:1/", "real", "synthetic", "none", "{}", "[]", "x" * 200),
)
QUERIES: Final = ("evidence", "first", "count", "label", "split", "search", "nothing", "evidence[]", "")
HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "host": ("127.0.0.1:8000", "localhost", "evil.example", "", "[::1", "a@b", "127.0.0.1:8000:9", "x" * 300),
    "origin": ("null", "http://127.0.0.1:8000", "http://evil.example", "\u00ff", "http://[", "file://"),
    "sec-fetch-site": ("cross-site", "same-origin", "none", "", "x"),
    "prefer": ("respond-async", "wait=1", "respond-async;x=y, ,,", "\u00ff"),
    "authorization": ("Bearer x", "Bearer", "Basic eA==", "\u00e9 \u00e9"),
    "content-length": ("0", "-1", "99999999999999999999", "1e3", "x", "5"),
    "transfer-encoding": ("chunked", "identity", "gzip"),
    "range": ("bytes=0-1", "bytes=-1", "bytes=9-1", "bytes=0-0,1-1,2-2", "x"),
    "if-range": ("x", '"x"'),
    "accept": ("text/html", "*/*;q=0", "\u00ff"),
    "cookie": ("a=b; c", "=", "\u00ff" * 50),
    "last-event-id": ("1", "\u00ff"),
}
KINDS: Final = (
    *("multipart/form-data; boundary=x",) * 6,
    *("multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="', "application/json"),
    *("multipart/form-data; boundary=" + "x" * 300, "multipart/mixed; boundary=x", "text/plain", "", "\u00ff"),
    *("application/x-www-form-urlencoded", "multipart/form-data; charset=utf-16; boundary=x"),
)
PIECES: Final = (
    *(b"--x\r\n", b"--x\r\n", b"--x--\r\n", b"--x--", b"\r\n", b"\r\n\r\n", b"\n", b"--", b"--y\r\n", b": \r\n"),
    *(b'Content-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n',) * 3,
    b'Content-Disposition: form-data; name="portrait"; filename="../../p.png"\r\n\r\n',
    b'Content-Disposition: form-data; name="speech"; filename="s.wav"\r\n\r\n',
    b'Content-Disposition: form-data; name="declaration"\r\n\r\nnonexistent',
    b'Content-Disposition: form-data; name="size"\r\n\r\n256',
    b'Content-Disposition: form-data; name="file"; filename="' + b"a" * 4000 + b'"\r\n\r\n',
    b"content-disposition: form-data; name=\"file\"; filename*=utf-8''%00%ff\r\n\r\n",
    b"Content-Disposition: form-data; name=\r\n\r\n",
    b"Content-Disposition\r\n",
    b"Content-Transfer-Encoding: base64\r\n\r\n",
    b"Content-Type: text/plain; charset=utf-7\r\n",
)


def request_of(chance: random.Random) -> bytes:
    """A request as JSON: method, target, headers and body (base64)."""
    route = chance.choice(ROUTES)
    first, *others = route.split("{}")
    target = first + "".join(_quoted(chance, chance.choice(WORDS)) + part for part in others)
    if chance.random() < 0.4:
        pairs = (f"{_name(chance)}={_quoted(chance, chance.choice(WORDS))}" for _ in range(chance.randrange(1, 5)))
        target += "?" + "&".join(pairs)
    if chance.random() < 0.05:
        target += chance.choice(("/", "//", "%", "?", "#", "/%2e%2e/", "\\"))
    usual = {"/api/check": "POST", "/api/forge": "POST"}.get(route, "GET")
    method = usual if chance.random() < 0.85 else chance.choice(METHODS)
    headers = {}
    if method in ("POST", "PUT", "PATCH"):
        headers["content-type"] = chance.choice(KINDS)
    for name, values in HEADERS.items():
        if chance.random() < 0.07:
            headers[name] = chance.choice(values)
    body = _body(chance) if method not in ("GET", "HEAD") else b""
    facts = {"method": method, "target": target, "headers": headers, "body": base64.b64encode(body).decode()}
    return json.dumps(facts).encode()


@dataclass(frozen=True)
class Hostile:
    """A running server and what sends one kept request to it."""

    server: Served

    def attempt(self, content: bytes) -> str:
        """Send a request; the status of its answer, or that there was none where it was no whole request.

        Raises:
            AssertionError: when the answer is not as it should be, or something stays on the disk.
            SystemExit: when the server is gone; the next case needs another one.
        """
        facts = json.loads(content)
        answer = exchanged(self.server.port, facts)
        if self.server.process.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit("the server ended")
        if answer is None:
            assert not is_whole(facts), "no answer"
            ending = "not answered: the request never ends"
        else:
            ending = str(answer[0])
            must_be_plain(*answer)
            where = answer[1].get("location", "")
            if where.startswith("/api/jobs/"):
                asked(self.server.port, "DELETE", where)
        left, end = self.server.left(), time.monotonic() + SWEPT_SECONDS
        while left and time.monotonic() < end:
            time.sleep(0.02)
            left = self.server.left()
        assert not left, f"{len(left)} uploads stayed behind"
        return ending

    def core_seconds(self) -> float:
        """Processor time of the server itself, without that of its checking processes."""
        used = self.server.process.cpu_times()
        return float(used.user + used.system)


@contextmanager
def hostile_server(folder: Path) -> Iterator[Hostile]:
    """A server with small limits and a dataset, in a folder of its own."""
    place = folder / f"server-{len(list(folder.glob('server-*')))}"
    place.mkdir()
    limits = ("--max-upload-mb", str(UPLOAD_MB), "--max-job-seconds", "60", "--workers", "2")
    with served(place, *limits, "--catalog", str(_dataset(place))) as there:
        yield Hostile(there)


def exchanged(port: int, facts: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes] | None:
    """Send a kept request as it is, and what is answered; None where nothing is."""
    body = base64.b64decode(facts["body"])
    headers = {"host": f"127.0.0.1:{port}", **facts["headers"]}
    if not {"content-length", "transfer-encoding"} & headers.keys() and body:
        headers["content-length"] = str(len(body))
    lines = [f"{facts['method']} {facts['target']} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    patience = PATIENCE_SECONDS if is_whole(facts) else GIVEN_UP_SECONDS
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        with suppress(OSError):  # an answer may be there before everything was sent
            connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        answer = HTTPResponse(connection, method=facts["method"])
        try:
            answer.begin()
            content = answer.read()
        except (OSError, HTTPException):
            return None
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def is_whole(facts: Mapping[str, Any]) -> bool:
    """Whether a request ends where it says: one that does not may wait for its rest for ever, and we do not."""
    return not {"content-length", "transfer-encoding"} & facts["headers"].keys()


def must_be_plain(status: int, headers: Mapping[str, str], content: bytes) -> None:
    """An answer is none of a broken server, carries what every answer carries, and is one line where it is an error.

    Raises:
        AssertionError: when it is not so.
    """
    assert status < 500 or status == 503, f"status {status}: {content[:200]!r}"
    if status == 400 and headers.get("content-type", "").startswith("text/plain") and content in (NO_HTTP, b""):
        return
    assert headers.get("x-content-type-options") == "nosniff", f"status {status} without its headers"
    assert b"Traceback" not in content and b'File "' not in content, "a traceback"
    if status >= 400 and content:
        told = json.loads(content)
        assert set(told) == {"error"} and "\n" not in told["error"] and len(told["error"]) < 1000, content[:200]


def _dataset(folder: Path) -> Path:
    """A dataset of two clips, one of which is no film."""
    place = folder / "dataset"
    place.mkdir(exist_ok=True)
    samples = []
    for name, content in (("a.mp4", b"\0\0\0\x14ftypisom\0\0\0\0isom" + bytes(500)), ("b.mp4", b"no film")):
        (place / name).write_bytes(content)
        samples.append(Sample(name, name, Label.SYNTHETIC, hashlib.sha256(content).hexdigest()))
    Catalog(samples, "fuzz").save(place)
    return place


def _body(chance: random.Random) -> bytes:
    way = chance.random()
    if way < 0.2:
        good = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        size = chance.choice((0, 1, 300, 300, 3000, 70_000, (UPLOAD_MB << 20) + 1))
        return good + (PICTURE if chance.random() < 0.2 else chance.randbytes(size)) + b"\r\n--x--\r\n"
    if way < 0.8:
        return b"".join(
            chance.choice(PIECES) if chance.random() < 0.8 else chance.randbytes(chance.randrange(40))
            for _ in range(chance.randrange(12))
        )
    return chance.randbytes(chance.choice((0, 1, 50, 5000)))


def _name(chance: random.Random) -> str:
    return chance.choice(QUERIES)


def _quoted(chance: random.Random, word: str) -> str:
    from urllib.parse import quote

    return quote(word, safe="" if chance.random() < 0.9 else "/?&=#")
