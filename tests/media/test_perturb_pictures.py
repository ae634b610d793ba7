"""What happens to single pictures is what the name says, at every size."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from media.clip import Clip
from media.perturb import PERTURBATIONS, perturb


def flat(height: int, width: int, colour: tuple[int, int, int] = (60, 60, 60), length: int = 2) -> Clip:
    return Clip(np.full((length, height, width, 3), colour, np.uint8), Fraction(25))


@pytest.mark.parametrize("side", [16, 64, 128, 200, 255, 256, 300, 512])
@pytest.mark.parametrize("level", PERTURBATIONS["blocks"].levels)
def test_blocks_are_drawn_at_every_size(side: int, level: float) -> None:
    """Rounding their number down with the size draws none under 256 pixels."""
    out = perturb(flat(side, side), "blocks", level)
    covered = float((out.frames[..., 0] == 128).mean())
    expected = 1 - (1 - (8 / 256) ** 2) ** float(level)
    assert abs(covered - expected) < 0.5 * expected, (side, level, covered, expected)


def test_blocks_are_as_dense_in_wide_pictures_and_lie_elsewhere_in_every_frame() -> None:
    out = perturb(flat(128, 512), "blocks", 64)
    covered = (out.frames[..., 0] == 128).mean()
    assert abs(float(covered) - 0.06) < 0.02
    assert not np.array_equal(out.frames[0], out.frames[1])
    assert set(np.unique(out.frames)) == {60, 128}


def test_pixelate_leaves_squares_of_one_colour() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1, 256, 256, 3), dtype=np.uint8)
    out = perturb(Clip(noise, Fraction(25)), "pixelate", 4).frames[0]
    squares = out.reshape(64, 4, 64, 4, 3)
    assert (squares == squares[:, :1, :, :1]).all()
    assert len(np.unique(out.reshape(-1, 3), axis=0)) > 1000


def test_chroma_blurs_colour_and_keeps_light() -> None:
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = (200, 60, 60)
    stripes[:, :, 1::2] = (60, 60, 200)
    clip = Clip(stripes, Fraction(25))

    def planes(one: Clip) -> np.ndarray:
        return np.asarray(cv2.cvtColor(one.frames[0], cv2.COLOR_RGB2YCrCb)).astype(int)

    before, after = planes(clip), planes(perturb(clip, "chroma", "4:2:0"))
    assert np.abs(before[..., 0] - after[..., 0]).mean() < 4
    assert after[8:56, 8:56, 1].std() < 0.1 * before[8:56, 8:56, 1].std()
    across = perturb(Clip(stripes.swapaxes(1, 2).copy(), Fraction(25)), "chroma", "4:2:2")
    assert planes(across)[8:56, 8:56, 1].std() > 0.9 * before[..., 1].std(), "4:2:2 keeps every row of colour"


@pytest.mark.parametrize(("name", "level"), [("warmth", 0.3), ("warmth", -0.3), ("tint", 0.3), ("tint", -0.3)])
def test_a_cast_moves_colour_the_way_it_is_named_and_keeps_the_light(name: str, level: float) -> None:
    red, green, blue = (int(v) for v in perturb(flat(4, 4, (120, 120, 120)), name, level).frames[0, 0, 0])
    linear = (np.array([red, green, blue]) / 255) ** 2.2
    assert abs(float(linear @ [0.2126, 0.7152, 0.0722]) - (120 / 255) ** 2.2) < 0.004
    moved = red - blue if name == "warmth" else (red + blue) / 2 - green
    assert moved * level > 0


def test_letterbox_loses_nothing_and_adds_black() -> None:
    tall = perturb(flat(90, 160), "letterbox", 1.78)
    assert tall.frames.shape[1:3] == (284, 160)
    rows = tall.frames[0, :, 0, 0]
    assert (rows == 60).sum() == 90
    assert set(rows[:97]) == {0}
    assert set(rows[187:]) == {0}
    wide = perturb(flat(160, 90), "letterbox", 1.0)
    assert wide.frames.shape[1:3] == (160, 160)


@pytest.mark.parametrize("width", [48, 128, 512])
def test_text_stays_inside_the_picture_and_off_the_face(width: int) -> None:
    out = perturb(flat(width, width, length=80), "text", 0.1)
    changed = (out.frames != 60).any(axis=-1)
    assert changed.any()
    assert not changed[:, :, -1].any(), "letters run out of the picture"
    assert not changed[:, round(0.25 * width) : round(0.6 * width)].any()
    assert not np.array_equal(out.frames[0], out.frames[60]), "the caption never changes"
