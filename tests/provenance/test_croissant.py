from __future__ import annotations

import hashlib
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from provenance.attestation import sign_catalog, verify_catalog
from provenance.cli import app
from provenance.credential import Standing
from provenance.croissant import About, refresh_croissant, write_croissant
from provenance.errors import ProvenanceError
from provenance.record import Record


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    folder = tmp_path / "voices"
    (folder / "clips").mkdir(parents=True)
    lines = []
    for number in range(4):
        content = bytes([number]) * 100
        (folder / f"clips/{number}.mp4").write_bytes(content)
        line = {
            "id": f"c{number}",
            "path": f"clips/{number}.mp4",
            "label": "synthetic" if number % 2 else "real",
            "sha256": hashlib.sha256(content).hexdigest(),
            "split": "train" if number < 3 else "val",
            "seconds": 1.5,
            "width": 64,
            "has_sound": True,
            "person": "p1" if number in (0, 3) else None,
            "license": "CC0-1.0",
        }
        lines.append(json.dumps(line))
    (folder / "catalog.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "catalog.jsonl"


def described(catalog: Path, **about: str) -> dict[str, Any]:
    facts = json.loads(write_croissant(catalog, about=About(**about), record=Record(recipe="tiny", seed=7)).read_text())
    assert isinstance(facts, dict)
    return facts


def test_the_real_library_finds_no_fault_and_reads_the_samples(catalog: Path) -> None:
    croissant = pytest.importorskip("mlcroissant", reason="the extra `croissant` is not installed")
    dataset = croissant.Dataset(jsonld=str(write_croissant(catalog, about=About(biases="nobody is old"))))
    issues = dataset.metadata.ctx.issues
    assert (set(issues.errors), set(issues.warnings)) == (set(), set())
    assert dataset.metadata.data_biases[0].startswith("nobody is old")
    samples = list(dataset.records("samples"))
    assert [one["samples/id"] for one in samples] == [b"c0", b"c1", b"c2", b"c3"]
    assert [one["samples/has_sound"] for one in samples] == [True] * 4


def test_what_the_catalog_tells_is_counted_and_what_nobody_said_is_not_made_up(catalog: Path) -> None:
    facts = described(catalog, use_cases="tests of detectors")
    assert facts["name"] == "voices"
    assert facts["license"] == "CC0-1.0"
    assert facts["rai:dataUseCases"] == "tests of detectors"
    assert facts["rai:dataLimitations"] == "not stated"
    assert "1 named, 2 samples without a name" in facts["rai:dataBiases"]
    assert "real 2, synthetic 2" in facts["rai:dataCollection"]
    assert "train 3, val 1" in facts["rai:dataAnnotationProtocol"]


def test_a_person_in_two_splits_is_told(catalog: Path) -> None:
    assert "1 persons or recordings are in two splits" in described(catalog)["rai:dataAnnotationProtocol"]


def test_the_catalog_is_named_with_its_digest_and_columns_with_holes_are_left_out(catalog: Path) -> None:
    facts = described(catalog)
    assert facts["distribution"][0]["sha256"] == hashlib.sha256(catalog.read_bytes()).hexdigest()
    assert facts["distribution"][1]["includes"] == "clips/*.mp4"
    names = [one["name"] for one in facts["recordSet"][0]["field"]]
    assert "person" not in names
    assert {"id", "path", "sha256", "label", "split", "seconds"} <= set(names)


def with_folders(catalog: Path, *folders: str) -> list[str]:
    """Patterns of the sets of files, when each of these folders holds a film more."""
    with catalog.open("a") as lines:
        lines.writelines(json.dumps({"id": f"x{n}", "path": f"{one}/a.mp4"}) + "\n" for n, one in enumerate(folders))
    return [one["includes"] for one in described(catalog)["distribution"][1:]]


def test_a_folder_whose_name_is_a_pattern_is_named_as_it_is(catalog: Path) -> None:
    (pattern,) = set(with_folders(catalog, "take [1]*")) - {"clips/*.mp4"}
    assert fnmatch(f"{catalog.parent}/take [1]*/a.mp4", f"*/{pattern}") and not fnmatch("take 1/a.mp4", pattern)


def test_folders_without_end_are_few_sets_of_files(catalog: Path) -> None:
    inner = [f"{split}/{n}/film" for split in ("train", "val") for n in range(200)]
    assert with_folders(catalog, *inner) == ["clips/*.mp4", "train/**/*.mp4", "val/**/*.mp4"]
    assert all(any(fnmatch(f"{one}/a.mp4", p) for p in ("train/**/*.mp4", "val/**/*.mp4")) for one in inner)
    assert with_folders(catalog, *(f"speaker {n}" for n in range(200))) == ["**/*.mp4"]


def test_it_is_covered_by_the_signature_of_the_dataset(catalog: Path) -> None:
    path = write_croissant(catalog)
    assert sign_catalog(catalog.parent).standing is Standing.TRUSTED
    path.write_text(path.read_text().replace("CC0-1.0", "MIT"))
    assert verify_catalog(catalog.parent).differences[0].path == "croissant.json"


@pytest.mark.parametrize("content", ["", "not json\n", '{"id": "x"}\n', "[]\n"])
def test_what_is_no_catalog_is_refused_in_one_line(catalog: Path, content: str) -> None:
    catalog.write_text(content)
    with pytest.raises(ProvenanceError, match=r"catalog\.jsonl") as caught:
        write_croissant(catalog)
    assert "\n" not in str(caught.value)
    assert not catalog.with_name("croissant.json").exists()


def sign_from_the_command_line(catalog: Path) -> None:
    result = CliRunner().invoke(app, ["sign-dataset", str(catalog.parent)])
    assert result.exit_code == 0, result.stderr
    assert verify_catalog(catalog.parent).standing is Standing.TRUSTED


def test_signing_a_dataset_describes_it_and_its_own_description_again_when_it_changes(catalog: Path) -> None:
    path = catalog.with_name("croissant.json")
    sign_from_the_command_line(catalog)
    assert json.loads(path.read_text())["description"].startswith("4 samples")
    lines = catalog.read_text().splitlines()
    catalog.write_text("\n".join(lines[:3]) + "\n")
    sign_from_the_command_line(catalog)
    facts = json.loads(path.read_text())
    assert facts["description"].startswith("3 samples")
    assert facts["distribution"][0]["sha256"] == hashlib.sha256(catalog.read_bytes()).hexdigest()


@pytest.mark.parametrize("how", ["of a person", "changed by a person", "with words of a person", "link", "no text"])
def test_a_description_that_is_not_ours_is_never_overwritten(how: str, catalog: Path) -> None:
    path = catalog.with_name("croissant.json")
    if how == "of a person":
        path.write_text('{"@type": "sc:Dataset", "name": "mine"}')
    elif how == "with words of a person":
        write_croissant(catalog, about=About(limitations="few people"))
    elif how == "link":
        (catalog.parent / "described.json").write_text("{}")
        path.symlink_to("described.json")
    elif how == "no text":
        path.write_bytes(b"\xff\xfe[[[")
    else:
        assert refresh_croissant(catalog) == path
        path.write_text(path.read_text().replace('"rai:dataLimitations": "not stated"', '"rai:dataLimitations": "few"'))
    before = path.read_bytes()
    sign_from_the_command_line(catalog)
    assert path.read_bytes() == before
    assert path.is_symlink() is (how == "link")


def test_the_description_that_signing_writes_is_valid_too(catalog: Path) -> None:
    croissant = pytest.importorskip("mlcroissant", reason="the extra `croissant` is not installed")
    issues = croissant.Dataset(jsonld=str(refresh_croissant(catalog))).metadata.ctx.issues
    assert (set(issues.errors), set(issues.warnings)) == (set(), set())
