"""What a checking process does, called in this one: names, limits, and where the faces are."""

from base64 import b64decode
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from countermark.web import origin, tasks
from countermark.web.cell import Refusal
from countermark.web.tracks import belongs_to, follow
from detect.detector import FaceScore, ModelFacts, Score, Status, TimePoint
from media.clip import Clip
from media.video import write_clip
from provenance import thumbnails
from provenance.credential import Standing


class Stub:
    """A detector that has seen nothing."""

    facts = ModelFacts("stub", "1", "0" * 64, 0.7, "docs/cards/detector.md")

    def score_file(self, path: Path) -> Score:
        return Score.abstain(Status.NO_FACE, f"no face was found in {path}", 2.0)


@pytest.fixture
def clip_file(tmp_path: Path, counting_clip: Clip) -> Path:
    write_clip(counting_clip, tmp_path / "file.mp4")
    return tmp_path / "file.mp4"


class Seer(Stub):
    """A detector that has judged the one face of a picture of the demo, and says where it looked."""

    def score_file(self, path: Path) -> Score:
        points = (TimePoint(0.0, 0.9),)
        face = FaceScore(0, 0.0, 0.8, (70, 60, 190, 190), 0.9, points)
        return Score(0.9, Status.OK, "", faces=(face,), timeline=points, seconds_of_video=2.0)

    def explain(self, image: Any, landmarks: Any) -> tuple[Any, Any]:
        return np.full((144, 144, 3), 128, np.uint8), np.full((144, 144), 9.0, np.float32)


def told(path: Path, detector: Any = None, **changes: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    limits = {"video_seconds": 60.0, "pixels": 10**6, **changes.pop("limits", {})}
    task = {"path": str(path), "names": {str(path): "shown.mp4"}, "limits": limits, **changes}
    tasks.check(detector or Stub(), task, lambda message: messages.append(dict(message)))
    return messages


def test_the_report_is_that_of_the_command_line_under_the_clients_name(clip_file: Path) -> None:
    from detect.check import check_file

    report = next(m["report"] for m in told(clip_file) if m["kind"] == "report")
    expected = tasks.renamed(check_file(clip_file, Stub()).to_json(), {str(clip_file): "shown.mp4"})
    assert report.keys() == expected.keys() and report["sha256"] == expected["sha256"]
    assert report["file"] == "shown.mp4" and str(clip_file.parent) not in str(report)


def test_evidence_comes_after_the_verdict_with_a_picture_and_a_page(clip_file: Path) -> None:
    kinds = [m["kind"] for m in told(clip_file, evidence=True)]
    assert kinds.index("report") < kinds.index("tracks") < kinds.index("pictures")
    names = [m["name"] for m in told(clip_file, evidence=True) if m["kind"] == "blob"]
    assert names == ["poster.jpg", "report.html"]


def portrait_clip(path: Path) -> Path:
    """Two seconds of a portrait of nobody that moves to the right."""
    picture = Path(tasks.__file__).parents[1] / "demo_assets" / "ada.webp"
    with Image.open(picture) as image:
        still = np.asarray(image.convert("RGB").resize((256, 256)))
    frames = np.stack([np.roll(still, shift, axis=1) for shift in range(0, 40, 2)])
    write_clip(Clip(frames, Fraction(10), None), path)
    return path


def test_a_judged_face_comes_with_its_heat_map_and_its_mouth(tmp_path: Path) -> None:
    messages = told(portrait_clip(tmp_path / "file.mp4"), Seer(), evidence=True)
    (shown,) = next(m["pictures"] for m in messages if m["kind"] == "pictures")
    assert (shown["heat"], shown["mouth"], shown["face"]) == ("heat-0.jpg", "mouth-0.jpg", "face-0.jpg")
    assert shown["mouths"] > 1 and "red" in shown["heat_says"]
    blobs = {m["name"]: b64decode(m["base64"]) for m in messages if m["kind"] == "blob"}
    assert {"heat-0.jpg", "mouth-0.jpg", "face-0.jpg", "scene-0.jpg"} <= set(blobs)
    with Image.open(BytesIO(blobs["heat-0.jpg"])) as heat:
        red, _, blue = np.asarray(heat.convert("RGB"), float).mean(axis=(0, 1))
    assert red > blue + 60  # what spoke for synthesis is red
    assert b"Heat map of face 1" in blobs["report.html"]


def test_the_pictures_of_a_credential_are_told_by_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "chain_thumbnails", lambda path: {(): b"own", (0, 2): b"deep"})
    report = SimpleNamespace(credential=SimpleNamespace(standing=Standing.TRUSTED))
    messages: list[dict[str, Any]] = []
    tasks.tell_thumbnails(report, tmp_path / "a.png", {}, lambda message: messages.append(dict(message)))  # type: ignore[arg-type]
    assert messages[-1]["thumbnails"] == [
        {"place": [], "file": "thumb-0.jpg"},
        {"place": [0, 2], "file": "thumb-1.jpg"},
    ]
    assert [b64decode(m["base64"]) for m in messages[:-1]] == [b"own", b"deep"]


def test_too_long_a_video_is_refused_by_its_header(clip_file: Path) -> None:
    with pytest.raises(Refusal, match=r"shown\.mp4 lasts"):
        told(clip_file, limits={"video_seconds": 1.0})


def test_too_many_pixels_are_refused_by_the_header(clip_file: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="128 x 96 pixels"):
        told(clip_file, limits={"pixels": 1000})
    # a picture of 40,000 million pixels in a hundred bytes: only its header is read
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (200_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0"
    import zlib

    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(header + zlib.crc32(header[12:]).to_bytes(4) + b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4))
    with pytest.raises(Refusal, match="pixels"):
        told(bomb)


@pytest.mark.parametrize(
    ("said", "is_found"),
    [
        ('{"how": "watermark", "credential": {"title": "a"}}', True),
        ('{"how": "fingerprint", "credential": {"title": "a"}}', True),
        ('{"how": "manifest", "credential": {"title": "a"}}', False),
        ('{"how": null, "credential": null}', False),
        ("[1]", False),
        ("", False),
    ],
)
def test_only_an_original_that_was_recovered_is_told(
    monkeypatch: pytest.MonkeyPatch, said: str, is_found: bool
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **options: Any) -> Any:
        asked.append(command)
        return type("Done", (), {"stdout": said.encode()})

    monkeypatch.setattr(origin.subprocess, "run", run)
    assert (origin.find_origin(Path("/spool/file.mp4"), ["/ca.pem"]) is not None) is is_found
    assert asked[0][-3:] == ["--json", "--trust", "/ca.pem"]


def test_without_a_store_nobody_is_asked_for_an_original() -> None:
    assert origin.is_wanted(None) is False


def test_paths_are_replaced_by_names_at_every_depth() -> None:
    value = {"a": ["/spool/x/file.mp4: broken", {"b": "/spool/x/file.mp4"}], "n": 1, "none": None}
    shown = tasks.renamed(value, {"/spool/x/file.mp4": "clip.mp4"})
    assert shown == {"a": ["clip.mp4: broken", {"b": "clip.mp4"}], "n": 1, "none": None}


def face(track: int, x: float, first: float = 0.0, last: float = 9.0) -> FaceScore:
    return FaceScore(track, first, last, (x, 0.0, x + 100.0, 100.0), 0.5, ())


class Seen:
    def __init__(self, x: float, first: float, last: float) -> None:
        self.pts_seconds = np.array([first, last])
        self.boxes = np.array([[x, 0, x + 50, 50]] * 2, np.float32)


def test_a_face_that_is_found_again_keeps_its_number() -> None:
    faces = [face(0, 0.0), face(1, 400.0), face(2, 400.0, first=20.0, last=30.0)]
    # pictures at half the size of the file
    assert belongs_to(Seen(200.0, 1.0, 5.0), faces, 0.5) == 1  # type: ignore[arg-type]
    assert belongs_to(Seen(200.0, 22.0, 25.0), faces, 0.5) == 2  # type: ignore[arg-type]
    assert belongs_to(Seen(900.0, 1.0, 5.0), faces, 0.5) is None  # type: ignore[arg-type]


def test_a_file_without_faces_still_has_a_picture(clip_file: Path) -> None:
    seen = follow(clip_file, ())
    assert (seen.width, seen.height, seen.faces) == (128, 96, ()) and seen.poster_jpeg[:2] == b"\xff\xd8"


def test_a_face_of_the_demo_is_followed_through_a_video(tmp_path: Path) -> None:
    portrait_clip(tmp_path / "a.mp4")
    seen = follow(tmp_path / "a.mp4", [FaceScore(0, 0.0, 2.0, (70, 60, 190, 190), 0.5, ())])
    assert [number for number, _ in seen.faces] == [0]
    sightings = seen.faces[0][1]
    assert sightings[-1].box[0] - sightings[0].box[0] > 0.08  # it moved to the right
    assert all(0.0 < value < 1.0 for one in sightings for value in one.box)
