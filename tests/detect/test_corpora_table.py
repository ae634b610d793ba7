import hashlib
from pathlib import Path

import pytest

from detect.corpora.table import read_dataset, read_table
from detect.detector import DetectError
from media.catalog import Label


def write_table(folder: Path, header: str, *rows: str) -> Path:
    for row in rows:
        (folder / row.split(",")[1]).write_bytes(row.encode())
    table = folder / "clips.csv"
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return table


HEADER = "id,file,label,method,source_repo,group,person,fps,width,has_audio,split,mood"
REAL = "a,a.mp4,real,,studio,g1,ann,25,256,0,train,calm"
FAKE = "b,b.mp4,fake,MakerX,lab,g2,bob,29.97,512,1,val,"


def test_a_table_becomes_a_catalog_with_makers_people_and_digests(tmp_path: Path) -> None:
    catalog = read_table(write_table(tmp_path, HEADER, REAL, FAKE))
    first, second = catalog
    assert (first.label, first.maker, first.person, first.source) == (Label.REAL, "studio", "ann", "g1")
    assert (second.label, second.maker, second.fps) == (Label.SYNTHETIC, "MakerX", "30000/1001")
    assert first.sha256 == hashlib.sha256(REAL.encode()).hexdigest()
    assert first.has_sound is False and second.has_sound is True
    assert dict(first.extra) == {"mood": "calm"}


def test_the_first_row_after_the_header_is_not_lost(tmp_path: Path) -> None:
    assert len(read_table(write_table(tmp_path, HEADER, REAL, FAKE))) == 2


def test_a_folder_with_one_table_is_enough(tmp_path: Path) -> None:
    write_table(tmp_path, HEADER, REAL, FAKE)
    root, catalog = read_dataset(tmp_path)
    assert root == tmp_path and len(catalog) == 2


@pytest.mark.parametrize(
    ("header", "row", "complaint"),
    [
        ("id,path", "a,a.mp4", "no column file and label"),
        (HEADER, REAL.replace("real", "maybe"), "label must be real or synthetic"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_by_name(
    tmp_path: Path, header: str, row: str, complaint: str
) -> None:
    with pytest.raises(DetectError, match=complaint):
        read_table(write_table(tmp_path, header, row))


def test_a_missing_clip_is_named_with_its_line(tmp_path: Path) -> None:
    table = write_table(tmp_path, HEADER, REAL)
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(DetectError, match=r"line 2.*a\.mp4"):
        read_table(table)


def test_a_person_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match="ann"):
        read_table(write_table(tmp_path, HEADER, REAL, FAKE.replace("bob", "ann")))


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match=r"no catalog\.jsonl"):
        read_dataset(tmp_path)
