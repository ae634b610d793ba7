from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from quick_maker import FINGERPRINT, QUICK, picture, tone, write_wav

from forge.animate import animate, animate_to_file
from forge.methods import Method, Shot, Take
from forge.motion.controls import Controls
from forge.portrait import Declaration, ForgeError, load_portrait, sha256_of
from forge.sealing import swept
from forge.voice import standard_rate
from media.clip import Waveform
from media.video import probe, read_clip, read_waveform
from provenance.credential import Standing, read_credential

NOBODY = Declaration.nonexistent("CC0-1.0")


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Portrait, speech of 1.3 s, and where the clip goes."""
    return picture(tmp_path / "p.png"), write_wav(tmp_path / "s.wav", tone(1.3)), tmp_path / "out.mp4"


def test_a_clip_is_signed_says_synthetic_and_names_its_inputs(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    made = animate_to_file(
        portrait,
        speech,
        out,
        declaration=NOBODY,
        method=QUICK,
        shot=Shot(256, controls=Controls(seed=7, emotion="happy")),
    )
    credential = read_credential(out)
    assert credential.standing is Standing.TRUSTED
    assert credential.declares_synthetic is True
    record = credential.record
    assert record is not None
    assert record.label == "synthetic" and record.seed == 7 and record.model_sha256 == FINGERPRINT
    assert record.inputs == {"portrait": sha256_of(portrait), "speech": sha256_of(speech)}
    assert record.controls["emotion"] == "happy" and record.controls["size"] == 256
    assert record.consent == str(NOBODY) and record.portrait_license == "CC0-1.0"
    assert any("trainedAlgorithmicMedia" in kind for kind in credential.source_types)
    assert not any("composite" in kind for kind in credential.source_types)
    assert made.sha256 == sha256_of(out) == credential.sha256


def test_a_consented_photo_is_a_composite_and_the_consent_is_told(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    said = "Ada Example agreed on 2026-03-01 to demo clips of this project"
    animate_to_file(portrait, speech, out, declaration=Declaration.consent(said), method=QUICK, shot=Shot(256))
    credential = read_credential(out)
    assert any("compositeWithTrainedAlgorithmicMedia" in kind for kind in credential.source_types)
    assert credential.record is not None and credential.record.consent == f"consent: {said}"


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(24)])
def test_pictures_last_as_long_as_the_speech_within_one_frame(inputs: tuple[Path, Path, Path], fps: Fraction) -> None:
    portrait, speech, out = inputs
    animate_to_file(portrait, speech, out, declaration=NOBODY, method=QUICK, shot=Shot(256, fps))
    facts = probe(out)
    assert facts.fps == fps
    assert (facts.width, facts.height) == (256, 256)
    assert facts.length is not None and abs(Fraction(facts.length) / fps - Fraction(13, 10)) <= 1 / fps / 2


def test_frames_come_in_order_and_sound_stays_within_20_ms(tmp_path: Path) -> None:
    rate = 44_100
    samples = np.zeros((2 * rate, 1), np.float32)
    samples[rate:] = 0.7 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate)[:, None]
    speech = write_wav(tmp_path / "late.wav", Waveform(samples, rate))
    out = tmp_path / "out.mp4"
    animate_to_file(picture(tmp_path / "p.png"), speech, out, declaration=NOBODY, method=QUICK, shot=Shot(256))
    clip = read_clip(out)
    marks = clip.frames[:, :8, :8].mean(axis=(1, 2, 3))
    assert np.abs(marks - np.arange(50)).max() < 2
    assert clip.sound is not None
    loud = np.abs(clip.sound.samples[:, 0]) > 0.2
    assert abs(np.argmax(loud) / clip.sound.sample_rate_hz - 1.0) < 0.02


def test_the_same_inputs_give_the_same_pictures_and_sound(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    portrait, speech, out = inputs
    again = tmp_path / "again.mp4"
    for path in (out, again):
        animate_to_file(portrait, speech, path, declaration=NOBODY, method=QUICK, shot=Shot(256))
    first, second = read_clip(out), read_clip(again)
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(read_waveform(out).samples, read_waveform(again).samples)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 6), (48_000, 2), (96_000, 2), (11_025, 1)])
def test_any_rate_and_number_of_channels_can_be_spoken(tmp_path: Path, rate: int, channels: int) -> None:
    speech = write_wav(tmp_path / "s.wav", tone(0.6, rate=rate, channels=channels))
    out = tmp_path / "out.mp4"
    animate_to_file(picture(tmp_path / "p.png"), speech, out, declaration=NOBODY, method=QUICK, shot=Shot(256))
    facts = probe(out)
    assert facts.has_sound and facts.channels == 1
    assert facts.sample_rate_hz == standard_rate(rate) <= 48_000


def test_an_existing_file_is_kept_unless_told_otherwise(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    out.write_text("mine")
    with pytest.raises(ForgeError, match="exists already"):
        animate_to_file(portrait, speech, out, declaration=NOBODY, method=QUICK, shot=Shot(256))
    assert out.read_text() == "mine"
    animate_to_file(portrait, speech, out, declaration=NOBODY, method=QUICK, shot=Shot(256), overwrite=True)
    assert probe(out).width == 256


class Failing:
    """A method that breaks in the middle of a clip."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def find_face(self, image: np.ndarray) -> None:
        return None

    def film(self, portrait: object, speech: Waveform, shot: Shot) -> Take:
        take = QUICK.open().film(load_portrait(portrait.path, NOBODY), speech, shot)  # type: ignore[attr-defined]

        def frames() -> object:
            yield next(take.frames)
            raise self.error

        return Take(take.motion, frames())  # type: ignore[arg-type]

    def close(self) -> None:
        pass


@pytest.mark.parametrize("error", [ForgeError("the rig fell apart"), KeyboardInterrupt(), RuntimeError("a bug")])
def test_whatever_breaks_on_the_way_leaves_no_file_behind(
    inputs: tuple[Path, Path, Path], error: BaseException
) -> None:
    portrait, speech, out = inputs
    before = sorted(out.parent.iterdir())
    broken = Method("broken", lambda: Failing(error), lambda: FINGERPRINT)
    with pytest.raises(type(error)):
        animate_to_file(portrait, speech, out, declaration=NOBODY, method=broken, shot=Shot(256))
    assert sorted(out.parent.iterdir()) == before


def test_a_clip_that_cannot_be_signed_does_not_appear(
    inputs: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import provenance.signing
    from provenance.errors import ProvenanceError

    def refuse(*args: object, **kwargs: object) -> None:
        raise ProvenanceError("the key is gone")

    monkeypatch.setattr(provenance.signing, "sign_file", refuse)
    portrait, speech, out = inputs
    before = sorted(out.parent.iterdir())
    with pytest.raises(ForgeError, match="the key is gone"):
        animate_to_file(portrait, speech, out, declaration=NOBODY, method=QUICK, shot=Shot(256))
    assert sorted(out.parent.iterdir()) == before


def test_the_unsigned_remains_of_a_killed_run_are_swept_and_nothing_else(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    remains = [".out.0123abcd.unsigned.mp4", "..out.0123abcd.unsigned.mp4.0123456789ab.part"]
    others = [".other.0123abcd.unsigned.mp4", ".out.mine.mp4", "out.unsigned.mp4"]
    for name in (*remains, *others):
        (out.parent / name).write_bytes(b"half")
    before = {path.name for path in out.parent.iterdir()}
    with swept(out):  # another run works in the folder: what lies there may be its own
        assert not (out.parent / remains[0]).exists()
        (out.parent / remains[0]).write_bytes(b"being written")
        with swept(out):
            assert (out.parent / remains[0]).exists()
    animate_to_file(portrait, speech, out, declaration=NOBODY, method=QUICK, shot=Shot(256))
    assert {path.name for path in out.parent.iterdir()} == before - set(remains) | {"out.mp4"}


def test_a_clip_in_memory_has_as_many_frames_as_the_speech_needs(tmp_path: Path) -> None:
    portrait = load_portrait(picture(tmp_path / "p.png"), NOBODY)
    clip = animate(portrait, tone(1.0, rate=48_000, channels=2), method=QUICK, shot=Shot(256, Fraction(30)))
    assert clip.length == 30 and clip.sound is not None and clip.sound.channels == 1


def test_unknown_methods_sizes_and_rates_are_refused_by_name(inputs: tuple[Path, Path, Path]) -> None:
    portrait, speech, out = inputs
    with pytest.raises(ForgeError, match="mesh"):
        animate_to_file(portrait, speech, out, declaration=NOBODY, method="magic")
    with pytest.raises(ForgeError, match="256 or 512"):
        Shot(300)
    with pytest.raises(ForgeError, match="fps"):
        Shot(256, Fraction(1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("size", [256, 512])
def test_mesh_makes_a_real_portrait_talk(data_pack: Path, tmp_path: Path, size: int) -> None:
    out = tmp_path / "out.mp4"
    made = animate_to_file(
        data_pack / "portraits" / "people" / "p000.webp",
        data_pack / "speech" / "u002.flac",
        out,
        declaration=NOBODY,
        shot=Shot(size),
    )
    assert made.credential.standing is Standing.TRUSTED
    clip = read_clip(out)
    assert clip.height == size
    assert np.abs(np.diff(clip.frames.astype(int), axis=0)).mean() > 0.1, "nothing moves"
