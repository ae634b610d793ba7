"""From a trained network to a detector: fit the branches, the fusion, the probability and the threshold; write it all.

Probability and threshold are fitted on scores of clips whose maker or person the branches were fitted without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors.torch import save as packed_tensors

from detect.calibration import Calibration, fit_calibration
from detect.lessons import Lesson
from detect.metrics import detection_rate, false_alarm_rate, roc_auc, threshold_for_false_alarms
from detect.models.frame import MOTION, Description, Fusion, SurfaceModel, detail_of
from detect.models.fusing import ClipEvidence, fit_fusion
from detect.models.leaving_out import Branches, left_out_scores
from detect.models.motion import MotionModel
from detect.models.network import FrameNet, network_crop, to_batch
from detect.pseudo import Treatment, forge
from detect.recipes import TrainRecipe
from detect.report import write_whole
from detect.sampling import spread_indices
from detect.splitting import Prepared, Split

TOLERATED_FALSE_ALARMS = 0.05
"""Share of real clips that the threshold may call synthetic."""
SURENESS = 0.9
"""Share of draws of people in which it keeps to that: the few people at hand are not those to come."""
DRAWS = 400


def write_detector(network: FrameNet, description: Description, path: Path) -> Path:
    """Write half-precision weights, the forest and their description; returns the .safetensors path.

    Raises:
        DetectError: when the folder cannot be written.
    """
    tensors = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    if description.motion.forest is not None:
        trees = description.motion.forest.tensors(MOTION)
        tensors |= {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in trees.items()}
    data = packed_tensors(tensors)
    write_whole(data, path)
    described = replace(description, weights_sha256=hashlib.sha256(data).hexdigest())
    write_whole(json.dumps(described.to_json(), indent=1, sort_keys=True) + "\n", path.with_suffix(".json"))
    return path


def evidence_of(network: FrameNet, samples: Sequence[Prepared], size: int, most: int = 12) -> list[ClipEvidence]:
    """What the branches have to go on for each sample."""
    out = []
    for s in samples:
        chosen = spread_indices(len(s.face.crops), most)
        with torch.inference_mode():
            batch = to_batch([network_crop(s.face.crops[i], size) for i in chosen])
            logits, surface = network.logits_and_surface(batch)
        mean = surface.double().numpy().mean(axis=0)
        out.append(ClipEvidence(s.synthetic, s.person, s.maker, logits.double().numpy(), s.face.windows, mean))
    return out


def unseen_by_network(split: Split, recipe: TrainRecipe) -> tuple[Prepared, ...]:
    """Samples that may calibrate: the held-out ones; all of them when only pseudo-forgeries taught the network.

    Then no synthetic clip was ever seen, and a real one was seen as often beside its own forgery as for itself.
    """
    return split.check if recipe.synthetic_share > 0 else split.teach + split.check


def picture_logits(network: FrameNet, samples: Sequence[Prepared], recipe: TrainRecipe, seed: int) -> list[list[float]]:
    """Logits of single real pictures, and of pseudo-forgeries of them: what calibrates answers on pictures."""
    rng = np.random.default_rng(seed)
    real: list[float] = []
    forged: list[float] = []
    for s in samples:
        for n in spread_indices(len(s.face.crops), 3):
            crop = s.face.crops[n]
            treatment = Treatment.draw(rng, recipe.sides)
            pair = [crop, forge(crop, s.face.landmarks[n], rng, recipe.blend_share)]
            batch = to_batch([network_crop(treatment.apply(c, crop.shape[0]), recipe.size) for c in pair])
            with torch.inference_mode():
                a, b = network(batch).double().tolist()
            real.append(a)
            forged.append(b)
    return [real, forged]


@dataclass(frozen=True)
class Origin:
    """How weights call themselves, and what they were made with."""

    name: str
    version: str
    recipe: Mapping[str, Any]


def calibrated(
    clips: Sequence[ClipEvidence], lessons: Sequence[Lesson], branches: Branches, fusion: Fusion
) -> tuple[Calibration, float, list[float]]:
    """What makes probabilities of logits, the threshold, and the logits they were fitted on (see the module)."""
    scores = [branches.scores(c) for c in clips]
    if branches.motion.forest is not None:
        without = left_out_scores(clips, lessons)
        # a single maker cannot be left out: then what was fitted on it has to do
        scores = without if all(isfinite(motion) for motion, _ in without) else scores
    logits = [fusion.logit(fusion.pooled(c.logits), *pair) for c, pair in zip(clips, scores, strict=True)]
    labels = [c.synthetic for c in clips]
    if len(set(labels)) < 2:
        return Calibration(), 0.5, logits
    calibration = fit_calibration(labels, logits)
    probabilities = calibration.probabilities(logits)
    return calibration, cautious_threshold(labels, probabilities, [c.person for c in clips]), logits


def cautious_threshold(labels: Sequence[bool], probabilities: ArrayLike, people: Sequence[str]) -> float:
    """A threshold that calls few real clips synthetic also when other people had been filmed.

    The threshold for `TOLERATED_FALSE_ALARMS` is found on many draws of the real people with replacement; the one
    returned is high enough for a share of `SURENESS` of the draws.
    """
    label_N, value_N = np.asarray(labels, bool), np.asarray(probabilities, np.float64)
    names, person_N = np.unique(np.array(people), return_inverse=True)
    real = np.unique(person_N[~label_N])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        often = np.bincount(rng.choice(real, len(real)), minlength=len(names))[person_N]
        often = np.where(label_N, 1, often)
        drawn = np.repeat(label_N, often), np.repeat(value_N, often)
        found.append(threshold_for_false_alarms(*drawn, TOLERATED_FALSE_ALARMS))
    return float(np.quantile(found, SURENESS))


def describe(
    network: FrameNet,
    split: Split,
    lessons: Sequence[Lesson],
    recipe: TrainRecipe,
    steps: int,
    seed: int,
    origin: Origin,
) -> Description:
    """Fit motion and surface branch, fusion, calibration and threshold on training people."""
    network = network.cpu().eval()
    check = evidence_of(network, split.check, recipe.size)
    clips = evidence_of(network, unseen_by_network(split, recipe), recipe.size)
    # pictures have no motion and a calibration of their own
    clips = [c for c in clips if len(c.windows)] or clips
    branches = Branches.fit(clips, lessons) if recipe.temporal else Branches(MotionModel(), SurfaceModel())
    fusion = fit_fusion(check if any(not c.synthetic for c in check) else clips)
    labels = [c.synthetic for c in clips]
    calibration, threshold, logits = calibrated(clips, lessons, branches, fusion)
    real = [s for s in split.check if not s.synthetic] or [s for s in split.teach if not s.synthetic]
    pictures = picture_logits(network, real, recipe, seed)
    alone = [fusion.logit(value) for side in pictures for value in side]
    truth = [False] * len(pictures[0]) + [True] * len(pictures[1])
    detail = [detail_of(s.face.crops, recipe.size) for s in split.teach + split.check]
    probabilities = calibration.probabilities(logits)
    figures = {
        "rates": rates_at(threshold, labels, probabilities.tolist()),
        "steps": steps,
        "lessons": len(lessons),
        "held_out_makers": list(split.held_out_makers),
        "teaching_samples": len(split.teach),
        "calibrating_samples": len(clips),
        "calibrating_auc": _rounded(labels, logits),
        "calibrating_auc_frames": _rounded(labels, [fusion.pooled(c.logits) for c in clips]),
        "picture_auc_pseudo": _rounded(truth, alone),
    }
    return Description(
        name=origin.name,
        version=origin.version,
        size=recipe.size,
        threshold=float(np.clip(threshold, 0.01, 0.99)),
        calibration=calibration,
        picture_calibration=fit_calibration(truth, alone),
        motion=branches.motion,
        surface=branches.surface,
        fusion=fusion,
        min_detail=float(0.25 * min(detail)),
        recipe=origin.recipe,
        figures=figures,
        weights_sha256="",
        unseen_people=split.unseen_people,
    )


def rates_at(threshold: float, labels: Sequence[bool], probabilities: Sequence[float]) -> dict[str, float] | None:
    """Shares of synthetic and of real clips at or above the threshold, for `detect.prevalence.Rates`."""
    if len(set(labels)) < 2:
        return None
    found = detection_rate(labels, probabilities, threshold)
    wrong = false_alarm_rate(labels, probabilities, threshold)
    return {"detection": round(found, 4), "false_alarms": round(wrong, 4), "real_clips": len(labels) - sum(labels)}


def _rounded(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    known = len(set(labels)) == 2 and all(isfinite(score) for score in scores)
    return round(roc_auc(labels, scores), 4) if known else None
