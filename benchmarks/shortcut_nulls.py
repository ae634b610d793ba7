"""Null fakes: real clips through everything that a maker's output goes through, except the making.

Face found, square cut, detail limited, scaled, marked invisibly, encoded on the recipe's ladder: the functions are
those of `forge`. A detector that calls them synthetic has learned the factory and not the forgery. Signing is left out:
it changes no picture and no sound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.robustness import beginning
from benchmarks.tables import Row
from detect.detector import Detector
from detect.metrics import Measure, false_alarm_rate, measure
from forge.framing import cut_to_detail, square_around
from forge.recipes import DatasetRecipe, small
from media.catalog import Sample
from media.clip import Clip, MediaError, Waveform
from media.faces import FaceFinder
from media.video import ClipWriter, write_clip
from provenance.durable import DurableMaker
from provenance.files import write_whole

Line = Mapping[str, Any]
VERSION: Final = 1


def by_chance(name: str, purpose: str) -> float:
    """A number from 0 to 1 that depends on names only."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {name}".encode()).digest()[:4], "big") / 2**32


def write_null_fake(clip: Clip, name: str, path: Path, finder: FaceFinder, recipe: DatasetRecipe | None = None) -> None:
    """Write a real clip as the factory would write a forged one.

    Args:
        clip: real.
        name: decides crop and quality by chance, the same every time.
        path: the mp4.
        finder: finds the face.
        recipe: of the dataset; `small` by default.

    Raises:
        MediaError: when no face is found or the file cannot be written.
    """
    recipe = recipe or small()
    looks = clip.frames[:: max(1, clip.length // 3)][:3]
    boxes = [faces[0].box for faces in (finder.find(image) for image in looks) if faces]
    if not boxes:
        raise MediaError(f"{name}: no face was found to crop around; choose another clip")
    low, high = recipe.crop_factors
    factor = low + (high - low) * by_chance(name, "crop")
    square = square_around(np.median(boxes, axis=0).tolist(), width=clip.width, height=clip.height, factor=factor)
    crf = recipe.crf_ladder[int(by_chance(name, "crf") * len(recipe.crf_ladder))]
    sound: Waveform | None = None
    if clip.sound is not None:
        sound = clip.sound.mono().resampled(recipe.sample_rate_hz)
    samples = None if sound is None else sound.samples
    maker = DurableMaker(fps=float(clip.fps), sound=samples, sample_rate_hz=recipe.sample_rate_hz)
    detail = min(recipe.size, square.side)
    pictures = (cut_to_detail(image, square, detail, recipe.size) for image in clip.frames)
    with ClipWriter(path, clip.fps, recipe.size, recipe.size, sound, crf=crf, preset=recipe.preset) as writer:
        for image in maker.marked(pictures):
            writer.add(image)


def score_nulls(
    root: Path,
    samples: Sequence[Sample],
    cache: Path,
    detector: Detector,
    seconds: float,
    say: Callable[[str], None] = lambda text: None,
) -> list[Line]:
    """Probability of each real clip as it is and as a null fake; kept by content, weights and length.

    Raises:
        MediaError: when a clip cannot be read.
    """
    cache.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    with FaceFinder(max_faces=2) as finder:
        for number, sample in enumerate(samples, 1):
            text = json.dumps([VERSION, sample.sha256, detector.facts.sha256, seconds])
            file = cache / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
            if not file.is_file():
                line = _scored(root / sample.path, sample, detector, seconds, finder)
                write_whole(file, json.dumps(line).encode())
                say(f"null fake {number} of {len(samples)}")
            lines.append(json.loads(file.read_text(encoding="utf-8")))
    return lines


def _scored(path: Path, sample: Sample, detector: Detector, seconds: float, finder: FaceFinder) -> Line:
    clip = beginning(path, seconds)
    with TemporaryDirectory() as folder:
        plain, null = Path(folder) / "plain.mp4", Path(folder) / "null.mp4"
        write_clip(clip, plain, crf=0, preset="ultrafast", pixel_format="yuv444p")
        write_null_fake(clip, sample.id, null, finder)
        scores = {"plain": detector.score_file(plain), "null": detector.score_file(null)}
    answers = {key: None if isnan(score.probability) else score.probability for key, score in scores.items()}
    states = {f"{key} status": str(score.status) for key, score in scores.items()}
    return {"id": sample.id, "person": sample.cluster, **answers, **states}


def null_row(lines: Sequence[Line], threshold: float) -> tuple[Row, ...]:
    """False alarms of the clips as they are and as null fakes, and by how much the probability moves."""
    both = [line for line in lines if line["plain"] is not None and line["null"] is not None]
    plain_N = np.array([line["plain"] for line in both], np.float64)
    null_N = np.array([line["null"] for line in both], np.float64)
    people = [str(line["person"]) for line in both]
    real_N = np.zeros(len(both), bool)

    def alarms(label_N: NDArray[np.bool_], probability_N: NDArray[np.float64]) -> float:
        return false_alarm_rate(label_N, probability_N, threshold)

    def mean(_: NDArray[np.bool_], change_N: NDArray[np.float64]) -> float:
        return float(change_N.mean())

    def row(name: str, figure: Measure, digits: int) -> Row:
        if not figure.scored:
            return {"figure": name, "value": f"not scored: {figure.reason}", "95% interval": "", "clips": len(both)}
        interval = "" if isnan(figure.low) else f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"
        return {"figure": name, "value": f"{figure.value:.{digits}f}", "95% interval": interval, "clips": len(both)}

    return (
        row("false-positive rate, as they are", measure(alarms, real_N, plain_N, people), 3),
        row("false-positive rate, null fakes", measure(alarms, real_N, null_N, people), 3),
        row("mean shift of the probability", measure(mean, real_N, null_N - plain_N, people), 3),
        {
            "figure": "answered both times",
            "value": f"{len(both)} of {len(lines)}",
            "95% interval": "",
            "clips": len(lines),
        },
    )
