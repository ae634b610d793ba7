"""The API and dishonest requests: 200 cases here, 10,000 by `python -m benchmarks.fuzz api`."""

import random
import subprocess
import sys

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

from benchmarks.fuzz import run
from benchmarks.fuzz_requests import must_be_plain, request_of

SAFE = {"x-content-type-options": "nosniff"}


@pytest.mark.parametrize("cases", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_request_breaks_the_server(cases: int) -> None:
    outcome = run("api", cases)
    assert outcome.findings == () and outcome.cases == cases
    # requests that never reach a route test nothing behind it
    assert outcome.endings.get("200", 0) > 0 and outcome.endings.get("422", 0) > 0


def test_whatever_broke_the_server_once_is_answered_now() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", "api", "--replay"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        (500, SAFE, b'{"error": "x"}'),
        (200, {}, b"{}"),
        (200, SAFE, b'Traceback (most recent call last)\n  File "x"'),
        (404, SAFE, b"Not Found"),
        (422, SAFE, b'{"detail": []}'),
        (422, SAFE, b'{"error": "two\\nlines"}'),
    ],
)
def test_an_answer_that_is_not_plain_is_seen(status: int, headers: dict[str, str], content: bytes) -> None:
    with pytest.raises((AssertionError, ValueError)):
        must_be_plain(status, headers, content)


def test_a_case_is_made_by_its_number_alone() -> None:
    assert request_of(random.Random("api 7")) == request_of(random.Random("api 7"))
    assert request_of(random.Random("api 7")) != request_of(random.Random("api 8"))
