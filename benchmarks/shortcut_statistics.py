"""What a clip tells about itself that is not whether it was forged: one group of statistics a nuisance.

    statistics = measure_clip(path, finder)
    statistics["codec"]["log bits per pixel"]

One pass over the pictures, faces looked for in a few of them. A value that does not exist (a pause in a silent clip) is
nan, a kind of thing (a container) is a word; `benchmarks.shortcut_probes` makes numbers of both. Statistics are kept
by the content of the clip, so that a second audit costs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log, log10, nan
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.shortcut_pictures import (
    Values,
    background,
    background_mask,
    blockiness,
    colour,
    face_mask,
    luma_of,
    sharpness,
    stillness,
    zero_coefficients,
)
from detect.detector import DetectError
from detect.forensics import file_facts
from detect.sampling import spread_indices
from media.catalog import Sample
from media.clip import MediaError, UInt8Array
from media.faces import FaceFinder
from media.landmarks import BLENDSHAPE_INDEX, FaceObservation, head_angles
from media.packets import packet_facts
from media.video import VideoFacts, probe, read_waveform, stream_frames
from provenance.credential import read_credential
from provenance.errors import ProvenanceError
from provenance.files import write_whole

Array = NDArray[np.float64]
Statistics = dict[str, Values]
Embedding = Callable[[Sequence[UInt8Array]], Array]
"""Pictures (224, 224, 3) to one (N,) vector."""

VERSION: Final = 1
LOOKS: Final = 5
"""Pictures that are looked at, spread over the clip, besides the first two."""
NETWORK_SIDE: Final = 224
GREY: Final = 127
QUIET_DECIBELS: Final = 40.0
"""A moment this far under the loudest is silence."""
MOMENT_SECONDS: Final = 0.02


@dataclass(frozen=True, eq=False)
class Glance:
    """What one pass over a clip leaves: a few pictures, and what changes from one to the next."""

    facts: VideoFacts
    first: tuple[UInt8Array, ...]
    """The first two pictures."""
    looks: tuple[tuple[UInt8Array, UInt8Array], ...]
    """Pictures spread over the clip, each with the one after it (itself where it is the last)."""
    first_face: FaceObservation | None
    faces: tuple[FaceObservation | None, ...]
    """The largest face of each look."""


def glance(path: Path, finder: FaceFinder) -> Glance:
    """Read a clip once.

    Raises:
        MediaError: when it cannot be read.
    """
    facts = probe(path)
    length = facts.length or max(1, round(facts.duration_seconds * float(facts.fps)))
    wanted = set(spread_indices(length, LOOKS).tolist())
    first: list[UInt8Array] = []
    looks: list[list[UInt8Array]] = []
    for frame in stream_frames(path):
        if len(first) < 2:
            first.append(frame.image)
        if looks and len(looks[-1]) == 1:
            looks[-1].append(frame.image)
        if frame.index in wanted:
            looks.append([frame.image])
    if not looks:
        looks = [[first[0]]]
    pairs = tuple((pair[0], pair[-1]) for pair in looks)
    found = [_largest(finder, image, None) for image, _ in pairs]
    known = next((face for face in found if face is not None), None)
    return Glance(facts, tuple(first), pairs, _largest(finder, first[0], known), tuple(found))


def _largest(finder: FaceFinder, image: UInt8Array, near: FaceObservation | None) -> FaceObservation | None:
    if near is not None:
        face = finder.measure(image, near.box)
        if face is not None:
            return face
    return next(iter(finder.find(image)), None)


def measure_clip(path: Path, finder: FaceFinder, embed: Embedding | None = None) -> Statistics:
    """All statistics of one clip, by nuisance.

    Args:
        path: the clip.
        finder: a loaded face finder.
        embed: a frozen network for what the pictures show without the face; None leaves those groups out.

    Raises:
        MediaError: when it cannot be read.
    """
    seen = glance(path, finder)
    out: Statistics = {
        "metadata": metadata(path, seen.facts),
        "codec": codec(path, seen),
        "resolution": resolution(seen.facts),
        "sound": sound(path, seen.facts),
        "silence": silence(path) if seen.facts.has_sound else {},
        "colour": colour([image for image, _ in seen.looks]),
        "sharpness": sharpness([image for image, _ in seen.looks]),
        "crop": crop(seen),
        "first frame": first_frame(seen),
        "marks": marks(path),
    }
    shown = [(pair, face) for pair, face in zip(seen.looks, seen.faces, strict=True) if face is not None]
    outside = [background_mask(pair[0].shape[:2], face) for pair, face in shown]
    out["background"] = background([pair[0] for pair, _ in shown], outside)
    out["stillness"] = stillness([pair for pair, _ in shown], outside)
    if embed is not None and shown:
        kept = {"background": outside, "face masked": [~face_mask(p[0].shape[:2], f) for p, f in shown]}
        for name, masks in kept.items():
            pictures = [_masked(pair[0], mask) for (pair, _), mask in zip(shown, masks, strict=True)]
            vector = embed(pictures[:3])
            out[f"{name}, network"] = {str(n): float(value) for n, value in enumerate(vector)}
    out["face masked"] = background([pair[0] for pair, _ in shown], [~face_mask(p[0].shape[:2], f) for p, f in shown])
    # not for probes: what mending needs
    out["_box"] = face_box(seen)
    out["_size"] = {"width": float(seen.facts.width), "height": float(seen.facts.height)}
    return out


def _masked(image: UInt8Array, kept: NDArray[np.bool_]) -> UInt8Array:
    """The picture with all but the kept part grey, squeezed to the network's size."""
    grey = np.where(kept[..., None], image, np.uint8(GREY))
    return np.asarray(cv2.resize(grey, (NETWORK_SIDE, NETWORK_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


# ------------------------------------------------------------------------------------------ file


def metadata(path: Path, facts: VideoFacts) -> Values:
    """Container, profile, picture groups, tags, length and rate."""
    packets = packet_facts(path)
    return {
        "container": f"{facts.container} {facts.codec}",
        "profile": packets.profile,
        "pixel format": facts.pixel_format,
        "colour tags": packets.color_tags,
        "clock": packets.clock,
        "tags": packets.tags,
        "writer": packets.writer,
        "reordered": float(packets.reordered),
        "rotation": float(facts.rotation_degrees),
        "keyframe gap": log(packets.keyframe_gap),
        "only one keyframe": float(int(packets.is_key.sum()) <= 1),
        "seconds": facts.duration_seconds,
        "frames a second": float(facts.fps),
        "variable rate": float(facts.variable_frame_rate),
    }


def codec(path: Path, seen: Glance) -> Values:
    """How many bits the pictures got, and what quantisation left of them."""
    packets = packet_facts(path)
    pixels = seen.facts.width * seen.facts.height
    key = packets.sizes[packets.is_key]
    other = packets.sizes[~packets.is_key]
    lumas = [luma_of(image) for image, _ in seen.looks]
    return {
        "log bits per pixel": log(8 * float(packets.sizes.mean()) / pixels),
        "log bits of keyframes": log(8 * float(key.mean()) / pixels) if len(key) else nan,
        "log bits of others": log(8 * float(other.mean() + 1) / pixels) if len(other) else nan,
        "spread of sizes": float(np.std(np.log(other + 1))) if len(other) else nan,
        "blocks of 8": float(np.mean([blockiness(luma, 8) for luma in lumas])),
        "blocks of 16": float(np.mean([blockiness(luma, 16) for luma in lumas])),
        "zero coefficients": float(np.mean([zero_coefficients(luma) for luma in lumas])),
    }


def resolution(facts: VideoFacts) -> Values:
    """Size and shape of the picture."""
    size, shape = log(facts.width * facts.height) / 2, log(facts.width / facts.height)
    return {"log size": size, "log size squared": size**2, "shape": shape, "square": float(facts.width == facts.height)}


def marks(path: Path) -> Values:
    """Whether the file says itself what it is: a signed manifest, or the unsigned mark of a generator."""
    try:
        credential = read_credential(path)
        standing, unsigned = str(credential.standing), len(file_facts(path).unsigned_marks)
    except (ProvenanceError, DetectError):
        # a file that can hold no manifest holds none
        standing, unsigned = "absent", 0
    return {"manifest": standing, "unsigned marks": float(unsigned)}


# ------------------------------------------------------------------------------------------ sound


def sound(path: Path, facts: VideoFacts) -> Values:
    """Whether there is sound, and of what kind; nothing about when it is silent."""
    out: Values = {
        "has sound": float(facts.has_sound),
        "kind": f"{facts.sound_codec} {facts.sample_rate_hz} {facts.channels}",
        "level": nan,
        "upper band": nan,
    }
    if not facts.has_sound:
        return out
    try:
        heard = read_waveform(path).mono()
    except MediaError:
        return out
    samples = heard.samples[:, 0].astype(np.float64)
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    if len(samples) < 256 or power.sum() <= 0:
        return out
    reach = np.searchsorted(np.cumsum(power) / power.sum(), 0.99) / len(power) * heard.sample_rate_hz / 2
    return out | {"level": 10 * log10(float((samples**2).mean()) + 1e-10), "upper band": float(reach)}


def silence(path: Path) -> Values:
    """When there is nothing to be heard; empty for a clip whose sound holds nothing at all."""
    try:
        heard = read_waveform(path).mono()
    except MediaError:
        return {}
    moment = max(1, round(MOMENT_SECONDS * heard.sample_rate_hz))
    count = len(heard.samples) // moment
    if not count:
        return {}
    power = (heard.samples[: count * moment, 0].astype(np.float64).reshape(count, moment) ** 2).mean(axis=1)
    level = 10 * np.log10(power + 1e-10)
    quiet = level < max(-70.0, float(level.max()) - QUIET_DECIBELS)
    loud = np.flatnonzero(~quiet)
    first, last = (int(loud[0]), count - 1 - int(loud[-1])) if len(loud) else (count, count)
    return {
        "leading": first * MOMENT_SECONDS,
        "trailing": last * MOMENT_SECONDS,
        "share": float(quiet.mean()),
        "exactly nothing": float((power == 0).mean()),
        "floor": float(np.percentile(level, 5)),
    }


# ------------------------------------------------------------------------------------------ pictures


def face_box(seen: Glance) -> Values:
    """The median box of the face in pixels; nan where none was found."""
    boxes = [face.box for face in seen.faces if face is not None]
    values = np.median(boxes, axis=0) if boxes else np.full(4, nan)
    return {name: float(value) for name, value in zip(("x0", "y0", "x1", "y1"), values, strict=True)}


def crop(seen: Glance) -> Values:
    """How much of the picture the face takes, and where it stands."""
    x0, y0, x1, y1 = (float(value) for value in face_box(seen).values())
    width, height = seen.facts.width, seen.facts.height
    share = [(face is not None) for face in seen.faces]
    return {
        "width": (x1 - x0) / width,
        "height": (y1 - y0) / height,
        "across": abs((x0 + x1) / 2 / width - 0.5),
        "down": (y0 + y1) / 2 / height,
        "found": float(np.mean(share)),
    }


def first_frame(seen: Glance) -> Values:
    """How the first picture differs from the others: a driven portrait starts as it was photographed."""
    others = [face for face in seen.faces if face is not None]
    face = seen.first_face
    names = ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft", "browInnerUp")
    out: Values = {name: nan for name in (*names, "pose", "expression", "detail", "start", "light")}
    detail = sharpness([seen.first[0]])["fine"]
    usual = sharpness([image for image, _ in seen.looks])["fine"]
    out["detail"] = float(detail) - float(usual)
    steps = [float(np.abs(a.astype(np.float32) - b).mean()) for a, b in seen.looks]
    start = float(np.abs(seen.first[0].astype(np.float32) - seen.first[-1]).mean())
    out["start"] = log((start + 0.05) / (float(np.mean(steps)) + 0.05))
    out["light"] = float(seen.first[0].mean()) - float(np.mean([image.mean() for image, _ in seen.looks]))
    if face is None or not others:
        return out
    shapes = np.mean([other.blendshapes for other in others], axis=0)
    for name in names:
        out[name] = float(face.blendshapes[BLENDSHAPE_INDEX[name]] - shapes[BLENDSHAPE_INDEX[name]])
    angles = np.mean([head_angles(other.pose) for other in others], axis=0)
    out["pose"] = float(np.abs(np.array(head_angles(face.pose))).mean() - np.abs(angles).mean())
    out["expression"] = float(face.blendshapes.sum() - shapes.sum())
    return out


# ------------------------------------------------------------------------------------------ keeping


def kept_statistics(
    sample: Sample, root: Path, cache: Path, finder: Callable[[], FaceFinder], embed: Embedding | None
) -> Statistics:
    """The statistics of a clip, from the cache where its content was measured before.

    Raises:
        MediaError: when the clip cannot be read.
        ProvenanceError: when the cache cannot be written.
    """
    key = hashlib.sha256(f"{VERSION} {sample.sha256} {embed is not None}".encode()).hexdigest()[:32]
    file = cache / f"{key}.json"
    if file.is_file():
        return from_json(json.loads(file.read_text(encoding="utf-8")))
    measured = measure_clip(root / sample.path, finder(), embed)
    write_whole(file, json.dumps(to_json(measured)).encode())
    return measured


def to_json(statistics: Statistics) -> dict[str, dict[str, float | str | None]]:
    """Plain values; nan becomes null."""
    return {
        group: {name: None if value != value else value for name, value in values.items()}
        for group, values in statistics.items()
    }


def from_json(value: Mapping[str, Mapping[str, Any]]) -> Statistics:
    """What `to_json` made."""
    return {group: {name: nan if v is None else v for name, v in own.items()} for group, own in value.items()}
