"""What a program can see and hear of a file: the prints of its beginning, and the votes for a mark in its pictures.

seen = perceive(Path("from_a_platform.mp4"))  # decoded in a process with limits
seen.prints, seen.reading, seen.trouble
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from media.clip import MediaError
from media.video import probe, read_image, read_waveform, stream_frames
from provenance.errors import ProvenanceError
from provenance.files import open_regular
from provenance.fingerprint import LONGEST_SECONDS, Fingerprint, PictureFingerprinter, fingerprint_sound
from provenance.formats import SNIFF_BYTES, sniff_format
from provenance.guard import Allowance, ReadingStopped, guarded
from provenance.watermark import Listener, Reading

_LARGEST_SIDE: Final = 1024
"""Pixels: mark and prints are coarser than this."""
_LISTENED_PER_SECOND: Final = 12
"""Frames whose votes are taken; the mark stands still."""
_MOST_SOUND_BYTES: Final = 64 << 20
"""Decoded: three minutes of stereo at 48 kHz. A longer sound track is held in memory whole, so it gets no print."""
PERCEIVING: Final = Allowance(seconds=600.0, cpu_seconds=600.0, answer_bytes=64 << 20)
"""Three minutes of 4K are decoded in two on a slow machine."""


@dataclass(frozen=True, eq=False)
class Perceived:
    """What a program can see and hear of a file: enough to look for a mark and to compare prints."""

    prints: Fingerprint
    reading: Reading | None
    trouble: str | None = None
    """Why it could not be seen or heard."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for another process."""
        prints, reading = self.prints, self.reading
        return {
            "look": _written(prints.look_SHW),
            "motion": _written(prints.motion_THW),
            "sound": _written(prints.sound_AK),
            "votes": None if reading is None else _written(reading.votes_HW),
            "frames": 0 if reading is None else reading.frames,
            "trouble": self.trouble,
        }

    @classmethod
    def from_json(cls, facts: Any) -> Perceived:
        """Read what `to_json` wrote; a process that read a stranger's file is believed no further than its shapes.

        Raises:
            ReadingStopped: for anything else.
        """
        try:
            prints = Fingerprint(
                _read(facts["look"], np.uint8), _read(facts["motion"], np.int8), _read(facts["sound"], np.int8)
            )
            votes_HW = None if facts["votes"] is None else _read(facts["votes"], np.float32)
            if votes_HW is not None and (votes_HW.ndim != 2 or not np.isfinite(votes_HW).all()):
                raise ValueError("votes are a picture of finite numbers")
            reading = None if votes_HW is None else Reading(votes_HW, int(facts["frames"]))
            trouble = facts["trouble"]
            return cls(prints, reading, None if trouble is None else str(trouble)[:1000])
        except (KeyError, TypeError, ValueError) as error:
            raise ReadingStopped("the reader gave an answer that makes no sense") from error


def _written(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "base64": b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")}


def _read(facts: Any, kind: type) -> np.ndarray:
    return np.frombuffer(b64decode(facts["base64"]), kind).reshape([int(n) for n in facts["shape"]]).copy()


def perceive(path: Path) -> Perceived:
    """See and hear the beginning of a file, in one pass, in a process with limits.

    A file that cannot be decoded, or on which its decoder crashes, hangs or swells, is an answer.
    """
    try:
        return Perceived.from_json(guarded(lambda: perceived_here(path).to_json(), PERCEIVING))
    except ReadingStopped as stopped:
        return Perceived(Fingerprint(), None, f"its pictures and sound cannot be decoded: {stopped}")


def perceived_here(path: Path) -> Perceived:
    """As `perceive`, in this process."""
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
    return Perceived(replace(prints, later=pictures.later()), listener.reading())


def _with_sound(path: Path, look: np.ndarray, motion: np.ndarray) -> Fingerprint:
    try:
        sound = read_waveform(path, max_bytes=_MOST_SOUND_BYTES)
    except MediaError:
        # a damaged or very long sound track must not hide what the pictures tell
        return Fingerprint(look, motion)
    return Fingerprint(look, motion, fingerprint_sound(sound.samples, sound.sample_rate_hz))
