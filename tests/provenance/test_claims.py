from __future__ import annotations

from pathlib import Path

import pytest

from provenance.claims import Claim, Ingredient, SourceType
from provenance.formats import sniff_format, spoken
from provenance.record import Record


def test_source_types_have_the_identifiers_of_the_standards() -> None:
    iptc = "http://cv.iptc.org/newscodes/digitalsourcetype/"
    assert SourceType.TRAINED_ALGORITHMIC_MEDIA.uri == iptc + "trainedAlgorithmicMedia"
    data = "http://c2pa.org/digitalsourcetype/trainedAlgorithmicData"
    assert SourceType.TRAINED_ALGORITHMIC_DATA.uri == data
    assert SourceType.from_uri(iptc.replace("http", "https") + "digitalCapture") is SourceType.DIGITAL_CAPTURE
    assert all(SourceType.from_uri(kind.uri) is kind for kind in SourceType)
    assert SourceType.from_uri(iptc + "madeUp") is None
    assert SourceType.from_uri("digitalCapture") is None


def test_no_type_is_synthetic_and_captured_at_once() -> None:
    assert not any(kind.is_synthetic and kind.is_capture for kind in SourceType)
    assert SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA.is_synthetic


def test_claims_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="action"):
        Claim(source_type=SourceType.DIGITAL_CAPTURE, action="invented")
    with pytest.raises(ValueError, match="source_type"):
        Claim(source_type="digitalCapture")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="edited"):
        Claim(source_type=SourceType.DIGITAL_CAPTURE, parent=Path("a.mp4"))
    with pytest.raises(ValueError, match="relationship"):
        Ingredient(Path("a"), "a", "parentOf")
    with pytest.raises(ValueError, match="title"):
        Ingredient(Path("a"), "")


def test_a_record_survives_json() -> None:
    record = Record(
        tool="t",
        version="1",
        commit="c",
        recipe="r",
        seed=0,
        model_sha256="0" * 64,
        label="real",
        consent="x",
        portrait_license="CC0",
        inputs={"a": "f" * 64},
        controls={"list": [1, 2.5, None]},
        created_utc="2026-01-01T00:00:00Z",
    )
    assert Record.from_json(record.to_json()) == record
    assert Record.from_json({}) == Record(tool="unknown", version="unknown", created_utc="")


@pytest.mark.parametrize(
    "facts",
    [
        {"inputs": {"a": "short"}},
        {"model_sha256": "A" * 64},
        {"label": "fake"},
        {"seed": "7"},
        {"tool": ""},
        {"controls": {"a": float("nan")}},
        {"controls": {"a": object()}},
    ],
)
def test_records_refuse_nonsense(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(facts)) if "inputs" not in facts else "digest"):
        Record(**facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("facts", [{"schema": 2}, {"schema": "1"}, {"tool": 3}, {"inputs": []}, {"seed": 1.5}])
def test_foreign_records_are_refused(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Record.from_json(facts)


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\x00\x00\x00\x18ftypisom", "video/mp4"),
        (b"\x00\x00\x00\x14ftypqt  ", "video/quicktime"),
        (b"\x00\x00\x00\x08wide\x00\x00\x10\x00mdat", "video/quicktime"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        (b"\x00\x00\x00\x18ftypavif", "image/avif"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00junk", None),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"OggS", "audio/ogg"),
        (b"  <svg xmlns=", "image/svg+xml"),
        (b"hello", None),
        (b"", None),
    ],
)
def test_formats_are_told_by_content(head: bytes, mime: str | None) -> None:
    assert sniff_format(head) == mime


def test_formats_have_words() -> None:
    assert (spoken("image/png"), spoken("audio/ogg")) == ("PNG", "an Ogg file")
