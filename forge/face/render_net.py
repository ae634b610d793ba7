"""RenderNet: reads depth, normals, parts, landmarks, identity and motion off a picture; trained on renders only.

    reading = net(image_B3HW)
    reading.identity_BI, reading.motion_BM, reading.features

Axes: B batch, C channels, H height, W width (of the heads: side / 4), P parts, L landmarks, I identity, M motion.

There are two. A (`render_net`) gives the face its perceptual and identity losses. B (`render_net_judge`: another seed,
architecture and half of the people) only ever scores. A network that taught must not also mark the exam.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from forge.face.blocks import NormResidual, conv2d, groups, resized
from forge.face.losses import COSFACE_MARGIN, PART_WEIGHTS, coefficients, pose
from forge.face.recipes import RenderNetRecipe
from forge.motion.features import NAMES, POSE
from forge.studio.head import PARTS

LANDMARKS = 478
DEPTH_CENTIMETRES = 10.0
"""Unit of the depth head: distance from the head's pivot plane."""
IDENTITY_SCALE = 20.0
"""Of cosines between embeddings in the identity loss."""


@dataclass(frozen=True)
class Reading:
    """What RenderNet sees in a picture."""

    depth_B1HW: Tensor
    """Relative to the pivot, in `DEPTH_CENTIMETRES`."""
    normal_B3HW: Tensor
    """Unit vectors, camera space."""
    parts_BPHW: Tensor
    """Logits over `studio.head.PARTS`."""
    landmarks_BL2: Tensor
    """x, y in [-1, 1]."""
    identity_BI: Tensor
    """Unit length."""
    motion_BM: Tensor
    """z_pose (degrees, ...) and z_dyn, `forge.motion.features.NAMES`."""
    features: tuple[Tensor, ...]
    """Of the trunk, fine to coarse: the perceptual loss."""


class Separable(nn.Module):
    """Depthwise 7 x 7, then two pointwise layers; optionally halving the picture."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.across: nn.Module = (
            nn.Identity() if inputs == outputs and stride == 1 else nn.Conv2d(inputs, outputs, stride, stride)
        )
        self.spread = nn.Conv2d(outputs, outputs, 7, 1, 3, groups=outputs)
        self.norm = groups(outputs)
        self.wide, self.narrow = conv2d(outputs, 3 * outputs, 1), conv2d(3 * outputs, outputs, 1)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H / stride, W / stride)."""
        x_BCHW = self.across(x_BCHW)
        change: Tensor = self.narrow(functional.gelu(self.wide(self.norm(self.spread(x_BCHW)))))
        return x_BCHW + change


class RenderNet(nn.Module):
    """A trunk that halves the picture stage by stage, a way back up to a quarter of the side, and heads."""

    def __init__(self, recipe: RenderNetRecipe) -> None:
        """Random weights for a recipe (seeded by it)."""
        super().__init__()
        self.recipe = recipe
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self._build(recipe)

    def _build(self, recipe: RenderNetRecipe) -> None:
        widths = recipe.widths
        block = NormResidual if recipe.kind == "residual" else Separable
        self.stem = conv2d(3, widths[0], 5, 2)
        self.stages = nn.ModuleList()
        for number, (before, after) in enumerate(zip(widths[:1] + widths[:-1], widths, strict=True)):
            first = block(before, after, 1 if number == 0 else 2)
            self.stages.append(nn.Sequential(first, *[block(after, after) for _ in range(recipe.blocks - 1)]))
        middle = widths[min(1, len(widths) - 1)]
        self.sideways = nn.ModuleList(conv2d(width, middle, 1) for width in widths[1:])
        self.dense = NormResidual(middle, middle)
        self.maps = conv2d(middle, 4 + len(PARTS))
        last = widths[-1]
        self.norm = groups(last)
        self.pool = nn.Linear(last * 16, 384)
        self.landmarks = nn.Linear(384, LANDMARKS * 2)
        self.motion = nn.Linear(384, len(NAMES))
        self.identity = nn.Linear(last * 16, recipe.identity_dims)
        for head in (self.landmarks, self.motion):
            nn.init.normal_(head.weight, std=0.01)
        self.register_buffer("unit_M", torch.tensor([30.0] * 3 + [1.0] * 2 + [0.5] + [1.0] * 64), persistent=False)

    def features(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        """Trunk features of pictures (B, 3, H, W) in [0, 1] of any size."""
        x = self.stem(resized(image_B3HW, self.recipe.side) * 2 - 1)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return tuple(found)

    def forward(self, image_B3HW: Tensor) -> Reading:
        """Read pictures (B, 3, H, W) in [0, 1] of any size."""
        return self.read(self.features(image_B3HW))

    def embed(self, features: tuple[Tensor, ...]) -> Tensor:
        """Identity embedding (B, I) of unit length."""
        return functional.normalize(self.identity(self._pooled(features[-1])).float(), dim=1)

    def read(self, features: tuple[Tensor, ...]) -> Reading:
        """All heads."""
        up = self.sideways[-1](features[-1])
        for lower, sideways in zip(features[-2:0:-1], list(self.sideways)[-2::-1], strict=True):
            up = functional.interpolate(up, size=lower.shape[-2:]) + sideways(lower)
        maps = self.maps(functional.silu(self.dense(up))).float()
        pooled = functional.silu(self.pool(self._pooled(features[-1])))
        units: Tensor = self.unit_M  # type: ignore[assignment]
        return Reading(
            depth_B1HW=maps[:, :1],
            normal_B3HW=functional.normalize(maps[:, 1:4], dim=1),
            parts_BPHW=maps[:, 4:],
            landmarks_BL2=self.landmarks(pooled).float().view(-1, LANDMARKS, 2),
            identity_BI=self.embed(features),
            motion_BM=self.motion(pooled).float() * units,
            features=features,
        )

    def _pooled(self, x_BCHW: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(functional.silu(self.norm(x_BCHW)), 4).flatten(1)


@dataclass(frozen=True)
class RenderTruth:
    """What the studio knows of frames, at a quarter of RenderNet's side."""

    depth_B1HW: Tensor
    """In `DEPTH_CENTIMETRES` from the pivot; infinity where nothing is."""
    normal_B3HW: Tensor
    parts_BHW: Tensor
    landmarks_BL2: Tensor
    motion_BM: Tensor
    person_B: Tensor


def reading_losses(reading: Reading, truth: RenderTruth) -> dict[str, Tensor]:
    """Weighted losses of all heads by name; identity needs frames of two scenes of each person in the batch."""
    known = truth.depth_B1HW.isfinite()
    depth = functional.smooth_l1_loss(
        reading.depth_B1HW, torch.where(known, truth.depth_B1HW, 0.0), beta=0.05, reduction="none"
    )
    facing = (1 - (reading.normal_B3HW * truth.normal_B3HW).sum(1, keepdim=True)) * known
    weight = torch.tensor([min(PART_WEIGHTS.get(name, 1.0), 4.0) for name in PARTS], device=depth.device)
    weight[0] = 0.5
    share = known.float().sum().clamp(min=1)
    return {
        "depth": (depth * known).sum() / share,
        "normal": facing.sum() / share,
        "parts": functional.cross_entropy(reading.parts_BPHW, truth.parts_BHW.long(), weight=weight),
        "landmarks": 5 * functional.smooth_l1_loss(reading.landmarks_BL2, truth.landmarks_BL2, beta=0.02),
        "motion": 2 * coefficients(reading.motion_BM[:, POSE.stop :], truth.motion_BM[:, POSE.stop :]),
        "pose": pose(reading.motion_BM[:, POSE], truth.motion_BM[:, POSE]),
        "identity": 0.2 * same_person(reading.identity_BI, truth.person_B),
    }


def same_person(identity_BI: Tensor, person_B: Tensor) -> Tensor:
    """CosFace over a batch: frames of one person are nearer to each other, by a margin, than to anybody else."""
    cosine_BB = identity_BI @ identity_BI.T
    itself = torch.eye(len(person_B), dtype=torch.bool, device=person_B.device)
    same = (person_B[:, None] == person_B[None]) & ~itself
    logits = IDENTITY_SCALE * (cosine_BB - COSFACE_MARGIN * same.float())
    logits = logits.masked_fill(itself, -1e4)
    # the one positive is weighed against strangers only; other positives are not its rivals
    strangers = logits.masked_fill(same, -1e4).logsumexp(1, keepdim=True)
    loss_BB = functional.softplus(strangers - logits)
    return (loss_BB * same).sum() / same.sum().clamp(min=1)
