"""What a checking process does: judge a file, or film a portrait. Runs in a `Cell`, never in the server.

Every path in a task was made by the server. Whatever is told names the file as the client did, never by its path here.
"""

from __future__ import annotations

import os
import resource
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import SubprocessError
from typing import TYPE_CHECKING, Any

from countermark.web.cell import Refusal, Tell, Work

if TYPE_CHECKING:
    from detect.detector import Detector
    from detect.evidence import Explain
    from detect.report import EvidencePicture, Report
    from provenance.trust import TrustAnchors

PRELOAD = (
    "detect.check",
    "detect.evidence",
    "detect.models.frame",
    "countermark.web.tracks",
    "mediapipe.tasks.python.vision",
)
"""Imported once, before the first request; every checking process starts as a copy of the one that did it."""


def prepare_tasks(threads: int, weights: str | None = None) -> Work:
    """Load the detector before the file is known.

    The face networks are left to the file: many that are sent here have no picture, and each has its own process.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import cv2
    import torch

    from detect.load import load_detector

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    detector = load_detector(Path(weights) if weights else None)
    return partial(work_on, detector)


def work_on(detector: Detector, task: Mapping[str, Any], tell: Tell) -> None:
    """One task, by its name.

    Raises:
        Refusal: in one line that names no path, for whatever cannot be worked on.
    """
    from detect.detector import DetectError
    from forge.portrait import ForgeError
    from media.clip import MediaError
    from provenance.errors import ProvenanceError

    restrict(task["limits"])
    names = {str(path): str(name) for path, name in task["names"].items()}
    try:
        if task["name"] == "forge":
            film(task, tell)
        else:
            check(detector, task, tell)
    except (DetectError, ForgeError, MediaError, ProvenanceError) as error:
        raise Refusal(renamed(str(error), names)) from error
    except MemoryError as error:
        raise Refusal("this file needs more memory than one check may use") from error


def restrict(limits: Mapping[str, float]) -> None:
    """Limit this process, for good: memory, processor time, sizes of files, no core dumps."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(limits["cpu_seconds"] + used.ru_utime + used.ru_stime) + 1
    for kind, most in (
        (resource.RLIMIT_AS, int(limits["memory_bytes"])),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, int(limits["file_bytes"])),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def check(detector: Detector, task: Mapping[str, Any], tell: Tell) -> None:
    """The verdict first; then, where it was asked for, the evidence that a page shows."""
    from detect.check import check_file
    from detect.evidence import Explains
    from media.clip import MediaError
    from provenance.errors import ProvenanceError

    path, name = Path(task["path"]), str(task["names"][task["path"]])
    limits = task["limits"]
    refuse_oversized(path, name, limits["video_seconds"], limits["pixels"])
    trust = _trust(task.get("trust", ()))
    report = check_file(path, detector, trust=trust, progress=lambda step: tell({"kind": "step", "step": step}))
    names = {str(path): name}
    tell({"kind": "report", "report": renamed(report.to_json(), names)})
    if not task.get("evidence"):
        return
    explain = detector.explain if isinstance(detector, Explains) else None
    origin = partial(tell_origin, task.get("trust", ()))
    for gather in (tell_thumbnails, origin, tell_tracks, partial(tell_pictures, explain)):
        try:
            gather(report, path, names, tell)
        except (MediaError, ProvenanceError, OSError, ValueError, MemoryError, SubprocessError) as error:
            # the verdict stands without its pictures
            tell({"kind": "missing", "line": renamed(str(error), names)})


def tell_thumbnails(report: Report, path: Path, names: Mapping[str, str], tell: Tell) -> None:
    """The pictures that its credential carries of the file and of what it was made from."""
    from provenance.credential import Standing
    from provenance.thumbnails import chain_thumbnails

    if report.credential is None or report.credential.standing is Standing.ABSENT:
        return
    shown = []
    for number, (place, content) in enumerate(chain_thumbnails(path).items()):
        shown.append({"place": list(place), "file": f"thumb-{number}.jpg"})
        _tell_blob(tell, f"thumb-{number}.jpg", content)
    if shown:
        tell({"kind": "thumbnails", "thumbnails": shown})


def tell_origin(trust: Sequence[str], report: Report, path: Path, names: Mapping[str, str], tell: Tell) -> None:
    """The credential of the original, where the file lost its own and a watermark or a fingerprint leads to it."""
    from countermark.web.origin import find_origin, is_wanted

    if is_wanted(report.credential):
        tell({"kind": "step", "step": "Looking for its original"})
        origin = find_origin(path, trust)
        if origin is not None:
            tell({"kind": "origin", "origin": renamed(origin, names)})


def tell_tracks(report: Report, path: Path, names: Mapping[str, str], tell: Tell) -> None:
    """Where each face of the report is, moment by moment, and what the file looks like."""
    from countermark.web.tracks import follow

    seen = follow(path, report.score.faces)
    if seen.poster_jpeg:
        _tell_blob(tell, "poster.jpg", seen.poster_jpeg)
    tell({"kind": "tracks", "tracks": seen.to_json()})


def tell_pictures(explain: Explain | None, report: Report, path: Path, names: Mapping[str, str], tell: Tell) -> None:
    """The most suspicious moment of each face, what a branch of the detector saw there, and the report as one page."""
    from detect.evidence import evidence_pictures
    from detect.report import to_html

    pictures = evidence_pictures(path, report.score, lambda step: tell({"kind": "step", "step": step}), explain=explain)
    tell({"kind": "pictures", "pictures": [_shown(picture, tell) for picture in pictures]})
    credential = replace(report.credential, file=names[str(path)]) if report.credential else None
    page = to_html(replace(report, file=names[str(path)], credential=credential, pictures=pictures))
    _tell_blob(tell, "report.html", renamed(page, names).encode("utf-8", "replace"))


def _shown(picture: EvidencePicture, tell: Tell) -> dict[str, Any]:
    """Hand out the pictures of one face; what is said of them, with the names of those that there are."""
    facts: dict[str, Any] = {
        "track": picture.track,
        "seconds": picture.seconds,
        "width": picture.width,
        "height": picture.height,
        "box": list(picture.box),
        "mouths": picture.mouths,
        "heat_says": picture.heat_says,
    }
    cut = {
        "face": picture.face_jpeg,
        "scene": picture.scene_jpeg,
        "mouth": picture.mouths_jpeg,
        "heat": picture.heat_jpeg,
    }
    for kind, content in cut.items():
        if content:
            facts[kind] = f"{kind}-{picture.track}.jpg"
            _tell_blob(tell, facts[kind], content)
    return facts


def film(task: Mapping[str, Any], tell: Tell) -> None:
    """A declared portrait says the speech: a signed clip."""
    from fractions import Fraction

    from forge.animate import animate_to_file
    from forge.methods import Shot
    from forge.motion.controls import Controls
    from forge.portrait import Declaration

    wish, names = task["wish"], task["names"]
    if wish["declaration"] == "consent":
        declaration = Declaration.consent(wish["consent"], wish["license"] or "unstated")
    else:
        declaration = Declaration.nonexistent(wish["license"] or "unstated")
    refuse_long_speech(Path(task["speech"]), names[task["speech"]], task["limits"]["speech_seconds"])
    controls = Controls.parse(emotion=wish["emotion"] or None)
    shot = Shot(int(wish["size"]), Fraction(25), controls)
    out = Path(task["folder"]) / "clip.mp4"
    tell({"kind": "step", "step": "Fitting the face"})
    made = animate_to_file(
        Path(task["portrait"]),
        Path(task["speech"]),
        out,
        declaration=declaration,
        shot=shot,
        own_seed=True,
        on_frame=lambda done, planned: tell({"kind": "progress", "done": done, "planned": planned}),
    )
    _tell_blob(tell, "clip.mp4", out.read_bytes())
    facts = renamed(made.to_json(), {**names, str(out): "clip.mp4"})
    tell({"kind": "report", "report": facts})


def refuse_oversized(path: Path, name: str, most_seconds: float, most_pixels: int) -> None:
    """Turn a file away whose header promises too many pixels or too long a video; nothing is decoded for it.

    Raises:
        Refusal: naming what was found and what is allowed.
    """
    from media.clip import MediaError
    from media.video import probe

    width, height, seconds = _picture_size(path) or (0, 0, 0.0)
    if not width:
        try:
            facts = probe(path)
        except MediaError:
            # what cannot be read is told by the check, which may still find a credential
            return
        width, height, seconds = facts.width, facts.height, facts.duration_seconds
    if width * height > most_pixels:
        raise Refusal(
            f"{name} has {width} x {height} pixels, at most {most_pixels / 1e6:.0f} million are checked here; "
            "send a smaller version"
        )
    if seconds > most_seconds:
        raise Refusal(
            f"{name} lasts {seconds / 60:.0f} minutes, at most {most_seconds / 60:.0f} are checked here; "
            "send the part in question"
        )


def refuse_long_speech(path: Path, name: str, most_seconds: float) -> None:
    """Turn speech away that would take long to film.

    Raises:
        Refusal: naming its length.
        ForgeError: where it is no sound.
    """
    from forge.voice import load_speech

    seconds = float(load_speech(path).sound.duration_seconds)
    if seconds > most_seconds:
        raise Refusal(f"{name} lasts {seconds:.0f} s, at most {most_seconds:.0f} s are filmed here; send a shorter one")


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Plain values in which every path of the server is replaced by the client's own name for the file."""
    if isinstance(value, str):
        for path, name in names.items():
            value = value.replace(path, name)
        return value
    if isinstance(value, Mapping):
        return {key: renamed(one, names) for key, one in value.items()}
    return [renamed(one, names) for one in value] if isinstance(value, list | tuple) else value


def _picture_size(path: Path) -> tuple[int, int, float] | None:
    """Width, height and a length of zero where a file is a picture, from its header."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns below the limit that is ours
            with Image.open(path) as picture:
                return picture.width, picture.height, 0.0
    except Image.DecompressionBombError:
        # more than any limit of ours: its own numbers are not worth telling
        return 100_000, 100_000, 0.0
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        return None


def _trust(extra: list[str] | tuple[str, ...]) -> TrustAnchors | None:
    from provenance.trust import TrustAnchors

    return TrustAnchors.default(extra=[Path(one) for one in extra]) if extra else None


def _tell_blob(tell: Callable[[Mapping[str, Any]], None], name: str, content: bytes) -> None:
    tell({"kind": "blob", "name": name, "base64": b64encode(content).decode("ascii")})
