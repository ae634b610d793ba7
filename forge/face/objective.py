"""What one batch of lessons teaches: every loss of the face by name, already weighted.

Axes: B sources, N targets of a source, R = B * N drawn frames, c the first sources of a batch that also go through the
disentanglement losses. Names of losses are the fields of `recipes.LossWeights`.

How the two losses of VASA-1 (section 3.1) appear here:
    l_consist   frames i, j of one take: D(V_j, id_j, pose_i, dyn_j) must match D(V_i, id_i, pose_i, dyn_j)
    l_cross_id  exact form: where the studio filmed another person in the same motion, that person's picture drives
                (E_mot reads it) and the drawn frame is compared with the truth pixel by pixel;
                the paper's form: the person next in the batch drives, and RenderNet must still see the source
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forge.face import losses
from forge.face.appearance import Appearance
from forge.face.critic import IdentityProbe, PatchCritic
from forge.face.decoder import Drawn
from forge.face.model import FaceModel
from forge.face.motion_encoder import NAMED_DIMS
from forge.face.recipes import FaceRecipe, LossWeights
from forge.face.reel import Lessons
from forge.face.render_net import RenderNet
from forge.face.sampling import picture_grid
from forge.motion.features import POSE
from forge.studio.head import PART

ELSEWHERE = ("background",)
"""Parts that move with neither head nor torso: no flow is asked of the warps there."""


@dataclass(frozen=True)
class Aids:
    """Networks that help to teach and are thrown away, and the reader that judges likeness."""

    probe: IdentityProbe
    critic: PatchCritic
    reader: RenderNet | None = None
    """RenderNet A, frozen; None leaves the perceptual and identity losses out."""


@dataclass(frozen=True)
class Motions:
    """What the batch is warped with: partly true, partly read by E_mot."""

    source_pose_B6: Tensor
    source_dyn_B64: Tensor
    target_pose_R6: Tensor
    target_dyn_R64: Tensor
    read_BM: Tensor
    """As read off sources, then drivers: (B + R, 70)."""


@dataclass(frozen=True)
class Outcome:
    """What a batch gave: weighted losses by name, and the pictures for the discriminator and the contact sheet."""

    terms: dict[str, Tensor]
    drawn_R3HW: Tensor
    true_R3HW: Tensor


def teach(
    model: FaceModel,
    aids: Aids,
    lessons: Lessons,
    recipe: FaceRecipe,
    *,
    adversarial: bool = False,
    cross: bool = True,
) -> Outcome:
    """All losses of a batch; their sum is to be made smaller.

    Args:
        model: in training mode.
        aids: reader frozen; the critic's own loss is `critic_loss`.
        lessons: from `Reel.lessons`.
        recipe: weights; a weight of zero leaves the work undone.
        adversarial: whether the discriminator has a say yet.
        cross: whether the disentanglement losses, which cost further passes, are due.
    """
    weights = recipe.weights
    source = _unit(lessons.source_B3HW)
    targets = lessons.target_BN3HW.shape[1]
    true = _unit(lessons.target_BN3HW.flatten(0, 1))
    distance_R = lessons.distance_B.repeat_interleave(targets)
    motions = read_motions(model, lessons, source, recipe.true_motion_share)
    appearance = model.see(source, motions.source_pose_B6, motions.source_dyn_B64, lessons.distance_B)
    drawn = model.draw_all(appearance, motions.target_pose_R6, motions.target_dyn_R64, distance_R)
    terms = _picture_terms(drawn, true, lessons, weights)
    terms |= _geometry_terms(model, appearance, drawn, motions, lessons, weights)
    terms |= _reading_terms(model, aids, appearance, motions, lessons, weights)
    if aids.reader is not None and weights.perceptual + weights.likeness > 0:
        terms |= _reader_terms(aids.reader, drawn.image_N3HW, true, weights)
    if cross and recipe.cross and weights.consist + weights.cross_identity + weights.canonical + weights.contrast > 0:
        part = _first(lessons, recipe.cross)
        # another batch size: not worth a compilation of its own
        with torch.compiler.set_stance("force_eager") if source.is_cuda else nullcontext():
            terms |= _cross_terms(model, aids, appearance, motions, part, weights)
    if adversarial and weights.adversarial + weights.matching > 0:
        score, features = aids.critic(drawn.image_N3HW)
        with torch.no_grad():
            _, wanted = aids.critic(true)
        terms["adversarial"] = weights.adversarial * losses.fools(score)
        terms["matching"] = weights.matching * losses.alike(features, wanted)
    return Outcome(terms, drawn.image_N3HW, true)


def critic_loss(critic: PatchCritic, outcome: Outcome) -> Tensor:
    """The discriminator's own loss on a batch already drawn."""
    true_score, _ = critic(outcome.true_R3HW)
    drawn_score, _ = critic(outcome.drawn_R3HW.detach())
    return losses.tells_apart(true_score, drawn_score)


def read_motions(model: FaceModel, lessons: Lessons, source_B3HW: Tensor, true_share: float) -> Motions:
    """E_mot on sources and drivers, and the mixture of truth and reading that the warps are given."""
    batch, targets = lessons.target_BN3HW.shape[:2]
    drivers = _unit(lessons.driver_BN3HW.flatten(0, 1))
    pose, dyn = model.read_motion(torch.cat([source_B3HW, drivers]))
    true_BM = torch.cat([lessons.source_motion_BM, lessons.target_motion_BNM.flatten(0, 1)])
    given = torch.rand(len(pose), 1, device=pose.device) < true_share
    # a crossed driver is there to be read
    crossed = lessons.crossed_B.repeat_interleave(targets)[:, None]
    given = torch.cat([given[:batch], given[batch:] & ~crossed])
    used_pose = torch.where(given, true_BM[:, POSE], pose)
    true_dyn = torch.cat([true_BM[:, POSE.stop : POSE.stop + NAMED_DIMS], dyn[:, NAMED_DIMS:]], 1)
    used_dyn = torch.where(given, true_dyn, dyn)
    return Motions(used_pose[:batch], used_dyn[:batch], used_pose[batch:], used_dyn[batch:], torch.cat([pose, dyn], 1))


def _picture_terms(drawn: Drawn, true: Tensor, lessons: Lessons, weights: LossWeights) -> dict[str, Tensor]:
    """Losses that compare pictures."""
    parts = lessons.target_parts_BNHW.flatten(0, 1)
    weight = losses.part_weights(parts, weights.background)
    image = drawn.image_N3HW
    terms = {
        "pixels": weights.pixels * losses.charbonnier(image, true, weight),
        "detail": weights.detail * losses.detail(image, true, weight),
        "structure": weights.structure * losses.structure(image, true, weight),
        "matte": weights.matte * losses.matte(drawn.matte_N1HW, parts),
    }
    if weights.squared > 0:
        terms["squared"] = weights.squared * (image.float() - true).square().mean()
    if weights.painted > 0:
        terms["painted"] = weights.painted * losses.charbonnier(drawn.painted_N3HW, true, weight)
    targets = lessons.target_BN3HW.shape[1]
    if targets > 1 and weights.flicker > 0:
        pair = (-1, targets, *image.shape[1:])
        terms["flicker"] = weights.flicker * losses.flicker(image.view(pair), true.view(pair))
    return terms


def _geometry_terms(
    model: FaceModel,
    appearance: Appearance,
    drawn: Drawn,
    motions: Motions,
    lessons: Lessons,
    weights: LossWeights,
) -> dict[str, Tensor]:
    """Losses that compare places: through the warps alone, and what the decoder made of them."""
    targets = lessons.target_BN3HW.shape[1]
    distance_R = lessons.distance_B.repeat_interleave(targets)
    where = lessons.where_BNhw2.flatten(0, 1)
    visible = lessons.visible_BNhw.flatten(0, 1)
    depth = lessons.target_depth_BNhw.flatten(0, 1)
    true_pose = lessons.target_motion_BNM.flatten(0, 1)[:, POSE]
    ahead = losses.ahead_of_pivot(depth, true_pose, distance_R)
    centre = slice(2, None, 4)
    parts = lessons.target_parts_BNHW.flatten(0, 1)[:, centre, centre]
    moves = ahead.isfinite()
    for name in ELSEWHERE:
        moves = moves & (parts != PART[name])
    grid = picture_grid(where.shape[1], where.shape[2], where.device).expand(len(where), -1, -1, -1)
    screen = torch.cat([grid, torch.where(moves, ahead, 0.0)[..., None]], -1)
    exact = model.flow_of(appearance, screen, motions.target_pose_R6, motions.target_dyn_R64, distance_R)
    close = moves.float() * losses.part_weights(parts)[:, 0].clamp(max=4.0)
    terms = {
        "flow": weights.flow * losses.flow(exact[..., :2], where, close),
        "fine_flow": weights.flow * losses.flow(drawn.fine_NHW2, where, close),
        "surface": weights.surface
        * losses.surface(drawn.depth_logits_NDHW, torch.where(moves, ahead, torch.inf)[:, ::2, ::2]),
    }
    here = parts[:, ::2, ::2] == PART["background"]
    there = lessons.source_parts_BHW[:, 4::8, 4::8].repeat_interleave(targets, 0) == PART["background"]
    seen = visible[:, ::2, ::2]
    wanted = torch.stack([seen, seen, here & there, here & there], 1)
    terms["seen"] = weights.seen * losses.agreement(drawn.seen_logits_N4HW, wanted, torch.ones_like(wanted))
    return terms


def _reading_terms(
    model: FaceModel, aids: Aids, appearance: Appearance, motions: Motions, lessons: Lessons, weights: LossWeights
) -> dict[str, Tensor]:
    """Losses of the encoders' codes."""
    true_BM = torch.cat([lessons.source_motion_BM, lessons.target_motion_BNM.flatten(0, 1)])
    read_pose, read_dyn = motions.read_BM[:, POSE], motions.read_BM[:, POSE.stop :]
    modes = model.warp.shape_of(appearance.identity_BI.float())
    terms = {
        "motion": weights.motion * losses.coefficients(read_dyn, true_BM[:, POSE.stop :]),
        "pose": weights.pose * losses.pose(read_pose, true_BM[:, POSE]),
        "free": weights.free * read_dyn[:, NAMED_DIMS:].square().mean(),
        "shape": weights.shape
        * torch.nn.functional.smooth_l1_loss(modes, lessons.shape_BK[:, : modes.shape[1]], beta=0.5),
    }
    if weights.reversal > 0:
        targets = lessons.target_BN3HW.shape[1]
        batch = len(lessons.source_B3HW)
        # only frames of the person whose identity is guessed; crossed drivers show another one
        own = motions.read_BM[batch:, POSE.stop :]
        guess = aids.probe(losses.turned_round(own))
        who = appearance.identity_BI.detach().repeat_interleave(targets, 0)
        near = torch.nn.functional.cosine_similarity(guess, who, dim=1)
        keep = (~lessons.crossed_B).repeat_interleave(targets).float()
        terms["reversal"] = weights.reversal * ((1 - near) * keep).sum() / keep.sum().clamp(min=1)
    return terms


def _reader_terms(reader: RenderNet, image: Tensor, true: Tensor, weights: LossWeights) -> dict[str, Tensor]:
    """Perceptual and identity losses."""
    with torch.no_grad():
        wanted = reader.features(true)
        person = reader.embed(wanted)
    found = reader.features(image)
    terms = {"perceptual": weights.perceptual * losses.alike(found, wanted)}
    if weights.likeness > 0:
        terms["likeness"] = weights.likeness * losses.unlike(reader.embed(found), person)
    return terms


def _cross_terms(
    model: FaceModel, aids: Aids, appearance: Appearance, motions: Motions, part: Lessons, weights: LossWeights
) -> dict[str, Tensor]:
    """l_consist, l_cross_id as in the paper, agreement of canonical volumes, contrast of motions."""
    count, targets = part.target_BN3HW.shape[:2]
    first = appearance[:count]
    pose_i = motions.source_pose_B6[:count]
    pose_j, dyn_j = part.target_motion_BNM[:, 0, POSE], motions.target_dyn_R64[: count * targets : targets]
    frame_j = _unit(part.target_BN3HW[:, 0])
    terms: dict[str, Tensor] = {}
    if weights.consist + weights.canonical > 0:
        second = model.see(frame_j, pose_j, dyn_j, part.distance_B)
        both = ((first.whence_B3DHW.abs() < 1) & (second.whence_B3DHW.abs() < 1)).all(1, keepdim=True)
        agree = losses.same_volume(first.volume_BCDHW, second.volume_BCDHW, both)
        terms["canonical"] = weights.canonical * agree
        by_i = model.draw_all(first, pose_i, dyn_j, part.distance_B)
        by_j = model.draw_all(second, pose_i, dyn_j, part.distance_B)
        person = torch.maximum(by_i.matte_N1HW, by_j.matte_N1HW).detach().float()
        terms["consist"] = weights.consist * (
            losses.charbonnier(by_j.image_N3HW, by_i.image_N3HW, person)
            + losses.detail(by_j.image_N3HW, by_i.image_N3HW, person)
        )
    if count > 1 and weights.cross_identity + weights.contrast > 0:
        other_pose, other_dyn = pose_j.roll(1, 0), dyn_j.roll(1, 0)
        crossed = model.draw(first, other_pose, other_dyn, part.distance_B)
        if aids.reader is not None and weights.cross_identity > 0:
            with torch.no_grad():
                person_B = aids.reader.embed(aids.reader.features(_unit(part.source_B3HW)))
            drawn_B = aids.reader.embed(aids.reader.features(crossed))
            terms["cross_identity"] = weights.cross_identity * losses.unlike(drawn_B, person_B)
        if weights.contrast > 0:
            _, read = model.read_motion(crossed)
            terms["contrast"] = weights.contrast * losses.contrast(read, other_dyn.detach())
    return terms


def _first(lessons: Lessons, count: int) -> Lessons:
    """The first sources of a batch."""
    return replace(lessons, **{name: value[:count] for name, value in vars(lessons).items()})


def _unit(image: Tensor) -> Tensor:
    """uint8 to [0, 1]."""
    return image.float() / 255
