"""The pictures of a report: cut out of real frames, never made up."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detect.detector import FaceScore, Score, Status, TimePoint
from detect.evidence import MOUTH_HEIGHT, MOUTH_WIDTH, MOUTHS, evidence_pictures, mouth_strip, tinted
from detect.models.heat import seam_heat
from detect.models.network import FrameNet, network_crop, to_batch
from detect.prepare import SIDE
from media.clip import Clip, FloatArray, UInt8Array
from media.faces import FaceFinder
from media.landmarks import FaceObservation
from media.video import read_image, write_clip

PORTRAIT = Path(__file__).resolve().parents[2] / "countermark" / "demo_assets" / "ada.webp"


@pytest.fixture(scope="module")
def portrait() -> UInt8Array:
    image = Image.fromarray(read_image(PORTRAIT)).resize((256, 256))
    return np.asarray(image, np.uint8)


@pytest.fixture(scope="module")
def seen(portrait: UInt8Array) -> FaceObservation:
    with FaceFinder() as finder:
        return finder.find(portrait)[0]


def a_score(face: FaceObservation, seconds: float = 2.0) -> Score:
    x0, y0, x1, y1 = (float(v) for v in face.box)
    line = (TimePoint(0.0, 0.3), TimePoint(1.0, 0.9))
    return Score(0.9, Status.OK, "", (FaceScore(0, 0.0, seconds, (x0, y0, x1, y1), 0.9, line),), line, seconds)


def size_of(jpeg: bytes) -> tuple[int, int]:
    return Image.open(BytesIO(jpeg)).size


def test_the_mouth_is_shown_through_the_most_suspicious_second(
    portrait: UInt8Array, seen: FaceObservation, tmp_path: Path
) -> None:
    write_clip(Clip(np.repeat(portrait[None], 50, axis=0), Fraction(25)), tmp_path / "a.mp4")
    (picture,) = evidence_pictures(tmp_path / "a.mp4", a_score(seen), lambda step: None)
    assert picture.seconds == pytest.approx(1.0, abs=0.05)
    assert picture.mouths == MOUTHS
    assert size_of(picture.mouths_jpeg) == (MOUTHS * MOUTH_WIDTH, MOUTH_HEIGHT)
    assert picture.heat_jpeg == b"" and picture.heat_says == ""


def test_a_picture_has_no_second_and_so_no_strip(portrait: UInt8Array, seen: FaceObservation, tmp_path: Path) -> None:
    Image.fromarray(portrait).save(tmp_path / "a.png")
    told: list[tuple[int, ...]] = []

    def explain(image: UInt8Array, landmarks: FloatArray) -> tuple[UInt8Array, FloatArray]:
        told.append(landmarks.shape)
        return image[:64, :64], np.full((64, 64), 3.0, np.float32)

    (picture,) = evidence_pictures(tmp_path / "a.png", a_score(seen, 0.0), lambda step: None, explain=explain)
    assert (picture.mouths, picture.mouths_jpeg) == (0, b"")
    assert told == [(478, 2)]
    assert picture.heat_jpeg and "seam branch" in picture.heat_says


def test_every_mouth_of_a_strip_lies_alike(portrait: UInt8Array, seen: FaceObservation) -> None:
    moved = np.roll(portrait, 9, axis=1)
    with FaceFinder() as finder:
        strip = mouth_strip([portrait, moved], seen, finder)
        assert mouth_strip([portrait], seen, finder) is None
    assert strip is not None
    still, shifted = strip[:, :MOUTH_WIDTH].astype(int), strip[:, MOUTH_WIDTH:].astype(int)
    assert np.abs(still - shifted).mean() < 12  # without alignment, nine pixels apart, it is twice that


def test_a_heat_of_nothing_leaves_the_picture_grey_and_more_is_redder() -> None:
    picture = np.full((4, 4, 3), 100, np.uint8)
    assert (tinted(picture, np.zeros((4, 4), np.float32)) == 100).all()
    weak, strong, against = (tinted(picture, np.full((4, 4), v, np.float32))[0, 0].astype(int) for v in (1, 6, -6))
    assert strong[0] - strong[2] > weak[0] - weak[2] > 0
    assert against[2] > against[0]


def test_the_heat_of_a_face_adds_up_to_what_the_network_answers() -> None:
    torch.manual_seed(0)
    network = FrameNet().eval()
    torch.nn.init.normal_(network.head.weight, std=0.3)
    crop = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    picture, heat = seam_heat(network, crop, 96)
    assert picture.shape == (96, 96, 3) and heat.shape == (96, 96)
    with torch.inference_mode():
        logits = [float(network(to_batch([network_crop(crop, 96, shift=(d, 0))]))[0]) for d in (-0.07, 0, 0.07)]
    assert float(heat.mean()) == pytest.approx(np.mean(logits), abs=0.35 * max(1.0, abs(float(np.mean(logits)))))
