from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from detect import prepare as preparing
from detect.detector import DetectError, Status
from detect.models.temporal import FEATURES
from detect.prepare import FaceLook, Look, LookPlan, load_look, look_at, save_look, viewing_rate
from media.clip import Clip
from media.video import write_clip


def a_look(seconds: int = 2) -> Look:
    n = 3 * seconds
    rng = np.random.default_rng(0)
    face = FaceLook(
        rng.integers(0, 255, (n, preparing.SIDE, preparing.SIDE, 3)).astype(np.uint8),
        rng.uniform(0, 255, (n, 478, 2)).astype(np.float32),
        np.linspace(0, seconds, n, endpoint=False),
        np.tile(np.array([10, 10, 90, 90], np.float32), (n, 1)),
        rng.normal(0, 1, (seconds, len(FEATURES))).astype(np.float32),
        np.arange(seconds) + 0.5,
        60.0,
    )
    return Look(Status.OK, "", (face,), float(seconds))


def test_a_saved_look_comes_back_unchanged(tmp_path: Path) -> None:
    look = a_look()
    save_look(look, tmp_path / "x.npz")
    back = load_look(tmp_path / "x.npz")
    assert back.status is Status.OK and back.seconds_of_video == 2.0
    assert (back.faces[0].crops == look.faces[0].crops).all()
    assert back.faces[0].eye_pixels == 60.0


def test_a_torn_cache_file_is_refused_and_named(tmp_path: Path) -> None:
    save_look(a_look(), tmp_path / "x.npz")
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:1000])
    with pytest.raises(DetectError, match=r"x\.npz"):
        load_look(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("fps", "variable", "wanted"),
    [
        (Fraction(25), False, Fraction(25)),
        (Fraction(30000, 1001), False, Fraction(30000, 1001)),
        (Fraction(60), False, Fraction(30)),
        (Fraction(50), False, Fraction(25)),
        (Fraction(120), False, Fraction(30)),
        (Fraction(12), False, Fraction(25)),
        (Fraction(30), True, Fraction(25)),
    ],
)
def test_no_single_frames_are_dropped_to_reach_a_rate(fps: Fraction, variable: bool, wanted: Fraction) -> None:
    assert viewing_rate(fps, variable) == wanted


def test_short_videos_are_measured_throughout_and_long_ones_evenly() -> None:
    plan = LookPlan(dense_seconds=4, max_looks=20)
    dense, once = plan.schedule(4)
    assert dense == {0, 1, 2, 3} and not once
    dense, once = plan.schedule(1000)
    assert len(dense) == 4 and len(once) <= 8 and max(once) > 900 and not dense & once


def test_a_file_that_is_no_video_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("not a video")
    look = look_at(tmp_path / "x.mp4")
    assert look.status is Status.UNREADABLE and "x.mp4" in look.reason and not look.faces


def test_a_video_without_a_face_is_an_answer(tmp_path: Path, counting_clip: Clip) -> None:
    write_clip(counting_clip, tmp_path / "x.mp4", preset="ultrafast")
    look = look_at(tmp_path / "x.mp4")
    assert look.status is Status.NO_FACE
    assert look.seconds_of_video == pytest.approx(2.0, abs=0.1)


def test_a_real_clip_gives_looks_in_every_second(data_pack: Path) -> None:
    look = look_at(data_pack / "clips" / "c0011.mp4", LookPlan(dense_seconds=2))
    face = look.faces[0]
    assert look.status is Status.OK and len(face.windows) == 2
    assert {int(t) for t in face.seconds} >= set(range(int(look.seconds_of_video)))
    assert face.crops.shape[1:] == (256, 256, 3) and np.isfinite(face.windows).all()
    # eyes and mouth of an aligned crop lie in its middle
    assert np.abs(face.landmarks.mean(axis=(0, 1)) - 128).max() < 32
