"""What a person and a program read of a check."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from math import nan
from pathlib import Path

import pytest
from PIL import Image

from detect.detector import DetectError, FaceScore, ModelFacts, Score, Status, TimePoint
from detect.forensics import Fact, FileFacts
from detect.prevalence import Rates
from detect.report import (
    EvidencePicture,
    Report,
    plot,
    printable,
    time_ticks,
    to_html,
    write_html,
)
from detect.verdict import Policy, decide, in_clock
from provenance.credential import Credential, Standing

MODEL = ModelFacts("frame", "1", "ab" * 32, 0.6, "docs/model-cards/frame.md")
POLICY = Policy.around(0.6)


def line(*probabilities: float) -> tuple[TimePoint, ...]:
    return tuple(TimePoint(float(second), p) for second, p in enumerate(probabilities))


def jpeg() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 48), (200, 180, 160)).save(buffer, "JPEG")
    return buffer.getvalue()


def report(
    score: Score | None = None, credential: Credential | None = None, file: str = "a.mp4", marks: tuple[str, ...] = ()
) -> Report:
    if score is None:
        faces = (
            FaceScore(0, 0.0, 3.0, (10, 10, 40, 40), 0.9, line(0.7, 0.95, 0.9)),
            FaceScore(1, 1.0, 2.0, (50, 0, 60, 9), nan, (), "the face is 9 pixels high"),
        )
        score = Score(0.9, Status.OK, "", faces, line(0.7, 0.95, 0.9), 3.0, 1.5)
    facts = FileFacts("video", 1234, (Fact("Size", "1.2 kB"), Fact("Video", "h264, 64 x 48, yuv420p")), marks)
    verdict = decide(credential, score, POLICY, unsigned_marks=marks)
    picture = EvidencePicture(0, 1.0, 64, 48, (10, 10, 40, 40), jpeg(), jpeg())
    return Report(file, "c" * 64, verdict, score, POLICY, credential, facts, MODEL, (picture,))


class Page(HTMLParser):
    """Collects tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_json_holds_the_contract() -> None:
    said = json.loads(json.dumps(report(credential=signed(Standing.TRUSTED, True)).to_json(), allow_nan=False))
    assert {"file", "finding", "because", "probability", "timeline", "faces", "credential", "model"} <= said.keys()
    assert {"standing", "signer", "declares_synthetic", "validation_codes"} <= said["credential"].keys()
    assert said["schema"] == "countermark.check/1"
    assert said["finding"] == "declared_synthetic"
    assert said["timeline"][1] == {"seconds": 1.0, "probability": 0.95}
    assert said["faces"][1]["probability"] is None
    assert said["model"]["sha256"] == "ab" * 32


def test_an_abstention_is_null_in_the_json() -> None:
    said = report(Score.abstain(Status.NO_FACE, "No face was found.")).to_json()
    assert said["probability"] is None
    assert said["at_base_rate"] == []
    assert said["finding"] == "undecided"
    assert said["credential"]["standing"] is None


def test_the_stated_prevalence_is_read_in_the_json_and_on_the_page() -> None:
    said = replace(report(), prevalence=0.01, rates=Rates(0.8, 0.05, 400))
    reading = json.loads(json.dumps(said.to_json()))["prevalence"]
    assert reading["probability"] == pytest.approx(9 / (9 + 99))
    assert reading["flagged"] == pytest.approx(0.139, abs=0.001)
    text = "".join(Page(to_html(said)).words)
    assert "Of 100 files flagged among uploads of which 1% are synthetic, about 14 are." in text
    assert report().to_json()["prevalence"] is None
    with pytest.raises(ValueError, match="prevalence"):
        replace(report(), prevalence=1.0)


def partly() -> Report:
    forged = line(0.1, 0.1, 0.95, 0.95, 0.95, 0.1, 0.1, 0.1)
    face = FaceScore(0, 0.0, 8.0, (10, 10, 40, 40), 0.9, forged)
    return report(Score(0.9, Status.OK, "", (face,), forged, 8.0, 1.5))


def test_the_segments_of_a_partial_forgery_are_in_the_json_and_on_the_page() -> None:
    said = partly()
    assert said.to_json()["segments"] == [{"start": 2.0, "end": 5.0, "confidence": pytest.approx(0.9, abs=0.1)}]
    assert said.to_json()["faces"][0]["segments"] == said.to_json()["segments"]
    page = Page(to_html(said))
    assert "High 0:02 to 0:05." in "".join(page.words)
    (drawn,) = [a for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    assert "high 0:02 to 0:05" in str(drawn["aria-label"])
    overall = plot(said.score.timeline, 8.0, POLICY, said.segments())
    assert overall is not None and overall.bands == ((180.0, 270.0, "0:02 to 0:05"),)


def test_a_forgery_of_the_whole_is_said_to_be_one() -> None:
    whole = line(*[0.95] * 8)
    assert report(Score(0.9, Status.OK, "", (), whole, 8.0, 1.0)).when() == "throughout"
    assert report(Score(0.1, Status.OK, "", (), line(0.1, 0.2), 2.0, 1.0)).when() == ""


def test_the_mouth_and_the_heat_map_are_shown_where_there_are_any() -> None:
    plain = report()
    with_strip = replace(
        plain.pictures[0], mouths_jpeg=jpeg(), mouths=8, heat_jpeg=jpeg(), heat_says="What the seam branch looked at."
    )
    page = Page(to_html(replace(plain, pictures=(with_strip,))))
    alts = [str(a["alt"]) for tag, a in page.tags if tag == "img"]
    assert any("mouth of face 1 in 8 frames" in alt for alt in alts)
    assert any("Heat map" in alt for alt in alts)
    assert "What the seam branch looked at." in "".join(page.words)
    assert "Heat map" not in to_html(plain)
    with pytest.raises(ValueError, match="sentence"):
        replace(plain.pictures[0], heat_jpeg=jpeg())


def test_the_page_loads_nothing_from_anywhere() -> None:
    page = Page(to_html(report()))
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form", "link")
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "href", "xlink:href", "srcset", "action") or str(value).startswith(
                "data:image/jpeg"
            )
    style = re.search(r"<style>(.*?)</style>", to_html(report()), re.DOTALL)
    assert style is not None
    assert "url(" not in style.group(1)
    assert "@import" not in style.group(1)


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}.mp4"


def test_hostile_names_and_signers_stay_text() -> None:
    credential = replace(
        signed(Standing.UNKNOWN_SIGNER, None), signer=HOSTILE, reasons=(HOSTILE,), validation_codes=(HOSTILE,)
    )
    page = Page(to_html(report(credential=credential, file=HOSTILE, marks=(HOSTILE,))))
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    assert tags.count("img") == 2  # the two evidence pictures of face 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    text = "".join(page.words)
    assert "{{7*7}}" in text
    assert "alert(1)" in text


def test_names_that_lie_to_the_eye_are_defused() -> None:
    assert printable("a\u202egpj.exe") == "a\ufffdgpj.exe"
    assert printable("a\x1b[31mred\r\n.mp4") == "a\ufffd[31mred\ufffd\ufffd.mp4"
    assert printable("fine name é 名.mp4") == "fine name é 名.mp4"
    assert "\x1b" not in to_html(report(file="a\x1b[31m.mp4"))


def test_a_name_that_is_no_text_still_gets_its_page(tmp_path: Path) -> None:
    broken = report(file="caf\udce9.mp4")
    write_html(broken, tmp_path / "r.html")
    assert "caf" in (tmp_path / "r.html").read_text(encoding="utf-8")
    json.dumps(broken.to_json())


def test_the_page_can_be_read_without_eyes() -> None:
    page = Page(to_html(report()))
    tags = dict(page.tags)
    assert tags["html"]["lang"] == "en"
    assert [tag for tag, _ in page.tags].count("h1") == 1
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag != "img" or attributes.get("alt")
        assert tag != "svg" or attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        assert tag != "section" or attributes.get("aria-labelledby") in ids


def test_no_sign_says_that_it_does_not_mean_real() -> None:
    text = "".join(Page(to_html(report(Score(0.02, Status.OK, "", (), (), 3.0, 1.0)))).words)
    assert "No sign of synthesis found" in text
    assert "This does not mean that it is real." in text


@pytest.mark.parametrize("standing", list(Standing))
def test_every_standing_has_words_on_the_page(standing: Standing) -> None:
    text = "".join(Page(to_html(report(credential=signed(standing, None)))).words)
    assert {
        Standing.ABSENT: "No credential in the file",
        Standing.BROKEN: "Credential broken",
        Standing.UNKNOWN_SIGNER: "not on a trust list",
        Standing.TRUSTED: "on a trust list",
    }[standing] in text


def test_what_was_not_checked_is_said() -> None:
    abstained = report(Score.abstain(Status.NO_FACE, "No face was found."))
    assert any("gave no answer (No face was found)" in told for told in abstained.not_checked())
    assert any("cannot be read" in told for told in abstained.not_checked())
    assert any("1 of 2 faces" in told for told in report().not_checked())
    assert any("1 of 2 faces" in told for told in report().checked())


def test_a_timeline_is_cut_where_the_face_was_away() -> None:
    points = (TimePoint(0, 0.1), TimePoint(1, 0.2), TimePoint(9, 0.8), TimePoint(10, nan), TimePoint(11, 1.0))
    drawn = plot(points, 12.0, POLICY)
    assert drawn is not None
    assert len(drawn.lines) == 2
    assert drawn.peak == (11, 1.0)
    assert drawn.dots[0][:2] == (0.0, 108.0)
    assert drawn.dots[-1][:2] == (660.0, 0.0)
    assert plot(points[:1], 12.0, POLICY) is None


@pytest.mark.parametrize("span", [0.5, 1.0, 7.9, 61.0, 3600.0, 90_000.0])
def test_time_marks_are_few_and_inside(span: float) -> None:
    marks = time_ticks(span)
    assert 1 <= len(marks) <= 8
    assert marks[0] == 0
    assert marks[-1] <= span


def test_times_read_like_a_clock() -> None:
    assert [in_clock(s) for s in (0, 7.9, 75, 3723)] == ["0:00", "0:07", "1:15", "1:02:03"]


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "r.html"
    write_html(report(), target)
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
    assert target.read_text().rstrip().endswith("</html>")
    with pytest.raises(DetectError, match="is a folder"):
        write_html(report(), tmp_path)
    with pytest.raises(DetectError, match="cannot write"):
        write_html(report(), tmp_path / "missing" / "r.html")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def signed(standing: Standing, declares: bool | None) -> Credential:
    return Credential(
        file="a.mp4", sha256="0" * 64, standing=standing, signer="Example News", declares_synthetic=declares
    )
