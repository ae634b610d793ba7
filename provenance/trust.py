"""Whom we believe: lists of certificate authorities, each with a name of its own.

    trust = TrustAnchors.default(extra=[Path("newsroom-ca.pem")])
    trust = TrustAnchors.default([signers], time_stamps=[stamps], lookups=Lookups(revocation=True))

Trust is an argument, never a setting of the process. Two rules of `provenance.credential` are kept here: rule 4 (the
accepted key usages are always stated) and rule 6 (every list has its own URI, its purpose is remembered, and a PEM file
without a usable authority is refused, because the C2PA library ignores garbage silently).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provenance.errors import ProvenanceError
from provenance.files import read_small

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

EXTENDED_KEY_USAGES: Final = ("1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.36", "1.3.6.1.5.5.7.3.4")
"""C2PA claim signing, document signing, e-mail protection: what a signer's certificate may be for (rule 4)."""
DEVELOPMENT_URI: Final = "urn:countermark:trust:development"
DEVELOPMENT_LIST: Final = "development identity of this machine"
DEVELOPMENT_MARK: Final = "DEVELOPMENT - DO NOT TRUST"
"""Stands in the organisation of every certificate that `keygen` makes."""

OFFICIAL_LISTS: Final = ("C2PA-TRUST-LIST.pem", "C2PA-TSA-TRUST-LIST.pem")
"""The lists of the C2PA conformance programme: signers, time-stamp authorities. They change, and are not shipped."""

_OID: Final = re.compile(r"[0-2](\.\d+)+")
_PEM_END: Final = "-----END CERTIFICATE-----"


def identity_folder() -> Path:
    """Where this user's development identity lives: `$XDG_CONFIG_HOME/countermark/identity` or `~/.config/...`.

    Raises:
        ProvenanceError: for a user without a home folder.
    """
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG rules say that a relative path is to be ignored.
    if Path(configured).is_absolute():
        return Path(configured) / "countermark" / "identity"
    try:
        return Path.home() / ".config" / "countermark" / "identity"
    except RuntimeError as error:
        raise ProvenanceError("this user has no home folder; set HOME, or name the files to use") from error


def official_lists() -> tuple[Path, Path]:
    """The official C2PA lists as this user keeps them, signers and time-stamps: `OFFICIAL_LISTS` in one folder.

    Raises:
        ProvenanceError: when they are not there; says where they belong.
    """
    folder = identity_folder().parent / "trust"
    signers, stamps = (folder / name for name in OFFICIAL_LISTS)
    for path in (signers, stamps):
        if not path.is_file():
            source = "github.com/c2pa-org/conformance-public"
            raise ProvenanceError(f"there is no {path}; put {' and '.join(OFFICIAL_LISTS)} of {source} there")
    return signers, stamps


@dataclass(frozen=True)
class TrustList:
    """Certificate authorities from one place, for one purpose."""

    name: str
    """For people: a file name, or `DEVELOPMENT_LIST`."""
    uri: str
    """Told apart by this in validation results; no two lists share one."""
    pem: str
    """The authorities, PEM."""
    purpose: str = "manifest"
    """`manifest` for signers of credentials, `tsa` for time-stamp authorities."""

    def __post_init__(self) -> None:
        """Refuse unknown purposes and empty lists."""
        if self.purpose not in ("manifest", "tsa"):
            raise ValueError(f"purpose must be 'manifest' or 'tsa', got {self.purpose!r}")
        if "BEGIN CERTIFICATE" not in self.pem:
            raise ValueError(f"the trust list {self.name!r} has no certificate")

    def certificates(self) -> list[Certificate]:
        """The authorities, parsed."""
        from cryptography import x509

        return x509.load_pem_x509_certificates(self.pem.encode())


@dataclass(frozen=True)
class Lookups:
    """What a reading may ask of other machines; nothing, unless somebody said so (rule 2)."""

    remote_manifests: bool = False
    """Fetch the manifest from the address that a file names, when it carries none itself."""
    revocation: bool = False
    """Ask the signer's authority whether the certificate was revoked (OCSP)."""
    hosts: tuple[str, ...] = ()
    """The only hosts that may be asked, `example.org`, `*.example.org`, `example.org:8080`; with none, all.

    The C2PA library keeps to what the first reading of a process was allowed: one process, one set of hosts."""

    def __post_init__(self) -> None:
        """Refuse addresses where host names belong, and hosts that nothing will be asked of."""
        wrong = next((host for host in self.hosts if not host or "/" in host), None)
        if wrong is not None:
            raise ValueError(f"a host is named like example.org, got {wrong!r}")
        if self.hosts and not (self.remote_manifests or self.revocation):
            raise ValueError("hosts are named, but nothing may be asked of them: allow manifests or revocation")

    @property
    def of_anyone(self) -> bool:
        """Whether any host that a file names may be asked."""
        return (self.remote_manifests or self.revocation) and not self.hosts


@dataclass(frozen=True)
class TrustAnchors:
    """Every list we believe for one reading, and what we may ask of others."""

    lists: tuple[TrustList, ...] = ()
    usages: tuple[str, ...] = EXTENDED_KEY_USAGES
    """Extended key usages (OIDs), of which a signer's certificate needs one."""
    lookups: Lookups = Lookups()

    def __post_init__(self) -> None:
        """Refuse two lists under one URI: a reader could not tell their purposes apart (rule 6)."""
        uris = [entry.uri for entry in self.lists]
        if len(set(uris)) != len(uris):
            raise ValueError(f"two trust lists share a URI: {sorted(uris)}")
        wrong = next((usage for usage in self.usages if not _OID.fullmatch(usage)), None)
        if wrong is not None or not self.usages:
            raise ValueError(f"an extended key usage is an OID like 1.3.6.1.5.5.7.3.36, got {wrong!r}")

    @classmethod
    def none(cls) -> TrustAnchors:
        """Believe nobody: an intact credential then reads as one of an unknown signer."""
        return cls(())

    @classmethod
    def default(
        cls,
        extra: Iterable[Path] = (),
        *,
        time_stamps: Iterable[Path] = (),
        usages: Iterable[str] = (),
        lookups: Lookups | None = None,
    ) -> TrustAnchors:
        """The development authority of this machine, when there is one, and the lists of the given PEM files.

        Args:
            extra: PEM files of authorities that sign credentials, e.g. the official C2PA trust list.
            time_stamps: PEM files of time-stamp authorities.
            usages: OIDs of extended key usages to accept beside `EXTENDED_KEY_USAGES`.
            lookups: what may be asked of other machines; None asks nothing.

        Raises:
            ProvenanceError: for a file that cannot be read or holds no certificate authority, and for what is no OID.
        """
        lists = []
        development = _development_root()
        if development is not None:
            pem = _authorities(development)
            lists.append(TrustList(DEVELOPMENT_LIST, DEVELOPMENT_URI, pem))
        for purpose, paths in (("manifest", extra), ("tsa", time_stamps)):
            for position, path in enumerate(paths, 1):
                uri = f"urn:countermark:trust:{purpose}:{position}"
                lists.append(TrustList(path.name, uri, _authorities(path), purpose))
        try:
            return cls(tuple(lists), (*EXTENDED_KEY_USAGES, *usages), lookups or Lookups())
        except ValueError as error:
            raise ProvenanceError(str(error)) from error

    def offline(self) -> TrustAnchors:
        """The same lists, and nothing asked of anyone."""
        return replace(self, lookups=Lookups())

    def distinct(self) -> list[tuple[TrustList, str]]:
        """Each list with those of its authorities (PEM) that no list before it has; signers' lists come first.

        The C2PA library pools all lists, and names any one of those that hold the matching authority, by chance. The
        two official lists share most of theirs: without this, a trusted signer would look like a time-stamp authority
        every other time.
        """
        seen: set[str] = set()
        kept = []
        for entry in sorted(self.lists, key=lambda one: one.purpose != "manifest"):
            fresh = []
            for block in entry.pem.split(_PEM_END)[:-1]:
                mark = "".join(block.split())
                if mark not in seen:
                    seen.add(mark)
                    fresh.append(f"{block.strip()}\n{_PEM_END}\n")
            if fresh:
                kept.append((entry, "".join(fresh)))
        return kept

    def manifest_list(self, uri: str | None) -> TrustList | None:
        """The list of credential signers with this URI; None for an unknown one and for a list of another purpose."""
        return next((entry for entry in self.lists if entry.uri == uri and entry.purpose == "manifest"), None)

    def time_stamp_list(self, uri: str | None) -> TrustList | None:
        """The list that vouches for a time-stamp authority; one that two lists share is filed under signers."""
        return next((entry for entry in self.lists if entry.uri == uri), None)


def _development_root() -> Path | None:
    """Root of this machine's development identity; None where there is none, or no place for one."""
    try:
        root = identity_folder() / "root.pem"
        return root if root.is_file() else None
    except ProvenanceError:
        return None
    except OSError as error:
        raise ProvenanceError(
            f"cannot look for the development identity: {error.strerror or error}: {error.filename}"
        ) from error


def _authorities(path: Path) -> str:
    """The certificate authorities of a PEM file; signer certificates in the same bundle are left out."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificates = x509.load_pem_x509_certificates(read_small(path))
    except ValueError as error:
        raise ProvenanceError(
            f"{path} is not a PEM file of certificates; give certificate authorities as PEM"
        ) from error
    kept = [certificate for certificate in certificates if is_authority(certificate)]
    if not kept:
        raise ProvenanceError(
            f"{path} holds no certificate authority; give the root or issuing CA, not the signer itself"
        )
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in kept)


def is_authority(certificate: Certificate) -> bool:
    """Whether a certificate may issue others."""
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


@dataclass(frozen=True)
class ChainVerdict:
    """What a certificate chain is worth."""

    signer: str
    """Name and organisation of its first certificate."""
    vouched_by: TrustList | None = None
    """The list that vouches for it; None for an unknown signer."""
    fault: str | None = None
    """C2PA status code of what is wrong with the chain itself."""


def judge_chain(chain: Sequence[Certificate], trust: TrustAnchors, *, now: datetime | None = None) -> ChainVerdict:
    """Judge a signer's chain by the rules that the C2PA library follows for media, for what that library cannot read.

    1. The signer's certificate may sign (key usage), for one of the accepted usages, and is no authority.
    2. It is valid at `now`.
    3. Each certificate was issued by the next, which is an authority allowed that depth, valid at `now`.
    4. The last one was issued by, or is, an authority on one of the lists of credential signers.
    5. None of them, that authority included, has limits that are not judged here: extensions that a reader must
       understand (critical ones, RFC 5280), and names that an authority is limited to.

    Args:
        chain: the signer first; no root needed.
        trust: whom to believe.
        now: moment of the judgement (UTC); None for the present.
    """
    leaf = chain[0]
    signer = _name_of(leaf)
    moment = now or datetime.now(UTC)
    if not _may_sign(leaf, trust.usages) or not _is_understood(leaf):
        return ChainVerdict(signer, fault="signingCredential.invalid")
    if not leaf.not_valid_before_utc <= moment <= leaf.not_valid_after_utc:
        return ChainVerdict(signer, fault="signingCredential.expired")
    for depth, (issued, issuer) in enumerate(pairwise(chain)):
        if not _issued(issued, issuer, depth, moment):
            return ChainVerdict(signer, fault="signingCredential.invalid")
    last = chain[-1]
    for entry in trust.lists:
        if entry.purpose != "manifest":
            continue
        for anchor in entry.certificates():
            if (anchor == last and len(chain) > 1) or _issued(last, anchor, len(chain) - 1, moment):
                return ChainVerdict(signer, vouched_by=entry)
    return ChainVerdict(signer)


def _issued(issued: Certificate, issuer: Certificate, depth: int, moment: datetime) -> bool:
    """Whether an authority issued a certificate, with `depth` authorities between it and the signer."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        issued.verify_directly_issued_by(issuer)
        limits = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (
        InvalidSignature,
        UnsupportedAlgorithm,
        ValueError,
        TypeError,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
    ):
        return False
    if not _is_understood(issuer):
        return False
    try:
        may_issue = issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        may_issue = True
    deep_enough = limits.path_length is None or limits.path_length >= depth
    in_time = issuer.not_valid_before_utc <= moment <= issuer.not_valid_after_utc
    return limits.ca and may_issue and deep_enough and in_time


def _is_understood(certificate: Certificate) -> bool:
    """Whether everything is judged here that limits a certificate. None on the official C2PA lists has more."""
    from cryptography.x509.oid import ExtensionOID

    judged = {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE}
    return not any(
        one.oid == ExtensionOID.NAME_CONSTRAINTS or (one.critical and one.oid not in judged)
        for one in certificate.extensions
    )


def _may_sign(leaf: Certificate, accepted: tuple[str, ...]) -> bool:
    """Whether a certificate is one of a signer of credentials."""
    from cryptography import x509

    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    named = {purpose.dotted_string for purpose in purposes}
    return usage.digital_signature and not is_authority(leaf) and bool(named & set(accepted))


def _name_of(certificate: Certificate) -> str:
    """Common name and organisation, written as for signed media."""
    from cryptography.x509.oid import NameOID

    parts = []
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        found = certificate.subject.get_attributes_for_oid(kind)
        if found and str(found[0].value) not in parts:
            parts.append(str(found[0].value))
    if not parts:
        return "somebody without a name"
    return parts[0] if len(parts) == 1 else f"{parts[0]} ({parts[1]})"
