"""From weights on disk to a detector: the one place that knows which file holds which kind of model."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detect.models.frame import FrameDetector

SHIPPED_WEIGHTS = "frame_v1.safetensors"


def shipped_weights() -> Path:
    """Where the weights that come with the package lie."""
    return Path(str(files("detect").joinpath("weights", SHIPPED_WEIGHTS)))


def load_detector(weights: Path | None = None) -> FrameDetector:
    """The detector stored in a weights file, or the shipped one.

    Args:
        weights: a `.safetensors` file that `detect train` wrote, its `.json` beside it; None for the shipped one.

    Raises:
        DetectError: when the file or its description is missing, damaged or of another kind.
    """
    from detect.models.frame import FrameDetector

    return FrameDetector.load(weights if weights is not None else shipped_weights())
