import json

import numpy as np
import pytest
import torch

from forge.motion.features import INDEX, NAMES
from forge.portrait import ForgeError
from forge.studio.head import PART
from forge.studio.studio import Studio, hash_seed

SIZE = 96


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(SIZE, atlas_side=128)


def still(**values: float) -> np.ndarray:
    row = np.zeros((1, len(NAMES)), np.float32)
    for name, value in values.items():
        row[0, INDEX[name]] = value
    return row


def test_a_take_is_the_same_again_and_its_facts_are_json(studio):
    take = studio.shoot(1, 2, 5)
    again = Studio(SIZE, atlas_side=128).shoot(1, 2, 5)
    assert torch.equal(take.image_F3HW, again.image_F3HW)
    assert take.label == "synthetic" and take.identity == 1 and not take.held_out
    assert json.loads(json.dumps(dict(take.scene)))["kind"] == "rendered"


def test_a_head_that_turns_to_the_pictures_right_shows_its_nose_there(studio):
    turned = studio.shoot(1, 2, 5, motion_FM=np.concatenate([still(yaw=25), still(yaw=-25)]))
    nose = turned.landmarks_FL2[:, 1, 0]
    assert nose[0] > SIZE / 2 + 3 and nose[1] < SIZE / 2 - 3


def test_eyes_show_open_and_not_shut(studio):
    take = studio.shoot(1, 2, 5, motion_FM=np.concatenate([still(), still(eyeBlinkLeft=1, eyeBlinkRight=1)]))
    eye = (take.parts_FHW == PART["sclera"]) | (take.parts_FHW == PART["iris"])
    opened, shut = eye.sum((1, 2)).tolist()
    assert opened > 12 and shut <= 0.12 * opened


def test_the_torso_stays_when_the_head_turns(studio):
    take = studio.shoot(1, 2, 5, motion_FM=np.concatenate([still(), still(yaw=40)]))
    cloth = take.parts_FHW == PART["cloth"]
    both = (cloth[0] & cloth[1]).sum() / (cloth[0] | cloth[1]).sum()
    assert both > 0.8
    assert cloth[:, -1].float().mean() > 0.5


def test_truth_and_picture_agree_on_where_the_person_is(studio):
    take = studio.shoot(3, 1, 5)
    assert torch.equal(take.depth_FHW.isfinite(), take.triangle_FHW >= 0)
    assert torch.equal(take.parts_FHW > 0, take.triangle_FHW >= 0)
    assert 0.2 < (take.parts_FHW > 0).float().mean() < 0.95


def test_nonsense_is_refused(studio):
    with pytest.raises(ValueError, match="motion must have 2 frames, got 1"):
        studio.shoot(1, 2, 5, motion_FM=still())
    with pytest.raises(ValueError, match="size must be"):
        Studio(8)
    with pytest.raises(ForgeError, match="no photo people"):
        Studio(64, people="photo", photo_folder="/nowhere")


def test_the_stream_never_films_held_out_people(studio):
    seen = []
    for _ in range(2):
        takes = Studio(48, atlas_side=128, seed=4).stream(1, people=3, threads=1)
        seen.append([next(takes) for _ in range(2)])
        takes.close()
    assert all(take.identity < 3 for take in seen[0])
    assert torch.equal(seen[0][1].image_F3HW, seen[1][1].image_F3HW)
    with pytest.raises(ValueError, match="people must be"):
        next(studio.stream(1, people=2_000_000))


def test_seeds_of_several_numbers_differ():
    assert hash_seed(1, 2) != hash_seed(2, 1) and hash_seed(1, 2) == hash_seed(1, 2)


def test_a_list_of_samples_and_all_samples_make_the_same_picture(studio):
    """The second way is that of a GPU."""
    from forge.motion.features import POSE, Z_DYN
    from forge.studio.head import pose_matrix, standard_focal, to_screen
    from forge.studio.scenes import sample_scene
    from forge.studio.shading import gather, shade

    figure, motion, focal = studio.player(1).figure, torch.from_numpy(still(yaw=10)), standard_focal(SIZE)
    matrix = pose_matrix(motion[:, POSE])
    camera, normal, tangent = figure.to_camera(motion[:, Z_DYN], matrix, matrix)
    screen = to_screen(camera, focal, SIZE)
    pictures = []
    for dense in (True, False):
        fragments, depth = gather(figure, screen, normal, tangent, focal, SIZE, dense=dense)
        light = shade(fragments, depth, matrix[:, :, :3], sample_scene(2), focal, SIZE)
        if fragments.place_N is not None:
            light = torch.zeros(3, SIZE * SIZE).index_copy(1, fragments.place_N, light)
        else:
            light = torch.where(fragments.alpha_N > 0, light, 0.0)
        pictures.append(light)
    assert pictures[0].isfinite().all()
    assert torch.allclose(pictures[0], pictures[1], atol=1e-5)
