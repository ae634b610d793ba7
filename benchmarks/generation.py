"""Judge the generator by its clips: `python -m benchmarks.generation --portraits DIR --speech DIR --out DIR`.

Every portrait says every utterance; each clip is verified, tracked and measured (`benchmarks.talking`), and a contact
sheet is left to be looked at. `python -m benchmarks.generation face ...` judges renderers frame by frame instead
(`benchmarks.generation_face`), `python -m benchmarks.generation motion ...` what speech is turned into
(`benchmarks.generation_motion`). Bands are those of the acceptance of method `mesh`; beside them stands what the same
tracker says of real people. The tracker's landmarks also fitted the portraits: of shape it is no independent judge.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from math import isnan
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.tables import RESULTS, Result, Table
from benchmarks.talking import FPS, MAX_LAG_FRAMES, Talking, correlation, lip_curve, measure_talking, speech_envelope
from forge.animate import animate_to_file
from forge.methods import Shot
from forge.portrait import Declaration, ForgeError, list_portraits
from media.clip import MediaError
from media.faces import FaceFinder, FaceTrack, track_faces
from media.video import read_clip, read_waveform, stream_frames
from provenance.credential import Standing, read_credential

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a")


@dataclass(frozen=True)
class Band:
    """What a mean should lie in, and what real people and VASA-1's published clips have by the same tracker."""

    name: str
    low: float
    high: float
    real: float
    vasa: float


BANDS = (
    Band("lip_deviation", 0.04, 0.08, 0.051, 0.065),
    Band("voice_correlation", 0.15, 0.45, 0.26, 0.24),
    Band("head_turn_degrees", 0.15, 0.5, 0.28, 0.32),
    Band("blinks_per_minute", 10.0, 45.0, 27.0, 41.0),
)


@dataclass(frozen=True)
class Judged:
    """One clip, verified and measured."""

    portrait: str
    speech: str
    talking: Talking
    lag_curve: tuple[float, ...]
    """Correlation of lips and voice at lags -8 to 8 frames."""
    trusted: bool
    duration_error_frames: float


def lag_correlations(track: FaceTrack, envelope: NDArray[np.float64]) -> tuple[float, ...]:
    """Correlation of the lip opening with the voice at each lag; positive lags: the lips come after the sound."""
    lips = np.full(len(envelope), np.nan)
    on = track.frame_indices < len(envelope)
    lips[track.frame_indices[on]] = lip_curve(track)[on]
    found = []
    for lag in range(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1):
        a = lips[max(lag, 0) : len(lips) + min(lag, 0)]
        b = envelope[max(-lag, 0) : len(envelope) - max(lag, 0)]
        seen = np.isfinite(a)
        found.append(correlation(a[seen], b[seen]))
    return tuple(found)


def judge(job: tuple[Path, Path], out: Path, size: int) -> Judged | str:
    """Make one clip (or take an earlier one), verify and measure it; a line of text when it cannot be made."""
    portrait, speech = job
    clip = out / f"{portrait.stem}_{speech.stem}.mp4"
    cv2.setNumThreads(1)
    try:
        if not clip.exists():
            nobody = Declaration.nonexistent()
            animate_to_file(portrait, speech, clip, declaration=nobody, shot=Shot(size=size), own_seed=True)
        credential = read_credential(clip)
        with FaceFinder() as finder:
            tracks = track_faces(stream_frames(clip), finder=finder)
        if not tracks:
            return f"{clip.name}: no face found in the made clip"
        sound = read_waveform(speech)
        frames = sum(1 for _ in stream_frames(clip, max_side=64))
        talking = measure_talking(clip.stem, tracks[0], sound)
        curve = lag_correlations(tracks[0], speech_envelope(sound, frames))
        trusted = credential.standing is Standing.TRUSTED and credential.declares_synthetic is True
        return Judged(
            portrait.stem, speech.stem, talking, curve, trusted, float(abs(frames - sound.duration_seconds * FPS))
        )
    except (ForgeError, MediaError) as problem:
        return str(problem)


def contact_sheet(out: Path, judged: Sequence[Judged], columns: int = 6, side: int = 160) -> NDArray[np.uint8]:
    """One row a portrait: frames evenly spread over its first clip."""
    rows = []
    for name in dict.fromkeys(found.portrait for found in judged):
        first = next(found for found in judged if found.portrait == name)
        frames = read_clip(out / f"{first.portrait}_{first.speech}.mp4", max_side=side).frames
        chosen = np.linspace(0, len(frames) - 1, columns).round().astype(int)
        rows.append(np.hstack([cv2.resize(frames[i], (side, side), interpolation=cv2.INTER_AREA) for i in chosen]))
    half = (len(rows) + 1) // 2
    rows += [np.full_like(rows[0], 255)] * (2 * half - len(rows))
    gap = np.full((half * side, 8, 3), 255, np.uint8)
    return np.asarray(np.hstack([np.vstack(rows[:half]), gap, np.vstack(rows[half:])]), np.uint8)


def mean_with_interval(
    values: Sequence[float], clusters: Sequence[str], draws: int = 2000
) -> tuple[float, float, float]:
    """Mean and 95% interval by drawing whole clusters (portraits) with replacement; NaNs are left out."""
    rng = np.random.default_rng(0)
    groups = [
        [v for v, c in zip(values, clusters, strict=True) if c == name and not isnan(v)] for name in set(clusters)
    ]
    groups = [group for group in groups if group]
    picks = rng.integers(0, len(groups), (draws, len(groups)))
    sums, counts = np.array([sum(g) for g in groups]), np.array([len(g) for g in groups])
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(sums.sum() / counts.sum()), float(low), float(high)


def table_of(judged: Sequence[Judged]) -> Table:
    """Each statistic with its interval, its band, and real people's figure."""
    clusters = [found.portrait for found in judged]
    curve = np.nanmean([found.lag_curve for found in judged], axis=0)
    rows: list[dict[str, object]] = []
    for band in BANDS:
        mean, low, high = mean_with_interval([getattr(found.talking, band.name) for found in judged], clusters)
        inside = "yes" if band.low <= mean <= band.high else "no"
        rows.append(
            {"statistic": band.name, "mean": mean, "95% interval": f"{low:.3g} to {high:.3g}", "inside": inside,
             "band": f"{band.low:g} to {band.high:g}", "real people": band.real, "VASA-1": band.vasa}
        )  # fmt: skip
    best = int(np.nanargmax(curve))
    lag = best - MAX_LAG_FRAMES
    rows.append(
        {"statistic": "mean curve's best correlation", "mean": float(curve[best]),
         "95% interval": f"lag {lag:+d} frames", "inside": "yes" if abs(lag) <= 2 else "no", "band": "lag -2 to 2"}
    )  # fmt: skip
    return Table("talking statistics by the landmark tracker", tuple(rows))


def main(argv: list[str] | None = None) -> int:
    """Make, verify, measure, save; the first word `face` or `motion` judges renderers by frames, or motion, instead."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["face"]:
        from benchmarks.generation_face import main as judge_faces

        return judge_faces(words[1:])
    if words[:1] == ["motion"]:
        from benchmarks.generation_motion import main as judge_motion

        return judge_motion(words[1:])
    parser = argparse.ArgumentParser(description="Judge the generator by its clips.")
    parser.add_argument("--portraits", type=Path, required=True)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the clips; earlier ones are kept")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    console = Console(stderr=True)
    options.out.mkdir(parents=True, exist_ok=True)
    portraits = [entry.path for entry in list_portraits(options.portraits, Declaration.nonexistent())]
    sounds = sorted(path for path in options.speech.iterdir() if path.suffix.lower() in SOUNDS)
    jobs = [(portrait, sound) for portrait in portraits for sound in sounds]
    work = partial(judge, out=options.out, size=options.size)
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        answers = list(pool.map(work, jobs))
    judged = [answer for answer in answers if isinstance(answer, Judged)]
    failed = [answer for answer in answers if isinstance(answer, str)]
    for line in failed:
        console.print(line, markup=False)
    if not judged:
        return 1
    sheet = options.out / "contact_sheet.jpg"
    cv2.imwrite(str(sheet), contact_sheet(options.out, judged)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    trusted = sum(found.trusted for found in judged)
    worst = max(found.duration_error_frames for found in judged)
    notes = (
        f"{len(judged)} of {len(jobs)} clips made and tracked; {trusted} signed, trusted and declared synthetic.",
        f"Length against the speech: at most {worst:.2f} frames off.",
        f"Portraits: {len(portraits)}; utterances: {len(sounds)}; size {options.size}; seeds drawn from the files.",
        "Bootstrap over portraits. A clip's correlation is the best of 17 lags: biased upwards, for all alike.",
    )
    Result(
        "generation_mesh",
        "python -m benchmarks.generation --portraits DIR --speech DIR --out DIR",
        (table_of(judged),),
        notes,
    ).save(options.results)
    names = [field.name for field in fields(Talking)]
    lines = [",".join(names), *(",".join(str(asdict(found.talking)[name]) for name in names) for found in judged)]
    (options.out / "talking.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    console.print(f"{len(judged)} clips, {len(failed)} failures, sheet {sheet}", markup=False)
    return 0 if not failed else 1


if __name__ == "__main__":
    sys.exit(main())
