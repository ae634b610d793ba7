"""Whether a manifest is, or was, in some bytes, although nobody can parse it any more.

A file that its reader cannot parse may be damaged and never signed, or signed and tampered with: the traces tell.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from provenance.files import BLOCK_BYTES

MANIFEST_TRACES: Final = (
    b"jumdc2pa",
    b"c2pa.signature",
    b"c2pa:manifest",
    bytes.fromhex("d8fec3d61b0e483c92975828877ec481"),
)
"""How a manifest store begins; the name of the signature in each manifest; the element that holds one in SVG, where it
is base64; the `uuid` box that holds one in mp4."""

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
