"""The small pictures that a credential carries of the file and of what it was made from.

for place, picture in chain_thumbnails(Path("photo.jpg")).items():
    ...    # () is the file itself, (0,) its first ingredient, (0, 2) that one's third

They are what the signer says things looked like: as good as the credential, and no better. A stranger made them, so
they are decoded with limits and encoded anew; nothing of their bytes is handed on.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image

from provenance.credential import strict_settings
from provenance.errors import ProvenanceError
from provenance.files import open_regular
from provenance.formats import READABLE, SNIFF_BYTES, sniff_format
from provenance.trust import TrustAnchors

Place = tuple[int, ...]
"""Which ingredient of which, from the file down."""

SIDE: Final = 160
"""Pixels, of the longer side."""
MOST: Final = 24
DEEPEST: Final = 8
MOST_BYTES: Final = 4 << 20
MOST_PIXELS: Final = 16_000_000
_FORMATS: Final = ("JPEG", "PNG", "WEBP")


def chain_thumbnails(path: Path) -> dict[Place, bytes]:
    """Thumbnails of a file's credential, as JPEG; what cannot be read is left out.

    Args:
        path: a media file of a kind that carries credentials; any other has none.

    Raises:
        ProvenanceError: when it cannot be read.
    """
    import c2pa

    found: dict[Place, bytes] = {}
    try:
        with open_regular(path) as stream:
            mime = sniff_format(stream.read(SNIFF_BYTES))
            if mime not in READABLE:
                return {}
            stream.seek(0)
            with (
                c2pa.Context.from_dict(strict_settings(TrustAnchors.none())) as context,
                c2pa.Reader(mime, stream, context=context) as reader,
            ):
                named = list(_named(json.loads(reader.json())))
                for place, identifier in named[:MOST]:
                    picture = _small(_content(reader, identifier))
                    if picture is not None:
                        found[place] = picture
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error
    except (c2pa.C2paError, ValueError, RecursionError):
        # what is wrong with the credential is told by whoever reads it; here are only pictures of it
        return found
    return found


def _named(report: Any) -> Iterator[tuple[Place, str]]:
    """(place, identifier) of every thumbnail, the file's own first, then level by level below each ingredient."""
    manifests = _table(_table(report).get("manifests"))
    active = str(_table(report).get("active_manifest"))
    own = _table(manifests.get(active))
    identifier = _table(own.get("thumbnail")).get("identifier")
    if isinstance(identifier, str):
        yield (), identifier
    yield from _below(own, manifests, (), (active,))


def _below(
    manifest: Mapping[str, Any], manifests: Mapping[str, Any], place: Place, above: tuple[str, ...]
) -> Iterator[tuple[Place, str]]:
    parts = manifest.get("ingredients")
    for index, one in enumerate(parts if isinstance(parts, list) else []):
        part = _table(one)
        identifier = _table(part.get("thumbnail")).get("identifier")
        if isinstance(identifier, str):
            yield (*place, index), identifier
        label = str(part.get("active_manifest"))
        # a manifest that names itself among its ancestors would be followed for ever
        if label in manifests and label not in above and len(above) < DEEPEST:
            yield from _below(_table(manifests[label]), manifests, (*place, index), (*above, label))


def _content(reader: Any, identifier: str) -> bytes:
    """The bytes of one; empty where it is not in the file."""
    import c2pa

    stream = io.BytesIO()
    try:
        reader.resource_to_stream(identifier, stream)
    except c2pa.C2paError:
        return b""
    return stream.getvalue()


def _small(content: bytes) -> bytes | None:
    """A small JPEG of a picture; None for what is none, or too large for a thumbnail."""
    if not 0 < len(content) <= MOST_BYTES:
        return None
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return None
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = picture.convert("RGB")
            small.thumbnail((SIDE, SIDE))
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=80)
            return buffer.getvalue()
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError, MemoryError):
        # the decoders of pictures let all of these escape from damaged files
        return None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
