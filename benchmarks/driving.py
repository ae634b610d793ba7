"""Drive any face renderer with a measured motion: what a method must offer to be judged, and the ones there are.

    watched = watch(finder, frames)                        # what the landmarker sees in each frame
    motion = motion_of(watched, reference=0)               # relative to frame 0, in the product's units
    drawable = driver_named("mesh").fit(frames[0], watched.face(0))
    for frame in drawable.draws(motion): ...               # frames as the portrait is framed

A method is any object with `fit`, and what it returns has `draws`: tests pass ones of a few lines. `static` shows the
portrait itself, whatever it is asked: a method must beat it in every figure of motion to be worth anything.

What a motion means here (all methods are asked for the same):
    yaw, pitch, roll    the landmarker's head angles minus those of the portrait, degrees
    shift_x, shift_y    how far the landmarker's head origin (2.7 cm below and 3.2 cm behind the outer eye corners)
                        moved in the picture, right and down, in outer-eye distances of the portrait's frontal head
    log_scale           logarithm of how much nearer the head came
    z_dyn               the 51 coefficients as measured, absolute; gaze from the `eyeLook*` among them
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import radians, tan
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity import DEGREES_PER_GAZE, gaze_degrees
from forge.motion.features import INDEX, NAMES, Motion
from forge.portrait import ForgeError
from media.faces import FaceFinder, head_angles
from media.landmarks import BLENDSHAPE_NAMES, CAMERA_DEGREES, LANDMARKS, FaceObservation
from provenance.files import write_whole

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

OUTER_EYES_CENTIMETRES = 8.892
"""Distance of the outer eye corners of the landmarker's neutral head."""
ORIGIN_IN_EYES = (0.0, 0.2996, 0.3569)
"""Right, down, away from the middle between the outer eye corners, in outer-eye distances: the landmarker's origin."""


class Drawable(Protocol):
    """A portrait that was fitted once."""

    def draws(self, motion: Motion) -> Iterator[UInt8Array]:
        """Draw every frame: (S, S, 3) uint8 RGB, framed exactly as the portrait was given."""
        ...


class Driver(Protocol):
    """A method to be judged."""

    name: str
    size: int
    """Pixels a side that it wants its portraits to have."""
    fingerprint: str
    """Changes when the weights change, so that no figures of earlier weights are taken for theirs."""

    def fit(self, portrait: UInt8Array, face: FaceObservation) -> Drawable:
        """Fit to an (S, S, 3) portrait in which the landmarker saw this face."""
        ...


@runtime_checkable
class Reader(Protocol):
    """A method with a dynamics code of its own, which may be probed."""

    def read_dynamics(self, frames: Sequence[UInt8Array]) -> NDArray[np.floating]:
        """(N, C) z_dyn of N frames (S, S, 3) uint8."""
        ...


@runtime_checkable
class Dialect(Protocol):
    """A method that reads motions its own way (another pivot of the head, say); others are told `motion_of`."""

    def read_motion(self, watched: Watched, reference: FaceObservation) -> Motion:
        """The motion of N watched faces relative to a reference picture of the same person and framing."""
        ...


@runtime_checkable
class VideoReader(Protocol):
    """A method with a motion encoder of its own, which looks at the frames that are to be followed."""

    def read_video(self, frames: Sequence[UInt8Array], portrait: UInt8Array) -> Motion:
        """The motion of N frames relative to a portrait of the same person and framing."""
        ...


@dataclass(frozen=True, eq=False)
class Watched:
    """What the landmarker saw in N frames; rows of frames without a face are NaN."""

    landmarks: FloatArray
    """(N, 478, 3) pixels."""
    blendshapes: FloatArray
    """(N, 51)."""
    poses: FloatArray
    """(N, 4, 4) head to camera, centimetres."""

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        count = len(self.landmarks)
        shapes = (self.landmarks.shape, self.blendshapes.shape, self.poses.shape)
        if shapes != ((count, LANDMARKS, 3), (count, len(BLENDSHAPE_NAMES)), (count, 4, 4)):
            raise ValueError(f"watched arrays must be (N, 478, 3), (N, 51), (N, 4, 4), got {shapes}")

    @property
    def found(self) -> NDArray[np.bool_]:
        """(N,) whether a face was seen."""
        return np.asarray(np.isfinite(self.poses).all(axis=(1, 2)))

    @property
    def angles(self) -> Array:
        """(N, 3) yaw, pitch, roll in degrees."""
        return np.array([head_angles(p) if np.isfinite(p).all() else (np.nan,) * 3 for p in self.poses], np.float64)

    def face(self, index: int) -> FaceObservation:
        """The observation of one frame.

        Raises:
            ValueError: when no face was seen there.
        """
        if not self.found[index]:
            raise ValueError(f"no face was seen in frame {index}")
        points = self.landmarks[index]
        box = np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)]).astype(np.float32)
        return FaceObservation(box, points, self.blendshapes[index], self.poses[index], 1.0)

    def chosen(self, indices: Sequence[int]) -> Watched:
        """Some frames only."""
        rows = np.array(list(indices), np.int64)
        return Watched(self.landmarks[rows], self.blendshapes[rows], self.poses[rows])

    def save(self, path: Path) -> None:
        """Write as .npz, whole or not at all."""
        import io

        buffer = io.BytesIO()
        np.savez_compressed(buffer, landmarks=self.landmarks, blendshapes=self.blendshapes, poses=self.poses)
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Watched:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["landmarks"], file["blendshapes"], file["poses"])


def watch(finder: FaceFinder, frames: Iterable[UInt8Array], near: Watched | None = None) -> Watched:
    """Measure the face of every frame.

    Args:
        finder: a loaded finder.
        frames: (H, W, 3) uint8 RGB each.
        near: where the face of each frame is expected: it is measured in the same window as there, so that a drawn
            frame and its truth are seen alike, and searched for only when that fails.
    """
    landmarks, shapes, poses = [], [], []
    last: FloatArray | None = None
    for i, frame in enumerate(frames):
        box = near.face(i).box if near is not None and near.found[i] else last
        seen = finder.measure(frame, box) if box is not None else None
        if seen is None:
            faces = finder.find(frame)
            seen = faces[0] if faces else None
        last = None if seen is None else seen.box
        landmarks.append(seen.landmarks if seen else np.full((LANDMARKS, 3), np.nan, np.float32))
        shapes.append(seen.blendshapes if seen else np.full(len(BLENDSHAPE_NAMES), np.nan, np.float32))
        poses.append(seen.pose if seen else np.full((4, 4), np.nan, np.float32))
    count = len(landmarks)
    return Watched(
        np.array(landmarks, np.float32).reshape(count, LANDMARKS, 3),
        np.array(shapes, np.float32).reshape(count, len(BLENDSHAPE_NAMES)),
        np.array(poses, np.float32).reshape(count, 4, 4),
    )


def motion_of(watched: Watched, reference: FaceObservation, height: int, fps: Fraction = Fraction(25)) -> Motion:
    """The motion that the landmarker reads off frames, relative to a portrait; see the module's text for its units.

    Args:
        watched: N frames, all with a face.
        reference: the portrait, in a picture of the same size.
        height: of the pictures in pixels.
        fps: frames a second.

    Raises:
        ValueError: when a frame has no face.
    """
    if not watched.found.all():
        raise ValueError(f"a motion needs a face in every frame, {int((~watched.found).sum())} have none")
    values = np.zeros((len(watched.poses), len(NAMES)), np.float32)
    turned = watched.angles - np.array(head_angles(reference.pose))
    values[:, :3] = (turned + 180) % 360 - 180
    focal = height / 2 / tan(radians(CAMERA_DEGREES) / 2)
    place = np.asarray(watched.poses[:, :3, 3], np.float64)
    start = np.asarray(reference.pose[:3, 3], np.float64)
    on_screen = place[:, :2] / -place[:, 2:] - start[:2] / -start[2]
    # camera y is up, the picture's is down; an outer-eye distance at the portrait's depth is 8.892 / -z
    values[:, 3:5] = on_screen * [1, -1] * focal / (OUTER_EYES_CENTIMETRES * focal / -start[2])
    values[:, 5] = np.log(start[2] / place[:, 2])
    for i, name in enumerate(BLENDSHAPE_NAMES):
        values[:, INDEX[name]] = watched.blendshapes[:, i]
    values[:, [INDEX["gaze_yaw"], INDEX["gaze_pitch"]]] = gaze_degrees(watched.blendshapes) / DEGREES_PER_GAZE
    return Motion(values, fps)


def motion_for(
    driver: Driver,
    watched: Watched,
    reference: FaceObservation,
    frames: Sequence[UInt8Array],
    portrait: UInt8Array,
) -> Motion:
    """What a method is told so that a portrait does what was watched: by its own reading where it has one.

    Args:
        driver: the method.
        watched: what the landmarker saw in N frames.
        reference: and in the portrait that they belong to.
        frames: those frames.
        portrait: that portrait.
    """
    if isinstance(driver, VideoReader):
        return driver.read_video(frames, portrait)
    if isinstance(driver, Dialect):
        return driver.read_motion(watched, reference)
    return motion_of(watched, reference, portrait.shape[0])


def asked_angles(motion: Motion, reference: FaceObservation) -> Array:
    """(T, 3) head angles in degrees that the landmarker should see when the motion was obeyed."""
    return np.asarray(motion.pose[:, :3].astype(np.float64) + np.array(head_angles(reference.pose)))


def asked_blendshapes(motion: Motion) -> FloatArray:
    """(T, 51) coefficients that the landmarker should see when the motion was obeyed."""
    return np.asarray(motion.values[:, [INDEX[name] for name in BLENDSHAPE_NAMES]], np.float32)


class StaticDriver:
    """The portrait itself, unmoved: the floor under every figure of motion."""

    name = "static"
    fingerprint = "portrait"

    def __init__(self, size: int = 256) -> None:
        self.size = size

    def fit(self, portrait: UInt8Array, face: FaceObservation) -> Drawable:
        """Keep the portrait."""
        return _Still(portrait)


@dataclass(frozen=True, eq=False)
class _Still:
    portrait: UInt8Array

    def draws(self, motion: Motion) -> Iterator[UInt8Array]:
        for _ in range(motion.length):
            yield self.portrait


class MeshDriver:
    """The method `mesh`, told in its own dialect."""

    name = "mesh"

    def __init__(self, size: int = 256) -> None:
        from forge.methods import mesh_fingerprint

        self.size = size
        self.fingerprint = mesh_fingerprint()[:16]

    def fit(self, portrait: UInt8Array, face: FaceObservation) -> Drawable:
        """Fit the rig without cropping: drawn frames must lie on the true ones."""
        from forge.mesh.face import MeshFace

        measured = dict(zip(BLENDSHAPE_NAMES, face.blendshapes.tolist(), strict=True))
        rig = MeshFace.from_landmarks(portrait, face.landmarks.astype(np.float64), measured)
        return _Mesh(rig, gaze_degrees(face.blendshapes[None])[0])


@dataclass(frozen=True, eq=False)
class _Mesh:
    """`mesh` turns about the neck and takes a portrait that looks nearly ahead to look straight ahead."""

    rig: object
    own_gaze: Array
    """(2,) degrees that the landmarker reads off the portrait."""

    def draws(self, motion: Motion) -> Iterator[UInt8Array]:
        from forge.mesh.face import MeshFace
        from forge.mesh.warp import RigidPose

        rig = cast(MeshFace, self.rig)
        origin = rig.head.to_picture(np.array([ORIGIN_IN_EYES]))
        look = rig.eyes[0].look if rig.eyes else np.zeros(2)
        values = motion.values.astype(np.float64)
        for row in values:
            unshifted = row[:6] * [1, 1, 1, 0, 0, 1]
            moved = RigidPose.at(rig.sheet.pivot, rig.head.scale, unshifted)(origin) - origin
            row[3:5] -= moved[0, :2] / rig.head.scale
            row[[INDEX["gaze_yaw"], INDEX["gaze_pitch"]]] -= (self.own_gaze - look) / DEGREES_PER_GAZE
        yield from rig.render(Motion(values.astype(np.float32), motion.fps))


def driver_named(name: str, size: int = 256, weights: Path | None = None) -> Driver:
    """A method to judge, for frames of a size.

    Args:
        name: one of `DRIVERS`.
        size: side of the frames in pixels.
        weights: of `vasa`, others than those that ship.

    Raises:
        ForgeError: for an unknown name, or a method that cannot be loaded.
    """
    if name not in DRIVERS:
        raise ForgeError(f"method must be one of {', '.join(DRIVERS)}, got {name!r}")
    if name == "vasa":
        return open_vasa(size, weights)
    return DRIVERS[name](size)


def open_vasa(size: int, weights: Path | None = None) -> Driver:
    """The learned face as the product drives it; it brings its own driver.

    Raises:
        ForgeError: when it has no weights for that size, or is not there.
    """
    try:
        open_driver = importlib.import_module("forge.face.method").open_driver
    except (ImportError, AttributeError) as error:
        raise ForgeError(f"method vasa cannot be driven ({error}); train or install it first") from error
    return cast(Driver, open_driver(size, weights))


DRIVERS: Mapping[str, Callable[[int], Driver]] = MappingProxyType(
    {"static": StaticDriver, "mesh": MeshDriver, "vasa": open_vasa}
)
