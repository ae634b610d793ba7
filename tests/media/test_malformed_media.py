"""Files that cannot be used: one line each that names the file, what is wrong and what to do; silence on stderr."""

from __future__ import annotations

import struct
import subprocess
import wave
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from media.clip import Clip, MediaError, Waveform
from media.video import probe, read_clip, read_image, read_waveform, stream_frames, write_clip


def video(path: Path, *, seconds: float = 1.0, side: int = 64) -> Path:
    """A good file, to be spoilt."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (round(25 * seconds), side, side, 3), dtype=np.uint8)
    sound = Waveform(rng.uniform(-0.5, 0.5, (round(16_000 * seconds), 1)).astype(np.float32), 16_000)
    write_clip(Clip(frames, Fraction(25), sound), path)
    return path


def wav(path: Path, samples: bytes, *, channels: int = 1, rate: int = 8000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return path


def float_wav(path: Path, samples: np.ndarray) -> Path:
    data = samples.astype("<f4").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1, 16_000, 64_000, 4, 32)
    path.write_bytes(head + struct.pack("<4sI", b"data", len(data)) + data)
    return path


def png_header(path: Path, width: int, height: int) -> Path:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(60))))
    return path


def large_header(path: Path, width: int, height: int) -> Path:
    """A real mp4 whose sample description and track header claim another size."""
    data = bytearray(video(path, seconds=0.2).read_bytes())
    entry = data.index(b"avc1") + 28
    data[entry : entry + 4] = struct.pack(">HH", width, height)
    header = data.index(b"tkhd") + 4 + 76
    data[header : header + 8] = struct.pack(">II", width << 16, height << 16)
    path.write_bytes(data)
    return path


def uncompressed_header(path: Path, width: int, height: int) -> Path:
    """An avi of raw pictures of which only the header exists."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgr24"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="bgr24")
        frame.pts = 0
        container.mux(stream.encode(frame))
    data = bytearray(path.read_bytes())
    place = data.index(b"strf") + 12
    data[place : place + 8] = struct.pack("<ii", width, height)
    path.write_bytes(data)
    return path


def refusal(read: Callable[[], object], path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that a reader answers with, checked for form."""
    with pytest.raises(MediaError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert "; " in message, "what to do is missing"
    assert len(message) < 300 + len(str(path))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    return message


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def scrambled(path: Path) -> Path:
    """Every byte of the media is noise, the index is whole."""
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = np.random.default_rng(1).integers(0, 256, len(data) - start, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    return path


def text(path: Path) -> Path:
    path.write_text("This is a letter and no film.\n" * 50)
    return path


def sound_alone(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def playlist(path: Path) -> Path:
    """A playlist that would make a naive reader open another file."""
    other = video(path.with_name("secret.mp4"), seconds=0.2)
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n")
    return path


def concat_script(path: Path) -> Path:
    other = video(path.with_name("secret.mp4"), seconds=0.2)
    path.write_text(f"ffconcat version 1.0\nfile '{other}'\n")
    return path


BAD_VIDEOS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (lambda p: (p.write_bytes(b""), p)[1], "is empty"),
    "missing": (lambda p: p, "does not exist"),
    "folder": (lambda p: (p.mkdir(), p)[1], "is a folder"),
    "text renamed": (text, "not a video or sound file"),
    "noise": (lambda p: (p.write_bytes(np.random.default_rng(0).bytes(5000)), p)[1], "not a video or sound file"),
    "only the first bytes": (lambda p: cut(video(p), 0.01), "not a video or sound file"),
    "cut in the middle": (lambda p: cut(video(p), 0.6), "is cut short"),
    "cut by one byte": (lambda p: (p.write_bytes(video(p).read_bytes()[:-1]), p)[1], "is cut short"),
    "media scrambled": (lambda p: scrambled(video(p)), "damaged|holds no pictures|not a video"),
    "sound alone": (sound_alone, "no video stream, only sound"),
    "one pixel": (lambda p: uncompressed_header(p.with_suffix(".avi"), 1, 1), "1 x 1"),
    "20,000 pixels in mp4": (lambda p: large_header(p, 20_000, 20_000), "20000 x 20000"),
    "20,000 pixels in avi": (lambda p: uncompressed_header(p.with_suffix(".avi"), 20_000, 20_000), "too many pixels"),
    "a long line": (lambda p: uncompressed_header(p.with_suffix(".avi"), 40_000, 2), "40000 x 2"),
    "a picture": (lambda p: (Image.new("RGB", (32, 32)).save(p, "PNG"), p)[1], "not a video or sound file"),
    "playlist": (playlist, "not a video or sound file"),
    "script": (concat_script, "not a video or sound file"),
}


@pytest.mark.parametrize("kind", BAD_VIDEOS)
def test_a_bad_video_is_refused_in_one_line_by_every_reader(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, words = BAD_VIDEOS[kind]
    path = make(tmp_path / "a.mp4")
    capfd.readouterr()
    import re

    # a header cannot know that its media are noise; whoever decodes must say so
    readers: list[Callable[[], object]] = [lambda: read_clip(path), lambda: list(stream_frames(path))]
    for read in [*readers, lambda: probe(path)][: 2 if kind == "media scrambled" else 3]:
        message = refusal(read, path, capfd)
        assert re.search(words, message), message


def test_a_huge_header_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    process = psutil.Process()
    for path in (
        uncompressed_header(tmp_path / "a.avi", 20_000, 20_000),
        large_header(tmp_path / "a.mp4", 20_000, 9_000),
    ):
        before = process.memory_info().rss
        with pytest.raises(MediaError):
            read_clip(path)
        assert process.memory_info().rss - before < 64 * 2**20


BAD_SOUNDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (lambda p: (p.write_bytes(b""), p)[1], "is empty"),
    "missing": (lambda p: p, "does not exist"),
    "no samples": (lambda p: wav(p, b""), "zero length|not a video or sound file"),
    "NaN": (lambda p: float_wav(p, np.array([0.0, np.nan, 0.1] * 1000)), "NaN or infinite"),
    "infinity": (lambda p: float_wav(p, np.array([0.0, np.inf, 0.1] * 1000)), "NaN or infinite"),
    "text": (text, "not a video or sound file"),
    "a picture": (lambda p: (Image.new("RGB", (32, 32)).save(p, "PNG"), p)[1], "not a video or sound file"),
}


@pytest.mark.parametrize("kind", BAD_SOUNDS)
def test_bad_sound_is_refused_in_one_line(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import re

    make, words = BAD_SOUNDS[kind]
    path = make(tmp_path / "a.wav")
    message = refusal(lambda: read_waveform(path), path, capfd)
    assert re.search(words, message), message


def test_a_film_without_sound_says_so_only_when_sound_is_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mp4"
    write_clip(Clip(np.zeros((5, 32, 32, 3), np.uint8), Fraction(25)), path)
    assert read_clip(path).sound is None
    assert "has no sound" in refusal(lambda: read_waveform(path), path, capfd)


def test_an_empty_sound_track_is_no_sound(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp4"
    empty = Waveform(np.zeros((0, 1), np.float32), 16_000)
    write_clip(Clip(np.zeros((5, 32, 32, 3), np.uint8), Fraction(25), empty), path)
    assert read_clip(path).sound is None
    refusal(lambda: read_waveform(path), path, capfd)


def test_eight_kilohertz_telephone_sound_is_good_sound(tmp_path: Path) -> None:
    sound = read_waveform(wav(tmp_path / "a.wav", np.arange(800, dtype="<i2").tobytes()))
    assert (sound.samples.shape, sound.sample_rate_hz) == ((800, 1), 8000)


BAD_PICTURES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (lambda p: (p.write_bytes(b""), p)[1], "is empty"),
    "missing": (lambda p: p, "does not exist"),
    "folder": (lambda p: (p.mkdir(), p)[1], "is a folder"),
    "text": (text, "unknown format"),
    "cut jpeg": (lambda p: cut(noise_jpeg(p), 0.5), "truncated"),
    "a header of 20,000": (lambda p: png_header(p, 20_000, 20_000), "more pixels"),
    "a header of 12,000": (lambda p: png_header(p, 12_000, 10_000), "more pixels"),
    "a header of 9,000": (lambda p: png_header(p, 9_000, 9_000), "9000 x 9000"),
    "a header alone": (lambda p: png_header(p, 200, 200), "not a picture"),
    "one pixel": (lambda p: (Image.new("RGB", (1, 1)).save(p, "PNG"), p)[1], "1 x 1"),
    "a film": (video, "unknown format"),
}


def noise_jpeg(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path, "JPEG")
    return path


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_bad_picture_is_refused_in_one_line(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, words = BAD_PICTURES[kind]
    path = make(tmp_path / "a.jpg")
    message = refusal(lambda: read_image(path), path, capfd)
    assert words in message, message


def test_a_device_and_a_name_with_a_colon_are_paths_like_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "http:evil 'name' ü.mp4"
    video(odd, seconds=0.2)
    assert read_clip(odd).length == 5
    refusal(lambda: read_clip(Path("/dev/null")), Path("/dev/null"), capfd)


def test_a_few_damaged_packets_are_passed_over(tmp_path: Path) -> None:
    """As players do; the frames around them are still there."""
    path = video(tmp_path / "a.mp4", seconds=2.0, side=128)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[30]
    data[entry.pos + 4 : entry.pos + entry.size] = bytes(entry.size - 4)
    path.write_bytes(data)
    assert 40 <= len(list(stream_frames(path))) <= 50


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_is_read_or_refused_and_never_anything_else(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(seed)
    video(tmp_path / "a.mp4", seconds=0.3, side=32)
    noise_jpeg(tmp_path / "a.jpg")
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.tiff")
    wav(tmp_path / "a.wav", rng.bytes(2000))
    for path in sorted(tmp_path.iterdir()):
        good = path.read_bytes()
        for _ in range(12):
            data = bytearray(good)
            for place in rng.integers(0, min(len(data), 2500), int(rng.integers(1, 12))):
                data[place] = int(rng.integers(0, 256))
            path.write_bytes(data[: int(rng.integers(len(data) // 2, len(data) + 1))])
            readers = {".mp4": [read_clip, probe, read_waveform], ".wav": [read_waveform]}.get(
                path.suffix, [read_image]
            )
            for read in readers:
                try:
                    read(path)  # type: ignore[operator]
                except MediaError as error:
                    assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


def test_nothing_of_libav_reaches_stderr_even_from_a_damaged_film(tmp_path: Path) -> None:
    import sys

    path = scrambled(video(tmp_path / "a.mp4"))
    program = (
        "import sys; from pathlib import Path; from media.clip import MediaError; from media.video import read_clip\n"
        "try: read_clip(Path(sys.argv[1]))\n"
        "except MediaError: sys.exit(5)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "")
