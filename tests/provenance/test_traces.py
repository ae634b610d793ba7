"""What was never signed cannot be broken; what was signed cannot pass for never signed by damaging it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from provenance.credential import Standing, read_credential, standing_of
from provenance.files import BLOCK_BYTES
from provenance.traces import MANIFEST_TRACES, holds_manifest, lacks_its_end
from provenance.trust import TrustAnchors

JUNK = b"\xff\xff\xff\xffjunk" * 9

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "mp4": lambda content: content + JUNK,
    "mov": lambda content: content + JUNK,
    "jpg": lambda content: content[: len(content) - 100] if b"jumd" in content else content[:30],
    "png": lambda content: content[: len(content) // 2],
    "webp": lambda content: content[:4] + b"\x03\xff\xff\x7f" + content[8:],
    "wav": lambda content: content[:4] + b"\x03\xff\xff\x7f" + content[8:],
}
"""For each format, a damage after which the C2PA library cannot parse the file."""


@pytest.mark.parametrize("ending", DAMAGE)
def test_a_damaged_file_that_was_never_signed_has_no_credential(
    ending: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / f"damaged.{ending}"
    path.write_bytes(DAMAGE[ending](originals[f"clip.{ending}"].read_bytes()))
    credential = read_credential(path)
    assert (credential.standing, credential.validation_codes) == (Standing.ABSENT, ())
    assert "it is damaged, and no trace of any is in it" in credential.reasons[0]
    assert credential.reasons[1].startswith("the reader said: ")
    assert standing_of(path, trust=TrustAnchors.none()) is Standing.ABSENT


@pytest.mark.parametrize("ending", ["mp4", "mov", "png", "webp", "wav"])
def test_the_same_damage_to_a_signed_file_breaks_its_credential(
    ending: str, signed: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / f"damaged.{ending}"
    path.write_bytes(DAMAGE[ending](signed(f"clip.{ending}").read_bytes()))
    assert read_credential(path).standing is Standing.BROKEN
    assert standing_of(path, trust=TrustAnchors.none()) is Standing.BROKEN


@pytest.mark.parametrize("ending", DAMAGE)
def test_every_format_shows_a_trace_only_when_it_is_signed(
    ending: str, originals: dict[str, Path], signed: Callable[[str], Path]
) -> None:
    with originals[f"clip.{ending}"].open("rb") as before, signed(f"clip.{ending}").open("rb") as after:
        assert not holds_manifest(before)
        assert holds_manifest(after)


@pytest.mark.parametrize("trace", MANIFEST_TRACES)
@pytest.mark.parametrize("before", [0, BLOCK_BYTES - 3, BLOCK_BYTES - 15, BLOCK_BYTES, 3 * BLOCK_BYTES - 8])
def test_a_trace_is_found_wherever_it_lies(before: int, trace: bytes) -> None:
    assert holds_manifest(io.BytesIO(b"x" * before + trace + b"y" * 100))
    assert not holds_manifest(io.BytesIO(b"x" * before + trace[:-1] + b"?" + b"y" * 100))


def test_a_trace_is_sought_in_bounded_memory() -> None:
    class Endless(io.RawIOBase):
        """64 MiB of zeros that notes how much was asked for at once."""

        left, largest = 64 << 20, 0

        def seek(self, offset: int, whence: int = 0) -> int:
            return offset

        def read(self, size: int = -1) -> bytes:
            self.largest = max(self.largest, size)
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    stream = Endless()
    assert not holds_manifest(stream)  # type: ignore[arg-type]
    assert 0 < stream.largest <= BLOCK_BYTES


def test_a_file_without_the_end_that_would_hold_its_credential_cannot_be_checked(
    originals: dict[str, Path], tmp_path: Path
) -> None:
    content = originals["clip.wav"].read_bytes()
    path = tmp_path / "cut.wav"
    path.write_bytes(content[:4] + (len(content) + 1_000_000).to_bytes(4, "little") + content[8:])
    credential = read_credential(path)
    assert credential.standing is Standing.BROKEN
    assert "lacks its end" in credential.reasons[0]


def test_a_file_built_to_stop_its_reader_cannot_be_checked(originals: dict[str, Path], tmp_path: Path) -> None:
    nested = b""
    for _ in range(1000):
        nested = (len(nested) + 8).to_bytes(4, "big") + b"moov" + nested
    path = tmp_path / "nested.mp4"
    path.write_bytes(originals["clip.mp4"].read_bytes()[:32] + nested)
    credential = read_credential(path)
    assert credential.standing is Standing.BROKEN
    assert "gives up" in credential.reasons[0]


def test_a_length_that_the_writer_could_not_know_is_not_a_missing_end() -> None:
    def riff(claimed: int) -> io.BytesIO:
        return io.BytesIO(b"RIFF" + claimed.to_bytes(4, "little") + bytes(100))

    assert lacks_its_end(riff(101))
    assert not any(lacks_its_end(riff(claimed)) for claimed in (0, 50, 100, 0x7FFFF024, 0xFFFFFFFF))
