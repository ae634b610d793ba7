"""The speed command runs from end to end on toy sizes; costs and bounds are what arithmetic says."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.roofline import Cost, Roofline, cost_of, seconds_each
from benchmarks.speed_face import Case, Log, cases, fps_encoded, main, measure


def test_a_matmul_costs_two_operations_for_each_product_and_every_byte_once() -> None:
    a, b = torch.zeros(8, 16), torch.zeros(16, 32)
    cost = cost_of(lambda: a @ b, frames=2)
    assert cost.flops == 2 * 8 * 16 * 32 / 2
    assert cost.bytes_unfused == 4 * (8 * 16 + 16 * 32 + 8 * 32) / 2


def test_a_view_moves_no_bytes() -> None:
    a = torch.zeros(8, 16)
    assert cost_of(lambda: a.reshape(16, 8).transpose(0, 1)).bytes_unfused == 0


def test_the_bounds_are_peaks_over_costs() -> None:
    bound = Roofline(1e12, 1e9).fps(Cost(1e9, 1e7))
    assert bound == {"by arithmetic": 1000.0, "by bytes, unfused": 100.0}


def test_seconds_are_those_of_one_call() -> None:
    calls = []
    each = seconds_each(lambda: calls.append(sum(range(2000))), torch.device("cpu"), least=0.02, warmup=1)
    assert len(calls) > 10 and each < 0.02


def test_the_most_telling_cases_come_first_and_none_twice() -> None:
    todo = cases(tiny=False, cuda=True)
    assert todo[0] == Case(512, "M", 16, "graph")
    keys = [case.key for case in todo]
    assert len(keys) == len(set(keys))
    assert {(c.size, c.decoder) for c in todo} == set(itertools.product((256, 512), "SML"))
    assert {c.batch for c in todo if c.size == 512 and c.decoder == "M"} == {1, 8, 16, 32}
    assert {c.stage for c in todo} == {"GPU only", "+ readback", "+ encode"}
    fast = [c.key for c in todo if c.size == 512 and c.batch == 16 and c.mode == "compiled graph" and c.decoder == "M"]
    at = keys.index(fast[0])
    assert keys[at : at + 3] == fast  # compiled once for all three stages


def test_a_cut_off_log_goes_on_with_its_whole_lines(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.add("a", {"fps": 1.0})
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"key": "b", "fp')
    again = Log(log.path)
    assert list(again.rows) == ["a"]
    again.add("c", {"fps": 2.0})
    assert list(Log(log.path).rows) == ["a", "c"]


def test_a_case_that_fails_is_written_down_and_the_next_one_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import speed_face

    class Broken:
        model = torch.nn.Linear(1, 1)

        def drawer(self, batch: int, mode: str) -> object:
            if batch == 1:
                raise RuntimeError("CUDA out of memory\nmore")
            return lambda: torch.zeros(batch, 4, 4, 3, dtype=torch.uint8)

    monkeypatch.setattr(speed_face.Scene, "of", lambda *_: Broken())
    monkeypatch.setattr(speed_face, "first_look", lambda *_: None)
    monkeypatch.setattr(speed_face, "measure_roofline", lambda *_, **__: Roofline(1.0, 1.0))
    log = Log(tmp_path / "log.jsonl")
    said: list[str] = []
    todo = [Case(64, "XS", 1, "eager"), Case(64, "XS", 2, "eager")]
    measure(log, todo, torch.device("cpu"), least=0.01, deadline=float("inf"), say=said.append)
    assert log.rows[todo[0].key]["reason"] == "CUDA out of memory"
    assert float(str(log.rows[todo[1].key]["fps"])) > 0
    measure(log, [Case(64, "XS", 4, "eager")], torch.device("cpu"), least=0.01, deadline=0.0, say=said.append)
    assert said[-1].startswith("left out, no time")


def test_encoded_frames_are_counted_until_the_files_are_closed() -> None:
    batches = itertools.repeat(np.zeros((2, 32, 32, 3), np.uint8))
    assert fps_encoded(batches, 32, 0.05, files=2) > 0


def test_the_whole_command_runs_on_a_cpu_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    words = ["--tiny", "--device", "cpu", "--threads", "1", "--out", str(tmp_path)]
    assert main(words) == 0
    (saved,) = tmp_path.glob("speed_face_*_tiny.json")
    titles = [table["title"] for table in json.loads(saved.read_text(encoding="utf-8"))["tables"]]
    assert titles[:2] == ["roofline, measured", "what a frame asks for, and the bounds"]
    lines = saved.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    assert main(words) == 0
    again = saved.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    assert again[: len(lines)] == lines


@pytest.mark.gpu
def test_the_whole_command_runs_on_a_gpu(tmp_path: Path) -> None:
    assert main(["--tiny", "--device", "cuda", "--out", str(tmp_path)]) == 0
    (saved,) = tmp_path.glob("speed_face_*_tiny.json")
    assert "failed" not in saved.read_text(encoding="utf-8")
