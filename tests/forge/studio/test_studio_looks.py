from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from forge.studio.growth import scalp_density
from forge.studio.looks import Worn, sample_identity, sample_look, skin_colour
from forge.studio.regions import LAYOUT
from forge.studio.scenes import kelvin, sample_scene
from forge.studio.textures import bake_atlas

SIDE = 128


def test_equal_seeds_give_equal_people_and_other_seeds_others():
    assert sample_look(5) == sample_look(5)
    assert sample_look(5) != sample_look(6)
    assert np.array_equal(sample_identity(5, 50), sample_identity(5, 50))


def test_people_are_of_all_tones_ages_and_hair():
    looks = [sample_look(seed) for seed in range(400)]
    melanin = np.array([look.melanin for look in looks])
    assert (melanin < 0.4).mean() > 0.15 and (melanin > 1.1).mean() > 0.15
    ages = np.array([look.age for look in looks])
    assert (ages < 30).any() and (ages > 65).any()
    styles = Counter(look.hair for look in looks)
    assert len(styles) == 14 and max(styles.values()) < 0.3 * len(looks)
    assert 0.1 < np.mean([look.frame != "none" for look in looks]) < 0.5


def test_more_melanin_is_darker_and_more_blood_is_redder():
    light, dark = skin_colour(0.2, 0.2, 0.0), skin_colour(1.5, 0.2, 0.0)
    assert (dark < light).all()
    pale, flushed = skin_colour(0.2, 0.0, 0.0), skin_colour(0.2, 1.0, 0.0)
    assert flushed[0] / flushed[1] > 1.15 * pale[0] / pale[1]


def test_a_look_refuses_impossible_skin():
    with pytest.raises(ValueError, match="melanin"):
        replace(sample_look(1), melanin=5.0)


def test_worn_meshes_refuse_triangles_without_vertices():
    zero = np.zeros((3, 3), np.float32)
    with pytest.raises(ValueError, match="triangle names vertex 3"):
        Worn(zero, zero, zero, np.zeros((3, 2), np.float32), np.array([[0, 1, 3]]), "hair")


def test_an_atlas_is_the_same_again_and_shows_lips_redder_than_the_forehead():
    look = replace(sample_look(3), melanin=0.3, makeup=type(sample_look(3).makeup)())
    atlas, again = bake_atlas(look, SIDE), bake_atlas(look, SIDE)
    assert torch.equal(atlas.albedo_3AA, again.albedo_3AA)
    assert atlas.albedo_3AA.min() > 0 and atlas.albedo_3AA.max() < 1
    red = atlas.albedo_3AA[0] / atlas.albedo_3AA[1]
    face = red[: int(0.5 * SIDE), : int(LAYOUT["face"][2] * SIDE)]
    assert face.max() > 1.3 * face.median()


def test_pupils_are_black_and_the_white_of_the_eye_is_light():
    left, top, width, height = (round(v * SIDE) for v in LAYOUT["eye"])
    eye = bake_atlas(sample_look(4), SIDE).albedo_3AA[:, top : top + height, left : left + width].mean(0)
    assert eye[height // 2, width // 2] < 0.05 < 0.3 < eye[height // 2, round(width * 0.75)]


def test_hair_grows_on_the_crown_and_not_on_the_cheek():
    look = replace(sample_look(2), hair="crop", age=25.0)
    crown_cheek = torch.tensor([[0.0, 14.0, 0.0], [4.5, 0.0, 8.5]])
    density = scalp_density(crown_cheek, look)
    assert density[0] > 0.9 and density[1] < 0.01
    assert scalp_density(crown_cheek, replace(look, hair="bald"))[0] == 0


def test_scenes_are_lit_and_lamps_warm_below_6500_kelvin():
    for seed in range(50):
        scene = sample_scene(seed)
        assert 1 <= len(scene.lights) <= 4 and scene.lights[0].casts_shadow
        assert all(abs(np.linalg.norm(lamp.direction) - 1) < 1e-6 for lamp in scene.lights)
    warm, cold = kelvin(3000), kelvin(9000)
    assert warm[0] > 1 > warm[2] and cold[0] < 1 < cold[2]
