"""Motion as it is seen: drawn by method `mesh`, then followed by the tracker that measures filmed people.

track = drawn_track(face, motion, cache, finder)       # kept under cache by the digest of motion and portrait
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.face.student_motion import motion_between
from forge.mesh.face import MeshFace
from forge.motion.features import Motion
from media.faces import FaceFinder, FaceTrack, load_tracks, save_tracks, track_faces
from media.landmarks import FACE_OVAL, FaceObservation

UInt8Array = NDArray[np.uint8]
FPS = 25


@dataclass(frozen=True, eq=False)
class Drawn:
    """One drawn frame, as a video would give it."""

    index: int
    pts_seconds: float
    image: UInt8Array


def drawn(face: MeshFace, motion: Motion) -> Iterator[Drawn]:
    """Every frame of a motion."""
    for index, image in enumerate(face.render(motion)):
        yield Drawn(index, index / FPS, image)


def drawn_track(face: MeshFace, motion: Motion, cache: Path, finder: FaceFinder) -> FaceTrack | None:
    """What the tracker sees of a motion drawn on a face; None where it finds no face."""
    mark = sha256(motion.values.tobytes() + face.frame.tobytes()).hexdigest()[:16]
    path = cache / f"drawn_{mark}.npz"
    if path.is_file():
        tracks = load_tracks(path)
    else:
        tracks = track_faces(drawn(face, motion), finder=finder)
        cache.mkdir(parents=True, exist_ok=True)
        save_tracks(tracks, path)
    return tracks[0] if tracks else None


def motion_seen(track: FaceTrack, portrait: FaceObservation) -> Motion:
    """(N, 70) motion of a track of drawn frames, against the portrait at rest."""
    pairs = zip(track.landmarks, track.blendshapes, strict=True)
    values = np.stack([motion_between(portrait.landmarks, points, shapes) for points, shapes in pairs])
    return Motion(values, Fraction(FPS))


def sharpness(image: UInt8Array, landmarks: NDArray[np.float32]) -> float:
    """Deviation of fine detail (Laplacian) inside the face's outline, in grey levels."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mask = np.zeros(grey.shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(landmarks[list(FACE_OVAL), :2].astype(np.int32)), 1)
    detail = cv2.Laplacian(grey, cv2.CV_32F)
    return float(detail[mask > 0].std())
