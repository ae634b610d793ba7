from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from quick_maker import QUICK, material

from forge.dataset import DatasetReport, Request, make_dataset
from forge.foreign import Foreign
from forge.manipulations.scene import Cast, Forgery, Manipulation, ManipulationKind, Scene
from forge.portrait import Declaration, ForgeError
from forge.quality import Gate
from forge.recipes import DatasetRecipe, tiny
from forge.truth import read_masks
from media.catalog import Catalog, Label, Sample
from media.places import Here
from media.video import read_clip
from provenance.credential import read_credential

SHORT = replace(
    tiny(), name="staged", seconds=(0.4, 0.4), preset="ultrafast", crf_ladder=(12,), split_shares=(("train", 1.0),)
)


class Inverting:
    """Forges the upper half of the picture, and the sound where there is other speech."""

    def forge(self, scene: Scene, cast: Cast, rng: np.random.Generator) -> Forgery:
        half = scene.size // 2

        def frames() -> Iterator[np.ndarray]:
            for index in range(scene.length):
                picture = scene.frame(index)
                picture[:half] = 255 - picture[:half]
                yield picture

        def masks() -> Iterator[np.ndarray]:
            for _ in range(scene.length):
                mask = np.zeros((scene.size, scene.size), bool)
                mask[:half] = True
                yield mask

        segments = (scene.segment(0, scene.length, "both" if cast.speech else "picture"),)
        lot = {"drawn": int(rng.integers(1 << 30)), "donor frames": cast.donor.length if cast.donor else None}
        return Forgery(frames(), cast.speech or scene.sound, masks, segments, facts=lot)

    def close(self) -> None:
        pass


def open_inverting() -> Manipulation:
    return Inverting()


def fingerprint() -> str:
    return "cd" * 32


INVERT = ManipulationKind("foreign:invert", True, True, open_inverting, fingerprint, forges_sound=True)
NOTHING = ManipulationKind(
    "foreign:nothing", False, False, open_inverting, fingerprint, forges_picture=False, label=Label.REAL
)
DESIGN = replace(SHORT, makers=("quick", "foreign:invert"), paired=True)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = material(tmp_path_factory.mktemp("staging") / "in", portraits=4, speech=4, real=4)
    rows = [
        f"{path.name},person {path.stem},anna agreed in May to this test" for path in (folder / "real").glob("*.mp4")
    ]
    (folder / "real" / "real.csv").write_text("\n".join(["file,person,consent", *rows]))
    return folder


def made(inputs: Path, out: Path, recipe: DatasetRecipe = DESIGN, limit: int = 6, **more: object) -> DatasetReport:
    request = Request(
        recipe,
        out,
        inputs / "portraits",
        inputs / "speech",
        inputs / "real",
        Declaration.nonexistent(),
        limit=limit,
        method=QUICK,
        others=(INVERT, NOTHING),
        gate=Gate.off(),
    )
    return make_dataset(replace(request, **more))  # type: ignore[arg-type]


def pairs_of(folder: Path) -> dict[int, dict[str, Sample]]:
    found: dict[int, dict[str, Sample]] = {}
    for sample in Catalog.load(folder):
        found.setdefault(int(str(sample.extra["pair"])), {})[sample.maker or ""] = sample
    return found


def test_a_real_clip_and_its_forgery_are_twins_and_the_truth_says_what_differs(
    inputs: Path, tmp_path: Path, own_home: None
) -> None:
    report = made(inputs, tmp_path / "out")
    assert report.complete and report.clips == 6
    for twins in pairs_of(tmp_path / "out").values():
        real, forged, animated = twins["real"], twins["foreign:invert"], twins["quick"]
        assert (real.label, forged.label, animated.label) == (Label.REAL, Label.SYNTHETIC, Label.SYNTHETIC)
        alike = ("person", "source", "split", "codec", "seconds", "license", "consent")
        assert [getattr(real, name) for name in alike] == [getattr(forged, name) for name in alike]
        own, other = (read_clip(tmp_path / "out" / sample.path) for sample in (real, forged))
        mask = read_masks(tmp_path / "out" / str(forged.extra["masks"]))
        assert mask.shape == own.frames.shape[:3]
        changed = np.abs(own.frames.astype(int) - other.frames).mean(axis=3)
        assert changed[~mask].mean() < 6 and changed[mask].mean() > 30
        segments = forged.extra["segments"]
        assert segments == [{"start_seconds": 0.0, "end_seconds": real.seconds, "what": "both"}]
        assert (forged.extra["forged"], animated.extra["forged"], real.extra["forged"]) == ("both", "both", None)
        assert forged.extra["donor"] not in (None, forged.person)
        lot = forged.extra["lot"]
        assert isinstance(lot, dict) and lot["donor frames"] == real.extra["frames"]
        credential = read_credential(tmp_path / "out" / forged.path)
        assert credential.declares_synthetic is True and credential.record is not None
        assert {"video", "donor", "speech"} == set(credential.record.inputs)
        assert credential.record.consent == "anna agreed in May to this test"


def test_a_partial_forgery_is_the_recording_outside_of_its_segments(
    inputs: Path, tmp_path: Path, own_home: None
) -> None:
    made(inputs, tmp_path / "out", replace(DESIGN, partial=1.0, seconds=(0.8, 0.8)))
    for twins in pairs_of(tmp_path / "out").values():
        real, forged = twins["real"], twins["foreign:invert"]
        segments = forged.extra["segments"]
        assert forged.extra["partial"] is True and isinstance(segments, list) and segments
        own, other = (read_clip(tmp_path / "out" / sample.path) for sample in (real, forged))
        inside = np.zeros(own.length, bool)
        for segment in segments:
            assert isinstance(segment, dict)
            inside[
                round(float(str(segment["start_seconds"])) * 25) : round(float(str(segment["end_seconds"])) * 25)
            ] = True
        assert 0 < inside.sum() < own.length
        masks = read_masks(tmp_path / "out" / str(forged.extra["masks"]))
        assert [bool(mask.any()) for mask in masks] == inside.tolist()
        assert np.abs(own.frames[~inside].astype(int) - other.frames[~inside]).mean() < 8


def test_a_null_fake_is_labelled_real_and_says_so(inputs: Path, tmp_path: Path, own_home: None) -> None:
    made(inputs, tmp_path / "out", replace(SHORT, makers=("quick", "foreign:nothing"), paired=True))
    for twins in pairs_of(tmp_path / "out").values():
        null = twins["foreign:nothing"]
        assert null.label is Label.REAL and null.extra["segments"] is None
        credential = read_credential(tmp_path / "out" / null.path)
        assert credential.declares_synthetic is False


def test_recordings_are_forged_with_consent_only(inputs: Path, tmp_path: Path, own_home: None) -> None:
    silent = material(tmp_path / "silent", portraits=2, speech=2, real=2)
    with pytest.raises(ForgeError, match=r"would be forged; say in the column `consent`"):
        made(silent, tmp_path / "out", everyone=None, real=silent / "real")
    with pytest.raises(ForgeError, match=r"would be forged; say in the column `consent`"):
        made(silent, tmp_path / "out", real=silent / "real")  # that portraits show nobody says nothing of recordings
    name = min(path.name for path in (silent / "real").glob("*.mp4"))
    (silent / "real" / "real.csv").write_text(f"file,consent\n{name},no\n")
    with pytest.raises(ForgeError, match=f"{name}: consent must say who agreed"):
        made(silent, tmp_path / "out", real=silent / "real")
    (silent / "real" / "real.csv").unlink()
    assert not (tmp_path / "out").exists()
    with pytest.raises(ForgeError, match="give a folder of them with --real"):
        made(inputs, tmp_path / "out", real=None)
    agreed = Declaration.consent("anna and bert agreed in May 2026 to this test")
    report = made(silent, tmp_path / "out", everyone=agreed, real=silent / "real", limit=3)
    assert report.clips == 3
    consents = {str(sample.consent) for sample in Catalog.load(tmp_path / "out")}
    assert consents == {"consent: anna and bert agreed in May 2026 to this test"}


def test_a_name_that_nobody_has_is_refused_before_anything_is_made(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match=r"maker must be one of .*got 'foreign:gone'"):
        made(inputs, tmp_path / "out", replace(SHORT, makers=("quick", "foreign:gone")))
    assert not (tmp_path / "out").exists()


def test_a_foreign_generator_of_portraits_makes_clips_without_motion_or_masks(
    inputs: Path, tmp_path: Path, own_home: None
) -> None:
    toy = Foreign.parse("toy=planned_toy:still")
    recipe = replace(SHORT, makers=("foreign:toy",))
    with as_file(files("countermark") / "demo_assets") as assets:
        options = {"portraits": assets, "speech": assets, "real": None, "method": "mesh", "others": (toy.method(),)}
        report = made(inputs, tmp_path / "out", recipe, limit=1, **options)
    assert report.complete
    (clip,) = Catalog.load(tmp_path / "out")
    assert (clip.maker, clip.label, clip.extra["masks"]) == ("foreign:toy", Label.SYNTHETIC, None)
    assert pq.read_table(tmp_path / "out" / str(clip.extra["truth"]))["jawOpen"].null_count == clip.extra["frames"]
    assert read_credential(tmp_path / "out" / clip.path).declares_synthetic is True


def test_two_processes_make_the_same_forgeries(inputs: Path, tmp_path: Path, own_home: None) -> None:
    made(inputs, tmp_path / "one")
    made(inputs, tmp_path / "two", place=Here(2))
    one, two = (
        [(s.id, s.extra["unsigned_sha256"], s.extra["lot"]) for s in Catalog.load(tmp_path / name)]
        for name in ("one", "two")
    )
    assert one == two
