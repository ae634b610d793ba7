"""`provenance`: sign files and datasets, and read who signed them.

Answers go to stdout, talk goes to stderr. Modules are imported by the verbs, so that `--help` stays quick.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from provenance.claims import SourceType
from provenance.errors import ProvenanceError

if TYPE_CHECKING:
    from provenance.claims import Claim, Ingredient
    from provenance.credential import Credential, Standing
    from provenance.identity import SigningIdentity
    from provenance.record import Record
    from provenance.store import CredentialStore
    from provenance.trust import TrustAnchors

app = typer.Typer(
    name="provenance",
    help="Sign files and datasets, and read who made them (C2PA Content Credentials).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

USAGE = 2
"""Exit code when there is nothing to judge: no such file, not a media file, a bad option."""
READER_GONE = 141
"""Exit code when the reader of stdout has gone: what a shell gives for SIGPIPE."""


class Action(StrEnum):
    """What was done, as the signer tells it."""

    CREATED = "created"
    EDITED = "edited"


TrustOption = Annotated[
    list[Path] | None,
    typer.Option("--trust", metavar="PEM", help="Certificate authorities to believe. May be given several times."),
]
TimeStampOption = Annotated[
    list[Path] | None,
    typer.Option("--trust-time-stamps", metavar="PEM", help="Time-stamp authorities to believe."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
ChainOption = Annotated[
    Path | None, typer.Option("--chain", metavar="PEM", help="Your certificate chain, signer first, no root.")
]
KeyOption = Annotated[Path | None, typer.Option("--key", metavar="PEM", help="Your private key, belonging to --chain.")]
IdentityOption = Annotated[
    Path | None, typer.Option("--identity", metavar="DIR", help="A folder made by `keygen --out DIR`.")
]
StampOption = Annotated[
    str | None,
    typer.Option("--time-stamp-url", metavar="URL", help="Time-stamp authority to ask (uses the network)."),
]


StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Where credentials are kept to be found again; default: your own."),
]
WatermarkOption = Annotated[
    bool, typer.Option("--watermark", help="Mark the pictures invisibly; they are encoded again for it.")
]
NoStoreOption = Annotated[
    bool, typer.Option("--no-store", help="Take no fingerprint, and keep no copy of the credential.")
]


@app.command()
def keygen(
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A new folder; default: your own.")] = None,
) -> None:
    """Make a development identity: a small certificate authority and a key that signs.

    It proves that a file is unchanged since you signed it, on this machine. Others see an unknown signer, unless you
    give them DIR/root.pem for `--trust`.
    """
    from provenance.identity import create_identity
    from provenance.trust import identity_folder

    with _errors_in_one_line(code=1):
        folder = out if out is not None else identity_folder()
        create_identity(folder)
    _say(f"made a development identity in {folder}; keep the .key files private, give root.pem to those who verify")


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="mp4, mov, png, jpg, webp or wav.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The signed copy.")],
    source_type: Annotated[
        SourceType,
        typer.Option(
            "--source-type",
            help="Where it comes from: trainedAlgorithmicMedia made by AI, digitalCapture recorded, humanEdits edited.",
            show_default=False,
        ),
    ],
    action: Annotated[
        Action, typer.Option("--action", help="New, or a changed version of something.")
    ] = Action.CREATED,
    title: Annotated[
        str | None, typer.Option("--title", help="Name shown to readers; default: the name of OUT.")
    ] = None,
    description: Annotated[str | None, typer.Option("--description", help="What was done, in words.")] = None,
    ingredient: Annotated[
        list[str] | None,
        typer.Option(
            "--ingredient", metavar="[TITLE=]PATH", help="What the content was generated from. May be repeated."
        ),
    ] = None,
    component: Annotated[
        list[str] | None,
        typer.Option("--component", metavar="[TITLE=]PATH", help="What is still seen or heard in it. May be repeated."),
    ] = None,
    parent: Annotated[Path | None, typer.Option("--parent", help="The version this one was edited from.")] = None,
    record: Annotated[Path | None, typer.Option("--record", help="JSON file: how it was made.")] = None,
    allow_training: Annotated[bool, typer.Option("--allow-training", help="Leave out 'do not train on this'.")] = False,
    over_broken: Annotated[
        bool, typer.Option("--over-broken", help="Sign although FILE's credential is broken.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT when it exists.")] = False,
    chain: ChainOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    time_stamp_url: StampOption = None,
    trust: TrustOption = None,
    watermark: WatermarkOption = False,
    store: StoreOption = None,
    no_store: NoStoreOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a signed copy of FILE.

    Without --chain and --key, your development identity signs; it is made at the first use. The credential is kept
    together with a fingerprint of the first minute, so that `find` recovers it from copies that lost theirs.
    """
    from provenance.signing_durable import sign_durable

    with _errors_in_one_line(code=1):
        if out.exists() and not force:
            raise ProvenanceError(f"{out} exists already; give --force to replace it")
        claim = _claim(
            source_type=source_type,
            action="edited" if parent is not None else action.value,
            title=title,
            description=description,
            ingredients=_ingredients(ingredient, component),
            record=_record(record),
            do_not_train=not allow_training,
            parent=parent,
        )
        credential = sign_durable(
            file,
            out,
            claim,
            store=None if no_store else _store(store),
            watermark=watermark,
            identity=_identity(chain, key, identity, time_stamp_url),
            trust=_anchors(trust, None) if trust else None,
            over_broken=over_broken,
            notify=_say,
        )
    if as_json:
        _print_json(credential.to_json())
    _say(f"signed {out} ({credential.standing.value}): {_by_whom(credential)}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture, video or sound.")],
    trust: TrustOption = None,
    trust_time_stamps: TimeStampOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell who signed FILE, and whether it is unchanged. Uses no network.

    Exit code: 0 trusted, 1 broken, 3 no credentials, 4 unknown signer;
    2 when there is nothing to judge (no such file, not a media file).
    """
    from provenance.guard import read_credential_guarded

    with _errors_in_one_line(code=USAGE):
        credential = read_credential_guarded(file, trust=_anchors(trust, trust_time_stamps))
    if as_json:
        _print_json(credential.to_json())
    else:
        from provenance.rendering import credential_page

        _print(credential_page(credential))
    raise typer.Exit(_exit_code(credential.standing))


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture, video or sound.")],
    trust: TrustOption = None,
    trust_time_stamps: TimeStampOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw what FILE was made from, and what was done to it, as a tree."""
    from provenance.guard import read_credential_guarded

    with _errors_in_one_line(code=USAGE):
        credential = read_credential_guarded(file, trust=_anchors(trust, trust_time_stamps))
    if as_json:
        _print_json(credential.to_json())
        return
    from provenance.rendering import credential_tree

    _print(credential_tree(credential))


@app.command()
def find(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture, video or sound.")],
    store: StoreOption = None,
    trust: TrustOption = None,
    trust_time_stamps: TimeStampOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the credential of FILE: in it, or in the store by its watermark or fingerprint, when it was stripped.

    A recovered credential tells what the original was; it does not prove that this copy is unaltered.

    Exit code: 0 found, 1 its own credential is broken and none was recovered, or the kept one is broken, 3 not found;
    2 when there is nothing to judge (no such file, not a media file).
    """
    from provenance.find import find_credential

    with _errors_in_one_line(code=USAGE):
        found = find_credential(file, _store(store, must_exist=True), trust=_anchors(trust, trust_time_stamps))
    if as_json:
        _print_json(found.to_json())
    else:
        from provenance.rendering import found_page

        _print(found_page(found))
    standing = (found.credential or found.embedded).standing.value
    raise typer.Exit(1 if standing == "broken" else 0 if found.how else 3)


@app.command("sign-dataset")
def sign_dataset(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with catalog.jsonl.")],
    record: Annotated[Path | None, typer.Option("--record", help="JSON file: how the dataset was made.")] = None,
    chain: ChainOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a whole dataset: its catalog and every file in DIR, in DIR/dataset.intoto.dsse.json."""
    from provenance.signing import sign_catalog

    with _errors_in_one_line(code=1):
        report = sign_catalog(
            folder, identity=_identity(chain, key, identity, None), record=_record(record), notify=_say
        )
    if as_json:
        _print_json(report.to_json())
    _say(f"signed {report.files} files of {folder}, Merkle root {report.merkle_root}")


@app.command("verify-dataset")
def verify_dataset(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that sign-dataset signed.")],
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a dataset with its signed statement, and name every file that differs.

    Exit code: 0 trusted, 1 broken, 3 not signed, 4 unknown signer; 2 when there is nothing to judge (no such folder).
    """
    from provenance.signing import verify_catalog

    with _errors_in_one_line(code=USAGE):
        report = verify_catalog(folder, trust=_anchors(trust, None))
    if as_json:
        _print_json(report.to_json())
    else:
        from provenance.rendering import catalog_page

        _print(catalog_page(report))
    raise typer.Exit(_exit_code(report.standing))


@app.command()
def doctor(
    chain: ChainOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the signing identity: keys, permissions, chain, usages, expiry, and the C2PA library; say what to do."""
    from provenance.checkup import check_up

    with _errors_in_one_line(code=1):
        checks = check_up(chain=chain, key=key, folder=identity)
    if as_json:
        _print_json({"checks": [check.to_json() for check in checks]})
    else:
        from provenance.rendering import plain

        marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "fault": "[red]✗[/]"}
        for check in checks:
            advice = f" → {plain(check.advice)}" if check.advice else ""
            _print(f"{marks[check.result]} {plain(check.finding)}{advice}")
    raise typer.Exit(1 if any(check.result == "fault" for check in checks) else 0)


@contextmanager
def _errors_in_one_line(*, code: int) -> Iterator[None]:
    """Our own errors become one line on stderr and an exit code; anything else is a bug and stays visible."""
    try:
        yield
    except ProvenanceError as error:
        _stop(str(error), code)


def _stop(line: str, code: int) -> NoReturn:
    typer.secho(f"error: {_one_line(line)}", err=True, fg=typer.colors.RED)
    raise typer.Exit(code)


def _say(line: str) -> None:
    typer.echo(_one_line(line), err=True)


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)


def _print(page: object) -> None:
    from rich.console import Console

    with _answering():
        # In a pipe there is no screen to fit; digests and names should stay on one line there.
        Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(page)


def _print_json(facts: object) -> None:
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
        _stop(f"cannot write the answer: {error.strerror or error}", USAGE)


def _exit_code(standing: Standing) -> int:
    return {"trusted": 0, "broken": 1, "absent": 3, "unknown_signer": 4}[standing.value]


def _store(folder: Path | None, *, must_exist: bool = False) -> CredentialStore:
    from provenance.store import CredentialStore

    if folder is None:
        return CredentialStore.of_this_user()
    if folder.exists() and not folder.is_dir():
        raise ProvenanceError(f"{folder} is not a folder; give the folder of a credential store")
    if must_exist and not folder.exists():
        raise ProvenanceError(f"there is no credential store in {folder}; give the folder that `sign --store` wrote to")
    return CredentialStore(folder)


def _anchors(trust: list[Path] | None, time_stamps: list[Path] | None) -> TrustAnchors:
    from provenance.trust import TrustAnchors

    return TrustAnchors.default(trust or (), time_stamps=time_stamps or ())


def _identity(
    chain: Path | None, key: Path | None, folder: Path | None, time_stamp_url: str | None
) -> SigningIdentity | None:
    """Who signs: the files that were given, a folder of keygen, or None for the identity of this user."""
    from dataclasses import replace

    from provenance.identity import SigningIdentity, development_identity, readable_by_others

    if (chain is None) != (key is None):
        raise ProvenanceError("--chain and --key belong together; give both")
    if chain is not None and key is not None:
        if folder is not None:
            raise ProvenanceError("give either --chain and --key, or --identity, not both")
        signing = SigningIdentity.from_files(chain, key, time_stamp_url=time_stamp_url)
        if readable_by_others(key):
            _say(f"warning: the key {key} can be read by other users; run chmod 600 {key}")
        return signing
    if folder is not None and not folder.is_dir():
        raise ProvenanceError(f"there is no identity in {folder}; make one with keygen --out {folder}")
    if folder is None and time_stamp_url is None:
        return None
    return replace(development_identity(folder, notify=_say), time_stamp_url=time_stamp_url)


def _by_whom(credential: Credential) -> str | None:
    from provenance.trust import DEVELOPMENT_LIST

    if credential.trust_list == DEVELOPMENT_LIST:
        return "by the development identity of this machine; everybody else sees an unknown signer"
    return credential.signer


def _claim(**facts: Any) -> Claim:
    from provenance.claims import Claim

    try:
        return Claim(**facts)
    except ValueError as error:
        raise ProvenanceError(str(error)) from error


def _ingredients(given: list[str] | None, components: list[str] | None) -> tuple[Ingredient, ...]:
    return tuple(
        [_ingredient(text, "inputTo") for text in given or ()]
        + [_ingredient(text, "componentOf") for text in components or ()]
    )


def _ingredient(text: str, relationship: str) -> Ingredient:
    """`portrait=a.png` or `a.png`; a file whose own name holds '=' is found first."""
    from provenance.claims import Ingredient

    title, _, name = text.partition("=")
    path = Path(text) if not name or Path(text).exists() else Path(name)
    return Ingredient(path, title if path == Path(name) and name else path.name, relationship)


def _record(path: Path | None) -> Record | None:
    from provenance.files import read_small
    from provenance.record import Record

    if path is None:
        return None
    try:
        facts = json.loads(read_small(path))
    except ValueError as error:
        raise ProvenanceError(f"{path} is not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise ProvenanceError(f"{path} must hold one JSON object")
    try:
        return Record.from_json(facts)
    except (ValueError, TypeError) as error:
        raise ProvenanceError(f"{path} is not a record: {error}") from error


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
