"""One planned clip becomes files: the work of one process of the factory.

    film = StartFilming(folder, recipe, method, seed=0, fingerprint="...")()
    sidecar = film(clip)

Files of a clip, each written whole or not at all, in this order: `clips/ID.mp4` (signed), `masks/ID.npz` where the
method tells masks, `truth/ID.parquet`, and last `records/ID.json`. The record is the word that the clip is done.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from forge.animate import counted
from forge.framing import cut_to_detail, square_around
from forge.material import Entry, Material, inspect, with_digest
from forge.methods import Maker, Method, Shot
from forge.motion.features import Motion
from forge.plan import PlannedClip
from forge.portrait import ForgeError, load_portrait
from forge.recipes import DatasetRecipe
from forge.sealing import TOOL, Sealed, film_and_sign, synthetic_source_type
from forge.truth import write_masks, write_truth
from forge.voice import load_speech
from media.catalog import Label, Sample
from media.clip import MediaError, Waveform
from provenance.claims import Claim, Ingredient, SourceType
from provenance.record import Record

UInt8Array = NDArray[np.uint8]

CLIPS, TRUTH, MASKS, RECORDS = "clips", "truth", "masks", "records"
FOLDERS = (CLIPS, TRUTH, MASKS, RECORDS)
WORKERS_LOCK = ".workers.lock"


@dataclass(frozen=True)
class StartInspecting:
    """Makes, in a process of its own, the function that looks at one input file."""

    recipe: DatasetRecipe
    method: Method

    def __call__(self) -> Callable[[Entry], Material]:
        """Load the method."""
        maker = self.method.open()
        return lambda entry: inspect(with_digest(entry), self.recipe, maker)


@dataclass(frozen=True)
class StartFilming:
    """Makes, in a process of its own, the function that makes one clip."""

    folder: Path
    recipe: DatasetRecipe
    method: Method
    seed: int
    fingerprint: str

    def __call__(self) -> Callable[[PlannedClip], dict[str, Any]]:
        """Load the method, and hold the folder's second lock as long as this process lives."""
        alone = multiprocessing.parent_process() is None
        return Filming(self, self.method.open(), None if alone else _shared_lock(self.folder / WORKERS_LOCK)).make


@dataclass(frozen=True)
class Footage:
    """A clip before it is encoded."""

    frames: Iterator[UInt8Array]
    sound: Waveform | None
    claim: Claim
    motion: Motion | None = None
    masks: Callable[[], Any] | None = None
    crop_pixels: int = 0
    """Side of the crop in pixels of the input."""


@dataclass(frozen=True)
class Filming:
    """Makes clips with a loaded method."""

    job: StartFilming
    maker: Maker
    lock: IO[str] | None = None
    """Shared by all processes that write into the folder; gone when this one ends."""

    def make(self, clip: PlannedClip) -> dict[str, Any]:
        """Make all files of a clip; the content of its record.

        Raises:
            ForgeError: when the material cannot be used after all, or nothing can be written.
        """
        folder, recipe = self.job.folder, self.job.recipe
        shot = Shot(recipe.size, recipe.fps)
        if clip.controls and clip.motion:
            shot = replace(shot, controls=clip.controls, motion=clip.motion)
        try:
            footage = self._synthetic(clip, shot) if clip.label is Label.SYNTHETIC else self._real(clip, shot)
            path = folder / CLIPS / f"{clip.id}.mp4"
            sealed = film_and_sign(
                footage.frames, footage.sound, path, footage.claim, shot=shot, crf=clip.crf, preset=recipe.preset
            )
            masks = self._masks(clip, footage)
            truth = folder / TRUTH / f"{clip.id}.parquet"
            write_truth(truth, clip.frames, recipe.fps, footage.motion, masks)
            sample = self._sample(clip, footage, sealed, masks)
            files = [path, truth, *([folder / masks] if masks else [])]
            sizes = {str(file.relative_to(folder)): file.stat().st_size for file in files}
            record = {"number": clip.number, "files": sizes, "sample": sample.to_json()}
            write_whole(folder / RECORDS / f"{clip.id}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        except MediaError as error:
            raise ForgeError(str(error)) from error
        except OSError as error:
            raise ForgeError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error
        return record

    def _synthetic(self, clip: PlannedClip, shot: Shot) -> Footage:
        assert clip.speech is not None and clip.controls is not None
        picture = load_portrait(Path(clip.face.path), clip.face.declared(), person=clip.person, kind=clip.face.kind)
        said = load_speech(Path(clip.speech.path))
        _check_unchanged(clip.face, picture.sha256)
        _check_unchanged(clip.speech, said.sha256)
        height, width = picture.image.shape[:2]
        square = square_around(clip.window.box, width=width, height=height, factor=clip.crop_factor)
        framed = replace(picture, image=cut_to_detail(picture.image, square, clip.detail, shot.size))
        sound = excerpt(said.sound, clip.start_seconds, clip.frames, self.job.recipe)
        take = self.maker.film(framed, sound, shot)
        claim = Claim(
            source_type=synthetic_source_type(picture.declaration),
            title=f"{clip.id}.mp4",
            description="talking head animated from one picture and speech; not a recording",
            ingredients=(Ingredient(picture.path, "portrait"), Ingredient(said.path, "speech")),
            record=replace(
                self._record(clip, {"portrait": picture.sha256, "speech": said.sha256}),
                consent=str(picture.declaration),
                portrait_license=picture.declaration.license,
            ),
        )
        frames = counted(take, sound, shot.fps)
        return Footage(frames, sound if clip.has_sound else None, claim, take.motion, take.masks, square.side)

    def _real(self, clip: PlannedClip, shot: Shot) -> Footage:
        from media.video import read_waveform

        path = Path(clip.face.path)
        square = square_around(clip.window.box, width=clip.face.width, height=clip.face.height, factor=clip.crop_factor)
        sound = None
        if clip.has_sound:
            sound = excerpt(read_waveform(path).mono(), clip.start_seconds, clip.frames, self.job.recipe)
        claim = Claim(
            source_type=SourceType.DIGITAL_CAPTURE,
            action="edited",
            title=f"{clip.id}.mp4",
            description="cropped, resized and re-encoded; declared a recording by the maker of the dataset",
            parent=path,
            record=replace(self._record(clip, {"video": clip.face.sha256}), consent=clip.face.consent),
        )
        start = round(Fraction(clip.start_seconds).limit_denominator(100_000) * shot.fps)
        frames = _cut_frames(
            path, start, clip.frames, shot, lambda image: cut_to_detail(image, square, clip.detail, shot.size)
        )
        return Footage(frames, sound, claim, crop_pixels=square.side)

    def _record(self, clip: PlannedClip, inputs: dict[str, str]) -> Record:
        recipe = self.job.recipe
        form = {"size": recipe.size, "fps": str(recipe.fps), "crf": clip.crf}
        shared = form | {"crop_factor": clip.crop_factor, "detail": clip.detail}
        own = {**(clip.controls.to_json() if clip.controls else {}), **(clip.motion.to_json() if clip.motion else {})}
        return Record(
            tool=TOOL,
            recipe=recipe.name,
            seed=self.job.seed,
            model_sha256=self.job.fingerprint if clip.controls else None,
            label=clip.label.value,
            inputs=inputs,
            controls={**shared, "start_seconds": clip.start_seconds, "frames": clip.frames, **own},
        )

    def _masks(self, clip: PlannedClip, footage: Footage) -> str | None:
        if footage.masks is None:
            return None
        name = f"{MASKS}/{clip.id}.npz"
        count = write_masks(self.job.folder / name, footage.masks())
        assert count == clip.frames, f"a method gave {count} masks for {clip.frames} frames"
        return name

    def _sample(self, clip: PlannedClip, footage: Footage, sealed: Sealed, masks: str | None) -> Sample:
        recipe, synthetic = self.job.recipe, clip.label is Label.SYNTHETIC
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
        return Sample(
            id=clip.id,
            path=f"{CLIPS}/{clip.id}.mp4",
            label=clip.label,
            sha256=sealed.credential.sha256,
            person=clip.person,
            source=clip.source,
            maker=self.job.method.name if synthetic else "real",
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


def excerpt(sound: Waveform, start_seconds: float, frames: int, recipe: DatasetRecipe) -> Waveform:
    """The part of a sound that belongs to the frames, at the recipe's rate; filled with silence where it ends early."""
    rate = recipe.sample_rate_hz
    samples = sound.mono().resampled(rate).samples
    start, count = round(start_seconds * rate), round(frames / recipe.fps * rate)
    part = samples[start : start + count]
    return Waveform(np.pad(part, ((0, count - len(part)), (0, 0))), rate)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, and see that it reaches the disk.

    Names of files may hold bytes that are no text: what stands for them is written as JSON escapes it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _shared_lock(path: Path) -> IO[str]:
    file = path.open("a")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _cut_frames(
    path: Path, start: int, count: int, shot: Shot, crop: Callable[[UInt8Array], UInt8Array]
) -> Iterator[UInt8Array]:
    from media.video import stream_frames

    done = 0
    for frame in islice(stream_frames(path, fps=shot.fps), start, start + count):
        yield crop(frame.image)
        done += 1
    if done < count:
        raise ForgeError(f"{path}: ended after {done} of {count} frames")


def _check_unchanged(material: Material, sha256: str) -> None:
    if material.sha256 != sha256:
        raise ForgeError(f"{material.path}: changed while the dataset was being made; run the command again")
