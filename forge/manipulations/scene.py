"""What every manipulation takes and gives: a real clip in, a forged clip out, and where exactly it was forged.

    scene = Scene.of(frames, Fraction(25), sound, finder)            # the real clip, as its real twin shows it
    forgery = manipulation.forge(scene, Cast(donor, speech), rng)    # rng is asked now, never while frames are drawn
    for image, mask in zip(forgery.frames, forgery.masks()): ...

The same scene, cast and state of `rng` give the same bytes: everything is numpy and OpenCV without a clock.

Axes: T frames, S side of the square frame in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from media.catalog import JSON, Label
from media.clip import Waveform
from media.landmarks import FaceObservation, same_place

if TYPE_CHECKING:
    from forge.motion.features import Motion
    from media.faces import FaceFinder, FaceTrack

UInt8Array = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
What = Literal["picture", "sound", "both"]
WHATS: tuple[What, ...] = ("picture", "sound", "both")


@dataclass(frozen=True)
class Segment:
    """A stretch of a clip that is forged: the frames whose times lie in [start, end)."""

    start_seconds: float
    end_seconds: float
    what: What

    def __post_init__(self) -> None:
        """Refuse empty stretches and unknown kinds."""
        if not 0 <= self.start_seconds < self.end_seconds:
            raise ValueError(f"a segment must begin at 0 or later and end after that, got {self}")
        if self.what not in WHATS:
            raise ValueError(f"what must be one of {', '.join(WHATS)}, got {self.what!r}")

    def to_json(self) -> dict[str, JSON]:
        """Plain JSON values."""
        return {"start_seconds": self.start_seconds, "end_seconds": self.end_seconds, "what": self.what}


@dataclass(frozen=True, eq=False)
class Scene:
    """A real clip, cropped to the square that both twins have."""

    frames_TSS3: UInt8Array
    fps: Fraction
    sound: Waveform | None
    faces: tuple[FaceObservation | None, ...]
    """One a frame, in pixels of the square; None where the face is not seen."""

    def __post_init__(self) -> None:
        """Refuse frames that are no squares, and faces that are not one a frame."""
        shape = self.frames_TSS3.shape
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or 0 in shape:
            raise ValueError(f"frames must be (T, S, S, 3), got {shape}")
        if self.frames_TSS3.dtype != np.uint8:
            raise ValueError(f"frames must be uint8, got {self.frames_TSS3.dtype}")
        if self.fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")
        if len(self.faces) != len(self.frames_TSS3):
            raise ValueError(f"faces must be one a frame: got {len(self.faces)} for {len(self.frames_TSS3)} frames")

    @classmethod
    def of(cls, frames: Iterable[UInt8Array], fps: Fraction, sound: Waveform | None, finder: FaceFinder) -> Scene:
        """Follow the clip's face through its frames.

        Args:
            frames: (S, S, 3) uint8 RGB.
            fps: exact frame rate.
            sound: what is heard; None for a silent clip.
            finder: a loaded face finder.

        Raises:
            ValueError: for no frames.
        """
        from media.faces import track_faces
        from media.video import Frame

        stack = np.stack(list(frames))
        timed = (Frame(index, float(index / fps), image) for index, image in enumerate(stack))
        tracks = track_faces(timed, finder=finder, max_faces=2, min_frames=1)
        return cls(stack, fps, sound, _faces_of(tracks, len(stack)))

    @property
    def length(self) -> int:
        """Number of frames T."""
        return int(self.frames_TSS3.shape[0])

    @property
    def size(self) -> int:
        """Side S of the frames in pixels."""
        return int(self.frames_TSS3.shape[1])

    def frame(self, index: int) -> UInt8Array:
        """(S, S, 3) copy of the recording's frame of a number."""
        return np.array(self.frames_TSS3[index], np.uint8)

    def seconds_at(self, frame: int) -> float:
        """When a frame begins to be shown."""
        return float(frame / self.fps)

    def segment(self, start_frame: int, end_frame: int, what: What) -> Segment:
        """The segment of frames [start, end)."""
        return Segment(self.seconds_at(start_frame), self.seconds_at(end_frame), what)

    def segments(self, forged: BoolArray, what: What) -> tuple[Segment, ...]:
        """One segment for each run of (T,) forged frames."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], forged, [False]]).astype(np.int8)))
        return tuple(
            self.segment(int(start), int(end), what) for start, end in zip(edges[::2], edges[1::2], strict=True)
        )


def _faces_of(tracks: list[FaceTrack], length: int) -> tuple[FaceObservation | None, ...]:
    """The most visible face of a clip, frame by frame; a later track takes over where that one was lost."""
    faces: list[FaceObservation | None] = [None] * length
    for track in tracks:
        indices = [int(index) for index in track.frame_indices]
        if any(faces[index] is not None for index in indices):
            continue  # somebody else, at the same time
        rows = zip(track.boxes, track.landmarks, track.blendshapes, track.poses, track.scores.tolist(), strict=True)
        seen = [FaceObservation(*row) for row in rows]
        known = [index for index, face in enumerate(faces) if face is not None]
        if known:
            near = min(known, key=lambda index: min(abs(index - indices[0]), abs(index - indices[-1])))
            other = faces[near]
            assert other is not None
            if not same_place((seen[0] if near < indices[0] else seen[-1]).box, other.box):
                continue
        for index, face in zip(indices, seen, strict=True):
            faces[index] = face
    return tuple(faces)


class Drawn:
    """Frames drawn one by one when they are asked for, or any one of them by its number."""

    def __init__(self, length: int, draw: Callable[[int], UInt8Array]) -> None:
        """Frames `draw(0)` to `draw(length - 1)`; drawing one must not depend on which were drawn before."""
        self._length, self._draw, self._next = length, draw, 0

    def __iter__(self) -> Iterator[UInt8Array]:
        """Itself."""
        return self

    def __next__(self) -> UInt8Array:
        """The next frame."""
        if self._next >= self._length:
            raise StopIteration
        self._next += 1
        return self._draw(self._next - 1)

    def at(self, index: int) -> UInt8Array:
        """The frame of a number."""
        return self._draw(index)


@dataclass(frozen=True, eq=False)
class Forgery:
    """A forged clip, and what is true of it."""

    frames: Iterator[UInt8Array]
    """(S, S, 3) uint8 RGB, as many as the scene has; read once."""
    sound: Waveform | None
    masks: Callable[[], Iterable[BoolArray]] | None
    """(S, S) bool for every frame: the forged pixels; None when nobody can tell. Around them stands the recording's own
    frame or, unless `follows_recording`, a still of it."""
    segments: tuple[Segment, ...]
    """Ascending; empty when nothing was forged."""
    motion: Motion | None = None
    """What the face was told to do, where something told it."""
    facts: Mapping[str, JSON] = field(default_factory=dict)
    """What was drawn by lot, for the catalog."""
    follows_recording: bool = True
    """Whether the head is where the recording's is in every frame. Of two heads in two places no mixture must be shown.
    """

    def __post_init__(self) -> None:
        """Keep the facts from changing; refuse segments out of order."""
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))
        ends = [0.0, *(segment.end_seconds for segment in self.segments)]
        if any(segment.start_seconds < end for segment, end in zip(self.segments, ends, strict=False)):
            raise ValueError(f"segments must ascend and not overlap, got {self.segments}")


@dataclass(frozen=True, eq=False)
class Cast:
    """Who and what else a manipulation may use."""

    donor: Scene | None = None
    """Another person's real clip."""
    speech: Waveform | None = None
    """Other speech, already cut to the clip's length."""


class Manipulation(Protocol):
    """A loaded maker of forgeries."""

    def forge(self, scene: Scene, cast: Cast, rng: np.random.Generator) -> Forgery:
        """Forge a real clip.

        Raises:
            ForgeError: in one line, when the clip or the cast cannot be used.
        """
        ...

    def close(self) -> None:
        """Free what was loaded."""
        ...


@dataclass(frozen=True)
class ManipulationKind:
    """A manipulation by name. `open` loads it; once a process is enough."""

    name: str
    needs_donor: bool
    needs_speech: bool
    open: Callable[[], Manipulation]
    fingerprint: Callable[[], str]
    """SHA-256 (hexadecimal) of what it is made of; another one means other pixels."""
    forges_picture: bool = True
    forges_sound: bool = False
    label: Label = Label.SYNTHETIC
    """A null fake, which changes nothing that anyone could see, stays REAL."""
    needs_sound: bool = False
    """It forges the clip's own sound, so the clip must have some."""

    def __post_init__(self) -> None:
        """Refuse a forgery of nothing."""
        if self.label is Label.SYNTHETIC and not (self.forges_picture or self.forges_sound):
            raise ValueError(f"{self.name}: a manipulation must forge picture or sound, or be labelled real")
