"""Put a credential into a file, so that whoever reads it can tell who made it, out of what, and that it is unchanged.

    claim = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA, record=Record(tool="countermark forge"))
    credential = sign_file(Path("raw.mp4"), Path("signed.mp4"), claim)

The rules referred to by number stand in `provenance.credential`. Whole folders are signed by `sign_catalog`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from provenance.attestation import CatalogReport as CatalogReport
from provenance.attestation import sign_catalog as sign_catalog
from provenance.attestation import verify_catalog as verify_catalog
from provenance.claims import RECORD_LABEL, SOFT_BINDING_LABEL, TRAINING_LABEL, Claim
from provenance.credential import Credential, Standing, read_credential, standing_of, strict_settings
from provenance.errors import ProvenanceError
from provenance.files import open_regular, sha256_of, sync_folder, temporary_beside
from provenance.formats import SIGNABLE, SNIFF_BYTES, SUFFIXES, sniff_format, spoken
from provenance.identity import Notify, SigningIdentity
from provenance.identity import development_identity as development_identity
from provenance.record import installed_version, now_utc
from provenance.streams import file_stream, sign_streams
from provenance.trust import TrustAnchors

if TYPE_CHECKING:
    from c2pa import Context, Signer

IN_PIECES_FROM_BYTES: Final = 128 << 20
"""Films from this size on are hashed in pieces (a Merkle tree): as a whole, the library holds up to 512 MB of them in
memory while it signs, and while it reads. Smaller ones are not: an independent reader rejects the form."""
PIECE_KILOBYTES: Final = 8192
PROOFS: Final = 5

SPECIFICATION: Final = "2.4.0"
"""Version of the C2PA specification that our manifests follow."""

GENERATOR: Final = "Countermark"

_TRAINING_USES: Final = ("cawg.ai_training", "cawg.ai_generative_training", "cawg.data_mining")


def sign_file(
    source: Path,
    destination: Path,
    claim: Claim,
    *,
    identity: SigningIdentity | None = None,
    trust: TrustAnchors | None = None,
    over_broken: bool = False,
    notify: Notify | None = None,
    keep: Callable[[bytes, Credential], None] | None = None,
) -> Credential:
    """Write a signed copy of a file; the destination appears whole and verified, or not at all.

    The steps: see that this can be signed and is not signed in place (rule 3); let a signed source become the parent
    (rule 7); sign into a temporary file beside the destination; read that back and judge it; rename it. Nothing is
    fetched, whatever `trust` allows; a time-stamp authority is asked when the identity names one.

    Args:
        source: mp4, mov, png, jpg, webp or wav, judged by content.
        destination: where the signed copy goes; replaced when it exists. Never the source itself.
        claim: what to say about the file.
        identity: who signs; None takes the development identity, which is made at the first call.
        trust: whom to believe when ingredients and the result are judged; None as for `read_credential`.
        over_broken: sign also a source whose own credential is broken, which is then recorded as a broken parent.
        notify: gets one line when a development identity was made or renewed; None writes it to the log.
        keep: gets the manifest and the credential once the file stands, as `provenance.durable` wants them.

    Returns:
        The credential as read back from the destination.

    Raises:
        ProvenanceError: when the file cannot be signed. What a signing callback raises is raised as it is (rule 11).
    """
    try:
        mime = _signable(source, destination)
        _see_that_nothing_is_lost(claim, destination)
    except OSError as error:
        raise ProvenanceError(f"cannot sign {source} into {destination}: {error.strerror or error}") from error
    identity = development_identity(notify=notify) if identity is None else identity
    trust = (TrustAnchors.default() if trust is None else trust).offline()
    parent = _parent_of(source, claim, trust, over_broken)
    parts = _parts(claim, parent)
    definition = _definition(claim, parts, destination, is_edit=parent is not None)
    temporary = temporary_beside(destination)
    try:
        sign = partial(_sign_into, temporary, source, mime, definition, parts, identity, trust)
        manifest, credential = _signed_and_read(sign, temporary, destination, _needs_pieces(source, mime), trust)
        temporary.replace(destination)
    except OSError as error:
        raise ProvenanceError(f"cannot write {destination}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(destination.parent)
    credential = replace(credential, file=str(destination))
    if keep is not None:
        keep(manifest, credential)
    return credential


def _signable(source: Path, destination: Path) -> str:
    """The MIME type of a source that can be signed into this destination."""
    mime = _sniff(source)
    if mime is None or mime not in SIGNABLE:
        what = "not a media file" if mime is None else spoken(mime)
        raise ProvenanceError(f"cannot sign {source}: it is {what}; mp4, mov, png, jpg, webp and wav can be signed")
    named = SUFFIXES.get(destination.suffix.lower())
    if named is not None and named != mime and {named, mime} != {"video/mp4", "video/quicktime"}:
        raise ProvenanceError(f"{source} is {spoken(mime)}, but {destination} is named like {spoken(named)}; rename it")
    if destination.is_dir():
        raise ProvenanceError(f"{destination} is a folder; give the name of the signed file")
    if not destination.parent.is_dir():
        raise ProvenanceError(f"the folder {destination.parent} does not exist; make it first")
    if destination.exists() and destination.samefile(source):
        raise ProvenanceError(f"{source} cannot be signed in place; give another destination")
    return mime


def _see_that_nothing_is_lost(claim: Claim, destination: Path) -> None:
    """Refuse to put the result where something lies that it was made from: the only copy may be that one."""
    used = [one.path for one in claim.ingredients] + ([claim.parent] if claim.parent is not None else [])
    for path in used:
        if is_same_file(destination, path):
            raise ProvenanceError(f"{destination} is a file that the result was made from; give another destination")


def _sniff(path: Path) -> str | None:
    """Format of a regular file, by content."""
    try:
        if not path.is_file():
            raise ProvenanceError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
        with open_regular(path) as stream:
            return sniff_format(stream.read(SNIFF_BYTES))
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two names lead to one file; False where one leads to none."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _parent_of(source: Path, claim: Claim, trust: TrustAnchors, over_broken: bool) -> Path | None:
    """The earlier version that the manifest must name, so that history is kept (rule 7)."""
    standing = standing_of(source, trust=trust)
    if standing is Standing.BROKEN and not over_broken:
        raise ProvenanceError(
            f"{source} carries a broken credential, and signing it would vouch for a changed file; "
            "sign the original, or say explicitly that you mean to sign over it"
        )
    if standing is not Standing.ABSENT:
        if claim.parent is not None and not is_same_file(claim.parent, source):
            raise ProvenanceError(f"{source} is signed already and becomes its own parent; leave out the parent")
        return source
    if claim.parent is not None:
        return claim.parent
    return source if claim.action == "edited" else None


@dataclass(frozen=True)
class _Part:
    """An ingredient on its way into a manifest."""

    path: Path
    title: str
    relationship: str
    label: str
    format: str
    sha256: str


def _parts(claim: Claim, parent: Path | None) -> tuple[_Part, ...]:
    """Parent and ingredients with their digests (rule 8)."""
    named = [(parent, parent.name, "parentOf")] if parent is not None else []
    named += [(one.path, one.title, one.relationship) for one in claim.ingredients]
    return tuple(
        _Part(
            path=path,
            title=_as_text(title),
            relationship=relationship,
            label=f"part-{position}",
            format=_sniff(path) or "application/octet-stream",
            sha256=sha256_of(path),
        )
        for position, (path, title, relationship) in enumerate(named)
    )


def _definition(claim: Claim, parts: tuple[_Part, ...], destination: Path, *, is_edit: bool) -> dict[str, Any]:
    """The manifest definition: everything attributed to the signer (rule 9)."""
    record = claim.record
    agent = {"name": record.tool, "version": record.version} if record else {"name": GENERATOR}
    made: dict[str, Any] = {
        "action": f"c2pa.{'edited' if is_edit else 'created'}",
        "digitalSourceType": claim.source_type.uri,
        "softwareAgent": agent,
        "when": now_utc(),
    }
    if claim.description:
        made["description"] = claim.description
    given = [part.label for part in parts if part.relationship != "parentOf"]
    if given:
        made["parameters"] = {"ingredientIds": given}
    actions = [made]
    if is_edit:
        actions.insert(0, {"action": "c2pa.opened", "parameters": {"ingredientIds": [parts[0].label]}})
    facts: dict[str, Any] = {"schema": 1}
    if record:
        # As text: the library's reader turns every list of numbers into base64, and loses fractions doing so.
        facts["record"] = json.dumps(record.to_json(), ensure_ascii=False, sort_keys=True)
    if parts:
        facts["sources"] = [
            {"title": part.title, "relationship": part.relationship, "sha256": part.sha256} for part in parts
        ]
    assertions = [_assertion("c2pa.actions.v2", {"actions": actions, "allActionsIncluded": True})]
    if claim.do_not_train:
        forbidden = {use: {"use": "notAllowed"} for use in _TRAINING_USES}
        assertions.append(_assertion(TRAINING_LABEL, {"entries": forbidden}))
    if record or parts:
        assertions.append(_assertion(RECORD_LABEL, facts))
    for binding in claim.soft_bindings:
        found_by = {"alg": binding.algorithm, "blocks": [dict(block) for block in binding.blocks]}
        assertions.append(_assertion(SOFT_BINDING_LABEL, found_by))
        if binding.is_watermark:
            actions.append({"action": "c2pa.watermarked.bound", "softwareAgent": agent, "when": made["when"]})
    return {
        "claim_generator_info": [{"name": GENERATOR, "version": _version(), "specVersion": SPECIFICATION}],
        "title": claim.title or destination.name,
        "assertions": assertions,
    }


@cache
def _version() -> str:
    """Looking it up takes longer than a signature."""
    return installed_version()


def _as_text(words: str) -> str:
    """Words as text that can be signed: file names may hold bytes that are no text at all."""
    return words.encode("utf-8", "replace").decode()


def _assertion(label: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "created": True, "data": data}


def _needs_pieces(source: Path, mime: str) -> bool:
    return mime in ("video/mp4", "video/quicktime") and source.stat().st_size >= IN_PIECES_FROM_BYTES


def _signed_and_read(
    sign: Callable[[bool], bytes], temporary: Path, destination: Path, in_pieces: bool, trust: TrustAnchors
) -> tuple[bytes, Credential]:
    """Sign into a new file and read it back; the manifest and what was read."""
    manifest = sign(in_pieces)
    try:
        return manifest, _verified(temporary, destination, trust)
    except ProvenanceError:
        if not in_pieces:
            raise
    # The library writes pieces that it cannot read where a film has more than one `mdat` box: then as a whole.
    temporary.unlink()
    manifest = sign(False)
    return manifest, _verified(temporary, destination, trust)


def _sign_into(
    temporary: Path,
    source: Path,
    mime: str,
    definition: dict[str, Any],
    parts: tuple[_Part, ...],
    identity: SigningIdentity,
    trust: TrustAnchors,
    in_pieces: bool,
) -> bytes:
    """Let the C2PA library write the signed copy to a new file, and flush it to the disk; the manifest alone."""
    import c2pa

    remembered: list[BaseException] = []
    with ExitStack() as open_things:
        writing = open_things.enter_context(temporary.open("x+b"))
        try:
            context = open_things.enter_context(_context(trust, in_pieces))
            manifest = _as_text(json.dumps(definition, ensure_ascii=False))
            builder = open_things.enter_context(c2pa.Builder(manifest, context))
            for part in parts:
                _add_part(builder, part)
            signer = open_things.enter_context(_signer(identity, remembered))
            reading = open_things.enter_context(source.open("rb"))
            with file_stream(reading) as input_stream, file_stream(writing) as output_stream:
                signed = sign_streams(builder, signer, mime, input_stream, output_stream)
            os.fsync(writing.fileno())
            return signed
        except c2pa.C2paError as error:
            if remembered:
                raise remembered[0] from error
            _see_that_more_can_be_written(writing)
            raise ProvenanceError(f"cannot sign {source}: {' '.join(str(error).split())}") from error


def _see_that_more_can_be_written(file: BinaryIO) -> None:
    """The library says only that something failed; a full disk says more when one tries again.

    Raises:
        OSError: when no more can be written.
    """
    end = os.fstat(file.fileno()).st_size
    os.lseek(file.fileno(), end, os.SEEK_SET)
    block = bytes(1 << 16)
    while block:
        # A disk that is nearly full takes a part of a block without a complaint.
        block = block[os.write(file.fileno(), block) :]
    os.fsync(file.fileno())


def _context(trust: TrustAnchors, in_pieces: bool) -> Context:
    """Strict settings (rule 2), and nothing that the library would add to the manifest of its own accord."""
    import c2pa

    settings = strict_settings(trust)
    if in_pieces:
        settings["core"].update(merkle_tree_chunk_size_in_kb=PIECE_KILOBYTES, merkle_tree_max_proofs=PROOFS)
    off = {"enabled": False}
    settings["builder"] = {
        "thumbnail": off,
        "actions": {"auto_created_action": off, "auto_opened_action": off, "auto_placed_action": off},
    }
    return c2pa.Context.from_dict(settings)


def _add_part(builder: Any, part: _Part) -> None:
    """One ingredient: with its own credential when it has one, else as a name (its digest is in our assertion)."""
    import c2pa

    facts = {"title": part.title, "relationship": part.relationship, "label": part.label, "format": part.format}
    try:
        with part.path.open("rb") as stream:
            builder.add_ingredient(facts, part.format, stream)
    except OSError as error:
        raise ProvenanceError(f"cannot read the ingredient {part.path}: {error.strerror or error}") from error
    except c2pa.C2paError as error:
        raise ProvenanceError(f"cannot use the ingredient {part.path}: {' '.join(str(error).split())}") from error


def _signer(identity: SigningIdentity, remembered: list[BaseException]) -> Signer:
    """The library's signer for an identity; what a callback raises is kept, because the library hides it (rule 11)."""
    import c2pa

    if identity.key_pem is not None:
        time_stamps = identity.time_stamp_url.encode() if identity.time_stamp_url else None
        information = c2pa.C2paSignerInfo(
            identity.algorithm.encode(), identity.chain_pem.encode(), identity.key_pem, time_stamps
        )
        return c2pa.Signer.from_info(information)
    ask = identity.callback
    assert ask is not None, "the constructor of SigningIdentity sees to it"

    def sign(message: bytes) -> bytes:
        try:
            return ask(message)
        except BaseException as error:  # noqa: BLE001 - raised again, whatever it is, once the library has returned
            remembered.append(error)
            return b""

    algorithm = c2pa.C2paSigningAlg[identity.algorithm.upper()]
    return c2pa.Signer.from_callback(sign, algorithm, identity.chain_pem, identity.time_stamp_url)


def _verified(temporary: Path, destination: Path, trust: TrustAnchors) -> Credential:
    """Read back what was written: a library that reports success has left broken files behind before (rule 3)."""
    credential = read_credential(temporary, trust=trust)
    if credential.standing not in (Standing.TRUSTED, Standing.UNKNOWN_SIGNER):
        why = credential.reasons[0] if credential.reasons else "no reason was given"
        raise ProvenanceError(f"{destination} was not written, because its new credential does not hold: {why}")
    return credential
