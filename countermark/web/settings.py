"""How the page is served: addresses, limits, secrets. Plain values whose constructors refuse nonsense."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path


class ServeError(Exception):
    """The page cannot be served; the message is one line: what, where, what to do."""


@dataclass(frozen=True)
class Limits:
    """What one request may cost."""

    upload_bytes: int = 500 << 20
    """Of one request, all its files together."""
    upload_seconds: float = 900.0
    """For the whole request to arrive."""
    silent_seconds: float = 30.0
    """Between two pieces of a request."""
    slowest_bytes: int = 8 << 10
    """A second, of a request that has been arriving for `silent_seconds`: a trickle holds a place that others want."""
    video_seconds: float = 1800.0
    pixels: int = 40_000_000
    """Of one frame: 8K video has 33 million."""
    speech_seconds: float = 60.0
    """Of the speech in the forge form: a clip is filmed at a few frames a second on a laptop."""
    job_seconds: float = 600.0
    """Wall clock, from a free process to the last piece of evidence."""
    cpu_seconds: int = 1200
    """Of all threads of the checking process."""
    memory_bytes: int = 8 << 30
    """Address space of the checking process; its libraries map 5 GB of that without using it."""
    file_bytes: int = 512 << 20
    """Largest file that the checking process may write."""

    def __post_init__(self) -> None:
        """Refuse limits that are not positive."""
        for name, value in vars(self).items():
            if value <= 0:
                raise ServeError(f"the limit {name} must be positive, got {value}")


@dataclass(frozen=True)
class ServeSettings:
    """Everything `countermark serve` is told."""

    host: str = "127.0.0.1"
    port: int = 8000
    limits: Limits = field(default_factory=Limits)
    workers: int = 1
    """Files that are checked at the same time."""
    threads: int = 2
    """Of each checking process."""
    waiting: int = 48
    """Requests that may wait for a free process; the next one is told to come again."""
    kept_seconds: float = 900.0
    """How long an answer can be fetched after it was found."""
    kept_bytes: int = 192 << 20
    """Memory for answers; the oldest are forgotten first."""
    catalog: Path | None = None
    trust: tuple[Path, ...] = ()
    """Certificate authorities to believe, beside those believed anyway."""
    token: str | None = None
    """Bearer token that every request to the API must carry; None on a loopback address only."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which a browser may reach the page, beside the address that it listens at."""

    def __post_init__(self) -> None:
        """Refuse a public address without a token, and counts that serve nobody."""
        if not 0 <= self.port <= 65535:
            raise ServeError(f"port must be between 0 and 65535, got {self.port}")
        if self.workers < 1 or self.threads < 1 or self.waiting < 1:
            raise ServeError(
                f"workers, threads and waiting must be at least 1, got {self.workers}, {self.threads}, {self.waiting}"
            )
        if self.token is not None and (
            len(self.token) < 16 or not self.token.isascii() or not self.token.isprintable()
        ):
            raise ServeError("a token must be at least 16 printable ASCII characters; leave it out to have one made")
        if self.token is None and not is_loopback(self.host):
            raise ServeError(f"{self.host} can be reached from other machines, so requests need a token")

    @property
    def hosts(self) -> frozenset[str]:
        """Every name that may stand in a Host header, without port, in lower case."""
        names = {self.host.strip("[]").lower(), *(name.strip("[]").lower() for name in self.allowed_hosts)}
        if is_loopback(self.host):
            names |= {"localhost", "127.0.0.1", "::1"}
        return frozenset(names - {"0.0.0.0", "::"})


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
