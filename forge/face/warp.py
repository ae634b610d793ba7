"""Between the screen and the canonical head: exact for the pose, a basis of flows for the face.

Axes: B batch (or N frames), K basis flows, D depth, H height, W width; (D, H, W, 3) places are x, y, z in [-1, 1] with
`align_corners=False`, as `forge.face.sampling` reads them.

Two boxes of voxels, told once:
    1. canonical: head space of `forge.studio.head` with the mean head at rest in it, whoever is shown; centred at
       `BOX_CENTRE`, `BOX_HALF` centimetres to each side; x runs to the picture's right, y down, z away from the viewer.
    2. screen: x and y as in the picture; z is (depth - depth of the pivot) / `SCREEN_HALF_DEPTH`.

The pose is analytic: `studio.head.pose_matrix` and a pinhole, no parameters; below the neck a place takes only the
torso's share of the head's turn (`studio.figure`), or every collar would turn with the face. Facial dynamics move
canonical points by a forward flow F(p) = sum of coefficients x basis: the rig's own displacements by expression and by
the shape that z_id tells, spread from its surface into the volume (made from the shipped head, nothing stored), plus a
learned basis driven by (z_dyn, z_id). The way back, from a screen voxel x to its canonical place, solves p + F(p) = x
by fixed-point steps and adds a learned flow of its own, because between open lips there is no such p. This replaces the
two warp generators of MegaPortraits at almost no arithmetic.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from forge.face.motion_encoder import DYN_DIMS, NAMED_DIMS
from forge.face.sampling import sample_volume, volume_grid
from forge.motion.features import BLENDSHAPE_NAMES, GAZE_NAMES
from forge.studio.figure import neck_share, torso_pose
from forge.studio.head import FRAME_CENTIMETRES, STANDARD_DISTANCE, HeadModel, load_head, pose_matrix, to_camera

BOX_CENTRE = (0.0, -1.5, 2.0)
BOX_HALF = (15.0, 18.0, 12.5)
"""Centimetres of head space: skull, hair and neck of the mean head with room to spare."""
SCREEN_HALF_DEPTH = 15.0
"""Centimetres before and behind the pivot that the screen volume holds."""
RIG_GRID = (16, 64, 64)
"""Depth, height and width of the rig's flows: cells of about half a centimetre in the picture's plane."""
LEARNED_GRID = (8, 32, 32)
RIG_REACH = 2.5
"""Centimetres from the surface over which a rig displacement fades."""
SHAPE_MODES = 40
"""Modes of the head's shape that z_id is supervised to tell; the rest are small."""
LEARNED_UNIT = 0.05
"""Size of the learned flows for a parameter of one, in halves of the box. The rig's flows are right to a fraction of a
pixel before any training; at the full rate of Adam the learned ones would first spoil them."""
FIXED_POINT_STEPS = 3
"""Each step divides the error by about three: displacements change slowly compared with the cells."""
_ROW = {name: i for i, name in enumerate(BLENDSHAPE_NAMES)}


def to_box(points_3: Tensor) -> Tensor:
    """(..., 3) points of head space as places in the canonical box."""
    flip = points_3.new_tensor([1.0, -1.0, -1.0])
    return (points_3 - points_3.new_tensor(BOX_CENTRE)) / points_3.new_tensor(BOX_HALF) * flip


def from_box(places_3: Tensor) -> Tensor:
    """(..., 3) places in the canonical box as points of head space, centimetres."""
    flip = places_3.new_tensor([1.0, -1.0, -1.0])
    return places_3 * flip * places_3.new_tensor(BOX_HALF) + places_3.new_tensor(BOX_CENTRE)


def to_screen_volume(points_BN3: Tensor, pose_B6: Tensor, distance_B: Tensor) -> Tensor:
    """(B, N, 3) points of head space as places in the screen volume of a pose.

    Args:
        points_BN3: centimetres.
        pose_B6: z_pose, `features.POSE_NAMES`.
        distance_B: centimetres from the camera to the pivot in the standard framing; fixes the focal length.
    """
    return _on_screen(to_camera(points_BN3, pose_matrix(pose_B6, distance_B)), pose_B6, distance_B)


def posed_on_screen(points_BN3: Tensor, rest_BN3: Tensor, pose_B6: Tensor, distance_B: Tensor) -> Tensor:
    """Like `to_screen_volume`, but what rests below the neck turns with the torso.

    Args:
        points_BN3: centimetres of head space, moved by the face.
        rest_BN3: where they are at rest, (B or 1, N, 3): decides whom they follow.
        pose_B6: z_pose.
        distance_B: as there.
    """
    torso_B6 = torso_pose(pose_B6, pose_B6.new_zeros(3))
    head = to_camera(points_BN3, pose_matrix(pose_B6, distance_B))
    torso = to_camera(points_BN3, pose_matrix(torso_B6, distance_B))
    return _on_screen(torso + _follows_head(rest_BN3) * (head - torso), pose_B6, distance_B)


def _follows_head(rest_BN3: Tensor) -> Tensor:
    """(B, N, 1) 1 where a place at rest turns with the head, 0 where with the torso."""
    return neck_share(rest_BN3.flatten(0, -2)).view(*rest_BN3.shape[:-1], 1)


def _on_screen(camera_BN3: Tensor, pose_B6: Tensor, distance_B: Tensor) -> Tensor:
    """(B, N, 3) points of camera space as places in the screen volume."""
    zoom_B11 = (2.0 * distance_B / FRAME_CENTIMETRES)[:, None, None]
    depth_BN1 = camera_BN3[..., 2:].clamp(min=1.0)
    ahead_BN1 = (depth_BN1 - _pivot_depth(pose_B6, distance_B)) / SCREEN_HALF_DEPTH
    return torch.cat([zoom_B11 * camera_BN3[..., :2] / depth_BN1, ahead_BN1], -1)


def from_screen_volume(places_BN3: Tensor, pose_B6: Tensor, distance_B: Tensor) -> Tensor:
    """The inverse of `to_screen_volume`: (B, N, 3) places on the screen as points of head space."""
    return _from_camera(_off_screen(places_BN3, pose_B6, distance_B), pose_matrix(pose_B6, distance_B))


def rested_from_screen(places_BN3: Tensor, pose_B6: Tensor, distance_B: Tensor) -> Tensor:
    """The inverse of `posed_on_screen`, exact above and below the neck and close within it."""
    camera_BN3 = _off_screen(places_BN3, pose_B6, distance_B)
    torso_B6 = torso_pose(pose_B6, pose_B6.new_zeros(3))
    head = _from_camera(camera_BN3, pose_matrix(pose_B6, distance_B))
    torso = _from_camera(camera_BN3, pose_matrix(torso_B6, distance_B))
    rest = head
    for _ in range(FIXED_POINT_STEPS):
        rest = torso + _follows_head(rest) * (head - torso)
    return rest


def _off_screen(places_BN3: Tensor, pose_B6: Tensor, distance_B: Tensor) -> Tensor:
    """The inverse of `_on_screen`."""
    depth_BN1 = places_BN3[..., 2:] * SCREEN_HALF_DEPTH + _pivot_depth(pose_B6, distance_B)
    zoom_B11 = (2.0 * distance_B / FRAME_CENTIMETRES)[:, None, None]
    return torch.cat([places_BN3[..., :2] * depth_BN1 / zoom_B11, depth_BN1], -1)


def _from_camera(camera_BN3: Tensor, matrix_B34: Tensor) -> Tensor:
    """The inverse of `studio.head.to_camera`."""
    # the linear part is a rotation with two axes flipped, so its inverse is its transpose
    return (camera_BN3 - matrix_B34[:, None, :, 3]) @ matrix_B34[:, :, :3]


def _pivot_depth(pose_B6: Tensor, distance_B: Tensor) -> Tensor:
    """(B, 1, 1) depth of the pivot in centimetres."""
    return (distance_B * torch.exp(-pose_B6[:, 5]))[:, None, None]


@functools.cache
def rig_flows(grid: tuple[int, int, int] = RIG_GRID) -> Tensor:
    """(54 + 40, 3, D, H, W) canonical flow of each named dimension of z_dyn at 1, then of each mode of shape.

    Rows of `eyeLook*` are zero: lids and eyes follow the gaze (rule 2 of `studio.head`).
    """
    from scipy.spatial import cKDTree

    head = load_head()
    moved_KV3 = torch.cat([_rig_displacements(head), head.identity_KV3[:SHAPE_MODES]])
    used = torch.zeros(len(head.neutral_V3), dtype=torch.bool)
    used[head.triangles_T3.reshape(-1)] = True
    first = torch.unique(head.vertex_U[used], return_inverse=False)
    vertex = torch.zeros(int(head.vertex_U.max()) + 1, dtype=torch.long)
    vertex[head.vertex_U] = torch.arange(len(head.vertex_U))
    chosen = vertex[first]
    points_P3 = from_box(volume_grid(*grid)).reshape(-1, 3).numpy()
    distance_PN, near_PN = cKDTree(head.neutral_V3[chosen].numpy()).query(points_P3, k=6)
    # the nearest vertices by inverse square, all of it fading away from the surface
    weight_PN = 1.0 / (distance_PN**2 + 0.05)
    weight_PN /= weight_PN.sum(1, keepdims=True)
    weight_PN *= np.exp(-((distance_PN[:, :1] / RIG_REACH) ** 2))
    near = chosen[torch.from_numpy(np.asarray(near_PN, np.int64))]
    weight = torch.from_numpy(weight_PN.astype(np.float32))
    unit_3 = torch.tensor([1.0, -1.0, -1.0]) / torch.tensor(BOX_HALF)
    rows = [(moved_V3[near] * weight[..., None]).sum(1) * unit_3 for moved_V3 in moved_KV3]
    return torch.stack(rows).transpose(1, 2).reshape(NAMED_DIMS + SHAPE_MODES, 3, *grid).contiguous()


def _rig_displacements(head: HeadModel) -> Tensor:
    """(54, V, 3) centimetres that each named dimension of z_dyn moves the vertices, to first order."""
    rows = head.expression_EV3.clone()
    for name in BLENDSHAPE_NAMES:
        if name.startswith("eyeLook"):
            rows[_ROW[name]] = 0.0
    nobody = torch.zeros(1, 1)
    gazes = []
    for gaze in range(len(GAZE_NAMES)):
        dyn = torch.zeros(2, DYN_DIMS)
        dyn[0, len(BLENDSHAPE_NAMES) + gaze], dyn[1, len(BLENDSHAPE_NAMES) + gaze] = 1.0, -1.0
        both = head.deform(nobody, dyn)
        gazes.append((both[0] - both[1]) / 2)
    return torch.cat([rows, torch.stack(gazes)])


class Warp(nn.Module):
    """Places of canonical voxels on the source's screen, and of the target's screen voxels in the canonical box."""

    def __init__(
        self,
        depth: int,
        side: int,
        identity_dims: int,
        learned: int = 48,
        rig_grid: tuple[int, int, int] | None = RIG_GRID,
    ) -> None:
        """A warp for volumes of `depth` x `side` x `side`; `learned` flows in each direction beside the rig's.

        Without a grid for the rig's flows all of them are learned.
        """
        super().__init__()
        self.depth, self.side, self.learned = depth, side, learned
        flows = rig_flows(rig_grid) if rig_grid else torch.zeros(NAMED_DIMS + SHAPE_MODES, 3, 1, 1, 1)
        self.register_buffer("rig_K3DHW", flows.clone(), persistent=False)
        self.register_buffer("canonical_DHW3", volume_grid(depth, side, side), persistent=False)
        self.forward_K3DHW = nn.Parameter(torch.zeros(learned, 3, *LEARNED_GRID))
        self.backward_K3DHW = nn.Parameter(torch.zeros(learned, 3, *LEARNED_GRID))
        self.shape_of = nn.Linear(identity_dims, SHAPE_MODES)
        self.mix = nn.Sequential(
            nn.Linear(DYN_DIMS + identity_dims, 160), nn.SiLU(), nn.Linear(160, 2 * learned), nn.Tanh()
        )

    def flows(self, dyn_B64: Tensor, identity_BI: Tensor) -> tuple[Tensor, Tensor]:
        """Forward (B, 3, D, H, W) and backward flow of an expression on a person, in canonical places."""
        rig_K3DHW: Tensor = self.rig_K3DHW  # type: ignore[assignment]
        named_BK = dyn_B64[:, :NAMED_DIMS].float()
        shapes = named_BK[:, : len(BLENDSHAPE_NAMES)].clamp(0, 1)
        jaw, close = shapes[:, _ROW["jawOpen"]], _ROW["mouthClose"]
        closing = torch.minimum(shapes[:, close], jaw)[:, None]  # rule 4 of studio.head
        named_BK = torch.cat([shapes[:, :close], closing, shapes[:, close + 1 :], named_BK[:, len(_ROW) :]], 1)
        rig_BK = torch.cat([named_BK, self.shape_of(identity_BI.float())], 1)
        forward = (rig_BK @ rig_K3DHW.flatten(1)).view(-1, *rig_K3DHW.shape[1:])
        mixed = self.mix(torch.cat([dyn_B64.float(), identity_BI.float()], 1))
        ahead_BK, back_BK = mixed.split(self.learned, 1)
        learned = LEARNED_UNIT * (ahead_BK @ self.forward_K3DHW.flatten(1)).view(-1, 3, *LEARNED_GRID)
        backward = LEARNED_UNIT * (back_BK @ self.backward_K3DHW.flatten(1)).view(-1, 3, *LEARNED_GRID)
        size = rig_K3DHW.shape[-3:] if rig_K3DHW.shape[-1] > 1 else LEARNED_GRID
        if tuple(size) != LEARNED_GRID:
            learned = functional.interpolate(learned, size=size, mode="trilinear", align_corners=False)
        return forward + learned, backward

    def source_places(
        self, pose_B6: Tensor, dyn_B64: Tensor, identity_BI: Tensor, distance_B: Tensor | None = None
    ) -> Tensor:
        """(B, D, H, W, 3) where each canonical voxel is in the screen volume of a picture with this pose and face."""
        with torch.autocast(pose_B6.device.type, enabled=False):
            pose_B6 = pose_B6.float()
            distance_B = _standard(pose_B6) if distance_B is None else distance_B.float()
            grid_DHW3: Tensor = self.canonical_DHW3  # type: ignore[assignment]
            places = grid_DHW3[None].expand(len(pose_B6), -1, -1, -1, -1)
            forward, _ = self.flows(dyn_B64, identity_BI)
            moved = places + sample_volume(forward, places, border=True).permute(0, 2, 3, 4, 1)
            rest = from_box(grid_DHW3.reshape(1, -1, 3))
            flat = posed_on_screen(from_box(moved.flatten(1, 3)), rest, pose_B6, distance_B)
            return flat.view(moved.shape)

    def canonical_places(
        self, pose_B6: Tensor, dyn_B64: Tensor, identity_BI: Tensor, distance_B: Tensor | None = None
    ) -> Tensor:
        """(B, D, H, W, 3) where each voxel of the screen volume of a pose and face lies in the canonical box."""
        grid_DHW3: Tensor = self.canonical_DHW3  # type: ignore[assignment]
        places = grid_DHW3[None].expand(len(pose_B6), -1, -1, -1, -1)
        return self.canonical_of(places, pose_B6, dyn_B64, identity_BI, distance_B)

    def canonical_of(
        self,
        screen_BDHW3: Tensor,
        pose_B6: Tensor,
        dyn_B64: Tensor,
        identity_BI: Tensor,
        distance_B: Tensor | None = None,
    ) -> Tensor:
        """(B, D, H, W, 3) canonical places of any places of the screen volume: training asks at surface points."""
        with torch.autocast(pose_B6.device.type, enabled=False):
            pose_B6 = pose_B6.float()
            distance_B = _standard(pose_B6) if distance_B is None else distance_B.float()
            flat = rested_from_screen(screen_BDHW3.float().flatten(1, 3), pose_B6, distance_B)
            moved = to_box(flat).view(screen_BDHW3.shape)
            forward, backward = self.flows(dyn_B64, identity_BI)
            still = moved
            for _ in range(FIXED_POINT_STEPS):
                still = moved - sample_volume(forward, still, border=True).permute(0, 2, 3, 4, 1)
            return still + sample_volume(backward, moved, border=True).permute(0, 2, 3, 4, 1)


def _standard(pose_B6: Tensor) -> Tensor:
    """(B,) the standard camera distance."""
    return torch.full_like(pose_B6[:, 0], STANDARD_DISTANCE)


def distance_of(focal_px: Tensor, size: int) -> Tensor:
    """(B,) camera distance in the standard framing that belongs to focal lengths in pixels."""
    return focal_px.float() * FRAME_CENTIMETRES / size
