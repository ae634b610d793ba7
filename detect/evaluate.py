"""Measure a detector on labelled clips: scores first, then figures over the saved scores.

    results = evaluate(load_detector(), [read_dataset(path)], Path("runs/val"), split="val")

Writes `scores.jsonl` (one line a clip, also for abstentions) and `figures.json`. Trivial answers stand beside the
detector's: what file size, sharpness and colour alone would reach, because a data set that they solve measures
nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detect import metrics
from detect.detector import DetectError, Detector, Score
from detect.report import make_folder, write_whole
from detect.sampling import spread_indices
from detect.telling import Say, silent
from media.catalog import Catalog, Label, Sample
from media.clip import MediaError, UInt8Array
from media.video import probe, stream_frames

BASELINES = ("bits per second", "sharpness", "colour")
DRAWS = 1000


@dataclass(frozen=True)
class Scored:
    """One clip with its truth and its answer."""

    sample: Sample
    file: Path
    score: Score

    @property
    def synthetic(self) -> bool:
        """The truth."""
        return self.sample.label is Label.SYNTHETIC

    @property
    def cluster(self) -> str:
        """Clips that are not independent of each other share it."""
        return self.sample.cluster

    def to_json(self) -> dict[str, Any]:
        """The line in scores.jsonl."""
        s, p = self.sample, self.score.probability
        return {
            "id": s.id,
            "file": s.path,
            "label": str(s.label),
            "probability": None if isnan(p) else round(p, 6),
            "status": str(self.score.status),
            "reason": self.score.reason,
            "person": s.person,
            "maker": s.maker,
            "codec": s.codec,
            "split": s.split,
            "seconds_of_video": round(self.score.seconds_of_video, 3),
            "core_seconds": round(self.score.core_seconds, 3),
        }


def evaluate(
    detector: Detector,
    datasets: Sequence[tuple[Path, Catalog]],
    out: Path,
    *,
    split: str | None = "val",
    say: Say = silent,
) -> dict[str, Any]:
    """Score every clip of a split, save the scores, and return the figures over them.

    Args:
        detector: to be measured.
        datasets: (folder, catalog) pairs.
        out: folder for scores.jsonl and figures.json.
        split: which split to measure; None for all samples.
        say: told one line at a time how it goes.

    Raises:
        DetectError: when no sample is in the split or the folder cannot be written.
    """
    chosen = [(root / s.path, s) for root, catalog in datasets for s in catalog if split in (None, s.split)]
    if not chosen:
        raise DetectError(f"no sample is in the split {split!r}; name another one")
    scored: list[Scored] = []
    for number, (file, sample) in enumerate(chosen, start=1):
        scored.append(Scored(sample, file, detector.score_file(file)))
        if number % 20 == 0:
            say(f"scored {number} of {len(chosen)}")
    teaching = [(root / s.path, s) for root, catalog in datasets for s in catalog if s.split == "train"]
    results = figures(scored, detector.facts.threshold)
    results["model"] = {"name": detector.facts.name, "version": detector.facts.version, "sha256": detector.facts.sha256}
    results["baselines"] = trivial_baselines(teaching, scored) if split != "train" else {}
    make_folder(out)
    write_whole("".join(json.dumps(s.to_json(), sort_keys=True) + "\n" for s in scored), out / "scores.jsonl")
    write_whole(json.dumps(results, indent=1, sort_keys=True) + "\n", out / "figures.json")
    return results


def figures(scored: Sequence[Scored], threshold: float, draws: int = DRAWS) -> dict[str, Any]:
    """All figures over answered clips, for the whole, by maker and by codec; abstentions are counted beside them.

    Args:
        scored: clips with answers.
        threshold: from which a clip is called synthetic.
        draws: bootstrap resamples.
    """
    answered = [s for s in scored if not s.score.abstained]
    real = [s for s in answered if not s.synthetic]
    by_maker: dict[str, Any] = {}
    for maker in sorted({s.sample.maker or "unknown" for s in scored if s.synthetic}):
        own = [s for s in answered if s.synthetic and (s.sample.maker or "unknown") == maker]
        by_maker[maker] = _whole(own + real, threshold, draws // 4)
    by_codec = {
        codec: _whole([s for s in answered if (s.sample.codec or "unknown") == codec], threshold, draws // 4)
        for codec in sorted({s.sample.codec or "unknown" for s in scored})
    }
    return {
        "clips": len(scored),
        "abstained": {str(k): sum(1 for s in scored if s.score.status is k) for k in {s.score.status for s in scored}},
        "threshold": threshold,
        "all": _whole(answered, threshold, draws),
        "by_maker": by_maker,
        "by_codec": by_codec,
        "core_seconds_per_second": _speed(scored),
    }


def _speed(scored: Sequence[Scored]) -> float | None:
    video = sum(s.score.seconds_of_video for s in scored)
    return round(sum(s.score.core_seconds for s in scored) / video, 4) if video > 0 else None


def _whole(scored: Sequence[Scored], threshold: float, draws: int) -> dict[str, Any]:
    labels = [s.synthetic for s in scored]
    values = [s.score.probability for s in scored]
    clusters = [s.cluster for s in scored]
    wanted: dict[str, metrics.Metric] = {
        "auc": metrics.roc_auc,
        "eer": metrics.equal_error_rate,
        "ap": metrics.average_precision,
        "tpr_at_1_percent_fpr": lambda y, p: metrics.rate_at_false_alarms(y, p, 0.01),
        "tpr_at_5_percent_fpr": lambda y, p: metrics.rate_at_false_alarms(y, p, 0.05),
        "fpr_at_threshold": lambda y, p: metrics.false_alarm_rate(y, p, threshold),
        "tpr_at_threshold": lambda y, p: metrics.detection_rate(y, p, threshold),
        "partial_auc": metrics.partial_auc,
        "brier": metrics.brier,
        "ece": metrics.expected_calibration_error,
    }
    out: dict[str, Any] = {"real": labels.count(False), "synthetic": labels.count(True)}
    for name, metric in wanted.items():
        out[name] = metrics.measure(metric, labels, values, clusters, draws=draws).to_json()
    out["ece_of_exact_probabilities"] = round(metrics.calibration_error_of_chance(values), 4)
    rare = metrics.found_at_false_alarms(labels, values, 0.001, clusters, draws=draws)
    out["tpr_at_0.1_percent_fpr"] = rare.to_json()
    out["risk_coverage"] = metrics.risk_coverage(labels, values).to_json()
    return out


def trivial_statistics(path: Path, looks: int = 5) -> dict[str, NDArray[np.float64]]:
    """What can be said about a file without looking for a face, by name of the baseline.

    Raises:
        MediaError: when the file cannot be read.
    """
    facts = probe(path)
    rate = path.stat().st_size / max(facts.duration_seconds, 0.04)
    length = max(1, facts.length or round(facts.duration_seconds * float(facts.fps)))
    wanted = set(spread_indices(length, looks).tolist())
    pictures = [frame.image for frame in stream_frames(path) if frame.index in wanted]
    if not pictures:
        raise MediaError(f"{path}: has no pictures to measure")
    small = [np.asarray(cv2.resize(p, (256, 256), interpolation=cv2.INTER_AREA), np.uint8) for p in pictures]
    return {
        "bits per second": np.log([rate + 1.0]),
        "sharpness": np.log([1.0 + float(np.median([_sharpness(p) for p in small]))]),
        "colour": np.mean([_colour(p) for p in small], axis=0),
    }


def _sharpness(image: UInt8Array) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def _colour(image: UInt8Array) -> NDArray[np.float64]:
    lab = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.float64).reshape(-1, 3)
    return np.concatenate([lab.mean(axis=0), lab.std(axis=0), np.asarray(np.corrcoef(lab.T))[np.triu_indices(3, 1)]])


def trivial_baselines(
    teaching: Sequence[tuple[Path, Sample]], scored: Sequence[Scored], draws: int = DRAWS
) -> dict[str, Any]:
    """AUC that logistic regression on one trivial statistic reaches: fitted on the training split, measured here.

    A statistic that cannot be fitted (no training split) or measured is unscored with the reason.
    """
    known = [(s, t) for s, t in ((s, _maybe(file)) for file, s in teaching) if t is not None]
    tested = [(s, t) for s, t in ((s, _maybe(s.file)) for s in scored) if t is not None]
    out: dict[str, Any] = {}
    for name in BASELINES:
        truth = [s.label is Label.SYNTHETIC for s, _ in known]
        if len(set(truth)) < 2:
            missing = metrics.Measure(float("nan"), reason="no training split with both labels to fit on")
            out[name] = missing.to_json()
            continue
        fitted = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
        fitted.fit(np.nan_to_num([t[name] for _, t in known]), truth)
        value = fitted.decision_function(np.nan_to_num([t[name] for _, t in tested]))
        labels, clusters = [s.synthetic for s, _ in tested], [s.cluster for s, _ in tested]
        out[name] = metrics.measure(metrics.roc_auc, labels, value, clusters, draws=draws).to_json()
    return out


def _maybe(file: Path) -> Mapping[str, NDArray[np.float64]] | None:
    try:
        return trivial_statistics(file)
    except MediaError:
        return None
