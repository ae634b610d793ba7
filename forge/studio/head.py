"""The studio's head: a deformable mesh with 52 ARKit actions, eyes that turn, teeth, gums and a tongue.

    head = load_head().to(device)
    vertices_BV3 = head.deform(identity_BK, dyn_B64)                   # centimetres, y up, the face looks along +z
    screen_BV3 = project(vertices_BV3, pose_matrix(pose_B6), standard_focal(256), 256)
    cover = rasterise(screen_BV3, head.triangles_T3, 256, two_sided=head.two_sided_T)

Axes: B batch, V vertices (split where texture seams run), U vertices before that split, T triangles, E 52 actions in
the order of `features.BLENDSHAPE_NAMES`, K identity modes, L 478 landmarks. Left and right are the person's own: +x is
the person's left and the right of a picture taken from the front. Signs of pose and gaze: `forge.motion.features`.

The mesh is that of the ICT-FaceKit light head (USC, MIT); where it comes from and how it was made smaller:
`assets/README.md`, `bake_head.py`.

What the geometry does with a motion vector, by number (`HeadModel.actions`):
    1. coefficients are clamped to [0, 1]; the ten free dimensions move nothing
    2. `eyeLook*` are not read: lids and eyeballs both follow `gaze_yaw` and `gaze_pitch` (`consistent` writes the
       `eyeLook*` that belong to a gaze, so that a truth vector never contradicts its picture)
    3. a lid that shuts gives up what would carry it further: looking, widening and squinting fade with the blink
    4. `mouthClose` undoes a jaw's opening and no more than that, or the lips would pass through each other
    5. the tongue comes out only between lips that are open
    6. where the lips would still cross they are pushed apart (`HeadModel.part_lips`)
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forge.motion.features import BLENDSHAPE_NAMES, GAZE_NAMES
from forge.portrait import ForgeError

ASSET = Path(__file__).with_name("assets") / "head.npz"
PARTS: tuple[str, ...] = (
    "background", "skin", "lips", "neck", "sclera", "iris", "teeth", "gums", "tongue", "mouth_socket", "lashes",
    "eye_wet", "hair", "brow", "cloth", "glasses",
)  # fmt: skip
"""What a pixel shows. The head's own triangles are skin to eye_wet (the tear line and the caruncle); the rest is drawn
by others. One index per name, the same in every file."""
PART: dict[str, int] = {name: index for index, name in enumerate(PARTS)}

FRAME_CENTIMETRES = 40.0
"""Height of the picture at the distance of the head, in the standard framing (head, neck and some shoulder)."""
STANDARD_DISTANCE = 100.0
"""Centimetres from the camera to the pivot in the standard framing."""
PIVOT = (0.0, -2.0, 3.0)
"""Head space: where the skull turns on the neck. It lies in the middle of the picture when the shift is zero."""
OUTER_EYE_CENTIMETRES = 8.92
"""Distance between the outer eye corners of the neutral head: the unit of `shift_x` and `shift_y`."""
GAZE_DEGREES = 30.0
"""Degrees of one unit of gaze."""
LIP_GAP = 0.01
"""Centimetres that stay between the lips."""

_EYE_LOOK = ("eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp")
_INDEX = {name: i for i, name in enumerate(BLENDSHAPE_NAMES)}
_GAZE = slice(len(BLENDSHAPE_NAMES), len(BLENDSHAPE_NAMES) + len(GAZE_NAMES))
DYNAMICS = 64
"""Length of z_dyn: 52 coefficients, 2 of gaze, 10 free."""


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A linear head: neutral + actions + identity, eyeballs that turn on top of it."""

    neutral_V3: Tensor
    triangles_T3: Tensor
    """int64, counter-clockwise seen from outside."""
    part_T: Tensor
    """uint8 index into `PARTS`."""
    two_sided_T: Tensor
    """bool: thin sheets (lashes) that are seen from both sides."""
    uv_V2: Tensor
    """Texture coordinates, y up, in tiles side by side along u: 0 face, 1 head and neck, 2 gums and tongue, 3 teeth,
    4 and 5 tear lines, 6 lashes, 7 and 8 eyeballs, 9 and 10 inner corners of the eyes (left, then right)."""
    vertex_U: Tensor
    """(V,) the vertex before the split at texture seams: those of one number always lie in one place."""
    corners_UN: Tensor
    """(U, N) int64 triangles around each unsplit vertex, filled up with T: for normals without atomic sums."""
    expression_EV3: Tensor
    """Displacement by each action at 1."""
    identity_KV3: Tensor
    """Displacement by one standard deviation of each mode of shape."""
    eye_V: Tensor
    """int64: 0 for vertices that are not of an eyeball, 1 for the left eye, 2 for the right."""
    eye_pivot_23: Tensor
    """Middle of the eyeballs, left then right."""
    eye_pivot_identity_K23: Tensor
    """How identity moves them."""
    eye_radius_2: Tensor
    iris_radius_2: Tensor
    marks_68: Tensor
    """int64 vertices at the 68 classic face points (Multi-PIE order)."""
    landmark_triangle_L: Tensor
    """int64: the triangle on which each of the landmarker's 478 points lies."""
    landmark_weight_L3: Tensor
    lip_upper_N: Tensor
    """int64 vertices along the border of the upper lip that face `lip_lower_N`."""
    lip_lower_N: Tensor
    lip_push_NV: Tensor
    """How much a vertex goes up (upper lip, > 0) or down (lower lip, < 0) for each centimetre that a pair crosses."""
    composed: tuple[str, ...]
    """Actions that the original model does not have as such and how they were made."""
    licence: str

    @property
    def modes(self) -> int:
        """K, the number of identity modes."""
        return len(self.identity_KV3)

    def to(self, device: torch.device | str) -> HeadModel:
        """The same head on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device) for f in fields(self) if isinstance(value := getattr(self, f.name), torch.Tensor)
        }
        return replace(self, **moved)

    def shape(self, identity_BK: Tensor) -> Tensor:
        """(B, V, 3) the face at rest of each identity; fewer than K modes are filled with zeros."""
        given = identity_BK.shape[1]
        if given > self.modes:
            raise ValueError(f"identity must have at most {self.modes} modes, got {given}")
        moved: Tensor = torch.tensordot(identity_BK, self.identity_KV3[:given], dims=([1], [0]))
        return self.neutral_V3 + moved

    def actions(self, dyn_B64: Tensor) -> Tensor:
        """(B, 52) weights with which the actions are added; rules 1 to 5 of this module."""
        if dyn_B64.dim() != 2 or dyn_B64.shape[1] != DYNAMICS:
            raise ValueError(f"dynamics must be (B, {DYNAMICS}), got {tuple(dyn_B64.shape)}")
        weights = dict(zip(BLENDSHAPE_NAMES, consistent(dyn_B64)[:, : len(_INDEX)].clamp(0, 1).unbind(1), strict=True))
        for side in ("Left", "Right"):
            still_open = 1.0 - weights[f"eyeBlink{side}"]
            for name in ("eyeLookDown", "eyeLookUp", "eyeWide"):
                weights[f"{name}{side}"] = weights[f"{name}{side}"] * still_open
            weights[f"eyeSquint{side}"] = weights[f"eyeSquint{side}"] * (0.4 + 0.6 * still_open)
        weights["mouthClose"] = torch.minimum(weights["mouthClose"], weights["jawOpen"])
        opened = weights["jawOpen"] - weights["mouthClose"]
        weights["tongueOut"] = torch.minimum(weights["tongueOut"], 6.0 * opened)
        return torch.stack([weights[name] for name in BLENDSHAPE_NAMES], 1)

    def deform(self, identity_BK: Tensor, dyn_B64: Tensor) -> Tensor:
        """Vertices (B, V, 3) in head space of people with an expression and a gaze.

        Args:
            identity_BK: weights of the identity modes, unit variance; (1, K) is used for the whole batch.
            dyn_B64: facial dynamics in the layout of `features.NAMES[6:]`, in the rig's own units.
        """
        moved = torch.tensordot(self.actions(dyn_B64), self.expression_EV3, dims=([1], [0]))
        vertices = self.part_lips(self.shape(identity_BK) + moved)
        given = identity_BK.shape[1]
        pivots = self.eye_pivot_23 + torch.tensordot(identity_BK, self.eye_pivot_identity_K23[:given], dims=([1], [0]))
        turn_B33 = gaze_matrix(dyn_B64[:, _GAZE])
        for eye in (0, 1):
            mine = (self.eye_V == eye + 1).nonzero().squeeze(1)
            pivot = pivots[:, eye, None]
            turned = (vertices[:, mine] - pivot) @ turn_B33.transpose(1, 2) + pivot
            vertices = vertices.index_copy(1, mine, turned)
        return vertices

    def part_lips(self, vertices_BV3: Tensor) -> Tensor:
        """Push the lips apart where they would cross, each by half, the skin around them by less and less."""
        gap = vertices_BV3[:, self.lip_upper_N, 1] - vertices_BV3[:, self.lip_lower_N, 1]
        crossing = (LIP_GAP - gap).clamp(min=0)
        push = crossing @ self.lip_push_NV
        return torch.cat([vertices_BV3[..., :1], vertices_BV3[..., 1:2] + push[..., None], vertices_BV3[..., 2:]], -1)

    def normals(self, vertices_BV3: Tensor) -> Tensor:
        """(B, V, 3) unit normals, smooth across texture seams; the same bits on every run, on a GPU too."""
        # index_select copies whole rows and is several times faster on a CPU than indexing with a tensor
        a, b, c = (vertices_BV3.index_select(1, self.triangles_T3[:, k]) for k in range(3))
        face = torch.linalg.cross(b - a, c - a)
        face = torch.cat([face, face.new_zeros(len(face), 1, 3)], 1)
        around = face.index_select(1, self.corners_UN.view(-1)).view(len(face), *self.corners_UN.shape, 3)
        unit = torch.nn.functional.normalize(around.sum(2), dim=-1, eps=1e-9)
        return unit.index_select(1, self.vertex_U)

    def landmarks(self, values_BVC: Tensor) -> Tensor:
        """(B, 478, C) a vertex attribute (positions in space or on the screen) at the landmarker's points."""
        corners = self.triangles_T3[self.landmark_triangle_L]
        return (values_BVC[:, corners] * self.landmark_weight_L3[..., None].to(values_BVC.dtype)).sum(2)


def consistent(dyn_B64: Tensor) -> Tensor:
    """Dynamics whose `eyeLook*` are those that belong to the gaze: 1 at 30 degrees, as `motion.speech.gaze_curves`."""
    yaw, pitch = dyn_B64[:, _GAZE].unbind(1)
    right, left, up, down = (value.clamp(0, 1) for value in (yaw, -yaw, pitch, -pitch))
    values = {
        "eyeLookOutLeft": right, "eyeLookInRight": right, "eyeLookInLeft": left, "eyeLookOutRight": left,
        "eyeLookUpLeft": up, "eyeLookUpRight": up, "eyeLookDownLeft": down, "eyeLookDownRight": down,
    }  # fmt: skip
    columns = torch.tensor([_INDEX[name] for name in values], device=dyn_B64.device)
    return dyn_B64.index_copy(1, columns, torch.stack(list(values.values()), 1))


def gaze_matrix(gaze_B2: Tensor) -> Tensor:
    """(B, 3, 3) turn of the eyeballs in head space for gaze_yaw and gaze_pitch (units of 30 degrees)."""
    yaw, pitch = (gaze_B2 * (GAZE_DEGREES * torch.pi / 180)).unbind(1)
    return _about_y(yaw) @ _about_x(-pitch)


def _about_x(angle_B: Tensor) -> Tensor:
    """(B, 3, 3) right-handed turn about x."""
    cos, sin, one, nil = angle_B.cos(), angle_B.sin(), torch.ones_like(angle_B), torch.zeros_like(angle_B)
    return torch.stack([one, nil, nil, nil, cos, -sin, nil, sin, cos], 1).view(-1, 3, 3)


def _about_y(angle_B: Tensor) -> Tensor:
    """(B, 3, 3) right-handed turn about y."""
    cos, sin, one, nil = angle_B.cos(), angle_B.sin(), torch.ones_like(angle_B), torch.zeros_like(angle_B)
    return torch.stack([cos, nil, sin, nil, one, nil, -sin, nil, cos], 1).view(-1, 3, 3)


def _about_z(angle_B: Tensor) -> Tensor:
    """(B, 3, 3) right-handed turn about z."""
    cos, sin, one, nil = angle_B.cos(), angle_B.sin(), torch.ones_like(angle_B), torch.zeros_like(angle_B)
    return torch.stack([cos, -sin, nil, sin, cos, nil, nil, nil, one], 1).view(-1, 3, 3)


def pose_matrix(pose_B6: Tensor, distance: float | Tensor = STANDARD_DISTANCE) -> Tensor:
    """(B, 3, 4) from head space to camera space (x right, y down, z forward), centimetres.

    The head turns by pitch, then yaw, then roll about its pivot, as `media.landmarks.head_angles` reads it. A size
    exp(log_scale) brings it that much nearer; the shift moves its picture by outer-eye distances of the standard size.

    Args:
        pose_B6: `features.POSE_NAMES`; zero is the standard framing.
        distance: centimetres to the pivot at log_scale 0; a number or (B,). With `standard_focal(size, distance)` the
            framing stays and only the perspective changes.
    """
    yaw, pitch, roll = (pose_B6[:, :3] * (torch.pi / 180)).unbind(1)
    turn = _about_z(-roll) @ _about_y(yaw) @ _about_x(-pitch)
    flip = turn.new_tensor([1.0, -1.0, -1.0])
    linear = flip[:, None] * turn
    depth = distance * torch.exp(-pose_B6[:, 5])
    sideways = pose_B6[:, 3:5] * OUTER_EYE_CENTIMETRES * (depth / distance)[:, None]
    place = torch.cat([sideways, depth[:, None]], 1)
    pivot = linear.new_tensor(PIVOT)
    return torch.cat([linear, (place - linear @ pivot)[..., None]], 2)


def standard_focal(size: int, distance: float | Tensor = STANDARD_DISTANCE) -> float | Tensor:
    """Focal length in pixels at which a picture of a size shows `FRAME_CENTIMETRES` at a distance."""
    return size * distance / FRAME_CENTIMETRES


def to_camera(points_BN3: Tensor, head_to_camera_B34: Tensor) -> Tensor:
    """Points in head space as points in camera space."""
    return points_BN3 @ head_to_camera_B34[:, :, :3].transpose(1, 2) + head_to_camera_B34[:, None, :, 3]


def project(points_BN3: Tensor, head_to_camera_B34: Tensor, focal: float | Tensor, size: int) -> Tensor:
    """Points in head space on the screen: x, y in pixels (pixel centres at + 0.5) and distance along the axis."""
    return to_screen(to_camera(points_BN3, head_to_camera_B34), focal, size)


def to_screen(camera_BN3: Tensor, focal: float | Tensor, size: int) -> Tensor:
    """Points in camera space on the screen; the optical axis meets the middle of the picture."""
    if isinstance(focal, Tensor):
        focal = focal.view(-1, 1, 1)
    depth = camera_BN3[..., 2:]
    return torch.cat([size / 2 + focal * camera_BN3[..., :2] / depth, depth], -1)


@cache
def load_head(path: Path | None = None) -> HeadModel:
    """The head that ships with the package, or another baked one.

    Raises:
        ForgeError: when the file is missing or is not a baked head.
    """
    path = ASSET if path is None else path
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
            return unpack_head({name: data[name] for name in data.files})
    except (OSError, ValueError, KeyError) as error:
        raise ForgeError(
            f"{path}: not a baked head ({error}); reinstall the package, or run python -m forge.studio.bake_head"
        ) from error


def unpack_head(data: dict[str, np.ndarray[Any, Any]]) -> HeadModel:
    """A head from the arrays of the asset, see `bake_head.pack_head`."""
    vertex_U = torch.from_numpy(data["vertex"].astype(np.int64))
    facts = json.loads(bytes(data["facts"]).decode())

    def table(name: str) -> Tensor:
        """Displacements of the unsplit vertices from integers and one step for each row."""
        low, high = data[f"{name}_low"].astype(np.int32), data[f"{name}_high"].astype(np.int32)
        values = (high * 256 + low).astype(np.float32) * data[f"{name}_step"][:, None, None]
        return torch.from_numpy(values)

    def ints(name: str) -> Tensor:
        return torch.from_numpy(data[name].astype(np.int64))

    def floats(name: str) -> Tensor:
        return torch.from_numpy(data[name].astype(np.float32))

    triangles = ints("triangles")
    identity = table("identity")
    push = torch.zeros(len(data["lip_upper"]), len(vertex_U))
    push[:, ints("lip_push_vertex")] = floats("lip_push")
    return HeadModel(
        neutral_V3=floats("neutral")[vertex_U],
        triangles_T3=triangles,
        part_T=torch.from_numpy(data["part"].astype(np.uint8)),
        two_sided_T=torch.from_numpy(data["part"] == PART["lashes"]),
        uv_V2=floats("uv"),
        vertex_U=vertex_U,
        corners_UN=triangles_around(triangles, vertex_U),
        expression_EV3=table("expression")[:, vertex_U],
        identity_KV3=identity[:, vertex_U],
        eye_V=ints("eye")[vertex_U],
        eye_pivot_23=floats("eye_pivot"),
        eye_pivot_identity_K23=floats("eye_pivot_identity"),
        eye_radius_2=floats("eye_radius"),
        iris_radius_2=floats("iris_radius"),
        marks_68=ints("marks"),
        landmark_triangle_L=ints("landmark_triangle"),
        landmark_weight_L3=floats("landmark_weight"),
        lip_upper_N=ints("lip_upper"),
        lip_lower_N=ints("lip_lower"),
        lip_push_NV=push,
        composed=tuple(facts["composed"]),
        licence=str(facts["licence"]),
    )


def triangles_around(triangles_T3: Tensor, vertex_U: Tensor) -> Tensor:
    """(U, N) triangles that meet in each unsplit vertex, filled up with the number of triangles."""
    corner = vertex_U[triangles_T3].reshape(-1)
    order = torch.argsort(corner, stable=True)
    count = torch.bincount(corner, minlength=int(vertex_U.max()) + 1)
    first = count.cumsum(0) - count
    table = torch.full((len(count), int(count.max())), len(triangles_T3))
    place = torch.arange(len(corner)) - first[corner[order]]
    table[corner[order], place] = torch.div(order, 3, rounding_mode="floor")
    return table
