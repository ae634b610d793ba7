"""What each status code of C2PA and CAWG means, in one plain sentence.

explain("assertion.bmffHash.mismatch")   # 'the video was changed after it was signed'

Three tables, as in the C2PA specification 2.4, "Returning validation results": what was checked and holds, what a
reader should know, and what does not hold. The codes of CAWG are those of its Identity Assertion. `OURS` are codes of
this project, and of older programs, that appear in real files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SUCCESSES: Final[Mapping[str, str]] = {
    "claimSignature.validated": "the signature fits the signed claim",
    "claimSignature.insideValidity": "the certificate was valid when, as the C2PA library takes it, it was signed",
    "signingCredential.trusted": "a trust list that was given vouches for the signer",
    "signingCredential.ocsp.notRevoked": "the signer's certificate was not revoked, its authority says",
    "timeStamp.validated": "the time-stamp belongs to this signature and is intact",
    "timeStamp.trusted": "the C2PA library accepts the authority that made the time-stamp",
    "timeOfSigning.insideValidity": "the stated time of signing lies within the validity of the certificate",
    "assertion.hashedURI.match": "a statement in the credential is unchanged",
    "assertion.dataHash.match": "the content is unchanged",
    "assertion.bmffHash.match": "the video is unchanged",
    "assertion.boxesHash.match": "every part of the picture is unchanged",
    "assertion.collectionHash.match": "every file of the collection is unchanged",
    "assertion.multiAssetHash.match": "every part of the file is unchanged",
    "assertion.accessible": "a statement kept elsewhere was reached",
    "ingredient.manifest.validated": "the credential of an ingredient is unchanged",
    "ingredient.claimSignature.validated": "the signature of an ingredient's credential is unchanged",
    "cawg.identity.well-formed": "the named creator's identity is well formed",
    "cawg.identity.trusted": "a list vouches for the identity of the named creator",
    "cawg.x509.signature.validated": "the named creator's signature fits",
    "cawg.x509.credential.trusted": "a list vouches for the named creator's certificate",
    "cawg.ica.credential_valid": "the named creator's identity credential is valid",
    "cawg.ica.time_stamp.validated": "the time-stamp of the named creator's identity is intact",
}
"""Checked, and it holds."""

REMARKS: Final[Mapping[str, str]] = {
    "signingCredential.ocsp.skipped": "whether the signer's certificate was revoked was not asked",
    "signingCredential.ocsp.inaccessible": "whether the signer's certificate was revoked could not be asked",
    "timeStamp.mismatch": "the time-stamp belongs to something else, so it proves no time",
    "timeStamp.malformed": "the time-stamp is damaged, so it proves no time",
    "timeStamp.outsideValidity": "the time-stamp was made outside the validity of its authority, so it proves no time",
    "timeStamp.untrusted": "the time-stamp comes from an authority that no list vouches for",
    "timeOfSigning.outsideValidity": "the stated time of signing lies outside the validity of the certificate",
    "manifest.unknownProvenance": "a credential of a kind that this reader does not know is in the file",
    "manifest.unreferenced": "the file carries a credential that nothing refers to",
    "ingredient.unknownProvenance": "an ingredient came without a credential that can be read",
    "algorithm.deprecated": "it was signed with an algorithm that is going out of use",
    "assertion.dataHash.additionalExclusionsPresent": "more parts than usual are left out of the check of the content",
    "assertion.bmffHash.additionalExclusionsPresent": "more parts than usual are left out of the check of the video",
    "assertion.boxesHash.additionalExclusionsPresent": "more parts than usual are left out of the check of the picture",
}
"""Worth knowing; the credential holds all the same."""

FAILURES: Final[Mapping[str, str]] = {
    "claim.missing": "the signed claim is missing",
    "claim.multiple": "the credential holds more than one claim",
    "claim.malformed": "the signed claim is malformed",
    "claim.cbor.invalid": "the signed claim is damaged",
    "claim.required.missing": "the signed claim lacks a part that every claim must have",
    "claim.hardBindings.missing": "nothing ties the credential to the content of the file",
    "claim.hardBindings.multiple": "more than one statement ties the credential to the file",
    "claimSignature.missing": "the signature is missing",
    "claimSignature.mismatch": "the signature does not fit the signed claim",
    "claimSignature.outsideValidity": "it was signed outside the validity of the signer's certificate",
    "signingCredential.untrusted": "no trust list that was given vouches for the signer",
    "signingCredential.invalid": "the signer's certificate is not one that may sign credentials",
    "signingCredential.expired": "the signer's certificate has expired, and no trusted time-stamp proves an older date",
    "signingCredential.revoked": "the signer's certificate was revoked",
    "signingCredential.ocsp.revoked": "the signer's certificate was revoked",
    "signingCredential.ocsp.unknown": "the signer's authority does not know the certificate",
    "manifest.inaccessible": "the credential is elsewhere and was not fetched",
    "manifest.multipleParents": "the credential names more than one parent",
    "manifest.update.invalid": "the update of the credential is not an allowed one",
    "manifest.update.wrongParents": "the update of the credential does not name the one credential that it updates",
    "manifest.timestamp.invalid": "a credential that may only add a time says more than that",
    "manifest.timestamp.wrongParents": "a credential that may only add a time does not name the one it is for",
    "manifest.compressed.invalid": "the packed credential cannot be unpacked",
    "assertion.hashedURI.mismatch": "a statement in the credential was changed after it was signed",
    "assertion.missing": "a statement that the credential refers to is missing",
    "assertion.required.missing": "a statement that every credential must have is missing",
    "assertion.undeclared": "the credential holds a statement that its signer did not sign",
    "assertion.inaccessible": "a statement of the credential cannot be reached",
    "assertion.outsideManifest": "the credential refers to a statement outside itself",
    "assertion.notRedacted": "a statement was said to be removed, and is still there",
    "assertion.selfRedacted": "the credential says that it removed a statement of its own, which is not allowed",
    "assertion.hardBinding.redacted": "what tied a credential to its content was removed, which is not allowed",
    "assertion.json.invalid": "a statement of the credential is damaged",
    "assertion.cbor.invalid": "a statement of the credential is damaged",
    "assertion.action.malformed": "the list of actions in the credential is malformed",
    "assertion.action.ingredientMismatch": "an action refers to an ingredient that is not there",
    "assertion.action.redacted": "a list of actions was removed, which is not allowed",
    "assertion.action.redactionMismatch": "an action says that a statement was removed, and none was",
    "assertion.action.softBindingMissing": "an action says that a watermark was put in, and no statement describes it",
    "assertion.dataHash.mismatch": "the content was changed after it was signed",
    "assertion.dataHash.malformed": "what ties the credential to the content is malformed",
    "assertion.dataHash.redacted": "what tied the credential to the content was removed, which is not allowed",
    "assertion.bmffHash.mismatch": "the video was changed after it was signed",
    "assertion.bmffHash.malformed": "what ties the credential to the video is malformed",
    "assertion.boxesHash.mismatch": "a part of the picture was changed after it was signed",
    "assertion.boxesHash.malformed": "what ties the credential to the picture is malformed",
    "assertion.boxesHash.unknownBox": "the picture has a part that it did not have when it was signed",
    "assertion.collectionHash.mismatch": "a file of the collection was changed after it was signed",
    "assertion.collectionHash.malformed": "the list of the collection's files is malformed",
    "assertion.collectionHash.incorrectFileCount": "the collection has more or fewer files than when it was signed",
    "assertion.collectionHash.invalidURI": "the list of the collection's files leads out of the collection",
    "assertion.multiAssetHash.mismatch": "a part of the file was changed after it was signed",
    "assertion.multiAssetHash.malformed": "the list of the file's parts is malformed",
    "assertion.multiAssetHash.missingPart": "a part of the file is missing",
    "assertion.multipleHardBindings": "more than one statement ties the credential to the file",
    "assertion.cloud-data.hardBinding": "what ties the credential to the file is kept elsewhere, which is not allowed",
    "assertion.cloud-data.actions": "an update keeps its list of actions elsewhere, which is not allowed",
    "assertion.cloud-data.malformed": "a statement kept elsewhere is malformed",
    "assertion.external-reference.malformed": "a reference to something outside the file is malformed",
    "assertion.ingredient.malformed": "what is said about an ingredient is malformed",
    "assertion.metadata.disallowed": "the metadata holds a field that is not allowed there",
    "assertion.timestamp.malformed": "a time-stamp kept as a statement is damaged",
    "ingredient.manifest.missing": "the credential of an ingredient is missing",
    "ingredient.manifest.mismatch": "the credential of an ingredient was changed",
    "ingredient.claimSignature.missing": "the signature of an ingredient's credential is missing",
    "ingredient.claimSignature.mismatch": "the signature of an ingredient's credential was changed",
    "ingredient.hashedURI.mismatch": "what is said about an ingredient was changed",
    "hashedURI.missing": "something that the credential refers to is missing",
    "hashedURI.mismatch": "something that the credential refers to was changed",
    "algorithm.unsupported": "it was signed with an algorithm that is not allowed",
    "cawg.identity.cbor.invalid": "the named creator's identity is damaged",
    "cawg.identity.assertion.mismatch": "the named creator's identity speaks of another statement than is there",
    "cawg.identity.assertion.duplicate": "the named creator's identity names one statement twice",
    "cawg.identity.credential_revoked": "the named creator's identity was revoked",
    "cawg.identity.hard_binding_missing": "the named creator's identity is not tied to the content",
    "cawg.identity.pad.invalid": "the named creator's identity is filled up in a way that is not allowed",
    "cawg.identity.sig_type.unknown": "the named creator's identity is of a kind that this reader does not know",
    "cawg.identity.expected_partial_claim.mismatch": "the named creator expected other statements than are there",
    "cawg.identity.expected_claim_generator.mismatch": "the named creator expected another program to write the claim",
    "cawg.identity.expected_countersigner.mismatch": "the named creator expected another signer beside him",
    "cawg.identity.expected_countersigner.missing": "the signer that the named creator expected is missing",
    "cawg.x509.credential.untrusted": "no list vouches for the named creator",
    "cawg.x509.credential.invalid": "the named creator's certificate is not one that may be used so",
    "cawg.x509.signature.mismatch": "the named creator's signature does not fit",
    "cawg.x509.signature.outsideValidity": "the named creator signed outside the validity of his certificate",
    "cawg.x509.algorithm.unsupported": "the named creator signed with an algorithm that is not allowed",
    "cawg.ica.untrusted_issuer": "no list vouches for who confirmed the named creator",
    "cawg.ica.signature_mismatch": "the named creator's identity does not fit the credential",
    "cawg.ica.invalid_cose_sign1": "the named creator's identity is damaged",
    "cawg.ica.invalid_alg": "the named creator's identity was signed with an algorithm that is not allowed",
    "cawg.ica.invalid_content_type": "the named creator's identity is of a kind that is not allowed",
    "cawg.ica.invalid_verifiable_credential": "the named creator's identity credential is damaged",
    "cawg.ica.invalid_issuer": "who confirmed the named creator is not named in a way that can be checked",
    "cawg.ica.did_unavailable": "the key of who confirmed the named creator cannot be reached",
    "cawg.ica.invalid_did_document": "the key of who confirmed the named creator cannot be read",
    "cawg.ica.signer_payload.mismatch": "the named creator's identity speaks of other statements than are there",
    "cawg.ica.time_stamp.invalid": "the time-stamp of the named creator's identity does not hold",
    "cawg.ica.valid_from.missing": "the named creator's identity does not say from when it is valid",
    "cawg.ica.valid_from.invalid": "the named creator's identity was not valid yet",
    "cawg.ica.valid_until.invalid": "the named creator's identity was not valid any more",
    "cawg.ica.revoked": "the named creator's identity was revoked",
    "general.error": "the file, or the credential in it, is damaged and cannot be read",
}
"""Checked, and it does not hold."""

OURS: Final[Mapping[str, str]] = {
    "com.adobe.prerelease": "the credential is of a form from before the standard, which is not read any more",
    "actions.unknownActionsPerformed": "the signer says that other changes may have been made too",
    "c2pa.unknown": "the signer says that other changes may have been made too",
    "dataset.file.changed": "a file of the dataset was changed after it was signed",
    "dataset.file.missing": "a file of the dataset is missing",
    "dataset.file.extra": "the dataset has a file that it did not have when it was signed",
    "dataset.merkle.mismatch": "the listed files do not add up to the signed root",
}
"""Of this project and of older programs."""

SENTENCES: Final[Mapping[str, str]] = {**SUCCESSES, **REMARKS, **FAILURES, **OURS}

UNTRUSTED: Final = frozenset(
    {"signingCredential.untrusted", "cawg.x509.credential.untrusted", "cawg.ica.untrusted_issuer"}
)
"""Failures that say only that nobody vouches for a signer."""


def explain(code: str) -> str:
    """One plain sentence for a status code; those of ingredients may begin with `ingredient:`."""
    name = code.removeprefix("ingredient:")
    said = SENTENCES.get(name, f"the credential fails the check {name}")
    return f"of an ingredient: {said}" if name != code else said


def is_good(code: str) -> bool:
    """Whether a code says that something holds or is worth knowing: older programs do not tell those from failures."""
    return code in SUCCESSES or code in REMARKS or code.endswith(_GOOD_ENDINGS)


_GOOD_ENDINGS: Final = (".match", ".validated", ".trusted", ".insideValidity", ".accessible", ".valid", ".skipped")
