"""Sign many files at once, each in one of several processes; one that cannot be signed stops no other.

    for outcome in sign_many(orders, claim, options, workers=4):
        print(outcome.source, outcome.error or "signed")

Processes and not threads: each has a session of its own with a token, and what crashes the library leaves us alive.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Final

from provenance.claims import Claim
from provenance.credential import Credential
from provenance.errors import ProvenanceError
from provenance.identity import Notify, SigningIdentity, development_identity
from provenance.store import CredentialStore
from provenance.trust import TrustAnchors, identity_folder

MOST_WORKERS: Final = 64


@dataclass(frozen=True)
class KeySource:
    """Where the signer's key is: files, a token, a folder of `keygen`, or (with nothing given) this user's identity."""

    chain: Path | None = None
    key: str | None = None
    """A PEM file that belongs to `chain`, or the address of a key in a token: `pkcs11:...`."""
    folder: Path | None = None
    time_stamp_url: str | None = None
    pin: str | None = field(default=None, repr=False)

    def identity(self, notify: Notify | None = None) -> SigningIdentity:
        """The identity, ready to sign.

        Raises:
            ProvenanceError: when the parts do not belong together, or cannot be used.
        """
        if (self.chain is None) != (self.key is None):
            raise ProvenanceError("--chain and --key belong together; give both")
        if self.chain is None or self.key is None:
            if self.folder is not None and not self.folder.is_dir():
                advice = f"make one with keygen --out {self.folder}"
                raise ProvenanceError(f"there is no identity in {self.folder}; {advice}")
            return _with_time_stamps(development_identity(self.folder, notify=notify), self.time_stamp_url)
        if self.folder is not None:
            raise ProvenanceError("give either --chain and --key, or --identity, not both")
        if self.key.startswith("pkcs11:"):
            from provenance.tokens import token_identity

            found = token_identity(self.key, self.chain, pin=self.pin)
        else:
            found = SigningIdentity.from_files(self.chain, Path(self.key))
        return _with_time_stamps(found, self.time_stamp_url)


def _with_time_stamps(identity: SigningIdentity, url: str | None) -> SigningIdentity:
    try:
        return replace(identity, time_stamp_url=url)
    except ValueError as error:
        raise ProvenanceError(str(error)) from error


@dataclass(frozen=True)
class SigningOptions:
    """How to sign; the same for every file."""

    key: KeySource = KeySource()
    store: CredentialStore | None = None
    watermark: bool = False
    trust: TrustAnchors | None = None
    over_broken: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    source: Path
    destination: Path
    credential: Credential | None = None
    error: str | None = None
    remarks: tuple[str, ...] = ()
    """Lines that a user should see."""

    def to_json(self) -> dict[str, object]:
        """The outcome as plain JSON values."""
        said = self.credential.to_json() if self.credential else None
        return {"source": str(self.source), "out": str(self.destination), "error": self.error, "credential": said}


def orders_into(sources: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """(source, destination) of every file, under its own name in a folder.

    Raises:
        ProvenanceError: when two files would get one name.
    """
    twice = [name for name, count in Counter(source.name for source in sources).items() if count > 1]
    if twice:
        raise ProvenanceError(f"two of the files are called {twice[0]}; sign them into two folders")
    return [(source, folder / source.name) for source in sources]


def sign_many(
    orders: Iterable[tuple[Path, Path]],
    claim: Claim,
    options: SigningOptions,
    *,
    workers: int = 1,
    notify: Notify | None = None,
) -> Iterator[Outcome]:
    """Sign every (source, destination), and give each outcome when it is known.

    Args:
        orders: what to sign into what; a destination that exists is replaced.
        claim: what is said about every file; without a title each gets its own name.
        options: how to sign.
        workers: processes; with 1, everything happens in this one.
        notify: gets one line when a development identity was made or renewed.

    Raises:
        ValueError: for no worker at all, or too many.
        ProvenanceError: when the signer's key cannot be used.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise ValueError(f"workers must be between 1 and {MOST_WORKERS}, got {workers}")
    waiting = list(orders)
    # Made here, so that a user hears of it, and not every process makes one at its first use.
    identity = options.key.identity(notify)
    if workers == 1 or len(waiting) < 2:
        yield from (_sign_one(source, destination, claim, options, identity) for source, destination in waiting)
        return
    settled = _settled(options)
    pool = ProcessPoolExecutor(
        min(workers, len(waiting)), mp_context=_clean_processes(), initializer=_leave_interrupts_to_the_caller
    )
    try:
        running: dict[Future[Outcome], tuple[Path, Path]] = {
            pool.submit(_sign_in_worker, source, destination, claim, settled): (source, destination)
            for source, destination in waiting
        }
        for done in as_completed(running):
            source, destination = running.pop(done)
            try:
                yield done.result()
            except BrokenProcessPool:
                yield Outcome(source, destination, error=f"{source} was not signed: a signing process died; try again")
    finally:
        # Whoever stops listening, by Ctrl-C too, waits for the files that are being signed, not for all the others.
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts_to_the_caller() -> None:
    """In a worker: finish the file at hand on Ctrl-C, which the terminal sends to every process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _settled(options: SigningOptions) -> SigningOptions:
    """The options with everything named that this process would look up: a worker may see another environment."""
    key = options.key if options.key.chain else replace(options.key, folder=options.key.folder or identity_folder())
    return replace(options, key=key, trust=options.trust or TrustAnchors.default())


def _clean_processes() -> BaseContext:
    """How to start workers: a forked copy of a process that has used the C2PA library's threads may hang.

    A server that has only loaded the modules, and never signed, is forked instead, so that they are loaded once.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    server = get_context("forkserver")
    server.set_forkserver_preload(["provenance.signing_durable"])
    return server


@lru_cache(maxsize=1)
def _identity(key: KeySource) -> SigningIdentity:
    return key.identity(notify=lambda line: None)


def _sign_in_worker(source: Path, destination: Path, claim: Claim, options: SigningOptions) -> Outcome:
    try:
        return _sign_one(source, destination, claim, options, _identity(options.key))
    except ProvenanceError as error:
        return Outcome(source, destination, error=str(error))


def _sign_one(
    source: Path, destination: Path, claim: Claim, options: SigningOptions, identity: SigningIdentity
) -> Outcome:
    from provenance.signing_durable import sign_durable

    remarks: list[str] = []
    try:
        credential = sign_durable(
            source,
            destination,
            claim,
            store=options.store,
            watermark=options.watermark,
            identity=identity,
            trust=options.trust,
            over_broken=options.over_broken,
            notify=remarks.append,
        )
    except ProvenanceError as error:
        return Outcome(source, destination, error=str(error), remarks=tuple(remarks))
    except OSError as error:
        said = f"{source} was not signed: {error.strerror or error}"
        return Outcome(source, destination, error=said, remarks=tuple(remarks))
    return Outcome(source, destination, credential, remarks=tuple(remarks))
