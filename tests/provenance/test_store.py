from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

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
        lambda facts: {**facts, "schema": 2},
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
        multiprocessing.get_context("fork").Process(target=_put_many, args=(tmp_path, n * 10)) for n in range(3)
    ]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
        assert one.exitcode == 0
    store = CredentialStore(tmp_path)
    assert sorted(entry.identifier for entry in store.entries()) == list(range(30))
    assert all(store.manifest_of(entry) == b"manifest %d" % entry.identifier for entry in store.entries())
    assert list(tmp_path.rglob("*.part")) == []


def test_the_store_of_a_user_follows_the_xdg_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert store_folder() == tmp_path / "countermark" / "credentials"
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    assert store_folder() == Path.home() / ".local" / "share" / "countermark" / "credentials"
