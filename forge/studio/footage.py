"""What every renderer returns and every trainer reads: one person in one scene, in several poses and expressions.

    where_HW2, visible_HW, known_HW = flow_between(footage, source=0, target=3)
    save_footage(Path("take.footage"), footage)
    again = load_footage(Path("take.footage"))

Axes: F frames, H W pixels, V vertices, T triangles, L 478 landmarks, M 70 motion features, N pairs of frames.
Camera space: x right, y down, z forward, centimetres. Screen: pixels, the centre of the first at 0.5, and distance.

On disk a take is one zip: pictures as WebP, parts as PNG, the rest as arrays. Surface, depth and normals of the head
are not stored but drawn again from the truth when the take is loaded, which is exact and forty times smaller; of what
is not the head's mesh (hair, clothes, glasses) the distance is kept at half the resolution, to a quarter of a
centimetre. Such pixels lose their triangle on the way: they follow the head or the torso as rigid bodies from then on.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from forge.motion.features import NAMES, Z_DYN
from forge.portrait import ForgeError
from forge.studio.head import PART, HeadModel, load_head, to_camera, to_screen
from forge.studio.rasterise import rasterise
from media.landmarks import LANDMARKS

LICENCE = "Apache-2.0/CC0 (rendered)"
LABEL = "synthetic"
FORMAT = 1
RIGID_PARTS = ("hair", "glasses", "brow", "lashes")
"""Parts that turn with the head where they are not triangles of a mesh."""
TORSO_PARTS = ("cloth",)
"""Parts that go with the torso where they are not triangles of a mesh."""
DEPTH_STEP = 0.25
"""Centimetres: step of the stored distance of what is not the head's mesh."""
SURFACE_TOLERANCE = 0.12
"""Centimetres that two views of one surface point may differ by: curvature within a triangle, and rounding."""
LOOSE_TOLERANCE = 1.5
"""The same for hair, which is a volume, not a surface."""


@dataclass(frozen=True, eq=False)
class Footage:
    """Frames of one person with everything that is known about them."""

    image_F3HW: Tensor
    """uint8 sRGB."""
    parts_FHW: Tensor
    """uint8 index into `head.PARTS`."""
    depth_FHW: Tensor
    """float32 centimetres along the camera's axis, infinity where there is nothing."""
    normal_F3HW: Tensor
    """float16 camera space; zero where unknown."""
    motion_FM: Tensor
    """float32 truth in `features.NAMES`, in the rig's units; pose absolute: zero is the standard framing."""
    head_to_camera_F34: Tensor
    focal_F: Tensor
    """Pixels."""
    landmarks_FL2: Tensor
    """Pixels, the landmarker's 478 points."""
    triangle_FHW: Tensor
    """int32 triangle seen, -1 for none (background, splatted hair)."""
    weights_FHW3: Tensor
    """float16 perspective-correct weights of its corners."""
    screen_FV3: Tensor
    """float32 x, y in pixels and distance."""
    triangles_T3: Tensor
    """int32 corners; the head's own come first, further meshes (clothes, glasses) may follow."""
    identity_K: Tensor
    """Weights of the head's identity modes."""
    identity: int
    """Seed of the person; from 1,000,000 on the person is held out."""
    scene: Mapping[str, Any] = field(default_factory=dict)
    """Facts that JSON can hold: light, background, recipe."""
    seed: int = 0
    recipe: str = ""
    measured_FM: Tensor | None = None
    """Motion as `media.faces` reads it off the frames; NaN where it found no face, None if it was not run."""
    torso_to_camera_F34: Tensor | None = None
    """Where the shoulders are, when they do not turn with the head; by default they do."""
    share_V: Tensor | None = None
    """How much each vertex of the head's mesh (or of all meshes) follows the head, 1, rather than the torso, 0."""
    licence: str = LICENCE
    label: str = LABEL

    def __post_init__(self) -> None:
        """Refuse tensors that do not belong together."""
        frames, _, height, width = self.image_F3HW.shape
        corners, points = self.triangles_T3.shape[0], self.screen_FV3.shape[1]
        wanted = {
            "image_F3HW": (frames, 3, height, width),
            "parts_FHW": (frames, height, width),
            "depth_FHW": (frames, height, width),
            "normal_F3HW": (frames, 3, height, width),
            "motion_FM": (frames, len(NAMES)),
            "head_to_camera_F34": (frames, 3, 4),
            "focal_F": (frames,),
            "landmarks_FL2": (frames, LANDMARKS, 2),
            "triangle_FHW": (frames, height, width),
            "weights_FHW3": (frames, height, width, 3),
            "screen_FV3": (frames, points, 3),
            "triangles_T3": (corners, 3),
        }
        for name, shape in wanted.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} must be {shape}, got {tuple(getattr(self, name).shape)}")
        if height != width:
            raise ValueError(f"frames must be square, got {height} x {width}")
        if self.image_F3HW.dtype != torch.uint8:
            raise ValueError(f"image_F3HW must be uint8, got {self.image_F3HW.dtype}")

    @property
    def length(self) -> int:
        """Number of frames F."""
        return len(self.image_F3HW)

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return int(self.image_F3HW.shape[3])

    @property
    def held_out(self) -> bool:
        """Whether the person is kept for evaluation."""
        return self.identity >= 1_000_000

    def to(self, device: torch.device | str) -> Footage:
        """The same footage on another device."""
        moved: dict[str, Any] = {
            f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), torch.Tensor)
        }
        return replace(self, **moved)


def flow_between(footage: Footage, source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where each pixel of a target frame lies in a source frame; see `flow_pairs`, without the batch axis."""
    device = footage.image_F3HW.device
    one = torch.tensor([source], device=device), torch.tensor([target], device=device)
    where, visible, known = flow_pairs(footage, *one)
    return where[0], visible[0], known[0]


def flow_pairs(footage: Footage, source_N: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Exact correspondence of frames, by the geometry that they were drawn from.

    Surface points are followed on the mesh; hair and other splats follow the head as a rigid body; the backdrop and
    clothes without a mesh stay where they are, as the camera does not move within a take.

    Args:
        footage: one take.
        source_N: frame numbers to look up in.
        target_N: frame numbers whose pixels are asked about.

    Returns:
        where (N, H, W, 2): position in the source in [-1, 1], x then y, as `grid_sample` with `align_corners=False`
        takes it; visible (N, H, W): the source shows that very point, and a bilinear look-up there mixes nothing else
        in; known (N, H, W): the correspondence is exact or, for hair, rigid (a hidden point is known, too).
    """
    size = footage.size
    triangle = footage.triangle_FHW[target_N].long()
    on_mesh = triangle >= 0
    corner = footage.triangles_T3.long()[triangle.clamp(min=0)]
    offset = (source_N * footage.screen_FV3.shape[1]).view(-1, 1, 1, 1)
    point = footage.screen_FV3.reshape(-1, 3)[corner + offset]
    share = footage.weights_FHW3[target_N].float() * point[..., 2]
    depth = share.sum(-1)
    place = (share[..., None] * point[..., :2]).sum(-2) / depth.clamp(min=1e-6)[..., None]

    parts = footage.parts_FHW[target_N]
    loose = ~on_mesh & footage.depth_FHW[target_N].isfinite()
    rigid = torch.zeros_like(loose)
    head_F34 = footage.head_to_camera_F34
    torso_F34 = head_F34 if footage.torso_to_camera_F34 is None else footage.torso_to_camera_F34
    # long hair is bent between head and torso as the neck is (`figure.neck_share`)
    bodies: list[tuple[tuple[str, ...], Tensor, Tensor]] = [(RIGID_PARTS, head_F34, torso_F34)]
    if footage.torso_to_camera_F34 is not None:
        bodies.append((TORSO_PARTS, torso_F34, torso_F34))
    for names, upper_F34, lower_F34 in bodies:
        mine = loose & torch.isin(parts, parts.new_tensor([PART[name] for name in names]))
        moved, moved_depth = _carried(footage, upper_F34, lower_F34, source_N, target_N)
        place = torch.where(mine[..., None], moved, place)
        depth = torch.where(mine, moved_depth, depth)
        rigid |= mine
    still = ~on_mesh & ~rigid
    centre = torch.arange(size, device=place.device, dtype=place.dtype) + 0.5
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1)
    place = torch.where(still[..., None], grid, place)
    visible = _shown(footage, source_N, place, depth, parts, on_mesh)
    return place * (2.0 / size) - 1.0, visible, torch.ones_like(visible)


def _carried(
    footage: Footage, upper_F34: Tensor, lower_F34: Tensor, source_N: Tensor, target_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Where each target pixel would lie in the source, on screen and in depth, bent at the neck between two bodies."""
    from forge.studio.figure import neck_share

    size = footage.size
    depth = footage.depth_FHW[target_N].nan_to_num(posinf=1.0)
    centre = torch.arange(size, device=depth.device, dtype=depth.dtype) + 0.5 - size / 2
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1)
    flat = grid / footage.focal_F[target_N].view(-1, 1, 1, 1)
    camera = torch.cat([flat * depth[..., None], depth[..., None]], -1).flatten(1, 2)

    def at_rest(body_F34: Tensor) -> Tensor:
        there = body_F34[target_N]
        rested: Tensor = torch.linalg.solve(there[:, :, :3], (camera - there[:, None, :, 3]).transpose(1, 2))
        return rested.transpose(1, 2)

    upper, lower = at_rest(upper_F34), at_rest(lower_F34)
    rest = upper
    for _ in range(3):  # whom a place follows depends on where it rests
        rest = lower + neck_share(rest.flatten(0, 1)).view(*rest.shape[:2], 1) * (upper - lower)
    share = neck_share(rest.flatten(0, 1)).view(*rest.shape[:2], 1)
    by_upper, by_lower = to_camera(rest, upper_F34[source_N]), to_camera(rest, lower_F34[source_N])
    screen = to_screen(by_lower + share * (by_upper - by_lower), footage.focal_F[source_N], size)
    screen = screen.view(len(target_N), size, size, 3)
    return screen[..., :2], screen[..., 2]


def _shown(footage: Footage, source_N: Tensor, place: Tensor, depth: Tensor, parts: Tensor, on_mesh: Tensor) -> Tensor:
    """Whether all four source pixels around a place show the point of a depth.

    Each of them shows some triangle; the plane of that triangle is followed to the place, so that a steep cheek is not
    taken for an edge.
    """
    size = footage.size
    seen_depth, slope = footage.depth_FHW[source_N], _slopes(footage, source_N)
    seen_parts, seen_mesh = footage.parts_FHW[source_N], footage.triangle_FHW[source_N] >= 0
    first = (place - 0.5).floor()
    share = place - 0.5 - first
    out = (place >= 0.0).all(-1) & (place <= size).all(-1)
    batch = torch.arange(len(source_N), device=place.device).view(-1, 1, 1)
    for dy in (0, 1):
        for dx in (0, 1):
            column = (first[..., 0] + dx).clamp(0, size - 1)
            row = (first[..., 1] + dy).clamp(0, size - 1)
            at = (batch, row.long(), column.long())
            inverse = 1.0 / seen_depth[at]
            step = place - torch.stack([column, row], -1) - 0.5
            there = inverse + (slope[at] * step).sum(-1)
            difference = (1.0 / there.clamp(min=1e-6) - depth).abs()
            same = torch.where(
                on_mesh,
                seen_mesh[at] & (difference < SURFACE_TOLERANCE),
                (seen_parts[at] == parts) & ~seen_mesh[at] & ~(difference > LOOSE_TOLERANCE).logical_and(depth > 0),
            )
            weight = (share[..., 0] if dx else 1 - share[..., 0]) * (share[..., 1] if dy else 1 - share[..., 1])
            out &= same | (weight < 0.02)
    return out


def _slopes(footage: Footage, frames_N: Tensor) -> Tensor:
    """(N, H, W, 2) change of inverse distance per pixel to the right and down, along the triangle seen; 0 for none."""
    triangle = footage.triangle_FHW[frames_N].long()
    corner = footage.triangles_T3.long()[triangle.clamp(min=0)]
    offset = (frames_N * footage.screen_FV3.shape[1]).view(-1, 1, 1, 1)
    point = footage.screen_FV3.reshape(-1, 3)[corner + offset]
    x, y, w = point[..., 0], point[..., 1], 1.0 / point[..., 2].clamp(min=1e-6)
    x1, x2, y1, y2 = x[..., 1] - x[..., 0], x[..., 2] - x[..., 0], y[..., 1] - y[..., 0], y[..., 2] - y[..., 0]
    w1, w2 = w[..., 1] - w[..., 0], w[..., 2] - w[..., 0]
    area = x1 * y2 - x2 * y1
    safe = torch.where(area.abs() < 1e-6, torch.ones_like(area), area)
    slope = torch.stack([w1 * y2 - w2 * y1, w2 * x1 - w1 * x2], -1) / safe[..., None]
    good = (triangle >= 0) & (area.abs() >= 1e-6)
    return torch.where(good[..., None], slope, 0.0)


def save_footage(path: Path, footage: Footage, *, quality: int = 92) -> None:
    """Write a take: all of it or nothing.

    Args:
        path: of the file.
        footage: on any device.
        quality: of the WebP pictures; 100 is lossless.
    """
    take = footage.to("cpu")
    arrays = {
        "motion": take.motion_FM.numpy(),
        "head_to_camera": take.head_to_camera_F34.numpy(),
        "focal": take.focal_F.numpy(),
        "identity_modes": take.identity_K.numpy(),
    }
    if take.measured_FM is not None:
        arrays["measured"] = take.measured_FM.numpy()
    if take.torso_to_camera_F34 is not None and take.share_V is not None:
        arrays["torso_to_camera"] = take.torso_to_camera_F34.numpy()
        share = take.share_V[: len(load_head().neutral_V3)].clamp(0, 1)
        arrays["share"] = (share * 255).round().to(torch.uint8).numpy()
    facts = {
        "format": FORMAT, "frames": take.length, "size": take.size, "identity": take.identity, "seed": take.seed,
        "recipe": take.recipe, "licence": take.licence, "label": take.label, "scene": dict(take.scene),
    }  # fmt: skip
    head_triangles = len(load_head().triangles_T3)
    loose = ((take.triangle_FHW < 0) | (take.triangle_FHW >= head_triangles)) & take.depth_FHW.isfinite()
    near = torch.where(loose, take.depth_FHW, torch.inf)[:, ::2, ::2]
    base = float(near.min()) if near.isfinite().any() else 0.0
    levels = ((near - base) / DEPTH_STEP + 1).round().clamp(0, 255).nan_to_num(posinf=0)
    steps = torch.where(near.isfinite(), levels, 0).to(torch.uint8).numpy()
    facts["loose_depth"] = base
    temporary = path.with_name(path.name + ".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        _put(archive, "facts.json", json.dumps(facts, sort_keys=True).encode())
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            _put(archive, f"{name}.npy", buffer.getvalue())
        for index in range(take.length):
            picture = Image.fromarray(take.image_F3HW[index].permute(1, 2, 0).contiguous().numpy())
            options: dict[str, Any] = {"lossless": True} if quality >= 100 else {"quality": quality}
            _put(archive, f"image_{index:05d}.webp", _encoded(picture, "WEBP", method=4, **options))
            parts = Image.fromarray(take.parts_FHW[index].numpy())
            _put(archive, f"parts_{index:05d}.png", _encoded(parts, "PNG", optimize=True))
            _put(archive, f"loose_{index:05d}.png", _encoded(Image.fromarray(steps[index]), "PNG", optimize=True))
    temporary.replace(path)


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a member without a date, so that the same take gives the same bytes."""
    small = not name.endswith((".webp", ".png"))
    archive.writestr(
        zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED if small else zipfile.ZIP_STORED
    )


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture file."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def load_footage(path: Path, *, head: HeadModel | None = None, device: torch.device | str = "cpu") -> Footage:
    """Read a take and draw its geometry again.

    Args:
        path: written by `save_footage`.
        head: the head it was filmed with; by default the one that ships.
        device: where the tensors shall be, and where the geometry is drawn.

    Raises:
        ForgeError: when the file is missing or no take.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            facts = json.loads(archive.read("facts.json"))
            if facts["format"] != FORMAT:
                raise ForgeError(f"{path}: format {facts['format']}, this version reads {FORMAT}; film the take again")
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
            arrays = {n: np.load(io.BytesIO(archive.read(f"{n}.npy")), allow_pickle=False) for n in names}
            stacks = {
                kind: np.stack(
                    [
                        np.asarray(Image.open(io.BytesIO(archive.read(f"{kind}_{i:05d}.{suffix}"))))
                        for i in range(facts["frames"])
                    ]
                )
                for kind, suffix in (("image", "webp"), ("parts", "png"), ("loose", "png"))
            }
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ForgeError(f"{path}: not a take ({error}); film it again") from error
    return _redraw((load_head() if head is None else head).to(device), facts, arrays, stacks, torch.device(device))


def _redraw(
    head: HeadModel,
    facts: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    stacks: Mapping[str, np.ndarray[Any, Any]],
    device: torch.device,
) -> Footage:
    """The take from what is stored of it."""
    tensors = {name: torch.from_numpy(array.copy()).to(device) for name, array in arrays.items()}
    image = torch.from_numpy(stacks["image"]).permute(0, 3, 1, 2).contiguous().to(device)
    parts = torch.from_numpy(stacks["parts"]).to(device)
    size = int(facts["size"])
    vertices = head.deform(tensors["identity_modes"][None], tensors["motion"][:, Z_DYN])
    matrix = tensors["head_to_camera"]
    camera, normals = to_camera(vertices, matrix), head.normals(vertices) @ matrix[:, :, :3].transpose(1, 2)
    share = torso = None
    if "share" in tensors:
        share, torso = tensors["share"].float() / 255, tensors["torso_to_camera"]
        camera = share[:, None] * camera + (1 - share[:, None]) * to_camera(vertices, torso)
    screen = to_screen(camera, tensors["focal"], size)
    cover = rasterise(screen, head.triangles_T3, size, two_sided=head.two_sided_T)
    loose = torch.from_numpy(stacks["loose"]).to(device).float()
    loose = torch.where(loose > 0, (loose - 1) * DEPTH_STEP + float(facts["loose_depth"]), torch.inf)
    loose = loose.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :size, :size]
    # where a pixel shows something that is not of the head's mesh, the mesh behind it is not what is seen
    covered = parts != cover.per_triangle(head.part_T)
    own = cover.seen_BHW & (~covered | loose.isinf()) & (parts != PART["background"])
    normal = cover.interpolate(normals) * own[..., None]
    return Footage(
        image_F3HW=image,
        parts_FHW=parts,
        depth_FHW=torch.where(own, cover.depth_BHW, loose),
        normal_F3HW=torch.nn.functional.normalize(normal, dim=-1).permute(0, 3, 1, 2).half(),
        motion_FM=tensors["motion"],
        head_to_camera_F34=matrix,
        focal_F=tensors["focal"],
        landmarks_FL2=head.landmarks(screen)[..., :2],
        triangle_FHW=torch.where(own, cover.triangle_BHW, -1).int(),
        weights_FHW3=(cover.weights_BHW3 * own[..., None]).half(),
        screen_FV3=screen,
        triangles_T3=head.triangles_T3.int(),
        identity_K=tensors["identity_modes"],
        identity=int(facts["identity"]),
        scene=facts["scene"],
        seed=int(facts["seed"]),
        recipe=str(facts["recipe"]),
        measured_FM=tensors.get("measured"),
        torso_to_camera_F34=torso,
        share_V=share,
        licence=str(facts["licence"]),
        label=str(facts["label"]),
    )
