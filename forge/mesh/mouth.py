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
UPPER_DROP, LOWER_RISE = 0.022, 0.004
"""How far the upper teeth reach below the closed lips' line and the lower teeth above it, rig units."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A flat picture inside the mouth."""

    picture: FloatArray
    """(h, w, 4)."""
    centre: tuple[float, float]
    """Pixel of the layer that lies on its anchor."""


@dataclass(frozen=True, eq=False)
class Mouth:
    """Everything behind one portrait's lips."""

    upper: Layer
    lower: Layer
    tongue: Layer
    dark: FloatArray
    """(3,) colour of the cavity."""
    line: Array
    """(3,) middle of the closed lips in the picture."""
    unit: float
    """Frame pixels of one rig unit."""
    detail: float
    """Layer pixels of one rig unit."""
    axes: Array
    """(3, 3) the head's own axes in the picture."""


def make_mouth(image: FloatArray, head: Head) -> Mouth:
    """Paint the layers for an (S, S, 3) portrait."""
    tooth, flesh = tooth_colour(image, head), lip_colour(image, head)
    lips = [*LOWER_INNER, *UPPER_INNER]
    # layers only a little finer than the frame: drawing them then needs no averaging, and gaps do not flicker
    ratio = min(1.0, 1.2 * head.scale / DETAIL)
    return Mouth(
        upper=reduced(teeth_layer(UPPER_TEETH, 0.125, tooth, flesh, above=True), ratio),
        lower=reduced(teeth_layer(LOWER_TEETH, 0.1, tooth * np.float32(0.84), flesh, above=False), ratio),
        tongue=reduced(tongue_layer(flesh), ratio),
        detail=DETAIL * ratio,
        dark=(flesh * np.float32(0.13)).astype(np.float32),
        line=head.rest[lips].mean(axis=0),
        unit=head.scale,
        axes=head.turn,
    )


def reduced(layer: Layer, ratio: float) -> Layer:
    """The same layer with fewer pixels."""
    h, w = layer.picture.shape[:2]
    size = (max(2, round(w * ratio)), max(2, round(h * ratio)))
    small = cv2.resize(layer.picture, size, interpolation=cv2.INTER_AREA)
    return Layer(np.asarray(small, np.float32), (layer.centre[0] * size[0] / w, layer.centre[1] * size[1] / h))


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
    level = float(np.clip(white.mean() * 1.0, 0.85 * skin.mean(), 215.0))
    tint = white / max(float(white.mean()), 1.0)
    ivory = np.array([1.04, 1.0, 0.93])
    return (level * (0.5 * tint + 0.5 * ivory)).astype(np.float32)


def lip_colour(image: FloatArray, head: Head) -> FloatArray:
    """(3,) the mean colour of the lower lip."""
    lower = np.concatenate([head.source[list(LIPS_OUTER[1:10]), :2], head.source[list(LOWER_INNER[::-1]), :2]])
    return region_colours(image, lower).mean(axis=0).astype(np.float32)


def teeth_layer(widths: tuple[float, ...], height: float, colour: FloatArray, gum: FloatArray, *, above: bool) -> Layer:
    """A row of teeth whose biting edge passes through the layer's centre; `above`: the row hangs down from above."""
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
            drop = (0.0, 0.012, 0.0, 0.014, 0.02)[k]
            x = (columns - middle) / (width / 2)
            y = (edge_y - drop - rows) / height  # 0 at the biting edge, 1 at the gum
            # a tooth: straight sides, rounded towards the gum and at its biting corners
            body = 1 - np.abs(x) ** 6 - np.clip(np.abs(y - 0.45) / 0.46, 0, 2) ** (5 if k < 2 else 3.5)
            inside = np.clip(body * width * scale / 10 + 0.5, 0, 1).astype(np.float32)
            light = 1.0 - 0.16 * x**2 - 0.10 * np.clip(y, 0, 1) - 0.10 * np.clip(0.25 - y, 0, 1)
            far = 1.0 - 0.62 * np.clip(abs(middle) / half_width, 0, 1) ** 1.6
            shade = (light * far)[..., None].astype(np.float32)
            picture[..., :3] += inside[..., None] * (colour * shade - picture[..., :3])
            picture[..., 3] = np.maximum(picture[..., 3], inside)
        left += width
    if not above:
        picture = np.ascontiguousarray(picture[::-1])
        edge_y = h / scale - edge_y
    small = cv2.resize(picture, (w // fine, h // fine), interpolation=cv2.INTER_AREA)
    return Layer(np.asarray(small, np.float32), (w / 2 / fine, edge_y * DETAIL))


def tongue_layer(flesh: FloatArray) -> Layer:
    """The tip and back of a tongue lying in the lower jaw; the centre is the middle of its upper border."""
    w, h = int(0.62 * DETAIL), int(0.34 * DETAIL)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    u, v = (x - w / 2) / (0.25 * DETAIL), (y - 0.17 * DETAIL) / (0.15 * DETAIL)
    inside = np.clip((1 - u**2 - v**2) * 8 + 0.5, 0, 1)
    groove = 1 - 0.14 * np.exp(-((u / 0.07) ** 2))
    light = (0.52 + 0.30 * np.clip(1 - u**2 - (v + 0.1) ** 2, 0, 1)) * groove
    red = (0.6 * flesh + 0.4 * flesh.mean() * np.array([1.35, 0.8, 0.85])).astype(np.float32)
    picture = np.concatenate([red * light[..., None], inside[..., None]], axis=-1)
    return Layer(picture.astype(np.float32), (w / 2, 0.02 * DETAIL))


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
    skull = mouth.line + (UPPER_DROP * down + 0.05 * inwards) * mouth.unit
    jawbone = mouth.line + jaw + (-LOWER_RISE * down + 0.07 * inwards) * mouth.unit
    tongue = jawbone + ((0.03 - 0.05 * tongue_out) * down + 0.08 * inwards) * mouth.unit
    for layer, place in ((mouth.tongue, tongue), (mouth.lower, jawbone), (mouth.upper, skull)):
        shown = project(layer, place, mouth, pose, (x0, y0), size)
        inner = inner + shown[..., 3:] * (shown[..., :3] - inner)
    inner = inner * lip_shadow(mask, mouth.unit * pose.growth)[..., None]
    region = frame[y0:y1, x0:x1]
    blended = region + mask[..., None] * (inner - region)
    frame[y0:y1, x0:x1] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)


def project(
    layer: Layer, place: Array, mouth: Mouth, pose: RigidPose, origin: tuple[int, int], size: tuple[int, int]
) -> FloatArray:
    """A layer as seen in a box of the frame, (h, w, 4)."""
    corners = pose(np.stack([place, place + mouth.axes[:, 0] * mouth.unit, place + mouth.axes[:, 1] * mouth.unit]))
    linear = np.stack([corners[1] - corners[0], corners[2] - corners[0]], axis=1)[:2] / mouth.detail
    shift = corners[0, :2] - linear @ np.array(layer.centre) - origin
    matrix = np.concatenate([linear, shift[:, None]], axis=1)
    drawn = cv2.warpAffine(layer.picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(drawn, np.float32)


def lip_shadow(mask: FloatArray, unit: float) -> FloatArray:
    """(h, w) light inside the mouth: little under the upper lip and in the corners, more towards the lower lip."""
    sigma = max(0.028 * unit, 0.5)
    moved = cv2.warpAffine(mask, np.array([[1.0, 0, 0], [0, 1.0, 1.1 * sigma]]), mask.shape[::-1])
    light = cv2.GaussianBlur(moved, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(0.30 + 0.70 * np.clip(light * 1.15, 0, 1), np.float32)
