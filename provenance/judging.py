"""From what the C2PA library found to our answer: the standing, and why, in sentences. Nothing is opened here.

The library says Invalid, Valid or Trusted; that is not our answer yet (rules 5, 6, 9, 12 of `provenance.credential`).
What it says about time is told in words, by these rules:

1. A certificate may sign while it is valid. Afterwards, what it signed holds only with a time-stamp from before.
2. A time-stamp counts when one of our lists vouches for its authority. The library also accepts those of old claims
   whoever made them; we show them, and do not believe them: with a signer whose certificate has ended, such a file is
   of an unknown signer, whatever the library says.
3. A revoked certificate signs nothing. Whether it was is asked only when that is allowed; else the answer says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from provenance.answer import Certificate, Check, Credential, Standing, TimeStamp
from provenance.chain import (
    actions_of,
    creators_of,
    declares_synthetic,
    delta_failures,
    forbids_training,
    generator_of,
    ingredients_of,
    name_and_organisation,
    optional_text,
    record_of,
    signer_of,
    soft_bindings_of,
    stated_types,
    table,
    tables,
    text,
    walk,
)
from provenance.codes import UNTRUSTED, explain
from provenance.reading import Findings
from provenance.trust import DEVELOPMENT_MARK, DEVELOPMENT_URI, TrustAnchors


def judge(path: Path, digest: str, mime: str, found: Findings, trust: TrustAnchors) -> Credential:
    """Our answer about one file.

    Args:
        path: the file; for the answer only.
        digest: SHA-256 of the file, or nothing.
        mime: its format, by content.
        found: what the library said.
        trust: whom we believe.
    """
    if found.report is not None:
        return _judge_report(path, digest, mime, found, trust)
    if found.fault is not None and found.suspicion is not None:
        return Credential(
            file=str(path),
            sha256=digest,
            standing=Standing.BROKEN,
            format=mime,
            validation_codes=("general.error",),
            reasons=(found.suspicion, f"the reader said: {found.fault}"),
            checks=(Check("general.error", "fails", explain("general.error")),),
            explanations={"general.error": found.fault},
        )
    why = ["it never had any, or they were stripped; this says nothing either way"]
    if found.fault is not None:
        why = ["it is damaged, and no trace of any is in it", f"the reader said: {found.fault}"]
    elif found.remote is not None:
        tried = "were not fetched (countermark provenance verify --fetch-manifest asks for them)"
        if trust.lookups.remote_manifests:
            tried = "could not be fetched"
        if trust.lookups.remote_manifests and trust.lookups.hosts:
            tried = "could not be fetched, or may not be: only named hosts are asked"
        why = [f"it points to some at {found.remote}, which {tried}"]
    reasons = (f"the file carries no Content Credentials: {why[0]}", *why[1:])
    return Credential(
        file=str(path), sha256=digest, standing=Standing.ABSENT, format=mime, reasons=reasons, points_to=found.remote
    )


def _judge_report(path: Path, digest: str, mime: str, found: Findings, trust: TrustAnchors) -> Credential:
    """Standing, codes and facts out of the library's report."""
    report, manifests = table(found.report), found.manifests
    label = text(report.get("active_manifest"))
    active = manifests.labelled(label)
    results = table(report.get("validation_results"))
    own = table(results.get("activeManifest"))
    failures = [text(one.get("code")) for one in tables(own.get("failure"))]
    believed = trust.manifest_list(_trusting_list(own))
    certificate, stamp = _certificate(found.details.get(label)), _time_stamp(found.details.get(label), results, trust)
    standing = _standing(text(report.get("validation_state")), failures, believed is not None)
    if standing is Standing.TRUSTED and _has_ended(certificate) and (stamp is None or stamp.trust_list is None):
        standing, failures = Standing.UNKNOWN_SIGNER, [*failures, "signingCredential.expired"]
    ingredients = ingredients_of(active, manifests)
    faults = [*delta_failures(results), *(code for one in walk(ingredients) for code in one.faults)]
    codes = list(dict.fromkeys([*failures, *(f"ingredient:{code}" for code in faults)]))
    if standing is Standing.TRUSTED:
        codes.insert(0, "signingCredential.trusted")
    actions = actions_of(active)
    credential = Credential(
        file=str(path),
        sha256=digest,
        standing=standing,
        format=mime,
        signer=signer_of(active),
        trust_list=believed.name if believed and standing is Standing.TRUSTED else None,
        declares_synthetic=declares_synthetic(actions, ingredients),
        source_types=stated_types(actions, ingredients),
        validation_codes=tuple(codes),
        title=optional_text(active.get("title")),
        claim_generator=generator_of(active),
        signed_at=stamp.at if stamp and stamp.trust_list else None,
        time_stamp=stamp,
        certificate=certificate,
        revocation=_revocation(own, trust.lookups.revocation),
        fetched_from=found.fetched_from,
        forbids_training=forbids_training(active),
        record=record_of(active),
        is_update=manifests.is_update(label),
        actions=actions,
        ingredients=ingredients,
        redactions=manifests.redactions(label),
        soft_bindings=soft_bindings_of(active),
        checks=_checks(results),
        explanations=_explanations(results),
    )
    reasons = _reasons(credential, believed.uri if believed else None)
    return replace(credential, reasons=(*reasons, *_about_creators(creators_of(active), own)))


def codes_of(results: Mapping[str, Any]) -> set[str]:
    """Every code of a manifest's results, good or bad."""
    return {text(one.get("code")) for name in _RESULTS for one in tables(results.get(name))}


_RESULTS: Final = {"failure": "fails", "informational": "remark", "success": "holds"}


def _trusting_list(own: Mapping[str, Any]) -> str | None:
    """URI of the list that the claim's signer was found in.

    The report also names one list for the whole file, but a named creator in it has a signature of his own.
    """
    told = (
        _LIST_OF_SIGNER.fullmatch(text(one.get("explanation")))
        for one in tables(own.get("success"))
        if one.get("code") == "signingCredential.trusted" and _is_of_claim(one)
    )
    return next((found[1] for found in told if found), None)


_LIST_OF_SIGNER: Final = re.compile(r".*found in \[([^\[\]]*)\] trust anchors")
"""How the pinned library names it; what is said in another way is not believed."""


def _is_of_claim(one: Mapping[str, Any]) -> bool:
    """Whether a result is about the claim's own signature, and not about one within a statement."""
    return "/c2pa.assertions/" not in text(one.get("url"))


def _standing(state: str, failures: list[str], is_believed: bool) -> Standing:
    """The library's three states and the list that matched -> our standing (rules 6 and 12)."""
    if state not in ("Valid", "Trusted"):
        return Standing.BROKEN
    if state == "Trusted" and is_believed and "signingCredential.untrusted" not in failures:
        return Standing.TRUSTED
    return Standing.UNKNOWN_SIGNER


def _certificate(detail: Mapping[str, Any] | None) -> Certificate | None:
    signature = table(table(detail).get("signature"))
    facts = table(signature.get("certificateInfo"))
    if not facts:
        return None
    validity = table(facts.get("validity"))
    return Certificate(
        issuer=_person(facts.get("issuer")),
        serial=optional_text(facts.get("serialNumber")),
        not_before=optional_text(validity.get("notBefore")),
        not_after=optional_text(validity.get("notAfter")),
        algorithm=optional_text(signature.get("algorithm")),
    )


def _time_stamp(detail: Mapping[str, Any] | None, results: Mapping[str, Any], trust: TrustAnchors) -> TimeStamp | None:
    """The time-stamp of the newest manifest; believed when one of our lists vouches for its authority."""
    facts = table(table(table(detail).get("signature")).get("timeStampInfo"))
    if not text(facts.get("timestamp")):
        return None
    authority = _person(table(facts.get("certificateInfo")).get("subject"))
    vouching = [
        trust.time_stamp_list(text(one.get("explanation")).rpartition(_LIST_OF_STAMP)[2])
        for one in tables(table(results.get("activeManifest")).get("success"))
        if one.get("code") == "timeStamp.trusted"
        and _is_of_claim(one)
        and text(one.get("explanation")).startswith(_LISTED_STAMP)
    ]
    believed = next((one for one in vouching if one is not None), None)
    return TimeStamp(text(facts.get("timestamp")), authority, believed.name if believed else None)


_LISTED_STAMP: Final = "timestamp cert trusted: "
_LIST_OF_STAMP: Final = ", trust list: "
"""The pinned library names the list in its explanation only, after a name that strangers choose; those of old claims,
which it accepts from anybody, begin with another word."""


def _person(name: object) -> str | None:
    """A certificate's name as people write it."""
    facts = table(name)
    return name_and_organisation(text(facts.get("CN")), text(facts.get("O")))


def _has_ended(certificate: Certificate | None) -> bool:
    """Whether a certificate is not valid any more; False when that is not known."""
    moment = _moment(certificate.not_after if certificate else None)
    return moment is not None and moment < datetime.now(UTC)


def _moment(written: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(written or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_REVOCATION: Final = (
    ("signingCredential.ocsp.revoked", "revoked"),
    ("signingCredential.revoked", "revoked"),
    ("signingCredential.ocsp.notRevoked", "not_revoked"),
    ("signingCredential.ocsp.unknown", "unknown"),
    ("signingCredential.ocsp.inaccessible", "unanswered"),
)
"""Code -> what is known of a revocation, the worst first."""


def _revocation(own: Mapping[str, Any], was_asked: bool) -> str:
    """What is known; the library passes over an answer that it cannot use without a word, which is no good sign."""
    codes = codes_of(own)
    return next((known for code, known in _REVOCATION if code in codes), "unanswered" if was_asked else "not_asked")


def _checks(results: Mapping[str, Any]) -> tuple[Check, ...]:
    """Everything that was checked, of the file and of its ingredients, all alike taken together."""
    counted: Counter[tuple[str, str, bool]] = Counter()
    deltas = [table(one.get("validationDeltas")) for one in tables(results.get("ingredientDeltas"))]
    for of_ingredient, results_of in [(False, table(results.get("activeManifest"))), *((True, one) for one in deltas)]:
        for name, result in _RESULTS.items():
            for one in tables(results_of.get(name)):
                counted[text(one.get("code")), result, of_ingredient] += 1
    order = list(_RESULTS.values())
    ordered = sorted(counted.items(), key=lambda entry: (entry[0][2], order.index(entry[0][1])))
    return tuple(
        Check(code, result, explain(code), count, of_ingredient)
        for (code, result, of_ingredient), count in ordered
        if code
    )


def _explanations(results: Mapping[str, Any]) -> dict[str, str]:
    own = table(results.get("activeManifest"))
    said = [*tables(own.get("failure")), *tables(own.get("informational"))]
    return {text(one.get("code")): text(one.get("explanation")) for one in said if one.get("code")}


def _reasons(credential: Credential, trust_uri: str | None) -> list[str]:
    """The standing in sentences; then what was wrong with ingredients, which never shows in the standing (rule 5)."""
    signer = credential.signer or "somebody without a name"
    reasons = []
    if credential.standing is Standing.TRUSTED:
        if trust_uri == DEVELOPMENT_URI:
            reasons.append("unchanged since it was signed by the development identity of this machine")
            reasons.append("that is proof for you, and for nobody else")
        else:
            reasons.append(f"unchanged since it was signed by {signer}")
            reasons.append(f"the signer is vouched for by the trust list {credential.trust_list}")
    elif credential.standing is Standing.UNKNOWN_SIGNER:
        reasons.append(f"unchanged since it was signed by someone who calls himself {signer}")
        if DEVELOPMENT_MARK in signer:
            reasons.append("that is a development identity of another machine, which proves nothing about who signed")
        elif trust_uri is not None:
            reasons.append("a trust list vouches for this signer, but the certificate has ended since, see below")
        else:
            reasons.append("no trust list that was given vouches for this signer, so it could be anyone")
    else:
        own = [code for code in credential.validation_codes if not code.startswith("ingredient:")]
        reasons += [explain(code) for code in own if code not in UNTRUSTED]
        if not reasons:
            reasons.append("the credential does not hold, for a reason that the reader did not give")
        if set(own) <= {"signingCredential.expired", *UNTRUSTED} and _is_content_unchanged(credential):
            reasons.append("apart from that it holds: the content is as it was signed, at a time that nothing proves")
    reasons += _about_time(credential)
    if credential.fetched_from:
        reasons.append(f"its credential was not in the file but fetched from {credential.fetched_from}")
    for one in walk(credential.ingredients):
        if one.is_faulty:
            wrong = "; ".join(explain(code) for code in one.faults if code not in UNTRUSTED)
            reasons.append(f"the ingredient {one.title!r} was already broken when it was used: {wrong}")
    return reasons


def _is_content_unchanged(credential: Credential) -> bool:
    holding = {one.code for one in credential.checks if one.result == "holds" and not one.of_ingredient}
    return not holding.isdisjoint(_CONTENT_HOLDS) and "claimSignature.validated" in holding


_CONTENT_HOLDS: Final = frozenset({f"assertion.{kind}Hash.match" for kind in ("bmff", "data", "boxes", "collection")})


def _about_creators(names: tuple[str, ...], own: Mapping[str, Any]) -> list[str]:
    """Whom the credential names as creator beside its signer (CAWG), and whether that can be believed."""
    codes = [text(one.get("code")) for name in _RESULTS for one in tables(own.get(name))]
    failed = [text(one.get("code")) for one in tables(own.get("failure"))]
    wrong = [code for code in failed if code.startswith("cawg.") and code not in UNTRUSTED]
    if wrong:
        belief = f"but {explain(wrong[0])}"
    elif not UNTRUSTED.intersection(code for code in failed if code.startswith("cawg.")) and _VOUCHED & set(codes):
        belief = "whom a list vouches for"
    else:
        belief = "whom no list vouches for"
    # the name last: one that is long enough to be cut must not take the belief with it
    return [f"it names a creator beside its signer, {belief}: {name!r}" for name in names]


_VOUCHED: Final = frozenset({"cawg.x509.credential.trusted", "cawg.identity.trusted"})


def _about_time(credential: Credential) -> list[str]:
    """The rules of time, where they decided something."""
    reasons = []
    stamp, certificate = credential.time_stamp, credential.certificate
    if "timeStamp.untrusted" in credential.explanations or (stamp and not stamp.trust_list):
        reasons.append("it carries a time-stamp of an authority that no list vouches for, so the date is not proven")
    ended = certificate.not_after[:10] if certificate and certificate.not_after else None
    if credential.standing is not Standing.BROKEN and _has_ended(certificate):
        if stamp and stamp.trust_list:
            reasons.append(
                f"the signer's certificate ended on {ended}; a time-stamp that the list {stamp.trust_list} vouches for "
                f"shows that it signed before, on {stamp.at[:10]}"
            )
        else:
            reasons.append(
                f"the signer's certificate ended on {ended}, and nothing proves that it signed before: whoever got "
                "hold of an old key could have signed today"
            )
    if credential.revocation == "not_revoked":
        reasons.append("the signer's authority says that the certificate was not revoked")
    if credential.revocation == "unanswered":
        reasons.append("the signer's authority gave no usable answer to whether the certificate was revoked")
    return reasons
