"""Follow faces through a video: one `FaceTrack` per face and shot, from one pass over the frames in bounded memory.

    tracks = track_faces(stream_frames(path))         # media.faces: loads the finder, sorts by visibility
    tracks[0].frame_indices, tracks[0].landmarks      # (N,), (N, 478, 3); frames in which it was hidden are absent

How, in this order for every frame:

1. A shot cut ends all tracks.
2. Each face of the frame before is measured again on the crop around where it was.
3. Every `detect_every` frames, after a cut, and while a face is lost, the whole picture is searched; a face found
   where a lost one was continues its track, any other starts a new one.
4. A face lost for longer than `max_gap_seconds` ends its track.

Nothing is smoothed: every frame is an independent measurement.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import cv2
import numpy as np
from numpy.typing import NDArray

from media.clip import FloatArray, MediaError, UInt8Array
from media.landmarks import BLENDSHAPE_NAMES, LANDMARKS, FaceObservation, same_place

IntArray = NDArray[np.int32]
TRACKS_VERSION = 1


class TimedImage(Protocol):
    """One picture of a video, as `media.video.stream_frames` yields it."""

    @property
    def index(self) -> int:
        """Number of the frame, from 0."""
        ...

    @property
    def pts_seconds(self) -> float:
        """When it is shown."""
        ...

    @property
    def image(self) -> UInt8Array:
        """(H, W, 3) uint8 RGB."""
        ...


class FaceSearch(Protocol):
    """What following needs of a finder: `media.faces.FaceFinder`, or two functions with known answers in a test."""

    def detect(self, image: UInt8Array) -> list[tuple[FloatArray, float]]:
        """Boxes and scores of face candidates in a whole picture."""
        ...

    def measure(self, image: UInt8Array, box: FloatArray, score: float = 1.0) -> FaceObservation | None:
        """The face in the surroundings of a box."""
        ...


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face through one shot. N frames in which it was seen, in order; hidden frames are absent."""

    frame_indices: IntArray
    """(N,) int32, ascending."""
    pts_seconds: NDArray[np.float64]
    """(N,) times of these frames."""
    boxes: FloatArray
    """(N, 4) x0, y0, x1, y1 in pixels around the landmarks."""
    landmarks: FloatArray
    """(N, 478, 3) pixels."""
    blendshapes: FloatArray
    """(N, 51) in [0, 1], `BLENDSHAPE_NAMES`."""
    poses: FloatArray
    """(N, 4, 4) head to camera, see `FaceObservation.pose`."""
    scores: FloatArray
    """(N,) detector score, of the last search before each frame."""

    def __post_init__(self) -> None:
        """Refuse empty tracks, arrays of other shapes and frames out of order."""
        n = len(self.frame_indices)
        wanted = {
            "frame_indices": (n,),
            "pts_seconds": (n,),
            "boxes": (n, 4),
            "landmarks": (n, LANDMARKS, 3),
            "blendshapes": (n, len(BLENDSHAPE_NAMES)),
            "poses": (n, 4, 4),
            "scores": (n,),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")
        if n < 1:
            raise ValueError("a track needs at least one frame, got none")
        if (np.diff(self.frame_indices) <= 0).any():
            raise ValueError("frame_indices must ascend, got frames out of order")

    @property
    def length(self) -> int:
        """Number of frames N in which the face was seen."""
        return len(self.frame_indices)

    @property
    def visibility(self) -> float:
        """Sum of the box areas over the frames, in square pixels x frames."""
        return float(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1).sum())

    @classmethod
    def of(cls, seen: list[tuple[int, float, FaceObservation]]) -> FaceTrack:
        """A track of (frame index, seconds, face) in order of time."""
        faces = [face for _, _, face in seen]
        return cls(
            np.array([index for index, _, _ in seen], np.int32),
            np.array([seconds for _, seconds, _ in seen], np.float64),
            np.stack([face.box for face in faces]).astype(np.float32),
            np.stack([face.landmarks for face in faces]).astype(np.float32),
            np.stack([face.blendshapes for face in faces]).astype(np.float32),
            np.stack([face.pose for face in faces]).astype(np.float32),
            np.array([face.score for face in faces], np.float32),
        )


@dataclass
class CutFinder:
    """Tells shot cuts from motion by a small picture of the luma: feed frames in order."""

    min_change: float = 0.085
    """Mean change of the small luma, in parts of white, below which nothing is a cut."""
    min_ratio: float = 3.0
    """How many times larger than the recent changes it must be."""
    min_histogram: float = 0.16
    """Change of the luma histogram (half the L1 distance, 0 to 1) that counts as another scene."""
    _last: FloatArray | None = field(default=None, repr=False)
    _changes: list[float] = field(default_factory=list, repr=False)

    def is_cut(self, image: UInt8Array) -> bool:
        """Whether a new shot begins with this (H, W, 3) frame; False for the first."""
        small = cv2.resize(image, (48, 32), interpolation=cv2.INTER_AREA)
        luma = (np.asarray(small, np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)) / np.float32(255)
        last, self._last = self._last, luma
        if last is None:
            return False
        change = float(np.abs(luma - last).mean())
        usual = float(np.mean(self._changes)) if self._changes else 0.0
        other = histogram_change(last, luma)
        # a cut between similar shots hardly changes the histogram but changes nearly every place at once
        cut = change > self.min_change and change > self.min_ratio * usual
        cut = cut and (other > self.min_histogram or change > 2 * self.min_change)
        self._changes = [] if cut else [*self._changes[-11:], change]
        return cut


def histogram_change(a: FloatArray, b: FloatArray) -> float:
    """Half the L1 distance of two 16-bin histograms of values in [0, 1]: 0 the same, 1 nothing shared."""
    first = np.histogram(a, 16, (0.0, 1.0))[0] / a.size
    second = np.histogram(b, 16, (0.0, 1.0))[0] / b.size
    return float(np.abs(first - second).sum() / 2)


@dataclass
class _Follower:
    """A face being followed."""

    seen: list[tuple[int, float, FaceObservation]]
    window: FloatArray
    """(4,) box whose surroundings are measured. It stays where it is while the face stays in its middle: a crop that
    jitters with the landmarks would make the landmarks jitter."""
    score: float
    """Detector score of the last search that saw it."""
    lost: bool = False
    part: bool = False
    """Whether an earlier part was handed out already; then the first of `seen` belongs to that."""

    @property
    def rest(self) -> list[tuple[int, float, FaceObservation]]:
        return self.seen[1:] if self.part else self.seen

    def is_worth(self, min_frames: int) -> bool:
        return bool(self.rest) if self.part else len(self.seen) >= min_frames

    @property
    def face(self) -> FaceObservation:
        return self.seen[-1][2]

    def add(self, frame: TimedImage, face: FaceObservation) -> None:
        self.seen.append((frame.index, frame.pts_seconds, face))
        self.lost = False
        if window_is_stale(self.window, face.box):
            self.window = face.box


def window_is_stale(window: FloatArray, box: FloatArray, shift: float = 0.12, growth: float = 1.15) -> bool:
    """Whether a face has moved by a part of its window's size, or changed its size by a factor."""
    size = float(np.max(window[2:] - window[:2]))
    moved = float(np.abs((window[:2] + window[2:]) - (box[:2] + box[2:])).max()) / 2
    ratio = float(np.max(box[2:] - box[:2])) / max(size, 1e-6)
    return moved > shift * size or ratio > growth or ratio < 1 / growth


def likeness(a: FaceObservation, b: FaceObservation) -> float:
    """How well two observations can be one face that moved: 1 at the same place, 0 when too far or of another size.

    The mean distance of the landmarks in parts of the face's size; it falls to 0 at one whole size.
    """
    size_a, size_b = (float(np.sqrt(max(face.area, 1e-6))) for face in (a, b))
    if max(size_a, size_b) > 1.8 * min(size_a, size_b):
        return 0.0
    apart = float(np.linalg.norm(a.landmarks[:, :2] - b.landmarks[:, :2], axis=1).mean())
    return max(0.0, 1.0 - apart / max(size_a, size_b))


def match(followers: list[FaceObservation], found: list[FaceObservation]) -> list[tuple[int, int]]:
    """Pairs (follower, found) of the same face, greedily by likeness; every face in at most one pair."""
    scored = sorted(
        ((likeness(a, b), i, j) for i, a in enumerate(followers) for j, b in enumerate(found)), key=lambda s: -s[0]
    )
    pairs: list[tuple[int, int]] = []
    for value, i, j in scored:
        if value > 0 and all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def follow_faces(
    frames: Iterable[TimedImage],
    finder: FaceSearch,
    *,
    max_faces: int = 4,
    detect_every: int = 12,
    max_gap_seconds: float = 1.0,
    min_frames: int = 3,
    max_frames: int | None = None,
) -> Iterator[FaceTrack]:
    """Tracks of all faces, each as soon as it has ended; see the module's text for the rules.

    Args:
        frames: pictures in order of time, read once.
        finder: finds and measures faces.
        max_faces: followed at a time; of those that come at once, the largest.
        detect_every: frames between two searches of the whole picture.
        max_gap_seconds: how long a face may be hidden before its track ends.
        min_frames: shorter tracks are dropped (unless the whole video is shorter).
        max_frames: a longer track ends and goes on as another one, which bounds the memory (6 KB a face and frame).

    Raises:
        ValueError: for counts below 1 or a negative gap.
    """
    longest = 2**62 if max_frames is None else max_frames
    if min(max_faces, detect_every, min_frames, longest) < 1:
        raise ValueError(f"counts must be at least 1, got {max_faces=} {detect_every=} {min_frames=} {max_frames=}")
    if max_gap_seconds < 0:
        raise ValueError(f"max_gap_seconds must not be negative, got {max_gap_seconds}")
    cuts = CutFinder()
    live: list[_Follower] = []
    next_search, count = 0, 0
    for frame in frames:
        ended: list[_Follower] = []
        if cuts.is_cut(frame.image):
            ended, live, next_search = live, [], count
        _step(frame, finder, live)
        hungry = any(follower.lost for follower in live) and count >= next_search - detect_every + RETRY_AFTER
        if count >= next_search or hungry:
            _search(frame, finder, live, max_faces)
            next_search = count + detect_every
        count += 1
        for follower in live:
            if follower.lost and frame.pts_seconds - follower.seen[-1][1] > max_gap_seconds:
                ended.append(follower)
            elif len(follower.rest) >= longest:
                yield FaceTrack.of(follower.rest)
                # the rest must not be dropped for being short: it is part of a long track
                follower.seen, follower.part = follower.seen[-1:], True
        live = [follower for follower in live if follower not in ended]
        yield from (FaceTrack.of(f.rest) for f in ended if f.is_worth(min_frames))
    yield from (FaceTrack.of(f.rest) for f in live if f.is_worth(min(min_frames, count)))


RETRY_AFTER = 3
"""Frames between two searches while a face is lost."""


def _step(frame: TimedImage, finder: FaceSearch, live: list[_Follower]) -> None:
    """Measure every followed face again; of two followers that have run onto one face the older keeps it."""
    taken: list[FaceObservation] = []
    for follower in live:
        if follower.lost:
            continue
        face = finder.measure(frame.image, follower.window, follower.score)
        if face is None or likeness(follower.face, face) <= 0 or any(same_place(face.box, t.box) for t in taken):
            follower.lost = True
            continue
        taken.append(face)
        follower.add(frame, face)


def _search(frame: TimedImage, finder: FaceSearch, live: list[_Follower], max_faces: int) -> None:
    """Search the whole picture: confirm followed faces, take up lost ones again, start new tracks."""
    seen = [follower for follower in live if not follower.lost]
    found: list[FaceObservation] = []
    for box, score in finder.detect(frame.image):
        known = next((follower for follower in seen if same_place(follower.face.box, box)), None)
        if known is not None:
            known.score = min(1.0, score)
            continue
        face = finder.measure(frame.image, box, score)
        others = [follower.face for follower in seen] + found
        if face is not None and not any(same_place(face.box, other.box) for other in others):
            found.append(face)
    lost = [follower for follower in live if follower.lost]
    pairs = match([follower.face for follower in lost], found)
    for i, j in pairs:
        lost[i].window, lost[i].score = found[j].box, found[j].score
        lost[i].add(frame, found[j])
    fresh = [face for j, face in enumerate(found) if j not in {j for _, j in pairs}]
    for face in sorted(fresh, key=lambda f: -f.area)[: max(0, max_faces - len(live))]:
        live.append(_Follower([(frame.index, frame.pts_seconds, face)], face.box, face.score))


def save_tracks(tracks: list[FaceTrack], path: Path) -> None:
    """Write tracks to a compressed .npz file, whole or not at all.

    Raises:
        MediaError: when the file cannot be written.
    """
    arrays: dict[str, NDArray[np.generic]] = {"version": np.array(TRACKS_VERSION), "count": np.array(len(tracks))}
    for i, track in enumerate(tracks):
        arrays |= {f"{i}.{f.name}": getattr(track, f.name) for f in fields(track)}
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]
        part.replace(path)
    except OSError as error:
        raise MediaError(f"{path}: cannot write the face tracks ({error.strerror}); check folder and space") from error
    finally:
        part.unlink(missing_ok=True)


def load_tracks(path: Path) -> list[FaceTrack]:
    """Read tracks that `save_tracks` wrote.

    Raises:
        MediaError: when the file is missing, damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            version = int(file["version"])
            if version != TRACKS_VERSION:
                raise MediaError(f"{path}: face tracks of version {version}, this reads {TRACKS_VERSION}; track again")
            names = [f.name for f in fields(FaceTrack)]
            return [FaceTrack(*(file[f"{i}.{name}"] for name in names)) for i in range(int(file["count"]))]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise MediaError(f"{path}: not a readable file of face tracks ({error}); track the video again") from error
