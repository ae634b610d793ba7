"""What a generator must offer, and the ones there are, by name.

    with opened(method_named("mesh")) as maker:
        take = maker.film(portrait, speech, Shot(size=256))
        for image in take.frames: ...

A method is any object with `find_face`, `film`, `sit` and `close`; tests pass one of a few lines. `sit` is the door of
live clips: a fitted portrait that draws one frame at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from forge.motion.controls import Controls
from forge.motion.features import Motion
from forge.motion.sources import LISTENER_WEIGHTS, MotionSource
from forge.portrait import ForgeError, Portrait, sha256_of
from media.clip import MediaError, Waveform

if TYPE_CHECKING:
    from forge.mesh.face import MeshFace
    from media.faces import FaceFinder

UInt8Array = NDArray[np.uint8]
Box = tuple[float, float, float, float]

SIZES = (256, 512)
FASTEST_FPS = 120


@dataclass(frozen=True)
class Shot:
    """How one clip is to be filmed."""

    size: int = 512
    """Pixels a side."""
    fps: Fraction = Fraction(25)
    controls: Controls = field(default_factory=Controls)
    motion: MotionSource = field(default_factory=MotionSource)
    """What turns the speech into motion."""

    def __post_init__(self) -> None:
        """Refuse sizes and rates that no method offers."""
        if self.size not in SIZES:
            raise ForgeError(f"size must be {' or '.join(map(str, SIZES))} pixels, got {self.size}")
        if not 1 <= self.fps <= FASTEST_FPS:
            raise ForgeError(f"fps must be between 1 and {FASTEST_FPS}, got {self.fps}")


@dataclass(frozen=True, eq=False)
class Take:
    """A filmed clip: frames to be read once, and what is true of them."""

    motion: Motion | None
    """Of every frame: what the face was told to do; None where nobody knows."""
    frames: Iterator[UInt8Array]
    """(size, size, 3) uint8 RGB, as many as the speech is long."""
    masks: Callable[[], Iterable[NDArray[np.bool_]]] | None = None
    """(size, size) bool for every frame: the synthesised face, forehead to chin; None when the method cannot tell."""


class Sitter(Protocol):
    """A fitted portrait, ready to be drawn frame by frame."""

    def draw(self, values: NDArray[np.float64]) -> UInt8Array:
        """One (size, size, 3) uint8 RGB frame of (70,) motion features."""
        ...


class Maker(Protocol):
    """A loaded method: what a generator must offer to be used here."""

    def find_face(self, image: UInt8Array) -> Box | None:
        """Box (x0, y0, x1, y1) in pixels of the largest face of an (H, W, 3) picture; None without one."""
        ...

    def film(self, portrait: Portrait, speech: Waveform, shot: Shot) -> Take:
        """Make the portrait say the speech, in frames of (size, size, 3).

        A square portrait in which the face has an ordinary share is filmed as it is framed; another one is cropped.

        Raises:
            ForgeError: when no face is found, or one too small to animate.
        """
        ...

    def sit(self, portrait: Portrait, size: int) -> Sitter:
        """Fit the portrait, framed as by `film`, to be drawn as motion comes.

        Raises:
            ForgeError: when no face is found, or one too small to animate.
        """
        ...

    def close(self) -> None:
        """Free what was loaded."""
        ...


@dataclass(frozen=True)
class Method:
    """A generator by name. `open` loads it; once a process is enough."""

    name: str
    open: Callable[[], Maker]
    fingerprint: Callable[[], str]
    """SHA-256 (hexadecimal) of the files that the method was made of: its weights or basis."""


@contextmanager
def opened(method: Method) -> Iterator[Maker]:
    """A loaded method for the length of a block."""
    try:
        maker = method.open()
    except MediaError as error:
        raise ForgeError(str(error)) from error
    try:
        yield maker
    finally:
        maker.close()


def method_named(name: str) -> Method:
    """The method of a name.

    Raises:
        ForgeError: for a name that is not in `METHODS`.
    """
    if name not in METHODS:
        raise ForgeError(f"method must be one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def largest_face(finder: FaceFinder, image: UInt8Array) -> Box | None:
    """Box of the largest face in an (H, W, 3) picture; None without one."""
    faces = finder.find(image)
    if not faces:
        return None
    x0, y0, x1, y1 = (float(value) for value in faces[0].box)
    return x0, y0, x1, y1


class MeshMaker:
    """The method `mesh`: a fitted rig, drawn with the portrait's own texture."""

    def __init__(self) -> None:
        from media.faces import FaceFinder

        self._finder = FaceFinder()

    def find_face(self, image: UInt8Array) -> Box | None:
        """Box of the largest face."""
        return largest_face(self._finder, image)

    def film(self, portrait: Portrait, speech: Waveform, shot: Shot) -> Take:
        """Fit the rig to the portrait and draw it in motion."""
        face = self.sit(portrait, shot.size)
        motion = shot.motion.speak(speech, shot.fps, shot.controls)

        def masks() -> Iterator[NDArray[np.bool_]]:
            for landmarks in face.truth(motion).landmarks:
                yield face.face_mask(landmarks)

        return Take(motion, face.render(motion), masks)

    def sit(self, portrait: Portrait, size: int) -> MeshFace:
        """Fit the rig to the portrait."""
        from forge.mesh.face import MeshFace

        faces = self._finder.find(portrait.image)
        if not faces:
            raise ForgeError(f"{portrait.path}: no face found; give a picture in which one face looks at the camera")
        try:
            return MeshFace.fit(portrait.image, size, face=faces[0])
        except (ForgeError, ValueError) as error:
            raise ForgeError(f"{portrait.path}: {error}") from error

    def close(self) -> None:
        """Free the face networks."""
        self._finder.close()


def mesh_fingerprint() -> str:
    """Digest of the rig and the speech network that the method is made of; a motion network has its own."""
    import hashlib

    rig = (Path(__file__).parent / "mesh" / "assets").iterdir()
    files = sorted([*rig, *LISTENER_WEIGHTS.parent.glob(f"{LISTENER_WEIGHTS.stem}.*")])
    parts = [f"{file.parent.parent.name}/{file.name} {sha256_of(file)}" for file in files if file.is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _open_vasa() -> Maker:
    """Imported when it is used: it loads torch."""
    from forge.face.method import VasaMaker

    return VasaMaker()


def _vasa_fingerprint() -> str:
    from forge.face.method import vasa_fingerprint

    return vasa_fingerprint()


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "mesh": Method("mesh", MeshMaker, mesh_fingerprint),
        "vasa": Method("vasa", _open_vasa, _vasa_fingerprint),
    }
)
