"""Is this a face of the kind the detector knows? Drawings, statues and masks are answered with "I cannot tell".

    known = Known.load()
    known.judge(crops)    # "", or "the face looks drawn, painted or sculpted; ..."

A detector that never saw a painting still gives it a probability, and mostly a high one. So before a face is judged it
is compared with photographed faces (photographs, film, and generators that imitate them):

1. A face without detail, or with hardly any light, is not judged (`detect.models.frame`, `min_detail`).
2. A linear model on frozen ImageNet features says how much it looks like a photograph. It was fitted on photographs
   against paintings, cartoons, statues, style transfers, and the same photographs redrawn by `detect.models.drawings`,
   all of them degraded alike: no codec, size or colour cast can serve as the answer.
3. What lies far from every photographed face, in the directions in which these differ from each other, is not judged
   either (Mahalanobis; Lee et al. 2018): the linear model has never seen what nobody has thought of.

Both limits are fixed by the share of photographs that may be turned away. How sure the detector is says nothing here:
off its domain it is often sure and wrong.

Axes: B crops, N faces, D features, K directions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detect.detector import DetectError
from detect.models.network import FrameNet, network_crop, oval, start_from_imagenet, to_batch
from detect.sampling import spread_indices
from media.clip import UInt8Array

Array = NDArray[np.float64]

SHIPPED = "known_v1.json"
FORMAT = 1
SIZE = 144
LOOKS = 3
"""Crops of a face that are compared: a face stays a drawing for as long as it is seen."""
BLOCKS = (4, 5, 6)
"""Of EfficientNet-Lite0, whose means over the face are the features. Fitted without one real drawing and tested on 21,
AUC .65 for block 1, .81 for 3, .91 for 4, .96 for these: how edges are drawn says little, what eyes look like more."""
CLIP = 4.0
"""Standard deviations at which a feature stops counting more."""
DRAWN = "the face looks drawn, painted or sculpted; the detector knows photographed faces only"
STRANGE = "the face is unlike every photographed face that the detector knows"


@dataclass(frozen=True)
class KnownModel:
    """The numbers of rules 2 and 3."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weight: tuple[float, ...]
    offset: float
    drawn_above: float
    """Logit of "not a photograph" from which a face is turned away."""
    directions: tuple[tuple[float, ...], ...]
    """(K, D), already divided by the spread of photographs along each."""
    distant_above: float
    """Distance from the mean photograph, in spreads, from which a face is turned away."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What it was fitted and measured on."""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse lists of different lengths."""
        lengths = {len(self.mean), len(self.scale), len(self.weight), *map(len, self.directions)}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"mean, scale, weight and directions must be of one length, got {sorted(lengths)}")
        if any(s <= 0 for s in self.scale):
            raise ValueError("scale must be positive")

    def standardised(self, features_ND: Array) -> Array:
        """(N, D) features in spreads of the photographs."""
        return np.asarray(np.clip((features_ND - np.array(self.mean)) / np.array(self.scale), -CLIP, CLIP))

    def drawn(self, features_ND: Array) -> Array:
        """(N,) logits of "not a photograph"."""
        return np.asarray(self.standardised(features_ND) @ np.array(self.weight) + self.offset)

    def distance(self, features_ND: Array) -> Array:
        """(N,) distances from the mean photograph."""
        along_NK = self.standardised(features_ND) @ np.array(self.directions).T
        return np.asarray(np.sqrt((along_NK**2).mean(axis=1)))

    def turned_away(self, features_ND: Array) -> NDArray[np.bool_]:
        """(N,) whether a face is none that the detector knows."""
        return (self.drawn(features_ND) >= self.drawn_above) | (self.distance(features_ND) >= self.distant_above)

    def to_json(self) -> dict[str, Any]:
        """Plain values, four digits: the model is a guess to two."""
        plain = {k: v for k, v in asdict(self).items() if k not in ("data", "figures")}
        return {"kind": "known", "format": FORMAT, **_rounded(plain), "data": self.data, "figures": self.figures}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> KnownModel:
        """Raises ValueError for another kind or format, or what is missing or wrong."""
        if value.get("kind") != "known" or value.get("format") != FORMAT:
            raise ValueError(f"kind known, format {FORMAT} is read, got {value.get('kind')!r}, {value.get('format')!r}")
        try:
            return cls(
                mean=tuple(map(float, value["mean"])),
                scale=tuple(map(float, value["scale"])),
                weight=tuple(map(float, value["weight"])),
                offset=float(value["offset"]),
                drawn_above=float(value["drawn_above"]),
                directions=tuple(tuple(map(float, one)) for one in value["directions"]),
                distant_above=float(value["distant_above"]),
                data=value["data"],
                figures=value["figures"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the description is not complete ({error})") from error


class Known:
    """See the module's text. Loads its network at the first face."""

    def __init__(self, model: KnownModel) -> None:
        """From its numbers."""
        self.model = model
        self._trunk: FrameNet | None = None

    @classmethod
    def load(cls, path: Path | None = None) -> Known:
        """The shipped one, or that of a file which `known_fit` wrote.

        Raises:
            DetectError: when the file is missing or is none.
        """
        path = path or Path(str(files("detect").joinpath("weights", SHIPPED)))
        try:
            return cls(KnownModel.from_json(json.loads(path.read_text(encoding="utf-8"))))
        except OSError as error:
            raise DetectError(f"{path}: cannot be read ({error.strerror}); fit it again") from error
        except ValueError as error:
            raise DetectError(f"{path}: not a model of known faces ({error}); fit it again") from error

    def features(self, crops: UInt8Array) -> Array:
        """(D,) features of a face: means over at most LOOKS of its (N, SIDE, SIDE, 3) stored crops, evenly spread."""
        if self._trunk is None:
            self._trunk = imagenet_trunk()
        chosen = crops[spread_indices(len(crops), LOOKS)]
        return np.asarray(face_features(self._trunk, list(chosen)).mean(axis=0), np.float64)

    def judge(self, crops: UInt8Array) -> str:
        """Why a face should not be judged, in words; empty when it is of the kind the detector knows.

        Args:
            crops: (N, SIDE, SIDE, 3) of `detect.prepare`, at least one.
        """
        features_ND = self.features(crops)[None]
        if self.model.drawn(features_ND)[0] >= self.model.drawn_above:
            return DRAWN
        return STRANGE if self.model.distance(features_ND)[0] >= self.model.distant_above else ""


def imagenet_trunk() -> FrameNet:
    """The network with its ImageNet weights, which no training of a detector has bent towards forgeries."""
    trunk = FrameNet()
    start_from_imagenet(trunk)
    return trunk.eval().to(memory_format=torch.channels_last)


def face_features(trunk: FrameNet, crops: Sequence[UInt8Array], batch: int = 16) -> Array:
    """(B, D) means over the oval of the face of the blocks' channels.

    Args:
        trunk: see `imagenet_trunk`.
        crops: (SIDE, SIDE, 3) each.
        batch: crops at a time.
    """
    found: list[Array] = []
    with torch.inference_mode():
        for start in range(0, len(crops), batch):
            value = to_batch([network_crop(crop, SIZE) for crop in crops[start : start + batch]])
            value = trunk.bn(trunk.stem(value))
            parts: list[Tensor] = []
            for number, block in enumerate(trunk.blocks):
                value = block(value)
                if number in BLOCKS:
                    parts.append(torch.einsum("bchw,hw->bc", value, _oval_weights(value.shape[-1])))
                if number == max(BLOCKS):
                    break
            found.append(torch.cat(parts, dim=1).double().numpy())
    return np.concatenate(found)


def _oval_weights(side: int) -> Tensor:
    small = cv2.resize(oval(SIZE)[..., 0], (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.asarray(small / small.sum(), np.float32))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value
