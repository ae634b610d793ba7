"""The API against its own description: schemathesis asks a real server whatever /openapi.json allows and forbids."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("schemathesis", reason="pip install schemathesis==4.32.5 to hold the API against its description")
pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

from benchmarks.server_process import served
from media.catalog import Catalog, Label, Sample
from media.clip import Clip
from media.video import write_clip

JUDGED_BY_CONTENT = "positive_data_acceptance"
"""Left out: a part that is a file as the description wants it may hold nothing that can be checked, and is answered
with 422; no schema can say so."""


@pytest.mark.slow
def test_the_server_keeps_to_its_description(tmp_path: Path, counting_clip: Clip) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    write_clip(counting_clip, folder / "a.mp4")
    digest = hashlib.sha256((folder / "a.mp4").read_bytes()).hexdigest()
    Catalog([Sample("a", "a.mp4", Label.SYNTHETIC, digest)], "one clip").save(folder)
    with served(tmp_path / "server", "--catalog", str(folder), "--workers", "2", "--max-job-seconds", "60") as there:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{there.port}/openapi.json"]
        asked = [*command, "--max-examples", "10", "--seed", "1", "--no-color", "--request-timeout", "100"]
        done = subprocess.run(
            [*asked, "--exclude-checks", JUDGED_BY_CONTENT],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            # what it draws in the terminal is ASCII-safe nowhere
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert " 0 selected" not in done.stdout and "12 selected" in done.stdout
        assert there.left() == []
