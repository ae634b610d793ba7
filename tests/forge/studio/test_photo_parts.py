"""Matte, light and layers of a portrait, on made pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from forge.portrait import ForgeError
from forge.studio.head import PART, load_head
from forge.studio.photo_layers import CANVAS_SIDE, build_shell, canvas_matrix, to_canvas
from forge.studio.photo_light import estimate_light, harmonics, shading, to_linear, to_srgb
from forge.studio.photo_matte import Matte, find_matte, push_pull
from forge.studio.photo_person import PhotoPerson, file_name, save_person
from forge.studio.photo_texture import face_surface, face_uv
from forge.studio.photo_widen import Mixture, cast_person, sample_light, widen
from media.landmarks import FACE_OVAL


def round_portrait() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A brown disc on red shoulders before a green wall: picture, head mask, landmarks, true person."""
    y, x = np.mgrid[:256, :256].astype(np.float32)
    head = np.hypot(x - 128, (y - 100) / 1.25) < 44
    hair = np.hypot(x - 128, (y - 90) / 1.25) < 56
    body = (y > 150) & (np.abs(x - 128) < 20 + np.minimum((y - 150) * 2.0, 60))
    image = np.zeros((256, 256, 3), np.uint8)
    image[:] = (70, 140, 80)
    image[body], image[hair], image[head] = (170, 40, 50), (40, 30, 30), (190, 140, 110)
    rng = np.random.default_rng(0)
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    landmarks = np.tile(np.array([128.0, 100.0, 0.0], np.float32), (478, 1))
    turn = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    landmarks[list(FACE_OVAL), 0] += 42 * np.sin(turn)
    landmarks[list(FACE_OVAL), 1] -= 52 * np.cos(turn)
    return image, head, landmarks, head | hair | body


def test_a_person_is_cut_out_with_hair_and_shoulders() -> None:
    image, head, landmarks, person = round_portrait()
    matte = find_matte(image, head, landmarks)
    found = matte.alpha_HW > 0.5
    overlap = (found & person).sum() / (found | person).sum()
    assert overlap > 0.93
    # behind the person there is wall, not person
    assert np.abs(matte.background_HW3[100, 128].astype(int) - [70, 140, 80]).max() < 25
    assert matte.foreground_HW3[100, 128, 0] > 150


def test_push_pull_keeps_what_is_known_and_fills_the_rest_from_around() -> None:
    picture = np.zeros((64, 64, 3), np.float32)
    picture[:, :32], picture[:, 32:] = 10.0, 200.0
    known = np.ones((64, 64), np.float32)
    known[20:44, 4:24] = 0.0
    holed = np.where(known[..., None] > 0, picture, 999.0).astype(np.float32)
    filled = push_pull(holed * known[..., None], known)
    assert np.array_equal(filled[known > 0], picture[known > 0])
    assert filled[32, 12].max() < 40


def test_light_is_recovered_from_a_sphere_of_one_colour() -> None:
    rng = np.random.default_rng(1)
    normal = rng.normal(size=(4000, 3))
    normal[:, 2] = -np.abs(normal[:, 2])
    normal = (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)
    truth = np.zeros((9, 3), np.float32)
    truth[1] = 0.4
    colour = np.array([0.3, 0.2, 0.15], np.float32) * shading(torch.from_numpy(truth), torch.from_numpy(normal)).numpy()
    found = estimate_light(colour, normal, np.ones(4000, np.float32))
    again = shading(torch.from_numpy(found), torch.from_numpy(normal)).numpy()
    even = colour / again
    assert even.std(axis=0).max() / even.mean() < 0.06
    assert found[1].mean() > 0.2 > np.abs(found[2:4]).max()


def test_too_few_points_give_even_light() -> None:
    few = np.full((10, 3), 0.3, np.float32)
    assert not estimate_light(few, few, np.ones(10, np.float32)).any()


def test_light_is_bounded_and_unknown_directions_get_none_of_it() -> None:
    strong = torch.full((9, 3), 50.0)
    factor = shading(strong, torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))
    assert float(factor[0].max()) < 2.0
    assert torch.equal(factor[1], torch.ones(3))
    assert harmonics(torch.zeros(2, 5, 3)).shape == (2, 5, 9)


def test_colour_goes_to_linear_light_and_back() -> None:
    byte = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    back = (to_srgb(torch.from_numpy(to_linear(byte))) * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(back, byte)


def test_light_that_is_drawn_leaves_the_middle_of_a_face_as_bright_as_it_was() -> None:
    ahead = torch.tensor([[0.0, 0.0, -1.0]])
    values = [shading(torch.from_numpy(sample_light(seed)), ahead).mean().item() for seed in range(40)]
    assert min(values) > 0.75 and max(values) < 1.35
    assert np.array_equal(sample_light(5), sample_light(5))


def test_the_canvas_shows_the_pivot_in_its_middle_at_a_fixed_scale() -> None:
    matrix = canvas_matrix(np.array([100.0, 60.0]), pixels_per_centimetre=10.0)
    assert matrix[:, :2] @ [100.0, 60.0] + matrix[:, 2] == pytest.approx([CANVAS_SIDE / 2] * 2)
    picture = np.zeros((128, 200, 3), np.uint8)
    picture[59:61, 99:101] = 255
    drawn = np.asarray(to_canvas(picture, matrix))
    rows, columns = np.nonzero(drawn[..., 0] > 100)
    assert rows.mean() + 0.5 == pytest.approx(CANVAS_SIDE / 2, abs=0.6)
    assert columns.mean() + 0.5 == pytest.approx(CANVAS_SIDE / 2, abs=0.6)


def test_the_relief_is_closed_in_front_and_behind_and_hollow_behind_the_face() -> None:
    y, x = np.mgrid[:CANVAS_SIDE, :CANVAS_SIDE].astype(np.float32)
    away = np.hypot(x - 320, y - 320)
    alpha = (away < 180).astype(np.float32)
    ball = np.sqrt(np.maximum(150.0**2 - away**2, 0.0)) * 48 / 640
    depth = np.where(away < 150, 80 - ball, np.inf).astype(np.float32)
    normal = np.stack([(x - 320) / 150, (y - 320) / 150, -ball * 640 / 48 / 150], -1) * (away < 150)[..., None]
    face = away < 100
    colours = np.full((CANVAS_SIDE, CANVAS_SIDE, 3), 60, np.uint8)
    tone, hair = np.array([190.0, 140.0, 110.0], np.float32), (away < 190) & (y < 420)
    shell = build_shell(
        Matte(alpha, colours, colours), depth, normal.astype(np.float32), face, 640 * 80 / 48, 80.0, 420.0, tone, hair
    )
    half = len(shell.triangles_T3) // 2
    assert np.array_equal(shell.part_T[:half], shell.part_T[half:])
    flat = np.hypot(*(shell.uv_V2[shell.triangles_T3].mean(1) * CANVAS_SIDE - 320).T)
    assert flat.min() > 60, "nothing deep behind the face"
    assert flat.max() > 150, "hair beyond the head"
    front, back = shell.camera_V3[shell.triangles_T3[:half]], shell.camera_V3[shell.triangles_T3[half:]]
    assert (back[..., 2].mean() - front[..., 2].mean()) > 2
    assert shell.front_1CC[0, 320, 320] == 0 and shell.front_1CC[0, 320, 460] == 255
    assert PART["hair"] in shell.part_T


def test_the_face_wears_its_own_texture_from_brow_to_jaw_but_not_the_ears() -> None:
    head = load_head()
    surface = face_surface(head)
    middle = head.neutral_V3[head.triangles_T3[torch.from_numpy(surface.triangle_T)]].mean(1).numpy()
    assert middle[:, 1].max() > 8 and middle[:, 1].min() < -8
    assert not ((np.abs(middle[:, 0]) > 8.2) & (np.abs(middle[:, 1] - 2.2) < 3)).any()
    uv = face_uv(head)[head.triangles_T3.numpy()[surface.triangle_T]]
    assert uv.min() >= 0 and uv.max() <= 1
    assert 0.005 < (surface.lid_N < 0.5).mean() < 0.1


def test_a_child_takes_its_share_of_shape_skin_and_colour(plain_person: PhotoPerson) -> None:
    side = face_surface(load_head()).side
    first = dataclasses.replace(plain_person, skin_3AA=np.full((3, side, side), 150, np.uint8))
    other = dataclasses.replace(
        first, name="other", seed=8, identity_K=np.ones_like(first.identity_K), skin_3AA=first.skin_3AA // 2
    )
    half = Mixture(0.5, 0.5, 0.3, 0.0, (1.0, 1.0, 1.0), 0.0, 1.0, wander=0.0)
    child = widen(first, other, seed=12, mixture=half)
    assert child.parents == ("plain", "other") and child.seed == 12 and child.licence == "CC0-1.0"
    assert child.identity_K == pytest.approx(0.5)
    assert child.skin_3AA.mean() < first.skin_3AA.mean(), "darker by the melanin"
    assert np.abs(child.relief_W3 - first.relief_W3).max() < 3
    assert np.array_equal(widen(first, other, seed=12).skin_3AA, widen(first, other, seed=12).skin_3AA)


def test_a_person_without_a_licence_cannot_be_made(plain_person: PhotoPerson) -> None:
    with pytest.raises(ForgeError, match="plain: no licence"):
        dataclasses.replace(plain_person, licence=" ")


def test_every_seed_has_a_person_and_held_out_seeds_have_their_own(plain_person: PhotoPerson, tmp_path: Path) -> None:
    side = face_surface(load_head()).side
    skin = np.full((3, side, side), 150, np.uint8)
    for name, seed in (("a", 0), ("b", 1), ("c", 1_000_009)):
        person = dataclasses.replace(plain_person, name=name, seed=seed, skin_3AA=skin)
        save_person(tmp_path / file_name(name, seed), person)
    files = sorted(tmp_path.glob("*.npz"))
    assert [cast_person(files, seed).name for seed in (0, 1, 1_000_000)] == ["a", "b", "c"]
    child = cast_person(files, 40)
    assert child.seed == 40 and set(child.parents) == {"a", "b"}
    assert np.array_equal(child.skin_3AA, cast_person(files, 40).skin_3AA)
    assert cast_person(files, 1_000_777).name == "c"
    with pytest.raises(ForgeError, match="no held-out photo people among 2 files"):
        cast_person(files[:2], 1_000_000)
