"""Every metric orders a ladder of damage as it must, and knows its edges."""

from __future__ import annotations

from math import inf, isnan, nan

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.fidelity import (
    aperture_error,
    cosine_similarity,
    difference_measure,
    expression_error,
    gaze_degrees,
    gaze_error,
    landmark_error,
    laplacian_energy,
    mean_measure,
    ms_ssim,
    network_distance,
    pose_error,
    psnr,
    ratio_measure,
    region_of,
    sharpness_ratio,
    ssim,
)
from media.landmarks import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES, LEFT_EYE, LIPS_INNER, RIGHT_EYE

UInt8Array = NDArray[np.uint8]


@pytest.fixture(scope="module")
def picture() -> UInt8Array:
    """Texture of several sizes, as a face has."""
    rng = np.random.default_rng(0)
    layers = [cv2.resize(rng.random((n, n, 3)), (192, 192), interpolation=cv2.INTER_CUBIC) for n in (6, 24, 96)]
    return np.clip(255 * sum(layers) / 3, 0, 255).astype(np.uint8)


def blurred(image: UInt8Array, sigma: float) -> UInt8Array:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def moved(image: UInt8Array, pixels: int) -> UInt8Array:
    return np.roll(image, pixels, axis=1)


def layers_of(image: UInt8Array) -> list[NDArray[np.float32]]:
    grey = image.astype(np.float32).mean(axis=2)
    return [np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1), grey])]


@pytest.mark.parametrize("damage", [blurred, moved])
def test_more_damage_never_looks_better(picture: UInt8Array, damage: object) -> None:
    assert callable(damage)
    ladder = [picture, damage(picture, 1), damage(picture, 4)]
    for metric in (psnr, ssim, ms_ssim):
        truth, slight, strong = (metric(picture, rung) for rung in ladder)
        assert truth > slight > strong, metric.__name__
    truth, slight, strong = (network_distance(layers_of, picture, rung) for rung in ladder)
    assert truth == 0 < slight < strong


def test_psnr_of_a_known_error_is_the_formula(picture: UInt8Array) -> None:
    flat = np.full((16, 16, 3), 100, np.uint8)
    assert psnr(flat, flat + 10) == pytest.approx(10 * np.log10(255**2 / 100))
    assert psnr(flat, flat) == inf


def test_psnr_of_a_mask_sees_only_the_mask() -> None:
    truth = np.zeros((16, 16, 3), np.uint8)
    drawn = truth.copy()
    drawn[:8] = 200
    below = np.zeros((16, 16), bool)
    below[8:] = True
    assert psnr(truth, drawn, below) == inf
    assert psnr(truth, drawn, ~below) == pytest.approx(10 * np.log10(255**2 / 200**2))
    assert isnan(psnr(truth, drawn, np.zeros((16, 16), bool)))


def test_ssim_of_two_flat_pictures_is_the_luminance_term() -> None:
    a, b = np.full((32, 32, 3), 100, np.uint8), np.full((32, 32, 3), 120, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1), abs=1e-6)


def test_ssim_is_symmetric_and_one_for_equal_pictures(picture: UInt8Array) -> None:
    soft = blurred(picture, 2)
    assert ssim(picture, soft) == pytest.approx(ssim(soft, picture))
    assert ssim(picture, picture) == pytest.approx(1.0)
    assert ms_ssim(picture, picture) == pytest.approx(1.0)


def test_ssim_of_a_mask_sees_only_the_mask(picture: UInt8Array) -> None:
    half = picture.copy()
    half[:, :80] = 0
    right = np.zeros(picture.shape[:2], bool)
    right[:, 100:] = True
    assert ssim(picture, half, right) == pytest.approx(1.0)
    assert ssim(picture, half, ~right) < 0.7


def test_pictures_that_do_not_fit_are_refused(picture: UInt8Array) -> None:
    with pytest.raises(ValueError, match="alike"):
        psnr(picture, picture[:-1])
    with pytest.raises(ValueError, match="uint8"):
        ssim(picture.astype(np.float32), picture)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="176"):
        ms_ssim(picture[:128, :128], picture[:128, :128])
    with pytest.raises(ValueError, match="11"):
        ssim(picture[:8, :8], picture[:8, :8])


def test_sharpness_falls_with_blur_and_does_not_care_where_the_eye_is(picture: UInt8Array) -> None:
    here = np.zeros(picture.shape[:2], bool)
    here[50:80, 50:80] = True
    there = np.roll(here, 9, axis=1)
    assert sharpness_ratio(picture, moved(picture, 9), here, there) == pytest.approx(1.0)
    slight, strong = (sharpness_ratio(picture, blurred(picture, s), here, here) for s in (0.8, 3.0))
    assert 1.0 > slight > strong > 0.0
    noisy = np.clip(picture + np.random.default_rng(1).normal(0, 25, picture.shape), 0, 255).astype(np.uint8)
    assert sharpness_ratio(picture, noisy, here, here) > 1.0


def test_sharpness_of_a_shut_mouth_or_a_flat_truth_does_not_exist(picture: UInt8Array) -> None:
    here = np.ones(picture.shape[:2], bool)
    nothing = np.zeros_like(here)
    assert isnan(sharpness_ratio(picture, picture, nothing, here))
    assert isnan(laplacian_energy(picture, nothing))
    assert isnan(sharpness_ratio(np.zeros_like(picture), picture, here, here))


def face(open_lips: float = 10.0) -> NDArray[np.float32]:
    """A made face: rings of eyes and lips around their middles, outer eye corners 100 pixels apart."""
    points = np.full((478, 3), 96.0, np.float32)
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for ring, middle in ((RIGHT_EYE, 60.0), (LEFT_EYE, 130.0)):
        points[list(ring), 0] = middle + 12 * np.cos(turn)
        points[list(ring), 1] = 70 + 6 * np.sin(turn)
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    points[list(LIPS_INNER), 0] = 96 + 20 * np.cos(turn)
    points[list(LIPS_INNER), 1] = 130 + open_lips / 2 * np.sin(turn)
    points[33, :2], points[263, :2] = (46, 70), (146, 70)
    points[13, :2], points[14, :2] = (96, 130 - open_lips / 2), (96, 130 + open_lips / 2)
    return points


def test_regions_lie_where_their_landmarks_are() -> None:
    eyes, mouth = region_of(face(), "eyes", (192, 192)), region_of(face(), "mouth", (192, 192))
    assert eyes[70, 60] and eyes[70, 130] and not eyes[130, 96]
    assert mouth[130, 96] and not mouth[70, 60]
    assert region_of(face(0.0), "mouth", (192, 192)).sum() < mouth.sum() / 2
    with pytest.raises(ValueError, match="region"):
        region_of(face(), "ears", (192, 192))


def test_landmark_and_lip_errors_are_in_outer_eye_distances() -> None:
    truth, shifted = face(10), face(10)
    shifted[:, 0] += 5
    assert landmark_error(truth, shifted) == pytest.approx(0.05)
    assert aperture_error(truth, shifted) == pytest.approx(0.0)
    assert aperture_error(truth, face(30)) == pytest.approx(0.2)


def test_pose_errors_go_the_shorter_way_round() -> None:
    assert pose_error([[179.0, 0, 10]], [[-179.0, 5, -10]]).tolist() == [[2.0, 5.0, 20.0]]
    with pytest.raises(ValueError, match="angles"):
        pose_error([[1.0, 2.0]], [[1.0, 2.0]])


def test_the_right_motion_beats_a_shifted_one_and_that_beats_a_frozen_one() -> None:
    time = np.arange(80)
    curve = 0.5 + 0.4 * np.sin(time / 3)
    shapes = np.zeros((80, len(BLENDSHAPE_NAMES)))
    shapes[:, BLENDSHAPE_INDEX["jawOpen"]] = curve
    angles = np.stack([20 * np.sin(time / 7), np.zeros(80), np.zeros(80)], axis=1)
    for metric, truth in ((expression_error, shapes), (pose_error, angles)):
        right, late, frozen = (
            float(metric(truth, drawn).mean()) for drawn in (truth, np.roll(truth, 1, axis=0), np.zeros_like(truth))
        )
        assert right == 0 < late < frozen, metric.__name__


def test_gaze_reads_both_eyes_and_its_error_is_an_angle() -> None:
    aside = np.zeros((1, len(BLENDSHAPE_NAMES)))
    aside[0, [BLENDSHAPE_INDEX["eyeLookOutLeft"], BLENDSHAPE_INDEX["eyeLookInRight"]]] = 0.5
    assert gaze_degrees(aside).tolist() == [[15.0, 0.0]]
    assert gaze_error(aside, np.zeros_like(aside)) == pytest.approx([15.0])
    assert gaze_error(aside, aside) == pytest.approx([0.0], abs=1e-5)


def test_cosines_without_a_code_are_missing_not_zero() -> None:
    codes = np.array([[1.0, 0.0], [nan, nan], [0.0, 0.0]])
    found = cosine_similarity(codes, np.array([[1.0, 0.0]] * 3))
    assert found[0] == 1.0 and np.isnan(found[1:]).all()


def test_an_interval_draws_people_not_frames() -> None:
    values = [0.0] * 50 + [1.0] * 50
    few = mean_measure(values, ["a"] * 50 + ["b"] * 50)
    many = mean_measure(values, [str(i) for i in range(100)])
    assert few.value == many.value == 0.5
    assert (few.low, few.high) == (0.0, 1.0) and 0.35 < many.low < many.high < 0.65
    assert isnan(mean_measure(values, ["one"] * 100).low)


def test_missing_values_are_left_out_and_nothing_at_all_has_a_reason() -> None:
    assert mean_measure([1.0, nan, 3.0], ["a", "a", "b"]).value == 2.0
    assert mean_measure([nan, nan], ["a", "b"], reason="no face").reason == "no face"
    assert mean_measure([], [], reason="no frame").reason == "no frame"


def test_ratios_and_differences_are_of_the_same_frames() -> None:
    first, second, people = [1.0, 2.0, nan], [2.0, 4.0, 100.0], ["a", "b", "b"]
    assert ratio_measure(first, second, people).value == pytest.approx(0.5)
    assert difference_measure(first, second, people).value == pytest.approx(-1.5)
    constant = ratio_measure(first, second, people)
    assert constant.low == pytest.approx(0.5) and constant.high == pytest.approx(0.5)
    with pytest.raises(ValueError, match="clusters"):
        ratio_measure(first, second, ["a"])


@pytest.mark.slow
def test_the_real_landmarker_orders_stored_shifted_and_frozen_faces() -> None:
    from fractions import Fraction
    from importlib.resources import as_file, files

    from benchmarks.driving import MeshDriver, StaticDriver, motion_of, watch
    from forge.motion.features import Motion
    from media.faces import FaceFinder
    from media.video import read_image

    with as_file(files("countermark") / "demo_assets" / "ada.webp") as path:
        portrait = np.asarray(cv2.resize(read_image(path), (256, 256), interpolation=cv2.INTER_AREA), np.uint8)
    time = np.arange(16)
    wave = np.sin(time / 2.5)
    motion = Motion.neutral(16, Fraction(25)).replace(
        yaw=12 * wave, jawOpen=0.3 + 0.3 * wave, mouthSmileLeft=0.4 - 0.4 * wave, mouthSmileRight=0.4 - 0.4 * wave
    )
    with FaceFinder(max_faces=1) as finder:
        own = watch(finder, [portrait])
        truth = list(MeshDriver().fit(portrait, own.face(0)).draws(motion))
        seen = watch(finder, truth)
        coded = (cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 85])[1] for frame in truth)
        stored = [np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8) for data in coded]
        frozen = list(StaticDriver().fit(portrait, own.face(0)).draws(motion))
        looks = [watch(finder, frames, seen) for frames in (stored, truth[2:] + truth[:2], frozen)]
    aed = [float(expression_error(seen.blendshapes, look.blendshapes).mean()) for look in looks]
    apd = [float(pose_error(seen.angles, look.angles).mean()) for look in looks]
    assert aed == sorted(aed) and apd == sorted(apd)
    assert aed[0] < 0.5 * aed[1] and apd[0] < 0.5 * apd[1]
    # what the landmarker reads back is the motion that was asked for
    read = motion_of(seen, own.face(0), 256)
    assert np.corrcoef(read["yaw"], motion["yaw"])[0, 1] > 0.98
    assert np.corrcoef(read["jawOpen"], motion["jawOpen"])[0, 1] > 0.9
