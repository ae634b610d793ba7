"""What a planned clip shows before it is encoded: animated from a portrait, cut from a recording, or forged of one.

footage = Stage(recipe, seed, fingerprints, crew, room).footage(clip)
footage.frames, footage.sound, footage.claim, footage.masks, footage.segments
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.animate import counted
from forge.framing import cut_to_detail, square_around
from forge.makers import OpenMakers
from forge.manipulations import Cast, Forgery, Scene, Segment, within
from forge.material import Material, Window
from forge.methods import Shot
from forge.motion.features import Motion
from forge.plan import PlannedClip
from forge.portrait import ForgeError, load_portrait
from forge.recipes import NO_PLATFORM, DatasetRecipe
from forge.sealing import TOOL, synthetic_source_type
from forge.voice import load_speech
from media.catalog import Label
from media.clip import Clip, Waveform
from media.perturb import perturb
from media.places import Room
from provenance.claims import Claim, Ingredient, SourceType
from provenance.record import Record

UInt8Array = NDArray[np.uint8]


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
    segments: tuple[Segment, ...] | None = None
    """What is forged of a recording; None where the whole clip is made, or nothing."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a manipulation drew by lot."""
    portrait: UInt8Array | None = None
    """(S, S, 3) picture that it was animated from, as it was framed."""


@dataclass(frozen=True)
class Stage:
    """Where the clips of one process are put together."""

    recipe: DatasetRecipe
    seed: int
    fingerprints: Mapping[str, str]
    """Of the makers, by name."""
    crew: OpenMakers
    room: Room

    def footage(self, clip: PlannedClip) -> Footage:
        """What a clip shows; frames are drawn as they are read.

        Raises:
            ForgeError: when the material cannot be used after all.
            MediaError: when it cannot be read.
        """
        shot = Shot(self.recipe.size, self.recipe.fps)
        if clip.is_animated:
            assert clip.controls is not None and clip.motion is not None
            made = self._animated(clip, replace(shot, controls=clip.controls, motion=clip.motion))
        elif clip.is_manipulated:
            made = self._manipulated(clip, shot)
        else:
            made = self._real(clip, shot)
        return made if clip.platform in (None, NO_PLATFORM) else _through(clip.platform, made, shot)

    def _animated(self, clip: PlannedClip, shot: Shot) -> Footage:
        assert clip.speech is not None
        picture = load_portrait(self._input(clip.face), clip.face.declared(), person=clip.person, kind=clip.face.kind)
        said = load_speech(self._input(clip.speech))
        _check_unchanged(clip.face, picture.sha256)
        _check_unchanged(clip.speech, said.sha256)
        height, width = picture.image.shape[:2]
        square = square_around(clip.window.box, width=width, height=height, factor=clip.crop_factor)
        framed = replace(picture, image=cut_to_detail(picture.image, square, clip.detail, shot.size))
        sound = excerpt(said.sound, clip.start_seconds, clip.frames, self.recipe)
        with self.crew.alone(clip.maker):
            take = self.crew.method(clip.maker).film(framed, sound, shot)
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
        heard = sound if clip.has_sound else None
        return Footage(frames, heard, claim, take.motion, take.masks, square.side, portrait=framed.image)

    def _real(self, clip: PlannedClip, shot: Shot) -> Footage:
        path = self._input(clip.face)
        claim = Claim(
            source_type=SourceType.DIGITAL_CAPTURE,
            action="edited",
            title=f"{clip.id}.mp4",
            description="cropped, resized and re-encoded; declared a recording by the maker of the dataset",
            parent=path,
            record=replace(self._record(clip, {"video": clip.face.sha256}), consent=clip.face.consent),
        )
        frames, sound, side = self._recording(clip, clip.face, clip.window, clip.detail, clip.frames, shot)
        return Footage(frames, sound if clip.has_sound else None, claim, crop_pixels=side)

    def _manipulated(self, clip: PlannedClip, shot: Shot) -> Footage:
        kind = self.crew.kind(clip.maker)
        scene, side = self._scene(clip, clip.face, clip.window, clip.frames, shot)
        inputs, ingredients = {"video": clip.face.sha256}, []
        donor, speech = None, None
        if clip.donor is not None and clip.donor_window is not None:
            length = min(clip.frames, int(clip.donor_window.seconds * shot.fps))
            donor, _ = self._scene(clip, clip.donor, clip.donor_window, length, shot)
            inputs["donor"] = clip.donor.sha256
            ingredients.append(Ingredient(self._input(clip.donor), "donor of the face"))
        if clip.speech is not None:
            said = load_speech(self._input(clip.speech))
            _check_unchanged(clip.speech, said.sha256)
            speech = excerpt(said.sound, clip.speech_start_seconds, clip.frames, self.recipe)
            inputs["speech"] = said.sha256
            ingredients.append(Ingredient(said.path, "speech"))
        with self.crew.alone(clip.maker):
            forgery = self.crew.manipulation(clip.maker).forge(scene, Cast(donor, speech), clip.random())
        moved = forgery.motion is not None
        if clip.segments is not None and kind.label is Label.SYNTHETIC:
            forgery = within(forgery, scene, clip.segments)
        claim = Claim(
            source_type=_source_type(kind.label, moved_by_network=moved),
            action="edited",
            title=f"{clip.id}.mp4",
            description=_description(clip.maker, kind.label, forgery),
            parent=self._input(clip.face),
            ingredients=tuple(ingredients),
            record=replace(self._record(clip, inputs), consent=clip.face.consent),
        )
        frames = _exactly(forgery.frames, clip.frames, clip.maker)
        sound = forgery.sound if clip.has_sound else None
        segments = forgery.segments if kind.label is Label.SYNTHETIC else None
        return Footage(frames, sound, claim, forgery.motion, forgery.masks, side, segments, forgery.facts)

    def _scene(self, clip: PlannedClip, video: Material, window: Window, length: int, shot: Shot) -> tuple[Scene, int]:
        """A recording as its real twin shows it, with its face followed; and the side of its crop."""
        frames, sound, side = self._recording(clip, video, window, clip.detail, length, shot)
        with self.crew.fitting:
            return Scene.of(frames, shot.fps, sound if clip.has_sound else None, self.crew.finder()), side

    def _recording(
        self, clip: PlannedClip, video: Material, window: Window, detail: int, length: int, shot: Shot
    ) -> tuple[Iterator[UInt8Array], Waveform | None, int]:
        """Frames and sound of a window of a real video, and the side of the crop in its pixels."""
        from media.video import read_waveform

        path = self._input(video)
        square = square_around(window.box, width=video.width, height=video.height, factor=clip.crop_factor)
        sound = None
        if video.has_sound:
            sound = excerpt(read_waveform(path).mono(), window.start_seconds, length, self.recipe)
        start = round(Fraction(window.start_seconds).limit_denominator(100_000) * shot.fps)
        frames = cut_frames(path, start, length, shot, lambda image: cut_to_detail(image, square, detail, shot.size))
        return frames, sound, square.side

    def _input(self, material: Material) -> Path:
        """The file of a material on this machine."""
        try:
            return self.room.fetch(Path(material.path))
        except OSError as error:
            raise ForgeError(f"{material.path}: cannot be read ({error.strerror or error})") from error

    def _record(self, clip: PlannedClip, inputs: dict[str, str]) -> Record:
        recipe = self.recipe
        form = {"size": recipe.size, "fps": str(recipe.fps), "crf": clip.crf}
        shared = form | {"crop_factor": clip.crop_factor, "detail": clip.detail}
        own = {**(clip.controls.to_json() if clip.controls else {}), **(clip.motion.to_json() if clip.motion else {})}
        if recipe.is_designed:
            own |= {"maker": clip.maker, "attempt": clip.attempt}
            own |= {"segments": [list(part) for part in clip.segments]} if clip.segments else {}
        return Record(
            tool=TOOL,
            recipe=recipe.name,
            seed=self.seed,
            model_sha256=self.fingerprints.get(clip.maker),
            label=clip.label.value,
            inputs=inputs,
            controls={**shared, "start_seconds": clip.start_seconds, "frames": clip.frames, **own},
        )


def excerpt(sound: Waveform, start_seconds: float, frames: int, recipe: DatasetRecipe) -> Waveform:
    """The part of a sound that belongs to the frames, at the recipe's rate; filled with silence where it ends early."""
    rate = recipe.sample_rate_hz
    samples = sound.mono().resampled(rate).samples
    start, count = round(start_seconds * rate), round(frames / recipe.fps * rate)
    part = samples[start : start + count]
    return Waveform(np.pad(part, ((0, count - len(part)), (0, 0))), rate)


def cut_frames(
    path: Path, start: int, count: int, shot: Shot, crop: Callable[[UInt8Array], UInt8Array]
) -> Iterator[UInt8Array]:
    """Frames [start, start + count) of a video at the rate of the shot, cropped.

    Raises:
        ForgeError: when there are not so many.
    """
    from media.video import stream_frames

    done = 0
    for frame in islice(stream_frames(path, fps=shot.fps), start, start + count):
        yield crop(frame.image)
        done += 1
    if done < count:
        raise ForgeError(f"{path}: ended after {done} of {count} frames")


def _exactly(frames: Iterable[UInt8Array], count: int, maker: str) -> Iterator[UInt8Array]:
    done = 0
    for done, image in enumerate(frames, 1):  # noqa: B007 -- counts what was yielded
        yield image
    if done != count:
        raise ForgeError(f"{maker}: made {done} frames where {count} are needed")


def _through(platform: str, footage: Footage, shot: Shot) -> Footage:
    """The clip as a platform would hand it on, before it is encoded for the dataset."""
    frames = np.stack(list(footage.frames))
    seen = perturb(Clip(frames, shot.fps, footage.sound), "platform", platform)
    if len(seen.frames) != len(frames) or seen.frames.shape[1:] != frames.shape[1:]:
        raise ForgeError(f"platform {platform}: changes the length or size of clips; it cannot be a factor")
    sound = footage.sound
    if sound is not None and seen.sound is not None:
        samples = seen.sound.mono().resampled(sound.sample_rate_hz).samples[: len(sound.samples)]
        sound = Waveform(np.pad(samples, ((0, len(sound.samples) - len(samples)), (0, 0))), sound.sample_rate_hz)
    return replace(footage, frames=iter(seen.frames), sound=sound)


def _source_type(label: Label, *, moved_by_network: bool) -> SourceType:
    if label is Label.REAL:
        return SourceType.DIGITAL_CAPTURE
    if moved_by_network:
        return SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
    return SourceType.COMPOSITE_SYNTHETIC


def _description(maker: str, label: Label, forgery: Forgery) -> str:
    if label is Label.REAL:
        return f"null fake by {maker}: went through the whole forgery and shows what was recorded"
    spans = ", ".join(f"{s.start_seconds:.2f} to {s.end_seconds:.2f} s ({s.what})" for s in forgery.segments)
    return f"a recording forged by {maker}: {spans or 'nothing'}"


def _check_unchanged(material: Material, sha256: str) -> None:
    if material.sha256 != sha256:
        raise ForgeError(f"{material.path}: changed while the dataset was being made; run the command again")
