"""A certificate that names an authority to ask about it, and that authority, for as long as a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from local_server import serving

from provenance.identity import SigningIdentity, create_identity


class Authority:
    """Answers whether its one certificate was revoked, and counts who asks."""

    def __init__(self, folder: Path) -> None:
        create_identity(folder)
        self.folder, self.asked = folder, 0
        self.is_revoked = self.answers_itself = False
        self.leaf, self.issuer = x509.load_pem_x509_certificates((folder / "chain.pem").read_bytes())
        key = load_pem_private_key((folder / "issuer.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key
        self.responder_key = ec.generate_private_key(ec.SECP256R1())
        self.responder = self._responder()

    def identity(self, url: str) -> SigningIdentity:
        """The signer, with a certificate that says whom to ask."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.leaf.subject)
            .issuer_name(self.leaf.issuer)
            .public_key(self.leaf.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.leaf.not_valid_before_utc)
            .not_valid_after(self.leaf.not_valid_after_utc)
        )
        for extension in self.leaf.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        where = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
        self.leaf = builder.add_extension(x509.AuthorityInformationAccess([where]), critical=False).sign(
            self.key, hashes.SHA256()
        )
        pem = self.leaf.public_bytes(Encoding.PEM) + self.issuer.public_bytes(Encoding.PEM)
        (self.folder / "asking.pem").write_bytes(pem)
        return SigningIdentity.from_files(self.folder / "asking.pem", self.folder / "signer.key")

    def _responder(self) -> x509.Certificate:
        """Whom the issuing CA lets answer for it."""
        public = self.responder_key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test responder")]))
            .issuer_name(self.issuer.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.leaf.not_valid_before_utc)
            .not_valid_after(self.leaf.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issuer.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def answer(self) -> bytes:
        """An OCSP response about the certificate."""
        now = datetime.now(UTC)
        who, key = (self.issuer, self.key) if self.answers_itself else (self.responder, self.responder_key)
        return (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=self.leaf,
                issuer=self.issuer,
                algorithm=hashes.SHA1(),
                cert_status=ocsp.OCSPCertStatus.REVOKED if self.is_revoked else ocsp.OCSPCertStatus.GOOD,
                this_update=now - timedelta(minutes=1),
                next_update=now + timedelta(days=1),
                revocation_time=now - timedelta(days=1) if self.is_revoked else None,
                revocation_reason=x509.ReasonFlags.key_compromise if self.is_revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, who)
            .certificates([who])
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )


@contextmanager
def served(authority: Authority) -> Iterator[str]:
    """Serve the authority's answers; gives its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            authority.asked += 1
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = authority.answer()
            self.send_response(200)
            self.send_header("Content-Type", "application/ocsp-response")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

    with serving(Answer) as address:
        yield f"{address}/"
