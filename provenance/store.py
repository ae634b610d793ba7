"""Where credentials are kept, so that a copy that lost its own can find it again.

    store = CredentialStore.of_this_user()
    store.put(manifest, credential, identifier, prints)
    table = store.table()                    # which entries are worth opening (`provenance.store_index`)
    store.entry(name), store.named(identifier)
    store.manifest_of(entry)                 # the signed bytes

A folder of plain files, never changed once written: `manifests/ab/<sha256>.c2pa` as the C2PA library made them,
`entries/ab/<identifier>-<first half of that sha256>.json` beside them. Each appears whole or not at all, and the
manifest before the entry that names it: any number of processes may put at once, and a store can be copied, or merged
by copying another one into it. What does not hold its own digest is passed over and counted. `index` holds what can be
made again from the entries.

An entry is nobody's word: whoever can write into the folder can write one. What counts is the signed manifest that it
leads to, and `contradiction` tells whether that says the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from provenance.credential import Credential
from provenance.errors import ProvenanceError
from provenance.files import read_small, write_whole
from provenance.fingerprint import PICTURE_ALGORITHM, PICTURE_ALGORITHM_1, SOUND_ALGORITHM, Fingerprint
from provenance.record import now_utc
from provenance.store_index import StoreTable
from provenance.watermark import ALGORITHM, identifier_from, identifier_text

SCHEMA: Final = 2
"""Version of an entry; the first had coarser prints of motion, and can still be read."""
_LONGEST_NAME: Final = 255
_NAME: Final = re.compile(r"[0-9a-f]{12}-[0-9a-f]{32}\.json")


def store_folder() -> Path:
    """Where this user's credentials are kept: `$XDG_DATA_HOME/countermark/credentials` or `~/.local/share/...`.

    Raises:
        ProvenanceError: for a user without a home folder.
    """
    configured = os.environ.get("XDG_DATA_HOME", "")
    # The XDG rules say that a relative path is to be ignored.
    if Path(configured).is_absolute():
        return Path(configured) / "countermark" / "credentials"
    try:
        return Path.home() / ".local" / "share" / "countermark" / "credentials"
    except RuntimeError as error:
        raise ProvenanceError("this user has no home folder; set HOME, or name the store to use") from error


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One kept credential: what is needed to recognise a copy, and a few facts for people."""

    identifier: int
    """48 bits: the watermark's, when the file carries one."""
    watermarked: bool
    manifest_sha256: str
    file_sha256: str
    """Of the signed original, hex."""
    file_name: str
    format: str | None = None
    kept_utc: str = field(default_factory=now_utc)
    prints: Fingerprint = field(default_factory=Fingerprint)

    def to_json(self) -> dict[str, Any]:
        """The entry as it is written."""
        return {
            "schema": SCHEMA,
            "identifier": identifier_text(self.identifier),
            "watermarked": self.watermarked,
            "manifest_sha256": self.manifest_sha256,
            "file_sha256": self.file_sha256,
            "file_name": self.file_name,
            "format": self.format,
            "kept_utc": self.kept_utc,
            "pictures": self.prints.picture_blocks(),
            "sound": self.prints.sound_blocks(),
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Entry:
        """Read what `to_json` wrote.

        Raises:
            ValueError: for anything else.
        """
        schema = facts.get("schema")
        if schema not in (1, SCHEMA):
            raise ValueError(f"schema must be at most {SCHEMA}, got {schema!r}")
        try:
            texts = {name: str(facts[name]) for name in ("manifest_sha256", "file_sha256", "file_name", "kept_utc")}
            return cls(
                identifier=identifier_from(facts["identifier"]),
                watermarked=bool(facts["watermarked"]),
                format=None if facts["format"] is None else str(facts["format"]),
                prints=Fingerprint.from_blocks(facts["pictures"], facts["sound"], version=schema),
                **{name: text[:_LONGEST_NAME] for name, text in texts.items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is not an entry of a credential store: {error}") from error

    def contradiction(self, credential: Credential) -> str | None:
        """What this entry says that the signed manifest it leads to does not; None when they agree.

        Args:
            credential: our reading of that manifest.
        """
        bound = {(one.algorithm, one.value) for one in credential.soft_bindings}
        if self.watermarked:
            agrees = (ALGORITHM, identifier_text(self.identifier)) in bound
            return None if agrees else "its manifest binds no such mark"
        algorithm = PICTURE_ALGORITHM_1 if self.prints.is_coarse else PICTURE_ALGORITHM
        for name, blocks in ((algorithm, self.prints.picture_blocks()), (SOUND_ALGORITHM, self.prints.sound_blocks())):
            if blocks and (name, blocks[0]["value"]) not in bound:
                return "its manifest binds no such fingerprint"
        return None


@dataclass(frozen=True)
class CredentialStore:
    """A folder of kept credentials; made at the first `put`."""

    folder: Path

    @classmethod
    def of_this_user(cls) -> CredentialStore:
        """The store of whoever runs this.

        Raises:
            ProvenanceError: for a user without a home folder.
        """
        return cls(store_folder())

    def put(
        self,
        manifest: bytes,
        credential: Credential,
        identifier: int,
        prints: Fingerprint | None = None,
        *,
        watermarked: bool,
    ) -> Entry:
        """Keep one credential; the same one again changes nothing.

        Args:
            manifest: the signed bytes, as `sign_file(keep=...)` gives them.
            credential: our reading of the signed file.
            identifier: 48 bits; what the watermark says when there is one.
            prints: of pictures and sound.
            watermarked: whether the identifier is in the pictures.

        Raises:
            ProvenanceError: when the folder cannot be written.
        """
        digest = hashlib.sha256(manifest).hexdigest()
        entry = Entry(
            identifier=identifier,
            watermarked=watermarked,
            manifest_sha256=digest,
            file_sha256=credential.sha256,
            file_name=Path(credential.file).name.encode("utf-8", "replace").decode(),
            format=credential.format,
            prints=prints if prints is not None else Fingerprint(),
        )
        name = f"{identifier_text(identifier)}-{digest[:32]}.json"
        for path, content in (
            (self._manifest_path(digest), manifest),
            (self.folder / "entries" / name[:2] / name, json.dumps(entry.to_json()).encode()),
        ):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                is_there = path.exists()
            except OSError as error:
                raise ProvenanceError(
                    f"cannot keep a credential in {self.folder}: {error.strerror or error}"
                ) from error
            if not is_there:
                write_whole(path, content)
        return entry

    def entries(self) -> Iterator[Entry]:
        """Every entry that can be read, in the order of their names: slow and large where there are many."""
        for name in self.names():
            entry = self.entry(name)
            if entry is not None:
                yield entry

    def names(self) -> list[str]:
        """Names of all entries, damaged ones too, ascending."""
        found = []
        for shelf in (self.folder / "entries").glob("*"):
            with suppress(OSError), os.scandir(shelf) as files:
                found += [one.name.removesuffix(".json") for one in files if _NAME.fullmatch(one.name)]
        return sorted(set(found))

    def table(self) -> StoreTable:
        """Which entries carry which marks, and look or sound how; what is new in the store is read for it."""
        return StoreTable.of(self.folder / "index", self.names(), self.entry)

    def entry(self, name: str) -> Entry | None:
        """The entry of this name; None when it is damaged or gone."""
        return _read_entry(self.folder / "entries" / name[:2] / f"{name}.json")

    def named(self, identifier: int) -> list[Entry]:
        """The entries that give a file this identifier; more than one where it was signed more than once."""
        text = identifier_text(identifier)
        paths = sorted((self.folder / "entries" / text[:2]).glob(f"{text}-*.json"))
        return [entry for path in paths if (entry := _read_entry(path)) is not None]

    def damaged(self) -> list[Path]:
        """Files that should be entries and are not."""
        return [
            self.folder / "entries" / name[:2] / f"{name}.json" for name in self.names() if self.entry(name) is None
        ]

    def manifest_of(self, entry: Entry) -> bytes:
        """The signed bytes of an entry.

        Raises:
            ProvenanceError: when they are gone, or are not what was kept.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", entry.manifest_sha256):
            raise ProvenanceError(f"the entry {identifier_text(entry.identifier)} names no manifest; it was changed")
        path = self._manifest_path(entry.manifest_sha256)
        content = read_small(path)
        if hashlib.sha256(content).hexdigest() != entry.manifest_sha256:
            raise ProvenanceError(f"{path} is not the manifest that was kept; restore it from a copy of the store")
        return content

    def _manifest_path(self, digest: str) -> Path:
        return self.folder / "manifests" / digest[:2] / f"{digest}.c2pa"


def _read_entry(path: Path) -> Entry | None:
    try:
        facts = json.loads(read_small(path))
        entry = Entry.from_json(facts if isinstance(facts, dict) else {})
    except (ProvenanceError, ValueError, RecursionError):
        return None
    # the name is what other programs go by: an entry that disagrees with its own was changed
    agrees = path.name == f"{identifier_text(entry.identifier)}-{entry.manifest_sha256[:32]}.json"
    return entry if agrees else None
