"""Eight tiny signed clips in our own layout: real ones, whole and partial forgeries, truth, masks, card, statement."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from forge.truth import write_masks, write_truth
from media.catalog import Catalog, Label, Sample
from media.clip import Clip, Waveform
from media.video import write_clip
from provenance.claims import Claim, SourceType
from provenance.record import Record
from provenance.signing import sign_catalog, sign_file

FRAMES, SIDE, SECONDS = 10, 64, 0.4
PARTS: dict[str, list[dict[str, Any]]] = {
    "c2": [{"start_seconds": 0.1, "end_seconds": 0.2, "what": "picture"}],
    "c5": [
        {"start_seconds": 0.0, "end_seconds": 0.1, "what": "both"},
        {"start_seconds": 0.1, "end_seconds": 0.3, "what": "picture"},
    ],
    "c7": [{"start_seconds": 0.2, "end_seconds": 0.4, "what": "sound"}],
}
# id, label, person, split, maker
CLIPS = (
    ("c0", "real", "ada", "train", "studio"),
    ("c1", "synthetic", "bo", "train", "mesh"),
    ("c2", "synthetic", "ada", "train", "face_swap"),
    ("c3", "real", "bo", "train", "studio"),
    ("c4", "real", "cy", "val", "studio"),
    ("c5", "synthetic", "cy", "val", "lip_splice"),
    ("c6", "real", "dora", "test", "studio"),
    ("c7", "synthetic", "dora", "test", "sound_swap"),
)


def make_dataset(folder: Path) -> Path:
    """The folder, signed by whoever's home this is."""
    for name in ("clips", "truth", "masks", "raw"):
        (folder / name).mkdir(parents=True)
    samples = [_make_clip(folder, number, *facts) for number, facts in enumerate(CLIPS)]
    (folder / "raw").rmdir()
    Catalog(samples).save(folder)
    (folder / "README.md").write_text("# the card of the dataset\n")
    Image.new("RGB", (8, 8)).save(folder / "contact_sheet.png")
    sign_catalog(folder, record=Record(tool="test"))
    return folder


def _make_clip(folder: Path, number: int, name: str, label: str, person: str, split: str, maker: str) -> Sample:
    synthetic = label == "synthetic"
    frames = np.full((FRAMES, SIDE, SIDE, 3), 30 + 20 * number, np.uint8)
    frames[:, 20:40, 20:40, 0] = 12 * np.arange(FRAMES, dtype=np.uint8)[:, None, None]
    sound = Waveform(np.zeros((round(SECONDS * 16_000), 1), np.float32), 16_000)
    raw = folder / "raw" / f"{name}.mp4"
    write_clip(Clip(frames, Fraction(25), sound), raw)
    path = folder / "clips" / f"{name}.mp4"
    kind = SourceType.TRAINED_ALGORITHMIC_MEDIA if synthetic else SourceType.DIGITAL_CAPTURE
    sign_file(raw, path, Claim(source_type=kind, title=path.name, record=Record(tool="test", label=label)))
    raw.unlink()
    masks = f"masks/{name}.npz" if synthetic else None
    if masks:
        write_masks(folder / masks, (np.ones((SIDE, SIDE), bool) for _ in range(FRAMES)))
    write_truth(folder / "truth" / f"{name}.parquet", FRAMES, Fraction(25), None, masks)
    extra: dict[str, Any] = {"frames": FRAMES, "truth": f"truth/{name}.parquet", "masks": masks, "language": "en"}
    extra |= {"controls": {"emotion": "happy"}} if maker == "mesh" else {"controls": None}
    # two ways to tell what a forgery was made from: as the factory does, and as readers of other datasets do
    extra |= {"pair": 2} if name in ("c4", "c5") else {}
    extra |= {"segments": PARTS[name]} if name in PARTS else {}
    extra |= {"original": {"c2": "c0", "c7": "c6"}[name]} if name in ("c2", "c7") else {}
    return Sample(
        id=name,
        path=f"clips/{name}.mp4",
        label=Label(label),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        person=person,
        source="portrait-1" if maker == "mesh" else f"film-{person}",
        maker=maker,
        split=split,
        codec="h264-crf23",
        seed=7,
        seconds=SECONDS,
        fps="25/1",
        width=SIDE,
        height=SIDE,
        has_sound=True,
        license="CC0-1.0",
        consent=None if synthetic else "consent: agreed to this use",
        extra=extra,
    )


def many_samples(folder: Path, count: int) -> Path:
    """A catalog of `count` "clips" of a few bytes: to see what memory does."""
    (folder / "clips").mkdir(parents=True)
    with (folder / "catalog.jsonl").open("w") as catalog:
        for n in range(count):
            content = b"clip %d" % n
            (folder / "clips" / f"{n}.mp4").write_bytes(content)
            label = Label.REAL if n % 2 else Label.SYNTHETIC
            split = ("train", "train", "val", "test")[n // 2 % 4]
            facts: dict[str, Any] = {"frames": 3, "note": "x" * 200}
            sample = Sample(
                f"n{n}", f"clips/{n}.mp4", label, hashlib.sha256(content).hexdigest(), person=f"{split}-{n % 50}",
                maker="m", split=split, extra=facts,
            )  # fmt: skip
            catalog.write(json.dumps(sample.to_json()) + "\n")
    return folder


def in_home(home: Path) -> pytest.MonkeyPatch:
    """Sign as whoever lives there, until `undo`."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CONFIG_HOME", str(home))
    return patch
