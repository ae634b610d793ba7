"""A portrait and speech become a signed clip of a talking head: the generator on one page. START HERE.

    made = animate_to_file(Path("ada.png"), Path("hello.wav"), Path("ada.mp4"), declaration=Declaration.nonexistent())
    made.credential.standing        # trusted on this machine

The steps: declared portrait -> speech -> motion -> frames -> H.264 + AAC -> signature. Three rules hold for every clip:

1. A portrait that nobody declared is refused (`forge.portrait`).
2. A clip appears under its name only after it was signed; before, it lies in the same folder under a hidden name
   (`forge.sealing`).
3. Pictures last as long as the speech, to the nearest frame, and start with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forge.methods import Method, Shot, Take, method_named, opened
from forge.portrait import Declaration, Portrait, load_portrait
from forge.sealing import TOOL, check_target, film_and_sign, swept, synthetic_source_type
from forge.voice import load_speech, spoken
from media.clip import Clip, Waveform, frames_for
from provenance.claims import Claim, Ingredient
from provenance.record import Record

if TYPE_CHECKING:
    from provenance.credential import Credential

UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Made:
    """What `animate_to_file` made."""

    file: Path
    sha256: str
    frames: int
    size: int
    fps: Fraction
    speech_seconds: float
    method: str
    motion: str
    """Name of the source of motion."""
    declaration: Declaration
    credential: Credential

    def to_json(self) -> dict[str, Any]:
        """The facts for a machine: plain JSON values."""
        return {
            "file": str(self.file),
            "sha256": self.sha256,
            "label": "synthetic",
            "frames": self.frames,
            "fps": f"{self.fps.numerator}/{self.fps.denominator}",
            "seconds": round(float(self.frames / self.fps), 6),
            "speech_seconds": round(self.speech_seconds, 6),
            "size": self.size,
            "method": self.method,
            "motion": self.motion,
            "declaration": str(self.declaration),
            "license": self.declaration.license,
            "credential": {"standing": self.credential.standing.value, "signer": self.credential.signer},
        }


def animate(portrait: Portrait, speech: Waveform, *, method: Method | str = "mesh", shot: Shot | None = None) -> Clip:
    """A portrait that says the speech, in memory. Nothing of it is signed: to keep it, use `animate_to_file`.

    Args:
        portrait: who speaks, declared.
        speech: what is said; any rate, any channels.
        method: a `Method`, or a name in `METHODS`.
        shot: size, frame rate, controls and source of motion.

    Raises:
        ForgeError: when no face is found or the speech is too short.
    """
    shot = shot or Shot()
    sound = spoken(speech)
    with opened(method_named(method) if isinstance(method, str) else method) as maker:
        take = maker.film(portrait, sound, shot)
        frames = np.stack(list(counted(take, sound, shot.fps)))
    return Clip(frames, shot.fps, sound)


def animate_to_file(
    portrait: Path,
    speech: Path,
    out: Path,
    *,
    declaration: Declaration | None,
    method: Method | str = "mesh",
    shot: Shot | None = None,
    own_seed: bool = False,
    overwrite: bool = False,
    crf: int = 18,
    on_frame: Callable[[int, int], None] = lambda done, planned: None,
    notify: Callable[[str], None] | None = None,
) -> Made:
    """Make a signed mp4 of a portrait that says the speech.

    Args:
        portrait: a picture.
        speech: a sound file, or a video whose sound is taken.
        out: the mp4 to make.
        declaration: why the picture may be animated; None asks the picture's own credentials.
        method: a `Method`, or a name in `METHODS`.
        shot: size, frame rate, controls and source of motion.
        own_seed: take the seed of blinks, gaze and sway from the two files instead of from `shot`: another speech or
            another face moves differently, the same command makes the same clip.
        overwrite: replace `out` when it exists.
        crf: x264 quality, 18 = visually lossless.
        on_frame: told (frames done, frames planned) after each frame.
        notify: gets one line when a development identity had to be made to sign with.

    Raises:
        ForgeError: in one line, for anything that cannot be used; then nothing is left behind.
    """
    shot = shot or Shot()
    method = method_named(method) if isinstance(method, str) else method
    check_target(out, overwrite=overwrite, inputs=(portrait, speech))
    who = load_portrait(portrait, declaration)
    said = load_speech(speech)
    shot.motion.check()
    if own_seed:
        shot = replace(shot, controls=replace(shot.controls, seed=seed_of(who.sha256, said.sha256)))
    facts = record_of(who, {"speech": said.sha256}, shot, method, crf)
    with opened(method) as maker, swept(out):
        take = maker.film(who, said.sound, shot)
        frames = _told(counted(take, said.sound, shot.fps), frames_for(said.sound.duration_seconds, shot.fps), on_frame)
        claim = claim_of(who, facts, out.name, speech=said.path)
        sealed = film_and_sign(frames, said.sound, out, claim, shot=shot, crf=crf, notify=notify)
    return Made(
        file=out,
        sha256=sealed.credential.sha256,
        frames=sealed.frames,
        size=shot.size,
        fps=shot.fps,
        speech_seconds=float(said.sound.duration_seconds),
        method=method.name,
        motion=shot.motion.label,
        declaration=who.declaration,
        credential=sealed.credential,
    )


def counted(take: Take, sound: Waveform, fps: Fraction) -> Iterator[UInt8Array]:
    """The frames of a take, which must be as many as the sound needs (rule 3)."""
    planned = frames_for(sound.duration_seconds, fps)
    told = planned if take.motion is None else take.motion.length
    assert told == planned, f"a method planned {told} frames where {planned} are needed"
    count = 0
    for count, image in enumerate(take.frames, 1):  # noqa: B007 -- counts what was yielded
        yield image
    assert count == planned, f"a method made {count} frames where {planned} are needed"


def seed_of(portrait_sha256: str, speech_sha256: str) -> int:
    """A seed below 2^31 that belongs to a pair of files."""
    return int(hashlib.sha256(f"{portrait_sha256} {speech_sha256}".encode()).hexdigest()[:8], 16) >> 1


def record_of(
    portrait: Portrait,
    speech: Mapping[str, str],
    shot: Shot,
    method: Method,
    crf: int,
    more: Mapping[str, object] | None = None,
) -> Record:
    """What made a clip, for its credential.

    Args:
        portrait: who speaks.
        speech: name of what was heard -> its SHA-256.
        shot: how it is filmed.
        method: the generator.
        crf: x264 quality.
        more: further settings; JSON values.
    """
    return Record(
        tool=TOOL,
        recipe=f"{method.name}-{shot.size}",
        seed=shot.controls.seed,
        model_sha256=method.fingerprint(),
        label="synthetic",
        consent=str(portrait.declaration),
        portrait_license=portrait.declaration.license,
        inputs={"portrait": portrait.sha256, **speech},
        controls=dict(shot.controls.to_json())
        | {"method": method.name, "size": shot.size, "fps": str(shot.fps), "crf": crf}
        | shot.motion.to_json()
        | dict(more or {}),
    )


def claim_of(portrait: Portrait, record: Record, title: str, *, speech: Path | None) -> Claim:
    """What the credential of a clip says.

    Args:
        portrait: who speaks.
        record: what made it.
        title: the clip's name.
        speech: the file that was heard; None when the sound came through a pipe.
    """
    heard = (Ingredient(speech, "speech"),) if speech else ()
    return Claim(
        source_type=synthetic_source_type(portrait.declaration),
        action="created",
        title=title,
        description="talking head animated from one picture and speech; not a recording",
        ingredients=(Ingredient(portrait.path, "portrait"), *heard),
        record=record,
    )


def _told(frames: Iterator[UInt8Array], planned: int, on_frame: Callable[[int, int], None]) -> Iterator[UInt8Array]:
    for done, image in enumerate(frames, 1):
        yield image
        on_frame(done, planned)
