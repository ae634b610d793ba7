"""Where things are on a face: the texels of the atlas, their places on the mean head, and named regions.

Everything here depends on the head model alone, so it is computed once a process and shared by all people; a person's
own shape moves the texels with the mesh.
Axes: A atlas side, N covered texels, V vertices, T triangles, K points of a curve. Centimetres, mean head's rest space.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from forge.studio.demo_looks import distance_to_curve, inside_polygon
from forge.studio.demo_zbuffer import rasterise as scan
from forge.studio.head import PARTS, HeadModel, load_head

Floats = NDArray[np.float64]

LAYOUT: dict[str, tuple[float, float, float, float]] = {
    "face": (0.0, 0.0, 0.72, 0.72),
    "neck": (0.72, 0.0, 0.28, 0.72),
    "teeth": (0.0, 0.72, 0.22, 0.28),
    "inner": (0.22, 0.72, 0.16, 0.28),
    "eye": (0.38, 0.72, 0.20, 0.20),
    "flat": (0.38, 0.92, 0.20, 0.08),
    "hair": (0.58, 0.72, 0.20, 0.28),
    "cloth": (0.78, 0.72, 0.22, 0.28),
}
"""Rectangle of the atlas for each kind of surface: left, top, width, height; [0, 1], v down."""
FLAT_CELLS = ("lash", "frame", "eye_wet", "cover", "socket", "beard")
"""The rectangle `flat` is cut into these equal columns."""
EYE_REACH = 1.19
"""Tangent of half of the widest angle from the eye's axis that the rectangle `eye` shows (100 degrees)."""


@dataclass(frozen=True, eq=False)
class FaceMarks:
    """Curves of the mean face in the plane of the picture, (K, 2) each; pairs are the person's right then left."""

    lips_outer: Floats
    lips_inner: Floats
    lids_upper: tuple[Floats, Floats]
    """From the outer corner inwards."""
    lids_lower: tuple[Floats, Floats]
    brows: tuple[Floats, Floats]
    """Middle line, from the nose outwards."""
    nose_tip: Floats
    chin: Floats
    alae: tuple[Floats, Floats]


def marks_of(head: HeadModel) -> FaceMarks:
    """Read the curves off the 68 classic points of the mean head."""
    at = head.neutral_V3[head.marks_68].double().cpu().numpy()[:, :2]
    return FaceMarks(
        lips_outer=at[48:60],
        lips_inner=at[60:68],
        lids_upper=(at[36:40], at[[45, 44, 43, 42]]),
        lids_lower=(at[[36, 41, 40, 39]], at[[45, 46, 47, 42]]),
        brows=(at[[21, 20, 19, 18, 17]], at[22:27]),
        nose_tip=at[30],
        chin=at[8],
        alae=(at[31], at[35]),
    )


@dataclass(frozen=True, eq=False)
class Skin:
    """Covered texels of the face and neck, and what is where. All tensors are float32 unless said otherwise."""

    texel_N: Tensor
    """int64 index into the flattened atlas."""
    part_N: Tensor
    """int64 index into `head.PARTS`."""
    rest_N3: Tensor
    dual_N23: Tensor
    """Gradient of the texture coordinates (texels a cm, columns then rows): relief gradients become vectors by it."""
    fields: dict[str, Tensor]
    """Named masks and coordinates, (N,)."""
    fill_AA: Tensor
    """int64: for every texel of the atlas, the nearest one that belongs to an island (itself inside of one)."""


def smooth(x: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, smooth between; reversed when low > high."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def bump(flat_N2: Floats, centre: tuple[float, float] | Floats, width: tuple[float, float] | float) -> Floats:
    """A Gaussian hill of height 1."""
    return np.asarray(np.exp(-(((flat_N2 - np.asarray(centre)) / np.asarray(width)) ** 2).sum(1)))


def atlas_uv(head: HeadModel) -> Tensor:
    """Where every vertex of the head lies in the atlas, (V, 2) in [0, 1], v down."""
    uv = head.uv_V2.double().cpu().numpy()
    tile = np.floor(uv[:, 0] + 1e-6).astype(np.int64)
    out = np.zeros_like(uv)
    margin = 0.006
    for number, name in enumerate(TILES):
        left, top, width, height = LAYOUT[name]
        mine = tile == number
        inside = uv[mine] - (number, 0)
        out[mine, 0] = left + width * (margin + (1 - 2 * margin) * inside[:, 0])
        out[mine, 1] = top + height * (margin + (1 - 2 * margin) * (1.0 - inside[:, 1]))
    return torch.tensor(out, dtype=torch.float32)


def flat_cell(name: str) -> tuple[float, float]:
    """Middle of a one-coloured cell of the atlas."""
    left, top, width, height = LAYOUT["flat"]
    return left + width * (FLAT_CELLS.index(name) + 0.5) / len(FLAT_CELLS), top + height / 2


TILES = ("face", "neck", "inner", "teeth")
"""Rectangle for each tile of the model's texture coordinates, from u = 0 on; parts of the skin lie in the first two."""
PAINTED = ("skin", "lips", "brow", "neck", "mouth_socket", "gums", "tongue", "teeth")
"""Parts that are painted texel by texel."""


def map_islands(
    uv_V2: Tensor, head: HeadModel, side: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """Draw the mesh into its own atlas.

    Returns:
        Texels (N,), their parts (N,), places on the mean head (N, 3), gradients of the texture coordinates (N, 2, 3) in
        texels a cm.
    """
    triangles = head.triangles_T3.cpu().numpy().astype(np.int64)
    part = head.part_T.cpu().numpy()
    chosen = np.isin(part, [PARTS.index(name) for name in PAINTED])
    triangles, part = triangles[chosen], part[chosen].astype(np.int64)
    flat = uv_V2.double().numpy() * side
    cover = scan(np.column_stack([flat, np.ones(len(flat))]), triangles, side)
    texel = np.flatnonzero(cover.triangle.ravel() >= 0)
    drawn = cover.triangle.ravel()[texel]
    owner = triangles[drawn]
    weights = cover.weights.reshape(-1, 3)[texel]
    neutral = head.neutral_V3.double().cpu().numpy()
    rest = (neutral[owner] * weights[:, :, None]).sum(1)
    # two edges in texels and in centimetres give the gradient of column and row over the surface
    edge = neutral[triangles[:, 1:]] - neutral[triangles[:, :1]]
    step = flat[triangles[:, 1:]] - flat[triangles[:, :1]]
    metric = np.einsum("tik,tjk->tij", edge, edge) + 1e-8 * np.eye(2)
    dual = np.einsum("tji,tjk->tik", step, np.linalg.solve(metric, edge))
    length = np.linalg.norm(dual, axis=2, keepdims=True)
    dual *= np.minimum(1.0, 400.0 / np.maximum(length, 1e-9))
    return texel, part[drawn], rest, dual[drawn]


def skin_fields(rest_N3: Floats, marks: FaceMarks) -> dict[str, Floats]:
    """Masks and coordinates by place on the mean head, (N,) each."""
    flat, x, y, z = rest_N3[:, :2], rest_N3[:, 0], rest_N3[:, 1], rest_N3[:, 2]
    ax = np.abs(x)
    front = smooth(z, 4.0, 7.0)
    mouth = marks.lips_inner.mean(0)
    fields = {"front": front, "x": x, "y": y, "z": z}
    fields["cheek"] = front * (bump(flat, (-4.6, -0.2), 2.2) + bump(flat, (4.6, -0.2), 2.2))
    fields["nose"] = front * bump(flat, marks.nose_tip, 1.4) * smooth(z, 9.5, 11.5)
    fields["chin"] = front * bump(flat, (0.0, -6.6), 1.6)
    fields["forehead"] = front * bump(flat, (0.0, 8.6), (5.5, 1.9))
    fields["tzone"] = np.clip(
        front * bump(flat, (0.0, 8.0), (3.2, 1.9)) + front * bump(flat, (0.0, 2.0), (0.9, 2.6)) + fields["chin"], 0, 1
    )
    ear = smooth(ax, 7.35, 7.9) * smooth(np.abs(y - 2.2), 4.4, 3.4) * smooth(z, 5.0, 4.0)
    fields["ear"] = ear
    outer = marks.lips_outer
    inside = np.where(inside_polygon(flat, outer), 1.0, -1.0)
    fields["lip"] = np.where(z > 8.6, distance_to_curve(flat, np.vstack([outer, outer[:1]])) * inside, -9.0)
    fields["lip_seam"] = distance_to_curve(flat, np.vstack([marks.lips_inner, marks.lips_inner[:1]]))
    fields["mouth_height"] = y - mouth[1]
    lid_up, lid_down, crease, across, along = (np.full(len(x), 9.0) for _ in range(5))
    under = np.full(len(x), 9.0)
    crow, fold, socket = np.zeros(len(x)), np.full(len(x), 9.0), np.zeros(len(x))
    for side in (0, 1):
        sign = -1.0 if side == 0 else 1.0
        mine = (x * sign > 0) & (z > 6.5)
        upper, lower, brow = marks.lids_upper[side], marks.lids_lower[side], marks.brows[side]
        lid_up = np.where(mine, distance_to_curve(flat, upper), lid_up)
        lid_down = np.where(mine, distance_to_curve(flat, lower), lid_down)
        crease = np.where(mine, y - np.interp(ax, np.abs(upper[::-1, 0]), upper[::-1, 1]), crease)
        under = np.where(mine, np.interp(ax, np.abs(lower[::-1, 0]), lower[::-1, 1]) - y, under)
        middle = np.interp(ax, np.abs(brow[:, 0]), brow[:, 1])
        first, last = np.abs(brow[0, 0]), np.abs(brow[-1, 0])
        across = np.where(mine, y - middle, across)
        along = np.where(mine, (ax - first) / (last - first), along)
        corner = upper[0]
        offset = flat - corner
        angle = np.arctan2(offset[:, 1], offset[:, 0] * sign)
        reach = np.linalg.norm(offset, axis=1)
        rays = np.cos(angle * 11.0 + 0.4 * reach) ** 6
        crow += mine * rays * smooth(reach, 0.25, 0.7) * smooth(reach, 2.2, 1.2) * smooth(np.abs(angle), 1.0, 0.6)
        ala, lip_corner = marks.alae[side], marks.lips_outer[np.argmax(marks.lips_outer[:, 0] * sign)]
        steps = np.array([(0.25 * sign, 0.3), (0.75 * sign, -0.5), (0.75 * sign, 0.3), (0.75 * sign, -0.9)])
        line = np.stack([ala, ala, lip_corner, lip_corner]) + steps
        fold = np.where(mine, distance_to_curve(flat, line), fold)
        socket += mine * bump(flat, (upper[:, 0].mean(), upper[:, 1].mean() + 0.1), (2.1, 1.25))
    fields |= {"lid_up": lid_up, "lid_down": lid_down, "above_lid": crease, "below_lid": under}
    fields |= {"brow_across": across, "brow_along": along, "fold": fold, "socket": front * socket}
    fields["crow"] = crow
    wave = y + 0.25 * np.cos(x * 0.55)
    high = smooth(y, 7.2, 7.8) * smooth(y, 10.6, 9.6) * smooth(ax, 4.6, 3.2)
    fields["brow_lines"] = front * np.cos(wave * 2 * np.pi / 0.85) ** 8 * high
    fields["frown"] = front * bump(flat, (0, 6.1), (0.9, 0.9)) * np.cos((ax - 0.42) * np.pi / 0.42) ** 6 * (ax < 0.85)
    ring = (np.mod(y + 0.15 * np.cos(x * 0.5), 2.6) - 1.3) / 0.12
    fields["neck_lines"] = np.exp(-(ring**2)) * smooth(y, -9.0, -10.0)
    fields["neck"] = smooth(y, -8.0, -10.0) * smooth(z, 10.0, 8.0)
    return fields


@functools.cache
def skin_map(side: int) -> Skin:
    """Texels of the shipped head's skin for an atlas of `side` pixels; about two seconds, once a process."""
    head = load_head()
    texel, part, rest, dual = map_islands(atlas_uv(head), head, side)
    fields = {
        name: torch.tensor(values, dtype=torch.float32) for name, values in skin_fields(rest, marks_of(head)).items()
    }
    island = np.zeros(side * side, np.bool_)
    island[texel] = True
    owned = island.copy().reshape(side, side)
    for name in ("eye", "flat", "hair", "cloth"):
        left, top, width, height = (round(v * side) for v in LAYOUT[name])
        owned[top : top + height, left : left + width] = True
    nearest = ndimage.distance_transform_edt(~owned, return_distances=False, return_indices=True)
    return Skin(
        torch.from_numpy(texel),
        torch.from_numpy(part),
        torch.tensor(rest, dtype=torch.float32),
        torch.tensor(dual, dtype=torch.float32),
        fields,
        torch.from_numpy(nearest[0] * side + nearest[1]).long(),
    )
