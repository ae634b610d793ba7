from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from provenance import store_index
from provenance.credential import Credential, Standing
from provenance.errors import ProvenanceError
from provenance.fingerprint import Fingerprint
from provenance.store import CredentialStore, store_folder

CREDENTIAL = Credential(file="/somewhere/clip.mp4", sha256="a" * 64, standing=Standing.TRUSTED, format="video/mp4")
LOOK = np.arange(256, dtype=np.uint8).reshape(1, 16, 16) % 16


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path / "store")
    assert list(store.entries()) == []
    store.put(b"a manifest", CREDENTIAL, 7, Fingerprint(LOOK), watermarked=True)
    (entry,) = store.entries()
    assert (entry.identifier, entry.watermarked, entry.file_name) == (7, True, "clip.mp4")
    assert entry.file_sha256 == CREDENTIAL.sha256
    assert np.array_equal(entry.prints.look_SHW, LOOK)
    assert store.manifest_of(entry) == b"a manifest"


def test_putting_twice_changes_nothing_and_another_version_is_added(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    for manifest in (b"one", b"one", b"two"):
        store.put(manifest, CREDENTIAL, 7, watermarked=False)
    assert sorted(store.manifest_of(entry) for entry in store.entries()) == [b"one", b"two"]
    assert sum(1 for path in tmp_path.rglob("*") if path.is_file()) == 4


def test_a_changed_manifest_is_not_given_out(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    entry = store.put(b"one", CREDENTIAL, 7, watermarked=False)
    next(tmp_path.glob("manifests/*/*.c2pa")).write_bytes(b"other")
    with pytest.raises(ProvenanceError, match="is not the manifest that was kept"):
        store.manifest_of(entry)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: {},
        lambda facts: {**facts, "identifier": "ffffffffffff"},
        lambda facts: {**facts, "schema": 3},
        lambda facts: {**facts, "pictures": [{"scope": {}, "value": "%"}]},
        lambda facts: {**facts, "manifest_sha256": "../../../../etc/passwd"},
        lambda facts: [],
    ],
)
def test_a_damaged_entry_is_passed_over_and_named(tmp_path: Path, change: object) -> None:
    store = CredentialStore(tmp_path)
    store.put(b"good", CREDENTIAL, 1, watermarked=False)
    store.put(b"bad", CREDENTIAL, 2, watermarked=False)
    path = next(tmp_path.glob("entries/*/000000000002-*.json"))
    assert callable(change)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert [entry.identifier for entry in store.entries()] == [1]
    assert store.damaged() == [path]


def test_half_written_files_are_not_entries(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    store.put(b"good", CREDENTIAL, 1, watermarked=False)
    (tmp_path / "entries" / "00" / ".000000000002-aa.json.1234.part").write_text("{")
    assert len(list(store.entries())) == 1
    assert store.damaged() == []


def test_a_store_that_cannot_be_written_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ProvenanceError, match="cannot keep a credential") as caught:
        CredentialStore(tmp_path / "file").put(b"one", CREDENTIAL, 1, watermarked=False)
    assert "\n" not in str(caught.value)


def _put_many(folder: Path, first: int) -> None:
    store = CredentialStore(folder)
    for number in range(first, first + 20):
        store.put(b"manifest %d" % (number % 30), CREDENTIAL, number % 30, watermarked=True)


def test_many_processes_may_put_at_once(tmp_path: Path) -> None:
    processes = [
        multiprocessing.get_context("fork").Process(target=_put_many, args=(tmp_path, n % 3 * 10)) for n in range(8)
    ]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
        assert one.exitcode == 0
    store = CredentialStore(tmp_path)
    assert store.table().marked() == list(range(30))
    assert sorted(entry.identifier for entry in store.entries()) == list(range(30))
    assert all(store.manifest_of(entry) == b"manifest %d" % entry.identifier for entry in store.entries())
    assert list(tmp_path.rglob("*.part")) == []


def test_the_store_of_a_user_follows_the_xdg_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert store_folder() == tmp_path / "countermark" / "credentials"
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    assert store_folder() == Path.home() / ".local" / "share" / "countermark" / "credentials"


def sounding(seed: int) -> Fingerprint:
    random = np.random.default_rng(seed)
    look = random.integers(0, 16, (2, 16, 16), dtype=np.uint8)
    return Fingerprint(look, sound_AK=random.choice(np.array([-1, 1], np.int8), (64, 16)))


def test_the_table_names_what_looks_or_sounds_alike(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    for number in range(30):
        prints = sounding(number)
        prints = prints if number % 2 else Fingerprint(sound_AK=prints.sound_AK)
        store.put(b"manifest %d" % number, CREDENTIAL, number, prints, watermarked=number % 3 == 0)
    table = store.table()
    assert table.marked() == list(range(0, 30, 3))
    assert table.most_alike(sounding(7), 3)[0].startswith("000000000007-")
    assert table.most_alike(Fingerprint(sound_AK=sounding(8).sound_AK), 3)[0].startswith("000000000008-")
    assert len(table.most_alike(sounding(7), 3)) <= 6
    assert CredentialStore(tmp_path / "none").table().most_alike(sounding(7), 3) == []


def test_the_table_is_kept_grows_and_survives_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_index, "ENTRIES_OF_A_PART", 4)
    monkeypatch.setattr(store_index, "_MOST_PARTS", 3)
    store = CredentialStore(tmp_path)
    for number in range(20):
        store.put(b"manifest %d" % number, CREDENTIAL, number, sounding(number), watermarked=True)
        if number % 5 == 4:
            assert store.table().marked() == list(range(number + 1))
    read: list[str] = []
    monkeypatch.setattr(CredentialStore, "entry", lambda self, name: read.append(name))
    assert store.table().marked() == list(range(20))
    assert read == []
    monkeypatch.undo()
    for path in (tmp_path / "index").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    assert store.table().marked() == list(range(20))
    next(tmp_path.glob("entries/00/000000000003-*.json")).unlink()
    assert 3 not in store.table().marked()


def test_a_table_is_not_made_of_what_does_not_fit(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    store.put(b"one", CREDENTIAL, 1, sounding(1), watermarked=True)
    table = store.table()
    for change in ({"scenes": table.scenes[:, :9]}, {"ends": table.ends + 1}, {"watermarked": table.watermarked[:0]}):
        with pytest.raises(ValueError, match=r"sizes|ends|rows"):
            replace(table, **change)


def test_entries_of_the_first_schema_are_read(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    entry = store.put(b"one", CREDENTIAL, 1, Fingerprint(LOOK), watermarked=False)
    path = next(tmp_path.glob("entries/*/*.json"))
    path.write_text(json.dumps({**entry.to_json(), "schema": 1}))
    (old,) = store.entries()
    assert old.prints.is_coarse
    assert np.array_equal(old.prints.look_SHW, LOOK)
