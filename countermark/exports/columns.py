"""What every clip is told with, in a form that Hugging Face, WebDataset and we read: columns of fixed names and types.

Facts that have no column of their own are in `facts`, as one JSON text, so that nothing the catalog knows is lost and
every line has the same keys; `segments` are the synthetic seconds of a partial forgery.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from countermark.exports.job import BESIDE, ExportError, Job, files_of, key_of
from media.catalog import JSON, Label, Sample

LABELS = (Label.REAL, Label.SYNTHETIC)
"""In the order of Hugging Face's ClassLabel: 0 real, 1 synthetic."""
SPLITS = {"val": "validation"}
"""Names of splits that Hugging Face has other words for."""
What = Literal["picture", "sound", "both"]
WHATS: Mapping[str, What] = {"picture": "picture", "sound": "sound", "both": "both"}
PARTED: Mapping[str, What] = {"segments_picture": "picture", "segments_sound": "sound"}
"""Keys under which a catalog of somebody else's clips keeps the two apart."""


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
    """The synthetic seconds that a catalog tells; none for a real clip, and for one that is synthetic throughout.

    Raises:
        ExportError: for segments that are none: left out, they would make a partial forgery a whole one.
    """
    if sample.label is Label.REAL:
        return ()
    # a publisher who parts picture and sound tells more than both together do
    parted = [_stretch(sample, one, what) for key, what in PARTED.items() for one in _listed(sample, key)]
    what: What = "both" if sample.extra.get("voice") == str(Label.SYNTHETIC) else "picture"
    return tuple(parted or [_stretch(sample, one, what) for one in _listed(sample, "segments")])


def voiced_stretches_of(sample: Sample) -> tuple[Stretch, ...]:
    """The synthetic seconds of the sound of a real picture, where a catalog judges the picture alone.

    Raises:
        ExportError: as `stretches_of`.
    """
    if sample.label is not Label.REAL or sample.extra.get("voice") != str(Label.SYNTHETIC):
        return ()
    told = _listed(sample, "segments_sound") or _listed(sample, "segments")
    return tuple(_stretch(sample, one, "sound") for one in told) or (Stretch(0.0, sample.seconds or 0.0, "sound"),)


def _listed(sample: Sample, key: str) -> list[JSON]:
    told = sample.extra.get(key)
    if told is None:
        return []
    if not isinstance(told, list):
        raise ExportError(f"{sample.path}: {key} must be a list, got {str(told)[:60]!r}; correct the catalog")
    return told


def _stretch(sample: Sample, told: JSON, what: What) -> Stretch:
    if isinstance(told, dict):
        start, end, kind = told.get("start_seconds"), told.get("end_seconds"), told.get("what", what)
    else:
        (start, end), kind = told if isinstance(told, list) and len(told) == 2 else (None, None), what
    known = WHATS.get(str(kind))
    if known and isinstance(start, int | float) and isinstance(end, int | float) and 0 <= start <= end:
        return Stretch(float(start), float(end), known)
    raise ExportError(
        f"{sample.path}: a segment must tell start_seconds, end_seconds and what ({', '.join(WHATS)}), got "
        f"{str(told)[:80]!r}; correct the catalog"
    )


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


def moved(job: Job, sample: Sample, to: str) -> Sample:
    """A clip carried to its place in the export, truth and masks with it; the sample as it is there."""
    job.carry(sample, to)
    more = {name: value for name, value in sample.extra.items() if name not in BESIDE}
    for what, path in files_of(sample).items():
        if what in BESIDE:
            more[what] = beside(sample, what)
            job.carry_beside(path, beside(sample, what))
    return replace(sample, path=to, extra=more)


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
