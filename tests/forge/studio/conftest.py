"""A person that no portrait was needed for."""

from __future__ import annotations

import numpy as np
import pytest

from forge.studio.head import PART, load_head
from forge.studio.photo_person import PhotoPerson


@pytest.fixture
def plain_person() -> PhotoPerson:
    """The mean head with an even skin before a flat board of dark hair, turned 5 degrees in its portrait."""
    head = load_head()
    count = len(head.neutral_V3)
    grid = np.stack(np.meshgrid(np.linspace(-11, 11, 12), np.linspace(-16, 16, 12)), -1).reshape(-1, 2)
    points = np.column_stack([grid, np.full(len(grid), -3.0)]).astype(np.float32)
    index = np.arange(144).reshape(12, 12)
    a, b, c, d = (index[s].ravel() for s in (np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, :-1], np.s_[1:, 1:]))
    sheet = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    dyn = np.zeros(64, np.float32)
    dyn[24] = 0.2
    picture = np.full((4, 64, 64), 40, np.uint8)
    picture[3] = 255
    uv = ((grid + np.array([11, 16])) / np.array([22, 32])).astype(np.float32)
    uv[:, 1] = 1 - uv[:, 1]
    return PhotoPerson(
        name="plain", seed=7, identity_K=np.zeros(head.modes, np.float32),
        residual_V3=np.zeros((count, 3), np.float32), lid_2V3=np.zeros((2, count, 3), np.float32),
        pose_3=np.array([5.0, 0.0, 0.0], np.float32), dyn_64=dyn, distance=90.0,
        skin_3AA=np.full((3, 96, 96), 150, np.uint8), light_93=np.zeros((9, 3), np.float32), iris=(0.1, 0.06, 0.03),
        eye_exposure=0.8, mouth_exposure=0.9, relief_W3=points,
        relief_normal_W3=np.tile(np.array([0.0, 0.0, 1.0], np.float32), (len(points), 1)), relief_uv_W2=uv,
        relief_triangles_T3=sheet, relief_part_T=np.full(len(sheet), PART["hair"], np.uint8), picture_4CC=picture,
        front_1CC=np.zeros((1, 64, 64), np.uint8), backdrop_3CC=np.full((3, 64, 64), 220, np.uint8), licence="CC0-1.0",
        parents=("digest",),
        facts={"gender": "woman", "fit": {"room_below": 12.0, "room_left": 20.0, "room_right": 20.0}},
    )  # fmt: skip
