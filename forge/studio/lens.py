"""From linear light to the picture a camera writes: lens, exposure, sensor noise, tone curve, sometimes JPEG.

Axes: B frames, S side. Linear light in, uint8 sRGB out.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from forge.studio.scenes import Scene
from forge.studio.shading import gaussian


def develop(light_B3SS: Tensor, scene: Scene, noise_seed: int) -> Tensor:
    """Expose, (B, 3, S, S) uint8."""
    batch, _, side, _ = light_B3SS.shape
    device = light_B3SS.device
    light = light_B3SS.clamp(0, 6)
    if scene.blur_px > 0.15:
        light = gaussian(light, scene.blur_px * side / 256)
    axis = torch.linspace(-0.5, 0.5, side, device=device)
    radius = axis[:, None] ** 2 + axis[None] ** 2
    gains = torch.tensor(scene.white_balance, device=device).view(1, 3, 1, 1) * (scene.exposure * metered(scene))
    light = light * gains * (1.0 - scene.vignette * radius)
    if scene.noise > 0:
        light = light + sensor_noise(light, scene.noise, noise_seed)
    grey = light.mean(1, keepdim=True)
    light = (grey + scene.saturation * (light - grey)).clamp(min=0)
    light = 0.18 * (light / 0.18).clamp(min=1e-6) ** scene.contrast
    curve = (light * (2.51 * light + 0.03)) / (light * (2.43 * light + 0.59) + 0.14)
    curve = curve.clamp(0, 1)
    encoded = torch.where(curve <= 0.0031308, 12.92 * curve, 1.055 * curve.clamp(min=1e-8) ** (1 / 2.4) - 0.055)
    picture = (encoded * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    assert picture.shape[0] == batch
    if scene.jpeg_quality is not None and device.type == "cpu":
        return compressed(picture, scene.jpeg_quality)
    return picture


def metered(scene: Scene) -> float:
    """Exposure that an automatic camera would choose: by the light on a face that looks into it."""
    lit = 0.0
    for _, colour, width in scene.ambient:
        lit += 0.36 * float(np.mean(colour)) * (1.0 - 0.3 * width)
    for lamp in scene.lights:
        lit += max(0.25 + 0.75 * lamp.direction[2], 0.0) * float(np.mean(lamp.colour))
    return float(0.62 * (1.7 / max(lit, 0.2)) ** 0.8)


def sensor_noise(light_B3SS: Tensor, amount: float, seed: int) -> Tensor:
    """Shot and read noise, a little coarser than a pixel as after demosaicing; equal seeds give equal noise."""
    device = light_B3SS.device
    generator = torch.Generator(device=device).manual_seed(seed % (2**31))
    raw = torch.randn(light_B3SS.shape, generator=generator, device=device)
    raw = 0.7 * raw + 0.5 * gaussian(raw, 0.8)
    return raw * amount * (light_B3SS.clamp(min=0) / 0.18 + 0.15).sqrt() * 0.5


def compressed(picture_B3SS: Tensor, quality: int) -> Tensor:
    """Through JPEG and back."""
    frames = []
    for frame in picture_B3SS.permute(0, 2, 3, 1).numpy():
        _, data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
        frames.append(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
