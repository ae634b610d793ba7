"""What is known of every frame of a dataset's clip, as one parquet file a clip.

Columns: frame, pts_seconds; the six of the pose, the 52 coefficients (`forge.motion.features`), gaze_yaw_degrees and
gaze_pitch_degrees; mask_file and mask_row, the place of the frame's mask of synthesised pixels. Of a real clip only the
first two are known: the others are null, because what a tracker would say is no truth.

    masks = read_masks(folder / table["mask_file"][0])       # (T, S, S) bool
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forge.motion.features import BLENDSHAPE_NAMES, GAZE_NAMES, POSE_NAMES, Motion

DEGREES_PER_GAZE = 30.0
"""`forge.motion.features` keeps gaze in units of 30 degrees."""
TRUTH_NAMES = (*POSE_NAMES, *BLENDSHAPE_NAMES, *(f"{name}_degrees" for name in GAZE_NAMES))


def write_truth(path: Path, length: int, fps: Fraction, motion: Motion | None, mask_file: str | None) -> None:
    """Write the table whole or not at all; the same values give the same bytes.

    Args:
        path: the parquet file.
        length: number of frames T.
        fps: exact frame rate.
        motion: what the face was told to do in every frame; None for a real clip.
        mask_file: path of the masks relative to the dataset; None when there are none.
    """
    frame = np.arange(length, dtype=np.int32)
    columns: dict[str, pa.Array] = {
        "frame": pa.array(frame),
        "pts_seconds": pa.array([float(int(n) / fps) for n in frame], pa.float64()),
    }
    for name in TRUTH_NAMES:
        values = None if motion is None else _curve(motion, name)
        columns[name] = pa.nulls(length, pa.float32()) if values is None else pa.array(values, pa.float32())
    columns["mask_file"] = pa.array([mask_file] * length, pa.string())
    columns["mask_row"] = pa.array(frame) if mask_file else pa.nulls(length, pa.int32())
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        pq.write_table(pa.table(columns), temporary, compression="zstd")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_masks(path: Path, masks: Iterable[NDArray[np.bool_]]) -> int:
    """Write one (S, S) bool mask a frame as packed bits in an npz; returns how many.

    Raises:
        ValueError: for no masks at all.
    """
    rows: list[NDArray[np.uint8]] = []
    shape: tuple[int, ...] = ()
    for mask in masks:
        shape = mask.shape
        rows.append(np.packbits(mask))
    if not rows:
        raise ValueError("there must be at least one mask, got none")
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part.npz")
    try:
        np.savez_compressed(temporary, bits=np.stack(rows), shape=np.array(shape))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return len(rows)


def read_masks(path: Path) -> NDArray[np.bool_]:
    """(T, S, S) bool masks that `write_masks` wrote."""
    with np.load(path) as file:
        height, width = (int(value) for value in file["shape"])
        flat = np.unpackbits(file["bits"], axis=1, count=height * width)
    return flat.reshape(-1, height, width).astype(bool)


def _curve(motion: Motion, name: str) -> NDArray[np.float32]:
    if name.endswith("_degrees"):
        return motion[name.removesuffix("_degrees")] * np.float32(DEGREES_PER_GAZE)
    return motion[name]
