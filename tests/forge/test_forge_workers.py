from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from forge.workers import TRIES, run_tasks


def start_squaring() -> Callable[[int], int]:
    def square(number: int) -> int:
        if number == 13:
            raise ValueError("unlucky\nnumber")
        if number == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    return square


def start_broken() -> Callable[[int], int]:
    raise RuntimeError("no such model")


def test_every_task_has_one_outcome_and_an_error_ends_nothing() -> None:
    outcomes = {outcome.task: outcome for outcome in run_tasks([1, 2, 13, 4, 5], start_squaring, workers=1)}
    assert {task: outcome.result for task, outcome in outcomes.items()} == {1: 1, 2: 4, 13: None, 4: 16, 5: 25}
    assert outcomes[13].error == "unlucky number" and outcomes[13].cause == "ValueError"


def test_a_process_that_dies_costs_only_its_task_and_an_error_ends_no_process() -> None:
    outcomes = {outcome.task: outcome for outcome in run_tasks([1, 99, 13, 4, 5, 6], start_squaring, workers=2)}
    assert {task: outcome.result for task, outcome in outcomes.items()} == {
        1: 1,
        99: None,
        13: None,
        4: 16,
        5: 25,
        6: 36,
    }
    assert outcomes[13].error == "unlucky number" and outcomes[13].cause == "ValueError"
    assert outcomes[99].cause == "worker died" and str(TRIES) in (outcomes[99].error or "")


def test_a_start_that_fails_is_told_for_every_task() -> None:
    errors = [outcome.error for outcome in run_tasks([1, 2], start_broken, workers=2)]
    assert errors == ["cannot start: no such model"] * 2


def test_tasks_are_read_only_as_fast_as_they_are_done() -> None:
    read: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    outcomes = run_tasks(tasks(), start_squaring, workers=2)
    for _ in range(3):
        next(outcomes)
    assert len(read) <= 3 + 2 * 2
    outcomes.close()  # type: ignore[attr-defined]


ORPHANS = """
import sys, time
sys.path.insert(0, {here!r})
from test_forge_workers import start_sleeping
from forge.workers import run_tasks
if __name__ == "__main__":
    for outcome in run_tasks(iter(range(100)), start_sleeping, workers=2):
        print(outcome.result, flush=True)
"""


def start_sleeping() -> Callable[[int], int]:
    def sleep(number: int) -> int:
        time.sleep(0.2)
        return os.getpid()

    return sleep


def test_when_the_driver_is_killed_its_processes_end_too(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(ORPHANS.format(here=str(Path(__file__).parent)))
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    pids = {int(driver.stdout.readline()) for _ in range(4)}
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    driver.stdout.close()
