"""From a file to what a detector looks at: aligned crops of each face and measurements of each second.

    look = look_at(path)
    look.status, look.faces[0].crops, look.faces[0].windows

Training and scoring go through this one door, so that a network never meets crops in use that were made otherwise than
those it learned from. One sequential pass, bounded memory:

1. The video is read at its own rate when that lies between 20 and 34 frames a second (a whole fraction of faster
   rates, 25 a second of variable or slower ones) and cut into seconds. Dropping single frames would make motion uneven.
2. In a *dense* second the face is measured three times and the second's frames are kept until its windows are computed.
   Short videos are all dense; of long ones a fixed number of seconds, evenly spread, is.
3. In some dense seconds, evenly spread too, the face is tracked in every frame, at one size whatever the video's: that
   costs 0.3 core-seconds each. What only these tell is nan in the windows of the others.
4. Any other second is looked at once; when there are more seconds than looks, the looks are evenly spread.
5. A picture is a video of one frame.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detect.corpora.on_disk import pictures_in
from detect.detector import DetectError, Status
from detect.models.expression import EXPRESSIONS, TRACK_SIDE, expression_features
from detect.models.temporal import CROP_MARGIN, CROP_SIDE, FEATURES, MIN_FRAMES, window_features
from detect.report import make_folder, write_whole
from detect.sampling import spread_indices
from detect.telling import Say, silent
from media.catalog import Catalog, Sample
from media.clip import FloatArray, MediaError, UInt8Array
from media.faces import FaceFinder
from media.landmarks import (
    BLENDSHAPE_NAMES,
    LANDMARKS,
    FaceObservation,
    align_matrix,
    box_overlap,
    outer_eye_distance,
    warp,
)
from media.places import DIED, Here, Place, Room
from media.tracking import FaceTrack, follow_faces
from media.video import Frame, probe, read_image, stream_frames

RATE = Fraction(25)
"""Frames a second when a file's own rate cannot be used."""
SIDE = 256
"""Pixels of a stored crop."""
MARGIN = 0.45
"""Room around the face in a stored crop, see `media.landmarks.align_matrix`: hair, neck and some background."""
MIN_EYE_PIXELS = 22.0
"""Outer-eye distance under which a face is too small to judge."""
PICTURES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"))
CACHE_VERSION = 6


@dataclass(frozen=True)
class LookPlan:
    """How closely to look."""

    dense_seconds: int = 16
    """Seconds whose motion is measured."""
    tracked_seconds: int = 0
    """Of these, seconds in which the face is tracked in every frame, for the measurements of `models.expression`.
    None by default: they cost more than all else and help with one maker only (see `models.fusing.GROUPS`)."""
    max_looks: int = 480
    """Most frames in which faces are measured."""
    looks_in_dense: int = 3
    max_side: int = 1280
    max_faces: int = 4

    def __post_init__(self) -> None:
        """Refuse counts below one, and fewer tracked seconds than none."""
        for name in ("dense_seconds", "max_looks", "looks_in_dense", "max_side", "max_faces"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.tracked_seconds < 0:
            raise ValueError(f"tracked_seconds must be at least 0, got {self.tracked_seconds}")

    def schedule(self, seconds: int) -> tuple[frozenset[int], frozenset[int]]:
        """Which seconds are dense and which are looked at once, for a video of so many (started) seconds."""
        dense = frozenset(spread_indices(seconds, self.dense_seconds).tolist()) if seconds else frozenset()
        rest = max(1, self.max_looks - self.looks_in_dense * len(dense))
        once = frozenset(spread_indices(seconds, rest).tolist()) - dense if seconds else frozenset()
        return dense, once

    def tracked(self, seconds: int) -> frozenset[int]:
        """The dense seconds in which every frame is tracked."""
        if not self.tracked_seconds:
            return frozenset()
        dense = sorted(self.schedule(seconds)[0])
        return frozenset(dense[i] for i in spread_indices(len(dense), self.tracked_seconds).tolist())


@dataclass(frozen=True, eq=False)
class FaceLook:
    """What was seen of one face. N looks, W windows (measured seconds)."""

    crops: UInt8Array
    """(N, SIDE, SIDE, 3) aligned crops."""
    landmarks: FloatArray
    """(N, 478, 2) in pixels of the crops."""
    seconds: NDArray[np.float64]
    """(N,) time of each look."""
    boxes: FloatArray
    """(N, 4) in pixels of the file."""
    windows: FloatArray
    """(W, F) `detect.models.temporal.FEATURES` of each measured second, nan for what was not measured in it."""
    window_seconds: NDArray[np.float64]
    """(W,) middle of each."""
    eye_pixels: float
    """Median outer-eye distance."""


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen of one file: faces, the most visible first, or a reason why there is none."""

    status: Status
    reason: str
    faces: tuple[FaceLook, ...]
    seconds_of_video: float


@dataclass
class _Recorder:
    """A finder that remembers what it found in each frame while `follow_faces` uses it."""

    finder: FaceFinder
    found: dict[int, list[FaceObservation]] = field(default_factory=dict)
    now: int = -1

    def detect(self, image: UInt8Array) -> list[tuple[FloatArray, float]]:
        """Pass on."""
        return self.finder.detect(image)

    def measure(self, image: UInt8Array, box: FloatArray, score: float = 1.0) -> FaceObservation | None:
        """Pass on and remember."""
        face = self.finder.measure(image, box, score)
        if face is not None:
            self.found.setdefault(self.now, []).append(face)
        return face


@dataclass
class _Seen:
    """Crops and windows by (frame, box), until tracks say whose they are."""

    crops: dict[tuple[int, bytes], tuple[UInt8Array, FloatArray]] = field(default_factory=dict)
    windows: dict[tuple[int, bytes], FloatArray] = field(default_factory=dict)


def _key(index: int, face: FaceObservation | FloatArray) -> tuple[int, bytes]:
    box = face if isinstance(face, np.ndarray) else face.box
    return index, np.asarray(box, np.float32).tobytes()


def _ticks(start: int, length: int, count: int) -> list[int]:
    return [start + int(i) for i in spread_indices(length, count)]


def _window_of(
    face: FaceObservation, others: Iterable[FaceObservation], frames: list[UInt8Array], finder: FaceFinder | None
) -> FloatArray:
    """The measurements of a second; without a finder those of expressions are nan."""
    same = [o for o in others if box_overlap(o.box, face.box) > 0.3]
    points = np.median(np.stack([o.landmarks[:, :2] for o in [face, *same]]), axis=0).astype(np.float32)
    matrix = align_matrix(points, CROP_SIDE, CROP_MARGIN)
    motion = window_features(np.stack([warp(image, matrix, CROP_SIDE) for image in frames]))
    if finder is None or outer_eye_distance(points) < MIN_EYE_PIXELS:
        return np.concatenate([motion, np.full(len(EXPRESSIONS), np.nan, np.float32)])
    return np.concatenate([motion, expression_features(*tracked_face(frames, face, finder))])


def tracked_face(frames: list[UInt8Array], face: FaceObservation, finder: FaceFinder) -> tuple[FloatArray, FloatArray]:
    """A face in every frame of a second, measured through one fixed window at one size.

    A window that followed the face would make its landmarks jitter, and a large picture would steady them.

    Args:
        frames: consecutive, (H, W, 3).
        face: as it was seen in one of them.
        finder: measures it.

    Returns:
        (T, 478, 2) landmarks in pixels of the reduced frames and (T, 51) blendshapes; nan where it was not found.
    """
    matrix = align_matrix(face.landmarks, 1000, 0.0)
    brows_to_chin = 1000.0 / float(np.sqrt(abs(np.linalg.det(matrix[:, :2].astype(np.float64)))))
    scale = min(1.0, TRACK_SIDE / brows_to_chin)
    height, width = frames[0].shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    box = (face.box * np.float32(scale)).astype(np.float32)
    landmarks = np.full((len(frames), LANDMARKS, 2), np.nan, np.float32)
    blendshapes = np.full((len(frames), len(BLENDSHAPE_NAMES)), np.nan, np.float32)
    for n, image in enumerate(frames):
        small = image if scale == 1.0 else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        found = finder.measure(small, box)
        if found is not None:
            landmarks[n], blendshapes[n] = found.landmarks[:, :2], found.blendshapes
    return landmarks, blendshapes


def _keep_crops(frame: Frame, faces: list[FaceObservation], seen: _Seen) -> None:
    for face in faces:
        matrix = align_matrix(face.landmarks, SIDE, MARGIN)
        points = face.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        seen.crops[_key(frame.index, face)] = (warp(frame.image, matrix, SIDE), points.astype(np.float32))


def _wanted(plan: LookPlan, seconds: int, per_second: int) -> Callable[[int], bool]:
    """Which frames `_looked_at` looks at: all of a dense second, the first or the middle one of others."""
    dense, once = plan.schedule(seconds)

    def wanted(index: int) -> bool:
        second, within = divmod(index, per_second)
        return second in dense or (second in once and within in (0, per_second // 2))

    return wanted


def _looked_at(
    frames: Iterator[Frame],
    per_second: int,
    plan: LookPlan,
    seconds: int,
    recorder: _Recorder,
    seen: _Seen,
    clock: dict[str, float],
) -> Iterator[Frame]:
    """Yield the frames to search; compute a second's windows as soon as its last look is done."""
    dense, once = plan.schedule(seconds)
    tracked, wanted = plan.tracked(seconds), _wanted(plan, seconds, per_second)
    held: list[Frame] = []
    second = 0

    def finish(block: list[Frame]) -> Iterator[Frame]:
        looks = plan.looks_in_dense if second in dense else 1 if second in once else 0
        ticks = [min(len(block) - 1, t) for t in _ticks(0, per_second, looks)] if looks and block else []
        for tick in sorted(set(ticks)):
            recorder.now = block[tick].index
            yield block[tick]
            _keep_crops(block[tick], recorder.found.get(block[tick].index, []), seen)
        if second in dense and len(block) >= MIN_FRAMES and ticks:
            middle = block[ticks[len(ticks) // 2]].index
            others = [o for t in set(ticks) for o in recorder.found.get(block[t].index, [])]
            finder = recorder.finder if second in tracked else None
            for face in recorder.found.get(middle, []):
                seen.windows[_key(middle, face)] = _window_of(face, others, [f.image for f in block], finder)

    for frame in frames:
        clock["last"] = frame.pts_seconds
        if frame.index // per_second != second:
            yield from finish(held)
            held, second = [], frame.index // per_second
        # frames of a second that is not dense are only kept until its one look
        if wanted(frame.index):
            held = [*held, frame] if second in dense else [frame]
    yield from finish(held)


def _face_look(track: FaceTrack, seen: _Seen) -> FaceLook | None:
    keys = [_key(int(i), box) for i, box in zip(track.frame_indices, track.boxes, strict=True)]
    kept = [n for n, key in enumerate(keys) if key in seen.crops]
    if not kept:
        return None
    crops = [seen.crops[keys[n]] for n in kept]
    windows = [(float(track.pts_seconds[n]), seen.windows[key]) for n, key in enumerate(keys) if key in seen.windows]
    return FaceLook(
        crops=np.stack([c for c, _ in crops]),
        landmarks=np.stack([p for _, p in crops]),
        seconds=track.pts_seconds[kept],
        boxes=track.boxes[kept],
        windows=np.stack([w for _, w in windows]) if windows else np.zeros((0, len(FEATURES)), np.float32),
        window_seconds=np.array([t for t, _ in windows], np.float64),
        eye_pixels=float(np.median([outer_eye_distance(p) for p in track.landmarks])),
    )


def _joined(looks: list[FaceLook]) -> list[FaceLook]:
    """Tracks that shot cuts or jumps between looks tore apart: one after the other at the same place is one face."""
    joined: list[FaceLook] = []
    for look in sorted(looks, key=lambda one: float(one.seconds[0])):
        for n, before in enumerate(joined):
            gap = float(look.seconds[0] - before.seconds[-1])
            if 0 < gap < 3.0 and box_overlap(before.boxes[-1], look.boxes[0]) > 0.35:
                names = ("crops", "landmarks", "seconds", "boxes", "windows", "window_seconds")
                parts = {k: np.concatenate([getattr(before, k), getattr(look, k)]) for k in names}
                share = len(look.seconds) / (len(look.seconds) + len(before.seconds))
                eyes = before.eye_pixels * (1 - share) + look.eye_pixels * share
                joined[n] = FaceLook(**parts, eye_pixels=eyes)
                break
        else:
            joined.append(look)
    return sorted(joined, key=lambda one: -len(one.seconds) * one.eye_pixels**2)


def viewing_rate(fps: Fraction, variable: bool) -> Fraction:
    """Frames a second at which a video is looked at: its own rate or a whole fraction of it, where that is 20 to 34."""
    if variable or fps < 20:
        return RATE
    return fps if fps <= 34 else fps / max(2, round(fps / 27))


def look_at(path: Path, plan: LookPlan | None = None, finder: FaceFinder | None = None) -> Look:
    """Everything a detector wants to know about one video or picture. Unreadable files are an answer, not an error.

    Args:
        path: video or picture.
        plan: how closely to look.
        finder: a loaded face finder to use again; by default one is loaded for this call.

    Raises:
        MediaError: only when the face networks themselves cannot be loaded.
    """
    if finder is None:
        with FaceFinder() as own:
            return look_at(path, plan, own)
    plan = plan or LookPlan()
    per_second = int(RATE)
    seen, recorder, clock, reduced = _Seen(), _Recorder(finder), {"last": 0.0}, 1.0
    frames: Iterator[Frame]
    try:
        if path.is_dir():
            # a film that was stored as pictures, at a rate that nobody tells: each is looked at, motion is not measured
            stored = pictures_in(path)
            frames = (Frame(n, float(n), read_image(one)) for n, one in enumerate(stored))
            per_second, seconds, duration = 1, max(1, len(stored)), float(len(stored))
        elif path.suffix.lower() in PICTURES:
            frames, seconds, duration = iter([Frame(0, 0.0, read_image(path))]), 1, 0.0
        else:
            facts = probe(path)
            duration, rate = facts.duration_seconds, viewing_rate(facts.fps, facts.variable_frame_rate)
            per_second, reduced = round(rate), max(1.0, max(facts.width, facts.height) / plan.max_side)
            seconds = max(1, int(np.ceil(duration * float(rate) / per_second - 1e-6)))
            # without a duration, the time of the last frame has to tell it
            only = _wanted(plan, seconds, per_second) if duration else None
            frames = stream_frames(path, fps=rate, max_side=plan.max_side, only=only)
        chosen = _looked_at(frames, per_second, plan, seconds, recorder, seen, clock)
        tracks = follow_faces(
            chosen, recorder, max_faces=plan.max_faces, detect_every=6, max_gap_seconds=3.0, min_frames=1
        )
    except MediaError as error:
        return Look(Status.UNREADABLE, str(error), (), 0.0)
    duration = duration or clock["last"]
    faces = _joined([f for f in (_face_look(t, seen) for t in tracks) if f is not None])
    return _judged([replace(face, boxes=face.boxes * np.float32(reduced)) for face in faces], duration)


def _judged(faces: list[FaceLook], duration: float) -> Look:
    if not faces:
        return Look(Status.NO_FACE, "no face was found in the frames that were looked at", (), duration)
    large = [face for face in faces if face.eye_pixels >= MIN_EYE_PIXELS]
    if not large:
        best = max(face.eye_pixels for face in faces)
        reason = (
            f"the largest face has {best:.0f} pixels between the eyes' outer corners, {MIN_EYE_PIXELS:.0f} are needed"
        )
        return Look(Status.FACE_TOO_SMALL, reason, tuple(faces), duration)
    return Look(Status.OK, "", tuple(large), duration)


def save_look(look: Look, path: Path) -> None:
    """Write a look as .npz, whole or not at all."""
    write_whole(packed_look(look), path)


def packed_look(look: Look) -> bytes:
    """A look as the content of an .npz (crops as they are: reading them must be fast)."""
    arrays: dict[str, NDArray[np.generic]] = {
        "version": np.array(CACHE_VERSION),
        "status": np.array(str(look.status)),
        "reason": np.array(look.reason),
        "seconds_of_video": np.array(look.seconds_of_video),
        "faces": np.array(len(look.faces)),
    }
    for n, face in enumerate(look.faces):
        arrays |= {f"{n}.{name}": np.asarray(getattr(face, name)) for name in FaceLook.__dataclass_fields__}
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    return packed.getvalue()


def load_look(path: Path) -> Look:
    """Read what `save_look` wrote.

    Raises:
        DetectError: when the file is missing, damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["version"]) != CACHE_VERSION:
                raise DetectError(f"{path}: prepared by another version; remove it and prepare again")
            faces = []
            for n in range(int(file["faces"])):
                values = {name: file[f"{n}.{name}"] for name in FaceLook.__dataclass_fields__}
                values["eye_pixels"] = float(values["eye_pixels"])
                faces.append(FaceLook(**values))
            status, reason = Status(str(file["status"])), str(file["reason"])
            return Look(status, reason, tuple(faces), float(file["seconds_of_video"]))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DetectError(f"{path}: not readable as prepared crops ({error}); remove it and prepare again") from error


def prepare(
    catalog: Catalog,
    root: Path,
    cache: Path,
    plan: LookPlan | None = None,
    *,
    place: Place | None = None,
    say: Say = silent,
) -> Iterator[tuple[Sample, Mapping[str, object]]]:
    """Look at every sample once; crops are kept by content, so equal files and later runs cost nothing.

    Args:
        catalog: samples.
        root: folder their paths are relative to.
        cache: folder for one .npz per distinct content and `rows.jsonl`, one status row per sample.
        plan: how closely to look.
        place: where the files are looked at; None is this process.
        say: told one line at a time how it goes.

    Yields:
        Each sample with its row: id, status, reason, faces, looks, windows, file.

    Raises:
        DetectError: when the cache cannot be written.
    """
    plan = plan or LookPlan()
    make_folder(cache)
    if place is not None and place != Here():
        _look_elsewhere(catalog, root, cache, plan, place, say)
    rows: list[Mapping[str, object]] = []
    with FaceFinder(max_faces=plan.max_faces) as finder:
        for sample in catalog:
            file = cache / f"{cache_key(sample, plan)}.npz"
            look = load_look(file) if file.is_file() else look_at(root / sample.path, plan, finder)
            if not file.is_file():
                save_look(look, file)
            row: dict[str, object] = {
                "id": sample.id,
                "status": str(look.status),
                "reason": look.reason,
                "faces": len(look.faces),
                "looks": sum(len(f.seconds) for f in look.faces),
                "windows": sum(len(f.windows) for f in look.faces),
                "file": file.name,
            }
            rows.append(row)
            yield sample, row
    _write_rows(rows, cache / "rows.jsonl")


@dataclass(frozen=True)
class StartLooking:
    """Makes, in a worker, the function that looks at one file."""

    plan: LookPlan

    def __call__(self, room: Room) -> Callable[[tuple[str, Path]], bytes]:
        """Load the face networks."""
        finder = FaceFinder(max_faces=self.plan.max_faces)

        def work(task: tuple[str, Path]) -> bytes:
            here = room.bring(task[1])
            look = look_at(here, self.plan, finder)
            return packed_look(replace(look, reason=look.reason.replace(str(here), str(task[1]))))

        return work


def _look_elsewhere(catalog: Catalog, root: Path, cache: Path, plan: LookPlan, place: Place, say: Say) -> None:
    """Look at what is not in the cache yet, by several workers.

    Raises:
        DetectError: when a file cannot be looked at for another reason than what is in it.
    """
    wanted = {cache_key(sample, plan): (root / sample.path).absolute() for sample in catalog}
    # a film that is a folder of pictures is not carried to other machines: this process looks at it
    missing = [(k, path) for k, path in wanted.items() if not (cache / f"{k}.npz").is_file() and not path.is_dir()]
    for number, outcome in enumerate(place.run(missing, StartLooking(plan)), start=1):
        key, path = outcome.task
        if outcome.cause == DIED:
            reason = "every process that read it died: damaged or hostile file, or no memory left"
            save_look(Look(Status.UNREADABLE, reason, (), 0.0), cache / f"{key}.npz")
        elif outcome.result is None:
            raise DetectError(f"{path}: cannot be prepared ({outcome.error})")
        else:
            write_whole(outcome.result, cache / f"{key}.npz")
        if number % 50 == 0:
            say(f"prepared {number} of {len(missing)}")


def _write_rows(rows: list[Mapping[str, object]], path: Path) -> None:
    """Add rows to those of earlier runs; a sample that was prepared again has its newest row only."""
    known: dict[str, Mapping[str, object]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            known[str(row["id"])] = row
    known |= {str(row["id"]): row for row in rows}
    write_whole("".join(json.dumps(known[k], sort_keys=True) + "\n" for k in sorted(known)), path)


def cache_key(sample: Sample, plan: LookPlan) -> str:
    """Name of the prepared crops of a content under a plan."""
    text = json.dumps([CACHE_VERSION, sample.sha256, repr(plan), SIDE, MARGIN, list(FEATURES)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
