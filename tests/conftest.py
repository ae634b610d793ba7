"""Shared fixtures: made data, development keys, and the optional data pack."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from media.clip import Clip, Waveform

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_pack() -> Path:
    """The development data pack beside the checkout; tests that need it skip where it is absent."""
    for folder in (REPO.parent / "shared" / "data", REPO / "shared" / "data"):
        if (folder / "clips" / "clips.csv").is_file():
            return folder
    pytest.skip("the development data pack is not beside this checkout (../shared/data)")


@pytest.fixture
def counting_clip() -> Clip:
    """Two seconds at 25 fps: the grey level tells the frame number; a tone starts at one second."""
    length, rate = 50, 16_000
    frames = np.zeros((length, 96, 128, 3), np.uint8)
    frames += (np.arange(length, dtype=np.uint8) * 4 + 20)[:, None, None, None]
    time = np.arange(2 * rate) / rate
    tone = np.where(time >= 1.0, 0.5 * np.sin(2 * np.pi * 440 * time), 0.0).astype(np.float32)
    return Clip(frames, Fraction(25), Waveform(tone[:, None], rate))


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and caches of a test never touch the home of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / ".local" / "share"))
