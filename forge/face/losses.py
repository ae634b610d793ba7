"""Pure measures of how far a drawn face is from the truth.

Axes: B batch (or frames), C channels, D depth slices, H height, W width, M motion features, I identity code, N frames
of one source. Pictures are in [0, 1], places in [-1, 1], angles in degrees unless a name says otherwise.

Every function returns one number that is zero for the truth (the adversarial ones excepted) and works on any device
without asking it anything, so that a training step never waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from forge.face.motion_encoder import NAMED_DIMS
from forge.face.warp import SCREEN_HALF_DEPTH
from forge.motion.features import BLENDSHAPE_NAMES
from forge.studio.head import PART, PARTS, STANDARD_DISTANCE, pose_matrix

CLOSE_PARTS = ("lips", "teeth", "gums", "tongue", "mouth_socket", "sclera", "iris", "eye_wet", "lashes")
"""Where people look, and few pixels: these count eight times."""
PART_WEIGHTS: dict[str, float] = {"cloth": 0.5, "neck": 0.7, "brow": 2.0} | dict.fromkeys(CLOSE_PARTS, 8.0)
"""The rest counts one, and the background what the recipe says: by default it is not quite masked out, since a frame
has one, but it must not pull at the face."""
SOFTENING = 1e-3
"""Of Charbonnier's square root: where a difference becomes linear."""
COSFACE_SCALE, COSFACE_MARGIN = 5.0, 0.2
"""MegaPortraits, section 3."""


def part_weights(parts_BHW: Tensor, background: float = 0.1) -> Tensor:
    """(B, 1, H, W) how much each pixel counts, from part masks; the background as told."""
    counts = PART_WEIGHTS | {"background": background}
    table = torch.tensor([counts.get(name, 1.0) for name in PARTS], device=parts_BHW.device)
    return table[parts_BHW.long()][:, None]


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; the weight is broadcast; zero when nothing counts."""
    weight = weight.expand_as(value)
    return (value * weight).sum() / weight.sum().clamp(min=1e-6)


def charbonnier(drawn_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor) -> Tensor:
    """Smooth absolute difference."""
    difference = drawn_BCHW.float() - true_BCHW.float()
    return _mean((difference.square() + SOFTENING**2).sqrt() - SOFTENING, weight_B1HW)


def detail(drawn_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor, levels: int = 3) -> Tensor:
    """Absolute difference of Laplacian pyramids, each level counting alike."""
    total = drawn_BCHW.new_zeros((), dtype=torch.float32)
    error, weight = drawn_BCHW.float() - true_BCHW.float(), weight_B1HW
    for _ in range(levels):
        smaller = functional.avg_pool2d(error, 2)
        band = error - functional.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + _mean(band.abs(), weight)
        error, weight = smaller, functional.avg_pool2d(weight, 2)
    return total / levels


def structure(drawn_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor, levels: int = 3) -> Tensor:
    """1 - MS-SSIM (mean over levels; every second 7 x 7 window, contrast-structure above the coarsest level)."""
    a, b, weight = drawn_BCHW.float(), true_BCHW.float(), weight_B1HW
    scores: list[Tensor] = []
    for level in range(levels):
        # one pass over four maps: only the sum of both variances is asked for, never one of them
        means = _window(torch.cat([a, b, a * a + b * b, a * b], 1))
        mean_a, mean_b, squares, both = means.chunk(4, 1)
        product, power = mean_a * mean_b, mean_a**2 + mean_b**2
        score = (2 * (both - product) + 0.03**2) / ((squares - power).clamp(min=0) + 0.03**2)
        if level == levels - 1:
            score = score * (2 * product + 0.01**2) / (power + 0.01**2)
        scores.append(1 - _mean(score, weight[..., ::2, ::2]))
        a, b, weight = (functional.avg_pool2d(x, 2) for x in (a, b, weight))
    return torch.stack(scores).mean()


def _window(x_BCHW: Tensor) -> Tensor:
    """Mean over every second 7 x 7 window, the border continued inwards only; one axis after the other."""
    rows = functional.avg_pool2d(x_BCHW, (7, 1), (2, 1), (3, 0), count_include_pad=False)
    return functional.avg_pool2d(rows, (1, 7), (1, 2), (0, 3), count_include_pad=False)


def flow(found_BHW2: Tensor, true_BHW2: Tensor, known_BHW: Tensor) -> Tensor:
    """Distance between places, in picture sides; linear beyond a hundredth."""
    error = functional.smooth_l1_loss(found_BHW2.float(), true_BHW2.float(), beta=0.02, reduction="none")
    return _mean(error, known_BHW[..., None].float()) / 2


def surface(slices_BDHW: Tensor, ahead_BHW: Tensor) -> Tensor:
    """Cross-entropy of the chosen slice, the truth shared between the two nearest slices.

    Args:
        slices_BDHW: logits.
        ahead_BHW: true place along the screen volume's depth axis; infinity where there is none.
    """
    depth = slices_BDHW.shape[1]
    known = ahead_BHW.isfinite()
    at = ((torch.where(known, ahead_BHW, 0.0) + 1) * depth - 1) / 2
    at = at.clamp(0, depth - 1.001)
    first = at.floor()
    share = (at - first)[:, None]
    chances = slices_BDHW.float().log_softmax(1)
    near = chances.gather(1, first.long()[:, None])
    far = chances.gather(1, first.long()[:, None] + 1)
    # minus the entropy of the truth, so that perfection is zero
    spare = torch.special.entr(share) + torch.special.entr(1 - share)
    return _mean(-(near * (1 - share) + far * share) - spare, known[:, None].float())


def ahead_of_pivot(depth_BHW: Tensor, pose_B6: Tensor, distance_B: Tensor) -> Tensor:
    """Depth in centimetres as a place along the screen volume's depth axis; infinity stays."""
    pivot_B = distance_B * torch.exp(-pose_B6[:, 5])
    return (depth_BHW.float() - pivot_B[:, None, None]) / SCREEN_HALF_DEPTH


def agreement(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy where the truth is known."""
    value = functional.binary_cross_entropy_with_logits(logits.float(), truth.float(), reduction="none")
    return _mean(value, known.float())


def matte(drawn_B1HW: Tensor, parts_BHW: Tensor) -> Tensor:
    """Absolute difference from the person's silhouette."""
    person = (parts_BHW != PART["background"]).float()[:, None]
    return (drawn_B1HW.float() - person).abs().mean()


def coefficients(read_B64: Tensor, true_B64: Tensor) -> Tensor:
    """Huber on the named dimensions of z_dyn; each gaze angle counts like four blendshapes."""
    value = functional.smooth_l1_loss(
        read_B64[:, :NAMED_DIMS].float(), true_B64[:, :NAMED_DIMS].float(), beta=0.1, reduction="none"
    )
    weight = torch.ones(NAMED_DIMS, device=value.device)
    weight[len(BLENDSHAPE_NAMES) :] = 4.0
    return _mean(value, weight[None])


def pose(read_B6: Tensor, true_B6: Tensor) -> Tensor:
    """Geodesic angle of the rotation in radians, plus shift and log size."""
    return rotation_between(read_B6, true_B6).mean() + functional.smooth_l1_loss(
        read_B6[:, 3:].float(), true_B6[:, 3:].float(), beta=0.05
    )


def rotation_between(first_B6: Tensor, second_B6: Tensor) -> Tensor:
    """(B,) angle in radians between two head rotations."""
    a, b = (pose_matrix(p.float(), STANDARD_DISTANCE)[:, :, :3] for p in (first_B6, second_B6))
    # ||A - B||_F = 2 sqrt(2) sin(angle / 2): well-conditioned where the arc cosine of the trace is not
    chord = ((a - b).square().sum((1, 2)) + 1e-8).sqrt() / (2 * math.sqrt(2))
    return 2 * torch.asin(chord.clamp(max=1 - 1e-4))


def same_volume(first_BCDHW: Tensor, second_BCDHW: Tensor, both_B1DHW: Tensor) -> Tensor:
    """Difference of canonical volumes where both were seen, relative to their size."""
    first, second = first_BCDHW.float(), second_BCDHW.float()
    size = (first.square().mean() + second.square().mean()).detach().clamp(min=1e-4)
    return _mean((first - second).square(), both_B1DHW.float()) / size


def unlike(first_BI: Tensor, second_BI: Tensor) -> Tensor:
    """1 - cosine of identity embeddings: l_cross_id."""
    return 1 - functional.cosine_similarity(first_BI.float(), second_BI.float(), dim=1).mean()


def contrast(drawn_BM: Tensor, driver_BM: Tensor) -> Tensor:
    """CosFace over motions: a drawn face's motion is nearer to its own driver's than to the other drivers'."""
    a, b = (functional.normalize(x.float(), dim=1, eps=1e-4) for x in (drawn_BM, driver_BM))
    cosine_BB = a @ b.T
    own = torch.eye(len(a), device=a.device)
    logits = COSFACE_SCALE * (cosine_BB - COSFACE_MARGIN * own)
    return functional.cross_entropy(logits, torch.arange(len(a), device=a.device))


def flicker(drawn_BNCHW: Tensor, true_BNCHW: Tensor) -> Tensor:
    """Changes between drawn frames where the true frames hardly change (two grey levels)."""
    drawn = drawn_BNCHW[:, 1:].float() - drawn_BNCHW[:, :-1].float()
    true = true_BNCHW[:, 1:].float() - true_BNCHW[:, :-1].float()
    still = (true.abs().amax(2, keepdim=True) < 2.5 / 255).float()
    return _mean((drawn - true).abs(), still)


def alike(drawn: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of lists of features, each in units of the true one's size."""
    terms = [
        (a.float() - b.float()).abs().mean() / b.float().abs().mean().detach().clamp(min=1e-3)
        for a, b in zip(drawn, true, strict=True)
    ]
    return torch.stack(terms).mean()


def fools(score: Tensor) -> Tensor:
    """Hinge loss of the generator."""
    return -score.float().mean()


def tells_apart(true_score: Tensor, drawn_score: Tensor) -> Tensor:
    """Hinge loss of the discriminator."""
    return functional.relu(1 - true_score.float()).mean() + functional.relu(1 + drawn_score.float()).mean()


class _Reversed(torch.autograd.Function):
    """The identity whose gradient is turned round."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        """Unchanged."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
        """Negated."""
        return -grad


def turned_round(x: Tensor) -> Tensor:
    """x, with its gradient negated: what learns from it unlearns what is upstream (Ganin et al., 2015)."""
    out: Tensor = _Reversed.apply(x)
    return out


def psnr(drawn: Tensor, true: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels of pictures in [0, 1]."""
    error = (drawn.float() - true.float()).square().mean().item()
    return 10 * math.log10(1 / max(error, 1e-12))
