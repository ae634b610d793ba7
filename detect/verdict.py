"""Credentials, metadata and a score -> one finding with its reasons. Pure: no file, no clock, no model.

The order of belief. The first rule that applies decides; its number is kept in the verdict. No rule ever finds
"real": a detector that sees nothing has seen nothing, and a camera can film a screen.

1. A broken credential is said first: the file is not what was signed, or the signature is worth nothing. None of its
   claims is believed, in neither direction. What the detectors found stands beside it.
2. A trusted signer who declares synthesis is believed, whatever the detectors say.
3. So is an unknown signer: a false declaration of synthesis gains little, so it is believed, but marked as unproven.
4. So is an unsigned mark of a generator in the metadata of a file without a credential, marked as unsigned.
5. Where the detectors abstain nobody has looked at the picture: undecided. A credential alone never shows the absence
   of synthesis.
6. A high score against a trusted signer who says "recorded by a camera" is a contradiction: undecided, and said aloud.
   Neither overrules the other in silence.
7. Any other high score finds synthesis likely. One face suffices: the highest face counts, not the average. An
   unknown signer's "recorded by a camera" changes nothing, because anybody can sign that.
8. A score between the two thresholds is undecided. So is a low one of a file in which some seconds on end are high: a
   forgery of a part is lost in a judgement of the whole.
9. A low score finds no sign of synthesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isnan

from detect.detector import DetectError, FaceScore, Score
from detect.localise import Segment, SegmentRule, segments_of
from provenance.credential import Credential, Standing
from provenance.trust import DEVELOPMENT_LIST


class Finding(StrEnum):
    """The answer. There is no "real": see the module's first lines."""

    DECLARED_SYNTHETIC = "declared_synthetic"
    SYNTHETIC_LIKELY = "synthetic_likely"
    CREDENTIAL_BROKEN = "credential_broken"
    UNDECIDED = "undecided"
    NO_SIGN_OF_SYNTHESIS = "no_sign_of_synthesis"

    @property
    def headline(self) -> str:
        """The finding in the words a person reads first."""
        return {
            Finding.DECLARED_SYNTHETIC: "Declared synthetic",
            Finding.SYNTHETIC_LIKELY: "Probably synthetic",
            Finding.CREDENTIAL_BROKEN: "Credential broken",
            Finding.UNDECIDED: "Undecided",
            Finding.NO_SIGN_OF_SYNTHESIS: "No sign of synthesis found",
        }[self]


@dataclass(frozen=True)
class Policy:
    """Where a probability counts as high and where as low; between the two is undecided."""

    synthetic_from: float
    """Probability from which a score is high."""
    no_sign_below: float
    """Probability below which a score is low."""

    def __post_init__(self) -> None:
        """Refuse thresholds that are not 0 < no_sign_below <= synthetic_from < 1."""
        if not 0.0 < self.no_sign_below <= self.synthetic_from < 1.0:
            raise ValueError(
                "thresholds must be 0 < no_sign_below <= synthetic_from < 1, "
                f"got {self.no_sign_below} and {self.synthetic_from}"
            )

    @classmethod
    def around(cls, threshold: float) -> Policy:
        """High from a model's threshold on, low below half of its odds and never above one half.

        Half the odds is the least step at which the other answer is clearly the better bet; a probability a hair
        under the threshold is not evidence of absence, nor is one that says "rather synthetic".

        Raises:
            DetectError: for a threshold outside (0, 1).
        """
        if not 0.0 < threshold < 1.0:
            raise DetectError(
                f"threshold must lie between 0 and 1, got {threshold:g}; leave it out to use the model's own"
            )
        return cls(synthetic_from=threshold, no_sign_below=min(0.5, threshold / (2.0 - threshold)))


@dataclass(frozen=True)
class Verdict:
    """A finding and the reasons for it."""

    finding: Finding
    because: tuple[str, ...]
    """Sentences for a person, the deciding one first."""
    probability: float | None
    """Of synthetic, by the detectors alone; None where they abstained."""
    rule: int
    """Number of the rule of the module's order of belief that decided."""

    def __post_init__(self) -> None:
        """Refuse a verdict without a reason and rules that do not exist."""
        if not self.because:
            raise ValueError("a verdict needs at least one reason")
        if not 1 <= self.rule <= 9:
            raise ValueError(f"rule must be one of the nine, got {self.rule}")


def decide(
    credential: Credential | None, score: Score, policy: Policy, *, unsigned_marks: Sequence[str] = ()
) -> Verdict:
    """The order of belief, rule by rule.

    Args:
        credential: what the file's credential says, or None where no credential can be read in such a file.
        score: the detectors' answer.
        policy: what counts as high and low.
        unsigned_marks: readable traces of a generator in the metadata, one sentence each; only believed where the
            file carries no credential, since a credential of a real edit may quote the marks of its ingredients.
    """
    probability = strongest_probability(score)
    seen = _what_detectors_saw(score, policy)
    standing = credential.standing if credential is not None else None
    signer = named_signer(credential)
    declares = credential is not None and credential.declares_synthetic is True
    recorded = credential is not None and credential.declares_synthetic is False

    if standing is Standing.BROKEN:
        reason = _as_clause(credential.reasons[0] if credential is not None and credential.reasons else "")
        told = f"Its credential is broken: {reason}. Nothing in it can be believed."
        claims = ("It declares synthesis, which proves nothing now.",) if declares else ()
        return Verdict(Finding.CREDENTIAL_BROKEN, (told, *claims, *seen), probability, 1)
    if standing is Standing.TRUSTED and declares:
        return Verdict(
            Finding.DECLARED_SYNTHETIC,
            (f"Its credential, signed by {signer} and trusted, says that it is synthetic.", *seen),
            probability,
            2,
        )
    if standing is Standing.UNKNOWN_SIGNER and declares:
        told = f"It declares itself synthetic. The signature fits, but its signer ({signer}) is not on a trust list."
        return Verdict(Finding.DECLARED_SYNTHETIC, (told, *seen), probability, 3)
    if unsigned_marks and standing in (None, Standing.ABSENT):
        told = "Its metadata declares a generator. Nobody signed that, and metadata can be edited."
        return Verdict(Finding.DECLARED_SYNTHETIC, (told, *unsigned_marks, *seen), probability, 4)

    about = _what_credential_says(credential, signer, recorded)
    if probability is None:
        return Verdict(Finding.UNDECIDED, (*seen, about), None, 5)
    if probability >= policy.synthetic_from:
        if standing is Standing.TRUSTED and recorded:
            told = f"The evidence contradicts itself: {signer}, a trusted signer, says that a camera recorded it."
            return Verdict(Finding.UNDECIDED, (told, *seen), probability, 6)
        return Verdict(Finding.SYNTHETIC_LIKELY, (*seen, about), probability, 7)
    if probability >= policy.no_sign_below:
        return Verdict(Finding.UNDECIDED, (*seen, about), probability, 8)
    parts = segments_of(score.timeline, SegmentRule.between(policy.synthetic_from, policy.no_sign_below))
    if parts:
        told = f"A part of it scores high, though the whole does not: {in_stretches(parts)}."
        return Verdict(Finding.UNDECIDED, (told, *seen, about), probability, 8)
    return Verdict(Finding.NO_SIGN_OF_SYNTHESIS, (*seen, about), probability, 9)


def strongest_probability(score: Score) -> float | None:
    """The probability that decides: the whole file's, or a single face's where that is higher; None when abstained."""
    if score.abstained:
        return None
    return max([score.probability, *(face.probability for face in judged_faces(score))])


def judged_faces(score: Score) -> tuple[FaceScore, ...]:
    """The faces that have a probability."""
    return tuple(face for face in score.faces if not isnan(face.probability))


def in_percent(probability: float) -> str:
    """A probability in words that never claims certainty: "<1%", "37%", ">99%"."""
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability must be in [0, 1], got {probability}")
    if probability < 0.01:
        return "<1%"
    if probability > 0.99:
        return ">99%"
    return f"{probability * 100:.0f}%"


def in_stretches(parts: Sequence[Segment], at_most: int = 3) -> str:
    """Segments as people say them: "0:03 to 0:07, and 2 more"."""
    named = [f"{in_clock(part.start_seconds)} to {in_clock(part.end_seconds)}" for part in parts[:at_most]]
    rest = len(parts) - len(named)
    return ", ".join(named) + (f", and {rest} more" if rest else "")


def in_clock(seconds: float) -> str:
    """A time as people write it: 0:07, 12:30, 1:02:03."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def named_signer(credential: Credential | None) -> str:
    """The signer as a person should read it."""
    if credential is not None and credential.trust_list == DEVELOPMENT_LIST:
        # its certificate says "DO NOT TRUST", to everybody else
        return "the development identity of this machine"
    return (credential.signer if credential is not None else None) or "an unnamed signer"


def _what_detectors_saw(score: Score, policy: Policy) -> tuple[str, ...]:
    """The detectors' answer in sentences: the file first, then each face where there are several."""
    probability = strongest_probability(score)
    if probability is None:
        return (f"The detectors give no answer: {_as_clause(score.reason)}.",)
    value, high, low = (in_percent(p) for p in (probability, policy.synthetic_from, policy.no_sign_below))
    if probability >= policy.synthetic_from:
        told = f"The detectors find signs of synthesis: {value}, high from {high} on."
    elif probability >= policy.no_sign_below:
        told = f"The detectors are not sure: {value} lies between low (under {low}) and high (from {high} on)."
    else:
        told = f"The detectors find no sign of synthesis: {value}, low under {low}."
    sentences = [told]
    judged = judged_faces(score)
    if len(score.faces) > 1:
        suspects = [face for face in judged if face.probability >= policy.synthetic_from]
        scores = f"{len(suspects)} of them with a high score" if suspects else "none with a high score"
        sentences.append(f"{len(score.faces)} faces, {len(judged)} judged: {scores}.")
    sentences += [
        f"Face {face.track + 1} was not judged: {_as_clause(face.reason or 'no reason given')}."
        for face in score.faces
        if isnan(face.probability)
    ]
    return tuple(sentences)


def _what_credential_says(credential: Credential | None, signer: str, recorded: bool) -> str:
    """One sentence about a credential that did not decide."""
    if credential is None:
        return "Credentials cannot be read in a file of this kind."
    if credential.standing is Standing.ABSENT:
        return "It carries no credential, which is usual and proves nothing."
    trust = "a trusted signer" if credential.standing is Standing.TRUSTED else "an unknown signer"
    claim = "says that a camera recorded it" if recorded else "says nothing about synthesis"
    return f"Its credential, signed by {signer} ({trust}), fits the file and {claim}."


def _as_clause(reason: str) -> str:
    """A reason ready to stand after a colon: no final stop."""
    return reason.strip().rstrip(".") or "no reason given"
