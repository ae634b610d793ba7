from __future__ import annotations

import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from quick_maker import FINGERPRINT, QUICK, QuickMaker, picture, tone, write_wav
from tiny_motion import tiny_weights
from typer.testing import CliRunner

from forge.cli import app
from forge.live_clip import LiveMade, LiveSetting, live_shot, speak_live, written_beside
from forge.live_sound import Pace, WallClock
from forge.methods import METHODS, Method, Shot, Sitter
from forge.motion.controls import Controls
from forge.motion.sources import MotionSource
from forge.portrait import Declaration, ForgeError, Portrait, sha256_of
from forge.sealing import Sealed
from media.video import probe, read_clip, read_waveform
from provenance.credential import Standing, read_credential

NOBODY = Declaration.nonexistent("CC0-1.0")
FAST = LiveSetting(pace=Pace.MAX)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "mine.safetensors")


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path, Path]:
    return picture(tmp_path / "p.png"), write_wav(tmp_path / "s.wav", tone(0.9, rate=22_050)), tmp_path / "out.mp4"


def shot_of(weights: Path, fps: Fraction = Fraction(25)) -> Shot:
    return Shot(256, fps, Controls(seed=5), MotionSource.parse(str(weights), steps=1))


def speak(portrait: Path, speech: object, weights: Path, **words: object) -> LiveMade:
    facts: dict[str, object] = {"declaration": NOBODY, "method": QUICK, "shot": shot_of(weights), "setting": FAST}
    return speak_live(portrait, speech, **(facts | words))  # type: ignore[arg-type]


def test_a_live_clip_is_signed_and_says_what_moved_it_and_that_it_was_live(
    inputs: tuple[Path, Path, Path], weights: Path
) -> None:
    portrait, speech, out = inputs
    made = speak(portrait, speech, weights, out=out)
    credential = read_credential(out)
    assert credential.standing is Standing.TRUSTED and credential.declares_synthetic is True
    record = credential.record
    assert record is not None and record.label == "synthetic" and record.consent == str(NOBODY)
    assert record.inputs == {"portrait": sha256_of(portrait), "speech": sha256_of(speech)}
    told = {name: record.controls[name] for name in ("motion", "motion_sha256", "motion_steps", "live", "repeated")}
    assert told == {
        "motion": "mine.safetensors",
        "motion_sha256": sha256_of(weights),
        "motion_steps": 1,
        "live": True,
        "repeated": 0,
    }
    facts = made.to_json()
    assert facts["sha256"] == sha256_of(out) and facts["frames"] == 22 and facts["pace"] == "max"
    json.dumps(facts)


class WatchedMaker(QuickMaker):
    """Writes down all that its sitter was told."""

    def __init__(self) -> None:
        self.told: list[np.ndarray] = []

    def sit(self, portrait: Portrait, size: int) -> Sitter:
        sitter, told = super().sit(portrait, size), self.told

        class Watched:
            def draw(self, values: np.ndarray) -> np.ndarray:
                told.append(values.copy())
                return sitter.draw(values)

        return Watched()


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001)])
def test_a_file_and_the_same_sound_through_a_pipe_cut_anyhow_move_the_face_alike(
    inputs: tuple[Path, Path, Path], weights: Path, fps: Fraction
) -> None:
    portrait, speech, _ = inputs
    told = []
    for sound, chunk in (
        (speech, Fraction(1, 100)),
        (io.BytesIO(speech.read_bytes()), Fraction(37, 1000)),
        (io.BytesIO(speech.read_bytes()), Fraction(1)),
    ):
        maker = WatchedMaker()
        method = Method("watched", lambda maker=maker: maker, lambda: FINGERPRINT)  # type: ignore[misc]
        setting = LiveSetting(pace=Pace.MAX, chunk_seconds=chunk)
        speak(portrait, sound, weights, shot=shot_of(weights, fps), setting=setting, method=method)
        told.append(np.stack(maker.told))
    assert np.array_equal(told[0], told[1]) and np.array_equal(told[0], told[2])
    assert np.ptp(told[0], axis=0).max() > 0, "something moves"


def test_a_pipe_makes_the_same_clip_however_it_was_cut_and_its_sound_is_the_files(
    inputs: tuple[Path, Path, Path], weights: Path
) -> None:
    portrait, speech, out = inputs
    other_out, file_out = out.with_name("other.mp4"), out.with_name("file.mp4")
    speak(portrait, io.BytesIO(speech.read_bytes()), weights, out=out)
    uneven = LiveSetting(pace=Pace.MAX, chunk_seconds=Fraction(37, 1000))
    speak(portrait, io.BytesIO(speech.read_bytes()), weights, out=other_out, setting=uneven)
    speak(portrait, speech, weights, out=file_out)
    assert np.array_equal(read_clip(out).frames, read_clip(other_out).frames)
    heard, through = read_waveform(file_out).samples, read_waveform(out).samples
    assert np.array_equal(heard[:-2048], through[: len(heard) - 2048])
    credential = read_credential(out)
    assert credential.record is not None and credential.record.inputs["speech"] == sha256_of(speech)


def test_sound_and_pictures_of_a_live_clip_agree(tmp_path: Path, weights: Path) -> None:
    rate = 16_000
    samples = np.zeros(rate, np.float32)
    samples[rate // 2 :] = 0.7 * np.sin(2 * np.pi * 500 * np.arange(rate // 2) / rate)
    data = (samples * 32767).astype("<i2").tobytes()
    out = tmp_path / "out.mp4"
    setting = LiveSetting(pace=Pace.MAX, raw_rate_hz=rate)
    speak(picture(tmp_path / "p.png"), io.BytesIO(data), weights, out=out, setting=setting)
    heard = read_waveform(out).samples[:, 0]
    assert probe(out).length == 25
    assert abs(np.argmax(np.abs(heard) > 0.2) / rate - 0.5) < 0.02


def test_without_a_name_nothing_is_written(inputs: tuple[Path, Path, Path], weights: Path) -> None:
    portrait, speech, _ = inputs
    before = sorted(portrait.parent.iterdir())
    made = speak(portrait, speech, weights)
    assert made.credential is None and made.to_json()["file"] is None and made.report.drawn == 22
    assert sorted(portrait.parent.iterdir()) == before


def test_listening_may_be_limited(inputs: tuple[Path, Path, Path], weights: Path) -> None:
    portrait, speech, out = inputs
    half = LiveSetting(pace=Pace.MAX, seconds=Fraction(1, 2))
    made = speak(portrait, speech, weights, out=out, setting=half)
    assert made.report.seconds == 0.5 and probe(out).length == 12
    made = speak(portrait, io.BytesIO(speech.read_bytes()), weights, out=out, setting=half, overwrite=True)
    assert made.report.seconds == 0.5 and probe(out).length == 12


def test_in_real_time_half_a_second_takes_half_a_second(inputs: tuple[Path, Path, Path], weights: Path) -> None:
    portrait, speech, _ = inputs
    made = speak(portrait, speech, weights, setting=LiveSetting(seconds=Fraction(1, 2)))
    assert made.report.elapsed_seconds >= 0.48 and made.report.latency_ms is not None
    assert made.report.latency_ms["p50"] >= 87.5


class Breaking:
    """A pipe that ends in an interrupt."""

    def __init__(self, data: bytes, error: BaseException) -> None:
        self.data, self.error = io.BytesIO(data), error

    def read(self, count: int) -> bytes:
        data = self.data.read(count)
        if not data:
            raise self.error
        return data


class Impatient(WallClock):
    """Somebody presses Ctrl-C in the middle."""

    def __init__(self) -> None:
        self.waits = 0

    def wait_until(self, moment: float) -> None:
        self.waits += 1
        if self.waits > 50:
            raise KeyboardInterrupt


def test_ctrl_c_leaves_no_half_file(inputs: tuple[Path, Path, Path], weights: Path) -> None:
    portrait, speech, out = inputs
    before = sorted(out.parent.iterdir())
    with pytest.raises(KeyboardInterrupt):
        speak(portrait, speech, weights, out=out, setting=LiveSetting(), clock=Impatient())
    assert sorted(out.parent.iterdir()) == before


def test_a_pipe_that_breaks_leaves_no_half_file(inputs: tuple[Path, Path, Path], weights: Path) -> None:
    portrait, speech, out = inputs
    before = sorted(out.parent.iterdir())
    with pytest.raises(ForgeError, match=r"the pipe cannot be read any more \(gone\)"):
        speak(portrait, Breaking(speech.read_bytes()[:-4000], OSError("gone")), weights, out=out)
    assert sorted(out.parent.iterdir()) == before


def test_a_clip_that_cannot_be_signed_does_not_appear_and_ends_the_talk(
    inputs: tuple[Path, Path, Path], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import provenance.signing
    from provenance.errors import ProvenanceError

    def refuse(*args: object, **kwargs: object) -> None:
        raise ProvenanceError("the key is gone")

    monkeypatch.setattr(provenance.signing, "sign_file", refuse)
    portrait, speech, out = inputs
    before = sorted(out.parent.iterdir())
    with pytest.raises(ForgeError, match="the key is gone"):
        speak(portrait, speech, weights, out=out)
    assert sorted(out.parent.iterdir()) == before


def test_a_writer_that_fails_ends_the_making_of_pictures() -> None:
    made = []

    def write(images: Iterator[np.ndarray]) -> Sealed:
        next(images)
        raise ForgeError("the disk is full")

    def pictures() -> Iterator[np.ndarray]:
        for number in range(100_000):
            made.append(number)
            yield np.zeros((2, 2, 3), np.uint8)

    with pytest.raises(ForgeError, match="the disk is full"):
        written_beside(write, pictures())
    assert len(made) < 100_000


def test_a_pipe_without_a_seed_moves_by_chance_and_says_how(inputs: tuple[Path, Path, Path], weights: Path) -> None:
    portrait, speech, out = inputs
    seeds = set()
    for _ in range(2):
        speak(portrait, io.BytesIO(speech.read_bytes()), weights, out=out, own_seed=True, overwrite=True)
        record = read_credential(out).record
        assert record is not None
        seeds.add(record.seed)
    assert len(seeds) == 2


def test_an_undeclared_portrait_speaks_no_word(inputs: tuple[Path, Path, Path], weights: Path) -> None:
    portrait, speech, out = inputs
    with pytest.raises(ForgeError, match="not declared"):
        speak(portrait, speech, weights, out=out, declaration=None)
    assert not out.exists()


def test_the_usual_live_shot_is_small_and_moved_by_the_network() -> None:
    assert live_shot().size == 256 and live_shot().motion == MotionSource("diffusion")
    assert live_shot().motion.live_sampling() == (1, {})


def run(*words: object, sound: bytes | None = None) -> tuple[int, list[dict[str, object]], str]:
    result = CliRunner().invoke(app, ["live", *(str(word) for word in words)], input=sound)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.methods.METHODS", {**METHODS, "quick": QUICK})


@pytest.mark.usefixtures("quick")
def test_the_command_reports_on_stdout_as_json_and_in_words_on_stderr(
    inputs: tuple[Path, Path, Path], weights: Path
) -> None:
    portrait, speech, out = inputs
    words = [portrait, "-", "--nonexistent", "--method", "quick", "--motion", weights, "--steps", 1, "--pace", "max"]
    words += ["--fps", "29.97", "--frozen-pose", "--guidance", "none", "-o", out]
    code, (facts,), talk = run(*words, sound=speech.read_bytes())
    assert code == 0 and facts["file"] == str(out) and facts["fps"] == "30000/1001" and facts["frames"] == 27
    assert "drawn a second" in talk and "hold the sound back by" in talk and "signed" in talk
    record = read_credential(out).record
    assert record is not None and record.controls["head_motion"] == 0.0
    code, (facts,), talk = run(*words[:-2], "--json", sound=speech.read_bytes())
    assert code == 0 and facts["file"] is None and talk == ""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("words", "sound", "reason"),
    [
        ([], b"", "no sound came"),
        ([], b"ID3 an mp3", "no wav"),
        (["--rate", 10], b"abcdef", "8000 to 192000"),
        (["--rate", 16000], bytes(2000), "at least 0.2 s"),
        (["--chunk", 0], b"", "chunk must last 1 to 1000 ms, got 0"),
        (["--chunk", "nan"], b"", "chunk must be a number"),
        (["--buffer", -1], b"", "buffer must be 0 to 10000 ms"),
        (["--seconds", 0], b"", "seconds must be positive"),
        (["--fps", 500], b"", "fps"),
        (["--frozen-pose", "--head-motion", 2], b"", "a frozen pose has no head motion"),
        (["--guidance", "loud"], b"", "guidance must be"),
        (["--motion", "baseline"], b"", "cannot speak live"),
        (["--motion", "nowhere.safetensors"], b"", "nowhere.safetensors: no such file"),
        (["--motion", "magic"], b"", "motion must be"),
        (["--method", "magic"], b"", "method must be"),
        (["--consent", "ok"], b"", "either --nonexistent or --consent"),
    ],
)
def test_a_wrong_wish_is_one_line_and_exit_1(
    inputs: tuple[Path, Path, Path], weights: Path, words: list[object], sound: bytes, reason: str
) -> None:
    portrait, _, out = inputs
    given = [portrait, "-", "-o", out, "--nonexistent"]
    given += [] if "--motion" in words else ["--motion", weights]
    given += [] if "--method" in words else ["--method", "quick"]
    code, lines, talk = run(*given, *words, sound=sound)
    assert code == 1 and lines == [] and reason in talk
    assert talk.startswith("error: ") and talk.count("\n") == 1
    assert sorted(path.name for path in out.parent.iterdir()) == ["p.png", "s.wav"]
