"""The manifest reader and damaged files: 200 cases here, 10,000 by `python -m benchmarks.fuzz manifest`."""

import subprocess
import sys

import pytest

from benchmarks.fuzz import run


@pytest.mark.parametrize("cases", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_damaged_file_breaks_the_manifest_reader(cases: int) -> None:
    outcome = run("manifest", cases)
    assert outcome.findings == () and outcome.cases == cases
    # a run that only ever refuses tests nothing of the reader
    assert outcome.endings.get("broken", 0) > cases // 4


def test_whatever_broke_the_manifest_reader_once_is_read_now() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", "manifest", "--replay"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode()
