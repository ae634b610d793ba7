"""WebDataset: tar archives in which files of one key belong together.

    train-000000.tar      KEY.json  KEY.masks.npz  KEY.mp4  KEY.truth.parquet, KEY.json ...
    index.json            shards with clips, bytes and SHA-256

The same catalog gives the same bytes: clips in the order of the catalog, files of a clip by name, no times, no owners.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from countermark.exports.columns import row_of, suffix_of
from countermark.exports.job import BESIDE, ExportError, Job, files_of, key_of, read_checked, write_text
from countermark.exports.lines import size_of
from countermark.exports.shards import Shard, beginning, done, is_done, notes, planned
from media.catalog import Sample
from provenance.errors import ProvenanceError
from provenance.files import open_regular

INDEX = "index.json"


def write_webdataset(job: Job) -> None:
    """Write all archives that are missing, and the index."""
    for shard in planned(job, "tar"):
        place = job.build / shard.name
        if not is_done(job, shard, place):
            temporary = beginning(place)
            try:
                _write(job, shard, temporary)
                done(job, shard, temporary, place)
            finally:
                temporary.unlink(missing_ok=True)
        job.tell(len(shard.samples))
    shards = notes(job)
    clips: Counter[str] = Counter()
    for note in shards:
        clips[str(note["split"])] += int(note["samples"])
    index = {"schema": 1, "form": "webdataset", "dataset": job.name, "clips": dict(clips), "shards": shards}
    write_text(job.build / INDEX, json.dumps(index, ensure_ascii=False, indent=1) + "\n")


def shards_of(job: Job, split: str) -> str:
    """The archives of a split in the way that webdataset names many: `train-{000000..000004}.tar`."""
    count = sum(note["split"] == split for note in notes(job))
    return f"{split}-000000.tar" if count == 1 else f"{split}-{{000000..{count - 1:06d}}}.tar"


def _write(job: Job, shard: Shard, temporary: Path) -> None:
    try:
        with tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as archive:
            for sample in shard.samples:
                _add(job, sample, archive)
    except OSError as error:
        raise ExportError(
            f"{error.filename or temporary}: {error.strerror or error}; check space and rights"
        ) from error


def _add(job: Job, sample: Sample, archive: tarfile.TarFile) -> None:
    key, files = key_of(sample.id), files_of(sample)
    told = json.dumps(row_of(sample), ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    members: list[tuple[str, str | bytes]] = [("json", told), (suffix_of(sample).removeprefix("."), sample.path)]
    members += [(f"{name}{ending}", files[name]) for name, ending in BESIDE.items() if name in files]
    for ending, content in sorted(members, key=lambda one: one[0]):
        entry = tarfile.TarInfo(f"{key}.{ending}")
        if isinstance(content, bytes):
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
            continue
        source = job.root / content
        try:
            with open_regular(source) as file:
                entry.size = size_of(source)
                digest = sample.sha256 if content == sample.path else job.signed.get(content)
                checked = _Checked(file, source, digest)
                archive.addfile(entry, checked)
                checked.read()  # to the end, where the digest is compared
        except ProvenanceError as error:
            raise ExportError(str(error)) from error


class _Checked(io.RawIOBase):
    """A file that can be read to its end only when it has the digest of the catalog."""

    def __init__(self, file: BinaryIO, source: Path, sha256: str | None) -> None:
        self._blocks = read_checked(file, source, sha256)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer only at the end."""
        parts, wanted = [self._rest], size - len(self._rest)
        while size < 0 or wanted > 0:
            block = next(self._blocks, b"")
            if not block:
                break
            parts.append(block)
            wanted -= len(block)
        content = b"".join(parts)
        self._rest = content[size:] if size >= 0 else b""
        return content[:size] if size >= 0 else content
