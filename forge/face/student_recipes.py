"""Named ways to train the student. A recipe is a function that returns a frozen value; `replace()` to try one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from forge.face.student import StudentShape


@dataclass(frozen=True)
class StudentLosses:
    """How much each loss counts."""

    pixels: float = 2.5
    """Charbonnier; mouth and eyes count eight times."""
    structure: float = 1.2
    """1 - SSIM."""
    detail: float = 3.0
    """Laplacian pyramid, three levels."""
    texture: float = 4.0
    """How much fine structure there is, wherever exactly it lies: what is blurred has less."""
    decided: float = 0.06
    """Entropy of the layers' shares: a pixel is one thing or the other, else outlines are seen twice."""
    flow: float = 6.0
    """Exact correspondence of what both frames show, in sides of the picture."""
    layers: float = 0.05
    """Background that both frames show stands still, face and hair are carried."""
    regions: float = 0.1
    """What the encoder says the source shows."""
    smooth: float = 0.3
    """Differences between neighbours of the residual flow."""

    def __post_init__(self) -> None:
        """Refuse negative weights."""
        for name, value in asdict(self).items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")


@dataclass(frozen=True)
class StudentRecipe:
    """Everything that a training run of the student depends on, except its data."""

    name: str
    purpose: str
    shape: StudentShape = field(default_factory=StudentShape)
    losses: StudentLosses = field(default_factory=StudentLosses)
    batch: int = 6
    crop: int = 192
    """Side of the crops of the first part of the training; a multiple of 16."""
    crop_until: float = 0.6
    """Share of the time budget that is trained on crops."""
    learning_rate: float = 1e-3
    warm_up: int = 100
    """Steps until the learning rate is reached."""
    final_rate: float = 0.03
    """Share of the learning rate that is left at the end."""
    average: float = 0.999
    """Decay of the exponential moving average of the weights, which is what ships."""
    clip: float = 1.0
    """Largest norm of a gradient."""
    minutes: float = 60.0
    """Time budget when nobody says."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.batch < 1 or self.minutes <= 0 or self.learning_rate <= 0:
            raise ValueError(
                f"need batch >= 1, minutes and rate > 0, got {self.batch}, {self.minutes}, {self.learning_rate}"
            )
        if not 32 <= self.crop <= self.shape.size or self.crop % 16:
            raise ValueError(f"crop must be a multiple of 16 from 32 to {self.shape.size}, got {self.crop}")
        if not 0 <= self.crop_until <= 1 or not 0 < self.average < 1:
            raise ValueError(
                f"crop_until must be in [0, 1] and average in (0, 1), got {self.crop_until}, {self.average}"
            )

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def face_cpu() -> StudentRecipe:
    """The student that ships: 256 pixels, about 2 GFLOP a frame, an hour of training on two CPU cores."""
    return StudentRecipe("face_cpu", "2-D flow student for laptops, 256 px")


def face_cpu_tiny() -> StudentRecipe:
    """A few seconds of training at 64 pixels: proves the loop, makes no faces."""
    return StudentRecipe(
        "face_cpu_tiny",
        "proves the training loop in seconds",
        shape=StudentShape(size=64, widths=(8, 8, 12, 16), kept=4, told=16),
        batch=2,
        crop=48,
        warm_up=2,
        minutes=0.1,
    )


STUDENT_RECIPES: Mapping[str, Callable[[], StudentRecipe]] = MappingProxyType(
    {"face_cpu": face_cpu, "face_cpu_tiny": face_cpu_tiny}
)


def student_recipe_named(name: str) -> StudentRecipe:
    """The recipe of a name.

    Raises:
        ValueError: for a name that is not in `STUDENT_RECIPES`.
    """
    if name not in STUDENT_RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(STUDENT_RECIPES)}, got {name!r}")
    return STUDENT_RECIPES[name]()
