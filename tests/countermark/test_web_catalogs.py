"""The dataset browser: clips by number, never by path, and nothing outside the dataset."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

import web_stand_ins
from fastapi.testclient import TestClient

from countermark.web.server import create_app
from countermark.web.settings import ServeError, ServeSettings
from media.catalog import Catalog, Label, Sample

MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + b"x" * 1000


def sample(number: int, path: str, label: Label, split: str) -> Sample:
    digest = hashlib.sha256(path.encode()).hexdigest()
    return Sample(id=f"id{number}", path=path, label=label, sha256=digest, split=split, person=f"person-{number}")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("catalog")
    secret = tmp_path_factory.mktemp("outside") / "secret.mp4"
    secret.write_bytes(MP4)
    (root / "a.mp4").write_bytes(MP4)
    (root / "b.mp4").write_bytes(b"report of b")
    (root / "link.mp4").symlink_to(secret)
    Catalog(
        [
            sample(0, "a.mp4", Label.SYNTHETIC, "train"),
            sample(1, "b.mp4", Label.REAL, "test"),
            sample(2, "link.mp4", Label.REAL, "test"),
            sample(3, "gone.mp4", Label.REAL, "test"),
        ]
    ).save(root)
    app = create_app(
        ServeSettings(catalog=root), prepare=web_stand_ins.prepare, preload=(), spool_base=root.parent / "spool-catalog"
    )
    with TestClient(app, base_url="http://127.0.0.1:8000") as one:
        yield one


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["id0", "id1", "id2", "id3"]),
        ("label=synthetic", ["id0"]),
        ("split=test&count=2", ["id1", "id2"]),
        ("split=test&first=2", ["id3"]),
        ("search=PERSON-1", ["id1"]),
        ("search=nobody", []),
    ],
)
def test_clips_are_filtered_and_paged(client: TestClient, query: str, ids: list[str]) -> None:
    page = client.get(f"/api/catalog?{query}").json()
    assert [one["id"] for one in page["samples"]] == ids
    assert page["labels"] == {"synthetic": 1, "real": 3}


@pytest.mark.parametrize("query", ["count=0", "count=100000", "first=-1", "label=fake"])
def test_a_query_that_makes_no_sense_is_one_line(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/catalog?{query}")
    assert answer.status_code == 422 and set(answer.json()) == {"error"}


def test_a_clip_is_sent_in_parts_to_a_player(client: TestClient) -> None:
    part = client.get("/api/catalog/clips/0", headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"ftyp", "video/mp4")


@pytest.mark.parametrize("wanted", ["x", "bytes=9-1", "bytes=99999-"])
def test_a_part_that_makes_no_sense_is_one_line_too(client: TestClient, wanted: str) -> None:
    answer = client.get("/api/catalog/clips/0", headers={"range": wanted})
    assert answer.status_code in (400, 416) and set(answer.json()) == {"error"}
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("number", "status"), [("2", 404), ("3", 404), ("99", 404), ("-1", 422), ("a", 422), ("1", 422)]
)
def test_what_lies_outside_is_missing_or_is_no_clip_is_not_sent(client: TestClient, number: str, status: int) -> None:
    assert client.get(f"/api/catalog/clips/{number}").status_code == status


def test_a_clip_of_the_dataset_is_checked_where_it_lies_and_stays_there(client: TestClient) -> None:
    made = client.post("/api/catalog/clips/1/check")
    assert made.status_code == 202
    for _ in range(200):
        answer = client.get(made.headers["location"])
        if answer.status_code != 202:
            break
        time.sleep(0.05)
    assert answer.json() == {"file": "b.mp4", "said": "of b", "suffix": ".mp4"}
    assert client.get("/api/catalog?search=b.mp4").json()["found"] == 1
    assert client.post("/api/catalog/clips/1/check").status_code == 202  # the file is still there


def test_a_folder_without_a_catalog_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="no catalog"):
        create_app(ServeSettings(catalog=tmp_path))
