from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest
from containers import flip_content
from typer.testing import CliRunner, Result

from provenance import batch
from provenance.batch import KeySource, SigningOptions, orders_into, sign_many
from provenance.claims import Claim, SourceType
from provenance.cli import app
from provenance.credential import ProvenanceError, Standing, read_credential
from provenance.identity import create_identity
from provenance.signing import sign_file
from provenance.trust import TrustAnchors

SYNTHETIC = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)
Originals = dict[str, Path]
KIND = ("--source-type", "trainedAlgorithmicMedia", "--no-store")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_many_files_are_signed_in_several_processes(originals: Originals, tmp_path: Path) -> None:
    sources = [path for name, path in sorted(originals.items()) if name.startswith("clip.")]
    lines: list[str] = []
    orders = orders_into(sources, tmp_path)
    outcomes = list(sign_many(orders, SYNTHETIC, SigningOptions(), workers=3, notify=lines.append))
    assert sorted(one.source for one in outcomes) == sorted(sources)
    assert [one.error for one in outcomes] == [None] * len(sources)
    assert len(lines) == 1, "the identity is made once, and told once"
    for source in sources:
        assert read_credential(tmp_path / source.name).standing is Standing.TRUSTED
    assert len(list(tmp_path.iterdir())) == len(sources)


def test_one_that_cannot_be_signed_stops_no_other(originals: Originals, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    sign_file(originals["clip.jpg"], tmp_path / "whole.jpg", SYNTHETIC)
    (tmp_path / "broken.jpg").write_bytes(flip_content((tmp_path / "whole.jpg").read_bytes(), "jpg"))
    files = [tmp_path / "text.png", originals["clip.png"], tmp_path / "broken.jpg"]
    result = run("sign", *files, "-o", tmp_path / "out", *KIND, "--json")
    assert result.exit_code == 1
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(one["source"]).name for one in answers] == ["text.png", "clip.png", "broken.jpg"]
    assert "not a media file" in answers[0]["error"]
    assert answers[1]["credential"]["standing"] == "trusted"
    assert "carries a broken credential" in answers[2]["error"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.png"]
    again = run("sign", tmp_path / "broken.jpg", "-o", tmp_path / "out", *KIND, "--over-broken")
    assert again.exit_code == 0
    credential = read_credential(tmp_path / "out" / "broken.jpg")
    assert credential.standing is Standing.TRUSTED
    assert credential.ingredients[0].is_faulty


def test_two_files_of_one_name_and_results_that_exist_are_refused_before_anything_is_signed(
    originals: Originals, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "clip.png"
    twin.write_bytes(originals["clip.png"].read_bytes())
    result = run("sign", originals["clip.png"], twin, "-o", tmp_path / "out", *KIND)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "two of the files are called clip.png" in result.stderr
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "clip.jpg").write_text("mine")
    result = run("sign", originals["clip.png"], originals["clip.jpg"], "-o", tmp_path / "out", *KIND)
    assert result.exit_code == 1
    assert "clip.jpg exists already" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.jpg"]
    (tmp_path / "file").write_text("x")
    result = run("sign", originals["clip.png"], originals["clip.jpg"], "-o", tmp_path / "file", *KIND)
    assert "cannot make the folder" in result.stderr


def test_replacing_a_file_is_one_step(originals: Originals, tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_text("earlier")
    with target.open() as reader:
        sign_file(originals["clip.png"], target, SYNTHETIC)
        assert reader.read() == "earlier", "who had the old file open still has the whole of it"
    assert read_credential(target).standing is Standing.TRUSTED
    assert stat.S_ISREG(target.stat().st_mode)


def test_a_process_that_dies_costs_its_files_and_no_hang(
    originals: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_sign_in_worker", _die)
    orders = orders_into([originals["clip.png"], originals["clip.jpg"]], tmp_path)
    outcomes = list(sign_many(orders, SYNTHETIC, SigningOptions(), workers=2, notify=lambda line: None))
    assert all("a signing process died" in (one.error or "") for one in outcomes)
    assert len(outcomes) == 2


def _die(*words: object) -> None:
    os._exit(3)


def test_workers_and_keys_refuse_nonsense(originals: Originals, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers must be between"):
        list(sign_many([], SYNTHETIC, SigningOptions(), workers=0))
    create_identity(tmp_path / "k")
    chain, key = tmp_path / "k" / "chain.pem", str(tmp_path / "k" / "signer.key")
    for source, words in (
        (KeySource(key=key), "belong together"),
        (KeySource(chain, key, tmp_path / "k"), "not both"),
        (KeySource(folder=tmp_path / "gone"), "there is no identity in"),
        (KeySource(chain, key, time_stamp_url="ftp://tsa"), "must begin with http"),
    ):
        with pytest.raises(ProvenanceError, match=words):
            source.identity()
    assert "PIN" not in repr(KeySource(pin="PIN4711"))
    assert TrustAnchors.default().lists == ()


def test_whoever_stops_listening_waits_for_the_files_at_hand_and_not_for_all(
    originals: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_sign_in_worker", _take_a_moment)
    orders = [(originals["clip.png"], tmp_path / f"{number}.png") for number in range(200)]
    outcomes = sign_many(orders, SYNTHETIC, SigningOptions(), workers=2, notify=lambda line: None)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert len(list(tmp_path.iterdir())) < 100


def _take_a_moment(source: Path, destination: Path, *words: object) -> batch.Outcome:
    time.sleep(0.05)
    destination.write_text("signed")
    return batch.Outcome(source, destination)
