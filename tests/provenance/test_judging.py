"""What is made of the library's report: rules of belief that no file at hand would break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provenance.credential import Credential, Standing
from provenance.judging import judge
from provenance.reading import Findings
from provenance.trust import TrustAnchors, TrustList

PEM = "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n"
SIGNERS = TrustList("signers.pem", "urn:signers", PEM)
STAMPS = TrustList("stamps.pem", "urn:stamps", PEM, "tsa")
TRUST = TrustAnchors((SIGNERS, STAMPS))
CLAIM = "self#jumbf=/c2pa/urn:c2pa:1/c2pa.signature"
CREATOR = "self#jumbf=/c2pa/urn:c2pa:1/c2pa.assertions/cawg.identity"
SIGNED = ("claimSignature.validated", CLAIM, "")
UNCHANGED = ("assertion.dataHash.match", CLAIM.replace("signature", "assertions/c2pa.hash.data"), "")


def trusted_by(uri: str, of: str = CLAIM) -> tuple[str, str, str]:
    return "signingCredential.trusted", of, f"signing certificate trusted, found in [{uri}] trust anchors"


def judged(
    state: str,
    success: list[tuple[str, str, str]],
    failure: list[tuple[str, str, str]] | None = None,
    *,
    statements: list[dict[str, Any]] | None = None,
    detail: dict[str, Any] | None = None,
    listed: str = "urn:signers",
) -> Credential:
    told = {
        name: [{"code": code, "url": url, "explanation": words} for code, url, words in given or []]
        for name, given in (("success", success), ("failure", failure))
    }
    manifest = {"signature_info": {"common_name": "Anna"}, "assertions": statements or []}
    report = {
        "active_manifest": "urn:c2pa:1",
        "manifests": {"urn:c2pa:1": manifest},
        "validation_state": state,
        "validation_results": {"activeManifest": told, "trustListUri": listed},
    }
    details = {"urn:c2pa:1": detail} if detail else {}
    return judge(Path("a.png"), "", "image/png", Findings(report=report, details=details), TRUST)


def test_a_signer_on_a_list_of_signers_is_trusted() -> None:
    credential = judged("Trusted", [SIGNED, trusted_by("urn:signers")])
    assert (credential.standing, credential.trust_list) == (Standing.TRUSTED, "signers.pem")


@pytest.mark.parametrize(
    "success",
    [
        [SIGNED, trusted_by("urn:stamps")],
        [SIGNED, trusted_by("urn:signers", of=CREATOR)],
        [SIGNED, trusted_by("urn:stamps"), trusted_by("urn:signers", of=CREATOR)],
        [SIGNED, ("signingCredential.trusted", CLAIM, "found in [urn:signers] trust anchors, as he says")],
        [SIGNED],
    ],
)
def test_the_list_must_vouch_for_the_claims_own_signer(success: list[tuple[str, str, str]]) -> None:
    # the library names one list for the whole file, whosever signature it was that matched it
    assert judged("Trusted", success).standing is Standing.UNKNOWN_SIGNER


@pytest.mark.parametrize(("of", "is_believed"), [(CLAIM, True), (CREATOR, False)])
def test_a_time_stamp_of_a_named_creator_is_not_that_of_the_claim(of: str, is_believed: bool) -> None:
    stamp = {"signature": {"timeStampInfo": {"timestamp": "2026-01-01T00:00:00+00:00"}}}
    vouched = ("timeStamp.trusted", of, "timestamp cert trusted: TSA, trust list: urn:stamps")
    credential = judged("Trusted", [SIGNED, trusted_by("urn:signers"), vouched], detail=stamp)
    assert (credential.signed_at is not None) is is_believed


@pytest.mark.parametrize(
    ("success", "failure", "belief"),
    [
        ([("cawg.x509.credential.trusted", CREATOR, "")], [], "whom a list vouches for"),
        ([], [("cawg.x509.credential.untrusted", CREATOR, "")], "whom no list vouches for"),
        ([], [], "whom no list vouches for"),
        (
            [("cawg.x509.credential.trusted", CREATOR, "")],
            [("cawg.x509.signature.mismatch", CREATOR, "")],
            "but the named creator's signature does not fit",
        ),
    ],
)
def test_a_named_creator_is_told_and_by_whose_word(
    success: list[tuple[str, str, str]], failure: list[tuple[str, str, str]], belief: str
) -> None:
    creator = {"label": "cawg.identity", "data": {"signature_info": {"common_name": "Ben", "issuer": "Paper"}}}
    credential = judged("Valid", [SIGNED, *success], failure, statements=[creator])
    assert credential.reasons[-1] == f"it names a creator beside its signer, {belief}: 'Ben (Paper)'"


def test_creators_that_were_confirmed_by_others_are_named() -> None:
    people = [{"username": "ben", "provider": {"name": "Photo Site"}}, {"name": "Ben"}, "no table", {}]
    creator = {"label": "cawg.identity__1", "data": {"credentialSubject": {"verifiedIdentities": people}}}
    reasons = judged("Valid", [SIGNED], statements=[creator]).reasons
    assert [reason.split("'")[1] for reason in reasons if "names a creator" in reason] == ["ben (Photo Site)", "Ben"]


@pytest.mark.parametrize(
    ("success", "failures", "is_told"),
    [
        ([SIGNED, UNCHANGED], ["signingCredential.expired", "signingCredential.untrusted"], True),
        ([SIGNED], ["signingCredential.expired"], False),
        ([SIGNED, UNCHANGED], ["signingCredential.expired", "assertion.hashedURI.mismatch"], False),
    ],
)
def test_a_credential_that_has_only_expired_is_told_to_hold_apart_from_that(
    success: list[tuple[str, str, str]], failures: list[str], is_told: bool
) -> None:
    credential = judged("Invalid", success, [(code, CLAIM, "") for code in failures])
    assert credential.standing is Standing.BROKEN
    assert any("apart from that it holds" in reason for reason in credential.reasons) is is_told


def test_a_file_that_points_elsewhere_says_where() -> None:
    found = Findings(remote="https://example.org/m")
    credential = judge(Path("a.png"), "", "image/png", found, TRUST)
    assert (credential.standing, credential.points_to) == (Standing.ABSENT, "https://example.org/m")
    assert Credential.from_json(credential.to_json()) == credential
