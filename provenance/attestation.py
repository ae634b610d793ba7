"""Sign a whole folder: which files belong to a dataset, with which content, said by whom.

    sign_catalog(Path("dataset"))                # writes dataset/dataset.intoto.dsse.json
    verify_catalog(Path("dataset")).standing     # and .differences names every file that is not as it was signed

Tables and text cannot carry C2PA, so a dataset has this beside the credentials of its clips: an in-toto Statement (v1)
in a DSSE envelope, signed with the same key. The statement lists every file of the folder with its SHA-256; its subject
is the root of a Merkle tree over them (RFC 6962: leaf = SHA-256(0x00 || path || 0x00 || digest), node =
SHA-256(0x01 || left || right), paths in the order of their UTF-8 bytes), so one number stands for the whole dataset.
Every split has its samples counted and a root of its own, so that whoever has only the test set can be sure of that.

Files and folders whose names begin with a dot are not part of a dataset: work in progress and locks live there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from provenance.credential import Standing, explain
from provenance.envelope import LARGEST_STATEMENT_BYTES, parse_envelope, pre_authentication, signed_envelope
from provenance.errors import ProvenanceError
from provenance.files import read_small, sha256_of, write_whole
from provenance.identity import Notify, SigningIdentity, development_identity
from provenance.record import Record, installed_version, now_utc
from provenance.signatures import signature_holds
from provenance.trust import DEVELOPMENT_MARK, DEVELOPMENT_URI, TrustAnchors, judge_chain

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

STATEMENT_FILE: Final = "dataset.intoto.dsse.json"
CATALOG_FILE: Final = "catalog.jsonl"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://countermark.org/attestation/dataset/v1"

MOST_NAMED: Final = 1000
"""Differences that a report lists; all of them are counted."""
_LINE_DIGEST_DIGITS: Final = 16


@dataclass(frozen=True)
class Difference:
    """One file that is not as it was signed."""

    path: str
    kind: str
    """`changed`, `missing` or `extra`."""
    detail: str | None = None
    """For a catalog: which line differs."""

    def __str__(self) -> str:
        """`clips/a.mp4 changed`."""
        return f"{self.path} {self.kind}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class Split:
    """One split of a dataset, as its catalog has it."""

    samples: int
    merkle_root: str
    """Over the files of its samples."""

    def to_json(self) -> dict[str, object]:
        """The split as plain JSON values."""
        return {"samples": self.samples, "merkle_root": self.merkle_root}


@dataclass(frozen=True, kw_only=True)
class CatalogReport:
    """Our reading of a dataset's attestation."""

    folder: str
    standing: Standing
    signer: str | None = None
    trust_list: str | None = None
    files: int = 0
    """Files that the statement lists."""
    merkle_root: str | None = None
    splits: Mapping[str, Split] = field(default_factory=dict)
    stated_utc: str | None = None
    """When it was signed, by the signer's own clock."""
    differences: tuple[Difference, ...] = ()
    """In the order of paths; the first one is named in `reasons`. At most `MOST_NAMED`."""
    difference_count: int = 0
    validation_codes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    record: Record | None = None

    def to_json(self) -> dict[str, object]:
        """The report as plain JSON values."""
        return {
            "folder": self.folder,
            "standing": self.standing.value,
            "signer": self.signer,
            "trust_list": self.trust_list,
            "files": self.files,
            "merkle_root": self.merkle_root,
            "splits": {name: one.to_json() for name, one in self.splits.items()},
            "stated_utc": self.stated_utc,
            "validation_codes": list(self.validation_codes),
            "reasons": list(self.reasons),
            "difference_count": self.difference_count,
            "differences": [{"path": one.path, "kind": one.kind, "detail": one.detail} for one in self.differences],
            "record": self.record.to_json() if self.record else None,
        }


def merkle_root(files: Mapping[str, str]) -> str:
    """Root of the Merkle tree over path -> SHA-256 (hex), as the head of this module defines it; hex.

    >>> merkle_root({}) == hashlib.sha256(b"").hexdigest()
    True
    """
    leaves = sorted((_name_bytes(path), bytes.fromhex(digest)) for path, digest in files.items())
    level = [hashlib.sha256(b"\x00" + name + b"\x00" + digest).digest() for name, digest in leaves]
    if not level:
        return hashlib.sha256(b"").hexdigest()
    while len(level) > 1:
        paired = [
            hashlib.sha256(b"\x01" + level[left] + level[left + 1]).digest() for left in range(0, len(level) - 1, 2)
        ]
        # RFC 6962: an odd one out moves up unchanged; doubling it would let two trees share a root.
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0].hex()


def _name_bytes(name: str) -> bytes:
    """The bytes of a path as the file system has them."""
    return name.encode("utf-8", "surrogateescape")


def sign_catalog(
    folder: Path,
    *,
    identity: SigningIdentity | None = None,
    record: Record | None = None,
    trust: TrustAnchors | None = None,
    notify: Notify | None = None,
) -> CatalogReport:
    """Sign the dataset in a folder: its catalog and every file in it.

    Args:
        folder: holds catalog.jsonl; every line has a `path` inside the folder, and a `sha256` that fits the file.
        identity: who signs; None takes the development identity.
        record: how the dataset was made.
        trust: whom to believe when the result is judged.
        notify: gets one line when a development identity was made or renewed.

    Raises:
        ProvenanceError: when catalog and files do not agree (the first such file is named), or nothing can be written.
    """
    identity = development_identity(notify=notify) if identity is None else identity
    files = _digests(folder, _files_of(folder))
    if CATALOG_FILE not in files:
        raise ProvenanceError(f"{folder} has no {CATALOG_FILE}; a dataset is signed together with its catalog")
    lines = _checked_lines(folder, files)
    root = merkle_root(files)
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": "dataset", "digest": {"sha256": root}},
            {"name": CATALOG_FILE, "digest": {"sha256": files[CATALOG_FILE]}},
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "tool": {"name": "Countermark", "version": installed_version()},
            "created_utc": now_utc(),
            "merkle_tree": "RFC 6962; leaf = SHA-256(0x00 || path || 0x00 || digest); paths in byte order",
            "files": [{"name": name, "digest": {"sha256": files[name]}} for name in files],
            "splits": {name: one.to_json() for name, one in _splits(lines, files).items()},
            # Enough of each line's digest to say which one was changed.
            "catalog_lines": [line.digest for line in lines],
            "record": record.to_json() if record else None,
        },
    }
    payload = json.dumps(statement, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode()
    envelope = signed_envelope(payload, identity)
    report, _ = _read_envelope(folder, envelope, TrustAnchors.default() if trust is None else trust)
    if report.standing is Standing.BROKEN:
        raise ProvenanceError(f"{folder} was not signed, because the new statement does not hold: {report.reasons[0]}")
    # Judged before it is written: a statement from before stays where the new one does not hold.
    write_whole(folder / STATEMENT_FILE, envelope)
    return report


def verify_catalog(folder: Path, *, trust: TrustAnchors | None = None) -> CatalogReport:
    """Compare a folder with its signed statement, offline.

    The steps: is there a statement; does its signature hold; who vouches for the signer; is the Merkle root that of the
    listed files; is every file there, unchanged, and none beside them.

    Raises:
        ProvenanceError: when there is no such folder, or a file in it cannot be read.
    """
    report, statement = _read_statement(folder, TrustAnchors.default() if trust is None else trust)
    if statement is None or report.standing in (Standing.ABSENT, Standing.BROKEN):
        return report
    differences = list(_differences(folder, statement.files, statement.lines))
    if not differences:
        return _with_true_splits(folder, report, statement)
    first = differences[0]
    more = f", and {len(differences) - 1} more files differ" if len(differences) > 1 else ""
    return replace(
        report,
        standing=Standing.BROKEN,
        trust_list=None,
        differences=tuple(differences[:MOST_NAMED]),
        difference_count=len(differences),
        validation_codes=tuple(dict.fromkeys(f"dataset.file.{one.kind}" for one in differences)),
        reasons=(f"the dataset is not as it was signed: {first}{more}", *report.reasons),
    )


def _with_true_splits(folder: Path, report: CatalogReport, statement: _Statement) -> CatalogReport:
    """The report, unless the signer stated other splits than the catalog beside it has."""
    if not statement.splits:
        # statements of before there were splits
        return report
    try:
        found = _splits(_checked_lines(folder, statement.files), statement.files)
    except ProvenanceError as error:
        return _broken(folder, "dataset.catalog.malformed", str(error))
    if found != statement.splits:
        return _broken(folder, "dataset.splits.mismatch", "the signed splits are not those of the signed catalog")
    return report


def _files_of(folder: Path) -> list[str]:
    """Every file of a dataset, as paths relative to it with forward slashes, in byte order."""
    if not folder.is_dir():
        raise ProvenanceError(f"{folder} is not a folder; give the folder of a dataset")
    found = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or relative.as_posix() == STATEMENT_FILE:
            continue
        if path.is_symlink() and not _leads_inside(path, folder):
            raise ProvenanceError(f"{path} is a link that leads out of the dataset; replace it by the file itself")
        if path.is_symlink() and path.is_dir():
            # What lies behind it would be seen by everybody who walks the folder, and signed by nobody.
            raise ProvenanceError(f"{path} is a link to a folder; replace it by the folder itself")
        if path.is_file():
            found.append(relative.as_posix())
    return sorted(found, key=_name_bytes)


def _leads_inside(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        # A link to itself leads nowhere.
        return False


def _digests(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Name -> SHA-256; two at a time, because hashing and the disk take turns."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(names, pool.map(lambda name: sha256_of(folder / name), names), strict=True))


@dataclass(frozen=True)
class _Line:
    """One line of a catalog."""

    number: int
    digest: str
    """The first hex digits of its SHA-256."""
    path: str
    sha256: str | None
    split: str | None


def _splits(lines: Sequence[_Line], files: Mapping[str, str]) -> dict[str, Split]:
    """Split -> its samples, in the order of names; samples without one are in none."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.split is not None:
            found.setdefault(line.split, []).append(PurePosixPath(line.path).as_posix())
    return {
        name: Split(len(paths), merkle_root({path: files[path] for path in paths}))
        for name, paths in sorted(found.items())
    }


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line.strip()]


def _line_digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:_LINE_DIGEST_DIGITS]


def _checked_lines(folder: Path, files: Mapping[str, str]) -> list[_Line]:
    """The catalog's lines, each of which must speak of a file that is there and has the digest it states."""
    catalog = folder / CATALOG_FILE
    lines = []
    for number, raw in enumerate(_lines(catalog.read_bytes()), 1):
        try:
            line = _parse_line(number, raw)
        except (ValueError, RecursionError) as error:
            raise ProvenanceError(f"{catalog} line {number} is not a sample: {error}") from error
        name = PurePosixPath(line.path).as_posix()
        if name not in files:
            raise ProvenanceError(f"{catalog} line {number} names {line.path}, which is not in the dataset")
        if line.sha256 is not None and line.sha256 != files[name]:
            raise ProvenanceError(
                f"{catalog} line {number}: {line.path} has another SHA-256 than stated; rebuild the catalog"
            )
        lines.append(line)
    return lines


def _parse_line(number: int, raw: bytes) -> _Line:
    facts = json.loads(raw)
    if not isinstance(facts, dict) or not isinstance(facts.get("path"), str):
        raise ValueError("no path")
    digest = facts.get("sha256")
    return _Line(
        number=number,
        digest=_line_digest(raw),
        path=facts["path"],
        sha256=digest.lower() if isinstance(digest, str) and digest else None,
        split=str(facts["split"]) if facts.get("split") is not None else None,
    )


@dataclass(frozen=True)
class _Statement:
    """The checked content of a signed statement."""

    files: Mapping[str, str]
    lines: tuple[str, ...]
    root: str
    splits: Mapping[str, Split]
    created_utc: str | None
    record: Record | None


def _read_statement(folder: Path, trust: TrustAnchors) -> tuple[CatalogReport, _Statement | None]:
    """The statement of a folder, and our reading of it."""
    path = folder / STATEMENT_FILE
    if not folder.is_dir():
        raise ProvenanceError(f"{folder} is not a folder; give the folder of a dataset")
    if not path.is_file():
        reason = f"the folder has no {STATEMENT_FILE}: it was never signed, or the statement was removed"
        return CatalogReport(folder=str(folder), standing=Standing.ABSENT, reasons=(reason,)), None
    return _read_envelope(folder, read_small(path, most_bytes=LARGEST_STATEMENT_BYTES), trust)


def _read_envelope(folder: Path, envelope: bytes, trust: TrustAnchors) -> tuple[CatalogReport, _Statement | None]:
    """Signature, signer and statement; no file is opened here."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        certificates, payload, signature = parse_envelope(envelope)
        public_key = certificates[0].public_key()
        statement = _parse_statement(payload)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
        UnsupportedAlgorithm,
    ) as error:
        return _broken(folder, "general.error", f"{STATEMENT_FILE} is damaged and cannot be read: {error}"), None
    if not signature_holds(public_key, signature, pre_authentication(payload)):
        code = "claimSignature.mismatch"
        return _broken(folder, code, f"the signature of {STATEMENT_FILE} does not fit what it says"), None
    if merkle_root(statement.files) != statement.root:
        code = "dataset.merkle.mismatch"
        return _broken(folder, code, "the listed files do not add up to the signed Merkle root"), None
    return _signed_report(folder, certificates, statement, trust), statement


def _signed_report(
    folder: Path, certificates: list[Certificate], statement: _Statement, trust: TrustAnchors
) -> CatalogReport:
    """Who signed a statement whose signature holds, and who vouches for them."""
    verdict = judge_chain(certificates, trust)
    signer = verdict.signer
    if verdict.fault is not None:
        return _broken(folder, verdict.fault, explain(verdict.fault))
    if verdict.vouched_by is None:
        standing, codes = Standing.UNKNOWN_SIGNER, ("signingCredential.untrusted",)
        by = "no trust list that was given vouches for this signer, so it could be anyone"
        if DEVELOPMENT_MARK in signer:
            by = "that is a development identity of another machine, which proves nothing about who signed"
    else:
        standing, codes = Standing.TRUSTED, ("signingCredential.trusted",)
        by = "the signer is vouched for by the trust list " + verdict.vouched_by.name
        if verdict.vouched_by.uri == DEVELOPMENT_URI:
            by = "the signer is the development identity of this machine: proof for you, for nobody else"
    who = signer if verdict.vouched_by else f"someone who calls himself {signer}"
    return CatalogReport(
        folder=str(folder),
        standing=standing,
        signer=signer,
        trust_list=verdict.vouched_by.name if verdict.vouched_by else None,
        files=len(statement.files),
        merkle_root=statement.root,
        splits=statement.splits,
        stated_utc=statement.created_utc,
        validation_codes=codes,
        reasons=(f"signed by {who}", by),
        record=statement.record,
    )


def _broken(folder: Path, code: str, reason: str) -> CatalogReport:
    return CatalogReport(folder=str(folder), standing=Standing.BROKEN, validation_codes=(code,), reasons=(reason,))


def _parse_statement(payload: bytes) -> _Statement:
    """The statement's facts.

    Raises:
        ValueError: for a statement that does not follow `sign_catalog`.
    """
    statement = json.loads(payload)
    if statement.get("_type") != STATEMENT_TYPE or statement.get("predicateType") != PREDICATE_TYPE:
        raise ValueError("it is not a statement about a dataset")
    predicate: dict[str, Any] = statement["predicate"] if isinstance(statement.get("predicate"), dict) else {}
    subjects = {one["name"]: one["digest"]["sha256"] for one in _dicts(statement.get("subject"))}
    listed = _dicts(predicate.get("files"))
    files = {str(one["name"]): str(one["digest"]["sha256"]) for one in listed}
    if len(files) != len(listed) or not all(_is_inside(name) for name in files):
        raise ValueError("it lists a file twice, or one outside the folder")
    if "dataset" not in subjects or not all(len(bytes.fromhex(digest)) == 32 for digest in files.values()):
        raise ValueError("digests are missing")
    record = predicate.get("record")
    created = predicate.get("created_utc")
    lines = predicate.get("catalog_lines")
    splits = predicate.get("splits")
    return _Statement(
        files=files,
        lines=tuple(str(one) for one in lines) if isinstance(lines, list) else (),
        root=str(subjects["dataset"]),
        splits={
            str(name): Split(int(one["samples"]), str(one["merkle_root"]))
            for name, one in (splits.items() if isinstance(splits, dict) else ())
        },
        created_utc=created if isinstance(created, str) else None,
        record=Record.from_json(record) if isinstance(record, dict) else None,
    )


def _dicts(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("it lacks its lists of files")
    return value


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    _name_bytes(name)  # names that no file can have are refused here, by a ValueError
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\x00" not in name


def _differences(folder: Path, signed: Mapping[str, str], lines: Sequence[str]) -> Iterable[Difference]:
    """Every file that is changed, missing or extra, in the order of paths."""
    present = _files_of(folder)
    found = _digests(folder, [name for name in present if name in signed])
    for name in sorted({*signed, *present}, key=_name_bytes):
        if name not in signed:
            yield Difference(name, "extra")
        elif name not in found:
            yield Difference(name, "missing")
        elif found[name] != signed[name]:
            yield Difference(name, "changed", _changed_line(folder / name, lines) if name == CATALOG_FILE else None)


def _changed_line(catalog: Path, signed: Sequence[str]) -> str | None:
    """Where a catalog first differs from the signed one."""
    present = _lines(catalog.read_bytes())
    for number, (raw, digest) in enumerate(zip(present, signed, strict=False), 1):
        if _line_digest(raw) != digest:
            return f"line {number}"
    if len(present) != len(signed):
        return f"{len(present)} lines instead of {len(signed)}"
    return None
