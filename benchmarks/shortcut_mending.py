"""A copy of a dataset in which nuisances that can be made alike are alike, and weights for those that cannot.

    catalog = mend(root, catalog, statistics, folder, Treatment(), say)
    weights = balanced_weights([[row["background"] for row in statistics]], people)

Every clip takes the same way, real or synthetic: its beginning and its sound are cut, the face is cropped to one
multiple of its box, reduced to one detail, softened to one sharpness, set to one light and colour, given one noise,
encoded once at a quality drawn by chance, and named by chance. What a detector may learn from shrinks with it: measure
both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from math import isnan, log
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.shortcut_nulls import by_chance
from benchmarks.shortcut_pictures import Values, luma_of
from benchmarks.shortcut_probes import DRAWS_OF_FOLDS, People, folds, held_out_scores, matrix
from benchmarks.shortcut_statistics import Statistics
from detect.detector import DetectError
from forge.framing import Square, cut_to_detail, square_around
from media.catalog import Catalog, Sample
from media.clip import FloatArray, UInt8Array
from media.video import ClipWriter, stream_frames
from provenance.files import sha256_of

Array = NDArray[np.float64]
CLIPS: Final = "clips"
SHARPEST_SIGMA: Final = 4.0


@dataclass(frozen=True)
class Treatment:
    """What is done to every clip."""

    seconds: float = 3.0
    """Longest clip."""
    skip_seconds: float = 0.5
    fps: Fraction = Fraction(25)
    size: int = 256
    factor: float = 1.25
    """Side of the crop over the longer side of the face box; what tight clips have room for."""
    detail: int = 128
    """Pixels a side whose detail is kept."""
    light: tuple[float, float, float] = (120.0, 138.0, 142.0)
    """Mean of each channel of Lab, 0 to 255."""
    spread: tuple[float, float, float] = (45.0, 8.0, 8.0)
    noise: float = 2.0
    """Standard deviation of 255, new in every frame."""
    crf_ladder: tuple[int, ...] = (20, 24, 28)
    softness: float = 20.0
    """Percentile of the sharpness of all clips to which sharper ones are softened."""

    def __post_init__(self) -> None:
        """Refuse what cannot be filmed."""
        if self.seconds <= 0 or self.skip_seconds < 0 or self.fps <= 0 or self.factor < 1 or self.noise < 0:
            raise ValueError(f"seconds, fps and noise must not be negative and factor at least 1, got {self}")
        if self.size % 2 or not 16 <= self.detail <= self.size or not self.crf_ladder:
            raise ValueError(f"size must be even, detail 16 to size, the ladder not empty, got {self}")

    @property
    def words(self) -> str:
        """For a note under a table."""
        return (
            f"first {self.skip_seconds:g} s and sound cut, at most {self.seconds:g} s at {float(self.fps):g} fps, crop "
            f"{self.factor:g} x the face box, detail of {self.detail} px at {self.size}, one sharpness, light and "
            f"colour, noise {self.noise:g}, H.264 CRF {', '.join(map(str, self.crf_ladder))} by chance, names by chance"
        )


def fine_detail(image: UInt8Array) -> float:
    """Log variance of the Laplacian."""
    return log(1e-2 + float(cv2.Laplacian(luma_of(image), cv2.CV_32F).var()))


def softening(image: UInt8Array, target: float) -> float:
    """The Gaussian sigma that brings a picture's detail down to a target; 0 where it has no more than that."""
    if fine_detail(image) <= target:
        return 0.0
    low, high = 0.2, SHARPEST_SIGMA
    for _ in range(10):
        middle = (low + high) / 2
        soft = np.asarray(cv2.GaussianBlur(image, (0, 0), middle), np.uint8)
        low, high = (middle, high) if fine_detail(soft) > target else (low, middle)
    return (low + high) / 2


def colour_curve(image: UInt8Array, treatment: Treatment) -> tuple[FloatArray, FloatArray]:
    """(3,) factors and offsets in Lab that give a picture the treatment's light and spread."""
    lab = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.float32).reshape(-1, 3)
    factor = np.clip(np.array(treatment.spread) / (lab.std(axis=0) + 1.0), 0.4, 2.5)
    return factor.astype(np.float32), (np.array(treatment.light) - factor * lab.mean(axis=0)).astype(np.float32)


def recoloured(image: UInt8Array, factor: FloatArray, offset: FloatArray) -> UInt8Array:
    """A picture through `colour_curve`."""
    lab = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.float32) * factor + offset
    return np.asarray(cv2.cvtColor(np.clip(np.rint(lab), 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8)


def square_of(box: Mapping[str, float | str], width: int, height: int, treatment: Treatment) -> Square | None:
    """The crop around a face box; None where no face was found."""
    corners = [float(box[name]) for name in ("x0", "y0", "x1", "y1")]
    if any(isnan(value) for value in corners):
        return None
    return square_around(corners, width=width, height=height, factor=treatment.factor)


def _pictures(path: Path, treatment: Treatment, square: Square, frames: int) -> list[UInt8Array]:
    """The cropped pictures after the beginning that is skipped, or all where a clip is not longer than that."""
    skip = round(treatment.skip_seconds * treatment.fps)
    every = [
        cut_to_detail(frame.image, square, treatment.detail, treatment.size)
        for frame in islice(stream_frames(path, fps=treatment.fps), skip + frames)
    ]
    return every[skip:] if len(every) > skip + 1 else every


def treated(pictures: Sequence[UInt8Array], treatment: Treatment, target: float, seed: int) -> list[UInt8Array]:
    """Colour, sharpness and noise of a whole clip, by what its first picture needs."""
    factor, offset = colour_curve(pictures[0], treatment)
    sigma = softening(recoloured(pictures[0], factor, offset), target)
    random = np.random.default_rng(seed)
    out = []
    for image in pictures:
        even = recoloured(image, factor, offset)
        soft = np.asarray(cv2.GaussianBlur(even, (0, 0), sigma) if sigma else even, np.float32)
        noisy = soft + random.standard_normal(soft.shape, dtype=np.float32) * np.float32(treatment.noise)
        out.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return out


def mend(
    root: Path,
    catalog: Catalog,
    statistics: Sequence[Statistics],
    folder: Path,
    treatment: Treatment,
    say: Callable[[str], None] = lambda text: None,
) -> Catalog:
    """Write the treated copy of every clip that shows a face; clips that are there already stay.

    Args:
        root: folder of the catalog's paths.
        catalog: samples.
        statistics: of each, with its face box.
        folder: gets `clips/` and `catalog.jsonl`.
        treatment: what is done.
        say: told one line at a time how it goes.

    Raises:
        MediaError: when a clip cannot be read or written.
        DetectError: when no clip shows a face.
    """
    (folder / CLIPS).mkdir(parents=True, exist_ok=True)
    work = [
        (sample, square)
        for sample, own in zip(catalog, statistics, strict=True)
        if (square := square_of(own["_box"], int(own["_size"]["width"]), int(own["_size"]["height"]), treatment))
    ]
    if not work:
        raise DetectError(f"{root}: no clip shows a face that could be cropped; nothing to mend")
    target = common_detail(root, work, treatment)
    frames = round(treatment.seconds * treatment.fps)
    samples: list[Sample] = []
    seen: set[str] = set()
    for number, (sample, square) in enumerate(work, 1):
        name = hashlib.sha256(f"{treatment} {target:.4f} {sample.sha256}".encode()).hexdigest()[:16]
        if name in seen:
            say(f"left out: {sample.id} is the same file as another one")
            continue
        seen.add(name)
        path = folder / CLIPS / f"{name}.mp4"
        crf = treatment.crf_ladder[int(by_chance(name, "crf") * len(treatment.crf_ladder))]
        if not path.is_file():
            pictures = _pictures(root / sample.path, treatment, square, frames)
            with ClipWriter(path, treatment.fps, treatment.size, treatment.size, crf=crf) as writer:
                for image in treated(pictures, treatment, target, int(name[:8], 16)):
                    writer.add(image)
        samples.append(
            replace(
                sample,
                path=f"{CLIPS}/{name}.mp4",
                sha256=sha256_of(path),
                codec=f"h264-crf{crf}",
                seconds=None,
                fps=f"{treatment.fps.numerator}/{treatment.fps.denominator}",
                width=treatment.size,
                height=treatment.size,
                has_sound=False,
            )
        )
        if number % 25 == 0:
            say(f"mended {number} of {len(work)}")
    mended = Catalog(sorted(samples, key=lambda s: s.path), catalog.name)
    mended.save(folder)
    return mended


def common_detail(root: Path, work: Sequence[tuple[Sample, Square]], treatment: Treatment) -> float:
    """The sharpness that nearly all clips can be brought down to."""
    found = []
    for sample, square in work:
        picture = _pictures(root / sample.path, treatment, square, 1)[0]
        found.append(fine_detail(recoloured(picture, *colour_curve(picture, treatment))))
    return float(np.percentile(found, treatment.softness))


def balanced_weights(groups: Sequence[Sequence[Values | None]], people: People) -> Array:
    """Weights under which the labels are as alike as possible in some statistics, the same total for both labels.

    Overlap weights (Li, Morgan and Zaslavsky 2018): each clip counts as much as it could have been of the other label.
    How likely that is, is learned from other people's clips, and then calibrated: chances that are too sure of
    themselves lift the untypical clips of each label so much that labels are turned round (probes fall to 0.2).

    Args:
        groups: for each nuisance the statistics of every clip.
        people: whose clips they are.
    """
    synthetic_N = people.synthetic_N
    parts = []
    for rows in groups:
        x_KD, keep_N = matrix(rows)
        whole = np.zeros((len(keep_N), x_KD.shape[1]))
        whole[keep_N] = x_KD - x_KD.mean(axis=0) if len(x_KD) else x_KD
        parts.append(whole)
    x_ND = np.concatenate(parts, axis=1) if parts else np.zeros((len(synthetic_N), 0))
    total_N, times_N = np.zeros(len(synthetic_N)), np.zeros(len(synthetic_N))
    for draw in range(DRAWS_OF_FOLDS if x_ND.shape[1] else 0):
        for learn_N, judge_N in folds(people, np.random.default_rng(draw), leave_makers=False):
            total_N[judge_N] += held_out_scores(x_ND, people, learn_N, judge_N)
            times_N[judge_N] += 1
    score_N = (total_N / np.maximum(times_N, 1))[:, None]
    if np.ptp(score_N) > 0:
        slope = LogisticRegression(C=1e3, class_weight="balanced").fit(score_N, synthetic_N)
        chance_N = np.asarray(slope.predict_proba(score_N)[:, 1], np.float64)
    else:
        chance_N = np.full(len(synthetic_N), 0.5)
    raw_N = np.where(synthetic_N, 1 - chance_N, chance_N)
    out = np.zeros(len(synthetic_N))
    for label_N in (synthetic_N, ~synthetic_N):
        out[label_N] = raw_N[label_N] / raw_N[label_N].sum() * len(synthetic_N) / 2
    return out


def with_weights(catalog: Catalog, weights_N: Array) -> Catalog:
    """The catalog with `weight` beside each sample."""
    samples = []
    for sample, weight in zip(catalog, weights_N, strict=True):
        samples.append(replace(sample, extra=dict(sample.extra) | {"weight": round(float(weight), 5)}))
    return Catalog(samples, catalog.name)


def effective_clips(weights_N: Array, synthetic_N: NDArray[np.bool_]) -> tuple[float, float]:
    """How many equally weighted real and synthetic clips would be as noisy (Kish)."""
    real, synthetic = (float(w.sum() ** 2 / (w**2).sum()) for w in (weights_N[~synthetic_N], weights_N[synthetic_N]))
    return real, synthetic
