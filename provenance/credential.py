"""Who made this file, and can we believe it? START HERE when you read `provenance`.

    credential = read_credential(Path("clip.mp4"))
    credential.standing            # Standing.TRUSTED, UNKNOWN_SIGNER, BROKEN or ABSENT
    credential.declares_synthetic  # True, False, or None when it does not say
    credential.reasons             # why, in plain sentences

The rules below each cost somebody data or trust; the code refers to them by number. Those about reading are kept here
and in `provenance.trust`, those about writing in `provenance.signing`.

1. The C2PA library is pinned exactly, and has two doors: its Reader here, its Builder in `provenance.signing`.
2. A Context is always given: the library's default one fetches manifests from any address that a file names, this
   machine's own included. Remote manifests, OCSP and every host are switched off.
3. A file is never signed in place, and never left half-written: temporary name, fsync, verify, replace.
4. The accepted key usages are stated; without them an official certificate reads as invalid.
5. A tampered ingredient leaves the whole file "Trusted" with an empty list of failures: faults of ingredients are
   collected here, through every level, and shown as `ingredient:<code>`.
6. The library accepts time-stamp and identity authorities as signers of credentials. Every list has its own URI, and
   TRUSTED needs the one that matched to be a list of credential signers.
7. Signing a signed file without naming it as parent silently drops its history: it becomes the parent.
8. Ingredients without credentials carry no digest of the file: SHA-256 of each goes into our own assertion.
9. Assertions are marked `created`, or they are not attributed to the signer. When we read, "recorded by a camera"
   counts only where it is attributed.
10. The hash has holes ('free' boxes, the ftyp brand, padding): the SHA-256 of the whole file is part of every answer.
11. An exception in a signing callback comes out as "signature invalid": the real one is kept and raised.
12. Invalid / Valid / Trusted is not our answer yet: a Valid file may come from anybody, and no manifest at all is an
    exception.
13. The library cannot parse a damaged file, signed or not. That is BROKEN only where a trace of a manifest is left, the
    part that would hold it is missing, or the file is built to hide it: what was never signed cannot be broken.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final

from provenance.claims import RECORD_LABEL, SOFT_BINDING_LABEL, TRAINING_LABEL, SourceType
from provenance.errors import ProvenanceError as ProvenanceError
from provenance.files import open_regular, sha256_of_stream, state_of
from provenance.formats import READABLE, SNIFF_BYTES, sniff_format, spoken
from provenance.record import Record
from provenance.traces import MANIFEST_LAST, holds_manifest, lacks_its_end
from provenance.trust import DEVELOPMENT_MARK, DEVELOPMENT_URI, EXTENDED_KEY_USAGES, TrustAnchors

DEEPEST_CHAIN: Final = 32
"""Levels of ingredients that are followed; a longer chain is cut, and said to be."""
MOST_INGREDIENTS: Final = 2000
"""Ingredients that are looked at in one file, all levels together."""


class Standing(StrEnum):
    """What a credential is worth."""

    ABSENT = "absent"
    """None in the file. Says nothing about the content."""
    BROKEN = "broken"
    """Something was changed after signing, or cannot be checked. Nothing in it can be believed."""
    UNKNOWN_SIGNER = "unknown_signer"
    """Intact, but nobody on our lists vouches for the signer: it could be anyone."""
    TRUSTED = "trusted"
    """Intact, and the signer is vouched for by a list that was given."""


@dataclass(frozen=True)
class Action:
    """One step in the making of a file, as its signer tells it."""

    name: str
    """`c2pa.created`, `c2pa.edited` ..."""
    source_type: str | None = None
    """Digital source type, its short name where known."""
    when: str | None = None
    tool: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class CredentialIngredient:
    """A file that went into another one, as the other one's credential tells it."""

    title: str
    relationship: str
    format: str | None = None
    sha256: str | None = None
    """Digest of the file, when our own assertion carries one (rule 8)."""
    signer: str | None = None
    """Signer of the ingredient's own credential, if it had one."""
    faults: tuple[str, ...] = ()
    """Validation codes of what was wrong with the ingredient's own credential (rule 5)."""
    source_types: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    ingredients: tuple[CredentialIngredient, ...] = ()

    @property
    def is_faulty(self) -> bool:
        """Whether something worse than an unknown signer was recorded."""
        return any(code not in _UNTRUSTED for code in self.faults)


@dataclass(frozen=True)
class CredentialBinding:
    """What leads from a stripped copy back to a credential, as the credential tells it."""

    algorithm: str
    value: str
    """Of the first block: the identifier of a watermark, or the print of the first second."""
    blocks: int


@dataclass(frozen=True, kw_only=True)
class Credential:
    """Our reading of the C2PA manifest of one file."""

    file: str
    sha256: str
    """Digest of the whole file (rule 10), hex."""
    standing: Standing
    format: str | None = None
    """MIME type, by content."""
    signer: str | None = None
    """Name in the signer's certificate. Anybody can write any name: believe it when `standing` is TRUSTED."""
    trust_list: str | None = None
    """Name of the list that vouches for the signer."""
    declares_synthetic: bool | None = None
    """What the credential says about the content; None when it does not say."""
    source_types: tuple[str, ...] = ()
    """Digital source types of the file and of what it was edited from, short names where known."""
    validation_codes: tuple[str, ...] = ()
    """C2PA status codes behind the standing; those of ingredients begin with `ingredient:`."""
    reasons: tuple[str, ...] = ()
    """The standing in plain sentences."""
    title: str | None = None
    claim_generator: str | None = None
    """The program that wrote the credential."""
    signed_at: str | None = None
    """Time by a time-stamp authority that a list vouches for; None otherwise: a signer's own clock proves nothing."""
    forbids_training: bool | None = None
    """Whether the credential forbids to train on the file; None when it does not say."""
    record: Record | None = None
    """Our own Record, when the file was made by this project."""
    actions: tuple[Action, ...] = ()
    ingredients: tuple[CredentialIngredient, ...] = ()
    soft_bindings: tuple[CredentialBinding, ...] = ()
    explanations: Mapping[str, str] = field(default_factory=dict)
    """Code -> what the C2PA library said about it."""

    def to_json(self) -> dict[str, object]:
        """The reading as plain JSON values."""
        return {
            "file": self.file,
            "standing": self.standing.value,
            "signer": self.signer,
            "declares_synthetic": self.declares_synthetic,
            "validation_codes": list(self.validation_codes),
            "reasons": list(self.reasons),
            "sha256": self.sha256,
            "format": self.format,
            "trust_list": self.trust_list,
            "source_types": list(self.source_types),
            "title": self.title,
            "claim_generator": self.claim_generator,
            "signed_at": self.signed_at,
            "forbids_training": self.forbids_training,
            "record": self.record.to_json() if self.record else None,
            "actions": [_action_json(action) for action in self.actions],
            "ingredients": [_ingredient_json(one) for one in self.ingredients],
            "soft_bindings": [
                {"algorithm": one.algorithm, "value": one.value, "blocks": one.blocks} for one in self.soft_bindings
            ],
            "explanations": dict(self.explanations),
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Credential:
        """Read what `to_json` wrote; for answers that come from another process of ours.

        Raises:
            ValueError: for anything else.
        """
        try:
            return cls(
                **{name: facts[name] for name in _PLAIN_FIELDS},
                standing=Standing(facts["standing"]),
                source_types=tuple(facts["source_types"]),
                validation_codes=tuple(facts["validation_codes"]),
                reasons=tuple(facts["reasons"]),
                record=Record.from_json(facts["record"]) if facts["record"] else None,
                actions=tuple(_action_from(one) for one in facts["actions"]),
                ingredients=tuple(_ingredient_from(one) for one in facts["ingredients"]),
                soft_bindings=tuple(
                    CredentialBinding(one["algorithm"], one["value"], one["blocks"]) for one in facts["soft_bindings"]
                ),
                explanations=dict(facts["explanations"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is not a reading of a credential: {error}") from error


def read_credential(path: Path, *, trust: TrustAnchors | None = None) -> Credential:
    """Read and judge the credential of a file, without any network access.

    The steps: open it once; see by content what it is; take its digest; read the manifest with strict settings; let the
    validation codes, and the list that matched, decide the standing.

    Args:
        path: picture, video or sound, of any name.
        trust: whom to believe; None takes the development authority of this machine, if there is one.

    Returns:
        The reading. A file without credentials, and one whose credentials are broken, are answers.

    Raises:
        ProvenanceError: when there is no such file, or it is no kind of media file.
    """
    return _read(path, TrustAnchors.default() if trust is None else trust, with_digest=True)


def read_manifest(content: bytes, *, trust: TrustAnchors | None = None) -> Credential:
    """Read and judge a manifest that was kept apart from its file, as `provenance.store` does.

    The standing says whether the manifest itself is intact and who signed it. There is no file to hold it against: that
    some copy is what was signed, it cannot say.

    Raises:
        ProvenanceError: when it is no manifest.
    """
    trust = TrustAnchors.default() if trust is None else trust
    store = _manifest_store(io.BytesIO(content), MANIFEST_MIME, trust)
    if store.report is None:
        raise ProvenanceError(f"this is no C2PA manifest: {store.fault or 'it is empty'}")
    results = dict(_table(store.report.get("validation_results")))
    own = dict(_table(results.get("activeManifest")))
    own["failure"] = [one for one in _tables(own.get("failure")) if one.get("code") not in _TIES_TO_THE_FILE]
    results["activeManifest"] = own
    faults = {_text(one.get("code")) for one in own["failure"]} - _UNTRUSTED
    state = "Invalid" if faults else "Trusted" if "signingCredential.trusted" in _codes(own) else "Valid"
    report = {**store.report, "validation_results": results, "validation_state": state}
    return _judge_report(Path("(kept manifest)"), "", MANIFEST_MIME, report, trust)


MANIFEST_MIME: Final = "application/c2pa"
_TIES_TO_THE_FILE: Final = frozenset(
    {"assertion.bmffHash.mismatch", "assertion.dataHash.mismatch", "assertion.boxesHash.mismatch"}
)
"""What the library says of a manifest that it reads without its file; it has checked the signature by then."""


def standing_of(path: Path, *, trust: TrustAnchors) -> Standing:
    """The standing alone: quicker than `read_credential` for large files without credentials, which are not hashed."""
    return _read(path, trust, with_digest=False).standing


def _read(path: Path, trust: TrustAnchors, *, with_digest: bool) -> Credential:
    try:
        with open_regular(path) as stream:
            before = state_of(os.fstat(stream.fileno()))
            credential = _read_open_file(path, stream, trust, with_digest)
            if state_of(os.fstat(stream.fileno())) != before:
                raise ProvenanceError(f"{path} was changed while it was read; try again when it is finished")
            return credential
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error


def _read_open_file(path: Path, stream: BinaryIO, trust: TrustAnchors, with_digest: bool) -> Credential:
    head = stream.read(SNIFF_BYTES)
    mime = sniff_format(head)
    if mime is None:
        what = "is empty" if not head else "is not a picture, video or sound file"
        raise ProvenanceError(f"{path} {what}, so it cannot carry credentials; give the media file itself")
    digest = sha256_of_stream(stream) if with_digest else ""
    if mime not in READABLE:
        reason = f"{spoken(mime)} cannot carry embedded Content Credentials"
        return Credential(file=str(path), sha256=digest, standing=Standing.ABSENT, format=mime, reasons=(reason,))
    stream.seek(0)
    store = _manifest_store(stream, mime, trust)
    if store.fault is not None:
        store = replace(store, suspicion=_suspicion(stream, mime, store.fault))
    return _judge(path, digest, mime, store, trust)


def _suspicion(stream: BinaryIO, mime: str, fault: str) -> str | None:
    """Why a file that cannot be parsed may have been signed (rule 13); None for one that never was."""
    if holds_manifest(stream):
        return "the file, or the credential in it, is damaged and cannot be read, so nothing in it can be believed"
    if mime in MANIFEST_LAST and lacks_its_end(stream):
        return "the file lacks its end, where its credential would be, so nothing can be checked"
    if "nested" in fault:
        # The library's word; it is pinned (rule 1). No camera or editor nests boxes that deep.
        return "the file is built so that a reader gives up before it finds a credential, so nothing can be checked"
    return None


def strict_settings(trust: TrustAnchors) -> dict[str, object]:
    """Settings of every Context: no network (rule 2), stated key usages (rule 4), one URI for each list (rule 6)."""
    usages = "\n".join(EXTENDED_KEY_USAGES) + "\n"
    return {
        "version": 1,
        "trust": {
            "trust_config": usages,
            "anchors": [
                {"trust_anchors": pem, "trust_uri": one.uri, "trust_kind": one.purpose} for one, pem in trust.distinct()
            ],
        },
        "verify": {
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
            "verify_trust": True,
            "verify_timestamp_trust": True,
            "verify_after_reading": True,
            # We read back what was written to disk, which is the stronger check.
            "verify_after_sign": False,
        },
        "core": {"allowed_network_hosts": []},
        "builder": {"thumbnail": {"enabled": False}},
    }


def library_versions() -> tuple[str, str]:
    """Version of the C2PA library's Python package, and of the core inside it.

    Raises:
        ProvenanceError: when it does not load.
    """
    try:
        import c2pa
    except (ImportError, OSError) as error:
        raise ProvenanceError(f"the C2PA library does not load: {error}") from error
    return str(c2pa.__version__), str(c2pa.sdk_version())


@dataclass(frozen=True)
class _Store:
    """What the C2PA library found: a report, or why there is none."""

    report: Mapping[str, Any] | None = None
    fault: str | None = None
    """The library's error, when the credential or the file cannot be parsed."""
    suspicion: str | None = None
    """Why a file that cannot be parsed may have been signed (rule 13), in a sentence."""
    remote: str | None = None
    """Where the credential is said to be, when the file only points to it."""


def _manifest_store(stream: BinaryIO, mime: str, trust: TrustAnchors) -> _Store:
    """Ask the C2PA library, the only place of this project that does (rules 1 and 2)."""
    import c2pa

    try:
        with (
            c2pa.Context.from_dict(strict_settings(trust)) as context,
            c2pa.Reader(mime, stream, context=context) as reader,
        ):
            report = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return _Store()
    except c2pa.C2paError as error:
        message = " ".join(str(error).split())
        if message.startswith(("Remote:", "RemoteManifest:")) and "fetch" in message:
            return _Store(remote=message.rpartition(" ")[2])
        return _Store(fault=message[:300])
    except (ValueError, RecursionError) as error:
        return _Store(fault=f"the credential is not readable: {error}"[:300])
    return _Store(report=report) if isinstance(report, dict) else _Store(fault="the credential is not readable")


def _judge(path: Path, digest: str, mime: str, store: _Store, trust: TrustAnchors) -> Credential:
    """From what the library found to an answer of ours."""
    if store.report is not None:
        return _judge_report(path, digest, mime, store.report, trust)
    if store.fault is not None and store.suspicion is not None:
        return Credential(
            file=str(path),
            sha256=digest,
            standing=Standing.BROKEN,
            format=mime,
            validation_codes=("general.error",),
            reasons=(store.suspicion, f"the reader said: {store.fault}"),
            explanations={"general.error": store.fault},
        )
    why = ["it never had any, or they were stripped; this says nothing either way"]
    if store.fault is not None:
        why = ["it is damaged, and no trace of any is in it", f"the reader said: {store.fault}"]
    elif store.remote is not None:
        why = [f"it points to some at {store.remote}, which were not fetched"]
    reasons = (f"the file carries no Content Credentials: {why[0]}", *why[1:])
    return Credential(file=str(path), sha256=digest, standing=Standing.ABSENT, format=mime, reasons=reasons)


def _judge_report(path: Path, digest: str, mime: str, report: Mapping[str, Any], trust: TrustAnchors) -> Credential:
    """Standing, codes and facts out of the library's report."""
    manifests = _table(report.get("manifests"))
    active = _table(manifests.get(str(report.get("active_manifest"))))
    results = _table(report.get("validation_results"))
    own = _table(results.get("activeManifest"))
    failures = [_text(one.get("code")) for one in _tables(own.get("failure"))]
    believed = trust.manifest_list(results.get("trustListUri"))
    standing = _standing(_text(report.get("validation_state")), failures, believed is not None)
    ingredients = _ingredients(active, manifests, _sources_of(active))
    faults = [*_delta_failures(results), *(code for one in walk(ingredients) for code in one.faults)]
    codes = list(dict.fromkeys([*failures, *(f"ingredient:{code}" for code in faults)]))
    if standing is Standing.TRUSTED:
        codes.insert(0, "signingCredential.trusted")
    actions = _actions(active)
    signature = _table(active.get("signature_info"))
    credential = Credential(
        file=str(path),
        sha256=digest,
        standing=standing,
        format=mime,
        signer=_signer(signature),
        trust_list=believed.name if believed and standing is Standing.TRUSTED else None,
        declares_synthetic=_declares_synthetic(actions, ingredients),
        source_types=_stated_types(actions, ingredients),
        validation_codes=tuple(codes),
        title=_optional_text(active.get("title")),
        claim_generator=_generator(active),
        signed_at=_optional_text(signature.get("time")) if "timeStamp.trusted" in _codes(own) else None,
        forbids_training=_forbids_training(active),
        record=_record(active),
        actions=actions,
        ingredients=ingredients,
        soft_bindings=_soft_bindings(active),
        explanations=_explanations(results),
    )
    return replace(credential, reasons=tuple(_reasons(credential, believed.uri if believed else None)))


def _codes(results: Mapping[str, Any]) -> set[str]:
    """Every code of a manifest's results, good or bad."""
    lists = (results.get(name) for name in ("success", "informational", "failure"))
    return {_text(one.get("code")) for entries in lists for one in _tables(entries)}


def _standing(state: str, failures: list[str], is_believed: bool) -> Standing:
    """The library's three states and the list that matched -> our standing (rules 6 and 12)."""
    if state not in ("Valid", "Trusted"):
        return Standing.BROKEN
    if state == "Trusted" and is_believed and "signingCredential.untrusted" not in failures:
        return Standing.TRUSTED
    return Standing.UNKNOWN_SIGNER


_UNTRUSTED: Final = frozenset(
    {"signingCredential.untrusted", "cawg.x509.credential.untrusted", "cawg.ica.untrusted_issuer"}
)
_GOOD_ENDINGS: Final = (".match", ".validated", ".trusted", ".insideValidity", ".accessible", ".valid", ".skipped")


def _delta_failures(results: Mapping[str, Any]) -> list[str]:
    """Failures that the library itself reports for ingredients."""
    return [
        _text(one.get("code"))
        for delta in _tables(results.get("ingredientDeltas"))
        for one in _tables(_table(delta.get("validationDeltas")).get("failure"))
    ]


def _ingredients(
    manifest: Mapping[str, Any],
    manifests: Mapping[str, Any],
    digests: Mapping[tuple[str, str], str],
) -> tuple[CredentialIngredient, ...]:
    """Every ingredient with its own chain and its recorded faults (rule 5), cut where strangers nest too deep."""
    budget = [MOST_INGREDIENTS]
    return _level(manifest, manifests, digests, budget, ())


def _level(
    manifest: Mapping[str, Any],
    manifests: Mapping[str, Any],
    digests: Mapping[tuple[str, str], str],
    budget: list[int],
    above: tuple[str, ...],
) -> tuple[CredentialIngredient, ...]:
    found = []
    for one in _tables(manifest.get("ingredients")):
        budget[0] -= 1
        if budget[0] < 0:
            break
        label = _text(one.get("active_manifest"))
        own = _table(manifests.get(label))
        # A manifest that names itself among its ancestors would be followed for ever.
        deeper = own and label not in above and len(above) < DEEPEST_CHAIN
        actions = _actions(own)
        title, relationship = _text(one.get("title")) or "untitled", _text(one.get("relationship")) or "componentOf"
        found.append(
            CredentialIngredient(
                title=title,
                relationship=relationship,
                format=_optional_text(one.get("format")),
                sha256=digests.get((relationship, title)),
                signer=_signer(_table(own.get("signature_info"))),
                faults=tuple(_recorded_faults(one)),
                source_types=_types_of(actions),
                actions=actions,
                ingredients=_level(own, manifests, _sources_of(own), budget, (*above, label)) if deeper else (),
            )
        )
    return tuple(found)


def _recorded_faults(ingredient: Mapping[str, Any]) -> list[str]:
    """What was wrong with an ingredient when it was taken in: new form, and the older list that mixes in successes."""
    results = _table(ingredient.get("validation_results"))
    codes = [_text(one.get("code")) for one in _tables(_table(results.get("activeManifest")).get("failure"))]
    codes += _delta_failures(results)
    for one in _tables(ingredient.get("validation_status")):
        code = _text(one.get("code"))
        if one.get("success") is not True and not code.endswith(_GOOD_ENDINGS):
            codes.append(code)
    return list(dict.fromkeys(code for code in codes if code))


def walk(ingredients: tuple[CredentialIngredient, ...]) -> Iterator[CredentialIngredient]:
    """Every ingredient of every level, parents first."""
    for one in ingredients:
        yield one
        yield from walk(one.ingredients)


def _assertions(manifest: Mapping[str, Any], label: str) -> Iterator[Mapping[str, Any]]:
    """Assertions with a label, whatever version or instance number it ends in."""
    for one in _tables(manifest.get("assertions")):
        name = _text(one.get("label"))
        if name == label or name.startswith((f"{label}.v", f"{label}__")):
            yield one


def _is_attributed(manifest: Mapping[str, Any], assertion: Mapping[str, Any]) -> bool:
    """Whether the signer stands for an assertion (rule 9): always in old claims, when created in new ones."""
    version = manifest.get("claim_version")
    return not isinstance(version, int) or version < 2 or assertion.get("created") is True


def _actions(manifest: Mapping[str, Any]) -> tuple[Action, ...]:
    found = []
    for assertion in _assertions(manifest, "c2pa.actions"):
        for one in _tables(_table(assertion.get("data")).get("actions")):
            agent = one.get("softwareAgent")
            tool = agent.get("name") if isinstance(agent, Mapping) else agent
            source_type = _optional_text(one.get("digitalSourceType"))
            kind = SourceType.from_uri(source_type) if source_type else None
            if kind is not None and kind.is_capture and not _is_attributed(manifest, assertion):
                source_type = None
            found.append(
                Action(
                    name=_text(one.get("action")) or "unnamed",
                    source_type=_short(source_type) or None,
                    when=_optional_text(one.get("when")),
                    tool=_optional_text(tool),
                    description=_optional_text(one.get("description")),
                )
            )
    return tuple(found)


def _short(uri: str | None) -> str:
    """The short name of a known source type, or the identifier as it stands."""
    known = SourceType.from_uri(uri or "")
    return known.value if known else (uri or "")


def _stated_types(actions: tuple[Action, ...], ingredients: tuple[CredentialIngredient, ...]) -> tuple[str, ...]:
    """Source types of the file itself and of everything still visible in it."""
    visible = (kind for one in _visible(ingredients) for kind in one.source_types)
    return tuple(dict.fromkeys([*_types_of(actions), *visible]))


def _types_of(actions: tuple[Action, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(action.source_type for action in actions if action.source_type))


def _visible(ingredients: tuple[CredentialIngredient, ...]) -> Iterator[CredentialIngredient]:
    """Parents and components, not what a model was merely given."""
    for one in ingredients:
        if one.relationship != "inputTo":
            yield one
            yield from _visible(one.ingredients)


def _declares_synthetic(actions: tuple[Action, ...], ingredients: tuple[CredentialIngredient, ...]) -> bool | None:
    """True when anything still visible is said to be synthetic; False when all that is said is "recorded"."""
    stated = _stated_types(actions, ingredients)
    kinds = [kind for kind in SourceType if kind.value in stated]
    if any(kind.is_synthetic for kind in kinds):
        return True
    return False if kinds and any(kind.is_capture for kind in kinds) else None


def _record_data(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((_table(one.get("data")) for one in _assertions(manifest, RECORD_LABEL)), {})


def _record(manifest: Mapping[str, Any]) -> Record | None:
    """Our Record; None when there is none, or when it is not one."""
    try:
        facts = _table(json.loads(_text(_record_data(manifest).get("record")) or "null"))
        return Record.from_json(facts) if facts else None
    except (ValueError, TypeError, RecursionError):
        return None


def _sources_of(manifest: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """(relationship, title) of an ingredient -> SHA-256 of its file, from our assertion (rule 8)."""
    return {
        (_text(one.get("relationship")), _text(one.get("title"))): _text(one.get("sha256"))
        for one in _tables(_record_data(manifest).get("sources"))
    }


def _soft_bindings(manifest: Mapping[str, Any]) -> tuple[CredentialBinding, ...]:
    found = []
    for one in _assertions(manifest, SOFT_BINDING_LABEL):
        data = _table(one.get("data"))
        blocks = _tables(data.get("blocks"))
        if _text(data.get("alg")) and blocks:
            found.append(CredentialBinding(_text(data.get("alg")), _text(blocks[0].get("value")), len(blocks)))
    return tuple(found)


def _forbids_training(manifest: Mapping[str, Any]) -> bool | None:
    uses = [
        _text(entry.get("use"))
        for label in (TRAINING_LABEL, "c2pa.training-mining")
        for one in _assertions(manifest, label)
        for name, entry in _table(_table(one.get("data")).get("entries")).items()
        if isinstance(entry, Mapping) and name.endswith(("ai_training", "ai_generative_training"))
    ]
    return None if not uses else any(use == "notAllowed" for use in uses)


def _signer(signature: Mapping[str, Any]) -> str | None:
    """The signer's name and organisation, as its certificate states them."""
    names = [_text(signature.get(key)) for key in ("common_name", "issuer")]
    names = list(dict.fromkeys(name for name in names if name))
    if not names:
        return None
    return names[0] if len(names) == 1 else f"{names[0]} ({names[1]})"


def _generator(manifest: Mapping[str, Any]) -> str | None:
    for one in _tables(manifest.get("claim_generator_info")):
        name = _text(one.get("name"))
        if name:
            return f"{name} {_text(one.get('version'))}".strip()
    return _optional_text(manifest.get("claim_generator"))


def _explanations(results: Mapping[str, Any]) -> dict[str, str]:
    own = _table(results.get("activeManifest"))
    said = [*_tables(own.get("failure")), *_tables(own.get("informational"))]
    return {_text(one.get("code")): _text(one.get("explanation")) for one in said if one.get("code")}


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
        else:
            reasons.append("no trust list that was given vouches for this signer, so it could be anyone")
    else:
        own = [code for code in credential.validation_codes if not code.startswith("ingredient:")]
        reasons += [explain(code) for code in own if code not in _UNTRUSTED]
        if not reasons:
            reasons.append("the credential does not hold, for a reason that the reader did not give")
    if "timeStamp.untrusted" in credential.explanations:
        reasons.append("it carries a time-stamp of an authority that no list vouches for, so the date is not proven")
    for one in walk(credential.ingredients):
        if one.is_faulty:
            wrong = "; ".join(explain(code) for code in one.faults if code not in _UNTRUSTED)
            reasons.append(f"the ingredient {one.title!r} was already broken when it was used: {wrong}")
    return reasons


_SENTENCES: Final[Mapping[str, str]] = {
    "assertion.bmffHash.mismatch": "the video was changed after it was signed",
    "assertion.dataHash.mismatch": "the content was changed after it was signed",
    "assertion.boxesHash.mismatch": "a part of the picture was changed after it was signed",
    "assertion.collectionHash.mismatch": "a file of the collection was changed after it was signed",
    "assertion.hashedURI.mismatch": "a statement in the credential was changed after it was signed",
    "assertion.missing": "a statement that the credential refers to is missing",
    "assertion.required.missing": "a statement that every credential must have is missing",
    "assertion.inaccessible": "a statement of the credential cannot be reached",
    "assertion.action.malformed": "the list of actions in the credential is malformed",
    "assertion.action.ingredientMismatch": "an action refers to an ingredient that is not there",
    "assertion.cbor.invalid": "a statement of the credential is damaged",
    "assertion.json.invalid": "a statement of the credential is damaged",
    "assertion.undeclared": "the credential holds a statement that its signer did not sign",
    "claim.missing": "the signed claim is missing",
    "claim.multiple": "the credential holds more than one claim",
    "claim.malformed": "the signed claim is malformed",
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
    "timeStamp.mismatch": "the time-stamp belongs to something else",
    "timeStamp.outsideValidity": "the time-stamp was made outside the validity of its authority",
    "timeStamp.untrusted": "the time-stamp comes from an authority that no list vouches for",
    "algorithm.unsupported": "it was signed with an algorithm that is not allowed",
    "ingredient.manifest.missing": "the credential of an ingredient is missing",
    "ingredient.manifest.mismatch": "the credential of an ingredient was changed",
    "ingredient.hashedURI.mismatch": "what is said about an ingredient was changed",
    "manifest.multipleParents": "the credential names more than one parent",
    "manifest.update.invalid": "the update of the credential is not an allowed one",
    "manifest.inaccessible": "the credential is elsewhere and was not fetched",
    "cawg.ica.signature_mismatch": "the named creator's identity does not fit the credential",
    "cawg.identity.cbor.invalid": "the named creator's identity is damaged",
    "general.error": "the file, or the credential in it, is damaged and cannot be read",
}


def explain(code: str) -> str:
    """One plain sentence for a C2PA status code."""
    return _SENTENCES.get(code, f"the credential fails the check {code}")


def _action_json(action: Action) -> dict[str, object]:
    facts = {
        "action": action.name,
        "source_type": action.source_type,
        "when": action.when,
        "tool": action.tool,
        "description": action.description,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _ingredient_json(one: CredentialIngredient) -> dict[str, object]:
    return {
        "title": one.title,
        "relationship": one.relationship,
        "format": one.format,
        "sha256": one.sha256,
        "signer": one.signer,
        "faults": list(one.faults),
        "source_types": list(one.source_types),
        "actions": [_action_json(action) for action in one.actions],
        "ingredients": [_ingredient_json(deeper) for deeper in one.ingredients],
    }


_PLAIN_FIELDS: Final = (
    "file",
    "sha256",
    "format",
    "signer",
    "trust_list",
    "declares_synthetic",
    "title",
    "claim_generator",
    "signed_at",
    "forbids_training",
)


def _action_from(facts: Mapping[str, Any]) -> Action:
    return Action(
        name=facts["action"],
        source_type=facts.get("source_type"),
        when=facts.get("when"),
        tool=facts.get("tool"),
        description=facts.get("description"),
    )


def _ingredient_from(facts: Mapping[str, Any]) -> CredentialIngredient:
    return CredentialIngredient(
        title=facts["title"],
        relationship=facts["relationship"],
        format=facts["format"],
        sha256=facts["sha256"],
        signer=facts["signer"],
        faults=tuple(facts["faults"]),
        source_types=tuple(facts["source_types"]),
        actions=tuple(_action_from(one) for one in facts["actions"]),
        ingredients=tuple(_ingredient_from(one) for one in facts["ingredients"]),
    )


# A stranger wrote what the library reports: every value is checked for its kind before it is used.


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _optional_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
