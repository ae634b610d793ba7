"""Hugging Face parquet: the bytes of the clips and all that is known of them, in tables of bounded size.

    data/train-000000.parquet, data/validation-000000.parquet, ...

The schema carries the features of `datasets` (Video, ClassLabel), so that no word of configuration is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from countermark.exports.columns import LABELS, NUMBERS, ORDER, features_json, member_of, row_of
from countermark.exports.job import BESIDE, ExportError, Job, files_of, read_checked
from countermark.exports.lines import size_of
from countermark.exports.shards import Shard, beginning, done, is_done, planned
from media.catalog import Sample
from provenance.errors import ProvenanceError
from provenance.files import open_regular

GROUP_BYTES = 32 << 20
"""Of a row group: what a reader holds at a time, and what is held here."""
MOST_BYTES = (1 << 31) - (1 << 20)
"""Of one value of a table."""


def schema_of(beside: Sequence[str]) -> pa.Schema:
    """Types of all columns, and the features of `datasets`."""
    stretch = pa.struct([("start_seconds", pa.float64()), ("end_seconds", pa.float64()), ("what", pa.string())])
    kinds: dict[str, pa.DataType] = {"int64": pa.int64(), "float64": pa.float64()}
    fields: list[tuple[str, pa.DataType]] = [("video", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    for name in ORDER:
        own = {"label": pa.int64(), "segments": pa.list_(stretch), "has_sound": pa.bool_()}
        fields.append((name, own.get(name) or kinds.get(NUMBERS.get(name, ""), pa.string())))
    fields += [(name, pa.binary()) for name in beside]
    info = {"info": {"features": features_json(beside)}}
    return pa.schema(fields, metadata={"huggingface": json.dumps(info)})


def write_parquet(job: Job) -> None:
    """Write all shards that are missing."""
    there = {"truth": job.survey.has_truth, "masks": job.survey.has_masks}
    beside = [name for name in BESIDE if there[name]]
    schema = schema_of(beside)
    for shard in planned(job, "parquet"):
        place = job.build / "data" / shard.name
        if not is_done(job, shard, place):
            temporary = beginning(place)
            try:
                _write(job, shard, temporary, schema, beside)
                done(job, shard, temporary, place)
            finally:
                temporary.unlink(missing_ok=True)
        job.tell(len(shard.samples))


def _write(job: Job, shard: Shard, temporary: Any, schema: pa.Schema, beside: Sequence[str]) -> None:
    # clips are packed already: packing them again costs time and gains nothing
    plain = {name for name in _leaves(schema) if name.split(".")[0] in ("video", *BESIDE)}
    packed = {name: "NONE" if name in plain else "ZSTD" for name in _leaves(schema)}
    dictionaries = [name for name in packed if name not in plain]
    try:
        with pq.ParquetWriter(temporary, schema, compression=packed, use_dictionary=dictionaries) as writer:
            for rows in _groups(job, shard, beside):
                writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=len(rows))
    except (pa.ArrowException, UnicodeError) as error:
        raise ExportError(f"{shard.name}: cannot be written ({error}); correct the catalog") from error


def _leaves(schema: pa.Schema) -> list[str]:
    """Names of the columns as parquet has them; those of structures are `video.bytes`."""
    return [pq_column.path for pq_column in _columns(schema)]


def _columns(schema: pa.Schema) -> Iterator[Any]:
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    told = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return (told.column(number) for number in range(len(told)))


def _groups(job: Job, shard: Shard, beside: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    held = 0
    for sample in shard.samples:
        row = _row(job, sample, beside)
        size = sum(len(row[name] or b"") for name in beside) + len(row["video"]["bytes"])
        if rows and held + size > GROUP_BYTES:
            yield rows
            rows, held = [], 0
        rows.append(row)
        held += size
    if rows:
        yield rows


def _row(job: Job, sample: Sample, beside: Sequence[str]) -> dict[str, Any]:
    files = files_of(sample)
    clip = _content(job, sample.path, sample.sha256)
    row = {name: _text(value) if isinstance(value, str) else value for name, value in row_of(sample).items()}
    row |= {"video": {"bytes": clip, "path": member_of(sample)}, "label": LABELS.index(sample.label)}
    return row | {
        name: _content(job, files[name], job.signed.get(files[name])) if name in files else None for name in beside
    }


def _text(value: str) -> str:
    """Names may hold bytes that are no text, and columns of text may not."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _content(job: Job, path: str, sha256: str | None) -> bytes:
    source = job.root / path
    if size_of(source) > MOST_BYTES:
        raise ExportError(f"{source}: is too large for a table; export to webdataset or videofolder")
    try:
        with open_regular(source) as file:
            return b"".join(read_checked(file, source, sha256))
    except ProvenanceError as error:
        raise ExportError(str(error)) from error
    except OSError as error:
        raise ExportError(f"{source}: cannot be read ({error.strerror or error}); check its rights") from error
