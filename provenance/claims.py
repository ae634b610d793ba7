"""What we assert about a file: what it is, what went into it, how it was made, what may be done with it.

    claim = Claim(
        source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA,
        title="anna.mp4",
        ingredients=(Ingredient(Path("anna.png"), "portrait"), Ingredient(Path("hello.flac"), "speech")),
        record=Record(tool="countermark forge", label="synthetic", seed=7),
    )

This module knows the vocabulary of C2PA and nothing of its library: `provenance.signing` turns a claim into a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from provenance.record import Record

RECORD_LABEL: Final = "org.countermark.record"
"""Our own assertion: the Record, and the SHA-256 of every source file."""
TRAINING_LABEL: Final = "cawg.training-mining"
SOFT_BINDING_LABEL: Final = "c2pa.soft-binding"

_IPTC: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_C2PA: Final = "http://c2pa.org/digitalsourcetype/"


class SourceType(StrEnum):
    """Where a picture or sound comes from: the IPTC digital source types, and C2PA's for data.

    The value is the short name; `uri` is what a manifest carries. A closed list on purpose: the C2PA library
    accepts any text here, so a misspelt type would be signed without a word.
    """

    TRAINED_ALGORITHMIC_MEDIA = "trainedAlgorithmicMedia"
    """Generated wholly by a trained model."""
    COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA = "compositeWithTrainedAlgorithmicMedia"
    """A recording in which a trained model changed or replaced a part: re-enactment, lip-sync, swap."""
    COMPOSITE_SYNTHETIC = "compositeSynthetic"
    """A composite in which at least one element is synthetic."""
    ALGORITHMIC_MEDIA = "algorithmicMedia"
    """Made by an algorithm that was not trained on samples."""
    TRAINED_ALGORITHMIC_DATA = "trainedAlgorithmicData"
    """Data, not media, made by a trained model."""
    DIGITAL_CAPTURE = "digitalCapture"
    """A recording of real life."""
    COMPUTATIONAL_CAPTURE = "computationalCapture"
    """A recording by a camera that computes its picture from several."""
    COMPOSITE_CAPTURE = "compositeCapture"
    """A composite of recordings only."""
    ALGORITHMICALLY_ENHANCED = "algorithmicallyEnhanced"
    """A recording improved by an algorithm that does not change what it shows."""
    HUMAN_EDITS = "humanEdits"
    """A recording changed by a person with ordinary tools."""
    DIGITAL_CREATION = "digitalCreation"
    """Made by a person with digital tools: drawn, painted, modelled."""
    SCREEN_CAPTURE = "screenCapture"
    """A recording of a screen."""

    @property
    def uri(self) -> str:
        """The identifier that a manifest carries."""
        return (_C2PA if self is SourceType.TRAINED_ALGORITHMIC_DATA else _IPTC) + self.value

    @property
    def is_synthetic(self) -> bool:
        """Whether this type says that a machine made at least a part of what is seen or heard."""
        return self in _SYNTHETIC

    @property
    def is_capture(self) -> bool:
        """Whether this type says that everything seen and heard was recorded."""
        return self in _CAPTURED

    @classmethod
    def from_uri(cls, uri: str) -> SourceType | None:
        """The type behind an identifier, or None for one that is not on the list."""
        for prefix in (_IPTC, _C2PA, _IPTC.replace("http:", "https:"), _C2PA.replace("http:", "https:")):
            if uri.startswith(prefix):
                try:
                    return cls(uri.removeprefix(prefix))
                except ValueError:
                    return None
        return None


_SYNTHETIC: Final = frozenset(
    {
        SourceType.TRAINED_ALGORITHMIC_MEDIA,
        SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA,
        SourceType.COMPOSITE_SYNTHETIC,
        SourceType.ALGORITHMIC_MEDIA,
        SourceType.TRAINED_ALGORITHMIC_DATA,
    }
)
_CAPTURED: Final = frozenset(
    {
        SourceType.DIGITAL_CAPTURE,
        SourceType.COMPUTATIONAL_CAPTURE,
        SourceType.COMPOSITE_CAPTURE,
        SourceType.ALGORITHMICALLY_ENHANCED,
    }
)

ACTIONS: Final = ("created", "edited")


@dataclass(frozen=True)
class Ingredient:
    """A file that went into the signed one."""

    path: Path
    title: str
    """What it was: `portrait`, `speech`; shown to whoever reads the credential."""
    relationship: str = "inputTo"
    """`inputTo` for what a model was given, `componentOf` for what is still visible or audible in the result."""

    def __post_init__(self) -> None:
        """Refuse unknown relationships; the parent has its own field in Claim."""
        if self.relationship not in ("inputTo", "componentOf"):
            raise ValueError(
                f"relationship must be 'inputTo' or 'componentOf', got {self.relationship!r}; "
                "an earlier version of the same file is given as Claim.parent"
            )
        if not self.title:
            raise ValueError("an ingredient needs a title, got an empty text")


@dataclass(frozen=True)
class SoftBinding:
    """What leads from a copy without credentials back to this one: a watermark in it, or its fingerprint."""

    algorithm: str
    """Name with a version, such as `org.countermark.watermark.1`."""
    blocks: tuple[Mapping[str, Any], ...]
    """C2PA's form: each a `scope` (empty for the whole file, or a `timespan` in milliseconds) and a `value`."""
    is_watermark: bool = False
    """Whether it was put into the content, which is an action of its own."""

    def __post_init__(self) -> None:
        """Refuse bindings without a name or a value."""
        if not self.algorithm:
            raise ValueError("a soft binding needs the name of its algorithm, got an empty text")
        if not self.blocks or any("scope" not in one or not isinstance(one.get("value"), str) for one in self.blocks):
            raise ValueError(f"every block of {self.algorithm} needs a scope and a value of text")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Everything that the signer says about one file."""

    source_type: SourceType
    action: str = "created"
    """`created` for something new; `edited` for a changed version of `parent` (or of the file itself)."""
    title: str | None = None
    """Name shown to readers; None takes the file's name."""
    description: str | None = None
    """What was done, in words."""
    ingredients: tuple[Ingredient, ...] = ()
    record: Record | None = None
    do_not_train: bool = True
    """Assert that the file may not be used for data mining or to train models."""
    parent: Path | None = None
    """The version this file was made from. A file that is already signed becomes its own parent when none is given."""
    soft_bindings: tuple[SoftBinding, ...] = ()
    """How to find this credential again when it is stripped: see `provenance.durable`."""

    def __post_init__(self) -> None:
        """Refuse actions other than created and edited, and foreign source types."""
        if self.action not in ACTIONS:
            raise ValueError(f"action must be one of {', '.join(ACTIONS)}, got {self.action!r}")
        if not isinstance(self.source_type, SourceType):
            raise ValueError(f"source_type must be a SourceType, got {self.source_type!r}")
        if self.action == "created" and self.parent is not None:
            raise ValueError("a file with a parent was edited, not created: use action='edited'")
