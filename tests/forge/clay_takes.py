"""Small takes of plainly coloured heads: footage for tests that need no studio."""

from __future__ import annotations

import torch

from forge.motion.features import BLENDSHAPE_NAMES, NAMES
from forge.studio.footage import Footage
from forge.studio.head import PART, consistent, load_head, pose_matrix, standard_focal, to_camera, to_screen
from forge.studio.rasterise import rasterise

COLOURS = {
    "skin": (0.8, 0.6, 0.5), "lips": (0.75, 0.3, 0.3), "neck": (0.75, 0.56, 0.46), "sclera": (0.9, 0.9, 0.88),
    "iris": (0.25, 0.35, 0.5), "teeth": (0.95, 0.93, 0.85), "gums": (0.6, 0.3, 0.3), "tongue": (0.7, 0.35, 0.35),
    "mouth_socket": (0.25, 0.08, 0.08), "lashes": (0.1, 0.08, 0.07), "eye_wet": (0.7, 0.5, 0.5),
}  # fmt: skip


def clay_take(person: int, frames: int, scene: int, *, size: int = 64) -> Footage:
    """A person by seed, in a scene and with a motion by seed."""
    who, what = torch.Generator().manual_seed(person), torch.Generator().manual_seed(scene)
    head = load_head()
    identity = 0.7 * torch.randn(1, min(head.modes, 40), generator=who)
    motion = torch.zeros(frames, len(NAMES))
    motion[:, :6] = torch.randn(frames, 6, generator=what) * torch.tensor([12.0, 8.0, 6.0, 0.1, 0.1, 0.05])
    shapes = torch.rand(frames, len(BLENDSHAPE_NAMES), generator=what)
    motion[:, 6:58] = shapes**4 * 0.7
    motion[:, 58:60] = 0.4 * torch.randn(frames, 2, generator=what)
    motion[:, 6:] = consistent(motion[:, 6:])
    vertices = head.deform(identity, motion[:, 6:])
    matrix, focal = pose_matrix(motion[:, :6]), float(standard_focal(size))
    screen = to_screen(to_camera(vertices, matrix), focal, size)
    cover = rasterise(screen, head.triangles_T3, size, samples=2, two_sided=head.two_sided_T)
    normal = cover.interpolate(head.normals(vertices) @ matrix[:, :, :3].transpose(1, 2))
    table = torch.tensor([COLOURS.get(name, (0.5, 0.5, 0.5)) for name in PART])
    table = table * (0.75 + 0.4 * torch.rand(1, 3, generator=who))
    back = torch.rand(3, generator=what) * 0.6 + 0.2
    part = cover.per_triangle(head.part_T.long())
    rest = cover.interpolate(head.neutral_V3)
    wave = torch.sin(rest * (2.0 + torch.rand(3, generator=who))).mean(-1, keepdim=True) * 0.12
    light = torch.nn.functional.normalize(torch.randn(3, generator=what) - torch.tensor([0.0, 0.5, 2.0]), dim=0)
    lit = 0.55 + 0.45 * (normal @ light).clamp(min=0)[..., None]
    image = torch.where(cover.seen_BHW[..., None], table[part] * (1 + wave) * lit, back)
    image = cover.antialias(image.clamp(0, 1), head.part_T)
    return Footage(
        image_F3HW=(image.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 3, 1, 2).contiguous(),
        parts_FHW=torch.where(cover.seen_BHW, part, 0).to(torch.uint8),
        depth_FHW=cover.depth_BHW,
        normal_F3HW=normal.permute(0, 3, 1, 2).half(),
        motion_FM=motion,
        head_to_camera_F34=matrix,
        focal_F=torch.full((frames,), focal),
        landmarks_FL2=head.landmarks(screen)[..., :2],
        triangle_FHW=cover.triangle_BHW.int(),
        weights_FHW3=cover.weights_BHW3.half(),
        screen_FV3=screen,
        triangles_T3=head.triangles_T3.int(),
        identity_K=identity[0],
        identity=person,
        seed=scene,
        recipe="clay",
    )
