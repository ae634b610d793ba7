"""The fuzz runs themselves: a child that dies, hangs or lets an error out is a finding about one case."""

import random
import sys
from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.fuzz import Finding, Outcome
from benchmarks.fuzz_cases import Seed, damaged, media_seeds

CHILD = """
import json, os, signal, sys, time
first, last, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for n in range(first, last):
    open(f"{folder}/input", "w").write(f"input {n}")
    print(json.dumps({"case": n}), flush=True)
    if n == 3: os.kill(os.getpid(), signal.SIGKILL)
    if n == 5: time.sleep(60)
    if n == 7:
        open(f"{folder}/found-7", "w").write("input 7")
        print(json.dumps({"finding": "KeyError: 7"}), flush=True)
    else: print(json.dumps({"ending": "read"}), flush=True)
print(json.dumps({"done": last, "core_seconds": 0.5, "slowest": 0.1, "grown": 0.0}), flush=True)
"""


def test_each_way_to_fail_is_one_finding_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "child.py"
    program.write_text(CHILD)
    popen = fuzz.subprocess.Popen
    monkeypatch.setattr(fuzz, "HANG_SECONDS", 2.0)
    monkeypatch.setattr(
        fuzz.subprocess, "Popen", lambda words, **more: popen([sys.executable, str(program), *words[-3:]], **more)
    )
    outcome = fuzz.run("media", 10, corpus=tmp_path / "corpus")
    assert [(one.case, one.what.split(":")[0].split(" ")[0]) for one in outcome.findings] == [
        (3, "ends"),
        (5, "hangs"),
        (7, "KeyError"),
    ]
    kept = {path.name: path.read_text() for path in (tmp_path / "corpus" / "media").iterdir()}
    assert kept == {"case-3.bin": "input 3", "case-5.bin": "input 5", "case-7.bin": "input 7"}
    assert outcome.cases == 10 and outcome.endings == {"read": 7, "finding": 3}


def test_results_of_other_surfaces_are_kept(tmp_path: Path) -> None:
    for surface in ("media", "api", "media"):
        fuzz._save([Outcome(surface, 5, {"read": 5}, (Finding(1, "x", "case-1.bin"),), 1.0, 0.1, 0.0)], tmp_path)
    rows = fuzz.json.loads((tmp_path / "fuzz.json").read_text())["tables"][0]["rows"]
    assert [row["surface"] for row in rows] == ["api", "media"]


def test_blows_change_a_file_and_the_same_number_changes_it_the_same_way(tmp_path: Path) -> None:
    seeds = media_seeds(tmp_path)
    assert {Path(seed.name).suffix for seed in seeds} >= {".mp4", ".mov", ".png", ".gif", ".wav", ".avi"}
    cases = [damaged(random.Random(f"media {n}"), seeds) for n in range(200)]
    assert cases[7] == damaged(random.Random("media 7"), seeds)
    originals = {seed.name: seed.content for seed in seeds}
    assert sum(content != originals[name] for name, content in cases) > 180


def test_blows_stand_an_empty_file() -> None:
    for number in range(300):
        damaged(random.Random(number), [Seed("nothing", b""), Seed("little", b"ab")])
