"""One suspect file through the whole check: real files, real credentials, a detector whose answer is known."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from detect.check import check_file
from detect.detector import DetectError, FaceScore, ModelFacts, Score, Status, TimePoint
from detect.evidence import evidence_pictures, most_suspicious_second
from detect.forensics import file_facts, in_bytes, metadata_marks
from detect.report import to_html
from detect.verdict import Finding
from media.clip import Clip
from provenance.claims import Claim, SourceType
from provenance.credential import ProvenanceError, read_credential
from provenance.signing import sign_file
from provenance.trust import TrustAnchors, identity_folder

FACE = FaceScore(0, 0.0, 2.0, (20, 10, 80, 90), 0.9, (TimePoint(0, 0.7), TimePoint(1, 0.9)))
SUSPICIOUS = Score(0.9, Status.OK, "", (FACE,), FACE.timeline, 2.0, 0.5)
HARMLESS = Score(0.1, Status.OK, "", (), (), 2.0, 0.5)
UNREADABLE = Score.abstain(Status.UNREADABLE, "it is damaged")


FACTS = ModelFacts("fixed", "1", "ab" * 32, 0.5, "card.md")


@dataclass(frozen=True)
class Fixed:
    """A detector that always says the same."""

    score: Score
    facts: ModelFacts = FACTS

    def score_file(self, path: Path) -> Score:
        return self.score


@pytest.fixture
def plain(counting_clip: Clip, tmp_path: Path) -> Path:
    from media.video import write_clip

    write_clip(counting_clip, tmp_path / "plain.mp4")
    return tmp_path / "plain.mp4"


@pytest.fixture
def declared(plain: Path) -> Path:
    path = plain.with_name("declared.mp4")
    sign_file(plain, path, Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA))
    return path


def test_an_unsigned_file_is_judged_by_the_detectors(plain: Path) -> None:
    report = check_file(plain, Fixed(SUSPICIOUS))
    assert report.verdict.finding is Finding.SYNTHETIC_LIKELY
    assert report.to_json()["credential"]["standing"] == "absent"
    assert len(report.sha256) == 64
    assert report.facts.kind == "video"
    assert report.to_json()["file_facts"]["Length"] == "2.0 s"
    assert check_file(plain, Fixed(HARMLESS)).verdict.finding is Finding.NO_SIGN_OF_SYNTHESIS


def test_a_signed_synthetic_file_is_found_whatever_the_detector_says(declared: Path) -> None:
    report = check_file(declared, Fixed(HARMLESS))
    assert (report.verdict.finding, report.verdict.rule) == (Finding.DECLARED_SYNTHETIC, 2)
    assert "signed by the development identity of this machine and trusted" in report.verdict.because[0]
    assert "DO NOT TRUST" not in to_html(report)


def test_the_same_file_read_by_a_stranger_has_an_unknown_signer(declared: Path) -> None:
    report = check_file(declared, Fixed(HARMLESS), trust=TrustAnchors.none())
    assert (report.verdict.finding, report.verdict.rule) == (Finding.DECLARED_SYNTHETIC, 3)


def test_a_changed_byte_in_the_pictures_breaks_the_credential(declared: Path) -> None:
    content = bytearray(declared.read_bytes())
    content[content.rindex(b"mdat") + 2000] ^= 0x01
    declared.write_bytes(content)
    report = check_file(declared, Fixed(SUSPICIOUS))
    assert report.verdict.finding is Finding.CREDENTIAL_BROKEN
    assert report.verdict.probability == 0.9
    assert "assertion.bmffHash.mismatch" in report.to_json()["credential"]["validation_codes"]


def test_a_broken_credential_is_reported_even_where_no_picture_can_be_decoded(declared: Path) -> None:
    content = bytearray(declared.read_bytes())
    content[content.rindex(b"mdat") + 2000] ^= 0x01
    declared.write_bytes(content)
    assert check_file(declared, Fixed(UNREADABLE)).verdict.finding is Finding.CREDENTIAL_BROKEN


def test_a_file_that_nobody_can_read_is_one_line(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(DetectError, match=r"cannot check .*plain\.mp4: it is damaged"):
        check_file(plain, Fixed(UNREADABLE))
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DetectError, match="is empty"):
        check_file(tmp_path / "empty.mp4", Fixed(HARMLESS))
    with pytest.raises(DetectError, match="is a folder"):
        check_file(tmp_path, Fixed(HARMLESS))
    with pytest.raises(DetectError, match="does not exist"):
        check_file(tmp_path / "gone.mp4", Fixed(HARMLESS))
    with pytest.raises(DetectError, match=r"cannot read|does not exist|too long"):
        check_file(tmp_path / ("n" * 300), Fixed(HARMLESS))


def test_a_damaged_file_that_was_never_signed_is_not_called_broken(plain: Path) -> None:
    plain.write_bytes(plain.read_bytes() + b"\xff\xff\xff\xffjunk" * 9)
    assert "the reader said" in read_credential(plain).reasons[1]  # it could not parse the file
    report = check_file(plain, Fixed(HARMLESS))
    assert report.verdict.finding is Finding.NO_SIGN_OF_SYNTHESIS
    assert report.to_json()["credential"]["standing"] == "absent"


def test_a_damaged_file_with_a_trace_of_a_credential_is_called_broken(declared: Path) -> None:
    declared.write_bytes(declared.read_bytes() + b"\xff\xff\xff\xffjunk" * 9)
    assert check_file(declared, Fixed(HARMLESS)).verdict.finding is Finding.CREDENTIAL_BROKEN


def test_a_file_that_changes_while_it_is_checked_gets_no_verdict(plain: Path) -> None:
    @dataclass(frozen=True)
    class Meddling(Fixed):
        def score_file(self, path: Path) -> Score:
            with path.open("ab") as file:
                file.write(b"more")
            return self.score

    with pytest.raises(DetectError, match=r"plain\.mp4 was changed while it was checked"):
        check_file(plain, Meddling(HARMLESS))


def test_a_terabyte_of_holes_is_not_checked(plain: Path) -> None:
    with plain.open("r+b") as file:
        file.truncate(10**12)
    with pytest.raises(DetectError, match=r"plain\.mp4 claims 1,000 GB"):
        check_file(plain, Fixed(HARMLESS))


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "dangling.mp4").symlink_to("gone.mp4")
    for name in ("loop.mp4", "dangling.mp4"):
        with pytest.raises(DetectError, match=f"{name} is a link that leads nowhere"):
            check_file(tmp_path / name, Fixed(HARMLESS))


def test_a_damaged_trust_list_is_not_taken_for_a_file_without_credentials(declared: Path) -> None:
    (identity_folder() / "root.pem").write_text("not a certificate")
    with pytest.raises(ProvenanceError, match=r"root\.pem is not a PEM file"):
        check_file(declared, Fixed(HARMLESS))


def test_credentials_come_before_pixels(plain: Path) -> None:
    order: list[str] = []

    @dataclass(frozen=True)
    class Watching(Fixed):
        def score_file(self, path: Path) -> Score:
            order.append("pixels")
            return self.score

    check_file(plain, Watching(HARMLESS), progress=order.append)
    assert order.index("Checking its credentials") < order.index("pixels")


def test_a_name_that_hides_the_format_changes_nothing(declared: Path) -> None:
    disguised = declared.with_name("holiday.jpg")
    shutil.copy(declared, disguised)
    assert check_file(disguised, Fixed(HARMLESS)).verdict.finding is Finding.DECLARED_SYNTHETIC


def test_a_picture_that_carries_generator_settings_is_declared_synthetic(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "portrait of nobody, Steps: 20, Sampler: Euler a")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png", pnginfo=texts)
    report = check_file(tmp_path / "a.png", Fixed(HARMLESS))
    assert (report.verdict.finding, report.verdict.rule) == (Finding.DECLARED_SYNTHETIC, 4)
    assert report.facts.kind == "picture"


@pytest.mark.parametrize(
    ("key", "text", "marks"),
    [
        ("prompt", '{"3": {"class_type": "KSampler"}}', 1),
        ("prompt", "press any key", 0),
        ("Software", "NovelAI", 1),
        ("Software", "GIMP 3.0", 0),
        ("Description", "an old man --v 6 Job ID: 0a1b2c3d-0000-1111-2222-0123456789ab", 1),
        ("Description", "The founder of Midjourney at a conference", 0),
    ],
)
def test_a_caption_about_a_generator_is_no_mark_of_one(key: str, text: str, marks: int, tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text(key, text)
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png", pnginfo=texts)
    assert len(file_facts(tmp_path / "a.png").unsigned_marks) == marks


def test_camera_facts_are_shown_and_are_no_marks(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271], exif[272] = "ExampleCam", "X100"
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg", exif=exif)
    facts = file_facts(tmp_path / "a.jpg")
    assert {fact.name: fact.value for fact in facts.facts} | {"Camera": "X100"} == {
        f.name: f.value for f in facts.facts
    }
    assert facts.unsigned_marks == ()


def test_damaged_metadata_is_left_out_in_silence(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    exif = Image.Exif()
    exif[271] = "ExampleCam"
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg", exif=exif)
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    at = content.index(b"Exif") + 6
    # the first entry: two bytes of tag, two of type, then a count of four thousand million values
    content[at + 14 : at + 18] = b"\xff" * 4
    (tmp_path / "a.jpg").write_bytes(content)
    facts = file_facts(tmp_path / "a.jpg")
    assert facts.kind == "picture"
    assert "Camera maker" not in {fact.name for fact in facts.facts}
    assert len(recwarn) == 0


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>{}</rdf:RDF></x:xmpmeta>'
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.mark.parametrize(
    ("content", "marks"),
    [
        (XMP.format(f'<rdf:Description Iptc4xmpExt:DigitalSourceType="{SOURCE}trainedAlgorithmicMedia"/>'), 1),
        (XMP.format(f"<Iptc4xmpExt:DigitalSourceType>{SOURCE}compositeSynthetic</Iptc4xmpExt:DigitalSourceType>"), 1),
        (XMP.format(f'<rdf:Description Iptc4xmpExt:DigitalSourceType="{SOURCE}digitalCapture"/>'), 0),
        (XMP.format('<rdf:Description xmp:CreatorTool="Midjourney 7"/>'), 1),
        (XMP.format('<rdf:Description xmp:CreatorTool="Adobe Photoshop 26"/>'), 0),
        (f"no packet around {SOURCE}trainedAlgorithmicMedia", 0),
        ('AIGC{"Label":"1","ContentProducer":"x"}', 1),
        ('AIGC{"Label":"3"}', 0),
        ("", 0),
    ],
)
def test_marks_are_read_from_metadata_packets_only(content: str, marks: int) -> None:
    assert len(metadata_marks(b"\xff\xe1 junk " + content.encode() + b" tail")) == marks


def test_sizes_read_like_sizes() -> None:
    assert [in_bytes(n) for n in (0, 999, 1234, 56_789_000, 7_800_000_000_000)] == [
        "0 B",
        "999 B",
        "1.2 kB",
        "56.8 MB",
        "7800 GB",
    ]


def test_the_most_suspicious_moment_becomes_a_picture(plain: Path) -> None:
    (picture,) = evidence_pictures(plain, SUSPICIOUS, lambda step: None)
    assert picture.seconds == pytest.approx(1.0, abs=0.05)
    assert (picture.width, picture.height) == (128, 96)
    assert picture.face_jpeg.startswith(b"\xff\xd8")
    assert picture.box == pytest.approx((20, 10, 80, 90))


def test_a_moment_too_late_to_reach_is_left_out() -> None:
    late = FaceScore(0, 5000.0, 5002.0, (0, 0, 9, 9), 0.9, (TimePoint(5001, 0.9),))
    assert most_suspicious_second(late) is None
    mixed = FaceScore(0, 0.0, 5002.0, (0, 0, 9, 9), 0.9, (TimePoint(3, 0.5), TimePoint(5001, 0.9)))
    assert most_suspicious_second(mixed) == 3


def test_pictures_are_left_out_where_the_file_ends_early(plain: Path) -> None:
    assert evidence_pictures(plain.with_name("gone.mp4"), SUSPICIOUS, lambda step: None) == ()
