"""Who may talk to the server, and what every answer carries: in front of all routes, for every request.

1. The Host header names an address that the server was told to answer to: another name is a web site that pointed its
   own domain at this machine.
2. A request that changes something comes from no other site's page: Origin and Sec-Fetch-Site are believed, since no
   page can forge them, and programs that send neither are no page.
3. Behind a public address everything under /api/ needs the bearer token.
4. Every answer says: nothing is to be stored, guessed, framed, or loaded from elsewhere.
5. Whatever breaks is one line of JSON, never a traceback, nor the plain text of some library.
"""

from __future__ import annotations

import json
import logging
import secrets
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from countermark.web.settings import ServeSettings

logger = logging.getLogger(__name__)

CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Access:
    """ASGI middleware that keeps the five rules."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        """Stand before an app."""
        self._app = app
        self._hosts = settings.hosts
        self._token = settings.token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        started = is_replaced = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started, is_replaced
            if is_replaced:
                return
            if message["type"] == "http.response.start":
                if _is_foreign_error(message):
                    await _answer(send_with_headers, message["status"], HTTPStatus(message["status"]).phrase.lower())
                    is_replaced = True
                    return
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
            if refusal is not None:
                await _answer(send_with_headers, *refusal)
                return
            await self._app(scope, receive, send_with_headers)
        except Exception:
            logger.exception("%s %s", scope["method"], scope["path"])
            if started:
                raise
            await _answer(send_with_headers, 500, "something went wrong here; the server's log has the details")

    def _refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        """Status and line where a request is turned away."""
        host = headers.get("host", "")
        if host_name(host) not in self._hosts:
            return 421, "this address is not one that the server answers to; start it with --allow-host NAME"
        if method not in SAFE_METHODS:
            origin, site = headers.get("origin"), headers.get("sec-fetch-site")
            if site not in (None, "same-origin", "none"):
                return 403, "requests from pages of other sites are not answered"
            if origin is not None and net_location(origin) != host.lower():
                return 403, "requests from pages of other sites are not answered"
        if self._token is not None and path.startswith("/api/"):
            kind, _, given = headers.get("authorization", "").partition(" ")
            # compared as bytes: a header may hold any character, and compare_digest takes ASCII text only
            if kind.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), self._token.encode()):
                return 401, "this server wants its token: send the header Authorization: Bearer TOKEN"
        return None


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; empty for one that makes no sense."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower() if "@" not in host else ""
    except ValueError:
        return ""


def net_location(origin: str) -> str:
    """Name and port in an Origin header, in lower case; empty for one that makes no sense."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_foreign_error(message: Message) -> bool:
    """Whether an answer begins that is an error in other words than ours."""
    if message["status"] < 400:
        return False
    return not Headers(raw=message["headers"]).get("content-type", "").startswith("application/json")


async def _answer(send: Send, status: int, line: str) -> None:
    content = json.dumps({"error": line}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
