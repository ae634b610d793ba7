"""What a score and a flag are worth where synthetic files are rare: Bayes' rule, and the words for it.

    read_at_prevalence(0.9, 0.01, Rates(detection=0.8, false_alarms=0.05, real_clips=400)).sentences
    # ("Where 1% of the files are synthetic, this score means 8%.",
    #  "Of 100 files flagged among uploads of which 1% are synthetic, about 14 are.")

The reader states the share: no detector knows where a file comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Any, Protocol, runtime_checkable

from detect.metrics import flags_in_words, predictive_values, share_in_words
from detect.verdict import in_percent

BASE_RATES = (0.5, 0.1, 0.01)
"""Shares of synthetic files at which a score is read aloud: half, one in ten, one in a hundred."""

CALIBRATED_AT = 0.5
"""Share of synthetic clips in the data that the probability was calibrated on: real and synthetic weigh the same."""


@dataclass(frozen=True)
class Rates:
    """How often a detector is right at its own threshold, measured on clips it was not made with."""

    detection: float
    """Share of synthetic clips at or above the threshold."""
    false_alarms: float
    """Share of real clips at or above it."""
    real_clips: int
    """How many of them were measured."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        if not (0.0 <= self.detection <= 1.0 and 0.0 <= self.false_alarms <= 1.0) or self.real_clips < 1:
            raise ValueError(f"rates must be in [0, 1] over at least one real clip, got {self}")


@runtime_checkable
class KnowsItsRates(Protocol):
    """A detector that carries its measured rates."""

    @property
    def rates(self) -> Rates | None:
        """None where they were never measured."""
        ...


@dataclass(frozen=True)
class Reading:
    """A score and a flag, read where a stated share of the files is synthetic."""

    prevalence: float
    probability: float | None
    """That this file is synthetic; None where the detectors abstained."""
    flagged: float | None
    """Share of flagged files that are synthetic (PPV); None where the detector's rates are not known."""
    spared: float | None
    """Share of the other files that are real (NPV); None likewise."""
    sentences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        names = ("prevalence", "probability", "flagged", "spared")
        return {**{name: getattr(self, name) for name in names}, "sentences": list(self.sentences)}


def probability_at_base_rate(probability: float, base_rate: float, calibrated_at: float = CALIBRATED_AT) -> float:
    """A calibrated probability, read where synthetic files are rarer or commoner than where it was calibrated.

    Bayes' rule in odds: the likelihood ratio stays, the prior odds change. The share of synthetic files decides how
    much a high score is worth: 90% among files of which half are synthetic is 8% where one in a hundred is.

    Raises:
        ValueError: for a probability outside [0, 1] or a rate outside (0, 1).
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability must be in [0, 1], got {probability}")
    for name, rate in (("base_rate", base_rate), ("calibrated_at", calibrated_at)):
        if not 0.0 < rate < 1.0:
            raise ValueError(f"{name} must lie between 0 and 1, got {rate}")
    ratio = (base_rate / (1.0 - base_rate)) * ((1.0 - calibrated_at) / calibrated_at)
    return probability * ratio / (probability * ratio + (1.0 - probability))


def read_at_prevalence(probability: float | None, prevalence: float, rates: Rates | None) -> Reading:
    """What a score, and a flag of this detector, are worth where a share of the files is synthetic.

    Args:
        probability: of this file, calibrated; None where the detectors abstained.
        prevalence: share of synthetic files, strictly inside (0, 1).
        rates: of the detector at its threshold; None where they are not known.
    """
    share = share_in_words(prevalence)
    sentences = []
    means = None if probability is None else probability_at_base_rate(probability, prevalence)
    if means is not None:
        sentences.append(f"Where {share} of the files are synthetic, this score means {in_percent(means)}.")
    if rates is None:
        sentences.append("How often this detector flags wrongly at this threshold is not known.")
        return Reading(prevalence, means, None, None, tuple(sentences))
    flagged, spared = predictive_values(rates.detection, rates.false_alarms, prevalence)
    sentences.append(flags_in_words(rates.detection, rates.false_alarms, prevalence))
    if rates.false_alarms * rates.real_clips < 5:
        sentences.append(f"That rests on {rates.real_clips} real clips: too few to know so small a rate well.")
    worth, calm = (None if isnan(one) else one for one in (flagged, spared))
    return Reading(prevalence, means, worth, calm, tuple(sentences))


def in_words(base_rate: float) -> str:
    """A share as people say it: "half", "1 in 10"."""
    return "half" if base_rate == 0.5 else f"1 in {round(1 / base_rate)}"
