"""From a hundred photographed people thousands: shapes between two, skins mixed, hair, clothes and light changed.

    person = cast_person(sorted(folder.glob("*.npz")), seed=4711)      # as many people as there are seeds
    child = widen(first, second, seed=4711)
    light_93 = sample_light(seed=3)
    partner = alike(people, index=0, seed=5)

A child keeps the first parent's hair, clothes and outline; shape and face lie between both. People who are held out mix
only with each other, or the evaluation would know its faces from training.
Axes: V vertices of the head, W of the relief, T triangles, A texture, C canvas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from forge.portrait import ForgeError
from forge.studio.head import PART, HeadModel, load_head
from forge.studio.looks import HAEMOGLOBIN, MELANIN
from forge.studio.photo_light import to_linear
from forge.studio.photo_person import HELD_OUT, HELD_OUT_MARK, PhotoPerson, load_person
from forge.studio.photo_texture import face_surface

Floats = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

NEAR_CENTIMETRES = 5.0
"""How far around the face hair and neck go with a change of its shape."""
PARTNERS = 5
"""So many others are looked at for a partner."""
RIM_TEXELS = 0.06
"""Width, in parts of the texture's side, in which a mixed face goes over to the first parent's at its rim."""


@dataclass(frozen=True)
class Mixture:
    """What is drawn for one child."""

    shape: float
    """Share of the second parent's shape; below 0 and above 1 exaggerates."""
    skin: float
    """Share of the second parent's skin."""
    melanin: float
    blood: float
    hair_gain: tuple[float, float, float]
    cloth_turn: float
    """Degrees by which the colours of the clothes are turned."""
    cloth_gain: float
    wander: float
    """Standard deviation of further identity modes."""


def sample_mixture(seed: int) -> Mixture:
    """Draw a mixture; equal seeds give equal ones."""
    rng = np.random.default_rng([seed, 83])
    warm = rng.normal(0, 0.10)
    dark = np.exp(rng.normal(0, 0.16))
    return Mixture(
        shape=float(rng.uniform(0.2, 0.8)),
        skin=float(rng.uniform(0.0, 0.65)),
        melanin=float(rng.normal(0, 0.10)),
        blood=float(rng.normal(0, 0.10)),
        hair_gain=(float(dark * np.exp(warm)), float(dark), float(dark * np.exp(-warm))),
        cloth_turn=float(rng.uniform(-180, 180) if rng.random() < 0.7 else 0.0),
        cloth_gain=float(np.exp(rng.normal(0, 0.2))),
        wander=0.25,
    )


def widen(first: PhotoPerson, second: PhotoPerson, seed: int, mixture: Mixture | None = None) -> PhotoPerson:
    """A person between two.

    Args:
        first: gives hair, clothes, outline and surroundings.
        second: gives a share of shape and skin.
        seed: number of the new person; from 1,000,000 on exactly when the parents are held out.
        mixture: how; by default drawn by the seed.

    Raises:
        ValueError: when held-out people would be mixed with others.
    """
    held_out = {first.seed >= HELD_OUT, second.seed >= HELD_OUT, seed >= HELD_OUT}
    if len(held_out) > 1:
        raise ValueError(
            f"held-out people mix only with each other, got {first.seed} and {second.seed} for person {seed}"
        )
    mixture = sample_mixture(seed) if mixture is None else mixture
    head = load_head()
    rng = np.random.default_rng([seed, 89])
    identity = first.identity_K + mixture.shape * (second.identity_K - first.identity_K)
    identity = identity + rng.normal(0, mixture.wander, len(identity)).astype(np.float32)
    identity = np.clip(identity, -3.0, 3.0).astype(np.float32)
    residual = first.residual_V3 + mixture.shape * (second.residual_V3 - first.residual_V3)
    lids = first.lid_2V3 + mixture.shape * (second.lid_2V3 - first.lid_2V3)
    moved = _shape(head, identity, residual) - _shape(head, first.identity_K, first.residual_V3)
    tint = np.exp(-(mixture.melanin * MELANIN + mixture.blood * HAEMOGLOBIN)).astype(np.float32)
    skin = _mixed_skin(head, first.skin_3AA, second.skin_3AA, mixture.skin, tint)
    share = mixture.skin
    iris = tuple(float(v) for v in np.array(first.iris) ** (1 - share) * np.array(second.iris) ** share)
    return replace(
        first,
        name=f"{first.name}+{second.name}#{seed}",
        seed=seed,
        identity_K=identity,
        residual_V3=residual.astype(np.float32),
        lid_2V3=lids.astype(np.float32),
        skin_3AA=skin,
        iris=(iris[0], iris[1], iris[2]),
        relief_W3=_carried(head, first, moved),
        picture_4CC=_recoloured(first, mixture, tint),
        parents=(first.name, second.name),
        licence=first.licence if first.licence == second.licence else f"{first.licence} and {second.licence}",
        facts={**first.facts, "mixture": {"shape": mixture.shape, "skin": mixture.skin, "seed": seed}},
    )


def cast_person(files: Sequence[Path], seed: int) -> PhotoPerson:
    """The person of a seed: the saved ones first, then children of them; held-out seeds give held-out people only.

    Args:
        files: of `save_person`, in a fixed order.
        seed: equal seeds give equal people.

    Raises:
        ForgeError: when there are no people on this side.
    """
    held_out = seed >= HELD_OUT
    pool = [path for path in files if path.stem.endswith(HELD_OUT_MARK) == held_out]
    if not pool:
        raise ForgeError(f"no {'held-out ' if held_out else ''}photo people among {len(files)} files; make some first")
    index = seed - HELD_OUT if held_out else seed
    if index < len(pool) or len(pool) == 1:
        return replace(load_person(pool[index % len(pool)]), seed=seed)
    drawn = np.random.default_rng([seed, 103]).permutation(len(pool))[: 1 + PARTNERS]
    people = [load_person(pool[int(i)]) for i in drawn]
    return widen(people[0], alike(people, 0, seed), seed)


def alike(people: Sequence[PhotoPerson], index: int, seed: int) -> PhotoPerson:
    """A partner for one of some people: among the quarter with the most similar skin, of the same sex where told.

    Raises:
        ValueError: when there is nobody else.
    """
    own = people[index]

    def fits(other: PhotoPerson) -> bool:
        return other is not own and (other.seed >= HELD_OUT) == (own.seed >= HELD_OUT)

    others = [other for other in people if fits(other)]
    if not others:
        raise ValueError(f"{own.name}: nobody to mix with among {len(people)} people")
    same = [other for other in others if other.facts.get("gender") == own.facts.get("gender")] or others
    tone = _tone(own)
    nearest = sorted(same, key=lambda other: float(np.abs(np.log(_tone(other) / tone)).sum()))
    chosen = nearest[: max(1, len(nearest) // 4)]
    return chosen[int(np.random.default_rng([seed, 97]).integers(len(chosen)))]


def sample_light(seed: int) -> Floats:
    """(9, 3) log light from a soft key somewhere in front, some fill, a tint; see `photo_light`."""
    rng = np.random.default_rng([seed, 101])
    azimuth, height = rng.uniform(-1.4, 1.4), rng.uniform(-0.2, 1.0)
    # camera space: x right, y down, z away; the direction towards the light
    key = np.array([np.sin(azimuth) * np.cos(height), -np.sin(height), -np.cos(azimuth) * np.cos(height)])
    strength = rng.uniform(0.1, 0.75)
    out = np.zeros((9, 3))
    out[1:4] = strength * key[:, None]
    side = key / np.linalg.norm(key)
    wide = rng.uniform(0.0, 0.35) * strength
    out[4:] = (
        wide
        * np.array(
            [
                side[0] * side[1],
                side[1] * side[2],
                0.5 * (3 * side[2] ** 2 - 1),
                side[0] * side[2],
                side[0] ** 2 - side[1] ** 2,
            ]
        )[:, None]
    )
    tint = rng.normal(0, 0.12, 3)
    out[1:4] *= 1.0 + (tint - tint.mean())
    # a face seen from the front keeps its brightness
    ahead = -out[3] + out[6]
    out[0] = -ahead + rng.normal(0, 0.06)
    return out.astype(np.float32)


def _shape(head: HeadModel, identity_K: Floats, residual_V3: Floats) -> Floats:
    shape = head.shape(torch.from_numpy(identity_K)[None])[0].numpy()
    return np.asarray(shape + residual_V3, np.float32)


def _carried(head: HeadModel, person: PhotoPerson, moved_V3: Floats) -> Floats:
    """The relief, moved along with the skin nearest to it."""
    skin = np.unique(head.triangles_T3.numpy()[face_surface(head).triangle_T])
    at = _shape(head, person.identity_K, person.residual_V3)[skin]
    away, nearest = cKDTree(at).query(person.relief_W3, k=12)
    weight = 1.0 / (away**2 + 0.25)
    pull = (moved_V3[skin][nearest] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
    share = np.exp(-((away[:, :1] / NEAR_CENTIMETRES) ** 2))
    return np.asarray(person.relief_W3 + share * pull, np.float32)


def _mixed_skin(head: HeadModel, first: UInt8Array, second: UInt8Array, share: float, tint: Floats) -> UInt8Array:
    """Two faces laid flat, mixed: the second is brought to the first one's colours, and fades out towards the rim."""
    a, b = (to_linear(v.transpose(1, 2, 0)) for v in (first, second))
    surface = face_surface(head)
    inner = np.zeros((surface.side, surface.side), np.float32)
    inner.reshape(-1)[surface.texel_N[surface.inner_N]] = 1.0
    size = max(3, round(RIM_TEXELS * surface.side)) | 1
    mask = cv2.blur(cv2.erode(inner, np.ones((size, size), np.uint8)), (size, size))[..., None]
    inside = inner > 0
    low, high = 0.004, 0.98
    log_a, log_b = (np.log(np.clip(v, low, high)) for v in (a, b))
    mean_a, mean_b = log_a[inside].mean(axis=0), log_b[inside].mean(axis=0)
    mixed = log_a + share * mask * (log_b - mean_b + mean_a - log_a)
    return _srgb(np.exp(mixed) * tint)


def _recoloured(person: PhotoPerson, mixture: Mixture, tint: Floats) -> UInt8Array:
    """The relief's picture with its skin, hair and clothes in other colours."""
    side = person.picture_4CC.shape[1]
    masks = np.zeros((3, side, side), np.uint8)
    kinds = {PART["skin"]: 0, PART["neck"]: 0, PART["hair"]: 1, PART["cloth"]: 2}
    corners = np.round(person.relief_uv_W2[person.relief_triangles_T3] * side).astype(np.int32)
    # the second half of the triangles is the back, which lies over the same pixels
    for part, corner in zip(person.relief_part_T[: len(corners) // 2], corners[: len(corners) // 2], strict=True):
        if int(part) in kinds:
            cv2.fillConvexPoly(masks[kinds[int(part)]], corner, 255)
    skin, hair, cloth = (cv2.GaussianBlur(mask, (0, 0), 2.0).astype(np.float32)[..., None] / 255 for mask in masks)
    picture = person.picture_4CC[:3].transpose(1, 2, 0)
    hsv = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = ((hsv[..., 0].astype(np.int32) + round(mixture.cloth_turn / 2)) % 180).astype(np.uint8)
    turned = to_linear(np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)) * mixture.cloth_gain
    colour = to_linear(picture)
    total = np.maximum(skin + hair + cloth, 1.0)
    mixed = colour * (1 - np.minimum(skin + hair + cloth, 1.0))
    mixed = (
        mixed
        + (skin * colour * tint + hair * colour * np.array(mixture.hair_gain, np.float32) + cloth * turned) / total
    )
    return np.concatenate([_srgb(mixed), person.picture_4CC[3:]])


def _tone(person: PhotoPerson) -> Floats:
    """(3,) linear colour of the middle of the face."""
    side = person.skin_3AA.shape[1]
    middle = person.skin_3AA[:, int(0.35 * side) : int(0.7 * side) : 4, int(0.3 * side) : int(0.7 * side) : 4]
    return np.asarray(np.median(to_linear(middle.reshape(3, -1).T), axis=0) + 1e-3, np.float32)


def _srgb(linear_HW3: Floats) -> UInt8Array:
    value = np.clip(linear_HW3, 0.0, 1.0)
    coded = np.where(value <= 0.0031308, 12.92 * value, 1.055 * np.maximum(value, 1e-6) ** (1 / 2.4) - 0.055)
    return np.ascontiguousarray((coded * 255).round().astype(np.uint8).transpose(2, 0, 1))
