"""A multipart request onto the disk, in pieces, under names of ours, and not a byte more than allowed.

    form = await receive(request, folder, FormPlan(files=("file",)), limits)
    form.files["file"].path, form.files["file"].name

The client's file name is kept as text, to be shown; it never becomes part of a path. The name on the disk is that of
the form's field, with an ending that the content, not the client, decides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from countermark.web.settings import Limits
from detect.report import printable
from provenance.formats import SNIFF_BYTES, sniff_format

MOST_TEXT_BYTES = 8_192
"""Of one text field."""
MOST_HEAD_BYTES = 16_384
"""Of the header lines of one part."""
MOST_PARTS = 24
MOST_NAME = 200
DRAINED_BYTES = 256 << 20
"""Read and thrown away after a refusal: many clients hear the answer only when they have sent everything."""
DRAINED_SECONDS = 10.0

ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/tiff": ".tif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/avi": ".avi",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/mp4": ".m4a",
}
"""Endings on the disk by content; some readers look at them. Anything else is `.bin`."""


class UploadError(Exception):
    """A request that cannot be taken in; carries the status and the line of the answer."""

    def __init__(self, status: int, line: str) -> None:
        """Keep both."""
        super().__init__(line)
        self.status = status


@dataclass(frozen=True)
class FormPlan:
    """Which parts are wanted; others are turned away."""

    files: tuple[str, ...]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Uploaded:
    """One file that has arrived."""

    path: Path
    name: str
    """What the client calls it, safe to be shown."""
    size: int


@dataclass(frozen=True)
class Form:
    """A request that has arrived."""

    files: dict[str, Uploaded]
    texts: dict[str, str]


async def receive(request: Request, folder: Path, plan: FormPlan, limits: Limits) -> Form:
    """Take a multipart request in.

    Args:
        request: not read yet.
        folder: an empty folder of the server's.
        plan: the parts that are wanted; all files of it must be there and not empty.
        limits: of bytes and seconds.

    Raises:
        UploadError: with status 400, 408, 413, 415 or 422. What has arrived lies in the folder, which the caller
            removes.
    """
    boundary = _boundary(request)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.upload_bytes + DRAINED_BYTES:
        raise _too_large(limits)
    parts = _Parts(folder, plan)
    try:
        async with asyncio.timeout(limits.upload_seconds):
            parser = parts.parser(boundary)
            async for chunk in _arriving(request, limits):
                parser.write(chunk)
            parser.finalize()
    except UploadError as problem:
        parts.close()
        if problem.status == 413:
            await _drain(request)
        raise
    except TimeoutError:
        raise UploadError(408, f"the upload took longer than {limits.upload_seconds:.0f} s; try again") from None
    except ClientDisconnect:
        raise UploadError(400, "the upload was not finished") from None
    except FormParserError:
        raise UploadError(400, "the request is no well-formed multipart/form-data") from None
    except OSError as error:
        raise UploadError(507, f"the server cannot store the upload: {error.strerror}") from None
    finally:
        parts.close()
    return parts.form()


async def _arriving(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body as it comes; an end to one that is too large, stands still, or trickles.

    Raises:
        UploadError: with status 408 or 413.
    """
    pieces, begun, arrived = aiter(request.stream()), time.monotonic(), 0
    while True:
        try:
            async with asyncio.timeout(limits.silent_seconds):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            line = f"nothing of the upload came for {limits.silent_seconds:.0f} s; try again"
            raise UploadError(408, line) from None
        arrived += len(piece)
        if arrived > limits.upload_bytes:
            raise _too_large(limits)
        taken = time.monotonic() - begun
        if taken > limits.silent_seconds and arrived < limits.slowest_bytes * taken:
            rate = limits.slowest_bytes / 1024
            raise UploadError(408, f"the upload is slower than {rate:.0f} KiB a second; try a better connection")
        yield piece


def shown_name(name: str) -> str:
    """A client's file name as it may be shown: its last part, without control characters, not too long."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = printable(last).strip()
    return shown[:MOST_NAME] if shown.strip(".") else "unnamed file"


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise UploadError(415, "send the file as multipart/form-data, in a field named file")
    boundary = options.get(b"boundary", b"")
    if not boundary or len(boundary) > 200:
        raise UploadError(400, "the request is no well-formed multipart/form-data: it names no boundary")
    return bytes(boundary)


def _too_large(limits: Limits) -> UploadError:
    size = limits.upload_bytes / (1 << 20)
    return UploadError(413, f"the upload is larger than {size:.0f} MiB, which is the most that this server takes")


async def _drain(request: Request) -> None:
    """Read on for a while without keeping anything."""
    end, thrown = time.monotonic() + DRAINED_SECONDS, 0
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            async for chunk in request.stream():
                thrown += len(chunk)
                if thrown > DRAINED_BYTES or time.monotonic() > end:
                    return
    except (TimeoutError, ClientDisconnect, RuntimeError):
        # whoever will not listen need not be told
        return


@dataclass
class _Part:
    """The part that is just arriving."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    head_bytes: int = 0
    field_name: str = ""
    file_name: str = ""
    stream: BinaryIO | None = None
    text: bytearray = field(default_factory=bytearray)
    head: bytes = b""
    size: int = 0


class _Parts:
    """Callbacks of the parser: each part goes into its file, or into a short text."""

    def __init__(self, folder: Path, plan: FormPlan) -> None:
        self._folder, self._plan = folder, plan
        self._part = _Part()
        self._count = 0
        self._files: dict[str, tuple[str, bytes, int]] = {}
        self._texts: dict[str, str] = {}
        self._is_ended = False

    def parser(self, boundary: bytes) -> MultipartParser:
        """A parser that feeds this."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._head(self._part.header_name, data[start:end]),
                "on_header_value": lambda data, start, end: self._head(self._part.header_value, data[start:end]),
                "on_header_end": self._header,
                "on_headers_finished": self._headers,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all,
            },
        )

    def form(self) -> Form:
        """What has arrived.

        Raises:
            UploadError: when the end, or a file, is missing or empty.
        """
        if not self._is_ended:
            raise UploadError(400, "the request ends in the middle; send it again")
        files: dict[str, Uploaded] = {}
        for name in self._plan.files:
            if name not in self._files:
                raise UploadError(422, f"the request has no file in the field {name}")
            shown, head, size = self._files[name]
            if not size:
                raise UploadError(422, f"{shown} is empty (0 bytes); send a video or picture")
            path = self._folder / name
            final = path.with_suffix(ENDINGS.get(sniff_format(head) or "", ".bin"))
            path.rename(final)
            files[name] = Uploaded(final, shown, size)
        return Form(files, self._texts)

    def close(self) -> None:
        """Close what is open."""
        if self._part.stream is not None:
            self._part.stream.close()
            self._part.stream = None

    def _begin(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise UploadError(400, f"the request has more than {MOST_PARTS} parts")
        self._part = _Part()

    def _head(self, line: bytearray, piece: bytes) -> None:
        line += piece
        self._part.head_bytes += len(piece)
        if self._part.head_bytes > MOST_HEAD_BYTES:
            raise UploadError(400, f"the headers of a part are longer than {MOST_HEAD_BYTES} bytes")

    def _header(self) -> None:
        part = self._part
        part.headers[bytes(part.header_name).lower()] = bytes(part.header_value)
        part.header_name.clear()
        part.header_value.clear()

    def _headers(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        part.field_name = options.get(b"name", b"").decode("utf-8", "replace")
        if part.field_name in self._files or part.field_name in self._texts:
            raise UploadError(422, f"the field {shown_name(part.field_name)} is there twice; send one file a request")
        if part.field_name in self._plan.files:
            # the path is made of the plan's own constant, equal to what came
            place = self._plan.files[self._plan.files.index(part.field_name)]
            part.file_name = shown_name(options.get(b"filename", b"").decode("utf-8", "replace"))
            part.stream = (self._folder / place).open("xb")
        elif part.field_name not in self._plan.texts:
            wanted = ", ".join((*self._plan.files, *self._plan.texts))
            raise UploadError(422, f"the request has a field that is not wanted; send only: {wanted}")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.stream is None:
            part.text += data[start:end]
            if len(part.text) > MOST_TEXT_BYTES:
                raise UploadError(413, f"the field {part.field_name} is longer than {MOST_TEXT_BYTES} bytes")
            return
        if len(part.head) < SNIFF_BYTES:
            part.head += data[start : min(end, start + SNIFF_BYTES)]
        part.size += end - start
        part.stream.write(data[start:end])

    def _end(self) -> None:
        part = self._part
        if part.stream is not None:
            self.close()
            self._files[part.field_name] = (part.file_name, part.head, part.size)
        else:
            self._texts[part.field_name] = part.text.decode("utf-8", "replace").replace("\0", "").strip()

    def _all(self) -> None:
        self._is_ended = True
