"""Who made this file, and can we believe it? START HERE when you read `provenance`.

    credential = read_credential(Path("clip.mp4"))
    credential.standing            # Standing.TRUSTED, UNKNOWN_SIGNER, BROKEN or ABSENT
    credential.declares_synthetic  # True, False, or None when it does not say
    credential.reasons             # why, in plain sentences

The rules below each cost somebody data or trust; the code refers to them by number. Rules 1-6, 10 and 12 concern reading
and are kept here and in `provenance.trust`; rules 3 and 7-11 concern writing and are kept in `provenance.signing`.

1. The C2PA library is pinned exactly, and has two doors: its Reader here, its Builder in `provenance.signing`.
2. A Context is always given: the library's default one fetches manifests from any address that a file names, this
   machine's own included. Remote manifests, OCSP and every host are switched off.
3. A file is never signed in place, and never left half-written: temporary name, fsync, verify, replace.
4. The accepted key usages are stated; without them an official certificate reads as invalid.
5. A tampered ingredient leaves the whole file "Trusted" with an empty list of failures: faults of ingredients are collected
   here, through every level, and shown as `ingredient:<code>`.
6. The library accepts time-stamp and identity authorities as signers of credentials. Every list has its own URI, and
   TRUSTED needs the one that matched to be a list of credential signers.
7. Signing a signed file without naming it as parent silently drops its history: it becomes the parent.
8. Ingredients without credentials carry no digest of the file: SHA-256 of each goes into our own assertion.
9. Assertions are marked `created`, or they are not attributed to the signer. When we read, a claim "recorded by a camera"
   counts only when it is attributed.
10. The hash has holes ('free' boxes, the ftyp brand, padding): the SHA-256 of the whole file is part of every answer.
11. An exception in a signing callback comes out as "signature invalid": the real one is kept and raised.
12. Invalid / Valid / Trusted is not our answer yet: a Valid file may come from anybody, and "no manifest" is an exception.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final

from provenance.claims import RECORD_LABEL, TRAINING_LABEL, SourceType
from provenance.errors import ProvenanceError as ProvenanceError
from provenance.formats import READABLE, SNIFF_BYTES, sniff_format, spoken
from provenance.record import Record
from provenance.trust import DEVELOPMENT_MARK, DEVELOPMENT_URI, EXTENDED_KEY_USAGES, TrustAnchors

DEEPEST_CHAIN: Final = 32
"""Levels of ingredients that are followed; a longer chain is cut, and said to be."""
MOST_INGREDIENTS: Final = 2000
"""Ingredients that are looked at in one file, all levels together."""


class Standing(StrEnum):
    """What a credential is worth."""

    ABSENT = "absent"
    """None in the file. Says nothing about the content."""
    BROKEN = "broken"
    """There is one, and the file or the credential was changed, or it cannot be checked. Nothing in it can be believed."""
    UNKNOWN_SIGNER = "unknown_signer"
    """Intact, but nobody on our lists vouches for the signer: it could be anyone."""
    TRUSTED = "trusted"
    """Intact, and the signer is vouched for by a list that was given."""


@dataclass(frozen=True)
class Action:
    """One step in the making of a file, as its signer tells it."""

    name: str
    """`c2pa.created`, `c2pa.edited` ..."""
    source_type: str | None = None
    """Identifier of the digital source type."""
    when: str | None = None
    tool: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class CredentialIngredient:
    """A file that went into another one, as the other one's credential tells it."""

    title: str
    relationship: str
    format: str | None = None
    sha256: str | None = None
    """Digest of the file, when our own assertion carries one (rule 8)."""
    signer: str | None = None
    """Signer of the ingredient's own credential, if it had one."""
    faults: tuple[str, ...] = ()
    """Validation codes of what was wrong with the ingredient's own credential (rule 5)."""
    source_types: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    ingredients: tuple[CredentialIngredient, ...] = ()

    @property
    def is_faulty(self) -> bool:
        """Whether something worse than an unknown signer was recorded."""
        return any(not code.endswith("credential.untrusted") and code not in _UNTRUSTED for code in self.faults)


@dataclass(frozen=True, kw_only=True)
class Credential:
    """Our reading of the C2PA manifest of one file."""

    file: str
    sha256: str
    """Digest of the whole file (rule 10), hex."""
    standing: Standing
    format: str | None = None
    """MIME type, by content."""
    signer: str | None = None
    """Name in the signer's certificate. Anybody can write any name: believe it when `standing` is TRUSTED."""
    trust_list: str | None = None
    """Name of the list that vouches for the signer."""
    declares_synthetic: bool | None = None
    """What the credential says about the content; None when it does not say."""
    source_types: tuple[str, ...] = ()
    """Digital source types of the file and of what it was edited from, short names where known."""
    validation_codes: tuple[str, ...] = ()
    """C2PA status codes behind the standing; those of ingredients begin with `ingredient:`."""
    reasons: tuple[str, ...] = ()
    """The standing in plain sentences."""
    title: str | None = None
    claim_generator: str | None = None
    """The program that wrote the credential."""
    signed_at: str | None = None
    """Time by a time-stamp authority; None without one: a signer's own clock proves nothing."""
    forbids_training: bool | None = None
    """Whether the credential forbids to train on the file; None when it does not say."""
    record: Record | None = None
    """Our own Record, when the file was made by this project."""
    actions: tuple[Action, ...] = ()
    ingredients: tuple[CredentialIngredient, ...] = ()
    explanations: Mapping[str, str] = field(default_factory=dict)
    """Code -> what the C2PA library said about it."""

    def to_json(self) -> dict[str, object]:
        """The reading as plain JSON values."""
        return {
            "file": self.file,
            "standing": self.standing.value,
            "signer": self.signer,
            "declares_synthetic": self.declares_synthetic,
            "validation_codes": list(self.validation_codes),
            "reasons": list(self.reasons),
            "sha256": self.sha256,
            "format": self.format,
            "trust_list": self.trust_list,
            "source_types": list(self.source_types),
            "title": self.title,
            "claim_generator": self.claim_generator,
            "signed_at": self.signed_at,
            "forbids_training": self.forbids_training,
            "record": self.record.to_json() if self.record else None,
            "actions": [_action_json(action) for action in self.actions],
            "ingredients": [_ingredient_json(one) for one in self.ingredients],
            "explanations": dict(self.explanations),
        }


def read_credential(path: Path, *, trust: TrustAnchors | None = None) -> Credential:
    """Read and judge the credential of a file, without any network access.

    The steps: open it once; see by content what it is; read the manifest with strict settings; let the validation codes,
    and the list that matched, decide the standing; take the digest of the same open file.

    Args:
        path: picture, video or sound, of any name.
        trust: whom to believe; None takes the development authority of this machine, if there is one.

    Returns:
        The reading. A file without credentials, and one whose credentials are broken, are answers.

    Raises:
        ProvenanceError: when there is no such file, or it is no kind of media file.
    """
    trust = TrustAnchors.default() if trust is None else trust
    try:
        with path.open("rb", opener=_open_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ProvenanceError(f"{path} is not a regular file; give a picture, video or sound file")
            return _read_open_file(path, stream, trust)
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error


def _open_without_waiting(name: str, flags: int) -> int:
    # Opening a named pipe would wait for a writer for ever.
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _read_open_file(path: Path, stream: BinaryIO, trust: TrustAnchors) -> Credential:
    head = stream.read(SNIFF_BYTES)
    mime = sniff_format(head)
    if mime is None:
        what = "is empty" if not head else "is not a picture, video or sound file"
        raise ProvenanceError(f"{path} {what}, so it cannot carry credentials; give the media file itself")
    digest = _sha256_of(stream)
    if mime not in READABLE:
        reason = f"{spoken(mime)} cannot carry embedded Content Credentials"
        return Credential(file=str(path), sha256=digest, standing=Standing.ABSENT, format=mime, reasons=(reason,))
    stream.seek(0)
    return _judge(path, digest, mime, _manifest_store(stream, mime, trust), trust)


def _sha256_of(stream: BinaryIO) -> str:
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()


def strict_settings(trust: TrustAnchors, *, decode_identities: bool = True) -> dict[str, object]:
    """Settings for every Context of ours: no network (rule 2), stated key usages (rule 4), one URI per list (rule 6)."""
    usages = "\n".join(EXTENDED_KEY_USAGES) + "\n"
    return {
        "version": 1,
        "trust": {
            "trust_config": usages,
            "anchors": [
                {"trust_anchors": one.pem, "trust_uri": one.uri, "trust_kind": one.purpose} for one in trust.lists
            ],
        },
        "verify": {
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
            "verify_trust": True,
            "verify_timestamp_trust": True,
            "verify_after_reading": True,
            # We read back what was written to disk, which is the stronger check.
            "verify_after_sign": False,
        },
        "core": {"allowed_network_hosts": [], "decode_identity_assertions": decode_identities},
        "builder": {"thumbnail": {"enabled": False}},
    }
