"""The method `vasa`: from a portrait and a motion to frames, with a student of any training."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forge.face.method import SIDE, StudentFace, VasaMaker, open_driver, vasa_fingerprint
from forge.face.student import TOLD, Student, StudentShape
from forge.face.student_engine import INPUTS, TorchEngine
from forge.face.student_files import WEIGHTS_PATH, save_student
from forge.face.student_motion import motion_between
from forge.face.student_prior import Follow
from forge.face.student_recipes import face_cpu
from forge.methods import Shot
from forge.motion.features import Motion
from forge.portrait import Declaration, ForgeError, load_portrait
from media.clip import Waveform
from media.faces import FaceFinder, FaceObservation
from media.video import read_image

UInt8Array = NDArray[np.uint8]
ADA = Path(__file__).resolve().parents[2] / "countermark" / "demo_assets" / "ada.webp"
FPS = Fraction(25)


@pytest.fixture(scope="module")
def seen() -> tuple[UInt8Array, FaceObservation]:
    image = read_image(ADA)
    with FaceFinder(max_faces=1) as finder:
        return image, finder.find(image)[0]


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    torch.manual_seed(0)
    return TorchEngine(Student(StudentShape(size=SIDE, widths=(8, 8, 12, 16), kept=4, told=16)))


@pytest.fixture(scope="module")
def face(seen: tuple[UInt8Array, FaceObservation], engine: TorchEngine) -> StudentFace:
    return StudentFace.fit(seen[0], 256, face=seen[1], engine=engine)


def test_frames_have_the_size_that_was_asked_for_at_256_and_512(
    seen: tuple[UInt8Array, FaceObservation], engine: TorchEngine
) -> None:
    for size in (256, 512):
        face = StudentFace.fit(seen[0], size, face=seen[1], engine=engine)
        frames = list(face.render(Motion.neutral(2, FPS)))
        assert [frame.shape for frame in frames] == [(size, size, 3)] * 2
        assert frames[0].dtype == np.uint8


def test_the_same_motion_gives_the_same_bytes_and_in_order(face: StudentFace) -> None:
    motion = Motion.neutral(3, FPS).replace(jawOpen=[0.0, 0.5, 0.1], yaw=[0, 4, 8])
    one, other = list(face.render(motion)), [face.draw(values) for values in motion.values]
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a, b)


def test_an_open_jaw_changes_the_mouth_and_leaves_the_corners_of_the_picture(face: StudentFace) -> None:
    closed, opened = face.render(Motion.neutral(2, FPS).replace(jawOpen=[0.0, 0.7]))
    change = np.abs(opened.astype(float) - closed).mean(axis=-1)
    points = face.prior.face.head.source
    x, y = (int(v) for v in points[14, :2])
    assert change[y - 5 : y + 25, x - 15 : x + 15].mean() > 8 * change[:20, :20].mean() + 1


def test_a_measured_motion_that_is_the_portraits_own_keeps_its_landmarks(
    seen: tuple[UInt8Array, FaceObservation], engine: TorchEngine
) -> None:
    image, found = seen
    face = StudentFace.fit(image, 256, face=found, engine=engine, follow=Follow.FACE)
    values = motion_between(found.landmarks, found.landmarks, found.blendshapes).astype(float)
    guess = face.prior.guess(values)
    assert np.abs(guess.landmarks - face.prior.face.head.source[:478, :2])[:468].max() < 1.0
    assert guess.told.shape == (TOLD,)


def test_speech_at_rest_shuts_the_mouth(face: StudentFace) -> None:
    placed = face.prior.place(face.prior.asked(np.zeros(70)))[0]
    assert np.linalg.norm(placed[13, :2] - placed[14, :2]) < 0.03 * face.prior.face.head.scale


def test_masks_cover_the_face_of_every_frame(face: StudentFace) -> None:
    masks = list(face.face_masks(Motion.neutral(2, FPS)))
    assert len(masks) == 2
    x, y = (int(v) for v in face.prior.face.head.source[1, :2])
    assert masks[0][y, x] and not masks[0][2, 2]
    assert 0.05 < masks[0].mean() < 0.5


def test_a_portrait_is_filmed_for_as_long_as_it_speaks(engine: TorchEngine) -> None:
    maker = VasaMaker(engine)
    try:
        rng = np.random.default_rng(0)
        speech = Waveform((0.1 * rng.standard_normal((8000, 1))).astype(np.float32), 16_000)
        take = maker.film(load_portrait(ADA, Declaration.nonexistent()), speech, Shot(size=256))
        assert take.motion.length == 12 and take.masks is not None
        assert next(iter(take.frames)).shape == (256, 256, 3)
    finally:
        maker.close()


def test_a_picture_without_a_face_is_refused(engine: TorchEngine, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (128, 128), "grey").save(tmp_path / "wall.png")
    maker = VasaMaker(engine)
    try:
        speech = Waveform(np.zeros((8000, 1), np.float32), 16_000)
        with pytest.raises(ForgeError, match="no face found"):
            maker.film(load_portrait(tmp_path / "wall.png", Declaration.nonexistent()), speech, Shot(size=256))
    finally:
        maker.close()


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_student(tmp_path / name, Student(StudentShape(size=64)), {"recipe": face_cpu().to_json(), "name": name})
    assert vasa_fingerprint(tmp_path / "a") != vasa_fingerprint(tmp_path / "b")
    assert len(vasa_fingerprint(tmp_path / "a")) == 64


def test_missing_weights_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match=r"none\.safetensors"):
        open_driver(256, tmp_path / "none.safetensors")


@pytest.mark.skipif(not WEIGHTS_PATH.is_file(), reason="no weights of the student are installed")
def test_the_weights_that_ship_load_and_stay_small() -> None:
    driver = open_driver(256)
    assert driver.name == "vasa" and len(driver.fingerprint) == 16
    assert WEIGHTS_PATH.stat().st_size <= 8 * 2**20


def test_exported_graphs_say_what_torch_says(tmp_path: Path, engine: TorchEngine) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from forge.face.export import LARGEST_DIFFERENCE, differences, export_student, sample_inputs
    from forge.face.student_engine import OnnxEngine

    student = Student(StudentShape(size=64, widths=(8, 8, 12, 16), kept=4, told=16)).eval()
    for parameter in student.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    export_student(student, tmp_path)
    inputs = sample_inputs(student)
    assert set(INPUTS) == set(inputs)
    found = differences(OnnxEngine(tmp_path, 1), TorchEngine(student), inputs)
    assert max(found.values()) < LARGEST_DIFFERENCE, found


def test_an_engine_without_graphs_says_how_to_make_them(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from forge.face.student_engine import OnnxEngine

    with pytest.raises(ForgeError, match=r"forge\.face\.export"):
        OnnxEngine(tmp_path)


def test_the_full_model_draws_frames_of_any_size_with_the_same_framing(
    seen: tuple[UInt8Array, FaceObservation],
) -> None:
    from forge.face.method_model import ModelFace
    from forge.face.model import FaceModel
    from forge.face.recipes import face_tiny

    torch.manual_seed(0)
    model = FaceModel(face_tiny().shape).eval()
    face = ModelFace.fit(seen[0], 256, face=seen[1], model=model)
    motion = Motion.neutral(2, FPS).replace(jawOpen=[0.0, 1.0], yaw=[0, 6])
    assert [frame.shape for frame in face.render(motion)] == [(256, 256, 3)] * 2
    pose, dyn = face.asked(motion)
    assert float(pose[1, 0] - pose[0, 0]) == pytest.approx(6, abs=1e-4)
    jaw = 24
    assert float(dyn[1, jaw]) == pytest.approx(1.0, abs=1e-4) and float(dyn[0, jaw]) == pytest.approx(0.0, abs=1e-4)
    assert next(face.face_masks(motion)).shape == (256, 256)
