"""The index of a dataset: one line of JSON for each clip, and the rules that keep its splits honest.

    catalog = Catalog.load(folder)                 # folder/catalog.jsonl
    catalog.filter(split="train", label=Label.REAL).frame()
    Catalog(samples).save(folder)

A person or a source recording in two splits would let a detector be graded on what it has seen, so a catalog
that has one cannot be made, loaded or saved.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from media.clip import MediaError

if TYPE_CHECKING:
    import pandas as pd

JSON = str | int | float | bool | None | list["JSON"] | dict[str, "JSON"]

SCHEMA_VERSION = 1
"""Written into every line as `schema`; a line of a later version is refused by name."""
CATALOG_NAME = "catalog.jsonl"

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Label(StrEnum):
    """What a clip is. `SYNTHETIC` also covers a real clip of which a part was synthesised."""

    REAL = "real"
    SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Sample:
    """One clip of a dataset and its facts; what is unknown is None, never a guess."""

    id: str
    path: str
    """Relative to the folder of the catalog, with forward slashes; never leaves it."""
    label: Label
    sha256: str
    """Of the file's bytes, 64 lower-case hexadecimal digits."""
    person: str | None = None
    """Who is seen; the same name is the same person. Never in two splits."""
    source: str | None = None
    """The recording or the generated content this was cut from. Never in two splits."""
    maker: str | None = None
    """The generator of a synthetic clip, or the collection of a real one."""
    split: str | None = None
    codec: str | None = None
    recipe: str | None = None
    seed: int | None = None
    seconds: float | None = None
    fps: str | None = None
    """Exact rate as a ratio, "25/1" or "30000/1001"."""
    width: int | None = None
    height: int | None = None
    has_sound: bool | None = None
    license: str | None = None
    consent: str | None = None
    extra: Mapping[str, JSON] = field(default_factory=dict)
    """Anything else that is known; keys of a line that are no field of Sample are kept here."""

    def __post_init__(self) -> None:
        """Refuse values that another reader of the catalog would stumble over."""
        if not self.id or not isinstance(self.id, str):
            raise ValueError(f"id must be a non-empty string, got {self.id!r}")
        try:
            object.__setattr__(self, "label", Label(self.label))
        except ValueError:
            raise ValueError(f"label must be real or synthetic, got {self.label!r}") from None
        _check_relative(self.path)
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256 must be 64 lower-case hexadecimal digits, got {self.sha256!r}")
        for name in ("person", "source", "maker", "split", "codec", "recipe", "license", "consent"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"{name} must be a non-empty string or None, got {value!r}")
        for name in ("seed", "width", "height"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise ValueError(f"{name} must be a whole number or None, got {value!r}")
            if value is not None and name != "seed" and value < 1:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.has_sound is not None and not isinstance(self.has_sound, bool):
            raise ValueError(f"has_sound must be true, false or None, got {self.has_sound!r}")
        if self.seconds is not None and not (isinstance(self.seconds, int | float) and 0 <= self.seconds < 1e9):
            raise ValueError(f"seconds must be a number from 0, got {self.seconds!r}")
        if self.fps is not None:
            _check_rate(self.fps)
        if not isinstance(self.extra, Mapping):
            raise ValueError(f"extra must be a mapping, got {self.extra!r}")
        clash = sorted(set(self.extra) & {*_FIELDS, "schema"})
        if clash:
            raise ValueError(f"extra must not repeat fields of a sample, got {', '.join(clash)}")
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))

    @property
    def cluster(self) -> str:
        """What samples that are not independent of each other share; one of whom nothing is known is its own."""
        return self.person or self.source or self.id

    def to_json(self) -> dict[str, JSON]:
        """All fields that are known, with the schema version; `extra` is folded in beside them."""
        known = {name: getattr(self, name) for name in _FIELDS}
        plain = {name: value for name, value in known.items() if value is not None}
        return {"schema": SCHEMA_VERSION, **plain, "label": str(self.label), **self.extra}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Sample:
        """The sample of one line.

        Raises:
            ValueError: a later schema version, a missing field, or a value that Sample refuses.
        """
        schema = line.get("schema")
        if schema != SCHEMA_VERSION:
            raise ValueError(f"schema must be {SCHEMA_VERSION}, got {schema!r}; read it with the version that wrote it")
        missing = [name for name in ("id", "path", "label", "sha256") if name not in line]
        if missing:
            raise ValueError(f"fields are missing: {', '.join(missing)}")
        known = {name: value for name, value in line.items() if name in _FIELDS}
        extra = {name: value for name, value in line.items() if name not in _FIELDS and name != "schema"}
        return cls(**known, extra=extra)

    @property
    def frame_rate(self) -> Fraction | None:
        """`fps` as a number."""
        return None if self.fps is None else Fraction(self.fps)


_FIELDS = tuple(f.name for f in fields(Sample) if f.name != "extra")


def _check_relative(path: str) -> None:
    """A path that stays inside the dataset on every system."""
    if not isinstance(path, str) or not path or "\\" in path or "\0" in path or path.startswith("~"):
        raise ValueError(f"path must be a relative path with forward slashes, got {path!r}")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or pure == PurePosixPath(".") or ":" in pure.parts[0]:
        raise ValueError(f"path must stay inside the folder of the catalog, got {path!r}")


def _check_rate(fps: str) -> None:
    """A positive ratio such as 30000/1001."""
    if not isinstance(fps, str) or not re.fullmatch(r"[1-9][0-9]*/[1-9][0-9]*", fps):
        raise ValueError(f'fps must be a ratio such as "25/1", got {fps!r}')


def _refuse_constant(name: str) -> float:
    """NaN and Infinity are no JSON; Python would take them and other readers would not."""
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
"""One for all lines: `json.loads` would build another for each."""


def parse_line(path: Path, number: int, line: str) -> Sample:
    """One line of a catalog.

    Args:
        path: the file, for what is said of a wrong line.
        number: of the line, from 1.
        line: its text.

    Raises:
        MediaError: in one line that names the place.
    """
    try:
        value = _DECODER.decode(line)
        if not isinstance(value, dict):
            raise ValueError(f"a line must be an object, got {type(value).__name__}")
        return Sample.from_json(value)
    except json.JSONDecodeError as error:
        raise MediaError(f"{path}:{number}: not JSON ({error.msg}); write one object a line") from error
    except (ValueError, TypeError) as error:
        raise MediaError(f"{path}:{number}: {error}; correct this line") from error


def read_samples(path: Path) -> Iterator[Sample]:
    """The samples of a catalog, line by line.

    Raises:
        MediaError: naming the line that is wrong.
    """
    try:
        # a file is split at ends of lines only: JSON allows other line separators inside strings
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield parse_line(path, number, line)
    except FileNotFoundError:
        raise MediaError(f"{path}: there is no catalog; give a folder with a {CATALOG_NAME}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"{path}: the catalog cannot be read ({error}); check the file") from error


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write a catalog whole or not at all; the same samples give the same bytes.

    Raises:
        MediaError: when it cannot be written; an older catalog stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for sample in samples:
                file.write(json.dumps(sample.to_json(), ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: the catalog cannot be written ({reason}); check the folder and space") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Catalog:
    """All samples of a dataset, in order."""

    samples: tuple[Sample, ...]
    name: str = ""
    schema: int = SCHEMA_VERSION

    def __init__(self, samples: Iterable[Sample], name: str = "", schema: int = SCHEMA_VERSION) -> None:
        """Refuse duplicate ids and paths, and a person or a source in two splits.

        Raises:
            ValueError: naming both samples.
        """
        object.__setattr__(self, "samples", tuple(samples))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "schema", schema)
        if schema != SCHEMA_VERSION:
            raise ValueError(f"schema must be {SCHEMA_VERSION}, got {schema}")
        self._refuse_doubles("id", lambda s: s.id)
        self._refuse_doubles("path", lambda s: s.path)
        self._refuse_split_leak("person")
        self._refuse_split_leak("source")

    def _refuse_doubles(self, what: str, key: Callable[[Sample], str]) -> None:
        first: dict[str, Sample] = {}
        for sample in self.samples:
            other = first.setdefault(key(sample), sample)
            if other is not sample:
                raise ValueError(f"{what} {key(sample)!r} is there twice: {other.path} and {sample.path}; keep one")

    def _refuse_split_leak(self, what: str) -> None:
        first: dict[str, Sample] = {}
        for sample in self.samples:
            value = getattr(sample, what)
            if value is None or sample.split is None:
                continue
            other = first.setdefault(value, sample)
            if other.split != sample.split:
                raise ValueError(
                    f"{what} {value!r} is in two splits: {other.id} ({other.split}) and {sample.id} ({sample.split}); "
                    f"move all clips of one {what} to one split"
                )

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        """The samples in order."""
        return iter(self.samples)

    @classmethod
    def load(cls, path: Path) -> Catalog:
        """Read a catalog.

        Args:
            path: the catalog.jsonl, or the folder that holds it.

        Raises:
            MediaError: naming the line that is wrong, or the samples that leak between splits.
        """
        path = Path(path)
        path = path / CATALOG_NAME if path.is_dir() else path
        samples = list(read_samples(path))
        try:
            return cls(samples, name=path.parent.resolve().name)
        except ValueError as error:
            raise MediaError(f"{path}: {error}") from error

    def save(self, path: Path) -> Path:
        """Write the catalog whole or not at all; the same samples give the same bytes.

        Args:
            path: the folder of the dataset, or a file name ending in .jsonl.

        Returns:
            The file that was written.

        Raises:
            MediaError: when it cannot be written; an older catalog stays as it was.
        """
        path = Path(path)
        path = path if path.suffix == ".jsonl" else path / CATALOG_NAME
        write_samples(path, self.samples)
        return path

    def filter(self, where: Callable[[Sample], bool] | None = None, /, **equal: object) -> Catalog:
        """The samples that pass a test and whose fields equal the given values, in order.

        Example:
            catalog.filter(split="val", label=Label.SYNTHETIC)
            catalog.filter(lambda sample: (sample.seconds or 0) > 2)

        Raises:
            ValueError: for a field that Sample does not have.
        """
        unknown = sorted(set(equal) - set(_FIELDS))
        if unknown:
            raise ValueError(f"a sample has no field {', '.join(unknown)}; it has {', '.join(_FIELDS)}")
        chosen = (
            sample
            for sample in self.samples
            if (where is None or where(sample)) and all(getattr(sample, k) == v for k, v in equal.items())
        )
        return Catalog(chosen, self.name, self.schema)

    def counts(self, *names: str) -> dict[tuple[object, ...], int]:
        """How many samples there are for each combination of fields, `counts("split", "label")`."""
        return dict(Counter(tuple(getattr(s, name) for name in names) for s in self.samples))

    def frame(self) -> pd.DataFrame:
        """One row a sample, one column a field; the keys of `extra` become columns of their own."""
        import pandas as pd

        rows = [{**{name: getattr(s, name) for name in _FIELDS}, **s.extra} for s in self.samples]
        columns = list(dict.fromkeys([*_FIELDS, *(key for s in self.samples for key in s.extra)]))
        table = pd.DataFrame(rows, columns=columns)
        table["label"] = table["label"].map(str).astype("string") if len(table) else table["label"].astype("string")
        return table
