"""Where in a face the seam network sees what it sees: class activation of its last block.

    seam_heat(network, crop, size=144)    # (144, 144), sums to what the logit is made of

The network averages its last block over the face and weighs the channels, so each place's share of the logit is known
exactly, without a gradient or a guess (Zhou et al. 2016). The last block is coarse, one value for 32 pixels; the crop
is shown moved a little several times and the maps are averaged in place.

Axes: B shifts, C channels, H W pixels or cells.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from detect.models.network import FrameNet, network_crop, to_batch
from detect.prepare import MARGIN, SIDE
from media.clip import FloatArray, UInt8Array
from media.landmarks import align_matrix, warp

SHIFTS = tuple((dx / 13.5, dy / 13.5) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
"""In parts of the size: thirds of a cell of the last block, at 144 pixels."""


def explain_face(
    network: FrameNet, image: UInt8Array, landmarks: FloatArray, size: int
) -> tuple[UInt8Array, FloatArray]:
    """`seam_heat` of a face in a frame.

    Args:
        network: in evaluation mode.
        image: (H, W, 3) frame.
        landmarks: (478, 2) of the face, pixels of the frame.
        size: side the network takes.
    """
    return seam_heat(network, warp(image, align_matrix(landmarks, SIDE, MARGIN), SIDE), size)


def seam_heat(network: FrameNet, crop: UInt8Array, size: int) -> tuple[UInt8Array, FloatArray]:
    """What each place of a face adds to the network's logit, whose mean over the face is the logit (less its offset).

    Args:
        network: in evaluation mode.
        crop: (SIDE, SIDE, 3) of `detect.prepare`.
        size: side the network takes.

    Returns:
        The (size, size, 3) picture that the network saw, and (size, size) contributions.
    """
    pictures = [network_crop(crop, size, shift=shift) for shift in SHIFTS]
    with torch.inference_mode():
        value_BCHW = network.blocks(network.bn(network.stem(to_batch(pictures))))
        cells_BHW = torch.einsum("bchw,c->bhw", value_BCHW.float(), network.head.weight[0].float()).numpy()
    moved = []
    for (dx, dy), cells in zip(SHIFTS, cells_BHW, strict=True):
        large = cv2.resize(np.ascontiguousarray(cells), (size, size), interpolation=cv2.INTER_CUBIC)
        back = np.array([[1, 0, -dx * size], [0, 1, -dy * size]], np.float64)
        moved.append(cv2.warpAffine(large, back, (size, size), borderMode=cv2.BORDER_REPLICATE))
    return pictures[len(SHIFTS) // 2], np.mean(moved, axis=0).astype(np.float32)
