"""The measurements of signing, on small films; and one that would take a gigabyte."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import cross_check, signing
from benchmarks.cross_check import FAILS, HOLDS, NONE, Decision, compared, decision_of, own_files
from benchmarks.signing import costs, large_film, peak_of
from media.video import read_clip
from provenance.credential import Standing, read_credential
from provenance.errors import ProvenanceError
from provenance.trust import TrustAnchors


def test_a_large_film_has_its_size_and_plays(tmp_path: Path) -> None:
    large_film(tmp_path / "a.mp4", 2)
    assert (tmp_path / "a.mp4").stat().st_size == 2_000_000
    assert len(read_clip(tmp_path / "a.mp4").frames) == 25


def test_costs_are_ratios_of_ways_that_took_turns(tmp_path: Path) -> None:
    row = costs(tmp_path, "mp4", 1, 3)
    assert row["turns"] == 3
    for name in ("to directly", "to directly and read back"):
        ratio = row[f"processor: {name}"]
        assert isinstance(ratio, float)
        assert 0.2 < ratio < 6
    assert read_credential(tmp_path / "ours.mp4").standing is Standing.TRUSTED


def test_peaks_are_those_of_the_command_and_not_ours() -> None:
    held = bytearray(200_000_000)
    small, _ = peak_of([sys.executable, "-c", "pass"])
    large, seconds = peak_of([sys.executable, "-c", "x = bytearray(b'x' * 150_000_000)"])
    assert len(held) / 1e6 > small
    assert small + 100 < large < small + 400
    assert seconds > 0
    with pytest.raises(ProvenanceError, match="ended with 3"):
        peak_of([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.slow
def test_a_gigabyte_is_signed_and_verified_within_300_megabytes(tmp_path: Path) -> None:
    rows = signing.memory(tmp_path, 1000)
    assert [row["command"] for row in rows] == ["provenance sign", "provenance verify"]
    assert all(isinstance(row["peak, MB"], float) and row["peak, MB"] < 300 for row in rows)


def test_differences_between_readers_are_listed_with_their_reason(tmp_path: Path) -> None:
    paths = own_files(tmp_path)
    assert len(paths) == 6
    assert {read_credential(path, trust=TrustAnchors.none()).standing for path in paths} == {Standing.UNKNOWN_SIGNER}
    name = "signed by us, in pieces.mp4"
    readers = {
        "alike": cross_check.ours,
        "encypher-c2pa": lambda path: Decision(FAILS if path.name == name else HOLDS),
        "blind": lambda path: Decision(NONE),
    }
    rows, differences = compared(paths, readers)
    assert [row["alike"] for row in rows] == [HOLDS] * 6
    assert [one["reader"] for one in differences].count("blind") == 6
    [known] = [one for one in differences if one["reader"] == "encypher-c2pa"]
    assert known["file"] == name
    assert known["why"]
    assert all(one["why"] == "" for one in differences if one["reader"] == "blind")


def test_a_state_and_its_failures_become_a_decision() -> None:
    results = {"activeManifest": {"failure": [{"code": "signingCredential.untrusted"}, {"code": "general.error"}]}}
    assert decision_of("Invalid", results) == Decision(FAILS, ("general.error",))
    assert decision_of("Valid", {}) == Decision(HOLDS)


def test_without_another_reader_the_comparison_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    monkeypatch.setattr(cross_check, "encypher", lambda: None)
    app = typer.Typer()
    app.command()(cross_check.main)
    for words, said in (([], "no other reader"), (["--wasm", str(tmp_path)], "npm install")):
        result = CliRunner().invoke(app, ["--fixtures", str(tmp_path), *words, "--results", str(tmp_path)])
        assert result.exit_code == 1
        assert said in result.stderr
    assert not list(tmp_path.glob("*.json"))


def test_the_saved_comparison_has_a_reason_for_every_difference() -> None:
    saved = json.loads((cross_check.RESULTS / "cross_check.json").read_text())
    assert len(saved["tables"][0]["rows"]) > 40
    assert all(row["why"] for row in saved["tables"][1]["rows"])
