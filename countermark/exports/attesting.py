"""Who signs an export, and what: every file in it, with its SHA-256, in an in-toto statement.

A folder of clips is signed by its catalog, as every dataset is. Archives and tables have no catalog: their statement
lists the files alone. Either way `countermark provenance verify-dataset` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from countermark.exports.job import ExportError
from provenance.attestation import PREDICATE_TYPE, STATEMENT_FILE, STATEMENT_TYPE, merkle_root, sign_catalog
from provenance.credential import Standing
from provenance.envelope import signed_envelope
from provenance.files import sha256_of, write_whole
from provenance.identity import development_identity
from provenance.record import Record, now_utc
from provenance.trust import TrustAnchors, judge_chain

Notify = Callable[[str], None]
TOOL = "countermark export"


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


def inputs_of(folder: Path) -> dict[str, str]:
    """Digests of the dataset that an export was made from: of its catalog, and of its own statement."""
    names = ("catalog.jsonl", STATEMENT_FILE)
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}
