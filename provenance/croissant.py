"""Describe a dataset to the machines that look for data: Croissant 1.1 (JSON-LD) with its responsible-AI fields.

    write_croissant(Path("dataset/catalog.jsonl"))       # writes dataset/croissant.json; then sign_catalog(...)

Everything in it is counted in the catalog or was said by whoever calls; what nobody said is "not stated", never a
guess. Written before the dataset is signed, it is one of the files that the signature covers. The digests of the clips
stand in the catalog, which this names with its own.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Any, Final

from provenance.errors import ProvenanceError
from provenance.files import read_small, sha256_of, write_whole
from provenance.record import Record, now_utc

CROISSANT_FILE: Final = "croissant.json"
CONFORMS_TO: Final = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
_LARGEST_CATALOG_BYTES: Final = 1 << 30
_NOT_STATED: Final = "not stated"
_MARK: Final = "identifier"
_MOST_NAMED: Final = 12
"""Makers, licences and the like that a sentence counts one by one."""
_MOST_SETS: Final = 24
"""Sets of files; where there are folders without end, a set is of all that lies below one."""
_TYPES: Final[Mapping[str, str]] = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
}
_CONTEXT: Final[Mapping[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "id": ("sc:Text", "name of the sample"),
    "path": ("sc:Text", "file of the clip, relative to the catalog"),
    "sha256": ("sc:Text", "SHA-256 of the file, hex"),
    "label": ("sc:Text", "real, or synthetic (whole or in part)"),
    "split": ("sc:Text", "train, val or test; no person is in two"),
    "person": ("sc:Text", "who is seen; the same name is the same person"),
    "source": ("sc:Text", "the recording or generated content that it was cut from"),
    "maker": ("sc:Text", "generator of a synthetic clip, collection of a real one"),
    "codec": ("sc:Text", "how it is encoded"),
    "recipe": ("sc:Text", "named configuration that made it"),
    "seed": ("sc:Integer", "seed of its making"),
    "seconds": ("sc:Float", "length"),
    "fps": ("sc:Text", "exact frame rate as a ratio"),
    "width": ("sc:Integer", "pixels"),
    "height": ("sc:Integer", "pixels"),
    "has_sound": ("sc:Boolean", "whether it has sound"),
    "license": ("sc:Text", "licence of the clip"),
    "consent": ("sc:Text", "agreement of the person shown, or that nobody is"),
}
"""Fields of a catalog's line, their types and what they mean."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What only people know of a dataset; a text that is left out is "not stated" in the file."""

    name: str | None = None
    """Default: the name of the folder."""
    description: str | None = None
    version: str = "1.0.0"
    license: str | None = None
    """Of the whole; default: that of the samples, where all have the same."""
    creator: str | None = None
    url: str | None = None
    """Where it is published."""
    biases: str | None = None
    limitations: str | None = None
    use_cases: str | None = None
    social_impact: str | None = None
    personal_information: str | None = None
    maintenance: str | None = None


def write_croissant(catalog_path: Path, *, about: About | None = None, record: Record | None = None) -> Path:
    """Describe the dataset of a catalog in `croissant.json` beside it.

    Args:
        catalog_path: catalog.jsonl; one JSON object a line with at least a `path`.
        about: what only people know.
        record: how the dataset was made.

    Raises:
        ProvenanceError: when the catalog cannot be read, is empty, or the file cannot be written.
    """
    samples = _samples(catalog_path)
    out = catalog_path.with_name(CROISSANT_FILE)
    described = croissant(samples, catalog_path, about if about is not None else About(), record)
    write_whole(out, _written(described))
    return out


def refresh_croissant(catalog_path: Path, *, record: Record | None = None) -> Path | None:
    """Write the description where there is none yet, or one of ours whose every word can be made again.

    A description that a person wrote, or added words to, is left alone, and so is one made with `About`: what only
    people know cannot be counted again.

    Args:
        catalog_path: catalog.jsonl.
        record: how the dataset was made.

    Returns:
        The file; None where it was left alone.

    Raises:
        ProvenanceError: as `write_croissant`.
    """
    out = catalog_path.with_name(CROISSANT_FILE)
    if (out.exists() or out.is_symlink()) and not _is_ours(out):
        return None
    described = json.loads(_written(croissant(_samples(catalog_path), catalog_path, About(), record)))
    write_whole(out, _written({**described, _MARK: _mark_of(described)}))
    return out


def _written(described: Mapping[str, Any]) -> bytes:
    """The file's content; names that are no text lose what is none."""
    return (json.dumps(described, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")


def _is_ours(path: Path) -> bool:
    """Whether this module wrote a description for `refresh_croissant`, and nobody touched it since."""
    try:
        facts = json.loads(read_small(path, most_bytes=_LARGEST_CATALOG_BYTES)) if path.is_file() else None
    except (ProvenanceError, ValueError, RecursionError):
        return False
    if not isinstance(facts, dict):
        return False
    mark = facts.pop(_MARK, None)
    return isinstance(mark, str) and mark == _mark_of(facts)


def _mark_of(described: Mapping[str, Any]) -> str:
    """What tells a description of ours from one that was changed by hand: its own digest."""
    content = json.dumps(described, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return f"countermark:{hashlib.sha256(content.encode()).hexdigest()}"


def croissant(
    samples: Sequence[Mapping[str, Any]], catalog_path: Path, about: About, record: Record | None
) -> dict[str, Any]:
    """The description as plain JSON values.

    Args:
        samples: lines of the catalog.
        catalog_path: the catalog, of which name and digest are given.
        about: what only people know.
        record: how the dataset was made.
    """
    licences = {str(one["license"]) for one in samples if one.get("license")}
    name = about.name or catalog_path.resolve().parent.name or "dataset"
    described: dict[str, Any] = {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": name,
        "description": about.description or _summary(samples, record),
        "version": about.version,
        "license": about.license or (licences.pop() if len(licences) == 1 else _NOT_STATED),
        "datePublished": (record.created_utc if record is not None and record.created_utc else now_utc())[:10],
        "url": about.url or CROISSANT_FILE,
        "creator": {"@type": "sc:Organization", "name": about.creator or _NOT_STATED},
        "citeAs": f"{about.creator or 'creator not stated'}: {name}, version {about.version}",
        "isLiveDataset": False,
        **_responsible(samples, about, record),
        "distribution": [_catalog_object(catalog_path), *_file_sets(samples)],
        "recordSet": [_record_set(samples)],
    }
    return described


def _samples(catalog_path: Path) -> list[Mapping[str, Any]]:
    samples: list[Mapping[str, Any]] = []
    content = read_small(catalog_path, most_bytes=_LARGEST_CATALOG_BYTES)
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            sample = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ProvenanceError(f"{catalog_path} line {number} is not JSON: {error}") from error
        if not isinstance(sample, dict) or not isinstance(sample.get("path"), str):
            raise ProvenanceError(f"{catalog_path} line {number} is not a sample: it has no path")
        samples.append(sample)
    if not samples:
        raise ProvenanceError(f"{catalog_path} has no samples; there is nothing to describe")
    return samples


def _catalog_object(catalog_path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": "catalog",
        "name": catalog_path.name,
        "description": "the index of the dataset: one JSON object for each clip, with its digest",
        "contentUrl": catalog_path.name,
        "encodingFormat": "application/jsonlines",
        "contentSize": f"{catalog_path.stat().st_size} B",
        "sha256": sha256_of(catalog_path),
    }


def _file_sets(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One set of files for every folder and ending; where that would be very many, for all below a folder."""
    paths = {(path.parent.as_posix(), path.suffix) for one in samples if (path := PurePosixPath(one["path"]))}
    kinds = {(_pattern(folder), ending) for folder, ending in paths}
    if len(kinds) > _MOST_SETS:
        kinds = {(_below(folder), ending) for folder, ending in paths}
    if len(kinds) > _MOST_SETS:
        kinds = {("**/", ending) for _, ending in paths}
    return [
        {
            "@type": "cr:FileSet",
            "@id": f"files-{number}",
            "name": f"{folder.strip('*/') or 'files'} {ending}".strip(),
            "description": "clips; the digest of each stands in the catalog",
            "encodingFormat": _TYPES.get(ending.lower(), "application/octet-stream"),
            "includes": f"{folder}*{ending}",
        }
        for number, (folder, ending) in enumerate(sorted(kinds))
    ]


def _pattern(folder: str) -> str:
    """Of the files in a folder, which may have a name that a pattern would take for one."""
    return "" if folder == "." else f"{escape(folder)}/"


def _below(folder: str) -> str:
    """Of the files in the folders of the first folder of a path."""
    first, *inner = PurePosixPath(folder).parts or ("",)
    return f"{escape(first)}/**/" if inner else _pattern(folder)


def _record_set(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The catalog as a table: the columns that every sample has."""
    fields = []
    for name, (kind, meaning) in _FIELDS.items():
        # a reader cannot cast what is missing: a column with holes is not declared
        if all(_fits(one.get(name), kind) for one in samples):
            fields.append(
                {
                    "@type": "cr:Field",
                    "@id": f"samples/{name}",
                    "name": name,
                    "description": meaning,
                    "dataType": [kind, "cr:Split"]
                    if name == "split"
                    else [kind, "cr:Label"]
                    if name == "label"
                    else kind,
                    "source": {"fileObject": {"@id": "catalog"}, "extract": {"column": name}},
                }
            )
    key = {"key": {"@id": "samples/id"}} if any(one["name"] == "id" for one in fields) else {}
    return {"@type": "cr:RecordSet", "@id": "samples", "name": "samples", **key, "field": fields}


def _fits(value: object, kind: str) -> bool:
    if kind == "sc:Boolean":
        return isinstance(value, bool)
    if kind == "sc:Integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "sc:Float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


# ------------------------------------------------------------------------------------------ in words


def _counted(samples: Sequence[Mapping[str, Any]], name: str) -> str:
    """`train 80, val 20`; samples that do not say are counted too."""
    counts = Counter(str(one[name]) if one.get(name) is not None else _NOT_STATED for one in samples)
    named = [f"{value} {count}" for value, count in counts.most_common(_MOST_NAMED)]
    return ", ".join(named) + (f" and {len(counts) - _MOST_NAMED} more" if len(counts) > _MOST_NAMED else "")


def _summary(samples: Sequence[Mapping[str, Any]], record: Record | None) -> str:
    made = "" if record is None else f", made with {record.tool} {record.version}"
    recipe = "" if record is None or record.recipe is None else f" by the recipe {record.recipe}"
    return f"{len(samples)} samples{made}{recipe}. Labels: {_counted(samples, 'label')}."


def _shared(samples: Sequence[Mapping[str, Any]]) -> str:
    """Whether somebody, or a recording, is in two splits."""
    splits: dict[tuple[str, object], set[object]] = {}
    for one in samples:
        for name in ("person", "source"):
            if one.get(name) and one.get("split"):
                splits.setdefault((name, str(one[name])), set()).add(one["split"])
    twice = sum(len(found) > 1 for found in splits.values())
    return f"{twice} persons or recordings are in two splits" if twice else "no named person or recording is in two"


def _responsible(samples: Sequence[Mapping[str, Any]], about: About, record: Record | None) -> dict[str, Any]:
    """The responsible-AI fields: counts where they are the answer, what was said elsewhere, or that nobody said it."""
    persons = {one["person"] for one in samples if one.get("person")}
    unknown = sum(not one.get("person") for one in samples)
    shares = f"persons: {len(persons)} named, {unknown} samples without a name. Makers: {_counted(samples, 'maker')}."
    synthetic = sum(one.get("label") == "synthetic" for one in samples)
    kinds = ["Software Collection"] if synthetic == len(samples) else ["Secondary Data Analysis", "Software Collection"]
    made = "" if record is None else f" Seed {record.seed}, commit {record.commit}."
    inputs = [f"{name} (SHA-256 {digest})" for name, digest in (record.inputs.items() if record is not None else ())]
    return {
        "rai:dataCollection": _summary(samples, record) + made,
        "rai:dataCollectionType": kinds,
        "rai:dataCollectionRawData": "; ".join(inputs[:_MOST_NAMED]) or _NOT_STATED,
        "rai:dataAnnotationProtocol": (
            "labels state how each clip was made, by whoever made or collected it; no annotator judged them. "
            f"Splits: {_counted(samples, 'split')}; {_shared(samples)}."
        ),
        "rai:dataBiases": f"{about.biases or _NOT_STATED}; counted: {shares}",
        "rai:dataLimitations": about.limitations or _NOT_STATED,
        "rai:dataUseCases": about.use_cases or _NOT_STATED,
        "rai:dataSocialImpact": about.social_impact or _NOT_STATED,
        "rai:personalSensitiveInformation": [
            about.personal_information or "faces and voices are personal information where they are of real persons",
            f"consent: {_counted(samples, 'consent')}",
            f"licences: {_counted(samples, 'license')}",
        ],
        "rai:dataReleaseMaintenancePlan": about.maintenance or _NOT_STATED,
    }
