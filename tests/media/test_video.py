"""Reading and writing: time, sound, colour, orientation, memory and bytes."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from media.clip import Clip, MediaError, UInt8Array, Waveform
from media.video import (
    ClipWriter,
    probe,
    read_clip,
    read_image,
    read_waveform,
    stream_frames,
    write_clip,
)

NTSC = Fraction(30_000, 1001)


def grey(index: int, width: int = 64, height: int = 48) -> UInt8Array:
    """A picture whose number can be read from its level."""
    return np.full((height, width, 3), 20 + 4 * index, np.uint8)


def number_of(image: UInt8Array) -> int:
    """The number that `grey` wrote."""
    return round((float(image.mean()) - 20) / 4)


def counting(length: int, fps: Fraction, sound: Waveform | None = None) -> Clip:
    return Clip(np.stack([grey(i) for i in range(length)]), fps, sound)


def clicks(seconds: float, rate: int, at: list[float], channels: int = 1) -> Waveform:
    samples = np.zeros((round(seconds * rate), channels), np.float32)
    for moment in at:
        start = round(moment * rate)
        samples[start : start + rate // 100] = 0.8
    return Waveform(samples, rate)


def onsets(sound: Waveform) -> list[float]:
    loud = np.flatnonzero(np.abs(sound.samples[:, 0]) > 0.3)
    starts = [loud[0], *(b for a, b in pairwise(loud) if b - a > sound.sample_rate_hz // 20)]
    return [start / sound.sample_rate_hz for start in starts]


def write_raw(
    path: Path,
    pts: list[int],
    *,
    time_base: Fraction,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    width: int = 64,
    height: int = 48,
    degrees: int = 0,
    images: list[UInt8Array] | None = None,
    **tags: int,
) -> Path:
    """A file with chosen timestamps, format and orientation, as foreign software might write it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = time_base
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if degrees:
            stream.set_display_rotation(degrees)
        for index, moment in enumerate(pts):
            image = images[index] if images else grey(index, width, height)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = moment, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# ---------------------------------------------------------------- writing and reading back


@pytest.mark.parametrize("fps", [Fraction(25), NTSC, Fraction(24), Fraction(12), Fraction(60_000, 1001)])
def test_a_written_clip_comes_back_with_its_exact_rate_and_every_frame(tmp_path: Path, fps: Fraction) -> None:
    write_clip(counting(40, fps), tmp_path / "a.mp4")
    clip, facts = read_clip(tmp_path / "a.mp4"), probe(tmp_path / "a.mp4")
    assert clip.fps == facts.fps == fps
    assert [number_of(image) for image in clip.frames] == list(range(40))
    assert (facts.width, facts.height, facts.length, facts.codec) == (64, 48, 40, "h264")
    assert not facts.variable_frame_rate
    assert not facts.has_sound
    assert abs(facts.duration_seconds - float(40 / fps)) < 0.001


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("fps", [Fraction(25), NTSC])
def test_sound_stays_within_two_milliseconds_of_the_pictures(tmp_path: Path, fps: Fraction, rate: int) -> None:
    at = [0.0, 0.52, 1.1, 1.9]
    sound = clicks(2.0, rate, at)
    write_clip(counting(50, fps, sound), tmp_path / "a.mp4")
    heard = read_clip(tmp_path / "a.mp4").sound
    assert heard is not None
    assert heard.sample_rate_hz == rate
    assert np.allclose(onsets(heard)[: len(onsets(sound))], onsets(sound)[: len(onsets(heard))], atol=0.002)


def test_sound_ends_with_the_pictures_to_the_sample(tmp_path: Path) -> None:
    for seconds in (3.0, 2.0):  # longer than the pictures, and as long
        write_clip(counting(50, Fraction(25), clicks(seconds, 16_000, [0.5])), tmp_path / "a.mp4")
        sound = read_waveform(tmp_path / "a.mp4")
        assert sound.duration_seconds == 2
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert abs(container.duration / 1_000_000 - 2) < 0.04
    write_clip(counting(50, Fraction(25), clicks(1.2, 16_000, [0.5])), tmp_path / "a.mp4")
    assert read_waveform(tmp_path / "a.mp4").duration_seconds == Fraction(12, 10)


def test_six_channels_at_44_kilohertz_come_back_as_six(tmp_path: Path) -> None:
    sound = clicks(1.0, 44_100, [0.5], channels=6)
    write_clip(counting(25, Fraction(25), sound), tmp_path / "a.mp4")
    facts = probe(tmp_path / "a.mp4")
    assert (facts.channels, facts.sample_rate_hz, facts.sound_codec) == (6, 44_100, "aac")
    assert read_waveform(tmp_path / "a.mp4").samples.shape == (44_100, 6)


def test_a_rate_that_aac_does_not_know_is_resampled_and_stays_in_sync(tmp_path: Path) -> None:
    write_clip(counting(25, Fraction(25), clicks(1.0, 9_600, [0.5])), tmp_path / "a.mp4")
    sound = read_waveform(tmp_path / "a.mp4")
    assert sound.sample_rate_hz == 11_025
    assert abs(onsets(sound)[0] - 0.5) < 0.005


@pytest.mark.parametrize(("width", "height"), [(128, 96), (130, 94)])
def test_colours_survive_the_way_to_yuv_and_back(tmp_path: Path, width: int, height: int) -> None:
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    ramp = np.stack([40 + 180 * x, 200 - 150 * y, 60 + 120 * (1 - x) * y], axis=-1).round().astype(np.uint8)
    write_clip(Clip(np.repeat(ramp[None], 5, 0), Fraction(25)), tmp_path / "a.mp4", crf=10)
    error = read_clip(tmp_path / "a.mp4").frames.astype(int) - ramp
    assert np.abs(error).mean() < 1.5
    assert np.abs(error.mean(axis=(0, 1, 2))).max() < 0.8
    assert probe(tmp_path / "a.mp4").color_matrix == "itu709"


@pytest.mark.parametrize(("tag", "name"), [(1, "itu709"), (6, "itu601")])
def test_the_colour_matrix_of_the_file_is_used(tmp_path: Path, tag: int, name: str) -> None:
    """One saturated colour, encoded by hand with either matrix, is read as the same RGB."""
    red, green, blue = 200, 60, 40
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}[tag]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    values = (
        16 + luma * 219 / 255,
        128 + (blue - luma) / (2 - 2 * kb) * 224 / 255,
        128 + (red - luma) / (2 - 2 * kr) * 224 / 255,
    )
    planes = np.concatenate(
        [np.full(n, round(v), np.uint8) for n, v in zip((64 * 64, 32 * 32, 32 * 32), values, strict=True)]
    )
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace = tag
        frame = av.VideoFrame.from_ndarray(planes.reshape(96, 64), format="yuv420p")
        frame.colorspace = tag
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(tmp_path / "a.mp4").color_matrix == name
    assert np.abs(read_clip(tmp_path / "a.mp4").frames.astype(int) - (red, green, blue)).max() <= 3


def test_444_takes_odd_sides_and_keeps_single_pixels(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 33, 35, 3), dtype=np.uint8)
    write_clip(Clip(frames, Fraction(25)), tmp_path / "a.mp4", crf=0, pixel_format="yuv444p")
    assert np.abs(read_clip(tmp_path / "a.mp4").frames.astype(int) - frames).max() <= 4


def test_the_same_clip_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """Also when fresh memory holds other garbage, which x264's defaults do not survive."""
    program = (
        "import sys, numpy as np; from fractions import Fraction; from pathlib import Path;"
        "from media.clip import Clip, Waveform; from media.video import write_clip;"
        "r = np.random.default_rng(3);"
        "x = r.integers(0, 255, (12, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)[:, :130];"
        "s = Waveform((r.random((16000, 1), dtype=np.float32) - 0.5), 16000);"
        "write_clip(Clip(np.stack([np.roll(x, 3 * i, 1) for i in range(30)]), Fraction(25), s), Path(sys.argv[1]))"
    )
    digests = set()
    for garbage in ("0", "85", "170"):
        path = tmp_path / f"{garbage}.mp4"
        environment = {**os.environ, "MALLOC_PERTURB_": garbage}
        subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=environment)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_index_stands_in_front_of_the_media_and_no_date_is_written(tmp_path: Path, counting_clip: Clip) -> None:
    write_clip(counting_clip, tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    header = data.index(b"mvhd") + 8
    assert data[header : header + 8] == bytes(8)


def test_a_failed_write_leaves_neither_a_file_nor_a_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="renderer"), ClipWriter(tmp_path / "a.mp4", Fraction(25), 64, 48) as writer:
        writer.add(grey(0))
        raise RuntimeError("the renderer failed")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_older_file_as_it_was(tmp_path: Path) -> None:
    write_clip(counting(5, Fraction(25)), tmp_path / "a.mp4")
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(ValueError, match="uint8"), ClipWriter(tmp_path / "a.mp4", Fraction(25), 64, 48) as writer:
        writer.add(np.zeros((48, 64, 3), np.float32))  # type: ignore[arg-type]
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("limit", [1_000, 60_000])
def test_a_full_disk_is_one_line_and_no_file(tmp_path: Path, limit: int) -> None:
    """A limit on the file size stands in for the disk; early and late failures differ inside libav."""
    program = (
        f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "import numpy as np, sys; from fractions import Fraction; from pathlib import Path\n"
        "from media.clip import Clip, MediaError; from media.video import write_clip\n"
        "x = np.random.default_rng(0).integers(0, 255, (20, 96, 128, 3), dtype=np.uint8)\n"
        "try: write_clip(Clip(x, Fraction(25)), Path(sys.argv[1]))\n"
        "except MediaError as error: sys.stdout.write(str(error)); sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.mp4")], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(str(tmp_path / "a.mp4") + ": cannot be written (")
    assert "\n" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_odd_sides_are_refused_by_name_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="even sides, got 35 x 33"):
        write_clip(Clip(np.zeros((2, 33, 35, 3), np.uint8), Fraction(25)), tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="folder does not exist"):
        write_clip(counting(2, Fraction(25)), tmp_path / "nowhere" / "a.mp4")
    with pytest.raises(MediaError, match="is a folder"):
        write_clip(counting(2, Fraction(25)), tmp_path)
    with pytest.raises(MediaError, match="no frame was added"), ClipWriter(tmp_path / "a.mp4", Fraction(25), 64, 48):
        pass
    for wrong, words in (
        ({"crf": 60}, "0 to 51"),
        ({"preset": "quick"}, "preset 'quick'"),
        ({"pixel_format": "rgb"}, "yuv"),
    ):
        with pytest.raises(MediaError, match=words):
            write_clip(counting(2, Fraction(25)), tmp_path / "a.mp4", **wrong)  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="7 channels"):
        write_clip(counting(2, Fraction(25), Waveform(np.zeros((100, 7), np.float32), 8000)), tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- time


def test_a_variable_rate_file_is_read_by_its_presentation_times(tmp_path: Path) -> None:
    moments = [0, 40, 80, 200, 240, 600, 640, 680]  # milliseconds; a picture stays until the next
    path = write_raw(tmp_path / "a.mp4", moments, time_base=Fraction(1, 1000))
    assert probe(path).variable_frame_rate
    assert [round(frame.pts_seconds * 1000) for frame in stream_frames(path)] == moments
    shown = [number_of(frame.image) for frame in stream_frames(path, fps=Fraction(25))]
    assert shown == [0, 1, 2, 2, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 6, 7]


def test_a_variable_rate_clip_gets_a_constant_rate_of_the_same_duration(tmp_path: Path) -> None:
    moments = [0, 40, 80, 200, 240, 600, 640, 680]
    clip = read_clip(write_raw(tmp_path / "a.mp4", moments, time_base=Fraction(1, 1000)))
    assert clip.fps == 25
    assert clip.duration_seconds == Fraction(72, 100)
    assert number_of(clip.frames[0]) == 0
    assert number_of(clip.frames[-1]) == 7


@pytest.mark.parametrize(("fps", "count"), [(Fraction(30), 60), (Fraction(50), 100), (Fraction(10), 20), (NTSC, 60)])
def test_resampling_keeps_the_duration_and_the_order(tmp_path: Path, fps: Fraction, count: int) -> None:
    write_clip(counting(50, Fraction(25)), tmp_path / "a.mp4")
    frames = list(stream_frames(tmp_path / "a.mp4", fps=fps))
    numbers = [number_of(frame.image) for frame in frames]
    assert len(frames) == count
    assert [frame.index for frame in frames] == list(range(count))
    assert numbers == sorted(numbers)
    assert all(abs(n / 25 - f.pts_seconds) <= 0.5 / 25 + 0.5 / float(fps) for n, f in zip(numbers, frames, strict=True))


def test_millisecond_clocks_do_not_double_and_drop_pictures(tmp_path: Path) -> None:
    moments = [round(1000 * i / 30) for i in range(50)]
    path = write_raw(tmp_path / "a.mkv", moments, time_base=Fraction(1, 1000))
    facts = probe(path)
    assert (facts.fps, facts.variable_frame_rate) == (Fraction(30), False)
    assert [number_of(f.image) for f in stream_frames(path, fps=Fraction(30))] == list(range(50))


def test_sound_that_starts_late_is_filled_with_silence(tmp_path: Path) -> None:
    """Sample 0 of a video's sound is heard with its first picture, also in containers with a clock of their own."""
    for name in ("a.mp4", "a.mkv", "a.ts"):
        path = tmp_path / name
        tone = clicks(0.5, 16_000, [0.2])
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            audio = container.add_stream("aac", rate=16_000, layout="mono")
            for index in range(25):
                frame = av.VideoFrame.from_ndarray(grey(index), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            for start in range(0, 8000, 1024):
                block = av.AudioFrame.from_ndarray(tone.samples[start : start + 1024].T.copy(), "fltp", "mono")
                block.sample_rate, block.pts, block.time_base = 16_000, 4_800 + start, Fraction(1, 16_000)
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
        heard = read_clip(path).sound
        assert heard is not None
        assert abs(onsets(heard)[0] - 0.5) < 0.02, name


# ---------------------------------------------------------------- pictures


def corner() -> list[UInt8Array]:
    """Wider than high, bright in the upper left corner."""
    image = np.full((48, 64, 3), 30, np.uint8)
    image[:16, :16] = 220
    return [image]


@pytest.mark.parametrize(
    ("degrees", "turn", "bright"),
    [(0, 0, (0, 0)), (-90, 90, (0, -1)), (180, 180, (-1, -1)), (90, 270, (-1, 0))],
)
def test_a_turned_film_is_shown_upright(tmp_path: Path, degrees: int, turn: int, bright: tuple[int, int]) -> None:
    path = write_raw(tmp_path / "a.mp4", [0], time_base=Fraction(1, 25), degrees=degrees, images=corner())
    facts, clip = probe(path), read_clip(path)
    assert facts.rotation_degrees == turn
    assert (facts.height, facts.width) == clip.frames.shape[1:3] == ((64, 48) if turn % 180 else (48, 64))
    image = clip.frames[0].astype(int)
    corners = {
        (r, c): image[r * 1 + (4 if r == 0 else -4), c * 1 + (4 if c == 0 else -4)].mean()
        for r in (0, -1)
        for c in (0, -1)
    }
    assert max(corners, key=lambda key: corners[key]) == bright


def test_max_side_scales_down_in_one_step_and_never_up(tmp_path: Path) -> None:
    write_clip(Clip(np.zeros((2, 90, 160, 3), np.uint8), Fraction(25)), tmp_path / "a.mp4")
    assert next(stream_frames(tmp_path / "a.mp4", max_side=80)).image.shape == (45, 80, 3)
    assert next(stream_frames(tmp_path / "a.mp4", max_side=800)).image.shape == (90, 160, 3)
    assert read_clip(tmp_path / "a.mp4", max_side=80).frames.shape == (2, 45, 80, 3)


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mp4", [0, 1], time_base=Fraction(1, 25), sample_aspect_ratio=Fraction(2))  # type: ignore[arg-type]
    assert (probe(path).width, probe(path).height) == (128, 48)
    assert read_clip(path).frames.shape[1:3] == (48, 128)


def test_ten_bit_high_dynamic_range_is_read_as_eight_bits_and_said(tmp_path: Path) -> None:
    path = write_raw(
        tmp_path / "a.mp4",
        list(range(5)),
        time_base=Fraction(1, 25),
        codec="libx265",
        pixel_format="yuv420p10le",
        color_trc=16,
        color_primaries=9,
        colorspace=9,
    )
    facts = probe(path)
    assert (facts.bit_depth, facts.high_dynamic_range, facts.color_matrix) == (10, True, "bt2020")
    assert [number_of(image) for image in read_clip(path).frames] == list(range(5))


def test_an_animated_gif_is_a_video_on_white(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.new("P", (32, 32), i) for i in range(4)]
    for picture in pictures:
        picture.putpalette([0, 0, 0, 200, 40, 0, 0, 90, 200, 9, 9, 9])
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100, disposal=2, transparency=0
    )
    clip = read_clip(tmp_path / "a.gif")
    assert (clip.fps, clip.length) == (Fraction(10), 4)
    assert clip.frames[0].min() == 255
    assert (clip.frames[1] == (200, 40, 0)).all()
    assert (clip.frames[2] == (0, 90, 200)).all()


def test_a_picture_is_turned_as_its_camera_says_and_put_on_white(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.new("RGB", (40, 20), (10, 20, 30))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (40, 20, 3)
    Image.new("RGBA", (4, 4), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 204).all()
    Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)).save(tmp_path / "b.png")
    assert (read_image(tmp_path / "b.png") == 128).all()
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "c.jpg")
    assert read_image(tmp_path / "c.jpg")[0, 0, 0] > 200


# ---------------------------------------------------------------- sound files


SOUND_KINDS = [
    ("a.wav", "pcm_s16le"),
    ("b.wav", "pcm_u8"),
    ("c.wav", "pcm_f32le"),
    ("a.flac", "flac"),
    ("a.mp3", "libmp3lame"),
    ("a.m4a", "aac"),
    ("b.ogg", "libopus"),
]


@pytest.mark.parametrize(("name", "codec"), SOUND_KINDS)
def test_sound_files_of_many_kinds_are_read_alike(tmp_path: Path, name: str, codec: str) -> None:
    rate = 48_000
    sound = clicks(1.0, rate, [0.5])
    try:
        container = av.open(str(tmp_path / name), "w")
        stream = container.add_stream(codec, rate=rate, layout="mono")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this libav has no encoder {codec}")
    with container:
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(sound.samples.T.copy(), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for block in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    heard = read_waveform(tmp_path / name)
    assert (heard.sample_rate_hz, heard.channels) == (rate, 1)
    assert abs(float(heard.duration_seconds) - 1.0) < 0.06
    assert abs(onsets(heard)[0] - 0.5) < 0.02


# ---------------------------------------------------------------- memory


def test_a_clip_that_would_not_fit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    write_clip(counting(50, Fraction(25)), tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="stream_frames"):
        read_clip(tmp_path / "a.mp4", max_frames=20)
    with pytest.raises(MediaError, match="50 frames of 64 x 48 and at most 10 may be held"):
        read_clip(tmp_path / "a.mp4", max_bytes=10 * 64 * 48 * 3)
    assert read_clip(tmp_path / "a.mp4", max_frames=50).length == 50
    with pytest.raises(MediaError, match="of sound"):
        write_clip(counting(50, Fraction(25), clicks(2, 16_000, [0.1])), tmp_path / "b.mp4")
        read_waveform(tmp_path / "b.mp4", max_bytes=10_000)


def long_file(path: Path, length: int) -> Path:
    tile = np.random.default_rng(0).integers(60, 200, (8, 8, 3), dtype=np.uint8).repeat(64, 0).repeat(64, 1)
    with ClipWriter(path, Fraction(25), 512, 512, crf=40, preset="ultrafast") as writer:
        for index in range(length):
            tile[:8, :8] = index % 256
            writer.add(tile)
    return path


@pytest.mark.slow
def test_ten_minutes_are_streamed_in_the_memory_of_a_few_frames(tmp_path: Path) -> None:
    path = long_file(tmp_path / "long.mp4", 15_000)
    process = psutil.Process()
    frames = stream_frames(path)
    for _ in range(200):
        next(frames)
    gc.collect()
    before = process.memory_info().rss
    peak, count = before, 200
    for frame in frames:
        count = frame.index + 1
        if count % 500 == 0:
            peak = max(peak, process.memory_info().rss)
    assert count == 15_000
    assert peak - before < 32 * 2**20


@pytest.mark.parametrize("fps", [None, Fraction(30), Fraction(25, 2)])
def test_only_the_frames_that_are_wanted_are_given_and_they_are_the_same(tmp_path: Path, fps: Fraction | None) -> None:
    path = tmp_path / "a.mp4"
    write_clip(counting(20, Fraction(25)), path)
    whole = list(stream_frames(path, fps=fps))
    part = list(stream_frames(path, fps=fps, only=lambda index: index % 3 == 1))
    assert [f.index for f in part] == [f.index for f in whole if f.index % 3 == 1]
    assert all((a.image == whole[a.index].image).all() and a.pts_seconds == whole[a.index].pts_seconds for a in part)
