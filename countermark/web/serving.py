"""`countermark serve`: bind, say where the page is, run until Ctrl-C, leave nothing behind."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from countermark.web.settings import ServeError, ServeSettings, is_loopback

MOST_TOKEN_BYTES = 4096
MOST_FOLDER_BYTES = (107 if sys.platform == "linux" else 103) - 32
"""Of the folder in which sockets lie: what the system takes as the name of one, without what Python adds to it."""


def serve(settings: ServeSettings, *, is_opened: bool, say: Callable[[str], None]) -> None:
    """Serve until stopped.

    Args:
        settings: as `create_app` takes them.
        is_opened: also show the page in this user's browser.
        say: told the page's address, and how to stop.

    Raises:
        ServeError: where the address cannot be used, or what serving needs is not installed.
    """
    uvicorn = _uvicorn()
    from countermark.web.server import create_app

    # the libraries of the checking processes read these when they are loaded, in the process that all are copied from
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    # threads that wait for each other by spinning burn the core on which the other one would work: on a busy machine
    # a picture costs ten times as much
    os.environ["OMP_WAIT_POLICY"] = "passive"
    must_be_trust_lists(settings.trust)
    must_hold_sockets(tempfile.gettempdir())
    listening = bound(settings.host, settings.port)
    port = listening.getsockname()[1]
    app = create_app(replace(settings, port=port))
    address = page_address(settings, port)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
        limit_concurrency=256,
        h11_max_incomplete_event_size=64 * 1024,
    )
    logging.getLogger("countermark").setLevel(logging.INFO)
    server = uvicorn.Server(config)

    def announce() -> None:
        say(f"Countermark is at {address} (Ctrl-C stops it)")
        if is_opened:
            webbrowser.open(address)

    threading.Timer(0.5, announce).start()
    # uvicorn ends on a signal by raising it again: the system's own handler would leave temporary files behind
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    with listening:
        server.run(sockets=[listening])


def must_be_trust_lists(files: tuple[Path, ...]) -> None:
    """Read the lists of authorities once, so that a mistake is told now and not with the first file.

    Raises:
        ServeError: for a file that is none.
    """
    from provenance.errors import ProvenanceError
    from provenance.trust import TrustAnchors

    try:
        if files:
            TrustAnchors.default(extra=list(files))
    except ProvenanceError as error:
        raise ServeError(str(error)) from error


def must_hold_sockets(folder: str) -> None:
    """Refuse a temporary folder in which no checking process could be started: its socket would have too long a name.

    Raises:
        ServeError: naming it.
    """
    if len(os.fsencode(folder)) > MOST_FOLDER_BYTES:
        raise ServeError(
            f"the temporary folder {folder} has too long a name for the sockets of checking processes; "
            f"set TMPDIR to one of at most {MOST_FOLDER_BYTES} bytes"
        )


def bound(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ServeError: where the address is taken or is not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host.strip("[]"), port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ServeError(f"cannot listen at {host}, port {port}: {reason}; choose another with --port") from error


def page_address(settings: ServeSettings, port: int) -> str:
    """Where a browser finds the page. A token comes behind #, which browsers never send to any server."""
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host.strip("[]")
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"#token={settings.token}" if settings.token else "")


def token_for(host: str, file: Path | None) -> str | None:
    """The bearer token: that of a file, a new one behind a public address, none on a loopback address.

    Raises:
        ServeError: for a file that others can read, or that cannot be read.
    """
    if file is None:
        return None if is_loopback(host) else secrets.token_urlsafe(32)
    from provenance.errors import ProvenanceError
    from provenance.files import read_small

    try:
        if file.stat().st_mode & 0o077:
            raise ServeError(f"{file} can be read by others; run: chmod 600 {file}")
        return read_small(file, most_bytes=MOST_TOKEN_BYTES).decode("utf-8", "replace").strip()
    except (OSError, ProvenanceError) as error:
        raise ServeError(f"cannot read the token in {file}: {getattr(error, 'strerror', None) or error}") from error


def _uvicorn() -> Any:
    """The server library, which comes with the extra `web`.

    Raises:
        ServeError: where it is missing, or the system has no fork.
    """
    if not hasattr(os, "fork") or sys.platform == "win32":
        raise ServeError("the page needs a system with fork (Linux or macOS); in Windows use WSL")
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ServeError(f"{error.name} is not installed; run: pip install 'countermark[web]'") from error
    return uvicorn
