"""Everything that can make a Motion of speech, one name each: the rows of the motion benchmark.

    systems = open_systems({"diffusion": weights}, lessons, names)     # name -> Speak, or why there is none
    motion = systems["baseline"](speech, Fraction(25), Controls(seed=7))

Axes: T frames at 25 a second, M = 70 motion features, G groups of mel bands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.lip_geometry import bands_of, sound_windows
from benchmarks.sync_judge import Lesson
from forge.motion.controls import Controls
from forge.motion.features import INDEX, Motion
from forge.motion.hearing import RATE_HZ, one_channel
from forge.motion.speech import jaw_from_loudness, motion_from_speech
from media.clip import Waveform, frames_for

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
Speak = Callable[[Waveform, Fraction, Controls], Motion]
FPS = Fraction(25)
PIECE, FADE = 25, 5
"""Frames of one borrowed piece of the nearest clip, and of the fade between two."""
WINDOW = 50
"""Frames of one window of the diffusion."""
LIP_PREFIXES = ("jaw", "mouth", "tongue")
SHIPPED = Path(__file__).resolve().parents[1] / "forge" / "motion" / "assets" / "motion_teacher.safetensors"
SHIPPED_DISTILLED = SHIPPED.with_name("motion.safetensors")
"""The same network folded into few steps: what draws clips."""
SHIPPED_LIVE = SHIPPED.with_name("motion_live.safetensors")
"""What draws live talks."""


def frozen_mouth(speak: Speak) -> Speak:
    """The same with a mouth that keeps its median."""

    def frozen(speech: Waveform, fps: Fraction, controls: Controls) -> Motion:
        motion = speak(speech, fps, controls)
        still = {name: float(np.median(motion[name])) for name in INDEX if name.startswith(LIP_PREFIXES)}
        return motion.replace(**still)

    return frozen


def loud_jaw(speech: Waveform, fps: Fraction, controls: Controls) -> Motion:
    """The trivial rival; it has no wishes."""
    return jaw_from_loudness(speech, fps)


def nearest_clip(lessons: Sequence[Lesson]) -> Speak:
    """Each second from the piece of a real training clip whose sound is nearest: natural motion, borrowed lips.

    Raises:
        ValueError: when no real clip of the train split is long enough.
    """
    from forge.motion.sequences import motion_of_track

    sounds, motions = [], []
    for lesson in lessons:
        values = motion_of_track(lesson.track) if lesson.real and lesson.train else None
        if values is None or len(values) < PIECE + FADE:
            continue
        sounds.append(_loud_bands(lesson.bands, lesson.first, len(values)))
        motions.append(values)
    if not motions:
        raise ValueError("no real clip of the train split with sound and a face that is followed throughout")

    def speak(speech: Waveform, fps: Fraction, controls: Controls) -> Motion:
        length = frames_for(speech.duration_seconds, FPS)
        wanted = _loud_bands(bands_of(speech), 0, length)
        out = np.zeros((length, motions[0].shape[1]), np.float32)
        for start in range(0, length, PIECE):
            count = min(PIECE, length - start)
            clip, at = _nearest(wanted[start : start + count], sounds)
            piece = motions[clip][at : at + min(count + FADE, length - start)]
            fresh = np.clip((np.arange(len(piece)) + 1) / (FADE + 1), 0.0, 1.0)[:, None] if start else 1.0
            here = slice(start, start + len(piece))
            out[here] = (1.0 - fresh) * out[here] + fresh * piece
        return Motion(out, FPS)

    return speak


def _loud_bands(bands: FloatArray, first: int, length: int) -> Array:
    """(T, 8) sound of each frame in eight groups of bands."""
    windows = sound_windows(bands, first + np.arange(length))
    return np.asarray(windows.reshape(length, 20, 8, 10)[:, 8:12].mean(axis=(1, 3)), np.float64)


def _nearest(wanted_TG: Array, sounds: Sequence[Array]) -> tuple[int, int]:
    """Which clip, and from which frame, sounds most like (T, G) frames; room for the fade is left where possible."""
    best, found = np.inf, (0, 0)
    length = len(wanted_TG)
    for clip, sound in enumerate(sounds):
        for at in range(0, max(1, len(sound) - length - FADE), 2):
            piece = sound[at : at + length]
            apart = float(np.square(piece - wanted_TG[: len(piece)]).mean()) if len(piece) == length else np.inf
            if apart < best:
                best, found = apart, (clip, at)
    return found


def without_context(speak: Speak) -> Speak:
    """Windows of two seconds that know nothing of each other."""

    def alone(speech: Waveform, fps: Fraction, controls: Controls) -> Motion:
        sound = one_channel(speech).resampled(RATE_HZ)
        each = WINDOW * RATE_HZ // int(FPS)
        length = frames_for(speech.duration_seconds, FPS)
        pieces = []
        for number, start in enumerate(range(0, len(sound.samples), each)):
            samples = sound.samples[start : start + each]
            if len(samples) < RATE_HZ // 4:  # a rest too short to be heard: silence follows it
                samples = np.pad(samples, ((0, RATE_HZ // 4 - len(samples)), (0, 0)))
            seed = controls.seed + 1000 * number
            wishes = Controls(**{**vars(controls), "seed": seed})
            pieces.append(speak(Waveform(samples, RATE_HZ), FPS, wishes).values)
        return Motion(np.concatenate(pieces)[:length], FPS)

    return alone


def diffusion(weights: Path, *, live: bool = False, **options: Any) -> Speak:
    """The motion network of a weights file; `options` go to `motion_by_diffusion`.

    Raises:
        ValueError: in one line, when the file holds no such network.
    """
    from forge.motion.windows import MotionModel, motion_by_diffusion, resampled
    from forge.stream import LiveMotion

    model = MotionModel.load(weights)

    def speak(speech: Waveform, fps: Fraction, controls: Controls) -> Motion:
        return motion_by_diffusion(model, speech, fps, controls, **options)

    def speak_live(speech: Waveform, fps: Fraction, controls: Controls) -> Motion:
        talk = LiveMotion(model, controls)
        samples = one_channel(speech).resampled(RATE_HZ).samples[:, 0]
        frames = [frame.values for frame in [*talk.push(samples), *talk.finish()]]
        length = frames_for(speech.duration_seconds, FPS)
        values = np.stack(frames)
        values = np.concatenate([values, np.repeat(values[-1:], max(0, length - len(values)), axis=0)])[:length]
        return Motion(values, FPS) if fps == FPS else resampled(values, _moments(speech, fps), fps)

    return speak_live if live else speak


def _moments(speech: Waveform, fps: Fraction) -> Array:
    return np.asarray((np.arange(frames_for(speech.duration_seconds, fps)) + 0.5) / float(fps), np.float64)


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    ", 50 steps": {"steps": 50},
    ", no guidance": {"guidance": {}},
}
"""Of a network, by the end of the row's name."""
DISTILLED = "distilled"


def open_systems(
    weights: Mapping[str, Path],
    distilled: Path | None,
    lessons: Sequence[Lesson],
    names: Sequence[str],
    *,
    variants: bool,
) -> dict[str, Speak | str]:
    """Rows by name; a str says why a row is absent.

    Args:
        weights: networks by name.
        distilled: weights that need few steps, as they say themselves.
        lessons: real clips, for the nearest clip.
        names: which families: baseline, diffusion.
        variants: also the ablations and the rivals that take long.
    """
    systems: dict[str, Speak | str] = {"jaw from loudness": loud_jaw, "frozen mouth": frozen_mouth(motion_from_speech)}
    if variants:
        systems["nearest clip"] = _opened(lambda: nearest_clip(lessons)) if lessons else "give --real"
    if "baseline" in names:
        systems["baseline"] = motion_from_speech
    if "diffusion" not in names:
        return systems
    for name, path in weights.items():
        systems |= {
            name + ending: _opened(partial(diffusion, path, **options))
            for ending, options in (VARIANTS if variants else {"": {}}).items()
        }
        plain = systems[name]
        if variants:
            systems[f"{name}, no context"] = plain if isinstance(plain, str) else without_context(plain)
            if distilled is None:
                systems[f"{name}, live"] = _opened(partial(diffusion, path, live=True))
    if distilled is not None:
        systems[DISTILLED] = _opened(partial(diffusion, distilled))
        talking = SHIPPED_LIVE if distilled == SHIPPED_DISTILLED and SHIPPED_LIVE.is_file() else distilled
        systems[f"{DISTILLED}, live"] = _opened(partial(diffusion, talking, live=True))
    elif variants:
        systems[DISTILLED] = "give --distilled"
    return systems


def _opened(make: Callable[[], Speak]) -> Speak | str:
    """What is made, or the reason why it cannot be."""
    try:
        return make()
    except ValueError as error:
        return str(error)
