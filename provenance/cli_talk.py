"""What the verbs of `provenance` share: their options, how errors become one line, how answers reach stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from provenance.errors import ProvenanceError

if TYPE_CHECKING:
    from provenance.credential import Standing
    from provenance.store import CredentialStore
    from provenance.trust import TrustAnchors

USAGE = 2
"""Exit code when there is nothing to judge: no such file, not a media file, a bad option."""
READER_GONE = 141
"""Exit code when the reader of stdout has gone: what a shell gives for SIGPIPE."""

TrustOption = Annotated[
    list[Path] | None,
    typer.Option("--trust", metavar="PEM", help="Certificate authorities to believe. May be given several times."),
]
TimeStampOption = Annotated[
    list[Path] | None,
    typer.Option("--trust-time-stamps", metavar="PEM", help="Time-stamp authorities to believe."),
]
OfficialOption = Annotated[
    bool,
    typer.Option("--official", help="Believe the official C2PA lists too, kept in ~/.config/countermark/trust."),
]
UsageOption = Annotated[
    list[str] | None,
    typer.Option("--allow-usage", metavar="OID", help="Accept signers with this extended key usage too."),
]
FetchOption = Annotated[
    bool,
    typer.Option("--fetch-manifest", help="Fetch credentials from where the file says they are (uses the network)."),
]
RevocationOption = Annotated[
    bool,
    typer.Option("--check-revocation", help="Ask the signer's authority (OCSP; uses the network)."),
]
HostOption = Annotated[
    list[str] | None,
    typer.Option("--ask", metavar="HOST", help="The only hosts to ask, example.org or *.example.org."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
ChainOption = Annotated[
    Path | None, typer.Option("--chain", metavar="PEM", help="Your certificate chain, signer first, no root.")
]
IdentityOption = Annotated[
    Path | None, typer.Option("--identity", metavar="DIR", help="A folder made by `keygen --out DIR`.")
]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Where credentials are kept to be found again; default: your own."),
]


@contextmanager
def errors_in_one_line(*, code: int) -> Iterator[None]:
    """Our own errors become one line on stderr and an exit code; anything else is a bug and stays visible."""
    try:
        yield
    except ProvenanceError as error:
        stop(str(error), code)


def stop(line: str, code: int) -> NoReturn:
    """End with one line on stderr."""
    typer.secho(f"error: {one_line(line)}", err=True, fg=typer.colors.RED)
    raise typer.Exit(code)


def say(line: str) -> None:
    """One line on stderr."""
    typer.echo(one_line(line), err=True)


def one_line(text: str) -> str:
    """A stranger's text on one line."""
    return "".join(one if one.isprintable() else " " for one in text)


def print_page(page: object) -> None:
    """An answer for a person."""
    from rich.console import Console

    with _answering():
        # In a pipe there is no screen to fit; digests and names should stay on one line there.
        Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(page)


def print_json(facts: object) -> None:
    """An answer for a program, on one line."""
    with _answering():
        typer.echo(json.dumps(facts))


@contextmanager
def _answering() -> Iterator[None]:
    """Write to stdout: an answer that nobody could read must not end with the exit code of some other answer."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # The reader has gone, as `head` does; rich then wants to exit with 1, which would mean "broken" here. What is
        # left in the buffer would fail again at exit.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open until the process ends
        raise typer.Exit(READER_GONE) from None
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - as above
        stop(f"cannot write the answer: {error.strerror or error}", USAGE)


def exit_code(standing: Standing) -> int:
    """What `verify` and `verify-dataset` end with."""
    return {"trusted": 0, "broken": 1, "absent": 3, "unknown_signer": 4}[standing.value]


def store_in(folder: Path | None, *, must_exist: bool = False) -> CredentialStore:
    """The credential store of a folder, or of this user."""
    from provenance.store import CredentialStore

    if folder is None:
        return CredentialStore.of_this_user()
    if folder.exists() and not folder.is_dir():
        raise ProvenanceError(f"{folder} is not a folder; give the folder of a credential store")
    if must_exist and not folder.exists():
        raise ProvenanceError(f"there is no credential store in {folder}; give the folder that `sign --store` wrote to")
    return CredentialStore(folder)


def anchors(
    trust: list[Path] | None,
    time_stamps: list[Path] | None = None,
    *,
    official: bool = False,
    usages: list[str] | None = None,
    fetch: bool = False,
    revocation: bool = False,
    hosts: list[str] | None = None,
) -> TrustAnchors:
    """Whom to believe and whom to ask, from the options of a verb."""
    from provenance.trust import Lookups, TrustAnchors, official_lists

    signers, stamps = list(trust or ()), list(time_stamps or ())
    if official:
        official_signers, official_stamps = official_lists()
        signers, stamps = [*signers, official_signers], [*stamps, official_stamps]
    try:
        lookups = Lookups(remote_manifests=fetch, revocation=revocation, hosts=tuple(hosts or ()))
    except ValueError as error:
        raise ProvenanceError(str(error)) from error
    return TrustAnchors.default(signers, time_stamps=stamps, usages=usages or (), lookups=lookups)
