"""The door to the C2PA library's Reader: what it found in a file, under strict settings, or why it found nothing.

Rules 1, 2, 4 and 6 of `provenance.credential` are kept here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from provenance.chain import Manifests, table, tables, text
from provenance.errors import ProvenanceError
from provenance.streams import open_reader
from provenance.trust import TrustAnchors

_ADDRESS: Final = re.compile(r"https?://[^\s\"]+")
HELD_MEGABYTES: Final = 64
"""Larger files are put together on the disk (in TMPDIR) while they are signed, not in memory."""


def strict_settings(trust: TrustAnchors) -> dict[str, Any]:
    """Settings of every Context: no network unless asked for (rule 2), key usages (rule 4), a URI per list (rule 6)."""
    lookups = trust.lookups
    core: dict[str, object] = {"backing_store_memory_threshold_in_mb": HELD_MEGABYTES, "allow_redirects": False}
    if not lookups.of_anyone:
        core["allowed_network_hosts"] = list(lookups.hosts)
    return {
        "version": 1,
        "trust": {
            "trust_config": "\n".join(trust.usages) + "\n",
            "anchors": [
                {"trust_anchors": pem, "trust_uri": one.uri, "trust_kind": one.purpose} for one, pem in trust.distinct()
            ],
        },
        "verify": {
            "remote_manifest_fetch": lookups.remote_manifests,
            "ocsp_fetch": lookups.revocation,
            "verify_trust": True,
            "verify_timestamp_trust": True,
            "verify_after_reading": True,
            # We read back what was written to disk, which is the stronger check.
            "verify_after_sign": False,
        },
        "core": core,
        "builder": {"thumbnail": {"enabled": False}},
    }


def library_versions() -> tuple[str, str]:
    """Version of the C2PA library's Python package, and of the core inside it.

    Raises:
        ProvenanceError: when it does not load.
    """
    try:
        import c2pa
    except (ImportError, OSError) as error:
        raise ProvenanceError(f"the C2PA library does not load: {error}") from error
    return str(c2pa.__version__), str(c2pa.sdk_version())


@dataclass(frozen=True)
class Findings:
    """What the C2PA library found: a report, or why there is none."""

    report: Mapping[str, Any] | None = None
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Label -> the manifest in the library's second form, crJSON: certificates, updates, removed statements."""
    fault: str | None = None
    """The library's error, when the credential or the file cannot be parsed."""
    suspicion: str | None = None
    """Why a file that cannot be parsed may have been signed (rule 13), in a sentence."""
    remote: str | None = None
    """Where the credential is said to be, when the file only points to it."""
    fetched_from: str | None = None
    """Where it was fetched from, when that was asked for."""

    @property
    def manifests(self) -> Manifests:
        """Every manifest of the file."""
        return Manifests(table((self.report or {}).get("manifests")), self.details)


def find_manifests(stream: BinaryIO, mime: str, trust: TrustAnchors) -> Findings:
    """Ask the C2PA library, which this project does here only (rules 1 and 2).

    Args:
        stream: the open file.
        mime: its format, by content.
        trust: whom to believe, and whether anybody may be asked.
    """
    import c2pa

    try:
        with (
            c2pa.Context.from_dict(strict_settings(trust)) as context,
            open_reader(mime, stream, context) as reader,
        ):
            report = json.loads(reader.json())
            details = _by_label(json.loads(reader.crjson()))
            fetched = None if reader.is_embedded() else reader.get_remote_url()
    except c2pa.C2paError.ManifestNotFound:
        return Findings()
    except c2pa.C2paError as error:
        message = " ".join(str(error).split())
        if message.startswith(("Remote:", "RemoteManifest:")) and "fetch" in message:
            address = _ADDRESS.search(message)
            return Findings(remote=address.group() if address else "an address that it does not tell")
        return Findings(fault=message[:300])
    except (ValueError, RecursionError) as error:
        return Findings(fault=f"the credential is not readable: {error}"[:300])
    if not isinstance(report, dict):
        return Findings(fault="the credential is not readable")
    return Findings(report=report, details=details, fetched_from=fetched)


def _by_label(report: object) -> dict[str, Mapping[str, Any]]:
    return {text(one.get("label")): one for one in tables(table(report).get("manifests"))}
