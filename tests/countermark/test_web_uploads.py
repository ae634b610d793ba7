"""Requests that arrive badly: what they are told, and that they hold no place for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

from starlette.requests import Request

from countermark.web import uploads
from countermark.web.settings import Limits
from countermark.web.uploads import Form, FormPlan, UploadError, receive

HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
END = b"\r\n--x--\r\n"
Channel = Callable[[], Awaitable[dict[str, Any]]]


def request_of(channel: Channel) -> Request:
    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}, channel)


def pieces(*content: bytes, is_ended: bool = True) -> Channel:
    """A channel that gives these pieces, and then the end, or nothing for ever."""
    left = list(content)

    async def channel() -> dict[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not is_ended}
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    return channel


def received(channel: Channel, folder: Path, limits: Limits) -> Form:
    return asyncio.run(receive(request_of(channel), folder, FormPlan(files=("file",)), limits))


def test_what_comes_in_pieces_is_put_together(tmp_path: Path) -> None:
    form = received(pieces(HEAD, b"abc", b"", b"def", END), tmp_path, Limits())
    assert form.files["file"].path.read_bytes() == b"abcdef"


def test_an_upload_that_stands_still_is_ended(tmp_path: Path) -> None:
    with pytest.raises(UploadError, match=r"nothing of the upload came for 0 s; try again") as problem:
        received(pieces(HEAD, b"abc", is_ended=False), tmp_path, Limits(silent_seconds=0.05))
    assert problem.value.status == 408


@pytest.mark.parametrize(("seconds_a_piece", "is_taken"), [(40.0, False), (0.01, True)])
def test_an_upload_that_trickles_is_ended(
    seconds_a_piece: float, is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 0.0}

    class Time:
        @staticmethod
        def monotonic() -> float:
            clock["now"] += seconds_a_piece
            return clock["now"]

    monkeypatch.setattr(uploads, "time", Time)
    channel = pieces(HEAD, *[b"a"] * 9, END)
    if is_taken:
        assert received(channel, tmp_path, Limits()).files["file"].size == 9
        return
    with pytest.raises(UploadError, match="slower than 8 KiB a second") as problem:
        received(channel, tmp_path, Limits())
    assert problem.value.status == 408


def test_an_upload_that_is_fast_enough_may_take_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}

    class Time:
        @staticmethod
        def monotonic() -> float:
            clock["now"] += 20.0
            return clock["now"]

    monkeypatch.setattr(uploads, "time", Time)
    form = received(pieces(HEAD, *[bytes(400 << 10)] * 9, END), tmp_path, Limits())
    assert form.files["file"].size == 9 * (400 << 10)
