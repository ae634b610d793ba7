"""Files that nobody should have to check: one clear line, the right exit code, nothing half-written, no traceback.

The detector here decodes every frame and has no opinion: tested is the way of a file through the commands.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import detect.load
from detect.cli import app
from detect.detector import ModelFacts, Score, Status
from media.clip import Clip, MediaError
from media.video import read_image, stream_frames, write_clip

NOISE = np.random.default_rng(7)


FACTS = ModelFacts("looking", "1", "ab" * 32, 0.5, "card.md")


@dataclass(frozen=True)
class Looking:
    """Decodes the whole file and answers one half."""

    facts: ModelFacts = FACTS

    def score_file(self, path: Path) -> Score:
        try:
            last = 0.0
            for frame in stream_frames(path):
                last = frame.pts_seconds
            return Score(0.5, Status.OK, "", (), (), last, 0.0)
        except MediaError as not_moving:
            try:
                read_image(path)
            except MediaError:
                return Score.abstain(Status.UNREADABLE, str(not_moving))
            return Score(0.5, Status.OK, "")


@pytest.fixture(autouse=True)
def looking_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect.load, "load_detector", lambda weights=None: Looking())


def clip(frames: int = 10, height: int = 64, width: int = 96) -> Clip:
    return Clip(NOISE.integers(0, 255, (frames, height, width, 3), np.uint8), Fraction(25))


def video_bytes(folder: Path) -> bytes:
    path = folder / "whole.mp4"
    write_clip(clip(), path)
    content = path.read_bytes()
    path.unlink()
    return content


def jpeg_bytes(folder: Path) -> bytes:
    path = folder / "whole.jpg"
    Image.fromarray(clip().frames[0]).save(path, quality=90)
    content = path.read_bytes()
    path.unlink()
    return content


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, followed by one row of nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def sound_only(path: Path, codec: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16_000)
        silence = np.zeros((1, 16_000), np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content(folder))
        return folder / name

    return make


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "archive.mp4", "w") as archive:
        archive.writestr("a.txt", "text")
    return folder / "archive.mp4"


def sound(name: str, codec: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        sound_only(folder / name, codec)
        return folder / name

    return make


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


def dangling(folder: Path) -> Path:
    (folder / "dangling.mp4").symlink_to(folder / "nothing.mp4")
    return folder / "dangling.mp4"


def loop(folder: Path) -> Path:
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    return folder / "loop.mp4"


MALFORMED: dict[str, Callable[[Path], Path]] = {
    "empty": write("empty.mp4", lambda folder: b""),
    "text named mp4": write("text.mp4", lambda folder: b"This is a letter, not a video.\n" * 50),
    "html named jpg": write("page.jpg", lambda folder: b"<!doctype html><title>404</title>" * 9),
    "random bytes": write("random.mp4", lambda folder: NOISE.bytes(50_000)),
    "zeros": write("zeros.mov", lambda folder: bytes(50_000)),
    "cut in the header": write("cut.mp4", lambda folder: video_bytes(folder)[:300]),
    "cut in the middle": write("half.mp4", lambda folder: video_bytes(folder)[:-4000]),
    "only a start of mp4": write("start.mp4", lambda folder: b"\0\0\0\x18ftypisom\0\0\0\0isommp42"),
    "matroska garbage": write("garbage.mkv", lambda folder: b"\x1aE\xdf\xa3" + NOISE.bytes(5000)),
    "zip named mp4": zipped,
    "one pixel": write("pixel.png", lambda folder: png_header(1, 1)),
    "20000 pixels a side": write("huge.png", lambda folder: png_header(20_000, 20_000)),
    "two thousand million pixels": write("bomb.png", lambda folder: png_header(2**31 - 1, 2**31 - 1)),
    "no pixels": write("none.png", lambda folder: png_header(0, 0)),
    "truncated jpeg": write("cut.jpg", lambda folder: jpeg_bytes(folder)[:400]),
    "jpeg without picture": write(
        "bare.jpg", lambda folder: b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xd9"
    ),
    "sound only, wav": sound("sound.wav", "pcm_s16le"),
    "sound only, mp4": sound("sound.mp4", "aac"),
    "pipe": pipe,
    "dangling link": dangling,
    "link to itself": loop,
    "device": lambda folder: Path("/dev/null"),
}


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", list(MALFORMED))
def test_check_refuses_it_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    path = MALFORMED[name](tmp_path / "in")
    result = call("check", path, "--json", "--html", tmp_path / "out" / "r.html")
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    assert path.name in line
    assert len(line) < 400
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", list(MALFORMED))
def test_score_answers_that_it_cannot_be_read(name: str, tmp_path: Path) -> None:
    path = MALFORMED[name](tmp_path)
    result = call("score", path)
    assert result.exit_code == 0, result.output
    (line,) = map(json.loads, result.stdout.splitlines())
    assert (line["file"], line["probability"], line["status"]) == (str(path), None, "unreadable")
    assert line["reason"]
    assert "\n" not in line["reason"]


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(video_bytes(tmp_path))
    for name in ("b", "d"):
        (tmp_path / f"{name}.mp4").write_bytes(NOISE.bytes(3000))
    (tmp_path / "c.mp4").write_bytes(video_bytes(tmp_path))
    result = call("score", tmp_path)
    assert result.exit_code == 0
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()] == [
        "ok",
        "unreadable",
        "ok",
        "unreadable",
    ]


def odd_size(folder: Path) -> Path:
    with av.open(str(folder / "odd.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 97, 65, "yuv444p"
        encode(container, stream, clip(5, 65, 97))
    return folder / "odd.mkv"


def ten_bit(folder: Path) -> Path:
    with av.open(str(folder / "ten.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        encode(container, stream, clip(5))
    return folder / "ten.mp4"


def variable_rate(folder: Path) -> Path:
    with av.open(str(folder / "vfr.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        encode(container, stream, clip(8), moments=[0, 40, 60, 300, 310, 900, 940, 1500])
    return folder / "vfr.mkv"


def encode(
    container: av.container.OutputContainer, stream: av.VideoStream, made: Clip, moments: list[int] | None = None
) -> None:
    for index, picture in enumerate(made.frames):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        if moments is not None:
            frame.pts, frame.time_base = moments[index], Fraction(1, 1000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def rotated(folder: Path) -> Path:
    content = bytearray(video_bytes(folder))
    # tkhd version 0: 40 bytes of fields after the name, then the 3 x 3 matrix; this one turns by a quarter
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 64 << 16, 0, 0x40000000)
    (folder / "rotated.mp4").write_bytes(content)
    return folder / "rotated.mp4"


def animated(folder: Path) -> Path:
    pictures = [Image.fromarray(frame) for frame in clip(4).frames]
    pictures[0].save(folder / "moving.gif", save_all=True, append_images=pictures[1:], duration=100)
    return folder / "moving.gif"


def grey(folder: Path) -> Path:
    Image.fromarray(clip().frames[0][..., 0]).save(folder / "grey.png")
    return folder / "grey.png"


def see_through(folder: Path) -> Path:
    Image.fromarray(clip().frames[0]).convert("RGBA").save(folder / "alpha.webp")
    return folder / "alpha.webp"


@pytest.mark.parametrize("make", [odd_size, ten_bit, variable_rate, rotated, animated, grey, see_through])
def test_odd_but_whole_files_are_checked(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    result = call("check", path, "--json", "--html", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["status"] == "ok"
    assert said["credential"]["standing"] == "absent"
    assert (tmp_path / "r.html").read_text().rstrip().endswith("</html>")
    if make is rotated:
        assert "64 x 96" in said["file_facts"]["Video"]
    if make is variable_rate:
        assert "variable" in said["file_facts"]["Rate"]


def test_a_full_disk_is_one_line_and_leaves_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(video_bytes(tmp_path))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("provenance.files.os.fsync", full)
    result = call("check", path, "--html", tmp_path / "r.html")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "No space left on device" in result.stderr
    assert [found.name for found in tmp_path.iterdir()] == ["a.mp4"]
