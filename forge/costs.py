"""What one clip costs, in bytes and in seconds of one core, as measured on one machine: for plans, not for promises.

    cost_of_clip("face_swap", bench_512(), crf=21, frames=120)        # Cost(disk_bytes=..., cpu_seconds=...)

Where the numbers are from: 42 clips of the factory (`mesh` beside recordings of talking people; `tiny` at 256 and
`bench_512` at 512 pixels, at CRF 18, 23 and 28), and 60 frames of a recording through each manipulation at both sizes;
2026-11-23, one core of an Intel Xeon at 2.80 GHz that others worked beside. `vasa`: the CPU student's "whole, fps a
core" of `benchmarks/results/speed_face_2_cores_of_intel_r_xeon_r_processor_2_80ghz.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from types import MappingProxyType

from forge.recipes import DatasetRecipe

DISK_SOURCE = "mean of 42 clips of the factory, at CRF 18, 23 and 28; half to twice as much for other footage"
CPU_SOURCE = (
    "processor time of the same clips and of 60 frames through each manipulation, one core of a 2.80 GHz Xeon that "
    "others worked beside, without the quality gate; vasa: the CPU student of benchmarks/results/speed_face_*.json"
)
VIDEO_BYTES_A_SECOND: Mapping[int, Mapping[int, float]] = MappingProxyType(
    {256: {18: 61_000, 23: 30_500, 28: 19_500}, 512: {18: 140_000, 23: 70_000, 28: 37_000}}
)
"""By size and CRF, with sound and credentials; twins cost nearly the same."""
RECORD_BYTES = 16_000
"""Record and truth of any clip."""
MASK_BYTES_A_FRAME: Mapping[int, float] = MappingProxyType({256: 370, 512: 870})
RECORDING_SECONDS: Mapping[int, float] = MappingProxyType({256: 0.0125, 512: 0.032})
"""A frame of a real clip: decoded, cropped, encoded, signed."""
SCENE_SECONDS = 0.0245
"""A frame of a recording that is forged, or that lends its face: decoded, cropped, its face followed."""
MAKER_SECONDS: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {
        "mesh": {256: 0.0195, 512: 0.031},
        "vasa": {256: 1 / 8.957, 512: 1 / 4.840},
        "self_blended": {256: 0.0108, 512: 0.0419},
        "face_swap": {256: 0.0330, 512: 0.0985},
        "lip_splice": {256: 0.0254, 512: 0.0632},
        "own_reenactment": {256: 0.0165, 512: 0.0350},
        "sound_swap": {256: 0.0001, 512: 0.0001},
        "null_blend": {256: 0.0184, 512: 0.0748},
    }
)
"""A frame of a maker's own work, beyond what a real clip takes."""
OF_PORTRAITS = frozenset({"mesh", "vasa"})
WITH_DONORS = frozenset({"face_swap"})
WITHOUT_MASKS = frozenset({"real", "sound_swap"})


@dataclass(frozen=True)
class Cost:
    """Of one clip."""

    disk_bytes: float
    cpu_seconds: float | None
    """None for a maker that nobody has measured."""


def cost_of_clip(maker: str, recipe: DatasetRecipe, crf: int, frames: int) -> Cost:
    """What a clip will cost.

    Args:
        maker: its name; `real` for a recording.
        recipe: for the size and rate.
        crf: of its encoding.
        frames: its length.
    """
    size = recipe.size
    disk = bytes_a_second(size, crf) * frames / float(recipe.fps) + RECORD_BYTES
    if maker not in WITHOUT_MASKS:
        disk += MASK_BYTES_A_FRAME[size] * frames
    seconds = RECORDING_SECONDS[size]
    if maker != "real":
        if maker not in MAKER_SECONDS:
            return Cost(disk, None)
        scenes = 0 if maker in OF_PORTRAITS else 2 if maker in WITH_DONORS else 1
        seconds += MAKER_SECONDS[maker][size] + scenes * SCENE_SECONDS
    return Cost(disk, frames * seconds)


def bytes_a_second(size: int, crf: int) -> float:
    """Of an encoded clip: straight lines in the logarithm through what was measured, carried on beyond."""
    known = VIDEO_BYTES_A_SECOND[size]
    steps = sorted(known)
    low = max((step for step in steps[:-1] if step <= crf), default=steps[0])
    high = steps[steps.index(low) + 1]
    share = (crf - low) / (high - low)
    return exp((1 - share) * log(known[low]) + share * log(known[high]))
