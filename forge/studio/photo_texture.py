"""The skin of a photographed face, laid out flat: what the picture shows, evened out in light, the unseen completed.

    skin = bake_skin(surface, head, vertices_V3, project, image, mask)

Only the face wears a texture of its own (brows to under the jaw, the oval and a rim around it); ears, hair, neck and
clothes are `photo_layers`. By number:
    1. every texel is looked up where its point lies in the picture, and doubted where the surface turns away, is hidden
       or lies in the opening of an eye or of the mouth                                                   `look_up`
    2. the light of the picture is estimated from the trusted skin and mostly taken out                   `photo_light`
    3. doubted texels take the colour of their mirror image on the other half of the face                 `complete`
    4. what neither half shows is filled in smoothly from around

Axes: A side of the texture, V vertices, T triangles, N covered texels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from forge.studio.head import PART, HeadModel
from forge.studio.photo_fit import lid_borders
from forge.studio.photo_light import estimate_light, shading, to_linear
from forge.studio.photo_matte import push_pull
from forge.studio.rasterise import rasterise
from media.landmarks import FACE_OVAL, LEFT_EYE, LIPS_INNER, RIGHT_EYE

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Masks = NDArray[np.bool_]
UInt8Array = NDArray[np.uint8]
Project = Callable[[NDArray[np.float64]], NDArray[np.float64]]

UNLIGHTING = 0.7
"""Share of the estimated light that is taken out of the picture: all of it would take relief and character along."""
RIM_CENTIMETRES, JAW_CENTIMETRES = 4.5, 3.2
"""How far the face's own mesh reaches beyond the oval: to the ears, and under the jaw."""
LID_CENTIMETRES, LASH_CENTIMETRES = 0.5, 0.07
"""Height of the part of the upper lid that an open eye folds away, and of the line of lashes along its border."""
FACING = (0.10, 0.30)
"""Cosine between surface and view below which a texel is not believed, and from which it is."""


@dataclass(frozen=True, eq=False)
class FaceSurface:
    """The part of the head's mesh that wears the picture, and its texels; depends on the head model alone."""

    side: int
    triangle_T: Ints
    """Indices of the face's triangles in the head's list."""
    texel_N: Ints
    """Index into the flattened texture."""
    corner_N3: Ints
    """Vertices around each texel."""
    weight_N3: Floats
    lips_N: Masks
    inner_N: Masks
    """Inside of the face's oval."""
    lid_N: Floats
    """Centimetres above the border of an upper lid; large elsewhere."""
    mouth_N: Floats
    """1 on the inner side of the lips."""


def face_uv(head: HeadModel) -> NDArray[np.float64]:
    """(V, 2) place of every vertex in the face's texture, [0, 1], v down; only tile 0 of the model is used."""
    uv = head.uv_V2.double().cpu().numpy()
    return np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1)


@cache
def face_surface(head: HeadModel, side: int = 768) -> FaceSurface:
    """Choose the face's triangles and draw them into their texture."""
    triangles = head.triangles_T3.cpu().numpy()
    part = head.part_T.cpu().numpy()
    uv = face_uv(head)
    own = np.isin(part, [PART[name] for name in ("skin", "lips", "neck", "brow")]) & (uv[triangles][:, :, 0].max(1) < 1)
    oval = _landmark_values(head, uv)[list(FACE_OVAL)]
    vertices = np.unique(triangles[own])
    polygon = (oval * 4096).astype(np.float32)
    inside = np.array([cv2.pointPolygonTest(polygon, (float(x), float(y)), False) >= 0 for x, y in uv[vertices] * 4096])
    places = head.neutral_V3.double().cpu().numpy()[vertices]
    away = cKDTree(places[inside]).query(places)[0]
    jaw = places[:, 1] < -4.5
    ear = (np.abs(places[:, 0]) > 7.45) & (np.abs(places[:, 1] - 2.2) < 4.6) & (places[:, 2] < 4.6)
    near = np.zeros(len(uv), np.bool_)
    near[vertices] = inside | ((away < np.where(jaw, JAW_CENTIMETRES, RIM_CENTIMETRES)) & ~ear)
    chosen = np.flatnonzero(own & near[triangles].all(axis=1))
    screen = np.concatenate([uv * side, np.full((len(uv), 1), 2.0)], axis=1)
    cover = rasterise(torch.tensor(screen, dtype=torch.float32)[None], head.triangles_T3[chosen], side, two_sided=True)
    found = cover.triangle_BHW[0].flatten().numpy()
    texel = np.flatnonzero(found >= 0)
    owner = chosen[found[texel]]
    within = np.zeros((side, side), np.uint8)
    cv2.fillPoly(within, [np.round(oval * side).astype(np.int32)], 1)
    weights = cover.weights_BHW3[0].reshape(-1, 3).numpy()[texel]
    neutral = head.neutral_V3.double().cpu().numpy()
    rest = (neutral[triangles[owner]] * weights[..., None]).sum(1)
    normals = head.normals(head.neutral_V3.cpu()[None])[0].double().numpy()
    normal = (normals[triangles[owner]] * weights[..., None]).sum(1)
    return FaceSurface(
        side, chosen, texel, triangles[owner], weights, part[owner] == PART["lips"], within.ravel()[texel] > 0,
        above_lids(rest, head), inside_mouth(rest, normal, head),
    )  # fmt: skip


def above_lids(rest_N3: NDArray[np.float64], head: HeadModel) -> Floats:
    """Centimetres from points on the mean head to the border of the upper lid below them; 9 elsewhere."""
    out = np.full(len(rest_N3), 9.0, np.float32)
    neutral = head.neutral_V3.double().cpu().numpy()
    for upper, _ in lid_borders(head):
        border = neutral[upper][np.argsort(neutral[upper, 0])]
        dense = np.concatenate([a + (b - a) * np.linspace(0, 1, 6)[:, None] for a, b in pairwise(border)])
        away, nearest = cKDTree(dense).query(rest_N3, distance_upper_bound=1.0)
        found = np.flatnonzero(np.isfinite(away))
        over = found[rest_N3[found, 1] > dense[nearest[found], 1] - 0.08]
        out[over] = np.minimum(out[over], away[over])
    return out


def inside_mouth(rest_N3: NDArray[np.float64], normal_N3: NDArray[np.float64], head: HeadModel) -> Floats:
    """How far points on the mean head belong to the inner side of the lips, [0, 1]."""
    borders = head.neutral_V3.double().cpu().numpy()[torch.cat([head.lip_upper_N, head.lip_lower_N]).cpu().numpy()]
    away, nearest = cKDTree(borders).query(rest_N3)
    behind = borders[nearest, 2] - rest_N3[:, 2]
    inward = np.clip(0.35 - normal_N3[:, 2], 0.0, 0.3) / 0.3
    return np.asarray(np.clip((behind - 0.05) / 0.2, 0.0, 1.0) * (away < 2.5) * inward, np.float32)


@dataclass(frozen=True, eq=False)
class Skin:
    """A baked face."""

    albedo_AA3: Floats
    """Linear RGB, the picture's light mostly taken out."""
    light_93: Floats
    """The picture's light, see `photo_light`."""
    seen: float
    """Share of the oval's texels that the picture shows."""
    tone: Floats
    """(3,) median linear colour of the skin."""


def bake_skin(
    surface: FaceSurface, head: HeadModel, vertices_V3: NDArray[np.float64], to_camera: NDArray[np.float64],
    project: Project, image: UInt8Array, person_HW: Masks, landmarks: Floats,
) -> Skin:  # fmt: skip
    """Lay the face of a picture out flat.

    Args:
        surface: of the head model.
        head: the head model, on the CPU.
        vertices_V3: the head as it is in the picture, head space.
        to_camera: (3, 3) turn from head to camera space.
        project: head space (N, 3) to picture pixels and distance (N, 3).
        image: (H, W, 3) square picture.
        person_HW: where the picture surely shows the person.
        landmarks: (478, 2 or 3) in the picture.
    """
    normals = head.normals(torch.tensor(vertices_V3, dtype=torch.float32)[None])[0].numpy() @ to_camera.T
    normal = (normals[surface.corner_N3] * surface.weight_N3[..., None]).sum(1)
    normal = (normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)).astype(np.float32)
    place = project((vertices_V3[surface.corner_N3] * surface.weight_N3[..., None]).sum(1))
    screen = torch.tensor(project(vertices_V3), dtype=torch.float32)[None]
    colour, trust = look_up(surface, head, place, normal, screen, image, person_HW, landmarks)
    # lashes and fold of an open eye would be drawn out over the lid when it shuts
    trust = np.asarray(trust * (surface.lid_N >= LID_CENTIMETRES) * (1 - surface.mouth_N), np.float32)
    believed = trust * surface.inner_N * ~surface.lips_N
    light = estimate_light(colour, normal, believed)
    flat = colour / shading(UNLIGHTING * torch.from_numpy(light), torch.from_numpy(normal)).numpy()
    tone = np.median(flat[believed > 0.5], axis=0) if (believed > 0.5).any() else flat.mean(axis=0)
    seen = float((trust[surface.inner_N] > 0.5).mean())
    albedo = complete(surface, flat, trust)
    lashes = np.clip((LASH_CENTIMETRES * 1.6 - surface.lid_N) / (LASH_CENTIMETRES * 0.8), 0.0, 1.0)[:, None] * 0.8
    pixels = albedo.reshape(-1, 3)
    pixels[surface.texel_N] *= 1 - lashes * (1 - np.minimum(0.12, 0.02 / np.maximum(tone, 0.02)))
    # what is filled in over a lid comes from the shadow of its fold
    lid = 0.45 * np.clip((LID_CENTIMETRES - surface.lid_N) / 0.15, 0.0, 1.0)[:, None] * (1 - lashes)
    pixels[surface.texel_N] += lid * (0.85 * tone - pixels[surface.texel_N])
    wet = surface.mouth_N[:, None]
    pixels[surface.texel_N] += wet * (tone * np.array([0.42, 0.16, 0.16], np.float32) - pixels[surface.texel_N])
    return Skin(albedo, light, seen, np.asarray(tone, np.float32))


def look_up(
    surface: FaceSurface, head: HeadModel, place: NDArray[np.float64], normal: Floats, screen: torch.Tensor,
    image: UInt8Array, person_HW: Masks, landmarks: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Linear colour (N, 3) of every texel in the picture, and how far to believe it, (N,) in [0, 1]."""
    side = len(image)
    cover = rasterise(screen, head.triangles_T3, side)
    x, y = (place[:, 0] - 0.5).astype(np.float32), (place[:, 1] - 0.5).astype(np.float32)
    linear = to_linear(image)
    rows = -(-len(x) // 4096)  # OpenCV takes no row longer than 32767
    across, down = (np.resize(v, (rows, 4096)) for v in (x, y))
    found = cv2.remap(linear, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    colour = np.asarray(found, np.float32).reshape(-1, 3)[: len(x)].clip(0, 1)
    column, row = np.clip(x.round().astype(int), 0, side - 1), np.clip(y.round().astype(int), 0, side - 1)
    # hidden by the nose, for instance: something clearly nearer is drawn there
    nearest = cv2.dilate(cover.depth_BHW[0].nan_to_num(posinf=1e6).numpy(), np.ones((3, 3), np.uint8))
    hidden = place[:, 2] > nearest[row, column] + 0.45
    low, high = FACING
    facing = np.clip((-normal[:, 2] - low) / (high - low), 0.0, 1.0)
    openings = np.zeros((side, side), np.uint8)
    for ring in (LIPS_INNER, RIGHT_EYE, LEFT_EYE):
        outline = np.round((landmarks[list(ring), :2] + 0.5) * 16 - 8).astype(np.int32)
        cv2.fillPoly(openings, [outline], 1, lineType=cv2.LINE_8, shift=4)
    openings = np.asarray(cv2.dilate(openings, np.ones((3, 3), np.uint8)), np.uint8)
    inside = (x > 1) & (y > 1) & (x < side - 2) & (y < side - 2)
    solid = cv2.erode(person_HW.astype(np.uint8), np.ones((5, 5), np.uint8))
    good = inside & ~hidden & (openings[row, column] == 0) & (solid[row, column] > 0)
    return np.asarray(colour, np.float32), np.asarray(facing * facing * (3 - 2 * facing) * good, np.float32)


def complete(surface: FaceSurface, flat_N3: Floats, trust_N: Floats) -> Floats:
    """(A, A, 3) texture: trusted texels as they are, others from the mirrored half, the rest filled in."""
    side = surface.side
    colour, trust = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)
    colour.reshape(-1, 3)[surface.texel_N] = flat_N3
    trust.reshape(-1)[surface.texel_N] = trust_N
    # a soft rim on the trusted side, so that no seam shows where another source takes over
    soft = np.minimum(trust, cv2.GaussianBlur(cv2.erode(trust, np.ones((5, 5), np.uint8)), (0, 0), side / 160))
    mirrored, mirrored_trust = colour[:, ::-1], soft[:, ::-1]
    both = (soft > 0.5) & (mirrored_trust > 0.5)
    if both.any():
        # the halves differ in light: the mirrored one is brought to this side's colours, coarsely
        small, small_trust = (_coarse(v) for v in (colour * soft[..., None], soft))
        means = np.asarray(small / np.maximum(small_trust, 1e-4)[..., None], np.float32)
        own = push_pull(means, np.clip(small_trust, 0, 1))
        smooth = np.asarray(cv2.GaussianBlur(own, (0, 0), len(own) / 24), np.float32)
        gain = np.clip(smooth / np.maximum(smooth[:, ::-1], 1e-3), 0.6, 1.6)
        mirrored = mirrored * cv2.resize(gain, (side, side), interpolation=cv2.INTER_LINEAR)
    share = mirrored_trust * (1 - soft)
    total = soft + share
    mixed = (colour * soft[..., None] + mirrored * share[..., None]) / np.maximum(total, 1e-6)[..., None]
    return np.asarray(push_pull(mixed.astype(np.float32), np.clip(total, 0, 1)), np.float32)


def _coarse(values: Floats) -> Floats:
    """An eighth of the size, by averaging."""
    side = len(values) // 8
    return np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _landmark_values(head: HeadModel, values_VC: NDArray[np.float64]) -> NDArray[np.float64]:
    """(478, C) of a vertex attribute."""
    return np.asarray(head.landmarks(torch.from_numpy(values_VC)[None])[0].numpy())
