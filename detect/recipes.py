"""Named ways to train. A recipe is a function that returns a frozen value; to try something, `replace()` one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from detect.detector import DetectError
from detect.prepare import LookPlan


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that a training run depends on besides its data, its seed and its time."""

    name: str
    size: int
    """Side of the network's input, pixels."""
    pairs: int
    """Real pictures in a batch, each beside its own forgery."""
    max_steps: int
    """Batches at most; the time budget may end training earlier."""
    learning_rate: float
    head_rate: float
    """The new head learns this many times faster than the ImageNet backbone."""
    weight_decay: float
    ema: float
    """Share of the running mean of the weights kept each step."""
    label_smoothing: float
    synthetic_share: float
    """Chance that a pair's forgery is a frame of a synthetic clip (same treatment) instead of a pseudo-forgery."""
    blend_share: float
    """Chance that a pseudo-forgery is self-blended, else it is reconstructed."""
    still_share: float
    """Chance that a pair's real picture comes from a one-frame sample, when there are any."""
    sides: tuple[int, int]
    """Range of sizes that a treatment reduces a stored crop to, pixels."""
    evaluate_every: int
    """Steps between two looks at the held-out makers."""
    held_out_makers: int
    """Makers of synthetic training clips that only select and calibrate."""
    held_out_people: float
    """Share of the people of real training clips that only select and calibrate."""
    temporal: bool
    """Fit the motion and the surface branch."""
    lessons: tuple[str, ...]
    """Forgeries in time (`detect.pseudo_time.FORGERS`) of every real clip that teach the motion branch."""
    imagenet: bool
    """Start from ImageNet."""
    device: str
    plan: LookPlan = field(default_factory=LookPlan)

    def __post_init__(self) -> None:
        """Refuse numbers that cannot train."""
        for name in ("size", "pairs", "max_steps", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("synthetic_share", "blend_share", "still_share", "held_out_people", "label_smoothing"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema must be in [0, 1), got {self.ema}")
        if not 16 <= self.sides[0] <= self.sides[1]:
            raise ValueError(f"sides must be a range from 16 pixels, got {self.sides}")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def frame_cpu() -> TrainRecipe:
    """Two cores, an hour or two: how the shipped network was trained, but by three processes, averaged."""
    return TrainRecipe(
        name="frame_cpu",
        size=144,
        pairs=12,
        max_steps=6000,
        learning_rate=8e-4,
        head_rate=5.0,
        weight_decay=0.02,
        ema=0.995,
        label_smoothing=0.05,
        # frames of synthetic clips teach what the makers' portraits look like: below chance on other makers
        synthetic_share=0.0,
        # more reconstruction teaches that blur is synthetic, which degraded real video pays for
        blend_share=0.85,
        still_share=0.5,
        sides=(96, 224),
        evaluate_every=400,
        held_out_makers=1,
        held_out_people=0.2,
        temporal=True,
        lessons=("slide", "glide", "linger", "tremble", "rebuild", "splice"),
        imagenet=True,
        device="cpu",
    )


def frame_gpu() -> TrainRecipe:
    """One GPU, half an hour: larger pictures and batches."""
    return replace(
        frame_cpu(),
        name="frame_gpu",
        size=224,
        pairs=48,
        max_steps=12000,
        ema=0.999,
        evaluate_every=500,
        device="cuda",
    )


def frame_tiny() -> TrainRecipe:
    """Under two minutes on one core, from random weights: for tests, not for use."""
    return replace(
        frame_cpu(),
        name="frame_tiny",
        size=64,
        pairs=4,
        max_steps=6,
        evaluate_every=3,
        ema=0.5,
        lessons=("slide",),
        imagenet=False,
        plan=LookPlan(dense_seconds=2, max_looks=6),
    )


RECIPES: dict[str, Callable[[], TrainRecipe]] = {f.__name__: f for f in (frame_cpu, frame_gpu, frame_tiny)}


def recipe_named(name: str) -> TrainRecipe:
    """The recipe of a name.

    Raises:
        DetectError: for an unknown name.
    """
    if name not in RECIPES:
        raise DetectError(f"no recipe {name!r}; known are {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
