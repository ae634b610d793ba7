"""SyncNet B (self): do these lips say this sound? A judge of our own; it trained nothing and never saw our clips.

    python -m benchmarks.sync_judge --clips CLIPS.csv --out DIR [--tracks DIR]      # train, choose, calibrate

    judge = open_sync_judge(read_lessons(clips, tracks), out)
    curve = judge.shift_curve(lips, bands)                  # (31,) mean distance at shifts -15 to 15
    score = sync_score(curve)                               # distance S_D, confidence S_C, offset

As SyncNet it compares five frames of lips with 0.2 s of sound by the distance of two unit embeddings; S_D is the least
mean distance over shifts, S_C the median less the least. It sees geometry (40 lip points, `lip_geometry`), not pixels,
and is a regularised canonical correlation over random Fourier features of the sound (`two_views`): a few minutes of
people whose sound is their own speech are too little for a network. Trained on real people and clips of foreign
generators whose sound fits their lips (`aligned`); its figures are comparable with nothing but themselves.

Axes: T frames, N windows, L lip coordinates, F hearing frames, B bands, D embedding.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.lip_geometry import SOUND_FRAMES, bands_of, lips_of_track, mirrored, sound_windows
from benchmarks.two_views import View, ViewShape, fit_views, load_views, save_views
from forge.motion.hearing import BANDS
from media.clip import MediaError
from media.faces import FaceFinder, FaceTrack, load_tracks, save_tracks, track_faces
from media.video import read_waveform, stream_frames

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

MAX_SHIFT = 15
LIP_FRAMES = 5
LIPS = ViewShape(parts=40, ridge=0.1)
SOUND = ViewShape(parts=60, fourier=600, ridge=0.3)
MOST_LATE, LEAST_CONFIDENCE = 3, 0.1
"""Frames of a clip's own offset, and S_C, with which its sound counts as the speech of the face; random pairs of real
lips and sounds have S_C of .06."""
SHORTEST_FRAMES = 40
"""Of a clip: a shift of 15 frames must leave something to compare."""
CODE = ("sync_judge.py", "two_views.py", "lip_geometry.py")
"""What the judge depends on besides its data."""
FOREIGN = ("SadTalker", "AniTalker", "Loopy", "FLOAT", "EDTalk", "AniPortrait")
"""Makers of synthetic clips with sound that are foreign to this project; nothing of ours may train a judge of ours."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Lips and sound that belong together."""

    name: str
    person: str
    real: bool
    train: bool
    first: int
    """Frame of the clip at which the lips begin."""
    lips: FloatArray
    """(T, 80) `lip_geometry`."""
    bands: FloatArray
    """(H, 80) of the whole clip."""
    track: FaceTrack
    video: Path = Path()


@dataclass(frozen=True)
class SyncScore:
    """What the judge says of a clip."""

    distance: float
    """S_D: mean distance at the best shift; less is better."""
    confidence: float
    """S_C: median over shifts less S_D; more is better."""
    offset: int
    """The best shift in frames; positive: the sound that fits comes later than the lips."""


@dataclass(frozen=True, eq=False)
class SyncJudge:
    """How lips and sound are looked at."""

    seen: View
    heard: View

    @classmethod
    def trained(cls, lessons: Sequence[Lesson], sound: ViewShape = SOUND) -> SyncJudge:
        """Learn from lessons, every one also mirrored left to right.

        Raises:
            ValueError: for no lessons.
        """
        if not lessons:
            raise ValueError("a judge needs clips with a face and sound to learn from, got none")
        both = [(lips, lesson) for lesson in lessons for lips in (lesson.lips, mirrored(lesson.lips))]
        lips = np.concatenate([lips_around(lips) for lips, _ in both])
        sounds = np.concatenate([sounds_of(lesson) for _, lesson in both])
        return cls(*fit_views(lips, sounds, LIPS, sound))

    def of_lips(self, lips: FloatArray) -> Array:
        """(T, D) unit embeddings of (T, 80) lips."""
        return self.seen.embedded(lips_around(lips))

    def of_sound(self, bands: FloatArray, frames: NDArray[np.int64]) -> Array:
        """(T, D) unit embeddings of the sound around frames of a clip."""
        return self.heard.embedded(coarse(sound_windows(bands, frames)))

    def distances(self, lips: FloatArray, bands: FloatArray, first: int = 0) -> Array:
        """(31, T) distance of the lips of each frame from the sound at shifts -15 to 15 frames.

        Args:
            lips: (T, 80).
            bands: (H, 80) of the sound from frame 0.
            first: frame at which the lips begin.
        """
        length = len(lips)
        seen = self.of_lips(lips)
        heard = self.of_sound(bands, first + np.arange(-MAX_SHIFT, length + MAX_SHIFT))
        return np.stack(
            [np.linalg.norm(seen - heard[shift : shift + length], axis=1) for shift in range(2 * MAX_SHIFT + 1)]
        )

    def shift_curve(self, lips: FloatArray, bands: FloatArray, first: int = 0) -> Array:
        """(31,) `distances` averaged over time."""
        return np.asarray(self.distances(lips, bands, first).mean(axis=1))

    def score(self, lips: FloatArray, bands: FloatArray, first: int = 0) -> SyncScore:
        """S_D, S_C and the offset of one clip."""
        return sync_score(self.shift_curve(lips, bands, first))


def sync_score(curve: Array) -> SyncScore:
    """S_D, S_C and offset of a (31,) curve of mean distances."""
    best = int(np.argmin(curve))
    return SyncScore(float(curve[best]), float(np.median(curve) - curve[best]), best - MAX_SHIFT)


def lips_around(lips: FloatArray) -> Array:
    """(T, 400) five frames of lips around each frame; the ends repeat."""
    reach = LIP_FRAMES // 2
    places = np.arange(len(lips))[:, None] + np.arange(-reach, reach + 1)[None]
    return np.asarray(lips[np.clip(places, 0, len(lips) - 1)].reshape(len(lips), -1), np.float64)


def coarse(sound_NFB: FloatArray) -> Array:
    """(N, 400) sound windows by 20 ms and pairs of bands."""
    count = len(sound_NFB)
    pooled = sound_NFB.reshape(count, SOUND_FRAMES // 2, 2, BANDS // 2, 2).mean(axis=(2, 4))
    return np.asarray(pooled.reshape(count, -1), np.float64)


def sounds_of(lesson: Lesson) -> Array:
    """(T, 400) the sound of each frame of a lesson."""
    return coarse(sound_windows(lesson.bands, lesson.first + np.arange(len(lesson.lips))))


def followed(video: Path, cache: Path, finder: FaceFinder | None) -> list[FaceTrack]:
    """Faces of a video at 25 frames a second, most visible first; kept in `cache`.

    Raises:
        MediaError: when the video cannot be read.
    """
    if cache.is_file():
        return load_tracks(cache)
    tracks = track_faces(stream_frames(video, fps=Fraction(25)), finder=finder, max_faces=2)
    cache.parent.mkdir(parents=True, exist_ok=True)
    save_tracks(tracks, cache)
    return tracks


def read_lessons(clips: Path, tracks: Path) -> list[Lesson]:
    """Every clip of a table with sound and a face: real people, and synthetic clips of `FOREIGN` makers only.

    Args:
        clips: csv with the columns id, file, label, method, person, has_audio, split.
        tracks: folder of NAME.npz face tracks; missing ones are made.

    Raises:
        MediaError: when a video cannot be read.
    """
    with clips.open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["has_audio"] == "1"]
    lessons = []
    with FaceFinder() as finder:
        for row in rows:
            if row["label"] != "real" and row["method"] not in FOREIGN:
                continue
            video = clips.parent / row["file"]
            found = followed(video, tracks / f"{video.stem}.npz", finder)
            if not found or found[0].length < SHORTEST_FRAMES:
                continue
            track = found[0]
            bands = bands_of(read_waveform(video))
            first = int(track.frame_indices[0])
            lessons.append(
                Lesson(
                    video.stem, row["person"], row["label"] == "real", row["split"] == "train", first,
                    lips_of_track(track), bands, track, video,
                )
            )  # fmt: skip
    return lessons


@dataclass(frozen=True)
class Trial:
    """How a judge does on people it did not learn from."""

    within_one_frame: float
    """Share of clips whose offset is at most one frame."""
    two_way: float
    """Share of half seconds in which the true shift is nearer than one of 6 or more frames."""
    distance: float
    confidence: float


def tried(judge: SyncJudge, lessons: Sequence[Lesson]) -> Trial:
    """Score the judge on lessons.

    Raises:
        ValueError: for no lessons.
    """
    if not lessons:
        raise ValueError("a trial needs lessons, got none")
    scores, wins = [], []
    for lesson in lessons:
        distances = judge.distances(lesson.lips, lesson.bands, lesson.first)
        scores.append(sync_score(distances.mean(axis=1)))
        half = np.stack([np.convolve(row, np.ones(13) / 13, "valid") for row in distances])
        away = half[np.abs(np.arange(-MAX_SHIFT, MAX_SHIFT + 1)) >= 6]
        wins.append(float((half[MAX_SHIFT] < away).mean()))
    return Trial(
        float(np.mean([abs(score.offset) <= 1 for score in scores])),
        float(np.mean(wins)),
        float(np.mean([score.distance for score in scores])),
        float(np.mean([score.confidence for score in scores])),
    )


def in_sync(judge: SyncJudge, lesson: Lesson) -> int | None:
    """Frames by which the sound of a clip comes late, or None when it is not the speech of this face.

    Clips on the net carry music, comments and sound that is up to 100 ms off; what is further off, or fits nowhere,
    teaches nothing and is no yardstick.
    """
    score = judge.score(lesson.lips, lesson.bands, lesson.first)
    return score.offset if abs(score.offset) <= MOST_LATE and score.confidence >= LEAST_CONFIDENCE else None


def aligned(lessons: Sequence[Lesson], folds: int = 4) -> list[Lesson]:
    """The lessons whose sound is the speech of the face, moved to where it fits, as judges say who never saw them."""
    kept = []
    for taught, held in people_folds(lessons, folds):
        judge = SyncJudge.trained(taught)
        for lesson in held:
            offset = in_sync(judge, lesson)
            if offset is not None:
                kept.append(replace(lesson, first=lesson.first + offset))
    return sorted(kept, key=lambda lesson: lesson.name)


def people_folds(lessons: Sequence[Lesson], folds: int) -> Iterator[tuple[list[Lesson], list[Lesson]]]:
    """Lessons to learn and lessons to hold, no person in both."""
    people = sorted({lesson.person for lesson in lessons})
    fold = {person: int(i) % folds for i, person in enumerate(np.random.default_rng(0).permutation(len(people)))}
    number = {people[index]: fold[index] for index in fold}
    for held in range(min(folds, len(people))):
        yield (
            [lesson for lesson in lessons if number[lesson.person] != held],
            [lesson for lesson in lessons if number[lesson.person] == held],
        )


def left_out(lessons: Sequence[Lesson], folds: int = 4, sound: ViewShape = SOUND) -> Trial:
    """Mean trial over folds of people, none of whom the judge of that fold learned from."""
    trials = [tried(SyncJudge.trained(taught, sound), held) for taught, held in people_folds(lessons, folds)]
    return Trial(*(float(np.mean([getattr(trial, name) for trial in trials])) for name in vars(trials[0])))


def open_sync_judge(lessons: Sequence[Lesson], out: Path) -> SyncJudge:
    """The judge trained on the train split of these lessons, or the one that is kept for the same data and code."""
    taught = [lesson for lesson in lessons if lesson.train]
    mark = sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in CODE))
    for lesson in taught:
        mark.update(lesson.name.encode() + lesson.lips.tobytes() + lesson.bands.tobytes())
    path = out / f"sync_judge_{mark.hexdigest()[:12]}.npz"
    if not path.is_file():
        judge = SyncJudge.trained(aligned(taught))
        save_views({"seen": judge.seen, "heard": judge.heard}, path)
    return SyncJudge(**load_views(path))


def main(arguments: list[str] | None = None) -> int:
    """Train, and say how the judge does on people it never saw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync_judge", description="Train SyncNet B (self).")
    parser.add_argument("--clips", type=Path, required=True, help="table of clips, real and foreign")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tracks", type=Path, help="folder of NAME.npz tracks at 25 fps; default OUT/tracks")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        lessons = read_lessons(options.clips, options.tracks or options.out / "tracks")
    except (MediaError, OSError, KeyError) as error:
        console.print(f"{options.clips}: {error}", markup=False, soft_wrap=True)
        return 1
    taught = [lesson for lesson in lessons if lesson.train]
    kept = aligned(taught)
    console.print(f"{len(kept)} of {len(taught)} lessons of train are speech in sync")
    for name, sound in (("linear", replace(SOUND, fourier=0)), ("with Fourier features", SOUND)):
        console.print(f"left-out people of train, {name}: {left_out(kept, sound=sound)}", markup=False)
    judge = open_sync_judge(lessons, options.out)
    for name, real in (("val real", True), ("val foreign synthetic", False)):
        chosen = [lesson for lesson in lessons if not lesson.train and lesson.real == real]
        if chosen:
            console.print(f"{name}, {len(chosen)} clips: {tried(judge, chosen)}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
