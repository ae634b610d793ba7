from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_dataset import in_home, make_dataset, many_samples

from countermark.exports import FORMS, ExportError, Wishes, export_dataset
from countermark.exports.job import Job, key_of, name_of
from media.catalog import Catalog, Label
from provenance.credential import Standing, read_credential
from provenance.signing import sign_catalog, verify_catalog

OF_CLIPS = [name for name, form in FORMS.items() if form.of_clips]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and the home that signed it."""
    home = tmp_path_factory.mktemp("home-of-exports")
    patch = in_home(home)
    try:
        return make_dataset(tmp_path_factory.mktemp("made") / "small set")
    finally:
        patch.undo()


@pytest.fixture
def dataset(kept: Path, own_home: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = in_home(tmp_path_factory.getbasetemp() / "home-of-exports0")
    yield kept
    patch.undo()


def content(folder: Path) -> dict[str, str]:
    """Digest of every file but those that tell the time."""
    timed = ("dataset.intoto.dsse.json", "croissant.json")
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in timed
    }


@pytest.mark.parametrize("form", FORMS)
def test_an_export_is_signed_whole_and_leaves_nothing_hidden(form: str, dataset: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made = export_dataset(dataset, tmp_path / "out", form, tell=lambda done, planned: told.append((done, planned)))
    report = verify_catalog(tmp_path / "out")
    assert made.standing == report.standing.value == "trusted" and report.difference_count == 0
    assert made.clips == 8 and made.splits == {"train": 4, "val": 2, "test": 2} and told[-1] == (8, 8)
    assert report.record is not None and set(report.record.inputs) == {"catalog.jsonl", "dataset.intoto.dsse.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not [path for path in (tmp_path / "out").rglob(".*")]
    assert (tmp_path / "out" / "CARD.md").read_text() == "# the card of the dataset\n"
    assert "small-set: 8 labelled clips" in (tmp_path / "out" / "README.md").read_text()
    victim = max((p for p in (tmp_path / "out").rglob("*") if p.suffix in (".mp4", ".tar", ".parquet")), key=str)
    victim.write_bytes(victim.read_bytes() + b"x")
    assert verify_catalog(tmp_path / "out").standing is Standing.BROKEN


@pytest.mark.parametrize("form", OF_CLIPS)
def test_clips_keep_their_bytes_and_their_credentials_and_our_commands_read_the_folder(
    form: str, dataset: Path, tmp_path: Path
) -> None:
    export_dataset(dataset, tmp_path / "out", form)
    before = {sample.id: sample for sample in Catalog.load(dataset)}
    after = Catalog.load(tmp_path / "out")
    assert len(after) == 8
    for sample in after:
        path = tmp_path / "out" / sample.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == before[sample.id].sha256
        credential = read_credential(path)
        assert credential.standing is Standing.TRUSTED
        assert credential.declares_synthetic is (sample.label is Label.SYNTHETIC)
        assert (sample.person, sample.split, sample.maker) == (
            before[sample.id].person, before[sample.id].split, before[sample.id].maker
        )  # fmt: skip
        for name in ("truth", "masks"):
            assert not sample.extra.get(name) or (tmp_path / "out" / str(sample.extra[name])).is_file()


@pytest.mark.parametrize("form", FORMS)
def test_a_clip_that_differs_from_the_catalog_is_refused_by_name(form: str, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "ds")
    clip = tmp_path / "ds" / "clips" / "c5.mp4"
    clip.write_bytes(clip.read_bytes()[:-1] + b"!")
    with pytest.raises(ExportError, match=r"clips/c5\.mp4: differs from the catalog .*restore") as caught:
        export_dataset(tmp_path / "ds", tmp_path / "out", form)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    shutil.copyfile(dataset / "clips" / "c5.mp4", clip)
    assert export_dataset(tmp_path / "ds", tmp_path / "out", form).clips == 8, "the same command goes on"


@pytest.mark.parametrize("form", FORMS)
def test_a_run_that_is_stopped_anywhere_goes_on_and_gives_the_same_bytes(
    form: str, dataset: Path, tmp_path: Path
) -> None:
    wishes = Wishes(shard_bytes=1)
    whole = tmp_path / "whole"
    export_dataset(dataset, whole, form, wishes)
    for stop in (1, 4, 8):
        out = tmp_path / f"out{stop}"

        def tell(done: int, planned: int, stop: int = stop) -> None:
            if done == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export_dataset(dataset, out, form, wishes, tell)
        assert not out.exists() and (tmp_path / f".out{stop}.export").is_dir()
        export_dataset(dataset, out, form, wishes)
        assert content(out) == content(whole)
        assert verify_catalog(out).standing is Standing.TRUSTED


def test_what_an_earlier_run_carried_is_not_carried_again(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, planned: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_dataset(dataset, tmp_path / "out", "talkingheadbench", tell=stop)
    carried: list[str] = []
    from countermark.exports import job

    real = job.place

    def place(source: Path, target: Path, sha256: str | None, *, link: bool) -> None:
        carried.append(target.name)
        real(source, target, sha256, link=link)

    monkeypatch.setattr(job, "place", place)
    export_dataset(dataset, tmp_path / "out", "talkingheadbench")
    assert len([name for name in carried if name.endswith(".mp4")]) == 3


def test_a_half_made_export_of_another_kind_is_not_built_upon(dataset: Path, tmp_path: Path) -> None:
    def stop(done: int, planned: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_dataset(dataset, tmp_path / "out", "videofolder", tell=stop)
    with pytest.raises(ExportError, match=r"\.out\.export: holds a half-made export to out of another form; .*remove"):
        export_dataset(dataset, tmp_path / "out", "parquet")
    with pytest.raises(ExportError, match="another split"):
        export_dataset(dataset, tmp_path / "out", "videofolder", Wishes("test"))
    assert export_dataset(dataset, tmp_path / "out", "videofolder").clips == 8


def test_one_split_alone(dataset: Path, tmp_path: Path) -> None:
    made = export_dataset(dataset, tmp_path / "out", "videofolder", Wishes(split="val"))
    assert made.splits == {"val": 2} and {s.id for s in Catalog.load(tmp_path / "out")} == {"c4", "c5"}
    with pytest.raises(ExportError, match="no clip in the split 'dev'; its splits are test, train, val"):
        export_dataset(dataset, tmp_path / "other", "videofolder", Wishes(split="dev"))


def test_links_take_no_disk_and_only_clips_can_be_linked(dataset: Path, tmp_path: Path) -> None:
    export_dataset(dataset, tmp_path / "out", "videofolder", Wishes(link=True))
    one, other = dataset / "clips" / "c0.mp4", tmp_path / "out" / "train" / "c0.mp4"
    assert one.samefile(other) and verify_catalog(tmp_path / "out").standing is Standing.TRUSTED
    with pytest.raises(ExportError, match=r"parquet holds no clips as files.*--link"):
        export_dataset(dataset, tmp_path / "tables", "parquet", Wishes(link=True))


def test_a_place_that_is_taken_or_inside_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear")
    with pytest.raises(ExportError, match="full: is not empty"):
        export_dataset(dataset, tmp_path / "full", "parquet")
    with pytest.raises(ExportError, match="lies in the dataset itself"):
        export_dataset(dataset, dataset / "hf", "parquet")
    with pytest.raises(ExportError, match="is a file"):
        export_dataset(dataset, tmp_path / "full" / "thesis.txt", "parquet")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    assert export_dataset(dataset, tmp_path / "empty", "webdataset").clips == 8


def rewritten(folder: Path, **change: object) -> Path:
    """The catalog with its second sample changed, and no signature of the one before."""
    lines = [json.loads(line) for line in (folder / "catalog.jsonl").read_text().splitlines()]
    lines[1] |= change
    text = "".join(json.dumps(line) + "\n" for line in lines)
    # a number too large for a float: JSON allows it, and Python reads it as infinite
    (folder / "catalog.jsonl").write_text(text.replace('"HUGE"', "1e400"))
    (folder / "dataset.intoto.dsse.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"path": "clips/gone.mp4"}, r"clips/gone\.mp4: cannot be found"),
        ({"path": "folder.mp4"}, "is a folder of pictures"),
        ({"id": "c0"}, "would have one name, by id 'c0'; keep one"),
        ({"person": "dora"}, "person 'dora' is in two splits: c1 .train. and c6 .test."),
        ({"person": "dora", "split": None}, "person 'dora' is in two splits: c1 .no split, so train. and c6 .test."),
        ({"source": "film-cy"}, "source 'film-cy' is in two splits"),
        ({"label": "maybe"}, r"catalog\.jsonl:2: label must be real or synthetic"),
        ({"truth": "../../etc/truth.parquet"}, "is not inside the dataset"),
        ({"path": "catalog.jsonl"}, r"catalog\.jsonl: is no film"),
        ({"masks": "masks/gone.npz"}, r"masks/gone\.npz: cannot be found"),
        ({"segments": [{"start_seconds": 0.1, "end_seconds": 0.2, "what": "nose"}]}, r"c1\.mp4: a segment must tell"),
        ({"segments": [[0.1]]}, "a segment must tell"),
        ({"segments": [[0.3, 0.1]]}, "a segment must tell"),
        ({"segments": "0.1-0.2"}, "segments must be a list"),
        ({"depth": "HUGE"}, "clips/c1.mp4 has a fact that is no JSON"),
        ({"split": "Train", "person": None}, "the splits 'train' and 'Train' would get one name"),
    ],
)
def test_a_catalog_that_is_wrong_is_one_line_before_anything_is_written(
    change: dict[str, object], reason: str, dataset: Path, tmp_path: Path
) -> None:
    folder = rewritten(Path(shutil.copytree(dataset, tmp_path / "ds")), **change)
    (folder / "folder.mp4").mkdir()
    with pytest.raises(ExportError, match=reason) as caught:
        export_dataset(folder, tmp_path / "out", "videofolder")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_folder_without_a_catalog_and_an_unknown_form_are_one_line(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="there is no catalog"):
        export_dataset(tmp_path / "empty", tmp_path / "out", "parquet")
    with pytest.raises(ExportError, match=r"videofolder, parquet, .*got 'zip'"):
        export_dataset(dataset, tmp_path / "out", "zip")


def test_a_dataset_that_changes_under_an_export_is_not_signed(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "ds"))

    def change(done: int, planned: int) -> None:
        if done == 8:
            with (folder / "catalog.jsonl").open("a") as catalog:
                catalog.write("\n")

    with pytest.raises(ExportError, match="changed while it was exported"):
        export_dataset(folder, tmp_path / "out", "webdataset", tell=change)
    assert not (tmp_path / "out").exists()


def test_masks_of_another_kind_are_left_where_they_are(dataset: Path, tmp_path: Path) -> None:
    folder = rewritten(Path(shutil.copytree(dataset, tmp_path / "ds")), masks="masks/of_a_film.mp4")
    export_dataset(folder, tmp_path / "out", "videofolder")
    found = {sample.id: sample.extra.get("masks") for sample in Catalog.load(tmp_path / "out")}
    assert found["c1"] is None and found["c2"] == "masks/c2.npz"


def test_two_runs_to_one_place_do_not_meet(dataset: Path, tmp_path: Path) -> None:
    met: list[str] = []

    def again(done: int, planned: int) -> None:
        if done == 1:
            with pytest.raises(ExportError, match="another run exports to it") as caught:
                export_dataset(dataset, tmp_path / "out", "talkingheadbench")
            met.append(str(caught.value))

    assert export_dataset(dataset, tmp_path / "out", "talkingheadbench", tell=again).clips == 8 and met


def test_every_id_gives_a_name_of_its_own_that_is_fit_for_files() -> None:
    names = [
        "1cc02e7622b7a352",
        "a/b.mp4",
        "a-b-mp4",
        "a b.mp4",
        "ü" * 300,
        "..",
        "-x",
        "a.b",
        "a--b",
        "x" * 81,
        "\ud800",
    ]
    names += ["clip", "Clip", "CLIP", "数/一.mp4", "数/二.mp4", "b" * 59 + "/" + "c" * 300]
    keys = [key_of(name) for name in names]
    assert keys[0] == names[0] and "clip" in keys and key_of("clips/a b.mp4") == "clips-a-b-mp4-22c613a1ecfe4e5a"
    assert len({key.lower() for key in keys}) == len(keys), "for some file systems A and a are one"
    assert all(key.isascii() and "." not in key and "/" not in key and 0 < len(key) < 100 for key in keys)
    assert not any(key.startswith("-") or "--" in key for key in keys)


def test_names_of_people_and_makers_are_kept_where_they_can_stand_and_stay_different() -> None:
    assert [name_of(name, "-") for name in ("SadTalker", "p_01", "", None)] == ["SadTalker", "p_01", "-", "-"]
    names = ["Ada B", "Ada-B", "ada--b", "x" * 300, "../..", "ü", "ö"]
    found = [name_of(name, "-") for name in names]
    assert len(set(found)) == len(names) and all(len(name) < 100 and name.strip(".") == name for name in found)


@pytest.mark.parametrize("form", ["videofolder", "talkingheadbench", "avdeepfake1m"])
def test_odd_names_make_files_that_every_system_can_hold(form: str, dataset: Path, tmp_path: Path) -> None:
    folder = rewritten(Path(shutil.copytree(dataset, tmp_path / "ds")))
    odd = ["a/clip.v1", "A/Clip.v1", "数/一", "x" * 250, "clip", "Clip", "..", "a--b"]
    lines = [json.loads(line) for line in (folder / "catalog.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line |= {"id": odd[number], "original": None, "maker": f"{line['maker']} / {'y' * 300}"}
        line |= {
            "person": f"{line['person']} {'x' * 300}",
            "source": None if number % 2 else f"{line['person']}/../film",
        }
    (folder / "catalog.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    export_dataset(folder, tmp_path / "out", form)
    made = [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.mp4")]
    assert len({path.lower() for path in made}) == 8 and all(path.isascii() for path in made)
    assert {sample.id for sample in Catalog.load(tmp_path / "out")} == set(odd)


def test_a_link_that_leads_out_of_the_dataset_takes_nothing_of_yours_along(dataset: Path, tmp_path: Path) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("a private key")
    for number, name in enumerate(("masks/c1.npz", "truth/c2.parquet", "README.md", "contact_sheet.png")):
        folder = rewritten(Path(shutil.copytree(dataset, tmp_path / f"ds{number}")))
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
        with pytest.raises(ExportError, match=f"{name}: is a link that leads out of the dataset; replace it"):
            export_dataset(folder, tmp_path / f"out{number}", "videofolder")
        assert not list(tmp_path.glob("*out*")), "told before anything is written"


def test_what_was_changed_after_it_was_signed_gets_no_new_signature(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "ds"))
    kept = (folder / "catalog.jsonl").read_bytes()
    (folder / "catalog.jsonl").write_bytes(kept.replace(b'"label": "synthetic"', b'"label": "real"', 1))
    with pytest.raises(ExportError, match=r"catalog\.jsonl: is not the catalog that was signed; restore it, or sign"):
        export_dataset(folder, tmp_path / "out", "videofolder")
    assert not list(tmp_path.glob(".out*"))
    (folder / "catalog.jsonl").write_bytes(kept)
    (folder / "masks" / "c1.npz").write_bytes((folder / "masks" / "c2.npz").read_bytes() + b" ")
    for form in ("videofolder", "parquet", "webdataset"):
        with pytest.raises(ExportError, match=r"masks/c1\.npz: differs from the catalog or the signed statement"):
            export_dataset(folder, tmp_path / form, form)
    sign_catalog(folder)
    with pytest.raises(ExportError, match="half-made export to parquet of another truth and masks"):
        export_dataset(folder, tmp_path / "parquet", "parquet")
    assert export_dataset(folder, tmp_path / "anew", "parquet").clips == 8
    (folder / "dataset.intoto.dsse.json").write_text('{"payloadType": "application/vnd.in-toto+json"}')
    with pytest.raises(ExportError, match=r"dsse\.json: is damaged"):
        export_dataset(folder, tmp_path / "again", "parquet")


def test_a_copy_that_a_power_cut_left_short_is_made_again(dataset: Path, tmp_path: Path) -> None:
    def stop(done: int, planned: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_dataset(dataset, tmp_path / "out", "videofolder", tell=stop)
    grown = tmp_path / ".out.export"
    for name in ("train/c0.mp4", "truth/c1.parquet"):
        (grown / name).write_bytes((grown / name).read_bytes()[:10])
    export_dataset(dataset, tmp_path / "out", "videofolder")
    assert (tmp_path / "out/truth/c1.parquet").read_bytes() == (dataset / "truth/c1.parquet").read_bytes()
    assert verify_catalog(tmp_path / "out").difference_count == 0


def test_a_full_disk_is_told_in_one_line_and_the_same_command_goes_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from countermark.exports import job

    real, left = job.read_checked, [5]

    def full(*arguments: Any) -> Iterator[bytes]:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(job, "read_checked", full)
    with pytest.raises(ExportError, match="No space left on device; free space and give the same command again"):
        export_dataset(dataset, tmp_path / "out", "talkingheadbench")
    assert not (tmp_path / "out").exists() and not list((tmp_path / ".out.export").rglob("*.mp4.part"))
    left[0] = 1000
    assert export_dataset(dataset, tmp_path / "out", "talkingheadbench").clips == 8


def test_room_is_asked_for_before_anything_is_written(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures of DeepfakeBench take more than the clips."""
    room = sum(path.stat().st_size for path in dataset.glob("*/*")) + (64 << 20) + 100_000
    usage = shutil.disk_usage(tmp_path)._replace(free=room)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(ExportError, match="GB are needed"):
        export_dataset(dataset, tmp_path / "out", "deepfakebench")
    assert not list(tmp_path.iterdir())
    assert export_dataset(dataset, tmp_path / "out", "avdeepfake1m").clips == 8


def test_licences_are_counted_to_the_last_and_cannot_break_the_table(dataset: Path, tmp_path: Path) -> None:
    folder = many_samples(tmp_path / "many", 32)
    lines = [json.loads(line) for line in (folder / "catalog.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line |= {"license": f"licence {number}" if number < 30 else "<b>|\nfree"}
    (folder / "catalog.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    export_dataset(folder, tmp_path / "out", "webdataset")
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| &lt;b>/ free | 2 |" in readme and "| 11 others | 11 |" in readme and "<b>" not in readme


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_memory_does_not_grow_with_the_clips(form: str, tmp_path: Path, dataset: Path) -> None:
    """Read, counted and packed; the signature of the few shards is left out of the measure."""
    from countermark.exports.exporting import FORMS
    from countermark.exports.lines import CatalogLines, look_over

    peaks: list[int] = []
    for count in (60, 60, 480, 480):
        folder = many_samples(tmp_path / f"many-{len(peaks)}", count)
        (folder / "build").mkdir()
        tracemalloc.start()
        lines = CatalogLines(folder)
        job = Job(lines, look_over(lines), folder / "build", "many", Wishes(shard_bytes=256), lambda clips: None)
        FORMS[form].write(job)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # the lesser of two: Python's own table of names may grow under either of them
    assert min(peaks[2:]) - min(peaks[:2]) < 300 * 420, peaks
