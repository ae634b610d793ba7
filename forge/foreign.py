"""Any other generator as a maker: a command line, or a Python function. It runs what its user names, with their rights.

    sadtalker = Foreign.parse("sadtalker=python gen.py --image {portrait} --audio {speech} --out {out}")
    clip = animate(portrait, speech, method=sadtalker.method())
    swapper = Foreign.parse("swapper=swap --in {video} --face {donor} --out {out} --seed {seed}").manipulation()
    mine = Foreign.parse("mine=my_package.my_module:animate").method()

A template is split into words as a shell would, and no shell ever sees it. In its words stand

    {portrait} a png, {speech} a wav          for one that animates a picture
    {video} an mp4, {donor} another, {speech} for one that changes a clip
    {out} the mp4 to write, {fps} {size} {seed} {frames} {seconds} numbers, {python} this interpreter

Rules:

1. A command runs in a new empty folder of its own. Where a word, or what follows the `=` of an option, names a file as
   seen from where the user stood, or with a slash a folder, it is made absolute.
2. It has `limit_seconds`; then, or when it ends, or when we are killed, all that it started is killed
   (`forge.foreign_watch`). What it wrote elsewhere stays, and how much it writes is not limited.
3. What it wrote is read at the frame rate asked for. Square pictures are resized; of others the square is cut in which
   the face lies as in the input. One frame too few is held; fewer are an error.
4. A function runs in this process, without a limit, one call at a time. It takes, by name, some of `portrait, speech,
   fps, size, seed`, or of `frames, donor, speech, fps, size, seed`, which are its own to change, and gives (H, W, 3)
   uint8 pictures. Its module must be importable.
5. Nobody knows what a foreign generator did to which pixel, or how the face was told to move: no masks and no motion.
   Nor does anybody know whether it makes the same clip twice.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import shlex
import shutil
import string
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.foreign_running import TAIL_CHARACTERS, Reference, Shape, fitted, run_command, values_of
from forge.foreign_watch import remove
from forge.makers import Careful
from forge.manipulations.scene import Cast, Forgery, ManipulationKind, Scene
from forge.manipulations.sounds import in_place_of
from forge.mesh.face import cut_square, frame_square
from forge.methods import Box, Method, Shot, Sitter, Take, largest_face
from forge.portrait import ForgeError, Portrait, sha256_of
from media.clip import MediaError, Waveform, frames_for
from media.faces import FaceFinder
from media.video import stream_frames

UInt8Array = NDArray[np.uint8]

PREFIX = "foreign:"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
LIMIT_SECONDS = 600.0
OF_PORTRAITS = frozenset({"portrait"})
OF_CLIPS = frozenset({"video", "donor"})
OF_BOTH = frozenset({"speech", "out", "fps", "size", "seed", "frames", "seconds", "python"})
ASKED_OF_PORTRAITS = ("portrait", "speech", "fps", "size", "seed")
ASKED_OF_CLIPS = ("frames", "donor", "speech", "fps", "size", "seed")
_ONE_CALL = RLock()
"""Held while a stranger's function works: its models and its chance may be global, and clips are made abreast."""


@dataclass(frozen=True)
class Foreign:
    """A generator that somebody else made."""

    name: str
    call: str
    """The template, or `package.module:function`, as the user wrote it."""
    takes_clip: bool
    """Whether it starts from a clip, otherwise from a portrait."""
    asks: frozenset[str]
    """Placeholders of the template, or parameters of the function."""
    words: tuple[str, ...] = ()
    """Of a command, file names made absolute; empty for a function."""
    limit_seconds: float = LIMIT_SECONDS

    @classmethod
    def parse(cls, text: str, *, limit_seconds: float = LIMIT_SECONDS) -> Foreign:
        """A generator from `NAME=TEMPLATE` or `NAME=package.module:function`; a function's module is imported.

        Raises:
            ForgeError: in one line that says what was expected and what came.
        """
        name, found, call = text.partition("=")
        name, call = name.strip(), call.strip()
        if not found or not NAME.fullmatch(name) or not call:
            example = '"mine=python gen.py --image {portrait} --audio {speech} --out {out}"'
            raise ForgeError(f"a foreign generator is NAME=COMMAND, such as {example}, got {text[:80]!r}")
        if not 0 < limit_seconds < 1e6:
            raise ForgeError(f"{PREFIX}{name}: the time limit must be above 0 seconds, got {limit_seconds}")
        if FUNCTION.fullmatch(call):
            asks = _parameters(name, call)
            return cls(name, call, "frames" in asks, asks, (), limit_seconds)
        words = _words(name, call)
        asks = _placeholders(name, words)
        return cls(name, call, "video" in asks, asks, _settled(name, words), limit_seconds)

    @property
    def full_name(self) -> str:
        """`foreign:NAME`, as recipes and catalogs call it."""
        return PREFIX + self.name

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the call and of the files that it names: program, scripts, weights, the module."""
        if self.words:
            named = (path for _, path in map(_named_by, self.words) if path is not None)
            files = [path for path in named if path.is_absolute() and path.is_file()]
        else:
            source = inspect.getsourcefile(importlib.import_module(self.call.partition(":")[0]))
            files = [Path(source)] if source else []
        parts = [self.call, *(f"{file.name} {sha256_of(file)}" for file in files)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def method(self) -> Method:
        """It as a method: a portrait and speech become a clip.

        Raises:
            ForgeError: for a generator that starts from a clip.
        """
        if self.takes_clip:
            raise ForgeError(f"{self.full_name}: changes clips and animates no portrait; use it as a manipulation")
        return Method(self.full_name, partial(ForeignMaker, self), self.fingerprint)

    def manipulation(self) -> ManipulationKind:
        """It as a manipulation: a clip becomes another.

        Raises:
            ForgeError: for a generator that starts from a portrait.
        """
        if not self.takes_clip:
            raise ForgeError(f"{self.full_name}: animates portraits and changes no clip; use it as a method")
        speaks = "speech" in self.asks
        return ManipulationKind(
            self.full_name,
            "donor" in self.asks,
            speaks,
            partial(ForeignManipulation, self),
            self.fingerprint,
            forges_sound=speaks,
        )


class ForeignMaker:
    """A foreign generator of talking portraits."""

    def __init__(self, foreign: Foreign) -> None:
        """Load what finds faces."""
        self._foreign, self._finder = foreign, FaceFinder()
        self._looking = Careful(self._finder, RLock())

    def find_face(self, image: UInt8Array) -> Box | None:
        """Box of the largest face."""
        with self._looking.lock:
            return largest_face(self._finder, image)

    def film(self, portrait: Portrait, speech: Waveform, shot: Shot) -> Take:
        """Run the generator. The portrait is cropped as `mesh` would, so all methods frame alike."""
        faces = self._looking.find(portrait.image)
        if not faces:
            raise ForgeError(f"{portrait.path}: no face found; give a picture in which one face looks at the camera")
        height, width = portrait.image.shape[:2]
        x0, y0, side = frame_square(faces[0].landmarks, width, height, shot.size)
        picture = cut_square(portrait.image, x0, y0, side, shot.size)
        shape = Shape(frames_for(speech.duration_seconds, shot.fps), shot.fps, shot.size, shot.controls.seed)
        placed = Reference.of(faces[0], x0, y0, side)
        given: dict[str, Any] = {"portrait": picture, "speech": speech}
        frames = made_by(self._foreign, given, shape, placed, self._looking)
        return Take(None, iter(frames), None)

    def sit(self, portrait: Portrait, size: int) -> Sitter:
        """Refused: a foreign generator makes whole clips."""
        raise ForgeError(f"{self._foreign.full_name}: makes whole clips only; choose another method for live clips")

    def close(self) -> None:
        """Free the face networks."""
        self._finder.close()


class ForeignManipulation:
    """A foreign generator that changes clips."""

    def __init__(self, foreign: Foreign) -> None:
        """Load what finds faces."""
        self._foreign, self._finder = foreign, FaceFinder()
        self._looking = Careful(self._finder, RLock())

    def forge(self, scene: Scene, cast: Cast, rng: np.random.Generator) -> Forgery:
        """Run the generator.

        Raises:
            ForgeError: when the cast lacks what it asks for, or it fails.
        """
        asks, name = self._foreign.asks, self._foreign.full_name
        if "donor" in asks and cast.donor is None:
            raise ForgeError(f"{name}: needs a donor; give another person's clip")
        if "speech" in asks and cast.speech is None:
            raise ForgeError(f"{name}: needs other speech; give some")
        speaks = "speech" in asks and scene.sound is not None
        sound = scene.sound
        if speaks and cast.speech is not None and scene.sound is not None:
            sound = in_place_of(cast.speech, scene.sound, scene.length, scene.fps)
        seen = [face for face in scene.faces if face is not None]
        placed = Reference.of(seen[0], 0, 0, scene.size) if seen else None
        shape = Shape(scene.length, scene.fps, scene.size, int(rng.integers(2**31)))
        given = {"video": scene, "donor": cast.donor, "speech": cast.speech}
        frames = made_by(self._foreign, given, shape, placed, self._looking)
        return Forgery(
            iter(frames),
            sound,
            None,
            (scene.segment(0, scene.length, "both" if speaks else "picture"),),
            facts={"forged": "both" if speaks else "picture", "seed": shape.seed},
            follows_recording=False,  # for all that anybody knows
        )

    def close(self) -> None:
        """Free the face networks."""
        self._finder.close()


def made_by(
    foreign: Foreign, given: Mapping[str, Any], shape: Shape, placed: Reference | None, finder: Careful
) -> UInt8Array:
    """(T, S, S, 3) what a generator makes of the given things.

    Args:
        foreign: the generator.
        given: what stands for its placeholders: pictures as arrays, sounds, scenes.
        shape: length, rate, size and seed.
        placed: where the face lies in the input; None when it was never seen.
        finder: finds the face in pictures that are not square.

    Raises:
        ForgeError: when it fails, or makes too little.
    """
    try:
        if not foreign.words:
            return fitted(_called(foreign, given, shape), shape, placed, finder)
        folder = Path(tempfile.mkdtemp(prefix="foreign-"))
        try:
            out = folder / "out.mp4"
            values = values_of(foreign.asks, given, shape, folder) | {"out": str(out)}
            run_command([word.format(**values) for word in foreign.words], folder, foreign.limit_seconds)
            if not out.is_file():
                raise ForgeError("ended well but wrote no file at {out}; check its arguments")
            pictures = (frame.image for frame in stream_frames(out, fps=shape.fps))
            return fitted(pictures, shape, placed, finder)
        finally:
            remove(folder)
    except (ForgeError, MediaError) as error:
        raise ForgeError(f"{foreign.full_name}: {error}") from error


def _called(foreign: Foreign, given: Mapping[str, Any], shape: Shape) -> Iterable[UInt8Array]:
    """What a function gives."""
    portrait, video, donor, speech = (given.get(name) for name in ("portrait", "video", "donor", "speech"))
    offered = {
        "portrait": None if portrait is None else portrait.copy(),
        "frames": None if video is None else video.frames_TSS3.copy(),
        "donor": None if donor is None else donor.frames_TSS3.copy(),
        "speech": None if speech is None else replace(speech, samples=speech.samples.copy()),
        "fps": shape.fps,
        "size": shape.size,
        "seed": shape.seed,
    }
    function = _function(foreign.name, foreign.call)
    try:
        with _ONE_CALL:
            made = function(**{name: offered[name] for name in foreign.asks})
            return [np.asarray(picture) for picture in islice(made, shape.length)]
    except (Exception, SystemExit) as error:
        # a stranger's function may raise anything; it costs its clip, no more
        raise ForgeError(_raised(error)) from error


def _raised(error: BaseException) -> str:
    """What a stranger's code raised, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:TAIL_CHARACTERS]}"


def _words(name: str, call: str) -> list[str]:
    try:
        words = shlex.split(call)
    except ValueError as error:
        raise ForgeError(f"{PREFIX}{name}: the command cannot be split into words ({error}): {call[:80]}") from error
    if not words:
        raise ForgeError(f"{PREFIX}{name}: the command is empty")
    return words


def _placeholders(name: str, words: Sequence[str]) -> frozenset[str]:
    """The placeholders of a template.

    Raises:
        ForgeError: unknown ones, none for the input or the output, or of both kinds.
    """
    found: set[str] = set()
    for word in words:
        try:
            parts = [part for part in string.Formatter().parse(word) if part[1] is not None]
        except ValueError as error:
            raise ForgeError(f"{PREFIX}{name}: {word[:60]!r}: {error}; write a brace that is meant twice") from error
        if any(spec or conversion for _, _, spec, conversion in parts):
            raise ForgeError(f"{PREFIX}{name}: {word[:60]!r}: a placeholder is a name in braces and nothing more")
        found |= {str(field) for _, field, _, _ in parts}
    known = OF_PORTRAITS | OF_CLIPS | OF_BOTH
    if unknown := sorted(found - known):
        raise ForgeError(f"{PREFIX}{name}: unknown placeholder {{{unknown[0]}}}; there are {', '.join(sorted(known))}")
    if "out" not in found or ("portrait" in found) == ("video" in found):
        raise ForgeError(f"{PREFIX}{name}: the command needs {{out}}, and either {{portrait}} or {{video}}")
    if "portrait" in found and "donor" in found:
        raise ForgeError(f"{PREFIX}{name}: {{donor}} belongs to {{video}}, not to {{portrait}}")
    return frozenset(found)


def _settled(name: str, words: Sequence[str]) -> tuple[str, ...]:
    """The words with the program and existing files made absolute (rule 1).

    Raises:
        ForgeError: when there is no such program.
    """
    program = sys.executable
    if words[0] != "{python}":
        where = shutil.which(words[0])
        if where is None:
            raise ForgeError(f"{PREFIX}{name}: there is no program {words[0][:80]!r}; give its path")
        program = str(Path(where).absolute())
    rest = []
    for word in words[1:]:
        option, path = _named_by(word)
        rest.append(word if path is None else f"{option}{_spelled(path.absolute())}")
    return (_spelled(Path(program)), *rest)


def _named_by(word: str) -> tuple[str, Path | None]:
    """What stands before the name of a file or folder in a word of a template, and its path; None where it names none.

    What has no slash names no folder: it may as well be a plain word.
    """
    option, is_given, value = word.partition("=") if word.startswith("-") else ("", "", word)
    with suppress(OSError, ValueError, LookupError):
        path = Path(value.format())  # without a placeholder; doubled braces become single ones
        if path.is_file() or ("/" in value and path.is_dir()):
            return option + is_given, path
    return "", None


def _spelled(path: Path) -> str:
    """A path as it is written in a template, where braces are doubled."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _function(name: str, call: str) -> Callable[..., Iterable[UInt8Array]]:
    module, _, attribute = call.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        # a stranger's module may raise anything, too
        why = f"cannot be imported ({_raised(error)})"
        raise ForgeError(f"{PREFIX}{name}: {call}: {why}; install it, or put its folder on PYTHONPATH") from error
    if not callable(function):
        raise ForgeError(f"{PREFIX}{name}: {call}: is no function")
    return function  # type: ignore[no-any-return]


def _parameters(name: str, call: str) -> frozenset[str]:
    """Which of the things offered a function takes.

    Raises:
        ForgeError: when it asks for something else, or for neither picture nor clip.
    """
    try:
        parameters = inspect.signature(_function(name, call)).parameters
    except (TypeError, ValueError) as error:
        raise ForgeError(f"{PREFIX}{name}: {call}: does not tell its parameters; wrap it in a function") from error
    asked = {key for key, value in parameters.items() if value.kind not in (value.VAR_KEYWORD, value.VAR_POSITIONAL)}
    for offered in (ASKED_OF_PORTRAITS, ASKED_OF_CLIPS):
        needed = {key for key in asked if parameters[key].default is inspect.Parameter.empty}
        if offered[0] in asked and needed <= set(offered):
            return frozenset(asked & set(offered))
    wanted = f"({', '.join(ASKED_OF_PORTRAITS)}) or ({', '.join(ASKED_OF_CLIPS)})"
    raise ForgeError(f"{PREFIX}{name}: {call}: must take some of {wanted}, got ({', '.join(parameters)})")
