"""Sign with a key that never leaves its token: PKCS#11, as smart cards, security modules and SoftHSM speak it.

    identity = token_identity(
        "pkcs11:token=newsroom;object=signer?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/secrets/pin",
        Path("chain.pem"),
    )

The address follows RFC 7512. Of its parts we read `token`, `serial`, `object`, `id`, `module-path` and `pin-source`; a
PIN in the address itself is refused, because every user of the machine can read the arguments of a program. A key
service in a network (KMS) needs no code here: `SigningIdentity.from_callback` takes any function that signs bytes.

Needs the extra `token` (python-pkcs11), and the maker's library.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from provenance.errors import ProvenanceError
from provenance.files import read_small
from provenance.identity import SigningIdentity, algorithm_of

SCHEME: Final = "pkcs11:"
_KNOWN: Final = frozenset({"token", "serial", "object", "id", "type", "module-path", "pin-source"})
_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


@dataclass(frozen=True)
class TokenAddress:
    """Where a key lies: which library, which token, which key in it."""

    module: Path
    token: str | None = None
    serial: str | None = None
    object: str | None = None
    """Label of the private key."""
    id: bytes | None = None
    pin_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse an address that could mean any token, or any key in it."""
        if self.token is None and self.serial is None:
            raise ValueError("it names no token; add token=LABEL or serial=NUMBER")
        if self.object is None and self.id is None:
            raise ValueError("it names no key; add object=LABEL or id=%01")

    @classmethod
    def parse(cls, address: str) -> TokenAddress:
        """Read an address of RFC 7512.

        Raises:
            ProvenanceError: for one that cannot be used; says what is wrong with it.
        """
        path, _, query = address.removeprefix(SCHEME).partition("?")
        pairs = [one.partition("=") for one in [*path.split(";"), *query.split("&")] if one]
        facts = {name: value for name, _, value in pairs}
        try:
            if "pin-value" in facts:
                raise ValueError("every user would see a PIN in it; write that to a file: pin-source=/path/of/pin")
            strange = sorted(set(facts) - _KNOWN)
            if strange or not address.startswith(SCHEME):
                raise ValueError(f"{', '.join(strange) or 'its beginning'} is not known here")
            if "module-path" not in facts:
                raise ValueError("it names no library; add ?module-path=/usr/lib/softhsm/libsofthsm2.so")
            words = {name: unquote(facts[name]) for name in ("token", "serial", "object") if name in facts}
            pin = facts.get("pin-source")
            return cls(
                Path(unquote(facts["module-path"])),
                id=unquote_to_bytes(facts["id"]) if "id" in facts else None,
                pin_file=Path(unquote(pin).removeprefix("file:")) if pin else None,
                **words,
            )
        except ValueError as error:
            raise ProvenanceError(f"cannot use the address {address.partition('?')[0]}: {error}") from error


_PAUSES: Final = (0.05, 0.1, 0.2)
"""Seconds before a token that was not there is looked for again."""


@dataclass
class TokenKey:
    """A private key in a token: opened at the first signature, one signature at a time."""

    address: TokenAddress
    algorithm: str
    pin: str | None = field(default=None, repr=False)
    _key: Any = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def sign(self, message: bytes) -> bytes:
        """The signature over a message: r||s, PSS, or Ed25519.

        Raises:
            ProvenanceError: when the token, or the key in it, cannot be used.
        """
        try:
            import pkcs11
        except ImportError as error:
            raise ProvenanceError("signing with a token needs: pip install 'countermark[token]'") from error
        with self._lock:
            try:
                if self._key is None:
                    self._key = self._open(pkcs11)
                return self._signature(pkcs11, message)
            except pkcs11.exceptions.PKCS11Error as error:
                self._key = None
                where, said = self.address.token or self.address.serial, str(error) or type(error).__name__
                raise ProvenanceError(f"the token {where} did not sign: {said}") from error

    def _open(self, pkcs11: Any) -> Any:
        """The key; tried again where the token is not there: another process may just be opening it.

        SoftHSM writes to a token when somebody logs in, and others who start then find it damaged, or not at all: of
        three that start at once one in seven did, and none a moment later. A wrong PIN is never tried again.
        """
        for pause in (*_PAUSES, None):
            library = None
            try:
                library = pkcs11.lib(str(self.address.module))
                return self._opened(pkcs11, library)
            except (pkcs11.exceptions.NoSuchToken, pkcs11.exceptions.GeneralError):
                if pause is None:
                    raise
                time.sleep(pause)
                if library is not None:
                    library.reinitialize()
        raise AssertionError("the last try returns or raises")

    def _opened(self, pkcs11: Any, library: Any) -> Any:
        where = self.address
        token = library.get_token(token_label=where.token, token_serial=where.serial and where.serial.encode())
        pin = self._pin()
        try:
            session = token.open(user_pin=pin)
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            # A login is the whole process's: another key of this token was used before.
            session = token.open()
        return session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=where.object, id=where.id)

    def _pin(self) -> str | None:
        if self.pin is not None or self.address.pin_file is None:
            return self.pin
        return read_small(self.address.pin_file, most_bytes=4096).decode("utf-8", "replace").strip()

    def _signature(self, pkcs11: Any, message: bytes) -> bytes:
        if self.algorithm == "ed25519":
            return bytes(self._key.sign(message, mechanism=pkcs11.Mechanism.EDDSA))
        bits = self.algorithm[-3:]
        digest = _HASHES[bits](message)
        if self.algorithm.startswith("es"):
            # Hashed here: SoftHSM and many cards know the plain mechanism only.
            return bytes(self._key.sign(digest.digest(), mechanism=pkcs11.Mechanism.ECDSA))
        kind = getattr(pkcs11.Mechanism, f"SHA{bits}")
        parameters = (kind, getattr(pkcs11.MGF, f"SHA{bits}"), digest.digest_size)
        mechanism = pkcs11.Mechanism.RSA_PKCS_PSS
        return bytes(self._key.sign(digest.digest(), mechanism=mechanism, mechanism_param=parameters))


def token_identity(
    address: str, chain: Path, *, pin: str | None = None, time_stamp_url: str | None = None
) -> SigningIdentity:
    """An identity whose key stays in its token.

    Args:
        address: `pkcs11:token=...;object=...?module-path=...`.
        chain: PEM of the signer's certificate, then every issuing CA.
        pin: of the user; None reads `pin-source`, and without one the token is opened without a login.
        time_stamp_url: a time-stamp authority to ask at each signing.

    Raises:
        ProvenanceError: for an address or a chain that cannot be used. The token is asked at the first signature only.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificates = x509.load_pem_x509_certificates(read_small(chain))
    except ValueError as error:
        raise ProvenanceError(f"{chain} holds no PEM certificate; give the signer's chain, signer first") from error
    algorithm = algorithm_of(certificates[0].public_key())
    key = TokenKey(TokenAddress.parse(address), algorithm, pin)
    sent = [one for position, one in enumerate(certificates) if position == 0 or one.issuer != one.subject]
    return SigningIdentity.from_callback(
        key.sign,
        chain_pem="".join(one.public_bytes(Encoding.PEM).decode() for one in sent),
        algorithm=algorithm,
        time_stamp_url=time_stamp_url,
    )
