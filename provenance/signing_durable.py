"""Sign a file so that its credential can be found again: `provenance.signing` with prints, store and watermark.

sign_durable(Path("raw.mp4"), Path("signed.mp4"), claim, store=CredentialStore.of_this_user(), watermark=True)
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from provenance.claims import Claim
from provenance.credential import Credential, Standing, standing_of
from provenance.durable import bindings, keeper
from provenance.errors import ProvenanceError
from provenance.files import open_regular
from provenance.formats import SNIFF_BYTES, sniff_format
from provenance.identity import Notify, SigningIdentity
from provenance.perceiving import perceive
from provenance.signing import is_same_file, sign_file
from provenance.store import CredentialStore
from provenance.trust import TrustAnchors
from provenance.watermark_files import mark_file


def sign_durable(
    source: Path,
    destination: Path,
    claim: Claim,
    *,
    store: CredentialStore | None,
    watermark: bool = False,
    identity: SigningIdentity | None = None,
    trust: TrustAnchors | None = None,
    over_broken: bool = False,
    notify: Notify | None = None,
) -> Credential:
    """Write a signed copy of a file, with its prints in the manifest and its credential in a store.

    Args:
        source: as for `sign_file`.
        destination: as for `sign_file`.
        claim: as for `sign_file`.
        store: where to keep the credential; None takes no prints and keeps nothing.
        watermark: mark the pictures, which are encoded again for it; a signed source becomes the parent.
        identity: as for `sign_file`.
        trust: as for `sign_file`.
        over_broken: as for `sign_file`.
        notify: as for `sign_file`; also told when the store cannot be written, which costs the signing nothing.

    Raises:
        ProvenanceError: as `sign_file`, and for pictures that cannot be marked.
    """
    signed = partial(sign_file, identity=identity, trust=trust, over_broken=over_broken, notify=notify)
    if not watermark:
        if store is None or not source.is_file():
            return signed(source, destination, claim)
        prints = perceive(source).prints
        keep = keeper(store, prints, watermarked=False, notify=notify)
        return signed(source, destination, replace(claim, soft_bindings=bindings(prints, None)), keep=keep)
    mime = _mime_of(source)
    # a folder of its own: the mark's writers have temporary names too
    with _folder_beside(destination) as folder:
        claim = _as_an_edit(claim, source, TrustAnchors.default() if trust is None else trust, over_broken)
        marked = Path(folder) / f"marked{_ENDINGS.get(mime, '.mp4')}"
        maker = mark_file(source, marked, mime)
        kept = None if store is None else maker.keeper(store, notify)
        return signed(
            marked, destination, maker.bound(replace(claim, title=claim.title or destination.name)), keep=kept
        )


_ENDINGS: Final = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


def _folder_beside(destination: Path) -> TemporaryDirectory[str]:
    try:
        if not destination.parent.is_dir():
            raise ProvenanceError(f"the folder {destination.parent} does not exist; make it first")
        return TemporaryDirectory(prefix=".marked.", dir=destination.parent)
    except OSError as error:
        raise ProvenanceError(f"cannot write {destination}: {error.strerror or error}") from error


def _mime_of(source: Path) -> str:
    try:
        with open_regular(source) as stream:
            mime = sniff_format(stream.read(SNIFF_BYTES))
    except OSError as error:
        raise ProvenanceError(f"cannot read {source}: {error.strerror or error}") from error
    if mime is None:
        raise ProvenanceError(
            f"cannot sign {source}: it is not a media file; mp4, mov, png, jpg and webp can be marked"
        )
    return mime


def _as_an_edit(claim: Claim, source: Path, trust: TrustAnchors, over_broken: bool) -> Claim:
    """A marked copy has lost the credential of its source: it is named as the parent, so that history is kept."""
    standing = standing_of(source, trust=trust)
    if standing is Standing.ABSENT:
        return claim
    if standing is Standing.BROKEN and not over_broken:
        raise ProvenanceError(
            f"{source} carries a broken credential, and signing it would vouch for a changed file; "
            "sign the original, or say explicitly that you mean to sign over it"
        )
    if claim.parent is not None and not is_same_file(claim.parent, source):
        raise ProvenanceError(f"{source} is signed already and becomes its own parent; leave out the parent")
    return replace(claim, action="edited", parent=source)
