"""What is to be drawn: series of frames from real clips, from rendered footage, and portraits to be driven by others.

    for clip in clips_of(Path("clips.csv"), split="val"): ...      # real people, one row a clip
    shown = shown_from_clip(clip, finder, size=256, count=24, cache=folder)
    shown = shown_from_take(take, finder, count=24, cache=folder)
    portraits = choose_portraits(folder, finder, size=256, count=8)

The first good frame of a clip is its portrait; targets are spread evenly over what follows. The landmarker reads the
motion off the targets, and so is no independent judge of motion: it asks and it checks, for every method alike.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.driving import Driver, Watched, asked_angles, asked_blendshapes, motion_of, watch
from benchmarks.face_judging import Leader, Shown
from benchmarks.identity_probe import Embed
from benchmarks.studio_truth import Take
from forge.mesh.face import cut_square, frame_square
from forge.portrait import ForgeError
from media.clip import MediaError
from media.faces import FaceFinder
from media.landmarks import BLENDSHAPE_INDEX, FaceObservation
from media.video import read_clip, read_image

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

LONGEST_SECONDS = 4.0
"""Targets are taken from so much of a clip after its portrait."""
SMALLEST_SHARE = 0.9
"""Of the wanted size: a clip that would be enlarged says nothing about sharpness."""
OPEN_EYES, CALM_MOUTH, FRONTAL_DEGREES = 0.4, 0.35, 25.0
"""A good portrait: eyes not shut, mouth not wide open, face towards the camera."""
FARTHEST_SHIFT, FARTHEST_DEGREES = 0.6, 35.0
"""Of motions that are put on other portraits: beyond, a head leaves its picture."""
PICTURES = (".webp", ".png", ".jpg", ".jpeg")
FREE_LICENCES = ("CC0", "Apache-2.0", "MIT", "CC BY 4.0", "public domain")


@dataclass(frozen=True)
class RealClip:
    """One clip of a table."""

    name: str
    path: Path
    person: str


@dataclass(frozen=True, eq=False)
class Sitter:
    """A portrait to be driven by somebody else's motion."""

    name: str
    kind: str
    image: UInt8Array
    face: FaceObservation


def clips_of(table: Path, split: str | None = "val", label: str = "real") -> list[RealClip]:
    """The clips of a CSV with columns id, file, label, person and split; files lie beside it.

    Raises:
        ForgeError: when the table cannot be read or names no such clip.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        chosen = [
            RealClip(row["id"], table.parent / row["file"], row["person"])
            for row in rows
            if row["label"] == label and (split is None or row["split"] == split)
        ]
    except (OSError, KeyError) as error:
        raise ForgeError(f"{table}: not a table of clips with id, file, label, person, split ({error})") from error
    if not chosen:
        raise ForgeError(f"{table}: no clip with label {label} and split {split}; pass another table")
    return chosen


def is_good_portrait(face: FaceObservation, yaw: float) -> bool:
    """Whether a frame may stand for its person."""
    shape = face.blendshapes
    shut = max(float(shape[BLENDSHAPE_INDEX[f"eyeBlink{side}"]]) for side in ("Left", "Right"))
    return shut < OPEN_EYES and float(shape[BLENDSHAPE_INDEX["jawOpen"]]) < CALM_MOUTH and abs(yaw) < FRONTAL_DEGREES


def shown_from_clip(clip: RealClip, finder: FaceFinder, *, size: int, count: int, cache: Path) -> Shown | str:
    """Portrait and targets of one clip, or one line that says why it cannot be used.

    Args:
        clip: what to read; its frames must be square.
        finder: a loaded finder.
        size: frames are brought to this side.
        count: targets.
        cache: folder of earlier measurements.
    """
    try:
        whole = read_clip(clip.path, max_side=size if size < 512 else None)
    except MediaError as error:
        return str(error)
    if min(whole.frames.shape[1:3]) < SMALLEST_SHARE * size:
        return f"{clip.name}: {whole.frames.shape[2]} x {whole.frames.shape[1]} pixels, below {size}; left out"
    frames = [squared(frame, size) for frame in whole.frames]
    kept = cache / f"{clip.name}_{size}_{count}.npz"
    if not kept.exists():
        first = _first_good(frames, finder)
        if first is None:
            return f"{clip.name}: no frame with a face and open eyes; left out"
        last = min(len(frames) - 1, first + round(LONGEST_SECONDS * float(whole.fps)))
        indices = np.unique([first, *np.linspace(min(first + 1, last), last, count).round().astype(int)])
        watched = watch(finder, [frames[i] for i in indices])
        cache.mkdir(parents=True, exist_ok=True)
        watched.save(kept)
        np.save(kept.with_suffix(".npy"), indices)
    indices, watched = np.load(kept.with_suffix(".npy")), Watched.load(kept)
    return _shown(clip.name, clip.person, [frames[i] for i in indices], watched, 0)


def squared(frame: UInt8Array, size: int) -> UInt8Array:
    """The middle square of a frame at a size."""
    height, width = frame.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    return cut_square(frame, x, y, side, size)


def _first_good(frames: Sequence[UInt8Array], finder: FaceFinder) -> int | None:
    found: int | None = None
    for i in range(0, len(frames) // 2, 2):
        one = watch(finder, [frames[i]])
        if not one.found[0]:
            continue
        found = i if found is None else found
        if is_good_portrait(one.face(0), float(one.angles[0, 0])):
            return i
    return found


def _shown(name: str, person: str, frames: Sequence[UInt8Array], watched: Watched, portrait: int) -> Shown | str:
    """The series with one frame as portrait; targets without a face are left out."""
    if not watched.found[portrait]:
        return f"{name}: no face in the portrait frame; left out"
    face = watched.face(portrait)
    targets = [i for i in np.flatnonzero(watched.found).tolist() if i != portrait]
    if not targets:
        return f"{name}: no target with a face; left out"
    seen = watched.chosen(targets)
    motion = motion_of(seen, face, frames[portrait].shape[0])
    leader = Leader(tuple(frames[i] for i in targets), seen, frames[portrait], face)
    return Shown(
        name, person, frames[portrait], face, leader, asked_angles(motion, face), asked_blendshapes(motion),
        leader.frames, seen,
    )  # fmt: skip


def shown_from_take(take: Take, finder: FaceFinder, *, count: int, cache: Path) -> Shown | str:
    """The same of rendered footage, whose most frontal frame is the portrait."""
    frames = take.frames[: count + 1]
    kept = cache / f"{take.path.stem}_{take.person}_{frames[0].shape[0]}_{count}.npz"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        watch(finder, frames).save(kept)
    watched = Watched.load(kept)
    turned = np.abs(take.motion[: len(frames), :2]).sum(axis=1)
    portrait = int(np.argmin(np.where(watched.found, turned, np.inf)))
    return _shown(f"person_{take.person}", f"studio {take.person}", frames, watched, portrait)


def with_truth(shown: Shown, truth: Driver, finder: FaceFinder, cache: Path) -> Shown | str:
    """A portrait under somebody else's motion together with its true frames, as the studio films them.

    The judged motion is then that of the true frames: the same expression reads a little differently on another face.
    """
    kept = cache / f"{shown.name}_{shown.portrait.shape[0]}_{len(shown.angles)}.npy"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.stack(list(truth.fit(shown.portrait, shown.face).draws(shown.motion_for(truth)))))
    filmed = np.load(kept)
    watched = watch(finder, filmed)
    # a head that the studio turned out of the landmarker's sight can be judged by nobody
    rows = np.flatnonzero(watched.found).tolist()
    if not rows:
        return f"{shown.name}: no true frame with a face; left out"
    seen, full = watched.chosen(rows), shown.leader
    leader = Leader(tuple(full.frames[i] for i in rows), full.watched.chosen(rows), full.portrait, full.face)
    targets = tuple(filmed[i] for i in rows)
    return replace(
        shown, leader=leader, targets=targets, watched=seen, angles=seen.angles, blendshapes=seen.blendshapes
    )  # fmt: skip


def seated(shown: Shown) -> Sitter:
    """The portrait of a series as one to be driven by others."""
    return Sitter(shown.name, "portrait", shown.portrait, shown.face)


def driven_by(sitter: Sitter, followed: Shown, frames: int | None = None) -> Shown:
    """A portrait under somebody else's motion: what is asked is known, true frames are not.

    Args:
        sitter: the portrait.
        followed: whose motion.
        frames: only the first so many.
    """
    full, rows = followed.leader, range(len(followed.angles))[:frames]
    leader = Leader(tuple(full.frames[i] for i in rows), full.watched.chosen(rows), full.portrait, full.face)
    motion = motion_of(leader.watched, leader.face, leader.portrait.shape[0])
    return Shown(
        f"{sitter.name}_by_{followed.name}", sitter.name, sitter.image, sitter.face, leader,
        asked_angles(motion, sitter.face), asked_blendshapes(motion),
    )  # fmt: skip


def choose_portraits(folder: Path, finder: FaceFinder, *, size: int, count: int) -> list[Sitter]:
    """Portraits of as many kinds as there are, by turns, those with a free licence first.

    A table `portraits.csv` (id, file, kind, license) in the folder tells the kinds; without one all are "portrait".

    Raises:
        ForgeError: when no picture with a face is there.
    """
    table = folder / "portraits.csv"
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            rows = [(r["file"], r["kind"], r["license"].startswith(FREE_LICENCES)) for r in csv.DictReader(file)]
    else:
        names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICTURES)
        rows = [(name, "portrait", True) for name in names]
    kinds: dict[str, list[tuple[str, str, bool]]] = {}
    for row in sorted(rows, key=lambda row: not row[2]):
        kinds.setdefault(row[1], []).append(row)
    chosen: list[Sitter] = []
    for turn in zip_longest(*kinds.values()):
        for row in turn:
            if row is None or len(chosen) == count:
                continue
            sitter = _seat(folder / row[0], row[1], finder, size)
            if sitter is not None:
                chosen.append(sitter)
    if not chosen:
        raise ForgeError(f"{folder}: no picture with a face; pass a folder of portraits")
    return chosen


def _seat(path: Path, kind: str, finder: FaceFinder, size: int) -> Sitter | None:
    """One portrait, framed as the product frames it; None when no face is found."""
    image = read_image(path)
    faces = finder.find(image)
    if not faces:
        return None
    x0, y0, side = frame_square(faces[0].landmarks, image.shape[1], image.shape[0], size)
    frame = cut_square(image, x0, y0, side, size)
    seen = watch(finder, [frame])
    return Sitter(path.stem, kind, frame, seen.face(0)) if seen.found[0] else None


def codes_of_clips(
    clips: Sequence[RealClip], finder: FaceFinder, embed: Embed, *, size: int, frames: int, cache: Path
) -> tuple[FloatArray, list[str], list[str]]:
    """Embeddings of a few frames of each clip, with their people and clips: what identities look like to the probe.

    Args:
        clips: real clips of several people.
        finder: a loaded finder.
        embed: the embedding.
        size: frames are brought to this side, as those that are judged.
        frames: evenly spread frames a clip.
        cache: folder of earlier embeddings.
    """
    codes, people, names = [], [], []
    cache.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        kept = cache / f"{clip.name}_{size}_{frames}.npy"
        if not kept.exists():
            try:
                whole = read_clip(clip.path, max_side=size if size < 512 else None).frames
            except MediaError:
                continue
            chosen = [squared(whole[i], size) for i in np.linspace(0, len(whole) - 1, frames).round().astype(int)]
            seen = watch(finder, chosen)
            found = [embed(chosen[i], seen.landmarks[i]) for i in np.flatnonzero(seen.found)]
            np.save(kept, np.array(found, np.float32).reshape(len(found), -1))
        rows = np.load(kept)
        codes += list(rows)
        people += [clip.person] * len(rows)
        names += [clip.name] * len(rows)
    return np.array(codes, np.float32), people, names


def leaders_of(series: Sequence[Shown], count: int, *, calm: bool = True) -> list[Shown]:
    """One series of each person, the liveliest first.

    Args:
        series: to choose from.
        count: at most so many.
        calm: leave out people who walk about in their picture or look away; all are taken when nobody is left.
    """
    ranked: list[tuple[float, Shown]] = []
    for shown in series:
        leader = shown.leader
        motion = motion_of(leader.watched, leader.face, leader.portrait.shape[0])
        shifted, turned = (float(np.abs(motion.pose[:, part]).max()) for part in (slice(3, 5), slice(0, 2)))
        if calm and (shifted > FARTHEST_SHIFT or turned > FARTHEST_DEGREES):
            continue
        lively = float(motion.pose[:, :3].std(axis=0).mean()) / 3 + float(motion.blendshapes.std(axis=0).mean()) / 0.03
        ranked.append((lively, shown))
    order = [shown for _, shown in sorted(ranked, key=lambda pair: -pair[0])] or list(series)
    return list({shown.person: shown for shown in reversed(order)}.values())[::-1][:count]
