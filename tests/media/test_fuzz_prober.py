"""The readers of film, picture and sound and damaged files: 200 cases here, 10,000 by `benchmarks.fuzz media`."""

import subprocess
import sys

import pytest

from benchmarks.fuzz import run


@pytest.mark.parametrize("cases", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_damaged_file_breaks_a_reader(cases: int) -> None:
    outcome = run("media", cases)
    assert outcome.findings == () and outcome.cases == cases
    # a run in which nothing can be read any more tests little of the decoders
    assert outcome.endings.get("read", 0) > cases // 10


def test_whatever_broke_a_reader_once_is_read_now() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", "media", "--replay"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode()
