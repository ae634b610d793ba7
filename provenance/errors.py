"""The one error of this package."""

from __future__ import annotations


class ProvenanceError(Exception):
    """Something that cannot be signed, read or believed; the message is one line: what, where, what to do."""
