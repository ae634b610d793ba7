"""The student's network: what it is, what it starts as, and what a mended frame is made of."""

from __future__ import annotations

import pytest
import torch

from forge.face.student import LAYERS, TOLD, Guess, Layers, Student, StudentShape, compose, sample
from forge.face.student_recipes import STUDENT_RECIPES, StudentLosses, StudentRecipe, student_recipe_named

TINY = StudentShape(size=64, widths=(8, 8, 12, 16), kept=4, told=16)


def noise(side: int = 64, batch: int = 1) -> Guess:
    torch.manual_seed(0)
    pictures = [torch.rand(batch, 3, side, side) for _ in range(3)]
    maps = [torch.rand(batch, 4, side // 2, side // 2) for _ in range(2)]
    return Guess(*pictures, torch.zeros(batch, 2, side // 4, side // 4), *maps, torch.zeros(batch, TOLD))


def test_an_untrained_student_shifts_nothing_and_mostly_shows_the_first_guess() -> None:
    guess = noise()
    student = Student(TINY).eval()
    layers = student(student.see(guess.source_B3HW, guess.own_BPhw).kept_BChw, guess)
    assert torch.equal(layers.shift_B2hw, torch.zeros_like(layers.shift_B2hw))
    assert float(layers.shares_B4HW[:, 0].mean()) > 0.6
    assert torch.allclose(layers.shares_B4HW.sum(1), torch.ones(1, 64, 64), atol=1e-5)


def test_a_sample_that_is_shifted_by_nothing_is_the_picture_itself() -> None:
    image = torch.rand(2, 3, 32, 32)
    assert torch.allclose(sample(image, torch.zeros(2, 2, 32, 32)), image, atol=1e-5)


def test_a_shift_is_counted_in_sides_of_the_picture_to_the_right_and_down() -> None:
    image = torch.arange(32.0).expand(1, 1, 32, 32)
    shift = torch.zeros(1, 2, 32, 32)
    shift[:, 0] = 4 / 32
    assert torch.allclose(sample(image, shift)[..., :28], image[..., 4:], atol=1e-4)
    assert torch.allclose(
        sample(image.transpose(2, 3), shift.flip(1))[..., :28, :], image.transpose(2, 3)[..., 4:, :], atol=1e-4
    )


@pytest.mark.parametrize("layer", range(len(LAYERS)))
def test_a_layer_that_has_all_shares_is_what_is_seen(layer: int) -> None:
    guess = noise()
    shares = torch.zeros(1, 4, 64, 64)
    shares[:, layer] = 1
    paint = torch.rand(1, 3, 64, 64)
    layers = Layers(shares, paint, torch.zeros(1, 2, 32, 32))
    seen = compose(guess.drawn_B3HW, guess.worn_B3HW, guess.source_B3HW, layers)
    assert torch.allclose(seen, [guess.drawn_B3HW, guess.worn_B3HW, guess.source_B3HW, paint][layer], atol=1e-5)


def test_layers_of_a_small_student_mend_pictures_of_twice_its_side() -> None:
    layers = Layers(torch.full((1, 4, 32, 32), 0.25), torch.rand(1, 3, 32, 32), torch.zeros(1, 2, 16, 16))
    large = [torch.rand(1, 3, 64, 64) for _ in range(3)]
    assert compose(large[0], large[1], large[2], layers).shape == (1, 3, 64, 64)


def test_the_residual_flow_means_the_same_pixels_in_a_crop_and_in_the_whole_picture() -> None:
    student = Student(TINY).eval()
    assert student.flow.bias is not None
    torch.nn.init.constant_(student.flow.bias, 0.3)
    pixels = []
    for side in (64, 32):
        guess = noise(side)
        layers = student(student.see(guess.source_B3HW, guess.own_BPhw).kept_BChw, guess)
        pixels.append(float(layers.shift_B2hw.mean()) * side)
    assert pixels[0] == pytest.approx(pixels[1], rel=1e-4)


def test_what_is_told_changes_the_frame_once_the_student_has_learned_to_listen() -> None:
    guess = noise()
    student = Student(TINY).eval()
    torch.nn.init.normal_(student.film16.weight, std=1.0)
    torch.nn.init.normal_(student.at16.second.weight, std=0.5)
    kept = student.see(guess.source_B3HW, guess.own_BPhw).kept_BChw
    other = Guess(*(getattr(guess, n) for n in list(guess.__dataclass_fields__)[:-1]), torch.ones(1, TOLD))
    assert not torch.allclose(student(kept, guess).shares_B4HW, student(kept, other).shares_B4HW)


@pytest.mark.parametrize("bad", [{"size": 40}, {"size": 16}, {"kept": 2}])
def test_a_shape_that_cannot_be_halved_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        StudentShape(**bad)


@pytest.mark.parametrize("name", sorted(STUDENT_RECIPES))
def test_every_recipe_resolves_to_json(name: str) -> None:
    assert student_recipe_named(name).to_json()["shape"]["size"] >= 64


def test_nonsense_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="recipe must be one of"):
        student_recipe_named("face_gpu")
    with pytest.raises(ValueError, match="crop must be"):
        StudentRecipe("x", "y", crop=100)
    with pytest.raises(ValueError, match="flow must not be negative"):
        StudentLosses(flow=-1.0)
