"""What attackers do to a signed file, sent to the page over HTTP: the finding is that of `detect check --json`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

import web_stand_ins
from fastapi.testclient import TestClient

from countermark.attacks import flip_one_bit, reencode, sign_as_a_stranger
from countermark.web.server import create_app
from countermark.web.settings import ServeSettings
from detect import cli as detect_cli
from media.clip import Clip, Waveform
from media.video import write_clip
from provenance.claims import Claim, Ingredient, SourceType
from provenance.signing import sign_file

SYNTHETIC = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)


def surgery() -> ModuleType:
    """The attackers' tools, which lie beside the tests of provenance."""
    spec = spec_from_file_location("containers", Path(__file__).parents[1] / "provenance" / "containers.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules.setdefault("containers", module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


def short_clip(seed: int) -> Clip:
    """Half a second of coarse noise with a tone."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (12, 12, 16, 3), np.uint8)
    tone = (0.5 * np.sin(2 * np.pi * (300 + 100 * seed) * np.arange(8000) / 16_000)).astype(np.float32)
    return Clip(coarse.repeat(8, axis=1).repeat(8, axis=2), Fraction(24), Waveform(tone[:, None], 16_000))


class Files:
    """Signed files of one machine, and others; each attack makes one of them into a file to be uploaded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tools = folder, surgery()
        for name, seed in (("clip", 1), ("other", 2)):
            clip = short_clip(seed)
            write_clip(clip, self.original(name, "mp4"))
            Image.fromarray(clip.frames[0]).save(self.original(name, "png"))

    def original(self, name: str, ending: str) -> Path:
        return self.folder / f"{name}.{ending}"

    def signed(self, ending: str, claim: Claim = SYNTHETIC, name: str = "clip") -> Path:
        place = self.folder / f"signed.{ending}"
        sign_file(self.original(name, ending), place, claim, notify=lambda line: None)
        return place

    def made_from_a_tampered_picture(self, target: Path) -> None:
        part = self.folder / "part.png"
        part.write_bytes(self.tools.flip_content(self.signed("png").read_bytes(), "png"))
        kind = SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
        target.write_bytes(
            self.signed("mp4", Claim(source_type=kind, ingredients=(Ingredient(part, "x"),))).read_bytes()
        )

    def with_other_sound(self, target: Path) -> None:
        self.tools.remux(self.signed("mp4"), target, sound_of=self.original("other", "mp4"))

    def bytes_of(self, change: Callable[[bytes], bytes], ending: str, target: Path) -> None:
        target.write_bytes(change(self.signed(ending).read_bytes()))

    def grafted(self, ending: str, content: bytes) -> bytes:
        return bytes(self.tools.GRAFTS[ending](content, self.original("other", ending).read_bytes()))


Attack = Callable[[Files, Path], None]


def by_bytes(change: Callable[[Files, bytes], bytes], ending: str = "mp4") -> Attack:
    return lambda files, target: files.bytes_of(partial(change, files), ending, target)


ATTACKS: dict[str, tuple[str, Attack, str]] = {
    "nothing": ("mp4", by_bytes(lambda files, content: content), "trusted"),
    "one bit flipped": ("mp4", lambda files, target: flip_one_bit(files.signed("mp4"), target), "broken"),
    "picture brightened": ("png", by_bytes(lambda files, c: files.tools.flip_content(c, "png"), "png"), "broken"),
    "index changed": ("mp4", by_bytes(lambda files, c: files.tools.flip_in_box(c, b"moov")), "broken"),
    "encoded again": ("mp4", lambda files, target: reencode(files.signed("mp4"), target), "absent"),
    "stripped": ("mp4", lambda files, target: files.tools.remux(files.signed("mp4"), target), "absent"),
    "saved again": ("png", lambda files, target: Image.open(files.signed("png")).save(target), "absent"),
    "sound overwritten": ("mp4", by_bytes(lambda files, c: files.tools.swap_sound_samples(c)), "broken"),
    "sound exchanged": ("mp4", Files.with_other_sound, "absent"),
    "credential of another file": ("mp4", by_bytes(lambda files, c: files.grafted("mp4", c)), "broken"),
    "credential of another picture": ("png", by_bytes(lambda files, c: files.grafted("png", c), "png"), "broken"),
    "cut": ("mp4", by_bytes(lambda files, c: c[: len(c) * 9 // 10]), "broken"),
    "lengthened": ("mp4", by_bytes(lambda files, c: c + b"\x00\x00\x00\x10uuidstranger"), "broken"),
    "statement edited": (
        "mp4",
        by_bytes(lambda files, c: c.replace(b"trainedAlgorithmicMedia", b"digitalCapture/////////")),
        "broken",
    ),
    "signed again by a stranger": (
        "mp4",
        lambda files, target: sign_as_a_stranger(files.signed("mp4"), target),
        "unknown_signer",
    ),
    "made from a tampered picture": ("mp4", Files.made_from_a_tampered_picture, "trusted"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The surroundings of a person whose keys sign in all of these tests."""
    place = tmp_path_factory.mktemp("signer")
    below = {"XDG_CONFIG_HOME": ".config", "XDG_CACHE_HOME": ".cache", "XDG_DATA_HOME": ".local/share"}
    return {"HOME": str(place), **{name: str(place / one) for name, one in below.items()}}


@pytest.fixture(scope="module")
def client(home: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = create_app(
        ServeSettings(),
        prepare=partial(web_stand_ins.prepare_blind, home),
        preload=("detect.check", "provenance.credential"),
        spool_base=tmp_path_factory.mktemp("attacks") / "spool",
    )
    with TestClient(app, base_url="http://127.0.0.1:8000") as one:
        yield one


def printed(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(detect_cli, "_detector", lambda weights: web_stand_ins.BlindDetector())
    done = CliRunner().invoke(detect_cli.app, ["check", str(path), "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_page_finds_of_an_attacked_file_what_the_command_finds(
    attack: str, client: TestClient, home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, place in home.items():
        monkeypatch.setenv(name, place)
    ending, make, standing = ATTACKS[attack]
    suspect = tmp_path / f"suspect.{ending}"
    make(Files(tmp_path), suspect)
    answer = client.post("/api/check", files={"file": (suspect.name, suspect.read_bytes())})
    assert answer.status_code == 200, answer.text
    answered, told = answer.json(), printed(suspect, monkeypatch)
    assert answered["credential"]["standing"] == standing
    for report in (answered, told):
        for changing in ("file", "core_seconds"):
            report.pop(changing, None)
        report["credential"].pop("file", None)
    shown = json.dumps(answered).replace(suspect.name, str(suspect))
    assert json.loads(shown) == told or answered == told
    assert os.environ["HOME"] == home["HOME"]
