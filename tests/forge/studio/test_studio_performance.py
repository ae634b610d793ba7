import numpy as np

from forge.motion.features import BLENDSHAPE_NAMES, BLENDSHAPES, INDEX, NAMES
from forge.studio.performance import OPPOSED, WIDEST_POSE, natural, pose_stills, talk


def test_stills_stay_within_reach_and_repeat_by_seed():
    motion = pose_stills(3, 200)
    assert motion.shape == (200, len(NAMES))
    assert np.array_equal(motion, pose_stills(3, 200))
    assert (motion[:, BLENDSHAPES] >= 0).all() and (motion[:, BLENDSHAPES] <= 1).all()
    for name, widest in WIDEST_POSE.items():
        assert np.abs(motion[:, INDEX[name]]).max() <= widest + 1e-6


def test_stills_cover_every_action_and_wide_poses():
    motion = pose_stills(11, 3000)
    untouched = [name for name in BLENDSHAPE_NAMES if motion[:, INDEX[name]].max() < 0.3]
    assert untouched == []
    assert np.abs(motion[:, INDEX["yaw"]]).max() > 40
    blink = motion[:, INDEX["eyeBlinkLeft"]]
    assert (blink > 0.75).mean() > 0.05 and (blink < 0.15).mean() > 0.3


def test_the_first_frame_of_a_take_is_nearly_frontal_with_open_eyes():
    first = np.stack([pose_stills(seed, 1)[0] for seed in range(40)])
    assert np.abs(first[:, INDEX["yaw"]]).max() < 25
    assert first[:, INDEX["eyeBlinkLeft"]].max() < 0.2


def test_muscles_that_rule_each_other_out_do_not_add_up():
    row = np.zeros(len(NAMES), np.float32)
    for first, second in OPPOSED:
        row[[INDEX[first], INDEX[second]]] = 1.0
    made = natural(row)
    for first, second in OPPOSED:
        assert min(made[INDEX[first]], made[INDEX[second]]) < 0.2


def test_eye_look_coefficients_follow_the_gaze():
    motion = pose_stills(5, 100)
    yaw = motion[:, INDEX["gaze_yaw"]]
    assert np.allclose(motion[:, INDEX["eyeLookOutLeft"]], np.clip(yaw, 0, 1), atol=1e-6)


def test_talk_flows():
    motion = talk(2, 100)
    steps = np.abs(np.diff(motion[:, [INDEX["yaw"], INDEX["pitch"]]], axis=0))
    assert steps.max() < 6.0
    assert motion[:, INDEX["jawOpen"]].std() > 0.03
