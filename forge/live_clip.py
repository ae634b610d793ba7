"""A live talk from portrait and sound to, when asked for, a signed clip.

    made = speak_live(Path("ada.png"), Path("hello.wav"), declaration=Declaration.nonexistent(), out=Path("ada.mp4"))
    made.report.latency_ms, made.credential

The rules of `forge.animate` hold: no undeclared portrait, no unsigned clip, pictures as long as the sound. In the file
both are later than life by the same delay, so they begin together and agree.
"""

from __future__ import annotations

import queue
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from forge.animate import claim_of, record_of, seed_of
from forge.live import BUFFER_SECONDS, LiveReport, LiveTalk
from forge.live_sound import Block, Clock, Incoming, Pace, Resampler, WallClock, paced, piped, recorded
from forge.methods import Maker, Method, Shot, Sitter, method_named, opened
from forge.motion.controls import DIFFUSION, Controls
from forge.motion.features import NAMES
from forge.motion.hearing import RATE_HZ
from forge.motion.sources import MotionSource
from forge.portrait import Declaration, ForgeError, Portrait, load_portrait
from forge.sealing import Sealed, check_target, film_and_sign, swept
from forge.voice import SPEECH_RATES_HZ, Speech, load_speech, standard_rate
from media.clip import Waveform
from provenance.claims import Claim

if TYPE_CHECKING:
    from provenance.credential import Credential

UInt8Array = NDArray[np.uint8]

CRF, PRESET = 20, "veryfast"
"""Quick enough to be encoded beside the drawing."""
LONGEST_CLIP_SECONDS = Fraction(1800)
"""Of a pipe's sound that is kept for a clip."""
MOST_WAITING = 100
"""Pictures that may wait to be written."""
CHUNKS_SECONDS = (Fraction(1, 1000), Fraction(1))
BUFFERS_SECONDS = (0.0, 10.0)


@dataclass(frozen=True)
class LiveSetting:
    """How sound comes in and how much time a picture has."""

    pace: Pace = Pace.REALTIME
    chunk_seconds: Fraction = Fraction(1, 100)
    """Sound is handed on in pieces of this length, as by a sound card."""
    buffer_seconds: float = BUFFER_SECONDS
    raw_rate_hz: int | None = None
    """Of raw signed 16-bit samples in a pipe; None for wav."""
    seconds: Fraction | None = None
    """Stop listening after so long."""

    def __post_init__(self) -> None:
        """Refuse times that make no sense."""
        low, high = CHUNKS_SECONDS
        if not low <= self.chunk_seconds <= high:
            raise ForgeError(f"a chunk must last 1 to 1000 ms, got {float(1000 * self.chunk_seconds):g}")
        if not BUFFERS_SECONDS[0] <= self.buffer_seconds <= BUFFERS_SECONDS[1]:
            raise ForgeError(f"the buffer must be 0 to 10000 ms, got {1000 * self.buffer_seconds:g}")
        if self.seconds is not None and self.seconds <= 0:
            raise ForgeError(f"seconds must be positive, got {float(self.seconds):g}")


@dataclass(frozen=True)
class LiveMade:
    """What `speak_live` did."""

    report: LiveReport
    method: str
    size: int
    motion: str
    steps: int
    chunk_ms: float
    declaration: Declaration
    file: Path | None = None
    credential: Credential | None = field(default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; file and credential are null when no clip was asked for."""
        made: dict[str, Any] = {"file": None, "sha256": None, "label": "synthetic", "credential": None}
        if self.credential is not None:
            standing = {"standing": self.credential.standing.value, "signer": self.credential.signer}
            made |= {"file": str(self.file), "sha256": self.credential.sha256, "credential": standing}
        facts = {"method": self.method, "size": self.size, "motion": self.motion, "motion_steps": self.steps}
        facts |= {"chunk_ms": self.chunk_ms, "declaration": str(self.declaration)}
        return made | facts | self.report.to_json()


def live_shot(size: int = 256, fps: Fraction = Fraction(25)) -> Shot:
    """The usual live shot: small, and moved by the network, for the baseline looks ahead."""
    return Shot(size, fps, motion=MotionSource(DIFFUSION))


def speak_live(
    portrait: Path,
    speech: Path | BinaryIO,
    *,
    declaration: Declaration | None,
    out: Path | None = None,
    method: Method | str = "mesh",
    shot: Shot | None = None,
    setting: LiveSetting | None = None,
    own_seed: bool = False,
    overwrite: bool = False,
    clock: Clock | None = None,
    on_frame: Callable[[int], None] = lambda done: None,
    notify: Callable[[str], None] | None = None,
) -> LiveMade:
    """Let a portrait say what comes in while it comes in.

    Args:
        portrait: a picture.
        speech: a sound file, or an open pipe.
        declaration: why the picture may be animated; None asks the picture's own credentials.
        out: a signed mp4 of what was shown; None keeps nothing.
        method: a `Method`, or a name in `METHODS`.
        shot: size, frame rate, controls and motion; by default `live_shot()`.
        setting: pace and pieces.
        own_seed: take the seed from portrait and sound file, as `forge.animate`; for a pipe, whose sound is not known
            yet, draw it by chance. The clip's credential tells it.
        overwrite: replace `out` when it exists.
        clock: tells the time.
        on_frame: told how many frames were shown.
        notify: gets lines for people.

    Raises:
        ForgeError: in one line, for anything that cannot be used; then nothing is left behind.
    """
    shot, setting, clock = shot or live_shot(), setting or LiveSetting(), clock or WallClock()
    method = method_named(method) if isinstance(method, str) else method
    inputs = (portrait, speech) if isinstance(speech, Path) else (portrait,)
    if out is not None:
        check_target(out, overwrite=overwrite, inputs=inputs)
    who = load_portrait(portrait, declaration)
    said = load_speech(speech) if isinstance(speech, Path) else None
    if own_seed:
        seed = seed_of(who.sha256, said.sha256) if said else secrets.randbelow(2**31)
        shot = replace(shot, controls=replace(shot.controls, seed=seed))
    shot.motion.live(shot.controls)  # says at once what is missing
    with opened(method) as maker:
        sitter = _warm(maker, who, shot)
        heard = _incoming(said, speech, setting, clock, keep=out is not None)
        talk = LiveTalk(
            sitter,
            shot.motion.live(shot.controls),
            rate_hz=heard.rate_hz,
            fps=shot.fps,
            clock=clock,
            pace=setting.pace,
            block_seconds=setting.chunk_seconds,
            buffer_seconds=setting.buffer_seconds,
        )
        if out is None:
            for done, _ in enumerate(talk.pictures(paced(heard, setting.pace, clock)), 1):
                on_frame(done)
            sealed = None
        else:
            sealed = _Filming(who, said, heard, out, method, shot, setting).film(talk, clock, on_frame, notify)
    return LiveMade(
        report=talk.report(),
        method=method.name,
        size=shot.size,
        motion=shot.motion.label,
        steps=shot.motion.live_sampling()[0],
        chunk_ms=float(1000 * setting.chunk_seconds),
        declaration=who.declaration,
        file=out,
        credential=sealed.credential if sealed else None,
    )


def longest_clip(setting: LiveSetting) -> Fraction:
    """Seconds of a pipe that can be kept."""
    return min(setting.seconds or LONGEST_CLIP_SECONDS, LONGEST_CLIP_SECONDS)


def _incoming(said: Speech | None, speech: Path | BinaryIO, setting: LiveSetting, clock: Clock, keep: bool) -> Incoming:
    """The sound, no longer than it may be."""
    if said is not None:
        heard, longest = recorded(said, setting.chunk_seconds), setting.seconds
    else:
        assert not isinstance(speech, Path)
        heard = piped(speech, setting.chunk_seconds, rate_hz=setting.raw_rate_hz, clock=clock)
        longest = longest_clip(setting) if keep else setting.seconds
    return heard if longest is None else heard.limited(longest)


def _warm(maker: Maker, portrait: Portrait, shot: Shot) -> Sitter:
    """The fitted portrait, after motion and drawing were tried: first times are slow, so they come before the sound."""
    sitter = maker.sit(portrait, shot.size)
    motion = shot.motion.live(Controls())
    for frame in motion.push(np.zeros(RATE_HZ // 2, np.float32)):
        sitter.draw(frame.values.astype(np.float64))
    sitter.draw(np.zeros(len(NAMES)))
    return sitter


class KeptSound:
    """A pipe's sound, kept for the clip while it comes in.

    The encoder is given the whole array at the start and reads it only as far as there are pictures, which come after
    their sound: so sound may be written into it as it arrives, and no picture has to wait on a disk. Where the last
    picture outlasts the sound (by half a frame at most) silence follows.
    """

    def __init__(self, rate_hz: int, longest_seconds: Fraction) -> None:
        clip_hz = rate_hz if rate_hz in SPEECH_RATES_HZ else standard_rate(rate_hz)
        self._resampler, self._came = Resampler(rate_hz, clip_hz), 0
        self.sound = Waveform(np.zeros((int(longest_seconds * clip_hz) + clip_hz, 1), np.float32), clip_hz)

    def heard(self) -> Waveform:
        """What came."""
        return Waveform(self.sound.samples[: self._came], self.sound.sample_rate_hz)

    def noting(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The same blocks, after they were kept."""
        for block in blocks:
            self._keep(self._resampler.push(block.samples))
            yield block
        self._keep(self._resampler.finish())

    def _keep(self, samples: NDArray[np.float32]) -> None:
        self.sound.samples[self._came : self._came + len(samples), 0] = samples
        self._came += len(samples)


@dataclass(frozen=True, eq=False)
class _Filming:
    """What a live clip is made of, and with."""

    portrait: Portrait
    speech: Speech | None
    heard: Incoming
    out: Path
    method: Method
    shot: Shot
    setting: LiveSetting

    def film(
        self, talk: LiveTalk, clock: Clock, on_frame: Callable[[int], None], notify: Callable[[str], None] | None
    ) -> Sealed:
        """Show the talk, write it, sign it."""
        blocks = paced(self.heard, self.setting.pace, clock)
        kept = None
        if self.speech is not None:
            sound = self.speech.sound
            if self.setting.seconds is not None:
                sound = Waveform(sound.samples[: int(self.setting.seconds * self.heard.rate_hz)], sound.sample_rate_hz)
        else:
            kept = KeptSound(self.heard.rate_hz, longest_clip(self.setting))
            sound, blocks = kept.sound, kept.noting(blocks)

        def pictures() -> Iterator[UInt8Array]:
            for done, image in enumerate(talk.pictures(blocks), 1):
                yield image
                on_frame(done)

        def write(images: Iterator[UInt8Array]) -> Sealed:
            return film_and_sign(
                images,
                sound,
                self.out,
                lambda: self._claim(talk),
                shot=self.shot,
                crf=CRF,
                preset=PRESET,
                notify=notify,
                heard=kept.heard if kept else None,
            )

        with swept(self.out):
            return written_beside(write, pictures())

    def _claim(self, talk: LiveTalk) -> Claim:
        facts = self.shot.motion.live_facts() | {"live": True, "repeated": talk.repeated}
        record = record_of(self.portrait, {"speech": self.heard.digest()}, self.shot, self.method, CRF, more=facts)
        path = self.speech.path if self.speech else None
        return claim_of(self.portrait, record, self.out.name, speech=path)


def written_beside(write: Callable[[Iterator[UInt8Array]], Sealed], pictures: Iterable[UInt8Array]) -> Sealed:
    """Write pictures in a thread of its own while they are made: marking and encoding must not make one late.

    Whatever ends the making early (Ctrl-C, a broken pipe) ends the writing in the middle, which then leaves nothing.
    """
    waiting: queue.Queue[UInt8Array | BaseException | None] = queue.Queue(MOST_WAITING)

    def coming() -> Iterator[UInt8Array]:
        while (got := waiting.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got

    with ThreadPoolExecutor(1) as crew:
        writing = crew.submit(write, coming())
        try:
            for image in pictures:
                _put(waiting, image, writing)
            _put(waiting, None, writing)
        except BaseException as error:
            _put(waiting, error, writing)
            raise
        return writing.result()


def _put(
    waiting: queue.Queue[UInt8Array | BaseException | None],
    item: UInt8Array | BaseException | None,
    writing: Future[Sealed],
) -> None:
    """Hand on, unless nobody reads any more: then `writing` knows why."""
    while not writing.done():
        try:
            return waiting.put(item, timeout=0.2)
        except queue.Full:
            continue
    if not isinstance(item, BaseException):
        writing.result()
