"""Whether a manifest is, or may have been, in a file that cannot be parsed (rule 13 of `provenance.credential`).

Such a file may be damaged and never signed, or signed and tampered with: the traces tell. Where a manifest comes last
and the last part is missing, nothing can tell.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Final

from provenance.files import BLOCK_BYTES

MANIFEST_LAST: Final = frozenset({"audio/wav", "image/webp"})
"""Formats that carry their manifest behind the content; the others carry it before."""

MANIFEST_TRACES: Final = (
    b"jumdc2pa",
    b"c2pa.signature",
    b"c2pa:manifest",
    bytes.fromhex("d8fec3d61b0e483c92975828877ec481"),
)
"""How a manifest store begins; the name of the signature in each manifest; the element that holds one in SVG, where it
is base64; the `uuid` box that holds one in mp4."""

_UNKNOWN_LENGTH: Final = 0x7FFF0000
"""Programs that write into a pipe put this or more, or 0, into the header, because they cannot know the length."""
_OVERLAP: Final = max(map(len, MANIFEST_TRACES)) - 1


def holds_manifest(stream: BinaryIO) -> bool:
    """Whether an open file shows any trace of a C2PA manifest, readable or not; moves the position.

    Raises:
        OSError: where the file cannot be read.
    """
    stream.seek(0)
    window = b""
    while block := stream.read(BLOCK_BYTES):
        # A trace may lie across two blocks.
        window = window[-_OVERLAP:] + block
        if any(trace in window for trace in MANIFEST_TRACES):
            return True
    return False


def lacks_its_end(stream: BinaryIO) -> bool:
    """Whether a RIFF file (wav, webp) is shorter than its header says; moves the position.

    Raises:
        OSError: where the file cannot be read.
    """
    stream.seek(4)
    claimed = int.from_bytes(stream.read(4), "little")
    there = stream.seek(0, os.SEEK_END) - 8
    return claimed < _UNKNOWN_LENGTH and claimed > there
