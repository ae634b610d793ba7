import numpy as np
import pytest

from forge.motion.controls import Controls
from forge.motion.features import INDEX, NAMES
from forge.motion.speech import gaze_curves
from forge.motion.wishes import EYE_LOOKS, Wish, arrived, departure, looking, room_gaze


def living(seed: int = 0) -> np.ndarray:
    """A motion whose eyeLook coefficients follow its gaze, as of every motion here."""
    random = np.random.default_rng(seed)
    motion = random.random((40, len(NAMES))).astype(np.float32) * 0.5
    motion[:, :3] = random.normal(0, 3, (40, 3))
    for name, curve in gaze_curves(*random.normal(0, 5, (2, 40))).items():
        motion[:, INDEX[name]] = curve
    return motion


WISH = Wish(gaze_yaw=0.3, gaze_pitch=-0.1, log_scale=0.2, emotion={"happy": 0.6})


def test_departing_and_arriving_is_the_way_there_and_back():
    motion = living()
    assert np.allclose(arrived(departure(motion, WISH), WISH), motion, atol=1e-5)
    assert not departure(motion, WISH)[:, EYE_LOOKS].any()


def test_a_face_that_departs_from_nothing_does_exactly_what_it_is_asked():
    wish = Wish.of(Controls(gaze_yaw_degrees=12.0, distance=2.0, emotion="happy", emotion_strength=0.5))
    motion = arrived(np.zeros((5, len(NAMES)), np.float32), wish)
    assert np.allclose(motion[:, INDEX["gaze_yaw"]], 0.4) and np.allclose(motion[:, INDEX["log_scale"]], -np.log(2))
    assert np.allclose(motion[:, INDEX["mouthSmileLeft"]], 0.275)


def test_eyes_hold_their_target_while_the_head_turns():
    rest = np.zeros((30, len(NAMES)), np.float32)
    rest[:, INDEX["yaw"]] = np.linspace(-12, 12, 30)
    motion = arrived(rest, Wish())
    assert np.allclose(motion[:, INDEX["gaze_yaw"]], -rest[:, INDEX["yaw"]] / 30, atol=1e-6)
    assert np.allclose(room_gaze(motion), 0, atol=1e-6)
    half = motion.copy()
    half[:, :3] *= 0.5
    assert np.allclose(room_gaze(looking(half, room_gaze(motion))), 0, atol=1e-6)


def test_a_stretch_of_motion_meets_its_own_wish():
    motion = living(3)
    wish = Wish.met_by(motion, {"sad": 0.5})
    rest = departure(motion, wish)
    assert np.allclose(np.median(rest[:, [INDEX["gaze_yaw"], INDEX["gaze_pitch"]]], axis=0), 0, atol=1e-6)
    assert rest[:, INDEX["log_scale"]].mean() == pytest.approx(0, abs=1e-6)
    gaze, log_scale, emotion = wish.features()
    assert gaze.shape == (2,) and log_scale == pytest.approx(motion[:, INDEX["log_scale"]].mean(), abs=1e-6)
    assert emotion.sum() == pytest.approx(0.5)
