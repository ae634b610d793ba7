from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from media.clip import MediaError
from media.cluster import TRIES, Borrowed, Library, OnRay
from media.places import Outcome, Room, Workforce

# Ray's own nodes are slow to start: one cluster of two for all tests of this file


class Nodes:
    """A cluster whose nodes can be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.other = self.cluster.add_node(num_cpus=1)

    @property
    def address(self) -> str:
        return str(self.cluster.address)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="Ray is not installed; pip install 'countermark[cluster]'")
    made = Nodes()
    yield made
    import ray

    ray.shutdown()
    made.cluster.shutdown()


def start_squaring(room: Room) -> Callable[[int], Any]:
    def square(number: int) -> Any:
        if number == 13:
            raise ValueError("unlucky\nnumber")
        if number == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        if number >= 1000:
            time.sleep(0.3)
        return number * number

    return square


def start_reading(room: Room) -> Callable[[Path], str]:
    assert room.scratch is not None and not room.is_driver
    return lambda path: room.fetch(path).read_text()


def start_broken(room: Room) -> Callable[[int], int]:
    raise RuntimeError("no such model")


def done_by(place: OnRay, tasks: list[Any], start: Any) -> dict[Any, Outcome[Any, Any]]:
    return {outcome.task: outcome for outcome in place.run(iter(tasks), start)}


def test_an_address_that_leads_past_this_machine_and_nonsense_are_refused() -> None:
    with pytest.raises(MediaError, match="must be a node of the cluster"):
        OnRay("ray://head:10001")
    with pytest.raises(ValueError, match="workers"):
        OnRay("auto", 0)
    with pytest.raises(ValueError, match="abreast"):
        OnRay("auto", abreast=0)
    with pytest.raises(ValueError, match="gpus_per_worker"):
        OnRay("auto", 1, -1.0)


def test_every_task_has_one_outcome_and_errors_end_nothing(nodes: Nodes) -> None:
    place = OnRay(nodes.address)
    found = done_by(place, [1, 2, 13, *range(20, 30)], start_squaring)
    assert {n: o.result for n, o in found.items()} == {1: 1, 2: 4, 13: None, **{n: n * n for n in range(20, 30)}}
    assert (found[13].error, found[13].cause) == ("unlucky number", "ValueError")
    assert place.workforce() == Workforce(0, 0, 0), "nobody is left behind"


def test_a_task_that_kills_its_workers_fails_and_costs_nobody_else(nodes: Nodes) -> None:
    place = OnRay(nodes.address)
    found = done_by(place, [1, 99, *range(20, 30)], start_squaring)
    assert (found[99].result, found[99].cause) == (None, "worker died")
    assert f"{TRIES} workers died of it" in (found[99].error or "")
    assert {n: o.result for n, o in found.items() if n != 99} == {n: n * n for n in (1, *range(20, 30))}
    assert place.workforce().lost >= TRIES


def test_a_start_that_fails_is_the_answer_to_every_task(nodes: Nodes) -> None:
    found = done_by(OnRay(nodes.address, workers=1), [1, 2], start_broken)
    assert [o.error for o in found.values()] == ["cannot start: no such model"] * 2


def test_files_of_the_driver_are_read_and_missing_ones_are_an_error(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("alpha")
    found = done_by(OnRay(nodes.address, workers=1), [tmp_path / "a.txt", tmp_path / "b.txt"], start_reading)
    assert found[tmp_path / "a.txt"].result == "alpha"
    assert found[tmp_path / "b.txt"].cause == "FileNotFoundError"


def test_a_node_that_dies_costs_time_and_nothing_else(nodes: Nodes) -> None:
    place = OnRay(nodes.address)
    tasks = list(range(1000, 1024))
    results: dict[int, Any] = {}
    seen = Workforce()
    for outcome in place.run(iter(tasks), start_squaring):
        results[outcome.task] = outcome.result
        seen = max(seen, place.workforce(), key=lambda force: force.machines)
        if len(results) == 8:
            nodes.cluster.remove_node(nodes.other, allow_graceful=False)
    assert results == {n: n * n for n in tasks}
    assert seen.machines == 2 and place.workforce().lost >= 1


def test_a_file_is_copied_only_where_this_machine_has_not_the_same_one(tmp_path: Path) -> None:
    asked: list[tuple[str, int]] = []
    library = Library()

    def piece(path: str, offset: int) -> bytes:
        asked.append((path, offset))
        return library.piece(path, offset)

    here = tmp_path / "a.bin"
    here.write_bytes(b"12345")
    same = Borrowed(tmp_path / "kept", library.state, piece)
    assert same.fetch(here) == here and not asked

    far = Borrowed(tmp_path / "kept", lambda path: (5, 1), piece)  # the driver's file is another one of the same name
    copy = far.fetch(here)
    assert copy != here and copy.name == "a.bin" and copy.read_bytes() == b"12345"
    count = len(asked)
    assert far.fetch(here) == copy and len(asked) == count, "a copy is kept"
    with pytest.raises(FileNotFoundError):
        Borrowed(tmp_path / "kept", lambda path: None, piece).fetch(tmp_path / "gone.bin")


def test_copies_give_way_to_newer_ones(tmp_path: Path) -> None:
    contents = {f"/far/{name}": name.encode() * 40 for name in "abc"}
    borrowed = Borrowed(
        tmp_path, lambda path: (len(contents[path]), 1), lambda path, offset: contents[path][offset:], kept_bytes=100
    )
    first = borrowed.fetch(Path("/far/a"))
    os.utime(first, (1, 1))
    second, third = borrowed.fetch(Path("/far/b")), borrowed.fetch(Path("/far/c"))
    assert not first.exists() and second.exists() and third.read_bytes() == b"c" * 40
