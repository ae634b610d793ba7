"""What a detector answers, and the one thing every detector must do.

An absence is an answer (`Score.abstained`), a fault is an error (`DetectError`); the two never share a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import isnan, nan
from pathlib import Path
from typing import Protocol


class DetectError(Exception):
    """A request that cannot be carried out; the message is one line: what, where, what to do."""


class Status(StrEnum):
    """Why there is, or is not, a probability."""

    OK = "ok"
    NO_FACE = "no_face"
    FACE_TOO_SMALL = "face_too_small"
    TOO_SHORT = "too_short"
    LOW_QUALITY = "low_quality"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class TimePoint:
    """The probability around one moment."""

    seconds: float
    probability: float


@dataclass(frozen=True)
class FaceScore:
    """The answer for one face track."""

    track: int
    first_second: float
    last_second: float
    box: tuple[float, float, float, float]
    """Median box, pixels of the file, x0 y0 x1 y1."""
    probability: float
    """Calibrated probability of synthetic, or NaN when this face was not judged."""
    timeline: tuple[TimePoint, ...]
    reason: str = ""


@dataclass(frozen=True)
class Score:
    """A calibrated probability that a clip is synthetic, or an abstention with a reason."""

    probability: float
    """In [0, 1], or NaN when abstained."""
    status: Status
    reason: str
    """One sentence for a person; empty only when the status is ok."""
    faces: tuple[FaceScore, ...] = ()
    timeline: tuple[TimePoint, ...] = ()
    """One point a second over the whole file, the most suspicious face of that second."""
    seconds_of_video: float = 0.0
    core_seconds: float = 0.0
    """Processor time spent on the answer, all threads."""

    def __post_init__(self) -> None:
        """Refuse a probability without OK, OK without one, and values outside [0, 1]."""
        if (self.status is Status.OK) == isnan(self.probability):
            raise ValueError(f"status {self.status} does not go with probability {self.probability}")
        if not isnan(self.probability) and not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")

    @property
    def abstained(self) -> bool:
        """Whether there is no probability."""
        return self.status is not Status.OK

    @classmethod
    def abstain(cls, status: Status, reason: str, seconds_of_video: float = 0.0, core_seconds: float = 0.0) -> Score:
        """An answer without a probability."""
        return cls(nan, status, reason, (), (), seconds_of_video, core_seconds)


@dataclass(frozen=True)
class ModelFacts:
    """What to cite about the weights that answered."""

    name: str
    version: str
    sha256: str
    threshold: float
    """Probability from which the model calls a clip synthetic; fixed on validation data of training people only."""
    card: str
    """Path of the model card inside the repository."""


class Detector(Protocol):
    """Anything that can score a file."""

    @property
    def facts(self) -> ModelFacts:
        """What to cite."""
        ...

    def score_file(self, path: Path) -> Score:
        """Judge one video or picture. Unreadable files are an answer (`Status.UNREADABLE`), never an exception."""
        ...
