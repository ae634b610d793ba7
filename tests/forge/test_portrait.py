from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick_maker import picture

from forge.portrait import (
    Declaration,
    DeclarationKind,
    ForgeError,
    UndeclaredError,
    list_portraits,
    load_portrait,
    sha256_of,
)

AGREED = "Ada Example agreed on 2026-03-01 to demo clips of this project"


def test_a_portrait_keeps_its_pixels_digest_and_declaration(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png", number=2)
    portrait = load_portrait(path, Declaration.nonexistent("CC0-1.0"))
    assert portrait.image.shape == (400, 400, 3)
    assert portrait.image[0, 0].tolist() == [64, 64, 64]
    assert portrait.sha256 == sha256_of(path)
    assert portrait.declaration.license == "CC0-1.0"
    assert portrait.declaration.shows_nobody
    assert portrait.person.endswith(portrait.sha256[:12])


def test_an_undeclared_portrait_is_refused_in_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UndeclaredError) as caught:
        load_portrait(picture(tmp_path / "p.png"), None)
    assert "--nonexistent" in str(caught.value) and "--consent" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "statement", ["", "   ", "yes", "she agreed", "x" * 2000, "aaaaaaaaaaaaaaaaaaaaaaaa", "a b\0 cccccccccccc"]
)
def test_consent_that_says_nothing_is_refused(statement: str) -> None:
    with pytest.raises(ForgeError):
        Declaration.consent(statement)


def test_consent_says_who_when_and_to_what() -> None:
    declaration = Declaration.consent(f"  {AGREED}\n")
    assert declaration.kind is DeclarationKind.CONSENT
    assert not declaration.shows_nobody
    assert str(declaration) == f"consent: {AGREED}"


def signed_picture(folder: Path, source_type: str) -> Path:
    from provenance.claims import Claim, SourceType
    from provenance.signing import sign_file

    out = folder / "signed.png"
    sign_file(picture(folder / "plain.png"), out, Claim(source_type=SourceType(source_type)))
    return out


def test_a_picture_whose_own_credentials_say_synthetic_needs_no_declaration(tmp_path: Path) -> None:
    portrait = load_portrait(signed_picture(tmp_path, "trainedAlgorithmicMedia"), None)
    assert portrait.declaration.kind is DeclarationKind.CREDENTIAL
    assert portrait.declaration.shows_nobody


def test_credentials_that_say_something_else_do_not_declare_a_picture(tmp_path: Path) -> None:
    with pytest.raises(UndeclaredError, match="do not say that it is wholly synthetic"):
        load_portrait(signed_picture(tmp_path, "digitalCapture"), None)


def test_a_photo_that_a_model_changed_still_shows_somebody_who_must_agree(tmp_path: Path) -> None:
    with pytest.raises(UndeclaredError, match="wholly synthetic"):
        load_portrait(signed_picture(tmp_path, "compositeWithTrainedAlgorithmicMedia"), None)


def test_no_portrait_can_be_made_without_a_declaration(tmp_path: Path) -> None:
    whole = load_portrait(picture(tmp_path / "p.png"), Declaration.nonexistent())
    with pytest.raises(UndeclaredError):
        replace(whole, declaration=None)  # type: ignore[arg-type]


def test_broken_credentials_do_not_declare_a_picture(tmp_path: Path) -> None:
    path = signed_picture(tmp_path, "trainedAlgorithmicMedia")
    data = bytearray(path.read_bytes())
    position = data.rindex(b"IDAT") + 10
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ForgeError, match=r"credentials are broken|damaged|cannot be read"):
        load_portrait(path, None)


def test_a_table_declares_each_picture_and_names_the_person(tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / f"p{n}.png", number=n)
    (tmp_path / "portraits.csv").write_text(
        "file,nonexistent,consent,license,person,kind\n"
        "p0.png,yes,,CC0-1.0,nobody,painting\n"
        f"p1.png,,{AGREED},private,Ada,photo\n"
        "p2.png,no,,,,\n"
    )
    nobody, ada, other = list_portraits(tmp_path, Declaration.nonexistent())
    assert nobody.declaration is not None and nobody.declaration.shows_nobody
    assert (nobody.person, nobody.kind, nobody.declaration.license) == ("nobody", "painting", "CC0-1.0")
    assert ada.declaration is not None and ada.declaration.statement == AGREED
    assert other.declaration is None, "a plain `no` in the table wins over what was said about everyone"


def test_a_no_is_heard_however_its_column_is_written(tmp_path: Path) -> None:
    picture(tmp_path / "p0.png")
    (tmp_path / "portraits.csv").write_text("File, NonExistent\np0.png, No\n")
    (entry,) = list_portraits(tmp_path, Declaration.nonexistent())
    assert entry.declaration is None


def test_a_table_without_declarations_takes_the_one_for_everyone(tmp_path: Path) -> None:
    picture(tmp_path / "p0.png")
    (tmp_path / "portraits.csv").write_text("id,file,kind,license\nx,p0.png,painting,MIT\n")
    (entry,) = list_portraits(tmp_path, Declaration.nonexistent())
    assert entry.declaration is not None and entry.declaration.license == "MIT"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name\np0.png\n", "no column `file`"),
        ("file\nmissing.png\n", "not in the folder"),
        ("file,nonexistent\np0.png,perhaps\n", "must be yes or no"),
        ("file,consent\np0.png,ok\n", "line 2"),
        (f"file,nonexistent,consent\np0.png,yes,{AGREED}\n", "cannot agree"),
        ("file,nonexistent,Nonexistent\np0.png,no,yes\n", "`nonexistent` is there twice"),
        ("file\np0.png\np0.png\n", "listed 2 times"),
        ("file\n", "no pictures"),
    ],
)
def test_a_broken_table_is_refused_by_name_and_line(tmp_path: Path, table: str, message: str) -> None:
    picture(tmp_path / "p0.png")
    (tmp_path / "portraits.csv").write_text(table)
    with pytest.raises(ForgeError, match=message):
        list_portraits(tmp_path)


def test_a_folder_without_a_table_gives_its_pictures_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.webp"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert [entry.path.name for entry in list_portraits(tmp_path)] == ["a.jpg", "b.png", "c.webp"]


def test_exif_turns_the_portrait_upright(tmp_path: Path) -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, :100] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: to be turned clockwise by 90 degrees
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    portrait = load_portrait(tmp_path / "turned.png", Declaration.nonexistent())
    assert portrait.image.shape == (200, 100, 3)
    assert portrait.image[10, 50, 0] > 200 and portrait.image[190, 50, 0] < 50


def test_consent_may_be_written_in_a_script_without_spaces() -> None:
    assert Declaration.consent("王小明于二〇二六年三月一日同意用于本项目演示").statement
    with pytest.raises(ForgeError, match="who agreed"):
        Declaration.consent("yes-they-agreed-surely")
