"""Contact sheets: what the face draws, beside what is true.

Axes: B sources, N targets of a source, H W pixels.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from forge.face.model import FaceModel
from forge.face.reel import Lessons
from provenance.files import write_whole


def draw_sheet(model: FaceModel, lessons: Lessons, path: Path) -> float:
    """Save a sheet and measure it.

    Rows are sources; columns: source, target, drawn by read motion, difference x 4, matte, the next row's driver, and
    the source drawn with that driver's motion.

    Args:
        model: in evaluation mode.
        lessons: a small batch.
        path: of the PNG.

    Returns:
        PSNR in decibels of the third column.
    """
    source, target = lessons.source_B3HW.float() / 255, lessons.target_BN3HW[:, 0].float() / 255
    appearance = model.see(source)
    pose, dyn = model.read_motion(target)
    drawn = model.draw_all(appearance, pose, dyn)
    crossed = model.draw(appearance, pose.roll(-1, 0), dyn.roll(-1, 0))
    image = drawn.image_N3HW.float()
    matte = drawn.matte_N1HW.float().expand(-1, 3, -1, -1)
    off = ((image - target).abs() * 4).clamp(0, 1)
    columns = [source, target, image, off, matte, target.roll(-1, 0), crossed.float()]
    save_grid(torch.stack(columns, 1), path)
    return float(-10 * (image - target).square().mean().clamp(min=1e-12).log10())


def save_grid(pictures_RC3HW: Tensor, path: Path) -> None:
    """Rows and columns of pictures in [0, 1] as one PNG."""
    rows, columns, _, height, width = pictures_RC3HW.shape
    sheet = pictures_RC3HW.clamp(0, 1).permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    buffer = io.BytesIO()
    Image.fromarray((sheet * 255).round().to(torch.uint8).cpu().numpy()).save(buffer, "PNG")
    write_whole(path, buffer.getvalue())
