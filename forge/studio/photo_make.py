"""Make a person from one portrait: fit, cut out, lay flat, build the relief.

    workshop = Workshop()                                   # the head model prepared; once
    person = workshop.make(image, face, name="p007", seed=7, licence="CC0-1.0", digest=..., facts={})

Axes: L 478 landmarks, H W the portrait's pixels, C side of the canvas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from forge.motion.features import BLENDSHAPE_NAMES
from forge.portrait import ForgeError
from forge.studio.head import DYNAMICS, GAZE_DEGREES, PART, HeadModel, load_head
from forge.studio.photo_fit import FitBasis, LandmarkFit, fit_landmarks, shape_in_picture
from forge.studio.photo_layers import CANVAS_CENTIMETRES, CANVAS_SIDE, Shell, build_shell, canvas_matrix, to_canvas
from forge.studio.photo_light import to_linear
from forge.studio.photo_matte import Matte, find_matte
from forge.studio.photo_person import PhotoPerson
from forge.studio.photo_texture import FaceSurface, Skin, bake_skin, face_surface
from forge.studio.rasterise import Coverage, rasterise
from media.landmarks import FACE_OVAL, LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS, FaceObservation, head_angles

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Masks = NDArray[np.bool_]
UInt8Array = NDArray[np.uint8]

LEAST_FACE = 80
"""Pixels across a face: a smaller one has no lips and lids to animate."""
SQUARE_FACES = 3.6
"""A large picture is cut to a square of so many face widths around the face before it is fitted."""
WORK_SIDE = 640
"""And that square is reduced to this."""
WHITE_OF_EYE = 0.56
"""Linear brightness of the white of an eye in the studio's own textures."""


@dataclass(frozen=True, eq=False)
class Square:
    """The part of a portrait that is worked on."""

    image: UInt8Array
    landmarks: Floats
    """(478, 3) in its pixels."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A portrait and the head in it."""

    square: Square
    fit: LandmarkFit
    vertices_V3: Doubles
    """As in the picture, head space."""
    cover: Coverage
    """Of the skin, in the square."""


class Workshop:
    """The head model, prepared for fitting and texturing many portraits."""

    def __init__(self, head: HeadModel | None = None) -> None:
        """Prepare a head model, by default the one that ships; about three seconds."""
        self.head = load_head() if head is None else head
        self.basis = FitBasis.of(self.head)

    @cached_property
    def surface(self) -> FaceSurface:
        """The face's texels."""
        return face_surface(self.head)

    @cached_property
    def skin_triangles(self) -> torch.Tensor:
        """Indices of all triangles of the outer skin."""
        names = torch.tensor([PART[name] for name in ("skin", "lips", "neck", "brow")])
        return torch.isin(self.head.part_T.long(), names).nonzero().squeeze(1)

    def make(
        self, image: UInt8Array, face: FaceObservation, *, name: str, seed: int, licence: str, digest: str,
        facts: Mapping[str, Any],
    ) -> PhotoPerson:  # fmt: skip
        """Make a person.

        Args:
            image: (H, W, 3) the portrait.
            face: its face.
            name: of the person.
            seed: number of the person.
            licence: of the portrait.
            digest: SHA-256 of the portrait's file.
            facts: JSON values about the portrait.

        Raises:
            ForgeError: when the face is too small.
        """
        if np.ptp(face.landmarks[:, 0]) < LEAST_FACE:
            raise ForgeError(
                f"{name}: the face is {np.ptp(face.landmarks[:, 0]):.0f} pixels wide, {LEAST_FACE} are needed"
            )
        fitted = self.fit(square_of(image, face.landmarks), face.blendshapes)
        square, fit, vertices = fitted.square, fitted.fit, fitted.vertices_V3
        matte = find_matte(square.image, self._skull(fitted), square.landmarks)
        solid = matte.alpha_HW > 0.9
        skin = bake_skin(
            self.surface, self.head, vertices, fit.turn, fit.project, square.image, solid, square.landmarks
        )
        shell, backdrop = self._layers(fitted, matte, skin)
        pose = np.eye(4)
        pose[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ fit.turn
        iris, exposure = eye_colours(square, fit)
        measured = {"landmark_rms": fit.rms_pixels, "landmark_median": fit.median_pixels, "seen": skin.seen}
        reach = np.array([fit.centre[0], fit.centre[1], *(len(square.image) - fit.centre)]) * fit.distance / fit.focal
        names = ("room_left", "room_above", "room_right", "room_below")
        measured |= {name: float(value) for name, value in zip(names, reach, strict=True)}
        measured |= {"face_pixels": float(np.ptp(square.landmarks[:, 0])), **matte_facts(matte, square.landmarks)}
        return PhotoPerson(
            name=name, seed=seed, identity_K=fit.identity_K.astype(np.float32),
            residual_V3=_thresholded(fit.residual_V3), lid_2V3=_thresholded(fit.lid_V3),
            pose_3=np.array(head_angles(pose.astype(np.float32)), np.float32),
            dyn_64=dynamics_of(fit, self._gaze(fitted)),
            distance=fit.distance, skin_3AA=_srgb_bytes(skin.albedo_AA3).transpose(2, 0, 1).copy(),
            light_93=skin.light_93,
            iris=iris, eye_exposure=exposure, mouth_exposure=mouth_exposure(exposure, skin.tone),
            relief_W3=fit.to_head(shell.camera_V3.astype(np.float64)).astype(np.float32),
            relief_normal_W3=(shell.normal_V3 @ fit.turn).astype(np.float32), relief_uv_W2=shell.uv_V2,
            relief_triangles_T3=shell.triangles_T3, relief_part_T=shell.part_T, picture_4CC=shell.picture_4CC,
            front_1CC=shell.front_1CC,
            backdrop_3CC=backdrop, licence=licence, parents=(digest,), facts={**facts, "fit": measured},
        )  # fmt: skip

    def fit(self, square: Square, blendshapes: Floats) -> Fitted:
        """Fit the head and draw it into the portrait."""
        fit = fit_landmarks(self.basis, square.landmarks, blendshapes, len(square.image))
        vertices = shape_in_picture(self.basis, fit)
        screen = torch.tensor(fit.project(vertices), dtype=torch.float32)[None]
        cover = rasterise(screen, self.head.triangles_T3[self.skin_triangles], len(square.image))
        return Fitted(square, fit, vertices, cover)

    def _skull(self, fitted: Fitted) -> Masks:
        """(H, W) where the head is, without the neck."""
        skull = self.head.part_T[self.skin_triangles] != PART["neck"]
        return np.asarray(fitted.cover.per_triangle(skull, False)[0].numpy())

    def _layers(self, fitted: Fitted, matte: Matte, skin: Skin) -> tuple[Shell, UInt8Array]:
        """The relief and what is behind it, on the canvas."""
        fit, head = fitted.fit, self.head
        matrix = canvas_matrix(fit.centre, fit.focal / fit.distance)
        alpha = np.asarray(to_canvas(matte.alpha_HW, matrix), np.float32).clip(0, 1)
        inside = to_canvas(np.ones_like(matte.alpha_HW), matrix, cv2.BORDER_CONSTANT)
        rows = np.flatnonzero(np.asarray(inside).max(axis=1) > 0.5)
        # above the picture's upper border a mirrored person would stand on the head
        alpha[: rows[0] if len(rows) else 0] = 0.0
        foreground = np.asarray(to_canvas(matte.foreground_HW3, matrix), np.uint8)
        backdrop = np.asarray(to_canvas(matte.background_HW3, matrix, cv2.BORDER_REFLECT_101), np.uint8)
        focal = CANVAS_SIDE * fit.distance / CANVAS_CENTIMETRES
        camera = fit.to_camera(fitted.vertices_V3)
        screen = np.concatenate([focal * camera[:, :2] / camera[:, 2:] + CANVAS_SIDE / 2, camera[:, 2:]], axis=1)
        triangles = head.triangles_T3[self.skin_triangles]
        cover = rasterise(torch.tensor(screen, dtype=torch.float32)[None], triangles, CANVAS_SIDE)
        depth = cover.depth_BHW[0].numpy()
        normals = head.normals(torch.tensor(fitted.vertices_V3, dtype=torch.float32)[None])
        turned = normals @ torch.tensor(fit.turn.T, dtype=torch.float32)
        normal = cover.interpolate(turned)[0].numpy()
        landmarks = (fitted.square.landmarks[:, :2] + 0.5) @ matrix[:, :2].T + matrix[:, 2]
        face = np.zeros(alpha.shape, np.uint8)
        cv2.fillPoly(face, [np.round(landmarks[list(FACE_OVAL)]).astype(np.int32)], 1)
        drawn = torch.isin(self.skin_triangles, torch.from_numpy(self.surface.triangle_T))
        worn = cover.per_triangle(drawn, False)[0].numpy()
        skull = cover.per_triangle(head.part_T[self.skin_triangles] != PART["neck"], False)[0].numpy()
        chin = float(landmarks[list(FACE_OVAL), 1].max())
        hair = cv2.dilate(skull.astype(np.uint8), np.ones((91, 91), np.uint8)) > 0
        hair &= (np.arange(len(hair)) < chin)[:, None]
        shell = build_shell(
            Matte(alpha, foreground, backdrop), depth, normal, _filled((face > 0) & worn), focal, fit.distance, chin,
            _srgb_bytes(skin.tone[None, None])[0, 0].astype(np.float32), hair,
        )  # fmt: skip
        return shell, np.ascontiguousarray(backdrop.transpose(2, 0, 1))

    def _gaze(self, fitted: Fitted) -> tuple[float, float]:
        """Direction of the eyes in the head, units of 30 degrees, from where the irises are in the picture."""
        head, fit = self.head, fitted.fit
        identity = torch.tensor(fit.identity_K, dtype=torch.float32)
        modes = head.eye_pivot_identity_K23[: len(identity)]
        pivots = (head.eye_pivot_23 + torch.tensordot(identity, modes, dims=([0], [0]))).double().numpy()
        angles = []
        for eye, ring in ((0, LEFT_IRIS), (1, RIGHT_IRIS)):
            first = int((head.eye_V == eye + 1).nonzero()[0])
            camera = fit.to_camera((pivots[eye] + fit.residual_V3[first])[None])[0]
            iris = fitted.square.landmarks[ring[0], :2].astype(np.float64) + 0.5 - fit.centre
            offset = iris * camera[2] / fit.focal - camera[:2]
            radius = float(head.eye_radius_2[eye])
            flat = offset / max(1.0, float(np.linalg.norm(offset)) / (0.8 * radius))
            ray = fit.turn.T @ np.array([*flat, -np.sqrt(radius**2 - float(flat @ flat))])
            angles.append([np.degrees(np.arctan2(ray[0], ray[2])), np.degrees(np.arcsin(ray[1] / radius))])
        yaw, pitch = np.clip(np.mean(angles, axis=0) / GAZE_DEGREES, -0.8, 0.8)
        return float(yaw), float(pitch)


def square_of(image: UInt8Array, landmarks: Floats) -> Square:
    """A square around the face: the whole of a square picture of usual size, a part of a larger or oblong one."""
    height, width = image.shape[:2]
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    face = float(high[0] - low[0])
    side = min(height, width)
    if height == width and side <= WORK_SIDE:
        return Square(image, landmarks)
    side = round(min(side, max(SQUARE_FACES * face, 256)))
    centre = (low + high) / 2
    left = round(float(np.clip(centre[0] - side / 2, 0, width - side)))
    top = round(float(np.clip(centre[1] - 0.45 * side, 0, height - side)))
    cut = image[top : top + side, left : left + side]
    scale = min(1.0, WORK_SIDE / side)
    if scale < 1.0:
        cut = np.asarray(cv2.resize(cut, (WORK_SIDE, WORK_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
        scale = WORK_SIDE / side
    moved = landmarks.copy()
    moved[:, :2] = (landmarks[:, :2] + 0.5 - [left, top]) * scale - 0.5
    moved[:, 2] *= scale
    return Square(np.ascontiguousarray(cut), moved)


def dynamics_of(fit: LandmarkFit, gaze: tuple[float, float]) -> Floats:
    """(64,) expression and gaze of the picture."""
    out = np.zeros(DYNAMICS, np.float32)
    out[: len(BLENDSHAPE_NAMES)] = fit.expression_E
    out[len(BLENDSHAPE_NAMES) : len(BLENDSHAPE_NAMES) + 2] = gaze
    return out


def eye_colours(square: Square, fit: LandmarkFit) -> tuple[tuple[float, float, float], float]:
    """Linear colour of the iris, and brightness of the white of the eye over the studio's own."""
    linear = to_linear(square.image)
    side = len(square.image)
    irises, whites = [], []
    for ring, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        opening = np.zeros((side, side), np.uint8)
        outline = np.round((square.landmarks[list(ring), :2] + 0.5) * 16 - 8).astype(np.int32)
        cv2.fillPoly(opening, [outline], 1, shift=4)
        centre = square.landmarks[iris[0], :2]
        radius = float(np.linalg.norm(square.landmarks[list(iris[1:]), :2] - centre, axis=1).mean())
        y, x = np.mgrid[:side, :side]
        away = np.hypot(x - centre[0], y - centre[1]) / max(radius, 1.0)
        inside = opening > 0
        irises.append(linear[inside & (away < 0.85) & (away > 0.45)])
        whites.append(linear[cv2.erode(opening, np.ones((2, 2), np.uint8)).astype(bool) & (away > 1.2)])
    ring_colours, white = np.concatenate(irises), np.concatenate(whites)
    colour = np.array([0.05, 0.03, 0.02])
    if len(ring_colours) >= 12:
        # lashes darken, glints brighten: the middle of what is there
        order = np.argsort(ring_colours.mean(axis=1))
        colour = ring_colours[order[len(order) // 8 : 5 * len(order) // 8 + 1]].mean(axis=0)
    exposure = 0.75
    if len(white) >= 12:
        exposure = float(np.clip(np.percentile(white.mean(axis=1), 80) / WHITE_OF_EYE, 0.35, 1.25))
    # a dark iris is brown, however grey what is mirrored in it makes it look
    bright = float(colour.mean())
    brown = bright * np.array([1.55, 0.92, 0.53])
    share = float(np.clip((0.14 - bright / exposure) / 0.08, 0.0, 0.8))
    colour = np.clip((colour + share * (brown - colour)) / exposure, 0.008, 0.5)
    return (float(colour[0]), float(colour[1]), float(colour[2])), exposure


def mouth_exposure(eye_exposure: float, tone: Floats) -> float:
    """How bright teeth are over the studio's own: by the eyes and, in fair skin, by the skin."""
    return float(np.clip(max(1.5 * eye_exposure, 2.2 * float(tone.mean())), 0.75, 1.3))


def matte_facts(matte: Matte, landmarks: Floats) -> dict[str, float]:
    """Numbers that tell a sound cut-out: share of the person, symmetry around the head, softness of the border."""
    alpha = matte.alpha_HW
    oval = landmarks[list(FACE_OVAL), :2]
    face = float(np.ptp(landmarks[:, 0]))
    middle = float(oval[:, 0].mean())
    first, last = int(max(oval[:, 1].min(), 0)), int(oval[:, 1].max())
    band = alpha[first:last]
    column = np.arange(alpha.shape[1])
    left, right = (float(band[:, chosen].sum()) for chosen in (column < middle, column >= middle))
    touches = float((alpha[0] > 0.5).sum()) / face
    crown = alpha[: max(1, int(oval[:, 1].min()))]
    return {
        "person_share": float(alpha.mean()),
        "hair_width": float(band.sum(axis=1).max()) / face,
        "lopsided": abs(left - right) / max(left + right, 1e-6),
        "cut_at_top": touches,
        "crown": float((crown > 0.5).any(axis=1).sum()) / face,
        "soft": float(((alpha > 0.1) & (alpha < 0.9)).sum()) / max(float((alpha > 0.5).sum()), 1.0),
    }


def _filled(mask: Masks) -> Masks:
    """A mask without its holes: the openings of eyes and mouth."""
    out = np.zeros(mask.shape, np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, outlines, -1, 1, cv2.FILLED)
    return out > 0


def _thresholded(values: Doubles) -> Floats:
    """Without the displacements that nobody sees, which would only make files large."""
    size = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(np.where(size > 0.004, values, 0.0), np.float32)


def _srgb_bytes(linear: Floats) -> UInt8Array:
    value = np.clip(linear, 0.0, 1.0)
    coded = np.where(value <= 0.0031308, 12.92 * value, 1.055 * np.maximum(value, 1e-6) ** (1 / 2.4) - 0.055)
    return np.asarray((coded * 255).round(), np.uint8)
