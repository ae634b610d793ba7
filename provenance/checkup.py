"""Is the signing identity in order? Each check says what it found and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provenance.credential import library_versions
from provenance.errors import ProvenanceError
from provenance.identity import CHAIN, KEY, RENEW_DAYS, ROOT, SigningIdentity, readable_by_others
from provenance.trust import EXTENDED_KEY_USAGES, TrustAnchors, identity_folder, judge_chain

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PINNED_C2PA: Final = "0.38.1"
"""The version that the rules of `provenance.credential` were found with."""
LONGEST_DAYS: Final = 366


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    result: str
    """`ok`, `warning` or `fault`."""
    finding: str
    advice: str | None = None

    def __post_init__(self) -> None:
        """Refuse results that nobody can act on."""
        if self.result not in ("ok", "warning", "fault"):
            raise ValueError(f"result must be ok, warning or fault, got {self.result!r}")

    def to_json(self) -> dict[str, object]:
        """The check as plain JSON values."""
        return {"result": self.result, "finding": self.finding, "advice": self.advice}


def check_up(*, chain: Path | None = None, key: Path | None = None, folder: Path | None = None) -> list[Check]:
    """Look at an identity, without changing anything.

    Args:
        chain: certificate chain of the user's own identity.
        key: its key.
        folder: a development identity; None for this user's.

    Raises:
        ProvenanceError: when only one of chain and key is given.
    """
    if (chain is None) != (key is None):
        raise ProvenanceError("a chain and a key belong together; give both")
    checks = [_library()]
    own = chain is not None and key is not None
    home = folder or identity_folder()
    chain_path, key_path = (chain, key) if chain is not None and key is not None else (home / CHAIN, home / KEY)
    if not own and not home.is_dir():
        advice = "nothing to do: the first signing makes one; or run keygen"
        return [*checks, Check("warning", f"there is no development identity in {home}", advice)]
    try:
        identity = SigningIdentity.from_files(chain_path, key_path)
    except ProvenanceError as error:
        advice = "give other files" if own else f"move {home} away; the next signing makes a new identity"
        return [*checks, Check("fault", str(error), advice)]
    checks.append(Check("ok", f"{key_path} fits {chain_path} and signs with {identity.algorithm}"))
    checks += [_permissions(path) for path in ([key_path] if own else sorted(home.glob("*.key")))]
    certificates = identity.certificates()
    checks += [_expiry(certificates[0], renews=not own), _length(certificates[0]), _usages(certificates[0])]
    return [*checks, _chain(certificates, None if own else home / ROOT)]


def _library() -> Check:
    try:
        found, core = library_versions()
    except ProvenanceError as error:
        return Check("fault", str(error), f"pip install c2pa-python=={PINNED_C2PA}")
    if found != PINNED_C2PA:
        advice = f"pip install c2pa-python=={PINNED_C2PA}: other versions judge differently"
        return Check("fault", f"c2pa-python is {found}, not {PINNED_C2PA}", advice)
    return Check("ok", f"c2pa-python {found}, on c2pa-rs {core}")


def _permissions(key: Path) -> Check:
    try:
        if readable_by_others(key):
            return Check("fault", f"{key} can be read by other users", f"chmod 600 {key}")
    except OSError as error:
        return Check("fault", f"cannot look at {key}: {error.strerror or error}", "check the path")
    return Check("ok", f"{key} is readable by you only")


def _expiry(leaf: Certificate, *, renews: bool) -> Check:
    end, now = leaf.not_valid_after_utc, datetime.now(UTC)
    advice = "the next signing renews it" if renews else "ask your authority for a new certificate"
    if now < leaf.not_valid_before_utc:
        return Check(
            "fault", f"the signer's certificate begins on {leaf.not_valid_before_utc:%Y-%m-%d}", "check the clock"
        )
    if now > end:
        return Check("warning" if renews else "fault", f"the signer's certificate ended on {end:%Y-%m-%d}", advice)
    if (end - now).days < RENEW_DAYS:
        return Check("warning", f"the signer's certificate ends on {end:%Y-%m-%d}", advice)
    return Check("ok", f"the signer's certificate is valid until {end:%Y-%m-%d}")


def _length(leaf: Certificate) -> Check:
    days = (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days
    if days > LONGEST_DAYS:
        return Check("warning", f"the signer's certificate is valid for {days} days", "C2PA wants 366 at most")
    return Check("ok", f"the signer's certificate is valid for {days} days in all")


def _usages(leaf: Certificate) -> Check:
    from cryptography import x509

    advice = f"it needs digitalSignature, and one of the extended usages {', '.join(EXTENDED_KEY_USAGES)}"
    try:
        named = {one.dotted_string for one in leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
        signs = leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return Check("fault", "the signer's certificate does not state its usages", advice)
    if not signs or not named & set(EXTENDED_KEY_USAGES):
        return Check("fault", "the signer's certificate is not for signing credentials", advice)
    if named == {EXTENDED_KEY_USAGES[0]}:
        advice = "readers want emailProtection or documentSigning beside C2PA claim signing"
        return Check("fault", "the signer's certificate has the C2PA usage alone", advice)
    return Check("ok", "the signer's certificate may sign credentials")


def _chain(certificates: list[Certificate], root: Path | None) -> Check:
    if root is not None:
        from provenance.trust import TrustList

        try:
            trust = TrustAnchors((TrustList("its own root", "urn:countermark:trust:checkup", root.read_text()),))
        except (OSError, ValueError) as error:
            return Check(
                "fault", f"cannot use {root}: {error}", "move the folder away; the next signing makes a new one"
            )
        verdict = judge_chain(certificates, trust)
        if verdict.vouched_by is None and verdict.fault != "signingCredential.expired":
            return Check("fault", f"the chain does not lead to {root}", "move the folder away and make a new identity")
        return Check("ok", "the chain leads to its root; this machine believes it, others need root.pem")
    verdict = judge_chain(certificates, TrustAnchors.none())
    if verdict.fault == "signingCredential.invalid":
        return Check("fault", "the chain does not hold together", "give the signer first, then its issuers in order")
    if len(certificates) == 1 and certificates[0].issuer == certificates[0].subject:
        return Check("fault", "the certificate is signed by itself", "C2PA wants one issued by an authority")
    return Check("ok", f"the chain of {len(certificates)} certificates holds together")
