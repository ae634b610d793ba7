from pathlib import Path

import pytest

from countermark.attacks import flip_one_bit, top_level_boxes
from media.clip import Clip
from media.video import read_clip, write_clip


def test_exactly_one_bit_differs_and_it_lies_in_the_media_data(tmp_path: Path, counting_clip: Clip) -> None:
    write_clip(counting_clip, tmp_path / "a.mp4")
    flip_one_bit(tmp_path / "a.mp4", tmp_path / "b.mp4")
    before, after = (tmp_path / "a.mp4").read_bytes(), (tmp_path / "b.mp4").read_bytes()
    changed = [i for i, (x, y) in enumerate(zip(before, after, strict=True)) if x != y]
    media = [(start, end) for kind, start, end in top_level_boxes(before) if kind == b"mdat"]
    assert len(changed) == 1
    assert any(start <= changed[0] < end for start, end in media)
    assert read_clip(tmp_path / "b.mp4").length == counting_clip.length  # a viewer would not notice


def test_a_file_without_media_data_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0")
    with pytest.raises(ValueError, match="no media data"):
        flip_one_bit(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_boxes_with_broken_sizes_end_the_walk() -> None:
    assert list(top_level_boxes(b"\0\0\0\x04mdat" + b"x" * 20)) == []
    assert list(top_level_boxes(b"\0\0\0\0mdat" + b"xy")) == [(b"mdat", 8, 10)]
