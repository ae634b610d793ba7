"""What damage does to a detector: `python -m benchmarks.robustness shipped CATALOG -o DIR --sample 12 --seconds 3`.

1. Clips of a split are chosen, and rungs: a perturbation of `media.perturb` at a level (`--suite`, `--only`).
2. Each clip is damaged in memory, written without loss and scored; the undamaged one takes the same way, so that only
   the damage differs. One JSON line a clip and rung in DIR/scores.jsonl; an interrupted run goes on, and another
   suite or more clips use what is there. Lines of other weights or lengths are left alone.
3. Figures over the saved lines (`robustness_figures`): DIR/robustness.png and `results/robustness.json`.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice, zip_longest
from math import isnan
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final
from zlib import crc32

import cv2
import numpy as np
import typer

from benchmarks.robustness_figures import CLEAN, Rung, draw, figures_of, result_of
from benchmarks.tables import RESULTS
from detect.corpora.table import read_dataset
from detect.detector import DetectError, Detector
from detect.load import load_detector
from media.catalog import Catalog, Label, Sample
from media.clip import Clip, MediaError, Waveform
from media.perturb import PERTURBATIONS, SEVEN_BY_FIVE, perturb
from media.video import probe, read_waveform, stream_frames, write_clip
from provenance.errors import ProvenanceError
from provenance.files import write_whole

Line = dict[str, Any]
DetectorFactory = Callable[[], Detector]
KEY: Final = ("sha256", "perturbation", "level", "seconds", "model")
"""Lines with the same values of these say the same."""

QUICK: Final[tuple[Rung, ...]] = (
    *(Rung("h264", level) for level in (28, 35, 40)),
    *(Rung(name, level) for name, level in (("hevc", 35), ("vp9", 50), ("av1", 50), ("jpeg", 50), ("resize", 0.5))),
    *(Rung(name, level) for name, level in (("blur", 1.0), ("noise", 5), ("gamma", 0.8), ("saturation", 0.5))),
    *(Rung(name, level) for name, level in (("crop", 0.9), ("letterbox", 1.5), ("text", 0.07), ("fps", 15))),
    *(Rung(name, level) for name, level in (("freeze", 0.1), ("screen", 2), ("screen_recorder", 1.17))),
    *(Rung("platform", level) for level in ("messenger", "video_call")),
)
"""One or two levels of what befalls videos most."""


def suite(name: str) -> tuple[Rung, ...]:
    """The rungs of a named suite: "quick", "7x5", or "full" for every level of `PERTURBATIONS`.

    Raises:
        DetectError: for another name.
    """
    if name == "quick":
        return QUICK
    if name == "7x5":
        return tuple(Rung(kind, level) for kind, levels in SEVEN_BY_FIVE.values() for level in levels)
    if name == "full":
        return tuple(Rung(kind, level) for kind, facts in PERTURBATIONS.items() for level in facts.levels)
    raise DetectError(f"there is no suite {name!r}; choose quick, 7x5 or full")


def chosen_rungs(suite_name: str, only: Sequence[str]) -> tuple[Rung, ...]:
    """The clean clip and the rungs of a suite, or all levels of named perturbations, that this build can make.

    Raises:
        DetectError: for an unknown name, or when nothing can be made.
    """
    for name in only:
        if name not in PERTURBATIONS:
            raise DetectError(f"there is no perturbation {name!r}; choose one of {', '.join(PERTURBATIONS)}")
    named = tuple(Rung(name, level) for name in only for level in PERTURBATIONS[name].levels)
    rungs = tuple(rung for rung in named or suite(suite_name) if PERTURBATIONS[rung.perturbation].available)
    if not rungs:
        raise DetectError(f"this build of libav has no encoder for {', '.join(only)}; choose another perturbation")
    return (CLEAN, *rungs)


def sampled(samples: Iterable[Sample], count: int | None) -> list[Sample]:
    """So many samples of each label, spread over makers and people, the same ones every time; None takes all.

    Labels take turns, so that a run that was stopped has as many of one as of the other.
    """
    every = list(samples)
    spread = {label: _spread([s for s in every if s.label is label], count) for label in Label}
    turns = zip_longest(*spread.values())
    return [sample for turn in turns for sample in turn if sample is not None]


def _spread(samples: list[Sample], count: int | None) -> list[Sample]:
    # by a digest of the id and not by order: files are often sorted by person
    waiting = sorted(samples, key=lambda s: crc32(s.id.encode()))
    chosen: list[Sample] = []
    taken: Counter[tuple[str, str | None]] = Counter()
    while waiting and (count is None or len(chosen) < count):
        rarest = min(waiting, key=lambda s: (taken["maker", s.maker], taken["person", s.person]))
        waiting.remove(rarest)
        chosen.append(rarest)
        taken.update([("maker", rarest.maker), ("person", rarest.person)])
    return chosen


@dataclass(frozen=True)
class Job:
    """One clip at one rung."""

    sample: Sample
    file: Path
    rung: Rung
    seconds: float | None
    """Only the beginning of the clip, for a quick run; None for all of it."""

    def key(self, model_sha256: str) -> tuple[object, ...]:
        """What makes an earlier line this job's answer."""
        return (self.sample.sha256, self.rung.perturbation, self.rung.level, self.seconds, model_sha256)


def beginning(path: Path, seconds: float | None) -> Clip:
    """The first seconds of a video with their sound.

    Raises:
        MediaError: when it cannot be read.
    """
    facts = probe(path)
    frames = stream_frames(path, fps=facts.fps if facts.variable_frame_rate else None)
    count = None if seconds is None else max(1, round(seconds * facts.fps))
    pictures = np.stack([frame.image for frame in islice(frames, count)])
    sound: Waveform | None = None
    if facts.has_sound:
        whole = read_waveform(path)
        end = round(len(pictures) / facts.fps * whole.sample_rate_hz)
        sound = Waveform(whole.samples[:end], whole.sample_rate_hz)
    return Clip(pictures, facts.fps, sound)


class Judge:
    """A loaded detector and the clip it looked at last, so that the rungs of one clip decode it once."""

    def __init__(self, factory: DetectorFactory) -> None:
        """Load the detector."""
        self.detector = factory()
        self._last: tuple[Path, float | None] | None = None
        self._clip: Clip | None = None

    def line(self, job: Job) -> Line:
        """Damage, write, score. A detector that breaks or a clip that cannot be read gives the status "error"."""
        started = time.process_time()
        probability, status, reason, length = None, "error", "", 0.0
        try:
            if self._clip is None or self._last != (job.file, job.seconds):
                self._clip, self._last = beginning(job.file, job.seconds), (job.file, job.seconds)
            clip = self._clip
            # another seed for every clip, or all would have the same noise at the same places
            seed = crc32(job.sample.sha256.encode())
            damaged = clip if job.rung == CLEAN else perturb(clip, job.rung.perturbation, job.rung.level, seed=seed)
            with TemporaryDirectory() as folder:
                file = Path(folder) / "clip.mp4"
                write_clip(damaged, file, crf=0, preset="ultrafast", pixel_format="yuv444p")
                score = self.detector.score_file(file)
            probability = None if isnan(score.probability) else round(score.probability, 6)
            status, reason, length = str(score.status), score.reason, score.seconds_of_video
        except (MediaError, DetectError, ValueError, RuntimeError, MemoryError, ArithmeticError, LookupError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        sample = job.sample
        return {
            "id": sample.id,
            "sha256": sample.sha256,
            "label": str(sample.label),
            "person": sample.cluster,
            "maker": sample.maker,
            "perturbation": job.rung.perturbation,
            "level": job.rung.level,
            "seconds": job.seconds,
            "model": self.detector.facts.sha256,
            "probability": probability,
            "status": status,
            "reason": reason,
            "seconds_of_video": round(length, 3),
            "core_seconds": round(time.process_time() - started, 3),
        }


def read_scores(path: Path) -> list[Line]:
    """The whole lines of an earlier run; a last line torn by a killed run is cut off.

    Raises:
        DetectError: where the file holds something else.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        if not all({*KEY, "probability", "status"} <= line.keys() for line in lines):
            raise ValueError("a field is missing")
    except (ValueError, AttributeError) as error:
        raise DetectError(f"{path}: not the scores of this benchmark ({error}); give -o another folder") from error
    if whole != text:
        write_whole(path, whole.encode())
    return lines


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add one line in one write, so that a killed run loses no more than the line in work."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
    finally:
        os.close(handle)


_judges: dict[str, Judge] = {}
"""What a worker process keeps between jobs."""


def _start_worker(factory: DetectorFactory) -> None:
    import torch

    # the workers share the cores: one thread each
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _judges["own"] = Judge(factory)


def _line_in_worker(job: Job) -> Line:
    return _judges["own"].line(job)


def lines_for(jobs: Sequence[Job], factory: DetectorFactory, workers: int) -> Iterator[Line]:
    """The line of every job, in order, by this process or by several.

    Raises:
        DetectError: when a worker dies; what was finished before is kept.
    """
    if workers == 1:
        judge = Judge(factory)
        yield from (judge.line(job) for job in jobs)
        return
    # spawn, never fork: torch and the face library hold threads that a fork would leave locked
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(factory,)) as pool:
        waiting: list[Future[Line]] = [pool.submit(_line_in_worker, job) for job in jobs]
        try:
            for future in waiting:
                yield future.result()
        except BrokenProcessPool as error:
            raise DetectError(
                "a worker died: not enough memory, or a clip kills the decoder; run again to go on"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def measure_rungs(
    root: Path,
    catalog: Catalog,
    rungs: Sequence[Rung],
    factory: DetectorFactory,
    model_sha256: str,
    out: Path,
    *,
    seconds: float | None = None,
    workers: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> list[Line]:
    """The lines of every clip at every rung; those that an earlier run left in `out`/scores.jsonl are used again.

    Raises:
        DetectError: when the folder cannot be written or holds something else.
    """
    store = out / "scores.jsonl"
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = {tuple(line[name] for name in KEY): line for line in read_scores(store) if line["status"] != "error"}
        jobs = [Job(sample, root / sample.path, rung, seconds) for sample in catalog for rung in rungs]
        missing = [job for job in jobs if job.key(model_sha256) not in known]
        say(f"{len(jobs) - len(missing)} of {len(jobs)} lines are there already")
        for number, (job, line) in enumerate(
            zip(missing, lines_for(missing, factory, workers) if missing else (), strict=True), 1
        ):
            append(store, line)
            known[job.key(model_sha256)] = line
            if number % 25 == 0:
                say(f"{number} of {len(missing)} scored")
    except OSError as error:
        raise DetectError(f"{error.filename or out}: cannot be used ({error.strerror or error})") from error
    return [known[job.key(model_sha256)] for job in jobs]


def main(
    weights: Annotated[str, typer.Argument(help='a .safetensors file, or "shipped"')],
    catalog: Annotated[Path, typer.Argument(help="catalog.jsonl, a CSV table, or a folder that holds one")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the scores and the plot")],
    split: Annotated[str, typer.Option(help='which split to measure; "all" for every clip')] = "val",
    suite_name: Annotated[str, typer.Option("--suite", help="quick, 7x5 or full")] = "quick",
    only: Annotated[list[str] | None, typer.Option(help="all levels of this perturbation instead; repeatable")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="only so many clips of each label, spread")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.2, help="only the beginning of each clip")] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 1,
    results: Annotated[Path, typer.Option(help="folder of the JSON file")] = RESULTS,
) -> None:
    """Measure a detector under damage and save its tables."""

    def say(text: str) -> None:
        typer.echo(text, err=True)

    cv2.setNumThreads(1)
    try:
        rungs = chosen_rungs(suite_name, only or ())
        file = None if weights == "shipped" else Path(weights)
        factory = partial(load_detector, file)
        facts = factory().facts
        root, whole = read_dataset(catalog)
        clips = Catalog(sampled((s for s in whole if split in ("all", s.split)), sample), whole.name)
        if not len(clips):
            raise DetectError(f"{catalog}: no sample is in the split {split!r}; name another one")
        lines = measure_rungs(
            root, clips, rungs, factory, facts.sha256, output, seconds=seconds, workers=workers, say=say
        )
        shown = "--only " + " --only ".join(only) if only else f"--suite {suite_name}"
        picked = (
            f"{'' if sample is None else f' --sample {sample}'}{'' if seconds is None else f' --seconds {seconds:g}'}"
        )
        command = f"python -m benchmarks.robustness {Path(weights).name} CATALOG -o DIR --split {split} {shown}{picked}"
        figures = figures_of(lines, rungs, facts.threshold)
        result_of(figures, lines, facts, command).save(results)
        drawn = draw(figures, output / "robustness.png")
        say(f"plot: {drawn}" if drawn else "no plot: matplotlib is not installed (pip install countermark[dev])")
    except (DetectError, MediaError, ProvenanceError, OSError, ValueError) as problem:
        say(f"robustness: {problem}")
        raise typer.Exit(1) from None
    broken = [line for line in lines if line["status"] == "error"]
    if broken:
        first = broken[0]
        say(
            f"robustness: {len(broken)} of {len(lines)} could not be scored, the first {first['id']} at "
            f"{first['perturbation']} {first['level']} ({first['reason']}); run again to try once more"
        )
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
