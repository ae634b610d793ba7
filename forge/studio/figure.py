"""A person ready to be drawn: the head's mesh and everything worn, as one mesh on one device, and how it moves.

The head turns as the pose says; the torso follows only in part, and the neck, long hair and collars in between are
blended, so that a collar stays on its shoulders when the head turns.
Axes: B batch, V vertices (the head's first), W worn vertices, T triangles, A atlas side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forge.studio.head import PART, PIVOT, HeadModel
from forge.studio.looks import Person
from forge.studio.regions import EYE_REACH, LAYOUT, atlas_uv, flat_cell

TORSO_SHARE = (0.30, 0.10, 0.22)
"""Share of the head's yaw, pitch and roll that the torso makes with it."""
LASH_COLUMN, LASH_TIP_CM = 0.0265, 9.8
"""Width of a column of lashes in the model's texture; from here forward (z) they are tips."""
RIGID_ABOVE, LOOSE_BELOW = -8.0, -14.0
"""Heights on the slanted axis of the neck (cm): above the first all follows the head, below the second the torso."""


@dataclass(frozen=True, eq=False)
class Figure:
    """One person's mesh."""

    head: HeadModel
    identity_1K: Tensor
    triangles_T3: Tensor
    part_T: Tensor
    """int64 index into `head.PARTS`."""
    label_T: Tensor
    """uint8: what `Footage.parts_FHW` says; hats and scarves count as hair there, for they turn with the head."""
    two_sided_T: Tensor
    uv_V2: Tensor
    """Into the atlas, [-1, 1] as `grid_sample` wants them."""
    share_V: Tensor
    """1 follows the head, 0 the torso."""
    worn_W3: Tensor
    worn_normal_W3: Tensor
    tangent_V3: Tensor
    anchored: Tensor
    """int64 indices (into W) of the vertices that follow the skin."""
    anchor_3: Tensor
    """Their corners in the head's mesh, (M, 3)."""
    anchor_weight_3: Tensor
    atlas_7AA: Tensor
    """Albedo, gloss, relief."""

    def to_camera(
        self, dyn_B64: Tensor, head_to_camera_B34: Tensor, torso_to_camera_B34: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Vertices, unit normals and tangents (B, V, 3) in camera space."""
        batch = len(dyn_B64)
        head_BV3 = self.head.deform(self.identity_1K.expand(batch, -1), dyn_B64)
        normal_BV3 = self.head.normals(head_BV3)
        worn_BW3 = self.worn_W3.expand(batch, -1, -1)
        if len(self.anchored):
            moved = head_BV3 - self.head.shape(self.identity_1K)
            shift = (moved[:, self.anchor_3] * self.anchor_weight_3[..., None]).sum(2)
            worn_BW3 = worn_BW3.index_add(1, self.anchored, shift)
        points = torch.cat([head_BV3, worn_BW3], 1)
        normals = torch.cat([normal_BV3, self.worn_normal_W3.expand(batch, -1, -1)], 1)
        turn_head, turn_torso = head_to_camera_B34[:, :, :3], torso_to_camera_B34[:, :, :3]
        share = self.share_V[None, :, None]

        def blend(values: Tensor) -> Tensor:
            return share * (values @ turn_head.transpose(1, 2)) + (1 - share) * (values @ turn_torso.transpose(1, 2))

        shift_head, shift_torso = head_to_camera_B34[:, None, :, 3], torso_to_camera_B34[:, None, :, 3]
        camera = blend(points) + share * shift_head + (1 - share) * shift_torso
        normal = blend(normals)
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        return camera, normal, blend(self.tangent_V3.expand(batch, -1, -1))


def neck_share(points_V3: Tensor) -> Tensor:
    """(V,) share of the head's turn that a place at rest takes part in."""
    height = points_V3[:, 1] + 0.45 * (points_V3[:, 2] - 3.0)
    t = ((height - LOOSE_BELOW) / (RIGID_ABOVE - LOOSE_BELOW)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def torso_pose(pose_B6: Tensor, lean_3: Tensor) -> Tensor:
    """(B, 6) pose of the torso for a pose of the head: part of its turn, all of its place, and a constant lean."""
    share = pose_B6.new_tensor([*TORSO_SHARE, 1.0, 1.0, 1.0])
    lean = torch.cat([lean_3, lean_3.new_zeros(3)])
    return pose_B6 * share + lean


def eye_uv(head: HeadModel, uv_V2: Tensor) -> Tensor:
    """Texture coordinates of the eyeballs: by the direction from the middle of the eye at rest."""
    left, top, width, height = LAYOUT["eye"]
    out = uv_V2.clone()
    mine = (head.eye_V > 0).nonzero().squeeze(1)
    ray = head.neutral_V3[mine] - head.eye_pivot_23[head.eye_V[mine] - 1]
    ray = ray / ray.norm(dim=1, keepdim=True)
    angle = torch.acos(ray[:, 2].clamp(-1, 1))
    half = torch.atan(torch.tensor(EYE_REACH)) / 2
    radius = (torch.tan(angle / 2) / torch.tan(half)).clamp(max=0.98)
    flat = ray[:, :2] / ray[:, :2].norm(dim=1, keepdim=True).clamp(min=1e-6) * radius[:, None]
    out[mine, 0] = left + width * (0.5 + 0.5 * flat[:, 0])
    out[mine, 1] = top + height * (0.5 - 0.5 * flat[:, 1])
    return out


def head_uv(head: HeadModel) -> Tensor:
    """Atlas coordinates of the head's own vertices, (V, 2) in [0, 1], v down."""
    uv = eye_uv(head, atlas_uv(head))
    for part, cell in (("lashes", "lash"), ("eye_wet", "eye_wet")):
        mine = head.triangles_T3[head.part_T == PART[part]].unique()
        uv[mine] = torch.tensor(flat_cell(cell))
    return uv


def thinned_lashes(head: HeadModel, *, long: bool) -> Tensor:
    """(T,) bool: the head's triangles without most of the lashes' tips, which are solid in the model."""
    triangles = head.triangles_T3.cpu()
    column = torch.floor((head.uv_V2.cpu()[triangles][..., 0].amin(1) - 6.0) / LASH_COLUMN + 0.01).long()
    tip = head.neutral_V3.cpu()[triangles][..., 2].mean(1) > LASH_TIP_CM
    spike = (column % 2 == 0) & (torch.arange(len(triangles)) % 2 == 0)  # one triangle of a quad: it tapers
    return (head.part_T.cpu() != PART["lashes"]) | (spike & long) | ~tip


def under_clothes(head: HeadModel) -> Tensor:
    """(T,) bool: the head's triangles on the shoulders, which every garment covers and tight collars would not."""
    middle = head.neutral_V3.cpu()[head.triangles_T3.cpu()].mean(1)
    return (middle[:, 0].abs() > 8.0) & (middle[:, 1] < -10.0)


def assemble(
    person: Person, head: HeadModel, uv_V2: Tensor, device: torch.device | str, *, lash_tips: bool = True
) -> Figure:
    """Put a person together.

    Args:
        person: of any kind.
        head: the head model, on `device`.
        uv_V2: `head_uv` of the model, on the CPU.
        device: where to draw.
        lash_tips: draw the tips of long lashes; in small pictures they are dots.
    """
    worn = [piece for piece in person.worn if len(piece.vertices_V3)]
    start = len(head.neutral_V3)
    own = head.triangles_T3.cpu()
    # a triangle without area is drawn by nobody, and the numbers of the others stay
    drawn = thinned_lashes(head, long=person.long_lashes and lash_tips) & ~under_clothes(head)
    own = torch.where(drawn[:, None], own, own[:, :1])
    shares, triangles, parts = [neck_share(head.neutral_V3.cpu())], [own], [head.part_T.long().cpu()]
    labels = [parts[0]]
    anchored, corner, weight = [], [], []
    for piece in worn:
        points = torch.from_numpy(piece.vertices_V3)
        shares.append(neck_share(points) if piece.follows != "torso" else torch.zeros(len(points)))
        triangles.append(torch.from_numpy(piece.triangles_T3) + start)
        parts.append(torch.full((len(piece.triangles_T3),), PART[piece.part]))
        worn_on_head = piece.part == "cloth" and piece.follows == "head"
        labels.append(torch.full_like(parts[-1], PART["hair"]) if worn_on_head else parts[-1])
        if piece.anchor_V3 is not None and piece.anchor_weight_V3 is not None:
            anchored.append(torch.arange(len(points)) + start - len(head.neutral_V3))
            corner.append(torch.from_numpy(piece.anchor_V3))
            weight.append(torch.from_numpy(piece.anchor_weight_V3))
        start += len(points)
    part_T = torch.cat(parts)
    sides = torch.cat([head.two_sided_T.cpu(), torch.ones(len(part_T) - len(head.part_T), dtype=torch.bool)])

    def stack(name: str) -> Tensor:
        return torch.cat([torch.zeros(0, 3), *(torch.from_numpy(getattr(piece, name)) for piece in worn)]).float()

    uv = torch.cat([uv_V2, *(torch.from_numpy(piece.uv_V2) for piece in worn)])
    tangent = torch.cat([torch.zeros(len(head.neutral_V3), 3), stack("tangents_V3")])
    identity = torch.from_numpy(np.asarray(person.identity_K, np.float32))[None]
    atlas = torch.cat([person.atlas.albedo_3AA, person.atlas.surface_4AA]).float()
    none = torch.zeros(0, dtype=torch.int64)
    return Figure(
        head=head,
        identity_1K=identity.to(device),
        triangles_T3=torch.cat(triangles).to(device),
        part_T=part_T.to(device),
        label_T=torch.cat(labels).to(torch.uint8).to(device),
        two_sided_T=sides.to(device),
        uv_V2=(uv * 2 - 1).to(device),
        share_V=torch.cat(shares).to(device),
        worn_W3=stack("vertices_V3").to(device),
        worn_normal_W3=stack("normals_V3").to(device),
        tangent_V3=tangent.to(device),
        anchored=torch.cat([none, *anchored]).to(device),
        anchor_3=torch.cat([none.view(0, 1).expand(0, 3), *corner]).to(device),
        anchor_weight_3=torch.cat([torch.zeros(0, 3), *weight]).to(device),
        atlas_7AA=atlas.to(device),
    )


PIVOT_POINT = PIVOT
"""Head and torso turn about the same point."""
