"""The source of motion as a factor of a dataset, with a generator that shows what moved it in its truth."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from quick_maker import FINGERPRINT, QuickMaker, material
from tiny_motion import tiny_weights

from forge.dataset import DatasetReport, Request, make_dataset
from forge.methods import Method, Shot, Take
from forge.motion.controls import BASELINE
from forge.motion.sources import MotionSource
from forge.portrait import Declaration, ForgeError, Portrait
from forge.quality import Gate
from forge.recipes import DatasetRecipe, tiny
from media.catalog import Catalog
from media.clip import Waveform
from provenance.credential import read_credential

SHORT = replace(tiny(), seconds=(0.4, 0.5), preset="ultrafast", crf_ladder=(28,))


class MovedMaker(QuickMaker):
    """Moves as it is told, and draws as before."""

    def film(self, portrait: Portrait, speech: Waveform, shot: Shot) -> Take:
        take = super().film(portrait, speech, shot)
        return Take(shot.motion.speak(speech, shot.fps, shot.controls), take.frames, take.masks)


MOVED = Method("moved", MovedMaker, lambda: FINGERPRINT)


def made(inputs: Path, out: Path, recipe: DatasetRecipe, limit: int = 4) -> DatasetReport:
    everyone = Declaration.nonexistent()
    return make_dataset(
        Request(
            recipe,
            out,
            inputs / "portraits",
            inputs / "speech",
            everyone=everyone,
            limit=limit,
            method=MOVED,
            gate=Gate.off(),
        )
    )


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return material(tmp_path / "in", portraits=2, speech=2)


def test_catalog_record_truth_and_card_tell_what_moved_each_clip(inputs: Path, tmp_path: Path) -> None:
    weights = MotionSource.parse(str(tiny_weights(tmp_path / "net" / "w.safetensors")), steps=1, guidance="none")
    out = tmp_path / "out"
    recipe = replace(SHORT, motions=(MotionSource(BASELINE), weights), frozen_poses=(True, False))
    assert made(inputs, out, recipe).complete
    samples = list(Catalog.load(out))
    assert Counter(sample.extra["motion"] for sample in samples) == {BASELINE: 2, "w.safetensors": 2}
    for sample in samples:
        record = read_credential(out / sample.path).record
        assert record is not None and record.controls["motion"] == sample.extra["motion"]
        source = weights if sample.extra["motion"] == "w.safetensors" else MotionSource(BASELINE)
        assert record.controls["motion_sha256"] == source.fingerprint()
        truth = pq.read_table(out / str(sample.extra["truth"]))
        still = np.ptp(truth["yaw"].to_numpy()) == 0
        controls = sample.extra["controls"]
        assert isinstance(controls, dict) and still == (controls["head_motion"] == 0.0)
    assert "| motion | - | baseline 2, w.safetensors 2 |" in (out / "README.md").read_text()


def test_a_dataset_of_before_goes_on_and_one_with_other_weights_does_not(inputs: Path, tmp_path: Path) -> None:
    old, out = tmp_path / "old", tmp_path / "out"
    made(inputs, old, SHORT, limit=1)
    settings = json.loads((old / "dataset.json").read_text())
    assert "motions" not in settings and "motions" not in settings["recipe"]
    assert made(inputs, old, SHORT, limit=2).kept == 1
    path = tiny_weights(tmp_path / "w.safetensors")
    recipe = replace(SHORT, motions=(MotionSource.parse(str(path), steps=1, guidance="none"),))
    made(inputs, out, recipe, limit=1)
    tiny_weights(path, seed=9)
    with pytest.raises(ForgeError, match="begun with another motions"):
        made(inputs, out, recipe, limit=1)


def test_missing_weights_stop_the_run_before_there_is_a_folder(inputs: Path, tmp_path: Path) -> None:
    recipe = replace(SHORT, motions=(MotionSource("gone.safetensors"),))
    with pytest.raises(ForgeError, match=r"gone\.safetensors: no such file"):
        made(inputs, tmp_path / "out", recipe)
    assert not (tmp_path / "out").exists()
