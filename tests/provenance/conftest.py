"""Files to sign, and strangers to sign them."""

from __future__ import annotations

import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from containers import remux
from PIL import Image

from media.clip import Clip, Waveform
from media.video import write_clip
from provenance.claims import Claim, SourceType
from provenance.identity import SigningIdentity, create_identity

SYNTHETIC = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)
CAPTURED = Claim(source_type=SourceType.DIGITAL_CAPTURE)


def noisy_clip(seed: int, pitch_hz: float) -> Clip:
    """One second of coarse noise with a tone."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (25, 12, 16, 3), np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
    time = np.arange(16_000) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * pitch_hz * time)).astype(np.float32)
    return Clip(frames, Fraction(25), Waveform(tone[:, None], 16_000))


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One unsigned file of every format, and of mp4 a second one, by file name ending."""
    folder = tmp_path_factory.mktemp("originals")
    write_clip(noisy_clip(1, 440), folder / "clip.mp4")
    write_clip(noisy_clip(2, 660), folder / "other.mp4")
    for name in ("clip", "other"):
        remux(folder / f"{name}.mp4", folder / f"{name}.mov")
    picture = Image.fromarray(noisy_clip(3, 440).frames[0])
    other = Image.fromarray(noisy_clip(4, 440).frames[0])
    for ending in ("png", "jpg", "webp"):
        picture.save(folder / f"clip.{ending}")
        other.save(folder / f"other.{ending}")
    for name, seed in (("clip", 5), ("other", 6)):
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
            file.writeframes(np.random.default_rng(seed).integers(-9000, 9000, 16_000, np.int16).tobytes())
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def stranger(tmp_path_factory: pytest.TempPathFactory) -> SigningIdentity:
    """Somebody with a key of their own, whom nobody here trusts."""
    return create_identity(tmp_path_factory.mktemp("stranger") / "identity")


@pytest.fixture
def signed(originals: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Signs one of the originals with the development identity of this test and gives the signed copy."""
    from provenance.signing import sign_file

    def sign(name: str) -> Path:
        destination = tmp_path / f"signed-{name}"
        sign_file(originals[name], destination, SYNTHETIC, notify=lambda line: None)
        return destination

    return sign
