"""The whole product once: what `make demo` does, with one clip."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from countermark.demo import run_demo

    out = tmp_path_factory.mktemp("demo")
    run_demo(out, clips=1)
    return out


def test_the_demo_leaves_a_report_with_its_pictures_inside(demo: Path) -> None:
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in page
    assert "http://" not in page and "https://" not in page  # nothing is fetched when it is opened


def test_every_made_clip_is_trusted_here_and_declares_itself_synthetic(demo: Path) -> None:
    facts = json.loads((demo / "demo.json").read_text(encoding="utf-8"))
    assert facts["clips"] and facts["attestation"] == "trusted"
    for clip in facts["clips"]:
        assert clip["credential"]["standing"] == "trusted"
        assert clip["credential"]["declares_synthetic"] is True
        assert clip["finding"] == "declared_synthetic"


def test_each_tampered_copy_gets_its_own_standing(demo: Path) -> None:
    facts = json.loads((demo / "demo.json").read_text(encoding="utf-8"))
    assert [case["standing"] for case in facts["tampered"]] == ["broken", "absent", "unknown_signer"]


def test_an_output_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    from countermark.cli import app

    (tmp_path / "file").write_text("in the way")
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "file" / "demo")])
    assert done.exit_code == 1
    assert "Traceback" not in done.output and len(done.output.strip().splitlines()) == 1
