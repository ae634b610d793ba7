"""A verdict with its evidence -> JSON for programs, HTML for people.

The JSON is versioned (`SCHEMA`): fields may be added under the same number, never renamed or removed. The HTML is one
file that loads nothing from anywhere, so that it can be mailed, printed and opened in ten years.
"""

from __future__ import annotations

import itertools
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import provenance.files
from detect.detector import DetectError, FaceScore, ModelFacts, Score, TimePoint
from detect.forensics import FileFacts
from detect.localise import Segment, SegmentRule, covers, segments_of
from detect.prevalence import BASE_RATES, Rates, Reading, in_words, probability_at_base_rate, read_at_prevalence
from detect.verdict import Policy, Verdict, in_clock, in_percent, in_stretches, named_signer
from provenance.credential import Credential, ProvenanceError, Standing

if TYPE_CHECKING:
    from jinja2 import Environment

SCHEMA = "countermark.check/1"

THROUGHOUT = 0.9
"""Share of a timeline in segments from which on naming their times would say less than "throughout"."""

STANDING_WORDS = {
    Standing.ABSENT: "No credential in the file",
    Standing.BROKEN: "Broken: nothing in it can be believed",
    Standing.UNKNOWN_SIGNER: "Intact, signed by somebody not on a trust list",
    Standing.TRUSTED: "Intact, signed by somebody on a trust list",
}

NEVER_CHECKED = (
    "Sound: nothing compares the voice with the lips, or asks whether the voice is cloned.",
    "Anything but faces: backgrounds, objects and text in the picture are not judged.",
    "Context: a genuine recording with a false caption passes every check here.",
    "Who is in the picture: nobody is identified.",
    "The network: no remote credential, revocation list or search engine was asked.",
)


@dataclass(frozen=True)
class EvidencePicture:
    """The most suspicious moment of one face."""

    track: int
    seconds: float
    width: int
    height: int
    """Of the picture, pixels."""
    box: tuple[float, float, float, float]
    """Of the face in the picture, pixels, x0 y0 x1 y1."""
    scene_jpeg: bytes
    """The whole frame."""
    face_jpeg: bytes
    """The face alone with some margin, square."""
    mouths_jpeg: bytes = b""
    """The mouth in frames of the second that begins at this moment, side by side; empty for a picture."""
    mouths: int = 0
    """How many frames that shows."""
    heat_jpeg: bytes = b""
    """The face as a branch of the detector saw it, what spoke for synthesis tinted; empty where no branch can tell."""
    heat_says: str = ""
    """One sentence on what the tint means."""

    def __post_init__(self) -> None:
        """Refuse empty pictures."""
        if not self.scene_jpeg or not self.face_jpeg:
            raise ValueError("an evidence picture needs both its scene and its face")
        if bool(self.heat_jpeg) != bool(self.heat_says) or bool(self.mouths_jpeg) != bool(self.mouths):
            raise ValueError("a heat map needs its sentence, and a strip of mouths their number")


@dataclass(frozen=True)
class Report:
    """Everything a check found out about one file."""

    file: str
    """As the caller named it."""
    sha256: str
    verdict: Verdict
    score: Score
    policy: Policy
    credential: Credential | None
    """None where no credential can be read in such a file."""
    facts: FileFacts
    model: ModelFacts
    pictures: tuple[EvidencePicture, ...] = ()
    prevalence: float | None = None
    """Share of synthetic files where this one comes from, as the reader states it."""
    rates: Rates | None = None
    """The detector's, at the threshold of the policy."""

    def __post_init__(self) -> None:
        """Refuse a prevalence at which nothing is left to find out."""
        if self.prevalence is not None and not 0.0 < self.prevalence < 1.0:
            raise ValueError(f"prevalence must lie between 0 and 1, got {self.prevalence}")

    def to_json(self) -> dict[str, Any]:
        """The report as plain values: no NaN, everything `json.dumps` accepts."""
        return {
            "schema": SCHEMA,
            "file": self.file,
            "sha256": self.sha256,
            "size_bytes": self.facts.size_bytes,
            "finding": self.verdict.finding.value,
            "headline": self.verdict.finding.headline,
            "because": list(self.verdict.because),
            "rule": self.verdict.rule,
            "probability": self.verdict.probability,
            "status": self.score.status.value,
            "reason": self.score.reason,
            "policy": {"synthetic_from": self.policy.synthetic_from, "no_sign_below": self.policy.no_sign_below},
            "at_base_rate": [
                {"base_rate": rate, "probability": probability} for rate, probability in self.read_at_base_rates()
            ],
            "prevalence": reading.to_json() if (reading := self.reading()) else None,
            "timeline": _points(self.score.timeline),
            "segments": [segment.to_json() for segment in self.segments()],
            "faces": [
                {**_face(face), "segments": [one.to_json() for one in self.segments(face)]} for face in self.score.faces
            ],
            "seconds_of_video": self.score.seconds_of_video,
            "core_seconds": self.score.core_seconds,
            "credential": _credential(self.credential),
            "file_facts": {fact.name: fact.value for fact in self.facts.facts},
            "unsigned_marks": list(self.facts.unsigned_marks),
            "checked": list(self.checked()),
            "not_checked": list(self.not_checked()),
            "model": {
                "name": self.model.name,
                "version": self.model.version,
                "sha256": self.model.sha256,
                "threshold": self.model.threshold,
                "card": self.model.card,
            },
            "tool": {"name": "countermark", "version": tool_version()},
        }

    def read_at_base_rates(self) -> tuple[tuple[float, float], ...]:
        """(share of synthetic files, probability that this one is) for each of BASE_RATES; empty when abstained."""
        probability = self.verdict.probability
        if probability is None:
            return ()
        return tuple((rate, probability_at_base_rate(probability, rate)) for rate in BASE_RATES)

    def reading(self) -> Reading | None:
        """What the score and a flag are worth at the stated prevalence; None where none was stated."""
        if self.prevalence is None:
            return None
        return read_at_prevalence(self.verdict.probability, self.prevalence, self.rates)

    def segments(self, face: FaceScore | None = None) -> tuple[Segment, ...]:
        """When a face, or the most suspicious one of each second, scores high."""
        rule = SegmentRule.between(self.policy.synthetic_from, self.policy.no_sign_below)
        timeline = self.score.timeline if face is None else face.timeline
        return segments_of(timeline, rule, self.score.seconds_of_video)

    def when(self, face: FaceScore | None = None) -> str:
        """The segments in words; empty where there is none."""
        found = self.segments(face)
        if not found:
            return ""
        timeline = self.score.timeline if face is None else face.timeline
        if covers(found, timeline) >= THROUGHOUT:
            return "throughout"
        return in_stretches(found)

    def checked(self) -> tuple[str, ...]:
        """What was looked at, one line each."""
        lines = ["File: " + "; ".join(f"{fact.name.lower()} {fact.value}" for fact in self.facts.facts[:4]) + "."]
        if self.credential is not None:
            lines.append("Content Credentials (C2PA): signature, signer and every hash, offline.")
        lines.append("Metadata: marks that generators leave.")
        if self.score.faces:
            judged = sum(not isnan(face.probability) for face in self.score.faces)
            lines.append(
                f"Pixels: {judged} of {len(self.score.faces)} faces, by {self.model.name} {self.model.version}."
            )
        elif not self.score.abstained:
            lines.append(f"Pixels: by {self.model.name} {self.model.version}.")
        return tuple(lines)

    def not_checked(self) -> tuple[str, ...]:
        """What was not looked at, one line each."""
        lines = []
        if self.credential is None:
            lines.append("Content Credentials: they cannot be read in a file of this kind.")
        if self.score.abstained:
            lines.append(f"Pixels: the detectors gave no answer ({self.score.reason.rstrip('.')}).")
        unjudged = [face for face in self.score.faces if isnan(face.probability)]
        if unjudged:
            lines.append(f"{len(unjudged)} of {len(self.score.faces)} faces: the reasons stand beside them.")
        return (*lines, *NEVER_CHECKED)


def templates_in(folder: Path, **filters: Callable[..., Any]) -> Environment:
    """The templates of pages, and the filters that they use; `printable` is always there."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # autoescape for every name: a file may be called <script>, and so may its signer, or a maker of clips
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(printable=printable, **filters)
    return environment


def to_html(report: Report) -> str:
    """The report as one page that loads nothing from anywhere."""
    folder = Path(__file__).with_name("templates")
    environment = templates_in(folder, percent=in_percent, clock=in_clock, sentence=as_sentence, share=in_words)
    pictures = {picture.track: picture for picture in report.pictures}
    page = environment.get_template("report.html").render(
        report=report,
        json=report.to_json(),
        name=printable(Path(report.file).name),
        standing=STANDING_WORDS.get(report.credential.standing) if report.credential else None,
        overall=plot(report.score.timeline, report.score.seconds_of_video, report.policy, report.segments()),
        when=report.when(),
        reading=report.reading(),
        faces=[
            {
                "face": face,
                "judged": not isnan(face.probability),
                "high": not isnan(face.probability) and face.probability >= report.policy.synthetic_from,
                "picture": pictures.get(face.track),
                "points": [point for point in face.timeline if not isnan(point.probability)],
                "plot": plot(face.timeline, report.score.seconds_of_video, report.policy, report.segments(face)),
                "when": report.when(face),
            }
            for face in report.score.faces
        ],
        signer=named_signer(report.credential),
        data_uri=_data_uri,
        synthetic_from=report.policy.synthetic_from,
        no_sign_below=report.policy.no_sign_below,
        base_rates=report.read_at_base_rates(),
    )
    return str(page)


def write_html(report: Report, path: Path) -> None:
    """Write the page whole or not at all.

    Raises:
        DetectError: where the page cannot be written.
    """
    write_whole(to_html(report), path)


def write_whole(content: str | bytes, path: Path) -> None:
    """Put a text or bytes into a file in one step: whoever looks sees the old content or the new, never a part.

    Raises:
        DetectError: where the file cannot be written.
    """
    if path.is_dir():
        raise DetectError(f"{printable(path)} is a folder; name a file to write to")
    try:
        # a file name that is no valid text must not stop the report about that file
        data = content.encode("utf-8", "replace") if isinstance(content, str) else content
        provenance.files.write_whole(path, data)
    except ProvenanceError as error:
        raise DetectError(f"{printable(str(error))}; choose another place") from error


def make_folder(path: Path) -> None:
    """A folder and those above it, unless they are there.

    Raises:
        DetectError: where it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DetectError(f"{printable(str(path))}: cannot write there ({error.strerror})") from error


@dataclass(frozen=True)
class Plot:
    """A timeline as plain geometry for an SVG of `width` x `height` units."""

    width: float
    height: float
    lines: tuple[str, ...]
    """`points` of one polyline for each stretch without a gap."""
    areas: tuple[str, ...]
    """`points` of the surface under each line."""
    dots: tuple[tuple[float, float, float, float], ...]
    """x, y, seconds, probability of each point."""
    high_y: float
    low_y: float
    ticks: tuple[tuple[float, str], ...]
    """x and text of marks on the time axis."""
    peak: tuple[float, float]
    """Seconds and probability of the highest point."""
    bands: tuple[tuple[float, float, str], ...] = ()
    """x, width and times of each segment."""


def plot(
    timeline: Sequence[TimePoint], seconds_of_video: float, policy: Policy, segments: Sequence[Segment] = ()
) -> Plot | None:
    """Lay a timeline out; None where there are not two moments to join.

    Points more than two and a half seconds apart are not joined: the face was not there in between.
    """
    points = sorted((point for point in timeline if not isnan(point.probability)), key=lambda point: point.seconds)
    if len(points) < 2:
        return None
    width, height = 720.0, 120.0
    span = max(seconds_of_video, points[-1].seconds, 1e-6)

    def place(point: TimePoint) -> tuple[float, float]:
        return round(point.seconds / span * width, 1), round((1.0 - point.probability) * height, 1)

    stretches: list[list[TimePoint]] = [[points[0]]]
    for before, point in itertools.pairwise(points):
        if point.seconds - before.seconds > 2.5:
            stretches.append([])
        stretches[-1].append(point)
    lines, areas = [], []
    for stretch in stretches:
        line = " ".join(f"{x},{y}" for x, y in map(place, stretch))
        lines.append(line)
        areas.append(f"{place(stretch[0])[0]},{height} {line} {place(stretch[-1])[0]},{height}")
    top = max(points, key=lambda point: point.probability)
    return Plot(
        width=width,
        height=height,
        lines=tuple(lines),
        areas=tuple(areas),
        # a two-hour timeline has thousands of points: dots are drawn only while they can be told apart
        dots=tuple((*place(point), point.seconds, point.probability) for point in points) if len(points) <= 120 else (),
        high_y=round((1.0 - policy.synthetic_from) * height, 1),
        low_y=round((1.0 - policy.no_sign_below) * height, 1),
        ticks=tuple((round(second / span * width, 1), in_clock(second)) for second in time_ticks(span)),
        peak=(top.seconds, top.probability),
        bands=tuple(_band(segment, span, width) for segment in segments),
    )


def _band(segment: Segment, span: float, width: float) -> tuple[float, float, str]:
    start, end = (min(second / span, 1.0) * width for second in (segment.start_seconds, segment.end_seconds))
    return round(start, 1), round(max(end - start, 1.0), 1), in_stretches((segment,))


def time_ticks(span_seconds: float, at_most: int = 8) -> list[int]:
    """Whole seconds to mark on an axis from 0 to a span: round steps, at most so many."""
    for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200):
        if span_seconds / step <= at_most - 1:
            return list(range(0, int(span_seconds) + 1, step))
    return [0, int(span_seconds)]


def as_sentence(text: str) -> str:
    """A reason with a capital and a full stop, ready to stand alone."""
    text = printable(text).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def printable(text: str | Path) -> str:
    """A name that can be shown: control, direction-changing and undecodable characters become a replacement mark.

    A file name may carry terminal escapes or a right-to-left override that shows "gpj.exe" as "exe.jpg".
    """
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c
        for c in str(text)
    )


def tool_version() -> str:
    """Version of the installed tool."""
    try:
        return version("countermark")
    except PackageNotFoundError:
        return "not installed"


def _points(timeline: Sequence[TimePoint]) -> list[dict[str, float | None]]:
    return [
        {"seconds": point.seconds, "probability": None if isnan(point.probability) else point.probability}
        for point in timeline
    ]


def _face(face: FaceScore) -> dict[str, Any]:
    return {
        "track": face.track,
        "first_second": face.first_second,
        "last_second": face.last_second,
        "box": list(face.box),
        "probability": None if isnan(face.probability) else face.probability,
        "reason": face.reason,
        "timeline": _points(face.timeline),
    }


def _credential(credential: Credential | None) -> Mapping[str, Any]:
    if credential is None:
        return {
            "standing": None,
            "signer": None,
            "declares_synthetic": None,
            "source_types": [],
            "validation_codes": [],
            "reasons": ["Credentials cannot be read in a file of this kind."],
        }
    return credential.to_json()


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + b64encode(jpeg).decode("ascii")
