from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from quick_maker import BREAKING, QUICK, SLOW, material, picture, video, write_wav

from forge.dataset import DatasetReport, Progress, Request, make_dataset
from forge.framing import square_around
from forge.methods import Method
from forge.portrait import Declaration, ForgeError
from forge.quality import Gate
from forge.recipes import DatasetRecipe, tiny
from forge.truth import read_masks
from media.catalog import Catalog, Label, Sample
from media.clip import Waveform
from media.places import Here
from media.video import probe, read_clip
from provenance.credential import Standing, read_credential
from provenance.signing import verify_catalog

SHORT = replace(tiny(), seconds=(0.4, 0.6), clips=4, preset="ultrafast", crf_ladder=(20, 28))


def made(
    inputs: Path,
    out: Path,
    *,
    limit: int = 4,
    workers: int = 1,
    seed: int = 0,
    real: bool = False,
    recipe: DatasetRecipe = SHORT,
    method: Method = QUICK,
    everyone: Declaration | None = Declaration.nonexistent(),  # noqa: B008 -- a frozen value
) -> DatasetReport:
    return make_dataset(
        Request(
            recipe=recipe,
            folder=out,
            portraits=inputs / "portraits",
            speech=inputs / "speech",
            real=inputs / "real" if real else None,
            everyone=everyone,
            limit=limit,
            place=Here(workers),
            gate=Gate.off(),
            seed=seed,
            method=method,
        )
    )


def labels_and_streams(out: Path) -> list[dict[str, object]]:
    """The lines of a catalog without the digest of the signed file, and the digests of truth and masks."""
    lines: list[dict[str, object]] = []
    for sample in Catalog.load(out):
        facts: dict[str, object] = dict(sample.to_json())
        facts.pop("sha256")
        for name in ("truth", "masks"):
            if facts.get(name):
                facts[name] = hashlib.sha256((out / str(facts[name])).read_bytes()).hexdigest()
        lines.append(facts)
    return lines


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, DatasetReport]:
    """Inputs, a dataset of four synthetic and four real clips, and its report; signed in a home of its own."""
    home = tmp_path_factory.mktemp("home-of-mixed")
    folder = tmp_path_factory.mktemp("mixed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(home))
        inputs = material(folder / "in", portraits=4, speech=4, real=4)
        return inputs, folder / "out", made(inputs, folder / "out", limit=8, real=True)


@pytest.fixture
def dataset(mixed: tuple[Path, Path, DatasetReport], monkeypatch: pytest.MonkeyPatch, own_home: None) -> Path:
    """The folder of `mixed`, read in the home that signed it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(mixed[1].parent.parent / "home-of-mixed0"))
    return mixed[1]


def test_every_clip_has_a_line_a_digest_a_credential_and_truth(dataset: Path) -> None:
    catalog = Catalog.load(dataset)
    assert len(catalog) == 8
    assert catalog.counts("label") == {(Label.REAL,): 4, (Label.SYNTHETIC,): 4}
    for sample in catalog:
        path = dataset / sample.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sample.sha256
        credential = read_credential(path)
        assert credential.standing is Standing.TRUSTED
        assert credential.record is not None and credential.record.label == sample.label.value
        assert credential.declares_synthetic is (sample.label is Label.SYNTHETIC)
        assert pq.read_table(dataset / str(sample.extra["truth"])).num_rows == sample.extra["frames"]


def test_the_whole_folder_is_signed_and_has_a_card_with_a_picture(
    dataset: Path, mixed: tuple[Path, Path, DatasetReport]
) -> None:
    report = verify_catalog(dataset)
    assert report.standing is Standing.TRUSTED and report.difference_count == 0
    assert mixed[2].standing == "trusted" and mixed[2].complete and mixed[2].made == 8
    card = (dataset / "README.md").read_text()
    assert "contact_sheet.png" in card and "| seconds |" in card and "declared to show no existing person" in card
    assert read_credential(dataset / "contact_sheet.png").declares_synthetic is True
    everything = "".join(p.read_text() for p in dataset.rglob("*") if p.suffix in (".json", ".jsonl", ".md"))
    assert str(dataset.parent) not in everything, "where the maker's files lay is nobody's business"


def test_nothing_about_the_encoding_tells_the_label(dataset: Path) -> None:
    facts: dict[Label, list[tuple[object, ...]]] = {Label.REAL: [], Label.SYNTHETIC: []}
    for sample in Catalog.load(dataset):
        f = probe(dataset / sample.path)
        facts[sample.label].append(
            (f.width, f.height, f.fps, f.length, f.codec, f.pixel_format, f.sample_rate_hz, f.channels, f.sound_codec,
             sample.codec, sample.extra["crop_factor"])
        )  # fmt: skip
    assert Counter(facts[Label.REAL]) == Counter(facts[Label.SYNTHETIC])


def test_synthetic_and_real_lines_have_the_same_keys_of_format(dataset: Path) -> None:
    keys = {sample.label: set(sample.to_json()) for sample in Catalog.load(dataset)}
    assert keys[Label.REAL] | {"consent"} == keys[Label.SYNTHETIC], "only a declaration may be unknown"


def test_truth_says_what_the_face_was_told_and_nothing_about_real_clips(dataset: Path) -> None:
    for sample in Catalog.load(dataset):
        table = pq.read_table(dataset / str(sample.extra["truth"])).to_pandas()
        assert np.allclose(table["pts_seconds"], np.arange(len(table)) / 25)
        if sample.label is Label.REAL:
            assert table["yaw"].isna().all() and table["jawOpen"].isna().all() and table["mask_file"].isna().all()
            continue
        assert np.allclose(table["jawOpen"], np.linspace(0, 1, len(table)))
        controls = sample.extra["controls"]
        assert isinstance(controls, dict)
        assert np.allclose(table["gaze_yaw_degrees"], float(str(controls["gaze_yaw_degrees"])), atol=1e-4)
        masks = read_masks(dataset / table["mask_file"][0])
        assert masks.shape == (len(table), 256, 256)
        assert [int(mask[:, 0].sum()) for mask in masks] == list(range(1, len(table) + 1))


def test_real_clips_are_cropped_around_the_face_and_keep_their_motion(dataset: Path) -> None:
    sample = next(s for s in Catalog.load(dataset) if s.label is Label.REAL)
    clip = read_clip(dataset / sample.path)
    red = (clip.frames[0, ..., 0] > 170) & (clip.frames[0, ..., 1] < 80)
    ys, xs = np.nonzero(red)
    middle = (float(xs.mean()) / 255, float(ys.mean()) / 255)
    square = square_around((110, 80, 210, 180), width=320, height=240, factor=float(str(sample.extra["crop_factor"])))
    expected = ((160 - square.left) / square.side, (130 - square.top) / square.side)
    assert np.allclose(middle, expected, atol=0.02)
    assert sample.extra["crop_px"] == square.side
    blue = clip.frames[:, -20:, -20:, 2].mean(axis=(1, 2))
    assert blue[5] > blue[0] + 2, "the ground of the test's videos grows bluer"


def test_the_same_command_makes_and_changes_nothing(dataset: Path, mixed: tuple[Path, Path, DatasetReport]) -> None:
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file() and path.name[0] != "."}
    report = made(mixed[0], dataset, limit=8, real=True)
    assert (report.made, report.kept) == (0, 8) and report.standing == "trusted"
    after = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file() and path.name[0] != "."}
    assert after == before


def test_a_larger_limit_extends_and_a_smaller_one_is_refused(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in"), tmp_path / "out"
    made(inputs, out, limit=2)
    first = [sample.id for sample in Catalog.load(out)]
    report = made(inputs, out, limit=4)
    assert (report.kept, report.made) == (2, 2)
    assert [sample.id for sample in Catalog.load(out)][:2] == first
    with pytest.raises(ForgeError, match="2 clips beyond the limit"):
        made(inputs, out, limit=2)


@pytest.mark.parametrize("change", ["seed", "recipe", "method", "material"])
def test_another_dataset_in_the_same_folder_is_refused_by_what_differs(tmp_path: Path, change: str) -> None:
    inputs, out = material(tmp_path / "in", portraits=1, speech=1), tmp_path / "out"
    made(inputs, out, limit=1)
    before = (out / "catalog.jsonl").read_bytes()
    if change == "material":
        picture(inputs / "portraits" / "new.png", number=7)
    with pytest.raises(ForgeError, match=f"begun with another .*{change}"):
        made(
            inputs,
            out,
            limit=1,
            seed=1 if change == "seed" else 0,
            recipe=replace(SHORT, crf_ladder=(30,)) if change == "recipe" else SHORT,
            method=BREAKING if change == "method" else QUICK,
        )
    assert (out / "catalog.jsonl").read_bytes() == before


def test_any_number_of_workers_makes_the_same_bytes(tmp_path: Path) -> None:
    inputs = material(tmp_path / "in", portraits=3, speech=2, real=2)
    one, two = tmp_path / "one", tmp_path / "two"
    made(inputs, one, limit=4, real=True)
    made(inputs, two, limit=4, real=True, workers=2)
    assert labels_and_streams(one) == labels_and_streams(two)
    assert len(labels_and_streams(one)) == 4


def test_broken_inputs_are_left_out_told_and_do_not_end_the_run(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=2, speech=2, real=1), tmp_path / "out"
    (inputs / "portraits" / "empty.png").write_bytes(b"")
    picture(inputs / "portraits" / "faceless.png", number=9, face=False)
    (inputs / "portraits" / "twin.png").write_bytes((inputs / "portraits" / "p0.png").read_bytes())
    (inputs / "speech" / "text.wav").write_text("not sound")
    write_wav(inputs / "speech" / "blip.wav", Waveform(np.zeros((100, 1), np.float32), 16_000))
    (inputs / "real" / "cut.mp4").write_bytes((inputs / "real" / "r0.mp4").read_bytes()[:2000])
    video(inputs / "real" / "short.mp4", seconds=0.2)
    report = made(inputs, out, limit=4, real=True)
    assert report.complete
    left_out = {"empty.png", "faceless.png", "twin.png", "text.wav", "blip.wav", "cut.mp4", "short.mp4"}
    assert set(report.skipped_inputs) == left_out
    lines = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert {line["input"] for line in lines} == left_out
    assert all(line["reason"] and line["cause"] for line in lines)
    assert any("left out" in warning for warning in report.warnings)


def test_a_clip_that_cannot_be_made_is_written_down_and_the_others_are_made(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=2, speech=1), tmp_path / "out"
    picture(inputs / "portraits" / "stubborn.png", number=8)
    report = made(inputs, out, limit=3, method=BREAKING)
    assert not report.complete and report.failures == {"ForgeError": 1} and report.clips == 2
    (line,) = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert line["input"] == "stubborn.png" and "will not be filmed" in line["reason"]
    assert verify_catalog(out).standing is Standing.TRUSTED


def test_one_undeclared_picture_stops_the_run_before_anything_is_made(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=2), tmp_path / "out"
    (inputs / "portraits" / "portraits.csv").write_text("file,nonexistent\np0.png,yes\np1.png,\n")
    with pytest.raises(ForgeError, match=r"p1\.png: not declared"):
        made(inputs, out, everyone=None)
    assert not out.exists()


def test_declarations_of_the_table_reach_catalog_and_credentials(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=2, speech=1), tmp_path / "out"
    said = "Ada Example agreed on 2026-03-01 to this dataset"
    (inputs / "portraits" / "portraits.csv").write_text(
        f"file,nonexistent,consent,license,person,kind\np0.png,yes,,CC0-1.0,nobody,drawing\np1.png,,{said},own,Ada,photo\n"
    )
    made(inputs, out, limit=2, everyone=None)
    by_person = {sample.person: sample for sample in Catalog.load(out)}
    assert by_person["Ada"].consent == f"consent: {said}" and by_person["Ada"].license == "own"
    kinds = {name: read_credential(out / sample.path).source_types for name, sample in by_person.items()}
    assert any("compositeWith" in kind for kind in kinds["Ada"])
    assert not any("compositeWith" in kind for kind in kinds["nobody"])
    assert by_person["nobody"].split != by_person["Ada"].split


def test_rows_of_a_real_table_that_are_not_real_are_left_alone(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=1, speech=1, real=2), tmp_path / "out"
    (inputs / "real" / "clips.csv").write_text(
        "file,label,group,person,split\nr0.mp4,real,g1,bob,val\nr1.mp4,synthetic,g2,eve,train\n"
    )
    made(inputs, out, limit=4, real=True)
    facts = {(sample.person, sample.source, sample.split) for sample in Catalog.load(out).filter(label=Label.REAL)}
    assert facts == {("bob", "g1", "val")}


def test_a_clip_that_says_it_is_synthetic_does_not_come_back_as_real(tmp_path: Path) -> None:
    inputs = material(tmp_path / "in", portraits=1, speech=1, real=1)
    made(inputs, tmp_path / "first", limit=1)
    (ours,) = Catalog.load(tmp_path / "first")
    signed = (tmp_path / "first" / ours.path).read_bytes()
    (inputs / "real" / "ours.mp4").write_bytes(signed)
    middle = (
        signed.rindex(b"mdat") + 1000
    )  # within the pictures: the middle of so small a file is padding of the manifest
    (inputs / "real" / "changed.mp4").write_bytes(signed[:middle] + bytes([signed[middle] ^ 1]) + signed[middle + 1 :])
    report = made(inputs, tmp_path / "out", limit=2, real=True)
    assert set(report.skipped_inputs) == {"ours.mp4", "changed.mp4"}
    assert "synthetic" in report.skipped_inputs["ours.mp4"] and "broken" in report.skipped_inputs["changed.mp4"]
    (inputs / "real" / "r0.mp4").unlink()
    with pytest.raises(ForgeError, match="no usable real video"):
        made(inputs, tmp_path / "none", limit=2, real=True)
    assert not (tmp_path / "none").exists()


def test_names_that_are_no_text_are_written_down_and_end_nothing(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=1, speech=1), tmp_path / "out"
    try:
        picture(inputs / "portraits" / "p0.png").rename(inputs / "portraits" / "good\udcff.png")
    except OSError:
        pytest.skip("this file system takes only names that are text")
    (inputs / "portraits" / "bad\udcfe.png").write_bytes(b"no picture")
    assert made(inputs, out, limit=1).clips == 1
    assert made(inputs, out, limit=1).kept == 1
    (line,) = [json.loads(line) for line in (out / "failures.jsonl").read_text(encoding="utf-8").splitlines()]
    assert line["reason"].startswith("bad\udcfe.png: not a picture"), "and without the folder it lay in"
    assert [sample.extra["input"] for sample in Catalog.load(out)] == ["good\ufffd.png"]


def test_a_folder_with_something_else_in_it_is_not_touched(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=1, speech=1), tmp_path / "out"
    (out / "clips").mkdir(parents=True)
    (out / "clips" / "holiday.mp4").write_text("mine")
    (out / ".hidden").write_text("mine too")
    with pytest.raises(ForgeError, match="not empty and no dataset"):
        made(inputs, out, limit=1)
    (out / "clips" / "holiday.mp4").unlink()
    (out / "clips").rmdir()
    made(inputs, out, limit=1)
    assert (out / ".hidden").read_text() == "mine too"


def test_two_runs_do_not_work_on_one_folder(tmp_path: Path) -> None:
    from forge.shelf import alone

    inputs, out = material(tmp_path / "in", portraits=1, speech=1), tmp_path / "out"
    with alone(out), pytest.raises(ForgeError, match="another run"):
        made(inputs, out, limit=1)


def test_damaged_files_of_finished_clips_are_made_again(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=2, speech=1), tmp_path / "out"
    made(inputs, out, limit=3)
    before = labels_and_streams(out)
    first, second, third = Catalog.load(out)
    (out / first.path).write_bytes(b"")
    (out / str(second.extra["truth"])).unlink()
    (out / "records" / f"{third.id}.json").write_text('{"number": 2,')
    (out / "clips" / ".abc.123.unsigned.mp4").write_bytes(b"half")
    report = made(inputs, out, limit=3)
    assert (report.made, report.kept) == (3, 0)
    assert labels_and_streams(out) == before
    assert not list((out / "clips").glob(".*"))


def test_progress_is_told_from_the_first_input_to_the_last_clip(tmp_path: Path) -> None:
    inputs = material(tmp_path / "in", portraits=1, speech=1)
    seen: list[Progress] = []
    request = Request(
        SHORT, tmp_path / "out", inputs / "portraits", inputs / "speech", limit=2, method=QUICK, gate=Gate.off()
    )
    make_dataset(replace(request, everyone=Declaration.nonexistent()), seen.append)
    assert [(p.done, p.planned) for p in seen if p.stage == "looking"] == [(0, 2), (1, 2), (2, 2)]
    assert [(p.done, p.planned) for p in seen if p.stage == "filming"] == [(0, 2), (1, 2), (2, 2)]


def test_a_full_disk_stops_the_run_in_one_line_and_the_rest_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import forge.filming

    inputs, out = material(tmp_path / "in", portraits=2, speech=1), tmp_path / "out"
    from forge.truth import write_truth as write

    calls = 0

    def full(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device", str(args[0]))
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(forge.filming, "write_truth", full)
    with pytest.raises(ForgeError, match="the disk is full") as caught:
        made(inputs, out, limit=3)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    report = made(inputs, out, limit=3)
    assert (report.kept, report.made) == (1, 2)


KILLED = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {here!r})
from quick_maker import SLOW
from test_dataset import SHORT, made
if __name__ == "__main__":
    made(Path({inputs!r}), Path({out!r}), limit={limit}, workers={workers}, method=SLOW)
"""


def killed_again_and_again(tmp_path: Path, *, workers: int, times: int, seed: int, limit: int) -> None:
    """Start, kill -9 at a random moment, again; at last finish, and compare with a run that nobody disturbed."""
    inputs, out = material(tmp_path / "in", portraits=3, speech=3), tmp_path / "out"
    script = tmp_path / "run.py"
    here = str(Path(__file__).parent)
    script.write_text(KILLED.format(here=here, inputs=str(inputs), out=str(out), workers=workers, limit=limit))
    rng, progress = random.Random(seed), []
    for _ in range(times):
        run = subprocess.Popen([sys.executable, str(script)], env=os.environ, stderr=subprocess.DEVNULL)
        records = len(list((out / "records").glob("*.json"))) if out.exists() else 0
        deadline = time.monotonic() + 60
        while run.poll() is None and time.monotonic() < deadline:  # let it get somewhere, then strike anywhere
            if (out / "records").exists() and len(list((out / "records").glob("*.json"))) > records:
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.4))
        run.send_signal(signal.SIGKILL)
        run.wait()
        progress.append(len(list((out / "records").glob("*.json"))))
        for path in (out / "clips").glob("[!.]*.mp4"):
            assert read_credential(path).standing is Standing.TRUSTED, "a clip stood under its name unsigned"
    assert progress == sorted(progress), "a clip was lost"
    made(inputs, out, limit=limit, workers=workers, method=SLOW)
    made(inputs, tmp_path / "calm", limit=limit, method=SLOW)
    assert labels_and_streams(out) == labels_and_streams(tmp_path / "calm")
    ids = [sample.id for sample in Catalog.load(out)]
    assert len(ids) == len(set(ids)) == limit
    assert {path.stem for path in (out / "clips").iterdir()} == set(ids)
    assert verify_catalog(out).standing is Standing.TRUSTED
    assert not [path for path in out.rglob(".*") if path.suffix in (".part", ".mp4", ".npz")]


def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path, workers=1, times=2, seed=1, limit=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_kill_9_at_many_moments_with_several_workers(tmp_path: Path, seed: int) -> None:
    killed_again_and_again(tmp_path, workers=2, times=5, seed=seed, limit=10)


@pytest.mark.slow
def test_the_real_method_makes_a_dataset_beside_real_videos(data_pack: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    table = (data_pack / "clips" / "clips.csv").read_text().splitlines()
    rows = [line for line in table[1:] if ",real," in line][:2]
    for line in rows:
        name = line.split(",")[1]
        (real / name).write_bytes((data_pack / "clips" / name).read_bytes())
    (real / "clips.csv").write_text("\n".join([table[0], *rows]) + "\n")
    request = Request(
        recipe=tiny(),
        folder=tmp_path / "out",
        portraits=data_pack / "portraits" / "people",
        speech=data_pack / "speech",
        real=real,
        everyone=Declaration.nonexistent("CC0-1.0"),
        limit=4,
        place=Here(2),
    )
    report = make_dataset(request)
    assert report.complete and report.clips >= 3
    samples: list[Sample] = list(Catalog.load(tmp_path / "out"))
    assert {sample.label for sample in samples} == {Label.REAL, Label.SYNTHETIC}


def group_ended(group: int) -> bool:
    """Whether all processes of a group end within a few seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_the_next_run_goes_on(tmp_path: Path) -> None:
    inputs, out = material(tmp_path / "in", portraits=3, speech=3), tmp_path / "out"
    script = tmp_path / "run.py"
    script.write_text(
        KILLED.format(here=str(Path(__file__).parent), inputs=str(inputs), out=str(out), workers=2, limit=10)
        + "    sys.exit('not interrupted')\n"
    )
    run = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((out / "records").glob("*.json")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: the driver and all its processes
    _, talk = run.communicate(timeout=30)
    assert run.returncode == -signal.SIGINT or b"KeyboardInterrupt" in talk
    assert group_ended(run.pid)
    before = len(list((out / "records").glob("*.json")))
    assert made(inputs, out, limit=10, method=SLOW).kept == before >= 1
