"""The verbs of `provenance` that sign: keygen, sign, sign-dataset."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.claims import SourceType
from provenance.cli_talk import (
    ChainOption,
    IdentityOption,
    JsonOption,
    StoreOption,
    TrustOption,
    anchors,
    errors_in_one_line,
    print_json,
    say,
    store_in,
)
from provenance.errors import ProvenanceError

if TYPE_CHECKING:
    from provenance.batch import KeySource, Outcome
    from provenance.claims import Claim, Ingredient
    from provenance.credential import Credential
    from provenance.record import Record


class Action(StrEnum):
    """What was done, as the signer tells it."""

    CREATED = "created"
    EDITED = "edited"


KeyOption = Annotated[
    str | None,
    typer.Option("--key", metavar="KEY", help="Your private key, belonging to --chain: a PEM file, or pkcs11:..."),
]
StampOption = Annotated[
    str | None,
    typer.Option("--time-stamp-url", metavar="URL", help="Time-stamp authority to ask (uses the network)."),
]
IngredientOption = Annotated[
    list[str] | None,
    typer.Option("--ingredient", metavar="[TITLE=]PATH", help="What the content was generated from. May be repeated."),
]
ComponentOption = Annotated[
    list[str] | None,
    typer.Option("--component", metavar="[TITLE=]PATH", help="What is still seen or heard in it. May be repeated."),
]
WatermarkOption = Annotated[
    bool, typer.Option("--watermark", help="Mark the pictures invisibly; they are encoded again for it.")
]
NoStoreOption = Annotated[
    bool, typer.Option("--no-store", help="Take no fingerprint, and keep no copy of the credential.")
]


def keygen(
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A new folder; default: your own.")] = None,
) -> None:
    """Make a development identity: a small certificate authority and a key that signs.

    It proves that a file is unchanged since you signed it, on this machine. Others see an unknown signer, unless you
    give them DIR/root.pem for `--trust`.
    """
    from provenance.identity import create_identity
    from provenance.trust import identity_folder

    with errors_in_one_line(code=1):
        folder = out if out is not None else identity_folder()
        create_identity(folder)
    say(f"made a development identity in {folder}; keep the .key files private, give root.pem to those who verify")


def sign(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="mp4, mov, png, jpg, webp or wav.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The signed copy; for several, a folder.")],
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
    ingredient: IngredientOption = None,
    component: ComponentOption = None,
    parent: Annotated[Path | None, typer.Option("--parent", help="The version this one was edited from.")] = None,
    record: Annotated[Path | None, typer.Option("--record", help="JSON file: how it was made.")] = None,
    allow_training: Annotated[bool, typer.Option("--allow-training", help="Leave out 'do not train on this'.")] = False,
    over_broken: Annotated[
        bool, typer.Option("--over-broken", help="Sign although FILE's credential is broken.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT when it exists.")] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Processes, each signing one file at a time.")
    ] = 1,
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
    """Write a signed copy of FILE, or of many into a folder.

    Without --chain and --key, your development identity signs; it is made at the first use. The credential is kept
    together with a fingerprint of the first minute, so that `find` recovers it from copies that lost theirs.

    Of several files, one that cannot be signed stops no other; the exit code is then 1, and --json gives one object a
    line with `source`, `out`, `error` and `credential`.
    """
    from provenance.batch import SigningOptions, sign_many

    with errors_in_one_line(code=1):
        orders = _orders(files, out, force)
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
        options = SigningOptions(
            key=_key_source(chain, key, identity, time_stamp_url),
            store=None if no_store else store_in(store),
            watermark=watermark,
            trust=anchors(trust) if trust else None,
            over_broken=over_broken,
        )
        failed = 0
        for outcome in sign_many(orders, claim, options, workers=workers, notify=say):
            failed += outcome.error is not None
            _tell(outcome, as_json, alone=len(files) == 1)
    if failed:
        raise typer.Exit(1)


def _orders(files: list[Path], out: Path, force: bool) -> list[tuple[Path, Path]]:
    """(source, destination) of every file; with several, OUT is a folder, and made when it is not there."""
    from provenance.batch import orders_into

    if len(files) == 1 and not out.is_dir():
        orders = [(files[0], out)]
    else:
        orders = orders_into(files, out)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProvenanceError(f"cannot make the folder {out}: {error.strerror or error}") from error
    taken = [destination for _, destination in orders if destination.exists()]
    if taken and not force:
        raise ProvenanceError(f"{taken[0]} exists already; give --force to replace it")
    return orders


def _tell(outcome: Outcome, as_json: bool, *, alone: bool) -> None:
    """What became of one file: talk on stderr, the answer on stdout."""
    for line in outcome.remarks:
        say(line)
    if outcome.credential is None:
        if alone:
            raise ProvenanceError(outcome.error or "it was not signed")
        say(f"error: {outcome.error}")
    if as_json:
        answer = outcome.credential.to_json() if alone and outcome.credential else outcome.to_json()
        print_json(answer)
    if outcome.credential is not None:
        credential = outcome.credential
        say(f"signed {outcome.destination} ({credential.standing.value}): {_by_whom(credential)}")


def sign_dataset(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with catalog.jsonl.")],
    record: Annotated[Path | None, typer.Option("--record", help="JSON file: how the dataset was made.")] = None,
    chain: ChainOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a whole dataset: its catalog and every file in DIR, in DIR/dataset.intoto.dsse.json.

    DIR/croissant.json, which tells machines what is in it, is written before; one that is not from here stays as it is.
    """
    from provenance.attestation import CATALOG_FILE
    from provenance.croissant import refresh_croissant
    from provenance.signing import sign_catalog

    with errors_in_one_line(code=1):
        signer = _key_source(chain, key, identity, None).identity(say)
        made = _record(record)
        if (folder / CATALOG_FILE).is_file():
            refresh_croissant(folder / CATALOG_FILE, record=made)
        report = sign_catalog(folder, identity=signer, record=made, notify=say)
    if as_json:
        print_json(report.to_json())
    say(f"signed {report.files} files of {folder}, Merkle root {report.merkle_root}")


def _key_source(chain: Path | None, key: str | None, folder: Path | None, time_stamp_url: str | None) -> KeySource:
    """Who signs; a key file that others can read is complained about, and the PIN of a token asked for."""
    from provenance.batch import KeySource
    from provenance.identity import readable_by_others

    pin = None
    if key is not None and key.startswith("pkcs11:"):
        pin = _ask_for_pin(key)
    elif key is not None and Path(key).is_file() and readable_by_others(Path(key)):
        say(f"warning: the key {key} can be read by other users; run chmod 600 {key}")
    return KeySource(chain, key, folder, time_stamp_url, pin)


def _ask_for_pin(address: str) -> str | None:
    """The PIN, from whoever sits there; None when the address says where it is, or nobody sits there."""
    if "pin-source=" in address or not sys.stdin.isatty():
        return None
    answer = typer.prompt("PIN of the token", hide_input=True, default="", show_default=False, err=True)
    return str(answer) or None


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
