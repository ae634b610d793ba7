"""Facts of a file that are no evidence, and how well each alone tells the label.

    facts = facts_of(path, sample)            # {"width": 512, "fps": 25.0, "codec": "h264", ...}
    fact_auc(values, labels, people)          # Measure

Axes: N clips.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from math import isfinite, log
from pathlib import Path
from typing import Final

import numpy as np

from detect.corpora.on_disk import PICTURES, pictures_in
from detect.metrics import Measure, measure, roc_auc
from media.catalog import Sample
from media.clip import MediaError
from media.video import probe, read_image

Fact = int | float | str | None

FACTS: Final = (
    "width",
    "height",
    "aspect",
    "fps",
    "seconds",
    "bits a second",
    "bits a pixel",
    "codec",
    "level",
    "pixel format",
    "colour matrix",
    "container",
    "sound",
    "sound codec",
    "sample rate",
    "channels",
)
"""`level` is what the catalog calls the codec, such as c23."""
FOLDS: Final = 5
BINS: Final = 8
"""Of a measured fact with more different values than this."""
DRAWS: Final = 400


def facts_of(path: Path, sample: Sample) -> dict[str, Fact]:
    """What can be said about a film, a picture or a folder of pictures without looking at it.

    Raises:
        MediaError: when it cannot be read.
    """
    if path.is_dir() or path.suffix.lower() in PICTURES:
        own = pictures_in(path) if path.is_dir() else [path]
        if not own:
            raise MediaError(f"{path}: holds no pictures")
        height, width = read_image(own[0]).shape[:2]
        size = own[0].stat().st_size
        facts: dict[str, Fact] = {"width": width, "height": height, "aspect": round(width / height, 2)}
        return facts | {"bits a pixel": 8 * size / (width * height), "container": own[0].suffix, "level": sample.codec}
    film = probe(path)
    seconds = max(film.duration_seconds, 0.04)
    rate = 8 * film.size_bytes / seconds
    return {
        "width": film.width,
        "height": film.height,
        "aspect": round(film.width / film.height, 2),
        "fps": round(float(film.fps), 2),
        "seconds": round(seconds, 2),
        "bits a second": log(1.0 + rate),
        "bits a pixel": log(1.0 + rate / (film.width * film.height * max(float(film.fps), 1.0))),
        "codec": film.codec,
        "level": sample.codec,
        "pixel format": film.pixel_format,
        "colour matrix": film.color_matrix,
        "container": film.container,
        "sound": "yes" if film.has_sound else "no",
        "sound codec": film.sound_codec,
        "sample rate": film.sample_rate_hz,
        "channels": film.channels,
    }


def fact_auc(facts: Sequence[Fact], labels: Sequence[bool], people: Sequence[str]) -> Measure:
    """AUC of one fact, by how often its value was synthetic among the clips of other people.

    A fact that rises and falls with the label is found as well as one that only rises.

    Args:
        facts: (N,) of the clips; None where there is none, which is a value too.
        labels: (N,) True for synthetic.
        people: (N,) clips of one of these teach each other nothing.
    """
    if len(set(facts)) < 2:
        return Measure(float("nan"), reason="the same for all clips" if facts else "no clips")
    values = _binned(facts)
    folds = [hashlib.sha256(who.encode("utf-8", "surrogateescape")).digest()[0] % FOLDS for who in people]
    prior = sum(labels) / len(labels)
    seen: defaultdict[tuple[int, str], Counter[bool]] = defaultdict(Counter)
    for value, label, fold in zip(values, labels, folds, strict=True):
        for other in range(FOLDS):
            if other != fold:
                seen[other, value][label] += 1
    scores = []
    for value, fold in zip(values, folds, strict=True):
        counts = seen[fold, value]
        scores.append((counts[True] + 2 * prior) / (counts.total() + 2))
    return measure(roc_auc, labels, scores, people, draws=DRAWS)


def _binned(facts: Sequence[Fact]) -> list[str]:
    """Values by name; measured ones with many values by which eighth of them they lie in."""
    known = [float(fact) for fact in facts if isinstance(fact, int | float) and isfinite(fact)]
    if len(set(known)) <= BINS:
        return [str(fact) for fact in facts]
    edges = np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])
    return [str(int(np.searchsorted(edges, f, "right"))) if isinstance(f, int | float) else str(f) for f in facts]


def one_value(facts: Sequence[Fact]) -> Fact:
    """The value that all of these have, unless that is none or a measured one that nobody chose."""
    values = set(facts)
    value = values.pop() if len(values) == 1 else None
    return None if isinstance(value, float) and value != round(value, 2) else value
