"""Where and how a person is filmed: lights, surroundings, camera, sensor. One scene lasts a whole take.

    scene = sample_scene(seed)

Axes: L lights. Directions are in the camera's space turned upright: x right, y up, z towards the camera; a light's
direction points to the light. Radiance is linear; 1 is a white wall in full light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Colour = tuple[float, float, float]
Direction = tuple[float, float, float]
BackdropKind = Literal["studio", "room", "bokeh", "outdoors", "plain"]

FILM_HEIGHT_MM = 24.0
"""Focal lengths are told as those of a 24 x 36 mm camera held level."""


@dataclass(frozen=True)
class Light:
    """A lamp or window far away."""

    direction: Direction
    colour: Colour
    """Power included."""
    softness: float
    """0 a point, 1 a large window: width of its glint and of its shadows' edges."""
    casts_shadow: bool


@dataclass(frozen=True)
class Scene:
    """Everything around the person."""

    seed: int
    lights: tuple[Light, ...]
    ambient: tuple[tuple[Direction, Colour, float], ...]
    """Soft light from all around, as wide lobes: direction, colour, width (0 a beam, 1 the whole sphere)."""
    backdrop: BackdropKind
    backdrop_colours: tuple[Colour, Colour, Colour]
    focal_mm: float
    exposure: float
    white_balance: Colour
    contrast: float
    saturation: float
    noise: float
    """Standard deviation of the sensor's noise at middle grey."""
    vignette: float
    blur_px: float
    """Of the lens, at 256 pixels."""
    jpeg_quality: int | None
    lean_degrees: tuple[float, float, float]
    """Of the torso: yaw, pitch, roll."""

    def __post_init__(self) -> None:
        """Refuse a picture that nothing lights, or an impossible lens."""
        if not 1 <= len(self.lights) <= 4:
            raise ValueError(f"a scene has 1 to 4 lights, got {len(self.lights)}")
        if not 15 <= self.focal_mm <= 300:
            raise ValueError(f"focal length must be 15 to 300 mm, got {self.focal_mm}")

    @property
    def distance_cm(self) -> float:
        """From the camera to the head, so that a standard head fills the standard frame."""
        from forge.studio.head import FRAME_CENTIMETRES

        return self.focal_mm * FRAME_CENTIMETRES / FILM_HEIGHT_MM


def kelvin(temperature: float) -> Colour:
    """Colour of a lamp of a temperature, green = 1 (a fit to the black body between 2500 and 10000 K)."""
    mired = 1e6 / temperature - 154.0  # 6500 K is white
    return (float(np.exp(0.0023 * mired)), 1.0, float(np.exp(-0.0036 * mired)))


def unit(direction: Floats) -> Direction:
    """A vector made one long."""
    long = direction / np.linalg.norm(direction)
    return (float(long[0]), float(long[1]), float(long[2]))


def tinted(colour: Colour, power: float) -> Colour:
    """A colour times a power."""
    return (colour[0] * power, colour[1] * power, colour[2] * power)


def sample_scene(seed: int) -> Scene:
    """Draw a scene; equal seeds give equal scenes."""
    rng = np.random.default_rng([seed, 41])
    kind: BackdropKind = str(
        rng.choice(["studio", "room", "bokeh", "outdoors", "plain"], p=[0.22, 0.3, 0.16, 0.2, 0.12])
    )  # type: ignore[assignment]
    side = rng.choice([-1.0, 1.0])
    warm = kelvin(float(rng.uniform(3300, 8500)))
    azimuth, height = np.radians(rng.uniform(8, 72)) * side, np.radians(rng.uniform(2, 58))
    soft = float(rng.beta(1.6, 1.6))
    key = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    lights = [Light(unit(key), tinted(warm, float(rng.uniform(1.0, 2.3))), soft, True)]
    if rng.random() < 0.6:
        fill = np.array([-np.sign(key[0]) * rng.uniform(0.3, 1.0), rng.uniform(-0.1, 0.5), rng.uniform(0.4, 1.0)])
        tone = kelvin(float(rng.uniform(3500, 9000)))
        lights.append(Light(unit(fill), tinted(tone, float(rng.uniform(0.15, 0.7))), 0.8, False))
    if rng.random() < 0.45:
        rim = np.array([rng.choice([-1, 1]) * rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.7), -rng.uniform(0.3, 0.8)])
        tone = kelvin(float(rng.uniform(3000, 9500)))
        lights.append(Light(unit(rim), tinted(tone, float(rng.uniform(0.4, 1.6))), 0.6, False))
    if rng.random() < 0.08:
        coloured = rng.dirichlet([0.5, 0.5, 0.5]) * 1.6
        side_light = np.array([-side, rng.uniform(-0.3, 0.4), rng.uniform(-0.1, 0.5)])
        lights.append(Light(unit(side_light), (float(coloured[0]), float(coloured[1]), float(coloured[2])), 0.7, False))
    level = float(rng.uniform(0.18, 0.6))
    sky, floor = kelvin(float(rng.uniform(5200, 7600))), kelvin(float(rng.uniform(4200, 6500)))
    ambient: list[tuple[Direction, Colour, float]] = [
        ((0.0, 1.0, 0.0), tinted(sky, level), 0.9),
        ((0.0, -1.0, 0.0), tinted(floor, 0.45 * level), 0.9),
        ((0.0, 0.0, 1.0), tinted(sky, 0.6 * level), 0.9),
    ]
    for _ in range(2):
        ambient.append(
            (unit(rng.normal(size=3)), tinted(kelvin(float(rng.uniform(3000, 9000))), level * rng.random()), 0.6)
        )
    noisy = rng.random() < 0.35
    return Scene(
        seed=seed,
        lights=tuple(lights),
        ambient=tuple(ambient),
        backdrop=kind,
        backdrop_colours=_backdrop_colours(rng, kind),
        focal_mm=float(np.exp(rng.uniform(np.log(26), np.log(135)))),
        exposure=float(np.exp(rng.normal(0.0, 0.16))),
        white_balance=_white_balance(rng, warm),
        contrast=float(rng.uniform(0.85, 1.2)),
        saturation=float(rng.uniform(0.85, 1.12)),
        noise=float(rng.uniform(0.008, 0.03) if noisy else rng.uniform(0.0, 0.008)),
        vignette=float(rng.uniform(0.0, 0.45)),
        blur_px=float(rng.uniform(0.0, 0.55)),
        jpeg_quality=int(rng.integers(60, 97)) if rng.random() < 0.3 else None,
        lean_degrees=(float(rng.normal(0, 9)), float(rng.normal(0, 2)), float(rng.normal(0, 2.5))),
    )


def _white_balance(rng: np.random.Generator, key: Colour) -> Colour:
    """A camera takes most of the key's cast away and leaves some."""
    kept = rng.uniform(0.0, 0.3)
    gains = np.array(key) ** (kept - 1.0) * np.exp(rng.normal(0, 0.03, 3))
    gains = gains / gains[1]
    return (float(gains[0]), 1.0, float(gains[2]))


def _backdrop_colours(rng: np.random.Generator, kind: BackdropKind) -> tuple[Colour, Colour, Colour]:
    """Three colours that go together."""
    value = rng.uniform(0.04, 0.6)
    tint = rng.dirichlet([2.5, 2.5, 2.5], 3) * 3
    strength = rng.uniform(0.1, 0.8)
    colours = value * (1 - strength + strength * tint) * np.exp(rng.normal(0, 0.5, (3, 1)))
    if kind == "outdoors":
        sky = (
            np.array([0.45, 0.65, 0.95]) * rng.uniform(0.5, 1.2)
            if rng.random() < 0.6
            else np.full(3, rng.uniform(0.6, 1.1))
        )
        green = np.array([0.10, 0.17, 0.05]) * np.exp(rng.normal(0, 0.4, 3))
        ground = np.array([0.25, 0.22, 0.17]) * np.exp(rng.normal(0, 0.3, 3))
        colours = np.stack([sky, green, ground])
    colours = np.clip(colours, 0.01, 1.2)
    first, second, third = ((float(c[0]), float(c[1]), float(c[2])) for c in colours)
    return first, second, third
