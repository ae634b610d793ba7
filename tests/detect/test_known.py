"""Is this a face of the kind the detector knows?"""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect.detector import DetectError
from detect.models import known, known_fit
from detect.models.drawings import Manner, draw
from detect.models.known import DRAWN, SHIPPED, STRANGE, Known, KnownModel
from detect.models.known_fit import Faces, Row, degraded, fit_known, fit_on, read_rows
from detect.prepare import MARGIN, SIDE
from media.clip import UInt8Array
from media.faces import FaceFinder
from media.landmarks import align_matrix, warp
from media.video import read_image


def a_model(weight: float = 1.0) -> KnownModel:
    return KnownModel((0.0, 0.0), (1.0, 1.0), (weight, 0.0), 0.0, 2.0, ((1.0, 0.0), (0.0, 1.0)), 2.0)


def noise(size: int = SIDE) -> UInt8Array:
    rough = np.random.default_rng(0).integers(40, 220, (size // 8, size // 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_what_looks_drawn_and_what_lies_far_off_is_turned_away_with_different_reasons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crops = np.zeros((5, SIDE, SIDE, 3), np.uint8)
    for features, reason in (([0.1, 0.2], ""), ([3.0, 0.0], DRAWN), ([-1.0, -3.9], STRANGE)):
        monkeypatch.setattr(Known, "features", lambda self, crops, f=features: np.array(f))
        assert Known(a_model()).judge(crops) == reason


def test_a_feature_off_the_scale_counts_like_one_at_its_edge() -> None:
    model = a_model()
    assert model.drawn(np.array([[1e6, 0.0]]))[0] == known.CLIP
    assert model.distance(np.array([[0.0, 1e6]]))[0] == pytest.approx(known.CLIP / np.sqrt(2))
    assert model.turned_away(np.array([[0.0, 0.0], [3.0, 0.0]])).tolist() == [False, True]


def test_a_model_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    model = replace(a_model(), figures={"auc": 0.9}, data={"seed": 0})
    (tmp_path / "k.json").write_text(json.dumps(model.to_json()))
    assert Known.load(tmp_path / "k.json").model == model


@pytest.mark.parametrize("content", ["{}", "[1", '{"kind": "known", "format": 1, "mean": [1]}'])
def test_a_file_that_is_no_model_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text(content)
    with pytest.raises(DetectError, match=r"k\.json: not a model of known faces"):
        Known.load(tmp_path / "k.json")
    with pytest.raises(DetectError, match="cannot be read"):
        Known.load(tmp_path / "gone.json")
    with pytest.raises(ValueError, match="one length"):
        KnownModel((0.0,), (1.0, 1.0), (1.0,), 0.0, 0.0, ((1.0,),), 1.0)


def test_the_shipped_model_is_small_and_says_what_it_was_measured_on() -> None:
    model = Known.load().model
    path = Path(known.__file__).parents[1] / "weights" / SHIPPED
    assert path.stat().st_size < 100_000
    assert model.figures["faces"] > 100
    assert model.figures["auc"] > 0.9
    assert model.data["faces"]


def test_photographs_and_others_are_told_apart_and_few_photographs_turned_away() -> None:
    rng = np.random.default_rng(0)
    photos, others = rng.normal(0, 1, (400, 12)), rng.normal(0, 1, (300, 12))
    others[:, :3] += 2.5
    model = fit_known(photos, others, turned_away=0.02)
    assert model.turned_away(photos).mean() <= 0.045  # two limits of 2 % each
    assert model.turned_away(others).mean() > 0.8
    far = np.full((1, 12), 40.0)
    assert model.turned_away(far).all()


@pytest.mark.parametrize("manner", list(Manner))
def test_a_drawing_keeps_the_size_and_is_no_longer_the_photograph(manner: Manner) -> None:
    photo = noise()
    drawn = draw(photo, manner, np.random.default_rng(1))
    assert drawn.shape == photo.shape and drawn.dtype == np.uint8
    assert np.abs(drawn.astype(int) - photo).mean() > 2
    assert (draw(photo, manner, np.random.default_rng(1)) == drawn).all()
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        draw(photo[..., 0], manner, np.random.default_rng(1))


def test_degraded_copies_keep_their_size() -> None:
    rng = np.random.default_rng(2)
    copies = [degraded(noise(), rng) for _ in range(20)]
    assert {copy.shape for copy in copies} == {(SIDE, SIDE, 3)}
    assert {copy.dtype for copy in copies} == {np.dtype(np.uint8)}


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "kind"], ["a.png", "photo"]])
    with pytest.raises(DetectError, match="columns file, kind and split"):
        read_rows(tmp_path / "t.csv")
    with pytest.raises(DetectError, match="cannot be read"):
        read_rows(tmp_path / "gone.csv")


def a_table(count: int = 60) -> Faces:
    rng = np.random.default_rng(3)
    rows, copies, features = [], [], []
    for n in range(count):
        split, photo = ("train", "test")[n % 3 == 0], n % 2 == 0
        row = Row(Path(f"{n}.png"), "photo" if photo else "painting", split, "made up", "a" if n % 4 else "b")
        for copy in ("plain", "degraded", "redrawn") if split == "train" and photo else ("plain",):
            rows.append(row)
            copies.append(copy)
            features.append(rng.normal(0, 1, 10) + 2.0 * (not photo or copy == "redrawn"))
    return Faces(tuple(rows), np.array(features), tuple(copies))


def test_a_fit_is_measured_on_faces_it_never_saw_and_says_so_by_group() -> None:
    model = fit_on(a_table())
    assert model.data["faces"] == {
        f"{split}: {kind}, made up": n
        for split, kind, n in (
            ("test", "painting", 10),
            ("test", "photo", 10),
            ("train", "painting", 20),
            ("train", "photo", 20),
        )
    }
    assert model.figures["faces"] == 20 and model.figures["auc"] > 0.9
    assert set(model.figures["turned_away_by_group"]) == {"painting, a", "photo, a", "photo, b"}
    assert model.figures["turned_away_by_kind"]["painting"]["share"] > 0.5


def test_only_one_kind_of_picture_cannot_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DetectError, match="both are needed"):
        fit_on(a_table().chosen(lambda row, copy: row.kind == "painting"))
    monkeypatch.setattr(known_fit, "faces_of", lambda rows: [])
    with pytest.raises(DetectError, match="no face was found"):
        known_fit.gather([])


def crop_of(path: Path) -> UInt8Array:
    image = read_image(path)
    with FaceFinder() as finder:
        face = finder.find(image)[0]
    return warp(image, align_matrix(face.landmarks, SIDE, MARGIN), SIDE)


def test_a_redrawn_face_is_turned_away_more_surely_than_the_same_face(data_pack: Path) -> None:
    pictures = sorted((data_pack / "portraits" / "people").glob("*.webp"))[:3]
    shipped, rng = Known.load(), np.random.default_rng(0)
    for picture in pictures:
        crop = crop_of(picture)
        assert shipped.judge(crop[None]) == ""
        plain, *drawn = (
            float(shipped.model.drawn(shipped.features(one[None])[None])[0])
            for one in (crop, draw(crop, Manner.CARTOON, rng), draw(crop, Manner.PENCIL, rng))
        )
        assert min(drawn) > plain
