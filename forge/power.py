"""How sure a figure will be, before anything is made: the interval of an AUC on so many clips of so many people.

    real, synthetic = Sampled.of([4, 4, 3]), Sampled.of([2] * 50)        # clips of each person
    half_width(0.9, real, synthetic)                                     # expected 95% interval: 0.9 +- this
    clips_needed(0.9, 0.02, clips_a_person=3)                            # of each label

The variance of an AUC is Hanley and McNeil's (Radiology 143, 1982); clips of one person are alike, so each label counts
as clips / (1 + (m - 1) icc) independent ones (Kish's design effect, with m the mean size of a clip's own cluster).
Both err to the safe side: with normal scores the formula is 2 to 25% too wide (most at an AUC of 0.95), and where real
clips and forgeries show the same people the true interval is narrower still, by a quarter to a half.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, isfinite, isnan, nan, sqrt
from statistics import NormalDist

ASSUMED_ICC = 0.4
"""Share of a score's variance that lies between people.

Of the shipped detector's logits on makers it had not seen, 0.21 to 0.38 over 50 real people, and 0.23 to 0.83 over 7 to
18 generated ones with two clips each.
"""
AUCS = (0.7, 0.8, 0.9, 0.95)
WANTED = 0.02
"""Half-width that a note says the price of."""
FEWEST = 5.0
"""Independent clips of a label below which no interval is foretold: the formula is one of large numbers."""
MOST_CLIPS = 10**8


@dataclass(frozen=True)
class Sampled:
    """Clips of one label, and how they cluster in people."""

    clips: int
    people: int
    cluster: float
    """Mean over clips of the number of clips of the same person."""

    def __post_init__(self) -> None:
        """Refuse numbers that no set of clips has."""
        if self.clips < 0 or not 0 <= self.people <= self.clips or (self.clips and not self.people):
            raise ValueError(f"need clips of 1 to as many people, got {self.clips} clips of {self.people}")
        if self.clips and not 1 <= self.cluster <= self.clips:
            raise ValueError(f"a cluster has 1 to all of the {self.clips} clips, got {self.cluster}")

    @classmethod
    def of(cls, counts: Iterable[int]) -> Sampled:
        """From the numbers of clips of each person."""
        sizes = [count for count in counts if count]
        total = sum(sizes)
        return cls(total, len(sizes), sum(size * size for size in sizes) / total if total else 0.0)

    def independent(self, icc: float = ASSUMED_ICC) -> float:
        """How many independent clips say as much."""
        return self.clips / (1.0 + (self.cluster - 1.0) * icc) if self.clips else 0.0


def half_width(
    auc: float, real: Sampled, synthetic: Sampled, *, icc: float = ASSUMED_ICC, confidence: float = 0.95
) -> float:
    """Expected half-width of the interval of an AUC; nan with fewer than five independent clips of a label.

    Args:
        auc: the true one, strictly between 0.5 and 1.
        real: clips labelled real.
        synthetic: clips labelled synthetic.
        icc: share of a score's variance that lies between people, 0 to 1.
        confidence: of the interval.

    Raises:
        ValueError: for numbers outside these ranges.
    """
    _check(auc, icc, confidence)
    return _half_width(auc, real.independent(icc), synthetic.independent(icc), confidence)


def clips_needed(
    auc: float, wanted: float, *, clips_a_person: float = 1.0, icc: float = ASSUMED_ICC, confidence: float = 0.95
) -> int:
    """Clips of each label for which the expected half-width is at most the wanted one, with more people as they grow.

    Args:
        auc: the true one.
        wanted: half-width, above 0.
        clips_a_person: at least 1; people are clips / this.
        icc: as above.
        confidence: of the interval.

    Raises:
        ValueError: for numbers outside these ranges, or when more clips than anybody makes would be needed.
    """
    _check(auc, icc, confidence)
    if not 0 < wanted < 0.5 or clips_a_person < 1:
        raise ValueError(
            f"need a half-width above 0 and below 0.5, and clips_a_person >= 1, got {wanted}, {clips_a_person}"
        )
    effect = 1.0 + (clips_a_person - 1.0) * icc
    low, high = 0, MOST_CLIPS
    while high - low > 1:
        middle = (low + high) // 2
        reached = _half_width(auc, middle / effect, middle / effect, confidence)
        low, high = (low, middle) if reached <= wanted else (middle, high)
    if high == MOST_CLIPS:
        raise ValueError(f"a half-width of {wanted} needs more than {MOST_CLIPS} clips; ask for a wider one")
    return high


def clips_needed_of(
    auc: float, wanted: float, people: int, *, icc: float = ASSUMED_ICC, confidence: float = 0.95
) -> int | None:
    """The same when there are so many people of each label and no more; None when no number of clips is enough.

    Many clips of one person say no more than 1 / icc independent ones.
    """
    independent = clips_needed(auc, wanted, icc=icc, confidence=confidence)
    if people < 1:
        raise ValueError(f"need at least one person, got {people}")
    room = people - independent * icc
    if room <= 0:
        return None
    return max(people, ceil(independent * (1.0 - icc) * people / room))


def _check(auc: float, icc: float, confidence: float) -> None:
    if not 0.5 < auc < 1.0:
        raise ValueError(f"auc must lie between 0.5 and 1, got {auc}")
    if not 0.0 <= icc <= 1.0:
        raise ValueError(f"icc must be a share from 0 to 1, got {icc}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")


def _half_width(auc: float, real: float, synthetic: float, confidence: float) -> float:
    """From numbers of independent clips; nan is never at most what is wanted."""
    if min(real, synthetic) < FEWEST:
        return nan
    beats_two_real, two_beat_real = auc / (2.0 - auc), 2.0 * auc * auc / (1.0 + auc)
    of_synthetic = (synthetic - 1.0) * (beats_two_real - auc * auc)
    of_real = (real - 1.0) * (two_beat_real - auc * auc)
    variance = (auc * (1.0 - auc) + of_synthetic + of_real) / (real * synthetic)
    return NormalDist().inv_cdf(0.5 + confidence / 2.0) * sqrt(max(variance, 0.0))


@dataclass(frozen=True)
class PowerNote:
    """What the clips of one split can tell about a detector."""

    split: str
    real: Sampled
    synthetic: Sampled
    icc: float = ASSUMED_ICC

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not isfinite(self.icc) or not 0.0 <= self.icc <= 1.0:
            raise ValueError(f"icc must be a share from 0 to 1, got {self.icc}")

    def widths(self) -> dict[float, float]:
        """AUC -> expected half-width of its 95% interval; nan where there are too few clips."""
        return {auc: half_width(auc, self.real, self.synthetic, icc=self.icc) for auc in AUCS}

    def prices(self) -> dict[float, int]:
        """AUC -> clips of each label for +-0.02 with as many clips of a person as here."""
        clustered = max(self.real.cluster, self.synthetic.cluster, 1.0)
        return {auc: clips_needed(auc, WANTED, clips_a_person=clustered, icc=self.icc) for auc in AUCS}

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; null for an interval that cannot be foretold."""
        widths, prices = self.widths(), self.prices()
        return {
            "split": self.split,
            "real": {"clips": self.real.clips, "people": self.real.people},
            "synthetic": {"clips": self.synthetic.clips, "people": self.synthetic.people},
            "icc_assumed": self.icc,
            "half_width_95": {f"{auc:g}": None if isnan(width) else round(width, 4) for auc, width in widths.items()},
            "clips_of_each_label_for_0.02": {f"{auc:g}": price for auc, price in prices.items()},
        }
