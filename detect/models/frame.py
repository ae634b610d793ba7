"""The shipped detector: motion, surface and seams of a face, fused into one probability.

    detector = FrameDetector.load(Path("frame_v1.safetensors"))
    detector.score_file(path).probability

How a file is judged, in this order:

1. `detect.prepare.look_at` finds and follows faces and cuts them out: an abstention there is the answer.
2. A face without detail, or a video too short to move, is not judged.
3. Three branches look at it: motion (`MotionModel`, a forest over measured seconds), surface (`SurfaceModel`,
   statistics of the network's first layers) and seams (the network's logit, taught by pseudo-forgeries).
4. Motion and surface are added; seams can only raise suspicion (`Fusion`). The sum is calibrated.
5. The file's probability is that of its most suspicious face.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from detect.calibration import Calibration
from detect.detector import DetectError, FaceScore, ModelFacts, Score, Status, TimePoint
from detect.localise import pool_top
from detect.models.forest import Forest
from detect.models.heat import explain_face
from detect.models.known import DRAWN, STRANGE, Known
from detect.models.motion import MotionModel
from detect.models.network import SURFACE, FrameNet, network_crop, to_batch
from detect.models.temporal import MIN_FRAMES
from detect.prepare import RATE, FaceLook, Look, LookPlan, look_at
from detect.prevalence import Rates
from media.clip import FloatArray, UInt8Array
from media.faces import FaceFinder

Array = NDArray[np.float64]
KIND = "frame"
FORMAT = 2
MOTION = "motion"
"""Prefix of the forest's tensors."""
CARD = "docs/cards/detector.md"


@dataclass(frozen=True)
class SurfaceModel:
    """A weighted sum of how skin and edges are rendered; positive means synthetic."""

    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    weight: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse lists of other lengths than none or all."""
        if len({len(self.mean), len(self.scale), len(self.weight), SURFACE if self.mean else 0}) != 1:
            raise ValueError(f"mean, scale and weight must have {SURFACE} values each, got {len(self.mean)}")
        if any(s <= 0 for s in self.scale):
            raise ValueError("scale must be positive")

    def score(self, surface_S: Array) -> float:
        """One score from the (SURFACE,) mean statistics of a face; nan without a model."""
        if not self.mean:
            return nan
        z = np.clip((surface_S - np.array(self.mean)) / np.array(self.scale), -3, 3)
        return float(z @ np.array(self.weight))


@dataclass(frozen=True)
class Fusion:
    """How the branches become one logit: motion and surface are added, seams can only raise suspicion.

    They look for different forgeries: motion and surface for animated portraits, seams for pasted faces. An animated
    portrait has no seam, so a plain sum would let the seam branch excuse what the others have found.
    """

    frame_mean: float = 0.0
    """Pooled frame logit that only few real faces exceed."""
    frame_scale: float = 1.0
    """Spread of the pooled frame logit of real faces."""
    frame_weight: float = 1.0
    motion_weight: float = 1.0
    surface_weight: float = 1.0
    top_share: float = 0.5
    """Share of a face's most suspicious looks whose mean counts for half; the mean of all is the other half."""

    def __post_init__(self) -> None:
        """Refuse weights that would turn evidence round."""
        if self.frame_scale <= 0 or min(self.frame_weight, self.motion_weight, self.surface_weight) < 0:
            raise ValueError(f"scale must be positive and weights not negative, got {self}")
        if not 0 < self.top_share <= 1:
            raise ValueError(f"top_share must be in (0, 1], got {self.top_share}")

    def pooled(self, logits: Array) -> float:
        """Half the mean over all looks, half over the most suspicious: means alone hide a partial forgery."""
        return float(0.5 * logits.mean() + 0.5 * pool_top(logits, self.top_share))

    def logit(self, frame: float, motion: float = nan, surface: float = nan) -> float:
        """The raw evidence of all branches; nan for a branch that has nothing to say.

        Where nothing moves (pictures), the seam branch alone decides.
        """
        beyond = float(np.clip((frame - self.frame_mean) / self.frame_scale, -6, 6))
        if isnan(motion):
            return beyond
        value = self.motion_weight * motion + self.frame_weight * float(np.logaddexp(0.0, 2 * beyond)) / 2
        return value if isnan(surface) else value + self.surface_weight * surface


@dataclass(frozen=True)
class Description:
    """What lies beside the weights: everything but the tensors."""

    name: str
    version: str
    size: int
    threshold: float
    calibration: Calibration
    picture_calibration: Calibration
    motion: MotionModel
    """Its forest lies among the tensors."""
    surface: SurfaceModel
    fusion: Fusion
    min_detail: float
    recipe: Mapping[str, Any]
    figures: Mapping[str, Any]
    weights_sha256: str
    unseen_people: tuple[str, ...] = ()
    """Of the training data, those whose clips never taught the network."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        out = {k: getattr(self, k) for k in ("name", "version", "size", "threshold", "min_detail", "weights_sha256")}
        parts: dict[str, Any] = {
            k: asdict(getattr(self, k)) for k in ("calibration", "picture_calibration", "surface", "fusion")
        }
        parts["motion"] = {"features": list(self.motion.features), "fill": list(self.motion.fill)}
        tail = {"recipe": dict(self.recipe), "figures": dict(self.figures), "card": CARD}
        tail["unseen_people"] = list(self.unseen_people)
        return {"kind": KIND, "format": FORMAT, **out, **parts, **tail}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Description:
        """The description of one file; its forest lies among the tensors.

        Raises:
            ValueError: another kind or format, or a field that is missing or wrong.
        """
        if value.get("kind") != KIND or value.get("format") != FORMAT:
            raise ValueError(
                f"kind {KIND}, format {FORMAT} is read, got {value.get('kind')!r}, {value.get('format')!r}"
            )
        try:
            motion = MotionModel(tuple(value["motion"]["features"]), tuple(value["motion"]["fill"]))
            surface = {k: tuple(v) for k, v in value["surface"].items()}
            return cls(
                name=str(value["name"]),
                version=str(value["version"]),
                size=int(value["size"]),
                threshold=float(value["threshold"]),
                calibration=Calibration(**value["calibration"]),
                picture_calibration=Calibration(**value["picture_calibration"]),
                motion=motion,
                surface=SurfaceModel(**surface),
                fusion=Fusion(**value["fusion"]),
                min_detail=float(value["min_detail"]),
                recipe=value["recipe"],
                figures=value["figures"],
                weights_sha256=str(value["weights_sha256"]),
                unseen_people=tuple(map(str, value.get("unseen_people", ()))),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the description is not complete ({error})") from error


def detail_of(crops: UInt8Array, size: int) -> float:
    """How much detail a face shows: median variance of the Laplacian of the luma, over at most eight looks."""
    chosen = crops[:: max(1, len(crops) // 8)]
    grey = [cv2.cvtColor(network_crop(c, size), cv2.COLOR_RGB2GRAY) for c in chosen]
    return float(np.median([cv2.Laplacian(g, cv2.CV_32F).var() for g in grey]))


class FrameDetector:
    """See the module's text; implements `detect.detector.Detector`."""

    def __init__(self, network: FrameNet, description: Description, plan: LookPlan | None = None) -> None:
        """A detector from its parts.

        Args:
            network: trained.
            description: of the weights.
            plan: how closely to look at files.
        """
        self.network = network.eval().to(memory_format=torch.channels_last)
        self.description = description
        self.plan = plan or LookPlan()
        self._finder: FaceFinder | None = None
        self._known = Known.load()

    @classmethod
    def load(cls, weights: Path) -> FrameDetector:
        """The detector of a `.safetensors` file and the `.json` beside it.

        Raises:
            DetectError: when one is missing, damaged, of another kind, or the two do not belong together.
        """
        beside = weights.with_suffix(".json")
        try:
            data = weights.read_bytes()
            description = Description.from_json(json.loads(beside.read_text(encoding="utf-8")))
        except OSError as error:
            raise DetectError(
                f"{error.filename}: cannot read the detector ({error.strerror}); give the .safetensors "
                "file that `detect train` wrote, with its .json beside it"
            ) from error
        except (ValueError, UnicodeDecodeError) as error:
            raise DetectError(f"{beside}: not the description of a detector ({error})") from error
        if hashlib.sha256(data).hexdigest() != description.weights_sha256:
            raise DetectError(f"{weights}: not the weights that {beside.name} describes; restore the pair")
        network = FrameNet()
        try:
            tensors = load_file(weights)
            trees = {k: v.numpy() for k, v in tensors.items() if k.startswith(f"{MOTION}.")}
            network.load_state_dict({k: v.float() for k, v in tensors.items() if k not in trees})
            if trees:
                motion = replace(description.motion, forest=Forest.from_tensors(trees, MOTION))
                description = replace(description, motion=motion)
        except (SafetensorError, RuntimeError, OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise DetectError(f"{weights}: not the tensors of this detector ({first}); train again") from error
        return cls(network, description)

    @property
    def facts(self) -> ModelFacts:
        """What to cite."""
        d = self.description
        return ModelFacts(d.name, d.version, d.weights_sha256, d.threshold, CARD)

    @property
    def rates(self) -> Rates | None:
        """Shares of synthetic and of real clips flagged at the threshold; None where they were not measured."""
        found = self.description.figures.get("rates")
        return Rates(**found) if found else None

    def explain(self, image: UInt8Array, landmarks: FloatArray) -> tuple[UInt8Array, FloatArray]:
        """Where the seam branch looked in a face: see `detect.models.heat.explain_face`."""
        return explain_face(self.network, image, landmarks, self.description.size)

    def look_closely(self, crops: UInt8Array, batch: int = 16) -> tuple[Array, Array]:
        """(N,) seam logits and (SURFACE,) mean surface of stored crops (N, SIDE, SIDE, 3)."""
        logits: list[Array] = []
        surfaces: list[Array] = []
        with torch.inference_mode():
            for start in range(0, len(crops), batch):
                pictures = [network_crop(crop, self.description.size) for crop in crops[start : start + batch]]
                logit, surface = self.network.logits_and_surface(to_batch(pictures))
                logits.append(logit.double().numpy())
                surfaces.append(surface.double().numpy())
        return np.concatenate(logits), np.concatenate(surfaces).mean(axis=0)

    def score_file(self, path: Path) -> Score:
        """Judge one video or picture. Unreadable files are an answer, never an exception."""
        started = time.process_time()
        if self._finder is None:
            # tiles find small faces, and cost; small faces are abstained on anyway
            self._finder = FaceFinder(max_faces=self.plan.max_faces)
        look = look_at(path, self.plan, self._finder)
        return self.score_look(look, started)

    def score_look(self, look: Look, started: float | None = None) -> Score:
        """Judge what `look_at` saw.

        Args:
            look: the faces of one file.
            started: `time.process_time()` at the beginning of the work.
        """
        started = time.process_time() if started is None else started

        def spent() -> float:
            return time.process_time() - started

        if look.status is not Status.OK:
            return Score.abstain(look.status, look.reason, look.seconds_of_video, spent())
        picture = look.seconds_of_video == 0.0
        if not picture and look.seconds_of_video < float((MIN_FRAMES - 1) / RATE):
            reason = f"the video lasts {look.seconds_of_video:.2f} s, motion needs {float(MIN_FRAMES / RATE):.2f} s"
            return Score.abstain(Status.TOO_SHORT, reason, look.seconds_of_video, spent())
        faces = tuple(self._score_face(n, face, picture) for n, face in enumerate(_worth_judging(look.faces)))
        judged = [face for face in faces if not isnan(face.probability)]
        if not judged:
            odd = [face.reason for face in faces if face.reason in (DRAWN, STRANGE)]
            status = Status.OUT_OF_DISTRIBUTION if odd else Status.LOW_QUALITY
            return Score.abstain(status, odd[0] if odd else faces[0].reason, look.seconds_of_video, spent())
        worst = max(judged, key=lambda face: face.probability)
        timeline = _most_suspicious(judged)
        return Score(worst.probability, Status.OK, "", faces, timeline, look.seconds_of_video, spent())

    def _score_face(self, number: int, face: FaceLook, picture: bool) -> FaceScore:
        box = tuple(float(v) for v in np.median(face.boxes, axis=0))
        first, last = float(face.seconds[0]), float(face.seconds[-1])
        detail = detail_of(face.crops, self.description.size)
        if detail < self.description.min_detail:
            reason = f"the face is too blurred to judge (detail {detail:.0f}, {self.description.min_detail:.0f} needed)"
            return FaceScore(number, first, last, box, nan, (), reason)  # type: ignore[arg-type]
        if strange := self._known.judge(face.crops):
            return FaceScore(number, first, last, box, nan, (), strange)  # type: ignore[arg-type]
        logits, statistics = self.look_closely(face.crops)
        d = self.description
        surface = d.surface.score(statistics)
        motion = nan if picture else d.motion.score(face.windows)
        calibration = d.picture_calibration if isnan(motion) else d.calibration
        probability = calibration.probability(d.fusion.logit(d.fusion.pooled(logits), motion, surface))
        timeline = self._timeline(face, logits, motion, surface, calibration)
        return FaceScore(number, first, last, box, probability, timeline)  # type: ignore[arg-type]

    def _timeline(
        self, face: FaceLook, logits: Array, steady: float, surface: float, calibration: Calibration
    ) -> tuple[TimePoint, ...]:
        d = self.description
        seconds = d.motion.scores(face.windows)
        points = []
        for second in sorted({int(t) for t in face.seconds}):
            looks = logits[face.seconds.astype(np.int64) == second]
            here = seconds[face.window_seconds.astype(np.int64) == second] if len(seconds) else np.zeros(0)
            # one second alone is noisy: half of the motion evidence is what the whole face shows
            motion = steady if len(here) == 0 else 0.5 * (float(here[0]) + steady)
            value = calibration.probability(d.fusion.logit(float(looks.mean()), motion, surface))
            points.append(TimePoint(float(second), value))
        return tuple(points)


def _worth_judging(faces: tuple[FaceLook, ...]) -> list[FaceLook]:
    """Without faces that are seen for a moment only beside one that is seen all along: they are mostly mistakes."""
    most = max(len(face.seconds) for face in faces)
    return [face for face in faces if len(face.seconds) >= max(1, most // 8)]


def _most_suspicious(faces: list[FaceScore]) -> tuple[TimePoint, ...]:
    best: dict[float, float] = {}
    for face in faces:
        for point in face.timeline:
            best[point.seconds] = max(best.get(point.seconds, 0.0), point.probability)
    return tuple(TimePoint(second, best[second]) for second in sorted(best))
