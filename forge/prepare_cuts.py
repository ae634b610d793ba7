"""Where a video of a talking person can be cut into training clips, and why not elsewhere. Pure functions of a track.

    for cut in cuts_of(track, others, width, height, Sieve()):
        cut.reason          # "" when it can be used, else one line

A *run* is a stretch of frames without a gap; tracks end at shot cuts already. Runs are divided evenly into clips of at
most `longest` seconds, and each clip is judged by the first rule it breaks, in this order:
    1. long enough                    4. large enough in the picture
    2. one square holds the head      5. not turned too far away
    3. nobody else in that square     6. (with pixels, in `prepare`) not blurred
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.framing import Square, square_around
from media.faces import FaceTrack, head_angles, outer_eye_distance

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Sieve:
    """What a training clip must be like."""

    size: int = 256
    """Side of the prepared frames in pixels."""
    fps: Fraction = Fraction(25)
    shortest_seconds: float = 2.0
    longest_seconds: float = 8.0
    crop_factor: float = 2.0
    """Side of the square over the longer side of the face box."""
    tightest_factor: float = 1.35
    """Refuse material with less room around the face."""
    least_eye_pixels: float = 24.0
    """Distance of the outer eye corners in the video's own pixels."""
    most_yaw_degrees: float = 60.0
    """Largest yaw in 95 of 100 frames."""
    least_sharpness: float = 12.0
    """Variance of the Laplacian of the face at 128 pixels, grey levels squared; a blurred face has 5."""
    least_seen: float = 0.97
    """Share of a clip's frames in which the face was measured; the rest is filled in between."""
    overlap: float = 0.1
    """Share of another face's box that may lie in the square."""

    def __post_init__(self) -> None:
        """Refuse what nothing can pass."""
        if self.size not in (256, 512) or self.fps <= 0:
            raise ValueError(f"size must be 256 or 512 and fps positive, got {self.size}, {self.fps}")
        if not 0.2 <= self.shortest_seconds <= self.longest_seconds:
            raise ValueError(f"need 0.2 <= shortest <= longest, got {self.shortest_seconds}, {self.longest_seconds}")
        if not 1 <= self.tightest_factor <= self.crop_factor:
            raise ValueError(f"need 1 <= tightest <= factor, got {self.tightest_factor}, {self.crop_factor}")

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values; fps as "25/1"."""
        return asdict(self) | {"fps": f"{self.fps.numerator}/{self.fps.denominator}"}


@dataclass(frozen=True, eq=False)
class Cut:
    """A stretch of frames that might become a clip."""

    first: int
    """Frame number in the video at the sieve's rate."""
    length: int
    rows: NDArray[np.int64]
    """Rows of the track that lie in it."""
    square: Square | None = None
    reason: str = ""


def cuts_of(track: FaceTrack, others: Sequence[FaceTrack], width: int, height: int, sieve: Sieve) -> Iterator[Cut]:
    """The clips of one track in order of time, judged without looking at pixels."""
    longest = int(sieve.longest_seconds * sieve.fps)
    most_missing = max(1, round((1 - sieve.least_seen) * longest))
    for start, end in runs(track.frame_indices, most_missing):
        frames = int(track.frame_indices[end - 1] - track.frame_indices[start]) + 1
        pieces = max(1, -(-frames // longest))
        edges = track.frame_indices[start] + np.arange(pieces + 1) * frames // pieces
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            rows = start + np.flatnonzero((track.frame_indices[start:end] >= a) & (track.frame_indices[start:end] < b))
            yield judged(Cut(a, b - a, rows), track, others, width, height, sieve)


def runs(frames: NDArray[np.integer], most_missing: int) -> Iterator[tuple[int, int]]:
    """Start and end rows of stretches in which at most so many frames in a row are missing."""
    breaks = np.flatnonzero(np.diff(frames) > most_missing + 1) + 1
    edges = [0, *breaks.tolist(), len(frames)]
    yield from itertools.pairwise(edges)


def judged(cut: Cut, track: FaceTrack, others: Sequence[FaceTrack], width: int, height: int, sieve: Sieve) -> Cut:
    """The cut with its square, or with the reason why it cannot be used."""

    def refused(reason: str) -> Cut:
        return Cut(cut.first, cut.length, cut.rows, None, reason)

    if cut.length < sieve.shortest_seconds * sieve.fps:
        return refused(f"too short: {cut.length} frames, {sieve.shortest_seconds:g} s are needed")
    if len(cut.rows) < sieve.least_seen * cut.length:
        return refused(f"the face was lost: seen in {len(cut.rows)} of {cut.length} frames")
    boxes = track.boxes[cut.rows]
    square = square_for(boxes, width, height, sieve)
    if square is None:
        return refused("the head leaves any square crop of the picture")
    for other in others:
        if intrudes(other, cut, square, sieve.overlap):
            return refused("another face lies in the crop")
    eyes = float(np.median([outer_eye_distance(points) for points in track.landmarks[cut.rows]]))
    if eyes < sieve.least_eye_pixels:
        return refused(f"the face is too small: {eyes:.0f} px between the eyes, {sieve.least_eye_pixels:g} are needed")
    yaw = float(np.quantile([abs(head_angles(pose)[0]) for pose in track.poses[cut.rows]], 0.95))
    if yaw > sieve.most_yaw_degrees:
        return refused(f"turned away: yaw {yaw:.0f} degrees, {sieve.most_yaw_degrees:g} at most")
    return Cut(cut.first, cut.length, cut.rows, square)


def square_for(boxes: FloatArray, width: int, height: int, sieve: Sieve) -> Square | None:
    """One square that holds the head in all frames: the crop never moves, so that motion stays the person's own."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    usual = float(np.median(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])))
    middle = (low + high) / 2
    reach = max(float((high - low).max()) * 1.1, sieve.crop_factor * usual)
    if reach > 1.6 * sieve.crop_factor * usual:
        return None  # it walks about: a square around all of it would show it small
    half = reach / 2
    box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    square = square_around(box, width=width, height=height, factor=1.0)
    if square.side < sieve.tightest_factor * usual:
        return None
    return square if all(square.contains(b, slack=0.05) for b in boxes) else None


def intrudes(other: FaceTrack, cut: Cut, square: Square, most: float) -> bool:
    """Whether another track's face lies in the square during the cut."""
    during = (other.frame_indices >= cut.first) & (other.frame_indices < cut.first + cut.length)
    for x0, y0, x1, y1 in other.boxes[during].tolist():
        across = min(x1, square.left + square.side) - max(x0, square.left)
        down = min(y1, square.top + square.side) - max(y0, square.top)
        if across > 0 and down > 0 and across * down > most * (x1 - x0) * (y1 - y0):
            return True
    return False


def filled(frames: NDArray[np.integer], values: FloatArray, first: int, length: int) -> FloatArray:
    """(length, ...) measurements for every frame of a cut; frames without one are interpolated between neighbours."""
    at = np.arange(first, first + length)
    flat = values.reshape(len(values), -1)
    out = np.stack([np.interp(at, frames, column) for column in flat.T], axis=1)
    return out.reshape(length, *values.shape[1:]).astype(np.float32)
