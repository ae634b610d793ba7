"""What a manifest says: from a claim to the definition that the C2PA library signs. Nothing is signed here.

The rules referred to by number stand in `provenance.credential`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from provenance.claims import RECORD_LABEL, SOFT_BINDING_LABEL, TRAINING_LABEL, Claim
from provenance.files import format_of, sha256_of
from provenance.record import installed_version, now_utc

SPECIFICATION: Final = "2.4.0"
"""Version of the C2PA specification that our manifests follow."""

GENERATOR: Final = "Countermark"

_TRAINING_USES: Final = ("cawg.ai_training", "cawg.ai_generative_training", "cawg.data_mining")


@dataclass(frozen=True)
class Part:
    """An ingredient on its way into a manifest."""

    path: Path
    title: str
    relationship: str
    label: str
    format: str
    sha256: str


def parts_of(claim: Claim, parent: Path | None) -> tuple[Part, ...]:
    """Parent and ingredients with their digests (rule 8)."""
    named = [(parent, parent.name, "parentOf")] if parent is not None else []
    named += [(one.path, one.title, one.relationship) for one in claim.ingredients]
    return tuple(
        Part(
            path=path,
            title=as_text(title),
            relationship=relationship,
            label=f"part-{position}",
            format=format_of(path) or "application/octet-stream",
            sha256=sha256_of(path),
        )
        for position, (path, title, relationship) in enumerate(named)
    )


def definition_of(claim: Claim, parts: tuple[Part, ...], destination: Path, *, is_edit: bool) -> dict[str, Any]:
    """The manifest definition: everything attributed to the signer (rule 9)."""
    record = claim.record
    agent = {"name": record.tool, "version": record.version} if record else {"name": GENERATOR}
    made: dict[str, Any] = {
        "action": f"c2pa.{'edited' if is_edit else 'created'}",
        "digitalSourceType": claim.source_type.uri,
        "softwareAgent": agent,
        "when": now_utc(),
    }
    if claim.description:
        made["description"] = claim.description
    given = [part.label for part in parts if part.relationship != "parentOf"]
    if given:
        made["parameters"] = {"ingredientIds": given}
    actions = [made]
    if is_edit:
        actions.insert(0, {"action": "c2pa.opened", "parameters": {"ingredientIds": [parts[0].label]}})
    facts: dict[str, Any] = {"schema": 1}
    if record:
        # As text: the library's reader turns every list of numbers into base64, and loses fractions doing so.
        facts["record"] = json.dumps(record.to_json(), ensure_ascii=False, sort_keys=True)
    if parts:
        facts["sources"] = [
            {"title": part.title, "relationship": part.relationship, "sha256": part.sha256} for part in parts
        ]
    assertions = [_assertion("c2pa.actions.v2", {"actions": actions, "allActionsIncluded": True})]
    if claim.do_not_train:
        forbidden = {use: {"use": "notAllowed"} for use in _TRAINING_USES}
        assertions.append(_assertion(TRAINING_LABEL, {"entries": forbidden}))
    if record or parts:
        assertions.append(_assertion(RECORD_LABEL, facts))
    for binding in claim.soft_bindings:
        found_by = {"alg": binding.algorithm, "blocks": [dict(block) for block in binding.blocks]}
        assertions.append(_assertion(SOFT_BINDING_LABEL, found_by))
        if binding.is_watermark:
            actions.append({"action": "c2pa.watermarked.bound", "softwareAgent": agent, "when": made["when"]})
    return {
        "claim_generator_info": [{"name": GENERATOR, "version": _version(), "specVersion": SPECIFICATION}],
        "title": claim.title or destination.name,
        "assertions": assertions,
    }


@cache
def _version() -> str:
    """Looking it up takes longer than a signature."""
    return installed_version()


def as_text(words: str) -> str:
    """Words as text that can be signed: file names may hold bytes that are no text at all."""
    return words.encode("utf-8", "replace").decode()


def _assertion(label: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "created": True, "data": data}
