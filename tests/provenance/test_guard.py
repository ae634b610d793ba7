"""Any reading in a process with limits: its answer comes out, its end never takes this process along."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest

from provenance.errors import ProvenanceError
from provenance.guard import Allowance, ReadingStopped, guarded

QUICK = Allowance(seconds=2.0)


def swells() -> list[int]:
    return [len(bytearray(QUICK.memory_bytes * 2))]


def spins() -> None:
    while True:
        sum(range(10_000))


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def closes_its_pipe_and_stays() -> None:
    os.closerange(3, 256)
    time.sleep(60)


@pytest.mark.parametrize("value", [None, 1, "a\u202eb", [1, {"a": [0.5]}], {"error": "is a word like any other"}])
def test_what_the_work_returns_comes_out(value: Any) -> None:
    assert guarded(lambda: value, QUICK) == value


def test_a_known_error_comes_out_as_it_was_raised() -> None:
    def work() -> None:
        raise ProvenanceError("there is no file a.mp4")

    with pytest.raises(ProvenanceError, match=r"^there is no file a\.mp4$"):
        guarded(work, QUICK)


@pytest.mark.parametrize("work", [swells, spins, dies, closes_its_pipe_and_stays])
def test_a_crash_a_hang_and_a_bomb_cost_one_error(work: Callable[[], Any]) -> None:
    before, children = time.monotonic(), set(psutil.Process().children(recursive=True))
    with pytest.raises(ReadingStopped, match="crashed on this file or took too much"):
        guarded(work, QUICK)
    assert time.monotonic() - before < 20
    assert not set(psutil.Process().children(recursive=True)) - children  # nobody is left


def test_processor_time_is_limited_apart_from_the_clock() -> None:
    before = time.monotonic()
    with pytest.raises(ReadingStopped):
        guarded(spins, Allowance(seconds=60.0, cpu_seconds=0.5))
    assert time.monotonic() - before < 40


def test_an_answer_without_end_is_not_taken_in() -> None:
    with pytest.raises(ReadingStopped):
        guarded(lambda: "x" * 100_000, Allowance(answer_bytes=50_000))


def test_what_is_no_json_is_no_answer() -> None:
    with pytest.raises(ReadingStopped):
        guarded(lambda: np.zeros(3), QUICK)


def test_what_this_process_holds_is_not_charged_to_the_file() -> None:
    held = np.zeros(400 << 20, np.uint8)  # mapped, hardly used
    assert guarded(lambda: len(bytearray(100 << 20)), Allowance(memory_bytes=300 << 20)) == 100 << 20
    assert held.size


def test_the_child_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    guarded(lambda: os.write(1, b"chatter") + os.write(2, b"chatter"), QUICK)
    assert capfd.readouterr() == ("", "")


def test_an_allowance_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds"):
        Allowance(seconds=0)
