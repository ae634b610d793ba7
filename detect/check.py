"""A suspect file -> Report: the whole check on one page. START HERE when you read `detect`.

    report = check_file(Path("suspect.mp4"), load_detector())
    report.verdict.finding    # Finding.DECLARED_SYNTHETIC
    report.verdict.because    # ("Its credential, signed by ... and trusted, says that it is synthetic.", ...)

Credentials come before pixels: they are exact, quick, and what they declare cannot be undone by a guess about pixels.
How the evidence is weighed is written down in `detect.verdict`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from detect.detector import DetectError, Detector, Score, Status
from detect.evidence import Explains, evidence_pictures
from detect.forensics import FileFacts, file_facts
from detect.prevalence import KnowsItsRates, Rates
from detect.report import Report, printable
from detect.verdict import Policy, decide
from provenance.credential import Credential, ProvenanceError, Standing, read_credential
from provenance.files import open_regular, sha256_of, state_of
from provenance.trust import TrustAnchors

Progress = Callable[[str], None]
"""Told what is being done, in words, before each step."""


def say_nothing(step: str) -> None:
    """A progress callback for callers who do not care."""


def check_file(
    path: Path,
    detector: Detector,
    *,
    policy: Policy | None = None,
    trust: TrustAnchors | None = None,
    with_pictures: bool = False,
    prevalence: float | None = None,
    progress: Progress = say_nothing,
) -> Report:
    """Check one file: credentials, then metadata, then pixels, then the verdict.

    Args:
        path: video or picture.
        detector: who judges the pixels.
        policy: what counts as a high score; the detector's own threshold unless given.
        trust: whose signatures to believe; the default anchors unless given.
        with_pictures: also cut out the most suspicious moment of each face, for the HTML report.
        prevalence: share of synthetic files where this one comes from, at which the score is then read too.
        progress: told each step.

    Raises:
        DetectError: where nothing in the file can be read: neither a credential nor a picture.
        ProvenanceError: where a list of `trust`, or the file itself in the meantime, cannot be read.
    """
    policy = policy or Policy.around(detector.facts.threshold)
    trust = TrustAnchors.default() if trust is None else trust
    progress("Reading the file")
    before = must_be_readable(path)
    progress("Checking its credentials")
    credential = credential_of(path, trust)
    progress("Reading its metadata")
    facts = file_facts(path)
    progress("Looking at its faces")
    score = detector.score_file(path)
    refuse_unreadable(path, score, credential, facts)
    progress("Weighing the evidence")
    verdict = decide(credential, score, policy, unsigned_marks=facts.unsigned_marks)
    explain = detector.explain if isinstance(detector, Explains) else None
    pictures = evidence_pictures(path, score, progress, explain=explain) if with_pictures else ()
    digest = credential.sha256 if credential is not None else sha256_of(path)
    if must_be_readable(path) != before:
        raise DetectError(f"{printable(path)} was changed while it was checked; try again when it is finished")
    return Report(
        str(path),
        digest,
        verdict,
        score,
        policy,
        credential,
        facts,
        detector.facts,
        pictures,
        prevalence,
        rates_at(detector, policy),
    )


def rates_at(detector: Detector, policy: Policy) -> Rates | None:
    """How often a detector is right at the threshold in use; None where that was never measured."""
    at_its_own = policy.synthetic_from == detector.facts.threshold
    return detector.rates if at_its_own and isinstance(detector, KnowsItsRates) else None


def must_be_readable(path: Path) -> tuple[int, int, int]:
    """Let only a file pass that exists, is a file, may be read, is not empty and not mostly holes.

    Returns:
        Its state on the disk, which differs when the file is written to afterwards.

    Raises:
        DetectError: for any other, in one line.
    """
    name = printable(path)
    try:
        if path.is_dir():
            raise DetectError(f"{name} is a folder; name one file, or use `detect score` for a whole folder")
        if path.is_symlink() and not path.exists():
            raise DetectError(f"{name} is a link that leads nowhere; name the file itself")
        if not path.exists():
            raise DetectError(f"{name} does not exist; check the spelling")
        if not path.is_file():
            raise DetectError(f"{name} is not a regular file; name a video or picture")
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            if status.st_size == 0:
                raise DetectError(f"{name} is empty (0 bytes); name a video or picture")
            file.read(1)
    except OSError as error:
        raise DetectError(f"cannot read {name}: {error.strerror or error}") from error
    except ProvenanceError as error:
        raise DetectError(printable(str(error))) from error
    return state_of(status)


def credential_of(path: Path, trust: TrustAnchors) -> Credential | None:
    """The file's credential; None where no credential can be read in a file of this kind."""
    try:
        return read_credential(path, trust=trust)
    except ProvenanceError:
        # an answer: files that are no media file by their content
        return None


def could_not_be_parsed(credential: Credential) -> bool:
    """Whether a credential counts as broken only because the reader could not make sense of the file."""
    return credential.standing is Standing.BROKEN and credential.validation_codes == ("general.error",)


def refuse_unreadable(path: Path, score: Score, credential: Credential | None, facts: FileFacts) -> None:
    """Stop where there is nothing to judge: no picture, no credential that can be read, no mark.

    A signed file whose pictures are damaged still has a credential to report, and that may be the whole story.
    """
    says_something = credential is not None and credential.standing is not Standing.ABSENT
    if credential is not None and could_not_be_parsed(credential):
        says_something = False
    if score.status is Status.UNREADABLE and not says_something and not facts.unsigned_marks:
        # a reason that comes from the reader of the file names it already
        named = str(path) in score.reason
        raise DetectError(f"cannot check {score.reason if named else f'{path}: {score.reason}'}")
