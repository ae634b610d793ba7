"""The answer to "who made this file, and can we believe it": Standing, Credential, and their JSON form.

The JSON form is described in docs/provenance-report.md; `SCHEMA` grows with every change that could break a reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from provenance.chain import Action, CredentialBinding, CredentialIngredient, Redaction
from provenance.record import Record

SCHEMA: Final = 1


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
class Certificate:
    """Facts of a signer's certificate."""

    issuer: str | None
    """Name and organisation of the authority that issued it."""
    serial: str | None
    """Hex."""
    not_before: str | None
    """ISO 8601."""
    not_after: str | None
    algorithm: str | None
    """Of the signature: `es256`, `ps256`, `ed25519` ..."""


@dataclass(frozen=True)
class TimeStamp:
    """What a time-stamp authority (RFC 3161) says about when a file was signed."""

    at: str
    """ISO 8601."""
    authority: str | None
    trust_list: str | None
    """The list that vouches for the authority; None proves nothing: anybody can run one."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked, all alike taken together."""

    code: str
    """C2PA status code."""
    result: str
    """`holds`, `remark` or `fails`."""
    meaning: str
    """The code in one plain sentence."""
    count: int = 1
    of_ingredient: bool = False
    """Whether it was found about an ingredient while this file was read."""


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
    time_stamp: TimeStamp | None = None
    """The time-stamp, believed or not."""
    certificate: Certificate | None = None
    revocation: str | None = None
    """`not_asked`, `not_revoked`, `revoked`, `unknown` or `unanswered`; None without a credential."""
    fetched_from: str | None = None
    """Where the manifest came from, when it was not in the file and fetching was asked for."""
    points_to: str | None = None
    """Where the manifest is said to be, when it is not in the file and was not fetched."""
    forbids_training: bool | None = None
    """Whether the credential forbids to train on the file; None when it does not say."""
    record: Record | None = None
    """Our own Record, when the file was made by this project."""
    is_update: bool = False
    """Whether the newest manifest only adds statements to the one before it, and leaves the content alone."""
    actions: tuple[Action, ...] = ()
    ingredients: tuple[CredentialIngredient, ...] = ()
    redactions: tuple[Redaction, ...] = ()
    """Statements that the newest manifest removed from earlier ones."""
    soft_bindings: tuple[CredentialBinding, ...] = ()
    checks: tuple[Check, ...] = ()
    """Everything that the C2PA library checked, failures first."""
    explanations: Mapping[str, str] = field(default_factory=dict)
    """Code -> what the C2PA library said about it."""

    def to_json(self) -> dict[str, object]:
        """The reading as plain JSON values, in the form of docs/provenance-report.md."""
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in _PLAIN_FIELDS},
            "standing": self.standing.value,
            **{name: list(getattr(self, name)) for name in _LIST_FIELDS},
            "record": self.record.to_json() if self.record else None,
            "certificate": asdict(self.certificate) if self.certificate else None,
            "time_stamp": asdict(self.time_stamp) if self.time_stamp else None,
            "actions": [action.to_json() for action in self.actions],
            "ingredients": [one.to_json() for one in self.ingredients],
            "redactions": [asdict(one) for one in self.redactions],
            "soft_bindings": [asdict(one) for one in self.soft_bindings],
            "checks": [asdict(one) for one in self.checks],
            "explanations": dict(self.explanations),
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Credential:
        """Read what `to_json` wrote; for answers that come from another process of ours.

        Raises:
            ValueError: for anything else.
        """
        try:
            if facts["schema"] != SCHEMA:
                raise ValueError(f"this reading has schema {facts['schema']!r}, not {SCHEMA}")
            plain: dict[str, Any] = {name: facts[name] for name in _PLAIN_FIELDS}
            lists: dict[str, Any] = {name: tuple(facts[name]) for name in _LIST_FIELDS}
            return cls(
                **plain,
                **lists,
                standing=Standing(facts["standing"]),
                record=Record.from_json(facts["record"]) if facts["record"] else None,
                certificate=Certificate(**facts["certificate"]) if facts["certificate"] else None,
                time_stamp=TimeStamp(**facts["time_stamp"]) if facts["time_stamp"] else None,
                actions=tuple(Action.from_json(one) for one in facts["actions"]),
                ingredients=tuple(CredentialIngredient.from_json(one) for one in facts["ingredients"]),
                redactions=tuple(Redaction(**one) for one in facts["redactions"]),
                soft_bindings=tuple(CredentialBinding(**one) for one in facts["soft_bindings"]),
                checks=tuple(Check(**one) for one in facts["checks"]),
                explanations=dict(facts["explanations"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is not a reading of a credential: {error}") from error


_PLAIN_FIELDS: Final = (
    "file",
    "signer",
    "declares_synthetic",
    "sha256",
    "format",
    "trust_list",
    "title",
    "claim_generator",
    "signed_at",
    "revocation",
    "fetched_from",
    "points_to",
    "forbids_training",
    "is_update",
)
_LIST_FIELDS: Final = ("validation_codes", "reasons", "source_types")
