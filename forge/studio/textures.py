"""The surface of one rendered person, painted once: skin, lips, brows, eyes, teeth, hair and cloth in one atlas.

    atlas = bake_atlas(sample_look(7), side=512)       # about a second; every frame only looks it up

All noise is three-dimensional and taken at places on the mean head, so no seam shows and nothing swims.
Axes: A atlas side, N covered texels of the skin. Colours are linear RGB, lengths cm.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from forge.studio.growth import beard_area, ramp, scalp_density
from forge.studio.head import PARTS
from forge.studio.looks import HAEMOGLOBIN, MELANIN, Atlas, Look, skin_colour
from forge.studio.noise import Noise
from forge.studio.regions import EYE_REACH, FLAT_CELLS, LAYOUT, Skin, skin_map

DEEPEST_FOLD_CM = 0.05
IRIS_DEGREES = 24.5
"""Half angle of the iris seen from the eyeball's centre."""


def bake_atlas(look: Look, side: int = 512) -> Atlas:
    """Paint a person.

    Args:
        look: whose surface.
        side: pixels a side of the square atlas; 512 suits pictures of 256 pixels, 1024 those of 512.
    """
    skin, noise = skin_map(side), Noise(look.seed)
    albedo = torch.full((3, side * side), 0.2)
    surface = torch.zeros(4, side * side)
    colour, gloss, height = paint_skin(look, skin, noise)
    paint_mouth(look, skin, noise, colour, gloss)
    albedo[:, skin.texel_N] = colour
    surface[0, skin.texel_N] = gloss
    surface[1:, skin.texel_N] = relief(height, skin, side)
    albedo, surface = albedo[:, skin.fill_AA.reshape(-1)], surface[:, skin.fill_AA.reshape(-1)]
    albedo, surface = albedo.view(3, side, side), surface.view(4, side, side)
    for name, painted in (
        ("eye", paint_eye(look, noise, side)),
        ("flat", paint_cells(look, side)),
        ("hair", paint_hair(look, side)),
        ("cloth", paint_cloth(look, noise, side)),
    ):
        left, top, width, height_ = (round(v * side) for v in LAYOUT[name])
        albedo[:, top : top + height_, left : left + width] = painted
        surface[:, top : top + height_, left : left + width] = 0.0
    return Atlas(albedo.clamp(0.002, 0.92).contiguous(), surface.contiguous())


def paint_skin(look: Look, skin: Skin, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
    """Albedo (3, N), gloss (N,) and height of the relief in cm (N,)."""
    at, f = skin.rest_N3, skin.fields
    makeup = look.makeup
    bare = 1.0 - 0.75 * makeup.foundation
    wide, middle, fine = noise.fractal(at, 3.2, 2), noise.fractal(at, 0.9, 2), noise.fractal(at, 0.28, 2)
    melanin = look.melanin + look.blotch * bare * (0.06 * wide + 0.05 * middle) * (0.5 + 0.5 * min(look.melanin, 1.2))
    blood = look.blood + look.blotch * bare * (0.16 * wide + 0.14 * middle + 0.10 * fine)
    blood = blood + bare * (0.55 * f["cheek"] + 0.50 * f["nose"] + 0.20 * f["chin"] + 0.45 * f["ear"])
    blood = blood - 0.10 * f["forehead"] + 1.1 * makeup.blush * f["cheek"]
    melanin = melanin + f["socket"] * (0.03 + 0.05 * look.age / 40) * bare + 0.06 * f["forehead"] - 0.05 * f["cheek"]
    blood = blood + 0.12 * f["socket"] * bare
    blood = look.blood + (blood - look.blood) * math.exp(-0.35 * look.melanin)
    melanin, blood = add_spots(look, at, f, noise, melanin, blood)
    lip = ramp(f["lip"] + 0.05 * noise.value(at, 0.25), -0.07, 0.10)
    blood = blood + lip * (1.25 * look.lip_redness * math.exp(-0.25 * look.melanin))
    melanin = melanin + lip * (0.10 + 0.22 * min(look.melanin, 1.5))
    lid_rim = torch.maximum(ramp(f["lid_up"], 0.10, 0.03), ramp(f["lid_down"], 0.13, 0.03))
    blood = blood + 0.7 * lid_rim
    base = torch.tensor(skin_colour(0.0, 0.0, look.sallow), dtype=torch.float32)
    absorbed = melanin.clamp(min=0)[None] * torch.tensor(MELANIN, dtype=torch.float32)[:, None]
    absorbed = absorbed + blood[None] * torch.tensor(HAEMOGLOBIN, dtype=torch.float32)[:, None]
    colour = base[:, None] * torch.exp(-absorbed) * (1.0 + 0.045 * fine + 0.03 * noise.value(at, 0.09))
    colour = paint_makeup(look, f, lip, colour, noise, at)
    colour = paint_beard(look, f, noise, at, colour)
    colour = paint_brows(look, f, noise, at, colour)
    colour = paint_scalp(look, noise, at, colour)
    gloss = 0.30 * look.shine * (1 - 0.35 * makeup.foundation) * (0.75 + 0.55 * f["tzone"] + 0.15 * middle)
    gloss = gloss * (1 - 0.5 * f["neck"]) + lip * (0.16 + 0.3 * makeup.lipstick)
    return colour, gloss.clamp(0, 1), heights(look, skin, noise, lip)


def add_spots(
    look: Look, at: Tensor, f: dict[str, Tensor], noise: Noise, melanin: Tensor, blood: Tensor
) -> tuple[Tensor, Tensor]:
    """Freckles, age spots, moles and blemishes, as pigment."""
    bare = 1.0 - 0.75 * look.makeup.foundation
    if look.freckles > 0.05:
        band = (
            f["front"] * torch.exp(-(((f["y"] - 1.0) / 2.6) ** 2)) * ramp(f["x"].abs(), 7.0, 4.0) + 0.25 * f["forehead"]
        )
        spots = ramp(noise.fractal(at, 0.30, 2), 0.28, 0.6) + 0.5 * ramp(noise.value(at, 0.2), 0.4, 0.8)
        spots = spots * (0.5 + 0.5 * noise.value(at, 2.0)).clamp(0, 1)
        melanin = melanin + bare * 0.42 * look.freckles * band * spots
    if look.age > 50:
        melanin = melanin + bare * 0.3 * (look.age - 50) / 30 * ramp(noise.fractal(at, 0.8, 2), 0.42, 0.62) * f["front"]
    rng = np.random.default_rng([look.seed, 13])
    for _ in range(min(look.moles, 5)):
        place = torch.tensor([rng.uniform(-6, 6), rng.uniform(-9, 9)], dtype=torch.float32)
        far = ((at[:, :2] - place) ** 2).sum(1) / rng.uniform(0.06, 0.16) ** 2
        melanin = melanin + 0.9 * torch.exp(-(far**2)) * f["front"]
    for _ in range(round(look.blemishes * 12 * bare)):
        x, y = rng.normal(0, 3.4), rng.choice([rng.normal(8.2, 1.2), rng.normal(-1.5, 2.6)])
        far = ((at[:, :2] - torch.tensor([x, y], dtype=torch.float32)) ** 2).sum(1) / rng.uniform(0.10, 0.26) ** 2
        blood = blood + rng.uniform(0.3, 0.8) * torch.exp(-far) * f["front"]
    return melanin, blood


def paint_makeup(look: Look, f: dict[str, Tensor], lip: Tensor, colour: Tensor, noise: Noise, at: Tensor) -> Tensor:
    """Lipstick, eye shadow, liner and the natural line of the lashes."""
    makeup = look.makeup

    def cover(over: Tensor, with_: tuple[float, float, float]) -> Tensor:
        paint = torch.tensor(with_, dtype=torch.float32)[:, None]
        return colour * (1 - over) + over * paint

    if makeup.lipstick > 0.02:
        colour = cover(0.9 * makeup.lipstick * ramp(f["lip"], -0.03, 0.05), makeup.lip_colour)
    if makeup.shadow > 0.02:
        band = ramp(f["above_lid"], -0.1, 0.05) * ramp(f["above_lid"], 1.25, 0.35)
        colour = cover(
            0.75 * makeup.shadow * band * f["front"] * (0.85 + 0.15 * noise.value(at, 0.12)), makeup.shadow_colour
        )
    upper = ramp(f["lid_up"], 0.13 + 0.10 * makeup.liner, 0.03) * (0.25 + 0.6 * makeup.liner)
    lower = ramp(f["lid_down"], 0.13, 0.03) * (0.08 + 0.55 * makeup.liner)
    colour = cover(torch.maximum(upper, lower), (0.02, 0.014, 0.011))
    return colour


def paint_beard(look: Look, f: dict[str, Tensor], noise: Noise, at: Tensor, colour: Tensor) -> Tensor:
    """The shadow of shaved hair under the skin and stubble on it."""
    if look.stubble < 0.03:
        return colour
    area = beard_area(f, noise.value(at, 1.4))
    if look.beard == 0 and look.moustache > 0:
        area = area * 0.6
    hair = torch.tensor(look.brow_colour, dtype=torch.float32)[:, None]
    dots = ramp(noise.value(at, 0.075), 0.05, 0.55)
    shadow = 0.34 * look.stubble * area
    stubble = (0.75 * look.stubble**1.5 * area * dots).clamp(max=0.85)
    colour = colour * (1 - shadow * torch.tensor([1.0, 0.82, 0.62])[:, None])
    out: Tensor = colour * (1 - stubble) + stubble * hair
    return out


def paint_brows(look: Look, f: dict[str, Tensor], noise: Noise, at: Tensor, colour: Tensor) -> Tensor:
    """Brows as hairs: slanted streaks, thick near the nose, thin at the temple."""
    along = f["brow_along"]
    middle = f["brow_across"] - look.brow_arch * torch.exp(-(((along - 0.65) / 0.25) ** 2))
    half = look.brow_width * (0.62 - 0.42 * along.clamp(0, 1) ** 1.5) + 0.03
    ends = ramp(along, -0.10, 0.06) * ramp(along, 1.12, 0.86)
    ragged = 0.10 * noise.value(at * torch.tensor([3.0, 1.0, 0.3]), 0.5)
    body = ramp(middle.abs() + ragged - half, 0.10, -0.10) * ends * f["front"]
    slant = torch.stack(
        [along * 26.0 - middle * (3.5 - 7.0 * (along - 0.3).clamp(min=0)), middle * 0.6, along * 0.3], 1
    )
    hairs = 0.78 + 0.6 * noise.value(slant, 1.0) + 0.25 * noise.value(slant * torch.tensor([2.1, 1.0, 1.0]), 1.0)
    cover = (body * hairs.clamp(0.12, 1.0) * look.brow_density).clamp(0, 0.96)
    grey = 0.25 * look.grey
    hair = torch.tensor([c * (1 - grey) + 0.3 * grey for c in look.brow_colour])[:, None]
    return colour * (1 - cover) + cover * hair


def paint_scalp(look: Look, noise: Noise, at: Tensor, colour: Tensor) -> Tensor:
    """The roots between the locks: without them the scalp would shine through."""
    if look.hair == "scarf":
        return colour
    dense = {"buzz": 0.85, "bald": 0.4, "crop": 0.92}.get(look.hair, 0.95)
    cover = dense * scalp_density(at, look) * (0.92 + 0.25 * noise.value(at, 0.10)).clamp(0, 1)
    grey = look.grey * 0.6
    roots = torch.tensor([0.34 * (c * (1 - grey) + 0.45 * grey) for c in look.hair_colour])[:, None]
    return colour * (1 - cover) + cover * roots


def heights(look: Look, skin: Skin, noise: Noise, lip: Tensor) -> Tensor:
    """Relief of the skin in cm, (N,): pores, folds of age, lip lines."""
    at, f = skin.rest_N3, skin.fields
    pores = 0.0055 * look.pores * noise.value(at, 0.085) + 0.006 * noise.value(at, 0.17)
    # where texels are coarser than pores, pores would be noise
    pores = pores * ramp(skin.dual_N23.norm(dim=2).amin(1), 5.0, 12.0)
    pores = pores * (0.6 + 0.6 * f["nose"] + 0.5 * f["cheek"]) * (1 - lip) * (1 - 0.6 * f["socket"])
    waves = 0.010 * noise.fractal(at, 0.6, 2) * (0.6 + 0.8 * look.wrinkles)
    broken = (0.65 + 0.5 * noise.value(at, 1.1)).clamp(0, 1.2)
    age, depth = look.wrinkles, DEEPEST_FOLD_CM
    lines = f["brow_lines"] * age * 0.9 + f["frown"] * age * 0.9 + f["crow"] * max(age - 0.1, 0.0) * 0.8
    lines = lines + f["neck_lines"] * (0.12 + 0.5 * age) * f["neck"]
    fold = torch.exp(-((f["fold"] / 0.16) ** 2)) * f["front"] * (0.10 + 0.75 * age)
    bag = torch.exp(-(((f["below_lid"] - 0.85) / 0.13) ** 2)) * f["socket"] * (0.12 + 0.6 * age)
    crease = torch.exp(-(((f["above_lid"] - 0.42) / 0.07) ** 2)) * f["socket"] * 0.25
    lip_lines = 0.008 * lip * noise.value(at * torch.tensor([1.0, 0.16, 0.16]), 0.11)
    return pores + waves - depth * broken * (lines + fold + bag + crease) + lip_lines


def relief(height_N: Tensor, skin: Skin, side: int) -> Tensor:
    """Gradient of the relief over the surface as a vector in rest space, (3, N)."""
    plane = torch.zeros(side * side)
    plane[skin.texel_N] = height_N
    plane = plane[skin.fill_AA.reshape(-1)].view(1, 1, side, side)
    padded = functional.pad(plane, (1, 1, 1, 1), mode="replicate")[0, 0]
    right = ((padded[1:-1, 2:] - padded[1:-1, :-2]) / 2).reshape(-1)[skin.texel_N]
    down = ((padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2).reshape(-1)[skin.texel_N]
    vector = right[:, None] * skin.dual_N23[:, 0] + down[:, None] * skin.dual_N23[:, 1]
    steep = vector.norm(dim=1, keepdim=True)
    gentle: Tensor = vector * (0.8 / steep.clamp(min=0.8))
    return gentle.T


def paint_mouth(look: Look, skin: Skin, noise: Noise, colour: Tensor, gloss: Tensor) -> None:
    """Teeth, gums, tongue and the mouth's inside, over what `paint_skin` left there; changes its arguments."""
    at, part = skin.rest_N3, skin.part_N

    def texels(name: str) -> Tensor:
        return (part == PARTS.index(name)).nonzero().squeeze(1) if name in PARTS else torch.zeros(0, dtype=torch.long)

    def rgb(red: float, green: float, blue: float) -> Tensor:
        return torch.tensor([red, green, blue])[:, None]

    tooth = texels("teeth")
    place = at[tooth]
    stain = look.tooth_stain
    enamel = rgb(0.66, 0.62 - 0.05 * stain, 0.54 - 0.16 * stain) * (1.0 - 0.15 * stain)
    each = 1.0 + 0.05 * noise.value(place * torch.tensor([1.0, 0.05, 1.0]), 0.7) + 0.03 * noise.value(place, 0.25)
    root = torch.minimum(ramp(place[:, 1], -1.9, -1.2), ramp(place[:, 1], -1.2, -1.9)) + 0.0
    back = ramp(place[:, 2], 10.2, 6.5)
    colour[:, tooth] = enamel * each * (1 - 0.45 * back) * (1 - 0.1 * root)
    gloss[tooth] = 0.85
    gum = torch.cat([texels("gums"), texels("tongue")])
    wet = 1.0 + 0.12 * noise.fractal(at[gum], 0.5, 2)
    dark = math.exp(-0.22 * look.melanin)
    colour[:, gum] = rgb(0.42 * dark, 0.135 * dark, 0.13 * dark) * wet
    gloss[gum] = 0.6
    tongue = texels("tongue")
    bumps = 1.0 + 0.10 * noise.value(at[tongue], 0.09) + 0.1 * noise.value(at[tongue], 0.4)
    colour[:, tongue] = rgb(0.45, 0.155, 0.145) * bumps
    gloss[tongue] = 0.45
    for name, tone in (("mouth_socket", (0.16, 0.035, 0.03)), ("eye_socket", (0.30, 0.12, 0.10))):
        inside = texels(name)
        colour[:, inside] = rgb(*tone)
        gloss[inside] = 0.3


def paint_eye(look: Look, noise: Noise, side: int) -> Tensor:
    """Sclera, limbus, iris and pupil by the angle from the eye's axis; (3, h, w) of the rectangle `eye`."""
    _, _, width, height = (round(v * side) for v in LAYOUT["eye"])
    y, x = torch.meshgrid(torch.linspace(1, -1, height), torch.linspace(-1, 1, width), indexing="ij")
    x, y = x.reshape(-1), y.reshape(-1)
    radius = (x * x + y * y).sqrt()
    angle = torch.rad2deg(2 * torch.atan(radius * math.tan(math.atan(EYE_REACH) / 2)))
    cos, sin = x / radius.clamp(min=1e-6), y / radius.clamp(min=1e-6)
    ring = torch.stack([cos * 9.0, sin * 9.0, angle * 0.10], 1)
    fibres = noise.fractal(ring, 1.0, 3)
    furrow = noise.fractal(torch.stack([cos * 3, sin * 3, angle * 0.3], 1), 1.0, 2)
    flat = torch.stack([x * 8, y * 8, torch.full_like(x, look.seed % 97)], 1)
    veins = 1 - noise.fractal(flat, 1.0, 3).abs()
    iris = torch.tensor(look.iris)[:, None] * (1.0 + 0.6 * fibres + 0.25 * furrow + 0.35 * ramp(angle, 18.0, 12.0))
    warm = torch.tensor([1.35, 0.85, 0.5])[:, None] * torch.tensor(look.iris).mean()
    collar = 0.5 * ramp(angle, look.pupil_degrees + 6.5, look.pupil_degrees + 1.0)
    iris = iris * (1 - collar) + collar * warm
    red = 0.15 + 0.5 * look.eye_redness
    age = 0.10 * max(look.age - 30, 0) / 50
    white = torch.tensor([0.60, 0.55 - 0.3 * age, 0.53 - 0.6 * age])[:, None] * (1 + 0.03 * noise.value(flat, 2.0))
    web = ramp(veins, 0.90, 0.99) * ramp(angle, 27.0, 42.0)
    white = white * (
        1 - (0.5 * red * web + 0.18 * red * ramp(angle, 26.0, 55.0)) * torch.tensor([0.15, 0.8, 0.8])[:, None]
    )
    white = white * (1 - ramp(angle, 34.0, 62.0) * torch.tensor([0.12, 0.30, 0.32])[:, None])
    is_iris = ramp(angle + 0.5 * fibres, IRIS_DEGREES + 1.4, IRIS_DEGREES - 0.9)
    limbus = torch.exp(-(((angle - IRIS_DEGREES + 1.0) / 2.3) ** 2))
    out = (white * (1 - is_iris) + iris * is_iris) * (1 - 0.62 * limbus)
    pupil = ramp(angle, look.pupil_degrees + 0.9, look.pupil_degrees - 0.5)
    return (out * (1 - pupil) + 0.004 * pupil).view(3, height, width)


def paint_cells(look: Look, side: int) -> Tensor:
    """One colour a cell; (3, h, w) of the rectangle `flat`."""
    _, _, width, height = (round(v * side) for v in LAYOUT["flat"])
    hair = tuple(0.8 * c for c in look.brow_colour)
    colours = {"lash": (0.018, 0.013, 0.010), "frame": look.frame_colour, "eye_wet": (0.44, 0.21, 0.18), "beard": hair}
    colours |= {"cover": look.cover_colour, "socket": (0.16, 0.035, 0.03)}
    cells = torch.tensor([colours[name] for name in FLAT_CELLS], dtype=torch.float32).T
    column = (torch.arange(width) * len(FLAT_CELLS) // width).clamp(max=len(FLAT_CELLS) - 1)
    return cells[:, None, column].expand(3, height, width).clone()


def paint_hair(look: Look, side: int) -> Tensor:
    """Streaks: one column a few strands, the root at the top; (3, h, w) of the rectangle `hair`."""
    _, _, width, height = (round(v * side) for v in LAYOUT["hair"])
    rng = np.random.default_rng([look.seed, 17])
    strand = np.exp(
        rng.normal(0, 0.30, width) + 0.25 * np.convolve(rng.normal(size=width + 8), np.ones(9) / 3, "valid")
    )
    colour = np.asarray(look.hair_colour)[:, None] * strand * np.exp(rng.normal(0, 0.06, (3, width)))
    white = (rng.random(width) < look.grey) * rng.uniform(0.7, 1.0, width)
    white = 0.5 * white + 0.5 * look.grey  # single strands are finer than a texel
    colour = colour * (1 - white) + white * np.array([0.50, 0.49, 0.47])[:, None]
    down = np.linspace(0, 1, height)[:, None]
    shade = (0.72 + 0.38 * np.minimum(down * 2.0, 1.0)) * (1 + 0.05 * rng.normal(size=(height, width)))
    return torch.tensor(colour[:, None] * shade, dtype=torch.float32)


def paint_cloth(look: Look, noise: Noise, side: int) -> Tensor:
    """Left half: the garment's weave; right half: what covers the head; (3, h, w) of the rectangle `cloth`."""
    _, _, width, height = (round(v * side) for v in LAYOUT["cloth"])
    half = width // 2
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, half), indexing="ij")
    first, second = (torch.tensor(c)[:, None, None] for c in look.cloth_colours)
    rng = np.random.default_rng([look.seed, 19])
    count = float(rng.integers(5, 14))

    def stripes(t: Tensor) -> Tensor:
        return ramp(torch.cos(t * 2 * math.pi * count), -0.3, 0.3)

    if look.cloth_pattern == "stripes":
        mix = stripes(y)
    elif look.cloth_pattern == "plaid":
        mix = 0.5 * stripes(y) + 0.5 * stripes(x * 2)
    elif look.cloth_pattern == "dots":
        mix = ramp(torch.cos(x * 4 * math.pi * count) * torch.cos(y * 2 * math.pi * count), 0.3, 0.6)
    else:
        mix = torch.zeros_like(x)
    grain = 1 + 0.10 * torch.from_numpy(rng.normal(size=(height, half))).float()
    if look.cloth_pattern == "knit":
        grain = grain * (0.75 + 0.35 * torch.cos(y * 260 + 2.2 * torch.cos(x * 330)).abs())
    points = torch.stack([x.reshape(-1) * 20, y.reshape(-1) * 12, torch.full((x.numel(),), 3.0)], 1)
    worn = 1 + 0.10 * noise.fractal(points, 3.0, 3).view(height, half)
    garment = (first * (1 - mix) + second * mix) * grain * worn
    cover = torch.tensor(look.cover_colour)[:, None, None] * grain * worn
    rest = cover.new_zeros(3, height, width - 2 * half)
    return torch.cat([garment, cover, rest + cover[:, :, -1:]], 2)
