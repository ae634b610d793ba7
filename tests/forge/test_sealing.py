from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from forge.methods import Shot
from forge.sealing import Sealed, film_and_sign
from media.clip import UInt8Array, Waveform
from media.video import read_clip, write_clip
from provenance.claims import Claim, SourceType
from provenance.find import find_credential
from provenance.store import CredentialStore, store_folder

CLAIM = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)
SHOT = Shot(size=256, fps=Fraction(25))


def frames(count: int = 20) -> list[UInt8Array]:
    random = np.random.default_rng(5)
    coarse = random.uniform(30, 220, (9, 9, 3)).astype(np.float32)
    still = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)
    still += cv2.GaussianBlur(random.normal(0, 30, (256, 256, 3)).astype(np.float32), (0, 0), 1.5)
    pictures = [np.roll(still, n // 4, axis=1) for n in range(count)]
    return [np.clip(one, 0, 255).astype(np.uint8) for one in pictures]


def sound() -> Waveform:
    return Waveform(np.random.default_rng(6).normal(0, 0.05, (12_800, 1)).astype(np.float32), 16_000)


def seal(out: Path, **more: object) -> Sealed:
    quiet = {"notify": lambda line: None, "preset": "veryfast", **more}
    return film_and_sign(iter(frames()), sound(), out, CLAIM, shot=SHOT, crf=18, **quiet)  # type: ignore[arg-type]


def test_a_sealed_clip_is_found_again_when_its_credential_is_stripped(tmp_path: Path) -> None:
    sealed = seal(tmp_path / "clip.mp4")
    assert sealed.frames == 20
    copy = tmp_path / "copy.mp4"
    write_clip(read_clip(tmp_path / "clip.mp4"), copy, crf=26, preset="veryfast")
    found = find_credential(copy, CredentialStore.of_this_user())
    assert found.how == "watermark"
    assert found.credential is not None
    assert found.credential.sha256 == sealed.credential.sha256


def test_the_same_frames_give_the_same_bytes_with_their_mark(tmp_path: Path) -> None:
    first, second = seal(tmp_path / "a.mp4"), seal(tmp_path / "b.mp4")
    assert first.unsigned_sha256 == second.unsigned_sha256
    assert first.unsigned_sha256 != seal(tmp_path / "c.mp4", durable=False).unsigned_sha256


def test_another_store_and_none_at_all(tmp_path: Path) -> None:
    seal(tmp_path / "a.mp4", store=CredentialStore(tmp_path / "store"))
    assert len(list(CredentialStore(tmp_path / "store").entries())) == 1
    sealed = seal(tmp_path / "b.mp4", durable=False)
    assert sealed.credential.soft_bindings == ()
    assert not store_folder().exists()


def test_a_store_that_cannot_be_written_does_not_cost_the_clip(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    said: list[str] = []
    seal(tmp_path / "a.mp4", store=CredentialStore(tmp_path / "store"), notify=said.append)
    assert (tmp_path / "a.mp4").is_file()
    assert any("was not kept" in line for line in said)


@pytest.mark.parametrize("count", [1, 3])
def test_clips_shorter_than_a_second_are_marked_too(tmp_path: Path, count: int) -> None:
    quiet = {"notify": lambda line: None, "preset": "veryfast"}
    sealed = film_and_sign(frames(count), None, tmp_path / "a.mp4", CLAIM, shot=SHOT, crf=18, **quiet)  # type: ignore[arg-type]
    assert sealed.frames == count
    names = [one.algorithm for one in sealed.credential.soft_bindings]
    assert names == ["org.countermark.watermark.1", "org.countermark.picture.2"]
