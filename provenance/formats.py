"""What kind of file this is, judged by its first bytes and never by its name."""

from __future__ import annotations

from typing import Final

SNIFF_BYTES: Final = 64
"""How much of a file's beginning `sniff_format` wants to see."""

SIGNABLE: Final = frozenset({"video/mp4", "video/quicktime", "image/png", "image/jpeg", "image/webp", "audio/wav"})
"""The formats this project signs."""

FILMS: Final = frozenset({"video/mp4", "video/quicktime"})
"""Those of them that are made of boxes."""

READABLE: Final = SIGNABLE | {
    "image/gif",
    "image/heic",
    "image/avif",
    "image/tiff",
    "image/jxl",
    "image/svg+xml",
    "audio/mp4",
    "audio/flac",
    "audio/mpeg",
    "video/avi",
    "application/pdf",
}
"""Formats in which credentials can be embedded, and are looked for."""

SUFFIXES: Final[dict[str, str]] = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".wav": "audio/wav",
}
"""File name endings of the formats this project signs."""

_NAMES: Final[dict[str, str]] = {
    "video/x-matroska": "a Matroska or WebM file",
    "audio/ogg": "an Ogg file",
    "image/bmp": "a BMP picture",
    "application/zip": "a ZIP archive",
}

_BRANDS: Final[dict[bytes, str]] = {
    b"qt  ": "video/quicktime",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"msf1": "image/heic",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
}

# The oldest QuickTime files carry no ftyp box: they begin with one of these.
_QUICKTIME_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def sniff_format(head: bytes) -> str | None:
    """The MIME type that the first `SNIFF_BYTES` of a file show, or None when they show no media file.

    >>> sniff_format(bytes.fromhex("89504e470d0a1a0a"))
    'image/png'
    """
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/avi"}.get(head[8:12])
    if head[4:8] in (b"ftyp", b"styp"):
        return _BRANDS.get(head[8:12], "video/mp4")
    if head[4:8] in _QUICKTIME_BOXES:
        return "video/quicktime"
    return _by_magic(head)


def _by_magic(head: bytes) -> str | None:
    """Formats that begin with a fixed signature."""
    signatures: tuple[tuple[bytes, str], ...] = (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"\x00\x00\x00\x0cJXL ", "image/jxl"),
        (b"fLaC", "audio/flac"),
        (b"ID3", "audio/mpeg"),
        (b"OggS", "audio/ogg"),
        (b"\x1aE\xdf\xa3", "video/x-matroska"),
        (b"%PDF-", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"BM", "image/bmp"),
    )
    for signature, mime in signatures:
        if head.startswith(signature):
            return mime
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "audio/mpeg"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return "image/svg+xml" if text.startswith(b"<svg") else None


def spoken(mime: str) -> str:
    """A format in words a person uses: `an Ogg file`, `PNG`."""
    return _NAMES.get(mime, mime.partition("/")[2].upper())
