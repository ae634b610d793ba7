"""How an artifact was made: the facts put beside every file and inside every signed one.

record = Record(tool="countermark forge", recipe="mesh-512", seed=7, label="synthetic")
Record.from_json(record.to_json()) == record   # True
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

SCHEMA: Final = 1
"""Version of the JSON form; a reader refuses a newer one instead of guessing."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def now_utc() -> str:
    """The present, as ISO 8601 text ending in Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def installed_version() -> str:
    """Version of the installed package; `0+source` for a bare checkout."""
    # Imported here: it is slow, and every command line imports this module.
    from importlib import metadata

    try:
        return metadata.version("countermark")
    except metadata.PackageNotFoundError:
        return "0+source"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What made an artifact, out of what, and under which agreement."""

    tool: str = "countermark"
    """The program, in words: `countermark forge`."""
    version: str = field(default_factory=installed_version)
    commit: str | None = None
    """Source revision of the tool, when it ran from a checkout."""
    recipe: str | None = None
    seed: int | None = None
    model_sha256: str | None = None
    """Digest of the model weights; None when no model was involved."""
    label: str | None = None
    """`real` or `synthetic`."""
    consent: str | None = None
    """Who agreed, when, to what; or that the portrait shows nobody."""
    portrait_license: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Name of an input -> SHA-256 of its file (hex)."""
    controls: Mapping[str, object] = field(default_factory=dict)
    """Settings that shaped the artifact; JSON values."""
    created_utc: str = field(default_factory=now_utc)
    """ISO 8601, UTC, ending in Z. The maker's own word: only a time-stamp authority proves a time."""

    def __post_init__(self) -> None:
        """Refuse digests that are not SHA-256, unknown labels and values that JSON cannot carry."""
        digests = [*self.inputs.items(), *([("model_sha256", self.model_sha256)] if self.model_sha256 else [])]
        for name, digest in digests:
            if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
                raise ValueError(f"the digest of {name!r} must be 64 lower-case hex digits, got {digest!r}")
        if self.label not in (None, "real", "synthetic"):
            raise ValueError(f"label must be 'real' or 'synthetic', got {self.label!r}")
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            raise ValueError(f"seed must be a whole number, got {self.seed!r}")
        try:
            json.dumps(dict(self.controls), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"controls must be plain JSON values: {error}") from error
        if not self.tool:
            raise ValueError("tool must name the program, got an empty text")

    def to_json(self) -> dict[str, object]:
        """The record as plain JSON values; facts that are not known are left out."""
        facts = {
            "schema": SCHEMA,
            "tool": self.tool,
            "version": self.version,
            "commit": self.commit,
            "recipe": self.recipe,
            "seed": self.seed,
            "model_sha256": self.model_sha256,
            "label": self.label,
            "consent": self.consent,
            "portrait_license": self.portrait_license,
            "inputs": dict(self.inputs),
            "controls": dict(self.controls),
            "created_utc": self.created_utc,
        }
        return {name: fact for name, fact in facts.items() if fact is not None}

    @classmethod
    def from_json(cls, facts: Mapping[str, object]) -> Record:
        """Read what `to_json` wrote; keys that this version does not know are dropped.

        Raises:
            ValueError: for a newer schema, or for values of the wrong kind.
        """
        schema = facts.get("schema", SCHEMA)
        if not isinstance(schema, int) or schema > SCHEMA:
            raise ValueError(f"record schema {schema!r} is newer than {SCHEMA}: update countermark to read it")
        texts: dict[str, str | None] = {}
        for name in _TEXTS:
            text = facts.get(name)
            if text is not None and not isinstance(text, str):
                raise ValueError(f"{name} must be text, got {text!r}")
            texts[name] = text
        inputs, controls = facts.get("inputs", {}), facts.get("controls", {})
        if not isinstance(inputs, Mapping) or not isinstance(controls, Mapping):
            raise ValueError("inputs and controls must be tables")
        seed = facts.get("seed")
        if seed is not None and not isinstance(seed, int):
            raise ValueError(f"seed must be a whole number, got {seed!r}")
        return cls(
            tool=texts["tool"] or "unknown",
            version=texts["version"] or "unknown",
            commit=texts["commit"],
            recipe=texts["recipe"],
            seed=seed,
            model_sha256=texts["model_sha256"],
            label=texts["label"],
            consent=texts["consent"],
            portrait_license=texts["portrait_license"],
            inputs=dict(inputs),
            controls=dict(controls),
            created_utc=texts["created_utc"] or "",
        )


_TEXTS: Final = (
    "tool",
    "version",
    "commit",
    "recipe",
    "model_sha256",
    "label",
    "consent",
    "portrait_license",
    "created_utc",
)
