from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from media.clip import MediaError
from media.crew import TRIES, run_tasks
from media.places import Here, Outcome, Room, in_order, place_of


def start_squaring(room: Room) -> Callable[[int], int]:
    def square(number: int) -> int:
        if number == 13:
            raise ValueError("unlucky\nnumber")
        if number == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    return square


def start_broken(room: Room) -> Callable[[int], int]:
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


def test_tasks_abreast_are_done_by_threads_of_this_process_each_read_when_one_is_free() -> None:
    read: list[int] = []
    together = threading.Barrier(3, timeout=20)
    counted = threading.Event()

    def start(room: Room) -> Callable[[int], int]:
        def work(number: int) -> int:
            if number < 3:
                together.wait()  # ends only when three are in work at the same time
            else:
                counted.wait(20)  # what is read while three tasks end hangs on no clock
            if number == 13:
                raise ValueError("unlucky")
            return number * number

        return work

    def tasks() -> Iterator[int]:
        for number in range(200):
            read.append(number)
            yield number

    outcomes = Here(1, abreast=3).run(tasks(), start)
    first = [next(outcomes) for _ in range(2)]
    so_far = len(read)
    counted.set()
    assert {outcome.result for outcome in first} <= {0, 1, 4} and so_far <= 6
    rest = {outcome.task: outcome for outcome in outcomes}
    assert len(rest) == 198 and rest[13].error == "unlucky" and rest[199].result == 199 * 199
    with pytest.raises(ValueError, match="abreast"):
        Here(2, abreast=2)


def test_no_workers_are_refused_and_a_gpu_is_only_shared_by_a_cluster() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1"):
        Here(0)
    with pytest.raises(MediaError, match="name one with --ray"):
        place_of(gpus_per_worker=0.5)
    assert place_of() == Here(1) and place_of(workers=3) == Here(3)


def test_outcomes_are_put_in_order_as_soon_as_they_can_be() -> None:
    came: list[int] = []

    def outcomes() -> Iterator[Outcome[tuple[int, str], str]]:
        for number in (2, 0, 3, 1):
            came.append(number)
            yield Outcome((number, "x"), str(number))

    told = in_order(outcomes())
    assert next(told).result == "0" and came == [2, 0]
    assert [outcome.result for outcome in told] == ["1", "2", "3"]


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
from test_places import start_sleeping
from media.crew import run_tasks
if __name__ == "__main__":
    for outcome in run_tasks(iter(range(100)), start_sleeping, workers=2):
        print(outcome.result, flush=True)
"""


def start_sleeping(room: Room) -> Callable[[int], int]:
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
