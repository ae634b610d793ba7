"""With which key we sign: a development identity made by ourselves, a chain and key of the user, or a callback.

    identity = development_identity()                                    # made at the first call, kept for this user
    identity = SigningIdentity.from_files(Path("chain.pem"), Path("key.pem"))
    identity = SigningIdentity.from_callback(ask_the_token, chain_pem=..., algorithm="es256")

A development identity proves that a file is unchanged since this user signed it, and nothing about who the user is:
every certificate of it says so in its organisation. Its chain is root -> issuing CA -> signer. The root's key is thrown
away once it has signed the issuing CA; the issuing CA renews the signer when that is about to expire.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provenance.errors import ProvenanceError
from provenance.files import read_small
from provenance.trust import DEVELOPMENT_MARK, EXTENDED_KEY_USAGES, identity_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

ALGORITHMS: Final = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
LEAF_DAYS: Final = 365
"""Validity of a development signer: C2PA wants no more than 366 days."""
AUTHORITY_DAYS: Final = 3650
RENEW_DAYS: Final = 30
"""A development signer with less than this left is renewed."""

ROOT, ISSUER, ISSUER_KEY, CHAIN, KEY = "root.pem", "issuer.pem", "issuer.key", "chain.pem", "signer.key"

SigningCallback = Callable[[bytes], bytes]
"""Gets the bytes to be signed (not a digest) and returns the signature; ECDSA as r||s or as DER."""
Notify = Callable[[str], None]
"""Gets one line that the user should see."""

_log = logging.getLogger(__name__)


def _say_in_the_log(line: str) -> None:
    # With logging not set up, Python writes warnings to stderr as they are: the line is seen in any case.
    _log.warning(line)


@dataclass(frozen=True)
class SigningIdentity:
    """A certificate chain, and something that signs for its first certificate."""

    chain_pem: str
    """The signer's certificate, then every issuing CA; no root."""
    algorithm: str
    """One of `ALGORITHMS`."""
    key_pem: bytes | None = field(default=None, repr=False)
    callback: SigningCallback | None = field(default=None, repr=False)
    time_stamp_url: str | None = None
    """A time-stamp authority (RFC 3161) to ask at each signing. The only thing here that uses the network."""

    def __post_init__(self) -> None:
        """Refuse an identity that cannot sign, or has two ways to."""
        if (self.key_pem is None) == (self.callback is None):
            raise ValueError("an identity has either a key or a signing callback")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {self.algorithm!r}")
        if "BEGIN CERTIFICATE" not in self.chain_pem:
            raise ValueError("chain_pem must hold the signer's certificate as PEM")
        if self.time_stamp_url is not None and not self.time_stamp_url.startswith(("http://", "https://")):
            raise ValueError(f"time_stamp_url must begin with http:// or https://, got {self.time_stamp_url!r}")

    @classmethod
    def from_files(cls, chain: Path, key: Path, *, time_stamp_url: str | None = None) -> SigningIdentity:
        """An identity from PEM files: the chain (signer first, no root) and the signer's unencrypted private key.

        Raises:
            ProvenanceError: for files that cannot be read, are not PEM, or do not belong together.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            load_pem_private_key,
        )

        chain_bytes, key_bytes = read_small(chain), read_small(key)
        try:
            certificates = x509.load_pem_x509_certificates(chain_bytes)
        except ValueError as error:
            raise ProvenanceError(f"{chain} holds no PEM certificate; give the signer's chain, signer first") from error
        try:
            private = load_pem_private_key(key_bytes, None)
        except TypeError as error:
            raise ProvenanceError(
                f"the key {key} has a pass phrase; give an unencrypted key or sign by callback"
            ) from error
        except ValueError as error:
            raise ProvenanceError(f"{key} is not a PEM private key: {error}") from error
        if _public_bytes(private.public_key()) != _public_bytes(certificates[0].public_key()):
            raise ProvenanceError(
                f"the key {key} does not belong to the first certificate of {chain}; put the signer's certificate first"
            )
        # The C2PA library wants the chain without the root: readers hold roots, files do not bring them.
        sent = [one for position, one in enumerate(certificates) if position == 0 or one.issuer != one.subject]
        return cls(
            chain_pem="".join(one.public_bytes(Encoding.PEM).decode() for one in sent),
            algorithm=algorithm_of(private.public_key()),
            key_pem=private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            time_stamp_url=time_stamp_url,
        )

    @classmethod
    def from_callback(
        cls,
        callback: SigningCallback,
        *,
        chain_pem: str,
        algorithm: str = "es256",
        time_stamp_url: str | None = None,
    ) -> SigningIdentity:
        """An identity whose key lives elsewhere: in a token or key service. The caller gets what it raises."""
        return cls(chain_pem, algorithm, callback=callback, time_stamp_url=time_stamp_url)

    def certificates(self) -> list[Certificate]:
        """The chain, parsed; the signer first."""
        from cryptography import x509

        try:
            return x509.load_pem_x509_certificates(self.chain_pem.encode())
        except ValueError as error:
            raise ProvenanceError(f"the certificate chain of the signing identity is not PEM: {error}") from error

    @property
    def is_development(self) -> bool:
        """Whether the signer's certificate calls itself a development identity."""
        return DEVELOPMENT_MARK in self.certificates()[0].subject.rfc4514_string()


def development_identity(folder: Path | None = None, *, notify: Notify | None = None) -> SigningIdentity:
    """The development identity of this user: made at the first call, renewed when it is about to expire.

    Safe when several processes call it for the first time at once: each makes a whole identity beside the final place,
    one of them gets it there by a rename, the others drop theirs and use that one.

    Args:
        folder: where it lives; None for `provenance.trust.identity_folder()`.
        notify: gets one line when an identity was made or renewed; None writes it to the log.

    Raises:
        ProvenanceError: when it cannot be read or written.
    """
    folder = folder or identity_folder()
    say = notify or _say_in_the_log
    if not folder.is_dir() and _create(folder):
        say(f"made a development signing identity in {folder}: good for trying out, trusted by this machine only")
    _renew_when_due(folder, say)
    return SigningIdentity.from_files(folder / CHAIN, folder / KEY)


def create_identity(folder: Path) -> SigningIdentity:
    """Make a new development identity in a folder that does not exist yet (or is empty).

    Raises:
        ProvenanceError: when something is there already, or the folder cannot be written.
    """
    if not _create(folder):
        raise ProvenanceError(
            f"{folder} exists already; keys are never overwritten: choose another folder or move it away"
        )
    return SigningIdentity.from_files(folder / CHAIN, folder / KEY)


def _create(folder: Path) -> bool:
    """Build an identity beside its final place and rename it there; False when another one is already there."""
    building = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building.mkdir(mode=0o700)
        try:
            _write_identity(building)
            # Renaming onto an existing folder succeeds only when that one is empty: the winner is whole, or not there.
            building.rename(folder)
            return True
        except OSError:
            if folder.is_dir() and any(folder.iterdir()):
                return False
            raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise ProvenanceError(
            f"cannot make a signing identity in {folder}: {error.strerror or error}; "
            "make that place writable, or name another one with XDG_CONFIG_HOME"
        ) from error


def _write_identity(folder: Path) -> None:
    """Root, issuing CA and signer, as files of a fresh folder."""
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, issuer_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    tag = secrets.token_hex(4)
    root = _certify(f"Countermark development root {tag}", root_key, None, None, days=AUTHORITY_DAYS, depth=1)
    issuer = _certify(f"Countermark development CA {tag}", issuer_key, root, root_key, days=AUTHORITY_DAYS, depth=0)
    leaf = _certify(f"Countermark development signer {tag}", leaf_key, issuer, issuer_key, days=LEAF_DAYS, depth=None)
    _write_private(folder / ISSUER_KEY, _key_pem(issuer_key))
    _write_private(folder / KEY, _key_pem(leaf_key))
    (folder / ROOT).write_bytes(_pem(root))
    (folder / ISSUER).write_bytes(_pem(issuer))
    (folder / CHAIN).write_bytes(_pem(leaf) + _pem(issuer))


def _renew_when_due(folder: Path, say: Notify) -> None:
    """Give the signer's key a fresh certificate when less than `RENEW_DAYS` of the old one are left."""
    from cryptography import x509

    chain = folder / CHAIN
    try:
        leaf = x509.load_pem_x509_certificates(read_small(chain))[0]
    except ValueError as error:
        raise ProvenanceError(f"{chain} is damaged; move {folder} away and a new identity will be made") from error
    now = datetime.now(UTC)
    if leaf.not_valid_after_utc - now > timedelta(days=RENEW_DAYS):
        return
    if not (folder / ISSUER_KEY).is_file():
        raise ProvenanceError(
            f"the certificate in {folder} ends on {leaf.not_valid_after_utc:%Y-%m-%d} and the key to renew it is gone; "
            "move the folder away and a new identity will be made"
        )
    renew(folder)
    say(f"renewed the development signing certificate in {folder}, which ended on {leaf.not_valid_after_utc:%Y-%m-%d}")


def renew(folder: Path, *, days: int = LEAF_DAYS, now: datetime | None = None) -> None:
    """Certify the signer's key again with the folder's issuing CA; only chain.pem changes, in one step.

    Args:
        folder: a folder that `create_identity` made.
        days: validity from `now` on.
        now: start of the validity (UTC); None for the present.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        issuer = x509.load_pem_x509_certificate(read_small(folder / ISSUER))
        issuer_key = load_pem_private_key(read_small(folder / ISSUER_KEY), None)
        leaf_key = load_pem_private_key(read_small(folder / KEY), None)
    except (ValueError, TypeError) as error:
        raise ProvenanceError(
            f"the identity in {folder} is damaged ({error}); move it away and make a new one"
        ) from error
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey) or not isinstance(leaf_key, ec.EllipticCurvePrivateKey):
        raise ProvenanceError(f"the identity in {folder} was not made by keygen; renew it where you got it")
    tag = str(issuer.subject.rfc4514_string()).rpartition(" ")[2].partition(",")[0]
    leaf = _certify(
        f"Countermark development signer {tag}", leaf_key, issuer, issuer_key, days=days, depth=None, now=now
    )
    fresh = folder / f".{CHAIN}.{secrets.token_hex(6)}"
    try:
        fresh.write_bytes(_pem(leaf) + _pem(issuer))
        fresh.replace(folder / CHAIN)
    except OSError as error:
        raise ProvenanceError(f"cannot renew the signing certificate in {folder}: {error.strerror or error}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _certify(
    common_name: str,
    key: EllipticCurvePrivateKey,
    issuer: Certificate | None,
    issuer_key: EllipticCurvePrivateKey | None,
    *,
    days: int,
    depth: int | None,
    now: datetime | None = None,
) -> Certificate:
    """One certificate. `depth` is the number of CAs allowed below it; None makes a signer."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID, ObjectIdentifier

    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"Countermark {DEVELOPMENT_MARK}"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    is_ca = depth is not None
    signing_key = issuer_key or key
    # A few minutes of grace: the clock of a reader may be behind ours.
    start = (now or datetime.now(UTC)) - timedelta(minutes=10)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=depth), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=is_ca,
                crl_sign=is_ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not is_ca:
        # C2PA claim signing alone is refused by readers: a second, older usage must stand beside it.
        usages = [ObjectIdentifier(EXTENDED_KEY_USAGES[0]), ObjectIdentifier(EXTENDED_KEY_USAGES[2])]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def algorithm_of(public_key: object) -> str:
    """The COSE signature algorithm that goes with a public key.

    Raises:
        ProvenanceError: for a kind or size of key that C2PA does not allow.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(public_key, ec.EllipticCurvePublicKey):
        curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
        if public_key.curve.name in curves:
            return curves[public_key.curve.name]
        raise ProvenanceError(f"C2PA does not allow the curve {public_key.curve.name}; use P-256, P-384 or P-521")
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(public_key, rsa.RSAPublicKey):
        if public_key.key_size < 2048:
            raise ProvenanceError(f"an RSA key of {public_key.key_size} bits is too short; use at least 2048")
        return "ps256"
    raise ProvenanceError(f"C2PA cannot sign with a {type(public_key).__name__}; use ECDSA, Ed25519 or RSA")


def readable_by_others(key: Path) -> bool:
    """Whether a key file can be read by anyone but its owner."""
    return bool(stat.S_IMODE(key.stat().st_mode) & 0o077)


def _write_private(path: Path, content: bytes) -> None:
    """Write a key so that nobody but its owner can read it at any moment."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _public_bytes(public_key: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))  # type: ignore[attr-defined]


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)
