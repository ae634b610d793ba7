"""An HTTP server on this machine, for as long as a test needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer with a handler, without a word on stderr; gives the address, without a slash at its end."""

    def keep_quiet(self: BaseHTTPRequestHandler, *words: object) -> None:
        """In the place of the handler's own log."""

    quiet = type(handler.__name__, (handler,), {"log_message": keep_quiet})
    server = ThreadingHTTPServer(("127.0.0.1", 0), quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
