import cv2
import numpy as np
import pytest

from detect import pseudo
from detect.pseudo import Treatment


def face_picture(size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """A textured picture and landmarks that fill its middle."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (size, size, 3)).astype(np.float32), (0, 0), 1.2)
    image = np.clip((noise - noise.mean()) * 2.5 + 128, 0, 255).astype(np.uint8)
    angle = rng.uniform(0, 2 * np.pi, 478)
    radius = np.sqrt(rng.uniform(0, 1, 478)) * 0.3 * size
    points = np.stack([size / 2 + radius * np.cos(angle), size / 2 + radius * np.sin(angle)], 1)
    return image, points.astype(np.float32)


FORGERS = [
    pseudo.self_blend,
    pseudo.resample_chain,
    pseudo.patch_autoencoder,
    pseudo.uneven_upsampler,
    pseudo.mesh_warp,
    pseudo.smooth_skin,
    pseudo.reconstruct,
    pseudo.forge,
]


@pytest.mark.parametrize("forger", FORGERS, ids=lambda f: f.__name__)
def test_a_forgery_keeps_size_and_type_and_changes_the_picture(forger: pseudo.Forger) -> None:
    image, points = face_picture()
    before = image.copy()
    changed = [forger(image, points, np.random.default_rng(seed)) for seed in range(4)]
    assert all(c.shape == image.shape and c.dtype == np.uint8 for c in changed)
    assert (image == before).all()
    assert max(float(np.abs(c.astype(int) - image).mean()) for c in changed) > 0.5


@pytest.mark.parametrize("forger", [pseudo.self_blend, pseudo.reconstruct], ids=lambda f: f.__name__)
def test_the_same_seed_gives_the_same_forgery(forger: pseudo.Forger) -> None:
    image, points = face_picture()
    a, b = (forger(image, points, np.random.default_rng(7)) for _ in range(2))
    assert (a == b).all()


def test_self_blending_touches_the_face_more_than_the_far_background_when_only_the_face_is_altered() -> None:
    image, points = face_picture()
    inside, corner = [], []
    for seed in range(40):
        difference = np.abs(pseudo.self_blend(image, points, np.random.default_rng(seed)).astype(int) - image).mean(-1)
        inside.append(difference[54:74, 54:74].mean())
        corner.append(difference[:8, :8].mean())
    # in the half of the cases where the pasted side is altered the corner stays as it is
    assert sum(c == 0 for c in corner) >= 10
    assert np.mean(inside) > np.mean(corner)


def test_masks_cover_part_of_the_face_and_nothing_far_away() -> None:
    _, points = face_picture()
    for seed in range(10):
        mask = pseudo.face_mask(points, 128, 128, np.random.default_rng(seed))
        assert mask.min() >= 0.0 and mask.max() == pytest.approx(1.0)
        assert mask[:4].max() < 0.05 and mask.mean() < 0.6


def test_twins_get_exactly_the_same_treatment() -> None:
    image, _ = face_picture()
    for seed in range(6):
        treatment = Treatment.draw(np.random.default_rng(seed))
        assert (treatment.apply(image, 128) == treatment.apply(image.copy(), 128)).all()


def test_a_treatment_reduces_detail_alike_whatever_the_size_it_came_in() -> None:
    image, _ = face_picture(256)
    treatment = Treatment(64, 0.0, 0.0, (), (1.0, 1.0, 1.0), 1.0, (cv2.INTER_LINEAR, cv2.INTER_LINEAR), 0)
    out = treatment.apply(image, 256)
    assert out.shape == (256, 256, 3)
    assert cv2.Laplacian(out, cv2.CV_32F).var() < 0.1 * cv2.Laplacian(image, cv2.CV_32F).var()


def test_jpeg_is_real_jpeg_with_its_eight_pixel_blocks() -> None:
    image, _ = face_picture()
    coded = pseudo.jpeg(image, 8).astype(np.float64)
    steps = np.abs(np.diff(coded, axis=1)).mean(axis=(0, 2))
    edges = steps[7::8].mean()
    assert edges > 1.2 * np.delete(steps, np.s_[7::8]).mean()


@pytest.mark.parametrize(("field", "value"), [("side", 4), ("qualities", (0,)), ("blur", -1.0), ("gamma", 0.0)])
def test_a_treatment_refuses_nonsense(field: str, value: object) -> None:
    plain = {"side": 64, "blur": 0.0, "noise": 0.0, "qualities": (), "gain": (1.0, 1.0, 1.0), "gamma": 1.0}
    with pytest.raises(ValueError, match="must"):
        Treatment(**(plain | {"kernels": (1, 1), "grain_seed": 0, field: value}))
