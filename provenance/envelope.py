"""An in-toto statement in its DSSE envelope (v1): one signature over type and content, and the chain of who signed.

envelope = signed_envelope(payload, identity)
certificates, payload, signature = parse_envelope(envelope)
signature_holds(certificates[0].public_key(), signature, pre_authentication(payload))
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Final

from provenance.identity import SigningIdentity
from provenance.signatures import sign_bytes

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
LARGEST_STATEMENT_BYTES: Final = 1 << 30


def pre_authentication(payload: bytes) -> bytes:
    """The bytes that DSSE signs: they hold the type too, so that a payload cannot be passed off as another kind."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def signed_envelope(payload: bytes, identity: SigningIdentity) -> bytes:
    """A signed statement, as it is written to a file.

    Raises:
        ProvenanceError: when it cannot be signed.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    certificates = identity.certificates()
    public = certificates[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = sign_bytes(identity, pre_authentication(payload))
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": hashlib.sha256(public).hexdigest(),
                "sig": base64.b64encode(signature).decode(),
                "certificates": [one.public_bytes(Encoding.PEM).decode() for one in certificates],
            }
        ],
    }
    return (json.dumps(envelope, indent=1) + "\n").encode()


def parse_envelope(content: bytes) -> tuple[list[Certificate], bytes, bytes]:
    """Certificates (signer first), payload and signature.

    Raises:
        ValueError: for anything that is not an envelope of ours.
    """
    from cryptography import x509

    envelope = json.loads(content)
    if not isinstance(envelope, dict) or envelope.get("payloadType") != PAYLOAD_TYPE:
        raise ValueError("it is not an in-toto statement")
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise ValueError("it must hold exactly one signature")
    sent = signatures[0].get("certificates")
    if not isinstance(sent, list) or not 1 <= len(sent) <= 8:
        raise ValueError("it brings no certificate chain")
    certificates = [x509.load_pem_x509_certificate(str(pem).encode()) for pem in sent]
    payload = base64.b64decode(str(envelope.get("payload")), validate=True)
    return certificates, payload, base64.b64decode(str(signatures[0].get("sig")), validate=True)
