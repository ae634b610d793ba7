"""The rig and the landmarker: curves that can be undone, a fit that finds a known reader, real readings in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forge.motion.features import BLENDSHAPE_NAMES, INDEX, Z_DYN
from forge.portrait import ForgeError
from forge.studio.calibrate import (
    STRENGTHS,
    Calibration,
    clay_draw,
    drives,
    fit,
    from_landmarker,
    load_calibration,
    measure,
    to_landmarker,
)
from forge.studio.head import DYNAMICS, load_head
from media.faces import FaceFinder

CERTAIN = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight", "mouthPucker")


def column(name: str) -> int:
    return INDEX[name] - Z_DYN.start


@pytest.mark.parametrize("name", CERTAIN)
def test_what_the_landmarker_surely_reads_comes_back(name: str) -> None:
    truth = torch.zeros(4, DYNAMICS)
    truth[:, column(name)] = torch.tensor([0.3, 0.45, 0.6, 0.75])
    read = to_landmarker(truth)
    assert (read[:, column(name)].diff() > 0).all()
    back = from_landmarker(read)
    torch.testing.assert_close(back[:, column(name)], truth[:, column(name)], rtol=0, atol=0.02)


def test_gaze_free_dimensions_and_what_is_not_read_keep_their_value() -> None:
    known = load_calibration()
    values = torch.rand(3, DYNAMICS, generator=torch.Generator().manual_seed(0))
    for mapped in (to_landmarker(values), from_landmarker(values)):
        assert torch.equal(mapped[:, 52:], values[:, 52:])
        for name in known.unread:
            if not name.startswith("eyeLook"):
                torch.testing.assert_close(mapped[:, column(name)], values[:, column(name)])
    assert "tongueOut" in known.unread


def test_eye_look_is_read_from_the_gaze() -> None:
    looking = torch.zeros(1, DYNAMICS)
    looking[0, 52] = 0.8
    read = to_landmarker(looking)[0]
    assert read[column("eyeLookOutLeft")] > read[column("eyeLookInLeft")] + 0.2


def test_a_relaxed_reading_is_a_relaxed_rig() -> None:
    relaxed = to_landmarker(torch.zeros(1, DYNAMICS))
    assert (relaxed[:, :52] > 0.05).any()  # the landmarker never reads zeros everywhere
    assert from_landmarker(relaxed)[:, :52].abs().max() < 0.03


def test_a_known_reader_is_found_again() -> None:
    names = list(drives())
    level = np.array(STRENGTHS)
    truth = np.zeros((len(names), len(level), 52))
    for d, values in enumerate(drives().values()):
        for name, value in values.items():
            if name in BLENDSHAPE_NAMES:
                truth[d, :, BLENDSHAPE_NAMES.index(name)] = value * level
    reading = np.repeat((0.1 + 0.5 * truth)[:, :, None], 3, axis=2)
    reading[..., BLENDSHAPE_NAMES.index("cheekPuff")] = 0.0
    reading[..., BLENDSHAPE_NAMES.index("noseSneerLeft")] = np.nan
    rows = fit(names, truth, reading)
    assert rows["jawOpen"]["slope"] == pytest.approx(0.5)
    assert rows["jawOpen"]["r"] == pytest.approx(1.0)
    assert rows["jawOpen"]["base"] == pytest.approx(0.1)
    assert rows["mouthSmileLeft"]["read"]
    assert not rows["cheekPuff"]["read"]
    assert not rows["noseSneerLeft"]["read"]


def test_real_readings_follow_jaw_smile_and_blink() -> None:
    draw = clay_draw(load_head(), size=224)
    wanted = ("jawOpen", "mouthSmile", "eyeBlink")

    def some(person: int, dyn: torch.Tensor) -> NDArray[np.uint8]:
        return draw(person, dyn)

    dyn = torch.zeros(4, DYNAMICS)
    for row, name in enumerate(wanted, start=1):
        for feature in drives()[name]:
            dyn[row, column(feature)] = 0.9
    with FaceFinder(max_faces=1) as finder:
        faces = [finder.find(picture)[0] for picture in some(0, dyn)]
    shapes = [dict(zip(BLENDSHAPE_NAMES, face.blendshapes, strict=False)) for face in faces]
    for row, name in enumerate(("jawOpen", "mouthSmileLeft", "eyeBlinkLeft"), start=1):
        assert shapes[row][name] > shapes[0][name] + 0.3


def test_the_landmarker_tells_left_from_right_as_the_rig_does() -> None:
    draw = clay_draw(load_head(), size=224)
    dyn = torch.zeros(2, DYNAMICS)
    dyn[0, column("eyeBlinkLeft")], dyn[1, column("mouthLeft")] = 1.0, 1.0
    with FaceFinder(max_faces=1) as finder:
        wink, aside = (
            dict(zip(BLENDSHAPE_NAMES, finder.find(picture)[0].blendshapes, strict=False)) for picture in draw(0, dyn)
        )
    assert wink["eyeBlinkLeft"] > wink["eyeBlinkRight"] + 0.1
    assert aside["mouthLeft"] > aside["mouthRight"] + 0.3


def test_measuring_marks_people_without_a_face() -> None:
    class Blind:
        def find(self, _: NDArray[np.uint8]) -> list[object]:
            return []

    names, truth, reading = measure(
        lambda _, dyn: np.zeros((len(dyn), 32, 32, 3), np.uint8),
        1,
        Blind(),  # type: ignore[arg-type]
    )
    assert len(names) == len(truth) == len(reading)
    assert np.isnan(reading).all()


def test_nonsense_is_refused(tmp_path: Path) -> None:
    flat = torch.zeros(52, len(STRENGTHS))
    with pytest.raises(ValueError, match="must not fall"):
        Calibration(torch.zeros(52), flat - torch.arange(5.0), torch.ones(52, dtype=torch.bool))
    with pytest.raises(ForgeError, match=r"none\.json"):
        load_calibration(tmp_path / "none.json")
