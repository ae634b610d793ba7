"""A small dataset, and the home of whoever signed it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_dataset import in_home, make_dataset


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the dataset of a module is signed, and its exports."""
    folder = tmp_path_factory.mktemp("home-of-forms")
    patch = in_home(folder)
    yield folder
    patch.undo()


@pytest.fixture
def same_home(own_home: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever signed the dataset also reads it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """The dataset that a module exports."""
    return make_dataset(tmp_path_factory.mktemp("made") / "small")
