"""The main job end to end on embedded material: forge -> sign -> detect -> verify -> tamper -> report.

    report = run_demo(Path("out/demo"))      # the path of an HTML page

Everything is real and local: portraits of nobody rendered by `forge.studio`, synthesised speech, the shipped detector,
a development signing identity of this machine. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from countermark.attacks import flip_one_bit, reencode, sign_as_a_stranger

if TYPE_CHECKING:
    from detect.detector import Detector
    from detect.report import Report

CLIPS = 4
"""Two people and two voices more than one clip; about a minute on two cores."""


class DemoError(Exception):
    """The demo cannot go on; the message is one line: what, where, what to do."""


@dataclass(frozen=True)
class Treated:
    """A copy of one clip after something happened to it."""

    what: str
    file: str
    standing: str
    codes: tuple[str, ...]
    finding: str
    because: str


@dataclass(frozen=True)
class Checked:
    """One clip of the benchmark, its credential and its score."""

    name: str
    portrait: str
    standing: str
    signer: str
    says_synthetic: bool
    probability: float | None
    status: str
    strip: bytes
    """JPEG of a few frames side by side."""
    page: str


@dataclass
class Steps:
    """Tells the steps on stderr and keeps how long each took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Tell a step, run it, keep its time."""
        self.console.print(f"[bold]{what}[/bold]")
        start = time.monotonic()
        yield
        self.seconds[what] = time.monotonic() - start
        self.console.print(f"  [dim]{self.seconds[what]:.1f} s[/dim]")


def run_demo(out: Path, *, clips: int = CLIPS, console: Console | None = None) -> Path:
    """Run the demo.

    Args:
        out: folder for everything the demo makes; an earlier demo in it is taken up where it stopped.
        clips: how many clips to make.
        console: where to talk; stderr unless given.

    Returns:
        The HTML report.

    Raises:
        DemoError: when the folder cannot be used, or a step fails.
    """
    from detect.detector import DetectError
    from forge.portrait import ForgeError
    from media.clip import MediaError
    from provenance.errors import ProvenanceError

    try:
        out.mkdir(parents=True, exist_ok=True)
        return _run(out, clips, Steps(console or Console(stderr=True)))
    except OSError as problem:
        raise DemoError(f"cannot write in {out}: {problem.strerror}; choose another folder with --out") from problem
    except (DetectError, ForgeError, MediaError, ProvenanceError) as problem:
        raise DemoError(str(problem)) from problem


def _run(out: Path, clips: int, steps: Steps) -> Path:
    """The five steps."""
    from detect.load import load_detector

    with steps.step("1/5  Forge a small benchmark: portraits of nobody, synthesised speech, signed clips"):
        folder = forge_benchmark(out / "benchmark", clips, steps.console.print)
    detector = load_detector()
    with steps.step("2/5  Check every clip: credentials first, then the shipped detector"):
        reports = check_all(folder, out, detector)
    with steps.step("3/5  Verify the signed catalog of the whole benchmark"):
        attestation = verify_benchmark(folder)
    with steps.step("4/5  Tamper with copies of one clip and see what breaks"):
        treated = tamper(Path(reports[0].file), out, detector)
    with steps.step("5/5  Write the report"):
        page = write_page(out, reports, attestation, treated, steps)
    summary(steps.console, reports, attestation, treated, page)
    return page


def forge_benchmark(folder: Path, clips: int, tell: Callable[[str], None]) -> Path:
    """Make the labelled, signed folder from the embedded portraits and speech."""
    from forge.dataset import Request, make_dataset
    from forge.recipes import tiny
    from media.places import Here

    with as_file(files("countermark") / "demo_assets") as assets:
        make_dataset(Request(tiny(), folder, assets, assets, limit=clips, place=Here(2)), notify=tell)
    return folder


def check_all(folder: Path, out: Path, detector: Detector) -> list[Report]:
    """A full check of every clip, each with its own HTML page."""
    from detect.check import check_file
    from detect.report import write_html

    reports = []
    (out / "checks").mkdir(exist_ok=True)
    for clip in sorted((folder / "clips").glob("*.mp4")):
        report = check_file(clip, detector, with_pictures=True)
        write_html(report, out / "checks" / f"{clip.stem}.html")
        reports.append(report)
    if not reports:
        raise DemoError(f"no clip was made in {folder}; delete the folder and run the demo again")
    return reports


def verify_benchmark(folder: Path) -> str:
    """The standing of the dataset's attestation."""
    from provenance.attestation import verify_catalog

    return verify_catalog(folder).standing.value


def tamper(clip: Path, out: Path, detector: Detector) -> list[Treated]:
    """Do to copies of a clip what happens to files in the world, and judge each again."""
    folder = out / "tampered"
    folder.mkdir(exist_ok=True)
    cases: tuple[tuple[str, str, Callable[[Path], None]], ...] = (
        ("one bit of the picture data changed", "one-bit.mp4", lambda to: flip_one_bit(clip, to)),
        ("uploaded and downloaded: re-encoded, credentials stripped", "platform.mp4", lambda to: reencode(clip, to)),
        ("signed again by a stranger", "stranger.mp4", lambda to: sign_as_a_stranger(clip, to)),
    )
    return [treat(what, folder / name, make, detector) for what, name, make in cases]


def treat(what: str, target: Path, make: Callable[[Path], None], detector: Detector) -> Treated:
    """Make one tampered copy and check it."""
    from detect.check import check_file

    target.unlink(missing_ok=True)
    make(target)
    report = check_file(target, detector)
    credential = report.credential
    return Treated(
        what=what,
        file=target.name,
        standing=credential.standing.value if credential else "absent",
        codes=tuple(credential.validation_codes) if credential else (),
        finding=report.verdict.finding.value,
        because=" ".join(report.verdict.because),
    )


def write_page(out: Path, reports: list[Report], attestation: str, treated: list[Treated], steps: Steps) -> Path:
    """The demo's HTML page and its machine-readable twin, demo.json."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    from detect.report import write_whole

    environment = Environment(loader=PackageLoader("countermark"), autoescape=select_autoescape())
    environment.filters["base64"] = lambda content: b64encode(content).decode()
    clips = [checked(report, out) for report in reports]
    page = out / "report.html"
    text = environment.get_template("demo.html").render(
        clips=clips, attestation=attestation, treated=treated, seconds=steps.seconds, model=reports[0].model
    )
    write_whole(text, page)
    facts = {
        "clips": [report.to_json() for report in reports],
        "attestation": attestation,
        "tampered": [vars(case) for case in treated],
        "seconds": {step: round(taken, 2) for step, taken in steps.seconds.items()},
    }
    write_whole(json.dumps(facts, indent=1) + "\n", out / "demo.json")
    return page


def checked(report: Report, out: Path) -> Checked:
    """What the page shows of one clip."""
    clip = Path(report.file)
    credential, score = report.credential, report.score
    return Checked(
        name=clip.name,
        portrait=clip.stem,
        standing=credential.standing.value if credential else "absent",
        signer=(credential.signer or "") if credential else "",
        says_synthetic=bool(credential and credential.declares_synthetic),
        probability=None if score.abstained else score.probability,
        status=score.status.value,
        strip=film_strip(clip),
        page=f"checks/{clip.stem}.html",
    )


def film_strip(clip: Path, count: int = 6, height: int = 150) -> bytes:
    """A JPEG of evenly spread frames, side by side."""
    import cv2
    import numpy as np

    from media.video import read_clip

    frames = read_clip(clip).frames
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    small = [cv2.resize(frames[i], (height, height), interpolation=cv2.INTER_AREA) for i in chosen]
    return cv2.imencode(".jpg", np.hstack(small)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def summary(console: Console, reports: list[Report], attestation: str, treated: list[Treated], page: Path) -> None:
    """The demo in a few lines on stderr."""
    console.print()
    console.print(
        f"{len(reports)} signed clips in {Path(reports[0].file).parent}; the catalog of the benchmark is {attestation}."
    )
    for case in treated:
        console.print(f"  {case.what}: [bold]{case.standing}[/bold], finding {case.finding}")
    console.print(f"Report: [bold]{page.resolve()}[/bold]")
