"""Files that strangers name: read once, in bounded time, or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provenance.credential import read_credential
from provenance.errors import ProvenanceError
from provenance.files import open_regular, read_small, sha256_of, write_whole
from provenance.formats import SNIFF_BYTES
from provenance.trust import TrustAnchors


@pytest.fixture
def hollow(tmp_path: Path) -> Path:
    """A few bytes on the disk that claim to be a terabyte."""
    path = tmp_path / "hollow.mp4"
    with path.open("wb") as file:
        file.write(b"\0\0\0\x18ftypisom\0\0\0\0isommp42")
        file.truncate(10**12)
    return path


def test_a_terabyte_of_holes_is_refused_at_once(hollow: Path) -> None:
    for ask in (read_credential, sha256_of, open_regular):
        with pytest.raises(ProvenanceError, match=r"hollow\.mp4 claims 1,000 GB, but hardly any of it"):
            ask(hollow)
    with hollow.open("r+b") as file:
        file.truncate(0)
        file.truncate(10**12)
    with pytest.raises(ProvenanceError, match="claims 1,000 GB"):
        sha256_of(hollow)


def test_a_small_file_with_holes_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 20)
    assert len(sha256_of(tmp_path / "a")) == 64


def test_a_file_that_changes_while_it_is_read_gets_no_answer(
    originals: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing.png"
    path.write_bytes(originals["clip.png"].read_bytes())
    from provenance import credential as reading

    def grow(head: bytes) -> str:
        assert len(head) == SNIFF_BYTES
        with path.open("ab") as file:
            file.write(b"more")
        return "image/png"

    monkeypatch.setattr(reading, "sniff_format", grow)
    with pytest.raises(ProvenanceError, match=r"growing\.png was changed while it was read"):
        read_credential(path, trust=TrustAnchors.none())


def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for ask in (read_small, sha256_of):
            with pytest.raises(ProvenanceError, match="not a regular file"):
                ask(path)
    with pytest.raises(ProvenanceError, match="cannot read"):
        read_small(tmp_path)


def test_what_should_be_small_is_not_read_when_it_is_large(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(bytes(1000))
    assert len(read_small(tmp_path / "a.pem", most_bytes=1000)) == 1000
    with pytest.raises(ProvenanceError, match="is it the right file"):
        read_small(tmp_path / "a.pem", most_bytes=999)


def test_a_file_with_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".json")
    write_whole(path, b"{}")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
