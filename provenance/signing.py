"""Put a credential into a file, so that whoever reads it can tell who made it, out of what, and that it is unchanged.

    claim = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA, record=Record(tool="countermark forge"))
    credential = sign_file(Path("raw.mp4"), Path("signed.mp4"), claim)

The rules referred to by number stand in `provenance.credential`. Whole folders are signed by `sign_catalog`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from provenance.attestation import CatalogReport as CatalogReport
from provenance.attestation import sign_catalog as sign_catalog
from provenance.attestation import verify_catalog as verify_catalog
from provenance.claims import Claim
from provenance.credential import Credential, Standing, read_credential, read_manifest, standing_of, strict_settings
from provenance.definition import Part, as_text, definition_of, parts_of
from provenance.errors import ProvenanceError
from provenance.files import (
    WORTH_A_THREAD,
    flushed_meanwhile,
    format_of,
    hashed_meanwhile,
    open_regular,
    state_of,
    sync_folder,
    temporary_beside,
)
from provenance.films import Film, film_of, manifest_of, write_with_room
from provenance.formats import FILMS, SIGNABLE, SUFFIXES, spoken
from provenance.identity import Notify, SigningIdentity
from provenance.identity import development_identity as development_identity
from provenance.streams import file_stream, hash_content, reserved_box, sign_streams, signed_box
from provenance.trust import TrustAnchors

if TYPE_CHECKING:
    from c2pa import Signer

IN_PIECES_FROM_BYTES: Final = 128 << 20
"""Films from this size on are hashed in pieces (a Merkle tree): as a whole, the library holds up to 512 MB of them in
memory while it signs, and while it reads. Smaller ones are not: an independent reader rejects the form."""
PIECE_KILOBYTES: Final = 8192
PROOFS: Final = 5


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
    (rule 7); sign into a temporary file beside the destination; read back and judge what lies there; rename it. Nothing
    is fetched, whatever `trust` allows; a time-stamp authority is asked when the identity names one.

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
        The credential as read back. Of a film that was hashed as a whole, `checks` does not name that hash: it was
        taken from the finished file, and is checked by `read_credential`.

    Raises:
        ProvenanceError: when the file cannot be signed. What a signing callback raises is raised as it is (rule 11).
    """
    try:
        mime = _signable(source, destination)
        _see_that_nothing_is_lost(claim, destination)
        with open_regular(source) as reading:
            before = state_of(os.fstat(reading.fileno()))
            identity = development_identity(notify=notify) if identity is None else identity
            trust = (TrustAnchors.default() if trust is None else trust).offline()
            # a plain film has no box in which a credential could be
            film = film_of(reading.fileno()) if mime in FILMS else None
            parent = _parent_of(
                source, Standing.ABSENT if film else standing_of(source, trust=trust), claim, over_broken
            )
            parts = parts_of(claim, parent)
            definition = definition_of(claim, parts, destination, is_edit=parent is not None)
            order = _Order(source, destination, mime, film, definition, parts, identity, trust)
            manifest, credential = _signed_and_renamed(order, reading, before)
    except OSError as error:
        raise ProvenanceError(f"cannot sign {source} into {destination}: {error.strerror or error}") from error
    sync_folder(destination.parent)
    if keep is not None:
        keep(manifest, credential)
    return credential


@dataclass(frozen=True)
class _Order:
    """One file on its way to its signature."""

    source: Path
    destination: Path
    mime: str
    film: Film | None
    """The parts of a plain film; None leaves the writing to the library."""
    definition: dict[str, Any]
    parts: tuple[Part, ...]
    identity: SigningIdentity
    trust: TrustAnchors


def _signed_and_renamed(order: _Order, reading: BinaryIO, before: tuple[int, int, int]) -> tuple[bytes, Credential]:
    """Write the signed copy under a temporary name, and give it its own; its manifest, and what was read back."""
    temporary = temporary_beside(order.destination)
    try:
        with temporary.open("x+b") as writing:
            manifest, credential = _signed_and_read(order, reading, writing, temporary)
        if state_of(os.fstat(reading.fileno())) != before:
            raise ProvenanceError(f"{order.source} was changed while it was signed; sign it when it is finished")
        temporary.replace(order.destination)
    except OSError as error:
        raise ProvenanceError(f"cannot write {order.destination}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return manifest, replace(credential, file=str(order.destination))


def _signable(source: Path, destination: Path) -> str:
    """The MIME type of a source that can be signed into this destination."""
    mime = format_of(source)
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


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two names lead to one file; False where one leads to none."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _parent_of(source: Path, standing: Standing, claim: Claim, over_broken: bool) -> Path | None:
    """The earlier version that the manifest must name, so that history is kept (rule 7)."""
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


def _signed_and_read(order: _Order, reading: BinaryIO, writing: BinaryIO, temporary: Path) -> tuple[bytes, Credential]:
    """Sign into a new file, flush it to the disk and read it back; the manifest and what was read."""
    if _needs_pieces(order):
        manifest = _write_by_library(order, reading, writing, in_pieces=True)
        try:
            return manifest, _read_back(order, writing, temporary)
        except ProvenanceError:
            # The library writes pieces that it cannot read where a film has more than one `mdat` box: then as a whole.
            writing.seek(0)
            writing.truncate()
    if order.film is None:
        manifest = _write_by_library(order, reading, writing, in_pieces=False)
        return manifest, _read_back(order, writing, temporary)
    manifest = _write_film(order, order.film, reading, writing)
    return manifest, _read_back(order, writing, temporary, order.film)


def _needs_pieces(order: _Order) -> bool:
    if order.mime not in FILMS or (order.film is not None and order.film.media_boxes > 1):
        return False
    return order.source.stat().st_size >= IN_PIECES_FROM_BYTES


def _write_film(order: _Order, film: Film, reading: BinaryIO, writing: BinaryIO) -> bytes:
    """Copy a film once, with room for its manifest, let the library hash the copy as a whole, and fill the room."""
    number = writing.fileno()
    with _builder(order, writing, in_pieces=False) as builder:
        room = reserved_box(builder, order.mime)
        try:
            write_with_room(reading.fileno(), number, film, room)
        except (EOFError, ValueError) as error:
            raise ProvenanceError(f"cannot sign {order.source}: {error}") from error
        # of a large one the disk takes what it can already now
        flushed = flushed_meanwhile(writing) if film.size >= WORTH_A_THREAD else nullcontext()
        with flushed, file_stream(writing) as copied:
            hash_content(builder, order.mime, copied)
        box = signed_box(builder, order.mime)
    if len(box) != len(room):
        raise ProvenanceError(f"cannot sign {order.source}: its manifest has {len(box)} bytes, not {len(room)}")
    writing.seek(film.head)
    writing.write(box)
    writing.flush()
    return manifest_of(number, film.head)


def _write_by_library(order: _Order, reading: BinaryIO, writing: BinaryIO, *, in_pieces: bool) -> bytes:
    """Let the C2PA library write the signed copy; the manifest alone."""
    with (
        _builder(order, writing, in_pieces) as builder,
        file_stream(reading) as input_stream,
        file_stream(writing) as output_stream,
    ):
        return sign_streams(builder, order.mime, input_stream, output_stream)


@contextmanager
def _builder(order: _Order, writing: BinaryIO, in_pieces: bool) -> Iterator[Any]:
    """The library's builder for one file; what goes wrong in the block is told in our words."""
    import c2pa

    remembered: list[BaseException] = []
    try:
        with (
            _signer(order.identity, remembered) as signer,
            c2pa.Context.from_dict(_settings(order.trust, in_pieces), signer=signer) as context,
            c2pa.Builder(as_text(json.dumps(order.definition, ensure_ascii=False)), context) as builder,
        ):
            for part in order.parts:
                _add_part(builder, part)
            yield builder
    except c2pa.C2paError as error:
        if remembered:
            raise remembered[0] from error
        _see_that_more_can_be_written(writing)
        raise ProvenanceError(f"cannot sign {order.source}: {' '.join(str(error).split())}") from error


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


def _settings(trust: TrustAnchors, in_pieces: bool) -> dict[str, Any]:
    """Strict settings (rule 2), and nothing that the library would add to the manifest of its own accord."""
    settings = strict_settings(trust)
    if in_pieces:
        settings["core"].update(merkle_tree_chunk_size_in_kb=PIECE_KILOBYTES, merkle_tree_max_proofs=PROOFS)
    off = {"enabled": False}
    settings["builder"] = {
        "thumbnail": off,
        "actions": {"auto_created_action": off, "auto_opened_action": off, "auto_placed_action": off},
    }
    return settings


def _add_part(builder: Any, part: Part) -> None:
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


def _read_back(order: _Order, writing: BinaryIO, temporary: Path, film: Film | None = None) -> Credential:
    """Read and judge what lies under the temporary name, while it is flushed to the disk (rule 3).

    A library that reports success has left broken files behind before: by writing another file than it had hashed, and
    by hashing in pieces in a way that it could not check. So what the library wrote, and every film in pieces, is read
    in full. A film that `_write_film` wrote was hashed whole, as it lies there; its content is not hashed again: from
    the file come the manifest and the digest, and signature, certificates and statements are judged.
    """
    with flushed_meanwhile(writing):
        if film is None:
            credential = read_credential(temporary, trust=order.trust)
        else:
            with hashed_meanwhile(writing) as digest:
                try:
                    read = read_manifest(manifest_of(writing.fileno(), film.head), trust=order.trust)
                except ProvenanceError as error:
                    raise ProvenanceError(f"{order.destination} was not written: {error}") from error
                credential = replace(read, sha256=digest(), format=order.mime)
    if credential.standing not in (Standing.TRUSTED, Standing.UNKNOWN_SIGNER):
        why = credential.reasons[0] if credential.reasons else "no reason was given"
        raise ProvenanceError(f"{order.destination} was not written, because its new credential does not hold: {why}")
    return credential
