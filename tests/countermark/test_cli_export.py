from __future__ import annotations

import hashlib
import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from countermark.cli_export import ExportForm, export
from countermark.exports import FORMS
from media.catalog import Catalog, Label, Sample
from provenance.signing import verify_catalog

app = typer.Typer()
app.command()(export)


def two_clips(folder: Path) -> Path:
    (folder / "clips").mkdir(parents=True)
    samples = []
    for name, label in (("a", Label.REAL), ("b", Label.SYNTHETIC)):
        (folder / "clips" / f"{name}.mp4").write_bytes(name.encode())
        digest = hashlib.sha256(name.encode()).hexdigest()
        samples.append(Sample(name, f"clips/{name}.mp4", label, digest, maker="m", split="train"))
    Catalog(samples).save(folder)
    return folder


def test_the_command_knows_every_form() -> None:
    assert [form.value for form in ExportForm] == list(FORMS)


def test_facts_go_to_stdout_as_json_and_talk_to_stderr(tmp_path: Path) -> None:
    folder, out = two_clips(tmp_path / "ds"), tmp_path / "out"
    done = CliRunner().invoke(app, [str(folder), str(out), "--to", "webdataset", "--shard-size-mb", "1"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["clips"], facts["splits"], facts["standing"]) == (2, {"train": 2}, "trusted")
    assert "2 clips" in done.stderr and verify_catalog(out).difference_count == 0


def test_what_a_user_can_mend_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    folder = two_clips(tmp_path / "ds")
    (folder / "clips" / "b.mp4").write_bytes(b"else")
    done = CliRunner().invoke(app, [str(folder), str(tmp_path / "out"), "--to", "parquet"])
    assert done.exit_code == 1 and done.stdout == ""
    assert next(line for line in done.stderr.splitlines() if line.startswith("error: ")).count("b.mp4: differs") == 1
    done = CliRunner().invoke(app, [str(tmp_path / "nowhere"), str(tmp_path / "out"), "--to", "parquet"])
    assert done.exit_code == 1 and "there is no catalog" in done.stderr


def test_a_size_of_shards_is_refused_where_there_are_none(tmp_path: Path) -> None:
    given = [str(two_clips(tmp_path / "ds")), str(tmp_path / "out"), "--to", "videofolder", "--shard-size-mb", "5"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 1 and "videofolder has no shards; leave out --shard-size-mb" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_form_that_is_not_known_is_wrong_usage(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(tmp_path), str(tmp_path / "out"), "--to", "zip"])
    assert done.exit_code == 2
