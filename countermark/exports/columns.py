"""What every clip is told with, in a form that Hugging Face, WebDataset and we read: columns of fixed names and types.

Facts that have no column of their own are in `facts`, as one JSON text, so that nothing the catalog knows is lost and
every line has the same keys; `segments` are the synthetic seconds of a partial forgery.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from countermark.exports.job import BESIDE, key_of
from media.catalog import JSON, Label, Sample

LABELS = (Label.REAL, Label.SYNTHETIC)
"""In the order of Hugging Face's ClassLabel: 0 real, 1 synthetic."""
SPLITS = {"val": "validation"}
"""Names of splits that Hugging Face has other words for."""
What = Literal["picture", "sound", "both"]
WHATS: Mapping[str, What] = {"picture": "picture", "sound": "sound", "both": "both"}


@dataclass(frozen=True)
class Stretch:
    """Synthetic seconds of a clip."""

    start_seconds: float
    end_seconds: float
    what: What


TEXTS = (
    *("id", "person", "source", "maker", "split", "codec", "recipe", "fps", "license", "consent", "sha256"),
    *("language", "emotion", "group"),
)
NUMBERS: Mapping[str, str] = {"seed": "int64", "seconds": "float64", "width": "int64", "height": "int64"}
"""Column -> its type; and `has_sound`, which is true or false."""
ORDER = (
    *("id", "label", "split", "person", "source", "maker", "language", "emotion", "group", "codec", "recipe", "seed"),
    *("seconds", "fps", "width", "height", "has_sound", "license", "consent", "sha256", "segments", "facts"),
)


def row_of(sample: Sample) -> dict[str, Any]:
    """All columns but the clip itself; None where nothing is known, also for `segments` of a whole forgery."""
    controls = sample.extra.get("controls")
    told: dict[str, JSON] = {
        "emotion": controls.get("emotion") if isinstance(controls, dict) else None,
        **{name: sample.extra.get(name) for name in ("language", "emotion", "group") if sample.extra.get(name)},
    }
    texts = {name: told.get(name) if name in told else getattr(sample, name, None) for name in TEXTS}
    values: dict[str, Any] = {name: None if one is None else str(one) for name, one in texts.items()}
    values |= {name: getattr(sample, name) for name in (*NUMBERS, "has_sound")}
    values["seconds"] = None if sample.seconds is None else float(sample.seconds)
    stretches = stretches_of(sample)
    # where truth and masks lie in the dataset means nothing elsewhere
    facts = {name: value for name, value in sample.extra.items() if name not in BESIDE}
    values |= {
        "label": str(sample.label),
        "segments": [vars(one) for one in stretches] if stretches else None,
        "facts": json.dumps(facts, ensure_ascii=False, sort_keys=True),
    }
    return {name: values[name] for name in ORDER}


def stretches_of(sample: Sample) -> tuple[Stretch, ...]:
    """The synthetic seconds that a catalog tells; none for a real clip, and for one that is synthetic throughout."""
    told = sample.extra.get("segments")
    if sample.label is Label.REAL or not isinstance(told, list):
        return ()
    found = []
    for one in told:
        if isinstance(one, dict):
            start, end, what = one.get("start_seconds"), one.get("end_seconds"), one.get("what", "picture")
        elif isinstance(one, list) and len(one) == 2:
            (start, end), what = one, "picture"
        else:
            continue
        if isinstance(start, int | float) and isinstance(end, int | float) and str(what) in WHATS:
            found.append(Stretch(float(start), float(end), WHATS[str(what)]))
    return tuple(found)


def split_of(sample: Sample) -> str:
    """The split in the words of Hugging Face; clips without one are for training."""
    return hub_split(sample.split or "train")


def hub_split(split: str) -> str:
    """`val` is `validation` there, and names are letters, digits and `_`."""
    return SPLITS.get(split, "".join(c if c.isalnum() and c.isascii() else "_" for c in split))


def suffix_of(sample: Sample) -> str:
    """The ending of a clip's file, `.mp4`."""
    return PurePosixPath(sample.path).suffix.lower()


def beside(sample: Sample, what: str) -> str:
    """The path in an export of what lies beside a clip, `truth/1cc02e7622b7a352.parquet`."""
    return f"{what}/{key_of(sample.id)}{BESIDE[what]}"


def member_of(sample: Sample) -> str:
    """The name of a clip's file in an export: its id as a key, and the ending it has."""
    return f"{key_of(sample.id)}{suffix_of(sample)}"


# ------------------------------------------------------------------------------------------ for Hugging Face


_SEGMENTS = (("start_seconds", "float64"), ("end_seconds", "float64"), ("what", "string"))


def features_json(more: Iterable[str] = ()) -> dict[str, Any]:
    """The features of `datasets`, as a parquet file carries them: the clip, `ORDER`, and more columns of bytes."""
    features: dict[str, Any] = {"video": {"_type": "Video"}}
    for name in ORDER:
        if name == "label":
            features[name] = {"names": [str(one) for one in LABELS], "_type": "ClassLabel"}
        elif name == "segments":
            inner = {field: {"dtype": kind, "_type": "Value"} for field, kind in _SEGMENTS}
            features[name] = {"feature": inner, "_type": "List"}
        else:
            features[name] = {"dtype": _type_of(name), "_type": "Value"}
    return features | {name: {"dtype": "binary", "_type": "Value"} for name in more}


def _type_of(name: str) -> str:
    return "bool" if name == "has_sound" else NUMBERS.get(name, "string")


def features_yaml(names: Iterable[str]) -> list[dict[str, Any]]:
    """The same for the head of a README.md, for columns of a text format: there `segments` are a text."""
    named = {str(number): str(label) for number, label in enumerate(LABELS)}
    rows: list[dict[str, Any]] = [{"name": "video", "dtype": "video"}]
    for name in names:
        dtype: Any = {"class_label": {"names": named}} if name == "label" else _type_of(name)
        rows.append({"name": name, "dtype": dtype})
    return rows
