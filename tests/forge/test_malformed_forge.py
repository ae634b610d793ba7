"""What users give by mistake or on purpose: each is one clear line, an exit code, no file, no traceback."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import wave
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick_maker import QUICK, material, picture, tone, video, write_wav
from typer.testing import CliRunner

from forge.cli import app
from forge.methods import METHODS
from media.clip import Waveform


@pytest.fixture(autouse=True)
def quick_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method of a few lines beside the real one."""
    monkeypatch.setattr("forge.methods.METHODS", {**METHODS, "quick": QUICK})


def refused(folder: Path, *words: object) -> str:
    """Run a command that must be refused; its one line. Nothing may appear or change in the folder."""
    before = contents(folder)
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    assert len(result.stderr) < 700
    assert contents(folder) == before
    return result.stderr


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def whole_png(folder: Path) -> bytes:
    path = picture(folder / "whole.png")
    data = path.read_bytes()
    path.unlink()
    return data


def huge_png() -> bytes:
    """A header that promises 20,000 x 20,000 pixels, and a few bytes of them."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def bent_jpeg(folder: Path) -> bytes:
    image = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(image).save(folder / "j.jpg", quality=90)
    data = (folder / "j.jpg").read_bytes()
    (folder / "j.jpg").unlink()
    return data[: len(data) // 2]


def animation(folder: Path, suffix: str) -> bytes:
    frames = [Image.new("RGB", (100, 100), (n * 80, 0, 0)) for n in range(3)]
    path = folder / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    data = path.read_bytes()
    path.unlink()
    return data


def small(folder: Path, side: int) -> bytes:
    path = folder / "small.png"
    Image.new("RGB", (side, side)).save(path)
    data = path.read_bytes()
    path.unlink()
    return data


PORTRAITS: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "empty": ("p.png", lambda _: b"", "empty"),
    "truncated png": ("p.png", lambda f: whole_png(f)[: len(whole_png(f)) // 2], "p.png"),
    "cut in its header": ("p.png", lambda f: whole_png(f)[:20], "p.png"),
    "text renamed": ("p.png", lambda _: b"this is text, not a picture\n" * 20, "not a picture"),
    "one pixel": ("p.png", lambda f: small(f, 1), "1 x 1"),
    "twenty pixels": ("p.png", lambda f: small(f, 20), "20 x 20"),
    "huge header": ("p.png", lambda _: huge_png(), "p.png"),
    "corrupt jpeg": ("p.jpg", bent_jpeg, "p.jpg"),
    "animated gif": ("p.gif", lambda f: animation(f, ".gif"), "animation of 3"),
    "animated webp": ("p.webp", lambda f: animation(f, ".webp"), "animation of 3"),
    "sound as portrait": ("p.png", lambda f: write_wav(f / "x.wav", tone(0.5)).read_bytes(), "not a picture"),
    "video as portrait": ("p.png", lambda f: video(f / "x.mp4", seconds=0.2).read_bytes(), "not a picture"),
    "only zeros": ("p.png", lambda _: bytes(5000), "not a picture"),
}


@pytest.mark.parametrize("case", PORTRAITS)
def test_a_portrait_that_is_none_is_refused(tmp_path: Path, case: str) -> None:
    name, make, reason = PORTRAITS[case]
    data = make(tmp_path)
    portrait = tmp_path / name
    portrait.write_bytes(data)
    speech = write_wav(tmp_path / "s.wav", tone(0.5))
    line = refused(
        tmp_path, "animate", portrait, speech, "-o", tmp_path / "o.mp4", "--nonexistent", "--method", "quick"
    )
    assert reason in line


def float_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    """32-bit float, which can hold NaN."""
    body = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, rate * 4, 4, 32)
    parts = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", len(parts)) + parts)
    return path


def no_samples(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


SPEECH: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (lambda f: written(f / "s.wav", b""), "empty"),
    "text renamed": (lambda f: written(f / "s.wav", b"hello\n" * 100), "s.wav"),
    "truncated flac": (lambda f: written(f / "s.flac", b"fLaC\0\0\0\x22" + bytes(10)), "s.flac"),
    "zero length": (lambda f: no_samples(f / "s.wav"), "s.wav"),
    "a blink of sound": (lambda f: write_wav(f / "s.wav", Waveform(np.zeros((50, 1), np.float32), 16_000)), "0.003 s"),
    "not a number": (lambda f: float_wav(f / "s.wav", np.full(16_000, np.nan)), "NaN"),
    "infinite": (lambda f: float_wav(f / "s.wav", np.full(16_000, np.inf)), "infinite"),
    "silent video": (lambda f: video(f / "s.mp4", seconds=0.3, sound=False), "no sound"),
    "a picture": (lambda f: picture(f / "s.png"), "s.png"),
}


@pytest.mark.parametrize("case", SPEECH)
def test_speech_that_is_none_is_refused(tmp_path: Path, case: str) -> None:
    make, reason = SPEECH[case]
    speech, portrait = make(tmp_path), picture(tmp_path / "p.png")
    line = refused(
        tmp_path, "animate", portrait, speech, "-o", tmp_path / "o.mp4", "--nonexistent", "--method", "quick"
    )
    assert reason in line


def unreadable(folder: Path, what: str) -> Path:
    if what == "missing":
        return folder / "missing.png"
    if what == "below a file":
        return written(folder / "file.txt", b"x") / "p.png"
    if what == "dangling link":
        (folder / "link.png").symlink_to(folder / "gone.png")
        return folder / "link.png"
    if what == "folder":
        (folder / "folder.png").mkdir()
        return folder / "folder.png"
    if what == "pipe":
        os.mkfifo(folder / "pipe.png")
        return folder / "pipe.png"
    return folder / ("x" * 300 + ".png")


@pytest.mark.parametrize("what", ["missing", "below a file", "dangling link", "folder", "pipe", "name too long"])
@pytest.mark.parametrize("role", ["portrait", "speech"])
def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path, what: str, role: str) -> None:
    good = {"portrait": picture(tmp_path / "p.png"), "speech": write_wav(tmp_path / "s.wav", tone(0.5))}
    good[role] = unreadable(tmp_path, what)
    words = [good["portrait"], good["speech"], "-o", tmp_path / "o.mp4", "--nonexistent", "--method", "quick"]
    assert good[role].name[:20] in refused(tmp_path, "animate", *words)


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("missing/o.mp4", "does not exist"),
        ("o.avi", ".mp4"),
        ("folder.mp4", "a folder"),
        ("there.mp4", "exists already"),
        ("p.png", ".mp4"),
        ("s.mp4", "one of the inputs"),
        ("file.txt/o.mp4", "does not exist"),
        ("x" * 300 + ".mp4", "name too long"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, out: str, reason: str) -> None:
    portrait, speech = picture(tmp_path / "p.png"), video(tmp_path / "s.mp4", seconds=0.4)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "there.mp4").write_text("mine")
    (tmp_path / "file.txt").write_text("mine")
    extra = ["--overwrite"] if out == "s.mp4" else []
    words = [portrait, speech, "-o", tmp_path / out, "--nonexistent", "--method", "quick", *extra]
    assert reason in refused(tmp_path, "animate", *words)


def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # permissions do not bind root, but nobody writes here
        out = Path("/proc/o.mp4")
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        out = tmp_path / "locked" / "o.mp4"
    portrait, speech = picture(tmp_path / "p.png"), write_wav(tmp_path / "s.wav", tone(0.5))
    refused(tmp_path, "animate", portrait, speech, "-o", out, "--nonexistent", "--method", "quick")


FULL = """
import contextlib, resource, sys
sys.path.insert(0, {here!r})
import forge.methods
from quick_maker import QUICK
forge.methods.METHODS = {{"quick": QUICK}}
from provenance.identity import development_identity
development_identity()
from forge.cli import app
for limit in (0, 3_000, 12_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        app({words!r})
    except SystemExit as end:
        print("ended with", end.code, file=sys.stderr)
"""


def test_a_disk_that_is_full_early_or_late_leaves_one_line_and_no_file(tmp_path: Path) -> None:
    portrait, speech = picture(tmp_path / "p.png"), write_wav(tmp_path / "s.wav", tone(1.0))
    words = ["animate", str(portrait), str(speech), "-o", str(tmp_path / "o.mp4"), "--nonexistent", "--method", "quick"]
    before = contents(tmp_path)
    code = FULL.format(here=str(Path(__file__).parent), words=words)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "" and "Traceback" not in run.stderr
    told = [line for line in run.stderr.splitlines() if line.startswith(("error: ", "ended"))]
    assert [line.split(":")[0] for line in told] == ["error", "ended with 1"] * 3, run.stderr
    assert contents(tmp_path) == before


def test_the_real_method_refuses_a_portrait_without_a_face(tmp_path: Path) -> None:
    portrait, speech = picture(tmp_path / "p.png", face=False), write_wav(tmp_path / "s.wav", tone(0.5))
    assert "no face" in refused(tmp_path, "animate", portrait, speech, "-o", tmp_path / "o.mp4", "--nonexistent")


@pytest.mark.parametrize("broken", ["portraits", "speech"])
def test_a_dataset_of_broken_files_alone_is_refused_and_leaves_no_folder(tmp_path: Path, broken: str) -> None:
    inputs = material(tmp_path / "in", portraits=1, speech=1)
    for path in (inputs / broken).iterdir():
        path.write_bytes(b"broken")
    words = ["--portraits", inputs / "portraits", "--speech", inputs / "speech", "--nonexistent", "--method", "quick"]
    assert "no usable" in refused(tmp_path, "dataset", "tiny", tmp_path / "out", *words)


@pytest.mark.parametrize("place", ["file", "below a file", "no rights"])
def test_a_dataset_folder_that_cannot_be_used_is_refused(tmp_path: Path, place: str) -> None:
    inputs = material(tmp_path / "in", portraits=1, speech=1)
    (tmp_path / "file").write_text("mine")
    out = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "out", "no rights": Path("/proc/out")}[place]
    words = ["--portraits", inputs / "portraits", "--speech", inputs / "speech", "--nonexistent", "--method", "quick"]
    refused(tmp_path, "dataset", "tiny", out, *words)


@pytest.mark.parametrize(
    ("role", "table"), [("speech", b"name\nx\n"), ("speech", b"file\nmissing.wav\n"), ("speech", b"\xff\xfe\0\0bad")]
)
def test_a_broken_table_is_refused(tmp_path: Path, role: str, table: bytes) -> None:
    inputs = material(tmp_path / "in", portraits=1, speech=1)
    (inputs / role / f"{role}.csv").write_bytes(table)
    words = ["--portraits", inputs / "portraits", "--speech", inputs / "speech", "--nonexistent", "--method", "quick"]
    assert f"{role}.csv" in refused(tmp_path, "dataset", "tiny", tmp_path / "out", *words)


def test_a_pipe_among_the_real_videos_is_left_out_and_not_waited_for(tmp_path: Path) -> None:
    inputs = material(tmp_path / "in", portraits=1, speech=1, real=1, seconds=2.2)
    os.mkfifo(inputs / "real" / "pipe.mp4")
    words = ["--portraits", inputs / "portraits", "--speech", inputs / "speech", "--real", inputs / "real"]
    words += ["--limit", 1, "--nonexistent", "--method", "quick", "--no-gate"]
    result = CliRunner().invoke(app, [str(word) for word in ["dataset", "tiny", tmp_path / "out", *words]])
    assert result.exit_code == 0 and "pipe.mp4" in result.stderr and "no regular file" in result.stderr


def test_a_file_name_with_brackets_and_colons_is_told_as_it_is(tmp_path: Path) -> None:
    portrait = written(tmp_path / "[bold]p:smile:.png", b"text")
    speech = write_wav(tmp_path / "s.wav", tone(0.5))
    words = [portrait, speech, "-o", tmp_path / "o.mp4", "--nonexistent", "--method", "quick"]
    assert "[bold]p:smile:.png" in refused(tmp_path, "animate", *words)
