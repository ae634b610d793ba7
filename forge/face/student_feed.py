"""Batches for the student's training: pairs from memory, made different every time.

    feed = Feed(pairs, recipe, seed=0)
    source, guess, truth = feed.batch(crop=192)

Mirroring swaps left and right in what is told; brightness, contrast, colour, blur and compression are changed alike in
all pictures of a pair, because the student shall keep a picture's look, not mend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.face.student import Guess
from forge.face.student_losses import BEHIND, FINE, Truth
from forge.face.student_motion import MEASURED_NAMES
from forge.face.student_pairs import FINE_PARTS, Pair, decoded
from forge.motion.features import BLENDSHAPE_NAMES
from forge.studio.head import PART

FloatArray = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
UInt8Array = NDArray[np.uint8]

IS_FINE = np.isin(np.arange(256), [PART[name] for name in FINE_PARTS])
PICTURES = ("source", "target", "drawn", "worn")


def mirrored_told() -> tuple[NDArray[np.int64], FloatArray]:
    """Where each of the told numbers of a mirrored frame comes from, and its sign."""

    def swapped(names: Sequence[str]) -> list[int]:
        other = {"Left": "Right", "Right": "Left"}
        turned = [next((n[: -len(e)] + other[e] for e in other if n.endswith(e)), n) for n in names]
        return [list(names).index(name) for name in turned]

    pose = 6
    order = [*range(pose), *(pose + i for i in swapped(BLENDSHAPE_NAMES))]
    gaze = len(order)
    order += [gaze, gaze + 1]
    order += [gaze + 2 + i for i in swapped(MEASURED_NAMES)]
    turn = len(order)
    order += [turn, turn + 1]
    sign = np.ones(len(order), np.float32)
    sign[[0, 2, 3, gaze, turn]] = -1  # yaw, roll, shift_x; gaze to the side; the portrait's own yaw
    return np.array(order), sign


ORDER, SIGN = mirrored_told()


class Feed:
    """Draws batches of augmented pairs."""

    def __init__(self, pairs: Sequence[Pair], batch: int, seed: int) -> None:
        if not pairs:
            raise ValueError("there must be at least one pair, got none")
        self.pairs, self.size = list(pairs), batch
        self._rng = np.random.default_rng(seed)
        self._order: list[int] = []

    def batch(self, crop: int | None = None) -> tuple[Guess, Truth]:
        """The next batch; with `crop`, of squares of that side around random places near the face."""
        drawn = [self._one(self.pairs[i], crop) for i in self._next()]
        names = drawn[0].keys()
        stacked = {name: torch.from_numpy(np.stack([d[name] for d in drawn])) for name in names}
        return packed(stacked)

    def _next(self) -> list[int]:
        while len(self._order) < self.size:
            self._order += self._rng.permutation(len(self.pairs)).tolist()
        taken, self._order = self._order[: self.size], self._order[self.size :]
        return taken

    def _one(self, pair: Pair, crop: int | None) -> Arrays:
        arrays = arrays_of(pair)
        if self._rng.random() < 0.5:
            arrays = mirrored(arrays)
        if crop is not None and crop < arrays["source"].shape[0]:
            x, y = self._place(arrays["maps"], crop)
            arrays = cropped(arrays, x, y, crop)
        self._restyle(arrays)
        return arrays

    def _place(self, maps: UInt8Array, crop: int) -> tuple[int, int]:
        """Corner of a crop in whole steps of 16 pixels, somewhere that holds the middle of the face."""
        side = 2 * maps.shape[0]
        rows, columns = np.nonzero(maps[..., 0] > 127)
        middle = (columns.mean() * 2, rows.mean() * 2) if len(rows) else (side / 2, side / 2)
        at = [m - crop / 2 + self._rng.uniform(-0.25, 0.25) * crop for m in middle]
        x, y = (int(np.clip(round(v / 16) * 16, 0, side - crop)) for v in at)
        return x, y

    def _restyle(self, arrays: Arrays) -> None:
        """Change the look of all pictures alike, in place; they become float32 in [0, 1]."""
        rng = self._rng
        gain = rng.uniform(0.75, 1.2) * rng.uniform(0.9, 1.1, 3)
        gamma, lift = rng.uniform(0.75, 1.35), rng.uniform(-0.04, 0.06)
        table = np.clip((np.arange(256)[:, None] / 255) ** gamma * gain + lift, 0, 1).astype(np.float32)
        blur = rng.uniform(0.4, 1.1) if rng.random() < 0.2 else 0.0
        quality = int(rng.integers(35, 90)) if rng.random() < 0.25 else 0
        for name in PICTURES:
            image = np.asarray(arrays[name], np.uint8)
            shown = np.stack([table[image[..., c], c] for c in range(3)], -1)
            if blur:
                shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), blur), np.float32)
            if quality and name != "target":  # blocks of the target cannot be foreseen
                whole = (shown * 255 + 0.5).astype(np.uint8)
                _, data = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, quality])
                shown = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32) / np.float32(255)
            arrays[name] = shown


def arrays_of(pair: Pair) -> Arrays:
    """The arrays of a pair, pictures decoded."""
    arrays: Arrays = {name: pair.picture(name) for name in PICTURES}
    for name in ("flow", "maps", "own", "told", "true_flow", "seen", "regions"):
        arrays[name] = getattr(pair, name)
    parts = decoded(pair.parts)
    fine = cv2.dilate(IS_FINE[parts].astype(np.uint8), np.ones((5, 5), np.uint8))
    weight = np.where(fine > 0, FINE, np.where(parts == PART["background"], BEHIND, 1.0)).astype(np.float32)
    arrays["weight"] = weight
    arrays["behind"] = (parts[2::4, 2::4] == PART["background"]).astype(np.uint8)
    return arrays


def mirrored(arrays: Arrays) -> Arrays:
    """The pair as in a mirror."""
    out = {name: np.ascontiguousarray(a[:, ::-1]) if a.ndim > 1 else a for name, a in arrays.items()}
    for name in ("flow", "true_flow"):
        out[name] = out[name] * np.array([-1, 1], np.float16)
    out["told"] = arrays["told"][ORDER] * SIGN
    return out


def cropped(arrays: Arrays, x: int, y: int, crop: int) -> Arrays:
    """A square of every array; flows and shifts are in sides of the crop then."""
    whole = arrays["source"].shape[0]
    out = {}
    for name, a in arrays.items():
        if a.ndim == 1:
            out[name] = a
            continue
        step = whole // a.shape[0]
        out[name] = np.ascontiguousarray(a[y // step : (y + crop) // step, x // step : (x + crop) // step])
    for name in ("flow", "true_flow"):
        out[name] = out[name] * np.float16(whole / crop)
    return out


def packed(stacked: dict[str, Tensor]) -> tuple[Guess, Truth]:
    """Tensors of a batch from stacked arrays."""

    def picture(name: str) -> Tensor:
        return stacked[name].float().permute(0, 3, 1, 2).contiguous()

    def plane(name: str) -> Tensor:
        return stacked[name].float()[:, None]

    guess = Guess(
        picture("drawn"), picture("worn"), picture("source"), picture("flow"), picture("maps") / 255,
        picture("own") / 255, stacked["told"].float(),
    )  # fmt: skip
    truth = Truth(
        picture("target"), plane("weight"), picture("true_flow"), plane("seen"), plane("behind"),
        stacked["regions"].long(),
    )  # fmt: skip
    return guess, truth


def plain_batch(pairs: Sequence[Pair]) -> tuple[Guess, Truth]:
    """Whole pairs as they are, for evaluation."""
    drawn = [arrays_of(pair) for pair in pairs]
    for arrays in drawn:
        for name in PICTURES:
            arrays[name] = np.asarray(arrays[name], np.float32) / np.float32(255)
    return packed({name: torch.from_numpy(np.stack([d[name] for d in drawn])) for name in drawn[0]})
