"""Make a credential that can be found again: mark the pictures, take their prints, bind both, keep the manifest.

    durable = DurableMaker(fps=25.0, sound=samples, sample_rate_hz=16_000)
    for image in durable.marked(frames):
        writer.add(image)
    sign_file(unsigned, out, durable.bound(claim), keep=durable.keeper(CredentialStore.of_this_user()))

`provenance.find` is the other side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from math import ceil

import numpy as np
from numpy.typing import NDArray

from provenance.claims import Claim, SoftBinding
from provenance.credential import Credential
from provenance.errors import ProvenanceError
from provenance.fingerprint import (
    PICTURE_ALGORITHM,
    SOUND_ALGORITHM,
    Fingerprint,
    PictureFingerprinter,
    fingerprint_sound,
)
from provenance.store import CredentialStore
from provenance.watermark import ALGORITHM, SMALLEST_SIDE, Watermarker, identifier_text
from provenance.watermark_code import ID_BITS

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


class DurableMaker:
    """Marks and fingerprints one clip while its frames go by; the same clip gets the same mark."""

    def __init__(
        self, *, fps: float, sound: FloatArray | None = None, sample_rate_hz: int = 0, watermark: bool = True
    ) -> None:
        """Prepare for one clip.

        Args:
            fps: frames a second.
            sound: (N, C) float32 in [-1, 1]; None for a silent clip.
            sample_rate_hz: of the sound.
            watermark: False leaves the pictures as they are, and takes their prints only.
        """
        if fps <= 0:
            raise ValueError(f"fps must be positive, got {fps}")
        self._fps, self._sound, self._rate_hz, self._watermark = fps, sound, sample_rate_hz, watermark
        self._pictures = PictureFingerprinter()
        self._marker: Watermarker | None = None
        self.identifier = 0
        """48 bits that name this clip, once its first second has gone by."""

    def marked(self, frames: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
        """The frames of the clip, (H, W, 3) uint8 RGB, with the mark in them."""
        coming = iter(frames)
        # what is named is what is seen in the first second and heard: no clock, no chance, no file name
        first = list(islice(coming, ceil(self._fps)))
        digest = hashlib.sha256(f"{self._fps}".encode())
        for image in first:
            digest.update(f"{image.shape}".encode())
            digest.update(image.tobytes())
        if self._sound is not None:
            digest.update(self._sound.tobytes())
        self.identifier = int.from_bytes(digest.digest()[: ID_BITS // 8], "big")
        if self._watermark and first and min(first[0].shape[:2]) >= SMALLEST_SIDE:
            self._marker = Watermarker(self.identifier)
        for index, image in enumerate(chain(first, coming)):
            shown = self._marker.mark(image) if self._marker is not None else image
            self._pictures.add(index / self._fps, shown)
            yield shown

    def hear(self, sound: FloatArray) -> None:
        """The whole sound, where only its first second was known at the start: a live clip."""
        self._sound = sound

    def prints(self) -> Fingerprint:
        """The prints of what has gone by."""
        look, motion = self._pictures.prints()
        if self._sound is None:
            return Fingerprint(look, motion)
        return Fingerprint(look, motion, fingerprint_sound(self._sound, self._rate_hz))

    def bound(self, claim: Claim) -> Claim:
        """The claim with its soft bindings; ask for it after the last frame."""
        mark = self.identifier if self._marker is not None else None
        return replace(claim, soft_bindings=bindings(self.prints(), mark))

    def keeper(
        self, store: CredentialStore, notify: Callable[[str], None] | None = None
    ) -> Callable[[bytes, Credential], None]:
        """What `sign_file(keep=...)` wants: a store that cannot be written costs a line, never the file."""
        return keeper(store, self.prints(), self.identifier, watermarked=self._marker is not None, notify=notify)


def bindings(prints: Fingerprint, identifier: int | None) -> tuple[SoftBinding, ...]:
    """The soft bindings of a file: its watermark, if it has one, and its prints."""
    found = []
    if identifier is not None:
        block = {"scope": {}, "value": identifier_text(identifier)}
        found.append(SoftBinding(ALGORITHM, (block,), is_watermark=True))
    for algorithm, blocks in ((PICTURE_ALGORITHM, prints.picture_blocks()), (SOUND_ALGORITHM, prints.sound_blocks())):
        if blocks:
            found.append(SoftBinding(algorithm, tuple(blocks)))
    return tuple(found)


def keeper(
    store: CredentialStore,
    prints: Fingerprint,
    identifier: int | None = None,
    *,
    watermarked: bool,
    notify: Callable[[str], None] | None = None,
) -> Callable[[bytes, Credential], None]:
    """A function that puts a manifest and its credential into a store.

    Args:
        store: where to.
        prints: of the signed file.
        identifier: of the watermark; None takes one from the manifest.
        watermarked: whether the identifier is in the pictures.
        notify: gets one line when the store cannot be written; None raises instead.
    """

    def keep(manifest: bytes, credential: Credential) -> None:
        named = identifier
        if named is None:
            named = int.from_bytes(hashlib.sha256(manifest).digest()[: ID_BITS // 8], "big")
        try:
            store.put(manifest, credential, named, prints, watermarked=watermarked)
        except ProvenanceError as error:
            if notify is None:
                raise
            notify(f"warning: the credential is in the file, but was not kept for finding it again: {error}")

    return keep
