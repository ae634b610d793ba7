"""Who made this file, and can we believe it? START HERE when you read `provenance`.

    credential = read_credential(Path("clip.mp4"))
    credential.standing            # Standing.TRUSTED, UNKNOWN_SIGNER, BROKEN or ABSENT
    credential.declares_synthetic  # True, False, or None when it does not say
    credential.reasons             # why, in plain sentences

The story: this module opens a file and sees what it is; `provenance.reading` asks the C2PA library what is in it;
`provenance.judging` turns that into an answer (`provenance.answer`, told with the words of `provenance.codes`), and
`provenance.chain` into the history of the file.

The rules below each cost somebody data or trust; the code refers to them by number. Those about writing are kept in
`provenance.signing`, those about belief in `provenance.trust`.

1. The C2PA library is pinned exactly, and has two doors: its Reader in `provenance.reading`, its Builder in
   `provenance.signing` (with the streams of `provenance.streams`).
2. A Context is always given: the library's default one fetches manifests from any address that a file names, this
   machine's own included. Remote manifests, OCSP and every host are switched off, unless `Lookups` are given.
3. A file is never signed in place, and never left half-written: temporary name, fsync, read back, replace.
4. The accepted key usages are stated; without them an official certificate reads as invalid.
5. A tampered ingredient leaves the whole file "Trusted" with an empty list of failures: faults of ingredients are
   collected here, through every level, and shown as `ingredient:<code>`.
6. The library accepts time-stamp and identity authorities as signers of credentials. Every list has its own URI, and
   TRUSTED needs the one in which the claim's own signer was found to be a list of credential signers.
7. Signing a signed file without naming it as parent silently drops its history: it becomes the parent.
8. Ingredients without credentials carry no digest of the file: SHA-256 of each goes into our own assertion.
9. Assertions are marked `created`, or they are not attributed to the signer. When we read, "recorded by a camera"
   counts only where it is attributed.
10. The hash has holes ('free' boxes, the ftyp brand, padding): the SHA-256 of the whole file is part of every answer.
11. An exception in a signing callback comes out as "signature invalid": the real one is kept and raised.
12. Invalid / Valid / Trusted is not our answer yet: a Valid file may come from anybody, and no manifest at all is an
    exception.
13. The library cannot parse a damaged file, signed or not. That is BROKEN only where a trace of a manifest is left, the
    part that would hold it is missing, or the file is built to hide it: what was never signed cannot be broken.
"""

from __future__ import annotations

import io
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from provenance.answer import Certificate as Certificate
from provenance.answer import Check as Check
from provenance.answer import Credential as Credential
from provenance.answer import Standing as Standing
from provenance.answer import TimeStamp as TimeStamp
from provenance.chain import Action as Action
from provenance.chain import CredentialBinding as CredentialBinding
from provenance.chain import CredentialIngredient as CredentialIngredient
from provenance.chain import Redaction as Redaction
from provenance.chain import table, tables, text
from provenance.chain import walk as walk
from provenance.codes import UNTRUSTED
from provenance.codes import explain as explain
from provenance.errors import ProvenanceError as ProvenanceError
from provenance.files import hashed_meanwhile, open_regular, state_of
from provenance.formats import READABLE, SNIFF_BYTES, sniff_format, spoken
from provenance.judging import codes_of, judge
from provenance.reading import find_manifests
from provenance.reading import library_versions as library_versions
from provenance.reading import strict_settings as strict_settings
from provenance.traces import MANIFEST_LAST, holds_manifest, lacks_its_end
from provenance.trust import TrustAnchors


def read_credential(path: Path, *, trust: TrustAnchors | None = None) -> Credential:
    """Read and judge the credential of a file, without any network access unless `trust` allows it.

    The steps: open it once; see by content what it is; take its digest; read the manifest with strict settings; let the
    validation codes, and the list that matched, decide the standing.

    Args:
        path: picture, video or sound, of any name.
        trust: whom to believe; None takes the development authority of this machine, if there is one.

    Returns:
        The reading. A file without credentials, and one whose credentials are broken, are answers.

    Raises:
        ProvenanceError: when there is no such file, or it is no kind of media file.
    """
    return _read(path, TrustAnchors.default() if trust is None else trust, with_digest=True)


def read_manifest(content: bytes, *, trust: TrustAnchors | None = None) -> Credential:
    """Read and judge a manifest that was kept apart from its file, as `provenance.store` does.

    The standing says whether the manifest itself is intact and who signed it. There is no file to hold it against: that
    some copy is what was signed, it cannot say.

    Raises:
        ProvenanceError: when it is no manifest.
    """
    trust = TrustAnchors.default() if trust is None else trust
    found = find_manifests(io.BytesIO(content), MANIFEST_MIME, trust)
    if found.report is None:
        raise ProvenanceError(f"this is no C2PA manifest: {found.fault or 'it is empty'}")
    results = dict(table(found.report.get("validation_results")))
    own = dict(table(results.get("activeManifest")))
    own["failure"] = [one for one in tables(own.get("failure")) if one.get("code") not in _TIES_TO_THE_FILE]
    results["activeManifest"] = own
    faults, codes = {text(one.get("code")) for one in own["failure"]} - UNTRUSTED, codes_of(own)
    # No failure is not enough: a reader that gave up early has found none either.
    holds = not faults and "claimSignature.validated" in codes
    state = "Invalid" if not holds else "Trusted" if "signingCredential.trusted" in codes else "Valid"
    report = {**found.report, "validation_results": results, "validation_state": state}
    return judge(Path("(kept manifest)"), "", MANIFEST_MIME, replace(found, report=report), trust)


MANIFEST_MIME: Final = "application/c2pa"
_TIES_TO_THE_FILE: Final = frozenset(
    {"assertion.bmffHash.mismatch", "assertion.dataHash.mismatch", "assertion.boxesHash.mismatch"}
)
"""What the library says of a manifest that it reads without its file; it has checked the signature by then."""


def standing_of(path: Path, *, trust: TrustAnchors) -> Standing:
    """The standing alone: quicker than `read_credential` for large files without credentials, which are not hashed."""
    return _read(path, trust, with_digest=False).standing


def _read(path: Path, trust: TrustAnchors, *, with_digest: bool) -> Credential:
    try:
        with open_regular(path) as stream:
            before = state_of(os.fstat(stream.fileno()))
            credential = _read_open_file(path, stream, trust, with_digest)
            if state_of(os.fstat(stream.fileno())) != before:
                raise ProvenanceError(f"{path} was changed while it was read; try again when it is finished")
            return credential
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error


def _read_open_file(path: Path, stream: BinaryIO, trust: TrustAnchors, with_digest: bool) -> Credential:
    head = stream.read(SNIFF_BYTES)
    mime = sniff_format(head)
    if mime is None:
        what = "is empty" if not head else "is not a picture, video or sound file"
        raise ProvenanceError(f"{path} {what}, so it cannot carry credentials; give the media file itself")
    # `str()`: where nobody wants a digest, it is empty
    with hashed_meanwhile(stream) if with_digest else nullcontext(str) as digest:
        if mime not in READABLE:
            reason = f"{spoken(mime)} cannot carry embedded Content Credentials"
            return Credential(file=str(path), sha256=digest(), standing=Standing.ABSENT, format=mime, reasons=(reason,))
        stream.seek(0)
        found = find_manifests(stream, mime, trust)
        if found.fault is not None:
            found = replace(found, suspicion=_suspicion(stream, mime, found.fault))
        return judge(path, digest(), mime, found, trust)


def _suspicion(stream: BinaryIO, mime: str, fault: str) -> str | None:
    """Why a file that cannot be parsed may have been signed (rule 13); None for one that never was."""
    if holds_manifest(stream):
        return "the file, or the credential in it, is damaged and cannot be read, so nothing in it can be believed"
    if mime in MANIFEST_LAST and lacks_its_end(stream):
        return "the file lacks its end, where its credential would be, so nothing can be checked"
    if "nested" in fault:
        # The library's word; it is pinned (rule 1). No camera or editor nests boxes that deep.
        return "the file is built so that a reader gives up before it finds a credential, so nothing can be checked"
    return None
