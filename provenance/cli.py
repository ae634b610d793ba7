"""`provenance`: sign files and datasets, and read who signed them.

Answers go to stdout, talk goes to stderr. Modules are imported by the verbs, so that `--help` stays quick. The verbs
that sign are in `provenance.cli_signing`, what all share in `provenance.cli_talk`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenance import cli_signing
from provenance.cli_talk import (
    USAGE,
    ChainOption,
    FetchOption,
    HostOption,
    IdentityOption,
    JsonOption,
    OfficialOption,
    RevocationOption,
    StoreOption,
    TimeStampOption,
    TrustOption,
    UsageOption,
    anchors,
    errors_in_one_line,
    exit_code,
    print_json,
    print_page,
    store_in,
)

if TYPE_CHECKING:
    from provenance.credential import Credential

app = typer.Typer(
    name="provenance",
    help="Sign files and datasets, and read who made them (C2PA Content Credentials).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(cli_signing.keygen)
app.command()(cli_signing.sign)


def _read(
    file: Path,
    trust: list[Path] | None,
    time_stamps: list[Path] | None,
    official: bool,
    usages: list[str] | None,
    fetch: bool,
    revocation: bool,
    hosts: list[str] | None,
) -> Credential:
    """The guarded reading of one file, with the options of `verify` and `show`."""
    from provenance.guard import read_credential_guarded

    with errors_in_one_line(code=USAGE):
        believed = anchors(
            trust,
            time_stamps,
            official=official,
            usages=usages,
            fetch=fetch,
            revocation=revocation,
            hosts=hosts,
        )
        return read_credential_guarded(file, trust=believed)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture, video or sound.")],
    trust: TrustOption = None,
    trust_time_stamps: TimeStampOption = None,
    official: OfficialOption = False,
    allow_usage: UsageOption = None,
    fetch_manifest: FetchOption = False,
    check_revocation: RevocationOption = False,
    ask: HostOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell who signed FILE, and whether it is unchanged. Uses no network unless you ask for it.

    Exit code: 0 trusted, 1 broken, 3 no credentials, 4 unknown signer;
    2 when there is nothing to judge (no such file, not a media file).
    """
    credential = _read(file, trust, trust_time_stamps, official, allow_usage, fetch_manifest, check_revocation, ask)
    if as_json:
        print_json(credential.to_json())
    else:
        from provenance.rendering import credential_page

        print_page(credential_page(credential))
    raise typer.Exit(exit_code(credential.standing))


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture, video or sound.")],
    trust: TrustOption = None,
    trust_time_stamps: TimeStampOption = None,
    official: OfficialOption = False,
    allow_usage: UsageOption = None,
    fetch_manifest: FetchOption = False,
    check_revocation: RevocationOption = False,
    ask: HostOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw what FILE was made from, what was done to it, and what was checked, as a tree."""
    credential = _read(file, trust, trust_time_stamps, official, allow_usage, fetch_manifest, check_revocation, ask)
    if as_json:
        print_json(credential.to_json())
        return
    from provenance.rendering import credential_tree

    print_page(credential_tree(credential))


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

    with errors_in_one_line(code=USAGE):
        found = find_credential(file, store_in(store, must_exist=True), trust=anchors(trust, trust_time_stamps))
    if as_json:
        print_json(found.to_json())
    else:
        from provenance.rendering import found_page

        print_page(found_page(found))
    standing = (found.credential or found.embedded).standing.value
    raise typer.Exit(1 if standing == "broken" else 0 if found.how else 3)


app.command("sign-dataset")(cli_signing.sign_dataset)


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

    with errors_in_one_line(code=USAGE):
        report = verify_catalog(folder, trust=anchors(trust))
    if as_json:
        print_json(report.to_json())
    else:
        from provenance.rendering import catalog_page

        print_page(catalog_page(report))
    raise typer.Exit(exit_code(report.standing))


@app.command()
def doctor(
    chain: ChainOption = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PEM", help="Your private key, belonging to --chain.")
    ] = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the signing identity: keys, permissions, chain, usages, expiry, and the C2PA library; say what to do."""
    from provenance.checkup import check_up

    with errors_in_one_line(code=1):
        checks = check_up(chain=chain, key=key, folder=identity)
    if as_json:
        print_json({"checks": [check.to_json() for check in checks]})
    else:
        from provenance.rendering import plain

        marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "fault": "[red]✗[/]"}
        for check in checks:
            advice = f" → {plain(check.advice)}" if check.advice else ""
            print_page(f"{marks[check.result]} {plain(check.finding)}{advice}")
    raise typer.Exit(1 if any(check.result == "fault" for check in checks) else 0)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
