"""Networks that exist only while the face learns: a patch discriminator and a probe for identity in z_dyn.

Axes: B batch, C channels, H height, W width, I identity code.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from forge.face.motion_encoder import DYN_DIMS


class PatchCritic(nn.Module):
    """Is this patch of about 70 pixels of a true picture? Spectral norms, no batch statistics."""

    def __init__(self, widths: tuple[int, ...] = (48, 96, 192)) -> None:
        super().__init__()
        sides = (3, *widths)
        self.stages = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 4, 2, 1)) for before, after in zip(sides, widths, strict=False)
        )
        self.score = spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, H, W) in [0, 1] to scores (B, 1, H / 8, W / 8) and the features on the way."""
        x, features = image_B3HW * 2 - 1, []
        for stage in self.stages:
            x = functional.leaky_relu(stage(x), 0.2)
            features.append(x)
        return self.score(x), features


class IdentityProbe(nn.Module):
    """Guesses z_id from z_dyn; the encoder that made z_dyn receives its gradient turned round."""

    def __init__(self, identity_dims: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(DYN_DIMS, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, identity_dims)
        )

    def forward(self, dyn_B64: Tensor) -> Tensor:
        """(B, 64) to (B, I)."""
        out: Tensor = self.layers(dyn_B64)
        return out
