"""Which clips a dataset has: pure arithmetic on the materials, the recipe and the seed.

    plan = Plan.of(recipe, materials, seed=0, method="mesh")
    for clip in plan.clips(12): ...

Rules:

1. Clip number n depends on the recipe, the materials and the seed, never on how many are asked for: a larger limit
   continues the same sequence.
2. Clips of a pair are twins: they share length, crop factor, detail, codec step and the presence of sound, so that none
   of them tells the label. What only one of them could reach, none gets.
3. A person, a source and (when there are enough of them) a speech recording are in one split only.
4. The id of a clip is a digest of everything that its pixels and sound depend on.
5. Numbers go pair by pair: the forgeries, then the real clip. What is forged from a real clip has its person, source
   and window, and whatever else it is made of is of the same split.

Who is in a pair: `forge.casting`, `forge.casting_designs`. How its factors fall: `forge.design`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from math import floor
from operator import attrgetter
from typing import Any

import numpy as np

from forge.casting import Casting, Part, Scene
from forge.casting_designs import Designed, cast
from forge.design import REAL, Design, MakerFacts, Pair, Segments, balanced, random_for
from forge.material import Material, Window
from forge.motion.controls import BASELINE, Controls
from forge.motion.sources import MotionSource
from forge.recipes import DatasetRecipe
from media.catalog import Label


@dataclass(frozen=True)
class PlannedClip:
    """One clip to be made."""

    number: int
    id: str
    """16 hexadecimal digits (rule 4)."""
    label: Label
    split: str
    frames: int
    crf: int
    crop_factor: float
    detail: int
    """Pixels a side that the crop is reduced to before it is brought to the recipe's size."""
    has_sound: bool
    start_seconds: float
    """Where in the speech, or in the real video, the clip begins."""
    person: str
    source: str
    face: Material
    """The portrait, or the real video."""
    window: Window
    speech: Material | None = None
    controls: Controls | None = None
    motion: MotionSource | None = None
    maker: str = REAL
    """Name of a method or a manipulation; `real` for a clip that nobody made."""
    donor: Material | None = None
    """Another person's real video, where the maker takes one."""
    donor_window: Window | None = None
    """Not always as long as the clip."""
    speech_start_seconds: float = 0.0
    """Where in the speech a clip made from a real one begins to listen."""
    segments: Segments | None = None
    """Shares of the clip, (start, end) from 0 to 1, that are forged; None for all of it."""
    platform: str | None = None
    """Second generation before the last encoding (`media.perturb`, `platform`)."""
    pair: int = -1
    """Clips of one number are twins."""
    attempt: int = 0
    """Above 0, the replacement of a clip that was rejected so many times."""

    @property
    def is_animated(self) -> bool:
        """Made from a portrait by a method."""
        return self.controls is not None

    @property
    def is_manipulated(self) -> bool:
        """Made from a real clip."""
        return self.controls is None and self.maker != REAL

    def random(self) -> np.random.Generator:
        """What a manipulation draws from: the same for the same clip, another one for another attempt."""
        return random_for("manipulation", self.id)


@dataclass(frozen=True)
class Twins:
    """A pair as it will be filmed: what its clips share (rule 2), and who makes them."""

    part: Part
    pair: Pair
    slots: tuple[MakerFacts | None, ...]
    """Makers by place in the pair; None where there is nothing to make, or the real clip itself."""
    speech: Material | None
    frames: int
    crop_factor: float
    detail: int
    has_sound: bool

    @property
    def form(self) -> tuple[int, int, float, int, bool]:
        """The fields of a `PlannedClip`, from `frames` to `has_sound`, that all twins have alike."""
        return self.frames, self.pair.crf, self.crop_factor, self.detail, self.has_sound


@dataclass(frozen=True)
class Plan:
    """The sequence of clips; `clips(limit)` gives its beginning."""

    recipe: DatasetRecipe
    seed: int
    method: str
    casting: Casting
    design: Design
    _rate: float
    _texts: dict[Any, str] = field(default_factory=dict, repr=False, compare=False)
    """Parts of what ids are digests of, as they come again and again."""
    _lengths: dict[int, float] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        recipe: DatasetRecipe,
        materials: Sequence[Material],
        *,
        seed: int,
        method: str,
        facts: Mapping[str, MakerFacts] | None = None,
    ) -> Plan:
        """Assign splits and orders; see `forge.casting_designs.cast`.

        Raises:
            ForgeError: when nothing of a role that was given is usable, or a table wants one person in two splits.
        """
        casting = cast(recipe, materials, seed=seed, method=method, facts=facts)
        return cls(recipe, seed, method, casting, Design(recipe, seed), float(recipe.fps))

    @property
    def portraits(self) -> tuple[Material, ...]:
        """In the order of use, splits interleaved."""
        return self.casting.portraits

    @property
    def reals(self) -> tuple[Scene, ...]:
        """In the order of use: the first window of every source, then the second ones ..."""
        return self.casting.reals

    @property
    def splits(self) -> Mapping[str, str]:
        """Split of each source."""
        return self.casting.splits

    @property
    def speech_is_split(self) -> bool:
        """Whether every recording of speech is heard in one split only."""
        return self.casting.speech_is_split

    @cached_property
    def clips_a_pair(self) -> int:
        """How many numbers a pair has; not every one of them needs to be a clip."""
        return self.casting.most_makers + bool(self.reals) if self.recipe.paired else 1 + bool(self.reals)

    def clips(self, limit: int, *, ids: bool = True) -> Iterator[PlannedClip]:
        """The clips with numbers below `limit`; with real material the last number of every pair is a real clip.

        Numbers of real clips stay empty once the real material is used up, so fewer clips than `limit` may come.

        Args:
            limit: numbers that are planned.
            ids: without them (all are "") counting is quicker.
        """
        size = self.clips_a_pair
        for index in range(-(-limit // size)):
            part = self.casting.part(index)
            if part is None:
                return
            twins = self._twins(part)
            for number in range(index * size, min(limit, (index + 1) * size)):
                clip = self._clip(number, twins, ids=ids)
                if clip is not None:
                    yield clip

    def clip(self, number: int, attempt: int = 0) -> PlannedClip | None:
        """The clip of a number, made from that number alone (rule 1).

        Args:
            number: from 0.
            attempt: above 0, another forgery in the place of one that was rejected: it keeps what twins share. Of a
                real clip there is no other.
        """
        part = self.casting.part(number // self.clips_a_pair)
        return None if part is None else self._clip(number, self._twins(part), attempt)

    def makers_of(self, part: Part) -> tuple[MakerFacts | None, ...]:
        """Makers by place in a pair, the real clip left out, without drawing anything but the maker."""
        return self._slots(part, self.design.maker(part.spot, part.able))

    def _slots(self, part: Part, maker: str) -> tuple[MakerFacts | None, ...]:
        if self.recipe.paired:
            return (*part.makers, *part.nulls)
        chosen = None
        for facts in part.makers:
            if facts is not None and facts.name == maker:
                chosen = facts
        if part.real is None:
            return (chosen,)
        if not part.nulls:
            return chosen, None
        real_or_null = (None, *part.nulls)
        return chosen, balanced(real_or_null, self.seed, f"null@{part.spot.stratum}", part.spot.turn)

    def _twins(self, part: Part) -> Twins:
        """A pair: the design, bent to what all of its clips allow."""
        pair = self.design.pair(part.spot, part.able)
        slots = self._slots(part, pair.maker)
        speech = self.casting.speech_of(part, pair)
        seconds, has_sound, factor = pair.seconds, True, pair.crop_factor
        animates = speaks = False
        for maker in slots:
            if maker is not None:
                animates, speaks = animates or maker.animates, speaks or maker.needs_speech
        sides = [(part.portrait, part.portrait.windows[0])] if animates and part.portrait is not None else []
        if speaks and speech is not None:
            seconds = min(seconds, speech.seconds)
        if part.real is not None:
            sides.append(part.real)
            seconds, has_sound = min(seconds, part.real[1].seconds), part.real[0].has_sound
        for material, window in sides:
            factor = min(factor, widest_crop(material.width, material.height, window.box))
        detail = self.recipe.size
        for material, window in sides:
            detail = min(detail, crop_side(material.width, material.height, window.box, factor))
        return Twins(part, pair, slots, speech, max(1, int(seconds * self._rate)), factor, detail, has_sound)

    def _clip(self, number: int, twins: Twins, attempt: int = 0, *, ids: bool = True) -> PlannedClip | None:
        place, part = number % self.clips_a_pair, twins.part
        maker = twins.slots[place] if place < len(twins.slots) else None
        is_last = place == self.clips_a_pair - 1
        if maker is None and not (is_last and part.has_own and not attempt):
            return None
        if maker is None:
            return self._real(number, twins, ids=ids)
        if maker.animates:
            return self._animated(number, twins, maker, attempt, ids=ids)
        return self._manipulated(number, twins, maker, attempt, ids=ids)

    def _animated(self, number: int, twins: Twins, maker: MakerFacts, attempt: int, *, ids: bool) -> PlannedClip | None:
        part, pair, portrait, speech = twins.part, twins.pair, twins.part.portrait, twins.speech
        if portrait is None or speech is None:
            return None
        if attempt:
            pair, speech = self._again(twins, attempt)
            assert speech is not None  # an excerpt of the same recording is another one, too
            able = [p for p in self.casting.understudies(part) if _has_room(p, twins)] or [portrait]
            portrait = able[attempt % len(able)]
        start = self._excerpt(twins, pair, speech)
        digest = ""
        if ids:
            seen = self._text((portrait.role, portrait.sha256), lambda: [portrait.sha256, portrait.windows[0].box])
            said = self._text((speech.role, speech.sha256), lambda: [speech.sha256])
            # the baseline is not named: ids are older than there being anything else
            moved = self._text(pair.motion, lambda: [] if pair.motion == RULES else [pair.motion.to_json()])
            rest = (repr(start), seen, said, CONTROLS_TEXT % CONTROLS_VALUES(pair.controls), moved)
            digest = self._digest(maker.label, maker.name, twins, attempt, *rest)
        return PlannedClip(
            number,
            digest,
            maker.label,
            self.casting.splits[portrait.source],
            *twins.form,
            start,
            portrait.person,
            portrait.source,
            portrait,
            portrait.windows[0],
            speech,
            pair.controls,
            pair.motion,
            maker=maker.name,
            platform=pair.platform,
            pair=twins.part.spot.index,
            attempt=attempt,
        )

    def _manipulated(
        self, number: int, twins: Twins, maker: MakerFacts, attempt: int, *, ids: bool
    ) -> PlannedClip | None:
        part, pair, speech = twins.part, twins.pair, twins.speech
        if part.real is None:
            return None
        if attempt:
            pair, speech = self._again(twins, attempt)
        donor = None
        if maker.needs_donor:
            donor = self.casting.donor_of(part, self._seconds_of(twins.frames), attempt)
        speech = speech if maker.needs_speech else None
        if (maker.needs_donor and donor is None) or (maker.needs_speech and speech is None):
            return None
        heard_from = self._excerpt(twins, pair, speech) if speech else 0.0
        real, window = part.real
        digest = ""
        if ids:
            said = [speech.sha256, heard_from] if speech else None
            given = [donor[0].sha256, donor[1].start_seconds, donor[1].box] if donor else None
            rest = (_scene_text(real, window), _inner([given, said, pair.segments]))
            digest = self._digest(maker.label, maker.name, twins, attempt, *rest)
        return PlannedClip(
            number,
            digest,
            maker.label,
            part.split,
            *twins.form,
            window.start_seconds,
            real.person,
            real.source,
            real,
            window,
            speech,
            maker=maker.name,
            donor=donor[0] if donor else None,
            donor_window=donor[1] if donor else None,
            speech_start_seconds=heard_from,
            segments=pair.segments,
            platform=pair.platform,
            pair=part.spot.index,
            attempt=attempt,
        )

    def _real(self, number: int, twins: Twins, *, ids: bool) -> PlannedClip:
        assert twins.part.real is not None
        real, window = twins.part.real
        # of one method beside real clips, the ids of these have its name in them: they are older than designs
        maker = REAL if isinstance(self.casting, Designed) else self.method
        return PlannedClip(
            number,
            self._digest(Label.REAL, maker, twins, 0, _scene_text(real, window)) if ids else "",
            Label.REAL,
            self.casting.splits[real.source],
            *twins.form,
            window.start_seconds,
            real.person,
            real.source,
            real,
            window,
            platform=twins.pair.platform,
            pair=twins.part.spot.index,
        )

    def _again(self, twins: Twins, attempt: int) -> tuple[Pair, Material | None]:
        """What only the forgery has, drawn anew, and other speech that is long enough."""
        part = twins.part
        pair = self.design.pair(part.spot, part.able, attempt)
        return pair, self.casting.speech_of(part, pair, attempt, self._seconds_of(twins.frames))

    def _excerpt(self, twins: Twins, pair: Pair, speech: Material) -> float:
        """Second at which the clip's part of a longer speech begins."""
        return round(pair.offset * max(0.0, speech.seconds - self._seconds_of(twins.frames)), 3)

    def _seconds_of(self, frames: int) -> float:
        """Length of so many frames; an exact quotient takes its time, and there are few lengths."""
        seconds = self._lengths.get(frames)
        if seconds is None:
            seconds = self._lengths[frames] = float(frames / self.recipe.fps)
        return seconds

    def _digest(self, label: Label, maker: str, twins: Twins, attempt: int, *rest: str) -> str:
        """Rule 4: digits of the JSON list of everything that matters, put together from parts already written."""
        head = self._text((label, maker), lambda: [label.value, maker, *self._same_for_all()])
        frames, crf, crop_factor, detail, has_sound = twins.form
        form = FORM_TEXT % (crf, crop_factor, detail, frames, "true" if has_sound else "false")
        text = ", ".join([head, form, *filter(None, rest)])
        if attempt or twins.pair.platform:
            text = f"{text}, {_inner([twins.pair.platform, attempt])}"
        return hashlib.sha256(f"[{text}]".encode()).hexdigest()[:16]

    def _same_for_all(self) -> list[Any]:
        recipe = self.recipe
        form = [recipe.size, str(recipe.fps), recipe.preset, recipe.sample_rate_hz]
        return [recipe.name, self.seed, *form]

    def _text(self, key: Any, facts: Callable[[], list[Any]]) -> str:
        """The inside of a JSON list, written once for a key."""
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = _inner(facts())
        return text


RULES = MotionSource(BASELINE)
FORM_TEXT = '{"crf": %r, "crop_factor": %r, "detail": %r, "frames": %r, "has_sound": %s}'
"""`json.dumps` of what twins share, with sorted keys: written out, as ids are digests of it and there are a million."""
_NAMES = sorted(each.name for each in fields(Controls))
CONTROLS_TEXT = "{" + ", ".join(f'"{name}": ' + ('"%s"' if name == "emotion" else "%r") for name in _NAMES) + "}"
"""The same of `Controls`; the names of emotions are plain words."""
CONTROLS_VALUES = attrgetter(*_NAMES)

_as_json = json.JSONEncoder(sort_keys=True).encode


def _inner(facts: list[Any]) -> str:
    """A JSON list without its brackets."""
    return _as_json(facts)[1:-1]


def _scene_text(real: Material, window: Window) -> str:
    x0, y0, x1, y1 = window.box
    return f'{window.start_seconds!r}, "{real.sha256}", [{x0!r}, {y0!r}, {x1!r}, {y1!r}]'


def widest_crop(width: int, height: int, box: Sequence[float]) -> float:
    """The largest crop factor that a picture has room for, rounded down to a thousandth."""
    x0, y0, x1, y1 = box
    return max(1.0, floor(1000 * min(width, height) / max(x1 - x0, y1 - y0)) / 1000)


def crop_side(width: int, height: int, box: Sequence[float], factor: float) -> int:
    """Pixels a side of `framing.square_around`, which is asked for a million times here."""
    x0, y0, x1, y1 = box
    return max(1, min(round(factor * max(x1 - x0, y1 - y0)), width, height))


def _has_room(portrait: Material, twins: Twins) -> bool:
    """Whether a portrait can be cropped as its twins are, with as much detail."""
    width, height, box = portrait.width, portrait.height, portrait.windows[0].box
    if widest_crop(width, height, box) < twins.crop_factor:
        return False
    return crop_side(width, height, box, twins.crop_factor) >= twins.detail
