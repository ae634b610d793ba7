"""Everything a GPU is lent for runs on a CPU in miniature, and one failure never stops the rest."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_checks
from benchmarks.gpu import TASKS, main, parsed
from forge import train_face, train_render_net
from forge.face import exam

sys.path.append(str(Path(__file__).resolve().parents[1] / "forge"))
from clay_takes import clay_take

REPO = Path(__file__).resolve().parents[2]
CPU = ["--device", "cpu", "--tiny", "--minutes", "20"]


def rows(out: Path, task: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / f"{task}.jsonl").read_text().splitlines()]


def test_a_failing_check_is_a_row_and_the_next_one_still_runs(tmp_path: Path) -> None:
    job = parsed(["smoke", "--out", str(tmp_path), *CPU])
    assert gpu.run_checks(job, ["no such check", "machine"], at_once=2) == 1
    told = rows(tmp_path, "smoke")
    assert [row["ok"] for row in told] == [False, True, False]
    assert "invalid choice" in str(told[0]["error"]) and told[1]["torch"]


def test_no_time_left_is_said_and_nothing_is_started(tmp_path: Path) -> None:
    job = parsed(["smoke", "--out", str(tmp_path), "--device", "cpu", "--tiny", "--minutes", "0.001"])
    assert gpu.run_checks(job, ["machine"], at_once=1) == 1
    assert rows(tmp_path, "smoke")[0]["error"] == "no time left"


def test_a_request_that_cannot_be_met_ends_in_one_row(tmp_path: Path) -> None:
    arguments = ["face_256", "--out", str(tmp_path), *CPU, "--people", "photo"]
    assert main(arguments) == 1
    told = rows(tmp_path, "face_256")
    assert told[-1]["ok"] is False and "photo" in str(told[-1]["error"])


@pytest.mark.parametrize("check", ["machine", "sampling", "rasteriser", "fast"])
def test_a_check_tells_its_facts(check: str) -> None:
    found = {**gpu_checks.CHECKS, **gpu_checks.MEASURES}[check](gpu_checks.Here("cpu", True))
    assert json.loads(json.dumps(found)) and found


def test_every_task_is_in_the_queue() -> None:
    page = (REPO / "docs" / "gpu-queue.md").read_text(encoding="utf-8")
    assert [task for task in TASKS if f"benchmarks.gpu {task}" not in page] == []


class PlainCrew:
    """Films plainly coloured heads: no person needs to be made."""

    def __init__(self, size: int, **options: object) -> None:
        self.size, self._next = size, 0

    def __enter__(self) -> "PlainCrew":
        return self

    def __exit__(self, *problem: object) -> None:
        return None

    def bring(self, seeds: object) -> None:
        return None

    def casting(self) -> int:
        self._next += 1
        return self._next

    def shoot(self, person: int, frames: int, scene: int) -> object:
        return clay_take(person, frames, scene, size=self.size)


@pytest.fixture
def plain_crew(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (train_face, train_render_net, exam):
        monkeypatch.setattr(module, "Crew", PlainCrew)


def small_and_few(out: Path) -> bool:
    """At most eight files of at most 15 MiB, at most two folders deep."""
    files = [file for file in out.rglob("*") if file.is_file()]
    fits = all(f.stat().st_size <= 15 * 2**20 and len(f.relative_to(out).parts) <= 3 for f in files)
    return 0 < len(files) <= 8 and fits


@pytest.mark.usefixtures("plain_crew")
def test_both_render_nets_are_trained_and_examined(tmp_path: Path) -> None:
    assert main(["render_net", "--out", str(tmp_path), *CPU]) == 0
    told = rows(tmp_path, "render_net")
    assert [row["net"] for row in told] == ["render_net", "render_net_judge"] and "pose degrees" in told[0]
    assert small_and_few(tmp_path)


@pytest.mark.usefixtures("plain_crew")
def test_a_face_is_trained_in_two_sittings_and_examined(tmp_path: Path) -> None:
    state = tmp_path / "state"
    once = ["face_256", *CPU, "--state", str(state), "--out"]
    assert main([*once, str(tmp_path / "one"), "--to-share", "0.4"]) == 0
    assert main([*once, str(tmp_path / "two"), "--from-share", "0.4", "--resume", str(tmp_path / "one")]) == 0
    told = rows(tmp_path / "two", "face_256")
    assert told[-1]["ok"] and "psnr eyes and mouth" in told[-1]
    steps = [json.loads(line)["step"] for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert steps == [3, 4]  # the state was taken, not the weights
    assert small_and_few(tmp_path / "two") and (tmp_path / "two" / "exam.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["smoke", "probe", "studio", "render_net", "face_256", "face_512", "speed"])
def test_a_task_runs_in_miniature_with_the_studio_itself(tmp_path: Path, task: str) -> None:
    assert main([task, "--out", str(tmp_path), *CPU]) == 0
    assert small_and_few(tmp_path)
