"""What is seen between parted lips: a dark cavity, teeth, tongue and the shadow of the upper lip.

    mouth = make_mouth(image, head)
    draw_mouth(frame, mouth, placed, anchors, pose)     # in place

Upper teeth belong to the skull, lower teeth and tongue to the jaw. Colours come from the portrait: teeth are as
white as its eyes are, flesh has the hue of its lips; so a marble head gets marble teeth.

Axes: frame pixels; layers are float32 RGBA, colours in [0, 255], opacity in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.mesh.curves import box_around, outline_of, soft_mask
from forge.mesh.fit import LOWER_INNER, UPPER_INNER, Head
from forge.mesh.warp import RigidPose
from media.landmarks import LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

DETAIL = 360
"""Pixels of a layer for one rig unit (the distance between the outer eye corners, about 90 millimetres)."""
UPPER_TEETH = (0.096, 0.073, 0.082, 0.072, 0.07)
"""Widths from the middle outwards, rig units: incisors, canine, premolars."""
LOWER_TEETH = (0.058, 0.063, 0.073, 0.073, 0.07)
UPPER_DROP, LOWER_RISE = 0.046, -0.03
"""How far the upper teeth reach below the closed lips' line and the lower teeth above it, rig units."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A flat picture inside the mouth."""

    picture: FloatArray
    """(h, w, 4)."""
    centre: tuple[float, float]
    """Pixel of the layer that lies on its anchor."""
    axes: Array
    """(2, 3) frame pixels by which a step to the right and a step down in the layer move, on the unturned head."""


@dataclass(frozen=True, eq=False)
class Mouth:
    """Everything behind one portrait's lips."""

    upper: Layer
    own: Layer | None
    """The teeth that the portrait shows itself, in front of the painted ones."""
    own_place: Array
    """(3,) where they are."""
    drop: float
    """How far the painted upper teeth reach below the closed lips' line, rig units; own ones hide their edge."""
    lower: Layer
    tongue: Layer
    dark: FloatArray
    """(3,) colour of the cavity."""
    line: Array
    """(3,) middle of the closed lips in the picture."""
    unit: float
    """Frame pixels of one rig unit."""
    axes: Array
    """(3, 3) the head's own axes in the picture."""


def make_mouth(image: FloatArray, head: Head) -> Mouth:
    """Paint the layers for an (S, S, 3) portrait."""
    tooth, flesh = tooth_colour(image, head), lip_colour(image, head)
    own = own_teeth(image, head)
    lips = [*LOWER_INNER, *UPPER_INNER]
    drop = UPPER_DROP
    own_place, line = head.source[lips].mean(axis=0), head.rest[lips].mean(axis=0)
    if own is not None:
        shown = own.picture[own.picture[..., 3] > 0.9][:, :3]
        grey = shown.mean(axis=1)
        tooth = shown[(grey >= np.quantile(grey, 0.5)) & (grey <= np.quantile(grey, 0.9))].mean(axis=0)
        # the picture's lips close over its teeth wherever they meet; the teeth must still reach a little below them
        down = head.turn[:, 1]
        below = (own_place - line) @ down + biting_edge(own) * down[1]
        drop = max(UPPER_DROP, float(below) / head.scale)
        own_place = own_place + (drop * head.scale - float(below)) * down
    return Mouth(
        upper=sized(teeth_picture(UPPER_TEETH, 0.125, tooth, flesh, above=True), head),
        own=own,
        own_place=own_place,
        drop=drop if own is None else drop - 0.015,
        lower=sized(teeth_picture(LOWER_TEETH, 0.1, tooth * np.float32(0.84), flesh, above=False), head),
        tongue=sized(tongue_picture(flesh), head),
        dark=(flesh * np.float32(0.13)).astype(np.float32),
        line=line,
        unit=head.scale,
        axes=head.turn,
    )


def sized(painted: tuple[FloatArray, tuple[float, float]], head: Head) -> Layer:
    """A layer from a picture painted at `DETAIL` pixels a rig unit, and its centre.

    It is kept only a little finer than the frame: drawing it then needs no averaging, and the gaps between teeth do not
    flicker.
    """
    picture, centre = painted
    ratio = min(1.0, 1.2 * head.scale / DETAIL)
    h, w = picture.shape[:2]
    size = (max(2, round(w * ratio)), max(2, round(h * ratio)))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
    axes = head.turn[:, :2].T * (head.scale / (DETAIL * ratio))
    return Layer(small, (centre[0] * size[0] / w, centre[1] * size[1] / h), axes)


def own_teeth(image: FloatArray, head: Head) -> Layer | None:
    """The teeth that a smiling portrait shows, cut out; None when it shows none."""
    gap = (head.source[list(LOWER_INNER)] - head.source[list(UPPER_INNER)]) @ head.turn[:, 1]
    if gap.max() < 0.05 * head.scale:
        return None
    outline = outline_of(head.source, LIPS_INNER)
    box = box_around(outline, 3, image.shape[0])
    x0, y0, x1, y1 = box
    inside = soft_mask(outline, box)
    patch = image[y0:y1, x0:x1]
    skin = float(region_colours(image, head.source[[50, 280, 205, 425], :2]).mean())
    lips = lip_colour(image, head)
    redness = (patch[..., 0] - patch[..., 1:].mean(axis=-1)) / np.maximum(patch.mean(axis=-1), 1)
    lip_redness = (lips[0] - lips[1:].mean()) / max(float(lips.mean()), 1.0)
    white = (patch.mean(axis=-1) > 0.55 * skin) & (redness < 0.6 * lip_redness + 0.02)
    if (white * inside).sum() < 0.45 * inside.sum():
        return None
    # gaps between teeth are closed over, the seam of lip and shadow around the row is left out
    wide = max(3, round(0.05 * head.scale)) | 1
    row = cv2.morphologyEx((white & (inside > 0.5)).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((wide, wide), np.uint8))
    row = cv2.morphologyEx(row, cv2.MORPH_OPEN, np.ones((wide, wide), np.uint8))
    thin = cv2.erode(inside * row, np.ones((3, 3), np.uint8))
    cover = np.clip(cv2.GaussianBlur(thin, (0, 0), 0.8) * 1.6 - 0.3, 0, 1)
    solid = (cover > 0.9).sum(axis=0)
    if solid.sum() < 12 or np.median(solid[solid > 0]) < 0.05 * head.scale or (solid > 0).sum() < 0.28 * head.scale:
        return None  # a strip too thin to be moved about without looking broken
    lips_at = head.source[[*LOWER_INNER, *UPPER_INNER]].mean(axis=0)
    forward = head.turn[:, 2]
    slope = -forward[:2] / max(float(forward[2]), 0.3)  # a card that faces where the head faces
    axes = np.array([[1.0, 0.0, slope[0]], [0.0, 1.0, slope[1]]])
    picture = np.concatenate([patch, cover[..., None]], axis=-1).astype(np.float32)
    return Layer(picture, (float(lips_at[0] - x0), float(lips_at[1] - y0)), axes)


def biting_edge(teeth: Layer) -> float:
    """Pixels from a layer's centre down to where its middle teeth end."""
    w = teeth.picture.shape[1]
    middle = teeth.picture[:, int(0.3 * w) : max(int(0.7 * w), int(0.3 * w) + 1), 3] > 0.5
    ends = [int(np.flatnonzero(column)[-1]) for column in middle.T if column.any()]
    return float(np.median(ends)) - teeth.centre[1] if ends else 0.0


def region_colours(image: FloatArray, outline: Array) -> FloatArray:
    """(N, 3) colours inside an outline."""
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
    colours = image[mask > 0]
    return colours if len(colours) else image.reshape(-1, 3)


def tooth_colour(image: FloatArray, head: Head) -> FloatArray:
    """(3,) the colour of this portrait's teeth: the bright part of its eyes, never much darker than its skin."""
    eyes = np.concatenate([region_colours(image, outline_of(head.source, ring)) for ring in (RIGHT_EYE, LEFT_EYE)])
    grey = eyes.mean(axis=1)
    white = eyes[grey >= np.quantile(grey, 0.7)].mean(axis=0)
    cheeks = head.source[[50, 280, 205, 425], :2]
    skin = region_colours(image, cheeks).mean(axis=0)
    gap = (head.source[list(LOWER_INNER)] - head.source[list(UPPER_INNER)]) @ head.turn[:, 1]
    if gap.max() > 0.03 * head.scale:  # what shines between parted lips are teeth
        inside = region_colours(image, outline_of(head.source, LIPS_INNER))
        shine = inside[inside.mean(axis=1) >= np.quantile(inside.mean(axis=1), 0.75)].mean(axis=0)
        if shine.mean() > white.mean() and shine[0] < 1.25 * shine[1:].mean():
            white = shine
    level = float(np.clip(white.mean() * 1.1, 1.0 * skin.mean(), 222.0))
    tint = white / max(float(white.mean()), 1.0)
    ivory = np.array([1.04, 1.0, 0.93])
    return np.asarray(level * (0.5 * tint + 0.5 * ivory), np.float32)


def lip_colour(image: FloatArray, head: Head) -> FloatArray:
    """(3,) the mean colour of the lower lip."""
    lower = np.concatenate([head.source[list(LIPS_OUTER[1:10]), :2], head.source[list(LOWER_INNER[::-1]), :2]])
    return np.asarray(region_colours(image, lower).mean(axis=0), np.float32)


def teeth_picture(
    widths: tuple[float, ...], height: float, colour: FloatArray, gum: FloatArray, *, above: bool
) -> tuple[FloatArray, tuple[float, float]]:
    """A row of teeth, and a point on its biting edge; `above`: the row hangs down from above."""
    fine = 2
    scale = DETAIL * fine
    half_width = sum(widths)
    w, h = int(2.1 * half_width * scale), int(1.9 * height * scale)
    rows = np.arange(h)[:, None] / scale
    columns = (np.arange(w)[None, :] - w / 2) / scale
    edge_y = 1.55 * height
    picture = np.zeros((h, w, 4), np.float32)
    picture[..., :3] = gum * np.float32(0.62)
    picture[..., 3] = np.clip((edge_y - 0.75 * height - rows) * scale / 6 + 0.5, 0, 1) * (np.abs(columns) < half_width)
    left = 0.0
    for k, width in enumerate(widths):
        for side in (-1, 1):
            middle = side * (left + width / 2)
            drop = ((0.0, 0.009, 0.003, 0.013, 0.02) if above else (0.0, 0.002, 0.005, 0.012, 0.018))[k]
            x = (columns - middle) / (width / 2)
            y = (edge_y - drop - rows) / height  # 0 at the biting edge, 1 at the gum
            # a tooth: straight sides, rounded towards the gum and at its biting corners
            body = 1 - np.abs(x) ** 10 - np.clip(np.abs(y - 0.45) / 0.46, 0, 2) ** (8 if k < 2 else 5)
            inside = np.clip(body * width * scale / 10 + 0.5, 0, 1).astype(np.float32)
            light = 1.0 - 0.16 * x**2 - 0.10 * np.clip(y, 0, 1) - 0.10 * np.clip(0.25 - y, 0, 1)
            far = 1.0 - 0.55 * np.clip(abs(middle) / half_width, 0, 1) ** 1.6
            shade = (light * far)[..., None].astype(np.float32)
            picture[..., :3] += inside[..., None] * (colour * shade - picture[..., :3])
            picture[..., 3] = np.maximum(picture[..., 3], inside)
        left += width
    if not above:
        picture = np.ascontiguousarray(picture[::-1])
        edge_y = h / scale - edge_y
    small = cv2.resize(picture, (w // fine, h // fine), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32), (w / 2 / fine, edge_y * DETAIL)


def tongue_picture(flesh: FloatArray) -> tuple[FloatArray, tuple[float, float]]:
    """The tip and back of a tongue lying in the lower jaw, and the middle of its upper border."""
    w, h = int(0.66 * DETAIL), int(0.46 * DETAIL)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    u, v = (x - w / 2) / (0.28 * DETAIL), (y - 0.22 * DETAIL) / (0.2 * DETAIL)
    inside = np.clip((1 - u**2 - v**2) * 8 + 0.5, 0, 1)
    groove = 1 - 0.14 * np.exp(-((u / 0.07) ** 2))
    light = (0.30 + 0.38 * np.clip(1 - u**2 - (v - 0.15) ** 2, 0, 1)) * groove
    red = (0.6 * flesh + 0.4 * flesh.mean() * np.array([1.35, 0.8, 0.85])).astype(np.float32)
    picture = np.concatenate([red * light[..., None], inside[..., None]], axis=-1)
    return picture.astype(np.float32), (w / 2, 0.02 * DETAIL)


def draw_mouth(frame: UInt8Array, mouth: Mouth, placed: Array, jaw: Array, pose: RigidPose, tongue_out: float) -> None:
    """Draw the inside of the mouth between the lips of an (S, S, 3) frame, in place.

    Args:
        frame: the warped portrait.
        mouth: of `make_mouth`.
        placed: (V, 3) vertices of this frame.
        jaw: (3,) displacement of the lower teeth before the head turned.
        pose: of this frame.
        tongue_out: 0 to 1.
    """
    outline = outline_of(placed, LIPS_INNER)
    box = box_around(outline, 2, frame.shape[0])
    x0, y0, x1, y1 = box
    upper, lower = placed[list(UPPER_INNER), :2], placed[list(LOWER_INNER), :2]
    if float(np.linalg.norm(upper - lower, axis=1).max()) < 0.35 or x1 - x0 < 3 or y1 - y0 < 3:
        return
    mask = soft_mask(outline, box, softness=0.45)
    size = (x1 - x0, y1 - y0)
    inner = np.broadcast_to(mouth.dark, (*mask.shape, 3)).astype(np.float32)
    down, inwards = mouth.axes[:, 1], mouth.axes[:, 2]
    skull = mouth.line + (mouth.drop * down + 0.05 * inwards) * mouth.unit
    jawbone = mouth.line + jaw + (-LOWER_RISE * down + 0.07 * inwards) * mouth.unit
    tongue = jawbone + ((-0.095 - 0.03 * tongue_out) * down + 0.08 * inwards) * mouth.unit
    layers = [(mouth.tongue, tongue), (mouth.lower, jawbone), (mouth.upper, skull)]
    if mouth.own is not None:
        layers.append((mouth.own, mouth.own_place))
    for layer, place in layers:
        shown = project(layer, place, pose, (x0, y0), size)
        inner = inner + shown[..., 3:] * (shown[..., :3] - inner)
    inner = inner * lip_shadow(mask, mouth.unit * pose.growth)[..., None]
    region = frame[y0:y1, x0:x1]
    blended = region + mask[..., None] * (inner - region)
    frame[y0:y1, x0:x1] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)


def project(layer: Layer, place: Array, pose: RigidPose, origin: tuple[int, int], size: tuple[int, int]) -> FloatArray:
    """A layer as seen in a box of the frame, (h, w, 4)."""
    reach = 0.5 * layer.picture.shape[1]
    corners = pose(np.stack([place, place + layer.axes[0] * reach, place + layer.axes[1] * reach]))
    linear = np.stack([corners[1] - corners[0], corners[2] - corners[0]], axis=1)[:2] / reach
    shift = corners[0, :2] - linear @ np.array(layer.centre) - origin
    matrix = np.concatenate([linear, shift[:, None]], axis=1)
    drawn = cv2.warpAffine(layer.picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(drawn, np.float32)


def lip_shadow(mask: FloatArray, unit: float) -> FloatArray:
    """(h, w) light inside the mouth: little under the upper lip and in the corners, more towards the lower lip."""
    sigma = max(0.028 * unit, 0.5)
    moved = cv2.warpAffine(mask, np.array([[1.0, 0, 0], [0, 1.0, 1.1 * sigma]]), mask.shape[::-1])
    light = cv2.GaussianBlur(moved, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(0.6 + 0.4 * np.clip(light * 1.3, 0, 1), np.float32)
