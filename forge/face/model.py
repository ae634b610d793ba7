"""The face model on one page: see a portrait once, draw it in any pose and expression.

    model = FaceModel(face_256().shape).eval()
    appearance = model.see(portrait_13HW)                              # V_app, z_id and 2-D detail: once
    pose_B6, dyn_B64 = model.read_motion(driver_B3HW)                  # z_pose, z_dyn, every dimension named
    image_B3HW = model.draw(appearance, pose_B6, dyn_B64)              # D(V_app, z_id, z_pose, z_dyn)

Axes: B portraits, N frames (a multiple of B: N / B in a row belong to a portrait), C channels, D depth, H W pixels.
Pictures are (B, 3, S, S) in [0, 1], S the size that the model was built for. z_pose is absolute: zero is the studio's
standard framing. Names as in VASA-1 (arXiv 2404.10667): V_app, z_id, z_pose, z_dyn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from forge.face.appearance import Appearance, AppearanceEncoder, Canonical
from forge.face.blocks import lay_out
from forge.face.decoder import Decoder, Drawn
from forge.face.identity import IdentityEncoder
from forge.face.motion_encoder import DYN_DIMS, POSE_DIMS, MotionEncoder
from forge.face.recipes import FaceShape
from forge.face.sampling import sample_beyond, sample_folded, sample_volume
from forge.face.warp import Warp


class FaceModel(nn.Module):
    """E_app, G3D, E_mot, E_id, the warp and D."""

    def __init__(self, shape: FaceShape) -> None:
        """Random weights for a shape; the rig's flows come from the shipped head."""
        super().__init__()
        self.shape = shape
        half, quarter, _ = shape.appearance_widths
        self.appearance = AppearanceEncoder(
            shape.channels, shape.depth, shape.appearance_widths, shape.appearance_blocks, shape.volume_blocks
        )
        self.canonical = Canonical(shape.channels, shape.canonical_widths)
        self.motion = MotionEncoder(shape.motion_widths, shape.encoder_blocks, shape.motion_side)
        self.identity = IdentityEncoder(
            shape.identity_dims, shape.identity_widths, shape.encoder_blocks, shape.identity_side
        )
        self.warp = Warp(shape.depth, shape.grid, shape.identity_dims, shape.learned_flows, shape.rig_grid)
        self.decoder = Decoder(
            shape.channels,
            shape.depth,
            shape.decoder,
            (half, quarter),
            shape.identity_dims + POSE_DIMS + DYN_DIMS,
            shape.skips,
        )
        self.register_buffer("pose_unit_6", torch.tensor([1 / 30, 1 / 30, 1 / 30, 1.0, 1.0, 2.0]), persistent=False)

    def read_motion(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """E_mot: z_pose (B, 6) and z_dyn (B, 64) of pictures."""
        pose_B6, dyn_B64 = self.motion(image_B3HW)
        return pose_B6, dyn_B64

    def see(
        self,
        image_B3HW: Tensor,
        pose_B6: Tensor | None = None,
        dyn_B64: Tensor | None = None,
        distance_B: Tensor | None = None,
    ) -> Appearance:
        """E_app, E_id and G3D: what is kept of pictures, in the canonical frame.

        Args:
            image_B3HW: [0, 1], the model's size.
            pose_B6: z_pose of the pictures where it is known; read from them otherwise.
            dyn_B64: z_dyn, likewise.
            distance_B: centimetres of the camera in the standard framing (its perspective); standard when None.
        """
        if image_B3HW.shape[-1] != self.shape.size or image_B3HW.shape[-2] != self.shape.size:
            raise ValueError(f"image must be (B, 3, {self.shape.size}, {self.shape.size}), got {image_B3HW.shape}")
        if pose_B6 is None or dyn_B64 is None:
            read_pose, read_dyn = self.read_motion(image_B3HW)
            pose_B6 = read_pose if pose_B6 is None else pose_B6
            dyn_B64 = read_dyn if dyn_B64 is None else dyn_B64
        identity_BI = self.identity(image_B3HW)
        posed, half, quarter = self.appearance(image_B3HW.to(self.appearance.stem.weight.dtype))
        where = self.warp.source_places(pose_B6, dyn_B64, identity_BI, distance_B)
        inside = (where.abs() < 1).all(-1)[:, None]
        volume = self.canonical(sample_volume(posed, where), inside)
        return Appearance(volume, where.permute(0, 4, 1, 2, 3).contiguous(), identity_BI, half, quarter, image_B3HW)

    def draw(
        self, appearance: Appearance, pose_N6: Tensor, dyn_N64: Tensor, distance_N: Tensor | None = None
    ) -> Tensor:
        """D: pictures (N, 3, S, S) in [0, 1] of portraits in a motion."""
        return self.draw_all(appearance, pose_N6, dyn_N64, distance_N).image_N3HW

    def draw_all(
        self, appearance: Appearance, pose_N6: Tensor, dyn_N64: Tensor, distance_N: Tensor | None = None
    ) -> Drawn:
        """Like `draw`, with the person's matte, the flow from the source, depth and visibility."""
        times = len(pose_N6) // len(appearance.identity_BI)
        identity_NI = appearance.identity_BI.repeat_interleave(times, 0) if times > 1 else appearance.identity_BI
        where = self.warp.canonical_places(pose_N6, dyn_N64, identity_NI, distance_N)
        folded = sample_folded(appearance.volume_BCDHW, where)
        whence = sample_beyond(appearance.whence_B3DHW, where)
        unit_6: Tensor = self.pose_unit_6  # type: ignore[assignment]
        condition = torch.cat([identity_NI.float(), pose_N6.float() * unit_6, dyn_N64.float()], 1)
        kept = (appearance.half_BCHW, appearance.quarter_BCHW, appearance.image_B3HW)
        drawn: Drawn = self.decoder(folded, whence, *kept, condition)
        return drawn

    def flow_of(
        self,
        appearance: Appearance,
        screen_NHW3: Tensor,
        pose_N6: Tensor,
        dyn_N64: Tensor,
        distance_N: Tensor | None = None,
    ) -> Tensor:
        """(N, H, W, 3) place in the source's screen volume of places of the target's: the warps alone, supervised."""
        times = len(pose_N6) // len(appearance.identity_BI)
        identity_NI = appearance.identity_BI.repeat_interleave(times, 0) if times > 1 else appearance.identity_BI
        where = self.warp.canonical_of(screen_NHW3[:, None], pose_N6, dyn_N64, identity_NI, distance_N)
        return sample_beyond(appearance.whence_B3DHW, where)[:, :, 0].permute(0, 2, 3, 1)

    def for_inference(self, dtype: torch.dtype) -> FaceModel:
        """Weights cast once to a dtype, except the warp's: places need float32. Changes this model in place."""
        for name, part in self.named_children():
            if name not in ("warp", "motion", "identity"):
                part.to(dtype)
        lay_out(self)
        return self.eval().requires_grad_(False)


def matched(image_B3HW: Tensor, size: int) -> Tensor:
    """Pictures of any square size brought to a model's size."""
    if image_B3HW.shape[-1] == size:
        return image_B3HW
    shrinking = image_B3HW.shape[-1] > size
    return functional.interpolate(
        image_B3HW, size=(size, size), mode="bilinear", align_corners=False, antialias=shrinking
    )
