"""Where hair grows on a head: the scalp behind the hairline and the area of the beard, as densities on the mean head.

Axes: N points. Centimetres, rest space of the mean head.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from forge.studio.looks import Look
from forge.studio.noise import Noise

BROW_HEIGHT = 6.26
"""Height of the brows of the mean head."""


def ramp(x: Tensor, low: float, high: float) -> Tensor:
    """0 below `low`, 1 above `high`, smooth between; reversed when low > high."""
    t = ((x - low) / (high - low)).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def scalp_density(rest_N3: Tensor, look: Look) -> Tensor:
    """How likely a place grows hair, (N,): behind the hairline, not on ears, down to the nape."""
    x, y, z = rest_N3[:, 0].abs(), rest_N3[:, 1], rest_N3[:, 2]
    old = float(np.clip((look.age - 30) / 45, 0, 1) * (1 - look.femininity))
    recede = 1.6 * old * torch.exp(-(((x - 3.2) / 1.5) ** 2))
    hairline = look.hairline + recede - 1.0 * ramp(x / 8, 0.45, 0.8) - 5.0 * ramp(x / 8, 0.80, 1.0)
    jag = 0.40 * Noise(look.seed + 8).fractal(rest_N3, 1.2, 2)
    front = ramp(y - BROW_HEIGHT - hairline + jag, -0.25, 0.45)
    back = ramp(z, -0.5, -2.5) * ramp(y, -6.0, -4.5)
    sideburn = ramp(z, 4.6, 3.4) * ramp(y, 1.2, 3.2) * ramp(x, 5.5, 6.5)
    grown = torch.maximum(front, torch.maximum(back, sideburn)) * ramp(x, 8.1, 7.7)
    if look.hair == "bald":  # what is left runs around the back
        grown = grown * ramp(y, 6.0, 4.5) * ramp(z, 3.5, 1.5) * (0.7 if look.age > 45 else 0.0)
    return grown.clamp(0, 1)


def beard_area(f: dict[str, Tensor], wobble: Tensor) -> Tensor:
    """Where a beard grows, in [0, 1], (N,): upper lip, chin, jaw up to the sideburns; not the lips, not the cheeks.

    Args:
        f: `regions.skin_fields`.
        wobble: noise in [-1, 1] that makes the cheek line irregular.
    """
    y, ax = f["y"], f["x"].abs()
    cheek_line = -2.6 + 0.55 * (ax - 2.4).clamp(min=0) ** 1.25  # climbs towards the sideburns
    jaw = ramp(y - cheek_line + 0.5 * wobble, 0.5, -0.6) * ramp(f["fold"], 0.05, 0.6)
    chin = ramp(y, -4.5, -5.2) * ramp(ax, 3.5, 2.5)
    moustache = ramp(y, -1.25, -1.65) * ramp(ax, 2.9, 2.3) * ramp(y, -3.6, -3.2)
    area = torch.maximum(torch.maximum(jaw, chin), moustache) * ramp(y, -11.0, -8.6)
    area = area * ramp(f["lip"], 0.0, -0.12) * ramp(f["z"], 1.5, 3.0) * (1 - f["ear"])
    return area * ramp(y, 3.0, 1.8)
