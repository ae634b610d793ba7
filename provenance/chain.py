"""What a credential tells about the making of a file: actions, ingredients with their own chains, removed statements.

A stranger wrote all of it. Every value is checked for its kind before it is used, loops and bottomless nestings are
cut, and what is wrong with an ingredient is kept beside it (rule 5 of `provenance.credential`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from provenance.claims import RECORD_LABEL, SOFT_BINDING_LABEL, TRAINING_LABEL, SourceType
from provenance.codes import UNTRUSTED, is_good
from provenance.record import Record

DEEPEST_CHAIN: Final = 32
"""Levels of ingredients that are followed; a longer chain is cut."""
MOST_INGREDIENTS: Final = 2000
"""Ingredients that are looked at in one file, all levels together."""

MOST_CREATORS: Final = 20
"""Named creators that are told of one file."""


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
    reason: str | None = None
    """Why, where the signer says so: mostly for what was removed."""

    def to_json(self) -> dict[str, object]:
        """The action as plain JSON values; what is not said is left out."""
        facts = {"action": self.name, **{name: fact for name, fact in asdict(self).items() if name != "name"}}
        return {name: fact for name, fact in facts.items() if fact is not None}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Action:
        """Read what `to_json` wrote."""
        return cls(facts["action"], **{name: fact for name, fact in facts.items() if name != "action"})


@dataclass(frozen=True)
class Redaction:
    """A statement that a later signer removed from an earlier credential, which C2PA allows and shows."""

    statement: str
    """Label of the removed statement: `stds.exif`."""
    manifest: str
    """Label of the manifest it was removed from."""
    reason: str | None = None


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
    is_update: bool = False
    """Whether its own credential is an update: one that adds statements and leaves the content alone."""
    redactions: tuple[Redaction, ...] = ()
    """What its own credential removed from those before it."""

    @property
    def is_faulty(self) -> bool:
        """Whether something worse than an unknown signer was recorded."""
        return any(code not in UNTRUSTED for code in self.faults)

    def to_json(self) -> dict[str, object]:
        """The ingredient as plain JSON values, with everything below it."""
        return {
            "title": self.title,
            "relationship": self.relationship,
            "format": self.format,
            "sha256": self.sha256,
            "signer": self.signer,
            "faults": list(self.faults),
            "source_types": list(self.source_types),
            "is_update": self.is_update,
            "redactions": [asdict(one) for one in self.redactions],
            "actions": [action.to_json() for action in self.actions],
            "ingredients": [deeper.to_json() for deeper in self.ingredients],
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> CredentialIngredient:
        """Read what `to_json` wrote."""
        return cls(
            title=facts["title"],
            relationship=facts["relationship"],
            format=facts["format"],
            sha256=facts["sha256"],
            signer=facts["signer"],
            faults=tuple(facts["faults"]),
            source_types=tuple(facts["source_types"]),
            actions=tuple(Action.from_json(one) for one in facts["actions"]),
            ingredients=tuple(cls.from_json(one) for one in facts["ingredients"]),
            is_update=facts["is_update"],
            redactions=tuple(Redaction(**one) for one in facts["redactions"]),
        )


@dataclass(frozen=True)
class CredentialBinding:
    """What leads from a stripped copy back to a credential, as the credential tells it."""

    algorithm: str
    value: str
    """Of the first block: the identifier of a watermark, or the print of the first second."""
    blocks: int


@dataclass(frozen=True)
class Manifests:
    """Every manifest of a file, in the two forms that the C2PA library gives."""

    tables: Mapping[str, Any]
    """Label -> manifest."""
    details: Mapping[str, Mapping[str, Any]]
    """Label -> its claim, certificate and kind, from the library's `crJSON`; empty where that was not asked for."""

    def labelled(self, label: str) -> Mapping[str, Any]:
        """A manifest; empty for one that is not there."""
        return table(self.tables.get(label))

    def is_update(self, label: str) -> bool:
        """Whether a manifest only adds statements to an earlier one."""
        return table(self.details.get(label)).get("isUpdateManifest") is True

    def redactions(self, label: str) -> tuple[Redaction, ...]:
        """What a manifest removed from earlier ones."""
        detail = table(self.details.get(label))
        claim = table(detail.get("claim.v2")) or table(detail.get("claim"))
        removed = claim.get("redacted_assertions")
        reasons = {
            text(table(one.get("parameters")).get("redacted")): optional_text(one.get("reason"))
            for assertion in assertions(self.labelled(label), "c2pa.actions")
            for one in tables(table(assertion.get("data")).get("actions"))
        }
        found = []
        for address in removed if isinstance(removed, list) else []:
            # self#jumbf=/c2pa/<manifest>/c2pa.assertions/<statement>
            steps = text(address).rpartition("=")[2].strip("/").split("/")
            manifest = steps[1] if steps[0] == "c2pa" and len(steps) > 2 else label
            found.append(Redaction(steps[-1], manifest, reasons.get(text(address))))
        return tuple(found[:MOST_INGREDIENTS])


def ingredients_of(manifest: Mapping[str, Any], manifests: Manifests) -> tuple[CredentialIngredient, ...]:
    """Every ingredient with its own chain and its recorded faults (rule 5), cut where strangers nest too deep."""
    return _level(manifest, manifests, [MOST_INGREDIENTS], ())


def _level(
    manifest: Mapping[str, Any], manifests: Manifests, budget: list[int], above: tuple[str, ...]
) -> tuple[CredentialIngredient, ...]:
    digests = _digests(manifest)
    found = []
    for one in tables(manifest.get("ingredients")):
        budget[0] -= 1
        if budget[0] < 0:
            break
        label = text(one.get("active_manifest"))
        own = manifests.labelled(label)
        # A manifest that names itself among its ancestors would be followed for ever.
        deeper = own and label not in above and len(above) < DEEPEST_CHAIN
        actions = actions_of(own)
        title, relationship = text(one.get("title")) or "untitled", text(one.get("relationship")) or "componentOf"
        found.append(
            CredentialIngredient(
                title=title,
                relationship=relationship,
                format=optional_text(one.get("format")),
                sha256=digests.get((relationship, title)),
                signer=signer_of(own),
                faults=tuple(_recorded_faults(one)),
                source_types=_types_of(actions),
                actions=actions,
                ingredients=_level(own, manifests, budget, (*above, label)) if deeper else (),
                is_update=manifests.is_update(label),
                redactions=manifests.redactions(label),
            )
        )
    return tuple(found)


def _recorded_faults(ingredient: Mapping[str, Any]) -> list[str]:
    """What was wrong with an ingredient when it was taken in: new form, and the older list that mixes in successes."""
    results = table(ingredient.get("validation_results"))
    codes = [text(one.get("code")) for one in tables(table(results.get("activeManifest")).get("failure"))]
    codes += delta_failures(results)
    for one in tables(ingredient.get("validation_status")):
        code = text(one.get("code"))
        if one.get("success") is not True and not is_good(code):
            codes.append(code)
    return list(dict.fromkeys(code for code in codes if code))


def delta_failures(results: Mapping[str, Any]) -> list[str]:
    """Failures that the library itself reports for ingredients."""
    return [
        text(one.get("code"))
        for delta in tables(results.get("ingredientDeltas"))
        for one in tables(table(delta.get("validationDeltas")).get("failure"))
    ]


def walk(ingredients: tuple[CredentialIngredient, ...]) -> Iterator[CredentialIngredient]:
    """Every ingredient of every level, parents first."""
    for one in ingredients:
        yield one
        yield from walk(one.ingredients)


def assertions(manifest: Mapping[str, Any], label: str) -> Iterator[Mapping[str, Any]]:
    """Assertions with a label, whatever version or instance number it ends in."""
    for one in tables(manifest.get("assertions")):
        name = text(one.get("label"))
        if name == label or name.startswith((f"{label}.v", f"{label}__")):
            yield one


def _is_attributed(manifest: Mapping[str, Any], assertion: Mapping[str, Any]) -> bool:
    """Whether the signer stands for an assertion (rule 9): always in old claims, when created in new ones."""
    version = manifest.get("claim_version")
    return not isinstance(version, int) or version < 2 or assertion.get("created") is True


def actions_of(manifest: Mapping[str, Any]) -> tuple[Action, ...]:
    """The steps that a manifest tells."""
    found = []
    for assertion in assertions(manifest, "c2pa.actions"):
        for one in tables(table(assertion.get("data")).get("actions")):
            agent = one.get("softwareAgent")
            tool = agent.get("name") if isinstance(agent, Mapping) else agent
            source_type = optional_text(one.get("digitalSourceType"))
            kind = SourceType.from_uri(source_type) if source_type else None
            if kind is not None and kind.is_capture and not _is_attributed(manifest, assertion):
                source_type = None
            found.append(
                Action(
                    name=text(one.get("action")) or "unnamed",
                    source_type=_short(source_type) or None,
                    when=optional_text(one.get("when")),
                    tool=optional_text(tool),
                    description=optional_text(one.get("description")),
                    reason=optional_text(one.get("reason")),
                )
            )
    return tuple(found)


def _short(uri: str | None) -> str:
    """The short name of a known source type, or the identifier as it stands."""
    known = SourceType.from_uri(uri or "")
    return known.value if known else (uri or "")


def stated_types(actions: tuple[Action, ...], ingredients: tuple[CredentialIngredient, ...]) -> tuple[str, ...]:
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


def declares_synthetic(actions: tuple[Action, ...], ingredients: tuple[CredentialIngredient, ...]) -> bool | None:
    """True when anything still visible is said to be synthetic; False when all that is said is "recorded"."""
    stated = stated_types(actions, ingredients)
    kinds = [kind for kind in SourceType if kind.value in stated]
    if any(kind.is_synthetic for kind in kinds):
        return True
    return False if kinds and any(kind.is_capture for kind in kinds) else None


def _record_data(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((table(one.get("data")) for one in assertions(manifest, RECORD_LABEL)), {})


def record_of(manifest: Mapping[str, Any]) -> Record | None:
    """Our Record; None when there is none, or when it is not one."""
    try:
        facts = table(json.loads(text(_record_data(manifest).get("record")) or "null"))
        return Record.from_json(facts) if facts else None
    except (ValueError, TypeError, RecursionError):
        return None


def _digests(manifest: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """(relationship, title) of an ingredient -> SHA-256 of its file, from our assertion (rule 8)."""
    return {
        (text(one.get("relationship")), text(one.get("title"))): text(one.get("sha256"))
        for one in tables(_record_data(manifest).get("sources"))
    }


def soft_bindings_of(manifest: Mapping[str, Any]) -> tuple[CredentialBinding, ...]:
    """How a stripped copy is led back to this manifest."""
    found = []
    for one in assertions(manifest, SOFT_BINDING_LABEL):
        data = table(one.get("data"))
        blocks = tables(data.get("blocks"))
        if text(data.get("alg")) and blocks:
            found.append(CredentialBinding(text(data.get("alg")), text(blocks[0].get("value")), len(blocks)))
    return tuple(found)


def forbids_training(manifest: Mapping[str, Any]) -> bool | None:
    """Whether training on the file is forbidden; None when the manifest does not say."""
    uses = [
        text(entry.get("use"))
        for label in (TRAINING_LABEL, "c2pa.training-mining")
        for one in assertions(manifest, label)
        for name, entry in table(table(one.get("data")).get("entries")).items()
        if isinstance(entry, Mapping) and name.endswith(("ai_training", "ai_generative_training"))
    ]
    return None if not uses else any(use == "notAllowed" for use in uses)


def signer_of(manifest: Mapping[str, Any]) -> str | None:
    """The signer's name and organisation, as its certificate states them."""
    signature = table(manifest.get("signature_info"))
    return name_and_organisation(text(signature.get("common_name")), text(signature.get("issuer")))


def name_and_organisation(*names: str) -> str | None:
    """`Anna (Newsroom)`; None for no name at all."""
    said = list(dict.fromkeys(name for name in names if name))
    if not said:
        return None
    return said[0] if len(said) == 1 else f"{said[0]} ({said[1]})"


def creators_of(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Whom a manifest names as creators beside its signer (CAWG identities); anybody can write any name."""
    found = []
    for one in assertions(manifest, "cawg.identity"):
        data = table(one.get("data"))
        signature = table(data.get("signature_info"))
        subject = table(data.get("credentialSubject")) or data
        names = [name_and_organisation(text(signature.get("common_name")), text(signature.get("issuer")))]
        for identity in tables(subject.get("verifiedIdentities")):
            provider = text(table(identity.get("provider")).get("name"))
            who = text(identity.get("name")) or text(identity.get("username")) or text(identity.get("uri"))
            names.append(name_and_organisation(who, provider))
        found += [name for name in names if name]
    return tuple(dict.fromkeys(found))[:MOST_CREATORS]


def generator_of(manifest: Mapping[str, Any]) -> str | None:
    """The program that wrote a manifest."""
    for one in tables(manifest.get("claim_generator_info")):
        name = text(one.get("name"))
        if name:
            return f"{name} {text(one.get('version'))}".strip()
    return optional_text(manifest.get("claim_generator"))


def table(value: object) -> Mapping[str, Any]:
    """The value when it is a table, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def tables(value: object) -> list[Mapping[str, Any]]:
    """The tables in a list; none when it is no list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def text(value: object) -> str:
    """The value when it is text, else nothing."""
    return value if isinstance(value, str) else ""


def optional_text(value: object) -> str | None:
    """The value when it is text and not empty, else None."""
    return value if isinstance(value, str) and value else None
