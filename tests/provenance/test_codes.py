from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import c2pa

from provenance.codes import FAILURES, OURS, REMARKS, SENTENCES, SUCCESSES, UNTRUSTED, explain, is_good
from provenance.formats import SNIFF_BYTES, sniff_format
from provenance.reading import strict_settings
from provenance.trust import TrustAnchors

SPECIFIED = """
claimSignature.validated claimSignature.insideValidity signingCredential.trusted signingCredential.ocsp.notRevoked
timeStamp.validated timeStamp.trusted assertion.hashedURI.match assertion.dataHash.match assertion.bmffHash.match
assertion.boxesHash.match assertion.collectionHash.match assertion.multiAssetHash.match assertion.accessible
ingredient.manifest.validated ingredient.claimSignature.validated
signingCredential.ocsp.skipped signingCredential.ocsp.inaccessible timeStamp.mismatch timeStamp.malformed
timeStamp.outsideValidity timeStamp.untrusted timeOfSigning.insideValidity timeOfSigning.outsideValidity
manifest.unknownProvenance manifest.unreferenced ingredient.unknownProvenance algorithm.deprecated
assertion.dataHash.additionalExclusionsPresent assertion.bmffHash.additionalExclusionsPresent
assertion.boxesHash.additionalExclusionsPresent
claim.missing claim.multiple claim.hardBindings.missing claim.required.missing claim.cbor.invalid claim.malformed
claimSignature.missing claimSignature.mismatch claimSignature.outsideValidity ingredient.hashedURI.mismatch
signingCredential.untrusted signingCredential.invalid signingCredential.ocsp.revoked signingCredential.ocsp.unknown
signingCredential.expired manifest.inaccessible manifest.multipleParents manifest.update.invalid
manifest.update.wrongParents manifest.timestamp.invalid manifest.timestamp.wrongParents manifest.compressed.invalid
assertion.hashedURI.mismatch assertion.missing assertion.multipleHardBindings assertion.undeclared
assertion.inaccessible assertion.notRedacted assertion.selfRedacted assertion.required.missing
assertion.json.invalid assertion.cbor.invalid assertion.outsideManifest assertion.action.ingredientMismatch
assertion.action.redacted assertion.action.redactionMismatch assertion.action.malformed assertion.dataHash.mismatch
assertion.dataHash.malformed assertion.dataHash.redacted assertion.bmffHash.mismatch assertion.bmffHash.malformed
assertion.boxesHash.mismatch assertion.boxesHash.malformed assertion.boxesHash.unknownBox
assertion.cloud-data.hardBinding assertion.cloud-data.actions assertion.cloud-data.malformed
assertion.collectionHash.mismatch assertion.collectionHash.incorrectFileCount assertion.collectionHash.invalidURI
assertion.collectionHash.malformed assertion.multiAssetHash.malformed assertion.multiAssetHash.missingPart
assertion.ingredient.malformed assertion.metadata.disallowed assertion.timestamp.malformed
ingredient.manifest.missing ingredient.manifest.mismatch ingredient.claimSignature.missing
ingredient.claimSignature.mismatch hashedURI.missing hashedURI.mismatch algorithm.unsupported general.error
"""
"""The codes of the C2PA specification and of the C2PA library's list of them."""


def codes_in(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["code"]} if isinstance(value.get("code"), str) else set()
        return own.union(*(codes_in(one) for one in value.values()))
    return set().union(*(codes_in(one) for one in value)) if isinstance(value, list) else set()


def test_every_specified_code_has_a_sentence() -> None:
    assert [code for code in SPECIFIED.split() if code not in SENTENCES] == []


def test_a_sentence_is_plain_and_short() -> None:
    for code, sentence in SENTENCES.items():
        assert re.fullmatch(r"[a-z][^.:;]{10,110}", sentence), (code, sentence)
        assert not set(sentence.split()) & {"COSE", "JUMBF", "CBOR", "hash", "URI", "assertion"}, code


def test_a_code_stands_in_one_table() -> None:
    tables = (SUCCESSES, REMARKS, FAILURES, OURS)
    assert sum(map(len, tables)) == len(SENTENCES)
    assert set(FAILURES) >= UNTRUSTED


def test_unknown_codes_are_passed_on_and_those_of_ingredients_are_said_to_be() -> None:
    assert explain("assertion.bmffHash.mismatch") == "the video was changed after it was signed"
    assert "brand.new.code" in explain("brand.new.code")
    assert explain("ingredient:claimSignature.mismatch").startswith("of an ingredient: the signature")
    assert is_good("timeStamp.validated")
    assert is_good("some.new.check.match")
    assert not is_good("claimSignature.mismatch")


def test_every_code_of_the_public_fixtures_has_a_sentence(data_pack: Path) -> None:
    with (data_pack / "c2pa" / "c2pa.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]
    found: set[str] = set()
    with c2pa.Context.from_dict(strict_settings(TrustAnchors.none())) as context:
        for name in names:
            path = data_pack / "c2pa" / name
            mime = sniff_format(path.read_bytes()[:SNIFF_BYTES])
            try:
                with path.open("rb") as stream, c2pa.Reader(mime, stream, context=context) as reader:
                    found |= codes_in(json.loads(reader.json()))
            except c2pa.C2paError:
                continue
    assert len(found) > 20
    assert found - set(SENTENCES) == set()
