"""Partial forgeries: forged within some stretches of a clip, the recording itself everywhere else.

    part = within(forgery, scene, [(0.4, 0.7)])      # shares of the clip; exact to the frame

Stretches are half-open. A cross-fade lies inside of them: outside every pixel and every sample is the recording's.
Pictures fade only where the forged head follows the recording's; else they are cut, for a mixture would show two heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forge.manipulations.blending import to_bytes
from forge.manipulations.scene import BoolArray, Drawn, Forgery, Scene, Segment
from forge.manipulations.steady import runs_of
from forge.portrait import ForgeError
from media.clip import Waveform

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]

LONGEST_FADE = 2
SOUND_FADE_SECONDS = 0.01
"""Shorter than any sound of speech, long enough not to click."""


def within(forgery: Forgery, scene: Scene, shares: Sequence[tuple[float, float]], *, fade_frames: int = 1) -> Forgery:
    """A forgery that is seen and heard only within given shares of the clip.

    Args:
        forgery: of the whole clip; its frames must not have been read.
        scene: the clip it was made of.
        shares: (start, end) in parts of the clip, ascending; each becomes at least one frame.
        fade_frames: frames at each end of a stretch that are mixed with the recording; 0 is a clean cut, which is what
            a forgery gets that does not follow the recording.

    Raises:
        ValueError: for shares that are not ascending parts of 0 to 1, or a fade of more than `LONGEST_FADE` frames.
        ForgeError: when the forged sound has another form than the clip's.
    """
    if not 0 <= fade_frames <= LONGEST_FADE:
        raise ValueError(f"fade_frames must be 0 to {LONGEST_FADE}, got {fade_frames}")
    fade_frames = fade_frames if forgery.follows_recording else 0
    weight_T = weights_of(spans_of(shares, scene.length), scene.length, fade_frames)
    inside = weight_T > 0
    given = forgery.masks

    def masks() -> Iterator[BoolArray]:
        assert given is not None
        for index, mask in enumerate(given()):
            yield mask if inside[index] else np.zeros_like(mask)

    return replace(
        forgery,
        frames=_frames(forgery.frames, scene, weight_T),
        sound=_sound(forgery, scene, inside),
        masks=None if given is None else masks,
        segments=_segments(forgery.segments, scene, inside),
        motion=None,  # of a frame that was not forged nobody knows it, and the truth is told for a whole clip or not
        facts={**forgery.facts, "fade_frames": fade_frames},
    )


def spans_of(shares: Sequence[tuple[float, float]], length: int) -> list[tuple[int, int]]:
    """Frames [start, end) of shares of a clip of so many frames.

    Raises:
        ValueError: for shares that are not ascending parts of 0 to 1.
    """
    spans: list[tuple[int, int]] = []
    last = 0.0
    for start, end in shares:
        if not last <= start < end <= 1:
            raise ValueError(f"shares must ascend within 0 to 1 and not overlap, got {[*shares]}")
        last = end
        first = min(round(start * length), length - 1)
        spans.append((first, max(round(end * length), first + 1)))
    if not spans:
        raise ValueError("shares must name at least one part of the clip, got none")
    return spans


def weights_of(spans: Sequence[tuple[int, int]], length: int, fade: int) -> FloatArray:
    """(T,) how much of each frame or sample is forged: 0 outside, 1 inside, between where it borders on the recording.

    Args:
        spans: [start, end) of what is forged.
        length: number of frames or samples T.
        fade: how many at each border are between.
    """
    inside = np.zeros(length, bool)
    for start, end in spans:
        inside[start:end] = True
    weight = inside.astype(np.float32)
    for run in runs_of(inside):
        at = np.arange(run.start, run.stop)
        rising = (at - run.start + 1) / (fade + 1) if run.start > 0 else np.ones(len(at))
        falling = (run.stop - at) / (fade + 1) if run.stop < length else np.ones(len(at))
        weight[run] = np.clip(np.minimum(rising, falling), 0, 1)
    return weight


def _frames(frames: Iterator[UInt8Array], scene: Scene, weight_T: FloatArray) -> Iterator[UInt8Array]:
    drawn: Callable[[int], UInt8Array] | None = frames.at if isinstance(frames, Drawn) else None
    for index, weight in enumerate(weight_T.tolist()):
        if drawn is not None and weight == 0:  # frames that nobody sees are not drawn
            yield scene.frame(index)
            continue
        forged = drawn(index) if drawn is not None else next(frames)
        if weight == 1:
            yield forged
            continue
        own = scene.frame(index)
        mix = own + np.float32(weight) * (forged.astype(np.float32) - own)
        yield to_bytes(np.asarray(mix, np.float32)) if weight else own


def _sound(forgery: Forgery, scene: Scene, inside: BoolArray) -> Waveform | None:
    own, other = scene.sound, forgery.sound
    if own is None or other is None or not any(segment.what != "picture" for segment in forgery.segments):
        return own
    if (own.sample_rate_hz, own.samples.shape) != (other.sample_rate_hz, other.samples.shape):
        raise ForgeError("the forged sound has another rate, length or number of channels than the clip's own")
    rate = own.sample_rate_hz
    spans = [
        (round(run.start / scene.fps * rate), min(round(run.stop / scene.fps * rate), len(own.samples)))
        for run in runs_of(inside)
    ]
    weight = weights_of(spans, len(own.samples), round(SOUND_FADE_SECONDS * rate))[:, None]
    return Waveform(own.samples + weight * (other.samples - own.samples), rate)


def _segments(segments: Iterable[Segment], scene: Scene, inside: BoolArray) -> tuple[Segment, ...]:
    found: list[Segment] = []
    for segment in segments:
        part = np.zeros(scene.length, bool)
        part[round(segment.start_seconds * scene.fps) : round(segment.end_seconds * scene.fps)] = True
        found += scene.segments(part & inside, segment.what)
    return tuple(found)
