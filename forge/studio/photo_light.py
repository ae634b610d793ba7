"""Light on a photographed face, roughly: one smooth function of the surface's direction, learned from the face itself.

    light = estimate_light(colour_N3, normal_N3)      # (9, 3)
    flat = colour / shading(light, normal)            # the face as under even light, gently
    lit = flat * shading(other_light, normal)

The logarithm of the light is a second-order spherical harmonic, so light stays positive whatever its coefficients; it
is held within `REACH`, because neither shadows nor glints of a picture are light in this sense. Brightness as a whole
stays with the picture: the constant term is 0.
Axes: N points, ... any; 9 harmonics. Directions in camera space: x right, y down, z away from the camera.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

REACH = 0.65
"""Natural logarithm: light is at most twice and at least half as strong as on average."""
RIDGE = 0.02
POINTS = 30_000
GREY_RIDGE = 4.0
"""Light is mostly grey: colour differences of its directions are doubted more than brightness."""


def harmonics(normal: Tensor) -> Tensor:
    """(..., 9) of unit directions (..., 3): 1, x, y, z, xy, yz, 3z^2 - 1, xz, x^2 - y^2, scaled to similar size."""
    x, y, z = normal.unbind(-1)
    return torch.stack(
        [torch.ones_like(x), x, y, z, 2 * x * y, 2 * y * z, 0.5 * (3 * z * z - 1), 2 * x * z, x * x - y * y], -1
    )


def shading(light_93: Tensor, normal: Tensor) -> Tensor:
    """(..., 3) factor of the light on surfaces of unit directions (..., 3).

    Args:
        light_93: (9, 3), or (B, 9, 3) for directions (B, ..., 3).
        normal: unit vectors; zero vectors count as facing nowhere and get even light.
    """
    basis = harmonics(normal)
    if light_93.dim() == 3:
        flat = basis.flatten(1, -2) @ light_93
        log = flat.view(*basis.shape[:-1], 3)
    else:
        log = basis @ light_93
    known = (normal.square().sum(-1, keepdim=True) > 0.25).to(log.dtype)
    return torch.exp(known * REACH * torch.tanh(log / REACH))


def estimate_light(colour_N3: Floats, normal_N3: Floats, weight_N: Floats) -> Floats:
    """Fit the light to points that should have one colour; what differs much (brows, shadows, glints) is left out.

    Args:
        colour_N3: linear RGB.
        normal_N3: unit, camera space.
        weight_N: how far to believe each point.

    Returns:
        (9, 3) with a zero first row; all zero where there are too few points.
    """
    # nine numbers do not need every texel
    step = max(1, len(weight_N) // POINTS)
    colour_N3, normal_N3, weight_N = colour_N3[::step], normal_N3[::step], weight_N[::step]
    used = (weight_N > 0.3) & (colour_N3.min(axis=1) > 0.004) & (colour_N3.max(axis=1) < 0.98)
    out = np.zeros((9, 3), np.float32)
    if used.sum() < 400:
        return out
    basis = harmonics(torch.from_numpy(np.ascontiguousarray(normal_N3[used]))).numpy().astype(np.float64)
    log = np.log(colour_N3[used].astype(np.float64))
    grey = log.mean(axis=1)
    trust = weight_N[used].astype(np.float64)
    solution = np.zeros(9)
    for _ in range(5):
        solution = _ridge(basis, grey, trust, RIDGE)
        error = grey - basis @ solution
        spread = 1.4826 * float(np.median(np.abs(error - np.median(error)))) + 1e-3
        trust = weight_N[used] / (1.0 + (error / (1.5 * spread)) ** 2) ** 2
    out[:] = solution[:, None]
    for channel in range(3):
        tint = log[:, channel] - grey
        out[:, channel] += _ridge(basis, tint, trust, RIDGE * GREY_RIDGE)
    # what the light does straight ahead stays in the picture, so that an unlit face keeps its brightness
    out[0] = 0.0
    return out


def _ridge(
    basis: NDArray[np.float64], target: NDArray[np.float64], trust: NDArray[np.float64], amount: float
) -> NDArray[np.float64]:
    """Weighted least squares with a penalty on all but the constant."""
    penalty = amount * trust.sum() * np.diag([0.0, 1, 1, 1, 3, 3, 3, 3, 3])
    normal = basis.T @ (basis * trust[:, None]) + penalty + 1e-9 * np.eye(9)
    return np.asarray(np.linalg.solve(normal, basis.T @ (target * trust)))


def to_linear(values: NDArray[np.uint8]) -> Floats:
    """SRGB bytes to linear light in [0, 1]."""
    return _LINEAR[values]


def to_srgb(linear: Tensor) -> Tensor:
    """Linear light to sRGB in [0, 1]; brighter than white is clipped."""
    clipped = linear.clamp(0.0, 1.0)
    return torch.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped.clamp(min=1e-6).pow(1 / 2.4) - 0.055)


def _linear_table() -> Floats:
    value = np.arange(256) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


_LINEAR = _linear_table()
