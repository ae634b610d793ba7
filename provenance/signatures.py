"""Plain signatures over bytes, by the same identities that sign media."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provenance.errors import ProvenanceError
from provenance.identity import SigningIdentity, algorithm_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

_COORDINATE_BYTES: Final = {"es256": 32, "es384": 48, "es512": 66}


def sign_bytes(identity: SigningIdentity, message: bytes) -> bytes:
    """The signature over a message: ECDSA as DER, RSA as PSS, Ed25519 as it is.

    Raises:
        ProvenanceError: when what came back does not fit the identity's certificate. What a callback raises is raised.
    """
    public_key = identity.certificates()[0].public_key()
    signature = identity.callback(message) if identity.callback else _sign_with_key(identity, message)
    for candidate in (signature, _der_of(signature, identity.algorithm)):
        if candidate is not None and signature_holds(public_key, candidate, message):
            return candidate
    raise ProvenanceError("the signing callback returned a signature that does not fit the certificate; check the key")


def signature_holds(public_key: object, signature: bytes, message: bytes) -> bool:
    """Whether a signature over a message was made with the private half of this public key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        algorithm = algorithm_of(public_key)
        if isinstance(public_key, ed25519.Ed25519PublicKey):
            public_key.verify(signature, message)
        elif isinstance(public_key, ec.EllipticCurvePublicKey):
            public_key.verify(signature, message, ec.ECDSA(_hash_of(algorithm)))
        elif isinstance(public_key, rsa.RSAPublicKey):
            # One RSA key serves PS256, PS384 and PS512; the signer chose.
            kinds = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
            return any(_pss_holds(public_key, signature, message, kind) for kind in kinds)
    except (InvalidSignature, ProvenanceError):
        return False
    return True


def _pss_holds(public_key: RSAPublicKey, signature: bytes, message: bytes, kind: HashAlgorithm) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        public_key.verify(signature, message, padding.PSS(padding.MGF1(kind), kind.digest_size), kind)
    except InvalidSignature:
        return False
    return True


def _sign_with_key(identity: SigningIdentity, message: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    assert identity.key_pem is not None, "the constructor of SigningIdentity sees to it"
    key = load_pem_private_key(identity.key_pem, None)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    kind = _hash_of(identity.algorithm)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(kind))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PSS(padding.MGF1(kind), kind.digest_size), kind)
    raise ProvenanceError(f"cannot sign with a {type(key).__name__}; use ECDSA, Ed25519 or RSA")


def _hash_of(algorithm: str) -> HashAlgorithm:
    """The hash in the name of a COSE algorithm."""
    from cryptography.hazmat.primitives import hashes

    kinds: dict[str, HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    return kinds[algorithm[-3:]]


def _der_of(signature: bytes, algorithm: str) -> bytes | None:
    """The DER form of an ECDSA signature given as r||s, the form that tokens return."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    size = _COORDINATE_BYTES.get(algorithm)
    if size is None or len(signature) != 2 * size:
        return None
    return encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
