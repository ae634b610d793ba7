"""One planned clip becomes files: the work of one process of the factory.

    film = StartFilming(folder, recipe, method, seed=0, fingerprint="...")()
    sidecar = film(clip)

Files of a clip, each written whole or not at all, in this order: `clips/ID.mp4` (signed), `masks/ID.npz` where the
method tells masks, `truth/ID.parquet`, and last `records/ID.json`. The record is the word that the clip is done.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from forge.makers import Makers, OpenMakers
from forge.material import Entry, Material, inspect, with_digest
from forge.methods import Method, Shot
from forge.plan import PlannedClip
from forge.portrait import ForgeError
from forge.quality import Examination, Examiner, Gate
from forge.recipes import DatasetRecipe
from forge.sealing import Sealed, film_and_sign
from forge.staging import Footage, Stage
from forge.truth import write_masks, write_truth
from media.catalog import Sample
from media.clip import MediaError
from media.places import Room
from provenance.claims import Claim
from provenance.identity import SigningIdentity
from provenance.store import CredentialStore

UInt8Array = NDArray[np.uint8]

CREDENTIALS = "credentials"
"""In a worker's own folder: where it keeps credentials until the driver has them."""
CLIPS, TRUTH, MASKS, RECORDS = "clips", "truth", "masks", "records"
FOLDERS = (CLIPS, TRUTH, MASKS, RECORDS)
WORKERS_LOCK = ".workers.lock"


@dataclass(frozen=True)
class StartInspecting:
    """Makes, in a process of its own, the function that looks at one input file."""

    recipe: DatasetRecipe
    method: Method

    def __call__(self, room: Room) -> Callable[[Entry], Material]:
        """Load the method."""
        maker = self.method.open()

        def look(entry: Entry) -> Material:
            found = inspect(with_digest(_brought(entry, room)), self.recipe, maker)
            here, there = found.path, entry.known.path
            problem = found.problem.replace(here, there) if found.problem else None
            return replace(found, path=there, problem=problem)

        return look


@dataclass(frozen=True)
class StartFilming:
    """Makes, in a process of its own, the function that makes one clip."""

    folder: Path
    recipe: DatasetRecipe
    makers: Makers
    seed: int
    fingerprints: Mapping[str, str]
    """Of the makers, by name: worked out once, by the driver."""
    identity: SigningIdentity | None = field(default=None, repr=False)
    """Who signs, wherever the clip is made; None takes the development identity of whoever works."""
    gate: Gate = field(default_factory=Gate)
    """What every clip must keep to."""

    def __call__(self, room: Room) -> Callable[[PlannedClip], Made]:
        """Hold the folder's second lock as long as this process writes into it; makers are loaded when needed."""
        lock = None if room.is_driver or room.scratch else _shared_lock(self.folder / WORKERS_LOCK)
        stage = Stage(self.recipe, self.seed, self.fingerprints, OpenMakers(self.makers), room)
        return Filming(self, stage, lock, room).make


@dataclass(frozen=True)
class Made:
    """A clip that is done."""

    record: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Of a worker that does not see the dataset's disk: what belongs into the folder, by name, the record last."""
    credentials: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Likewise: what belongs into the store of credentials."""
    rejected: Mapping[str, Any] | None = None
    """Why it did not pass the quality gate (`cause` and measurements); then there is no clip."""


class RejectedError(Exception):
    """A clip did not pass the quality gate; it never leaves this module."""

    def __init__(self, found: Examination) -> None:
        """What was found of it."""
        super().__init__(found.cause)
        self.found = found


@dataclass(frozen=True)
class Filming:
    """Makes the files of clips."""

    job: StartFilming
    stage: Stage
    lock: IO[str] | None = None
    """Shared by all processes that write into the folder; gone when this one ends."""
    room: Room = field(default_factory=Room)

    @property
    def folder(self) -> Path:
        """Where files are written: the dataset, or a worker's own folder."""
        return self.room.scratch or self.job.folder

    def make(self, clip: PlannedClip) -> Made:
        """Make all files of a clip; the record says that it is done.

        Raises:
            ForgeError: when the material cannot be used after all, or nothing can be written.
        """
        folder, recipe = self.folder, self.job.recipe
        if self.room.scratch:
            for name in FOLDERS:
                (folder / name).mkdir(exist_ok=True)
        try:
            footage = self.stage.footage(clip)
            partly = (footage.segments or ()) if clip.segments is not None else ()
            examiner = Examiner(
                self.job.gate,
                self.stage.crew.looking,
                fps=recipe.fps,
                size=recipe.size,
                length=clip.frames,
                forged=partly,
            )
            measured: dict[str, float | None] = {}

            def claim() -> Claim:
                # what only a part of the clip was told to do says nothing of the rest
                motion = footage.motion if clip.segments is None else None
                found = examiner.judged(motion=motion, sound=footage.sound, portrait=footage.portrait)
                if not found.passed:
                    raise RejectedError(found)
                measured.update(found.measurements)
                return footage.claim

            path = folder / CLIPS / f"{clip.id}.mp4"
            sealed = film_and_sign(
                examiner.watching(footage.frames),
                footage.sound,
                path,
                claim,
                shot=Shot(recipe.size, recipe.fps),
                crf=clip.crf,
                preset=recipe.preset,
                identity=self.job.identity,
                store=CredentialStore(folder / CREDENTIALS / clip.id) if self.room.scratch else None,
            )
            masks = self._masks(clip, footage)
            truth = folder / TRUTH / f"{clip.id}.parquet"
            write_truth(truth, clip.frames, recipe.fps, footage.motion, masks)
            sample = self._sample(clip, footage, sealed, masks)
            files = [path, truth, *([folder / masks] if masks else [])]
            sizes = {str(file.relative_to(folder)): file.stat().st_size for file in files}
            record = {"number": clip.number, "files": sizes, "sample": sample.to_json()}
            if (made_print := examiner.print_bytes()) is not None:
                # beside the sample: its last digits may differ between processors, the catalog's must not
                record |= {"print": made_print.hex(), "quality": measured}
            write_whole(folder / RECORDS / f"{clip.id}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        except RejectedError as error:
            return Made({}, rejected={"cause": error.found.cause, **error.found.measurements})
        except MediaError as error:
            raise ForgeError(str(error)) from error
        except OSError as error:
            raise ForgeError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error
        if not self.room.scratch:
            return Made(record)
        return Made(
            record, _taken(folder, [*sizes, f"{RECORDS}/{clip.id}.json"]), _taken_all(folder / CREDENTIALS / clip.id)
        )

    def _masks(self, clip: PlannedClip, footage: Footage) -> str | None:
        if footage.masks is None:
            return None
        name = f"{MASKS}/{clip.id}.npz"
        count = write_masks(self.folder / name, footage.masks())
        if count != clip.frames:
            raise ForgeError(f"{clip.maker}: gave {count} masks for {clip.frames} frames")
        return name

    def _sample(self, clip: PlannedClip, footage: Footage, sealed: Sealed, masks: str | None) -> Sample:
        recipe = self.job.recipe
        extra: dict[str, Any] = {
            "frames": sealed.frames,
            "crf": clip.crf,
            "crop_factor": clip.crop_factor,
            "crop_px": footage.crop_pixels,
            "detail_px": clip.detail,
            "start_seconds": clip.start_seconds,
            "input": clip.face.name,
            "input_sha256": clip.face.sha256,
            "kind": clip.face.kind,
            "speech": clip.speech.name if clip.speech else None,
            "speech_sha256": clip.speech.sha256 if clip.speech else None,
            "language": clip.speech.language if clip.speech else clip.face.language,
            "controls": dict(clip.controls.to_json()) if clip.controls else None,
            "motion": clip.motion.label if clip.motion else None,
            "truth": f"{TRUTH}/{clip.id}.parquet",
            "masks": masks,
            "unsigned_sha256": sealed.unsigned_sha256,
        }
        if recipe.is_designed:
            extra |= _of_design(clip, footage)
        return Sample(
            id=clip.id,
            path=f"{CLIPS}/{clip.id}.mp4",
            label=clip.label,
            sha256=sealed.credential.sha256,
            person=clip.person,
            source=clip.source,
            maker=clip.maker,
            split=clip.split,
            codec=f"h264-crf{clip.crf}",
            recipe=recipe.name,
            seed=self.job.seed,
            seconds=float(clip.frames / recipe.fps),
            fps=f"{recipe.fps.numerator}/{recipe.fps.denominator}",
            width=recipe.size,
            height=recipe.size,
            has_sound=footage.sound is not None,
            license=clip.face.license,
            consent=clip.face.consent,
            extra=extra,
        )


def _of_design(clip: PlannedClip, footage: Footage) -> dict[str, Any]:
    """What the catalog tells of a clip only where the recipe has a design."""
    forged = "both" if clip.is_animated else None
    if footage.segments is not None:
        whats = {segment.what for segment in footage.segments}
        forged = whats.pop() if len(whats) == 1 else "both" if whats else None
    return {
        "pair": clip.pair,
        "attempt": clip.attempt,
        "forged": forged,
        "segments": [segment.to_json() for segment in footage.segments] if footage.segments is not None else None,
        "partial": clip.segments is not None,
        "donor": clip.donor.person if clip.donor else None,
        "donor_source": clip.donor.source if clip.donor else None,
        "speech_start_seconds": clip.speech_start_seconds if clip.is_manipulated and clip.speech else None,
        "platform": clip.platform,
        "lot": dict(footage.facts) or None,
    } | dict(clip.face.traits)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, and see that it reaches the disk.

    Names of files may hold bytes that are no text: what stands for them is written as JSON escapes it.
    """
    _write_bytes(path, text.encode("utf-8", "backslashreplace"), lasting=True)


def deliver(folder: Path, made: Made, store: Path) -> None:
    """Put what a distant worker made where it belongs: the record last, since it says that the rest is there.

    Raises:
        OSError: when it cannot be written.
    """
    for name, content in sorted(made.credentials.items(), key=lambda item: item[0].startswith("entries")):
        if not (store / name).exists():
            (store / name).parent.mkdir(parents=True, exist_ok=True)
            _write_bytes(store / name, content)
    for name, content in made.files.items():
        _write_bytes(folder / name, content, lasting=name.startswith(f"{RECORDS}/"))


def _write_bytes(path: Path, content: bytes, *, lasting: bool = False) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _taken(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The content of files, which are gone afterwards."""
    out = {}
    for name in names:
        out[name] = (folder / name).read_bytes()
        (folder / name).unlink()
    return out


def _taken_all(folder: Path) -> dict[str, bytes]:
    """The files below a folder, which are gone afterwards; hidden ones and an index are left."""
    files = sorted(path for kind in ("manifests", "entries") for path in (folder / kind).glob("*/[!.]*"))
    taken = _taken(folder, [str(path.relative_to(folder)) for path in files])
    shutil.rmtree(folder, ignore_errors=True)
    return taken


def _brought(entry: Entry, room: Room) -> Entry:
    """The entry with its file on this machine; a file that is nowhere is the inspection's to tell."""
    path = room.bring(Path(entry.known.path))
    portrait = replace(entry.portrait, path=path) if entry.portrait is not None else None
    return replace(entry, known=replace(entry.known, path=str(path)), portrait=portrait)


def _shared_lock(path: Path) -> IO[str]:
    file = path.open("a")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file
