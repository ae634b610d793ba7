"""A file lost its credentials: which original is it a copy of? START HERE for the reading side of durable credentials.

    found = find_credential(Path("from_a_platform.mp4"), CredentialStore.of_this_user())
    found.how            # "manifest", "watermark", "fingerprint" or None
    found.confidence     # one minus the chance that it is a wrong one
    found.credential     # of the original, with who signed it and whether we believe that
    found.difference     # how far this copy looks and sounds from the original, 0 to 1

All three ways are always gone, in this order of belief:

1. An intact manifest in the file itself binds every byte: it is the answer, whoever signed. A mark or print that leads
   to another credential is said beside it: somebody may have signed over a stranger's work.
2. The watermark names one credential of the store, by its 48 bits.
3. The fingerprint leads to the original that looks, moves and sounds the same.

What 2 and 3 recover is the credential of an ORIGINAL. It proves who made that, and how; that this copy is unaltered it
does not prove. Marks can be copied, and a face can be changed without the print noticing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from media.clip import MediaError
from media.video import probe, read_image, read_waveform, stream_frames
from provenance.credential import Credential, Standing, read_manifest
from provenance.errors import ProvenanceError
from provenance.files import open_regular
from provenance.fingerprint import (
    LONGEST_SECONDS,
    Fingerprint,
    Likeness,
    PictureFingerprinter,
    compare,
    fingerprint_sound,
    nearest,
)
from provenance.formats import SNIFF_BYTES, sniff_format
from provenance.guard import read_credential_guarded
from provenance.store import CredentialStore, Entry
from provenance.trust import TrustAnchors
from provenance.watermark import RAREST, Heard, Listener, Reading, identifier_text

SCHEMA: Final = 1
MEANING: Final = (
    "a recovered credential tells who made the original, and how; it does not prove that this copy is unaltered"
)
_LARGEST_SIDE: Final = 1024
"""Pixels: mark and prints are coarser than this."""
_LISTENED_PER_SECOND: Final = 12
"""Frames whose votes are taken; the mark stands still."""
_MOST_SOUND_BYTES: Final = 64 << 20
"""Decoded: three minutes of stereo at 48 kHz. A longer sound track is held in memory whole, so it gets no print."""
_OTHER_SCENE, _OTHER_MOTION = 0.5, 0.2
"""Below these correlations a marked copy is not what its credential's original shows."""


@dataclass(frozen=True, eq=False)
class Perceived:
    """What a program can see and hear of a file: enough to look for a mark and to compare prints."""

    prints: Fingerprint
    reading: Reading | None
    trouble: str | None = None
    """Why it could not be seen or heard."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answer of `provenance find`."""

    file: str
    how: str | None
    confidence: float | None
    credential: Credential | None
    """Of this file when `how` is "manifest", else of the original."""
    entry: Entry | None = None
    """The entry of the store that was recovered."""
    embedded: Credential
    """What the file itself carries."""
    heard: Heard | None = None
    likeness: Likeness | None = None
    """To the recovered original."""
    store: str
    entries: int
    reasons: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """How far this copy looks, moves and sounds from the recovered original: 0 the same, 1 nothing in common."""
        return None if self.likeness is None or self.entry is None else self.likeness.difference

    def to_json(self) -> dict[str, Any]:
        """The answer as plain JSON values; schema 1."""
        credential = self.credential.to_json() if self.credential is not None else None
        if credential is not None:
            credential["recovered"] = self.how != "manifest"
        if credential is not None and self.entry is not None:
            credential["identifier"] = identifier_text(self.entry.identifier)
            credential["kept_utc"] = self.entry.kept_utc
        return {
            "schema": SCHEMA,
            "file": self.file,
            "found": self.how is not None,
            "how": self.how,
            "confidence": self.confidence,
            "credential": credential,
            "difference": _rounded(self.difference),
            "embedded": {"standing": self.embedded.standing.value, "sha256": self.embedded.sha256},
            "watermark": _heard_json(self.heard),
            "fingerprint": _likeness_json(self.likeness),
            "store": {"folder": self.store, "entries": self.entries},
            "reasons": list(self.reasons),
            "meaning": MEANING if self.how in ("watermark", "fingerprint") else None,
        }


def find_credential(path: Path, store: CredentialStore, *, trust: TrustAnchors | None = None) -> Found:
    """Find the credential of a file, in it or in a store.

    Args:
        path: picture, video or sound.
        store: where credentials were kept; one that does not exist is empty.
        trust: whom to believe; None as for `read_credential`.

    Raises:
        ProvenanceError: when there is no such file, or it is no media file.
    """
    trust = TrustAnchors.default() if trust is None else trust
    embedded = read_credential_guarded(path, trust=trust)
    entries = list(store.entries())
    seen = perceive(path)
    said: list[str] = [seen.trouble] if seen.trouble else []
    if store.size() > len(entries):
        said.append(f"{store.size() - len(entries)} damaged entries of {store.folder} were passed over")
    # thousands of small products: threads cost more than they do, by far on a busy machine
    with threadpool_limits(1):
        heard, marked = _by_watermark(seen, entries)
        printed, likeness = _by_fingerprint(seen, entries)
    holds = embedded.standing in (Standing.TRUSTED, Standing.UNKNOWN_SIGNER)
    entry = None if holds else marked or printed
    if entry is not None:
        likeness = compare(seen.prints, entry.prints)
    facts: dict[str, Any] = {
        "file": str(path),
        "embedded": embedded,
        "heard": heard,
        "likeness": likeness,
        "store": str(store.folder),
        "entries": len(entries),
    }
    if holds:
        said += [*embedded.reasons, *_contradictions(embedded, heard, marked, printed)]
        return Found(how="manifest", confidence=1.0, credential=embedded, reasons=tuple(said), **facts)
    if embedded.standing is Standing.BROKEN:
        said.append("the credential in this file is broken; what is told here comes from the store")
    if entry is None:
        said += _why_nothing(seen, heard, len(entries), store)
        return Found(how=None, confidence=None, credential=None, reasons=tuple(said), **facts)
    original = _original(store, entry, trust)
    how, confidence = _how(marked, heard, likeness, len(entries))
    if marked is None and heard is not None:
        said.append(f"a mark in its pictures names another credential, {identifier_text(heard.identifier)}")
    said += _what_was_found(how, entry, likeness, marked is not None)
    return Found(
        how=how,
        confidence=confidence,
        credential=original,
        entry=entry,
        reasons=(*said, *original.reasons),
        **facts,
    )


def perceive(path: Path) -> Perceived:
    """See and hear the beginning of a file, in one pass; a file that cannot be decoded is an answer."""
    try:
        with open_regular(path) as stream:
            mime = sniff_format(stream.read(SNIFF_BYTES)) or ""
    except OSError as error:
        raise ProvenanceError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if mime.startswith("image/"):
            return _perceived_picture(path)
        if mime.startswith("audio/"):
            return Perceived(_with_sound(path, np.zeros((0, 16, 16), np.uint8), np.zeros((0, 12, 12), np.int8)), None)
        return _perceived_video(path)
    except MediaError as error:
        return Perceived(Fingerprint(), None, f"its pictures and sound cannot be decoded ({error})")


def _perceived_picture(path: Path) -> Perceived:
    image = read_image(path)
    pictures, listener = PictureFingerprinter(), Listener()
    pictures.add(0.0, image)
    listener.add(image)
    look, _ = pictures.prints()
    return Perceived(Fingerprint(look), listener.reading())


def _perceived_video(path: Path) -> Perceived:
    pictures, listener, heard_until = PictureFingerprinter(), Listener(), -1.0
    facts = probe(path)
    for frame in stream_frames(path, max_side=_LARGEST_SIDE):
        if frame.pts_seconds >= LONGEST_SECONDS:
            break
        pictures.add(frame.pts_seconds, frame.image)
        if frame.pts_seconds - heard_until >= 1 / _LISTENED_PER_SECOND:
            listener.add(frame.image)
            heard_until = frame.pts_seconds
    look, motion = pictures.prints()
    prints = _with_sound(path, look, motion) if facts.has_sound else Fingerprint(look, motion)
    return Perceived(prints, listener.reading())


def _with_sound(path: Path, look: np.ndarray, motion: np.ndarray) -> Fingerprint:
    try:
        sound = read_waveform(path, max_bytes=_MOST_SOUND_BYTES)
    except MediaError:
        # a damaged or very long sound track must not hide what the pictures tell
        return Fingerprint(look, motion)
    return Fingerprint(look, motion, fingerprint_sound(sound.samples, sound.sample_rate_hz))


def _by_watermark(seen: Perceived, entries: Sequence[Entry]) -> tuple[Heard | None, Entry | None]:
    """The mark in the pictures, and the entry it names; of several versions the one that looks most like the copy."""
    if seen.reading is None:
        return None, None
    heard = seen.reading.find(sorted({one.identifier for one in entries if one.watermarked}))
    named = [one for one in entries if heard is not None and one.watermarked and one.identifier == heard.identifier]
    if not named:
        return heard, None
    newest_last = sorted(named, key=lambda one: one.kept_utc)
    return heard, min(reversed(newest_last), key=lambda one: compare(seen.prints, one.prints).difference)


def _by_fingerprint(seen: Perceived, entries: Sequence[Entry]) -> tuple[Entry | None, Likeness | None]:
    """The entry that is most like the copy, when chance would not come as near, and how like it is."""
    store = {number: one.prints for number, one in enumerate(entries) if not one.prints.is_empty}
    number, likeness = nearest(seen.prints, store)
    if number is None or likeness is None or not likeness.passes(len(store)):
        return None, likeness
    return entries[number], likeness


def _original(store: CredentialStore, entry: Entry, trust: TrustAnchors) -> Credential:
    """The credential of the recovered original; one that was damaged in the store is broken, not absent."""
    try:
        credential = read_manifest(store.manifest_of(entry), trust=trust)
    except ProvenanceError as error:
        credential = Credential(
            file=entry.file_name, sha256=entry.file_sha256, standing=Standing.BROKEN, reasons=(str(error),)
        )
    # "unchanged" is said of files that were compared with their credential; this one's file is not here
    reasons = tuple(
        one.replace("unchanged since it was signed", "the original was signed") for one in credential.reasons
    )
    return replace(credential, file=entry.file_name, sha256=entry.file_sha256, format=entry.format, reasons=reasons)


def _how(marked: Entry | None, heard: Heard | None, likeness: Likeness | None, entries: int) -> tuple[str, float]:
    if marked is not None and heard is not None:
        return "watermark", heard.confidence
    assert likeness is not None, "an entry was recovered by its prints"
    return "fingerprint", 1.0 - min(1.0, max(likeness.false_chance * entries, RAREST))


def _what_was_found(how: str, entry: Entry, likeness: Likeness | None, marked: bool) -> Iterator[str]:
    named = identifier_text(entry.identifier)
    yield f"its {how} leads to the credential {named} of {entry.file_name}, kept {entry.kept_utc}"
    yield MEANING
    if not marked:
        yield "a fingerprint cannot tell it from another take of the same face in the same place saying the same words"
    if likeness is None or likeness.difference >= 1.0:
        yield "there are no prints to tell how far this copy differs from the original"
        return
    yield f"by its prints this copy differs from the original by {100 * likeness.difference:.0f} %"
    if likeness.starts_at >= 1.0:
        yield f"it begins {likeness.starts_at:.1f} s into the original"
    if likeness.sound is not None and likeness.sound < _OTHER_MOTION:
        yield "its sound is not that of the original"
    other = (likeness.look is not None and likeness.look < _OTHER_SCENE) or (
        likeness.motion is not None and likeness.motion < _OTHER_MOTION
    )
    if marked and other:
        yield "its pictures are not those of the original: the mark was copied onto them, or they were changed much"


def _contradictions(
    embedded: Credential, heard: Heard | None, marked: Entry | None, printed: Entry | None
) -> Iterator[str]:
    """What mark and prints say that the manifest in the file does not."""
    own = {one.value for one in embedded.soft_bindings}
    if heard is not None and identifier_text(heard.identifier) not in own:
        where = f", that of {marked.file_name}" if marked is not None else ", which is not in this store"
        yield (
            f"its pictures carry the mark of another credential, {identifier_text(heard.identifier)}{where}: somebody "
            "may have signed over the work of another"
        )
    elif (
        printed is not None
        and printed.file_sha256 != embedded.sha256
        and identifier_text(printed.identifier) not in own
    ):
        yield f"it looks like {printed.file_name}, which has another credential, {identifier_text(printed.identifier)}"


def _why_nothing(seen: Perceived, heard: Heard | None, entries: int, store: CredentialStore) -> Iterator[str]:
    if heard is not None:
        yield (
            f"a mark in its pictures names the credential {identifier_text(heard.identifier)}, which is not kept in "
            f"{store.folder}; ask whoever made it, or give another --store"
        )
    elif not entries:
        yield f"no credential is kept in {store.folder}, and no mark is in the file; this says nothing about its origin"
    elif seen.trouble is None:
        yield "no credential, no mark, and nothing in the store that it is like; this says nothing about its origin"


def _heard_json(heard: Heard | None) -> dict[str, Any] | None:
    if heard is None:
        return None
    return {
        "identifier": identifier_text(heard.identifier),
        "in_store": heard.known,
        "confidence": heard.confidence,
        "agreement": _rounded(heard.agreement),
        "scale": _rounded(heard.scale),
        "mirrored": heard.mirrored,
    }


def _likeness_json(likeness: Likeness | None) -> dict[str, Any] | None:
    if likeness is None:
        return None
    return {
        "look": _rounded(likeness.look),
        "motion": _rounded(likeness.motion),
        "sound": _rounded(likeness.sound),
        "seconds_compared": likeness.seconds,
        "starts_at_seconds": likeness.starts_at,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
