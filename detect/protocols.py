"""Leave-one-maker-out over a whole collection: how a way of training does on generators nobody has trained it on.

    results = unseen_makers_of(load_detector(), [read_dataset(path)], Path("runs/unseen"))

The network of a detector is kept; motion and surface branch are fitted again for each maker, without that maker, its
people, and a fold of the real people, who are the other label. Splits are ignored: everything is left out once. Writes
`scores.jsonl` (one line for each maker and clip) and `figures.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect import metrics
from detect.calibration import fit_calibration
from detect.describing import cautious_threshold, evidence_of
from detect.detector import DetectError
from detect.lessons import Lesson
from detect.models.frame import FrameDetector
from detect.models.fusing import ClipEvidence
from detect.models.leaving_out import folds_of, unseen_makers
from detect.recipes import TrainRecipe, frame_cpu
from detect.report import make_folder, write_whole
from detect.splitting import Prepared
from detect.telling import Say, silent
from detect.train import lessons_from, prepared_samples
from media.catalog import Catalog
from media.places import Place

Told = Sequence[tuple[ClipEvidence, float]]
DRAWS = 500


def unseen_makers_of(
    detector: FrameDetector,
    datasets: Sequence[tuple[Path, Catalog]],
    out: Path,
    *,
    recipe: TrainRecipe | None = None,
    cache: Path | None = None,
    with_lessons: bool = True,
    say: Say = silent,
    place: Place | None = None,
) -> dict[str, Any]:
    """Fit and score without each maker in turn; save scores and figures and return the figures.

    Args:
        detector: whose network and fusion are kept.
        datasets: (folder, catalog) pairs, all splits.
        out: folder for scores.jsonl and figures.json.
        recipe: how to prepare and which forgeries in time to teach; `frame_cpu` by default.
        cache: folder of prepared crops and lessons, inside `out` by default.
        with_lessons: teach forgeries in time; without them, the same protocol tells what they are worth.
        say: told one line at a time how it goes.
        place: where files are prepared; None is this process.

    Raises:
        DetectError: when a label is missing, no maker can be left out, or the folder cannot be written.
    """
    recipe = recipe or frame_cpu()
    kept_in = cache or out / "prepared"
    make_folder(out)
    samples: list[Prepared] = []
    lessons: list[Lesson] = []
    for root, catalog in datasets:
        found = prepared_samples(catalog, root, kept_in, recipe, say, place)
        samples += [s for s in found if len(s.face.windows)]
        if with_lessons:
            lessons += lessons_from(found, root, kept_in / "lessons", recipe, say, place)
    if len({s.synthetic for s in samples}) < 2:
        raise DetectError("leaving makers out needs clips of both labels; give datasets that hold both")
    clips = evidence_of(detector.network, samples, detector.description.size)
    say(f"{len(clips)} clips, {len(lessons)} lessons; leaving out each maker in turn")
    told = unseen_makers(clips, lessons, detector.description.fusion)
    if not told:
        raise DetectError("no maker can be left out: clips of at least two makers are needed")
    names = {id(clip): sample.sample.id for clip, sample in zip(clips, samples, strict=True)}
    write_whole("".join(_lines(told, names)), out / "scores.jsonl")
    results = figures_of(told) | {"clips": len(clips), "lessons": len(lessons)}
    write_whole(json.dumps(results, indent=1, sort_keys=True) + "\n", out / "figures.json")
    return results


def _lines(told: Mapping[str, Told], names: Mapping[int, str]) -> list[str]:
    return [
        json.dumps(
            {"left_out": maker, "id": names[id(c)], "synthetic": c.synthetic, "person": c.person, "logit": round(v, 5)}
        )
        + "\n"
        for maker, rows in told.items()
        for c, v in rows
    ]


def figures_of(told: Mapping[str, Told], draws: int = DRAWS) -> dict[str, Any]:
    """Each maker against all real people, and the mean and the worst over makers.

    Args:
        told: what `unseen_makers` gave.
        draws: bootstrap resamples of people.
    """
    by_maker: dict[str, Any] = {}
    for maker, rows in told.items():
        labels, values = [c.synthetic for c, _ in rows], [v for _, v in rows]
        people = [c.person for c, _ in rows]
        wanted: dict[str, metrics.Metric] = {
            "auc": metrics.roc_auc,
            "tpr_at_5_percent_fpr": lambda y, p: metrics.rate_at_false_alarms(y, p, 0.05),
            "tpr_at_1_percent_fpr": lambda y, p: metrics.rate_at_false_alarms(y, p, 0.01),
        }
        measured = {n: metrics.measure(m, labels, values, people, draws=draws).to_json() for n, m in wanted.items()}
        by_maker[maker] = {"synthetic": sum(labels), "real": len(labels) - sum(labels), **measured}
    return {"by_maker": by_maker, **_over_makers(told, draws), **_as_answered(told, draws)}


def _as_answered(told: Mapping[str, Told], draws: int) -> dict[str, Any]:
    """How honest probabilities and threshold are that were fitted on other makers' and other people's clips.

    Empty where a fold of makers and people cannot be left out, because the rest has one label only.
    """
    own: dict[int, tuple[ClipEvidence, list[float]]] = {}
    for rows in told.values():
        for clip, value in rows:
            own.setdefault(id(clip), (clip, []))[1].append(value)
    clips = [clip for clip, _ in own.values()]
    label_N = np.array([c.synthetic for c in clips])
    person_N = np.array([c.person for c in clips])
    logit_N = np.array([np.mean(values) for _, values in own.values()])
    fold_N = folds_of(clips)
    probability_N, flagged_N = np.zeros(len(clips)), np.zeros(len(clips), bool)
    for fold in sorted(set(fold_N.tolist())):
        test_N = fold_N == fold
        rest_N = ~test_N & ~np.isin(person_N, person_N[test_N])
        if len(set(label_N[rest_N].tolist())) < 2:
            return {}
        calibration = fit_calibration(label_N[rest_N], logit_N[rest_N])
        known = calibration.probabilities(logit_N[rest_N])
        threshold = cautious_threshold(label_N[rest_N].tolist(), known, person_N[rest_N].tolist())
        probability_N[test_N] = calibration.probabilities(logit_N[test_N])
        flagged_N[test_N] = probability_N[test_N] >= threshold
    wanted: dict[str, tuple[metrics.Metric, NDArray[np.float64]]] = {
        "ece": (metrics.expected_calibration_error, probability_N),
        "brier": (metrics.brier, probability_N),
        "false_alarms_at_threshold": (
            lambda y, p: metrics.false_alarm_rate(y, p, 0.5),
            flagged_N.astype(np.float64),
        ),
        "found_at_threshold": (lambda y, p: metrics.detection_rate(y, p, 0.5), flagged_N.astype(np.float64)),
    }
    names = person_N.tolist()
    measured = {n: metrics.measure(m, label_N, v, names, draws=draws).to_json() for n, (m, v) in wanted.items()}
    exact = metrics.calibration_error_of_chance(probability_N)
    return {"as_answered": {**measured, "ece_of_exact_probabilities": round(exact, 4)}}


def _over_makers(told: Mapping[str, Told], draws: int) -> dict[str, Any]:
    """Mean and worst AUC over makers with intervals: the same people are drawn for all makers at once."""
    everybody = sorted({c.person for rows in told.values() for c, _ in rows})
    at = {person: n for n, person in enumerate(everybody)}
    tables = [
        (
            np.array([c.synthetic for c, _ in rows]),
            np.array([v for _, v in rows]),
            np.array([at[c.person] for c, _ in rows]),
        )
        for rows in told.values()
    ]
    rng = np.random.default_rng(0)

    def once(times_P: NDArray[np.int64]) -> list[float]:
        out = []
        for label, value, person in tables:
            often = times_P[person]
            out.append(metrics.roc_auc(np.repeat(label, often), np.repeat(value, often)))
        return out

    whole = once(np.ones(len(everybody), np.int64))
    drawn = np.array(
        [once(np.bincount(rng.integers(0, len(at), len(at)), minlength=len(at))) for _ in range(draws)], np.float64
    )
    out: dict[str, Any] = {}
    for name, reduce in (("mean_auc", np.nanmean), ("worst_auc", np.nanmin)):
        values = [float(reduce(row)) for row in drawn if np.isfinite(row).any()]
        low, high = np.quantile(values, [0.025, 0.975])
        out[name] = metrics.Measure(float(reduce(whole)), float(low), float(high)).to_json()
    rates = [metrics.rate_at_false_alarms(label, value, 0.05) for label, value, _ in tables]
    return out | {"mean_tpr_at_5_percent_fpr": round(float(np.mean(rates)), 4)}
