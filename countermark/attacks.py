"""What happens to a signed file out in the world: the demo's tampered copies, each a real operation on a real file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from media.video import read_clip, write_clip
from provenance.claims import Claim, SourceType
from provenance.identity import create_identity
from provenance.signing import sign_file


def top_level_boxes(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start of the payload and end of each top-level box of an ISO media file (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        header = 8
        if size == 1 and at + 16 <= len(content):
            size, header = struct.unpack(">Q", content[at + 8 : at + 16])[0], 16
        end = len(content) if size == 0 else min(at + size, len(content))
        if end < at + header:
            return
        yield kind, at + header, end
        at = end


def flip_one_bit(source: Path, target: Path) -> None:
    """Change one bit in the middle of the picture data.

    Raises:
        ValueError: when the file has no media data box.
    """
    content = bytearray(source.read_bytes())
    for kind, start, end in top_level_boxes(bytes(content)):
        if kind == b"mdat" and end > start:
            content[(start + end) // 2] ^= 1
            target.write_bytes(content)
            return
    raise ValueError(f"{source} has no media data to change")


def reencode(source: Path, target: Path) -> None:
    """Upload and download: a platform's new encoding keeps the pictures and drops the credentials."""
    write_clip(read_clip(source), target, crf=28)


def sign_as_a_stranger(source: Path, target: Path) -> None:
    """Sign with an identity that nobody trusts, made for this one signature."""
    claim = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA, action="edited", title=target.name)
    with TemporaryDirectory() as folder:
        sign_file(source, target, claim, identity=create_identity(Path(folder) / "stranger"))
