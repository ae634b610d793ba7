from collections.abc import Iterator
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detect import prepare as preparing
from detect.detector import DetectError, Status
from detect.models.expression import EXPRESSIONS
from detect.models.temporal import FEATURES
from detect.prepare import FaceLook, Look, LookPlan, load_look, look_at, save_look, tracked_face, viewing_rate
from media.clip import Clip
from media.landmarks import ALIGN_POINTS, ALIGN_TEMPLATE, FaceObservation, landmark_box
from media.video import Frame, read_image, write_clip


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


def test_tracked_seconds_are_dense_ones_and_evenly_spread() -> None:
    plan = LookPlan(dense_seconds=16, tracked_seconds=6)
    assert plan.tracked(4) == {0, 1, 2, 3}
    ten, long = plan.tracked(10), plan.tracked(1000)
    assert len(ten) == 6 and min(ten) == 0 and max(ten) == 9
    assert len(long) == 6 and long <= plan.schedule(1000)[0] and max(long) - min(long) > 700
    assert plan.tracked(0) == frozenset()


class SizedFinder:
    """A finder that remembers the pictures and boxes it was given, and misses the face in some."""

    def __init__(self, face: FaceObservation, missing: tuple[int, ...] = ()) -> None:
        self.face, self.missing = face, missing
        self.seen: list[tuple[tuple[int, ...], np.ndarray]] = []

    def measure(self, image: np.ndarray, box: np.ndarray, score: float = 1.0) -> FaceObservation | None:
        self.seen.append((image.shape, box))
        return None if len(self.seen) - 1 in self.missing else self.face


def a_face(side: float) -> FaceObservation:
    """Whose brows and chin are `side` pixels apart."""
    points = np.random.default_rng(0).uniform(0.2, 0.8, (478, 3))
    for group, place in zip(ALIGN_POINTS, ALIGN_TEMPLATE, strict=True):
        points[list(group), :2] = place
    landmarks = (points * side).astype(np.float32)
    return FaceObservation(landmark_box(landmarks), landmarks, np.zeros(51, np.float32), np.eye(4, dtype=np.float32), 1)


@pytest.mark.parametrize(("side", "scale"), [(340.0, 0.25), (85.0, 1.0), (50.0, 1.0)])
def test_faces_are_tracked_at_one_size_and_never_enlarged(side: float, scale: float) -> None:
    face = a_face(side)
    finder = SizedFinder(face, missing=(1,))
    frames = [np.zeros((400, 600, 3), np.uint8)] * 3
    landmarks, blendshapes = tracked_face(frames, face, finder)  # type: ignore[arg-type]
    assert {shape[1] for shape, _ in finder.seen} == {round(600 * scale)}
    assert all(box == pytest.approx(face.box * scale, rel=0.01) for _, box in finder.seen)
    assert np.isnan(landmarks[1]).all() and np.isnan(blendshapes[1]).all()
    assert np.isfinite(landmarks[[0, 2]]).all() and landmarks.shape == (3, 478, 2)


def test_a_file_that_is_no_video_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("not a video")
    look = look_at(tmp_path / "x.mp4")
    assert look.status is Status.UNREADABLE and "x.mp4" in look.reason and not look.faces


def test_a_video_without_a_face_is_an_answer(tmp_path: Path, counting_clip: Clip) -> None:
    write_clip(counting_clip, tmp_path / "x.mp4", preset="ultrafast")
    look = look_at(tmp_path / "x.mp4")
    assert look.status is Status.NO_FACE
    assert look.seconds_of_video == pytest.approx(2.0, abs=0.1)


def test_a_folder_of_pictures_is_looked_at_without_measuring_motion(tmp_path: Path) -> None:
    portrait = read_image(Path(str(files("countermark"))) / "demo_assets" / "dora.webp")
    picture = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    for n in (2, 10, 1):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.ascontiguousarray(picture[..., ::-1]))
    look = look_at(tmp_path)
    assert look.status is Status.OK and len(look.faces[0].crops) == 3 and len(look.faces[0].windows) == 0


def test_boxes_are_in_pixels_of_the_file_however_small_it_was_looked_at(tmp_path: Path) -> None:
    portrait = read_image(Path(str(files("countermark"))) / "demo_assets" / "dora.webp")
    wide = np.zeros((512, 768, 3), np.uint8)
    wide[:, 128:640] = cv2.resize(portrait, (512, 512), interpolation=cv2.INTER_AREA)
    clip = Clip(np.repeat(wide[None], 26, axis=0), Fraction(25), None)
    write_clip(clip, tmp_path / "x.mp4", preset="ultrafast")
    whole, small = (
        look_at(tmp_path / "x.mp4", LookPlan(dense_seconds=1, tracked_seconds=0, max_side=side)).faces[0]
        for side in (1280, 384)
    )
    assert np.abs(whole.boxes.mean(axis=0) - small.boxes.mean(axis=0)).max() < 12


def test_a_real_clip_gives_looks_in_every_second(data_pack: Path) -> None:
    look = look_at(data_pack / "clips" / "c0011.mp4", LookPlan(dense_seconds=2, tracked_seconds=1))
    face = look.faces[0]
    assert look.status is Status.OK and len(face.windows) == 2
    assert {int(t) for t in face.seconds} >= set(range(int(look.seconds_of_video)))
    assert face.crops.shape[1:] == (256, 256, 3)
    # one of the two seconds was tracked in every frame
    expressions = face.windows[:, -len(EXPRESSIONS) :]
    assert np.isfinite(face.windows[:, : -len(EXPRESSIONS)]).all()
    assert sorted(np.isfinite(expressions).all(axis=1)) == [False, True] and np.isnan(expressions).any()
    # eyes and mouth of an aligned crop lie in its middle
    assert np.abs(face.landmarks.mean(axis=(0, 1)) - 128).max() < 32


def test_frames_that_nobody_looks_at_are_not_converted_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portrait = read_image(Path(str(files("countermark"))) / "demo_assets" / "dora.webp")
    still = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    frames = np.stack([np.roll(still, t // 4, axis=1) for t in range(110)])
    write_clip(Clip(frames, Fraction(25), None), tmp_path / "x.mp4", preset="ultrafast")
    plan = LookPlan(dense_seconds=1, tracked_seconds=0, max_looks=7)
    given: list[int] = []
    stream = preparing.stream_frames

    def counted(*args: Any, **options: Any) -> Iterator[Frame]:
        for frame in stream(*args, **options):
            given.append(frame.index)
            yield frame

    monkeypatch.setattr(preparing, "stream_frames", counted)
    thrifty = look_at(tmp_path / "x.mp4", plan).faces[0]
    few = len(given)
    given.clear()
    monkeypatch.setattr(preparing, "stream_frames", lambda *args, **options: counted(*args, **options | {"only": None}))
    whole = look_at(tmp_path / "x.mp4", plan).faces[0]
    assert few < 0.4 * len(given) == 0.4 * 110
    assert (thrifty.crops == whole.crops).all() and (thrifty.seconds == whole.seconds).all()
    assert np.array_equal(thrifty.windows, whole.windows, equal_nan=True) and len(whole.windows) == 1
