"""The student: a small 2-D network that mends what geometry alone gets wrong, at 256 pixels on a laptop.

    student = Student(face_cpu().shape)
    seen = student.see(source_B3HW, maps_BPhw)                   # once per portrait
    layers = student(seen, guess)                                # per frame
    image_B3HW = compose(guess.drawn, guess.worn, source, layers)

Geometry (`student_prior`) has drawn the portrait in its new pose already. Per pixel the student decides between four
layers: that drawing, the picture's own pixels carried along, the picture as it stands still (the background), and a
colour that it makes up (what no pixel of the source shows). The first two it also shifts by a smooth residual flow. An
untrained student shows what the mesh shows, and a trained one never has to paint a face from nothing.

Axes: B batch, C channels, H W the picture, h w half of it, P maps, K numbers that are told. Colours are in [0, 1].
Plain convolutions, no normalisation, 2-D `grid_sample` only: the graph exports to ONNX as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAPS = 4
"""Face, lips, mouth opening and eye openings, as shares of each pixel."""
TOLD = 113
"""Numbers that a frame is told: 58 of its motion, 2 of gaze, 51 read in the portrait, 2 of its own turn."""
LAYERS = ("drawn", "worn", "still", "painted")
REGIONS = ("background", "face", "hair", "body")
"""What the encoder learns to tell apart in the source picture (in training only)."""
DECIDED = 2.0
"""What the layers' scores are multiplied by before they become shares: two misplaced pictures mixed are a ghost."""
DRAWN_MOUTH = 4.0
"""Taken off the score of paint inside the mouth: drawn teeth are sharp, painted ones an average of all teeth seen."""
REACH = 0.08
"""Largest residual flow, in sides of the picture."""


@dataclass(frozen=True)
class StudentShape:
    """Sizes of the student."""

    size: int = 256
    """Side of the pictures, pixels; a multiple of 16."""
    widths: tuple[int, int, int, int] = (24, 48, 96, 128)
    """Channels at 1/2, 1/4, 1/8 and 1/16 of the side."""
    kept: int = 16
    """Channels that are kept of the source picture, at 1/4 of its side."""
    told: int = 96
    """Width of what the motion is turned into."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be halved four times."""
        if self.size < 32 or self.size % 16:
            raise ValueError(f"size must be a multiple of 16, at least 32, got {self.size}")
        if min(*self.widths, self.kept, self.told) < 4:
            raise ValueError(f"widths must be at least 4, got {self.widths}, {self.kept}, {self.told}")


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of a portrait."""

    kept_BChw: Tensor
    """(B, kept, H/4, W/4)."""
    regions_BRhw: Tensor
    """(B, 4, H/4, W/4) logits of `REGIONS`."""


@dataclass(frozen=True, eq=False)
class Guess:
    """One frame as geometry draws it."""

    drawn_B3HW: Tensor
    """The portrait's pixels through the moved mesh, with painted eyes and mouth."""
    worn_B3HW: Tensor
    """The same without paint: eyes and mouth are the picture's own, stretched."""
    source_B3HW: Tensor
    """The portrait as it stands."""
    flow_B2hw: Tensor
    """(B, 2, H/4, W/4) how far away each pixel's colour was fetched, in sides of the picture."""
    maps_BPhw: Tensor
    """(B, 4, H/2, W/2) of the frame."""
    own_BPhw: Tensor
    """(B, 4, H/2, W/2) of the portrait."""
    told_BK: Tensor


@dataclass(frozen=True, eq=False)
class Layers:
    """What the student says of a frame."""

    shares_B4HW: Tensor
    """Of `LAYERS`, adding up to one."""
    paint_B3HW: Tensor
    shift_B2hw: Tensor
    """(B, 2, H/2, W/2) residual flow in sides of the picture, x then y."""


class Residual(nn.Module):
    """x + conv(relu(conv(x))); the second convolution starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, x_BCHW: Tensor, film_B2C: Tensor | None = None) -> Tensor:
        """Scale and shift, where told, apply between the convolutions."""
        inner = self.first(x_BCHW)
        if film_B2C is not None:
            scale, shift = film_B2C.chunk(2, dim=1)
            inner = inner * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        return torch.relu(x_BCHW + self.second(torch.relu(inner)))


class Student(nn.Module):
    """See a portrait once, then mend every frame."""

    def __init__(self, shape: StudentShape | None = None) -> None:
        super().__init__()
        self.shape = shape or StudentShape()
        w2, w4, w8, w16 = self.shape.widths
        kept, told = self.shape.kept, self.shape.told
        self.look = nn.Sequential(
            nn.Conv2d(12 + MAPS, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 32, 3, stride=2, padding=1), nn.ReLU(),
            Residual(32), nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.ReLU(), Residual(48), Residual(48),
        )  # fmt: skip
        self.look_up = nn.Conv2d(48, kept, 1)
        self.look_fine = nn.Conv2d(12 + MAPS, kept, 4, stride=2, padding=1)
        self.name_regions = nn.Conv2d(kept, len(REGIONS), 1)
        self.listen = nn.Sequential(nn.Linear(TOLD, told), nn.ReLU(), nn.Linear(told, told), nn.ReLU())
        self.film8, self.film16 = nn.Linear(told, 2 * w8), nn.Linear(told, 2 * w16)
        self.enter = nn.Conv2d(36 + 2 * MAPS, w2, 3, padding=1)
        self.down4 = nn.Conv2d(w2, w4, 3, stride=2, padding=1)
        self.join = nn.Conv2d(w4 + 2 * kept + 2, w4, 1)
        self.at4 = Residual(w4)
        self.down8 = nn.Conv2d(w4, w8, 3, stride=2, padding=1)
        self.at8 = Residual(w8)
        self.down16 = nn.Conv2d(w8, w16, 3, stride=2, padding=1)
        self.at16 = Residual(w16)
        self.up8, self.up4, self.up2 = nn.Conv2d(w16, w8, 1), nn.Conv2d(w8, w4, 1), nn.Conv2d(w4, w2, 1)
        self.mend8, self.mend4 = nn.Conv2d(w8, w8, 3, padding=1), nn.Conv2d(w4, w4, 3, padding=1)
        self.mend2 = nn.Conv2d(w2, w2, 3, padding=1)
        self.flow = nn.Conv2d(w4, 2, 3, padding=1)
        self.flow_fine = nn.Conv2d(w2, 2, 3, padding=1)
        self.leave = nn.Conv2d(w2, 4 * (len(LAYERS) + 3), 3, padding=1)
        for last in (self.flow, self.flow_fine, self.film8, self.film16):
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)
        nn.init.normal_(self.leave.weight, std=0.01)
        assert self.leave.bias is not None
        start = torch.tensor([2.0, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0]).repeat_interleave(4)
        with torch.no_grad():
            self.leave.bias.copy_(start)

    def see(self, source_B3HW: Tensor, own_BPhw: Tensor) -> Seen:
        """Look at a portrait, once."""
        entry = torch.cat([F.pixel_unshuffle(source_B3HW, 2) - 0.5, own_BPhw], 1)
        deep = F.interpolate(self.look_up(self.look(entry)), scale_factor=2.0, mode="bilinear", align_corners=False)
        kept = torch.relu(deep + self.look_fine(entry))
        return Seen(kept, self.name_regions(kept))

    def forward(self, kept_BChw: Tensor, guess: Guess) -> Layers:
        """Say how to mend one frame."""
        told = self.listen(guess.told_BK)
        pictures = torch.cat([guess.drawn_B3HW, guess.worn_B3HW, guess.source_B3HW], 1) - 0.5
        entry = torch.cat([F.pixel_unshuffle(pictures, 2), guess.maps_BPhw, guess.own_BPhw], 1)
        x2 = torch.relu(self.enter(entry))
        carried = sample(kept_BChw, guess.flow_B2hw)
        # flows are in sides of what is given; a crop (in training) has shorter ones than the pictures of the recipe
        part = guess.drawn_B3HW.shape[-1] / self.shape.size
        joined = torch.cat([self.down4(x2), kept_BChw, carried, guess.flow_B2hw * (10 * part)], 1)
        x4 = self.at4(torch.relu(self.join(joined)))
        x8 = self.at8(torch.relu(self.down8(x4)), self.film8(told))
        x16 = self.at16(torch.relu(self.down16(x8)), self.film16(told))
        x8 = torch.relu(self.mend8(x8 + twice(self.up8(x16))))
        x4 = torch.relu(self.mend4(x4 + twice(self.up4(x8))))
        x2 = torch.relu(self.mend2(x2 + twice(self.up2(x4))))
        shift = REACH / part * torch.tanh(twice(self.flow(x4)) + 0.3 * self.flow_fine(x2))
        out = F.pixel_shuffle(self.leave(x2), 2)
        mouth_B1hw = guess.maps_BPhw[:, 2:3]
        scores = torch.cat([out[:, :3], out[:, 3:4] - DRAWN_MOUTH * twice(mouth_B1hw)], 1)
        shares = torch.softmax(DECIDED * scores, 1)
        return Layers(shares, torch.sigmoid(out[:, len(LAYERS) :]), shift)


def twice(x_BCHW: Tensor) -> Tensor:
    """Twice as large, bilinearly."""
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="bilinear", align_corners=False)


def sample(image_BCHW: Tensor, shift_B2HW: Tensor) -> Tensor:
    """The image fetched from `shift` (sides of the picture, x then y) away from each pixel; its border goes on."""
    height, width = shift_B2HW.shape[2:]
    x = (torch.arange(width, device=image_BCHW.device, dtype=image_BCHW.dtype) + 0.5) * (2 / width) - 1
    y = (torch.arange(height, device=image_BCHW.device, dtype=image_BCHW.dtype) + 0.5) * (2 / height) - 1
    here = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), -1)[None]
    grid = here + 2 * shift_B2HW.permute(0, 2, 3, 1)
    return F.grid_sample(image_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def compose(drawn_B3HW: Tensor, worn_B3HW: Tensor, source_B3HW: Tensor, layers: Layers) -> Tensor:
    """The picture (B, 3, H, W) of the four layers; pictures of more pixels than the student's own are welcome."""
    side = drawn_B3HW.shape[-1]

    def grown(x: Tensor) -> Tensor:
        if x.shape[-1] == side:
            return x
        return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)

    carried = sample(torch.cat([drawn_B3HW, worn_B3HW], 1), grown(layers.shift_B2hw))
    shares = grown(layers.shares_B4HW)
    return (
        shares[:, 0:1] * carried[:, :3]
        + shares[:, 1:2] * carried[:, 3:]
        + shares[:, 2:3] * source_B3HW
        + shares[:, 3:4] * grown(layers.paint_B3HW)
    )
