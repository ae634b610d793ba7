from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from quick_maker import QUICK, picture, tone, write_wav
from tiny_motion import tiny_weights

import forge.motion.sources as sources
from forge.animate import animate_to_file
from forge.methods import Shot
from forge.motion.controls import BASELINE, DEFAULT_MOTION, DIFFUSION, Controls
from forge.motion.features import POSE
from forge.motion.sources import MotionSource, parse_guidance
from forge.motion.speech import motion_from_speech
from forge.portrait import Declaration, ForgeError, sha256_of
from provenance.credential import read_credential

FPS = Fraction(25)
QUIET_GUIDANCE = {"steps": 1, "guidance": "none"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "mine.safetensors")


def test_the_default_speaks_and_the_baseline_is_the_motion_it_always_was() -> None:
    sound, controls = tone(0.6), Controls(seed=3)
    assert MotionSource().name == DEFAULT_MOTION
    ours = MotionSource(BASELINE).speak(sound, FPS, controls)
    assert np.array_equal(ours.values, motion_from_speech(sound, FPS, controls).values)


def test_a_network_speaks_for_as_long_as_the_sound_and_the_same_each_time(weights: Path) -> None:
    source = MotionSource.parse(str(weights), steps=2, guidance="audio=0.5,gaze=1")
    once, again = (source.speak(tone(0.7), Fraction(30), Controls(seed=3)) for _ in range(2))
    assert once.length == 21 and np.array_equal(once.values, again.values)
    finer = MotionSource.parse(str(weights), steps=5).speak(tone(0.7), Fraction(30), Controls(seed=3))
    assert not np.allclose(once.values, finer.values)


@pytest.mark.parametrize("name", [BASELINE, "network"])
def test_a_frozen_pose_keeps_the_head_exactly_as_in_the_picture(weights: Path, name: str) -> None:
    source = MotionSource(BASELINE) if name == BASELINE else MotionSource.parse(str(weights), **QUIET_GUIDANCE)
    motion = source.speak(tone(1.0), FPS, Controls.parse(frozen_pose=True, seed=2))
    assert np.all(motion.values[:, POSE] == 0.0)
    assert np.ptp(motion.values[:, POSE.stop :], axis=0).max() > 0, "the face lives on"


def test_a_record_says_which_network_spoke_and_not_where_it_lay(weights: Path) -> None:
    facts = MotionSource.parse(str(weights), steps=3, guidance="gaze=2").to_json()
    assert facts == {
        "motion": "mine.safetensors",
        "motion_sha256": sha256_of(weights),
        "motion_steps": 3,
        "motion_guidance": {"gaze": 2.0},
    }
    assert MotionSource(BASELINE).to_json()["motion"] == BASELINE
    assert MotionSource(BASELINE).fingerprint() == sha256_of(sources.LISTENER_WEIGHTS)


def test_the_networks_own_sampling_is_told_when_nobody_chose(weights: Path) -> None:
    from forge.motion.diffusion import DEFAULT_GUIDANCE
    from forge.motion.windows import DEFAULT_STEPS

    facts = MotionSource(str(weights)).to_json()
    assert facts["motion_steps"] == DEFAULT_STEPS and facts["motion_guidance"] == dict(DEFAULT_GUIDANCE)


def test_weights_that_are_trained_again_are_read_again(tmp_path: Path) -> None:
    path = tiny_weights(tmp_path / "w.safetensors", seed=1)
    source = MotionSource.parse(str(path), **QUIET_GUIDANCE)
    before, digest = source.speak(tone(0.4), FPS, Controls()), source.fingerprint()
    tiny_weights(path, seed=2)
    assert source.fingerprint() != digest
    assert not np.allclose(source.speak(tone(0.4), FPS, Controls()).values, before.values)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: MotionSource("magic"), "baseline, diffusion or the path of a .safetensors file, got 'magic'"),
        (lambda: MotionSource(BASELINE, steps=5), "steer a network"),
        (lambda: MotionSource.parse(BASELINE, guidance="none"), "steer a network"),
        (lambda: MotionSource(DIFFUSION, steps=0), "steps must be"),
        (lambda: MotionSource(DIFFUSION, steps=10_000), "steps must be"),
        (lambda: parse_guidance("loud"), 'such as "audio=0.5,gaze=1"'),
        (lambda: parse_guidance("audio=x"), "such as"),
        (lambda: parse_guidance("past=1"), "guidance pushes each of audio, gaze, distance, emotion at most once"),
        (lambda: parse_guidance("gaze=1,gaze=2"), "at most once"),
        (lambda: parse_guidance("gaze=-1"), "between 0 and 10"),
        (lambda: parse_guidance("gaze=nan"), "between 0 and 10"),
        (lambda: MotionSource("/no/where.safetensors").check(), "/no/where.safetensors: no such file"),
        (lambda: MotionSource(BASELINE).live(Controls()), "looks ahead and cannot speak live"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ForgeError) as refusal:
        make()
    assert reason in str(refusal.value) and "\n" not in str(refusal.value)


def test_missing_and_damaged_weights_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SHIPPED_WEIGHTS", tmp_path / "motion.safetensors")
    with pytest.raises(ForgeError, match=r"not installed.*--motion baseline") as refusal:
        MotionSource(DIFFUSION).check()
    assert "\n" not in str(refusal.value)
    (tmp_path / "motion.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ForgeError, match=r"motion\.safetensors: holds no weights") as refusal:
        MotionSource(DIFFUSION).check()
    assert "\n" not in str(refusal.value)


def test_live_talks_have_weights_of_their_own_until_somebody_asks_for_steps_or_guidance() -> None:
    assert MotionSource(DIFFUSION).live_weights == sources.LIVE_WEIGHTS != MotionSource(DIFFUSION).weights
    assert MotionSource(DIFFUSION, steps=3).live_weights == sources.TEACHER_WEIGHTS
    assert MotionSource.parse(DIFFUSION, guidance="none").live_weights == sources.TEACHER_WEIGHTS
    facts = MotionSource(DIFFUSION).live_facts()
    assert facts == {"motion_sha256": sha256_of(sources.LIVE_WEIGHTS), "motion_steps": 1, "motion_guidance": {}}


def test_own_weights_are_drawn_live_as_they_are(weights: Path) -> None:
    assert MotionSource(str(weights)).live_weights == weights
    assert MotionSource(str(weights)).live_facts()["motion_sha256"] == sha256_of(weights)


def test_weights_of_live_talks_are_refused_for_a_clip_in_one_line() -> None:
    with pytest.raises(ForgeError, match=r"cannot be spoken: these weights draw live talks.*forge live") as refusal:
        MotionSource(str(sources.LIVE_WEIGHTS)).speak(tone(0.5), FPS, Controls())
    assert "\n" not in str(refusal.value)


def test_speech_that_is_too_short_is_refused_by_both(weights: Path) -> None:
    for source in (MotionSource(BASELINE), MotionSource(str(weights))):
        with pytest.raises(ForgeError, match=r"cannot be spoken: .*0\.2 s"):
            source.speak(tone(0.1), FPS, Controls())


def test_the_credential_of_a_clip_names_the_network_that_moved_it(weights: Path, tmp_path: Path) -> None:
    portrait, speech, out = picture(tmp_path / "p.png"), write_wav(tmp_path / "s.wav", tone(0.5)), tmp_path / "out.mp4"
    shot = Shot(256, motion=MotionSource.parse(str(weights), steps=4, guidance="none"))
    made = animate_to_file(portrait, speech, out, declaration=Declaration.nonexistent(), method=QUICK, shot=shot)
    record = read_credential(out).record
    assert record is not None and made.to_json()["motion"] == "mine.safetensors"
    assert record.controls["motion"] == "mine.safetensors" and record.controls["motion_steps"] == 4
    assert record.controls["motion_sha256"] == sha256_of(weights) and record.controls["motion_guidance"] == {}
    assert str(weights.parent) not in str(record.to_json())


def test_missing_weights_leave_no_clip_behind(tmp_path: Path) -> None:
    portrait, speech = picture(tmp_path / "p.png"), write_wav(tmp_path / "s.wav", tone(0.5))
    shot = Shot(256, motion=MotionSource("gone.safetensors"))
    with pytest.raises(ForgeError, match=r"gone\.safetensors: no such file"):
        animate_to_file(
            portrait, speech, tmp_path / "o.mp4", declaration=Declaration.nonexistent(), method=QUICK, shot=shot
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.png", "s.wav"]


def test_the_baseline_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np; from fractions import Fraction; from media.clip import Waveform; "
        "from forge.motion.sources import MotionSource; from forge.motion.controls import Controls; "
        "source = MotionSource('baseline'); source.to_json(); "
        "source.speak(Waveform(np.zeros((8000, 1), np.float32), 16000), Fraction(25), Controls()); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
