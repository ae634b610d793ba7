"""One training shard: a clip of a talking person as frames and measurements, in one .npz.

    save_shard(path, shard)
    shard = load_shard(path)
    shard.frames, shard.motion, shard.facts["consent"]

It holds JPEG frames, landmarks, the 70 motion features of every frame, a geometric guess at where the person is, and
the sound. Axes: T frames, S side of the frames.
"""

from __future__ import annotations

import json
import secrets
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.portrait import ForgeError
from media.landmarks import FACE_OVAL

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

FORMAT = 1
JPEG_QUALITY = 93
MASK_SIDE = 64


@dataclass(frozen=True, eq=False)
class Shard:
    """One clip in memory."""

    frames: UInt8Array
    """(T, S, S, 3)."""
    landmarks: FloatArray
    """(T, 478, 3) pixels."""
    blendshapes: FloatArray
    """(T, 51)."""
    motion: FloatArray
    """(T, 70), pose relative to frame `facts["reference"]`."""
    sound: FloatArray
    """(N,) at 16 kHz; empty for a silent video."""
    facts: Mapping[str, Any]
    """Person, source, consent, license, rate and where it was cut from: JSON values."""

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together, and a clip without consent or licence."""
        count = len(self.frames)
        if self.frames.ndim != 4 or self.frames.shape[1:] != (self.size, self.size, 3) or count < 1:
            raise ValueError(f"frames must be (T, S, S, 3), got {self.frames.shape}")
        if not len(self.landmarks) == len(self.blendshapes) == len(self.motion) == count:
            raise ValueError(f"need {count} measurements, got {len(self.landmarks)}, {len(self.blendshapes)}")
        if not self.facts.get("consent") or not self.facts.get("license"):
            raise ValueError("a shard needs a statement of consent and a licence")

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return int(self.frames.shape[1])

    def person_masks(self) -> NDArray[np.bool_]:
        """(T, 64, 64) a guess at where the person is in every frame."""
        return np.stack([person_mask(points, self.size) for points in self.landmarks])


def save_shard(path: Path, shard: Shard) -> None:
    """Write a shard, whole or not at all.

    Raises:
        ForgeError: when it cannot be written.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    blobs = [cv2.imencode(".jpg", np.ascontiguousarray(f[..., ::-1]), quality)[1].tobytes() for f in shard.frames]
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT),
        "jpeg": np.frombuffer(b"".join(blobs), np.uint8),
        "ends": np.cumsum([0, *map(len, blobs)]),
        "landmarks": shard.landmarks.astype(np.float16),
        "blendshapes": shard.blendshapes.astype(np.float16),
        "motion": shard.motion.astype(np.float32),
        "person": np.packbits(shard.person_masks()),
        "sound": np.round(np.clip(shard.sound, -1, 1) * 32767).astype(np.int16),
        "facts": np.array(json.dumps(dict(shard.facts), sort_keys=True)),
    }
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]
        part.replace(path)
    except OSError as error:
        raise ForgeError(f"{path}: cannot be written ({error.strerror or error}); check space and folder") from error
    finally:
        part.unlink(missing_ok=True)


def load_shard(path: Path) -> Shard:
    """Read what `save_shard` wrote.

    Raises:
        ForgeError: when it is damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format"]) != FORMAT:
                raise ForgeError(f"{path}: a shard of another version; prepare the videos again")
            data = file["jpeg"].tobytes()
            return Shard(
                np.stack([_decoded(data[a:b]) for a, b in pairwise(file["ends"].tolist())]),
                file["landmarks"].astype(np.float32),
                file["blendshapes"].astype(np.float32),
                file["motion"],
                file["sound"].astype(np.float32) / 32767,
                json.loads(str(file["facts"])),
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ForgeError(f"{path}: not a readable shard ({error}); delete it and prepare again") from error


def _decoded(data: bytes) -> UInt8Array:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a frame is no JPEG")
    return np.asarray(picture[..., ::-1], np.uint8)


def person_mask(points: FloatArray, size: int) -> NDArray[np.bool_]:
    """(64, 64) a guess at where the person is: the face grown to a head, and shoulders below it. No matting."""
    oval = points[list(FACE_OVAL), :2] * (MASK_SIDE / size)
    middle, chin = oval.mean(axis=0), oval[:, 1].max()
    wide = float(np.ptp(oval[:, 0]))
    head = middle + (oval - middle) * np.array([1.5, 1.6]) - np.array([0.0, 0.12 * np.ptp(oval[:, 1])])
    out = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    cv2.fillPoly(out, [np.round(head).astype(np.int32)], 1)
    drop = 0.35 * wide
    body = np.array(
        [[middle[0] - 0.45 * wide, chin - drop], [middle[0] + 0.45 * wide, chin - drop],
         [middle[0] + 1.5 * wide, chin + drop], [middle[0] + 1.7 * wide, 2 * MASK_SIDE],
         [middle[0] - 1.7 * wide, 2 * MASK_SIDE], [middle[0] - 1.5 * wide, chin + drop]]
    )  # fmt: skip
    cv2.fillPoly(out, [np.round(body).astype(np.int32)], 1)
    return out.astype(bool)
