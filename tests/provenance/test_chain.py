"""What a credential tells beyond its own file: updates, removed statements, certificates and time."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa
import pytest
from time_stamps import time_stamp_authority
from typer.testing import CliRunner

from provenance.chain import Manifests, Redaction
from provenance.claims import Claim, SourceType
from provenance.cli import app
from provenance.credential import Credential, Standing, read_credential, strict_settings
from provenance.identity import development_identity
from provenance.judging import judge
from provenance.reading import Findings
from provenance.signing import sign_file
from provenance.trust import TrustAnchors, TrustList

CAPTURED = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
LISTED = TrustAnchors((TrustList("newsroom", "urn:news", "-----BEGIN CERTIFICATE-----"),))


def build(manifest: dict[str, Any], source: Path, target: Path, *, parent: bool = False, update: bool = False) -> None:
    """Sign with the C2PA library alone, as other programs do."""
    identity = development_identity(notify=lambda line: None)
    information = c2pa.C2paSignerInfo(b"es256", identity.chain_pem.encode(), identity.key_pem, None)
    whole = {"claim_generator_info": [{"name": "another program", "version": "1"}], **manifest}
    settings = strict_settings(TrustAnchors.default())
    with (
        c2pa.Builder(json.dumps(whole), c2pa.Context.from_dict(settings)) as builder,
        source.open("rb") as reading,
        target.open("w+b") as writing,
    ):
        if update:
            builder.set_intent(c2pa.C2paBuilderIntent.UPDATE)
        if parent:
            with source.open("rb") as stream:
                facts = {"title": "first.jpg", "relationship": "parentOf", "label": "first"}
                builder.add_ingredient(facts, "image/jpeg", stream)
        builder.sign(c2pa.Signer.from_info(information), "image/jpeg", reading, writing)


def statements(*actions: dict[str, Any], **others: Any) -> dict[str, Any]:
    more = [{"label": label.replace("_", "."), "data": data} for label, data in others.items()]
    done = {"label": "c2pa.actions.v2", "created": True, "data": {"actions": list(actions)}}
    return {"assertions": [done, *more]}


@pytest.fixture
def first(originals: dict[str, Path], tmp_path: Path) -> Path:
    """A photo that says where it was taken."""
    made = {"action": "c2pa.created", "digitalSourceType": CAPTURED}
    build(statements(made, org_test_place={"where": "at home"}), originals["clip.jpg"], tmp_path / "first.jpg")
    return tmp_path / "first.jpg"


def manifest_label(path: Path) -> str:
    context = c2pa.Context.from_dict(strict_settings(TrustAnchors.none()))
    with path.open("rb") as stream, c2pa.Reader("image/jpeg", stream, context=context) as reader:
        return str(json.loads(reader.json())["active_manifest"])


def test_a_removed_statement_is_told_with_its_reason(first: Path, tmp_path: Path) -> None:
    label = manifest_label(first)
    address = f"self#jumbf=/c2pa/{label}/c2pa.assertions/org.test.place"
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["first"]}}
    removed = {"action": "c2pa.redacted", "reason": "c2pa.PII.present", "parameters": {"redacted": address}}
    build({"redactions": [address], **statements(opened, removed)}, first, tmp_path / "second.jpg", parent=True)
    credential = read_credential(tmp_path / "second.jpg")
    assert credential.standing is Standing.TRUSTED
    assert credential.redactions == (Redaction("org.test.place", label, "c2pa.PII.present"),)
    assert b"at home" not in (tmp_path / "second.jpg").read_bytes()
    tree = CliRunner().invoke(app, ["show", str(tmp_path / "second.jpg")]).stdout
    assert f"removed org.test.place from {label} because c2pa.PII.present" in tree
    assert "made from first.jpg" in tree


def test_an_update_is_told_from_an_edit(first: Path, tmp_path: Path) -> None:
    build({"assertions": []}, first, tmp_path / "updated.jpg", update=True)
    credential = read_credential(tmp_path / "updated.jpg")
    assert (credential.standing, credential.is_update) == (Standing.TRUSTED, True)
    assert credential.declares_synthetic is False, "what the photo is, its first credential says"
    sign_file(tmp_path / "updated.jpg", tmp_path / "edited.jpg", Claim(source_type=SourceType.HUMAN_EDITS))
    edited = read_credential(tmp_path / "edited.jpg")
    assert (edited.is_update, edited.ingredients[0].is_update) == (False, True)
    assert Credential.from_json(json.loads(json.dumps(edited.to_json()))) == edited
    for name in ("updated.jpg", "edited.jpg"):
        assert "an update: it adds statements" in CliRunner().invoke(app, ["show", str(tmp_path / name)]).stdout


def test_the_public_update_is_read_as_one(data_pack: Path) -> None:
    credential = read_credential(data_pack / "c2pa" / "c2pa-rs__update_manifest.jpg")
    assert credential.is_update
    assert [one.relationship for one in credential.ingredients] == ["parentOf"]


def test_certificate_time_and_checks_are_told(originals: dict[str, Path], tmp_path: Path) -> None:
    identity = development_identity(notify=lambda line: None)
    claim = Claim(source_type=SourceType.DIGITAL_CAPTURE)
    with time_stamp_authority(tmp_path) as url:
        stamping = replace(identity, time_stamp_url=url)
        sign_file(originals["clip.jpg"], tmp_path / "a.jpg", claim, identity=stamping)
    plain = read_credential(tmp_path / "a.jpg")
    assert plain.certificate is not None
    assert plain.certificate.algorithm == "es256"
    assert (plain.certificate.not_after or "")[:10] == f"{identity.certificates()[0].not_valid_after_utc:%Y-%m-%d}"
    assert "Countermark development CA" in (plain.certificate.issuer or "")
    assert plain.time_stamp is not None
    assert (plain.time_stamp.authority, plain.time_stamp.trust_list) == ("test time-stamp stamper", None)
    assert plain.signed_at is None
    assert plain.revocation == "not_asked"
    believed = read_credential(tmp_path / "a.jpg", trust=TrustAnchors.default(time_stamps=[tmp_path / "tsa-root.pem"]))
    assert believed.time_stamp is not None
    assert believed.time_stamp.trust_list == "tsa-root.pem"
    assert believed.signed_at == believed.time_stamp.at
    results = {check.code: check.result for check in believed.checks}
    assert results["assertion.dataHash.match"] == results["timeStamp.trusted"] == "holds"
    assert results["signingCredential.ocsp.skipped"] == "remark"
    assert all(check.meaning for check in believed.checks)


def findings(not_after: datetime, explanation: str) -> Findings:
    """A file that the C2PA library trusts, with a certificate and a time-stamp of our choice."""
    success = [
        {"code": "signingCredential.trusted", "explanation": "found in [urn:news] trust anchors"},
        {"code": "timeStamp.trusted", "explanation": explanation},
    ]
    report = {
        "active_manifest": "m",
        "manifests": {"m": {"signature_info": {"common_name": "Anna"}}},
        "validation_results": {"activeManifest": {"success": success}},
        "validation_state": "Trusted",
    }
    certificate = {"validity": {"notAfter": not_after.isoformat()}}
    stamp = {"timestamp": "2024-01-01T00:00:00+00:00", "certificateInfo": {"subject": {"CN": "Stamps Ltd"}}}
    return Findings(
        report=report, details={"m": {"signature": {"certificateInfo": certificate, "timeStampInfo": stamp}}}
    )


@pytest.mark.parametrize(
    ("days", "explanation", "standing", "words"),
    [
        (30, "legacy timestamp cert trusted: Stamps Ltd", Standing.TRUSTED, "the date is not proven"),
        (-30, "legacy timestamp cert trusted: Stamps Ltd", Standing.UNKNOWN_SIGNER, "got hold of an old key"),
        (-30, "timestamp cert trusted: Stamps Ltd, trust list: urn:news", Standing.TRUSTED, "signed before"),
        (-30, "timestamp cert trusted: Stamps Ltd, trust list: urn:else", Standing.UNKNOWN_SIGNER, "old key"),
        (
            -30,
            "legacy timestamp cert trusted: timestamp cert trusted: x, trust list: urn:news",
            Standing.UNKNOWN_SIGNER,
            "old key",
        ),
    ],
)
def test_an_old_certificate_counts_only_with_a_time_that_a_list_vouches_for(
    days: int, explanation: str, standing: Standing, words: str
) -> None:
    end = datetime.now(UTC) + timedelta(days=days)
    credential = judge(Path("a.jpg"), "0" * 64, "image/jpeg", findings(end, explanation), LISTED)
    assert credential.standing is standing
    assert words in " ".join(credential.reasons)
    assert ("signingCredential.expired" in credential.validation_codes) is (standing is not Standing.TRUSTED)
    assert (credential.trust_list is None) is (standing is not Standing.TRUSTED)


def test_nonsense_about_removed_statements_is_survived() -> None:
    claims: dict[str, Any] = {
        "a": {"claim": {"redacted_assertions": ["", 7, "x/y", None]}},
        "b": {"claim.v2": 3},
        "c": {},
    }
    manifests = Manifests({}, claims)
    assert [one.statement for one in manifests.redactions("a")] == ["", "", "y", ""]
    assert manifests.redactions("b") == manifests.redactions("c") == manifests.redactions("d") == ()
    assert not manifests.is_update("d")
