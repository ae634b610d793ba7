"""A real server under load: every upload is answered with what belongs to it, and nothing stays behind."""

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

from benchmarks import serving
from benchmarks.serving import Answer, Upload, load, planned, served, settled


def test_twelve_uploads_from_four_clients_each_get_their_own_answer(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        answers, memory = load(server, planned(12), 4)
        assert [(a.upload.name, a.status, a.line) for a in answers if not a.is_right] == []
        assert settled(server), server.left()
        assert len(memory) == 13 and all(size > 10 for _, size in memory)
    assert list(server.temporary.glob("countermark-serve-*/*")) == []
    assert list(server.temporary.glob("pymp-*")) == [], "a server that is told to end cleans up"


@pytest.mark.slow
def test_two_hundred_uploads_from_sixteen_clients_are_borne(tmp_path: Path) -> None:
    assert serving.main(["--out", str(tmp_path)]) == 0
    assert (tmp_path / "serving.json").is_file()


def test_a_plan_sends_every_kind_and_is_the_same_each_time() -> None:
    plan = planned(40)
    assert set(Counter(one.kind for one in plan)) == set(serving.material())
    assert [one.name for one in plan] == [one.name for one in planned(40)]
    assert len({one.name for one in plan}) == 40
    with pytest.raises(ValueError, match="every kind"):
        planned(3)


@pytest.mark.parametrize(
    ("status", "content", "is_right"),
    [
        (200, b'{"file": "1-a.png", "sha256": "%s"}' % serving.hashlib.sha256(b"abc").hexdigest().encode(), True),
        (200, b'{"file": "1-a.png", "sha256": "0"}', False),
        (200, b'{"file": "2-b.png", "sha256": "0"}', False),
        (422, b'{"error": "1-a.png: cannot be read"}', False),
        (200, b"Traceback", False),
        (500, b'{"error": "crashed"}', False),
    ],
)
def test_an_answer_counts_only_when_it_is_about_the_file_that_was_sent(
    status: int, content: bytes, is_right: bool
) -> None:
    upload = Upload("picture", "1-a.png", b"abc", frozenset({200}))
    belongs = serving._belongs(upload, status, content)
    assert Answer(upload, status, 0.0, belongs).is_right is is_right


def test_a_line_about_somebody_elses_file_is_a_mixed_answer() -> None:
    upload = Upload("text", "1-a.mp4", b"abc", frozenset({422}))
    assert serving._belongs(upload, 422, b'{"error": "1-a.mp4: is no video"}')
    assert not serving._belongs(upload, 422, b'{"error": "7-b.mp4: is no video"}')
    assert not serving._belongs(upload, 422, b'{"error": "Traceback (most recent call last)"}')
