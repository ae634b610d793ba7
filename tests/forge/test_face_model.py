"""The face model: what it is made of, and that one portrait serves any motion."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from forge.face.fast import FastFace
from forge.face.model import FaceModel, matched
from forge.face.recipes import FACE_RECIPES, FaceShape, LossWeights, face_256, face_recipe_named, face_tiny


@pytest.fixture(scope="module")
def model() -> FaceModel:
    torch.manual_seed(0)
    return FaceModel(face_tiny().shape).eval().requires_grad_(False)


def rough(model: FaceModel) -> FaceModel:
    """Zero-initialised branches set to noise, so that a path left out would be noticed."""
    for parameter in model.parameters():
        if float(parameter.detach().abs().sum()) == 0:
            nn.init.normal_(parameter, std=0.05)
    return model


def test_one_portrait_is_seen_once_and_drawn_in_many_motions(model: FaceModel) -> None:
    appearance = model.see(torch.rand(2, 3, 64, 64))
    image = model.draw(appearance, torch.zeros(6, 6), torch.zeros(6, 64))
    assert image.shape == (6, 3, 64, 64)
    assert float(image.min()) >= 0 and float(image.max()) <= 1


def test_frames_in_a_row_belong_to_their_portrait() -> None:
    model = rough(FaceModel(face_tiny().shape).eval()).requires_grad_(False)
    both = torch.rand(2, 3, 64, 64)
    pose, dyn = torch.randn(4, 6) * 3, torch.rand(4, 64) * 0.3
    together = model.draw(model.see(both), pose, dyn)
    alone = model.draw(model.see(both[1:]), pose[2:], dyn[2:])
    assert torch.allclose(together[2:], alone, atol=1e-4)
    assert not torch.allclose(together[0], together[2], atol=1e-3)


def test_everything_the_decoder_is_told_matters() -> None:
    model = rough(FaceModel(face_tiny().shape).eval()).requires_grad_(False)
    appearance = model.see(torch.rand(1, 3, 64, 64))
    plain = model.draw(appearance, torch.zeros(1, 6), torch.zeros(1, 64))
    turned = torch.tensor([[20.0, 0, 0, 0, 0, 0]])
    open_mouth = torch.zeros(1, 64)
    open_mouth[0, 24] = 1.0
    other_volume = replace(appearance, volume_BCDHW=appearance.volume_BCDHW.flip(-1))
    other_code = replace(appearance, identity_BI=-appearance.identity_BI)
    other_detail = replace(appearance, half_BCHW=appearance.half_BCHW.flip(-1))
    for changed in (
        model.draw(appearance, turned, torch.zeros(1, 64)),
        model.draw(appearance, torch.zeros(1, 6), open_mouth),
        *(model.draw(a, torch.zeros(1, 6), torch.zeros(1, 64)) for a in (other_volume, other_code, other_detail)),
    ):
        assert float((changed - plain).abs().max()) > 1e-4


def test_values_stay_as_large_as_they_came_in_an_untrained_decoder(model: FaceModel) -> None:
    decoder, sizes = model.decoder, list[float]()
    hooks = [
        layer.register_forward_hook(lambda _layer, _given, out: sizes.append(float(out.std())))
        for layer in (decoder.project, decoder.body, decoder.up_middle, decoder.up_high, decoder.out_high)
    ]
    model.draw(model.see(torch.rand(3, 3, 64, 64)), torch.randn(3, 6) * 10, torch.rand(3, 64) * 0.3)
    for hook in hooks:
        hook.remove()
    assert len(sizes) == 5 and min(sizes) > 0.3 and max(sizes) < 3.0, sizes


def test_motion_is_read_in_the_layout_of_the_motion_vector(model: FaceModel) -> None:
    pose, dyn = model.read_motion(torch.rand(3, 3, 64, 64))
    assert pose.shape == (3, 6) and dyn.shape == (3, 64)
    assert float(dyn[:, 54:].abs().max()) <= 1.0


def test_no_part_keeps_statistics_of_a_batch() -> None:
    for recipe in FACE_RECIPES.values():
        with torch.device("meta"):
            shape = replace(recipe().shape, rig_grid=None)
        model = FaceModel(shape)
        assert not [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert not [m for m in model.decoder.modules() if "Norm" in type(m).__name__]


def test_the_weights_that_ship_fit_their_budget() -> None:
    model = FaceModel(replace(face_256().shape, rig_grid=None))
    megabytes = {name: sum(p.numel() for p in part.parameters()) * 2 / 1e6 for name, part in model.named_children()}
    assert sum(megabytes.values()) < 40  # the student takes six of the sixty megabytes, RenderNet ten
    assert 8 < megabytes["decoder"] < 11
    assert megabytes["appearance"] + megabytes["canonical"] < 8


def test_the_fast_path_draws_the_same_bytes() -> None:
    model = rough(FaceModel(face_tiny().shape).eval()).requires_grad_(False)
    portrait, pose, dyn = torch.rand(1, 3, 64, 64), torch.randn(5, 6) * 3, torch.rand(5, 64) * 0.3
    wanted = (model.draw(model.see(portrait), pose, dyn) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
    face = FastFace(model, portrait, batch=2)
    got = torch.cat(list(face.frames(pose, dyn)))
    assert got.shape == (5, 64, 64, 3) and got.dtype == torch.uint8
    assert int((got.int() - wanted.int()).abs().max()) <= 1
    with pytest.raises(ValueError, match="between 1 and 2"):
        face.draw(pose, dyn)


def test_a_picture_of_another_size_is_refused_and_can_be_matched(model: FaceModel) -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, 64, 64\)"):
        model.see(torch.rand(1, 3, 96, 96))
    assert matched(torch.rand(1, 3, 96, 96), 64).shape[-1] == 64


@pytest.mark.parametrize(
    "change", [{"size": 100}, {"decoder": "XL"}, {"depth": 6}, {"channels": 12}, {"learned_flows": 0}]
)
def test_shapes_that_cannot_be_built_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="got"):
        FaceShape(**change)  # type: ignore[arg-type]


def test_recipes_refuse_nonsense_and_go_by_name() -> None:
    with pytest.raises(ValueError, match="cross"):
        replace(face_tiny(), cross=99)
    with pytest.raises(ValueError, match="negative"):
        LossWeights(pixels=-1.0)
    with pytest.raises(ValueError, match="face_256"):
        face_recipe_named("face_1024")
    assert face_recipe_named("face_512").shape.size == 512
