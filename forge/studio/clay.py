"""A plain picture of the head: skin-coloured, one light, no hair. What landmarks and coefficients are calibrated on.

    pictures_FHW3 = draw_clay(head, identity_BK, dyn_B64, pose_B6, size=256)

Not training material: looks are the matter of `looks.py` and `shading.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.studio.head import PART, PARTS, HeadModel, pose_matrix, project, standard_focal
from forge.studio.rasterise import Coverage, rasterise

COLOURS = {
    "skin": (0.62, 0.38, 0.28), "lips": (0.50, 0.17, 0.15), "neck": (0.58, 0.35, 0.26), "sclera": (0.72, 0.68, 0.66),
    "iris": (0.10, 0.07, 0.045), "teeth": (0.75, 0.70, 0.60), "gums": (0.45, 0.12, 0.12), "tongue": (0.48, 0.14, 0.14),
    "mouth_socket": (0.16, 0.03, 0.03), "lashes": (0.02, 0.015, 0.012), "eye_wet": (0.55, 0.30, 0.27),
}  # fmt: skip
"""Linear colours of parts."""
BACKDROP = (0.20, 0.22, 0.25)


@dataclass(frozen=True, eq=False)
class Clay:
    """Plain pictures and what was drawn."""

    image_BHW3: NDArray[np.uint8]
    cover: Coverage
    vertices_BV3: Tensor
    screen_BV3: Tensor


def brow_V(head: HeadModel) -> Tensor:
    """(V,) how much of a brow there is at each vertex: near the two lines of brow marks."""
    skin = head.neutral_V3
    out = torch.zeros(len(skin))
    for first in (17, 22):
        line = skin[head.marks_68[first : first + 5]]
        for a, b in itertools.pairwise(line):
            along = (((skin - a) @ (b - a)) / ((b - a) @ (b - a))).clamp(0, 1)
            away = (skin - a - along[:, None] * (b - a)).norm(dim=1)
            out = torch.maximum(out, (1.0 - away / 0.45).clamp(0, 1))
    return (out * 2).clamp(max=1)


def colours(head: HeadModel, cover: Coverage, skin: Sequence[float] | None = None) -> Tensor:
    """(B, H, W, 3) unlit colours of a coverage."""
    table = torch.tensor([COLOURS.get(name, BACKDROP) for name in PARTS])
    if skin is not None:
        table[PART["skin"]] = table[PART["neck"]] = torch.tensor(skin)
    part_BHW = cover.per_triangle(head.part_T.long())
    colour = table[part_BHW]
    brow = cover.interpolate(brow_V(head)[:, None]) * (part_BHW == PART["skin"])[..., None]
    rest = cover.interpolate(head.neutral_V3)
    for eye in (0, 1):
        across = (rest - head.eye_pivot_23[eye])[..., :2].norm(dim=-1)
        pupil = (across < 0.38 * head.iris_radius_2[eye]) & (part_BHW == PART["iris"])
        colour = torch.where(pupil[..., None], 0.004, colour)
    return colour * (1 - 0.8 * brow)


def draw_clay(
    head: HeadModel,
    identity_BK: Tensor,
    dyn_B64: Tensor,
    pose_B6: Tensor,
    size: int,
    *,
    skin: Sequence[float] | None = None,
) -> Clay:
    """Draw heads in plain light."""
    vertices = head.deform(identity_BK, dyn_B64)
    focal = standard_focal(size)
    matrix = pose_matrix(pose_B6)
    screen = project(vertices, matrix, focal, size)
    cover = rasterise(screen, head.triangles_T3, size, samples=2, two_sided=head.two_sided_T)
    normal = cover.interpolate(head.normals(vertices) @ matrix[:, :, :3].transpose(1, 2))
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    light = torch.tensor([-0.35, -0.45, -0.82])
    lit = 0.30 + 0.70 * (normal @ (light / light.norm())).clamp(min=0)
    inside = torch.isin(cover.per_triangle(head.part_T.long()), torch.tensor([PART["teeth"], PART["gums"]]))
    lit = torch.where(inside, lit * 0.7, lit)
    image = colours(head, cover, skin) * lit[..., None]
    image = torch.where(cover.seen_BHW[..., None], image, torch.tensor(BACKDROP))
    image = cover.antialias(image, head.part_T)
    grey = (image.clamp(0, 1) ** (1 / 2.2) * 255).round().to(torch.uint8)
    return Clay(grey.numpy(), cover, vertices, screen)
