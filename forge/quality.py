"""Whether a clip is fit for a dataset: a face is there, nothing flickers, freezes, turns into somebody else, or lags.

    examiner = Examiner(Gate(), crew.finder, fps=Fraction(25), size=256)
    for image in examiner.watching(frames): writer.add(image)
    found = examiner.judged(motion=motion, sound=sound, portrait=None)
    found.passed, found.cause, found.measurements

Rules:

1. Real and synthetic clips are measured alike, by the same thresholds, wherever both have what is measured: a gate that
   asked more of one of them would tell the label by what is missing. Only what was told to move can be late (`sync`),
   and only what was animated from a picture can be unlike it: these two reject nothing but what is broken. Of a clip of
   which only stretches are forged, the rest alone is asked whether it shows one person: a forgery must not be refused
   for being seen.
2. What cannot be measured (no speech, too short) is None, and passes.
3. Frames are passed on untouched and not kept: a few bytes a frame, and at most `MOST_LOOKS` faces.
4. Brightness is measured in whole numbers, the same on every machine. Faces are found by a network whose last digits
   differ between processors: measurements belong beside a clip's record, not into what must be equal everywhere.

What it cannot see: somebody who looks like the first one (geometry and colours are compared, there is no identity
network), a forged face that wears the colours and the shape of the real one, artefacts that stand still, bad lip shapes
in time with the voice.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forge.doubles import CELLS, Printer
from forge.manipulations.scene import Segment
from forge.motion.features import Motion
from forge.quality_measures import (
    LEAST_LOOKS,
    Faces,
    Finder,
    Look,
    apart,
    distances,
    drift_of,
    flicker_of,
    lag_of,
    loud,
    opening_of,
    small_grey,
)
from media.clip import Waveform

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
Curve = NDArray[np.float64]
Cause = Literal["no_face", "frozen", "flicker", "identity", "sync"]

DARKEST = 20.0
"""Grey levels: in a darker picture changes count as if it were so bright."""
STILL_SECONDS, STILL_CELLS, STILL_LEVELS = 0.4, 8, 2
"""A picture stands still when after so long fewer than so many cells have changed by so many grey levels. Of 95 moving
recordings and 86 made clips none did at any time; pixels of a talking mouth alone change by ten times that."""
_HEARD_SHARE = 0.2
"""Of a time that stands still: with less sound in it, nobody was to move."""
_SLOWEST_ORDERED = 20.0
"""Frames a second: with fewer, a mouth opens and shuts within two frames, and order cannot be told from disorder."""


@dataclass(frozen=True)
class Gate:
    """What a clip must keep to; None asks nothing. How the defaults were found: below each."""

    looks_per_second: float = 1.0
    """A look costs more than all the rest: 10 to 20 ms of one core, as much as drawing a frame. Short clips are looked
    at `LEAST_LOOKS` times."""
    least_face_share: float | None = 0.6
    """Share of looks in which a face is found inside the picture. Good clips: 1.0; windows of real videos are chosen by
    .7 of other frames."""
    most_frozen_share: float | None = 0.45
    """Share of the clip in which the picture stands still while something is heard; in a silent clip, stands still.
    One of 96 recordings was a still picture; all others have 0."""
    most_flash: float | None = 0.15
    """Change of brightness that comes and goes within one frame, in parts of the mean; the largest of a clip. Good
    clips up to .073; a black frame 1.0, a photographer's flash above .2."""
    most_flicker: float | None = 0.03
    """The same, its upper quartile over the clip. Good clips up to .016; every second frame brighter by 6 %: .06."""
    most_disorder: float | None = 0.03
    """How much shorter the way through the pictures becomes when two neighbours change places, in parts of the way.
    Good clips up to .006; one of 96 recordings had frames out of order (.23), two neighbours exchanged: .3."""
    most_drift: float | None = 1.6
    """How far the face after any moment is from the face before it in shape, skin colour and coarse picture: geometric
    mean of the three, each over what a good clip rarely exceeds. Two of 94 recordings were above (shouting and turning
    away), made clips up to 1.4; with another person from the middle on 99 in 100 are, 94 in one studio and light."""
    most_unlike: float | None = 2.0
    """Colours alone, between the portrait that a clip was animated from and the most similar look of the clip. Good
    clips up to 1.4, other people's portraits from 2.1 on."""
    most_lag_seconds: float | None = 0.2
    """By how much the mouth that is seen follows or precedes the one that was told; asked from 2.4 seconds on,
    and only where lips can be told from what is between them."""

    def __post_init__(self) -> None:
        """Refuse numbers that are no thresholds."""
        if not 0 < self.looks_per_second <= 60:
            raise ValueError(f"looks_per_second must be above 0 and at most 60, got {self.looks_per_second}")
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not 0 <= value < 1e6:
                raise ValueError(f"{each.name} must be a number from 0 or None, got {value}")

    @classmethod
    def off(cls) -> Gate:
        """Nothing is asked, nothing is measured."""
        return cls(1.0, None, None, None, None, None, None, None, None)

    def to_json(self) -> dict[str, float | None]:
        """Plain JSON values: datasets of another gate are other datasets."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def is_off(self) -> bool:
        """Whether nothing is asked."""
        return all(getattr(self, each.name) is None for each in fields(self)[1:])

    @property
    def looks(self) -> bool:
        """Whether anything is asked for which a face must be found."""
        asked = (self.least_face_share, self.most_drift, self.most_unlike, self.most_lag_seconds)
        return any(one is not None for one in asked)


@dataclass(frozen=True)
class Examination:
    """What was found of one clip."""

    cause: Cause | None
    """The first of the gate's demands that was not kept; None when all were."""
    measurements: Mapping[str, float | None]
    """To three digits, as they were judged; None where there was nothing to measure."""

    def __post_init__(self) -> None:
        """Keep the measurements from changing."""
        object.__setattr__(self, "measurements", MappingProxyType(dict(self.measurements)))

    @property
    def passed(self) -> bool:
        """Whether the clip is fit."""
        return self.cause is None


class Examiner:
    """Watches one clip go by and judges it afterwards."""

    def __init__(
        self,
        gate: Gate,
        finder: Callable[[], Finder],
        *,
        fps: Fraction,
        size: int,
        length: int | None = None,
        forged: Sequence[Segment] = (),
    ) -> None:
        """Prepare for one clip.

        Args:
            gate: what it must keep to.
            finder: gives a loaded face finder; asked at the first look, never when the gate does not look.
            fps: exact frame rate.
            size: side S of the frames in pixels.
            length: number of frames, where it is known: a short clip is looked at `LEAST_LOOKS` times all the same.
            forged: of a partial forgery its segments; of any other clip none.
        """
        if fps <= 0:
            raise ValueError(f"fps must be positive, got {fps}")
        if size < CELLS:
            raise ValueError(f"frames must have at least {CELLS} pixels a side, got {size}")
        self._gate, self._finder, self._fps, self._size = gate, finder, fps, size
        self._every = max(1, round(float(fps) / gate.looks_per_second))
        if length is not None:
            self._every = max(1, min(self._every, (length - 1) // (LEAST_LOOKS - 1)))
        self._lag = max(1, round(STILL_SECONDS * float(fps)))
        self._recent: deque[NDArray[np.int16]] = deque(maxlen=self._lag + 1)
        self._brightness, self._steps, self._skips, self._mouth = array("f"), array("f"), array("f"), array("f")
        self._still = bytearray()
        pictures = [segment for segment in forged if segment.what != "sound"]
        self._forged = [range(round(one.start_seconds * fps), round(one.end_seconds * fps)) for one in pictures]
        self._faces = Faces(size)
        self._printer = Printer(fps)
        self._count = 0

    def watching(self, frames: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
        """The same frames, (S, S, 3) uint8 RGB, measured on their way.

        Raises:
            ValueError: for a frame of another shape.
        """
        for image in frames:
            if not self._gate.is_off:
                self._see(image)
            yield image

    def print_bytes(self) -> bytes | None:
        """The clip's print for `forge.doubles`; None when the gate is off or nothing came."""
        return self._printer.print_bytes()

    def judged(
        self, *, motion: Motion | None = None, sound: Waveform | None = None, portrait: UInt8Array | None = None
    ) -> Examination:
        """What was found, after the last frame.

        Args:
            motion: what the face was told to do in every frame of the whole clip; None for a recording, and for one of
                which only a part was animated.
            sound: what is heard.
            portrait: (S, S, 3) picture that the clip was animated from, as it was framed; None for anything else.
        """
        gate = self._gate
        if gate.is_off:
            return Examination(None, {})
        brightness = max(float(np.asarray(self._brightness, np.float64).mean()), DARKEST) if self._count else DARKEST
        steps, skips = np.asarray(self._steps, np.float64)[1:], np.asarray(self._skips, np.float64)[2:]
        flash, flicker, disorder = flicker_of(steps / brightness, skips / brightness)
        found: dict[str, float | None] = {
            "face_share": self._faces.share,
            "frozen_share": self._frozen_share(sound),
            "flash": flash,
            "flicker": flicker,
            "disorder": disorder if self._fps >= _SLOWEST_ORDERED else None,
            "drift": drift_of(self._faces.looks),
            "unlike": None if portrait is None else self._unlike(portrait),
            "lag_seconds": None if motion is None else self._lag_behind(motion),
        }
        told = {name: None if value is None else round(value, 3) for name, value in found.items()}
        return Examination(_cause(gate, told), told)

    def _see(self, image: UInt8Array) -> None:
        if image.shape != (self._size, self._size, 3):
            raise ValueError(f"frames must be ({self._size}, {self._size}, 3), got {image.shape}")
        grey = small_grey(image)
        past, cells = self._recent, grey.astype(np.int16)
        self._brightness.append(float(grey.mean()))
        self._steps.append(apart(cells, past[-1]) if past else 0.0)
        self._skips.append(apart(cells, past[-2]) if len(past) > 1 else 0.0)
        past.append(cells)
        if len(past) > self._lag:
            changes = np.abs(cells - past[0]).ravel()
            changes.partition(changes.size - STILL_CELLS)
            self._still.append(int(changes[-STILL_CELLS] < STILL_LEVELS))
        self._printer.add(grey)
        if self._gate.looks:
            if self._count % self._every == 0:
                is_recorded = not any(self._count in frames for frames in self._forged)
                self._faces.look(image, self._finder(), compared=is_recorded)
            self._mouth.append(self._faces.mouth_brightness(image))
        self._count += 1

    def _frozen_share(self, sound: Waveform | None) -> float | None:
        if not self._still:
            return None
        still = np.frombuffer(bytes(self._still), np.uint8)
        # what is as it was so long ago stood still all the time in between
        stood = np.convolve(still, np.ones(self._lag + 1), "full") > 0
        heard = np.ones(self._count, bool) if sound is None else loud(sound, self._fps, self._count)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], stood, [False]]).astype(np.int8)))
        spans = [slice(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
        frames = [int(span.stop - span.start) for span in spans if heard[span].mean() >= _HEARD_SHARE]
        return sum(frames) / self._count

    def _unlike(self, portrait: UInt8Array) -> float | None:
        first = self._faces.first
        if first is None or not self._faces.looks:
            return None
        if portrait.shape != (self._size, self._size, 3):
            raise ValueError(f"the portrait must be ({self._size}, {self._size}, 3), got {portrait.shape}")
        # framed as the clip is: where the first frame has its face, the portrait has its own, give or take a movement
        unlike = self._nearest(Look.of(portrait, first))
        if self._gate.most_unlike is None or unlike <= self._gate.most_unlike:
            return unlike
        # only now worth a search: a maker may have framed it otherwise
        face = next(iter(self._finder().find(portrait)), None)
        return None if face is None else min(unlike, self._nearest(Look.of(portrait, face)))

    def _nearest(self, asked: Look) -> float:
        return float(distances(self._faces.looks, [asked], ("skin", "tile")).min())

    def _lag_behind(self, motion: Motion) -> float | None:
        seen = np.asarray(self._mouth, np.float64)
        if motion.length != len(seen):
            return None
        known = np.isfinite(seen)
        first = int(np.argmax(known)) if known.any() else len(seen)
        return lag_of(-seen[first:], opening_of(motion)[first:], float(self._fps))


def _cause(gate: Gate, told: Mapping[str, float | None]) -> Cause | None:
    """The first demand that a clip does not keep."""
    share = told["face_share"]
    if gate.least_face_share is not None and share is not None and share < gate.least_face_share:
        return "no_face"
    most: tuple[tuple[str, float | None, Cause], ...] = (
        ("frozen_share", gate.most_frozen_share, "frozen"),
        ("flash", gate.most_flash, "flicker"),
        ("flicker", gate.most_flicker, "flicker"),
        ("disorder", gate.most_disorder, "flicker"),
        ("drift", gate.most_drift, "identity"),
        ("unlike", gate.most_unlike, "identity"),
    )
    for name, limit, cause in most:
        value = told[name]
        if limit is not None and value is not None and value > limit:
            return cause
    lag = told["lag_seconds"]
    if gate.most_lag_seconds is not None and lag is not None and abs(lag) > gate.most_lag_seconds:
        return "sync"
    return None
