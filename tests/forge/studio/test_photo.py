"""A table of portraits becomes people: who is refused, who is dropped, what is kept."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from forge.portrait import ForgeError
from forge.studio import photo, photo_film
from forge.studio.photo_person import PhotoPerson, load_person, save_person


def write_table(folder: Path, **row: str) -> Path:
    """One grey picture and a table with one row."""
    Image.new("RGB", (96, 96), (90, 120, 150)).save(folder / "a.png")
    table = folder / "people.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        writer.writeheader()
        writer.writerow(row)
    return table


def test_a_portrait_without_a_licence_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path, file="a.png", license="", nonexistent="yes")
    with pytest.raises(ForgeError, match=r"line 2: no licence for a\.png"):
        photo.load_people(tmp_path, table)


def test_a_portrait_of_somebody_needs_that_persons_consent(tmp_path: Path) -> None:
    table = write_table(tmp_path, file="a.png", license="CC0-1.0")
    with pytest.raises(ForgeError, match="neither `nonexistent` nor `consent`"):
        photo.read_people(tmp_path, table)
    table = write_table(tmp_path, file="a.png", license="CC0-1.0", consent="A. Muster agreed in writing on 1 May 2026")
    assert "A. Muster" in photo.read_people(tmp_path, table)[0].declaration.statement


def test_a_table_may_name_its_pictures_by_id_and_say_in_words_that_nobody_is_shown(tmp_path: Path) -> None:
    table = write_table(tmp_path, id="a", licence="CC0-1.0", kind="generated, non-existing person", age="61")
    entry = photo.read_people(tmp_path, table)[0]
    assert (entry.name, entry.path.name, entry.licence, entry.facts["age"]) == ("a", "a.png", "CC0-1.0", "61")


def test_a_row_without_its_picture_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path, file="b.png", license="CC0-1.0", nonexistent="yes")
    with pytest.raises(ForgeError, match=r"the picture 'b\.png' is not in"):
        photo.read_people(tmp_path, table)


def test_every_tenth_person_is_held_out() -> None:
    assert [photo.seed_of(i) for i in (0, 8, 9, 10, 19)] == [0, 8, 1_000_009, 10, 1_000_019]


def test_likeness_is_measured_only_within_the_mask() -> None:
    a, b = np.zeros((4, 4, 3), np.float32), np.full((4, 4, 3), 255, np.float32)
    left = np.zeros((4, 4), np.bool_)
    left[:, :2] = True
    b[:, :2] = 25.5
    assert photo.psnr(a, b, left) == pytest.approx(20.0)
    assert photo.psnr(a, b, np.zeros((4, 4), np.bool_)) == 0.0


def test_a_person_is_dropped_with_the_first_reason_that_holds(plain_person: PhotoPerson) -> None:
    good = {
        "landmark_rms": 1.5, "face_pixels": 160.0, "seen": 0.8, "hair_width": 1.4, "cut_at_top": 0.0, "crown": 0.6,
        "face_psnr": 28.0, "person_psnr": 25.0,
    }  # fmt: skip
    assert photo.judge(good, plain_person) == ""
    assert "28.0" not in photo.judge({**good, "face_psnr": 12.0}, plain_person)
    assert "not like the portrait: 12.0 dB" in photo.judge({**good, "face_psnr": 12.0}, plain_person)
    assert "only 20% of the face" in photo.judge({**good, "seen": 0.2, "face_psnr": 12.0}, plain_person)


def test_poses_stay_within_reach_of_the_portrait(plain_person: PhotoPerson) -> None:
    motion = torch.zeros(2, 70)
    motion[:, 0] = torch.tensor([-70.0, 12.0])
    bounded = photo_film.within_reach(plain_person, motion)
    assert bounded[:, 0].tolist() == [pytest.approx(5.0 - 24.0), 12.0]
    near = photo_film.least_log_scale(plain_person)
    assert near == pytest.approx(np.log(20.0 / 12.0))
    assert (bounded[:, 5] >= near - 1e-6).all()


def test_a_saved_person_is_read_back(plain_person: PhotoPerson, tmp_path: Path) -> None:
    save_person(tmp_path / "a.npz", plain_person)
    again = load_person(tmp_path / "a.npz")
    assert (again.name, again.seed, again.parents, again.licence) == ("plain", 7, ("digest",), "CC0-1.0")
    np.testing.assert_allclose(again.relief_W3, plain_person.relief_W3, atol=1e-3)
    np.testing.assert_allclose(again.dyn_64, plain_person.dyn_64)
    assert np.abs(again.skin_3AA.astype(int) - plain_person.skin_3AA).mean() < 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_file_that_is_no_person_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.npz").write_bytes(b"no")
    with pytest.raises(ForgeError, match=r"b\.npz: not a person"):
        load_person(tmp_path / "b.npz")


@pytest.mark.slow
def test_a_portrait_of_the_pack_becomes_a_person_who_looks_like_it(data_pack: Path, tmp_path: Path) -> None:
    folder = data_pack / "portraits" / "people"
    rows = (folder / "people.csv").read_text().splitlines()
    table = tmp_path / "two.csv"
    table.write_text("\n".join([rows[0], rows[7], rows[48]]) + "\n")
    people = photo.load_people(folder, table, cache=tmp_path / "people")
    assert len(people) == 2
    for person in people:
        assert person.facts["fit"]["face_psnr"] > 22
        assert person.facts["fit"]["landmark_median"] <= 1.5
    again = photo.load_people(folder, table, cache=tmp_path / "people")
    assert [person.name for person in again] == [person.name for person in people]
