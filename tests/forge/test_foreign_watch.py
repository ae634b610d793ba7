"""Nothing of a foreign generator outlives its clip, its watch or the factory, however these end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from process_fate import gone, written

from forge.foreign_running import run_command
from forge.foreign_watch import remove
from forge.portrait import ForgeError

REPO = Path(__file__).parents[2]
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux only")

TELL = """
import os, pathlib, signal, subprocess, sys, time
def tell(name, text):
    path = pathlib.Path({folder!r}, name)
    path.with_suffix(".part").write_text(str(text))
    path.with_suffix(".part").rename(path)
"""
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        tell("daemon", os.getpid())
        while True:
            os.write(1, b"x" * 65536)
    os._exit(0)
while not pathlib.Path({folder!r}, "daemon").exists():
    time.sleep(0.005)
"""
SLEEPER = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
tell("child", child.pid)
tell("watch", os.getppid())
tell("own", os.getpid())
time.sleep(600)
"""
FACTORY = """
import sys
from pathlib import Path
from forge.foreign_running import run_command
run_command([sys.executable, sys.argv[1]], Path(sys.argv[2]), 600.0)
"""

Script = Callable[[str], list[str]]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Words that run some Python code, which may `tell` things."""

    def words(code: str) -> list[str]:
        path = tmp_path / "script.py"
        path.write_text((TELL + code).replace("{folder!r}", repr(str(tmp_path))))
        return [sys.executable, str(path)]

    return words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


def pid(tmp_path: Path, name: str) -> int:
    return int(written(tmp_path / name))


@LINUX_ONLY
@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)"])
def test_a_daemon_that_left_the_process_group_and_floods_the_output_is_killed(
    tmp_path: Path, folder: Path, script: Script, ending: str
) -> None:
    if ending:
        with pytest.raises(ForgeError, match="ended with code 3"):
            run_command(script(DAEMON + ending), folder, 600.0)
    else:
        run_command(script(DAEMON), folder, 600.0)
    assert gone(pid(tmp_path, "daemon"))


@LINUX_ONLY
def test_kill_9_of_the_factory_ends_the_generator_and_removes_its_folder(
    tmp_path: Path, folder: Path, script: Script
) -> None:
    words = script(SLEEPER)
    factory = subprocess.Popen(
        [sys.executable, "-c", FACTORY, words[1], str(folder)], env={**os.environ, "PYTHONPATH": str(REPO)}
    )
    own, child, watch = (pid(tmp_path, name) for name in ("own", "child", "watch"))
    factory.kill()
    factory.wait()
    assert all(gone(one) for one in (own, child, watch))
    assert not folder.exists()


@LINUX_ONLY
def test_kill_9_of_the_watch_ends_the_generator(tmp_path: Path, folder: Path, script: Script) -> None:
    killing = SLEEPER.replace("\ntime.sleep(600)", "\nos.kill(os.getppid(), 9)\ntime.sleep(600)")
    with pytest.raises(ForgeError, match="was ended by signal 9"):
        run_command(script(killing), folder, 600.0)
    os.kill(pid(tmp_path, "child"), signal.SIGKILL)  # nobody was left to find it
    assert gone(pid(tmp_path, "own"))


def test_a_generator_that_kills_its_own_process_group_harms_nobody_else(folder: Path, script: Script) -> None:
    with pytest.raises(ForgeError, match=f"was ended by signal {int(signal.SIGTERM)}"):
        run_command(script("os.kill(0, signal.SIGTERM); time.sleep(600)"), folder, 600.0)


def test_what_cannot_be_started_says_so(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "program").write_text("no program\n")
    with pytest.raises(ForgeError, match=r"program: cannot be started \(Permission denied\)"):
        run_command([str(tmp_path / "program")], folder, 600.0)


def test_a_folder_that_cannot_be_removed_whole_is_left_without_a_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a container ran as somebody else and left a folder of theirs."""
    (folder / "theirs").mkdir()
    (folder / "ours").mkdir(mode=0)
    really = os.rmdir

    def rmdir(path: str, **more: int) -> None:
        if Path(path).name == "theirs":
            raise PermissionError(13, "Permission denied", path)
        really(path, **more)

    monkeypatch.setattr(os, "rmdir", rmdir)
    remove(folder)
    assert [path.name for path in folder.iterdir()] == ["theirs"]


def test_removing_a_folder_follows_no_link(tmp_path: Path, folder: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o500)
    (precious / "file").write_text("kept")
    (folder / "link").symlink_to(precious)
    remove(folder)
    assert not folder.exists() and (precious / "file").read_text() == "kept"
    assert precious.stat().st_mode & 0o777 == 0o500
