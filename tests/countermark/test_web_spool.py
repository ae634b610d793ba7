"""The folder of uploads: nothing outlives its server, and nobody else's folder is used."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from countermark.web.settings import ServeError
from countermark.web.spool import Spool, sweep


def test_everything_is_gone_when_the_server_ends(tmp_path: Path) -> None:
    with Spool.opened(tmp_path / "base") as spool:
        (spool.new_folder() / "file").write_bytes(b"x")
        assert not spool.holds_nothing()
    assert list((tmp_path / "base").iterdir()) == []


def test_what_a_killed_server_left_is_swept_and_a_living_ones_folder_is_not(tmp_path: Path) -> None:
    script = """
        import os, sys
        from pathlib import Path
        from countermark.web.spool import Spool
        with Spool.opened(Path(sys.argv[1])) as spool:
            (spool.new_folder() / "file").write_bytes(b"x")
            os.kill(os.getpid(), 9)
    """
    base = tmp_path / "base"
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(base)], check=False)
    assert len(list(base.rglob("file"))) == 1
    with Spool.opened(base) as spool:
        assert list(base.rglob("file")) == []
        assert sweep(base) == 0 and spool.root.is_dir()


def test_only_this_user_can_read_the_folder(tmp_path: Path) -> None:
    with Spool.opened(tmp_path / "base") as spool:
        assert (spool.root.stat().st_mode & 0o777, spool.new_folder().stat().st_mode & 0o777) == (0o700, 0o700)


def test_a_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base").chmod(0o755)
    with pytest.raises(ServeError, match="only you"), Spool.opened(tmp_path / "base"):
        pass


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "base").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServeError, match="only you"), Spool.opened(tmp_path / "base"):
        pass
