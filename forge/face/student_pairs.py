"""Training pairs for the student: a source frame, a target frame, what geometry guesses of it, and the truth.

    write_pairs(Path("takes"), Path("pairs"), finder)      # one file of pairs per take; goes on where it stopped
    pairs = read_pairs(Path("pairs/000012.pairs.npz"))

The motion is what the landmarker measures on the target, because that is what the product feeds. Pairs are written
once: a first guess costs as much as a training step. Pictures are kept as PNG, exactly; 8 pairs take about 2 MB.
"""

from __future__ import annotations

import itertools
import secrets
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.face.student_motion import motion_between
from forge.face.student_prior import Prior
from forge.portrait import ForgeError
from forge.studio.footage import Footage, flow_between, load_footage
from forge.studio.head import PART
from media.landmarks import BLENDSHAPE_INDEX, FaceObservation, head_angles

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

FORMAT = 1
MOST_TURNED = 25.0
"""Degrees between source and target, beyond which one picture says too little about the other."""
MOST_GROWN = 0.25
"""Logarithm of the largest change of size."""
MOST_ASKEW = 28.0
"""Degrees of the source's own yaw or pitch: portraits face the camera."""
REGION_OF_PART = {"background": 0, "hair": 2, "cloth": 3, "neck": 3}
"""All other parts are the face."""
FINE_PARTS = ("lips", "sclera", "iris", "teeth", "gums", "tongue", "mouth_socket", "lashes", "eye_wet")
"""Parts that count eight times."""


class Finder(Protocol):
    """What is needed of `media.faces.FaceFinder`."""

    def find(self, image: UInt8Array) -> list[FaceObservation]:
        """All faces, largest first."""
        ...


@dataclass(frozen=True, eq=False)
class Pair:
    """One source and one target; S the student's side. Pictures are PNG bytes of (S, S, 3) RGB."""

    source: bytes
    target: bytes
    drawn: bytes
    worn: bytes
    flow: NDArray[np.float16]
    """(S/4, S/4, 2) of the first guess, in sides."""
    maps: UInt8Array
    """(S/2, S/2, 4)."""
    own: UInt8Array
    """(S/2, S/2, 4)."""
    told: FloatArray
    true_flow: NDArray[np.float16]
    """(S/4, S/4, 2) where the target's pixel really is in the source, relative to it, in sides."""
    seen: UInt8Array
    """(S/4, S/4) 1 where the source shows that point."""
    parts: bytes
    """PNG of the target's (S, S) parts."""
    regions: UInt8Array
    """(S/4, S/4) `student.REGIONS` of the source."""

    def picture(self, name: str) -> UInt8Array:
        """One of its pictures, decoded."""
        return decoded(getattr(self, name))


def write_pairs(
    takes: Path, out: Path, finder: Finder, *, sources: int = 3, per_source: int = 6, seed: int = 0
) -> Iterator[tuple[Path, int]]:
    """Make the pairs of every take of a folder that has none yet; yields each file and how many pairs it holds.

    Raises:
        ForgeError: when the folder is missing.
    """
    if not takes.is_dir():
        raise ForgeError(f"{takes}: not a folder; give the folder that `countermark forge studio` filled with takes")
    out.mkdir(parents=True, exist_ok=True)
    for take in sorted(path for path in takes.rglob("*.footage") if not path.name.startswith(".")):
        name = "_".join(take.relative_to(takes).with_suffix("").parts)
        file = out / f"{name}.pairs.npz"
        if file.exists():
            continue
        pairs = pairs_of(load_footage(take), finder, sources, per_source, np.random.default_rng([seed, len(name)]))
        save_pairs(file, pairs)
        yield file, len(pairs)


def pairs_of(footage: Footage, finder: Finder, sources: int, per_source: int, rng: np.random.Generator) -> list[Pair]:
    """Pairs of one take: from the most frontal frames to others that are not turned too far away from them."""
    images = footage.image_F3HW.permute(0, 2, 3, 1).contiguous().numpy()
    faces = [next(iter(finder.find(image)), None) for image in images]
    pairs: list[Pair] = []
    askew = [np.inf if face is None or eyes_shut(face) else max(own_angles(face)) for face in faces]
    for source in [int(i) for i in np.argsort(askew)[:sources] if askew[int(i)] < MOST_ASKEW]:
        portrait = faces[source]
        assert portrait is not None
        try:
            prior = Prior.fit(images[source], footage.size, portrait, side=footage.size, whole=True)
        except (ForgeError, ValueError):
            continue
        moved = {
            t: motion_between(portrait.landmarks, face.landmarks, face.blendshapes)
            for t, face in enumerate(faces)
            if face is not None and t != source
        }
        near = [t for t, v in moved.items() if max(abs(v[:2])) < MOST_TURNED and abs(v[5]) < MOST_GROWN]
        for target in rng.permutation(near)[:per_source].tolist():
            pairs.append(one_pair(footage, images, prior, source, target, moved[target]))
    return pairs


def eyes_shut(face: FaceObservation) -> bool:
    """Whether the face has no eyes to look with: nobody hands in such a portrait."""
    blinks = [face.blendshapes[BLENDSHAPE_INDEX[name]] for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    return bool(max(blinks) > 0.5)


def own_angles(face: FaceObservation) -> tuple[float, float]:
    """Absolute yaw and pitch of a face in degrees."""
    yaw, pitch, _ = head_angles(face.pose)
    return abs(yaw), abs(pitch)


def one_pair(footage: Footage, images: UInt8Array, prior: Prior, source: int, target: int, values: FloatArray) -> Pair:
    """The pair of two frames of a take."""
    guess = prior.guess(values.astype(np.float64))
    size, small = footage.size, footage.size // 4
    where, visible, known = flow_between(footage, source, target)
    ticks = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    apart = where.numpy().astype(np.float32)
    apart[..., 0] -= ticks[None, :]
    apart[..., 1] -= ticks[:, None]
    every = slice(2, None, 4)  # a flow is not averaged over an edge: one pixel speaks for sixteen
    parts = footage.parts_FHW.numpy()
    region = np.ones(len(PART), np.uint8)
    for part, number in REGION_OF_PART.items():
        region[PART[part]] = number
    return Pair(
        encoded(images[source]),
        encoded(images[target]),
        encoded(guess.drawn),
        encoded(guess.worn),
        guess.flow.astype(np.float16),
        guess.maps,
        prior.own_maps(),
        guess.told,
        np.clip(apart[every, every] / 2, -1, 1).astype(np.float16),
        (visible & known).numpy()[every, every].astype(np.uint8),
        encoded(parts[target]),
        region[parts[source]][every, every].reshape(small, small),
    )


def encoded(image: UInt8Array) -> bytes:
    """PNG of an RGB or grey picture."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image),
                              [cv2.IMWRITE_PNG_COMPRESSION, 1])  # fmt: skip
    assert done
    return data.tobytes()


def decoded(data: bytes) -> UInt8Array:
    """The picture of PNG bytes."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else np.asarray(image)


PICTURES = ("source", "target", "drawn", "worn", "parts")
ARRAYS = ("flow", "maps", "own", "told", "true_flow", "seen", "regions")


def save_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs, whole or not at all; equal pictures are kept once."""
    blobs: dict[bytes, int] = {}
    index = np.array([[blobs.setdefault(getattr(p, n), len(blobs)) for n in PICTURES] for p in pairs], np.int64)
    arrays: dict[str, NDArray[Any]] = {n: np.stack([getattr(p, n) for p in pairs]) for n in ARRAYS} if pairs else {}
    ends = np.cumsum([0, *(len(blob) for blob in blobs)])
    arrays |= {"format": np.array(FORMAT), "index": index.reshape(-1, len(PICTURES)), "ends": ends}
    arrays["bytes"] = np.frombuffer(b"".join(blobs), np.uint8)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_pairs(path: Path) -> list[Pair]:
    """Read what `save_pairs` wrote; [] for a take that gave none.

    Raises:
        ForgeError: when it is damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format"]) != FORMAT:
                raise ForgeError(f"{path}: pairs of another version; delete the folder and make them again")
            ends, data, index = file["ends"], file["bytes"].tobytes(), file["index"]
            arrays = {name: file[name] for name in ARRAYS if len(index)}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ForgeError(f"{path}: not a readable file of pairs ({error}); delete it and make it again") from error
    blobs = [data[a:b] for a, b in itertools.pairwise(ends)]
    return [
        Pair(
            **{name: blobs[int(at)] for name, at in zip(PICTURES, row, strict=True)},
            **{name: arrays[name][i] for name in ARRAYS},
        )
        for i, row in enumerate(index)
    ]
