"""Who signs an export, and what: every file in it, with its SHA-256, in an in-toto statement.

What a dataset's own statement says is asked first: a catalog or a mask that was changed after it was signed would
otherwise leave with a new signature.

A folder of clips is signed by its catalog, as every dataset is. Archives and tables have no catalog: their statement
lists the files alone. Either way `countermark provenance verify-dataset` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from countermark.exports.job import BESIDE, ExportError
from provenance.attestation import (
    CATALOG_FILE,
    PREDICATE_TYPE,
    STATEMENT_FILE,
    STATEMENT_TYPE,
    merkle_root,
    sign_catalog,
)
from provenance.credential import Standing
from provenance.envelope import parse_envelope, pre_authentication, signed_envelope
from provenance.errors import ProvenanceError
from provenance.files import read_small, sha256_of, write_whole
from provenance.identity import development_identity
from provenance.record import Record, now_utc
from provenance.signatures import signature_holds
from provenance.trust import TrustAnchors, judge_chain

Notify = Callable[[str], None]
TOOL = "countermark export"
MOST_COMPARED_BYTES = 64 << 20
"""Of a dataset's own statement: of some hundred thousand files. A larger one takes memory that grows with the clips."""


def sign_clips(build: Path, record: Record, notify: Notify | None) -> Standing:
    """Sign a folder of clips with its catalog, after comparing the two once more."""
    return sign_catalog(build, record=record, notify=notify).standing


def sign_files(build: Path, known: Mapping[str, str], record: Record, notify: Notify | None) -> Standing:
    """Sign a folder without a catalog.

    Args:
        build: the folder.
        known: digests that need not be taken again, by path.
        record: how it was made.
        notify: gets one line when a development identity had to be made.

    Raises:
        ProvenanceError: when it cannot be signed.
        ExportError: when the identity does not hold.
    """
    identity = development_identity(notify=notify)
    names = sorted(
        path.relative_to(build).as_posix()
        for path in build.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(build).parts)
    )
    files = {name: known.get(name) or sha256_of(build / name) for name in names if name != STATEMENT_FILE}
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "dataset", "digest": {"sha256": merkle_root(files)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "tool": {"name": TOOL, "version": record.version},
            "created_utc": now_utc(),
            "merkle_tree": "RFC 6962; leaf = SHA-256(0x00 || path || 0x00 || digest); paths in byte order",
            "files": [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()],
            "splits": {},
            "catalog_lines": [],
            "record": record.to_json(),
        },
    }
    payload = json.dumps(statement, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode()
    verdict = judge_chain(identity.certificates(), TrustAnchors.default())
    if verdict.fault is not None:
        raise ExportError(
            f"{build}: cannot be signed, because the signer's certificate does not hold ({verdict.fault})"
        )
    write_whole(build / STATEMENT_FILE, signed_envelope(payload, identity))
    return Standing.UNKNOWN_SIGNER if verdict.vouched_by is None else Standing.TRUSTED


def signed_digests(folder: Path, notify: Notify | None = None) -> Mapping[str, str]:
    """What the dataset's own statement says of its files: SHA-256 by path; nothing where it was never signed.

    Args:
        folder: of the dataset.
        notify: gets one line where the statement is too large to be compared.

    Raises:
        ExportError: when the signature does not hold, or is of another catalog.
    """
    path = folder / STATEMENT_FILE
    if not path.is_file():
        return {}
    if path.stat().st_size > MOST_COMPARED_BYTES:
        if notify is not None:
            notify(f"{path} is too large to be compared here: countermark provenance verify-dataset {folder}")
        return {}
    again = f"restore it, or sign what is there: countermark provenance sign-dataset {folder}"
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        certificates, payload, signature = parse_envelope(read_small(path, most_bytes=MOST_COMPARED_BYTES))
        holds = signature_holds(certificates[0].public_key(), signature, pre_authentication(payload))
        files = {str(one["name"]): str(one["digest"]["sha256"]) for one in json.loads(payload)["predicate"]["files"]}
    except (ProvenanceError, ValueError, TypeError, KeyError, RecursionError, UnsupportedAlgorithm) as error:
        raise ExportError(f"{path}: is damaged ({type(error).__name__}); {again}") from error
    if not holds:
        raise ExportError(f"{path}: its signature does not fit what it says; {again}")
    if files.get(CATALOG_FILE) != sha256_of(folder / CATALOG_FILE):
        raise ExportError(f"{folder / CATALOG_FILE}: is not the catalog that was signed; {again}")
    return files


def content_beside(signed: Mapping[str, str]) -> str:
    """One digest of all truth and masks that were signed: shards of others are not gone on with."""
    return merkle_root({name: digest for name, digest in signed.items() if name.endswith(tuple(BESIDE.values()))})


def inputs_of(folder: Path) -> dict[str, str]:
    """Digests of the dataset that an export was made from: of its catalog, and of its own statement."""
    names = (CATALOG_FILE, STATEMENT_FILE)
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}
